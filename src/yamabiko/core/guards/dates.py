"""Step 6 of 9: days, months, years and quarters, absolute or relative to today."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

from yamabiko.core.guards.mentions import Clues, Mention, at_words, replaced, rule
from yamabiko.core.guards.reading import word_set

_MONTHS = MappingProxyType(
    {
        name: at
        for at, names in enumerate(
            (
                "january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
                "september sept sep", "october oct", "november nov", "december dec",
            ),
            start=1,
        )
        for name in names.split()
    }
)  # fmt: skip
_WEEKDAYS = MappingProxyType(
    {
        name: at
        for at, names in enumerate(
            (
                "monday mondays 月曜", "tuesday tuesdays 火曜", "wednesday wednesdays 水曜", "thursday thursdays 木曜",
                "friday fridays 金曜", "saturday saturdays 土曜", "sunday sundays 日曜",
            )
        )
        for name in names.split()
    }
)  # fmt: skip
_SEASONS = MappingProxyType(
    {"spring": 1, "summer": 2, "autumn": 3, "fall": 3, "winter": 4, "春": 1, "夏": 2, "秋": 3, "冬": 4}
)
_JA_STARTS = ("令和", "平成", "昭和", "大正", "明治", "毎月", "今月", "来月", "先月")
_ERAS = MappingProxyType({"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911, "明治": 1867})
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = r"([0-9]{1,2}|first|second)(?:st|nd|rd|th)?(?![0-9:]| ?[ap]\.?m\b|%|,[0-9]{3})"
_YEAR = r"((?:19|20)[0-9]{2})"


def _with_genitives(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word + ending for word in words for ending in ("", "'s"))


_MONTH_WORDS = _with_genitives(_MONTHS)
_WEEKDAY_WORDS = _with_genitives(_WEEKDAYS)
_SEASON_WORDS = _with_genitives(_SEASONS)
_RELATIVE_STARTS = word_set("day today tonight tomorrow yesterday this next last previous current past coming upcoming")
_RELATIVE_WORDS = _with_genitives(
    word_set("today tonight tomorrow yesterday this next last previous current past coming upcoming")
)
_NAMED_WORDS = _with_genitives(
    word_set(
        "christmas xmas thanksgiving easter halloween ramadan diwali eid hanukkah year valentine valentines friday "
        "monday day gw"
    )
)
_WEEK_WORDS = _with_genitives(word_set("weekend weekends weekday weekdays workdays"))
_QUARTER_WORDS = word_set("q quarter half h")
_FISCAL_WORDS = word_set("fy fiscal")
_CENTURY_WORDS = word_set("century s twenties thirties forties fifties sixties seventies eighties nineties")
_CAPITALISED = word_set("march may")
_SHORT_WORDS = word_set("mon tue tues wed thu thur thurs fri sat sun")

_ISO = rule(r"(?<![\w.-])([0-9]{4})([-/.])([0-9]{1,2})(?:\2([0-9]{1,2}))?(?![\w]|[-/.][0-9])")
_SLASHED = rule(r"(?<![\w./-])([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]((?:19|20)?[0-9]{2})(?![\w]|[-/.][0-9])")
_DAY_SLASHED = rule(r"(?<=\bon |\bby )([0-9]{1,2})/([0-9]{1,2})(?![\w/])|(?<=until )([0-9]{1,2})/([0-9]{1,2})(?![\w/])")
_DAY_SLASHED_JA = rule(r"(?<![\w./-])([0-9]{1,2})/([0-9]{1,2})(?![0-9/])")
_MONTH_DAY = rule(
    rf"\b({_MONTH})\.? (?:the (?=[0-9]+[snrt]))?{_DAY}(?:(?: ?- ?|"
    rf" to ){_DAY}(?! ?(?:{_MONTH})))?(?:,? ?{_YEAR}\b)?"
)
_DAY_MONTH = rule(rf"\b{_DAY}(?:(?: ?- ?| to ){_DAY})? ?(?:of )?\x03?({_MONTH})\b\.?(?:,? ?{_YEAR}\b)?")
_MONTH_YEAR = rule(rf"\b({_MONTH})\.?,? (?:of )?{_YEAR}\b")
_MONTH_ONLY = rule(
    r"\b(january|february|april|june|july|august|september|october|november|december)\b(?!')|"
    r"(?:(?<=\x03)|(?<=\b(?:in|of|by|to) )|(?<=\b(?:last|next|this|from|till|late) )|(?<=\band )|(?<=since )|"
    r"(?<=until )|(?<=before )|"
    r"(?<=after )|(?<=during )|(?<=early )|(?<=mid ))(march|may)\b(?! (?:i|we|you|he|not|be)\b)"
)
_JA = rule(
    r"(?:(令和|平成|昭和|大正|明治)([0-9]{1,2}|元)年(度)?の?|(?<![0-9.])([0-9]{4})年(?!代|前|後|間)(度)?の?|"
    r"(?<![0-9.])([0-9]{2})年(?=[0-9]{1,2}月))"
    r"(?:([0-9]{1,2})月(?!間|曜|額|謝)(?:の?([0-9]{1,2})日(?!間|以内|本|ほど|後|前|曜))?)?"
    r"|(?<![0-9.])([0-9]{1,2})月(?!間|曜|額|謝)(?:の?([0-9]{1,2})日(?!間|以内|本|曜))?"
    r"|(毎月|今月|来月|先月)の?([0-9]{1,2})日(?!間|以内|本)"
)  # fmt: skip
_QUARTER = rule(
    r"\bq([1-4])\b|\b([1-4])q\b|\b(first|second|1st|2nd|[34][a-z]{2}) quarter\b|第([1-4])四半期|\b(?:h|"
    r"half )([12])\b(?!n|b)|"
    r"(上半期|上期)|(下半期|下期)"
)
_FISCAL = rule(r"\bfy ?(?:20)?([0-9]{2})\b|\bfiscal(?: year)? (?:20)?([0-9]{2})\b")
_CENTURY = rule(
    r"\b([0-9]{1,2})(?:st|nd|rd|th)[ -]century\b|([0-9]{1,2})世紀|\b((?:1[5-9]|20)[0-9]0)'?s\b|'([0-9]0)s\b|"
    r"(?:(?<=the )|(?<=her )|(?<=his )|(?<=their )|(?<=my )|(?<=mid )|(?<=mid-)|(?<=late )|"
    r"(?<=early ))([2-9]0)s\b|((?:19|20)[0-9]0)年代|([0-9]0)年代"
)
_BARE_YEAR = rule(
    r"(?<![\w.,$#/-])((?:19|20)[0-9]{2})(?![\w%個本枚台件人名回点円歳匹冊頭杯株倍位号番行文歩通]|"
    r"[.,][0-9]|[/:][0-9])|"
    r"(?<=-)(20[0-9]{2})(?![\w%.,/:-])"
)

_DAYS_JA = (
    ("一昨日|おととい", -2), ("昨日|きのう|昨夜|昨晩|前日(?!比)", -1), ("今日|きょう|本日|今朝|今夜|今晩|当日", 0),
    ("明後日|あさって", 2), ("明日|あした|明朝|翌日|翌朝", 1),
)  # fmt: skip
_SPANS_JA = (
    ("先々週", "week", -2), ("先週", "week", -1), ("今週", "week", 0), ("来週|翌週", "week", 1), ("再来週", "week", 2),
    ("先々月", "month", -2), ("先月", "month", -1), ("今月|当月", "month", 0), ("来月|翌月", "month", 1),
    ("再来月", "month", 2), ("一昨年|おととし", "year", -2), ("昨年|去年", "year", -1), ("今年|本年|当年", "year", 0),
    ("来年|翌年", "year", 1), ("再来年", "year", 2),
)  # fmt: skip
_RELATIVE_JA = MappingProxyType(
    {name: ("day", at) for names, at in _DAYS_JA for name in re.sub(r"\(.*?\)", "", names).split("|")}
    | {name: (unit, at) for names, unit, at in _SPANS_JA for name in names.split("|")}
)
_RELATIVE_JA_FOUND = rule("(" + "|".join(sorted(_RELATIVE_JA, key=len, reverse=True)) + ")(?!比)")
_RELATIVE = rule(
    r"\b(?:()(day after tomorrow)|(day before yesterday)|(tomorrow)|(yesterday|last night)|(today|tonight|"
    r"this (?:morning|afternoon|evening))|"
    r"(this|next|last|previous|current|past|coming|upcoming) (week(?:end)?|month|quarter|year|(?:mon|tues|"
    r"wednes|thurs|fri|satur|sun)day|spring|summer|autumn|fall|winter))\b"
)
_OFFSETS = MappingProxyType(
    {"this": 0, "current": 0, "next": 1, "coming": 1, "upcoming": 1, "last": -1, "previous": -1, "past": -1}
)
_WEEKDAY = rule(
    r"\b((?:mon|tues|wednes|thurs|fri|satur|sun)days?)\b(?:(?: ?- ?| to | through | thru )((?:mon|tues|wednes|"
    r"thurs|fri|satur|sun)days?)\b)?"
)
_WEEKDAY_JA = rule(
    r"([月火水木金土日])曜日?(?:(?:から|~|-)([月火水木金土日])曜日?)?|\(([月火水木金土日])\)|(土日祝?)|(平日)|(週末)|(祝日|祭日)"
)
_SHORT = rule(
    r"\b(Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri)\b(?! Dieu)|\b(Sat|Sun)\b(?=[,.]? ?(?:-|to |and |[0-9]))|"
    r"(?<=[-/] )(Sat|Sun)\b|(?<=[-/&])(Sat|Sun)\b"
)
_LONG = MappingProxyType({name[:3]: name for name in _WEEKDAYS if name.endswith("day")})
_NAMED = rule(
    r"\b(christmas eve|christmas|xmas|thanksgiving|easter|halloween|ramadan|diwali|eid|hanukkah|new year's eve|"
    r"new year(?:'s)?(?: day)?|"
    r"valentine'?s?(?: day)?|black friday|cyber monday|good friday|labou?r day|memorial day|boxing day)\b|"
    r"(クリスマスイブ|クリスマス|元日|元旦|正月|大晦日|ゴールデンウィーク|GW|gw|お盆|ハロウィン|バレンタイン|ホワイトデー|ひな祭り|七夕|年末年始|年度末|年末|年始|月末|月初)"
)
_SEASON = rule(
    r"\b(spring(?! boot| mvc| framework| cloud)|summer|autumn|winter|(?<=in the )fall|(?<=this )fall)\b|"
    r"(?<![青売思])([春夏秋冬])(?![菊田目場山川子樹刀])"
)


_CAPITAL = rule(
    r"(?=March\b)(?!March (?:on|to|in|with|for|against|through|forth|madness)\b)|"
    r"(?<=[a-z,] )(?=May\b(?! (?:i|we|you|they|he|she|it|be|not|have)\b))"
)


def told_by_case(text: str, clues: Clues) -> str:
    """``Mon-Fri`` in full, and March and May marked where they are months; *sun*, *march* and *may* are words."""
    if clues.word(_CAPITALISED):
        text = replaced(_CAPITAL, lambda _: "\x03", text, at_words(text, ("March", "May")))
    if clues.word(_SHORT_WORDS):
        text = _SHORT.sub(lambda m: _LONG[(m[1] or m[2] or m[3] or m[4])[:3].lower()], text)
    return text


def dates(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take every date but a bare year out of ``text``."""
    if clues.digits and clues.sign("/-."):
        text = _numeric(text, clues, found)
    if clues.word(_MONTH_WORDS):
        text = _months(text, clues, found)
    if clues.japanese and clues.sign("年月"):
        text = replaced(_JA, lambda m: _ja(m, found), text, sorted(clues.at_numbers(text) + at_words(text, _JA_STARTS)))
    if clues.word(_NAMED_WORDS) or clues.japanese:
        text = _NAMED.sub(lambda m: _holiday(m, found), text)
    if clues.word(_RELATIVE_WORDS):
        text = replaced(_RELATIVE, lambda m: _relative_en(m, found), text, at_words(text, _RELATIVE_STARTS))
    if clues.word(_SEASON_WORDS) or clues.sign("春夏秋冬"):
        text = _SEASON.sub(lambda m: _season(m, found), text)
    if clues.word(_WEEKDAY_WORDS) or clues.word(_SHORT_WORDS):
        text = replaced(_WEEKDAY, lambda m: _weekdays(m[1], m[2], found), text, at_words(text, _WEEKDAYS))
    if clues.word(_WEEK_WORDS):
        text = _WEEKEND.sub(lambda m: _weekdays(*_SPANS[m[0][:7]], found), text)
    if clues.japanese:
        text = _RELATIVE_JA_FOUND.sub(lambda m: _relative_ja(m[1], found), text)
        if clues.sign("曜日平末祝祭("):
            text = _WEEKDAY_JA.sub(lambda m: _weekday_ja(m, found), text)
    if clues.word(_QUARTER_WORDS) or clues.sign("期"):
        text = _QUARTER.sub(lambda m: _quarter(m, found), text)
    if clues.word(_FISCAL_WORDS):
        text = _FISCAL.sub(lambda m: _noted(found, ("fiscal", int(m[1] or m[2])), "fiscal year", m[1] or m[2]), text)
    if clues.word(_CENTURY_WORDS) or clues.sign("紀代"):
        text = _CENTURY.sub(lambda m: _century(m, found), text)
    return text


_WEEKEND = rule(r"\bweek(?:end|day)s?\b|\bworkdays\b")
_SPANS = MappingProxyType(
    {"weekend": ("saturday", "sunday"), "weekday": ("monday", "friday"), "workday": ("monday", "friday")}
)


def bare_years(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take out years that stand alone, when nothing else has claimed them."""
    return replaced(_BARE_YEAR, lambda m: _day(found, int(m[1] or m[2]), None, None), text, clues.at_numbers(text))


_HAS_DIGIT = rule("[0-9]")


def _numeric(text: str, clues: Clues, found: list[Mention]) -> str:
    if clues.longest >= 4:
        text = replaced(_ISO, lambda m: _iso(m, found), text, clues.at_numbers(text))
    if any(text.count(sign) > 1 for sign in "/-."):
        text = replaced(_SLASHED, lambda m: _slashed(m, found), text, clues.at_numbers(text))
    if "/" in text:
        pattern = _DAY_SLASHED_JA if clues.japanese else _DAY_SLASHED
        text = replaced(pattern, lambda m: _day_slashed(m, found), text, clues.at_numbers(text))
    return text


def _months(text: str, clues: Clues, found: list[Mention]) -> str:
    if _HAS_DIGIT.search(text) or "first" in text or "second" in text:
        starts = at_words(text, clues.words & _MONTHS.keys())
        text = replaced(_MONTH_DAY, lambda m: _named_days(m, m[1], (m[2], m[3]), m[4], found), text, starts)
        starts = sorted(clues.at_numbers(text) + at_words(text, ("first", "second")))
        text = replaced(_DAY_MONTH, lambda m: _named_days(m, m[3], (m[1], m[2]), m[4], found), text, starts)
        if clues.longest >= 4 or "nineteen" in clues.words or "twenty" in clues.words:
            text = replaced(
                _MONTH_YEAR,
                lambda m: _day(found, int(m[2]), _MONTHS[m[1]], None),
                text,
                at_words(text, clues.words & _MONTHS.keys()),
            )
    starts = at_words(text, clues.words & _MONTHS.keys())
    return replaced(_MONTH_ONLY, lambda m: _day(found, None, _MONTHS[m[1] or m[2]], None), text, starts)


def _day(found: list[Mention], year: int | None, month: int | None, day: int | None, order: str = "") -> str:
    digits = tuple(str(part) for part in (year, day) if part is not None)
    weight = 0.6 if day or month else 0.5
    found.append(Mention((("date", year, month, day, order),), "date", digits, weight))
    return "\x01"


def _noted(found: list[Mention], value: tuple[object, ...], group: str, *digits: str, weight: float = 0.6) -> str:
    found.append(Mention((value,), group, digits, weight))
    return "\x01"


def _iso(match: re.Match[str], found: list[Mention]) -> str:
    year, month, day = int(match[1]), int(match[3]), int(match[4]) if match[4] else None
    if not (1900 <= year <= 2099 and 1 <= month <= 12) or (day is None and match[2] != "-" and match[2] != "/"):
        return match[0]
    return _day(found, year, month, day)


def _slashed(match: re.Match[str], found: list[Mention]) -> str:
    """``03/04/2024`` is March 4th or April 3rd; only the same order of the parts may match the other reading."""
    one, other, year = int(match[1]), int(match[2]), int(match[3])
    year += 2000 if year < 50 else 1900 if year < 100 else 0
    orders = [(one, other, "m"), (other, one, "d")]
    fitting = [(month, day, order) for month, day, order in orders if 1 <= month <= 12 and 1 <= day <= 31]
    if not fitting:
        return match[0]
    if len(fitting) == 1:
        return _day(found, year, fitting[0][0], fitting[0][1])
    readings = tuple(("date", year, month, day, order) for month, day, order in fitting)
    found.append(Mention(readings, "date", (str(year),)))
    return "\x01"


def _day_slashed(match: re.Match[str], found: list[Mention]) -> str:
    month, day = (int(part) for part in match.groups() if part)
    if month > 12:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    fraction = f"{month / day:.6f}".rstrip("0").rstrip(".")
    found.append(Mention((("date", None, month, day, ""),), "date", (str(day), fraction)))
    return "\x01"


_SURELY = rule(
    r"(?:\x03|\b(?:on|by|until|till|since|from|to|before|after|of|and|between|for|in) )(?:the )?(?:may|"
    r"march) [0-9]+(?:[snrt][tdh])?$|"
    r"[snrt][tdh]$|(?:may|march)$"
)


def _named_days(
    match: re.Match[str], month: str, days: tuple[str, str | None], year: str | None, found: list[Mention]
) -> str:
    if (
        month in {"may", "march"}
        and not year
        and not _SURELY.search(match.string, max(0, match.start() - 16), match.end())
    ):
        return match[0]
    numbers = [{"first": 1, "second": 2}.get(day) or int(day) for day in days if day]
    if not all(1 <= day <= 31 for day in numbers):
        return match[0]
    for day in numbers:
        _day(found, int(year) if year else None, _MONTHS[month], day)
    return "\x01"


def _ja(match: re.Match[str], found: list[Mention]) -> str:
    era, era_year, fiscal_era, year, fiscal, short, month, day, month_only, day_only, relative, relative_day = (
        match.groups()
    )
    if relative:
        unit, at = _RELATIVE_JA.get(relative, ("month", None))
        if at is not None:
            _relative(unit, at, found)
        return _day(found, None, None, int(relative_day))
    if era:
        full = _ERAS[era] + (1 if era_year == "元" else int(era_year))
    else:
        full = int(year) if year else 2000 + int(short) if short else 0
    if fiscal or fiscal_era:
        return _noted(found, ("fiscal", full % 100), "fiscal year", str(full))
    months, days = month or month_only, day or day_only
    if months and not 1 <= int(months) <= 12:
        return match[0]
    return _day(found, full or None, int(months) if months else None, int(days) if days else None)


def _relative(unit: str, at: int, found: list[Mention]) -> str:
    return _noted(found, ("relative", unit, at), "date", weight=(0.5 if unit == "day" else 0.6) if at else 0.4)


def _relative_ja(word: str, found: list[Mention]) -> str:
    """The part of the day in 今夜 or 明朝 is left for the times."""
    return _relative(*_RELATIVE_JA[word], found) + {"朝": "朝", "夜": "夜", "晩": "夜"}.get(word[-1], "")


def _relative_en(match: re.Match[str], found: list[Mention]) -> str:
    for group, at in ((2, 2), (3, -2), (4, 1), (5, -1), (6, 0)):
        if match[group]:
            rest = match[6].partition(" ")[2] if group == 6 else "tonight" if match[6] == "tonight" else ""
            _relative("day", at, found)
            return "\x01 " + (rest or match[6] or "")
    at, unit = _OFFSETS[match[7]], match[8]
    if unit in _WEEKDAYS or unit in _SEASONS or unit == "weekend":
        if "coming" not in match[7]:
            found.append(Mention((("near", at),), "near", weight=0.0))
        return "autumn" if unit == "fall" else unit
    return _relative(unit, at, found)


def _weekdays(first: str, last: str | None, found: list[Mention]) -> str:
    one = _WEEKDAYS[first]
    other = _WEEKDAYS[last] if last else one
    for at in range(one, other + 1) if one <= other else (one, other):
        _noted(found, ("weekday", at), "date")
    return "\x01"


def _weekday_ja(match: re.Match[str], found: list[Mention]) -> str:
    if match[4]:
        if match[4].endswith("祝"):
            _noted(found, ("named", "holiday"), "date")
        return _weekdays("saturday", "sunday", found)
    if match[6]:
        return _weekdays("saturday", "sunday", found)
    if match[5]:
        return _weekdays("monday", "friday", found)
    if match[7]:
        return _noted(found, ("named", "holiday"), "date")
    return _weekdays((match[1] or match[3]) + "曜", match[2] and match[2] + "曜", found)


def _holiday(match: re.Match[str], found: list[Mention]) -> str:
    name = (
        match[0]
        .replace("xmas", "christmas")
        .replace("labour", "labor")
        .replace("'", "")
        .removesuffix(" day")
        .removesuffix("s")
    )
    name = {"元旦": "元日", "GW": "ゴールデンウィーク", "gw": "ゴールデンウィーク"}.get(name, name)
    return _noted(found, ("named", name), "date")


def _season(match: re.Match[str], found: list[Mention]) -> str:
    return _noted(found, ("season", _SEASONS[match[1] or match[2]]), "season", weight=0.0)


def _quarter(match: re.Match[str], found: list[Mention]) -> str:
    if match[5] or match[6] or match[7]:
        return _noted(found, ("half", int(match[5]) if match[5] else 1 if match[6] else 2), "date")
    name = match[1] or match[2] or match[3] or match[4]
    return _noted(found, ("quarter", {"first": 1, "second": 2}.get(name) or int(name[0])), "date")


def _century(match: re.Match[str], found: list[Mention]) -> str:
    if match[1] or match[2]:
        return _noted(found, ("century", int(match[1] or match[2])), "date")
    decade = next(part for part in match.groups()[2:] if part)
    return _noted(
        found, ("decade", int(decade) % 100 if len(decade) == 2 or decade[:2] == "19" else int(decade)), "date"
    )


def same_date(one: Mention, other: Mention) -> bool:
    """Whether two dates may be one: all parts that both name are equal, and there is such a part."""
    return any(_agree(this, that) for this in one.readings for that in other.readings)


def _agree(this: object, that: object) -> bool:
    if this == that:
        return True
    if not (isinstance(this, tuple) and isinstance(that, tuple) and this[0] == that[0] == "date"):
        return False
    if this[4] and that[4] and this[4] != that[4]:
        return False
    parts = [(a, b) for a, b in zip(this[1:4], that[1:4], strict=True) if a is not None and b is not None]
    return bool(parts) and all(a == b for a, b in parts)


def less_exact(one: Mention, other: Mention) -> float:
    """How much it tells that one of two dates that may be one leaves out a part of it."""
    gaps = [(a is None) != (b is None) for a, b in zip(_parts(one), _parts(other), strict=True)]
    return 0.5 if any(gaps[1:]) else 0.4 if gaps[0] else 0.0


def _parts(mention: Mention) -> tuple[object, ...]:
    reading = mention.readings[0]
    return reading[1:4] if isinstance(reading, tuple) and reading[0] == "date" else (None, None, None)
