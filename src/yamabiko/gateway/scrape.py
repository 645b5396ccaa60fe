"""``GET /metrics``: what was counted, in Prometheus' own format.

One process answers for itself. Of several workers on one socket, any one may be asked, so each writes its values to
files of a shared folder (``PROMETHEUS_MULTIPROC_DIR``), and whoever is asked adds them up; ``yamabiko serve`` makes
that folder. What a worker counted stays counted when it dies; what it had under way does not.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from yamabiko.errors import StoreError
from yamabiko.gateway.client import Receive, Send
from yamabiko.gateway.exchange import Scope
from yamabiko.gateway.metrics import METRICS, Metrics, store_families

if TYPE_CHECKING:
    from yamabiko.cache import Cache

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Source: prometheus-client's documentation, "Multiprocess Mode" (version 0.26)."""
STATS_SECONDS = 10.0
"""The store is asked for its counts at most so often."""
STATS_TIMEOUT_SECONDS = 2.0
_LIVE = re.compile(r"gauge_live\w*_(\d+)\.db")


class Scrape:
    """An ASGI application for ``/metrics``. ``cache`` gives None while there is none.

    ``folder``: what the workers share; None where there is one only. ``clock``: seconds that only rise.
    """

    def __init__(
        self,
        metrics: Metrics,
        cache: Callable[[], Cache | None],
        folder: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._metrics = metrics
        self._cache = cache
        self._folder = folder
        self._clock = clock
        self._store = _StoreCollector()
        self._asked_at: float | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self._store)
        if folder is None:
            self._registry.register(_Several(metrics.registry))
            ProcessCollector(registry=self._registry)
        else:
            MultiProcessCollector(self._registry, folder)  # type: ignore[no-untyped-call] # the library's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """One request."""
        if scope["method"] not in ("GET", "HEAD") or scope["raw_path"] != b"/metrics":
            status = 404 if scope["raw_path"] != b"/metrics" else 405
            await _send(send, status, [(b"content-type", b"text/plain; charset=utf-8")], b"")
            return
        cache = self._cache()
        self._metrics.sample(cache_is_open=cache is not None)
        await self._ask(cache)
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        encode, content_type = choose_encoder(accept)
        body = await asyncio.to_thread(self._encoded, encode)
        await _send(send, 200, [(b"content-type", content_type.encode())], b"" if scope["method"] == "HEAD" else body)

    def _encoded(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        if self._folder is not None:
            bury_dead(self._folder)
        return encode(self._registry)

    async def _ask(self, cache: Cache | None) -> None:
        """The store's own counts; without them where it does not answer."""
        now = self._clock()
        if cache is None or (self._asked_at is not None and now - self._asked_at < STATS_SECONDS):
            return
        self._asked_at = now
        self._store.values = {}
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(STATS_TIMEOUT_SECONDS):
                self._store.values = store_families(await cache.store.stats())


class _StoreCollector(Collector):
    """What the store counts itself, as it was last heard."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def collect(self) -> Iterable[Metric]:
        """See ``Collector``."""
        for metric in METRICS:
            if metric.name in self.values:
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                yield kind(metric.name, metric.doc, value=self.values[metric.name])


class _Several(Collector):
    """All that another registry has."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """See ``Collector``."""
        return self._registry.collect()


def bury_dead(folder: str) -> None:
    """Forget what workers that are gone had under way. Two that do it at once do no harm."""
    pids = {int(found[1]) for path in Path(folder).iterdir() if (found := _LIVE.fullmatch(path.name))}
    for pid in pids:
        if not _is_alive(pid):
            with suppress(FileNotFoundError):
                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call] # the library's


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    said = [*headers, (b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": [*said, (b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": body})
