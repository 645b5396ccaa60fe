"""Step 7, the numbers: what a verifier says moves the score, never past a no, and never without being asked."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.mixing import A_NO, MOST_ASKED, checked, doubtful, final_score, mixed, said_no, told, version_of
from yamabiko.core.score import MIN_SCORE, EntryLabels
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix
from yamabiko.types import Candidate, Entry, Question, Reply, Scope

MIX = Mix(name="v", bias=0.1, score=1.0, verifier=1.0, low=0.2, high=0.95)
chances = st.floats(0.0001, 0.9999)
odds = st.floats(-40, 40)
weights = st.builds(
    Mix,
    name=st.just("v"),
    bias=st.floats(-5, 5),
    score=st.floats(0, 3),
    verifier=st.floats(0, 3),
    doubt=st.floats(0, 3),
    low=st.floats(0, 0.5),
    high=st.floats(0.5, 1),
)


def candidate(name, score, population=None):
    scope = Scope(content=b"c" * 32, digest=b"d" * 32, tenant="", user="", model="", embedder="e")
    entry = Entry(
        id=name,
        scope=scope,
        questions=(Question(digest=b"q" * 32, text=name),),
        reply=Reply(text="answer"),
        created=0.0,
    )
    return Candidate(entry=entry, similarity=0.9, score=score, population=population)


@given(weights, chances, odds, odds)
def test_the_score_never_falls_when_the_verifier_is_surer(mix, score, one, other):
    low, high = sorted((one, other))
    assert 0 < final_score(mix, score, low) <= final_score(mix, score, high) < 1


@given(weights, st.lists(st.tuples(chances, st.none() | odds), min_size=1, max_size=8))
def test_only_what_is_grey_moves_and_silence_is_a_no(mix, found):
    ranked = [candidate(str(at), score) for at, (score, _) in enumerate(found)]
    said = {str(at): value for at, (_, value) in enumerate(found) if value is not None}
    for one in mixed(ranked, said, mix, entries={}, spread=0.7):
        before, value = found[int(one.entry.id)]
        if not mix.low <= before < mix.high:
            assert (one.score, one.verified) == (pytest.approx(before), None)
        elif value is None:
            assert one.score <= A_NO < MIN_SCORE
            assert one.verified is None
        else:
            assert one.score == pytest.approx(final_score(mix, before, value))
            assert one.alone == pytest.approx(before)
            assert 0 < one.verified < 1


@given(weights, st.lists(chances, max_size=8))
def test_at_most_a_few_are_asked_about_and_only_grey_ones(mix, scores):
    ranked = [candidate(str(at), score) for at, score in enumerate(sorted(scores, reverse=True))]
    asked = doubtful(ranked, [mix])
    assert len(asked) <= MOST_ASKED
    assert all(one in ranked[:MOST_ASKED] and mix.low <= one.score < mix.high for one in asked)


def test_the_best_by_the_final_score_comes_first():
    ranked = [candidate("near", 0.9), candidate("right", 0.6)]
    best, other = mixed(ranked, {"near": -3.0, "right": 4.0}, MIX, entries={}, spread=0.7)
    assert (best.entry.id, other.entry.id) == ("right", "near")
    assert said_no(other)
    assert not said_no(best)


def test_what_labels_said_of_an_entry_still_counts():
    bad = EntryLabels(correct=0.0, expected=4.0, labels=5)
    ranked = [candidate("a", 0.4, population=0.7)]
    (plain,) = mixed(ranked, {"a": 1.0}, MIX, entries={}, spread=0.7)
    (known,) = mixed(ranked, {"a": 1.0}, MIX, entries={"a": bad}, spread=0.7)
    assert plain.score == pytest.approx(final_score(MIX, 0.7, 1.0))
    assert known.score < plain.score
    assert known.population == pytest.approx(plain.score)


def test_the_reasons_name_the_verifier_and_its_probability():
    ranked = [candidate("a", 0.7)]
    found = mixed(ranked, {"a": 0.0}, MIX, entries={}, spread=0.7)
    (reason,) = told(MIX, found, ranked)
    assert "verifier v" in reason
    assert "0.5000" in reason
    assert told(MIX, found, []) == ()


@given(weights, weights)
def test_a_version_tells_every_number_apart_but_not_what_was_counted(one, other):
    numbers = [(mix.bias, mix.score, mix.verifier, mix.doubt, mix.low, mix.high) for mix in (one, other)]
    assert (version_of(one) == version_of(other)) == (numbers[0] == numbers[1])


def test_a_zero_below_zero_is_the_same_zero():
    assert version_of(replace(MIX, bias=-0.0)) == version_of(replace(MIX, bias=0.0))


def test_another_verifier_is_another_version():
    assert version_of(MIX) != version_of(Mix(name="w", bias=0.1, score=1.0, verifier=1.0, low=0.2, high=0.95))


@pytest.mark.parametrize(
    "wrong", [{"bias": math.nan}, {"verifier": -1.0}, {"doubt": -2.0}, {"low": 0.9, "high": 0.1}, {"name": ""}]
)
def test_a_mix_that_can_not_be_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        checked(Mix(**({"name": "v", "bias": 0.0, "score": 1.0, "verifier": 1.0} | wrong)))
