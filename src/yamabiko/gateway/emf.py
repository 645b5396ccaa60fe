"""What the gateway counts for CloudWatch, and when it is told: on Lambda with each invocation, elsewhere now and then.

The same feeds as those of ``Metrics``: an ``Observer`` of what clients see, and a hook of the cache. What the metrics
are called, and how a line looks, stands in ``yamabiko.aws.metrics``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

from yamabiko.aws.metrics import Figures, lines
from yamabiko.core.states import State
from yamabiko.errors import StoreError
from yamabiko.flight import Background
from yamabiko.gateway.exchange import Asking, Exchange, Observer
from yamabiko.gateway.outcomes import call_status, tier_of
from yamabiko.telemetry import Event
from yamabiko.types import Miss, MissReason

if TYPE_CHECKING:
    from yamabiko.cache import Cache

STATS_SECONDS = 2.0
"""How long the store may take to say what it has evicted."""
_FAILED = frozenset({"5xx", "429", "broken", "none"})


class Emf(Observer):
    """Counts, and writes lines. ``deployment`` names what they are about, ``write`` takes one line, without its break.

    ``every_seconds`` after the first thing that is counted, it is told; None where ``tell`` is called instead.
    ``evicting`` gives the cache whose store counts evictions itself; those of a server are AWS's to tell. ``now`` gives
    seconds UTC epoch.
    """

    def __init__(
        self,
        deployment: str,
        write: Callable[[str], None],
        *,
        every_seconds: float | None = None,
        evicting: Callable[[], Cache | None] = lambda: None,
        now: Callable[[], float] = time,
    ) -> None:
        self._deployment = deployment
        self._write = write
        self._every_seconds = every_seconds
        self._evicting = evicting
        self._now = now
        self._figures = Figures()
        self._counted = False
        self._evicted: int | None = None
        self._due: asyncio.TimerHandle | None = None
        self._behind = Background()

    # What clients see.

    def ended(self, exchange: Exchange) -> None:
        """See ``Observer``."""
        figures = self._counting()
        figures.requests[tier_of(exchange)] += 1
        figures.latencies.append(exchange.seconds)
        outcome = exchange.outcome
        if isinstance(outcome, Miss):
            figures.near_misses += bool(outcome.nearest)
            figures.store_errors += outcome.reason is MissReason.STORE_UNAVAILABLE

    def asked(self, exchange: Exchange, call: Asking) -> None:  # noqa: ARG002 - the protocol's
        """See ``Observer``."""
        self._counting().upstream_errors += call_status(call) in _FAILED

    async def close(self) -> None:
        """Tell the rest."""
        if self._due is not None:
            await self.tell()
        await self._behind.drain()

    # What goes on behind.

    def __call__(self, event: Event) -> None:
        """Count one event of the cache: a ``telemetry.Hook``."""
        figures = self._counting()
        figures.saved_usd += event.saved_usd
        figures.spent_usd += event.spent_usd
        if event.reason is MissReason.EMBEDDER_UNAVAILABLE:
            figures.embedder_errors += 1
        if event.error_upper is not None:
            figures.error_upper = max(event.error_upper, figures.error_upper or 0.0)
        if event.call == "label" and event.served:
            figures.labels_same += event.outcome == "same"
            figures.labels_different += event.outcome == "different"
        elif event.call == "standing":
            figures.certificates_lost += event.before == State.SERVING and event.outcome != State.SERVING
        elif event.call in ("remember", "renew", "audit"):
            figures.store_errors += event.outcome == "failed"

    # Telling.

    async def tell(self) -> None:
        """Write what has been counted since the last time, if it is anything."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._counted:
            return
        evictions = await self._new_evictions()
        self._counted = False
        figures, self._figures = self._figures, Figures()
        figures.evictions = evictions
        for line in lines(figures, deployment=self._deployment, now=self._now()):
            self._write(line)

    def _counting(self) -> Figures:
        self._counted = True
        if self._every_seconds is not None and self._due is None:
            self._due = asyncio.get_running_loop().call_later(self._every_seconds, self._is_due)
        return self._figures

    def _is_due(self) -> None:
        self._due = None
        self._behind.spawn("telling CloudWatch", self.tell())

    async def _new_evictions(self) -> int | None:
        """Since the last time; None where nobody knows, and the first time."""
        cache = self._evicting()
        if cache is None:
            return None
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(STATS_SECONDS):
                evicted = (await cache.store.stats()).evicted
            before, self._evicted = self._evicted, evicted
            return None if before is None else max(0, evicted - before)
        return None


def to_stdout(line: str) -> None:
    """One line on standard output, which AWS's log drivers carry to CloudWatch Logs."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
