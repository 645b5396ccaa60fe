"""Members of JSON bodies, checked: each function gives the value or raises a ``ValidationException``."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from yamabiko.testing.bedrock.faults import Refused, invalid


def json_object(body: bytes) -> dict[str, Any]:
    """A body as an object; an empty body is an empty object."""
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        raise Refused("ValidationException", "The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise invalid("The request body must be a JSON object.")
    return value


def malformed(what: str) -> Refused:
    """How InvokeModel says that a body is not what the model takes."""
    return invalid(f"Malformed input request: {what}, please reformat your input and try again.")


def only_keys(body: Mapping[str, Any], allowed: Collection[str], required: Collection[str] = ()) -> None:
    """InvokeModel's bodies: every required key, no other than the allowed ones."""
    missing = [f"#: required key [{key}] not found" for key in required if key not in body]
    extra = [f"#: extraneous key [{key}] is not permitted" for key in body if key not in allowed]
    if missing or extra:
        raise malformed("".join(missing + extra))


def one_of(body: Mapping[str, Any], key: str, allowed: Collection[Any], default: Any) -> Any:
    """A member that is one of a few values."""
    value = body.get(key, default)
    if value not in allowed or isinstance(value, bool) != isinstance(default, bool):
        raise malformed(f"#/{key}: the value is not a valid enum value")
    return value


def member(
    body: Mapping[str, Any], key: str, kind: type | tuple[type, ...], *, where: str = "", required: bool = True
) -> Any:
    """A member of a type; None where it isn't required and absent."""
    value = body.get(key)
    if value is None:
        if required:
            raise invalid(f"1 validation error detected: Value at '{where}{key}' must not be null")
        return None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise invalid(f"1 validation error detected: Value at '{where}{key}' has the wrong type")
    return value


def between(value: float | None, low: float, high: float, where: str) -> None:
    """A number within bounds, or none at all."""
    if value is not None and not low <= value <= high:
        bound = f"greater than or equal to {low}" if value < low else f"less than or equal to {high}"
        raise invalid(
            f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: Member must have"
            f" value {bound}"
        )


def at_most(text: str, limit: int, where: str, *, measure: Callable[[str], int] = len) -> None:
    """A text's length; the message tells the limit and never the text."""
    if measure(text) > limit:
        raise invalid(
            f"1 validation error detected: Value at '{where}' failed to satisfy constraint: Member must have length"
            f" less than or equal to {limit}"
        )
