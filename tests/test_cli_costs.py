"""``yamabiko plan`` and ``yamabiko costs``, as they are typed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import boto3
import pytest
import requests
from click.testing import CliRunner
from moto import mock_aws

from yamabiko.cli import main

HAIKU = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
ASKED = ["plan", "--requests-per-day", "20000", "--hit-rate", "0.6", "--model", HAIKU]
REGION = "ap-northeast-1"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)


def run(*arguments, **options):
    return CliRunner().invoke(main, list(arguments), **options)


def said(*arguments, exit_code=0, **options):
    ran = run("--json", *arguments, **options)
    assert ran.exit_code == exit_code, ran.output
    return json.loads(ran.stdout)


# plan


def test_a_plan_says_what_fits_what_it_costs_and_from_when_it_pays():
    ran = run(*ASKED, "--node", "db.r7g.large", "--replicas", "1")
    assert ran.exit_code == 0
    for words in (
        "db.r7g.large has 13.07 GiB",
        "it holds them",
        "without a cache",
        "saved, net",
        "break-even",
        "Not verified",
    ):
        assert words in ran.stdout


def test_a_plan_for_programs_has_the_same_figures():
    told = said(*ASKED, "--node", "db.r7g.large", "--replicas", "1")
    assert told["net_usd"] == pytest.approx(told["without_usd"] - told["total_usd"])
    assert told["prices"] == {"dated": "2026-11-23", "region": "us-east-1"}
    assert {"db.r7g.large", HAIKU} <= set(told["unverified"])
    assert next(change["what"] for change in told["changes"]) == "reserved nodes, 3 years"


def test_without_a_node_the_cheapest_that_holds_is_taken():
    assert said(*ASKED)["node"] == "db.t4g.small"
    assert said(*ASKED, "--keep-days", "14")["node"] == "db.t4g.medium"
    refused = run(*ASKED, "--keep-days", "36500")
    assert refused.exit_code == 2
    assert "keep them for a shorter time" in refused.stderr


def test_a_node_that_is_too_small_is_an_answer_of_no():
    ran = run(*ASKED, "--node", "db.t4g.small", "--keep-days", "60")
    assert ran.exit_code == 1
    assert "too much" in ran.stdout
    assert "would" in ran.stdout


@pytest.mark.parametrize(
    ("size", "node", "replicas"),
    [("small", "db.t4g.small", 0), ("medium", "db.r7g.large", 1), ("large", "db.r7g.xlarge", 2)],
)
def test_sizes_are_those_of_the_examples(size, node, replicas):
    told = said(*ASKED, "--size", size)
    assert (told["node"], told["replicas"]) == (node, replicas)
    assert said(*ASKED, "--size", size, "--node", "db.r6g.large")["node"] == "db.r6g.large"


def test_nodes_stand_side_by_side():
    ran = run(*ASKED, "--compare")
    lines = ran.stdout.splitlines()
    assert ran.exit_code == 0
    assert [line.split()[0] for line in lines[:3]] == ["node", "db.t4g.small", "db.t4g.medium"]
    assert len(said(*ASKED, "--compare")["plans"]) == 16
    assert "too small" in run(*ASKED, "--compare", "--keep-days", "60").stdout


def test_smaller_vectors_take_less():
    assert said(*ASKED, "--dim", "256")["entry_bytes"] < said(*ASKED, "--dim", "1024")["entry_bytes"]


def test_ones_own_prices_are_taken(tmp_path):
    own = {
        "dated": "2027-01-01",
        "nodes": [{"node": "db.t4g.small", "memory_gib": 1.37, "vcpus": 2, "valkey": 1, "verified": True}],
    }
    (tmp_path / "own.json").write_text(json.dumps(own))
    told = said(*ASKED, "--node", "db.t4g.small", env={"YAMABIKO_PRICES_PATH": "own.json"})
    assert told["lines"][0]["usd"] == pytest.approx(730)
    assert told["prices"]["dated"] == "2027-01-01"
    assert "db.t4g.small" not in told["unverified"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "mystery"], "no price is known for mystery"),
        (["--node", "db.r6gd.xlarge"], "no node db.r6gd.xlarge; it has"),
        (["--hit-rate", "60"], "Invalid value for '--hit-rate'"),
    ],
)
def test_what_can_not_be_planned_says_what_to_change(arguments, words):
    ran = run(*ASKED, *arguments)
    assert ran.exit_code == 2
    assert words in ran.stderr


# costs


def log(tmp_path, name="access.log"):
    lines = [
        {
            "time": f"2026-11-23T{hour:02}:00:00+00:00",
            "tier": tier,
            "model": HAIKU,
            "input_tokens": 300,
            "output_tokens": 500,
        }
        for hour in range(24)
        for tier in ("exact", "semantic", "miss")
    ]
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return str(path)


def test_a_log_is_enough_and_no_account_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    told = said("costs", "--log", log(tmp_path), "--until", "2026-11-24")
    assert (told["requests"], told["hit_rate"]) == (72, pytest.approx(2 / 3))
    assert told["saved_usd"] == pytest.approx(48 * 0.00308)
    assert told["net_usd"] == {"billed": None, "own": pytest.approx(told["saved_usd"])}


def test_several_logs_are_one_and_standard_input_is_a_file(tmp_path):
    path = log(tmp_path)
    told = said("costs", "--log", path, "--log", "-", "--until", "2026-11-24", input=Path(path).read_text())
    assert told["requests"] == 144


def test_what_runs_is_on_the_bill(tmp_path):
    told = said("costs", "--log", log(tmp_path), "--until", "2026-11-24", "--node", "db.t4g.small", "--endpoints", "0")
    rows = {row["service"]: row["own_usd"] for row in told["services"]}
    assert rows["memorydb"] == pytest.approx(24 * 0.0336, rel=0.01)
    assert told["net_usd"]["own"] < told["saved_usd"]


def test_a_scrape_is_read_from_a_pipe():
    scrape = 'yamabiko_requests_total{tier="exact"} 9\nyamabiko_requests_total{tier="miss"} 1\nyamabiko_saved_usd_total 0.9\n'
    told = said("costs", "--metrics", "-", "--days", "1", input=scrape)
    assert (told["requests"], told["saved_usd"]) == (10, 0.9)


def test_a_scrape_alone_is_of_the_time_since_the_process_began():
    began = time.time() - 36 * 3600
    scrape = f'yamabiko_requests_total{{tier="exact"}} 9\nprocess_start_time_seconds {began}\n'
    assert "1.5 days until now" in run("costs", "--metrics", "-", input=scrape).stdout


def test_a_model_without_a_price_is_told_and_the_exit_code_says_so(tmp_path):
    line = {"time": "2026-11-23T01:00:00Z", "tier": "miss", "model": "mystery", "input_tokens": 3, "output_tokens": 5}
    (tmp_path / "a.log").write_text(json.dumps(line))
    ran = run("costs", "--log", "a.log", "--until", "2026-11-24")
    assert ran.exit_code == 3
    assert "no price is known for mystery" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say where the figures are"),
        (["--log", "nowhere.log"], "nowhere.log can't be read"),
        (["--log", "x", "--metrics", "y"], "one source of counters"),
        (["--metrics-before", "x", "--cloudwatch"], "--metrics-before belongs to --metrics"),
        (["--metrics", "x", "--cost-explorer"], "must be of the same days"),
        (["--log", "x", "--replicas", "1"], "--replicas belongs to a server"),
        (["--log", "x", "--publish", "topic"], "the topic must be an ARN"),
        (["--log", "x", "--tag", "Project"], "a tag must be KEY=VALUE"),
        (["--log", "x", "--days", "0"], "Invalid value for '--days'"),
    ],
)
def test_what_can_not_be_reported_says_what_to_change(arguments, words):
    ran = run("costs", *arguments)
    assert ran.exit_code == 2
    assert words in ran.stderr


@mock_aws
def test_the_bill_stands_beside_the_log_and_both_are_sent(tmp_path):
    group = {"Keys": ["Amazon MemoryDB", "Node"], "Metrics": {"UnblendedCost": {"Amount": "0.07", "Unit": "USD"}}}
    results = [
        {
            "ResultsByTime": [
                {"TimePeriod": {"Start": "2026-11-23", "End": "2026-11-24"}, "Groups": [group], "Estimated": False}
            ]
        }
    ]
    requests.post(
        "http://motoapi.amazonaws.com/moto-api/static/ce/cost-and-usage-results", json={"results": results}, timeout=5
    )
    topic = boto3.client("sns", region_name=REGION).create_topic(Name="costs")["TopicArn"]
    told = said("costs", "--log", log(tmp_path), "--until", "2026-11-24", "--cost-explorer", "--publish", topic)
    assert told["cache_usd"]["billed"] == pytest.approx(0.07)
    assert told["net_usd"]["billed"] == pytest.approx(48 * 0.00308 - 0.07)
    assert told["published"]


@mock_aws
def test_a_cluster_that_is_not_there_is_told():
    ran = run("costs", "--cloudwatch", "--cluster", "nobody")
    assert ran.exit_code == 2
    assert "there is no MemoryDB cluster nobody" in ran.stderr


def test_without_credentials_the_account_can_not_be_asked(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ran = run("costs", "--cloudwatch")
    assert ran.exit_code == 2
    assert "AWS credentials" in ran.stderr
