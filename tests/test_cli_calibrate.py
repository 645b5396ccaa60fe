"""``yamabiko calibrate``: labels from outside, and where namespaces stand, in a file and on a server."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from yamabiko import Hit, Policy, Request, open_sync_cache
from yamabiko.build import locate
from yamabiko.cli import main
from yamabiko.cli.importing import take_labels
from yamabiko.cli.opening import closing
from yamabiko.cli.standing import opened
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.errors import StoreUnavailable
from yamabiko.settings import Settings

ENGLISH, JAPANESE = "minilm-l6-v2-int8", "use-m3-384"
ACME = f"{ENGLISH}/t:822b33ad87c148a0"
LOOSE = {"YAMABIKO_POLICY__MAX_ERROR_RATE": "0.1", "YAMABIKO_VERIFIER__KIND": "off"}
"""At 10 % some 60 labels will do. With a verifier see test_cli_train_verifier.py."""


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
    for name, value in LOOSE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["file", "server"])
def url(request):
    """An empty cache in a file, and on a real server that refuses what MemoryDB would refuse."""
    if request.param == "file":
        found = "sqlite:///cache.db"
    else:
        guard = request.getfixturevalue("make_guard")(request.getfixturevalue("engine"), profile="memorydb")
        found = f"valkey://127.0.0.1:{guard.port}?name=t{secrets.token_hex(8)}"
    make(found)
    return found


@pytest.fixture
def file_url():
    make("sqlite:///cache.db")
    return "sqlite:///cache.db"


def run(url, *arguments, **options):
    return CliRunner().invoke(main, ["--url", url, *arguments], **options)


def said(url, *arguments, code=0, **options):
    ran = CliRunner().invoke(main, ["--json", "--url", url, *arguments], **options)
    assert code is None or ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def english(numbers, label=1):
    return [
        {"a": f"How do I add user {n} to my team?", "b": f"How can I add user {n} to my team?", "label": label}
        for n in numbers
    ]


def japanese(numbers, label=1):
    return [
        {"a": f"{n}番の窓口はどこにありますか", "b": f"{n}番の窓口はどこにありますか？", "label": label}
        for n in numbers
    ]


def write(rows, name="labels.jsonl"):
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def test_imported_labels_certify_and_every_command_sees_it(url):
    write(
        [
            *english(range(80)),
            *japanese(range(1, 81)),
            {"a": "Pay 5?", "b": "Pay 6?", "label": 0},
            {"a": "Pay 5?", "b": "pay 5?", "label": 1},
        ]
    )
    ran = run(url, "calibrate", "labels.jsonl", "--as-they-came", "--tenant", "acme")
    assert ran.exit_code == 0, ran.output
    assert f"{ACME}: 81 pairs, 80 of them would-be hits, 80 new labels" in ran.stdout
    assert ran.stdout.count("serving, serves from score 0.9") == 2
    assert re.search(r"certificate +at most \d+\.\d\d% wrong per hit from score 0\.\d+ on, at 95%", ran.stdout)
    assert "exact_only to shadow" in ran.stdout
    shown = {one["namespace"]: one for one in said(url, "calibrate")["namespaces"]}
    assert shown.keys() == {of for model in (ENGLISH, JAPANESE) for of in (model, f"{model}/t:822b33ad87c148a0")}
    acme = shown[ACME]
    assert (acme["state"], acme["calibration"], acme["labels"], acme["labels_missing"]) == (
        "serving",
        "certified",
        80,
        None,
    )
    assert acme["threshold"] == acme["certificate"]["threshold"]
    assert 0 < acme["error_upper"] <= 0.1
    assert 0 <= acme["certificate_age_seconds"] < 600
    assert [move["after"] for move in acme["transitions"]][:2] == ["shadow", "serving"]
    told = said(
        url,
        "explain",
        "How do I add user 7 to my team?",
        "How can I add user 7 to my team?",
        "--tenant",
        "acme",
        code=None,
    )
    assert (told["calibration"], told["threshold"]) == ("certified", acme["threshold"])
    assert told["served"] == (told["score"] >= acme["threshold"])


def test_a_cache_serves_by_imported_labels_and_says_so(url):
    policy = Policy(max_error_rate=0.1)
    stored, asked = "How do I add user 16 to my team?", "How can I add user 16 to my team?"
    with open_sync_cache(url, policy=policy) as cache:
        cache.remember(cache.lookup(Request(stored, tenant="acme")), "By its menu.")
    write(english(range(80)))
    assert run(url, "calibrate", "labels.jsonl", "--as-they-came", "--tenant", "acme").exit_code == 0
    with open_sync_cache(url, policy=policy) as cache:
        hit = cache.lookup(Request(asked, tenant="acme"))
    assert isinstance(hit, Hit), hit
    assert (hit.question, hit.calibration, hit.namespace) == (stored, "certified", ACME)
    told = said(url, "explain", stored, asked, "--tenant", "acme")
    assert (told["score"], told["error_upper"]) == (pytest.approx(hit.score, abs=1e-3), hit.error_upper)


def test_a_label_counts_once_in_however_many_files_it_stands(file_url):
    write(english(range(20)), "one.jsonl")
    write([*reversed(english(range(30)))], "more.jsonl")
    importing = ("calibrate", "--as-they-came")
    counts = []
    for name in ("one.jsonl", "one.jsonl", "more.jsonl", "one.jsonl", "more.jsonl"):
        (told,) = said(file_url, *importing, name, code=1)["namespaces"]
        counts.append((told["pairs"], told["new"], told["labels"]))
    assert counts == [(20, 20, 20), (20, 0, 20), (30, 10, 30), (20, 0, 30), (30, 0, 30)]


def test_labels_that_do_not_suffice_say_how_many_are_missing(file_url):
    write(english(range(10)))
    ran = run(file_url, "calibrate", "labels.jsonl", "--as-they-came")
    assert ran.exit_code == 1
    (missing,) = re.findall(r": (\d+) are missing", ran.stdout)
    (shown,) = [one for one in said(file_url, "calibrate")["namespaces"] if one["namespace"] == ENGLISH]
    assert shown["labels_missing"] == int(missing) == shown["next_attempt"] - 10
    assert shown["certificate"] is None


def test_labels_that_speak_against_it_certify_nothing(file_url):
    write([*english(range(50)), *english(range(50, 100), label=0)])
    ran = run(file_url, "calibrate", "labels.jsonl", "--as-they-came")
    assert ran.exit_code == 1
    assert "shortfall" in ran.stdout
    (shown,) = [one for one in said(file_url, "calibrate")["namespaces"] if one["namespace"] == ENGLISH]
    assert shown["threshold"] is None
    assert shown["shortfall"]["cause"] == "errors"


def test_whoever_imports_must_say_that_the_labels_are_as_they_came(file_url):
    write(english(range(80)))
    ran = run(file_url, "calibrate", "labels.jsonl")
    assert ran.exit_code == 2
    assert "say --as-they-came" in ran.stderr
    assert all(one["labels"] == 0 for one in said(file_url, "calibrate")["namespaces"])


def test_a_tenant_and_a_category_are_namespaces_of_their_own(file_url):
    write(english(range(80)))
    run(file_url, "calibrate", "labels.jsonl", "--as-they-came", "--tenant", "acme", "--category", "faq")
    names = [one["namespace"] for one in said(file_url, "calibrate")["namespaces"]]
    assert f"{ACME}/c:faq" in names
    assert "acme" not in " ".join(names)  # nobody's name in the clear
    other = said(file_url, "calibrate", "--tenant", "other")["namespaces"]
    assert {one["namespace"].partition("/")[0] for one in other} == {ENGLISH, JAPANESE}
    assert not any(one["stored"] for one in other if "/" in one["namespace"])


def test_two_imports_at_once_are_one_after_the_other(file_url):
    async def both():
        settings = Settings.load(arguments={"url": file_url})
        recorded = RecordedEmbedder(*(await locate(settings).recorded()))
        async with opened(settings, recorded) as cache:
            assert await cache.shared.claim(f"calibrate:{ENGLISH}", "another", seconds=60, now=time.time())
            with pytest.raises(StoreUnavailable, match="another import"):
                await take_labels(cache, ENGLISH, [])

    asyncio.run(both())


@pytest.mark.parametrize(
    ("arguments", "env", "code", "words"),
    [
        (["absent.jsonl", "--as-they-came"], {}, 2, "absent.jsonl"),
        (["bad.jsonl", "--as-they-came"], {}, 2, "line 1 is not a JSON object"),
        (["good.jsonl", "--as-they-came"], {"YAMABIKO_EMBEDDER__KIND": "none"}, 2, "needs an embedder"),
        (
            [],
            {"YAMABIKO_POLICY__MAX_ERROR_RATE": "none", "YAMABIKO_POLICY__MIN_SIMILARITY": "0.9"},
            2,
            "max_error_rate",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(file_url, arguments, env, code, words):
    Path("bad.jsonl").write_text("nonsense\n")
    write(english([1]), "good.jsonl")
    ran = run(file_url, "calibrate", *arguments, env=env)
    assert ran.exit_code == code
    assert words in ran.stderr.splitlines()[-1]


def test_a_cache_that_is_not_there_or_without_an_embedder():
    assert run("sqlite:///absent.db", "calibrate").exit_code == 2
    assert list(Path.cwd().iterdir()) == []
    make("sqlite:///plain.db", embedder="none")
    ran = run("sqlite:///plain.db", "calibrate", env={"YAMABIKO_EMBEDDER__KIND": "none"})
    assert (ran.exit_code, ran.stdout) == (0, "this cache matches nothing by meaning: it has no embedder\n")


def test_a_standing_that_can_not_be_read_is_told(file_url):
    async def spoil():
        settings = Settings.load(arguments={"url": file_url})
        recorded = await locate(settings).recorded()
        async with closing(await locate(settings).open(*recorded)) as store:
            assert await store.save_state(f"standing:{ENGLISH}", b"nonsense", expected=None)

    asyncio.run(spoil())
    ran = run(file_url, "calibrate")
    assert ran.exit_code == 2
    assert "can't be read" in ran.stderr
