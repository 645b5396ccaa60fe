"""What a stored answer takes of a server's memory, by the embedder's dimensions and by the length of the answer.

    python benchmarks/entry_bytes.py
    python benchmarks/entry_bytes.py --entries 500 --dim 256 --answer 500      # a smoke run: no result is written

A local server (Valkey with RediSearch) is filled with ``--entries`` answers of one question each, empty at the start of
each row; what it says it uses (``used_memory`` and the part of the index) less what it used when empty is divided by
their number. Then a plane is fitted: bytes = fixed + per_dimension * dim + per_answer_byte * bytes of the answer.
MemoryDB's own engine could not be asked: its index may take more or less.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import machine
from remote import vectors
from remote.systems import MODEL, entry_of, open_store
from yamabiko import Request

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey

FILLER = "Open the settings, choose Security and follow the link. "


async def fill(port: int, dim: int, entries: int, answer_bytes: int) -> None:
    made = vectors.Mixture(dim, entries).draw(entries)
    store = await open_store(port, dim)
    for at in range(0, entries, 256):
        waiting = []
        for row in range(at, min(at + 256, entries)):
            answer = f"{row}: {FILLER * (answer_bytes // len(FILLER) + 1)}"[:answer_bytes]
            entry = entry_of(
                Request(f"How do I change setting number {row} of my account?", model=MODEL), made[row], answer
            )
            waiting.append(store.put(entry, now=entry.created))
        await asyncio.gather(*waiting)
    stats = await store.stats()
    await store.close()
    assert stats.entries == entries


def measure(dim: int, entries: int, answer_bytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as name, Valkey(Path(name) / "engine") as engine:
        empty = int(engine.info("memory")["used_memory"])
        asyncio.run(fill(engine.port, dim, entries, answer_bytes))
        used = int(engine.info("memory")["used_memory"])
    return {
        "dim": dim,
        "answer_bytes": answer_bytes,
        "entries": entries,
        "empty_bytes": empty,
        "bytes_per_entry": round((used - empty) / entries),
    }


def fitted(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The plane through the rows, and the largest miss of it as a share."""
    known = np.array([[1.0, row["dim"], row["answer_bytes"]] for row in rows])
    seen = np.array([row["bytes_per_entry"] for row in rows], float)
    plane = np.linalg.lstsq(known, seen, rcond=None)[0]
    furthest = float(np.abs(known @ plane / seen - 1).max())
    return {
        "fixed": round(float(plane[0])),
        "per_dimension": round(float(plane[1]), 3),
        "per_answer_byte": round(float(plane[2]), 3),
        "largest_miss": round(furthest, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=4_000)
    parser.add_argument("--dim", type=int, nargs="+", default=[256, 384, 512, 1024])
    parser.add_argument("--answer", type=int, nargs="+", default=[500, 2_000, 8_000], help="bytes of an answer")
    options = parser.parse_args()
    rows = []
    for dim in options.dim:
        for answer_bytes in options.answer:
            rows.append(measure(dim, options.entries, answer_bytes))
            print(
                f"{dim:5} dimensions, answers of {answer_bytes:6,} bytes: {rows[-1]['bytes_per_entry']:7,} bytes each",
                flush=True,
            )
    if options.entries < 2_000 or len(rows) < 4:
        return
    plane = fitted(rows)
    print(plane)
    print("written:", machine.write("entry_bytes", {"rows": rows, "fitted": plane}))


if __name__ == "__main__":
    main()
