"""Step 6 of 9: guards on direction and comparison: the same words, the other way round."""

from __future__ import annotations

from yamabiko.core.guards.lexicon import flips
from yamabiko.core.guards.order import around_verb, order, swapped
from yamabiko.core.guards.reading import Finding, Reading, word_set


def direction(asked: Reading, stored: Reading) -> Finding | None:
    """From A to B against from B to A; A before B against B before A; A sues B against B sues A."""
    if asked.language != stored.language or asked.language == "other":
        return None
    one, other = asked.of(order), stored.of(order)
    if swapped(one.way, other.way):
        return Finding("direction", "source and target are swapped", 1.0)
    if swapped(one.time, other.time):
        return Finding("direction", "what comes first is swapped", 1.0)
    if one.passive == other.passive and not one.compared[1] and swapped(one.acting, other.acting):
        return Finding("direction", "who acts and who is acted upon are swapped", 1.0)
    if swapped(one.way, other.way) is None and swapped(one.time, other.time) is None:
        turned = around_verb(one, other)
        if turned is not None and turned == (one.passive == other.passive):
            return Finding("direction", "who acts and who is acted upon are swapped", 0.8)
    return None


def comparison(asked: Reading, stored: Reading) -> Finding | None:
    """A more than B against B more than A, or A less than B."""
    if asked.language != stored.language or asked.language == "other":
        return None
    one, other = asked.of(order), stored.of(order)
    if not one.compared[1] or not other.compared[1]:
        return None
    turned = swapped(one.compared, other.compared)
    if turned is None:
        return None
    count = flips(asked, stored)
    opposite = count % 2 == 1 or (not count and one.less != other.less)
    if turned == opposite:
        return None
    return Finding("comparison", "what is compared with what is swapped" if turned else "one says more, one less", 1.0)


def undone(asked: Reading, stored: Reading) -> bool:
    """Whether an opposite word is made good by the opposite view: A before B, B after A; where to buy, who sells."""
    if _trades(asked, stored) or _trades(stored, asked):
        return True
    one, other = asked.of(order), stored.of(order)
    if one.compared[1] and other.compared[1]:
        return swapped(one.compared, other.compared) is True
    return one.after != other.after and swapped(one.time, other.time) is False


def _trades(asked: Reading, stored: Reading) -> bool:
    """Whether one text asks where to buy what the other one asks who sells."""
    if asked.language == "ja":
        return "どこ" in asked.folded and "買" in asked.folded and "売" in stored.folded and "店" in stored.folded
    return "where" in asked.words and not stored.words.isdisjoint(_SELLERS) and not stored.words.isdisjoint(_SELLING)


_SELLERS = word_set("who shop shops store stores place places")
_SELLING = word_set("sell sells selling")
