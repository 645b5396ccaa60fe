"""The size and the bill of a deployment before there is one: arithmetic on stated inputs, nothing is measured here.

Every month has 730 hours, as in AWS's own calculations. What a cache saves is what its hits would have cost; what it
costs is everything else that would not be there without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from yamabiko.core.economics import Prices
from yamabiko.core.tariff import Engine, Node, Tariff
from yamabiko.errors import ConfigurationError
from yamabiko.types import Usage

Service: TypeAlias = Literal["memorydb", "bedrock", "embeddings", "gateway", "endpoints", "observability", "other"]
Gateway: TypeAlias = Literal["lambda", "ecs", "none"]
Size: TypeAlias = Literal["small", "medium", "large"]

HOURS = 730.0
DAYS = HOURS / 24
FIXED_BYTES, DIMENSION_BYTES, ANSWER_BYTES = 3230.0, 8.138, 1.001
"""What a stored answer takes of a server: fixed, per dimension, per byte of the answer (benchmarks/entry_bytes.py).

Valkey 9.1 with RediSearch 2.10; MemoryDB's own engine could not be measured.
"""
FILL = 0.7
"""A node is planned to be filled so far: the alarm is at 0.8, and a snapshot or a failover needs room."""
AUDIT = Usage(input_tokens=1300, output_tokens=5)
"""A judge reads two questions and two answers, and says a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked. Raises ``ConfigurationError``.

    ``hit_rate``: of all requests, those answered from the cache (0..1); ``exact_share``: of the hits, those that need
    no embedding. ``keep_days``: how long an answer is kept; each miss stores one. ``entries``: how many answers are
    stored, where that is known; None: what misses store in that time. ``audit_rate``: of the hits, those
    that are answered afresh and judged. ``answer_usd``: what one answer of the model has cost, where that was measured;
    None: by its tokens and the price file. ``hit_seconds`` and ``miss_seconds``: how long a function waits.
    """

    requests_per_day: float
    hit_rate: float
    model: str
    input_tokens: int = 300
    output_tokens: int = 500
    question_tokens: int = 30
    exact_share: float = 0.0
    keep_days: float = 7.0
    entries: float | None = None
    audit_rate: float = 0.0
    embedder: str = "amazon.titan-embed-text-v2:0"
    dim: int = 1024
    answer_bytes: int | None = None
    answer_usd: float | None = None
    hit_seconds: float = 0.15
    miss_seconds: float = 4.0

    def __post_init__(self) -> None:
        for name in ("hit_rate", "exact_share", "audit_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in ("requests_per_day", "input_tokens", "output_tokens", "question_tokens", "answer_usd"):
            _check(name, getattr(self, name), at_least=0)
        for name in ("answer_bytes", "entries", "hit_seconds", "miss_seconds"):
            _check(name, getattr(self, name), at_least=0)
        if not 0 < self.keep_days < math.inf:
            raise ConfigurationError(f"keep_days must be above 0 and finite, not {self.keep_days}: a cache is bounded")
        if not 1 <= self.dim <= 32768:
            raise ConfigurationError(f"dim must be in 1..32768, not {self.dim}")

    @property
    def bytes_per_answer(self) -> int:
        """Of the stored text; four bytes a token where it is not said."""
        return 4 * self.output_tokens if self.answer_bytes is None else self.answer_bytes

    @property
    def stored(self) -> float:
        """Answers that lie in the store at a time."""
        return self.misses_per_day * self.keep_days if self.entries is None else self.entries

    @property
    def embedded_per_day(self) -> float:
        """Requests that need an embedding: all but exact hits."""
        return self.requests_per_day * (1 - self.hit_rate * self.exact_share)

    @property
    def misses_per_day(self) -> float:
        """Requests that the model answers."""
        return self.requests_per_day * (1 - self.hit_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What runs. One shard, which is all that MemoryDB's search has. Raises ``ConfigurationError``.

    ``node``: empty for a cache without a server, in a file.
    ``gateway``: Lambda behind an HTTP API, with so many instances ``provisioned``, ``tasks`` of Fargate behind a load
    balancer, or none (the library, in what runs anyway). ``endpoints``: interface endpoints, each in ``zones``.
    ``log_bytes``: written per request. ``reports``: of costs, a day.
    """

    node: str
    replicas: int = 0
    engine: Engine = "valkey"
    gateway: Gateway = "lambda"
    lambda_gb: float = 0.5
    provisioned: int = 0
    tasks: int = 2
    task_vcpus: float = 0.5
    task_gb: float = 1.0
    endpoints: int = 6
    zones: int = 2
    snapshot_days: int = 1
    metrics: int = 20
    alarms: int = 20
    dashboards: int = 1
    log_bytes: int = 1500
    reports: int = 1

    def __post_init__(self) -> None:
        for name, known in (("engine", get_args(Engine)), ("gateway", get_args(Gateway))):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"{name} must be {' or '.join(known)}, not {getattr(self, name)}")
        if not 0 <= self.replicas <= 5:
            raise ConfigurationError(f"replicas must be in 0..5, not {self.replicas}")
        if not 0 <= self.snapshot_days <= 35:
            raise ConfigurationError(f"snapshot_days must be in 0..35, not {self.snapshot_days}")
        for name in ("lambda_gb", "provisioned", "tasks", "task_vcpus", "task_gb", "endpoints", "zones"):
            _check(name, getattr(self, name), at_least=0)
        for name in ("metrics", "alarms", "dashboards", "log_bytes", "reports"):
            _check(name, getattr(self, name), at_least=0)

    @property
    def nodes(self) -> int:
        """The primary and its replicas."""
        return 1 + self.replicas if self.node else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """USD a month for one thing. ``fixed``: whether it costs the same without a request. ``unverified``: its prices."""

    service: Service
    what: str
    usd: float
    fixed: bool
    unverified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A deployment under a workload. Money is USD a month.

    ``answers_usd``: what the misses cost, which would be paid without a cache as well; ``without_usd``: what all
    requests would cost without one; ``saved_usd``: gross, what the hits would have cost; ``cache_usd``: what is paid
    for the cache (all ``lines``); ``net_usd``: saved less that. ``break_even``: requests a day, at this hit rate, from
    which ``net_usd`` is no loss; ``break_even_node``: the same for the nodes and the embeddings alone; None: never.
    ``holds``: whether the node has room at ``FILL``; ``smallest``: the cheapest that has.
    """

    workload: Workload
    deployment: Deployment
    entries: float
    entry_bytes: float
    memory_bytes: float
    node_bytes: int
    holds: bool
    smallest: str | None
    answer_usd: float
    answers_usd: float
    without_usd: float
    saved_usd: float
    lines: tuple[Line, ...]
    break_even: float | None
    break_even_node: float | None
    unverified: tuple[str, ...]

    @property
    def cache_usd(self) -> float:
        """All lines."""
        return math.fsum(line.usd for line in self.lines)

    @property
    def net_usd(self) -> float:
        """Gross savings less what the cache costs."""
        return self.saved_usd - self.cache_usd

    @property
    def total_usd(self) -> float:
        """The whole bill: the cache, and the answers of the misses."""
        return self.answers_usd + self.cache_usd


def sized(size: Size) -> Deployment:
    """The examples of deploy/terraform, for some 100, 1,000 and 10,000 requests a day and more."""
    match size:
        case "small":
            return Deployment(node="db.t4g.small", lambda_gb=1.0, endpoints=4, snapshot_days=7)
        case "medium":
            return Deployment(
                node="db.r7g.large", replicas=1, lambda_gb=1.5, provisioned=2, endpoints=5, snapshot_days=14
            )
        case "large":
            return Deployment(
                node="db.r7g.xlarge",
                replicas=2,
                gateway="ecs",
                task_vcpus=2.0,
                task_gb=4.0,
                endpoints=8,
                snapshot_days=35,
            )


def entry_bytes(dim: int, answer_bytes: float) -> float:
    """What one stored answer takes of a server's memory, its vector and its part of the index included."""
    return FIXED_BYTES + DIMENSION_BYTES * dim + ANSWER_BYTES * answer_bytes


def plan(workload: Workload, deployment: Deployment, prices: Prices, tariff: Tariff) -> Plan:
    """The size and the bill. Raises ``ConfigurationError`` for what the price file does not have."""
    node = tariff.node(deployment.node) if deployment.node else None
    each = entry_bytes(workload.dim, workload.bytes_per_answer)
    entries = workload.stored
    answer, answer_unverified = _answer_usd(workload, prices)

    def lines_of(asked: Workload) -> tuple[Line, ...]:
        return (
            *(_memorydb(asked, deployment, node, tariff, each) if node is not None else ()),
            *_calls(asked, prices, answer, answer_unverified),
            *_gateway(asked, deployment, tariff),
            *_endpoints(asked, deployment, tariff),
            *_observability(asked, deployment, tariff),
        )

    lines = lines_of(workload)
    thousand = lines_of(replace(workload, requests_per_day=1000.0))
    return Plan(
        workload=workload,
        deployment=deployment,
        entries=entries,
        entry_bytes=each,
        memory_bytes=entries * each,
        node_bytes=0 if node is None else node.memory_bytes,
        holds=node is None or entries * each <= FILL * node.memory_bytes,
        smallest=smallest_node(entries * each, deployment.engine, tariff),
        answer_usd=answer,
        answers_usd=workload.misses_per_day * DAYS * answer,
        without_usd=workload.requests_per_day * DAYS * answer,
        saved_usd=workload.requests_per_day * workload.hit_rate * DAYS * answer,
        lines=lines,
        break_even=_break_even(workload.hit_rate * answer, thousand),
        break_even_node=_break_even(
            workload.hit_rate * answer, [line for line in thousand if line.service in ("memorydb", "embeddings")]
        ),
        unverified=tuple(sorted({name for line in lines for name in line.unverified} | set(answer_unverified))),
    )


def smallest_node(memory_bytes: float, engine: Engine, tariff: Tariff) -> str | None:
    """The cheapest node that has room for so much; None where none has."""
    fitting = [
        node
        for node in tariff.nodes.values()
        if engine in node.usd_per_hour and memory_bytes <= FILL * node.memory_bytes
    ]
    return min(fitting, key=lambda node: (node.price(engine), node.name)).name if fitting else None


def _answer_usd(workload: Workload, prices: Prices) -> tuple[float, tuple[str, ...]]:
    if workload.answer_usd is not None:
        price = prices.price(workload.model)
        return workload.answer_usd, () if price is not None and price.verified else (workload.model or "models",)
    usage = Usage(input_tokens=workload.input_tokens, output_tokens=workload.output_tokens)
    return _cost(usage, workload.model, prices)


def _cost(usage: Usage, model: str, prices: Prices) -> tuple[float, tuple[str, ...]]:
    price = prices.price(model)
    if price is None:
        raise ConfigurationError(f"no price is known for {model}: add it to the price file")
    return prices.cost_usd(usage, model), () if price.verified else (model,)


def _break_even(saved: float, thousand: Sequence[Line]) -> float | None:
    """Requests a day from which what each saves pays for the lines, which are those of a thousand requests a day."""
    fixed = math.fsum(line.usd for line in thousand if line.fixed) / DAYS
    gained = saved - math.fsum(line.usd for line in thousand if not line.fixed) / DAYS / 1000
    if fixed == 0 and gained >= 0:
        return 0.0
    return fixed / gained if gained > 0 and math.isfinite(fixed / gained) else None


def _memorydb(
    workload: Workload, deployment: Deployment, node: Node, tariff: Tariff, each: float
) -> tuple[Line, Line, Line]:
    hourly = deployment.nodes * node.price(deployment.engine)
    written = tariff.rate(f"memorydb.written.{deployment.engine}")
    snapshot = tariff.rate("memorydb.snapshot")
    gigabytes = each / 1e9
    return (
        Line(
            service="memorydb",
            what=f"{deployment.nodes} x {node.name}, {deployment.engine}",
            usd=hourly * HOURS,
            fixed=True,
            unverified=() if node.verified else (node.name,),
        ),
        Line(
            service="memorydb",
            what="written",
            usd=written.usd * workload.misses_per_day * DAYS * gigabytes,
            fixed=False,
            unverified=() if written.verified else (written.name,),
        ),
        Line(
            service="memorydb",
            what=f"snapshots, kept {deployment.snapshot_days} days",
            usd=snapshot.usd * workload.stored * gigabytes * deployment.snapshot_days,
            fixed=workload.entries is not None,
            unverified=() if snapshot.verified else (snapshot.name,),
        ),
    )


def _calls(workload: Workload, prices: Prices, answer: float, answer_unverified: tuple[str, ...]) -> tuple[Line, ...]:
    """Embeddings, and the answers and judgements of audits."""
    each, unverified = (
        (0.0, ())
        if not workload.embedder
        else _cost(Usage(input_tokens=workload.question_tokens), workload.embedder, prices)
    )
    usd = workload.embedded_per_day * DAYS * each
    what = f"by {workload.embedder or 'the gateway itself'}"
    lines = [Line(service="embeddings", what=what, usd=usd, fixed=False, unverified=unverified)]
    if workload.audit_rate:
        judged, _ = _cost(AUDIT, workload.model, prices)
        audits = workload.requests_per_day * workload.hit_rate * workload.audit_rate * DAYS
        usd = audits * (answer + judged)
        lines.append(Line(service="bedrock", what="audits", usd=usd, fixed=False, unverified=answer_unverified))
    return tuple(lines)


def _gateway(workload: Workload, deployment: Deployment, tariff: Tariff) -> tuple[Line, ...]:
    if deployment.gateway == "none":
        return ()
    if deployment.gateway == "ecs":
        per_task = {"fargate.vcpu": deployment.task_vcpus, "fargate.memory": deployment.task_gb}
        tasks = {name: count * deployment.tasks * HOURS for name, count in per_task.items()}
        what = f"{deployment.tasks} tasks of {deployment.task_vcpus:g} vCPU and {deployment.task_gb:g} GB"
        return (
            _line("gateway", what, tasks, tariff, fixed=True),
            _line("gateway", "load balancer", {"alb.hour": HOURS, "alb.capacity": HOURS}, tariff, fixed=True),
        )
    requests = workload.requests_per_day * DAYS
    waited = workload.hit_rate * workload.hit_seconds + (1 - workload.hit_rate) * workload.miss_seconds
    used = {"lambda.request": requests, "lambda.duration": requests * waited * deployment.lambda_gb}
    kept = {"lambda.provisioned": deployment.provisioned * deployment.lambda_gb * HOURS * 3600}
    warm = (_line("gateway", f"{deployment.provisioned} kept warm", kept, tariff, fixed=True),)
    return (
        _line("gateway", f"Lambda of {deployment.lambda_gb:g} GB", used, tariff, fixed=False),
        *(warm if deployment.provisioned else ()),
        _line("gateway", "HTTP API", {"apigateway.request": requests}, tariff, fixed=False),
    )


def _endpoints(workload: Workload, deployment: Deployment, tariff: Tariff) -> tuple[Line, ...]:
    """Hours, and what is asked and answered through them: four bytes a token, sixteen a number of a vector."""
    count = deployment.endpoints * deployment.zones
    if not count:
        return ()
    texts = 4 * workload.misses_per_day * (workload.input_tokens + workload.output_tokens)
    vectors = workload.embedded_per_day * (16 * workload.dim if workload.embedder else 0)
    what = f"{deployment.endpoints} in {deployment.zones} zones"
    return (
        _line("endpoints", what, {"endpoint.hour": count * HOURS}, tariff, fixed=True),
        _line("endpoints", "data", {"endpoint.data": (texts + vectors) * DAYS / 1e9}, tariff, fixed=False),
    )


def _observability(workload: Workload, deployment: Deployment, tariff: Tariff) -> tuple[Line, ...]:
    watched = {
        "cloudwatch.metric": float(deployment.metrics),
        "cloudwatch.alarm": float(deployment.alarms),
        "cloudwatch.dashboard": float(deployment.dashboards),
        "cost_explorer.request": deployment.reports * DAYS,
    }
    if not any((*watched.values(), deployment.log_bytes)):
        return ()
    what = f"{deployment.metrics} metrics, {deployment.alarms} alarms, {deployment.dashboards} dashboards"
    logged = workload.requests_per_day * DAYS * deployment.log_bytes / 1e9
    return (
        _line("observability", what, watched, tariff, fixed=True),
        _line("observability", "logs", {"cloudwatch.logs": logged}, tariff, fixed=False),
    )


def _line(service: Service, what: str, used: dict[str, float], tariff: Tariff, *, fixed: bool) -> Line:
    """So much of each rate."""
    rates = {name: tariff.rate(name) for name in used}
    return Line(
        service=service,
        what=what,
        usd=math.fsum(rates[name].usd * amount for name, amount in used.items()),
        fixed=fixed,
        unverified=tuple(name for name, rate in rates.items() if not rate.verified and used[name]),
    )


def _check(name: str, value: float | None, *, at_least: float) -> None:
    if value is not None and not at_least <= value < math.inf:
        raise ConfigurationError(f"{name} must be {at_least:g} or more and finite, not {value}")
