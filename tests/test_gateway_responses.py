"""OpenAI's Responses as the gateway speaks them, read by OpenAI's own client.

The bodies and streams are written by hand after the vendor's reference ("Responses", "Streaming events").
"""

import asyncio
import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import damaged
from loopback import Answer, serving
from yamabiko.core.admit import refusal_to_store
from yamabiko.errors import InvalidRequest
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.dialects.responses import Responses
from yamabiko.wire.sse import Event, Parser

DIALECT = Responses()
BODY = {"model": "m", "input": "Hi"}
ASKED = DIALECT.asked(BODY, tenant="t", user="")

USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 10},
    "total_tokens": 39,
}
PLAIN = {
    "id": "resp_67cc",
    "object": "response",
    "created_at": 1741476777,
    "status": "completed",
    "background": False,
    "completed_at": 1741476778,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "m-2026",
    "output": [
        {
            "type": "message",
            "id": "msg_67cc",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "やまびこ is an echo.", "annotations": [], "logprobs": []},
            ],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": USAGE,
    "user": None,
    "metadata": {},
}
CITATION = {
    "type": "url_citation",
    "start_index": 0,
    "end_index": 7,
    "url": "https://example.org/echo",
    "title": "Echo",
}


def token(text):
    return {"token": text, "logprob": -0.1, "bytes": list(text.encode()), "top_logprobs": []}


def message(number, *parts, **members):
    base = {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant"}
    return {**base, "content": list(parts), **members}


RICH = {
    **PLAIN,
    "id": "resp_68aa",
    "output": [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "An echo."}, {"type": "summary_text", "text": "Look."}],
            "encrypted_content": "gAAA==",
        },
        {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "hmm"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "echo"}},
        message(
            1,
            {
                "type": "output_text",
                "text": "An echo 山",
                "annotations": [CITATION],
                "logprobs": [token("An"), token(" echo"), token(" "), token("山")],
            },
            {"type": "output_text", "text": "answers.", "annotations": []},
            phase="final_answer",
        ),
    ],
}
CALLS = {
    **PLAIN,
    "output": [
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"京都"}',
            "status": "completed",
        },
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "sql", "input": "select 1"},
        {"type": "mcp_call", "id": "mcp_1", "name": "order", "arguments": "{}", "server_label": "shop"},
    ],
}
CUT_OFF = {**PLAIN, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
REFUSED = {**PLAIN, "output": [message(1, {"type": "refusal", "refusal": "I can't."})]}
FAILED = {**PLAIN, "status": "failed", "error": {"code": "server_error", "message": "Oh."}, "output": [], "usage": None}
ALL = [PLAIN, RICH, CALLS, CUT_OFF, REFUSED]


def marked(body):
    """The same with all input read from a cache, as the gateway marks what it serves."""
    details = {"cached_tokens": body["usage"]["input_tokens"], "cache_write_tokens": 0}
    return {**body, "usage": {**body["usage"], "input_tokens_details": details}}


def events(frames):
    parser = Parser()
    return [event for frame in frames for event in parser.feed(frame)]


def heard(frames):
    """The Reply that a stream adds up to, and the pieces of text on the way."""
    listener = DIALECT.listener()
    chunks = [listener.hear(event) for event in events(frames)]
    assert [chunk.done for chunk in chunks][-1:] == [True]
    assert not any(chunk.done for chunk in chunks[:-1])
    return listener.reply(), [chunk.text for chunk in chunks if chunk.text]


def served(reply):
    """A server that answers with this reply, streamed where it is asked so."""

    def answer(seen, number):
        asked = DIALECT.asked(seen.body, tenant="t", user="")
        assert DIALECT.loss(reply, asked) == ""
        if asked.stream:
            return Answer(pieces=list(DIALECT.frames(reply, asked)), headers={"Content-Type": "text/event-stream"})
        return Answer(body=DIALECT.body(reply, asked), headers={"Content-Type": "application/json"})

    return serving(answer)


def options(url):
    return {"base_url": url, "api_key": "k", "max_retries": 0, "timeout": 20}


@pytest.mark.parametrize("body", ALL)
def test_the_vendors_client_reads_a_replayed_response_as_it_was(body):
    with served(DIALECT.reply(body)) as (url, _), openai.OpenAI(**options(url)) as client:
        response = client.responses.create(**BODY)
    assert response.to_dict(mode="json") == marked(body)


@pytest.mark.parametrize("body", ALL)
def test_a_replayed_stream_tells_the_vendors_client_the_same(body):
    with served(DIALECT.reply(body)) as (url, _), openai.OpenAI(**options(url)) as client:
        raw = list(client.responses.create(**BODY, stream=True))
        whole = client.responses.create(**BODY)
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    assert raw[-1].response.to_dict(mode="json") == whole.to_dict(mode="json") == marked(body)
    texts = [event.delta for event in raw if event.type == "response.output_text.delta"]
    assert "".join(texts) == whole.output_text
    done = [event.item for event in raw if event.type == "response.output_item.done"]
    assert [item.to_dict(mode="json") for item in done] == body["output"]


@pytest.mark.parametrize("body", [PLAIN, RICH, CALLS, REFUSED])
def test_the_vendors_helper_puts_a_replayed_stream_together(body):
    with (
        served(DIALECT.reply(body)) as (url, _),
        openai.OpenAI(**options(url)) as client,
        client.responses.stream(**BODY) as stream,
    ):
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert final.output_text == DIALECT.reply(body).text
    last = {PLAIN["id"]: ["やまびこ is an echo."], RICH["id"]: ["answers."]}
    assert snapshots[-1:] == (last[body["id"]] if final.output_text else [])
    assert (final.id, final.usage.input_tokens_details.cached_tokens) == (body["id"], 9)


def test_the_asynchronous_client_reads_both():
    async def read(url):
        async with openai.AsyncOpenAI(**options(url)) as client:
            whole = await client.responses.create(**BODY)
            async with client.responses.stream(**BODY) as stream:
                kinds = [event.type async for event in stream]
                final = await stream.get_final_response()
        return whole, kinds, final

    with served(DIALECT.reply(PLAIN)) as (url, _):
        whole, kinds, final = asyncio.run(read(url))
    assert whole.output_text == final.output_text == "やまびこ is an echo."
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.delta", "response.output_text.done", "response.content_part.done"),
        *("response.output_item.done", "response.completed"),
    ]


def test_events_of_all_kinds_of_items_come_in_the_vendors_order():
    told = [json.loads(event.data) for event in events(DIALECT.frames(DIALECT.reply(RICH), ASKED))]
    assert [event["type"].removeprefix("response.") for event in told] == [
        *("created", "in_progress"),
        "output_item.added",
        *("reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done"),
        "reasoning_summary_part.done",
        *("reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done"),
        "reasoning_summary_part.done",
        "output_item.done",
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"),
        *("content_part.done", "output_item.done"),
        *("output_item.added", "web_search_call.in_progress", "web_search_call.searching"),
        *("web_search_call.completed", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.annotation.added"),
        *("output_text.done", "content_part.done"),
        *("content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        "completed",
    ]
    assert all(event["output_index"] in range(4) for event in told[2:-1])
    assert told[0]["response"]["status"] == "in_progress"
    assert told[0]["response"]["output"] == []
    assert told[0]["response"]["usage"] is None


def test_log_probabilities_come_with_the_pieces_that_their_tokens_stand_in():
    whole = DIALECT.reply(RICH)
    pieces = ("An e", "cho ", "山", "answers.")
    reply = Reply(text=whole.text, chunk_lengths=tuple(map(len, pieces)), extra=whole.extra)
    told = [json.loads(event.data) for event in events(DIALECT.frames(reply, ASKED))]
    deltas = [event for event in told if event["type"] == "response.output_text.delta"]
    assert [(event["delta"], [each["token"] for each in event["logprobs"]]) for event in deltas] == [
        ("An e", ["An", " echo"]),
        ("cho ", [" "]),
        ("山", ["山"]),
        ("answers.", []),
    ]


STREAM = [
    {"type": "response.created", "response": {**PLAIN, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.in_progress", "response": {**PLAIN, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": message("67cc", status="in_progress")},
    {"type": "response.content_part.added", "item_id": "msg_67cc", "output_index": 0, "content_index": 0,
     "part": {"type": "output_text", "text": "", "annotations": [], "logprobs": []}},
    {"type": "response.output_text.delta", "item_id": "msg_67cc", "output_index": 0, "content_index": 0, "delta": "やまびこ", "logprobs": [], "obfuscation": "x8Yt"},
    {"type": "response.output_text.delta", "item_id": "msg_67cc", "output_index": 0, "content_index": 0, "delta": " is an", "logprobs": [], "obfuscation": "k2"},
    {"type": "response.output_text.delta", "item_id": "msg_67cc", "output_index": 0, "content_index": 0, "delta": " echo.", "logprobs": [], "obfuscation": "Qq"},
    {"type": "response.output_text.done", "item_id": "msg_67cc", "output_index": 0, "content_index": 0, "text": "やまびこ is an echo.", "logprobs": []},
    {"type": "response.content_part.done", "item_id": "msg_67cc", "output_index": 0, "content_index": 0, "part": PLAIN["output"][0]["content"][0]},
    {"type": "response.output_item.done", "output_index": 0, "item": PLAIN["output"][0]},
    {"type": "response.completed", "response": PLAIN},
]  # fmt: skip


def framed(stream):
    for number, event in enumerate(stream):
        told = json.dumps({**event, "sequence_number": number})
        yield f"event: {event['type']}\ndata: {told}\n\n".encode()


def test_what_came_as_a_stream_is_told_at_once_as_if_it_had_come_so():
    reply, pieces = heard(framed(STREAM))
    assert pieces == ["やまびこ", " is an", " echo."]
    assert reply.chunk_lengths == (4, 6, 6)
    assert json.loads(DIALECT.body(reply, ASKED)) == marked(PLAIN)
    assert reply.extra == DIALECT.reply(PLAIN).extra
    assert refusal_to_store(Request("Hi"), reply) == ""


def test_a_replayed_stream_is_the_vendors_but_for_its_padding_and_the_mark():
    reply, _ = heard(framed(STREAM))
    again = [json.loads(event.data) for event in events(DIALECT.frames(reply, ASKED))]
    expected = [{k: v for k, v in event.items() if k != "obfuscation"} for event in STREAM]
    for event in expected[:2]:
        event["response"] = {**event["response"], "completed_at": None}
    expected[-1] = {**expected[-1], "response": marked(PLAIN)}
    assert [{k: v for k, v in event.items() if k != "sequence_number"} for event in again] == expected


def test_a_response_that_failed_is_not_stored_and_says_so_to_who_waited():
    reply = DIALECT.reply(FAILED)
    assert refusal_to_store(Request("Hi"), reply)
    assert events(DIALECT.frames(reply, ASKED))[-1].event == "response.failed"
    assert events(DIALECT.frames(DIALECT.reply(CUT_OFF), ASKED))[-1].event == "response.incomplete"


def test_what_a_response_repeats_of_its_request_is_of_the_request_at_hand():
    theirs = {
        **PLAIN,
        "metadata": {"of": "eve-1"},
        "user": "eve-1",
        "safety_identifier": "eve-1",
        "instructions": "Be brief.",
    }
    ours = {**BODY, "metadata": {"of": "ann-1"}, "user": "ann-1", "instructions": "Be  brief."}
    reply = DIALECT.reply(theirs)
    told = json.loads(DIALECT.body(reply, DIALECT.asked(ours, tenant="t", user="")))
    assert (told["metadata"], told["user"], told["instructions"]) == ({"of": "ann-1"}, "ann-1", "Be  brief.")
    assert told["safety_identifier"] is None
    frames = b"".join(DIALECT.frames(reply, DIALECT.asked(BODY, tenant="t", user="")))
    assert b"eve-1" not in frames
    assert b"ann-1" not in frames


def test_no_input_is_lost_when_it_is_marked_as_cached_and_none_is_said_to_be_written():
    written = {"cached_tokens": 4, "cache_write_tokens": 5, "cache_write_tokens_details": {"ttl_30m_tokens": 5}}
    reply = DIALECT.reply({**PLAIN, "usage": {**USAGE, "input_tokens_details": written}})
    told = json.loads(DIALECT.body(reply, ASKED))["usage"]
    assert told["input_tokens_details"] == {"cached_tokens": 9, "cache_write_tokens": 0}
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (9, 30, 39)
    assert told["output_tokens_details"] == {"reasoning_tokens": 10}


@pytest.mark.parametrize(
    "given",
    [
        {"metadata": {"of": "ann"}},
        {"user": "ann"},
        {"safety_identifier": "ann"},
        {"prompt_cache_key": "k"},
        {"service_tier": "flex"},
        {"stream_options": {"include_obfuscation": False}},
    ],
)
def test_bytes_are_shared_only_between_requests_whose_answers_are_written_the_same(given):
    asked = DIALECT.asked({**BODY, **given}, tenant="t", user="")
    assert asked.request == ASKED.request
    assert asked.shape != ASKED.shape == ""


def test_a_stored_text_of_another_api_is_told_as_a_response():
    chat = '{"chat":{"id":"c","created":1741476777,"usage":{}}}'
    reply = Reply(text="Hello", model="m", usage=Usage(input_tokens=3, output_tokens=2), extra=chat)
    with served(reply) as (url, _), openai.OpenAI(**options(url)) as client:
        first = client.responses.create(**BODY, store=False, temperature=0.5, metadata={"of": "ann"})
        with client.responses.stream(**BODY) as stream:
            again = stream.get_final_response()
    assert first.output_text == again.output_text == "Hello"
    assert first.id == again.id
    assert first.id.startswith("resp_")
    assert (first.status, first.created_at, first.temperature) == ("completed", 1741476777, 0.5)
    assert first.metadata == {"of": "ann"}
    assert (first.usage.input_tokens_details.cached_tokens, first.usage.total_tokens) == (3, 5)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="x", extra='{"chat":{"id":"c","message":{"reasoning_content":"private"}}}'),
        Reply(text="x", extra='{"chat":{"logprobs":{"content":[]}}}'),
        Reply(text="x", extra='{"messages":{"about":{},"content":[]}}'),
        Reply(text="x", extra='{"messages":{"about":{},"stop_sequence":"private"}}'),
        Reply(text="x", tool_calls=('{"private":1}',)),
        Reply(text="x", finish_reason="length"),
        Reply(text="x", extra="private"),
    ],
)
def test_what_another_api_said_is_not_told_where_something_would_be_lost(reply):
    assert DIALECT.loss(reply, ASKED)
    assert "private" not in DIALECT.loss(reply, ASKED)


def test_nothing_of_its_own_is_lost():
    assert [DIALECT.loss(DIALECT.reply(body), ASKED) for body in ALL] == [""] * len(ALL)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_the_vendors_client_raises_what_it_knows_for_our_own_errors(status, raised):
    told = Answer(
        status=status,
        body=DIALECT.error(status, "overloaded", "Too many requests wait."),
        headers={"Content-Type": "application/json"},
    )
    with (
        serving(lambda *_: told) as (url, _),
        openai.OpenAI(**options(url)) as client,
        pytest.raises(raised, match="Too many requests wait") as caught,
    ):
        client.responses.create(**BODY)
    assert caught.value.code == "overloaded"


def test_the_vendors_client_raises_when_a_stream_breaks():
    frames = list(DIALECT.frames(DIALECT.reply(PLAIN), ASKED))
    half = [*frames[:5], b'data: {"type":"resp', DIALECT.error_frame("upstream_failed", "The upstream broke off.")]
    whole = [*frames[:5], DIALECT.error_frame("upstream_failed", "The upstream broke off.")]
    for pieces in (whole, half):
        told = Answer(pieces=pieces, headers={"Content-Type": "text/event-stream"})
        with (
            serving(lambda *_, told=told: told) as (url, _),
            openai.OpenAI(**options(url)) as client,
            pytest.raises((openai.APIError, ValueError)),
        ):
            list(client.responses.create(**BODY, stream=True))


TOLD = [[json.loads(event.data) for event in events(DIALECT.frames(DIALECT.reply(body), ASKED))] for body in ALL]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def part_of(pieces):
    return {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": [*map(token, pieces)]}


PARTS = st.lists(TEXTS.filter(bool), max_size=4).map(lambda pieces: (part_of(pieces), pieces))
ITEMS = st.one_of(
    st.lists(PARTS, max_size=3).map(
        lambda parts: (message(1, *(part for part, _ in parts)), [piece for _, pieces in parts for piece in pieces])
    ),
    st.lists(TEXTS, max_size=2).map(
        lambda texts: (
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": text} for text in texts]},
            [],
        )
    ),
    TEXTS.map(lambda text: ({"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": text}, [])),
)


@given(
    st.lists(ITEMS, max_size=4), st.integers(0, 99), st.integers(0, 99), st.sampled_from(["completed", "incomplete"])
)
@settings(max_examples=100, deadline=None)
def test_a_reply_says_the_same_streamed_or_not(items, spent, made, status):
    usage = {**USAGE, "input_tokens": spent, "output_tokens": made}
    whole = DIALECT.reply({**PLAIN, "output": [item for item, _ in items], "usage": usage, "status": status})
    pieces = tuple(piece for _, told in items for piece in told)
    told = {name: getattr(whole, name) for name in Reply.__slots__}
    reply = Reply(**told | {"chunk_lengths": tuple(map(len, pieces))})
    streamed, repeated = heard(DIALECT.frames(reply, ASKED))
    at_once = DIALECT.reply(json.loads(DIALECT.body(reply, ASKED)))
    assert tuple(repeated) == pieces
    assert streamed.chunk_lengths == reply.chunk_lengths
    for name in ("text", "tool_calls", "finish_reason"):
        assert getattr(streamed, name) == getattr(at_once, name) == getattr(whole, name)
    assert (streamed.usage, streamed.extra) == (at_once.usage, at_once.extra)
    assert (at_once.usage.input_tokens, at_once.usage.output_tokens) == (spent, made)


@given(damaged(ALL), damaged([BODY, {**BODY, "metadata": {"a": "b"}, "text": {}, "reasoning": {}, "tools": []}]))
@settings(max_examples=200, deadline=None)
def test_whatever_body_can_be_read_can_be_told_again(body, asked):
    try:
        ours = DIALECT.asked(asked, tenant="t", user="")
        reply = DIALECT.reply(body)
    except InvalidRequest:
        return
    assert isinstance(DIALECT.loss(reply, ours), str)
    assert isinstance(json.loads(DIALECT.body(reply, ours))["output"], list)
    assert events(DIALECT.frames(reply, ours))[0].event == "response.created"


@given(st.sampled_from([STREAM, *TOLD]).flatmap(lambda stream: damaged([{"events": stream}])))
@settings(max_examples=200, deadline=None)
def test_whatever_stream_comes_is_heard_or_refused_and_told_again(stream):
    listener, texts = DIALECT.listener(), []
    told = stream.get("events")
    for event in told if isinstance(told, list) else ():
        try:
            texts.append(listener.hear(Event(data=json.dumps(event))).text)
        except InvalidRequest:
            continue
    reply = listener.reply()
    assert reply.text == "".join(texts)
    assert json.loads(DIALECT.body(reply, ASKED))["object"] == "response"
    assert list(DIALECT.frames(reply, ASKED))
