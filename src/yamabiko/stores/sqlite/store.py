"""The ``Store`` port over one SQLite file: hands each call to the thread that does it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from yamabiko.errors import ConfigurationError, Outdated, StoreUnavailable
from yamabiko.ports import Claim, Logged, Stored
from yamabiko.stores import intake
from yamabiko.stores.sqlite import changes, check, rows, shared
from yamabiko.stores.sqlite.indexes import Accelerator, Indexes, NotLoadedError, Search, search
from yamabiko.stores.sqlite.lanes import Inline, Lane, Writer
from yamabiko.stores.sqlite.schema import (
    BUDGET_INDEXES,
    Access,
    Durability,
    Layout,
    connect,
    open_file,
    reader,
    recorded,
)
from yamabiko.types import Candidate, Entry, Key, Question, Scope, Selector, StoreStats, Vector

T = TypeVar("T")

INDEX_BYTES: Final = 4 * 1024**3
"""Default for ``index_bytes``: about five million vectors of 384 components."""

TOUCHES = 256
"""Entries whose hits are counted in memory before they are written; a put takes them along earlier."""

PURGE_PAUSE_SECONDS = 0.05
"""Between the steps of a purge: other processes that wait for the file ask again at least every 0.1 seconds."""

PAGE = 64
"""Entries that ``entries`` reads at once."""


class _Running:
    """Threads and indexes of one process. Made anew after a fork; what the parent's threads held stays theirs."""

    def __init__(self, layout: Layout, max_bytes: int | None, index_bytes: int, accelerator: Accelerator) -> None:
        self.pid = os.getpid()
        self.writer = Writer(layout.path, self._writing, self._confirm)
        self.inline = Inline(layout.path)
        self.exact = Lane("exact", layout.path, 2, self._reading)
        self.scan = Lane("scan", layout.path, max(2, min(4, os.cpu_count() or 2)), self._reading)
        self.load = Lane("load", layout.path, 2, self._reading)
        self.indexes = Indexes(layout.dim, index_bytes, accelerator)
        self.loading: dict[bytes, asyncio.Future[Sequence[Candidate]]] = {}
        self._layout = layout
        self._max_bytes = max_bytes
        self._access: Access | None = None
        self._file: os.stat_result | None = None
        self._opening = threading.Lock()

    async def stop(self) -> None:
        """Returns when all threads have ended."""
        self.inline.close()
        for lane in (self.exact, self.scan, self.load, self.writer):
            await lane.stop()

    def read_inline(self, work: Callable[..., T], *arguments: Any) -> tuple[T] | None:
        """What a quick read finds, in a tuple; None where the lane must look. Raises ``StoreError``."""
        if self.inline.empty:
            if self._access is None:  # opening may take long: a lane does it
                return None
            self.inline.adopt(reader(self._layout, self._access))
        return self.inline.run(work, *arguments)

    def _opened(self) -> Access:
        """The first thread that needs the file makes it or checks that it fits; when that fails, the next one does."""
        with self._opening:
            if self._access is None:
                self._access = open_file(self._layout)
                self._file = self._layout.path.stat()
            return self._access

    def _confirm(self) -> None:
        """Who deletes or replaces an open file leaves us writing into one that nobody will ever open again."""
        path = self._layout.path
        try:
            found = os.stat(path)  # noqa: PTH116 - before every commit, so the faster one
        except FileNotFoundError:
            found = None
        if found is None or self._file is None or not os.path.samestat(found, self._file):
            raise StoreUnavailable(
                f"{path} was moved, deleted or replaced while it was open: close the store, open it again"
            )

    def _reading(self) -> sqlite3.Connection:
        return reader(self._layout, self._opened())

    def _writing(self) -> sqlite3.Connection:
        access = self._opened()
        connection = connect(self._layout, access)
        try:
            if self._max_bytes is not None and access == "rw":
                for statement in BUDGET_INDEXES:
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection


class SqliteStore:
    """Entries in one SQLite file, shared by any number of processes on one machine.

    Implements ``Store`` and ``SharedState``.

    ``embedder`` and ``dim`` name what makes the vectors; the file is bound to them. ``durability``: "normal" survives
    the death of the process at any moment, and may lose the last commits when the power fails; "full" survives that
    too (a put waits for the disk; many at once share one wait). ``max_bytes`` bounds ``StoreStats.payload_bytes`` (see
    ``yamabiko.stores.eviction``); None means no bound. ``index_bytes`` bounds the memory of the vector indexes; the
    scope being searched is always kept. ``accelerator``: who scans large indexes; "faiss" needs the extra of that name.

    The constructor does no I/O: the file is opened by the first call, or by ``open``, which raises
    ``ConfigurationError``, ``StoreMismatch``, ``StoreUnavailable`` or ``StoreError`` right away. Where the file can't
    be written, reading goes on and writing raises ``StoreUnavailable``. Use a store from one event loop at a time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        embedder: str,
        dim: int,
        durability: Durability = "normal",
        max_bytes: int | None = None,
        index_bytes: int = INDEX_BYTES,
        accelerator: Accelerator = "numpy",
    ) -> None:
        if durability not in ("normal", "full"):
            raise ConfigurationError(f'durability is "normal" or "full", not {durability!r}')
        if max_bytes is not None and max_bytes < 1:
            raise ConfigurationError(f"max_bytes must be 1 or more, not {max_bytes}")
        if accelerator not in ("numpy", "faiss"):
            raise ConfigurationError(f'accelerator is "numpy" or "faiss", not {accelerator!r}')
        if index_bytes < 0:
            raise ConfigurationError(f"index_bytes must be 0 or more, not {index_bytes}")
        self.embedder = embedder
        self.dim = dim
        self.path = Path(path)
        self._layout = Layout(path=self.path, embedder=embedder, dim=dim, durability=durability)
        self._max_bytes = max_bytes
        self._index_bytes = index_bytes
        self._accelerator = accelerator
        self._running: _Running | None = None
        self._left_behind: list[_Running] = []
        self._touched: dict[str, int] = {}
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        embedder: str,
        dim: int,
        durability: Durability = "normal",
        max_bytes: int | None = None,
        index_bytes: int = INDEX_BYTES,
        accelerator: Accelerator = "numpy",
    ) -> SqliteStore:
        """A store whose file has been made or found to fit. See the class for arguments and errors."""
        store = cls(
            path,
            embedder=embedder,
            dim=dim,
            durability=durability,
            max_bytes=max_bytes,
            index_bytes=index_bytes,
            accelerator=accelerator,
        )
        try:
            await store._current().exact.run(_nothing)
        except BaseException:
            await store.close()
            raise
        return store

    @staticmethod
    def recorded(path: str | os.PathLike[str]) -> tuple[str, int] | None:
        """Embedder and dimension that the file was made for; None where there is none, or nothing in it. Makes none.

        Waits for the disk. Raises ``StoreError`` or ``StoreMismatch`` where the file is damaged or not ours.
        """
        return recorded(Path(path))

    async def get(self, key: Key, /) -> Entry | None:
        """See ``Store.get``."""
        running = self._current()
        found = running.read_inline(rows.get, key)
        return found[0] if found is not None else await running.exact.run(rows.get, key)

    async def put(self, entry: Entry, /, *, now: float, fence: int | None = None) -> None:
        """See ``Store.put``."""
        intake.check_entry(entry, self.dim)
        running = self._current()
        self._flush(running)
        if not await running.writer.run(changes.put, changes.NewEntry.of(entry, fence), now, self._max_bytes):
            raise Outdated

    async def search(
        self, scope: Scope, vector: Vector, /, *, limit: int, min_similarity: float, now: float
    ) -> Sequence[Candidate]:
        """See ``Store.search``. The first search of a large scope waits until its index is read."""
        intake.check_vector(vector, self.dim)
        running = self._current()
        sought = Search(scope, vector, limit, min_similarity, now)
        while True:
            try:
                return await running.scan.run(search, running.indexes, sought, False)
            except NotLoadedError:
                loading = running.loading.get(scope.digest)
            if loading is None or loading.get_loop() is not asyncio.get_running_loop():
                return await self._load(running, sought)
            await asyncio.wait([loading])

    async def alias(self, entry_id: str, question: Question, /) -> bool:
        """See ``Store.alias``."""
        intake.check_question(question, self.dim)
        running = self._current()
        digest = _digest(entry_id)
        if digest is None:
            return False
        self._flush(running)
        return await running.writer.run(changes.alias, digest, changes.NewQuestion.of(question), self._max_bytes)

    def touch(self, entry_id: str, /) -> None:
        """See ``Store.touch``. Without a budget nothing will ever be evicted, and nothing is counted."""
        if self._max_bytes is None:
            return
        self._touched[entry_id] = self._touched.get(entry_id, 0) + 1
        if len(self._touched) >= TOUCHES:
            self._flush(self._running)

    async def delete(self, entry_id: str, /) -> bool:
        """See ``Store.delete``."""
        running = self._current()
        digest = _digest(entry_id)
        return digest is not None and await running.writer.run(changes.delete, digest)

    async def purge(self, selector: Selector, /) -> int:
        """See ``Store.purge``. In steps, between which others may write."""
        running = self._current()
        gone, last = await running.writer.run(changes.purge, selector, None)
        while last is not None:
            await asyncio.sleep(PURGE_PAUSE_SECONDS)
            more, last = await running.writer.run(changes.purge, selector, last)
            gone += more
        return gone

    async def entries(self, selector: Selector, /) -> AsyncIterator[Entry]:
        """See ``Store.entries``. What is removed while a caller iterates is left out from then on."""
        running = self._current()
        ids = await running.load.run(changes.select, selector)
        for start in range(0, len(ids), PAGE):
            for entry in await running.load.run(rows.page, ids[start : start + PAGE]):
                yield entry

    async def stats(self) -> StoreStats:
        """See ``Store.stats``."""
        running = self._current()
        return await running.load.run(rows.stats, self.path)

    async def check(self) -> Sequence[str]:
        """See ``Store.check``. Reads the whole file: a second per some hundred thousand entries."""
        running = self._current()
        return await running.load.run(check.faults, self.dim)

    @property
    def spans_processes(self) -> bool:
        """See ``SharedState.spans_processes``."""
        return True

    async def claim(self, name: str, holder: str, /, *, seconds: float, now: float) -> Claim | None:
        """See ``SharedState.claim``. Writes only where the name is free."""
        intake.check_lease(name, holder, seconds)
        wanted = shared.Wanted(name, holder, now)
        known = await self._read(shared.peek, wanted)
        return known[0] if known is not None else await self._write(shared.claim, wanted, seconds)

    async def renew(self, claim: Claim, /, *, seconds: float, now: float) -> bool:
        """See ``SharedState.renew``."""
        intake.check_seconds(seconds)
        return await self._write(shared.renew, claim, seconds, now)

    async def release(self, claim: Claim, /, *, now: float, open_seconds: float = 0.0) -> bool:
        """See ``SharedState.release``."""
        return await self._write(shared.release, claim, now, open_seconds)

    async def fence(self) -> int:
        """See ``SharedState.fence``."""
        return await self._read(shared.fence)

    async def outdate(self, selector: Selector, /) -> None:
        """See ``SharedState.outdate``."""
        await self._write(shared.outdate, selector)

    async def purged(self) -> int:
        """See ``SharedState.purged``."""
        return await self._read(shared.purged)

    async def load_state(self, name: str, /) -> Stored | None:
        """See ``SharedState.load_state``."""
        return await self._read(shared.load_state, name)

    async def save_state(self, name: str, data: bytes, /, *, expected: int | None) -> int | None:
        """See ``SharedState.save_state``."""
        intake.check_state(name, data)
        return await self._write(shared.save_state, name, data, expected)

    async def append_log(self, name: str, items: Mapping[str, bytes], /) -> int:
        """See ``SharedState.append_log``."""
        intake.check_items(name, items)
        return await self._write(shared.append_log, name, tuple(items.items()))

    async def read_log(self, name: str, /, *, after: int, limit: int) -> Sequence[Logged]:
        """See ``SharedState.read_log``."""
        return await self._current().load.run(shared.read_log, name, after, limit)

    async def trim_log(self, name: str, /, *, up_to: int) -> None:
        """See ``SharedState.trim_log``."""
        await self._write(shared.trim_log, name, up_to)

    async def quarantine(self, entry_id: str, digest: bytes, /, *, until: float, now: float) -> None:
        """See ``SharedState.quarantine``."""
        intake.check_pair(entry_id, digest)
        await self._write(shared.quarantine, entry_id, digest, until, now)

    async def quarantined(self, digest: bytes, /, *, now: float) -> frozenset[str]:
        """See ``SharedState.quarantined``."""
        intake.check_digest(digest)
        return await self._read(shared.quarantined, digest, now)

    async def _read(self, work: Callable[..., T], *arguments: Any) -> T:
        """A quick read, in this thread where it can be."""
        running = self._current()
        found = running.read_inline(work, *arguments)
        return found[0] if found is not None else await running.exact.run(work, *arguments)

    async def _write(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._current().writer.run(work, *arguments)

    async def close(self) -> None:
        """See ``Store.close``."""
        self._closed = True
        running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            self._flush(running)
            await running.stop()

    def _current(self) -> _Running:
        """The threads of this process."""
        if self._closed:
            raise StoreUnavailable("this store is closed: open a new one")
        running = self._running
        if running is None or running.pid != os.getpid():
            if running is not None:
                self._left_behind.append(running)  # the parent's connection in it is not ours to close
            running = self._running = _Running(self._layout, self._max_bytes, self._index_bytes, self._accelerator)
        return running

    def _flush(self, running: _Running | None) -> None:
        """Hand the counted hits to the writer; without one, forget them."""
        touched, self._touched = self._touched, {}
        if touched and running is not None and running.pid == os.getpid():
            pairs = [(digest, hits) for id_, hits in touched.items() if (digest := _digest(id_)) is not None]
            running.writer.run_later(changes.touch, pairs)

    async def _load(self, running: _Running, sought: Search) -> Sequence[Candidate]:
        """Read the scope's index and search it, in the lane for long reads; other searches of the scope wait for it.

        Shielded, because they wait even when this caller gives up.
        """
        digest = sought.scope.digest
        loading = running.load.run(search, running.indexes, sought, True)
        running.loading[digest] = loading

        def loaded(done: asyncio.Future[Sequence[Candidate]]) -> None:
            if running.loading.get(digest) is done:
                del running.loading[digest]
            if not done.cancelled():
                done.exception()  # seen, even if nobody waits any more

        loading.add_done_callback(loaded)
        return await asyncio.shield(loading)


def _nothing(db: sqlite3.Connection) -> None:
    """Opens the file, as every first call does."""


def _digest(entry_id: str) -> bytes | None:
    try:
        return bytes.fromhex(entry_id)
    except ValueError:
        return None
