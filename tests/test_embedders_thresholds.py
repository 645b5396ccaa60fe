import itertools
import json

import pytest

from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.embedders.thresholds import default_min_similarity
from yamabiko.embedders.weights import DATA

SHIPPED = json.loads((DATA / "thresholds.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", [MINILM, USE_M3])
def test_every_local_model_has_a_measured_default(model):
    row = SHIPPED["models"][model]
    assert default_min_similarity(model) == row["min_similarity"]
    assert 0.85 <= row["min_similarity"] < 1
    assert row["everyday"]["different_served"] <= 0.05
    assert row["traps"]["different_served"] > row["everyday"]["different_served"]  # no threshold keeps traps out


@pytest.mark.parametrize("model", [MINILM, USE_M3])
def test_a_higher_threshold_serves_fewer_of_both_kinds(model):
    curve = SHIPPED["models"][model]["curve"]
    assert len(curve) > 20
    for (low, recall, different), (high, less_recall, fewer_different) in itertools.pairwise(curve):
        assert low < high
        assert less_recall <= recall
        assert fewer_different <= different


def test_an_unknown_model_gets_a_default_stricter_than_any_measured_one():
    assert default_min_similarity("somebody/else") > max(row["min_similarity"] for row in SHIPPED["models"].values())


def test_the_file_names_its_benchmark_and_its_date():
    assert SHIPPED["made_by"] == "benchmarks/thresholds.py"
    assert len(SHIPPED["date"]) == 10
