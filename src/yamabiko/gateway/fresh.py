"""An answer that was made in this process, as the vendor's own server would send it: whole, or in pieces as they come.

``dialects`` tell stored answers, whose usage is marked as cached; these are new ones. Text only: what is asked for here
has no tools. Pure but for the clock and the ids.

Source: the OpenAI API reference, "Chat Completions"; the Anthropic API reference, "Messages" (read 2026-11).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from yamabiko.types import Reply

_encode = msgspec.json.Encoder().encode
_STOP_REASONS: Mapping[str, str] = MappingProxyType({"length": "max_tokens", "content_filter": "refusal"})


class Fresh(Protocol):
    """Tells one answer."""

    def whole(self, reply: Reply, /) -> bytes:
        """The body that is not a stream."""

    def head(self) -> bytes:
        """What a stream begins with."""

    def piece(self, text: str, /) -> bytes:
        """The event of one piece, which is not empty."""

    def tail(self, reply: Reply, /) -> bytes:
        """What a stream ends with; the reply's own text was told before."""


class FreshChat:
    """Chat Completions. ``body`` is the request's, ``model`` the one that answers."""

    def __init__(self, body: Mapping[str, Any], model: str) -> None:
        options = body.get("stream_options")
        self._with_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self._envelope = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, reply: Reply, /) -> bytes:
        """See ``Fresh``."""
        message = {"role": "assistant", "content": reply.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
        return _encode(self._told("chat.completion", [choice]) | {"usage": _spent(reply)})

    def head(self) -> bytes:
        """See ``Fresh``."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def piece(self, text: str, /) -> bytes:
        """See ``Fresh``."""
        return self._chunk({"content": text})

    def tail(self, reply: Reply, /) -> bytes:
        """See ``Fresh``."""
        last = self._chunk({}, finish_reason=_finish_reason(reply))
        if self._with_usage:
            last += _data(self._told("chat.completion.chunk", []) | {"usage": _spent(reply)})
        return last + b"data: [DONE]\n\n"

    def _chunk(self, delta: Mapping[str, Any], *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        told = self._told("chat.completion.chunk", [choice])
        return _data(told | {"usage": None} if self._with_usage else told)

    def _told(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {**self._envelope, "object": kind, "choices": choices}


class FreshMessage:
    """Messages. A stream's first event says no input tokens, since Bedrock tells them at the end; the last one does."""

    def __init__(self, body: Mapping[str, Any], model: str) -> None:
        self._stops = tuple(body.get("stop_sequences") or ())
        self._envelope = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model}

    def whole(self, reply: Reply, /) -> bytes:
        """See ``Fresh``."""
        content = [{"type": "text", "text": reply.text}] if reply.text else []
        return _encode({**self._envelope, "content": content, **self._ended(reply), "usage": _tokens(reply)})

    def head(self) -> bytes:
        """See ``Fresh``."""
        empty = {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 0}}
        begun = _event("message_start", message={**self._envelope, "content": [], **empty})
        return begun + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def piece(self, text: str, /) -> bytes:
        """See ``Fresh``."""
        return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def tail(self, reply: Reply, /) -> bytes:
        """See ``Fresh``."""
        ended = _event("message_delta", delta=self._ended(reply), usage=_tokens(reply))
        return _event("content_block_stop", index=0) + ended + _event("message_stop")

    def _ended(self, reply: Reply) -> dict[str, Any]:
        if self._stops and '"stopReason":"stop_sequence"' in reply.extra:  # the only one: see ``bedrock.carried``
            return {"stop_reason": "stop_sequence", "stop_sequence": self._stops[0]}
        return {"stop_reason": _STOP_REASONS.get(reply.finish_reason, "end_turn"), "stop_sequence": None}


FRESH: Mapping[str, Callable[[Mapping[str, Any], str], Fresh]] = MappingProxyType(
    {"chat": FreshChat, "messages": FreshMessage}
)
"""By a dialect's name."""


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason if reply.finish_reason in ("length", "content_filter") else "stop"


def _spent(reply: Reply) -> dict[str, int]:
    used = reply.usage
    total = used.input_tokens + used.output_tokens
    return {"prompt_tokens": used.input_tokens, "completion_tokens": used.output_tokens, "total_tokens": total}


def _tokens(reply: Reply) -> dict[str, int]:
    return {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}


def _data(value: Mapping[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _event(kind: str, **members: object) -> bytes:
    return b"event: " + kind.encode() + b"\n" + _data({"type": kind, **members})
