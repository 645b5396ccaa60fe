"""Step 6 of 9: from which score on to serve before there is any label of one's own.

``data/calibration.json`` holds what benchmarks/train_score.py counted on public pairs for the on-device embedders: per
threshold, how many pairs would have been served and how many of them wrongly. Public pairs are not anybody's traffic:
the threshold is chosen for half of the wanted error rate, and every hit says that it is uncalibrated.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from yamabiko.core import binomial
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix

BUDGET_SHARE = 0.5
"""The share of the wanted error rate that a shipped calibration may use up."""


SPARE = 2
"""Errors that the first threshold tested may have: with none, one odd label among thousands would rule out them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedThreshold:
    """A score from which on answers may be served, and the counts on public pairs that speak for it.

    ``trials`` pairs had at least this score, ``wrong`` of them had another answer. ``error_upper``: the Clopper-Pearson
    upper bound on their rate at the confidence asked for. ``version``: of the score that was measured.
    """

    embedder: str
    threshold: float
    trials: int
    wrong: int
    error_upper: float
    version: str


def shipped_threshold(embedder: str, max_error_rate: float, confidence: float) -> ShippedThreshold | None:
    """The loosest threshold whose error on public pairs is at most half of ``max_error_rate``, at this confidence.

    ``embedder``: as ``Embedder.model_for`` names it. Both rates in (0, 1). None where nobody measured the embedder, or
    where no threshold is good enough: then a namespace starts in shadow. Raises ``ConfigurationError``.

    Thresholds are tested from strict to loose up to the first that fails, which keeps the confidence for all of them
    together. The sequence begins where there are enough pairs to pass with ``SPARE`` errors, which looks at no outcome.
    Source: fixed sequence testing, e.g. Angelopoulos et al., Learn then Test (arXiv 2110.01052), section 3.2.
    """
    found = _measured().get(embedder)
    if found is None:
        return None
    return loosest(found["rows"], max_error_rate, confidence, embedder=embedder, version=found["version"])


def verified_threshold(mix: Mix, embedder: str, max_error_rate: float, confidence: float) -> ShippedThreshold | None:
    """The same of the final scores that a mix gives to this embedder's candidates."""
    return loosest(mix.rows, max_error_rate, confidence, embedder=embedder, version=mix.name) if mix.rows else None


def loosest(
    rows: Sequence[tuple[float, int, int]], max_error_rate: float, confidence: float, *, embedder: str, version: str
) -> ShippedThreshold | None:
    """The last of the thresholds that pass, as ``shipped_threshold`` says; ``rows``: (threshold, trials, wrong)."""
    budget = BUDGET_SHARE * max_error_rate
    enough = binomial.fewest_trials(budget, confidence)
    best = None
    for threshold, trials, wrong in rows:
        if trials < enough or binomial.upper_bound(SPARE, trials, confidence) > budget:
            continue
        upper = binomial.upper_bound(wrong, trials, confidence)
        if upper > budget:
            break
        best = ShippedThreshold(
            embedder=embedder,
            threshold=threshold,
            trials=trials,
            wrong=wrong,
            error_upper=upper,
            version=version,
        )
    return best


def not_measured() -> Mapping[str, str]:
    """Embedders that are known by name and were not measured, and why: they start in shadow."""
    listed: Mapping[str, str] = _data()["not_measured"]
    return listed


def _measured() -> Mapping[str, Mapping[str, Any]]:
    measured: Mapping[str, Mapping[str, Any]] = _data()["embedders"]
    return measured


@functools.cache
def _data() -> Mapping[str, Any]:
    text = files("yamabiko.core").joinpath("data/calibration.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    for found in data["embedders"].values():
        _sound(found["rows"])
    return data


def _sound(rows: Sequence[tuple[float, int, int]]) -> None:
    """Raises ``ConfigurationError`` unless rows go from strict to loose and count what they say."""
    last = (1.0, 0, 0)
    for threshold, trials, wrong in rows:
        if not (threshold <= last[0] and last[1] <= trials and last[2] <= wrong <= trials):
            raise ConfigurationError("data/calibration.json does not count rising errors at falling thresholds")
        last = (threshold, trials, wrong)
