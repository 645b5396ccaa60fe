"""Step 6 of 9: guards, which say what speaks against one text answering for another.

A guard reads two texts and finds a difference, or nothing. It speaks only where there is evidence of one: texts that
say nothing of the kind, or the same in other words, pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from yamabiko.core.guards.constraints import constraints
from yamabiko.core.guards.direction import comparison, direction
from yamabiko.core.guards.entities import entities
from yamabiko.core.guards.literals import literals
from yamabiko.core.guards.polarity import antonyms, negation
from yamabiko.core.guards.questions import questions
from yamabiko.core.guards.reading import Finding, Guard, Mode, Reading, read, word_set
from yamabiko.core.guards.shape import language, length, truncation
from yamabiko.core.guards.surplus import surplus
from yamabiko.core.guards.values import dated, identifiers, money, numbers, times, units, versions

__all__ = [
    "GUARDS",
    "MODES",
    "VERSION",
    "VETO_STRENGTH",
    "Finding",
    "Guard",
    "Mode",
    "Reading",
    "check",
    "read",
    "vetoes",
    "word_set",
]

GUARDS: Mapping[str, Guard] = MappingProxyType(
    {
        "numbers": numbers,
        "units": units,
        "money": money,
        "dates": dated,
        "times": times,
        "versions": versions,
        "identifiers": identifiers,
        "length": length,
        "literals": literals,
        "questions": questions,
        "truncation": truncation,
        "language": language,
        "negation": negation,
        "antonyms": antonyms,
        "constraints": constraints,
        "direction": direction,
        "comparison": comparison,
        "entities": entities,
    }
)
"""Every guard by name, the cheapest first."""

MODES: Mapping[str, Mode] = MappingProxyType({**dict.fromkeys(GUARDS, "veto"), "length": "feature"})
"""What each guard does where nothing else is set. A long question may be asked in short: its length only counts."""

VERSION = "4"
"""Of what guards find in mode ``veto``: a change of it ends certificates, whose labels were of what guards let pass."""

VETO_STRENGTH = 0.5
"""From which strength on the finding of a guard in mode ``veto`` forbids an answer; weaker ones are features only."""


def check(asked: Reading, stored: Reading, modes: Mapping[str, Mode] = MODES) -> tuple[Finding, ...]:
    """What every guard that isn't ``off`` finds, in the order of ``GUARDS``. A guard without a mode has its default.

    Guards don't mind which text is which. One finding does, and comes last, as ``truncation``'s: ``surplus``.
    """
    on = GUARDS
    if modes and modes is not MODES:
        on = {name: guard for name, guard in GUARDS.items() if modes.get(name, MODES[name]) != "off"}
    found = [finding for guard in on.values() if (finding := guard(asked, stored)) is not None]
    if "truncation" in on and (more := surplus(asked, stored)):
        found.append(Finding("truncation", more, 0.6))
    return tuple(found)


def vetoes(findings: tuple[Finding, ...], modes: Mapping[str, Mode] = MODES) -> tuple[Finding, ...]:
    """Those of the findings that forbid an answer."""
    return tuple(
        finding
        for finding in findings
        if finding.strength >= VETO_STRENGTH and modes.get(finding.guard, MODES[finding.guard]) == "veto"
    )
