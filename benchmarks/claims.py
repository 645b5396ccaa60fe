"""What single-flight between processes costs: claims alone, and what they add to a miss.

    python benchmarks/claims.py --rounds 5
    python benchmarks/claims.py --url redis://127.0.0.1:6379?name=benchmark

``claim``: a name that is free, then ``release``. ``refused``: a name that another holds, as those who wait ask for it.
``miss``: ``Cache.answer`` with a model that answers at once, stored, with claims and without; the difference is what a
generation pays. Rounds alternate. Times are per call: wall as the caller sees it, CPU of the whole process, all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine
from yamabiko import open_cache
from yamabiko.settings import Settings, StoreSettings
from yamabiko.testing import FakeEmbedder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


async def timed(count, work):
    """Microseconds of wall and CPU time per call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(count):
        await work(i)
    return (time.perf_counter() - wall) / count * 1e6, (time.process_time() - cpu) / count * 1e6


async def model(_):
    return "Open the settings, choose Security and follow the link. " * 36


async def misses(cache, count, named):
    """A question that nobody has asked, its answer stored and the claim let go."""

    async def miss(i):
        await cache.answer(f"question {named} {i}", model)
        await cache.drain()

    return await timed(count, miss)


async def claims(cache, count, number):
    """Figures by name."""
    store, now = cache.store, time.time()

    async def claim(i):
        held = await store.claim(f"claim {number}.{i}", "a", seconds=60, now=now)
        await store.release(held, now=now)

    async def refused(_):
        await store.claim("held", "b", seconds=60, now=now)

    await store.claim("held", "a", seconds=3600, now=now)
    return {"claim": await timed(count, claim), "refused": await timed(count, refused)}


async def run(url, rounds, count, durability):
    gathered: dict[str, list[tuple[float, float]]] = {}
    durable = {"durability": durability} if url.startswith("sqlite") else {}
    with_claims, without = (Settings(store=StoreSettings(claim_seconds=seconds, **durable)) for seconds in (10.0, 0.0))
    async with (
        open_cache(url, settings=with_claims, embedder=FakeEmbedder()) as claiming,
        open_cache(url, settings=without, embedder=FakeEmbedder()) as plain,
    ):
        for number in range(rounds + 1):
            figures = await claims(claiming, count, number)
            figures["miss with claims"] = await misses(claiming, count, f"{number} with")
            figures["miss without"] = await misses(plain, count, f"{number} without")
            for what, figure in figures.items():
                if number:  # the first round warms up
                    gathered.setdefault(what, []).append(figure)
    return {
        name: {"wall_us": statistics.median(f[0] for f in found), "cpu_us": statistics.median(f[1] for f in found)}
        for name, found in gathered.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a server instead of one of our own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    from engines.valkey import Valkey

    results = {}
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder) / "engine") as engine:
        places = {
            "sqlite": (f"sqlite:///{folder}/normal.db", "normal"),
            "sqlite, durability full": (f"sqlite:///{folder}/full.db", "full"),
            "server": (options.url or f"redis://127.0.0.1:{engine.port}?name=benchmark", "normal"),
        }
        for place, (url, durability) in places.items():
            figures = asyncio.run(run(url, options.rounds, options.count, durability))
            results[place] = figures
            for name, figure in figures.items():
                print(f"{place:24} {name:16} {figure['wall_us']:8.0f} us wall {figure['cpu_us']:8.0f} us CPU")
    out = Path(__file__).parent / "results" / "claims.json"
    out.write_text(json.dumps({"machine": machine.describe(), "options": vars(options), "results": results}, indent=2))


if __name__ == "__main__":
    main()
