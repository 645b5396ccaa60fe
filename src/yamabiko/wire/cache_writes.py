"""Input that a provider took into its prompt cache, which has a price of its own: as its usage says beside a reply.

Sources: the Anthropic API reference, "Usage"; the Amazon Bedrock API reference, "TokenUsage" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yamabiko.types import Reply
from yamabiko.wire.replay import about, kept


def cache_writes(reply: Reply) -> tuple[int, int]:
    """Tokens that were taken for five minutes, and for an hour; (0, 0) where the API tells of none."""
    api, rest = kept(reply)
    usage = about(rest).get("usage") if api in ("converse", "messages") else None
    if not isinstance(usage, Mapping):
        return 0, 0
    if api == "messages":
        parts = usage.get("cache_creation")
        hour = _count(parts, "ephemeral_1h_input_tokens") if isinstance(parts, Mapping) else 0
        return max(0, _count(usage, "cache_creation_input_tokens") - hour), hour
    details = usage.get("cacheDetails")
    hour = sum(
        _count(part, "inputTokens")
        for part in (details if isinstance(details, list) else ())
        if isinstance(part, Mapping) and part.get("ttl") == "1h"
    )
    return max(0, _count(usage, "cacheWriteInputTokens") - hour), hour


def _count(told: Mapping[str, Any], name: str) -> int:
    """A count of tokens; what is none is 0: an answer that has been made is not lost over its price."""
    value = told.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
