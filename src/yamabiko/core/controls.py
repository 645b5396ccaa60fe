"""Step 6 of 9, for a request that asks more of a stored answer than the policy does: it can only ever forbid one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from yamabiko.core.freshness import freshness
from yamabiko.core.guards import MODES, Mode
from yamabiko.core.shipped import shipped_threshold, verified_threshold
from yamabiko.core.states import Position
from yamabiko.ports import Mix
from yamabiko.types import PLAIN, Controls, Entry, Policy

NOT_STORED = "the request forbids that its answer is stored"
_STRICTNESS: Mapping[str, int] = {"off": 0, "feature": 1, "veto": 2}
_KNOWN_RATES = 256
"""Thresholds kept for rates that requests ask for; any client may name any rate."""


def unwanted(controls: Controls, entry: Entry, now: float) -> str:
    """Why this entry will not do, whatever it was found by, in a sentence; empty where it will."""
    if not controls.read:
        return "the request wants a new answer"
    if controls.max_age_seconds is not None and now - entry.created > controls.max_age_seconds:
        return "the stored answer is older than the request allows"
    if not controls.stale and freshness(entry, now) == "stale":
        return "the stored answer is past its expiry, and the request wants none that is"
    return ""


def not_by_meaning(controls: Controls) -> str:
    """Why nothing at all may be served by meaning, in a sentence; empty where something may."""
    if not controls.read:
        return "the request wants a new answer"
    return "" if controls.semantic else "the request wants an answer to the very same question only"


def may_be_drawn(controls: Controls) -> bool:
    """Whether a look-up may be drawn for a label: what is stored for it is compared with an answer that may be kept."""
    return controls.read and controls.store and controls.forward


def tightened(controls: Controls, policy: Policy, position: Position, *, embedder: str) -> tuple[Policy, Position, str]:
    """Policy and position for this request, and why nothing may be served by meaning, empty where something may.

    A certificate speaks for one threshold, so where its bound is above the rate asked for, nothing is served. What
    was calibrated on public data has a stricter threshold for a stricter rate. ``embedder``: as ``model_for`` names it.
    """
    if controls == PLAIN:
        return policy, position, ""
    if not may_be_drawn(controls):
        position = replace(position, design=None, beside=())
    if controls.min_similarity is not None:
        least, verify = policy.min_similarity, policy.verify_similarity
        policy = replace(
            policy,
            min_similarity=controls.min_similarity if least is None else max(least, controls.min_similarity),
            verify_similarity=None if verify is None else max(verify, controls.min_similarity),
        )
    asked = controls.max_error_rate
    if asked is None or (policy.max_error_rate is not None and asked >= policy.max_error_rate):
        return policy, position, ""
    policy = replace(policy, verify_similarity=None)  # a verifier states no rate
    if policy.max_error_rate is None:
        return policy, position, f"the request wants an error rate of at most {asked:g}, and none is stated here"
    if position.calibration == "certified":
        bound = position.error_upper
        good = bound is not None and bound <= asked
        why = f"the request wants an error rate of at most {asked:g}, and {_stated(bound)} is certified here"
        return policy, position, "" if good else why
    stricter = _threshold(position.mix, embedder, asked, policy.confidence)
    if stricter is None or position.threshold is None:
        return policy, position, f"nothing speaks for an error rate of at most {asked:g}, which the request wants"
    return policy, replace(position, threshold=max(position.threshold, stricter)), ""


def stricter_modes(modes: Mapping[str, Mode], controls: Controls) -> Mapping[str, Mode]:
    """What each guard does, where the request wants it stricter than the policy has it."""
    if not controls.guards:
        return modes
    wanted = {
        name: mode for name, mode in controls.guards if _STRICTNESS[mode] > _STRICTNESS[modes.get(name, MODES[name])]
    }
    return {**modes, **wanted}


def _stated(bound: float | None) -> str:
    return "none" if bound is None else f"{bound:.4f}"


@functools.lru_cache(maxsize=_KNOWN_RATES)
def _threshold(mix: Mix | None, embedder: str, max_error_rate: float, confidence: float) -> float | None:
    if mix is None:
        found = shipped_threshold(embedder, max_error_rate, confidence)
    else:
        found = verified_threshold(mix, embedder, max_error_rate, confidence)
    return None if found is None else found.threshold
