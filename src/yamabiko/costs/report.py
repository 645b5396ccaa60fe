"""The report: what is asked of whom, and what the answers come to. What is denied is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from yamabiko.aws.costs import Account, Billed
from yamabiko.core.alternatives import Change, changes
from yamabiko.core.billing import Charge, Counted, Statement, measured, statement
from yamabiko.core.economics import Prices
from yamabiko.core.planning import Deployment, Plan, Workload, entry_bytes, plan
from yamabiko.core.tariff import Tariff
from yamabiko.costs.counters import from_metered
from yamabiko.errors import ConfigurationError, ServiceError

NO_SERVER = Deployment(
    node="", gateway="none", endpoints=0, snapshot_days=0, metrics=0, alarms=0, dashboards=0, log_bytes=0, reports=0
)
"""A cache in a file, in what runs anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a report is about: ``days`` whole days (UTC) before ``until``, which is not one of them.

    ``deployment``: the name in the gateway's metrics; ``cluster``: MemoryDB's, from which node, replicas and engine are
    read; ``runs``: what runs where no cluster is named; ``assumed``: what counters don't tell. ``bill`` and ``meters``:
    whether Cost Explorer and CloudWatch are asked.
    """

    until: date
    days: int = 1
    deployment: str = "yamabiko"
    cluster: str = ""
    tag: tuple[str, str] | None = None
    bill: bool = False
    meters: bool = False
    runs: Deployment = NO_SERVER
    assumed: Workload = field(default_factory=lambda: Workload(requests_per_day=0, hit_rate=0, model=""))

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 366:
            raise ConfigurationError(f"days must be in 1..366, not {self.days}")

    @property
    def start(self) -> date:
        """The first day."""
        return self.until - timedelta(days=self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it. ``problems``: what could not be read, and what to do about it."""

    ask: Ask
    runs: Deployment
    counted: Counted | None
    estimated: bool
    planned: Plan
    statement: Statement
    changes: tuple[Change, ...]
    problems: tuple[str, ...]
    dated: str
    region: str
    has_bill: bool
    unverified: tuple[str, ...]
    """Prices in these figures that nobody compared with the vendor's list."""


@dataclass(slots=True)
class _Heard:
    bill: Billed | None = None
    counted: Counted | None = None
    runs: Deployment = NO_SERVER
    memory_bytes: int | None = None
    problems: list[str] = field(default_factory=list)


def report(ask: Ask, prices: Prices, tariff: Tariff, *, account: Account | None, counted: Counted | None) -> Report:
    """Ask, reckon, and put side by side. ``account``: None where nothing of AWS is asked.

    Raises ``ServiceError`` where nothing at all could be read, and ``ConfigurationError``.
    """
    heard = _heard(ask, account, counted)
    if heard.counted is None and heard.bill is None:
        raise ServiceError(heard.problems[0] if heard.problems else "nothing was asked", code="NothingRead")
    if heard.counted is not None and heard.counted.unpriced:
        names = ", ".join(heard.counted.unpriced[:10])
        heard.problems.append(f"no price is known for {names}: add it to a price file (prices_path); it counts as 0")
    workload = ask.assumed if heard.counted is None else measured(heard.counted, ask.assumed)
    if workload.answer_usd is None and not prices.known(workload.model):
        workload = replace(workload, answer_usd=0.0)
    if heard.memory_bytes is not None:
        each = entry_bytes(workload.dim, workload.bytes_per_answer)
        workload = replace(workload, entries=heard.memory_bytes / each)
    planned = plan(workload, heard.runs, prices, tariff)
    days = heard.counted.days if heard.counted is not None else float(ask.days)
    charges = (
        None
        if heard.bill is None
        else [Charge(service=service, usage_type=usage_type, usd=usd) for service, usage_type, usd in heard.bill.lines]
    )
    return Report(
        ask=ask,
        runs=heard.runs,
        counted=heard.counted,
        estimated=heard.bill is not None and heard.bill.estimated,
        planned=planned,
        statement=statement(heard.counted, charges, planned, days),
        changes=tuple(changes(planned, prices, tariff)) if heard.counted is not None else (),
        problems=tuple(heard.problems),
        dated=tariff.dated,
        region=tariff.region,
        has_bill=heard.bill is not None,
        unverified=tuple(sorted({*planned.unverified, *_unverified_models(heard.counted, prices)})),
    )


def _heard(ask: Ask, account: Account | None, counted: Counted | None) -> _Heard:
    """Each source on its own: what one refuses says nothing of the others."""
    heard = _Heard(counted=counted, runs=ask.runs)
    if account is None:
        return heard
    if ask.bill:
        try:
            heard.bill = account.billed(ask.start, ask.until, ask.tag)
        except ServiceError as error:
            heard.problems.append(str(error))
        else:
            if ask.tag is not None and not heard.bill.lines:
                told = f"nothing was billed under the tag {ask.tag[0]}={ask.tag[1]}"
                heard.problems.append(f"{told}: activate it as a cost allocation tag, or wait a day")
    if ask.meters and counted is None:
        try:
            heard.counted = from_metered(account.metered(ask.deployment, ask.start, ask.until), ask.days)
        except ServiceError as error:
            heard.problems.append(str(error))
        else:
            if not heard.counted.requests:
                heard.problems.append(
                    f"CloudWatch has no requests of a deployment named {ask.deployment} in these days"
                )
    if ask.cluster:
        _hear_cluster(ask, account, heard)
    return heard


def _hear_cluster(ask: Ask, account: Account, heard: _Heard) -> None:
    try:
        found = account.cluster(ask.cluster)
        heard.runs = replace(ask.runs, node=found.node, replicas=found.replicas, engine=found.engine)
        heard.memory_bytes = account.memory_bytes(ask.cluster, ask.start, ask.until)
    except ServiceError as error:
        heard.problems.append(str(error))


def _unverified_models(counted: Counted | None, prices: Prices) -> set[str]:
    """The models whose prices are in the counters: sums don't tell which those are."""
    models = {} if counted is None else counted.models
    named = {name for name, model in models.items() if name and (model.saved_usd or model.spent_usd)}
    found = {name for name in named if (price := prices.price(name)) is None or not price.verified}
    return found | (
        {"models"} if any(not name and (one.saved_usd or one.spent_usd) for name, one in models.items()) else set()
    )


def document(made: Report) -> dict[str, Any]:
    """The report as JSON can say it. Money is USD over the period where a name does not say ``month``."""
    stated = made.statement
    counted = made.counted
    return {
        "from": made.ask.start.isoformat(),
        "until": made.ask.until.isoformat(),
        "days": stated.days,
        "node": made.runs.node,
        "replicas": made.runs.replicas,
        "engine": made.runs.engine,
        "requests": None if counted is None else counted.requests,
        "tiers": {} if counted is None else dict(counted.tiers),
        "hit_rate": None if counted is None else counted.hit_rate,
        "services": [asdict(row) for row in stated.rows],
        "saved_usd": None if counted is None else stated.saved_usd,
        "cache_usd": {"billed": stated.billed_cache_usd, "own": stated.own_cache_usd},
        "net_usd": {
            "billed": None if counted is None else stated.billed_net_usd,
            "own": None if counted is None else stated.own_net_usd,
        },
        "month": _month(made),
        "break_even_requests_per_day": made.planned.break_even,
        "break_even_requests_per_day_node": made.planned.break_even_node,
        "memory_bytes": made.planned.memory_bytes,
        "changes": [asdict(change) for change in made.changes],
        "raised": [{"similarity": at / 100, "hits_lost": lost, "usd_month": usd} for at, lost, usd in stated.raised],
        "estimated": made.estimated,
        "problems": list(made.problems),
        "prices": {"dated": made.dated, "region": made.region, "unverified": list(made.unverified)},
    }


def _month(made: Report) -> Mapping[str, float | None]:
    stated = made.statement
    known = made.counted is not None

    def month(usd: float | None) -> float | None:
        return None if usd is None else stated.month(usd)

    return {
        "saved_usd": month(stated.saved_usd) if known else None,
        "cache_usd_billed": month(stated.billed_cache_usd),
        "cache_usd_own": month(stated.own_cache_usd),
        "net_usd_billed": month(stated.billed_net_usd) if known else None,
        "net_usd_own": month(stated.own_net_usd) if known else None,
    }
