"""InvokeModel of Claude models, with and without a stream: the Messages API's shapes over the same answers.

Source: Bedrock user guide, "Anthropic Claude Messages API" (read 2026-11-23).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias

from yamabiko.testing.bedrock.checks import malformed
from yamabiko.testing.bedrock.converse import Conversed
from yamabiko.testing.bedrock.embeddings import Invoked
from yamabiko.testing.bedrock.results import Event

Converse: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Conversed]]

_VERSION = "bedrock-2023-05-31"
_MESSAGE_ID = "msg_bdrk_stand_in"


async def invoke_claude(body: Mapping[str, Any], converse: Converse) -> Invoked:
    """The answer to a body of the Messages API; raises ``Refused``."""
    conversed = await converse(_read(body))
    usage = _usage(conversed)
    return Invoked(
        {
            "id": _MESSAGE_ID,
            "type": "message",
            "role": "assistant",
            "content": [_block(part) for part in conversed.response()["output"]["message"]["content"]],
            "stop_reason": conversed.stop_reason,
            "stop_sequence": None,
            "usage": usage,
        },
        usage["input_tokens"],
        usage["output_tokens"],
    )


async def claude_events(body: Mapping[str, Any], converse: Converse) -> Iterator[Event]:
    """The ``chunk`` events, each the Base64 of one event of the Messages API; raises ``Refused``."""
    conversed = await converse(_read(body))
    return (("chunk", {"bytes": base64.b64encode(json.dumps(e).encode()).decode()}) for e in _events(conversed))


def _events(conversed: Conversed) -> Iterator[dict[str, Any]]:
    usage = _usage(conversed)
    message = {"id": _MESSAGE_ID, "type": "message", "role": "assistant", "content": [], "usage": usage}
    yield {"type": "message_start", "message": message}
    opened = -1
    for name, told in conversed.events():
        index = told.get("contentBlockIndex", 0)
        if name == "contentBlockStart":
            use = told["start"]["toolUse"]
            block = {"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": {}}
            yield {"type": "content_block_start", "index": index, "content_block": block}
            opened = index
        elif name == "contentBlockDelta":
            if index > opened:
                thinking = "reasoningContent" in told["delta"]
                block = {"type": "thinking", "thinking": ""} if thinking else {"type": "text", "text": ""}
                yield {"type": "content_block_start", "index": index, "content_block": block}
                opened = index
            yield {"type": "content_block_delta", "index": index, "delta": _delta(told["delta"])}
        elif name == "contentBlockStop":
            yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": conversed.stop_reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


def _delta(delta: Mapping[str, Any]) -> dict[str, Any]:
    if "toolUse" in delta:
        return {"type": "input_json_delta", "partial_json": delta["toolUse"]["input"]}
    if "reasoningContent" in delta:
        part = delta["reasoningContent"]
        if "signature" in part:
            return {"type": "signature_delta", "signature": part["signature"]}
        return {"type": "thinking_delta", "thinking": part["text"]}
    return {"type": "text_delta", "text": delta["text"]}


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    if "toolUse" in block:
        use = block["toolUse"]
        return {"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": use["input"]}
    if "reasoningContent" in block:
        thought = block["reasoningContent"]["reasoningText"]
        return {"type": "thinking", "thinking": thought["text"], "signature": thought["signature"]}
    return {"type": "text", "text": block["text"]}


def _usage(conversed: Conversed) -> dict[str, int]:
    told = conversed.usage
    return {
        "input_tokens": told["inputTokens"],
        "output_tokens": told["outputTokens"],
        "cache_read_input_tokens": told.get("cacheReadInputTokens", 0),
        "cache_creation_input_tokens": told.get("cacheWriteInputTokens", 0),
    }


def _read(body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _as_converse(body)
    except (AttributeError, KeyError, TypeError):
        raise malformed("#: a member is missing or has the wrong type") from None


def _as_converse(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same question for Converse: texts, tools and tool turns; other blocks are not answered."""
    if body.get("anthropic_version") != _VERSION:
        raise malformed("#: required key [anthropic_version] not found")
    tokens = body.get("max_tokens")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise malformed("#: required key [max_tokens] not found")
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise malformed("#: required key [messages] not found")
    config = {"maxTokens": tokens} | {
        name: body[key]
        for key, name in (("temperature", "temperature"), ("top_p", "topP"), ("stop_sequences", "stopSequences"))
        if key in body
    }
    told: dict[str, Any] = {"inferenceConfig": config, "messages": [_message(message) for message in messages]}
    if body.get("system"):
        told["system"] = _contents(body["system"])
    if body.get("tools"):
        told["toolConfig"] = {"tools": [_tool(tool) for tool in body["tools"]]}
    return told


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or "content" not in message:
        raise malformed("#/messages: a message has a role and a content")
    return {"role": message.get("role"), "content": _contents(message["content"])}


def _contents(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}]
    blocks: list[dict[str, Any]] = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            blocks.append({"text": block["text"]})
        elif kind == "tool_use":
            blocks.append({"toolUse": {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}})
        elif kind == "tool_result":
            blocks.append({"toolResult": {"toolUseId": block["tool_use_id"], "content": _contents(block["content"])}})
        elif kind != "thinking":
            raise malformed("#/messages: a content block of this type is not answered here")
        if "cache_control" in block:
            blocks.append({"cachePoint": {"type": "default", "ttl": block["cache_control"].get("ttl", "5m")}})
    return blocks


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"toolSpec": {"name": tool.get("name"), "inputSchema": {"json": tool.get("input_schema")}}}
