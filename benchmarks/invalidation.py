"""Documents that are edited all the time, under a stream of questions: what is served too late, and what is lost.

Several processes share one SQLite file. Each question belongs to one document; making an answer takes a while, and its
source says which edition it was made from. All the time documents are edited: the new edition first, then
``Cache.invalidate`` with its digest. Counted are answers served that were made from an edition which was invalidated
before they were asked for (stale), and answers not stored that were made from what is still the present edition (lost).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from machine import describe
from yamabiko import Policy, Reply, Request, open_cache
from yamabiko.build.opening import Opening
from yamabiko.cache import Cache
from yamabiko.telemetry import Event, Hook
from yamabiko.types import Source

RESULTS = Path(__file__).parent / "results" / "invalidation.json"


@dataclass(frozen=True)
class Plan:
    """How long, how many, how often."""

    seconds: float
    workers: int
    documents: int
    askers: int
    edit_pause: float
    model_seconds: float
    until: float = 0.0


@dataclass
class Seen:
    """What one process counts; ``made``, by key: a document, and its edition that an answer was made from."""

    counts: Counter[str]
    made: dict[str, tuple[int, str]]


def edition(folder: str, document: int, kind: str = "txt") -> str:
    """The present edition, as whoever retrieves it reads it; of kind "gone", the last one that was told of."""
    return Path(folder, f"{document}.{kind}").read_text()


def edit(folder: str, document: int, text: str, kind: str = "txt") -> None:
    """Replace an edition in one step."""
    part = Path(folder, f"{document}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(Path(folder, f"{document}.{kind}"))


def cache_of(folder: str, hooks: Sequence[Hook]) -> Opening:
    """The cache that all share."""
    return open_cache(f"sqlite:///{folder}/cache.db", embedder="none", policy=Policy(), hooks=hooks)


async def asker(cache: Cache, plan: Plan, folder: str, seen: Seen, rng: random.Random) -> None:
    """Asks one question after the other."""
    counts = seen.counts
    while time.time() < plan.until:
        document = rng.randrange(plan.documents)
        uri = f"s3://docs/{document}"

        request = Request(f"What does document {document} say, part {rng.randrange(3)}?")
        place = cache.place(request)
        key = "" if place.key is None else place.key.hex[:16]

        async def generate(_: Request, document: int = document, uri: str = uri, key: str = key) -> Reply:
            read = edition(folder, document)
            await asyncio.sleep(plan.model_seconds * rng.uniform(0.5, 1.5))
            counts["generated"] += 1
            seen.made[key] = document, read
            return Reply(text=read, sources=(Source(uri, digest=read),))

        invalidated = edition(folder, document, "gone")  # before we ask
        reply = await cache.answer(request, generate)
        counts["asked"] += 1
        counts["asked after an edit"] += invalidated != "0"
        counts["stale"] += int(reply.text) < int(invalidated)


async def worker_of(plan: Plan, folder: str, number: int) -> Counter[str]:
    """One process: many who ask, and what was not stored though it could have been."""
    seen = Seen(Counter(), {})
    counts = seen.counts

    def watch(event: Event) -> None:
        if event.call == "remember":
            counts[event.outcome] += 1
            if event.outcome != "stored":
                counts[f"why: {event.why}"] += 1
                document, read = seen.made[event.key]
                counts["lost"] += edition(folder, document) == read

    async with cache_of(folder, [watch]) as cache:
        await asyncio.gather(
            *(asker(cache, plan, folder, seen, random.Random(1000 * number + i)) for i in range(plan.askers))
        )
        await cache.drain()
    return counts


def worker(plan: Plan, folder: str, number: int, out: multiprocessing.SimpleQueue[dict[str, int]]) -> None:
    """The process of ``worker_of``."""
    out.put(dict(asyncio.run(worker_of(plan, folder, number))))


async def editor(plan: Plan, folder: str) -> Counter[str]:
    """Edits a document, then says so; then nobody may be served what was before."""
    counts: Counter[str] = Counter()
    rng = random.Random(7)
    number = 0
    async with cache_of(folder, []) as cache:
        while time.time() < plan.until:
            number += 1
            document = rng.randrange(plan.documents)
            edit(folder, document, str(number))
            counts["removed"] += await cache.invalidate(f"s3://docs/{document}", digest=str(number))
            edit(folder, document, str(number), "gone")
            counts["edits"] += 1
            await asyncio.sleep(plan.edit_pause)
    return counts


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--askers", type=int, default=8)
    parser.add_argument("--edit-pause", type=float, default=0.05)
    parser.add_argument("--model-seconds", type=float, default=0.2)
    plan = Plan(**vars(parser.parse_args()))
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.SimpleQueue[dict[str, int]] = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        for document in range(plan.documents):
            edit(folder, document, "0")
            edit(folder, document, "0", "gone")
        plan = replace(plan, until=time.time() + plan.seconds)
        workers = [context.Process(target=worker, args=(plan, folder, n, out)) for n in range(plan.workers)]
        for process in workers:
            process.start()
        total = asyncio.run(editor(plan, folder))
        for _ in workers:
            total.update(out.get())
        for process in workers:
            process.join()
    refused = sum(number for why, number in total.items() if why.startswith("why: "))
    print(f"{'asked':>22} {total['asked']}")
    for name in ("asked after an edit", "generated", "edits", "removed", "stored", "stale", "lost"):
        print(f"{name:>22} {total[name]}")
    print(f"{'not stored':>22} {refused}")
    found = {"plan": asdict(plan), "machine": describe(), "counts": dict(total)}
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
