"""Steps 1 to 7 of 9: whether the cache can answer, first the very same question, then one of the same meaning.

Reads only; a dead store, embedder or verifier is a miss with its reason, within a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from yamabiko.core.decide import decide, search_floor
from yamabiko.core.freshness import freshness
from yamabiko.core.guards import GUARDS
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import ConfigurationError, EmbeddingError, StoreError, VerifierError, YamabikoError
from yamabiko.ports import Embedder, Store, Verifier
from yamabiko.telemetry import Watch
from yamabiko.types import Candidate, Entry, Hit, Key, Miss, MissReason, Policy, Request, Tier, Vector

T = TypeVar("T")
Outcome: TypeAlias = Hit | Miss
_NORM_TOLERANCE = 0.02
"""How far from 1 a vector's squared norm may be: what a store takes."""
NO_EMBEDDER = "none"
"""Stands in the scope where there is no embedder: such a cache answers the very same questions only."""


class Lookup:
    """The reading half of the path.

    ``unwritten`` holds, by key digest, the entries whose writing is under way; they are found as if written.
    ``min_similarity`` maps an embedding model's id to its default threshold. ``clock`` gives seconds UTC epoch.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        policy: Policy,
        unwritten: Mapping[bytes, Entry],
        min_similarity: Callable[[str], float],
        verifier: Verifier | None,
        clock: Callable[[], float],
        store_timeout_seconds: float,
        embedder_timeout_seconds: float,
        verifier_timeout_seconds: float = 30.0,
    ) -> None:
        unknown = sorted(policy.guards.keys() - GUARDS.keys())
        if unknown:
            raise ConfigurationError(f"there is no guard {unknown[0]!r:.60}: there are {', '.join(GUARDS)}")
        self._store = store
        self._embedder = embedder
        self._policy = policy
        self._unwritten = unwritten
        self._min_similarity = min_similarity
        self._verifier = verifier
        self._clock = clock
        self._store_timeout = store_timeout_seconds
        self._embedder_timeout = embedder_timeout_seconds
        self._verifier_timeout = verifier_timeout_seconds

    # Steps 1 to 3: the very same question.

    async def exact(self, request: Request) -> Outcome:
        """Steps 1 to 3. Without a key, the miss has no place in the cache."""
        canonical = normalise(request)
        miss = partial(Miss, request=request, canonical=canonical)
        if request.bypass:
            return miss(key=None, reason=MissReason.BYPASS, reasons=(request.bypass,))
        if self._policy.require_tenant and not request.tenant:
            return miss(key=None, reason=MissReason.SCOPE, reasons=("the policy demands a tenant and there is none",))
        key = key_of(request, canonical, embedder=self._model_for(canonical.text), policy=self._policy)
        try:
            entry = await self._entry(key)
        except (StoreError, TimeoutError) as error:
            return miss(key=key, reason=MissReason.STORE_UNAVAILABLE, reasons=(failure("store", error),))
        if entry is None:
            return miss(key=key, reason=MissReason.ABSENT, reasons=("this very question is not stored",))
        now = self._clock()
        if freshness(entry, now) == "dead":
            return miss(key=key, reason=MissReason.EXPIRED, reasons=("this very question's answer has expired",))
        return _hit(key, Candidate(entry=entry, similarity=1.0), "exact", now, ("the very same question",))

    async def again(self, key: Key) -> Hit | None:
        """The very same question's answer, where somebody has stored one meanwhile.

        Raises ``StoreError`` or ``TimeoutError``.
        """
        entry = await self._entry(key)
        now = self._clock()
        if entry is None or freshness(entry, now) == "dead":
            return None
        candidate = Candidate(entry=entry, similarity=1.0)
        return _hit(key, candidate, "exact", now, ("the very same question, answered meanwhile",))

    async def _entry(self, key: Key) -> Entry | None:
        entry = self._unwritten.get(key.digest)
        if entry is None:
            async with asyncio.timeout(self._store_timeout):
                entry = await self._store.get(key)
        return entry

    def _model_for(self, text: str) -> str:
        if self._embedder is None:
            return NO_EMBEDDER
        return self._embedder.model_for(text) if text else self._embedder.id

    # Steps 4 to 7: a question of the same meaning.

    async def by_meaning(self, miss: Miss, watch: Watch) -> Outcome:
        """Steps 4 to 7, after the exact tier's miss; a miss comes back with all that is known by then."""
        key = miss.key
        if key is None or miss.reason is MissReason.STORE_UNAVAILABLE:
            return miss
        if self._embedder is None or not self._policy.semantic:
            return replace(miss, reasons=(*miss.reasons, "matching by meaning is off"))
        miss = await self.embedded(miss, watch)
        if miss.vector is None:
            return miss
        min_similarity = self._policy.min_similarity
        if min_similarity is None:
            min_similarity = self._min_similarity(key.scope.embedder)
        verifier = self._verifier is not None
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._store_timeout):
                candidates = await self._store.search(
                    key.scope,
                    miss.vector,
                    limit=self._policy.candidates,
                    min_similarity=search_floor(self._policy, min_similarity=min_similarity, verifier=verifier),
                    now=self._clock(),
                )
        except (StoreError, TimeoutError) as error:
            reasons = (*miss.reasons, failure("store", error))
            return replace(miss, reason=MissReason.STORE_UNAVAILABLE, reasons=reasons)
        finally:
            watch.search_seconds += time.perf_counter() - started
        # A store that mixes scopes up must not answer with another tenant's words.
        candidates = [found for found in candidates if found.entry.scope.digest == key.scope.digest]
        decision = decide(
            candidates,
            self._policy,
            asked=miss.canonical.text,
            min_similarity=min_similarity,
            verifier=verifier,
        )
        reasons = (*miss.reasons, *decision.reasons)
        if decision.action == "serve":
            return _hit(key, decision.candidates[0], "semantic", self._clock(), reasons)
        miss = replace(miss, reasons=reasons, nearest=tuple(candidates))
        if decision.action == "verify":
            return await self._verified(miss, key, decision.candidates)
        if decision.reason is None or (miss.reason is MissReason.EXPIRED and not candidates):
            return miss
        return replace(miss, reason=decision.reason)

    async def embedded(self, miss: Miss, watch: Watch) -> Miss:
        """The miss with its vector; without one, and with the reason, where there is nothing to embed."""
        if not miss.canonical.text or self._embedder is None:
            reasons = (*miss.reasons, miss.canonical.not_embedded)
            return replace(miss, reason=_unless_expired(miss, MissReason.BYPASS), reasons=reasons)
        started = time.perf_counter()
        embedding = self._embedder.embed([miss.canonical.text])
        try:
            vectors = await _within(self._embedder_timeout, embedding, EmbeddingError)
            vector = _sound(vectors, self._embedder.dim)
        except (EmbeddingError, TimeoutError) as error:
            reasons = (*miss.reasons, failure("embedder", error))
            return replace(miss, reason=_unless_expired(miss, MissReason.EMBEDDER_UNAVAILABLE), reasons=reasons)
        finally:
            watch.embed_seconds += time.perf_counter() - started
        if vector is not None:
            return replace(miss, vector=vector)
        why = (
            "the embedding model would not see all of the text (longer than its window, or with characters it does "
            "not know): the very same question only"
        )
        canonical = replace(miss.canonical, text="", not_embedded=why)
        reason = _unless_expired(miss, MissReason.BYPASS)
        return replace(miss, canonical=canonical, reason=reason, reasons=(*miss.reasons, why))

    async def _verified(self, miss: Miss, key: Key, candidates: Sequence[Candidate]) -> Outcome:
        verdicts: Sequence[bool] = ()
        reasons = (*miss.reasons, "the verifier said no")
        try:
            if self._verifier is not None:
                asking = self._verifier.same(miss.request, candidates)
                verdicts = await _within(self._verifier_timeout, asking, VerifierError)
        except (VerifierError, TimeoutError) as error:
            reasons = (*miss.reasons, failure("verifier", error))
        for candidate, same in zip(candidates, verdicts, strict=False):
            if same is True and freshness(candidate.entry, self._clock()) != "dead":  # it may have died meanwhile
                reasons = (*miss.reasons, "the verifier said that the answer is the same")
                return _hit(key, candidate, "verified", self._clock(), reasons)
        return replace(miss, reason=MissReason.VERIFIER_SAID_NO, reasons=reasons)


def _hit(key: Key, candidate: Candidate, tier: Tier, now: float, reasons: tuple[str, ...]) -> Hit:
    entry = candidate.entry
    stale = freshness(entry, now) == "stale"
    return Hit(
        key=key,
        entry=entry,
        tier=tier,
        similarity=candidate.similarity,
        reasons=(*reasons, "past its expiry, within the stale window") if stale else reasons,
        age_seconds=max(0.0, now - entry.created),
        stale=stale,
    )


async def _within(seconds: float, work: Coroutine[Any, Any, T], kind: type[EmbeddingError | VerifierError]) -> T:
    """What somebody else's part comes to. Whatever it raises is a ``kind``: it must cost a hit and not the answer.

    Raises ``TimeoutError``. The part's own message is left out, since it may quote the text.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_seen)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        raise TimeoutError
    if task.cancelled():  # from within: its own thread or client was closed
        raise kind("it was cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, YamabikoError | TimeoutError) or not isinstance(error, Exception):
        raise error
    raise kind(f"it raised {type(error).__name__}") from error


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that comes when nobody waits any more needs no report of asyncio's."""
    if not task.cancelled():
        task.exception()


def _sound(vectors: Sequence[Vector | None], dim: int) -> Vector | None:
    """The one vector that was asked for; raises ``EmbeddingError`` where it is none to compare with."""
    if len(vectors) != 1:
        raise EmbeddingError(f"it gave {len(vectors)} vectors for one text")
    vector = vectors[0]
    if vector is not None and (vector.shape != (dim,) or not abs(float(vector @ vector) - 1.0) <= _NORM_TOLERANCE):
        raise EmbeddingError(f"it gave a vector that is not of shape ({dim},), finite and of L2 norm 1")
    return vector


def _unless_expired(miss: Miss, reason: MissReason) -> MissReason:
    return miss.reason if miss.reason is MissReason.EXPIRED else reason


def failure(part: str, error: Exception) -> str:
    """Says what failed; the messages of our own errors hold no text of any prompt."""
    return f"the {part} took too long" if isinstance(error, TimeoutError) else f"the {part} failed: {error}"
