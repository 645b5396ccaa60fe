"""What a read does. Every function runs in a reader thread, outside any transaction that outlives the call."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yamabiko.stores import codec
from yamabiko.types import Candidate, Entry, Key, Question, Scope, StoreStats

_ENTRY = "e.key, e.created, e.expires, e.stale_until, e.tags, e.reply"
# A question stands in the entry that it created or, else, among the aliases: where LIMIT ends the first half, SQLite
# does not look at the second. CROSS JOIN keeps the order written here.
_BY_KEY = (
    f"SELECT s.digest, s.embedder, e.text, e.question_signature, {_ENTRY} FROM entry e CROSS JOIN scope s ON s.ns=e.ns"  # noqa: S608
    " WHERE e.key=? AND e.text NOT NULL AND s.content=? UNION ALL"
    f" SELECT s.digest, s.embedder, a.text, a.signature, {_ENTRY} FROM alias a CROSS JOIN entry e ON e.id=a.entry"
    " CROSS JOIN scope s ON s.ns=e.ns WHERE a.key=? AND s.content=? LIMIT 1"
)
_BY_NUMBER = (
    f"SELECT e.id, e.key, e.text, e.question_signature, {_ENTRY} FROM entry e"  # noqa: S608
    " WHERE e.ns=? AND e.number=? AND e.stale_until>? AND e.text NOT NULL UNION ALL"
    f" SELECT e.id, a.key, a.text, a.signature, {_ENTRY} FROM alias a CROSS JOIN entry e ON e.id=a.entry"
    " WHERE a.ns=? AND a.id=? AND e.stale_until>? LIMIT 1"
)
_BY_ID = (
    f"SELECT s.content, s.digest, s.tenant, s.user, s.model, s.embedder, {_ENTRY}"  # noqa: S608
    " FROM entry e JOIN scope s ON s.ns=e.ns WHERE e.id=?"
)
_QUESTIONS = (
    "SELECT e.key, e.text, e.question_signature, v.v, 0, 0 FROM entry e LEFT JOIN vec v ON v.id=e.number"
    " WHERE e.id=? AND e.text NOT NULL"
    " UNION ALL SELECT a.key, a.text, a.signature, v.v, 1, a.id FROM alias a LEFT JOIN vec v ON v.id=a.id"
    " WHERE a.entry=? ORDER BY 5, 6"
)


def _entry(scope: Scope, questions: tuple[Question, ...], row: Sequence[Any]) -> Entry | None:
    """From the columns of ``_ENTRY``; None where the reply can't be read: such a row is never a hit."""
    key, created, expires, stale_until, text, data = row
    reply, marks, tags = codec.decode(data), codec.decode_marks(data), codec.decode_tags(text)
    if reply is None or marks is None or tags is None:
        return None
    return Entry(
        id=key.hex(),
        scope=scope,
        questions=questions,
        reply=reply,
        created=created,
        expires=expires,
        stale_until=stale_until,
        tags=tags,
        author=marks.author,
        confirmed=marks.confirmed,
        signature=marks.signature,
    )


def get(db: sqlite3.Connection, key: Key) -> Entry | None:
    """See ``Store.get``. One statement; the scope's content is compared too, though the key covers it."""
    row = db.execute(_BY_KEY, (key.digest, key.scope.content, key.digest, key.scope.content)).fetchone()
    if row is None:
        return None
    scope = key.scope
    if row[0] != scope.digest:  # stored by another embedder's question
        scope = replace(scope, digest=row[0], embedder=row[1])
    return _entry(scope, (Question(digest=key.digest, text=row[2], signature=row[3] or ""),), row[4:])


def asked(db: sqlite3.Connection, number: int, ns: int, now: float) -> tuple[Any, ...] | None:
    """The row of a question that a vector index has found, and of its entry; None when it is gone or dead."""
    row: tuple[Any, ...] | None = db.execute(_BY_NUMBER, (ns, number, now, ns, number, now)).fetchone()
    return row


def candidate(row: tuple[Any, ...], scope: Scope, similarity: float) -> Candidate | None:
    """From a row of ``asked``; None where the reply can't be read."""
    entry = _entry(scope, (Question(digest=row[1], text=row[2], signature=row[3] or ""),), row[4:])
    return None if entry is None else Candidate(entry=entry, similarity=similarity)


def page(db: sqlite3.Connection, ids: Sequence[int]) -> list[Entry]:
    """Whole entries by id, in this order; those that went meanwhile or can't be read are left out."""
    db.execute("BEGIN")  # one state of the file for an entry and its questions
    try:
        whole = (_whole(db, entry) for entry in ids)
        return [entry for entry in whole if entry is not None]
    finally:
        db.execute("COMMIT")


def _whole(db: sqlite3.Connection, entry: int) -> Entry | None:
    row = db.execute(_BY_ID, (entry,)).fetchone()
    if row is None:
        return None
    content, digest, tenant, user, model, embedder = row[:6]
    scope = Scope(content=content, digest=digest, tenant=tenant, user=user, model=model, embedder=embedder)
    questions = tuple(_question(*row[:4]) for row in db.execute(_QUESTIONS, (entry, entry)))
    return _entry(scope, questions, row[6:])


def _question(key: bytes, text: str, signature: str | None, v: bytes | None) -> Question:
    """With its vector as float32, read-only."""
    if v is None:
        return Question(digest=key, text=text, signature=signature or "")
    vector = np.frombuffer(v, "<f2").astype(np.float32)
    vector.flags.writeable = False
    return Question(digest=key, text=text, vector=vector, signature=signature or "")


def stats(db: sqlite3.Connection, path: Path) -> StoreStats:
    """See ``Store.stats``."""
    query = "SELECT entries, questions, vectors, (SELECT count(*) FROM scope), payload_bytes, evicted FROM total"
    entries, questions, vectors, scopes, payload_bytes, evicted = db.execute(query).fetchone()
    files = (path, path.with_name(path.name + "-wal"))
    return StoreStats(
        entries=entries,
        questions=questions,
        vectors=vectors,
        scopes=scopes,
        payload_bytes=payload_bytes,
        file_bytes=sum(file.stat().st_size for file in files if file.exists()),
        evicted=evicted,
    )
