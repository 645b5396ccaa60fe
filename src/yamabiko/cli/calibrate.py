"""``yamabiko calibrate``: where each namespace stands, and labels from outside that may let it serve."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import click

from yamabiko.cli.options import embedder_option
from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.embedders.recorded import RecordedEmbedder
    from yamabiko.settings import Settings


@click.command()
@click.argument(
    "labels", metavar="[LABELS.jsonl]", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--as-they-came",
    is_flag=True,
    help="The labels are of all would-be hits as they came, or of a random part of them.",
)
@click.option("--tenant", metavar="NAME", default="", help="The traffic of this tenant.")
@click.option("--category", metavar="NAME", default="", help="The traffic of this category of requests.")
@embedder_option
@pass_console
def calibrate(
    console: Console,
    /,
    *,
    labels: str | None,
    as_they_came: bool,
    tenant: str,
    category: str,
    embedder_kind: Literal["local", "directory", "http", "titan", "cohere"] | None,
) -> None:
    """Show where each namespace of the cache stands; with LABELS.jsonl, certify by labelled pairs of its traffic.

    The lines are those of `yamabiko tune`. The pairs must be questions of this cache's traffic with the stored ones
    that would have answered them, labelled as they came: neither picked by outcome nor rejected ones alone. Nobody can
    see that in a file, so that --as-they-came must say it. Where no certificate comes of it, the exit code is 1.
    """
    from yamabiko.cli.opening import existing
    from yamabiko.errors import ConfigurationError

    settings, recorded = existing(console)
    if embedder_kind is not None:
        settings = replace(settings, embedder=replace(settings.embedder, kind=embedder_kind))
    if settings.policy.max_error_rate is None:
        raise ConfigurationError("without policy.max_error_rate nothing is promised, so there is nothing to calibrate")
    if labels is None:
        asyncio.run(_show(console, settings, recorded, tenant=tenant, category=category))
        return
    if not as_they_came:
        raise click.UsageError(
            "labels of pairs that were picked, or that the cache rejected, would certify what is not so. If these are"
            " all would-be hits of the cache's traffic as they came, or a random part of them, say --as-they-came"
        )
    asyncio.run(_import(console, settings, labels, tenant=tenant, category=category))


async def _show(
    console: Console, settings: Settings, recorded: RecordedEmbedder, *, tenant: str, category: str
) -> None:
    from yamabiko.cli.standing import models_of, names_of, opened
    from yamabiko.cli.standing_shown import standing_document, standing_lines

    now = time.time()
    async with opened(settings, recorded) as cache:
        names = await names_of(cache, models_of(settings, recorded), tenant=tenant, category=category)
        shown = [(name, await (await cache.standings(name)).of(name), await cache.state(name)) for name in names]
    told = "\n\n".join("\n".join(standing_lines(position, state, now)) for _, position, state in shown)
    document = {"namespaces": [standing_document(position, state, now) for _, position, state in shown]}
    console.tell(document, told or "this cache matches nothing by meaning: it has no embedder")


async def _import(console: Console, settings: Settings, labels: str, *, tenant: str, category: str) -> None:
    from yamabiko.cli.importing import take_labels
    from yamabiko.cli.judging import LEFT_OUT, judge_pairs
    from yamabiko.cli.opening import embedder_to_embed_with
    from yamabiko.cli.pairs_file import read_pairs
    from yamabiko.cli.standing import opened
    from yamabiko.cli.standing_shown import standing_document, standing_lines, taken_line
    from yamabiko.cli.weighing import modes_for
    from yamabiko.learn.namespaces import namespace_of

    pairs = read_pairs(labels)
    embedder = embedder_to_embed_with(settings, "yamabiko calibrate")
    async with opened(settings, embedder) as cache:  # first: a cache of another embedder is refused at once
        judged = await judge_pairs(pairs, embedder, modes_for(settings.policy, category))
        documents: list[dict[str, Any]] = []
        told: list[str] = []
        certified = bool(judged)
        for model, of in judged.items():
            namespace = namespace_of(model, tenant, category)
            taken = await take_labels(cache, namespace, of)
            position, state = await (await cache.standings(namespace)).of(namespace), await cache.state(namespace)
            certified = certified and state is not None and state.certificate is not None
            documents.append(asdict(taken) | standing_document(position, state, time.time()))
            told += [taken_line(taken), *standing_lines(position, state, time.time()), ""]
    left_out = len(pairs) - sum(map(len, judged.values()))
    if left_out:
        told.append(f"{left_out:,} pairs {LEFT_OUT}")
    console.tell({"uncompared": left_out, "namespaces": documents}, "\n".join(told).rstrip())
    if not certified:
        raise click.exceptions.Exit(NO)
