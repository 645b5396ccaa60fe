"""Step 3 of 9: how long an answer lives.

Lives are absolute: they are set once, when the answer is stored, and a hit never prolongs them. Only ``expires`` and
``stale_until`` are compared with the clock. A clock that was set back therefore makes an answer live as much longer as
it went back, and never makes one dead that a reader with a right clock would serve.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from yamabiko.types import Entry, Policy

Freshness: TypeAlias = Literal["fresh", "stale", "dead"]


def freshness(entry: Entry, now: float) -> Freshness:
    """``fresh`` before ``expires``, ``stale`` from there to before ``stale_until``, ``dead`` after.

    ``now``: seconds UTC epoch.
    """
    if now < entry.expires:
        return "fresh"
    return "stale" if now < entry.stale_until else "dead"


def lifetime(policy: Policy, now: float) -> tuple[float, float]:
    """``(expires, stale_until)`` of an answer stored at ``now``, in seconds UTC epoch; ``inf`` means for ever."""
    expires = now + policy.ttl_seconds
    return expires, expires + policy.stale_seconds
