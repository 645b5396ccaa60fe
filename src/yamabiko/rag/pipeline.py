"""Three caches, one path: answers before passages before a vector search, and embeddings below both.

Each is the same ``Cache`` (or an embedder that remembers), with a policy, a life and figures of its own; what one of
them can't answer is the next one's ``generate``. A hit on an answer needs neither the search nor the model; a hit on
passages needs the model alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from yamabiko.cache import Cache
from yamabiko.generators.knowledge_base import Model, last_question
from yamabiko.generators.passages import (
    INSTRUCTIONS,
    Order,
    Passages,
    Retrieve,
    Sourcing,
    numbered,
    sourced,
    with_passages,
)
from yamabiko.rag.embeddings import RememberedEmbedder
from yamabiko.rag.figures import Costs, Report, Row, Tally
from yamabiko.rag.passages import identified, passages_of, passages_request, reply_of
from yamabiko.stream import Heard, Stream, as_request
from yamabiko.types import PLAIN, Controls, Reply, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What a pipeline does where its caches can't answer.

    ``retrieve`` finds passages, ``model`` answers from them. ``base`` names what is searched: it parts the passages of
    one base from those of another. ``narrow``: what a caller may search, where rights differ; it sees the request
    without what passages are shared across (user, model, system prompt). ``query``, ``order``, ``sources``,
    ``instructions``: see ``yamabiko.generators.knowledge_base.GroundedGenerator``.
    """

    retrieve: Retrieve
    model: Model
    base: str = ""
    narrow: Callable[[Request], Retrieve] | None = None
    query: Callable[[Request], str] = last_question
    order: Order = "source"
    sources: Sourcing = "traced"
    instructions: str = field(default=INSTRUCTIONS, repr=False)


class RagPipeline:
    """Answers from documents, through three caches. ``open_pipeline`` makes one; use it as ``async with``.

    ``answers`` and ``passages`` may share a store: passages are asked for under a model's name of their own. What the
    retrieval or the model raises reaches the caller untouched.
    """

    def __init__(
        self,
        answers: Cache,
        passages: Cache,
        stages: Stages,
        *,
        embeddings: RememberedEmbedder | None = None,
        costs: Costs | None = None,
    ) -> None:
        self.answers_cache, self.passages_cache, self.stages = answers, passages, stages
        self._embeddings = embeddings
        self._costs = costs or Costs()
        self._answered, self._found = Tally(), Tally()
        self._looked = 0

    async def answer(self, request: str | Request, *, controls: Controls = PLAIN) -> Reply:
        """The stored answer, or one from the model and today's passages. Its sources are those of its passages."""
        request, call = as_request(request), _Call(self._answered)
        reply = await self.answers_cache.answer(request, partial(self._generate, call, controls), controls=controls)
        call.over(reply)
        return reply

    def stream(self, request: str | Request, *, controls: Controls = PLAIN) -> Stream:
        """As ``answer``, in pieces."""
        return Stream(partial(self._stream, as_request(request), controls))

    async def passages(self, request: str | Request, *, controls: Controls = PLAIN) -> Passages:
        """What a request is answered from: stored passages for this question or one near it, or a new search."""
        request = as_request(request)
        asked = passages_request(request, self.stages.query(request), self.stages.base)
        call = _Call(self._found)
        reply = await self.passages_cache.answer(asked, partial(self._search, call), controls=controls)
        call.over(reply)
        return passages_of(reply)

    async def today(self, request: Request) -> Passages:
        """The same for a gate that looks at a stored answer's evidence before it is served."""
        self._looked += 1
        return await self.passages(request)

    async def invalidate(self, source: str = "", *, base: str = "", digest: str = "") -> int:
        """Forget what was made from a document or a base, passages before answers; how many of both went.

        In this order, since an answer that is made in between must not be made from a passage that is to go.
        ``digest``: see ``Cache.invalidate``.
        """
        found = await self.passages_cache.invalidate(source, base=base, digest=digest)
        return found + await self.answers_cache.invalidate(source, base=base, digest=digest)

    async def forget_passages(self) -> int:
        """Forget all passages of this base, as when documents were added that no stored answer can name."""
        return await self.passages_cache.purge(model=f"passages:{self.stages.base}")

    def report(self) -> Report:
        """What was saved since this pipeline was made."""
        answered, found = self._answered, self._found
        unsearched = max(0, answered.saved - self._looked)  # a gate has looked for what it let pass
        searched = _row("vector search", found, needed=found.asked + unsearched)
        usd = searched.saved_usd + unsearched * self._costs.search_usd
        return Report(
            generation=_row("generation", answered, needed=answered.asked),
            search=replace(searched, saved=searched.saved + unsearched, saved_usd=usd),
            embedding=self._embedding(),
            search_saved_by_answers=unsearched,
        )

    async def drain(self) -> None:
        """Wait until everything behind earlier replies is done."""
        await self.answers_cache.drain()
        await self.passages_cache.drain()

    async def close(self) -> None:
        """Finish what is being written and let go of everything. May be called twice."""
        await self.passages_cache.drain()
        try:
            await self.answers_cache.close()
        finally:
            await self.passages_cache.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The stages, from the last one back.

    async def _search(self, call: _Call, asked: Request) -> Reply:
        """The passages' ``generate``: a vector search."""
        call.made = True
        started = time.perf_counter()
        retrieve = self.stages.retrieve if self.stages.narrow is None else self.stages.narrow(asked)
        found = identified(await retrieve(asked.messages[-1].text), self.stages.base)
        self._found.made += 1
        self._found.spent_seconds += time.perf_counter() - started
        self._found.spent_usd += self._costs.search_usd
        return reply_of(found, cost_usd=self._costs.search_usd)

    async def _generate(self, call: _Call, controls: Controls, request: Request) -> Reply:
        """The answers' ``generate``: passages, then the model."""
        call.made = True
        started = time.perf_counter()
        found = numbered(await self.passages(request, controls=controls), self.stages.order)
        reply = await self.stages.model(with_passages(request, found, self.stages.instructions))
        return self._finished(request, reply, found, started)

    async def _generate_stream(self, call: _Call, controls: Controls, request: Request) -> AsyncIterator[str | Reply]:
        """The same in pieces."""
        call.made = True
        started = time.perf_counter()
        found = numbered(await self.passages(request, controls=controls), self.stages.order)
        pieces: list[str] = []
        last = Reply(text="")
        told = self.stages.model.stream(with_passages(request, found, self.stages.instructions))
        try:
            async for item in told:
                if isinstance(item, Reply):
                    last = item
                else:
                    pieces.append(item)
                    yield item
        finally:
            close = getattr(told, "aclose", None)
            if close is not None:
                await close()
        yield self._finished(request, last, found, started, text="".join(pieces))

    def _finished(
        self, request: Request, reply: Reply, found: Passages, started: float, *, text: str | None = None
    ) -> Reply:
        """The reply with its sources, its latency with the search's; counted."""
        question, held, sources = self.stages.query(request), request.permissions, self.stages.sources
        reply = sourced(reply, found, text=text, question=question, permissions=held, sources=sources)
        seconds = time.perf_counter() - started
        self._answered.made += 1
        self._answered.spent_seconds += seconds
        return replace(reply, latency_seconds=seconds)

    async def _stream(self, request: Request, controls: Controls, heard: Heard) -> AsyncIterator[str]:
        call = _Call(self._answered)
        stream = self.answers_cache.stream(request, partial(self._generate_stream, call, controls), controls=controls)
        try:
            async for piece in stream:
                heard.outcome = stream.outcome
                yield piece
        finally:
            await stream.aclose()
        heard.outcome, heard.reply = stream.outcome, stream.reply
        if stream.reply is not None:
            call.over(stream.reply)

    def _embedding(self) -> Row:
        if self._embeddings is None:
            return _row("embedding", Tally(), needed=0)
        told, each = self._embeddings.figures, self._costs.embedding_usd
        saved = told.asked - told.made
        tally = Tally(
            made=told.made,
            saved=saved,
            spent_seconds=told.seconds,
            saved_seconds=saved * told.seconds_each,
            spent_usd=told.made * each,
            saved_usd=saved * each,
        )
        return _row("embedding", tally, needed=told.asked)


class _Call:
    """One call of a stage: whether it came to the work behind its cache, and if not, what that saved."""

    def __init__(self, tally: Tally) -> None:
        self.made = False
        self._tally = tally
        self._started = time.perf_counter()
        tally.asked += 1

    def over(self, reply: Reply) -> None:
        """The stage has answered."""
        if self.made:
            return
        self._tally.saved += 1
        self._tally.saved_seconds += max(0.0, reply.latency_seconds - (time.perf_counter() - self._started))
        self._tally.saved_usd += reply.cost_usd


def _row(name: str, tally: Tally, *, needed: int) -> Row:
    return Row(
        name=name,
        needed=needed,
        made=tally.made,
        saved=tally.saved,
        spent_seconds=tally.spent_seconds,
        saved_seconds=tally.saved_seconds,
        spent_usd=tally.spent_usd,
        saved_usd=tally.saved_usd,
    )
