"""Callers that go away, close, purge and fail in the middle; models, verifiers and embedders that misbehave."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from yamabiko import Miss, Policy, Reply, Request, open_cache, open_sync_cache
from yamabiko.core.admit import refusal_to_store
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.settings import Settings
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel
from yamabiko.types import MissReason
from yamabiko.wire import anthropic, openai
from yamabiko.wire.sse import Parser, reply_of

Q = "How do I reset my password?"
STALE = Policy(ttl_seconds=100, stale_seconds=50)


class SlowStore(MemoryStore):
    """A store whose writes wait for a gate."""

    def __init__(self):
        super().__init__(embedder="fake", dim=64)
        self.gate = asyncio.Event()
        self.closed = 0

    async def put(self, entry, /, *, now):
        await self.gate.wait()
        await super().put(entry, now=now)

    async def close(self):
        self.closed += 1
        await super().close()


class GivenVectors(FakeEmbedder):
    """An embedder that gives what it was made with."""

    def __init__(self, vectors):
        super().__init__()
        self.given = vectors

    async def embed(self, texts, /):
        return self.given


def fake_cache(**options):
    return open_cache("memory://", **({"embedder": FakeEmbedder(), "clock": FakeClock()} | options))


def sync_cache(**options):
    return open_sync_cache("memory://", embedder=FakeEmbedder(), **options)


def run(case):
    asyncio.run(asyncio.wait_for(case(), 10))


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def in_thread(call):
    """Starts ``call`` in a thread; what it came to is in the list after ``join``."""
    outcome = []

    def work():
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - the thread's outcome, whatever it is
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, outcome


# Generations that end oddly.


def test_a_model_that_is_always_cancelled_is_not_asked_for_ever():
    async def case():
        calls = []

        async def model(_):
            calls.append(1)
            raise asyncio.CancelledError

        async def streaming(_):
            calls.append(1)
            raise asyncio.CancelledError
            yield ""

        async with fake_cache() as cache:
            with pytest.raises(asyncio.CancelledError):
                await cache.answer(Q, model)
            with pytest.raises(asyncio.CancelledError):
                await anext(cache.stream(Q, streaming))
        assert len(calls) <= 4

    asyncio.run(case())


def test_who_comes_when_a_generation_was_just_cancelled_makes_it_anew():
    async def case():
        gate, calls = asyncio.Event(), []

        async def model(_):
            calls.append(1)
            if len(calls) == 1:
                await gate.wait()
                raise asyncio.CancelledError
            return "anew"

        async def newcomer(cache):
            await gate.wait()
            return await cache.answer(Q, model)

        async with fake_cache() as cache:
            first = asyncio.create_task(cache.answer(Q, model))
            await turns()
            second = asyncio.create_task(newcomer(cache))
            await turns()
            gate.set()
            assert [reply.text for reply in await asyncio.gather(first, second)] == ["anew", "anew"]

    run(case)


def test_a_model_may_ask_the_cache_its_own_question():
    async def case():
        async with fake_cache() as cache:

            async def model(request):
                return await cache.answer(request, ScriptedModel())

            assert (await cache.answer(Q, model)).text == f"echo: {Q}"

    run(case)


# Waiting, purging and closing.


@pytest.mark.parametrize("call", ["stats", "check", "drain", "close"])
def test_who_gives_up_waiting_takes_no_write_with_him(call):
    async def case():
        store = SlowStore()
        cache = await open_cache(store=store, embedder=FakeEmbedder())
        await cache.answer(Q, ScriptedModel())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(getattr(cache, call)(), 0.01)
        store.gate.set()
        await cache.drain()
        if call != "close":
            assert (await cache.stats()).entries == 1
        await cache.close()
        assert store.closed == 1

    run(case)


def test_stats_come_although_others_go_on_asking():
    async def case():
        class Busy(MemoryStore):
            async def put(self, entry, /, *, now):
                await turns(3)
                await super().put(entry, now=now)

        over = asyncio.Event()

        async def traffic(cache, name):
            number = 0
            while not over.is_set():
                number += 1
                await cache.answer(Request(f"question {number}", user=name), ScriptedModel())

        async with open_cache(store=Busy(embedder="fake", dim=64), embedder=FakeEmbedder()) as cache:
            askers = [asyncio.create_task(traffic(cache, name)) for name in "abcd"]
            await turns()
            try:
                async with asyncio.timeout(3):
                    assert (await cache.stats()).entries > 0
            finally:
                over.set()
                await asyncio.gather(*askers)

    run(case)


def test_a_purge_and_a_close_do_not_wait_for_a_model():
    async def case():
        clock, model = FakeClock(), ScriptedModel()
        async with fake_cache(clock=clock, policy=STALE) as cache:
            await cache.answer(Q, model)
            await cache.drain()
            clock.advance(120)
            model.gate = asyncio.Event()
            await cache.answer(Q, model)
            await turns()
            assert model.running == 1, "the renewal waits for the model"
            async with asyncio.timeout(3):
                assert await cache.purge(everything=True) == 1

    run(case)


def test_a_purge_waits_for_what_is_being_remembered():
    async def case():
        store = SlowStore()
        async with open_cache(store=store, embedder=FakeEmbedder()) as cache:
            request = Request(Q, tags=("manual",))
            remembering = asyncio.create_task(cache.remember(await cache.lookup(request), "old"))
            await turns()
            purging = asyncio.create_task(cache.purge(tag="manual"))
            await turns()
            store.gate.set()
            await remembering
            assert await purging == 1
            assert isinstance(await cache.lookup(request), Miss)

    run(case)


def test_after_a_purge_nobody_joins_an_older_generation():
    async def case():
        document, gate = ["old"], asyncio.Event()

        async def model(_):
            read = document[0]
            await gate.wait()
            return read

        async with fake_cache() as cache:
            before = asyncio.create_task(cache.answer(Q, model))
            await turns()
            document[0] = "new"
            await cache.purge(everything=True)
            after = asyncio.create_task(cache.answer(Q, model))
            await turns()
            gate.set()
            assert ((await before).text, (await after).text) == ("old", "new")
            assert (await cache.lookup(Q)).reply.text == "new"

    run(case)


def test_an_answer_lost_to_a_purge_is_told():
    async def case():
        told, model = [], ScriptedModel(gate=asyncio.Event())
        async with fake_cache(hooks=[told.append]) as cache:
            caller = asyncio.create_task(cache.answer(Q, model))
            await model.started.wait()
            await cache.purge(everything=True)
            model.gate.set()
            await caller
        assert [event.why for event in told if event.outcome == "refused"] == [
            "answers were purged after this was looked up"
        ]

    run(case)


def test_an_older_answer_does_not_overwrite_a_newer_one():
    async def case():
        embedder = FakeEmbedder()
        async with fake_cache(embedder=embedder) as cache:
            store_was_away = await cache.lookup(Q)
            embedder.gate = asyncio.Event()
            older = asyncio.create_task(cache.remember(replace(store_was_away, vector=None), "older"))
            await turns()
            await cache.remember(store_was_away, "newer")
            embedder.gate.set()
            await older
            assert (await cache.lookup(Q)).reply.text == "newer"

    run(case)


def test_an_export_holds_what_was_just_answered():
    async def case():
        store = SlowStore()
        async with open_cache(store=store, embedder=FakeEmbedder()) as cache:
            await cache.answer(Q, ScriptedModel())
            exporting = asyncio.create_task(_all(cache.entries()))
            await turns()
            store.gate.set()
            assert [entry.reply.text for entry in await exporting] == [f"echo: {Q}"]

    run(case)


async def _all(entries):
    return [entry async for entry in entries]


def test_purge_by_model_knows_families(opened):
    cache = opened(policy=Policy(model_families={"haiku-1": "haiku"}))
    cache.answer(Request(Q, model="haiku-1"), ScriptedModel())
    assert cache.purge(model="haiku-1") == 1


def test_a_cache_that_does_not_open_leaves_nothing_open(tmp_path):
    with pytest.raises(ConfigurationError, match="price"):
        asyncio.run(_opened(f"sqlite:///{tmp_path}/cache.db", Settings(prices_path=f"{tmp_path}/none.json")))
    assert list(tmp_path.iterdir()) == []


async def _opened(url, settings):
    return await open_cache(url, embedder=FakeEmbedder(), settings=settings)


def test_one_stale_answer_is_renewed_once_however_it_is_asked():
    async def case():
        clock, model = FakeClock(), ScriptedModel()
        policy = Policy(ttl_seconds=100, stale_seconds=50, max_error_rate=None, min_similarity=0.5)
        async with fake_cache(clock=clock, policy=policy) as cache:
            await cache.answer(Q, model)
            await cache.drain()
            clock.advance(120)
            model.gate = asyncio.Event()
            for word in ("now", "please", "today", "again"):
                await cache.answer(f"{Q} {word}", model)
            await turns()
            assert model.running == 1
            model.gate.set()

    run(case)


def test_a_store_that_mixes_scopes_up_answers_nobody_with_anothers_words():
    async def case():
        class Mixed(MemoryStore):
            async def search(self, scope, vector, /, **options):
                return await super().search(getattr(self, "first", scope), vector, **options)

            async def put(self, entry, /, *, now):
                self.first = entry.scope
                await super().put(entry, now=now)

        policy = Policy(max_error_rate=None, min_similarity=-1.0)
        async with open_cache(store=Mixed(embedder="fake", dim=64), embedder=FakeEmbedder(), policy=policy) as cache:
            await cache.remember(await cache.lookup(Request(Q, tenant="a")), "for a only")
            assert isinstance(await cache.lookup(Request(f"{Q} please", tenant="b")), Miss)

    run(case)


# Embedders, verifiers and replies that are wrong.


@pytest.mark.parametrize(
    "vectors",
    [[], [np.full(64, np.nan, np.float32)], [np.ones(64, np.float32)], [np.ones(3, np.float32) / np.sqrt(3)]],
    ids=["none", "nan", "not normalised", "other dimension"],
)
def test_a_wrong_vector_is_a_dead_embedder(opened, vectors):
    cache = opened(embedder=GivenVectors(vectors))
    assert cache.lookup(Q).reason is MissReason.EMBEDDER_UNAVAILABLE
    assert cache.answer(Q, ScriptedModel()).text == f"echo: {Q}"
    cache.drain()
    assert cache.lookup(Q).tier == "exact"


@pytest.mark.parametrize("verdicts", [["no"], [None], [1.0]])
def test_only_a_plain_yes_is_a_yes(opened, verdicts):
    class Sloppy:
        async def same(self, request, candidates, /):
            return verdicts

    embedder = FakeEmbedder(dim=2, vectors={"one": [1.0, 0.0], "two": [0.8, 0.6]})
    policy = Policy(max_error_rate=None, min_similarity=0.95, verify_similarity=0.5)
    cache = opened(embedder=embedder, policy=policy, verifier=Sloppy())
    cache.answer("one", ScriptedModel())
    assert isinstance(cache.lookup("two"), Miss)


def test_an_answer_that_dies_while_it_is_verified_is_not_served(opened):
    class Slow:
        async def same(self, request, candidates, /):
            opened.clock.advance(1000)
            return [True]

    embedder = FakeEmbedder(dim=2, vectors={"one": [1.0, 0.0], "two": [0.8, 0.6]})
    policy = Policy(max_error_rate=None, min_similarity=0.95, verify_similarity=0.5, ttl_seconds=100)
    cache = opened(embedder=embedder, policy=policy, verifier=Slow())
    cache.answer("one", ScriptedModel())
    assert isinstance(cache.lookup("two"), Miss)


def test_a_reply_that_can_not_be_written_reaches_its_caller_and_is_told(opened):
    told = []
    cache = opened(hooks=[told.append])
    assert cache.answer(Q, ScriptedModel({Q: "half \ud83d"})).text == "half \ud83d"
    cache.drain()
    assert any(event.outcome == "refused" and "surrogate" in event.why for event in told)
    assert cache.remember(cache.lookup(Q), "half \ud83d") is None


@pytest.mark.parametrize("bad", [{"bypass": True}, {"tags": None}, {"messages": None}, {"messages": 3}])
def test_a_part_of_a_wrong_type_is_an_invalid_request(bad):
    with pytest.raises(InvalidRequest):
        Request(**({"messages": Q} | bad))


def test_a_token_in_an_unknown_field_is_not_shown():
    servers = [{"type": "url", "url": "https://mcp.example", "authorization_token": "sk-live-0123"}]
    body = {"model": "m", "messages": [{"role": "user", "content": Q}], "mcp_servers": servers}
    for wire in (openai, anthropic):
        assert "sk-live" not in repr(wire.request_from(body))


def test_a_stream_that_ends_in_a_refusal_is_not_stored():
    deltas = [{"content": "Sure, the first step"}, {"refusal": "I can't go on."}, {}]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events[-1]["choices"][0]["finish_reason"] = "stop"
    reply = reply_of(openai.chunk_from(json.dumps(event)) for event in events)
    assert reply.finish_reason == "content_filter"
    assert refusal_to_store(Request(Q), reply)


def test_reading_a_long_line_takes_time_in_proportion():
    def seconds(size):
        parser, line = Parser(), b"data: " + b"a" * size + b"\n\n"
        started = time.process_time()
        events = [event for at in range(0, len(line), 256) for event in parser.feed(line[at : at + 256])]
        assert len(events[0].data) == size
        return time.process_time() - started

    assert seconds(1 << 20) < 1.0  # quadratic: more than ten


# Streams.


@pytest.mark.parametrize("kind", ["async", "ordinary"])
def test_a_piece_that_is_no_text_never_cuts_an_answer_short(kind):
    async def pieces(_):
        yield "It is not "
        yield None
        yield "safe."

    def ordinary(_):
        yield "It is not "
        yield None
        yield "safe."

    with sync_cache() as cache:
        with pytest.raises(InvalidRequest, match="yield"):
            list(cache.stream(Q, pieces if kind == "async" else ordinary))
        assert cache.stats().entries == 0


def test_a_stream_that_timed_out_does_not_look_finished():
    async def case():
        async def model(_):
            yield "one "
            await asyncio.Event().wait()

        async with fake_cache() as cache:
            stream = cache.stream(Q, model)
            assert await anext(stream) == "one "
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.01)
            with pytest.raises(InvalidRequest, match="broke"):
                await anext(stream)

    run(case)


def test_a_stream_that_is_dropped_ends_its_generation():
    async def case():
        ended = asyncio.Event()

        async def model(_):
            try:
                yield "first"
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with fake_cache() as cache:
            stream = cache.stream(Q, model)
            await anext(stream)
            del stream
            await asyncio.wait_for(ended.wait(), 3)

    run(case)


def test_context_variables_reach_a_streaming_model_and_its_body_runs_outside_the_loop():
    tenant = contextvars.ContextVar("tenant")
    tenant.set("acme")
    threads = []

    def generator(_):
        threads.append(threading.current_thread().name)
        yield tenant.get()

    def function(_):
        threads.append(threading.current_thread().name)
        return iter([tenant.get()])

    with sync_cache() as cache:
        assert list(cache.stream("one question", generator)) == ["acme"]
        assert list(cache.stream("another thing", function)) == ["acme"]
        assert all(name.startswith("yamabiko-generate") for name in threads)


# Threads.


def test_closing_tells_those_who_wait():
    started, release = threading.Event(), threading.Event()

    def model(_):
        started.set()
        release.wait(10)
        return "late"

    cache = sync_cache()
    asking = [in_thread(lambda: cache.answer(Q, model)) for _ in range(2)]
    started.wait(10)
    cache.close()
    for thread, outcome in asking:
        thread.join(5)
        assert isinstance(outcome[0], ConfigurationError)
    release.set()


def test_closing_while_many_ask_leaves_nobody_waiting():
    for _ in range(20):
        cache = sync_cache()
        cache.lookup(Q)
        asking = [in_thread(lambda: [cache.lookup(f"{n}") for n in range(20)]) for _ in range(3)]  # noqa: B023
        cache.close()
        for thread, outcome in asking:
            thread.join(5)
            assert isinstance(outcome[0], list | ConfigurationError)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), GeneratorExit()])
def test_whatever_a_model_raises_its_caller_gets_an_error_and_the_cache_goes_on(error):
    def model(_):
        raise error

    with sync_cache() as cache:
        thread, outcome = in_thread(lambda: cache.answer(Q, model))
        thread.join(5)
        assert isinstance(outcome[0], RuntimeError if isinstance(error, StopIteration) else type(error))
        thread, outcome = in_thread(lambda: cache.answer(Q, lambda _: "fine").text)
        thread.join(5)
        assert outcome == ["fine"]


def test_a_stream_of_a_closed_cache_says_so():
    cache = sync_cache()
    stream = cache.stream(Q, ScriptedModel().stream)
    next(stream)
    cache.close()
    with pytest.raises(ConfigurationError, match="closed"):
        next(stream)


def test_clearing_out_the_dead_loses_no_answer_that_is_being_made():
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with fake_cache() as cache:
            caller = asyncio.create_task(cache.answer(Q, model))
            await model.started.wait()
            await cache.purge(dead=True)
            model.gate.set()
            await caller
            assert (await cache.stats()).entries == 1

    run(case)


def test_what_was_looked_up_before_a_purge_is_not_remembered_after_it():
    async def case():
        async with fake_cache() as cache:
            miss = await cache.lookup(Q)
            await cache.purge(source="s3://bucket/manual.pdf")
            old = Reply(text="from the old manual", sources=("s3://bucket/manual.pdf",))
            assert await cache.remember(miss, old) is None
            assert await cache.remember(await cache.lookup(Q), "from the new one") is not None

    run(case)


def test_a_model_that_is_down_is_not_asked_at_every_stale_hit():
    async def case():
        clock, model = FakeClock(), ScriptedModel()
        async with fake_cache(clock=clock, policy=STALE) as cache:
            await cache.answer(Q, model)
            clock.advance(110)
            model.fail_with = ConnectionError("down")
            for _ in range(20):
                await cache.answer(Q, model)
                await cache.drain()
            assert model.calls == 2
            clock.advance(6)
            model.fail_with = None
            await cache.answer(Q, model)
            await cache.drain()
            assert not (await cache.lookup(Q)).stale

    run(case)


def test_a_store_that_hangs_in_a_write_holds_nobody_for_ever():
    async def case():
        told, store = [], SlowStore()
        settings = Settings.load(arguments={"store.write_timeout_seconds": 0.01})
        cache = await open_cache(store=store, embedder=FakeEmbedder(), settings=settings, hooks=[told.append])
        assert await cache.remember(await cache.lookup(Q), "text") is None
        await cache.close()
        assert [(event.outcome, event.why) for event in told if event.call == "remember"] == [
            ("failed", "the store took too long")
        ]

    run(case)


@pytest.mark.parametrize(
    "error", [ConnectionError("the text: " + Q), ValueError("odd"), RuntimeError("CUDA"), asyncio.CancelledError()]
)
def test_whatever_an_embedder_raises_costs_a_hit_and_not_the_answer(error):
    async def case():
        async with fake_cache(embedder=FakeEmbedder(fail_with=error)) as cache:
            miss = await cache.lookup(Q)
            assert miss.reason is MissReason.EMBEDDER_UNAVAILABLE
            assert type(error).__name__ in miss.reasons[-1] or "cancelled" in miss.reasons[-1]
            assert Q not in str(miss.reasons)
            assert (await cache.answer(Q, ScriptedModel())).text == f"echo: {Q}"

    run(case)


def test_a_call_without_an_answer_is_told_too():
    async def case():
        told = []
        async with fake_cache(hooks=[told.append]) as cache:
            with pytest.raises(ConnectionError):
                await cache.answer(Q, ScriptedModel(fail_with=ConnectionError("down")))
            stream = cache.stream(Q, ScriptedModel(piece_length=1).stream)
            await anext(stream)
            await stream.aclose()
        calls = [(event.call, event.outcome) for event in told if event.call != "remember"]
        assert calls == [("answer", "raised"), ("stream", "raised")]

    run(case)
