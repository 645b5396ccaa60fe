"""``yamabiko migrate``: a whole cache into another store, equal at the end however often it was interrupted."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko import Request, open_sync_cache
from yamabiko.cli import main
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_question, make_scope, unit_vector
from yamabiko.types import Reply, Selector, Usage

DIM = 16
SOURCE, TARGET = "sqlite:///source.db", "sqlite:///target.db"
NOTHING = {"copied": 0, "already_there": 0, "newer_there": 0, "dead": 0, "refused": 0, "why": {}, "differing": 0}
NOTHING |= {"evicted": 0, "dry_run": False}
JAPANESE = "返品できますか？"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments, env=None):
    return CliRunner().invoke(
        main, ["--url", SOURCE, *arguments], env={"YAMABIKO_EMBEDDER__KIND": "none", **(env or {})}
    )


def migrated(*arguments, code=0, **options):
    """What the one JSON document of a migration says beyond the ordinary."""
    ran = CliRunner().invoke(main, ["--json", "--url", SOURCE, "migrate", *arguments], **options)
    assert ran.exit_code == code, ran.output
    document = json.loads(ran.stdout)
    assert document.keys() == NOTHING.keys()
    return {name: value for name, value in document.items() if value != NOTHING[name]}


def put(path, *entries, now=0.0, dim=DIM):
    async def work():
        store = await SqliteStore.open(path, embedder="fake", dim=dim)
        for entry in entries:
            await store.put(entry, now=now)
        await store.close()

    asyncio.run(work())


def entries_of(path, dim=DIM):
    """Everything of every entry, with vectors in a form that can be compared."""

    async def work():
        store = await SqliteStore.open(path, embedder="fake", dim=dim)
        found = [
            (entry, [None if one.vector is None else one.vector.tolist() for one in entry.questions])
            async for entry in store.entries(Selector())
        ]
        problems = await store.check()
        await store.close()
        assert not problems
        return found

    return asyncio.run(work())


def answers(path):
    """Reply by question."""
    return {question.text: entry.reply.text for entry, _ in entries_of(path) for question in entry.questions}


def various():
    """Entries that differ in all that an entry can have."""
    ann, future = make_scope(tenant="globex", user="ann"), time.time() + 1e6
    rich = Reply(
        text="はい。" * 50,
        model="m",
        usage=Usage(input_tokens=7, output_tokens=3),
        chunk_lengths=(100, 50),
        sources=("s3://handbook/返品.pdf",),
        latency_seconds=1.25,
        cost_usd=0.125,
        extra='{"id":"x"}',
    )
    return [
        make_entry("plain?", "Yes.", vector=unit_vector(1, DIM), created=1.5),
        make_entry("no vector?", "No.", created=2.5, tags=("a", "b")),
        make_entry(
            JAPANESE,
            rich,
            scope=ann,
            vector=unit_vector(2, DIM),
            aliases=[make_question(f"alias {n}?", ann, vector=unit_vector(10 + n, DIM)) for n in range(15)],
            created=time.time() - 1.0,
            expires=future,
            stale_until=future + 3600.0,
            tags=("returns",),
        ),
    ]


def test_a_migrated_cache_is_equal_and_a_second_run_finds_it_there():
    put("source.db", *various())
    assert migrated(TARGET) == {"copied": 3}
    assert entries_of("target.db") == entries_of("source.db")
    assert len(entries_of("target.db")) == 3
    assert migrated(TARGET) == {"already_there": 3}
    ran = run("migrate", TARGET)
    assert ran.stdout == "copied: 0 entries; already there: 3; newer there: 0; dead: 0; refused: 0; differing: 0\n"


def test_a_dry_run_counts_and_makes_nothing():
    put("source.db", *various())
    assert migrated(TARGET, "--dry-run") == {"dry_run": True, "copied": 3}
    assert not Path("target.db").exists()
    put("target.db", various()[0])
    assert migrated(TARGET, "--dry-run") == {"dry_run": True, "copied": 2, "already_there": 1}
    assert run("migrate", TARGET, "--dry-run").stdout.startswith("would be copied: 2 entries; already there: 1;")
    assert len(entries_of("target.db")) == 1


def test_what_is_dead_stays_behind_and_lives_end_when_they_did():
    soon = time.time() + 500.0
    stale = make_entry("stale?", "Old.", created=1.0, expires=2.0, stale_until=soon)
    put("source.db", make_entry("dead?", "x", created=1.0, expires=2.0, stale_until=3.0), stale)
    assert migrated(TARGET) == {"copied": 1, "dead": 1}
    ((entry, _),) = entries_of("target.db")
    assert (entry.expires, entry.stale_until, entry.created) == (2.0, soon, 1.0)


def test_newer_answers_in_the_target_stay_unless_told_otherwise():
    put("source.db", make_entry("a?", "source 5", created=5.0), make_entry("b?", "source 5", created=5.0))
    put("target.db", make_entry("a?", "target 9", created=9.0), make_entry("b?", "target 1", created=1.0))
    assert migrated(TARGET) == {"copied": 1, "newer_there": 1}
    assert answers("target.db") == {"a?": "target 9", "b?": "source 5"}
    assert migrated(TARGET, "--overwrite") == {"copied": 1, "already_there": 1}
    assert answers("target.db") == {"a?": "source 5", "b?": "source 5"}


def test_an_alias_takes_no_question_from_a_newer_answer():
    old = make_entry("a?", "old", created=1.0, aliases=[make_question("b?")])
    put("source.db", old)
    put("target.db", make_entry("b?", "new", created=2.0))
    assert migrated(TARGET) == {"copied": 1}
    assert answers("target.db") == {"a?": "old", "b?": "new"}
    assert migrated(TARGET) == {"already_there": 1}
    assert migrated(TARGET, "--overwrite") == {"copied": 1}
    assert answers("target.db") == {"a?": "old", "b?": "old"}


def test_what_the_target_has_learnt_beyond_stays():
    entry = make_entry("a?", "same", created=1.0)
    put("source.db", entry)
    put("target.db", replace(entry, questions=(*entry.questions, make_question("learnt?"))))
    assert migrated(TARGET) == {"already_there": 1}
    assert answers("target.db") == {"a?": "same", "learnt?": "same"}


def test_an_entry_that_can_not_be_taken_is_refused_with_its_reason_and_without_its_text():
    put("source.db", *(make_entry(f"secret {n}?", vector=unit_vector(n, DIM)) for n in range(3)))
    with sqlite3.connect("source.db") as connection:
        connection.execute("UPDATE vec SET v = zeroblob(length(v)) WHERE id = 2")
    connection.close()
    ran = run("migrate", TARGET)
    assert ran.exit_code == 1
    assert re.search(r"^1 refused: a vector must be .* not 0:", ran.stderr, re.MULTILINE)
    assert "secret" not in ran.output
    assert ran.stdout.startswith("copied: 2 entries;")


def test_a_target_that_does_not_keep_what_it_took_ends_with_1():
    put("source.db", *(make_entry(f"{n}?", "long " * 500, created=float(n)) for n in range(9)))
    ran = run("migrate", "sqlite:///target.db?max_bytes=1000")
    assert ran.exit_code == 1
    assert "copied: 0 entries" in ran.stdout
    assert ran.stdout.endswith("differing: 9\n")
    assert re.search(r"^entry [0-9a-f]{64} is not in the target as it was written$", ran.stderr, re.MULTILINE)
    assert "the target evicted 9 meanwhile" in ran.stderr


def refused(ran, *words):
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    for word in words:
        assert word in ran.stderr.splitlines()[-1]
    return True


def test_what_makes_no_sense_is_refused_and_makes_no_file():
    assert refused(run("migrate", TARGET), "there is no cache at source.db")
    put("source.db", make_entry("a?"))
    assert refused(run("migrate", "memory://"), "in memory")
    assert refused(run("--url", "memory://", "migrate", TARGET), "in memory")
    assert refused(run("migrate", f"sqlite:///{Path.cwd()}/../{Path.cwd().name}/source.db"), "are one")
    assert refused(run("migrate", "mysql://x"), "memorydb://")
    assert refused(run("migrate", TARGET, "--re-embed"), "embedder.kind")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["source.db"]


def test_another_embedder_is_refused_or_embeds_anew():
    with open_sync_cache(SOURCE, embedder="none") as cache:
        for question in ("How do I reset my password?", JAPANESE):
            cache.remember(cache.lookup(Request(question)), f"Answer to {question}")
    local = {"YAMABIKO_EMBEDDER__KIND": "local"}
    with open_sync_cache(TARGET, embedder="local") as cache:
        cache.remember(cache.lookup(Request("Who?")), "You.")
    assert refused(run("migrate", TARGET, env=local), "'none' with dim 1", "--re-embed")
    assert migrated(TARGET, "--re-embed", env=local) == {"copied": 2}
    assert migrated(TARGET, "--re-embed", env=local) == {"already_there": 2}
    with open_sync_cache(TARGET, embedder="local") as cache:
        for question, tier in ((JAPANESE, "exact"), ("How can I reset my password?", "semantic")):
            assert cache.lookup(question).tier == tier
        assert not cache.check()


def many(count):
    return [
        make_entry(f"question {n}?", f"answer {n}", vector=unit_vector(n, DIM), created=1.0 + n) for n in range(count)
    ]


def migrating(*options):
    command = [sys.executable, "-m", "yamabiko.cli", "--url", SOURCE, "migrate", TARGET, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def wait_for(count, process):
    """Until so many entries are in the target."""
    give_up = time.monotonic() + 60.0
    while time.monotonic() < give_up and process.poll() is None:
        if Path("target.db").exists():
            with sqlite3.connect("file:target.db?mode=ro", uri=True, timeout=60.0) as connection:
                tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'total'").fetchone()[0]
                found = connection.execute("SELECT entries FROM total").fetchone()[0] if tables else 0
            connection.close()
            if found >= count:
                return
    raise AssertionError((process.poll(), process.communicate(timeout=10)))


@pytest.mark.parametrize("killed_at", [1, 70, 200])
def test_a_migration_that_was_killed_is_finished_by_the_next_one(killed_at):
    put("source.db", *many(300))
    process = migrating("--rate", "400")
    wait_for(killed_at, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    there = len(entries_of("target.db"))
    assert killed_at <= there < 300
    assert migrated(TARGET) == {"copied": 300 - there, "already_there": there}
    assert entries_of("target.db") == entries_of("source.db")


def test_an_interrupted_migration_says_how_far_it_came():
    put("source.db", *many(300))
    process = migrating("--rate", "100")
    wait_for(65, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(
        r"not finished; copied: (64|128|192) entries; .*\nthe same command again goes on from there\ninterrupted\n", err
    )


def test_a_rate_holds_writes_back():
    put("source.db", *many(5))
    started = time.monotonic()
    assert migrated(TARGET, "--rate", "20") == {"copied": 5}
    assert time.monotonic() - started >= 4 / 20
    assert math.isfinite(entries_of("target.db")[0][0].created)
