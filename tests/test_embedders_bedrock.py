"""Titan and Cohere on Bedrock, through the real botocore against the stand-in."""

from __future__ import annotations

import asyncio
import json
import math

import numpy as np
import pytest

from yamabiko import Policy, Settings, open_cache
from yamabiko.aws.bedrock import BedrockRuntime
from yamabiko.aws.bedrock_calls import Access
from yamabiko.build import make_embedder
from yamabiko.embedders.bedrock import CohereEmbedder, TitanEmbedder
from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.ports import Metered
from yamabiko.testing.bedrock import BedrockStandIn, Failure
from yamabiko.types import MissReason

V2, G1 = "amazon.titan-embed-text-v2:0", "amazon.titan-embed-text-v1"
V3, V4 = "cohere.embed-multilingual-v3", "cohere.embed-v4:0"
TEXTS = ["How do I reset my password?", "パスワードを忘れました。", "When does the office open?"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def stand_in():
    with BedrockStandIn() as running:
        yield running


def embedded(stand_in, texts, kind=TitanEmbedder, model=V2, *, attempts=1, timeout_seconds=20.0, **given):
    """What an embedder made of the texts, and the embedder, closed."""

    async def run():
        access = Access(
            region="us-east-1", endpoint_url=stand_in.url, attempts=attempts, timeout_seconds=timeout_seconds
        )
        async with kind(BedrockRuntime(access), model, **given) as embedder:
            return await embedder.embed(texts), embedder

    return asyncio.run(run())


def bodies(stand_in):
    return [call.request for call in stand_in.calls]


@pytest.mark.parametrize(
    ("kind", "model", "dim"),
    [
        *[(TitanEmbedder, V2, dim) for dim in (256, 512, 1024, None)],
        (TitanEmbedder, G1, 1536),
        (TitanEmbedder, G1, None),
        (CohereEmbedder, V3, 1024),
        (CohereEmbedder, "cohere.embed-english-v3", None),
        *[(CohereEmbedder, V4, dim) for dim in (256, 512, 1024, 1536, None)],
    ],
)
def test_every_model_gives_unit_vectors_in_order(stand_in, kind, model, dim):
    vectors, embedder = embedded(stand_in, TEXTS + TEXTS[::-1], kind, model, dim=dim)
    assert embedder.dim == (dim or (1536 if model == G1 else 1024))
    assert all(vector.shape == (embedder.dim,) and vector.dtype == np.float32 for vector in vectors)
    assert all(math.isclose(np.linalg.norm(vector), 1, abs_tol=1e-5) for vector in vectors)
    for one, other in zip(vectors, vectors[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert model in embedder.id
    assert str(embedder.dim) in embedder.id


@pytest.mark.parametrize(
    ("kind", "model", "dim", "words"),
    [
        (TitanEmbedder, V2, 1536, "256 or 512 or 1024 .*Titan G1"),
        (TitanEmbedder, V2, 768, "256 or 512 or 1024"),
        (TitanEmbedder, G1, 1024, "must be 1536"),
        (CohereEmbedder, V3, 512, "must be 1024"),
        (CohereEmbedder, V4, 2048, "256 or 512 or 1024 or 1536"),
        (TitanEmbedder, V3, None, "embedder.model"),
        (CohereEmbedder, "cohere.command-r-v1:0", None, "embedder.model"),
    ],
)
def test_what_a_model_does_not_give_is_refused_before_any_call(stand_in, kind, model, dim, words):
    with pytest.raises(ConfigurationError, match=words):
        embedded(stand_in, TEXTS, kind, model, dim=dim)
    assert stand_in.count() == 0


def test_1536_is_refused_when_a_cache_is_opened(stand_in):
    settings = Settings.load(arguments={"embedder.dim": 1536, "bedrock.endpoint_url": stand_in.url})

    async def run():
        await open_cache("memory://", settings=settings, embedder="titan")

    with pytest.raises(ConfigurationError, match="1536"):
        asyncio.run(run())
    assert stand_in.count() == 0


def test_a_text_that_is_too_long_gets_none_and_the_others_their_vectors(stand_in):
    long = "word " * 9_000  # more than 8,192 tokens; the service refuses it
    longer = "x" * 60_000  # not even sent
    vectors, _ = embedded(stand_in, [TEXTS[0], long, longer, TEXTS[1]])
    assert [vector is None for vector in vectors] == [False, True, True, False]
    assert stand_in.count("InvokeModel") == 3


def test_cohere_sends_at_most_96_texts_of_2048_characters_in_one_call(stand_in):
    texts = [f"question {at}" for at in range(100)] + ["長" * 2_049]
    vectors, _ = embedded(stand_in, texts, CohereEmbedder, V3)
    assert [at for at, vector in enumerate(vectors) if vector is None] == [100]
    assert sorted(len(body["texts"]) for body in bodies(stand_in)) == [4, 96]


def test_cohere_finds_the_one_text_that_a_batch_is_refused_for(stand_in):
    stand_in.fail("InvokeModel", Failure.error("ValidationException"), times=2)  # the batch, then its first half
    vectors, _ = embedded(stand_in, ["長い" * 400, "short"], CohereEmbedder, V3)
    assert [vector is None for vector in vectors] == [True, False]


@pytest.mark.parametrize("input_type", ["search_query", "search_document", "clustering"])
def test_cohere_has_one_input_type_on_both_sides_and_in_its_name(stand_in, input_type):
    _, embedder = embedded(stand_in, TEXTS, CohereEmbedder, V4, input_type=input_type)
    assert {body["input_type"] for body in bodies(stand_in)} == {input_type}
    assert {body["truncate"] for body in bodies(stand_in)} == {"NONE"}
    assert embedder.id.endswith(f"/1024/{input_type}")


def test_an_inference_profile_is_the_same_model(stand_in):
    runtime = BedrockRuntime(Access(region="us-east-1", endpoint_url=stand_in.url))
    assert CohereEmbedder(runtime, "global.cohere.embed-v4:0").id == CohereEmbedder(runtime, V4).id
    assert TitanEmbedder(runtime, V2, dim=256).id != TitanEmbedder(runtime, V2, dim=512).id
    assert TitanEmbedder(runtime, V2).model_for("any text") == TitanEmbedder(runtime, V2).id


@pytest.mark.parametrize(("kind", "model"), [(TitanEmbedder, V2), (TitanEmbedder, G1), (CohereEmbedder, V3)])
def test_tokens_are_counted_for_the_costs(stand_in, kind, model):
    _, embedder = embedded(stand_in, TEXTS, kind, model)
    assert isinstance(embedder, Metered)
    assert embedder.input_tokens > 10
    assert embedder.priced_as == model


def test_throttling_is_ridden_out_and_a_dead_service_is_an_embedding_error(stand_in):
    stand_in.fail("InvokeModel", Failure.error("ThrottlingException"))
    vectors, _ = embedded(stand_in, TEXTS[:1], attempts=3)
    assert vectors[0] is not None
    stand_in.fail_always("InvokeModel", Failure.error("ThrottlingException", TEXTS[0]))
    with pytest.raises(EmbeddingError, match="ThrottlingException") as caught:
        embedded(stand_in, TEXTS)
    assert TEXTS[0] not in repr(caught.value)


@pytest.mark.parametrize("scripted", [Failure.cut(), Failure.error("ValidationException", "no")])
def test_what_goes_wrong_is_an_embedding_error(stand_in, scripted):
    stand_in.fail_always("InvokeModel", scripted)
    for kind, model in ((TitanEmbedder, V2), (CohereEmbedder, V3)):
        with pytest.raises(EmbeddingError):
            embedded(stand_in, TEXTS, kind, model)


def test_a_silent_service_is_an_embedding_error_in_time(stand_in):
    with stand_in.held("InvokeModel"), pytest.raises(EmbeddingError):
        embedded(stand_in, TEXTS, timeout_seconds=0.3)


class Saying:
    """A runtime that answers with what it is given: models that send nonsense."""

    def __init__(self, body):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.input_tokens = 0

    async def invoke(self, _model, _body, /):
        return self

    async def close(self):
        pass


@pytest.mark.parametrize(
    "said",
    [
        b"no JSON",
        [],
        {},
        *({"embedding": said} for said in (None, [1.0, 2.0], ["a"] * 256, [0.0] * 256, [math.nan] * 256)),
    ],
)
def test_nonsense_is_an_embedding_error(said):
    with pytest.raises(EmbeddingError):
        asyncio.run(TitanEmbedder(Saying(said), dim=256).embed(["text"]))


def test_empty_texts_and_closed_embedders_are_refused(stand_in):
    with pytest.raises(EmbeddingError, match="empty"):
        embedded(stand_in, ["fine", "  "])
    _, embedder = embedded(stand_in, TEXTS)
    with pytest.raises(EmbeddingError, match="closed"):
        asyncio.run(embedder.embed(TEXTS))


def test_a_cache_with_titan_starts_in_shadow_since_nobody_measured_it(stand_in):
    settings = Settings.load(arguments={"bedrock": {"region": "us-east-1", "endpoint_url": stand_in.url}})

    async def model(_request):
        return "Open the settings and choose Security."

    async def run():
        async with open_cache("memory://", settings=settings, embedder="titan") as cache:
            await cache.answer(TEXTS[0], model)
            await cache.drain()
            exact = await cache.lookup(TEXTS[0])
            near = await cache.lookup("How do I reset my password please?")
            return exact, near

    exact, near = asyncio.run(run())
    assert exact.tier == "exact"
    assert near.reason is MissReason.SHADOW
    assert "nothing is served by meaning here yet" in near.reasons[-1]


def test_a_cache_with_titan_matches_by_meaning_where_the_user_gives_a_threshold(stand_in):
    settings = Settings.load(
        arguments={
            "bedrock": {"region": "us-east-1", "endpoint_url": stand_in.url},
            "embedder": {"kind": "titan", "dim": 512},
        }
    )

    async def model(_request):
        return "Open the settings and choose Security."

    async def run():
        policy = Policy(max_error_rate=None, min_similarity=0.6)
        async with open_cache("memory://", settings=settings, policy=policy) as cache:
            await cache.answer(TEXTS[0], model)
            await cache.drain()
            return await cache.lookup("How can I reset my password?")

    assert asyncio.run(run()).tier == "semantic"
    assert {body["dimensions"] for body in bodies(stand_in)} == {512}


def test_a_dead_titan_is_a_miss_and_the_model_answers(stand_in):
    stand_in.fail_always("InvokeModel", Failure.error("AccessDeniedException"))
    settings = Settings.load(arguments={"bedrock": {"region": "us-east-1", "endpoint_url": stand_in.url}})

    async def model(_request):
        return "fresh"

    async def run():
        async with open_cache("memory://", settings=settings, embedder="titan") as cache:
            missed = await cache.lookup(TEXTS[0])
            return missed, await cache.answer(TEXTS[0], model)

    missed, reply = asyncio.run(run())
    assert missed.reason is MissReason.EMBEDDER_UNAVAILABLE
    assert reply.text == "fresh"


def test_settings_choose_cohere_its_model_and_input_type():
    settings = Settings.load(
        arguments={"embedder": {"kind": "cohere", "model": V4, "dim": 256, "input_type": "clustering"}}
    )
    assert make_embedder(settings).id == f"bedrock:{V4}/256/clustering"
