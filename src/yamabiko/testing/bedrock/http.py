"""HTTP/1.1 as far as the AWS clients speak it: one request after another on a connection, and chunked responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

_LONGEST_HEAD_BYTES = 64 * 1024
_LONGEST_BODY_BYTES = 64 * 1024 * 1024


class Cut(Exception):
    """Raised by a handler, or by the pieces of its response: the connection is to be closed here and now."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request. ``path`` is as it came, still percent-encoded; the names of ``headers`` are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    target: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A response: ``body``, or ``pieces`` that are sent one by one in chunked transfer coding."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    pieces: AsyncIterator[bytes] | None = field(default=None, repr=False)


Handler: TypeAlias = Callable[[Incoming], Awaitable[Outgoing]]


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    """Answer every request of one connection until the client closes it or ``handle`` cuts it."""
    try:
        while (incoming := await _read(reader, writer)) is not None:
            outgoing = await handle(incoming)
            await _write(writer, outgoing)
            if incoming.headers.get("connection", "").lower() == "close":
                return
    except Cut:
        writer.transport.abort()
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        pass  # the client gave up, or speaks something else: nobody is left to be told
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Incoming | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as left:
        if left.partial:
            raise
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= _LONGEST_BODY_BYTES:
            raise ValueError("a body of that length is not taken")
        body = await reader.readexactly(length)
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Incoming(method, parts.path, query, headers, body, target)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > _LONGEST_BODY_BYTES:
            raise ValueError("a body of that length is not taken")
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _write(writer: asyncio.StreamWriter, outgoing: Outgoing) -> None:
    headers = dict(outgoing.headers)
    if outgoing.pieces is None:
        headers["Content-Length"] = str(len(outgoing.body))
    else:
        headers["Transfer-Encoding"] = "chunked"
    try:
        phrase = HTTPStatus(outgoing.status).phrase
    except ValueError:
        phrase = "Unknown"
    head = f"HTTP/1.1 {outgoing.status} {phrase}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    writer.write(head.encode("latin-1") + outgoing.body)
    await writer.drain()
    if outgoing.pieces is None:
        return
    async for piece in outgoing.pieces:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
