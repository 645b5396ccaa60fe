"""What the gateway counts, for Prometheus: the same words as in ``MissReason``, headers and docs. No tenant, no text.

``METRICS`` is the whole list, and docs, dashboard and alerts are checked against it. ``Metrics`` is fed twice: as an
``Observer`` with what clients see, and as a hook of the cache with what goes on behind. Each label has few values, all
of them ours or the configuration's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import prometheus_client as prometheus
from prometheus_client.metrics import MetricWrapperBase

from yamabiko.core.states import State
from yamabiko.gateway.exchange import Asking, Exchange, Observer, Scope
from yamabiko.gateway.outcomes import call_status, level_of, status_class, tier_of
from yamabiko.telemetry import Event
from yamabiko.types import Hit, Miss, MissReason
from yamabiko.version import __version__

if TYPE_CHECKING:
    from yamabiko.types import StoreStats

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
T = TypeVar("T", bound=MetricWrapperBase)

LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of latency buckets, in seconds: an exact hit takes less than a millisecond, a long generation a minute."""

SAMPLE_SECONDS = 0.5
"""Under load, what is in flight is written down so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. ``name`` is the one that is scraped. ``per``: whose value a gauge has among workers.

    ``sum``: their values add up; ``max``: the worst of them counts; ``store``: it is the store's own.
    """

    name: str
    kind: Kind
    doc: str
    labels: tuple[str, ...] = ()
    per: Literal["sum", "max", "store"] = "sum"


METRICS: Sequence[Metric] = (
    Metric(
        name="yamabiko_requests_total",
        kind="counter",
        labels=("dialect", "tier", "reason"),
        doc="Requests that are over. tier: exact, semantic, verified; miss, with its reason; pass (unread); refused.",
    ),
    Metric(
        name="yamabiko_responses_total",
        kind="counter",
        labels=("dialect", "status"),
        doc="What clients got, by class of status: 2xx, 3xx, 4xx, 5xx; none where they left before.",
    ),
    Metric(
        name="yamabiko_errors_total",
        kind="counter",
        labels=("code",),
        doc="Errors of the gateway's own by code: overloaded, rate_limit_exceeded, upstream_timeout, client_gone ...",
    ),
    Metric(
        name="yamabiko_request_seconds",
        kind="histogram",
        labels=("tier",),
        doc="From the request's headers to the last byte of its answer, in seconds.",
    ),
    Metric(
        name="yamabiko_first_byte_seconds",
        kind="histogram",
        labels=("tier",),
        doc="From the request's headers to the first byte of a streamed answer, in seconds.",
    ),
    Metric(name="yamabiko_in_flight_requests", kind="gauge", doc="Requests that are being answered."),
    Metric(
        name="yamabiko_in_flight_followers",
        kind="gauge",
        doc="Of those, the ones that get what another request's call to the upstream brings.",
    ),
    Metric(name="yamabiko_shared_total", kind="counter", doc="Requests answered by another request's generation."),
    Metric(
        name="yamabiko_stale_total",
        kind="counter",
        labels=("cause",),
        doc="Answers past their expiry that were served: while renewing, or because of an upstream_error.",
    ),
    Metric(
        name="yamabiko_near_misses_total",
        kind="counter",
        doc="Misses with a stored question near enough to be named; yamabiko near-misses lists them.",
    ),
    Metric(name="yamabiko_saved_usd_total", kind="counter", doc="What the served answers had cost when made, in USD."),
    Metric(name="yamabiko_saved_seconds_total", kind="counter", doc="Generation time that hits saved, in seconds."),
    Metric(
        name="yamabiko_spent_usd_total",
        kind="counter",
        labels=("purpose",),
        doc="What models cost, in USD: for an answer, a renewal, a label.",
    ),
    Metric(name="yamabiko_spent_seconds_total", kind="counter", doc="Time that upstreams generated, in seconds."),
    Metric(
        name="yamabiko_tokens_total",
        kind="counter",
        labels=("source", "direction"),
        doc="Tokens as vendors count them: source cache or upstream, direction input or output.",
    ),
    Metric(
        name="yamabiko_step_seconds",
        kind="histogram",
        labels=("step",),
        doc="Parts of a look-up by meaning, in seconds: embed, search.",
    ),
    Metric(
        name="yamabiko_writes_total",
        kind="counter",
        labels=("call", "outcome"),
        doc="Answers to be stored: stored, refused (not worth keeping) or failed; call: remember, renew, audit.",
    ),
    Metric(
        name="yamabiko_store_errors_total",
        kind="counter",
        labels=("operation",),
        doc="Reads and writes that the store failed, or was too slow for. The model answered.",
    ),
    Metric(
        name="yamabiko_embedder_errors_total",
        kind="counter",
        doc="Look-ups for which the embedder failed, or was too slow. The exact tier still works.",
    ),
    Metric(
        name="yamabiko_plain_proxy",
        kind="gauge",
        per="max",
        doc="1 while the store can't be used: the gateway is a plain proxy. 0 otherwise.",
    ),
    Metric(
        name="yamabiko_exact_only",
        kind="gauge",
        per="max",
        doc="1 while the embedder fails: only the very same question is answered. 0 otherwise.",
    ),
    Metric(name="yamabiko_audits_total", kind="counter", doc="Look-ups drawn to be compared with a fresh answer."),
    Metric(
        name="yamabiko_labels_total",
        kind="counter",
        labels=("verdict",),
        doc="Stored answers compared with fresh ones: same, different, unsure.",
    ),
    Metric(
        name="yamabiko_standing_transitions_total",
        kind="counter",
        labels=("level", "state"),
        doc="Changes of what a namespace may serve, to: exact_only, shadow, serving, tightened. "
        "level: model, tenant, category, experiment.",
    ),
    Metric(name="yamabiko_forged_total", kind="counter", doc="Entries in the store without a valid signature."),
    Metric(name="yamabiko_upstream_in_flight", kind="gauge", labels=("upstream",), doc="Calls under way."),
    Metric(
        name="yamabiko_upstream_calls_total",
        kind="counter",
        labels=("upstream", "status"),
        doc="Calls that are over: 2xx, 3xx, 4xx, 429, 5xx; broken: it ended midway; none: nothing came; "
        "given_up: nobody waited any more.",
    ),
    Metric(name="yamabiko_upstream_retries_total", kind="counter", labels=("upstream",), doc="Attempts made again."),
    Metric(
        name="yamabiko_upstream_first_byte_seconds",
        kind="histogram",
        labels=("upstream",),
        doc="From a call to its status, in seconds.",
    ),
    Metric(name="yamabiko_store_entries", kind="gauge", per="store", doc="Stored answers."),
    Metric(name="yamabiko_store_bytes", kind="gauge", per="store", doc="What the byte budget counts of them."),
    Metric(name="yamabiko_store_evictions_total", kind="counter", per="store", doc="Answers evicted for the budget."),
    Metric(name="yamabiko_build_info", kind="gauge", per="max", labels=("version",), doc="1, with the version."),
)


class _Family(Generic[T]):
    """A metric's children by the values of their labels; to find one in a dictionary costs a tenth of ``labels``."""

    __slots__ = ("_children", "_metric")

    def __init__(self, metric: T) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], T] = {}

    def of(self, *values: str) -> T:
        """The child with these values."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child


class Metrics(Observer):
    """Counts. An ``Observer``, and a hook of the cache; each takes a few microseconds.

    ``benchmarks/observing.py`` measures them.
    """

    def __init__(self) -> None:
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call] # doubles the series for nothing
        self.registry = prometheus.CollectorRegistry()
        self._live: dict[int, Exchange] = {}
        self._sampled = 0.0
        self._counted = 0
        self._is_proxy = False
        self._define()
        self._in_flight.set(0)
        self._plain_proxy.set(0)
        self._exact_only.set(0)
        self._gauge("yamabiko_build_info").labels(__version__).set(1)
        self._begin_at_zero()

    def _define(self) -> None:
        self._requests = _Family(self._counter("yamabiko_requests_total"))
        self._responses = _Family(self._counter("yamabiko_responses_total"))
        self._errors = _Family(self._counter("yamabiko_errors_total"))
        self._request_seconds = _Family(self._histogram("yamabiko_request_seconds"))
        self._first_byte_seconds = _Family(self._histogram("yamabiko_first_byte_seconds"))
        self._in_flight = self._gauge("yamabiko_in_flight_requests")
        self._followers = self._gauge("yamabiko_in_flight_followers")
        self._shared = self._counter("yamabiko_shared_total")
        self._stale = _Family(self._counter("yamabiko_stale_total"))
        self._near_misses = self._counter("yamabiko_near_misses_total")
        self._saved_usd = self._counter("yamabiko_saved_usd_total")
        self._saved_seconds = self._counter("yamabiko_saved_seconds_total")
        self._spent_usd = _Family(self._counter("yamabiko_spent_usd_total"))
        self._spent_seconds = self._counter("yamabiko_spent_seconds_total")
        self._tokens = _Family(self._counter("yamabiko_tokens_total"))
        self._step_seconds = _Family(self._histogram("yamabiko_step_seconds"))
        self._writes = _Family(self._counter("yamabiko_writes_total"))
        self._store_errors = _Family(self._counter("yamabiko_store_errors_total"))
        self._embedder_errors = self._counter("yamabiko_embedder_errors_total")
        self._plain_proxy = self._gauge("yamabiko_plain_proxy")
        self._exact_only = self._gauge("yamabiko_exact_only")
        self._audits = self._counter("yamabiko_audits_total")
        self._labels = _Family(self._counter("yamabiko_labels_total"))
        self._transitions = _Family(self._counter("yamabiko_standing_transitions_total"))
        self._forged = self._counter("yamabiko_forged_total")
        self._upstream_in_flight = _Family(self._gauge("yamabiko_upstream_in_flight"))
        self._upstream_calls = _Family(self._counter("yamabiko_upstream_calls_total"))
        self._upstream_retries = _Family(self._counter("yamabiko_upstream_retries_total"))
        self._upstream_first_byte = _Family(self._histogram("yamabiko_upstream_first_byte_seconds"))

    def _begin_at_zero(self) -> None:
        """Of what happens seldom and matters, the first time is seen as a rise from nothing."""
        for level in ("model", "tenant", "category", "experiment"):
            for state in State:
                self._transitions.of(level, state.value)
        for verdict in ("same", "different", "unsure"):
            self._labels.of(verdict)
        for operation in ("read", "write"):
            self._store_errors.of(operation)

    def _counter(self, name: str) -> prometheus.Counter:
        metric = _known(name)
        return prometheus.Counter(name, metric.doc, metric.labels, registry=self.registry)

    def _gauge(self, name: str) -> prometheus.Gauge:
        metric = _known(name)
        mode: Literal["livemax", "livesum"] = "livemax" if metric.per == "max" else "livesum"
        return prometheus.Gauge(name, metric.doc, metric.labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str) -> prometheus.Histogram:
        metric = _known(name)
        return prometheus.Histogram(name, metric.doc, metric.labels, registry=self.registry, buckets=LATENCY)

    # What clients see.

    def begun(self, exchange: Exchange, scope: Scope) -> None:  # noqa: ARG002 - the protocol's
        """See ``Observer``."""
        self._live[id(exchange)] = exchange

    def ended(self, exchange: Exchange) -> None:
        """See ``Observer``."""
        self._live.pop(id(exchange), None)
        if (self._counted and not self._live) or monotonic() - self._sampled > SAMPLE_SECONDS:
            self.sample()
        tier, reason = tier_of(exchange), "none"
        if isinstance(exchange.outcome, Miss):
            reason = exchange.outcome.reason.value
            self._missed(exchange.outcome)
        elif exchange.outcome is not None:
            self._hit(exchange, exchange.outcome)
        self._requests.of(exchange.route, tier, reason).inc()
        self._responses.of(exchange.route, status_class(exchange.status)).inc()
        self._request_seconds.of(tier).observe(exchange.seconds)
        if exchange.stream and exchange.first_byte_seconds:
            self._first_byte_seconds.of(tier).observe(exchange.first_byte_seconds)
        if exchange.error:
            self._errors.of(exchange.error).inc()
        if exchange.shared:
            self._shared.inc()

    def _hit(self, exchange: Exchange, hit: Hit) -> None:
        self._set_proxy(is_proxy=False)
        self._tokens.of("cache", "input").inc(exchange.input_tokens)
        self._tokens.of("cache", "output").inc(exchange.output_tokens)
        if exchange.stale_if_error:
            self._stale.of("upstream_error").inc()
        elif hit.stale:
            self._stale.of("renewing").inc()
        if hit.trial is not None:
            self._audits.inc()

    def _missed(self, miss: Miss) -> None:
        if miss.reason is MissReason.STORE_UNAVAILABLE:
            self._store_errors.of("read").inc()
            self._set_proxy(is_proxy=True)
        elif miss.key is not None and miss.controls.read:  # the store has been read
            self._set_proxy(is_proxy=False)
        if miss.nearest:
            self._near_misses.inc()
        if miss.trial is not None:
            self._audits.inc()

    def asking(self, exchange: Exchange, call: Asking) -> None:  # noqa: ARG002 - the protocol's
        """See ``Observer``."""
        self._upstream_in_flight.of(exchange.upstream).inc()

    def asked(self, exchange: Exchange, call: Asking) -> None:
        """See ``Observer``."""
        upstream = exchange.upstream
        self._upstream_in_flight.of(upstream).dec()
        self._upstream_calls.of(upstream, call_status(call)).inc()
        if call.attempts > 1:
            self._upstream_retries.of(upstream).inc(call.attempts - 1)
        if call.status:
            self._upstream_first_byte.of(upstream).observe(call.first_byte_seconds)
        if call.reply is not None:
            self._spent_seconds.inc(call.seconds)
            self._tokens.of("upstream", "input").inc(call.reply.usage.input_tokens)
            self._tokens.of("upstream", "output").inc(call.reply.usage.output_tokens)

    # What goes on behind.

    def __call__(self, event: Event) -> None:
        """Count one event of the cache: a ``telemetry.Hook``."""
        call = event.call
        if call in ("answer", "stream", "lookup"):
            self._looked_up(event)
        elif call in ("remember", "renew", "audit"):
            self._writes.of(call, event.outcome).inc()
            if event.outcome == "failed":
                self._store_errors.of("write").inc()
            if event.spent_usd:
                self._spent_usd.of("renewal").inc(event.spent_usd)
        elif call == "label":
            self._labels.of(event.outcome).inc()
            self._spent_usd.of("label").inc(event.spent_usd)
        elif call == "standing":
            self._transitions.of(level_of(event.namespace), event.outcome).inc()
        elif call == "forged":
            self._forged.inc()

    def _looked_up(self, event: Event) -> None:
        if event.saved_usd:
            self._saved_usd.inc(event.saved_usd)
        if event.saved_seconds:
            self._saved_seconds.inc(event.saved_seconds)
        if event.spent_usd:
            self._spent_usd.of("answer").inc(event.spent_usd)
        if event.reason is MissReason.EMBEDDER_UNAVAILABLE:
            self._embedder_errors.inc()
            self._exact_only.set(1)
        elif event.embed_seconds:
            self._step_seconds.of("embed").observe(event.embed_seconds)
        if event.search_seconds:  # with a vector: the embedder is well
            self._exact_only.set(0)
            self._step_seconds.of("search").observe(event.search_seconds)

    # What is looked up when it is asked for.

    def sample(self, *, cache_is_open: bool = True) -> None:
        """Bring the gauges up to date that nobody counts: now and then, and when they are read."""
        self._sampled, self._counted = monotonic(), len(self._live)
        self._in_flight.set(self._counted)
        self._followers.set(sum(exchange.shared for exchange in self._live.values()))
        if not cache_is_open:
            self._set_proxy(is_proxy=True)

    def _set_proxy(self, *, is_proxy: bool) -> None:
        if is_proxy is not self._is_proxy:
            self._is_proxy = is_proxy
            self._plain_proxy.set(is_proxy)


def store_families(stats: StoreStats) -> dict[str, float]:
    """The metrics that are the store's own, by name."""
    return {
        "yamabiko_store_entries": stats.entries,
        "yamabiko_store_bytes": stats.payload_bytes,
        "yamabiko_store_evictions_total": stats.evicted,
    }


def metrics_table() -> str:
    """The Markdown table of every metric, for the documentation."""
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.doc} |")
    return "\n".join(lines) + "\n"


def _known(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)
