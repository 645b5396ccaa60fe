"""Amazon Bedrock's Converse: responses and the events of a stream to Reply, and back.

An answer's blocks are kept beside its text (``wire.replay``): reasoning with its signature, citations, what a guardrail
found. Any call of a tool is a tool call, and no such answer is ever stored.

Bedrock's ``inputTokens`` are those that its prompt cache neither gave nor took; in a Reply all input counts together.

Source: the Amazon Bedrock API reference, "Converse", "ConverseStream", and its user guide, "Prompt caching" (read
2026-11); botocore's service model of bedrock-runtime.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from yamabiko.errors import InvalidRequest
from yamabiko.message import canonical_json
from yamabiko.types import Reply, Usage
from yamabiko.wire.converse import API, from_json, to_json
from yamabiko.wire.openai import count_of
from yamabiko.wire.replay import ABOUT, about, cut, keep, kept
from yamabiko.wire.sse import Chunk

UNKNOWN_EVENT = "unknown_event"
"""Finish reason of a stream that held more than we can tell again; never stored."""

_FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}

_ABOUT = ("stopReason", "usage", "metrics", "performanceConfig", "serviceTier")
"""Members of a response that tell how its answer was made and are no part of it."""

_OURS = frozenset({"content", ABOUT})


def reply_from(response: Mapping[str, Any], *, model: str = "", chunk_lengths: Sequence[int] = ()) -> Reply:
    """A Reply from a response, or from what a stream's events added up to.

    ``model`` is who was asked, which a response doesn't say. Raises ``InvalidRequest``.
    """
    content = _content(response)
    texts: list[str] = []
    calls: list[str] = []
    blocks: list[Any] = []
    for index, block in enumerate(content):
        where = f"output.message.content[{index}]"
        if "text" in block:
            texts.append(_text(block, where))
            blocks.append({**block, "text": len(texts[-1])})
        elif "citationsContent" in block:
            cited, lengths = _cited(block["citationsContent"], where)
            texts.extend(cited)
            blocks.append({"citationsContent": {**to_json(block["citationsContent"]), "content": lengths}})
        else:
            blocks.append(to_json(block))
            if "toolUse" in block:
                _object(block, "toolUse")
                calls.append(canonical_json(to_json(block)))
    plain = len(blocks) == 1 and blocks[0].keys() == {"text"}
    rest = {k: v for k, v in response.items() if k not in ("output", "ResponseMetadata", *_ABOUT)}
    told = {k: response[k] for k in _ABOUT if k in response}
    return Reply(
        text="".join(texts),
        model=model,
        finish_reason=finish_reason(response.get("stopReason")) or "error",
        usage=usage_of(response.get("usage")) or Usage(),
        chunk_lengths=tuple(chunk_lengths),
        tool_calls=tuple(calls),
        extra=keep(API, {**to_json(rest), ABOUT: to_json(told), "content": None if plain else blocks}),
    )


def _content(response: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    output = response.get("output")
    message = output.get("message") if isinstance(output, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise InvalidRequest("output.message.content must be a list of blocks")
    if not all(isinstance(block, Mapping) and block for block in content):
        raise InvalidRequest("output.message.content must be a list of objects")
    return content


def _text(block: Mapping[str, Any], where: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}.text must be a text")
    return text


def _cited(block: object, where: str) -> tuple[list[str], list[Any]]:
    """The texts that citations stand for, and their places with the lengths in them."""
    content = block.get("content", ()) if isinstance(block, Mapping) else None
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise InvalidRequest(f"{where}.citationsContent.content must be a list of objects")
    if not isinstance(block, Mapping) or not isinstance(block.get("citations", []), list):
        raise InvalidRequest(f"{where}.citationsContent.citations must be a list")
    texts = [_text(part, f"{where}.citationsContent.content") for part in content]
    return texts, [{**part, "text": len(text)} for part, text in zip(content, texts, strict=True)]


def finish_reason(stop_reason: object) -> str:
    """Why an answer ended, in our words; Bedrock's own where we have none, empty where it says nothing."""
    return _FINISH_REASONS.get(str(stop_reason), str(stop_reason)) if stop_reason else ""


def usage_of(value: object) -> Usage | None:
    """Tokens; what the prompt cache gave and what it took are both a part of the input."""
    if not isinstance(value, Mapping):
        return None
    read = count_of(value, "cacheReadInputTokens")
    return Usage(
        input_tokens=count_of(value, "inputTokens") + read + count_of(value, "cacheWriteInputTokens"),
        output_tokens=count_of(value, "outputTokens"),
        cached_input_tokens=read,
    )


def response_from(reply: Reply, *, replayed: bool = False) -> dict[str, Any]:
    """A response that says the reply again, as boto3 gives it without ResponseMetadata.

    Replies of other APIs too, where ``wire.replay.loss`` finds nothing to lose. ``replayed``: all input is told as read
    from a cache, as nobody is asked to pay for it again.
    """
    rest, blocks = _told(reply, replayed=replayed)
    content = []
    for block, pieces in blocks:
        if "text" in block:
            content.append({**block, "text": "".join(pieces[0])})
        elif pieces:
            parts = zip(block["citationsContent"]["content"], pieces, strict=True)
            cited = [{**part, "text": "".join(told)} for part, told in parts]
            content.append({"citationsContent": {**block["citationsContent"], "content": cited}})
        else:
            content.append(block)
    return {"output": {"message": {"role": "assistant", "content": content}}, **rest}


Told = tuple[dict[str, Any], list[list[str]]]
"""A block, its texts' lengths still in it, and the pieces of each of its texts."""


def _told(reply: Reply, *, replayed: bool) -> tuple[dict[str, Any], list[Told]]:
    """What a response says beside the answer, and the answer's blocks with the pieces of each of their texts."""
    api, rest = kept(reply)
    rest = from_json(rest) if api == API else {}
    known = about(rest)
    stop = known.get("stopReason") or _STOP_REASONS.get(reply.finish_reason, reply.finish_reason)
    usage = known.get("usage")
    if replayed or not isinstance(usage, Mapping):
        usage = _usage(reply.usage, replayed=replayed)
    metrics = known.get("metrics") or {"latencyMs": round(reply.latency_seconds * 1000)}
    told = {"stopReason": stop, "usage": usage, "metrics": metrics}
    told |= {name: known[name] for name in ("performanceConfig", "serviceTier") if name in known}
    told |= {name: value for name, value in rest.items() if name not in _OURS}
    return told, _blocks(reply, rest.get("content"))


def _usage(usage: Usage, *, replayed: bool) -> dict[str, int]:
    cached = usage.input_tokens if replayed else usage.cached_input_tokens
    told = {"inputTokens": usage.input_tokens - cached, "outputTokens": usage.output_tokens}
    told["totalTokens"] = usage.input_tokens + usage.output_tokens
    return told | {"cacheReadInputTokens": cached, "cacheWriteInputTokens": 0} if cached else told


def _blocks(reply: Reply, content: object) -> list[Told]:
    pieces = list(reply.chunks())
    plain: list[Told] = [({"text": len(reply.text)}, [pieces])]
    if not isinstance(content, list):
        return plain
    lengths = [part["text"] for block in content for part in _parts(block)]
    texts = cut(pieces, lengths)
    if texts is None:  # kept for another text than this: only the text is certain
        return plain
    waiting = iter(texts)
    return [(block, [next(waiting) for _ in _parts(block)]) for block in content]


def _parts(block: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The places of text in a block."""
    if "text" in block:
        return (block,)
    cited: Sequence[Mapping[str, Any]] = block["citationsContent"]["content"] if "citationsContent" in block else ()
    return cited


def events_from(reply: Reply, *, replayed: bool = False) -> Iterator[dict[str, Any]]:
    """The events of a stream that says the reply again, each text in the pieces that it was streamed in."""
    rest, blocks = _told(reply, replayed=replayed)
    yield {"messageStart": {"role": "assistant"}}
    for index, (block, pieces) in enumerate(blocks):
        start, deltas = _opened(block, pieces)
        if start:
            yield {"contentBlockStart": {"start": start, "contentBlockIndex": index}}
        for delta in deltas:
            yield {"contentBlockDelta": {"delta": delta, "contentBlockIndex": index}}
        yield {"contentBlockStop": {"contentBlockIndex": index}}
    stop = {name: rest.pop(name) for name in ("stopReason", "additionalModelResponseFields") if name in rest}
    yield {"messageStop": stop}
    yield {"metadata": rest}


def _opened(block: Mapping[str, Any], pieces: Sequence[Sequence[str]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a block starts with, empty where nothing announces it, and what is then added to it."""
    texts: list[dict[str, Any]] = [{"text": piece} for part in pieces for piece in (part or [""])]
    if "text" in block:
        return {}, texts
    if "citationsContent" in block:
        return {}, [*texts, *({"citation": cited} for cited in block["citationsContent"].get("citations", ()))]
    if "toolUse" in block:
        call = dict(block["toolUse"])
        given = call.pop("input", {})
        return {"toolUse": call}, [{"toolUse": {"input": json.dumps(given, ensure_ascii=False)}}] if given else []
    thought = block.get("reasoningContent")
    if isinstance(thought, Mapping) and "redactedContent" in thought:
        return {}, [{"reasoningContent": {"redactedContent": thought["redactedContent"]}}]
    told = thought.get("reasoningText") if isinstance(thought, Mapping) else None
    if isinstance(told, Mapping):
        return {}, [{"reasoningContent": {name: told[name]}} for name in ("text", "signature") if name in told]
    return dict(block), []


class Assembly:
    """A response, put together from the events of its stream; ``model`` is who was asked.

    Its reply is whole only after ``messageStop`` and ``metadata``. What an event adds beyond what we know is never
    guessed at: the reply then ends as ``UNKNOWN_EVENT``.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        self._texts: list[tuple[int, str]] = []
        self._stop: Mapping[str, Any] = {}
        self._metadata: Mapping[str, Any] | None = None
        self._failed = self._unknown = False

    def add(self, event: Mapping[str, Any]) -> Chunk:
        """What the next event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        ((kind, value),) = event.items() if len(event) == 1 else (("", None),)
        if not isinstance(value, Mapping):
            raise InvalidRequest("an event must be an object with one member, an object")
        if kind == "contentBlockDelta":
            return self._extended(_index(value), _object(value, "delta"))
        if kind == "contentBlockStart":
            return self._started(_index(value), _object(value, "start"))
        if kind == "messageStop":
            self._stop = value
            return Chunk(finish_reason=finish_reason(value.get("stopReason")))
        if kind == "metadata":
            self._metadata = value
            return Chunk(usage=usage_of(value.get("usage")), done=bool(self._stop))
        if kind.endswith("Exception"):
            self._failed = True
            return Chunk(finish_reason="error")
        if kind not in ("messageStart", "contentBlockStop"):
            self._unknown = True
        return Chunk()

    def _started(self, index: int, start: Mapping[str, Any]) -> Chunk:
        if index in self._blocks:
            self._unknown = True
        self._blocks[index] = dict(start)
        if "toolUse" not in start:
            self._unknown = self._unknown or bool(start)
            return Chunk()
        self._blocks[index]["toolUse"] = {"input": {}, **_object(start, "toolUse")}
        return Chunk(tool_calls=(canonical_json(to_json(start)),))

    def _extended(self, index: int, delta: Mapping[str, Any]) -> Chunk:
        block = self._blocks.setdefault(index, {})
        if isinstance(delta.get("text"), str) and block.keys() <= {"text", "citations"}:
            block["text"] = block.get("text", "") + delta["text"]
            if delta["text"]:
                self._texts.append((index, delta["text"]))
            return Chunk(text=delta["text"])
        if isinstance(delta.get("citation"), Mapping) and block.keys() <= {"text", "citations"}:
            block.setdefault("citations", []).append(delta["citation"])
            return Chunk()
        call, thought = delta.get("toolUse"), delta.get("reasoningContent")
        if isinstance(call, Mapping) and isinstance(call.get("input"), str) and "toolUse" in block:
            self._inputs.setdefault(index, []).append(call["input"])
            return Chunk(tool_calls=(canonical_json(to_json(delta)),))
        if isinstance(thought, Mapping) and block.keys() <= {"reasoningContent"}:
            held = block.setdefault("reasoningContent", {})
            if isinstance(thought.get("redactedContent"), bytes) and held.keys() <= {"redactedContent"}:
                held["redactedContent"] = held.get("redactedContent", b"") + thought["redactedContent"]
                return Chunk()
            told = [name for name in ("text", "signature") if isinstance(thought.get(name), str)]
            if len(told) == len(thought) == 1 and held.keys() <= {"reasoningText"}:
                said = held.setdefault("reasoningText", {})
                said[told[0]] = said.get(told[0], "") + thought[told[0]]
                return Chunk(reasoning=thought.get("text", ""))
        self._unknown = True
        return Chunk()

    def reply(self) -> Reply:
        """What the stream added up to; its finish reason is ``error`` where it broke off or reported one."""
        text = "".join(piece for _, piece in self._texts)
        unknown = self._unknown or not self._filled()
        blocks = [_closed(self._blocks[index]) for index in sorted(self._blocks)]
        unknown = unknown or not all(blocks)
        response = {"output": {"message": {"content": [block for block in blocks if block]}}}
        try:
            reply = reply_from(
                {**response, **self._stop, **(self._metadata or {})},
                model=self._model,
                chunk_lengths=[len(piece) for _, piece in self._texts],
            )
        except InvalidRequest:
            return Reply(text=text, model=self._model, finish_reason="error")
        if self._failed or not self._stop or self._metadata is None:
            return replace(reply, text=text, finish_reason="error")
        return replace(reply, text=text, finish_reason=UNKNOWN_EVENT) if unknown or reply.text != text else reply

    def _filled(self) -> bool:
        """Whether the inputs of tools, which come in fragments of JSON, could be read."""
        for index, pieces in self._inputs.items():
            try:
                if told := "".join(pieces):
                    self._blocks[index]["toolUse"]["input"] = json.loads(told)
            except (ValueError, RecursionError):
                return False
        return True


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    """A block as a response has it: with citations, a text stands within them."""
    if "citations" not in block:
        return block
    content = [{"text": block["text"]}] if "text" in block else []
    return {"citationsContent": {"content": content, "citations": block["citations"]}}


def _index(value: Mapping[str, Any]) -> int:
    index = value.get("contentBlockIndex")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise InvalidRequest("contentBlockIndex must be a whole number, 0 or more")
    return index


def _object(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name} must be an object")
    return value
