"""Where checkpoints of Bedrock's prompt cache stand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.errors import ConfigurationError
from yamabiko.generators.prompt_caching import PLACES, PromptCaching
from yamabiko.wire.converse import request_from

POINT = {"cachePoint": {"type": "default"}}
LONG = {"text": "やまびこ" * 75}  # 300 characters: 200 tokens by rule
SHORT = {"text": "Hi"}
TOOL = {"toolSpec": {"name": "w", "description": "x" * 800, "inputSchema": {"json": {}}}}


def marked(arguments, least=150, **options):
    return PromptCaching(min_tokens={"m": least}, **options).marked(arguments, "m")


def turn(role, *content):
    return {"role": role, "content": list(content)}


def test_checkpoints_stand_after_what_the_next_question_shares():
    asked = {
        "modelId": "m",
        "toolConfig": {"tools": [TOOL], "toolChoice": {"auto": {}}},
        "system": [LONG],
        "messages": [turn("user", LONG, SHORT), turn("assistant", SHORT), turn("user", SHORT)],
    }
    assert marked(asked) == {
        "modelId": "m",
        "toolConfig": {"tools": [TOOL, POINT], "toolChoice": {"auto": {}}},
        "system": [LONG, POINT],
        "messages": [turn("user", LONG, POINT, SHORT), turn("assistant", SHORT, POINT), turn("user", SHORT)],
    }


def test_the_last_question_is_never_before_a_checkpoint():
    asked = {"messages": [turn("user", LONG)], "system": [SHORT]}
    assert marked(asked) == asked
    documents = {"messages": [turn("user", LONG, LONG)]}
    assert marked(documents) == {"messages": [turn("user", LONG, POINT, LONG)]}


def test_a_prefix_that_is_too_short_has_no_checkpoint():
    asked = {"system": [LONG], "messages": [turn("user", LONG, SHORT)]}
    assert marked(asked, 201) == {"system": [LONG], "messages": [turn("user", LONG, POINT, SHORT)]}
    assert marked(asked, 401) == asked


def test_a_model_that_is_not_named_gets_none():
    asked = {"system": [LONG], "messages": [turn("user", SHORT)]}
    assert PromptCaching(min_tokens={"m": 1}).marked(asked, "another") == asked
    assert PromptCaching().marked(asked, "m") == asked
    assert PromptCaching(min_tokens={"m": 1}).marked(asked, "jp.m", "m")["system"] == [LONG, POINT]


def test_an_hour_is_asked_for_and_five_minutes_are_not():
    asked = {"system": [LONG], "messages": [turn("user", SHORT)]}
    assert marked(asked, ttl="1h")["system"][-1] == {"cachePoint": {"type": "default", "ttl": "1h"}}


def test_places_that_a_model_does_not_take_are_left_out():
    asked = {"toolConfig": {"tools": [TOOL]}, "system": [LONG], "messages": [turn("user", SHORT)]}
    told = marked(asked, places=("system",))
    assert told["toolConfig"] == {"tools": [TOOL]}
    assert told["system"] == [LONG, POINT]


@pytest.mark.parametrize("options", [{"min_tokens": {"m": 0}}, {"ttl": "2h"}, {"places": ("attic",)}])
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        PromptCaching(**options)


BLOCKS = st.lists(
    st.sampled_from([LONG, SHORT, {"image": {"format": "png", "source": {"bytes": b"1"}}}]), min_size=1, max_size=3
)
ASKED = st.builds(
    lambda tools, system, turns: {
        "modelId": "m",
        **({"toolConfig": {"tools": [TOOL] * tools}} if tools else {}),
        **({"system": system} if system else {}),
        "messages": [turn("assistant" if at % 2 else "user", *content) for at, content in enumerate(turns)],
    },
    st.integers(0, 2),
    st.lists(st.sampled_from([LONG, SHORT]), max_size=2),
    st.lists(BLOCKS, min_size=1, max_size=5),
)  # fmt: skip


@given(ASKED, st.integers(1, 700), st.sets(st.sampled_from(PLACES)))
@settings(max_examples=200, deadline=None)
def test_checkpoints_change_no_request_and_are_four_at_most(asked, least, places):
    before = repr(asked)
    told = marked(asked, least, places=tuple(places))
    assert repr(asked) == before
    assert request_from(told) == request_from(asked)
    assert repr(told).count("cachePoint") <= min(4, len(places))
    assert told["messages"][-1]["content"][-1] != POINT
