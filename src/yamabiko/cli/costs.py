"""``yamabiko costs``: what the cache has cost and saved, from its own counters and from the bill."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from yamabiko.cli.terminal import UNAVAILABLE, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.core.billing import Counted
    from yamabiko.core.economics import Prices
    from yamabiko.costs.report import Ask

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.command()
@click.option("--log", "logs", type=_FILE, multiple=True, metavar="FILE", help="The gateway's access log; - is stdin.")
@click.option("--metrics", type=_FILE, metavar="FILE", help="A scrape of the gateway's /metrics; - is stdin.")
@click.option("--metrics-before", type=_FILE, metavar="FILE", help="An earlier scrape, which is taken off.")
@click.option("--cloudwatch", is_flag=True, help="The gateway's metrics from CloudWatch.")
@click.option("--cost-explorer", is_flag=True, help="The bill from Cost Explorer; AWS charges for each request.")
@click.option("--days", type=click.IntRange(1, 366), metavar="N", help="Whole days, UTC (1).")
@click.option("--until", type=_DAY, metavar="DATE", help="The day behind the last one (today, UTC).")
@click.option("--deployment", default="yamabiko", metavar="NAME", help="The deployment in CloudWatch's metrics.")
@click.option("--tag", default="", metavar="KEY=VALUE", help="The cost allocation tag to which the bill is narrowed.")
@click.option("--cluster", default="", metavar="NAME", help="The MemoryDB cluster, which is asked what it is.")
@click.option("--node", metavar="TYPE", help="The node that runs; without one, and without --cluster: a file.")
@click.option("--replicas", type=click.IntRange(0, 5), metavar="N", help="Its replicas (0).")
@click.option("--engine", type=click.Choice(["valkey", "redis"]), help="MemoryDB's engine (valkey).")
@click.option("--gateway", type=click.Choice(["lambda", "ecs", "none"]), help="Where the gateway runs.")
@click.option("--endpoints", type=click.IntRange(0), metavar="N", help="Interface endpoints of the VPC.")
@click.option("--model", default="", metavar="NAME", help="The model, where the counters don't name one.")
@click.option("--embedder", default="", metavar="NAME", help="The embedding model; empty: one that costs nothing.")
@click.option("--dim", type=click.IntRange(1), default=1024, metavar="N", help="Dimensions of its vectors.")
@click.option("--region", default="", metavar="NAME", help="The region of the cluster and of its metrics.")
@click.option("--profile", metavar="NAME", help="A profile of the AWS configuration.")
@click.option("--publish", "topic_arn", metavar="ARN", help="Send the report to this SNS topic too.")
@pass_console
def costs(
    console: Console,
    /,
    *,
    logs: Sequence[str],
    metrics: str | None,
    metrics_before: str | None,
    region: str,
    profile: str | None,
    topic_arn: str | None,
    **given: Any,
) -> None:
    """Report what the cache has cost and saved: its own counters and the bill, side by side.

    Exit code 3 where something that was asked could not be read; the rest is reported.
    """
    from yamabiko.aws.costs import Account, topic_region
    from yamabiko.build import load_prices, load_tariff
    from yamabiko.costs.report import document, report
    from yamabiko.costs.shown import report_text, subject

    if topic_arn is not None:
        topic_region(topic_arn)
    asks_aws = given["cloudwatch"] or given["cost_explorer"] or bool(given["cluster"]) or topic_arn is not None
    if not (logs or metrics or given["cloudwatch"] or given["cost_explorer"]):
        raise click.UsageError("say where the figures are: --log, --metrics, --cloudwatch or --cost-explorer")
    if sum((bool(logs), metrics is not None, given["cloudwatch"])) > 1:
        raise click.UsageError("one source of counters: --log, --metrics or --cloudwatch")
    if metrics is not None and given["cost_explorer"] and given["days"] is None:
        raise click.UsageError("the scrape and the bill must be of the same days: say --days")
    path = console.settings().prices_path
    prices, tariff = load_prices(path), load_tariff(path)
    ask = _ask(given)
    account = Account(region, profile) if asks_aws else None
    counted = _counted(ask, prices, logs=logs, metrics=metrics, before=metrics_before, days=given["days"])
    made = report(ask, prices, tariff, account=account, counted=counted)
    told, text = document(made), report_text(made)
    if topic_arn is not None and account is not None:
        told["published"] = account.publish(topic_arn, subject(made), text)
    console.tell(told, text)
    if made.problems:
        raise click.exceptions.Exit(UNAVAILABLE)


def _ask(given: dict[str, Any]) -> Ask:
    from yamabiko.core.planning import Deployment, Workload
    from yamabiko.costs.lambda_handler import tag_of
    from yamabiko.costs.report import NO_SERVER, Ask

    runs = {name: given[name] for name in ("replicas", "engine", "gateway", "endpoints") if given[name] is not None}
    runs_server = given["node"] is not None or bool(given["cluster"])
    until: datetime | None = given["until"]
    today: date = datetime.fromtimestamp(time.time(), UTC).date()
    assumed = Workload(
        requests_per_day=0, hit_rate=0, model=given["model"], embedder=given["embedder"], dim=given["dim"]
    )
    if runs and not runs_server:
        raise click.UsageError(f"--{next(iter(runs))} belongs to a server: name it with --node or --cluster")
    return Ask(
        until=today if until is None else until.date(),
        days=given["days"] or 1,
        deployment=given["deployment"],
        cluster=given["cluster"],
        tag=tag_of(given["tag"]),
        bill=given["cost_explorer"],
        meters=given["cloudwatch"],
        runs=Deployment(node=given["node"] or "", **runs) if runs_server else NO_SERVER,
        assumed=assumed,
    )


def _counted(
    ask: Ask, prices: Prices, *, logs: Sequence[str], metrics: str | None, before: str | None, days: int | None
) -> Counted | None:
    """What the named files tell; None where none is named. Raises ``ConfigurationError``."""
    from yamabiko.costs.counters import from_access_log, from_metrics

    if before is not None and metrics is None:
        raise click.UsageError("--metrics-before belongs to --metrics")
    if metrics is not None:
        earlier = "" if before is None else "\n".join(_lines([before]))
        return from_metrics("\n".join(_lines([metrics])), now=time.time(), days=days, before=earlier)
    if not logs:
        return None
    starts, ends = (datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in (ask.start, ask.until))
    return from_access_log(_lines(logs), prices, starts, ends)


def _lines(paths: Sequence[str]) -> Iterator[str]:
    from yamabiko.errors import ConfigurationError

    for path in paths:
        with ExitStack() as stack:
            try:
                file: TextIO = (
                    sys.stdin
                    if path == "-"
                    else stack.enter_context(Path(path).open(encoding="utf-8", errors="replace"))
                )
            except OSError as error:
                raise ConfigurationError(f"{path} can't be read: {error.strerror}") from None
            for line in file:
                yield line.rstrip("\n")
