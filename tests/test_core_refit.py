"""A team's own weights: taken only where later labels certify that they serve more."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.calibrate import Certificate, Terms
from yamabiko.core.refit import FEWEST_LABELS, Judged, fitted, refit, score_of
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix

MIX = Mix(name="v", bias=0.0, score=1.0, verifier=0.2, low=0.0, high=1.0)
TERMS = Terms(max_error_rate=0.05, confidence=0.95)


def labels(count, *, telling, seed=1, share=0.6):
    """Look-ups whose score tells nothing; ``telling``: how much the verifier's word does, in log-odds."""
    draw = random.Random(seed)
    made = []
    for at in range(count):
        right = draw.random() < share
        said = draw.gauss(telling if right else -telling, 1.5)
        made.append(
            Judged(id=f"{at:032x}", alone=min(0.99, max(0.01, draw.gauss(0.8, 0.08))), log_odds=said, correct=right)
        )
    return made


def test_weights_that_believe_a_telling_verifier_more_serve_more_and_are_taken():
    found = refit(labels(1500, telling=3.0), MIX, TERMS)
    assert found.better
    assert found.mix.verifier > MIX.verifier
    assert isinstance(found.after, Certificate)
    assert found.served > found.served_before
    assert found.mix.rows == ()
    assert "certifiably serve more" in found.why


@pytest.mark.parametrize("telling", [0.0, -2.0])
def test_a_verifier_that_tells_nothing_changes_nothing(telling):
    found = refit(labels(1500, telling=telling), replace(MIX, verifier=1.0), TERMS)
    assert not found.better


def test_weights_that_are_right_already_are_kept():
    good = refit(labels(1500, telling=3.0), MIX, TERMS).mix
    assert not refit(labels(1500, telling=3.0, seed=2), good, TERMS).better


@pytest.mark.parametrize("count", [0, 1, FEWEST_LABELS - 1])
def test_too_few_labels_are_refused_and_it_says_how_many_are_missing(count):
    with pytest.raises(ConfigurationError, match=f"{FEWEST_LABELS - count} are missing"):
        refit(labels(count, telling=1.0), MIX, TERMS)


@given(
    st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(-20, 20), st.booleans()), min_size=1, max_size=60),
    st.floats(0, 3),
)
@settings(deadline=None)
def test_whatever_the_labels_the_weights_are_sound_and_a_surer_verifier_never_lowers_a_score(rows, weight):
    given_labels = [Judged(id=str(at), alone=a, log_odds=v, correct=c) for at, (a, v, c) in enumerate(rows)]
    mix = fitted(given_labels, replace(MIX, verifier=weight))
    assert all(map(math.isfinite, (mix.bias, mix.score, mix.verifier, mix.doubt)))
    assert min(mix.score, mix.verifier, mix.doubt) >= 0
    scores = [score_of(Judged(id="x", alone=0.7, log_odds=v, correct=True), mix) for v in (-9, -1, 0, 1, 9)]
    assert scores == sorted(scores)


def test_later_labels_that_contradict_the_earlier_ones_undo_what_was_fitted():
    turned = labels(900, telling=3.0) + [
        replace(label, id=f"later{label.id}", correct=not label.correct) for label in labels(600, telling=3.0, seed=3)
    ]
    found = refit(turned, MIX, TERMS)
    assert not found.better
    assert "not certified" in found.why


def test_of_labels_that_were_drawn_at_several_rates_only_a_plain_random_sample_tries():
    mixed = [replace(label, rate=0.3 if at % 2 else 1.0) for at, label in enumerate(labels(2000, telling=3.0))]
    assert refit(mixed, MIX, TERMS).tested == pytest.approx(0.3 * 800, rel=0.25)
