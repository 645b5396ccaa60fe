"""What an account says of its costs: Cost Explorer, CloudWatch, MemoryDB; and SNS, which carries a report away.

Each call is made when it is asked for, with botocore's own client, and waits: a report has no event loop to hold up.
What is not allowed is told with the action that has to be.

Sources: AWS Cost Management API reference, "GetCostAndUsage"; Amazon CloudWatch API reference, "GetMetricData"; Amazon
MemoryDB API reference, "DescribeClusters"; Amazon SNS API reference, "Publish" (botocore 1.43.117, read 2026-11-24).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from yamabiko.aws.bedrock_errors import Refusals
from yamabiko.aws.metrics import NAMESPACE, TIERS
from yamabiko.errors import ConfigurationError, MissingExtra, ServiceError, ServiceUnavailable

Make: TypeAlias = Callable[[str, str], Any]
"""The client of a service in a region; an empty region is what the AWS configuration says."""

MAX_SUBJECT = 99
MAX_MESSAGE_BYTES = 262_144
_TOPIC = re.compile(r"arn:aws[\w-]*:sns:([a-z0-9-]+):\d{12}:[\w-]{1,256}(?:\.fifo)?")
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "UnauthorizedOperation",
    }
)
_ALLOW: Mapping[str, str] = MappingProxyType(
    {
        "get_cost_and_usage": "allow ce:GetCostAndUsage on *; Cost Explorer has to be enabled once, too, in the "
        "billing console, and by the management account for its members",
        "get_metric_data": "allow cloudwatch:GetMetricData on *",
        "describe_clusters": "allow memorydb:DescribeClusters on the cluster's ARN, or name node and replicas",
        "publish": "allow sns:Publish on the topic's ARN, and kms:GenerateDataKey and kms:Decrypt on its key, if any",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """Lines of a bill: service, usage type and USD. ``estimated``: AWS may still change them."""

    lines: tuple[tuple[str, str, float], ...]
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """The gateway's own metrics, summed over the period: requests by tier, USD saved and spent."""

    tiers: Mapping[str, int]
    saved_usd: float
    spent_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A MemoryDB cluster as it runs. ``replicas``: of its one shard."""

    node: str
    replicas: int
    engine: Literal["valkey", "redis"]


class Account:
    """Asks AWS's services. Every call raises ``ServiceError`` and ``ConfigurationError``.

    ``make``: makes the clients, which are kept; by default botocore's, for ``profile``.
    """

    def __init__(self, region: str = "", profile: str | None = None, make: Make | None = None) -> None:
        if make is None and importlib.util.find_spec("botocore") is None:
            raise MissingExtra("aws", "what AWS says of its costs")
        self._region = region
        self._make = make or _maker(profile)
        self._clients: dict[tuple[str, str], Any] = {}

    def billed(self, start: date, end: date, tag: tuple[str, str] | None = None) -> Billed:
        """The bill from ``start`` until before ``end``, without tax and credits; of what carries ``tag`` only.

        Each page is a request that AWS charges for.
        """
        asked: dict[str, Any] = {
            "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
            "Granularity": "DAILY",
            "Metrics": ["UnblendedCost"],
            "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
            "Filter": _filter(tag),
        }
        found: dict[tuple[str, str], float] = {}
        estimated = False
        for page in self._pages("ce", "get_cost_and_usage", asked, "NextPageToken"):
            for result in page.get("ResultsByTime", ()):
                estimated = estimated or bool(result.get("Estimated"))
                for group in result.get("Groups", ()):
                    service, usage_type = group["Keys"]
                    found[service, usage_type] = found.get((service, usage_type), 0.0) + _usd(group["Metrics"])
        return Billed(lines=tuple((*names, usd) for names, usd in found.items()), estimated=estimated)

    def metered(self, deployment: str, start: date, end: date) -> Metered:
        """What the gateways of a deployment counted; all 0 where they counted nothing."""
        wanted = [("Requests", {"Deployment": deployment, "Tier": tier}) for tier in TIERS]
        wanted += [(name, {"Deployment": deployment}) for name in ("SavedUSD", "SpentUSD")]
        sums = self._data([(NAMESPACE, name, dimensions, "Sum") for name, dimensions in wanted], start, end)
        counts = [float(sum(values)) for values in sums]
        tiers = {tier: round(count) for tier, count in zip(TIERS, counts, strict=False)}
        return Metered(tiers=MappingProxyType(tiers), saved_usd=counts[-2], spent_usd=counts[-1])

    def memory_bytes(self, cluster: str, start: date, end: date) -> int | None:
        """The most that a node of a cluster used in the period; None where nothing is known."""
        asked = [("AWS/MemoryDB", "BytesUsedForMemoryDB", {"ClusterName": cluster}, "Maximum")]
        (values,) = self._data(asked, start, end)
        return round(max(values)) if values else None

    def cluster(self, name: str) -> Cluster:
        """What runs under a name."""
        try:
            told = self._call("memorydb", "describe_clusters", {"ClusterName": name, "ShowShardDetails": True})
        except ServiceError as error:
            if error.code in ("ClusterNotFoundFault", "ClusterNotFound"):
                raise ConfigurationError(f"there is no MemoryDB cluster {name} in this region and account") from None
            raise
        one = told["Clusters"][0]
        nodes = max(
            (len(shard.get("Nodes", ())) or shard.get("NumberOfNodes", 1) for shard in one.get("Shards", ())), default=1
        )
        engine: Literal["valkey", "redis"] = "valkey" if str(one.get("Engine", "")).lower() == "valkey" else "redis"
        return Cluster(node=one["NodeType"], replicas=max(0, nodes - 1), engine=engine)

    def publish(self, topic_arn: str, subject: str, text: str) -> str:
        """Send a text to a topic, and with it to its e-mail addresses; gives SNS's id of the message.

        A text beyond SNS's limit is cut, and says so.
        """
        region = topic_region(topic_arn)
        asked = {"TopicArn": topic_arn, "Subject": fit_subject(subject), "Message": fit_message(text)}
        try:
            return str(self._call("sns", "publish", asked, region=region)["MessageId"])
        except ServiceError as error:
            if error.code in ("NotFound", "NotFoundException"):
                raise ConfigurationError(f"there is no topic {topic_arn}") from None
            raise

    def _data(self, wanted: list[tuple[str, str, dict[str, str], str]], start: date, end: date) -> list[list[float]]:
        """The values of each day, in any order, of each metric: namespace, name, dimensions, statistic."""
        queries = [
            {
                "Id": f"m{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": name,
                        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
                    },
                    "Period": 86_400,
                    "Stat": statistic,
                },
            }
            for number, (namespace, name, dimensions, statistic) in enumerate(wanted)
        ]
        asked = {"MetricDataQueries": queries, "StartTime": _midnight(start), "EndTime": _midnight(end)}
        found: list[list[float]] = [[] for _ in wanted]
        for page in self._pages("cloudwatch", "get_metric_data", asked, "NextToken"):
            for result in page.get("MetricDataResults", ()):
                if result.get("StatusCode") == "Forbidden":
                    raise _denied("get_metric_data", "cloudwatch", "Forbidden")
                found[int(result["Id"][1:])] += result.get("Values", ())
        return found

    def _pages(self, service: str, operation: str, asked: Mapping[str, Any], token: str) -> Iterator[Mapping[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self._call(service, operation, {**asked, **more})
            yield page
            if not page.get(token):
                return
            more = {token: page[token]}

    def _call(self, service: str, operation: str, asked: Mapping[str, Any], *, region: str = "") -> Any:
        refusals = Refusals(service)

        def work() -> Any:
            key = (service, region or self._region)
            if key not in self._clients:
                self._clients[key] = self._make(*key)
            return getattr(self._clients[key], operation)(**asked)

        try:
            return refusals.mapped(operation, work)
        except ServiceUnavailable:
            raise
        except ServiceError as error:
            if error.code in _DENIED:
                raise _denied(operation, service, error.code, error.status) from None
            raise


def topic_region(topic_arn: str) -> str:
    """The region of an SNS topic. Raises ``ConfigurationError`` for what is no ARN of one."""
    found = _TOPIC.fullmatch(topic_arn)
    if found is None:
        raise ConfigurationError("the topic must be an ARN such as arn:aws:sns:eu-west-1:111122223333:yamabiko-costs")
    return found[1]


def fit_subject(text: str) -> str:
    """A subject as SNS takes it: one line of fewer than 100 characters."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line[:MAX_SUBJECT] or "Yamabiko"


def fit_message(text: str) -> str:
    """A message as SNS takes it: 256 KiB of UTF-8."""
    whole = text.encode()
    if len(whole) <= MAX_MESSAGE_BYTES:
        return text
    ending = "\n... cut: SNS takes no more"
    return whole[: MAX_MESSAGE_BYTES - len(ending)].decode(errors="ignore") + ending


def _maker(profile: str | None) -> Make:
    opened: list[Any] = []

    def make(service: str, region: str) -> Any:
        config = importlib.import_module("botocore.config").Config(
            connect_timeout=3.0,
            read_timeout=30.0,
            retries={"mode": "standard", "total_max_attempts": 3},
            user_agent_extra="yamabiko",
        )
        if not opened:
            opened.append(importlib.import_module("botocore.session").Session(profile=profile))
        session = opened[0]
        found = region or session.get_config_variable("region")
        if service == "ce":  # it has one address for all regions: any region finds it
            found = found or "us-east-1"
        return session.create_client(service, region_name=found, config=config)

    return make


def _denied(operation: str, service: str, code: str, status: int = 403) -> ServiceError:
    return ServiceError(f"{service} {operation} was denied ({code}): {_ALLOW[operation]}", code=code, status=status)


def _filter(tag: tuple[str, str] | None) -> dict[str, Any]:
    """Usage, without tax, credits and refunds: they belong to the account."""
    usage = {
        "Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax", "Credit", "Refund"], "MatchOptions": ["EQUALS"]}}
    }
    if tag is None:
        return usage
    return {"And": [usage, {"Tags": {"Key": tag[0], "Values": [tag[1]], "MatchOptions": ["EQUALS"]}}]}


def _usd(metrics: Mapping[str, Any]) -> float:
    cost = metrics["UnblendedCost"]
    if cost.get("Unit", "USD") != "USD":
        raise ConfigurationError(f"the bill is in {cost['Unit']}: this report reckons in USD only")
    return float(cost["Amount"])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
