"""The tally that acts before an alarm could."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.calibrate import Versions
from yamabiko.learn.caution import BUDGET_SHARE, GIVE_UP_AT, given_up, gives_up, tallied
from yamabiko.learn.records import NamespaceState

NEW = NamespaceState(namespace="m", promise="", versions=Versions())


@given(st.lists(st.booleans(), max_size=300), st.floats(0.005, 0.3))
def test_whatever_the_order_no_more_is_wrong_beyond_the_budget_than_the_limit(outcomes, rate):
    """From any moment on, as long as nothing was given up."""
    known, beyond, worst = NEW, 0.0, 0.0
    for wrong in outcomes:
        known = tallied(known, [wrong], rate)
        if gives_up(known):
            break
        beyond = max(0.0, beyond + wrong - rate)
        worst = max(worst, beyond)
    assert worst < GIVE_UP_AT


def test_two_errors_close_together_are_a_precaution_and_right_answers_end_it():
    once = tallied(NEW, [True], 0.02)
    assert not once.cautious
    twice = tallied(once, [True], 0.02)
    assert twice.cautious
    assert not gives_up(twice)
    needed = int(twice.excess / (BUDGET_SHARE * 0.02)) + 1
    assert tallied(twice, [False] * (needed - 2), 0.02).cautious
    assert not tallied(twice, [False] * needed, 0.02).cautious


def test_errors_far_apart_are_no_ground_for_anything():
    known = NEW
    for _ in range(20):
        known = tallied(known, [True, *[False] * 99], 0.02)
        assert not known.cautious


def test_what_was_given_up_has_something_to_make_good():
    known = given_up(tallied(NEW, [True] * 3, 0.02), "why")
    assert (known.certificate, known.cautious, known.began) == (None, True, "why")
    assert 0 < known.excess < GIVE_UP_AT


def test_the_same_counted_at_once_and_one_by_one():
    outcomes = [False, True, False, False, True, False]
    one = NEW
    for wrong in outcomes:
        one = tallied(one, [wrong], 0.05)
    assert one.excess == pytest.approx(tallied(NEW, outcomes, 0.05).excess)
