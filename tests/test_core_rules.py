"""Step 9: rules written as text, and what of a text they read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.rules import LONG, Rule, folded, matching, told, unquoted


def test_a_rule_needs_one_of_its_words_and_its_pattern():
    rules = (Rule("a", ("now", "soon"), r"\bnow\b"), Rule("b", ("now",)), Rule("c", ("never",)))
    assert [rule.name for rule in matching("right now", rules)] == ["a", "b"]
    assert [rule.name for rule in matching("i know soon", rules)] == ["b"]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Don’t  STOP", "don't stop"),
        ("ＡＢＣ－１２", "abc-12"),
        ("2026–27\n", "2026-27"),
        ("今日は\u200b晴れ", "今日は晴れ"),
    ],
)
def test_forms_of_writing_are_unified(text, form):
    assert folded(text) == form


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('Say "secret" now', "secret"),
        ("Say `secret` now", "secret"),
        ("Say 'secret' now", "secret"),
        ("「秘密」と言う", "秘密"),
        ("Translate this: secret", "secret"),
        ("次を英語に翻訳して：秘密", "秘密"),
        ("Please summarise the following text\nsecret", "secret"),
        ("x" * LONG + "secret" + "x" * LONG, "secret"),
    ],
)
def test_quotations_and_material_are_not_said(text, word):
    assert word not in told(text)


@pytest.mark.parametrize("text", ["It's the user's car", "don't, can't, won't", 'a 5" screen', "12' x 14'"])
def test_apostrophes_are_no_quotation_marks(text):
    assert unquoted(text) == text


@given(st.text())
def test_any_text_can_be_read(text):
    assert told(text) == told(text)
    assert "  " not in folded(text)
