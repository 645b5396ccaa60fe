"""Which thread touches the file: readers in lanes, writes in one thread that commits in groups.

A connection belongs to one thread from its opening to its end and lives in that thread's frame only. So it is never
carried into a forked child, where closing it would harm the parent.

The hop to a thread and back costs 31 us this way and 64 us through ``run_in_executor`` (benchmarks/store.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from yamabiko.errors import StoreUnavailable
from yamabiko.stores.sqlite.changes import Ledger
from yamabiko.stores.sqlite.schema import translate

T = TypeVar("T")
Connect: TypeAlias = Callable[[], sqlite3.Connection]

GROUP = 512
"""How many changes share one commit at most: beyond, the first of them would wait noticeably for the last."""


class _Job(NamedTuple):
    """Work for a thread, and the future of the event loop that waits for it. No future: nobody waits."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: asyncio.Future[Any] | None

    @property
    def wanted(self) -> bool:
        return self.future is None or not self.future.cancelled()


_Outcome: TypeAlias = tuple[_Job, Any, BaseException | None]


def _settle(job: _Job, value: object, error: BaseException | None) -> None:
    """Runs on the event loop. Whose future is done has been cancelled meanwhile."""
    future = job.future
    if future is not None and not future.done():
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _settle_all(outcomes: Sequence[_Outcome]) -> None:
    """Runs on the event loop."""
    for outcome in outcomes:
        _settle(*outcome)


def _report(outcomes: Sequence[_Outcome]) -> None:
    """Carry results to the event loops that wait for them; a loop that is closed waits no more."""
    waiting: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        future = outcome[0].future
        if future is not None:
            waiting.setdefault(future.get_loop(), []).append(outcome)
    for loop, mine in waiting.items():
        try:
            loop.call_soon_threadsafe(_settle_all, mine)
        except RuntimeError:
            if not loop.is_closed():
                raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Leave a transaction that failed; SQLite may have left it already."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


class Lane:
    """Reader threads with a connection each and one queue. Its width is the limit of what runs at once."""

    def __init__(self, name: str, path: Path, width: int, connect: Connect) -> None:
        self._name = name
        self._path = path
        self._width = width
        self._connect = connect
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """``work(connection, *arguments)`` in one of the threads. Cancelling gives up waiting for it."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submit(_Job(work, arguments, future))
        return future

    def _submit(self, job: _Job) -> None:
        if self._stopped:
            raise StoreUnavailable("this store is closed: open a new one")
        # One thread as long as it keeps up: its caches stay warm, and waking always the same one is the faster hop.
        if len(self._threads) < self._width and (not self._threads or not self._queue.empty()):
            name = f"yamabiko-{self._name}-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is queued, close the connections and wait for the threads. Blocks; may be called twice."""
        if not self._stopped:
            self._stopped = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._queue.get()) is not None:
            if not job.wanted:
                continue
            value: object = None
            failure: BaseException | None = None
            try:
                if connection is None:
                    connection = self._connect()
                value = job.work(connection, *job.arguments)
            except sqlite3.Error as error:
                failure = translate(error, self._path)
            except BaseException as error:  # noqa: BLE001 - not handled here but carried to the caller's thread
                failure = error
            if failure is not None and connection is not None:
                _roll_back(connection)
            _report([(job, value, failure)])
            del job, value, failure  # while waiting, keep nothing alive
        if connection is not None:
            connection.close()


class Writer(Lane):
    """The one thread that writes. Takes all that is queued into one transaction and acknowledges after the commit.

    ``confirm`` raises where writing would be in vain; asked before each transaction.
    """

    def __init__(self, path: Path, connect: Connect, confirm: Callable[[], None]) -> None:
        super().__init__("writer", path, 1, connect)
        self._confirm = confirm

    def run_later(self, work: Callable[..., object], *arguments: Any) -> None:
        """``work(connection, ledger, *arguments)`` with one of the next groups; nobody waits, failure is forgotten."""
        if not self._stopped:
            self._submit(_Job(work, arguments, None))

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        last = False
        while not last:
            group, last = self._take()
            if group:
                try:
                    if connection is None:
                        connection = self._connect()
                    self._confirm()
                except sqlite3.Error as error:
                    _report([(job, None, translate(error, self._path)) for job in group])
                except BaseException as error:  # noqa: BLE001 - not handled here but carried to the callers' thread
                    _report([(job, None, error) for job in group])
                else:
                    _report(self._commit(connection, group))
            del group
        if connection is not None:
            connection.close()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for one job and take what else is there; True when the thread shall end."""
        jobs: list[_Job] = []
        while not jobs or (len(jobs) < GROUP and not self._queue.empty()):  # nobody else takes from this queue
            job = self._queue.get()
            if job is None:
                return jobs, True
            if job.wanted:
                jobs.append(job)
        return jobs, False

    def _commit(self, connection: sqlite3.Connection, group: Sequence[_Job]) -> list[_Outcome]:
        try:
            values = _transact(connection, group)
        except sqlite3.OperationalError as error:  # locked, full, unreadable: the same for every one of them
            return [(job, None, translate(error, self._path)) for job in group]
        except BaseException as error:  # noqa: BLE001 - one job's failure, carried to its caller
            if len(group) == 1:
                failure = translate(error, self._path) if isinstance(error, sqlite3.Error) else error
                return [(group[0], None, failure)]
            return [outcome for job in group for outcome in self._commit(connection, [job])]
        return [(job, value, None) for job, value in zip(group, values, strict=True)]


def _transact(connection: sqlite3.Connection, group: Sequence[_Job]) -> list[Any]:
    """All of the group in one transaction, or nothing of it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        ledger = Ledger.read(connection)
        values = [job.work(connection, ledger, *job.arguments) for job in group]
        ledger.write(connection)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return values
