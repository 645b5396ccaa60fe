"""``yamabiko train-verifier``: weights of one's own for a verifier, and the way back; on a real file."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from pairing import TREES, expected, write_verifier
from yamabiko import Hit, Request, open_cache
from yamabiko.cli import main
from yamabiko.learn.trained import load_kept
from yamabiko.settings import Settings
from yamabiko.testing import ScriptedModel

MODEL = "minilm-l6-v2-int8"
WEAK = {"bias": -1.0, "score_logit": 1.0, "verifier_logit": 0.05, "low": 0.0, "high": 1.0}


@pytest.fixture(autouse=True)
def cache_with_a_verifier(tmp_path, monkeypatch):
    """A cache in a file, and a tiny verifier that knows the truth and is hardly listened to."""
    monkeypatch.chdir(tmp_path)
    write_verifier(tmp_path / "verifier", mix=WEAK)
    named = {
        "URL": "sqlite:///cache.db",
        "POLICY__MAX_ERROR_RATE": "0.1",
        "VERIFIER__KIND": "path",
        "VERIFIER__PATH": str(tmp_path / "verifier"),
    }
    monkeypatch.delenv("YAMABIKO_SETTINGS_FILE", raising=False)
    for name, value in named.items():
        monkeypatch.setenv(f"YAMABIKO_{name}", value)
    asked(lambda cache: cache.stats())


def settings():
    return Settings.load(
        arguments={
            "url": "sqlite:///cache.db",
            "policy.max_error_rate": 0.1,
            "verifier.kind": "path",
            "verifier.path": "verifier",
        }
    )


def asked(work):
    async def run():
        async with open_cache(settings=settings()) as cache:
            return await work(cache)

    return asyncio.run(run())


def pairs(count, seed=1):
    """Questions that differ in one word; the same where the tiny model finds the words close."""
    draw = random.Random(seed)
    made = []
    while len(made) < count:
        first, one, other = draw.choice(TREES), *draw.sample(TREES, 2)
        a, b = (f"please open the door {first} {name} now" for name in (one, other))
        made.append({"a": a, "b": b, "label": int(expected(a, b) > 1.2)})
    return made


def write(rows):
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "labels.jsonl"


def said(*arguments, code=0):
    ran = CliRunner().invoke(main, ["--json", "train-verifier", *arguments])
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def kept():
    async def work(cache):
        return (await load_kept(cache.store, MODEL))[0]

    return asked(work)


def test_too_few_labels_say_how_many_are_missing():
    (one,) = said("--labels", write(pairs(40)), code=1)["models"]
    assert not one["better"]
    assert f"of {one['labels']} here {500 - one['labels']} are missing" in one["why"]
    (none,) = said(code=1)["models"]  # the cache's own audits: there are none
    assert none["labels"] == 0
    assert kept().fits == ()


def test_weights_that_serve_more_are_put_to_use_and_taken_back_again():
    file = write(pairs(900))
    (one,) = said("--labels", file, "--as-they-came")["models"]
    assert one["better"]
    assert one["served"] > one["served_before"]
    assert one["verifier"] > WEAK["verifier_logit"]
    assert (kept().active, len(kept().fits)) == (1, 1)

    async def second_wording(cache):
        stored = "please open the door amber jade now"
        await cache.answer(Request(stored), ScriptedModel({stored: "It is open."}))
        await cache.drain()
        near = "please open the door amber kelp now"
        for _ in range(3):  # a worker hears of new weights behind a look-up
            outcome = await cache.lookup(Request(near))
            await cache.drain()
        return outcome

    hit = asked(second_wording)
    assert isinstance(hit, Hit)
    assert (hit.tier, hit.calibration) == ("verified", "certified")

    back = said("--back")["models"]
    assert [(step["before"], step["now"]) for step in back] == [(1, 0)]
    assert (kept().active, len(kept().fits)) == (0, 1)
    assert said("--back", code=1)["models"] == []
    assert not isinstance(asked(second_wording), Hit)


def test_calibrate_shows_the_standing_with_the_verifier_beside_that_of_the_score_alone():
    ran = CliRunner().invoke(main, ["--json", "calibrate"])
    assert ran.exit_code == 0, ran.output
    (own,) = [one for one in json.loads(ran.stdout)["namespaces"] if one["namespace"] == MODEL]
    (beside,) = own["verifiers"]
    assert beside["verifier"].startswith("tiny-1@")
    assert beside["namespace"] == MODEL


def test_weights_that_serve_no_more_are_not_taken():
    rows = pairs(900)
    draw = random.Random(2)
    for row in rows:
        row["label"] = draw.randrange(2)
    (one,) = said("--labels", write(rows), code=1)["models"]
    assert not one["better"]
    assert kept().fits == ()


def test_without_a_verifier_or_with_labels_to_go_back_it_says_what_to_do(monkeypatch):
    ran = CliRunner().invoke(main, ["train-verifier", "--back", "--labels", write(pairs(3))])
    assert ran.exit_code == 2
    monkeypatch.setenv("YAMABIKO_VERIFIER__KIND", "off")
    ran = CliRunner().invoke(main, ["train-verifier"])
    assert ran.exit_code != 0
    assert "verifier.kind" in ran.output
