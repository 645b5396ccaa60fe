"""``yamabiko shadow report``: what would have been served, and what labels say of it so far."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import Console, pass_console

if TYPE_CHECKING:
    from yamabiko.core.states import Position
    from yamabiko.embedders.recorded import RecordedEmbedder
    from yamabiko.learn.records import NamespaceState
    from yamabiko.learn.report import Seen
    from yamabiko.settings import Settings


@click.group()
def shadow() -> None:
    """What the cache looks up and labels without serving it."""


@shadow.command()
@click.option("--tenant", metavar="NAME", default="", help="The traffic of this tenant.")
@click.option("--category", metavar="NAME", default="", help="The traffic of this category of requests.")
@pass_console
def report(console: Console, tenant: str, category: str) -> None:
    """Say what would have been served in shadow, how much of it wrongly, and how many labels are missing.

    Counts look-ups that were drawn for a label, in each namespace under the versions in use. Looking at it decides
    nothing: attempts to certify come at numbers of labels that are fixed beforehand.
    """
    from yamabiko.cli.opening import existing
    from yamabiko.cli.standing_shown import labels_missing, seen_document, seen_lines
    from yamabiko.errors import ConfigurationError

    settings, recorded = existing(console)
    if settings.policy.max_error_rate is None:
        raise ConfigurationError("without policy.max_error_rate nothing is promised, and nothing is drawn for a label")
    now, confidence = time.time(), settings.policy.confidence
    found = asyncio.run(_seen(settings, recorded, now, tenant=tenant, category=category))
    document, told = [], []
    for seen, position, state in found:
        missing = None if state is None else labels_missing(state)
        document.append(seen_document(seen) | {"state": position.state, "labels_missing": missing})
        lines = [*seen_lines(seen, now, confidence), f"  {position.state}: {position.reason}"]
        told.append("\n".join(lines))
    console.tell({"namespaces": document}, "\n\n".join(told) or "no look-up was drawn for a label yet")


async def _seen(
    settings: Settings, recorded: RecordedEmbedder, now: float, *, tenant: str, category: str
) -> list[tuple[Seen, Position, NamespaceState | None]]:
    from yamabiko.cli.standing import models_of, names_of, opened
    from yamabiko.learn.namespaces import embedder_of, root
    from yamabiko.learn.records import digest_of
    from yamabiko.learn.report import LogRead, seen_of
    from yamabiko.learn.versions import versions_of

    found = []
    async with opened(settings, recorded) as cache:
        names = await names_of(cache, models_of(settings, recorded), tenant=tenant, category=category)
        logs = {name: LogRead(await cache.items(name)) for name in {root(name) for name in names}}
        for name in names:
            position, state = await (await cache.standings(name)).of(name), await cache.state(name)
            seen = seen_of(
                logs[root(name)],
                name,
                digest_of(versions_of(embedder_of(name), settings.policy)),
                after=state.start if state else 0,
                now=now,
                confidence=settings.policy.confidence,
                at=() if position.threshold is None else (position.threshold,),
            )
            if seen.drawn or seen.imported:
                found.append((seen, position, state))
    return found
