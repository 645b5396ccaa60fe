"""Step 6: words that deny, oppose, reverse, compare, name, narrow or quote, and the shape of two texts."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.guards import GUARDS, VETO_STRENGTH, check, read
from yamabiko.core.guards.inflection import adjective_forms, japanese_forms, noun_forms, verb_forms
from yamabiko.core.guards.lexicon import flips

TRAPS = Path(__file__).parent / "traps"
LANGUAGES = ("en", "ja")
WORDS = (
    "negation",
    "antonyms",
    "direction",
    "comparison",
    "entities",
    "constraints",
    "questions",
    "literals",
    "language",
    "length",
    "truncation",
)
POLARITY = {"negation", "antonyms"}
FAMILY = {
    "negation": POLARITY,
    "antonyms": POLARITY,
    "direction": {"direction", "antonyms"},
    "comparison": POLARITY | {"comparison", "direction"},
    "constraints": POLARITY | {"constraints", "comparison"},
}
"""Which guards may catch a trap of a table: more and less are opposites as well, and 未成年 is a negation."""

KNOWN = {
    (
        "この薬は食後に飲むべきですか",
        "この薬は食後に飲むべきではないですか。避けるべき理由は",
    ): "べきではないですか asks for consent more often than it denies",
    ("ディレクトリだけ一覧する", "ファイルも一覧する"): "the second text doesn't say that it lists directories",
    (
        "How much is the red",
        "How much is the red lamp with shipping?",
    ): "a noun that is missing after an adjective leaves no mark",
    ("二つの端末で同時に", "二つの端末で同時に使いたい"): "questions in note form end in に as well",
}
"""Pairs that pass where they should be caught, and why."""


def table(guard, language):
    with (TRAPS / f"{guard}.{language}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def found(guard, a, b):
    """Which guards of a table's family speak against serving b's answer for a."""
    asked, stored = read(a), read(b)
    findings = (GUARDS[name](asked, stored) for name in FAMILY.get(guard, {guard}))
    return {finding.guard for finding in findings if finding is not None and finding.strength >= VETO_STRENGTH}


PAIRS = [
    pytest.param(guard, row["a"], row["b"], row["same"], id=f"{guard}.{language}.{at}")
    for guard in WORDS
    for language in LANGUAGES
    for at, row in enumerate(table(guard, language), start=1)
    if (row["a"], row["b"]) not in KNOWN
]


@pytest.mark.parametrize(("guard", "a", "b", "same"), PAIRS)
def test_traps_are_caught_and_paraphrases_pass(guard, a, b, same):
    assert bool(found(guard, a, b)) is not same


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("guard", WORDS)
def test_a_table_holds_sixty_pairs_of_each_kind_from_many_domains(guard, language):
    rows = table(guard, language)
    assert sum(row["same"] for row in rows) >= 60
    assert sum(not row["same"] for row in rows) >= 60
    assert len({row["domain"] for row in rows}) == 7
    assert {row["split"] for row in rows} == {"dev", "test"}
    assert len({(row["a"], row["b"]) for row in rows}) == len(rows)
    assert sum((row["a"], row["b"]) in KNOWN for row in rows) <= 3


def test_what_is_known_to_pass_still_does():
    stale = [
        (row["a"], row["b"])
        for guard in WORDS
        for language in LANGUAGES
        for row in table(guard, language)
        if (row["a"], row["b"]) in KNOWN and bool(found(guard, row["a"], row["b"])) is not row["same"]
    ]
    assert stale == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("guard", ["negation", "antonyms", "direction"])
def test_most_traps_of_a_table_are_caught_by_the_guard_it_is_named_after(guard, language):
    traps = [row for row in table(guard, language) if not row["same"]]
    assert sum(guard in found(guard, row["a"], row["b"]) for row in traps) >= 0.9 * len(traps)


def test_few_paraphrases_are_refused_by_any_guard_at_all():
    rows = [row for guard in WORDS for language in LANGUAGES for row in table(guard, language) if row["same"]]
    refused = sum(
        any(finding.strength >= VETO_STRENGTH for finding in check(read(row["a"]), read(row["b"]))) for row in rows
    )
    assert refused <= 0.02 * len(rows)


TEXTS = sorted(
    {row[side] for guard in WORDS for language in LANGUAGES for row in table(guard, language) for side in "ab"}
)


@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
@settings(max_examples=1_000, deadline=None)
def test_the_order_of_two_texts_does_not_matter(a, b):
    for name in WORDS:
        assert GUARDS[name](read(a), read(b)) == GUARDS[name](read(b), read(a))


@given(st.sampled_from(TEXTS))
@settings(max_examples=400, deadline=None)
def test_a_text_never_speaks_against_itself(text):
    for name in WORDS:
        assert GUARDS[name](read(text), read(text)) is None


PIECES = st.lists(
    st.sampled_from(
        [
            "not",
            "no",
            "never",
            "or",
            "if",
            "?",
            ".",
            ",",
            "'",
            '"',
            "`",
            "(",
            "「",
            "」",
            "ない",
            "ません",
            "か",
            "より",
            "から",
            "を",
            "に",
            "は",
            "前",
            "後",
            "than",
            "from",
            "to",
            "on",
            "off",
            "turn",
            "less",
            "more",
            "A",
            "of",
            "ー",
            "…",
            "\ud7ff",
            "İ",
            "ß",
            "ﬁ",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(PIECES | st.text(max_size=60), PIECES | st.text(max_size=60))
@settings(max_examples=600, deadline=None)
def test_any_text_can_be_read(a, b):
    for name in WORDS:
        finding = GUARDS[name](read(a), read(b))
        assert finding == GUARDS[name](read(b), read(a))
        if finding is not None:
            assert finding.guard == name
            assert 0 < finding.strength <= 1


@given(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
@settings(max_examples=300, deadline=None)
def test_a_finding_tells_nothing_of_the_texts(a, b):
    plain = {
        "one",
        "other",
        "the",
        "they",
        "of",
        "in",
        "is",
        "what",
        "for",
        "a",
        "to",
        "that",
        "are",
        "each",
        "has",
        "doesn't",
    }
    for name in WORDS:
        finding = GUARDS[name](read(a), read(b))
        if finding is not None:
            assert finding.detail.isascii()
            assert finding == GUARDS[name](read(a.upper()), read(b.upper())) or len(finding.detail) < 60
            assert plain & set(finding.detail.split())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("It is available", "It is not unavailable"),
        ("Is the shop open?", "The shop isn't closed?"),
        ("How can I become an active person?", "How can I become a person who is not passive?"),
        ("Which courses are easy?", "Which courses are the least difficult?"),
        ("Should I eat before exercise?", "Should I exercise after eating?"),
        ("Is tea cheaper than coffee?", "Is coffee more expensive than tea?"),
        ("窓は開いています", "窓は閉まっていません"),
        ("電車はバスより速いですか", "バスは電車より遅いですか"),
    ],
)
def test_two_differences_undo_each_other(a, b):
    assert found("negation", a, b) | found("comparison", a, b) == set()


@pytest.mark.parametrize(
    ("a", "b", "count"),
    [
        ("turn the lights on", "turn the lights off", 1),
        ("turn it off and on again", "turn it on", 0),
        ("switch off wifi on my phone", "switch on wifi on my phone", 1),
        ("log me out", "log me in", 1),
        ("log data in a file", "log data out of habit", 0),
        ("通知を入れる", "通知を切る", 1),
        ("売り上げを買う", "売り上げ", 0),
    ],
)
def test_opposites_are_counted_where_they_are_meant(a, b, count):
    assert flips(read(a), read(b)) == count


def test_words_are_found_in_all_of_their_forms():
    assert {"stop", "stops", "stopping", "stopped"} <= set(verb_forms("stop"))
    assert {"deny", "denies", "denying", "denied"} == set(verb_forms("deny"))
    assert {"buy", "buys", "buying", "bought"} == set(verb_forms("buy"))
    assert "children" in set(noun_forms("child"))
    assert {"big", "bigger", "biggest"} == set(adjective_forms("big"))
    assert {"noisy", "noisier", "noisiest"} == set(adjective_forms("noisy"))
    assert {"買わ", "買い", "買っ"} <= set(japanese_forms("v5", "買う"))
    assert {"開けた", "開けな"} <= set(japanese_forms("v5", "開ける1"))
    assert {"高く", "高か"} <= set(japanese_forms("v5", "高い"))


@pytest.mark.parametrize(
    ("a", "b", "caught"),
    [
        ("Is he a doctor?", "Is he a good doctor?", True),
        ("Is he a doctor?", "Is he a certain doctor?", False),
        ("Is he a doctor?", "Is that man a good doctor?", False),
        ("Is there a way to pay by card?", "Is there a good way to pay by card?", False),
        ("How long are 5 miles?", "How long are 5 nautical miles?", True),
        ("Is she a pilot?", "Did she use to be a pilot?", True),
        ("How can I be a pilot?", "How can I become a pilot?", False),
        ("Is it free or cheap?", "Is it both free and cheap?", True),
        ("Is it free or cheap?", "Is it free and cheap?", False),
        ("彼は医者ですか", "彼は立派な医者ですか", True),
        ("彼は医者ですか", "彼は本当に医者ですか", False),
    ],
)
def test_one_more_word_is_another_question_only_where_all_else_is_equal(a, b, caught):
    assert bool(found("constraints", a, b)) is caught
    assert bool(found("constraints", b, a)) is caught


def test_who_cannot_do_a_thing_asks_for_help_with_it():
    help_wanted = "I need help updating my order"
    assert found("negation", "I cannot update my order", help_wanted) == set()
    assert found("negation", "My order was not updated", help_wanted) == {"negation"}
