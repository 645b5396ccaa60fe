"""A gateway whose upstream is Amazon Bedrock: clients of OpenAI and Anthropic, the real botocore, and the stand-in."""

import asyncio
import json

import anthropic
import httpx
import openai
import pytest
from click.testing import CliRunner

from upstreams.processes import chat, running_gateway
from yamabiko.build import make_generator, open_cache
from yamabiko.cli import main
from yamabiko.errors import ConfigurationError
from yamabiko.settings import Settings
from yamabiko.testing.bedrock import BedrockStandIn, Failure
from yamabiko.testing.bedrock.answering import default_answer
from yamabiko.types import Request

BASE, MODEL = "KBSTANDIN1", "amazon.nova-lite-v1:0"
FUJI, FUJI_JA = "Mount Fuji is 3,776 metres high.", "富士山の高さは3,776メートルです。"
QUESTION, JAPANESE = "How high is Mount Fuji?", "富士山の高さは何メートルですか"
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
ENVIRON |= {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}


@pytest.fixture(scope="module", autouse=True)
def credentials():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
            patch.delenv(name, raising=False)
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        yield


def answer(prompt):
    if prompt.text == "Count.":
        return "one two three four five six END seven eight nine ten"
    return default_answer(prompt)


@pytest.fixture(scope="module")
def running():
    with BedrockStandIn(answer=answer) as stand_in:
        for name, text in (("fuji", FUJI), ("富士山", FUJI_JA)):
            stand_in.put_document(BASE, f"s3://docs/{name}.txt", text)
        stand_in.ingest(BASE)
        yield stand_in


@pytest.fixture
def stand_in(running):
    running.recover()
    return running


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('gateway')}/cache.db"


@pytest.fixture(scope="module")
def gateway(running, store):
    with gateway_of(running, store) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def grounded(running, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('grounded')}/cache.db"
    with gateway_of(running, url, generator__knowledge_base=BASE) as gateway:
        gateway.store = url
        yield gateway


def gateway_of(stand_in, url, **settings):
    names = [f"--upstream={name}=bedrock:{MODEL}" for name in ("openai", "anthropic")]
    there = {"bedrock__endpoint_url": stand_in.url, "bedrock__agent_endpoint_url": stand_in.url}
    return running_gateway(*names, url=url, bedrock__region="ap-northeast-1", bedrock__attempts=1, **there, **settings)


def counts(stand_in):
    return [stand_in.count(name) for name in ("Retrieve", "Converse", "ConverseStream")]


# Who asks.


@pytest.mark.parametrize("question", [QUESTION, JAPANESE])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_openais_is_answered_and_the_second_time_without_bedrock(gateway, stand_in, question, stream):
    client = openai.OpenAI(base_url=gateway.url, api_key=f"k-{stream}", max_retries=0)
    asked = {"model": "any-name", "messages": [{"role": "user", "content": question}], "max_tokens": 50}

    def answer():
        if not stream:
            told = client.chat.completions.create(**asked)
            assert told.model == MODEL
            assert told.choices[0].finish_reason == "stop"
            assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens > 0
            return told.choices[0].message.content
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].usage.total_tokens > 0
        assert chunks[-2].choices[0].finish_reason == "stop"
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])

    with client:
        before = counts(stand_in)
        first = answer()
        assert question in first
        after = counts(stand_in)
        assert [new - old for old, new in zip(before, after, strict=True)] == [0, int(not stream), int(stream)]
        assert answer() == first
    assert counts(stand_in) == after


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_anthropics_too(gateway, stand_in, stream):
    with anthropic.Anthropic(base_url=gateway.root, api_key=f"a-{stream}", max_retries=0) as client:
        asked = {"model": "any-name", "max_tokens": 50, "system": "Be brief.", "stop_sequences": ["END"]}
        asked["messages"] = [{"role": "user", "content": [{"type": "text", "text": JAPANESE}]}]

        def answer():
            if not stream:
                return client.messages.create(**asked)
            with client.messages.stream(**asked) as events:
                return events.get_final_message()

        first = answer()
        after = counts(stand_in)
        assert (first.model, first.stop_reason) == (MODEL, "end_turn")
        assert first.usage.output_tokens > 0
        assert answer().content[0].text == first.content[0].text
    assert counts(stand_in) == after
    config = stand_in.calls[-1].request
    assert config["inferenceConfig"] == {"maxTokens": 50, "stopSequences": ["END"]}
    assert config["system"] == [{"text": "Be brief."}]


def test_the_only_stop_sequence_is_named_where_it_ended_the_answer(gateway):
    body = chat("Count.", max_tokens=50, stop_sequences=["END"])
    told = httpx.post(f"{gateway.url}/messages", json=body, headers={"x-api-key": "k"}).json()
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")
    assert told["content"][0]["text"].startswith("one two")


def test_models_are_listed_and_other_endpoints_are_not_there(gateway):
    assert httpx.get(f"{gateway.url}/models").json()["data"][0]["id"] == MODEL
    answer = httpx.post(f"{gateway.url}/embeddings", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


# From documents.


@pytest.mark.parametrize("stream", [False, True])
def test_with_a_knowledge_base_a_miss_is_retrieve_and_converse_and_a_hit_neither(grounded, stand_in, stream):
    headers = {"authorization": f"Bearer g-{stream}"}
    before = counts(stand_in)
    first = grounded.ask(JAPANESE, stream=stream, headers=headers)
    after = counts(stand_in)
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, int(not stream), int(stream)]
    assert "hit" in grounded.ask(JAPANESE, stream=not stream, headers=headers).headers["cache-status"]
    assert "3,776" in first.text
    assert counts(stand_in) == after


def test_a_stored_answer_remembers_its_documents_and_goes_with_them(grounded, stand_in):
    headers = {"authorization": "Bearer forgets"}
    grounded.ask(QUESTION, headers=headers)
    grounded.ask(QUESTION + " Please.", stream=True, headers=headers)

    async def forget():
        async with open_cache(grounded.store, embedder="none") as cache:
            return await cache.invalidate("s3://docs/fuji.txt")

    assert asyncio.run(forget()) >= 2
    before = counts(stand_in)[0]
    assert "fwd=miss" in grounded.ask(QUESTION, headers=headers).headers["cache-status"]
    assert counts(stand_in)[0] == before + 1


def test_without_documents_nothing_is_stored_and_a_guardrail_holds_for_every_request(running, tmp_path):
    running.put_document("EMPTYBASE1", "s3://gone", "x")
    running.remove_document("EMPTYBASE1", "s3://gone")
    running.put_guardrail("guard1", ["forbidden"])
    more = {"generator__knowledge_base": "EMPTYBASE1", "generator__guardrail": "guard1"}
    with gateway_of(running, f"sqlite:///{tmp_path}/e.db", **more) as empty:
        for stream in (False, True):
            first, second = (empty.ask(f"Is there {stream}?", stream=stream) for _ in range(2))
            assert first.status_code == 200
            assert "no_passages" not in first.text
            assert "fwd=miss" in second.headers["cache-status"]
        guarded = [empty.ask("What is forbidden?") for _ in range(2)]
    assert guarded[0].json()["choices"][0]["finish_reason"] == "content_filter"
    assert "fwd=miss" in guarded[1].headers["cache-status"]


def test_another_model_or_base_answers_for_itself(gateway, running, store):
    headers = {"authorization": "Bearer other"}
    gateway.ask(QUESTION, headers=headers)
    assert "hit" in gateway.ask(QUESTION, headers=headers).headers["cache-status"]
    with gateway_of(running, store, generator__knowledge_base=BASE) as other:
        assert "fwd=miss" in other.ask(QUESTION, headers=headers).headers["cache-status"]


# What can't be.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"seed": 7},
        {"logprobs": True},
        {"secret_words_of_mine": 1},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b", "tool_call_id": "1"}]},
        {"messages": [{"role": "user", "content": "a", "name": "Ann"}]},
        {"messages": 7},
        {"stop_sequences": 7},
    ],
)
def test_what_converse_can_not_carry_is_refused_and_not_left_out(gateway, stand_in, more, stream):
    before = counts(stand_in)
    answer = gateway.ask("secret words of mine", stream=stream, **more)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "secret" not in answer.text
    assert counts(stand_in) == before


def test_several_stop_sequences_of_anthropics_are_refused(gateway):
    body = chat("x", max_tokens=9, stop_sequences=["a", "b"])
    answer = httpx.post(f"{gateway.url}/messages", json=body, headers={"x-api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_what_asks_for_nothing_passes(gateway):
    usual = {"n": 1, "tools": [], "logprobs": False, "response_format": {"type": "text"}, "user": "u", "seed": None}
    assert gateway.ask("Nothing special?", **usual).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "told",
    [
        ("ThrottlingException", 429, "rate_limit_error"),
        ("ServiceQuotaExceededException", 429, "rate_limit_error"),
        ("ValidationException", 400, "invalid_request_error"),
        ("AccessDeniedException", 403, "permission_error"),
        ("ResourceNotFoundException", 404, "not_found_error"),
        ("ServiceUnavailableException", 503, "server_error"),
        ("ModelTimeoutException", 504, "server_error"),
        ("InternalServerException", 502, "server_error"),
    ],
)
def test_an_error_of_bedrocks_has_openais_shape_and_its_status(gateway, stand_in, told, stream):
    code, status, kind = told
    question = f"My secret {code}, {stream}?"
    stand_in.fail("ConverseStream" if stream else "Converse", Failure.error(code))
    answer = gateway.ask(question, stream=stream)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert "secret" not in answer.text
    assert gateway.ask(question, stream=stream).headers["cache-status"].startswith("Yamabiko; fwd=miss")


def test_a_stream_that_breaks_off_says_so_and_is_not_stored(gateway, stand_in):
    stand_in.fail("ConverseStream", Failure.mid_stream("ModelStreamErrorException", after_events=2))
    broken = gateway.ask("Will this break off?", stream=True)
    assert json.loads(broken.text.strip().rpartition("data: ")[2])["error"]["code"] == "upstream_broken"
    assert "[DONE]" not in broken.text
    assert "fwd=miss" in gateway.ask("Will this break off?", stream=True).headers["cache-status"]


def test_an_answer_that_is_cut_short_says_so_and_is_not_stored(gateway):
    first, second = (gateway.ask("Count.", max_tokens=3) for _ in range(2))
    assert first.json()["choices"][0]["finish_reason"] == "length"
    assert "fwd=miss" in second.headers["cache-status"]


# The generators of the settings.


def test_the_settings_make_every_kind_of_generator(stand_in):
    there = {"region": "us-east-1", "endpoint_url": stand_in.url, "agent_endpoint_url": stand_in.url}

    async def answered(**generator):
        settings = Settings.load(arguments={"bedrock": there, "generator": generator})
        async with make_generator(settings) as made:
            pieces = [piece async for piece in made.stream(Request(QUESTION))]
            assert "".join(pieces[:-1]) == (await made(Request(QUESTION))).text
            return pieces[-1]

    assert asyncio.run(answered(kind="simulated")).model == "simulated"
    assert asyncio.run(answered(kind="converse", model=MODEL)).model == MODEL
    grounded = asyncio.run(answered(kind="knowledge_base", model=MODEL, knowledge_base=BASE, max_documents=1))
    assert [source.uri for source in grounded.sources] == ["s3://docs/fuji.txt"]
    assert make_generator(Settings()) is None
    with pytest.raises(ConfigurationError, match=r"generator\.knowledge_base"):
        Settings.load(arguments={"generator": {"kind": "knowledge_base", "model": MODEL}})


def test_ask_and_warm_use_the_generator_of_the_settings(running, tmp_path):
    questions = tmp_path / "questions.txt"
    questions.write_text(f"{JAPANESE}\n", encoding="utf-8")
    there = {"REGION": "us-east-1", "ENDPOINT_URL": running.url, "AGENT_ENDPOINT_URL": running.url}
    environ = {f"YAMABIKO_BEDROCK__{name}": value for name, value in there.items()}
    generator = {"KIND": "knowledge_base", "MODEL": MODEL, "KNOWLEDGE_BASE": BASE}
    environ |= {f"YAMABIKO_GENERATOR__{name}": value for name, value in generator.items()}
    environ |= {"YAMABIKO_EMBEDDER__KIND": "none", "YAMABIKO_URL": f"sqlite:///{tmp_path}/asked.db"}

    def ran(*arguments):
        return CliRunner().invoke(main, ["--json", *arguments], env=environ)

    warmed = ran("warm", str(questions))
    assert (warmed.exit_code, json.loads(warmed.stdout)["stored"]) == (0, 1)
    before = counts(running)
    assert "3,776" in json.loads(ran("ask", JAPANESE).stdout)["answer"]
    assert counts(running) == before
    assert ran("get", JAPANESE, "--model", MODEL).exit_code == 0
    assert "3,776" in json.loads(ran("ask", QUESTION).stdout)["answer"]
    assert counts(running) == [before[0] + 1, before[1] + 1, before[2]]
    assert json.loads(ran("ask", JAPANESE, "--knowledge", "2026-11").stdout)["stored"]
    environ["YAMABIKO_GENERATOR__MAX_DOCUMENTS"] = "2"  # another search: nothing of the first one's is served
    assert json.loads(ran("ask", JAPANESE).stdout)["stored"]
    assert counts(running) == [before[0] + 3, before[1] + 3, before[2]]
    running.fail("Converse", Failure.error("AccessDeniedException"))
    refused = ran("ask", "Who may ask?")
    assert refused.exit_code == 3
    assert "AccessDeniedException" in refused.stderr
