"""What a write does to the tables. Every function runs inside the writer's transaction."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from yamabiko.stores import codec, eviction
from yamabiko.types import MAX_QUESTIONS, Entry, Question, Scope, Selector

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


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """A question as it goes into the tables: ``v`` is the vector as little-endian float16."""

    key: bytes
    text: str
    v: bytes | None
    bytes: int

    @classmethod
    def of(cls, question: Question) -> NewQuestion:
        """Converted on the caller's thread, so that the writer only writes."""
        v = None if question.vector is None else question.vector.astype("<f2").tobytes()
        return cls(question.digest, question.text, v, eviction.question_bytes(question))


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry as it goes into the tables. ``own`` counts its bytes without questions."""

    scope: Scope
    digest: bytes
    created: float
    expires: float
    stale_until: float
    own: int
    value: float
    tags: tuple[str, ...]
    sources: tuple[str, ...]
    reply: bytes
    questions: tuple[NewQuestion, ...]

    @classmethod
    def of(cls, entry: Entry) -> NewEntry:
        """Converted on the caller's thread, so that the writer only writes."""
        unique = {question.digest: NewQuestion.of(question) for question in entry.questions}
        return cls(
            scope=entry.scope,
            digest=bytes.fromhex(entry.id),
            created=entry.created,
            expires=entry.expires,
            stale_until=entry.stale_until,
            own=eviction.payload_bytes(entry) - sum(map(eviction.question_bytes, entry.questions)),
            value=eviction.value(entry.reply),
            tags=entry.tags,
            sources=entry.reply.sources,
            reply=codec.encode(entry.reply),
            questions=tuple(unique.values()),
        )


def put(db: sqlite3.Connection, ledger: Ledger, new: NewEntry, now: float, max_bytes: int | None) -> None:
    """See ``Store.put``."""
    ns = _scope(db, new.scope)
    found = db.execute("SELECT id, ns FROM entry WHERE digest=?", (new.digest,)).fetchone()
    if found is not None and found[1] != ns:
        forget(db, ledger, [found[0]])
        found = None
    entry = _insert(db, ledger, ns, new) if found is None else _update(db, found[0], new)
    for tag in new.tags:
        db.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, entry))
    for uri in new.sources:
        db.execute("INSERT OR IGNORE INTO source VALUES (?, ?)", (uri, entry))
    for question in new.questions:
        _give(db, ledger, entry, ns, question)
    if found is None:
        size = new.own + sum(question.bytes for question in new.questions)
    else:
        _drop_surplus(db, ledger, entry, ns, new)
        size = _weigh(db, ledger, entry)
    if max_bytes is not None and ledger.payload_bytes > max_bytes:
        _make_room(db, ledger, (entry, size), now, max_bytes)


def alias(db: sqlite3.Connection, ledger: Ledger, digest: bytes, question: NewQuestion, max_bytes: int | None) -> bool:
    """See ``Store.alias``."""
    found = db.execute("SELECT id, ns, bytes FROM entry WHERE digest=?", (digest,)).fetchone()
    if found is None:
        return False
    entry, ns, size = found
    owned = db.execute("SELECT key FROM question WHERE ns=? AND entry=?", (ns, entry)).fetchall()
    if len(owned) >= MAX_QUESTIONS and (question.key,) not in owned:
        return False
    if max_bytes is not None and size + question.bytes > max_bytes:
        return False
    _give(db, ledger, entry, ns, question)
    size = _weigh(db, ledger, entry)
    if max_bytes is not None and ledger.payload_bytes > max_bytes:
        _make_room(db, ledger, (entry, size), -math.inf, max_bytes)
    return True


def touch(db: sqlite3.Connection, ledger: Ledger, touched: Iterable[tuple[bytes, int]]) -> None:
    """Count hits, by the entries' digests."""
    db.executemany(
        "UPDATE entry SET hits=hits+?, priority=gdsf(?, hits+?, value, bytes) WHERE digest=?",
        [(hits, ledger.clock, hits, digest) for digest, hits in touched],
    )


def delete(db: sqlite3.Connection, ledger: Ledger, digest: bytes) -> bool:
    """See ``Store.delete``."""
    found = db.execute("SELECT id FROM entry WHERE digest=?", (digest,)).fetchone()
    return found is not None and forget(db, ledger, found) == 1


def purge(db: sqlite3.Connection, ledger: Ledger, selector: Selector) -> int:
    """See ``Store.purge``."""
    return forget(db, ledger, select(db, selector))


_IN_SCOPES = "e.id IN (SELECT entry FROM question WHERE ns IN (SELECT ns FROM scope WHERE {}=?))"  # reads no reply


def select(db: sqlite3.Connection, selector: Selector) -> list[int]:
    """The ids of the entries that fit, oldest first."""
    conditions: list[str] = []
    values: list[object] = []
    if selector.id is not None:
        try:
            values.append(bytes.fromhex(selector.id))
        except ValueError:
            return []
        conditions.append("e.digest=?")
    for condition, value in (
        ("e.stale_until <= ?", selector.dead_at),
        (_IN_SCOPES.format("tenant"), selector.tenant),
        (_IN_SCOPES.format("user"), selector.user),
        (_IN_SCOPES.format("model"), selector.model),
        ("e.id IN (SELECT entry FROM tag WHERE tag=?)", selector.tag),
        ("e.id IN (SELECT entry FROM source WHERE uri=?)", selector.source),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    query = f"SELECT e.id FROM entry e {where} ORDER BY e.created, e.id"  # noqa: S608 - the texts above
    return [row[0] for row in db.execute(query, values)]


def forget(db: sqlite3.Connection, ledger: Ledger, entries: Sequence[int]) -> int:
    """Remove entries and all that hangs on them, by id; how many there were."""
    places: list[tuple[int, int]] = []
    for entry in entries:
        ns, size = db.execute("SELECT ns, bytes FROM entry WHERE id=?", (entry,)).fetchone()
        ledger.payload_bytes -= size
        places.append((ns, entry))
    ledger.forgot = True
    ids = [(entry,) for entry in entries]
    of_entry = "DELETE FROM vec WHERE id IN (SELECT id FROM question WHERE ns=? AND entry=?)"
    ledger.vectors -= db.executemany(of_entry, places).rowcount
    ledger.questions -= db.executemany("DELETE FROM question WHERE ns=? AND entry=?", places).rowcount
    db.executemany("DELETE FROM tag WHERE entry=?", ids)
    db.executemany("DELETE FROM source WHERE entry=?", ids)
    db.executemany("DELETE FROM entry WHERE id=?", ids)
    db.executemany(
        "DELETE FROM scope WHERE ns=? AND NOT EXISTS (SELECT 1 FROM question WHERE ns=?)",
        [(ns, ns) for ns in {ns for ns, _ in places}],
    )
    ledger.entries -= len(ids)
    return len(ids)


_NEW_SCOPE = "INSERT INTO scope(content, digest, tenant, user, model, embedder) VALUES (?, ?, ?, ?, ?, ?)"


def _scope(db: sqlite3.Connection, scope: Scope) -> int:
    """The number of a scope, which is made where there is none."""
    found = db.execute("SELECT ns FROM scope WHERE digest=?", (scope.digest,)).fetchone()
    if found is not None:
        return int(found[0])
    row = (scope.content, scope.digest, scope.tenant, scope.user, scope.model, scope.embedder)
    made = db.execute(_NEW_SCOPE, row).lastrowid
    assert made is not None
    return made


def _insert(db: sqlite3.Connection, ledger: Ledger, ns: int, new: NewEntry) -> int:
    size = new.own + sum(question.bytes for question in new.questions)
    ledger.last_entry += 1
    db.execute(
        "INSERT INTO entry(id, ns, digest, created, expires, stale_until, own, bytes, hits, value, priority, tags,"
        " reply) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
        (
            ledger.last_entry,
            ns,
            new.digest,
            new.created,
            new.expires,
            new.stale_until,
            new.own,
            size,
            new.value,
            eviction.priority(ledger.clock, 1, new.value, size),
            codec.encode_tags(new.tags),
            new.reply,
        ),
    )
    ledger.entries += 1
    ledger.payload_bytes += size
    return ledger.last_entry


def _update(db: sqlite3.Connection, entry: int, new: NewEntry) -> int:
    """A new reply and a new life for an entry; its use is not forgotten."""
    db.execute(
        "UPDATE entry SET created=?, expires=?, stale_until=?, own=?, value=?, tags=?, reply=? WHERE id=?",
        (new.created, new.expires, new.stale_until, new.own, new.value, codec.encode_tags(new.tags), new.reply, entry),
    )
    db.execute("DELETE FROM tag WHERE entry=?", (entry,))
    db.execute("DELETE FROM source WHERE entry=?", (entry,))
    return entry


def _give(db: sqlite3.Connection, ledger: Ledger, entry: int, ns: int, question: NewQuestion) -> None:
    """Make the question one of this entry's, and of no other's.

    A row of ``vec`` never changes: a new vector means a new question id, so that whoever reads on from the last id
    sees it.
    """
    found = db.execute(
        "SELECT q.id, q.entry, q.ns, v.v FROM question q LEFT JOIN vec v ON v.id=q.id WHERE q.key=?", (question.key,)
    ).fetchone()
    if found is not None:
        old, owner, home, v = found
        if owner == entry and v == question.v:
            db.execute("UPDATE question SET text=?, bytes=? WHERE id=?", (question.text, question.bytes, old))
            return
        _drop(db, ledger, old)
        if owner != entry:
            _bereave(db, ledger, owner, home)
    ledger.last_question += 1
    db.execute(
        "INSERT INTO question(id, entry, ns, key, bytes, text) VALUES (?, ?, ?, ?, ?, ?)",
        (ledger.last_question, entry, ns, question.key, question.bytes, question.text),
    )
    ledger.questions += 1
    if question.v is not None:
        db.execute("INSERT INTO vec VALUES (?, ?, ?)", (ledger.last_question, ns, question.v))
        ledger.vectors += 1


def _drop(db: sqlite3.Connection, ledger: Ledger, question: int) -> None:
    ledger.forgot = True
    ledger.vectors -= db.execute("DELETE FROM vec WHERE id=?", (question,)).rowcount
    ledger.questions -= db.execute("DELETE FROM question WHERE id=?", (question,)).rowcount


def _bereave(db: sqlite3.Connection, ledger: Ledger, owner: int, ns: int) -> None:
    """An entry has lost a question to another one: count it anew, or forget it when it was its last."""
    if db.execute("SELECT 1 FROM question WHERE ns=? AND entry=? LIMIT 1", (ns, owner)).fetchone() is None:
        forget(db, ledger, [owner])
    else:
        _weigh(db, ledger, owner)


def _drop_surplus(db: sqlite3.Connection, ledger: Ledger, entry: int, ns: int, new: NewEntry) -> None:
    """Forget old questions beyond ``MAX_QUESTIONS``: the oldest first, the creating one last."""
    query = "SELECT id, key FROM question WHERE ns=? AND entry=? ORDER BY key=?, id"
    owned = db.execute(query, (ns, entry, new.digest)).fetchall()
    fresh = {question.key for question in new.questions}
    old = [question for question, key in owned if key not in fresh]
    for question in old[: max(0, len(owned) - MAX_QUESTIONS)]:
        _drop(db, ledger, question)


def _weigh(db: sqlite3.Connection, ledger: Ledger, entry: int) -> int:
    """Count bytes and priority anew, after any change to an entry; its size."""
    query = (
        "SELECT e.bytes, e.hits, e.value, e.own + sum(q.bytes) FROM entry e CROSS JOIN question q"
        " ON q.ns=e.ns AND q.entry=e.id WHERE e.id=?"
    )
    before, hits, value, size = db.execute(query, (entry,)).fetchone()
    rank = eviction.priority(ledger.clock, hits, value, size)
    db.execute("UPDATE entry SET bytes=?, priority=? WHERE id=?", (size, rank, entry))
    ledger.payload_bytes += size - before
    return int(size)


_DEAD = "SELECT id, priority FROM entry WHERE stale_until <= ? AND id <> ? ORDER BY stale_until, id LIMIT 64"
_ALIVE = "SELECT id, priority FROM entry WHERE stale_until > ? AND id <> ? ORDER BY priority, id LIMIT 64"


def _make_room(db: sqlite3.Connection, ledger: Ledger, put: tuple[int, int], now: float, max_bytes: int) -> None:
    """Evict until the budget holds: what is dead first, then by priority, never ``put`` unless it can't fit.

    ``put``: id and size of the entry that is being written.
    """
    kept, size = put
    if size > max_bytes:
        ledger.evicted += forget(db, ledger, [kept])
    for query in (_DEAD, _ALIVE):
        while ledger.payload_bytes > max_bytes and (rows := db.execute(query, (now, kept)).fetchall()):
            for entry, rank in rows:
                if ledger.payload_bytes <= max_bytes:
                    return
                if query is _ALIVE:
                    ledger.clock = max(ledger.clock, rank)
                ledger.evicted += forget(db, ledger, [entry])
