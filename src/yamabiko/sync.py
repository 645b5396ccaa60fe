"""The same cache for code that does not await: the one path, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError
from yamabiko.lookup import Outcome
from yamabiko.ports import Generate, StreamGenerate
from yamabiko.removing import Mode
from yamabiko.stream import Stream
from yamabiko.types import PLAIN, Controls, Entry, Hit, Miss, Reply, Request, Selector, StoreStats

T = TypeVar("T")
CLOSED = "this cache is closed; open it again with open_sync_cache()"
_END = object()
SyncGenerate: TypeAlias = Callable[[Request], Reply | str] | Generate
SyncStreamGenerate: TypeAlias = Callable[[Request], Iterator[str | Reply]] | StreamGenerate


class _Running:
    """An open cache, its loop and its thread. Belongs to one process: a fork leaves it behind."""

    def __init__(self, open_cache: Callable[[], Awaitable[Cache]]) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self.ended = False
        self.thread = threading.Thread(target=self._serve, name="yamabiko", daemon=True)
        self.thread.start()
        try:
            self.cache = self.run(_awaited(open_cache()))
        except BaseException:
            self.stop()
            raise

    def _serve(self) -> None:
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue  # a model's or a hook's: whoever waits for it gets it; all others still need the loop
            return

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._lock:
            if self.ended:
                work.close()
                raise ConfigurationError(CLOSED)
            return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self.ended:
                raise ConfigurationError("this cache was closed while it was asked") from None
            raise
        except BaseException:
            future.cancel()  # an interrupted caller takes its request with it
            raise

    def close(self) -> None:
        """Close the cache and end the loop; nothing where a fork left it behind."""
        inherited = self.pid != os.getpid()
        inside = threading.current_thread() is self.thread  # collected there: it can't wait for itself
        if not (inherited or inside or self.loop.is_closed()):
            try:
                self.run(self.cache.close())
            finally:
                self.stop()

    def stop(self) -> None:
        with self._lock:  # from here on nothing more is given to the loop
            self.ended = True
        asyncio.run_coroutine_threadsafe(_end_all(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class SyncCache:
    """``Cache`` without ``await``: the same methods, arguments and outcomes. ``open_sync_cache`` makes one.

    Any number of threads may use it at once. ``generate`` may be an ordinary function; it then runs in a thread of its
    own. After a fork the child opens the store anew at its first call. Inside a running event loop it refuses to
    work, since it would block it: use ``open_cache`` there.
    """

    def __init__(self, open_cache: Callable[[], Awaitable[Cache]]) -> None:
        self._open = open_cache
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False
        self._finalizer: weakref.finalize[[], SyncCache] | None = None

    def lookup(self, request: str | Request, *, controls: Controls = PLAIN) -> Outcome:
        """Whether the cache can answer, and why or why not. Never calls a model."""
        return self._run(lambda cache: cache.lookup(request, controls=controls))

    def answer(self, request: str | Request, generate: SyncGenerate, *, controls: Controls = PLAIN) -> Reply:
        """The stored answer, or a new one from ``generate``, called once for all who ask the same meanwhile."""
        return self._run(lambda cache: cache.answer(request, awaitable(generate), controls=controls))

    def stream(self, request: str | Request, generate: SyncStreamGenerate, *, controls: Controls = PLAIN) -> SyncStream:
        """As ``answer``, in pieces: ``for piece in cache.stream(request, generate)``."""
        running = self._started()
        stream = running.cache.stream(request, _async_pieces(generate), controls=controls)
        return SyncStream(stream, running.run)

    def remember(self, miss: Miss, reply: Reply | str) -> Entry | None:
        """Store an answer that the caller generated; None where it is not stored."""
        return self._run(lambda cache: cache.remember(miss, reply))

    def feedback(
        self, hit_id: str, *, ok: bool, request: str | Request | None = None, whose: Selector | None = None
    ) -> None:
        """What a person says of a hit; see ``Cache.feedback``."""
        self._run(lambda cache: cache.feedback(hit_id, ok=ok, request=request, whose=whose))

    def purge(self, **conditions: Any) -> int:
        """Remove the entries that fit; conditions as for ``Cache.purge``."""
        return self._run(lambda cache: cache.purge(**conditions))

    def invalidate(self, source: str = "", *, base: str = "", digest: str = "", mode: Mode = "remove") -> int:
        """A document has changed: see ``Cache.invalidate``."""
        return self._run(lambda cache: cache.invalidate(source, base=base, digest=digest, mode=mode))

    def entries(self, selector: Selector | None = None) -> Iterator[Entry]:
        """Every stored entry that fits, dead or alive, oldest first, with its questions and vectors."""
        running = self._started()
        entries = aiter(running.cache.entries(selector))
        while (entry := running.run(_next(entries))) is not None:
            yield entry

    def stats(self) -> StoreStats:
        """Counts and sizes of the store, after all writes under way are done."""
        return self._run(lambda cache: cache.stats())

    def check(self) -> Sequence[str]:
        """Everything that is wrong with the stored data, in sentences; empty when it is sound."""
        return self._run(lambda cache: cache.check())

    def drain(self) -> None:
        """Wait until all writes and renewals behind earlier replies are done."""
        self._run(lambda cache: cache.drain())

    def close(self) -> None:
        """Finish what is under way and let go of everything. May be called twice."""
        running = self._running
        if running is not None and running.pid != os.getpid():
            self._lock = threading.Lock()
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            running.close()

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Callable[[Cache], Coroutine[Any, Any, T]]) -> T:
        """What ``work`` makes of the cache. Holds up a running loop, as an interface without await must."""
        running = self._opened()
        if threading.current_thread() is running.thread:
            raise ConfigurationError("this cache can't wait for itself: ask it from another thread than its own")
        return running.run(work(running.cache))

    async def awaited(self, work: Callable[[Cache], Coroutine[Any, Any, T]]) -> T:
        """The same for code on any event loop, which goes on meanwhile."""
        running = self._running
        if running is None or running.pid != os.getpid():
            running = await asyncio.to_thread(self._opened)
        future = running.submit(work(running.cache))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if running.ended and caller is not None and not caller.cancelling():
                raise ConfigurationError("this cache was closed while it was asked") from None
            raise

    def _run(self, work: Callable[[Cache], Coroutine[Any, Any, T]]) -> T:
        running = self._started()
        return running.run(work(running.cache))

    def _started(self) -> _Running:
        _refuse_in_loop()
        return self._opened()

    def _opened(self) -> _Running:
        running = self._running
        if running is not None and running.pid == os.getpid():
            return running
        if running is not None:  # in a forked child: its only thread is this one, and the old lock may be held for ever
            self._lock = threading.Lock()
        with self._lock:
            if self._closed:
                raise ConfigurationError(CLOSED)
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running(self._open)
                self._finalizer = weakref.finalize(self, self._running.close)
            return self._running


class SyncStream:
    """An answer in pieces; ``outcome`` is known from the first piece on, ``reply`` after the last one.

    A loop that is left early should call ``close()``, or use the stream as ``with``.
    """

    def __init__(self, stream: Stream, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._stream = stream
        self._run = run

    @property
    def outcome(self) -> Hit | Miss | None:
        """Whether the cache answers; None before the first piece."""
        return self._stream.outcome

    @property
    def reply(self) -> Reply | None:
        """The whole reply; None before the end."""
        return self._stream.reply

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece: str | None = self._run(_next(self._stream))
        if piece is None:
            raise StopIteration
        return piece

    def whole(self) -> Reply | None:
        """Read what is left in one go; the whole reply."""
        self._run(_rest(self._stream))
        return self.reply

    def close(self) -> None:
        """End the stream; may be called at any time and twice."""
        self._run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_in_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError("SyncCache would block the running event loop: use open_cache() and await it instead")


async def _end_all() -> None:
    """What asyncio.run does at its end: nobody is left waiting for a loop that has stopped."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _awaited(value: Awaitable[T]) -> T:
    return await value


async def _next(pieces: AsyncIterator[T]) -> T | None:
    return await anext(pieces, None)


async def _rest(pieces: AsyncIterator[object]) -> None:
    async for _ in pieces:
        pass


def awaitable(generate: SyncGenerate) -> Generate:
    """An ordinary function as an async one, run in a thread of its own with its caller's context variables."""
    if inspect.iscoroutinefunction(generate):
        return generate

    async def call(request: Request) -> Reply | str:
        executor = ThreadPoolExecutor(1, "yamabiko-generate")
        try:
            work = partial(contextvars.copy_context().run, _called, generate, request)
            result: Reply | str | Awaitable[Reply | str] = await asyncio.get_running_loop().run_in_executor(
                executor, work
            )
        finally:
            executor.shutdown(wait=False)
        return await result if inspect.isawaitable(result) else result

    return call


def _async_pieces(generate: SyncStreamGenerate) -> StreamGenerate:
    """An ordinary generator function as an async one, run in a thread of its own, with its caller's context."""
    if inspect.isasyncgenfunction(generate):
        return generate

    async def pieces(request: Request) -> AsyncIterator[str | Reply]:
        executor = ThreadPoolExecutor(1, "yamabiko-generate")
        context, loop = contextvars.copy_context(), asyncio.get_running_loop()

        def in_thread(call: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
            return loop.run_in_executor(executor, partial(context.run, call, *arguments))

        source: Any = None
        try:
            source = await in_thread(_called, generate, request)
            if isinstance(source, AsyncIterator):
                async for piece in source:
                    yield piece
                return
            source = iter(source)
            while (item := await in_thread(next, source, _END)) is not _END:
                yield item
        finally:
            if (close := getattr(source, "close", None)) is not None:
                with contextlib.suppress(RuntimeError):  # no threads any more while the interpreter ends
                    executor.submit(close)  # its ``finally`` may block as well
            executor.shutdown(wait=False)

    return pieces


def _called(generate: Callable[[Request], T], request: Request) -> T:
    try:
        return generate(request)
    except StopIteration as error:  # no future can carry it; the same as Python does in a coroutine
        raise RuntimeError("generate() raised StopIteration") from error
