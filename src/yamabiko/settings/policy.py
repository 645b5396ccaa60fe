"""What the policy's fields mean as settings. The policy itself is vocabulary and knows no settings."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any


def about(doc: str, unit: str = "", low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A setting's metadata: what it means, its unit, and the smallest and the largest number that it may be."""
    return {"doc": doc, "unit": unit, "range": (low, high)}


POLICY = MappingProxyType(
    {
        "max_error_rate": about(
            "of the answers served by meaning at most so many are wrong; none: no promise, min_similarity decides",
            "share",
            0.0001,
            0.5,
        ),
        "confidence": about("how sure that is", "share", 0.8, 0.9999),
        "on": about("hit: wrong ones among the hits by meaning; request: among all requests that look for one"),
        "min_similarity": about("below this nothing is served by meaning, whatever its score", "cosine", -1, 1),
        "verify_similarity": about("from here on the verifier is asked, where there is one", "cosine", -1, 1),
        "near_miss_margin": about("how far below these a near miss is still reported", "cosine", 0, 2),
        "candidates": about("how many stored entries are considered for one request", "entries", 1, 100),
        "semantic": about("false: only the very same question is answered"),
        "ttl_seconds": about("life of an answer; a hit never prolongs it", "seconds", 0.001),
        "stale_seconds": about("how long after that it may be served while it is renewed", "seconds", 0),
        "users": about("a user's answers are for that user alone always, or where personal; one: there is only one"),
        "confirm": about("an answer is its author's alone until the same was made for somebody else"),
        "require_tenant": about("a request without a tenant is a miss and not stored"),
        "model_families": about("models that share answers, each with the name of its family", "family"),
        "guards": about("what a guard does where it finds a difference: veto, feature or off", "mode"),
    }
)
