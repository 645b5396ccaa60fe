"""Answers that are asked for their evidence before they are served."""

from __future__ import annotations

import asyncio

import pytest

from yamabiko import Hit, open_cache
from yamabiko.errors import ConfigurationError
from yamabiko.generators.passages import Passage, digest_of
from yamabiko.rag.evidence import EvidenceVerifier, objection_to
from yamabiko.testing import FakeEmbedder, ScriptedModel
from yamabiko.types import MissReason, Policy, Reply, Source

NEAR = Policy(max_error_rate=None, min_similarity=0.8)
FARE = "A ticket costs 12 euros. Dogs are free."
WHAT, NEARLY = "How much does a ticket cost?", "A ticket does cost how much?"


def passage(text, uri="s3://b/fare.txt", digest=None):
    return Passage(text=text, source=Source(uri=uri, digest=digest_of(text) if digest is None else digest))


def answer(*passages, text="A ticket costs 12 euros."):
    return Reply(text=text, sources=tuple(found.source for found in passages))


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ((passage(FARE),), ""),
        ((passage(FARE + " Cats too."),), ""),
        ((passage(FARE.replace("12", "15")),), "a document has changed"),
        ((passage(FARE, uri="s3://b/other.txt"),), "finds none of the documents"),
        ((), "finds none of the documents"),
        ((passage(FARE), passage("New.", uri="s3://b/new.txt")), ""),
        ((passage(FARE, digest=""),), ""),
    ],
)
def test_it_stands_while_its_documents_are_found_and_say_it(now, says):
    found = objection_to(answer(passage(FARE)), now, question=WHAT)
    assert says in found
    assert bool(found) == bool(says)
    assert "ticket" not in found


def test_an_overlap_that_is_too_small_is_none():
    then = [passage(str(at), uri=f"s3://b/{at}") for at in range(4)]
    now = [then[0], *(passage("x", uri=f"s3://b/new{at}") for at in range(3))]
    assert "25%" in objection_to(answer(*then), now, question=WHAT)
    assert objection_to(answer(*then), now, question=WHAT, min_overlap=0.25) == ""


def test_citations_are_no_part_of_what_is_looked_for():
    reply = answer(passage(FARE), text="A ticket costs 12 euros [1][2, 3].")
    assert objection_to(reply, [passage(FARE + " Cats too.")], question=WHAT) == ""


def test_japanese_evidence():
    text = "乗車券は1200円です。犬は無料です。"
    reply = answer(passage(text), text="乗車券は1200円です。")
    ask = "乗車券はいくらですか。"
    assert objection_to(reply, [passage(text + "猫も無料です。")], question=ask) == ""
    assert "changed" in objection_to(reply, [passage(text.replace("1200", "1500"))], question=ask)


class Desk:
    """What is found today; counts how often it was looked for."""

    def __init__(self, *passages):
        self.passages, self.looked, self.fail_with = passages, 0, None

    async def __call__(self, request):
        self.looked += 1
        if self.fail_with is not None:
            raise self.fail_with
        return self.passages


async def stored(cache):
    await cache.answer(WHAT, ScriptedModel({WHAT: answer(passage(FARE))}))
    await cache.drain()


@pytest.mark.parametrize("asked", [WHAT, NEARLY])
def test_exact_and_semantic_hits_pass_the_gate_or_are_misses_that_say_why(asked):
    async def run():
        desk = Desk(passage(FARE))
        gate = EvidenceVerifier(desk)
        async with open_cache("memory://", policy=NEAR, embedder=FakeEmbedder(), verifier=gate) as cache:
            await stored(cache)
            assert isinstance(await cache.lookup(asked), Hit)
            desk.passages = (passage(FARE.replace("12", "15")),)
            outcome = await cache.lookup(asked)
            assert outcome.reason is MissReason.VERIFIER_SAID_NO
            assert "a document has changed" in " ".join(outcome.reasons)
            fresh = ScriptedModel({asked: answer(*desk.passages, text="A ticket costs 15 euros.")})
            assert "15" in (await cache.answer(asked, fresh)).text
            await cache.drain()
            assert "15" in (await cache.answer(asked, fresh)).text
            assert fresh.calls == 1

    asyncio.run(run())


def test_a_retrieval_that_fails_costs_the_hit_and_not_the_answer():
    async def run():
        desk = Desk(passage(FARE))
        async with open_cache(
            "memory://", policy=NEAR, embedder=FakeEmbedder(), verifier=EvidenceVerifier(desk)
        ) as cache:
            await stored(cache)
            desk.fail_with = RuntimeError("no route to a ticket")
            outcome = await cache.lookup(WHAT)
            assert outcome.reason is MissReason.VERIFIER_SAID_NO
            assert "verifier failed" in " ".join(outcome.reasons)
            assert "no route" not in " ".join(outcome.reasons)
            model = ScriptedModel({WHAT: "A ticket costs 12 euros."})
            assert "12" in (await cache.answer(WHAT, model)).text
            assert model.calls == 1

    asyncio.run(run())


def test_answers_from_no_document_are_not_asked_about():
    async def run():
        desk = Desk()
        async with open_cache(
            "memory://", policy=NEAR, embedder=FakeEmbedder(), verifier=EvidenceVerifier(desk)
        ) as cache:
            await cache.answer(WHAT, ScriptedModel())
            await cache.drain()
            assert isinstance(await cache.lookup(WHAT), Hit)
            assert desk.looked == 0

    asyncio.run(run())


class Same:
    async def same(self, request, candidates):
        return [True for _ in candidates]


def test_whether_a_question_means_the_same_is_for_another_verifier_and_the_evidence_still_counts():
    async def run():
        desk = Desk(passage(FARE))
        policy = Policy(max_error_rate=None, min_similarity=0.99, verify_similarity=0.5)
        alone, judged = EvidenceVerifier(desk), EvidenceVerifier(desk, verifier=Same())
        for gate, served in ((alone, False), (judged, True)):
            async with open_cache("memory://", policy=policy, embedder=FakeEmbedder(), verifier=gate) as cache:
                await stored(cache)
                outcome = await cache.lookup("A ticket: how much does it cost?")
                assert isinstance(outcome, Hit) is served
                if served:
                    desk.passages = (passage("Nothing.", uri="s3://b/other"),)
                    refused = await cache.lookup("A ticket: how much does it cost?")
                    assert refused.reason is MissReason.VERIFIER_SAID_NO

    asyncio.run(run())


@pytest.mark.parametrize("wrong", [{"min_overlap": 2}, {"min_support": -1}, {"min_age_seconds": -1}])
def test_limits_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        EvidenceVerifier(Desk(), **wrong)
