"""The arithmetic of benchmarks/quality.py: what an arm did, with intervals, and curves over a score. Nothing runs here.

Rates come with two-sided 95 % Clopper-Pearson intervals. "Wrong per hit" is of hits by meaning alone: an exact hit is
the very same question's own answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.core import binomial

Tier: TypeAlias = Literal["exact", "alias", "semantic"]
BUDGETS = (0.005, 0.01, 0.02, 0.05)
"""Shares of wrong answers at which hits are reported."""


def interval(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a rate; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    each = 1 - (1 - confidence) / 2
    return binomial.lower_bound(count, trials, each), binomial.upper_bound(count, trials, each)


def rate(count: int, trials: int) -> dict[str, object]:
    """A rate with its interval and its counts; None where there were no trials."""
    low, high = interval(count, trials)
    share = count / trials if trials else None
    return {"rate": share, "low": low, "high": high, "count": count, "of": trials}


@dataclass(slots=True)
class Tally:
    """What one arm did on one stream.

    ``hits`` by tier, ``wrong`` those of them that were. ``generated``: calls of the model, audits included. ``judged``:
    calls of a judge. ``kinds``: hits by meaning, by what the caller names, as [hits, wrong].
    """

    requests: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    generated: int = 0
    judged: int = 0
    kinds: dict[str, list[int]] = field(default_factory=dict)

    def hit(self, tier: Tier, *, right: bool, kind: str = "") -> None:
        """One request that was answered from the cache."""
        self.requests += 1
        self.hits[tier] += 1
        self.wrong[tier] += not right
        if kind and tier == "semantic":
            row = self.kinds.setdefault(kind, [0, 0])
            row[0] += 1
            row[1] += not right

    def miss(self) -> None:
        """One request that the model answered."""
        self.requests += 1
        self.generated += 1

    @property
    def wrong_per_hit(self) -> float:
        """Of hits by meaning; 0 where there was none."""
        return self.wrong["semantic"] / self.hits["semantic"] if self.hits["semantic"] else 0.0

    @property
    def hit_rate(self) -> float:
        """Hits by meaning per request."""
        return self.hits["semantic"] / self.requests if self.requests else 0.0

    def kept(self, budget: float) -> bool:
        """Whether at most ``budget`` of the hits by meaning were wrong."""
        return self.wrong["semantic"] <= budget * self.hits["semantic"]

    def row(self) -> dict[str, object]:
        """Everything, for the results."""
        total, wrong = sum(self.hits.values()), sum(self.wrong.values())
        return {
            "requests": self.requests,
            "hit_rate": total / self.requests if self.requests else 0.0,
            **{
                tier: self.hits[tier] / self.requests if self.requests else 0.0
                for tier in ("exact", "alias", "semantic")
            },
            "wrong_per_hit": rate(self.wrong["semantic"], self.hits["semantic"]),
            "wrong_per_request": rate(wrong, self.requests),
            "model_calls": self.generated,
            "judge_calls": self.judged,
            **({"kinds": self.kinds} if self.kinds else {}),
        }


def total(tallies: Iterable[Tally]) -> Tally:
    """Several runs as one."""
    found = Tally()
    for tally in tallies:
        found.requests += tally.requests
        found.hits.update(tally.hits)
        found.wrong.update(tally.wrong)
        found.generated += tally.generated
        found.judged += tally.judged
        for kind, (hits, wrong) in tally.kinds.items():
            row = found.kinds.setdefault(kind, [0, 0])
            row[0] += hits
            row[1] += wrong
    return found


Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


def area_under_roc(scores: Floats, correct: Flags) -> float | None:
    """The chance that a correct one scores above a wrong one, ties counting half; None where one kind is missing."""
    positive, negative = int(correct.sum()), int((~correct).sum())
    if not positive or not negative:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[place][correct].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(scores: Floats, correct: Flags) -> float | None:
    """Sum of precision times gain in recall, a block of equal scores at a time; None where nothing is correct."""
    if not correct.any():
        return None
    _, hits, right = _falling(scores, correct)
    gained = np.diff(right, prepend=0)
    return float(np.sum(right / hits * gained) / right[-1])


def most_hits(scores: Floats, correct: Flags, budget: float) -> tuple[float | None, int, int]:
    """The threshold with the most hits of which at most ``budget`` are wrong: (threshold, hits, right ones).

    The best in hindsight: what a threshold could have done, not what one chosen beforehand does.
    """
    if not len(scores):
        return None, 0, 0
    thresholds, hits, right = _falling(scores, correct)
    kept = np.flatnonzero(hits - right <= budget * hits)
    if not len(kept):
        return None, 0, 0
    at = kept[-1]
    return float(thresholds[at]), int(hits[at]), int(right[at])


def at_threshold(scores: Floats, correct: Flags, threshold: float | None) -> tuple[int, int]:
    """(hits, right ones) from a threshold on; None serves nothing."""
    served = scores >= (np.inf if threshold is None else threshold)
    return int(served.sum()), int((served & correct).sum())


def _falling(scores: Floats, correct: Flags) -> tuple[Floats, Floats, Floats]:
    """Per distinct score, falling: the score, hits from it on, right ones among them."""
    distinct, place = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(place, minlength=len(distinct)))
    right = np.cumsum(np.bincount(place, weights=correct, minlength=len(distinct)))
    return -distinct, hits.astype(np.float64), right


def percent(value: object, digits: int = 1) -> str:
    """A share for people; a dash for None."""
    return f"{value:.{digits}%}" if isinstance(value, int | float) else "-"


def table(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> str:
    """Rows in columns, the first one to the left, the others to the right."""
    texts = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[at]) for line in texts)) for at, column in enumerate(columns)]
    lines = [list(columns), *texts]
    shown = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in shown)


def stream_row(name: str, tally: Tally) -> dict[str, object]:
    """A tally as a line of ``table`` with ``STREAM_COLUMNS``."""
    low, high = interval(tally.wrong["semantic"], tally.hits["semantic"])
    shares = {tier: percent(tally.hits[tier] / max(1, tally.requests)) for tier in ("exact", "alias", "semantic")}
    served = bool(tally.hits["semantic"])
    return {
        "arm": name,
        **shares,
        "wrong/hit": percent(tally.wrong_per_hit, 2) if served else "-",
        "95 %": f"{low:.2%}..{high:.2%}" if served else "-",
        "wrong/request": percent(sum(tally.wrong.values()) / max(1, tally.requests), 2),
        "model calls": tally.generated,
        "judge calls": tally.judged,
    }


STREAM_COLUMNS = (
    "arm",
    "exact",
    "alias",
    "semantic",
    "wrong/hit",
    "95 %",
    "wrong/request",
    "model calls",
    "judge calls",
)


def quality_columns(more: Sequence[str]) -> tuple[str, ...]:
    """The columns of a table of pairs."""
    recalls = tuple(f"recall at {budget:.1%}" for budget in BUDGETS)
    return ("arm", *more, *recalls, "certified 2 %: served", "traps answered", "wrong/hit")
