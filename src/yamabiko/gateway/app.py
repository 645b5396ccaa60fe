"""The ASGI application: what comes in, what it may cost, and who answers it.

A request's way: a free place among those in flight; its route; who calls; its body, within limits; what it asks of the
cache; then ``Answering``, or straight through to the upstream. Nothing here parses an answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import msgspec

from yamabiko.cache import Cache
from yamabiko.errors import StoreUnavailable, YamabikoError
from yamabiko.gateway import headers as header
from yamabiko.gateway.answering import Answering
from yamabiko.gateway.client import Client, Receive, Send
from yamabiko.gateway.control import about as about_answer
from yamabiko.gateway.exchange import (
    Exchange,
    Headers,
    Identify,
    Observer,
    ReadControls,
    Refused,
    Scope,
    by_credential,
    no_controls,
)
from yamabiko.gateway.passing import Incoming, Passing, target_of
from yamabiko.gateway.paths import template
from yamabiko.gateway.proxy import Proxy
from yamabiko.gateway.reading import Reading
from yamabiko.gateway.routes import Route, Routes
from yamabiko.gateway.upstream_call import Call, is_ambiguous
from yamabiko.settings import GatewaySettings
from yamabiko.wire.dialect import Dialect

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
OpenCache: TypeAlias = Callable[[], Awaitable[Cache]]

DEADLINE = "yamabiko.deadline"
"""What a server may put into a request's scope: when it must be answered, as the event loop counts time."""
REOPEN_SECONDS = 5.0
"""How soon a store that could not be opened is tried again."""
_READ_ONLY = frozenset({"healthz", "readyz", "metrics"})
_json = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_log = logging.getLogger("yamabiko.gateway")


class Gateway:
    """The application; one for each process.

    ``own`` answers paths of the gateway's own by their first part (``yamabiko``, ``metrics``); ``/healthz`` and
    ``/readyz`` are there in any case. ``about`` makes the headers that say how an answer came about.
    """

    def __init__(
        self,
        open_cache: OpenCache,
        settings: GatewaySettings,
        proxy: Proxy,
        routes: Routes,
        *,
        identify: Identify = by_credential,
        read_controls: ReadControls = no_controls,
        observers: Sequence[Observer] = (),
        about: Callable[[Exchange], list[tuple[bytes, bytes]]] = about_answer,
        own: Mapping[str, App] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.in_flight = 0
        self.head_seconds = settings.body_timeout_seconds
        self._open_cache = open_cache
        self._settings = settings
        self._proxy = proxy
        self._routes = routes
        self._identify = identify
        self._read_controls = read_controls
        self._observers = tuple(observers)
        self._about = about
        self._own: Mapping[str, App] = {"healthz": self._healthz, "readyz": self._readyz, **(own or {})}
        self._clock = clock
        self._dates = header.Dates()
        self._passing = Passing(proxy, idle_seconds=settings.body_timeout_seconds, about=about, clock=clock)
        self._reading = Reading(settings.max_temperature)
        self._answering = Answering(proxy, settings, about=about, dates=self._dates)
        self._reopening: asyncio.Task[None] | None = None

    @property
    def cache(self) -> Cache | None:
        """The cache; None before it is open, or while its store can't be."""
        return self._answering.cache

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    # Its life.

    async def start(self) -> None:
        """Open the cache. A store that can't be reached is tried again behind, and all is passed on meanwhile."""
        try:
            self._answering.cache = await self._open_cache()
        except StoreUnavailable as error:
            _log.warning("passing everything on, without a cache: %s", error)
            self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def settle(self) -> None:
        """Wait until what goes on behind the answers so far is done: what is stored, renewed and compared."""
        await self._answering.drain()
        if self.cache is not None:
            await self.cache.drain()

    async def stop(self) -> None:
        """Finish what is being stored, and let go of everything."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait((self._reopening,))
        try:
            await self._answering.drain()
            if self.cache is not None:
                await self.cache.close()
        finally:
            await self._proxy.close()
            for observer in self._observers:
                await observer.close()

    async def _reopen(self) -> None:
        while self._answering.cache is None:
            await asyncio.sleep(REOPEN_SECONDS)
            with suppress(StoreUnavailable):
                self._answering.cache = await self._open_cache()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except YamabikoError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    # One request.

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"]
        route = self._routes.read(path) if scope["method"] == "POST" else None
        if route is None:
            name = path[1:].partition(b"/")[0].decode("latin-1")
            own = self._own.get(name)
            if own is not None:
                reads = scope["method"] in ("GET", "HEAD")
                await (own if reads or name not in _READ_ONLY else _only_read)(scope, receive, send)
                return
            route = self._routes.passed(path, scope["headers"])
        name = "pass" if route is None or route.dialect is None else route.dialect.name
        exchange = Exchange(
            method=scope["method"],
            route=name,
            started=self._clock(),
            path=template(path, read=name != "pass"),
            observers=self._observers,
        )
        incoming = Incoming(scope, receive, Client(send, exchange, self._clock), exchange)
        for observer in self._observers:
            observer.begun(exchange, scope)
        self.in_flight += 1
        by = scope.get(DEADLINE)
        try:
            await (self._routed(route, incoming) if by is None else self._in_time(by, route, incoming))
        except Refused as refused:
            await self._refuse(refused, None if route is None else route.dialect, incoming)
        except asyncio.CancelledError:  # the server ends, and this took too long
            await self._refuse(_ending(), None if route is None else route.dialect, incoming)
        finally:
            self.in_flight -= 1
            exchange.seconds = self._clock() - exchange.started
            for observer in self._observers:
                observer.ended(exchange)

    async def _in_time(self, by: float, route: Route | None, incoming: Incoming) -> None:
        """Raises ``Refused`` where an answer takes too long, also when it has begun."""
        try:
            async with asyncio.timeout_at(by) as limit:
                await self._routed(route, incoming)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _too_late() from None

    async def _routed(self, route: Route | None, incoming: Incoming) -> None:
        """Raises ``Refused``, also when an answer has begun."""
        exchange = incoming.exchange
        if self.in_flight > self._settings.max_in_flight:
            raise _overloaded()
        if route is None:
            raise Refused(404, "not_found", "no upstream has this path: they begin with /v1/ or /NAME/v1/")
        exchange.upstream = route.upstream.name
        exchange.caller = self._identify(incoming.scope)
        if route.dialect is not None:
            await self._read(route, route.dialect, incoming)
            return
        if exchange.caller.limits.models is not None and exchange.method not in ("GET", "HEAD"):
            raise _model_unknown()
        await self._passing.on(route, incoming)

    async def _refuse(self, refused: Refused, dialect: Dialect | None, incoming: Incoming) -> None:
        incoming.exchange.error = refused.code
        if incoming.client.begun:
            return
        if dialect is None:
            body = _json({"error": {"message": refused.message, "type": "gateway_error", "code": refused.code}})
        else:
            body = dialect.error(refused.status, refused.code, refused.message)
        about = self._about(incoming.exchange)
        said = (header.JSON, self._dates.now(), header.NO_SNIFFING, *refused.headers, *about)
        await incoming.client.whole(refused.status, said, body)

    async def _read(self, route: Route, dialect: Dialect, incoming: Incoming) -> None:
        """A request that the cache may answer; one that can't be read is passed on as it came."""
        body = await self._body(incoming.receive)
        exchange, given = incoming.exchange, incoming.scope["headers"]
        exchange.request_bytes = len(body)
        known = self._reading.asked(route, dialect, body, exchange.caller, given)
        models = exchange.caller.limits.models
        if models is not None and (known is None or is_ambiguous(body)):
            raise _model_unknown()
        if known is None:
            await self._passing.on(route, incoming, body)
            return
        asked = known.asked
        exchange.model, exchange.stream = asked.request.model, asked.stream
        if models is not None and asked.request.model not in models:
            raise Refused(403, "model_not_allowed", "this credential may not use the model that the request names")
        exchange.controls = self._read_controls(given, exchange.caller)
        call = Call(
            dialect=dialect,
            upstream=route.upstream,
            known=known,
            asked=asked,
            target=target_of(route, incoming.scope),
            headers=given,
            body=body,
            exchange=exchange,
            client=incoming.client,
            receive=incoming.receive,
        )
        await self._answering.answer(call)

    async def _body(self, receive: Receive) -> bytes:
        """The whole body. Raises ``Refused`` where it is too long, or too slow."""
        message = await receive()
        first: bytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                async with asyncio.timeout(self._settings.body_timeout_seconds):
                    return await self._long_body(first, receive)
            except TimeoutError:
                raise Refused(408, "timeout", "the request's body took too long", headers=header.CLOSE) from None
        if len(first) > self._settings.max_body_bytes:
            raise self._too_long()
        return first

    async def _long_body(self, first: bytes, receive: Receive) -> bytes:
        parts, size, more = [first], len(first), True
        while more:
            if size > self._settings.max_body_bytes:
                raise self._too_long()
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "client_gone", "the request broke off", headers=header.CLOSE)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        if size > self._settings.max_body_bytes:
            raise self._too_long()
        return b"".join(parts)

    def _too_long(self) -> Refused:
        limit = self._settings.max_body_bytes
        return Refused(413, "request_too_large", f"the request is longer than {limit} bytes", headers=header.CLOSE)

    # Whether it is well.

    async def _healthz(self, _: Scope, __: Receive, send: Send) -> None:
        """The process answers."""
        await _plain(send, 200, {"status": "ok"})

    async def _readyz(self, _: Scope, __: Receive, send: Send) -> None:
        """It takes requests; without a cache too, since it then passes everything on, and says so."""
        cache = "open" if self.cache is not None else "unavailable"
        await _plain(send, 200, {"status": "ready", "cache": cache, "in_flight": self.in_flight})


def _overloaded() -> Refused:
    wait = ((b"retry-after", b"1"),)
    return Refused(503, "overloaded", "the gateway has as many requests in flight as it may", headers=wait)


def _ending() -> Refused:
    return Refused(503, "ending", "the gateway ends, and did not wait any longer", headers=header.CLOSE)


def _too_late() -> Refused:
    return Refused(504, "deadline", "no answer came within the time that the gateway has for one request")


def _model_unknown() -> Refused:
    return Refused(
        403, "model_not_allowed", "this credential may use certain models only, and the request's can't be read"
    )


async def _only_read(_: Scope, __: Receive, send: Send) -> None:
    error = {"message": "this can only be read: GET", "type": "gateway_error", "code": "method_not_allowed"}
    await _plain(send, 405, {"error": error}, ((b"allow", b"GET, HEAD"),))


async def _plain(send: Send, status: int, document: Mapping[str, object], more: Headers = ()) -> None:
    body = _json(document)
    said = [
        *more,
        header.JSON,
        header.NO_SNIFFING,
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body})
