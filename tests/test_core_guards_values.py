"""Step 6: what one text names and the other doesn't speaks against it, in whatever notation it is written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.guards import GUARDS, VETO_STRENGTH, check, read, vetoes

TRAPS = Path(__file__).parent / "traps"
VALUES = ("numbers", "units", "money", "dates", "times", "versions", "identifiers")
LANGUAGES = ("en", "ja")
ONLY = dict.fromkeys(GUARDS, "off") | dict.fromkeys(VALUES, "veto")


def table(guard, language):
    with (TRAPS / f"{guard}.{language}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


PAIRS = [
    pytest.param(row["a"], row["b"], row["same"], id=f"{guard}.{language}.{at}")
    for guard in (*VALUES, "values")
    for language in LANGUAGES
    for at, row in enumerate(table(guard, language), start=1)
]
"""Each guard's own table, and one of pairs that were written to break any of them."""


def vetoed(a, b):
    asked, stored = read(a), read(b)
    return {finding.guard for finding in vetoes(check(asked, stored, ONLY), ONLY)}


@pytest.mark.parametrize(("a", "b", "same"), PAIRS)
def test_traps_are_caught_and_paraphrases_pass(a, b, same):
    assert bool(vetoed(a, b)) is not same


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("guard", VALUES)
def test_a_table_holds_sixty_pairs_of_each_kind_from_many_domains(guard, language):
    rows = table(guard, language)
    assert sum(row["same"] for row in rows) >= 60
    assert sum(not row["same"] for row in rows) >= 60
    assert len({row["domain"] for row in rows}) >= 6
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert len({(row["a"], row["b"]) for row in rows}) == len(rows)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("guard", VALUES)
def test_most_traps_of_a_guard_are_caught_by_that_guard(guard, language):
    traps = [row for row in table(guard, language) if not row["same"]]
    assert sum(guard in vetoed(row["a"], row["b"]) for row in traps) >= 0.75 * len(traps)


TEXTS = sorted(
    {row[side] for guard in VALUES for language in LANGUAGES for row in table(guard, language) for side in "ab"}
)


@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
@settings(max_examples=400, deadline=None)
def test_the_order_of_two_texts_does_not_matter(a, b):
    one, other = read(a), read(b)
    assert check(one, other, ONLY) == check(other, one, ONLY)


@given(st.sampled_from(TEXTS))
@settings(max_examples=200, deadline=None)
def test_a_text_never_speaks_against_itself(text):
    assert check(read(text), read(text), ONLY) == ()


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_read(a, b):
    for finding in check(read(a), read(b), ONLY):
        assert 0 < finding.strength <= 1


@pytest.mark.parametrize("numeral", ["9", "三", "1/", "1,", "1-", "①", "½", "٣", "3年"])
def test_numbers_beyond_all_measure_can_be_read(numeral):
    a, b = numeral * 3000, numeral * 3000 + "3"
    assert check(read(a), read(b), ONLY) == check(read(b), read(a), ONLY)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is 10²?", "What is 10³?"),
        ("Solve x² = 9", "Solve x³ = 9"),
        ("كم سعر ٣ كتب؟", "كم سعر ٤ كتب؟"),
        ("Combien coûtent 3 places ?", "Combien coûtent 4 places ?"),
        ("3명 예약하고 싶어요", "5명 예약하고 싶어요"),
        ("Paint it #ffffff", "Paint it #aaaaaa"),
        ("step ① fails", "step ② fails"),
        ("order １２３", "order １２４"),
        ("room 1\u200b5", "room 16"),
    ],
)
def test_digits_are_read_in_any_script_and_disguise(a, b):
    assert vetoed(a, b)
    assert not vetoed(a, a)


NUMERALS = st.text("0123456789.,:/-%$#〇一二三四五六七八九十百千万億円年月日時分個kgpm ", max_size=14)


@given(NUMERALS, NUMERALS)
@settings(max_examples=400, deadline=None)
def test_numerals_in_any_disorder_can_be_read(a, b):
    assert check(read(a), read(b), ONLY) == check(read(b), read(a), ONLY)


@given(st.integers(0, 99_999))
@settings(max_examples=200, deadline=None)
def test_kanji_and_digits_are_one_number(number):
    assert vetoed(f"{in_kanji(number)}個あります", f"{number}個あります") == set()
    assert vetoed(f"{in_kanji(number)}個あります", f"{number + 1}個あります") == {"numbers"}


def in_kanji(number):
    if number == 0:
        return "零"
    if number >= 10_000:
        rest = number % 10_000
        return in_kanji(number // 10_000) + "万" + (in_kanji(rest) if rest else "")
    text = ""
    for place, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // place % 10
        if digit:
            text += ("" if digit == 1 and name else "〇一二三四五六七八九"[digit]) + name
    return text


@given(st.integers(2, 999_999))
@settings(max_examples=200, deadline=None)
def test_number_words_and_digits_are_one_number(number):
    assert vetoed(f"I have {in_words(number)} tickets", f"I have {number:,} tickets") == set()
    assert vetoed(f"I have {in_words(number)} tickets", f"I have {number + 1} tickets") != set()


SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def in_words(number):
    if number >= 1000:
        rest = number % 1000
        return (
            in_words(number // 1000)
            + " thousand"
            + (" " + ("and " if rest < 100 else "") + in_words(rest) if rest else "")
        )
    if number >= 100:
        rest = number % 100
        return SMALL[number // 100] + " hundred" + (" and " + in_words(rest) if rest else "")
    if number >= 20:
        return TENS[number // 10 - 2] + ("-" + SMALL[number % 10] if number % 10 else "")
    return SMALL[number]


@given(st.integers(0, 23), st.integers(0, 59))
@settings(max_examples=200, deadline=None)
def test_a_time_is_one_in_every_notation(hour, minute):
    half, twelve = ("pm" if hour >= 12 else "am"), hour % 12 or 12
    english = f"Meet me at {twelve}:{minute:02d} {half}"
    assert vetoed(english, f"Meet me at {hour:02d}:{minute:02d}") == set()
    assert vetoed(english, f"Meet me at {twelve}:{minute:02d} {'am' if half == 'pm' else 'pm'}") == {"times"}
    japanese = f"{'午後' if hour >= 12 else '午前'}{hour % 12}時{minute}分に集合"
    assert vetoed(japanese, f"{hour}時{minute}分に集合") == set()


@given(st.dates())
@settings(max_examples=200, deadline=None)
def test_a_date_is_one_in_every_notation(day):
    if not 1990 <= day.year <= 2090:
        day = day.replace(year=1990 + day.year % 100, day=min(day.day, 28))
    iso = f"Deliver on {day.isoformat()}"
    assert vetoed(iso, f"Deliver on {day:%B} {day.day}, {day.year}") == set()
    assert vetoed(iso, f"Deliver on {day.day} {day:%b} {day.year}") == set()
    assert vetoed(f"{day.year}年{day.month}月{day.day}日に配達", f"{day.year}/{day.month}/{day.day}に配達") == set()
    assert vetoed(iso, f"Deliver on {day:%B} {day.day}, {day.year + 1}") == {"dates"}


def test_reasons_hold_no_word_of_the_texts():
    for guard in VALUES:
        for language in LANGUAGES:
            for row in table(guard, language):
                for finding in check(read(row["a"]), read(row["b"]), ONLY):
                    assert finding.detail.isascii()
                    assert not any(char.isdigit() for char in finding.detail)
                    assert finding.guard in GUARDS


def test_nothing_of_a_text_is_in_the_repr_of_its_reading():
    assert "4111" not in repr(read("card 4111 1111 1111 1111"))


def test_a_guard_that_is_off_finds_nothing_and_one_that_is_a_feature_forbids_nothing():
    asked, stored = read("Send 3 copies"), read("Send 5 copies")
    off, feature = ONLY | {"numbers": "off"}, ONLY | {"numbers": "feature"}
    assert check(asked, stored, off) == ()
    (finding,) = check(asked, stored, feature)
    assert finding.strength == 1
    assert vetoes((finding,), feature) == ()
    assert vetoes((finding,), ONLY) == (finding,)


def test_what_is_easily_left_unsaid_is_a_feature_and_no_veto():
    (finding,) = check(read("Who runs the firm today?"), read("Who runs the firm?"), ONLY)
    assert 0 < finding.strength < VETO_STRENGTH
