"""Which scores serve: a verifier stays while it may help, and goes where labels certify that it doesn't."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.calibrate import Certificate, Shortfall, Terms, certify
from yamabiko.core.contest import drawn_beside, highest_rate, in_force, outdone, served
from yamabiko.core.sampling import Design, Label, Sample, audit_lot, census
from yamabiko.core.states import Position, State
from yamabiko.ports import Mix

TERMS = Terms(max_error_rate=0.2, confidence=0.9)
MIX = Mix(name="v", bias=0.0, score=1.0, verifier=1.0, rows=((0.9, 100, 1),))
NAMES = [f"{at:032x}" for at in range(400)]


def sample(scores, correct, rate=1.0):
    drawn = [(n, s, c) for n, s, c in zip(NAMES, scores, correct, strict=False) if audit_lot(n) < rate and s >= 0.5]
    design = replace(census("d", floor=0.5, drawn=len(drawn)), below=rate, above=rate)
    return Sample.of([Label(request=n, score=s, correct=c, design="d") for n, s, c in drawn], [design])


def position(threshold=None, calibration="none", mix=None, behind="", rate=0.1):
    design = None if rate is None else Design(id="d", floor=0.5, threshold=0.5, below=rate, above=rate, drawn=0)
    state = State.SHADOW if threshold is None else State.SERVING
    return Position(
        namespace="n",
        state=state,
        threshold=threshold,
        calibration=calibration,
        reason="so it is",
        design=design,
        mix=mix,
        behind=behind,
    )


truths = st.lists(st.tuples(st.booleans(), st.floats(0.5, 0.999), st.floats(0.5, 0.999)), min_size=50, max_size=300)


@given(truths)
def test_it_gives_way_only_to_a_certificate_that_serves_as_much(rows):
    correct = [row[0] for row in rows]
    own, other = sample([row[1] for row in rows], correct), sample([row[2] for row in rows], correct)
    ours, theirs = certify(own, TERMS), certify(other, TERMS)
    why = outdone(ours, own, theirs, other)
    if why:
        assert isinstance(theirs, Certificate)
        failed = isinstance(ours, Shortfall) and ours.cause == "errors"
        assert failed or served(own, ours.threshold) <= served(other, theirs.threshold)
    elif isinstance(theirs, Certificate) and isinstance(ours, Certificate):
        assert served(own, ours.threshold) > served(other, theirs.threshold)
    if isinstance(ours, Certificate) and isinstance(theirs, Certificate):
        assert why or outdone(theirs, other, ours, own)  # one of two certified ones always gives way


@given(truths)
def test_scores_that_are_the_same_are_not_worth_asking_for(rows):
    both = sample([row[1] for row in rows], [row[0] for row in rows])
    outcome = certify(both, TERMS)
    assert bool(outdone(outcome, both, outcome, both)) == isinstance(outcome, Certificate)


def test_a_verifier_that_tells_right_from_wrong_stays_and_one_that_tells_nothing_goes():
    truth = [at % 3 != 0 for at in range(400)]
    blind = sample([0.6 + at % 4 * 0.01 for at in range(400)], truth)
    seeing = sample([0.95 if right else 0.55 for right in truth], truth)
    narrow = sample([0.95 if right and at % 2 else 0.55 for at, right in enumerate(truth)], truth)
    good, poor = certify(seeing, TERMS), certify(blind, TERMS)
    assert isinstance(good, Certificate)
    assert poor.cause == "errors"
    assert not outdone(good, seeing, poor, blind)
    assert "not" in outdone(poor, blind, good, seeing)
    assert "no more" in outdone(certify(narrow, TERMS), narrow, good, seeing)
    assert not outdone(None, blind, None, blind)


@given(st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_what_is_served_is_estimated_whatever_the_rate_of_drawing(rate):
    found = served(sample([0.9] * 400, [True] * 400, rate), 0.8)
    assert found == pytest.approx(400, rel=0.5)
    assert served(sample([0.9] * 400, [True] * 400, rate), 0.95) == 0


alone, measured = position(0.9, "uncalibrated"), position(0.8, "uncalibrated", MIX)


@pytest.mark.parametrize(
    ("contenders", "without", "wins"),
    [
        ([measured], alone, 0),
        ([measured], position(0.9, "certified"), None),  # a certificate goes before public data
        ([position(0.8, "certified", MIX)], position(0.9, "certified"), 0),
        ([position(None, mix=MIX)], alone, None),
        ([position(0.8, "certified", MIX, behind="so it is")], alone, None),
        ([position(0.8, "uncalibrated", replace(MIX, rows=()))], alone, None),
        ([position(0.8, "certified", replace(MIX, rows=()))], alone, 0),
        ([position(None, mix=replace(MIX, name="w")), measured], alone, 1),
        ([position(0.7, "certified", replace(MIX, name="w")), measured], alone, 0),
        ([], alone, None),
        ([position(None, mix=MIX)], position(None), 0),
        ([position(None, mix=MIX, rate=None)], position(None), None),
    ],
)
def test_who_is_in_force(contenders, without, wins):
    chosen = in_force(contenders, without)
    assert chosen.mix == (None if wins is None else contenders[wins].mix)
    assert chosen.threshold == (without if wins is None else contenders[wins]).threshold
    assert len(chosen.beside) == sum(other.design is not None for other in (*contenders, without)) - bool(chosen.design)


def test_without_the_verifier_the_reason_says_why():
    behind = position(0.8, "certified", MIX, behind="it serves no more")
    assert "it serves no more" in in_force([behind], alone).reason


def test_labels_for_scores_beside_cost_no_further_hit():
    eager = position(None, mix=MIX, rate=1.0)
    assert in_force([eager], alone).beside == ()  # would draw every hit
    assert len(in_force([eager], position(None, rate=1.0)).beside) == 1  # where nothing is served, all may be drawn
    assert highest_rate(position(0.9, rate=None)) == 0.0


def test_a_verifier_that_is_not_in_force_is_asked_only_where_the_lot_draws():
    chosen = in_force([position(None, mix=MIX)], alone)
    asked = [name for name in NAMES if drawn_beside(chosen, name).beside]
    assert asked == [name for name in NAMES if audit_lot(name) < 0.1]
