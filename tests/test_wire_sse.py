"""Server-sent events arrive in pieces that nobody chose."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.types import Usage
from yamabiko.wire.sse import Chunk, Parser, reply_of


def events(*pieces):
    parser = Parser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return [(event.event, event.data) for event in found + parser.finish()]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: hi\n\n", [("message", "hi")]),
        (b"data: hi\r\n\r\n", [("message", "hi")]),
        (b"data: hi\r\r", [("message", "hi")]),
        (b"data:hi\n\n", [("message", "hi")]),
        (b"data:  hi\n\n", [("message", " hi")]),
        (b"data: a\ndata: b\n\n", [("message", "a\nb")]),
        (b"data\n\n", [("message", "")]),
        (b"data\ndata\n\n", [("message", "\n")]),
        (b"event: ping\ndata: {}\n\n", [("ping", "{}")]),
        (b"event: ping\n\ndata: x\n\n", [("message", "x")]),
        (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", "1"), ("message", "2")]),
        (b": keep-alive\n\ndata: x\n\n", [("message", "x")]),
        (b": c\ndata: x\n: c\n\n", [("message", "x")]),
        (b"id: 7\nretry: 10\nunknown: y\ndata: x\n\n", [("message", "x")]),
        (b"data: a:b: c\n\n", [("message", "a:b: c")]),
        (b"\xef\xbb\xbfdata: x\n\n", [("message", "x")]),
        ("data: 山彦\n\n".encode(), [("message", "山彦")]),
        (b"data: \xff\n\n", [("message", "\ufffd")]),
        ("data: a\u2028b\x0bc\n\n".encode(), [("message", "a\u2028b\x0bc")]),
        (b"data: unfinished\n", []),
        (b"data: unfinished", []),
        (b"", []),
        (b"\n\n\n", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream, expected):
    assert events(stream) == expected
    assert events(*(bytes([byte]) for byte in stream)) == expected


LINES = st.sampled_from(
    ["data: a", "data:", "data", "data: 山彦👍", "event: e", "event:", ": c", "id: 1", "x", "", "", ""]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n", "\r"])), max_size=12).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)


@given(STREAMS, st.lists(st.integers(0, 200), max_size=6))
def test_where_the_network_splits_a_stream_does_not_matter(stream, cuts):
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert events(*(stream[start:end] for start, end in itertools.pairwise(at))) == events(stream)


def test_an_event_is_there_as_soon_as_its_blank_line_is():
    parser = Parser()
    assert parser.feed(b"data: x\n") == []
    assert [event.data for event in parser.feed(b"\n")] == ["x"]


def test_a_streams_chunks_add_up_to_a_reply():
    chunks = [
        Chunk(model="m", usage=Usage(input_tokens=7, output_tokens=1)),
        Chunk(text="moun"),
        Chunk(),
        Chunk(text="tain"),
        Chunk(finish_reason="stop"),
        Chunk(usage=Usage(output_tokens=9)),
        Chunk(done=True),
    ]
    reply = reply_of(chunks)
    assert reply.chunks() == ("moun", "tain")
    assert (reply.model, reply.finish_reason, reply.extra) == ("m", "stop", "")
    assert reply.usage == Usage(input_tokens=7, output_tokens=9)


def test_a_stream_that_breaks_off_is_not_a_finished_reply():
    assert reply_of([Chunk(text="half an ans")]).finish_reason == "error"


def test_an_error_in_a_stream_is_not_outvoted_by_what_follows():
    assert (
        reply_of([Chunk(text="x"), Chunk(finish_reason="error"), Chunk(finish_reason="stop")]).finish_reason == "error"
    )


def test_reasoning_and_tool_calls_are_not_lost():
    reply = reply_of(
        [Chunk(reasoning="hm"), Chunk(reasoning="m"), Chunk(tool_calls=("{}",)), Chunk(finish_reason="tool_calls")]
    )
    assert (reply.text, reply.tool_calls, reply.extra) == ("", ("{}",), '{"reasoning_content":"hmm"}')
