"""Shipped calibrations: what may be served before anybody has a label."""

import json
from importlib.resources import files
from itertools import pairwise

import pytest

from yamabiko.core import binomial
from yamabiko.core.score import MIN_SCORE, model_for
from yamabiko.core.shipped import BUDGET_SHARE, not_measured, shipped_threshold
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.errors import ConfigurationError

DATA = json.loads(files("yamabiko.core").joinpath("data/calibration.json").read_text(encoding="utf-8"))
BUDGETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


@pytest.mark.parametrize("embedder", [MINILM, USE_M3])
def test_a_smaller_budget_and_a_higher_confidence_never_loosen_the_threshold(embedder):
    for confidence in (0.8, 0.95, 0.99):
        found = [shipped_threshold(embedder, budget, confidence) for budget in BUDGETS]
        thresholds = [2.0 if one is None else one.threshold for one in found]
        assert thresholds == sorted(thresholds, reverse=True)
        assert any(found)
    for budget in BUDGETS:
        sure, surer = (shipped_threshold(embedder, budget, confidence) for confidence in (0.8, 0.99))
        assert surer is None or (sure is not None and sure.threshold <= surer.threshold)


@pytest.mark.parametrize("embedder", [MINILM, USE_M3])
def test_half_of_the_budget_is_kept_back(embedder):
    for budget in BUDGETS:
        found = shipped_threshold(embedder, budget, 0.95)
        if found is not None:
            assert found.error_upper <= BUDGET_SHARE * budget
            assert found.error_upper == binomial.upper_bound(found.wrong, found.trials, 0.95)
            assert MIN_SCORE <= found.threshold < 1


@pytest.mark.parametrize("embedder", [MINILM, USE_M3])
def test_the_threshold_was_measured_with_the_score_that_ships(embedder):
    found = shipped_threshold(embedder, 0.4, 0.8)
    assert found is not None
    assert found.version == model_for(embedder).version


@pytest.mark.parametrize(
    "embedder", ["amazon.titan-embed-text-v2:0", "text-embedding-3-small", "text-embedding-3-large", "x"]
)
def test_an_embedder_that_nobody_measured_has_no_threshold(embedder):
    assert shipped_threshold(embedder, 0.5, 0.5) is None
    assert embedder == "x" or embedder in not_measured()


def test_the_table_goes_from_strict_to_loose_and_counts_what_it_says():
    for found in DATA["embedders"].values():
        rows = found["rows"]
        assert len(rows) > 5
        for (strict, fewer, wrong_before), (loose, more, wrong) in pairwise(rows):
            assert strict >= loose
            assert fewer <= more
            assert wrong_before <= wrong <= more
        assert set(found["sets"]) <= set(DATA["sets"])
        assert not {"qqp", "stsb"} & set(found["sets"])


def test_a_budget_that_is_no_rate_is_refused():
    with pytest.raises(ConfigurationError, match="must be in"):
        shipped_threshold(MINILM, 0.0, 0.95)
