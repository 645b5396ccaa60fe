"""Signatures: whether what a store gives was put there by somebody who has a key. Pure; HMAC-SHA256.

An entry and each of its questions carry a signature of their own, ``v1.<key id>.<43 digits of base64url>``:

* The **entry's** says "this answer, for this scope, with this life, under this id". It covers every field that is
  served or decides who is served: the scope's content, tenant, user and model, the reply, times, tags, author and
  whether it is confirmed.
* A **question's** says "this text, with this digest, is answered by the entry with this id, in this scope". It does not
  cover the answer, so that a renewed answer keeps its aliases, and an alias is added without a word about the entry.

A vector and the scope's digest are derived, from the question's text by the embedder. They are not signed, so that
another embedder, or float16 in place of float32, voids nothing; a look-up by meaning makes the vector again
(``far_off``).

Everything goes in with its length, in one order, after a label that says what it is: no two entries, and no entry and
question, have the same encoding. ``docs/signing.md`` says what this protects from, and what it does not.

Source: RFC 2104 and FIPS 198-1 (HMAC), FIPS 180-4 (SHA-256), RFC 4648 section 5 (base64url).
"""

from __future__ import annotations

import base64
import hmac
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.types import Entry, Question, Scope, Source

VERSION = "v1"
LEAST_SECRET_BYTES = 32
"""RFC 2104, section 3: a key shorter than the hash's output weakens it."""
SIMILARITY_TOLERANCE = 0.01
"""How far a stated similarity may lie above the true one: what float16 (below 0.001) and a vector's norm allow a store
(``yamabiko.stores.intake.NORM_TOLERANCE``)."""

_ENTRY = b"yamabiko.signed.entry.1"
_ENTRY_WITH_EVIDENCE = b"yamabiko.signed.entry.2"
_QUESTION = b"yamabiko.signed.question.1"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_NOT_ENCODED = (UnicodeEncodeError, struct.error, OverflowError)
_UNFIT = (
    "an answer or a question can't be signed: it holds half a surrogate pair (it was cut inside a character or decoded"
    " wrongly) or a number beyond 64 bits"
)
_HOW = "signing_keys is id:base64,id:base64 with the newest key first, each of 32 random bytes or more"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A secret and the name that signatures call it by."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Keys in order: the first signs, all verify. ``parse`` makes them; without any there are no signatures."""

    keys: tuple[SigningKey, ...]
    by_id: Mapping[str, SigningKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self.keys)
        object.__setattr__(self, "by_id", MappingProxyType({key.id: key for key in self.keys}))

    @property
    def newest(self) -> SigningKey:
        """The one that signs."""
        return self.keys[0]

    @classmethod
    def parse(cls, text: str) -> SigningKeys | None:
        """The keys of a text ``id:base64,id:base64``; None of an empty one.

        Raises ``ConfigurationError``, which names a key by its place and shows nothing of it.
        """
        if not text.strip():
            return None
        return cls(tuple(_key(at, part.strip()) for at, part in enumerate(text.split(","), start=1)))


def _key(at: int, text: str) -> SigningKey:
    name, colon, secret = text.partition(":")
    name, secret = name.strip(), secret.strip()
    if not colon or not _KEY_ID.fullmatch(name):  # the name might be the secret, so it is not shown
        raise ConfigurationError(f"key {at} needs an id of 1 to 32 letters, digits, - or _ before a colon: {_HOW}")
    plain = secret.replace("-", "+").replace("_", "/").rstrip("=")
    if not plain or _NOT_BASE64.search(plain) or len(plain) % 4 == 1:
        raise ConfigurationError(f"key {at} is not base64: {_HOW}")
    return SigningKey(id=name, secret=base64.b64decode(plain + "=" * (-len(plain) % 4)))


def _check(keys: Sequence[SigningKey]) -> None:
    """Raises ``ConfigurationError``."""
    if not keys:
        raise ConfigurationError(f"there is no key: {_HOW}")
    for at, key in enumerate(keys, start=1):
        if not _KEY_ID.fullmatch(key.id):
            raise ConfigurationError(f"key {at} needs an id of 1 to 32 letters, digits, - or _: {_HOW}")
        if len(key.secret) < LEAST_SECRET_BYTES:
            raise ConfigurationError(
                f"key {at} has {len(key.secret)} bytes, fewer than {LEAST_SECRET_BYTES}: make one with"
                " openssl rand -base64 32"
            )
        if len(set(key.secret)) == 1:
            raise ConfigurationError(f"key {at} is one byte again and again: make one with openssl rand -base64 32")
        for other, earlier in enumerate(keys[: at - 1], start=1):
            if key.id == earlier.id:
                raise ConfigurationError(f"keys {other} and {at} have the same id: give each one its own")
            if key.secret == earlier.secret:
                raise ConfigurationError(f"keys {other} and {at} are the same secret: a new key is a new secret")


# Signing.


def signed(entry: Entry, keys: SigningKeys) -> Entry:
    """The entry and all the questions that are at hand, signed with the newest key. Some 20 µs.

    Sign what is about to be written, again after any change of it. Raises ``InvalidRequest`` for half a surrogate pair
    and for a number beyond 64 bits.
    """
    questions = tuple(signed_question(entry.scope, entry.id, question, keys) for question in entry.questions)
    try:
        encoded = encoded_entry(entry)
    except _NOT_ENCODED:
        raise InvalidRequest(_UNFIT) from None  # the original error's message would show the text
    return replace(entry, signature=_signature(keys.newest, encoded), questions=questions)


def signed_question(scope: Scope, entry_id: str, question: Question, keys: SigningKeys) -> Question:
    """The question, signed as one that the entry with this id answers: what ``Store.alias`` is given.

    Raises ``InvalidRequest`` for half a surrogate pair.
    """
    try:
        encoded = encoded_question(scope, entry_id, question)
    except _NOT_ENCODED:
        raise InvalidRequest(_UNFIT) from None
    return replace(question, signature=_signature(keys.newest, encoded))


def _signature(key: SigningKey, data: bytes) -> str:
    mac = hmac.digest(key.secret, data, "sha256")
    return f"{VERSION}.{key.id}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode('ascii')}"


# Verifying.


def verify(entry: Entry, keys: SigningKeys, *, unsigned: bool = False) -> str:
    """Why this was not signed with one of the keys as it is, entry and every question at hand; "" where it was.

    The words hold no text of the entry. What is not signed is refused too, or to strip a signature would be enough;
    ``unsigned`` lets it pass, for who is about to sign what there was before there were keys.
    """
    try:
        why = _verified(entry.signature, encoded_entry(entry), keys, unsigned=unsigned)
        if why:
            return f"the answer {why}"
        for question in entry.questions:
            encoded = encoded_question(entry.scope, entry.id, question)
            why = _verified(question.signature, encoded, keys, unsigned=unsigned)
            if why:
                return f"the question {why}"
    except _NOT_ENCODED:
        return "the entry holds what can't have been signed"
    return "" if entry.questions else "the entry has no question"


def _verified(signature: str, data: bytes, keys: SigningKeys, *, unsigned: bool) -> str:
    if not signature:
        return "" if unsigned else "is not signed"
    version, _, rest = signature.partition(".")
    if version != VERSION:
        return "has a signature of an unknown version"
    key = keys.by_id.get(rest.partition(".")[0])
    if key is None:
        return "is signed with an unknown key"
    # The whole text is compared: of base64 alone, several texts mean the same bytes.
    good = hmac.compare_digest(_signature(key, data).encode(), signature.encode())
    return "" if good else "has a bad signature"


def is_newest(entry: Entry, keys: SigningKeys) -> bool:
    """Whether all signatures name the newest key; whether they are good is ``verify``'s to say."""
    start = f"{VERSION}.{keys.newest.id}."
    return all(one.startswith(start) for one in (entry.signature, *(asked.signature for asked in entry.questions)))


def far_off(stated: float, true: float) -> str:
    """Why a candidate is refused whose similarity is less than the store stated; "" where it is not.

    ``true`` is the cosine of the asked question with the stored one's text, embedded anew. Who can write to a store can
    put another vector beside a signed text, and so have it found for questions that it does not resemble.
    """
    if stated - true <= SIMILARITY_TOLERANCE:  # NaN is refused
        return ""
    return "the vector is not that of its question"


# Encoding: what is signed, decodable from its left end.


def encoded_entry(entry: Entry) -> bytes:
    """What an entry's signature is made of: a label, then how long everything is, then everything, in one order.

    Big-endian: how many tool calls, sources, tags and chunks there are, and the length in bytes of each text (8 bytes
    each); usage and chunk lengths as 8-byte integers, times, latency and cost as IEEE 754 doubles, confirmed as one
    byte; then the scope's content and the texts in UTF-8. Of a source, the URI stands among the texts; where more is
    known of one, the label is another, and a second block follows with digest, version, base and labels of each.
    """
    scope, reply, usage = entry.scope, entry.reply, entry.reply.usage
    chunks = reply.chunk_lengths
    listed = (*reply.tool_calls, *[source.uri for source in reply.sources], *entry.tags)
    texts = (scope.tenant, scope.user, scope.model, entry.id, entry.author)
    answer = (reply.text, reply.model, reply.finish_reason, reply.extra)
    blobs = [scope.content, *[text.encode() for text in (*texts, *answer, *listed)]]
    head = struct.pack(
        f">4Q{len(blobs)}Q{3 + len(chunks)}q5d?",
        *(len(reply.tool_calls), len(reply.sources), len(entry.tags), len(chunks)),
        *map(len, blobs),
        *(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens),
        *chunks,
        *(reply.latency_seconds + 0.0, reply.cost_usd + 0.0),  # some stores write -0.0 as 0.0
        *(entry.created + 0.0, entry.expires + 0.0, entry.stale_until + 0.0),
        entry.confirmed,
    )
    if all(source.is_plain for source in reply.sources):
        return b"".join((_ENTRY, head, *blobs))
    return b"".join((_ENTRY_WITH_EVIDENCE, head, *blobs, *map(_evidence, reply.sources)))


def _evidence(source: Source) -> bytes:
    """Of a source, how many labels, the length in bytes of each text, then the texts in UTF-8."""
    texts = [text.encode() for text in (source.digest, source.version, source.base, *source.labels)]
    return b"".join((struct.pack(f">Q{len(texts)}Q", len(source.labels), *map(len, texts)), *texts))


def encoded_question(scope: Scope, entry_id: str, question: Question) -> bytes:
    """What a question's signature is made of: a label, four lengths, then content, id, digest and text."""
    blobs = (scope.content, entry_id.encode(), question.digest, question.text.encode())
    return b"".join((_QUESTION, struct.pack(">4Q", *map(len, blobs)), *blobs))
