"""Entries from one store into another: looked for there, written where they are missing, read back and compared."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from yamabiko.cli.archive import to_line
from yamabiko.cli.reembed import embedded, rescoped
from yamabiko.errors import InvalidRequest, StoreMismatch
from yamabiko.ports import Embedder, Store
from yamabiko.types import Entry, Key, Selector

T = TypeVar("T")

BATCH = 64
"""Entries that are looked for, written and compared at once; no more are held in memory."""


@dataclass(slots=True)
class Tally:
    """What became of the entries; each is counted once."""

    copied: int = 0
    there: int = 0
    newer: int = 0
    dead: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    evicted: int = 0

    @property
    def whole(self) -> bool:
        """Whether everything that should be in the target is, for all that we know."""
        return not (self.refused or self.differing or self.evicted)


class _Wanted(NamedTuple):
    """An entry as it should be in the target; ``texts``: what is to be embedded of its questions, in their order."""

    entry: Entry
    texts: Sequence[str]


class Pace:
    """At most so many turns per second, evenly spread; None: no limit."""

    def __init__(self, per_second: float | None) -> None:
        self._seconds = 0.0 if per_second is None else 1.0 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until it is one's turn."""
        if self._seconds:
            now = asyncio.get_running_loop().time()
            at = max(now, self._next)
            self._next = at + self._seconds
            await asyncio.sleep(at - now)


class Migration:
    """Takes entries into ``target`` and counts in ``tally``.

    ``embedder`` embeds every question anew; None takes the vectors as they are. ``overwrite`` replaces newer answers
    too. ``dry_run`` only counts. ``rate`` bounds how many entries are written per second.
    """

    def __init__(
        self, target: Store, *, embedder: Embedder | None, overwrite: bool, dry_run: bool, rate: float | None
    ) -> None:
        self.tally = Tally()
        self._target = target
        self._embedder = embedder
        self._overwrite = overwrite
        self._dry_run = dry_run
        self._pace = Pace(rate)

    async def take(self, entries: Sequence[Entry]) -> None:
        """At most ``BATCH`` entries. What can't be taken is counted; raises where the target or the embedder fails."""
        now = time.time()
        alive = [entry for entry in entries if entry.stale_until > now]
        self.tally.dead += len(entries) - len(alive)
        wanted = [_Wanted(entry, ()) if self._embedder is None else _rescoped(entry, self._embedder) for entry in alive]
        missing = [entry for entry in await at_once(map(self._missing, wanted)) if entry is not None]
        if self._dry_run:
            self.tally.copied += len(missing)
            return
        if self._embedder is None:
            written = [entry for entry, _ in missing]
        else:
            written = await embedded([(entry, list(texts)) for entry, texts in missing], self._embedder)
        put = await at_once(map(self._put, written))
        await at_once(self._compare(entry) for entry, done in zip(written, put, strict=True) if done)

    async def _missing(self, wanted: _Wanted) -> _Wanted | None:
        """What must be written; None where the target has the same, or newer."""
        there = await self._there(wanted.entry)
        if not self._overwrite:
            newer = there is not None and there.created > wanted.entry.created
            wanted = await self._free(wanted, there)
            if newer or not wanted.entry.questions:
                self.tally.newer += 1
                return None
        if there is not None and _same(there, wanted.entry, vectors=self._embedder is None):
            self.tally.there += 1
            return None
        return wanted

    async def _free(self, wanted: _Wanted, there: Entry | None) -> _Wanted:
        """Without the questions that have a newer answer in the target: writing would take them from it."""
        entry, texts = wanted
        own = {question.digest for question in there.questions} if there is not None else set()
        taken = set()
        for question in entry.questions:
            if question.digest not in own:
                owner = await self._target.get(Key(scope=entry.scope, digest=question.digest))
                if owner is not None and owner.id != entry.id and owner.created > entry.created:
                    taken.add(question.digest)
        if not taken:
            return wanted
        free = [at for at, question in enumerate(entry.questions) if question.digest not in taken]
        left = replace(entry, questions=tuple(entry.questions[at] for at in free))
        return _Wanted(left, [texts[at] for at in free] if texts else ())

    async def _put(self, entry: Entry) -> bool:
        await self._pace.turn()
        try:
            await self._target.put(entry, now=time.time())
        except (InvalidRequest, StoreMismatch) as error:
            self.tally.refused[str(error)] += 1
            return False
        return True

    async def _compare(self, entry: Entry) -> None:
        """Read back what was written."""
        there = await self._there(entry)
        if there is not None and _same(there, entry, vectors=True):
            self.tally.copied += 1
        elif there is not None and there.created > entry.created:
            self.tally.newer += 1  # somebody who uses the target was faster
        elif there is None and entry.stale_until <= time.time():
            self.tally.dead += 1
        else:
            self.tally.differing.append(entry.id)

    async def _there(self, entry: Entry) -> Entry | None:
        found = [one async for one in self._target.entries(Selector(id=entry.id))]
        return found[0] if found else None


async def batches(entries: AsyncIterator[Entry]) -> AsyncIterator[list[Entry]]:
    """The entries, ``BATCH`` at a time."""
    batch: list[Entry] = []
    async for entry in entries:
        batch.append(entry)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _rescoped(entry: Entry, embedder: Embedder) -> _Wanted:
    return _Wanted(*rescoped(entry, embedder))


def _same(there: Entry, entry: Entry, *, vectors: bool) -> bool:
    """Whether the target has the entry; it may have learnt further questions of its own.

    Without ``vectors`` only the texts count: two runs of a model may differ in a last bit.
    """
    asked = {question.digest for question in entry.questions}
    known = replace(there, questions=tuple(question for question in there.questions if question.digest in asked))
    return _digest(known, vectors=vectors) == _digest(entry, vectors=vectors)


def _digest(entry: Entry, *, vectors: bool) -> bytes:
    """SHA-256 of the entry's line in an export, its questions in one order."""
    questions = sorted(entry.questions, key=lambda question: question.digest)
    kept = questions if vectors else [replace(question, vector=None) for question in questions]
    return sha256(to_line(replace(entry, questions=tuple(kept)))).digest()


async def at_once(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once; when one fails, the others are cancelled before it is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
