"""The report, from the AWS that moto plays to the message that a topic carries."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import boto3
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from yamabiko.aws.costs import Account
from yamabiko.build import load_prices, load_tariff
from yamabiko.core.billing import Answered, Counted
from yamabiko.core.economics import parse
from yamabiko.core.planning import Deployment, Workload, plan, sized
from yamabiko.core.tariff import parse_tariff
from yamabiko.costs.lambda_handler import ask_of, handler, read_event, send, tag_of
from yamabiko.costs.report import Ask, document, report
from yamabiko.costs.shown import report_text, subject
from yamabiko.errors import ConfigurationError, ServiceError

REGION = "ap-northeast-1"
UNTIL = date(2026, 11, 24)
HAIKU = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
PRICES, TARIFF = load_prices(), load_tariff()
COUNTED = Counted(
    days=1.0,
    tiers=MappingProxyType({"exact": 300, "semantic": 300, "miss": 400}),
    models=MappingProxyType({HAIKU: Answered(served=600, made=400, saved_usd=1.8, spent_usd=1.2)}),
    by_similarity=MappingProxyType({92: (50, 0.15)}),
)
RUNS = Deployment(node="db.t4g.small", endpoints=2)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)


def told(**more):
    ask = Ask(until=UNTIL, runs=RUNS, **more)
    return report(ask, PRICES, TARIFF, account=None, counted=COUNTED)


# Without AWS.


def test_our_own_counters_are_enough():
    made = told()
    text = report_text(made)
    assert "What yamabiko has cost and saved, 2026-11-23 (UTC)" in text
    assert "1,000 requests, 600 of them hits (60.0%): exact 300, miss 400, semantic 300" in text
    assert "break-even" in text
    assert "db.t4g.small is not sold as a reserved node" in text
    assert "no hit below a similarity of 0.93: 50 hits less" in text
    assert "what is missing" not in text
    json.dumps(document(made), allow_nan=False)


def test_every_price_that_nobody_verified_is_named_in_text_and_document():
    made = told()
    text, unverified = report_text(made), document(made)["prices"]["unverified"]
    assert {HAIKU, "db.t4g.small", "endpoint.hour"} <= set(unverified)
    assert all(name in text for name in unverified)
    assert "Not verified, check before quoting" in text


def test_with_verified_prices_nothing_is_marked():
    text = files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8")
    text = text.replace('"verified": false', '"verified": true')
    ask = Ask(until=UNTIL, runs=RUNS)
    made = report(ask, parse(text), parse_tariff(text), account=None, counted=COUNTED)
    assert made.unverified == ()
    assert "all verified" in report_text(made)
    assert "*" not in report_text(made)


def test_the_figures_of_text_and_document_are_the_same():
    made = told()
    figures = document(made)
    assert figures["saved_usd"] == pytest.approx(1.8)
    assert figures["net_usd"]["own"] == pytest.approx(1.8 - figures["cache_usd"]["own"])
    assert figures["month"]["saved_usd"] == pytest.approx(1.8 * 730 / 24)
    assert f"{figures['net_usd']['own']:,.2f}" in report_text(made)
    assert figures["break_even_requests_per_day"] > figures["break_even_requests_per_day_node"] > 0


def test_the_subject_says_what_came_of_it():
    assert subject(told()).startswith("Yamabiko yamabiko 2026-11-23: $0.")
    assert "60% hits of 1,000" in subject(told())


def test_a_report_of_nothing_is_none():
    with pytest.raises(ServiceError, match="nothing was asked"):
        report(Ask(until=UNTIL), PRICES, TARIFF, account=None, counted=None)
    with pytest.raises(ConfigurationError, match="days must be in"):
        Ask(until=UNTIL, days=0)


PAGE = (Path(__file__).resolve().parent.parent / "docs" / "costs.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)]


def test_the_inputs_of_the_documentation_are_taken():
    event, own = EXAMPLES
    asked = ask_of(read_event(event), UNTIL)
    assert (asked.cluster, asked.tag, asked.runs.lambda_gb) == ("yamabiko", ("Project", "yamabiko"), 1.0)
    prices, tariff = parse(json.dumps(own)), parse_tariff(json.dumps(own))
    assert prices.price(HAIKU).verified
    assert TARIFF.overridden_by(tariff).node("db.r7g.large").price("valkey") == 0.27


def test_the_documentations_table_of_sizes_is_what_comes_out():
    rows = dict(re.findall(r"^\| \**([a-z][^|*]*?)\** \| (.*) \|$", PAGE, flags=re.MULTILINE))
    for at, (size, requests_per_day) in enumerate((("small", 100), ("medium", 1000), ("large", 10_000))):
        work = Workload(requests_per_day=requests_per_day, hit_rate=0.6, model=HAIKU)
        made = plan(work, sized(size), PRICES, TARIFF)

        def told(name, at=at):
            return float(rows[name].split(" | ")[at].strip("*").rpartition(" ")[2].replace(",", ""))

        assert told("the cache") == pytest.approx(made.cache_usd, abs=0.006)
        assert told("saved, gross") == pytest.approx(made.saved_usd, abs=0.006)
        assert told("saved, net") == pytest.approx(made.net_usd, abs=0.006)
        assert told("nodes") == pytest.approx(made.lines[0].usd, abs=0.006)


@given(
    st.dictionaries(
        st.sampled_from(["exact", "semantic", "verified", "miss", "pass", "refused"]), st.integers(0, 10**9)
    ),
    st.floats(0, 1e9),
    st.floats(0, 1e9),
    st.sampled_from(["", *TARIFF.nodes]),
)
def test_any_counters_make_a_report(tiers, saved, spent, node):
    answered = Answered(served=sum(tiers.values()), made=1, saved_usd=saved, spent_usd=spent)
    counted = Counted(days=1.0, tiers=tiers, models={"": answered})
    made = report(Ask(until=UNTIL, runs=Deployment(node=node)), PRICES, TARIFF, account=None, counted=counted)
    assert json.loads(json.dumps(document(made), allow_nan=False))["requests"] == counted.requests
    assert len(subject(made)) < 100
    assert report_text(made)


# With AWS.


def bill(*lines):
    groups = [
        {"Keys": [service, usage], "Metrics": {"UnblendedCost": {"Amount": str(usd), "Unit": "USD"}}}
        for service, usage, usd in lines
    ]
    results = [
        {
            "ResultsByTime": [
                {"TimePeriod": {"Start": "2026-11-23", "End": "2026-11-24"}, "Groups": groups, "Estimated": True}
            ]
        }
    ]
    requests.post(
        "http://motoapi.amazonaws.com/moto-api/static/ce/cost-and-usage-results", json={"results": results}, timeout=5
    )


def meter(deployment="shop", when=None):
    client = boto3.client("cloudwatch", region_name=REGION)
    when = when or datetime(2026, 11, 23, 12, tzinfo=UTC)

    def put(namespace, name, value, **dimensions):
        told = [{"Name": key, "Value": one} for key, one in dimensions.items()]
        client.put_metric_data(
            Namespace=namespace,
            MetricData=[{"MetricName": name, "Dimensions": told, "Timestamp": when, "Value": value}],
        )

    for tier, count in {"exact": 5000, "semantic": 1000, "miss": 4000}.items():
        put("Yamabiko", "Requests", count, Deployment=deployment, Tier=tier)
    put("Yamabiko", "SavedUSD", 18.0, Deployment=deployment)
    put("Yamabiko", "SpentUSD", 12.0, Deployment=deployment)
    put("AWS/MemoryDB", "BytesUsedForMemoryDB", 500 * 2**20, ClusterName=deployment)


def run_cluster(name="shop", replicas=1):
    boto3.client("memorydb", region_name=REGION).create_cluster(
        ClusterName=name, NodeType="db.r7g.large", ACLName="open-access", NumReplicasPerShard=replicas
    )


def inbox(region=REGION):
    """A topic, and a queue that gets its messages as an e-mail address would."""
    topic = boto3.client("sns", region_name=region).create_topic(Name="costs")["TopicArn"]
    url = boto3.client("sqs", region_name=region).create_queue(QueueName="box")["QueueUrl"]
    queue = f"arn:aws:sqs:{region}:123456789012:box"
    boto3.client("sns", region_name=region).subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    def read():
        found = boto3.client("sqs", region_name=region).receive_message(QueueUrl=url).get("Messages", [])
        return [json.loads(one["Body"]) for one in found]

    return topic, read


LINES = [
    ("Amazon MemoryDB", "NodeUsage", 11.2),
    ("Claude Haiku 4.5 (Amazon Bedrock Edition)", "in", 12.4),
    ("Amazon Virtual Private Cloud", "VpcEndpoint-Hours", 2.9),
]


def event(topic, **more):
    return {"topic_arn": topic, "deployment": "shop", "cluster": "shop", "model": HAIKU, "endpoints": 6, **more}


@mock_aws
def test_the_function_sends_the_bill_and_the_counters_side_by_side():
    topic, read = inbox()
    bill(*LINES)
    meter()
    run_cluster()
    answer = send(read_event(event(topic)), Account(), PRICES, TARIFF, UNTIL)
    assert (answer["node"], answer["replicas"], answer["requests"]) == ("db.r7g.large", 1, 10_000)
    assert answer["problems"] == []
    assert answer["cache_usd"]["billed"] == pytest.approx(14.1)
    assert answer["net_usd"]["billed"] == pytest.approx(18.0 - 14.1)
    assert answer["memory_bytes"] == pytest.approx(500 * 2**20)
    (message,) = read()
    assert message["Subject"] == "Yamabiko shop 2026-11-23: $3.90 saved net, 60% hits of 10,000"
    for words in (
        "MemoryDB",
        "11.20",
        "db.t4g.small instead",
        "estimated as yet",
        "the whole account",
        "memory      500.0 MiB",
    ):
        assert words in message["Message"]
    assert answer["published"]


@mock_aws
def test_the_handler_reports_the_day_before_today(monkeypatch):
    today = datetime(2026, 11, 24, 8, tzinfo=UTC)
    topic, read = inbox()
    meter()
    run_cluster()
    monkeypatch.setattr("time.time", today.timestamp)
    answer = handler(event(topic))
    assert (answer["from"], answer["until"]) == ("2026-11-23", "2026-11-24")
    assert len(read()) == 1


@mock_aws
def test_several_days_are_told_at_their_pace():
    bill(*LINES)
    meter()
    answer = send(
        read_event({"deployment": "shop", "days": 7, "node": "db.t4g.small"}), Account(), PRICES, TARIFF, UNTIL
    )
    assert answer["days"] == 7
    assert answer["month"]["saved_usd"] == pytest.approx(18.0 / 7 * 730 / 24)
    assert "published" not in answer


@mock_aws
def test_a_deployment_that_nobody_knows_is_told_and_the_bill_goes_out():
    topic, read = inbox()
    bill(*LINES)
    answer = send(read_event({"topic_arn": topic, "deployment": "shpo"}), Account(), PRICES, TARIFF, UNTIL)
    assert answer["problems"] == ["CloudWatch has no requests of a deployment named shpo in these days"]
    assert "what is missing" in read()[0]["Message"]


@mock_aws
def test_a_tag_under_which_nothing_is_billed_is_told():
    meter()
    answer = send(read_event({"deployment": "shop", "tag": "Project=x"}), Account(), PRICES, TARIFF, UNTIL)
    assert "activate it as a cost allocation tag" in answer["problems"][0]


class Denied:
    """An account in which everything is denied: the real client, and a service that says no."""

    def __init__(self, *services):
        from botocore.session import Session
        from botocore.stub import Stubber

        self._session, self._stubber, self._services = Session(), Stubber, services

    def make(self, service, region):
        client = self._session.create_client(service, region_name=region or REGION)
        if service in self._services:
            stubber = self._stubber(client)
            operation = {"ce": "get_cost_and_usage", "cloudwatch": "get_metric_data"}.get(service, "describe_clusters")
            for _ in range(3):
                stubber.add_client_error(operation, "AccessDeniedException", "no", http_status_code=403)
            stubber.activate()
        return client


@mock_aws
def test_what_is_denied_is_missing_and_the_rest_is_told():
    topic, read = inbox()
    meter()
    account = Account(make=Denied("ce", "memorydb").make)
    answer = send(read_event(event(topic)), account, PRICES, TARIFF, UNTIL)
    assert answer["requests"] == 10_000
    assert answer["cache_usd"]["billed"] is None
    assert [problem.partition(":")[2][:7] for problem in answer["problems"]] == [" allow ", " allow "]
    text = read()[0]["Message"]
    assert "allow ce:GetCostAndUsage" in text
    assert "allow memorydb:DescribeClusters" in text


@mock_aws
def test_where_all_is_denied_the_function_fails_and_sends_nothing():
    topic, read = inbox()
    with pytest.raises(ServiceError, match="allow ce:GetCostAndUsage"):
        send(read_event(event(topic)), Account(make=Denied("ce", "cloudwatch", "memorydb").make), PRICES, TARIFF, UNTIL)
    assert read() == []


# Events.


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"detail-type": "Scheduled Event", "source": "aws.events"}, "constant input"),
        ({"topic": "x"}, "unknown fields: topic"),
        ({"topic_arn": "costs"}, "must be an ARN"),
        ({"topic_arn": 5}, "topic_arn of the event must be a text"),
        ({"tag": "Project"}, "KEY=VALUE"),
        ({"node": "db.t4g.small", "replicas": "two"}, "another type"),
        ({"days": "x"}, "another type"),
        ({"days": 0}, "days must be in"),
        ({"gateway": "ec2"}, "gateway must be"),
        ({"requests_per_day": 5}, "unknown fields: requests_per_day"),
    ],
)
def test_an_event_that_can_not_be_read_says_why(given, words):
    with pytest.raises(ConfigurationError, match=words):
        ask_of(read_event(given), UNTIL)


def test_an_event_says_what_runs_and_what_is_assumed():
    asked = ask_of(
        read_event({"node": "db.r7g.large", "replicas": 2, "dim": 512, "keep_days": 3, "tag": "a=b=c"}), UNTIL
    )
    assert (asked.runs.node, asked.runs.replicas, asked.assumed.dim, asked.assumed.keep_days) == (
        "db.r7g.large",
        2,
        512,
        3,
    )
    assert asked.tag == ("a", "b=c")
    assert tag_of("") is None
