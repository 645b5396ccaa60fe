"""What a write does to the tables. Every function runs inside the writer's transaction."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from yamabiko.stores import codec, eviction
from yamabiko.stores.sqlite import shared
from yamabiko.stores.sqlite.ledger import Ledger
from yamabiko.types import MAX_QUESTIONS, Entry, Question, Scope, Selector

FLOAT16 = np.dtype("<f2")
"""How a component of a vector lies in the file."""

PURGED = 1000
"""Entries that a purge removes in one transaction: who else wants to write then waits for a tenth of a second."""


class NewQuestion(NamedTuple):
    """A question as it goes into the tables: ``v`` is the vector as little-endian float16."""

    key: bytes
    text: str
    v: bytes | None
    bytes: int
    signature: str | None = None

    @classmethod
    def of(cls, question: Question) -> NewQuestion:
        """Converted on the caller's thread, so that the writer only writes."""
        v = None if question.vector is None else question.vector.astype(FLOAT16).tobytes()
        return cls(question.digest, question.text, v, eviction.question_bytes(question), question.signature or None)


class NewEntry(NamedTuple):
    """An entry as it goes into the tables; ``own`` counts its bytes without questions.

    ``asked`` is the question that created it, None where that one belongs to another entry.
    """

    scope: Scope
    key: bytes
    created: float
    expires: float
    stale_until: float
    own: int
    value: float
    tags: tuple[str, ...]
    entry: Entry
    reply: bytes
    asked: NewQuestion | None
    aliases: tuple[NewQuestion, ...]
    fence: int | None

    @classmethod
    def of(cls, entry: Entry, fence: int | None = None) -> NewEntry:
        """Converted on the caller's thread, so that the writer only writes."""
        key = bytes.fromhex(entry.id)
        questions = {question.digest: NewQuestion.of(question) for question in entry.questions}
        return cls(
            scope=entry.scope,
            key=key,
            created=entry.created,
            expires=entry.expires,
            stale_until=entry.stale_until,
            own=eviction.entry_bytes(entry),
            value=eviction.value(entry.reply),
            tags=entry.tags,
            entry=entry,
            reply=codec.encode_entry(entry),
            asked=questions.pop(key, None),
            aliases=tuple(questions.values()),
            fence=fence,
        )

    @property
    def size(self) -> int:
        """What it counts against the budget with these questions and no others."""
        asked = 0 if self.asked is None else self.asked.bytes
        return self.own + asked + sum([alias.bytes for alias in self.aliases])


class _Place(NamedTuple):
    """An entry's row, and what its questions must know of it."""

    entry: int
    ns: int
    key: bytes


_KNOWN = (
    "SELECT s.ns, e.id, e.ns, a.id FROM (SELECT 1) LEFT JOIN scope s ON s.digest=? LEFT JOIN entry e ON e.key=?"
    " LEFT JOIN alias a ON a.key=?"
)


def put(db: sqlite3.Connection, ledger: Ledger, new: NewEntry, now: float, max_bytes: int | None) -> bool:
    """See ``Store.put``; False for one that is outdated, since what raises here undoes its whole group."""
    if new.fence is not None and shared.is_outdated(db, ledger, new.entry, new.fence):
        return False
    ns, known, home, alias = db.execute(_KNOWN, (new.scope.digest, new.key, new.key)).fetchone()
    if ns is None:
        ns = _make_scope(db, new.scope)
    if known is not None and home != ns:
        forget(db, ledger, [known])
        known = None
    place = _Place(_insert(db, ledger, ns, new) if known is None else _update(db, known, new), ns, new.key)
    for tag in new.tags:
        db.execute("INSERT OR IGNORE INTO tag VALUES (?, ?)", (tag, place.entry))
    for source in new.entry.reply.sources:
        db.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?)", (source.uri, source.digest, place.entry))
        if source.base:
            db.execute("INSERT OR IGNORE INTO base VALUES (?, ?)", (source.base, place.entry))
    if new.asked is not None and (known is not None or alias is not None):
        _give(db, ledger, place, new.asked)
    for question in new.aliases:
        _give(db, ledger, place, question)
    size = new.size
    if known is not None:
        _drop_surplus(db, ledger, place.entry, new)
        size = _weigh(db, ledger, place.entry)
    if max_bytes is not None and ledger.payload_bytes > max_bytes:
        _make_room(db, ledger, (place.entry, size), now, max_bytes)
    return True


def alias(db: sqlite3.Connection, ledger: Ledger, key: bytes, question: NewQuestion, max_bytes: int | None) -> bool:
    """See ``Store.alias``."""
    found = db.execute("SELECT id, ns, bytes FROM entry WHERE key=?", (key,)).fetchone()
    if found is None:
        return False
    entry, ns, size = found
    owned = [row[1] for row in db.execute(_OWNED, (entry, entry))]
    if len(owned) >= MAX_QUESTIONS and question.key not in owned:
        return False
    if max_bytes is not None and size + question.bytes > max_bytes:
        return False
    _give(db, ledger, _Place(entry, ns, key), question)
    size = _weigh(db, ledger, entry)
    if max_bytes is not None and ledger.payload_bytes > max_bytes:
        _make_room(db, ledger, (entry, size), -math.inf, max_bytes)
    return True


def touch(db: sqlite3.Connection, ledger: Ledger, touched: Iterable[tuple[bytes, int]]) -> None:
    """Count hits, by the entries' keys."""
    db.executemany(
        "UPDATE entry SET hits=hits+?, priority=gdsf(?, hits+?, value, bytes) WHERE key=?",
        [(hits, ledger.clock, hits, key) for key, hits in touched],
    )


def delete(db: sqlite3.Connection, ledger: Ledger, key: bytes) -> bool:
    """See ``Store.delete``."""
    found = db.execute("SELECT id FROM entry WHERE key=?", (key,)).fetchone()
    if found is None:
        return False
    shared.pardon(db, found)
    return forget(db, ledger, found) == 1


def purge(db: sqlite3.Connection, ledger: Ledger, selector: Selector, last: int | None) -> tuple[int, int | None]:
    """A step of ``Store.purge``: how many went, and what to pass as ``last`` to the next step; None after the last one.

    ``last`` is None in the first step. What is put after it has begun stays, or a purge might never end.
    """
    if last is None:
        last = ledger.last_entry
        shared.raise_barrier(db, ledger, selector)
    conditions, values = _conditions(selector)
    # The plus keeps SQLite from walking through all ids where a condition has an index.
    query = f"SELECT e.id FROM entry e WHERE {conditions} AND +e.id <= ? LIMIT ?"  # noqa: S608 - the texts below
    found = [row[0] for row in db.execute(query, (*values, last, PURGED))]
    shared.pardon(db, found)
    return forget(db, ledger, found), last if len(found) == PURGED else None


def select(db: sqlite3.Connection, selector: Selector) -> list[int]:
    """The ids of the entries that fit, oldest first."""
    conditions, values = _conditions(selector)
    fit = f"SELECT e.id FROM entry e WHERE {conditions}"  # noqa: S608 - the texts below
    query = f"SELECT id FROM entry WHERE id IN ({fit}) ORDER BY created, id"  # noqa: S608 - the same
    return [row[0] for row in db.execute(query, values)]


_IN_SCOPES = "e.ns IN (SELECT ns FROM scope WHERE {}=?)"


def _conditions(selector: Selector) -> tuple[str, list[object]]:
    """What a selector means, in SQL, and the values that go into it."""
    conditions: list[str] = []
    values: list[object] = []
    if selector.id is not None:
        conditions.append("e.key=?")
        try:
            values.append(bytes.fromhex(selector.id))
        except ValueError:
            values.append(b"")  # which is nobody's
    for condition, value in (
        ("e.stale_until <= ?", selector.dead_at),
        (_IN_SCOPES.format("tenant"), selector.tenant),
        (_IN_SCOPES.format("user"), selector.user),
        (_IN_SCOPES.format("model"), selector.model),
        ("e.id IN (SELECT entry FROM tag WHERE tag=?)", selector.tag),
        ("e.id IN (SELECT entry FROM evidence WHERE uri=?)", selector.source),
        ("e.id IN (SELECT entry FROM base WHERE base=?)", selector.base),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if selector.except_digest is not None:
        conditions.append("e.id IN (SELECT entry FROM evidence WHERE uri=? AND digest<>?)")
        values += (selector.source, selector.except_digest)
    return " AND ".join(conditions) or "1", values


def forget(db: sqlite3.Connection, ledger: Ledger, entries: Sequence[int]) -> int:
    """Remove entries and all that hangs on them, by id; how many there were."""
    numbers: list[tuple[int]] = []
    scopes: set[int] = set()
    for entry in entries:
        row = db.execute("SELECT ns, number, text NOT NULL, bytes FROM entry WHERE id=?", (entry,)).fetchone()
        scopes.add(row[0])
        numbers.append((row[1],))
        ledger.questions -= row[2]
        ledger.payload_bytes -= row[3]
    ledger.forgot = True
    ids = [(entry,) for entry in entries]
    ledger.vectors -= db.executemany("DELETE FROM vec WHERE id=?", numbers).rowcount
    of_aliases = "DELETE FROM vec WHERE id IN (SELECT id FROM alias WHERE entry=?)"
    ledger.vectors -= db.executemany(of_aliases, ids).rowcount
    ledger.questions -= db.executemany("DELETE FROM alias WHERE entry=?", ids).rowcount
    db.executemany("DELETE FROM tag WHERE entry=?", ids)
    db.executemany("DELETE FROM evidence WHERE entry=?", ids)
    db.executemany("DELETE FROM base WHERE entry=?", ids)
    db.executemany("DELETE FROM entry WHERE id=?", ids)
    db.executemany(
        "DELETE FROM scope WHERE ns=? AND NOT EXISTS (SELECT 1 FROM entry WHERE ns=?)", [(ns, ns) for ns in scopes]
    )
    ledger.entries -= len(ids)
    return len(ids)


def _make_scope(db: sqlite3.Connection, scope: Scope) -> int:
    made = db.execute(
        "INSERT INTO scope(content, digest, tenant, user, model, embedder) VALUES (?, ?, ?, ?, ?, ?)",
        (scope.content, scope.digest, scope.tenant, scope.user, scope.model, scope.embedder),
    ).lastrowid
    assert made is not None
    return made


_INSERT = (
    "INSERT INTO entry(id, ns, key, number, created, expires, stale_until, own, question_bytes, bytes, hits, value,"
    " priority, tags, text, reply, question_signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)"
)
_INSERT_VECTOR = "INSERT INTO vec VALUES (?, ?, ?)"


def _insert(db: sqlite3.Connection, ledger: Ledger, ns: int, new: NewEntry) -> int:
    """A new entry with the question that created it."""
    size = new.size
    text, v, asked, signature = (None, None, 0, None) if new.asked is None else new.asked[1:]
    ledger.last_entry += 1
    ledger.last_question += 1
    rank = eviction.priority(ledger.clock, 1, new.value, size)
    lives = (new.created, new.expires, new.stale_until)
    tags = codec.encode_tags(new.tags)
    row = (ledger.last_entry, ns, new.key, ledger.last_question, *lives, new.own, asked, size, new.value, rank)
    db.execute(_INSERT, (*row, tags, text, new.reply, signature))
    ledger.entries += 1
    ledger.payload_bytes += size
    ledger.questions += text is not None
    if v is not None:
        db.execute(_INSERT_VECTOR, (ledger.last_question, ns, v))
        ledger.vectors += 1
    return ledger.last_entry


def _update(db: sqlite3.Connection, entry: int, new: NewEntry) -> int:
    """A new reply and a new life for an entry; its use and its questions are not forgotten."""
    db.execute(
        "UPDATE entry SET created=?, expires=?, stale_until=?, own=?, value=?, tags=?, reply=? WHERE id=?",
        (new.created, new.expires, new.stale_until, new.own, new.value, codec.encode_tags(new.tags), new.reply, entry),
    )
    db.execute("DELETE FROM tag WHERE entry=?", (entry,))
    db.execute("DELETE FROM evidence WHERE entry=?", (entry,))
    db.execute("DELETE FROM base WHERE entry=?", (entry,))
    return entry


class _Held(NamedTuple):
    """Where a question stands: in the entry that it created (``own``), else among the aliases."""

    entry: int
    number: int
    v: bytes | None
    own: int


_HOLDERS = (
    "SELECT a.entry, a.id, v.v, 0 FROM alias a LEFT JOIN vec v ON v.id=a.id WHERE a.key=? UNION ALL"
    " SELECT e.id, e.number, v.v, 1 FROM entry e LEFT JOIN vec v ON v.id=e.number WHERE e.key=? AND e.text NOT NULL"
)


def _give(db: sqlite3.Connection, ledger: Ledger, place: _Place, question: NewQuestion) -> None:
    """Make the question one of this entry's, and of no other's.

    A row of ``vec`` never changes: a new vector means a new number, so that whoever reads on from the last number
    sees it.
    """
    for held in map(_Held._make, db.execute(_HOLDERS, (question.key, question.key)).fetchall()):
        if held.entry == place.entry and held.v == question.v:
            _reword(db, held, question)
            return
        _take(db, ledger, held)
        if held.entry != place.entry:
            _bereave(db, ledger, held.entry)
    ledger.last_question += 1
    ledger.questions += 1
    number = ledger.last_question
    if question.key == place.key:
        db.execute(
            "UPDATE entry SET number=?, text=?, question_bytes=?, question_signature=? WHERE id=?",
            (number, question.text, question.bytes, question.signature, place.entry),
        )
    else:
        db.execute(
            "INSERT INTO alias(id, entry, ns, key, bytes, text, signature) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, place.entry, place.ns, question.key, question.bytes, question.text, question.signature),
        )
    if question.v is not None:
        db.execute(_INSERT_VECTOR, (number, place.ns, question.v))
        ledger.vectors += 1


def _reword(db: sqlite3.Connection, held: _Held, question: NewQuestion) -> None:
    """The same question in other words, such as in capitals."""
    if held.own:
        new = (question.text, question.bytes, question.signature, held.entry)
        db.execute("UPDATE entry SET text=?, question_bytes=?, question_signature=? WHERE id=?", new)
    else:
        new = (question.text, question.bytes, question.signature, held.number)
        db.execute("UPDATE alias SET text=?, bytes=?, signature=? WHERE id=?", new)


def _take(db: sqlite3.Connection, ledger: Ledger, held: _Held) -> None:
    """Take a question and its vector from whoever has it."""
    ledger.forgot = True
    ledger.questions -= 1
    ledger.vectors -= db.execute("DELETE FROM vec WHERE id=?", (held.number,)).rowcount
    if held.own:
        db.execute("UPDATE entry SET text=NULL, question_bytes=0, question_signature=NULL WHERE id=?", (held.entry,))
    else:
        db.execute("DELETE FROM alias WHERE id=?", (held.number,))


_OWNED = (
    "SELECT id, key, 0 FROM alias WHERE entry=? UNION ALL"
    " SELECT number, key, 1 FROM entry WHERE id=? AND text NOT NULL ORDER BY 3, 1"
)
"""All questions of an entry: the oldest first, the creating one last."""


def _bereave(db: sqlite3.Connection, ledger: Ledger, entry: int) -> None:
    """An entry has lost a question to another one: count it anew, or forget it when it was its last."""
    if db.execute(_OWNED, (entry, entry)).fetchone() is None:
        forget(db, ledger, [entry])
    else:
        _weigh(db, ledger, entry)


def _drop_surplus(db: sqlite3.Connection, ledger: Ledger, entry: int, new: NewEntry) -> None:
    """Forget old questions beyond ``MAX_QUESTIONS``: the oldest first, the creating one last."""
    owned = db.execute(_OWNED, (entry, entry)).fetchall()
    surplus = len(owned) - MAX_QUESTIONS
    if surplus > 0:
        fresh = {question.key for question in (new.asked, *new.aliases) if question is not None}
        old = [_Held(entry, number, None, own) for number, key, own in owned if key not in fresh]
        for held in old[:surplus]:
            _take(db, ledger, held)


def _weigh(db: sqlite3.Connection, ledger: Ledger, entry: int) -> int:
    """Count bytes and priority anew, after any change to an entry; its size."""
    query = (
        "SELECT bytes, hits, value, own + question_bytes +"
        " (SELECT coalesce(sum(bytes), 0) FROM alias WHERE entry=?) FROM entry WHERE id=?"
    )
    before, hits, value, size = db.execute(query, (entry, entry)).fetchone()
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
