"""Experiments: callers keep their arm, and the report may be read after every single caller."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.experiment import Experiment, Tally, compare, effect, log_capital, log_evidence, report
from yamabiko.errors import ConfigurationError

STREAMS = 2000
DOUBT = 0.05
TRIAL = Experiment(name="looser", key=b"secret")


def running(values, treated):
    """Units and totals of both arms after each caller: (streams, callers, 2)."""
    units = np.stack([np.cumsum(~treated, axis=1), np.cumsum(treated, axis=1)], axis=-1).astype(float)
    totals = np.stack([np.cumsum(values * ~treated, axis=1), np.cumsum(values * treated, axis=1)], axis=-1)
    return units, totals


def capital_peaks(values, treated, *, share, expected=0.3, difference=0.0):
    """The most either bet of ``effect`` ever had, at any look."""
    units, totals = running(values, treated)
    options = {"share": share, "expected": expected, "difference": difference}
    return np.maximum(*(log_capital(units, totals, sign=sign, **options).max(axis=1) for sign in (1.0, -1.0)))


# Arms.


def test_a_caller_keeps_its_arm():
    arms = [TRIAL.arm_of(f"caller-{n}") for n in range(100)]
    assert arms == [TRIAL.arm_of(f"caller-{n}") for n in range(100)]
    assert {"control", "treatment"} == set(arms)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_arms_have_their_share_of_callers(share):
    experiment = Experiment(name="looser", key=b"secret", share=share)
    count = sum(experiment.arm_of(f"caller-{n}") == "treatment" for n in range(20_000))
    assert abs(count - 20_000 * share) < 4 * math.sqrt(20_000 * share * (1 - share))


def test_another_key_or_name_deals_anew():
    callers = [f"caller-{n}" for n in range(2000)]
    first = np.array([TRIAL.arm_of(caller) == "treatment" for caller in callers])
    for other in (Experiment(name="looser", key=b"another"), Experiment(name="later", key=b"secret")):
        second = np.array([other.arm_of(caller) == "treatment" for caller in callers])
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_a_caller_without_a_name_has_the_control_and_the_key_is_not_shown():
    assert TRIAL.arm_of("") == "control"
    assert "secret" not in repr(TRIAL)


@pytest.mark.parametrize(
    "wrong",
    [{"share": 0}, {"share": 1}, {"confidence": 1}, {"name": ""}, {"control": "treatment"}, {"expected_hit_rate": 2}],
)
def test_an_experiment_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        Experiment(**{"name": "looser", "key": b"secret", **wrong})


# Peeking.


def test_reading_hit_rates_after_every_caller_finds_no_difference_where_there_is_none():
    rng = np.random.default_rng(0)
    values = (rng.random((STREAMS, 500)) < 0.3).astype(float)
    peaks = capital_peaks(values, rng.random((STREAMS, 500)) < 0.5, share=0.5)
    assert np.mean(peaks >= math.log(2 / DOUBT)) <= DOUBT


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_cache_that_fills_and_has_days_and_nights_is_no_difference(share):
    rng, at = np.random.default_rng(1), np.arange(500)
    rates = 0.7 * at / 500 * (0.6 + 0.4 * np.sin(at / 20))
    values = rng.beta(0.1 + 2 * rates, 0.1 + 2 * (1 - rates), (STREAMS, 500))
    peaks = capital_peaks(values, rng.random((STREAMS, 500)) < share, share=share)
    assert np.mean(peaks >= math.log(2 / DOUBT)) <= DOUBT


def test_reading_error_rates_after_every_caller_finds_no_difference_where_there_is_none():
    """The arms have unlike numbers of hits, and the same share of them is wrong."""
    rng = np.random.default_rng(2)
    values = (rng.random((STREAMS, 600)) < 0.05).astype(float)
    units, totals = running(values, rng.random((STREAMS, 600)) < 0.8)
    assert np.mean(log_evidence(units, totals).max(axis=1) >= math.log(1 / DOUBT)) <= DOUBT


def test_a_fixed_test_read_that_often_would_find_many():
    """What the sequential tests are for: the usual 95 % test, looked at after every caller."""
    rng = np.random.default_rng(3)
    values = (rng.random((STREAMS, 500)) < 0.3).astype(float)
    units, totals = running(values, rng.random((STREAMS, 500)) < 0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = totals.sum(-1) / units.sum(-1)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / units).sum(-1))
        z = np.abs(totals[..., 1] / units[..., 1] - totals[..., 0] / units[..., 0]) / spread
    assert np.mean(np.nanmax(z[:, 30:], axis=1) > 1.96) > 0.25


def test_requests_of_one_caller_are_not_many_callers():
    """Why callers are counted: twenty of them, unlike each other, and every request taken for a unit."""
    rng = np.random.default_rng(4)
    who = rng.integers(0, 20, (500, 500))
    rates, arms = rng.beta(1, 2, (500, 20)), rng.random((500, 20)) < 0.5
    values = (rng.random((500, 500)) < np.take_along_axis(rates, who, 1)).astype(float)
    peaks = capital_peaks(values, np.take_along_axis(arms, who, 1), share=0.5)
    assert np.mean(peaks >= math.log(2 / DOUBT)) > 2 * DOUBT


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.3), (0.2, 0.9)])
def test_the_bounds_hold_the_true_difference_at_all_looks(share, expected):
    rng = np.random.default_rng(5)
    treated = rng.random((STREAMS, 400)) < share
    values = (rng.random((STREAMS, 400)) < np.where(treated, 0.5, 0.3)).astype(float)
    peaks = capital_peaks(values, treated, share=share, expected=expected, difference=0.2)
    assert np.mean(peaks >= math.log(2 / DOUBT)) <= DOUBT


def test_a_real_difference_is_found_and_sooner_the_larger_it_is():
    rng = np.random.default_rng(6)

    def median_callers(rate):
        treated = rng.random((100, 3000)) < 0.5
        values = (rng.random((100, 3000)) < np.where(treated, rate, 0.3)).astype(float)
        units, totals = running(values, treated)
        capital = log_capital(units, totals, share=0.5, expected=0.3, difference=0.0, sign=1.0)
        found = capital >= math.log(2 / DOUBT)
        return np.median(np.where(found.any(axis=1), found.argmax(axis=1), 3000))

    assert median_callers(0.6) < 200
    assert median_callers(0.4) < 1200


# One look.


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_bounds_hold_what_was_seen_and_agree_with_the_verdict(first, second, low, high):
    arms = Tally(units=first, total=first * low), Tally(units=second, total=second * high)
    seen = compare(*arms, confidence=0.95)
    if first and second:
        assert seen.low - 1e-6 <= arms[1].rate - arms[0].rate <= seen.high + 1e-6
    for found in (seen, effect(*arms, share=0.5, expected=0.3, confidence=0.95)):
        assert -1 <= found.low <= found.high <= 1
        assert found.verdict == ("higher" if found.low > 0 else "lower" if found.high < 0 else "undecided")


def test_swapped_arms_give_the_mirrored_answer():
    one, other = Tally(units=900, total=300), Tally(units=1100, total=500)
    for call in (
        lambda a, b: compare(a, b, confidence=0.95),
        lambda a, b: effect(a, b, share=0.5, expected=0.4, confidence=0.95),
    ):
        there, back = call(one, other), call(other, one)
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-6)
        assert (there.verdict, back.verdict) == ("higher", "lower")


def test_nothing_seen_says_nothing():
    none = Tally(units=0, total=0)
    assert compare(none, none, confidence=0.95).verdict == "undecided"
    assert effect(none, none, share=0.5, expected=0.3, confidence=0.95).verdict == "undecided"
    assert math.isnan(none.rate)


@pytest.mark.parametrize(("units", "total"), [(-1, 0), (3, 4), (3, -1)])
def test_a_sum_that_cannot_be_is_refused(units, total):
    with pytest.raises(ConfigurationError):
        Tally(units=units, total=total)


def test_the_report_says_which_arm_serves_more_and_what_is_not_known():
    found = report(
        TRIAL,
        hits=(Tally(units=4000, total=1200), Tally(units=4000, total=1700)),
        errors=(Tally(units=700, total=8), Tally(units=900, total=11)),
    )
    assert found.hits.verdict == "higher"
    assert found.errors.verdict == "undecided"
    assert "the hit rate of treatment is higher than that of control: 42.50% of 4000 callers" in found.sentences[0]
    assert "not yet to be told apart" in found.sentences[1]
