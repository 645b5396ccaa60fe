"""Step 6 of 9: times of day, parts of the day and time zones: ``3 pm`` = ``15:00`` = 午後3時."""

from __future__ import annotations

import re
from types import MappingProxyType

from yamabiko.core.guards.mentions import Clues, Mention, at_words, replaced, rule
from yamabiko.core.guards.reading import word_set

_PART = r"(?: ?(?:in the (morning|afternoon|evening)|at (night)))?"
_HALF_DAY = rule(
    r"(?<![\w.:])([0-9]{1,2})(?:[:.]([0-5][0-9]))?(?: ?(?:-|to|~) ?([0-9]{1,2})(?:[:.]([0-5][0-9]))?)? ?([ap])\.?m\b\.?"
)
_COLON = rule(rf"(?<![\w.:])([0-9]{{1,2}})[:]([0-5][0-9])(?::[0-5][0-9])?(?![\w:])(?! ratio){_PART}")
_CLOCK = rule(rf"(?<![\w.:])([0-9]{{1,2}}) ?o'? ?clock\b{_PART}")
_SPOKEN = rule(
    r"\b(half past|quarter past|a quarter past|quarter to|a quarter to) ([0-9]{1,2})\b"
    r"(?: ?(?:in the (morning|afternoon|evening)|at (night)|([ap])\.?m\b))?"
)
_AT_PART = rule(r"\bat ([0-9]{1,2}) (?:in the (morning|afternoon|evening)|at (night))")
_NOON = rule(r"\b(noon|midday)\b|\b(midnight)\b|(正午)|(真夜中)")
_JA_PARTS = ("午前", "午後", "早朝", "朝", "深夜", "夜中", "夜", "夕方", "昼", "今夜", "今晩", "am", "pm")
_JA = rule(
    rf"(?:({'|'.join(_JA_PARTS)})の?)?(?<![0-9.])([0-9]{{1,2}})"
    r"(?:時(?![間差点期代給短])(?:(半)|([0-9]{1,2})分)?|:([0-5][0-9])(?![0-9:]))"
)
_DAYPARTS = MappingProxyType(
    {"morning": 1, "mornings": 1, "afternoon": 2, "afternoons": 2, "evening": 3, "evenings": 3, "night": 3, "nights": 3,
     "overnight": 3, "tonight": 3}
)  # fmt: skip
_DAYPART_JA = rule(
    r"(朝(?![食刊鮮日顔])|午前|早朝)|(午後)|(夕方|夜(?![食勤])|今晩|今夜|(?<![毎一])晩(?!年))|(昼(?!食|休))"
)
_ZONES = MappingProxyType(
    {
        name.upper(): name
        for name in word_set("jst kst ist cet cest bst est edt cst cdt mst mdt pst pdt et pt aest sgt hkt")
    }
    | {"UTC": "utc", "GMT": "utc", "協定世界時": "utc", "日本時間": "jst", "現地時間": "local", "米国時間": "us"}
    | {"東部時間": "et", "太平洋時間": "pt", "東部標準時": "est", "太平洋標準時": "pst"}
)
_ZONE = rule(r"(?<![A-Za-z])(?:" + "|".join(sorted(_ZONES, key=len, reverse=True)) + r")(?![A-Za-z])")

_ZONE_WORDS = frozenset(name.lower() for name in _ZONES if name.isascii())
_HALF_WORDS = word_set("am pm m")
_SPOKEN_WORDS = word_set("half quarter")
_CLOCK_WORDS = word_set("o'clock clock oclock")
_NOON_WORDS = word_set("noon midday midnight")


def zones(text: str, clues: Clues, found: list[Mention]) -> None:
    """Time zones, asked of the text with its case: *est* and *ist* are words."""
    if clues.word(_ZONE_WORDS) or clues.sign("間界準"):
        found.extend(Mention((_ZONES[name],), "zone", weight=0.5) for name in set(_ZONE.findall(text)))


def times(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take the times of day out of ``text``."""
    if clues.word(_HALF_WORDS):
        text = replaced(_HALF_DAY, lambda m: _half_day(m, found), text, clues.at_numbers(text))
    if clues.japanese and clues.sign("時:"):
        text = replaced(_JA, lambda m: _ja(m, found), text, sorted(clues.at_numbers(text) + at_words(text, _JA_PARTS)))
    if clues.word(_SPOKEN_WORDS):
        text = _SPOKEN.sub(lambda m: _spoken(m, found), text)
    if clues.word(_CLOCK_WORDS):
        text = replaced(_CLOCK, lambda m: _at(found, int(m[1]), 0, m[2] or m[3], m[0]), text, clues.at_numbers(text))
    if clues.word(_DAYPARTS.keys()):
        text = replaced(
            _AT_PART, lambda m: _at(found, int(m[1]), 0, m[2] or m[3], m[0]), text, at_words(text, ("at ",))
        )
    if clues.sign(":"):
        text = replaced(
            _COLON, lambda m: _at(found, int(m[1]), int(m[2]), m[3] or m[4], m[0]), text, clues.at_numbers(text)
        )
    if clues.word(_NOON_WORDS) or clues.sign("正真"):
        text = _NOON.sub(lambda m: _at(found, 12 if m[1] or m[3] else 0, 0, "exact", m[0]), text)
    return text


def dayparts(text: str, clues: Clues, found: list[Mention]) -> None:
    """Morning, afternoon, evening: they count only against another part of the day."""
    parts = {_DAYPARTS[word] for word in clues.words & _DAYPARTS.keys()}
    if clues.japanese and clues.sign("朝午夕夜晩昼"):
        parts |= {match.lastindex or 0 for match in _DAYPART_JA.finditer(text)}
    found.extend(Mention((("part", part),), "part of the day", weight=0.0) for part in sorted(parts))


def _half_day(match: re.Match[str], found: list[Mention]) -> str:
    half = match[5]
    first, last = match[1], match[3]
    if last:
        _at(found, int(last), int(match[4] or 0), half, "")
        if int(first) > int(last) and half == "p":
            half = "a"
    return _at(found, int(first), int(match[2] or 0), half, match[0])


def _spoken(match: re.Match[str], found: list[Mention]) -> str:
    hour, minute = int(match[2]), 30 if "half" in match[1] else 15
    if "to" in match[1]:
        hour, minute = hour - 1 or 12, 45
    return _at(found, hour, minute, match[3] or match[4] or match[5], match[0])


def _ja(match: re.Match[str], found: list[Mention]) -> str:
    part, minute = match[1], 30 if match[3] else int(match[4] or match[5] or 0)
    return _at(found, int(match[2]), minute, part, match[0])


_HALVES = MappingProxyType(
    {"a": 0, "am": 0, "午前": 0, "朝": 0, "早朝": 0, "morning": 0}
    | dict.fromkeys(("p", "pm", "午後", "夕方", "afternoon", "evening"), 1)
)

_LATE = frozenset({"夜", "夜中", "深夜", "今夜", "今晩", "night"})


def _at(found: list[Mention], hour: int, minute: int, part: str | None, text: str) -> str:
    """Note a time. Without a part of the day an hour up to 12 stands for two times, unless it was written ``03:``."""
    if hour > 24 or minute > 59:
        return text
    if part and part in _HALVES and hour <= 12:
        readings = [hour % 12 + 12 * _HALVES[part]]
    elif part in _LATE and hour <= 12:
        readings = [hour % 12 + (12 if (9 if part == "深夜" else 5) <= hour < 12 else 0)]
    elif part == "昼" and hour <= 12:
        readings = [hour % 12 + (12 if hour < 6 or hour == 12 else 0)]
    elif part == "exact" or hour == 0 or hour > 12 or text.startswith("0"):
        readings = [hour % 24]
    else:
        readings = [hour % 12, hour % 12 + 12]
    digits = (str(hour),) if not minute else (f"{hour}:{minute:02d}",)
    found.append(Mention(tuple(("clock", at * 60 + minute) for at in readings), "time", digits))
    return "\x01"
