"""What LangChain hands to its caches, and what it gets back: JSON and texts <-> Request, Reply.

Source: langchain-core 1.0.0 to 1.8.3, ``langchain_core.load``, ``BaseChatModel._get_llm_string``, ``get_prompts``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.openai import split_system

Told: TypeAlias = Mapping[str, Any]
"""A Generation as JSON: ``text``, ``info`` (generation_info), ``message`` (type and data; None where it has none)."""

_ROLES: Mapping[str, str] = {
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
}
_NO_INFLUENCE = frozenset({"type", "id", "role", "response_metadata", "usage_metadata", "example"})
"""What a message carries about how it was made, which no model sees."""

_TRANSPORT = frozenset(
    {
        *("streaming", "stream_usage", "disable_streaming", "stream_chunk_timeout", "max_retries", "request_timeout"),
        *("timeout", "default_request_timeout", "verbose", "cache", "callbacks", "metadata", "tags", "rate_limiter"),
        *("name", "http_client", "http_async_client"),
    }
)
"""How a model's client sends and reports; no model sees it. So a stream and what was none share their answers."""

_MODEL = re.compile(r"""['"](?:model|model_name|model_id)['"]\s*[:,]\s*['"]([^'"]+)['"]""")
_MODEL_NAMES = ("model_name", "model", "model_id")
_SEVERAL = re.compile(r"""['"](?:n|candidate_count|candidateCount)['"]\s*[:,]\s*(?:[2-9]|[1-9]\d+)\b""")
_TOOLS = re.compile(r"""['"](?:tools|functions)['"]\s*[:,]\s*\[\s*[^\]\s]""")

_FINISHED: Mapping[str, str] = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "completed", "eos", "eos_token", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "incomplete"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(("content_filter", "safety", "refusal", "guardrail_intervened"), "content_filter"),
}
"""Vendors' words for how a generation ended, to OpenAI's. Others stay as they are, and such a reply is not stored."""
_FINISH_NAMES = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")


def request_from(
    prompt: str,
    llm_string: str,
    *,
    tenant: str = "",
    user: str = "",
    permissions: Sequence[str] = (),
    knowledge: str = "",
    tags: Sequence[str] = (),
    to_the_letter: bool = False,
) -> Request:
    """A Request from the two texts of ``BaseCache.lookup``.

    A plain ``prompt`` is one user message; messages are read back from LangChain's JSON, whose frame is never
    embedded. What looks like LangChain's JSON and can't be read is compared to the letter only. ``llm_string`` counts
    as sampling, without what concerns the transport; ``model`` is the name found in it. ``to_the_letter``: the exact
    tier only.
    """
    system, messages = split_system(_messages(prompt))
    if to_the_letter and messages:
        last = messages[-1]
        messages = [*messages[:-1], replace(last, parts=(*last.parts, _TO_THE_LETTER))]
    model, sampling = _model_and_sampling(llm_string)
    return Request(
        messages,
        model=model,
        system=system,
        tenant=tenant,
        user=user,
        knowledge=knowledge,
        permissions=permissions,
        tags=tags,
        sampling={"langchain": sampling} if sampling else None,
    )


_TO_THE_LETTER = canonical_json({"langchain": "to the letter"})


def asks_for_several(llm_string: str) -> bool:
    """Whether the model is to give more than one Generation for a prompt."""
    return _SEVERAL.search(llm_string) is not None


def offers_tools(llm_string: str) -> bool:
    """Whether the model may call tools."""
    return _TOOLS.search(llm_string) is not None


def is_chat(prompt: str) -> bool:
    """Whether a prompt is a chat model's, which answers with a message; a plain text is a completion model's."""
    return _listed(prompt) is not None


def _model_and_sampling(llm_string: str) -> tuple[str, str]:
    """The model's name, and whatever else says how it is called."""
    named = _MODEL.search(llm_string)
    model = named[1] if named else ""
    described, mark, parameters = llm_string.partition("---[")
    if not mark or not described.startswith("{"):
        return model, llm_string
    try:
        description = json.loads(described)
    except (ValueError, RecursionError):
        return model, llm_string
    kwargs = description.get("kwargs")
    if not isinstance(kwargs, dict):
        return model, llm_string
    for name in _MODEL_NAMES:
        if isinstance(kwargs.get(name), str):
            model = kwargs[name]
            break
    description["kwargs"] = {name: value for name, value in kwargs.items() if name not in _TRANSPORT}
    return model, canonical_json(description) + mark + parameters


def _messages(prompt: str) -> list[Message]:
    items = _listed(prompt)
    if items is None:
        return [Message(role="user", text=prompt)]
    messages = [_message(item) for item in items]
    read = [message for message in messages if message is not None]
    return read if len(read) == len(messages) else [Message(role="user", parts=(prompt,))]


def _listed(prompt: str) -> Sequence[Mapping[str, Any]] | None:
    """What LangChain's JSON lists; None where the prompt is none, but an ordinary text."""
    if not prompt.lstrip().startswith("["):
        return None
    try:
        items = json.loads(prompt)
    except (ValueError, RecursionError):  # an ordinary prompt may begin with a thousand brackets
        return None
    if not items or not all(isinstance(item, Mapping) and "lc" in item for item in items):
        return None
    listed: Sequence[Mapping[str, Any]] = items
    return listed


def _message(item: Mapping[str, Any]) -> Message | None:
    """One message, or None where this is not a message as we know them."""
    path, kwargs = item.get("id"), item.get("kwargs")
    if item.get("type") != "constructor" or not isinstance(path, list) or not path or not isinstance(kwargs, Mapping):
        return None
    role = kwargs.get("role") or _ROLES.get(str(path[-1]).removesuffix("Chunk"))
    if not isinstance(role, str):
        return None
    fields = {k: v for k, v in kwargs.items() if k not in _NO_INFLUENCE and v not in (None, [], {})}
    try:
        return Message.parse({"role": role, **fields})
    except InvalidRequest:
        return None


# Generations to a Reply, and back.


def reply_from(told: Sequence[Told], *, tool_calls: bool = False, latency_seconds: float = 0.0) -> Reply:
    """One Generation, or several, as the Reply that is stored; ``generations_from`` gives them back unchanged.

    With ``tool_calls``, which is for requests that are compared to the letter, a call of tools is an answer as any
    other. Raises ``InvalidRequest`` for what JSON can't say.
    """
    metas = [_metadata(one) for one in told]
    calls = [call for one in told for call in _calls(one)]
    usages = [_mapping(_data(one).get("usage_metadata")) for one in told]
    text = "\n\n".join(one["text"] for one in told)
    finishes = [_finished(meta) for meta in metas]
    if tool_calls and calls:
        text = "\n\n".join(filter(None, [text, *map(canonical_json, calls)]))
        finishes = ["stop" if finish == "tool_calls" else finish for finish in finishes]
    models = [meta.get("model_name") or meta.get("model") or meta.get("model_id") for meta in metas]
    return Reply(
        text=text,
        model=next((name for name in models if isinstance(name, str)), ""),
        finish_reason=next((finish for finish in finishes if finish != "stop"), "stop"),
        usage=Usage(
            input_tokens=_count([usage.get("input_tokens") for usage in usages[:1]]),
            output_tokens=_count([usage.get("output_tokens") for usage in usages]),
            cached_input_tokens=_count(
                [_mapping(usage.get("input_token_details")).get("cache_read") for usage in usages[:1]]
            ),
        ),
        tool_calls=() if tool_calls else tuple(map(canonical_json, calls)),
        latency_seconds=latency_seconds,
        extra=canonical_json({"langchain": [_without_text(told[0])] if len(told) == 1 else told}),
    )


def generations_from(reply: Reply) -> Sequence[Told] | None:
    """The Generations that ``reply_from`` was given; None where the reply was not made of any."""
    try:
        extra = json.loads(reply.extra) if reply.extra else None
    except ValueError:
        return None
    listed = extra.get("langchain") if isinstance(extra, Mapping) else None
    if not isinstance(listed, list) or not listed:
        return None
    if len(listed) > 1:
        return listed
    (one,) = listed
    message = one["message"]
    if message is not None and message["data"].get("content") is None:
        message = {**message, "data": {**message["data"], "content": reply.text}}
    return [{**one, "text": reply.text if one["text"] is None else one["text"], "message": message}]


def _without_text(one: Told) -> Told:
    """A single Generation without the text that the Reply holds anyway."""
    message = one["message"]
    if message is not None and message["data"].get("content") == one["text"] and one["text"]:
        message = {**message, "data": {**message["data"], "content": None}}
    return {**one, "message": message}


def _data(one: Told) -> Mapping[str, Any]:
    return _mapping(_mapping(one["message"]).get("data"))


def _metadata(one: Told) -> Mapping[str, Any]:
    return {**_mapping(one["info"]), **_mapping(_data(one).get("response_metadata"))}


def _calls(one: Told) -> Sequence[Any]:
    data = _data(one)
    return [*(data.get("tool_calls") or ()), *(data.get("invalid_tool_calls") or ())]


def _finished(meta: Mapping[str, Any]) -> str:
    """How the generation ended, in OpenAI's words; "stop" where the model does not say."""
    word = next((meta[name] for name in _FINISH_NAMES if isinstance(meta.get(name), str)), "stop")
    return _FINISHED.get(word.lower(), word)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(values: Sequence[object]) -> int:
    return sum(value for value in values if isinstance(value, int) and value > 0)
