"""The two records in a question's hash: the answer with its life and scope, and the question's own text."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import msgspec
import numpy as np

from yamabiko.errors import InvalidRequest
from yamabiko.stores import codec, intake
from yamabiko.types import Entry, Question, Reply, Scope, Vector

ANSWER_FORMAT = b"\x01"
"""The first byte of an answer record; an unknown one is never a hit."""
FOREVER = 1e15
"""Stands for "never" in a NUMERIC field and in scores: 30 million years."""
_NORM = struct.Struct("<d")


class _Answer(msgspec.Struct, frozen=True, array_like=True):
    """What all questions of an entry share; new fields go to the end, with defaults."""

    id: bytes
    content: bytes
    digest: bytes
    tenant: str
    user: str
    model: str
    embedder: str
    created: float
    expires: float
    stale_until: float
    tags: tuple[str, ...]
    reply: Reply
    author: str = ""
    confirmed: bool = True
    signature: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Answer)


def encode_answer(entry: Entry) -> bytes:
    """The entry without its questions."""
    scope = entry.scope
    answer = _Answer(
        bytes.fromhex(entry.id),
        scope.content,
        scope.digest,
        scope.tenant,
        scope.user,
        scope.model,
        scope.embedder,
        entry.created,
        entry.expires,
        entry.stale_until,
        entry.tags,
        codec.written(entry.reply),
        entry.author,
        entry.confirmed,
        entry.signature,
    )
    return ANSWER_FORMAT + _encoder.encode(answer)


def decode_answer(data: bytes, questions: tuple[Question, ...], scope: Scope | None = None) -> Entry | None:
    """The entry; None where the format is unknown or the bytes are damaged.

    ``scope``, where given, takes the place of the stored one if its content is the same; None where it is not.
    """
    if data[:1] != ANSWER_FORMAT:
        return None
    try:
        answer = _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, InvalidRequest):
        return None
    if scope is not None and answer.content != scope.content:
        return None
    return Entry(
        id=answer.id.hex(),
        scope=scope
        or Scope(
            content=answer.content,
            digest=answer.digest,
            tenant=answer.tenant,
            user=answer.user,
            model=answer.model,
            embedder=answer.embedder,
        ),
        questions=questions,
        reply=answer.reply,
        created=answer.created,
        expires=answer.expires,
        stale_until=answer.stale_until,
        tags=answer.tags,
        author=answer.author,
        confirmed=answer.confirmed,
        signature=answer.signature,
    )


def encode_text(question: Question) -> bytes:
    """A question's text, after the norm of its vector (little-endian float64, 0 without one)."""
    return _NORM.pack(0.0 if question.vector is None else norm(question.vector)) + question.text.encode()


def norm(vector: Vector) -> float:
    """The L2 norm."""
    return math.sqrt(float(np.vdot(vector, vector)))


def decode_text(data: bytes | None) -> tuple[float, str] | None:
    """Norm and text; None where the bytes are damaged or missing."""
    try:
        return None if data is None else (_NORM.unpack_from(data)[0], data[_NORM.size :].decode())
    except (struct.error, UnicodeDecodeError):
        return None


def decode_question(
    digest: bytes, data: bytes | None, signature: bytes | None, vector: bytes | None = None, dim: int = 0
) -> Question | None:
    """The question of a text record; None where the bytes are damaged. ``digest`` in hexadecimal digits."""
    read = decode_text(data)
    if read is None:
        return None
    return Question(
        digest=bytes.fromhex(digest.decode("ascii")),
        text=read[1],
        vector=decode_vector(vector, dim),
        signature="" if signature is None else signature.decode("ascii", "replace"),
    )


def encode_vector(vector: Vector | None) -> bytes:
    """Little-endian float32; nothing where there is none."""
    return b"" if vector is None else vector.astype("<f4").tobytes()


def decode_vector(data: bytes | None, dim: int) -> Vector | None:
    """The vector, read-only; None where there is none of this dimension."""
    return np.frombuffer(data, "<f4").astype(np.float32) if data and len(data) == 4 * dim else None


def until(when: float) -> float:
    """A time as a NUMERIC field takes it."""
    return max(-FOREVER, min(when, FOREVER))


def kept(question: Question) -> Question:
    """The question with its vector as every store keeps it."""
    return question if question.vector is None else replace(question, vector=intake.rounded(question.vector))


def with_questions(entry: Entry, questions: tuple[Question, ...]) -> Entry:
    """The entry with these questions."""
    return replace(entry, questions=questions)
