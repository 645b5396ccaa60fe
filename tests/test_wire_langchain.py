"""What LangChain hands to its caches, read back. The fixtures were made with LangChain itself."""

import json
from pathlib import Path

import pytest

from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.types import Policy
from yamabiko.wire.langchain import request_from

LOOKUPS = json.loads((Path(__file__).parent / "data" / "langchain_lookups.json").read_text(encoding="utf-8"))["lookups"]


def read(name):
    return request_from(**LOOKUPS[name])


def key(name):
    request = read(name)
    return key_of(request, normalise(request), embedder="e", policy=Policy())


@pytest.mark.parametrize(
    ("name", "embedded"),
    [
        ("text", "How do I reset my password?"),
        ("block", "How do I reset my password?"),
        ("system", "What is IT?"),
        ("japanese", "パスワードを忘れました。"),
        ("after_tools", "And tomorrow?"),
        ("completion", "Plain prompt?"),
        ("tool_result", ""),
        ("image", ""),
        ("role", ""),
        ("name", ""),
    ],
)
def test_only_the_question_is_embedded_never_its_frame(name, embedded):
    assert normalise(read(name)).text == embedded


def test_messages_come_back_with_their_roles():
    request = read("after_tools")
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "user"]
    assert [bool(message.parts) for message in request.messages] == [False, True, True, False]


def test_the_system_message_becomes_the_system_prompt():
    assert read("system").system == "You are terse."
    assert len(read("system").messages) == 1


def test_the_same_question_in_another_shape_has_the_same_key():
    assert key("text") == key("block")


def test_how_an_earlier_reply_was_measured_does_not_count():
    assert key("plain_reply") == key("measured_reply")


def test_how_the_model_is_called_counts():
    assert len({key(name).scope.digest for name in ("text", "temperature", "model")}) == 3
    assert read("temperature").tenant == ""


def test_the_models_name_is_found_for_its_price():
    assert read("model").model == "claude-haiku-4-5"
    assert read("text").model == ""


@pytest.mark.parametrize(
    "prompt", ["[1, 2, 3]", "[not json", "[]", '{"lc": 1}', "[draft] Write a poem", '[{"role": "user"}]', " "]
)
def test_a_prompt_that_only_looks_like_json_is_a_prompt(prompt):
    (message,) = request_from(prompt, "").messages
    assert (message.role, message.text, message.parts) == ("user", prompt, ())


FRAME = '[{"lc": 1, "type": %s, "id": ["langchain", "schema", "messages", "%s"], "kwargs": {"content": %s}}]'


@pytest.mark.parametrize(
    "prompt",
    [
        FRAME % ('"constructor"', "RemoveMessage", '"x"'),
        FRAME % ('"not_implemented"', "HumanMessage", '"x"'),
        FRAME % ('"constructor"', "HumanMessage", "7"),
        FRAME % ('"constructor"', "HumanMessage", "[7]"),
        '[{"lc": 1}]',
    ],
)
def test_a_frame_that_cannot_be_read_is_compared_to_the_letter_only(prompt):
    request = request_from(prompt, "")
    assert normalise(request).text == ""
    other = request_from(prompt + " ", "")
    assert request.messages != other.messages


def test_a_piece_of_a_stream_is_the_message_it_became():
    request = request_from(FRAME % ('"constructor"', "HumanMessageChunk", '"x"'), "")
    assert (request.messages[0].role, request.messages[0].text) == ("user", "x")
