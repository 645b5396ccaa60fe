"""The verdict of ``yamabiko explain`` in one sentence, by the rules of step 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yamabiko.cli.bar import Bar
from yamabiko.cli.weighing import Seen, Weighed, is_same
from yamabiko.core.guards import Mode
from yamabiko.types import MissReason, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Two questions and all that is known of them.

    ``never``: why they are never compared by meaning; ``weighed`` and ``bar`` are None then.
    """

    old: Seen
    new: Seen
    modes: Mapping[str, Mode]
    never: str
    weighed: Weighed | None = None
    bar: Bar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the stored answer would be served, and why."""

    served: bool
    sentence: str


def judge(explanation: Explanation, policy: Policy) -> Verdict:
    """What becomes of the asked question where the stored one is the only candidate."""
    if is_same(explanation.old, explanation.new):
        return Verdict(served=True, sentence="served: it is the very same question, which needs no guard and no score")
    if explanation.weighed is None or explanation.bar is None:
        why = f"they are never compared by meaning, since {explanation.never}"
        return Verdict(served=False, sentence=f"not served: {why}")
    reason, why = objection(explanation.weighed, explanation.bar, policy)
    return Verdict(served=reason == SERVED, sentence=f"{'served' if reason == SERVED else 'not served'}: {why}")


SERVED = "served"


def objection(weighed: Weighed, bar: Bar, policy: Policy) -> tuple[str, str]:
    """The first thing that speaks against serving, as ``MissReason`` names it, or "served"; and why, in words."""
    if not policy.semantic:
        return MissReason.BYPASS, "the policy serves nothing by meaning (semantic = false)"
    if weighed.vetoes:
        told = ", ".join(f"{veto.guard}: {veto.detail}" for veto in weighed.vetoes)
        return MissReason.GUARD, f"a guard forbids it ({told})"
    if policy.min_similarity is not None and weighed.similarity < policy.min_similarity:
        told = f"the similarity {weighed.similarity:.4f} is below min_similarity {policy.min_similarity:.4f}"
        return MissReason.BELOW_THRESHOLD, told
    if policy.max_error_rate is None:
        return SERVED, "no guard objects and the similarity reaches min_similarity"
    if bar.threshold is None:
        return MissReason.SHADOW, f"in this namespace nothing is served by meaning: {bar.reason}"
    if weighed.score < bar.threshold:
        told = f"the score {weighed.score:.4f} is below the {bar.calibration} threshold {bar.threshold:.4f}"
        return MissReason.BELOW_THRESHOLD, told
    backing = f"at most {bar.error_upper:.2%} wrong" if bar.error_upper is not None else "nothing certified yet"
    told = f"no guard objects, and the score {weighed.score:.4f} reaches the {bar.calibration} threshold"
    return SERVED, f"{told} {bar.threshold:.4f} ({backing})"
