"""A namespace as one process knows it: what is stored, and what follows from it by now."""

from __future__ import annotations

from dataclasses import dataclass

from yamabiko.core.states import Position, State
from yamabiko.learn.advance import Rules, fresh
from yamabiko.learn.records import NamespaceState, StoredStanding, decode_standing, is_newer
from yamabiko.ports import Stored


@dataclass(slots=True)
class Held:
    """What is ``stored`` at ``version``, and of it the standing under one promise and its versions.

    ``base``: as it was saved, or as it begins where ``is_saved`` is False; ``now``: with what has come since.
    ``loaded``: seconds UTC epoch.
    """

    stored: StoredStanding
    version: int | None
    base: NamespaceState
    now: NamespaceState
    loaded: float
    is_saved: bool
    writable: bool = True
    refreshing: bool = False
    position: Position | None = None


def held(level: str, stored: Stored | None, rules: Rules, now: float) -> Held:
    """What was read; nothing is served on the strength of bytes that can't be understood."""
    version = None if stored is None else stored.version
    found, why = (StoredStanding(), "") if stored is None else decode_standing(stored.data, level)
    if found is None:
        base = fresh(level, rules, distrust=why)
        return Held(StoredStanding(), version, base, base, now, is_saved=False, writable=not is_newer(why))
    known = found.of(rules.promise, rules.terms.versions)
    if known is not None:
        return Held(found, version, known, known, now, is_saved=True)
    base = fresh(level, rules, began=_ended(found, rules))
    return Held(found, version, base, base, now, is_saved=False)


def unheld(level: str, why: str, rules: Rules, loaded: float) -> Held:
    """In place of what could not be read: closed, and never saved."""
    base = fresh(level, rules, distrust=why)
    found = Held(StoredStanding(), None, base, base, loaded, is_saved=False, writable=False)
    found.position = closed(level, why)
    return found


def closed(namespace: str, why: str) -> Position:
    """Where a namespace stands of which nobody knows where it stands."""
    reason = f"{why}: nothing is served by meaning before the standing is known"
    return Position(namespace=namespace, state=State.EXACT_ONLY, threshold=None, calibration="none", reason=reason)


def _ended(stored: StoredStanding, rules: Rules) -> str:
    """Why a namespace begins anew: other versions are in use than those it has a standing for; empty for none."""
    before = next((known for known in stored.standings if known.promise == rules.promise), None)
    if before is None:
        return ""
    return f"another {before.versions.changes(rules.terms.versions)} is in use than before"
