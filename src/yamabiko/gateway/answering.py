"""A request in a dialect, through the cache: the path's four ways in, as HTTP has them.

Whoever causes a call gets the upstream's own bytes as they come, and so does everybody who asks the same in the same
form meanwhile. A client that goes away takes nothing from them and does not lose the entry: its exchange goes on with
nobody to send to. What bypasses the cache is stored by nobody, so there the call ends with its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from yamabiko.cache import Cache
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest, NotStored
from yamabiko.flight import Background
from yamabiko.gateway.client import unless_gone
from yamabiko.gateway.exchange import Exchange, Headers, Refused
from yamabiko.gateway.headers import EVENTS, JSON, NO_SNIFFING, Dates
from yamabiko.gateway.proxy import Proxy
from yamabiko.gateway.relay import Relay
from yamabiko.gateway.retold import Retold
from yamabiko.gateway.upstream_call import Ambiguous, Answered, Call, generate, is_ambiguous
from yamabiko.generators.passages import NO_PASSAGES
from yamabiko.settings import GatewaySettings
from yamabiko.stream import Stream, unheard, whole
from yamabiko.types import Hit, Miss, MissReason, Reply, Request

ANNOUNCED_SECONDS = 1.0
"""So long after its end a call's bytes can still be found by those who waited for it."""
NOT_STORED = "not_stored"
_NOT_READY = "the store could not be opened yet"


class Answering:
    """Answers calls from a cache, or by a proxy. ``cache`` is None while it can't be opened: then all is passed on."""

    def __init__(
        self,
        proxy: Proxy,
        settings: GatewaySettings,
        *,
        about: Callable[[Exchange], list[tuple[bytes, bytes]]],
        dates: Dates,
    ) -> None:
        self.cache: Cache | None = None
        self._proxy = proxy
        self._settings = settings
        self._about = about
        self._dates = dates
        self._behind = Background()
        self._retold = Retold()
        self._live: dict[int, tuple[Request, Relay, Call]] = {}

    async def answer(self, call: Call) -> None:
        """Answer one call. Raises ``Refused`` while nothing has been sent."""
        try:
            await self._answer(call)
        except Answered as answered:
            if not call.client.begun and not await self._instead(call, transient=_is_transient(answered.status)):
                headers = [*answered.headers, *self._about(call.exchange)]
                await call.client.whole(answered.status, _without_length(headers), answered.body)
        except Refused as refused:
            transient = refused.status >= 500 and refused.code != NOT_STORED
            if not call.client.begun and not await self._instead(call, transient=transient):
                raise

    async def drain(self) -> None:
        """Wait for what is being stored behind answers."""
        await self._behind.drain()

    async def _answer(self, call: Call) -> None:
        if self.cache is None:
            await self._alone(call, MissReason.STORE_UNAVAILABLE, _NOT_READY)
        elif call.asked.request.bypass:
            await _unless_gone(self._through(self.cache, call), call)
        elif not (call.exchange.controls.read and call.exchange.controls.store):
            await self._by_oneself_unless_stored(self.cache, call)
        else:
            await self._shared(self.cache, call)

    async def _shared(self, cache: Cache, call: Call) -> None:
        """Through the cache; where a body can be read in two ways, nobody shares its answer."""
        try:
            await self._through(cache, call)
        except Ambiguous:
            if is_ambiguous(call.body):
                await self._bypassing(call, "the request names a member twice")
            else:  # it was another's, whom this one had joined
                await self._by_oneself_unless_stored(cache, call)
        except InvalidRequest:
            if not call.client.begun:
                await self._bypassing(call, "the request can't be read")

    async def _bypassing(self, call: Call, why: str) -> None:
        """Generate for this client alone, and store nothing."""
        call.asked = replace(call.asked, request=replace(call.asked.request, bypass=why))
        assert self.cache is not None
        await _unless_gone(self._through(self.cache, call), call)

    # Through the cache: one generation for all who wait.

    async def _through(self, cache: Cache, call: Call) -> None:
        place = call.known.place(cache, call.asked.request)
        stream = await cache.begin(place, partial(self._generate, call), controls=call.exchange.controls)
        if isinstance(stream, Hit):
            call.exchange.outcome = stream
            await self._stored(call, stream.reply)
            return
        async with aclosing(stream):
            try:
                await anext(stream, None)
            except NotStored as error:
                raise _not_stored() from error
            finally:
                call.exchange.outcome = stream.outcome
            outcome = stream.outcome
            if isinstance(outcome, Hit):
                await _rest(stream)
                await self._stored(call, outcome.reply)
                return
            found = self._live.get(id(outcome.request)) if outcome is not None else None
            if found is None or outcome is None or found[0] is not outcome.request or not call.same_bytes(found[2]):
                call.exchange.shared = True
                await _rest(stream)
                await self._waited_for(call, stream.reply)
            else:
                call.exchange.shared = found[2] is not call
                await self._relayed(call, found[1])
                with suppress(Refused):  # the client has been told within the stream
                    await _rest(stream)
            self._spent(call, stream.reply)

    async def _generate(self, call: Call, request: Request) -> AsyncIterator[str | Reply]:
        """The cache's generator. Runs in a task of its own, perhaps after its exchange, perhaps for others."""
        if not request.bypass and is_ambiguous(call.body):
            raise Ambiguous
        relay = Relay(alone=bool(request.bypass))
        self._live[id(request)] = (request, relay, call)
        try:
            async with aclosing(self._asked(call, relay)) as items:
                async for item in items:
                    yield item
        finally:
            asyncio.get_running_loop().call_later(ANNOUNCED_SECONDS, self._forget, request, relay)

    def _asked(self, call: Call, relay: Relay) -> AsyncGenerator[str | Reply, None]:
        return generate(self._proxy, call, relay, max_bytes=self._settings.max_reply_bytes)

    def _forget(self, request: Request, relay: Relay) -> None:
        found = self._live.get(id(request))
        if found is not None and found[1] is relay:
            del self._live[id(request)]

    # For one client: what a request forbids, and what the cache can't do.

    async def _by_oneself_unless_stored(self, cache: Cache, call: Call) -> None:
        """What is stored, or an answer that is made for nobody else: it may have to be new, or not to be stored."""
        exchange, request = call.exchange, call.asked.request
        outcome = exchange.outcome = await cache.lookup(request, controls=exchange.controls)
        if isinstance(outcome, Hit):
            await self._stored(call, outcome.reply)
            return
        if not exchange.controls.forward:
            raise _not_stored()
        if exchange.controls.store:
            reply = await self._by_oneself(call, Relay())
            if outcome.key is not None and not is_ambiguous(call.body):
                self._behind.spawn("storing", cache.remember(outcome, reply))
        else:
            await _unless_gone(self._by_oneself(call, Relay(alone=True)), call)

    async def _alone(self, call: Call, reason: MissReason, why: str) -> None:
        request = call.asked.request
        if not call.exchange.controls.forward:
            raise _not_stored()
        miss = Miss(request=request, key=None, canonical=normalise(request), reason=reason, reasons=(why,))
        call.exchange.outcome = miss
        await _unless_gone(self._by_oneself(call, Relay(alone=True)), call)

    async def _by_oneself(self, call: Call, relay: Relay) -> Reply:
        """Generate without the cache; the client gets the bytes as they come."""
        make = whole(lambda _: self._asked(call, relay), unheard)
        loop = asyncio.get_running_loop()
        making = loop.create_task(_made(make(call.asked.request)))
        try:
            await relay.opened()
            if relay.is_open:
                await self._relayed(call, relay)
            reply = await making
        finally:
            making.cancel()
        self._spent(call, reply)
        return reply

    # What the client is sent.

    async def _relayed(self, call: Call, relay: Relay) -> None:
        """The upstream's own bytes; its headers only for the client that caused them."""
        kept = relay.headers if not call.exchange.shared else [pair for pair in relay.headers if pair[0] == JSON[0]]
        await call.client.begin(relay.status, [*kept, *self._about(call.exchange)])
        async with aclosing(relay.follow()) as pieces:
            async for data in pieces:
                await call.client.piece(data)
        if relay.broken:
            call.exchange.error = relay.broken
            frame = call.dialect.error_frame(relay.broken, "the upstream's answer broke off")
            await call.client.piece(frame)
        await call.client.piece(b"", more=False)

    async def _waited_for(self, call: Call, reply: Reply | None) -> None:
        """An answer that another kind of request has caused."""
        if reply is None or reply.finish_reason == "error":
            raise Refused(502, "upstream_broken", "the answer that this request waited for did not come to its end")
        found_nothing = reply.finish_reason == NO_PASSAGES
        await self._stored(call, replace(reply, finish_reason="stop") if found_nothing else reply)

    async def _stored(self, call: Call, reply: Reply) -> None:
        """A stored answer, or one that was made for another, in the dialect's own bytes."""
        lost = call.dialect.loss(reply, call.asked)
        if lost:
            await self._bypassing(call, lost)
            return
        self._spent(call, reply)
        said = [EVENTS if call.asked.stream else JSON, self._dates.now(), NO_SNIFFING, *self._about(call.exchange)]
        if not (call.asked.stream and self._settings.replay_seconds):
            await call.client.whole(200, said, self._retold.body(call.known, reply, partial(_body, call, reply)))
            return
        await call.client.begin(200, said)
        for frame in call.dialect.frames(reply, call.asked):
            await call.client.piece(frame)
            await asyncio.sleep(self._settings.replay_seconds)
        await call.client.piece(b"", more=False)

    async def _instead(self, call: Call, *, transient: bool) -> bool:
        """A stored answer where the upstream has failed, if the policy has a stale window; whether there was one."""
        cache, exchange = self.cache, call.exchange
        if cache is None or not transient or not cache.policy.stale_seconds or call.asked.request.bypass:
            return False
        found = await cache.lookup(call.asked.request, controls=exchange.controls)
        if not isinstance(found, Hit) or call.dialect.loss(found.reply, call.asked):
            return False
        exchange.outcome, exchange.stale_if_error = found, True
        await self._stored(call, found.reply)
        return True

    def _spent(self, call: Call, reply: Reply | None) -> None:
        if reply is not None:
            exchange = call.exchange
            exchange.finish_reason = reply.finish_reason
            exchange.input_tokens, exchange.output_tokens = reply.usage.input_tokens, reply.usage.output_tokens
            exchange.cost_usd = reply.cost_usd


def _body(call: Call, reply: Reply) -> bytes:
    """All of an answer, as a stream too."""
    dialect, asked = call.dialect, call.asked
    return b"".join(dialect.frames(reply, asked)) if asked.stream else dialect.body(reply, asked)


async def _rest(stream: Stream) -> None:
    """To the end: only then is an answer stored."""
    async for _ in stream:
        pass


async def _made(work: Awaitable[Reply]) -> Reply:
    return await work


async def _unless_gone(work: Coroutine[Any, Any, object], call: Call) -> None:
    if not await unless_gone(work, call.receive):
        call.exchange.error = "client_gone"


def _not_stored() -> Refused:
    """Source: RFC 9111, 5.2.1.7."""
    return Refused(504, NOT_STORED, "no stored answer will do, and the request forbids to ask the upstream")


def _is_transient(status: int) -> bool:
    return status == 429 or status >= 500


def _without_length(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The body is sent whole, with its length."""
    return [pair for pair in headers if pair[0] != b"content-length"]
