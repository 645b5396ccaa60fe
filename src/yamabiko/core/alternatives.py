"""What another choice would change on a bill: reserved nodes, smaller vectors, another node, another threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from yamabiko.core.economics import Prices
from yamabiko.core.planning import HOURS, Plan, plan
from yamabiko.core.tariff import Tariff

TITAN_DIMENSIONS = (256, 512, 1024)
"""Source: Amazon Bedrock user guide, "Amazon Titan Text Embeddings V2" (read 2026-11-23)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """USD a month that another choice would add to the bill (below 0: takes from it); None where it can't be chosen."""

    what: str
    usd: float | None
    note: str = ""


def changes(made: Plan, prices: Prices, tariff: Tariff) -> list[Change]:
    """What reserved nodes, smaller vectors, another node, fewer replicas and another hit rate would change."""
    if not made.deployment.node:
        return _other_hit_rates(made, prices, tariff)
    return [
        _reserving(made, tariff),
        *_smaller_vectors(made, prices, tariff),
        _other_node(made, prices, tariff),
        *([_no_replicas(made, prices, tariff)] if made.deployment.replicas else []),
        *_other_hit_rates(made, prices, tariff),
    ]


def compared(made: Plan, prices: Prices, tariff: Tariff) -> list[Plan]:
    """The same on each node of the tariff that runs the engine, cheapest first."""
    engine = made.deployment.engine
    nodes = sorted(
        (node for node in tariff.nodes.values() if engine in node.usd_per_hour),
        key=lambda node: (node.price(engine), node.name),
    )
    return [plan(made.workload, replace(made.deployment, node=node.name), prices, tariff) for node in nodes]


def _reserving(made: Plan, tariff: Tariff) -> Change:
    node, reserved = tariff.node(made.deployment.node), tariff.reserved
    what = f"reserved nodes, {reserved.years} years"
    if not node.reservable:
        return Change(what=what, usd=None, note=f"{node.name} is not sold as a reserved node")
    usd = -reserved.at_most * made.deployment.nodes * node.price(made.deployment.engine) * HOURS
    return Change(what=what, usd=usd, note=f"at most: up to {reserved.at_most:.0%} less, by what is paid upfront")


def _smaller_vectors(made: Plan, prices: Prices, tariff: Tariff) -> list[Change]:
    """Less memory; and where a cheaper node holds that which did not hold this, that one."""
    found = []
    for dim in sorted((dim for dim in TITAN_DIMENSIONS if dim < made.workload.dim), reverse=True):
        smaller = plan(replace(made.workload, dim=dim), made.deployment, prices, tariff)
        note = f"{1 - smaller.entry_bytes / made.entry_bytes:.0%} less memory"
        if smaller.smallest is not None and smaller.smallest != made.smallest:
            deployment = replace(made.deployment, node=smaller.smallest)
            smaller, note = plan(smaller.workload, deployment, prices, tariff), f"{note}, on {deployment.node}"
        usd = smaller.total_usd - made.total_usd
        found.append(Change(what=f"vectors of {dim} dimensions", usd=usd, note=note))
    return found


def _other_node(made: Plan, prices: Prices, tariff: Tariff) -> Change:
    if made.smallest is None:
        return Change(what="another node", usd=None, note="no node holds this: keep answers for a shorter time")
    if made.smallest == made.deployment.node:
        return Change(what="another node", usd=None, note=f"{made.smallest} is the cheapest that holds this")
    other = plan(made.workload, replace(made.deployment, node=made.smallest), prices, tariff)
    note = "the cheapest that holds this" if made.holds else f"{made.deployment.node} does not hold this"
    return Change(what=f"{made.smallest} instead", usd=other.total_usd - made.total_usd, note=note)


def _no_replicas(made: Plan, prices: Prices, tariff: Tariff) -> Change:
    alone = plan(made.workload, replace(made.deployment, replicas=0), prices, tariff)
    note = "answers outlive their node, but are away until another one is there"
    return Change(what="no replicas", usd=alone.total_usd - made.total_usd, note=note)


def _other_hit_rates(made: Plan, prices: Prices, tariff: Tariff) -> list[Change]:
    """What another threshold is worth, if it moves the hit rate by ten points."""
    found = []
    for step in (0.1, -0.1):
        rate = round(made.workload.hit_rate + step, 6)
        if 0 <= rate <= 1:
            other = plan(replace(made.workload, hit_rate=rate), made.deployment, prices, tariff)
            what = f"a {'lower' if step > 0 else 'higher'} threshold, should it bring {rate:.0%} hits"
            note = "yamabiko tune says what it brings, and how many are wrong"
            found.append(Change(what=what, usd=other.total_usd - made.total_usd, note=note if step > 0 else ""))
    return found
