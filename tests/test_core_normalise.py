"""Step 1: what may differ between two questions that are the same, and what may not."""

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yamabiko.core.normalise import _UNCOMMON, _would_change_meaning, fold, light, normalise, script
from yamabiko.message import Message
from yamabiko.types import Request

SAME = [
    ("How do I reset my password?", "how do i reset my password?"),
    ("How do I reset my password?", "  How do  I reset\u00a0my password? "),
    ("How do I reset my password?", "HOW DO I RESET MY PASSWORD?"),
    ("How do I reset my password?", "How do I reset my password???"),
    ("Tell me about Kyoto.", "Tell me about Kyoto"),
    ("Tell me about Kyoto!", "tell me about Kyoto!!!"),
    ("I'm in Paris, is that OK", "i'm in paris, is that OK"),
    ("What's the capital of France?", "what’s the capital of France?"),
    ("Is Wi-Fi free?", "is wi-fi free?"),
    ("A dog barks", "a dog barks"),
    ("one\r\ntwo", "one\ntwo"),
    ("one\n\n\ntwo", "one\ntwo"),
    ("ﬁne print", "fine print"),
    ("soft\u00adhyphen", "softhyphen"),
    ("\ufeffhello there", "hello there"),
    ("e\u0301t\u00e9 chaud", "\u00e9te\u0301 chaud"),
    ("Élève modèle", "élève modèle"),
    ("Привет, как дела?", "привет, как дела?"),
    ("Τι είναι αυτό", "τι είναι αυτό"),
    ("パスワードを忘れました。", "パスワードを忘れました"),
    ("パスワードを忘れました。。", "パスワードを忘れました"),
    ("ﾊﾟｽﾜｰﾄﾞを忘れました", "パスワードを忘れました"),
    ("ＶＰＮの設定方法は？", "VPNの設定方法は?"),
    ("ＶＰＮの設定方法は？？", "VPNの設定方法は？"),
    ("わかりません。どうすればいいですか？？", "わかりません。どうすればいいですか？"),
    ("Pythonとは何ですか", "pythonとは何ですか"),
    ("２０２６年の予定", "2026年の予定"),
    ("東京\u3000タワー", "東京 タワー"),
    ("株式会社㈱とは", "株式会社(株)とは"),
    ("「Foo」とは何ですか。", "「Foo」とは何ですか"),
    ("What does `ls  -l` do", "what   does `ls  -l` do"),
]

DIFFERENT = [
    ("it is done", "is it done?"),
    ("It is done?", "It is done"),
    ("It is done!", "It is done"),
    ("本当ですか？", "本当ですか。"),
    ("What is IT?", "what is it?"),
    ("How do I contact US sales?", "how do i contact us sales?"),
    ("US", "us"),
    ("What is WHO?", "What is who?"),
    ("US IT VAT", "us it vat"),
    ("2+2", "2+3"),
    ("What is 2²?", "What is 22?"),
    ("What is 2ⁿ?", "What is 2n?"),
    ("H₂O", "H2O"),
    ("① と ②", "1 と 2"),
    ("½", "1/2"),
    ("½ cup", "1⁄2 cup"),
    ("10㎡", "10m2"),
    ("What is ℝ?", "What is R?"),
    ("What is 5!?", "What is 5?"),
    ("What is 5!!", "What is 5!"),
    ("What is n!!", "What is n!"),
    ("What does ?? do", "What does ? do"),
    ("What does ??", "What does ?"),
    ("cd ..", "cd ."),
    ("cd ..", "cd"),
    ("cd .", "cd"),
    ("What is C?", "What is C#?"),
    ("What is C?", "What is C++?"),
    ("What is c?", "What is C?"),
    ("!important", "important"),
    ("x != y", "x = y"),
    ("x != y", "X != Y"),
    (".NET", "NET"),
    ("Continue: 3.", "Continue: 3"),
    ("Continue: 3.", "Continue: 3.."),
    ("the U.S.", "the US"),
    ("Once upon a time...", "Once upon a time"),
    ("Once upon a time...", "Once upon a time."),
    ("Open README.md", "open readme.md"),
    ("Explain getName please", "Explain getname please"),
    ("What is MY_VAR?", "What is my_var?"),
    ("What is -R for", "What is -r for"),
    ("see https://x.org/A", "see https://x.org/a"),
    ("rm /tmp/A", "rm /tmp/a"),
    ("dir C:\\Users\\Ann", "dir C:\\users\\ann"),
    ("What is `Foo`?", "What is `foo`?"),
    ("What is `a  b`?", "What is `a b`?"),
    ("Translate 'Polish' please", "Translate 'polish' please"),
    ('Translate "Polish"', 'Translate "polish"'),
    ("「１」と「1」の違い", "「1」と「1」の違い"),
    ("「Ａ」の意味", "「A」の意味"),
    ("「「Ａ」」の意味", "「「A」」の意味"),
    ("「Ａ「B」」の意味", "「A「B」」の意味"),
    ("Fix:\n```\nIF x\n```", "Fix:\n```\nif x\n```"),
    ("if a:\n    b\nc", "if a:\n    b\n    c"),
    ("if a:\n b\nc", "if a:\n b\n c"),
    ("a\t\tb", "a\tb"),
    ("one\ntwo", "one two"),
    ("abc\u202edef", "abcdef"),
    ("👨\u200d👩", "👨👩"),
    ("क्\u200dष", "क्ष"),
    ("why does `a\u200bb` fail", "why does `ab` fail"),
    ("ありますか", "ありませんか"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_differences_of_form_make_the_same_question(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_differences_of_meaning_stay_different_questions(one, other):
    assert fold(one) != fold(other)


@pytest.mark.parametrize(
    "text",
    ["cd ..", "C#", "C++", "!important", "x != y", ".NET", "3.", "U.S.", "", "。", "?", "??", "...", "a\t b", "'Tis"],
)
def test_what_may_be_code_or_a_mark_by_itself_is_kept_to_the_letter(text):
    assert fold(text) == text


FRAGMENTS = st.sampled_from([
    " ", "  ", "\n", "\n ", "\t", "\r\n", "\u3000", "\u00a0", "\u200b", "\ufeff", "\u00ad", ".", "..", "。", "．", "?", "？", "!!", "！",
    "'", "’", "‘", "＇", '"', "＂", "`", "｀", "``", "“", "”", "「", "」", "｢", "｣", "(", ")", "（", "⒜", "™", "²", "½", "①", "㎡", "１", "1",
    "A", "I", "I'm", "IT", "Foo", "FOO", "foo", "camelCase", "Wi-Fi", "Foo'Bar", "Ａ", "ﾊﾞ", "ﾞ", "゛", "´", "\u0301", "İ", "ß", "ẞ", "ΣΑΣ",
    "Ⅳ", "…", "‥", "⁇", "日本語", "カナ", "한국어", "Привет", "x=y", "{", ";", "-", "/", "_", "#", "\u202e", "\u200d", "👍", "\x1c", "\x85",
])  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join))


@given(TEXTS)
@example("A’A⁇")
@settings(max_examples=1500, deadline=None)
def test_normalising_twice_is_normalising_once(text):
    assert fold(fold(text)) == fold(text)
    assert light(light(text)) == light(text)


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_no_digit_appears_vanishes_or_changes_its_value(text):
    def digits(value):
        return [unicodedata.digit(char) for char in value if char.isdigit()]

    assert digits(fold(text)) == digits(text)
    assert digits(light(text)) == digits(text)


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_a_question_never_becomes_a_statement(text):
    asks = text.rstrip().endswith(("?", "？"))
    assert not asks or fold(text).endswith(("?", "？"))


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
@settings(max_examples=500, deadline=None)
def test_a_word_beyond_ascii_does_not_change_how_the_others_are_read(text):
    text = text.encode("ascii", "ignore").decode()
    assert fold(text + " é")[:-1] == fold(text + " e")[:-1]


def test_every_character_that_would_lose_its_meaning_is_asked_about():
    uncommon = re.compile(_UNCOMMON)
    characters = map(chr, range(sys.maxunicode + 1))
    assert not [char for char in characters if not uncommon.match(char) and _would_change_meaning(char)]


def test_the_embedded_text_keeps_case_and_punctuation():
    assert normalise(Request("  What is\n IT？？ ")).text == "What is IT??"


@pytest.mark.parametrize(
    ("request_", "because"),
    [
        (Request(" \u200b\n"), "the question is empty"),
        (Request(""), "the question is empty"),
        (Request("x", bypass="no cache today"), "the request asks to bypass the cache"),
        (Request([Message(role="assistant", text="x")]), "the last message is not the user's"),
        (Request([Message(role="tool", text="42")]), "the last message is not the user's"),
        (
            Request([Message(role="user", text="What is this?", parts=('{"type":"image"}',))]),
            "the last message holds more than text",
        ),
        *[
            (Request(text), "the question holds a block of code or the like: one character of it may change the answer")
            for text in ("Why does this fail?\n```\nx = 1\n```", "Why does this fail?\n    x = 1", "失敗する\n\tx = 1")
        ],
    ],
)
def test_what_has_no_meaning_to_match_is_not_embedded_and_says_why(request_, because):
    canonical = normalise(request_)
    assert canonical.text == ""
    assert canonical.not_embedded == because


@pytest.mark.parametrize(
    "text",
    [
        "「" * 50_000,
        "“" * 50_000,
        "`" * 50_000,
        "don't " * 20_000,
        "Aa-" * 30_000,
        "\n " * 50_000 + "x",
        "A" + "!" * 99_999,
    ],
)
def test_long_texts_are_normalised_in_linear_time(text):
    """Quadratic patterns would take minutes here, and the suite with them."""
    assert fold(fold(text)) == fold(text)


def test_a_plain_question_after_tool_calls_is_embedded():
    request = Request(
        [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
            {"role": "user", "content": "And tomorrow?"},
        ]
    )
    assert normalise(request).text == "And tomorrow?"


def test_a_turn_that_is_not_a_plain_question_keeps_its_text_to_the_letter():
    assert normalise(Request([Message(role="tool", text=" OK. ")])).question == " OK. "


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("How are you?", "latin"),
        ("Ça va où", "latin"),
        ("2+2", "other"),
        ("", "other"),
        ("👍👍", "other"),
        ("パスワード", "japanese"),
        ("ﾊﾟｽﾜｰﾄﾞ", "japanese"),
        ("漢字とは", "japanese"),
        ("Amazon Bedrock Knowledge Basesの料金は", "japanese"),
        ("東京", "han"),
        ("如何重置密码", "han"),
        ("비밀번호를 재설정", "hangul"),
        ("Как сбросить пароль в VPN?", "cyrillic"),
        ("كيف حالك", "arabic"),
        ("สวัสดี", "thai"),
        ("नमस्ते", "devanagari"),
        ("Τι κάνεις", "greek"),
        ("מה שלומך", "hebrew"),
        ("ＡＢＣ", "latin"),
        ("გამარჯობა", "other"),
    ],
)
def test_script(text, name):
    assert script(text) == name
