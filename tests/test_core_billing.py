"""A bill and the cache's own counters, side by side."""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.billing import Answered, Charge, Counted, is_same_model, measured, service_of, statement
from yamabiko.core.economics import parse
from yamabiko.core.planning import DAYS, Deployment, Workload, plan
from yamabiko.core.tariff import parse_tariff

TEXT = files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8")
PRICES, TARIFF = parse(TEXT), parse_tariff(TEXT)
HAIKU = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET = "jp.anthropic.claude-sonnet-5"
ASSUMED = Workload(requests_per_day=0, hit_rate=0, model=HAIKU)
RUNS = Deployment(node="db.t4g.small", endpoints=2, zones=1)


def counted(models, tiers, days=2.0, by_similarity=None):
    return Counted(
        days=days,
        tiers=MappingProxyType(tiers),
        models=MappingProxyType(models),
        by_similarity=MappingProxyType(by_similarity or {}),
    )


SEEN = counted(
    {
        HAIKU: Answered(served=600, made=300, saved_usd=1.8, spent_usd=0.9),
        SONNET: Answered(served=0, made=100, saved_usd=0.0, spent_usd=0.5),
    },
    {"exact": 400, "semantic": 190, "verified": 10, "miss": 400, "pass": 7},
    by_similarity={93: (100, 0.3), 98: (90, 0.27)},
)


@pytest.mark.parametrize(
    ("service", "usage_type", "found"),
    [
        ("Amazon MemoryDB", "APN1-NodeUsage:db.r7g.large", ("memorydb", "")),
        ("AWS Lambda", "Lambda-GB-Second-ARM", ("gateway", "")),
        ("Amazon Elastic Container Service", "Fargate-vCPU-Hours", ("gateway", "")),
        ("Amazon API Gateway", "ApiGatewayHttpRequest", ("gateway", "")),
        ("Amazon Elastic Load Balancing", "LoadBalancerUsage", ("gateway", "")),
        ("Amazon Virtual Private Cloud", "APN1-VpcEndpoint-Hours", ("endpoints", "")),
        ("AmazonCloudWatch", "APN1-CW:MetricMonitorUsage", ("observability", "")),
        ("Amazon Bedrock", "APN1-TitanEmbedV2-Text-input-tokens", ("embeddings", "")),
        ("Amazon Bedrock", "APN1-ClaudeHaiku4.5-input-tokens", ("bedrock", "ClaudeHaiku4.5")),
        ("Amazon Bedrock", "USE1-NovaLite-cache-read-input-token-count", ("bedrock", "NovaLite")),
        ("Claude Haiku 4.5 (Amazon Bedrock Edition)", "APN1-MP:in_token", ("bedrock", "Claude Haiku 4.5")),
        ("Amazon Simple Storage Service", "TimedStorage", ("other", "Amazon Simple Storage Service")),
    ],
)
def test_each_line_of_a_bill_is_for_something(service, usage_type, found):
    assert service_of(service, usage_type) == found


@pytest.mark.parametrize(
    ("billed", "model", "same"),
    [
        ("ClaudeHaiku4.5", HAIKU, True),
        ("Claude Haiku 4.5", HAIKU, True),
        ("Claude Sonnet 5", "jp.anthropic.claude-sonnet-5-5", False),
        ("Claude Sonnet 5", "jp.anthropic.claude-sonnet-5", True),
        ("Claude Sonnet 4.5", "anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("Claude Sonnet 4.5", HAIKU, False),
        ("NovaLite", "amazon.nova-lite-v1:0", True),
        ("", HAIKU, False),
    ],
)
def test_a_model_is_known_under_the_bills_name_for_it(billed, model, same):
    assert is_same_model(billed, model) is same


def test_what_was_counted_is_a_workload():
    found = measured(SEEN, ASSUMED)
    assert (found.requests_per_day, found.hit_rate) == (500, 0.6)
    assert found.exact_share == pytest.approx(400 / 600)
    assert found.answer_usd == pytest.approx(3.2 / 1000)
    assert found.model == HAIKU


def test_models_without_a_price_do_not_make_answers_look_cheap():
    found = measured(counted({HAIKU: SEEN.models[HAIKU], "x": Answered(served=900)}, {"exact": 1}), ASSUMED)
    assert found.answer_usd == pytest.approx(0.003)


def test_before_any_request_nothing_is_reckoned():
    nothing = counted({}, {})
    found = measured(nothing, ASSUMED)
    assert (found.requests_per_day, found.hit_rate, found.answer_usd) == (0, 0, None)
    assert nothing.hit_rate == 0


def stated(charges, seen=SEEN, days=2.0):
    planned = plan(measured(seen, ASSUMED) if seen else ASSUMED, RUNS, PRICES, TARIFF)
    return planned, statement(seen, charges, planned, days)


BILL = [
    Charge(service="Amazon MemoryDB", usage_type="NodeUsage", usd=1.7),
    Charge(service="Amazon MemoryDB", usage_type="Written", usd=0.1),
    Charge(service="Claude Haiku 4.5 (Amazon Bedrock Edition)", usage_type="in", usd=0.2),
    Charge(service="Claude Haiku 4.5 (Amazon Bedrock Edition)", usage_type="out", usd=0.75),
    Charge(service="Amazon Bedrock", usage_type="APN1-TitanEmbedV2-Text-input-tokens", usd=0.01),
    Charge(service="Amazon Virtual Private Cloud", usage_type="APN1-VpcEndpoint-Hours", usd=1.0),
    Charge(service="Amazon Simple Storage Service", usage_type="TimedStorage", usd=5.0),
]


def test_a_service_has_one_row_with_what_was_billed_and_what_we_counted():
    _planned, told = stated(BILL)
    rows = {(row.service, row.what): row for row in told.rows}
    assert rows["memorydb", ""].billed_usd == pytest.approx(1.8)
    assert rows["memorydb", ""].own_usd == pytest.approx(2 * 24 * 0.0336, rel=1e-3)
    assert (rows["bedrock", HAIKU].billed_usd, rows["bedrock", HAIKU].own_usd) == pytest.approx((0.95, 0.9))
    assert (rows["bedrock", SONNET].billed_usd, rows["bedrock", SONNET].own_usd) == (None, 0.5)
    assert rows["other", "Amazon Simple Storage Service"].own_usd is None
    assert next(row.service for row in told.rows) == "memorydb"
    assert [row.service for row in told.rows][-1] == "other"


def test_net_is_gross_less_all_that_is_paid_for_the_cache_and_not_for_answers():
    planned, told = stated(BILL)
    assert told.saved_usd == pytest.approx(1.8)
    assert told.billed_cache_usd == pytest.approx(1.8 + 0.01 + 1.0)
    assert told.billed_net_usd == pytest.approx(1.8 - 2.81)
    assert told.own_net_usd == pytest.approx(1.8 - planned.cache_usd / DAYS * 2)
    assert told.month(2.0) == pytest.approx(DAYS)


def test_without_a_bill_our_counters_stand_alone():
    _, told = stated(None)
    assert told.billed_cache_usd is None
    assert told.billed_net_usd is None
    assert {row.billed_usd for row in told.rows} == {None}


def test_without_counters_the_bill_stands_alone():
    _, told = stated(BILL, seen=None)
    assert told.saved_usd == 0
    assert told.billed_cache_usd == pytest.approx(2.81)


def test_a_higher_similarity_would_lose_what_lay_below():
    _, told = stated(None)
    assert [(at, lost) for at, lost, _ in told.raised] == [(95, 100), (97, 100), (98, 100), (99, 190)]
    assert told.raised[0][2] == pytest.approx(0.3 / 2 * DAYS)


@given(
    st.lists(
        st.builds(
            Charge,
            service=st.sampled_from([*(charge.service for charge in BILL), "Tax", "AWS Lambda"]),
            usage_type=st.sampled_from([charge.usage_type for charge in BILL]),
            usd=st.floats(0, 1e6),
        )
    )
)
def test_no_dollar_of_a_bill_is_lost_or_told_twice(charges):
    _, told = stated(charges)
    assert sum(row.billed_usd or 0 for row in told.rows) == pytest.approx(sum(charge.usd for charge in charges))


def test_tallies_add_up():
    both = SEEN.models[HAIKU].plus(SEEN.models[SONNET])
    assert (both.served, both.made, both.saved_usd) == (600, 400, 1.8)
    assert both.spent_usd == pytest.approx(SEEN.spent_usd) == pytest.approx(1.4)
