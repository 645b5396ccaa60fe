"""Step 6 of 9: who does what to whom, and what comes from where: roles of words that the order of a text assigns.

A relation is a pair of word sets: what is on its near side (source, agent, earlier, the thing compared) and what is on
its far side (target, patient, later, what it is compared with). Two texts disagree where a word of each side of one
stands on the other side in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from yamabiko.core.guards.inflection import base
from yamabiko.core.guards.reading import Reading, word_set
from yamabiko.core.late import late

Relation: TypeAlias = tuple[frozenset[str], frozenset[str]]

_NONE: Relation = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Order:
    """The relations of one text; one of two empty sides says nothing."""

    way: Relation
    """From what, to what."""
    time: Relation
    """What is before what."""
    after: bool
    """Whether it is said with *after*."""
    compared: Relation
    """What is compared with what, and ``less`` where it is said to be less."""
    less: bool
    acting: Relation
    """Who acts on whom, for Japanese."""
    line: tuple[str, ...]
    """The content words in order, of an English text whose order tells who acts on whom; else empty."""
    passive: bool


def swapped(one: Relation, other: Relation) -> bool | None:
    """Whether two relations are each other's reverse; None where they can't be compared."""
    near, far = one[0] - one[1], one[1] - one[0]
    other_near, other_far = other[0] - other[1], other[1] - other[0]
    if near & other_far and far & other_near:
        return True
    return False if near & other_near and far & other_far else None


_STOP = word_set(
    "a an the my your our their his her its this that these those i you we they he she it me us him them is are "
    "was were be been do does did can could will would should may might must have has had how what which when "
    "where why who there some any please get getting want need way ways best between of in on at as so not don't "
    "using it's i'm s"
)
_TO = word_set("to into onto")
_ENDS = word_set(
    "to into onto from for with by when while because if and or but than before after in on at using via without "
    "during until who which that through is are was were"
)
_EXCHANGE = word_set("exchange exchanging swap swapping trade trading")
_REPLACE = word_set("replace replacing substitute")
_ALTERNATIVES = word_set("and or vs versus than between with v")
_AUXILIARY = word_set("do does did can could will would should may might must is are was were has have had")
_BE = word_set("is are was were be been being get gets got am")
_ASKING = word_set("why how when where")


def order(reading: Reading) -> Order:
    """The relations that a text states."""
    return _japanese(reading.folded) if reading.language == "ja" else _english(reading)


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if ending in {"ing", "ed"} and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.rstrip("e") if len(word) > 3 else word


def _english(reading: Reading) -> Order:
    tokens, words = reading.tokens, reading.words
    return Order(
        way=_way(tokens, words)
        if not words.isdisjoint(_TO | {"from", "for", "with"}) or ">" in reading.folded
        else _NONE,
        time=_time(tokens, words) if "before" in words or "after" in words else _NONE,
        after="after" in words,
        compared=_compared(tokens, _STOP - {"a"} if _is_name(reading) else _STOP) if "than" in words else _NONE,
        less="less" in words or "fewer" in words,
        acting=_NONE,
        line=_line(reading),
        passive=_is_passive(reading),
    )


def _is_passive(reading: Reading) -> bool:
    return "by" in reading.words and not reading.words.isdisjoint(_BE)


def _after(tokens: Sequence[str], words: frozenset[str], at: int, count: int = 4) -> set[str]:
    """The content words that follow a preposition, as far as its phrase goes."""
    found: set[str] = set()
    for word in tokens[at + 1 : at + 1 + count]:
        if word in _ENDS:
            break
        if word not in _STOP:
            found.add(word if word[:-1] in words else _stem(word))
    return found


def _ahead(tokens: Sequence[str], words: frozenset[str], at: int, count: int) -> set[str]:
    """The content words right before a preposition."""
    found: list[str] = []
    for word in reversed(tokens[:at]):
        if word in _ENDS or len(found) == count:
            break
        if word not in _STOP:
            found.append(word if word[:-1] in words else _stem(word))
    return set(found)


def _way(tokens: Sequence[str], words: frozenset[str]) -> Relation:
    near: set[str] = set()
    far: set[str] = set()
    targets = set(_TO)
    if not words.isdisjoint(_EXCHANGE):
        targets.add("for")
    if not words.isdisjoint(_REPLACE):
        targets.add("with")
    has_source = "from" in words
    for at, word in enumerate(tokens):
        if word == "from":
            near |= _after(tokens, words, at)
        elif word in targets:
            far |= _after(tokens, words, at)
            if not has_source:
                near |= _ahead(tokens, words, at, 3)
    return frozenset(near), frozenset(far)


def _time(tokens: Sequence[str], words: frozenset[str]) -> Relation:
    for at, word in enumerate(tokens):
        if word in {"before", "after"}:
            ahead = frozenset(stem[:4] for stem in _ahead(tokens, words, at, 3))
            behind = frozenset(stem[:4] for stem in _after(tokens, words, at, 4))
            return (ahead, behind) if word == "before" else (behind, ahead)
    return _NONE


def _compared(tokens: Sequence[str], stop: frozenset[str]) -> Relation:
    at = tokens.index("than")
    ahead = frozenset(_stem(word) for word in tokens[max(0, at - 9) : at] if word not in stop)
    return ahead, frozenset(_stem(word) for word in tokens[at + 1 : at + 6] if word not in stop)


def _is_name(reading: Reading) -> bool:
    """Whether a lone capital A names something: is A cheaper than B."""
    return "a" in reading.words and " a " not in reading.text and _NAMED_A.search(reading.text) is not None


_NAMED_A = late(r"(?<=[a-z] )A\b")


def _line(reading: Reading) -> tuple[str, ...]:
    tokens = reading.tokens
    if not 3 <= len(tokens) <= 16 or not reading.words.isdisjoint(_ALTERNATIVES):
        return ()
    if tokens[0] not in _AUXILIARY and not (len(tokens) > 2 and tokens[0] in _ASKING and tokens[1] in _AUXILIARY):
        return ()
    passive = _is_passive(reading)
    line = (word for word in tokens if word not in _STOP and word not in {"by", "to"})
    return tuple(_stem(base(word) if passive else word) for word in line)


def around_verb(one: Order, other: Order) -> bool | None:
    """Whether two texts of the same words swap what stands before and after their verb; None: can't tell."""
    if not one.line or not other.line or len(one.line) != len(other.line) or set(one.line) != set(other.line):
        return None
    for at in range(1, len(one.line) - 1):
        verb = one.line[at]
        there = other.line.index(verb)
        if not 0 < there < len(other.line) - 1:
            continue
        left, right = set(one.line[max(0, at - 2) : at]), set(one.line[at + 1 : at + 3])
        other_left, other_right = set(other.line[max(0, there - 2) : there]), set(other.line[there + 1 : there + 3])
        found = swapped(
            (frozenset(left), frozenset(right)),
            (frozenset(other_left), frozenset(other_right)),
        )
        if found:
            return True
        if found is False and left & other_left and right & other_right:
            return False
    return None


_CHAR = r"[^\s、。・?!,→「」『』()\u3041-\u309f]"
_CHUNK = rf"(?<!{_CHAR})((?:{_CHAR}{{1,24}}+の)?{_CHAR}{{1,24}}+(?:ちゃん|さん|さま|くん|[いりしみちきけせれめ])?)"
_SCRIPTS = late("[\u30a1-\u30fa\u30fc]+|[\u3005-\u3007\u3400-\u9fff]+")
_ROLE_JA = late(
    _CHUNK + r"(?:(?P<near>から|→|を出て)|(?P<far>へ|に(?![はも]|つい|よ[るっ]|関|対)|まで)|(?P<object>を)"
    r"|(?P<topic>(?:の方|のほう)?[はが])|(?P<than>より))"
)
_ARROW_JA = late(r"→\s?" + _CHUNK)
_PASSIVE_JA = late("[らかさたなばまがわ]れ[るたてま]|もら[いえうっ]|受け")


def _parts(chunk: str) -> set[str]:
    """A chunk, what is on either side of a の in it, and its runs of one script."""
    return {chunk, *chunk.split("の"), *_SCRIPTS.findall(chunk)}


def _japanese(text: str) -> Order:
    text = text.replace("->", "→")
    sides: dict[str, set[str]] = {"near": set(), "far": set(), "object": set(), "topic": set(), "than": set()}
    for match in _ROLE_JA.finditer(text):
        sides[match.lastgroup or "topic"] |= _parts(match[1])
    if "→" in text:
        for chunk in _ARROW_JA.findall(text):
            sides["far"] |= _parts(chunk)
    near, far, objects, topic, than = (frozenset(side) for side in sides.values())
    return Order(
        way=(near | (objects - far), far),
        time=_NONE,
        after=False,
        compared=(topic, than) if than else _NONE,
        less=False,
        acting=(topic, objects | far),
        line=(),
        passive=_PASSIVE_JA.search(text) is not None,
    )
