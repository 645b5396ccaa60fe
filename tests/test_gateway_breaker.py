"""An embedder that keeps failing is left alone, and asked again after a while."""

import asyncio

import pytest

from yamabiko.errors import EmbeddingError
from yamabiko.gateway.breaker import FAILURES, PATIENCE_SECONDS, PAUSE_SECONDS, Guarded, guarded
from yamabiko.ports import Metered
from yamabiko.testing import FakeEmbedder


class Ailing(FakeEmbedder):
    """Fails, or hangs, while it is ill."""

    ill = "no"
    asked = 0
    begun = asyncio.Event()

    async def embed(self, texts, /):
        self.asked += 1
        self.begun.set()
        if self.ill == "fails":
            raise OSError("down")
        if self.ill == "hangs":
            await asyncio.Event().wait()
        return await super().embed(texts)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def asked(guarded, times):
    async def ask():
        errors = []
        for _ in range(times):
            try:
                await guarded.embed(["a question"])
            except (OSError, EmbeddingError) as error:
                errors.append(type(error).__name__)
        return errors

    return asyncio.run(ask())


def test_after_several_failures_it_is_left_alone_and_then_asked_once():
    embedder, clock = Ailing(), Clock()
    guarded = Guarded(embedder, clock)
    embedder.ill = "fails"
    assert asked(guarded, FAILURES + 2) == ["OSError"] * FAILURES + ["EmbeddingError"] * 2
    clock.now += PAUSE_SECONDS
    assert asked(guarded, 2) == ["OSError", "EmbeddingError"]
    embedder.ill = "no"
    clock.now += PAUSE_SECONDS
    assert asked(guarded, 2) == []
    assert embedder.asked == FAILURES + 3


def test_a_success_forgets_earlier_failures():
    embedder = Ailing()
    guarded = Guarded(embedder, Clock())
    for _ in range(3):
        embedder.ill = "fails"
        asked(guarded, FAILURES - 1)
        embedder.ill = "no"
        assert asked(guarded, 1) == []


class Paid(FakeEmbedder):
    """Counts what it is sent."""

    priced_as = "titan-embed-text-v2"
    input_tokens = 0

    async def embed(self, texts, /):
        self.input_tokens += sum(map(len, texts))
        return await super().embed(texts)


def test_what_an_embedder_has_counted_is_seen_through_it():
    behind = guarded(Paid())
    assert asked(behind, 2) == []
    assert isinstance(behind, Metered)
    assert (behind.priced_as, behind.input_tokens) == ("titan-embed-text-v2", 2 * len("a question"))
    assert not isinstance(guarded(FakeEmbedder()), Metered)


@pytest.mark.parametrize(("waited", "counts"), [(PATIENCE_SECONDS, True), (PATIENCE_SECONDS / 2, False)])
def test_one_that_hangs_into_the_deadline_counts_as_failing(waited, counts):
    embedder, clock = Ailing(), Clock()
    guarded = Guarded(embedder, clock)
    embedder.ill = "hangs"

    async def give_up():
        asking = asyncio.create_task(guarded.embed(["a question"]))
        await embedder.begun.wait()
        clock.now += waited
        asking.cancel()
        await asyncio.wait((asking,))

    for _ in range(FAILURES):
        embedder.begun = asyncio.Event()
        asyncio.run(give_up())
    embedder.ill = "no"
    assert asked(guarded, 1) == (["EmbeddingError"] if counts else [])


def test_it_is_its_embedder_otherwise():
    embedder = FakeEmbedder()
    guarded = Guarded(embedder)
    assert (guarded.id, guarded.dim, guarded.model_for("x")) == (embedder.id, embedder.dim, embedder.model_for("x"))
