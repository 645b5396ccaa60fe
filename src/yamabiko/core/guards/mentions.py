"""Step 6 of 9: one value that a text names, and how the values of two texts are told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypeAlias

from yamabiko.core.guards.reading import Finding
from yamabiko.core.late import late

Readings: TypeAlias = tuple[Hashable, ...]


class Mention(NamedTuple):
    """One value that a text names."""

    readings: Readings
    """What it may mean: 3時 is 3 or 15 o'clock. Two mentions agree where they share a reading."""
    group: str
    """What it may be contrasted with: a weekday with a weekday, a mass with a mass."""
    digits: tuple[str, ...] = ()
    """Its numerals, for a text that names the same number as something else: ``at 3`` and ``3 pm``."""
    weight: float = 0.6
    """How much it tells where the other text names nothing of the kind; 0 where it is easily left unsaid."""


def rule(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """A pattern to which kana and kanji are no word characters: in 計3kgです a number starts, a unit ends."""
    return late(pattern, flags | re.ASCII)


_RUN = rule("[0-9]+")


class Clues(NamedTuple):
    """What tells quickly which rules have nothing to find in a text: most have not."""

    words: frozenset[str]
    """Its words, as read from the whole text."""
    signs: frozenset[str]
    """Its characters."""
    japanese: bool
    digits: bool
    longest: int
    """Digits of its longest number."""
    starts: dict[str, list[int]]
    """Where numbers begin in what was left of the text at some point."""

    def word(self, words: AbstractSet[str]) -> bool:
        """Whether it holds one of these words."""
        return not self.words.isdisjoint(words)

    def sign(self, signs: str) -> bool:
        """Whether it holds one of these characters."""
        held = self.signs
        return signs in held if len(signs) == 1 else not held.isdisjoint(signs)

    def at_numbers(self, text: str, lead: str = "") -> list[int]:
        """Where a rule that begins with a number may match; ``lead`` are characters that may stand before it."""
        starts = self.starts.get(text)
        if starts is None:
            starts = self.starts[text] = [match.start() for match in _RUN.finditer(text)]
        if not lead:
            return starts
        led = [at - 1 for at in starts if at > 0 and text[at - 1] in lead]
        return sorted(starts + led) if led else starts


def at_words(text: str, words: Iterable[str]) -> list[int]:
    """Where a rule that begins with one of ``words`` may match."""
    starts = []
    for word in words:
        at = text.find(word)
        while at >= 0:
            starts.append(at)
            at = text.find(word, at + 1)
    starts.sort()
    return starts


def replaced(pattern: re.Pattern[str], form: Callable[[re.Match[str]], str], text: str, starts: list[int]) -> str:
    """As ``pattern.sub``, tried only at ``starts``: a pattern that looks behind first is slow to search with."""
    pieces: list[str] = []
    done = 0
    for start in starts:
        if start >= done:
            match = pattern.match(text, start)
            if match:
                pieces += (text[done:start], form(match))
                done = match.end()
    if not pieces:
        return text
    pieces.append(text[done:])
    return "".join(pieces)


Same: TypeAlias = Callable[[Mention, Mention], bool]


def share_a_reading(one: Mention, other: Mention) -> bool:
    """Whether two mentions may mean the same."""
    return one.readings == other.readings or not set(one.readings).isdisjoint(other.readings)


def unmatched(these: Sequence[Mention], those: Sequence[Mention], same: Same) -> tuple[list[Mention], list[Mention]]:
    """The mentions of each text that have no partner in the other; each has one partner at most."""
    left, right = [], list(those)
    for mention in these:
        for at, candidate in enumerate(right):
            if same(mention, candidate):
                del right[at]
                break
        else:
            left.append(mention)
    return left, right


def without_partner(
    these: Sequence[Mention], those: Sequence[Mention], same: Same
) -> tuple[list[Mention], list[Mention]]:
    """As ``unmatched``, where one mention may be the partner of several: *in March*, *on the 3rd of March*."""
    return (
        [one for one in these if not any(same(one, other) for other in those)],
        [one for one in those if not any(same(one, other) for other in these)],
    )


def named_otherwise(mentions: Sequence[Mention], others: Sequence[Mention]) -> list[Mention]:
    """Those whose numerals the other text doesn't name as something else."""
    spare = [digits for other in others for digits in other.digits]
    return [one for one in mentions if not (one.digits and any(digits in spare for digits in one.digits))]


def compare(guard: str, noun: str, left: Sequence[Mention], right: Sequence[Mention]) -> Finding | None:
    """What is left over on both sides, as a finding."""
    if not left and not right:
        return None
    heaviest = [max((mention.weight for mention in side), default=0.0) for side in (left, right)]
    contrast = not {mention.group for mention in left}.isdisjoint(mention.group for mention in right)
    if contrast or all(heaviest):
        return Finding(guard, f"they name different {noun}", 1.0)
    if any(heaviest):
        return Finding(guard, f"only one of them names some of the {noun}", max(heaviest))
    return None
