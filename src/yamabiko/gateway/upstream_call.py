"""Step 8 of 9, behind HTTP: one call to an upstream, as the cache's generator.

Its bytes go to a relay as they come, for the clients; what they say goes to the cache, which stores what came to its
end. Whatever can't be read is passed on and not stored.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import httpx
import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.gateway.bedrock import MADE
from yamabiko.gateway.client import Client, Receive
from yamabiko.gateway.exchange import Asking, Exchange, Headers, Refused, asking
from yamabiko.gateway.headers import to_client, to_upstream
from yamabiko.gateway.proxy import Proxy, Upstream, broken_off, failed
from yamabiko.gateway.reading import Known
from yamabiko.gateway.relay import Relay
from yamabiko.types import Reply
from yamabiko.wire.dialect import Asked, Dialect
from yamabiko.wire.sse import Parser

TAIL_SECONDS = 0.5
"""How long the end of a response is waited for after its terminal event, so that its connection can be kept."""
_UNREAD = Reply(text="", finish_reason="error")
"""What the cache is told of an answer that could not be read: never stored."""


class Answered(Exception):
    """An upstream's answer that is no success: it passes as it came, and is never stored."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"the upstream answered with status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class Ambiguous(Exception):
    """A body that names a member twice: the upstream may read another question in it than we do."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request in a dialect, with what is needed to answer it and to pass it on."""

    dialect: Dialect
    upstream: Upstream
    known: Known
    asked: Asked
    target: bytes
    headers: Headers
    body: bytes = field(repr=False)
    exchange: Exchange
    client: Client
    receive: Receive

    def same_bytes(self, other: Call) -> bool:
        """Whether what the upstream sends to the other one answers this one too, byte for byte."""
        mine, theirs = self.asked, other.asked
        return self.dialect is other.dialect and mine.stream == theirs.stream and mine.shape == theirs.shape


async def generate(proxy: Proxy, call: Call, relay: Relay, *, max_bytes: int) -> AsyncGenerator[str | Reply, None]:
    """A StreamGenerate: a piece without text when the answer has begun, its pieces, and a Reply.

    Raises ``Answered`` and ``Refused``; ``relay`` is closed whatever happens.
    """
    broken = "given_up"
    try:
        with asking(call.exchange) as told:
            async with aclosing(_asked(proxy, call, relay, told, max_bytes)) as items:
                async for item in items:
                    if isinstance(item, Reply):
                        broken = told.error = ""
                        told.reply = replace(item, latency_seconds=time.perf_counter() - told.started)
                        relay.close()
                        yield told.reply
                    else:
                        yield item
    except Refused as refused:
        broken = refused.code
        raise
    finally:
        relay.close(broken)


async def _asked(
    proxy: Proxy, call: Call, relay: Relay, told: Asking, max_bytes: int
) -> AsyncGenerator[str | Reply, None]:
    exchange, upstream = call.exchange, call.upstream
    headers = told.along(to_upstream(call.headers, read=True, own_key=bool(upstream.key)))
    headers += upstream.credentials()
    response, exchange.attempts = await proxy.send(upstream, "POST", call.target, headers, call.body)
    async with aclosing(response):
        exchange.upstream_status = response.status_code
        told.answered(response.status_code, exchange.attempts)
        exchange.upstream_seconds = told.first_byte_seconds
        kept = to_client(response.headers.raw)
        if not response.is_success:
            body = await _whole(response, upstream, max_bytes)
            told.error = ""
            raise Answered(response.status_code, kept, body)
        events = response.headers.get("content-type", "").startswith("text/event-stream")
        work = _events if events else _body
        async with aclosing(work(call, relay, response, kept, max_bytes)) as items:
            async for item in items:
                made = response.extensions.get(MADE)
                yield made.known_of(item) if made is not None and isinstance(item, Reply) else item


async def _whole(response: httpx.Response, upstream: Upstream, max_bytes: int) -> bytes:
    """A response's body as it came. Raises ``Refused`` where it breaks off or is too long."""
    parts, size = [], 0
    async for data in _raw(response, upstream):
        parts.append(data)
        size += len(data)
        if size > max_bytes:
            raise _too_long(upstream)
    return b"".join(parts)


async def _body(
    call: Call, relay: Relay, response: httpx.Response, headers: Headers, max_bytes: int
) -> AsyncGenerator[str | Reply, None]:
    """An answer in one JSON document."""
    body = await _whole(response, call.upstream, max_bytes)
    relay.open(response.status_code, headers)
    yield ""
    await relay.push(body)
    try:
        value = msgspec.json.decode(body) if "content-encoding" not in response.headers else None
        reply = call.dialect.reply(value) if isinstance(value, dict) else _UNREAD
    except (msgspec.DecodeError, InvalidRequest, RecursionError, UnicodeDecodeError):
        reply = _UNREAD
    if reply.text:
        yield reply.text
    yield replace(reply, text="", chunk_lengths=())


async def _events(
    call: Call, relay: Relay, response: httpx.Response, headers: Headers, max_bytes: int
) -> AsyncGenerator[str | Reply, None]:
    """An answer in server-sent events, up to the vendor's terminal event."""
    listener, parser = call.dialect.listener(), Parser()
    readable, done = "content-encoding" not in response.headers, False
    # Without its length: where a stream breaks off, an event that says so follows on it.
    relay.open(response.status_code, [pair for pair in headers if pair[0] != b"content-length"])
    yield ""
    size = 0
    async with aclosing(_raw(response, call.upstream)) as pieces:
        while not done and (data := await anext(pieces, None)) is not None:
            await relay.push(data)
            size += len(data)
            if size > max_bytes:
                raise _too_long(call.upstream)
            for event in parser.feed(data) if readable else ():
                try:
                    chunk = listener.hear(event)
                except InvalidRequest:
                    readable = False
                    break
                if chunk.text:
                    yield chunk.text
                done = done or chunk.done
        if done:
            await _tail(pieces, relay)
    try:
        reply = listener.reply() if readable and done else _UNREAD
    except InvalidRequest:
        reply = _UNREAD
    yield replace(reply, text="", chunk_lengths=())


async def _tail(pieces: AsyncIterator[bytes], relay: Relay) -> None:
    """What comes after the terminal event, which is hardly ever anything."""
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            async for data in pieces:
                await relay.push(data)
    except (TimeoutError, Refused):
        return


async def _raw(response: httpx.Response, upstream: Upstream) -> AsyncGenerator[bytes, None]:
    """The body's bytes as they come. Raises ``Refused`` where it breaks off."""
    try:
        async for data in response.aiter_raw():
            yield data
    except broken_off() as error:
        raise failed(error, upstream.name) from error


def _too_long(upstream: Upstream) -> Refused:
    return Refused(502, "reply_too_long", f"the answer of the upstream {upstream.name} is longer than is allowed")


def is_ambiguous(body: bytes) -> bool:
    """Whether a JSON body names a member of an object twice, or is nested so deep that nobody can tell."""
    try:
        json.loads(body, object_pairs_hook=_once)
    except (Ambiguous, RecursionError, ValueError):
        return True
    return False


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Ambiguous
    return found
