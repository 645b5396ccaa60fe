"""The fsck: everything that is wrong with a file, in sentences that hold no prompt and no answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np

from yamabiko.stores import codec
from yamabiko.stores.intake import NORM_TOLERANCE

_NONE_OF: tuple[tuple[str, str], ...] = (
    (
        "entries without a question",
        "entry e WHERE text IS NULL AND NOT EXISTS (SELECT 1 FROM alias WHERE entry=e.id)",
    ),
    ("entries of an unknown scope", "entry e WHERE NOT EXISTS (SELECT 1 FROM scope WHERE ns=e.ns)"),
    ("scopes without an entry", "scope s WHERE NOT EXISTS (SELECT 1 FROM entry WHERE ns=s.ns)"),
    ("aliases without an entry", "alias a WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id=a.entry AND ns=a.ns)"),
    ("aliases that created their entry", "alias a JOIN entry e ON e.id=a.entry AND e.key=a.key"),
    ("questions that two entries have", "alias a JOIN entry e ON e.key=a.key WHERE e.text NOT NULL"),
    (
        "questions with the number of another one",
        (
            "entry e WHERE EXISTS (SELECT 1 FROM entry WHERE ns=e.ns AND number=e.number AND id<>e.id)"
            " OR EXISTS (SELECT 1 FROM alias WHERE id=e.number)"
        ),
    ),
    (
        "vectors without a question",
        (
            "vec v WHERE NOT EXISTS (SELECT 1 FROM entry WHERE ns=v.ns AND number=v.id AND text NOT NULL)"
            " AND NOT EXISTS (SELECT 1 FROM alias WHERE id=v.id AND ns=v.ns)"
        ),
    ),
    ("tags without an entry", "tag t WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id=t.entry)"),
    ("sources without an entry", "evidence t WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id=t.entry)"),
    ("knowledge bases without an entry", "base t WHERE NOT EXISTS (SELECT 1 FROM entry WHERE id=t.entry)"),
    ("entries whose key has not 32 bytes", "entry WHERE typeof(key)<>'blob' OR length(key)<>32"),
    ("aliases whose key has not 32 bytes", "alias WHERE typeof(key)<>'blob' OR length(key)<>32"),
    ("scopes whose digest has not 32 bytes", "scope WHERE typeof(digest)<>'blob' OR length(digest)<>32"),
    ("scopes whose content has not 32 bytes", "scope WHERE typeof(content)<>'blob' OR length(content)<>32"),
    ("entries beyond the last id given out", "entry, total WHERE entry.id > total.last_entry"),
    ("questions beyond the last number given out", "entry, total WHERE entry.number > total.last_question"),
    ("aliases beyond the last number given out", "alias, total WHERE alias.id > total.last_question"),
    (
        "entries that count other bytes than their own and their questions'",
        (
            "entry e WHERE bytes <> own + question_bytes + (SELECT total(bytes) FROM alias WHERE entry=e.id)"
            " OR (text IS NULL) <> (question_bytes = 0)"
        ),
    ),
    ("deletions of vectors that are there", "tomb t WHERE EXISTS (SELECT 1 FROM vec WHERE id=t.id)"),
    ("claims beyond the last fence given out", "lease, total WHERE lease.fence > total.fence"),
    ("barriers beyond the last fence given out", "total WHERE barrier > fence OR selective > fence"),
    ("barriers that no put looks at", "purged, total WHERE purged.fence > total.selective"),
    ("quarantined questions whose digest has not 32 bytes", "quarantine WHERE length(digest)<>32"),
    ("deletions older than the point up to which they were pruned", "tomb, total WHERE tomb.seq <= total.pruned"),
)

_COUNTED: tuple[tuple[str, str], ...] = (
    ("entries", "(SELECT count(*) FROM entry)"),
    ("questions", "(SELECT count(text) FROM entry) + (SELECT count(*) FROM alias)"),
    ("vectors", "(SELECT count(*) FROM vec)"),
    ("payload_bytes", "(SELECT coalesce(sum(bytes), 0) FROM entry)"),
)


def faults(db: sqlite3.Connection, dim: int) -> list[str]:
    """See ``Store.check``. One state of the file; other connections go on reading and writing."""
    db.execute("BEGIN")
    try:
        damage = [row[0] for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        if damage:  # what follows would only repeat it, or fail
            return [f"SQLite says: {line}" for line in damage]
        return [*_counts(db), *_replies(db), *_vectors(db, dim)]
    finally:
        db.execute("COMMIT")


def _counts(db: sqlite3.Connection) -> Iterator[str]:
    for what, rows in _NONE_OF:
        number = db.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]  # noqa: S608 - the table above
        if number:
            yield f"there are {number} {what}"
    for column, truth in _COUNTED:
        said, found = db.execute(f"SELECT {column}, {truth} FROM total").fetchone()  # noqa: S608 - the table above
        if said != found:
            yield f"{column} says {said}, but there are {found}"


def _replies(db: sqlite3.Connection) -> Iterator[str]:
    for key, tags, data in db.execute("SELECT key, tags, reply FROM entry"):
        if codec.decode(data) is None or codec.decode_marks(data) is None or codec.decode_tags(tags) is None:
            yield f"the reply or the tags of entry {key.hex()} can't be read"


def _vectors(db: sqlite3.Connection, dim: int) -> Iterator[str]:
    query = (
        "SELECT coalesce(a.key, e.key), v.v FROM vec v LEFT JOIN alias a ON a.id=v.id"
        " LEFT JOIN entry e ON e.ns=v.ns AND e.number=v.id WHERE coalesce(a.key, e.key) NOT NULL"
    )
    for key, v in db.execute(query):
        if len(v) != 2 * dim:
            yield f"the vector of question {key.hex()} has {len(v)} bytes, not {2 * dim}"
            continue
        norm = float(np.linalg.norm(np.frombuffer(v, "<f2").astype(np.float64)))
        if not abs(norm - 1.0) <= 2 * NORM_TOLERANCE:  # NaN ends here too
            yield f"the vector of question {key.hex()} has L2 norm {norm:.4g}, not 1"
