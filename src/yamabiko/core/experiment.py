"""Experiments: two policies side by side, told apart by a test that may be read at any time, any number of times.

A caller belongs to an arm for good, by a keyed hash of its name. What was randomised is what is counted: each caller is
one unit, with one value in [0, 1] per metric. Requests of one caller are alike, and counting each of them would find
differences where there are none.

Both tests are bets against "the arms do not differ" that pay off only if they do. What one has shown at any look holds
for all looks together with the stated confidence; looking again costs nothing. ``effect`` needs nothing but the random
arms, so hit rates may rise as the cache fills; ``compare`` is for error rates among hits, of which the arms may have
unlike numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from yamabiko.core.binomial import Floats, log_gamma
from yamabiko.core.sampling import lot
from yamabiko.errors import ConfigurationError

Verdict: TypeAlias = Literal["higher", "lower", "undecided"]

_BETS = 8
"""Sizes of bets, each half the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A comparison of a policy (treatment) with the present one (control).

    ``key``: secret bytes, so that no caller can choose its arm by its name. ``share``: of callers in the treatment, in
    (0, 1); it may not change while the experiment runs. ``confidence`` in [0.5, 1): that everything the report ever
    says of both metrics is true. ``expected_hit_rate``: a guess in [0, 1], made before; a good one saves callers, and
    any keeps the promise. Raises ``ConfigurationError``.
    """

    name: str
    key: bytes = field(repr=False)
    control: str = "control"
    treatment: str = "treatment"
    share: float = 0.5
    confidence: float = 0.95
    expected_hit_rate: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigurationError(f"share must be in (0, 1), not {self.share}")
        if not 0.5 <= self.confidence < 1:
            raise ConfigurationError(f"confidence must be in [0.5, 1), not {self.confidence}")
        if not 0 <= self.expected_hit_rate <= 1:
            raise ConfigurationError(f"expected_hit_rate must be in [0, 1], not {self.expected_hit_rate}")
        if not self.name or self.control == self.treatment:
            raise ConfigurationError("an experiment needs a name, and two different names for its arms")

    def arm_of(self, caller: str) -> str:
        """The arm of a caller, always the same.

        A caller without a name has the control and must not be counted: chance did not put it there.
        """
        if not caller:
            return self.control
        return self.treatment if lot(f"experiment:{self.name}", caller, key=self.key) < self.share else self.control


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many units an arm has for a metric, and the sum of their values, each in [0, 1]."""

    units: int
    total: float

    def __post_init__(self) -> None:
        if self.units < 0 or not -1e-9 <= self.total <= self.units * (1 + 1e-9):
            raise ConfigurationError(f"{self.units} units can't have a sum of {self.total}")

    @property
    def rate(self) -> float:
        """The mean of the units; nan where there are none."""
        return self.total / self.units if self.units else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric in two arms.

    ``low`` and ``high`` bound the treatment's rate minus the control's, at all looks together. ``e_value`` is the
    evidence against equal rates; ``verdict`` says whether the treatment's rate is higher or lower, once 0 is excluded.
    """

    control: Tally
    treatment: Tally
    low: float
    high: float
    e_value: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Both metrics, and a sentence on each. The two share the doubt, so the whole report has the stated confidence."""

    hits: Comparison
    errors: Comparison
    sentences: tuple[str, str]


def report(
    experiment: Experiment,
    *,
    hits: tuple[Tally, Tally],
    errors: tuple[Tally, Tally],
) -> Report:
    """What can be said by now of hit rate and error rate, each given as (control, treatment)."""
    each = 1 - (1 - experiment.confidence) / 2
    share, guess = experiment.share, experiment.expected_hit_rate
    served = effect(*hits, share=share, expected=guess, confidence=each)
    failed = compare(*errors, confidence=each)
    sentences = (_sentence(experiment, "hit rate", served), _sentence(experiment, "error rate", failed))
    return Report(hits=served, errors=failed, sentences=sentences)


def effect(control: Tally, treatment: Tally, *, share: float, expected: float, confidence: float) -> Comparison:
    """What the arm does to the value of a caller; may be called after every unit, and stopped whenever one likes.

    Every caller that was put into an arm by chance counts, whatever happened to it. Nothing is supposed of the values:
    they may drift, rise as the cache fills, or depend on all that came before. The bounds hold for an effect that stays
    the same, and for "at most" or "at least" so much at every time.

    Source: the capital process of arXiv 2010.09686 on (x - expected) (Z - share) / (share (1 - share)), where Z says
    whether the caller is in the treatment: its mean is the effect, as the arm is independent of what either arm would
    give (Horvitz and Thompson, JASA 47 (1952) 663). For x between 0 and 1 the logarithm is concave in x, so that
    counting totals understates the capital.
    """
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence must be in (0, 1), not {confidence}")
    units = np.array([control.units, treatment.units], dtype=np.float64)
    totals = np.clip(np.array([control.total, treatment.total], dtype=np.float64), 0, units)
    bar = math.log(2 / (1 - confidence))

    def capital(difference: float, sign: float) -> float:
        return float(log_capital(units, totals, share=share, expected=expected, difference=difference, sign=sign))

    low, high = _bound(capital, 1.0, bar), _bound(capital, -1.0, bar)
    verdict: Verdict = "higher" if low > 0 else "lower" if high < 0 else "undecided"
    e_value = 0.5 * sum(math.exp(min(capital(0.0, sign), 700.0)) for sign in (1.0, -1.0))
    return Comparison(control=control, treatment=treatment, low=low, high=high, e_value=e_value, verdict=verdict)


def log_capital(
    units: Floats, totals: Floats, *, share: float, expected: float, difference: float, sign: float
) -> Floats:
    """Logarithm of the capital (...) of bets that the effect is above (sign 1) or below (-1) a difference.

    ``units`` and ``totals``: (..., 2), control first. The stake is spread evenly over bets of several sizes.
    """
    gains = np.array(
        [[-(1 - expected) / (1 - share), expected / (1 - share)], [(1 - expected) / share, -expected / share]]
    )
    bets = 0.98 / (1 + np.max(np.abs(gains))) * 2.0 ** -np.arange(_BETS)
    counts = np.stack([totals, units - totals], axis=-1)
    logs = np.log1p(sign * bets[:, None, None] * (gains - difference))
    capital = np.tensordot(counts, logs, axes=([-2, -1], [1, 2]))
    top = np.max(capital, axis=-1, keepdims=True)
    result: Floats = top[..., 0] + np.log(np.mean(np.exp(capital - top), axis=-1))
    return result


def _bound(capital: Callable[[float, float], float], sign: float, bar: float) -> float:
    """The largest (sign 1) or smallest (-1) difference against which the bets have won; -1 or 1 where there is none."""
    beaten, unbeaten = -sign, sign
    if capital(beaten, sign) < bar:
        return beaten
    for _ in range(50):
        between = 0.5 * (beaten + unbeaten)
        beaten, unbeaten = (between, unbeaten) if capital(between, sign) >= bar else (beaten, between)
    return beaten


def compare(control: Tally, treatment: Tally, *, confidence: float) -> Comparison:
    """Compare two arms; may be called after every unit, and stopped whenever one likes.

    Units of an arm are taken to have the same mean given all before them. Their values may be anything in [0, 1].

    Source: per arm the mixture martingale of Robbins, Annals of Mathematical Statistics 41 (1970) 1397: the likelihood
    under a Beta(1/2, 1/2) mixture over that under the true rate p. For values between 0 and 1, p**x (1 - p)**(1 - x)
    is convex in x, so the ratio is a supermartingale as well (Howard, Ramdas, McAuliffe and Sekhon, arXiv 1810.08240:
    bounded variables are sub-Bernoulli). The product over both arms exceeds 1 / (1 - confidence) anywhere in time with
    probability 1 - confidence at most (Ville); the pairs of rates for which it has not are the confidence set.
    """
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence must be in (0, 1), not {confidence}")
    units = np.array([control.units, treatment.units], dtype=np.float64)
    totals = np.clip(np.array([control.total, treatment.total], dtype=np.float64), 0, units)
    bar = float(_log_mixture(units, totals)) + math.log(1 - confidence)
    rates = np.where(units > 0, totals / np.maximum(units, 1), 0.5)
    middle = float(rates[1] - rates[0])
    arms = (control.units, float(totals[0]), treatment.units, float(totals[1]))
    low, high = _edge(arms, bar, middle, -1.0), _edge(arms, bar, middle, 1.0)
    verdict: Verdict = "higher" if low > 0 else "lower" if high < 0 else "undecided"
    log_e = float(log_evidence(units, totals))
    e_value = math.exp(min(log_e, 700.0))
    return Comparison(control=control, treatment=treatment, low=low, high=high, e_value=e_value, verdict=verdict)


def log_evidence(units: Floats, totals: Floats) -> Floats:
    """Logarithm of the evidence (...) against equal rates, from units and totals (..., 2) of both arms.

    The smallest product of both martingales over all rates that the arms might share: at the pooled mean.
    """
    pooled = totals.sum(axis=-1), units.sum(axis=-1)
    result: Floats = _log_mixture(units, totals) - _log_likelihood(*pooled)
    return result


def _log_mixture(units: Floats, totals: Floats) -> Floats:
    """Logarithm of the likelihood of both arms (..., 2) under independent Beta(1/2, 1/2) mixtures."""
    logs = log_gamma(totals + 0.5) + log_gamma(units - totals + 0.5) - log_gamma(units + 1) - math.log(math.pi)
    result: Floats = logs.sum(axis=-1)
    return result


def _log_likelihood(total: Floats, units: Floats) -> Floats:
    """The largest logarithm of the likelihood that one common rate can give."""
    rate = total / np.maximum(units, 1)
    hits = total * np.log(np.where(total > 0, rate, 1))
    result: Floats = hits + (units - total) * np.log(np.where(total < units, 1 - rate, 1))
    return result


def _edge(arms: tuple[int, float, int, float], bar: float, middle: float, end: float) -> float:
    """How far towards ``end`` the difference may lie: where the best likelihood falls to ``bar``, by bisection."""
    if _profile(arms, end) > bar:
        return end
    inside, outside = middle, end
    for _ in range(40):
        between = 0.5 * (inside + outside)
        inside, outside = (between, outside) if _profile(arms, between) > bar else (inside, between)
    return outside


def _profile(arms: tuple[int, float, int, float], difference: float) -> float:
    """The largest log-likelihood of both arms whose rates differ by so much; concave in the control's rate."""
    control, control_total, treatment, treatment_total = arms

    def slope(rate: float) -> float:
        other = rate + difference
        rising = _ratio(control_total, rate) + _ratio(treatment_total, other)
        return rising - _ratio(control - control_total, 1 - rate) - _ratio(treatment - treatment_total, 1 - other)

    low, high = max(0.0, -difference), min(1.0, 1 - difference)
    for _ in range(50):
        rate = 0.5 * (low + high)
        low, high = (rate, high) if slope(rate) > 0 else (low, rate)
    rate = 0.5 * (low + high)
    first = _log_of(control_total, rate) + _log_of(control - control_total, 1 - rate)
    return (
        first
        + _log_of(treatment_total, rate + difference)
        + _log_of(treatment - treatment_total, 1 - rate - difference)
    )


def _ratio(count: float, rate: float) -> float:
    return 0.0 if count <= 0 else count / rate if rate > 0 else math.inf


def _log_of(count: float, rate: float) -> float:
    return 0.0 if count <= 0 else count * math.log(rate) if rate > 0 else -math.inf


def _sentence(experiment: Experiment, metric: str, seen: Comparison) -> str:
    if not seen.treatment.units or not seen.control.units:
        return f"nothing is known yet of the {metric}: an arm has no callers that count"
    rates = f"{seen.treatment.rate:.2%} of {seen.treatment.units} callers, against {seen.control.rate:.2%} of "
    rates += f"{seen.control.units} under {experiment.control}"
    bounds = f"the difference lies between {seen.low:+.2%} and {seen.high:+.2%}"
    told = {
        "higher": "higher than",
        "lower": "lower than",
        "undecided": "not yet to be told apart from",
    }[seen.verdict]
    return f"the {metric} of {experiment.treatment} is {told} that of {experiment.control}: {rates}; {bounds}"
