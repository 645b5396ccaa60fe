"""Step 9: how soon the answer to a question is out of date."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.volatility import Volatility, volatility

PHRASES = Path(__file__).parent / "phrases"
LANGUAGES = ("en", "ja")
ROWS = [
    pytest.param(row["text"], row["class"], id=f"{language}.{at}")
    for language in LANGUAGES
    for at, row in enumerate(
        map(json.loads, (PHRASES / f"volatility.{language}.jsonl").read_text(encoding="utf-8").splitlines()), 1
    )
]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_each_question_has_its_class(text, expected):
    assert volatility(text).value == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_has_questions_that_change_and_harmless_ones_from_many_domains(language):
    rows = [
        json.loads(line) for line in (PHRASES / f"volatility.{language}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sum(row["class"] == "stable" for row in rows) >= 60
    assert sum(row["class"] != "stable" for row in rows) >= 80
    assert {row["class"] for row in rows} == {each.value for each in Volatility}
    assert len({row["domain"] for row in rows}) >= 7
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert len({row["text"] for row in rows}) == len(rows)


def test_classes_go_from_the_shortest_life_to_the_longest():
    lives = [each.ttl_seconds for each in Volatility]
    assert lives[-1] is None
    assert lives[:-1] == sorted(lives[:-1]) == [0, 300, 900, 3600, 14400, 86400, 604800]


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("What is the weather in Rome this week?", "1h"),
        ("Who is the prime minister this week?", "24h"),
        ("今週の東京の天気は", "1h"),
    ],
)
def test_the_shortest_life_wins(text, shorter):
    assert volatility(text).value == shorter


@pytest.mark.parametrize(
    "text",
    [
        "Summarise this: " + "The weather in Rome is fine today. " * 50,
        "次の文章を要約して：" + "今日の株価は上がった。" * 100,
        "How do I pay?\n" + "x " * 900 + "What is the weather in Rome? " + "y " * 900,
    ],
)
def test_material_is_not_the_question(text):
    assert volatility(text) is Volatility.STABLE


def test_a_question_after_a_long_context_is_read():
    assert volatility("x " * 3000 + "\nWhat is the weather in Rome today?") is Volatility.HOUR


@pytest.mark.parametrize(
    "width", ["ＵＳＤ to ＪＰＹ", "usd TO jpy", "What’s the weather in Kyoto?", "  今何時ですか？ "]
)
def test_forms_of_letters_make_no_difference(width):
    assert volatility(width) is not Volatility.STABLE


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_has_one_class_always_the_same(text):
    assert volatility(text) is volatility(text)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([row.values[0] for row in ROWS if row.values[1] == "stable"]), st.integers(1, 3))
def test_space_around_a_question_changes_nothing(text, count):
    assert volatility(" " * count + text + "\n" * count) is volatility(text)


@pytest.mark.parametrize(
    "piece", ["what is the price ", "how many days until ", "今の", "'", "`", "「", "today ", "is "]
)
def test_long_texts_are_read_in_linear_time(piece):
    assert isinstance(volatility(piece * 20_000), Volatility)
