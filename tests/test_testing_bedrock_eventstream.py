"""The encoder of event streams, read back by botocore's own decoder."""

import json

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.testing.bedrock import encode_event, encode_exception, encode_message

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
VALUES = st.text(st.characters(codec="utf-8"), max_size=80)


def decoded(data, *, step=None):
    buffer = EventStreamBuffer()
    found = []
    for at in range(0, len(data), step or len(data)):
        buffer.add_data(data[at : at + (step or len(data))])
        found += [(event.headers, event.payload) for event in buffer]
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=300)), min_size=1, max_size=5))
def test_botocore_reads_every_message_back(messages):
    data = b"".join(encode_message(headers, payload) for headers, payload in messages)
    assert decoded(data) == messages


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=3), st.binary(max_size=60), st.integers(1, 40))
def test_messages_that_arrive_in_small_pieces_are_the_same(headers, payload, step):
    data = encode_message(headers, payload) * 2
    assert decoded(data, step=step) == [(headers, payload)] * 2


@settings(deadline=None)
@given(st.data())
def test_a_flipped_bit_is_noticed(data):
    message = bytearray(encode_event("contentBlockDelta", {"delta": {"text": "山びこ"}}))
    at = data.draw(st.integers(8, len(message) - 1))
    message[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ChecksumMismatch):
        decoded(bytes(message))


def test_events_and_exceptions_carry_the_headers_that_the_clients_look_for():
    [(headers, payload)] = decoded(encode_event("output", {"text": "富士山"}))
    assert headers == {":event-type": "output", ":content-type": "application/json", ":message-type": "event"}
    assert json.loads(payload) == {"text": "富士山"}
    [(headers, payload)] = decoded(encode_exception("throttlingException", "slow down"))
    assert (headers[":message-type"], headers[":exception-type"]) == ("exception", "throttlingException")
    assert json.loads(payload) == {"message": "slow down"}
