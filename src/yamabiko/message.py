"""One turn of a conversation, and the canonical JSON of whatever in it is not plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yamabiko.errors import InvalidRequest


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spare white space: equal values give equal text.

    Raises ``InvalidRequest`` for what JSON can't say.
    """
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"this part of a request is not JSON: {type(value).__name__}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation.

    ``parts`` holds, as canonical JSON, whatever is not plain text: images, tool calls, tool results, documents. Where
    blocks of text stand between them, these are in it too, so that the order counts.
    A turn with parts is compared exactly and never by meaning.
    """

    role: str
    text: str = field(default="", repr=False)
    parts: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, value: Message | Mapping[str, Any]) -> Message:
        """A message in OpenAI or Anthropic shape: ``{"role": ..., "content": text or a list of blocks}``.

        Raises ``InvalidRequest``.
        """
        if isinstance(value, Message):
            return value
        if not isinstance(value, Mapping):
            raise InvalidRequest('each message must be an object: {"role": "user", "content": "..."}')
        role, content = value.get("role"), value.get("content")
        if not isinstance(role, str):
            raise InvalidRequest('each message needs a role: {"role": "user", "content": "..."}')
        texts: list[str] = []
        parts: list[str] = []
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, Sequence):
            for block in content:
                if isinstance(block, str):
                    texts.append(block)
                elif isinstance(block, Mapping) and isinstance(block.get("text"), str) and _is_plain(block):
                    texts.append(block["text"])
                else:
                    parts.append(_block_json(block))
            if parts:  # what stands before an image and what after it is not the same: all blocks, in order
                parts = [_block_json(block) for block in content]
        elif content is not None:
            raise InvalidRequest("a message's content must be a text or a list of blocks")
        rest = {k: v for k, v in value.items() if k not in ("role", "content") and v is not None}
        if rest:  # name, tool_calls, tool_call_id, refusal, ...: they change the answer, so they count
            parts.append(canonical_json(rest))
        return cls(role=role, text="\n".join(texts), parts=tuple(parts))


def _block_json(block: object) -> str:
    """A block as canonical JSON, without Anthropic's cache_control, which wanders and changes no answer."""
    if isinstance(block, str):
        return canonical_json({"type": "text", "text": block})
    if isinstance(block, Mapping):
        return canonical_json({name: value for name, value in block.items() if name != "cache_control"})
    raise InvalidRequest("each block of a message's content must be a text or an object")


def _is_plain(block: Mapping[str, Any]) -> bool:
    """A text block, with nothing in it that changes an answer (Anthropic's cache_control does not)."""
    return block.get("type", "text") in ("text", "input_text", "output_text") and not (
        block.keys() - {"type", "text", "cache_control"}
    )


def frozen_json(value: object) -> str:
    """Canonical JSON; what is absent or empty is the empty string. Canonical JSON itself passes through."""
    if isinstance(value, str):
        return value
    return "" if value is None or value in ({}, [], ()) else canonical_json(value)
