"""Whatever JSON comes in, a wire either reads it or says ``InvalidRequest``; and what it reads has a key."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.admit import refusal_to_store
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.types import Policy, Reply, Request
from yamabiko.wire import anthropic, langchain, openai

NAMES = st.sampled_from([
    "model", "messages", "role", "content", "text", "type", "system", "tools", "tool_calls", "function_call", "n", "stop", "stop_sequences", "name",
    "choices", "message", "delta", "finish_reason", "stop_reason", "usage", "prompt_tokens", "prompt_tokens_details", "input_tokens", "refusal",
    "logprobs", "reasoning_content", "content_block", "thinking", "error", "lc", "id", "kwargs", "citations", "cache_control", "cached_tokens",
])  # fmt: skip
WORDS = st.sampled_from([
    "", "user", "system", "assistant", "text", "tool_use", "constructor", "HumanMessage", "stop", "end_turn", "message_start", "message_delta",
    "content_block_start", "content_block_delta", "input_json_delta", "やまびこ", "m",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 9), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
BODIES = st.dictionaries(NAMES, JSON, max_size=6)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls"]), JSON, max_size=3) | JSON, max_size=3
)


@pytest.mark.parametrize("wire", [openai, anthropic])
@given(BODIES, MESSAGES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_request_is_read_or_refused_and_what_is_read_can_be_asked_for_again(wire, body, messages, likely):
    try:
        request = wire.request_from({**body, "model": "m", "messages": messages} if likely else body)
    except InvalidRequest:
        return
    assert isinstance(request, Request)
    assert key_of(request, normalise(request), embedder="e", policy=Policy())
    assert json.dumps(wire.to_body(request, stream=True))


@pytest.mark.parametrize("wire", [openai, anthropic])
@given(BODIES, JSON, JSON)
@settings(max_examples=200, deadline=None)
def test_a_reply_is_read_or_refused(wire, body, message, content):
    for shape in (body, {**body, "choices": [{**body, "message": message}]}, {**body, "content": [content]}):
        try:
            reply = wire.reply_from(shape)
        except InvalidRequest:
            continue
        assert isinstance(reply, Reply)
        assert isinstance(refusal_to_store(Request("Hi"), reply), str)


@pytest.mark.parametrize("wire", [openai, anthropic])
@given(BODIES, JSON)
@settings(max_examples=200, deadline=None)
def test_an_event_is_read_or_refused(wire, body, delta):
    for shape in (
        body,
        {**body, "choices": [{**body, "delta": delta}]},
        {**body, "type": "content_block_delta", "delta": delta},
    ):
        try:
            chunk = wire.chunk_from(json.dumps(shape))
        except InvalidRequest:
            continue
        assert isinstance(chunk.text + chunk.reasoning + chunk.finish_reason + chunk.model, str)


@given(JSON | st.lists(BODIES, max_size=3))
@settings(max_examples=200, deadline=None)
def test_every_langchain_prompt_is_read(value):
    request = langchain.request_from(json.dumps(value), "")
    assert key_of(request, normalise(request), embedder="e", policy=Policy())


def test_a_prompt_of_brackets_is_a_prompt():
    prompt = "[" * 100_000
    assert langchain.request_from(prompt, "").messages[0].text == prompt
