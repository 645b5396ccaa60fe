"""Step 3 of 9: how long an answer lives.

Lives are absolute: they are set once, when the answer is stored, and a hit never prolongs them. Only ``expires`` and
``stale_until`` are compared with the clock. A clock that was set back therefore makes an answer live as much longer as
it went back, and never makes one dead that a reader with a right clock would serve.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from yamabiko.core.volatility import Volatility
from yamabiko.types import Entry, Policy

Freshness: TypeAlias = Literal["fresh", "stale", "dead"]

JITTER = 0.1
"""How much shorter or longer a life may be than it should: answers that were stored together don't all die at once."""


def freshness(entry: Entry, now: float) -> Freshness:
    """``fresh`` before ``expires``, ``stale`` from there to before ``stale_until``, ``dead`` after.

    ``now``: seconds UTC epoch.
    """
    if now < entry.expires:
        return "fresh"
    return "stale" if now < entry.stale_until else "dead"


def lifetime(
    policy: Policy, now: float, *, volatility: Volatility = Volatility.STABLE, jitter: float = 0.5
) -> tuple[float, float]:
    """``(expires, stale_until)`` of an answer stored at ``now``, in seconds UTC epoch; ``inf`` means for ever.

    An answer lives as long as the policy and the class of its question both allow, shortened or prolonged by at most a
    tenth: ``jitter`` in [0, 1) is where in that range, 0.5 its middle (see ``spread``). Where the class has a bound,
    the stale window is no longer than that bound. What is never stored has no life at all: ``(now, now)``.

    Raises ``ValueError`` for a ``jitter`` outside [0, 1).
    """
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter must be in [0, 1), not {jitter}: take it from the key's digest with spread()")
    bound = volatility.ttl_seconds
    longest = math.inf if bound is None else bound
    expires = now + min(policy.ttl_seconds, longest) * (1 + JITTER * (2 * jitter - 1))
    return expires, expires + min(policy.stale_seconds, longest)


def spread(digest: bytes) -> float:
    """A number in [0, 1) from a digest: evenly spread over keys, the same for the same key."""
    return (int.from_bytes(digest[:8].ljust(8, b"\0"), "big") >> 11) / (1 << 53)
