"""Straight through: what is no endpoint that we read, byte for byte in both directions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple

import httpx

from yamabiko.gateway.client import Client, Receive, unless_gone
from yamabiko.gateway.exchange import Exchange, Refused, Scope, asking
from yamabiko.gateway.headers import CLOSE, to_client, to_upstream
from yamabiko.gateway.proxy import Proxy, broken_off, failed
from yamabiko.gateway.routes import Route

_BODY = frozenset({b"content-length", b"transfer-encoding"})
_NO_QUERY = re.compile(rb"[^\x21-\x7e]|#")
"""uvicorn refuses such a query itself; other servers need not."""


class Incoming(NamedTuple):
    """A request as ASGI has it, and where its answer goes."""

    scope: Scope
    receive: Receive
    client: Client
    exchange: Exchange


class Passing:
    """Passes requests on, and answers back, reading neither; a call ends when its client goes away.

    ``idle_seconds``: how long a client may pause in the midst of a body.
    """

    def __init__(
        self,
        proxy: Proxy,
        *,
        idle_seconds: float,
        about: Callable[[Exchange], list[tuple[bytes, bytes]]],
        clock: Callable[[], float],
    ) -> None:
        self._proxy = proxy
        self._idle_seconds = idle_seconds
        self._about = about
        self._clock = clock

    async def on(self, route: Route, incoming: Incoming, body: bytes | None = None) -> None:
        """Pass one request on. ``body``: where it has been read already. Raises ``Refused``."""
        if body is None and any(name in _BODY for name, _ in incoming.scope["headers"]):
            response = await self._sent(route, incoming, _pieces(incoming, self._idle_seconds))
            await _watched(self._copy(response, incoming), incoming)
        else:
            await _watched(self._answered(route, incoming, body), incoming)

    async def _answered(self, route: Route, incoming: Incoming, body: bytes | None) -> None:
        await self._copy(await self._sent(route, incoming, body), incoming)

    async def _sent(
        self, route: Route, incoming: Incoming, content: bytes | AsyncIterator[bytes] | None
    ) -> httpx.Response:
        scope, exchange = incoming.scope, incoming.exchange
        kept = to_upstream(scope["headers"], read=False, own_key=bool(route.upstream.key))
        target = target_of(route, scope)
        with asking(exchange) as told:
            headers = [*told.along(kept), *route.upstream.credentials()]
            response, exchange.attempts = await self._proxy.send(
                route.upstream, scope["method"], target, headers, content
            )
            told.answered(response.status_code, exchange.attempts)
            told.error = ""
        exchange.upstream_status = response.status_code
        exchange.upstream_seconds = told.first_byte_seconds
        return response

    async def _copy(self, response: httpx.Response, incoming: Incoming) -> None:
        """Where a response breaks off, so does ours: the connection is closed before its end."""
        client, exchange = incoming.client, incoming.exchange
        async with aclosing(response):
            await client.begin(response.status_code, [*to_client(response.headers.raw), *self._about(exchange)])
            try:
                async for data in response.aiter_raw():
                    await client.piece(data)
            except broken_off() as error:
                exchange.error = failed(error, exchange.upstream).code
            else:
                await client.piece(b"", more=False)


def target_of(route: Route, scope: Scope) -> bytes:
    """The upstream's path with the request's query. Raises ``Refused`` for one that is none."""
    query: bytes = scope["query_string"]
    if _NO_QUERY.search(query):
        raise Refused(400, "invalid_query", "the query must be written in printable ASCII: encode the rest as %XX")
    return route.target + b"?" + query if query else route.target


async def _watched(work: Coroutine[Any, Any, None], incoming: Incoming) -> None:
    if not await unless_gone(work, incoming.receive):
        incoming.exchange.error = incoming.exchange.error or "client_gone"


async def _pieces(incoming: Incoming, idle_seconds: float) -> AsyncIterator[bytes]:
    """A request's body as it comes in. Raises ``Refused`` where the client goes away, or pauses too long."""
    more = True
    while more:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await incoming.receive()
        except TimeoutError:
            raise Refused(408, "timeout", "the request's body took too long", headers=CLOSE) from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "client_gone", "the request broke off")
        data: bytes = message.get("body", b"")
        incoming.exchange.request_bytes += len(data)
        more = message.get("more_body", False)
        if data:
            yield data
