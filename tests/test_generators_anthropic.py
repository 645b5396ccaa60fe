"""A model behind an endpoint that speaks Anthropic's Messages."""

import asyncio
import json
import threading
from contextlib import aclosing

import httpx
import pytest

from loopback import Answer, serving
from yamabiko import open_cache
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.generators.http import ANTHROPIC_VERSION, AnthropicModel
from yamabiko.message import Message
from yamabiko.types import Policy, Reply, Request, Usage

SECRET = "sk-ant-very-secret"
USAGE = {"input_tokens": 8, "cache_read_input_tokens": 4, "output_tokens": 5}


def message(*content, stop_reason="end_turn"):
    return {
        "type": "message",
        "role": "assistant",
        "model": "claude-x-2026",
        "content": list(content),
        "stop_reason": stop_reason,
        "usage": USAGE,
    }


def event(kind, **members):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, ensure_ascii=False)}\n\n".encode()


def delta(text):
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


START = [
    event("message_start", message=message(stop_reason=None) | {"usage": {**USAGE, "output_tokens": 0}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
]
END = [
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    event("message_stop"),
]


def ask(url, request, **options):
    async def go():
        async with AnthropicModel(url, "claude-x", api_key=SECRET, **options) as model:
            return await model(request)

    return asyncio.run(go())


def stream(url, request, **options):
    async def go():
        async with AnthropicModel(url, "claude-x", api_key=SECRET, **options) as model:
            return [piece async for piece in model.stream(request)]

    return asyncio.run(go())


def test_a_request_goes_out_whole_and_its_reply_comes_back():
    turns = [
        Message(role="user", text="Hello"),
        Message(role="assistant", text="Hi"),
        Message(role="user", text="首都は?"),
    ]
    thought = {"type": "thinking", "thinking": "hmm", "signature": "s"}
    body = message(thought, {"type": "text", "text": "東京です。"})
    with serving(lambda *_: Answer(body=body)) as (url, requests):
        reply = ask(url, Request(turns, system="Be brief.", sampling={"temperature": 0.2}))
    assert (reply.text, reply.model, reply.finish_reason) == ("東京です。", "claude-x-2026", "stop")
    assert reply.usage == Usage(input_tokens=12, output_tokens=5, cached_input_tokens=4)
    assert reply.latency_seconds > 0
    assert json.loads(reply.extra)["messages"]["content"][0] == thought
    seen = requests[0]
    assert seen.path == "/v1/messages"
    assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == (SECRET, ANTHROPIC_VERSION)
    assert "authorization" not in seen.headers
    assert seen.body == {
        "model": "claude-x",
        "max_tokens": 4096,
        "system": "Be brief.",
        "temperature": 0.2,
        "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
    }


def test_the_requests_own_model_and_length_win():
    with serving(lambda *_: Answer(body=message())) as (url, requests):
        ask(url + "/messages", Request("Hi", model="claude-y", sampling={"max_tokens": 7}), max_tokens=9)
        ask(url, Request("Hi"), max_tokens=9)
    assert [(seen.path, seen.body["model"], seen.body["max_tokens"]) for seen in requests] == [
        ("/v1/messages", "claude-y", 7),
        ("/v1/messages", "claude-x", 9),
    ]


def test_a_stream_gives_the_pieces_and_then_one_reply_that_sums_up():
    pieces = [*START, delta("東京"), event("ping"), delta("です。")[:60], delta("です。")[60:], *END]
    with serving(lambda *_: Answer(pieces=pieces)) as (url, requests):
        *texts, last = stream(url, Request("首都は?"))
    assert texts == ["東京", "です。"]
    assert isinstance(last, Reply)
    assert (last.text, last.model, last.finish_reason) == ("", "claude-x-2026", "stop")
    assert last.usage == Usage(input_tokens=12, output_tokens=5, cached_input_tokens=4)
    assert requests[0].body["stream"] is True


@pytest.mark.parametrize(
    "rest", [[], [event("error", error={"type": "overloaded_error", "message": "private"})], END[:1]]
)
def test_a_stream_that_breaks_off_ends_as_an_error_and_is_not_stored(rest):
    async def go(url):
        async with AnthropicModel(url, "claude-x") as model, await open_cache("memory://", policy=POLICY) as cache:
            pieces = [piece async for piece in cache.stream("Capital of Japan?", model.stream)]
            await cache.drain()
            return pieces, (await cache.stats()).entries

    with serving(lambda *_: Answer(pieces=[*START, delta("To"), *rest])) as (url, _):
        *texts, last = stream(url, Request("Capital?"))
        assert (texts, last.finish_reason) == (["To"], "error")
        assert asyncio.run(go(url)) == (["To"], 0)


POLICY = Policy(max_error_rate=None, semantic=False)


@pytest.mark.parametrize("how", [ask, stream])
@pytest.mark.parametrize("status", [400, 401, 429, 529])
def test_a_status_that_is_no_success_reaches_the_caller_without_secrets(how, status):
    prompt = "nobody else may read this"
    with serving(lambda seen, _: Answer(status=status, body=seen.body)) as (url, requests):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            how(url, Request(prompt))
        assert len(requests) == 1
    assert caught.value.response.status_code == status
    assert prompt not in repr(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("body", [b"<html>", {"content": "private"}, [1], {}])
def test_an_answer_that_is_no_message_is_refused(body):
    with serving(lambda *_: Answer(body=body)) as (url, _), pytest.raises(InvalidRequest) as caught:
        ask(url, Request("Capital?"))
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("how", [ask, stream])
def test_a_silent_server_costs_no_more_than_the_deadline(how):
    release = threading.Event()
    with serving(lambda *_: Answer(wait_for=release, body=message())) as (url, _):
        try:
            with pytest.raises((TimeoutError, httpx.TimeoutException)):
                how(url, Request("Capital?"), timeout_seconds=0.2)
        finally:
            release.set()


def test_a_reader_who_stops_early_leaves_nothing_open():
    async def go(url):
        async with AnthropicModel(url, "claude-x") as model, aclosing(model.stream(Request("Capital?"))) as pieces:
            return await anext(pieces)

    with serving(lambda *_: Answer(pieces=[*START, delta("To"), delta("kyo"), *END])) as (url, _):
        assert asyncio.run(go(url)) == "To"


def test_a_length_that_does_not_fit_is_refused():
    with pytest.raises(ConfigurationError, match="max_tokens"):
        AnthropicModel("http://localhost", "claude-x", max_tokens=0)
