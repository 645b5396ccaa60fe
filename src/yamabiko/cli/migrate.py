"""``yamabiko migrate``: a whole cache into another store, from embedded to shared or back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import NO, Console, pass_console, progress

if TYPE_CHECKING:
    from yamabiko.build import Location
    from yamabiko.cli.migration import Migration, Tally
    from yamabiko.embedders.recorded import RecordedEmbedder
    from yamabiko.ports import Embedder, Store
    from yamabiko.settings import Settings

LISTED = 20
"""Differing entries that are listed; all are counted."""


@click.command()
@click.argument("target", metavar="TARGET_URL")
@click.option("--dry-run", is_flag=True, help="Count, write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace answers in the target that are newer, too.")
@click.option("--re-embed", is_flag=True, help="Embed the questions anew with the embedder of the settings.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.001),
    metavar="N",
    help="Write at most so many entries per second.",
)
@pass_console
def migrate(
    console: Console, /, *, target: str, dry_run: bool, overwrite: bool, re_embed: bool, rate: float | None
) -> None:
    """Copy every entry of the cache into TARGET_URL, lives and vectors included.

    Each one is read back and compared by its SHA-256. What is there already is skipped, so that a run that was
    interrupted can simply be repeated. Exit code 1 where an entry was refused or differs.
    """
    from yamabiko.cli.opening import embedder_to_embed_with, existing

    settings, named = existing(console)
    aim = _aim(settings, target)
    embedder = embedder_to_embed_with(settings, "--re-embed") if re_embed else None
    tally = asyncio.run(
        _migrate(console, settings, named, aim, embedder, dry_run=dry_run, overwrite=overwrite, rate=rate)
    )
    _tell(console, tally, dry_run=dry_run)
    if not tally.whole:
        raise click.exceptions.Exit(NO)


def _aim(settings: Settings, target: str) -> Settings:
    """The settings of the target. Raises ``ConfigurationError`` where migrating to it makes no sense."""
    from yamabiko.build import MemoryLocation, locate
    from yamabiko.errors import ConfigurationError

    aim = replace(settings, url=target)
    here, there = locate(settings), locate(aim)
    if isinstance(here, MemoryLocation) or isinstance(there, MemoryLocation):
        raise ConfigurationError("a cache in memory ends with its process: migrate between sqlite:// and servers")
    if _place(here) == _place(there):
        raise ConfigurationError(f"source and target are one, the cache {here}: name another target")
    return aim


def _place(location: Location) -> tuple[object, ...]:
    """What two locations of one cache have in common."""
    from yamabiko.build import ServerLocation, SqliteLocation

    if isinstance(location, SqliteLocation):
        return (location.path.resolve(),)
    assert isinstance(location, ServerLocation)
    address = location.address
    return address.host, address.port, address.db, address.name


async def _migrate(
    console: Console,
    settings: Settings,
    named: RecordedEmbedder,
    aim: Settings,
    embedder: Embedder | None,
    *,
    dry_run: bool,
    overwrite: bool,
    rate: float | None,
) -> Tally:
    from yamabiko.build import identity_of, locate
    from yamabiko.cli.migration import Migration
    from yamabiko.cli.opening import closing

    try:
        there = await _target(aim, named, embedder, dry_run=dry_run)
        async with (
            closing(await locate(settings).open(*identity_of(named))) as source,
            closing(await there.open(*identity_of(embedder or named))) as target,
        ):
            migration = Migration(target, embedder=embedder, overwrite=overwrite, dry_run=dry_run, rate=rate)
            try:
                await _run(migration, source, target, there)
            except BaseException:
                console.note(f"not finished; {_counts(migration.tally)}\nthe same command again goes on from there")
                raise
            return migration.tally
    finally:
        if embedder is not None:
            await embedder.close()


async def _run(migration: Migration, source: Store, target: Store, there: Location) -> None:
    from yamabiko.cli.migration import batches
    from yamabiko.types import Selector

    evicted = await _evicted(target, there)
    with progress((await source.stats()).entries, "migrating") as bar:
        async for batch in batches(source.entries(Selector())):
            await migration.take(batch)
            bar.update(len(batch))
    migration.tally.evicted = await _evicted(target, there) - evicted


async def _evicted(target: Store, there: Location) -> int:
    """How much the target has let go of for want of room: entries, or a server's keys."""
    from yamabiko.build import ServerLocation

    if not isinstance(there, ServerLocation):
        return (await target.stats()).evicted
    from yamabiko.stores.memorydb import MemoryDBStore

    assert isinstance(target, MemoryDBStore)
    return (await target.health()).evicted_keys or 0


async def _target(aim: Settings, named: RecordedEmbedder, embedder: Embedder | None, *, dry_run: bool) -> Location:
    """Where the entries go; for a dry run, something empty in place of a cache that is not there.

    Raises ``ConfigurationError`` where that cache holds vectors of another embedder.
    """
    from yamabiko.build import identity_of, locate
    from yamabiko.errors import ConfigurationError

    place = locate(aim)
    found = await place.recorded()
    if found is None:
        return locate(replace(aim, url="memory://")) if dry_run else place
    ours = identity_of(embedder or named)
    if found != ours:
        told = (
            "set embedder.* to the target's, or name another target"
            if embedder is not None
            else "say --re-embed, with the target's embedder in the settings, or name another target"
        )
        raise ConfigurationError(
            f"the cache {place} holds vectors of {found[0]!r} with dim {found[1]}, what is to come those of"
            f" {ours[0]!r} with dim {ours[1]}: {told}"
        )
    return place


def _counts(tally: Tally) -> str:
    from yamabiko.cli.shown import entries

    return (
        f"copied: {entries(tally.copied)}; already there: {tally.there:,}; newer there: {tally.newer:,};"
        f" dead: {tally.dead:,}; refused: {tally.refused.total():,}; differing: {len(tally.differing):,}"
    )


def _tell(console: Console, tally: Tally, *, dry_run: bool) -> None:
    for why, count in tally.refused.items():
        console.note(f"{count:,} refused: {why}")
    for entry in tally.differing[:LISTED]:
        console.note(f"entry {entry} is not in the target as it was written")
    if tally.evicted:
        console.note(f"the target evicted {tally.evicted:,} meanwhile: give it more memory, then migrate again")
    document = {
        "dry_run": dry_run,
        "copied": tally.copied,
        "already_there": tally.there,
        "newer_there": tally.newer,
        "dead": tally.dead,
        "refused": tally.refused.total(),
        "why": dict(tally.refused),
        "differing": len(tally.differing),
        "evicted": tally.evicted,
    }
    console.tell(document, f"{'would be ' if dry_run else ''}{_counts(tally)}")
