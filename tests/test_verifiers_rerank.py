"""Bedrock's Rerank as verifier, through the real client against the stand-in."""

import asyncio

import pytest

from bedrocking import CHAT, KEYS
from yamabiko import Request
from yamabiko.aws.bedrock import BedrockAgent
from yamabiko.aws.bedrock_calls import Access
from yamabiko.errors import ConfigurationError, VerifierError
from yamabiko.testing.bedrock import BedrockStandIn, Failure
from yamabiko.types import Candidate, Entry, Question, Reply, Scope
from yamabiko.verifiers.rerank import MAX_CHARACTERS, RerankVerifier

MODEL = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
ASKED = "How high is Mount Fuji?"


@pytest.fixture(scope="module")
def stand_in():
    with BedrockStandIn() as running:
        yield running


@pytest.fixture(autouse=True)
def recovered(stand_in, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    yield
    stand_in.recover()


def access(stand_in):
    return Access(region="ap-northeast-1", endpoint_url=stand_in.url, attempts=1)


def candidate(question, answer):
    scope = Scope(content=b"c" * 32, digest=b"d" * 32, tenant="", user="", model="", embedder="fake")
    entry = Entry(
        id=question,
        scope=scope,
        questions=(Question(digest=b"q" * 32, text=question),),
        reply=Reply(text=answer),
        created=0.0,
    )
    return Candidate(entry=entry, similarity=0.9)


FUJI = candidate("What is the height of Mount Fuji?", "Mount Fuji is 3,776 metres high.")
BIWA = candidate("How large is Lake Biwa?", "Lake Biwa covers 670 square kilometres.")


def asked(stand_in, candidates, *, method="log_odds", question=ASKED, model=MODEL, **options):
    async def run():
        agent = BedrockAgent(access(stand_in))
        verifier = RerankVerifier(agent, model, close_agent=agent.close, **options)
        try:
            return list(await getattr(verifier, method)(Request(question), candidates)), verifier.calls
        finally:
            await verifier.close()

    return asyncio.run(run())


def test_all_candidates_are_one_call_and_keep_their_places(stand_in):
    before = stand_in.count("Rerank")
    (biwa, fuji), calls = asked(stand_in, [BIWA, FUJI])
    assert fuji > biwa
    assert (calls, stand_in.count("Rerank") - before) == (1, 1)
    sent = stand_in.calls[-1].request
    assert sent["queries"][0]["textQuery"]["text"].casefold().startswith("how high")
    assert "3,776" in sent["sources"][1]["inlineDocumentSource"]["textDocument"]["text"]


def test_a_relevance_is_a_yes_from_the_least_on(stand_in):
    assert asked(stand_in, [BIWA, FUJI], method="same", min_relevance=0.5)[0] == [False, True]
    assert asked(stand_in, [BIWA, FUJI], method="same", min_relevance=1.0)[0] == [False, False]


def test_what_is_too_long_is_left_out_and_the_rest_asked(stand_in):
    long = candidate("Long?", "x" * MAX_CHARACTERS)
    (nothing, fuji), calls = asked(stand_in, [long, FUJI])
    assert nothing is None
    assert fuji is not None
    assert asked(stand_in, [long])[0] == [None]
    assert calls == 1


def test_what_the_service_refuses_is_a_verifier_error(stand_in):
    with pytest.raises(VerifierError):
        asked(stand_in, [FUJI], model=CHAT)
    stand_in.fail_always("Rerank", Failure(code="ThrottlingException"))
    with pytest.raises(VerifierError, match="ThrottlingException"):
        asked(stand_in, [FUJI])


def test_late_is_a_verifier_error(stand_in):
    async def run():
        agent = BedrockAgent(access(stand_in))
        verifier = RerankVerifier(agent, MODEL, timeout_seconds=0.2, close_agent=agent.close)
        with stand_in.held("Rerank"), pytest.raises(VerifierError, match=r"0\.2 s"):
            await verifier.log_odds(Request(ASKED), [FUJI])
        await verifier.close()

    asyncio.run(run())


@pytest.mark.parametrize("wrong", [{"model": ""}, {"timeout_seconds": 0}, {"min_relevance": 0}])
def test_settings_that_can_not_be_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        RerankVerifier(None, **({"model": MODEL} | wrong))
