"""Whatever comes in, Bedrock's wire either reads it or says ``InvalidRequest``; what it reads has a key and is told again."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yamabiko.core.admit import refusal_to_store
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.types import Policy, Request
from yamabiko.wire import converse, converse_reply, knowledge_base

NAMES = st.sampled_from([
    "modelId", "messages", "role", "content", "text", "system", "toolConfig", "tools", "toolSpec", "toolUse", "input", "inferenceConfig", "stop",
    "maxTokens", "stopSequences", "outputConfig", "textFormat", "additionalModelRequestFields", "guardContent", "image", "cachePoint", "converse",
    "output", "message", "citationsContent", "citations", "citation", "reasoningContent", "reasoningText", "redactedContent", "signature", "usage",
    "inputTokens", "cacheReadInputTokens", "stopReason", "metrics", "trace", "delta", "start", "contentBlockIndex", "metadata", "messageStop",
    "contentBlockDelta", "contentBlockStart", "guardrailAction", "action", "guardrail", "retrievedReferences", "location", "promptVariables", "$bytes",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 9),
    st.floats(),
    st.binary(max_size=3),
    st.sampled_from(["", "user", "end_turn", "text", "やまびこ", "m", "\ud800"]),
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
BODIES = st.dictionaries(NAMES, JSON, max_size=6)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(BODIES, max_size=3)}) | JSON, max_size=3
)


@given(BODIES, MESSAGES, st.booleans())
@example({"additionalModelRequestFields": []}, [], True)
@settings(max_examples=300, deadline=None)
def test_arguments_are_read_or_refused_and_what_is_read_can_be_asked_for_again(body, messages, likely):
    try:
        request = converse.request_from({**body, "modelId": "m", "messages": messages} if likely else body)
        key = key_of(request, normalise(request), embedder="e", policy=Policy())
        again = converse.to_arguments(request)
    except InvalidRequest:
        return
    assert key.hex
    assert converse.request_from(again).sampling == request.sampling


@given(BODIES, JSON, st.lists(BODIES, max_size=3))
@settings(max_examples=300, deadline=None)
def test_a_response_is_read_or_refused_and_what_is_read_can_be_told_again(body, output, content):
    told = {"message": {"content": content}}
    for shape in (body, {**body, "output": output}, {**body, "output": told}, {**body, "output": {"text": "Hi"}}):
        for wire in (converse_reply, knowledge_base):
            try:
                reply = wire.reply_from(shape)
            except InvalidRequest:
                continue
            assert isinstance(refusal_to_store(Request("Hi"), reply), str)
            assert wire.response_from(reply)["output"]
            assert isinstance(list(wire.events_from(reply)), list)


@pytest.mark.parametrize("wire", [converse_reply, knowledge_base])
@given(st.lists(BODIES.filter(lambda body: len(body) == 1) | st.builds(
    lambda kind, value, delta: {kind: {**value, "contentBlockIndex": 0, "delta": delta, "start": delta}},
    st.sampled_from(["contentBlockDelta", "contentBlockStart", "metadata", "messageStop", "citation"]), BODIES, BODIES), max_size=5))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_events_are_read_or_refused(wire, events):
    assembly = wire.Assembly("m")
    try:
        for event in events:
            assembly.add(event)
        reply = assembly.reply()
    except InvalidRequest:
        return
    assert isinstance(refusal_to_store(Request("Hi"), reply), str)
