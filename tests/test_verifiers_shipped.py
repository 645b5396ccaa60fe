"""The verifier that comes with the package, by its own weights: what it says, and what a cache makes of it."""

import asyncio

import pytest

from yamabiko import Hit, Miss, Request, open_cache
from yamabiko.core.mixing import checked
from yamabiko.core.shipped import verified_threshold
from yamabiko.embedders.local import MINILM, LocalEmbedder
from yamabiko.settings import Settings, VerifierSettings
from yamabiko.testing import ScriptedModel
from yamabiko.types import Candidate, Entry, Question, Reply, Scope
from yamabiko.verifiers.cross_encoder import CrossEncoder

STORED = "How do I reset my password?"
SAME = ["How can I reset my password?", "What do I do to reset my password?", "I need to reset my password, how?"]
OTHER = ["How do I reset my username?", "Why did I reset my password?", "How do I reset my router?"]


def candidate(text):
    scope = Scope(content=bytes(32), digest=bytes(32), tenant="", user="", model="", embedder=MINILM)
    question = Question(digest=bytes(32), text=text)
    entry = Entry(id=text, scope=scope, questions=(question,), reply=Reply(text="so"), created=0.0)
    return Candidate(entry=entry, similarity=0.9)


@pytest.fixture(scope="module")
def said():
    async def run():
        async with CrossEncoder(LocalEmbedder(), timeout_seconds=60) as verifier:
            found = await verifier.log_odds(Request(STORED), [candidate(text) for text in (*SAME, *OTHER)])
            singly = [(await verifier.log_odds(Request(STORED), [candidate(text)]))[0] for text in (*SAME, *OTHER)]
            return list(found), singly, verifier.mix_for(MINILM)

    return asyncio.run(run())


def test_it_tells_other_wordings_from_other_questions(said):
    found, _, _ = said
    assert min(found[: len(SAME)]) > 0 > max(found[len(SAME) :])


def test_what_it_says_of_a_pair_does_not_depend_on_the_pairs_beside_it(said):
    found, singly, _ = said
    assert found == pytest.approx(singly, abs=1e-4)


def test_its_weights_are_sound_and_counted_on_public_pairs(said):
    mix = checked(said[2])
    assert mix.rows
    found = verified_threshold(mix, MINILM, 0.05, 0.95)
    assert found is not None
    assert 0.5 < found.threshold < 1


def test_a_cache_has_it_where_it_is_asked_for():
    async def run(kind):
        settings = Settings(verifier=VerifierSettings(kind=kind, timeout_seconds=60))
        async with open_cache("memory://", settings=settings, embedder=LocalEmbedder()) as cache:
            await cache.answer(STORED, ScriptedModel())
            await cache.drain()
            return [await cache.lookup(text) for text in (*SAME, *OTHER)]

    outcomes = asyncio.run(run("auto"))
    verified = [outcome for outcome in outcomes if any("verifier same-answer-en" in why for why in outcome.reasons)]
    assert verified
    assert all(outcome.tier in ("verified", "semantic") for outcome in outcomes if isinstance(outcome, Hit))
    assert any(isinstance(outcome, Hit) and outcome.tier == "verified" for outcome in outcomes)
    assert all(isinstance(outcome, Miss) for outcome in outcomes[len(SAME) :])
    assert not any("the verifier" in " ".join(outcome.reasons) for outcome in asyncio.run(run("off")))
