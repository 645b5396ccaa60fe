"""Step 6 of 9: how likely it is that a candidate's answer is right for the new question, as one number.

``features`` turns two texts, their cosine and what the guards found into numbers in [0, 1]; a ``ScoreModel``, read from
``data/score.json`` for each embedder, weighs them. The score only ranks: the promise is made by a threshold on it that
``core.calibrate`` certifies. A better score raises the hit rate and can't weaken the promise.
"""

from __future__ import annotations

import functools
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple

from yamabiko.core.guards import GUARDS, Finding, Reading
from yamabiko.core.guards.entities import names
from yamabiko.core.guards.questions import asked_for
from yamabiko.core.wording import overlap, wording

MIN_SCORE = 0.5
"""Below this, right is less likely than wrong where both are equally common: never served, whatever the labels say."""

NO_RUNNER_UP = 1.0
"""The margin of a candidate that is the only one."""

FEATURES: tuple[str, ...] = (
    "similarity",
    "lead",
    "words",
    "function_words",
    "grams",
    "shared",
    "only_asked",
    "only_stored",
    "replaced",
    "uncovered",
    "near",
    "moved",
    "marks",
    "names",
    "length",
    "brevity",
    "asks_alike",
    "asks_otherwise",
    *(f"guard_{name}" for name in GUARDS),
)
"""Every feature by name, in the order of ``features``; each in [0, 1]. docs/score.md says what each means."""

_GUARD_AT: Mapping[str, int] = MappingProxyType({name: FEATURES.index(f"guard_{name}") for name in GUARDS})


def features(
    asked: Reading, stored: Reading, findings: Sequence[Finding], *, similarity: float, margin: float
) -> tuple[float, ...]:
    """What a model weighs, in the order of ``FEATURES``; each in [0, 1].

    ``findings``: of all guards that are not ``off``. ``similarity``: the cosine. ``margin``: how much it is above the
    cosine of the next most similar other answer in the scope, in [-2, 2]; negative where another one is more similar,
    ``NO_RUNNER_UP`` where there is no other.
    """
    seen = overlap(asked, stored)
    one, other = asked.of(wording), stored.of(wording)
    short, long = sorted((len(one.plain), len(other.plain)))
    lone = len(asked.of(names) ^ stored.of(names))
    kinds, others = asked.of(asked_for), stored.of(asked_for)
    both = bool(kinds) and bool(others)
    cosine = min(1.0, max(0.0, similarity))
    values = [
        cosine,
        _lead(cosine, margin),
        seen.words,
        seen.function,
        seen.grams,
        seen.shared,
        seen.only_asked,
        seen.only_stored,
        seen.replaced,
        seen.uncovered,
        seen.near,
        seen.moved,
        seen.marks,
        lone / (lone + 1),
        short / long if long else 1.0,
        0.5 / (1 + len(one.content)) + 0.5 / (1 + len(other.content)),
        float(both and kinds == others),
        float(both and not kinds & others),
    ]
    values += [0.0] * len(_GUARD_AT)
    for finding in findings:
        at = _GUARD_AT[finding.guard]
        values[at] = max(values[at], finding.strength)
    return tuple(values)


def _lead(cosine: float, margin: float) -> float:
    """The margin as a share of the way from the runner-up to a perfect match: 0.5 where there is no margin.

    A share, since a difference of 0.02 means another thing for every embedder.
    """
    if margin >= NO_RUNNER_UP:
        return 1.0
    if margin < 0:  # by a scale of its own, so that a higher cosine never makes it less
        return _FAR / (2 * _FAR - margin)
    rest = 1 - cosine + 0.02
    return (margin + rest) / (margin + 2 * rest)


_FAR = 0.1


class Ramp(NamedTuple):
    """0 up to ``low``, 1 from ``high`` on, a straight line between them."""

    feature: int
    low: float
    high: float


class Term(NamedTuple):
    """A weight for a ramp, or for several at once: their product."""

    name: str
    ramps: tuple[Ramp, ...]
    weight: float

    def height(self, values: Sequence[float]) -> float:
        """The product of the ramps, in [0, 1]."""
        height = 1.0
        for feature, low, high in self.ramps:
            value = values[feature]
            if value <= low:
                return 0.0
            if value < high:
                height *= (value - low) / (high - low)
        return height


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel:
    """A regularised logistic model: ``score = sigmoid(intercept + sum of weight * height)``.

    ``embedder``: the model id whose cosines it was trained on, as ``Embedder.model_for`` names it. ``trained``: False
    for the general model, which stands in for embedders that nobody measured. ``floor``: the lowest cosine from which
    the score can reach ``MIN_SCORE`` in practice; nothing below is worth looking up. ``spread``: standard deviation of
    an entry's own intercept, for ``with_entry``. ``points``: (score, probability), both rising, for ``p_correct``.
    """

    embedder: str
    version: str
    trained: bool
    floor: float
    spread: float
    intercept: float
    terms: tuple[Term, ...]
    points: tuple[tuple[float, float], ...]

    def score(self, values: Sequence[float]) -> float:
        """How right the candidate looks, in (0, 1). It never falls when the similarity alone rises."""
        total = 0.0
        for term in self.terms:
            weight, height = term.weight, 1.0
            for feature, low, high in term.ramps:
                value = values[feature]
                if value <= low:
                    break
                if value < high:
                    height *= (value - low) / (high - low)
            else:
                total += weight * height
        return _sigmoid(self.intercept + total)

    def contributions(self, values: Sequence[float]) -> tuple[tuple[str, float, float], ...]:
        """(name, value, weight times height) of what moves this score, the greatest first, in units of log odds.

        Terms of one name are added up; ``a x b`` weighs two features together, its value is their height. The
        intercept comes as ("intercept", 1, intercept). All third numbers add up to the log odds of the score.
        """
        moved: dict[str, tuple[float, float]] = {"intercept": (1.0, self.intercept)}
        for term in self.terms:
            height = term.height(values)
            value = values[term.ramps[0].feature] if len(term.ramps) == 1 else height
            moved[term.name] = (value, moved.get(term.name, (0.0, 0.0))[1] + term.weight * height)
        rows = ((name, value, amount) for name, (value, amount) in moved.items() if amount)
        return tuple(sorted(rows, key=lambda row: -abs(row[2])))

    def p_correct(self, score: float) -> float:
        """The calibrated probability that an answer of this score is right, in [0, 1]; never falls with the score.

        Calibrated on public pairs that were chosen for looking alike, one half right: real traffic has another mix,
        and its own labels tell more.
        """
        return _between(self.points, score)


@dataclass(slots=True, kw_only=True)
class EntryLabels:
    """What was learned about one entry's answers.

    ``correct``: how many of them were right. ``expected``: how many the population's scores foretold, their sum.
    ``labels``: how many there are.
    """

    correct: float = 0.0
    expected: float = 0.0
    labels: int = 0

    def add(self, score: float, *, correct: bool) -> None:
        """Counts one more label of an answer that had this population score."""
        self.correct += correct
        self.expected += score
        self.labels += 1


def with_entry(score: float, seen: EntryLabels | None, *, spread: float) -> float:
    """The score with the entry's own intercept: entries with labels specialise, cold ones keep the population's score.

    Log odds get a term u ~ N(0, spread^2) per entry. Given its labels, with the mean score q = expected / labels
    standing in for each single one, u maximises ``correct u - labels log(1 - q + q e^u) - u^2 / (2 spread^2)``; this
    takes Newton's steps from 0 until they no longer matter. Scores and result in (0, 1).

    Source: the posterior mode of a logistic random intercept, e.g. Breslow and Clayton, JASA 88 (1993) 9, section 2.
    """
    if seen is None or not seen.labels or spread <= 0:
        return score
    mean = min(1 - _EDGE, max(_EDGE, seen.expected / seen.labels))
    base, own, precision = _log_odds(mean), 0.0, 1 / (spread * spread)
    for _ in range(20):
        rate = _sigmoid(base + own)
        slope = seen.correct - seen.labels * rate - own * precision
        step = slope / (seen.labels * rate * (1 - rate) + precision)
        own += max(-2.0, min(2.0, step))
        if abs(step) < 1e-9:
            break
    return _sigmoid(_log_odds(score) + own)


_EDGE = 1e-6


def model_for(embedder: str) -> ScoreModel:
    """The model trained on the cosines of the embedder that ``Embedder.model_for`` names, or the general one."""
    models = _models()
    return models[embedder] if embedder in models else _general(embedder)


@functools.cache
def _models() -> Mapping[str, ScoreModel]:
    return {name: _model(name, found, trained=True) for name, found in _data()["models"].items()}


@functools.lru_cache(maxsize=16)
def _general(embedder: str) -> ScoreModel:
    return _model(embedder, _data()["general"], trained=False)


@functools.cache
def _data() -> Mapping[str, Any]:
    text = files("yamabiko.core").joinpath("data/score.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    return data


def _model(embedder: str, found: Mapping[str, Any], *, trained: bool) -> ScoreModel:
    place = {name: at for at, name in enumerate(FEATURES)}
    terms = []
    for rows, weight in found["terms"]:
        ramps = tuple(Ramp(place[name], low, high) for name, low, high in rows)
        if weight:
            terms.append(Term(" x ".join(name for name, *_ in rows), ramps, weight))
    return ScoreModel(
        embedder=embedder,
        version=found["version"],
        trained=trained,
        floor=found["floor"],
        spread=found["spread"],
        intercept=found["intercept"],
        terms=tuple(terms),
        points=tuple((score, chance) for score, chance in found["p_correct"]),
    )


def _between(points: Sequence[tuple[float, float]], x: float) -> float:
    """The height at ``x`` of the line through the points; level beyond the first and the last."""
    at = bisect_right(points, (x, math.inf))
    if at == 0:
        return points[0][1]
    if at == len(points):
        return points[-1][1]
    (left, low), (right, high) = points[at - 1], points[at]
    return low + (high - low) * (x - left) / (right - left)


def _sigmoid(x: float) -> float:
    """In (0, 1) for any x: beyond +-30 doubles could no longer tell it from 0 or 1."""
    return 1 / (1 + math.exp(-min(30.0, max(-30.0, x))))


def _log_odds(chance: float) -> float:
    chance = min(1 - 1e-13, max(1e-13, chance))
    return math.log(chance / (1 - chance))
