"""Which scores a namespace is served by where a verifier has a say: the ones with it, or the score alone.

Each has a standing of its own, with labels that were drawn by its own scores. The verifier's are in force while they
have something to serve by, until the labels show that they help nothing: the certificate decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yamabiko.core.calibrate import Certificate, Shortfall
from yamabiko.core.sampling import Sample, audit_lot
from yamabiko.core.states import Outcome, Position


def served(sample: Sample, threshold: float) -> float:
    """About how many of the look-ups that a sample was drawn from a threshold serves.

    Each label at the threshold stands for as many as the lowest rate of its design says (Horvitz and Thompson, JASA 47
    (1952) 663). Labels that are missing stand for nothing.
    """
    rates = sample.common(threshold)
    counts = np.bincount(sample.design[sample.at(threshold)], minlength=len(rates))
    return float(np.sum(counts[rates > 0] / rates[rates > 0]))


def outdone(own: Outcome, own_sample: Sample, other: Outcome, other_sample: Sample) -> str:
    """Why scores give way to others, in a sentence; empty where they don't.

    ``own`` and ``other``: what their labels have shown; the samples are of the same look-ups. They give way to others
    that are certified, if they themselves serve no more than these under their own certificate, or could get none for
    their errors. While it is not known what they would serve, they don't.
    """
    if not isinstance(other, Certificate):
        return ""
    if isinstance(own, Shortfall) and own.cause == "errors":
        return f"other scores are certified, and these are not: {own.reason}"
    if not isinstance(own, Certificate):
        return ""
    ours, theirs = served(own_sample, own.threshold), served(other_sample, other.threshold)
    if ours > theirs:
        return ""
    return f"it serves no more than other scores do: about {ours:.0f} against {theirs:.0f} of the same look-ups"


def in_force(contenders: Sequence[Position], alone: Position) -> Position:
    """The position that a look-up goes by, with the others beside it, as far as they are drawn for labels.

    ``contenders``: by scores with a verifier in them, the latest first; ``alone``: by the score alone. A certificate
    goes before public data, and what has a verifier before the score alone, unless it is behind others.
    Where none of them has anything to serve by, labels are about what the verifier prefers.
    """
    standing = [one for one in contenders if not one.behind]
    certified = (one for one in (*standing, alone) if one.calibration == "certified" and one.threshold is not None)
    measured = (one for one in standing if one.threshold is not None and one.mix is not None and one.mix.rows)
    shadows = (one for one in standing if one.design is not None and alone.threshold is None)
    chosen = next((one for found in (certified, measured, shadows) for one in found), alone)
    others = tuple(position for position in (*contenders, alone) if position is not chosen)
    if chosen is alone and contenders:
        why = next((position.behind for position in contenders if position.behind), "")
        reason = f"{alone.reason}; without the verifier, since {why}" if why else alone.reason
        chosen = replace(alone, reason=reason)
    return replace(chosen, beside=tuple(other for other in others if _rides(other, chosen)))


def highest_rate(chosen: Position) -> float:
    """At most so large a share of look-ups may be drawn for scores beside the ones in force: it costs no hit more."""
    if chosen.threshold is None:
        return 1.0
    return 0.0 if chosen.design is None else min(chosen.design.below, chosen.design.above)


def _rides(other: Position, chosen: Position) -> bool:
    design = other.design
    return design is not None and max(design.below, design.above) <= highest_rate(chosen)


def drawn_beside(position: Position, look_up: str) -> Position:
    """Without those beside that ask a verifier which is not in force, where their lot does not draw this look-up."""
    if position.mix is not None:
        return position
    kept = (
        other
        for other in position.beside
        if other.mix is None
        or (other.design is not None and audit_lot(look_up) < max(other.design.below, other.design.above))
    )
    return replace(position, beside=tuple(kept))
