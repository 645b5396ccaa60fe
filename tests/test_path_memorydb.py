"""The whole cache on a server, as a user sees it: round trips, a lagging, growing or lost index, tenants, TLS, rights.

Nearly always as on MemoryDB: in cluster mode, and through the guard, which refuses what MemoryDB would. What happens
when servers fail is in test_path_memorydb_failover.
"""

from __future__ import annotations

import asyncio
import math
import time
from importlib.resources import files

import pytest

from engines.certificates import Certificates
from engines.guard import Guard
from engines.valkey import Valkey
from test_stores_memorydb import fresh_name, guard_command
from yamabiko import Hit, Miss, Policy, Reply, Request, open_cache
from yamabiko.errors import ConfigurationError, StoreMismatch
from yamabiko.stores.memorydb.failures import access_string
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.scripts import alone, dated, fencing, writing
from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel
from yamabiko.types import MissReason

RESET = "How do I reset my password?"
RESET_TOO = "How can I reset my password?"  # cosine with RESET in FakeEmbedder: about 0.83
RESET_AGAIN = "How may I reset my password?"
LOOSE = Policy(max_error_rate=None, min_similarity=0.7)
DIM = 64


def topic(number):
    """A question that is like no other, and the same in other words: cosine 1 in FakeEmbedder."""
    return f"alpha{number} beta{number} gamma{number}", f"gamma{number} alpha{number} beta{number}"


class Place:
    """A cache's name on the server behind a guard; any number of processes may open it."""

    def __init__(self, guard, name=""):
        self.guard = guard
        self.name = name or fresh_name()
        self.layout = Layout(name=self.name, embedder="fake", dim=DIM)

    def url(self, more=""):
        return f"{self.guard.url}{'&' if '?' in self.guard.url else '?'}name={self.name}{more}"

    def open(self, more="", **options):
        options.setdefault("embedder", FakeEmbedder(DIM))
        options.setdefault("policy", LOOSE)
        return open_cache(self.url(more), **options)

    def key_of(self, key):
        """Where the question with this key stands on the server."""
        return self.layout.questions + key.hex


@pytest.fixture(scope="module")
def guard(cluster_engine):
    with Guard(cluster_engine, profile="memorydb") as running:
        yield running


@pytest.fixture
def place(guard):
    made = Place(guard)
    yield made
    guard.heal()
    for index in guard.made():  # there may be ten
        guard_command(guard, "FT.DROPINDEX", index.name)


def run(case, seconds=40):
    asyncio.run(asyncio.wait_for(case(), seconds))


async def until(condition):
    """Wait until ``await condition()`` is true, and give what it gave."""
    async with asyncio.timeout(30):
        while not (found := await condition()):  # noqa: ASYNC110 - a user has nothing else to wait for
            await asyncio.sleep(0.005)
    return found


async def hit_of(cache, question):
    """A hit for this question, when it comes."""

    async def found():
        outcome = await cache.lookup(question)
        return outcome if isinstance(outcome, Hit) else None

    return await until(found)


def commands_of(seen):
    """What was sent, scripts by their names, without the counts of hits that are written behind."""
    scripts = {}
    for file in files("yamabiko.stores.memorydb").joinpath("lua").iterdir():
        name = file.name.removesuffix(".lua")
        scripts |= {made(name).sha: name for made in (alone, dated, writing, fencing)}
    named = []
    for one in seen.work:
        sent = one.arguments[0].decode(errors="replace") if one.name == "EVALSHA" else ""
        named.append((scripts.get(sent, one.name), one))
    return [(name, one) for name, one in named if name != "touch"]


def names_of(seen):
    return [name for name, _ in commands_of(seen)]


def trips_of(seen):
    return len({(one.connection, one.batch) for _, one in commands_of(seen)})


# Round trips.


def test_a_hit_is_one_round_trip_or_with_other_words_three_and_a_write_one(place):
    async def case():
        async with place.open() as cache:
            await cache.answer("warm the scripts", ScriptedModel())
            await cache.drain()
            with place.guard.watching() as asking:
                miss = await cache.lookup(RESET)
            assert names_of(asking) == ["read", "FT.SEARCH", "ZRANGEBYSCORE", "GET"], (
                "by key, by meaning, and the fence for remember()"
            )
            with place.guard.watching() as writing_it:
                await cache.remember(miss, "Click.")
            assert names_of(writing_it) == ["put"]
            for _ in range(3):
                with place.guard.watching() as seen:
                    assert (await cache.lookup(RESET)).tier == "exact"
                assert names_of(seen) == ["read"]
            with place.guard.watching() as seen:
                assert (await cache.lookup(RESET_TOO)).tier == "semantic"
            assert sorted(names_of(seen)) == ["FT.SEARCH", "ZRANGEBYSCORE", "read", "read"]
            assert names_of(seen)[-1] == "read", (
                "of the winners, after the search; what users refused was asked beside it"
            )
            assert trips_of(seen) <= 4

    run(case)


def test_between_the_question_and_a_new_answer_there_are_five_round_trips(place):
    async def case():
        before = place.guard.watching()

        async def model(_):
            assert names_of(before) == ["read", "FT.SEARCH", "ZRANGEBYSCORE", "claim", "read"]
            return "Click."

        async with place.open() as cache:
            await cache.answer("warm the scripts", ScriptedModel())
            await cache.drain()
            before = place.guard.watching()
            assert (await cache.answer(RESET, model)).text == "Click."
            await cache.drain()
            assert names_of(before) == [
                "read",
                "FT.SEARCH",
                "ZRANGEBYSCORE",
                "claim",
                "read",
                "put",
                "release",
            ]
            with place.guard.watching() as seen:
                assert (await cache.answer(RESET, model)).text == "Click."
            assert names_of(seen) == ["read"]

    run(case)


async def answered(cache, question, model):
    return (await cache.answer(question, model)).text


async def streamed(cache, question, model):
    return "".join([piece async for piece in cache.stream(question, model.stream)])


async def begun(cache, question, model):
    """As the gateway asks."""
    told = await cache.begin(cache.place(Request(question)), model.stream)
    return told.reply.text if isinstance(told, Hit) else "".join([piece async for piece in told])


@pytest.mark.parametrize("ask", [answered, streamed, begun])
def test_however_it_is_asked_a_hit_by_meaning_is_three_round_trips_and_an_exact_one_is_one(place, ask):
    async def case():
        async with place.open() as cache:
            model = ScriptedModel({RESET: "Click."})
            await cache.answer(RESET, model)
            await cache.drain()
            for question, most in ((RESET, 1), (RESET_TOO, 3), (RESET_AGAIN, 3), (RESET, 1)):
                await ask(cache, question, model)  # scripts are warm
                with place.guard.watching() as seen:
                    assert await ask(cache, question, model) == "Click."
                names = names_of(seen)
                # What users refused is asked while the search runs, on another connection: the same round trip.
                assert len(names) - names.count("ZRANGEBYSCORE") == most
                assert names.count("ZRANGEBYSCORE") == (most > 1)
                assert names[-1] == "read"
            assert model.calls == 1

    run(case)


def test_who_asks_after_anothers_purge_joins_no_generation_or_search_of_before(place):
    """As one process sees it: the first one's question is under way when another process purges."""

    async def case():
        async with place.open() as cache, place.open() as other:
            begun, go = asyncio.Event(), asyncio.Event()

            async def old(_):
                begun.set()
                await go.wait()
                return Reply(text="old", sources=("s3://doc",))

            async def new(_):
                return Reply(text="new", sources=("s3://doc",))

            before = asyncio.create_task(cache.answer(RESET, old))
            await begun.wait()
            await other.invalidate("s3://doc")
            with place.guard.watching() as seen:
                after, joined = (asyncio.create_task(cache.answer(RESET, new)) for _ in range(2))

                async def both_wait():
                    return names_of(seen).count("read") >= 2 and "claim" in names_of(seen)

                await until(both_wait)
            go.set()
            assert [(await one).text for one in (before, after, joined)] == ["old", "new", "new"]
            await cache.drain()
            assert (await other.lookup(RESET)).reply.text == "new", "the old one was not stored"

    run(case)


@pytest.mark.parametrize("which", [0, 1], ids=["exact", "semantic"])
def test_look_ups_at_once_share_round_trips_where_connections_are_few(place, which):
    async def case():
        async with place.open("&connections=1") as cache:
            topics = [topic(number) for number in range(24)]
            for asked, _ in topics:
                await cache.remember(await cache.lookup(asked), f"about {asked}")
            with place.guard.watching() as seen:
                hits = await asyncio.gather(*(cache.lookup(both[which]) for both in topics))
            assert [hit.reply.text for hit in hits] == [f"about {asked}" for asked, _ in topics]
            assert len(names_of(seen)) == len(topics) * (1, 4)[which]
            assert trips_of(seen) <= len(names_of(seen)) / 2
            assert cache.store.connection.figures.pipelines > 0

    run(case)


def test_hits_are_counted_behind_the_replies_many_at_once(place):
    async def case():
        began = time.monotonic()
        with place.guard.watching() as seen:
            async with place.open() as cache, place.open() as other:
                hit_id = (await cache.remember(await cache.lookup(RESET), "Click.")).id
                for _ in range(30):
                    assert isinstance(await cache.lookup(RESET), Hit)
                    assert isinstance(await other.lookup(RESET_TOO), Hit)

                async def counted():
                    return (await cache.store.health()).hits == 60

                await until(counted)
        touches = [
            one for one in seen.all if one.name == "EVALSHA" and one.arguments[0] == writing("touch").sha.encode()
        ]
        assert 2 <= len(touches) <= 2 * (2 + time.monotonic() - began), "about one a second from each process"
        hits = sum(int(one.arguments[-1]) for one in touches if one.error is None)
        assert {one.arguments[-2].decode() for one in touches} == {hit_id}
        assert hits == 60

    run(case)


@pytest.mark.parametrize("without", [(), ("+info", "+cluster|slots", "+ft.info")], ids=["all", "the least"])
def test_nothing_is_sent_that_the_documented_rights_do_not_grant(tmp_path, without):
    """Everything that a cache can do, as a user with exactly these rights; some of them are a convenience."""
    name = fresh_name()
    granted = access_string(name).replace("+@search", "+ft.create +ft.info +ft.search").split()
    rights = " ".join(right for right in granted if right not in without)
    with Valkey(tmp_path, users={"app": f"{rights} >secret", "default": "off"}) as engine, Guard(engine) as guard:

        async def case():
            url = f"memorydb://app:secret@127.0.0.1:{guard.port}?tls=false&cluster=false&name={name}"
            async with open_cache(url, embedder=FakeEmbedder(DIM), policy=LOOSE) as cache:
                model = ScriptedModel()
                await cache.answer(Request(RESET, tenant="acme", tags=("t",)), model)
                await cache.drain()
                assert (await cache.lookup(Request(RESET, tenant="acme"))).tier == "exact"
                assert (await cache.lookup(Request(RESET_TOO, tenant="acme"))).tier == "semantic"
                await cache.remember(await cache.lookup("another"), "answer")
                assert (await cache.stats()).entries == 2
                assert [entry.reply.text async for entry in cache.entries()] == [f"echo: {RESET}", "answer"]
                assert list(await cache.check()) == []
                assert await cache.purge(tag="t") == 1
                assert await cache.purge(everything=True) == 1

        run(case)
        refused = {one[one.index(b"object") + 1].decode().lower() for one in engine.cli("ACL", "LOG")}
        assert refused <= {right.removeprefix("+") for right in without}


# The index follows some time after the writes.


def test_an_answer_is_found_by_its_question_before_the_index_knows_it_and_by_meaning_after(place):
    async def case():
        async with place.open() as cache, place.open() as other:
            place.guard.index_lag_seconds = math.inf
            model = ScriptedModel({RESET: "Click.", RESET_TOO: "Press."})
            await cache.answer(RESET, model)
            await cache.drain()
            for process in (cache, other):
                assert (await process.lookup(RESET)).tier == "exact"
                miss = await process.lookup(RESET_TOO)
                assert miss.reason is MissReason.ABSENT
                assert miss.reasons
            assert (await other.answer(RESET_TOO, model)).text == "Press."
            await other.drain()
            for process in (cache, other):
                assert [(await process.answer(asked, model)).text for asked in (RESET, RESET_TOO)] == [
                    "Click.",
                    "Press.",
                ]
            assert (model.calls, (await cache.stats()).entries) == (2, 2), "nothing is asked or stored twice"
            place.guard.index_lag_seconds = 0
            hit = await cache.lookup(RESET_AGAIN)
            assert (hit.tier, hit.reply.text in ("Click.", "Press.")) == ("semantic", True)
            assert list(await cache.check()) == []

    run(case)


def test_what_the_index_still_has_of_a_replaced_or_purged_answer_is_not_served(place):
    """Rows that come back although their keys have changed or gone."""

    async def case():
        async with place.open() as cache:
            miss = await cache.lookup(RESET)
            await cache.remember(miss, "old")
            await cache.remember(miss, "new")
            place.guard.ghosts = [(place.key_of(miss.key), 0.001)]
            assert (await cache.lookup(RESET_TOO)).reply.text == "new"
            await cache.purge(everything=True)
            assert (await cache.lookup(RESET_TOO)).reason is MissReason.ABSENT
            place.guard.ghosts = []
            await cache.remember(await cache.lookup(RESET), "again")
            place.guard.nil_rows = True
            assert isinstance(await cache.lookup(RESET_TOO), Miss), "a row without its fields is of a key that is going"

    run(case)


# The index is being built, or gone.

BUILDING = [
    "",  # the guard's own; more of them stand in the dialect's tests
    "ERR The index is not ready yet",
    "ERR Index {index} is not available: it is being created",
]


@pytest.mark.parametrize("text", BUILDING)
def test_while_the_index_is_built_the_model_answers_and_the_very_same_question_hits(place, text):
    guard = place.guard
    known = guard.texts["backfilling"]
    guard.texts["backfilling"] = text or known

    async def case():
        async with place.open() as cache:
            model = ScriptedModel({RESET: "Click."})
            await cache.answer(RESET, model)
            await cache.drain()
            guard.backfilling = True
            began = time.monotonic()
            with guard.watching() as seen:
                miss = await cache.lookup(RESET_TOO)
                assert miss.reason is MissReason.STORE_UNAVAILABLE
                assert any("when the index is built" in reason for reason in miss.reasons), miss.reasons
                for number in range(30):
                    asked, same = topic(number)
                    assert (await cache.answer(asked, model)).text == f"echo: {asked}"
                    await cache.drain()
                    assert (await cache.lookup(asked)).tier == "exact"
                    assert (await cache.lookup(RESET)).reply.text == "Click."
                    assert (await cache.lookup(same)).reason is MissReason.STORE_UNAVAILABLE
            searches = seen.counts["FT.SEARCH"]
            assert 1 <= searches <= 2 + time.monotonic() - began, "one a second is enough to hear of the end"
            guard.backfilling = False
            hit = await hit_of(cache, topic(7)[1])
            assert (hit.tier, hit.reply.text) == ("semantic", f"echo: {topic(7)[0]}")
            assert (model.calls, (await cache.stats()).entries) == (31, 31)

    try:
        run(case)
    finally:
        guard.texts["backfilling"] = known


def test_an_index_that_was_dropped_is_made_again_and_finds_what_there_is(place, cluster_engine):
    async def case():
        async with place.open() as cache, place.open() as other:
            for number in range(5):
                await cache.remember(await cache.lookup(topic(number)[0]), f"answer {number}")
            cluster_engine.cli("FT.DROPINDEX", place.layout.index)
            with place.guard.watching() as seen:
                miss = await cache.lookup(topic(3)[1])
                assert miss.reason is MissReason.STORE_UNAVAILABLE
                assert any("made again" in reason for reason in miss.reasons)
                assert (await cache.lookup(topic(3)[0])).tier == "exact"
                for number in range(5):
                    for process in (cache, other):
                        assert (await hit_of(process, topic(number)[1])).reply.text == f"answer {number}"
            assert 1 <= seen.counts["FT.CREATE"] <= 2, "once for each process at most"
            assert list(await cache.check()) == []

    run(case)


@pytest.mark.parametrize("how", ["emptied", "restarted without its data"])
def test_a_server_that_lost_everything_is_a_cache_that_begins_anew(make_engine, make_guard, how):
    engine = make_engine()
    place = Place(make_guard(engine))

    async def case():
        async with place.open() as cache:
            model = ScriptedModel()
            await cache.answer(RESET, model)
            await cache.drain()
            if how == "emptied":
                engine.cli("FLUSHALL")
            else:
                engine.kill()
                await asyncio.to_thread(engine.restart)
            assert isinstance(await cache.lookup(RESET), Miss)
            assert (await cache.answer(RESET, model)).text == f"echo: {RESET}"
            await cache.drain()
            assert (await hit_of(cache, RESET_TOO)).tier == "semantic"
            assert model.calls == 2
            assert (await cache.stats()).entries == 1
            assert list(await cache.check()) == []
        with pytest.raises(StoreMismatch, match="embedder"):
            await place.open(embedder=FakeEmbedder(32, id="other"))

    run(case)


def test_one_index_serves_every_model_tenant_and_schema(place, cluster_engine):
    async def case():
        async with place.open() as cache:
            for number in range(12):
                parts = {"model": f"model-{number}", "tenant": f"tenant-{number}", "system": f"Be number {number}."}
                await cache.answer(Request(RESET, **parts), ScriptedModel({RESET: f"answer {number}"}))
            await cache.drain()
            for number in range(12):
                parts = {"model": f"model-{number}", "tenant": f"tenant-{number}", "system": f"Be number {number}."}
                assert (await cache.lookup(Request(RESET_TOO, **parts))).reply.text == f"answer {number}"
        made = [name for name in cluster_engine.cli("FT._LIST") if name.startswith(f"{place.name}:".encode())]
        assert made == [place.layout.index.encode()]

    run(case)


@pytest.mark.parametrize("profile", ["valkey-search-1.0", "valkey-search-1.2", "redisearch"])
def test_the_same_code_serves_from_valkey_and_redis(engine, make_guard, profile):
    if profile == "redisearch":
        place = Place(None)
        url = f"redis://127.0.0.1:{engine.port}?name={place.name}"
    else:
        place = Place(make_guard(engine, profile=profile))
        url = place.url()

    async def case():
        async with open_cache(url, embedder=FakeEmbedder(DIM), policy=LOOSE) as cache:
            model = ScriptedModel()
            for number in range(30):
                await cache.answer(topic(number)[0], model)
            await cache.drain()
            for number in range(30):
                asked, same = topic(number)
                assert (await cache.lookup(asked)).tier == "exact"
                hit = await cache.lookup(same)
                assert (hit.tier, hit.reply.text) == ("semantic", f"echo: {asked}")
            assert await cache.purge(everything=True) == 30
            assert isinstance(await cache.lookup(topic(3)[1]), Miss)
            assert list(await cache.check()) == []

    try:
        run(case)
    finally:
        if profile == "redisearch":
            engine.cli("FT.DROPINDEX", place.layout.index)


# Whose an answer is.


@pytest.mark.parametrize("order", ["nearest", "document", "reversed"])
def test_no_tenant_sees_anothers_answer_whatever_rows_the_index_gives(place, order):
    tenants = ("acme", "globex")

    async def case():
        async with place.open() as cache:
            keys = {}
            for number in range(6):
                for tenant in tenants:
                    miss = await cache.lookup(Request(topic(number)[0], tenant=tenant))
                    keys[tenant, number] = place.key_of(miss.key)
                    if tenant == "acme" or number < 3:
                        await cache.remember(miss, f"{tenant} {number}")
            place.guard.order = order
            for tenant, foreign in (tenants, tenants[::-1]):
                for number in range(6):
                    place.guard.ghosts = [(keys[foreign, number], 0.0)]
                    outcome = await cache.lookup(Request(topic(number)[1], tenant=tenant))
                    if tenant == "globex" and number >= 3:
                        assert isinstance(outcome, Miss)
                        assert not outcome.nearest
                        assert isinstance(await cache.lookup(Request(topic(number)[0], tenant=tenant)), Miss)
                    else:
                        assert (outcome.tier, outcome.reply.text) == ("semantic", f"{tenant} {number}")
                        assert outcome.entry.scope.tenant == tenant
            place.guard.ghosts = [(keys[tenant, 1], 0.0) for tenant in tenants]
            assert isinstance(await cache.lookup(Request(topic(1)[1])), Miss), "one without a tenant is neither of them"
            place.guard.ghosts = []
            assert await cache.purge(tenant="acme") == 6
            assert isinstance(await cache.lookup(Request(topic(0)[1], tenant="acme")), Miss)
            assert (await cache.lookup(Request(topic(0)[1], tenant="globex"))).reply.text == "globex 0"

    run(case)


# Life, on the server.


def test_an_expired_row_that_the_index_lists_is_not_served(place):
    async def case():
        clock = FakeClock()
        async with place.open(
            clock=clock, policy=Policy(max_error_rate=None, min_similarity=0.7, ttl_seconds=100)
        ) as cache:
            miss = await cache.lookup(RESET)
            await cache.remember(miss, "Click.")
            place.guard.ghosts = [(place.key_of(miss.key), 0.001)]
            assert (await cache.lookup(RESET_TOO)).reply.text == "Click."
            clock.advance(100)
            assert isinstance(await cache.lookup(RESET_TOO), Miss)
            assert (await cache.lookup(RESET)).reason is MissReason.EXPIRED

    run(case)


def test_every_answer_has_its_expiry_from_the_first_moment_and_no_hit_prolongs_it(place, cluster_engine):
    async def case():
        def expiries():
            with cluster_engine.wire() as wire:
                return {key: wire.ask("PEXPIRETIME", key) for key in wire.scan(f"{place.layout.questions}*")}

        async with place.open(policy=Policy(max_error_rate=None, min_similarity=0.7, ttl_seconds=1000)) as cache:
            miss = await cache.lookup(RESET)
            place.guard.cut("EVALSHA", when="after")  # the write is the last that is heard of us
            await cache.remember(miss, "Click.")
            before = expiries()
            assert list(before) == [place.key_of(miss.key).encode()]
            assert all(0 < at / 1000 - time.time() < 1000 + 2 * 3600 for at in before.values())
            for _ in range(3):
                assert isinstance(await hit_of(cache, RESET), Hit)
                assert isinstance(await hit_of(cache, RESET_TOO), Hit)

            async def counted():
                return (await cache.store.health()).hits >= 6

            await until(counted)
            assert expiries() == before

    run(case)


def test_counting_a_hit_brings_nothing_back_that_has_gone(place, cluster_engine):
    async def case():
        async with place.open() as cache, place.open() as other:
            hits = []
            for asked in ("expired meanwhile", "purged meanwhile"):
                await cache.remember(await cache.lookup(asked), "answer")
                hits.append(await cache.lookup(asked))
            gone = [place.key_of(hit.key) for hit in hits] + [place.layout.anchors + hit.entry.id for hit in hits]
            cluster_engine.cli("PEXPIRE", gone[0], 0)
            await other.purge(id=hits[1].entry.id)

            async def counted():
                return (await other.store.health()).hits == 2

            await until(counted)
            assert list(await other.check()) == []
            assert cluster_engine.cli("EXISTS", *gone) == 0
            assert (await cache.stats()).entries == 0

    run(case)


def test_the_vector_goes_with_its_answer(place, cluster_engine):
    def indexed():
        told = cluster_engine.cli("FT.INFO", place.layout.index)
        return int(told[told.index(b"num_docs") + 1])

    async def case():
        async with place.open(policy=Policy(max_error_rate=None, min_similarity=0.7, ttl_seconds=1000)) as cache:
            kept, expired, purged = (topic(number)[0] for number in range(3))
            misses = {asked: await cache.lookup(asked) for asked in (kept, expired, purged)}
            for asked, miss in misses.items():
                await cache.remember(miss, f"about {asked}")
            assert indexed() == 3
            cluster_engine.cli("PEXPIRE", place.key_of(misses[expired].key), 0)
            await cache.purge(id=(await cache.lookup(purged)).entry.id)
            assert indexed() == 1
            assert list(await cache.check()) == []
            stats = await cache.stats()
            assert (stats.entries, stats.questions, stats.vectors) == (1, 1, 1)

    run(case)


def test_the_same_question_asked_again_is_one_row(place, cluster_engine):
    def keys():
        with cluster_engine.wire() as wire:
            return sorted(wire.scan(f"{place.name}:*"))

    async def case():
        clock = FakeClock()
        async with place.open(
            clock=clock, policy=Policy(max_error_rate=None, min_similarity=0.99, ttl_seconds=100)
        ) as cache:
            counts = []
            for _ in range(4):  # each time the answer has expired and is made anew
                await cache.answer(RESET, ScriptedModel())
                await cache.drain()
                counts.append([key for key in keys() if b":claim:" not in key])
                clock.advance(101)
            assert counts[0] == counts[-1]
            assert (await cache.stats()).entries == 1

    run(case)


def test_another_embedder_is_refused_with_what_to_do(place):
    async def case():
        async with place.open() as cache:
            await cache.remember(await cache.lookup(RESET), "Click.")
            for other in (FakeEmbedder(DIM, id="newer"), FakeEmbedder(2 * DIM), "none"):
                with pytest.raises(StoreMismatch, match=r"embedder.*name="):
                    await place.open(embedder=other)
            assert (await cache.lookup(RESET_TOO)).reply.text == "Click."

    run(case)


def test_all_that_came_with_a_reply_comes_again_in_another_process_in_its_own_pieces(place):
    said = Reply(
        text="Click. 押してください。",
        model="m1-2026",
        chunk_lengths=(6, 9),
        sources=("s3://bucket/a.pdf",),
        latency_seconds=1.5,
        cost_usd=0.25,
        extra='{"reasoning_content":"thought"}',
    )

    async def case():
        async with place.open() as cache, place.open() as other:
            model = ScriptedModel({RESET: said})
            assert "".join([piece async for piece in cache.stream(RESET, model.stream)]) == said.text
            await cache.drain()
            for asked in (RESET, RESET_TOO):
                assert (await other.lookup(asked)).reply == said
                stream = other.stream(asked, model.stream)
                assert [piece async for piece in stream] == ["Click.", " 押してください。"]
            assert model.calls == 1

    run(case)


def test_without_an_embedder_there_is_no_index_and_the_very_same_question_hits(make_engine, make_guard):
    place = Place(make_guard(make_engine(search=False)))

    async def case():
        with pytest.raises(ConfigurationError, match="search-enabled=yes"):
            await place.open()
        async with place.open(embedder="none") as cache:
            await cache.answer(RESET, ScriptedModel())
            await cache.drain()
            with place.guard.watching() as seen:
                assert (await cache.lookup(RESET)).tier == "exact"
                assert isinstance(await cache.lookup(RESET_TOO), Miss)
            assert not [name for name in seen.names if name.startswith("FT.")]

    run(case)


# What only a person can mend is said when the cache is opened.


def test_an_error_at_making_the_index_is_told_and_not_swallowed(place):
    async def refused(error):
        place.guard.fail("FT.CREATE", error)
        with pytest.raises(ConfigurationError) as raised:
            await place.open()
        return str(raised.value)

    async def case():
        assert "search-enabled=yes" in await refused("ERR unknown command 'FT.CREATE', with args beginning with: 'x'")
        assert "access string" in await refused("NOPERM this user has no permissions to run the 'ft.create' command")
        assert "FT.DROPINDEX" in await refused("ERR The limit of 10 indexes is reached")
        assert "no room today" in await refused("ERR no room today")
        async with place.open() as cache:
            assert isinstance(await cache.lookup(RESET), Miss)

    run(case)


def test_tls_is_verified_to_the_name_and_its_authority(cluster_engine, tmp_path):
    def guarded(folder, *names):
        return Guard(cluster_engine, certificates=Certificates.make(tmp_path / folder, *names))

    async def case(good, misnamed):
        place = Place(good)
        assert good.url.startswith("memorydb://localhost:")
        async with place.open("&cluster=true") as cache:
            await cache.answer(RESET, ScriptedModel())
            await cache.drain()
            assert (await cache.lookup(RESET)).tier == "exact"
            assert (await cache.lookup(RESET_TOO)).tier == "semantic"
        foreign = tmp_path / "misnamed" / "authority.pem"
        for wrong, says in (
            (place.url().replace(str(good.certificates.authority), str(foreign)), r"not trusted.*\?ca=FILE"),
            (f"memorydb://localhost:{good.port}", r"not trusted.*\?ca=FILE"),
            (Place(misnamed).url(), r"not trusted.*(?i:hostname).*made out to"),
            (f"memorydb://localhost:{good.port}?ca={tmp_path}/nothing.pem", "can't be read"),
        ):
            with pytest.raises(ConfigurationError, match=says):
                await open_cache(wrong, embedder=FakeEmbedder(DIM))
        guard_indexes = [definition.name for definition in good.made()]
        cluster_engine.cli("FT.DROPINDEX", *guard_indexes)

    with guarded("good") as good, guarded("misnamed", "cache.example") as misnamed:
        run(lambda: case(good, misnamed))
