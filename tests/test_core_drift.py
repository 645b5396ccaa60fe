"""The drift bet: rarely alarmed while the promise holds, however often one looks, and soon once it does not."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.calibrate import Certificate, Judge, Terms, ThresholdTest, Versions
from yamabiko.core.drift import SPAN, STOP, TIGHTEN, EProcess, e_values, labels_for_attempt, recalibration_due
from yamabiko.errors import ConfigurationError

STREAMS = 2000
DAY = 86400.0


@pytest.mark.parametrize(("budget", "steps"), [(0.02, 700), (0.2, 400)])
def test_a_promise_that_is_just_kept_is_rarely_doubted_at_any_look(budget, steps):
    """Looked at after every audit; the error rate is exactly the budget, the worst that the promise allows."""
    outcomes = np.random.default_rng(0).random((STREAMS, steps)) < budget
    peaks = e_values(outcomes, budget).max(axis=1)
    assert np.mean(peaks >= TIGHTEN) <= 1 / TIGHTEN
    assert np.mean(peaks >= STOP) <= 1 / STOP
    assert np.mean(peaks >= 4) > 0.01  # it does bet


def test_errors_that_come_in_bursts_within_the_budget_are_no_ground_for_alarm():
    """The bound needs no independence: only that each audit is wrong with at most the budget, given all before."""
    rng = np.random.default_rng(1)
    rates = np.where(np.arange(500) % 100 < 50, 0.02, 0.0) * np.ones((STREAMS, 1))
    peaks = e_values(rng.random((STREAMS, 500)) < rates, 0.02).max(axis=1)
    assert np.mean(peaks >= TIGHTEN) <= 1 / TIGHTEN


@pytest.mark.parametrize(("calm", "rate", "audits"), [(0, 0.1, 120), (0, 0.3, 30), (500, 0.1, 250), (500, 0.3, 60)])
def test_a_drift_is_noticed_soon_even_after_a_long_calm(calm, rate, audits):
    rng = np.random.default_rng(2)
    rates = np.concatenate([np.full(calm, 0.01), np.full(audits, rate)])
    peaks = e_values(rng.random((100, len(rates))) < rates, 0.02)[:, calm:].max(axis=1)
    assert np.mean(peaks >= TIGHTEN) >= 0.9


def test_five_percent_wrong_instead_of_one_is_noticed_within_five_hundred_audits():
    rng = np.random.default_rng(3)
    rates = np.concatenate([np.full(200, 0.01), np.full(500, 0.05)])
    peaks = e_values(rng.random((200, 700)) < rates, 0.02)[:, 200:].max(axis=1)
    assert np.mean(peaks >= TIGHTEN) >= 0.8


@given(st.lists(st.booleans(), max_size=260), st.floats(0.005, 0.5))
@settings(max_examples=40, deadline=None)
def test_one_audit_after_the_other_and_all_at_once_are_the_same(outcomes, budget):
    process, path = EProcess(budget=budget), []
    for wrong in outcomes:
        process = process.after(wrong)
        path.append(process.e_value)
    if outcomes:
        assert path == pytest.approx(e_values(np.array(outcomes), budget).tolist(), rel=1e-9)
    assert process == EProcess(budget=budget).after_all(outcomes)
    assert (process.trials, process.wrong) == (len(outcomes), sum(outcomes))
    assert process.peak == pytest.approx(max([1.0, *path]))


@given(st.floats(0.001, 0.5), st.integers(1, 4))
def test_a_bet_is_fair_at_the_budget_and_loses_below(budget, starts):
    """One step ahead the expected wealth is the wealth, at any moment of the process."""
    process = EProcess(budget=budget).after_all([True, *[False] * (SPAN * starts - 10)])
    for rate, fair in ((budget, True), (budget / 2, False)):
        expected = rate * process.after(True).e_value + (1 - rate) * process.after(False).e_value
        if fair:
            assert expected == pytest.approx(process.e_value, rel=1e-9)
        else:
            assert expected <= process.e_value * (1 + 1e-12)


def test_an_alarm_does_not_pass_away():
    process = EProcess(budget=0.02).after_all([True] * 6)
    assert process.peak >= STOP
    calm = process.after_all([False] * 500)
    assert calm.e_value < TIGHTEN
    assert calm.peak == process.peak


def test_nothing_but_errors_is_still_a_number():
    assert EProcess(budget=0.001).after_all([True] * 3000).e_value < float("inf")


def test_a_process_is_stored_as_json():
    process = EProcess(budget=0.02).after_all([True, False] * 120)
    assert msgspec.json.decode(msgspec.json.encode(process), type=EProcess) == process


def test_the_bet_is_against_what_the_certificate_was_tested_for():
    judge = Judge(false_accept=0.1, false_reject=0.01)
    terms = Terms(max_error_rate=0.02, confidence=0.95, judge=judge)
    assert EProcess.against(terms).budget == pytest.approx(0.02 * 0.9 + 0.98 * 0.01)


@pytest.mark.parametrize("budget", [0, 1, -0.1])
def test_a_budget_that_cannot_be_bet_against_is_refused(budget):
    with pytest.raises(ConfigurationError):
        EProcess(budget=budget)


TERMS = Terms(max_error_rate=0.02, confidence=0.95, created=1e9, versions=Versions(model="a", embedder="e"))
CERTIFICATE = Certificate(
    terms=TERMS,
    threshold=0.9,
    tests=(ThresholdTest.of(0.9, 400, 1, 0.02),),
    error_upper=0.012,
    pilot=100,
    labels=600,
    digest="",
)


@pytest.mark.parametrize(
    ("now", "labels", "versions", "words"),
    [
        (1e9 + DAY, 10, TERMS.versions, ""),
        (1e9 + DAY, 499, TERMS.versions, ""),
        (1e9 + DAY, 500, TERMS.versions, "500 labels"),
        (1e9 + 7 * DAY, 0, TERMS.versions, "7.0 days"),
        (1e9, 0, replace(TERMS.versions, model="b"), "another model"),
        (1e9, 0, replace(TERMS.versions, embedder="f"), "another embedder"),
        (1e9, 0, replace(TERMS.versions, knowledge="2026-11"), "another knowledge"),
    ],
)
def test_when_to_certify_again(now, labels, versions, words):
    due = recalibration_due(CERTIFICATE, now=now, labels_since=labels, versions=versions)
    assert words in due
    assert bool(due) == bool(words)


def test_attempts_wait_for_a_fixed_number_of_labels():
    waits = [labels_for_attempt(attempt, TERMS) for attempt in range(1, 8)]
    assert waits == [253, 379, 568, 852, 1278, 1778, 2278]
