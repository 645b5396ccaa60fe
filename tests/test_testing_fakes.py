"""The public fakes do what their docstrings say, so that tests built on them mean something."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel, tilted, unit_vector
from yamabiko.types import Reply, Request, Usage


@given(st.text())
def test_every_text_has_a_unit_vector(text):
    vector = FakeEmbedder(dim=16).vector(text)
    assert (vector.shape, vector.dtype) == ((16,), np.float32)
    assert abs(np.linalg.norm(vector) - 1.0) < 1e-5


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("reset my password", "Password, my reset!", 1.0),
        ("reset my password please", "reset my password now", 0.75),
        ("パスワードを忘れた", "パスワードを忘れました", 9 / math.sqrt(9 * 11)),
        ("reset my password", "weather tomorrow", 0.0),
    ],
)
def test_similarity_follows_the_words_in_common(one, other, expected):
    embedder = FakeEmbedder(dim=4096)
    assert float(embedder.vector(one) @ embedder.vector(other)) == pytest.approx(expected, abs=0.08)


def test_vectors_are_the_same_everywhere():
    pinned = [-0.0796364, 0.7451437, -0.0663614, -0.6587982]
    np.testing.assert_allclose(FakeEmbedder(dim=4).vector("yamabiko"), pinned, atol=1e-6)
    assert not np.allclose(FakeEmbedder(dim=4, id="other").vector("yamabiko"), pinned)


def test_the_embedder_waits_fails_counts_and_has_a_window():
    async def run():
        embedder = FakeEmbedder(vectors={"exact": [2.0] + [0.0] * 63}, max_words=2, gate=asyncio.Event())
        task = asyncio.create_task(embedder.embed(["exact", "one two", "one two three", "四文字語"]))
        await asyncio.sleep(0)
        assert (task.done(), embedder.calls, len(embedder.texts)) == (False, 1, 4)
        embedder.gate.set()
        exact, short, *long = await task
        assert exact.tolist() == [1.0] + [0.0] * 63
        assert short is not None
        assert long == [None, None]
        embedder.fail_with = RuntimeError("dead")
        with pytest.raises(RuntimeError, match="dead"):
            await embedder.embed(["x"])
        await embedder.close()
        assert (embedder.calls, embedder.closed, embedder.model_for("x")) == (2, 1, "fake")

    asyncio.run(run())


def test_the_clock_moves_only_when_told():
    clock = FakeClock(100.0)
    assert [clock(), clock(), clock.advance(2.5), clock()] == [100.0, 100.0, 102.5, 102.5]


def test_the_model_answers_from_its_table():
    async def run():
        reply = Reply(text="東京です", usage=Usage(output_tokens=3))
        model = ScriptedModel({"首都は？": reply, "hi": "hello"})
        assert await model(Request("首都は？")) is reply
        assert await model(Request("hi")) == "hello"
        assert await model(Request("else")) == "echo: else"
        assert (model.calls, model.asked, model.running) == (3, ["首都は？", "hi", "else"], 0)
        model.fail_with = ValueError("no")
        with pytest.raises(ValueError, match="no"):
            await model(Request("hi"))
        assert (model.calls, model.running, model.cancelled) == (4, 0, 0)

    asyncio.run(run())


def test_the_model_streams_the_same_answers():
    async def run():
        chunked = Reply(text="abcdef", chunk_lengths=(1, 5), usage=Usage(output_tokens=3))
        model = ScriptedModel({"c": chunked, "p": "123456789"})
        pieces = [piece async for piece in model.stream(Request("c"))]
        assert pieces == ["a", "bcdef", Reply(text="", usage=chunked.usage)]
        assert [piece async for piece in model.stream(Request("p"))] == ["1234", "5678", "9", Reply(text="")]
        model.fail_with, model.pieces_before_failure = ValueError("broken"), 2
        seen = []

        async def watch():
            async for piece in model.stream(Request("p")):
                seen.append(piece)  # noqa: PERF401 - what came before the failure is what is looked at

        with pytest.raises(ValueError, match="broken"):
            await watch()
        assert seen == ["1234", "5678"]
        assert (model.calls, model.running) == (3, 0)

    asyncio.run(run())


def test_the_model_notices_who_gives_up():
    async def run():
        model = ScriptedModel(gate=asyncio.Event())
        task = asyncio.create_task(model(Request("q")))
        await model.started.wait()
        assert model.running == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (model.running, model.cancelled) == (0, 1)
        model.gate.set()
        stream = model.stream(Request("a longer question"))
        await anext(stream)
        await stream.aclose()
        assert (model.running, model.cancelled) == (0, 2)

    asyncio.run(run())


@given(st.integers(2, 64), st.floats(-1.0, 1.0), st.integers(0, 99))
def test_tilted_has_the_cosine_it_was_asked_for(dim, similarity, seed):
    north = unit_vector(1, dim)
    vector = tilted(north, similarity, seed)
    assert abs(float(north @ vector) - similarity) < 1e-5
    assert abs(float(np.linalg.norm(vector)) - 1.0) < 1e-5
