"""OpenAI's Responses: bodies to Request, Reply and Chunk.

A question without tools or images gives the same Request as in Chat Completions, if it says ``store: false``: by
default the vendor keeps a response so that the next request can name it, and only a response of the vendor's own has
such a name. Fields that both APIs have under two names (``max_output_tokens``, ``reasoning.effort``,
``text.verbosity``) count under Chat Completions' name; whatever else differs keeps its own shape.

A response repeats a part of its request. What is no part of the scope (``ECHOED``) is never kept: it is somebody's own.

Source: the OpenAI API reference, "Responses" and "Streaming events" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.openai import UNTYPED, count_of, event_from, split_system
from yamabiko.wire.replay import ABOUT, keep
from yamabiko.wire.sse import Chunk

API = "responses"
"""The member of ``Reply.extra`` that holds what is kept of these answers."""

ECHOED = ("instructions", "metadata", "user", "safety_identifier", "prompt_cache_key", "output_text")
"""Members of a response that come from its request, or from its own text: kept as null, filled in when told again."""

_ELSEWHERE = frozenset({"model", "input", "instructions", "tools", "tool_choice"})
_NO_INFLUENCE = frozenset(
    {
        "stream",
        "stream_options",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    }
)
"""Fields that don't change an answer. Every other field counts, so that one we have never heard of fails closed."""

_APART = _ELSEWHERE | _NO_INFLUENCE

_KEPT: Mapping[str, str] = {
    "previous_response_id": "the conversation so far is kept by the vendor",
    "conversation": "the conversation so far is kept by the vendor",
    "prompt": "the prompt is kept by the vendor, and may change there",
    "background": "the answer is made in the background",
    "store": "the response is to be kept by the vendor",
}
_FUNCTIONS = ("function", "custom")
"""Tools that the client runs itself. Whatever the vendor runs reads a world that changes, or changes it."""

_HELD: Mapping[str, str] = {
    "input_image": "an image",
    "image_url": "an image",
    "input_file": "a file",
    "input_audio": "audio",
    "item_reference": "an item that the vendor keeps",
}
_COMPARED = frozenset({"text", "input_text", "output_text", "refusal"})
"""Parts of a message that a question may hold and still be answered from the cache."""

_REPEATABLE = ("message", "reasoning", "web_search_call", "file_search_call")
"""Output that can be told again: what worked for it only read. Whatever else there is, or will be, is a tool call."""

_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")

INCONSISTENT = "inconsistent_stream"
"""Finish reason of a stream whose last event says something else than its pieces did; never stored."""


def request_from(body: Mapping[str, Any], *, tenant: str = "", user: str = "") -> Request:
    """A Request from a request body; ``tenant`` and ``user`` come from a credential, never from the body.

    Instructions and the system and developer messages that lead the input become ``Request.system``. Anything but
    text, and whatever the vendor keeps, bypasses the cache. Raises ``InvalidRequest``.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a text that is not empty")
    instructions = body.get("instructions") or ""
    if not isinstance(instructions, str):
        raise InvalidRequest("instructions must be a text")
    bypass = next((why for name, why in _KEPT.items() if body.get(name)), "")
    bypass = bypass or _offered(body.get("tools")) or _held(body.get("input"))
    asked = body.get("input") or not bypass  # what the vendor keeps may be all that is asked
    turns = _messages(body.get("input")) if asked else [Message(role="user")]
    leading = [Message(role="system", text=instructions)] if instructions else []
    system, turns = split_system(leading + turns)
    sampling = {k: v for k, v in body.items() if k not in _APART and v is not None}
    response_format = _canonical(sampling)
    return Request(
        turns,
        model=model,
        system=system,
        tenant=tenant,
        user=user,
        tools=body.get("tools"),
        tool_choice=body.get("tool_choice"),
        response_format=response_format,
        sampling=sampling,
        bypass=bypass,
    )


def _canonical(sampling: dict[str, Any]) -> object:
    """Renames, in place, what Chat Completions calls otherwise, and drops defaults; returns the response format."""
    limit = sampling.pop("max_output_tokens", None)
    if limit is not None:
        sampling["max_completion_tokens"] = limit
    if sampling.get("background") is False:
        del sampling["background"]
    if sampling.get("truncation") == "disabled":
        del sampling["truncation"]
    if sampling.get("store", True) is False:
        del sampling["store"]
    else:
        sampling.setdefault("store", True)
    reasoning, text = sampling.get("reasoning"), sampling.get("text")
    if isinstance(reasoning, Mapping):
        told = {name: value for name, value in reasoning.items() if value is not None}
        del sampling["reasoning"]
        if told.keys() == {"effort"}:
            sampling["reasoning_effort"] = told["effort"]
        elif told:
            sampling["reasoning"] = told
    if not isinstance(text, Mapping):
        return None
    told = {name: value for name, value in text.items() if value is not None}
    del sampling["text"]
    if "verbosity" in told:
        sampling["verbosity"] = told.pop("verbosity")
    response_format = told.pop("format", None)
    if told:
        sampling["text"] = told
    return None if response_format == {"type": "text"} else response_format


def _messages(value: object) -> list[Message]:
    if isinstance(value, str) and value:
        return [Message(role="user", text=value)]
    if not isinstance(value, list) or not value:
        raise InvalidRequest("input must be a text, or a list with at least one item")
    messages = []
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise InvalidRequest(f"input[{index}] must be an object")
        if item.get("type", "message") != "message":
            role = "assistant" if item["type"] == "reasoning" else "tool"
            messages.append(Message(role=role, parts=(canonical_json(item),)))
            continue
        if not isinstance(item.get("role"), str):
            raise InvalidRequest(f"input[{index}].role must be a text")
        try:
            messages.append(Message.parse(_as_said(item)))
        except InvalidRequest as error:
            raise InvalidRequest(f"input[{index}]: {error}") from None
    return messages


def _as_said(item: Mapping[str, Any]) -> dict[str, Any]:
    """A message without what the API wrote about it: an answer that is sent back is the one that was said."""
    told = {k: v for k, v in item.items() if k not in ("type", "id", "status") and v not in (None, [], {})}
    if isinstance(told.get("content"), list):
        told["content"] = [
            {k: v for k, v in part.items() if k != "prompt_cache_breakpoint" and v not in (None, [])}
            if isinstance(part, Mapping)
            else part
            for part in told["content"]
        ]
    return told


def _offered(tools: object) -> str:
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, Mapping) or tool.get("type") not in _FUNCTIONS:
            return "the request offers a tool that the vendor runs"
    return ""


def _held(value: object) -> str:
    """Why an input must not meet the cache, in a sentence; empty where it may."""
    for item in value if isinstance(value, list) else ():
        if not isinstance(item, Mapping):
            continue
        kind, content = item.get("type", "message"), item.get("content")
        if kind not in ("message", "reasoning"):
            return f"the input holds {_named(kind) or 'more than messages'}"
        for part in content if isinstance(content, list) and kind == "message" else ():
            inner = part.get("type") if isinstance(part, Mapping) else None
            if inner is None:  # the vendor refuses it, so that it is no other way to write a text
                return UNTYPED
            if not isinstance(inner, str) or inner not in _COMPARED:
                return f"a message holds {_named(inner) or 'more than text'}"
    return ""


def _named(kind: object) -> str:
    if not isinstance(kind, str):
        return ""
    if kind.endswith("_output"):
        return "the result of a tool"
    return "a call of a tool" if kind.endswith("_call") else _HELD.get(kind, "")


def reply_from(body: Mapping[str, Any], chunk_lengths: Sequence[int] = ()) -> Reply:
    """A Reply from a response object, sent alone or as the end of a stream. Raises ``InvalidRequest``."""
    output = body.get("output")
    if not isinstance(output, list) or not all(isinstance(item, Mapping) for item in output):
        raise InvalidRequest("output must be a list of items")
    texts: list[str] = []
    items = [_without_texts(item, texts) for item in output]
    calls = tuple(canonical_json(item) for item in output if item.get("type") not in _REPEATABLE)
    rest = {name: value for name, value in body.items() if name not in ("output", "model", "object")}
    rest |= dict.fromkeys(rest.keys() & ECHOED)
    plain = len(texts) == 1 and all(map(_is_plain, items))
    return Reply(
        text="".join(texts),
        model=str(body.get("model") or ""),
        finish_reason=_finish_reason(body, output),
        usage=_usage(body.get("usage")) or Usage(),
        chunk_lengths=tuple(chunk_lengths),
        tool_calls=calls,
        extra=keep(API, {ABOUT: rest | {"output": items}} if plain else {ABOUT: rest, "output": items}),
    )


def _without_texts(item: Mapping[str, Any], texts: list[str]) -> Mapping[str, Any]:
    """An item with lengths in place of the texts of its message, which are added to ``texts``."""
    if item.get("type") == "reasoning":
        _listed(item, "summary")
        _listed(item, "content")
    if item.get("type") != "message":
        return item
    parts = []
    for part in _parts(item):
        if part.get("type") == "output_text":
            if not isinstance(part.get("text"), str):
                raise InvalidRequest("the text of a message's output_text must be a text")
            _listed(part, "annotations")
            texts.append(part["text"])
            parts.append({**part, "text": len(part["text"])})
        else:
            parts.append(dict(part))
    return {**item, "content": parts}


def _parts(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if item.get("content") is None:
        raise InvalidRequest("a message's content must be a list of parts")
    return iter(_listed(item, "content"))


def _listed(item: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = item.get(name)
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise InvalidRequest(f"{name} must be a list of objects")
    return listed


def _is_plain(item: Mapping[str, Any]) -> bool:
    """Whether nothing but a text, or a trace of reasoning that tells nothing, stands in this item."""
    told = {name for name, value in item.items() if value not in (None, [], {})}
    if item.get("type") == "reasoning":
        return told <= {"type", "id", "status"}
    if item.get("type") != "message":
        return False
    parts = [{name for name, value in part.items() if value not in (None, [], {})} for part in item.get("content", ())]
    return told <= {"type", "id", "status", "role", "content"} and all(part <= {"type", "text"} for part in parts)


def _finish_reason(body: Mapping[str, Any], output: list[Mapping[str, Any]]) -> str:
    if any(part.get("type") == "refusal" for item in output if item.get("type") == "message" for part in _parts(item)):
        return "content_filter"
    status, details = body.get("status"), body.get("incomplete_details")
    if status == "completed":
        return "stop" if all(item.get("type") in _REPEATABLE for item in output) else "tool_calls"
    if status == "incomplete":
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return {"max_output_tokens": "length", "content_filter": "content_filter"}.get(str(reason), "incomplete")
    return "error"


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    details = value.get("input_tokens_details")
    return Usage(
        input_tokens=count_of(value, "input_tokens"),
        output_tokens=count_of(value, "output_tokens"),
        cached_input_tokens=count_of(details, "cached_tokens") if isinstance(details, Mapping) else 0,
    )


def chunk_from(data: str) -> Chunk:
    """What the data of one event of a stream adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
    return Chunk() if data.strip() == "[DONE]" else _chunk(event_from(data))


def _chunk(event: Mapping[str, Any]) -> Chunk:
    kind = event.get("type")
    if kind == "response.output_text.delta":
        return Chunk(text=_delta(event))
    if kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
        return Chunk(reasoning=_delta(event))
    if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
        return Chunk(tool_calls=(canonical_json({"delta": _delta(event)}),))
    if kind == "response.refusal.delta":
        return Chunk(finish_reason="content_filter")
    if kind == "error":
        return Chunk(finish_reason="error")
    if kind == "response.created" or kind in _TERMINAL:
        response = event.get("response")
        if not isinstance(response, Mapping):
            raise InvalidRequest("response must be an object")
        model, usage = str(response.get("model") or ""), _usage(response.get("usage"))
        if kind == "response.created":
            return Chunk(model=model, usage=usage)
        output = response.get("output")
        known = output if isinstance(output, list) and all(isinstance(item, Mapping) for item in output) else []
        reason = _finish_reason(response, known)
        return Chunk(model=model, usage=usage, finish_reason=reason, done=True)
    return Chunk()


def _delta(event: Mapping[str, Any]) -> str:
    delta = event.get("delta")
    if not isinstance(delta, str):
        raise InvalidRequest("delta must be a text")
    return delta


class Assembly:
    """A response, put together from the events of its stream. The last of them repeats all that came before."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._items: dict[int, Mapping[str, Any]] = {}  # for servers whose last event leaves the output out
        self._last: Mapping[str, Any] | None = None
        self._failed = False

    def add(self, data: str) -> Chunk:
        """What the data of the next event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        if data.strip() == "[DONE]":
            return Chunk()
        event = event_from(data)
        chunk = _chunk(event)
        if chunk.text:
            self._texts.append(chunk.text)
        if chunk.done:
            self._last = event["response"]
        self._failed = self._failed or event.get("type") == "error"
        index, item = event.get("output_index"), event.get("item")
        if event.get("type") == "response.output_item.done" and isinstance(index, int) and isinstance(item, Mapping):
            self._items[index] = item
        return chunk

    def reply(self) -> Reply:
        """What the stream added up to; its finish reason is ``error`` where it broke off or reported one."""
        text = "".join(self._texts)
        broken = Reply(text=text, finish_reason="error")
        if self._last is None:
            return broken
        output = self._last.get("output") or [self._items[index] for index in sorted(self._items)]
        try:
            reply = reply_from({**self._last, "output": output}, tuple(map(len, self._texts)))
        except InvalidRequest:
            return broken
        if self._failed:
            return replace(reply, text=text, finish_reason="error")
        return reply if reply.text == text else replace(reply, text=text, finish_reason=INCONSISTENT)
