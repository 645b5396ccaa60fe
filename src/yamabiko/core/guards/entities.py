"""Step 6 of 9: the guard on names: one text names a place, a product, a language, a person that the other replaces.

Names come from ``data/names.json`` (groups of aliases: NYC is New York), from capitals inside an English sentence, and
in Japanese from katakana words that are no everyday loan word, Latin words, and titles (田中さん, 大阪支店).
A name that only one text has says nothing: one may well say more than another. Each must have one that the other lacks.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from yamabiko.core.guards.reading import Finding, Reading, read, word_set
from yamabiko.core.late import late

_UNKNOWN = "unknown"


class Name(NamedTuple):
    """A name as both texts would have it, whatever alias they use, and what kind of thing it names."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class _Alias:
    tokens: tuple[str, ...]
    name: Name
    capital: bool
    """Whether it is a name only where it is capitalised: Go, us."""


@functools.cache
def _data() -> Mapping[str, Mapping[str, list[str]] | list[str]]:
    text = files("yamabiko.core").joinpath("data/names.json").read_text(encoding="utf-8")
    data: Mapping[str, Mapping[str, list[str]] | list[str]] = json.loads(text)
    return data


def _groups() -> Iterator[tuple[Name, Sequence[str]]]:
    names = _data()["names"]
    assert isinstance(names, Mapping)
    for kind, groups in names.items():
        for group in groups:
            aliases = group.split("/")
            yield Name(kind, aliases[0].lstrip("^")), aliases


@functools.cache
def _english() -> Mapping[str, tuple[_Alias, ...]]:
    """First word -> aliases that begin with it, longest first."""
    table: dict[str, list[_Alias]] = {}
    for name, aliases in _groups():
        for alias in aliases:
            tokens = read(alias.lstrip("^")).tokens
            if tokens and alias.isascii():
                table.setdefault(tokens[0], []).append(_Alias(tokens, name, alias.startswith("^")))
    return {first: tuple(sorted(found, key=lambda alias: -len(alias.tokens))) for first, found in table.items()}


@functools.cache
def _japanese() -> tuple[Mapping[str, tuple[tuple[str, Name], ...]], Mapping[str, Name]]:
    """First character -> aliases in Japanese, longest first; and aliases in Latin script."""
    table: dict[str, list[tuple[str, Name]]] = {}
    latin: dict[str, Name] = {}
    for name, aliases in _groups():
        for alias in aliases:
            if alias.isascii():
                latin[alias.lstrip("^")] = name
            else:
                table.setdefault(alias[0], []).append((alias, name))
    longest = {first: tuple(sorted(found, key=lambda item: -len(item[0]))) for first, found in table.items()}
    return longest, latin


@functools.cache
def _common_katakana() -> frozenset[str]:
    return frozenset(_data()["common_katakana"])


_LITERAL = frozenset("@/\\_(=<>`")
_EDGES = "\"'“”‘’.,;:!?*[]-…"
_BEGINNERS = frozenset('.!?:;\n•"“(*-')
_TITLES = ("Mr.", "Dr.", "Mrs.", "Ms.", "St.", "Prof.")
_NO_NAMES = word_set(
    "i i'm i've i'd i'll a ok faq id pin pdf url tv pc mr mrs ms dr prof sir madam hi hello hey thanks thank "
    "please dear am pm qr cd dvd wi fi wifi asap diy app q etc january february march april may june july august "
    "september october november december monday tuesday wednesday thursday friday saturday sunday jan feb mar apr "
    "jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun christmas internet web god ceo usa covid new "
    "city street the of sms sim gps ai"
)
_SMALL = word_set("are is do does your my can to in for with and how what should be get from when why where")
"""Words that only a title has in capitals in its midst."""
_OTHERS_PROGRAMMING = late(r"(?<![\w])(c\+\+|c#|f#)")


def names(reading: Reading) -> frozenset[Name]:
    """The names in a text."""
    if reading.language == "ja":
        return frozenset(_in_japanese(reading.folded))
    return frozenset(_in_english(reading)) if reading.language == "en" else frozenset()


def _in_english(reading: Reading) -> Iterator[Name]:
    capitals = _capitals(reading.text)
    table = _english()
    tokens = reading.tokens
    known: set[str] = set()
    at = 0
    while at < len(tokens):
        step = 1
        token = tokens[at]
        for alias in table.get(token) or (table.get(token[:-2], ()) if token.endswith("'s") else ()):
            size = len(alias.tokens)
            span = (tokens[at].removesuffix("'s"), *tokens[at + 1 : at + size - 1], *_last(tokens, at, size))
            if span == alias.tokens and (not alias.capital or tokens[at] in capitals):
                yield alias.name
                known.update(span)
                step = size
                break
        at += step
    if "+" in reading.folded or "#" in reading.folded:
        for found in _OTHERS_PROGRAMMING.findall(reading.folded):
            yield Name("code", found)
    for word in capitals:
        if word not in known and word not in _NO_NAMES and not word.isdigit():
            yield Name(_UNKNOWN, word)


def _last(tokens: Sequence[str], at: int, size: int) -> tuple[str, ...]:
    last = tokens[at + size - 1 : at + size] if size > 1 else ()
    return tuple(word.removesuffix("'s") for word in last)


def _capitals(text: str) -> frozenset[str]:
    """Words with a capital where a sentence doesn't ask for one, folded; none of a text that capitalises its words."""
    found: set[str] = set()
    before = "."
    for word, lower in zip(text.split(), text.lower().split(), strict=True):
        if word != lower and _LITERAL.isdisjoint(word):
            plain = word.strip(_EDGES).removesuffix("'s").removesuffix("’s")
            telling = len(plain) > 1 and (plain.isupper() or not plain[1:].islower())
            if telling or (
                not (before[-1] in _BEGINNERS and not before.endswith(_TITLES)) and word[0] not in _BEGINNERS
            ):
                small = plain.casefold()
                found.add(small)
                found.update(small.split("-"))
        before = word
    found = {word for word in found if len(word) > 1}
    if not found or not found.isdisjoint(_SMALL):
        return frozenset()
    long = [word for word in text.split() if len(word) > 3]
    return frozenset() if len(long) > 3 and 4 * sum(map(str.islower, long)) < len(long) else frozenset(found)


_LATIN = late(r"[a-z][a-z0-9]*(?:[.+#&-]+[a-z0-9]*)*")
_KATAKANA = late("[\u30a1-\u30fa\u30fc]{3,}")
_TITLED = late(
    "([\u3400-\u9fff]{2,3})(さん|様|先生|弁護士|市|県|府|区|町|村|駅|空港|支店|店|大学|銀行|病院|寺|神社|城|島|山|川|湖)(?![\u3400-\u9fff])"
)
_NO_TITLED = word_set(
    "最寄 同じ 各地 地方 都市 総合 動物 国立 私立 両方 全国 本社 専門 飲食 喫茶 百貨 販売 代理 取扱 加盟 書 皆 "
    "お客 患者 奥 息子 娘"
)
_NO_LATIN = word_set(
    "wi fi wi-fi wifi pc pw id pdf url app web ok tv a b c d m l s xl x y n db api ui no vs ai it km kg cm mm ml g"
)


def _in_japanese(text: str) -> Iterator[Name]:
    table, latin = _japanese()
    left: list[str] = []
    at = begin = 0
    while at < len(text):
        step = 1
        for alias, name in table.get(text[at], ()):
            if text.startswith(alias, at) and _stands_alone(text, at, alias):
                yield name
                step = len(alias)
                left.append(text[begin:at])
                begin = at + step
                break
        at += step
    left.append(text[begin:])
    for piece in left:
        for word in _LATIN.findall(piece):
            known = latin.get(word) or latin.get(word.rstrip("0123456789"))
            if known:
                yield known
            elif word not in _NO_LATIN and len(word) > 1:
                yield Name(_UNKNOWN, word)
        for word in _KATAKANA.findall(piece):
            if not _is_common(word):
                yield Name(_UNKNOWN, word.replace("ー", ""))
    for stem, title in _TITLED.findall(text):
        if stem not in _NO_TITLED and not stem.endswith("会"):
            yield Name(title, stem)


def _stands_alone(text: str, at: int, alias: str) -> bool:
    """Whether a katakana alias is not a piece of a longer katakana word."""
    before, after = text[at - 1 : at], text[at + len(alias) : at + len(alias) + 1]
    return not (_is_katakana(alias[0]) and _is_katakana(before)) and not (
        _is_katakana(alias[-1]) and _is_katakana(after)
    )


def _is_katakana(char: str) -> bool:
    return "\u30a1" <= char <= "\u30fc" and char != "\u30fb"


def _is_common(word: str) -> bool:
    common = _common_katakana()
    if word in common or word.rstrip("ー") in common:
        return True
    return len(word) < 25 and any(word[:at] in common and word[at:] in common for at in range(2, len(word) - 1))


def entities(asked: Reading, stored: Reading) -> Finding | None:
    """Each text has a name that the other one lacks."""
    if asked.language != stored.language:
        return None
    one, other = asked.of(names), stored.of(names)
    if one == other or not one or not other:
        return None
    close = len(one) + len(other) < 40
    here = [name for name in one - other if not _is_mentioned(name, stored, other, close=close)]
    if not here:
        return None
    there = [name for name in other - one if not _is_mentioned(name, asked, one, close=close)]
    if not there:
        return None
    strength = max(_strength(name, against) for name in sorted(here)[:40] for against in sorted(there)[:40])
    return Finding("entities", "each has a name that the other lacks", strength)


def _strength(name: Name, against: Name) -> float:
    if name.kind == against.kind:
        return 0.7 if name.kind == _UNKNOWN else 1.0
    return 0.6 if _UNKNOWN in {name.kind, against.kind} and {name.kind, against.kind} <= _KINDS else 0.3


_KINDS = word_set("place city state code tech brand drug sight unknown")


def _is_mentioned(name: Name, reading: Reading, found: Iterable[Name], *, close: bool) -> bool:
    """Whether a text has a name in any form; ``close``: also one with a typing error, which is slow for many names."""
    word = name.name
    if word in reading.words or word.replace("-", " ") in reading.folded or word.replace(".", "") in reading.words:
        return True
    if not close:
        return False
    if reading.language == "ja":
        return word in reading.folded or any(
            _sounds_like(word, other.name) for other in found if other.kind == name.kind
        )
    if len(word) > 1 and word.isalpha() and len(word) < 7:
        initials = "".join(token[0] for token in reading.tokens)
        small = "".join(token[0] for token in reading.tokens if token not in {"of", "the", "and", "for", "in"})
        if len(word) > 2 and (word in initials or word in small):
            return True
    return (
        word + "s" in reading.words
        or word.rstrip("s") in reading.words
        or any(_nearly(word, token) for token in reading.words)
    )


def _sounds_like(word: str, other: str) -> bool:
    """Whether two katakana words share half of the shorter one's pairs: another spelling, a shortened form."""
    if not _is_katakana(word[0]) or not _is_katakana(other[0]):
        return _nearly(word, other)
    one, two = ({text[at : at + 2] for at in range(len(text) - 1)} for text in (word, other))
    return 2 * len(one & two) >= min(len(one), len(two))


def _nearly(word: str, other: str) -> bool:
    """Whether two words of six letters or more differ by one edit: a typing error, a plural."""
    if min(len(word), len(other)) < 6 or abs(len(word) - len(other)) > 1 or word[0] != other[0]:
        return False
    if len(word) == len(other):
        return sum(a != b for a, b in zip(word, other, strict=True)) <= 1
    short, long = sorted((word, other), key=len)
    at = next((i for i, char in enumerate(short) if char != long[i]), len(short))
    return short[at:] == long[at + 1 :]
