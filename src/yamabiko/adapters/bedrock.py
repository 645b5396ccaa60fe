"""boto3's ``bedrock-runtime`` client, with ``converse`` and ``converse_stream`` through the cache.

A wrapped client is an object of a class of its own that inherits from the client's: all else is inherited, and the
given client stays as it was.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from yamabiko.adapters.wrap_reading import Wishes
from yamabiko.errors import InvalidRequest
from yamabiko.sync import SyncCache, SyncStream
from yamabiko.types import Hit, Miss, Reply, Request
from yamabiko.wire import converse
from yamabiko.wire.cache_status import of_hit, of_miss
from yamabiko.wire.converse_reply import Assembly, events_from, reply_from, response_from
from yamabiko.wire.replay import loss

SERVICE = "bedrock-runtime"
_USUAL = (".amazonaws.com", ".amazonaws.com.cn")
"""Hosts whose answers are shared; one by any other name has answers of its own."""
_UNREAD = Reply(text="", finish_reason="error")


class _Heard:
    """One call's answer: the vendor's response, the events that the caller has yet to get, and those that end it."""

    def __init__(self) -> None:
        self.response: dict[str, Any] | None = None
        self.waiting: deque[Mapping[str, Any]] = deque()
        self.last: list[Mapping[str, Any]] = []


class Converse:
    """What a wrapped client does itself. Everything else is the client's own."""

    _yamabiko: tuple[SyncCache, Wishes]
    meta: Any
    """The client's: its endpoint is asked."""

    def converse(self, **arguments: Any) -> dict[str, Any]:
        """boto3's ``converse``, from the cache where it can answer; ``ResponseMetadata`` says where it came from."""
        ask = self._own("converse")
        request = self._request(arguments)
        if request is None:
            response: dict[str, Any] = ask(**arguments)
            return response
        heard = _Heard()

        def generate(_: Request) -> Iterator[str | Reply]:
            heard.response = ask(**arguments)
            yield from _whole(heard.response, request.model)

        answer = self._answer(request, generate)
        reply = answer.whole()
        outcome = answer.outcome
        assert outcome is not None
        if heard.response is not None and not isinstance(outcome, Hit):
            return _told(heard.response, outcome)
        if reply is None or _lost(reply):
            return dict(ask(**arguments))
        return _told(response_from(reply, replayed=True), outcome)

    def converse_stream(self, **arguments: Any) -> dict[str, Any]:
        """boto3's ``converse_stream``: an answer that is stored comes in the pieces that it was once streamed in."""
        ask = self._own("converse_stream")
        request = self._request(arguments)
        if request is None:
            response: dict[str, Any] = ask(**arguments)
            return response
        heard = _Heard()

        def generate(_: Request) -> Iterator[str | Reply]:
            heard.response = ask(**arguments)
            yield ""
            yield from _pieces(heard, request.model)

        answer = self._answer(request, generate)
        next(answer, None)
        outcome = answer.outcome
        assert outcome is not None
        if heard.response is not None and not isinstance(outcome, Hit):
            return _told({**heard.response, "stream": _stream(_passed(heard, answer), answer)}, outcome)
        reply = answer.whole()
        if reply is None or _lost(reply):
            return dict(ask(**arguments))
        return _told({"stream": _stream(events_from(reply, replayed=True), answer)}, outcome)

    def _own(self, name: str) -> Callable[..., dict[str, Any]]:
        """A method as the client's class has it, which comes after this one."""
        method: Callable[..., dict[str, Any]] = getattr(super(), name)
        return method

    def _request(self, arguments: Mapping[str, Any]) -> Request | None:
        """What is asked; None for what can't be read: the vendor knows best what is wrong with it."""
        wishes, url = self._yamabiko[1], self.meta.endpoint_url
        apart = "" if (urlsplit(url).hostname or "").endswith(_USUAL) else url
        if "yamabiko_upstream" in arguments:
            return None
        said = {**arguments, "yamabiko_upstream": apart} if apart else arguments
        try:
            return wishes.on(converse.request_from(said, tenant=wishes.tenant, user=wishes.user))
        except InvalidRequest:
            return None

    def _answer(self, request: Request, generate: Any) -> SyncStream:
        held, wishes = self._yamabiko
        return held.stream(request, generate, controls=wishes.controls)


def wrapped(client: Any, held: SyncCache, wishes: Wishes) -> Any:
    """A client of the same class, with the same connections, that looks into the cache first."""
    given: type = type(client)
    kind: Any = given if issubclass(given, Converse) else _made(Converse, given)
    made = kind.__new__(kind)
    vars(made).update(vars(client))
    made._yamabiko = (held, wishes)  # noqa: SLF001 - an object of our own class, made here
    return made


def _made(ours: type, theirs: type) -> Any:
    return type(theirs.__name__, (ours, theirs), {})


def _lost(reply: Reply) -> bool:
    """Whether a reply can't be told as Bedrock would, so that it must be asked for this caller alone."""
    return reply.finish_reason == "error" or bool(loss(reply, converse.API))


def _whole(response: Mapping[str, Any], model: str) -> Iterator[str | Reply]:
    try:
        reply = reply_from({name: value for name, value in response.items() if name != "ResponseMetadata"}, model=model)
    except InvalidRequest:
        reply = _UNREAD
    yield reply.text
    yield replace(reply, text="", chunk_lengths=())


def _pieces(heard: _Heard, model: str) -> Iterator[str | Reply]:
    """The texts of a stream of events, which the caller gets as they are; at the end, the reply."""
    assert heard.response is not None
    assembly: Assembly | None = Assembly(model)
    stream = heard.response["stream"]
    try:
        for event in stream:
            try:
                text = assembly.add(event).text if assembly is not None else ""
            except InvalidRequest:
                text, assembly = "", None
            if text:
                yield text
            if heard.last or "metadata" in event:  # the last one, as far as is known
                heard.last.append(event)
            else:
                heard.waiting.append(event)
                yield ""
        reply = assembly.reply() if assembly is not None else _UNREAD
        yield replace(reply, text="", chunk_lengths=())
    finally:
        stream.close()


def _passed(heard: _Heard, answer: SyncStream) -> Iterator[Mapping[str, Any]]:
    """The vendor's events as they come; at their end the answer is kept."""
    more: str | None = ""
    while more is not None:
        while heard.waiting:
            yield heard.waiting.popleft()
        more = next(answer, None)
    yield from heard.waiting
    yield from heard.last


class _Events:
    """botocore's ``EventStream``, of events that are there already or come from elsewhere."""

    def __init__(self, events: Iterator[Mapping[str, Any]], answer: SyncStream) -> None:
        self._events, self._answer = events, answer

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self._events

    def close(self) -> None:
        """Whoever stops early gives the answer up, unless others wait for it."""
        self._answer.close()


def _stream(events: Iterator[Mapping[str, Any]], answer: SyncStream) -> Any:
    return _made(_Events, sys.modules["botocore.eventstream"].EventStream)(events, answer)


def _told(response: Mapping[str, Any], outcome: Hit | Miss) -> dict[str, Any]:
    """A response with a word of the cache's among the headers of its metadata."""
    kept = response.get("ResponseMetadata") or {"RequestId": "", "HTTPStatusCode": 200, "RetryAttempts": 0}
    said = of_hit(outcome) if isinstance(outcome, Hit) else of_miss(outcome)
    headers = {**kept.get("HTTPHeaders", {}), **{name.decode(): value.decode() for name, value in said}}
    return {**response, "ResponseMetadata": {**kept, "HTTPHeaders": headers}}
