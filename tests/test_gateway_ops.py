"""The gateway's own endpoints: who may ask what, and that their description is true."""

import asyncio
import json

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from upstreams.processes import chat, running_gateway, running_upstream
from yamabiko import Policy, Reply, Request, open_cache
from yamabiko.errors import EmbeddingError, StoreUnavailable
from yamabiko.gateway.keys import Table, lines_for
from yamabiko.gateway.openapi import document
from yamabiko.gateway.ops import MAX_BODY_BYTES, Ops, Readiness
from yamabiko.gateway.tenants import Tenants
from yamabiko.settings import Settings
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeClock, FakeEmbedder
from yamabiko.types import Source

ACME, ALICE, BOB, GLOBEX = "yamabiko-acme", "yamabiko-alice", "yamabiko-bob", "yamabiko-globex"
ADMIN, ADMIN_OF_ACME, HR = "yamabiko-admin", "yamabiko-acme-admin", "yamabiko-hr"


def table_text():
    lines = [lines_for(ACME, tenant="acme"), lines_for(GLOBEX, tenant="globex")]
    lines += [lines_for(ALICE, tenant="acme", user="alice"), lines_for(BOB, tenant="acme", user="bob")]
    lines += [lines_for(ADMIN, tenant="*", role="admin"), lines_for(ADMIN_OF_ACME, tenant="acme", role="admin")]
    return "".join(lines)


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ops")


@pytest.fixture(scope="module")
def gateway(upstream, folder):
    path = folder / "tenants.toml"
    path.write_text(table_text())
    url = f"sqlite:///{folder}/cache.db"
    with running_gateway(url=url, upstream=upstream, gateway__tenants_path=path) as gateway:
        yield gateway


def ask(gateway, question, key, **body):
    return httpx.post(
        f"{gateway.url}/chat/completions",
        json=chat(question, **body),
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
    )


def is_hit(response):
    assert response.status_code == 200
    return "; hit" in response.headers["cache-status"]


def stored(gateway, question, key):
    """Asks twice; the hit's headers."""
    ask(gateway, question, key)
    response = ask(gateway, question, key)
    assert is_hit(response)
    return response.headers


def call(gateway, method, path, key=None, **options):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    response = httpx.request(
        method, f"{gateway.root}{path}", headers=headers | options.pop("headers", {}), timeout=30, **options
    )
    template = "/yamabiko/entries/{id}" if path.startswith("/yamabiko/entries/") else path.partition("?")[0]
    assert_described(template, method, response)
    return response


def assert_described(template, method, response):
    """Whatever the gateway says is what its description says that it may."""
    tree = document()
    operation = tree["paths"].get(template, {}).get(method.lower())
    if operation is None:
        assert response.status_code in (404, 405)
        return
    said = operation["responses"][str(response.status_code)]
    if "content" not in said:
        assert response.content == b""
        return
    schema = {**said["content"]["application/json"]["schema"], "components": tree["components"]}
    jsonschema.Draft202012Validator(schema).validate(response.json())
    assert response.headers["x-content-type-options"] == "nosniff"


def code(response):
    return response.status_code, response.json()["error"]["code"]


class TestFeedback:
    def say(self, gateway, hit, key, ok=False):
        return call(gateway, "POST", "/yamabiko/feedback", key, json={"hit": hit, "ok": ok})

    def test_a_no_takes_the_answer_away(self, gateway):
        hit = stored(gateway, "wrong", ACME)["x-yamabiko-hit-id"]
        assert self.say(gateway, hit, ACME, ok=True).status_code == 204
        assert is_hit(ask(gateway, "wrong", ACME))
        assert self.say(gateway, hit, ACME).status_code == 204
        assert not is_hit(ask(gateway, "wrong", ACME))

    @pytest.mark.parametrize("key", [GLOBEX, ACME, BOB])
    def test_nobody_speaks_of_anothers_hit(self, gateway, key):
        hit = stored(gateway, f"not for {key}", ALICE)["x-yamabiko-hit-id"]
        assert code(self.say(gateway, hit, key)) == (404, "not_found")
        assert is_hit(ask(gateway, f"not for {key}", ALICE))

    def test_administrators_speak_of_their_tenants(self, gateway):
        for question, admin in (("admin's word", ADMIN), ("acme's admin's word", ADMIN_OF_ACME)):
            hit = stored(gateway, question, ALICE)["x-yamabiko-hit-id"]
            assert self.say(gateway, hit, admin).status_code == 204
            assert not is_hit(ask(gateway, question, ALICE))
        hit = stored(gateway, "globex's own", GLOBEX)["x-yamabiko-hit-id"]
        assert code(self.say(gateway, hit, ADMIN_OF_ACME)) == (404, "not_found")

    def test_what_is_not_there_and_what_is_anothers_look_the_same(self, gateway):
        hit = stored(gateway, "indistinguishable", ALICE)["x-yamabiko-hit-id"]
        answers = [self.say(gateway, one, GLOBEX) for one in (hit, "A" * 128, "", hit[:-1] + "A")]
        assert len({(answer.status_code, answer.content) for answer in answers}) == 1

    def test_whoever_has_no_key_is_refused(self, gateway):
        assert code(self.say(gateway, "x", None)) == (401, "invalid_api_key")

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b'{"hit": 1, "ok": true}', b'{"hit": "x"}', b'{"hit":"x","ok":1,"z":2}']
    )
    def test_another_body_is_a_400(self, gateway, body):
        assert code(call(gateway, "POST", "/yamabiko/feedback", ACME, content=body)) == (400, "invalid_body")

    def test_a_long_body_is_a_413(self, gateway):
        body = b" " * (MAX_BODY_BYTES + 1)
        assert code(call(gateway, "POST", "/yamabiko/feedback", ACME, content=body)) == (413, "request_too_large")


class TestEntries:
    def remove(self, gateway, key, query):
        return call(gateway, "DELETE", f"/yamabiko/entries{query}", key)

    def test_what_is_known_of_an_entry_and_no_text(self, gateway):
        entry = stored(gateway, "what is known?", ALICE)["x-yamabiko-entry"]
        found = call(gateway, "GET", f"/yamabiko/entries/{entry}", ALICE)
        assert (found.status_code, found.json()["tenant"], found.json()["user"]) == (200, "acme", "alice")
        assert "known?" not in found.text
        assert found.headers["cache-control"] == "no-store"

    def test_texts_are_for_administrators(self, gateway):
        entry = stored(gateway, "what was said?", ALICE)["x-yamabiko-entry"]
        path = f"/yamabiko/entries/{entry}?texts=true"
        assert code(call(gateway, "GET", path, ALICE)) == (403, "no_admin_key")
        for admin in (ADMIN, ADMIN_OF_ACME):
            texts = call(gateway, "GET", path, admin).json()["texts"]
            assert texts["questions"] == ["what was said?"]
            assert "what was said?" in texts["answer"]

    def test_nobody_sees_anothers_by_its_id(self, gateway):
        acme = stored(gateway, "by its id", ALICE)["x-yamabiko-entry"]
        globex = stored(gateway, "by its id", GLOBEX)["x-yamabiko-entry"]
        tries = [(acme, GLOBEX), (acme, ACME), (acme, BOB), (globex, ADMIN_OF_ACME), ("0" * 64, ALICE)]
        answers = [call(gateway, "GET", f"/yamabiko/entries/{entry}", key) for entry, key in tries]
        assert len({(answer.status_code, answer.content) for answer in answers}) == 1
        assert code(answers[0]) == (404, "not_found")

    def test_by_id(self, gateway):
        entry = stored(gateway, "to be removed", ACME)["x-yamabiko-entry"]
        assert self.remove(gateway, ADMIN, f"?id={entry}").json() == {"removed": 1}
        assert not is_hit(ask(gateway, "to be removed", ACME))
        assert self.remove(gateway, ADMIN, "?id=" + "0" * 64).json() == {"removed": 0}

    def test_by_user_and_model(self, gateway):
        for key in (ALICE, BOB):
            ask(gateway, "by user", key, model="rare")
            assert is_hit(ask(gateway, "by user", key, model="rare"))
        assert self.remove(gateway, ADMIN_OF_ACME, "?user=alice&model=rare").json() == {"removed": 1}
        assert not is_hit(ask(gateway, "by user", ALICE, model="rare"))
        assert is_hit(ask(gateway, "by user", BOB, model="rare"))

    def test_an_administrator_of_one_tenant_removes_nothing_of_anothers(self, gateway):
        entry = stored(gateway, "globex's", GLOBEX)["x-yamabiko-entry"]
        assert self.remove(gateway, ADMIN_OF_ACME, f"?id={entry}").json() == {"removed": 0}
        assert self.remove(gateway, ADMIN_OF_ACME, "?model=m").status_code == 200
        assert code(self.remove(gateway, ADMIN_OF_ACME, "?tenant=globex")) == (403, "other_tenant")
        assert is_hit(ask(gateway, "globex's", GLOBEX))

    def test_without_a_condition_nothing_goes(self, gateway):
        assert code(self.remove(gateway, ADMIN, "")) == (400, "invalid_query")
        assert code(self.remove(gateway, ADMIN_OF_ACME, "")) == (400, "invalid_query")

    @pytest.mark.parametrize(
        "query",
        ["?digest=v1", "?digest=v1&base=KB1", "?everything=true", "?id=", "?tag=a&tag=b", "?id=%ff", "?dead=1", "?id"],
    )
    def test_another_query_is_a_400(self, gateway, query):
        assert code(self.remove(gateway, ADMIN, query)) == (400, "invalid_query")

    @pytest.mark.parametrize(("key", "status"), [(ACME, 403), (None, 401), ("yamabiko-nobody", 401), ("sk-x", 401)])
    def test_only_an_admin_key_will_do(self, gateway, key, status):
        assert self.remove(gateway, key, "?model=m").status_code == status
        assert call(gateway, "GET", "/yamabiko/stats", key).status_code == status


class TestDocuments:
    """By what answers were made from. In process: no chat completion says that."""

    QUESTIONS = ("one", "two", "三")

    def asked(self, *requests):
        """What each request, a method, a path, a query and a key, comes to; then which answers are still there."""

        async def run():
            async with open_cache("memory://", policy=Policy(semantic=False), embedder="none") as cache:
                table = Table.parse(table_text() + lines_for(HR, tenant="acme", permissions=["人事"]))
                tenants = Tenants(lambda: table)
                ops = Ops(lambda: cache, tenants, tenants)
                labelled = Source("s3://人事.txt", base="KB2", labels=("人事",))
                for question, tenant, source in (
                    ("one", "acme", Source("s3://a", "v1", base="KB1")),
                    ("two", "globex", Source("s3://a", "v2", base="KB1")),
                    ("三", "acme", labelled),
                ):
                    miss = await cache.lookup(Request(question, tenant=tenant, permissions=["人事"]))
                    entry = await cache.remember(miss, Reply(text=question, sources=(source,)))
                told = []
                for method, path, query, key in requests:
                    sent = []

                    async def send(message, sent=sent):
                        sent.append(message)

                    await ops(
                        {
                            "method": method,
                            "raw_path": path.replace("{id}", entry.id).encode(),
                            "query_string": query.encode(),
                            "headers": [(b"authorization", b"Bearer " + key.encode())],
                            "client": ("127.0.0.1", 1),
                        },
                        None,
                        send,
                    )
                    told.append((sent[0]["status"], json.loads(sent[1]["body"])))
                return told, [entry.reply.text async for entry in cache.entries()]

        return asyncio.run(run())

    def removed(self, query, key=ADMIN):
        [(status, said)], left = self.asked(("DELETE", "/yamabiko/entries", query, key))
        assert status == 200
        assert said == {"removed": 3 - len(left)}
        return left

    def test_by_base_and_by_a_documents_state(self):
        assert self.removed("source=s3%3A%2F%2Fa") == ["三"]
        assert self.removed("source=s3%3A%2F%2Fa&digest=v2") == ["two", "三"]
        assert self.removed("base=KB1") == ["三"]
        assert self.removed("base=KB1", ADMIN_OF_ACME) == ["two", "三"]
        assert self.removed("base=KB2&source=s3%3A%2F%2Fa") == ["one", "two", "三"]

    def test_what_is_known_of_an_entry_is_for_those_who_may_read_its_documents(self):
        path = "/yamabiko/entries/{id}"
        told, _ = self.asked(*(("GET", path, "", key) for key in (ACME, HR, GLOBEX, ADMIN_OF_ACME)))
        assert [status for status, _ in told] == [404, 200, 404, 200]
        assert told[0] == told[2]
        assert told[1][1]["sources"][0]["labels"] == ["人事"]


class TestStats:
    def test_of_all_and_of_one_tenant(self, gateway):
        stored(gateway, "counted", ACME)
        stored(gateway, "counted", GLOBEX)
        everything = call(gateway, "GET", "/yamabiko/stats", ADMIN).json()
        acme = call(gateway, "GET", "/yamabiko/stats", ADMIN_OF_ACME).json()
        assert acme["tenant"] == "acme"
        assert 0 < acme["entries"] < everything["entries"]
        assert acme["payload_bytes"] > 0


class TestPaths:
    def test_no_other_paths_and_methods(self, gateway):
        assert code(call(gateway, "GET", "/yamabiko/secrets", ADMIN)) == (404, "not_found")
        wrong = call(gateway, "PUT", "/yamabiko/feedback", ADMIN)
        assert (code(wrong), wrong.headers["allow"]) == ((405, "method_not_allowed"), "POST")
        assert call(gateway, "GET", "/yamabiko/entries", ADMIN).headers["allow"] == "DELETE"

    def test_nothing_of_ours_is_passed_on(self, gateway, upstream):
        before = len(upstream.calls())
        for path in ("/yamabiko/x", "/yamabiko", "/yamabiko/v1/models", "/healthz/x", "/readyz"):
            httpx.get(gateway.root + path, headers={"authorization": f"Bearer {ADMIN}"})
        assert len(upstream.calls()) == before


class TestTheDescription:
    def test_it_is_openapi_and_served_to_anybody(self, gateway):
        served = call(gateway, "GET", "/yamabiko/openapi.json").json()
        assert served == json.loads(json.dumps(document()))
        OpenAPIV31SpecValidator(served).validate()

    def test_it_lists_what_there_is(self):
        table = Table.parse("")
        tenants = Tenants(lambda: table)
        listed = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
        served = Ops(lambda: None, tenants, tenants).endpoints | {("GET", "/healthz"), ("GET", "/readyz")}
        assert listed == served


# Whether the cache is well.


class Sleepy(FakeEmbedder):
    async def embed(self, texts, /):
        await asyncio.Event().wait()


class Dead(MemoryStore):
    async def get(self, key, /):
        raise StoreUnavailable("gone")


def probe(query=b"", *, opened=True, clock=None, times=1, **options):
    """The last of so many probes: status and document."""

    async def main():
        said = []

        async def send(message):
            said.append(message)

        async with open_cache("memory://", policy=Policy(max_error_rate=None, min_similarity=0.9), **options) as cache:
            ready = Readiness(lambda: cache if opened else None, lambda: 3, clock or FakeClock())
            for _ in range(times):
                await ready({"query_string": query}, None, send)
        return said[-2]["status"], json.loads(said[-1]["body"])

    return asyncio.run(main())


class TestReadiness:
    def test_all_is_well(self, gateway):
        found = call(gateway, "GET", "/readyz")
        assert (found.status_code, found.json()["status"], found.json()["store"]) == (200, "ready", "ok")
        assert call(gateway, "GET", "/readyz?cache=required").status_code == 200
        assert call(gateway, "GET", "/healthz").json() == {"status": "ok"}

    def test_without_its_store_it_takes_requests_unless_the_cache_is_required(self):
        dead = {"store": Dead(embedder="fake", dim=64), "embedder": FakeEmbedder()}
        status, found = probe(**dead)
        assert (status, found["status"], found["store"], found["embedder"]) == (200, "degraded", "unavailable", "ok")
        assert probe(b"cache=required", **dead)[0] == 503
        assert probe(b"cache=required", opened=False, embedder=FakeEmbedder())[0] == 503

    @pytest.mark.parametrize("embedder", [FakeEmbedder(fail_with=EmbeddingError("no")), Sleepy()])
    def test_an_embedder_that_does_not_answer_in_time(self, embedder):
        assert probe(embedder=embedder)[1]["embedder"] == "unavailable"

    def test_without_an_embedder_none_is_missed(self):
        assert probe(b"cache=required", embedder="none") == (
            200,
            {"status": "ready", "cache": "open", "store": "ok", "embedder": "none", "in_flight": 3},
        )

    def test_many_probes_are_one_look(self):
        embedder = FakeEmbedder()
        probe(embedder=embedder, times=50)
        assert embedder.calls == 1

    def test_a_dead_store_is_a_503_for_endpoints_that_need_it(self, upstream, tmp_path):
        path = tmp_path / "tenants.toml"
        path.write_text(table_text())
        with running_gateway(url="valkey://127.0.0.1:1", upstream=upstream, gateway__tenants_path=path) as alone:
            response = call(alone, "GET", "/yamabiko/stats", ADMIN)
            assert (code(response), response.headers["retry-after"]) == ((503, "store_unavailable"), "5")
            assert not is_hit(ask(alone, "without a store", ACME))


def test_the_settings_name_the_table():
    assert Settings.load(arguments={"gateway.tenants_path": "t.toml"}).gateway.tenants_path == "t.toml"
