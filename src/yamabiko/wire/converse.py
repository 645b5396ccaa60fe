"""Amazon Bedrock's Converse: the arguments of a call to Request, and back. What comes back is in ``converse_reply``.

boto3's keyword arguments are what is read and made here, and the same JSON travels over HTTP. A question without tools
or images gives the same Request as in OpenAI's or Anthropic's shape. Tools, the choice of one, the format of an answer
and whatever is not text keep Bedrock's own shape: they are compared to the letter, never translated.

Source: the Amazon Bedrock API reference, "Converse" (read 2026-11), and botocore's service model of bedrock-runtime.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, canonical_json
from yamabiko.types import Request
from yamabiko.wire.openai import value_of

API = "converse"
"""The member of ``Reply.extra`` that holds what is kept of these answers, and of ``Request.sampling`` for what has no
name of its own there."""

_INFERENCE: Mapping[str, str] = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "stopSequences": "stop",
}
"""What Bedrock calls what a Request's sampling has under OpenAI's and Anthropic's names."""

_ALSO: Mapping[str, str] = {"max_completion_tokens": "maxTokens"}

_NO_INFLUENCE = frozenset({"requestMetadata", "performanceConfig", "serviceTier"})
"""Arguments that don't change an answer. Every other one counts, so that one we have never heard of fails closed."""

_ELSEWHERE = frozenset(
    {"modelId", "messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "additionalModelRequestFields"}
)

_COMPARED = frozenset({"text", "reasoningContent", "citationsContent", "guardContent", "cachePoint"})
"""Blocks of a message that a question may hold and still be answered from the cache."""

_HELD: Mapping[str, str] = {
    "image": "an image",
    "document": "a document",
    "video": "a video",
    "audio": "a recording",
    "toolUse": "a call of a tool",
    "toolResult": "the result of a tool",
    "searchResult": "the result of a search",
}

_BYTES = "$bytes"
"""Marks bytes, which JSON can't say: ``{"$bytes": "<base64>"}``. An object that looks like one is ``{"$bytes": [...]}``
with its own value within."""


def request_from(arguments: Mapping[str, Any], *, tenant: str = "", user: str = "") -> Request:
    """A Request from the arguments of a call; ``tenant`` and ``user`` come from a credential, never from these.

    Anything but text, and what Bedrock keeps or runs itself, bypasses the cache. Raises ``InvalidRequest``.
    """
    model = arguments.get("modelId")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("modelId must be a text that is not empty")
    messages = _messages(arguments)
    system = _system(arguments.get("system"))
    if system.parts:
        messages.insert(0, system)
    tools = _mapping(arguments, "toolConfig")
    output = _mapping(arguments, "outputConfig")
    return Request(
        messages,
        model=model,
        system="" if system.parts else system.text,
        tenant=tenant,
        user=user,
        tools=to_json(_unmarked(tools.get("tools"))),
        tool_choice=to_json(tools.get("toolChoice")),
        response_format=to_json(output.get("textFormat")),
        sampling=_sampling(arguments, tools, output),
        bypass=_bypass(arguments, model),
    )


def _messages(arguments: Mapping[str, Any]) -> list[Message]:
    value = arguments.get("messages")
    if not value and "promptVariables" in arguments:
        return [
            Message(role="user", parts=(canonical_json({"promptVariables": to_json(arguments["promptVariables"])}),))
        ]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise InvalidRequest("messages must be a list with at least one message")
    messages = []
    for index, item in enumerate(value):
        if not isinstance(item, Mapping) or not isinstance(item.get("role"), str):
            raise InvalidRequest(
                f'messages[{index}] must be an object: {{"role": "user", "content": [{{"text": ...}}]}}'
            )
        messages.append(_message(item["role"], item.get("content"), f"messages[{index}].content"))
    return messages


def _message(role: str, content: object, where: str) -> Message:
    if content is None:
        content = []
    if isinstance(content, str) or not isinstance(content, Sequence):
        raise InvalidRequest(f"{where} must be a list of blocks")
    if not all(isinstance(block, Mapping) for block in content):
        raise InvalidRequest(f"{where} must be a list of objects")
    blocks = _unmarked(content)
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    plain = all(block.keys() == {"text"} and isinstance(block["text"], str) for block in blocks)
    parts = () if plain else tuple(canonical_json(to_json(block)) for block in blocks)
    return Message(role=role, text="\n".join(texts), parts=parts)


def _unmarked(blocks: object) -> list[Any]:
    """The blocks without checkpoints of the prompt cache, which wander and change no answer."""
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        return []
    return [block for block in blocks if not (isinstance(block, Mapping) and block.keys() == {"cachePoint"})]


def _system(value: object) -> Message:
    return _message("system", value, "system")


def _mapping(arguments: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = arguments.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} must be an object")
    return value


def _sampling(arguments: Mapping[str, Any], tools: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
    """Everything else that changes an answer: the model's own fields by their names, the rest under ``converse``."""
    own: dict[str, Any] = {k: v for k, v in arguments.items() if k not in _ELSEWHERE | _NO_INFLUENCE and v is not None}
    sampling: dict[str, Any] = {}
    inference = {k: v for k, v in _mapping(arguments, "inferenceConfig").items() if v not in (None, [])}
    for name, value in inference.items():
        if name in _INFERENCE:
            sampling[_INFERENCE[name]] = value
    rests: dict[str, Mapping[str, Any]] = {
        "inferenceConfig": {k: v for k, v in inference.items() if k not in _INFERENCE},
        "toolConfig": {k: v for k, v in tools.items() if k not in ("tools", "toolChoice")},
        "outputConfig": {k: v for k, v in output.items() if k != "textFormat"},
    }
    fields = arguments.get("additionalModelRequestFields")
    if isinstance(fields, Mapping):
        taken = {API, *_INFERENCE.values(), *_ALSO}
        sampling |= {k: v for k, v in fields.items() if k not in taken}
        rests["additionalModelRequestFields"] = {k: v for k, v in fields.items() if k in taken}
    elif fields is not None:
        own["additionalModelRequestFields"] = fields
    own |= {name: rest for name, rest in rests.items() if rest}
    if own:
        sampling[API] = own
    read = to_json(sampling)
    assert isinstance(read, dict)
    return read


def _bypass(arguments: Mapping[str, Any], model: str) -> str:
    """Why a request must not meet the cache, in a sentence; empty where it may."""
    if "promptVariables" in arguments or ":prompt/" in model:
        return "the prompt is one that Bedrock keeps"
    tools = _mapping(arguments, "toolConfig").get("tools")
    if any(not isinstance(tool, Mapping) or "toolSpec" not in tool for tool in _unmarked(tools)):
        return "the request offers a tool that the vendor runs"
    for block in _blocks(arguments):
        kind = next(iter(block), "")
        guarded = block.get("guardContent")
        if len(block) != 1 or kind not in _COMPARED:
            return f"a message holds {_HELD.get(kind, 'more than text')}"
        if isinstance(guarded, Mapping) and "image" in guarded:
            return "a message holds an image"
    return ""


def _blocks(arguments: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from arguments.get("system") or ()
    for message in arguments.get("messages") or ():
        yield from message.get("content") or ()


def to_arguments(request: Request) -> dict[str, Any]:
    """The arguments of the call that asks for what ``request_from`` read, or what another API's reader did.

    Raises ``InvalidRequest`` for what is in another API's shape and can't be said here: its tools, images and formats.
    """
    turns = list(request.messages)
    system = [{"text": request.system}] if request.system else []
    if not system and len(turns) > 1 and turns[0].role in ("system", "developer"):
        system = _content(turns.pop(0))
    arguments: dict[str, Any] = {"modelId": request.model}
    kept = [from_json(json.loads(part)) for part in turns[0].parts] if len(turns) == 1 else []
    if len(kept) == 1 and "promptVariables" in kept[0]:
        arguments |= kept[0]
    else:
        arguments["messages"] = [{"role": _role(turn.role), "content": _content(turn)} for turn in turns]
    if system:
        arguments["system"] = system
    sampling = from_json(json.loads(request.sampling)) if request.sampling else {}
    own = sampling.pop(API, {})
    inference = dict(own.pop("inferenceConfig", {}))
    for name, ours in (*_INFERENCE.items(), *((theirs, also) for also, theirs in _ALSO.items())):
        if ours in sampling:
            value = sampling.pop(ours)
            inference[name] = [value] if name == "stopSequences" and isinstance(value, str) else value
    fields = own.pop("additionalModelRequestFields", {})
    if isinstance(fields, Mapping):
        fields = {**sampling, **fields}
    elif not fields:  # nothing, and not what belongs there: kept as it came
        arguments["additionalModelRequestFields"] = fields
    arguments |= own
    for name, part in {
        "inferenceConfig": inference,
        "toolConfig": _tool_config(request, own),
        "outputConfig": _output_config(request, own),
        "additionalModelRequestFields": fields,
    }.items():
        if part or name in own:
            arguments[name] = part
    return arguments


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _content(turn: Message) -> list[Any]:
    """A turn's blocks; text blocks of other APIs are the same but for their name."""
    if not turn.parts:
        return [{"text": turn.text}]
    blocks = []
    for part in (from_json(json.loads(part)) for part in turn.parts):
        if part.keys() == {"type", "text"} and part["type"] in ("text", "input_text", "output_text"):
            blocks.append({"text": part["text"]})
        elif all(isinstance(value, Mapping) or name == "text" for name, value in part.items()):
            blocks.append(part)
        else:
            raise InvalidRequest("a message holds a block in another API's shape, which Converse can't be asked with")
    return blocks


def _tool_config(request: Request, own: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(own.get("toolConfig", {}))
    tools, choice = value_of(request.tools or "null"), value_of(request.tool_choice or "null")
    if tools:
        if not isinstance(tools, list) or not all(isinstance(tool, Mapping) and "type" not in tool for tool in tools):
            raise InvalidRequest('tools are in another API\'s shape; Converse wants a list of {"toolSpec": {...}}')
        config["tools"] = from_json(tools)
    if choice:
        if not isinstance(choice, Mapping) or "type" in choice:
            raise InvalidRequest('tool_choice is in another API\'s shape; Converse wants {"auto": {}} or the like')
        config["toolChoice"] = from_json(choice)
    return config


def _output_config(request: Request, own: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(own.get("outputConfig", {}))
    form = value_of(request.response_format or "null")
    if form:
        if not isinstance(form, Mapping) or "structure" not in form:
            raise InvalidRequest(
                'response_format is in another API\'s shape; Converse wants {"type": ..., "structure": {...}}'
            )
        config["textFormat"] = from_json(form)
    return config


def to_json(value: object) -> Any:
    """The value with its bytes as base64, so that JSON can say it; ``from_json`` gives it back."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        told = {name: to_json(item) for name, item in value.items()}
        return {_BYTES: [told[_BYTES]]} if told.keys() == {_BYTES} else told
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: object) -> Any:
    """The value that ``to_json`` made this of."""
    if isinstance(value, Mapping):
        if value.keys() == {_BYTES}:
            return _from_marked(value[_BYTES])
        return {name: from_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def _from_marked(held: object) -> Any:
    """What is marked as bytes; whatever ``to_json`` never wrote is what it is."""
    if isinstance(held, list) and len(held) == 1:
        return {_BYTES: from_json(held[0])}
    try:
        return b64decode(held, validate=True) if isinstance(held, str) else {_BYTES: from_json(held)}
    except ValueError:
        return {_BYTES: held}
