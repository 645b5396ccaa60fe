"""What no store takes in, said the same way by all of them, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from yamabiko.errors import InvalidRequest, StoreMismatch
from yamabiko.ports import MAX_STATE_BYTES
from yamabiko.types import MAX_QUESTIONS, Entry, Question, Vector

MAX_NAME = 256
MAX_LEASE_SECONDS = 3600.0
DIGEST_BYTES = 32

NORM_TOLERANCE = 0.01
"""How far from 1 the L2 norm of a vector may be: rounding to float16 or bfloat16 stays below, a vector that was never
normalised does not. A similarity is the plain product with the stored vector, so it is off by no more than this."""


def check_vector(vector: Vector, dim: int) -> None:
    """Raises ``StoreMismatch`` for another dimension, ``InvalidRequest`` for NaN, inf, or an L2 norm other than 1."""
    if vector.shape != (dim,):
        raise StoreMismatch(
            f"this store was made for vectors of shape ({dim},), not {vector.shape}: "
            "use the embedder it was made with, or another store"
        )
    norm = math.sqrt(np.vdot(vector, vector))
    if not abs(norm - 1.0) <= NORM_TOLERANCE:  # NaN and inf end here too
        raise InvalidRequest(f"a vector must be finite and of L2 norm 1, not {norm:.6g}: divide it by its norm first")


def check_question(question: Question, dim: int) -> None:
    """Raises ``StoreMismatch`` or ``InvalidRequest``."""
    check_text(question.text, "a question")
    check_text(question.signature, "a signature")
    if question.vector is not None:
        check_vector(question.vector, dim)


def check_entry(entry: Entry, dim: int) -> None:
    """Raises ``StoreMismatch`` or ``InvalidRequest``."""
    if not 1 <= len(entry.questions) <= MAX_QUESTIONS:
        raise InvalidRequest(f"an entry needs 1 to {MAX_QUESTIONS} questions, not {len(entry.questions)}")
    reply = entry.reply
    for text in (reply.text, reply.model, reply.extra, *reply.tool_calls):
        check_text(text, "a reply")
    for source in reply.sources:
        for text in (source.uri, source.digest, source.version, source.base, *source.labels):
            check_text(text, "a source")
    for text in entry.tags:
        check_text(text, "a tag")
    check_text(entry.author, "an author")
    check_text(entry.signature, "a signature")
    for question in entry.questions:
        check_question(question, dim)


def check_text(text: str, what: str) -> None:
    """Raises ``InvalidRequest`` for half a surrogate pair, which no encoding can write."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{what} holds half a surrogate pair: it was cut inside a character or decoded wrongly"
        ) from None  # the original error's message would show the text


def check_name(name: str, what: str) -> None:
    """Raises ``InvalidRequest`` unless it is a text of 1 to 256 characters that can be encoded."""
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidRequest(f"{what} must have 1 to {MAX_NAME} characters, not {len(name)}")
    check_text(name, what)


def check_lease(name: str, holder: str, seconds: float) -> None:
    """Raises ``InvalidRequest`` for what no lease can have."""
    check_name(name, "the name of a claim")
    check_name(holder, "the holder of a claim")
    check_seconds(seconds)


def check_seconds(seconds: float) -> None:
    """Raises ``InvalidRequest`` unless a lease can run so long."""
    if not 0.001 <= seconds <= MAX_LEASE_SECONDS:
        raise InvalidRequest(f"a claim is for 0.001 to {MAX_LEASE_SECONDS} seconds, not {seconds}")


def check_state(name: str, data: bytes) -> None:
    """Raises ``InvalidRequest`` for a name or a value that is too long."""
    check_name(name, "the name of a value")
    check_size(data)


def check_items(name: str, items: Mapping[str, bytes]) -> None:
    """Raises ``InvalidRequest`` for a name, an id or an item that is too long."""
    check_name(name, "the name of a log")
    for item_id, data in items.items():
        check_name(item_id, "the id of an item")
        check_size(data)


def check_size(data: bytes) -> None:
    """Raises ``InvalidRequest`` for what is no small value."""
    if len(data) > MAX_STATE_BYTES:
        raise InvalidRequest(f"a shared value has at most {MAX_STATE_BYTES} bytes, not {len(data)}: split it")


def check_pair(entry_id: str, digest: bytes) -> None:
    """Raises ``InvalidRequest`` unless these can name an entry and a question."""
    check_name(entry_id, "the id of an entry")
    check_digest(digest)


def check_digest(digest: bytes) -> None:
    """Raises ``InvalidRequest`` unless it has 32 bytes."""
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequest(f"the digest of a question has {DIGEST_BYTES} bytes, not {len(digest)}")


def rounded(vector: Vector) -> Vector:
    """The vector as every store keeps it, float16, written as float32 again; read-only, and no view of the original.

    All stores compute similarities from it, so all of them find the same.
    """
    kept = vector.astype(np.float16).astype(np.float32)
    kept.flags.writeable = False
    return kept
