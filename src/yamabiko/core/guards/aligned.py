"""Step 6 of 9: two texts that agree word by word but for one small difference, which changes what is asked.

*Is she an author?* and *Is she a good author?* have all but one word in common, and another answer each. Nothing here
speaks unless the rest of both texts is the same words in the same order, so that nothing else can make up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yamabiko.core.guards.reading import Reading, word_set
from yamabiko.core.late import late

_BE = word_set("is are am was were be been isn't aren't wasn't weren't become becomes became")
_OPENING = word_set("is are am was were isn't aren't wasn't weren't")
_IDLE = word_set(
    "certain particular specific given single possible available valid own new little bit any other another such "
    "very quite really truly rather kind sort type piece pair set number"
)
"""What may stand between *a* and its noun without making another question of it."""
_ANY = word_set("way chance time reason place option idea lot few")
_EMPTY = word_set(
    "a an the is are am was were be been being do does did has have had will would can could should also then "
    "either whether"
)
_JOINT = word_set("both simultaneously together concurrently jointly")
_CHANGING = word_set("become becoming becomes became turning")
_FORMER = word_set("formerly previously")


class Frame(NamedTuple):
    """An English text without the words that a difference may rest on."""

    kernel: tuple[str, ...]
    """What is left, in order."""
    phases: frozenset[str]
    """Whether it asks for what was once (``former``) or what comes to be (``changing``)."""
    joint: str
    """``and`` where it asks for all at once, ``or`` where one is enough, else empty."""
    state: bool
    """Whether it opens with a form of *be* and so asks whether something is so now."""


def frame(reading: Reading) -> Frame:
    """The frame of a text; without a kernel where it is not English."""
    if reading.language != "en" or not 3 <= len(reading.tokens) <= 24:
        return Frame((), frozenset(), "", state=False)
    tokens, words = reading.tokens, reading.words
    phases: set[str] = set()
    kernel: list[str] = []
    joined = not words.isdisjoint(_JOINT)
    at = 0
    while at < len(tokens):
        word = tokens[at]
        if word in {"use", "used"} and tokens[at + 1 : at + 2] == ("to",) and tokens[at + 2 : at + 3] == ("be",):
            phases.add("former")
            at += 2
        elif word == "at" and tokens[at + 1 : at + 4] == ("the", "same", "time"):
            joined = True
            at += 3
        elif word in _CHANGING or word in _FORMER:
            phases.add("changing" if word in _CHANGING else "former")
        elif word not in _EMPTY and word not in _JOINT and word not in {"and", "or"}:
            kernel.append(word)
        at += 1
    joint = "or" if "or" in words and "and" not in words else "and" if joined and "or" not in words else ""
    return Frame(tuple(kernel), frozenset(phases), joint, state=tokens[0] in _OPENING)


def narrowed(asked: Reading, stored: Reading) -> str:
    """How two texts differ that are otherwise the same, as a sentence without their words; empty where they don't."""
    if asked.language != stored.language:
        return ""
    if asked.language == "ja":
        return _MODIFIED if _described(asked.folded, stored.folded) else ""
    if asked.language != "en" or abs(len(asked.tokens) - len(stored.tokens)) > 3:
        return ""
    if _modified(asked.tokens, stored.tokens):
        return _MODIFIED
    one, other = asked.of(frame), stored.of(frame)
    if len(one.kernel) < 2 or one.kernel != other.kernel:
        return ""
    if one.phases != other.phases and (other if one.phases else one).state and not (one.phases and other.phases):
        return "one asks for what is so, the other for what was or comes to be"
    if one.joint and other.joint and one.joint != other.joint:
        return "one asks for both at once, the other for either"
    return ""


_MODIFIED = "one describes a thing more closely than the other, all else being equal"


def _modified(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the longer text only adds a word or two between *a* and its noun, of what somebody or something is.

    Or a word that makes another unit of one: *nautical miles*.
    """
    short, long = (one, other) if len(one) < len(other) else (other, one)
    added = len(long) - len(short)
    if not 1 <= added <= 2:
        return False
    at = 0
    while at < len(short) and (short[at] == long[at] or (short[at] in _A and long[at] in _A)):
        at += 1
    if added == 1 and long[at] in _MEASURES and tuple(short[at:]) == tuple(long[at + 1 :]):
        return True
    if not 2 <= at < len(short) or long[at - 1] not in _A or tuple(short[at:]) != tuple(long[at + added :]):
        return False
    if short[at] in _ANY or _BE.isdisjoint(long[:at]):
        return False
    described = long[at : at + added]
    return all(word.isalpha() for word in described) and not _IDLE.issuperset(described)


_A = frozenset(("a", "an"))
_MEASURES = word_set("nautical square cubic metric imperial troy fluid")
_PREDICATE_JA = late(r"[^\s\u3041-\u309f、。?]+(?:です|でしょう|だった|でした|である|なの|だと)")
_MODIFIER_JA = late(r"[^、。]*[^\s\u3041-\u309f、。](?:な|[\u3041-\u309f]?い|の|[\u3041-\u309f]?た)$")
_IDLE_JA = late(r"(?:本当|実際|現在|今|普通|一般|具体的|主|特定|通常|御社|貴社|その|この|あの|自分|私|何か)")


def _described(one: str, other: str) -> bool:
    """Whether the longer Japanese text only adds a describing word to what something is: XはNですか, Xは良いNですか."""
    short, long = (one, other) if len(one) < len(other) else (other, one)
    added = len(long) - len(short)
    if not 2 <= added <= 8 or len(short) < 6:
        return False
    at = 0
    while at < len(short) and short[at] == long[at]:
        at += 1
    while at and long[at - 1] not in "はが":  # the same characters may begin both: the place is after the particle
        at -= 1
    if not at or short[at:] != long[at + added :] or not _PREDICATE_JA.match(short, at):
        return False
    piece = long[at : at + added]
    return _MODIFIER_JA.match(piece) is not None and not _IDLE_JA.search(piece)
