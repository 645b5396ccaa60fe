"""Plans and reports as texts for people, fit for a terminal and for an e-mail; a star marks what nobody verified."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from yamabiko.core.alternatives import Change
from yamabiko.core.planning import FILL, Plan, Service
from yamabiko.costs.report import Report

NAMES: Mapping[Service, str] = MappingProxyType(
    {
        "memorydb": "MemoryDB",
        "bedrock": "Bedrock",
        "embeddings": "embeddings",
        "gateway": "Lambda, ECS, API",
        "endpoints": "VPC endpoints",
        "observability": "CloudWatch, SNS",
        "other": "other",
    }
)
_WIDTH = 100


def plan_text(made: Plan, changed: Sequence[Change], *, dated: str, region: str) -> str:
    """A plan: size, bill, what it saves, and what would change it."""
    workload, deployment = made.workload, made.deployment
    asked = f"{workload.requests_per_day:,.0f} requests a day, {workload.hit_rate:.0%} hits"
    size = f"{made.entries:,.0f} answers of {made.entry_bytes:,.0f} bytes: {in_bytes(made.memory_bytes)}"
    lines = [
        f"{asked}, {workload.model or 'the model'}: ${made.answer_usd:.6f} an answer",
        "",
        f"size    {size} ({workload.keep_days:g} days' misses, {workload.dim} dimensions)",
        f"        {_room(made)}",
        "",
        "USD a month",
    ]
    rows = [
        (f"{NAMES[line.service]}: {line.what}", f"{line.usd:,.2f}", "*" if line.unverified else "")
        for line in made.lines
    ]
    rows.append(("the cache, all in all", f"{made.cache_usd:,.2f}", "*" if made.unverified else ""))
    rows.append((f"answers of the model to {1 - workload.hit_rate:.0%}", f"{made.answers_usd:,.2f}", _star(made)))
    rows.append(("together", f"{made.total_usd:,.2f}", _star(made)))
    rows.append(("without a cache", f"{made.without_usd:,.2f}", _star(made)))
    rows.append(("saved, gross", f"{made.saved_usd:,.2f}", _star(made)))
    rows.append(("saved, net", f"{made.net_usd:,.2f}", _star(made)))
    lines += [f"  {line}" for line in columns(rows)]
    lines += ["", *_break_even(made)]
    if changed:
        lines += ["", "what would change it, USD a month", *_changes(changed)]
    lines += ["", *_marks(made.unverified, dated, region)]
    if deployment.node:
        lines.append(
            "  not counted: keys, secrets, a firewall, traffic between zones and to the internet, what is free"
        )
        lines.append("  bytes of an answer: as measured on Valkey with RediSearch; MemoryDB's own may be more or less")
    return "\n".join(lines)


def compared_text(plans: Sequence[Plan], *, dated: str, region: str) -> str:
    """Nodes side by side."""
    unverified = sorted({name for made in plans for name in made.unverified})
    star = " *" if unverified else ""
    priced = (f"{name}{star}" for name in ("nodes", "bill", "saved, net", "break-even"))
    head = ("node", "memory", "filled", *priced, "")
    rows: list[tuple[str, ...]] = [head]
    for made in plans:
        nodes = sum(line.usd for line in made.lines if line.service == "memorydb")
        rows.append(
            (
                made.deployment.node,
                in_bytes(made.node_bytes),
                f"{made.memory_bytes / made.node_bytes:.1%}" if made.node_bytes else "",
                f"{nodes:,.2f}",
                f"{made.total_usd:,.2f}",
                f"{made.net_usd:,.2f}",
                "never" if made.break_even is None else f"{math.ceil(made.break_even):,}",
                "" if made.holds else "too small",
            )
        )
    told = "USD a month; break-even in requests a day at this hit rate"
    return "\n".join([*columns(rows), "", told, *_marks(unverified, dated, region)])


def report_text(made: Report) -> str:
    """A report: services side by side, what was saved, and what would change it."""
    counted = made.counted
    lines = [f"What {made.ask.deployment} has cost and saved, {_period(made)}", *_requests(made), ""]
    lines += _side_by_side(made)
    if counted is not None:
        lines += ["", *_break_even(made.planned)]
        if made.runs.node:
            lines.append(f"memory      {in_bytes(made.planned.memory_bytes)}; {_room(made.planned)}")
    changed = _changes(made.changes) + _raised(made)
    if changed:
        lines += ["", "what would change it, USD a month", *changed]
    if made.problems:
        lines += ["", "what is missing", *(f"  {problem}" for problem in made.problems)]
    lines += ["", *_marks(made.unverified, made.dated, made.region)]
    if made.has_bill:
        whose = (
            f"what carries the tag {made.ask.tag[0]}" if made.ask.tag else "the whole account: name a tag to narrow it"
        )
        estimated = ", estimated as yet" if made.estimated else ""
        lines.append(f"  the bill is of {whose}{estimated}; without tax and credits")
    return "\n".join(lines)


def _period(made: Report) -> str:
    if made.statement.days != made.ask.days:  # since the process began that was scraped
        return f"{made.statement.days:.1f} days until now"
    if made.ask.days == 1:
        return f"{made.ask.start} (UTC)"
    return f"{made.ask.start} to before {made.ask.until} (UTC)"


def _side_by_side(made: Report) -> list[str]:
    stated = made.statement
    billed, own, month = stated.billed_cache_usd, stated.own_cache_usd, stated.month
    star = "*" if made.unverified else ""
    rows = [("USD", "Cost Explorer", "own counters", "")]
    for row in stated.rows:
        name = NAMES[row.service] + (f": {row.what}" if row.what else "")
        rows.append((name, _usd(row.billed_usd), _usd(row.own_usd), star if row.own_usd else ""))
    rows.append(("the cache, all in all", _usd(billed), _usd(own), star))
    if made.counted is not None:
        net = stated.billed_net_usd
        rows.append(("saved, gross", "", _usd(stated.saved_usd), star))
        rows.append(("saved, net", _usd(net), _usd(stated.own_net_usd), star))
        paced = None if net is None else month(net)
        rows.append(("saved, net, a month at this pace", _usd(paced), _usd(month(stated.own_net_usd)), star))
    paced = None if billed is None else month(billed)
    rows.append(("the cache, a month at this pace", _usd(paced), _usd(month(own)), star))
    return columns(rows)


def subject(made: Report) -> str:
    """One line that says most of it."""
    stated = made.statement
    if made.counted is None:
        return f"Yamabiko {made.ask.deployment} {made.ask.start}: ${stated.billed_cache_usd or 0:,.2f} for the cache"
    net = stated.own_net_usd if stated.billed_net_usd is None else stated.billed_net_usd
    hits = f"{made.counted.hit_rate:.0%} hits of {made.counted.requests:,}"
    word = "saved" if net >= 0 else "lost"
    return f"Yamabiko {made.ask.deployment} {made.ask.start}: ${abs(net):,.2f} {word} net, {hits}"


def in_bytes(size: float) -> str:
    """``13.07 GiB``, ``36.2 MiB``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:,.2f} {unit}" if unit == "GiB" else f"{size / scale:,.1f} {unit}"
    return f"{size:.0f} bytes"


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Texts in columns, the first to the left, figures to the right; a last column of marks or notes to the left."""
    table = [tuple(row) for row in rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def plan_document(made: Plan) -> dict[str, Any]:
    """A plan as JSON can say it. Money is USD a month."""
    return {
        "node": made.deployment.node,
        "replicas": made.deployment.replicas,
        "engine": made.deployment.engine,
        "entries": made.entries,
        "entry_bytes": made.entry_bytes,
        "memory_bytes": made.memory_bytes,
        "node_bytes": made.node_bytes,
        "holds": made.holds,
        "smallest": made.smallest,
        "answer_usd": made.answer_usd,
        "lines": [
            {
                "service": line.service,
                "what": line.what,
                "usd": line.usd,
                "fixed": line.fixed,
                "unverified": list(line.unverified),
            }
            for line in made.lines
        ],
        "cache_usd": made.cache_usd,
        "answers_usd": made.answers_usd,
        "total_usd": made.total_usd,
        "without_usd": made.without_usd,
        "saved_usd": made.saved_usd,
        "net_usd": made.net_usd,
        "break_even_requests_per_day": made.break_even,
        "break_even_requests_per_day_node": made.break_even_node,
        "unverified": list(made.unverified),
    }


def _usd(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:,.2f}"


def _requests(made: Report) -> list[str]:
    counted = made.counted
    if counted is None:
        return []
    tiers = ", ".join(f"{tier} {count:,}" for tier, count in sorted(counted.tiers.items()) if count)
    return [f"{counted.requests:,} requests, {counted.hits:,} of them hits ({counted.hit_rate:.1%}): {tiers or 'none'}"]


def _room(made: Plan) -> str:
    if not made.deployment.node:
        return "no server: the answers lie in a file"
    node, share = made.deployment.node, made.memory_bytes / made.node_bytes
    has = f"{node} has {in_bytes(made.node_bytes)}, of which that is {share:.1%}"
    if made.holds:
        return f"{has}: it holds them (to be filled to {FILL:.0%})"
    other = f"{made.smallest} would" if made.smallest else "no node would: keep answers for a shorter time"
    return f"{has}: too much (to be filled to {FILL:.0%}); {other}"


def _break_even(made: Plan) -> list[str]:
    rate = f"at {made.workload.hit_rate:.0%} hits"
    lines = [f"break-even  {_requests_a_day(made.break_even)} {rate}"]
    if made.deployment.node:
        lines.append(f"            {_requests_a_day(made.break_even_node)} for the nodes and embeddings alone")
    return lines


def _requests_a_day(count: float | None) -> str:
    return "at no number of requests" if count is None else f"{math.ceil(count):,} requests a day"


def _changes(changed: Iterable[Change]) -> list[str]:
    rows = [(change.what, "-" if change.usd is None else f"{change.usd:+,.2f}", change.note) for change in changed]
    return [f"  {line}" for line in columns(rows)] if rows else []


def _raised(made: Report) -> list[str]:
    return [
        f"  no hit below a similarity of {at / 100:.2f}: {lost:,} hits less, {usd:+,.2f}"
        for at, lost, usd in made.statement.raised
    ]


def _star(made: Plan) -> str:
    return "*" if made.unverified else ""


def _marks(unverified: Sequence[str], dated: str, region: str) -> list[str]:
    """Which prices nobody compared with the vendor's list."""
    told = f"prices of {dated or 'no date'}, {region or 'no region'}"
    if not unverified:
        return [f"{told}, all verified"]
    lines, line = [f"* {told}. Not verified, check before quoting:"], " "
    for name in unverified:
        if len(line) + len(name) + 2 > _WIDTH:
            lines.append(line)
            line = " "
        line += f" {name},"
    return [*lines, line.rstrip(",")]
