"""Which labels may calibrate: only those that a design drew, whatever somebody would like to add."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.sampling import Design, Label, Sample, audit_lot, census, lot, pilot_lot
from yamabiko.errors import ConfigurationError

DESIGN = Design(id="monday", floor=0.5, threshold=0.9, below=0.6, above=0.2, drawn=0, requests=1000)


def drawn(design, count, *, scores=(0.6, 0.95), name="r"):
    """Ids and scores of the first ``count`` requests that a design draws, with scores in turn."""
    requests = ((f"{name}{n}", scores[n % len(scores)]) for n in itertools.count())
    return list(itertools.islice((pair for pair in requests if design.draws(*pair)), count))


def labels(design, pairs, correct=True):
    return [Label(request=request, score=score, correct=correct, design=design.id) for request, score in pairs]


def sample(count, design=DESIGN):
    found = labels(design, drawn(design, count))
    counted = Design(**{**{f: getattr(design, f) for f in design.__dataclass_fields__}, "drawn": count})
    return Sample.of(found, [counted])


def test_a_lot_is_stable_and_depends_on_name_purpose_and_key():
    assert lot("audit", "a") == lot("audit", "a")
    others = [lot("audit", "b"), lot("pilot", "a"), lot("audit", "a", key=b"k"), lot("audi", "ta")]
    assert len({lot("audit", "a"), *others}) == 5


def test_lots_are_uniform_and_those_for_audits_and_pilots_are_independent():
    ids = [f"request-{n}" for n in range(20_000)]
    audits, pilots = np.array([audit_lot(i) for i in ids]), np.array([pilot_lot(i) for i in ids])
    counts, _ = np.histogram(audits, bins=20, range=(0, 1))
    assert np.sum((counts - 1000.0) ** 2 / 1000) < 45  # chi-square with 19 degrees of freedom: p = 0.0007
    assert abs(np.corrcoef(audits, pilots)[0, 1]) < 0.03


@given(st.floats(0.5, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_common_probability_is_the_lowest_of_all_scores_from_there_on(threshold, below, above):
    design = Design(id="d", floor=0.5, threshold=0.9, below=below, above=above, drawn=0)
    scores = np.append(np.linspace(threshold, 1, 50), 1.0)
    assert design.common(threshold) == min(design.inclusion(score) for score in scores)


def test_nothing_is_known_of_thresholds_below_the_floor():
    assert DESIGN.common(0.49) == 0
    assert DESIGN.inclusion(0.49) == 0
    assert DESIGN.inclusion(float("nan")) == 0


def test_labels_at_a_threshold_have_one_probability_however_they_were_drawn():
    taken = sample(600)
    low, high = taken.at(0.55), taken.at(0.92)
    assert np.all(taken.audit_lots[low] < 0.2)
    assert np.all(taken.scores[high] == 0.95)
    share_of_hits = np.mean(taken.scores[low] == 0.95)
    assert 0.4 < share_of_hits < 0.6  # as among requests, though grey-zone pairs were drawn three times as often
    assert np.mean(taken.scores == 0.95) < 0.35


def test_feedback_on_a_request_that_was_not_drawn_is_refused():
    volunteered = next(f"f{n}" for n in range(1000) if not DESIGN.draws(f"f{n}", 0.95))
    with pytest.raises(ConfigurationError, match="feedback and hand-picked pairs may not"):
        Sample.of([Label(request=volunteered, score=0.95, correct=False, design="monday")], [DESIGN])


def test_a_label_without_a_known_design_is_refused():
    pair = labels(DESIGN, drawn(DESIGN, 1))
    with pytest.raises(ConfigurationError, match="not drawn"):
        Sample.of(pair, [census("import", floor=0.5, drawn=1)])


def test_a_request_counts_once_and_no_more_than_were_drawn():
    pair = labels(DESIGN, drawn(DESIGN, 1))
    with pytest.raises(ConfigurationError, match="two labels"):
        Sample.of([*pair, *pair], [DESIGN])
    with pytest.raises(ConfigurationError, match="1 labels for 0 drawn"):
        Sample.of(pair, [DESIGN])


def test_what_was_drawn_and_has_no_label_is_remembered():
    design = Design(id="monday", floor=0.5, threshold=0.9, below=0.6, above=0.2, drawn=10)
    taken = Sample.of(labels(design, drawn(design, 7)), [design])
    assert taken.missing_at(0.6) == taken.missing_at(0.95) == 3
    assert taken.missing_at(0.4) == 0


def test_the_digest_tells_labels_apart_but_not_their_order():
    design = Design(id="monday", floor=0.5, threshold=0.9, below=0.6, above=0.2, drawn=10)
    pairs = labels(design, drawn(design, 10))
    same = Sample.of(reversed(pairs), [design]).digest
    assert Sample.of(pairs, [design]).digest == same
    flipped = [*pairs[:-1], *labels(design, [(pairs[-1].request, pairs[-1].score)], correct=False)]
    assert Sample.of(flipped, [design]).digest != same


def test_a_census_draws_everything_from_its_floor_on():
    design = census("import", floor=0.3, drawn=2)
    taken = Sample.of(labels(design, [("a", 0.31), ("b", 0.99)]), [design])
    assert taken.at(0.3).all()
    with pytest.raises(ConfigurationError):
        Sample.of(labels(design, [("a", 0.29)]), [design])


@pytest.mark.parametrize("wrong", [{"below": 1.2}, {"above": -0.1}, {"floor": 0.95}, {"floor": float("nan")}, {"drawn": -1}, {"drawn": 2000}])  # fmt: skip
def test_a_design_that_cannot_be_is_refused(wrong):
    fields = {"id": "d", "floor": 0.5, "threshold": 0.9, "below": 0.5, "above": 0.5, "drawn": 5, "requests": 1000}
    with pytest.raises(ConfigurationError):
        Design(**{**fields, **wrong})
