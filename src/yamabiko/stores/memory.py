"""The reference store: plain dictionaries and exact NumPy, nothing kept when the process ends.

What the other stores are compared with, and ``memory://`` for tests and small caches. No method awaits anything, so
each is atomic for the tasks of one event loop; use it from one loop only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from yamabiko.errors import Outdated
from yamabiko.selecting import fits
from yamabiko.stores import eviction, intake
from yamabiko.stores.memory_shared import MemoryShared
from yamabiko.types import (
    MAX_QUESTIONS,
    Candidate,
    Entry,
    Key,
    Question,
    Scope,
    Selector,
    StoreStats,
    Vector,
)


@dataclass(slots=True)
class _Row:
    """An entry without questions, its questions by digest in the order they came, and what eviction knows of it."""

    entry: Entry
    questions: dict[bytes, Question]
    hits: int = 1
    size: int = 0
    priority: float = 0.0

    def whole(self) -> Entry:
        """The entry with all its questions, the creating one first."""
        questions = sorted(self.questions.values(), key=lambda question: question.digest.hex() != self.entry.id)
        return replace(self.entry, questions=tuple(questions))

    def asked(self, digest: bytes) -> Entry:
        """The entry with this question only, and without its vector, which a look-up has no use for."""
        return replace(self.entry, questions=(replace(self.questions[digest], vector=None),))


def _kept(question: Question) -> Question:
    """The question with its vector as it is kept."""
    return question if question.vector is None else replace(question, vector=intake.rounded(question.vector))


class MemoryStore(MemoryShared):
    """Entries in this process's memory; implements ``Store`` and ``SharedState``.

    ``embedder`` names what makes the vectors, ``dim`` is their number of components. ``max_bytes`` bounds
    ``StoreStats.payload_bytes`` (see ``yamabiko.stores.eviction``); None means no bound.
    """

    def __init__(self, *, embedder: str, dim: int, max_bytes: int | None = None) -> None:
        super().__init__()
        self.embedder = embedder
        self.dim = dim
        self.max_bytes = max_bytes
        self._rows: dict[str, _Row] = {}
        self._owners: dict[bytes, str] = {}
        self._scans: dict[bytes, tuple[list[tuple[str, bytes]], NDArray[np.float32]]] = {}
        self._payload_bytes = 0
        self._evicted = 0
        self._clock = 0.0

    async def get(self, key: Key, /) -> Entry | None:
        """See ``Store.get``."""
        self._check_open()
        owner = self._owners.get(key.digest)
        if owner is None or self._rows[owner].entry.scope.content != key.scope.content:
            return None
        return self._rows[owner].asked(key.digest)

    async def put(self, entry: Entry, /, *, now: float, fence: int | None = None) -> None:
        """See ``Store.put``."""
        self._check_open()
        intake.check_entry(entry, self.dim)
        if self._is_outdated(fence, entry):
            raise Outdated
        row = self._rows.get(entry.id)
        if row is None or row.entry.scope.digest != entry.scope.digest:
            self._remove(entry.id)
            row = self._rows[entry.id] = _Row(entry, {})
        row.entry = replace(entry, questions=())
        for question in entry.questions:
            self._give(row, question)
        self._drop_surplus(row, {question.digest for question in entry.questions})
        self._weigh(row)
        self._make_room(row, now)

    async def search(
        self, scope: Scope, vector: Vector, /, *, limit: int, min_similarity: float, now: float
    ) -> Sequence[Candidate]:
        """See ``Store.search``."""
        self._check_open()
        intake.check_vector(vector, self.dim)
        owners, matrix = self._scan(scope.digest)
        similarities = np.clip(matrix @ vector.astype(np.float32), -1.0, 1.0)
        best: dict[str, Candidate] = {}
        for at in np.argsort(-similarities, kind="stable"):
            similarity = float(similarities[at])
            if similarity < min_similarity or len(best) >= limit:
                break
            entry_id, digest = owners[at]
            row = self._rows[entry_id]
            if entry_id not in best and row.entry.stale_until > now:
                best[entry_id] = Candidate(entry=row.asked(digest), similarity=similarity)
        return tuple(best.values())

    async def alias(self, entry_id: str, question: Question, /) -> bool:
        """See ``Store.alias``."""
        self._check_open()
        intake.check_question(question, self.dim)
        row = self._rows.get(entry_id)
        if row is None or (len(row.questions) >= MAX_QUESTIONS and question.digest not in row.questions):
            return False
        if self.max_bytes is not None and row.size + eviction.question_bytes(_kept(question)) > self.max_bytes:
            return False
        self._give(row, question)
        self._weigh(row)
        self._make_room(row, now=-np.inf)
        return True

    def touch(self, entry_id: str, /) -> None:
        """See ``Store.touch``."""
        row = self._rows.get(entry_id)
        if row is not None:
            row.hits += 1
            self._weigh(row)

    async def delete(self, entry_id: str, /) -> bool:
        """See ``Store.delete``."""
        self._check_open()
        self._pardon([entry_id])
        return self._remove(entry_id)

    async def purge(self, selector: Selector, /) -> int:
        """See ``Store.purge``."""
        self._check_open()
        self._raise_barrier(selector)
        doomed = [row.entry.id for row in self._selected(selector)]
        self._pardon(doomed)
        return sum(map(self._remove, doomed))

    async def entries(self, selector: Selector, /) -> AsyncIterator[Entry]:
        """See ``Store.entries``. What is removed while a caller iterates is left out from then on."""
        self._check_open()
        for row in sorted(self._selected(selector), key=lambda row: row.entry.created):
            if self._rows.get(row.entry.id) is row:
                yield row.whole()

    async def stats(self) -> StoreStats:
        """See ``Store.stats``."""
        self._check_open()
        questions = [question for row in self._rows.values() for question in row.questions.values()]
        return StoreStats(
            entries=len(self._rows),
            questions=len(questions),
            vectors=sum(question.vector is not None for question in questions),
            scopes=len({row.entry.scope.digest for row in self._rows.values()}),
            payload_bytes=self._payload_bytes,
            evicted=self._evicted,
        )

    async def check(self) -> Sequence[str]:
        """See ``Store.check``."""
        self._check_open()
        return tuple(self._faults())

    async def close(self) -> None:
        """See ``Store.close``. Forgets everything."""
        self._closed = True
        for kept in (self._rows, self._owners, self._scans):
            kept.clear()

    def _give(self, row: _Row, question: Question) -> None:
        """Make the question one of this row's, and of no other's."""
        owner = self._owners.get(question.digest)
        if owner is not None and owner != row.entry.id:
            loser = self._rows[owner]
            del loser.questions[question.digest]
            self._scans.pop(loser.entry.scope.digest, None)
            self._weigh(loser)
            if not loser.questions:
                self._remove(owner)
        self._owners[question.digest] = row.entry.id
        row.questions[question.digest] = _kept(question)
        self._scans.pop(row.entry.scope.digest, None)

    def _drop_surplus(self, row: _Row, new: set[bytes]) -> None:
        """Forget old questions beyond ``MAX_QUESTIONS``, the oldest first."""
        old = [digest for digest in row.questions if digest not in new]
        for digest in old[: max(0, len(row.questions) - MAX_QUESTIONS)]:
            del row.questions[digest], self._owners[digest]

    def _weigh(self, row: _Row) -> None:
        """Count the row's bytes and priority anew, after any change to it."""
        size = eviction.payload_bytes(row.whole())
        self._payload_bytes += size - row.size
        row.size = size
        row.priority = eviction.priority(self._clock, row.hits, eviction.value(row.entry.reply), size)

    def _make_room(self, kept: _Row, now: float) -> None:
        """Evict until the budget holds: what is dead first, then by priority, never ``kept`` unless it can't fit."""
        if self.max_bytes is None or self._payload_bytes <= self.max_bytes:
            return
        if kept.size > self.max_bytes:
            self._evicted += self._remove(kept.entry.id)
        others = [row for row in self._rows.values() if row is not kept]
        dead = sorted((row for row in others if row.entry.stale_until <= now), key=lambda row: row.entry.stale_until)
        alive = sorted((row for row in others if row.entry.stale_until > now), key=lambda row: row.priority)
        for row in (*dead, *alive):  # sorting is stable, so that of equals the one stored first goes first
            if self._payload_bytes <= self.max_bytes:
                return
            if row.entry.stale_until > now:
                self._clock = max(self._clock, row.priority)
            self._evicted += self._remove(row.entry.id)

    def _remove(self, entry_id: str) -> bool:
        row = self._rows.pop(entry_id, None)
        if row is None:
            return False
        for digest in row.questions:
            del self._owners[digest]
        self._payload_bytes -= row.size
        self._scans.pop(row.entry.scope.digest, None)
        return True

    def _scan(self, scope_digest: bytes) -> tuple[list[tuple[str, bytes]], NDArray[np.float32]]:
        """Who owns each vector of a scope, and the vectors; kept until the scope changes."""
        if scope_digest not in self._scans:
            owners: list[tuple[str, bytes]] = []
            vectors: list[Vector] = []
            for row in self._rows.values():
                if row.entry.scope.digest == scope_digest:
                    for digest, question in row.questions.items():
                        if question.vector is not None:
                            owners.append((row.entry.id, digest))
                            vectors.append(question.vector)
            matrix = np.array(vectors, dtype=np.float32).reshape(len(vectors), self.dim)
            self._scans[scope_digest] = owners, matrix
        return self._scans[scope_digest]

    def _selected(self, selector: Selector) -> list[_Row]:
        return [row for row in self._rows.values() if fits(row.entry, selector)]

    def _faults(self) -> Iterator[str]:
        for entry_id, row in self._rows.items():
            if not row.questions:
                yield f"entry {entry_id} has no question"
            if row.size != eviction.payload_bytes(row.whole()):
                yield f"entry {entry_id} counts {row.size} bytes, which is not its size"
            for digest in row.questions:
                if self._owners.get(digest) != entry_id:
                    yield f"question {digest.hex()} of entry {entry_id} can't be found by its key"
        if len(self._owners) != sum(len(row.questions) for row in self._rows.values()):
            yield "there are keys that lead to no question"
        if self._payload_bytes != sum(row.size for row in self._rows.values()):
            yield f"payload_bytes says {self._payload_bytes}, which is not the sum over the entries"
