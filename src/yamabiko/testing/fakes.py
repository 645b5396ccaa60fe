"""Stand-ins for what is slow, costly or random outside a test: an embedder, a clock, a model."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from yamabiko.types import Reply, Request, Vector

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word; in Japanese, which puts no spaces, a character."""


class FakeEmbedder:
    """An ``Embedder`` without a model: the sum of one fixed pseudo-random direction per word, of L2 norm 1.

    The cosine of two texts is about (words in common) / sqrt(words in one * words in the other), give or take
    1/sqrt(``dim``); texts with the same words in another order or case are equal. In Japanese each character counts
    as a word. The vectors are the same in every process and on every platform.

    ``vectors`` gives texts an exact vector of your own (shape (dim,), scaled to norm 1). A text of more than
    ``max_words`` words gets None, as if beyond the window. ``fail_with`` and ``gate`` may be set at any time: an error
    to raise, an event to wait for. ``calls`` counts calls of ``embed``, ``texts`` holds every text embedded so far,
    ``closed`` counts calls of ``close``.
    """

    def __init__(
        self,
        dim: int = 64,
        *,
        id: str = "fake",  # noqa: A002 - the port calls it id
        vectors: Mapping[str, Sequence[float]] | None = None,
        max_words: int | None = None,
        fail_with: Exception | None = None,
        gate: asyncio.Event | None = None,
    ) -> None:
        self.dim = dim
        self.id = id
        self.vectors = dict(vectors or {})
        self.max_words = max_words
        self.fail_with = fail_with
        self.gate = gate
        self.calls = 0
        self.texts: list[str] = []
        self.closed = 0

    def model_for(self, text: str, /) -> str:  # noqa: ARG002 - one model for every text
        """The id, whatever the text."""
        return self.id

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One vector per text, after ``gate`` is set; raises ``fail_with`` when there is one."""
        self.calls += 1
        self.texts.extend(texts)
        if self.gate is not None:
            await self.gate.wait()
        if self.fail_with is not None:
            raise self.fail_with
        return [self.vector(text) for text in texts]

    async def close(self) -> None:
        """Count the call."""
        self.closed += 1

    def vector(self, text: str) -> Vector | None:
        """What ``embed`` gives for this text, without counting, waiting or failing."""
        if text in self.vectors:
            return _normalised(np.asarray(self.vectors[text], dtype=np.float64))
        words = _WORD.findall(text.casefold()) or [text]
        if self.max_words is not None and len(words) > self.max_words:
            return None
        return _normalised(np.sum([self._direction(word) for word in sorted(words)], axis=0))

    def _direction(self, word: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        raw = hashlib.shake_256(f"{self.id}\0{word}".encode("utf-8", "surrogatepass")).digest(4 * self.dim)
        components = np.frombuffer(raw, dtype="<i4").astype(np.float64)
        return components / np.linalg.norm(components)


def _normalised(vector: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Vector:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakeClock:
    """A clock that only moves when told: call it for seconds UTC epoch."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        """The time, seconds UTC epoch."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new time."""
        self.now += seconds
        return self.now


class ScriptedModel:
    """A ``Generate`` that answers from a table; ``.stream`` is the ``StreamGenerate`` of the same answers.

    ``replies`` maps the text of the last message to an answer; any other question is answered ``echo: <question>``.
    ``fail_with`` and ``gate`` may be set at any time: an error to raise, an event to wait for before answering.
    A stream comes in pieces of ``piece_length`` code points (or as the ``Reply``'s own chunks) and ends with a
    ``Reply`` without text; it raises ``fail_with`` after ``pieces_before_failure`` pieces.

    ``asked`` holds every question in order and ``calls`` is their number; ``running`` is how many are being answered,
    ``cancelled`` how many were given up by the caller. ``started`` is set whenever a question comes in.
    """

    def __init__(
        self,
        replies: Mapping[str, str | Reply] | None = None,
        *,
        fail_with: Exception | None = None,
        gate: asyncio.Event | None = None,
        piece_length: int = 4,
        pieces_before_failure: int = 0,
    ) -> None:
        self.replies = dict(replies or {})
        self.fail_with = fail_with
        self.gate = gate
        self.piece_length = piece_length
        self.pieces_before_failure = pieces_before_failure
        self.asked: list[str] = []
        self.running = 0
        self.cancelled = 0
        self.started = asyncio.Event()

    @property
    def calls(self) -> int:
        """How often the model was asked, streams included."""
        return len(self.asked)

    async def __call__(self, request: Request) -> Reply | str:
        """The whole answer."""
        question = self._ask(request)
        try:
            await self._wait()
            if self.fail_with is not None:
                raise self.fail_with
            return self._answer(question)
        finally:
            self.running -= 1

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer in pieces, then a ``Reply`` with everything but the text."""
        question = self._ask(request)
        try:
            await self._wait()
            answer = self._answer(question)
            reply = Reply(text=answer) if isinstance(answer, str) else answer
            for sent, piece in enumerate(self._pieces(reply)):
                if self.fail_with is not None and sent >= self.pieces_before_failure:
                    raise self.fail_with
                yield piece
            if self.fail_with is not None:
                raise self.fail_with
            yield replace(reply, text="", chunk_lengths=())
        except GeneratorExit:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def _ask(self, request: Request) -> str:
        question = request.messages[-1].text
        self.asked.append(question)
        self.running += 1
        self.started.set()
        return question

    async def _wait(self) -> None:
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _answer(self, question: str) -> str | Reply:
        return self.replies.get(question, f"echo: {question}")

    def _pieces(self, reply: Reply) -> Sequence[str]:
        if reply.chunk_lengths:
            return reply.chunks()
        starts = range(0, len(reply.text), self.piece_length)
        return [reply.text[at : at + self.piece_length] for at in starts]
