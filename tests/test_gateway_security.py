"""One test or more for each threat that docs/security.md names; the page and this module are held together below."""

import contextlib
import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from upstreams.inside import Inside
from upstreams.processes import chat, ordered, running_gateway, running_upstream
from yamabiko.gateway.keys import lines_for

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
TESTS = Path(__file__).parent
ACME, ALICE, BOB, GLOBEX = "yamabiko-acme", "yamabiko-alice", "yamabiko-bob", "yamabiko-globex"
HR, BOTH = "yamabiko-hr", "yamabiko-both"
ADMIN, ADMIN_OF_ACME = "yamabiko-admin", "yamabiko-acme-admin"
SERVERS_KEY = "sk-of-the-server"
SECRET = "zanzibar-4711"


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("security")
    lines = [lines_for(ACME, tenant="acme"), lines_for(GLOBEX, tenant="globex")]
    lines += [lines_for(ALICE, tenant="acme", user="alice"), lines_for(BOB, tenant="acme", user="bob")]
    lines += [
        lines_for(HR, tenant="acme", permissions=["hr"]),
        lines_for(BOTH, tenant="acme", permissions=["hr", "it"]),
    ]
    lines += ["[trusted]\npeers = ['127.0.0.1']\n"]
    lines[:0] = [lines_for(ADMIN, tenant="*", role="admin"), lines_for(ADMIN_OF_ACME, tenant="acme", role="admin")]
    (folder / "tenants.toml").write_text("".join(lines))
    settings = {
        "gateway__tenants_path": folder / "tenants.toml",
        "gateway__upstream_keys": f"openai={SERVERS_KEY}",
        "gateway__max_body_bytes": 10_000,
        "gateway__body_timeout_seconds": 0.5,
    }
    with running_gateway(
        "--upstream", f"other={upstream.root}/v1", url=f"sqlite:///{folder}/cache.db", upstream=upstream, **settings
    ) as gateway:
        yield gateway


def ask(gateway, question, key, **more):
    return gateway.ask(question, headers={"authorization": f"Bearer {key}"}, **more)


def own(gateway, method, path, key, **more):
    return httpx.request(method, f"{gateway.root}/yamabiko/{path}", headers={"authorization": f"Bearer {key}"}, **more)


def is_hit(response):
    return "; hit" in response.headers.get("cache-status", "")


def raw(gateway, data):
    """What comes back on one connection until the gateway closes it."""
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.root).port)) as connection:
        connection.settimeout(15)
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            while piece := connection.recv(65536):
                answer += piece
    return answer


def told(response):
    """All that a response tells but for what names the request or the answer itself."""
    varying = {"date", "x-request-id", "cache-status", "set-cookie", "content-length"}
    headers = {name: value for name, value in response.headers.items() if name not in varying}
    return response.status_code, headers, re.sub(r'key="[0-9a-f]*"', "", response.headers.get("cache-status", ""))


class TestPermissions:
    def test_no_answer_crosses_permissions(self, gateway, upstream):
        """Each set of permissions is a cache of its own, in both directions, whatever a body or a header claims."""
        asked = f"Who earns {SECRET}?"
        told = {"x-yamabiko-tenant": "acme"}
        callers = [
            {"authorization": f"Bearer {ACME}"},
            {"authorization": f"Bearer {HR}"},
            {"authorization": f"Bearer {BOTH}"},
            {**told, "x-yamabiko-permissions": "it"},
            {**told, "x-yamabiko-permissions": "hr,it,人事".encode()},
        ]
        answers = [gateway.ask(asked, headers=headers) for headers in callers]
        assert not any(map(is_hit, answers))
        assert len({answer.json()["id"] for answer in answers}) == len(callers)
        again = [gateway.ask(asked, headers=headers) for headers in callers]
        assert all(map(is_hit, again))
        assert [one.headers["x-yamabiko-entry"] for one in again] == [
            one.headers["x-yamabiko-entry"] for one in (gateway.ask(asked, headers=headers) for headers in callers)
        ]
        assert len({one.headers["x-yamabiko-entry"] for one in again}) == len(callers)
        same = gateway.ask(asked, headers={**told, "x-yamabiko-permissions": "it , hr"})
        assert same.headers["x-yamabiko-entry"] == again[2].headers["x-yamabiko-entry"], "the same, held by another way"
        for claim in ({"permissions": ["hr"]}, {"metadata": {"permissions": ["hr"]}}):
            assert not is_hit(ask(gateway, asked, GLOBEX, **claim))
        claimed = gateway.ask(asked, headers={"authorization": f"Bearer {ACME}", "x-yamabiko-permissions": "hr"})
        assert claimed.headers["x-yamabiko-entry"] == again[0].headers["x-yamabiko-entry"]
        assert "x-yamabiko-permissions" not in str(upstream.calls())


class TestOtherTenants:
    def test_no_answer_of_one_tenant_reaches_another(self, gateway, upstream):
        asked = f"What did acme pay for {SECRET}?"
        first = ask(gateway, asked, ACME)
        assert is_hit(ask(gateway, asked, ACME))
        other = ask(gateway, asked, GLOBEX)
        assert not is_hit(other)
        assert other.json()["id"] != first.json()["id"]
        assert upstream.questions().count(asked) == 2

    def test_what_another_has_asked_looks_like_what_nobody_has(self, gateway):
        """Were there a difference, it would tell; there is none in what is done, so none in the time it takes."""
        ask(gateway, "asked by acme before?", ACME)
        questions = ("asked by acme before?", "asked by nobody then?")
        known, unknown = (ask(gateway, asked, GLOBEX, order={"answer": "An echo."}) for asked in questions)
        assert told(known) == told(unknown)

    def test_an_entry_or_a_hit_of_anothers_looks_like_one_that_is_not_there(self, gateway):
        ask(gateway, "an entry of acme's", ACME)
        hit = ask(gateway, "an entry of acme's", ACME)
        entry = hit.headers["x-yamabiko-entry"]
        (said,) = {value for name, value in hit.headers.items() if name.startswith("x-yamabiko-hit")}
        stored = own(gateway, "GET", f"entries/{entry}", ACME)
        assert (stored.status_code, stored.json()["id"]) == (200, entry)
        theirs, nobodys = (own(gateway, "GET", f"entries/{one}", GLOBEX) for one in (entry, "0" * 64))
        assert (theirs.status_code, theirs.content) == (nobodys.status_code, nobodys.content)
        assert theirs.status_code == 404
        theirs, nobodys = (
            own(gateway, "POST", "feedback", GLOBEX, json={"hit": one, "ok": False}) for one in (said, said[:-2] + "xx")
        )
        assert (theirs.status_code, theirs.content) == (nobodys.status_code, nobodys.content)
        assert is_hit(ask(gateway, "an entry of acme's", ACME))


class TestOtherUsers:
    def test_nobody_finds_out_what_a_colleague_has_asked(self, gateway):
        asked = "How do I tell my manager that I am leaving?"
        ask(gateway, asked, ALICE)
        assert is_hit(ask(gateway, asked, ALICE))
        questions = (asked, "How do I tell my manager that I am staying?")
        known, unknown = (ask(gateway, asked, BOB, order={"answer": "An echo."}) for asked in questions)
        assert told(known) == told(unknown)

    def test_only_if_cached_tells_nothing_of_others(self, gateway):
        ask(gateway, "Is anybody ill?", ALICE)
        probes = [
            gateway.ask(asked, headers={"cache-control": "only-if-cached", "authorization": f"Bearer {BOB}"})
            for asked in ("Is anybody ill?", "Is nobody ill?")
        ]
        assert [told(probe) for probe in probes] == [told(probes[0])] * 2
        assert probes[0].status_code == 504


class TestPoisoning:
    def test_whoever_has_no_credential_stores_nothing(self, upstream, tmp_path):
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as open_to_all:
            for _ in range(2):
                response = httpx.post(f"{open_to_all.url}/chat/completions", json=chat("planted by a stranger"))
                assert not is_hit(response)
            assert not is_hit(open_to_all.ask("planted by a stranger"))

    @pytest.mark.parametrize("claim", ["tenant", "user", "scope", "yamabiko_upstream", "yamabiko_headers"])
    def test_a_body_can_not_say_whose_its_answer_is(self, gateway, claim):
        asked = f"planted by a claim of its {claim}"
        for value in ("acme", "alice", "other", ["other"]):
            ask(gateway, asked, BOB, **{claim: value}, order={"answer": "poison"})
        for key in (ACME, ALICE, GLOBEX):
            assert ask(gateway, asked, key).json()["choices"][0]["message"]["content"] != "poison"
        mine = httpx.post(
            f"{gateway.root}/other/v1/chat/completions", json=chat(asked), headers={"authorization": f"Bearer {BOB}"}
        )
        assert mine.json()["choices"][0]["message"]["content"] != "poison"

    def test_a_body_that_two_readers_understand_differently_is_not_stored(self, gateway):
        body = (
            '{"model":"m","messages":[{"role":"user","content":"harmless"}],"messages":[{"role":"user","content":"b"}]}'
        )
        for _ in range(2):
            answer = httpx.post(
                f"{gateway.url}/chat/completions", content=body, headers={"authorization": f"Bearer {ACME}"}
            )
            assert not is_hit(answer)
        assert not is_hit(ask(gateway, "b", ACME))

    def test_nobody_but_an_upstream_makes_an_answer(self, gateway):
        """A request brings a question and no answer: there is no endpoint that stores one."""
        for method in ("POST", "PUT", "PATCH"):
            for path in ("entries", "entries/" + "0" * 64):
                assert own(gateway, method, path, ADMIN, json={"answer": "poison"}).status_code == 405


class TestOversizedAndSlow:
    def test_a_body_is_read_no_further_than_its_limit(self, gateway, upstream):
        """The length that it announces is enough; without one it is cut where the limit is."""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME}\r\n"
        said = raw(gateway, f"{head}content-length: 99999999999\r\n\r\n".encode() + b"x" * 20_000)
        assert b" 413 " in said.partition(b"\r\n")[0]
        endless = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        said = raw(gateway, f"{head}transfer-encoding: chunked\r\n\r\n".encode() + endless * 4)
        assert b" 413 " in said.partition(b"\r\n")[0]
        assert own(gateway, "POST", "feedback", ACME, content=b"x" * 100_000).status_code == 413

    @pytest.mark.parametrize("depth", [100, 5_000])
    def test_a_deep_body_costs_nobody_anything(self, gateway, depth):
        body = f'{{"model":"m","messages":[{{"role":"user","content":"deep"}}],"x":{"[" * depth}{"]" * depth}}}'
        response = httpx.post(
            f"{gateway.url}/chat/completions", content=body[:10_000], headers={"authorization": f"Bearer {ACME}"}
        )
        assert response.status_code < 500 or "upstream" in response.text
        assert httpx.get(f"{gateway.root}/healthz").status_code == 200

    def test_whoever_sends_slowly_is_let_go_and_holds_nobody_up(self, gateway):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME}\r\ncontent-length: 50\r\n\r\n"
        with contextlib.ExitStack() as stack:
            port = httpx.URL(gateway.root).port
            slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(50)]
            for connection in slow:
                connection.sendall(head.encode() + b"{")
            assert httpx.get(f"{gateway.root}/healthz").status_code == 200
            for connection in slow:
                connection.settimeout(15)
                assert b" 408 " in connection.recv(65536).partition(b"\r\n")[0]


SMUGGLED = b"GET /v1/models?smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
FRAMINGS = {
    "both": b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": b"transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 47\r\n\r\n",
    "a list of lengths": b"content-length: 0, 47\r\n\r\n",
    "a signed length": b"content-length: +0\r\n\r\n",
    "another coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a folded header": b"x: y\r\n content-length: 0\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"content-length : 0\r\n\r\n",
    "a bare line feed": b"x: y\ncontent-length: 0\r\n\r\n",
}


class TestHeaders:
    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_the_upstream_never_sees_a_request_within_a_request(self, gateway, upstream, framing):
        """Either nothing is passed on, or one request with a length of its own and a body that fits."""
        before = len(upstream.calls())
        head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME}\r\nconnection: close\r\n".encode()
        raw(gateway, head + FRAMINGS[framing] + SMUGGLED)
        calls = upstream.calls()[before:]
        assert len(calls) <= 1
        for call in calls:
            assert call["path"] == "/v1/files"
            assert not ("content-length" in call["headers"] and "transfer-encoding" in call["headers"])
            assert len(call["body"]) == int(call["headers"].get("content-length", len(call["body"])))

    def test_what_is_of_one_connection_or_the_gateways_own_stays_here(self, gateway, upstream):
        given = {"connection": "close, x-private", "x-private": SECRET, "proxy-authorization": SECRET, "te": "trailers"}
        given |= {"x-yamabiko-tenant-name": SECRET, "upgrade": "h2c"}
        httpx.get(f"{gateway.url}/echo", headers=given | {"authorization": f"Bearer {ACME}"})
        assert SECRET not in json.dumps(upstream.calls()[-1]["pairs"])

    def test_no_page_of_another_site_reads_an_answer(self, gateway, upstream):
        theirs = {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
        order = ordered({"status": 200, "headers": theirs, "body": "{}"})
        headers = {"origin": "https://evil.example", "authorization": f"Bearer {ACME}", **order}
        for method, path in (("POST", "chat/completions"), ("GET", "models"), ("OPTIONS", "chat/completions")):
            response = httpx.request(method, f"{gateway.url}/{path}", headers=headers)
            assert not [name for name in response.headers if name.startswith("access-control-")]


class TestForgery:
    def test_no_request_chooses_whom_the_gateway_asks(self, gateway, upstream):
        with socket.create_server(("127.0.0.1", 0)) as elsewhere:
            elsewhere.setblocking(False)
            evil = f"127.0.0.1:{elsewhere.getsockname()[1]}"
            fields = dict.fromkeys(("base_url", "api_base", "upstream", "url", "endpoint"), f"http://{evil}/v1")
            headers = dict.fromkeys(("x-forwarded-host", "x-upstream", "x-original-url", "forwarded"), evil)
            headers |= {"authorization": f"Bearer {ACME}"}
            gateway.ask("Whom do you ask?", headers=headers, **fields)
            gateway.ask(f"http://{evil}/v1", headers=headers)
            for target in (f"http://{evil}/v1/models", f"/v1/@{evil}/models", f"//{evil}/v1/models", "/v1/../../x"):
                raw(
                    gateway,
                    f"GET {target} HTTP/1.1\r\nhost: {evil}\r\nauthorization: Bearer {ACME}\r\nconnection: close\r\n\r\n".encode(),
                )
            with pytest.raises(BlockingIOError):
                elsewhere.accept()
            hosts = {call["headers"]["host"] for call in upstream.calls()}
            assert hosts == {upstream.root.removeprefix("http://")}

    def test_a_redirect_of_the_upstreams_is_not_followed(self, gateway):
        with socket.create_server(("127.0.0.1", 0)) as elsewhere:
            elsewhere.setblocking(False)
            there = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
            response = ask(
                gateway, "where to?", ACME, order={"status": 307, "headers": {"location": there}, "body": ""}
            )
            assert (response.status_code, response.headers["location"]) == (307, there)
            with pytest.raises(BlockingIOError):
                elsewhere.accept()


class TestAdministrators:
    def test_a_stolen_key_of_one_tenant_reaches_no_other(self, gateway):
        ask(gateway, "globex's own", GLOBEX)
        entry = ask(gateway, "globex's own", GLOBEX).headers["x-yamabiko-entry"]
        for query in ({"tenant": "globex"}, {"tenant": "*"}):
            assert own(gateway, "DELETE", "entries", ADMIN_OF_ACME, params=query).status_code == 403
        assert own(gateway, "DELETE", "entries", ADMIN_OF_ACME, params={"model": "m"}).status_code == 200
        assert own(gateway, "GET", f"entries/{entry}", ADMIN_OF_ACME).status_code == 404
        assert is_hit(ask(gateway, "globex's own", GLOBEX))

    def test_it_asks_no_model_and_never_leaves_for_one(self, gateway, upstream):
        before = len(upstream.calls())
        for path in ("chat/completions", "models"):
            headers = {"authorization": f"Bearer {ADMIN}"}
            response = httpx.post(f"{gateway.url}/{path}", json=chat("by an administrator"), headers=headers)
            assert response.status_code in (401, 403)
        assert len(upstream.calls()) == before

    @pytest.mark.parametrize("key", [ACME, ALICE, "yamabiko-guessed", "x", SERVERS_KEY])
    def test_no_other_key_administers(self, gateway, key):
        for method, path in (("DELETE", "entries?model=m"), ("GET", "stats")):
            assert own(gateway, method, path, key).status_code in (401, 403)


class TestLeaks:
    def test_no_text_and_no_key_in_what_is_logged_or_measured(self, upstream, tmp_path):
        keys = lines_for(ACME, tenant="acme")
        (tmp_path / "tenants.toml").write_text(keys)
        settings = {"gateway__access_log": True, "gateway__tenants_path": tmp_path / "tenants.toml"}
        url = f"sqlite:///{tmp_path}/c.db"
        with running_gateway(url=url, upstream=upstream, **settings) as gateway:
            ask(gateway, f"What of {SECRET}?", ACME)
            ask(gateway, f"What of {SECRET}?", ACME, stream=True)
            ask(gateway, SECRET, ACME, order={"cut_after": 1, "answer": f"{SECRET} {SECRET} {SECRET}"}, stream=True)
            ask(gateway, SECRET, ACME, order={"status": 500, "body": SECRET})
            ask(gateway, SECRET, f"yamabiko-{SECRET}")
            headers = {"authorization": f"Bearer {ACME}", "x-yamabiko-policy": SECRET, "cookie": SECRET}
            gateway.ask("a policy", headers=headers)
            httpx.get(f"{gateway.url}/{SECRET}?q={SECRET}", headers={"authorization": f"Bearer {ACME}"})
            raw(gateway, f"GET /{SECRET} HTTP/9\r\n{SECRET}\r\n\r\n".encode())
            measured = httpx.get(f"{gateway.root}/metrics").text
            assert gateway.stop() == 0
            logged = "\n".join(gateway.lines)
        for shown in (measured, logged):
            assert SECRET not in shown
            assert ACME not in shown
            assert SERVERS_KEY not in shown

    def test_no_key_and_no_text_in_the_gateways_own_errors(self, gateway):
        key = f"yamabiko-{SECRET}"
        for response in (
            ask(gateway, SECRET, key),
            own(gateway, "GET", "stats", key),
            own(gateway, "POST", "feedback", ACME, json={"hit": SECRET, "ok": True}),
            own(gateway, "GET", f"entries/{SECRET}", ACME),
            gateway.ask(
                SECRET, headers={"authorization": f"Bearer {ACME}", "x-yamabiko-policy": f"guards.{SECRET}=veto"}
            ),
        ):
            assert response.status_code >= 400
            assert SECRET not in response.text + str(response.headers)

    def test_the_servers_key_is_shown_to_nobody(self, gateway):
        for path in ("yamabiko/stats", "yamabiko/openapi.json", "metrics", "readyz", "v1/models"):
            response = httpx.get(f"{gateway.root}/{path}", headers={"authorization": f"Bearer {ADMIN}"})
            assert SERVERS_KEY not in response.text + str(response.headers)


class TestFailures:
    def test_an_error_within_is_told_without_its_cause(self):
        with Inside() as inside:
            inside.upstream.says = lambda _: (200, {"content-type": "application/json"}, b'{"oops":')
            answer = inside.ask("/v1/chat/completions", b"{", [("authorization", "Bearer k")])
        assert (answer.status, answer.body) == (200, b'{"oops":')


def test_the_page_names_tests_that_exist_and_every_test_here():
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_[a-z_]+\.py)::(?:Test\w+::)?(test_\w+)`", page))
    assert named
    for module, name in named:
        assert f"def {name}(" in (TESTS / module).read_text(encoding="utf-8"), f"{module}::{name}"
    here = set(re.findall(r"def (test_\w+)\(self", Path(__file__).read_text(encoding="utf-8")))
    assert here - {name for module, name in named if module == Path(__file__).name} == set()
