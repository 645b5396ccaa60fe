"""The budget: never more than was granted, whoever asks, whenever, and whatever the clocks do."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.errors import ConfigurationError, StoreUnavailable
from yamabiko.learn.budget import DAY_SECONDS, PAUSE_SECONDS, Budget
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock

MANY = 10**6


def memory():
    return MemoryStore(embedder="fake", dim=8)


async def spent(budget, most=10_000):
    count = 0
    while count < most and await budget.take():
        count += 1
    return count


async def settled_room(budget, amount=1):
    """What ``has_room`` says once it has had its chance to ask the store."""
    if budget.has_room(amount):
        return True
    await budget.drain()
    return budget.has_room(amount)


@pytest.mark.parametrize("shared", [None, memory()])
def test_a_minute_and_a_day_have_their_limits(shared):
    async def run():
        clock = FakeClock()
        budget = Budget(10, 25, shared, clock, "n")
        assert await spent(budget) == 10
        assert not await settled_room(budget)
        clock.advance(30.0)
        assert await spent(budget) == 5
        clock.advance(600.0)
        assert await spent(budget) == 10  # a full bucket, not ten minutes' worth
        clock.advance(600.0)
        assert await spent(budget) == 0  # the day's 25 are spent
        assert not await settled_room(budget)
        clock.advance(DAY_SECONDS)
        assert await settled_room(budget)
        assert await spent(budget) == 10

    asyncio.run(run())


def test_nothing_is_drawn_before_the_store_has_said_that_there_is_room():
    async def run():
        budget = Budget(10, 10, memory(), FakeClock(), "n")
        assert not budget.has_room()
        await budget.drain()
        assert budget.has_room()
        assert not budget.has_room(11)
        other = Budget(10, 10, None, FakeClock(), "n")
        await other.refill()
        assert other.has_room()

    asyncio.run(run())


def test_room_for_several_is_asked_for_as_such():
    async def run():
        budget = Budget(MANY, 10, memory(), FakeClock(), "n")
        assert await budget.take(7)
        assert not await budget.take(4)
        assert await budget.take(3)
        assert not await budget.take()

    asyncio.run(run())


def test_none_at_all_and_less_than_none():
    async def run():
        for per_minute, per_day in ((0, 10), (10, 0)):
            budget = Budget(per_minute, per_day, memory(), FakeClock(), "n")
            assert not await settled_room(budget)
            assert not await budget.take()

    asyncio.run(run())
    for per_minute, per_day in ((-1, 1), (1, -1)):
        with pytest.raises(ConfigurationError, match="0 or more"):
            Budget(per_minute, per_day, None, FakeClock(), "n")


class Counting:
    """A store that counts what is written, and fails when told."""

    def __init__(self):
        self.store, self.writes, self.fails = memory(), 0, False

    async def load_state(self, name):
        if self.fails:
            raise StoreUnavailable("away")
        return await self.store.load_state(name)

    async def save_state(self, name, data, *, expected):
        self.writes += 1
        return await self.store.save_state(name, data, expected=expected)


def test_a_thousand_calls_cost_a_hundred_writes():
    async def run():
        store = Counting()
        assert await spent(Budget(MANY, 1000, store, FakeClock(), "n")) == 1000
        assert store.writes <= 100

    asyncio.run(run())


def test_a_store_that_fails_means_no_room_and_is_not_asked_at_every_look_up():
    async def run():
        store, clock = Counting(), FakeClock()
        store.fails = True
        budget = Budget(10, 10, store, clock, "n")
        assert not await budget.take()
        store.fails = False
        assert not await settled_room(budget)
        clock.advance(PAUSE_SECONDS + 0.1)
        assert await settled_room(budget)
        assert await budget.take()

    asyncio.run(run())


def test_it_survives_a_restart(tmp_path):
    async def run():
        clock, total = FakeClock(), 0
        for _ in range(30):
            store = SqliteStore(tmp_path / "cache.db", embedder="fake", dim=8)
            total += await spent(Budget(MANY, 40, store, clock, "n"), most=2)
            await store.close()
        assert total == 40

    asyncio.run(run())


def test_workers_on_one_server_share_a_day(engine):
    async def run():
        address = Address.parse(f"redis://127.0.0.1:{engine.port}?name={secrets.token_hex(4)}")
        stores = [await MemoryDBStore.open(address, embedder="fake", dim=8) for _ in range(4)]
        budgets = [Budget(MANY, 200, store, FakeClock(), "n") for store in stores]
        counts = await asyncio.gather(*(spent(budget) for budget in budgets for _ in range(3)))
        assert sum(counts) == 200
        for store in stores:
            await store.close()

    asyncio.run(run())


def test_budgets_of_one_store_are_told_apart_by_name():
    async def run():
        store, clock = memory(), FakeClock()
        assert await spent(Budget(MANY, 3, store, clock, "a")) == 3
        assert await spent(Budget(MANY, 3, store, clock, "b")) == 3
        assert await spent(Budget(MANY, 3, store, clock, "a")) == 0

    asyncio.run(run())


def test_a_clock_set_back_gives_nothing_twice_and_locks_nobody_out():
    async def run():
        store, clock = memory(), FakeClock()
        budget = Budget(10, 15, store, clock, "n")
        assert await spent(budget) == 10
        clock.advance(-3600.0)  # within the day
        assert await spent(budget) == 0
        clock.advance(60.0)
        assert await spent(budget) == 5
        clock.advance(400 * DAY_SECONDS)  # somebody sets the year wrong ...
        assert await spent(budget) == 10
        clock.advance(-400 * DAY_SECONDS + 60.0)  # ... and right again
        assert await spent(budget) == 0
        clock.advance(DAY_SECONDS)
        assert await spent(budget) == 10

    asyncio.run(run())


STEPS = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(1, 7)),
    st.tuples(st.just("advance"), st.integers(0, 2), st.sampled_from([1.0, 3600.0, 40_000.0, 86_400.0, 9e6])),
    st.tuples(st.just("back"), st.integers(0, 2), st.sampled_from([1.0, 3600.0, 40_000.0, 86_400.0, 9e6])),
    st.tuples(st.just("restart"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("together"), st.just(0), st.integers(1, 4)),
)


@settings(max_examples=150, deadline=None, database=None)
@given(per_day=st.integers(0, 400), steps=st.lists(STEPS, max_size=40))
def test_never_more_than_a_days_budget_on_any_day_by_all_workers(per_day, steps):
    async def run():
        store = memory()
        clocks = [FakeClock() for _ in range(3)]
        workers = [Budget(MANY, per_day, store, clock, "n") for clock in clocks]
        taken = Counter()

        async def take(worker, amount):
            if await workers[worker].take(amount):
                taken[clocks[worker].now // DAY_SECONDS] += amount

        for what, worker, amount in steps:
            if what == "take":
                await take(worker, amount)
            elif what == "together":
                await asyncio.gather(*(take(one, amount) for one in (0, 1, 2, 0, 1, 2)))
            elif what == "restart":
                workers[worker] = Budget(MANY, per_day, store, clocks[worker], "n")
            else:
                clocks[worker].advance(amount if what == "advance" else -amount)
        assert all(count <= per_day for count in taken.values())
        for one in workers:
            await one.drain()

    asyncio.run(run())
