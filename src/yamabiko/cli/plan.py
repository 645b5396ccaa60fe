"""``yamabiko plan``: the size and the bill of a deployment before there is one."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.core.economics import Prices
    from yamabiko.core.planning import Deployment, Size, Workload
    from yamabiko.core.tariff import Tariff

_SIZES = ("small", "medium", "large")


@click.command()
@click.option("--requests-per-day", type=click.FloatRange(0), required=True, metavar="N", help="Requests a day.")
@click.option("--hit-rate", type=click.FloatRange(0, 1), required=True, metavar="H", help="Share of hits, 0 to 1.")
@click.option("--model", required=True, metavar="NAME", help="The model that answers misses.")
@click.option(
    "--node", metavar="TYPE", help="The node, such as db.r7g.large; else the size's, or the cheapest that holds it."
)
@click.option("--size", type=click.Choice(_SIZES), help="What runs: that of deploy/terraform/examples.")
@click.option("--replicas", type=click.IntRange(0, 5), metavar="N", help="Replicas of the node.")
@click.option("--engine", type=click.Choice(["valkey", "redis"]), help="MemoryDB's engine (valkey).")
@click.option("--gateway", type=click.Choice(["lambda", "ecs", "none"]), help="Where the gateway runs (lambda).")
@click.option("--tasks", type=click.IntRange(0), metavar="N", help="Tasks of ECS.")
@click.option("--endpoints", type=click.IntRange(0), metavar="N", help="Interface endpoints of the VPC.")
@click.option("--zones", type=click.IntRange(1), metavar="N", help="Zones that they are in.")
@click.option("--embedder", metavar="NAME", help="The embedding model; empty: one on the gateway's own processors.")
@click.option("--dim", type=click.IntRange(1), metavar="N", help="Dimensions of its vectors (1024).")
@click.option("--input-tokens", type=click.IntRange(0), metavar="N", help="Tokens of a request (300).")
@click.option("--output-tokens", type=click.IntRange(0), metavar="N", help="Tokens of an answer (500).")
@click.option("--question-tokens", type=click.IntRange(0), metavar="N", help="Of those, what is embedded (30).")
@click.option("--exact-share", type=click.FloatRange(0, 1), metavar="H", help="Of the hits, those by key (0).")
@click.option("--keep-days", type=click.FloatRange(0, min_open=True), metavar="N", help="Life of an answer (7).")
@click.option("--audit-rate", type=click.FloatRange(0, 1), metavar="H", help="Of the hits, those judged (0).")
@click.option("--compare", is_flag=True, help="All nodes side by side.")
@pass_console
def plan(
    console: Console,
    /,
    *,
    size: Size | None,
    compare: bool,
    requests_per_day: float,
    hit_rate: float,
    model: str,
    **given: Any,
) -> None:
    """Say how large a cache becomes and what it costs and saves, before anybody deploys one.

    From stated inputs and the price file alone: nothing is measured, and no account is asked. Exit code 1 where the
    node does not hold the answers.
    """
    from yamabiko.build import load_prices, load_tariff
    from yamabiko.core.planning import Deployment, Workload, sized

    path = console.settings().prices_path
    prices, tariff = load_prices(path), load_tariff(path)
    chosen = {name: value for name, value in given.items() if value is not None}
    workload = Workload(
        requests_per_day=requests_per_day,
        hit_rate=hit_rate,
        model=model,
        **{name: chosen.pop(name) for name in tuple(chosen) if name in Workload.__dataclass_fields__},
    )
    deployment = replace(sized(size), **chosen) if size else Deployment(**{"node": "", **chosen})
    _tell(console, workload, deployment, prices, tariff, compare=compare)


def _tell(
    console: Console, workload: Workload, deployment: Deployment, prices: Prices, tariff: Tariff, *, compare: bool
) -> None:
    from yamabiko.core.alternatives import changes, compared
    from yamabiko.core.planning import entry_bytes, smallest_node
    from yamabiko.core.planning import plan as planned
    from yamabiko.costs.shown import compared_text, plan_document, plan_text
    from yamabiko.errors import ConfigurationError

    if not deployment.node:
        needed = workload.stored * entry_bytes(workload.dim, workload.bytes_per_answer)
        node = smallest_node(needed, deployment.engine, tariff)
        if node is None:
            raise ConfigurationError("no node holds that many answers: keep them for a shorter time (--keep-days)")
        deployment = replace(deployment, node=node)
    made = planned(workload, deployment, prices, tariff)
    dated = {"dated": tariff.dated, "region": tariff.region}
    if compare:
        plans = compared(made, prices, tariff)
        document: dict[str, Any] = {"plans": [plan_document(one) for one in plans], "prices": dated}
        console.tell(document, compared_text(plans, **dated))
        return
    changed = changes(made, prices, tariff)
    document = {**plan_document(made), "changes": [asdict(change) for change in changed], "prices": dated}
    console.tell(document, plan_text(made, changed, **dated))
    if not made.holds:
        raise click.exceptions.Exit(NO)
