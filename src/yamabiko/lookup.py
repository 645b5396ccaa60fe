"""Steps 1 to 7 of 9: whether the cache can answer, first the very same question, then one of the same meaning.

Reads only; a dead store, embedder or verifier is a miss with its reason, within a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from yamabiko.attest import Attest, Refusal
from yamabiko.core.controls import may_be_drawn, not_by_meaning, stricter_modes, tightened, unwanted
from yamabiko.core.decide import guard_modes, search_floor
from yamabiko.core.freshness import freshness
from yamabiko.core.guards import GUARDS
from yamabiko.core.key import Place, place_of, principal
from yamabiko.core.personal import personal
from yamabiko.core.score import MIN_SCORE, model_for
from yamabiko.core.states import Position, State
from yamabiko.errors import ConfigurationError, EmbeddingError, StoreError
from yamabiko.flight import in_time
from yamabiko.ports import Dated, Embedder, SharedState, Store, Verifier
from yamabiko.telemetry import Watch
from yamabiko.types import (
    PLAIN,
    Candidate,
    Controls,
    Decision,
    Entry,
    Hit,
    Key,
    Miss,
    MissReason,
    Policy,
    Request,
    Tier,
    Trial,
    Vector,
)
from yamabiko.unwritten import Unwritten
from yamabiko.verifying import Verifying, failure, within

Outcome: TypeAlias = Hit | Miss
Standing: TypeAlias = Callable[[Request, Key, str], Awaitable[tuple[Policy, Position]]]
"""The policy that applies to a request, and where its namespace stands; the text is the look-up's id.

It is empty for one that is drawn for no label. Never raises for a store that is down.
"""
_NORM_TOLERANCE = 0.02
"""How far from 1 a vector's squared norm may be: what a store takes."""
_NO_TENANT = "the policy demands a tenant and there is none"
_PERSONAL = "the question is about one person: name the user in the request, and it is kept for that user alone"
_UNCONFIRMED = "the stored answer was made for somebody else, and nobody has confirmed it yet"
_QUARANTINED = "a stored answer was found wrong for this very question"
NO_EMBEDDER = "none"
"""Stands in the scope where there is no embedder: such a cache answers the very same questions only."""


class Lookup:
    """The reading half of the path.

    ``unwritten`` holds the entries whose writing is under way; they are found as if written.
    ``clock`` gives seconds UTC epoch, ``new_id`` an id for each look-up, and ``hit_id`` the name under which people may
    speak of it: of the look-up's id, the entry's id and the question's digest.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        policy: Policy,
        standing: Standing,
        unwritten: Unwritten,
        verifier: Verifier | None,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        hit_id: Callable[[str, str, bytes], str],
        attest: Attest,
        forged: Callable[[Entry, Key], None],
        store_timeout_seconds: float,
        embedder_timeout_seconds: float,
        verifier_timeout_seconds: float = 30.0,
    ) -> None:
        unknown = sorted({name.rpartition("/")[2] for name in policy.guards} - GUARDS.keys())
        if unknown:
            raise ConfigurationError(f"there is no guard {unknown[0]!r:.60}: there are {', '.join(GUARDS)}")
        self._store = store
        self._get = store.get_or_purged if isinstance(store, Dated) else store.get
        self._embedder = embedder
        self._policy = policy
        self._standing = standing
        self._shared = store if isinstance(store, SharedState) else None
        self._unwritten = unwritten
        self._verifier = verifier
        self._clock = clock
        self._new_id = new_id
        self._hit_id = hit_id
        self._attest = attest
        self._forged = forged
        self._store_timeout = store_timeout_seconds
        self._embedder_timeout = embedder_timeout_seconds
        self._verifier_timeout = verifier_timeout_seconds
        self._verifying = Verifying(verifier, timeout_seconds=verifier_timeout_seconds)

    # Steps 1 to 3: the very same question.

    def place(self, request: Request) -> Place:
        """Steps 1 and 2, which need neither clock nor store. Raises ``InvalidRequest``."""
        return place_of(request, model_for=self._model_for, policy=self._policy)

    async def exact(self, place: Place, controls: Controls = PLAIN) -> Outcome:
        """Step 3. Without a key, the miss has no place in the cache."""
        request, canonical, key = place
        miss = partial(Miss, request=request, canonical=canonical, controls=controls)
        if key is None:
            reason = MissReason.BYPASS if request.bypass else MissReason.SCOPE
            return miss(key=None, reason=reason, reasons=(request.bypass or _NO_TENANT,))
        if not controls.read:
            return miss(key=key, reason=MissReason.CONTROL, reasons=(not_by_meaning(controls),))
        try:
            entry, refusal, fence = await self._entry(key)
            refused = entry is not None and entry.id != key.hex and entry.id in await self._quarantined(key)
        except (StoreError, TimeoutError) as error:
            return miss(key=key, reason=MissReason.STORE_UNAVAILABLE, reasons=(failure("store", error),))
        if refusal is not None:  # no quarantine: the answer that is now made takes its place
            return miss(key=key, reason=MissReason.SIGNATURE, reasons=(refusal.why,))
        if entry is None:
            return miss(key=key, reason=MissReason.ABSENT, reasons=("this very question is not stored",), fence=fence)
        if refused:
            return miss(key=key, reason=MissReason.ABSENT, reasons=(_QUARANTINED,))
        now = self._clock()
        if freshness(entry, now) == "dead":
            return miss(key=key, reason=MissReason.EXPIRED, reasons=("this very question's answer has expired",))
        if why := unwanted(controls, entry, now):
            return miss(key=key, reason=MissReason.CONTROL, reasons=(why,))
        candidate = Candidate(entry=entry, similarity=1.0)
        if not _may_see(entry, request):
            miss = partial(miss, reason=MissReason.UNCONFIRMED, reasons=(_UNCONFIRMED,))
            return miss(key=key, nearest=(candidate,), unconfirmed=candidate)
        return self._hit(key, candidate, "exact", ("the very same question",))

    async def again(self, key: Key, request: Request, controls: Controls = PLAIN) -> Hit | None:
        """The very same question's answer, where somebody has stored one meanwhile.

        Raises ``StoreError`` or ``TimeoutError``.
        """
        entry, refusal, _ = await self._entry(key)
        if entry is None or refusal is not None or freshness(entry, self._clock()) == "dead":
            return None
        if unwanted(controls, entry, self._clock()):
            return None
        if not _may_see(entry, request) or (entry.id != key.hex and entry.id in await self._quarantined(key)):
            return None
        candidate = Candidate(entry=entry, similarity=1.0)
        return self._hit(key, candidate, "exact", ("the very same question, answered meanwhile",))

    async def _entry(self, key: Key) -> tuple[Entry | None, Refusal | None, int | None]:
        """The very same question's entry, why it may not be believed, and without one, the last purge if it is told."""
        entry = await self._unwritten.get(key.digest)
        if entry is not None:
            return entry, None, None
        found = await in_time(self._store_timeout, self._get(key))
        return (found, self._attest.refusal(found), None) if isinstance(found, Entry) else (None, None, found)

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
        if not key.scope.user and self._policy.users != "one" and personal(miss.canonical.text):
            reasons = (*miss.reasons, _PERSONAL)
            return replace(miss, reason=_unless_telling(miss, MissReason.SCOPE), reasons=reasons)
        if why := not_by_meaning(miss.controls):
            return miss if not miss.controls.read else replace(miss, reasons=(*miss.reasons, why))
        number = self._new_id()
        policy, position = await self._standing(miss.request, key, number if may_be_drawn(miss.controls) else "")
        policy, position, why = tightened(miss.controls, policy, position, embedder=key.scope.embedder)
        miss = replace(miss, namespace=position.namespace)
        if why:
            return replace(miss, reason=_unless_telling(miss, MissReason.CONTROL), reasons=(*miss.reasons, why))
        if position.state is State.EXACT_ONLY:
            reasons = (*miss.reasons, f"nothing is served by meaning here: {position.reason}")
            return replace(miss, reasons=reasons)
        miss = await self.embedded(miss, watch)
        if miss.vector is None:
            return miss
        started = time.perf_counter()
        try:
            found, refused = await asyncio.gather(  # at once: no more round trips than for the search alone
                self._candidates(key, miss.vector, policy, miss.controls), self._quarantined(key)
            )
            found = [candidate for candidate in found if candidate.entry.id not in refused]
            miss = replace(miss, reasons=(*miss.reasons, _QUARANTINED)) if refused else miss
            candidates = [candidate for candidate in found if _may_see(candidate.entry, miss.request)]
            decision = await self._decided(miss, key, candidates, policy, position)
            if decision.action != "serve" and len(candidates) < len(found) and miss.unconfirmed is None:
                held = [candidate for candidate in found if not _may_see(candidate.entry, miss.request)]
                miss = _held(miss, await self._decided(miss, key, held, policy, position))
        except (StoreError, TimeoutError) as error:
            reasons = (*miss.reasons, failure("store", error))
            return replace(miss, reason=MissReason.STORE_UNAVAILABLE, reasons=reasons)
        finally:
            watch.search_seconds += time.perf_counter() - started
        return await self._outcome(miss, key, decision, position, number)

    async def _candidates(self, key: Key, vector: Vector, policy: Policy, controls: Controls) -> Sequence[Candidate]:
        """Steps 5: what is near in this scope. Raises ``StoreError`` or ``TimeoutError``."""
        floor = search_floor(policy, model_for(key.scope.embedder), verifier=self._verifier is not None)
        async with asyncio.timeout(self._store_timeout):
            found = await self._store.search(
                key.scope, vector, limit=policy.candidates, min_similarity=floor, now=self._clock()
            )
        # A store that mixes scopes up must not answer with another tenant's words.
        own = [candidate for candidate in found if candidate.entry.scope.digest == key.scope.digest]
        good, bad = self._attest.believed(own)
        for candidate, _ in bad:
            self._forged(candidate.entry, key)
        return [found for found in good if not unwanted(controls, found.entry, self._clock())]

    async def _decided(
        self, miss: Miss, key: Key, candidates: Sequence[Candidate], policy: Policy, position: Position
    ) -> Decision:
        """Steps 6 and 7, without those that do not lie where their store says that they do."""
        step = partial(
            self._verifying.decided,
            request=miss.request,
            asked=miss.canonical.text,
            policy=policy,
            position=position,
            model=model_for(key.scope.embedder),
            modes=stricter_modes(guard_modes(policy, miss.request.category), miss.controls),
        )
        decision: Decision = await step(candidates)
        told: tuple[str, ...] = ()
        while self._attest.on and decision.reason is None and decision.candidates:
            out = await self._misplaced(miss, key, decision)
            if not out:
                break
            told += tuple(out.values())
            candidates = [found for found in candidates if found.entry.id not in out]
            decision = await step(candidates)
        return replace(decision, reasons=(*told, *decision.reasons))

    async def _misplaced(self, miss: Miss, key: Key, decision: Decision) -> Mapping[str, str]:
        """Of those who may answer, who does not resemble the question as their store says, by entry: and why."""
        found: dict[str, str] = {}
        if miss.vector is None:
            return found
        for candidate in decision.candidates if decision.action == "verify" else decision.candidates[:1]:
            refusal = await self._attest.misplaced(candidate, miss.vector)
            if refusal is not None:
                found[candidate.entry.id] = refusal.why
                if refusal.forged:
                    self._forged(candidate.entry, key)
        return found

    async def _outcome(self, miss: Miss, key: Key, decision: Decision, position: Position, number: str) -> Outcome:
        """What the decision comes to, and whether this look-up was drawn for a label."""
        reasons = (*miss.reasons, *decision.reasons)
        trial = _drawn(number, miss, decision, position)
        if decision.action == "serve":
            best = decision.candidates[0]
            tier: Tier = "semantic" if best.verified is None else "verified"
            return self._hit(key, best, tier, reasons, number=number, position=position, trial=trial)
        miss = replace(miss, reasons=reasons, nearest=decision.candidates, trial=trial)
        if decision.action == "verify":
            return await self._verified(miss, key, decision.candidates)
        if miss.unconfirmed is not None or decision.reason is None:
            return miss
        if not decision.candidates:
            return replace(miss, reason=_unless_telling(miss, decision.reason))
        return replace(miss, reason=decision.reason)

    async def _quarantined(self, key: Key) -> frozenset[str]:
        """The entries that are no answer to this question. Raises ``StoreError`` or ``TimeoutError``."""
        if self._shared is None:
            return frozenset()
        async with asyncio.timeout(self._store_timeout):
            return await self._shared.quarantined(key.digest, now=self._clock())

    async def embedded(self, miss: Miss, watch: Watch) -> Miss:
        """The miss with its vector; without one, and with the reason, where there is nothing to embed."""
        if not miss.canonical.text or self._embedder is None:
            reasons = (*miss.reasons, miss.canonical.not_embedded)
            return replace(miss, reason=_unless_telling(miss, MissReason.BYPASS), reasons=reasons)
        started = time.perf_counter()
        try:
            vector = await self.vector_of(miss.canonical.text)
        except (EmbeddingError, TimeoutError) as error:
            reasons = (*miss.reasons, failure("embedder", error))
            return replace(miss, reason=_unless_telling(miss, MissReason.EMBEDDER_UNAVAILABLE), reasons=reasons)
        finally:
            watch.embed_seconds += time.perf_counter() - started
        if vector is not None:
            return replace(miss, vector=vector)
        why = (
            "the embedding model would not see all of the text (longer than its window, or with characters it does "
            "not know): the very same question only"
        )
        canonical = replace(miss.canonical, text="", not_embedded=why)
        reason = _unless_telling(miss, MissReason.BYPASS)
        return replace(miss, canonical=canonical, reason=reason, reasons=(*miss.reasons, why))

    def _hit(
        self,
        key: Key,
        candidate: Candidate,
        tier: Tier,
        reasons: tuple[str, ...],
        *,
        number: str = "",
        position: Position | None = None,
        trial: Trial | None = None,
    ) -> Hit:
        entry, now = candidate.entry, self._clock()
        stale = freshness(entry, now) == "stale"
        return Hit(
            key=key,
            entry=entry,
            tier=tier,
            similarity=candidate.similarity,
            reasons=(*reasons, "past its expiry, within the stale window") if stale else reasons,
            age_seconds=max(0.0, now - entry.created),
            stale=stale,
            id=self._hit_id(number or self._new_id(), entry.id, key.digest),
            score=candidate.score,
            p_correct=candidate.p_correct,
            error_upper=None if position is None else position.error_upper,
            calibration="none" if position is None else position.calibration,
            namespace="" if position is None else position.namespace,
            trial=trial,
        )

    async def vector_of(self, text: str) -> Vector | None:
        """The vector of a text; None without an embedder, or where it would not see all of it.

        Raises ``EmbeddingError`` or ``TimeoutError``.
        """
        if self._embedder is None:
            return None
        vectors = await within(self._embedder_timeout, self._embedder.embed([text]), EmbeddingError)
        return _sound(vectors, self._embedder.dim)

    async def _verified(self, miss: Miss, key: Key, candidates: Sequence[Candidate]) -> Outcome:
        verdicts, why = await self._verifying.same(miss.request, candidates)
        reasons = (*miss.reasons, why or "the verifier said no")
        for candidate, same in zip(candidates, verdicts, strict=False):
            if same is True and freshness(candidate.entry, self._clock()) != "dead":  # it may have died meanwhile
                reasons = (*miss.reasons, "the verifier said that the answer is the same")
                return self._hit(key, candidate, "verified", reasons)
        return replace(miss, reason=MissReason.VERIFIER_SAID_NO, reasons=reasons)


def _drawn(number: str, miss: Miss, decision: Decision, position: Position) -> Trial | None:
    """Whether the best allowed candidate is to be compared with a fresh answer: by a lot, never by what it is.

    Scores that are not in force draw too; where they prefer another candidate, the label is not about theirs.
    """
    served = decision.action == "serve"
    first = decision.candidates[0] if decision.candidates else None
    best = zip((position, *position.beside), (first, *decision.beside), strict=False)
    trials = [_trial(number, where, candidate, served=served) for where, candidate in best]
    drawn = next((trial for trial in trials if trial is not None), None)
    if drawn is None:
        return None
    beside = tuple(trial for trial in trials[1:] if trial is not None)
    own = trials[0] or replace(drawn, design="", candidate=first if served and first is not None else drawn.candidate)
    return replace(own, beside=beside, vector=miss.vector if served else None)


def _trial(number: str, where: Position, best: Candidate | None, *, served: bool) -> Trial | None:
    """The look-up as the scores of one position have drawn it; None where they have not."""
    design, score = where.design, None if best is None else best.score
    if design is None or best is None or score is None or score < MIN_SCORE or not design.draws(number, score):
        return None
    return Trial(id=number, namespace=where.namespace, design=design.id, score=score, candidate=best, served=served)


def _may_see(entry: Entry, request: Request) -> bool:
    """Whether an entry may answer this request's principal, so far as confirmation goes."""
    return entry.confirmed or (entry.author != "" and entry.author == principal(request))


def _held(miss: Miss, decision: Decision) -> Miss:
    """The miss, with the candidate that would have answered but for its confirmation, if there is one."""
    if decision.action != "serve":
        return miss
    reasons = (*miss.reasons, _UNCONFIRMED)
    return replace(miss, reason=MissReason.UNCONFIRMED, reasons=reasons, unconfirmed=decision.candidates[0])


def _sound(vectors: Sequence[Vector | None], dim: int) -> Vector | None:
    """The one vector that was asked for; raises ``EmbeddingError`` where it is none to compare with."""
    if len(vectors) != 1:
        raise EmbeddingError(f"it gave {len(vectors)} vectors for one text")
    vector = vectors[0]
    if vector is not None and (vector.shape != (dim,) or not abs(float(vector @ vector) - 1.0) <= _NORM_TOLERANCE):
        raise EmbeddingError(f"it gave a vector that is not of shape ({dim},), finite and of L2 norm 1")
    return vector


def _unless_telling(miss: Miss, reason: MissReason) -> MissReason:
    """The reason, unless the exact tier's says more: the very question's answer is out of date, forged or unwanted."""
    return miss.reason if miss.reason in (MissReason.EXPIRED, MissReason.SIGNATURE, MissReason.CONTROL) else reason
