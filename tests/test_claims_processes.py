"""Real processes on one store: ten ask at once, one is killed, one comes back too late."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import subprocess
import sys

import pytest

from yamabiko import Hit, Miss, open_cache
from yamabiko.settings import Settings, StoreSettings
from yamabiko.testing import FakeEmbedder, ScriptedModel

Q = "How do I reset my password?"

ASKING = """
import asyncio, os, sys
from yamabiko import open_cache
from yamabiko.settings import Settings, StoreSettings
from yamabiko.testing import FakeEmbedder
url, question, calls = sys.argv[1:]
def say(text):
    os.write(1, (text + "\\n").encode())
async def heard():
    return await asyncio.to_thread(sys.stdin.readline)
async def model(request):
    with open(calls, "a") as file:
        file.write(f"{os.getpid()}\\n")
    say("generating")
    await heard()
    return f"from {os.getpid()}"
async def main():
    settings = Settings(store=StoreSettings(claim_seconds=1.0))
    told = []
    async with open_cache(url, settings=settings, embedder=FakeEmbedder(), hooks=[told.append]) as cache:
        say("ready")
        await heard()
        say("asking")
        reply = await cache.answer(question, model)
        await cache.drain()
        say(f"got {reply.text}")
        say("told " + " ".join(f"{event.outcome}:{event.shared}" for event in told))
asyncio.run(main())
"""


class Asking:
    """A process that waits for a word before it asks, and for another one before its model answers."""

    def __init__(self, url, calls):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKING, url, Q, str(calls)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hears(self):
        return self.process.stdout.readline().strip()

    def ask(self):
        assert self.hears() == "ready"
        self.go()

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def asking():
    with contextlib.ExitStack() as stack:

        def start(url, calls):
            one = Asking(url, calls)
            stack.callback(one.end)
            return one

        yield start


@pytest.fixture(params=["sqlite", "server"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cache.db'}"
    return f"redis://127.0.0.1:{request.getfixturevalue('engine').port}?name={secrets.token_hex(4)}"


def test_ten_processes_make_one_call_for_one_question(url, tmp_path, asking):
    calls = tmp_path / "calls"
    processes = [asking(url, calls) for _ in range(10)]
    for one in processes:
        one.ask()
    for one in processes:
        assert one.hears() == "asking"
    for one in processes:  # only the one whose model is asked has a use for it
        one.go()
    answers, told = [], []
    for one in processes:
        line = one.hears()
        answers.append(one.hears() if line == "generating" else line)
        told.append(one.hears())
    (leader,) = calls.read_text().split()
    assert set(answers) == {f"got from {leader}"}
    assert sorted(line.split()[1].partition(":")[0] for line in told) == ["hit"] * 9 + ["miss"]


def ask(url, work):
    """Do ``work(cache, model)`` with a cache of this process."""

    async def run():
        settings = Settings(store=StoreSettings(claim_seconds=1.0))
        async with open_cache(url, settings=settings, embedder=FakeEmbedder()) as cache:
            return await work(cache, ScriptedModel({Q: "from here"}))

    return asyncio.run(run())


def test_a_leader_that_is_killed_is_followed(url, tmp_path, asking):
    leader = asking(url, tmp_path / "calls")
    leader.ask()
    assert [leader.hears(), leader.hears()] == ["asking", "generating"]

    async def follow(cache, model):
        miss = await cache.lookup(Q)
        name = f"generate:{miss.key.hex}"
        assert await cache.store.claim(name, "another", seconds=1.0, now=cache._clock()) is None
        leader.process.send_signal(signal.SIGKILL)
        assert leader.process.wait() == -signal.SIGKILL
        assert (await cache.answer(Q, model)).text == "from here"
        assert model.calls == 1
        await cache.drain()
        assert isinstance(await cache.lookup(Q), Hit)

    ask(url, follow)


def test_a_leader_that_slept_over_a_purge_stores_nothing(url, tmp_path, asking):
    leader = asking(url, tmp_path / "calls")
    leader.ask()
    assert [leader.hears(), leader.hears()] == ["asking", "generating"]
    leader.process.send_signal(signal.SIGSTOP)

    async def purge(cache, _):
        await cache.purge(everything=True)

    ask(url, purge)
    leader.process.send_signal(signal.SIGCONT)
    leader.go()
    assert leader.hears() == f"got from {leader.process.pid}"
    assert leader.hears() == "told miss:False refused:False"

    async def look(cache, _):
        assert isinstance(await cache.lookup(Q), Miss)
        assert (await cache.stats()).entries == 0

    ask(url, look)
