"""OpenAI's Responses to our vocabulary."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.core.admit import refusal_to_store
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.types import Policy, Reply, Request, Usage
from yamabiko.wire import openai
from yamabiko.wire.replay import loss
from yamabiko.wire.responses import INCONSISTENT, Assembly, chunk_from, reply_from, request_from
from yamabiko.wire.sse import reply_of

BODY = {"model": "m", "instructions": "Be brief.", "input": "Hi", "store": False}


def scope(body):
    request = request_from(body)
    return key_of(request, normalise(request), embedder="e", policy=Policy()).scope.digest


def said(role, text, kind="input_text"):
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "やまびことは？"},
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BODY, {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}),
        ({**BODY, "instructions": None}, {"messages": [{"role": "user", "content": "Hi"}]}),
        (
            {"store": False, "input": [said("developer", "Be brief."), *TURNS]},
            {"messages": [{"role": "system", "content": "Be brief."}, *TURNS]},
        ),
        (
            {"store": False, "input": [TURNS[0], said("assistant", "Hello", "output_text"), TURNS[2]]},
            {"messages": TURNS},
        ),
        (
            {"store": False, "input": TURNS, "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9},
            {"messages": TURNS, "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9},
        ),
        (
            {"store": False, "input": TURNS, "reasoning": {"effort": "low", "summary": None}, "text": {"verbosity": "low"}},
            {"messages": TURNS, "reasoning_effort": "low", "verbosity": "low"},
        ),
        (
            {"store": False, "input": TURNS, "text": {"format": {"type": "text"}}, "truncation": "disabled", "background": False},
            {"messages": TURNS},
        ),
        (
            {"store": False, "input": TURNS, "text": {"format": {"type": "json_object"}}},
            {"messages": TURNS, "response_format": {"type": "json_object"}},
        ),
    ],
)  # fmt: skip
def test_the_same_question_in_both_of_the_vendors_shapes_is_the_same_request(ours, theirs):
    assert request_from({**ours, "model": "m"}) == openai.request_from({**theirs, "model": "m"})


def test_what_the_vendor_keeps_by_default_is_not_shared_with_what_it_does_not_keep():
    by_default = {name: value for name, value in BODY.items() if name != "store"}
    assert request_from(by_default).bypass == ""
    assert scope(by_default) != scope(BODY)
    assert scope({**by_default, "store": None}) == scope(by_default)
    for odd in ([], "", 0, {}):  # the vendor would refuse it: no answer of another request's
        assert scope({**by_default, "store": odd}) != scope(by_default)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("instructions", "Be long."),
        ("max_output_tokens", 98),
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("top_logprobs", 5),
        ("include", ["message.output_text.logprobs"]),
        ("reasoning", {"effort": "high"}),
        ("reasoning", {"summary": "auto"}),
        ("text", {"verbosity": "low"}),
        ("text", {"format": {"type": "json_object"}}),
        ("text", {"a_member_of_next_year": 1}),
        ("text", "odd"),
        ("reasoning", "odd"),
        ("truncation", "auto"),
        ("tools", [{"type": "function", "name": "weather", "parameters": {}}]),
        ("tool_choice", "none"),
        ("parallel_tool_calls", False),
        ("max_tool_calls", 1),
        ("a_field_of_next_year", 1),
        ("model", "m2"),
    ],
)
def test_every_field_that_may_change_an_answer_changes_the_scope(field, value):
    assert scope({**BODY, field: value}) != scope(BODY)
    assert request_from({**BODY, field: value}).bypass == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", True),
        ("stream_options", {"include_obfuscation": False}),
        ("user", "eve"),
        ("metadata", {"a": "b"}),
        ("service_tier", "flex"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_retention", "24h"),
        ("safety_identifier", "s"),
        ("temperature", None),
        ("text", {}),
        ("reasoning", {"effort": None}),
        ("tools", []),
        ("previous_response_id", None),
    ],
)
def test_fields_that_change_no_answer_do_not_split_the_cache(field, value):
    assert scope({**BODY, field: value}) == scope(BODY)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"previous_response_id": "private"}, "the conversation so far is kept by the vendor"),
        ({"conversation": {"id": "private"}}, "the conversation so far is kept by the vendor"),
        ({"prompt": {"id": "private"}}, "the prompt is kept by the vendor, and may change there"),
        ({"prompt": {"id": "private"}, "input": None}, "the prompt is kept by the vendor, and may change there"),
        ({"tools": [{"type": "web_search"}]}, "the request offers a tool that the vendor runs"),
        ({"tools": [{"type": "function"}, {"type": "mcp", "server_url": "private"}]}, "the request offers a tool that the vendor runs"),
        ({"tools": ["private"]}, "the request offers a tool that the vendor runs"),
        ({"background": True}, "the answer is made in the background"),
        ({"store": True}, "the response is to be kept by the vendor"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "private"}]}, "the input holds the result of a tool"),
        ({"input": [{"type": "function_call", "name": "private"}, *TURNS]}, "the input holds a call of a tool"),
        ({"input": [{"type": "item_reference", "id": "private"}]}, "the input holds an item that the vendor keeps"),
        ({"input": [{"type": "private_item_of_next_year"}, *TURNS]}, "the input holds more than messages"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "private"}]}]}, "a message holds an image"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "private"}]}, *TURNS]}, "a message holds a file"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "a message holds audio"),
        ({"input": [{"role": "user", "content": [{"type": ["private"]}]}]}, "a message holds more than text"),
        ({"input": [{"role": "user", "content": [{"text": "private"}]}]}, "a message holds a part that doesn't say its type"),
        ({"input": [{"role": "user", "content": ["private"]}]}, "a message holds a part that doesn't say its type"),
    ],
)  # fmt: skip
def test_what_must_not_be_cached_bypasses_with_a_reason_that_holds_no_text(given, why):
    request = request_from({**BODY, **given})
    assert request.bypass == why
    assert normalise(request).text == ""


def test_an_answer_that_is_sent_back_is_the_one_that_was_said():
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    back = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
    assert scope({**BODY, "input": [TURNS[0], back, TURNS[2]]}) == scope({**BODY, "input": TURNS})


def test_a_wandering_cache_breakpoint_does_not_change_the_request():
    marked = {"type": "input_text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert request_from({**BODY, "input": [{"role": "user", "content": [marked]}]}) == request_from(BODY)


def test_reasoning_that_is_sent_back_is_a_part_of_the_conversation():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g=="}
    told = [TURNS[0], thought, *TURNS[1:]]
    assert request_from({**BODY, "input": told}).bypass == ""
    assert scope({**BODY, "input": told}) != scope({**BODY, "input": TURNS})
    assert normalise(request_from({**BODY, "input": told})).text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({**BODY, "model": 7}, "model"),
        ({**BODY, "instructions": ["private"]}, "instructions"),
        ({"model": "m"}, "input"),
        ({**BODY, "input": ""}, "input"),
        ({**BODY, "input": []}, "input"),
        ({**BODY, "input": ["private"]}, r"input\[0\]"),
        ({**BODY, "input": [{"content": "private"}]}, r"input\[0\].role"),
        ({**BODY, "input": [{"role": "user", "content": 7}]}, r"input\[0\]"),
        ({**BODY, "temperature": float("nan")}, "JSON"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        request_from(body)
    assert "private" not in str(caught.value)


def message(*parts):
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": list(parts)}


def text(value, **members):
    return {"type": "output_text", "text": value, "annotations": [], **members}


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hmm"}]}


def response(*output, **members):
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }
    told = {"id": "resp_1", "object": "response", "model": "m-2026", "status": "completed", "output": list(output)}
    return {**told, "usage": usage, **members}


def test_a_reply_is_read():
    reply = reply_from(response(message(text("Hello"), text(" there"))))
    assert (reply.text, reply.model, reply.finish_reason) == ("Hello there", "m-2026", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3, cached_input_tokens=4)


def test_nothing_of_who_asked_is_kept_and_a_text_is_kept_once():
    echoed = {"metadata": {"of": "eve"}, "user": "eve", "safety_identifier": "eve", "prompt_cache_key": "eve"}
    body = response(message(text("Hello")), instructions="For eve.", output_text="Hello", **echoed)
    extra = reply_from(body).extra
    assert "eve" not in extra
    assert "Hello" not in extra
    assert json.loads(extra)["responses"]["about"]["id"] == "resp_1"


@pytest.mark.parametrize(
    ("body", "finish_reason"),
    [
        (response(message(text("x"))), "stop"),
        (response({"type": "reasoning", "id": "rs_1", "summary": []}, message(text("x"))), "stop"),
        (response({"type": "web_search_call", "id": "ws_1"}, message(text("x"))), "stop"),
        (response(message(text("x")), {"type": "function_call", "name": "f", "arguments": "{}"}), "tool_calls"),
        (response(message(text("x")), {"type": "mcp_call", "name": "order"}), "tool_calls"),
        (response(message(text("x")), {"type": "code_interpreter_call"}), "tool_calls"),
        (response(message(text("x")), {"type": "an_item_of_next_year"}), "tool_calls"),
        (response(message(text("x")), {"type": ["odd"]}), "tool_calls"),
        (response(message({"type": "refusal", "refusal": "I can't"})), "content_filter"),
        (response(message(text("x")), status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (response(message(text("x")), status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (response(message(text("x")), status="incomplete", incomplete_details={"reason": "steered"}), "incomplete"),
        (response(message(text("x")), status="incomplete"), "incomplete"),
        (response(message(text("x")), status="failed", error={"code": "server_error"}), "error"),
        (response(message(text("x")), status="in_progress"), "error"),
        (response(message(text("x")), status="cancelled"), "error"),
        (response(message(text("x")), status=None), "error"),
    ],
)  # fmt: skip
def test_why_a_reply_ended_in_our_words_and_only_a_whole_answer_is_stored(body, finish_reason):
    reply = reply_from(body)
    assert reply.finish_reason == finish_reason
    assert (refusal_to_store(Request("Hi"), reply) == "") == (finish_reason == "stop")
    assert bool(reply.tool_calls) == (finish_reason == "tool_calls")


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        ([message(text("x"))], True),
        ([message(text("x", logprobs=[]))], True),
        ([{"type": "reasoning", "id": "rs_1", "summary": []}, message(text("x"))], True),
        ([THOUGHT, message(text("x"))], False),
        ([{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g=="}, message(text("x"))], False),
        ([message(text("x") | {"annotations": [{"type": "url_citation"}]})], False),
        ([message(text("x", logprobs=[{"token": "x"}]))], False),
        ([message(text("x"), text("y"))], False),
        ([message(text("x")) | {"phase": "commentary"}], False),
        ([{"type": "web_search_call", "id": "ws_1", "action": {}}, message(text("x"))], False),
    ],
)
def test_only_what_is_nothing_but_a_text_can_be_told_through_another_api(output, plain):
    reply = reply_from(response(*output))
    assert (loss(reply, "chat") == "") == plain
    assert loss(reply, "responses") == ""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"error": {"message": "private"}}, "output"),
        (response("private"), "output"),
        (response(message("private")), "content"),
        (response(message({"type": "output_text", "text": 7})), "text"),
        (response(message(text("x") | {"annotations": ["private"]})), "annotations"),
        (response({"type": "reasoning", "summary": "private"}), "summary"),
        (response({"type": "reasoning", "content": ["private"]}), "content"),
        (response(usage={"input_tokens": "9"}), "usage.input_tokens"),
    ],
)
def test_a_reply_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        reply_from(body)
    assert "private" not in str(caught.value)


LAST = response(THOUGHT, message(text("やまびこ")))
STREAM = [
    {"type": "response.created", "response": {**response(status="in_progress"), "usage": None}},
    {"type": "response.reasoning_summary_text.delta", "delta": "hmm"},
    {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
    {"type": "response.output_text.delta", "delta": "やま"},
    {"type": "response.output_text.delta", "delta": "びこ"},
    {"type": "response.output_text.done", "text": "やまびこ"},
    {"type": "response.output_item.done", "output_index": 1, "item": message(text("やまびこ"))},
    {"type": "response.completed", "response": LAST},
]


def assembled(stream):
    assembly = Assembly()
    for event in stream:
        assembly.add(json.dumps(event))
    return assembly.reply()


def test_a_stream_is_read():
    chunks = [chunk_from(json.dumps(event)) for event in STREAM]
    reply = reply_of(chunks)
    assert reply.chunks() == ("やま", "びこ")
    assert (reply.model, reply.finish_reason) == ("m-2026", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3, cached_input_tokens=4)
    assert json.loads(reply.extra) == {"reasoning_content": "hmm"}
    assert [chunk.done for chunk in chunks] == [False] * 7 + [True]


def test_a_stream_adds_up_to_the_response_that_would_have_come_at_once():
    reply = assembled(STREAM)
    assert reply.chunks() == ("やま", "びこ")
    whole = reply_from(LAST)
    assert (reply.text, reply.usage, reply.extra) == (whole.text, whole.usage, whole.extra)
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize("output", [[], None])
def test_a_last_event_that_leaves_the_output_out_is_completed_from_what_came_before(output):
    reply = assembled([*STREAM[:-1], {"type": "response.completed", "response": {**LAST, "output": output}}])
    assert reply.extra == assembled(STREAM).extra


@pytest.mark.parametrize("kept", range(len(STREAM)))
def test_a_stream_that_breaks_off_is_never_stored(kept):
    reply = assembled(STREAM[:kept])
    assert reply.finish_reason == "error"
    assert reply.text in ("", "やま", "やまびこ")


@pytest.mark.parametrize(
    ("event", "finish_reason"),
    [
        ({"type": "error", "code": "server_error", "message": "private"}, "error"),
        ({"type": "response.output_text.delta", "delta": "!"}, INCONSISTENT),
    ],
)
def test_a_stream_that_does_not_add_up_is_never_stored(event, finish_reason):
    reply = assembled([*STREAM[:5], event, *STREAM[5:]])
    assert reply.finish_reason == finish_reason
    assert refusal_to_store(Request("Hi"), reply)


def test_a_stream_that_ends_unfinished_says_so():
    last = {**LAST, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    reply = assembled([*STREAM[:-1], {"type": "response.incomplete", "response": last}])
    assert reply.finish_reason == "length"


@pytest.mark.parametrize(
    "data",
    ["private", "7", '{"type":"response.completed"}', '{"type":"response.output_text.delta","delta":7}', "[" * 100_000],
)
def test_what_is_no_event_of_a_stream_is_refused(data):
    with pytest.raises(InvalidRequest) as caught:
        chunk_from(data)
    assert "private" not in str(caught.value)


def test_some_servers_end_as_in_chat_completions():
    assert chunk_from("[DONE]") == chunk_from('{"type":"response.queued"}')


NAMES = st.sampled_from([
    "model", "input", "instructions", "type", "role", "content", "text", "store", "reasoning", "effort", "summary", "format", "tools", "prompt",
    "output", "status", "incomplete_details", "reason", "usage", "input_tokens", "input_tokens_details", "cached_tokens", "delta", "response",
    "annotations", "logprobs", "metadata", "output_index", "item", "refusal",
])  # fmt: skip
WORDS = st.sampled_from([
    "", "user", "assistant", "message", "input_text", "output_text", "reasoning", "refusal", "function_call", "completed", "incomplete", "m",
    "response.output_text.delta", "response.completed", "response.output_item.done", "web_search_call", "やまびこ",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=6)


@given(OBJECTS, st.lists(OBJECTS, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_request_is_read_or_refused_and_what_is_read_has_a_key(body, items):
    for shape in (body, {**body, "model": "m", "input": items}):
        try:
            request = request_from(shape)
            assert key_of(request, normalise(request), embedder="e", policy=Policy())
        except InvalidRequest:
            continue


@given(OBJECTS, st.lists(OBJECTS, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_reply_is_read_or_refused(body, items):
    for shape in (body, {**body, "output": items}):
        try:
            reply = reply_from(shape)
        except InvalidRequest:
            continue
        assert isinstance(reply, Reply)
        assert isinstance(refusal_to_store(Request("Hi"), reply), str)


@given(st.lists(OBJECTS | JSON, max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_stream_is_read_or_refused(stream):
    assembly, texts = Assembly(), []
    for event in stream:
        try:
            texts.append(assembly.add(json.dumps(event)).text)
        except InvalidRequest:
            continue
    assert assembly.reply().text == "".join(texts)
