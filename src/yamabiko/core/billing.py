"""What a cache has cost and saved: a bill and the cache's own counters, side by side. Pure: both come as values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from yamabiko.core.planning import DAYS, Plan, Service, Workload

Key: TypeAlias = tuple[Service, str]
"""A row of a statement: the service, and the model where it is Bedrock's, or the name of what is none of ours."""

HIT_TIERS = ("exact", "semantic", "verified")

_ENDPOINT = re.compile(r"vpc-?endpoint|privatelink", re.IGNORECASE)
_EMBEDDING = re.compile(r"embed|titan-?text-?v", re.IGNORECASE)
_REGION = re.compile(r"^[A-Z]{2,4}\d{0,2}-(?=[A-Za-z])")
_TOKENS = re.compile(r"-(?:mantle-)?(?:cache-(?:read|write)-)?(?:input|output)-tokens?\b.*$", re.IGNORECASE)
_VERSION = re.compile(r"[-@]?\d{8}|-v\d+(?::\d+)?\Z")
_ORDER: Sequence[Service] = ("memorydb", "bedrock", "embeddings", "gateway", "endpoints", "observability", "other")
_SERVICES: Sequence[tuple[str, Service]] = (
    ("memorydb", "memorydb"),
    ("bedrock", "bedrock"),
    ("lambda", "gateway"),
    ("container service", "gateway"),
    ("container registry", "gateway"),
    ("fargate", "gateway"),
    ("api gateway", "gateway"),
    ("load balancing", "gateway"),
    ("cloudwatch", "observability"),
    ("notification service", "observability"),
    ("cost explorer", "observability"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answers of one model: how many were served and made, their tokens, and what that saved and cost in USD."""

    served: int = 0
    made: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    saved_usd: float = 0.0
    spent_usd: float = 0.0

    def plus(self, other: Answered) -> Answered:
        """Both."""
        return Answered(
            served=self.served + other.served,
            made=self.made + other.made,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            saved_usd=self.saved_usd + other.saved_usd,
            spent_usd=self.spent_usd + other.spent_usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The cache's own counters over ``days`` (> 0).

    ``tiers``: requests by what they came to (exact, semantic, verified, miss, pass). ``models``: by model, where the
    source tells them apart; else one with an empty name. ``unpriced``: models that the price file does not know: what
    they saved and cost is missing. ``by_similarity``: of the hits by meaning, how many and the USD that they saved, by
    whole hundredths of their similarity (93 for 0.93 up to 0.94); empty where the source has no similarities.
    """

    days: float
    tiers: Mapping[str, int]
    models: Mapping[str, Answered]
    unpriced: tuple[str, ...] = ()
    by_similarity: Mapping[int, tuple[int, float]] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Those that were looked up: hits and misses. What only passed through is not one of them."""
        return self.hits + self.tiers.get("miss", 0)

    @property
    def hits(self) -> int:
        """Requests answered from the cache."""
        return sum(self.tiers.get(tier, 0) for tier in HIT_TIERS)

    @property
    def hit_rate(self) -> float:
        """0..1; 0 before any request."""
        return self.hits / self.requests if self.requests else 0.0

    @property
    def saved_usd(self) -> float:
        """Gross: what the served answers had cost, or would have."""
        return math.fsum(model.saved_usd for model in self.models.values())

    @property
    def spent_usd(self) -> float:
        """What models cost."""
        return math.fsum(model.spent_usd for model in self.models.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One line of a bill: USD over the period, with the vendor's own names."""

    service: str
    usage_type: str
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One service, or one model, over the period: what was billed and what our counters say; None: not known."""

    service: Service
    what: str
    billed_usd: float | None
    own_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the period has cost and saved, in USD over the period, where nothing else is said.

    ``billed_net_usd``: gross savings less what was billed for all but the answers themselves; None without a bill.
    ``own_net_usd``: less what our counters and the price file say. ``month_*``: a month at this pace. ``raised``: what
    a similarity of at least that (hundredths) would have lost: hits, and USD a month.
    """

    rows: tuple[Row, ...]
    days: float
    saved_usd: float
    billed_cache_usd: float | None
    own_cache_usd: float
    raised: tuple[tuple[int, int, float], ...] = ()

    @property
    def billed_net_usd(self) -> float | None:
        """Gross savings less the bill of the cache."""
        return None if self.billed_cache_usd is None else self.saved_usd - self.billed_cache_usd

    @property
    def own_net_usd(self) -> float:
        """Gross savings less the cache's own estimate."""
        return self.saved_usd - self.own_cache_usd

    def month(self, usd: float) -> float:
        """A month at the pace of the period."""
        return usd / self.days * DAYS


def measured(counted: Counted, assumed: Workload) -> Workload:
    """The workload that was counted, at the assumptions of another for what counters don't tell."""
    priced = [model for model in counted.models.values() if model.saved_usd or model.spent_usd]
    answers = sum(model.served + model.made for model in priced)
    worth = math.fsum(model.saved_usd + model.spent_usd for model in priced)
    exact = counted.tiers.get("exact", 0)
    return replace(
        assumed,
        requests_per_day=counted.requests / counted.days,
        hit_rate=counted.hit_rate,
        exact_share=exact / counted.hits if counted.hits else 0.0,
        answer_usd=worth / answers if answers else assumed.answer_usd,
        model=assumed.model or next((name for name in counted.models if name), ""),
    )


def statement(counted: Counted | None, charges: Iterable[Charge] | None, planned: Plan, days: float) -> Statement:
    """The costs of ``days`` by service, and what they add up to.

    ``planned``: of what runs, under what was counted. Without counters nothing is known to be saved.
    """
    own = _own(planned, counted, days)
    bill = None if charges is None else _under_our_names(_billed(charges), own)
    rows = tuple(
        Row(service=key[0], what=key[1], billed_usd=None if bill is None else bill.get(key), own_usd=own.get(key))
        for key in sorted({*own, *(bill or {})}, key=_order)
    )
    cache = [row.billed_usd or 0.0 for row in rows if row.service not in ("bedrock", "other")]
    return Statement(
        rows=rows,
        days=days,
        saved_usd=counted.saved_usd if counted is not None else 0.0,
        billed_cache_usd=None if bill is None else math.fsum(cache),
        own_cache_usd=planned.cache_usd / DAYS * days,
        raised=_raised(counted) if counted is not None else (),
    )


def service_of(service: str, usage_type: str) -> Key:
    """What a line of the bill is for, and a name for it: a model's where it is one.

    AWS's own names could not be read, so the match is loose; what fits nothing keeps its name and is "other".
    """
    low = service.lower()
    if _ENDPOINT.search(usage_type):
        return "endpoints", ""
    found: Service = next((known for words, known in _SERVICES if words in low), "other")
    if found == "other":
        return "other", service
    if found != "bedrock":
        return found, ""
    if _EMBEDDING.search(usage_type) or _EMBEDDING.search(service):
        return "embeddings", ""
    marketplace = re.sub(r"\s*\(.*?bedrock.*?\)", "", service, flags=re.IGNORECASE).strip()
    if marketplace.lower() not in ("amazon bedrock", "bedrock", "amazon bedrock service"):
        return "bedrock", marketplace
    return "bedrock", _TOKENS.sub("", _REGION.sub("", usage_type)) or usage_type


def _billed(charges: Iterable[Charge]) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for charge in charges:
        key = service_of(charge.service, charge.usage_type)
        found[key] = found.get(key, 0.0) + charge.usd
    return {key: usd for key, usd in found.items() if usd or key[0] != "other"}


def _own(planned: Plan, counted: Counted | None, days: float) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for line in planned.lines:
        key: Key = (line.service, "" if line.service != "bedrock" else line.what)
        found[key] = found.get(key, 0.0) + line.usd / DAYS * days
    for name, model in (counted.models if counted is not None else {}).items():
        if model.made or model.spent_usd:
            found["bedrock", name] = found.get(("bedrock", name), 0.0) + model.spent_usd
    return found


def _order(key: Key) -> tuple[int, str]:
    return _ORDER.index(key[0]), key[1]


def _under_our_names(bill: Mapping[Key, float], own: Mapping[Key, float]) -> dict[Key, float]:
    """The bill, with each model under the name that our counters have for it, where they have one."""
    ours = sorted(name for service, name in own if service == "bedrock" and name)
    found: dict[Key, float] = {}
    for (service, name), usd in bill.items():
        same = [one for one in ours if is_same_model(name, one)] if service == "bedrock" else []
        key = (service, same[0] if same else name)
        found[key] = found.get(key, 0.0) + usd
    return found


def is_same_model(billed: str, model: str) -> bool:
    """Whether a name on a bill (``ClaudeHaiku4.5``) is that of a model (``jp.anthropic.claude-haiku-4-5-20251001``)."""
    short, long = plain(billed), plain(_VERSION.sub("", model))
    return bool(short) and re.search(re.escape(short) + r"(?!\d)", long) is not None


def plain(name: str) -> str:
    """A model's name without all that vendors write differently: ``claudehaiku45``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _raised(counted: Counted) -> tuple[tuple[int, int, float], ...]:
    """For each whole hundredth that some hit is below: the hits and the USD a month that it would have cost."""
    found = []
    for at in (80, 85, 90, 93, 95, 97, 98, 99):
        below = [value for bucket, value in counted.by_similarity.items() if bucket < at]
        lost = sum(count for count, _ in below)
        if lost:
            usd = math.fsum(usd for _, usd in below) / counted.days * DAYS
            found.append((at, lost, usd))
    return tuple(found)
