"""Step 3: lives are absolute, and a hit never prolongs one."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.freshness import JITTER, freshness, lifetime, spread
from yamabiko.core.volatility import Volatility
from yamabiko.types import Entry, Policy, Reply, Scope


def entry(*, expires=math.inf, stale_until=math.inf, created=1000.0):
    return Entry(id="e", scope=Scope(content=b"c", digest=b"s"), questions=(), reply=Reply(text="a"), created=created, expires=expires, stale_until=stale_until)  # fmt: skip


@pytest.mark.parametrize(
    ("now", "state"),
    [(1000, "fresh"), (1099.999, "fresh"), (1100, "stale"), (1149.999, "stale"), (1150, "dead"), (9e9, "dead")],
)
def test_an_answer_is_fresh_then_stale_then_dead(now, state):
    assert freshness(entry(expires=1100, stale_until=1150), now) == state


def test_without_a_stale_window_an_answer_is_never_stale():
    assert freshness(entry(expires=1100, stale_until=1100), 1100) == "dead"


def test_an_answer_that_never_expires_stays_fresh():
    assert freshness(entry(), 9e99) == "fresh"


def test_an_answer_from_the_future_lives_by_its_expiry_alone():
    assert freshness(entry(created=5000, expires=1100, stale_until=1150), 1000) == "fresh"
    assert freshness(entry(created=5000, expires=1100, stale_until=1150), 1200) == "dead"


def test_life_follows_the_policy():
    assert lifetime(Policy(ttl_seconds=60, stale_seconds=30), 1000.0) == (1060.0, 1090.0)
    assert lifetime(Policy(ttl_seconds=60), 1000.0) == (1060.0, 1060.0)


@pytest.mark.parametrize("policy", [Policy(ttl_seconds=math.inf), Policy(ttl_seconds=math.inf, stale_seconds=9)])
def test_for_ever_is_for_ever(policy):
    assert lifetime(policy, 1000.0) == (math.inf, math.inf)


ORDER = ["fresh", "stale", "dead"]


@given(st.floats(1, 1e6), st.floats(0, 1e6), st.floats(0, 3e6), st.floats(0, 3e6))
def test_an_answer_never_gets_younger(ttl, stale, one, two):
    expires, stale_until = lifetime(Policy(ttl_seconds=ttl, stale_seconds=stale), 0.0)
    states = [
        ORDER.index(freshness(entry(expires=expires, stale_until=stale_until), now)) for now in sorted((one, two))
    ]
    assert states == sorted(states)


def test_the_class_of_a_question_shortens_a_life_and_never_prolongs_it():
    week = Policy(ttl_seconds=7 * 86400)
    assert lifetime(week, 1000.0, volatility=Volatility.MINUTES_5) == (1300.0, 1300.0)
    assert lifetime(Policy(ttl_seconds=60), 1000.0, volatility=Volatility.HOUR) == (1060.0, 1060.0)
    assert lifetime(Policy(ttl_seconds=math.inf), 1000.0, volatility=Volatility.HOUR) == (4600.0, 4600.0)
    assert lifetime(week, 1000.0, volatility=Volatility.STABLE) == lifetime(week, 1000.0)


def test_an_answer_that_changes_soon_is_not_served_stale_for_long():
    policy = Policy(ttl_seconds=7 * 86400, stale_seconds=30 * 86400)
    assert lifetime(policy, 0.0, volatility=Volatility.MINUTES_15) == (900.0, 1800.0)
    assert lifetime(policy, 0.0) == (7 * 86400, 37 * 86400)


def test_what_is_never_stored_has_no_life():
    policy = Policy(ttl_seconds=math.inf, stale_seconds=math.inf)
    assert lifetime(policy, 1000.0, volatility=Volatility.NEVER, jitter=0.9) == (1000.0, 1000.0)


@given(st.floats(1, 1e7), st.floats(0, 1e7), st.sampled_from(list(Volatility)), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_tenth(ttl, stale, volatile, jitter):
    policy = Policy(ttl_seconds=ttl, stale_seconds=stale)
    exact, _ = lifetime(policy, 0.0, volatility=volatile)
    expires, stale_until = lifetime(policy, 0.0, volatility=volatile, jitter=jitter)
    assert exact * (1 - JITTER) * (1 - 1e-12) <= expires <= exact * (1 + JITTER) * (1 + 1e-12)
    bound = volatile.ttl_seconds
    assert 0 <= stale_until - expires <= (stale if bound is None else min(stale, bound)) + 1e-6


@given(st.binary(max_size=40))
def test_a_digest_always_gives_the_same_jitter(digest):
    assert 0 <= spread(digest) < 1
    assert spread(digest) == spread(digest)


def test_keys_are_spread_evenly_over_the_jitter():
    values = sorted(spread(hashlib.sha256(str(at).encode()).digest()) for at in range(2000))
    assert max(abs(value - at / 2000) for at, value in enumerate(values)) < 0.05
    assert spread(b"\xff" * 32) < 1


@pytest.mark.parametrize("jitter", [-0.1, 1.0, math.nan])
def test_jitter_outside_its_range_is_refused(jitter):
    with pytest.raises(ValueError, match="spread"):
        lifetime(Policy(), 0.0, jitter=jitter)
