"""The size and the bill of a deployment: figures worked out by hand, and rules that hold for all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from yamabiko.core.alternatives import changes, compared
from yamabiko.core.economics import parse
from yamabiko.core.planning import DAYS, FILL, HOURS, Deployment, Workload, entry_bytes, plan, sized, smallest_node
from yamabiko.core.tariff import parse_tariff
from yamabiko.errors import ConfigurationError

TEXT = files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8")
PRICES, TARIFF = parse(TEXT), parse_tariff(TEXT)
HAIKU = "global.anthropic.claude-haiku-4-5-20251001-v1:0"
RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
WORK = Workload(requests_per_day=1000, hit_rate=0.5, model=HAIKU)


def made(workload=WORK, deployment=None):
    return plan(workload, deployment or Deployment(node="db.r7g.large", replicas=1), PRICES, TARIFF)


def usd(planned, service):
    return sum(line.usd for line in planned.lines if line.service == service)


# By hand.


def test_a_bill_is_what_it_is_by_hand():
    planned = made()
    answer = (300 * 1.0 + 500 * 5.0) / 1e6
    assert planned.answer_usd == pytest.approx(answer)
    assert planned.without_usd == pytest.approx(1000 * DAYS * answer)
    assert planned.saved_usd == planned.answers_usd == pytest.approx(500 * DAYS * answer)
    assert usd(planned, "embeddings") == pytest.approx(1000 * DAYS * 30 * 0.02 / 1e6)
    requests, waited = 1000 * DAYS, 0.5 * 0.15 + 0.5 * 4.0
    assert usd(planned, "gateway") == pytest.approx(requests * (2e-7 + 1e-6 + waited * 0.5 * 0.0000133334))
    assert usd(planned, "memorydb") == pytest.approx(2 * 0.2275 * 730, rel=1e-4)
    assert planned.total_usd == pytest.approx(planned.cache_usd + planned.answers_usd)
    assert planned.net_usd == pytest.approx(planned.saved_usd - planned.cache_usd)


def test_tasks_and_a_load_balancer_cost_the_same_without_a_request():
    idle = made(replace(WORK, requests_per_day=0), sized("large"))
    assert usd(idle, "gateway") == pytest.approx(730 * (2 * (2 * 0.03238 + 4 * 0.00356) + 0.0225 + 0.008))
    assert idle.break_even is not None


def test_endpoints_are_paid_in_each_zone():
    planned = made(deployment=Deployment(node="db.t4g.small", endpoints=3, zones=2))
    hours = next(line for line in planned.lines if line.service == "endpoints" and line.fixed)
    assert hours.usd == pytest.approx(3 * 2 * 0.01 * HOURS)
    assert usd(made(deployment=Deployment(node="db.t4g.small", endpoints=0)), "endpoints") == 0


@pytest.mark.parametrize(
    ("hits", "exact", "embedded"), [(0.5, 0.0, 1000), (0.5, 1.0, 500), (0.5, 0.4, 800), (0.0, 1.0, 1000)]
)
def test_exact_hits_need_no_embedding(hits, exact, embedded):
    planned = made(replace(WORK, hit_rate=hits, exact_share=exact))
    assert usd(planned, "embeddings") == pytest.approx(embedded * DAYS * 30 * 0.02 / 1e6)


def test_logs_snapshots_data_and_warm_instances_are_paid_by_their_amount():
    planned = made(deployment=replace(sized("medium"), snapshot_days=3))
    found = {line.what: line.usd for line in planned.lines}
    requests = 1000 * DAYS
    assert found["logs"] == pytest.approx(requests * 1500 / 1e9 * 0.5)
    assert found["snapshots, kept 3 days"] == pytest.approx(3 * 0.021 * 3500 * planned.entry_bytes / 1e9)
    assert found["data"] == pytest.approx((500 * 4 * 800 + 1000 * 16 * 1024) * DAYS / 1e9 * 0.01)
    assert found["2 kept warm"] == pytest.approx(2 * 1.5 * 730 * 3600 * 0.0000033334)


def test_audits_cost_a_fresh_answer_and_a_judgement():
    audited = made(replace(WORK, audit_rate=0.1))
    judged = (1300 * 1.0 + 5 * 5.0) / 1e6
    assert usd(audited, "bedrock") == pytest.approx(1000 * 0.5 * 0.1 * DAYS * (audited.answer_usd + judged))


def test_redis_pays_for_what_is_written_and_valkey_does_not():
    redis = made(deployment=Deployment(node="db.r7g.large", engine="redis"))
    written = next(line for line in redis.lines if line.what == "written")
    assert written.usd == pytest.approx(0.2 * 500 * DAYS * redis.entry_bytes / 1e9)
    assert next(line for line in made().lines if line.what == "written").usd == 0


def test_a_cache_in_a_file_has_no_node_and_pays_for_itself_at_once():
    file = Deployment(node="", gateway="none", endpoints=0, metrics=0, alarms=0, dashboards=0, log_bytes=0, reports=0)
    planned = made(replace(WORK, embedder=""), file)
    assert planned.cache_usd == 0
    assert planned.holds
    assert planned.break_even == 0
    assert planned.net_usd == planned.saved_usd
    assert [change.usd for change in changes(planned, PRICES, TARIFF)] == pytest.approx([-8.5167, 8.5167], rel=1e-3)


def test_every_unverified_price_that_is_used_is_named_and_no_other():
    assert {"db.r7g.large", HAIKU, "endpoint.hour", "lambda.request"} <= set(made().unverified)
    assert not [name for name in made().unverified if name.startswith(("fargate", "alb", "db.t4g"))]
    bare = made(deployment=Deployment(node="db.t4g.small", dashboards=0)).unverified
    assert "cloudwatch.dashboard" not in bare
    assert "cloudwatch.metric" in bare
    own = parse_tariff(TEXT.replace('"verified": false', '"verified": true'))
    verified = parse(TEXT.replace('"verified": false', '"verified": true'))
    assert plan(WORK, sized("large"), verified, own).unverified == ()


# Published figures, and measured ones.


@pytest.mark.parametrize(
    ("node", "count", "engine", "month"),
    [
        ("db.t4g.small", 1, "redis", 35.0),  # a published small size: that is Redis OSS's price ...
        ("db.t4g.small", 1, "valkey", 24.5),  # ... and Valkey's is 30 % less
        ("db.r7g.large", 2, "redis", 474.5),
        ("db.r7g.large", 2, "valkey", 332.2),
    ],
)
def test_nodes_cost_what_is_known_of_published_sizes(node, count, engine, month):
    planned = made(deployment=Deployment(node=node, replicas=count - 1, engine=engine))
    assert next(line.usd for line in planned.lines if "x db." in line.what) == pytest.approx(month, rel=0.01)


def test_the_published_medium_size_can_not_be_had_for_what_is_said():
    both = made(deployment=Deployment(node="db.r7g.large", replicas=1))
    assert usd(both, "memorydb") > 1.3 * 240  # two r7g.large for 240 USD a month: below either engine's price


PUBLISHED = {0.235: 41.70, 0.560: 23.80, 0.745: 13.60, 0.876: 7.60, 0.903: 6.80, 0.943: 5.90}
"""Hit ratio and USD a day. Source: ElastiCache guide, "Semantic caching benchmarks" (read 2026-11-23)."""


def test_the_published_benchmark_comes_out_but_for_its_node():
    """63,796 queries a day, Claude 3 Haiku, 49.50 USD without a cache: 100 tokens in and 600 out (docs/aws-table.md)."""
    asked = Workload(
        requests_per_day=63_796,
        hit_rate=0,
        model="claude-3-haiku",
        input_tokens=100,
        output_tokens=600,
        question_tokens=100,
    )
    bare = Deployment(node="", gateway="none", endpoints=0, metrics=0, alarms=0, dashboards=0, log_bytes=0, reports=0)
    assert made(asked, bare).without_usd / DAYS == pytest.approx(49.50, rel=0.002)
    for hits, published in PUBLISHED.items():
        rest = published - made(replace(asked, hit_rate=hits), bare).total_usd / DAYS
        assert 0.7 < rest < 4.0  # the page's node: less than an r7g.large of MemoryDB a day, which is 5.46 USD


def test_bytes_of_an_entry_are_as_they_were_measured():
    for row in json.loads((RESULTS / "entry_bytes.json").read_text())["rows"]:
        assert entry_bytes(row["dim"], row["answer_bytes"]) == pytest.approx(row["bytes_per_entry"], rel=0.01)
    for result in json.loads((RESULTS / "memorydb_load.json").read_text())["results"]:  # answers of 2,063 bytes
        measured = result["filled"]["server_bytes_per_entry"]
        assert entry_bytes(result["dim"], 2063) == pytest.approx(measured, rel=0.03)


# What another choice would change.


def by_name(planned):
    return {change.what: change for change in changes(planned, PRICES, TARIFF)}


def test_reserved_nodes_save_at_most_what_aws_says_and_small_ones_nothing():
    found = by_name(made())["reserved nodes, 3 years"]
    assert found.usd == pytest.approx(-0.55 * 2 * 0.2275 * 730)
    assert "at most" in found.note
    small = by_name(made(deployment=sized("small")))["reserved nodes, 3 years"]
    assert small.usd is None
    assert "not sold" in small.note


def test_smaller_vectors_may_need_a_smaller_node():
    many = replace(WORK, requests_per_day=0, entries=80_000)
    planned = made(many, Deployment(node="db.t4g.medium"))
    assert planned.smallest == "db.t4g.medium"
    found = by_name(planned)
    assert found["vectors of 512 dimensions"].usd == pytest.approx(-24.5, rel=0.01)
    assert found["vectors of 512 dimensions"].note == "31% less memory, on db.t4g.small"
    assert "vectors of 1024 dimensions" not in found
    roomy = by_name(made())["vectors of 512 dimensions"]  # a smaller node would have done for these as well
    assert roomy.note == "31% less memory"
    assert roomy.usd == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("filled", "holds"), [(0.5, True), (0.69, True), (0.71, False), (1.2, False)])
def test_a_node_is_filled_to_seventy_percent_and_no_further(filled, holds):
    node = TARIFF.node("db.r7g.large")
    entries = filled * node.memory_bytes / entry_bytes(1024, 2000)
    assert made(replace(WORK, entries=entries), Deployment(node=node.name)).holds is holds


def test_a_node_that_is_too_small_is_told_with_one_that_is_not():
    full = made(replace(WORK, entries=200_000), sized("small"))
    assert not full.holds
    assert full.smallest == "db.r6g.large"
    assert by_name(full)["db.r6g.large instead"].note == "db.t4g.small does not hold this"


def test_what_no_node_holds_is_told():
    full = made(replace(WORK, entries=1e9))
    assert full.smallest is None
    assert "no node holds this" in by_name(full)["another node"].note


def test_another_threshold_is_worth_its_hits():
    planned = made()
    found = by_name(planned)
    lower = found["a lower threshold, should it bring 60% hits"]
    assert lower.usd == pytest.approx(-100 * DAYS * planned.answer_usd, rel=0.03)
    assert len(by_name(made(replace(WORK, hit_rate=1.0)))) == len(found) - 1


def test_nodes_are_compared_cheapest_first():
    plans = compared(made(), PRICES, TARIFF)
    assert len(plans) == len(TARIFF.nodes)
    assert [one.total_usd for one in plans] == sorted(one.total_usd for one in plans)
    assert plans[0].deployment.node == "db.t4g.small"
    assert plans[0].deployment.replicas == 1


# Rules.

WORKLOADS = st.builds(
    Workload,
    requests_per_day=st.floats(0, 1e7),
    hit_rate=st.floats(0, 1),
    model=st.sampled_from([HAIKU, "claude-haiku-5-5", "nova-micro", "claude-opus-4-8"]),
    input_tokens=st.integers(0, 10_000),
    output_tokens=st.integers(0, 4_000),
    exact_share=st.floats(0, 1),
    keep_days=st.floats(0.01, 365),
    audit_rate=st.floats(0, 0.2),
    dim=st.sampled_from([256, 512, 1024]),
    embedder=st.sampled_from(["", "amazon.titan-embed-text-v2:0"]),
)
DEPLOYMENTS = st.builds(
    Deployment,
    node=st.sampled_from([*TARIFF.nodes, ""]),
    replicas=st.integers(0, 5),
    engine=st.sampled_from(["valkey", "redis"]),
    gateway=st.sampled_from(["lambda", "ecs", "none"]),
    endpoints=st.integers(0, 10),
    zones=st.integers(1, 3),
    tasks=st.integers(0, 20),
)


@given(WORKLOADS, DEPLOYMENTS)
def test_with_and_without_a_cache_the_books_balance(workload, deployment):
    planned = made(workload, deployment)
    assert planned.saved_usd + planned.answers_usd == pytest.approx(planned.without_usd)
    assert planned.net_usd == pytest.approx(planned.without_usd - planned.total_usd, abs=1e-6, rel=1e-6)
    assert all(line.usd >= 0 for line in planned.lines)


@given(WORKLOADS, DEPLOYMENTS)
def test_at_the_break_even_nothing_is_gained_and_nothing_lost(workload, deployment):
    planned = made(workload, deployment)
    if planned.break_even is None:
        assert made(replace(workload, requests_per_day=1e9), deployment).net_usd <= 1e-3
        return
    assume(planned.break_even < 1e12)
    there = made(replace(workload, requests_per_day=planned.break_even), deployment)
    assert there.net_usd == pytest.approx(0, abs=1e-6 * max(1.0, there.saved_usd))
    beyond = made(replace(workload, requests_per_day=planned.break_even * 2 + 1), deployment)
    assert beyond.net_usd >= -1e-6 * max(1.0, beyond.saved_usd)


@given(WORKLOADS, st.sampled_from(["valkey", "redis"]))
def test_the_smallest_node_holds_all_and_no_cheaper_one_does(workload, engine):
    needed = workload.stored * entry_bytes(workload.dim, workload.bytes_per_answer)
    found = smallest_node(needed, engine, TARIFF)
    cheaper = [
        node for node in TARIFF.nodes.values() if found is None or node.price(engine) < TARIFF.node(found).price(engine)
    ]
    assert not [node.name for node in cheaper if needed <= FILL * node.memory_bytes]
    if found is not None:
        assert made(workload, Deployment(node=found, engine=engine)).holds


@given(WORKLOADS, DEPLOYMENTS)
def test_what_would_change_is_what_the_other_plan_costs(workload, deployment):
    planned = made(workload, deployment)
    for change in changes(planned, PRICES, TARIFF):
        if change.what.startswith(("reserved", "no replicas")) and change.usd is not None:
            assert change.usd <= 0
        if change.what == "no replicas":
            alone = made(workload, replace(deployment, replicas=0))
            assert change.usd == pytest.approx(alone.total_usd - planned.total_usd)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: replace(WORK, hit_rate=1.5), "hit_rate must be in 0..1"),
        (lambda: replace(WORK, requests_per_day=-1), "requests_per_day must be 0 or more"),
        (lambda: replace(WORK, requests_per_day=float("nan")), "requests_per_day"),
        (lambda: replace(WORK, keep_days=float("inf")), "keep_days must be above 0 and finite"),
        (lambda: replace(WORK, dim=0), "dim must be in"),
        (lambda: Deployment(node="db.t4g.small", replicas=6), "replicas must be in 0..5"),
        (lambda: Deployment(node="db.t4g.small", snapshot_days=36), "snapshot_days"),
        (lambda: Deployment(node="db.t4g.small", engine="memcached"), "engine must be valkey or redis"),
        (lambda: Deployment(node="db.t4g.small", gateway="ec2"), "gateway must be lambda or ecs or none"),
        (lambda: made(replace(WORK, model="mystery")), "no price is known for mystery"),
        (lambda: made(deployment=Deployment(node="db.r6gd.xlarge")), "no node db.r6gd.xlarge"),
    ],
)
def test_what_can_not_be_reckoned_is_refused(build, words):
    with pytest.raises(ConfigurationError, match=words):
        build()
