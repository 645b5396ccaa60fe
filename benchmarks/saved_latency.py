"""How much of the wait a hit saves, end to end: MemoryDB's dialect a millisecond away, Titan and Converse as far as is stated.

    python benchmarks/saved_latency.py --hits 400

Four processes: a Valkey with vector search; a relay before it that holds every request for a millisecond more; the
stand-in for Bedrock, which answers Titan after ``--titan`` seconds and Converse after ``--model`` seconds (4.35 s is the
mean of the published table, docs/aws-table.md; that of Titan is our own statement); and this one, with real botocore.

A time runs from the call of ``cache.answer`` to its reply. ``none`` is the model without a cache. ``saved`` is one minus
the mean time of hits over the stated time of the model alone, which is less than a call takes; ``saved_p99`` the same with the 99th percentile of hits. What
a hit by meaning takes beside Titan is in ``beside_titan_ms`` (median, less the stated latency).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

import machine
from yamabiko import Policy, Request, Settings, open_cache
from yamabiko.build import make_generator
from yamabiko.settings import BedrockSettings, EmbedderSettings, GeneratorSettings
from yamabiko.testing.bedrock import BedrockStandIn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from engines.valkey import Valkey

MODEL = "amazon.nova-lite-v1:0"
STORED = 200
SYLLABLES = ["ka", "mo", "ri", "ten", "su", "lo", "ber", "fin", "gar", "wel", "dro", "pex"]
POLICY = Policy(max_error_rate=None, min_similarity=0.85)


def question(number: int, *, again: bool = False) -> str:
    """A question that is like no other; ``again``: in other words, which are near."""
    chance = random.Random(number)
    words = " ".join("".join(chance.choices(SYLLABLES, k=3)) for _ in range(6))
    return f"Could you tell me what is meant by {words}" if again else f"What is meant by {words}"


async def relay(port: int, seconds: float) -> None:
    """Carries bytes to a server on this machine, each request ``seconds`` later than it came; tells its own port."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        loop = asyncio.get_running_loop()

        async def answers() -> None:
            while data := await there.read(1 << 16):
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(answers())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                loop.call_later(seconds, back.write, data)
        back.close()
        await answering

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def stand_in(titan: float, model: float) -> None:
    """Serves until it is ended; tells its URL."""
    with BedrockStandIn(latency_seconds={"InvokeModel": titan, "Converse": model}) as served:
        print(served.url, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def beside(*arguments: object):
    """Another process of this script; what it tells on its first line."""
    command = [sys.executable, __file__, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


async def pinged(port: int, count: int = 300) -> float:
    """Milliseconds of a round trip, median."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(count):
        started = time.perf_counter()
        writer.write(b"PING\r\n")
        await reader.readline()
        took.append((time.perf_counter() - started) * 1e3)
    writer.close()
    return statistics.median(took)


def settings_of(url: str, dim: int) -> Settings:
    return Settings(
        embedder=EmbedderSettings(kind="titan", dim=dim),
        bedrock=BedrockSettings(region="us-east-1", endpoint_url=url),
        generator=GeneratorSettings(kind="converse", model=MODEL),
    )


async def timed(calls) -> list[float]:
    """Milliseconds of each call, one after the other."""
    took = []
    for call in calls:
        started = time.perf_counter()
        await call()
        took.append((time.perf_counter() - started) * 1e3)
    return took


async def measured(settings: Settings, url: str, hits: int, calls: int) -> dict[str, list[float]]:
    """Milliseconds without a cache, of exact hits and of hits by meaning; arms take turns."""
    told = []
    async with (
        make_generator(settings) as model,
        open_cache(url, settings=settings, policy=POLICY, hooks=[told.append]) as cache,
    ):
        asking = [
            [partial(model, Request(question(10_000 + at + more))) for at in range(0, calls, 10)] for more in range(10)
        ]
        none = await asyncio.gather(*(timed(some) for some in asking))
        for at in range(0, STORED, 25):
            await asyncio.gather(*(cache.answer(question(number), model) for number in range(at, at + 25)))
        await cache.drain()
        took = {"none": [one for some in none for one in some], "exact": [], "semantic": []}
        chance = random.Random(1)
        for _ in range(hits // 20):
            for arm, again in (("exact", False), ("semantic", True)):
                texts = [question(chance.randrange(STORED), again=again) for _ in range(20)]
                told.clear()
                took[arm] += await timed([partial(cache.answer, text, model) for text in texts])
                await asyncio.sleep(0)
                found = [(event.outcome, event.tier) for event in told if event.call == "answer"]
                assert found == [("hit", arm)] * 20, found
        return took


def figures(took: dict[str, list[float]], titan: float, model: float) -> dict[str, dict[str, float]]:
    """Percentiles in milliseconds, and the shares that are saved."""
    table = {}
    for arm, values in took.items():
        p50, p95, p99 = (float(value) for value in np.percentile(values, [50, 95, 99]))
        row = {"mean_ms": statistics.fmean(values), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "count": len(values)}
        if arm != "none":
            row |= {"saved": 1 - row["mean_ms"] / model / 1e3, "saved_p99": 1 - p99 / model / 1e3}
        if arm == "semantic":
            row["beside_titan_ms"] = p50 - titan * 1e3
        table[arm] = {name: round(value, 4) for name, value in row.items()}
    return table


def run(arguments: argparse.Namespace) -> None:
    results = {}
    with (
        tempfile.TemporaryDirectory(prefix="yamabiko-bench-") as folder,
        Valkey(Path(folder) / "engine") as engine,
        beside("--relay", engine.port, "--trip", arguments.trip) as port,
    ):
        direct, through = (asyncio.run(pinged(int(one))) for one in (engine.port, port))
        print(f"a round trip: {direct:.2f} ms, through the relay {through:.2f} ms")
        for titan in arguments.titan:
            with beside("--stand-in", titan, arguments.model) as url:
                settings = settings_of(url, arguments.dim)
                name = f"valkey://127.0.0.1:{port}?name=saved{round(titan * 1e3)}"
                took = asyncio.run(measured(settings, name, arguments.hits, arguments.calls))
            table = figures(took, titan, arguments.model)
            raw = {arm: [round(one, 3) for one in values] for arm, values in took.items()}
            results[f"titan_{titan}"] = {"table": table, "raw_ms": raw}
            print(f"Titan {titan * 1e3:.0f} ms, model {arguments.model} s")
            for arm, row in table.items():
                print(f"  {arm:9}", "  ".join(f"{key} {value:,.4g}" for key, value in row.items()))
    if not arguments.dry:
        given = {name: getattr(arguments, name) for name in ("hits", "calls", "titan", "model", "trip", "dim")}
        trips = {"direct_ms": round(direct, 3), "relayed_ms": round(through, 3)}
        machine.write("saved_latency", {**given, "stored": STORED, "round_trip": trips, "arms": results})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=400, help="of each kind")
    parser.add_argument("--calls", type=int, default=50, help="of the model without a cache, ten at a time")
    parser.add_argument(
        "--titan", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="seconds that an embedding takes"
    )
    parser.add_argument("--model", type=float, default=4.35, help="seconds that an answer takes")
    parser.add_argument("--trip", type=float, default=0.001, help="seconds added to a round trip to the store")
    parser.add_argument("--dim", type=int, default=1024, help="of the vectors")
    parser.add_argument("--dry", action="store_true", help="write no results")
    parser.add_argument("--relay", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stand-in", type=float, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.relay is not None:
        asyncio.run(relay(arguments.relay, arguments.trip))
    elif arguments.stand_in is not None:
        stand_in(*arguments.stand_in)
    else:
        os.environ.update(
            AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="none", AWS_EC2_METADATA_DISABLED="true"
        )
        run(arguments)


if __name__ == "__main__":
    main()
