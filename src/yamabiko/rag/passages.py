"""What a retrieval found, as a cache keeps it: a request that asks for passages, and a reply that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.generators.passages import Passage, Passages, digest_of
from yamabiko.types import Reply, Request, Source

CATEGORY = "passages"
"""The category of requests for passages: labels about them never count for answers."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage as it is stored."""

    text: str
    uri: str
    digest: str = ""
    version: str = ""
    base: str = ""
    labels: tuple[str, ...] = ()
    score: float = 0.0
    metadata: str = ""


def passages_request(request: Request, question: str, base: str) -> Request:
    """What asks for the passages that a question needs, with all that may change them and nothing else.

    The model's name, its system prompt, tools and sampling are left out, and so is the user: a retrieval never sees
    them, so that all who hold the same permissions share what it finds. ``model`` names the base instead, which keeps
    passages apart from answers in one store.
    """
    return Request(
        question,
        model=f"passages:{base}",
        tenant=request.tenant,
        knowledge=request.knowledge,
        permissions=request.permissions,
        tags=request.tags,
        category=CATEGORY,
        bypass=request.bypass,
    )


def reply_of(passages: Sequence[Passage], *, cost_usd: float = 0.0) -> Reply:
    """Passages as a reply; its sources are theirs, so that a change of a document removes it like any answer."""
    kept = [
        _Kept(
            text=passage.text,
            uri=passage.source.uri,
            digest=passage.source.digest,
            version=passage.source.version,
            base=passage.source.base,
            labels=passage.source.labels,
            score=passage.score,
            metadata=passage.metadata,
        )
        for passage in passages
    ]
    sources = tuple(dict.fromkeys(passage.source for passage in passages))
    text = msgspec.json.encode(kept).decode()
    finish_reason = "stop" if kept else NOTHING_FOUND
    return Reply(text=text, sources=sources, finish_reason=finish_reason, cost_usd=cost_usd)


NOTHING_FOUND = "no_passages"
"""Finish reason of a retrieval that found nothing: never stored, since no change of a document could remove it."""


def passages_of(reply: Reply) -> Passages:
    """The passages that a reply holds. Raises ``InvalidRequest`` for a reply of another kind."""
    try:
        kept = msgspec.json.decode(reply.text, type=list[_Kept])
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidRequest("this reply holds no passages") from None
    return tuple(
        Passage(
            text=one.text,
            source=Source(uri=one.uri, digest=one.digest, version=one.version, base=one.base, labels=one.labels),
            score=one.score,
            metadata=one.metadata,
        )
        for one in kept
    )


def identified(passages: Sequence[Passage], base: str) -> Passages:
    """The passages, each with the digest of its text and the name of its base where its retrieval gave none."""
    return tuple(replace(passage, source=_identified(passage, base)) for passage in passages)


def _identified(passage: Passage, base: str) -> Source:
    source = passage.source
    if source.digest and source.base:
        return source
    return replace(source, digest=source.digest or digest_of(passage.text), base=source.base or base)
