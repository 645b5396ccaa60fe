"""``yamabiko sign``, and the part of ``yamabiko check`` that looks at signatures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import NO, Console, pass_console, progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from yamabiko.cli.terminal import Progress
    from yamabiko.core.signing import SigningKeys
    from yamabiko.ports import Embedder, Store
    from yamabiko.settings import Settings
    from yamabiko.types import Entry

    Work: TypeAlias = Callable[[Store, Progress], Awaitable[None]]

LISTED = 20
"""Entries with a bad signature that are listed; all are counted."""
ATTEMPTS = 5
"""How often an entry is tried again because somebody purges meanwhile."""


@click.command()
@click.option("--unsigned", is_flag=True, help="Sign what bears no signature, too: for turning signatures on.")
@click.option("--dry-run", is_flag=True, help="Count, write nothing.")
@pass_console
def sign(console: Console, unsigned: bool, dry_run: bool) -> None:
    """Sign every entry with the newest key: to turn signatures on (--unsigned), or after a new key.

    Only what is good under one of the keys, or with --unsigned bears no signature, is signed. Exit code 1 where some
    entry is not: its signature is bad, or it has none.
    """
    from yamabiko.cli.opening import existing

    settings, embedder = existing(console)
    keys = _needed(settings)
    work = Signing(keys, unsigned=unsigned, dry_run=dry_run)
    try:
        asyncio.run(_with_store(settings, embedder, "signing", work.run))
    except BaseException:
        console.note(f"not finished; {_counts(work)}\nthe same command again goes on from there")
        raise
    _tell(console, work)
    if work.refused:
        raise click.exceptions.Exit(NO)


def _needed(settings: Settings) -> SigningKeys:
    """The keys of the settings. Raises ``ConfigurationError`` where there are none."""
    from yamabiko.core.signing import SigningKeys
    from yamabiko.errors import ConfigurationError

    keys = SigningKeys.parse(settings.signing_keys)
    if keys is None:
        raise ConfigurationError(
            "there is no key to sign with: set signing_keys to NAME:BASE64, for instance with"
            ' YAMABIKO_SIGNING_KEYS="k1:$(openssl rand -base64 32)", and keep it'
        )
    return keys


@dataclass(slots=True)
class Signing:
    """Signs entries with the newest key, and counts; ``refused`` says why, by id."""

    keys: SigningKeys
    unsigned: bool = False
    dry_run: bool = False
    signed: int = 0
    already: int = 0
    dead: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    async def run(self, store: Store, bar: Progress) -> None:
        """Every entry of the store once."""
        from yamabiko.cli.migration import at_once, batches
        from yamabiko.types import Selector

        async for batch in batches(store.entries(Selector())):
            alive = _alive(batch)
            self.dead += len(batch) - len(alive)
            await at_once(self._take(store, entry.id) for entry in alive)
            bar.update(len(batch))

    async def _take(self, store: Store, entry_id: str) -> None:
        """Read once more and write at once: what others do meanwhile to a page of entries must not be undone."""
        from yamabiko.core.signing import signed
        from yamabiko.errors import Outdated
        from yamabiko.ports import SharedState
        from yamabiko.types import Selector

        for attempt in range(ATTEMPTS):
            fence = await store.fence() if isinstance(store, SharedState) else None
            found = [one async for one in store.entries(Selector(id=entry_id))]
            if not found or not self._is_to_be_signed(found[0]):
                return
            if not self.dry_run:
                try:
                    fenced = {} if fence is None else {"fence": fence}
                    await store.put(signed(found[0], self.keys), now=time.time(), **fenced)
                except Outdated:
                    if attempt == ATTEMPTS - 1:
                        raise
                    continue
            self.signed += 1
            return

    def _is_to_be_signed(self, entry: Entry) -> bool:
        from yamabiko.core.signing import is_newest, verify

        why = verify(entry, self.keys)
        if not why and is_newest(entry, self.keys):
            self.already += 1
            return False
        if why and not (self.unsigned and not verify(entry, self.keys, unsigned=True)):
            self.refused[entry.id] = why
            return False
        return True


async def bad_signatures(settings: Settings, embedder: Embedder) -> dict[str, str]:
    """Why an entry would not be served for want of a good signature, by id; nothing where no key is configured."""
    from yamabiko.core.signing import SigningKeys

    keys = SigningKeys.parse(settings.signing_keys)
    if keys is None:
        return {}
    bad: dict[str, str] = {}

    async def look(store: Store, bar: Progress) -> None:
        from yamabiko.cli.migration import at_once, batches
        from yamabiko.types import Selector

        async for batch in batches(store.entries(Selector())):
            alive = _alive(batch)
            whys = await at_once(_why(store, entry, keys) for entry in alive)
            bad.update((entry.id, why) for entry, why in zip(alive, whys, strict=True) if why)
            bar.update(len(batch))

    await _with_store(settings, embedder, "checking ", look)
    return bad


def _alive(entries: list[Entry]) -> list[Entry]:
    """Those that may still be served: a signature counts no more for the others."""
    now = time.time()
    return [entry for entry in entries if entry.stale_until > now]


async def _why(store: Store, entry: Entry, keys: SigningKeys) -> str:
    """What is wrong with the entry; also as each of its questions would find it, which a server keeps apart."""
    from yamabiko.core.signing import verify
    from yamabiko.types import Key

    why = verify(entry, keys)
    for question in entry.questions[1:]:
        if not why:
            found = await store.get(Key(scope=entry.scope, digest=question.digest))
            why = "" if found is None else verify(found, keys)
    return why


def signature_problems(bad: dict[str, str]) -> list[str]:
    """How many there are and why, and the first ids, in sentences."""
    problems = [f"{count:,} not to be served: {why}" for why, count in Counter(bad.values()).items()]
    problems += [f"entry {entry}: {why}" for entry, why in list(bad.items())[:LISTED]]
    return problems + ([f"and {len(bad) - LISTED:,} more"] if len(bad) > LISTED else [])


async def _with_store(settings: Settings, embedder: Embedder, label: str, work: Work) -> None:
    from yamabiko.build import identity_of, locate
    from yamabiko.cli.opening import closing

    async with closing(await locate(settings).open(*identity_of(embedder))) as store:
        with progress((await store.stats()).entries, label) as bar:
            await work(store, bar)


def _counts(work: Signing) -> str:
    from yamabiko.cli.shown import entries

    return (
        f"signed: {entries(work.signed)}; already: {work.already:,}; dead: {work.dead:,};"
        f" refused: {len(work.refused):,}"
    )


def _tell(console: Console, work: Signing) -> None:
    reasons = Counter(work.refused.values())
    for problem in signature_problems(work.refused):
        console.note(problem)
    if any("not signed" in why for why in reasons):
        console.note("what was stored before there were keys is signed with --unsigned")
    document: dict[str, object] = {
        "dry_run": work.dry_run,
        "key": work.keys.newest.id,
        "signed": work.signed,
        "already_signed": work.already,
        "dead": work.dead,
        "refused": len(work.refused),
        "why": dict(reasons),
        "entries": list(work.refused)[:LISTED],
    }
    console.tell(document, f"{'would be ' if work.dry_run else ''}{_counts(work)}")
