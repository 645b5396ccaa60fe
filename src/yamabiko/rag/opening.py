"""Opens a pipeline: its three caches over one address, or over one each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

from yamabiko.build import load_prices, make_embedder, open_cache
from yamabiko.core.economics import Prices
from yamabiko.generators.passages import Passages
from yamabiko.ports import Embedder, Generate
from yamabiko.rag.embeddings import RememberedEmbedder
from yamabiko.rag.evidence import EvidenceVerifier, Today
from yamabiko.rag.figures import Costs
from yamabiko.rag.pipeline import RagPipeline, Stages
from yamabiko.settings import Settings
from yamabiko.telemetry import Hook
from yamabiko.types import Policy, Request

PASSAGES_POLICY = Policy(max_error_rate=0.1, ttl_seconds=86400.0, users="one")
"""Passages for a near question do where its answer would not: the model reads them with the question that was asked.

They are nobody's own, so that no question is too personal for them; who may read them is for permissions to say.
"""


class PipelineOpening:
    """A pipeline about to be opened: ``async with open_pipeline(...) as rag``, or ``await open_pipeline(...)``."""

    def __init__(self, make: Callable[[], Awaitable[RagPipeline]]) -> None:
        self._make = make
        self._pipeline: RagPipeline | None = None

    def __await__(self) -> Generator[Any, None, RagPipeline]:
        return self._make().__await__()

    async def __aenter__(self) -> RagPipeline:
        self._pipeline = await self
        return self._pipeline

    async def __aexit__(self, *_: object) -> None:
        if self._pipeline is not None:
            await self._pipeline.close()


def open_pipeline(
    stages: Stages,
    url: str | None = None,
    *,
    passages_url: str | None = None,
    policy: Policy | None = None,
    passages_policy: Policy = PASSAGES_POLICY,
    settings: Settings | None = None,
    embedder: Embedder | None = None,
    embeddings_bytes: int = 64 * 1024**2,
    embeddings_ttl_seconds: float = float("inf"),
    gate: Callable[[Today], EvidenceVerifier] | None = None,
    judge: Generate | None = None,
    costs: Costs | None = None,
    prices: Prices | None = None,
    hooks: Sequence[Hook] = (),
    passages_hooks: Sequence[Hook] = (),
    clock: Callable[[], float] = time.time,
) -> PipelineOpening:
    """A pipeline whose answers and passages lie at ``url``; passages at ``passages_url`` where that is given.

    ``policy`` is of answers, ``passages_policy`` of passages; ``embeddings_bytes`` and ``embeddings_ttl_seconds`` bound
    the embeddings, which lie in this process. ``gate``: makes the gate that answers must pass from what retrieves for
    them, as ``EvidenceVerifier`` does. ``judge`` compares answers; passages are not judged, and served as public data
    allow. Everything else is as for ``open_cache``, and is raised as there.
    """
    settings = settings or Settings()

    async def make() -> RagPipeline:
        inner = embedder or make_embedder(settings)
        used_prices = prices or load_prices(settings.prices_path)
        budget: dict[str, Any] = {"max_bytes": embeddings_bytes, "ttl_seconds": embeddings_ttl_seconds, "clock": clock}
        shared = None if inner is None else RememberedEmbedder(inner, **budget)
        common: dict[str, Any] = {"settings": settings, "prices": used_prices, "clock": clock}
        common["embedder"] = shared or "none"
        passages = await open_cache(passages_url or url, policy=passages_policy, hooks=passages_hooks, **common)
        made: list[RagPipeline] = []

        async def today(request: Request) -> Passages:
            return await made[0].today(request)

        try:
            verifier = None if gate is None else gate(today)
            answers = await open_cache(url, policy=policy, hooks=hooks, judge=judge, verifier=verifier, **common)
        except BaseException:
            await passages.close()
            raise
        made.append(RagPipeline(answers, passages, stages, embeddings=shared, costs=costs))
        return made[0]

    return PipelineOpening(make)
