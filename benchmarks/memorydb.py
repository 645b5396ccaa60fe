"""The MemoryDB store against bare commands, and the whole cache against other caches, on one local server.

    python benchmarks/memorydb.py --entries 10000
    python benchmarks/memorydb.py --entries 100000 --dim 1024 --rounds 5
    python benchmarks/memorydb.py --quick

Everybody gets the same server (Valkey with RediSearch), rows, vectors, client library and protocol; vectors are made
beforehand, so that embedding costs nobody anything. Rounds alternate between the systems, so that whatever else the
machine does hits all of them. Times are wall time per call as the caller sees it; CPU is that of the client's process,
all threads. A figure is the median of the rounds' medians (or 95th percentiles); a ratio is the median of the rounds'
ratios. Round trips are counted by a relay, in calls that are not timed.

``exact``: a stored question asked again. ``near``: a question at a cosine of 0.95 from a stored one. ``miss``: one that
is near nothing. ``write``: a new answer. A bare ``exact`` is a GET, a bare ``near`` is FT.SEARCH KNN 1 within the same
scope and HMGET, a bare ``write`` is MULTI, HSET, PEXPIREAT, EXEC, each with the same bytes and on the same index.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import machine
from remote import systems, vectors
from remote.relay import Relay
from remote.systems import Bare, OurCache, OurStore, Row, System

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey

BARS = {"exact": 1.5, "near": 1.4, "write": 1.5}
NEAR = 0.95
WORDS = [
    f"{a}{b}{c}" for a in ("set", "op", "re", "con", "tra") for b in "aeiou" for c in ("n", "ting", "st", "ver", "l")
]


def text_of(number: int, *, near: bool = False) -> str:
    return f"How {'can' if near else 'do'} I change setting number {number} of my account?"


def rows_of(numbers: Sequence[int], made: np.ndarray, *, near: bool = False) -> list[Row]:
    """Rows whose answers of some 2 KB depend on the number only."""
    rows = []
    for number, vector in zip(numbers, made, strict=True):
        words = np.random.default_rng(number).integers(0, len(WORDS), 380)
        answer = f"Answer {number}: " + " ".join(WORDS[word] for word in words)
        rows.append(Row(text_of(number, near=near), vector, vector.tolist(), answer))
    return rows


class Questions:
    """What is stored, and endless rows to ask and to write; every ``near`` has one right answer, every ``miss`` none."""

    def __init__(self, entries: int, dim: int, data: Path | None, cache: Path) -> None:
        self._mixture = vectors.Mixture(dim, entries)
        self._chance = np.random.default_rng(2)
        made = vectors.real(data, cache, entries, dim) if data else self._mixture.draw(entries)
        self.stored = rows_of(range(entries), made)
        self._vectors = made
        self._next = entries

    def take(self, operation: str, count: int) -> list[Row]:
        if operation in ("write", "miss"):
            numbers = range(self._next, self._next + count)
            self._next = numbers.stop
            return rows_of(numbers, self._mixture.draw_apart(count))
        chosen = self._chance.integers(0, len(self.stored), count + count // 4 + 8)
        if operation == "exact":
            return [self.stored[i] for i in chosen[:count]]
        asked = vectors.tilted(self._vectors[chosen], NEAR, self._chance)
        best, _ = vectors.nearest(self._vectors, asked)
        kept = np.flatnonzero(best == chosen)[:count]
        assert len(kept) == count
        return rows_of(chosen[kept].tolist(), asked[kept], near=True)


def right(operation: str, row: Row, answer: Any) -> bool:
    return answer is None if operation == "miss" else answer == row.answer


async def one_by_one(system: System, call: Callable[[Any], Any], asked: Sequence[Any]) -> tuple[list[float], list[Any]]:
    times, answers = [], []
    for one in asked:
        started = time.perf_counter()
        answer = await call(one) if system.asynchronous else call(one)
        times.append(time.perf_counter() - started)
        answers.append(answer)
    return times, answers


async def together(
    system: System, call: Callable[[Any], Any], asked: Sequence[Any], clients: int
) -> tuple[list[float], list[Any]]:
    """So many callers at once, each one after the other: tasks, or threads where the system is synchronous."""
    times, answers = [0.0] * len(asked), [None] * len(asked)

    async def caller(first: int) -> None:
        for i in range(first, len(asked), clients):
            started = time.perf_counter()
            answers[i] = await call(asked[i])
            times[i] = time.perf_counter() - started

    def thread(first: int) -> None:
        for i in range(first, len(asked), clients):
            started = time.perf_counter()
            answers[i] = call(asked[i])
            times[i] = time.perf_counter() - started

    if system.asynchronous:
        await asyncio.gather(*map(caller, range(clients)))
    else:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(thread, range(clients)))
    return times, answers


async def measure(system: System, operation: str, rows: Sequence[Row], clients: int) -> dict[str, float]:
    """One round of one system: microseconds, and how many answers were wrong."""
    call, asked = system.calls[operation], await system.prepare(operation, rows)
    cpu, wall = time.process_time(), time.perf_counter()
    if clients == 1:
        times, answers = await one_by_one(system, call, asked)
    else:
        times, answers = await together(system, call, asked, clients)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    p50, p95 = np.percentile(times, [50, 95]) * 1e6
    wrong = (
        0 if isinstance(system, Bare) else sum(not right(operation, *pair) for pair in zip(rows, answers, strict=True))
    )
    if isinstance(system, Bare) and operation == "write":
        await system.forget(rows)
    figures = {"p50_us": float(p50), "p95_us": float(p95), "cpu_us": cpu / len(rows) * 1e6, "wrong": wrong}
    return figures | {"per_second": len(rows) / wall}


class Table:
    """Rounds by (system, operation, clients)."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, str, int], list[dict[str, float]]] = {}

    def add(self, system: str, operation: str, clients: int, figures: dict[str, float]) -> None:
        self._rounds.setdefault((system, operation, clients), []).append(figures)

    def figure(self, key: tuple[str, str, int], name: str) -> float:
        return statistics.median(figures[name] for figures in self._rounds[key])

    def ratio(self, above: tuple[str, str, int], below: tuple[str, str, int], name: str = "p50_us") -> float:
        pairs = zip(self._rounds[above], self._rounds[below], strict=True)
        return statistics.median(a[name] / b[name] for a, b in pairs)

    def __contains__(self, key: object) -> bool:
        return key in self._rounds

    def raw(self) -> list[dict[str, Any]]:
        return [
            {"system": system, "operation": operation, "clients": clients, "rounds": rounds}
            for (system, operation, clients), rounds in self._rounds.items()
        ]

    def wrong(self) -> dict[str, int]:
        """How many wrong answers, where there were any."""
        counted: dict[str, int] = {}
        for (system, operation, _), rounds in self._rounds.items():
            if count := sum(int(figures["wrong"]) for figures in rounds):
                counted[f"{system}: {operation}"] = counted.get(f"{system}: {operation}", 0) + count
        return counted


async def compare(everybody: list[System], questions: Questions, options: argparse.Namespace) -> Table:
    """All rounds, systems and operations in turn; the first round only warms up."""
    table = Table()
    for number in range(options.rounds + 1):
        for clients in (1, options.clients):
            calls = options.calls if clients == 1 else options.calls * 4
            for operation in ("exact", "near", "near_any", "miss", "write"):
                shared = None if operation == "write" else questions.take(operation.removesuffix("_any"), calls)
                able = [system for system in everybody if operation in system.calls]
                turn = number % max(1, len(able))
                for system in able[turn:] + able[:turn]:  # nobody is always the first
                    figures = await measure(system, operation, shared or questions.take("write", calls), clients)
                    if number:
                        table.add(system.name, operation, clients, figures)
    return table


async def round_trips(everybody: list[System], relay: Relay, questions: Questions, calls: int = 20) -> dict[str, dict]:
    """Round trips and commands of one call, for systems that are connected through the relay."""
    counted: dict[str, dict] = {}
    for system in everybody:
        for operation, call in system.calls.items():
            rows = questions.take(operation.removesuffix("_any"), calls + 5)
            asked = await system.prepare(operation, rows)
            for number, one in enumerate(asked):
                if number == 5:  # the connections stand, scripts are loaded
                    await asyncio.sleep(0.2)
                    relay.reset()
                _ = await call(one) if system.asynchronous else call(one)
            names = sorted(set(relay.commands))
            figures = {
                "round_trips": relay.round_trips / calls,
                "commands": len(relay.commands) / calls,
                "names": names,
            }
            counted.setdefault(system.name, {})[operation] = figures
            if isinstance(system, Bare) and operation == "write":
                await system.forget(rows)
    return counted


def show_bars(table: Table) -> dict[str, dict[str, float]]:
    ours, bare = OurStore.name, Bare.name
    print(f"\n{'store against bare commands':30} {'ours':>8} {'bare':>8}  {'ratio':>6} {'p95':>6} {'CPU':>6}   bar")
    ratios: dict[str, dict[str, float]] = {}
    for operation in ("exact", "near", "near_any", "write"):
        mine, theirs = (ours, operation.removesuffix("_any"), 1), (bare, operation, 1)
        ratios[operation] = {name: round(table.ratio(mine, theirs, name), 3) for name in ("p50_us", "p95_us", "cpu_us")}
        bar = BARS.get(operation)
        says = f"<= {bar}  {'met' if ratios[operation]['p50_us'] <= bar else 'MISSED'}" if bar else "(no scope filter)"
        figures = [table.figure(key, "p50_us") for key in (mine, theirs)]
        print(f"{operation + ', us':30} {figures[0]:8.0f} {figures[1]:8.0f}", end="  ")
        print(" ".join(f"{ratios[operation][name]:6.2f}" for name in ratios[operation]), " ", says)
    return ratios


def show_peers(table: Table, everybody: list[System], trips: dict, clients: int) -> list[dict[str, Any]]:
    """How many times as long as we the others take."""
    ahead = []
    for at_once in (1, clients):
        print(
            f"\n{f'whole cache, {at_once} at once':30} {'p50 us':>8} {'p95':>8} {'CPU':>8} {'per s':>8}  {'round trips':>11}"
        )
        for operation in ("exact", "near", "miss", "write"):
            mine = (OurCache.name, operation, at_once)
            for system in everybody:
                key = (system.name, operation, at_once)
                if isinstance(system, OurStore | Bare) or key not in table:
                    continue
                figures = [table.figure(key, name) for name in ("p50_us", "p95_us", "cpu_us", "per_second")]
                there = f"{trips[system.name][operation]['round_trips']:11.1f}"
                print(f"{operation + ' ' + system.name:30} " + " ".join(f"{f:8.0f}" for f in figures), there, end="  ")
                times = {name: round(table.ratio(key, mine, name), 2) for name in ("p50_us", "p95_us", "cpu_us")}
                if key != mine:
                    ahead.append({"peer": system.name, "operation": operation, "clients": at_once, "times": times})
                    word = "ahead" if times["p50_us"] > 1 else "BEHIND"
                    print(
                        f"we are {times['p50_us']:.1f}x {word} (p95 {times['p95_us']:.1f}x, CPU {times['cpu_us']:.1f}x)",
                        end="",
                    )
                print()
    return ahead


async def connect(port: int, dim: int, stored: Row) -> tuple[list[System], list[str]]:
    ours: list[System] = [OurStore(await systems.open_store(port, dim)), await OurCache.open(port, dim)]
    others, left_out = systems.peers(port, dim)
    return [*ours, await Bare.open(port, dim, stored), *others], left_out


async def run(port: int, entries: int, options: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    questions = Questions(entries, options.dim, options.data, options.cache)
    first = OurStore(await systems.open_store(port, options.dim))
    await first.fill(questions.stored[:1])  # the bare commands copy its bytes
    await first.close()
    everybody, left_out = await connect(port, options.dim, questions.stored[0])
    print(*left_out, sep="\n", end="\n" if left_out else "")
    filled = {"vectors": round(time.perf_counter() - started, 1)}
    for system in everybody:
        started = time.perf_counter()
        await system.fill(questions.stored)
        filled[system.name] = round(time.perf_counter() - started, 1)
    print(f"{entries:,} entries of {options.dim} dimensions; seconds to fill:", filled, flush=True)
    with Relay(port) as relay:
        relayed, _ = await connect(relay.port, options.dim, questions.stored[0])
        trips = await round_trips(relayed, relay, questions)
        for system in relayed:
            await system.close()
    table = await compare(everybody, questions, options)
    bars, ahead = show_bars(table), show_peers(table, everybody, trips, options.clients)
    print("wrong answers:", table.wrong() or "none")
    for system in everybody:
        await system.close()
    figures = {"entries": entries, "dim": options.dim, "fill_seconds": filled, "left_out": left_out}
    return figures | {
        "against_bare": bars,
        "against_peers": ahead,
        "round_trips": trips,
        "wrong": table.wrong(),
        "raw": table.raw(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=80, help="of each kind in a round; four times as many at once")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--data", type=Path, help="pairs of real questions to embed, instead of a seeded mixture")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()), help="where their vectors are kept")
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes no results")
    options = parser.parse_args()
    if options.quick:
        options.entries, options.rounds, options.calls, options.data = [1_000], 1, 25, None
    threadpool_limits(1)  # threads of a matrix product that wait for more would count as the client's CPU
    results = []
    for entries in options.entries:
        with tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as folder, Valkey(Path(folder)) as engine:
            results.append(asyncio.run(run(engine.port, entries, options)))
    if not options.quick:
        print("written:", machine.write("memorydb", {"results": results}))


if __name__ == "__main__":
    main()
