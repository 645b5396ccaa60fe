"""Every arm on the same streams, for benchmarks/quality.py. Nothing runs here.

Three readings of each arm: as it comes (its own default or promise); with a threshold tuned on the dev half, where it
has one; and the best that any of its settings did on this very stream without more wrong answers per hit than a budget,
chosen in hindsight. The last favours whoever has a setting to choose, so it is never applied to our own promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from quality_arms import (
    GPTCACHE_THRESHOLD,
    REDISVL_THRESHOLD,
    Arm,
    Entries,
    Pairs,
    Ranked,
    Shadow,
    Threshold,
    VCache,
    by_cosine,
    gptcache,
    redisvl,
    replay,
)
from quality_pairs import CURVE
from quality_promise import Learned
from quality_streams import Pool, Stream
from quality_tally import (
    BUDGETS,
    STREAM_COLUMNS,
    Tally,
    area_under_roc,
    average_precision,
    most_hits,
    stream_row,
    table,
)

Tuned: TypeAlias = dict[str, dict[float, float | None]]
"""By arm and share of wrong answers: a threshold; None where nothing may be served."""
SCORES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)
DELTAS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
PROMISES = (0.02, 0.05)
AUDITED = 0.05
SHOWN_COSINES = (0.80, 0.85, 0.90, 0.95, 0.97)


@dataclass(frozen=True, slots=True)
class Family:
    """An arm with a setting: how to make it, and the settings to try."""

    name: str
    make: Callable[[str, float], Arm]
    settings: tuple[float, ...]
    shown: tuple[float, ...] = ()


def families(pool: Pool, stream: Stream, pairs: Pairs, seed: int, *, quick: bool) -> Iterator[Family]:
    """The arms whose setting somebody must choose."""
    stored = stream.stored
    yield Family("cosine", lambda name, at: Threshold(name, pool, stored, by_cosine, at), CURVE, SHOWN_COSINES)
    yield Family("cosine + guards", lambda name, at: Threshold(name, pool, stored, pairs.guarded, at), CURVE)
    yield Family("score v1", lambda name, at: Threshold(name, pool, stored, pairs.scored, at), SCORES)
    yield Family(
        "score v2",
        lambda name, at: Entries(name, pool, stored, pairs, at, audited=AUDITED, seed=seed),
        SCORES[::2] if quick else SCORES,
    )
    deltas = (0.02, 0.1) if quick else DELTAS
    yield Family("vCache", lambda name, at: VCache(name, pool, stored, at, seed=seed), deltas, PROMISES)


def rankings(pairs: Pairs) -> dict[str, Callable[[int, Ranked], Ranked]]:
    """The scores whose thresholds are tuned on the dev half."""
    return {"cosine": by_cosine, "cosine + guards": pairs.guarded, "score v1": pairs.scored}


def tuned(dev: Pool, stream: Stream, pairs: Pairs) -> Tuned:
    """By arm and share of wrong answers: the threshold with the most hits on a stream of the dev half."""
    shadow = Shadow(dev, stream.stored, rankings(pairs))
    replay(shadow, stream, dev)
    found: Tuned = {}
    for name, noted in shadow.noted.items():
        scores, right = _columns(noted)
        found[name] = {budget: most_hits(scores, right, budget)[0] for budget in PROMISES}
    found["score v2"] = found["score v1"]
    return found


def compare(
    pool: Pool,
    stream: Stream,
    pairs: Pairs,
    thresholds: Tuned,
    *,
    seed: int,
    quick: bool,
) -> dict[str, object]:
    """All arms on one stream: {"arms": as they come and tuned, "best": in hindsight, "curves", "ranking"}."""
    shadow = Shadow(pool, stream.stored, rankings(pairs))
    nothing = replay(shadow, stream, pool)
    arms: dict[str, Tally] = {"nothing by meaning": nothing}
    best: dict[str, dict[str, object]] = {}
    curves: dict[str, list[dict[str, object]]] = {}
    for family in families(pool, stream, pairs, seed, quick=quick):
        tallies = {at: replay(family.make(f"{family.name} {at:g}", at), stream, pool) for at in family.settings}
        for budget, at in thresholds.get(family.name, {}).items():
            if at is not None:
                arms[f"{family.name}, tuned for {budget:.0%}"] = replay(family.make(family.name, at), stream, pool)
        arms |= {f"{family.name} {at:g}": tallies[at] for at in family.shown if at in tallies}
        curves[family.name] = [{"setting": at, **_short(tally)} for at, tally in tallies.items()]
        if family.name == "vCache":
            per_request = tallies
        best[family.name] = {f"{budget:.1%}": hindsight(tallies, budget) for budget in BUDGETS}
    fixed = (("GPTCache's default", gptcache, GPTCACHE_THRESHOLD), ("RedisVL's default", redisvl, REDISVL_THRESHOLD))
    for name, rank, at in fixed:
        arms[name] = replay(Threshold(name, pool, stream.stored, rank, at), stream, pool)
    for budget in PROMISES:
        arm = Learned("Yamabiko", pool, stream.stored, pairs, budget, run=f"{stream.name}/{seed}")
        ours = arms[f"Yamabiko, max_error_rate={budget:g}"] = replay(arm, stream, pool)
        best["vCache"][f"as wrong per request as Yamabiko {budget:.0%}"] = hindsight(
            per_request, ours.wrong["semantic"] / max(1, ours.requests), on="request"
        )
    return {
        "requests": len(stream.requests),
        "arms": {name: tally.row() for name, tally in arms.items()},
        "best_in_hindsight": best,
        "curves": curves,
        "ranking": {name: _ranking(noted) for name, noted in shadow.noted.items()},
        "text": table([stream_row(name, tally) for name, tally in arms.items()], STREAM_COLUMNS),
    }


def hindsight(tallies: dict[float, Tally], budget: float, *, on: str = "hit") -> dict[str, object]:
    """The setting with the most hits by meaning of which at most ``budget`` were wrong, per hit or per request."""
    kept = {
        at: tally
        for at, tally in tallies.items()
        if tally.hits["semantic"]
        and (tally.kept(budget) if on == "hit" else tally.wrong["semantic"] <= budget * tally.requests)
    }
    if not kept:
        return {"setting": None, "semantic": 0.0, "wrong_per_hit": 0.0, "wrong_per_request": 0.0}
    at = max(kept, key=lambda at: kept[at].hits["semantic"])
    return {"setting": at, **_short(kept[at])}


def _short(tally: Tally) -> dict[str, object]:
    return {
        "semantic": tally.hit_rate,
        "wrong_per_hit": tally.wrong_per_hit,
        "wrong_per_request": tally.wrong["semantic"] / max(1, tally.requests),
        "model_calls": tally.generated,
        "judge_calls": tally.judged,
    }


def _ranking(noted: list[tuple[float, bool]]) -> dict[str, object]:
    scores, right = _columns(noted)
    return {
        "candidates": len(noted),
        "auc": area_under_roc(scores, right),
        "average_precision": average_precision(scores, right),
        "hits_at": {f"{budget:.1%}": most_hits(scores, right, budget)[1] for budget in BUDGETS},
    }


def _columns(noted: list[tuple[float, bool]]):
    return np.array([score for score, _ in noted]), np.array([right for _, right in noted], dtype=bool)
