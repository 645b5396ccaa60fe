"""Whether our reading of two peers' defaults is what the packages do, for benchmarks/quality.py. Nothing runs here.

In the streams their decision is a threshold on our own cosines (quality_arms.py). Here the packages themselves are asked
the head of a stream, with the same vectors in place of their default embedders, which have to be downloaded: RedisVL on
a local server, GPTCache's evaluation and configuration on their own. Packages that are not installed are not asked.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from quality_arms import GPTCACHE_THRESHOLD, REDISVL_THRESHOLD, Shelf, Threshold, gptcache, redisvl
from quality_streams import Pool, Stream


class RedisVL:
    """RedisVL's SemanticCache with its own threshold."""

    def __init__(self, pool: Pool, port: int) -> None:
        from redisvl.extensions.cache.llm import SemanticCache
        from redisvl.utils.vectorize import BaseVectorizer

        self._pool = pool
        self._cache = SemanticCache(
            name="quality",
            vectorizer=BaseVectorizer(model="given", dims=pool.vectors.shape[1]),
            redis_url=f"redis://127.0.0.1:{port}",
            connection_kwargs={"protocol": 2},
        )

    def ask(self, question: int) -> int | None:
        found = self._cache.check(prompt=self._pool.texts[question], vector=self._pool.vectors[question].tolist())
        return int(found[0]["response"]) if found else None

    def learn(self, question: int) -> None:
        self._cache.store(self._pool.texts[question], str(question), vector=self._pool.vectors[question].tolist())


class GPTCache:
    """GPTCache's SearchDistanceEvaluation on squared L2 distances, under its own Config's threshold."""

    def __init__(self, pool: Pool) -> None:
        from gptcache.config import Config
        from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

        self._evaluation = SearchDistanceEvaluation()
        low, high = self._evaluation.range()
        self._wanted = (high - low) * Config().similarity_threshold
        self._shelf = Shelf(pool, pool.answer[:0])

    def ask(self, question: int) -> int | None:
        if question in self._shelf:
            return question
        for entry, cosine in self._shelf.candidates(question, 1):
            if self._evaluation.evaluation({}, {"search_result": (2 - 2 * cosine, None)}) >= self._wanted:
                return entry
        return None

    def learn(self, question: int) -> None:
        self._shelf.add(question)


def agreement(pool: Pool, stream: Stream, count: int) -> dict[str, object]:
    """Per package: how many of so many requests it decided otherwise than our reading of it, where it is installed."""
    found: dict[str, object] = {}
    if importlib.util.find_spec("gptcache") is None:
        found["GPTCache"] = "not installed: our reading of 0.1.44 stands in for it"
    else:
        ours = Threshold("ours", pool, stream.stored[:0], gptcache, GPTCACHE_THRESHOLD)
        found[f"GPTCache {version('gptcache')}"] = _compared(GPTCache(pool), ours, pool, stream, count)
    if importlib.util.find_spec("redisvl") is None:
        found["RedisVL"] = "not installed: our reading of 0.28 stands in for it"
        return found
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from engines.valkey import Valkey

    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as engine:
        ours = Threshold("ours", pool, stream.stored[:0], redisvl, REDISVL_THRESHOLD)
        found[f"RedisVL {version('redisvl')}"] = _compared(RedisVL(pool, engine.port), ours, pool, stream, count)
    return found


def _compared(theirs: RedisVL | GPTCache, ours: Threshold, pool: Pool, stream: Stream, count: int) -> dict[str, int]:
    """Both go on from what the package did; whichever of several equally near answers is served is all the same."""
    requests, differ, hits = stream.requests[:count].tolist(), 0, 0
    for question in requests:
        served, expected = theirs.ask(question), ours.ask(question, pool.answer)
        hits += served is not None
        differ += (served is None) != (expected is None)
        if served is None:
            theirs.learn(question)
            ours.learn(question, pool.answer)
    return {"requests": len(requests), "hits": hits, "decided_otherwise": differ}
