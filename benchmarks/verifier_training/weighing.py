"""Calibration of a verifier's log-odds, its mix with the score, and what the final score serves on public pairs."""

import numpy as np
from numpy.typing import NDArray

from train_score import CALIBRATED, NEIGHBOURS, Table, balanced, counts, recall
from verifier_training.rows import HELD_OUT_DOMAIN
from yamabiko.embedders.local import MINILM, USE_M3

Floats = NDArray[np.float64]

UNSEEN = (
    HELD_OUT_DOMAIN,
    "checklist_qqp",
    "traps_en",
    "traps_ja",
    "synthetic_nearmiss",
    *NEIGHBOURS[MINILM],
    *NEIGHBOURS[USE_M3],
)
"""Sets that no verifier was trained on; of their dev halves the mix may learn."""
GUARDED = (HELD_OUT_DOMAIN, "checklist_qqp", "traps_ja", "jaquad", "jsts", "tatoeba_ja")
STEPS = (1.0, 0.75, 0.5, 0.25, 0.0)
SLACK = 0.01
RIDGE = 1e-3
LOW, HIGH = 0.05, 0.998
"""The grey zone: a score below is rarely right, one above is nearly always, whatever the verifier says."""


def logistic(columns: Floats, label: NDArray, weight: Floats, *, steps: int = 60) -> Floats:
    """Weights of a ridge logistic regression, the last for a column of ones that is added; Newton's method."""
    wide = np.c_[columns, np.ones(len(columns))]
    found = np.zeros(wide.shape[1])
    weight = weight / weight.sum()
    ridge = np.full(wide.shape[1], RIDGE)
    ridge[-1] = 0
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(wide @ found, -30, 30)))
        slope = wide.T @ (weight * (chance - label)) + ridge * found
        curve = (wide * (weight * chance * (1 - chance))[:, None]).T @ wide + np.diag(ridge + 1e-9)
        found = found - np.linalg.solve(curve, slope)
    return found


def calibration(table: Table, logit: Floats) -> dict[str, float]:
    """Temperature and offset that make the logit's sigmoid the share of right pairs, sets and labels counted equally."""
    rows = _both(table)
    slope, offset = logistic(logit[rows, None], table.label[rows], balanced(table, rows)[rows])
    return {"temperature": round(float(1 / max(slope, 0.05)), 4), "offset": round(float(offset), 4)}


def _both(table: Table) -> NDArray[np.bool_]:
    """Pairs of sets that have both labels; not of the domain held out, of which only thresholds are counted."""
    names = {name for name in table.set.tolist() if len(set(table.label[table.set == name].tolist())) == 2}
    return table.of(*sorted(names - {HELD_OUT_DOMAIN}))


def mix(table: Table, model: str, score: Floats, odds: Floats) -> dict[str, object]:
    """The weights of the final score, fitted on pairs that no guard vetoes, with its counts as ``rows``.

    Between the weights fitted on all sets and those fitted on ``UNSEEN`` sets alone, it takes the ones nearest to the
    first that serve no less in an unseen domain than the score does: a verifier is surer of sets like those it was
    trained on than it is right to be elsewhere.
    """
    fine = table.allowed & (score > np.log(LOW / (1 - LOW)))
    unseen = _fitted(table, fine & table.of(*UNSEEN), score, odds)
    whole = _fitted(table, fine & ~table.of(HELD_OUT_DOMAIN), score, odds)
    for share in STEPS:
        own, said, bias = share * whole + (1 - share) * unseen
        final = final_log_odds((own, said, bias), score, odds)
        if share == 0 or _no_worse(table, final, score):
            break
    print(f"mix: {share:.2f} of the way from unseen sets to all")
    return {
        "bias": round(float(bias), 4),
        "score_logit": round(float(own), 4),
        "verifier_logit": round(float(said), 4),
        "low": LOW,
        "high": HIGH,
        "rows": counts(table, 1 / (1 + np.exp(-final)), CALIBRATED[model]),
    }


def final_log_odds(weights: tuple[float, float, float], score: Floats, odds: Floats) -> Floats:
    own, said, bias = weights
    chance = 1 / (1 + np.exp(-score))
    return np.where((chance >= LOW) & (chance < HIGH), bias + own * score + said * odds, score)


def _fitted(table: Table, rows: NDArray[np.bool_], score: Floats, odds: Floats) -> Floats:
    """(score, verifier, bias), the first two at least 0."""
    found = logistic(np.c_[score, odds][rows], table.label[rows], balanced(table, rows)[rows])
    if found[1] < 0:
        own, bias = logistic(score[rows, None], table.label[rows], balanced(table, rows)[rows])
        return np.array([own, 0.0, bias])
    return found


def _no_worse(table: Table, final: Floats, score: Floats) -> bool:
    """Whether the mix serves as many right pairs of the sets in ``GUARDED`` as the score, at 2 and 5 % wrong."""
    for name in GUARDED:
        rows = table.set == name
        if not rows.any():
            continue
        label, allowed = table.label[rows], table.allowed[rows]
        for rate in (0.02, 0.05):
            if recall(final[rows], label, allowed, rate) < recall(score[rows], label, allowed, rate) - SLACK:
                return False
    return True
