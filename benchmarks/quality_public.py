"""The cache itself as an arm of benchmarks/quality.py: asked through its public API, with a scripted model and judge.

The model's answer to a text names its place in the pool; the judge, which is told a question and two answers, compares
what those places stand for. Vectors were made beforehand under the embedder's own name, so that scores and shipped
calibrations are those of that embedder and the times below leave embedding out.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Self

import numpy as np

from quality_arms import Served
from quality_streams import Ints, Pool
from yamabiko import Policy, open_cache
from yamabiko.core.normalise import normalise
from yamabiko.settings import LearnSettings, Settings
from yamabiko.types import Reply, Request, Vector

_PLACE = re.compile(r"place (\d+) ")


def answer_of(place: int) -> str:
    """What the model says; long enough to be an answer, and no two alike after normalisation."""
    return f"This is what to do in the case of place {place} of the pool, and nothing else helps."


def place_of(answer: str) -> int:
    """The place that an answer names."""
    found = _PLACE.search(answer)
    assert found is not None, "not an answer of this benchmark"
    return int(found[1])


class Known:
    """An ``Embedder`` that looks texts of the pool up; of any other text it takes no responsibility."""

    def __init__(self, pool: Pool, embedder: str) -> None:
        self.id = embedder
        self.dim = pool.vectors.shape[1]
        texts = (normalise(Request(text)).text for text in pool.texts)
        self._vectors = dict(zip(texts, pool.vectors, strict=True))

    def model_for(self, _text: str, /) -> str:
        return self.id

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        return [self._vectors.get(text) for text in texts]

    async def close(self) -> None:
        """Nothing to let go of."""


class Public:
    """``Cache.answer`` with ``Policy(max_error_rate=...)`` on a store in memory.

    ``cpu`` and ``wall``: seconds per call, by "hit" (by meaning) and "miss", labels and writing left out.
    """

    def __init__(self, name: str, pool: Pool, stored: Ints, embedder: str, policy: Policy, *, judged: bool) -> None:
        self.name, self.judged, self.audits = name, 0, 0
        self.cpu: dict[str, list[float]] = {"hit": [], "miss": [], "exact": []}
        self.wall: dict[str, list[float]] = {"hit": [], "miss": [], "exact": []}
        self._pool = pool
        self._places = {text: at for at, text in enumerate(pool.texts)}
        self._truth: Ints = pool.answer
        self._events = []
        self._generated = 0
        self._now = 1_700_000_000.0
        self._runner = asyncio.Runner()
        options = {"judge": self._judge} if judged else {}
        learn = LearnSettings(per_minute=100_000, per_day=10_000_000, similar_from=None, refresh_seconds=0.001)
        self._cache = self._runner.run(
            _opened(
                "memory://",
                policy=policy,
                settings=Settings(learn=learn),
                embedder=Known(pool, embedder),
                hooks=[self._events.append],
                clock=lambda: self._now,
                **options,
            )
        )
        for place in stored.tolist():
            self._runner.run(self._asked(place))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._cache.close())
        self._runner.close()

    def ask(self, question: int, truth: Ints) -> Served | None:
        self._truth = truth
        self._now += 1.0
        return self._runner.run(self._asked(question))

    def learn(self, question: int, truth: Ints) -> None:
        """The cache has stored it already."""

    async def _asked(self, question: int) -> Served | None:
        self._events.clear()
        generated = self._generated
        cpu, wall = time.thread_time(), time.perf_counter()
        reply = await self._cache.answer(self._pool.texts[question], self._generate)
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        await self._cache.drain()
        await asyncio.sleep(0)
        event = next(event for event in self._events if event.call == "answer")
        kind = {"exact": "exact", "semantic": "hit"}.get(event.tier or "", "miss")
        self.cpu[kind].append(cpu)
        self.wall[kind].append(wall)
        if event.outcome != "hit":
            return None
        self.audits += self._generated - generated
        entry = place_of(reply.text)
        tier = "semantic" if event.tier == "semantic" else "exact" if entry == question else "alias"
        return Served(entry, tier, event.similarity or 0.0)

    async def _generate(self, request: Request) -> Reply:
        self._generated += 1
        return Reply(text=answer_of(self._places[request.messages[-1].text]))

    async def _judge(self, request: Request) -> Reply:
        self.judged += 1
        one, other = (int(place) for place in _PLACE.findall(request.messages[-1].text))
        return Reply(text="yes" if self._truth[one] == self._truth[other] else "no")


async def _opened(url: str, **options):
    return await open_cache(url, **options)


def latencies(arm: Public) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds at the 50th, 95th and 99th percentile, by what came of the call."""
    found = {}
    for name, times in (("cpu", arm.cpu), ("wall", arm.wall)):
        found[name] = {
            kind: {
                f"p{percent}": round(float(np.percentile(np.array(values) * 1e3, percent)), 3)
                for percent in (50, 95, 99)
            }
            for kind, values in times.items()
            if values
        }
    return found
