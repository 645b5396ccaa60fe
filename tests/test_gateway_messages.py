"""Anthropic's Messages as the gateway speaks them, read by Anthropic's own client.

The bodies and streams are written by hand after the vendor's reference ("Messages", "Streaming messages").
"""

import asyncio
import json

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import damaged
from loopback import Answer, serving
from yamabiko.core.admit import refusal_to_store
from yamabiko.errors import InvalidRequest
from yamabiko.types import Reply, Request, Usage
from yamabiko.wire.dialects.messages import Messages
from yamabiko.wire.sse import Event, Parser

DIALECT = Messages()
BODY = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
ASKED = DIALECT.asked(BODY, tenant="t", user="")

PLAIN = {
    "id": "msg_01Hq",
    "type": "message",
    "role": "assistant",
    "model": "claude-m-2026",
    "content": [{"type": "text", "text": "やまびこ is an echo."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 9,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 30,
        "service_tier": "standard",
    },
}
CITATION = {
    "type": "web_search_result_location",
    "url": "https://example.org/echo",
    "title": "Echo",
    "encrypted_index": "Eo8B",
    "cited_text": "An echo answers.",
}
RICH = {
    **PLAIN,
    "id": "msg_02Rs",
    "content": [
        {"type": "thinking", "thinking": "An echo, then.", "signature": "EqQBCg=="},
        {"type": "redacted_thinking", "data": "EmwKAh=="},
        {"type": "text", "text": "Let me look."},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "echo"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {
                    "type": "web_search_result",
                    "url": "https://example.org/echo",
                    "title": "Echo",
                    "encrypted_content": "Et0B",
                    "page_age": None,
                }
            ],
        },
        {"type": "text", "text": "An echo ", "citations": [CITATION]},
        {"type": "text", "text": "answers."},
    ],
    "usage": {**PLAIN["usage"], "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}},
}
STOPPED = {**PLAIN, "stop_reason": "stop_sequence", "stop_sequence": "END"}
CALLS = {
    **PLAIN,
    "content": [
        {"type": "text", "text": "I'll look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "京都"}},
        {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
    ],
    "stop_reason": "tool_use",
}
CUT_OFF = {**PLAIN, "stop_reason": "max_tokens"}
REFUSED = {
    **PLAIN,
    "content": [],
    "stop_reason": "refusal",
    "stop_details": {"type": "refusal", "category": "cyber", "explanation": None},
}
ALL = [PLAIN, RICH, STOPPED, CALLS, CUT_OFF, REFUSED]


def marked(body):
    """The same with all input read from a cache, as the gateway marks what it serves."""
    usage = body["usage"]
    read = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    told = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": read}
    created = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    return {**body, "usage": {**usage, **told, "cache_creation": created}}


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
    return {"base_url": url.removesuffix("/v1"), "api_key": "k", "max_retries": 0, "timeout": 20}


@pytest.mark.parametrize("body", ALL)
def test_the_vendors_client_reads_a_replayed_message_as_it_was(body):
    with served(DIALECT.reply(body)) as (url, _), anthropic.Anthropic(**options(url)) as client:
        message = client.messages.create(**BODY)
    told = {name: value for name, value in message.to_dict().items() if value is not None}
    assert told == {name: value for name, value in marked(body).items() if value is not None}


@pytest.mark.parametrize("body", ALL)
def test_a_replayed_stream_tells_the_vendors_client_the_same(body):
    with served(DIALECT.reply(body)) as (url, _), anthropic.Anthropic(**options(url)) as client:
        with client.messages.stream(**BODY) as stream:
            texts = list(stream.text_stream)
            final = stream.get_final_message()
        whole = client.messages.create(**BODY)
    assert "".join(texts) == "".join(block.text for block in whole.content if block.type == "text")
    assert without_nothing(final.to_dict()) == without_nothing(whole.to_dict())


def without_nothing(value):
    """A JSON value without members that say nothing; a client's helper adds some of its own."""
    if isinstance(value, dict):
        return {k: without_nothing(v) for k, v in value.items() if v is not None and k != "parsed_output"}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


def test_the_asynchronous_client_reads_both():
    async def read(url):
        async with anthropic.AsyncAnthropic(**options(url)) as client:
            whole = await client.messages.create(**BODY)
            async with client.messages.stream(**BODY) as stream:
                texts = [text async for text in stream.text_stream]
                final = await stream.get_final_message()
            raw = [event.type async for event in await client.messages.create(**BODY, stream=True)]
        return whole, texts, final, raw

    with served(DIALECT.reply(PLAIN)) as (url, _):
        whole, texts, final, raw = asyncio.run(read(url))
    assert whole.content[0].text == final.content[0].text == "".join(texts) == "やまびこ is an echo."
    assert whole.usage.cache_read_input_tokens == final.usage.cache_read_input_tokens == 15
    assert raw == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


STREAM = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_02Rs","type":"message","role":"assistant","model":"claude-m-2026","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":2,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"An echo, "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"then."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCg=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"EmwKAh=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Let me"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":" look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\\"query\\""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":": \\"echo\\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://example.org/echo","title":"Echo","encrypted_content":"Et0B","page_age":null}]}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: content_block_start
data: {"type":"content_block_start","index":5,"content_block":{"citations":[],"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"https://example.org/echo","title":"Echo","encrypted_index":"Eo8B","cited_text":"An echo answers."}}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"text_delta","text":"An echo "}}

event: content_block_stop
data: {"type":"content_block_stop","index":5}

event: content_block_start
data: {"type":"content_block_start","index":6,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":6,"delta":{"type":"text_delta","text":"answers."}}

event: content_block_stop
data: {"type":"content_block_stop","index":6}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":30,"server_tool_use":{"web_search_requests":1,"web_fetch_requests":0}}}

event: message_stop
data: {"type":"message_stop"}

"""


def test_what_came_as_a_stream_is_told_at_once_as_if_it_had_come_so():
    reply, pieces = heard([STREAM.encode()])
    assert pieces == ["Let me", " look.", "An echo ", "answers."]
    assert reply.chunk_lengths == (6, 6, 8, 8)
    assert json.loads(DIALECT.body(reply, ASKED)) == marked(RICH)
    assert reply.extra == DIALECT.reply(RICH).extra
    assert refusal_to_store(Request("Hi"), reply) == ""


def test_a_replayed_stream_keeps_the_pieces_that_it_came_in():
    reply, pieces = heard([STREAM.encode()])
    again, repeated = heard(DIALECT.frames(reply, ASKED))
    assert repeated == pieces
    assert (again.chunk_lengths, again.tool_calls, again.finish_reason) == (reply.chunk_lengths, (), "stop")


def test_events_come_in_the_vendors_order():
    kinds = [(event.event, json.loads(event.data)) for event in events(DIALECT.frames(DIALECT.reply(CALLS), ASKED))]
    assert all(kind == told["type"] for kind, told in kinds)
    assert [kind for kind, _ in kinds] == [
        "message_start",
        *("content_block_start", "ping", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert kinds[0][1]["message"]["content"] == []
    assert kinds[0][1]["message"]["stop_reason"] is None


def test_citations_come_one_by_one_after_the_block_has_begun_without_them():
    told = [json.loads(event.data) for event in events(DIALECT.frames(DIALECT.reply(RICH), ASKED))]
    begun = [event["content_block"] for event in told if event["type"] == "content_block_start"]
    assert [block.get("citations") for block in begun if block["type"] == "text"] == [None, [], None]
    deltas = [event["delta"] for event in told if event["type"] == "content_block_delta" and event["index"] == 5]
    assert deltas == [{"type": "text_delta", "text": "An echo "}, {"type": "citations_delta", "citation": CITATION}]


def test_what_a_stream_tells_at_its_end_is_kept_and_told_there_again():
    edits = {"applied_edits": [{"type": "clear_thinking_20251015"}]}
    whole = DIALECT.reply({**PLAIN, "context_management": edits})
    told = [json.loads(event.data) for event in events(DIALECT.frames(whole, ASKED))]
    assert "context_management" not in told[0]["message"]
    assert told[-2]["context_management"] == edits
    assert heard(DIALECT.frames(whole, ASKED))[0].extra == DIALECT.reply(json.loads(DIALECT.body(whole, ASKED))).extra


def test_no_input_is_lost_when_it_is_marked_as_cached():
    usage = json.loads(DIALECT.body(DIALECT.reply(PLAIN), ASKED))["usage"]
    assert usage["cache_read_input_tokens"] == 15
    assert usage["input_tokens"] == usage["cache_creation_input_tokens"] == 0
    assert usage["output_tokens"] == 30
    assert usage["service_tier"] == "standard"


def test_a_stored_text_of_another_api_is_told_as_a_message():
    reply = Reply(text="Hello", model="m", usage=Usage(input_tokens=3, output_tokens=2), extra='{"chat":{"id":"c"}}')
    with served(reply) as (url, _), anthropic.Anthropic(**options(url)) as client:
        first, again = client.messages.create(**BODY), client.messages.create(**BODY)
    assert first.content[0].text == "Hello"
    assert first.stop_reason == "end_turn"
    assert first.id == again.id
    assert first.id.startswith("msg_")
    assert (first.usage.cache_read_input_tokens, first.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="x", extra='{"chat":{"id":"c","reasoning_content":"private"}}'),
        Reply(text="x", extra='{"chat":{"logprobs":{"content":[]}}}'),
        Reply(text="x", extra='{"responses":{"about":{},"output":[]}}'),
        Reply(text="x", tool_calls=('{"private":1}',)),
        Reply(text="x", finish_reason="length"),
        Reply(text="x", extra="private"),
        Reply(text="x", extra='["private"]'),
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
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (413, anthropic.APIStatusError),
        (429, anthropic.RateLimitError),
        (503, anthropic.APIStatusError),
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
        anthropic.Anthropic(**options(url)) as client,
        pytest.raises(raised, match="Too many requests wait") as caught,
    ):
        client.messages.create(**BODY)
    assert caught.value.body["type"] == "error"


def test_the_vendors_client_raises_when_a_stream_breaks():
    frames = list(DIALECT.frames(DIALECT.reply(PLAIN), ASKED))
    half = [*frames[:4], b"event: content_block_de", DIALECT.error_frame("upstream_failed", "The upstream broke off.")]
    told = Answer(pieces=half, headers={"Content-Type": "text/event-stream"})
    with (
        serving(lambda *_: told) as (url, _),
        anthropic.Anthropic(**options(url)) as client,
        pytest.raises(anthropic.APIStatusError, match="The upstream broke off"),
        client.messages.stream(**BODY) as stream,
    ):
        stream.get_final_message()


TOLD = [
    [json.loads(event.data) for event in events([STREAM.encode()])],
    *([json.loads(event.data) for event in events(DIALECT.frames(DIALECT.reply(body), ASKED))] for body in ALL),
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BLOCKS = st.one_of(
    st.lists(TEXTS, max_size=4).map(lambda pieces: ({"type": "text", "text": "".join(pieces)}, pieces)),
    st.lists(TEXTS, min_size=1, max_size=2).map(
        lambda pieces: ({"type": "text", "text": "".join(pieces), "citations": [CITATION]}, pieces)
    ),
    TEXTS.map(lambda text: ({"type": "thinking", "thinking": text, "signature": "s"}, [])),
    st.dictionaries(TEXTS, st.integers() | TEXTS | st.none(), max_size=3).map(
        lambda given: ({"type": "tool_use", "id": "1", "name": "w", "input": given}, [])
    ),
)
USAGES = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)},
    optional={"cache_read_input_tokens": st.integers(0, 99), "server_tool_use": st.none(), "service_tier": TEXTS},
)


@given(st.lists(BLOCKS, max_size=5), USAGES, st.sampled_from(["end_turn", "max_tokens", "tool_use"]))
@settings(max_examples=100, deadline=None)
def test_a_reply_says_the_same_streamed_or_not(blocks, usage, stop_reason):
    body = {**PLAIN, "content": [block for block, _ in blocks], "usage": usage, "stop_reason": stop_reason}
    lengths = tuple(len(piece) for _, pieces in blocks for piece in pieces if piece)
    whole = DIALECT.reply(body)
    reply = Reply(**{name: getattr(whole, name) for name in Reply.__slots__} | {"chunk_lengths": lengths})
    streamed, pieces = heard(DIALECT.frames(reply, ASKED))
    at_once = DIALECT.reply(json.loads(DIALECT.body(reply, ASKED)))
    assert tuple(pieces) == tuple(piece for piece in reply.chunks() if piece)
    assert streamed.chunk_lengths == lengths
    assert (streamed.text, streamed.tool_calls, streamed.usage) == (at_once.text, at_once.tool_calls, at_once.usage)
    assert (streamed.finish_reason, streamed.extra) == (at_once.finish_reason, at_once.extra)
    assert (at_once.text, at_once.tool_calls, at_once.finish_reason) == (
        whole.text,
        whole.tool_calls,
        whole.finish_reason,
    )


@given(damaged(ALL))
@settings(max_examples=200, deadline=None)
def test_whatever_body_can_be_read_can_be_told_again(body):
    try:
        reply = DIALECT.reply(body)
    except InvalidRequest:
        return
    assert isinstance(DIALECT.loss(reply, ASKED), str)
    assert isinstance(json.loads(DIALECT.body(reply, ASKED))["content"], list)
    assert events(DIALECT.frames(reply, ASKED))[-1].event == "message_stop"


@given(st.sampled_from(TOLD).flatmap(lambda stream: damaged([{"events": stream}])))
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
    assert isinstance(json.loads(DIALECT.body(reply, ASKED))["content"], list)
    assert list(DIALECT.frames(reply, ASKED))
