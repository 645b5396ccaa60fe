"""Guardrails as lists of words: enough to see what a caller does when one intervenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yamabiko.testing.bedrock.checks import member
from yamabiko.testing.bedrock.faults import invalid


@dataclass(frozen=True, slots=True)
class Verdict:
    """A guardrail at work in one request."""

    identifier: str
    words: Sequence[str] = field(repr=False)
    on_input: str
    on_output: str
    traced: bool = False

    def blocks(self, text: str) -> bool:
        """Whether a word of the list stands in ``text``, in any case."""
        folded = text.casefold()
        return any(word.casefold() in folded for word in self.words)

    def trace(self, *, intervened: bool) -> dict[str, Any] | None:
        """The ``trace.guardrail`` of the response, where the request asks for it."""
        if not self.traced:
            return None
        found = {"wordPolicy": {"customWords": [{"match": "*", "action": "BLOCKED"}], "managedWordLists": []}}
        return {"inputAssessment": {self.identifier: found if intervened else {}}}


class Guardrails:
    """Guardrails by identifier."""

    def __init__(self) -> None:
        self._known: dict[str, Verdict] = {}

    def put(self, identifier: str, words: Sequence[str], on_input: str, on_output: str) -> None:
        """Add or replace one."""
        self._known[identifier] = Verdict(identifier, tuple(words), on_input, on_output)

    def of(self, config: Mapping[str, Any] | None) -> Verdict | None:
        """The guardrail that a request names; raises ``Refused`` for an unknown one."""
        if not config:
            return None
        identifier = member(config, "guardrailIdentifier", str, where="guardrailConfig.")
        member(config, "guardrailVersion", str, where="guardrailConfig.")
        return self.named(identifier, traced=config.get("trace") in ("enabled", "enabled_full"))

    def named(self, identifier: str, *, traced: bool = False) -> Verdict:
        """The guardrail of that identifier; raises ``Refused`` for an unknown one."""
        known = self._known.get(identifier)
        if known is None:
            raise invalid("The guardrail identifier or version provided in the request does not exist.")
        return Verdict(known.identifier, known.words, known.on_input, known.on_output, traced)
