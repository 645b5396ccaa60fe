"""Anthropic's Messages: bodies to Request, Reply and Chunk, and back.

A question without tools or images gives the same Request as in OpenAI's shape. Tools, images and the choice of a tool
keep their vendor's own shape: they are compared to the letter, never translated.

An answer's blocks are kept beside its text (``wire.replay``): thinking with its signature, citations, what the vendor's
own tools found. A block that calls a tool of the client's, or one whose effect lies outside the answer, is a tool call,
and no such answer is ever stored.

Source: the Anthropic API reference, "Messages" and "Streaming messages" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.openai import UNTYPED, count_of, event_from, message_to, messages_from, value_of
from yamabiko.wire.replay import ABOUT, keep
from yamabiko.wire.sse import Chunk

API = "messages"
"""The member of ``Reply.extra`` that holds what is kept of these answers."""

_ELSEWHERE = frozenset({"model", "messages", "system", "tools", "tool_choice", "stop_sequences"})
_NO_INFLUENCE = frozenset({"stream", "metadata", "service_tier", "cache_control"})
"""Fields that don't change an answer. Every other field counts, so that one we have never heard of fails closed."""

_APART = _ELSEWHERE | _NO_INFLUENCE

_COMPARED = frozenset({"text", "thinking", "redacted_thinking"})
"""Blocks of a message that a question may hold and still be answered from the cache."""

_HELD: Mapping[str, str] = {
    "image": "an image",
    "document": "a document",
    "tool_use": "a call of a tool",
    "tool_result": "the result of a tool",
    "server_tool_use": "a call of a tool",
    "search_result": "the result of a search",
    "container_upload": "a file",
}

_RUN_BY_CLIENTS = ("bash_", "text_editor_", "computer_", "browser_", "memory_")
"""Tools of the vendor's making that the client runs itself, as it does those without a type.

Whatever the vendor runs reads a world that changes, or changes it.
"""

_REPEATABLE = ("web_search", "web_fetch", "tool_search_tool_")
"""Tools of the vendor's that only read: what they found is a part of the answer, and can be told again."""

UNKNOWN_EVENT = "unknown_event"
"""Finish reason of a stream that held more than we can tell again; never stored."""

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

    ``max_tokens``, which this API demands, counts as sampling. Anything but text, and a state that the vendor keeps,
    bypasses the cache. Raises ``InvalidRequest``.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a text that is not empty")
    sampling = {k: v for k, v in body.items() if k not in _APART and v is not None}
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
        bypass=_bypass(body),
    )


def _bypass(body: Mapping[str, Any]) -> str:
    """Why a request must not meet the cache, in a sentence; empty where it may."""
    if body.get("container"):
        return "the request runs in a container that the vendor keeps"
    if body.get("mcp_servers") or not all(map(_is_run_by_client, _listed(body.get("tools")))):
        return "the request offers a tool that the vendor runs"
    for block in _blocks([*body["messages"], {"content": body.get("system")}]):
        kind = block.get("type") if isinstance(block, Mapping) else None
        if kind is None:  # the vendor refuses it, so that it is no other way to write a text
            return UNTYPED
        if not isinstance(kind, str):
            return "a message holds more than text"
        if kind not in _COMPARED:
            result = "tool_result" if kind.endswith("_tool_result") else kind
            return f"a message holds {_HELD.get(result, 'more than text')}"
    return ""


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value] if value else []


def _is_run_by_client(tool: object) -> bool:
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type") or "custom"
    return kind == "custom" or (isinstance(kind, str) and kind.startswith(_RUN_BY_CLIENTS))


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[object]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from content


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


def reply_from(body: Mapping[str, Any], chunk_lengths: Sequence[int] = ()) -> Reply:
    """A Reply from a response body that is not a stream, or from what one added up to. Raises ``InvalidRequest``."""
    content = body.get("content")
    if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
        raise InvalidRequest("content must be a list of blocks")
    texts: list[str] = []
    calls: list[str] = []
    blocks: list[Mapping[str, Any]] = []
    for index, block in enumerate(content):
        if block.get("type") == "text":
            if not isinstance(block.get("text"), str):
                raise InvalidRequest(f"content[{index}].text must be a text")
            if not isinstance(block.get("citations"), list | None):
                raise InvalidRequest(f"content[{index}].citations must be a list")
            texts.append(block["text"])
            blocks.append(
                {name: value for name, value in block.items() if value is not None} | {"text": len(texts[-1])}
            )
        else:
            blocks.append(block)
            if _is_call(block):
                calls.append(canonical_json(block))
    plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    rest = {name: value for name, value in body.items() if name not in _TOLD and value is not None}
    sequence = rest.pop("stop_sequence", None)
    return Reply(
        text="".join(texts),
        model=str(body.get("model") or ""),
        finish_reason=_finish_reason(body.get("stop_reason")) or "error",
        usage=_usage(body.get("usage")) or Usage(),
        chunk_lengths=tuple(chunk_lengths),
        tool_calls=tuple(calls),
        extra=keep(API, {ABOUT: rest, "content": None if plain else blocks, "stop_sequence": sequence}),
    )


_TOLD = frozenset({"type", "role", "model", "content"})
"""Members of a message that stand elsewhere in a Reply, or are always the same."""


def _is_call(block: Mapping[str, Any]) -> bool:
    """Whether a block asks somebody to act: the client, or a tool of the vendor's that does more than read."""
    kind, name = block.get("type"), block.get("name")
    if kind == "server_tool_use":
        return not (isinstance(name, str) and name.startswith(_REPEATABLE))
    return kind in ("tool_use", "mcp_tool_use")


def chunk_from(data: str) -> Chunk:
    """What the data of one event of a stream adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
    return _chunk(event_from(data))


def _chunk(event: Mapping[str, Any]) -> Chunk:
    kind = event.get("type")
    if kind == "message_start":
        message = _object(event, "message")
        return Chunk(model=str(message.get("model") or ""), usage=_usage(message.get("usage")))
    if kind == "content_block_start":
        block = _object(event, "content_block")
        if _is_call(block):
            return Chunk(tool_calls=(canonical_json(block),))
        return Chunk(text=_text(block, "text") if block.get("type") == "text" else "")
    if kind == "content_block_delta":
        delta = _object(event, "delta")
        if delta.get("type") == "input_json_delta":
            return Chunk(tool_calls=(canonical_json(delta),))
        if delta.get("type") == "thinking_delta":
            return Chunk(reasoning=_text(delta, "thinking"))
        return Chunk(text=_text(delta, "text") if delta.get("type") == "text_delta" else "")
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


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str | None):
        raise InvalidRequest(f"{name} must be a text")
    return text or ""


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


class Assembly:
    """A message, put together from the events of its stream as the vendor's own clients do it.

    What an event adds beyond what we know is never guessed at: the reply then ends as ``UNKNOWN_EVENT``.
    """

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._inputs: dict[int, list[str]] = {}
        self._texts: list[str] = []
        self._failed = self._done = self._unknown = False

    def add(self, data: str) -> Chunk:
        """What the data of the next event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        event = event_from(data)
        chunk = _chunk(event)
        if chunk.text:
            self._texts.append(chunk.text)
        self._done = self._done or chunk.done
        kind = event.get("type")
        if kind == "message_start":
            self._unknown = self._unknown or bool(self._blocks or self._message or event["message"].get("content"))
            self._message = dict(event["message"])
        elif kind == "content_block_start":
            self._unknown = self._unknown or event.get("index") != len(self._blocks)
            self._blocks.append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            self._unknown = not self._extend(event.get("index"), event["delta"]) or self._unknown
        elif kind == "message_delta":
            late = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
            self._message |= {name: value for name, value in (late | event["delta"]).items() if value is not None}
            first, last = self._message.get("usage"), event.get("usage")
            if isinstance(last, Mapping):  # running totals: what is told again replaces what was told at first
                told = {name: value for name, value in last.items() if value is not None}
                self._message["usage"] = {**first, **told} if isinstance(first, Mapping) else told
        elif kind == "error":
            self._failed = True
        elif kind not in ("content_block_stop", "message_stop", "ping"):
            self._unknown = True
        return chunk

    def _extend(self, index: object, delta: Mapping[str, Any]) -> bool:
        """Adds to the block with this number; False where what is added is unknown, or the block is."""
        if not isinstance(index, int) or not 0 <= index < len(self._blocks):
            return False
        block, kind = self._blocks[index], delta.get("type")
        if kind == "text_delta" and block.get("type") == "text":
            block["text"] = _text(block, "text") + _text(delta, "text")
        elif kind == "thinking_delta" and block.get("type") == "thinking":
            block["thinking"] = _text(block, "thinking") + _text(delta, "thinking")
        elif kind == "signature_delta" and block.get("type") == "thinking":
            block["signature"] = _text(delta, "signature")
        elif kind == "citations_delta" and block.get("type") == "text":
            cited = block.get("citations")
            block["citations"] = [*(cited if isinstance(cited, list) else ()), delta.get("citation")]
        elif kind == "input_json_delta" and "input" in block:
            self._inputs.setdefault(index, []).append(_text(delta, "partial_json"))
        else:
            return False
        return True

    def reply(self) -> Reply:
        """What the stream added up to; its finish reason is ``error`` where it broke off or reported one."""
        text = "".join(self._texts)
        unknown = self._unknown or not self._filled()
        try:
            reply = reply_from({**self._message, "content": self._blocks}, tuple(map(len, self._texts)))
        except InvalidRequest:
            return Reply(text=text, finish_reason="error")
        if self._failed or not self._done:
            return replace(reply, text=text, finish_reason="error")
        return replace(reply, text=text, finish_reason=UNKNOWN_EVENT) if unknown or reply.text != text else reply

    def _filled(self) -> bool:
        """Whether the inputs of tools, which come in fragments of JSON, could be read."""
        for index, pieces in self._inputs.items():
            try:
                if told := "".join(pieces):
                    self._blocks[index]["input"] = json.loads(told)
            except (ValueError, RecursionError):
                return False
        return True
