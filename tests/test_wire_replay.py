"""What is kept of an answer beside its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.types import Reply
from yamabiko.wire.replay import about, cut, keep, kept, loss, made_id

PIECES = st.lists(st.text(max_size=5), max_size=6)


@given(st.lists(PIECES, max_size=5))
def test_a_text_is_cut_where_it_was(blocks):
    pieces = [piece for block in blocks for piece in block]
    lengths = [sum(map(len, block)) for block in blocks]
    assert cut(pieces, lengths) == [[piece for piece in block if piece] for block in blocks]


@given(PIECES, st.lists(st.integers(0, 4), max_size=6))
def test_blocks_hold_the_whole_text_and_no_more_or_none_at_all(pieces, lengths):
    text = "".join(pieces)
    blocks = cut(pieces, lengths)
    assert (blocks is None) == (sum(lengths) != len(text))
    if blocks is not None:
        assert ["".join(block) for block in blocks] == ["".join(block) for block in cut((text,), lengths)]
        assert [sum(map(len, block)) for block in blocks] == lengths
        assert "".join(piece for block in blocks for piece in block) == text


@pytest.mark.parametrize("lengths", [[None], ["5"], [-1, 6], [4], [], [5, 1]])
def test_lengths_that_are_of_another_text_cut_nothing(lengths):
    assert cut(("Hello",), lengths) is None


def test_what_is_kept_is_found_by_its_api():
    reply = Reply(text="x", extra=keep("messages", {"about": {"id": "msg_1"}, "content": None}))
    assert kept(reply) == ("messages", {"about": {"id": "msg_1"}})
    assert about(kept(reply)[1]) == {"id": "msg_1"}
    assert keep("messages", {"about": {}, "content": None}) == ""


@pytest.mark.parametrize("extra", ["{", "7", "[]", '{"a":{},"b":{}}', '{"a":7}', "[" * 5000])
def test_what_can_not_be_read_is_never_taken_for_nothing(extra):
    reply = Reply(text="x", extra=extra)
    assert kept(reply)[1] == {"unread": True}
    assert loss(reply, "messages")


def test_only_a_whole_text_and_nothing_else_goes_from_one_api_to_another():
    def told(**rest):
        return Reply(text="x", extra=keep("chat", rest))

    assert loss(told(id="c", created=1, system_fingerprint="f", usage={"n": 1}), "messages") == ""
    assert loss(Reply(text="x"), "messages") == ""
    assert loss(told(message={"reasoning_content": "hmm"}), "messages")
    assert loss(told(message={"reasoning_content": "hmm"}), "chat") == ""
    assert loss(Reply(text="x", finish_reason="length"), "messages")
    assert loss(Reply(text="x", tool_calls=("{}",)), "messages")


def test_a_made_id_is_always_the_same_for_the_same_answer():
    one, other = Reply(text="x", model="m"), Reply(text="y", model="m")
    assert made_id("msg_", one) == made_id("msg_", Reply(text="x", model="m"))
    assert made_id("msg_", one) != made_id("msg_", other)
    assert made_id("msg_", Reply(text="\ud800")).startswith("msg_")
