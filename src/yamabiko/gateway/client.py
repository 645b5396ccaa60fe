"""The client's end of an exchange: one response, sent whole or piece by piece, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

from yamabiko.gateway.exchange import Exchange, Headers

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


class Client:
    """Sends one response over ASGI. Once the client is gone, everything is sent to nobody."""

    def __init__(self, send: Send, exchange: Exchange, clock: Callable[[], float]) -> None:
        self._send = send
        self._exchange = exchange
        self._clock = clock
        self._gone = False
        self.begun = False
        """Whether the status has been sent: nothing else can be answered any more."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """A response in one go."""
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.piece(body, more=False)

    async def begin(self, status: int, headers: Headers) -> None:
        """Status and headers."""
        self.begun = True
        self._exchange.status = status
        await self._tell({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, data: bytes, *, more: bool = True) -> None:
        """A part of the body; the last one with ``more=False``."""
        exchange = self._exchange
        exchange.first_byte_seconds = exchange.first_byte_seconds or self._clock() - exchange.started
        exchange.response_bytes += len(data)
        await self._tell({"type": "http.response.body", "body": data, "more_body": more})

    async def _tell(self, message: dict[str, Any]) -> None:
        if not self._gone:
            try:
                await self._send(message)
            except OSError:
                self._gone = True


async def unless_gone(work: Coroutine[Any, Any, object], receive: Receive) -> bool:
    """Do the work, and give it up where its client goes away; whether it was done. The request has been read."""
    loop = asyncio.get_running_loop()
    working, gone = loop.create_task(work), loop.create_task(_until_gone(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.wait((working, gone))


async def _until_gone(receive: Receive) -> None:
    """Returns when the client has hung up, or has its whole answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
