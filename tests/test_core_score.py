"""The score: rules that hold for any texts, and real pairs in the order in which a reader would put them."""

import json
import math
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core import guards
from yamabiko.core.score import (
    FEATURES,
    MIN_SCORE,
    NO_RUNNER_UP,
    EntryLabels,
    features,
    model_for,
    with_entry,
)
from yamabiko.core.wording import overlap, stem
from yamabiko.embedders.local import MINILM, USE_M3

DATA = json.loads(files("yamabiko.core").joinpath("data/score.json").read_text(encoding="utf-8"))
MODELS = (MINILM, USE_M3, "a model that nobody measured")
FRAGMENTS = (
    "How do I change my password?",
    "order #1234",
    "Tokyo",
    "don't",
    "isn't it n't 's",
    "is preferred by",
    "before or after",
    "返品方法を教えてください",
    "東京都庁",
    "パスワード",
    "3.5 kg",
    "¿Dónde está?",
    "Привет мир",
    "안녕하세요",
    "🙂",
    "\u0000",
    "",
)
texts = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=5).map(" ".join), st.sampled_from(FRAGMENTS)
)
cosines = st.floats(-1, 1)
margins = st.one_of(st.floats(-2, 2), st.just(NO_RUNNER_UP))


def values_of(asked, stored, similarity=0.9, margin=NO_RUNNER_UP):
    one, other = guards.read(asked), guards.read(stored)
    return features(one, other, guards.check(one, other), similarity=similarity, margin=margin)


def score_of(asked, stored, similarity=0.9, margin=NO_RUNNER_UP, model=MINILM):
    return model_for(model).score(values_of(asked, stored, similarity, margin))


@settings(max_examples=300, deadline=None)
@given(texts, texts, cosines, margins, st.sampled_from(MODELS))
def test_any_two_texts_have_features_from_0_to_1_and_a_score_between(asked, stored, similarity, margin, model):
    values = values_of(asked, stored, similarity, margin)
    assert len(values) == len(FEATURES)
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in values)
    assert 0 < model_for(model).score(values) < 1


@settings(max_examples=200, deadline=None)
@given(texts, texts)
def test_which_text_was_first_matters_only_for_what_one_has_alone(asked, stored):
    there, back = overlap(guards.read(asked), guards.read(stored)), overlap(guards.read(stored), guards.read(asked))
    assert there.only_asked == pytest.approx(back.only_stored, abs=0.5)
    for name in ("words", "function", "grams", "marks"):
        assert getattr(there, name) == pytest.approx(getattr(back, name))


@settings(max_examples=100, deadline=None)
@given(texts)
def test_a_text_shares_everything_with_itself(text):
    same = overlap(guards.read(text), guards.read(text))
    assert (same.words, same.function, same.grams) == (1.0, 1.0, 1.0)
    assert same.only_asked == same.only_stored == same.replaced == same.uncovered == same.moved == same.marks == 0


@settings(max_examples=200, deadline=None)
@given(texts, texts, margins, st.tuples(cosines, cosines), st.sampled_from(MODELS))
def test_a_higher_cosine_never_lowers_the_score(asked, stored, margin, two, model):
    low, high = sorted(two)
    assert score_of(asked, stored, low, margin, model) <= score_of(asked, stored, high, margin, model) + 1e-12


@settings(max_examples=100, deadline=None)
@given(texts, texts, cosines, st.tuples(margins, margins), st.sampled_from(MODELS))
def test_a_wider_margin_never_lowers_the_score(asked, stored, similarity, two, model):
    low, high = sorted(two)
    assert score_of(asked, stored, similarity, low, model) <= score_of(asked, stored, similarity, high, model) + 1e-12


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.sampled_from(MODELS))
def test_the_probability_rises_with_the_score_within_0_and_1(scores, model):
    chances = [model_for(model).p_correct(score) for score in sorted(scores)]
    assert chances == sorted(chances)
    assert all(0 <= chance <= 1 for chance in chances)


@settings(max_examples=100, deadline=None)
@given(texts, texts, cosines, margins, st.sampled_from(MODELS))
def test_the_contributions_add_up_to_the_log_odds_of_the_score(asked, stored, similarity, margin, model):
    values = values_of(asked, stored, similarity, margin)
    total = sum(amount for _, _, amount in model_for(model).contributions(values))
    assert model_for(model).score(values) == pytest.approx(1 / (1 + math.exp(-total)), rel=1e-9)


def test_contributions_name_the_features_and_begin_with_the_greatest():
    rows = model_for(MINILM).contributions(values_of("How do I reset it?", "How can I reset my phone?", 0.8, 0.1))
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names)
    assert all(part in {*FEATURES, "intercept"} for name in names for part in name.split(" x "))
    assert [abs(amount) for *_, amount in rows] == sorted((abs(amount) for *_, amount in rows), reverse=True)


# --- the data file ---


@pytest.mark.parametrize("name", [*DATA["models"], "general"])
def test_every_feature_has_a_weight_and_nothing_else_has_one(name):
    found = DATA["models"].get(name, DATA["general"])
    assert {feature for ramps, _ in found["terms"] for feature, *_ in ramps} == set(FEATURES)
    for ramps, weight in found["terms"]:
        assert math.isfinite(weight)
        assert all(0 <= low < high <= 1 for _, low, high in ramps)
        if any(feature.startswith("guard_") for feature, *_ in ramps):
            assert weight <= 0, "a guard's finding never speaks for an answer"


def test_the_on_device_models_are_trained_and_any_other_gets_the_general_one():
    for name in (MINILM, USE_M3):
        assert model_for(name).trained
        assert model_for(name).embedder == name
        assert 0.3 <= model_for(name).floor < 1
        assert model_for(name).spread >= 0
    other = model_for("text-embedding-3-small")
    assert not other.trained
    assert other.embedder == "text-embedding-3-small"
    assert model_for(MINILM) is model_for(MINILM)


def test_weights_name_the_sets_that_they_were_made_from_and_none_that_may_not_ship():
    assert DATA["features"] == list(FEATURES)
    named = {name for names in DATA["trained_on"].values() for name in names}
    assert named
    assert named <= set(DATA["sets"])
    assert not {"qqp", "stsb", "prompts_mtbench"} & set(DATA["sets"])
    assert not {"checklist_qqp", "synthetic_nearmiss", "traps_en", "traps_ja"} & named
    assert all(DATA["sets"].values())


# --- real pairs ---

ORDERED = [
    # asked, the stored question that has its answer, one that has not; both at the same cosine
    (MINILM, "How can I reset my password?", "How do I change my password?", "How do I change my e-mail address?"),
    (
        MINILM,
        "What is the capital of France?",
        "Tell me the capital of France",
        "What is the capital of the Loire region of France?",
    ),
    (MINILM, "Do you ship abroad?", "Do you deliver abroad?", "Do you ship batteries abroad?"),
    (MINILM, "Is Matthew preferred by Nicholas?", "Does Nicholas prefer Matthew?", "Does Matthew prefer Nicholas?"),
    (
        MINILM,
        "How do I cancel an order?",
        "How can I cancel my order?",
        "How do I cancel an order placed by a colleague?",
    ),
    (
        MINILM,
        "What are the symptoms of flu?",
        "What are flu symptoms?",
        "What are the symptoms of flu in children under treatment?",
    ),
    (MINILM, "Is he an author?", "Is he really an author?", "Did he use to be an author?"),
    (USE_M3, "返品の方法を教えてください", "返品の手順を知りたいです", "返品の送料を教えてください"),
    (USE_M3, "パスワードを変更したい", "パスワードの変更方法", "パスワードの有効期間を変更したい"),
    (USE_M3, "東京の人口は何人ですか", "東京の人口を教えてください", "東京の外国人の人口は何人ですか"),
    (USE_M3, "領収書を再発行できますか", "領収書の再発行は可能ですか", "領収書を英語で再発行できますか"),
    (USE_M3, "スマホのデータを移行する方法", "スマートフォンのデータの移行のやり方", "スマホの機種を変更する方法"),
]


@pytest.mark.parametrize(("model", "asked", "right", "wrong"), ORDERED)
@pytest.mark.parametrize("similarity", [0.8, 0.9])
def test_at_equal_cosine_the_right_question_scores_above_the_wrong_one(model, asked, right, wrong, similarity):
    assert score_of(asked, right, similarity, model=model) > score_of(asked, wrong, similarity, model=model)


@pytest.mark.parametrize("model", [MINILM, USE_M3])
def test_the_very_question_may_be_served_and_an_unrelated_one_may_not(model):
    one, other = {
        MINILM: ("How do I change my password?", "When does the museum open on Sundays?"),
        USE_M3: ("パスワードを変更する方法は何ですか", "美術館は日曜日の何時に開きますか"),
    }[model]
    assert score_of(one, one, 1.0, model=model) > 0.8
    assert score_of(one, other, 0.1, model=model) < MIN_SCORE


@pytest.mark.parametrize(
    ("one", "other"),
    [("orders", "ordered"), ("buying", "bought"), ("cities", "city"), ("stopping", "stop"), ("colour", "color")],
)
def test_forms_of_a_word_have_one_stem(one, other):
    assert stem(one) == stem(other)


# --- an entry's own intercept ---


def labels(correct, expected, count):
    return EntryLabels(correct=correct, expected=expected, labels=count)


@given(st.floats(0.001, 0.999))
def test_an_entry_without_labels_keeps_the_populations_score(score):
    assert with_entry(score, None, spread=1.0) == score
    assert with_entry(score, EntryLabels(), spread=1.0) == score
    assert with_entry(score, labels(0, 3, 4), spread=0.0) == score


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95), st.integers(1, 50), st.floats(0.1, 3))
def test_right_answers_raise_the_score_and_wrong_ones_lower_it(score, mean, count, spread):
    assert with_entry(score, labels(count, mean * count, count), spread=spread) > score
    assert with_entry(score, labels(0, mean * count, count), spread=spread) < score
    assert with_entry(score, labels(mean * count, mean * count, count), spread=spread) == pytest.approx(score, abs=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95), st.integers(1, 30), st.floats(0.1, 2))
def test_more_labels_and_a_wider_spread_move_the_score_further(score, mean, count, spread):
    few, many = (with_entry(score, labels(0, mean * n, n), spread=spread) for n in (count, count + 5))
    assert many < few < score
    assert with_entry(score, labels(0, mean * count, count), spread=spread + 0.5) < few


@settings(max_examples=50)
@given(st.floats(0.1, 0.9), st.floats(0.2, 2), st.integers(1, 20), st.data())
def test_the_intercept_is_where_the_posterior_is_highest(mean, spread, count, data):
    right = data.draw(st.integers(0, count))
    moved = with_entry(0.5, labels(right, mean * count, count), spread=spread)
    own = math.log(moved / (1 - moved))
    base = math.log(mean / (1 - mean))

    def log_posterior(u):
        return right * u - count * math.log1p(math.exp(base + u)) - u * u / (2 * spread * spread)

    assert log_posterior(own) >= max(log_posterior(own - 0.01), log_posterior(own + 0.01)) - 1e-12


def test_labels_add_up():
    seen = EntryLabels()
    seen.add(0.9, correct=True)
    seen.add(0.7, correct=False)
    assert (seen.correct, seen.expected, seen.labels) == (1, pytest.approx(1.6), 2)
