"""boto3's bedrock-runtime client with the cache in front of it, against a server that it takes for Bedrock."""

import boto3
import pytest
from botocore.config import Config
from botocore.eventstream import EventStream
from botocore.exceptions import ClientError, EventStreamError

from yamabiko import open_sync_cache
from yamabiko.adapters.wrapping import wrap
from yamabiko.errors import ConfigurationError
from yamabiko.testing import FakeEmbedder
from yamabiko.testing.bedrock import BedrockStandIn, Completion, Failure, ToolUse
from yamabiko.types import Controls, Policy

NOVA = "amazon.nova-lite-v1:0"
QUESTIONS = ["Where is the mountain echo heard?", "やまびこはどこで聞こえますか？"]


@pytest.fixture
def bedrock():
    with BedrockStandIn() as stand_in:
        yield stand_in


def runtime(stand_in, service="bedrock-runtime"):
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=stand_in.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def plain(bedrock):
    client = runtime(bedrock)
    yield client
    client.close()


@pytest.fixture
def cache():
    policy = Policy(max_error_rate=None, min_similarity=0.9)
    with open_sync_cache("memory://", embedder=FakeEmbedder(), policy=policy) as cache:
        yield cache


@pytest.fixture
def client(plain, cache):
    return wrap(plain, cache=cache, tenant="acme")


def told(text, **more):
    return {"modelId": NOVA, "messages": [{"role": "user", "content": [{"text": text}]}], **more}


def text_of(response):
    return response["output"]["message"]["content"][0]["text"]


def events_of(response):
    return list(response["stream"])


def streamed(events):
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return [delta["text"] for delta in deltas if "text" in delta]


def calls(stand_in, operation):
    return sum(call.operation == operation for call in stand_in.calls)


class TestConverse:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_same_question_is_asked_once(self, client, bedrock, question):
        first, again = (client.converse(**told(question)) for _ in range(2))
        assert calls(bedrock, "Converse") == 1
        assert again["output"] == first["output"]
        assert again["stopReason"] == first["stopReason"] == "end_turn"
        assert again["usage"]["totalTokens"] == first["usage"]["totalTokens"]
        assert again["usage"]["inputTokens"] == 0
        assert again["usage"]["cacheReadInputTokens"] == first["usage"]["inputTokens"]
        assert "fwd=miss" in first["ResponseMetadata"]["HTTPHeaders"]["cache-status"]
        assert "hit" in again["ResponseMetadata"]["HTTPHeaders"]["cache-status"]
        assert again["ResponseMetadata"]["HTTPStatusCode"] == 200

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_a_stream_serves_what_was_whole_and_the_reverse(self, client, bedrock, question):
        first = client.converse_stream(**told(question))
        assert isinstance(first["stream"], EventStream)
        events = events_of(first)
        again = client.converse_stream(**told(question))
        assert isinstance(again["stream"], EventStream)
        replayed = events_of(again)
        assert streamed(replayed) == streamed(events)
        assert "".join(streamed(events)) == text_of(client.converse(**told(question)))
        assert [next(iter(event)) for event in replayed][-2:] == ["messageStop", "metadata"]
        assert (calls(bedrock, "Converse"), calls(bedrock, "ConverseStream")) == (0, 1)

    def test_tool_calls_are_never_stored(self, plain, cache):
        tool = {"toolSpec": {"name": "echo", "inputSchema": {"json": {"type": "object"}}}}
        use = ToolUse(name="echo", input={"place": "山"})

        with BedrockStandIn(answer=lambda _: Completion(tool_uses=[use])) as other:
            client = wrap(runtime(other), cache=cache)
            for _ in range(2):
                answer = client.converse(**told("Call!", toolConfig={"tools": [tool]}))
                assert answer["stopReason"] == "tool_use"
                assert answer["output"]["message"]["content"][-1]["toolUse"]["input"] == {"place": "山"}
            assert calls(other, "Converse") == 2
            client.close()

    def test_errors_are_the_vendors_and_nothing_of_them_is_stored(self, client, bedrock):
        bedrock.fail("Converse", Failure.error("ThrottlingException"))
        with pytest.raises(client.exceptions.ThrottlingException):
            client.converse(**told("Too fast?"))
        with pytest.raises(ClientError, match="ValidationException"):
            client.converse(modelId="no.such-model", messages=told("Who?")["messages"])
        assert text_of(client.converse(**told("Too fast?")))
        bedrock.fail("ConverseStream", Failure.mid_stream("modelStreamErrorException", after_events=3))
        broken = client.converse_stream(**told("Broken?"))
        with pytest.raises(EventStreamError):
            events_of(broken)
        assert events_of(client.converse_stream(**told("Broken?")))
        assert calls(bedrock, "ConverseStream") == 2

    def test_who_stops_early_stores_nothing(self, client, bedrock):
        bedrock.event_seconds = 0.05
        with_rest = client.converse_stream(**told("Enough of it?"))
        next(iter(with_rest["stream"]))
        with_rest["stream"].close()
        bedrock.event_seconds = 0.0
        assert events_of(client.converse_stream(**told("Enough of it?")))
        assert calls(bedrock, "ConverseStream") == 2

    def test_tenants_and_controls(self, client, plain, cache, bedrock):
        client.converse(**told("Whose?"))
        wrap(client, cache=cache, tenant="other").converse(**told("Whose?"))
        wrap(client, cache=cache, tenant="acme", controls=Controls(read=False)).converse(**told("Whose?"))
        wrap(client, cache=cache, tenant="acme").converse(**told("Whose?"))
        assert calls(bedrock, "Converse") == 3


class TestTheRest:
    def test_embeddings_pass_through(self, client, bedrock):
        body = b'{"inputText": "echo", "dimensions": 256, "normalize": true}'
        for _ in range(2):
            assert client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)["body"].read()
        assert calls(bedrock, "InvokeModel") == 2

    def test_the_given_client_stays_as_it_was(self, client, plain, bedrock):
        assert isinstance(client, type(plain))
        assert client.meta is plain.meta
        for asking in (client, plain, plain):
            asking.converse(**told("Untouched?"))
        assert calls(bedrock, "Converse") == 3

    def test_another_service_is_refused(self, bedrock, cache):
        with pytest.raises(ConfigurationError, match="of bedrock-runtime, not of bedrock-agent-runtime"):
            wrap(runtime(bedrock, "bedrock-agent-runtime"), cache=cache)
