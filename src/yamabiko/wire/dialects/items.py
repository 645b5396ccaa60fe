"""The items of a response's output (OpenAI's Responses), and the events that a stream tells each of them by.

Source: the OpenAI API reference, "Responses", "Streaming events" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SEARCHES: Mapping[str, tuple[str, ...]] = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
}
_INPUTS: Mapping[str, tuple[str, str]] = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An item of an output: as it is, as it begins, and what a stream tells in between.

    The events lack ``item_id``, ``output_index`` and ``sequence_number``, which are their place in the stream.
    """

    whole: dict[str, Any]
    begun: dict[str, Any]
    events: Iterator[dict[str, Any]]


def told_items(output: Sequence[Mapping[str, Any]], texts: Sequence[list[str]]) -> list[Told]:
    """The items of an output. ``texts`` are the pieces of each of its ``output_text`` parts, in order."""
    waiting = iter(texts)
    return [_message(item, waiting) if item.get("type") == "message" else _other(dict(item)) for item in output]


def _message(item: Mapping[str, Any], texts: Iterator[list[str]]) -> Told:
    parts: list[tuple[dict[str, Any], list[str]]] = []
    for part in item.get("content") or ():
        if part.get("type") == "output_text":
            pieces = next(texts)
            parts.append(({**part, "text": "".join(pieces)}, pieces))
        else:
            parts.append((dict(part), []))
    whole = {**item, "content": [part for part, _ in parts]}
    events = (event for index, (part, pieces) in enumerate(parts) for event in _part(index, part, pieces))
    return Told(whole, {**item, "status": "in_progress", "content": []}, events)


def _part(index: int, part: dict[str, Any], pieces: list[str]) -> Iterator[dict[str, Any]]:
    if part.get("type") == "refusal":
        events, empty = _refusal(part), part | {"refusal": ""}
    elif part.get("type") == "output_text":
        events, empty = _text(part, pieces), part | {"text": "", "annotations": []}
        if "logprobs" in part:
            empty["logprobs"] = []
    else:
        events, empty = iter(()), part
    yield {"type": "response.content_part.added", "content_index": index, "part": empty}
    for event in events:
        yield event | {"content_index": index}
    yield {"type": "response.content_part.done", "content_index": index, "part": part}


def _text(part: Mapping[str, Any], pieces: list[str]) -> Iterator[dict[str, Any]]:
    tokens = part.get("logprobs")
    tokens = tokens if isinstance(tokens, list) else []
    for piece, its in zip(pieces, _shared(tokens, pieces), strict=True):
        yield {"type": "response.output_text.delta", "delta": piece, "logprobs": its}
    for number, annotation in enumerate(part.get("annotations") or ()):
        added = {"annotation_index": number, "annotation": annotation}
        yield {"type": "response.output_text.annotation.added", **added}
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": tokens}


def _shared(tokens: list[Any], pieces: list[str]) -> list[list[Any]]:
    """The tokens' log probabilities, each with the piece that its token begins in; a token may be half a character."""
    ends, at = [], 0
    for piece in pieces:
        at += len(piece.encode(errors="surrogatepass"))
        ends.append(at)
    shares: list[list[Any]] = [[] for _ in pieces]
    number = at = 0
    for token in tokens if pieces else ():
        while number < len(ends) - 1 and at >= ends[number]:
            number += 1
        shares[number].append(token)
        at += _width(token)
    return shares


def _width(token: object) -> int:
    """How many bytes of UTF-8 a token has."""
    if not isinstance(token, Mapping):
        return 0
    told, text = token.get("bytes"), token.get("token")
    if isinstance(told, list):
        return len(told)
    return len(text.encode(errors="surrogatepass")) if isinstance(text, str) else 0


def _refusal(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.refusal.delta", "delta": part.get("refusal") or ""}
    yield {"type": "response.refusal.done", "refusal": part.get("refusal") or ""}


def _other(item: dict[str, Any]) -> Told:
    kind = item.get("type")
    if kind == "reasoning":
        emptied: dict[str, list[Any]] = {name: [] for name in ("summary", "content") if item.get(name) is not None}
        begun = item | emptied | ({"status": "in_progress"} if item.get("status") else {})
        return Told(item, begun, _reasoning(item))
    if isinstance(kind, str) and kind in _SEARCHES:
        events: list[dict[str, Any]] = [{"type": f"response.{kind}.{state}"} for state in _SEARCHES[kind]]
        return Told(item, item | {"status": "in_progress"}, iter(events))
    if isinstance(kind, str) and kind in _INPUTS:
        name, event = _INPUTS[kind]
        told = item.get(name) or ""
        begun = item | {name: ""} | ({"status": "in_progress"} if item.get("status") else {})
        delta = [{"type": f"{event}.delta", "delta": told}] if told else []
        return Told(item, begun, iter([*delta, {"type": f"{event}.done", name: told}]))
    return Told(item, item, iter(()))


def _reasoning(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(item.get("summary") or ()):
        text = part.get("text") or ""
        told = [
            {"type": "response.reasoning_summary_part.added", "part": {**part, "text": ""}},
            {"type": "response.reasoning_summary_text.delta", "delta": text},
            {"type": "response.reasoning_summary_text.done", "text": text},
            {"type": "response.reasoning_summary_part.done", "part": part},
        ]
        yield from (event | {"summary_index": index} for event in told)
    for index, part in enumerate(item.get("content") or ()):
        text = part.get("text") or ""
        told = [
            {"type": "response.content_part.added", "part": {**part, "text": ""}},
            {"type": "response.reasoning_text.delta", "delta": text},
            {"type": "response.reasoning_text.done", "text": text},
            {"type": "response.content_part.done", "part": part},
        ]
        yield from (event | {"content_index": index} for event in told)
