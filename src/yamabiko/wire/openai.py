"""OpenAI's Chat Completions: bodies to Request, Reply and Chunk, and back.

Source: the OpenAI API reference, "Chat Completions" (read 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.sse import Chunk

_ELSEWHERE = frozenset({"model", "messages", "tools", "tool_choice", "response_format"})
_NO_INFLUENCE = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
    }
)
"""Fields that don't change an answer. Every other field counts, so that one we have never heard of fails closed."""

UNTYPED = "a message holds a part that doesn't say its type"
"""Why such a request does not meet the cache: no vendor takes it, so that it is no other way to write a text."""


def request_from(body: Mapping[str, Any], *, tenant: str = "", user: str = "") -> Request:
    """A Request from a request body; ``tenant`` and ``user`` come from a credential, never from the body.

    System and developer messages that lead the list become ``Request.system``, in order, with a blank line between
    them. More than one choice (``n``) bypasses the cache. Raises ``InvalidRequest``.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model must be a text that is not empty")
    system, turns = split_system(messages_from(body.get("messages")))
    sampling = {k: v for k, v in body.items() if k not in _ELSEWHERE | _NO_INFLUENCE and v is not None}
    choices = sampling.pop("n", 1)
    if not isinstance(choices, int) or choices < 1:
        raise InvalidRequest("n must be a whole number from 1 on")
    if choices > 1:
        sampling["n"] = choices
    if isinstance(sampling.get("stop"), str):
        sampling["stop"] = [sampling["stop"]]
    return Request(
        turns,
        model=model,
        system=system,
        tenant=tenant,
        user=user,
        tools=body.get("tools"),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
        sampling=sampling,
        bypass="more than one choice is asked for" if choices > 1 else "",
    )


def messages_from(value: object) -> list[Message]:
    """Messages from a body's ``messages``; what is null or empty in one counts as absent. Raises ``InvalidRequest``."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest("messages must be a list with at least one message")
    messages = []
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise InvalidRequest(f"messages[{index}] must be an object")
        if not isinstance(item.get("role"), str):
            raise InvalidRequest(f"messages[{index}].role must be a text")
        try:
            messages.append(Message.parse({k: v for k, v in item.items() if v not in (None, [], {})}))
        except InvalidRequest as error:
            raise InvalidRequest(f"messages[{index}]: {error}") from None
    return messages


def split_system(messages: list[Message]) -> tuple[str, list[Message]]:
    """The system prompt, from the plain system and developer messages that lead a conversation, and the rest.

    A conversation of nothing else keeps its last message: something must be asked.
    """
    leading = 0
    while leading < len(messages) - 1 and messages[leading].role in ("system", "developer"):
        if messages[leading].parts:
            break
        leading += 1
    return "\n\n".join(message.text for message in messages[:leading]), messages[leading:]


def to_body(request: Request, *, stream: bool = False) -> dict[str, Any]:
    """The request body that asks for what ``request_from`` read; a stream is asked to report its usage."""
    messages = [{"role": "system", "content": request.system}] if request.system else []
    messages.extend(message_to(message) for message in request.messages)
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    for name in ("tools", "tool_choice", "response_format"):
        value = getattr(request, name)
        if value:
            body[name] = value_of(value)
    if request.sampling:
        body.update(json.loads(request.sampling))
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def message_to(message: Message) -> dict[str, Any]:
    """A message as JSON: its blocks in their order where it has some, else its text, with all its other fields."""
    body: dict[str, Any] = {"role": message.role, "content": message.text}
    blocks: list[Any] = []
    for part in map(json.loads, message.parts):
        if "type" in part:
            blocks.append(part)
        else:
            body |= part
    if blocks:
        body["content"] = blocks
    return body


def value_of(text: str) -> Any:
    """The JSON value of a Request's field; a bare word such as ``auto`` is itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def reply_from(body: Mapping[str, Any]) -> Reply:
    """A Reply from a response body that is not a stream. Raises ``InvalidRequest``."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise InvalidRequest("choices must be a list with at least one choice")
    message = choices[0].get("message")
    if not isinstance(message, Mapping):
        raise InvalidRequest("choices[0].message must be an object")
    content = message.get("content")
    if not isinstance(content, str | None):
        raise InvalidRequest("choices[0].message.content must be a text or null")
    known = ("role", "content", "tool_calls", "function_call")
    extra = {k: v for k, v in message.items() if k not in known and v not in (None, "", [], {})}
    if choices[0].get("logprobs"):
        extra["logprobs"] = choices[0]["logprobs"]
    return Reply(
        text=content or "",
        model=str(body.get("model") or ""),
        finish_reason=_finish_reason(choices[0], message) or "error",
        usage=_usage(body.get("usage")) or Usage(),
        tool_calls=_tool_calls(message),
        extra=canonical_json(extra) if extra else "",
    )


def chunk_from(data: str) -> Chunk:
    """What the data of one event of a stream adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
    if data.strip() == "[DONE]":
        return Chunk(done=True)
    return chunk_of(event_from(data))


def chunk_of(event: Mapping[str, Any]) -> Chunk:
    """What one event of a stream adds, its data read already. Raises ``InvalidRequest``."""
    if event.get("error"):
        return Chunk(finish_reason="error")
    choices = event.get("choices") or [{}]
    choice = choices[0] if isinstance(choices, list) else None
    delta = (choice.get("delta") or {}) if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(delta, Mapping):
        raise InvalidRequest("choices must be a list of objects with a delta")
    return Chunk(
        text=_text(delta, "content"),
        reasoning=_text(delta, "reasoning_content") or _text(delta, "reasoning"),
        tool_calls=_tool_calls(delta),
        model=str(event.get("model") or ""),
        finish_reason=_finish_reason(choice, delta),
        usage=_usage(event.get("usage")),
    )


def event_from(data: str) -> Mapping[str, Any]:
    """The JSON object in an event's data. Raises ``InvalidRequest``."""
    try:
        event = json.loads(data)
        if "\\u" in data:  # an escape may be half a surrogate pair, which no client could be sent again
            json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, Mapping):
        raise InvalidRequest("data must be a JSON object")
    return event


def _finish_reason(choice: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    """Why a choice ended, empty while it goes on; a message that refuses counts as filtered."""
    if message.get("refusal"):
        return "content_filter"
    reason = str(choice.get("finish_reason") or "")
    return "tool_calls" if reason == "function_call" else reason


def _tool_calls(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Tool calls, whole or in fragments, as canonical JSON; those of the older ``function_call`` too."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidRequest("tool_calls must be a list")
    older = [message["function_call"]] if message.get("function_call") else []
    if not all(isinstance(call, Mapping) for call in (*calls, *older)):
        raise InvalidRequest("each call of a tool must be an object")
    return tuple(canonical_json(call) for call in [*calls, *older])


def _text(delta: Mapping[str, Any], name: str) -> str:
    value = delta.get(name)
    if not isinstance(value, str | None):
        raise InvalidRequest(f"choices[0].delta.{name} must be a text or null")
    return value or ""


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    details = value.get("prompt_tokens_details")
    return Usage(
        input_tokens=count_of(value, "prompt_tokens"),
        output_tokens=count_of(value, "completion_tokens"),
        cached_input_tokens=count_of(details, "cached_tokens") if isinstance(details, Mapping) else 0,
    )


def count_of(usage: Mapping[str, Any], name: str) -> int:
    """A count of tokens; 0 where the vendor says nothing. Raises ``InvalidRequest``."""
    value = usage.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"usage.{name} must be a whole number, 0 or more")
    return value
