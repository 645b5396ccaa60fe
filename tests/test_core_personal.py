"""Step 9: whether a question, or an answer, is about one person."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.personal import personal, personal_answer

PHRASES = Path(__file__).parent / "phrases"
LANGUAGES = ("en", "ja")
DOMAINS = {"banking", "telecom", "commerce", "health", "hr", "travel", "software"}


def table(name, language):
    return [
        json.loads(line) for line in (PHRASES / f"{name}.{language}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


QUESTIONS = [
    pytest.param(row["text"], row["personal"], id=f"{language}.{at}")
    for language in LANGUAGES
    for at, row in enumerate(table("personal", language), 1)
]
ANSWERS = [
    pytest.param(row["question"], row["answer"], row["personal"], id=f"{language}.{at}")
    for language in LANGUAGES
    for at, row in enumerate(table("answers", language), 1)
]


@pytest.mark.parametrize(("text", "about_one"), QUESTIONS)
def test_questions_about_ones_own_are_told_from_general_ones(text, about_one):
    assert bool(personal(text)) is about_one


@pytest.mark.parametrize(("question", "answer", "about_one"), ANSWERS)
def test_answers_to_one_person_are_told_from_general_ones(question, answer, about_one):
    assert bool(personal_answer(question, answer)) is about_one


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_holds_eighty_of_each_kind_from_seven_domains(language):
    rows = table("personal", language)
    assert sum(row["personal"] for row in rows) >= 80
    assert sum(not row["personal"] for row in rows) >= 80
    assert {row["domain"] for row in rows} == DOMAINS
    for split in ("dev", "test"):
        assert {row["personal"] for row in rows if row["split"] == split} == {True, False}
    assert len({row["text"] for row in rows}) == len(rows)
    assert {row["domain"] for row in table("answers", language)} == DOMAINS


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("What is my balance?", "account"),
        ("Where is order #4471902?", "number"),
        ("My mail is keiko.tanaka@gmail.com", "e-mail"),
        ("私の残高は", "account"),
        ("予約番号はX7K2PQ9です", "number"),
    ],
)
def test_the_reason_says_what_makes_it_personal(text, word):
    assert word in personal(text)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is order number 118204553 on its way?", "Order number 118204553 is not known."),
        ("Is Kenji here?", "Hello Kenji, he is."),
        ("Write a letter to Ms. Tanaka", "Dear Ms. Tanaka, thank you."),
        ("田中様に手紙を書いて", "田中様、お世話になっております。"),
    ],
)
def test_what_the_question_holds_too_is_not_news(question, answer):
    assert personal_answer(question, answer) == ""


@pytest.mark.parametrize(
    "text", ["Translate this: Where is my package?", "What does “my balance” mean?", "「私の残高」とは"]
)
def test_what_is_quoted_or_translated_is_not_asked(text):
    assert personal(text) == ""


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text())
def test_any_texts_are_judged_always_alike(question, answer):
    assert personal(question) == personal(question)
    assert personal_answer(question, answer) == personal_answer(question, answer)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([row.values[0] for row in QUESTIONS if row.values[1]]))
def test_a_reason_never_quotes_the_question(text):
    words = {word for word in text.lower().replace("?", " ").split() if len(word) > 5 or any(map(str.isdigit, word))}
    assert not words & set(personal(text).split()) - {"account", "number", "number,"}


@pytest.mark.parametrize(
    "piece", ["what is my ", "my order ", "私の", "order number 1", "your order has ", "where did i ", "注文番号"]
)
def test_long_texts_are_judged_in_linear_time(piece):
    assert isinstance(personal(piece * 5_000), str)
    assert isinstance(personal_answer("How?", piece * 20_000), str)
