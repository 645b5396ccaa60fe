"""Small values for store tests: scopes, keys, questions, entries and vectors with a known cosine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from yamabiko.types import Entry, Key, Question, Reply, Scope, Vector


def make_scope(*, tenant: str = "acme", user: str = "", model: str = "m1", embedder: str = "fake") -> Scope:
    """A scope whose content covers tenant, user and model, and whose digest covers the embedder too."""
    content = hashlib.sha256(f"{tenant}\0{user}\0{model}".encode()).digest()
    digest = hashlib.sha256(content + embedder.encode()).digest()
    return Scope(content=content, digest=digest, tenant=tenant, user=user, model=model, embedder=embedder)


def make_key(text: str, scope: Scope | None = None) -> Key:
    """The key of a question in a scope."""
    scope = scope or make_scope()
    return Key(scope=scope, digest=hashlib.sha256(scope.content + text.encode()).digest())


def make_question(
    text: str, scope: Scope | None = None, *, vector: Vector | None = None, signature: str = ""
) -> Question:
    """A question with the digest that ``make_key`` gives it."""
    return Question(digest=make_key(text, scope).digest, text=text, vector=vector, signature=signature)


def make_entry(
    text: str,
    reply: Reply | str = "an answer",
    *,
    scope: Scope | None = None,
    vector: Vector | None = None,
    aliases: Sequence[Question] = (),
    created: float = 0.0,
    expires: float = math.inf,
    stale_until: float = math.inf,
    tags: tuple[str, ...] = (),
    author: str = "",
    confirmed: bool = True,
    signature: str = "",
) -> Entry:
    """An entry that was created by the question ``text``, with further questions as ``aliases``."""
    scope = scope or make_scope()
    return Entry(
        id=make_key(text, scope).hex,
        scope=scope,
        questions=(make_question(text, scope, vector=vector), *aliases),
        reply=Reply(text=reply) if isinstance(reply, str) else reply,
        created=created,
        expires=expires,
        stale_until=stale_until,
        tags=tags,
        author=author,
        confirmed=confirmed,
        signature=signature,
    )


def unit_vector(seed: int, dim: int) -> Vector:
    """A direction that depends on the seed only; shape (dim,), float32, L2 norm 1."""
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def tilted(vector: Vector, similarity: float, seed: int = 0) -> Vector:
    """A unit vector whose cosine with ``vector`` is ``similarity``; ``seed`` chooses among them. Needs dim >= 2."""
    north = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    away = np.random.default_rng((seed, 1)).standard_normal(len(north))  # another stream than unit_vector's
    away -= (away @ north) * north
    away /= np.linalg.norm(away)
    return (similarity * north + math.sqrt(1.0 - similarity * similarity) * away).astype(np.float32)
