"""Bedrock's Converse: what comes back, whole and in events, to our vocabulary and back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.admit import refusal_to_store
from yamabiko.errors import InvalidRequest
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire import anthropic
from yamabiko.wire.converse import API
from yamabiko.wire.converse_reply import UNKNOWN_EVENT, Assembly, events_from, reply_from, response_from
from yamabiko.wire.replay import loss

USAGE = {
    "inputTokens": 9,
    "outputTokens": 3,
    "totalTokens": 18,
    "cacheReadInputTokens": 4,
    "cacheWriteInputTokens": 2,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 2}],
}
HELLO = {"text": "こんにちは"}
CALL = {"toolUse": {"toolUseId": "1", "name": "w", "input": {"city": "東京"}}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "s"}}}
HIDDEN = {"reasoningContent": {"redactedContent": b"\x00\xff"}}
CITED = {
    "citationsContent": {
        "content": [{"text": "Kyoto"}],
        "citations": [{"title": "t", "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 5}}}],
    }
}
TRACE = {"guardrail": {"inputAssessment": {"g": {"topicPolicy": {"topics": []}}}}}


def response(*content, stop_reason="end_turn", **more):
    message = {"role": "assistant", "content": list(content)}
    return {
        "output": {"message": message},
        "stopReason": stop_reason,
        "usage": USAGE,
        "metrics": {"latencyMs": 7},
        **more,
    }


def heard(events, model="m"):
    assembly = Assembly(model)
    chunks = [assembly.add(event) for event in events]
    return chunks, assembly.reply()


def streamed(*events, stop="end_turn"):
    yield {"messageStart": {"role": "assistant"}}
    yield from events
    yield {"messageStop": {"stopReason": stop}}
    yield {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 7}}}


def delta(index=0, **value):
    return {"contentBlockDelta": {"delta": value, "contentBlockIndex": index}}


def test_a_reply_is_read():
    reply = reply_from(response(HELLO, {"text": "!"}), model="m")
    assert (reply.text, reply.model, reply.finish_reason) == ("こんにちは!", "m", "stop")
    assert reply.tool_calls == ()


def test_what_the_prompt_cache_gave_and_took_is_a_part_of_the_input():
    assert reply_from(response(HELLO)).usage == Usage(input_tokens=15, output_tokens=3, cached_input_tokens=4)


def test_a_text_is_kept_once():
    reply = reply_from(response(HELLO))
    assert "こんにちは" not in reply.extra
    assert json.loads(reply.extra) == {
        API: {"about": {"stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 7}}}
    }


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("a_reason_of_next_year", "a_reason_of_next_year"),
        (None, "error"),
    ],
)
def test_only_an_answer_that_came_to_its_end_is_stored_whole_or_streamed(stop_reason, finish_reason):
    whole = reply_from(response(HELLO, stop_reason=stop_reason))
    _, told = heard(streamed(delta(text="こんにちは"), stop=stop_reason))
    for reply in (whole, told):
        assert reply.finish_reason == finish_reason
        assert (refusal_to_store(Request("Hi"), reply) == "") == (finish_reason == "stop")
    assert response_from(whole)["stopReason"] == (stop_reason or "error")


def test_a_reply_that_calls_a_tool_is_not_stored():
    reply = reply_from(response(HELLO, CALL))
    assert json.loads(reply.tool_calls[0]) == CALL
    assert refusal_to_store(Request("Hi"), reply) == "the reply calls tools"
    _, told = heard(events_from(reply))
    assert told.tool_calls == reply.tool_calls


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message": "private"}, "output.message.content"),
        ({"output": {"message": {"content": "private"}}}, "output.message.content"),
        ({"output": {"message": {"content": ["private"]}}}, "output.message.content"),
        (response({"text": 7}), r"content\[0\].text"),
        (response({"citationsContent": {"content": ["private"]}}), r"content\[0\].citationsContent"),
        ({**response(), "usage": {"inputTokens": "9"}}, "usage.inputTokens"),
    ],
)
def test_a_response_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        reply_from(body)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        response(HELLO),
        response(HELLO, {"text": ""}, {"text": "!"}),
        response(THOUGHT, HIDDEN, HELLO, CITED),
        response(HELLO, CALL, stop_reason="tool_use"),
        response({"text": "blocked"}, stop_reason="guardrail_intervened", trace=TRACE),
        response(HELLO, additionalModelResponseFields={"stop_sequence": "x"}, serviceTier={"type": "flex"}, performanceConfig={"latency": "optimized"}),
        response(),
        response({"aBlockOfNextYear": {"a": b"1"}}),
    ],
)  # fmt: skip
def test_a_response_survives_the_round_trip(body):
    assert response_from(reply_from(body)) == body


def test_a_replayed_response_says_that_its_input_was_read_from_a_cache():
    told = response_from(reply_from(response(HELLO)), replayed=True)
    assert told["usage"] == {
        "inputTokens": 0,
        "outputTokens": 3,
        "totalTokens": 18,
        "cacheReadInputTokens": 15,
        "cacheWriteInputTokens": 0,
    }
    assert list(events_from(reply_from(response(HELLO)), replayed=True))[-1]["metadata"]["usage"] == told["usage"]


def test_a_reply_of_another_api_is_told_where_it_is_nothing_but_text():
    body = {
        "content": [{"type": "text", "text": "Hello"}],
        "model": "m",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    reply = anthropic.reply_from(body)
    assert loss(reply, API) == ""
    assert response_from(reply) == {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
        "metrics": {"latencyMs": 0},
    }
    assert loss(reply_from(response(HELLO)), "messages") == ""
    assert loss(reply_from(response(CITED)), "messages") != ""


def test_a_stream_adds_up_to_what_a_response_would_have_said():
    whole = reply_from(response(THOUGHT, HIDDEN, HELLO, CITED, trace=TRACE), model="m")
    events = [
        {"messageStart": {"role": "assistant"}},
        delta(0, reasoningContent={"text": "h"}),
        delta(0, reasoningContent={"text": "mm"}),
        delta(0, reasoningContent={"signature": "s"}),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        delta(1, reasoningContent={"redactedContent": b"\x00"}),
        delta(1, reasoningContent={"redactedContent": b"\xff"}),
        delta(2, text="こん"),
        delta(2, text=""),
        delta(2, text="にちは"),
        {"contentBlockStop": {"contentBlockIndex": 2}},
        delta(3, text="Kyoto"),
        delta(3, citation=CITED["citationsContent"]["citations"][0]),
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 7}, "trace": TRACE}},
    ]
    chunks, reply = heard(events)
    assert [chunk.text for chunk in chunks if chunk.text] == ["こん", "にちは", "Kyoto"]
    assert "".join(chunk.reasoning for chunk in chunks) == "hmm"
    assert reply.chunk_lengths == (2, 3, 5)
    assert (reply.text, reply.extra, reply.usage) == (whole.text, whole.extra, whole.usage)
    assert heard(events_from(reply))[1] == reply


def test_the_input_of_a_tool_comes_in_fragments():
    start = {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "1", "name": "w"}}, "contentBlockIndex": 0}}
    pieces = [delta(toolUse={"input": '{"city": '}), delta(toolUse={"input": '"東京"}'})]
    chunks, reply = heard(streamed(start, *pieces, stop="tool_use"))
    assert json.loads(reply.tool_calls[0]) == CALL
    assert sum(len(chunk.tool_calls) for chunk in chunks) == 3
    _, broken = heard(streamed(start, pieces[0], stop="end_turn"))
    assert broken.finish_reason == UNKNOWN_EVENT


@pytest.mark.parametrize("missing", ["messageStop", "metadata"])
def test_a_stream_without_its_end_is_an_error(missing):
    chunks, reply = heard(event for event in streamed(delta(text="Hi")) if missing not in event)
    assert (reply.text, reply.finish_reason) == ("Hi", "error")
    assert not chunks[-1].done


def test_an_error_in_midst_of_a_stream_is_one():
    _, reply = heard([delta(text="Hi"), {"throttlingException": {"message": "private"}}])
    assert (reply.text, reply.finish_reason) == ("Hi", "error")
    assert "private" not in reply.extra
    _, late = heard([*streamed(delta(text="Hi")), {"internalServerException": {"message": "private"}}])
    assert late.finish_reason == "error"


@pytest.mark.parametrize(
    "event",
    [
        {"anEventOfNextYear": {}},
        delta(a_delta_of_next_year="x"),
        delta(1, toolUse={"input": "{}"}),
        delta(0, reasoningContent={"text": "x"}),
        delta(1, reasoningContent={"of_next_year": "x"}),
        {"contentBlockStart": {"start": {"image": {"format": "png"}}, "contentBlockIndex": 1}},
        {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "1", "name": "w"}}, "contentBlockIndex": 0}},
    ],
)
def test_what_an_event_adds_beyond_what_we_know_is_never_stored(event):
    _, reply = heard(streamed(delta(text="Hi"), event))
    assert (reply.text, reply.finish_reason) == ("Hi", UNKNOWN_EVENT)


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({}, "event"),
        ({"messageStart": "private"}, "event"),
        ({"contentBlockDelta": {"delta": {"text": "private"}}}, "contentBlockIndex"),
        ({"contentBlockDelta": {"delta": {"text": "private"}, "contentBlockIndex": -1}}, "contentBlockIndex"),
        ({"contentBlockDelta": {"delta": "private", "contentBlockIndex": 0}}, "delta"),
        ({"contentBlockStart": {"contentBlockIndex": 0}}, "start"),
        ({"metadata": {"usage": {"inputTokens": -1}}}, "inputTokens"),
    ],
)
def test_an_event_that_does_not_fit_is_named_and_not_shown(event, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        Assembly().add(event)
    assert "private" not in str(caught.value)


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10)
BLOCKS = st.one_of(
    st.fixed_dictionaries({"text": TEXTS}),
    TEXTS.map(lambda text: {"citationsContent": {"content": [{"text": text}], "citations": [{"title": text}]}}),
    TEXTS.map(lambda text: {"reasoningContent": {"reasoningText": {"text": text, "signature": "s"}}}),
    st.binary(max_size=5).map(lambda blob: {"reasoningContent": {"redactedContent": blob}}),
    st.dictionaries(TEXTS, TEXTS, max_size=2).map(
        lambda given: {"toolUse": {"toolUseId": "1", "name": "w", "input": given}}
    ),
)
RESPONSES = st.builds(
    lambda content, stop, trace: response(*content, stop_reason=stop, **({"trace": TRACE} if trace else {})),
    st.lists(BLOCKS, min_size=1, max_size=5),
    st.sampled_from(["end_turn", "stop_sequence", "max_tokens", "tool_use", "guardrail_intervened"]),
    st.booleans(),
)


@given(RESPONSES)
@settings(max_examples=200, deadline=None)
def test_any_response_is_told_again_as_it_was_whole_and_as_a_stream(body):
    reply = reply_from(body, model="m")
    assert response_from(reply) == body
    _, told = heard(events_from(reply))
    assert (told.text, told.extra, told.tool_calls, told.usage) == (
        reply.text,
        reply.extra,
        reply.tool_calls,
        reply.usage,
    )
    assert told.finish_reason == reply.finish_reason
    assert response_from(told) == body
    assert heard(events_from(told))[1] == told


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_stream_is_told_again_in_its_own_pieces(pieces):
    _, reply = heard(streamed(*(delta(text=piece) for piece in pieces)))
    told = [event["contentBlockDelta"]["delta"]["text"] for event in events_from(reply) if "contentBlockDelta" in event]
    assert told == pieces


def test_what_is_kept_for_another_text_is_not_told():
    reply = Reply(text="changed", extra=reply_from(response(HELLO, {"text": "!"})).extra)
    assert response_from(reply)["output"]["message"]["content"] == [{"text": "changed"}]
