"""HTTP/1.1 as uvicorn speaks it, with bounds on what comes before a request can be looked at.

A client that sends its headers a byte at a time, or without end, would hold a connection for ever: uvicorn bounds
neither. Bodies are bounded by whoever reads them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; vendors' own servers take no more."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


HEAD_SECONDS = 30.0
"""How long they may take, unless the application says otherwise."""


class Bounded(HttpToolsProtocol):
    """One connection. The application's ``head_seconds`` is how long a request's headers may take.

    From the request's first byte, or from the beginning of the connection.
    """

    _head = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The clock starts: a connection without a request is none that is kept alive."""
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows it
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a request's headers are complete."""
        self._head = self._head + len(data) if self._in_head else 0
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._deadline is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The request can be looked at."""
        self._stop()
        self._in_head, self._head = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another request's head."""
        self._in_head = True
        super().on_message_complete()

    def _wait(self) -> None:
        seconds = getattr(self.app, "head_seconds", HEAD_SECONDS)
        self._deadline = self.loop.call_later(seconds, self._refuse, _TOO_SLOW)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._stop()
        transport: Any = self.transport
        if not transport.is_closing():
            cycle: Any = self.cycle  # None before the first request, whatever uvicorn's annotation says
            if cycle is None or cycle.response_complete:
                transport.write(answer)
            transport.close()
