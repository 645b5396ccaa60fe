"""The vocabulary: frozen values that travel along the path.

Ten nouns carry the meaning (Request, Scope, Key, Entry, Candidate, Decision, Reply, Hit, Miss, Policy); the
others are their parts. Texts of prompts and answers never appear in a ``repr``.

Units: ``*_seconds`` are seconds, ``*_bytes`` bytes, times seconds UTC epoch; ``similarity`` is a cosine in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from yamabiko.errors import InvalidRequest
from yamabiko.message import Message, frozen_json
from yamabiko.policy import PLAIN as PLAIN  # noqa: PLC0414 - the whole vocabulary is found here
from yamabiko.policy import Controls as Controls  # noqa: PLC0414
from yamabiko.policy import Policy as Policy  # noqa: PLC0414
from yamabiko.source import Source as Source  # noqa: PLC0414
from yamabiko.source import labels_of, sources_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]
    Sources: TypeAlias = tuple[Source, ...]
else:
    Vector: TypeAlias = Any
    Sources: TypeAlias = tuple[Source | str, ...]  # what may be given, and stands in what older releases have written

MAX_QUESTIONS = 16
"""How many questions one answer may have: its own and its aliases."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Request:
    """What is asked of a model, with everything that changes its answer.

    ``messages`` may be given as one text, or as a list of ``Message`` or of dicts in OpenAI or Anthropic shape.
    ``tools``, ``tool_choice``, ``response_format`` and ``sampling`` take any JSON value and are kept as canonical JSON.
    ``tenant`` partitions the cache; ``user`` narrows it to one person where the request is personal; ``knowledge`` is
    the version of the documents that stand behind the answer. ``tags`` label the stored answer for later removal.
    ``category`` names the kind of question ("billing"): answers are shared across categories, but each has labels,
    certificates and guards of its own. ``permissions`` are the labels that the caller holds: who may read other
    documents is given other answers. ``bypass``, when set, says why this request must not meet the cache.

    Raises ``InvalidRequest``.
    """

    messages: tuple[Message, ...] = field(repr=False)
    model: str
    system: str = field(repr=False)
    tenant: str = field(repr=False)
    user: str = field(repr=False)
    tools: str = field(repr=False)
    tool_choice: str = field(repr=False)
    response_format: str = field(repr=False)
    sampling: str = field(repr=False)  # a field that we have never heard of may hold a token or a document
    knowledge: str
    tags: tuple[str, ...] = field(repr=False)
    category: str
    permissions: tuple[str, ...] = field(repr=False)
    bypass: str

    def __init__(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        model: str = "",
        system: str = "",
        tenant: str = "",
        user: str = "",
        tools: object = None,
        tool_choice: object = None,
        response_format: object = None,
        sampling: object = None,
        knowledge: str = "",
        tags: Sequence[str] = (),
        category: str = "",
        permissions: Sequence[str] = (),
        bypass: str = "",
    ) -> None:
        if isinstance(messages, str):
            messages = (Message(role="user", text=messages),)
        texts = {"model": model, "system": system, "tenant": tenant, "user": user, "knowledge": knowledge}
        texts |= {"category": category, "bypass": bypass}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise InvalidRequest(f"{name} must be a text, not {type(value).__name__}")
        lists: dict[str, object] = {"messages": messages, "tags": tags}
        for name, listed in lists.items():
            if isinstance(listed, str) or not isinstance(listed, Sequence):
                raise InvalidRequest(f"{name} must be a list, not {type(listed).__name__}")
        if not all(isinstance(tag, str) for tag in tags):
            raise InvalidRequest("tags must be a list of texts")
        turns = tuple(Message.parse(message) for message in messages)
        if not turns:
            raise InvalidRequest("a request needs at least one message")
        for name, value in texts.items():
            object.__setattr__(self, name, value)
        given = {"tools": tools, "tool_choice": tool_choice, "response_format": response_format, "sampling": sampling}
        for name, part in given.items():
            object.__setattr__(self, name, frozen_json(part))
        object.__setattr__(self, "messages", turns)
        object.__setattr__(self, "tags", tuple(tags))
        held = labels_of(permissions, "permissions") if permissions else ()
        object.__setattr__(self, "permissions", held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """A request with the differences taken out that can't change the answer (step 1).

    ``question`` is the last turn as the exact tier compares it. ``text`` is what is embedded; it is empty where
    nothing may be matched by meaning, and ``not_embedded`` then says why.
    """

    question: str = field(repr=False)
    text: str = field(repr=False)
    not_embedded: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A hard partition: what must be equal for two requests ever to share an answer.

    ``content`` is a SHA-256 (32 bytes) over what changes an answer: tenant, user, model, system prompt, earlier
    turns, tools, tool choice, response format, sampling and knowledge version. The exact tier asks for nothing else,
    so its answers outlive a change of the embedder. ``digest`` is a SHA-256 (32 bytes) over the content, the script of
    the question and the embedder: the tier by meaning compares only vectors of one model and questions in one script.
    The named parts are kept in the clear for removal and for statistics.
    """

    content: bytes
    digest: bytes
    tenant: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    model: str = ""
    embedder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Names a question within its scope: SHA-256 (32 bytes) over the scope's content and the canonical question."""

    scope: Scope
    digest: bytes

    @property
    def hex(self) -> str:
        """The digest as 64 hexadecimal digits; the id of the entry that this question creates."""
        return self.digest.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one generation. ``cached_input_tokens`` is the part of the input that the provider had cached."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's answer.

    ``finish_reason`` uses OpenAI's words (stop, length, content_filter, tool_calls); only ``stop`` is ever stored.
    ``chunk_lengths`` are the lengths (code points) of the pieces it was streamed in, empty when it was not.
    ``tool_calls`` holds canonical JSON. ``sources`` are the documents that the answer was made from; a plain text given
    for one is taken as its URI.
    ``latency_seconds`` is how long generation took, ``cost_usd`` what it cost; both are filled in by the cache when
    zero. ``extra`` is vendor JSON for a faithful replay.
    """

    text: str = field(repr=False)
    model: str = ""
    finish_reason: str = "stop"
    usage: Usage = Usage()
    chunk_lengths: tuple[int, ...] = field(default=(), repr=False)
    tool_calls: tuple[str, ...] = field(default=(), repr=False)
    sources: Sources = field(default=(), repr=False)
    latency_seconds: float = 0.0
    cost_usd: float = 0.0
    extra: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.sources:
            object.__setattr__(self, "sources", sources_of(self.sources))

    def chunks(self) -> tuple[str, ...]:
        """The text in the pieces it was streamed in; one piece when it was not streamed."""
        if not self.chunk_lengths or sum(self.chunk_lengths) != len(self.text):
            return (self.text,) if self.text else ()
        pieces, at = [], 0
        for length in self.chunk_lengths:
            pieces.append(self.text[at : at + length])
            at += length
        return tuple(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One way an answer has been asked for. ``digest`` is the Key's (32 bytes); ``vector`` (dim,) float32, norm 1.

    ``signature`` binds it to its entry: see ``yamabiko.core.signing``; empty where no key is configured.
    """

    digest: bytes
    text: str = field(repr=False)
    vector: Vector | None = field(default=None, repr=False, compare=False)
    signature: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An answer, the questions it answers, and how long it lives.

    ``id`` is the hexadecimal key of the question that created it: storing the same question again replaces the answer
    instead of adding a row. Fresh before ``expires``, usable as stale before ``stale_until``, dead after; both absolute
    (seconds UTC epoch, ``inf`` for never). A hit never changes them. ``questions`` are those that the store was asked
    for: the matched one from ``get`` and ``search``, all of them, the creating one first, from ``entries``. ``author``:
    for whom the answer was made, a digest; empty where nobody keeps it. ``confirmed``: whether it may be served to
    others. ``signature``: see ``yamabiko.core.signing``; empty where no key is configured.
    """

    id: str
    scope: Scope
    questions: tuple[Question, ...]
    reply: Reply
    created: float
    expires: float = math.inf
    stale_until: float = math.inf
    tags: tuple[str, ...] = field(default=(), repr=False)
    author: str = ""
    confirmed: bool = True
    signature: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An entry that might answer, the question of it that matched, and that question's cosine.

    ``score``: of steps 6 and 7, in (0, 1); None where a guard refused it. ``p_correct``: how probable public data make
    it that the answer is right; ``verified``: a verifier. ``population``, ``alone``: the score without labels of this
    entry, and without the verifier; None where that is no other.
    """

    entry: Entry
    similarity: float
    score: float | None = None
    population: float | None = None
    p_correct: float | None = None
    verified: float | None = None
    alone: float | None = None

    @property
    def question(self) -> Question:
        """The matched question."""
        return self.entry.questions[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A look-up drawn for a label: whether its best allowed candidate would have been the right answer.

    ``id``: the look-up's, never used twice. ``namespace`` and ``design``: whose label it will be, and which design drew
    it. ``score``: the candidate's at that time, by which alone the label counts. ``served``: whether it was a hit;
    otherwise (shadow, grey zone) a fresh answer was made anyway. ``vector``: the question's, (dim,) float32, so that it
    can become an alias; None where a fresh answer gets its own entry. ``beside``: as other scores drew it, not in
    force here (an empty ``design``: the one in force did not).
    """

    id: str
    namespace: str
    design: str
    score: float
    candidate: Candidate
    served: bool
    vector: Vector | None = field(default=None, repr=False, compare=False)
    beside: tuple[Trial, ...] = field(default=(), repr=False, compare=False)


class MissReason(StrEnum):
    """Why the cache did not answer. The same words stand in metrics, headers and docs."""

    ABSENT = "absent"
    """Nothing near enough to be worth naming is stored in this scope."""
    EXPIRED = "expired"
    """The very question is stored, but its answer's life is over."""
    SCOPE = "scope"
    """The request can't be placed in a scope (no tenant where the policy demands one)."""
    BELOW_THRESHOLD = "below_threshold"
    """The best candidate's score or similarity does not reach the threshold."""
    SHADOW = "shadow"
    """A candidate would do, but in this namespace nothing is served by meaning until labels have shown it safe."""
    AUDIT = "audit"
    """A stored answer would have been served; this look-up was drawn to be answered afresh and compared."""
    GUARD = "guard"
    """A candidate is similar enough, and a guard found a difference; the reasons name it."""
    SIGNATURE = "signature"
    """A stored answer is not signed as this cache signs, or its question is not where its store says that it is."""
    UNCONFIRMED = "unconfirmed"
    """The stored answer was made for somebody else, and nobody has confirmed it yet (``Policy.confirm``)."""
    CONTROL = "control"
    """The request itself forbids what is stored: it wants a new answer, a younger one, or a surer one."""
    VERIFIER_SAID_NO = "verifier_said_no"
    BYPASS = "bypass"
    """The request must not meet the cache, or has nothing that could be matched by meaning."""
    STORE_UNAVAILABLE = "store_unavailable"
    EMBEDDER_UNAVAILABLE = "embedder_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with the candidates (step 6).

    ``serve``: the first of ``candidates`` answers. ``verify``: ask the verifier about them, in order. ``generate``:
    none may; ``reason`` says why, ``reasons`` in sentences. ``beside``: the best candidate by each ``Position.beside``.
    """

    action: Literal["serve", "verify", "generate"]
    candidates: tuple[Candidate, ...] = ()
    reason: MissReason | None = None
    reasons: tuple[str, ...] = ()
    beside: tuple[Candidate | None, ...] = ()


Tier: TypeAlias = Literal["exact", "semantic", "verified"]

Calibration: TypeAlias = Literal["certified", "uncalibrated", "none"]
"""What stands behind a threshold: labels of this very traffic, public data, or nothing but the user's own number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The cache answers.

    ``similarity`` is 1.0 for an exact hit. ``question`` is the stored question that matched. ``stale``: the answer is
    past its expiry, within the policy's stale window. ``shared``: another process made it while this one waited.

    ``id`` is what ``Cache.feedback`` takes. ``score``, ``p_correct``: see ``Candidate``; None for an exact hit.
    ``calibration`` says what stands behind serving it by meaning, and ``error_upper`` is the certified upper bound on
    the wrong share of such hits in ``namespace``; None where nothing is certified. ``trial``: this hit is audited.
    """

    key: Key
    entry: Entry
    tier: Tier
    similarity: float
    reasons: tuple[str, ...]
    age_seconds: float
    stale: bool = False
    shared: bool = False
    id: str = ""
    score: float | None = None
    p_correct: float | None = None
    error_upper: float | None = None
    calibration: Calibration = "none"
    namespace: str = ""
    trial: Trial | None = field(default=None, repr=False, compare=False)

    @property
    def reply(self) -> Reply:
        """The stored answer."""
        return self.entry.reply

    @property
    def question(self) -> str:
        """The stored question that matched."""
        return self.entry.questions[0].text


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The cache does not answer; carries what is already known, so that ``remember`` computes nothing twice.

    ``key`` is None where the request has no place in the cache (bypass, scope); such a miss is never remembered.
    ``nearest`` are near misses, best first. ``purges`` is how many purges its cache had seen: an answer made from what
    was known before a purge is not stored after it. ``fence`` says the same of the purges of all who share the store.
    ``trial``: the answer that is now made will be compared with a stored one. ``unconfirmed``: a stored answer that
    would do but for ``Policy.confirm``; if the answer that is now made is the same, it is confirmed. ``controls``: what
    the request asked of the cache.
    """

    request: Request
    key: Key | None
    canonical: Canonical
    reason: MissReason
    reasons: tuple[str, ...]
    vector: Vector | None = field(default=None, repr=False, compare=False)
    nearest: tuple[Candidate, ...] = field(default=(), repr=False)
    purges: int = field(default=0, repr=False, compare=False)
    fence: int | None = field(default=None, repr=False, compare=False)
    namespace: str = ""
    trial: Trial | None = field(default=None, repr=False, compare=False)
    unconfirmed: Candidate | None = field(default=None, repr=False, compare=False)
    controls: Controls = field(default=PLAIN, repr=False, compare=False)

    @property
    def similarity(self) -> float | None:
        """Cosine of the nearest stored question; None when nothing came near."""
        return self.nearest[0].similarity if self.nearest else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which entries: all the given conditions hold at once. None means "whatever".

    ``source``: made from the document with this URI; with ``except_digest``, from a state of it with another digest, or
    with none known. ``base``: from a document of this knowledge base. ``dead_at``: only entries whose ``stale_until``
    is at or before this time. A Selector without any condition means every entry.

    Raises ``InvalidRequest`` for an ``except_digest`` without a source, or an empty one, which is no state.
    """

    id: str | None = None
    tag: str | None = None
    tenant: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    model: str | None = None
    source: str | None = field(default=None, repr=False)
    except_digest: str | None = None
    base: str | None = None
    dead_at: float | None = None

    def __post_init__(self) -> None:
        if self.except_digest is not None and (self.source is None or not self.except_digest):
            raise InvalidRequest("except_digest is the digest of a source's present state: name the source too")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """Counts and sizes of a store.

    ``payload_bytes`` is what the budget counts: replies, questions, vectors, a fixed overhead per row; ``file_bytes``
    what lies on disk (0 for memory). ``evicted`` counts removals for the budget since the store was made.
    """

    entries: int
    questions: int
    vectors: int
    scopes: int
    payload_bytes: int
    file_bytes: int = 0
    evicted: int = 0
