"""Step 3: lives are absolute, and a hit never prolongs one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.freshness import freshness, lifetime
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
