"""kill -9 while two processes write and a third reads: what was acknowledged is there, and the file is sound."""

import asyncio
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key, make_scope, unit_vector

DIM = 16

SHARED = """
import asyncio, os, sys
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key, make_scope, unit_vector
path, name, durability = sys.argv[1:]
def say(text):
    os.write(1, (text + "\\n").encode())
def answer(question):
    return make_entry(question, f"answer to {question} " * 40, vector=unit_vector(hash_of(question), 16))
def hash_of(question):
    return int.from_bytes(make_key(question).digest[:4], "big")
"""

WRITER = """
async def work(store, worker):
    for i in range(1_000_000):
        question = f"{name}.{worker}.{i}"
        await store.put(answer(question), now=0.0)
        say(f"put {question}")
        store.touch(make_key(question).hex)
        if i % 5 == 4:
            old = f"{name}.{worker}.{i - 3}"
            say(f"deleting {old}")
            await store.delete(answer(old).id)
            say(f"deleted {old}")
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=16, durability=durability)
    await asyncio.gather(*(work(store, worker) for worker in range(4)))
asyncio.run(main())
"""

READER = """
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=16)
    say("reading")
    for i in range(1_000_000):
        for writer in name.split("+"):
            question = f"{writer}.{i % 4}.{i // 4}"
            for _ in range(200):
                entry = await store.get(make_key(question))
                if entry is not None:
                    break
            whole = answer(question)
            assert entry is None or entry.reply == whole.reply
            found = await store.search(make_scope(), whole.questions[0].vector, limit=1, min_similarity=0.999, now=0.0)
            assert all(c.entry.reply == answer(c.question.text).reply for c in found)
asyncio.run(main())
"""


@dataclass
class Round:
    """What two writers said before they were killed."""

    acknowledged: int
    lost: int
    undead: int
    faults: list
    seconds_to_reopen: float


def crash(path: Path, seconds: float, durability: str, generation: int) -> Round:
    """Two writers and a reader on one file, killed after so many seconds; then look at what is there."""
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second, tempfile.TemporaryFile() as errors:
        scripts = [
            (WRITER, f"a{generation}", first),
            (WRITER, f"b{generation}", second),
            (READER, f"a{generation}+b{generation}", errors),
        ]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SHARED + script, str(path), name, durability], stdout=out, stderr=errors
            )
            for script, name, out in scripts
        ]
        while (
            first.seek(0, 2) == 0 or second.seek(0, 2) == 0
        ):  # both have written, as a user would wait for a ready line
            assert all(process.poll() is None for process in processes), said(errors)
            time.sleep(0.01)
        time.sleep(seconds)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3, said(errors)
        lines = said(first) + said(second)
    return asyncio.run(look(path, [line.split() for line in lines]))


def said(file) -> list[str]:
    """Whole lines only: the last one may have been cut."""
    file.seek(0)
    return file.read().decode().rpartition("\n")[0].splitlines()


async def look(path: Path, lines: list[list[str]]) -> Round:
    started = time.perf_counter()
    store = await SqliteStore.open(path, embedder="fake", dim=DIM)
    reopened = time.perf_counter() - started
    stored = [question for what, question in lines if what == "put"]
    deleted = {question for what, question in lines if what == "deleted"}
    unsure = {question for what, question in lines if what == "deleting"} - deleted
    lost = undead = 0
    for question in stored:
        entry = await store.get(make_key(question))
        if question in deleted:
            undead += entry is not None
        elif question not in unsure:
            lost += entry is None or entry.reply.text != f"answer to {question} " * 40
    for question in stored[-100:]:
        vector = unit_vector(int.from_bytes(make_key(question).digest[:4], "big"), DIM)
        found = await store.search(make_scope(), vector, limit=100, min_similarity=0.999, now=0.0)
        there = question in [candidate.question.text for candidate in found]
        undead += there and question in deleted
        lost += not there and question not in deleted | unsure
    faults = list(await store.check())
    await store.close()
    return Round(len(stored) + len(deleted), lost, undead, faults, reopened)


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_nothing_acknowledged_is_lost_when_writers_are_killed(tmp_path, durability):
    moments = random.Random(durability)
    for generation in range(3):
        outcome = crash(tmp_path / "cache.db", moments.uniform(0.0, 0.5), durability, generation)
        assert outcome.acknowledged > 0
        assert (outcome.lost, outcome.undead, outcome.faults) == (0, 0, [])


KILLS_ITSELF = """
async def main():
    store = await SqliteStore.open(path, embedder="fake", dim=16, durability=durability)
    await asyncio.gather(*(store.put(answer(f"{name}.0.{i}"), now=0.0) for i in range(64)))
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_a_group_that_was_acknowledged_is_there_although_the_process_died_at_once(tmp_path, durability):
    path = tmp_path / "cache.db"
    command = [sys.executable, "-c", SHARED + KILLS_ITSELF, str(path), "a", durability]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    outcome = asyncio.run(look(path, [["put", f"a.0.{i}"] for i in range(64)]))
    assert (outcome.acknowledged, outcome.lost, outcome.faults) == (64, 0, [])


def test_a_killed_reader_or_a_killed_opening_harms_nobody(tmp_path):
    path = tmp_path / "cache.db"
    for delay in (0.15, 0.2, 0.25, 0.3):
        command = [sys.executable, "-c", SHARED + READER, str(path), "r", "normal"]
        process = subprocess.Popen(command)
        time.sleep(delay)
        process.kill()
        process.wait()

    async def run():
        store = await SqliteStore.open(path, embedder="fake", dim=DIM)
        await store.put(make_entry("q", "a", vector=unit_vector(1, DIM)), now=0.0)
        assert (await store.get(make_key("q"))).reply.text == "a"
        assert await store.check() == []
        await store.close()

    asyncio.run(run())
