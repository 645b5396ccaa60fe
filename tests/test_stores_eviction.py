"""What an entry weighs and is worth, the same in every store."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.stores import eviction
from yamabiko.testing import make_entry, make_question, unit_vector
from yamabiko.types import Reply

any_float = st.floats(allow_nan=True, allow_infinity=True)
positive = st.floats(1e-6, 1e6)


def test_payload_bytes_by_hand():
    reply = Reply(text="答え", model="m", sources=("s3://x",), tool_calls=("{}",), extra="é", chunk_lengths=(1, 1))
    alias = make_question("why?", vector=unit_vector(1, 384))
    entry = make_entry("なぜ", reply, aliases=(alias,), tags=("faq",))
    texts = 6 + 1 + 6 + 2 + 2 + 3 + 6 + 4
    assert eviction.payload_bytes(entry) == 256 + 2 * 128 + texts + 2 * 2 + 2 * 384


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_bytes_is_the_length_in_utf_8(text):
    assert eviction.text_bytes(text) == len(text.encode())


@given(st.text(), st.integers(1, 5))
def test_an_entry_weighs_what_its_questions_add(text, count):
    aliases = tuple(make_question(f"{i}", vector=unit_vector(i, 8)) for i in range(count))
    alone, together = make_entry("q", Reply(text=text)), make_entry("q", Reply(text=text), aliases=aliases)
    added = eviction.payload_bytes(together) - eviction.payload_bytes(alone)
    assert added == sum(map(eviction.question_bytes, aliases)) > 0


@given(any_float, any_float)
def test_value_is_always_finite_and_above_zero(cost_usd, latency_seconds):
    assert 0.0 < eviction.value(Reply(text="", cost_usd=cost_usd, latency_seconds=latency_seconds)) < math.inf


@pytest.mark.parametrize("better", [{"cost_usd": 0.002}, {"latency_seconds": 2.0}])
def test_value_grows_with_cost_and_with_waiting(better):
    reply = Reply(text="", cost_usd=0.001, latency_seconds=1.0)
    assert eviction.value(reply) == pytest.approx(0.002)
    assert eviction.value(replace(reply, **better)) == pytest.approx(0.003)


@given(st.floats(0.0, 10.0), st.integers(1, 1000), positive, st.integers(256, 10**7))
def test_priority_prefers_the_used_the_costly_and_the_small(clock, hits, value, size):
    lowest = eviction.priority(clock, hits, value, size)
    assert lowest >= clock
    assert eviction.priority(clock, hits + 1, value, size) >= lowest
    assert eviction.priority(clock, hits, value * 2, size) >= lowest
    assert eviction.priority(clock, hits, value, size + 1) <= lowest
    assert eviction.priority(0.0, hits + 1, value, size) > eviction.priority(0.0, hits, value, size)
