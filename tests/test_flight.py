"""Many callers at once: one generation, shared results and errors, and nothing left behind by those who go away."""

from __future__ import annotations

import asyncio

import pytest

from yamabiko import Hit, Policy, Request, open_cache
from yamabiko.flight import in_time
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel

Q = "How do I reset my password?"


class SlowStore(MemoryStore):
    """A store whose writes wait for a gate."""

    def __init__(self):
        super().__init__(embedder="fake", dim=64)
        self.gate = asyncio.Event()

    async def put(self, entry, /, *, now):
        await self.gate.wait()
        await super().put(entry, now=now)


def fake_cache(**options):
    return open_cache("memory://", **({"embedder": FakeEmbedder(), "clock": FakeClock()} | options))


async def until(condition):
    """Let the loop run until the condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never came true")


def test_500_identical_misses_make_one_call_and_one_embedding():
    async def case():
        embedder, gate = FakeEmbedder(), asyncio.Event()
        model = ScriptedModel(gate=gate)
        async with fake_cache(embedder=embedder) as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(500)]
            await model.started.wait()
            gate.set()
            replies = await asyncio.gather(*callers)
            assert {reply.text for reply in replies} == {f"echo: {Q}"}
            assert (model.calls, embedder.calls) == (1, 1)
            assert (await cache.stats()).entries == 1

    asyncio.run(case())


def test_waiters_share_the_error_and_the_next_caller_tries_again():
    async def case():
        error = RuntimeError("upstream")
        model = ScriptedModel(fail_with=error, gate=asyncio.Event())
        async with fake_cache() as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(5)]
            await model.started.wait()
            model.gate.set()
            results = await asyncio.gather(*callers, return_exceptions=True)
            assert all(result is error for result in results)
            assert model.calls == 1
            model.fail_with = None
            assert (await cache.answer(Q, model)).text == f"echo: {Q}"

    asyncio.run(case())


@pytest.mark.parametrize("gone", [0, 1])
def test_a_caller_that_goes_away_takes_nothing_from_the_others(gone):
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with fake_cache() as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(3)]
            await model.started.wait()
            await until(lambda: model.running == 1)
            callers[gone].cancel()
            with pytest.raises(asyncio.CancelledError):
                await callers[gone]
            model.gate.set()
            rest = [caller for caller in callers if not caller.cancelled()]
            assert [reply.text for reply in await asyncio.gather(*rest)] == [f"echo: {Q}"] * 2
            assert (model.calls, model.cancelled) == (1, 0)

    asyncio.run(case())


def test_when_all_callers_go_away_the_generation_ends_and_nothing_is_stored():
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with fake_cache() as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(3)]
            await model.started.wait()
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            await until(lambda: model.running == 0)
            assert model.cancelled == 1
            assert (await cache.stats()).entries == 0
            model.gate.set()
            assert (await cache.answer(Q, model)).text == f"echo: {Q}"
            assert model.calls == 2

    asyncio.run(case())


def test_a_generation_that_is_cancelled_from_within_is_handed_to_the_next_waiter():
    async def case():
        calls = []
        gate = asyncio.Event()

        async def model(request):
            calls.append(request)
            await gate.wait()
            if len(calls) == 1:
                raise asyncio.CancelledError  # its own client was closed under it
            return "made by the next"

        async with fake_cache() as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(3)]
            await until(lambda: calls)
            gate.set()
            replies = await asyncio.gather(*callers)
            assert {reply.text for reply in replies} == {"made by the next"}
            assert len(calls) == 2

    asyncio.run(case())


@pytest.mark.parametrize("steps", range(12))
def test_cancelling_at_any_await_leaves_no_lock_and_no_half_entry(steps):
    async def case():
        async with fake_cache() as cache:
            model = ScriptedModel()
            caller = asyncio.create_task(cache.answer(Q, model))
            for _ in range(steps):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            async with asyncio.timeout(5):
                assert (await cache.answer(Q, ScriptedModel())).text == f"echo: {Q}"
                assert isinstance(await cache.lookup(Q), Hit)
            assert list(await cache.check()) == []

    asyncio.run(case())


def test_an_answer_is_found_while_it_is_still_being_written():
    async def case():
        store = SlowStore()
        async with open_cache(store=store, embedder=FakeEmbedder(), clock=FakeClock()) as cache:
            model = ScriptedModel()
            await cache.answer(Q, model)
            hit = await cache.lookup(Q)
            assert (hit.tier, hit.reply.text) == ("exact", f"echo: {Q}")
            await cache.answer(Q, model)
            assert model.calls == 1
            store.gate.set()
            await cache.drain()
            assert isinstance(await cache.lookup(Q), Hit)

    asyncio.run(case())


def test_closing_finishes_the_writes_under_way():
    async def case():
        store = SlowStore()
        cache = await open_cache(store=store, embedder=FakeEmbedder(), clock=FakeClock())
        await cache.answer(Q, ScriptedModel())
        closing = asyncio.create_task(cache.close())
        await asyncio.sleep(0)
        assert not closing.done()
        store.gate.set()
        await closing
        await cache.close()

    asyncio.run(case())


def test_an_answer_that_was_being_made_during_a_purge_is_not_stored():
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with fake_cache() as cache:
            caller = asyncio.create_task(cache.answer(Request(Q, tags=("manual",)), model))
            await model.started.wait()
            await cache.purge(tag="manual")
            model.gate.set()
            assert (await caller).text == f"echo: {Q}"
            assert (await cache.stats()).entries == 0

    asyncio.run(case())


def test_the_embedder_has_a_deadline():
    async def case():
        from yamabiko.settings import EmbedderSettings, Settings

        settings = Settings(embedder=EmbedderSettings(timeout_seconds=0.01))
        embedder = FakeEmbedder(gate=asyncio.Event())
        async with fake_cache(embedder=embedder, settings=settings) as cache:
            miss = await cache.lookup(Q)
            assert miss.reason == "embedder_unavailable"
            assert any("too long" in reason for reason in miss.reasons)

    asyncio.run(case())


# Streams.


def test_followers_of_a_stream_get_what_they_missed_and_then_what_comes():
    async def case():
        gate = asyncio.Event()
        calls = []

        async def model(_):
            calls.append(1)
            yield "one "
            yield "two "
            await gate.wait()
            yield "three"

        async with fake_cache() as cache:
            first = cache.stream(Q, model)
            seen = [await anext(first), await anext(first)]
            second = cache.stream(Q, model)
            late = [await anext(second), await anext(second)]
            whole = asyncio.create_task(cache.answer(Q, ScriptedModel()))
            await asyncio.sleep(0)
            gate.set()
            seen += [piece async for piece in first]
            late += [piece async for piece in second]
            assert seen == late == ["one ", "two ", "three"]
            assert (await whole).text == "one two three"
            assert len(calls) == 1
            assert second.reply.chunk_lengths == (4, 4, 5)

    asyncio.run(case())


def test_the_first_piece_is_not_held_back():
    async def case():
        gate = asyncio.Event()

        async def model(_):
            yield "first"
            await gate.wait()
            yield "last"

        async with fake_cache() as cache:
            stream = cache.stream(Q, model)
            async with asyncio.timeout(5):
                assert await anext(stream) == "first"
            assert stream.outcome.reason == "absent"
            assert stream.reply is None
            gate.set()
            assert [piece async for piece in stream] == ["last"]

    asyncio.run(case())


def test_a_stream_that_its_only_reader_leaves_ends_the_generation_and_stores_nothing():
    async def case():
        ended = []
        never = asyncio.Event()

        async def model(_):
            try:
                yield "first"
                await never.wait()
                yield "last"
            finally:
                ended.append(True)

        async with fake_cache() as cache:
            stream = cache.stream(Q, model)
            await anext(stream)
            await stream.aclose()
            await stream.aclose()
            await until(lambda: ended)
            assert (await cache.stats()).entries == 0

    asyncio.run(case())


def test_a_reader_that_leaves_does_not_end_a_stream_that_another_reads():
    async def case():
        gate = asyncio.Event()

        async def model(_):
            yield "first "
            await gate.wait()
            yield "last"

        async with fake_cache() as cache:
            leaving, staying = cache.stream(Q, model), cache.stream(Q, model)
            await anext(leaving)
            await anext(staying)
            await leaving.aclose()
            gate.set()
            assert [piece async for piece in staying] == ["last"]
            assert (await cache.lookup(Q)).reply.text == "first last"

    asyncio.run(case())


def test_requests_that_bypass_share_no_generation():
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with fake_cache(policy=Policy(require_tenant=True)) as cache:
            callers = [asyncio.create_task(cache.answer(Q, model)) for _ in range(3)]
            await until(lambda: model.calls == 3)
            model.gate.set()
            await asyncio.gather(*callers)
            streams = [cache.stream(Q, model.stream) for _ in range(2)]
            assert ["".join([piece async for piece in stream]) for stream in streams] == [f"echo: {Q}"] * 2
            assert model.calls == 5

    asyncio.run(case())


def test_what_comes_in_time_comes_whether_or_not_it_had_to_wait():
    async def at_once():
        return 1

    async def later():
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.001)
        except TimeoutError:
            await asyncio.sleep(0)
            return 2

    async def raises():
        await asyncio.sleep(0)
        raise KeyError("mine")

    async def check():
        assert await in_time(5.0, at_once()) == 1
        assert await in_time(5.0, later()) == 2
        with pytest.raises(KeyError):
            await in_time(5.0, raises())

    asyncio.run(check())


def test_what_does_not_come_in_time_is_cancelled_and_so_is_what_nobody_waits_for():
    async def check():
        ended = []

        async def forever():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(True)

        with pytest.raises(TimeoutError):
            await in_time(0.001, forever())
        waiting = asyncio.create_task(in_time(60.0, forever()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended == [True, True]

    asyncio.run(check())
