"""What an account says of its costs: the real client against moto, and against botocore's stubber where moto lacks it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime

import boto3
import pytest
import requests
from botocore.session import Session
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from yamabiko.aws.costs import MAX_MESSAGE_BYTES, Account, Cluster, fit_message, fit_subject, topic_region
from yamabiko.aws.metrics import Figures, lines
from yamabiko.errors import ConfigurationError, ServiceError, ServiceUnavailable

START, END = date(2026, 11, 23), date(2026, 11, 24)
REGION = "ap-northeast-1"
TOPIC = f"arn:aws:sns:{REGION}:111122223333:yamabiko-costs"


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


def cost(service, usage_type, amount, unit="USD"):
    return {"Keys": [service, usage_type], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit}}}


def day(groups, when="2026-11-23", estimated=False):
    return {"TimePeriod": {"Start": when, "End": "2026-11-24"}, "Groups": groups, "Estimated": estimated}


def queue(*results):
    """Moto answers get_cost_and_usage with these, in turn (moto's documentation, "ce")."""
    requests.post(
        "http://motoapi.amazonaws.com/moto-api/static/ce/cost-and-usage-results", json={"results": results}, timeout=5
    )


SESSION = Session()  # reading a service's description takes longer than a test


class Stubbed:
    """An account whose clients are real, and answer what a test says, if they are asked what it says."""

    def __init__(self):
        self.stubbers = {}

    def make(self, service, region):
        if service not in self.stubbers:
            client = SESSION.create_client(
                service, region_name=region or REGION, aws_access_key_id="a", aws_secret_access_key="b"
            )
            self.stubbers[service] = (client, Stubber(client))
            self.stubbers[service][1].activate()
        return self.stubbers[service][0]

    def on(self, service):
        self.make(service, "")
        return self.stubbers[service][1]

    @property
    def account(self):
        return Account(REGION, make=self.make)


@pytest.fixture
def stubbed():
    return Stubbed()


# The bill.


@mock_aws
def test_the_bill_is_asked_for_by_service_and_usage_type():
    queue({"ResultsByTime": [day([cost("Amazon MemoryDB", "NodeUsage", "1.75"), cost("AWS Lambda", "x", "0.5")])]})
    told = Account(REGION).billed(START, END)
    assert {(service, usage): usd for service, usage, usd in told.lines} == {
        ("Amazon MemoryDB", "NodeUsage"): 1.75,
        ("AWS Lambda", "x"): 0.5,
    }
    assert not told.estimated


@mock_aws
def test_an_account_that_paid_nothing_has_an_empty_bill():
    assert Account(REGION).billed(START, END).lines == ()


ASKED = {
    "TimePeriod": {"Start": "2026-11-23", "End": "2026-11-24"},
    "Granularity": "DAILY",
    "Metrics": ["UnblendedCost"],
    "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
    "Filter": ANY,
}


def test_all_pages_and_days_are_added_up_and_an_estimate_is_said_to_be_one(stubbed):
    ce = stubbed.on("ce")
    one, two = day([cost("A", "x", "1.5")]), day([cost("A", "x", "2"), cost("B", "y", "0.25")], estimated=True)
    ce.add_response("get_cost_and_usage", {"ResultsByTime": [one], "NextPageToken": "more"}, ASKED)
    ce.add_response("get_cost_and_usage", {"ResultsByTime": [two]}, {**ASKED, "NextPageToken": "more"})
    told = stubbed.account.billed(START, END)
    assert sorted(told.lines) == [("A", "x", 3.5), ("B", "y", 0.25)]
    assert told.estimated
    ce.assert_no_pending_responses()


def test_a_tag_narrows_the_bill_and_tax_and_credits_are_left_out(stubbed):
    usage = {
        "Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax", "Credit", "Refund"], "MatchOptions": ["EQUALS"]}}
    }
    tags = {"Tags": {"Key": "Project", "Values": ["yamabiko"], "MatchOptions": ["EQUALS"]}}
    ce = stubbed.on("ce")
    ce.add_response("get_cost_and_usage", {"ResultsByTime": []}, {**ASKED, "Filter": {"And": [usage, tags]}})
    ce.add_response("get_cost_and_usage", {"ResultsByTime": []}, {**ASKED, "Filter": usage})
    stubbed.account.billed(START, END, ("Project", "yamabiko"))
    stubbed.account.billed(START, END)
    ce.assert_no_pending_responses()


def test_another_currency_is_refused(stubbed):
    stubbed.on("ce").add_response("get_cost_and_usage", {"ResultsByTime": [day([cost("A", "x", "1", "CNY")])]})
    with pytest.raises(ConfigurationError, match="the bill is in CNY"):
        stubbed.account.billed(START, END)


# What is denied, and what fails.


DENIED = [
    ("get_cost_and_usage", "AccessDeniedException", lambda one: one.billed(START, END), "ce:GetCostAndUsage"),
    ("get_metric_data", "AccessDenied", lambda one: one.metered("x", START, END), "cloudwatch:GetMetricData"),
    ("describe_clusters", "AccessDeniedException", lambda one: one.cluster("x"), "memorydb:DescribeClusters"),
    ("publish", "AuthorizationError", lambda one: one.publish(TOPIC, "s", "t"), "sns:Publish"),
    ("publish", "KMSAccessDenied", lambda one: one.publish(TOPIC, "s", "t"), "kms:GenerateDataKey"),
]


@pytest.mark.parametrize(("operation", "code", "call", "action"), DENIED)
def test_what_is_denied_is_told_with_the_action_to_allow(stubbed, operation, code, call, action):
    service = {"get_cost_and_usage": "ce", "get_metric_data": "cloudwatch", "publish": "sns"}.get(operation, "memorydb")
    secret = "User arn:aws:sts::111122223333:assumed-role/secret is not authorized"
    stubbed.on(service).add_client_error(operation, code, secret, http_status_code=403)
    with pytest.raises(ServiceError, match=f"denied \\({code}\\).*{action}") as caught:
        call(stubbed.account)
    assert "secret" not in str(caught.value)
    assert caught.value.code == code


def test_a_metric_that_is_forbidden_is_denied_too(stubbed):
    stubbed.on("cloudwatch").add_response(
        "get_metric_data", {"MetricDataResults": [{"Id": "m0", "StatusCode": "Forbidden", "Values": []}]}
    )
    with pytest.raises(ServiceError, match="allow cloudwatch:GetMetricData"):
        stubbed.account.metered("x", START, END)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("LimitExceededException", 400, ServiceError),
        ("DataUnavailableException", 400, ServiceError),
        ("ThrottlingException", 429, ServiceUnavailable),
        ("InternalFailure", 500, ServiceUnavailable),
    ],
)
def test_other_refusals_keep_their_code(stubbed, code, status, kind):
    stubbed.on("ce").add_client_error("get_cost_and_usage", code, "no", http_status_code=status)
    with pytest.raises(kind) as caught:
        stubbed.account.billed(START, END)
    assert caught.value.code == code


def test_without_credentials_it_says_what_to_set(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match="AWS credentials"):
        Account(REGION).billed(START, END)


def test_a_profile_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="nobody"):
        Account(REGION, profile="nobody").billed(START, END)


# Counters, the cluster and its memory.


def put(client, namespace, name, dimensions, *values):
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    told = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    data = [{"MetricName": name, "Dimensions": told, "Timestamp": noon, "Value": value} for value in values]
    client.put_metric_data(Namespace=namespace, MetricData=data)


@mock_aws
def test_the_gateways_metrics_are_summed_up_by_tier():
    client = boto3.client("cloudwatch", region_name=REGION)
    for tier, counts in {"exact": (3, 4), "semantic": (2,), "miss": (1, 1, 1), "pass": (9,)}.items():
        put(client, "Yamabiko", "Requests", {"Deployment": "shop", "Tier": tier}, *counts)
    put(client, "Yamabiko", "Requests", {"Deployment": "other", "Tier": "exact"}, 1000)
    put(client, "Yamabiko", "SavedUSD", {"Deployment": "shop"}, 0.25, 0.5)
    put(client, "Yamabiko", "SpentUSD", {"Deployment": "shop"}, 1.0)
    told = Account(REGION).metered("shop", START, END)
    assert dict(told.tiers) == {"exact": 7, "semantic": 2, "verified": 0, "miss": 3, "pass": 9, "refused": 0}
    assert (told.saved_usd, told.spent_usd) == (0.75, 1.0)


@mock_aws
def test_what_a_gateway_tells_cloudwatch_is_what_is_asked_for():
    counted = Counter({"exact": 5, "semantic": 3, "miss": 7, "pass": 2})
    figures = Figures(requests=counted, latencies=[0.1, 0.2], saved_usd=0.75, spent_usd=0.5)
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    client = boto3.client("cloudwatch", region_name=REGION)
    for line in lines(figures, deployment="shop", now=noon.timestamp()):
        told = json.loads(line)
        for group in told["_aws"]["CloudWatchMetrics"]:
            for names in group["Dimensions"]:
                for metric in group["Metrics"]:
                    values = told[metric["Name"]]
                    dimensions = {name: told[name] for name in names}
                    put(
                        client,
                        group["Namespace"],
                        metric["Name"],
                        dimensions,
                        *(values if isinstance(values, list) else [values]),
                    )
    told = Account(REGION).metered("shop", START, END)
    assert {tier: count for tier, count in told.tiers.items() if count} == dict(counted)
    assert (told.saved_usd, told.spent_usd) == (0.75, 0.5)


@mock_aws
def test_a_deployment_that_counted_nothing_has_zeros():
    told = Account(REGION).metered("nobody", START, END)
    assert set(told.tiers.values()) == {0}
    assert told.saved_usd == 0


def test_pages_of_metrics_are_followed(stubbed):
    page = {"Id": "m0", "StatusCode": "PartialData", "Values": [2.0]}
    watch = stubbed.on("cloudwatch")
    watch.add_response("get_metric_data", {"MetricDataResults": [page], "NextToken": "more"})
    watch.add_response("get_metric_data", {"MetricDataResults": [{**page, "StatusCode": "Complete", "Values": [3.0]}]})
    assert stubbed.account.metered("x", START, END).tiers["exact"] == 5


@mock_aws
def test_the_memory_of_a_cluster_is_the_most_that_was_used():
    client = boto3.client("cloudwatch", region_name=REGION)
    put(client, "AWS/MemoryDB", "BytesUsedForMemoryDB", {"ClusterName": "shop"}, 100.0, 700.0, 300.0)
    assert Account(REGION).memory_bytes("shop", START, END) == 700
    assert Account(REGION).memory_bytes("other", START, END) is None


@mock_aws
def test_a_cluster_tells_its_node_and_replicas():
    boto3.client("memorydb", region_name=REGION).create_cluster(
        ClusterName="shop", NodeType="db.r7g.large", ACLName="open-access", NumReplicasPerShard=2
    )
    found = Account(REGION).cluster("shop")
    assert (found.node, found.replicas) == ("db.r7g.large", 2)
    with pytest.raises(ConfigurationError, match="no MemoryDB cluster other"):
        Account(REGION).cluster("other")


@pytest.mark.parametrize(
    ("engine", "found"), [("valkey", "valkey"), ("Valkey", "valkey"), ("redis", "redis"), (None, "redis")]
)
def test_a_cluster_tells_its_engine(stubbed, engine, found):  # which moto does not
    told = {"NodeType": "db.t4g.small", "Shards": [{"NumberOfNodes": 1}], **({"Engine": engine} if engine else {})}
    stubbed.on("memorydb").add_response(
        "describe_clusters", {"Clusters": [told]}, {"ClusterName": "shop", "ShowShardDetails": True}
    )
    assert stubbed.account.cluster("shop") == Cluster(node="db.t4g.small", replicas=0, engine=found)


# Sending.


@mock_aws
def test_a_report_is_sent_to_a_topic_of_any_region():
    topic = boto3.client("sns", region_name="eu-west-1").create_topic(Name="costs")["TopicArn"]
    queue_url = boto3.client("sqs", region_name="eu-west-1").create_queue(QueueName="box")["QueueUrl"]
    sns = boto3.client("sns", region_name="eu-west-1")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:eu-west-1:123456789012:box")
    assert Account(REGION).publish(topic, "Saved\n$3", "山彦: a text")
    (message,) = boto3.client("sqs", region_name="eu-west-1").receive_message(QueueUrl=queue_url)["Messages"]
    told = json.loads(message["Body"])
    assert (told["Subject"], told["Message"]) == ("Saved $3", "山彦: a text")


@mock_aws
def test_a_topic_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match=f"there is no topic {TOPIC}"):
        Account(REGION).publish(TOPIC, "s", "t")


@pytest.mark.parametrize(
    "topic", ["", "yamabiko", "arn:aws:sqs:eu-west-1:111122223333:x", "arn:aws:sns:eu-west-1:1:x", f"{TOPIC}\n"]
)
def test_what_is_no_topic_is_told(topic):
    with pytest.raises(ConfigurationError, match="must be an ARN such as"):
        topic_region(topic)


@pytest.mark.parametrize(
    ("topic", "region"), [(TOPIC, REGION), ("arn:aws-cn:sns:cn-north-1:111122223333:a.fifo", "cn-north-1")]
)
def test_a_topic_is_in_a_region(topic, region):
    assert topic_region(topic) == region


@given(st.text(max_size=300))
def test_any_text_becomes_a_subject_that_sns_takes(text):
    made = fit_subject(text)
    assert 1 <= len(made) < 100
    assert made.isprintable()


@given(st.integers(0, 3 * MAX_MESSAGE_BYTES // 2), st.sampled_from("a山"))
def test_any_text_becomes_a_message_that_sns_takes(length, character):
    made = fit_message(character * length)
    assert len(made.encode()) <= MAX_MESSAGE_BYTES
    assert made == character * length or made.endswith("cut: SNS takes no more")
