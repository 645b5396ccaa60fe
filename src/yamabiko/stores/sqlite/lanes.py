"""Which thread touches the file: quick reads in the caller's, others in lanes, writes in one that commits in groups.

A connection belongs to one thread from its opening to its end. A lane's lives in its thread's frame only, so it is
never carried into a forked child, where closing it could harm the parent; the store never closes an inline one there.

The hop to a thread and back costs 38 us this way and 64 us through ``run_in_executor`` (benchmarks/store.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from yamabiko.errors import StoreUnavailable
from yamabiko.stores.sqlite.ledger import Ledger
from yamabiko.stores.sqlite.schema import translate

T = TypeVar("T")
Connect: TypeAlias = Callable[[], sqlite3.Connection]

SLOW_SECONDS = 0.001
"""A read that takes longer belongs into a lane. One from the page cache takes 25 us."""

FIRST_PENANCE = 4
PENANCE = 256
"""How many reads go to the lane after a slow one, and at most: four times as many after each that is slow again."""

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


def _end() -> None:
    """Stands for the end of a thread in its queue."""


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
    if len(outcomes) == 1 and (future := outcomes[0][0].future) is not None:
        _tell(future.get_loop(), _settle, *outcomes[0])
        return
    waiting: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        future = outcome[0].future
        if future is not None:
            waiting.setdefault(future.get_loop(), []).append(outcome)
    for loop, mine in waiting.items():
        _tell(loop, _settle_all, mine)


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(what, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Leave a transaction that failed; SQLite may have left it already."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


class Inline:
    """Reads on the caller's own thread, without the hop: for those that take microseconds, and as long as they do.

    A read that took longer (a cold page on a slow disk) or met a lock sends the next ones to a lane, and ever
    more of them while that goes on, so that an event loop is held up now and then and not again and again. One slow
    read may just have been interrupted by another process. The hop costs more than the read: benchmarks/path.py.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = 0
        self._penance = 0
        self._next = FIRST_PENANCE

    def adopt(self, connection: sqlite3.Connection) -> None:
        """Use this connection, in this thread only; it waits for no lock."""
        connection.execute("PRAGMA busy_timeout=0")
        self._connection, self._thread = connection, threading.get_ident()

    @property
    def empty(self) -> bool:
        """Whether there is no connection yet."""
        return self._connection is None

    def run(self, work: Callable[..., T], *arguments: Any) -> tuple[T] | None:
        """``work(connection, *arguments)`` in a tuple; None where a lane must do it. Raises ``StoreError``."""
        connection = self._connection
        if connection is None or self._thread != threading.get_ident():
            return None
        if self._penance:
            self._penance -= 1
            return None
        started = time.perf_counter()
        try:
            value = work(connection, *arguments)
        except sqlite3.OperationalError:
            self._repent()
            return None
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        if time.perf_counter() - started > SLOW_SECONDS:
            self._repent()
        else:
            self._next = FIRST_PENANCE
        return (value,)

    def _repent(self) -> None:
        self._penance, self._next = self._next, min(4 * self._next, PENANCE)

    def close(self) -> None:
        """Close the connection, where that is this thread's to do; twice does no harm."""
        if self._connection is not None and self._thread == threading.get_ident():
            self._connection.close()
        self._connection = None


class Lane:
    """Reader threads with a connection each and one queue. Its width is the limit of what runs at once."""

    def __init__(self, name: str, path: Path, width: int, connect: Connect) -> None:
        self._name = name
        self._path = path
        self._width = width
        self._connect = connect
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
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

    async def stop(self) -> None:
        """Finish what is queued, close the connections and wait for the threads. May be called twice.

        The threads say by themselves that they are done: a program that is about to end gives no others to wait in.
        """
        ends: list[asyncio.Future[None]] = []
        if not self._stopped:
            self._stopped = True
            for _ in self._threads:
                ends.append(asyncio.get_running_loop().create_future())
                self._queue.put(_Job(_end, (), ends[-1]))
        await asyncio.gather(*ends)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while (job := self._queue.get()).work is not _end:
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
        _report([(job, None, None)])


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
        last: _Job | None = None
        while last is None:
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
        _report([(last, None, None)])

    def _take(self) -> tuple[list[_Job], _Job | None]:
        """Wait for one job and take what else is there; and the job that ends the thread, if it was among them."""
        jobs: list[_Job] = []
        while not jobs or (len(jobs) < GROUP and not self._queue.empty()):  # nobody else takes from this queue
            job = self._queue.get()
            if job.work is _end:
                return jobs, job
            if job.wanted:
                jobs.append(job)
        return jobs, None

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
