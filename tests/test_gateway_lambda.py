"""The gateway as a function, in processes behind a stand-in of Lambda's runtime API: by AWS's runtime and by our own."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from functions.running import COMMANDS, WHOLE, question, recorded, running
from yamabiko.gateway.building import build
from yamabiko.gateway.exchange import Observer
from yamabiko.gateway.lambda_handler import Function
from yamabiko.settings import Settings
from yamabiko.testing.bedrock import BedrockStandIn, Failure

MODEL = "amazon.nova-lite-v1:0"
MARK = "zanzibar-marker"
ALARMING = re.compile(r"traceback|error", re.IGNORECASE)


@pytest.fixture
def bedrock():
    with BedrockStandIn() as stand_in:
        yield stand_in


def environment(bedrock, url="memory://", **more):
    return {
        "YAMABIKO_URL": url,
        "YAMABIKO_EMBEDDER__KIND": "titan",
        "YAMABIKO_BEDROCK__REGION": "us-east-1",
        "YAMABIKO_BEDROCK__ENDPOINT_URL": bedrock.url,
        "YAMABIKO_GATEWAY__UPSTREAMS": f"openai=bedrock:{MODEL}",
        "YAMABIKO_POLICY__MAX_ERROR_RATE": "none",
        "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "a secret that signs",
    } | more


def document(answer):
    """Status, headers and body of an answer, whole or streamed."""
    if answer.kind == "streamed":
        head, body = answer.split()
        assert answer.broke is None
        return head["statusCode"], head["headers"], body.decode()
    assert answer.kind == "response", answer.body
    told = answer.document
    lists = told.get("multiValueHeaders", {})
    headers = {name: values[0] for name, values in lists.items()} | told.get("headers", {})
    return told["statusCode"], headers, told["body"]


def tier(answer):
    return document(answer)[1].get("x-yamabiko-tier", "miss")


def said(answer):
    return json.loads(document(answer)[2])["choices"][0]["message"]["content"]


@pytest.mark.parametrize("runtime", COMMANDS)
def test_invocations_share_a_cache_and_its_connections(runtime, bedrock):
    with running(runtime, **environment(bedrock, YAMABIKO_GATEWAY__EMF="true", YAMABIKO_DEPLOYMENT="shop")) as function:
        first = function.invoke(question("What is a mountain echo?"))
        again = function.invoke(question("What is a mountain echo?", "function_url"))
        near = function.invoke(question("what is a mountain echo", "alb"))
        other = function.invoke(question("How is steel made?", "alb_multi_value"))
        health = function.invoke(recorded("alb_health_check"))
        lines = function.lines
    assert [tier(answer) for answer in (first, again, near, other)] == ["miss", "exact", "semantic", "miss"]
    assert said(first) == said(again) == said(near)
    assert document(health)[0] == 200
    assert bedrock.count("Converse") == 2
    told = [json.loads(line) for line in lines]
    assert [line["Tier"] for line in told] == ["miss", "exact", "semantic", "miss"]
    assert {line["Deployment"] for line in told} == {"shop"}
    assert [line["SavedUSD"] > 0 for line in told] == [False, True, True, False]
    assert not ALARMING.search("".join(line for line in lines if not line.startswith("{")))


@pytest.mark.parametrize("runtime", WHOLE)
def test_a_stream_is_told_whole_where_it_can_not_be_streamed(runtime, bedrock):
    with running(runtime, **environment(bedrock)) as function:
        made = function.invoke(question("What is a mountain echo?", stream=True))
        stored = function.invoke(question("What is a mountain echo?", stream=True))
    for answer in (made, stored):
        status, headers, body = document(answer)
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        assert body.endswith("data: [DONE]\n\n")
    assert (tier(made), tier(stored)) == ("miss", "exact")


def test_a_streamed_answer_comes_as_it_is_made(bedrock):
    bedrock.event_seconds = 0.15
    with running("streaming", **environment(bedrock)) as function:
        made = function.invoke(question("What is a mountain echo, in many words of ten letters?", stream=True))
        stored = function.invoke(question("What is a mountain echo, in many words of ten letters?", stream=True))
    assert made.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    (begun, _), *_, (ended, last) = made.pieces
    assert last.endswith(b"data: [DONE]\n\n")
    assert ended - begun > 0.15
    assert tier(stored) == "exact"


@pytest.mark.parametrize("runtime", COMMANDS)
def test_what_goes_on_behind_is_done_before_the_invocation_ends(runtime, bedrock, tmp_path):
    file = tmp_path / "cache.db"
    with running(runtime, **environment(bedrock, f"sqlite:///{file}")) as function:
        for number in range(3):
            function.invoke(question(f"What is echo number {number}?"))
            function.process.send_signal(
                signal.SIGSTOP
            )  # frozen, as Lambda freezes it, the moment that the answer is there
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as seen:
                assert seen.execute("SELECT count(*) FROM entry").fetchone() == (number + 1,)
            seen.close()
            function.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("runtime", WHOLE)
def test_an_answer_that_takes_too_long_is_given_up_in_time(runtime, bedrock):
    bedrock.latency_seconds = {"Converse": 30.0}
    with running(runtime, **environment(bedrock)) as function:
        function.invoke(recorded("alb_health_check"))
        started = time.perf_counter()
        late = function.invoke(question("What is a mountain echo?"), seconds=4.0)
        took = time.perf_counter() - started
        bedrock.latency_seconds = 0.0
        after = function.invoke(question("What is a mountain echo?"))
    status, _, body = document(late)
    assert status == 504
    assert json.loads(body)["error"]["code"] == "deadline"
    assert took < 4.0
    assert tier(after) == "miss"
    assert document(after)[0] == 200


def test_a_stream_that_takes_too_long_says_that_it_broke_off(bedrock):
    asked = f"What is {'a mountain echo, ' * 60}and why?"  # the answer repeats it, in many pieces
    bedrock.event_seconds = 0.5
    with running("streaming", **environment(bedrock)) as function:
        function.invoke(recorded("alb_health_check"))
        late = function.invoke(question(asked, stream=True), seconds=8.0)
        bedrock.event_seconds = 0.0
        after = function.invoke(question(asked, stream=True))
    assert late.kind == "streamed"
    assert late.split()[0]["statusCode"] == 200
    assert late.broke["errorType"] == "Yamabiko.AnswerBroken"
    assert document(after)[0] == 200


@pytest.mark.parametrize("runtime", WHOLE)
def test_without_the_store_requests_are_passed_on_in_time(runtime, bedrock):
    url = "valkey://127.0.0.1:9?name=nowhere"
    with running(runtime, **environment(bedrock, url, YAMABIKO_STORE__TIMEOUT_SECONDS="0.5")) as function:
        answers = [function.invoke(question("What is a mountain echo?")) for _ in range(2)]
    assert [document(answer)[0] for answer in answers] == [200, 200]
    assert [document(answer)[1]["x-yamabiko-reason"] for answer in answers] == ["store_unavailable"] * 2
    assert bedrock.count("Converse") == 2


@pytest.mark.parametrize("runtime", WHOLE)
def test_a_failing_model_is_told_in_the_dialect(runtime, bedrock):
    bedrock.fail("Converse", Failure.error("ThrottlingException"), times=9)
    with running(
        runtime, **environment(bedrock, YAMABIKO_BEDROCK__ATTEMPTS="1", YAMABIKO_GATEWAY__EMF="true")
    ) as function:
        answer = function.invoke(question("What is a mountain echo?"))
        (told,) = function.emf()
    assert document(answer)[0] == 429
    assert json.loads(document(answer)[2])["error"]["code"] == "rate_limit_exceeded"
    assert told["UpstreamErrors"] == 1


@pytest.mark.parametrize("runtime", COMMANDS)
def test_no_text_is_in_what_a_function_writes(runtime, bedrock):
    bedrock.fail("Converse", Failure.error("ValidationException"), times=1)
    more = {"YAMABIKO_GATEWAY__EMF": "true", "YAMABIKO_GATEWAY__ACCESS_LOG": "true"}
    with running(runtime, **environment(bedrock, **more)) as function:
        function.invoke(question(f"What is {MARK}?"))
        function.invoke(question(f"What is {MARK}?"))
        function.invoke(
            question(f"What is {MARK}?", headers={"x-yamabiko-policy": MARK, "authorization": f"Bearer {MARK}"})
        )
        function.invoke(recorded("http_api", body=f'{{"model": "{MARK}'))
        function.invoke(recorded("http_api", rawPath=f"/v1/{MARK}"))
        function.invoke(recorded("http_api", body=f"{MARK} \ud800"))
        refused = function.invoke({"detail": MARK})
        unread = function.invoke(f'["{MARK}'.encode()) if runtime != "awslambdaric" else refused
        lines = function.lines
    assert refused.kind == unread.kind == "error"
    assert refused.document["errorType"] == "InvalidRequest"
    assert MARK not in refused.body.decode()
    assert len(lines) >= 6
    assert not [line for line in lines if MARK in line]


@pytest.mark.parametrize("runtime", COMMANDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"YAMABIKO_URL": ""}, "YAMABIKO_URL must name the store"),
        ({"YAMABIKO_POLICY__MIN_SIMILARITY": "7"}, "policy.min_similarity"),
        ({"YAMABIKO_SETTINGS_FILE": "/nowhere/yamabiko.toml"}, "can't be read"),
    ],
)
def test_a_function_that_can_not_begin_says_what_to_do(runtime, wrong, message, bedrock):
    with running(runtime, **environment(bedrock) | wrong) as function:
        told = function.api.init_errors.get(timeout=30)
        assert function.process.wait(20) != 0
    assert told.document["errorType"] == "ConfigurationError"
    assert message in told.document["errorMessage"]
    assert "lambda-runtime-function-error-type" in told.headers


def test_a_snapshot_holds_no_connection(bedrock, tmp_path):
    """With SnapStart what is open at the end of the beginning is in every copy: so nothing is."""
    code = """
import os, sys
from yamabiko.gateway.lambda_handler import handler
print(os.path.exists(sys.argv[1]))
class Context:
    def get_remaining_time_in_millis(self): return 20000
import json
print(handler(json.loads(sys.argv[2]), Context())["statusCode"], os.path.exists(sys.argv[1]))
"""
    file = tmp_path / "cache.db"
    environ = environment(bedrock, f"sqlite:///{file}", AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    ran = subprocess.run(
        [sys.executable, "-c", code, str(file), json.dumps(question("What is a mountain echo?"))],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        env=os.environ | environ,
        check=True,
    )
    assert ran.stdout.split() == ["False", "200", "True"]


def test_what_a_function_does_not_need_is_not_imported():
    heavy = ["prometheus_client", "uvicorn", "aiohttp", "onnxruntime", "tokenizers", "botocore", "redis", "faiss"]
    code = f"import sys; import yamabiko.gateway.lambda_handler; print([n for n in {heavy} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_command_takes_no_other_arguments():
    ran = subprocess.run(
        [sys.executable, "-m", "yamabiko.gateway.lambda_runtime", "--whole"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "--stream" in ran.stderr


def test_a_rest_api_may_be_asked_by_openai_paths_and_headers(bedrock):
    with running("own", **environment(bedrock)) as function:
        event = recorded("rest_api")
        event["multiValueHeaders"] |= {"Cache-Control": ["only-if-cached"]}
        refused = function.invoke(event)
        del event["multiValueHeaders"]["Cache-Control"]
        made = function.invoke(event)
    assert refused.document["statusCode"] == 504
    assert made.document["statusCode"] == 200
    assert made.document["multiValueHeaders"]["content-type"] == ["application/json"]


class Broken(Observer):
    """Somebody's own, with a fault: its error quotes what it was told."""

    def begun(self, exchange, scope):
        raise ValueError(scope["query_string"])


def test_an_error_of_ours_is_told_without_its_text(caplog):
    settings = Settings.load(arguments={"url": "memory://", "embedder.kind": "none"})
    function = Function(build(settings, observers=[Broken()], scraped=False))

    async def go():
        told = await function.whole(recorded("http_api", rawQueryString=MARK), 20.0)
        await function.close()
        return told

    told = asyncio.run(go())
    assert told["statusCode"] == 500
    assert json.loads(told["body"])["error"]["code"] == "internal_error"
    assert "ValueError in test_gateway_lambda.py:" in caplog.text
    assert MARK not in caplog.text + told["body"]
