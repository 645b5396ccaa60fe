"""A response's events from the thread that reads them to the loop that takes them, few at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain
from typing import Any

AHEAD = 32
"""So many events are read ahead of who takes them; then the thread waits, and the connection's window fills."""


class Pump:
    """Carries one stream. ``run`` in the thread, everything else on the loop; ``leave`` on either.

    ``late`` says that the time was up before the stream's end, ``cut`` that somebody else than its reader ended it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.late = False
        self.cut = False
        self._loop = loop
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._here = asyncio.Event()
        self._left = False
        self._ended = False
        self._source: Any = None
        self._failure: BaseException | None = None

    def follow(self, work: Future[None]) -> None:
        """Know how the thread's work ends."""
        work.add_done_callback(self._finished)

    def run(self, opened: tuple[Iterable[Any], Any]) -> None:
        """Read to the end, or until the reader has left: first what is there already, then what comes."""
        first, source = opened
        with self._changed:
            self._source = source
        try:
            if self._left:
                return
            for event in chain(first, source):
                if not self._give(event):
                    return
        finally:
            source.close()

    def _give(self, event: Any) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._left or len(self._waiting) < AHEAD)
            if self._left:
                return False
            self._waiting.append(event)
            alone = len(self._waiting) == 1  # whoever takes it looks for more before it waits again
        if alone:
            self._wake()
        return True

    def _finished(self, work: Future[None]) -> None:
        with self._changed:
            self._failure = None if work.cancelled() else work.exception()
            self._ended = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._here.set)

    async def events(self, ends: float) -> AsyncGenerator[Any, None]:
        """Everything that comes, in its order, until ``ends`` (``time.monotonic``); raises what the thread raised."""
        try:
            while True:
                self._here.clear()
                with self._changed:
                    taken, ended, self.cut = tuple(self._waiting), self._ended, self._left
                    self._waiting.clear()
                    self._changed.notify()
                for event in taken:
                    yield event
                if ended and not taken:
                    break
                if not taken and not await self._more(ends):
                    self.late = True
                    return
        finally:
            self.leave()
        if self._failure is not None:
            raise self._failure

    async def _more(self, ends: float) -> bool:
        """Whether something has happened; False when the time is up. No time is taken from who holds an event."""
        try:
            async with asyncio.timeout(ends - time.monotonic()):
                await self._here.wait()
        except TimeoutError:
            return False
        return True

    def leave(self) -> None:
        """Nobody takes any more: the thread stops, also where it waits for the service in mid-stream."""
        with self._changed:
            self._left = True
            source, ended = self._source, self._ended
            self._changed.notify()
        if source is not None and not ended:
            _cut(source)


def _cut(source: Any) -> None:
    """End a read that blocks in another thread. Closing would wait for it.

    ``shutdown`` is of urllib3 2.3; before that the thread stops at the next event or at the read timeout.
    """
    response: Any = getattr(source, "_raw_stream", None)
    with suppress(AttributeError, ValueError, RuntimeError, OSError):
        response.shutdown()
