"""Several caches on one store: one model call for one question, and what was purged never comes back."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from yamabiko import Hit, Miss, Policy, Reply, Request, open_cache
from yamabiko.errors import StoreUnavailable
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel

Q = "How do I reset my password?"
A = f"echo: {Q}"


async def until(condition):
    """Let the loop run until the condition holds."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("the condition never came true")


class Watched:
    """Notes what each claim came to; may hold up the first one."""

    claims = ()
    gate = None
    begun = False

    async def claim(self, name, holder, /, *, seconds, now):
        self.begun = True
        if self.gate is not None:
            await self.gate.wait()
        got = await super().claim(name, holder, seconds=seconds, now=now)
        self.claims = (*self.claims, got)
        return got

    @property
    def waits(self):
        return None in self.claims


class WatchedSqlite(Watched, SqliteStore):
    pass


class WatchedMemoryDB(Watched, MemoryDBStore):
    pass


class Place:
    """Where the caches of one test share a store."""

    def __init__(self, opening):
        self._opening = opening

    @asynccontextmanager
    async def caches(self, number, kinds=(), **options):
        """So many caches as so many processes would have them; ``store``, ``told`` and the like are attributes."""
        async with AsyncExitStack() as stack:
            caches = []
            for i in range(number):
                told = []
                store = await self._opening(kinds[i] if i < len(kinds) else None)
                chosen = {"embedder": FakeEmbedder(), "hooks": [told.append], "store": store} | options
                caches.append(await stack.enter_async_context(open_cache(**chosen)))
                caches[-1].told = told
            yield caches


@pytest.fixture(params=["sqlite", "server"])
def place(request, tmp_path):
    if request.param == "sqlite":

        async def opening(kind):
            return (kind or WatchedSqlite)(tmp_path / "cache.db", embedder="fake", dim=64)

        return Place(opening)
    engine, name = request.getfixturevalue("engine"), secrets.token_hex(4)
    address = Address.parse(f"redis://127.0.0.1:{engine.port}?name={name}")

    async def opening_on_server(kind):
        return await (kind or WatchedMemoryDB).open(address, embedder="fake", dim=64)

    return Place(opening_on_server)


@pytest.fixture
def place_in_a_file(tmp_path):
    async def opening(kind):
        return (kind or WatchedSqlite)(tmp_path / "cache.db", embedder="fake", dim=64)

    return Place(opening)


def settings(**store):
    from yamabiko.settings import Settings, StoreSettings

    return Settings(store=StoreSettings(**store))


def events(cache, call, outcome):
    return [event for event in cache.told if (event.call, event.outcome) == (call, outcome)]


def test_one_generates_and_the_others_get_its_answer(place):
    async def case():
        async with place.caches(3) as (leader, *followers):
            model, none = ScriptedModel(gate=asyncio.Event()), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            others = [asyncio.create_task(cache.answer(Q, none)) for cache in followers]
            await until(lambda: all(cache.store.waits for cache in followers))
            model.gate.set()
            assert [reply.text for reply in await asyncio.gather(first, *others)] == [A] * 3
            assert (model.calls, none.calls) == (1, 0)
            for cache in followers:
                (event,) = events(cache, "answer", "hit")
                assert (event.tier, event.shared) == ("exact", True)
                assert cache.told == [event]
            assert (await leader.stats()).entries == 1

    asyncio.run(case())


def test_a_stream_that_waited_comes_in_the_pieces_of_the_first(place):
    async def case():
        async with place.caches(2) as (leader, follower):
            model, none = ScriptedModel(gate=asyncio.Event()), ScriptedModel()

            async def pieces(cache, generate):
                stream = cache.stream(Q, generate)
                return [piece async for piece in stream], stream.outcome

            first = asyncio.create_task(pieces(leader, model.stream))
            await model.started.wait()
            second = asyncio.create_task(pieces(follower, none.stream))
            await until(lambda: follower.store.waits)
            model.gate.set()
            (led, miss), (followed, hit) = await first, await second
            assert "".join(led) == A
            assert followed == led
            assert isinstance(miss, Miss)
            assert isinstance(hit, Hit)
            assert hit.shared
            assert none.calls == 0

    asyncio.run(case())


def test_after_a_failure_the_next_one_tries(place):
    async def case():
        async with place.caches(2) as (leader, follower):
            model, other = ScriptedModel(gate=asyncio.Event(), fail_with=RuntimeError("upstream")), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            second = asyncio.create_task(follower.answer(Q, other))
            await until(lambda: follower.store.waits)
            model.gate.set()
            with pytest.raises(RuntimeError, match="upstream"):
                await first
            assert (await second).text == A
            assert other.calls == 1

    asyncio.run(case())


def test_after_its_callers_left_the_next_one_tries(place):
    async def case():
        async with place.caches(2) as (leader, follower):
            model, other = ScriptedModel(gate=asyncio.Event()), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            second = asyncio.create_task(follower.answer(Q, other))
            await until(lambda: follower.store.waits)
            first.cancel()
            assert (await second).text == A
            assert (model.cancelled, other.calls) == (1, 1)

    asyncio.run(case())


def test_where_the_answer_is_not_worth_storing_all_go_on_at_once(place):
    async def case():
        async with place.caches(4) as (leader, *followers):
            cut = Reply(text="half an ans", finish_reason="length")
            model, others = ScriptedModel({Q: cut}, gate=asyncio.Event()), ScriptedModel({Q: cut}, gate=asyncio.Event())
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            waiting = [asyncio.create_task(cache.answer(Q, others)) for cache in followers]
            await until(lambda: all(cache.store.waits for cache in followers))
            model.gate.set()
            await until(lambda: others.running == len(followers))
            others.gate.set()
            assert {reply.text for reply in await asyncio.gather(first, *waiting)} == {"half an ans"}
            assert (await leader.stats()).entries == 0

    asyncio.run(case())


def test_nobody_waits_longer_than_is_set(place):
    async def case():
        async with place.caches(2, settings=settings(claim_wait_seconds=0.05)) as (leader, follower):
            model, other = ScriptedModel(gate=asyncio.Event()), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            assert (await follower.answer(Q, other)).text == A
            await follower.drain()
            assert isinstance(await follower.lookup(Q), Hit)
            model.gate.set()
            assert (await first).text == A

    asyncio.run(case())


def test_without_claims_each_generates_for_itself(place):
    async def case():
        async with place.caches(2, settings=settings(claim_seconds=0)) as caches:
            models = [ScriptedModel(gate=asyncio.Event()) for _ in caches]
            asked = [asyncio.create_task(cache.answer(Q, model)) for cache, model in zip(caches, models, strict=True)]
            await until(lambda: all(model.running for model in models))
            for model in models:
                model.gate.set()
            await asyncio.gather(*asked)
            assert [cache.store.claims for cache in caches] == [(), ()]

    asyncio.run(case())


def test_a_long_generation_keeps_its_claim(place):
    async def case():
        async with place.caches(2, settings=settings(claim_seconds=0.3)) as (leader, follower):
            model, other = ScriptedModel(gate=asyncio.Event()), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            second = asyncio.create_task(follower.answer(Q, other))
            started = time.monotonic()
            await until(lambda: time.monotonic() > started + 1.0)
            assert not any(follower.store.claims)
            model.gate.set()
            await asyncio.gather(first, second)
            assert (model.calls, other.calls) == (1, 0)

    asyncio.run(case())


def test_who_died_is_followed_when_the_lease_ends(place):
    async def case():
        async with place.caches(2, settings=settings(claim_seconds=0.3)) as (dead, follower):
            miss = await dead.lookup(Q)
            await dead.store.claim(f"generate:{miss.key.hex}", "killed", seconds=0.3, now=time.time())
            model = ScriptedModel()
            assert (await follower.answer(Q, model)).text == A
            assert follower.store.waits
            assert model.calls == 1

    asyncio.run(case())


def test_a_closing_cache_lets_go(place):
    async def case():
        async with place.caches(2) as (leader, follower):
            model, other = ScriptedModel(gate=asyncio.Event()), ScriptedModel()
            first = asyncio.create_task(leader.answer(Q, model))
            await model.started.wait()
            second = asyncio.create_task(follower.answer(Q, other))
            await until(lambda: follower.store.waits)
            await leader.close()
            assert (await second).text == A
            model.gate.set()
            assert (await first).text == A  # its callers have their answer all the same

    asyncio.run(case())


def test_a_claim_that_comes_too_late_is_no_second_generation(place):
    """Between one's look and its claim another has stored the answer and let go."""

    async def case():
        async with place.caches(2) as (leader, follower):
            follower.store.gate = asyncio.Event()
            model = ScriptedModel()
            second = asyncio.create_task(follower.answer(Q, model))
            await until(lambda: follower.store.begun)
            await leader.answer(Q, ScriptedModel())
            await leader.drain()
            follower.store.gate.set()
            assert (await second).text == A
            assert model.calls == 0
            (event,) = follower.told
            assert (event.outcome, event.tier, event.shared) == ("hit", "exact", False)

    asyncio.run(case())


# Purges.


def test_what_was_generated_before_anothers_purge_is_not_stored_after_it(place):
    async def case():
        async with place.caches(2) as (stale, other):
            model, new = ScriptedModel({Q: "the old rule"}, gate=asyncio.Event()), ScriptedModel({Q: "the new rule"})
            first = asyncio.create_task(stale.answer(Q, model))
            await model.started.wait()
            await other.purge(everything=True)
            assert (await other.answer(Q, new)).text == "the new rule"  # it waits for nobody
            await other.drain()
            model.gate.set()
            assert (await first).text == "the old rule"
            await stale.drain()
            assert (await other.lookup(Q)).reply.text == "the new rule"
            (event,) = events(stale, "remember", "refused")
            assert event.why == "answers were purged after this was looked up"

    asyncio.run(case())


@pytest.mark.parametrize("claim_seconds", [0, 10])
def test_what_was_looked_up_before_anothers_purge_is_not_remembered_after_it(place, claim_seconds):
    async def case():
        async with place.caches(2, settings=settings(claim_seconds=claim_seconds)) as (stale, other):
            asked = Request(Q, tags=("t",))
            miss = await stale.lookup(asked)
            await other.purge(tag="t")
            assert await stale.remember(miss, "the old rule") is None
            assert isinstance(again := await stale.lookup(asked), Miss)
            await other.purge(tag="other")
            assert await stale.remember(again, "the new rule") is not None

    asyncio.run(case())


def test_sweeping_out_the_dead_refuses_nothing(place):
    async def case():
        async with place.caches(2) as (one, other):
            miss = await one.lookup(Q)
            await other.purge(dead=True)
            assert await one.remember(miss, "an answer") is not None

    asyncio.run(case())


# Renewals.


def test_a_stale_answer_is_renewed_once(place):
    async def case():
        policy, clock = Policy(ttl_seconds=100, stale_seconds=1000), FakeClock()
        async with place.caches(2, policy=policy, clock=clock) as (one, other):
            await one.answer(Q, ScriptedModel({Q: "old"}))
            await one.drain()
            clock.advance(150)
            model, none = ScriptedModel({Q: "new"}, gate=asyncio.Event()), ScriptedModel()
            assert (await one.answer(Q, model)).text == "old"
            await model.started.wait()
            assert (await other.answer(Q, none)).text == "old"
            await other.drain()
            assert none.calls == 0
            model.gate.set()
            await one.drain()
            assert (await other.answer(Q, ScriptedModel())).text == "new"

    asyncio.run(case())


# A store that fails.


class Refusing(WatchedSqlite):
    async def claim(self, *_, **__):
        raise StoreUnavailable("no more claims")


class Hanging(WatchedSqlite):
    async def claim(self, *_, **__):
        await asyncio.Event().wait()


class Deaf(WatchedSqlite):
    """Grants claims, and their replies get lost."""

    async def claim(self, *arguments, **options):
        await super().claim(*arguments, **options)
        await asyncio.Event().wait()


class Broken(Refusing):
    async def fence(self):
        raise StoreUnavailable("nothing at all")


class Stubborn(WatchedSqlite):
    """Never lets go and never renews."""

    async def renew(self, *_, **__):
        raise StoreUnavailable("not now")

    release = renew


@pytest.mark.parametrize("kind", [Refusing, Hanging, Deaf, Broken, Stubborn])
def test_a_store_that_fails_at_claims_costs_no_answer(place_in_a_file, kind):
    async def case():
        limits = settings(timeout_seconds=0.2, claim_seconds=0.3)
        async with place_in_a_file.caches(2, (kind,), settings=limits) as (failing, other):
            model = ScriptedModel()
            assert (await failing.answer(Q, model)).text == A
            await failing.drain()
            assert isinstance(await other.lookup(Q), Hit)
            assert (await other.answer("another question", model)).text == "echo: another question"

    asyncio.run(case())


def test_a_claim_whose_reply_was_lost_holds_up_nobody(place_in_a_file):
    async def case():
        limits = settings(timeout_seconds=0.2, claim_seconds=1000)
        cut = ScriptedModel({Q: Reply(text="half", finish_reason="length")})
        async with place_in_a_file.caches(2, (Deaf,), settings=limits) as (deaf, other):
            await deaf.answer(Q, cut)
            await deaf.close()
            await asyncio.wait_for(other.answer(Q, cut), 5)
            assert other.store.claims[-1].holder != ""

    asyncio.run(case())


def test_what_nobody_knows_the_age_of_is_not_stored_once_something_was_purged(place_in_a_file):
    async def case():
        async with place_in_a_file.caches(2, (Broken,)) as (broken, other):
            await other.purge(everything=True)
            assert (await broken.answer(Q, ScriptedModel())).text == A
            await broken.drain()
            (event,) = events(broken, "remember", "refused")
            assert "purged" in event.why

    asyncio.run(case())


def test_in_one_process_nothing_is_claimed():
    class Private(Watched, MemoryStore):
        pass

    async def case():
        store = Private(embedder="fake", dim=64)
        async with open_cache(store=store, embedder=FakeEmbedder()) as cache:
            await cache.answer(Q, ScriptedModel())
            await cache.drain()
            assert store.claims == ()
            assert await store.fence() == 0

    asyncio.run(case())
