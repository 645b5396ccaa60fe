"""OpenAI's Chat Completions to our vocabulary and back."""

import json

import pytest

from yamabiko.core.admit import refusal_to_store
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest
from yamabiko.types import Policy, Request, Usage
from yamabiko.wire.openai import chunk_from, reply_from, request_from, to_body
from yamabiko.wire.sse import reply_of

BODY = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def scope(body):
    request = request_from(body)
    return key_of(request, normalise(request), embedder="e", policy=Policy()).scope.digest


def test_a_request_is_read():
    request = request_from({**BODY, "temperature": 0.2, "user": "eve"}, tenant="acme", user="ann")
    assert request == Request(
        "Hi", model="m", system="Be brief.", tenant="acme", user="ann", sampling={"temperature": 0.2}
    )


def test_leading_system_and_developer_messages_are_the_system_prompt():
    leading = [
        {"role": "system", "content": "One."},
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
    ]
    request = request_from({"model": "m", "messages": [*leading, {"role": "user", "content": "Hi"}]})
    assert request.system == "One.\n\nTwo."
    assert [message.role for message in request.messages] == ["user"]


def test_a_system_message_in_the_middle_stays_where_it_is():
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now rhyme."},
        {"role": "user", "content": "Go"},
    ]
    request = request_from({"model": "m", "messages": turns})
    assert request.system == ""
    assert [message.role for message in request.messages] == ["user", "system", "user"]


def test_a_conversation_of_system_messages_alone_asks_nothing_to_match():
    assert normalise(request_from({"model": "m", "messages": [{"role": "system", "content": "x"}]})).text == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("max_tokens", 5),
        ("max_completion_tokens", 5),
        ("seed", 1),
        ("stop", ["x"]),
        ("presence_penalty", 1),
        ("frequency_penalty", 1),
        ("logit_bias", {"1": 2}),
        ("logprobs", True),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {"search_context_size": "low"}),
        ("functions", [{"name": "f"}]),
        ("a_field_of_next_year", 1),
        ("response_format", {"type": "json_object"}),
        ("tools", [TOOL]),
        ("tool_choice", "none"),
        ("model", "m2"),
    ],
)
def test_every_field_that_may_change_an_answer_changes_the_scope(field, value):
    assert scope({**BODY, field: value}) != scope(BODY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", True),
        ("stream_options", {"include_usage": True}),
        ("user", "eve"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "flex"),
        ("prompt_cache_key", "k"),
        ("safety_identifier", "s"),
        ("temperature", None),
        ("n", 1),
        ("tools", []),
    ],
)
def test_fields_that_change_no_answer_do_not_split_the_cache(field, value):
    assert scope({**BODY, field: value}) == scope(BODY)


def test_one_stop_word_may_be_written_in_two_ways():
    assert scope({**BODY, "stop": "x"}) == scope({**BODY, "stop": ["x"]})


def test_several_choices_bypass_the_cache():
    request = request_from({**BODY, "n": 3})
    assert request.bypass
    assert to_body(request)["n"] == 3


def test_an_assistants_message_as_the_api_gave_it_is_the_one_that_was_said():
    echoed = {"role": "assistant", "content": "Hello", "refusal": None, "annotations": [], "tool_calls": None}
    turns = [{"role": "user", "content": "Hi"}, echoed, {"role": "user", "content": "Go"}]
    plain = [turns[0], {"role": "assistant", "content": "Hello"}, turns[2]]
    assert scope({**BODY, "messages": turns}) == scope({**BODY, "messages": plain})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({**BODY, "model": ""}, "model"),
        ({**BODY, "model": 7}, "model"),
        ({"model": "m"}, "messages"),
        ({**BODY, "messages": []}, "messages"),
        ({**BODY, "messages": "Hi"}, "messages"),
        ({**BODY, "messages": ["private"]}, r"messages\[0\]"),
        ({**BODY, "messages": [{"content": "private"}]}, r"messages\[0\].role"),
        ({**BODY, "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": 7}]}, r"messages\[1\]"),
        ({**BODY, "messages": [{"role": "user", "content": [7]}]}, r"messages\[0\]"),
        ({**BODY, "n": "2"}, "n must"),
        ({**BODY, "n": 0}, "n must"),
        ({**BODY, "temperature": float("nan")}, "JSON"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        request_from(body)
    assert "private" not in str(caught.value)


BODIES = [
    BODY,
    {**BODY, "temperature": 0.5, "stop": ["x"], "tools": [TOOL], "tool_choice": "auto", "response_format": {"type": "text"}},
    {**BODY, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}]}]},
    {"model": "m", "messages": [{"role": "user", "content": "weather?"},
                                {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
                                {"role": "tool", "content": "sunny", "tool_call_id": "1"}]},
    {"model": "m", "messages": [{"role": "user", "content": "山彦とは？", "name": "Ann"}]},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_body_survives_the_round_trip(body):
    assert to_body(request_from(body)) == body


def test_a_stream_is_asked_to_report_its_usage():
    assert to_body(Request("Hi", model="m"), stream=True) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def response(**message):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    return {"id": "x", "model": "m-2026", "choices": [choice], "usage": usage}


def test_a_reply_is_read():
    reply = reply_from(response(content="Hello", refusal=None, annotations=[]))
    assert (reply.text, reply.model, reply.finish_reason, reply.extra) == ("Hello", "m-2026", "stop", "")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3, cached_input_tokens=4)


def test_reasoning_and_annotations_are_kept_for_replay():
    reply = reply_from(response(content="Hello", reasoning_content="hmm"))
    assert json.loads(reply.extra) == {"reasoning_content": "hmm"}


@pytest.mark.parametrize(
    "body",
    [
        response(content=None, tool_calls=[{"id": "1", "function": {"name": "f"}}]),
        response(content=None, function_call={"name": "f"}),
        response(content=None, refusal="I can't"),
        response(content="half", refusal="I can't"),
        {"choices": [{"finish_reason": "length", "message": {"content": "half"}}]},
        {"choices": [{"finish_reason": "function_call", "message": {"content": "x"}}]},
        {"choices": [{"finish_reason": None, "message": {"content": "half"}}]},
        {"choices": [{"finish_reason": "something_new", "message": {"content": "half"}}]},
    ],
)
def test_what_is_not_a_whole_answer_is_never_stored(body):
    assert refusal_to_store(Request("Hi"), reply_from(body))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"error": {"message": "private"}}, "choices"),
        ({"choices": []}, "choices"),
        ({"choices": [{}]}, "message"),
        ({"choices": [{"message": {"content": 7}}]}, "content"),
        ({**response(content="x"), "usage": {"prompt_tokens": "9"}}, "usage.prompt_tokens"),
        ({**response(content="x"), "usage": {"completion_tokens": -1}}, "usage.completion_tokens"),
    ],
)
def test_a_reply_that_does_not_fit_names_the_field(body, field):
    with pytest.raises(InvalidRequest, match=field) as caught:
        reply_from(body)
    assert "private" not in str(caught.value)


STREAM = [
    '{"model":"m-2026","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
    '{"model":"m-2026","choices":[{"index":0,"delta":{"content":"やま"},"finish_reason":null}]}',
    '{"model":"m-2026","choices":[{"index":0,"delta":{"content":"びこ"},"finish_reason":null}],"usage":null}',
    '{"model":"m-2026","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    '{"model":"m-2026","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}',
    "[DONE]",
]


def test_a_stream_is_read():
    chunks = [chunk_from(data) for data in STREAM]
    reply = reply_of(chunks)
    assert reply.chunks() == ("やま", "びこ")
    assert (reply.model, reply.finish_reason) == ("m-2026", "stop")
    assert reply.usage == Usage(input_tokens=9, output_tokens=3)
    assert [chunk.done for chunk in chunks] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("data", "finish_reason"),
    [
        ('{"error":{"message":"overloaded"}}', "error"),
        ('{"choices":[{"delta":{"tool_calls":[{"index":0}]},"finish_reason":"tool_calls"}]}', "tool_calls"),
        ('{"choices":[{"delta":{"function_call":{"name":"f"}},"finish_reason":"function_call"}]}', "tool_calls"),
        ('{"choices":[{"delta":{"refusal":"I can\'t"},"finish_reason":"stop"}]}', "content_filter"),
        ('{"choices":[{"delta":{"content":"x"},"finish_reason":"length"}]}', "length"),
    ],
)
def test_a_stream_that_is_not_a_whole_answer_is_never_stored(data, finish_reason):
    reply = reply_of([chunk_from('{"choices":[{"delta":{"content":"Hello"}}]}'), chunk_from(data)])
    assert reply.finish_reason == finish_reason
    assert refusal_to_store(Request("Hi"), reply)


def test_a_streams_reasoning_is_kept():
    assert chunk_from('{"choices":[{"delta":{"reasoning_content":"hmm"}}]}').reasoning == "hmm"


@pytest.mark.parametrize(
    "data", ["private", "[1]", '{"choices":7}', '{"choices":[7]}', '{"choices":[{"delta":{"content":7}}]}']
)
def test_what_is_no_event_of_a_stream_is_refused(data):
    with pytest.raises(InvalidRequest) as caught:
        chunk_from(data)
    assert "private" not in str(caught.value)
