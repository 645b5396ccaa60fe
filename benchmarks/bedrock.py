"""What calls of Bedrock cost whoever is served from the cache meanwhile.

    python benchmarks/bedrock.py --rounds 6

A server in a process of its own answers Converse after a stated latency, give or take half of it. Fifty callers ask it without pause while hits
are served: exact and by meaning in turn, from an SQLite file, in one event loop. Arms, interleaved in every round:

``none``         no calls: what hits take by themselves
``threads``      yamabiko.aws.bedrock.BedrockRuntime: botocore in threads of its own
``aiobotocore``  the same calls through aiobotocore on the loop, where it is installed (it pins botocore)

``paced``: hits come at a steady rate, and a hit's time runs from when it was due. ``busy``: the next one follows at once,
so that the loop never rests. ``call_cpu_ms``: CPU time of the process per call, with nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

import machine
from yamabiko import Policy, open_cache
from yamabiko.aws.bedrock import BedrockRuntime
from yamabiko.aws.bedrock_calls import Access
from yamabiko.testing import FakeEmbedder

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
CALLERS = 50
ANSWER = "Open the settings, choose Security and follow the link. " * 36
REPLY = json.dumps(
    {
        "metrics": {"latencyMs": 1},
        "output": {"message": {"content": [{"text": ANSWER}], "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 300, "outputTokens": 500, "totalTokens": 800},
    }
).encode()
REQUEST = {
    "modelId": MODEL,
    "system": [{"text": "You answer questions about accounts. " * 20}],
    "messages": [{"role": "user", "content": [{"text": "How do I reset my password? " * 4}]}],
    "inferenceConfig": {"maxTokens": 500},
}


async def serve(latency):
    """Answers every request after half to one and a half of ``latency`` seconds; tells its port on standard output."""

    async def answer(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
                await reader.readexactly(next(int(value) for name, _, value in lines if name == b"content-length"))
                await asyncio.sleep(latency * random.uniform(0.5, 1.5))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY)
                )
                writer.write(REPLY)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def serving(latency):
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(latency)], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.asynccontextmanager
async def client(arm, url):
    """A coroutine function that makes one call."""
    if arm == "none":
        yield None
    elif arm == "threads":
        async with BedrockRuntime(Access(region="us-east-1", endpoint_url=url, limit=CALLERS)) as runtime:
            yield lambda: runtime.converse(REQUEST)
    else:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        config = AioConfig(max_pool_connections=CALLERS, retries={"mode": "standard"})
        made = get_session().create_client("bedrock-runtime", "us-east-1", endpoint_url=url, config=config)
        async with made as runtime:
            yield lambda: runtime.converse(**REQUEST)


async def hits(cache, seconds, every):
    """Milliseconds that each hit took: at a steady rate (``every`` seconds), or without pause where that is 0."""
    took, started, asked = [], time.perf_counter(), 0
    while (now := time.perf_counter()) - started < seconds:
        due = now
        if every:
            due = started + asked * every
            await asyncio.sleep(due - now)
        await cache.lookup(f"how do I change setting {asked % 200} of my account" + (" please" if asked % 2 else ""))
        took.append((time.perf_counter() - due) * 1e3)
        asked += 1
        if not every:
            await asyncio.sleep(0)
    return took


async def measured(cache, arm, url, seconds, every):
    """P50 and P99 of hits in milliseconds, and calls a second."""
    async with client(arm, url) as call:
        made, going = 0, True

        async def caller():
            nonlocal made
            while going:
                await call()
                made += 1

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS if call is not None else 0)]
        await asyncio.sleep(1.0)  # connections and threads are there
        took = sorted(await hits(cache, seconds, every))
        going = False
        await asyncio.gather(*callers)
    return {
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[int(len(took) * 0.99)],
        "hits": len(took),
        "calls": made,
    }


async def cpu(arm, url, count=200):
    """Milliseconds of CPU per call, eight at a time."""
    async with client(arm, url) as call:
        await asyncio.gather(*(call() for _ in range(8)))
        before = time.process_time()
        for _ in range(count // 8):
            await asyncio.gather(*(call() for _ in range(8)))
        return (time.process_time() - before) / (count // 8 * 8) * 1e3


async def run(arguments):
    arms = ["none", "threads"]
    with contextlib.suppress(ImportError):
        import aiobotocore

        arms.append("aiobotocore")
        print("aiobotocore", aiobotocore.__version__)
    rounds = {arm: {"paced": [], "busy": []} for arm in arms}
    cpus = {arm: [] for arm in arms[1:]}
    policy = Policy(max_error_rate=None, min_similarity=0.9)
    with tempfile.TemporaryDirectory() as folder, serving(arguments.latency) as slow, serving(0.0) as quick:
        async with open_cache(f"sqlite:///{folder}/cache.db", policy=policy, embedder=FakeEmbedder()) as cache:

            async def model(_):
                return ANSWER

            for at in range(200):
                await cache.answer(f"how do I change setting {at} of my account", model)
            await cache.drain()
            for number in range(arguments.rounds):
                for arm in arms if number % 2 else reversed(arms):
                    for pace, every in (("paced", 1 / arguments.rate), ("busy", 0.0)):
                        found = await measured(cache, arm, slow, arguments.seconds, every)
                        rounds[arm][pace].append(found)
                    if arm != "none":
                        cpus[arm].append(await cpu(arm, quick))
    return arms, rounds, cpus


def told(arms, rounds, cpus):
    """The table, and its medians."""
    table = {}
    print(
        f"{'':12} {'paced p50':>10} {'p99':>8} {'':>7} {'busy p50':>9} {'p99':>8} {'':>7} {'calls/s':>8} {'CPU/call':>9}"
    )
    for arm in arms:
        row = {}
        for pace, found in rounds[arm].items():
            for name in ("p50_ms", "p99_ms"):
                row[f"{pace}_{name}"] = statistics.median(one[name] for one in found)
            ratios = [one["p99_ms"] / alone["p99_ms"] for one, alone in zip(found, rounds["none"][pace], strict=True)]
            row[f"{pace}_p99_ratio"] = statistics.median(ratios)
        row["calls"] = statistics.median(one["calls"] for one in rounds[arm]["paced"])
        row["call_cpu_ms"] = statistics.median(cpus[arm]) if arm in cpus else None
        table[arm] = row
        print(
            f"{arm:12} {row['paced_p50_ms']:10.3f} {row['paced_p99_ms']:8.3f} {row['paced_p99_ratio']:6.2f}x"
            f" {row['busy_p50_ms']:9.3f} {row['busy_p99_ms']:8.3f} {row['busy_p99_ratio']:6.2f}x {row['calls']:8.0f}"
            f" {row['call_cpu_ms'] or 0:9.2f}"
        )
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--latency", type=float, default=2.0, help="of the model, in seconds")
    parser.add_argument("--rate", type=float, default=200.0, help="hits a second, paced")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="write no results")
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
        return
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="none", AWS_EC2_METADATA_DISABLED="true")
    arms, rounds, cpus = asyncio.run(run(arguments))
    table = told(arms, rounds, cpus)
    if not arguments.dry:
        given = {name: getattr(arguments, name) for name in ("rounds", "seconds", "latency", "rate")}
        machine.write("bedrock", {**given, "callers": CALLERS, "median": table, "rounds_raw": rounds, "cpu_raw": cpus})


if __name__ == "__main__":
    main()
