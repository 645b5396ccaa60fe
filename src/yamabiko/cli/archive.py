"""The export format: JSON lines, one entry each, between a line that says for which embedder and one that ends it.

The last line counts the entries and holds the SHA-256 of all lines before it: a file that was cut short is found out.
Vectors are base64 of little-endian float16, as stores keep them, so that what is exported and imported again is equal.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Literal

import msgspec
import numpy as np

from yamabiko.errors import InvalidRequest
from yamabiko.stores.codec import written
from yamabiko.types import Entry, Question, Reply, Scope, Vector

FORMAT: Literal["yamabiko.export"] = "yamabiko.export"
VERSION = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line. The counts are those of the store when the export began."""

    format: Literal["yamabiko.export"]
    version: int
    embedder: str
    dim: int
    entries: int
    questions: int
    vectors: int


class Footer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last line: how many entries stand before it, and the SHA-256 of all these lines."""

    end: Literal["yamabiko.export"]
    entries: int
    sha256: str


class ScopeLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scope; ``content`` and ``digest`` in hexadecimal digits."""

    content: str
    digest: str
    tenant: str
    user: str
    model: str
    embedder: str


class QuestionLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A question; ``digest`` in hexadecimal digits, ``vector`` in base64 or null; ``signature`` only where it has one.

    What has a default is left out where it is that, so that an older release reads what it knows.
    """

    digest: str
    text: str
    vector: str | None
    signature: str = ""


class EntryLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An entry; times are seconds UTC epoch, null for never. What has a default is left out where it is that."""

    id: str
    scope: ScopeLine
    questions: list[QuestionLine]
    reply: Reply
    created: float
    expires: float | None
    stale_until: float | None
    tags: list[str]
    author: str = ""
    confirmed: bool = True
    signature: str = ""


def to_line(entry: Entry) -> bytes:
    """An entry as one line of JSON, with its end."""
    line = EntryLine(
        id=entry.id,
        scope=ScopeLine(
            content=entry.scope.content.hex(),
            digest=entry.scope.digest.hex(),
            tenant=entry.scope.tenant,
            user=entry.scope.user,
            model=entry.scope.model,
            embedder=entry.scope.embedder,
        ),
        questions=[
            QuestionLine(
                digest=question.digest.hex(),
                text=question.text,
                vector=_vector_text(question.vector),
                signature=question.signature,
            )
            for question in entry.questions
        ],
        reply=written(entry.reply),
        created=entry.created,
        expires=_or_null(entry.expires),
        stale_until=_or_null(entry.stale_until),
        tags=list(entry.tags),
        author=entry.author,
        confirmed=entry.confirmed,
        signature=entry.signature,
    )
    return msgspec.json.encode(line) + b"\n"


def from_line(line: bytes, dim: int) -> Entry:
    """The entry of a line. Raises ``InvalidRequest``, with what is wrong and none of its texts."""
    try:
        found = msgspec.json.decode(line, type=EntryLine)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"this is no entry: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest("this is not JSON") from None
    questions = tuple(
        Question(
            digest=_digest(question.digest, "a question's digest"),
            text=question.text,
            vector=_vector(question.vector, dim),
            signature=question.signature,
        )
        for question in found.questions
    )
    times = (found.created, found.expires or math.inf, found.stale_until or math.inf)
    if times[1] > times[2]:
        raise InvalidRequest("expires must not be later than stale_until")
    return Entry(
        id=_digest(found.id, "the id").hex(),
        scope=Scope(
            content=_digest(found.scope.content, "the scope's content"),
            digest=_digest(found.scope.digest, "the scope's digest"),
            tenant=found.scope.tenant,
            user=found.scope.user,
            model=found.scope.model,
            embedder=found.scope.embedder,
        ),
        questions=questions,
        reply=found.reply,
        created=times[0],
        expires=times[1],
        stale_until=times[2],
        tags=tuple(found.tags),
        author=found.author,
        confirmed=found.confirmed,
        signature=found.signature,
    )


def _or_null(when: float) -> float | None:
    return None if math.isinf(when) else when


def _digest(text: str, what: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise InvalidRequest(f"{what} must be 64 hexadecimal digits")
    return digest


def _vector_text(vector: Vector | None) -> str | None:
    return None if vector is None else base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def _vector(text: str | None, dim: int) -> Vector | None:
    if text is None:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("a vector must be base64") from None
    if len(data) != 2 * dim:
        raise InvalidRequest(f"a vector must be {dim} float16 in base64, {2 * dim} bytes, not {len(data)}")
    return np.frombuffer(data, "<f2").astype(np.float32)
