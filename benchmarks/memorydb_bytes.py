"""What a change of the embedder takes of a server's memory: before, while both indexes are there, and afterwards.

    python benchmarks/memorydb_bytes.py
    python benchmarks/memorydb_bytes.py --entries 300 --change 512 256      # a smoke run: no result is written

A local server (Valkey with RediSearch) is filled with ``--entries`` answers of ``--answer`` bytes and re-indexed as
``yamabiko reindex`` does. ``used_memory`` less what the empty server used is divided by their number; what one answer takes
without any change, by dimensions and length, is in entry_bytes.py. MemoryDB's own engine could not be asked.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
from yamabiko import Request, open_cache
from yamabiko.build import identity_of, locate
from yamabiko.cli.reindex import Reindexing
from yamabiko.settings import Settings
from yamabiko.testing import FakeEmbedder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey

FILLER = "Open the settings, choose Security and follow the link. "
AT_ONCE = 16


def embedder(dim: int) -> FakeEmbedder:
    return FakeEmbedder(dim=dim, id=f"fake-{dim}")


async def fill(settings: Settings, dim: int, entries: int, answer_bytes: int) -> None:
    async with open_cache(settings=settings, embedder=embedder(dim)) as cache:

        async def store(row: int) -> None:
            answer = f"{row}: {FILLER * (answer_bytes // len(FILLER) + 1)}"[:answer_bytes]
            request = Request(f"How do I change setting number {row} of my account?", model="m1")
            assert await cache.remember(await cache.lookup(request), answer) is not None

        for at in range(0, entries, AT_ONCE):
            await asyncio.gather(*(store(row) for row in range(at, min(at + AT_ONCE, entries))))


async def changed(settings: Settings, before: int, after: int, used: Any) -> tuple[int, int]:
    """Memory while both are there, and when the old index is gone."""
    old, new = embedder(before), embedder(after)
    location = locate(settings)
    source = await location.open(*identity_of(old))
    target = await location.open(*identity_of(new), beside=True)
    work = Reindexing(embedder=new)
    while await work.run(source, target):
        pass
    both = used()
    await target.adopt()
    await target.retire(embedder=old.id, dim=old.dim)
    stats = await target.stats()
    assert stats.vectors == stats.entries
    await source.close()
    await target.close()
    return both, used()


def measure(before: int, after: int, entries: int, answer_bytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as name, Valkey(Path(name) / "engine") as engine:

        def used() -> int:
            return int(engine.info("memory")["used_memory"])

        empty = used()
        times = replace(Settings().store, timeout_seconds=60.0, write_timeout_seconds=600.0)
        settings = replace(Settings(), url=f"valkey://127.0.0.1:{engine.port}?name=bytes", store=times)
        asyncio.run(fill(settings, before, entries, answer_bytes))
        filled = used()
        both, done = asyncio.run(changed(settings, before, after, used))
    each = {
        name: round((bytes_ - empty) / entries) for name, bytes_ in (("old", filled), ("both", both), ("new", done))
    }
    return {"from": before, "to": after, "entries": entries, "answer_bytes": answer_bytes, "bytes_per_entry": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=4_000)
    parser.add_argument("--answer", type=int, default=2_000, help="bytes of an answer")
    parser.add_argument("--change", type=int, nargs=2, action="append", metavar="DIM", help="from and to")
    options = parser.parse_args()
    rows = []
    for before, after in options.change or [(1024, 512), (512, 256), (256, 1024)]:
        rows.append(measure(before, after, options.entries, options.answer))
        each = rows[-1]["bytes_per_entry"]
        print(f"{before:5} -> {after:5}: {each['old']:7,} both {each['both']:7,} then {each['new']:7,}", flush=True)
    if options.entries >= 2_000:
        print("written:", machine.write("memorydb_bytes", {"rows": rows}))


if __name__ == "__main__":
    main()
