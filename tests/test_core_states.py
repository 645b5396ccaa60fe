"""What a namespace may serve by meaning, and what moves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.calibrate import Certificate, Shortfall, Terms, ThresholdTest
from yamabiko.core.drift import STOP, TIGHTEN, EProcess
from yamabiko.core.sampling import Design, Sample
from yamabiko.core.states import Evidence, Standing, State, audit_rate, back_off, transition

TERMS = Terms(max_error_rate=0.02, confidence=0.95, namespace="shared/support")
CERTIFICATE = Certificate(
    terms=TERMS,
    threshold=0.85,
    tests=(ThresholdTest.of(0.95, 300, 0, 0.02), ThresholdTest.of(0.85, 500, 2, 0.02)),
    error_upper=0.0126,
    pilot=100,
    labels=700,
    digest="abc",
)
CALM = EProcess(budget=0.02).after_all([False] * 100)
DOUBT = replace(CALM, peak=33.0, wrong=9)
ALARM = replace(CALM, peak=250.0, wrong=20)


def shortfall(cause, needed=None):
    return Shortfall(
        terms=TERMS, cause=cause, reason=f"{cause} fall short", needed=needed, tests=(), pilot=0, labels=9, digest=""
    )


FEW, BAD = shortfall("labels", 140), shortfall("errors")
SERVING = Evidence(certificate=CERTIFICATE, process=CALM)


@pytest.mark.parametrize(
    ("state", "evidence", "then", "threshold", "words"),
    [
        (State.EXACT_ONLY, Evidence(), State.SHADOW, None, "labels can be had"),
        (State.EXACT_ONLY, Evidence(learning=False), State.EXACT_ONLY, None, "no judge"),
        (State.EXACT_ONLY, replace(SERVING, learning=False), State.SHADOW, None, "there is a certificate"),
        (State.EXACT_ONLY, replace(SERVING, learning=False, process=ALARM), State.EXACT_ONLY, None, "no judge"),
        (State.SHADOW, Evidence(), State.SHADOW, None, "nothing has been certified"),
        (State.SHADOW, Evidence(shortfall=FEW), State.SHADOW, None, "labels fall short"),
        (State.SHADOW, Evidence(shortfall=FEW, learning=False), State.EXACT_ONLY, None, "labels fall short"),
        (State.SHADOW, SERVING, State.SERVING, 0.85, "2 of 500 in the test were wrong"),
        (State.SHADOW, replace(SERVING, process=DOUBT), State.SHADOW, None, "E rose to 33"),
        (State.SHADOW, replace(SERVING, outdated="embedder"), State.SHADOW, None, "another embedder"),
        (State.SERVING, SERVING, State.SERVING, 0.85, "at most 1.26% wrong per hit from score 0.8500 on"),
        (State.SERVING, replace(SERVING, process=DOUBT), State.TIGHTENED, 0.95, "9 of 100 audits"),
        (State.SERVING, replace(SERVING, process=ALARM), State.EXACT_ONLY, None, "E rose to 250, at or above 100"),
        (State.SERVING, replace(SERVING, outdated="model"), State.EXACT_ONLY, None, "another model"),
        (State.SERVING, Evidence(shortfall=BAD), State.EXACT_ONLY, None, "errors fall short"),
        (State.SERVING, replace(SERVING, shortfall=BAD), State.TIGHTENED, 0.95, "do not renew"),
        (State.SERVING, replace(SERVING, shortfall=FEW), State.SERVING, 0.85, "at 95% confidence"),
        (State.TIGHTENED, replace(SERVING, process=DOUBT), State.TIGHTENED, 0.95, "at or above 20"),
        (State.TIGHTENED, replace(SERVING, process=ALARM), State.EXACT_ONLY, None, "at or above 100"),
        (State.TIGHTENED, SERVING, State.SERVING, 0.85, "at most 1.26%"),
        (State.TIGHTENED, Evidence(), State.EXACT_ONLY, None, "nothing has been certified"),
    ],
)
def test_each_move_has_its_reason_with_numbers(state, evidence, then, threshold, words):
    standing = transition(state, evidence)
    assert (standing.state, standing.threshold) == (then, threshold)
    assert words in standing.reason


MOVES = {
    State.EXACT_ONLY: {State.SHADOW},
    State.SHADOW: {State.SERVING, State.EXACT_ONLY},
    State.SERVING: {State.TIGHTENED, State.EXACT_ONLY},
    State.TIGHTENED: {State.SERVING, State.EXACT_ONLY},
}


@given(
    st.sampled_from(State),
    st.builds(
        Evidence,
        certificate=st.sampled_from([None, CERTIFICATE]),
        outdated=st.sampled_from(["", "model"]),
        shortfall=st.sampled_from([None, FEW, BAD]),
        process=st.sampled_from([None, CALM, DOUBT, ALARM]),
        learning=st.booleans(),
    ),
)
def test_whatever_the_evidence_only_a_certificate_in_good_standing_serves(state, evidence):
    standing = transition(state, evidence)
    assert standing.state is state or standing.state in MOVES[state]
    serves = standing.state in (State.SERVING, State.TIGHTENED)
    assert serves == (standing.threshold is not None)
    if serves:
        assert evidence.certificate is not None
        assert not evidence.outdated
        assert standing.threshold >= evidence.certificate.threshold
        assert evidence.process is None or evidence.process.peak < STOP
    if standing.state is State.SERVING:
        assert evidence.process is None or evidence.process.peak < TIGHTEN
    assert standing.reason


def test_evidence_that_stays_settles_to_a_state():
    for evidence in (SERVING, Evidence(), replace(SERVING, process=DOUBT), replace(SERVING, process=ALARM)):
        state, seen = State.EXACT_ONLY, []
        for _ in range(6):
            state = transition(state, evidence).state
            seen.append(state)
        assert seen[-1] == seen[-2] == seen[-3]


def test_a_lone_threshold_is_tightened_half_way_to_certainty():
    lone = replace(CERTIFICATE, tests=CERTIFICATE.tests[1:])
    assert transition(State.SERVING, Evidence(certificate=lone, process=DOUBT)) == Standing(
        state=State.TIGHTENED,
        threshold=pytest.approx(0.925),
        reason=transition(State.SERVING, replace(SERVING, process=DOUBT)).reason,
    )


def own_labels(wrong, count):
    design = Design(id="d", floor=0.5, threshold=0.8, below=1.0, above=1.0, drawn=count, requests=10 * count)
    return Sample(
        designs=(design,),
        scores=np.full(count, 0.9),
        wrong=np.arange(count) < wrong,
        audit_lots=np.zeros(count),
        pilot_lots=np.zeros(count),
        design=np.zeros(count, dtype=np.intp),
        missing=(0,),
        digest="own",
    )


def test_its_own_certificate_comes_first():
    parent = replace(CERTIFICATE, terms=replace(TERMS, namespace="shared"))
    assert back_off([CERTIFICATE, parent])[0] is CERTIFICATE


@pytest.mark.parametrize("own", [None, FEW])
def test_while_labels_are_few_the_nearest_ancestor_speaks_for_it(own):
    parent = replace(CERTIFICATE, terms=replace(TERMS, namespace="shared"))
    found, reason = back_off([own, None, parent, CERTIFICATE])
    assert found is parent
    assert "'shared'" in reason


def test_an_ancestor_is_not_asked_once_its_own_labels_are_known_to_be_bad():
    assert back_off([BAD, CERTIFICATE]) == (None, "errors fall short")


def test_an_ancestor_is_not_believed_against_the_few_labels_there_are():
    found, reason = back_off([FEW, CERTIFICATE], own_labels(3, 20))
    assert found is None
    assert "3 of its own 20 were wrong" in reason
    assert back_off([FEW, CERTIFICATE], own_labels(1, 20))[0] is CERTIFICATE
    per_request = replace(TERMS, on="request")
    ancestor = replace(CERTIFICATE, terms=per_request)
    assert back_off([FEW, ancestor], own_labels(3, 20))[0] is ancestor  # 3 of 200 requests
    assert back_off([FEW, ancestor], own_labels(12, 20))[0] is None


def test_nothing_anywhere_says_what_is_missing():
    assert back_off([None, FEW, None]) == (None, "labels fall short")
    assert back_off([]) == (None, "nothing has been certified yet")


def test_audits_are_more_frequent_where_less_is_known():
    assert audit_rate(State.EXACT_ONLY, 0) == 0
    assert audit_rate(State.SHADOW, 0) == 1
    assert audit_rate(State.SERVING, 199) == 0.2
    assert audit_rate(State.SERVING, 200) == 0.1
    assert audit_rate(State.TIGHTENED, 5000) > audit_rate(State.SERVING, 0)
    assert audit_rate(State.SERVING, 5000, CALM) == 0.1
    assert audit_rate(State.SERVING, 5000, CALM.after_all([True] * 8)) == audit_rate(State.TIGHTENED, 5000)
