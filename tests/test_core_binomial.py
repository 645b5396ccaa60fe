"""Binomial probabilities and Clopper-Pearson bounds, against exact fractions and known tables."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core import binomial
from yamabiko.errors import ConfigurationError

RATES = st.floats(1e-6, 1 - 1e-6)


@st.composite
def counts(draw, largest=2000):
    trials = draw(st.integers(1, largest))
    return draw(st.integers(0, trials)), trials


@pytest.mark.parametrize("trials", [1, 2, 7, 15, 16, 40, 101])
@pytest.mark.parametrize("rate", [Fraction(1, 1024), Fraction(1, 64), Fraction(3, 8), Fraction(1, 2), Fraction(15, 16)])
def test_probabilities_are_those_of_exact_fractions(trials, rate):
    total = Fraction(0)
    for k in range(trials + 1):
        term = math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k)
        assert binomial.upper_tail(k, trials, float(rate)) == pytest.approx(float(1 - total), rel=1e-12)
        total += term
        assert binomial.pmf(k, trials, float(rate)) == pytest.approx(float(term), rel=1e-12)
        assert binomial.cdf(k, trials, float(rate)) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize(("k", "trials", "rate"), [(2, 5000, Fraction(1, 512)), (90, 6000, Fraction(1, 64))])
def test_tails_of_many_trials_are_those_of_exact_fractions(k, trials, rate):
    total = sum(math.comb(trials, i) * rate**i * (1 - rate) ** (trials - i) for i in range(k + 1))
    assert binomial.cdf(k, trials, float(rate)) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize("k", [19_400, 19_999, 20_000, 20_001, 20_600])
def test_a_million_trials_add_up(k):
    """The sum of the probabilities themselves, far enough out that nothing is left beyond."""
    near = math.fsum(binomial.pmf(i, 1_000_000, 0.02) for i in range(k, 17_500, -1))
    assert binomial.cdf(k, 1_000_000, 0.02) == pytest.approx(near, rel=1e-11)
    beyond = math.fsum(binomial.pmf(i, 1_000_000, 0.02) for i in range(k + 1, 22_500))
    assert near + beyond == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize(
    ("k", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (2, 20, 0.0123, 0.3170),
        (10, 100, 0.0490, 0.1762),
        (20, 20, 0.8316, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_clopper_pearson_intervals_are_those_of_the_tables(k, trials, low, high):
    assert binomial.interval(k, trials, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(counts(), st.floats(0.5, 0.999))
def test_an_upper_bound_is_where_so_few_errors_become_too_rare(count, confidence):
    k, trials = count
    bound = binomial.upper_bound(k, trials, confidence)
    if k < trials:
        assert binomial.cdf(k, trials, bound) == pytest.approx(1 - confidence, rel=1e-9)
    else:
        assert bound == 1.0
    assert binomial.lower_bound(trials - k, trials, confidence) == pytest.approx(1 - bound, abs=1e-12)


@given(counts(400), RATES)
def test_the_tails_complement_each_other(count, rate):
    k, trials = count
    beyond = binomial.upper_tail(k + 1, trials, rate) if k < trials else 0.0
    assert binomial.cdf(k, trials, rate) + beyond == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("trials", [30, 149, 700])
def test_bounds_cover_the_true_rate_at_least_as_often_as_they_say(trials, rate):
    """By exact enumeration of every count, not by drawing."""
    bounds = [binomial.upper_bound(k, trials, 0.95) for k in range(trials + 1)]
    covered = math.fsum(binomial.pmf(k, trials, rate) for k in range(trials + 1) if bounds[k] >= rate)
    assert covered >= 0.95 - 1e-12


@pytest.mark.parametrize(
    ("rate", "confidence", "trials"), [(0.02, 0.95, 149), (0.01, 0.95, 299), (0.05, 0.95, 59), (0.02, 0.99, 228)]
)
def test_the_fewest_trials_are_the_rule_of_three(rate, confidence, trials):
    assert binomial.fewest_trials(rate, confidence) == trials
    assert binomial.most_errors(trials, rate, confidence) == 0
    assert binomial.most_errors(trials - 1, rate, confidence) == -1


@given(st.integers(0, 3000), st.floats(0.001, 0.5), st.floats(0.8, 0.999))
def test_one_error_more_than_allowed_shows_nothing(trials, rate, confidence):
    most = binomial.most_errors(trials, rate, confidence)
    assert most < 0 or binomial.cdf(most, trials, rate) <= 1 - confidence
    assert binomial.cdf(most + 1, trials, rate) > 1 - confidence


def test_log_gamma_is_the_logarithm_of_gamma():
    x = np.concatenate([np.arange(0.5, 200, 0.25), [1e4 + 0.5, 1e6]])
    expected = np.array([math.lgamma(value) for value in x])
    assert np.allclose(binomial.log_gamma(x), expected, rtol=1e-14, atol=1e-13)


def test_planning_bounds_are_near_the_exact_ones():
    quick = binomial.poisson_upper(np.arange(20.0), 0.05)
    exact = [binomial.upper_bound(k, 100_000, 0.95) * 100_000 for k in range(20)]
    assert np.allclose(quick, exact, rtol=0.01)
    assert binomial.normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize("call", [lambda: binomial.cdf(3, 2, 0.5), lambda: binomial.cdf(-1, 2, 0.5), lambda: binomial.pmf(1, 2, 1.5), lambda: binomial.upper_bound(5, 4, 0.9), lambda: binomial.fewest_trials(0, 0.9)])  # fmt: skip
def test_impossible_counts_are_refused(call):
    with pytest.raises(ConfigurationError):
        call()
