"""Many clients at once, in all APIs, of two tenants; one of two workers is killed in their midst.

    python tests/upstreams/crowd.py --clients 64 --seconds 60

No client may hang, no answer may be wrong or another tenant's, and what was in the store when the worker died is there
afterwards and is served.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from upstreams.processes import running_gateway, running_upstream
from upstreams.reading import is_whole, text_of
from yamabiko import open_cache

PATIENCE_SECONDS = 25.0
"""Who waits longer than this hangs. A dead worker's claim holds others up for ten seconds at most."""
PATHS = ("chat/completions", "messages", "responses")


@dataclass
class Seen:
    """What the crowd saw: ``wrong`` must stay empty; ``served`` is who asked what for each entry that was served."""

    outcomes: Counter = field(default_factory=Counter)
    wrong: list = field(default_factory=list)
    served: dict = field(default_factory=dict)
    slowest: float = 0.0


@dataclass(frozen=True)
class Question:
    path: str
    tenant: str
    number: int
    stream: bool

    @property
    def text(self):
        return f"What is number {self.number}?"

    @property
    def answer(self):
        """What the upstream says, by order: right for this tenant and this question only."""
        return f"For {self.tenant}: number {self.number} is {self.number * 7919}. やまびこ"

    async def ask(self, client, url):
        body = {"model": "m", "stream": self.stream, "messages": [{"role": "user", "content": self.text}]}
        if self.path == "messages":
            body["max_tokens"] = 99
        if self.path == "responses":
            body = {"model": "m", "stream": self.stream, "input": self.text, "store": False}
        order = json.dumps({"answer": self.answer, "seconds": 0.002})
        headers = {"authorization": f"Bearer {self.tenant}", "x-order": order}
        return await client.post(f"{url}/{self.path}", json=body, headers=headers)


async def one(number, client, url, until, seen):
    """One client: question after question, most of them asked before, until the time is over."""
    chance = random.Random(number)
    begun = time.monotonic()
    while (now := time.monotonic()) < until:
        newest = 10 + int((now - begun) * 8)
        question = Question(
            path=chance.choice(PATHS),
            tenant=chance.choice(("ann", "ben")),
            number=int(newest * chance.random() ** 2),
            stream=chance.random() < 0.5,
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await question.ask(client, url)
        except TimeoutError:
            seen.wrong.append(f"{question} was not answered")
        except httpx.TransportError as error:  # its worker was killed
            seen.outcomes[type(error).__name__] += 1
        else:
            judge(question, response, seen)
            seen.slowest = max(seen.slowest, time.monotonic() - now)


def judge(question, response, seen):
    """Counts a right answer; keeps a wrong one."""
    status = response.headers.get("cache-status", "none").partition(";")[2].partition(";")[0].strip()
    seen.outcomes[f"{response.status_code} {status}"] += 1
    if response.status_code != 200 or text_of(response) != question.answer or not is_whole(response):
        seen.wrong.append(f"{question}: {response.status_code} {response.text[:300]}")
    elif status == "hit":
        seen.served[response.headers["x-yamabiko-entry"]] = question


async def entries_of(url):
    """What is in the store, as another process reads it: ids and answers. Raises where it is not sound."""
    async with await open_cache(url, embedder="none") as cache:
        faults = await cache.check()
        if faults:
            raise AssertionError(faults)
        return {entry.id: entry.reply.text async for entry in cache.entries()}


async def trouble(gateway, url, *, clients, seconds):
    """The whole story. Returns what the crowd saw, and how many entries were there when the worker was killed."""
    seen = Seen()
    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=clients)) as client:
        until = time.monotonic() + seconds
        crowd = [asyncio.create_task(one(number, client, gateway.url, until, seen)) for number in range(clients)]
        await asyncio.sleep(seconds / 2)
        before, known = await entries_of(url), dict(seen.served)
        os.kill(workers_of(gateway)[0], signal.SIGKILL)
        async with asyncio.timeout(seconds + 2 * PATIENCE_SECONDS):
            await asyncio.gather(*crowd)
    after = await entries_of(url)
    seen.wrong += [f"entry {lost} is lost" for lost in before if after.get(lost) != before[lost]]
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        for entry in before.keys() & known.keys():
            response = await known[entry].ask(client, gateway.url)
            if response.headers.get("x-yamabiko-entry") != entry or text_of(response) != known[entry].answer:
                seen.wrong.append(f"entry {entry} is not served: {response.headers.get('cache-status')}")
    return seen, len(before)


def workers_of(gateway):
    """The processes that serve: children that were started by spawning, not the tracker of resources."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    command = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in command.items() if b"spawn_main" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--url", default="", help="the store; a file of its own where there is none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_upstream() as upstream:
        url = given.url or f"sqlite:///{folder}/cache.db"
        with running_gateway("--workers", "2", url=url, upstream=upstream) as gateway:
            work = trouble(gateway, url, clients=given.clients, seconds=given.seconds)
            seen, kept = asyncio.run(work)
    print(f"{sum(seen.outcomes.values())} answers, {kept} entries when the worker was killed", dict(seen.outcomes))  # noqa: T201
    print(f"the slowest took {seen.slowest:.2f} s; wrong: {len(seen.wrong)}", *seen.wrong[:20], sep="\n")  # noqa: T201
    return 1 if seen.wrong or not kept else 0


if __name__ == "__main__":
    sys.exit(main())
