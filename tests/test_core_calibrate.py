"""Certificates: the promise holds as often as it says, for the threshold as selected, and only on labels drawn at random."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core import binomial, calibrate
from yamabiko.core.calibrate import TRUSTED, Certificate, Judge, Shortfall, Terms, Versions, certify
from yamabiko.core.sampling import Design, Label, Sample, census
from yamabiko.errors import ConfigurationError

DRAWS = 2000
TERMS = Terms(max_error_rate=0.02, confidence=0.95)


class World:
    """Requests with scores uniform in [0.5, 1], wrong with the probability of their step: true rates are known."""

    def __init__(self, *steps):
        self.steps = steps  # (from score, probability to be wrong), ascending

    def wrong_probability(self, scores):
        starts, rates = np.array(self.steps).T
        return rates[np.searchsorted(starts, scores, side="right") - 1]

    def per_request(self, threshold):
        """P(score >= threshold and wrong)."""
        ends = [start for start, _ in self.steps[1:]] + [1.0]
        areas = ((end - max(start, threshold)) * rate for (start, rate), end in zip(self.steps, ends, strict=True))
        return sum(area for area in areas if area > 0) / 0.5

    def per_hit(self, threshold):
        return self.per_request(threshold) * 0.5 / (1 - threshold)

    def true(self, threshold, on):
        return self.per_hit(threshold) if on == "hit" else self.per_request(threshold)

    def sample(self, rng, requests, *, judge=TRUSTED, design=None):
        """What a design draws of so many requests, judged by a judge that errs as it says."""
        design = design or Design(id="d", floor=0.5, threshold=0.9, below=1.0, above=1.0, drawn=0)
        scores, lots = rng.uniform(0.5, 1, requests), rng.random(requests)
        drawn = lots < np.where(scores >= design.threshold, design.above, design.below)
        scores, lots = scores[drawn], lots[drawn]
        wrong = rng.random(len(scores)) < self.wrong_probability(scores)
        seen = rng.random(len(scores)) < np.where(wrong, 1 - judge.false_accept, judge.false_reject)
        return Sample(
            designs=(replace(design, drawn=len(scores), requests=requests),),
            scores=scores,
            wrong=seen,
            audit_lots=lots,
            pilot_lots=rng.random(len(scores)),
            design=np.zeros(len(scores), dtype=np.intp),
            missing=(0,),
            digest="simulated",
        )


class OneScore(World):
    """All candidates have one score: there is no threshold to flee to, and every request is a hit."""

    def sample(self, rng, requests, **options):
        taken = super().sample(rng, requests, **options)
        return replace(taken, scores=np.full(len(taken), 0.95))

    def per_request(self, threshold):
        return self.steps[0][1]

    def per_hit(self, threshold):
        return self.steps[0][1]


GOOD = World((0.5, 0.2), (0.7, 0.002))
EDGE = World((0.5, 0.0201))  # every threshold breaks a promise of 2 % per hit by a hair
TRAP = World((0.5, 0.4), (0.6, 0.06), (0.8, 0.0))  # a strict threshold is fine, every loose one is not
FLAT = OneScore((0.5, 0.0201))
STEP = World((0.5, 0.0404), (0.75, 0.0002))  # bad by a hair at the loosest threshold, and only there
UPSIDE = World((0.5, 0.0), (0.9, 0.12))  # wrong where the score is highest
NOISY = Judge(false_accept=0.15, false_reject=0.004)


def outcomes(world, terms, *, requests, judge=TRUSTED, design=None, draws=DRAWS, measured=None):
    """For each seeded draw: the true rate at the certified threshold and its stated bound, or None."""
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        if measured:
            terms = replace(terms, judge=measured(rng))
        found = certify(world.sample(rng, requests, judge=judge, design=design), terms)
        yield (world.true(found.threshold, terms.on), found.error_upper) if isinstance(found, Certificate) else None


def measure(rng):
    """A judge with the errors of NOISY, of which only a sample of known pairs tells."""
    accepted = rng.binomial(400, NOISY.false_accept)
    return Judge.measured(wrong=400, accepted=accepted, correct=2000, rejected=rng.binomial(2000, NOISY.false_reject))


@pytest.mark.parametrize(
    ("world", "terms", "requests", "noise"),
    [
        (EDGE, TERMS, 500, None),
        (FLAT, TERMS, 1400, NOISY),
        (FLAT, replace(TERMS, on="request"), 900, None),
        (FLAT, replace(TERMS, on="request"), 1400, NOISY),
    ],
    ids=["hit", "hit, noisy judge", "request", "request, noisy judge"],
)
def test_the_selected_threshold_keeps_the_promise_as_often_as_it_says(world, terms, requests, noise):
    measured = measure if noise else None
    half = Design(id="d", floor=0.5, threshold=0.9, below=0.5, above=0.5, drawn=0) if world is FLAT else None
    found = list(outcomes(world, terms, requests=requests, judge=noise or TRUSTED, measured=measured, design=half))
    broken = sum(rate > terms.max_error_rate for rate, _ in filter(None, found))
    above_bound = sum(rate > bound for rate, bound in filter(None, found))
    assert broken / DRAWS <= 1 - terms.confidence
    assert above_bound / DRAWS <= 1 - terms.confidence


@pytest.mark.parametrize("world", [TRAP, STEP, UPSIDE])
def test_three_thresholds_are_no_three_chances(world):
    found = list(outcomes(world, TERMS, requests=1500, draws=400))
    assert sum(rate > 0.02 for rate, _ in filter(None, found)) / 400 <= 0.05
    assert sum(rate > bound for rate, bound in filter(None, found)) / 400 <= 0.05


def test_a_good_score_is_certified_and_serves_most_of_what_it_might():
    found = [certify(GOOD.sample(np.random.default_rng(seed), 1500), TERMS) for seed in range(100)]
    thresholds = [outcome.threshold for outcome in found if isinstance(outcome, Certificate)]
    assert len(thresholds) >= 90
    assert np.median(thresholds) < 0.75  # of 0.7, from where on next to nothing is wrong


def test_a_noisy_judge_that_is_believed_breaks_the_promise():
    """The other half of the property: what the correction is for."""
    leaky = Judge(false_accept=0.5)
    world = World((0.5, 0.03))
    trusted = [*outcomes(world, TERMS, requests=1500, judge=leaky, draws=300)]
    corrected = [*outcomes(world, replace(TERMS, judge=leaky), requests=1500, judge=leaky, draws=300)]
    assert np.mean([outcome is not None for outcome in trusted]) > 0.1
    assert np.mean([outcome is not None for outcome in corrected]) <= 0.05


def test_a_strict_judge_is_of_use_once_its_false_rejects_are_known():
    strict = Judge(false_reject=0.03)
    clean = World((0.5, 0.0))
    unknown = [*outcomes(clean, TERMS, requests=2000, judge=strict, draws=50)]
    known = [*outcomes(clean, replace(TERMS, judge=strict), requests=2000, judge=strict, draws=50)]
    assert sum(outcome is not None for outcome in unknown) <= 2
    assert sum(outcome is not None for outcome in known) >= 45


def test_testing_again_and_again_keeps_to_the_doubt_only_when_attempts_are_counted():
    def ever(counted):
        passed = 0
        for seed in range(150):
            whole = EDGE.sample(np.random.default_rng(seed), 2500)
            terms = [replace(TERMS, attempt=attempt if counted else 0) for attempt in range(1, 11)]
            tries = (certify(whole.only(np.arange(250 * n)), term) for n, term in enumerate(terms, start=1))
            passed += any(isinstance(found, Certificate) for found in tries)
        return passed / 150

    assert ever(counted=False) > 0.08
    assert ever(counted=True) <= 0.05


def test_all_attempts_together_have_the_doubt_of_one():
    levels = [replace(TERMS, attempt=attempt).level for attempt in range(1, 5000)]
    assert 0.0499 < sum(levels) <= TERMS.level == pytest.approx(0.05)


# The ratchet: labels of rejected pairs alone, and labels that are left out.

AUDITED = Design(id="d", floor=0.5, threshold=0.9, below=0.8, above=0.2, drawn=0)
UNAUDITED = replace(AUDITED, above=0.0)


def test_rejected_pairs_alone_never_calibrate():
    """Without audits of hits the grey zone looks perfect, while a fifth of the hits is wrong."""
    world = World((0.5, 0.0), (0.9, 0.2))
    for seed in range(50):
        rejected = world.sample(np.random.default_rng(seed), 5000, design=UNAUDITED)
        believed = np.count_nonzero(rejected.scores >= 0.6), int(np.sum(rejected.wrong))
        assert binomial.upper_bound(believed[1], believed[0], 0.95) < 0.02 < world.per_hit(0.6)  # what they seem to say
        found = certify(rejected, TERMS)
        assert isinstance(found, Shortfall)
        assert found.cause == "draw"
        assert "audit some of the would-be hits" in found.reason


def test_labels_of_hits_that_are_left_out_count_as_wrong():
    """Whoever drops the audits of a design has drawn them all the same."""
    world = World((0.5, 0.0), (0.9, 0.2))
    for seed in range(50):
        whole = world.sample(np.random.default_rng(seed), 5000, design=AUDITED)
        grey = whole.only(whole.scores < 0.9)
        dropped = replace(grey, missing=(len(whole) - len(grey),))
        assert isinstance(certify(dropped, TERMS), Shortfall)


def test_dropped_audits_are_noticed_in_real_labels_too():
    rng = np.random.default_rng(0)
    pairs = [(f"request-{n}", score) for n, score in enumerate(rng.uniform(0.5, 1, 4000).tolist())]
    drawn = [(request, score) for request, score in pairs if AUDITED.draws(request, score)]
    design = replace(AUDITED, drawn=len(drawn), requests=len(pairs))
    labels = [Label(request=request, score=score, correct=True, design="d") for request, score in drawn]
    assert isinstance(certify(Sample.of(labels, [design]), TERMS), Certificate)
    kept = [label for label in labels if label.score < 0.9]
    assert isinstance(certify(Sample.of(kept, [design]), TERMS), Shortfall)
    honest = replace(UNAUDITED, drawn=len(kept), requests=len(pairs))
    found = certify(Sample.of(kept, [honest]), TERMS)
    assert isinstance(found, Shortfall)
    assert found.cause == "draw"


def test_unequal_rates_of_drawing_keep_the_promise():
    """The grey zone drawn four times as often as the hits, in a world that is wrong where the hits are."""
    found = [*outcomes(UPSIDE, TERMS, requests=4000, design=AUDITED, draws=300)]
    assert np.mean([outcome is not None and outcome[0] > 0.02 for outcome in found]) <= 0.05
    per_request = replace(TERMS, max_error_rate=0.02, on="request")
    found = [*outcomes(UPSIDE, per_request, requests=4000, design=AUDITED, draws=300)]
    assert np.mean([outcome is not None and outcome[0] > 0.02 for outcome in found]) <= 0.05


def test_labels_of_several_designs_add_up():
    rng = np.random.default_rng(5)
    parts = [GOOD.sample(rng, 600, design=replace(AUDITED, above=above)) for above in (1.0, 0.05)]
    both = Sample(
        designs=tuple(part.designs[0] for part in parts),
        scores=np.concatenate([part.scores for part in parts]),
        wrong=np.concatenate([part.wrong for part in parts]),
        audit_lots=np.concatenate([part.audit_lots for part in parts]),
        pilot_lots=np.concatenate([part.pilot_lots for part in parts]),
        design=np.repeat([0, 1], [len(part) for part in parts]),
        missing=(0, 0),
        digest="both",
    )
    for threshold in (0.6, 0.95):
        assert np.count_nonzero(both.at(threshold)) == sum(np.count_nonzero(part.at(threshold)) for part in parts)


# What is missing, in words.


def test_no_labels_at_all_need_as_many_as_the_rule_of_three_and_a_pilot():
    found = certify(Sample.of([], []), TERMS)
    assert isinstance(found, Shortfall)
    assert (found.cause, found.needed) == ("labels", 199)  # 149, and a quarter of the whole for the pilot
    assert "2.00% wrong per hit at 95% confidence" in found.reason


@pytest.mark.parametrize("count", [1, 30, 120, 180])
def test_perfect_but_few_labels_say_how_many_more(count):
    clean = World((0.5, 0.0))
    found = certify(clean.sample(np.random.default_rng(1), count), TERMS)
    assert isinstance(found, Shortfall)
    assert found.cause == "labels"
    assert 1 <= found.needed <= 700
    more = clean.sample(np.random.default_rng(2), count + 2 * found.needed + 50)
    assert isinstance(certify(more, TERMS), Certificate)


def test_what_no_number_of_labels_can_mend_says_so():
    found = certify(World((0.5, 0.3)).sample(np.random.default_rng(1), 3000), TERMS)
    assert isinstance(found, Shortfall)
    assert (found.cause, found.needed) == ("errors", None)
    assert "more labels of this kind won't do" in found.reason


def test_wrong_per_request_needs_the_number_of_requests():
    taken = GOOD.sample(np.random.default_rng(1), 2000)
    uncounted = replace(taken, designs=(replace(taken.designs[0], requests=0),))
    found = certify(uncounted, replace(TERMS, on="request"))
    assert isinstance(found, Shortfall)
    assert "the number of requests was not counted" in found.reason
    assert isinstance(certify(uncounted, TERMS), Certificate)


def test_no_threshold_lies_below_the_lowest_score_allowed():
    taken = World((0.5, 0.0)).sample(np.random.default_rng(1), 5000)
    for least in (0.5, 0.8, 0.9):
        assert certify(taken, replace(TERMS, min_score=least)).threshold >= least


def test_of_all_requests_fewer_are_wrong_than_of_the_hits():
    taken = GOOD.sample(np.random.default_rng(1), 4000)
    found = certify(taken, replace(TERMS, on="request"))
    assert found.threshold <= certify(taken, TERMS).threshold
    assert found.test.trials == 4000


# The certificate as a document.


@pytest.fixture(scope="module")
def certified():
    rng = np.random.default_rng(3)
    design = census("import", floor=0.5, drawn=1500, requests=3000)
    scores = rng.uniform(0.5, 1, 1500)
    wrong = rng.random(1500) < GOOD.wrong_probability(scores)
    labels = [
        Label(request=f"r{n}", score=score, correct=not bad, design="import")
        for n, (score, bad) in enumerate(zip(scores.tolist(), wrong.tolist(), strict=True))
    ]
    sample = Sample.of(labels, [design])
    terms = replace(TERMS, namespace="shared/support", created=1.8e9, versions=Versions(score="v1", embedder="use"))
    found = certify(sample, terms)
    assert isinstance(found, Certificate)
    return found, sample


def test_a_certificate_goes_through_json_and_is_checked_against_its_labels(certified):
    certificate, sample = certified
    again = calibrate.from_json(calibrate.to_json(certificate))
    assert again == certificate
    assert calibrate.recheck(again, sample)
    assert not calibrate.recheck(again, replace(sample, digest="others"))
    assert json.loads(calibrate.to_json(certificate))["terms"]["max_error_rate"] == 0.02


def test_a_certificate_has_the_numbers_that_show_it(certified):
    certificate, _ = certified
    test = certificate.test
    assert test.p_value == pytest.approx(binomial.cdf(test.wrong, test.trials, 0.02))
    assert test.p_value <= 0.05
    assert certificate.error_upper <= 0.02
    assert certificate.strict_threshold > certificate.threshold or len(certificate.tests) > 1
    assert certificate.pilot <= 400 < certificate.labels == 1500


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(threshold=0.5),
        lambda told: told["tests"][-1].update(wrong=400),
        lambda told: told["tests"][0].update(p_value=1e-9),
        lambda told: told["terms"].update(max_error_rate=0.001),
        lambda told: told["terms"].update(confidence=0.9999999),
        lambda told: told.update(error_upper=0.3),
        lambda told: told.update(tests=[]),
        lambda told: told.pop("digest"),
    ],
)
def test_a_certificate_that_was_tampered_with_is_refused(certified, change):
    told = json.loads(calibrate.to_json(certified[0]))
    change(told)
    with pytest.raises(ConfigurationError, match="certify again"):
        calibrate.from_json(json.dumps(told))


def test_a_shortfall_goes_through_json_too():
    told = json.loads(calibrate.to_json(certify(Sample.of([], []), TERMS)))
    assert told["cause"] == "labels"


@given(st.integers(0, 10_000), st.sampled_from(["hit", "request"]), st.floats(0.005, 0.1))
@settings(max_examples=60, deadline=None)
def test_the_last_passed_threshold_wins_and_everything_stricter_passed(seed, on, rate):
    rng = np.random.default_rng(seed)
    found = certify(GOOD.sample(rng, int(rng.integers(1, 3000))), replace(TERMS, on=on, max_error_rate=rate))
    passed = [test.p_value <= found.terms.level for test in found.tests]
    assert passed == sorted(passed, reverse=True)
    assert sum(not ok for ok in passed) <= 1
    if isinstance(found, Certificate):
        assert found.threshold == found.tests[sum(passed) - 1].threshold
    else:
        assert not any(passed)
        assert found.reason
        assert found.needed is None or found.needed >= 1


@given(st.floats(0.001, 0.5), st.floats(0, 0.4), st.floats(0, 0.4), st.sampled_from(["hit", "request"]))
def test_a_judges_view_of_a_rate_leads_back_to_it(rate, accepts, rejects, on):
    judge = Judge(false_accept=accepts, false_reject=rejects)
    assert judge.true(judge.seen(rate, on), on) >= rate - 1e-12
    if on == "hit":
        assert judge.true(judge.seen(rate, on), on) == pytest.approx(rate)


def test_versions_say_what_changed():
    assert Versions(embedder="a").changes(Versions(embedder="b", model="m")) == "embedder, model"
    assert Versions().changes(Versions()) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_error_rate": 0},
        {"max_error_rate": 0.6},
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"on": "answer"},
        {"attempt": -1},
        {"judge": Judge(doubt=0.05)},
    ],
)
def test_terms_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        replace(TERMS, **wrong)


def test_a_judge_that_tells_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="another judge"):
        Judge(false_accept=0.7, false_reject=0.3)


def test_a_test_without_trials_shows_nothing():
    assert calibrate.ThresholdTest.of(0.9, 0, 0, 0.02).p_value == 1.0
