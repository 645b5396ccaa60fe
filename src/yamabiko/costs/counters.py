"""The cache's own counters: from the gateway's access log, from a scrape of its metrics, from CloudWatch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from yamabiko.aws.costs import Metered
from yamabiko.core.billing import HIT_TIERS, Answered, Counted
from yamabiko.core.economics import Prices
from yamabiko.errors import ConfigurationError
from yamabiko.types import Usage

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})?\s+([^\s]+)(?:\s+\S+)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_DAY = 86_400.0


class _Line(msgspec.Struct):
    """What counts of a line of the access log (``gateway.accesslog``)."""

    time: str = ""
    tier: str = ""
    model: str = ""
    shared: bool = False
    similarity: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(slots=True)
class _Tally:
    tiers: Counter[str] = field(default_factory=Counter)
    models: dict[str, Answered] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)
    by_similarity: dict[int, tuple[int, float]] = field(default_factory=dict)


def from_access_log(lines: Iterable[str], prices: Prices, start: float, end: float) -> Counted:
    """What the log of a gateway tells of the time from ``start`` to before ``end`` (seconds UTC epoch).

    What is no line of an access log is passed over, as are requests of the gateway's own endpoints. An answer that was
    made for another request at the same time was saved. Prices are of the file, as of now.
    """
    decode = msgspec.json.Decoder(_Line).decode
    tally = _Tally()
    for text in lines:
        at = text.find("{")
        if at < 0:
            continue
        try:
            line = decode(text[at:])
            when = datetime.fromisoformat(line.time)
        except (msgspec.DecodeError, ValueError, UnicodeDecodeError):
            continue
        seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
        if line.tier and start <= seconds < end:
            _count(tally, line, prices)
    return Counted(
        days=(end - start) / _DAY,
        tiers=MappingProxyType(dict(tally.tiers)),
        models=MappingProxyType(tally.models),
        unpriced=tuple(sorted(tally.unpriced)),
        by_similarity=MappingProxyType(tally.by_similarity),
    )


def _count(tally: _Tally, line: _Line, prices: Prices) -> None:
    tally.tiers[line.tier] += 1
    is_hit = line.tier in HIT_TIERS
    if not is_hit and line.tier != "miss":
        return
    usage = Usage(input_tokens=max(0, line.input_tokens), output_tokens=max(0, line.output_tokens))
    if not usage.input_tokens and not usage.output_tokens:
        return
    if line.cost_usd is None and not prices.known(line.model):
        tally.unpriced.add(line.model or "without a name")
    usd = prices.cost_usd(usage, line.model) if line.cost_usd is None else line.cost_usd
    saved = is_hit or line.shared
    answered = Answered(
        served=int(saved),
        made=int(not saved),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        saved_usd=usd if saved else 0.0,
        spent_usd=0.0 if saved else usd,
    )
    tally.models[line.model] = tally.models.get(line.model, Answered()).plus(answered)
    if is_hit and line.tier != "exact" and line.similarity is not None:
        bucket = int(line.similarity * 100 + 1e-9)
        count, worth = tally.by_similarity.get(bucket, (0, 0.0))
        tally.by_similarity[bucket] = (count + 1, worth + usd)


def from_metrics(text: str, *, now: float, days: float | None = None, before: str = "") -> Counted:
    """What a scrape of the gateway's ``/metrics`` tells, less an earlier one of the same process where it is given.

    ``days``: the time that both cover; None: since the process began, which the scrape says where the gateway has one
    worker. Raises ``ConfigurationError`` for what is no scrape, or where the time is not known.
    """
    later, earlier = _samples(text), _samples(before)
    if not any(name.startswith("yamabiko_") for name, _ in later):
        raise ConfigurationError("this is no scrape of a gateway's /metrics: no yamabiko_ metric is in it")
    began = next((value for (name, _), value in later.items() if name == "process_start_time_seconds"), None)
    if days is None:
        if before or began is None or now <= began:
            raise ConfigurationError("the scrape does not say since when it counts: say --days")
        days = (now - began) / _DAY

    tiers: Counter[str] = Counter()
    saved = spent = 0.0
    for (name, labels), value in later.items():
        more = value - earlier.get((name, labels), 0.0)
        if more < 0:
            raise ConfigurationError("a counter is lower than before: the gateway began anew between the two scrapes")
        if name == "yamabiko_requests_total":
            tiers[dict(labels).get("tier", "")] += round(more)
        elif name == "yamabiko_saved_usd_total":
            saved += more
        elif name == "yamabiko_spent_usd_total":
            spent += more
    return _of_sums(tiers, saved, spent, days)


def from_metered(metered: Metered, days: float) -> Counted:
    """What CloudWatch has summed up."""
    return _of_sums(metered.tiers, metered.saved_usd, metered.spent_usd, days)


def _of_sums(tiers: Mapping[str, int], saved_usd: float, spent_usd: float, days: float) -> Counted:
    served, made = sum(tiers.get(tier, 0) for tier in HIT_TIERS), tiers.get("miss", 0)
    answered = Answered(served=served, made=made, saved_usd=saved_usd, spent_usd=spent_usd)
    return Counted(days=days, tiers=MappingProxyType(dict(tiers)), models=MappingProxyType({"": answered}))


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Prometheus' text format: name and labels of each sample. Comments, and lines that are none, are passed over."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for line in text.splitlines():
        sample = None if line.startswith("#") else _SAMPLE.fullmatch(line.strip())
        if sample is None:
            continue
        labels = tuple(sorted(_LABEL.findall(sample[2] or "")))
        try:
            found[sample[1], labels] = float(sample[3])
        except ValueError:
            continue
    return found
