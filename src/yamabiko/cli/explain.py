"""``yamabiko explain``: every number behind the verdict on two questions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from yamabiko.cli.options import embedder_option, question_of
from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.cli.weighing import Seen
    from yamabiko.ports import Embedder


@click.command()
@click.argument("stored")
@click.argument("asked")
@click.option("--tenant", metavar="NAME", default="", help="With a cache: the threshold of this tenant's traffic.")
@click.option("--category", metavar="NAME", default="", help="Guards and threshold for this category of requests.")
@embedder_option
@pass_console
def explain(
    console: Console,
    /,
    *,
    stored: str,
    asked: str,
    tenant: str,
    category: str,
    embedder_kind: Literal["local", "directory", "http", "titan", "cohere"] | None,
) -> None:
    """Say whether the answer to the question STORED would be served for the question ASKED, and why.

    Shows what every guard finds, every feature with what it adds to the score, and the threshold that applies: with
    --url that of the cache there, else the one that the package has. Exit code 1 where the answer would not be served.
    """
    from yamabiko.cli.explained import document, lines
    from yamabiko.cli.opening import embedder_to_embed_with
    from yamabiko.cli.position import position_for
    from yamabiko.cli.verdict import Explanation, judge
    from yamabiko.cli.weighing import modes_for, never_compared, weigh

    texts = question_of(stored), question_of(asked)
    settings = console.settings()
    if embedder_kind is not None:
        settings = replace(settings, embedder=replace(settings.embedder, kind=embedder_kind))
    old, new = asyncio.run(_seen(texts, embedder_to_embed_with(settings, "yamabiko explain")))
    modes = modes_for(settings.policy, category)
    told = Explanation(old=old, new=new, modes=modes, never=never_compared(old, new))
    if not told.never:
        position = asyncio.run(position_for(settings, new.model, tenant=tenant, category=category))
        told = replace(told, weighed=weigh(old, new, modes), position=position)
    verdict = judge(told, settings.policy, category)
    console.tell(document(told, verdict), "\n".join(lines(told, verdict)))
    if not verdict.served:
        raise click.exceptions.Exit(NO)


async def _seen(texts: tuple[str, str], embedder: Embedder) -> tuple[Seen, Seen]:
    from yamabiko.cli.weighing import see

    try:
        old, new = await see(texts, embedder, lambda _: None)
    finally:
        await embedder.close()
    return old, new
