"""What calls of Bedrock cost whoever is served from the cache meanwhile.

    python benchmarks/bedrock.py --rounds 20

A server in a process of its own has fifty calls of Converse waiting at all times, and answers them one after the other as
they would come at a stated latency (4.35 s, the mean of the published table: 11.5 a second); each caller asks again at
once. Meanwhile hits are served: exact and by meaning in turn, from an SQLite file, in one event loop. Each round has a
window of every arm, in turn forwards and backwards, with the same client and the same threads, so that whatever else the
machine does hits all of them:

``none``         the server holds its answers back: fifty calls wait and nothing comes
``threads``      answers come, through yamabiko.aws.bedrock.BedrockRuntime: botocore in threads of its own
``handing over`` the same with ``sys.setswitchinterval(--switch)``: a thread that computes lets go of the interpreter
                 after so long where another one waits; Python's default is 5 ms

``paced``: hits come at a steady rate, and a hit's time runs from when it was due. ``busy``: the next one follows at once,
so that the loop never rests. A ratio is the median of the rounds' P99 over the median of the rounds' P99 of ``none``;
this was chosen before anything was measured. ``call_cpu_ms``: CPU time of the process per call, eight at a time, with
nothing else to do; of the same calls through aiobotocore on the loop too, where it is installed (it pins botocore).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
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
ARMS = ("none", "threads", "handing over")
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
    """Answers a request each ``latency / CALLERS`` seconds, or at once for 0; tells its port on standard output.

    A byte on standard input says that answers come (1) or are held back (0).
    """
    waiting, going = asyncio.Queue(), asyncio.Event()

    async def answer(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
                await reader.readexactly(next(int(value) for name, _, value in lines if name == b"content-length"))
                if latency:
                    turn = asyncio.Event()
                    waiting.put_nowait(turn)
                    await turn.wait()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY)
                )
                writer.write(REPLY)

    async def release():
        while True:
            await going.wait()
            (await waiting.get()).set()
            await asyncio.sleep(latency / CALLERS * random.uniform(0.5, 1.5))

    def told():
        going.set() if os.read(0, 1) == b"1" else going.clear()

    asyncio.get_running_loop().add_reader(0, told)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.gather(server.serve_forever(), release())


@contextlib.contextmanager
def serving(latency):
    """Its address, and what lets its answers go or holds them back."""
    command = [sys.executable, __file__, "--serve", str(latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:

        def let(go):
            os.write(process.stdin.fileno(), b"1" if go else b"0")

        yield f"http://127.0.0.1:{process.stdout.readline().decode().strip()}", let
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@contextlib.asynccontextmanager
async def client(arm, url):
    """A coroutine function that makes one call."""
    if arm == "threads":
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


@contextlib.contextmanager
def handing_over(arm, seconds):
    """How soon threads let go of the interpreter, in this arm."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(seconds if arm == "handing over" else usual)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


async def window(cache, arm, let, counted, arguments):
    """By pace, P50 and P99 of hits in milliseconds, how many there were and how many calls."""
    found = {}
    let(arm != "none")
    await asyncio.sleep(0.1)
    with handing_over(arm, arguments.switch):
        for pace, every in (("paced", 1 / arguments.rate), ("busy", 0.0)):
            before = counted[0]
            took = sorted(await hits(cache, arguments.seconds, every))
            found[pace] = {
                "p50_ms": took[len(took) // 2],
                "p99_ms": took[int(len(took) * 0.99)],
                "hits": len(took),
                "calls": counted[0] - before,
            }
    return found


async def measured(cache, slow, rounds, arguments):
    """Windows of all arms, in turn, with fifty calls waiting at all times."""
    (url, let), counted, going = slow, [0], True
    async with client("threads", url) as call:

        async def caller():
            while going:
                await call()
                counted[0] += 1

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        let(True)
        await asyncio.sleep(3)  # connections and threads are there
        for number in range(arguments.rounds):
            for arm in ARMS if number % 2 else reversed(ARMS):
                for pace, found in (await window(cache, arm, let, counted, arguments)).items():
                    rounds[arm][pace].append(found)
        going = False
        let(True)
        await asyncio.gather(*callers)


async def cpu(arm, url, count=200):
    """Milliseconds of CPU per call, eight at a time."""
    async with client(arm, url) as call:
        await asyncio.gather(*(call() for _ in range(8)))
        before = time.process_time()
        for _ in range(count // 8):
            await asyncio.gather(*(call() for _ in range(8)))
        return (time.process_time() - before) / (count // 8 * 8) * 1e3


async def run(arguments):
    rounds = {arm: {"paced": [], "busy": []} for arm in ARMS}
    policy = Policy(max_error_rate=None, min_similarity=0.9)
    with tempfile.TemporaryDirectory() as folder, serving(arguments.latency) as slow, serving(0.0) as (quick, _):
        clients = ["threads"] + ["aiobotocore"] * (importlib.util.find_spec("aiobotocore") is not None)
        cpus = {one: [await cpu(one, quick) for _ in range(3)] for one in clients}
        async with open_cache(f"sqlite:///{folder}/cache.db", policy=policy, embedder=FakeEmbedder()) as cache:

            async def model(_):
                return ANSWER

            for at in range(200):
                await cache.answer(f"how do I change setting {at} of my account", model)
            await cache.drain()
            await measured(cache, slow, rounds, arguments)
    return rounds, cpus


def told(rounds, cpus):
    """The table, and its medians."""
    table = {}
    print(f"{'':12} {'paced p50':>10} {'p99':>8} {'':>7} {'busy p50':>9} {'p99':>8} {'':>7} {'calls/s':>8}")
    for arm in ARMS:
        row = table[arm] = {}
        for pace, found in rounds[arm].items():
            for name in ("p50_ms", "p99_ms"):
                row[f"{pace}_{name}"] = statistics.median(one[name] for one in found)
            row[f"{pace}_p99_ratio"] = row[f"{pace}_p99_ms"] / table["none"][f"{pace}_p99_ms"]
        row["calls"] = statistics.median(one["calls"] for one in rounds[arm]["paced"])
        print(
            f"{arm:12} {row['paced_p50_ms']:10.3f} {row['paced_p99_ms']:8.3f} {row['paced_p99_ratio']:6.2f}x"
            f" {row['busy_p50_ms']:9.3f} {row['busy_p99_ms']:8.3f} {row['busy_p99_ratio']:6.2f}x {row['calls']:8.0f}"
        )
    print("CPU per call, ms:", {one: round(statistics.median(found), 2) for one, found in cpus.items()})
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--latency", type=float, default=4.35, help="of the model, in seconds")
    parser.add_argument("--rate", type=float, default=100.0, help="hits a second, paced")
    parser.add_argument("--switch", type=float, default=0.0005, help="sys.setswitchinterval of its arm, in seconds")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="write no results")
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
        return
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY="none", AWS_EC2_METADATA_DISABLED="true")
    rounds, cpus = asyncio.run(run(arguments))
    table = told(rounds, cpus)
    if not arguments.dry:
        given = {name: getattr(arguments, name) for name in ("rounds", "seconds", "latency", "rate", "switch")}
        machine.write("bedrock", {**given, "callers": CALLERS, "median": table, "rounds_raw": rounds, "cpu_raw": cpus})


if __name__ == "__main__":
    main()
