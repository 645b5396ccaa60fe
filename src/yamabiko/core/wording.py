"""Step 6 of 9: how far two texts say the same, word by word, and which words have no partner in the other text.

English words are compared by a light stem; Japanese, which is read without a dictionary, by its katakana words, Latin
words, numbers and pairs of kanji; any other language by its words as they stand. Words that mean the same in most
questions are one: ``data/wording.json``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from importlib.resources import files
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from yamabiko.core.guards.reading import Reading, numbered, word_set

_FUNCTION = word_set(
    "a an the this that these those it its i me my mine we us our you your he him his she her they them their one ones "
    "some any is are was were be been being am do does did done doing have has had having can could will would shall "
    "should may might must to of in on at for from with by about into as and or but if so than then there here what "
    "which who whom whose when where why how not no s t d m ll re ve"
)
_PAST = word_set("was were did had")
_PRESENT = word_set("is are am do does has have can will")
_BE = word_set("is are was were be been being am get gets got")
_CONTRACTED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"), "cannot": ("can", "not")}
)
_ENDED: Mapping[str, str] = MappingProxyType({"re": "are", "ve": "have", "ll": "will", "d": "would", "m": "am"})
_NUMERALS: Mapping[str, str] = MappingProxyType(
    {word: str(at) for word, at in numbered("two three four five six seven eight nine ten eleven twelve", 2).items()}
)
_FORMS = (
    "buy bought, sell sold, send sent, lend lent, spend spent, lose lost, win won, rise rose risen, "
    "fall fell fallen, show shown, leave left, begin began begun, give gave given, take took taken, "
    "get got gotten, go went gone, come came, wake woke woken, teach taught, think thought, make made, "
    "write wrote written, pay paid, forget forgot forgotten, grow grew grown, keep kept, build built, "
    "throw threw thrown, know knew known, see saw seen, say said, tell told, find found, hold held, "
    "bring brought, meet met, eat ate eaten, drink drank drunk, run ran, sing sang sung, speak spoke spoken, "
    "break broke broken, choose chose chosen, drive drove driven, feel felt, child children, man men, "
    "woman women, person people, foot feet, tooth teeth, mouse mice, life lives, wife wives, die dying, "
    "good better best, bad worse worst"
)
_IRREGULAR: Mapping[str, str] = MappingProxyType(
    {form: row.split()[0] for row in _FORMS.split(", ") for form in row.split()[1:]}
)
_VOWEL = frozenset("aeiouy")
_UNIT = re.compile(
    r"[0-9]+(?:[.,:][0-9]+)*|[a-z\u00c0-\u024f]+|[\u30a0-\u30fa\u30fc-\u30ff]+|[\u3005-\u3007\u3400-\u9fff]+"
)
"""What tells in Japanese: a number, a Latin word, a word in katakana, a run of kanji."""


class Wording(NamedTuple):
    """The words of one text as they are compared."""

    content: Mapping[str, float]
    """What carries the meaning, stems or pieces of Japanese, in order; and how much each tells, in (0, 1.5]."""
    function: frozenset[str]
    """The small words; of Japanese the endings and particles, cut into pairs."""
    marks: frozenset[str]
    """The small words that change what is asked: and, or, before, each, used to, a past tense."""
    grams: frozenset[str]
    """Its runs of three characters, in Japanese of two."""
    plain: str
    """The text without white space and punctuation."""
    passive: bool
    """Whether it says by whom something is done, in the passive."""


class Overlap(NamedTuple):
    """What two texts share; every number in [0, 1]. ``u`` below is a weight of words, 0 to 1 shown as u / (u + 1)."""

    words: float
    """Dice coefficient of their content words."""
    function: float
    """Dice coefficient of their small words; 1 where neither has any."""
    grams: float
    """Dice coefficient of their character runs."""
    shared: float
    """How much content they share, s / (s + 3) of its weight s."""
    only_asked: float
    """Content of the first text without partner in the second, as u / (u + 1)."""
    only_stored: float
    """The same of the second text."""
    replaced: float
    """The lesser of the two: words that seem to stand for each other, as u / (u + 1)."""
    uncovered: float
    """Share of all content that has no partner."""
    near: float
    """Of the words without an equal, the share that have one of similar letters in the other text."""
    moved: float
    """Share of neighbours among the shared words that are turned round, a passive counting as one turn."""
    marks: float
    """Small words that change what is asked and stand in one text only: their number n as n / (n + 1)."""


@functools.lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """An English word without its ending: ``ordering``, ``orders`` and ``ordered`` are one; rough, and meant to be."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NUMERALS:
        return _NUMERALS[word]
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ly") and len(word) > 5:
        word = word[:-2]
    for ending in ("ing", "ied", "ed"):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not _VOWEL.isdisjoint(word[: -len(ending)]):
            word = word[: -len(ending)] + ("y" if ending == "ied" else "")
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    if word.endswith("our") and len(word) > 4:
        word = word[:-3] + "or"
    if word.endswith(("ise", "yse")) and len(word) > 5:
        word = word[:-2] + "ze"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


class _Lexicon(NamedTuple):
    one: Mapping[str, str]
    """Stem -> the one that stands for its group."""
    phrases: Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
    """First word (of Japanese, first character) -> what begins with it, longest first, and what it is read as."""
    filler: frozenset[str]
    """Says nothing: it is left out."""
    light: frozenset[str]
    """Says little."""
    marks: frozenset[str]


def _by_first(rows: Mapping[tuple[str, ...], tuple[str, ...]]) -> Mapping[str, tuple[Any, ...]]:
    table: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for row in sorted(rows.items(), key=lambda row: -len(row[0])):
        table.setdefault(row[0][0], []).append(row)
    return {first: tuple(found) for first, found in table.items()}


@functools.cache
def _data() -> Mapping[str, Any]:
    text = files("yamabiko.core").joinpath("data/wording.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    return data


@functools.cache
def _english() -> _Lexicon:
    data = _data()["en"]
    groups = [[stem(word) for word in row.split()] for row in data["groups"]]
    one = {word: group[0] for group in reversed(groups) for word in group}
    light = frozenset(one.get(stem(word), stem(word)) for word in data["light"].split())
    phrases = _by_first({tuple(phrase.split()): tuple(read_as.split()) for phrase, read_as in data["phrases"].items()})
    return _Lexicon(one, phrases, word_set(data["filler"]), light, word_set(data["marks"]))


@functools.cache
def _japanese() -> _Lexicon:
    data = _data()["ja"]
    rows = {tuple(word): tuple(row.split()[0]) for row in data["groups"] for word in row.split()[1:]}
    rows.update({tuple(word): () for word in data["filler"].split()})
    return _Lexicon({}, _by_first(rows), frozenset(), word_set(data["light"]), word_set(data["marks"]))


def _read_as(pieces: Sequence[str], lexicon: _Lexicon) -> list[str]:
    """Words, or characters, with the phrases among them replaced."""
    found: list[str] = []
    at, table = 0, lexicon.phrases
    while at < len(pieces):
        piece = pieces[at]
        for phrase, read_as in table.get(piece, ()):
            if tuple(pieces[at : at + len(phrase)]) == phrase:
                found += read_as
                at += len(phrase)
                break
        else:
            found.append(piece)
            at += 1
    return found


def wording(reading: Reading) -> Wording:
    """The words of a text; kept with its reading by ``reading.of(wording)``."""
    if reading.language == "ja":
        return _of_japanese(reading)
    if reading.language == "en":
        return _of_english(reading)
    content, plain = dict.fromkeys(reading.tokens, 1.0), "".join(reading.tokens)
    return Wording(content, frozenset(), frozenset(), _grams(f" {' '.join(reading.tokens)} ", 3), plain, passive=False)


def _of_english(reading: Reading) -> Wording:
    lexicon = _english()
    tokens = _expanded(reading.tokens)
    text = " ".join(tokens)
    words = _read_as(tokens, lexicon)
    content: dict[str, float] = {}
    for word in words:
        if word not in _FUNCTION and word not in lexicon.filler:
            form = stem(word)
            form = lexicon.one.get(form, form)
            content[form] = 0.25 if form in lexicon.light else 1.3 if form[0].isdigit() else 1.0
    seen = frozenset(words)
    marks = seen & lexicon.marks
    if not seen.isdisjoint(_PAST) and seen.isdisjoint(_PRESENT):
        marks |= {"past"}
    function = seen & _FUNCTION
    passive = "by" in seen and any(
        word == "by" and at and tokens[at - 1].endswith(("ed", "en", "wn", "ne")) for at, word in enumerate(tokens)
    )
    passive = passive and not seen.isdisjoint(_BE)
    return Wording(content, function, marks, _grams(f" {text} ", 3), text.replace(" ", ""), passive)


def _expanded(tokens: Sequence[str]) -> list[str]:
    words: list[str] = []
    for word in tokens:
        if word in _CONTRACTED:
            words += _CONTRACTED[word]
        elif "'" not in word:
            words.append(word)
        elif word.endswith("n't"):
            words += (word[:-3], "not")
        elif word.endswith("'s"):
            words.append(word[:-2])
        else:
            first, _, rest = word.partition("'")
            words += (first, _ENDED.get(rest, rest))
    return [word for word in words if word]


def _of_japanese(reading: Reading) -> Wording:
    lexicon = _japanese()
    text = "".join(_read_as(reading.folded, lexicon))
    content: dict[str, float] = {}
    for unit in _UNIT.findall(text):
        pieces: Iterable[str] = (unit,)
        if unit[0] not in "0123456789" and not "\u30a0" <= unit[0] <= "\u30ff" and not unit.isascii() and len(unit) > 2:
            pieces = (unit[at : at + 2] for at in range(len(unit) - 1))
        for piece in pieces:
            light = piece in lexicon.light
            content[piece] = 0.25 if light else 1.3 if piece[0].isdigit() else 1.0 if len(piece) > 1 else 0.6
    pairs: set[str] = set()
    for token in reading.tokens:
        if "\u3041" <= token[0] <= "\u309f":
            pairs.update([token] if len(token) < 2 else [token[at : at + 2] for at in range(len(token) - 1)])
    marks = frozenset(mark for mark in lexicon.marks if mark in reading.folded)
    plain = "".join(reading.tokens)
    return Wording(content, frozenset(pairs), marks, _grams(plain, 2), text, passive=False)


def _grams(text: str, size: int) -> frozenset[str]:
    return frozenset(text[at : at + size] for at in range(max(1, len(text) - size + 1)))


def overlap(asked: Reading, stored: Reading) -> Overlap:
    """What two texts share. All but ``only_asked`` and ``only_stored``, which change places, are symmetric."""
    one, other = asked.of(wording), stored.of(wording)
    left, right = _alone(one, other), _alone(other, one)
    lacking, lost, near = sum(left.values()), sum(right.values()), 0.0
    if left and right:
        paired, taken = _near(list(left), list(right))
        near = len(paired) / max(len(left), len(right))
        lacking -= 0.7 * sum(left[word] for word in paired)
        lost -= 0.7 * sum(right[word] for word in taken)
    whole = sum(one.content.values()) + sum(other.content.values())
    common, least = max(0.0, (whole - lacking - lost) / 2), min(lacking, lost)
    differing = len(one.marks ^ other.marks)
    return Overlap(
        words=_dice(one.content.keys(), other.content.keys()),
        function=_dice(one.function, other.function),
        grams=_dice(one.grams, other.grams),
        shared=common / (common + 3),
        only_asked=lacking / (lacking + 1),
        only_stored=lost / (lost + 1),
        replaced=least / (least + 1),
        uncovered=min(1.0, (lacking + lost) / whole) if whole else 0.0,
        near=near,
        moved=_moved(one, other),
        marks=differing / (differing + 1),
    )


def _alone(one: Wording, other: Wording) -> dict[str, float]:
    """Content of ``one`` that ``other`` has not, not even as a part of a longer word where it is Japanese."""
    return {
        word: weight
        for word, weight in one.content.items()
        if word not in other.content and (word.isascii() or word not in other.plain)
    }


def _near(left: Sequence[str], right: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words that pair off by similar letters, of either side."""
    paired: list[str] = []
    taken: list[str] = []
    partners = right[:12]
    for word in left[:12]:
        first = word[0]
        for partner in partners:
            if first > "z":
                if partner not in taken and (word in partner or partner in word):
                    paired.append(word)
                    taken.append(partner)
                    break
            elif first == partner[0] and partner not in taken and alike(word, partner):
                paired.append(word)
                taken.append(partner)
                break
    return paired, taken


def alike(one: str, other: str) -> bool:
    """Whether two words look like forms or misspellings of one: a long common beginning, or one slip of the finger.

    Of Japanese, whether one is a part of the other, as a verb's kanji is of the noun's: 変 in 変更.
    """
    if not one.isascii() or not other.isascii():
        return one in other or other in one
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    if len(short) < 4 or not short.isalpha() or not long.isalpha():
        return False
    same = 0
    for first, second in zip(short, long, strict=False):
        if first != second:
            break
        same += 1
    if same >= 4 and 3 * same >= 2 * len(long):
        return True
    if len(long) - len(short) > 1 or len(short) < 5:
        return False
    rest_short, rest_long = short[same:], long[same:]
    if len(short) == len(long):
        return rest_short[1:] == rest_long[1:] or (
            rest_short[2:] == rest_long[2:] and rest_short[:2] == rest_long[1::-1]
        )
    return rest_short == rest_long[1:]


def _dice(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    size = len(one) + len(other)
    return 2 * len(one & other) / size if size else 1.0


def _moved(one: Wording, other: Wording) -> float:
    """Who prefers whom, and who is preferred by whom: the order is turned, and so is the view."""
    places = {word: at for at, word in enumerate(other.content)}
    order = [places[word] for word in one.content if word in places]
    if len(order) < 2:
        return 0.0
    turned = sum(after < before for before, after in pairwise(order)) / (len(order) - 1)
    return turned if one.passive == other.passive else 1 - turned
