"""Step 6 of 9: guards on values, which a text names or doesn't, whatever words surround them.

What each rule takes out of a text the next one no longer sees: ``2024-03-05`` is a date and no phone number, ``5 kg``
a mass and not the number 5. The order of the rules in ``values`` is therefore part of their meaning.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from yamabiko.core.guards import clock, dates, names, numerals, quantities
from yamabiko.core.guards import money as currencies
from yamabiko.core.guards.mentions import (
    Clues,
    Mention,
    at_words,
    compare,
    named_otherwise,
    replaced,
    rule,
    share_a_reading,
    unmatched,
    without_partner,
)
from yamabiko.core.guards.reading import MARKS, Finding, Reading


@dataclass(frozen=True, slots=True)
class Values:
    """Everything of value that one text names, by kind."""

    numbers: list[Mention] = field(default_factory=list)
    units: list[Mention] = field(default_factory=list)
    money: list[Mention] = field(default_factory=list)
    dates: list[Mention] = field(default_factory=list)
    times: list[Mention] = field(default_factory=list)
    versions: list[Mention] = field(default_factory=list)
    identifiers: list[Mention] = field(default_factory=list)


_DIGIT = rule("[0-9]")
_NUMBER = rule(r"(?<![\w.])(?:(?<![0-9\x01\x02] )(?<![0-9\x01\x02])-)?[0-9]+(?:,[0-9]{2,3})*(?:\.[0-9]+)?")
_RATIO = rule(r"(?<![\w./])([0-9]{1,9})/([0-9]{1,9})(?![\w/])")
_ORDINAL = rule(r"(?<![\w.])([0-9]+)(?:st|nd|rd|th)\b")
_TIMES = rule(r"(?<![\w.])([0-9]+(?:\.[0-9]+)?)x\b")
_EASILY_UNSAID = rule(
    r"\bfirst\b(?!-)|(?<!per )(?<!a )(?<!each )(?<!every )(?<!split )(?<!one )\bsecond\b(?!-| half)|\bboth\b|両方|双方"
)


def values(reading: Reading) -> Values:
    """Read every value of a text; asked through ``Reading.of``, once per text."""
    found = Values()
    text = reading.text if reading.text.isascii() else _plainly_written(reading.text)
    clues = _clues(reading, text)
    clock.zones(text, clues, found.times)
    text = names.cased(text, clues, found.identifiers, found.numbers)
    text = names.named_versions(text, clues, found.versions)
    text = dates.told_by_case(text, clues).casefold()
    text = names.dropped(text, clues)
    text = numerals.digits_for(text, clues)
    text = dates.dates(text, clues, found.dates)
    text = clock.times(text, clues, found.times)
    text = currencies.money(text, clues, found.money)
    text = quantities.quantities(text, clues, found.units)
    quantities.unsaid(text, clues, found.units)
    clock.dayparts(text, clues, found.times)
    if _DIGIT.search(text):
        text = _digits_left(text, clues, found)
    if clues.word(_UNSAID_WORDS) or clues.sign("両双"):
        starts = at_words(text, _UNSAID_WORDS)
        replaced(_EASILY_UNSAID, lambda m: _number(found, "1" if m[0] == "first" else "2", 0.0), text, starts)
    return found


_UNSAID_WORDS = frozenset({"first", "second", "both", "両方", "双方"})


_RAISED = rule(r"(?<=[0-9)xyzn])[⁰¹²³⁴-⁹]+")
_DIGITS_ELSEWHERE = re.compile(r"(?![0-9])\d")


def _plainly_written(text: str) -> str:
    """One kind of each mark, ``10²`` as ``10^2``, and the digits of every script as ours."""
    text = text.translate(MARKS)
    text = _RAISED.sub(lambda m: "^" + "".join(str(unicodedata.digit(char)) for char in m[0]), text)
    return _DIGITS_ELSEWHERE.sub(lambda m: str(unicodedata.decimal(m[0])), text)


def _clues(reading: Reading, text: str) -> Clues:
    lengths = [len(token) for token in reading.tokens if token[0] in "0123456789"]
    return Clues(
        words=reading.words,
        signs=frozenset(text),
        japanese=reading.language == "ja",
        digits=bool(lengths),
        longest=max(lengths, default=0),
        starts={},
    )


def _digits_left(text: str, clues: Clues, found: Values) -> str:
    text = names.versions(text, clues, found.versions)
    text = replaced(_ORDINAL, lambda m: _number(found, m[1], 0.5), text, clues.at_numbers(text))
    if clues.word({"x"}):
        text = replaced(_TIMES, lambda m: _number(found, m[1], 0.6), text, clues.at_numbers(text))
    text = names.mixed(text, clues, found.identifiers)
    text = dates.bare_years(text, clues, found.dates)
    if clues.sign("/"):
        text = _RATIO.sub(lambda m: _ratio(m, found), text)
    return replaced(_NUMBER, lambda m: _number(found, m[0], 0.6), text, clues.at_numbers(text, "-"))


def _number(found: Values, text: str, weight: float) -> str:
    bare = text.replace(",", "")
    value = quantities.plain(float(bare)) if len(bare) < 15 else bare
    group = "number" if weight else "ordinal"
    found.numbers.append(Mention((value,), group, (value, bare), min(weight, 0.3) if value == "1" else weight))
    return "\x02"


def _ratio(match: re.Match[str], found: Values) -> str:
    one, other = int(match[1]), int(match[2])
    value = quantities.plain(one / other) if other else match[0]
    found.numbers.append(Mention((value,), "number", (value, match[1], match[2])))
    return "\x02"


def numbers(asked: Reading, stored: Reading) -> Finding | None:
    """Numbers that are no date, unit, price or name, in any notation."""
    a, b = asked.of(values), stored.of(values)
    if not a.numbers and not b.numbers:
        return None
    left, right = unmatched(a.numbers, b.numbers, share_a_reading)
    if left or right:
        left, right = named_otherwise(left, _others(b)), named_otherwise(right, _others(a))
    return compare("numbers", "numbers", left, right)


def _others(found: Values) -> list[Mention]:
    return [*found.units, *found.money, *found.dates, *found.times, *found.versions, *found.identifiers]


def units(asked: Reading, stored: Reading) -> Finding | None:
    """Numbers with a unit, lengths of time, percentages, rates."""
    a, b = asked.of(values), stored.of(values)
    if not a.units and not b.units:
        return None
    left, right = unmatched(a.units, b.units, share_a_reading)
    if left or right:
        left, right = (
            named_otherwise(left, [*b.numbers, *b.money, *b.dates]),
            named_otherwise(right, [*a.numbers, *a.money, *a.dates]),
        )
    return compare("units", "quantities", left, right)


def money(asked: Reading, stored: Reading) -> Finding | None:
    """Amounts of money and currencies."""
    a, b = asked.of(values), stored.of(values)
    if not a.money and not b.money:
        return None
    left, right = unmatched(a.money, b.money, share_a_reading)
    if left or right:
        left, right = named_otherwise(left, b.numbers), named_otherwise(right, a.numbers)
    return compare("money", "amounts of money", left, right)


def dated(asked: Reading, stored: Reading) -> Finding | None:
    """Days, months, years, absolute or relative to today."""
    a, b = asked.of(values), stored.of(values)
    if not a.dates and not b.dates:
        return None
    left, right = without_partner(a.dates, b.dates, dates.same_date)
    left, right = named_otherwise(left, b.numbers), named_otherwise(right, a.numbers)
    finding = compare("dates", "dates", left, right)
    if finding is None and len(a.dates) == len(b.dates) == 1:
        gap = dates.less_exact(a.dates[0], b.dates[0])
        if gap:
            return Finding("dates", "one of them names a more exact date", gap)
    return finding


def times(asked: Reading, stored: Reading) -> Finding | None:
    """Times of day, parts of the day, time zones."""
    a, b = asked.of(values), stored.of(values)
    if not a.times and not b.times:
        return None
    left, right = unmatched(a.times, b.times, share_a_reading)
    left, right = named_otherwise(left, b.numbers), named_otherwise(right, a.numbers)
    return compare("times", "times", left, right)


def versions(asked: Reading, stored: Reading) -> Finding | None:
    """Versions of software and standards: 3.10 is not 3.1."""
    a, b = asked.of(values), stored.of(values)
    if not a.versions and not b.versions:
        return None
    left, right = unmatched(a.versions, b.versions, share_a_reading)
    if left or right:
        left, right = (
            named_otherwise(left, [*b.numbers, *b.identifiers, *b.dates]),
            named_otherwise(right, [*a.numbers, *a.identifiers, *a.dates]),
        )
    return compare("versions", "versions", left, right)


def identifiers(asked: Reading, stored: Reading) -> Finding | None:
    """Addresses, codes, order numbers, models, files: names made of letters and digits."""
    a, b = asked.of(values), stored.of(values)
    if not a.identifiers and not b.identifiers:
        return None
    left, right = unmatched(a.identifiers, b.identifiers, names.same_name)
    if left or right:
        left, right = (
            named_otherwise(left, [*b.numbers, *b.versions, *b.units]),
            named_otherwise(right, [*a.numbers, *a.versions, *a.units]),
        )
    return compare("identifiers", "identifiers", left, right)
