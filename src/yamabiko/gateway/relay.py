"""One upstream response as it comes in, for the client that caused it and for all who asked the same meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from yamabiko.gateway.exchange import Headers

UNREAD_BYTES = 1024**2
"""How far ahead of its only reader a response that is shared with nobody may be read."""


class Relay:
    """The bytes of a response, from the first on, for any number of followers.

    ``alone``: there is one follower at most, and ``push`` waits for it; what was followed is forgotten. Otherwise all
    is kept until the end, so that the answer can be stored although a client is slow or gone.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.size = 0
        self.broken = ""
        """A code, where the response broke off after it had begun."""
        self._alone = alone
        self._data: list[bytes] = []
        self._unread = 0
        self._closed = False
        self._grown = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether status and headers are there."""
        return self.status != 0

    def open(self, status: int, headers: Headers) -> None:
        """Status and headers are there, and those end to end only."""
        self.status, self.headers = status, headers
        self._wake()

    async def push(self, data: bytes) -> None:
        """Add what has come in."""
        self._data.append(data)
        self.size += len(data)
        self._unread += len(data)
        self._wake()
        while self._alone and self._unread > UNREAD_BYTES:
            self._room.clear()
            await self._room.wait()

    def close(self, broken: str = "") -> None:
        """Nothing more comes in; ``broken`` says that this is not its end."""
        if not self._closed:
            self._closed, self.broken = True, broken
            self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def opened(self) -> None:
        """Wait until status and headers are there, or it is clear that they won't come."""
        while not (self.is_open or self._closed):
            await self._grown.wait()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """All that has come in and then what comes; several pieces that are there at once come as one."""
        at = 0
        while True:
            grown = self._grown
            if at < len(self._data):
                data = self._data[at] if len(self._data) == at + 1 else b"".join(self._data[at:])
                at = len(self._data)
                if self._alone:
                    self._data.clear()
                    at = 0
                yield data
                if self._alone:
                    self._unread -= len(data)
                    self._room.set()
            elif self._closed:
                return
            else:
                await grown.wait()
