"""The certificate: from which score on answers may be served, so that a stated error rate holds.

The score may be anything; the promise comes from an exact test on labels that were drawn at random. A quarter of the
labels, 400 at most, is a pilot: it places up to three thresholds and is then forgotten. The others test them, from
strict to loose, each at the full level, until the first that fails; the last that passed is the threshold. That order
was fixed before the test, so the chance that any accepted threshold breaks the promise is at most 1 - confidence.

Source: Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, arXiv 2110.01052: fixed sequence testing, with the
exact binomial p-value P(Binomial(m, rate) <= k) of k errors among m labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from yamabiko.core import binomial
from yamabiko.core.sampling import Floats, Sample
from yamabiko.errors import ConfigurationError

Unit: TypeAlias = Literal["hit", "request"]

PILOT_LARGEST = 400
PILOT_SHARE = 0.25
CANDIDATES = 3
AIMS = (1.3, 0.3, -0.5)
"""How surely each candidate should pass, in standard deviations, by what the pilot saw: strict, middle, loose.

Measured with the pilot's share: benchmarks/certificate.py.
"""
_CUTS = 50
_APERY = 1.2020569031595942
"""The sum of 1 / n**3 over all n >= 1."""
_MOST_LABELS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """How far the verdicts behind the labels can be trusted.

    ``false_accept``: upper bound on P(judged correct | wrong). ``false_reject``: lower bound on P(judged wrong |
    correct); 0 is always safe, and more lets a strict judge be used at all. ``doubt``: probability that either bound is
    wrong; it is taken from the certificate's own. The worst judge counts where several were asked.
    """

    false_accept: float = 0.0
    false_reject: float = 0.0
    doubt: float = 0.0

    def __post_init__(self) -> None:
        if min(self.false_accept, self.false_reject) < 0 or not self.false_accept + self.false_reject < 1:
            raise ConfigurationError("a judge whose errors add up to 1 tells nothing: label with another judge")
        if not 0 <= self.doubt < 1:
            raise ConfigurationError(f"doubt must be in [0, 1), not {self.doubt}")

    @classmethod
    def measured(cls, *, wrong: int, accepted: int, correct: int, rejected: int, confidence: float = 0.99) -> Judge:
        """Bounds from pairs whose truth is known: ``accepted`` of ``wrong``, and ``rejected`` of ``correct`` ones."""
        each = 1 - (1 - confidence) / 2
        return cls(
            false_accept=binomial.upper_bound(accepted, wrong, each),
            false_reject=binomial.lower_bound(rejected, correct, each),
            doubt=1 - confidence,
        )

    def seen(self, rate: float, on: Unit) -> float:
        """The lowest rate of "judged wrong" that a true error rate above ``rate`` could show.

        With r wrong: r (1 - false_accept) + (1 - r) false_reject per hit. Per request the second term is left out: what
        share of requests are correct hits is not known.
        """
        rejected = (1 - rate) * self.false_reject if on == "hit" else 0.0
        return rate * (1 - self.false_accept) + rejected

    def true(self, seen: float, on: Unit) -> float:
        """The highest true error rate that could show as ``seen``: the inverse of ``seen``."""
        rejected = self.false_reject if on == "hit" else 0.0
        return min(1.0, max(0.0, (seen - rejected) / (1 - self.false_accept - rejected)))


TRUSTED = Judge()
"""A judge that is never wrong: a person's verdicts, or simulations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What a certificate was made for. A change of any of them ends it."""

    score: str = ""
    embedder: str = ""
    model: str = ""
    knowledge: str = ""
    guards: str = ""

    def changes(self, other: Versions) -> str:
        """What differs in ``other``, in words; empty when nothing does."""
        names = ("score", "embedder", "model", "knowledge", "guards")
        return ", ".join(name for name in names if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is to be certified, for whom, and under which circumstances.

    ``max_error_rate`` in (0, 0.5]; ``confidence`` in [0.8, 1). ``on``: "hit" bounds the wrong share of the answers that
    are served by meaning; "request" the wrong answers per request that reaches the tier by meaning. ``min_score``: no
    threshold lies below. ``attempt``: 0 for a single test; where labels are tested again and again as they come,
    the how-manieth time this is since the versions changed, from 1: attempt a gets 1 / (zeta(3) a**3) of the doubt, so
    that all attempts together keep to 1 - confidence. ``created``: seconds UTC epoch. Raises ``ConfigurationError``.
    """

    max_error_rate: float
    confidence: float
    on: Unit = "hit"
    judge: Judge = TRUSTED
    namespace: str = ""
    min_score: float = 0.5
    attempt: int = 0
    created: float = 0.0
    versions: Versions = Versions()

    def __post_init__(self) -> None:
        if not 0 < self.max_error_rate <= 0.5:
            raise ConfigurationError(f"max_error_rate must be in (0, 0.5], not {self.max_error_rate}")
        if not 0.8 <= self.confidence < 1:
            raise ConfigurationError(f"confidence must be in [0.8, 1), not {self.confidence}")
        if self.on not in ("hit", "request"):
            raise ConfigurationError(f'on must be "hit" or "request", not {self.on!r}')
        if self.attempt < 0 or not math.isfinite(self.min_score):
            raise ConfigurationError("attempt must be 0 or more, and min_score a number")
        if 1 - self.confidence - self.judge.doubt <= 1e-12:
            raise ConfigurationError("the judge's doubt uses up all of the certificate's: measure it on more pairs")

    @property
    def level(self) -> float:
        """The chance of a wrong certificate that this one test may have."""
        share = 1.0 if self.attempt == 0 else 1 / (_APERY * self.attempt**3)
        return (1 - self.confidence - self.judge.doubt) * share

    @property
    def tested_rate(self) -> float:
        """The rate of "judged wrong" that is tested: the promised rate with the judge's errors taken in."""
        return self.judge.seen(self.max_error_rate, self.on)

    @property
    def fewest_trials(self) -> int:
        """How many hits or requests, none wrong, a test takes at least."""
        return binomial.fewest_trials(self.tested_rate, 1 - self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdTest:
    """One threshold's test: ``wrong`` among ``trials`` against ``rate``.

    On hits the trials are labels and the rate is ``Terms.tested_rate``. On requests they are all requests, and the rate
    is that times the share of requests whose wrong hit would have been counted.
    """

    threshold: float
    trials: int
    wrong: int
    rate: float
    p_value: float

    @classmethod
    def of(cls, threshold: float, trials: int, wrong: int, rate: float) -> ThresholdTest:
        """Run the test."""
        p_value = binomial.cdf(wrong, trials, rate) if trials else 1.0
        return cls(threshold=threshold, trials=trials, wrong=wrong, rate=rate, p_value=p_value)

    def sound(self, terms: Terms) -> bool:
        """Whether the p-value follows from the counts, up to rounding, and the rate from the terms."""
        same = ThresholdTest.of(self.threshold, self.trials, self.wrong, self.rate).p_value
        rated = self.rate == terms.tested_rate if terms.on == "hit" else self.rate <= terms.tested_rate
        return rated and math.isclose(self.p_value, same, rel_tol=1e-6, abs_tol=1e-300)

    @property
    def counts(self) -> tuple[float, int, int]:
        """Threshold, trials and wrong ones."""
        return self.threshold, self.trials, self.wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A threshold under which the promise of ``terms`` holds, with the numbers that show it.

    ``tests``: every threshold tested, strict to loose; the last that passed is ``threshold``. ``error_upper``: upper
    bound on the error rate at it, at the same confidence and for the threshold as selected, judge included: the
    Clopper-Pearson bound where every test passed, else the promised rate. ``pilot`` and ``labels``: how many were used
    to place and were there at all. ``digest``: the sample's. Counts that don't show what is claimed are refused.
    """

    terms: Terms
    threshold: float
    tests: tuple[ThresholdTest, ...]
    error_upper: float
    pilot: int
    labels: int
    digest: str

    def __post_init__(self) -> None:
        passed = accepted(self.tests, self.terms.level)
        falls = all(a.threshold > b.threshold for a, b in zip(self.tests, self.tests[1:], strict=False))
        sound = falls and all(test.sound(self.terms) for test in self.tests)
        if not sound or not passed or passed[-1].threshold != self.threshold or not self._bounded:
            raise ConfigurationError("a certificate's counts do not show what it claims: certify again")

    @property
    def _bounded(self) -> bool:
        return 0 <= self.error_upper <= self.terms.max_error_rate

    @property
    def test(self) -> ThresholdTest:
        """The test of the threshold in force."""
        return accepted(self.tests, self.terms.level)[-1]

    @property
    def strict_threshold(self) -> float:
        """Where to serve when in doubt: the strictest threshold that passed; half-way to 1 where that is the same."""
        strict = self.tests[0].threshold
        return strict if strict > self.threshold else self.threshold + max(0.0, 1 - self.threshold) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Why nothing can be certified, in words with numbers.

    ``cause``: "draw", labels of would-be hits are missing altogether; "labels", there are too few; "errors", too many
    of them are wrong. ``needed``: about how many more labels it takes, None where more of the same won't do.
    """

    terms: Terms
    cause: Literal["draw", "labels", "errors"]
    reason: str
    needed: int | None
    tests: tuple[ThresholdTest, ...]
    pilot: int
    labels: int
    digest: str


def certify(sample: Sample, terms: Terms) -> Certificate | Shortfall:
    """Place thresholds on the pilot, test them on the other labels: a certificate, or what is missing for one."""
    size = _expected(sample) if terms.on == "request" else len(sample)
    share = min(PILOT_SHARE, PILOT_LARGEST / size) if size else PILOT_SHARE
    drawn = np.flatnonzero(sample.pilot_lots < share)
    pilot = sample.only(drawn[np.argsort(sample.pilot_lots[drawn], kind="stable")][:PILOT_LARGEST])
    plan = _plan(pilot, terms, len(pilot) / max(1, len(sample)))
    testing = sample.only(sample.pilot_lots >= share)
    # Of hits, the number of labels tells nothing of their outcomes; of requests it does, so the expected one is taken.
    ratio = len(testing) / max(1, len(pilot)) if terms.on == "hit" else (1 - share) / share
    thresholds = _candidates(plan, terms, ratio)
    tests = tuple(_tests(testing, terms, thresholds, share))
    passed = accepted(tests, terms.level)
    if not passed:
        return _shortfall(sample, terms, plan, tests, len(pilot))
    upper = terms.max_error_rate
    if len(passed) == len(thresholds):
        upper = min(upper, _error_upper(passed[-1], terms))
    return Certificate(
        terms=terms,
        threshold=passed[-1].threshold,
        tests=tests,
        error_upper=upper,
        pilot=len(pilot),
        labels=len(sample),
        digest=sample.digest,
    )


def recheck(certificate: Certificate, sample: Sample) -> bool:
    """Whether these labels give this very certificate."""
    again = certify(sample, certificate.terms)
    if isinstance(again, Shortfall) or (again.digest, again.threshold) != (certificate.digest, certificate.threshold):
        return False
    return [test.counts for test in again.tests] == [test.counts for test in certificate.tests]


def accepted(tests: tuple[ThresholdTest, ...], level: float) -> tuple[ThresholdTest, ...]:
    """The tests that passed before the first that failed."""
    passing = [test.p_value <= level for test in tests]
    return tests[: passing.index(False)] if False in passing else tests


def to_json(outcome: Certificate | Shortfall) -> bytes:
    """As JSON, to be stored, shown and checked again."""
    return msgspec.json.encode(outcome)


def from_json(text: bytes | str) -> Certificate:
    """A certificate from JSON. Raises ``ConfigurationError`` for anything that does not hold by its own counts."""
    try:
        return msgspec.json.decode(text, type=Certificate)
    except msgspec.MsgspecError:
        raise ConfigurationError("this is not a certificate in JSON: certify again") from None


def _tests(testing: Sample, terms: Terms, thresholds: list[float], share: float) -> Iterator[ThresholdTest]:
    for threshold in thresholds:
        usable, missing = testing.at(threshold), testing.missing_at(threshold)
        wrong = int(np.count_nonzero(usable & testing.wrong)) + missing
        trials, rate = int(np.count_nonzero(usable)) + missing, terms.tested_rate
        if terms.on == "request":
            trials, counted = _requests(testing, threshold)
            rate *= counted * (1 - share)
            wrong = min(wrong, trials)
        test = ThresholdTest.of(threshold, trials, wrong, rate)
        yield test
        if test.p_value > terms.level:
            return


def _requests(sample: Sample, threshold: float) -> tuple[int, float]:
    """How many requests the designs saw that reach down to a threshold, and the mean probability to be drawn.

    Designs of several rates make k a sum of unlike trials; the binomial of their mean rate has the heavier tail below
    its mean. Source: Hoeffding, Annals of Mathematical Statistics 27 (1956) 713, theorem 5.
    """
    used = [(design.requests, design.common(threshold)) for design in sample.designs]
    requests = sum(count for count, common in used if common > 0)
    return requests, sum(count * common for count, common in used) / requests if requests else 0.0


def _expected(sample: Sample) -> int:
    """How many labels the requests could have brought; known before any outcome, as the pilot's share must be."""
    return math.ceil(sum(design.requests * max(design.below, design.above) for design in sample.designs))


def _error_upper(test: ThresholdTest, terms: Terms) -> float:
    """Upper bound on the true error rate at a threshold that passed as the last of all candidates.

    At the full level for the threshold as selected: where a candidate is bad, all passing has that chance already;
    where none is, only the bound of the last can fail. Source: Hsu and Berger, JASA 94 (1999) 468, theorem 1.
    """
    seen = binomial.upper_bound(test.wrong, test.trials, 1 - terms.level)
    return terms.judge.true(seen * terms.tested_rate / test.rate, terms.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What the pilot saw at each threshold it could place (cuts,), strict first: scores, labels, wrong ones."""

    cuts: Floats
    labels: Floats
    wrong: Floats
    rates: Floats


def _plan(pilot: Sample, terms: Terms, share: float) -> _Plan:
    scores = np.unique(pilot.scores[pilot.scores >= terms.min_score])[::-1]
    if len(scores) > _CUTS:
        scores = scores[np.linspace(0, len(scores) - 1, _CUTS).round().astype(np.intp)]
    common = np.array([pilot.common(cut) for cut in scores.tolist()]).reshape(len(scores), len(pilot.designs))
    rows = (pilot.scores >= scores[:, None]) & (pilot.audit_lots < common[:, pilot.design])
    labels = rows.sum(axis=1, dtype=np.float64)
    wrong = (rows & pilot.wrong).sum(axis=1, dtype=np.float64)
    rates = np.full(len(scores), terms.tested_rate)
    if terms.on == "request":  # per label drawn, so that hits and requests are planned alike
        seen = [_requests(pilot, cut) for cut in scores.tolist()]
        drawn = np.array([requests * counted for requests, counted in seen])
        rates = terms.tested_rate * drawn * share / np.maximum(labels, 1)
    usable = (labels > 0) & (rates > 0)
    return _Plan(cuts=scores[usable], labels=labels[usable], wrong=wrong[usable], rates=rates[usable])


def _sureness(plan: _Plan, terms: Terms, ratio: float, prior: float = 3 / 8) -> Floats:
    """How surely each cut would pass with ``ratio`` times the pilot's labels, in standard deviations (cuts,).

    A heuristic, for planning alone: square roots of counts are nearly normal with variance 1/4.
    """
    trials = plan.labels * ratio
    bounds = binomial.poisson_upper(np.arange(1 + max(0.0, float(np.max(trials * plan.rates)))), terms.level)
    most = np.searchsorted(bounds, trials * plan.rates, side="right") - 1.0
    expected = np.sqrt((plan.wrong + prior) * ratio)
    sure: Floats = 2 * (np.sqrt(np.maximum(most, 0) + 3 / 4) - expected) / math.sqrt(1 + ratio)
    return np.where(most < 0, -np.inf, sure)


def _candidates(plan: _Plan, terms: Terms, ratio: float) -> list[float]:
    """Up to three thresholds, strict to loose: for each aim the loosest cut that should pass that surely."""
    if not len(plan.cuts):
        return []
    sure = _sureness(plan, terms, ratio)
    best = float(np.max(sure))
    if best == -np.inf:
        return []
    places = {int(np.flatnonzero(sure >= min(aim, best))[-1]) for aim in AIMS}
    return [float(plan.cuts[place]) for place in sorted(places)]


def _shortfall(sample: Sample, terms: Terms, plan: _Plan, tests: tuple[ThresholdTest, ...], pilot: int) -> Shortfall:
    told = Shortfall(
        terms=terms,
        cause="labels",
        reason="",
        needed=None,
        tests=tests,
        pilot=pilot,
        labels=len(sample),
        digest=sample.digest,
    )
    promise = f"{terms.max_error_rate:.2%} wrong per {terms.on} at {terms.confidence:.0%} confidence"
    reach = max((design.threshold for design in sample.designs), default=0.0)
    if len(sample) and not np.any(sample.common(reach) > 0):
        reason = "all labels are of rejected pairs: audit some of the would-be hits, drawn at random"
        return replace(told, cause="draw", reason=f"{promise}: {reason}")
    if terms.on == "request" and len(sample) and not any(design.requests for design in sample.designs):
        return replace(told, cause="draw", reason=f"{promise}: the number of requests was not counted")
    needed = _needed(plan, terms, len(sample), pilot)
    if tests:
        test = tests[0]
        seen = f"{test.wrong} of {test.trials} were wrong at the strictest threshold tested, {test.threshold:.4f}"
        most = binomial.most_errors(test.trials, test.rate, 1 - terms.level)
        seen += f", where at most {most} may be" if most >= 0 else ", and so few show nothing even without an error"
    else:
        seen = f"{len(sample)} labels are too few to test any threshold"
    if needed is None:
        reason = f"{seen}; more labels of this kind won't do, a better score or stricter guards may"
        return replace(told, cause="errors", reason=f"{promise}: {reason}")
    return replace(told, needed=needed, reason=f"{promise}: {seen}; about {needed} more labels are needed")


def _needed(plan: _Plan, terms: Terms, labels: int, pilot: int) -> int | None:
    """About how many more labels until the best cut passes with a chance of some 80 %; None where none ever will."""
    least = math.ceil(terms.fewest_trials / (1 - PILOT_SHARE))
    enough = plan.labels * plan.rates >= 1 if len(plan.cuts) else np.zeros(0, dtype=np.bool_)
    if not len(plan.cuts) or labels < least:
        return least - labels if labels < least else labels
    if not np.any(enough):
        trials = float(np.max(plan.labels * plan.rates)) / terms.tested_rate * (labels / pilot - 1)
        return max(math.ceil(labels * (1.1 * terms.fewest_trials / max(trials, 1) - 1)), math.ceil(labels / 10))

    def enough_at(total: float) -> bool:
        share = min(PILOT_SHARE, PILOT_LARGEST / total)
        ratio = (1 - share) * total / pilot
        return bool(np.any(_sureness(plan, terms, ratio, prior=0.0)[enough] * math.sqrt(1 + ratio) >= 1.68))

    few, many = float(labels), float(max(_MOST_LABELS, 2 * labels))
    if not enough_at(many):
        return None
    while many > 1.05 * few:
        between = math.sqrt(few * many)
        few, many = (few, between) if enough_at(between) else (between, many)
    return max(math.ceil(many) - labels, math.ceil(labels / 10))
