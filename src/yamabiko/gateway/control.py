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
from yamabiko.types import PLAIN, Controls, Hit, Miss, Policy
from yamabiko.wire.cache_status import of_hit, of_miss
from yamabiko.wire.fields import from_cache_control

POLICY_HEADER = "X-Yamabiko-Policy"
_POLICY = POLICY_HEADER.lower().encode()
_STRICTNESS: Mapping[str, int] = {"off": 0, "feature": 1, "veto": 2}
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,12})?")
_KNOWN = "max_error_rate, min_similarity, max_age, semantic, stale and guards.NAME"


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
            asked |= from_cache_control(b",".join(cache).decode("latin-1"))
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
    """``Cache-Status``, and for a stored answer ``Age`` and ``X-Yamabiko-*``, for one exchange."""
    outcome = exchange.outcome
    if isinstance(outcome, Hit):
        return of_hit(outcome, stale_if_error=exchange.stale_if_error)
    if isinstance(outcome, Miss):
        forwarded, status = exchange.controls.forward, exchange.upstream_status
        return of_miss(outcome, forwarded=forwarded, status=status, shared=exchange.shared)
    return []
