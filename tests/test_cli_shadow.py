"""``yamabiko shadow report`` and ``near-misses``: what was not served, and what labels say of it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko import Policy, Reply, Request, open_cache, open_sync_cache
from yamabiko.build import locate
from yamabiko.cli import main
from yamabiko.cli.standing import opened
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.learn.namespaces import namespace_of
from yamabiko.settings import Settings
from yamabiko.testing import make_entry, make_question
from yamabiko.types import Candidate, Trial

ENGLISH, JAPANESE = "minilm-l6-v2-int8", "use-m3-384"
STRICT = 0.001
"""So few errors that no calibration on public data allows them: a cache begins in shadow."""


def make(url, **options):
    """An empty cache."""
    with open_sync_cache(url, **options) as cache:
        cache.stats()


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("YAMABIKO_POLICY__MAX_ERROR_RATE", str(STRICT))


@pytest.fixture(params=["file", "server"])
def url(request):
    """A place for a cache: a file, and a real server that refuses what MemoryDB would refuse."""
    if request.param == "file":
        return "sqlite:///cache.db"
    guard = request.getfixturevalue("make_guard")(request.getfixturevalue("engine"), profile="memorydb")
    return f"valkey://127.0.0.1:{guard.port}?name=t{secrets.token_hex(8)}"


def run(url, *arguments, **options):
    return CliRunner().invoke(main, ["--url", url, *arguments], **options)


def said(url, *arguments, code=0, **options):
    ran = CliRunner().invoke(main, ["--json", "--url", url, *arguments], **options)
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def fill(url, *questions, tenant="acme"):
    with open_sync_cache(url) as cache:
        for question in questions:
            request = Request(question, tenant=tenant)
            assert cache.remember(cache.lookup(request), Reply(text=f"Answer to {question}"))


def judged_in_shadow(url, outcomes, *, tenant=""):
    """A worker that draws look-ups of these (score, correct) in shadow and labels them; correct None: it never does."""

    async def work():
        learn = {"judge_url": "http://x", "judge_model": "m"}
        settings = Settings.load(arguments={"url": url, "learn": learn, "policy.max_error_rate": STRICT})
        recorded = RecordedEmbedder(*(await locate(settings).recorded()))
        namespace = namespace_of(ENGLISH, tenant, "")
        async with opened(settings, recorded) as cache:
            standings = await cache.standings(namespace)
            position = await standings.of(namespace)
            assert position.design is not None
            for at, (score, correct) in enumerate(outcomes):
                candidate = Candidate(entry=make_entry(f"q{at}"), similarity=0.9, score=score)
                trial = Trial(
                    id=secrets.token_hex(8),
                    namespace=namespace,
                    design=position.design.id,
                    score=score,
                    candidate=candidate,
                    served=False,
                )
                if position.design.draws(trial.id, score):
                    assert await standings.drawn(trial, make_question(f"q{at}").digest)
                    if correct is not None:
                        await standings.judged(trial, correct, "equal" if correct else "model")
            await standings.advance(namespace)

    asyncio.run(work())


def test_the_report_counts_labels_and_errors_by_threshold(url):
    make(url)
    judged_in_shadow(url, [*[(0.9, True)] * 30, *[(0.7, True)] * 5, *[(0.6, False)] * 5], tenant="acme")
    shown = {one["namespace"]: one for one in said(url, "shadow", "report")["namespaces"]}
    acme = shown[f"{ENGLISH}/t:822b33ad87c148a0"]
    assert shown.keys() == {ENGLISH, acme["namespace"]}
    assert (acme["drawn"], acme["unserved"], acme["labelled"], acme["wrong"]) == (40, 40, 40, 5)
    assert acme["judges"] == {"equal": 35, "model": 5}
    by_threshold = {point["threshold"]: point for point in acme["curve"]}
    assert {at: (point["labels"], point["wrong"]) for at, point in by_threshold.items() if at >= 0.6} == {
        0.9: (30, 0),
        0.7: (35, 0),
        0.6: (40, 5),
    }
    assert by_threshold[0.6]["low"] < 5 / 40 < by_threshold[0.6]["high"]
    assert acme["labels_missing"] > 100
    ran = run(url, "shadow", "report", "--tenant", "acme")
    assert ran.exit_code == 0
    assert re.search(r"0\.600000 +40 +5 +0 +12\.50%", ran.stdout)
    assert "40, 5 of them wrong (equal 35, model 5)" in ran.stdout


def test_what_a_cache_with_a_judge_learns_in_shadow_is_reported(url):
    async def judge(_):
        raise AssertionError  # equal answers need no model

    async def model(_):
        return "By the menu."

    async def ask():
        async with open_cache(url, judge=judge, policy=Policy(max_error_rate=STRICT)) as cache:
            for question in ("How do I add a user to my team?", "How can I add a user to my team?"):
                await cache.answer(Request(question, tenant="acme"), model)
                await cache.drain()

    asyncio.run(ask())
    shown = {one["namespace"]: one for one in said(url, "shadow", "report")["namespaces"]}
    acme = shown[f"{ENGLISH}/t:822b33ad87c148a0"]
    assert (acme["state"], acme["drawn"], acme["unserved"], acme["labelled"], acme["wrong"]) == ("shadow", 1, 1, 1, 0)
    assert acme["judges"] == {"equal": 1}
    standing = {one["namespace"]: one for one in said(url, "calibrate")["namespaces"]}
    assert standing[acme["namespace"]]["labels"] == 1
    assert standing[acme["namespace"]]["labels_missing"] == acme["labels_missing"] > 100


def test_a_look_up_that_was_drawn_and_not_yet_labelled_is_not_yet_judged():
    url = "sqlite:///cache.db"
    make(url)
    judged_in_shadow(url, [(0.9, True), (0.8, None), (0.9, False)])
    (root,) = said(url, "shadow", "report")["namespaces"]
    assert (root["drawn"], root["labelled"], root["wrong"]) == (3, 2, 1)
    # What came after the missing one waits for it: nobody can choose the sample by its outcome.
    assert [(point["threshold"], point["labels"], point["wrong"]) for point in root["curve"]][:1] == [(0.9, 1, 0)]


def test_nothing_was_drawn_yet():
    url = "sqlite:///cache.db"
    make(url)
    ran = run(url, "shadow", "report")
    assert (ran.exit_code, ran.stdout) == (0, "no look-up was drawn for a label yet\n")
    env = {"YAMABIKO_POLICY__MAX_ERROR_RATE": "none", "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9"}
    assert run(url, "shadow", "report", env=env).exit_code == 2
    assert run("sqlite:///absent.db", "shadow", "report").exit_code == 2
    assert not Path("absent.db").exists()


def test_near_misses_show_what_kept_an_answer_back(url):
    fill(url, "Can I book 5 seats?", "Can I book 6 seats?", "What is the weather like?")
    fill(url, "領収書を2枚ください", "領収書を3枚ください", tenant="nihon")
    found = said(url, "near-misses")["near_misses"]
    assert [(one["a"], one["b"]) for one in sorted(found, key=lambda one: one["a"])] == [
        ("Can I book 5 seats?", "Can I book 6 seats?"),
        ("領収書を2枚ください", "領収書を3枚ください"),
    ]
    assert [one["similarity"] for one in found] == sorted((one["similarity"] for one in found), reverse=True)
    for one in found:
        assert (one["reason"], one["guards"]) == ("guard", ["numbers"])
        assert 0.7 < one["similarity"] < 1
        assert 0 < one["score"] < 1
    assert {one["namespace"].partition("/")[0] for one in found} == {ENGLISH, JAPANESE}
    assert [one["b"] for one in said(url, "near-misses", "--tenant", "acme")["near_misses"]] == ["Can I book 6 seats?"]
    assert said(url, "near-misses", "--limit", "1")["near_misses"] == found[:1]
    ran = run(url, "near-misses", "--tenant", "nihon")
    assert "guard numbers at similarity 0.9254: they name different numbers\n" in ran.stdout
    assert "  stored  領収書を2枚ください\n  asked   領収書を3枚ください" in ran.stdout


def test_a_pair_of_a_near_miss_needs_a_label_alone_to_be_tuned_by():
    url = "sqlite:///cache.db"
    fill(url, "Can I book 5 seats?", "Can I book 6 seats?")
    rows = [one | {"label": 0} for one in said(url, "near-misses")["near_misses"]]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert said(url, "tune", "pairs.jsonl", code=1)["models"][0]["pairs"] == 1


def test_there_are_no_near_misses_where_nothing_is_near_or_nothing_matched_by_meaning():
    fill("sqlite:///cache.db", "Can I book 5 seats?", "What is the weather like?")
    assert run("sqlite:///cache.db", "near-misses").stdout == "no stored question is near another one\n"
    fill("sqlite:///more.db", "Can I book 5 seats?", "Can I book 6 seats?")
    env = {"YAMABIKO_POLICY__SEMANTIC": "false"}
    assert said("sqlite:///more.db", "near-misses", env=env)["near_misses"] == []
    assert run("sqlite:///absent.db", "near-misses").exit_code == 2
    assert not Path("absent.db").exists()
