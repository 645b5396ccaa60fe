"""Step 9 of 9: how soon the answer to a question is out of date.

Rules in English and Japanese, in ``data/volatility.json``, each with the class that bounds the life of an answer.
Three kinds: a ``marker`` (today, this week) always counts; a ``weak`` one (now, latest) not in a question how to do
something; a ``topic`` (weather, stock price) only where its state is asked, neither in such a question nor in one for a
meaning, a history or a year that is over. The shortest life wins. What stands in quotation marks, in code or after
*Translate this:* is spoken about and never counts. In doubt an answer lives shorter: that costs a generation, not a
wrong answer.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import StrEnum

from yamabiko.core.rules import Rule, compiled, folded, matching, table, told


class Volatility(StrEnum):
    """How long an answer may live, whatever the policy allows; ``STABLE`` leaves it to the policy."""

    NEVER = "none"
    MINUTES_5 = "5m"
    MINUTES_15 = "15m"
    HOUR = "1h"
    HOURS_4 = "4h"
    DAY = "24h"
    WEEK = "7d"
    STABLE = "stable"

    @property
    def ttl_seconds(self) -> float | None:
        """The longest life in seconds: 0 for what is never stored, None where only the policy's counts."""
        return _TTL_SECONDS[self]


_TTL_SECONDS: Mapping[Volatility, float | None] = {
    Volatility.NEVER: 0.0,
    Volatility.MINUTES_5: 300.0,
    Volatility.MINUTES_15: 900.0,
    Volatility.HOUR: 3600.0,
    Volatility.HOURS_4: 4 * 3600.0,
    Volatility.DAY: 86400.0,
    Volatility.WEEK: 7 * 86400.0,
    Volatility.STABLE: None,
}

_JAPANESE = "[\u3041-\u30fa\u4e00-\u9fff]"


def volatility(text: str) -> Volatility:
    """The class of the question ``text``, in English or Japanese; ``STABLE`` for everything that no rule knows."""
    text = folded(told(text))
    if not text:
        return Volatility.STABLE
    language = "ja" if not text.isascii() and compiled(_JAPANESE).search(text) else "en"
    for volatile, kinds in _rules(language):
        for kind, rules in kinds.items():
            if next(matching(text, rules), None) and not _is_harmless(text, language, kind):
                return volatile
    return Volatility.STABLE


def _is_harmless(text: str, language: str, kind: str) -> bool:
    """Whether a question holds a word of change and still has one lasting answer."""
    harmless = table("volatility")["harmless"][language]
    return any(compiled(harmless[form]).search(text) for form in harmless["for"][kind])


@functools.cache
def _rules(language: str) -> tuple[tuple[Volatility, Mapping[str, tuple[Rule, ...]]], ...]:
    """The classes from the shortest life to the longest, and the rules of each by kind."""
    rows = table("volatility")[language]
    return tuple(
        (
            volatile,
            {
                kind: tuple(Rule(kind, tuple(words.split("|")), pattern) for words, pattern in of_kind)
                for kind, of_kind in rows[volatile.value].items()
            },
        )
        for volatile in Volatility
        if volatile.value in rows
    )
