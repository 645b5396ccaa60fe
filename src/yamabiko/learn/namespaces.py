"""Whose labels count for whom: a namespace is an embedding model, then a tenant, then a category of questions.

::

    all-MiniLM-L6-v2                                  the root: everybody's labels, and one log of them
    all-MiniLM-L6-v2/t:0123456789abcdef               a tenant, by a digest of its name
    all-MiniLM-L6-v2/t:0123456789abcdef/c:billing     one of its categories

Scores of two models are never compared, so the model comes first. While labels are few, those of the parent count.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import quote, unquote

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_ODD = re.compile(r"[^a-z0-9]+")
_LONGEST_MODEL = 100


def namespace_of(embedder: str, tenant: str, category: str) -> str:
    """The namespace of a look-up, at most 200 characters; the tenant's name can't be read from it.

    ``embedder``: as ``Embedder.model_for`` names it. ``tenant`` and ``category`` may be empty.
    """
    parts = [_model(embedder)]
    if tenant:
        parts.append(f"t:{_digest(tenant)}")
    if category:
        parts.append(f"c:{_slug(category)}")
    return "/".join(parts)


def chain(namespace: str) -> tuple[str, ...]:
    """The namespace itself, its parent, and so on to the root."""
    parts = namespace.split("/")
    return tuple("/".join(parts[:length]) for length in range(len(parts), 0, -1))


def root(namespace: str) -> str:
    """Where the labels of all that share a model are kept."""
    return namespace.partition("/")[0]


def embedder_of(namespace: str) -> str:
    """The model's id again; of an id beyond 100 characters only its beginning."""
    return unquote(root(namespace), errors="replace")


def _model(embedder: str) -> str:
    name = quote(embedder.encode("utf-8", "surrogatepass"), safe=":@+").replace("~", "%7E") or "none"
    return name if len(name) <= _LONGEST_MODEL else f"{name[: _LONGEST_MODEL - 20]}~{_digest(embedder)}"


def _slug(category: str) -> str:
    """The category as it is where it is plain; otherwise what is plain of it, and a digest that tells it apart."""
    if _PLAIN.fullmatch(category):
        return category
    return f"{_ODD.sub('-', category.lower()).strip('-')[:24]}~{_digest(category)}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
