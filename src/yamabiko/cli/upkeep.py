"""``yamabiko stats``, ``purge`` and ``check``: looking after a cache."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.ports import Embedder
    from yamabiko.settings import Settings
    from yamabiko.sync import SyncCache


@click.command()
@click.option("--server", is_flag=True, help="Also what the server says: memory, evictions, the index.")
@pass_console
def stats(console: Console, server: bool) -> None:
    """Counts and sizes of the cache, and the embedder that it was made with."""
    from yamabiko.build import open_sync_cache
    from yamabiko.cli.opening import existing
    from yamabiko.cli.shown import table

    settings, embedder = existing(console)
    with open_sync_cache(settings=settings, embedder=embedder) as cache:
        figures = asdict(cache.stats()) | {"embedder": embedder.id, "dim": embedder.dim}
    if server:
        figures |= asyncio.run(_server(settings, embedder))
    console.tell(figures, table(figures.items()))


async def _server(settings: Settings, embedder: Embedder) -> dict[str, object]:
    """What the cache's server says of itself. Raises ``ConfigurationError`` for a cache without one."""
    from yamabiko.build import open_cache
    from yamabiko.errors import ConfigurationError
    from yamabiko.stores.memorydb import MemoryDBStore

    async with open_cache(settings=settings, embedder=embedder) as cache:
        if not isinstance(cache.store, MemoryDBStore):
            raise ConfigurationError("this cache has no server: --server is for memorydb://, valkey:// and redis://")
        health = await cache.store.health()
    return {name: value for name, value in asdict(health).items() if name != "connection"}


@click.command()
@pass_console
def check(console: Console) -> None:
    """Read everything that is stored and list what is wrong with it.

    Where signing_keys is set, also what would not be served for want of a good signature. Exit code 1 where something
    is wrong.
    """
    from yamabiko.build import open_sync_cache
    from yamabiko.cli.opening import existing
    from yamabiko.cli.sign import bad_signatures, signature_problems

    settings, embedder = existing(console)
    with open_sync_cache(settings=settings, embedder=embedder) as cache:
        problems = list(cache.check())
    problems += signature_problems(asyncio.run(bad_signatures(settings, embedder)))
    console.tell({"problems": problems}, "\n".join(problems) or "the cache is sound")
    if problems:
        raise click.exceptions.Exit(NO)


@click.command()
@click.option("--id", "id_", metavar="ID", help="The entry with this id.")
@click.option("--tag", metavar="TAG", help="Entries with this tag.")
@click.option("--tenant", metavar="NAME", help="Entries of this tenant.")
@click.option("--user", metavar="NAME", help="Entries of this person.")
@click.option("--model", metavar="NAME", help="Entries of this model.")
@click.option("--source", metavar="URI", help="Entries made from this document.")
@click.option("--base", metavar="ID", help="Entries made from this knowledge base.")
@click.option("--digest", metavar="TEXT", help="With --source: its present state. What was made from that stays.")
@click.option("--dead", is_flag=True, help="Entries whose life is over.")
@click.option("--all", "everything", is_flag=True, help="Every entry.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say how many, remove none.")
@pass_console
def purge(
    console: Console,
    /,
    *,
    id_: str | None,
    tag: str | None,
    tenant: str | None,
    user: str | None,
    model: str | None,
    source: str | None,
    base: str | None,
    digest: str | None,
    dead: bool,
    everything: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Remove the entries that fit all conditions, with their questions and vectors.

    Says first how many that are and asks. Exit code 1 where the answer is no.
    """
    from yamabiko.cli.opening import open_without_embedding
    from yamabiko.cli.shown import entries

    conditions = {"id": id_, "tag": tag, "tenant": tenant, "user": user, "model": model, "source": source, "base": base}
    given = {name: value for name, value in conditions.items() if value is not None}
    if digest is not None:
        if not (source and digest):
            raise click.UsageError("--digest is the present state of a document: name that by --source")
        given["digest"] = digest
    if everything and (given or dead):
        raise click.UsageError("--all means every entry: leave out the other conditions")
    if not (given or dead or everything):
        raise click.UsageError("say which: --id, --tag, --tenant, --user, --model, --source, --base, --dead or --all")
    with open_without_embedding(console) as cache:
        if dry_run or not yes:
            fitting = _count(cache, given, dead=dead)
            if dry_run:
                console.tell({"fitting": fitting, "removed": 0}, f"would be removed: {entries(fitting)}")
                return
            if not _confirmed(f"Remove {entries(fitting)}?"):
                console.note("nothing was removed")
                console.tell({"fitting": fitting, "removed": 0}, "")
                raise click.exceptions.Exit(NO)
        removed = cache.purge(**given, dead=dead, everything=everything)
    console.tell({"removed": removed}, f"removed {entries(removed)}")


def _count(cache: SyncCache, given: dict[str, str], *, dead: bool) -> int:
    from yamabiko.types import Selector

    if not given and not dead:
        return cache.stats().entries
    told = {"except_digest" if name == "digest" else name: value for name, value in given.items()}
    selector = Selector(**told, dead_at=time.time() if dead else None)
    return sum(1 for _ in cache.entries(selector))


def _confirmed(question: str) -> bool:
    """Whether the user says yes. Raises ``UsageError`` where nobody can be asked."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        raise click.UsageError("nobody is there to confirm: say --yes") from None
