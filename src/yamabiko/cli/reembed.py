"""Entries of one embedder for another one: the same keys, other scopes, new vectors.

The exact tier does not depend on the embedder, so keys and ids stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yamabiko.core.key import question_digest, with_embedder
from yamabiko.core.normalise import normalise
from yamabiko.ports import Embedder
from yamabiko.types import Entry, Question, Request


def rescoped(entry: Entry, embedder: Embedder) -> tuple[Entry, list[str]]:
    """The entry in the scope that it has under this embedder, without vectors, and what is to be embedded.

    The texts stand in the order of the questions, empty where nothing is embedded. The scope is the first question's;
    another one that this embedder places elsewhere is left to the exact tier.
    """
    texts = [_embeddable(entry, question) for question in entry.questions]
    scopes = [with_embedder(entry.scope, text, embedder.model_for(text) if text else embedder.id) for text in texts]
    return (
        replace(entry, scope=scopes[0], questions=tuple(replace(asked, vector=None) for asked in entry.questions)),
        [text if scope == scopes[0] else "" for text, scope in zip(texts, scopes, strict=True)],
    )


def _embeddable(entry: Entry, question: Question) -> str:
    """What is embedded of a question; empty where nothing may be, as of a tool's turn or of one with an image.

    An export does not say so of a question without a vector, but its key does: nothing else than a plain user's turn
    has the key that is made again from its text.
    """
    if question.vector is not None:
        return question.text
    request = Request(question.text)
    canonical = normalise(request)
    plain = question_digest(entry.scope.content, request.messages[-1], canonical.question) == question.digest
    return canonical.text if plain else ""


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
