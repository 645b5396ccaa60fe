"""What a response says of the cache: ``Cache-Status`` (RFC 9211), and for a stored answer ``Age`` and ``X-Yamabiko-*``.

Only numbers, digests and words of our own are in there: no text of a prompt, an answer or a header. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yamabiko.types import Hit, Miss, MissReason

_HEX = re.compile("[0-9a-f]{1,64}")
_HIT_ID = re.compile("[A-Za-z0-9_-]{1,200}")
_FORWARDED: Mapping[MissReason, str] = {
    MissReason.BYPASS: "bypass",
    MissReason.SCOPE: "bypass",
    MissReason.CONTROL: "request",
    MissReason.EXPIRED: "stale",
}
"""Why a request went on to the upstream, in RFC 9211's words; ``miss`` for all other reasons."""


def of_hit(hit: Hit, *, stale_if_error: bool = False) -> list[tuple[bytes, bytes]]:
    """The headers of a stored answer. ``stale_if_error``: it took the place of an upstream that failed.

    Source: RFC 9211 (June 2022), RFC 9111, 5.1.
    """
    entry, age = hit.entry, int(hit.age_seconds)
    status = "Yamabiko; hit"
    left = entry.expires - entry.created - hit.age_seconds
    if left < 1e15:
        status += f"; ttl={int(left // 1)}"
    key = entry.id if _HEX.fullmatch(entry.id) else ""
    status += f'; key="{key[:16]}"; detail={_detail(hit, stale_if_error=stale_if_error)}'
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


def _detail(hit: Hit, *, stale_if_error: bool) -> str:
    if stale_if_error:
        return "stale-if-error"
    return "stale" if hit.stale else "shared" if hit.shared else hit.tier


def of_miss(miss: Miss, *, forwarded: bool = True, status: int = 0, shared: bool = False) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that was made anew. ``forwarded``: a model might be asked; ``status``: what it said.

    ``shared``: another caller's generation answered.
    """
    said = "Yamabiko"
    if forwarded:
        said += "; fwd=" + _FORWARDED.get(miss.reason, "bypass" if miss.key is None else "miss")
        said += f"; fwd-status={status}" if status else ""
        said += "; collapsed" if shared else ""
    said += f'; key="{miss.key.hex[:16]}"' if miss.key is not None else ""
    told = [(b"cache-status", f"{said}; detail={miss.reason}".encode()), (b"x-yamabiko-reason", miss.reason.encode())]
    if miss.similarity is not None:
        told.append((b"x-yamabiko-similarity", b"%.4f" % miss.similarity))
    return told
