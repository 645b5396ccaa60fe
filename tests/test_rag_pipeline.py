"""Answers, passages and embeddings through one pipeline, on real caches."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from yamabiko import Hit, Request
from yamabiko.errors import InvalidRequest
from yamabiko.generators.passages import Passage, digest_of
from yamabiko.rag.evidence import EvidenceVerifier
from yamabiko.rag.figures import Costs
from yamabiko.rag.opening import open_pipeline
from yamabiko.rag.passages import passages_of, reply_of
from yamabiko.rag.pipeline import Stages
from yamabiko.testing import FakeClock, FakeEmbedder
from yamabiko.types import Controls, MissReason, Policy, Reply, Source

NEAR = Policy(max_error_rate=None, min_similarity=0.8, users="one")
EXACT = Policy(semantic=False)
DOCUMENTS = {
    "s3://docs/hours.txt": "The museum opens at ten on weekdays. On Sundays the museum opens at noon.",
    "s3://docs/fare.txt": "A ticket costs 12 euros. Children pay 5 euros.",
    "s3://docs/kaikan.txt": "図書館は午前九時に開館します。日曜日は正午に開館します。",
}
HOURS = "When does the museum open on Sundays?"
KAIKAN = "図書館は日曜日の何時に開館しますか。"


class Library:
    """Documents by the words they share with a question, and a model that says their second sentence."""

    def __init__(self):
        self.documents = dict(DOCUMENTS)
        self.embedder = FakeEmbedder()
        self.searched, self.asked = [], []

    async def retrieve(self, question):
        self.searched.append(question)
        wanted = self.embedder.vector(question)
        ranked = sorted(self.documents.items(), key=lambda item: -float(self.embedder.vector(item[1]) @ wanted))
        return tuple(Passage(text=text, source=Source(uri=uri)) for uri, text in ranked[:1])

    async def __call__(self, request):
        self.asked.append(request)
        return Reply(text=self._answer(request))

    async def stream(self, request):
        self.asked.append(request)
        for word in self._answer(request).split(" "):
            yield word + " "

    def _answer(self, request):
        shown = request.messages[0].parts[0]
        text = next(text for text in self.documents.values() if text in shown)
        return text.replace("。", ". ").split(". ")[1].strip()


def opened(library, **options):
    chosen = {"policy": EXACT, "passages_policy": NEAR, "embedder": FakeEmbedder(), "base": "kb1"} | options
    stages = Stages(retrieve=library.retrieve, model=library, base=chosen.pop("base"))
    return open_pipeline(stages, chosen.pop("url", "memory://"), **chosen)


@pytest.mark.parametrize(
    ("question", "near", "uri", "says"),
    [
        (HOURS, "On Sundays, when does the museum open?", "s3://docs/hours.txt", "noon"),
        (KAIKAN, "日曜日の何時に図書館は開館しますか。", "s3://docs/kaikan.txt", "正午"),
    ],
)
def test_a_hit_needs_neither_search_nor_model_and_a_half_hit_the_model_alone(question, near, uri, says):
    async def run():
        library = Library()
        async with opened(library, costs=Costs(search_usd=0.5, embedding_usd=0.25)) as rag:
            first = await rag.answer(question)
            await rag.drain()
            again = await rag.answer(question)
            assert (len(library.searched), len(library.asked)) == (1, 1)
            half = await rag.answer(near)
            assert (len(library.searched), len(library.asked)) == (1, 2)
            assert says in first.text
            assert again.text == half.text == first.text
            [source] = first.sources
            assert source == Source(uri=uri, digest=digest_of(DOCUMENTS[uri]), base="kb1")
            assert again.sources == half.sources == first.sources
            report = rag.report()
        assert (report.generation.needed, report.generation.made, report.generation.saved) == (3, 2, 1)
        assert (report.search.needed, report.search.made, report.search.saved) == (3, 1, 2)
        assert report.search_saved_by_answers == 1
        assert report.search.spent_usd == 0.5
        assert report.search.saved_usd == 1.0
        assert report.embedding.needed == report.embedding.made + report.embedding.saved
        assert report.embedding.saved_usd == 0.25 * report.embedding.saved
        assert "vector search" in report.table()

    asyncio.run(run())


def test_a_stream_is_the_same_in_pieces_and_brings_its_sources():
    async def run():
        library = Library()
        async with opened(library) as rag:
            stream = rag.stream(HOURS)
            pieces = [piece async for piece in stream]
            assert len(pieces) > 2
            assert [source.uri for source in stream.reply.sources] == ["s3://docs/hours.txt"]
            await rag.drain()
            again = rag.stream(HOURS)
            assert [piece async for piece in again] == pieces
            assert isinstance(again.outcome, Hit)
            assert again.reply.sources == stream.reply.sources
            assert len(library.asked) == 1
            assert rag.report().generation.saved == 1

    asyncio.run(run())


def test_many_at_once_cost_one_search_and_one_answer():
    async def run():
        library = Library()
        async with opened(library) as rag:
            replies = await asyncio.gather(*(rag.answer(HOURS) for _ in range(20)))
            assert len({reply.text for reply in replies}) == 1
            assert (len(library.searched), len(library.asked)) == (1, 1)
            assert rag.report().generation.saved == 19

    asyncio.run(run())


def test_an_edited_document_is_answered_anew_and_others_are_kept(tmp_path):
    async def run():
        library = Library()
        async with opened(library, url=f"sqlite:///{tmp_path}/cache.db") as rag:
            for question in (HOURS, KAIKAN, "How much do children pay?"):
                await rag.answer(question)
            await rag.drain()
            library.documents["s3://docs/hours.txt"] = "The museum opens at ten. On Sundays the museum opens at two."
            assert await rag.invalidate(source="s3://docs/hours.txt") == 2
            assert "two" in (await rag.answer(HOURS)).text
            for question in (KAIKAN, "How much do children pay?"):
                await rag.answer(question)
            assert len(library.asked) == 4

    asyncio.run(run())


def test_what_may_be_read_is_never_shared_with_who_may_not():
    async def run():
        library = Library()
        seen = []

        def narrow(request):
            seen.append((request.permissions, request.user, request.system))
            return library.retrieve

        stages = Stages(retrieve=library.retrieve, model=library, narrow=narrow)
        async with open_pipeline(stages, "memory://", policy=EXACT, embedder=FakeEmbedder()) as rag:
            for who in (("hr",), ("hr",), ()):
                await rag.answer(Request(HOURS, permissions=who, user="ann", system="Be brief."))
                await rag.drain()
            assert seen == [(("hr",), "", ""), ((), "", "")]
            assert len(library.asked) == 2

    asyncio.run(run())


def test_bases_and_tenants_do_not_share_passages(tmp_path):
    async def run():
        library = Library()
        url = f"sqlite:///{tmp_path}/cache.db"
        for base in ("kb1", "kb2"):
            async with opened(library, url=url, base=base) as rag:
                await rag.passages(HOURS)
        async with opened(library, url=url) as rag:
            await rag.passages(Request(HOURS, tenant="other"))
            assert len(library.searched) == 3
            await rag.passages(HOURS)
            assert len(library.searched) == 3
            assert await rag.forget_passages() == 2
            await rag.passages(HOURS)
            assert len(library.searched) == 4

    asyncio.run(run())


def test_nothing_found_is_not_remembered():
    async def run():
        library = Library()
        library.documents = {}

        async def silent(request):
            return Reply(text="Nothing is known of that.")

        silent.stream = library.stream
        stages = Stages(retrieve=library.retrieve, model=silent)
        async with open_pipeline(stages, "memory://", policy=EXACT, embedder=FakeEmbedder()) as rag:
            for _ in range(2):
                await rag.answer(HOURS)
                await rag.drain()
            assert len(library.searched) == 2

    asyncio.run(run())


def test_a_gate_serves_while_the_evidence_stands_and_says_why_it_does_not():
    async def run():
        library, clock = Library(), FakeClock()
        gate = lambda today: EvidenceVerifier(today, min_age_seconds=60)  # noqa: E731
        async with opened(library, gate=gate, clock=clock, passages_policy=replace(NEAR, ttl_seconds=30)) as rag:
            await rag.answer(HOURS)
            await rag.drain()
            text = library.documents["s3://docs/hours.txt"]
            library.documents["s3://docs/hours.txt"] = text.replace("noon", "two")
            await rag.answer(HOURS)
            assert len(library.asked) == 1  # too young to be asked
            clock.advance(61)
            outcome = await rag.answers_cache.lookup(HOURS)
            assert outcome.reason is MissReason.VERIFIER_SAID_NO
            assert "a document has changed" in outcome.reasons[-1] or "a document has changed" in " ".join(
                outcome.reasons
            )
            assert "two" in (await rag.answer(HOURS)).text
            await rag.drain()
            clock.advance(61)
            library.documents["s3://docs/hours.txt"] += " Dogs may come in."
            assert "two" in (await rag.answer(HOURS)).text
            assert len(library.asked) == 2  # the document changed, and says the same of this
            clock.advance(61)
            del library.documents["s3://docs/hours.txt"]
            outcome = await rag.answers_cache.lookup(HOURS)
            assert "finds none of the documents" in " ".join(outcome.reasons)

    asyncio.run(run())


def test_controls_reach_both_caches():
    async def run():
        library = Library()
        async with opened(library) as rag:
            await rag.answer(HOURS)
            await rag.drain()
            await rag.answer(HOURS, controls=Controls(read=False))
            assert (len(library.searched), len(library.asked)) == (2, 2)

    asyncio.run(run())


def test_passages_come_back_as_they_went_in():
    kept = (
        Passage(text="a", source=Source(uri="u", digest="d", version="v", base="b", labels=("hr",)), score=0.5),
        Passage(text="図", source=Source(uri="w"), metadata='{"page":1}'),
    )
    assert passages_of(reply_of(kept)) == kept
    with pytest.raises(InvalidRequest):
        passages_of(Reply(text="an answer"))
