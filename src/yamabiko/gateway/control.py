"""What a request may ask of the cache, and what a response says of it.

``Cache-Control`` is read as RFC 9111 has it for requests; ``X-Yamabiko-Policy`` can ask for more than the configured
policy does and never for less. Responses say where they come from in ``Cache-Status`` (RFC 9211), ``Age`` and
``X-Yamabiko-*``. Only numbers, digests and words of our own are in there: no text of a prompt, an answer or a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from yamabiko.core.guards import GUARDS, MODES
from yamabiko.errors import ConfigurationError
from yamabiko.gateway.exchange import Caller, Exchange, Headers, Refused
from yamabiko.gateway.fields import delta_seconds, directives
from yamabiko.types import PLAIN, Controls, Hit, Miss, MissReason, Policy

POLICY_HEADER = "X-Yamabiko-Policy"
_POLICY = POLICY_HEADER.lower().encode()
_STRICTNESS: Mapping[str, int] = {"off": 0, "feature": 1, "veto": 2}
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,12})?")
_HEX = re.compile("[0-9a-f]{1,64}")
_HIT_ID = re.compile("[A-Za-z0-9_-]{1,200}")
_KNOWN = "max_error_rate, min_similarity, max_age, semantic, stale and guards.NAME"
_FORWARDED: Mapping[MissReason, str] = {
    MissReason.BYPASS: "bypass",
    MissReason.SCOPE: "bypass",
    MissReason.CONTROL: "request",
    MissReason.EXPIRED: "stale",
}
"""Why a request went on to the upstream, in RFC 9211's words; ``miss`` for all other reasons."""


class Control:
    """Reads what a request asks of the cache (a ``ReadControls``).

    ``has_room``: whether a new answer of this caller's may be stored at all.
    """

    def __init__(self, policy: Policy, has_room: Callable[[Caller], bool] | None = None) -> None:
        self._policy = policy
        self._has_room = has_room

    def __call__(self, headers: Headers, caller: Caller) -> Controls:
        """``PLAIN`` itself where nothing is asked. Raises ``Refused`` with 400 where it can't be."""
        asked: dict[str, Any] = {}
        cache = [value for name, value in headers if name == b"cache-control"]
        if cache:
            asked |= _from_cache_control(b",".join(cache).decode("latin-1"))
        own = [value for name, value in headers if name == _POLICY]
        if own:
            stricter = _from_policy(b",".join(own).decode("latin-1"), self._policy)
            ages = [age for age in (asked.get("max_age_seconds"), stricter.get("max_age_seconds")) if age is not None]
            asked |= stricter | ({"max_age_seconds": min(ages)} if ages else {})
        if self._has_room is not None and not self._has_room(caller):
            asked["store"] = False
        if not asked:
            return PLAIN
        try:
            return Controls(**asked)
        except ConfigurationError as error:
            raise _wrong(str(error)) from None


def _from_cache_control(value: str) -> dict[str, Any]:
    """Source: RFC 9111, 5.2.1. ``min-fresh`` and ``max-stale`` are not known here, which the RFC allows."""
    found = directives(value)
    asked: dict[str, Any] = {}
    if "no-cache" in found:
        asked["read"] = False
    if "no-store" in found:
        asked["store"] = False
    if "only-if-cached" in found:
        asked["forward"] = False
    if "max-age" in found:  # and without max-stale, nothing that is past its expiry
        asked |= {"max_age_seconds": delta_seconds(found["max-age"]), "stale": False}
    return asked


def _from_policy(value: str, policy: Policy) -> dict[str, Any]:
    """What ``X-Yamabiko-Policy`` asks. Raises ``Refused``."""
    asked: dict[str, Any] = {}
    guards: dict[str, str] = {}
    seen = set()
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, _, given = (part.strip() for part in item.partition("="))
        if name in seen:
            raise _wrong("it names one thing twice: say each once")
        seen.add(name)
        if name.startswith("guards."):
            guards[name.removeprefix("guards.")] = given
        elif name in ("semantic", "stale"):
            asked |= _switch(name, given, policy)
        elif name in ("max_error_rate", "min_similarity", "max_age"):
            asked |= _number(name, given, policy)
        else:
            raise _wrong(f"there is something in it that is not known: there are {_KNOWN}")
    if guards:
        asked["guards"] = tuple(_guard(name, mode, policy) for name, mode in sorted(guards.items()))
    return {name: found for name, found in asked.items() if found is not None}


def _switch(name: str, given: str, policy: Policy) -> dict[str, Any]:
    if given == "off":
        return {name: False}
    if given == "on" and (policy.semantic if name == "semantic" else policy.stale_seconds > 0):
        return {name: None}
    raise _wrong(f"{name} can only be turned off: {name}=off")


def _number(name: str, given: str, policy: Policy) -> dict[str, Any]:
    if not _NUMBER.fullmatch(given):
        raise _wrong(f"{name} must be a number")
    number = float(given)
    if name == "max_age":
        return {"max_age_seconds": number}
    configured = getattr(policy, name)
    if name == "max_error_rate" and configured is not None and number > configured:
        raise _wrong(f"max_error_rate can't be above the {configured:g} that is configured: ask for that or less")
    if name == "min_similarity" and configured is not None and number < configured:
        raise _wrong(f"min_similarity can't be below the {configured:g} that is configured: ask for that or more")
    return {name: number}


def _guard(name: str, mode: str, policy: Policy) -> tuple[str, str]:
    if name not in GUARDS:
        raise _wrong(f"it names a guard that is not known: there are {', '.join(GUARDS)}")
    configured = policy.guards.get(name, MODES[name])
    if mode not in ("feature", "veto") or _STRICTNESS[mode] < _STRICTNESS[configured]:
        raise _wrong(f"guards.{name} can't be looser than the {configured} that is configured: veto is the strictest")
    return name, mode


def _wrong(why: str) -> Refused:
    return Refused(400, "invalid_policy", f"{POLICY_HEADER} can't be followed: {why}")


# What a response says.


def about(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """``Cache-Status``, and for a stored answer ``Age`` and ``X-Yamabiko-*``, for one exchange.

    Source: RFC 9211 (June 2022), RFC 9111, 5.1.
    """
    outcome = exchange.outcome
    if isinstance(outcome, Hit):
        return _of_hit(outcome, exchange)
    if isinstance(outcome, Miss):
        return _of_miss(outcome, exchange)
    return []


def _of_hit(hit: Hit, exchange: Exchange) -> list[tuple[bytes, bytes]]:
    entry, age = hit.entry, int(hit.age_seconds)
    status = "Yamabiko; hit"
    left = entry.expires - entry.created - hit.age_seconds
    if left < 1e15:
        status += f"; ttl={int(left // 1)}"
    key = entry.id if _HEX.fullmatch(entry.id) else ""
    status += f'; key="{key[:16]}"; detail={_detail(hit, exchange)}'
    told = [
        (b"cache-status", status.encode()),
        (b"age", b"%d" % age),
        (b"x-yamabiko-tier", hit.tier.encode()),
        (b"x-yamabiko-entry", key.encode()),
        (b"x-yamabiko-saved-usd", b"%.6f" % entry.reply.cost_usd),
        (b"x-yamabiko-saved-seconds", b"%.3f" % entry.reply.latency_seconds),
    ]
    if _HIT_ID.fullmatch(hit.id):
        told.append((b"x-yamabiko-hit-id", hit.id.encode()))
    if hit.tier != "exact":
        told.append((b"x-yamabiko-calibration", hit.calibration.encode()))
        numbers = (("similarity", hit.similarity), ("score", hit.score), ("p-correct", hit.p_correct))
        for name, value in (*numbers, ("error-upper", hit.error_upper)):
            if value is not None:
                told.append((b"x-yamabiko-" + name.encode(), b"%.4f" % value))
    return told


def _detail(hit: Hit, exchange: Exchange) -> str:
    if exchange.stale_if_error:
        return "stale-if-error"
    return "stale" if hit.stale else "shared" if hit.shared else hit.tier


def _of_miss(miss: Miss, exchange: Exchange) -> list[tuple[bytes, bytes]]:
    status = "Yamabiko"
    if exchange.controls.forward:
        status += "; fwd=" + _FORWARDED.get(miss.reason, "bypass" if miss.key is None else "miss")
        status += f"; fwd-status={exchange.upstream_status}" if exchange.upstream_status else ""
        status += "; collapsed" if exchange.shared else ""
    status += f'; key="{miss.key.hex[:16]}"' if miss.key is not None else ""
    told = [(b"cache-status", f"{status}; detail={miss.reason}".encode()), (b"x-yamabiko-reason", miss.reason.encode())]
    if miss.similarity is not None:
        told.append((b"x-yamabiko-similarity", b"%.4f" % miss.similarity))
    return told
