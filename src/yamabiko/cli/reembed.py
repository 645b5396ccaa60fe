"""Entries of one embedder for another one: new keys and new vectors.

The key of a question covers its embedder, and an entry does not hold all that its key is made of. So each key is made
again from the question, the named parts of the scope and what the user adds; only where that gives the stored key is
the entry understood, and gets a key for the new embedder. No other entry can be taken along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.ports import Embedder
from yamabiko.types import Entry, Policy, Question, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the user says of the entries, and an export does not: their system prompt and knowledge version."""

    system: str = ""
    knowledge: str = ""


def rekeyed(entry: Entry, embedder: Embedder, told: Told) -> tuple[Entry, list[str]]:
    """The entry with the keys that its questions have under this embedder, without vectors, and what is to be embedded.

    The texts stand in the order of the questions, empty where nothing is embedded. Raises ``InvalidRequest``.
    """
    questions: list[Question] = []
    texts: list[str] = []
    scope = None
    for question in entry.questions:
        request = Request(
            question.text,
            model=entry.scope.model,
            tenant=entry.scope.tenant,
            user=entry.scope.user,
            system=told.system,
            knowledge=told.knowledge,
        )
        canonical = normalise(request)
        stored = key_of(request, canonical, embedder=entry.scope.embedder, policy=Policy())
        if stored.digest != question.digest:
            raise InvalidRequest(
                "its key covers more than question, tenant, user and model: say --system and --knowledge as they were"
                " when it was asked; entries with earlier turns, tools or sampling can't be embedded anew"
            )
        model = embedder.model_for(canonical.text) if canonical.text else embedder.id
        key = key_of(request, canonical, embedder=model, policy=Policy())
        if scope is None:
            scope = key.scope
        if key.scope == scope:  # an alias that another model would embed is left behind
            questions.append(Question(digest=key.digest, text=question.text))
            texts.append(canonical.text)
    assert scope is not None
    return replace(entry, id=questions[0].digest.hex(), scope=scope, questions=tuple(questions)), texts


async def embedded(entries: Sequence[tuple[Entry, list[str]]], embedder: Embedder) -> list[Entry]:
    """The entries with their vectors, in one batch. Raises ``EmbeddingError``."""
    wanted = [text for _, texts in entries for text in texts if text]
    vectors = iter(await embedder.embed(wanted) if wanted else ())
    return [
        replace(
            entry,
            questions=tuple(
                replace(question, vector=next(vectors) if text else None)
                for question, text in zip(entry.questions, texts, strict=True)
            ),
        )
        for entry, texts in entries
    ]
