"""Step 9: whether a text holds data by which one person can be found."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.pii import pii_kind

PHRASES = Path(__file__).parent / "phrases"
LANGUAGES = ("en", "ja")


def table(language):
    return [json.loads(line) for line in (PHRASES / f"pii.{language}.jsonl").read_text(encoding="utf-8").splitlines()]


ROWS = [
    pytest.param(row["text"], row["kind"], id=f"{language}.{at}")
    for language in LANGUAGES
    for at, row in enumerate(table(language), 1)
]


@pytest.mark.parametrize(("text", "kind"), ROWS)
def test_personal_data_are_named_and_public_ones_pass(text, kind):
    assert pii_kind(text) == kind


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_holds_both_from_many_domains(language):
    rows = table(language)
    assert sum(bool(row["kind"]) for row in rows) >= 40
    assert sum(not row["kind"] for row in rows) >= 60
    assert len({row["domain"] for row in rows}) == 7
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert len({row["text"] for row in rows}) == len(rows)


def with_luhn(digits):
    total = sum(
        digit if at % 2 else (digit * 2 - 9 if digit > 4 else digit * 2) for at, digit in enumerate(map(int, digits))
    )
    return digits + str(-total % 10)


def with_check_digit(digits):
    """An individual number as the ministry's ordinance describes it, computed from the left."""
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(weight * int(digit) for weight, digit in zip(weights, digits, strict=True)) % 11
    return digits + str(0 if rest <= 1 else 11 - rest)


def with_mod_97(country, account):
    number = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


digits = st.text("0123456789", min_size=30, max_size=30).filter(lambda text: len(set(text[:8])) > 3)


@settings(max_examples=200, deadline=None)
@given(digits, st.sampled_from(["", " ", "-"]))
def test_a_card_number_counts_by_its_check_digit_alone(text, separator):
    def written(card):
        return "paid with " + separator.join(card[at : at + 4] for at in range(0, 16, 4))

    card = with_luhn("4539" + text[:11])
    assert pii_kind(written(card)) == "a payment card number"
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert pii_kind(written(wrong)) != "a payment card number"


@settings(max_examples=200, deadline=None)
@given(digits)
def test_an_individual_number_counts_by_its_check_digit_and_its_name(text):
    number = with_check_digit(text[:11])
    assert pii_kind(f"マイナンバーは{number}です") == "a My Number"
    assert pii_kind(f"管理用の値は{number}です") == ""
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert pii_kind(f"マイナンバーは{wrong}です") == ""


@settings(max_examples=200, deadline=None)
@given(digits)
def test_an_iban_counts_by_its_remainder(text):
    iban = with_mod_97("DE", text[:18])
    assert pii_kind(f"Transfer it to {iban}.") == "an IBAN"
    wrong = iban[:-1] + str((int(iban[-1]) + 1) % 10)
    assert pii_kind(f"Transfer it to {wrong}.") != "an IBAN"


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("The address keiko.tanaka@gmail.com is valid.", "Is keiko.tanaka@gmail.com a valid address?"),
        ("Yes, 090-4821-7735 is a mobile number.", "Is 090-4821-7735 a mobile number?"),
    ],
)
def test_data_that_are_known_do_not_count(answer, question):
    assert pii_kind(answer)
    assert pii_kind(answer, known=question) == ""
    assert pii_kind(answer, known="What is an address?")


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text("0123456789-+@. ()〒年月日口座番号SSNIBan"))
def test_any_text_is_judged_and_none_is_repeated(text):
    kind = pii_kind(text)
    assert kind == pii_kind(text)
    assert kind in {"", *(row.values[1] for row in ROWS)}


@pytest.mark.parametrize(
    "piece", ["1 ", "12-", "a@b.", "a.b-c@", "+1 2", "DE12 ", "〒100-0001 ", "my 1 a ", "0", "口座 ", "my ip "]
)
def test_long_texts_are_judged_in_linear_time(piece):
    assert isinstance(pii_kind(piece * 20_000), str)
