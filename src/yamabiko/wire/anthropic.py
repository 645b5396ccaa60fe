"""Anthropic's Messages: bodies to Request, Reply and Chunk, and back.

A question without tools or images gives the same Request as in OpenAI's shape. Tools, images and the choice of a tool
keep their vendor's own shape: they are compared to the letter, never translated.

Source: the Anthropic API reference, "Messages" and "Streaming messages" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.openai import count_of, event_from, message_to, messages_from, value_of
from yamabiko.wire.sse import Chunk

_ELSEWHERE = frozenset({"model", "messages", "system", "tools", "tool_choice", "stop_sequences"})
_NO_INFLUENCE = frozenset({"stream", "metadata", "service_tier", "cache_control"})
"""Fields that don't change an answer. Every other field counts, so that one we have never heard of fails closed."""

_FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def request_from(body: Mapping[str, Any], *, tenant: str = "", user: str = "") -> Request:
    """A Request from a request body; ``tenant`` and ``user`` come from a credential, never from the body.

    ``max_tokens``, which this API demands, counts as sampling. Raises ``InvalidRequest``.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a text that is not empty")
    sampling = {k: v for k, v in body.items() if k not in _ELSEWHERE | _NO_INFLUENCE and v is not None}
    if body.get("stop_sequences"):
        sampling["stop"] = body["stop_sequences"]
    messages = messages_from(body.get("messages"))
    system = _system(body.get("system"))
    if system.parts:
        messages.insert(0, system)
    return Request(
        messages,
        model=model,
        system="" if system.parts else system.text,
        tenant=tenant,
        user=user,
        tools=body.get("tools"),
        tool_choice=body.get("tool_choice"),
        sampling=sampling,
    )


def _system(value: object) -> Message:
    try:
        return Message.parse({"role": "system", "content": value})
    except InvalidRequest:
        raise InvalidRequest("system must be a text or a list of text blocks") from None


def to_body(request: Request, *, stream: bool = False) -> dict[str, Any]:
    """The request body that asks for what ``request_from`` read."""
    messages = [message_to(message) for message in request.messages]
    body: dict[str, Any] = {"model": request.model}
    if messages[0]["role"] == "system":
        body["system"] = messages.pop(0)["content"]
    elif request.system:
        body["system"] = request.system
    body["messages"] = messages
    for name in ("tools", "tool_choice"):
        value = getattr(request, name)
        if value:
            body[name] = value_of(value)
    sampling = json.loads(request.sampling) if request.sampling else {}
    if "stop" in sampling:
        body["stop_sequences"] = sampling.pop("stop")
    body.update(sampling)
    if stream:
        body["stream"] = True
    return body


def reply_from(body: Mapping[str, Any]) -> Reply:
    """A Reply from a response body that is not a stream. Raises ``InvalidRequest``."""
    content = body.get("content")
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise InvalidRequest("content must be a list of blocks")
    texts, calls, others = [], [], []
    for index, block in enumerate(content):
        if block.get("type") == "text" and not block.get("citations"):
            if not isinstance(block.get("text"), str):
                raise InvalidRequest(f"content[{index}].text must be a text")
            texts.append(block["text"])
        elif block.get("type") == "tool_use":
            calls.append(canonical_json(block))
        else:
            texts.append(str(block.get("text") or ""))
            others.append(block)
    return Reply(
        text="".join(texts),
        model=str(body.get("model") or ""),
        finish_reason=_finish_reason(body.get("stop_reason")) or "error",
        usage=_usage(body.get("usage")) or Usage(),
        tool_calls=tuple(calls),
        extra=canonical_json({"content": others}) if others else "",
    )


def chunk_from(data: str) -> Chunk:
    """What the data of one event of a stream adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
    event = event_from(data)
    kind = event.get("type")
    if kind == "message_start":
        message = _object(event, "message")
        return Chunk(model=str(message.get("model") or ""), usage=_usage(message.get("usage")))
    if kind == "content_block_start":
        block = _object(event, "content_block")
        if block.get("type") == "tool_use":
            return Chunk(tool_calls=(canonical_json(block),))
        return Chunk(text=str(block.get("text") or ""))
    if kind == "content_block_delta":
        delta = _object(event, "delta")
        if delta.get("type") == "input_json_delta":
            return Chunk(tool_calls=(canonical_json(delta),))
        return Chunk(text=str(delta.get("text") or ""), reasoning=str(delta.get("thinking") or ""))
    if kind == "message_delta":
        reason = _finish_reason(_object(event, "delta").get("stop_reason"))
        return Chunk(finish_reason=reason, usage=_usage(event.get("usage")))
    if kind == "error":
        return Chunk(finish_reason="error")
    return Chunk(done=kind == "message_stop")


def _object(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} must be an object")
    return value


def _finish_reason(value: object) -> str:
    return _FINISH_REASONS.get(str(value), str(value)) if value else ""


def _usage(value: object) -> Usage | None:
    """Anthropic counts cached input apart from other input; here it is a part of it."""
    if not isinstance(value, Mapping):
        return None
    cached = count_of(value, "cache_read_input_tokens")
    written = count_of(value, "cache_creation_input_tokens")
    return Usage(
        input_tokens=count_of(value, "input_tokens") + cached + written,
        output_tokens=count_of(value, "output_tokens"),
        cached_input_tokens=cached,
    )
