"""Step 6: whether one of the candidates may answer, and why."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yamabiko.core import decide as step
from yamabiko.core.score import EntryLabels, model_for
from yamabiko.core.states import Position, State
from yamabiko.types import Candidate, Entry, MissReason, Policy, Question, Reply, Scope

ASKED = "the private question"
MODEL = model_for("nobody's")
UNPROMISED = Position(namespace="n", state=State.SERVING, threshold=0.0, calibration="none", reason="")


def decide(candidates, policy, *, asked, min_similarity, verifier):
    """Without a promise: the similarity alone decides."""
    policy = replace(policy, max_error_rate=None, min_similarity=min_similarity)
    modes = step.guard_modes(policy, "")
    return step.decide(
        candidates, policy, asked=asked, position=UNPROMISED, model=MODEL, modes=modes, verifier=verifier
    )


PROMISE = Policy()


def promised(candidates, *, threshold, asked=ASKED, policy=PROMISE, state=State.SERVING, **position):
    """With a promise: the score decides."""
    where = Position(
        namespace="n",
        state=state,
        threshold=threshold,
        calibration="certified",
        reason="so said the labels",
        **position,
    )
    modes = step.guard_modes(policy, "")
    return step.decide(candidates, policy, asked=asked, position=where, model=MODEL, modes=modes, verifier=False)


def candidate(similarity, name="e", text=ASKED):
    question = Question(digest=b"q", text=text)
    entry = Entry(
        id=name, scope=Scope(content=b"c", digest=b"s"), questions=(question,), reply=Reply(text="a"), created=0.0
    )
    return Candidate(entry=entry, similarity=similarity)


def test_the_best_at_or_above_the_threshold_answers():
    decision = decide(
        [candidate(0.91, "b"), candidate(0.97, "a")], Policy(), asked=ASKED, min_similarity=0.9, verifier=False
    )
    assert (decision.action, decision.candidates[0].entry.id, decision.reason) == ("serve", "a", None)
    assert decision.reasons == ("similarity 0.9700 reaches min_similarity 0.9000, without a promise",)


def test_exactly_the_threshold_is_enough():
    assert decide([candidate(0.9)], Policy(), asked=ASKED, min_similarity=0.9, verifier=False).action == "serve"


def test_nothing_similar_is_absent():
    decision = decide([], Policy(), asked=ASKED, min_similarity=0.9, verifier=True)
    assert (decision.action, decision.reason) == ("generate", MissReason.ABSENT)
    assert decision.reasons


def test_below_the_threshold_names_both_numbers_and_the_near_misses():
    near = [candidate(0.85, "a"), candidate(0.88, "b")]
    decision = decide(near, Policy(), asked=ASKED, min_similarity=0.9, verifier=False)
    assert (decision.action, decision.reason) == ("generate", MissReason.BELOW_THRESHOLD)
    assert decision.reasons == ("similarity 0.8800 is below min_similarity 0.9000",)
    assert [c.entry.id for c in decision.candidates] == ["b", "a"]


POLICY = Policy(verify_similarity=0.7)


def test_the_verifier_is_asked_about_the_doubtful_ones_best_first():
    doubtful = [candidate(0.7, "c"), candidate(0.85, "b"), candidate(0.69, "d"), candidate(0.88, "a")]
    decision = decide(doubtful, POLICY, asked=ASKED, min_similarity=0.9, verifier=True)
    assert decision.action == "verify"
    assert [c.entry.id for c in decision.candidates] == ["a", "b", "c"]


def test_the_verifier_is_not_asked_where_one_may_answer_anyway():
    assert (
        decide([candidate(0.8), candidate(0.95)], POLICY, asked=ASKED, min_similarity=0.9, verifier=True).action
        == "serve"
    )


@pytest.mark.parametrize(("policy", "verifier"), [(POLICY, False), (Policy(), True)])
def test_without_a_verifier_or_a_range_for_it_doubt_means_a_miss(policy, verifier):
    decision = decide([candidate(0.8)], policy, asked=ASKED, min_similarity=0.9, verifier=verifier)
    assert (decision.action, decision.reason) == ("generate", MissReason.BELOW_THRESHOLD)


def test_below_the_verifiers_range_is_a_miss():
    decision = decide([candidate(0.6)], POLICY, asked=ASKED, min_similarity=0.9, verifier=True)
    assert (decision.action, decision.reason) == ("generate", MissReason.BELOW_THRESHOLD)
    assert decision.reasons[0].endswith("similarity 0.6000 is below 0.7000, from which the verifier is asked")


def test_a_similarity_that_is_no_number_never_answers():
    assert (
        decide([candidate(math.nan)], Policy(), asked=ASKED, min_similarity=-1.0, verifier=False).reason
        is MissReason.ABSENT
    )
    decision = decide(
        [candidate(math.nan, "bad"), candidate(0.95, "good")], Policy(), asked=ASKED, min_similarity=0.9, verifier=False
    )
    assert [c.entry.id for c in decision.candidates] == ["good"]


def test_equals_keep_the_stores_order():
    decision = decide(
        [candidate(0.95, "a"), candidate(0.95, "b")], Policy(), asked=ASKED, min_similarity=0.9, verifier=False
    )
    assert decision.candidates[0].entry.id == "a"


COSINES = st.floats(-1, 1)


@given(st.lists(COSINES, max_size=6), COSINES, COSINES, st.booleans())
def test_the_verdict_follows_from_the_numbers_alone(similarities, threshold, verify_from, verifier):
    policy = Policy(verify_similarity=verify_from)
    decision = decide(
        [candidate(s) for s in similarities], policy, asked=ASKED, min_similarity=threshold, verifier=verifier
    )
    best = max(similarities, default=-2.0)
    assert (decision.action == "serve") == (best >= threshold)
    assert (decision.action == "verify") == (verify_from <= best < threshold and verifier)
    assert "private" not in " ".join(decision.reasons)


@given(COSINES, COSINES)
@example(0.0, 5e-324)
def test_the_printed_numbers_never_contradict_the_verdict(similarity, threshold):
    decision = decide([candidate(similarity)], Policy(), asked=ASKED, min_similarity=threshold, verifier=False)
    shown, wanted = map(float, re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", decision.reasons[0]))
    assert (shown >= wanted) == (decision.action == "serve")


def test_two_numbers_that_look_alike_are_told_apart():
    decision = decide([candidate(0.8999999)], Policy(), asked=ASKED, min_similarity=0.9, verifier=False)
    assert decision.reasons == ("similarity 0.8999999 is below min_similarity 0.9000000",)


def test_the_best_allowed_one_answers_not_the_nearest():
    nearest, allowed = candidate(0.98, "a", "Where is order 4711?"), candidate(0.96, "b", "Where's my order 4712?")
    decision = decide([nearest, allowed], Policy(), asked="Where is order 4712?", min_similarity=0.9, verifier=False)
    assert (decision.action, decision.candidates[0].entry.id) == ("serve", "b")
    assert any(reason.startswith("guard ") and "0.9800" in reason for reason in decision.reasons)
    assert "4711" not in str(decision.reasons)


def test_where_only_guards_speak_against_it_the_reason_is_guard():
    decision = decide(
        [candidate(0.98, text="Where is order 4711?")],
        Policy(),
        asked="Where is order 4712?",
        min_similarity=0.9,
        verifier=False,
    )
    assert (decision.action, decision.reason) == ("generate", MissReason.GUARD)
    assert [near.entry.id for near in decision.candidates] == ["e"]  # named as a near miss all the same


def test_a_guard_may_be_switched_off_or_made_a_feature():
    for mode in ("off", "feature"):
        policy = Policy(guards={"numbers": mode, "identifiers": mode})
        found = [candidate(0.98, text="Where is order 4711?")]
        assert decide(found, policy, asked="Where is order 4712?", min_similarity=0.9, verifier=False).action == "serve"


def test_what_a_guard_forbids_is_not_verified_either():
    found = [candidate(0.88, text="何番線ですか、3番線？")]
    decision = decide(found, POLICY, asked="何番線ですか、4番線？", min_similarity=0.9, verifier=True)
    assert (decision.action, decision.reason) == ("generate", MissReason.GUARD)


def test_below_the_threshold_guards_are_not_asked():
    found = [candidate(0.88, text="Where is order 4711?")]
    decision = decide(found, Policy(), asked="Where is order 4712?", min_similarity=0.9, verifier=False)
    assert decision.reason is MissReason.BELOW_THRESHOLD
    assert len(decision.reasons) == 1


def test_with_a_promise_the_score_decides_and_not_the_rank():
    nearest, better = candidate(0.9, "a", "the public question of another kind"), candidate(0.9, "b")
    decision = promised([nearest, better], threshold=0.5)
    assert (decision.action, decision.candidates[0].entry.id) == ("serve", "b")
    assert decision.candidates[0].score >= 0.5
    assert decision.reasons[-1].endswith("reaches the threshold 0.5000: so said the labels")


def test_below_the_certified_threshold_nothing_is_served():
    found = [candidate(0.97)]
    score = promised(found, threshold=0.5).candidates[0].score
    assert promised(found, threshold=score).action == "serve"
    decision = promised(found, threshold=math.nextafter(score, 1))
    assert (decision.action, decision.reason) == ("generate", MissReason.BELOW_THRESHOLD)


def test_in_shadow_a_candidate_is_scored_and_not_served():
    decision = promised([candidate(1.0)], threshold=None, state=State.SHADOW)
    assert (decision.action, decision.reason) == ("generate", MissReason.SHADOW)
    assert decision.candidates[0].score > 0.5
    assert "so said the labels" in decision.reasons[-1]


def test_min_similarity_only_tightens():
    found = [candidate(0.9)]
    assert promised(found, threshold=0.5).action == "serve"
    assert promised(found, threshold=0.5, policy=Policy(min_similarity=0.95)).action == "generate"
    assert promised(found, threshold=0.9999, policy=Policy(min_similarity=0.1)).action == "generate"


def test_an_entry_that_labels_speak_against_has_a_lower_score():
    found = [candidate(0.97)]
    bad = {"e": EntryLabels(correct=0, expected=4.5, labels=5)}
    good = {"e": EntryLabels(correct=5, expected=4.5, labels=5)}
    plain, worse, better = (
        promised(found, threshold=0.0, entries=entries).candidates[0] for entries in ({}, bad, good)
    )
    assert worse.score < plain.score < better.score
    assert worse.population == plain.score
    assert plain.population is None


def test_a_guard_named_for_one_category_goes_before_the_general_one():
    policy = Policy(guards={"numbers": "feature", "billing/numbers": "off", "travel/units": "off"})
    assert step.guard_modes(policy, "") == {"numbers": "feature"}
    assert step.guard_modes(policy, "billing") == {"numbers": "off"}
    assert step.guard_modes(policy, "travel") == {"numbers": "feature", "units": "off"}
