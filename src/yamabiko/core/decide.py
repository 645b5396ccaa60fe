"""Step 6 of 9: whether one of the candidates may answer.

The best *allowed* candidate wins, not the nearest one: what speaks against a candidate is decided first, in
``allowed``, and only then is its similarity compared with the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yamabiko.types import Candidate, Decision, MissReason, Policy


def search_floor(policy: Policy, *, min_similarity: float, verifier: bool) -> float:
    """From which similarity on a candidate is worth finding, as a near miss if not as an answer; in [-1, 1]."""
    lowest = min_similarity
    if verifier and policy.verify_similarity is not None:
        lowest = min(lowest, policy.verify_similarity)
    return max(-1.0, lowest - policy.near_miss_margin)


def decide(candidates: Sequence[Candidate], policy: Policy, *, min_similarity: float, verifier: bool) -> Decision:
    """Serve the best allowed candidate, ask the verifier about the doubtful ones, or generate.

    ``min_similarity``: cosine in [-1, 1] at and above which an answer is served. ``verifier``: whether one can be
    asked about candidates from ``policy.verify_similarity`` up to there. Where the answer is generated, the decision's
    candidates are the near misses, best first.
    """
    ranked = allowed(candidates)
    if not ranked:
        reason = "nothing similar enough to be worth naming is stored in this scope"
        return Decision(action="generate", reason=MissReason.ABSENT, reasons=(reason,))
    best = ranked[0].similarity
    if best >= min_similarity:
        reason = f"similarity {best:.4f} reaches the threshold {min_similarity:.4f}"
        return Decision(action="serve", candidates=ranked, reasons=(reason,))
    below = "similarity {} is below the threshold {}".format(*_told_apart(best, min_similarity))
    verify_from = policy.verify_similarity
    if verify_from is None or not verifier:
        return Decision(action="generate", candidates=ranked, reason=MissReason.BELOW_THRESHOLD, reasons=(below,))
    doubtful = tuple(candidate for candidate in ranked if candidate.similarity >= verify_from)
    if doubtful:
        reason = f"the verifier is asked from {verify_from:.4f} on"
        return Decision(action="verify", candidates=doubtful, reasons=(below, reason))
    reason = "similarity {} is below {}, from which the verifier is asked".format(*_told_apart(best, verify_from))
    return Decision(action="generate", candidates=ranked, reason=MissReason.BELOW_THRESHOLD, reasons=(below, reason))


def allowed(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that nothing speaks against, most similar first; equals keep the store's order.

    A similarity that is not a number is never compared, it is refused.
    """
    sound = (candidate for candidate in candidates if not math.isnan(candidate.similarity))
    return tuple(sorted(sound, key=lambda candidate: -candidate.similarity))


def _told_apart(lower: float, higher: float) -> tuple[str, str]:
    """Two numbers with as many decimals as it takes to see which one is lower; four at least."""
    for decimals in range(4, 17):
        texts = f"{lower:.{decimals}f}", f"{higher:.{decimals}f}"
        if float(texts[0]) < float(texts[1]):
            return texts
    return repr(lower), repr(higher)
