import asyncio
import json
import threading
from contextlib import aclosing

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopback import Answer, serving
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.generators.http import HttpModel
from yamabiko.generators.simulated import Latency, SimulatedModel, tokens
from yamabiko.message import Message
from yamabiko.types import Reply, Request, Usage

SECRET = "sk-very-secret"
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}


def completion(text="Paris.", **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return {"model": "gpt-x-2026", "choices": [choice], "usage": USAGE}


def event(value):
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def delta(text=None, **choice):
    return event(
        {"model": "gpt-x-2026", "choices": [{"index": 0, "delta": {"content": text} if text else {}, **choice}]}
    )


def ask(url, request, **options):
    async def go():
        async with HttpModel(url, "gpt-x", api_key=SECRET, **options) as model:
            return await model(request)

    return asyncio.run(go())


def stream(url, request, **options):
    async def go():
        async with HttpModel(url, "gpt-x", api_key=SECRET, **options) as model:
            return [piece async for piece in model.stream(request)]

    return asyncio.run(go())


def test_a_request_goes_out_whole_and_its_reply_comes_back():
    request = Request(
        [
            Message(role="user", text="Hello"),
            Message(role="assistant", text="Hi"),
            Message(role="user", text="首都は?"),
        ],
        system="Be brief.",
        sampling={"temperature": 0.2},
    )
    with serving(lambda *_: Answer(body=completion())) as (url, requests):
        reply = ask(url, request)
    assert reply.text == "Paris."
    assert (reply.model, reply.finish_reason) == ("gpt-x-2026", "stop")
    assert reply.usage == Usage(input_tokens=12, output_tokens=5, cached_input_tokens=4)
    assert reply.latency_seconds > 0
    assert requests[0].path == "/v1/chat/completions"
    assert requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert requests[0].body["model"] == "gpt-x"
    assert requests[0].body["temperature"] == 0.2
    assert [message["role"] for message in requests[0].body["messages"]] == ["system", "user", "assistant", "user"]
    assert requests[0].body["messages"][-1]["content"] == "首都は?"


def test_the_requests_own_model_wins_and_tool_calls_come_back():
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    with serving(lambda *_: Answer(body=completion(None, tool_calls=[call]))) as (url, requests):
        reply = ask(url + "/chat/completions", Request("Weather?", model="gpt-y"))
    assert requests[0].body["model"] == "gpt-y"
    assert json.loads(reply.tool_calls[0]) == call
    assert reply.text == ""


def test_a_stream_gives_the_pieces_and_then_one_reply_that_sums_up():
    pieces = [
        delta("Pa"),
        delta("ris は"),
        delta("首都。")[:30],  # cut inside of a character
        delta("首都。")[30:],
        delta(finish_reason="stop"),
        event({"model": "gpt-x-2026", "choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]
    with serving(lambda *_: Answer(pieces=pieces)) as (url, requests):
        *texts, last = stream(url, Request("Capital?"))
    assert texts == ["Pa", "ris は", "首都。"]
    assert isinstance(last, Reply)
    assert (last.text, last.model, last.finish_reason) == ("", "gpt-x-2026", "stop")
    assert last.usage == Usage(input_tokens=12, output_tokens=5, cached_input_tokens=4)
    assert requests[0].body["stream"] is True
    assert requests[0].body["stream_options"] == {"include_usage": True}


def test_a_stream_that_breaks_off_ends_as_an_error():
    with serving(lambda *_: Answer(pieces=[delta("Pa")])) as (url, _):
        *texts, last = stream(url, Request("Capital?"))
    assert texts == ["Pa"]
    assert last.finish_reason == "error"


@pytest.mark.parametrize("how", [ask, stream])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_status_that_is_no_success_reaches_the_caller_without_secrets(how, status):
    prompt = "nobody else may read this"
    with serving(lambda seen, _: Answer(status=status, body=seen.body)) as (url, requests):
        with pytest.raises(httpx.HTTPStatusError) as caught:
            how(url, Request(prompt))
        assert len(requests) == 1
    assert caught.value.response.status_code == status
    assert prompt not in repr(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("body", [b"<html>", {"choices": []}, [1], {}])
def test_an_answer_that_is_no_chat_completion_is_refused(body):
    with serving(lambda *_: Answer(body=body)) as (url, _), pytest.raises(InvalidRequest):
        ask(url, Request("Capital?"))


@pytest.mark.parametrize("how", [ask, stream])
def test_a_silent_server_costs_no_more_than_the_deadline(how):
    release = threading.Event()
    with serving(lambda *_: Answer(wait_for=release, body=completion())) as (url, _):
        try:
            with pytest.raises((TimeoutError, httpx.TimeoutException)):
                how(url, Request("Capital?"), timeout_seconds=0.2)
        finally:
            release.set()


def test_a_reader_who_stops_early_leaves_nothing_open():
    async def go(url):
        async with HttpModel(url, "gpt-x") as model, aclosing(model.stream(Request("Capital?"))) as pieces:
            return await anext(pieces)

    with serving(lambda *_: Answer(pieces=[delta("Pa"), delta("ris")])) as (url, _):
        assert asyncio.run(go(url)) == "Pa"


@pytest.mark.parametrize("options", [{"url": "localhost"}, {"model": ""}, {"timeout_seconds": 0.0}])
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigurationError):
        HttpModel(**{"url": "http://localhost", "model": "a", **options})


class Slept:
    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


def simulated(answers, question="q", **options):
    slept = Slept()
    model = SimulatedModel(answers, sleep=slept, **options)
    return asyncio.run(model(Request(question))), slept, model


def test_a_simulated_reply_says_so_and_counts_by_its_rules():
    reply, slept, model = simulated({"q": "twelve chars"}, time_scale=0.5)
    assert (reply.text, reply.model, reply.finish_reason) == ("twelve chars", "simulated", "stop")
    assert reply.usage == Usage(input_tokens=1, output_tokens=3)
    assert slept.seconds == [pytest.approx(reply.latency_seconds / 2)]
    assert model.calls == 1
    assert simulated({"q": "a"}, time_scale=0)[1].seconds == []
    assert simulated(lambda request: request.messages[0].text.upper(), "abc")[0].text == "ABC"


@pytest.mark.parametrize(("text", "count"), [("", 0), ("abcd", 1), ("abcde", 2), ("日本語", 2), ("東京 tower", 3)])
def test_tokens_are_counted_by_rule(text, count):
    assert tokens(text) == count


def test_the_same_seed_and_question_give_the_same_latency_in_any_order():
    def latencies(questions, seed):
        model = SimulatedModel(lambda _: "a", seed=seed, time_scale=0)
        return {question: asyncio.run(model(Request(question))).latency_seconds for question in questions}

    questions = [f"question {n}" for n in range(20)]
    assert latencies(questions, 1) == latencies(questions[::-1], 1)
    assert latencies(questions, 1) != latencies(questions, 2)


def test_latencies_have_the_stated_median_and_95th_percentile():
    model = SimulatedModel(lambda _: "a", latency=Latency(median_seconds=2.0, p95_seconds=6.0), time_scale=0)

    async def go():
        return [(await model(Request(f"question {n}"))).latency_seconds for n in range(4000)]

    seconds = asyncio.run(go())
    assert np.median(seconds) == pytest.approx(2.0, rel=0.06)
    assert np.quantile(seconds, 0.95) == pytest.approx(6.0, rel=0.1)


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_a_simulated_stream_adds_up_to_the_reply(text):
    async def go():
        model = SimulatedModel(lambda _: text, time_scale=0)
        return await model(Request("q")), [piece async for piece in model.stream(Request("q"))]

    whole, (*pieces, last) = asyncio.run(go())
    assert "".join(pieces) == text
    assert all(pieces)
    assert last == Reply(text="", model="simulated", usage=whole.usage, latency_seconds=whole.latency_seconds)


def test_words_stream_one_by_one_in_both_languages():
    async def go(text):
        return [piece async for piece in SimulatedModel(lambda _: text, time_scale=0).stream(Request("q"))][:-1]

    assert asyncio.run(go("It is Paris, of course.")) == ["It", " is", " Paris,", " of", " course."]
    assert asyncio.run(go("東京です")) == ["東", "京", "で", "す"]


def test_a_question_without_an_answer_is_not_shown():
    with pytest.raises(LookupError) as caught:
        simulated({"q": "a"}, "a private question")
    assert "private" not in str(caught.value)


def test_options_of_the_simulation_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError):
        SimulatedModel({}, time_scale=-1)
    with pytest.raises(ConfigurationError):
        Latency(median_seconds=3, p95_seconds=2)
