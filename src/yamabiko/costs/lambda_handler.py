"""The entry point of an AWS Lambda function that sends a report of costs, on a schedule (docs/costs.md).

Handler: ``yamabiko.costs.lambda_handler.handler``. What it needs stands in the event, which a schedule's target has as
its constant input; it reads no environment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, date, datetime
from typing import Any, cast

from yamabiko.aws.costs import Account, topic_region
from yamabiko.build import load_prices, load_tariff
from yamabiko.core.economics import Prices
from yamabiko.core.planning import Deployment, Workload
from yamabiko.core.tariff import Tariff
from yamabiko.costs.report import Ask, document, report
from yamabiko.costs.shown import report_text, subject
from yamabiko.errors import ConfigurationError

_TEXTS = ("topic_arn", "deployment", "cluster", "tag", "region", "prices_path")
_NUMBERS = ("days",)
_COUNTED = ("requests_per_day", "hit_rate", "entries")
_ASSUMED = frozenset(field.name for field in fields(Workload) if field.name not in _COUNTED)
_RUNS = frozenset(field.name for field in fields(Deployment))


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001 - as Lambda calls it
    """Report and send. Raises ``YamabikoError``, so that the alarm rings: where nothing could be read, or sent."""
    asked = read_event(event)
    prices_path = asked.get("prices_path", "")
    account = Account(asked.get("region", ""))
    today = datetime.fromtimestamp(time.time(), UTC).date()
    return send(asked, account, load_prices(prices_path), load_tariff(prices_path), today)


def send(asked: Mapping[str, Any], account: Account, prices: Prices, tariff: Tariff, today: date) -> dict[str, Any]:
    """The same with everything at hand; ``asked`` as ``read_event`` gives it. The answer is the report's document."""
    made = report(ask_of(asked, today), prices, tariff, account=account, counted=None)
    answer = document(made)
    if "topic_arn" in asked:
        answer["published"] = account.publish(asked["topic_arn"], subject(made), report_text(made))
    return answer


def read_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event, checked. Raises ``ConfigurationError``."""
    if event.get("detail-type") == "Scheduled Event":
        raise ConfigurationError("give the schedule's target a constant input: docs/costs.md says which")
    unknown = sorted(event.keys() - {*_TEXTS, *_NUMBERS, *_ASSUMED, *_RUNS})
    if unknown:
        raise ConfigurationError(f"the event has unknown fields: {', '.join(unknown)}")
    for name in _TEXTS:
        if name in event and not isinstance(event[name], str):
            raise ConfigurationError(f"{name} of the event must be a text")
    if "topic_arn" in event:
        topic_region(event["topic_arn"])
    return event


def ask_of(asked: Mapping[str, Any], today: date) -> Ask:
    """What is asked for the days before today. Raises ``ConfigurationError``."""
    try:
        return Ask(
            until=today,
            days=int(asked.get("days", 1)),
            deployment=asked.get("deployment", "yamabiko"),
            cluster=asked.get("cluster", ""),
            tag=tag_of(asked.get("tag", "")),
            bill=True,
            meters=True,
            runs=Deployment(**{"node": "", **{name: asked[name] for name in asked if name in _RUNS}}),
            assumed=Workload(
                requests_per_day=0,
                hit_rate=0,
                **cast("Any", {"model": "", **{name: asked[name] for name in asked if name in _ASSUMED}}),
            ),
        )
    except (TypeError, ValueError):
        given = json.dumps(sorted(asked))
        raise ConfigurationError(f"a field of the event has another type than docs/costs.md says: {given}") from None


def tag_of(text: str) -> tuple[str, str] | None:
    """Key and value of ``KEY=VALUE``. Raises ``ConfigurationError``."""
    if not text:
        return None
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigurationError("a tag must be KEY=VALUE")
    return key, value
