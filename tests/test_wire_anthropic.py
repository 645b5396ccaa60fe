"""Anthropic's Messages to our vocabulary and back."""

import json

import pytest

from yamabiko.core.admit import refusal_to_store
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.types import Policy, Request, Usage
from yamabiko.wire import openai
from yamabiko.wire.anthropic import UNKNOWN_EVENT, Assembly, chunk_from, reply_from, request_from, to_body
from yamabiko.wire.replay import loss
from yamabiko.wire.sse import reply_of

BODY = {"model": "m", "max_tokens": 99, "system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]}


def scope(body):
    request = request_from(body)
    return key_of(request, normalise(request), embedder="e", policy=Policy()).scope.digest


TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "やまびことは？"},
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BODY, {"model": "m", "max_tokens": 99, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}),
        ({**BODY, "messages": TURNS}, {"model": "m", "max_tokens": 99, "messages": [{"role": "developer", "content": "Be brief."}, *TURNS]}),
        (
            {"model": "m", "max_tokens": 9, "messages": TURNS, "stop_sequences": ["x"], "temperature": 0.5, "top_p": 0.9},
            {"model": "m", "max_tokens": 9, "messages": TURNS, "stop": "x", "temperature": 0.5, "top_p": 0.9},
        ),
        (
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}]},
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
        ),
    ],
)  # fmt: skip
def test_the_same_question_in_both_vendors_shapes_is_the_same_request(ours, theirs):
    assert request_from(ours) == openai.request_from(theirs)


def test_the_system_prompt_may_come_in_blocks():
    blocks = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert request_from({**BODY, "system": blocks}) == request_from(BODY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 98),
        ("temperature", 0.5),
        ("top_k", 5),
        ("stop_sequences", ["x"]),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}),
        ("tools", [{"name": "weather", "input_schema": {"type": "object"}}]),
        ("tool_choice", {"type": "any"}),
        ("output_config", {"format": {"type": "json_schema"}}),
        ("mcp_servers", [{"url": "https://example.org"}]),
        ("a_field_of_next_year", 1),
        ("system", "Be long."),
        ("system", [{"type": "text", "text": "Be brief.", "citations": []}]),
        ("model", "m2"),
    ],
)
def test_every_field_that_may_change_an_answer_changes_the_scope(field, value):
    assert scope({**BODY, field: value}) != scope(BODY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", True),
        ("metadata", {"user_id": "eve"}),
        ("service_tier", "auto"),
        ("top_k", None),
        ("stop_sequences", []),
    ],
)
def test_fields_that_change_no_answer_do_not_split_the_cache(field, value):
    assert scope({**BODY, field: value}) == scope(BODY)


def test_a_tool_result_is_not_matched_by_meaning():
    result = {"type": "tool_result", "tool_use_id": "1", "content": "sunny"}
    request = request_from(
        {**BODY, "messages": [{"role": "user", "content": [result, {"type": "text", "text": "and now?"}]}]}
    )
    assert normalise(request).text == ""
    assert request.bypass == "a message holds the result of a tool"


@pytest.mark.parametrize(
    ("block", "held"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/private.png"}}, "an image"),
        ({"type": "document", "source": {"type": "text", "data": "private"}}, "a document"),
        ({"type": "tool_use", "id": "1", "name": "private", "input": {}}, "a call of a tool"),
        ({"type": "web_search_tool_result", "tool_use_id": "1", "content": []}, "the result of a tool"),
        ({"type": "search_result", "source": "private", "title": "t", "content": []}, "the result of a search"),
        ({"type": "container_upload", "file_id": "private"}, "a file"),
        ({"type": "private_block_of_next_year"}, "more than text"),
        ({"type": ["private"]}, "more than text"),
        ({"text": "private"}, "a part that doesn't say its type"),
        ({"type": None, "text": "private"}, "a part that doesn't say its type"),
        ("private", "a part that doesn't say its type"),
    ],
)
def test_what_is_not_text_bypasses_the_cache_wherever_it_stands(block, held):
    held_first = [{"role": "user", "content": [block]}, *TURNS[1:]]
    for messages in (held_first, [*TURNS[:2], {"role": "user", "content": [{"type": "text", "text": "Hi"}, block]}]):
        assert request_from({**BODY, "messages": messages}).bypass == f"a message holds {held}"


@pytest.mark.parametrize("system", [[{"text": "Be brief."}], ["Be brief."]])
def test_a_system_prompt_in_parts_that_the_vendor_refuses_bypasses_the_cache(system):
    assert request_from({**BODY, "system": system}).bypass == "a message holds a part that doesn't say its type"
    assert request_from({**BODY, "system": [{"type": "text", "text": "Be brief."}]}).bypass == ""


def test_a_container_that_the_vendor_keeps_bypasses_the_cache():
    assert "container" in request_from({**BODY, "container": "private"}).bypass
    assert "private" not in request_from({**BODY, "container": "private"}).bypass


@pytest.mark.parametrize(
    ("given", "bypasses"),
    [
        ({"tools": [{"name": "weather", "input_schema": {}}]}, False),
        ({"tools": [{"type": "custom", "name": "weather", "input_schema": {}}]}, False),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, True),
        ({"tools": [{"name": "weather"}, {"type": "code_execution_20250825", "name": "code_execution"}]}, True),
        ({"tools": "private"}, True),
        ({"tools": [{"type": ["private"]}]}, True),
        ({"mcp_servers": [{"url": "private"}]}, True),
    ],
)
def test_a_tool_that_the_vendor_runs_bypasses_the_cache(given, bypasses):
    why = "the request offers a tool that the vendor runs"
    assert request_from({**BODY, **given}).bypass == (why if bypasses else "")


def test_thinking_that_is_sent_back_is_a_part_of_the_conversation():
    thought = {"type": "thinking", "thinking": "hmm", "signature": "s"}
    told = [*TURNS[:1], {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]}, TURNS[2]]
    assert request_from({**BODY, "messages": told}).bypass == ""
    assert scope({**BODY, "messages": told}) != scope({**BODY, "messages": TURNS})


def test_a_wandering_cache_breakpoint_does_not_change_the_request():
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    marked = {**image, "cache_control": {"type": "ephemeral"}}
    assert request_from({**BODY, "messages": [{"role": "user", "content": [image]}]}) == request_from(
        {**BODY, "messages": [{"role": "user", "content": [marked]}]}
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**BODY, "model": None}, "model"),
        ({**BODY, "messages": None}, "messages"),
        ({**BODY, "messages": [{"role": 7}]}, r"messages\[0\].role"),
        ({**BODY, "system": 7}, "system"),
        ({**BODY, "system": [7]}, "system"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field):
        request_from(body)


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        {**BODY, "stop_sequences": ["x"], "temperature": 0.5, "tools": [{"name": "w"}], "tool_choice": {"type": "auto"}},
        {**BODY, "system": [{"type": "text", "text": "Be brief.", "citations": {"enabled": True}}]},
        {**BODY, "messages": [*TURNS[:1], {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "w", "input": {}}]},
                              {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "sunny"}]}]},
    ],
)  # fmt: skip
def test_a_body_survives_the_round_trip(body):
    assert to_body(request_from(body)) == body


def test_a_body_may_ask_for_a_stream():
    assert to_body(request_from(BODY), stream=True) == {**BODY, "stream": True}


def response(*content, stop_reason="end_turn"):
    usage = {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}
    return {"type": "message", "model": "m-2026", "content": list(content), "stop_reason": stop_reason, "usage": usage}


HELLO = {"type": "text", "text": "Hello"}


def test_a_reply_is_read():
    reply = reply_from(response(HELLO, {"type": "text", "text": " there"}))
    assert (reply.text, reply.model, reply.finish_reason) == ("Hello there", "m-2026", "stop")


def test_cached_input_is_a_part_of_the_input():
    assert reply_from(response(HELLO)).usage == Usage(input_tokens=15, output_tokens=3, cached_input_tokens=4)


def test_thinking_and_citations_are_kept_for_replay():
    cited = {"type": "text", "text": "Hello", "citations": [{"url": "https://example.org"}]}
    thought = {"type": "thinking", "thinking": "hmm", "signature": "s"}
    reply = reply_from(response(thought, cited))
    assert reply.text == "Hello"
    assert json.loads(reply.extra)["messages"]["content"] == [thought, {**cited, "text": 5}]


def test_a_text_is_kept_once():
    reply = reply_from({**response(HELLO), "id": "msg_1"})
    assert "Hello" not in reply.extra
    about = json.loads(reply.extra)["messages"]
    assert about.keys() == {"about"}
    assert about["about"].keys() == {"id", "stop_reason", "usage"}


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, "error"),
    ],
)
def test_why_a_reply_ended_in_our_words_and_only_a_whole_answer_is_stored(stop_reason, finish_reason):
    reply = reply_from(response(HELLO, stop_reason=stop_reason))
    assert reply.finish_reason == finish_reason
    assert (refusal_to_store(Request("Hi"), reply) == "") == (finish_reason == "stop")


def test_a_reply_that_calls_a_tool_is_not_stored():
    reply = reply_from(response(HELLO, {"type": "tool_use", "id": "1", "name": "w", "input": {}}))
    assert refusal_to_store(Request("Hi"), reply) == "the reply calls tools"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "error", "error": {"message": "private"}}, "content"),
        ({"content": ["private"]}, "content"),
        ({"content": [{"type": "text", "text": 7}]}, r"content\[0\].text"),
        ({"content": [{"type": "text", "text": "x", "citations": "private"}]}, r"content\[0\].citations"),
        ({"content": [], "usage": {"input_tokens": "9"}}, "usage.input_tokens"),
    ],
)
def test_a_reply_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        reply_from(body)
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (response(HELLO), True),
        (response({**HELLO, "citations": None}), True),
        (response({**HELLO, "citations": [{"url": "https://example.org"}]}), False),
        (response({"type": "thinking", "thinking": "", "signature": "s"}, HELLO), False),
        (response(HELLO, HELLO), False),
        ({**response(HELLO, stop_reason="stop_sequence"), "stop_sequence": "END"}, False),
        (response(HELLO, stop_reason="max_tokens"), False),
    ],
)
def test_only_what_is_nothing_but_a_text_can_be_told_through_another_api(body, plain):
    assert (loss(reply_from(body), "chat") == "") == plain
    assert loss(reply_from(body), "messages") == ""


@pytest.mark.parametrize(
    ("block", "stored"),
    [
        ({"type": "server_tool_use", "id": "1", "name": "web_search", "input": {"query": "q"}}, True),
        ({"type": "server_tool_use", "id": "1", "name": "web_fetch", "input": {}}, True),
        ({"type": "server_tool_use", "id": "1", "name": "bash_code_execution", "input": {}}, False),
        ({"type": "server_tool_use", "id": "1", "name": 7, "input": {}}, False),
        ({"type": "mcp_tool_use", "id": "1", "name": "order", "input": {}}, False),
        ({"type": "web_search_tool_result", "tool_use_id": "1", "content": []}, True),
    ],
)
def test_an_answer_is_stored_where_the_vendors_tools_only_read_for_it(block, stored):
    reply = reply_from(response(block, HELLO))
    assert (refusal_to_store(Request("Hi"), reply) == "") == stored


STREAM = [
    '{"type":"message_start","message":{"model":"m-2026","content":[],"usage":{"input_tokens":9,"output_tokens":1}}}',
    '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hmm"}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}',
    '{"type":"content_block_stop","index":0}',
    '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
    '{"type":"ping"}',
    '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"やま"}}',
    '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"びこ"}}',
    '{"type":"content_block_stop","index":1}',
    '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}',
    '{"type":"message_stop"}',
]


def test_a_stream_is_read():
    chunks = [chunk_from(data) for data in STREAM]
    reply = reply_of(chunks)
    assert reply.chunks() == ("やま", "びこ")
    assert (reply.model, reply.finish_reason) == ("m-2026", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3)
    assert json.loads(reply.extra) == {"reasoning_content": "hmm"}
    assert [chunk.done for chunk in chunks] == [False] * 11 + [True]


def test_a_streams_tool_calls_are_seen():
    start = chunk_from(
        '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"1","name":"w"}}'
    )
    more = chunk_from('{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}')
    assert len(reply_of([start, more]).tool_calls) == 2


def test_an_error_in_a_stream_ends_it_as_an_error():
    assert chunk_from('{"type":"error","error":{"type":"overloaded_error"}}').finish_reason == "error"


@pytest.mark.parametrize(
    "data", ["private", "7", '{"type":"message_start"}', '{"type":"content_block_delta","delta":7}']
)
def test_what_is_no_event_of_a_stream_is_refused(data):
    with pytest.raises(InvalidRequest) as caught:
        chunk_from(data)
    assert "private" not in str(caught.value)


def assembled(events):
    assembly = Assembly()
    for data in events:
        assembly.add(data)
    return assembly.reply()


def test_a_stream_adds_up_to_the_message_that_would_have_come_at_once():
    reply = assembled(STREAM)
    thought = {"type": "thinking", "thinking": "hmm", "signature": "s"}
    whole = reply_from(
        {
            "model": "m-2026",
            "content": [thought, {"type": "text", "text": "やまびこ"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 9, "output_tokens": 3},
        }
    )
    assert reply.chunks() == ("やま", "びこ")
    assert (reply.text, reply.usage, reply.extra) == (whole.text, whole.usage, whole.extra)
    assert reply.finish_reason == whole.finish_reason == "stop"


def test_a_streams_citations_and_tools_are_put_together():
    found = {"type": "web_search_tool_result", "tool_use_id": "1", "content": [{"type": "web_search_result"}]}
    citation = {"type": "web_search_result_location", "url": "https://example.org", "cited_text": "c"}
    call = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"que'}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": 'ry":"q"}'}},
        {"type": "content_block_start", "index": 1, "content_block": found},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "", "citations": []}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": citation}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 70, "output_tokens": 3}},
        {"type": "message_stop"},
    ]  # fmt: skip
    reply = assembled(map(json.dumps, events))
    assert json.loads(reply.extra)["messages"]["content"] == [
        {**call, "input": {"query": "q"}},
        found,
        {"type": "text", "text": 5, "citations": [citation]},
    ]
    assert reply.usage == Usage(input_tokens=70, output_tokens=3)
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize("kept", range(1, len(STREAM)))
def test_a_stream_that_breaks_off_is_never_stored(kept):
    reply = assembled(STREAM[:kept])
    assert reply.finish_reason == "error"
    assert reply.text in ("", "やま", "やまびこ")


@pytest.mark.parametrize(
    "event",
    [
        '{"type":"content_block_delta","index":1,"delta":{"type":"a_delta_of_next_year","text":"x"}}',
        '{"type":"content_block_delta","index":9,"delta":{"type":"text_delta","text":"x"}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}',
        '{"type":"content_block_delta","index":"1","delta":{"type":"text_delta","text":"x"}}',
        '{"type":"content_block_start","index":7,"content_block":{"type":"text","text":"x"}}',
        '{"type":"an_event_of_next_year"}',
    ],
)
def test_what_can_not_be_told_again_is_never_stored(event):
    reply = assembled([*STREAM[:9], event, *STREAM[9:]])
    assert reply.finish_reason == UNKNOWN_EVENT
    assert refusal_to_store(Request("Hi"), reply)


def test_an_error_in_the_midst_of_a_stream_is_never_stored():
    assert assembled([*STREAM[:9], '{"type":"error","error":{}}', *STREAM[9:]]).finish_reason == "error"


@pytest.mark.parametrize("data", ["[" * 100_000, r'{"type":"ping","x":"\ud800"}'])
def test_what_could_not_be_sent_on_is_no_event(data):
    with pytest.raises(InvalidRequest):
        Assembly().add(data)
