"""The counters of a file, which every write keeps up to date."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from operator import attrgetter

TOMBS = 65_536
"""So many deletions are remembered at least; an index in memory that lags further behind is built anew."""


@dataclass(slots=True)
class Ledger:
    """The counters, read at the beginning of a transaction and written at its end."""

    entries: int
    questions: int
    vectors: int
    payload_bytes: int
    evicted: int
    clock: float
    last_entry: int
    last_question: int
    pruned: int
    fence: int
    barrier: int
    selective: int
    forgot: bool = False

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Ledger:
        """From the file."""
        return cls(*db.execute(_LEDGER).fetchone())

    def write(self, db: sqlite3.Connection) -> None:
        """Into the file; prunes old tombs first."""
        if self.forgot:
            last = db.execute("SELECT max(seq) FROM tomb").fetchone()[0] or 0
            if last - self.pruned > 2 * TOMBS:
                self.pruned = last - TOMBS
                db.execute("DELETE FROM tomb WHERE seq <= ?", (self.pruned,))
        db.execute(_SETTLE, _COUNTERS(self))


_NAMES = tuple(field.name for field in fields(Ledger))[:-1]  # all but forgot
_COUNTERS = attrgetter(*_NAMES)
_LEDGER = f"SELECT {', '.join(_NAMES)} FROM total"  # noqa: S608 - the names above
_SETTLE = f"UPDATE total SET {', '.join(f'{name}=?' for name in _NAMES)}"  # noqa: S608 - the same
