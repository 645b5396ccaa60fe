"""What an operation gives back before it becomes HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Event: TypeAlias = tuple[str, Mapping[str, Any]]
"""The name of an event and its members."""


@dataclass(frozen=True, slots=True)
class Result:
    """A body that becomes JSON, or the events of a stream."""

    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    events: Iterable[Event] | None = field(default=None, repr=False)
    status: int = 200
