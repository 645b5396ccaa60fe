"""What CloudWatch is told, in the embedded metric format: lines of JSON that CloudWatch Logs turns into metrics.

``METRICS`` is the whole list, and alarms and dashboards are checked against it. Pure: counts and a moment come in,
lines come out. No tenant, no text, no model: a dimension says one of few words of ours, or the deployment's name.

Source: Amazon CloudWatch user guide, "Specification: Embedded metric format" (read 2026-11-24).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["Count", "Percent", "Seconds", "None"]

NAMESPACE = "Yamabiko"
DEPLOYMENT: Sequence[str] = ("Deployment",)
BY_TIER: Sequence[str] = ("Deployment", "Tier")
TIERS: Sequence[str] = ("exact", "semantic", "verified", "miss", "pass", "refused")
"""How a request was answered: the first three are hits; ``pass`` was not read, ``refused`` is an error of our own."""
MAX_VALUES = 100
"""Values of one metric in one line. Source: as above, "Target members"."""
MAX_LATENCIES = 1000
"""Of an interval with more requests as many are told, evenly spaced from the fastest to the slowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; ``dimensions`` are the sets of them by which it can be asked for, and no others exist."""

    name: str
    unit: Unit
    doc: str
    dimensions: Sequence[Sequence[str]] = (DEPLOYMENT,)


METRICS: Sequence[Metric] = (
    Metric(
        name="Requests",
        unit="Count",
        dimensions=(DEPLOYMENT, BY_TIER),
        doc="Requests that are over. Tier: exact, semantic, verified (hits); miss; pass (unread); refused. Sum.",
    ),
    Metric(
        name="HitRate",
        unit="Percent",
        doc="Hits among hits and misses, of each line; exact over time is metric math on Requests. Average.",
    ),
    Metric(
        name="WrongRate",
        unit="Percent",
        doc="Of the served answers that were compared with fresh ones, those that differ. Average.",
    ),
    Metric(
        name="WrongRateUpperBound",
        unit="Percent",
        doc="The certified bound on wrong answers, of the hits by meaning that have one: the highest. Maximum.",
    ),
    Metric(
        name="LatencySeconds",
        unit="Seconds",
        doc="From a request's headers to the last byte of its answer, as single values. p50, p95, p99.",
    ),
    Metric(name="SavedUSD", unit="None", doc="What the served answers had cost when made, in USD. Sum."),
    Metric(name="SpentUSD", unit="None", doc="What models cost, for answers, renewals and labels, in USD. Sum."),
    Metric(name="NearMisses", unit="Count", doc="Misses with a stored question near enough to be named. Sum."),
    Metric(
        name="Evictions",
        unit="Count",
        doc="Answers that the store evicted for its budget; where several processes share it each tells all. Maximum.",
    ),
    Metric(name="StoreErrors", unit="Count", doc="Reads and writes that failed, or took too long. Sum."),
    Metric(name="EmbedderErrors", unit="Count", doc="Look-ups for which the embedder failed, or took too long. Sum."),
    Metric(
        name="UpstreamErrors", unit="Count", doc="Calls of a model that broke off, failed (5xx) or were throttled. Sum."
    ),
    Metric(name="CertificateLost", unit="Count", doc="Namespaces that served by meaning and now may less. Sum."),
)


@dataclass(slots=True, kw_only=True)
class Figures:
    """What happened since the last line. ``requests`` are counted by tier; ``latencies`` are in seconds, any order.

    ``labels_same`` and ``labels_different``: served answers that were compared with fresh ones. ``error_upper``: the
    highest certified bound of a hit, in [0, 1]; None without any. ``evictions``: None where the store was not asked.
    """

    requests: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    labels_same: int = 0
    labels_different: int = 0
    error_upper: float | None = None
    saved_usd: float = 0.0
    spent_usd: float = 0.0
    near_misses: int = 0
    evictions: int | None = None
    store_errors: int = 0
    embedder_errors: int = 0
    upstream_errors: int = 0
    certificates_lost: int = 0


def lines(figures: Figures, *, deployment: str, now: float) -> Iterator[str]:
    """The lines, each a JSON object without a line break; ``now`` is in seconds UTC epoch.

    The requests of each tier in a line of their own, and everything else with the first of them. What did not happen is
    told as 0, so that an alarm has data; what is not known, such as a rate of nothing, is left out.
    """
    tiers = [tier for tier in TIERS if figures.requests[tier]]
    told = _told(figures)
    latencies = _spread(sorted(figures.latencies))
    first = latencies[:MAX_VALUES]
    if first:
        told["LatencySeconds"] = first
    yield _line(told, deployment=deployment, now=now, tier=tiers[0] if tiers else "", requests=figures.requests)
    for tier in tiers[1:]:
        yield _line({}, deployment=deployment, now=now, tier=tier, requests=figures.requests)
    for start in range(MAX_VALUES, len(latencies), MAX_VALUES):
        more = {"LatencySeconds": latencies[start : start + MAX_VALUES]}
        yield _line(more, deployment=deployment, now=now, tier="", requests={})


def metrics_table() -> str:
    """The Markdown table of every metric, for the documentation."""
    rows = ["| metric | unit | dimensions | meaning, and the statistic that fits |", "| --- | --- | --- | --- |"]
    for metric in METRICS:
        sets = "; ".join(" + ".join(f"`{name}`" for name in names) for names in metric.dimensions)
        rows.append(f"| `{metric.name}` | {metric.unit} | {sets} | {metric.doc} |")
    return "\n".join(rows) + "\n"


def _told(figures: Figures) -> dict[str, object]:
    """The members of the first line that are metrics by deployment alone."""
    requests = figures.requests
    hits = sum(requests[tier] for tier in TIERS[:3])
    looked_up = hits + requests["miss"]
    labels = figures.labels_same + figures.labels_different
    known: dict[str, object] = {
        "HitRate": 100 * hits / looked_up if looked_up else None,
        "WrongRate": 100 * figures.labels_different / labels if labels else None,
        "WrongRateUpperBound": None if figures.error_upper is None else 100 * figures.error_upper,
        "SavedUSD": figures.saved_usd,
        "SpentUSD": figures.spent_usd,
        "NearMisses": figures.near_misses,
        "Evictions": figures.evictions,
        "StoreErrors": figures.store_errors,
        "EmbedderErrors": figures.embedder_errors,
        "UpstreamErrors": figures.upstream_errors,
        "CertificateLost": figures.certificates_lost,
    }
    return {name: value for name, value in known.items() if value is not None}


def _line(told: Mapping[str, object], *, deployment: str, now: float, tier: str, requests: Mapping[str, int]) -> str:
    """One line; ``tier``: whose requests are told in it, empty for none."""
    units = {metric.name: metric.unit for metric in METRICS}
    root: dict[str, object] = {"Deployment": deployment, **told}
    directives: list[object] = []
    if told:
        directives.append(_directive([DEPLOYMENT], {name: units[name] for name in told}))
    if tier:
        root |= {"Tier": tier, "Requests": requests[tier]}
        directives.append(_directive([DEPLOYMENT, BY_TIER], {"Requests": units["Requests"]}))
    about = {"Timestamp": math.floor(now * 1000), "CloudWatchMetrics": directives}
    return json.dumps({"_aws": about, **root}, separators=(",", ":"))


def _directive(dimensions: Sequence[Sequence[str]], units: Mapping[str, Unit]) -> object:
    return {
        "Namespace": NAMESPACE,
        "Dimensions": dimensions,
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }


def _spread(values: Sequence[float]) -> list[float]:
    """These sorted values, or ``MAX_LATENCIES`` of them with the same percentiles, first and last among them."""
    if len(values) > MAX_LATENCIES:
        step = (len(values) - 1) / (MAX_LATENCIES - 1)
        values = [values[round(at * step)] for at in range(MAX_LATENCIES)]
    return [round(value, 6) for value in values]
