"""Embeddings are made once: what texts came to is remembered before any embedder, within a budget of bytes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.ports import Embedder
from yamabiko.types import Vector

OVERHEAD_BYTES = 200
"""What a remembered vector takes beside its text and its numbers, roughly: objects of Python."""


@dataclass(slots=True)
class EmbeddingFigures:
    """``asked`` texts, of which ``made`` went to the embedder; ``seconds``: how long it took over them, together.

    ``first_made`` and ``first_seconds`` are those of the first call, in which a model on this device is loaded.
    """

    asked: int = 0
    made: int = 0
    seconds: float = 0.0
    first_made: int = 0
    first_seconds: float = 0.0

    @property
    def seconds_each(self) -> float:
        """What one text takes, without the first call where there were others."""
        made, seconds = self.made - self.first_made, self.seconds - self.first_seconds
        if made <= 0:
            made, seconds = self.made, self.seconds
        return seconds / made if made else 0.0


class RememberedEmbedder:
    """An ``Embedder`` that asks another one for each text once.

    ``max_bytes`` (> 0) bounds what is remembered; what was used longest ago goes first. ``ttl_seconds`` (> 0): how long
    a vector is remembered; for ever by default, as the same model gives the same vector. Texts that are being embedded
    for one caller are waited for by others. Vectors are shared: they are not writeable.

    Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_bytes: int = 64 * 1024**2,
        ttl_seconds: float = float("inf"),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not max_bytes > 0:
            raise ConfigurationError(f"max_bytes must be above 0, not {max_bytes}")
        if not ttl_seconds > 0:
            raise ConfigurationError(f"ttl_seconds must be above 0, not {ttl_seconds}")
        self._embedder = embedder
        self._max_bytes, self._ttl, self._clock = max_bytes, ttl_seconds, clock
        self._kept: OrderedDict[str, tuple[Vector | None, float]] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.bytes = 0
        self.figures = EmbeddingFigures()

    @property
    def dim(self) -> int:
        """As the embedder's."""
        return self._embedder.dim

    @property
    def id(self) -> str:
        """As the embedder's: the vectors are its own."""
        return self._embedder.id

    def model_for(self, text: str, /) -> str:
        """As the embedder's."""
        return self._embedder.model_for(text)

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """See ``Embedder.embed``. Raises ``EmbeddingError``; nothing is remembered then."""
        self.figures.asked += len(texts)
        known = await self._found(tuple(dict.fromkeys(texts)))
        return [known[text] for text in texts]

    async def close(self) -> None:
        """Close the embedder."""
        await self._embedder.close()

    def _recall(self, text: str, known: dict[str, Vector | None]) -> bool:
        if text not in self._kept:
            return False
        vector, made = self._kept[text]
        if self._clock() - made >= self._ttl:
            self._forget(text)
            return False
        self._kept.move_to_end(text)
        known[text] = vector
        return True

    async def _found(self, texts: Sequence[str]) -> dict[str, Vector | None]:
        """Each of these different texts with its vector: remembered, being made for somebody else, or made now."""
        known: dict[str, Vector | None] = {}
        waited = {
            text: self._waiting[text] for text in texts if not self._recall(text, known) and text in self._waiting
        }
        new = [text for text in texts if text not in known and text not in waited]
        if new:
            known |= await self._made(new)
        for text, future in waited.items():
            await asyncio.wait({future})
            if not self._recall(text, known):  # it failed, or was given up, or is gone again
                known |= await self._found([text])
        return known

    async def _made(self, texts: Sequence[str]) -> dict[str, Vector | None]:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting |= dict.fromkeys(texts, over)
        started = time.perf_counter()
        try:
            self.figures.made += len(texts)
            vectors = await self._embedder.embed(texts)
            if len(vectors) != len(texts):
                raise EmbeddingError(f"it gave {len(vectors)} vectors for {len(texts)} texts")
            made = dict(zip(texts, vectors, strict=True))
            for text, vector in made.items():
                self._keep(text, vector)
            return made
        finally:
            seconds = time.perf_counter() - started
            self.figures.seconds += seconds
            if not self.figures.first_made:
                self.figures.first_made, self.figures.first_seconds = len(texts), seconds
            for text in texts:
                del self._waiting[text]
            over.set_result(None)

    def _keep(self, text: str, vector: Vector | None) -> None:
        if vector is not None:
            vector.setflags(write=False)
        self._forget(text)
        size = _size(text, vector)
        if size > self._max_bytes:
            return
        self._kept[text] = vector, self._clock()
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, text: str) -> None:
        if text in self._kept:
            vector, _ = self._kept.pop(text)
            self.bytes -= _size(text, vector)


def _size(text: str, vector: Vector | None) -> int:
    return OVERHEAD_BYTES + 4 * len(text) + (0 if vector is None else int(vector.nbytes))
