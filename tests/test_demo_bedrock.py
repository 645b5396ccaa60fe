"""The demo on the stand-in of Bedrock, as a user runs it: what hits skip is what the stand-in counted."""

import json
import os
import re
import subprocess
import sys

import pytest

LINE = re.compile(
    r"demo: requests=(\d+) hits=(\d+) exact=(\d+) semantic=(\d+) wrong=(\d+) unanswered=(\d+) titan_calls=(\d+)"
    r" retrieve_calls=(\d+) converse_calls=(\d+) calls_on_hits=(\d+) p50_hit_ms=(\d+\.\d) p50_miss_ms=(\d+\.\d)"
)
ALARMING = re.compile(r"error|warning|failed|exception|traceback", re.IGNORECASE)


def run(*arguments, before=(), **environ):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("YAMABIKO_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-m", "yamabiko.cli", *before, "demo", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        env=kept | environ,
        check=False,
    )


def test_the_whole_architecture_runs_without_aws():
    ran = run("--bedrock-stand-in")
    assert ran.returncode == 0, ran.stderr
    assert not ALARMING.search(ran.stdout + ran.stderr), ran.stdout + ran.stderr
    found = LINE.fullmatch(ran.stdout.splitlines()[-1])
    assert found, ran.stdout
    requests, hits, exact, semantic, wrong, _, titan, retrieve, converse, on_hits = map(int, found.groups()[:10])
    assert requests == 80
    assert hits == exact + semantic
    assert exact > 10
    assert semantic > 0
    assert wrong == 0
    assert on_hits == 0
    assert retrieve == converse == requests - hits
    assert titan == requests - exact
    assert float(found[11]) < float(found[12])
    skipped = re.findall(r"^  (exact|semantic) +(en|ja) +[\d.]+ ms  (.*)$", ran.stdout, re.MULTILINE)
    assert len(skipped) == hits
    assert {tier: steps for tier, _, steps in skipped} == {
        "exact": "embedding, vector search, model",
        "semantic": "vector search, model",
    }
    assert {language for _, language, _ in skipped} == {"en", "ja"}
    for label in ("bedrock", "embedder", "documents", "model"):
        assert re.search(rf"^{label} .*SIMULATED", ran.stdout, re.MULTILINE), label
    assert re.search(r"starts in\s+shadow", ran.stdout)


def test_a_kept_store_goes_on_and_asks_for_less(tmp_path):
    def figures():
        ran = run(
            "--bedrock-stand-in",
            "--requests",
            "8",
            "--store",
            f"sqlite:///{tmp_path}/kept.db",
            before=["--json"],
            AWS_PROFILE="of-somebody",
            HTTP_PROXY="http://127.0.0.1:9",
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)["requests"]

    first, second = figures(), figures()
    assert first["hits"] < second["hits"]
    assert second["converse_calls"] == second["requests"] - second["hits"] == second["unanswered"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--store", "memory://"], "--store belongs to --bedrock-stand-in"),
        (["--bedrock-stand-in", "--upstream", "http://x/v1", "--model", "m"], "a model of its own"),
    ],
)
def test_options_that_do_not_go_together(arguments, said):
    ran = run(*arguments)
    assert ran.returncode == 2
    assert said in ran.stderr
