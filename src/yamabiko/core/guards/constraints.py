"""Step 6 of 9: the guard on words that narrow a question: only, except, free, at least, at most, all, within."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from yamabiko.core.guards.aligned import narrowed
from yamabiko.core.guards.lexicon import alike, context
from yamabiko.core.guards.negation import denial
from yamabiko.core.guards.reading import Finding, Reading, word_set
from yamabiko.core.late import late

_IDLE_EN = tuple(
    f" {idle} "
    for idle in [
        "not only",
        "only want",
        "just want",
        "only need",
        "just need",
        "only have",
        "just have",
        "only would",
        "just would",
        "only wanted",
        "if only",
        "just wanted",
        "after all",
        "above all",
        "at all",
        "feel free",
        "free up",
        "free time",
        "set free",
        "sugar free",
        "duty free",
        "only option",
        "only choice",
        "hands free",
        "toll free",
        "all the best",
        "all right",
        "all day",
        "all i",
        "first of all",
        "minimum wage",
        "maximum penalty",
    ]
)
_ENGLISH: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "least",
        ("at least", "minimum", "no less than", "no fewer than", "not less than", "than or equal"),
        r" (?:at least|(?:a )?minimum of|a minimum|(?:no|not) (?:less|fewer) than|greater than or equal) ",
    ),
    ("least", ("or more", "or greater", "or above", "or older", "or later", "or over", ">="), r""),
    (
        "most",
        ("at most", "maximum", "up to", "no more than", "not more than", "less than or equal", "max", "no later"),
        r" (?:at most|(?:a )?maximum of|a maximum|up to|not? more than|less than or equal|max (?=\d)|no later than)",
    ),
    ("most", ("or less", "or fewer", "or below", "or younger", "or under", "<="), r""),
    (
        "over",
        (" over ", " above ", "more than", "greater than", "exceeding"),
        r" (?:(?:over|above|more than) (?=\d)|greater than (?!or )|exceeding )",
    ),
    (
        "under",
        (" under ", " below ", "cheaper than", "less than", "fewer than"),
        r" (?:(?:under|below|cheaper than) (?=\d)|less than (?!or )|fewer than )",
    ),
    ("within", (" within ", " or less "), r" (?:within|in (?:\w+ ){1,3}or less) "),
    ("later", (" after ", "in more than"), r" (?:after (?:an?|one|two|three|four|five|six|seven|\d+) |in more than)"),
    ("only", (" only ", " solely ", " exclusively ", "limited to", "restricted to"), r""),
    ("just", (" just ",), r""),
    (
        "but",
        (" except ", " exception ", " excluding ", " unless "),
        r"",
    ),
    ("besides", (" besides ", " other than ", "apart from", "aside from", "addition to"), r""),
    ("but", (" but ",), r" (?:all (?:\w+ ){0,4}but (?!also )|(?:everything|everyone|anything) but )"),
    ("too", (" including ", "inclusive of", "as well as", "along with"), r""),
    (
        "every",
        (" all ", " every ", " each ", " everyone ", " everybody ", " everything ", " anyone ", " anybody "),
        r"",
    ),
    ("some", (" some ", " several ", " certain ", "part of", " a few "), r""),
    (
        "free",
        (
            "for free",
            " gratis ",
            " complimentary ",
            " no charge ",
            "without charge",
            " no fee ",
            " no fees ",
            " no cost ",
        ),
        r"",
    ),
    ("free", (" free ", " cost nothing ", " costs nothing "), r""),
)
"""Kind of mark, what a text must hold for it (any of these), and a pattern to make sure where that is not enough.

English is looked at as words with single spaces between and around.
"""
_COUNTED = "0-9一二三四五六七八九十百千万人個歳日円文字桁名本錠分秒間%"
_IDLE_JA = late(
    "いただけ|でき(?:る)?だけ|出来るだけ|[これそあど]れだけ|少しだけ|たいだけ|のみなら|高度|限度"
    "|だけ(?:ど|れど|高|多|大|で(?:は)?なく|でも|教え|知りた)"
    "|以上(?:です(?!か)|のよう|を踏|のこと)|ただ(?:し|今|の|ち)|最低(?:です|な)"
)
_JAPANESE: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("least", ("以上", "少なくとも", "最低"), f"(?<=[{_COUNTED}])以上|少なくとも|最低(?=でも|[0-9一-九十]|限)"),
    (
        "most",
        ("以下", "最大", "最高", "まで"),
        f"(?<=[{_COUNTED}])以下|最[大高](?=でも|[0-9一-九十])|(?<=[0-9錠個円人回本])まで(?!に)",
    ),
    ("under", ("未満", "より少な", "より安"), ""),
    ("over", ("を超え", "超の", "より多"), ""),
    ("within", ("以内", "のうちに", "期限内"), ""),
    ("later", ("以降", "以後", "より後"), ""),
    ("later", ("後に", "後の"), "(?<=[日間週月年])後[にの]"),
    ("only", ("だけ", "のみ", "限定", "に限り", "に限る", "に限っ", "に限ら", "ほかない", "ほかはない"), ""),
    ("only", ("しか",), "しか[^、。?]{0,10}(?:ない|無い|ません)"),
    ("but", ("以外", "除い", "除く", "除き", "除け", "除外", "抜きの"), ""),
    ("too", ("含む", "含め", "含ん", "含み", "込みの"), ""),
    ("every", ("すべて", "全て", "全部", "あらゆる", "誰でも", "だれでも", "どれでも", "みんな"), ""),
    ("every", ("全",), "全(?=[社員商品口座機端列行件国])"),
    ("some", ("一部", "いくつか", "何人か", "いずれか"), ""),
    ("paid", ("有料", "有償", "がかかる"), ""),
    ("free", ("無料", "無償", "タダ", "ただで", "0円", "ゼロ円"), ""),
    ("free", ("はただ", "がただ", "でただ"), "[はがで]ただ(?![のしちだ今])"),
)


_FRAME = word_set("or no not than to of as from a in at with for")


def _by_word(table: tuple[tuple[str, tuple[str, ...], str], ...]) -> Mapping[str, frozenset[int]]:
    """For each telling word of an English wording, the rows of the table that it belongs to."""
    found: dict[str, frozenset[int]] = {}
    for row, (_, signs, _) in enumerate(table):
        for sign in signs:
            word = next(word for word in reversed(sign.split()) if word not in _FRAME)
            found[word] = found.get(word, frozenset()) | {row}
    return MappingProxyType(found)


_ROWS_EN = _by_word(_ENGLISH)
_WORDS_EN = frozenset(_ROWS_EN)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return late(pattern)


_OPPOSITES = (
    ("least", "most"),
    ("least", "under"),
    ("over", "most"),
    ("over", "under"),
    ("within", "later"),
    ("within", "over"),
    ("within", "least"),
    ("but", "too"),
    ("only", "every"),
    ("only", "too"),
    ("but", "every"),
    ("every", "some"),
    ("free", "paid"),
)
_NARROWING: Mapping[str, float] = MappingProxyType(
    {"only": 0.5, "but": 0.6, "besides": 0.6, "free": 0.5, "too": 0.3, "within": 0.3}
)
"""Marks that change an answer where the other text has nothing of the kind, and how much."""


def marks(reading: Reading) -> frozenset[str]:
    """Which kinds of narrowing words a text has."""
    if reading.language == "ja":
        found = _kinds(reading.folded, _JAPANESE)
        return _kinds(_IDLE_JA.sub("*", reading.folded), _JAPANESE) if found else found
    told = reading.words & _WORDS_EN
    if reading.language != "en" or not (told or "=" in reading.folded):
        return frozenset()
    text = f" {' '.join(reading.tokens)} "
    for idle in _IDLE_EN:
        if idle in text:
            text = text.replace(idle, " * ")
    if "=" in reading.folded:
        return _kinds(text + reading.folded, _ENGLISH)
    return _kinds(text, [_ENGLISH[row] for row in frozenset().union(*(_ROWS_EN[word] for word in told))])


def _kinds(text: str, table: Iterable[tuple[str, tuple[str, ...], str]]) -> frozenset[str]:
    found: set[str] = set()
    for kind, signs, pattern in table:
        for sign in signs:
            if sign in text:
                if not pattern or _compiled(pattern).search(text):
                    found.add(kind)
                break
    return frozenset(found)


_MOMENT_JA = late(
    r"(?<![^\s、。・?!「」()\u3041-\u309f])([^\s、。・?!「」()\u3041-\u309f]{1,24})[\u3041-\u309f]{0,3}?"
    r"(?:(?P<before>(?<![午名駅目以人])前(?=[にのはで、。?]|$)|までに)|(?P<after>(?<![午今最前背])後(?=[にのはで、。?]|$)|あと(?=[にのはで、])))"
)


def moments(reading: Reading) -> frozenset[tuple[str, str]]:
    """Before or after what a Japanese text says that something is; English has this among its antonyms."""
    if reading.language != "ja" or not ("前" in reading.folded or "後" in reading.folded or "まで" in reading.folded):
        return frozenset()
    return frozenset((match[1][-2:], match.lastgroup or "") for match in _MOMENT_JA.finditer(reading.folded))


def constraints(asked: Reading, stored: Reading) -> Finding | None:
    """One text narrows the question in a way that the other one doesn't, or in the opposite way."""
    if asked.language != stored.language:
        return None
    there = stored.of(moments)
    if any((what, "after" if side == "before" else "before") in there for what, side in asked.of(moments) - there):
        return Finding("constraints", "one is before what the other is after", 1.0)
    detail = narrowed(asked, stored)
    if detail:
        return Finding("constraints", detail, 0.7)
    one, other = asked.of(marks), stored.of(marks)
    if one == other:
        return None
    for left, right in _OPPOSITES:
        if _across(one, other, left, right) or _across(other, one, left, right):
            return Finding("constraints", "they narrow the question in opposite ways", 1.0)
    lone = [kind for kind in one ^ other if kind in _NARROWING and not _said_otherwise(kind, one, other)]
    lone = [kind for kind in lone if kind not in _SAVE or not _is_kept_out(stored if kind in one else asked)]
    if not lone:
        return None
    strength = max(_NARROWING[kind] for kind in lone)
    if not alike(asked.of(context), stored.of(context)):
        strength /= 2
    return Finding("constraints", "one narrows the question, the other doesn't", strength)


def _across(one: frozenset[str], other: frozenset[str], left: str, right: str) -> bool:
    return left in one and right in other and right not in one and left not in other


def _said_otherwise(kind: str, one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the text that lacks a mark has another one that may say the same."""
    lacking = other if kind in one else one
    if kind == "only":
        return not lacking.isdisjoint({"just", "most", "besides"})
    if kind == "besides":
        return not lacking.isdisjoint({"but", "too", "only"})
    if kind in {"but", "too"} and "besides" in lacking:
        return True
    return kind == "within" and not lacking.isdisjoint({"most", "under"})


_SAVE = frozenset(("but", "besides"))
_OTHER = word_set("other others another else rest rather")


def _is_kept_out(reading: Reading) -> bool:
    """Whether a text may say *other than* in other words: any other, not on Monday."""
    return reading.language == "en" and (not reading.words.isdisjoint(_OTHER) or reading.of(denial).denies)
