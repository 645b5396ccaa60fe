"""What each decision makes of labelled pairs, for benchmarks/quality.py. Nothing runs here.

``alone``: the answer of ``a`` is all that is stored, and ``b`` is asked. ``together``: the answers of all ``a`` of a
group are stored in one cache, where a wrong one may come between, and all ``b`` are asked; the answers are not added.
Every arm is a score: what is served is what reaches a threshold, and a guard's veto is a score below all thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from labelled import Pair, embed
from quality_arms import Pairs, Shelf, by_cosine
from quality_streams import Pool, same
from quality_tally import BUDGETS, Flags, Floats, area_under_roc, at_threshold, average_precision, most_hits, rate
from yamabiko.core import guards
from yamabiko.core.calibrate import Certificate, Terms, certify
from yamabiko.core.sampling import Label, Sample, census
from yamabiko.core.score import NO_RUNNER_UP, ScoreModel, features
from yamabiko.embedders.script import script_of

REFUSED = -2.0
"""The score of a pair that may not be served at all."""
CURVE = tuple(round(0.80 + 0.01 * step, 2) for step in range(18))
AXES: dict[str, tuple[str, ...]] = {
    "negation": ("negation", "antonym", "not to", "should not"),
    "number": ("number", "unit", "money", "values", "identifier", "version"),
    "direction": ("direction", "comparison", "swap"),
    "time": ("date", "time", "temporal", "use to be", "becoming"),
    "entity": ("entit", "animals", "people", "literals"),
    "scope": ("constraint", "modifier", "a or b", "length", "truncation"),
    "language": ("language", "lingual"),
    "question": ("question",),
}
"""What a set calls its traps, by axis; the first axis that fits counts."""


def axis_of(kind: str) -> str:
    """What a trap turns on, by what its set says of it; "other" where it says nothing of the kind."""
    named = kind.casefold()
    return next((axis for axis, words in AXES.items() if any(word in named for word in words)), "other")


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Pairs with each arm's score (n,), whether serving is right (n,), and the axis of each (n,)."""

    scores: dict[str, Floats]
    right: Flags
    axes: tuple[str, ...]

    def only(self, chosen: Flags) -> Scored:
        return Scored(
            {name: scores[chosen] for name, scores in self.scores.items()},
            self.right[chosen],
            tuple(axis for axis, one in zip(self.axes, chosen.tolist(), strict=True) if one),
        )


def alone(pairs: Sequence[Pair], embedder: str, model: ScoreModel | None) -> Scored:
    """Each pair on its own, by cosine, by cosine with guards and by score."""
    cosines = _cosines(pairs, embedder)
    scores = {name: np.full(len(pairs), REFUSED) for name in ("cosine", "cosine + guards", "score")}
    scores["cosine"] = cosines
    for at, pair in enumerate(pairs):
        if cosines[at] <= REFUSED:
            continue
        asked, stored = guards.read(pair.b), guards.read(pair.a)
        findings = guards.check(asked, stored)
        if guards.vetoes(findings):
            continue
        scores["cosine + guards"][at] = cosines[at]
        if model is not None and cosines[at] >= model.floor:
            values = features(asked, stored, findings, similarity=float(cosines[at]), margin=NO_RUNNER_UP)
            scores["score"][at] = model.score(values)
    right = np.array([pair.label == 1 for pair in pairs], dtype=bool)
    return Scored(scores, right, tuple(axis_of(pair.kind) for pair in pairs))


def _cosines(pairs: Sequence[Pair], embedder: str) -> Floats:
    """``REFUSED`` where the two are in different scripts or the embedder takes no responsibility."""
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    vectors = embed(texts, embedder).astype(np.float64).reshape(len(pairs), 2, -1)
    found = np.einsum("nd,nd->n", vectors[:, 0], vectors[:, 1])
    apart = np.array([script_of(pair.a) != script_of(pair.b) for pair in pairs], dtype=bool)
    return np.where(np.isnan(found) | apart, REFUSED, found)


def together(pairs: Iterable[Pair], pool: Pool, kept: Pairs) -> tuple[dict[str, tuple[Floats, Flags]], int]:
    """All ``a`` stored, all ``b`` asked: each arm's best candidates as (scores, right), and how many have an answer."""
    place = {same(text): at for at, text in enumerate(pool.texts)}
    pairs = list(pairs)
    stored = {place[same(pair.a)] for pair in pairs if same(pair.a) in place}
    asked = sorted({place[same(pair.b)] for pair in pairs if same(pair.b) in place} - stored)
    shelf = Shelf(pool, np.array(sorted(stored), dtype=np.intp))
    ranks = {"cosine": by_cosine, "cosine + guards": kept.guarded}
    if kept.model is not None:
        ranks["score"] = kept.scored
    scores = {name: np.full(len(asked), REFUSED) for name in ranks}
    right = {name: np.zeros(len(asked), dtype=bool) for name in ranks}
    answers = {int(pool.answer[at]) for at in stored}
    for at, question in enumerate(asked):
        candidates = shelf.candidates(question)
        for name, rank in ranks.items():
            ranked = rank(question, candidates)
            if ranked:
                scores[name][at] = ranked[0][1]
                right[name][at] = pool.answer[ranked[0][0]] == pool.answer[question]
    found = {name: (scores[name], right[name]) for name in ranks}
    return found, sum(int(pool.answer[question]) in answers for question in asked)


def certified(scores: Floats, right: Flags, budget: float, confidence: float = 0.95) -> tuple[float | None, str]:
    """The threshold that these pairs certify, or None and what they lack; the pairs stand for traffic as it comes."""
    floor = float(min(0.0, scores.min(initial=0.0)))
    labels = [
        Label(request=f"pair:{at}", score=float(score), correct=bool(one), design="pairs")
        for at, (score, one) in enumerate(zip(scores, right, strict=True))
    ]
    sample = Sample.of(labels, [census("pairs", floor=floor, drawn=len(labels))])
    outcome = certify(sample, Terms(max_error_rate=budget, confidence=confidence))
    if isinstance(outcome, Certificate):
        return outcome.threshold, f"at most {outcome.error_upper:.2%} wrong per hit"
    return None, outcome.reason


def quality(scores: Floats, right: Flags, positives: int) -> dict[str, object]:
    """ROC-AUC, AP, and what the best threshold in hindsight serves at each share of wrong answers."""
    served = {}
    for budget in BUDGETS:
        threshold, hits, good = most_hits(scores[scores > REFUSED], right[scores > REFUSED], budget)
        served[f"{budget:.1%}"] = {"threshold": threshold, "hits": hits, "recall": good / max(1, positives)}
    return {
        "auc": area_under_roc(scores, right),
        "average_precision": average_precision(scores, right),
        "hits_at_wrong_per_hit": served,
    }


def outcome(scored: Scored, name: str, threshold: float | None) -> dict[str, object]:
    """What a threshold serves: paraphrases, traps, wrong per hit, and traps by axis."""
    scores, right = scored.scores[name], scored.right
    hits, good = at_threshold(scores, right, threshold)
    reached = scores >= (np.inf if threshold is None else threshold)
    axes = {}
    for axis in sorted({axis for axis, one in zip(scored.axes, right.tolist(), strict=True) if not one}):
        chosen = np.array([own == axis for own in scored.axes], dtype=bool) & ~right
        axes[axis] = rate(int((reached & chosen).sum()), int(chosen.sum()))
    return {
        "threshold": threshold,
        "paraphrases_served": rate(good, int(right.sum())),
        "traps_answered": rate(hits - good, int((~right).sum())),
        "wrong_per_hit": rate(hits - good, hits),
        "traps_by_axis": axes,
    }


def by_axis(dev: Scored, test: Scored) -> dict[str, dict[str, object]]:
    """By arm and axis: how many traps are answered; the last arm by a threshold with 2 % wrong on the dev half."""
    tuned, _, _ = most_hits(dev.scores["score"], dev.right, 0.02)
    arms = {
        "cosine 0.90": ("cosine", 0.90),
        "cosine 0.95": ("cosine", 0.95),
        "cosine + guards 0.90": ("cosine + guards", 0.90),
        "score 0.50": ("score", 0.5),
        "score, tuned for 2%": ("score", tuned),
    }
    return {arm: outcome(test, name, threshold)["traps_by_axis"] for arm, (name, threshold) in arms.items()}


def measured(dev: Scored, test: Scored) -> dict[str, object]:
    """Each arm: its score's quality on the test half, and thresholds from the dev half as they do on the test half."""
    rows: dict[str, object] = {"pairs": len(test.right), "right": int(test.right.sum()), "dev_pairs": len(dev.right)}
    for name, scores in test.scores.items():
        row = quality(scores, test.right, int(test.right.sum()))
        for budget in (0.02, 0.05):
            threshold, why = certified(dev.scores[name], dev.right, budget)
            tuned, _, _ = most_hits(dev.scores[name], dev.right, budget)
            row[f"certified_{budget:.0%}"] = {"why": why, **outcome(test, name, threshold)}
            row[f"tuned_{budget:.0%}"] = outcome(test, name, None if tuned is None or tuned <= REFUSED else tuned)
        rows[name] = row
    cosine = test.scores["cosine"]
    rows["cosine_curve"] = [{"threshold": threshold, **_counts(cosine, test.right, threshold)} for threshold in CURVE]
    return rows


def _counts(scores: Floats, right: Flags, threshold: float) -> dict[str, float]:
    hits, good = at_threshold(scores, right, threshold)
    return {"recall": good / max(1, int(right.sum())), "wrong_per_hit": (hits - good) / hits if hits else 0.0}
