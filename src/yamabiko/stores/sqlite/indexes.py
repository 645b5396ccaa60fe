"""Search by meaning: an index in memory for each scope in use, derived from the rows and thrown away at will.

An index may lag behind the file, it never lies: what it finds is looked up among the rows before it counts. At each
search ``PRAGMA data_version`` says whether anything was committed since this connection looked last, by this process
or by another; if so, what came and what went in this scope is read on from where the index stands.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from yamabiko.stores.sqlite import rows
from yamabiko.stores.vectors import VectorIndex
from yamabiko.types import Candidate, Scope, Vector

Accelerator: TypeAlias = Literal["numpy", "faiss"]

BATCH = 8192
"""Rows that are turned into arrays at once while an index is loaded."""

SMALL = 4096
"""Rows that a search reads by itself; more are left to the lane for loading, so that other searches go on."""

SPARE = 8
"""Asked of the index beyond the limit: further questions of one answer, and rows that are dead."""

_SINCE = (
    "SELECT e.number, v.v FROM entry e LEFT JOIN vec v ON v.id=e.number WHERE e.ns=? AND e.number>? UNION ALL"
    " SELECT a.id, v.v FROM alias a LEFT JOIN vec v ON v.id=a.id WHERE a.ns=? AND a.id>? ORDER BY 1"
)
"""What came after a number, in order: SQLite merges the two, each of which an index gives in this order."""

PATIENCE_SECONDS = 0.02
"""How long a search waits while another thread brings its index up to date, before it goes to the loading lane."""


class NotLoadedError(Exception):
    """The scope's index must be read first, which takes longer than a search may. Never leaves the store."""


@dataclass(slots=True)
class ScopeIndex:
    """The index of one scope and the point up to which it has read the file.

    ``ns`` is the scope's number, 0 before anything was read. ``number`` (of a question) and ``tomb`` are the last ones
    read.
    ``nbytes`` is what was last counted. ``seen`` holds the data version at which each connection last found nothing
    more to read.
    """

    vectors: VectorIndex
    ns: int = 0
    number: int = 0
    tomb: int = 0
    nbytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: dict[int, int] = field(default_factory=dict)

    def restart(self, vectors: VectorIndex, ns: int, tomb: int) -> None:
        """Forget everything; a search that still holds the old ``vectors`` finds nothing that it may serve."""
        self.vectors, self.ns, self.number, self.tomb = vectors, ns, 0, tomb
        self.seen.clear()


class Indexes:
    """The indexes of the scopes searched last, up to ``max_bytes`` together; the one just searched always stays."""

    def __init__(self, dim: int, max_bytes: int, accelerator: Accelerator) -> None:
        self._dim = dim
        self._accelerator = accelerator
        self._max_bytes = max_bytes
        self._scopes: OrderedDict[bytes, ScopeIndex] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()  # of the dictionary; held for moments only

    def __len__(self) -> int:
        return len(self._scopes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the indexes hold together, as of when each was searched last."""
        return self._nbytes

    def current(self, db: sqlite3.Connection, digest: bytes, *, patient: bool) -> tuple[int, VectorIndex] | None:
        """The scope's number and index as of now; None where the scope holds nothing.

        Raises ``NotLoadedError`` where that takes long, unless ``patient``.
        """
        version = db.execute("PRAGMA data_version").fetchone()[0]
        with self._lock:
            index = self._scopes.get(digest)
            if index is None:
                index = self._scopes[digest] = ScopeIndex(self._empty())
            self._scopes.move_to_end(digest)
        ns, vectors = index.ns, index.vectors  # before the question whether they are up to date
        if index.seen.get(id(db)) != version:
            if not index.lock.acquire(timeout=-1 if patient else PATIENCE_SECONDS):
                raise NotLoadedError
            try:
                known = self._read_on(db, digest, index, patient=patient)
                index.seen[id(db)] = version  # read before the rows: at worst they are looked at once more
                ns, vectors = index.ns, index.vectors
            finally:
                index.lock.release()
            self._trim(digest, keep=known)
            if not known:
                return None
        return ns, vectors

    def _empty(self) -> VectorIndex:
        return VectorIndex(self._dim, accelerator=self._accelerator)

    def _read_on(self, db: sqlite3.Connection, digest: bytes, index: ScopeIndex, *, patient: bool) -> bool:
        """What came and what went since, out of one state of the file; False where the scope holds nothing."""
        db.execute("BEGIN")
        try:
            found = db.execute("SELECT ns FROM scope WHERE digest=?", (digest,)).fetchone()
            if found is None:
                return False
            pruned, last = db.execute("SELECT pruned, (SELECT max(seq) FROM tomb) FROM total").fetchone()
            if index.ns != found[0] or index.tomb < pruned:
                index.restart(self._empty(), found[0], max(pruned, last or 0))
            if not patient and self._backlog(db, index) > SMALL:
                raise NotLoadedError
            self._add(db, index)
            self._remove(db, index)
            return True
        finally:
            db.execute("COMMIT")
            if patient:
                db.execute("PRAGMA shrink_memory")  # these pages were read once and won't be again

    @staticmethod
    def _backlog(db: sqlite3.Connection, index: ScopeIndex) -> int:
        """How many vectors are to be read, counted up to just above ``SMALL``."""
        query = (
            "SELECT count(*) FROM (SELECT 1 FROM entry WHERE ns=? AND number>?"
            " UNION ALL SELECT 1 FROM alias WHERE ns=? AND id>? LIMIT ?)"
        )
        return int(db.execute(query, (index.ns, index.number, index.ns, index.number, SMALL + 1)).fetchone()[0])

    def _add(self, db: sqlite3.Connection, index: ScopeIndex) -> None:
        cursor = db.execute(_SINCE, (index.ns, index.number, index.ns, index.number))
        width = 2 * self._dim
        while batch := cursor.fetchmany(BATCH):
            # A question may have no vector; check() names vectors of another length.
            sound = [row for row in batch if row[1] is not None and len(row[1]) == width]
            if sound:
                ids, blobs = zip(*sound, strict=True)
                vectors = np.frombuffer(b"".join(blobs), "<f2").astype(np.float16, copy=False)
                index.vectors.add(np.array(ids, dtype=np.int64), vectors.reshape(len(ids), self._dim))
            index.number = batch[-1][0]

    @staticmethod
    def _remove(db: sqlite3.Connection, index: ScopeIndex) -> None:
        query = "SELECT seq, id FROM tomb WHERE ns=? AND seq>? ORDER BY seq"
        gone = db.execute(query, (index.ns, index.tomb)).fetchall()
        if gone:
            index.vectors.remove(np.array([id_ for _, id_ in gone], dtype=np.int64))
            index.tomb = gone[-1][0]

    def _trim(self, digest: bytes, *, keep: bool) -> None:
        """Let go of an empty scope, and of the scopes searched longest ago while there are too many bytes."""
        with self._lock:
            index = self._scopes.get(digest)
            if index is not None:
                self._nbytes += index.vectors.nbytes - index.nbytes
                index.nbytes = index.vectors.nbytes
                if not keep:
                    self._nbytes -= self._scopes.pop(digest).nbytes
            while self._nbytes > self._max_bytes and len(self._scopes) > 1:
                oldest = next(iter(self._scopes))
                if oldest == digest:
                    self._scopes.move_to_end(digest)
                else:
                    self._nbytes -= self._scopes.pop(oldest).nbytes


@dataclass(frozen=True, slots=True)
class Search:
    """The arguments of ``Store.search``."""

    scope: Scope
    vector: Vector
    limit: int
    min_similarity: float
    now: float


def search(db: sqlite3.Connection, indexes: Indexes, sought: Search, patient: bool) -> Sequence[Candidate]:
    """See ``Store.search``. Raises ``NotLoadedError`` where the index must be read first, unless ``patient``.

    What the index finds is looked up, best first: gone, dead, unreadable, or of an entry that stands already is
    passed over. Where too few are left, more are asked of the index.
    """
    current = indexes.current(db, sought.scope.digest, patient=patient)
    if current is None or sought.limit < 1:
        return ()
    ns, index = current
    found: list[Candidate] = []
    passed: set[int] = set()
    entries: set[int] = set()
    wanted = sought.limit + SPARE
    while True:
        ids, similarities = index.search(sought.vector, limit=wanted, min_similarity=sought.min_similarity)
        for number, similarity in zip(ids.tolist(), similarities.tolist(), strict=True):
            if number in passed:
                continue
            passed.add(number)
            row = rows.asked(db, number, ns, sought.now)
            if row is None or row[0] in entries:
                continue
            entries.add(row[0])
            candidate = rows.candidate(row, sought.scope, similarity)
            if candidate is not None:
                found.append(candidate)
                if len(found) == sought.limit:
                    return tuple(found)
        if len(ids) < wanted:
            return tuple(found)
        wanted *= 4
