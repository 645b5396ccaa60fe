"""Retrieval filters over the metadata of documents.

Source: bedrock-agent-runtime API reference, "RetrievalFilter" (read 2026-11-23). A document without the key matches
none but ``notEquals`` and ``notIn``, which is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yamabiko.testing.bedrock.checks import member
from yamabiko.testing.bedrock.faults import invalid


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    def test(have: Any, want: Any) -> bool:
        return _number(have) and _number(want) and compare(have, want)

    return test


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": lambda have, want: have == want,
    "notEquals": lambda have, want: have != want,
    "greaterThan": _ordered(lambda have, want: have > want),
    "greaterThanOrEquals": _ordered(lambda have, want: have >= want),
    "lessThan": _ordered(lambda have, want: have < want),
    "lessThanOrEquals": _ordered(lambda have, want: have <= want),
    "in": lambda have, want: isinstance(want, list) and have in want,
    "notIn": lambda have, want: isinstance(want, list) and have not in want,
    "startsWith": lambda have, want: isinstance(have, str) and isinstance(want, str) and have.startswith(want),
    "stringContains": lambda have, want: (
        any(want in part for part in have if isinstance(part, str))
        if isinstance(have, list)
        else isinstance(have, str) and isinstance(want, str) and want in have
    ),
    "listContains": lambda have, want: isinstance(have, list) and want in have,
}
_WITHOUT_KEY = frozenset({"notEquals", "notIn"})


def matches(condition: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a document with ``metadata`` passes; raises ``Refused`` for a filter that is none."""
    if len(condition) != 1:
        raise invalid("A retrieval filter holds exactly one operator.")
    operator, operand = next(iter(condition.items()))
    if operator in ("andAll", "orAll"):
        if not isinstance(operand, list) or len(operand) < 2:
            raise invalid(f"The filter {operator} must have at least 2 members.")
        answers = [matches(part, metadata) for part in operand]
        return all(answers) if operator == "andAll" else any(answers)
    test = _TESTS.get(operator)
    if test is None or not isinstance(operand, dict) or "value" not in operand:
        raise invalid(f"The filter operator {operator} is not supported, or has no value.")
    key = member(operand, "key", str, where=f"filter.{operator}.")
    if key not in metadata:
        return operator in _WITHOUT_KEY
    return test(metadata[key], operand["value"])
