"""GDSF against LRU under the same byte budget, on a trace: how many requests hit, and how much money and time it saves.

    python benchmarks/eviction.py --requests 200000

The trace: questions asked by a Zipf law (exponent 1.0), once with the same favourites throughout and once with a share of
the questions changing places ten times on the way; answers of log-normal length; the cost of an answer is log-normal
and only partly follows its length, as with calls to models of different prices. Both policies run over the same trace through one loop and use the byte counts and values of
``yamabiko.stores.eviction``. ``--store`` also runs the real SQLite store over the head of the trace and compares its
hits with those of the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from machine import describe
from yamabiko.stores.eviction import payload_bytes, priority, value
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key
from yamabiko.types import Entry, Reply


class Trace:
    """Which question is asked when, and what each answer weighs and saves."""

    def __init__(self, questions: int, requests: int, seed: int, changing: float) -> None:
        random = np.random.default_rng(seed)
        ranks = 1.0 / np.arange(1, questions + 1)
        picked = random.choice(questions, size=requests, p=ranks / ranks.sum())
        places = random.permutation(questions)
        asked = []
        for epoch in np.array_split(picked, 10):
            asked.extend(places[epoch].tolist())
            movers = random.permutation(questions)[: int(changing * questions)]
            places[movers] = places[random.permutation(movers)]
        self.asked: list[int] = asked
        self.lengths = np.clip(random.lognormal(7.0, 1.0, questions), 50, 50_000).astype(int)
        prices = random.choice(
            [0.2, 1.0, 5.0], size=questions, p=[0.5, 0.4, 0.1]
        )  # dollars per million characters, say
        self.costs = prices * 4e-6 * self.lengths * random.lognormal(0.0, 0.5, questions)
        self.waits = 0.3 + self.lengths / 400.0

    def entry(self, question: int) -> Entry:
        reply = Reply(
            text="x" * int(self.lengths[question]),
            cost_usd=float(self.costs[question]),
            latency_seconds=float(self.waits[question]),
        )
        return make_entry(f"q{question}", reply)


class Gdsf:
    """A heap with entries that may be out of date; the clock and formulas are the store's."""

    def __init__(self, budget: int) -> None:
        self.budget, self.used, self.clock = budget, 0, 0.0
        self.hits: dict[int, int] = {}
        self.rank: dict[int, float] = {}
        self.heap: list[tuple[float, int]] = []

    def ask(self, question: int, size: int, worth: float, sizes: np.ndarray) -> bool:
        found = question in self.hits
        self.hits[question] = self.hits.get(question, 0) + 1
        if not found:
            self.used += size
        self.rank[question] = priority(self.clock, self.hits[question], worth, size)
        heapq.heappush(self.heap, (self.rank[question], question))
        held_back = []
        while self.used > self.budget and self.heap:
            rank, worst = heapq.heappop(self.heap)
            if self.rank.get(worst) != rank:
                continue
            if worst == question and size <= self.budget:
                held_back.append((rank, worst))
                continue
            self.clock = max(self.clock, rank)
            self.used -= int(sizes[worst])
            del self.hits[worst], self.rank[worst]
        for item in held_back:
            heapq.heappush(self.heap, item)
        return found


class Lru:
    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self.order: OrderedDict[int, None] = OrderedDict()

    def ask(self, question: int, size: int, _worth: float, sizes: np.ndarray) -> bool:
        found = question in self.order
        self.order[question] = None
        self.order.move_to_end(question)
        if not found:
            self.used += size
        while self.used > self.budget:
            worst, _ = self.order.popitem(last=False)
            self.used -= int(sizes[worst])
        return found


def run(policy: Gdsf | Lru, trace: Trace, sizes: np.ndarray, worth: np.ndarray) -> tuple[dict[str, float], list[bool]]:
    outcomes = [policy.ask(q, int(sizes[q]), float(worth[q]), sizes) for q in trace.asked]
    asked = np.array(trace.asked)
    hit = np.array(outcomes)
    return {
        "hit_rate": round(float(hit.mean()), 4),
        "saved_value_share": round(float(worth[asked][hit].sum() / worth[asked].sum()), 4),
        "saved_cost_share": round(float(trace.costs[asked][hit].sum() / trace.costs[asked].sum()), 4),
        "saved_seconds_share": round(float(trace.waits[asked][hit].sum() / trace.waits[asked].sum()), 4),
    }, outcomes


async def through_the_store(trace: Trace, budget: int, requests: int) -> list[bool]:
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as folder:
        store = await SqliteStore.open(Path(folder) / "cache.db", embedder="none", dim=1, max_bytes=budget)
        for question in trace.asked[:requests]:
            found = await store.get(make_key(f"q{question}"))
            outcomes.append(found is not None)
            if found is None:
                await store.put(trace.entry(question), now=0.0)
            else:
                store.touch(found.id)
        assert await store.check() == []
        await store.close()
    return outcomes


def compared(options: argparse.Namespace, changing: float) -> Iterator[dict[str, object]]:
    trace = Trace(options.questions, options.requests, options.seed, changing)
    entries = [trace.entry(question) for question in range(options.questions)]
    sizes = np.array([payload_bytes(entry) for entry in entries])
    worth = np.array([value(entry.reply) for entry in entries])
    del entries
    for share in (0.01, 0.05, 0.2):
        budget = int(share * sizes.sum())
        row: dict[str, object] = {"changing": changing, "budget_share": share, "budget_bytes": budget}
        for name, policy in (("gdsf", Gdsf(budget)), ("lru", Lru(budget))):
            row[name], outcomes = run(policy, trace, sizes, worth)
            if name == "gdsf" and share == 0.05 and options.store:
                real = asyncio.run(through_the_store(trace, budget, options.store))
                same = sum(a == b for a, b in zip(real, outcomes, strict=False)) / len(real)
                row["sqlite_store"] = {
                    "hit_rate": round(sum(real) / len(real), 4),
                    "same_outcome_share": round(same, 4),
                }
        print(json.dumps(row), flush=True)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=50_000)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--store", type=int, default=20_000, help="requests that also go through the SQLite store")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for changing in (0.0, 0.2) for row in compared(options, changing)]
    target = Path(__file__).parent / "results" / "eviction.json"
    target.parent.mkdir(exist_ok=True)
    setting = {"questions": options.questions, "requests": options.requests, "seed": options.seed}
    target.write_text(json.dumps({"machine": describe(), **setting, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
