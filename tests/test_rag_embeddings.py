"""Embeddings that are made once."""

from __future__ import annotations

import asyncio

import pytest

from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.rag.embeddings import OVERHEAD_BYTES, RememberedEmbedder
from yamabiko.testing import FakeClock, FakeEmbedder


def test_each_text_is_embedded_once_whoever_asks():
    async def run():
        inner = FakeEmbedder(gate=asyncio.Event())
        remembered = RememberedEmbedder(inner)
        asking = [asyncio.create_task(remembered.embed(["a", "図書館", "a"])) for _ in range(5)]
        await asyncio.sleep(0)
        inner.gate.set()
        results = [await task for task in asking]
        assert inner.texts == ["a", "図書館"]
        assert all((vectors[0] == inner.vector("a")).all() and vectors[2] is vectors[0] for vectors in results)
        assert (remembered.figures.asked, remembered.figures.made) == (15, 2)
        assert (remembered.id, remembered.dim, remembered.model_for("a")) == (inner.id, inner.dim, inner.id)
        await remembered.close()
        assert inner.closed == 1

    asyncio.run(run())


def test_who_waits_for_a_call_that_fails_or_is_given_up_asks_again():
    async def run():
        inner = FakeEmbedder(gate=asyncio.Event(), fail_with=EmbeddingError("down"))
        remembered = RememberedEmbedder(inner)
        first = asyncio.create_task(remembered.embed(["a"]))
        await asyncio.sleep(0)
        second = asyncio.create_task(remembered.embed(["a"]))
        await asyncio.sleep(0)
        first.cancel()
        inner.fail_with = None
        inner.gate.set()
        assert (await second)[0] is not None
        with pytest.raises(asyncio.CancelledError):
            await first
        inner.fail_with = EmbeddingError("down")
        with pytest.raises(EmbeddingError):
            await remembered.embed(["b"])
        inner.fail_with = None
        assert (await remembered.embed(["b"]))[0] is not None

    asyncio.run(run())


def test_it_stays_within_its_budget_and_forgets_what_was_used_longest_ago():
    async def run():
        inner = FakeEmbedder(dim=16)
        each = OVERHEAD_BYTES + 4 + 64
        remembered = RememberedEmbedder(inner, max_bytes=2 * each)
        for text in ("a", "b", "a", "c"):
            await remembered.embed([text])
            assert remembered.bytes <= 2 * each
        inner.texts.clear()
        await remembered.embed(["a", "c"])
        assert inner.texts == []
        await remembered.embed(["b"])
        assert inner.texts == ["b"]

    asyncio.run(run())


def test_a_life_and_vectors_that_nobody_changes():
    async def run():
        clock = FakeClock()
        inner = FakeEmbedder(max_words=3)
        remembered = RememberedEmbedder(inner, ttl_seconds=10, clock=clock)
        [vector, too_long] = await remembered.embed(["a", "one two three four"])
        assert too_long is None
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 1
        clock.advance(9)
        await remembered.embed(["a", "one two three four"])
        assert inner.calls == 1
        clock.advance(1)
        await remembered.embed(["a"])
        assert inner.calls == 2

    asyncio.run(run())


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"ttl_seconds": 0}])
def test_limits_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        RememberedEmbedder(FakeEmbedder(), **wrong)
