"""What labelled pairs show of one embedding model's decisions: the figures behind ``yamabiko tune``, pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from yamabiko.cli.judging import Judged
from yamabiko.core import binomial
from yamabiko.core.calibrate import Certificate, Shortfall, Terms, certify
from yamabiko.core.guards import GUARDS, VETO_STRENGTH, Mode
from yamabiko.core.sampling import Floats, Label, Sample, census

Method: TypeAlias = Literal["cosine", "guarded", "score"]

METHODS: Mapping[Method, str] = {"cosine": "cosine alone", "guarded": "cosine and guards", "score": "guards and score"}
"""Three ways to decide, and what they are called in reports."""

BUDGETS = (0.005, 0.01, 0.02, 0.05)
"""Wrong shares of the hits at which methods are compared."""

POINTS = 200
"""At most so many thresholds make a curve."""

FEWEST = 5
"""Of fewer pairs that a guard alone decides, nothing is said."""

_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a threshold serves of the pairs, and the Clopper-Pearson interval of its wrong share."""

    threshold: float
    hits: int
    wrong: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pairs of similar p_correct: its mean, and how many there are and are right, with the interval of that share."""

    p_correct: float
    pairs: int
    correct: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Pairs that differ in one respect, and what each method serves of them at equally many hits overall.

    ``served`` and ``wrong``: right and wrong answers by method.
    """

    name: str
    right: int
    different: int
    served: Mapping[Method, int]
    wrong: Mapping[Method, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFigures:
    """What one guard found, strongly enough for a veto, in pairs that are different and in pairs that are right.

    ``alone`` and ``alone_right``: pairs that it alone decides, as no other guard vetoes them and their score would be
    served, and how many of them are right. ``advice`` is the mode that they speak for, in ``why``.
    """

    name: str
    mode: Mode
    caught: int
    harmed: int
    alone: int
    alone_right: int
    advice: Mode
    why: str

    @property
    def changes(self) -> bool:
        """Whether the pairs speak for another mode."""
        return self.advice != self.mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """All figures of one model's pairs.

    ``threshold``: the score from which on answers are taken to be served in ``axes`` and ``guards``; ``basis`` says
    where it comes from: "certificate", "shipped", or "pairs", the lowest that keeps the budget on these very pairs.
    """

    model: str
    judged: Sequence[Judged] = field(repr=False)
    outcome: Certificate | Shortfall
    shipped: float | None
    threshold: float | None
    basis: Literal["certificate", "shipped", "pairs", "none"]
    curves: Mapping[Method, Sequence[Point]] = field(repr=False)
    at_budgets: Mapping[Method, Sequence[Point | None]]
    reliability: Sequence[Bin] = field(repr=False)
    axes: Sequence[Axis] = field(repr=False)
    guards: Sequence[GuardFigures] = field(repr=False)

    @property
    def right(self) -> int:
        """How many pairs are labelled right."""
        return sum(one.pair.correct for one in self.judged)

    def served(self) -> list[Judged]:
        """The pairs whose answers would be served, the highest score first."""
        if self.threshold is None:
            return []
        found = (one for one in self.judged if not one.weighed.vetoes and one.weighed.score >= self.threshold)
        return sorted(found, key=lambda one: -one.weighed.score)


def tuned(
    model: str,
    judged: Sequence[Judged],
    *,
    terms: Terms,
    modes: Mapping[str, Mode],
    shipped: float | None,
    digest: str,
) -> Tuned:
    """The figures of pairs that one model embeds. ``digest`` names the file that they come from."""
    outcome = certified(judged, terms, digest)
    curves = {method: curve(*column(judged, method), confidence=terms.confidence) for method in METHODS}
    servable = dict(curves) | {"score": [point for point in curves["score"] if point.threshold >= terms.min_score]}
    at_budgets = {method: [_best(servable[method], budget) for budget in BUDGETS] for method in METHODS}
    within = _best(servable["score"], terms.max_error_rate)
    threshold: float | None
    basis: Literal["certificate", "shipped", "pairs", "none"]
    if isinstance(outcome, Certificate):
        threshold, basis = outcome.threshold, "certificate"
    elif shipped is not None:
        threshold, basis = shipped, "shipped"
    else:
        threshold, basis = (within.threshold, "pairs") if within else (None, "none")
    return Tuned(
        model=model,
        judged=judged,
        outcome=outcome,
        shipped=shipped,
        threshold=threshold,
        basis=basis,
        curves=curves,
        at_budgets=at_budgets,
        reliability=reliability(judged, terms.confidence),
        axes=axes(judged, threshold),
        guards=[_guard(name, judged, modes[name], threshold, terms.max_error_rate) for name in GUARDS],
    )


def certified(judged: Sequence[Judged], terms: Terms, digest: str) -> Certificate | Shortfall:
    """What these labels certify, taken as all would-be hits of some traffic."""
    allowed = [one for one in judged if not one.weighed.vetoes and one.weighed.score >= terms.min_score]
    design = census(f"file:{digest}", floor=terms.min_score, drawn=len(allowed), requests=len(judged))
    labels = [
        Label(request=one.pair.id, score=one.weighed.score, correct=one.pair.correct, design=design.id)
        for one in allowed
    ]
    return certify(Sample.of(labels, [design]), terms)


def column(judged: Sequence[Judged], method: Method) -> tuple[Floats, Floats]:
    """What a method compares with its threshold, and whether the answer is wrong (1), of what it allows."""
    allowed = [one for one in judged if method == "cosine" or not one.weighed.vetoes]
    values = [one.weighed.score if method == "score" else one.weighed.similarity for one in allowed]
    return np.array(values, dtype=np.float64), np.array([not one.pair.correct for one in allowed], dtype=np.float64)


def curve(values: Floats, wrong: Floats, *, confidence: float) -> list[Point]:
    """Hits and wrong ones from each threshold on, strict to loose."""
    order = np.argsort(-values, kind="stable")
    ranked, errors = values[order], np.cumsum(wrong[order])
    places = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], [True] * bool(len(ranked))))
    if len(places) > POINTS:
        places = places[np.unique(np.linspace(0, len(places) - 1, POINTS).round().astype(np.intp))]
    points = []
    for place in places.tolist():
        hits, bad = place + 1, int(errors[place])
        low, high = binomial.interval(bad, hits, confidence)
        points.append(Point(threshold=float(ranked[place]), hits=hits, wrong=bad, low=low, high=high))
    return points


def _best(points: Sequence[Point], budget: float) -> Point | None:
    """The loosest threshold whose wrong share on these pairs keeps to a budget."""
    return next((point for point in reversed(points) if point.wrong <= budget * point.hits), None)


def reliability(judged: Sequence[Judged], confidence: float) -> list[Bin]:
    """Pairs without a veto in ten bins of equal width by p_correct; empty ones are left out."""
    bins = []
    allowed = [one for one in judged if not one.weighed.vetoes]
    for at in range(_BINS):
        inside = [one for one in allowed if min(_BINS - 1, int(one.weighed.p_correct * _BINS)) == at]
        if inside:
            correct = sum(one.pair.correct for one in inside)
            low, high = binomial.interval(correct, len(inside), confidence)
            mean = float(np.mean([one.weighed.p_correct for one in inside]))
            bins.append(Bin(p_correct=mean, pairs=len(inside), correct=correct, low=low, high=high))
    return bins


def axes(judged: Sequence[Judged], threshold: float | None) -> list[Axis]:
    """What is served by axis; each cosine with the threshold that serves as much in all as the score does."""
    by_score = [one for one in judged if not one.weighed.vetoes and _reaches(one, threshold)]

    def as_many(allowed: Callable[[Judged], bool]) -> list[Judged]:
        ranked = sorted(filter(allowed, judged), key=lambda one: -one.weighed.similarity)
        return ranked[: len(by_score)]

    served: Mapping[Method, list[Judged]] = {
        "cosine": as_many(lambda _: True),
        "guarded": as_many(lambda one: not one.weighed.vetoes),
        "score": by_score,
    }
    of = {name: (Counter[bool](), {method: Counter[bool]() for method in METHODS}) for name in sorted(_axes_of(judged))}
    for one in judged:
        of[one.pair.axis][0][one.pair.correct] += 1
    for method, found in served.items():
        for one in found:
            of[one.pair.axis][1][method][one.pair.correct] += 1
    return [
        Axis(
            name=name,
            right=pairs[True],
            different=pairs[False],
            served={method: counts[True] for method, counts in by_method.items()},
            wrong={method: counts[False] for method, counts in by_method.items()},
        )
        for name, (pairs, by_method) in of.items()
    ]


def _axes_of(judged: Sequence[Judged]) -> set[str]:
    return {one.pair.axis for one in judged}


def _reaches(one: Judged, threshold: float | None) -> bool:
    return threshold is not None and one.weighed.score >= threshold


def _guard(
    name: str, judged: Sequence[Judged], mode: Mode, threshold: float | None, max_error_rate: float
) -> GuardFigures:
    found = [one for one in judged if _strongly(one, name)]
    alone = [
        one.pair.correct
        for one in found
        if _reaches(one, threshold) and all(veto.guard == name for veto in one.weighed.vetoes)
    ]
    advice, why = _advice(mode, len(alone), sum(alone), max_error_rate)
    return GuardFigures(
        name=name,
        mode=mode,
        caught=sum(not one.pair.correct for one in found),
        harmed=sum(one.pair.correct for one in found),
        alone=len(alone),
        alone_right=sum(alone),
        advice=advice,
        why=why,
    )


def _strongly(one: Judged, name: str) -> bool:
    return any(finding.guard == name and finding.strength >= VETO_STRENGTH for finding in one.weighed.findings)


def _advice(mode: Mode, alone: int, right: int, max_error_rate: float) -> tuple[Mode, str]:
    if mode == "off":
        return mode, "it is off, and was not asked"
    if alone < FEWEST:
        return mode, f"it alone decides {alone} pairs: too few to tell"
    wrong = alone - right
    told = f"of {alone} pairs that it alone decides, {wrong} are different"
    if wrong <= max_error_rate * alone:
        return "feature", f"{told}, within the budget"
    if mode == "feature" and 2 * wrong > alone:
        return "veto", f"{told}, more than half"
    return mode, told
