"""A shared cache under load: many clients, tenants of uneven size, latencies, decisions and isolation.

    python benchmarks/memorydb_load.py
    python benchmarks/memorydb_load.py --dim 384 1024          # some ten minutes, most of it filling
    python benchmarks/memorydb_load.py --quick

A local server (Valkey with RediSearch) holds ``--entries`` answers of ``--tenants`` tenants; tenant n has a share of
about 1/(n+1), so that both the engine's ways of filtering are used. Every tenth question was also asked, word by word,
by another tenant, who got another answer.

Decisions: queries at cosines of 0.78 to 0.995 from a stored vector of the same tenant or of another one, and fresh
draws; right is what brute force over the tenant's vectors says at 0.85 and 0.90. Isolation: whatever a search returns,
down to a similarity of 0.75, must be the tenant's own, in scope, question and answer; a look-up by key under another
tenant's scope must find nothing. Load: ``--clients`` callers in ``--processes`` processes, each one after the other, ask
the whole cache (``Cache.lookup``, ``Cache.remember``; vectors are made beforehand): wall time per call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import machine
from remote import vectors
from remote.systems import MODEL, Precomputed, entry_of, key_of_request, open_store
from yamabiko import Cache, Hit, Miss, Policy, Request, open_cache
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.types import Entry, Scope

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey

THRESHOLDS = (0.85, 0.90)
RECALL_BAR = 0.995
EDGE = 2e-6  # float32: so near the threshold either verdict is right
FILLER = "Open the settings, choose Security and follow the link. " * 36
KINDS = {"exact hit": 0.4, "semantic hit": 0.25, "miss": 0.2, "write": 0.15}


class World:
    """Which tenant asked what; the same in every process."""

    def __init__(self, made: np.ndarray, tenants: int) -> None:
        self.vectors, self.tenants = made, tenants
        weights = 1 / np.arange(1, tenants + 1)
        self.tenant = np.random.default_rng(5).choice(tenants, len(made), p=weights / weights.sum())
        self.twin = np.arange(len(made))
        self.twin[9::10] -= 1
        self.tenant[9::10] = (self.tenant[self.twin[9::10]] + 1) % tenants

    @classmethod
    def draw(cls, rows: int, dim: int, tenants: int) -> World:
        made = vectors.Mixture(dim, rows).draw(rows)
        made[9::10] = made[8::10][: len(made[9::10])]
        return cls(made, tenants)

    def request(self, row: int, *, other: int | None = None) -> Request:
        tenant = self.tenant[row] if other is None else other
        return Request(
            f"How do I change setting number {self.twin[row]} of my account?", model=MODEL, tenant=f"t{tenant}"
        )

    def answer(self, row: int) -> str:
        return f"t{self.tenant[row]} r{row}: {FILLER}"

    def entry(self, row: int) -> Entry:
        return entry_of(self.request(row), self.vectors[row], self.answer(row))


async def fill(port: int, world: World) -> dict[str, Any]:
    store = await open_store(port, world.vectors.shape[1])
    started = time.perf_counter()
    for at in range(0, len(world.vectors), 256):
        rows = range(at, min(at + 256, len(world.vectors)))
        entries = [world.entry(row) for row in rows]
        await asyncio.gather(*(store.put(entry, now=entry.created) for entry in entries))
    seconds = time.perf_counter() - started
    stats = await store.stats()
    await store.close()
    assert stats.entries == len(world.vectors)
    return {"seconds": round(seconds, 1), "per_second": round(len(world.vectors) / seconds), "scopes": stats.scopes}


def queries(world: World, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The asking tenants (uniform) and the vectors: half near an own row, three tenths near another's, the rest new."""
    chance = np.random.default_rng(11)
    asking = chance.integers(0, world.tenants, count)
    rows = chance.integers(0, len(world.vectors), count)
    for i in range(count // 2):
        rows[i] = chance.choice(np.flatnonzero(world.tenant == asking[i]))
    asked = vectors.tilted(world.vectors[rows], chance.uniform(0.78, 0.995, count), chance)
    fresh = count // 5
    asked[-fresh:] = vectors.Mixture(asked.shape[1], len(world.vectors)).draw(len(world.vectors) + fresh)[-fresh:]
    return asking, asked


def scope_of(tenant: int) -> Scope:
    return key_of_request(Request("How do I change a setting?", model=MODEL, tenant=f"t{tenant}")).scope


async def decisions(port: int, world: World, count: int) -> dict[str, Any]:
    """Hits found of those that brute force finds, at each threshold; and whatever came from elsewhere."""
    asking, asked = queries(world, count)
    store = await open_store(port, world.vectors.shape[1])
    kept = world.vectors.astype(np.float16).astype(np.float32)  # as every store keeps them
    exact = np.empty(count)
    for tenant in range(world.tenants):
        mine = np.flatnonzero(asking == tenant)
        exact[mine] = vectors.nearest(kept[world.tenant == tenant], asked[mine])[1]
    result: dict[str, Any] = {"queries": count}
    for threshold in THRESHOLDS:
        hits = found = false = 0
        furthest = 0.0
        for tenant, vector, best in zip(asking, asked, exact, strict=True):
            scope = scope_of(tenant)
            candidates = await store.search(scope, vector, limit=1, min_similarity=threshold, now=time.time())
            if abs(best - threshold) < EDGE:
                continue
            hits += best >= threshold
            found += bool(candidates) and best >= threshold
            false += bool(candidates) and best < threshold
            if candidates:
                furthest = max(furthest, abs(candidates[0].similarity - float(best)))
        recall = {
            "true_hits": int(hits),
            "found": int(found),
            "recall": round(int(found) / int(hits), 5),
            "false_hits": int(false),
        }
        result[f"at_{threshold:.2f}"] = recall | {"largest_shortfall": round(furthest, 6)}
    result["isolation"] = await isolation(store, world, asking, asked)
    await store.close()
    return result


async def isolation(store: MemoryDBStore, world: World, asking: np.ndarray, asked: np.ndarray) -> dict[str, int]:
    """How many candidates and entries were looked at, and how many of them were another tenant's."""
    candidates = foreign = keys = leaked = 0
    for tenant, vector in zip(asking, asked, strict=True):
        scope = scope_of(tenant)
        for candidate in await store.search(scope, vector, limit=10, min_similarity=0.75, now=time.time()):
            candidates += 1
            own = candidate.entry.scope.digest == scope.digest
            foreign += not (own and candidate.entry.reply.text.startswith(f"t{tenant} "))
    for row in range(9, min(len(world.vectors), 10 * len(asked)), 10):
        twin = world.twin[row]
        theirs, mine = (key_of_request(world.request(int(one))) for one in (twin, row))
        for key, owner in (
            (mine, row),
            (replace(theirs, scope=mine.scope), None),
            (replace(mine, scope=theirs.scope), None),
        ):
            entry = await store.get(key)
            keys += 1
            leaked += (entry is not None) if owner is None else entry is None or entry.reply.text != world.answer(owner)
    return {"candidates": candidates, "foreign_candidates": foreign, "keys": keys, "foreign_entries": leaked}


class Caller:
    """Everything that the callers of one process ask, made beforehand."""

    def __init__(self, cache: Cache, embedder: Precomputed, world: World, process: int, calls: int) -> None:
        self._cache, self._embedder, self._world = cache, embedder, world
        chance = np.random.default_rng((13, process))
        self.rows = chance.integers(0, len(world.vectors), calls)
        self.kinds = chance.choice(list(KINDS), calls, p=list(KINDS.values()))
        near = vectors.tilted(world.vectors[self.rows], 0.95, chance)
        mixture = vectors.Mixture(near.shape[1], len(world.vectors))
        mixture.chance = chance
        away = mixture.draw_apart(calls)
        self.texts = [f"How can I change setting {process}.{i} of {row}?" for i, row in enumerate(self.rows)]
        new = {"semantic hit": near, "miss": away, "write": away}
        embedder.vectors.update(
            (text, new[kind][i])
            for i, (text, kind) in enumerate(zip(self.texts, self.kinds, strict=True))
            if kind in new
        )

    async def call(self, i: int) -> tuple[str, float, str]:
        """What it turned out to be, seconds, and what was wrong with it."""
        row, kind = int(self.rows[i]), str(self.kinds[i])
        tenant = f"t{self._world.tenant[row]}"
        request = (
            self._world.request(row) if kind == "exact hit" else Request(self.texts[i], model=MODEL, tenant=tenant)
        )
        if kind == "write":
            miss = await self._cache.lookup(request)
            if not isinstance(miss, Miss):
                return kind, 0.0, "WRONG"
            started = time.perf_counter()
            entry = await self._cache.remember(miss, f"{tenant} new: {FILLER}")
            return kind, time.perf_counter() - started, "" if entry else f"not stored ({miss.reason})"
        started = time.perf_counter()
        outcome = await self._cache.lookup(request)
        seconds = time.perf_counter() - started
        if isinstance(outcome, Miss):
            return kind, seconds, "" if kind == "miss" else str(outcome.reason)
        text = outcome.reply.text
        right = text == self._world.answer(row) if kind == "exact hit" else text.startswith(f"{tenant} ")
        return kind, seconds, "" if right and kind != "miss" and isinstance(outcome, Hit) else "WRONG"


async def work(options: argparse.Namespace) -> dict[str, Any]:
    """One process of callers: latencies and faults by kind."""
    world = World(np.load(options.folder / "vectors.npy", mmap_mode="r"), options.tenants)
    embedder = Precomputed(world.vectors.shape[1])
    cache = await open_cache(
        store=await open_store(options.port, embedder.dim),
        embedder=embedder,
        policy=Policy(max_error_rate=None, min_similarity=0.9),
    )
    calls = int(options.seconds * 4000) + 200
    caller = Caller(cache, embedder, world, options.process, calls)
    for i in range(100):
        await caller.call(i)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    faults: dict[str, int] = {}
    numbers = iter(range(100, calls))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    ends = time.perf_counter() + options.seconds

    async def client() -> None:
        for i in numbers:
            kind, seconds, fault = await caller.call(i)
            taken[kind].append(seconds)
            if fault:
                faults[f"{kind}: {fault}"] = faults.get(f"{kind}: {fault}", 0) + 1
            if time.perf_counter() > ends:
                return

    cpu = time.process_time()
    await asyncio.gather(*(client() for _ in range(options.clients)))
    cpu = time.process_time() - cpu
    await cache.close()
    return {"taken": taken, "faults": faults, "cpu_seconds": cpu}


def load(port: int, folder: Path, options: argparse.Namespace, clients: int, processes: int) -> dict[str, Any]:
    arguments = ["--worker", "--port", port, "--folder", folder, "--tenants", options.tenants]
    arguments += ["--clients", clients // processes, "--seconds", options.seconds]
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments), "--process", str(100 * clients + number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [json.loads(worker.communicate()[0]) for worker in workers]
    result: dict[str, Any] = {"clients": clients, "processes": processes, "faults": {}}
    for kind in KINDS:
        taken = [seconds * 1e3 for one in said for seconds in one["taken"][kind]]
        result[kind] = {"calls": len(taken), **{f"{p}_ms": ms for p, ms in machine.percentiles(taken, 2).items()}}
    for one in said:
        for fault, count in one["faults"].items():
            result["faults"][fault] = result["faults"].get(fault, 0) + count
    calls = sum(result[kind]["calls"] for kind in KINDS)
    result["calls_per_second"] = round(calls / options.seconds)
    result["client_cpu_us_per_call"] = round(sum(one["cpu_seconds"] for one in said) / calls * 1e6)
    return result


def show_load(result: dict[str, Any]) -> None:
    print(
        f"  {result['clients']} clients in {result['processes']} processes: {result['calls_per_second']:,} calls/s",
        end="",
    )
    print(f", {result['client_cpu_us_per_call']} us of client CPU each; not as meant: {result['faults'] or 'none'}")
    for kind in KINDS:
        figures = result[kind]
        print(f"    {kind:13} {figures['calls']:7,} calls   P50 {figures['p50_ms']:7.2f} ms", end="")
        print(f"   P95 {figures['p95_ms']:7.2f} ms   P99 {figures['p99_ms']:7.2f} ms")


def measure(dim: int, options: argparse.Namespace) -> dict[str, Any]:
    world = World.draw(options.entries, dim, options.tenants)
    with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as name, Valkey(Path(name) / "engine") as engine:
        folder = Path(name)
        np.save(folder / "vectors.npy", world.vectors)
        filled = asyncio.run(fill(engine.port, world))
        memory = int(engine.info("memory")["used_memory"])
        filled["server_bytes_per_entry"] = round(memory / options.entries)
        print(f"{options.entries:,} entries of {dim} dimensions, {options.tenants} tenants: {filled}", flush=True)
        decided = asyncio.run(decisions(engine.port, world, options.queries))
        for what, figures in decided.items():
            print(f"  {what}: {figures}", flush=True)
        loads = []
        for clients, processes in ((1, 1), (options.clients, options.processes)):
            loads.append(load(engine.port, folder, options, clients, processes))
            show_load(loads[-1])
    return {"dim": dim, "entries": options.entries, "filled": filled, "decisions": decided, "load": loads}


def failed(result: dict[str, Any]) -> list[str]:
    decided = result["decisions"]
    faults = [f"recall at {t}" for t in THRESHOLDS if decided[f"at_{t:.2f}"]["recall"] < RECALL_BAR]
    faults += [f"false hits at {t}" for t in THRESHOLDS if decided[f"at_{t:.2f}"]["false_hits"]]
    faults += [name for name in ("foreign_candidates", "foreign_entries") if decided["isolation"][name]]
    return faults + [fault for one in result["load"] for fault in one["faults"] if "WRONG" in fault]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--dim", type=int, nargs="+", default=[384])
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load")
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes no results")
    for name, kind in (("--port", int), ("--folder", Path), ("--process", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(asyncio.run(work(options))))
        return
    if options.quick:
        options.entries, options.queries, options.seconds = 3_000, 300, 2.0
    threadpool_limits(1)
    results = [measure(dim, options) for dim in options.dim]
    faults = {f"{result['dim']} dimensions": failed(result) for result in results}
    print("not met:", {name: listed for name, listed in faults.items() if listed} or "nothing")
    if not options.quick:
        earlier: Any = machine.read("memorydb_load").get("results", [])
        kept = [result for result in earlier if result["dim"] not in options.dim]
        print("written:", machine.write("memorydb_load", {"results": [*kept, *results]}))
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
