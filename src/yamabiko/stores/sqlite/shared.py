"""``SharedState`` in the tables: first what reads, in a reader's thread, then what writes, in the writer's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.ports import Claim, Logged, Stored
from yamabiko.selecting import MAX_BARRIERS, fits
from yamabiko.stores.sqlite.ledger import Ledger
from yamabiko.types import Entry, Selector

_selectors = msgspec.json.Decoder(Selector)


class Wanted(NamedTuple):
    """Who asks for which name, and when."""

    name: str
    holder: str
    now: float


def peek(db: sqlite3.Connection, wanted: Wanted) -> tuple[Claim | None] | None:
    """What ``SharedState.claim`` gives where nothing has to change, in a tuple; None where the name is free.

    Whoever waits for a name asks again and again, and must not hold up those who write.
    """
    fence, barrier = db.execute("SELECT fence, barrier FROM total").fetchone()
    return _standing(db, wanted, fence, barrier)


def _standing(db: sqlite3.Connection, wanted: Wanted, fence: int, barrier: int) -> tuple[Claim | None] | None:
    query = "SELECT holder, fence FROM lease WHERE name=? AND until>? AND fence>?"
    row = db.execute(query, (wanted.name, wanted.now, barrier)).fetchone()
    if row is None:
        return None
    held_by, own = row
    if held_by not in ("", wanted.holder):
        return (None,)
    return (Claim(name=wanted.name, holder=held_by, fence=own if held_by else fence),)


def fence(db: sqlite3.Connection) -> int:
    """See ``SharedState.fence``."""
    return int(db.execute("SELECT fence FROM total").fetchone()[0])


def purged(db: sqlite3.Connection) -> int:
    """See ``SharedState.purged``."""
    return int(db.execute("SELECT max(barrier, selective) FROM total").fetchone()[0])


def load_state(db: sqlite3.Connection, name: str) -> Stored | None:
    """See ``SharedState.load_state``."""
    row = db.execute("SELECT data, version FROM state WHERE name=?", (name,)).fetchone()
    return None if row is None else Stored(data=row[0], version=row[1])


def read_log(db: sqlite3.Connection, name: str, after: int, limit: int) -> list[Logged]:
    """See ``SharedState.read_log``."""
    query = "SELECT position, id, data FROM log WHERE name=? AND position>? ORDER BY position LIMIT ?"
    rows = db.execute(query, (name, after, limit))
    return [Logged(position=position, id=item_id, data=data) for position, item_id, data in rows]


def quarantined(db: sqlite3.Connection, digest: bytes, now: float) -> frozenset[str]:
    """See ``SharedState.quarantined``."""
    rows = db.execute("SELECT entry FROM quarantine WHERE digest=? AND until>?", (digest, now))
    return frozenset(row[0] for row in rows)


def claim(db: sqlite3.Connection, ledger: Ledger, wanted: Wanted, seconds: float) -> Claim | None:
    """See ``SharedState.claim``."""
    known = _standing(db, wanted, ledger.fence, ledger.barrier)
    if known is not None:
        return known[0]
    name, holder, now = wanted
    db.execute("DELETE FROM lease WHERE until<=?", (now,))  # of those who died, or left a name open
    ledger.fence += 1
    db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?)", (name, holder, ledger.fence, now + seconds))
    return Claim(name=name, holder=holder, fence=ledger.fence)


_MINE = "name=? AND holder=? AND holder<>'' AND until>? AND fence>?"


def renew(db: sqlite3.Connection, ledger: Ledger, held: Claim, seconds: float, now: float) -> bool:
    """See ``SharedState.renew``."""
    change = f"UPDATE lease SET until=? WHERE {_MINE}"  # noqa: S608 - the text above
    return db.execute(change, (now + seconds, held.name, held.holder, now, ledger.barrier)).rowcount == 1


def release(db: sqlite3.Connection, ledger: Ledger, held: Claim, now: float, open_seconds: float) -> bool:
    """See ``SharedState.release``."""
    mine = (held.name, held.holder, now, ledger.barrier)
    if open_seconds > 0:
        change = f"UPDATE lease SET holder='', until=? WHERE {_MINE}"  # noqa: S608 - the text above
        return db.execute(change, (now + open_seconds, *mine)).rowcount == 1
    return db.execute(f"DELETE FROM lease WHERE {_MINE}", mine).rowcount == 1  # noqa: S608 - the text above


def save_state(db: sqlite3.Connection, _: Ledger, name: str, data: bytes, expected: int | None) -> int | None:
    """See ``SharedState.save_state``."""
    if expected is None:
        made = db.execute("INSERT OR IGNORE INTO state VALUES (?, 1, ?)", (name, data)).rowcount
        return 1 if made == 1 else None
    change = "UPDATE state SET version=version+1, data=? WHERE name=? AND version=?"
    return expected + 1 if db.execute(change, (data, name, expected)).rowcount == 1 else None


def append_log(db: sqlite3.Connection, _: Ledger, name: str, items: Sequence[tuple[str, bytes]]) -> int:
    """See ``SharedState.append_log``."""
    rows = [(name, item_id, data) for item_id, data in items]
    return max(0, db.executemany("INSERT OR IGNORE INTO log(name, id, data) VALUES (?, ?, ?)", rows).rowcount)


def trim_log(db: sqlite3.Connection, _: Ledger, name: str, up_to: int) -> None:
    """See ``SharedState.trim_log``."""
    db.execute("DELETE FROM log WHERE name=? AND position<=?", (name, up_to))


def quarantine(db: sqlite3.Connection, _: Ledger, entry_id: str, digest: bytes, until: float, now: float) -> None:
    """See ``SharedState.quarantine``."""
    db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (digest, entry_id, until))
    db.execute("DELETE FROM quarantine WHERE digest=? AND until<=?", (digest, now))


def raise_barrier(db: sqlite3.Connection, ledger: Ledger, selector: Selector) -> None:
    """A purge begins. Of what is dead anyway, nobody can make anything that must be forgotten."""
    if selector.dead_at is not None:
        return
    ledger.fence += 1
    if selector == Selector():
        ledger.barrier = ledger.fence
        db.execute("DELETE FROM purged")
        return
    ledger.selective = ledger.fence
    said = msgspec.json.encode(selector).decode()
    db.execute("INSERT OR REPLACE INTO purged VALUES (?, ?)", (ledger.fence, said))
    known = [row[0] for row in db.execute("SELECT fence FROM purged ORDER BY fence DESC")]
    for fence in known[MAX_BARRIERS:]:
        ledger.barrier = max(ledger.barrier, fence)
        db.execute("DELETE FROM purged WHERE fence=?", (fence,))


def outdate(db: sqlite3.Connection, ledger: Ledger, selector: Selector) -> None:
    """See ``SharedState.outdate``."""
    raise_barrier(db, ledger, selector)


def is_outdated(db: sqlite3.Connection, ledger: Ledger, entry: Entry, fence: int) -> bool:
    """Whether an answer with this fence was begun before a purge that means it."""
    if fence < ledger.barrier:
        return True
    if fence >= ledger.selective:
        return False
    try:
        rows = db.execute("SELECT selector FROM purged WHERE fence>?", (fence,))
        return any(fits(entry, _selectors.decode(row[0])) for row in rows)
    except (msgspec.MsgspecError, InvalidRequest):
        return True  # nobody can say what was purged


def pardon(db: sqlite3.Connection, entries: Sequence[int]) -> None:
    """Entries are about to go, by row id, and with them what they were no answer to."""
    change = "DELETE FROM quarantine WHERE entry=(SELECT lower(hex(key)) FROM entry WHERE id=?)"
    db.executemany(change, [(entry,) for entry in entries])
