"""Calls of Bedrock through the real botocore, against the stand-in: off the loop, retried, bounded, and let go of."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from contextlib import aclosing, asynccontextmanager

import pytest

from yamabiko import open_cache
from yamabiko.aws import bedrock, bedrock_calls
from yamabiko.aws.bedrock import BedrockAgent, BedrockRuntime
from yamabiko.aws.bedrock_calls import Access
from yamabiko.errors import ConfigurationError, MissingExtra, ServiceError, ServiceUnavailable
from yamabiko.testing import FakeEmbedder
from yamabiko.testing.bedrock import BedrockStandIn, Failure

TITAN = "amazon.titan-embed-text-v2:0"
CLAUDE = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "my password is hunter2 / 秘密の質問"
KEYS = {"AKIDEXAMPLE": "a-secret-that-nobody-may-see"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["AKIDEXAMPLE"])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")


@pytest.fixture
def stand_in():
    with BedrockStandIn(credentials=KEYS) as running:
        yield running


def access(stand_in, **given):
    return Access(region="ap-northeast-1", endpoint_url=stand_in.url, **given)


def asked(text=SECRET, model=CLAUDE):
    return {"modelId": model, "messages": [{"role": "user", "content": [{"text": text}]}]}


def titan(**given):
    return json.dumps({"inputText": SECRET, **given}).encode()


@asynccontextmanager
async def runtime(stand_in, **given):
    """A runtime whose threads are gone at the end, whatever happened."""
    async with BedrockRuntime(access(stand_in, **given)) as made:
        yield made
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("yamabiko-bedrock")]


def failure(stand_in, call, **given):
    """What ``call`` raises; never a text or a key in it, or behind it."""

    async def run():
        async with runtime(stand_in, **given) as made:
            await call(made)

    with pytest.raises((ServiceError, ConfigurationError)) as caught:
        asyncio.run(run())
    error, told = caught.value, ""
    while error is not None:
        told += repr(error)
        error = error.__cause__ or error.__context__
    assert "hunter2" not in told
    assert "秘密" not in told
    assert KEYS["AKIDEXAMPLE"] not in told
    return caught.value


def test_a_call_gives_the_models_json_and_the_tokens_that_the_service_counted(stand_in):
    async def run():
        async with runtime(stand_in) as made:
            return await made.invoke(TITAN, titan(dimensions=256))

    invoked = asyncio.run(run())
    answer = json.loads(invoked.body)
    assert len(answer["embedding"]) == 256
    assert invoked.input_tokens == answer["inputTextTokenCount"] > 0


def test_converse_gives_boto3s_response_without_metadata(stand_in):
    async def run():
        async with runtime(stand_in) as made:
            return await made.converse(asked())

    response = asyncio.run(run())
    assert response["stopReason"] == "end_turn"
    assert response["usage"]["outputTokens"] > 0
    assert "ResponseMetadata" not in response


def test_a_stream_gives_boto3s_events_in_order(stand_in):
    async def run():
        async with runtime(stand_in) as made:
            return [event async for event in made.converse_stream(asked())]

    events = asyncio.run(run())
    names = [next(iter(event)) for event in events]
    assert names[0] == "messageStart"
    assert names[-2:] == ["messageStop", "metadata"]


def test_knowledge_bases_are_asked_the_same_way(stand_in):
    stand_in.put_document("KB12345678", "s3://b/a.txt", "The office opens at nine. 受付は九時からです。")
    stand_in.ingest("KB12345678")
    settings = {"knowledgeBaseId": "KB12345678", "modelArn": CLAUDE}
    request = {
        "input": {"text": "When does the office open?"},
        "retrieveAndGenerateConfiguration": {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": settings},
    }

    async def run():
        async with BedrockAgent(access(stand_in)) as agent:
            found = await agent.retrieve({"knowledgeBaseId": "KB12345678", "retrievalQuery": {"text": "office"}})
            whole = await agent.retrieve_and_generate(request)
            events = [event async for event in agent.retrieve_and_generate_stream(request)]
            return found, whole, events

    found, whole, events = asyncio.run(run())
    assert found["retrievalResults"][0]["location"]["s3Location"]["uri"] == "s3://b/a.txt"
    assert whole["output"]["text"]
    assert events[0].keys() == {"sessionId"}
    assert "".join(event["output"]["text"] for event in events if "output" in event) == whole["output"]["text"]


def test_throttling_is_retried_and_then_told(stand_in):
    stand_in.fail("InvokeModel", Failure.error("ThrottlingException"), times=2)

    async def run():
        async with runtime(stand_in, attempts=3) as made:
            return await made.invoke(TITAN, titan())

    assert asyncio.run(run()).body
    assert stand_in.count("InvokeModel") == 3

    stand_in.fail("InvokeModel", Failure.error("ThrottlingException"), times=9)
    error = failure(stand_in, lambda made: made.invoke(TITAN, titan()), attempts=2)
    assert isinstance(error, ServiceUnavailable)
    assert (error.code, error.status) == ("ThrottlingException", 429)
    assert stand_in.count("InvokeModel") == 5


def test_the_pauses_between_attempts_are_jittered(stand_in):
    stand_in.fail_always("InvokeModel", Failure.error("ThrottlingException"))

    async def run():
        async with runtime(stand_in, attempts=2) as made:
            await asyncio.gather(*(made.invoke(TITAN, titan()) for _ in range(8)), return_exceptions=True)

    asyncio.run(run())
    later = sorted(call.at for call in stand_in.calls)[8:]
    assert later[-1] - later[0] > 0.02  # not all eight in one moment again


@pytest.mark.parametrize(
    ("scripted", "kind", "code", "status"),
    [
        (Failure.error("ValidationException", SECRET), ServiceError, "ValidationException", 400),
        (Failure.error("AccessDeniedException", SECRET), ServiceError, "AccessDeniedException", 403),
        (Failure.error("ResourceNotFoundException"), ServiceError, "ResourceNotFoundException", 404),
        (Failure.error("ServiceQuotaExceededException"), ServiceError, "ServiceQuotaExceededException", 400),
        (Failure.error("ModelTimeoutException"), ServiceUnavailable, "ModelTimeoutException", 408),
        (Failure.error("ModelErrorException", SECRET), ServiceUnavailable, "ModelErrorException", 424),
        (Failure.error("ServiceUnavailableException"), ServiceUnavailable, "ServiceUnavailableException", 503),
        (Failure.cut(), ServiceUnavailable, "ConnectionClosedError", 0),
    ],
)
def test_every_refusal_is_told_by_its_code(stand_in, scripted, kind, code, status):
    stand_in.fail_always("Converse", scripted)
    error = failure(stand_in, lambda made: made.converse(asked()), attempts=1)
    assert type(error) is kind
    assert (error.code, error.status) == (code, status)


def test_a_request_that_boto3_itself_refuses_tells_no_value(stand_in):
    error = failure(stand_in, lambda made: made.converse({**asked(), "messages": SECRET}))
    assert error.code == "ParamValidation"
    assert stand_in.count() == 0


def test_an_unreachable_service_is_unavailable():
    with BedrockStandIn() as gone:
        pass
    error = failure(gone, lambda made: made.converse(asked()), attempts=1)
    assert isinstance(error, ServiceUnavailable)
    assert error.code == "EndpointConnectionError"


def test_an_error_in_mid_stream_is_raised_after_the_events_before_it(stand_in):
    stand_in.fail("ConverseStream", Failure.mid_stream("throttlingException", SECRET, after_events=3))
    stand_in.fail("ConverseStream", Failure.cut(after_events=3))
    seen = []

    async def read(made):
        async for event in made.converse_stream(asked()):
            seen.append(event)  # noqa: PERF401 - what came before the error is what is looked at

    error = failure(stand_in, read)
    assert isinstance(error, ServiceUnavailable)
    assert error.code == "ThrottlingException"
    assert len(seen) == 3
    assert isinstance(failure(stand_in, read), ServiceUnavailable)
    assert len(seen) == 6


def test_the_deadline_bounds_a_call_and_nothing_is_tried_again(stand_in):
    async def call(made):
        await made.converse(asked())

    with stand_in.held("Converse"):
        started = time.monotonic()
        error = failure(stand_in, call, timeout_seconds=0.3, attempts=5)
        assert time.monotonic() - started < 3
    assert error.code in ("Deadline", "ReadTimeoutError")
    assert stand_in.count("Converse") <= 1


def test_the_deadline_bounds_a_stream_that_trickles(stand_in):
    stand_in.event_seconds = 0.2

    async def read(made):
        async for _ in made.converse_stream(asked("tell me a long story " * 20)):
            pass

    error = failure(stand_in, read, timeout_seconds=0.5)
    assert error.code in ("Deadline", "ReadTimeoutError")


def test_a_silent_service_is_given_up_after_the_read_timeout(stand_in):
    with stand_in.held("Converse"):
        error = failure(stand_in, lambda made: made.converse(asked()), read_timeout_seconds=0.2, attempts=1)
    assert error.code == "ReadTimeoutError"


def test_a_caller_that_leaves_is_let_go_at_once(stand_in):
    async def run():
        async with runtime(stand_in, timeout_seconds=5.0) as made:
            with stand_in.held("Converse"):
                call = asyncio.create_task(made.converse(asked()))
                await asyncio.to_thread(stand_in.wait_for_arrivals, 1, "Converse")
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            assert (await made.converse(asked()))["stopReason"] == "end_turn"

    asyncio.run(run())


def test_a_reader_that_leaves_cuts_its_stream(stand_in):
    stand_in.event_seconds = 0.05

    async def run():
        async with runtime(stand_in, timeout_seconds=60.0, read_timeout_seconds=60.0, limit=1) as made:
            async with aclosing(made.converse_stream(asked("tell me a long story " * 400))) as events:
                assert "messageStart" in await anext(events)
            stand_in.event_seconds = 0.0
            return await made.converse(asked())  # the one thread is free again

    assert asyncio.run(run())["stopReason"] == "end_turn"


def test_a_stream_that_is_not_read_is_not_read_ahead(stand_in):
    async def run():
        async with (
            runtime(stand_in) as made,
            aclosing(made.converse_stream(asked("tell me a long story " * 2_000))) as events,
        ):
            await anext(events)
            (pump,) = made._calls._pumps
            deadline = time.monotonic() + 5
            while len(pump._waiting) < 32 and time.monotonic() < deadline:  # noqa: ASYNC110 - filled by a thread
                await asyncio.sleep(0)
            assert len(pump._waiting) == 32
            return 1 + len([event async for event in events])

    assert asyncio.run(run()) > 100


def test_closing_ends_what_is_read_with_an_error(stand_in):
    stand_in.event_seconds = 0.05

    async def run():
        async with runtime(stand_in) as made:
            events = made.converse_stream(asked("tell me a long story " * 400))
            await anext(events)
            closing = asyncio.create_task(made.close())
            with pytest.raises(ServiceUnavailable):
                async for _ in events:
                    pass
            await closing
            with pytest.raises(ServiceUnavailable, match="closed"):
                await made.converse(asked())

    asyncio.run(run())


def test_no_more_calls_at_a_time_than_the_limit(stand_in):
    async def run():
        async with runtime(stand_in, limit=3) as made:
            with stand_in.held("InvokeModel"):
                calls = [asyncio.create_task(made.invoke(TITAN, titan())) for _ in range(10)]
                await asyncio.to_thread(stand_in.wait_for_arrivals, 3, "InvokeModel")
                with pytest.raises(TimeoutError):
                    await asyncio.to_thread(stand_in.wait_for_arrivals, 4, "InvokeModel", timeout_seconds=0.3)
            await asyncio.gather(*calls)

    asyncio.run(run())
    assert stand_in.count("InvokeModel") == 10


def test_fifty_misses_under_way_hold_no_hit_up(stand_in):
    async def run():
        async with (
            runtime(stand_in, limit=50) as made,
            open_cache("memory://", embedder=FakeEmbedder()) as cache,
        ):

            async def generate(request):
                response = await made.converse(asked(request.messages[0].text))
                return response["output"]["message"]["content"][0]["text"]

            await cache.answer("How do I reset my password?", generate)
            await cache.drain()
            with stand_in.held("Converse"):
                misses = [asyncio.create_task(cache.answer(f"question {at}", generate)) for at in range(50)]
                await asyncio.to_thread(stand_in.wait_for_arrivals, 51, "Converse")
                for _ in range(200):
                    hit = await cache.lookup("How do I reset my password?")
                    assert hit.tier == "exact"
                assert not any(miss.done() for miss in misses)
            assert len(await asyncio.gather(*misses)) == 50

    asyncio.run(run())


def test_without_region_or_credentials_it_says_what_to_set(stand_in, monkeypatch):
    async def call(made):
        await made.converse(asked())

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "credentials" in str(failure(stand_in, call))

    async def nowhere():
        async with BedrockRuntime() as made:
            await made.converse(asked())

    with pytest.raises(ConfigurationError, match="region"):
        asyncio.run(nowhere())


def test_wrong_credentials_are_told(stand_in, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    error = failure(stand_in, lambda made: made.converse(asked()))
    assert error.code == "InvalidSignatureException"
    assert "check the credentials" in str(error)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"attempts": 0}, "attempts"),
        ({"limit": 1001}, "limit"),
        ({"endpoint_url": "localhost:80"}, "endpoint_url"),
    ],
)
def test_access_says_what_does_not_fit(given, words):
    with pytest.raises(ConfigurationError, match=words):
        Access(**given)


def test_without_botocore_the_install_command_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"yamabiko\[aws\]"):
        BedrockRuntime()


def test_nothing_of_aws_is_loaded_before_the_first_call():
    assert not hasattr(bedrock, "botocore")
    assert not hasattr(bedrock_calls, "botocore")
