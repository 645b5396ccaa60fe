"""Step 6 of 9: whether one of the candidates may answer.

The best *allowed* candidate wins, not the nearest one: what speaks against a candidate is decided first, in
``allowed``, and only then is its similarity compared with the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yamabiko.core import guards
from yamabiko.types import Candidate, Decision, MissReason, Policy


def search_floor(policy: Policy, *, min_similarity: float, verifier: bool) -> float:
    """From which similarity on a candidate is worth finding, as a near miss if not as an answer; in [-1, 1]."""
    lowest = min_similarity
    if verifier and policy.verify_similarity is not None:
        lowest = min(lowest, policy.verify_similarity)
    return max(-1.0, lowest - policy.near_miss_margin)


def decide(
    candidates: Sequence[Candidate], policy: Policy, *, asked: str, min_similarity: float, verifier: bool
) -> Decision:
    """Serve the best allowed candidate, ask the verifier about the doubtful ones, or generate.

    ``asked`` is the new question's text. ``min_similarity``: cosine in [-1, 1] at and above which an answer is served.
    ``verifier``: whether one can be asked about candidates from ``policy.verify_similarity`` up to there. Where the
    answer is generated, the decision's candidates are the near misses, best first.
    """
    verify_from = policy.verify_similarity if verifier else None
    lowest = min_similarity if verify_from is None else min(min_similarity, verify_from)
    ranked, refused = allowed(candidates, policy, asked=asked, lowest=lowest)
    if not ranked and not refused:
        reason = "nothing similar enough to be worth naming is stored in this scope"
        return Decision(action="generate", reason=MissReason.ABSENT, reasons=(reason,))
    if ranked and ranked[0].similarity >= min_similarity:
        reason = f"similarity {ranked[0].similarity:.4f} reaches the threshold {min_similarity:.4f}"
        return Decision(action="serve", candidates=ranked, reasons=(*refused, reason))
    doubtful = tuple(candidate for candidate in ranked if verify_from is not None and candidate.similarity >= lowest)
    near = ranked or _ranked(candidates)
    below = _below(ranked, min_similarity)
    if doubtful:
        reason = f"the verifier is asked from {lowest:.4f} on"
        return Decision(action="verify", candidates=doubtful, reasons=(*refused, *below, reason))
    if refused:
        return Decision(action="generate", candidates=near, reason=MissReason.GUARD, reasons=(*refused, *below))
    if verify_from is not None:
        numbers = _told_apart(near[0].similarity, verify_from)
        below = (*below, "similarity {} is below {}, from which the verifier is asked".format(*numbers))
    return Decision(action="generate", candidates=near, reason=MissReason.BELOW_THRESHOLD, reasons=below)


def allowed(
    candidates: Sequence[Candidate], policy: Policy, *, asked: str, lowest: float
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The candidates that nothing speaks against, most similar first, and why others may not answer.

    Guards look at those that would be served or verified, from ``lowest`` on: the others are near misses at best.
    Equals keep the store's order. A similarity that is not a number is never compared, it is refused.
    """
    new = guards.read(asked)
    ranked: list[Candidate] = []
    refused: list[str] = []
    for candidate in _ranked(candidates):
        vetoes: tuple[guards.Finding, ...] = ()
        if candidate.similarity >= lowest:
            findings = guards.check(new, guards.read(candidate.question.text), policy.guards)
            vetoes = guards.vetoes(findings, policy.guards)
        at = f"at similarity {candidate.similarity:.4f}"
        refused += [f"guard {found.guard} {at}: {found.detail}" for found in vetoes]
        if not vetoes:
            ranked.append(candidate)
    return tuple(ranked), tuple(refused)


def _ranked(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    sound = (candidate for candidate in candidates if not math.isnan(candidate.similarity))
    return tuple(sorted(sound, key=lambda candidate: -candidate.similarity))


def _below(ranked: Sequence[Candidate], min_similarity: float) -> tuple[str, ...]:
    if not ranked:
        return ()
    return ("similarity {} is below the threshold {}".format(*_told_apart(ranked[0].similarity, min_similarity)),)


def _told_apart(lower: float, higher: float) -> tuple[str, str]:
    """Two numbers with as many decimals as it takes to see which one is lower; four at least."""
    for decimals in range(4, 17):
        texts = f"{lower:.{decimals}f}", f"{higher:.{decimals}f}"
        if float(texts[0]) < float(texts[1]):
            return texts
    return repr(lower), repr(higher)
