"""Chat Completions, read and told again: what went in comes out, whichever way it was asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko import Reply
from yamabiko.errors import InvalidRequest
from yamabiko.types import Usage
from yamabiko.wire.dialects.chat import Chat
from yamabiko.wire.openai import UNTYPED
from yamabiko.wire.sse import Event, Parser

CHAT = Chat()
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LOGPROBS = [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in ("Hel", "lo", " you")]
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kyōto"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]


def asked(**body):
    return CHAT.asked(ASKED | body, tenant="t", user="")


def document(content="Hello you", *, message=(), choice=(), **more):
    told = {"role": "assistant", "content": content, "refusal": None, **dict(message)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m-2026",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "choices": [{"index": 0, "message": told, "logprobs": None, "finish_reason": "stop", **dict(choice)}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        **more,
    }


def events(frames):
    data = b"".join(frames)
    parser = Parser()
    return [*parser.feed(data), *parser.finish()]


def heard(events):
    listener = CHAT.listener()
    chunks = [listener.hear(event) for event in events]
    return listener.reply(), chunks


def replayed(reply, **body):
    return json.loads(CHAT.body(reply, asked(**body)))


class TestAnswers:
    @pytest.mark.parametrize(
        "given_",
        [
            document(),
            document("こんにちは、世界。"),
            document(message={"reasoning_content": "Let me think."}),
            document(message={"annotations": [{"type": "url_citation", "url_citation": {"url": "https://e.example"}}]}),
            document(choice={"logprobs": {"content": LOGPROBS, "refusal": None}}),
            document(None, message={"tool_calls": CALLS}, choice={"finish_reason": "tool_calls"}),
            document(None, message={"refusal": "No."}, choice={"finish_reason": "stop"}),
            document(choice={"finish_reason": "length"}),
        ],
        ids=["plain", "japanese", "reasoning", "annotations", "logprobs", "tools", "refusal", "length"],
    )
    def test_are_told_again_as_they_were(self, given_):
        told = replayed(CHAT.reply(given_))
        expected = json.loads(json.dumps(given_))
        expected["usage"]["prompt_tokens_details"] = {"cached_tokens": 5}
        if given_["choices"][0]["logprobs"]:
            del expected["choices"][0]["logprobs"]["refusal"]
        if given_["choices"][0]["message"]["refusal"]:
            expected["choices"][0]["finish_reason"] = "content_filter"  # it counts as filtered, and is never stored
        assert told == expected

    def test_the_usage_is_marked_as_cached_and_its_counts_stay(self):
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        details = {"prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0}}
        told = replayed(CHAT.reply(document(usage=usage | details)))["usage"]
        assert told == usage | {"prompt_tokens_details": {"cached_tokens": 9, "audio_tokens": 0}}

    def test_an_answer_without_usage_has_none(self):
        assert "usage" not in replayed(Reply(text="x", model="m"))

    def test_an_answer_of_another_api_gets_an_id_of_its_own_that_stays(self):
        reply = Reply(text="x", model="m", usage=Usage(input_tokens=1, output_tokens=2))
        told, again = replayed(reply), replayed(reply)
        assert told == again
        assert told["id"].startswith("chatcmpl-")
        assert told["usage"]["total_tokens"] == 3

    def test_what_another_api_keeps_beside_the_text_can_not_be_told(self):
        assert CHAT.loss(Reply(text="x", extra='{"messages":{"blocks":[1]}}'), asked())
        assert not CHAT.loss(Reply(text="x", extra='{"messages":{"about":{"id":"msg_1"}}}'), asked())

    @pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": 3}]}, {"choices": [3]}])
    def test_what_is_none_is_refused(self, body):
        with pytest.raises(InvalidRequest):
            CHAT.reply(body)


class TestStreams:
    def stream(self, *deltas, finish_reason="stop", usage=None, done=True):
        envelope = {name: document()[name] for name in ("id", "created", "model", "system_fingerprint", "service_tier")}
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": finish_reason})
        data = [{**envelope, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        if usage:
            data.append({**envelope, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        found = [Event(data=json.dumps(item)) for item in data]
        return [*found, Event(data="[DONE]")] if done else found

    def test_a_stream_is_the_same_answer_as_its_document(self):
        usage = document()["usage"]
        deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, {"content": " you"}]
        reply, chunks = heard(self.stream(*deltas, usage=usage))
        whole = CHAT.reply(document())
        assert (reply.text, reply.extra, reply.usage, reply.model) == (
            whole.text,
            whole.extra,
            whole.usage,
            whole.model,
        )
        assert reply.chunk_lengths == (3, 2, 4)
        assert chunks[-1].done

    def test_fragments_of_calls_are_put_together(self):
        first, second = CALLS
        half = len(first["function"]["arguments"]) // 2
        deltas = [
            {"tool_calls": [{"index": 0, **first, "function": {"name": "weather", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": first["function"]["arguments"][:half]}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": first["function"]["arguments"][half:]}}]},
            {"tool_calls": [{"index": 1, **second}]},
        ]
        reply, _ = heard(self.stream(*deltas, finish_reason="tool_calls"))
        assert replayed(reply)["choices"][0]["message"]["tool_calls"] == CALLS

    def test_reasoning_and_log_probabilities_are_put_together(self):
        events_ = self.stream(
            {"reasoning_content": "Let me "}, {"reasoning_content": "think."}, {"content": "Hello you"}
        )
        value = json.loads(events_[2].data)
        value["choices"][0]["logprobs"] = {"content": LOGPROBS, "refusal": None}
        events_[2] = Event(data=json.dumps(value))
        reply, _ = heard(events_)
        choice = replayed(reply)["choices"][0]
        assert choice["message"]["reasoning_content"] == "Let me think."
        assert choice["logprobs"]["content"] == LOGPROBS

    def test_an_error_in_a_stream_is_no_answer(self):
        events_ = [*self.stream({"content": "He"}, done=False)[:1], Event(data='{"error": {"message": "overloaded"}}')]
        assert heard(events_)[0].finish_reason == "error"

    def test_a_stream_without_a_finish_reason_is_no_answer(self):
        assert heard(self.stream({"content": "He"}, done=False)[:1])[0].finish_reason == "error"

    @pytest.mark.parametrize("data", ["{", "[]", '{"choices": [3]}', '{"choices": [{"delta": {"tool_calls": [3]}}]}'])
    def test_what_is_no_event_is_refused(self, data):
        with pytest.raises(InvalidRequest):
            CHAT.listener().hear(Event(data=data))


REPLIES = st.builds(
    lambda pieces, message, logprobs, calls: CHAT.reply(
        document(
            "".join(pieces),
            message=message | ({"tool_calls": CALLS} if calls else {}),
            choice={"logprobs": {"content": LOGPROBS} if logprobs else None},
        )
    ),
    st.lists(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["reasoning_content", "audio"]), st.text(min_size=1, max_size=9), max_size=2),
    st.booleans(),
    st.booleans(),
)


class TestReplays:
    @given(REPLIES, st.booleans())
    def test_a_replayed_stream_says_what_its_reply_does(self, reply, with_usage):
        options = {"stream_options": {"include_usage": True}} if with_usage else {}
        again, chunks = heard(events(CHAT.frames(reply, asked(stream=True, **options))))
        assert (again.text, again.tool_calls, again.finish_reason) == (
            reply.text,
            reply.tool_calls,
            reply.finish_reason,
        )
        assert chunks[-1].done
        first, second = (json.loads(value.extra)["chat"] for value in (reply, again))
        assert {**second, "usage": None} == {**first, "usage": None}
        assert ("usage" in second) == with_usage

    def test_pieces_are_those_of_the_stream(self):
        reply = Reply(text="Hello you", model="m", chunk_lengths=(0, 3, 2, 4))
        contents = [chunk.text for chunk in heard(events(CHAT.frames(reply, asked(stream=True))))[1] if chunk.text]
        assert contents == ["Hel", "lo", " you"]

    def test_each_frame_is_one_whole_event(self):
        frames = list(CHAT.frames(Reply(text="Hello"), asked(stream=True)))
        assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in frames)
        assert frames[-1] == b"data: [DONE]\n\n"


class TestRequests:
    def test_shape_tells_apart_what_changes_the_bytes(self):
        plain, counted = asked(stream=True), asked(stream=True, stream_options={"include_usage": True})
        assert plain.request == counted.request
        assert plain.shape != counted.shape

    @pytest.mark.parametrize("stream", ["yes", 1, None, False])
    def test_only_true_is_a_stream(self, stream):
        assert not asked(stream=stream).stream

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ({"n": 3}, "more than one choice is asked for"),
            ({"audio": {"voice": "x"}}, "the request asks for more than text"),
            ({"web_search_options": {}}, "the request asks for a search of the web"),
            (
                {"messages": [{"role": "tool", "content": "12"}]},
                "the conversation holds calls of tools or their results",
            ),
            ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "the conversation holds a file"),
            ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "the conversation holds more than text"),
            ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, UNTYPED),
            ({"messages": [{"role": "user", "content": ["hi"]}]}, UNTYPED),
            (
                {"messages": [{"role": "system", "content": [{"text": "hi"}]}, {"role": "user", "content": "x"}]},
                UNTYPED,
            ),
        ],
    )
    def test_what_bypasses_the_cache_says_why(self, body, why):
        assert asked(**body).request.bypass == why

    def test_text_in_blocks_does_not(self):
        assert not asked(messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}]}]).request.bypass

    @pytest.mark.parametrize("body", [{"model": 3}, {"messages": []}, {"messages": [3]}, {"n": 0}])
    def test_what_can_not_be_read_is_refused(self, body):
        with pytest.raises(InvalidRequest):
            asked(**body)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"), [(401, "authentication_error"), (413, "invalid_request_error"), (503, "server_error")]
    )
    def test_have_the_vendors_shape(self, status, kind):
        told = json.loads(CHAT.error(status, "a_code", "A sentence."))
        assert told == {"error": {"message": "A sentence.", "type": kind, "param": None, "code": "a_code"}}

    def test_within_a_stream_they_end_what_was_broken_off(self):
        parser = Parser()
        parser.feed(b'data: {"broken')
        told = parser.feed(CHAT.error_frame("a_code", "A sentence."))
        assert json.loads(told[-1].data)["error"]["code"] == "a_code"


NAMES = [
    "role",
    "content",
    "tool_calls",
    "function_call",
    "type",
    "text",
    "index",
    "id",
    "function",
    "delta",
    "message",
]
NAMES += [
    "choices",
    "model",
    "messages",
    "usage",
    "logprobs",
    "finish_reason",
    "refusal",
    "n",
    "stop",
    "error",
    "audio",
]
NAMES += ["prompt_tokens", "prompt_tokens_details", "cached_tokens", "stream_options", "created", "modalities", "name"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "user", "tool", "x"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)
ITEMS = st.lists(OBJECTS, min_size=1, max_size=2)


class TestWhateverComes:
    """Bodies and events are somebody else's: what is not understood is refused, and nothing else happens."""

    @given(OBJECTS | st.builds(lambda items, rest: {**rest, "model": "m", "messages": items}, ITEMS, OBJECTS))
    def test_in_a_request(self, body):
        try:
            read = CHAT.asked(body, tenant="t", user="")
        except InvalidRequest:
            return
        assert read.request.model == body["model"]
        assert list(CHAT.frames(Reply(text="x"), read))

    @given(OBJECTS | st.builds(lambda choice: {"choices": [choice]}, OBJECTS))
    def test_in_an_answer(self, body):
        try:
            reply = CHAT.reply(body)
        except InvalidRequest:
            return
        assert json.loads(CHAT.body(reply, asked()))["choices"]
        assert list(CHAT.frames(reply, asked(stream=True)))

    @given(st.lists(OBJECTS | st.builds(lambda choices: {"choices": choices}, ITEMS), max_size=4))
    def test_in_a_stream(self, values):
        listener = CHAT.listener()
        try:
            for value in values:
                listener.hear(Event(data=json.dumps(value)))
            reply = listener.reply()
        except InvalidRequest:
            return
        assert json.loads(CHAT.body(reply, asked()))["choices"]
        assert list(CHAT.frames(reply, asked(stream=True)))
