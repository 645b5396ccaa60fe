"""``yamabiko experiment`` as a shell sees it, on a file and on a server that workers use at the same time."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko import Policy, Reply, Request, open_sync_cache
from yamabiko.build import locate
from yamabiko.cli import main
from yamabiko.flight import Background
from yamabiko.learn.experiment import Experiments
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.settings import Settings

START = ("experiment", "start", "looser", "--set", "candidates=8")


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YAMABIKO_EMBEDDER__KIND", "none")


@pytest.fixture(params=["file", "server"])
def url(request):
    """A cache with one answer."""
    where = "sqlite:///cache.db"
    if request.param == "server":
        where = f"redis://127.0.0.1:{request.getfixturevalue('engine').port}?name=x{secrets.token_hex(6)}"
    return filled(where)


@pytest.fixture
def file():
    return filled("sqlite:///cache.db")


def filled(where):
    with open_sync_cache(where, embedder="none") as cache:
        assert cache.remember(cache.lookup(Request("Who?", model="m")), Reply(text="I am."))
    return where


def run(url, *arguments):
    return CliRunner().invoke(main, ["--url", url, *arguments])


def said(url, *arguments):
    ran = CliRunner().invoke(main, ["--json", "--url", url, *arguments])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.count("\n") == 1
    return json.loads(ran.stdout)


def refused(ran, *words):
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    for word in words:
        assert word in ran.stderr.splitlines()[-1]
    return True


def serve(url, *, hits_of_treatment):
    """A worker of the cache serves 200 callers, whose arms differ so much."""

    async def work():
        store = await locate(Settings(url=url)).open(NO_EMBEDDER, 1)
        behind = Background()
        worker = Experiments(store, policy=Policy(), clock=time.time, spawn=behind.spawn)
        await worker.refresh()
        arms = set()
        for number in range(200):
            arm = worker.arm_of(f"user:{number}")
            arms.add((arm.name, arm.policy.candidates))
            for request in range(20):
                worker.note(arm, hit=request < (hits_of_treatment if arm.name == "treatment" else 5))
            worker.audited(arm, correct=number % 10 > 0)
            worker.feedback(arm, ok=True)
        await worker.close()
        await behind.drain()
        await store.close()
        return arms

    return asyncio.run(work())


def test_an_experiment_from_start_to_stop(url):
    begun = said(url, *START, "--set", "max_error_rate=0.05", "--share", "0.4", "--warmup", "0s")
    assert (begun["changes"], begun["share"], begun["stopped"]) == ("candidates=8,max_error_rate=0.05", 0.4, None)
    assert "key" not in begun
    assert "can't be told yet from 0 callers" in " ".join(run(url, "experiment", "status").stdout.split())
    assert serve(url, hits_of_treatment=18) == {("control", Policy().candidates), ("treatment", 8)}
    for _ in range(3):  # as often as one likes
        found = said(url, "experiment", "status", "looser")
    assert (found["serves_more"], found["running"], found["experiment"]) == ("treatment", True, "looser")
    assert found["hits"]["low"] > 0
    assert found["hits"]["control"]["callers"] + found["hits"]["treatment"]["callers"] == 200
    assert found["requests"]["control"]["requests"] + found["requests"]["treatment"]["requests"] == 4000
    assert found["verdict"].startswith("The treatment serves more")
    ended = said(url, "experiment", "stop", "looser")
    assert ended["stopped"] >= begun["started"]
    again = said(url, "experiment", "status")
    assert (again["running"], again["hits"]) == (False, found["hits"])
    assert serve(url, hits_of_treatment=18) == {("control", Policy().candidates)}


def test_people_get_lines_that_fit_and_say_it_in_words(file):
    run(file, *START)
    serve(file, hits_of_treatment=18)
    run(file, "experiment", "stop", "looser")
    run(file, "experiment", "start", "next", "--set", "guards.numbers=feature")
    told = run(file, "experiment", "status", "looser").stdout
    assert all(len(line) <= 100 for line in told.splitlines())
    assert "looser: stopped, until" in told
    assert "candidates=8, for 50% of the callers" in told
    assert "The treatment serves more: the hit rate of treatment minus control is" in told
    assert "others: looser" in run(file, "experiment", "status").stdout


def test_a_cache_without_experiments_says_how_to_start_one(file):
    ran = run(file, "experiment", "status")
    assert ran.exit_code == 0
    assert "yamabiko experiment start NAME --set" in ran.stdout
    assert said(file, "experiment", "status") == {"experiment": None, "experiments": []}


def test_what_cannot_be_is_refused_with_what_to_do(file):
    assert refused(run(file, "experiment", "start", "a"), "--set")
    assert refused(run(file, *START, "--share", "1"), "share must be in (0, 1)")
    assert refused(run(file, *START, "--window", "soon"), "1h30m")
    assert refused(run(file, *START, "--set", "users=personal"), "both arms must find the same answers")
    assert refused(run(file, *START, "--set", "candidate=9"), "there are max_error_rate")
    assert refused(run(file, "experiment", "status", "nonsense"), "yamabiko experiment start")
    assert refused(run(file, "experiment", "stop", "nonsense"), "yamabiko experiment start")
    assert run(file, *START).exit_code == 0
    assert refused(run(file, "experiment", "start", "b", "--set", "candidates=3"), "yamabiko experiment stop looser")
    assert run(file, "experiment", "stop", "looser").exit_code == 0
    assert refused(run(file, *START), "choose another name")


def test_it_needs_a_cache_that_lasts():
    assert refused(run("memory://", *START), "sqlite:///FILE")
    assert refused(run("sqlite:///none.db", *START), "there is no cache at none.db")
    assert not list(Path().iterdir())
