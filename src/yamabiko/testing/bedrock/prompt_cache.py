"""Prompt caching: the longest known prefix that ends at a checkpoint is read, the rest up to the last one written.

Source: user guide, "Prompt caching for faster model inference" (read 2026-11-23): at most four checkpoints, a least
number of tokens for each, a life of five minutes or one hour that a read renews; tools, system, messages in this order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from yamabiko.testing.bedrock.faults import Refused, invalid
from yamabiko.testing.bedrock.models import BedrockModel
from yamabiko.testing.bedrock.vectors import count_tokens

_MOST_CHECKPOINTS = 4
_TTL_SECONDS: Mapping[str, float] = {"5m": 300.0, "1h": 3_600.0}


@dataclass(frozen=True, slots=True)
class Reading:
    """Tokens of one prompt: neither read nor written, read from the cache, written to it."""

    fresh: int
    read: int = 0
    written: int = 0
    ttl: str = "5m"

    @property
    def total(self) -> int:
        """All tokens of the prompt."""
        return self.fresh + self.read + self.written


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    digest: bytes
    tokens: int
    ttl: str


class PromptCache:
    """What one stand-in remembers of prompts: digests of prefixes and when they end."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def read(self, model: BedrockModel, body: Mapping[str, Any], *, now: float) -> Reading:
        """Read and write the checkpoints of a request at ``now``; raises ``Refused``."""
        total, points = _walk(model, body)
        if not points:
            return Reading(total)
        if model.checkpoint_tokens is None:
            raise Refused(
                "AccessDeniedException",
                "You invoked an unsupported model or your request did not allow prompt caching. See the documentation"
                " for more information.",
            )
        if len(points) > _MOST_CHECKPOINTS:
            raise invalid(f"A request may hold {_MOST_CHECKPOINTS} cache points at most, this one has {len(points)}.")
        least = model.checkpoint_tokens
        usable = [point for point in points if point.tokens >= least]
        read = max((p.tokens for p in usable if self._until.get(p.digest, 0.0) > now), default=0)
        for point in usable:
            self._until[point.digest] = now + _TTL_SECONDS[point.ttl]
        covered = max((point.tokens for point in usable), default=0)
        ttl = usable[-1].ttl if usable else "5m"
        return Reading(total - covered, read, covered - read, ttl)


def _walk(model: BedrockModel, body: Mapping[str, Any]) -> tuple[int, list[_Checkpoint]]:
    digest, tokens, points = hashlib.sha256(model.id.encode()), 0, []
    for block in _blocks(body):
        if "cachePoint" in block:
            ttl = block["cachePoint"].get("ttl", "5m")
            if block["cachePoint"].get("type") != "default" or ttl not in _TTL_SECONDS:
                raise invalid("1 validation error detected: Value at 'cachePoint' is not a cache point")
            points.append(_Checkpoint(digest.digest(), tokens, ttl))
            continue
        told = json.dumps(block, ensure_ascii=False, sort_keys=True)
        digest.update(f"{len(told)}:{told}".encode("utf-8", "surrogatepass"))
        tokens += count_tokens(block["text"]) if isinstance(block.get("text"), str) else count_tokens(told)
    return tokens, points


def _blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (body.get("toolConfig") or {}).get("tools") or ()
    yield from body.get("system") or ()
    for message in body["messages"]:
        for block in message["content"]:
            yield block if "cachePoint" in block else {"role": message["role"]} | dict(block)
