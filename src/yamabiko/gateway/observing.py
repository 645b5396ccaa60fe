"""Who looks on: metrics where they can be asked for; CloudWatch, traces and the access log where they are wanted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from yamabiko.errors import MissingExtra
from yamabiko.gateway.accesslog import AccessLog, App, to_stream
from yamabiko.gateway.emf import Emf, to_stdout
from yamabiko.gateway.exchange import Observer

if TYPE_CHECKING:
    from yamabiko.cache import Cache
    from yamabiko.gateway.metrics import Metrics
    from yamabiko.gateway.proxy import Upstream
    from yamabiko.gateway.scrape import Scrape
    from yamabiko.settings import GatewaySettings, Settings
    from yamabiko.telemetry import Hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """All who look on. ``metrics`` and ``scrape`` are None where nobody can ask this process for them."""

    metrics: Metrics | None
    scrape: Scrape | None
    emf: Emf | None
    log: AccessLog | None
    tracing: Observer | None

    @property
    def observers(self) -> Sequence[Observer]:
        """In the order in which they are told: the log names the trace."""
        return tuple(one for one in (self.tracing, self.metrics, self.emf, self.log) if one is not None)

    @property
    def hooks(self) -> Sequence[Hook]:
        """Those that the cache tells as well."""
        return tuple(one for one in (self.metrics, self.emf) if one is not None)

    def logged(self, app: App) -> App:
        """The gateway's own endpoints in the access log."""
        return app if self.log is None else self.log.around(app)


def observing(
    settings: GatewaySettings,
    upstreams: Sequence[Upstream],
    environ: Mapping[str, str],
    cache: Callable[[], Cache | None],
    *,
    scraped: bool = True,
    emf: Emf | None = None,
) -> Observing:
    """Of ``environ``, OpenTelemetry's and Prometheus' own variables count. ``scraped``: whether there is ``/metrics``.

    Raises ``ConfigurationError``, and ``MissingExtra`` where traces are wanted and can't be made.
    """
    metrics, scrape = _counted(environ, cache) if scraped else (None, None)
    return Observing(
        metrics=metrics,
        scrape=scrape,
        emf=emf,
        log=to_stream(sys.stdout) if settings.access_log else None,
        tracing=_tracing(settings.traces, upstreams, environ) if traces_are_wanted(settings.traces, environ) else None,
    )


def emf_of(settings: Settings, cache: Callable[[], Cache | None]) -> Emf | None:
    """What a server tells CloudWatch, where the settings want it."""
    if not settings.gateway.emf:
        return None
    counts = settings.url.startswith(("sqlite:", "memory:"))
    return Emf(
        settings.deployment,
        to_stdout,
        every_seconds=settings.gateway.emf_seconds,
        evicting=cache if counts else lambda: None,
    )


def _counted(environ: Mapping[str, str], cache: Callable[[], Cache | None]) -> tuple[Metrics, Scrape]:
    # Who can't be scraped, as on AWS Lambda, does not wait for Prometheus' client.
    from yamabiko.gateway.metrics import Metrics  # noqa: PLC0415
    from yamabiko.gateway.scrape import FOLDER_VARIABLE, Scrape  # noqa: PLC0415

    metrics = Metrics()
    return metrics, Scrape(metrics, cache, environ.get(FOLDER_VARIABLE))


def traces_are_wanted(url: str, environ: Mapping[str, str]) -> bool:
    """Whether settings (``url``) or OpenTelemetry's standard variables ask for traces."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(url or exporter or any(environ.get(name) for name in endpoints))


def _tracing(url: str, upstreams: Sequence[Upstream], environ: Mapping[str, str]) -> Observer:
    if any(find_spec(name) is None for name in ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")):
        raise MissingExtra("otel", "Tracing")
    from yamabiko.gateway import tracing  # noqa: PLC0415 - an extra of its own, and slow to import

    return tracing.Tracing(tracing.provider(url, environ), upstreams)
