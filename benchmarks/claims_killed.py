"""How long a killed process holds up those who wait for its answer: kill -9 of the one that generates.

    python benchmarks/claims_killed.py --rounds 10
    python benchmarks/claims_killed.py --url redis://127.0.0.1:6379 --claim-seconds 5

In each round a process claims a question and generates for ever; another one waits for its answer. After a time by
chance, of up to one lease, the first one is killed (SIGKILL). Measured is how long it then takes until the model is asked
again. The claim is a lease of ``store.claim_seconds``, renewed every third of that, and looked at every 25 to 250 ms.
"""

import argparse
import asyncio
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine
from yamabiko import open_cache
from yamabiko.settings import Settings, StoreSettings
from yamabiko.testing import FakeEmbedder

HERE = Path(__file__).resolve().parent


def settings(seconds):
    return Settings(store=StoreSettings(claim_seconds=seconds))


async def lead(url, question, seconds):
    """What the process does that is going to be killed."""

    async def model(_):
        print("generating", flush=True)
        await asyncio.sleep(3600)
        return "never"

    async with open_cache(url, settings=settings(seconds), embedder=FakeEmbedder()) as cache:
        await cache.answer(question, model)


async def killed(url, question, seconds, pause):
    """Seconds from the death of the leader to the follower's call of the model, and how many calls that made."""
    command = [sys.executable, __file__, "--lead", question, "--url", url, "--claim-seconds", str(seconds)]
    leader = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert (await leader.stdout.readline()).strip() == b"generating"
    called = []

    async def model(_):
        called.append(time.perf_counter())
        return "from the one that waited"

    async with open_cache(url, settings=settings(seconds), embedder=FakeEmbedder()) as cache:
        follower = asyncio.create_task(cache.answer(question, model))
        await asyncio.sleep(pause)
        assert not called, "the follower did not wait"
        died = time.perf_counter()
        leader.kill()
        await leader.wait()
        reply = await follower
        again = await cache.answer(question, model)
    assert reply.text == again.text == "from the one that waited"
    return called[0] - died, len(called)


async def measured(given):
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number in range(given.rounds):
            url = given.url or f"sqlite:///{folder}/cache.db"
            question = f"Question {secrets.token_hex(8)} of round {number}?"
            seconds, calls = await killed(url, question, given.claim_seconds, chance.uniform(0, given.claim_seconds))
            rows.append({"seconds": seconds, "calls": calls})
            print(f"round {number}: asked again after {seconds:.2f} s, {calls} call", flush=True)
    waited = sorted(row["seconds"] for row in rows)
    return {
        "machine": machine.describe(),
        "claim_seconds": given.claim_seconds,
        "store": (given.url or "sqlite").partition(":")[0],
        "rounds": rows,
        "least": waited[0],
        "median": statistics.median(waited),
        "most": waited[-1],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--claim-seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", default="", help="a store of its own in a file by default")
    parser.add_argument("--lead", default="", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "claims_killed.json")
    given = parser.parse_args()
    if given.lead:
        asyncio.run(lead(given.url, given.lead, given.claim_seconds))
        return
    result = asyncio.run(measured(given))
    print(
        f"waited: median {result['median']:.2f} s, most {result['most']:.2f} s of leases of {given.claim_seconds:g} s"
    )
    given.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
