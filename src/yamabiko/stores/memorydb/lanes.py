"""Several links to one node: a command goes at once while one is free, else together with all the others that wait.

A caller's command runs in the caller's own task, without a hop, as long as a link is free. When all are busy, commands
queue up; the next link that gets free takes everything that waits as one pipeline, in a task of the lane's own, so that
a caller who goes away takes nothing from the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from yamabiko.errors import StoreUnavailable, YamabikoError
from yamabiko.stores.memorydb.breaker import Breaker
from yamabiko.stores.memorydb.failures import redis_errors
from yamabiko.stores.memorydb.link import Dialer, Link
from yamabiko.stores.memorydb.topology import Node

PIPELINE: Final = 64
"""Commands in one pipeline at most: the first waits for the last."""


@dataclass(slots=True)
class Figures:
    """What a connection has done since it was opened."""

    commands: int = 0
    pipelines: int = 0
    reconnections: int = 0
    breaker_openings: int = 0
    out_of_memory: int = 0
    index_unavailable: int = 0


class Lane:
    """At most ``width`` links to ``node``. Assigning another node moves the lane there, link by link.

    Raises what redis-py raises, and ``TimeoutError``.
    """

    def __init__(self, dialer: Dialer, node: Node, *, width: int, timeout_seconds: float, figures: Figures) -> None:
        self.node = node
        self.replica = False
        self.breaker = Breaker()
        self._dialer = dialer
        self._width = width
        self._timeout = timeout_seconds
        self._figures = figures
        self._links: list[Link] = []
        self._idle: list[Link] = []
        self._waiting: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self._pumps: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ask(self, command: bytes) -> Any:
        """The reply to one packed command. Cancelling this is safe at any moment."""
        self._figures.commands += 1
        link = self._free()
        if link is None:
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting.append((command, future))
            return await future
        try:
            await self._ready(link)
            await link.send(command)
            reply = await link.read()
        except redis_errors.ResponseError:
            self._release(link)  # read to its end: in step
            raise
        except BaseException as error:
            try:
                await link.drop()
            finally:
                self._release(link)
            if self._closed and isinstance(error, Exception):
                raise closed() from None
            raise
        self._release(link)
        return reply

    async def hang_up(self) -> None:
        """End the links that nobody uses; those in use end when the lane has moved."""
        for link in tuple(self._idle):
            await link.drop()

    async def close(self) -> None:
        """End everything; who waits gets ``StoreUnavailable``."""
        self._closed = True
        while self._waiting:
            _settle(self._waiting.popleft()[1], closed())
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for link in self._links:
            if link not in self._idle:
                await link.drop()  # in the middle of something
        await asyncio.gather(*(link.end() for link in self._idle))

    def _free(self) -> Link | None:
        if self._closed:
            raise closed()
        if self._idle:
            return self._idle.pop()
        if len(self._links) < self._width:
            link = Link(self._dialer)
            self._links.append(link)
            return link
        return None

    async def _ready(self, link: Link) -> None:
        before = link.connected
        await link.ready(self.node, replica=self.replica)
        if before and link.connected > before:
            self._figures.reconnections += 1
        if self._closed:
            raise closed()

    def _release(self, link: Link) -> None:
        """Hand a link to those who wait, or put it away."""
        if self._waiting and not self._closed:
            pump = asyncio.get_running_loop().create_task(self._pump(link))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        else:
            self._idle.append(link)

    async def _pump(self, link: Link) -> None:
        """Serve those who wait with one link until nobody does."""
        try:
            while batch := self._batch():
                await self._together(link, batch)
        except asyncio.CancelledError:
            self._idle.append(link)
            raise
        except BaseException:
            self._release(link)  # to another pump: those who wait must not wait for ever
            raise
        self._idle.append(link)

    def _batch(self) -> list[tuple[bytes, asyncio.Future[Any]]]:
        batch: list[tuple[bytes, asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < PIPELINE:
            waiting = self._waiting.popleft()
            if not waiting[1].done():  # its caller is still there
                batch.append(waiting)
        return batch

    async def _together(self, link: Link, batch: list[tuple[bytes, asyncio.Future[Any]]]) -> None:
        """One pipeline: every reply is read, whether its caller is still there or not."""
        self._figures.pipelines += len(batch) > 1
        failure: BaseException = closed()
        try:
            async with asyncio.timeout(self._timeout):
                await self._ready(link)
                await link.send(b"".join([command for command, _ in batch]))
                for _, future in batch:
                    try:
                        _settle(future, await link.read())
                    except redis_errors.ResponseError as error:
                        _settle(future, error)
        except (redis_errors.RedisError, OSError, ValueError, YamabikoError) as error:  # TimeoutError is an OSError
            failure = error
            await link.drop()
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                failure = error
            await link.drop()
            raise
        finally:
            for _, future in batch:
                _settle(future, failure)


def closed() -> StoreUnavailable:
    """What everybody gets who comes after ``close``."""
    return StoreUnavailable("this store is closed: open a new one")


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # seen, even if its caller is going away at this very moment
    else:
        future.set_result(outcome)
