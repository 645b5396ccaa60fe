"""RetrieveAndGenerate and its stream: passages, an answer made from them, citations, sessions, and no usage.

Source: bedrock-agent-runtime API reference, "RetrieveAndGenerate" (read 2026-11-23).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yamabiko.testing.bedrock.answering import Answer, Completion, Prompt, pieces_of
from yamabiko.testing.bedrock.checks import at_most, member
from yamabiko.testing.bedrock.converse import limited
from yamabiko.testing.bedrock.faults import invalid
from yamabiko.testing.bedrock.guardrails import Guardrails
from yamabiko.testing.bedrock.knowledge import KnowledgeBases, Passage
from yamabiko.testing.bedrock.models import Catalogue
from yamabiko.testing.bedrock.results import Event
from yamabiko.testing.bedrock.vectors import likeness, sentences

NOTHING_FOUND = "Sorry, I am unable to assist you with this request."
"""What is said where nothing was retrieved."""

_INPUT_CHARACTERS = 1_000
_SUPPORTED = 0.3
_PLACEHOLDER = "$search_results$"


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer from a knowledge base."""

    session: str
    text: str = field(repr=False)
    pieces: Sequence[str] = field(repr=False)
    citations: Sequence[Mapping[str, Any]] = field(repr=False)
    intervened: bool | None = None

    def response(self) -> dict[str, Any]:
        """The body of RetrieveAndGenerate."""
        told: dict[str, Any] = {
            "sessionId": self.session,
            "output": {"text": self.text},
            "citations": list(self.citations),
        }
        return told if self.intervened is None else told | {"guardrailAction": self._action()}

    def events(self) -> Iterator[Event]:
        """The events of RetrieveAndGenerateStream: the pieces, then each citation, then the guardrail's action."""
        for piece in self.pieces:
            yield "output", {"text": piece}
        for citation in self.citations:
            yield "citation", {"citation": citation, **citation}
        if self.intervened is not None:
            yield "guardrail", {"action": self._action()}

    def _action(self) -> str:
        return "INTERVENED" if self.intervened else "NONE"


class Sessions:
    """Earlier turns by session."""

    def __init__(self) -> None:
        self._turns: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    def opened(self, identifier: str | None) -> str:
        """The session of that id, or a new one; raises ``Refused`` for an unknown one."""
        if identifier is None:
            identifier = f"session-{next(self._numbers):08d}"
            self._turns[identifier] = []
        if identifier not in self._turns:
            raise invalid("Session with the given sessionId is not valid. Start a new session without sessionId.")
        return identifier

    def turns(self, identifier: str) -> list[dict[str, Any]]:
        """The messages of a session so far, in Converse's form."""
        return list(self._turns[identifier])

    def add(self, identifier: str, question: str, answer: str) -> None:
        """Remember one turn."""
        for role, text in (("user", question), ("assistant", answer)):
            self._turns[identifier].append({"role": role, "content": [{"text": text}]})


async def generate(
    body: Mapping[str, Any],
    answer: Answer,
    *,
    bases: KnowledgeBases,
    catalogue: Catalogue,
    guardrails: Guardrails,
    sessions: Sessions,
    now: float,
) -> Generated:
    """Answer one request; raises ``Refused``."""
    question = member(member(body, "input", dict), "text", str, where="input.")
    at_most(question, _INPUT_CHARACTERS, "input.text")
    config = _settings(body)
    generation = config.get("generationConfiguration") or {}
    _check_template(generation)
    model = catalogue.resolve(member(config, "modelArn", str), now=now)
    if model.kind != "chat":
        raise invalid("The model does not support this operation.")
    base = bases.known(member(config, "knowledgeBaseId", str))
    session = sessions.opened(body.get("sessionId"))
    rail = generation.get("guardrailConfiguration")
    verdict = guardrails.named(member(rail, "guardrailId", str)) if rail else None
    intervened = None if verdict is None else False
    if verdict is not None and verdict.blocks(question):
        return Generated(session, verdict.on_input, [verdict.on_input], [], intervened=True)
    base.settle(now)
    search = (config.get("retrievalConfiguration") or {}).get("vectorSearchConfiguration") or {}
    passages = base.find(question, search)
    turns = sessions.turns(session)
    asked = {"role": "user", "content": [{"text": question}]}
    prompt = Prompt(
        model=model.id,
        text=question,
        messages=[*turns, asked],
        passages=[passage.text for passage in passages],
    )
    completion = await _completed(answer, prompt) if passages else Completion(text=NOTHING_FOUND)
    limits = (generation.get("inferenceConfig") or {}).get("textInferenceConfig") or {}
    text, _ = limited(completion, limits)
    if verdict is not None and verdict.blocks(text):
        return Generated(session, verdict.on_output, [verdict.on_output], [], intervened=True)
    sessions.add(session, question, text)
    return Generated(session, text, pieces_of(completion, text), _citations(text, passages), intervened)


async def _completed(answer: Answer, prompt: Prompt) -> Completion:
    given = answer(prompt)
    if inspect.isawaitable(given):
        given = await given
    return Completion(text=given) if isinstance(given, str) else given


def _settings(body: Mapping[str, Any]) -> Mapping[str, Any]:
    config = member(body, "retrieveAndGenerateConfiguration", dict)
    kind = member(config, "type", str, where="retrieveAndGenerateConfiguration.")
    if kind != "KNOWLEDGE_BASE":
        raise invalid("Only the type KNOWLEDGE_BASE is answered here.")
    settings: Mapping[str, Any] = member(config, "knowledgeBaseConfiguration", dict)
    return settings


def _check_template(generation: Mapping[str, Any]) -> None:
    template = (generation.get("promptTemplate") or {}).get("textPromptTemplate")
    if template is not None and _PLACEHOLDER not in template:
        raise invalid(f"The prompt template must contain the placeholder {_PLACEHOLDER}.")


def _citations(text: str, passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """One citation a sentence: where it stands in ``text`` (``end`` is exclusive) and the passages that say it."""
    citations, start = [], 0
    for sentence in sentences(text):
        stripped = sentence.strip()
        begin = start + len(sentence) - len(sentence.lstrip())
        start += len(sentence)
        if not stripped:
            continue
        said = [p for p in passages if stripped in p.text or likeness(stripped, p.text) >= _SUPPORTED]
        span = {"start": begin, "end": begin + len(stripped)}
        part = {"textResponsePart": {"text": stripped, "span": span}}
        references = [passage.reference() for passage in said]
        citations.append({"generatedResponsePart": part, "retrievedReferences": references})
    return citations
