"""``yamabiko explain``: the numbers behind a verdict, on the real embedder, in English and Japanese."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko.cli import main
from yamabiko.core.guards import GUARDS
from yamabiko.core.score import FEATURES
from yamabiko.core.shipped import shipped_threshold
from yamabiko.policy import Policy

RESET = ("How do I reset my password?", "How can I reset my password?")
RECEIPTS = ("領収書を2枚ください", "領収書を３枚ください")
EVERYTHING = {"YAMABIKO_POLICY__MAX_ERROR_RATE": "none", "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9"}
"""A policy that goes by the cosine alone: what it serves does not hang on a calibration."""


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments, **options):
    return CliRunner().invoke(main, list(arguments), **options)


def explained(*arguments, **options):
    ran = run("--json", "explain", *arguments, **options)
    assert ran.stderr == ""
    document = json.loads(ran.stdout)
    assert ran.exit_code == (0 if document["served"] else 1)
    return document


def test_each_feature_and_each_guard_is_shown_and_they_make_the_score():
    told = explained(*RESET)
    assert (told["stored"]["characters"], told["asked"]["characters"]) == (27, 28)
    assert (told["stored"]["script"], told["stored"]["language"]) == ("latin", "en")
    assert told["stored"]["model"] == told["namespace"] == "minilm-l6-v2-int8"
    assert 0.9 < told["similarity"] < 1
    assert told["features"].keys() == set(FEATURES)
    assert told["features"]["similarity"] == told["similarity"]
    assert [guard["name"] for guard in told["guards"]] == list(GUARDS)
    assert not any(guard["vetoes"] for guard in told["guards"])
    odds = math.fsum(row["log_odds"] for row in told["contributions"])
    assert told["score"] == pytest.approx(1 / (1 + math.exp(-odds)))
    assert 0 <= told["p_correct"] <= 1
    shipped = shipped_threshold("minilm-l6-v2-int8", Policy().max_error_rate, 0.95)
    assert told["threshold"] == (shipped.threshold if shipped else None)
    assert told["served"] == (shipped is not None and told["score"] >= shipped.threshold)


def test_a_guard_that_forbids_it_is_named_in_japanese_too():
    told = explained(*RECEIPTS)
    assert told["stored"]["model"] == "use-m3-384"
    assert (told["asked"]["script"], told["asked"]["language"]) == ("japanese", "ja")
    (numbers,) = [guard for guard in told["guards"] if guard["vetoes"]]
    assert (numbers["name"], numbers["mode"], numbers["strength"]) == ("numbers", "veto", 1.0)
    assert told["verdict"] == "not served: guard numbers at similarity 0.9254: they name different numbers"
    assert told["features"]["guard_numbers"] == 1.0


def test_guards_are_those_of_the_category():
    env = EVERYTHING | {"YAMABIKO_POLICY__GUARDS": "billing/numbers=feature"}
    assert not explained(*RECEIPTS, env=env)["served"]
    told = explained(*RECEIPTS, "--category", "billing", env=env)
    assert told["served"]
    assert told["namespace"] == "use-m3-384/c:billing"
    assert "min_similarity" in told["verdict"]


def test_the_cosine_must_reach_min_similarity():
    env = EVERYTHING | {"YAMABIKO_POLICY__MIN_SIMILARITY": "0.999"}
    assert "is below min_similarity 0.9990" in explained(*RESET, env=env)["verdict"]
    assert "serves nothing by meaning" in explained(*RESET, env={"YAMABIKO_POLICY__SEMANTIC": "false"})["verdict"]


def test_the_very_same_question_needs_no_score():
    told = explained("How do I reset my password?", "how do I  reset my password?")
    assert told["served"]
    assert "the very same question" in told["verdict"]


@pytest.mark.parametrize(
    ("stored", "asked", "why"),
    [
        ("Where is it?", "どこですか", "different models, minilm-l6-v2-int8 and use-m3-384"),
        ("Where is it?", "कहाँ है?", "the model can't see all of it"),
        ("```\nx = 1\n```", "Where is it?", "code"),
    ],
)
def test_what_is_never_compared_says_why(stored, asked, why):
    told = explained(stored, asked)
    assert not told["served"]
    assert told["score"] is None
    assert why in told["verdict"]


def test_it_is_readable_and_shows_no_text():
    ran = run("explain", *RECEIPTS)
    assert ran.exit_code == 1
    assert "\x1b" not in ran.output
    assert "領収書" not in ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("stored      10 characters")
    assert "numbers        veto         1.00  they name different numbers: veto" in lines
    assert lines[-1].startswith("not served: guard numbers at similarity")
    for word in ("similarity", "intercept", "score", "p_correct", "threshold", "namespace"):
        assert any(line.startswith(word) for line in lines), word


def test_it_is_coloured_on_a_terminal_only(monkeypatch):
    assert "\x1b[31m" in run("explain", *RECEIPTS, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("explain", *RECEIPTS, color=True).stdout


def test_a_cache_that_is_not_there_is_not_made():
    ran = run("--url", "sqlite:///c.db", "explain", *RESET)
    assert ran.exit_code == 2
    assert "there is no cache at c.db" in ran.stderr
    assert list(Path.cwd().iterdir()) == []


def test_it_needs_two_questions_and_an_embedder():
    assert "the question is empty" in run("explain", " ", "x").stderr
    ran = run("explain", *RESET, env={"YAMABIKO_EMBEDDER__KIND": "none"})
    assert ran.exit_code == 2
    assert "needs an embedder" in ran.stderr
    assert run("explain", *RECEIPTS, "--embedder", "local", env={"YAMABIKO_EMBEDDER__KIND": "none"}).exit_code == 1
