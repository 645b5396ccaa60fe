"""The ports: what the path asks of a store, an embedder and a verifier. Nothing to inherit from.

A store that several processes share may be their ``SharedState`` too; the path finds out by looking.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from yamabiko.types import (
    Candidate,
    Entry,
    Key,
    Question,
    Reply,
    Request,
    Scope,
    Selector,
    StoreStats,
    Vector,
)

Generate: TypeAlias = Callable[[Request], Awaitable[Reply | str]]
"""Makes the answer when the cache has none. What it raises reaches the caller untouched."""

StreamGenerate: TypeAlias = Callable[[Request], AsyncIterator[str | Reply]]
"""Yields the answer in pieces; may end with one ``Reply`` that carries usage and finish reason.

The last ``Reply``'s text is either empty or exactly what the pieces add up to.
"""


class Store(Protocol):
    """Entries by key and by meaning. ``yamabiko.testing.StoreContract`` lists what every store promises.

    An entry and its vectors are written together or not at all. ``now`` is always seconds UTC epoch and comes
    from the caller: a store has no clock of its own. Every method raises ``StoreUnavailable`` when the store
    can't be reached, and ``StoreMismatch`` when its data was made for another embedder or format.
    """

    async def get(self, key: Key, /) -> Entry | None:
        """The entry that one of whose questions has this key, dead or alive; its ``questions`` hold that one.

        Vectors may be left out here and in ``search``; ``entries`` has them.
        """

    async def put(self, entry: Entry, /, *, now: float, fence: int | None = None) -> None:
        """Store an answer and its questions; durable when this returns. May evict others.

        ``fence`` says what the answer can have known (see ``SharedState``); only a store that has those methods is ever
        given one. Raises ``Outdated`` where a purge since then means it.

        An entry with the same id keeps its other questions and gets the new reply and life. A question that belonged
        to another entry moves to this one; an entry left without questions is gone. A question stored again without a
        vector has none. Where old and new questions add up to more than ``MAX_QUESTIONS``, the new ones stay and the
        oldest others go. An entry larger than the whole budget is not kept and harms no other.

        Raises ``InvalidRequest`` for a vector that is not finite or not of norm 1, for text that can't be encoded, and
        no questions or more than ``MAX_QUESTIONS``; ``StoreMismatch`` for another dimension. Nothing is stored then.
        """

    async def search(
        self, scope: Scope, vector: Vector, /, *, limit: int, min_similarity: float, now: float
    ) -> Sequence[Candidate]:
        """At most ``limit`` entries of ``scope`` still usable at ``now``, most similar first.

        Never an entry of another scope. Similarities are exact cosines. Every entry whose best question
        reaches ``min_similarity`` is found (up to ``limit``); none below it is returned. An entry appears once.
        """

    async def alias(self, entry_id: str, question: Question, /) -> bool:
        """Add one more question to an answer; a question that belonged to another entry moves.

        False when the answer is gone, has ``MAX_QUESTIONS``, or would not fit into the budget. Raises as ``put``.
        """

    def touch(self, entry_id: str, /) -> None:
        """Note that this entry was served, for eviction. Never waits and never fails.

        Counted in memory and written behind in batches; counts lost in a crash do no harm. It prolongs no life.
        """

    async def delete(self, entry_id: str, /) -> bool:
        """Remove one entry with all its questions and vectors; False when there was none."""

    async def purge(self, selector: Selector, /) -> int:
        """Remove every entry that fits, vectors included; how many went.

        Each entry goes as a whole, but very many may go in steps: others see what is not yet removed, a purge that is
        cancelled or fails has removed some, and what is put after it began may stay.
        """

    def entries(self, selector: Selector, /) -> AsyncIterator[Entry]:
        """Every entry that fits, dead or alive, oldest (``created``) first, with all its questions and vectors."""

    async def stats(self) -> StoreStats:
        """Counts and sizes."""

    async def check(self) -> Sequence[str]:
        """Everything that is wrong with the stored data, in sentences; empty when it is sound."""

    async def close(self) -> None:
        """Finish what was acknowledged and let go of files and connections. May be called twice.

        Afterwards every other method raises ``StoreUnavailable``; ``touch`` does nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease on a name, held by ``holder`` until its time is up. The later claim of two has the higher ``fence``.

    Without a holder it is nobody's: the name is open for a while, and whoever asks goes on at once.
    """

    name: str
    holder: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A small value and its version, which rises with each change."""

    data: bytes = field(repr=False)
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An item of a log: where it stands, and the id under which it was appended."""

    position: int
    id: str
    data: bytes = field(repr=False)


@runtime_checkable
class SharedState(Protocol):
    """What processes that share a store tell each other through it: optional methods of a store.

    ``yamabiko.testing.SharedStateContract`` lists what each store promises. Names and ids are texts of 1 to 256
    characters; what is too long or too large raises ``InvalidRequest``. Every method raises ``StoreUnavailable``.

    **Claims** are leases: at most one holder of a name at any time, and none for longer than was granted. ``now`` is
    the caller's clock, as everywhere; a store that several machines share goes by its server's instead, since theirs
    differ, and all that counts is how long a lease runs. A lease can be lost before its holder knows, by a pause or a
    purge: what must never happen twice is guarded by the fence and not by the lease.

    **Fences** are numbers from one counter of the store that only rises. A purge, other than one of what is dead
    anyway, raises it as a barrier for what it means: ``Store.put`` refuses an answer that fits, with a fence from
    before. So what somebody began to make from what was known before a purge never comes back after it, and nothing
    else is lost. A purge of everything ends all claims. Each of the last ``selecting.MAX_BARRIERS`` (256) purges with a
    condition is remembered; those before them are one barrier for everything. Fence 0 is before all purges, for an
    answer of which nobody knows when it was begun.
    """

    @property
    def spans_processes(self) -> bool:
        """False where no other process can see this store: to claim anything would be in vain."""

    async def claim(self, name: str, holder: str, /, *, seconds: float, now: float) -> Claim | None:
        """The lease on ``name``, for ``seconds`` (> 0); None while another holder has it.

        ``holder`` is a text that nobody else uses. Who holds the name already gets the claim that it has, unchanged: so
        may ask again whoever heard no reply, or let go with ``release`` of what it may have got (with any fence).
        """

    async def renew(self, claim: Claim, /, *, seconds: float, now: float) -> bool:
        """Hold it for ``seconds`` from now on; False where the lease is over, and nothing has changed."""

    async def release(self, claim: Claim, /, *, now: float, open_seconds: float = 0.0) -> bool:
        """Let go; False where the lease is over, and nothing has changed.

        With ``open_seconds`` the name stays open for so long: nobody has to wait for anybody.
        """

    async def fence(self) -> int:
        """A fence for what begins now, without a claim."""

    async def outdate(self, selector: Selector, /) -> None:
        """Raise the barrier of a purge of this selector, and remove nothing."""

    async def purged(self) -> int:
        """The fence of the last purge that raised a barrier, whatever it meant; 0 without any. A small read."""

    async def load_state(self, name: str, /) -> Stored | None:
        """The value of this name; None where there is none."""

    async def save_state(self, name: str, data: bytes, /, *, expected: int | None) -> int | None:
        """Replace the value (up to ``MAX_STATE_BYTES``) if its version is still ``expected``; None: if there is none.

        The new version, or None where somebody else was faster: load again, and decide again.
        """

    async def append_log(self, name: str, items: Mapping[str, bytes], /) -> int:
        """Add items (up to ``MAX_STATE_BYTES`` each) under their ids, in this order, all or none; how many were new.

        An id that stands in the log is not added again, so that a retry counts once.
        """

    async def read_log(self, name: str, /, *, after: int, limit: int) -> Sequence[Logged]:
        """At most ``limit`` (>= 1) items behind position ``after`` (0: from the beginning), in the order of the log.

        Positions rise, with gaps, and are never used again: who has read up to one misses nothing that comes later.
        """

    async def trim_log(self, name: str, /, *, up_to: int) -> None:
        """Forget the items up to this position and their ids. Leave there what somebody may still try to append."""

    async def quarantine(self, entry_id: str, digest: bytes, /, *, until: float, now: float) -> None:
        """Note until when (``inf``: for ever; a past time: no more) an entry is no answer to the question of a digest.

        Holds no text. Goes when the entry is deleted or purged.
        """

    async def quarantined(self, digest: bytes, /, *, now: float) -> frozenset[str]:
        """The ids of the entries that are no answer to the question with this digest. One small read."""


@runtime_checkable
class Dated(Protocol):
    """A shared store whose miss by key says as of which purge it is: optional, for where a read is a round trip."""

    async def get_or_purged(self, key: Key, /) -> Entry | int | None:
        """As ``Store.get``; where there is no entry, what ``SharedState.purged`` would say at that very moment.

        None where there is none and the store can't say.
        """


MAX_STATE_BYTES = 1024 * 1024
"""How large a value of ``SharedState`` or an item of its logs may be."""


class Embedder(Protocol):
    """Texts to unit vectors."""

    @property
    def dim(self) -> int:
        """Number of components of every vector."""

    @property
    def id(self) -> str:
        """Names the weights and everything else that changes a vector; a store is bound to it."""

    def model_for(self, text: str, /) -> str:
        """The id of the model that embeds this text; part of the scope, so that models never mix. Fast, pure."""

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One float32 vector of shape (dim,) and L2 norm 1 per text; None where the model can't see all of a text.

        Raises ``EmbeddingError``.
        """

    async def close(self) -> None:
        """Let go of threads and connections. May be called twice."""


@runtime_checkable
class Metered(Protocol):
    """What an embedder that is paid by the token tells about its costs: optional."""

    @property
    def priced_as(self) -> str:
        """The model as the price file knows it."""

    @property
    def input_tokens(self) -> int:
        """Tokens that the service has counted in all that was sent so far; only rises."""


class Verifier(Protocol):
    """Says whether a cached answer answers a new question."""

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """One verdict per candidate; unsure counts as False. Raises ``VerifierError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How a verifier's log-odds and a candidate's score become the final score, which alone is certified.

    With s the log-odds of the score and v the verifier's, both cut off at +-12, the final score is
    ``sigmoid(bias + score * s + verifier * v + doubt * min(v, 0))``. ``verifier`` is at least 0, the others may be any.
    ``name`` tells apart all that changes v: labels and certificates count under this very mix only. The verifier is
    asked about scores in [``low``, ``high``); any other score is final as it is. ``rows``: what was counted on public
    pairs, (threshold, trials, wrong), thresholds falling; without them nothing is served before labels certify it.
    """

    name: str
    bias: float
    score: float
    verifier: float
    doubt: float = 0.0
    low: float = 0.05
    high: float = 0.998
    rows: tuple[tuple[float, int, int], ...] = field(default=(), repr=False)


@runtime_checkable
class Graded(Protocol):
    """A verifier that says how sure it is: its log-odds are weighed with the score, and the promise holds for both."""

    def mix_for(self, embedder: str, /) -> Mix | None:
        """How its log-odds are weighed for candidates of this embedder, as ``Embedder.model_for`` names it.

        None where it has nothing to say; then ``same`` is asked, as any other verifier is. Fast, pure.
        """

    async def log_odds(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[float | None]:
        """Per candidate the log-odds that its answer is right for the request; None where unsure, which is a no.

        Raises ``VerifierError``.
        """


@runtime_checkable
class Gate(Protocol):
    """A verifier that is also asked about each answer that would be served: whether it still holds today."""

    async def objection(self, request: Request, entry: Entry, /, *, age_seconds: float) -> str:
        """Why this answer must not be served now, without words of the texts; empty where it may be.

        Raises ``VerifierError``, which counts as an objection.
        """
