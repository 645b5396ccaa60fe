"""Under which versions scores are comparable, and certificates made of them hold."""

from __future__ import annotations

from hashlib import sha256

from yamabiko.core import guards
from yamabiko.core.calibrate import Versions
from yamabiko.core.guards import MODES
from yamabiko.core.mixing import version_of
from yamabiko.core.score import model_for
from yamabiko.policy import Policy
from yamabiko.ports import Mix

_LONGEST = 190


def versions_of(embedder: str, policy: Policy, mix: Mix | None = None) -> Versions:
    """Of the score that an embedder's candidates get, and of which of them a policy's guards let through.

    ``mix``: how a verifier's log-odds are in it; labels made with another one, or without, never count for it.
    ``embedder``: as ``Embedder.model_for`` names it. A mode that is set for one category changes it for all: labels of
    a category count for its parents too.
    """
    modes = ",".join(f"{name}={mode}" for name, mode in sorted(policy.guards.items()) if MODES.get(name) != mode)
    told = modes if len(modes) <= _LONGEST else sha256(modes.encode()).hexdigest()[:32]
    score = model_for(embedder).version
    return Versions(
        score=score if mix is None else f"{score}+{version_of(mix)}",
        embedder=embedder,
        guards=f"{guards.VERSION}:{told}",
    )
