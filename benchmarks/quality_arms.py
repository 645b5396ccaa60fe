"""The caches that benchmarks/quality.py compares: each is asked one question after another. Nothing runs here.

An arm has a store of its own, which begins with what is stored in the stream. It is asked (``ask``); where it does not
serve, the model answers and ``learn`` stores that answer under the question: the insertion rule of every arm but
vCache, which by its paper stores only where the stored answer was wrong. All arms have the same exact tier, so that
what differs is the decision about hits by meaning. Candidates come from vectors made beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

import quality_vcache as vcache
from quality_streams import Ints, Pool, Stream
from quality_tally import Tally, Tier
from yamabiko.core import guards
from yamabiko.core.score import NO_RUNNER_UP, EntryLabels, ScoreModel, features, with_entry
from yamabiko.types import Policy

CANDIDATES = 5


class Served(NamedTuple):
    """An answer from the cache: the place of the text that it was made for, and how it was found."""

    entry: int
    tier: Tier
    score: float = 1.0


class Arm(Protocol):
    """One cache, one run. ``judged`` and ``audits`` are counted by those that have a judge."""

    name: str
    judged: int
    audits: int

    def ask(self, question: int, truth: Ints) -> Served | None:
        """What it serves for a text of the pool; None where the model is asked. ``truth``: what a judge would know."""

    def learn(self, question: int, truth: Ints) -> None:
        """The model has answered the question that was just not served."""


def replay(arm: Arm, stream: Stream, pool: Pool) -> Tally:
    """Ask everything in order."""
    tally = Tally()
    for at, question in enumerate(stream.requests.tolist()):
        truth = stream.truth(at)
        served = arm.ask(question, truth)
        if served is None:
            tally.miss()
            arm.learn(question, truth)
        else:
            right = bool(truth[served.entry] == truth[question])
            tally.hit(served.tier, right=right, kind=pool.names[pool.dataset[question]])
    tally.judged = arm.judged
    tally.generated += arm.audits
    return tally


class Shelf:
    """What is stored: the answers' places by the texts they are stored under."""

    def __init__(self, pool: Pool, stored: Ints) -> None:
        self._pool = pool
        self._stored = np.zeros(len(pool), dtype=bool)
        self._stored[stored] = True

    def __contains__(self, question: int) -> bool:
        return bool(self._stored[question])

    def add(self, question: int) -> None:
        self._stored[question] = True

    def candidates(self, question: int, count: int = CANDIDATES) -> list[tuple[int, float]]:
        """(place, cosine) of the nearest that are stored, nearest first."""
        near = self._pool.near[question]
        found = np.flatnonzero(self._stored[near] & (near >= 0))[:count]
        return list(zip(near[found].tolist(), self._pool.cosine[question][found].tolist(), strict=True))


Ranked = list[tuple[int, float]]
"""(place, score) of candidates that may answer, best first."""


class Threshold:
    """Serves the best of the ranked candidates from a threshold on."""

    def __init__(
        self, name: str, pool: Pool, stored: Ints, rank: Callable[[int, Ranked], Ranked], threshold: float
    ) -> None:
        self.name, self.judged, self.audits = name, 0, 0
        self._shelf = Shelf(pool, stored)
        self._rank = rank
        self._threshold = threshold

    def ask(self, question: int, truth: Ints) -> Served | None:  # noqa: ARG002 - nobody tells it
        if question in self._shelf:
            return Served(question, "exact")
        ranked = self._rank(question, self._shelf.candidates(question))
        if ranked and ranked[0][1] >= self._threshold:
            return Served(ranked[0][0], "semantic", ranked[0][1])
        return None

    def learn(self, question: int, truth: Ints) -> None:  # noqa: ARG002
        self._shelf.add(question)


def by_cosine(_: int, candidates: Ranked) -> Ranked:
    """The nearest, and nothing else."""
    return candidates[:1]


def gptcache(_: int, candidates: Ranked) -> Ranked:
    """GPTCache 0.1.44 with SearchDistanceEvaluation as it comes: max_distance 4 less the squared L2 distance, of 4.

    Its config's similarity_threshold 0.8 asks for 3.2: a squared distance of at most 0.8, a cosine of 0.6 or more.
    """
    return [(place, (4.0 - 2.0 * (1.0 - cosine)) / 4.0) for place, cosine in candidates[:1]]


GPTCACHE_THRESHOLD = 0.8


def redisvl(_: int, candidates: Ranked) -> Ranked:
    """RedisVL 0.28 SemanticCache as it comes: cosine distance at most 0.1."""
    return [(place, 1.0 - (1.0 - cosine)) for place, cosine in candidates[:1]]


REDISVL_THRESHOLD = 0.9


@dataclass(slots=True)
class Seen:
    """What guards and wording make of one pair of texts, made once however many arms and streams meet it."""

    vetoed: bool
    values: tuple[float, ...] | None


class Pairs:
    """Guards and features of the pairs of one pool. ``model``: None where only guards are asked for."""

    def __init__(self, pool: Pool, model: ScoreModel | None) -> None:
        self.model = model
        self._pool = pool
        self._seen: dict[tuple[int, int], Seen] = {}
        self._lead = {}

    def vetoed(self, asked: int, stored: int) -> bool:
        """Whether a guard forbids it."""
        return self._pair(asked, stored).vetoed

    def guarded(self, asked: int, candidates: Ranked) -> Ranked:
        """The candidates that no guard forbids, by cosine."""
        return [(place, cosine) for place, cosine in candidates if not self.vetoed(asked, place)]

    def scored(self, asked: int, candidates: Ranked) -> Ranked:
        """The candidates that no guard forbids, by score; see ``core.decide``."""
        floor = self.model.floor - Policy().near_miss_margin  # what a look-up does not find is no runner-up either
        seen = [(place, cosine) for place, cosine in candidates if cosine >= floor]
        found = []
        for at, (place, cosine) in enumerate(seen):
            if not self.vetoed(asked, place):
                margin = cosine - seen[1 if at == 0 else 0][1] if len(seen) > 1 else NO_RUNNER_UP
                found.append((place, self.score(asked, place, cosine, margin)))
        return sorted(found, key=lambda row: -row[1])

    def score(self, asked: int, stored: int, cosine: float, margin: float) -> float:
        """The model's score of a pair."""
        seen = self._pair(asked, stored)
        if seen.values is None:
            one, other = guards.read(self._pool.texts[asked]), guards.read(self._pool.texts[stored])
            seen.values = features(one, other, guards.check(one, other), similarity=cosine, margin=NO_RUNNER_UP)
        lead = _lead(round(cosine, 6), round(margin, 6), self._lead)
        return self.model.score((seen.values[0], lead, *seen.values[2:]))

    def _pair(self, asked: int, stored: int) -> Seen:
        seen = self._seen.get((asked, stored))
        if seen is None:
            one, other = guards.read(self._pool.texts[asked]), guards.read(self._pool.texts[stored])
            vetoed = bool(guards.vetoes(guards.check(one, other)))
            seen = self._seen[asked, stored] = Seen(vetoed, None)
        return seen


_NOTHING = guards.read("")


def _lead(cosine: float, margin: float, known: dict) -> float:
    """The second feature, which alone depends on the other candidates."""
    if (cosine, margin) not in known:
        known[cosine, margin] = features(_NOTHING, _NOTHING, (), similarity=cosine, margin=margin)[1]
    return known[cosine, margin]


class Entries(Threshold):
    """Score v2: as ``Threshold`` on the score, with each entry's own intercept learned from audited hits.

    ``audited``: share of the hits that are answered afresh and compared. An entry whose answer was once wrong for a
    question stays out of that question alone.
    """

    def __init__(
        self, name: str, pool: Pool, stored: Ints, pairs: Pairs, threshold: float, *, audited: float, seed: int
    ) -> None:
        super().__init__(name, pool, stored, self._own, threshold)
        self._pairs = pairs
        self._labels: dict[int, EntryLabels] = {}
        self._audited = audited
        self._rng = np.random.default_rng([seed, 3])
        self._population: dict[int, float] = {}

    def _own(self, question: int, candidates: Ranked) -> Ranked:
        scored = self._pairs.scored(question, candidates)
        self._population = dict(scored)
        spread = self._pairs.model.spread
        own = [(place, with_entry(score, self._labels.get(place), spread=spread)) for place, score in scored]
        return sorted(own, key=lambda row: -row[1])

    def ask(self, question: int, truth: Ints) -> Served | None:
        served = super().ask(question, truth)
        if served is not None and served.tier == "semantic" and self._rng.random() < self._audited:
            self.audits += 1
            self.judged += 1
            self._label(served.entry, question, truth)
        return served

    def learn(self, question: int, truth: Ints) -> None:
        ranked = self._rank(question, self._shelf.candidates(question))
        if ranked and self._rng.random() < self._audited:  # a fresh answer is there: the judge alone costs
            self.judged += 1
            self._label(ranked[0][0], question, truth)
        super().learn(question, truth)

    def _label(self, entry: int, question: int, truth: Ints) -> None:
        labels = self._labels.setdefault(entry, EntryLabels())
        labels.add(self._population[entry], correct=bool(truth[entry] == truth[question]))


class VCache:
    """vCache's rule, see quality_vcache.py: every exploration is judged, and stored where the stored answer was wrong."""

    def __init__(self, name: str, pool: Pool, stored: Ints, delta: float, *, seed: int) -> None:
        self.name, self.judged, self.audits = name, 0, 0
        self._shelf = Shelf(pool, stored)
        self._delta = delta
        self._rng = np.random.default_rng([seed, 7])
        self._observed: dict[int, list[tuple[float, bool]]] = {}
        self._fitted: dict[int, tuple[float, float, float] | None] = {}
        self._nearest: tuple[int, float] | None = None

    def ask(self, question: int, truth: Ints) -> Served | None:  # noqa: ARG002 - it judges what it explored
        self._nearest = None
        if question in self._shelf:
            return Served(question, "exact")
        found = self._shelf.candidates(question, 1)
        if not found:
            return None
        self._nearest = entry, similarity = found[0]
        fitted = self._fitted.get(entry)
        if fitted is None or self._rng.random() <= vcache.tau_of(similarity, fitted, self._delta):
            return None
        return Served(entry, "semantic", similarity)

    def learn(self, question: int, truth: Ints) -> None:
        if self._nearest is not None:
            entry, similarity = self._nearest
            right = bool(truth[entry] == truth[question])
            self.judged += 1
            observed = self._observed.setdefault(entry, [])
            observed.append((similarity, right))
            self._fitted[entry] = vcache.fit(observed)
            if right:
                return
        self._shelf.add(question)


class Shadow:
    """Serves nothing and notes what each ranking would have served: (best score, right) per ranking."""

    def __init__(self, pool: Pool, stored: Ints, ranks: dict[str, Callable[[int, Ranked], Ranked]]) -> None:
        self.name, self.judged, self.audits = "shadow", 0, 0
        self._shelf = Shelf(pool, stored)
        self._ranks = ranks
        self.noted: dict[str, list[tuple[float, bool]]] = {name: [] for name in ranks}

    def ask(self, question: int, truth: Ints) -> Served | None:
        if question in self._shelf:
            return Served(question, "exact")
        candidates = self._shelf.candidates(question)
        for name, rank in self._ranks.items():
            ranked = rank(question, candidates)
            if ranked:
                self.noted[name].append((ranked[0][1], bool(truth[ranked[0][0]] == truth[question])))
        return None

    def learn(self, question: int, truth: Ints) -> None:  # noqa: ARG002
        self._shelf.add(question)
