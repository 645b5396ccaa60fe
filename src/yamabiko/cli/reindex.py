"""``yamabiko reindex``: another embedder for a cache on a server, while it serves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import NO, Console, pass_console, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yamabiko.build import ServerLocation
    from yamabiko.ports import Embedder
    from yamabiko.stores.memorydb import MemoryDBStore
    from yamabiko.types import Entry

PASSES = 5
"""Others go on storing: what came meanwhile is looked for again, so often at most before the cache changes hands."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Count, change nothing.")
@click.option("--keep-old", is_flag=True, help="Leave the old vectors and their index where they are.")
@pass_console
def reindex(console: Console, /, *, dry_run: bool, keep_old: bool) -> None:
    """Give every entry on a server a vector of the settings' embedder, then make the cache that embedder's.

    The cache goes on answering with the old vectors until then; their index is dropped at the end. A run that was
    interrupted can simply be repeated. Exit code 1 where an entry was refused.
    """
    from yamabiko.build import ServerLocation, identity_of, locate
    from yamabiko.cli.opening import embedder_to_embed_with, existing
    from yamabiko.errors import ConfigurationError

    settings, named = existing(console)
    location = locate(settings)
    if not isinstance(location, ServerLocation):
        raise ConfigurationError(
            "reindex is for a cache on a server: embed this one anew with migrate sqlite:///NEW --re-embed, or with"
            " export and import --re-embed"
        )
    embedder = embedder_to_embed_with(settings, "reindex")
    work = Reindexing(embedder)
    asyncio.run(_reindex(console, work, location, identity_of(named), dry_run=dry_run, keep_old=keep_old))
    _tell(console, work, dry_run=dry_run)
    if work.refused:
        raise click.exceptions.Exit(NO)


async def _reindex(
    console: Console,
    work: Reindexing,
    location: ServerLocation,
    named: tuple[str, int],
    *,
    dry_run: bool,
    keep_old: bool,
) -> None:
    from yamabiko.build import identity_of
    from yamabiko.cli.opening import closing

    wanted = identity_of(work.embedder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(work.embedder.close)
        source = await stack.enter_async_context(closing(await location.open(*named)))
        if dry_run:
            await work.run(source, None)
            return
        target = source
        if wanted != named:
            target = await stack.enter_async_context(closing(await location.open(*wanted, beside=True)))
        try:
            for _ in range(PASSES):
                if not await work.run(source, target):
                    break
            if wanted != named:
                await target.adopt()
                await work.run(source, target)  # what was stored until now
            old = await target.left_behind()
            if old is not None and not keep_old:
                await target.retire(embedder=old[0], dim=old[1])
                work.retired = old[0]
        except BaseException:
            console.note(f"not finished; {_counts(work)}\nthe same command again goes on from there")
            raise


@dataclass(slots=True)
class Reindexing:
    """Gives entries vectors of ``embedder``, and counts; ``done`` and ``dead`` are what the first pass found."""

    embedder: Embedder
    embedded: int = 0
    done: int = 0
    dead: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    retired: str = ""
    first: bool = True

    async def run(self, source: MemoryDBStore, target: MemoryDBStore | None) -> int:
        """Look at every entry once; how many were embedded. None for ``target`` only counts."""
        from yamabiko.cli.migration import batches
        from yamabiko.types import Selector

        self.refused.clear()  # what is refused is so in every pass
        before = self.embedded
        with progress((await source.stats()).entries, "reindexing") as bar:
            async for batch in batches(source.entries(Selector())):
                await self._take(batch, source, target)
                bar.update(len(batch))
        self.first = False
        return self.embedded - before

    async def _take(self, entries: Sequence[Entry], source: MemoryDBStore, target: MemoryDBStore | None) -> None:
        from yamabiko.cli.migration import at_once
        from yamabiko.cli.reembed import embedded, rescoped

        now = time.time()
        alive = [entry for entry in entries if entry.stale_until > now]
        wanted = [(entry, *rescoped(entry, self.embedder)) for entry in alive]
        done = await at_once(_is_done(entry, new, texts, source, target) for entry, new, texts in wanted)
        missing = [one for one, known in zip(wanted, done, strict=True) if not known]
        if target is None:
            self.embedded += len(missing)
        else:
            new = await embedded([(entry, texts) for _, entry, texts in missing], self.embedder)
            changed = [entry for entry, (old, _, _) in zip(new, missing, strict=True) if _differs(entry, old)]
            await at_once(self._add(entry, target) for entry in changed)
            done += [True] * (len(new) - len(changed))
        if self.first:
            self.dead += len(entries) - len(alive)
            self.done += sum(done)

    async def _add(self, entry: Entry, target: MemoryDBStore) -> None:
        from yamabiko.errors import InvalidRequest, StoreMismatch

        try:
            added = await target.add_embedding(entry)
        except (InvalidRequest, StoreMismatch) as error:
            self.refused[str(error)] += 1
        else:
            self.embedded += added


async def _is_done(
    entry: Entry, new: Entry, texts: Sequence[str], source: MemoryDBStore, target: MemoryDBStore | None
) -> bool:
    """Whether the entry has its place in the new index: its scope there, and a vector where it can have one."""
    from yamabiko.types import Selector

    if entry.scope != new.scope:
        return False
    if target is None or not any(texts):
        return True
    there = [entry] if target is source else [one async for one in target.entries(Selector(id=entry.id))]
    return any(question.vector is not None for one in there for question in one.questions)


def _differs(new: Entry, old: Entry) -> bool:
    """False where the model sees none of the questions whole, and the entry has its scope already."""
    return new.scope != old.scope or any(question.vector is not None for question in new.questions)


def _counts(work: Reindexing) -> str:
    from yamabiko.cli.shown import entries

    return (
        f"embedded: {entries(work.embedded)}; already done: {work.done:,}; dead: {work.dead:,};"
        f" refused: {work.refused.total():,}"
    )


def _tell(console: Console, work: Reindexing, *, dry_run: bool) -> None:
    for why, count in work.refused.items():
        console.note(f"{count:,} refused: {why}")
    if work.retired:
        console.note(f"the index of {work.retired} is dropped")
    document = {
        "dry_run": dry_run,
        "embedded": work.embedded,
        "already_done": work.done,
        "dead": work.dead,
        "refused": work.refused.total(),
        "why": dict(work.refused),
        "embedder": work.embedder.id,
        "dim": work.embedder.dim,
        "retired": work.retired or None,
    }
    console.tell(document, f"{'would be ' if dry_run else ''}{_counts(work)}")
