"""Models on Bedrock through Converse: the real boto3 against the stand-in."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from yamabiko import Hit, open_cache
from yamabiko.aws.bedrock import BedrockRuntime
from yamabiko.aws.bedrock_calls import Access
from yamabiko.core.economics import parse
from yamabiko.errors import ConfigurationError, InvalidRequest, ServiceError, ServiceUnavailable
from yamabiko.generators.converse import ConverseGenerator, Guardrail
from yamabiko.generators.prompt_caching import PromptCaching
from yamabiko.message import Message
from yamabiko.testing.bedrock import BedrockStandIn, Completion, Failure, ToolUse
from yamabiko.types import Policy, Reply, Request
from yamabiko.wire.converse_reply import response_from

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
SECRET = "my password is hunter2 / 秘密の質問"
QUESTION = "日本の首都はどこですか"
EXACT = Policy(max_error_rate=None, semantic=False)
TOOL = {"toolSpec": {"name": "w", "inputSchema": {"json": {"type": "object"}}}}


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")


def served(work, *, answer=None, prepare=lambda _: None, attempts=1, **options):
    """What ``work(generator)`` gives, and the requests that the stand-in got."""
    options.setdefault("model", NOVA)

    async def run(url):
        access = Access(region="ap-northeast-1", endpoint_url=url, attempts=attempts)
        async with BedrockRuntime(access) as runtime:
            return await work(ConverseGenerator(runtime, **options))

    with BedrockStandIn(**({"answer": answer} if answer else {})) as stand_in:
        prepare(stand_in)
        told = asyncio.run(run(stand_in.url))
        return told, [call.request for call in stand_in.calls]


def ask(request, **options):
    return served(lambda model: model(request), **options)


def stream(request, **options):
    async def work(model):
        return [piece async for piece in model.stream(request)]

    return served(work, **options)


def test_a_request_goes_out_whole_and_its_reply_comes_back():
    turns = [
        Message(role="user", text="Hello"),
        Message(role="assistant", text="Hi"),
        Message(role="user", text=QUESTION),
    ]
    request = Request(turns, system="Be brief.", sampling={"temperature": 0.2, "max_tokens": 50, "stop": ["X"]})
    told = Completion(text="東京です。", reasoning="hmm", input_tokens=11, output_tokens=3)
    reply, (seen,) = ask(request, answer=lambda _: told)
    assert (reply.text, reply.model, reply.finish_reason) == ("東京です。", NOVA, "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (11, 3)
    assert reply.latency_seconds > 0
    assert response_from(reply)["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]["text"] == "hmm"
    assert seen["system"] == [{"text": "Be brief."}]
    assert seen["inferenceConfig"] == {"temperature": 0.2, "maxTokens": 50, "stopSequences": ["X"]}
    assert [(turn["role"], turn["content"]) for turn in seen["messages"]] == [
        (turn.role, [{"text": turn.text}]) for turn in turns
    ]


def test_a_stream_gives_the_pieces_and_then_one_reply_that_sums_up():
    told = Completion(text="東京です。", pieces=["東京", "です。"], reasoning="hmm", input_tokens=11, output_tokens=3)
    (*texts, last), _ = stream(Request(QUESTION), answer=lambda _: told)
    whole, _ = ask(Request(QUESTION), answer=lambda _: told)
    assert texts == ["東京", "です。"]
    assert isinstance(last, Reply)
    assert (last.text, last.model, last.finish_reason) == ("", NOVA, "stop")
    assert (last.usage, last.extra) == (whole.usage, whole.extra)


@pytest.mark.parametrize("model", [NOVA, "jp." + CLAUDE, "global." + SONNET])
def test_claude_and_nova_answer_by_the_same_call(model):
    reply, _ = ask(Request("Who?"), model=model, answer=lambda prompt: f"I am {prompt.model}.")
    assert reply.model == model
    assert reply.text.startswith("I am ")


def test_an_inference_profile_is_called_in_a_models_place_and_its_id_has_the_price():
    reply, _ = ask(Request(QUESTION, model=CLAUDE), profiles={CLAUDE: f"jp.{CLAUDE}"})
    assert reply.model == f"jp.{CLAUDE}"
    arn = f"arn:aws:bedrock:ap-northeast-1:123456789012:inference-profile/jp.{CLAUDE}"
    assert ask(Request(QUESTION), model=CLAUDE, profiles={CLAUDE: arn})[0].model == CLAUDE
    prices = parse(
        '{"dated": "2026-11-23", "unit": "USD per 1,000,000 tokens", "models": [{"model": "claude-haiku-4-5", "input": 1, "output": 5, "source": "a test", "verified": false}]}'
    )
    assert prices.known(reply.model)


def test_how_it_is_answered_goes_along_and_the_requests_own_wishes_win():
    options = {"max_tokens": 9, "fields": {"top_k": 5, "seed": 1}, "service_tier": "flex", "latency": "optimized"}
    _, (seen,) = ask(Request(QUESTION), **options)
    assert seen["inferenceConfig"] == {"maxTokens": 9}
    assert seen["additionalModelRequestFields"] == {"top_k": 5, "seed": 1}
    assert (seen["serviceTier"], seen["performanceConfig"]) == ({"type": "flex"}, {"latency": "optimized"})
    _, (seen,) = ask(Request(QUESTION, sampling={"max_tokens": 7, "top_k": 3}), **options)
    assert seen["inferenceConfig"] == {"maxTokens": 7}
    assert seen["additionalModelRequestFields"] == {"top_k": 3, "seed": 1}


@pytest.mark.parametrize("how", [ask, stream])
def test_a_guardrail_intervenes_and_what_it_says_is_not_stored(how):
    def guard(stand_in):
        stand_in.put_guardrail("gr1", ["kyoto"], on_output="It may not be said.")

    options = {"guardrail": Guardrail(identifier="gr1", version="1", trace="enabled"), "prepare": guard}
    mine = {"converse": {"guardrailConfig": {"guardrailIdentifier": "none", "guardrailVersion": "1"}}}
    told, (seen,) = how(Request("Capital?", sampling=mine), answer=lambda _: "kyoto", **options)
    last = told[-1] if how is stream else told
    assert last.finish_reason == "content_filter"
    assert seen["guardrailConfig"]["guardrailIdentifier"] == "gr1"
    assert ("streamProcessingMode" in seen["guardrailConfig"]) == (how is stream)
    text = "".join(told[:-1]) if how is stream else told.text
    assert text == "It may not be said."
    assert "trace" in last.extra


def test_a_call_of_a_tool_comes_back_and_is_not_stored():
    told = Completion(text="Let me see.", tool_uses=[ToolUse(name="w", input={"city": "東京"})])
    request = Request(QUESTION, tools=[TOOL])
    for reply in (ask(request, answer=lambda _: told)[0], stream(request, answer=lambda _: told)[0][-1]):
        assert reply.finish_reason == "tool_calls"
        assert "東京" in reply.tool_calls[0]


def test_what_was_answered_once_is_told_again_without_bedrock():
    async def work(model):
        async with await open_cache("memory://", policy=EXACT) as cache:
            pieces = [piece async for piece in cache.stream(QUESTION, model.stream)]
            await cache.drain()
            hit = await cache.lookup(QUESTION)
            assert isinstance(hit, Hit)
            again = await cache.answer(QUESTION, model)
            return pieces, hit.reply, again

    told = Completion(text="東京です。", pieces=["東京", "です。"], reasoning="hmm")
    (pieces, stored, again), seen = served(work, answer=lambda _: told)
    assert pieces == ["東京", "です。"]
    assert stored.chunks() == ("東京", "です。")
    assert again == stored
    assert len(seen) == 1


async def read(stream, pieces):
    async for piece in stream:
        pieces.append(piece)


@pytest.mark.parametrize(
    "failure",
    [
        Failure.mid_stream("modelStreamErrorException", after_events=3),
        Failure.mid_stream("throttlingException", after_events=2),
        Failure.cut(after_events=3),
    ],
)
def test_an_error_in_midst_of_a_stream_reaches_the_caller_and_nothing_is_stored(failure):
    async def work(model):
        async with await open_cache("memory://", policy=EXACT) as cache:
            told, pieces = cache.stream(SECRET, model.stream), []
            with pytest.raises(ServiceUnavailable) as caught:
                await read(told, pieces)
            await cache.drain()
            return pieces, caught.value, (await cache.stats()).entries

    (pieces, error, entries), _ = served(
        work,
        prepare=lambda stand_in: stand_in.fail("ConverseStream", failure),
        answer=lambda _: Completion(text="東京です。", pieces=["東", "京", "で", "す。"]),
    )
    assert pieces
    assert entries == 0
    assert SECRET not in repr(error)


@pytest.mark.parametrize("how", [ask, stream])
@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException", "ThrottlingException"])
def test_what_the_client_raises_passes_through(how, code):
    with pytest.raises(ServiceError) as caught:
        how(Request(SECRET), prepare=lambda stand_in: stand_in.fail("*", Failure.error(code), times=3))
    assert caught.value.code == code
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("how", [ask, stream])
def test_a_silent_service_costs_no_more_than_the_deadline(how):
    release = threading.Event()

    async def answer(prompt):
        await asyncio.to_thread(release.wait, 20)
        return "too late"

    async def impatient(model):
        try:
            request = Request("Capital?")
            with pytest.raises(TimeoutError):
                await (model(request) if how is ask else anext(model.stream(request)))
        finally:
            release.set()
        return True

    assert served(impatient, answer=answer, timeout_seconds=0.3)[0]


def test_a_reader_who_stops_early_leaves_nothing_open():
    async def work(model):
        async with aclosing(model.stream(Request(QUESTION))) as pieces:
            return await anext(pieces)

    assert served(work, answer=lambda _: Completion(text="東京", pieces=["東", "京"]))[0] == "東"


def test_the_prompt_cache_reads_what_the_next_question_shares():
    caching = PromptCaching(min_tokens={NOVA: 1000})
    system = "The handbook says: " + "be kind to each guest. " * 300

    async def work(model):
        first = await model(Request("May I smoke?", system=system))
        return first, await model(Request("何時まで開いていますか", system=system))

    (first, second), seen = served(work, caching=caching)
    assert seen[0]["system"][-1] == {"cachePoint": {"type": "default"}}
    assert first.usage.cached_input_tokens == 0
    assert second.usage.cached_input_tokens > 1000
    assert second.usage.input_tokens >= second.usage.cached_input_tokens


def test_what_is_in_another_apis_shape_is_refused_before_the_call():
    with pytest.raises(InvalidRequest, match="tools"):
        ask(Request(QUESTION, tools=[{"type": "function", "function": {"name": "w"}}]))


@pytest.mark.parametrize("options", [{"model": ""}, {"max_tokens": 0}, {"timeout_seconds": 0}])
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ask(Request(QUESTION), **options)
    with pytest.raises(ConfigurationError):
        Guardrail(identifier="")
