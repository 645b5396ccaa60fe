"""How a request was answered and what a call came to, in the words that metrics, traces and the access log share."""

from __future__ import annotations

from yamabiko.gateway.exchange import Asking, Exchange
from yamabiko.types import Hit


def tier_of(exchange: Exchange) -> str:
    """How a request was answered: exact, semantic, verified, miss, pass or refused."""
    if isinstance(exchange.outcome, Hit):
        return exchange.outcome.tier
    if exchange.outcome is not None:
        return "miss"
    return "pass" if exchange.upstream_status or not exchange.error else "refused"


def status_class(status: int) -> str:
    """Such as 2xx; none for 0."""
    return f"{status // 100}xx" if status else "none"


def call_status(call: Asking) -> str:
    """What a call to an upstream came to."""
    if call.error:
        return "given_up" if call.error == "given_up" else "broken" if call.status else "none"
    return "429" if call.status == 429 else status_class(call.status)


def level_of(namespace: str) -> str:
    """What kind of namespace this is; which tenant's is nobody's business."""
    last = namespace.rpartition("/")[2]
    return {"t:": "tenant", "c:": "category", "x:": "experiment"}.get(last[:2], "model")
