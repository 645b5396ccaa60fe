"""kill -9 of a process that invalidates: what it had acknowledged holds for everybody else, and nothing beside it."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import subprocess
import sys
import time

import pytest

from yamabiko import Hit, Policy, Reply, open_cache
from yamabiko.types import Source

DOCUMENTS = 30
POLICY = Policy(semantic=False)
INVALIDATES = """
import asyncio, os, sys
from yamabiko import Policy, open_cache
url, mode, count = sys.argv[1:]
async def main():
    async with open_cache(url, embedder="none", policy=Policy(semantic=False)) as cache:
        for number in range(int(count)):
            os.write(1, f"begun {number}\\n".encode())
            await cache.invalidate(f"s3://docs/{number}", digest="new", mode=mode)
            os.write(1, f"done {number}\\n".encode())
asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "server"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cache.db'}"
    return f"redis://127.0.0.1:{request.getfixturevalue('engine').port}?name={secrets.token_hex(4)}"


def opened(url):
    return open_cache(url, embedder="none", policy=POLICY)


def made(number, digest):
    """An answer from this document in some state, and from one that nobody touches."""
    return Reply(text=f"{digest} {number}", sources=(Source(f"s3://docs/{number}", digest), Source("s3://docs/other")))


def killed(url, mode, documents):
    """Invalidate one document after the other, kill -9 somewhere in between; how many were begun, and how many done."""
    command = [sys.executable, "-c", INVALIDATES, url, mode, str(DOCUMENTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    lines = [process.stdout.readline() for _ in range(2 * documents)]
    time.sleep(random.Random(documents).uniform(0, 0.004))  # somewhere within the next one, or two
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    lines += process.stdout.read().splitlines()
    process.stdout.close()
    return sum(b"begun" in line for line in lines), sum(b"done" in line for line in lines)


@pytest.mark.parametrize(("mode", "documents"), [("remove", 3), ("remove", 12), ("recheck", 5)])
def test_what_was_invalidated_before_a_kill_never_comes_back_and_nothing_else_is_lost(url, mode, documents):
    async def before(cache):
        """One answer of each document is stored; another one is being made of its old state, and one of its new."""
        for number in range(DOCUMENTS):
            await cache.remember(await cache.lookup(f"stored {number}"), made(number, "old"))
        return [
            (number, digest, await cache.lookup(f"{digest} made of {number}"))
            for number in range(DOCUMENTS)
            for digest in ("old", "new")
        ]

    async def after(cache, misses, begun, done):
        kept = {(number, digest) for number, digest, miss in misses if await cache.remember(miss, made(number, digest))}
        served = {n for n in range(DOCUMENTS) if isinstance(await cache.lookup(f"stored {n}"), Hit)}
        assert not served & set(range(done))
        assert served >= set(range(begun, DOCUMENTS))
        assert {number for number, digest in kept if digest == "new"} == set(range(DOCUMENTS))
        old = {number for number, digest in kept if digest == "old"}
        assert not old & set(range(done)), "begun before the invalidation, of what it meant"
        assert old >= set(range(begun, DOCUMENTS)), "of what nobody has touched"
        assert await cache.check() == []

    async def run():
        async with opened(url) as cache:
            misses = await before(cache)
            begun, done = await asyncio.to_thread(killed, url, mode, documents)
            assert documents <= done <= begun <= DOCUMENTS
            await after(cache, misses, begun, done)
        async with opened(url) as reopened:
            for number in range(done):
                assert not isinstance(await reopened.lookup(f"old made of {number}"), Hit)
                assert isinstance(await reopened.lookup(f"new made of {number}"), Hit)

    asyncio.run(run())
