"""The command line on a cache that lies on a server: as on a file, and ``migrate`` and ``reindex`` between."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from engines.valkey import wait_until
from loopback import Answer, serving
from yamabiko import Policy, Reply, Request, open_sync_cache
from yamabiko.build import locate, open_cache
from yamabiko.cli import main
from yamabiko.errors import StoreMismatch
from yamabiko.settings import EmbedderSettings, Settings
from yamabiko.testing import make_entry, make_question, make_scope, unit_vector
from yamabiko.types import Selector

DIM = 16
FILE = "sqlite:///cache.db"
RESET = "How do I reset my password?"
JAPANESE = "返品できますか？"


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YAMABIKO_EMBEDDER__KIND", "none")


@pytest.fixture
def server(engine, make_guard):
    """The URL of a cache that nobody else has, on a real server that refuses what MemoryDB would refuse."""
    guard = make_guard(engine, profile="memorydb")
    return f"valkey://127.0.0.1:{guard.port}?name=t{secrets.token_hex(8)}"


def name_in(url):
    return url.partition("?name=")[2]


def keys_of(engine, url):
    return sorted(engine.cli("KEYS", f"{name_in(url)}:*"))


def indexes_of(engine, url):
    return [one for one in engine.cli("FT._LIST") if one.startswith(f"{name_in(url)}:".encode())]


def run(url, *arguments, **options):
    return CliRunner().invoke(main, ["--url", url, *arguments], **options)


def said(url, *arguments, code=0, **options):
    ran = CliRunner().invoke(main, ["--json", "--url", url, *arguments], **options)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def refused(ran, *words):
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    for word in words:
        assert word in ran.stderr.splitlines()[-1]
    return True


def put(url, *entries, dim=DIM):
    async def work():
        store = await locate(Settings(url=url)).open("fake", dim)
        for entry in entries:
            await store.put(entry, now=0.0)
        await store.close()

    asyncio.run(work())


def entries_of(url, embedder="fake", dim=DIM):
    """Everything of every entry, questions in one order, vectors in a form that can be compared."""

    async def work():
        store = await locate(Settings(url=url)).open(embedder, dim)
        found = []
        async for entry in store.entries(Selector()):
            asked = sorted(entry.questions, key=lambda question: question.digest)
            vectors = [None if one.vector is None else one.vector.tolist() for one in asked]
            found.append((replace(entry, questions=tuple(asked)), vectors))
        problems = await store.check()
        await store.close()
        assert not problems
        return found

    return asyncio.run(work())


# Every command.


def told_by_every_command(url):
    """What each command says, with what differs from run to run taken out."""
    rows = [
        {"question": RESET, "answer": "By link.", "tenant": "acme", "tags": ["help"]},
        {"question": JAPANESE, "answer": "はい。", "tenant": "acme"},
        {"question": "Who?", "answer": "You."},
    ]
    Path("w.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    told = [
        run(url, *arguments)
        for arguments in (
            ["warm", "w.jsonl"],
            ["warm", "w.jsonl"],
            ["ask", RESET, "--tenant", "acme"],
            ["ask", RESET, "--tenant", "other"],
            ["get", JAPANESE, "--tenant", "acme"],
            ["get", "--id", "ab" * 32],
            ["check"],
            ["export", "e.jsonl", "--force"],
            ["purge", "--tag", "help", "--dry-run"],
            ["purge", "--tag", "help", "--yes"],
            ["import", "e.jsonl", "--dry-run"],
            ["import", "e.jsonl"],
            ["stats"],
            ["purge", "--tenant", "acme", "--yes"],
            ["purge", "--all", "--yes"],
        )
    ]
    changing = re.compile(r"\d{4}-\d\d-\d\d [\d:]+ UTC|\([^)]* ago\)|\d+(\.\d+)? \w+ old|(file|payload)_bytes +[\d,]+")
    return [(one.exit_code, changing.sub("", one.stdout), changing.sub("", one.stderr)) for one in told]


def test_every_command_says_of_a_server_what_it_says_of_a_file(server):
    of_the_server = told_by_every_command(server)
    assert of_the_server == told_by_every_command(FILE)
    assert [code for code, _, _ in of_the_server] == [0, 0, 0, 1, 0, 1, *[0] * 9]


def test_a_command_that_reads_makes_no_cache(engine, server):
    Path("e.jsonl").write_bytes(b"")
    for command in (["stats"], ["check"], ["ask", "x"], ["get", "x"], ["export", "f"], ["purge", "--all", "--yes"]):
        assert refused(run(server, *command), f"there is no cache named {name_in(server)} at 127.0.0.1:", "?name=")
    assert refused(run(server, "reindex"), "there is no cache")
    put(FILE, make_entry("a?"))
    assert said(FILE, "migrate", server, "--dry-run")["copied"] == 1
    assert run(FILE, "export", "e.jsonl", "--force").exit_code == 0
    assert refused(run(server, "import", "e.jsonl"), "'fake'")
    with open_sync_cache("sqlite:///exact.db", embedder="none") as cache:
        cache.remember(cache.lookup("a?"), "Yes.")
    assert run("sqlite:///exact.db", "export", "e.jsonl", "--force").exit_code == 0
    assert said(server, "import", "e.jsonl", "--dry-run")["imported"] == 1
    assert keys_of(engine, server) == indexes_of(engine, server) == []


def test_a_cache_of_another_embedder_can_be_looked_after_but_not_asked(server):
    put(server, make_entry("a?", vector=unit_vector(1, DIM)))
    assert refused(run(server, "ask", "a?"), "embedder 'fake'")
    stats = said(server, "stats")
    assert (stats["entries"], stats["embedder"], stats["dim"]) == (1, "fake", DIM)
    assert said(server, "check") == {"problems": []}
    assert said(server, "export", "e.jsonl")["exported"] == 1


def test_stats_tells_what_the_server_says(server):
    with open_sync_cache(server, embedder="none") as cache:
        cache.remember(cache.lookup(RESET), "Click on it.")
        cache.lookup(RESET)
    told = said(server, "stats", "--server")
    assert (told["entries"], told["hits"], told["evicted_keys"]) == (1, 1, 0)
    assert told["used_memory_bytes"] > 0
    refused = CliRunner().invoke(main, ["--url", FILE, "stats", "--server"])
    assert refused.exit_code == 2
    with open_sync_cache(FILE, embedder="none") as cache:
        cache.stats()
    refused = CliRunner().invoke(main, ["--url", FILE, "stats", "--server"])
    assert (refused.exit_code, "--server is for" in refused.stderr) == (2, True)


def test_a_server_that_is_away_ends_with_3(engine, make_engine):
    gone = make_engine()
    url = f"valkey://127.0.0.1:{gone.port}"
    gone.kill()
    for command in (["stats"], ["ask", "x"], ["export", "f"], ["reindex"]):
        ran = run(url, *command)
        assert (ran.exit_code, ran.stdout) == (3, "")
        assert ran.stderr.startswith("Error: ")
    assert not Path("f").exists()


def test_an_open_that_fails_leaves_no_connection(make_engine):
    own = make_engine()
    url = f"valkey://127.0.0.1:{own.port}"
    put(url, make_entry("a?"))

    def only_ours():
        return len(own.cli("CLIENT", "LIST").splitlines()) == 1

    wait_until(only_ours, "a closed store lets go of its connections")

    async def work():
        for _ in range(5):
            with pytest.raises(StoreMismatch):
                await open_cache(url, embedder="none")
        wait_until(only_ours, "an open that failed lets go of its connections")  # and not only because the loop ends

    asyncio.run(work())


# migrate.


def various():
    ann = make_scope(tenant="globex", user="ann")
    rich = Reply(
        text="はい。" * 50, chunk_lengths=(100, 50), sources=("s3://返品.pdf",), cost_usd=0.1, extra='{"id":1}'
    )
    aliases = [make_question(f"alias {n}?", ann, vector=unit_vector(10 + n, DIM)) for n in range(15)]
    vector = unit_vector(2, DIM)
    return [
        make_entry("plain?", "Yes.", vector=unit_vector(1, DIM), created=1.1),
        make_entry("no vector?", "No.", created=2.2, tags=("b", "a")),
        make_entry("ends?", "Once.", created=3.3, expires=4e9 + 0.1, stale_until=4e9 + 0.3, vector=unit_vector(3, DIM)),
        make_entry(JAPANESE, rich, scope=ann, vector=vector, aliases=aliases, created=4.4, tags=("returns",)),
    ]


@pytest.mark.parametrize("profile", ["memorydb", "valkey-search-1.0", "valkey-search-1.2"])
@pytest.mark.parametrize("kind", ["engine", "cluster_engine"])
def test_a_cache_goes_from_a_file_to_a_server_and_back(kind, profile, request, make_guard):
    guard = make_guard(request.getfixturevalue(kind), profile=profile)
    url = f"redis://127.0.0.1:{guard.port}?name=t{secrets.token_hex(8)}"
    put(FILE, *various())
    assert said(FILE, "migrate", url)["copied"] == 4
    assert entries_of(url) == entries_of(FILE)
    assert said(FILE, "migrate", url)["already_there"] == 4
    assert said(url, "migrate", "sqlite:///back.db")["copied"] == 4
    assert entries_of("sqlite:///back.db") == entries_of(FILE)
    assert said(url, "migrate", FILE)["already_there"] == 4
    assert refused(run(url, "migrate", url), "are one")


def test_two_caches_on_one_server_are_two(server):
    put(server, *various())
    assert said(server, "migrate", f"{server}2")["copied"] == 4
    assert entries_of(f"{server}2") == entries_of(server)


def test_newer_answers_on_the_server_stay(server):
    put(FILE, make_entry("a?", "old", created=1.0, aliases=[make_question("b?")]))
    put(server, make_entry("b?", "new", created=2.0))
    assert said(FILE, "migrate", server)["copied"] == 1
    put(server, make_entry("a?", "newer", created=3.0))
    assert said(FILE, "migrate", server)["newer_there"] == 1
    told = {question.text: entry.reply.text for entry, _ in entries_of(server) for question in entry.questions}
    assert told == {"a?": "newer", "b?": "new"}


def wait_for(engine, url, count, process):
    """Until so many entries are there, in ever new round trips."""
    while process.poll() is None:
        if engine.cli("ZCARD", f"{name_in(url)}:all:{{{name_in(url)}}}") >= count:
            return
    raise AssertionError(process.communicate(timeout=10))


def test_a_migration_to_a_server_that_was_killed_is_finished_by_the_next_one(engine, server):
    put(FILE, *(make_entry(f"q{n}?", f"a{n}", vector=unit_vector(n, DIM), created=1.0 + n) for n in range(300)))
    command = [sys.executable, "-m", "yamabiko.cli", "--url", FILE, "migrate", server]
    process = subprocess.Popen([*command, "--rate", "400"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(engine, server, 90, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    document = said(FILE, "migrate", server)
    assert document["copied"] + document["already_there"] == 300
    assert document["already_there"] >= 90
    assert document["copied"] > 0
    assert entries_of(server) == entries_of(FILE)


def test_a_server_that_goes_away_in_the_middle_loses_nothing_and_the_next_run_goes_on(make_engine):
    put(FILE, *(make_entry(f"q{n}?", f"a{n}", vector=unit_vector(n, DIM), created=1.0 + n) for n in range(300)))
    own = make_engine(appendonly=True)
    url = f"valkey://127.0.0.1:{own.port}?name=t{secrets.token_hex(8)}"
    command = [sys.executable, "-m", "yamabiko.cli", "--url", FILE, "migrate", url, "--rate", "400"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(own, url, 90, process)
    own.kill()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert re.match(
        r"not finished; copied: [1-9]\d+ entries;.*\nthe same command again goes on from there\nError: ", err
    )
    own.restart()
    assert said(FILE, "migrate", url)["already_there"] >= 90
    assert entries_of(url) == entries_of(FILE)


def test_a_server_that_lets_go_of_what_it_was_given_ends_with_1(make_engine):
    """What came first was read back and equal, and is gone when the last entry is written."""
    put(FILE, *(make_entry(f"q{n}?", "x" * 10_000, vector=unit_vector(n, DIM), created=1.0 + n) for n in range(600)))
    small = make_engine(maxmemory=8_000_000, policy="volatile-lru")
    ran = run(FILE, "migrate", f"valkey://127.0.0.1:{small.port}?name=small")
    assert ran.exit_code == 1, ran.output
    assert re.search(r"the target evicted [\d,]+ meanwhile: give it more memory", ran.stderr)


# reindex.


def embedding(words, dim):
    """A direction for each word, added up: what has most words in common is near."""
    total = sum((unit_vector(zlib.crc32(f"{dim} {word}".encode()), dim) for word in words.split()), np.zeros(dim))
    return (total / np.linalg.norm(total)).tolist()


def embeds(seen, _=0):
    """An OpenAI-compatible embedding server for models that are called after their dimension."""
    dim = int(seen.body["model"])
    found = [{"index": at, "embedding": embedding(text, dim)} for at, text in enumerate(seen.body["input"])]
    return Answer(body={"data": found, "model": seen.body["model"]})


UNGUARDED = Policy(max_error_rate=None, min_similarity=0.7, guards={"numbers": "off", "identifiers": "off"})
"""Whatever is nearest answers: these tests are about vectors, and number their questions."""


def settings(url, server, dim):
    embedder = EmbedderSettings(kind="http", url=url, model=str(dim), dim=dim)
    return Settings(url=server, embedder=embedder, policy=UNGUARDED)


def env(url, dim):
    named = {"KIND": "http", "URL": url, "MODEL": str(dim), "DIM": str(dim)}
    return {f"YAMABIKO_EMBEDDER__{name}": value for name, value in named.items()}


def ask(url, server, dim, question):
    """Tier and answer, or why there is none."""
    with open_sync_cache(settings=settings(url, server, dim)) as cache:
        outcome = cache.lookup(question)
        found = (outcome.tier, outcome.reply.text) if hasattr(outcome, "tier") else (outcome.reason.value, "")
        assert not cache.check()
        return found


def fill(url, server, dim, *questions):
    with open_sync_cache(
        settings=settings(url, server, dim), policy=Policy(max_error_rate=None, min_similarity=1.0)
    ) as cache:
        for question in questions:
            assert cache.remember(cache.lookup(question), f"Answer to {question}")


SIMILAR = "How can I reset my password?"
OLD, NEW = 24, 32


def test_a_cache_gets_another_embedder_and_the_old_index_goes(engine, server):
    with serving(embeds) as (url, requests):
        fill(url, server, OLD, RESET, JAPANESE, "Who?")
        assert ask(url, server, OLD, SIMILAR) == ("semantic", f"Answer to {RESET}")
        before, asked = keys_of(engine, server), len(requests)
        document = said(server, "reindex", "--dry-run", env=env(url, NEW))
        assert (document["embedded"], document["already_done"], document["retired"]) == (3, 0, None)
        assert (keys_of(engine, server), len(requests), len(indexes_of(engine, server))) == (before, asked, 1)
        document = said(server, "reindex", env=env(url, NEW))
        assert (document["embedded"], document["already_done"], document["dim"]) == (3, 0, NEW)
        assert document["retired"].endswith(f"/{OLD}")
        assert len(indexes_of(engine, server)) == 1
        assert ask(url, server, NEW, SIMILAR) == ("semantic", f"Answer to {RESET}")
        assert ask(url, server, NEW, JAPANESE) == ("exact", f"Answer to {JAPANESE}")
        assert refused(run(server, "ask", RESET, env=env(url, OLD)), "embedder")
        assert said(server, "reindex", env=env(url, NEW))["already_done"] == 3
        fields = engine.cli("HKEYS", next(key for key in keys_of(engine, server) if b":q:" in key))
        assert len([name for name in fields if name.startswith((b"v_", b"s_"))]) == 2


def test_the_old_index_may_stay_and_goes_with_a_later_run(engine, server):
    with serving(embeds) as (url, _):
        fill(url, server, OLD, RESET)
        assert said(server, "reindex", "--keep-old", env=env(url, NEW))["retired"] is None
        assert len(indexes_of(engine, server)) == 2
        assert ask(url, server, NEW, SIMILAR) == ("semantic", f"Answer to {RESET}")
        document = said(server, "reindex", env=env(url, NEW))
        assert (document["embedded"], document["already_done"]) == (0, 1)
        assert document["retired"].endswith(f"/{OLD}")
        assert len(indexes_of(engine, server)) == 1


def test_what_is_stored_while_it_runs_is_not_left_out(server):
    with serving(embeds) as (old_url, _):
        fill(old_url, server, OLD, RESET)

        def stores_meanwhile(seen, number):
            if number == 1:
                fill(old_url, server, OLD, "Where is the new museum?")
            return embeds(seen)

        with serving(stores_meanwhile) as (url, _):
            assert said(server, "reindex", env=env(url, NEW))["embedded"] == 2
            assert ask(url, server, NEW, "Where was the new museum?") == (
                "semantic",
                "Answer to Where is the new museum?",
            )


def test_a_reindexing_that_was_killed_is_finished_by_the_next_one(engine, server):
    here, go_on = threading.Event(), threading.Event()

    def second_waits(seen, number):
        if number == 2:
            here.set()
            return replace(embeds(seen), wait_for=go_on)
        return embeds(seen)

    questions = [f"What is number {n}?" for n in range(100)]
    with serving(embeds) as (url, _):
        fill(url, server, OLD, *questions)
    with serving(second_waits) as (url, _):
        command = [sys.executable, "-m", "yamabiko.cli", "--url", server, "reindex"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | env(url, NEW)
        )
        assert here.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        go_on.set()
        stats = said(server, "stats", env=env(url, NEW))
        assert stats["dim"] == OLD  # it still serves as it did
        document = said(server, "reindex", env=env(url, NEW))
        assert (document["embedded"], document["already_done"]) == (36, 64)
        assert ask(url, server, NEW, "What is number 99 please?")[0] == "semantic"
    assert len(indexes_of(engine, server)) == 1


def test_a_cache_without_vectors_gets_them(server):
    with open_sync_cache(server, embedder="none") as cache:
        image = [{"type": "text", "text": "What is this?"}, {"type": "image", "url": "a"}]
        for request in (Request(RESET), Request([{"role": "user", "content": image}])):
            cache.remember(cache.lookup(request), "An answer.")
    with serving(embeds) as (url, _):
        assert said(server, "reindex", env=env(url, NEW))["embedded"] == 2
        assert ask(url, server, NEW, SIMILAR) == ("semantic", "An answer.")
        assert said(server, "stats")["vectors"] == 1  # not of the question about an image


def test_reindex_refuses_what_it_is_not_for(server):
    put(FILE, make_entry("a?"))
    assert refused(run(FILE, "reindex"), "migrate", "--re-embed")
    put(server, make_entry("a?"))
    assert refused(run(server, "reindex"), "embedder.kind")
