"""Step 7 of 9, with documents: whether today's retrieval still finds what an answer was made from, and what it says.

``EvidenceVerifier`` is both a ``Verifier`` and a ``Gate``. With ``open_cache(verifier=...)`` a hit, if its answer is
of a certain age, is served only if today's passages come from the same documents and, where those have changed,
still support the answer.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from yamabiko.core.support import MIN_SUPPORT, support
from yamabiko.errors import ConfigurationError
from yamabiko.generators.passages import Passage, Passages, digest_of
from yamabiko.ports import Graded, Mix, Verifier
from yamabiko.types import Candidate, Entry, Reply, Request

MIN_OVERLAP = 0.5
"""From which share on of the smaller set of documents, then and now, a retrieval counts as the same."""

_CITED = r"\s*[\[［【]\s*\d{1,3}(?:\s*[,、，]\s*\d{1,3})*\s*[\]］】]"

Today: TypeAlias = Callable[[Request], Awaitable[Passages]]
"""Finds what a request is answered from today: ``RagPipeline.passages``, or a retrieval of your own."""


class EvidenceVerifier:
    """Serves an answer only while its evidence stands.

    ``today`` retrieves; let it be cheap. ``min_overlap`` and ``min_support`` in [0, 1]: see ``objection_to``.
    ``min_age_seconds``: answers younger than that are not asked about. ``verifier``: whether another
    question means the same is for that one to say, where there is one; evidence alone never says so.

    An answer without sources is not asked about. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        today: Today,
        *,
        min_overlap: float = MIN_OVERLAP,
        min_support: float = MIN_SUPPORT,
        min_age_seconds: float = 0.0,
        verifier: Verifier | Graded | None = None,
    ) -> None:
        for name, share in {"min_overlap": min_overlap, "min_support": min_support}.items():
            if not 0 <= share <= 1:
                raise ConfigurationError(f"{name} must be in [0, 1], not {share}")
        if not min_age_seconds >= 0:
            raise ConfigurationError(f"min_age_seconds must be 0 or more, not {min_age_seconds}")
        self._today = today
        self._min_overlap, self._min_support = min_overlap, min_support
        self._min_age = min_age_seconds
        self._verifier = verifier

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """What the other verifier says; without one, no. Whether an answer still holds is asked of hits alone."""
        verifier: Any = self._verifier
        return [False] * len(candidates) if verifier is None else await verifier.same(request, candidates)

    def mix_for(self, embedder: str, /) -> Mix | None:
        """See ``Graded.mix_for``: the other verifier's."""
        return self._verifier.mix_for(embedder) if isinstance(self._verifier, Graded) else None

    async def log_odds(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[float | None]:
        """See ``Graded.log_odds``: what the other verifier says."""
        if isinstance(self._verifier, Graded):
            return await self._verifier.log_odds(request, candidates)
        return [None] * len(candidates)

    async def objection(self, request: Request, entry: Entry, /, *, age_seconds: float) -> str:
        """See ``Gate.objection``."""
        if not entry.reply.sources or age_seconds < self._min_age:
            return ""
        passages = await self._today(request)
        question = request.messages[-1].text
        return objection_to(
            entry.reply, passages, question=question, min_overlap=self._min_overlap, min_support=self._min_support
        )


def objection_to(
    reply: Reply,
    passages: Sequence[Passage],
    *,
    question: str,
    min_overlap: float = MIN_OVERLAP,
    min_support: float = MIN_SUPPORT,
) -> str:
    """What speaks against an answer, given what is retrieved today, in a sentence without their words; or empty.

    * Of the documents (URIs) then and now, ``min_overlap`` of the smaller set must be in the other one.
    * Where each of the shared ones is as it was (digest), nothing is compared further.
    * Otherwise what they say today must support the answer: ``core.support`` from ``min_support`` on.
    """
    then = {source.uri for source in reply.sources}
    now = {passage.source.uri for passage in passages}
    shared = then & now
    if not shared:
        return "today's retrieval finds none of the documents that the answer was made from"
    overlap = len(shared) / min(len(then), len(now))
    if overlap < min_overlap:
        return f"of the documents that the answer was made from, {overlap:.0%} are found today, below {min_overlap:.0%}"
    known = {(source.uri, source.digest) for source in reply.sources if source.digest}
    evidence = [passage for passage in passages if passage.source.uri in shared]
    if all((passage.source.uri, passage.source.digest or digest_of(passage.text)) in known for passage in evidence):
        return ""
    said = re.sub(_CITED, "", reply.text)  # the number of a passage is no number of the answer
    found = support(said, [passage.text for passage in evidence], question=question)
    if found.share >= min_support:
        return ""
    told = "; ".join(found.reasons)
    return f"a document has changed and supports the answer by {found.share:.2f}, below {min_support:.2f}: {told}"
