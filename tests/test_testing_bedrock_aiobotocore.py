"""The stand-in before the other real client, aiobotocore: answers, streams, errors."""

import asyncio
import functools
import json

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, EventStreamError

from bedrocking import BASE, CHAT, KEYS, TITAN, said, settings
from yamabiko.testing.bedrock import BedrockStandIn, Failure


@functools.cache
def session():
    return get_session()


def connected(stand_in, service):
    return session().create_client(
        service,
        endpoint_url=stand_in.url,
        region_name="ap-northeast-1",
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
    )


async def collect(stream, seen):
    """Into a list of the caller's, which keeps what came before an error."""
    async for event in stream:
        seen.append(event)


def test_it_embeds_converses_and_streams_under_a_checked_signature():
    async def run():
        async with (
            BedrockStandIn(credentials=dict([KEYS])) as stand_in,
            connected(stand_in, "bedrock-runtime") as runtime,
        ):
            body = json.dumps({"inputText": "富士山の高さは？", "dimensions": 256})
            response = await runtime.invoke_model(modelId=TITAN, body=body)
            assert len(json.loads(await response["body"].read())["embedding"]) == 256
            told = await runtime.converse(modelId=CHAT, messages=said("How high is it?"))
            response = await runtime.converse_stream(modelId=CHAT, messages=said("How high is it?"))
            events = [event async for event in response["stream"]]
            texts = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
            assert "".join(texts) == told["output"]["message"]["content"][0]["text"]
            assert events[-1]["metadata"]["usage"] == told["usage"]

    asyncio.run(run())


def test_it_retrieves_and_generates():
    async def run():
        async with BedrockStandIn() as stand_in, connected(stand_in, "bedrock-agent-runtime") as agent:
            stand_in.put_document(BASE, "s3://docs/fuji.txt", "富士山の高さは3,776メートルです。")
            stand_in.ingest(BASE)
            found = await agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": "富士山の高さは？"})
            assert found["retrievalResults"][0]["location"]["s3Location"]["uri"] == "s3://docs/fuji.txt"
            request = {"input": {"text": "富士山の高さは？"}, "retrieveAndGenerateConfiguration": settings()}
            response = await agent.retrieve_and_generate_stream(**request)
            events = [event async for event in response["stream"]]
            assert "".join(event["output"]["text"] for event in events if "output" in event).endswith("メートルです。")
            assert response["sessionId"]

    asyncio.run(run())


def test_errors_come_before_and_in_the_middle_of_a_stream():
    async def run():
        async with BedrockStandIn() as stand_in, connected(stand_in, "bedrock-runtime") as runtime:
            request = {"modelId": CHAT, "messages": said("富士山")}
            stand_in.fail("ConverseStream", Failure.error("AccessDeniedException"))
            with pytest.raises(ClientError, match="AccessDeniedException"):
                await runtime.converse_stream(**request)
            stand_in.fail("ConverseStream", Failure.mid_stream("throttlingException", after_events=2))
            stream = (await runtime.converse_stream(**request))["stream"]
            seen = []
            with pytest.raises(EventStreamError, match="throttlingException"):
                await collect(stream, seen)
            stream.close()
            assert len(seen) == 2

    asyncio.run(run())
