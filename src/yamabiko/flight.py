"""Step 8 of 9: many callers, one generation; and the tasks that the cache owns.

A generation runs in a task of its own, not in its first caller's: whoever goes away takes nothing from those who
still wait. When nobody waits any more, it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Hashable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from yamabiko.types import Hit, Miss

T = TypeVar("T")
logger = logging.getLogger("yamabiko")
_making: contextvars.ContextVar[frozenset[Hashable]] = contextvars.ContextVar("making", default=frozenset())
"""The keys of the generations that the running code is part of: it can't wait for one of them."""


class Pieces:
    """What a generation has said so far; any number of followers read all of it, then what comes.

    ``outcome`` is set before the first piece: whether the cache answers or a model does.
    """

    def __init__(self) -> None:
        self.outcome: Hit | Miss | None = None
        self._said: list[str] = []
        self._closed = False
        self._grown = asyncio.Event()

    def push(self, piece: str) -> None:
        """Say one more piece."""
        self._said.append(piece)
        self._wake()

    def close(self) -> None:
        """Nothing more will be said."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def follow(self) -> AsyncIterator[str]:
        """Every piece from the first one on, as it comes."""
        at = 0
        while True:
            while at < len(self._said):
                yield self._said[at]
                at += 1
            if self._closed:
                return
            await self._grown.wait()


class Shared(Generic[T]):
    """One generation under way, its pieces, and how many wait for it."""

    def __init__(self, key: Hashable, make: Callable[[Pieces], Awaitable[T]]) -> None:
        self.pieces = Pieces()
        self.waiting = 0
        self.task: asyncio.Task[T] = asyncio.get_running_loop().create_task(self._run(key, make))

    async def _run(self, key: Hashable, make: Callable[[Pieces], Awaitable[T]]) -> T:
        _making.set(_making.get() | {key})
        try:
            return await make(self.pieces)
        finally:
            self.pieces.close()

    async def result(self) -> T:
        """The result, or the error that every waiter shares."""
        return await asyncio.shield(self.task)


def _failed(task: asyncio.Task[Any]) -> bool:
    """Whether it has come to nothing already: who asks again at once after an error is not told the same error."""
    return task.done() and (task.cancelled() or task.exception() is not None)


class Flight(Generic[T]):
    """The generations under way, by key."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Shared[T]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    async def once(self, key: Hashable, make: Callable[[Pieces], Awaitable[T]]) -> tuple[T, bool]:
        """The result of one ``make`` for all who ask for ``key`` meanwhile; and whether this caller joined another's.

        Where the generation itself was cancelled while others wait, the next of them makes it anew; nobody more than
        twice, or a model that is always cancelled would be asked for ever.
        """
        led = False
        while True:
            with self.join(key, make) as (shared, joined):
                try:
                    return await shared.result(), joined
                except asyncio.CancelledError:
                    if (led and not joined) or not was_handed_over(shared.task):
                        raise
            led = led or not joined

    @contextlib.contextmanager
    def join(self, key: Hashable, make: Callable[[Pieces], Awaitable[T]]) -> Iterator[tuple[Shared[T], bool]]:
        """The generation under way for ``key``, started if there is none; and whether it was there already."""
        if key in _making.get():
            key = object()  # asked from within its own generation: to wait for that would be to wait for ever
        shared = self._under_way.get(key)
        if shared is not None and (_failed(shared.task) or shared.task.get_loop() is not asyncio.get_running_loop()):
            shared = None  # not landed yet, or never will: there is nothing to wait for
        joined = shared is not None
        if shared is None:
            shared = self._under_way[key] = Shared(key, make)
            shared.task.add_done_callback(lambda task: self._land(key, task))
        shared.waiting += 1
        try:
            yield shared, joined
        finally:
            shared.waiting -= 1
            if shared.waiting == 0 and not shared.task.done():
                # Off the list at once: a new caller must not join a generation that is being cancelled.
                self._land(key, shared.task)
                shared.task.cancel()

    def _land(self, key: Hashable, task: asyncio.Task[T]) -> None:
        shared = self._under_way.get(key)
        if shared is not None and shared.task is task:
            del self._under_way[key]
        if task.done() and not task.cancelled():
            task.exception()  # seen: the waiters raise it; asyncio need not report it once more


def was_handed_over(task: asyncio.Task[Any]) -> bool:
    """Whether a CancelledError came from the generation and not from the caller's own cancellation."""
    caller = asyncio.current_task()
    return task.cancelled() and caller is not None and not caller.cancelling()


async def in_time(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to. Raises ``TimeoutError``.

    The clock starts where the work first has to wait: what comes at once, as a read from memory does, would take less
    time than to set a clock for it.
    """
    try:
        awaited = work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(seconds):
        return await _Begun(work, awaited)


class _Begun(Generic[T]):
    """A coroutine that has been begun and waits, to be awaited on."""

    def __init__(self, work: Coroutine[Any, Any, T], awaited: object) -> None:
        self._work, self._awaited = work, awaited

    def __await__(self) -> Generator[Any, Any, T]:
        work, awaited = self._work, self._awaited
        while True:
            try:
                came = yield awaited
            except BaseException as error:  # noqa: BLE001 - not handled here but carried into the work
                step = partial(work.throw, error)
            else:
                step = partial(work.send, came)
            try:
                awaited = step()
            except StopIteration as done:
                value: T = done.value
                return value


class Background:
    """Work that goes on after a reply has left: writes and renewals. Owned, counted and awaited at close."""

    def __init__(self) -> None:
        self.failures = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, what: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Run ``work`` behind; ``what`` names it in the log should it fail."""
        return self.own(self._supervise(what, work))

    def own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start ``work``, which its caller awaits."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()

    async def _supervise(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the one supervised place: nobody waits who could be told
            self.failures += 1
            logger.warning("%s failed behind a reply: %s", what, type(error).__name__)

    async def drain(self) -> None:
        """Wait until all that has been spawned so far is done."""
        if self._tasks:  # wait() and not gather(): who gives up waiting must not take the writes with him
            await asyncio.wait(tuple(self._tasks))
