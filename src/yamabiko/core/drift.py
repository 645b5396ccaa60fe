"""Drift: whether the hits being served still keep the promise, watched without end.

Every audited hit is a bet against "the error rate is at most the budget". The stake grows when answers are wrong more
often than that and shrinks when they are not; while the promise holds nobody can expect to win. So the chance that the
wealth E ever reaches 20 is at most 1 in 20, and 1 in 100 for 100, however often one looks.

A bet that starts on the first day has lost almost everything when the world changes on the hundredth. Hence the stake
is spread over starts, one each ``SPAN`` audits, and at each start over several rates of error that might be true.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from yamabiko.core.binomial import Floats
from yamabiko.core.calibrate import PILOT_SHARE, Certificate, Terms, Versions
from yamabiko.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Flags: TypeAlias = NDArray[np.bool_]
else:
    Flags: TypeAlias = Any

TIGHTEN = 20.0
"""E from which on only the strict threshold serves: false with probability 1/20 at most."""
STOP = 100.0
"""E from which on nothing is served by meaning: false with probability 1/100 at most."""
SPAN = 100
"""Audits from one start to the next. Measured: benchmarks/certificate.py."""
ODDS = (2.0, 4.0, 10.0)
"""What is bet on: the odds of an error, as multiples of the budget's. Measured: benchmarks/certificate.py."""

RECALIBRATE_LABELS = 500
RECALIBRATE_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EProcess:
    """The wealth of a bet against an error rate of at most ``budget``, after ``trials`` audits with ``wrong`` errors.

    ``starts``: per start, how many (trials, errors) it has seen. ``peak``: the highest E so far, which is what counts:
    an alarm does not pass away. Begin one with ``against``, and a new one with every new certificate.

    Source: Waudby-Smith and Ramdas, Estimating Means of Bounded Random Variables by Betting, arXiv 2010.09686: the
    capital process K_t = prod (1 + lambda (X_i - budget)), here with lambda = (p - budget) / (budget (1 - budget)) for
    each p bet on, a supermartingale for any mean up to the budget; Ville's inequality: P(sup E >= x) <= 1 / x.
    """

    budget: float
    trials: int = 0
    wrong: int = 0
    starts: tuple[tuple[int, int], ...] = ((0, 0),)
    peak: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise ConfigurationError(f"a budget must be in (0, 1), not {self.budget}")

    @classmethod
    def against(cls, terms: Terms) -> EProcess:
        """Bets that hits are judged wrong more often than a certificate of these terms was tested against."""
        return cls(budget=terms.tested_rate)

    def after(self, wrong: bool) -> EProcess:
        """The process after one more audited hit; feed it in the order in which they were drawn.

        Of a promise per request, feed it every request that an audit would have drawn, wrong where it was a wrong hit.
        """
        starts = tuple((trials + 1, errors + wrong) for trials, errors in self.starts)
        trials = self.trials + 1
        later = replace(self, trials=trials, wrong=self.wrong + wrong, starts=starts)
        peak = max(self.peak, later.e_value)
        return replace(later, peak=peak, starts=(*starts, (0, 0)) if trials % SPAN == 0 else starts)

    def after_all(self, outcomes: Iterable[bool]) -> EProcess:
        """The process after several audits, in the order in which they were drawn."""
        process = self
        for wrong in outcomes:
            process = process.after(wrong)
        return process

    @property
    def e_value(self) -> float:
        """The wealth now, from 1; may be astronomically large but is never infinite."""
        counts = np.array(self.starts, dtype=np.float64)
        return float(_wealth(counts[:, 0], counts[:, 1], self.budget))


def e_values(outcomes: Flags, budget: float) -> Floats:
    """E after each audit (..., time) of streams of audits (..., time), True for wrong: the same as ``EProcess``."""
    time = outcomes.shape[-1]
    errors = np.concatenate([np.zeros((*outcomes.shape[:-1], 1)), np.cumsum(outcomes, axis=-1)], axis=-1)
    result = np.empty(outcomes.shape)
    for now in range(1, time + 1):
        begun = np.arange(0, now, SPAN)
        result[..., now - 1] = _wealth(now - begun.astype(np.float64), errors[..., [now]] - errors[..., begun], budget)
    return result


def labels_for_attempt(attempt: int, terms: Terms) -> int:
    """How many labels an attempt to certify waits for, the first being 1: half as many again each time, 500 at most.

    Fixed before any label is known. Whoever tests when the labels look good has chosen the sample by its outcome, and
    ``Terms.attempt`` no longer makes up for it.
    """
    # A fifth more than it takes: how many labels the pilot takes and how many lie at a threshold are chance.
    labels = math.ceil(1.2 * replace(terms, attempt=1).fewest_trials / (1 - PILOT_SHARE))
    for _ in range(1, attempt):
        labels += min(RECALIBRATE_LABELS, labels // 2)
    return labels


def recalibration_due(certificate: Certificate, *, now: float, labels_since: int, versions: Versions) -> str:
    """Why it is time to certify again, in words; empty when it is not.

    ``labels_since``: labels that came after the certificate's. ``now``: seconds UTC epoch.
    """
    changes = certificate.terms.versions.changes(versions)
    if changes:
        return f"another {changes} is in use than the certificate was made for"
    if labels_since >= RECALIBRATE_LABELS:
        return f"{labels_since} labels have come since the certificate"
    age = now - certificate.terms.created
    if age >= RECALIBRATE_SECONDS:
        return f"the certificate is {age / 86400:.1f} days old"
    return ""


def _wealth(trials: Floats, errors: Floats, budget: float) -> Floats:
    """E (...) from what each start has seen (..., starts), the oldest first.

    Start j holds 1 / ((j + 1) (j + 2)) of the stake; what the starts to come will hold is kept as it is.
    """
    odds = budget / (1 - budget) * np.array(ODDS)
    bets = odds / (1 + odds)
    gain, loss = np.log(bets / budget), np.log((1 - bets) / (1 - budget))
    logs = errors[..., None] * gain + (trials - errors)[..., None] * loss
    place = np.arange(trials.shape[-1])
    shares = 1 / ((place + 1.0) * (place + 2.0))
    wealth = np.sum(shares * np.mean(np.exp(np.minimum(logs, 600.0)), axis=-1), axis=-1)
    result: Floats = wealth + 1 / (trials.shape[-1] + 1.0)
    return result
