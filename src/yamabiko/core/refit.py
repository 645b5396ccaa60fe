"""A team's own weights for a verifier: fitted to earlier labels, tried on later ones, taken if they serve more.

The verifier itself stays as it is. What is fitted is how its log-odds and the score make the final score: four numbers,
pulled towards those in use, so that few labels change little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from yamabiko.core import binomial
from yamabiko.core.calibrate import Certificate, Shortfall, Terms, certify
from yamabiko.core.mixing import LARGEST, checked, final_score, is_grey, log_odds_of
from yamabiko.core.sampling import Flags, Label, Sample, census, lots_of
from yamabiko.core.score import MIN_SCORE
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix

FEWEST_LABELS = 500
"""Fewer say too little on both sides of the split."""
FITTED_SHARE = 0.6
"""The earlier part, to which weights are fitted; the later part tries them."""
PULL = 10.0
"""How much the weights in use count, in units of the log likelihood: about that of ten labels for each number."""
_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A labelled look-up without any text: its score alone, what the verifier said, whether the answer was right.

    ``id``: that of the look-up. ``rate``: the probability in (0, 1] with which it was drawn.
    """

    id: str
    alone: float
    log_odds: float
    correct: bool
    rate: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """What came of it. ``why``: in a sentence; ``better``: whether the new weights are to be taken.

    ``before`` and ``after``: what the later labels certify, by the weights until then and by the new ones, and how many
    of them each would serve.
    """

    mix: Mix
    better: bool
    why: str
    fitted: int
    tested: int
    before: Certificate | Shortfall
    after: Certificate | Shortfall
    served_before: int
    served: int


def refit(labels: Sequence[Judged], mix: Mix, terms: Terms) -> Refit:
    """Fit weights to the earlier labels and try them on the later ones; ``labels`` in the order in which they came.

    ``terms``: what is promised; their ``attempt`` counts how often this was tried. The new weights are better where the
    later labels certify them, they serve more of these than the weights until then under their own certificate, and
    that is no chance: of the look-ups that only one of both serves, at least so many are the new ones' that a fair coin
    would show it with a probability of 1 - confidence at most. Raises ``ConfigurationError`` for too few labels.
    """
    missing = FEWEST_LABELS - len(labels)
    if missing > 0:
        raise ConfigurationError(
            f"to fit a verifier's weights takes {FEWEST_LABELS} labels, and of {len(labels)} here {missing} are missing"
        )
    split = math.ceil(FITTED_SHARE * len(labels))
    found = fitted(labels[:split], mix)
    rate = min(label.rate for label in labels[split:])
    later = [label for label in labels[split:] if lots_of(label.id)[0] < rate]  # a plain random sample of them
    before, after = (certify(_sample(later, weights), terms) for weights in (mix, found))
    old, new = _served(later, mix, before), _served(later, found, after)
    gained, lost = int(np.count_nonzero(new & ~old)), int(np.count_nonzero(old & ~new))
    counts = f"{int(new.sum())} of {len(later)} later look-ups against {int(old.sum())}"
    better = False
    if isinstance(after, Shortfall):
        why = f"the new weights are not certified by the later labels: {after.reason}"
    elif gained <= lost or binomial.upper_tail(gained, gained + lost, 0.5) > 1 - terms.confidence:
        why = f"the new weights do not certifiably serve more: {counts}"
    else:
        better, why = True, f"the new weights certifiably serve more: {counts}"
    return Refit(
        mix=found,
        better=better,
        why=why,
        fitted=split,
        tested=len(later),
        before=before,
        after=after,
        served_before=int(old.sum()),
        served=int(new.sum()),
    )


def fitted(labels: Sequence[Judged], mix: Mix) -> Mix:
    """The weights that make these labels likeliest, pulled towards those of ``mix``; none of the verifier's below 0.

    Logistic regression with a normal prior by Newton's steps; a weight that would fall below 0 is held there.
    """
    columns = np.array([_columns(label) for label in labels], dtype=np.float64)
    truth = np.array([label.correct for label in labels], dtype=np.float64)
    prior = np.array([mix.bias, mix.score, mix.verifier, mix.doubt], dtype=np.float64)
    weights, lowest = prior.copy(), np.array([-np.inf, 0.0, 0.0, 0.0])
    pull = np.array([1.0, PULL, PULL, PULL])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        slope = columns.T @ (truth - chance) - pull * (weights - prior)
        free = (weights > lowest) | (slope > 0)
        curve = (columns * (chance * (1 - chance))[:, None]).T @ columns + np.diag(pull)
        step = np.zeros(4)
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        step *= min(1.0, 2.0 / max(2.0, float(np.max(np.abs(step)))))
        weights = np.maximum(weights + step, lowest)
        if float(np.max(np.abs(step))) < 1e-9:
            break
    bias, score, verifier, doubt = map(float, weights)
    return checked(replace(mix, bias=bias, score=score, verifier=verifier, doubt=doubt, rows=()))


def score_of(label: Judged, mix: Mix) -> float:
    """The final score of a labelled look-up by some weights."""
    return final_score(mix, label.alone, label.log_odds) if is_grey(mix, label.alone) else label.alone


def _columns(label: Judged) -> tuple[float, float, float, float]:
    own, said = (min(LARGEST, max(-LARGEST, value)) for value in (log_odds_of(label.alone), label.log_odds))
    return 1.0, own, said, min(said, 0.0)


def _sample(labels: Sequence[Judged], mix: Mix) -> Sample:
    scored = [(label, score_of(label, mix)) for label in labels]
    kept = [(label, score) for label, score in scored if score >= MIN_SCORE]
    design = census("refit", floor=MIN_SCORE, drawn=len(kept))
    found = [Label(request=label.id, score=score, correct=label.correct, design="refit") for label, score in kept]
    return Sample.of(found, [design])


def _served(labels: Sequence[Judged], mix: Mix, outcome: Certificate | Shortfall) -> Flags:
    least = outcome.threshold if isinstance(outcome, Certificate) else math.inf
    return np.array([score_of(label, mix) >= least for label in labels], dtype=np.bool_)
