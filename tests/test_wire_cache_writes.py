"""What a provider took into its prompt cache is read from its own usage, and costs what it asks for that."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko import Policy, Reply, open_cache
from yamabiko.types import Usage
from yamabiko.wire import anthropic, converse_reply
from yamabiko.wire.cache_writes import cache_writes

HAIKU = "claude-haiku-4-5"


def on_bedrock(**usage):
    said = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, **usage}
    message = {"role": "assistant", "content": [{"text": "二十日です"}]}
    response = {"output": {"message": message}, "stopReason": "end_turn", "usage": said}
    return converse_reply.reply_from(response, model=HAIKU)


def of_anthropic(**usage):
    content = [{"type": "text", "text": "Twenty days."}]
    told = {"input_tokens": 10, "output_tokens": 5, **usage}
    return anthropic.reply_from(
        {"id": "m", "type": "message", "role": "assistant", "model": HAIKU, "content": content, "usage": told}
        | {"stop_reason": "end_turn", "stop_sequence": None}
    )


HOUR = [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 70}]


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        (on_bedrock(), (0, 0)),
        (on_bedrock(cacheWriteInputTokens=100), (100, 0)),
        (on_bedrock(cacheWriteInputTokens=100, cacheReadInputTokens=7, cacheDetails=HOUR), (70, 30)),
        (of_anthropic(cache_creation_input_tokens=100), (100, 0)),
        (
            of_anthropic(
                cache_creation_input_tokens=100,
                cache_creation={"ephemeral_5m_input_tokens": 70, "ephemeral_1h_input_tokens": 30},
            ),
            (70, 30),
        ),
        (Reply(text="by hand"), (0, 0)),
    ],
)
def test_what_was_taken_is_read_from_the_apis_own_usage(reply, written):
    assert cache_writes(reply) == written
    assert sum(written) <= reply.usage.input_tokens


def test_a_miss_costs_what_the_provider_asks_for_it():
    async def cost(reply):
        async with open_cache("memory://", policy=Policy(semantic=False), embedder="none") as cache:

            async def generate(_):
                return reply

            return (await cache.answer("How many days?", generate)).cost_usd

    plain = asyncio.run(cost(Reply(text="x", model=HAIKU, usage=Usage(input_tokens=110, output_tokens=5))))
    dearer = asyncio.run(cost(on_bedrock(cacheWriteInputTokens=100, cacheDetails=HOUR)))
    assert plain == pytest.approx(135e-6)
    assert dearer == pytest.approx(plain + 70 * 0.25e-6 + 30 * 1e-6)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ttl", "inputTokens", "ephemeral_1h_input_tokens"]), inner)
    ),
)
NAMES = ["cacheDetails", "cacheWriteInputTokens", "cache_creation", "cache_creation_input_tokens"]


@given(st.sampled_from(["converse", "messages", "chat"]), st.dictionaries(st.sampled_from(NAMES), VALUES) | VALUES)
def test_whatever_stands_there_no_answer_is_lost_over_its_price(api, usage):
    extra = json.dumps({api: {"about": {"usage": usage}}})
    written = cache_writes(Reply(text="x", extra=extra))
    assert all(type(part) is int and part >= 0 for part in written)
