"""Prompts and completions: what an ``answer`` function is given and gives, and the one that is used by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from yamabiko.testing.bedrock.vectors import likeness, sentences

_LEAST_LIKENESS = 0.12
_LONGEST_PIECE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model is asked. ``text`` is the last user message's text; ``messages`` and ``tools`` are as they came.

    ``system`` is the system prompt's text. ``passages`` are the texts that a knowledge base found (none for Converse).
    """

    model: str
    text: str = field(repr=False)
    system: str = field(default="", repr=False)
    messages: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    tools: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    passages: Sequence[str] = field(default=(), repr=False)

    @property
    def context(self) -> str:
        """Everything that the model may read beside the question: passages, system prompt, all messages."""
        said = [str(block["text"]) for message in self.messages for block in message["content"] if "text" in block]
        return "\n".join([*self.passages, self.system, *said])


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """The model's wish to use a tool."""

    name: str
    input: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: str = "tooluse_stand_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the model says. ``stop_reason`` None is worked out: tool use, the limits of the request, or ``end_turn``.

    ``pieces`` are the texts of the stream's deltas (joined they are ``text``), by default some 24 characters each.
    The token counts are estimated where they are None.
    """

    text: str = field(default="", repr=False)
    reasoning: str = field(default="", repr=False)
    tool_uses: Sequence[ToolUse] = ()
    stop_reason: str | None = None
    pieces: Sequence[str] = field(default=(), repr=False)
    input_tokens: int | None = None
    output_tokens: int | None = None


Answer: TypeAlias = Callable[[Prompt], str | Completion | Awaitable[str | Completion]]


def default_answer(prompt: Prompt) -> str:
    """The sentence of what the model may read that is most like the question, or else an echo of the question."""
    asked = prompt.text.strip()
    known = [sentence.strip() for sentence in sentences(prompt.context)]
    known = [sentence for sentence in known if sentence and sentence not in asked]
    best = max(known, key=lambda sentence: likeness(sentence, asked), default="")
    if best and likeness(best, asked) >= _LEAST_LIKENESS:
        return best
    japanese = any("\u3040" <= letter <= "\u30ff" or "\u4e00" <= letter <= "\u9fff" for letter in asked)
    return f"「{asked}」というご質問です。" if japanese else f"You asked: {asked}"


def pieces_of(completion: Completion, text: str) -> list[str]:
    """The deltas of ``text``, which may be cut shorter than the completion's own."""
    if completion.pieces and "".join(completion.pieces) == text:
        return list(completion.pieces)
    return [text[at : at + _LONGEST_PIECE] for at in range(0, len(text), _LONGEST_PIECE)]
