"""OpenAI's Chat Completions, as Yamabiko speaks them; what every OpenAI-compatible server speaks.

Usage is marked as cached in the vendor's own field: all of the prompt counts as ``cached_tokens``; the other counts are
what the answer once took. A stream that did not report its usage leaves none to replay.

Source: the OpenAI API reference, "Chat Completions" and "Streaming" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.message import canonical_json
from yamabiko.types import Reply, Usage
from yamabiko.wire import openai
from yamabiko.wire.dialect import Asked, Dialect, Listener
from yamabiko.wire.replay import keep, kept, loss, made_id
from yamabiko.wire.sse import Chunk, Event

API = "chat"
_ENVELOPE = ("id", "created", "system_fingerprint", "service_tier")
_SAID = frozenset({"role", "content", "tool_calls", "function_call"})
"""Members of a message that have a place of their own in a ``Reply``."""
_TEXTS = frozenset({"text", "refusal"})
_HELD: Mapping[str, str] = {
    "image_url": "an image",
    "input_audio": "audio",
    "file": "a file",
}
_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_encode = msgspec.json.Encoder().encode


class ChatListener:
    """Reads one stream of Chat Completions; fragments that the stream came in are put together again."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._rest: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        self._logprobs: dict[str, Any] = {}
        self._calls: dict[object, dict[str, Any]] = {}
        self._model = self._finish_reason = ""
        self._usage: Usage | None = None

    def hear(self, event: Event, /) -> Chunk:
        """What this event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        if event.data.strip() == "[DONE]":
            return Chunk(done=True)
        value = openai.event_from(event.data)
        chunk = openai.chunk_of(value)
        if chunk.text:
            self._texts.append(chunk.text)
        self._model = chunk.model or self._model
        if self._finish_reason not in ("error", "content_filter"):
            self._finish_reason = chunk.finish_reason or self._finish_reason
        self._usage = chunk.usage or self._usage
        self._rest |= {name: value[name] for name in (*_ENVELOPE, "usage") if value.get(name) is not None}
        for choice in _choices(value):
            _grow(self._logprobs, choice.get("logprobs") or {})
            delta = choice.get("delta") or {}
            _grow(self._message, {name: part for name, part in delta.items() if name not in _SAID})
            self._call(delta)
        return chunk

    def _call(self, delta: Mapping[str, Any]) -> None:
        for call in delta.get("tool_calls") or ():
            if not isinstance(call, Mapping):
                raise InvalidRequest("each of tool_calls must be an object")
            whole = self._calls.setdefault(call.get("index", len(self._calls)), {})
            _grow(whole, {name: part for name, part in call.items() if name != "index"}, named=("id", "type"))
        if isinstance(delta.get("function_call"), Mapping):
            _grow(self._calls.setdefault("function_call", {}), delta["function_call"])

    def reply(self) -> Reply:
        """What the stream added up to."""
        return Reply(
            text="".join(self._texts),
            model=self._model,
            finish_reason=self._finish_reason or "error",
            usage=self._usage or Usage(),
            chunk_lengths=tuple(map(len, self._texts)),
            tool_calls=tuple(canonical_json(call) for call in self._calls.values()),
            extra=_extra(self._rest, self._message, self._logprobs),
        )


def _choices(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = event.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, Mapping) for choice in choices):
        raise InvalidRequest("choices must be a list of objects")
    for choice in choices:
        if not isinstance(choice.get("delta") or {}, Mapping):
            raise InvalidRequest("choices must be a list of objects with a delta")
    return choices


def _grow(whole: dict[str, Any], part: Mapping[str, Any], *, named: tuple[str, ...] = ()) -> None:
    """Add a fragment: texts and lists go on, objects member by member; ``named`` members are said once."""
    if not isinstance(part, Mapping):
        raise InvalidRequest("a fragment of a stream must be an object")
    for name, value in part.items():
        before = whole.get(name)
        if value is None:
            continue
        if isinstance(before, str) and isinstance(value, str) and name not in named:
            whole[name] = before + value
        elif isinstance(before, list) and isinstance(value, list):
            whole[name] = [*before, *value]
        elif isinstance(value, Mapping):
            inner = whole[name] = dict(before) if isinstance(before, Mapping) else {}
            _grow(inner, value)
        else:
            whole[name] = value


def _extra(envelope: Mapping[str, Any], message: Mapping[str, Any], logprobs: Mapping[str, Any]) -> str:
    rest = {name: envelope[name] for name in (*_ENVELOPE, "usage") if envelope.get(name) is not None}
    said = {name: value for name, value in message.items() if name not in _SAID and value not in (None, "", [], {})}
    found = {name: value for name, value in logprobs.items() if value}
    return keep(API, rest | {"message": said, "logprobs": found})


class Chat:
    """The dialect. See ``Dialect``."""

    @property
    def name(self) -> str:
        """See ``Dialect.name``."""
        return API

    @property
    def vendor(self) -> str:
        """See ``Dialect.vendor``."""
        return "openai"

    @property
    def paths(self) -> tuple[str, ...]:
        """See ``Dialect.paths``."""
        return ("/chat/completions",)

    def asked(self, body: Mapping[str, Any], /, *, tenant: str, user: str) -> Asked:
        """See ``Dialect.asked``."""
        request = openai.request_from(body, tenant=tenant, user=user)
        bypass = request.bypass or _bypass(body)
        if bypass != request.bypass:
            request = replace(request, bypass=bypass)
        told = [body.get(name) for name in ("stream_options", "service_tier")]
        stream = body.get("stream") is True
        return Asked(request=request, stream=stream, shape=canonical_json(told) if any(told) else "", body=body)

    def reply(self, body: Mapping[str, Any], /) -> Reply:
        """See ``Dialect.reply``."""
        reply = openai.reply_from(body)
        choice = body["choices"][0]
        logprobs = choice.get("logprobs")
        extra = _extra(body, choice["message"], logprobs if isinstance(logprobs, Mapping) else {})
        return replace(reply, extra=extra)

    def listener(self) -> Listener:
        """See ``Dialect.listener``."""
        return ChatListener()

    def loss(self, reply: Reply, _: Asked, /) -> str:
        """See ``Dialect.loss``."""
        return loss(reply, API)

    def body(self, reply: Reply, _: Asked, /) -> bytes:
        """See ``Dialect.body``."""
        rest = _kept(reply)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
        message |= rest.get("message", {})
        if reply.tool_calls:
            message |= _tool_calls(reply)
        elif not reply.text and not message["refusal"]:
            message["content"] = ""
        choice = {
            "index": 0,
            "message": message,
            "logprobs": rest.get("logprobs"),
            "finish_reason": reply.finish_reason,
        }
        told = {**_envelope(reply, rest, "chat.completion"), "choices": [choice]}
        usage = _usage(reply, rest)
        return _encode(told | {"usage": usage} if usage else told)

    def frames(self, reply: Reply, asked: Asked, /) -> Iterator[bytes]:
        """See ``Dialect.frames``."""
        rest = _kept(reply)
        options = asked.body.get("stream_options")
        with_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        envelope = _envelope(reply, rest, "chat.completion.chunk")
        if with_usage:
            envelope["usage"] = None
        logprobs = _Logprobs(rest.get("logprobs"))

        def frame(delta: Mapping[str, Any], *, finish_reason: str | None = None, found: object = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": found, "finish_reason": finish_reason}
            return b"data: " + _encode({**envelope, "choices": [choice]}) + b"\n\n"

        yield frame({"role": "assistant", "content": "", "refusal": None})
        for name, value in rest.get("message", {}).items():
            yield frame({name: value})
        pieces = [piece for piece in reply.chunks() if piece]
        for at, piece in enumerate(pieces, 1):
            yield frame({"content": piece}, found=logprobs.of(piece, last=at == len(pieces)))
        if reply.tool_calls:
            calls = _tool_calls(reply)
            for index, call in enumerate(calls.pop("tool_calls", ())):
                yield frame({"tool_calls": [{"index": index, **call}]})
            if calls:
                yield frame(calls)
        yield frame({}, finish_reason=reply.finish_reason)
        usage = _usage(reply, rest)
        if with_usage and usage:
            yield b"data: " + _encode({**envelope, "choices": [], "usage": usage}) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def error(self, status: int, code: str, message: str, /) -> bytes:
        """See ``Dialect.error``."""
        kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def error_frame(self, code: str, message: str, /) -> bytes:
        """See ``Dialect.error_frame``."""
        return b"\n\ndata: " + self.error(502, code, message) + b"\n\n"


class _Logprobs:
    """Log probabilities of tokens, dealt out to the pieces that the tokens stand in."""

    def __init__(self, found: object) -> None:
        self._left: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {}

    def of(self, piece: str, *, last: bool) -> dict[str, Any] | None:
        """Those of one piece; the last piece gets what is left."""
        if not self._left:
            return None
        tokens = self._left.get("content")
        if not isinstance(tokens, list):
            tokens = []
        count = length = 0
        while count < len(tokens) and length < len(piece):
            token = tokens[count].get("token") if isinstance(tokens[count], Mapping) else None
            length += len(token) if isinstance(token, str) else 1
            count += 1
        if last:
            left, self._left = self._left, {}
            return left
        if not count:
            return None
        self._left["content"] = tokens[count:]
        return {"content": tokens[:count]}


def _bypass(body: Mapping[str, Any]) -> str:
    """Why a request must not meet the cache, in a sentence; empty where it may."""
    if body.get("audio") or body.get("modalities") not in (None, [], ["text"]):
        return "the request asks for more than text"
    if body.get("web_search_options") is not None:
        return "the request asks for a search of the web"
    for message in body["messages"]:
        if message["role"] in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
            return "the conversation holds calls of tools or their results"
        if message.get("audio"):
            return "the conversation holds audio"
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            kind = block.get("type") if isinstance(block, Mapping) else None
            if kind is None:  # the vendor refuses it, so that it is no other way to write a text
                return openai.UNTYPED
            if str(kind) not in _TEXTS:
                return f"the conversation holds {_HELD.get(str(kind), 'more than text')}"
    return ""


def _kept(reply: Reply) -> Mapping[str, Any]:
    api, rest = kept(reply)
    return rest if api == API else {}


def _envelope(reply: Reply, rest: Mapping[str, Any], kind: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": rest.get("id") or made_id("chatcmpl-", reply),
        "object": kind,
        "created": rest.get("created") or 0,
        "model": reply.model,
    }
    return told | {name: rest[name] for name in _ENVELOPE[2:] if name in rest}


def _tool_calls(reply: Reply) -> dict[str, Any]:
    """The members of a message that say which tools are called, in the form that they came in."""
    calls = [json.loads(call) for call in reply.tool_calls]
    told: dict[str, Any] = {"tool_calls": [call for call in calls if "function" in call or "custom" in call]}
    older = [call for call in calls if call not in told["tool_calls"]]
    if older:
        told["function_call"] = older[-1]
    return {name: value for name, value in told.items() if value}


def _usage(reply: Reply, rest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage as it was written, marked as cached; None where the vendor told nothing."""
    usage = rest.get("usage")
    if not isinstance(usage, Mapping):
        if reply.usage == Usage():
            return None
        spent = reply.usage
        usage = {
            "prompt_tokens": spent.input_tokens,
            "completion_tokens": spent.output_tokens,
            "total_tokens": spent.input_tokens + spent.output_tokens,
        }
    details = usage.get("prompt_tokens_details")
    marked = {**(details if isinstance(details, Mapping) else {}), "cached_tokens": usage.get("prompt_tokens", 0)}
    return {**usage, "prompt_tokens_details": marked}


if TYPE_CHECKING:
    _: Dialect = Chat()
