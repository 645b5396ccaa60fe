"""The cache's own counters, from what a gateway really writes."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from importlib.resources import files
from types import MappingProxyType

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstreams.processes import running_gateway, running_upstream
from yamabiko.aws.costs import Metered
from yamabiko.core.economics import parse
from yamabiko.costs.counters import from_access_log, from_metered, from_metrics
from yamabiko.errors import ConfigurationError

PRICES = parse(files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8"))
START = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
END = START + 86_400
HAIKU = "claude-haiku-4-5"


def line(tier, *, when="2026-11-23T12:00:00.000+00:00", model=HAIKU, tokens=(1000, 200), **more):
    return json.dumps(
        {
            "time": when,
            "method": "POST",
            "tier": tier,
            "model": model,
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            **more,
        }
    )


def read(*lines):
    return from_access_log(lines, PRICES, START, END)


def test_hits_have_saved_and_misses_have_cost_what_their_tokens_cost():
    found = read(line("exact"), line("semantic", similarity=0.934), line("miss"), line("pass"))
    assert (found.requests, found.hits, found.hit_rate) == (3, 2, pytest.approx(2 / 3))
    assert dict(found.tiers) == {"exact": 1, "semantic": 1, "miss": 1, "pass": 1}
    assert found.saved_usd == pytest.approx(2 * 0.002)
    assert found.spent_usd == pytest.approx(0.002)
    assert dict(found.by_similarity) == {93: (1, pytest.approx(0.002))}


def test_an_answer_that_was_made_for_another_request_was_saved():
    found = read(line("miss", shared=True))
    assert (found.saved_usd, found.spent_usd, found.hits) == (pytest.approx(0.002), 0, 0)


def test_a_cost_that_the_log_tells_is_taken_before_the_price_file():
    assert read(line("miss", model="mystery", cost_usd=0.5)).spent_usd == 0.5


def test_a_model_without_a_price_is_named_and_counts_as_nothing():
    found = read(line("exact", model="mystery"), line("miss", model=""))
    assert found.unpriced == ("mystery", "without a name")
    assert found.saved_usd == 0
    assert found.requests == 2


@pytest.mark.parametrize(
    ("when", "counts"),
    [
        ("2026-11-22T23:59:59.999+00:00", 0),
        ("2026-11-23T00:00:00.000+00:00", 1),
        ("2026-11-23T23:59:59.999+00:00", 1),
        ("2026-11-24T00:00:00.000+00:00", 0),
        ("2026-11-24T08:59:00.000+09:00", 1),
        ("2026-11-23T12:00:00", 1),
    ],
)
def test_only_the_period_counts(when, counts):
    assert read(line("exact", when=when)).requests == counts


def test_what_is_no_line_of_an_access_log_is_passed_over():
    noise = [
        "",
        "Traceback",
        "{",
        "{}",
        '{"time": "noon", "tier": "exact"}',
        '{"time": 1}',
        '{"tier": ["exact"]}',
        "\ufffd{",
    ]
    own = json.dumps({"time": "2026-11-23T12:00:00+00:00", "path": "/yamabiko/stats", "status": 200})
    assert read(*noise, own, f"gateway-1  | {line('exact')}").requests == 1


def test_a_request_that_failed_counts_and_costs_nothing():
    found = read(line("miss", tokens=(0, 0)))
    assert (found.requests, found.spent_usd, found.unpriced) == (1, 0, ())


@given(st.lists(st.sampled_from(["exact", "semantic", "verified", "miss", "pass", "refused"])), st.integers(0, 5))
def test_every_request_counts_once(tiers, at):
    lines = [line(tier) for tier in tiers]
    one, two, both = read(*lines[:at]), read(*lines[at:]), read(*lines)
    assert one.requests + two.requests == both.requests
    assert one.saved_usd + two.saved_usd == pytest.approx(both.saved_usd)
    assert both.saved_usd + both.spent_usd == pytest.approx(0.002 * both.requests)


@given(st.text())
def test_no_text_breaks_the_reading(text):
    assert from_access_log(text.splitlines(), PRICES, START, END).requests == 0


def test_a_real_gateways_log_and_its_metrics_come_to_the_same(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stdout, running_upstream() as upstream:
        settings = {"gateway__access_log": "true", "url": f"sqlite:///{tmp_path}/c.db"}
        with running_gateway(upstream=upstream, stdout=stdout, **settings) as gateway:
            for question, stream in (
                ("One?", False),
                ("One?", True),
                ("Two?", True),
                ("Two?", False),
                ("Three?", False),
            ):
                assert gateway.ask(question, stream=stream, model=HAIKU).status_code == 200
            scrape = httpx.get(f"{gateway.root}/metrics").text
            gateway.stop()
    now = time.time()
    read, scraped = from_access_log(log.read_text().splitlines(), PRICES, now - 300, now), from_metrics(scrape, now=now)
    assert (read.tiers["exact"], read.tiers["miss"]) == (scraped.tiers["exact"], scraped.tiers["miss"]) == (2, 3)
    assert read.saved_usd == pytest.approx(scraped.saved_usd)
    assert read.spent_usd == pytest.approx(scraped.spent_usd)
    assert min(read.saved_usd, read.spent_usd) > 0


# A scrape.

SCRAPE = """# HELP yamabiko_requests_total Requests that are over.
# TYPE yamabiko_requests_total counter
yamabiko_requests_total{dialect="openai",tier="exact",reason="none"} 6.0
yamabiko_requests_total{dialect="anthropic",tier="exact",reason="none"} 1.0
yamabiko_requests_total{dialect="openai",tier="semantic",reason="none"} 2.0
yamabiko_requests_total{dialect="openai",tier="miss",reason="below_threshold"} 3.0
yamabiko_saved_usd_total 0.5
yamabiko_spent_usd_total{purpose="answer"} 0.2
yamabiko_spent_usd_total{purpose="label"} 0.05
process_start_time_seconds 1.0e+06
"""


def test_a_scrape_counts_since_the_process_began():
    found = from_metrics(SCRAPE, now=1.0e6 + 2 * 86_400)
    assert found.days == pytest.approx(2)
    assert dict(found.tiers) == {"exact": 7, "semantic": 2, "miss": 3}
    assert (found.saved_usd, found.spent_usd) == pytest.approx((0.5, 0.25))


def test_an_earlier_scrape_is_taken_off():
    later = SCRAPE.replace('tier="exact",reason="none"} 6.0', 'tier="exact",reason="none"} 10.0').replace("0.5", "0.9")
    found = from_metrics(later, now=0, days=1, before=SCRAPE)
    assert dict(found.tiers) == {"exact": 4, "semantic": 0, "miss": 0}
    assert (found.days, found.saved_usd, found.spent_usd) == (1, pytest.approx(0.4), 0)


def test_a_gateway_that_began_anew_in_between_is_told():
    with pytest.raises(ConfigurationError, match="began anew"):
        from_metrics(SCRAPE, now=0, days=1, before=SCRAPE.replace("0.5", "0.9"))


@pytest.mark.parametrize(
    ("text", "before", "words"),
    [
        ("", "", "no scrape"),
        ("<html>404</html>", "", "no scrape"),
        (SCRAPE.replace("process_start", "other"), "", "say --days"),
        (SCRAPE, SCRAPE, "say --days"),
    ],
)
def test_what_can_not_be_read_is_told(text, before, words):
    with pytest.raises(ConfigurationError, match=words):
        from_metrics(text, now=2e6, before=before)


def test_what_prometheus_really_writes_is_read():
    import prometheus_client as prometheus

    registry = prometheus.CollectorRegistry()
    counter = prometheus.Counter("yamabiko_requests_total", "x", ("dialect", "tier", "reason"), registry=registry)
    counter.labels("openai", "miss", 'a"b\\c').inc(41)
    found = from_metrics(prometheus.generate_latest(registry).decode(), now=0, days=1)
    assert dict(found.tiers) == {"miss": 41}


def test_sums_of_cloudwatch_are_counters_too():
    metered = Metered(tiers=MappingProxyType({"exact": 3, "miss": 1}), saved_usd=0.3, spent_usd=0.1)
    found = from_metered(metered, 2)
    assert (found.requests, found.hits, found.days) == (4, 3, 2)
    assert (found.saved_usd, found.spent_usd) == (0.3, 0.1)
