"""``yamabiko calibrate``: where each namespace stands, and labels from outside that may let it serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import click

from yamabiko.cli.options import embedder_option
from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.cli.judging import Judged
    from yamabiko.cli.standing import Opened
    from yamabiko.embedders.recorded import RecordedEmbedder
    from yamabiko.ports import Mix
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
    from yamabiko.cli.standing import mixes_of, models_of, names_of, opened
    from yamabiko.cli.standing_shown import standing_document, standing_lines
    from yamabiko.core.mixing import version_of
    from yamabiko.learn.namespaces import embedder_of

    now = time.time()
    documents: list[dict[str, Any]] = []
    told: list[list[str]] = []
    async with opened(settings, recorded) as cache:
        names = await names_of(cache, models_of(settings, recorded), tenant=tenant, category=category)
        mixes = await mixes_of(cache, recorded)
        for name in names:
            position, state = await (await cache.standings(name)).of(name), await cache.state(name)
            document = standing_document(position, state, now)
            told.append(standing_lines(position, state, now))
            for mix in mixes.get(embedder_of(name), []):
                position = await (await cache.standings(name, mix)).of_mix(name, mix)
                state, verifier = await cache.state(name, mix), version_of(mix)
                document.setdefault("verifiers", []).append(
                    standing_document(position, state, now) | {"verifier": verifier}
                )
                told.append([f"with the verifier {verifier}", *standing_lines(position, state, now)])
            documents.append(document)
    text = "\n\n".join("\n".join(lines) for lines in told)
    console.tell({"namespaces": documents}, text or "this cache matches nothing by meaning: it has no embedder")


async def _import(console: Console, settings: Settings, labels: str, *, tenant: str, category: str) -> None:
    from yamabiko.build.verifiers import make_verifier
    from yamabiko.cli.fitting import rescored
    from yamabiko.cli.judging import LEFT_OUT, judge_pairs
    from yamabiko.cli.opening import embedder_to_embed_with
    from yamabiko.cli.pairs_file import read_pairs
    from yamabiko.cli.standing import opened, weights_of
    from yamabiko.cli.weighing import modes_for
    from yamabiko.learn.contest import compare
    from yamabiko.learn.namespaces import namespace_of

    pairs = read_pairs(labels)
    embedder = embedder_to_embed_with(settings, "yamabiko calibrate")
    on_device = settings.verifier.kind in ("auto", "path")  # another one is asked for money
    verifier = make_verifier(settings, embedder, learning=True) if on_device else None
    async with opened(settings, embedder) as cache:  # first: a cache of another embedder is refused at once
        judged = await judge_pairs(pairs, embedder, modes_for(settings.policy, category))
        documents: list[dict[str, Any]] = []
        told: list[str] = []
        certified = bool(judged)
        for model, of in judged.items():
            namespace = namespace_of(model, tenant, category)
            document, lines, proven = await _taken(cache, namespace, of, None)
            for mix in await weights_of(cache, model, verifier):
                assert verifier is not None
                final = await rescored(of, model, verifier, mix)
                one, more, also = await _taken(cache, namespace, final, mix)
                document.setdefault("verifiers", []).append(one)
                lines, proven = [*lines, *more], proven or also
                await compare(namespace, await cache.standings(namespace, mix), [await cache.standings(namespace)])
            documents.append(document)
            told += lines
            certified = certified and proven
        if verifier is not None:
            await verifier.close()
    left_out = len(pairs) - sum(map(len, judged.values()))
    if left_out:
        told.append(f"{left_out:,} pairs {LEFT_OUT}")
    console.tell({"uncompared": left_out, "namespaces": documents}, "\n".join(told).rstrip())
    if not certified:
        raise click.exceptions.Exit(NO)


async def _taken(
    cache: Opened, namespace: str, judged: Sequence[Judged], mix: Mix | None
) -> tuple[dict[str, Any], list[str], bool]:
    """Import labels for one kind of scores: what is told of it, as a document and in lines; whether it is certified."""
    from yamabiko.cli.importing import take_labels
    from yamabiko.cli.standing_shown import standing_document, standing_lines, taken_line
    from yamabiko.core.mixing import version_of

    taken = await take_labels(cache, namespace, judged, mix)
    standings = await cache.standings(namespace, mix)
    position = await standings.of(namespace)
    state = await cache.state(namespace, mix)
    name = {} if mix is None else {"verifier": version_of(mix)}
    title = [f"with the verifier {verifier}" for verifier in name.values()]
    lines = [*title, taken_line(taken), *standing_lines(position, state, time.time()), ""]
    document = asdict(taken) | standing_document(position, state, time.time()) | name
    return document, lines, state is not None and state.certificate is not None
