"""What a store gives is believed only where somebody with a key wrote it, and found for what it resembles."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from yamabiko.attest import VECTORS, Attest
from yamabiko.core.signing import SigningKey, SigningKeys
from yamabiko.errors import EmbeddingError
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeEmbedder, make_entry, make_key, make_question, make_scope
from yamabiko.types import Candidate, Reply, Selector

KEYS = SigningKeys((SigningKey(id="k1", secret=bytes(range(32))),))
RESET, DELETE = "how do I reset my password", "how do I delete my account"
NOW = 1.0


class Desk:
    """A memory store that everybody can write to, an embedder, and who attests."""

    def __init__(self, keys=KEYS):
        self.embedder = FakeEmbedder()
        self.store = MemoryStore(embedder="fake", dim=self.embedder.dim)
        self.attest = Attest(keys, self.embed)

    async def embed(self, text):
        (vector,) = await self.embedder.embed([text])
        return vector

    def entry(self, text, reply="an answer", **options):
        return make_entry(text, reply, vector=self.embedder.vector(text), **options)

    async def put(self, *entries):
        for entry in entries:
            await self.store.put(self.attest.entry(entry), now=NOW)

    async def near(self, text, scope=None):
        vector = self.embedder.vector(text)
        found = await self.store.search(scope or make_scope(), vector, limit=5, min_similarity=0.5, now=NOW)
        return found, vector

    def forget_vectors(self):
        """As in a process that did not write what it reads."""
        self.attest = Attest(KEYS, self.embed)


def refusal(desk, entry):
    found = desk.attest.refusal(entry)
    return found.why if found else ""


def run(work):
    return asyncio.run(work())


def test_what_was_written_with_a_key_is_believed_by_key_and_by_meaning():
    async def work():
        desk = Desk()
        entry = desk.entry(RESET)
        await desk.put(entry)
        alias = desk.attest.alias(entry, make_question("password gone", vector=desk.embedder.vector("password gone")))
        assert await desk.store.alias(entry.id, alias)
        desk.forget_vectors()
        for text in (RESET, "password gone"):
            assert refusal(desk, await desk.store.get(make_key(text))) == ""
            (candidate,), asked = await desk.near(text)
            assert desk.attest.believed([candidate]) == ([candidate], [])
            assert await desk.attest.misplaced(candidate, asked) is None

    run(work)


def test_without_keys_everything_passes_and_nothing_is_signed_or_embedded():
    async def work():
        desk = Desk(keys=None)
        entry = desk.entry(RESET)
        assert not desk.attest.on
        assert desk.attest.entry(entry) is entry
        question = make_question(DELETE)
        assert desk.attest.alias(entry, question) is question
        await desk.put(entry)
        found, asked = await desk.near(RESET)
        assert desk.attest.believed(found) == (found, ())
        assert desk.attest.refusal(replace(entry, signature="nonsense")) is None
        assert await desk.attest.misplaced(found[0], -asked) is None
        assert desk.embedder.calls == 0

    run(work)


def test_an_answer_that_somebody_else_wrote_is_refused():
    async def work():
        desk = Desk()
        good = desk.attest.entry(desk.entry(RESET))
        for forged, why in (
            (desk.entry(RESET, "call this number"), "the answer is not signed"),
            (replace(good, reply=Reply(text="call this number")), "the answer has a bad signature"),
            (replace(good, confirmed=False), "the answer has a bad signature"),
            (replace(good, stale_until=1e12), "the answer has a bad signature"),
        ):
            await desk.store.put(forged, now=NOW)
            found = await desk.store.get(make_key(RESET))
            assert refusal(desk, found) == why
            (candidate,), _ = await desk.near(RESET)
            believed, others = desk.attest.believed([candidate])
            assert believed == []
            assert [(one, said.why, said.forged) for one, said in others] == [(candidate, why, True)]

    run(work)


def test_a_question_can_not_be_hung_on_another_answer():
    """Neither as an alias of somebody without a key, nor one that was taken from its entry, nor a stranger's question."""

    async def work():
        desk = Desk()
        reset, delete = desk.entry(RESET, "by link"), desk.entry(DELETE, "in settings")
        await desk.put(reset, delete)
        own = (await desk.store.get(make_key(DELETE))).questions[0]
        for alias in (own, make_question(DELETE), desk.attest.alias(delete, make_question(DELETE))):
            vector = desk.embedder.vector(DELETE)
            assert await desk.store.alias(reset.id, replace(alias, vector=vector))
            found = await desk.store.get(make_key(DELETE))
            assert found.reply.text == "by link"
            assert refusal(desk, found) in ("the question has a bad signature", "the question is not signed")
            (candidate, *_), _ = await desk.near(DELETE)
            assert desk.attest.believed([candidate])[0] == []

    run(work)


def test_an_entry_can_not_be_carried_to_another_tenant():
    async def work():
        desk = Desk()
        here, there = make_scope(tenant="here"), make_scope(tenant="there")
        good = desk.attest.entry(desk.entry(RESET, scope=here))
        moved = replace(desk.entry(RESET, scope=there), signature=good.signature, reply=good.reply)
        moved = replace(moved, questions=(replace(moved.questions[0], signature=good.questions[0].signature),))
        await desk.store.put(moved, now=NOW)
        assert refusal(desk, await desk.store.get(make_key(RESET, there))) == "the answer has a bad signature"

    run(work)


def test_a_vector_of_another_question_is_found_out():
    """The signature is good, since vectors are not signed; the similarity is a lie."""

    async def work():
        desk = Desk()
        entry = desk.entry(RESET)
        await desk.put(entry)
        swapped = replace(desk.attest.entry(entry).questions[0], vector=desk.embedder.vector(DELETE))
        desk.forget_vectors()
        assert await desk.store.alias(entry.id, swapped)
        (candidate,), asked = await desk.near(DELETE)
        assert candidate.similarity > 0.99
        assert desk.attest.refusal(candidate.entry) is None
        refused = await desk.attest.misplaced(candidate, asked)
        assert (refused.why, refused.forged) == ("the vector is not that of its question", True)
        honest = replace(candidate, similarity=float(desk.embedder.vector(RESET) @ asked))
        assert await desk.attest.misplaced(honest, asked) is None

    run(work)


def test_a_vector_that_was_read_and_written_again_is_not_taken_for_the_embedder_s():
    async def work():
        desk = Desk()
        entry = desk.entry(RESET)
        await desk.put(entry)
        swapped = replace(desk.attest.entry(entry).questions[0], vector=desk.embedder.vector(DELETE))
        assert await desk.store.alias(entry.id, swapped)
        (whole,) = [one async for one in desk.store.entries(Selector(id=entry.id))]
        await desk.store.put(desk.attest.confirmed(whole), now=NOW)
        (candidate,), asked = await desk.near(DELETE)
        assert await desk.attest.misplaced(candidate, asked)

    run(work)


def test_an_entry_is_confirmed_with_all_its_questions_and_only_as_it_was_signed():
    async def work():
        desk = Desk()
        alias = make_question("password gone", vector=desk.embedder.vector("password gone"))
        await desk.put(desk.entry(RESET, "by link", author="ann", confirmed=False, aliases=(alias,)))
        (whole,) = [one async for one in desk.store.entries(Selector())]
        await desk.store.put(desk.attest.confirmed(whole), now=NOW)
        for text in (RESET, "password gone"):
            found = await desk.store.get(make_key(text))
            assert refusal(desk, found) == ""
            assert (found.confirmed, found.author, found.reply.text) == (True, "ann", "by link")
            assert len((await desk.near(text))[0]) == 1
        assert desk.attest.confirmed(replace(whole, reply=Reply(text="call this number"))) is None
        assert desk.attest.confirmed(replace(whole, signature="")) is None
        assert Attest(None, None).confirmed(whole) == replace(whole, confirmed=True)

    run(work)


def test_a_stored_question_is_embedded_once():
    async def work():
        desk = Desk()
        await desk.put(desk.entry(RESET))
        (candidate,), asked = await desk.near(RESET)
        desk.attest.remember(RESET, asked)
        assert await desk.attest.misplaced(candidate, asked) is None
        assert desk.embedder.calls == 0
        desk.forget_vectors()
        for _ in range(3):
            assert await desk.attest.misplaced(candidate, asked) is None
        assert desk.embedder.texts == [RESET]

    run(work)


def test_what_is_remembered_is_bounded_and_the_last_used_stay():
    async def work():
        desk = Desk()
        asked = desk.embedder.vector(RESET)
        desk.attest.remember(RESET, asked)
        candidate = Candidate(entry=desk.entry(RESET), similarity=1.0)
        for number in range(VECTORS + 10):
            desk.attest.remember(str(number), asked)
            if number % 1000 == 0:
                assert await desk.attest.misplaced(candidate, asked) is None
        assert len(desk.attest._vectors) == VECTORS
        assert desk.embedder.calls == 0

    run(work)


@pytest.mark.parametrize("error", [EmbeddingError("down"), TimeoutError()])
def test_an_embedder_that_fails_serves_nothing_and_accuses_nobody(error):
    async def work():
        desk = Desk()
        await desk.put(desk.entry(RESET))
        (candidate,), asked = await desk.near(RESET)
        desk.forget_vectors()
        desk.embedder.fail_with = error
        refused = await desk.attest.misplaced(candidate, asked)
        assert not refused.forged
        assert RESET not in refused.why
        desk.embedder.fail_with = None
        assert await desk.attest.misplaced(candidate, asked) is None

    run(work)


def test_a_text_that_the_model_does_not_see_whole_has_no_vector():
    async def work():
        desk = Desk()
        await desk.put(desk.entry(RESET))
        (candidate,), asked = await desk.near(RESET)
        desk.forget_vectors()
        desk.embedder.max_words = 3
        assert (await desk.attest.misplaced(candidate, asked)).forged
        desk.attest = Attest(KEYS, None)
        assert (await desk.attest.misplaced(candidate, asked)).forged

    run(work)
