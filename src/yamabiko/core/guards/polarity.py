"""Step 6 of 9: guards on polarity: one text denies what the other affirms, or names the opposite.

Two differences undo each other: "not available" and "unavailable" agree. So each of the two guards holds its peace
where the other one finds exactly one difference.
"""

from __future__ import annotations

from yamabiko.core.guards.direction import undone
from yamabiko.core.guards.lexicon import flips
from yamabiko.core.guards.negation import Denial, denial, gentle, sentences, wants_help
from yamabiko.core.guards.reading import Finding, Reading


def negation(asked: Reading, stored: Reading) -> Finding | None:
    """One text denies something, and the other has no word that could say the same in another way."""
    if not _differ(asked, stored) or flips(asked, stored) == 1:
        return None
    return Finding("negation", "one denies something, the other doesn't", 1.0)


def antonyms(asked: Reading, stored: Reading) -> Finding | None:
    """The texts name opposite ends of one axis: on and off, buy and sell, before and after."""
    count = flips(asked, stored)
    if not count or (count == 1 and undone(asked, stored)):
        return None
    if count == 1 and asked.of(denial).denies != stored.of(denial).denies:
        return None
    return Finding("antonyms", f"they name opposites in {count} place{'s' if count > 1 else ''}", 1.0)


def _differ(asked: Reading, stored: Reading) -> bool:
    if asked.language != stored.language or asked.language == "other":
        return False
    one, other = asked.of(denial), stored.of(denial)
    if one is other:
        return False
    return _alone(one, other, asked, stored) or _alone(other, one, stored, asked)


def _alone(one: Denial, other: Denial, reading: Reading, against: Reading) -> bool:
    """Whether only ``one`` (of ``reading``) denies. What it merely tells counts where the other one tells more, too.

    A gentle word that both texts have is no other way to say what only one of them denies.
    """
    if other.firm or other.told or other.asking or other.mild:
        return False
    if one.firm:
        if one.unable == one.firm and against.of(wants_help):
            return False
        return all(word in reading.folded for word in against.of(gentle))
    return one.told > 0 and against.of(sentences) > 1 and not against.of(gentle)
