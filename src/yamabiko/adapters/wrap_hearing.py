"""Step 8 of 9, behind a vendor's client: one call to the vendor, heard by the cache as its bytes go by. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from yamabiko.adapters.wrap_reading import Read
from yamabiko.errors import InvalidRequest
from yamabiko.types import Hit, Miss, Reply
from yamabiko.wire.cache_status import of_hit, of_miss
from yamabiko.wire.dialect import Listener
from yamabiko.wire.sse import Parser

_DECODED = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that don't fit a body any more that has been decoded."""
_UNREAD = Reply(text="", finish_reason="error")
"""What the cache is told of an answer that could not be read: never stored."""
_decode = msgspec.json.Decoder().decode


class Answered(Exception):
    """The vendor's answer is no success: whoever asked gets it as it came, and it is never stored."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"the vendor answered with status {response.status_code}")
        self.response = response


class Heard:
    """A call's answer. ``response`` is the vendor's, of httpx; None while this call has not reached the vendor.

    ``waiting`` are bytes that the caller has yet to get; ``last`` are those that end a stream, which the caller gets
    when the answer has been kept: who stops there loses nothing.
    """

    def __init__(self, read: Read) -> None:
        self.response: Any = None
        self.waiting: deque[bytes] = deque()
        self.last: list[bytes] = []
        self.done = False
        self._read = read
        self._parser = Parser()
        self._listener: Listener | None = read.dialect.listener()

    @property
    def events(self) -> bool:
        """Whether the vendor's answer comes in server-sent events."""
        kind: str = self.response.headers.get("content-type", "")
        return kind.startswith("text/event-stream")

    def hear(self, data: bytes) -> Iterator[str]:
        """The texts in the next bytes of a stream. What can't be read is passed on, and not stored."""
        for event in self._parser.feed(data) if self._listener is not None else ():
            try:
                chunk = self._listener.hear(event) if self._listener is not None else None
            except InvalidRequest:
                chunk, self._listener = None, None
            if chunk is None:
                return
            if chunk.text:
                yield chunk.text
            self.done = self.done or chunk.done

    def passed(self, data: bytes) -> None:
        """Bytes that have been heard, for the caller."""
        if self.done:
            self.last.append(data)
        else:
            self.waiting.append(data)

    def reply(self) -> Reply:
        """What the cache is told at the end of a stream, whose texts it has already."""
        try:
            reply = self._listener.reply() if self._listener is not None and self.done else _UNREAD
        except InvalidRequest:
            reply = _UNREAD
        return replace(reply, text="", chunk_lengths=())

    def whole(self) -> Iterator[str | Reply]:
        """What the cache is told of an answer in one document."""
        try:
            value = _decode(self.response.content)
            reply = self._read.dialect.reply(value) if isinstance(value, dict) else _UNREAD
        except (msgspec.DecodeError, InvalidRequest, RecursionError, UnicodeDecodeError):
            reply = _UNREAD
        yield reply.text
        yield replace(reply, text="", chunk_lengths=())


# What the caller gets: always a response of the HTTP library that the client uses.


def of_vendor(http: Any, heard: Heard, miss: Miss, request: Any, stream: Any = None) -> Any:
    """The vendor's own answer, with a word of the cache's; ``stream``: in pieces, as they come."""
    response = heard.response
    if stream is not None:
        kept = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _DECODED]
        extensions = {name: value for name, value in response.extensions.items() if name != "network_stream"}
        response = http.Response(
            response.status_code, headers=kept, stream=stream, request=request, extensions=extensions
        )
        response.elapsed = timedelta()
    for name, value in of_miss(miss, status=response.status_code):
        response.headers[name.decode()] = value.decode()
    return response


def of_cache(http: Any, read: Read, outcome: Hit | Miss, reply: Reply, request: Any) -> Any:
    """A stored answer, or another caller's, in the vendor's form."""
    told = of_hit(outcome) if isinstance(outcome, Hit) else of_miss(outcome, shared=True)
    if read.asked.stream:
        kind, content = b"text/event-stream; charset=utf-8", b"".join(read.dialect.frames(reply, read.asked))
    else:
        kind, content = b"application/json", read.dialect.body(reply, read.asked)
    response = http.Response(200, headers=[(b"content-type", kind), *told], content=content, request=request)
    response.elapsed = timedelta()
    return response


def again(http: Any, answered: Answered, heard: Heard, request: Any) -> Any:
    """An answer that is no success, for whoever caused it or waited for it."""
    response = answered.response
    if response is heard.response:
        return response
    kept = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _DECODED]
    copied = http.Response(response.status_code, headers=kept, content=response.content, request=request)
    copied.elapsed = timedelta()
    return copied


def lost(read: Read, reply: Reply) -> bool:
    """Whether a reply can't be told in this dialect, so that the vendor must be asked for this caller alone."""
    return reply.finish_reason == "error" or bool(read.dialect.loss(reply, read.asked))
