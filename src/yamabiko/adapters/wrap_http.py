"""Clients of httpx (and httpx2, its successor) that look into the cache before they send.

The vendors' clients hand every request, of whatever method of theirs, to one ``send`` of such a client: so nothing of
theirs is patched, and every way to ask is covered, with retries, parsing, streams and raw responses as they are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from functools import cache, partial
from typing import Any

from yamabiko.adapters.wrap_hearing import Answered, Heard, again, lost, of_cache, of_vendor
from yamabiko.adapters.wrap_reading import OURS, Read, Wishes, read
from yamabiko.cache import Cache
from yamabiko.errors import InvalidRequest
from yamabiko.stream import Stream
from yamabiko.sync import SyncCache, SyncStream
from yamabiko.types import Hit, Reply, Request

TAIL_SECONDS = 0.1
"""How long the end of a response is waited for after its terminal event, so that its connection can be kept."""
_LIBRARIES = ("httpx2", "httpx")


class _Looking:
    """What both clients are: everything but ``send`` is the given client's own, its connections and settings too."""

    def __init__(self, inner: Any, held: Any, vendor: str, wishes: Wishes) -> None:
        self.inner, self.held = inner, held
        self._vendor, self._wishes = vendor, wishes
        self._http = sys.modules[_library(type(inner))]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def is_closed(self) -> bool:
        """Whether the given client is closed."""
        return bool(self.inner.is_closed)

    def build_request(self, *arguments: Any, **options: Any) -> Any:
        """As the given client does it."""
        return self.inner.build_request(*arguments, **options)

    def _read(self, request: Any) -> Read | None:
        """What a request asks, and the request without what is not for the vendor."""
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        for name, _ in headers:
            if name.startswith(OURS):
                request.headers.pop(name.decode("latin-1"), None)
        try:
            body = request.content
        except self._http.RequestNotRead:
            return None
        url = str(request.url)
        return read(self._vendor, self._wishes, method=request.method, url=url, headers=headers, body=body)


class Looking(_Looking):
    """A client for code that does not await."""

    held: SyncCache

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """The response, from the cache or the vendor."""
        found = self._read(request)
        if found is None:
            return self.inner.send(request, stream=stream, **options)
        send = partial(self.inner.send, request, **options)
        heard = Heard(found)
        answer = self.held.stream(found.request, partial(_asked, send, heard), controls=found.controls)
        try:
            next(answer, None)
            outcome = answer.outcome
            assert outcome is not None
            if heard.response is not None and not isinstance(outcome, Hit):
                if heard.events:
                    pieces = _made(_Pieces, self._http.SyncByteStream)(heard, answer)
                    return of_vendor(self._http, heard, outcome, request, pieces)
                answer.whole()
                return of_vendor(self._http, heard, outcome, request)
            reply = answer.whole()
        except Answered as answered:
            return again(self._http, answered, heard, request)
        except InvalidRequest:
            return send(stream=stream)
        if reply is None or lost(found, reply):
            return send(stream=stream)
        return of_cache(self._http, found, outcome, reply, request)

    def close(self) -> None:
        """Close the given client."""
        self.inner.close()


class AsyncLooking(_Looking):
    """The same for code that awaits."""

    held: Cache

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """The response, from the cache or the vendor."""
        found = self._read(request)
        if found is None:
            return await self.inner.send(request, stream=stream, **options)
        send = partial(self.inner.send, request, **options)
        heard = Heard(found)
        answer = self.held.stream(found.request, partial(_asked_async, send, heard), controls=found.controls)
        try:
            await anext(answer, None)
            outcome = answer.outcome
            assert outcome is not None
            if heard.response is not None and not isinstance(outcome, Hit):
                if heard.events:
                    pieces = _made(_AsyncPieces, self._http.AsyncByteStream)(heard, answer)
                    return of_vendor(self._http, heard, outcome, request, pieces)
                await _rest(answer)
                return of_vendor(self._http, heard, outcome, request)
            await _rest(answer)
            reply = answer.reply
        except Answered as answered:
            return again(self._http, answered, heard, request)
        except InvalidRequest:
            return await send(stream=stream)
        if reply is None or lost(found, reply):
            return await send(stream=stream)
        return of_cache(self._http, found, outcome, reply, request)

    async def aclose(self) -> None:
        """Close the given client."""
        await self.inner.aclose()


def looking(inner: Any, held: Cache | SyncCache, vendor: str, wishes: Wishes) -> Any:
    """A client that looks into the cache first, and is of the same class as far as anybody asks."""
    given = inner.inner if isinstance(inner, _Looking) else inner  # wrapped again: with other wishes
    http = sys.modules[_library(type(given))]
    made = _made(Looking, http.Client) if isinstance(given, http.Client) else _made(AsyncLooking, http.AsyncClient)
    return made(given, held, vendor, wishes)


@cache
def _made(ours: type, theirs: type) -> Callable[..., Any]:
    """Ours, as the library wants to see it."""
    return type(ours.__name__, (ours, theirs), {})


def _library(given: type) -> str:
    """Of which library a client is."""
    names = {kind.__module__.partition(".")[0] for kind in given.__mro__}
    return next(name for name in _LIBRARIES if name in names)


# The call to the vendor, as the cache's generator: a piece without text whenever the caller has something to get.


def _asked(send: Callable[..., Any], heard: Heard, _: Request) -> Iterator[str | Reply]:
    response = send(stream=True)
    try:
        heard.response = response
        if not response.is_success:
            response.read()
            raise Answered(response)
        if not heard.events:
            response.read()
            yield from heard.whole()
            return
        yield ""
        for data in response.iter_bytes():
            yield from heard.hear(data)
            heard.passed(data)
            if heard.done:
                break
            yield ""
        yield heard.reply()
    finally:
        response.close()


async def _asked_async(send: Callable[..., Any], heard: Heard, _: Request) -> AsyncIterator[str | Reply]:
    response = await send(stream=True)
    try:
        heard.response = response
        if not response.is_success:
            await response.aread()
            raise Answered(response)
        if not heard.events:
            await response.aread()
            for item in heard.whole():
                yield item
            return
        yield ""
        async with aclosing(response.aiter_bytes()) as pieces:
            async for data in pieces:
                for text in heard.hear(data):
                    yield text
                heard.passed(data)
                if heard.done:
                    break
                yield ""
            if heard.done:
                await _tail(pieces, heard, sys.modules[_library(type(response))].HTTPError)
        yield heard.reply()
    finally:
        await response.aclose()


async def _tail(pieces: AsyncIterator[bytes], heard: Heard, broken: type[Exception]) -> None:
    with suppress(TimeoutError, broken):
        async with asyncio.timeout(TAIL_SECONDS):
            async for data in pieces:
                heard.passed(data)


# What the caller reads.


class _Pieces:
    """The vendor's bytes as they come; at their end the answer is kept."""

    def __init__(self, heard: Heard, answer: SyncStream) -> None:
        self._heard, self._answer = heard, answer
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        more: str | None = ""
        while more is not None:
            while self._heard.waiting:
                yield self._heard.waiting.popleft()
            more = next(self._answer, None)
        self._ended = True
        yield from self._heard.waiting
        yield from self._heard.last

    def close(self) -> None:
        """Whoever stops early gives the answer up, unless others wait for it."""
        if not self._ended:
            self._ended = True
            self._answer.close()


class _AsyncPieces:
    """The same for code that awaits."""

    def __init__(self, heard: Heard, answer: Stream) -> None:
        self._heard, self._answer = heard, answer
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more: str | None = ""
        while more is not None:
            while self._heard.waiting:
                yield self._heard.waiting.popleft()
            more = await anext(self._answer, None)
        self._ended = True
        for data in (*self._heard.waiting, *self._heard.last):
            yield data

    async def aclose(self) -> None:
        """Whoever stops early gives the answer up, unless others wait for it."""
        if not self._ended:
            self._ended = True
            await self._answer.aclose()


async def _rest(answer: Stream) -> None:
    async for _ in answer:
        pass
