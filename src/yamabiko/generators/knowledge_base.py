"""Step 8 of 9, from documents: passages of a knowledge base on Amazon Bedrock, and answers made from them.

``KnowledgeBase`` finds passages (Retrieve), ``GroundedGenerator`` has any model answer from them: the main way, with
usage, long questions and a prompt of one's own. ``retrieve_and_generate`` leaves both to Bedrock.

Source: the Amazon Bedrock API reference, "Retrieve" (read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.generators.passages import (
    INSTRUCTIONS,
    Order,
    Passage,
    Passages,
    Retrieve,
    Sourcing,
    digest_of,
    numbered,
    sourced,
    with_passages,
)
from yamabiko.message import canonical_json
from yamabiko.types import Reply, Request, Source
from yamabiko.wire.knowledge_base import text_of, uri_of

MAX_QUERY_CHARACTERS = 20_000
"""Longest text that Retrieve takes."""


class Agent(Protocol):
    """Who calls Bedrock: ``yamabiko.aws.bedrock.BedrockAgent``, or whatever does the same."""

    async def retrieve(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """boto3's keyword arguments, and its response without ResponseMetadata."""


class Model(Protocol):
    """A model that answers whole and in pieces: ``ConverseGenerator``, ``HttpModel``, ``AnthropicModel``."""

    async def __call__(self, request: Request, /) -> Reply:
        """The whole answer."""

    def stream(self, request: Request, /) -> AsyncIterator[str | Reply]:
        """The answer's pieces, then a Reply without text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a knowledge base is searched.

    ``results``: how many passages at most (1 to 100). ``search_type``: HYBRID or SEMANTIC; empty for what suits the
    base. ``filter`` and ``reranking``: Bedrock's own ``filter`` and ``rerankingConfiguration``, as boto3 takes them.

    Raises ``ConfigurationError``.
    """

    results: int = 5
    search_type: Literal["", "HYBRID", "SEMANTIC"] = ""
    filter: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reranking: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.results <= 100:
            raise ConfigurationError(f"results must be in 1..100, not {self.results}")
        if self.search_type not in ("", "HYBRID", "SEMANTIC"):
            raise ConfigurationError(f"search_type must be HYBRID, SEMANTIC or empty, not {self.search_type!r:.40}")
        if self.reranking and "type" not in self.reranking:
            raise ConfigurationError(
                'reranking must be a rerankingConfiguration: {"type": "BEDROCK_RERANKING_MODEL", ...}'
            )

    def within(self, narrower: Mapping[str, Any]) -> Search:
        """The same search among those documents only that fit a second filter too, as a user's rights demand."""
        return replace(self, filter={"andAll": [self.filter, narrower]} if self.filter else narrower)

    def arguments(self) -> dict[str, Any]:
        """The argument ``retrievalConfiguration``."""
        told: dict[str, Any] = {"numberOfResults": self.results}
        told |= {"overrideSearchType": self.search_type} if self.search_type else {}
        told |= {"filter": self.filter} if self.filter else {}
        told |= {"rerankingConfiguration": self.reranking} if self.reranking else {}
        return {"vectorSearchConfiguration": told}


class KnowledgeBase:
    """A Retrieve callable: ``await base(question)`` gives the passages that Bedrock finds, best first.

    ``id``: the base's id or ARN. ``guardrail``: Bedrock's ``guardrailConfiguration``, with ``guardrailId`` and
    ``guardrailVersion``. ``labels_key``: the metadata attribute (a text or a list of texts) that holds the permissions
    one needs to be told what is in a document; empty where there is none. ``timeout_seconds`` (> 0) bounds one search.

    Passages that no model can read (images) are left out. What the agent raises passes through. Raises
    ``ConfigurationError``; a call ``TimeoutError``, and ``InvalidRequest`` for a question that is empty or too long.
    """

    def __init__(
        self,
        agent: Agent,
        id: str,  # noqa: A002 - as Bedrock calls it
        *,
        search: Search | None = None,
        guardrail: Mapping[str, str] | None = None,
        labels_key: str = "",
        timeout_seconds: float = 30.0,
    ) -> None:
        if not id:
            raise ConfigurationError("id must be the id or ARN of a knowledge base")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self.id = id
        self.search = search or Search()
        self._agent = agent
        self._guardrail = dict(guardrail or {})
        self._labels_key = labels_key
        self._timeout_seconds = timeout_seconds

    @property
    def version(self) -> str:
        """Names the base and how it is searched: a part of ``Request.knowledge``, as it changes what is found."""
        return version_of(self.id, self.search, self._guardrail)

    def within(self, narrower: Mapping[str, Any]) -> KnowledgeBase:
        """The same base, narrowed: see ``Search.within``."""
        return KnowledgeBase(
            self._agent,
            self.id,
            search=self.search.within(narrower),
            guardrail=self._guardrail,
            labels_key=self._labels_key,
            timeout_seconds=self._timeout_seconds,
        )

    async def __call__(self, question: str) -> Passages:
        """The passages for one question."""
        if not question.strip():
            raise InvalidRequest("a knowledge base can't be searched for an empty question")
        if len(question) > MAX_QUERY_CHARACTERS:
            raise InvalidRequest(
                f"a knowledge base takes questions of up to {MAX_QUERY_CHARACTERS:,} characters, and this one has "
                f"{len(question):,}: search for a part of it (GroundedGenerator's query)"
            )
        arguments: dict[str, Any] = {
            "knowledgeBaseId": self.id,
            "retrievalQuery": {"text": question},
            "retrievalConfiguration": self.search.arguments(),
        }
        if self._guardrail:
            arguments["guardrailConfiguration"] = self._guardrail
        async with asyncio.timeout(self._timeout_seconds):
            results = await self._results(arguments)
        found = (passage_from(result, base=self.id, labels_key=self._labels_key) for result in results)
        return tuple(passage for passage in found if passage.text)

    async def _results(self, arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """As many results as were asked for, page by page."""
        results: list[Mapping[str, Any]] = []
        page: Mapping[str, Any] = arguments
        while True:
            response = await self._agent.retrieve(page)
            results += response.get("retrievalResults", ())
            token = response.get("nextToken")
            if not token or len(results) >= self.search.results:
                return results[: self.search.results]
            page = {**arguments, "nextToken": token}


def version_of(base: str, search: Search, guardrail: Mapping[str, str]) -> str:
    """What ``KnowledgeBase.version`` is, without an agent."""
    return f"{base}:{digest_of(canonical_json([search.arguments(), dict(guardrail)]))[:16]}"


def passage_from(result: Mapping[str, Any], *, base: str, labels_key: str = "") -> Passage:
    """A passage from one result of Retrieve; its text is empty where no model can read it."""
    text, metadata = text_of(result.get("content")), result.get("metadata")
    document = str(result.get("documentId") or "")
    labels = metadata.get(labels_key) if isinstance(metadata, Mapping) and labels_key else None
    source = Source(
        uri=uri_of(result.get("location"), document) or base,
        digest=digest_of(text),
        base=base,
        labels=(labels,) if isinstance(labels, str) else tuple(labels or ()),
    )
    score = result.get("score")
    return Passage(
        text=text,
        source=source,
        score=float(score) if isinstance(score, int | float) else 0.0,
        metadata=canonical_json(metadata) if metadata else "",
    )


def last_question(request: Request) -> str:
    """The text of the last turn of a request."""
    return request.messages[-1].text


class GroundedGenerator:
    """A Generate callable, and by ``stream`` a StreamGenerate, whose answers are made from passages and name them.

    ``retrieve`` finds passages for what ``query`` makes of a request (the last turn; give a function of your own where
    follow-up questions lean on earlier turns). ``model`` answers. ``order``: see ``numbered``; ``sources``: see
    ``sourced``. Where nothing is found the model says so, and the answer has the finish reason ``NO_PASSAGES``.

    A reply's usage is the model's, its latency covers the search. What either raises passes through.
    """

    def __init__(
        self,
        retrieve: Retrieve,
        model: Model,
        *,
        instructions: str = INSTRUCTIONS,
        query: Callable[[Request], str] = last_question,
        order: Order = "source",
        sources: Sourcing = "traced",
    ) -> None:
        self._retrieve = retrieve
        self._model = model
        self._instructions = instructions
        self._query = query
        self._order: Order = order
        self._sources: Sourcing = sources

    async def __call__(self, request: Request) -> Reply:
        """The whole answer, with its sources and citations."""
        started = asyncio.get_running_loop().time()
        passages = await self._found(request)
        reply = await self._model(with_passages(request, passages, self._instructions))
        reply = self._sourced(request, reply, passages)
        return replace(reply, latency_seconds=asyncio.get_running_loop().time() - started)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces as they come, then a Reply without text that has sources, citations and usage too."""
        started = asyncio.get_running_loop().time()
        passages = await self._found(request)
        texts: list[str] = []
        last = Reply(text="", finish_reason="error")
        async with aclosing(
            _generator(self._model.stream(with_passages(request, passages, self._instructions)))
        ) as told:
            async for item in told:
                if isinstance(item, Reply):
                    last = item
                else:
                    texts.append(item)
                    yield item
        last = self._sourced(request, last, passages, text="".join(texts))
        yield replace(last, latency_seconds=asyncio.get_running_loop().time() - started)

    def _sourced(self, request: Request, reply: Reply, passages: Passages, text: str | None = None) -> Reply:
        question, held = self._query(request), request.permissions
        return sourced(reply, passages, text=text, question=question, permissions=held, sources=self._sources)

    async def _found(self, request: Request) -> Passages:
        return numbered(await self._retrieve(self._query(request)), self._order)


async def _generator(items: AsyncIterator[str | Reply]) -> AsyncGenerator[str | Reply, None]:
    """The same items, as something that can be closed: what it reads is closed with it, where that can be."""
    try:
        async for item in items:
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
