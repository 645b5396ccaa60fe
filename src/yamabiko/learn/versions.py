"""Under which versions scores are comparable, and certificates made of them hold."""

from __future__ import annotations

from hashlib import sha256

from yamabiko.core import guards
from yamabiko.core.calibrate import Versions
from yamabiko.core.guards import MODES
from yamabiko.core.score import model_for
from yamabiko.policy import Policy

_LONGEST = 190


def versions_of(embedder: str, policy: Policy) -> Versions:
    """Of the score that an embedder's candidates get, and of which of them a policy's guards let through.

    ``embedder``: as ``Embedder.model_for`` names it. A mode that is set for one category changes it for all: labels of
    a category count for its parents too.
    """
    modes = ",".join(f"{name}={mode}" for name, mode in sorted(policy.guards.items()) if MODES.get(name) != mode)
    told = modes if len(modes) <= _LONGEST else sha256(modes.encode()).hexdigest()[:32]
    return Versions(score=model_for(embedder).version, embedder=embedder, guards=f"{guards.VERSION}:{told}")
