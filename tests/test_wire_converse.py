"""Bedrock's Converse: the arguments of a call to our vocabulary and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.message import Message
from yamabiko.types import Policy, Request
from yamabiko.wire import anthropic, openai
from yamabiko.wire.converse import from_json, request_from, to_arguments, to_json

HI = [{"role": "user", "content": [{"text": "やまびことは？"}]}]
ASKED = {
    "modelId": "m",
    "messages": HI,
    "system": [{"text": "Be brief."}],
    "inferenceConfig": {"maxTokens": 99, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]},
}
TOOL = {"toolSpec": {"name": "w", "inputSchema": {"json": {"type": "object"}}}}
FORM = {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}", "name": "n"}}}


def scope(arguments):
    request = request_from(arguments)
    return key_of(request, normalise(request), embedder="e", policy=Policy()).scope.digest


def holding(*blocks):
    return {
        **ASKED,
        "messages": [*HI, {"role": "assistant", "content": [{"text": "a"}]}, {"role": "user", "content": list(blocks)}],
    }


def test_the_same_question_in_each_vendors_shape_is_the_same_request():
    turns = [{"role": "user", "content": "やまびことは？"}]
    sampling = {"max_tokens": 99, "temperature": 0.5, "top_p": 0.9}
    theirs = {"model": "m", "messages": turns, **sampling}
    assert request_from(ASKED) == anthropic.request_from({**theirs, "system": "Be brief.", "stop_sequences": ["x"]})
    system = {"role": "system", "content": "Be brief."}
    assert request_from(ASKED) == openai.request_from({**theirs, "messages": [system, *turns], "stop": ["x"]})
    fields = {**ASKED, "additionalModelRequestFields": {"top_k": 5}}
    assert request_from(fields) == anthropic.request_from(
        {**theirs, "system": "Be brief.", "stop_sequences": ["x"], "top_k": 5}
    )


def test_a_checkpoint_of_the_prompt_cache_changes_no_request():
    point = {"cachePoint": {"type": "default"}}
    marked = {
        **ASKED,
        "system": [{"text": "Be brief."}, point],
        "messages": [{"role": "user", "content": [*HI[0]["content"], point]}],
    }
    assert request_from(marked) == request_from(ASKED)
    tools = {**ASKED, "toolConfig": {"tools": [TOOL]}}
    assert request_from({**ASKED, "toolConfig": {"tools": [TOOL, point]}}) == request_from(tools)
    assert request_from(tools).bypass == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"modelId": "m2"},
        {"system": [{"text": "Be long."}]},
        {"system": [{"guardContent": {"text": {"text": "Be brief."}}}]},
        {"inferenceConfig": {"maxTokens": 98}},
        {"inferenceConfig": {**ASKED["inferenceConfig"], "of_next_year": 1}},
        {"toolConfig": {"tools": [TOOL]}},
        {"toolConfig": {"tools": [TOOL], "toolChoice": {"any": {}}}},
        {"outputConfig": {"textFormat": FORM}},
        {"outputConfig": {"effort": "low"}},
        {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}},
        {"additionalModelRequestFields": {"top_k": 5}},
        {"additionalModelRequestFields": {"temperature": 0.1}},
        {"additionalModelResponseFieldPaths": ["/stop_sequence"]},
        {"anArgumentOfNextYear": {"a": 1}},
        {"messages": [*HI, {"role": "assistant", "content": [{"text": "a"}]}, *HI]},
    ],
)  # fmt: skip
def test_every_argument_that_may_change_an_answer_changes_the_scope(changed):
    assert scope({**ASKED, **changed}) != scope(ASKED)


@pytest.mark.parametrize(
    "changed",
    [
        {"requestMetadata": {"user": "eve"}},
        {"performanceConfig": {"latency": "optimized"}},
        {"serviceTier": {"type": "flex"}},
        {"additionalModelRequestFields": {}},
        {"additionalModelResponseFieldPaths": None},
    ],
)
def test_arguments_that_change_no_answer_do_not_split_the_cache(changed):
    assert scope({**ASKED, **changed}) == scope(ASKED)


@pytest.mark.parametrize(
    ("block", "held"),
    [
        ({"image": {"format": "png", "source": {"bytes": b"private"}}}, "an image"),
        ({"document": {"name": "private", "source": {"text": "private"}}}, "a document"),
        ({"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://private/a"}}}}, "a video"),
        ({"audio": {"format": "mp3", "source": {"bytes": b"private"}}}, "a recording"),
        ({"toolUse": {"toolUseId": "1", "name": "private", "input": {}}}, "a call of a tool"),
        ({"toolResult": {"toolUseId": "1", "content": [{"text": "private"}]}}, "the result of a tool"),
        ({"searchResult": {"source": "private", "title": "t", "content": []}}, "the result of a search"),
        ({"guardContent": {"image": {"format": "png", "source": {"bytes": b"private"}}}}, "an image"),
        ({"aBlockOfNextYear": {"private": 1}}, "more than text"),
        ({"text": "private", "image": {}}, "more than text"),
        ({}, "more than text"),
    ],
)
def test_what_is_not_text_bypasses_the_cache_wherever_it_stands(block, held):
    for asked in (holding(block), holding({"text": "Hi"}, block), {**ASKED, "system": [block]}):
        request = request_from(asked)
        assert request.bypass == f"a message holds {held}"
        assert asked["system"] == [block] or normalise(request).text == ""
        assert to_arguments(request) == asked


def test_reasoning_that_is_sent_back_is_a_part_of_the_conversation():
    thought = {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "s"}}}
    hidden = {"reasoningContent": {"redactedContent": b"\x00\xff"}}
    told = {**ASKED, "messages": [*HI, {"role": "assistant", "content": [thought, hidden, {"text": "a"}]}, *HI]}
    plain = {**ASKED, "messages": [*HI, {"role": "assistant", "content": [{"text": "a"}]}, *HI]}
    assert request_from(told).bypass == ""
    assert scope(told) != scope(plain)
    assert to_arguments(request_from(told)) == told


def test_what_bedrock_keeps_or_runs_itself_bypasses_the_cache():
    server = {**ASKED, "toolConfig": {"tools": [TOOL, {"systemTool": {"name": "private"}}]}}
    assert request_from(server).bypass == "the request offers a tool that the vendor runs"
    kept = {
        "modelId": "arn:aws:bedrock:eu-west-1:123456789012:prompt/ABC",
        "promptVariables": {"a": {"text": "private"}},
    }
    assert request_from(kept).bypass == "the prompt is one that Bedrock keeps"
    assert to_arguments(request_from(kept)) == kept


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"modelId": ""}, "modelId"),
        ({"messages": []}, "messages"),
        ({"messages": "private"}, "messages"),
        ({"messages": [{"role": 7}]}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "content": "private"}]}, r"messages\[0\].content"),
        ({"messages": [{"role": "user", "content": ["private"]}]}, r"messages\[0\].content"),
        ({"system": "private"}, "system"),
        ({"inferenceConfig": "private"}, "inferenceConfig"),
        ({"toolConfig": ["private"]}, "toolConfig"),
        ({"messages": [{"role": "user", "content": [{"text": {"a", "private"}}]}]}, "JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_named_and_not_shown(changed, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        request_from({**ASKED, **changed})
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    "asked",
    [
        ASKED,
        {"modelId": "m", "messages": HI},
        {**ASKED, "toolConfig": {"tools": [TOOL], "toolChoice": {"auto": {}}}, "outputConfig": {"textFormat": FORM, "effort": "low"}},
        {**ASKED, "additionalModelRequestFields": {"top_k": 5, "temperature": 1, "converse": {"a": 1}}, "guardrailConfig": {"guardrailIdentifier": "g"}},
        {**ASKED, "additionalModelRequestFields": [1, 2], "inferenceConfig": {"maxTokens": 3, "of_next_year": True}},
        {**ASKED, "system": [{"text": "Be brief."}, {"guardContent": {"text": {"text": "q", "qualifiers": ["query"]}}}]},
        {"modelId": "m", "messages": HI, "toolConfig": {"tools": [TOOL], "of_next_year": 1}, "additionalModelResponseFieldPaths": ["/a"]},
    ],
)  # fmt: skip
def test_arguments_survive_the_round_trip(asked):
    assert to_arguments(request_from(asked)) == asked


def test_requests_of_other_apis_can_be_asked_here_where_they_are_text():
    body = {"model": "m", "max_completion_tokens": 9, "stop": "x", "seed": 7}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert to_arguments(openai.request_from({**body, "messages": turns})) == {
        "modelId": "m",
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 9, "stopSequences": ["x"]},
        "additionalModelRequestFields": {"seed": 7},
    }
    mid = Request([Message(role="user", text="a"), Message(role="developer", text="b"), Message(role="user", text="c")])
    assert [turn["role"] for turn in to_arguments(mid)["messages"]] == ["user", "system", "user"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tools": [{"type": "function", "function": {"name": "private"}}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "private"}}]}]},
            "block",
        ),
        ({"messages": [{"role": "user", "content": "Hi", "name": "private"}]}, "block"),
    ],
)
def test_what_is_in_another_apis_shape_is_refused_with_a_word(given, field):
    messages = given.pop("messages", [{"role": "user", "content": "Hi"}])
    with pytest.raises(InvalidRequest, match=field) as caught:
        to_arguments(Request(messages, model="m", **given))
    assert "private" not in str(caught.value)


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("$bytes"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, min_size=1, max_size=3)
BLOCKS = (
    st.fixed_dictionaries({"text": TEXTS})
    | st.fixed_dictionaries({"image": OBJECTS})
    | st.fixed_dictionaries({"toolResult": OBJECTS})
    | st.just({"cachePoint": {"type": "default"}})
)
ARGUMENTS = st.fixed_dictionaries(
    {
        "modelId": st.sampled_from(["m", "jp.anthropic.claude"]),
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.lists(BLOCKS, max_size=3)}),
            min_size=1,
            max_size=3,
        ),
    },
    optional={
        "system": st.lists(BLOCKS, max_size=2),
        "inferenceConfig": OBJECTS | st.fixed_dictionaries({"temperature": st.floats(0, 1)}),
        "toolConfig": st.fixed_dictionaries({"tools": st.lists(st.fixed_dictionaries({"toolSpec": OBJECTS}), min_size=1, max_size=2)}),
        "additionalModelRequestFields": OBJECTS,
        "guardrailConfig": OBJECTS,
        "serviceTier": OBJECTS,
    },
)  # fmt: skip


@given(ARGUMENTS)
@settings(max_examples=150, deadline=None)
def test_a_request_is_the_same_after_it_was_asked_again(arguments):
    request = request_from(arguments)
    json.loads(request.sampling or "{}")
    assert request_from(to_arguments(request)) == request


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_bytes_survive_json(value):
    assert from_json(json.loads(json.dumps(to_json(value)))) == value
