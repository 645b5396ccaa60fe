"""Which verifier a cache gets by its settings, and when that is none."""

import asyncio

import pytest

from pairing import write_verifier
from yamabiko import Policy, open_cache
from yamabiko.build.verifiers import make_verifier
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.errors import ConfigurationError
from yamabiko.settings import BedrockSettings, LearnSettings, Settings, VerifierSettings
from yamabiko.testing import FakeEmbedder, ScriptedModel
from yamabiko.verifiers.cross_encoder import CrossEncoder, is_shipped
from yamabiko.verifiers.judge import JudgeVerifier
from yamabiko.verifiers.rerank import RerankVerifier

ALONE = Policy(max_error_rate=None, min_similarity=0.9, verify_similarity=0.7)
URL = "http://127.0.0.1:9/v1"


def made(verifier, *, embedder=None, learning=False, **settings):
    return make_verifier(Settings(verifier=verifier, **settings), embedder or FakeEmbedder(), learning=learning)


def test_by_default_there_is_one_on_this_device_and_with_its_embedder_only():
    assert made(VerifierSettings(kind="auto")) is None  # an embedder of somebody else
    found = made(VerifierSettings(kind="auto"), embedder=LocalEmbedder())
    assert isinstance(found, CrossEncoder) == is_shipped()
    assert make_verifier(Settings(), None, learning=True) is None
    assert (
        made(
            VerifierSettings(kind="auto"), embedder=LocalEmbedder(), policy=Policy(semantic=False, max_error_rate=None)
        )
        is None
    )


def test_off_is_none():
    assert made(VerifierSettings(kind="off"), embedder=LocalEmbedder()) is None


def test_a_folder_is_a_model_of_your_own(tmp_path):
    write_verifier(tmp_path / "v", languages=["en", "ja"])
    found = made(VerifierSettings(kind="path", path=str(tmp_path / "v")))
    assert found.mix_for("fake").name.startswith("tiny-1@")


def test_a_judge_is_weighed_where_labels_are_made_and_decides_alone_where_nothing_is_promised():
    wanted = VerifierSettings(kind="judge", url=URL, model="small")
    weighed = made(wanted, learning=True)
    assert isinstance(weighed, JudgeVerifier)
    assert weighed.mix_for("fake").name == "judge:small"
    assert weighed.mix_for("fake").rows == ()
    assert made(wanted, policy=ALONE).mix_for("fake") is None
    with pytest.raises(ConfigurationError, match="verify_similarity"):
        made(wanted)


def test_a_judge_may_be_the_one_that_labels():
    learn = LearnSettings(judge_url=URL, judge_model="big")
    assert made(VerifierSettings(kind="judge"), learning=True, learn=learn).mix_for("fake").name == "judge:big"
    with pytest.raises(ConfigurationError, match=r"verifier\.url"):
        made(VerifierSettings(kind="judge"), learning=True)


def test_rerank_is_named_by_its_model():
    wanted = VerifierSettings(kind="rerank", model="arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0")
    found = made(wanted, learning=True, bedrock=BedrockSettings(region="us-east-1"))
    assert isinstance(found, RerankVerifier)
    assert found.mix_for("fake").name == "rerank:cohere.rerank-v3-5:0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "path"},
        {"kind": "rerank"},
        {"kind": "judge", "url": URL},
        {"kind": "judge", "model": "small"},
        {"kind": "else"},
        {"timeout_seconds": 0},
    ],
)
def test_settings_that_can_not_be_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        VerifierSettings(**wrong)


def test_the_cache_closes_the_verifier_that_it_made(tmp_path):
    write_verifier(tmp_path / "v", languages=["en", "ja"])

    async def run():
        settings = Settings(verifier=VerifierSettings(kind="path", path=str(tmp_path / "v")))
        async with open_cache("memory://", settings=settings, embedder=FakeEmbedder()) as cache:
            await cache.answer("open the door please", ScriptedModel())
            await cache.drain()
            outcome = await cache.lookup("open the door now please")
        await cache.close()
        return outcome

    assert asyncio.run(run()).reason is not None  # a tiny model with no counts serves nothing before labels
