"""Step 7 of 9, by Amazon Bedrock's Rerank: how relevant stored answers are to what is asked now.

Source: the Amazon Bedrock API reference, "Rerank" (read 2026-11); botocore's model of bedrock-agent-runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from yamabiko.core.mixing import checked, log_odds_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import ConfigurationError, ServiceError, VerifierError
from yamabiko.ports import Mix
from yamabiko.types import Candidate, Request

MAX_CHARACTERS = 32_000
"""Longest query and longest source that Rerank takes."""


class Agent(Protocol):
    """Who calls Bedrock: ``yamabiko.aws.bedrock.BedrockAgent``, or whatever does the same."""

    async def rerank(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """boto3's keyword arguments, and its response without ResponseMetadata."""


class RerankVerifier:
    """A ``Verifier``, and where ``graded`` a ``Graded`` one; needs ``pip install 'yamabiko[aws]'``.

    ``model``: id or ARN of a reranking model. ``timeout_seconds``: after that it has said no. ``graded``: its scores
    are weighed with the cache's own, and nothing is served by them until labels certify that; otherwise a relevance of
    ``min_relevance`` is a yes, from ``Policy.verify_similarity`` on. All candidates are one query of one call, which
    ``calls`` counts. ``close_agent`` is called by ``close``. Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        agent: Agent,
        model: str,
        *,
        timeout_seconds: float = 2.0,
        min_relevance: float = 0.9,
        graded: bool = True,
        close_agent: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        if not model:
            raise ConfigurationError("model must be the id or ARN of a reranking model")
        if not timeout_seconds > 0 or not 0 < min_relevance <= 1:
            raise ConfigurationError("timeout_seconds must be above 0, and min_relevance in (0, 1]")
        self.calls = 0
        self._agent = agent
        self._model = model
        self._timeout = timeout_seconds
        self._min_relevance = min_relevance
        self._close_agent = close_agent
        name = f"rerank:{model.rpartition('/')[2]}"
        self._mix = checked(Mix(name=name, bias=0.0, score=1.0, verifier=0.5, low=0.2, high=0.95)) if graded else None

    def mix_for(self, _embedder: str, /) -> Mix | None:
        """See ``Graded.mix_for``: the same for every embedder."""
        return self._mix

    async def log_odds(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[float | None]:
        """See ``Graded.log_odds``: those of the relevance, which Bedrock gives in [0, 1]."""
        return [None if found is None else log_odds_of(found) for found in await self._relevance(request, candidates)]

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """See ``Verifier.same``."""
        found = await self._relevance(request, candidates)
        return [relevance is not None and relevance >= self._min_relevance for relevance in found]

    async def _relevance(self, request: Request, candidates: Sequence[Candidate]) -> list[float | None]:
        """Per candidate how relevant its question and answer are; None for what is too long to be read whole."""
        question = normalise(request).text or request.messages[-1].text
        texts = [f"{candidate.question.text}\n{candidate.entry.reply.text}" for candidate in candidates]
        read = [at for at, text in enumerate(texts) if len(text) <= MAX_CHARACTERS]
        if not question.strip() or len(question) > MAX_CHARACTERS or not read:
            return [None] * len(candidates)
        self.calls += 1
        try:
            async with asyncio.timeout(self._timeout):
                told = await self._agent.rerank(_arguments(question, [texts[at] for at in read], self._model))
        except TimeoutError:
            raise VerifierError(f"it took more than {self._timeout} s") from None
        except ServiceError as error:
            raise VerifierError(str(error)) from error
        found: list[float | None] = [None] * len(candidates)
        for result in told.get("results", ()):
            place, score = result.get("index"), result.get("relevanceScore")
            if isinstance(place, int) and 0 <= place < len(read) and isinstance(score, int | float):
                found[read[place]] = min(1.0, max(0.0, float(score)))
        return found

    async def close(self) -> None:
        """Let go of the client. May be called twice."""
        if self._close_agent is not None:
            await self._close_agent()


def _arguments(query: str, texts: Sequence[str], model: str) -> dict[str, Any]:
    sources = [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}} for text in texts
    ]
    settings = {"modelConfiguration": {"modelArn": model}, "numberOfResults": len(texts)}
    return {
        "queries": [{"type": "TEXT", "textQuery": {"text": query}}],
        "sources": sources,
        "rerankingConfiguration": {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": settings},
    }
