"""The SQLite store: exact hits, puts, searches and reopening, on a file of up to a million entries.

    python benchmarks/store.py --entries 1000000 --file /var/tmp/store.db

The file is made once and used again. Latencies are wall time; CPU times cover all threads of the process. Vectors
are random directions of 384 components; queries are stored vectors tilted to cosines of 0.80 to 0.99.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle threads of OpenBLAS spin, which would count as CPU time

import msgspec
import numpy as np

from machine import describe
from yamabiko.stores import codec
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.stores.sqlite.changes import NewEntry, put
from yamabiko.stores.sqlite.lanes import Lane
from yamabiko.stores.sqlite.ledger import Ledger
from yamabiko.stores.sqlite.schema import Layout, connect, open_file
from yamabiko.types import Entry, Key, Question, Reply, Scope, Usage

DIM = 384
EMBEDDER = "bench"
TEXT = "The quick brown fox jumps over the lazy dog; the mountain answers. " * 31  # some 2 KB
NOW = 1_700_000_000.0


def scope_of(rows: int) -> Scope:
    """One scope for each size, all in one file."""
    digest = hashlib.sha256(f"scope {rows}".encode()).digest()
    return Scope(content=digest, digest=digest, tenant="bench", model="m")


def key_of(scope: Scope, i: int) -> Key:
    return Key(scope=scope, digest=hashlib.sha256(scope.digest + i.to_bytes(8, "little")).digest())


def vector_of(i: int) -> np.ndarray:
    v = np.random.default_rng(i).standard_normal(DIM, dtype=np.float32)
    return v / np.linalg.norm(v)


def entry_of(scope: Scope, i: int) -> Entry:
    key = key_of(scope, i)
    reply = Reply(text=TEXT[: 1500 + i % 570], cost_usd=0.001, latency_seconds=1.0)
    question = Question(digest=key.digest, text=f"question number {i} about something", vector=vector_of(i))
    return Entry(id=key.hex, scope=scope, questions=(question,), reply=reply, created=NOW)


def percentiles(seconds: list[float]) -> dict[str, float]:
    values = np.array(seconds) * 1e6
    return {f"p{p}_us": round(float(np.percentile(values, p)), 1) for p in (50, 95, 99)}


def sizes(entries: int) -> list[int]:
    return [n for n in (10_000, 100_000) if n < entries] + [entries]


def make(path: Path, entries: int) -> dict[str, float]:
    """All scopes, through the store's own code, in large transactions."""
    started, cpu = time.perf_counter(), time.process_time()
    layout = Layout(path=path, embedder=EMBEDDER, dim=DIM)
    open_file(layout)
    db = connect(layout, "rw")
    db.execute("PRAGMA synchronous=OFF")  # only while the file is made
    total = 0
    for rows in sizes(entries):
        scope = scope_of(rows)
        for start in range(0, rows, 10_000):
            db.execute("BEGIN IMMEDIATE")
            ledger = Ledger.read(db)
            for i in range(start, min(rows, start + 10_000)):
                put(db, ledger, NewEntry.of(entry_of(scope, i)), NOW, None)
                total += 1
            ledger.write(db)
            db.execute("COMMIT")
    db.close()
    return {"rows": total, "wall_seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}


def store_at(path: Path, **options) -> SqliteStore:
    return SqliteStore(path, embedder=EMBEDDER, dim=DIM, **options)


async def exact(path: Path, entries: int, calls: int) -> dict[str, object]:
    store, scope = store_at(path), scope_of(entries)
    keys = [key_of(scope, int(i)) for i in np.random.default_rng(1).integers(0, entries, calls)]
    absent = [key_of(scope, entries + i) for i in range(calls)]
    for key in keys:  # the page cache of the system is warm, as in a process that runs
        await store.get(key)
    taken: dict[str, list[float]] = {"hit": [], "miss": []}
    cpu = time.process_time()
    for name, asked in (("hit", keys), ("miss", absent)):
        for key in asked:
            started = time.perf_counter()
            found = await store.get(key)
            taken[name].append(time.perf_counter() - started)
            assert (found is not None) == (name == "hit")
    cpu = time.process_time() - cpu
    await store.close()
    return {name: percentiles(times) for name, times in taken.items()} | {"cpu_us": round(cpu / calls / 2 * 1e6, 1)}


async def hop(calls: int, folder: Path) -> dict[str, object]:
    """What it costs to reach a thread and come back: a lane of the store, and asyncio's executor."""
    loop = asyncio.get_running_loop()
    lane = Lane("bench", folder / "none.db", 2, lambda: sqlite3.connect(":memory:"))
    executor = ThreadPoolExecutor(2)
    taken: dict[str, list[float]] = {"lane": [], "run_in_executor": []}
    for _ in range(calls):
        started = time.perf_counter()
        await lane.run(id)
        taken["lane"].append(time.perf_counter() - started)
        started = time.perf_counter()
        await loop.run_in_executor(executor, id, None)
        taken["run_in_executor"].append(time.perf_counter() - started)
    await lane.stop()
    executor.shutdown()
    return {name: percentiles(times) for name, times in taken.items()}


class Nameless(msgspec.Struct, array_like=True, frozen=True):
    """The other way to store a reply: an array without names, copied into a Reply after decoding."""

    text: str
    model: str
    finish_reason: str
    usage: tuple[int, int, int]
    chunk_lengths: tuple[int, ...]
    tool_calls: tuple[str, ...]
    sources: tuple[str, ...]
    latency_seconds: float
    cost_usd: float
    extra: str


def decoding(calls: int) -> dict[str, float]:
    reply = entry_of(scope_of(1), 1).reply
    fields = {name: getattr(reply, name) for name in Nameless.__struct_fields__}
    decoder = msgspec.msgpack.Decoder(Nameless)

    def by_name(data: bytes) -> Reply | None:
        return codec.decode(data)

    def by_place(data: bytes) -> Reply:
        row = decoder.decode(data)
        named = {name: getattr(row, name) for name in Nameless.__struct_fields__}
        usage = Usage(**dict(zip(("input_tokens", "output_tokens", "cached_input_tokens"), row.usage, strict=True)))
        return Reply(**named | {"usage": usage})

    usage = (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cached_input_tokens)
    nameless = msgspec.msgpack.encode(Nameless(**fields | {"usage": usage}))
    result: dict[str, float] = {}
    for name, decode, data in (("named", by_name, codec.encode(reply)), ("nameless", by_place, nameless)):
        assert decode(data) == reply
        cpu = time.process_time()
        for _ in range(calls):
            decode(data)
        result[f"{name}_bytes"] = len(data)
        result[f"{name}_us"] = round((time.process_time() - cpu) / calls * 1e6, 2)
    return result


async def puts(path: Path, entries: int, calls: int, durability: str) -> list[dict[str, object]]:
    """So many writers at once; then a search of their scope, so that the index takes all of it in."""
    store, scope = store_at(path, durability=durability), scope_of(min(entries, 10000))
    query = vector_of(1)
    await store.search(scope, query, limit=1, min_similarity=0.99, now=NOW)
    results = []
    for number, writers in enumerate((1, 8, 64)):
        first = 10_000_000 + (os.getpid() * 3 + number) * 10_000
        new = [entry_of(scope, first + i) for i in range(calls // writers * writers)]
        taken: list[float] = []

        async def write(entries: list[Entry], taken: list[float] = taken) -> None:
            for entry in entries:
                started = time.perf_counter()
                await store.put(entry, now=NOW)
                taken.append(time.perf_counter() - started)

        cpu = time.process_time()
        await asyncio.gather(*(write(new[writer::writers]) for writer in range(writers)))
        put_cpu = time.process_time() - cpu
        cpu = time.process_time()
        await store.search(scope, query, limit=1, min_similarity=0.99, now=NOW)  # reads all of them into the index
        index_cpu = time.process_time() - cpu
        for entry in new:
            await store.delete(entry.id)
        row = {"writers": writers, "cpu_us": round(put_cpu / len(new) * 1e6, 1)}
        row["cpu_with_index_us"] = round((put_cpu + index_cpu) / len(new) * 1e6, 1)
        results.append(row | percentiles(taken))
    await store.close()
    return results


async def group_commit(path: Path, entries: int, calls: int) -> dict[str, float]:
    """durability=full: one caller after the other, against 64 at once."""
    store, scope = store_at(path, durability="full"), scope_of(entries)
    new = iter([entry_of(scope, 20_000_000 + os.getpid() * 1000 + i) for i in range(calls + 64 * calls)])
    stored = []

    async def write(count: int) -> None:
        for _ in range(count):
            entry = next(new)
            await store.put(entry, now=NOW)
            stored.append(entry.id)

    started = time.perf_counter()
    await write(calls)
    alone = calls / (time.perf_counter() - started)
    started = time.perf_counter()
    await asyncio.gather(*(write(calls) for _ in range(64)))
    together = 64 * calls / (time.perf_counter() - started)
    await asyncio.gather(*map(store.delete, stored))
    await store.close()
    return {"alone_per_s": round(alone, 1), "together_per_s": round(together, 1), "ratio": round(together / alone, 1)}


def queries(rows: int, calls: int) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    made = []
    for i in random.integers(0, rows, calls):
        near, away = vector_of(int(i)), vector_of(int(i) + 50_000_000)
        away -= (away @ near) * near
        away /= np.linalg.norm(away)
        cosine = random.uniform(0.80, 0.99)
        made.append((cosine * near + np.sqrt(1 - cosine**2) * away).astype(np.float32))
    return made


async def searches(path: Path, rows: int, calls: int, accelerator: str) -> dict[str, object]:
    store, scope = store_at(path, accelerator=accelerator), scope_of(rows)
    asked = queries(rows, calls)
    started = time.perf_counter()
    await store.search(scope, asked[0], limit=5, min_similarity=0.85, now=NOW)
    first = time.perf_counter() - started
    taken, cpu, hits = [], time.process_time(), 0
    for query in asked:
        started = time.perf_counter()
        hits += bool(await store.search(scope, query, limit=5, min_similarity=0.85, now=NOW))
        taken.append(time.perf_counter() - started)
    cpu = time.process_time() - cpu
    await store.close()
    return {
        "rows": rows,
        "first_seconds": round(first, 3),
        "cpu_us": round(cpu / calls * 1e6),
        "hits": hits,
    } | percentiles(taken)


def resident() -> int:
    """Bytes of memory in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def reopen(path: Path, rows: int) -> dict[str, float]:
    """Run in a process of its own: from opening to the first answer by meaning, and the memory that took."""
    query = vector_of(rows // 2)
    before = resident()
    started, cpu = time.perf_counter(), time.process_time()
    store = await SqliteStore.open(path, embedder=EMBEDDER, dim=DIM)
    opened = time.perf_counter() - started
    found = await store.search(scope_of(rows), query, limit=1, min_similarity=0.9, now=NOW)
    seconds = time.perf_counter() - started
    assert len(found) == 1
    held = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    await store.close()
    return {
        "rows": rows,
        "open_ms": round(opened * 1e3, 1),
        "first_answer_seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "resident_bytes_per_entry": round((held - before) / rows),
        "peak_bytes_per_entry": round((peak - before) / rows),
    }


def reopened(path: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--file", str(path), "--entries", str(rows), "--only", "reopen-here"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--file", type=Path, help="made when absent, kept and used again; default: a temporary file")
    parser.add_argument("--only", help="one part: hop decode exact put group search reopen")
    parser.add_argument("--accelerator", default="numpy")
    options = parser.parse_args()
    if options.only == "reopen-here":
        print(json.dumps(asyncio.run(reopen(options.file, options.entries))))
        return
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as folder:
        path = options.file or Path(folder) / "store.db"
        result: dict[str, object] = {"machine": describe(), "entries": options.entries}
        if not path.exists():
            result["make"] = make(path, options.entries)
        n, calls = options.entries, options.calls
        parts = {
            "hop": lambda: asyncio.run(hop(calls, Path(folder))),
            "decode": lambda: decoding(20_000),
            "exact": lambda: asyncio.run(exact(path, n, calls)),
            "put": lambda: asyncio.run(puts(path, n, calls // 2, "normal")),
            "put_full": lambda: asyncio.run(puts(path, n, max(50, calls // 20), "full")),
            "group": lambda: asyncio.run(group_commit(path, n, max(30, calls // 60))),
            "search": lambda: [
                asyncio.run(searches(path, rows, min(calls, 500), options.accelerator)) for rows in sizes(n)
            ],
            "reopen": lambda: reopened(path, n),
        }
        for name, part in parts.items():
            if options.only in (None, name):
                result[name] = part()
                print(f"{name:10} {json.dumps(result[name])}", flush=True)
        result["file_bytes"] = path.stat().st_size
    if options.only is None:
        target = Path(__file__).parent / "results" / "store.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
