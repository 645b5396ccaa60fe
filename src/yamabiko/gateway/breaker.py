"""Step 4 of 9, behind a circuit breaker: an embedder that keeps failing is left alone for a while.

Look-ups have a deadline for it in any case. Without a breaker each of them would wait so long while it hangs; with one,
they go on at once, for the very same question only, and say ``embedder_unavailable``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from yamabiko.errors import EmbeddingError
from yamabiko.ports import Embedder, Metered
from yamabiko.types import Vector

FAILURES = 3
"""So many in a row, and it is left alone."""
PAUSE_SECONDS = 5.0
"""So long; then one look-up tries again."""
PATIENCE_SECONDS = 1.0
"""Who gives up sooner was in a hurry himself; who gives up later has run into the deadline."""


class Guarded:
    """An embedder that is not asked while it fails. ``clock`` gives seconds that never go back."""

    def __init__(self, embedder: Embedder, clock: Callable[[], float] = time.monotonic) -> None:
        self._embedder = embedder
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0

    @property
    def id(self) -> str:
        """The embedder's."""
        return self._embedder.id

    @property
    def dim(self) -> int:
        """The embedder's."""
        return self._embedder.dim

    def model_for(self, text: str, /) -> str:
        """The embedder's."""
        return self._embedder.model_for(text)

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """The embedder's vectors. Raises what it raises, and ``EmbeddingError`` while it is left alone."""
        started = self._clock()
        if self._failures >= FAILURES:
            if started < self._closed_until:
                raise EmbeddingError("it has failed several times, and is left alone for a moment")
            self._closed_until = started + PAUSE_SECONDS  # one tries; the others go on as before
        try:
            vectors = await self._embedder.embed(texts)
        except asyncio.CancelledError:
            if self._clock() - started >= PATIENCE_SECONDS:
                self._failed()
            raise
        except BaseException:
            self._failed()
            raise
        self._failures = 0
        return vectors

    def _failed(self) -> None:
        self._failures += 1
        self._closed_until = self._clock() + PAUSE_SECONDS

    async def close(self) -> None:
        """Close the embedder."""
        await self._embedder.close()


class GuardedMeter(Guarded):
    """The same for an embedder that counts its tokens."""

    def __init__(self, embedder: Embedder, meter: Metered, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(embedder, clock)
        self._meter = meter

    @property
    def priced_as(self) -> str:
        """The embedder's."""
        return self._meter.priced_as

    @property
    def input_tokens(self) -> int:
        """The embedder's."""
        return self._meter.input_tokens


def guarded(embedder: Embedder, clock: Callable[[], float] = time.monotonic) -> Guarded:
    """Behind a breaker; ``Metered`` where the embedder is."""
    meter: object = embedder
    return GuardedMeter(embedder, meter, clock) if isinstance(meter, Metered) else Guarded(embedder, clock)
