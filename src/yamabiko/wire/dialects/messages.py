"""Anthropic's Messages, as Yamabiko speaks them.

An answer is told again block by block as it was made: thinking with its signature, citations, what the vendor's own
tools found, each text in the pieces it was streamed in. What another API made is told where it is nothing but a text
(``wire.replay.loss``).

Usage is marked as cached in the vendor's own fields: all input counts as ``cache_read_input_tokens``, none as written
to a cache, so that the sum of the three stays what it was; ``output_tokens`` is what the answer once took.

Source: the Anthropic API reference, "Messages", "Streaming messages" and "Errors" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from yamabiko.types import Reply
from yamabiko.wire import anthropic
from yamabiko.wire.dialect import Asked, Dialect, Listener
from yamabiko.wire.replay import about, cut, kept, loss, made_id
from yamabiko.wire.sse import Chunk, Event

_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_encode = msgspec.json.Encoder().encode


class MessagesListener:
    """Reads one stream of Messages."""

    def __init__(self) -> None:
        self._assembly = anthropic.Assembly()

    def hear(self, event: Event, /) -> Chunk:
        """What this event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        return self._assembly.add(event.data)

    def reply(self) -> Reply:
        """What the stream added up to."""
        return self._assembly.reply()


class Messages:
    """``POST /v1/messages``; everything else of the vendor's passes through."""

    name = anthropic.API
    vendor = "anthropic"
    paths: tuple[str, ...] = ("/messages",)

    def asked(self, body: Mapping[str, Any], /, *, tenant: str, user: str) -> Asked:
        """Reads a request body. No answer repeats a part of its request, so bodies share their answers' bytes."""
        request = anthropic.request_from(body, tenant=tenant, user=user)
        return Asked(request=request, stream=body.get("stream") is True, body=body)

    def reply(self, body: Mapping[str, Any], /) -> Reply:
        """Reads a response body that is not a stream. Raises ``InvalidRequest``."""
        return anthropic.reply_from(body)

    def listener(self) -> Listener:
        """Reads a stream."""
        return MessagesListener()

    def loss(self, reply: Reply, asked: Asked, /) -> str:  # noqa: ARG002 - a part of the Protocol
        """What could not be said of a stored reply; empty where nothing would be lost."""
        return loss(reply, self.name)

    def body(self, reply: Reply, asked: Asked, /) -> bytes:  # noqa: ARG002 - a part of the Protocol
        """The reply as a message."""
        message, blocks = _told(reply, (reply.text,))
        return _encode(message | {"content": [block for block, _ in blocks]})

    def frames(self, reply: Reply, asked: Asked, /) -> Iterator[bytes]:  # noqa: ARG002 - a part of the Protocol
        """The reply as a stream; with a ping after the first block's start, as the vendor sends one."""
        message, blocks = _told(reply, reply.chunks())
        usage = message["usage"]
        known = {name: value for name, value in message.items() if name not in _LATE}
        first = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 0}}
        yield _frame("message_start", message=known | first)
        for index, (block, pieces) in enumerate(blocks):
            empty, deltas = _opened(block, pieces)
            yield _frame("content_block_start", index=index, content_block=empty)
            if index == 0:
                yield _frame("ping")
            for delta in deltas:
                yield _frame("content_block_delta", index=index, delta=delta)
            yield _frame("content_block_stop", index=index)
        ended = {name: message[name] for name in _ENDED if name in message}
        beside = {name: message[name] for name in _BESIDE if name in message}
        totals = {name: usage[name] for name in _TOTALS if name in usage}
        yield _frame("message_delta", delta=ended, usage=totals, **beside)
        yield _frame("message_stop")

    def error(self, status: int, code: str, message: str, /) -> bytes:  # noqa: ARG002 - the vendor has no such codes
        """An error of the gateway's own, as the vendor words its own."""
        kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return _encode({"type": "error", "error": {"type": kind, "message": message}})

    def error_frame(self, code: str, message: str, /) -> bytes:
        """An error in the midst of a stream, after a blank line that ends a broken event."""
        kind = "overloaded_error" if code == "overloaded" else "api_error"
        return b"\n\n" + _frame("error", error={"type": kind, "message": message})


_LATE = ("stop_details", "container", "context_management")
_BESIDE = ("context_management",)
_ENDED = ("stop_reason", "stop_sequence", "stop_details", "container")
"""What a stream tells of a message at its end alone; within ``message_delta``'s ``delta``, or beside it."""

_TOTALS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)
"""What a stream's ``message_delta`` tells of the usage."""


def _frame(kind: str, **members: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **members}) + b"\n\n"


def _told(reply: Reply, pieces: Sequence[str]) -> tuple[dict[str, Any], list[tuple[dict[str, Any], list[str]]]]:
    """A reply as a message without content, and its blocks, each with the pieces of its text."""
    made, rest = kept(reply)
    own = made == anthropic.API
    known = about(rest) if own else {}
    message = {
        "id": known.get("id") or made_id("msg_", reply),
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "stop_reason": _STOP_REASONS.get(reply.finish_reason, reply.finish_reason),
        "stop_sequence": rest.get("stop_sequence") if own else None,
        **known,
        "usage": _usage(reply, known.get("usage")),
    }
    content = rest.get("content") if own else None
    return message, _blocks(pieces, content)


def _blocks(pieces: Sequence[str], content: object) -> list[tuple[dict[str, Any], list[str]]]:
    if isinstance(content, list):
        lengths = [block.get("text") for block in content if block.get("type") == "text"]
        texts = cut(pieces, lengths)
        if texts is not None:
            waiting = iter(texts)
            return [_filled(block, next(waiting) if block.get("type") == "text" else []) for block in content]
    return [_filled({"type": "text"}, [piece for piece in pieces if piece])]


def _filled(block: Mapping[str, Any], pieces: list[str]) -> tuple[dict[str, Any], list[str]]:
    if block.get("type") != "text":
        return dict(block), pieces
    return {**block, "text": "".join(pieces)}, pieces


def _usage(reply: Reply, told: object) -> dict[str, Any]:
    """The usage as it was told, all input marked as read from a cache."""
    usage = dict(told) if isinstance(told, Mapping) else {}
    written = usage.get("cache_creation")
    if isinstance(written, Mapping):
        usage["cache_creation"] = dict.fromkeys(written, 0)
    return usage | {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
    }


def _opened(block: dict[str, Any], pieces: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as a stream starts it, and what it then adds."""
    kind = block.get("type")
    if kind == "text":
        cited = block.get("citations") or []
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        deltas += [{"type": "citations_delta", "citation": citation} for citation in cited]
        return {**block, "text": "", **({"citations": []} if cited else {})}, deltas
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block.get("thinking") else []
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, deltas
    if "input" in block:
        told = _encode(block["input"]).decode()
        fragments = ["", told] if block["input"] else [""]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in fragments]
    return block, []


if TYPE_CHECKING:
    _: Dialect = Messages()
