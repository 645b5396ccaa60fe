"""``yamabiko export`` and ``yamabiko import``: a whole cache as a file, and back."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import NO, Console, pass_console, progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yamabiko.cache import Cache
    from yamabiko.cli.archive_file import Archive
    from yamabiko.ports import Embedder
    from yamabiko.settings import Settings
    from yamabiko.types import Entry

BATCH = 64
"""Entries that are embedded and stored at once."""

LISTED = 20
"""Refused lines that are listed; all are counted."""


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@pass_console
def export_command(console: Console, file: str, force: bool) -> None:
    """Write all entries to FILE as JSON lines; gzip where its name ends in .gz; - for standard output.

    Needs no embedder: vectors are written as they are stored.
    """
    from yamabiko.build import open_sync_cache
    from yamabiko.cli.archive import FORMAT, VERSION, Header
    from yamabiko.cli.archive_file import write_archive
    from yamabiko.cli.opening import existing
    from yamabiko.cli.shown import entries

    if file == "-" and console.as_json:
        raise click.UsageError("with - the export itself goes to standard output: leave out --json")
    settings, embedder = existing(console)
    with open_sync_cache(settings=settings, embedder=embedder) as cache:
        counts = cache.stats()
        header = Header(
            format=FORMAT,
            version=VERSION,
            embedder=embedder.id,
            dim=embedder.dim,
            entries=counts.entries,
            questions=counts.questions,
            vectors=counts.vectors,
        )
        with progress(counts.entries, "exporting") as bar:
            written = write_archive(file, header, cache.entries(), replace=force, step=bar.update)
    if file != "-":
        console.tell({"exported": written, "file": file}, f"exported {entries(written)} to {file}")


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Check every line and count, import nothing.")
@click.option("--partial", is_flag=True, help="Take what is there of a file that was cut short or changed.")
@click.option("--re-embed", is_flag=True, help="Embed the questions anew with the embedder of the settings.")
@pass_console
def import_command(console: Console, /, *, file: str, dry_run: bool, partial: bool, re_embed: bool) -> None:
    """Store the entries of an export; - for standard input.

    The whole file is checked before anything is stored. Lines that can't be imported are counted and listed, and end
    with exit code 1. An export of another embedder is refused unless --re-embed is given.
    """
    from yamabiko.cli.archive_file import open_archive, open_seekable
    from yamabiko.cli.shown import entries

    settings = console.settings()
    with open_seekable(file) as seekable:
        archive = open_archive(seekable, partial=partial)
        new, replaced = asyncio.run(_import(settings, archive, re_embed=re_embed, dry_run=dry_run))
    problems = [f"line {number}: {why}" for number, why in sorted(archive.refused.items())]
    for problem in problems[:LISTED]:
        console.note(problem)
    console.tell(
        {
            "dry_run": dry_run,
            "imported": new,
            "replaced": replaced,
            "refused": len(problems),
            "problems": problems[:LISTED],
        },
        f"{'would be imported' if dry_run else 'imported'}: {entries(new + replaced)}, {replaced:,} of them in place"
        f" of others; refused: {len(problems):,}",
    )
    if problems:
        raise click.exceptions.Exit(NO)


async def _import(settings: Settings, archive: Archive, *, re_embed: bool, dry_run: bool) -> tuple[int, int]:
    """Store what the archive holds; how many entries were new, and how many replaced others."""
    from yamabiko.build import open_cache, recorded_embedder

    embedder = await _embedder(settings, archive, re_embed=re_embed)
    if dry_run and await recorded_embedder(settings) is None:
        new = 0
        async for batch in _batches(archive, embedder, re_embed=re_embed):
            new += len(batch)
        await embedder.close()
        return new, 0
    async with open_cache(settings=settings, embedder=embedder) as cache:
        with progress(archive.header.entries, "importing") as bar:
            return await _store(cache, _batches(archive, embedder, re_embed=re_embed), bar.update, dry_run=dry_run)


async def _store(
    cache: Cache, batches: AsyncIterator[list[Entry]], step: Callable[[int], None], *, dry_run: bool
) -> tuple[int, int]:
    from yamabiko.types import Key

    new = replaced = 0
    async for entries in batches:
        keys = [Key(scope=entry.scope, digest=bytes.fromhex(entry.id)) for entry in entries]
        there = await asyncio.gather(*map(cache.store.get, keys))
        known = sum(found is not None and found.id == entry.id for found, entry in zip(there, entries, strict=True))
        replaced += known
        new += len(entries) - known
        if not dry_run:
            await asyncio.gather(*(cache.store.put(entry, now=time.time()) for entry in entries))
        step(len(entries))
    return new, replaced


async def _batches(archive: Archive, embedder: Embedder, *, re_embed: bool) -> AsyncIterator[list[Entry]]:
    """The fit entries, some at a time; with ``re_embed``, embedded anew."""
    from yamabiko.cli.reembed import embedded, rescoped

    fit = (entry for _, entry in archive.entries())
    while batch := list(islice(fit, BATCH)):
        yield await embedded([rescoped(entry, embedder) for entry in batch], embedder) if re_embed else batch


async def _embedder(settings: Settings, archive: Archive, *, re_embed: bool) -> Embedder:
    """What the cache is opened with: the embedder itself where texts are embedded, else its name.

    Raises ``ConfigurationError`` where the export was made with another one.
    """
    from yamabiko.cli.opening import embedder_to_embed_with, named_embedder
    from yamabiko.errors import ConfigurationError

    header = archive.header
    if re_embed:
        return embedder_to_embed_with(settings, "--re-embed")
    identity = await named_embedder(settings)
    if (identity.id, identity.dim) != (header.embedder, header.dim):
        raise ConfigurationError(
            f"the export holds vectors of {header.embedder!r} with dim {header.dim}, this cache those of"
            f" {identity.id!r} with dim {identity.dim}: import it into another cache, or say --re-embed"
        )
    return identity
