"""Bodies of stored answers are made once, and never sent for another answer."""

import pytest

from yamabiko import Reply, Request
from yamabiko.gateway import retold
from yamabiko.gateway.reading import Known
from yamabiko.gateway.retold import Retold
from yamabiko.wire.dialect import Asked


def known(*, kept=True):
    made = Known(Asked(request=Request("What is an echo?")))
    made.kept = kept
    return made


def counted(told, body):
    def make():
        told.append(body)
        return body

    return make


def test_a_body_is_made_once_for_the_same_answer():
    bodies, asked, told = Retold(), known(), []
    for _ in range(3):
        assert bodies.body(asked, Reply(text="A sound."), counted(told, b"one")) == b"one"
    assert told == [b"one"]


@pytest.mark.parametrize(
    "newer",
    [
        Reply(text="Another sound."),
        Reply(text="A sound.", extra='{"chat":{"id":"2"}}'),
        Reply(text="A sound.", model="m"),
    ],
)
def test_a_new_answer_to_the_same_question_gets_a_body_of_its_own(newer):
    bodies, asked, told = Retold(), known(), []
    bodies.body(asked, Reply(text="A sound."), counted(told, b"old"))
    assert bodies.body(asked, newer, counted(told, b"new")) == b"new"
    assert bodies.body(asked, newer, counted(told, b"newest")) == b"new"


def test_what_is_read_anew_each_time_is_not_kept():
    bodies, told = Retold(), []
    for asked in (known(kept=False), known(kept=False)):
        bodies.body(asked, Reply(text="A sound."), counted(told, b"one"))
        bodies.body(asked, Reply(text="A sound."), counted(told, b"two"))
    assert told == [b"one", b"two"] * 2


def test_what_was_sent_longest_ago_makes_room(monkeypatch):
    monkeypatch.setattr(retold, "BYTES", 3 * (retold.OVERHEAD_BYTES + 100))
    monkeypatch.setattr(retold, "LARGEST", 2 * retold.OVERHEAD_BYTES)
    bodies, told = Retold(), []
    first, *others = [known() for _ in range(4)]
    for asked in (first, *others):
        bodies.body(asked, Reply(text=""), counted(told, b"x" * 100))
    bodies.body(others[0], Reply(text=""), counted(told, b"not made"))
    bodies.body(first, Reply(text=""), counted(told, b"made again"))
    assert told == [b"x" * 100] * 4 + [b"made again"]
    assert bodies.body(known(), Reply(text=""), counted(told, b"y" * retold.OVERHEAD_BYTES * 2)).startswith(b"y")
