"""The whole path through the public API: exact hits, async and sync; semantic hits against the embedding alone.

    python benchmarks/path.py --entries 1000000 --near 10000 100000

Exact: a cache file with ``--entries`` rows in one scope, random stored questions asked one at a time. Wall time per
call, and CPU time of the whole process per call. Semantic: ``--near`` stored real-shaped questions with vectors of the
on-device embedder's dimension, of which a paraphrase of the last 200 is asked; beside it, the embedder alone on the
same texts, alternately, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import machine
from yamabiko import Policy, Reply, Request, open_cache, open_sync_cache
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.types import Entry, Question, Usage

ANSWER = Reply(text="Open the settings, choose Security and follow the link. " * 36, usage=Usage(output_tokens=500))
GROUP = 512


def question(number: int) -> str:
    return f"How do I change setting number {number} of my account?"


def requests(numbers):
    return [Request(question(number), model="m1", tenant="acme") for number in numbers]


async def fill(path: Path, embedder: LocalEmbedder, numbers: list[int], vectors) -> float:
    """Rows as ``remember`` would write them, many at once; seconds."""
    store = await SqliteStore.open(path, embedder=embedder.id, dim=embedder.dim)
    started = time.perf_counter()
    for at in range(0, len(numbers), GROUP):
        entries = []
        for request, vector in zip(requests(numbers[at : at + GROUP]), vectors(at, GROUP), strict=False):
            canonical = normalise(request)
            key = key_of(request, canonical, embedder=embedder.model_for(canonical.text), policy=Policy())
            asked = (Question(digest=key.digest, text=canonical.question, vector=vector),)
            entries.append(Entry(id=key.hex, scope=key.scope, questions=asked, reply=ANSWER, created=time.time()))
        await asyncio.gather(*(store.put(entry, now=entry.created) for entry in entries))
    await store.close()
    return time.perf_counter() - started


def random_vectors(dim: int):
    generator = np.random.default_rng(1)

    def vectors(_, count):
        block = generator.standard_normal((count, dim)).astype(np.float32)
        return block / np.linalg.norm(block, axis=1, keepdims=True)

    return vectors


def timed(calls):
    """Percentiles of wall time and mean CPU time, microseconds per call."""
    walls, cpu = [], time.process_time()
    for call in calls:
        started = time.perf_counter()
        call()
        walls.append((time.perf_counter() - started) * 1e6)
    return {"wall_us": machine.percentiles(walls), "cpu_us": round((time.process_time() - cpu) / len(walls) * 1e6, 1)}


async def timed_async(asked, call):
    walls, cpu = [], time.process_time()
    for one in asked:
        started = time.perf_counter()
        await call(one)
        walls.append((time.perf_counter() - started) * 1e6)
    return {"wall_us": machine.percentiles(walls), "cpu_us": round((time.process_time() - cpu) / len(walls) * 1e6, 1)}


async def exact_async(url: str, embedder: LocalEmbedder, asked) -> dict:
    async with open_cache(url, embedder=embedder) as cache:
        for one in asked[:200]:
            assert (await cache.lookup(one)).tier == "exact"
        return await timed_async(asked[200:], cache.lookup)


def exact_sync(url: str, asked) -> dict:
    with open_sync_cache(url) as cache:
        for one in asked[:200]:
            assert cache.lookup(one).tier == "exact"
        return timed([lambda one=one: cache.lookup(one) for one in asked[200:]])


def exact(folder: Path, entries: int, calls: int) -> dict:
    """Random stored questions of ``entries``, asked one after the other."""
    path = folder / f"exact-{entries}.db"
    embedder = LocalEmbedder()
    if not path.exists():
        seconds = asyncio.run(fill(path, embedder, list(range(entries)), random_vectors(embedder.dim)))
        print(f"filled {entries:,} rows in {seconds:.0f} s")
    asked = requests(random.Random(7).choices(range(entries), k=calls + 200))
    url = f"sqlite:///{path}"
    results = {"entries": entries, "exact_async": asyncio.run(exact_async(url, LocalEmbedder(), asked))}
    results["exact_sync"] = exact_sync(url, asked)
    for name in ("exact_async", "exact_sync"):
        print(f"{name:12} {results[name]}")
    return results


async def semantic(folder: Path, entries: int) -> dict:
    """``entries`` stored questions; the last 200 really embedded, and asked in other words."""
    embedder = LocalEmbedder()
    path = folder / f"near-{entries}.db"
    real = list(range(entries - 200, entries))
    embedded = np.stack(list(await embedder.embed([question(number) for number in real])))
    anything = random_vectors(embedder.dim)

    def vectors(at, count):
        block = anything(at, min(count, entries - at))
        for row in range(len(block)):
            if at + row >= entries - 200:
                block[row] = embedded[at + row - (entries - 200)]
        return block

    await fill(path, embedder, list(range(entries)), vectors)
    whole, alone = [], []
    async with open_cache(
        f"sqlite:///{path}", embedder=embedder, policy=Policy(max_error_rate=None, min_similarity=0.9)
    ) as cache:
        texts = [f"How can I change setting number {number} of my account?" for number in real]
        for text in texts[:20]:
            await cache.lookup(Request(text, model="m1", tenant="acme"))
            await embedder.embed([text])
        for text in texts[20:]:
            request = Request(text, model="m1", tenant="acme")
            started = time.perf_counter()
            hit = await cache.lookup(request)
            whole.append((time.perf_counter() - started) * 1e3)
            assert hit.tier == "semantic"
            started = time.perf_counter()
            await embedder.embed([text])
            alone.append((time.perf_counter() - started) * 1e3)
    ratio = statistics.median(whole) / statistics.median(alone)
    return {
        "entries": entries,
        "whole_hit_ms": machine.percentiles(whole, 3),
        "embedding_alone_ms": machine.percentiles(alone, 3),
        "ratio_of_medians": round(ratio, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="rows of the exact part")
    parser.add_argument("--near", type=int, nargs="+", default=[10_000, 100_000], help="rows of the semantic part")
    parser.add_argument("--asked", type=int, default=5_000, help="exact look-ups measured")
    parser.add_argument("--part", choices=["exact", "semantic"], help="only this part; the other's results stay")
    parser.add_argument("--dir", type=Path, help="keep the files here, and use those of an earlier run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        results = machine.read("path")
        if arguments.part != "semantic":
            results |= exact(folder, arguments.entries, arguments.asked)
        if arguments.part != "exact":
            results["semantic"] = [asyncio.run(semantic(folder, entries)) for entries in arguments.near]
            for row in results["semantic"]:
                print("semantic    ", row)
    print("written to", machine.write("path", results))


if __name__ == "__main__":
    main()
