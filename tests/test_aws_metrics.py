"""Lines for CloudWatch: by AWS's own schema and rules, and what a reader of CloudWatch would make of them."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.aws.metrics import (
    BY_TIER,
    DEPLOYMENT,
    MAX_LATENCIES,
    MAX_VALUES,
    METRICS,
    NAMESPACE,
    TIERS,
    Figures,
    lines,
    metrics_table,
)

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = json.loads((ROOT / "tests" / "data" / "emf_schema.json").read_text(encoding="utf-8"))
NOW = 1_795_551_168.819
KNOWN = {metric.name: metric for metric in METRICS}

counts = st.integers(0, 10_000)
money = st.floats(0, 1e6)
figures = st.builds(
    Figures,
    requests=st.dictionaries(st.sampled_from(TIERS), st.integers(0, 5000)).map(Counter),
    latencies=st.lists(st.floats(0, 900), max_size=260),
    labels_same=counts,
    labels_different=counts,
    error_upper=st.none() | st.floats(0, 1),
    saved_usd=money,
    spent_usd=money,
    near_misses=counts,
    evictions=st.none() | counts,
    store_errors=counts,
    embedder_errors=counts,
    upstream_errors=counts,
    certificates_lost=counts,
)


def written(told, **more):
    return list(lines(told, **{"deployment": "shop", "now": NOW, **more}))


def extracted(texts):
    """What CloudWatch takes from lines: (metric, its dimensions) to values, by the rules of the specification."""
    found = defaultdict(list)
    for text in texts:
        root = json.loads(text)
        jsonschema.validate(root, SCHEMA)
        for directive in root["_aws"]["CloudWatchMetrics"]:
            assert len(directive["Metrics"]) <= 100
            for names in directive["Dimensions"]:
                values = {name: root[name] for name in names}  # each target must be there, and be a string
                assert all(isinstance(value, str) and value.isascii() for value in values.values())
                for metric in directive["Metrics"]:
                    value = root[metric["Name"]]
                    several = value if isinstance(value, list) else [value]
                    assert len(several) <= MAX_VALUES
                    assert all(isinstance(one, int | float) and math.isfinite(one) for one in several)
                    assert metric["Unit"] == KNOWN[metric["Name"]].unit
                    assert tuple(names) in KNOWN[metric["Name"]].dimensions
                    assert directive["Namespace"] == NAMESPACE
                    found[metric["Name"], tuple(sorted(values.items()))] += several
    return found


@given(figures)
@settings(max_examples=150, deadline=None)
def test_every_line_is_one_that_cloudwatch_reads(told):
    texts = written(told)
    found = extracted(texts)
    assert not any("\n" in text for text in texts)
    assert all(len(text.encode()) < 256 * 1024 for text in texts)
    assert all(json.loads(text)["_aws"]["Timestamp"] == 1_795_551_168_819 for text in texts)
    here = (("Deployment", "shop"),)
    asked = sum(told.requests.values())
    assert sum(found["Requests", here]) == asked
    for tier in TIERS:
        by_tier = (("Deployment", "shop"), ("Tier", tier))
        assert sum(found["Requests", by_tier]) == told.requests[tier]
    hits, misses = (sum(told.requests[tier] for tier in tiers) for tiers in (TIERS[:3], ["miss"]))
    assert found["HitRate", here] == ([100 * hits / (hits + misses)] if hits + misses else [])
    labels = told.labels_same + told.labels_different
    assert found["WrongRate", here] == ([100 * told.labels_different / labels] if labels else [])
    assert found["Evictions", here] == ([] if told.evictions is None else [told.evictions])
    assert len(found["LatencySeconds", here]) == len(told.latencies)
    assert found["StoreErrors", here] == [told.store_errors]
    assert found["CertificateLost", here] == [told.certificates_lost]
    assert found["SavedUSD", here] == [told.saved_usd]


@given(st.lists(st.floats(0, 900), min_size=MAX_LATENCIES + 1, max_size=4000))
@settings(max_examples=20, deadline=None)
def test_of_many_requests_the_percentiles_stay(latencies):
    found = extracted(written(Figures(latencies=latencies)))["LatencySeconds", (("Deployment", "shop"),)]
    assert len(found) == MAX_LATENCIES
    ordered = sorted(latencies)
    for share in (0.0, 0.5, 0.95, 0.99, 1.0):
        told = found[round(share * (len(found) - 1))]
        rank = share * (len(ordered) - 1)
        low, high = math.floor(rank - len(ordered) / MAX_LATENCIES), math.ceil(rank + len(ordered) / MAX_LATENCIES)
        assert ordered[max(0, low)] - 1e-6 <= told <= ordered[min(high, len(ordered) - 1)] + 1e-6


def test_one_invocation_is_one_line():
    told = Figures(requests=Counter(semantic=1), latencies=[0.0421])
    (line,) = written(told)
    root = json.loads(line)
    assert (root["Tier"], root["Requests"], root["HitRate"], root["LatencySeconds"]) == ("semantic", 1, 100, [0.0421])
    assert "WrongRate" not in root
    assert "Evictions" not in root


def test_what_a_schema_check_is_worth():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"_aws": {"Timestamp": 1.5, "CloudWatchMetrics": []}}, SCHEMA)
    unit = {"Namespace": "a", "Dimensions": [["b"]], "Metrics": [{"Name": "c", "Unit": "USD"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"_aws": {"Timestamp": 1, "CloudWatchMetrics": [unit]}}, SCHEMA)


def test_each_metric_is_told_once_and_by_what_alarms_can_name():
    assert len(KNOWN) == len(METRICS)
    assert {dimensions for metric in METRICS for dimensions in metric.dimensions} == {DEPLOYMENT, BY_TIER}
    everything = Figures(
        requests=Counter(dict.fromkeys(TIERS, 1)), latencies=[1.0], labels_same=1, error_upper=0.05, evictions=0
    )
    told = {name for name, _ in extracted(written(everything))}
    assert told == set(KNOWN)


def test_the_documentation_lists_them():
    page = (ROOT / "docs" / "lambda.md").read_text(encoding="utf-8")
    assert metrics_table() in page, "put in: python -c 'from yamabiko.aws.metrics import *; print(metrics_table())'"
