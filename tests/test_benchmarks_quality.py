"""What benchmarks/quality.py counts and how it decides for others: on data small enough to know the answer."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import quality_arms as arms
import quality_compare as comparing
import quality_pairs as pairing
import quality_promise as promising
import quality_streams as streams
import quality_vcache as vcache
from labelled import Pair
from quality_public import Public, latencies
from quality_report import figures
from quality_tally import Tally, area_under_roc, average_precision, interval, most_hits, rate, table, total
from yamabiko import Policy
from yamabiko.core.score import FEATURES, Ramp, ScoreModel, Term
from yamabiko.testing import FakeEmbedder

SIMILARITIES = st.floats(0, 1, allow_nan=False)
OBSERVED = st.lists(st.tuples(SIMILARITIES, st.booleans()), min_size=1, max_size=30)
DELTAS = st.floats(0.001, 0.5)


def embedded(texts):
    """Vectors of shared words, without a model."""
    embedder = FakeEmbedder(dim=96)
    rows = np.array([embedder.vector(text) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def model() -> ScoreModel:
    rising = (Ramp(FEATURES.index("similarity"), 0.5, 1.0),)
    return ScoreModel(
        embedder="fake",
        version="test",
        trained=False,
        floor=0.5,
        spread=1.0,
        intercept=-2.0,
        terms=(Term("similarity", rising, 6.0),),
        points=((0.0, 0.0), (1.0, 1.0)),
    )


def made_pairs(questions=60):
    """Each question in three wordings, and one that wants something else."""
    pairs = []
    for number in range(questions):
        topic = f"topic{number} matter{number} thing{number} detail{number}"
        first = f"please explain {topic}"
        pairs += [
            Pair("made", "test", first, f"explain {topic}", 1),
            Pair("made", "test", first, f"could you explain {topic}", 1),
            Pair("made", "test", first, f"please never explain {topic}", 0, "negation"),
        ]
    return pairs


# The arithmetic of the report.


def test_an_interval_is_clopper_and_pearsons():
    assert interval(0, 100) == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))
    low, high = interval(8, 20)  # the textbook example: 0.1912 to 0.6395
    assert (round(low, 4), round(high, 4)) == (0.1912, 0.6395)
    assert interval(0, 0) == (0.0, 1.0)


def test_a_rate_without_trials_is_no_rate():
    assert rate(0, 0)["rate"] is None
    assert rate(1, 4)["rate"] == 0.25


def test_wrong_per_hit_is_of_hits_by_meaning_and_wrong_per_request_of_all():
    tally = Tally()
    tally.hit("exact", right=True)
    tally.hit("semantic", right=True)
    tally.hit("semantic", right=False, kind="set")
    tally.miss()
    row = tally.row()
    assert row["wrong_per_hit"]["rate"] == 0.5
    assert row["wrong_per_request"]["rate"] == 0.25
    assert (row["exact"], row["alias"], row["semantic"], row["hit_rate"]) == (0.25, 0.0, 0.5, 0.75)
    assert row["model_calls"] == 1
    assert row["kinds"] == {"set": [1, 1]}
    assert tally.kept(0.5)
    assert not tally.kept(0.49)


def test_two_runs_as_one_are_their_sums():
    one, other = Tally(), Tally()
    one.hit("semantic", right=True, kind="a")
    other.hit("semantic", right=False, kind="a")
    other.miss()
    both = total([one, other])
    assert (both.requests, both.hits["semantic"], both.wrong["semantic"], both.kinds) == (3, 2, 1, {"a": [2, 1]})


def test_area_and_precision_of_a_ranking_known_by_hand():
    scores, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert area_under_roc(scores, correct) == 0.75
    assert average_precision(scores, correct) == pytest.approx((1 + 2 / 3) / 2)
    assert area_under_roc(np.ones(4), correct) == 0.5
    assert area_under_roc(scores, np.ones(4, dtype=bool)) is None
    assert average_precision(scores, np.zeros(4, dtype=bool)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40), st.floats(0, 0.9))
def test_most_hits_is_what_trying_every_threshold_finds(rows, budget):
    scores = np.array([score / 5 for score, _ in rows])
    correct = np.array([right for _, right in rows])
    best = 0
    for threshold in np.unique(scores):
        served = scores >= threshold
        if (served & ~correct).sum() <= budget * served.sum():
            best = max(best, int(served.sum()))
    threshold, hits, right = most_hits(scores, correct, budget)
    assert hits == best
    if threshold is not None:
        assert hits == (scores >= threshold).sum()
        assert right == ((scores >= threshold) & correct).sum()


def test_a_table_keeps_its_columns():
    assert table([{"a": "x", "b": 10}], ["a", "b"]) == "a   b\nx  10"


# vCache's rule.


@given(st.floats(0, 1), DELTAS)
def test_exploring_as_much_as_the_bound_asks_leaves_at_most_delta_wrong(alpha, delta):
    explored = vcache.exploration(alpha, delta)
    assert 0 <= explored <= 1
    assert (1 - explored) * (1 - alpha) <= delta + 1e-12
    if alpha < 1 - delta:  # and no more than it asks
        assert explored == pytest.approx(1 - delta / (1 - alpha))


@given(SIMILARITIES, OBSERVED, DELTAS)
@settings(max_examples=60, deadline=None)
def test_it_never_serves_more_than_its_best_bound_allows(similarity, observed, delta):
    fitted = vcache.fit(observed)
    tau = vcache.tau(similarity, observed, delta)
    if fitted is None:
        assert tau == 1
        return
    t, gamma, error = fitted
    # The best that any confidence could show of the fit, were nothing unsure about it.
    alpha = max(
        (1 - epsilon) * vcache.correctness(similarity, t + z * error, gamma)
        for epsilon, z in zip(vcache.EPSILONS, vcache.Z, strict=True)
    )
    assert (1 - tau) * (1 - alpha) <= delta + 1e-9
    assert error > 0


def test_nothing_observed_explores_always():
    assert vcache.tau(1.0, [], 0.02) == 1.0


def test_more_right_answers_nearby_are_explored_less_and_wrong_ones_more():
    few = vcache.tau(0.95, [(0.9, True)] * 2 + [(0.6, False)] * 2, 0.02)
    many = vcache.tau(0.95, [(0.9, True)] * 40 + [(0.6, False)] * 40, 0.02)
    against = vcache.tau(0.95, [(0.9, True)] * 40 + [(0.96, False)] * 40, 0.02)
    assert many < few <= 1
    assert against > many
    assert vcache.tau(0.95, [(0.9, True)] * 40 + [(0.8, False)] * 40, 0.02) < 0.2


def test_a_fit_finds_the_curve_that_made_the_labels():
    rng = np.random.default_rng(1)
    s = rng.uniform(0.5, 1, 4000)
    right = rng.random(4000) < 1 / (1 + np.exp(-30 * (s - 0.8)))
    t, gamma, error = vcache.fit(list(zip(s.tolist(), right.tolist(), strict=True)))
    assert abs(t - 0.8) < 4 * error < 0.02
    assert 25 < gamma < 35


# Streams.


def test_components_join_what_is_labelled_the_same():
    pairs = [Pair("p", "test", "A b", "c d", 1), Pair("p", "test", "c  D", "e f", 1), Pair("p", "test", "a b", "x", 0)]
    found = streams.components(pairs)
    assert found["a b"][0] == found["c d"][0] == found["e f"][0] != found["x"][0]


def test_what_is_close_and_not_labelled_different_is_not_in_one_pool():
    unlabelled = [
        Pair("p", "test", "how do i reset my password", "reset my password how", 1),
        Pair("p", "test", "how do i reset my own password", "my own password reset", 1),
    ]
    assert len(streams.pool_of_pairs(unlabelled, embedded)) == 2
    labelled = [*unlabelled, Pair("p", "test", "how do i reset my password", "how do i reset my own password", 0)]
    assert len(streams.pool_of_pairs(labelled, embedded)) == 4


def test_nearest_is_what_sorting_all_cosines_finds():
    vectors = embedded([f"word{i} word{i // 2} word{i // 5}" for i in range(40)])
    near, cosine = streams.nearest(vectors, 7)
    full = vectors @ vectors.T
    np.fill_diagonal(full, -2)
    assert np.allclose(cosine[:, :7], -np.sort(-full, axis=1)[:, :7], atol=1e-6)
    assert near.shape == (40, 7)


@pytest.mark.parametrize("order", ["random", "chronological", "drift"])
def test_a_stream_asks_each_wording_afresh_once_and_is_the_same_for_a_seed(order):
    pool = streams.pool_of_pairs(made_pairs(), embedded)
    one, again, other = (streams.stream(pool, order, requests=150, seed=seed) for seed in (1, 1, 2))
    assert one.requests.tolist() == again.requests.tolist() != other.requests.tolist()
    first_time = len(set(one.requests.tolist()))
    assert first_time == 120
    assert (one.change < len(one.requests)) == (order == "drift")
    moved = one.after != one.answer
    assert moved.any() == (order == "drift")


def test_without_duplicates_every_hit_is_wrong():
    pool = streams.pool_of_pairs(made_pairs(), embedded)
    made = streams.stream(pool, "random", requests=100, seed=1, duplicates=False, repeats=0.0)
    tally = arms.replay(arms.Threshold("any", pool, made.stored, arms.by_cosine, -1.0), made, pool)
    assert tally.hits["semantic"] > 50
    assert tally.wrong_per_hit == 1.0


# Arms.


def test_the_peers_defaults_are_the_cosines_that_they_come_to():
    assert arms.gptcache(0, [(1, 0.601)])[0][1] >= arms.GPTCACHE_THRESHOLD > arms.gptcache(0, [(1, 0.599)])[0][1]
    assert arms.redisvl(0, [(1, 0.901)])[0][1] >= arms.REDISVL_THRESHOLD > arms.redisvl(0, [(1, 0.899)])[0][1]


def test_a_guard_keeps_a_trap_from_being_served():
    pool = streams.pool_of_pairs(made_pairs(), embedded)
    made = streams.stream(pool, "random", requests=240, seed=1)
    kept = arms.Pairs(pool, model())
    bare = arms.replay(arms.Threshold("c", pool, made.stored, arms.by_cosine, 0.7), made, pool)
    safe = arms.replay(arms.Threshold("g", pool, made.stored, kept.guarded, 0.7), made, pool)
    assert bare.wrong["semantic"] > 0 == safe.wrong["semantic"]
    assert safe.hits["semantic"] > 0


def test_vcache_judges_every_exploration_and_stores_only_where_the_stored_answer_was_wrong():
    pool = streams.pool_of_pairs([Pair("p", "test", "reset my password", "my password reset", 1)], embedded)
    arm = arms.VCache("v", pool, pool.answer[:0], 0.02, seed=1)
    for question in (0, 1, 1, 1):
        assert arm.ask(question, pool.answer) is None
        arm.learn(question, pool.answer)
    assert arm.judged == 3  # the first one found nothing to judge; the second was right, so it was not stored


def test_what_was_audited_counts_as_calls_of_the_model():
    pool = streams.pool_of_pairs(made_pairs(), embedded)
    made = streams.stream(pool, "random", requests=200, seed=1)
    arm = arms.Entries("v2", pool, made.stored, arms.Pairs(pool, model()), 0.5, audited=1.0, seed=1)
    tally = arms.replay(arm, made, pool)
    assert tally.hits["semantic"] == arm.audits > 0
    assert tally.generated == tally.requests - sum(tally.hits.values()) + arm.audits


# The promise.


def test_recovery_counts_the_audits_until_the_rest_keeps_the_budget():
    bad, good = True, False
    assert promising.recovery([(0, good), (1, good)], 0.02) == 0
    assert promising.recovery([(0, bad), (1, bad), (2, bad), (3, good), (3, good)], 0.02) == 3
    assert promising.recovery([(0, bad), (4, bad)], 0.02) == 5
    assert promising.recovery([], 0.02) == 0


def test_a_cache_that_learns_serves_nothing_before_it_has_labels_and_something_after(monkeypatch):
    monkeypatch.setattr(promising, "shipped_threshold", lambda *_: None)
    pool = streams.pool_of_pairs(made_pairs(400), embedded)
    made = streams.stream(pool, "random", requests=1900, seed=1)
    pairs = arms.Pairs(pool, model())
    found = promising.run(promising.Learned("y", pool, made.stored, pairs, 0.05, run="t"), made, 0.05)
    assert found.states[0][1] == "shadow"
    assert found.states[-1][1] == "serving"
    assert found.whole.hits["semantic"] > 0
    assert found.kept(0.05)
    assert found.recovered is None
    assert promising.summary([found], 0.05)["kept"]["count"] == 1


# End to end.


def test_every_arm_runs_on_one_stream_and_the_report_reads_it(monkeypatch):
    monkeypatch.setattr(comparing, "CURVE", (0.8, 0.9))
    monkeypatch.setattr(comparing, "SCORES", (0.5, 0.9))
    pool = streams.pool_of_pairs(made_pairs(80), embedded)
    made = streams.stream(pool, "random", requests=260, seed=1)
    pairs = arms.Pairs(pool, model())
    thresholds = comparing.tuned(pool, made, pairs)
    row = comparing.compare(pool, made, pairs, thresholds, seed=1, quick=True)
    names = set(row["arms"])
    assert {"nothing by meaning", "GPTCache's default", "RedisVL's default", "vCache 0.02"} <= names
    assert {"Yamabiko, max_error_rate=0.02", "Yamabiko, max_error_rate=0.05"} <= names
    assert all(arm["requests"] == len(made.requests) for arm in row["arms"].values())
    assert set(row["best_in_hindsight"]) == {"cosine", "cosine + guards", "score v1", "score v2", "vCache"}
    shown = figures({"streams": {"made": row}})
    assert len(shown) == 4
    assert all(set(line) == {"figure", "bar", "measured", "met"} for line in shown)


def test_pairs_are_scored_alone_and_together_and_calibrated_on_the_other_half(monkeypatch):
    monkeypatch.setattr(pairing, "embed", lambda texts, _: embedded(texts))
    dev = pairing.alone(made_pairs(200), "fake", model())
    test = pairing.alone(made_pairs(40), "fake", model())
    found = pairing.measured(dev, test)
    kept = found["score"]["certified_5%"]
    assert kept["paraphrases_served"]["rate"] > 0.6
    assert kept["traps_answered"]["count"] == 0
    assert set(kept["traps_by_axis"]) == {"negation"}
    assert found["cosine"]["auc"] < found["score"]["auc"]
    pool = streams.pool_of_pairs(made_pairs(40), embedded)
    best, answerable = pairing.together(made_pairs(40), pool, arms.Pairs(pool, model()))
    scores, right = best["score"]
    assert answerable == 80
    assert 0 < right.sum() <= 80
    assert not (scores[~right] > 0.9).any()


def test_the_cache_itself_is_an_arm():
    pool = streams.pool_of_pairs(made_pairs(30), embedded)
    made = streams.stream(pool, "random", requests=110, seed=1)
    policy = Policy(max_error_rate=0.05, ttl_seconds=math.inf)
    with Public("cache", pool, made.stored, "fake", policy, judged=True) as arm:
        tally = arms.replay(arm, made, pool)
        assert tally.requests == len(made.requests)
        assert tally.hits["exact"] > 0
        assert tally.wrong["exact"] == 0
        assert arm.judged > 0  # in shadow, what would have been served is compared with what the model said
        assert latencies(arm)["cpu"]["miss"]["p50"] > 0
    with Public(
        "bare", pool, made.stored, "fake", replace(policy, max_error_rate=None, min_similarity=0.7), judged=False
    ) as arm:
        bare = arms.replay(arm, made, pool)
        assert bare.hits["semantic"] > 0 == arm.judged


def test_promises_that_were_never_put_to_the_test_are_not_called_met():
    quiet = {"kept": rate(20, 20), "ever_serving": 0, "recovered_after_audits": None}
    busy = {**quiet, "ever_serving": 20}
    shown = figures({"promise": {"quiet": quiet, "busy": busy}})
    assert [line["met"] for line in shown] == ["nothing served", "yes"]


@pytest.mark.parametrize(
    ("kind", "axis"),
    [
        ("negation_or_antonym", "negation"),
        ("Is person X != Did person use to be X", "time"),
        ("traditional SRL: wrong active / passive swap with people", "direction"),
        ("same adjectives, different people v3", "entity"),
        ("A or B is not the same as A and B", "scope"),
        ("unit_or_term", "number"),
        ("", "other"),
    ],
)
def test_traps_have_an_axis(kind, axis):
    assert pairing.axis_of(kind) == axis


def test_nothing_certified_says_what_is_missing():
    threshold, why = pairing.certified(np.array([0.9] * 20), np.array([True] * 20), 0.02)
    assert threshold is None
    assert "more labels" in why
    assert math.isclose(pairing.certified(np.full(800, 0.9), np.ones(800, dtype=bool), 0.02)[0], 0.9)
