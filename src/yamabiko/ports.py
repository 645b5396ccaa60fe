"""The three ports: what the path asks of a store, an embedder and a verifier. Nothing to inherit from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

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

    async def put(self, entry: Entry, /, *, now: float) -> None:
        """Store an answer and its questions; durable when this returns. May evict others.

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


class Verifier(Protocol):
    """Says whether a cached answer answers a new question."""

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """One verdict per candidate; unsure counts as False. Raises ``VerifierError``."""
