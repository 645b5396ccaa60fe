"""Where checkpoints of Bedrock's prompt cache stand in a request: after what the next request will begin with too.

A model reads a request in one order: tools, system prompt, messages. A checkpoint stands at the end of each part that
the next question is likely to share: the tools, the system prompt, the documents (the first block of a first message
that has more than one), and the earlier turns of a conversation. That is four, the most that a request may have.

Source: the Amazon Bedrock user guide, "Prompt caching" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from yamabiko.errors import ConfigurationError
from yamabiko.generators.simulated import tokens
from yamabiko.message import canonical_json
from yamabiko.wire.converse import to_json

Place: TypeAlias = Literal["tools", "system", "documents", "turns"]

PLACES: tuple[Place, ...] = ("tools", "system", "documents", "turns")
"""Where checkpoints may stand, in the order in which a model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCaching:
    """How checkpoints are placed.

    ``min_tokens``: by model id, how many tokens (>= 1) a prefix needs to be cached at all, from the model's card; a
    model that is not named gets no checkpoints. Tokens are estimated by the rule of ``simulated.tokens``: a checkpoint
    that comes too early does no harm, it is not cached. ``ttl``: how long a prefix is kept after its last use; an hour
    costs more to write. ``places``: where checkpoints may stand; not every model takes all of them.

    Raises ``ConfigurationError``.
    """

    min_tokens: Mapping[str, int] = field(default_factory=dict)
    ttl: Literal["5m", "1h"] = "5m"
    places: tuple[Place, ...] = PLACES

    def __post_init__(self) -> None:
        for model, least in self.min_tokens.items():
            if least < 1:
                raise ConfigurationError(f"min_tokens of {model!r:.100} must be 1 or more, not {least}")
        if self.ttl not in ("5m", "1h"):
            raise ConfigurationError(f"ttl must be 5m or 1h, not {self.ttl!r:.20}")
        unknown = set(self.places) - set(PLACES)
        if unknown:
            raise ConfigurationError(f"places must be among {', '.join(PLACES)}, not {min(unknown)!r:.40}")

    def marked(self, arguments: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
        """The arguments of a Converse call with checkpoints; ``names`` are those that its model may be listed under."""
        least = next((self.min_tokens[name] for name in names if name in self.min_tokens), None)
        if least is None:
            return arguments
        point = {"cachePoint": {"type": "default"} | ({} if self.ttl == "5m" else {"ttl": self.ttl})}
        marked = dict(arguments)
        read = 0
        for place in PLACES:
            parts = _parts(marked, place)
            read += sum(map(_tokens, parts))
            if parts and place in self.places and read >= least:
                _mark(marked, place, point)
        return marked


def _parts(arguments: Mapping[str, Any], place: Place) -> Sequence[Mapping[str, Any]]:
    """What a model reads before this place and after the one before; empty where there is no such place."""
    if place == "tools":
        tools: Sequence[Mapping[str, Any]] = arguments.get("toolConfig", {}).get("tools", ())
        return tools
    if place == "system":
        system: Sequence[Mapping[str, Any]] = arguments.get("system", ())
        return system
    messages = arguments.get("messages") or [{"content": []}]
    apart = len(messages[0]["content"]) > 1
    if place == "documents":
        return messages[0]["content"][:1] if apart else ()
    earlier = [block for message in messages[:-1] for block in message["content"]]
    return [block for block in earlier[apart:] if "cachePoint" not in block]


def _mark(arguments: dict[str, Any], place: Place, point: Mapping[str, Any]) -> None:
    if place == "tools":
        arguments["toolConfig"] = {**arguments["toolConfig"], "tools": [*arguments["toolConfig"]["tools"], point]}
    elif place == "system":
        arguments["system"] = [*arguments["system"], point]
    else:
        messages = list(arguments["messages"])
        at, after = (0, 1) if place == "documents" else (len(messages) - 2, None)
        content = messages[at]["content"]
        messages[at] = {**messages[at], "content": [*content[:after], point, *(content[after:] if after else ())]}
        arguments["messages"] = messages


def _tokens(part: Mapping[str, Any]) -> int:
    text = part.get("text")
    return tokens(text if isinstance(text, str) else canonical_json(to_json(part)))
