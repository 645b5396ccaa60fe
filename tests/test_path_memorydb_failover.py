"""The whole cache when its server fails: callers get answers all the same, hits come back by themselves, none is wrong."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, ExitStack

import pytest

from engines.guard import Guard
from engines.valkey import Valkey, free_port, wait_until
from test_path_memorydb import RESET, RESET_AGAIN, RESET_TOO, Place, hit_of, run, topic, until
from test_stores_memorydb import guard_command
from yamabiko import Hit, Miss, Request
from yamabiko.errors import StoreUnavailable
from yamabiko.testing import ScriptedModel
from yamabiko.types import MissReason


@pytest.fixture(scope="module")
def guard(cluster_engine):
    with Guard(cluster_engine, profile="memorydb") as running:
        yield running


@pytest.fixture
def place(guard):
    made = Place(guard)
    yield made
    guard.heal()
    for index in guard.made():
        guard_command(guard, "FT.DROPINDEX", index.name)


def written(told):
    """What became of the answers, by the cache's own account."""
    return [event.outcome for event in told if event.call == "remember"]


async def ask(cache, way, question, model):
    """The answer's text, by one of the ways to ask."""
    if way == "stream":
        return "".join([piece async for piece in cache.stream(question, model.stream)])
    if way == "answer":
        return (await cache.answer(question, model)).text
    outcome = await cache.lookup(question)
    if isinstance(outcome, Hit):
        return outcome.reply.text
    reply = await model(outcome.request)
    await cache.remember(outcome, reply)
    return reply


# A server that is not there.


@pytest.mark.parametrize("scheme", ["valkey", "memorydb"])
def test_a_server_that_is_down_is_said_when_the_cache_is_opened(scheme):
    async def case():
        from yamabiko import open_cache

        port = free_port()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} can't be reached"):
            await open_cache(f"{scheme}://127.0.0.1:{port}?connect_timeout=5", embedder="none")

    run(case)


@pytest.mark.parametrize("way", ["answer", "stream", "lookup"])
def test_while_the_server_is_away_the_model_answers_and_then_hits_come_back(place, way):
    async def case():
        told = []
        async with place.open(hooks=[told.append]) as cache:
            model = ScriptedModel()
            await ask(cache, way, RESET, model)
            await cache.drain()
            place.guard.refuse_connections()
            place.guard.drop_connections()
            told.clear()
            for number in range(40):
                asked, _ = topic(number)
                assert await ask(cache, way, asked, model) == f"echo: {asked}"
            miss = await cache.lookup(RESET)
            assert miss.reason is MissReason.STORE_UNAVAILABLE
            assert any("left alone" in reason for reason in miss.reasons), "it is not asked again at each look-up"
            await cache.drain()
            assert cache.store.connection.figures.breaker_openings >= 1
            assert set(written(told)) == {"failed"}
            for call in (cache.stats, cache.check, lambda: cache.purge(tag="t")):
                with pytest.raises(StoreUnavailable):  # who asks for the store itself is told
                    await call()
            place.guard.listen_again()
            assert (await hit_of(cache, RESET)).reply.text == f"echo: {RESET}"
            assert (await hit_of(cache, RESET_TOO)).tier == "semantic"
            await ask(cache, way, topic(1)[0], model)
            await cache.drain()
            assert (await hit_of(cache, topic(1)[1])).reply.text == f"echo: {topic(1)[0]}"
            assert list(await cache.check()) == []

    run(case)


def test_what_was_acknowledged_is_there_after_the_server_was_killed(make_engine, make_guard):
    engine = make_engine(appendonly=True)
    place = Place(make_guard(engine))

    async def case():
        async with place.open() as cache, place.open() as other:
            model = ScriptedModel()
            for number in range(10):
                await ask(cache, "lookup", topic(number)[0], model)
            engine.kill()
            assert (await cache.answer("meanwhile", model)).text == "echo: meanwhile"
            assert isinstance(await other.lookup(topic(0)[0]), Miss)
            await asyncio.to_thread(engine.restart)
            for number in range(10):
                for process in (cache, other):
                    assert (await hit_of(process, topic(number)[0])).tier == "exact"
                    hit = await hit_of(process, topic(number)[1])
                    assert (hit.tier, hit.reply.text) == ("semantic", f"echo: {topic(number)[0]}")
            assert model.calls == 11
            assert list(await cache.check()) == []

    run(case)


def test_connections_that_dropped_while_nobody_asked_cost_no_hit(place):
    async def dropped():
        place.guard.drop_connections()
        for _ in range(10):  # turns of the event loop, which then knows
            await asyncio.sleep(0)

    async def case():
        async with place.open() as cache:
            await ask(cache, "lookup", RESET, ScriptedModel())
            for _ in range(3):
                await dropped()
                assert (await cache.lookup(RESET)).tier == "exact"
                await dropped()
                assert (await cache.lookup(RESET_TOO)).tier == "semantic"
            await dropped()
            assert await cache.remember(await cache.lookup(topic(1)[0]), "stored") is not None
            await dropped()
            assert (await cache.lookup(topic(1)[1])).reply.text == "stored"

    run(case)


# A server that is slow.


def test_a_server_that_never_replies_costs_its_deadline_and_then_nothing(place):
    async def case():
        model = ScriptedModel()
        async with place.open() as cache:
            await ask(cache, "lookup", RESET, model)
        async with place.open("&timeout_seconds=2") as cache:
            place.guard.hold(times=None)
            began = time.monotonic()
            misses = await asyncio.gather(*(cache.lookup(topic(number)[0]) for number in range(8)))
            assert {miss.reason for miss in misses} == {MissReason.STORE_UNAVAILABLE}
            assert time.monotonic() - began < 8, "all at once wait for one deadline"
            began = time.monotonic()
            for number in range(8):
                assert await ask(cache, "answer", topic(number)[0], model) == f"echo: {topic(number)[0]}"
            assert time.monotonic() - began < 8, "half of eight deadlines: few of them try whether it is back"
            place.guard.heal()
            assert (await hit_of(cache, RESET)).tier == "exact"
            assert (await hit_of(cache, RESET_TOO)).reply.text == f"echo: {RESET}"

    run(case)


def test_a_cache_can_be_closed_while_its_server_hangs(place):
    async def case():
        told = []
        cache = await place.open("&timeout_seconds=2", hooks=[told.append])

        async def model(_):
            place.guard.hold(times=None)
            return "Click."

        async with asyncio.timeout(20):
            assert (await cache.answer(RESET, model)).text == "Click."
            await cache.close()  # the write is still under way
        assert written(told) == ["failed"]
        miss = await cache.lookup(RESET)
        assert miss.reason is MissReason.STORE_UNAVAILABLE
        assert any("closed" in reason for reason in miss.reasons)

    run(case)


def test_a_slow_search_holds_up_no_hit_by_key(place):
    async def case():
        model = ScriptedModel()
        async with place.open() as cache:
            await ask(cache, "lookup", RESET, model)
        async with place.open("&timeout_seconds=2&connections=1") as cache:
            rule = place.guard.hold("FT.SEARCH", times=None)
            slow = asyncio.create_task(cache.lookup(RESET_TOO))
            await asyncio.to_thread(rule.wait_reached)
            for _ in range(20):
                assert (await cache.lookup(RESET)).tier == "exact"
            miss = await slow
            assert miss.reason is MissReason.STORE_UNAVAILABLE
            assert any("2 seconds" in reason or "too long" in reason for reason in miss.reasons), miss.reasons
            place.guard.heal()
            assert (await hit_of(cache, RESET_TOO)).tier == "semantic"

    run(case)


def test_late_replies_cuts_and_callers_who_leave_mix_no_answers_up(place):
    async def case():
        chance = random.Random(5)
        async with place.open("&connections=2") as cache:
            model = ScriptedModel()
            for number in range(12):
                await ask(cache, "lookup", topic(number)[0], model)
            place.guard.delay("EVALSHA", 0.004)
            place.guard.delay("FT.SEARCH", 0.006)

            async def caller(number, patience):
                asked = topic(number)[chance.randrange(2)]
                async with asyncio.timeout(patience):
                    outcome = await cache.lookup(asked)
                if isinstance(outcome, Hit):
                    assert outcome.reply.text == f"echo: {topic(number)[0]}"
                return isinstance(outcome, Hit)

            callers = []
            for turn in range(400):
                if turn % 80 == 40:
                    place.guard.cut(chance.choice(["EVALSHA", "FT.SEARCH"]), after_bytes=chance.choice([0, 3, 40]))
                patience = chance.random() * 0.03 if turn % 3 == 0 else 20
                callers.append(asyncio.create_task(caller(turn % 12, patience)))
                if turn % 8 == 0:
                    await asyncio.sleep(0.004)
            outcomes = await asyncio.gather(*callers, return_exceptions=True)
            wrong = [one for one in outcomes if not isinstance(one, bool | TimeoutError)]
            assert wrong == []
            assert outcomes.count(True) > 150
            place.guard.heal()
            assert (await hit_of(cache, topic(3)[1])).reply.text == f"echo: {topic(3)[0]}"

    run(case)


# A node that answers, but not with what was asked for.


@pytest.mark.parametrize("state", ["readonly", "loading", "clusterdown"])
def test_a_node_that_is_not_itself_costs_hits_and_no_answer(place, state):
    async def case():
        told = []
        async with place.open(hooks=[told.append]) as cache:
            model = ScriptedModel({RESET_AGAIN: "never asked for"})
            await ask(cache, "answer", RESET, model)
            await cache.drain()
            setattr(place.guard, state, True)
            told.clear()
            for number in range(10):
                asked, _ = topic(number)
                assert await ask(cache, "answer", asked, model) == f"echo: {asked}"
                await cache.drain()
                if state == "readonly":  # reading goes on
                    assert (await cache.lookup(RESET)).tier == "exact"
                    assert (await cache.lookup(RESET_TOO)).tier == "semantic"
                else:
                    assert (await cache.lookup(RESET)).reason is MissReason.STORE_UNAVAILABLE
            assert set(written(told)) == {"failed"}
            setattr(place.guard, state, False)
            assert (await hit_of(cache, RESET)).tier == "exact"
            assert (await hit_of(cache, RESET_AGAIN)).reply.text == f"echo: {RESET}"

            async def stored():
                await ask(cache, "answer", "once more", model)
                await cache.drain()
                return isinstance(await cache.lookup("once more"), Hit)

            await until(stored)
            assert list(await cache.check()) == []

    run(case)


@pytest.mark.parametrize(
    "text",
    [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "ERR max number of clients reached",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "ERR something that nobody has heard of",
    ],
    ids=lambda text: text.split()[0] + str(len(text)),
)
def test_an_error_of_whatever_kind_reaches_no_caller(place, text):
    async def case():
        async with place.open() as cache:
            model = ScriptedModel()
            await ask(cache, "answer", RESET, model)
            await cache.drain()
            rule = place.guard.fail(None, text, times=None)
            for number in range(6):
                for way in ("answer", "stream", "lookup"):
                    asked = f"{topic(number)[0]} {way}"
                    assert await ask(cache, way, asked, model) == f"echo: {asked}"
            await cache.drain()
            miss = await cache.lookup(RESET)
            assert (miss.reason, len(miss.reasons)) == (MissReason.STORE_UNAVAILABLE, 1)
            assert rule.used > 0
            place.guard.heal()
            assert (await hit_of(cache, RESET)).tier == "exact"
            assert (await hit_of(cache, RESET_TOO)).tier == "semantic"

    run(case)


def test_scripts_that_the_server_has_forgotten_are_sent_again(place, cluster_engine):
    async def case():
        async with place.open() as cache:
            model = ScriptedModel()
            await ask(cache, "answer", RESET, model)
            await cache.drain()
            cluster_engine.cli("SCRIPT", "FLUSH")
            assert (await cache.lookup(RESET)).tier == "exact"
            cluster_engine.cli("SCRIPT", "FLUSH")
            await ask(cache, "answer", topic(1)[0], model)
            await cache.drain()
            assert (await cache.lookup(topic(1)[1])).tier == "semantic"

    run(case)


@pytest.mark.parametrize("to", ["itself", "nobody"])
def test_slots_that_move_in_circles_are_not_followed_for_ever(place, to):
    async def case():
        async with place.open() as cache:
            model = ScriptedModel()
            await ask(cache, "answer", RESET, model)
            await cache.drain()
            target = f"127.0.0.1:{place.guard.port if to == 'itself' else free_port()}"
            rule = place.guard.move(target)
            with place.guard.watching() as seen:
                for number in range(10):
                    asked, _ = topic(number)
                    assert await ask(cache, "answer", asked, model) == f"echo: {asked}"
                    assert (await cache.lookup(RESET)).reason is MissReason.STORE_UNAVAILABLE
                await cache.drain()
            assert rule.used > 0
            assert len(seen.work) <= 2 * 10 * 6, "each command goes once more at most"
            place.guard.heal()
            assert (await hit_of(cache, RESET)).tier == "exact"
            assert (await hit_of(cache, RESET_TOO)).tier == "semantic"

    run(case)


def test_a_full_server_is_no_error_for_who_asks_and_hits_go_on(place):
    async def case():
        told = []
        async with place.open(hooks=[told.append]) as cache:
            model = ScriptedModel()
            await ask(cache, "answer", RESET, model)
            await cache.drain()
            place.guard.out_of_memory = True
            told.clear()
            for number in range(10):
                assert await ask(cache, "answer", topic(number)[0], model) == f"echo: {topic(number)[0]}"
                await cache.drain()
                assert (await cache.lookup(RESET)).tier == "exact"
                assert (await cache.lookup(RESET_TOO)).tier == "semantic"
            assert written(told) == ["failed"] * 10
            assert all("maxmemory-policy" in event.why for event in told if event.call == "remember")
            figures = cache.store.connection.figures
            assert figures.out_of_memory >= 10
            assert figures.breaker_openings == 0
            assert await cache.purge(everything=True) == 1, "removing is what a full server needs"
            place.guard.out_of_memory = False
            await ask(cache, "answer", topic(1)[0], model)
            await cache.drain()
            assert isinstance(await cache.lookup(topic(1)[1]), Hit)

    run(case)


@pytest.mark.parametrize(
    "options",
    [{"when": "before"}, {"when": "after"}, {"when": "after", "after_bytes": 1}],
    ids=["before", "after", "within"],
)
@pytest.mark.parametrize("way", ["answer", "lookup"])
def test_a_write_whose_connection_drops_is_stored_or_not_and_never_half(place, way, options):
    async def case():
        told = []
        async with place.open(hooks=[told.append]) as cache, place.open() as other:
            model = ScriptedModel()
            await ask(cache, way, "warm the scripts", model)
            await cache.drain()

            async def cutting(request):  # between the question and the write
                place.guard.cut("EVALSHA", **options)
                return await model(request)

            if way == "answer":
                assert (await cache.answer(RESET, cutting)).text == f"echo: {RESET}"
            else:
                miss = await cache.lookup(RESET)
                await cache.remember(miss, await cutting(miss.request))
            await cache.drain()
            assert written(told)[-1] == "failed", "nobody has heard that it was stored"
            there = options["when"] == "after"
            for process in (cache, other):
                assert isinstance(await process.lookup(RESET), Hit) is there
                assert isinstance(await process.lookup(RESET_TOO), Hit) is there
            assert list(await other.check()) == []
            assert await ask(cache, way, RESET, model) == f"echo: {RESET}"
            await cache.drain()
            assert (await other.lookup(RESET_TOO)).reply.text == f"echo: {RESET}"
            stats = await other.stats()
            assert (stats.entries, stats.questions, stats.vectors) == (2, 2, 2)
            assert list(await other.check()) == []

    run(case)


# A primary and its replica.


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Two nodes of a cluster, each behind a guard that tells clients of the other's guard; the last test kills one."""
    one, ports = Valkey(tmp_path_factory.mktemp("one"), cluster=True), {}
    with ExitStack() as stack:
        stack.enter_context(one)
        two = stack.enter_context(Valkey(tmp_path_factory.mktemp("two"), cluster=True, replica_of=one))
        first, second = (stack.enter_context(Guard(engine, ports=ports)) for engine in (one, two))
        wait_until(lambda: len(one.cli("CLUSTER", "SLOTS")[0]) == 4, "the primary tells of its replica")
        yield (one, first), (two, second)


def test_while_a_replica_builds_its_index_the_primary_is_searched(shard):
    (_, first), (two, second) = shard
    place = Place(first)

    async def case():
        async with place.open() as cache:
            await ask(cache, "lookup", RESET, ScriptedModel())
        await asyncio.to_thread(two.wait_for_replication)
        async with place.open("&replica_search=true") as cache:
            with second.watching() as seen:
                assert (await hit_of(cache, RESET_TOO)).tier == "semantic"
                assert (await cache.lookup(RESET)).tier == "exact"
            assert set(seen.names) == {"FT.SEARCH"}, "all that is read by key is read where it was written"
            second.backfilling = True
            with first.watching() as seen:
                miss = await cache.lookup(RESET_TOO)
                assert miss.reason is MissReason.STORE_UNAVAILABLE
                assert any("when the index is built" in reason for reason in miss.reasons)
                assert (await hit_of(cache, RESET_TOO)).tier == "semantic"
            assert seen.counts["FT.SEARCH"] == 1
            second.backfilling = False

    run(case)


def test_a_failover_under_load_gives_no_wrong_answer(shard):
    """Two processes, one of which searches on the replica; the primary is killed and the replica takes over."""
    (one, first), (two, second) = shard
    place, tenants, topics = Place(first), ("acme", "globex"), range(15)
    wrong, counted = [], {"hits": 0, "misses": 0}

    def said(tenant, asked):
        return f"{tenant} {sorted(asked.split())}"

    def model_of(tenant):
        async def model(request):
            return said(tenant, request.messages[-1].text)

        return model

    async def asker(cache, chance, stopped):
        while not stopped.is_set():
            tenant, asked = chance.choice(tenants), chance.choice(topic(chance.choice(topics)))
            request = Request(asked, tenant=tenant)
            outcome = await cache.lookup(request)
            counted["hits" if isinstance(outcome, Hit) else "misses"] += 1
            answers = [(await cache.answer(request, model_of(tenant))).text]
            answers += [outcome.reply.text] if isinstance(outcome, Hit) else []
            wrong.extend(text for text in answers if text != said(tenant, asked))
            await asyncio.sleep(0.002)

    async def reached(kind, number):
        async def there():
            return counted[kind] >= number

        await until(there)

    async def case():
        async with AsyncExitStack() as stack:
            caches = [await stack.enter_async_context(place.open("&claim_seconds=0"))]
            await asyncio.to_thread(two.wait_for_replication)  # it has the index now
            more = "&claim_seconds=0&replica_search=true"
            caches.append(await stack.enter_async_context(place.open(more)))
            stopped, chance = asyncio.Event(), random.Random(7)
            with second.watching() as seen:
                askers = [asyncio.create_task(asker(cache, chance, stopped)) for cache in caches for _ in range(3)]
                await reached("hits", 200)
            assert seen.counts["FT.SEARCH"] > 10
            await asyncio.to_thread(two.wait_for_replication)
            one.kill()
            await reached("misses", counted["misses"] + 5)  # the hole
            await asyncio.to_thread(two.take_over)
            for cache in caches:
                for number in topics:
                    await cache.answer(Request(topic(number)[0], tenant="acme"), model_of("acme"))
                hit = await hit_of(cache, Request(topic(2)[1], tenant="acme"))
                assert hit.reply.text == said("acme", topic(2)[1])
            await reached("hits", counted["hits"] + 200)
            stopped.set()
            await asyncio.gather(*askers)  # nothing was raised to any caller
            assert wrong == []
            for cache in caches:
                await cache.drain()
            assert list(await caches[0].check()) == []

    run(case, 60)
