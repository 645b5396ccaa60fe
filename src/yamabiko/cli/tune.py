"""``yamabiko tune``: what labelled pairs say about when answers may be served by meaning."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from yamabiko.cli.options import embedder_option
from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yamabiko.cli.judging import Judged
    from yamabiko.cli.tuning import Tuned
    from yamabiko.core.calibrate import Terms
    from yamabiko.core.guards import Mode


@click.command()
@click.argument("pairs", metavar="PAIRS.jsonl", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--report",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False),
    default="tune-report",
    show_default=True,
    help="Folder of the report.",
)
@click.option(
    "--max-error-rate",
    type=click.FloatRange(0.0001, 0.5),
    help="Of the answers served by meaning at most so many may be wrong; else the policy's.",
)
@click.option("--confidence", type=click.FloatRange(0.8, 0.9999), help="How sure that is; else the policy's.")
@click.option("--category", metavar="NAME", default="", help="Guards as the policy has them for this category.")
@click.option("--no-texts", is_flag=True, help="Leave the pairs that went wrong out of the report.")
@embedder_option
@pass_console
def tune(
    console: Console,
    /,
    *,
    pairs: str,
    folder: str,
    max_error_rate: float | None,
    confidence: float | None,
    category: str,
    no_texts: bool,
    embedder_kind: Literal["local", "directory", "http", "titan", "cohere"] | None,
) -> None:
    """Measure what cosine, guards and score would serve of labelled pairs, and what can be promised.

    Each line of PAIRS.jsonl is {"a": stored question, "b": asked question, "label": 1 where the answer to a is right
    for b, else 0, "axis": what sets them apart, or nothing}. The report is report.html, with its figures as PNG beside
    it, and report.json. Where nothing can be certified, the exit code is 1, and the report says what is missing.
    """
    from yamabiko.cli import plots
    from yamabiko.cli.judging import judge_pairs
    from yamabiko.cli.opening import embedder_to_embed_with
    from yamabiko.cli.pairs_file import read_pairs
    from yamabiko.cli.tune_report import document, summary, write_report
    from yamabiko.cli.weighing import modes_for
    from yamabiko.core.calibrate import Certificate, Terms
    from yamabiko.core.score import MIN_SCORE

    plots.require()
    settings = console.settings()
    policy = settings.policy
    if embedder_kind is not None:
        settings = replace(settings, embedder=replace(settings.embedder, kind=embedder_kind))
    terms = Terms(
        max_error_rate=max_error_rate or policy.max_error_rate or 0.02,
        confidence=confidence or policy.confidence,
        on=policy.on,
        min_score=MIN_SCORE,
        created=time.time(),
    )
    read = read_pairs(pairs)
    embedder = embedder_to_embed_with(settings, "yamabiko tune")
    modes = modes_for(policy, category)
    judged = asyncio.run(judge_pairs(read, embedder, modes))
    parts, uncompared = _tuned(judged, modes, terms), len(read) - sum(map(len, judged.values()))
    told = document(parts, terms=terms, pairs=len(read), uncompared=uncompared)
    write_report(folder, parts, told, terms=terms, uncompared=uncompared, texts=not no_texts)
    console.tell(told, summary(parts, folder, uncompared=uncompared))
    if not parts or not all(isinstance(part.outcome, Certificate) for part in parts):
        raise click.exceptions.Exit(NO)


def _tuned(judged: Mapping[str, Sequence[Judged]], modes: Mapping[str, Mode], terms: Terms) -> list[Tuned]:
    """The figures of each model's pairs."""
    from yamabiko.cli.pairs_file import file_digest
    from yamabiko.cli.tuning import tuned
    from yamabiko.core.shipped import shipped_threshold

    parts = []
    for model, of in judged.items():
        shipped = shipped_threshold(model, terms.max_error_rate, terms.confidence)
        parts.append(
            tuned(
                model,
                of,
                terms=replace(terms, namespace=model),
                modes=modes,
                shipped=shipped.threshold if shipped else None,
                digest=file_digest([one.pair for one in of]),
            )
        )
    return parts
