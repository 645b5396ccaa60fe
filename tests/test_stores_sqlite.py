"""The SQLite store: every store's promises, and what only a file can do or suffer."""

import asyncio
import contextlib
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from yamabiko.errors import ConfigurationError, StoreError, StoreMismatch, StoreUnavailable
from yamabiko.stores import codec
from yamabiko.stores.sqlite import SqliteStore, schema
from yamabiko.testing import (
    BudgetContract,
    DurableContract,
    make_entry,
    make_key,
    make_question,
    make_scope,
    tilted,
    unit_vector,
)
from yamabiko.types import Reply, Selector, Usage

DIM = 8
NORTH = unit_vector(1, DIM)


class TestContract(BudgetContract, DurableContract):
    async def open(self, tmp_path, *, name="cache", embedder="fake", dim=None, max_bytes=None):
        path = tmp_path / f"{name}.db"
        return await SqliteStore.open(path, embedder=embedder, dim=dim or self.dim, max_bytes=max_bytes)


class TestContractWithFullDurability(DurableContract):
    async def open(self, tmp_path, *, name="cache", embedder="fake", dim=None, **_):
        path = tmp_path / f"{name}.db"
        return await SqliteStore.open(path, embedder=embedder, dim=dim or self.dim, durability="full")


@contextlib.asynccontextmanager
async def opened(path, **options):
    store = await SqliteStore.open(path, **({"embedder": "fake", "dim": DIM} | options))
    try:
        yield store
    finally:
        await store.close()


def answer(i, **options):
    options.setdefault("vector", unit_vector(i + 100, DIM))
    return make_entry(f"question {i}", f"answer {i}", **options)


async def made(path, count=3, **options):
    """A file with so many entries, closed again."""
    async with opened(path, **options) as store:
        for i in range(count):
            await store.put(answer(i), now=0.0)


async def near(store, vector, *, scope=None, limit=10, min_similarity=0.99, now=0.0):
    scope = scope or make_scope()
    found = await store.search(scope, vector, limit=limit, min_similarity=min_similarity, now=now)
    return [candidate.question.text for candidate in found]


def edit(path, *statements):
    """Change the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement, *values in statements:
            connection.execute(statement, values)
        connection.commit()


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_store_is_cheap_to_make_and_opens_at_the_first_call(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        store = SqliteStore(path, embedder="fake", dim=DIM)
        assert not path.exists()
        gets = [store.get(make_key("a")) for _ in range(20)]
        assert await asyncio.gather(*gets) == [None] * 20
        assert path.exists()
        await store.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":memory:", "memory://"),
        ("", "memory://"),
        ("no/such/place/cache.db", "does not exist"),
        ("folder", "directory"),
    ],
)
def test_a_path_that_can_not_be_a_file_is_a_configuration_error(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name) if name not in ("", ":memory:") else name
    with pytest.raises(ConfigurationError, match=message):
        asyncio.run(SqliteStore.open(path, embedder="fake", dim=DIM))


@pytest.mark.parametrize(
    "options", [{"durability": "maybe"}, {"max_bytes": 0}, {"index_bytes": -1}, {"accelerator": "gpu"}]
)
def test_options_out_of_range_are_configuration_errors(tmp_path, options):
    with pytest.raises(ConfigurationError):
        SqliteStore(tmp_path / "cache.db", embedder="fake", dim=DIM, **options)


def test_a_name_with_special_characters_is_only_a_name(tmp_path):
    path = tmp_path / "a?mode=memory#b %20 山彦.db"
    asyncio.run(made(path))
    assert path.exists()

    async def run():
        async with opened(path) as store:
            return await store.get(make_key("question 1"))

    assert asyncio.run(run()).reply.text == "answer 1"


@pytest.mark.parametrize("options", [{"embedder": "other"}, {"dim": DIM + 1}])
def test_another_embedder_is_told_what_to_do(tmp_path, options):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    with pytest.raises(StoreMismatch, match="another file, or export the entries"):
        asyncio.run(made(path, **options))


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, ("UPDATE meta SET value='99' WHERE name='schema'",))
    before = path.read_bytes()
    with pytest.raises(StoreMismatch, match="upgrade yamabiko"):
        asyncio.run(made(path))
    assert path.read_bytes() == before


def test_a_file_of_another_application_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.db"
    edit(path, ("CREATE TABLE notes(text)",), ("INSERT INTO notes VALUES ('mine')",))
    before = path.read_bytes()
    with pytest.raises(StoreMismatch, match="another application"):
        asyncio.run(made(path))
    assert path.read_bytes() == before


WITHOUT_EVIDENCE = (
    ("CREATE TABLE source(uri TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (uri, entry)) WITHOUT ROWID",),
    ("CREATE INDEX source_entry ON source(entry)",),
    ("INSERT INTO source SELECT DISTINCT uri, entry FROM evidence",),
    *((f"DROP TABLE {table}",) for table in ("evidence", "base", "purged")),
    ("ALTER TABLE total DROP COLUMN selective",),
    ("UPDATE meta SET value='3' WHERE name='schema'",),
)
OLDER = (
    *WITHOUT_EVIDENCE,
    ("ALTER TABLE entry DROP COLUMN question_signature",),
    ("ALTER TABLE alias DROP COLUMN signature",),
    *((f"DROP TABLE {table}",) for table in ("lease", "state", "log", "quarantine")),
    *((f"ALTER TABLE total DROP COLUMN {column}",) for column in ("fence", "barrier")),
    ("DROP INDEX alias_ns",),
    ("ALTER TABLE total DROP COLUMN pruned",),
    ("UPDATE meta SET value='0' WHERE name='schema'",),
)
TO_VERSION_1 = (
    "CREATE INDEX alias_ns ON alias(ns)",
    "ALTER TABLE total ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0",
)


FROM_OLDER = {0: TO_VERSION_1, **schema.STEPS}


def layout(path):
    return schema.Layout(path=path, embedder="fake", dim=DIM)


def test_an_older_file_is_brought_up_to_date_with_all_that_is_in_it(tmp_path):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, *OLDER)
    assert schema.open_file(layout(path), steps=FROM_OLDER) == "rw"

    async def run():
        async with opened(path) as store:
            assert await store.check() == []
            assert (await store.get(make_key("question 2"))).reply.text == "answer 2"
            await store.put(answer(7), now=0.0)
            assert await near(store, unit_vector(107, DIM)) == ["question 7"]

    asyncio.run(run())


def test_a_file_from_before_digests_knows_what_its_answers_were_made_from(tmp_path):
    path = tmp_path / "cache.db"
    plain = Reply(text="old", sources=("s3://規約.pdf", "s3://b"))

    async def make():
        async with opened(path) as store:
            await store.put(make_entry("old", plain), now=0.0)
            await store.put(make_entry("other"), now=0.0)

    asyncio.run(make())
    edit(path, *WITHOUT_EVIDENCE)

    async def run():
        async with opened(path) as store:
            assert await store.check() == []
            assert (await store.get(make_key("old"))).reply == plain
            made_from_it = Selector(source="s3://規約.pdf", except_digest="d2")
            assert [entry.reply.text async for entry in store.entries(made_from_it)] == ["old"]
            assert await store.purge(made_from_it) == 1
            assert await store.get(make_key("other")) is not None

    asyncio.run(run())


def test_a_migration_that_fails_leaves_the_older_file_as_it_was(tmp_path):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, *OLDER)
    with pytest.raises(StoreError):
        schema.open_file(layout(path), steps={**FROM_OLDER, 1: (*schema.SHARED_TABLES, "CREATE NONSENSE")})
    assert schema.open_file(layout(path), steps=FROM_OLDER) == "rw"


def test_many_open_the_same_new_file_at_once(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        stores = [SqliteStore(path, embedder="fake", dim=DIM) for _ in range(8)]
        await asyncio.gather(*(store.put(answer(i), now=0.0) for i, store in enumerate(stores)))
        for store in stores:
            assert (await store.stats()).entries == 8
            await store.close()

    asyncio.run(run())


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 20_000])
def test_garbage_instead_of_a_file_is_an_error_that_says_what_to_do(tmp_path, size):
    path = tmp_path / "cache.db"
    path.write_bytes(np.random.default_rng(0).bytes(size))
    with pytest.raises(StoreError, match="move it away"):
        asyncio.run(made(path))


def test_a_damaged_header_is_an_error(tmp_path):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    with path.open("r+b") as file:
        file.write(b"not the header of a database")
    with pytest.raises(StoreError, match="move it away"):
        asyncio.run(made(path))


def test_a_truncated_file_never_answers_wrongly(tmp_path):
    whole, path = tmp_path / "whole.db", tmp_path / "cache.db"
    asyncio.run(made(whole, count=100))

    async def look(store):
        """Right answers, misses and errors are fine; check() or one of the calls must have noticed."""
        noticed = 0
        for i in range(100):
            try:
                entry = await store.get(make_key(f"question {i}"))
                noticed += entry is None
                assert entry is None or entry.reply.text == f"answer {i}"
            except StoreError:
                noticed += 1
        try:
            return noticed + len(await store.check())
        except StoreError:
            return noticed + 1

    async def run():
        try:
            async with opened(path) as store:
                return await look(store)
        except StoreError:
            return 1

    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        shutil.copy(whole, path)
        os.truncate(path, int(path.stat().st_size * share))
        assert asyncio.run(run()) > 0


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"\x01\xff\xff", b"\x02" + codec.encode(Reply(text="x"))[1:]])
def test_a_reply_that_can_not_be_read_is_absent_and_reported(tmp_path, garbage):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, ("UPDATE entry SET reply=? WHERE key=?", garbage, make_key("question 1").digest))

    async def run():
        async with opened(path) as store:
            assert await store.get(make_key("question 1")) is None
            assert await near(store, unit_vector(101, DIM)) == []
            assert await near(store, unit_vector(102, DIM)) == ["question 2"]
            assert len([entry async for entry in store.entries(Selector())]) == 2
            (fault,) = await store.check()
            assert make_key("question 1").hex in fault
            assert "answer" not in fault
            await store.put(answer(1), now=0.0)  # the next answer repairs it
            assert (await store.get(make_key("question 1"))).reply.text == "answer 1"
            assert await store.check() == []

    asyncio.run(run())


_ALIAS = "INSERT INTO alias(id, entry, ns, key, bytes, text) VALUES (77, {entry}, 1, {key}, 1, 'x')"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE entry SET text=NULL WHERE id=1", "entries without a question"),
        ("DELETE FROM entry WHERE id=1", "vectors without a question"),
        (_ALIAS.format(entry=77, key="zeroblob(32)"), "aliases without an entry"),
        (_ALIAS.format(entry=1, key="(SELECT key FROM entry WHERE id=1)"), "aliases that created their entry"),
        (_ALIAS.format(entry=1, key="(SELECT key FROM entry WHERE id=2)"), "questions that two entries have"),
        (_ALIAS.format(entry=1, key="x'00'"), "aliases whose key has not 32 bytes"),
        (_ALIAS.format(entry=1, key="zeroblob(32)"), "aliases beyond the last number"),
        (_ALIAS.format(entry=1, key="zeroblob(32)"), "questions says 3, but there are 4"),
        ("UPDATE entry SET number=1 WHERE id=2", "questions with the number of another one"),
        ("UPDATE entry SET question_bytes=0 WHERE id=2", "other bytes than their own"),
        ("DELETE FROM scope", "entries of an unknown scope"),
        ("DELETE FROM vec WHERE id=1", "vectors says 3"),
        ("INSERT INTO vec VALUES (77, 1, x'00')", "vectors without a question"),
        ("UPDATE vec SET v=x'0000' WHERE id=2", "has 2 bytes, not 16"),
        ("UPDATE vec SET v=zeroblob(16) WHERE id=2", "L2 norm 0"),
        ("UPDATE entry SET key=x'00' WHERE id=2", "key has not 32 bytes"),
        ("UPDATE scope SET content=x'00'", "content has not 32 bytes"),
        ("UPDATE entry SET bytes=bytes+1 WHERE id=2", "payload_bytes says"),
        ("UPDATE total SET payload_bytes=0", "payload_bytes says 0"),
        ("INSERT INTO tag VALUES ('t', 77)", "tags without an entry"),
        ("INSERT INTO evidence VALUES ('s3://a', 'd', 77)", "sources without an entry"),
        ("INSERT INTO tomb(id, ns) VALUES (1, 1)", "deletions of vectors that are there"),
        ("UPDATE total SET last_question=1", "beyond the last number"),
        ("UPDATE total SET last_entry=1", "beyond the last id"),
    ],
)
def test_check_names_what_is_wrong(tmp_path, damage, fault):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, (damage,))

    async def run():
        async with opened(path) as store:
            return await store.check()

    assert fault in " | ".join(asyncio.run(run()))


def test_a_vector_of_a_wrong_length_is_no_candidate_and_harms_no_other(tmp_path):
    path = tmp_path / "cache.db"
    asyncio.run(made(path))
    edit(path, ("UPDATE vec SET v=x'0000' WHERE id=2",))

    async def run():
        async with opened(path) as store:
            return await near(store, unit_vector(100, DIM), min_similarity=-1.0)

    assert sorted(asyncio.run(run())) == ["question 0", "question 2"]


# --- what a disk refuses -----------------------------------------------------------------------------------------------

PREAMBLE = """
import asyncio, os, resource, sys, tempfile
from yamabiko.errors import StoreUnavailable
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key, make_scope, unit_vector
path = sys.argv[1]
def answer(i, text=None):
    return make_entry(f"question {i}", text or f"answer {i}", vector=unit_vector(i + 100, 8))
"""


def in_process(script, *arguments):
    """Run a script in a process of its own; what it printed."""
    command = [sys.executable, "-c", PREAMBLE + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


FULL_DISK = """
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=8)
    await store.put(answer(0), now=0.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path + "-wal") + 300_000, resource.RLIM_INFINITY))
    stored = 0
    for i in range(1, 500):
        try:
            await store.put(answer(i, "x" * 20_000), now=0.0)
            stored = i
        except StoreUnavailable as error:
            assert path in str(error)
            break
    assert 0 < stored < 499
    assert await store.get(make_key(f"question {stored + 1}")) is None
    for i in range(stored + 1):
        assert await store.get(make_key(f"question {i}")) is not None
    assert await store.check() == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.put(answer(1000), now=0.0)
    print(stored)
    await store.close()
asyncio.run(main())
"""


def test_a_full_disk_refuses_writes_keeps_what_it_has_and_recovers(tmp_path):
    path = tmp_path / "cache.db"
    (stored,) = in_process(FULL_DISK, path)

    async def run():
        async with opened(path) as store:
            assert await store.check() == []
            assert (await store.stats()).entries == int(stored) + 2
            assert (await store.get(make_key("question 1000"))).reply.text == "answer 1000"

    asyncio.run(run())


AS_NOBODY = """
async def warm_up():  # other users may not be let in where Python's modules are
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(folder + "/cache.db", embedder="fake", dim=8)
        await store.put(answer(1), now=0.0)
        await store.close()
if os.getuid() == 0:
    asyncio.run(warm_up())
    os.setgroups([]); os.setgid(65534); os.setuid(65534)  # root may write anywhere
"""

READ_ONLY = (
    AS_NOBODY
    + """
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=8)
    assert (await store.get(make_key("question 1"))).reply.text == "answer 1"
    found = await store.search(make_scope(), unit_vector(102, 8), limit=1, min_similarity=0.9, now=0.0)
    assert [c.question.text for c in found] == ["question 2"]
    assert await store.check() == []
    for change in (store.put(answer(9), now=0.0), store.delete(answer(1).id)):
        try:
            await change
        except StoreUnavailable as error:
            print("refused" if "read-only" in str(error) else error)
    assert (await store.stats()).entries == 3
    await store.close()
asyncio.run(main())
"""
)


@pytest.fixture
def public_folder():
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o555, 0o444), (0o555, 0o644), (0o755, 0o444)])
def test_a_file_that_can_not_be_written_can_be_read(public_folder, folder_mode, file_mode):
    path = public_folder / "cache.db"
    asyncio.run(made(path))
    path.chmod(file_mode)
    public_folder.chmod(folder_mode)
    assert in_process(READ_ONLY, path) == ["refused", "refused"]


def test_a_file_that_another_process_writes_can_be_read_by_who_may_not_write(public_folder):
    path = public_folder / "cache.db"

    async def run():
        async with opened(path) as store:
            for i in range(3):
                await store.put(answer(i), now=0.0)
            public_folder.chmod(0o555)
            return await asyncio.to_thread(in_process, READ_ONLY, path)

    assert asyncio.run(run()) == ["refused", "refused"]


NO_PLACE = (
    AS_NOBODY
    + """
try:
    asyncio.run(SqliteStore.open(path, embedder="fake", dim=8))
except StoreUnavailable as error:
    print("can't be written" in str(error))
"""
)


def test_who_can_not_make_a_file_is_told_so(public_folder):
    public_folder.chmod(0o555)
    assert in_process(NO_PLACE, public_folder / "cache.db") == ["True"]


def test_a_file_that_was_replaced_takes_no_more_writes(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        async with opened(path) as store:
            await store.put(answer(1), now=0.0)
            path.unlink()
            with pytest.raises(StoreUnavailable, match="open it again"):
                await store.put(answer(2), now=0.0)
            await made(path)
            with pytest.raises(StoreUnavailable, match="open it again"):
                await store.put(answer(2), now=0.0)
        async with opened(path) as store:
            await store.put(answer(2), now=0.0)

    asyncio.run(run())


def test_a_writer_waits_while_another_process_writes(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        async with opened(path) as store:
            await store.put(answer(1), now=0.0)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.ensure_future(store.put(answer(2), now=0.0))
            assert (await store.get(make_key("question 1"))).reply.text == "answer 1"  # readers don't wait
            assert not writing.done()
            other.execute("ROLLBACK")
            other.close()
            await writing
            assert await store.get(make_key("question 2")) is not None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailable),
        (sqlite3.SQLITE_FULL, StoreUnavailable),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StoreUnavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreUnavailable),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailable),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreError),
        (sqlite3.SQLITE_NOTADB, StoreError),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, StoreError),
    ],
)
def test_what_sqlite_says_becomes_what_the_caller_can_do(code, kind):
    error = sqlite3.OperationalError("a message that might hold a value")
    error.sqlite_errorcode = code
    translated = schema.translate(error, Path("cache.db"))
    assert type(translated) is kind
    assert "value" not in str(translated)


# --- several at once -----------------------------------------------------------------------------------------------


OTHER_PROCESS = """
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=8)
    for line in sys.stdin:
        what, number = line.split()
        if what == "put":
            await store.put(answer(int(number)), now=0.0)
        else:
            await store.delete(answer(int(number)).id)
        print("done", flush=True)
    await store.close()
asyncio.run(main())
"""


def test_two_processes_see_each_others_writes_at_once(tmp_path):
    path = tmp_path / "cache.db"
    command = [sys.executable, "-c", PREAMBLE + OTHER_PROCESS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

        def ask(what, number):
            other.stdin.write(f"{what} {number}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"

        async def run():
            async with opened(path) as store:
                for i in range(20):
                    ask("put", i)
                    assert (await store.get(make_key(f"question {i}"))).reply.text == f"answer {i}"
                    assert await near(store, unit_vector(100 + i, DIM)) == [f"question {i}"]
                    ask("delete", i)
                    assert await near(store, unit_vector(100 + i, DIM)) == []
                    assert await store.get(make_key(f"question {i}")) is None

        asyncio.run(run())
        other.stdin.close()
        assert other.wait(timeout=30) == 0


def test_others_write_while_very_many_are_purged(tmp_path):
    path, count = tmp_path / "cache.db", 2500

    async def run():
        async with opened(path) as store, opened(path) as other:
            await asyncio.gather(*(store.put(answer(i), now=0.0) for i in range(count)))
            purged, *_ = await asyncio.gather(
                store.purge(Selector()), *(other.put(answer(-i), now=0.0) for i in (1, 2))
            )
            left = await other.stats()
            assert purged + left.entries == count + 2
            assert left.entries == len([entry async for entry in store.entries(Selector())])
            assert await store.check() == []
            assert await store.purge(Selector()) == left.entries

    asyncio.run(run())


def test_a_bad_entry_fails_alone(tmp_path):
    async def run():
        async with opened(tmp_path / "cache.db") as store:
            entries = [answer(i) for i in range(64)]
            entries[20] = replace(entries[20], created=math.nan)
            outcomes = await asyncio.gather(*(store.put(e, now=0.0) for e in entries), return_exceptions=True)
            assert [i for i, outcome in enumerate(outcomes) if outcome is not None] == [20]
            assert isinstance(outcomes[20], StoreError)
            assert (await store.stats()).entries == 63
            assert await store.check() == []

    asyncio.run(run())


def test_cancelled_writes_are_whole_or_absent_and_hold_no_lock(tmp_path):
    async def run():
        async with opened(tmp_path / "cache.db") as store:
            tasks = [asyncio.ensure_future(store.put(answer(i), now=0.0)) for i in range(200)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for i, outcome in enumerate(outcomes):
                entry = await store.get(make_key(f"question {i}"))
                assert entry is not None or outcome is not None
                found = await near(store, unit_vector(100 + i, DIM), min_similarity=0.999, limit=1)
                assert (entry is not None) == (found == [f"question {i}"])
            assert await store.check() == []

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_the_file_for_itself(tmp_path):
    path = tmp_path / "cache.db"

    async def child(store):
        assert await near(store, unit_vector(101, DIM)) == ["question 1"]
        await store.put(answer(50), now=0.0)
        await store.close()

    async def begin():
        store = await SqliteStore.open(path, embedder="fake", dim=DIM)
        await store.put(answer(1), now=0.0)
        assert await near(store, unit_vector(101, DIM)) == ["question 1"]
        return store

    async def go_on(store):
        assert await near(store, unit_vector(150, DIM)) == ["question 50"]
        await store.put(answer(2), now=0.0)
        assert await store.check() == []
        await store.close()

    store = asyncio.run(begin())
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(Exception):
            asyncio.run(child(store))
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    asyncio.run(go_on(store))


def test_close_ends_every_thread(tmp_path):
    async def run():
        async with opened(tmp_path / "cache.db") as store:
            await store.put(answer(1), now=0.0)
            await near(store, NORTH)
            await store.stats()

    asyncio.run(run())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("yamabiko")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.db"]


# --- search ----------------------------------------------------------------------------------------------------------


def test_a_large_scope_is_read_once_for_all_who_wait_and_gives_exact_cosines(tmp_path):
    path, scope, count, dim = tmp_path / "cache.db", make_scope(), 6000, 64
    vectors = [unit_vector(i, dim) for i in range(count)]
    kept = np.array(vectors).astype(np.float16).astype(np.float32)

    async def run():
        async with opened(path, dim=dim) as store:
            await asyncio.gather(
                *(store.put(make_entry(f"q{i}", "a", vector=vectors[i]), now=0.0) for i in range(count))
            )
        async with opened(path, dim=dim) as store:
            queries = [tilted(vectors[i * 100], 0.9, i) for i in range(30)]
            searches = [store.search(scope, q, limit=3, min_similarity=0.4, now=0.0) for q in queries]
            for query, found in zip(queries, await asyncio.gather(*searches), strict=True):
                cosines = kept @ query
                best = [i for i in np.argsort(-cosines)[:3] if cosines[i] >= 0.4]
                assert [candidate.question.text for candidate in found] == [f"q{i}" for i in best]
                np.testing.assert_allclose([c.similarity for c in found], cosines[best], atol=1e-5)
            await store.purge(Selector())
            assert await near(store, vectors[0]) == []

    asyncio.run(run())


def test_a_cancelled_first_search_does_not_spoil_it_for_the_others(tmp_path):
    path, dim = tmp_path / "cache.db", 8

    async def run():
        async with opened(path) as store:
            await asyncio.gather(*(store.put(answer(i), now=0.0) for i in range(4500)))
        async with opened(path, dim=dim) as store:
            tasks = [asyncio.ensure_future(near(store, unit_vector(100 + i, dim), limit=1)) for i in range(20)]
            await asyncio.sleep(0.001)
            tasks[0].cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert found[1:] == [[f"question {i}"] for i in range(1, 20)]

    asyncio.run(run())


def test_more_scopes_than_memory_allows_are_all_searched_rightly(tmp_path):
    scopes = [make_scope(tenant=f"tenant {i}") for i in range(30)]

    async def run():
        async with opened(tmp_path / "cache.db", index_bytes=20_000) as store:
            for number, scope in enumerate(scopes):
                for i in range(5):
                    vector = unit_vector(number * 10 + i, DIM)
                    await store.put(make_entry(f"{number}/{i}", "a", scope=scope, vector=vector), now=0.0)
            for _ in range(2):
                for number, scope in enumerate(scopes):
                    for i in range(5):
                        found = await near(store, unit_vector(number * 10 + i, DIM), scope=scope, limit=1)
                        assert found == [f"{number}/{i}"]
                    held = store._current().indexes
                    assert held.nbytes <= 20_000 or len(held) == 1

    asyncio.run(run())


def test_an_index_behind_the_last_pruned_deletion_is_built_anew(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        async with opened(path) as store:
            for i in range(3):
                await store.put(answer(i), now=0.0)
            assert await near(store, unit_vector(101, DIM)) == ["question 1"]
            async with opened(path) as other:
                await other.delete(answer(1).id)
            edit(path, ("UPDATE total SET pruned=(SELECT max(seq) FROM tomb)",), ("DELETE FROM tomb",))
            assert await near(store, unit_vector(101, DIM)) == []
            assert await near(store, unit_vector(102, DIM)) == ["question 2"]
            assert await store.check() == []

    asyncio.run(run())


def test_an_answer_made_anew_is_found_under_its_new_vector_only(tmp_path):
    path = tmp_path / "cache.db"

    async def run():
        async with opened(path) as store, opened(path) as other:
            await store.put(make_entry("q", "old", vector=NORTH), now=0.0)
            assert await near(other, NORTH) == ["q"]
            await store.put(make_entry("q", "new", vector=-NORTH), now=0.0)
            for each in (store, other):
                assert await near(each, NORTH) == []
                assert await near(each, -NORTH) == ["q"]

    asyncio.run(run())


# --- use and budget ----------------------------------------------------------------------------------------------------


def test_what_was_touched_is_still_the_favourite_after_reopening(tmp_path):
    path, budget = tmp_path / "cache.db", 12_000

    def costly(i):
        return make_entry(f"q{i}", Reply(text="x" * 1000, cost_usd=0.01), vector=unit_vector(i, DIM))

    async def run():
        async with opened(path, max_bytes=budget) as store:
            for i in range(8):
                await store.put(costly(i), now=0.0)
            for _ in range(50):
                store.touch(costly(0).id)
        async with opened(path, max_bytes=budget) as store:
            for i in range(8, 30):
                await store.put(costly(i), now=0.0)
            assert await store.get(make_key("q0")) is not None
            assert await store.get(make_key("q1")) is None
            assert await store.check() == []

    asyncio.run(run())


def test_touching_very_many_keeps_little_in_memory(tmp_path):
    async def run():
        async with opened(tmp_path / "cache.db") as store:
            for i in range(10_000):
                store.touch(make_key(f"q{i % 3000}").hex)
            assert len(store._touched) < 3000

    asyncio.run(run())


# --- codec -------------------------------------------------------------------------------------------------------------


WRITTEN_BY_FORMAT_1 = bytes.fromhex(
    "018aa474657874a6e5b1b1e5bda6a56d6f64656ca16dad66696e6973685f726561736f6ea473746f70a5757361676583ac696e7075745f746f"
    "6b656e7301ad6f75747075745f746f6b656e7302b36361636865645f696e7075745f746f6b656e7303ad6368756e6b5f6c656e677468739201"
    "01aa746f6f6c5f63616c6c7391a27b7da7736f757263657391a673333a2f2f61af6c6174656e63795f7365636f6e6473cb3fe0000000000000"
    "a8636f73745f757364cb3fd0000000000000a56578747261a27b7d"
)


def test_what_an_earlier_release_wrote_reads_the_same_for_ever():
    """A field may be added to Reply with a default; anything else needs a new format byte."""
    assert codec.decode(WRITTEN_BY_FORMAT_1) == Reply(
        text="山彦",
        model="m",
        usage=Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3),
        chunk_lengths=(1, 1),
        tool_calls=("{}",),
        sources=("s3://a",),
        latency_seconds=0.5,
        cost_usd=0.25,
        extra="{}",
    )


def test_an_earlier_release_passes_over_what_an_entry_says_of_itself():
    """Which read the bytes behind the format byte as a Reply: so is the reply found there, and it alone."""
    marked = replace(make_entry("q", "はい"), author="ann", confirmed=False, signature="v1.k.mac")
    data = codec.encode_entry(marked)
    assert data[:1] == codec.FORMAT
    assert msgspec.msgpack.decode(data[1:], type=Reply) == codec.decode(data) == marked.reply
    assert codec.decode_marks(data) == codec.Marks(author="ann", confirmed=False, signature="v1.k.mac")


def test_an_entry_without_marks_is_written_as_an_earlier_release_wrote_it():
    plain = make_entry("q", Reply(text="author", extra='{"author":"x"}'))
    assert codec.encode_entry(plain) == codec.encode(plain.reply)
    assert codec.decode_marks(WRITTEN_BY_FORMAT_1) == codec.decode_marks(codec.encode(plain.reply)) == codec.Marks()


def test_marks_that_can_not_be_read_make_no_hit():
    marked = codec.encode_entry(replace(make_entry("q"), author="ann", confirmed=False, signature="v1"))
    assert codec.decode_marks(marked.replace(b"\xc2", b"\x07")) is None
    assert codec.decode_marks(marked.replace(b"ann", b"\xff\xff\xff")) is None


def test_an_exact_only_answer_can_be_given_a_question_with_a_vector(tmp_path):
    async def run():
        async with opened(tmp_path / "cache.db") as store:
            entry = make_entry("q", "a")
            await store.put(entry, now=0.0)
            assert await near(store, NORTH, min_similarity=-1.0) == []
            assert await store.alias(entry.id, make_question("r", vector=NORTH))
            assert await near(store, NORTH) == ["r"]

    asyncio.run(run())
