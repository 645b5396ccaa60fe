"""Step 7 of 9, for what would be served: where the verifier is a ``Gate``, it is asked whether each hit still holds.

An answer that it objects to is a miss, for every process that asks: it is made anew and takes the old one's place.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from functools import cached_property
from typing import Any

from yamabiko.core.key import Place
from yamabiko.errors import VerifierError
from yamabiko.lookup import Lookup, Outcome
from yamabiko.ports import Gate
from yamabiko.telemetry import Watch
from yamabiko.types import PLAIN, Candidate, Controls, Hit, Key, Miss, MissReason, Request
from yamabiko.verifying import failure, within


class GatedLookup(Lookup):
    """A ``Lookup`` that asks its verifier about hits too, if that is a ``Gate``; otherwise it is no other."""

    def exact(self, place: Place, controls: Controls = PLAIN) -> Coroutine[Any, Any, Outcome]:
        """See ``Lookup.exact``."""
        found = super().exact(place, controls)
        return self._exact(found, place, controls) if self._gate is not None else found

    async def again(self, key: Key, request: Request, controls: Controls = PLAIN) -> Hit | None:
        """See ``Lookup.again``; what the gate objects to is no answer here either."""
        hit = await super().again(key, request, controls)
        return None if hit is None or await self._objection(hit, request) else hit

    async def by_meaning(self, miss: Miss, watch: Watch) -> Outcome:
        """See ``Lookup.by_meaning``."""
        outcome = await super().by_meaning(miss, watch)
        refused = miss.nearest if miss.reason is MissReason.VERIFIER_SAID_NO else ()
        if isinstance(outcome, Miss):
            down = outcome.reason in (MissReason.STORE_UNAVAILABLE, MissReason.EMBEDDER_UNAVAILABLE)
            return replace(outcome, reason=MissReason.VERIFIER_SAID_NO) if refused and not down else outcome
        if any(candidate.entry.id == outcome.entry.id for candidate in refused):
            why = "the same answer again"
        else:
            why = await self._objection(outcome, miss.request)
        if not why:
            return outcome
        vector = miss.vector if outcome.trial is None else outcome.trial.vector
        return replace(
            miss,
            reason=MissReason.VERIFIER_SAID_NO,
            reasons=(*outcome.reasons, why),
            nearest=(_candidate(outcome),),
            vector=vector,
            namespace=outcome.namespace,
        )

    async def _exact(self, finding: Coroutine[Any, Any, Outcome], place: Place, controls: Controls) -> Outcome:
        outcome = await finding
        why = "" if isinstance(outcome, Miss) else await self._objection(outcome, place.request)
        if isinstance(outcome, Miss) or not why:
            return outcome
        return Miss(
            request=place.request,
            canonical=place.canonical,
            key=place.key,
            reason=MissReason.VERIFIER_SAID_NO,
            reasons=(*outcome.reasons, why),
            nearest=(_candidate(outcome),),
            controls=controls,
        )

    @cached_property
    def _gate(self) -> Gate | None:
        """The verifier, if it is one; found out once, which takes as long as a whole exact hit."""
        verifier: object = self._verifier
        return verifier if isinstance(verifier, Gate) else None

    async def _objection(self, hit: Hit, request: Request) -> str:
        """Why this hit is none after all; one that can't be asked about is none."""
        gate = self._gate
        if gate is None:
            return ""
        asking = gate.objection(request, hit.entry, age_seconds=hit.age_seconds)
        try:
            return await within(self._verifier_timeout, asking, VerifierError)
        except (VerifierError, TimeoutError) as error:
            return failure("verifier", error)


def _candidate(hit: Hit) -> Candidate:
    return Candidate(entry=hit.entry, similarity=hit.similarity, score=hit.score, p_correct=hit.p_correct)
