"""What the stand-in enforces on every call, what a test may script, and its life as an object and as a process."""

import asyncio
import http.client
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError, ReadTimeoutError
from urllib3.exceptions import ProtocolError

from bedrocking import BASE, CHAT, KEYS, TITAN, connected, embedding, said, settings
from yamabiko.testing import FakeClock
from yamabiko.testing.bedrock import BedrockStandIn, Failure


@pytest.fixture
def stand_in():
    with BedrockStandIn() as running:
        yield running


@pytest.fixture
def runtime(stand_in):
    with connected(stand_in, "bedrock-runtime") as client:
        yield client


def code_of(call, **request):
    try:
        call(**request)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "", 200


HELLO = {"modelId": CHAT, "messages": said("hello")}


# ---------------------------------------------------------------------- signatures


def test_signatures_are_checked_where_the_keys_are_known():
    with BedrockStandIn(credentials=dict([KEYS])) as own:
        for keys, code in (
            (KEYS, ("", 200)),
            ((KEYS[0], "another secret"), ("InvalidSignatureException", 403)),
            (("AKIDOTHER", KEYS[1]), ("UnrecognizedClientException", 403)),
        ):
            with connected(own, "bedrock-runtime", keys=keys) as runtime:
                assert code_of(runtime.converse, **HELLO) == code


def test_signatures_of_every_service_and_kind_of_path_are_right():
    """The path holds an ARN or a colon, the query is empty or not, methods are POST, PUT and GET."""
    with (
        BedrockStandIn(credentials=dict([KEYS])) as own,
        connected(own, "bedrock-runtime", "bedrock-agent-runtime", "bedrock-agent", "bedrock") as clients,
    ):
        runtime, agent, build, bedrock = clients
        own.put_document(BASE, "s3://docs/fuji.txt", "富士山の高さは3,776メートルです。")
        own.ingest(BASE)
        profile = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0"
        embedding(runtime, TITAN, inputText="富士山")
        runtime.converse(modelId=profile, messages=said("富士山"))
        agent.retrieve_and_generate(input={"text": "富士山"}, retrieveAndGenerateConfiguration=settings())
        build.start_ingestion_job(knowledgeBaseId=BASE, dataSourceId="DSSTANDIN1")
        missing = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/abcdefghijkl"
        assert code_of(bedrock.get_model_invocation_job, jobIdentifier=missing)[0] == "ResourceNotFoundException"


def test_a_request_without_a_signature_or_operation_is_refused(stand_in):
    connection = http.client.HTTPConnection(stand_in.url.removeprefix("http://"))
    try:
        for path, status, code in (
            ("/model/x/converse", 403, "MissingAuthenticationTokenException"),
            ("/model/x/sing", 404, "UnknownOperationException"),
        ):
            connection.request("POST", path, b"{}")
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert response.headers["x-amzn-errortype"].startswith(f"{code}:")
        connection.request("POST", "/model/x/converse", b"{")
        assert connection.getresponse().status == 400
    finally:
        connection.close()


# ---------------------------------------------------------------------- throttling, latency, gates


def test_calls_beyond_the_rate_are_throttled_until_time_passes():
    clock = FakeClock()
    with BedrockStandIn(requests_per_second=2.0, clock=clock) as own, connected(own, "bedrock-runtime") as runtime:
        codes = [code_of(runtime.converse, **HELLO) for _ in range(4)]
        assert codes == [("", 200)] * 2 + [("ThrottlingException", 429)] * 2
        clock.advance(0.5)
        assert [code_of(runtime.converse, **HELLO)[1] for _ in range(2)] == [200, 429]
        own.requests_per_second = None
        assert code_of(runtime.converse, **HELLO)[1] == 200


def test_latency_is_by_operation_and_told_in_the_metrics():
    with (
        BedrockStandIn(latency_seconds={"Converse": 0.15, "*": 0.0}) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        began = time.monotonic()
        assert runtime.converse(**HELLO)["metrics"]["latencyMs"] == 150
        assert time.monotonic() - began >= 0.15


def test_a_client_that_times_out_leaves_the_stand_in_well(stand_in):
    with connected(stand_in, "bedrock-runtime", read_timeout=0.1) as runtime:
        with stand_in.held("Converse"), pytest.raises(ReadTimeoutError):
            runtime.converse(**HELLO)
        assert code_of(runtime.converse, **HELLO)[1] == 200


def test_held_calls_wait_together_and_others_do_not(stand_in, runtime):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(runtime.converse(**HELLO))) for _ in range(5)]
    with stand_in.held("Converse"):
        for thread in threads:
            thread.start()
        stand_in.wait_for_arrivals(5, "Converse")
        embedding(runtime, TITAN, inputText="not held")
        assert (answers, stand_in.count("Converse")) == ([], 0)
    for thread in threads:
        thread.join()
    assert (len(answers), stand_in.count("Converse"), stand_in.count()) == (5, 5, 6)


def test_waiting_for_calls_that_do_not_come_ends(stand_in):
    with pytest.raises(TimeoutError):
        stand_in.wait_for_arrivals(1, timeout_seconds=0.01)


# ---------------------------------------------------------------------- scripted failures


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccessDeniedException", 403),
        ("ThrottlingException", 429),
        ("ModelTimeoutException", 408),
        ("ModelNotReadyException", 429),
        ("InternalServerException", 500),
        ("ServiceUnavailableException", 503),
        ("ModelErrorException", 424),
        ("ServiceQuotaExceededException", 400),
    ],
)
def test_scripted_errors_come_with_their_status_and_then_no_more(stand_in, runtime, code, status):
    stand_in.fail("Converse", Failure.error(code))
    assert code_of(runtime.converse, **HELLO) == (code, status)
    assert code_of(runtime.converse, **HELLO) == ("", 200)
    assert [call.code for call in stand_in.calls] == [code, ""]


def test_failures_come_in_order_for_one_operation_or_for_any(stand_in, runtime):
    stand_in.fail("*", Failure.error("ServiceUnavailableException"))
    stand_in.fail("Converse", Failure.error("ThrottlingException"), Failure.error("ModelErrorException"), times=2)
    codes = [code_of(runtime.converse, **HELLO)[1] for _ in range(6)]
    assert codes == [429, 424, 429, 424, 503, 200]
    stand_in.fail_always("Converse", Failure.error("InternalServerException", status=502))
    assert [code_of(runtime.converse, **HELLO)[1] for _ in range(2)] == [502, 502]
    stand_in.recover()
    assert code_of(runtime.converse, **HELLO)[1] == 200
    with pytest.raises(ValueError, match="no operation"):
        stand_in.fail("Convert", Failure.error("ModelErrorException"))


def test_the_clients_retries_are_seen(stand_in):
    stand_in.fail("Converse", Failure.error("ThrottlingException"), times=2)
    with connected(stand_in, "bedrock-runtime", attempts=2) as runtime:
        assert runtime.converse(**HELLO)["ResponseMetadata"]["RetryAttempts"] == 2
    assert [call.status for call in stand_in.calls] == [429, 429, 200]


def test_a_cut_connection_is_a_closed_connection_to_the_client(stand_in, runtime):
    for failure in (Failure.cut(), Failure.cut(after_events=2)):
        stand_in.fail("Converse", failure)
        with pytest.raises(ConnectionClosedError):
            runtime.converse(**HELLO)
    assert [(call.status, call.code) for call in stand_in.calls] == [(0, "cut")] * 2


@pytest.mark.parametrize(("after", "seen"), [(0, 0), (1, 1), (3, 3)])
def test_an_exception_in_mid_stream_comes_after_that_many_events(stand_in, runtime, after, seen):
    stand_in.fail("ConverseStream", Failure.mid_stream("ModelStreamErrorException", "gone", after_events=after))
    events = []
    with closing(runtime.converse_stream(**HELLO)["stream"]) as stream, pytest.raises(EventStreamError) as caught:
        events.extend(stream)
    assert len(events) == seen
    assert caught.value.response["Error"] == {"Code": "modelStreamErrorException", "Message": "gone"}


def test_a_stream_can_be_cut_and_a_mid_stream_failure_without_stream_is_an_error(stand_in, runtime):
    stand_in.fail("ConverseStream", Failure.cut(after_events=2))
    events = []
    with closing(runtime.converse_stream(**HELLO)["stream"]) as stream, pytest.raises(ProtocolError):
        events.extend(stream)  # botocore lets urllib3's own error through
    assert len(events) == 2
    stand_in.fail("Converse", Failure.mid_stream("throttlingException"))
    assert code_of(runtime.converse, **HELLO) == ("ThrottlingException", 429)


# ---------------------------------------------------------------------- what it remembers


def test_calls_tell_what_was_asked_and_their_repr_holds_no_text(stand_in, runtime):
    runtime.converse(modelId=CHAT, messages=said("秘密の質問"))
    [call] = stand_in.calls
    assert (call.operation, call.model, call.status, call.code) == ("Converse", CHAT, 200, "")
    assert call.request["messages"] == said("秘密の質問")
    assert call.request_bytes > 30 < call.response_bytes
    assert abs(call.at - time.time()) < 60
    assert "秘密" not in repr(call)


# ---------------------------------------------------------------------- its life


def test_what_the_callers_own_function_raises_is_told_and_raised_at_the_end():
    def answer(_):
        raise LookupError("my own mistake")

    with (
        pytest.raises(LookupError, match="my own mistake"),
        BedrockStandIn(answer=answer) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        assert code_of(runtime.converse, **HELLO) == ("InternalServerException", 500)


def test_it_works_as_an_async_context_manager_and_closes_while_calls_wait():
    async def run():
        async with BedrockStandIn() as own:
            with connected(own, "bedrock-runtime") as runtime, own.held():
                waiting = asyncio.create_task(asyncio.to_thread(code_of, runtime.converse, **HELLO))
                await asyncio.to_thread(own.wait_for_arrivals, 1)
                await asyncio.to_thread(own.close)
                with pytest.raises(ConnectionClosedError):
                    await waiting

    asyncio.run(run())


def test_two_run_side_by_side_and_a_taken_port_is_an_error(stand_in):
    with BedrockStandIn() as other:
        assert other.url != stand_in.url
    with pytest.raises(OSError, match="in use"):
        BedrockStandIn(port=int(stand_in.url.rpartition(":")[2])).start()
    with pytest.raises(RuntimeError, match="not running"), other.held():
        pass


def test_fifty_calls_at_once_take_as_long_as_one():
    with BedrockStandIn(latency_seconds=0.3) as own:
        before = threading.active_count()

        def ask():
            with suppress(ClientError), connected(own, "bedrock-runtime") as runtime:
                runtime.converse(**HELLO)

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        own.wait_for_arrivals(50, timeout_seconds=30.0)
        assert threading.active_count() <= before + 50  # no thread of its own for a call
        for thread in threads:
            thread.join()
        assert [call.status for call in own.calls] == [200] * 50


def test_it_runs_as_a_process_with_documents(tmp_path):
    (tmp_path / "fuji.txt").write_text("富士山の高さは3,776メートルです。", "utf-8")
    command = [sys.executable, "-m", "yamabiko.testing.bedrock", "--port", "0", "--documents", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")

            class Running:
                pass

            Running.url = url
            with connected(Running, "bedrock-agent-runtime") as agent:
                [found] = agent.retrieve(knowledgeBaseId=BASE, retrievalQuery={"text": "富士山"})["retrievalResults"]
            assert found["location"]["s3Location"]["uri"] == "s3://documents/fuji.txt"
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
