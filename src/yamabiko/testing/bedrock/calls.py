"""What the stand-in remembers of every call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. ``at`` is when it came in (seconds UTC epoch); ``model`` is a model id or the id of a knowledge base.

    ``status`` is the HTTP status (0: the connection was cut), ``code`` the error's name or empty; sizes are in bytes
    of the bodies, in a stream 0. ``request`` is the JSON that came in; no text of it shows in the repr.
    """

    operation: str
    model: str
    at: float
    status: int
    code: str
    request_bytes: int
    response_bytes: int
    request: Mapping[str, Any] = field(repr=False)
