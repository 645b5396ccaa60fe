"""What lies in the file, how it is opened, and what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from yamabiko.errors import ConfigurationError, StoreError, StoreMismatch, StoreUnavailable
from yamabiko.stores import eviction

VERSION = 4
"""Of the tables below. A file of a higher version is refused, one of a lower version is brought up to date."""

APPLICATION_ID = 0x59414D41
"""In the file's header ("YAMA"): tells our files from other people's."""

BUSY_SECONDS = 5.0
"""How long a process waits for another one that is writing."""

PAGE_BYTES = 8192
"""Twice SQLite's default. A row with an answer of 2 KB then fills its page, where of 4 KB it would leave half empty."""

CHECKPOINT_PAGES = 2000
"""Pages in the log before they are moved into the file: some 16 MB, four times SQLite's default, because most of what a
put writes are the same few pages again, which then move once instead of four times."""

Durability: TypeAlias = Literal["normal", "full"]
Access: TypeAlias = Literal["rwc", "rw", "ro", "immutable"]

SHARED_TABLES: Sequence[str] = (
    # Beside the counters, because each put must look at the barrier and each claim counts: no read and no page more.
    "ALTER TABLE total ADD COLUMN fence INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE total ADD COLUMN barrier INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE lease(
        name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL, until REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX lease_until ON lease(until)",
    "CREATE TABLE state(name TEXT PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL)",
    # One counter for the positions in all logs. It never gives one out again, or whoever reads on would miss an item.
    """CREATE TABLE log(
        position INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL,
        UNIQUE(name, id))""",
    "CREATE INDEX log_name ON log(name, position)",
    """CREATE TABLE quarantine(
        digest BLOB NOT NULL, entry TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY(digest, entry)) WITHOUT ROWID""",
    "CREATE INDEX quarantine_entry ON quarantine(entry)",
)
"""What processes tell each other through the file: see ``SharedState``."""

SIGNATURES: Sequence[str] = (
    # What binds a question to its entry; NULL where none does. No row is rewritten for it.
    "ALTER TABLE entry ADD COLUMN question_signature TEXT",
    "ALTER TABLE alias ADD COLUMN signature TEXT",
)

EVIDENCE: Sequence[str] = (
    # In which state of which document, and in which knowledge base; a digest is empty where none is known.
    """CREATE TABLE evidence(
        uri TEXT NOT NULL, digest TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (uri, digest, entry))
        WITHOUT ROWID""",
    "INSERT INTO evidence SELECT uri, '', entry FROM source",
    "DROP TABLE source",
    "CREATE INDEX evidence_entry ON evidence(entry)",
    "CREATE TABLE base(base TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (base, entry)) WITHOUT ROWID",
    "CREATE INDEX base_entry ON base(entry)",
    # Purges with a condition, each a barrier for what it means; and the last one's fence, beside the counters.
    "CREATE TABLE purged(fence INTEGER PRIMARY KEY, selector TEXT NOT NULL UNIQUE)",
    "ALTER TABLE total ADD COLUMN selective INTEGER NOT NULL DEFAULT 0",
)

TABLES: Sequence[str] = (
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # One row. Counters live here because counting a million rows takes longer than a look-up may. So do the last ids
    # given out: none is ever given out again, or whoever reads on from "the last id I saw" would take a new row for
    # an old one. (AUTOINCREMENT does the same at the price of one more page per commit.)
    """CREATE TABLE total(
        one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER NOT NULL, questions INTEGER NOT NULL,
        vectors INTEGER NOT NULL, payload_bytes INTEGER NOT NULL, evicted INTEGER NOT NULL, clock REAL NOT NULL,
        last_entry INTEGER NOT NULL, last_question INTEGER NOT NULL, pruned INTEGER NOT NULL)""",
    """CREATE TABLE scope(
        ns INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL, digest BLOB NOT NULL UNIQUE,
        tenant TEXT NOT NULL, user TEXT NOT NULL, model TEXT NOT NULL, embedder TEXT NOT NULL)""",
    # An answer and, in one row with it, the question that created it, whose key names the entry: most entries never
    # have another one. text is NULL while that question belongs to another entry. Numbers of questions, these and
    # aliases, come from one counter. The reply comes last, so that no other column lies behind its overflow pages.
    """CREATE TABLE entry(
        id INTEGER PRIMARY KEY, ns INTEGER NOT NULL, key BLOB NOT NULL UNIQUE, number INTEGER NOT NULL,
        created REAL NOT NULL, expires REAL NOT NULL, stale_until REAL NOT NULL, own INTEGER NOT NULL,
        question_bytes INTEGER NOT NULL, bytes INTEGER NOT NULL, hits INTEGER NOT NULL, value REAL NOT NULL,
        priority REAL NOT NULL, tags TEXT, text TEXT, reply BLOB NOT NULL)""",
    # The entries of a scope, in the order of their questions; and who is dead, without reading entries.
    "CREATE INDEX entry_place ON entry(ns, number, stale_until)",
    # Further questions; id is the number.
    """CREATE TABLE alias(
        id INTEGER PRIMARY KEY, entry INTEGER NOT NULL, ns INTEGER NOT NULL, key BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL, text TEXT NOT NULL)""",
    "CREATE INDEX alias_entry ON alias(entry)",
    "CREATE INDEX alias_ns ON alias(ns)",
    # Vectors apart from texts: a scan of one scope then reads nothing else. id is the question's number; a row never
    # changes.
    "CREATE TABLE vec(id INTEGER PRIMARY KEY, ns INTEGER NOT NULL, v BLOB NOT NULL)",
    "CREATE TABLE tag(tag TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (tag, entry)) WITHOUT ROWID",
    "CREATE INDEX tag_entry ON tag(entry)",
    "CREATE TABLE source(uri TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (uri, entry)) WITHOUT ROWID",
    "CREATE INDEX source_entry ON source(entry)",
    # What went, for indexes in memory, in this process and in others.
    "CREATE TABLE tomb(seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL, ns INTEGER NOT NULL)",
    "CREATE INDEX tomb_ns ON tomb(ns)",
    """CREATE TRIGGER vec_gone AFTER DELETE ON vec BEGIN
        INSERT INTO tomb(id, ns) VALUES (old.id, old.ns); END""",
    "INSERT INTO total VALUES (1, 0, 0, 0, 0, 0, 0.0, 0, 0, 0)",
    *SHARED_TABLES,
    *SIGNATURES,
    *EVIDENCE,
)

BUDGET_INDEXES: Sequence[str] = (
    "CREATE INDEX IF NOT EXISTS entry_priority ON entry(priority)",
    "CREATE INDEX IF NOT EXISTS entry_stale_until ON entry(stale_until)",
)
"""Made by the first store that opens the file with a byte budget; without one they would only cost."""

STEPS: Mapping[int, Sequence[str]] = MappingProxyType({1: SHARED_TABLES, 2: SIGNATURES, 3: EVIDENCE})
"""Statements that lead from a version to the next one. All that are needed run in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a file must have been made for, and how it is written."""

    path: Path
    embedder: str
    dim: int
    durability: Durability = "normal"


def check_path(path: Path) -> None:
    """Raises ``ConfigurationError`` for what can't become a file."""
    if path.name.startswith(":memory:") or str(path) in ("", "."):
        raise ConfigurationError("a SQLite store needs a file; for a cache in memory use memory://")
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory: name a file in it, such as {path / 'cache.db'}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the directory {path.parent} does not exist: make it first")


def connect(layout: Layout, access: Access) -> sqlite3.Connection:
    """A connection for the calling thread only, outside any transaction. Raises ``sqlite3.Error``."""
    how = "mode=ro&immutable=1" if access == "immutable" else f"mode={access}"
    connection = sqlite3.connect(
        f"{layout.path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions are written out: BEGIN, COMMIT
        cached_statements=64,
    )
    try:
        if access == "rwc":
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a file to be made; others keep theirs
        connection.execute("PRAGMA cache_size=-16000")
        connection.execute("PRAGMA temp_store=MEMORY")
        if access in ("rw", "rwc"):
            connection.execute(f"PRAGMA synchronous={'FULL' if layout.durability == 'full' else 'NORMAL'}")
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection.execute("PRAGMA journal_size_limit=67108864")
        connection.create_function("gdsf", 4, eviction.priority, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def reader(layout: Layout, access: Access) -> sqlite3.Connection:
    """A connection that can't write."""
    connection = connect(layout, access)
    try:
        connection.execute("PRAGMA query_only=1")
    except BaseException:
        connection.close()
        raise
    return connection


def open_file(layout: Layout, steps: Mapping[int, Sequence[str]] = STEPS, version: int = VERSION) -> Access:
    """Make the file or check that it fits; how further connections may open it.

    Raises ``StoreMismatch``, ``StoreUnavailable`` or ``StoreError``.
    """
    check_path(layout.path)
    try:
        access = _access(layout)
        connection = connect(layout, "rwc" if access == "rw" else access)
        try:
            _prepare(connection, layout, steps, version, writable=access == "rw")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, layout.path) from error
    return access


def recorded(path: Path) -> tuple[str, int] | None:
    """Embedder and dimension that a file was made for; None where there is none, or nothing in it.

    Raises ``ConfigurationError``, ``StoreMismatch``, ``StoreUnavailable`` or ``StoreError``.
    """
    check_path(path)
    if not path.exists():
        return None
    layout = Layout(path=path, embedder="", dim=0)
    try:
        connection = reader(layout, _access(layout))
        try:
            if _version(connection, layout, VERSION) is None:
                return None
            meta = _meta(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    if not meta["dim"].isdecimal():
        raise StoreError(f"{path} is damaged (its own description can't be read): {_REMEDY}")
    return meta["embedder"], int(meta["dim"])


def _access(layout: Layout) -> Access:
    """Read and write where the system lets us; else read; else read what certainly nobody can be writing."""
    path = layout.path
    if not path.exists() or os.access(path, os.W_OK):
        if os.access(path.parent, os.W_OK):
            return "rw"
        if not path.exists():
            raise StoreUnavailable(f"the directory {path.parent} can't be written: change its mode, or name another")
    try:
        connection = connect(layout, "ro")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        log = path.with_name(path.name + "-wal")
        no_room_beside = _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not no_room_beside or not os.access(path, os.R_OK) or (log.exists() and log.stat().st_size):
            raise
        return "immutable"  # WAL needs a file beside the database, which can't be made in this directory
    return "ro"


def _prepare(
    connection: sqlite3.Connection,
    layout: Layout,
    steps: Mapping[int, Sequence[str]],
    version: int,
    *,
    writable: bool,
) -> None:
    """Look first, write only where needed: a file that isn't ours must stay as it is."""
    found = _version(connection, layout, version)
    if found is not None:
        _check_meta(connection, layout)
    if not writable:
        if found != version:
            raise StoreUnavailable(f"{layout.path} must be {_changed(found)} first, and it can't be written")
        return
    _write_ahead(connection, layout.path)
    if found == version:
        return
    connection.execute("BEGIN IMMEDIATE")
    found = _version(connection, layout, version)  # again: another process may have been faster
    if found is None:
        _create(connection, layout, version)
    else:
        for step in range(found, version):
            for statement in steps[step]:
                connection.execute(statement)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(version),))
    _check_meta(connection, layout)
    connection.execute("COMMIT")


def _changed(found: int | None) -> str:
    return "made" if found is None else "brought up to date"


def _version(connection: sqlite3.Connection, layout: Layout, newest: int) -> int | None:
    """The file's schema version; None when there is nothing in it. Raises ``StoreMismatch``."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return None
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreMismatch(f"{layout.path} is a SQLite file of another application: name another file")
    found = int(_meta(connection, layout.path)["schema"])
    if found > newest:
        raise StoreMismatch(
            f"{layout.path} has schema version {found}, this release knows versions up to {newest}: "
            "upgrade yamabiko, or use another file"
        )
    return found


def _meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if not meta.keys() >= {"schema", "embedder", "dim"} or not meta["schema"].isdecimal():
        raise StoreError(f"{path} is damaged (its own description is missing): {_REMEDY}")
    return meta


def _check_meta(connection: sqlite3.Connection, layout: Layout) -> None:
    """Raises ``StoreMismatch`` when the vectors in the file are not comparable with those to come."""
    meta = _meta(connection, layout.path)
    if (meta["embedder"], meta["dim"]) != (layout.embedder, str(layout.dim)):
        raise StoreMismatch(
            f"{layout.path} holds vectors of embedder {meta['embedder']!r} with dim {meta['dim']}, not of "
            f"{layout.embedder!r} with dim {layout.dim}: use that embedder, or another file, or export the entries "
            "and import them into a new file, which embeds them anew"
        )


def _create(connection: sqlite3.Connection, layout: Layout, version: int) -> None:
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    for statement in TABLES:
        connection.execute(statement)
    meta = {
        "schema": str(version),
        "embedder": layout.embedder,
        "dim": str(layout.dim),
        "uuid": os.urandom(16).hex(),
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def _write_ahead(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself when two processes do this at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigurationError(f"the file system of {path} can't share memory: put the file on a local disk")
        return


_UNAVAILABLE: Mapping[int, str] = {
    sqlite3.SQLITE_PERM: "may not be read",
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another process",
    sqlite3.SQLITE_NOMEM: "can't be read: no memory left",
    sqlite3.SQLITE_READONLY: "can't be written: the file or its directory is read-only",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_IOERR: "can't be read or written: input/output error",
    sqlite3.SQLITE_FULL: "can't grow: the disk or the quota is full",
    sqlite3.SQLITE_CANTOPEN: "can't be opened",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process",
    sqlite3.SQLITE_AUTH: "may not be read",
}
_REMEDY = "run check(), restore a copy, or move it away to start with an empty cache"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """What the caller can do about it. SQLite's own words are left out where they might hold a value."""
    code = _code(error)
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} {_UNAVAILABLE[code]} ({_name(error)})")
    if code in _DAMAGED:
        return StoreError(f"{path} is damaged or no SQLite file ({_name(error)}): {_REMEDY}")
    return StoreError(f"{path}: SQLite refused ({_name(error)})")


def _code(error: sqlite3.Error) -> int:
    """The primary result code, without SQLite's details in the upper bits; 0 when the error is Python's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _name(error: sqlite3.Error) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
