"""The command line, as a shell sees it: what is printed where, exit codes, and files."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from loopback import Answer, serving
from yamabiko import Reply, Request, open_sync_cache
from yamabiko.cli import main
from yamabiko.settings import settings_table
from yamabiko.types import Source

DOCS = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
EXACT_ONLY = {"YAMABIKO_EMBEDDER__KIND": "none"}
RESET = "How do I reset my password?"
SECRET = "sk-" + "a1" * 20


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own, without the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in ("YAMABIKO_SETTINGS_FILE", "YAMABIKO_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments, env=EXACT_ONLY, **options):
    return CliRunner().invoke(main, list(arguments), env=env, **options)


def said(*arguments, **options):
    """The one JSON document of a command."""
    ran = run("--json", *arguments, **options)
    assert ran.stdout.count("\n") == 1, ran.output
    return json.loads(ran.stdout)


def failed(ran, code, *words):
    """It ended with this code, one clear last line and no traceback."""
    assert ran.exit_code == code, ran.output
    assert isinstance(ran.exception, SystemExit)
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[-1].startswith("Error: ")
    for word in words:
        assert word in ran.stderr
    return True


@pytest.fixture
def filled():
    """The URL of a cache with three entries: two of tenant acme, one of these tagged."""
    with open_sync_cache("sqlite:///cache.db", embedder="none") as cache:
        for question, tenant, tags in ((RESET, "acme", ["help"]), ("返品できますか？", "acme", []), ("Who?", "", [])):
            reply = Reply(
                text=f"Answer to {len(question)}.", sources=(Source("doc:1", "v1", base="KB1"),), chunk_lengths=(7, 5)
            )
            assert cache.remember(cache.lookup(Request(question, tenant=tenant, tags=tags, model="m")), reply)
    return "sqlite:///cache.db"


# The documentation.


def commands(group=main):
    return {name: command for name, command in group.commands.items() if not command.hidden}


def options_of(command):
    return {name for one in command.params if isinstance(one, click.Option) for name in one.opts + one.secondary_opts}


def options_under(command):
    """A group's options are those of its commands."""
    under = command.commands.values() if isinstance(command, click.Group) else ()
    return options_of(command).union(*map(options_under, under))


def undocumented(group, text):
    """Commands and options that a page of documentation lacks, and options that it makes up."""
    sections = dict(re.findall(r"^## `yamabiko ([a-z-]+)`\n(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE))
    introduction = text.partition("\n## ")[0]
    wrong = sorted(sections.keys() ^ commands(group).keys())
    wrong += [name for name in sorted(options_of(group)) if f"`{name}" not in introduction]
    for name, command in commands(group).items():
        section = sections.get(name, "")
        rows = {option for row in re.findall(r"^\| `(-.*?)` \|", section, re.MULTILINE) for option in [row.split()[0]]}
        wrong += [f"{name} {option}" for option in sorted(rows ^ options_under(command))]
        wrong += [f"{name}: example"] * (
            f"yamabiko {name}" not in "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
        )
        wrong += [f"{name}: exit codes"] * ("Exit code" not in section)
    return wrong


def test_every_command_and_option_is_documented():
    assert undocumented(main, DOCS.read_text(encoding="utf-8")) == []


def test_a_missing_command_or_option_is_noticed():
    text = DOCS.read_text(encoding="utf-8")
    assert undocumented(main, text.replace("| `--dry-run` |", "")) == [
        f"{command} --dry-run" for command in ("purge", "import", "migrate", "reindex", "sign", "warm")
    ]
    assert undocumented(main, text.replace("## `yamabiko check`", "## check"))[0] == "check"
    assert undocumented(main, text.replace("`--settings", "`--sets")) == ["--settings"]


def test_help_loads_nothing_heavy():
    program = "import sys\nfrom yamabiko.cli import main\nmain(['warm', '--help'], standalone_mode=False)\n"
    heavy = "print(sorted({'numpy', 'msgspec', 'sqlite3', 'httpx', 'onnxruntime', 'tokenizers'} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", program + heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("\n[]\n")


# Settings and errors.


def test_settings_say_where_each_value_came_from_and_mask_secrets():
    Path("y.toml").write_text('[store]\nmax_bytes = "512MiB"\n[policy]\nttl_seconds = "inf"\n')
    env = {"YAMABIKO_EMBEDDER__API_KEY": SECRET, "YAMABIKO_SETTINGS_FILE": "y.toml"}
    ran = run("--url", "sqlite:///x.db", "settings", env=env)
    assert ran.exit_code == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in ran.stdout.splitlines()}
    assert re.fullmatch(r"sqlite:///x.db +argument", lines["url"])
    assert re.fullmatch(r"512MiB +TOML", lines["store.max_bytes"])
    assert re.fullmatch(r"\*+ +environment YAMABIKO_EMBEDDER__API_KEY", lines["embedder.api_key"])
    assert SECRET not in ran.output
    document = said("--settings", "y.toml", "settings")
    assert document["store.max_bytes"] == {"value": 512 * 2**20, "source": "TOML"}
    assert document["policy.ttl_seconds"]["value"] is None  # no JSON number is infinite


def test_the_markdown_table_of_settings_is_the_documentation():
    assert run("settings", "--markdown").stdout == settings_table()


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["settings"], {"YAMABIKO_STORE__MAX_BYTES": "much"}, ["store.max_bytes", "environment YAMABIKO_STORE__MAX"]),
        (["settings"], {"YAMABIKO_NONSENSE": "1"}, ["there is no setting nonsense"]),
        (["--settings", "absent.toml", "settings"], {}, ["absent.toml", "No such file"]),
        (["--url", "mysql://x", "stats"], {}, ["sqlite://"]),
        (["stats"], {}, ["there is no cache at yamabiko.db", "--url"]),
        (["get"], {}, ["QUESTION or --id"]),
        (["ask", "   "], {}, ["the question is empty"]),
        (["ask", "x", "--upstream", "http://127.0.0.1:1"], {}, ["--model"]),
        (["demo", "--model", "m"], {}, ["--upstream"]),
        (["demo", "--upstream", "http://x", "--model", "m", "--api-key-env", "NO_SUCH"], {}, ["NO_SUCH"]),
        (["export", "f.jsonl"], {}, ["there is no cache"]),
        (["import", "absent.jsonl"], {}, ["absent.jsonl"]),
        (["nonsense"], {}, ["nonsense"]),
    ],
)
def test_wrong_usage_and_configuration_end_with_2_and_make_no_file(arguments, env, words):
    assert failed(run(*arguments, env=EXACT_ONLY | env), 2, *words)
    assert list(Path.cwd().iterdir()) == []


def test_a_damaged_file_ends_with_3():
    Path("cache.db").write_bytes(b"not a database, and long enough to be looked at" * 99)
    for command in (["stats"], ["check"], ["get", "x"], ["ask", "x"], ["purge", "--all", "--yes"], ["export", "f"]):
        assert failed(run("--url", "sqlite:///cache.db", *command), 3, "cache.db is damaged")
    assert not Path("f").exists()


def test_a_file_of_another_embedder_can_be_looked_after_but_not_asked(filled):
    env = {"YAMABIKO_EMBEDDER__KIND": "http", "YAMABIKO_EMBEDDER__URL": "http://127.0.0.1:1/v1"}
    env |= {"YAMABIKO_EMBEDDER__MODEL": "other", "YAMABIKO_EMBEDDER__DIM": "8"}
    assert failed(run("--url", filled, "ask", RESET, env=env), 2, "embedder 'none'")
    assert run("--url", filled, "check", env=env).exit_code == 0
    assert said("--url", filled, "stats", env=env)["entries"] == 3
    assert run("--url", filled, "export", "e.jsonl", env=env).exit_code == 0


# ask and get.


def test_ask_prints_the_answer_alone_and_the_reasons_beside_it(filled):
    ran = run("--url", filled, "ask", "How do I reset my  password", "--tenant", "acme", "--model", "m")
    assert ran.exit_code == 1  # without its mark it is another text, and this cache has no embedder
    assert ran.stdout == ""
    assert ran.stderr.startswith("miss: absent\n")
    ran = run("--url", filled, "ask", f"{RESET.upper()}?", "--tenant", "acme", "--model", "m")
    assert (ran.exit_code, ran.stdout) == (0, "Answer to 27.\n")
    assert ran.stderr.startswith("exact hit, similarity 1.0000")
    ran = run("--url", filled, "ask", "-", "--tenant", "acme", "--model", "m", input=f"{RESET}\n")
    assert ran.stdout == "Answer to 27.\n"


def test_ask_has_the_model_answer_once(monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    upstream = ["--model", "gpt-x", "--api-key-env", "A_KEY"]
    with serving(chat) as (url, requests):
        asked = ["--url", "sqlite:///c.db", "ask", RESET, "--system", "Be brief.", "--upstream", url, *upstream]
        first, second = run(*asked), run(*asked)
    assert first.stdout == second.stdout == "Answer to: How do I reset my password?\n"
    assert first.stderr.endswith("answered by gpt-x, stored\n")
    assert second.stderr.startswith("exact hit")
    assert [seen.headers["authorization"] for seen in requests] == [f"Bearer {SECRET}"]
    assert requests[0].body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert SECRET not in first.output + second.output


@pytest.mark.parametrize(("status", "words"), [(401, "HTTP status 401"), (200, "can't be used")])
def test_a_model_that_does_not_answer_ends_with_3(status, words):
    with serving(lambda *_: Answer(status=status, body={"nothing": "of use"})) as (url, _):
        ran = run("--url", "sqlite:///c.db", "ask", RESET, "--upstream", url, "--model", "m")
    assert ran.exit_code == 3
    assert words in ran.stderr.splitlines()[-1]
    assert run("--url", "sqlite:///c.db", "get", RESET, "--model", "m").exit_code == 1


def test_get_shows_the_entry_and_why(filled):
    ran = run("--url", filled, "get", RESET, "--tenant", "acme", "--model", "m")
    assert ran.exit_code == 0
    for words in ("exact hit", "the very same question", "acme", "help", "doc:1", "(in 7 d)", "Answer to 27."):
        assert words in ran.stdout
    document = said("--url", filled, "get", RESET, "--tenant", "acme", "--model", "m")
    assert (document["outcome"], document["tier"]) == ("hit", "exact")
    assert [question.casefold() for question in document["entry"]["questions"]] == [RESET.casefold()]
    by_id = said("--url", filled, "get", "--id", document["entry"]["id"])
    assert by_id["entry"] == document["entry"]


def test_get_of_what_is_not_there_ends_with_1(filled):
    assert run("--url", filled, "get", RESET, "--tenant", "other").exit_code == 1
    assert run("--url", filled, "get", "--id", "ab" * 32).exit_code == 1
    assert said("--url", filled, "get", RESET)["reason"] == "absent"


# stats, check and purge.


def test_stats_count(filled):
    figures = said("--url", filled, "stats")
    assert (figures["entries"], figures["questions"], figures["vectors"]) == (3, 3, 0)
    assert (figures["embedder"], figures["dim"]) == ("none", 1)
    assert re.search(r"^entries +3$", run("--url", filled, "stats").stdout, re.MULTILINE)


def test_check_lists_what_is_wrong(filled):
    assert run("--url", filled, "check").stdout == "the cache is sound\n"
    with sqlite3.connect("cache.db") as connection:
        connection.execute("UPDATE entry SET reply = x'00'")
    connection.close()
    ran = run("--url", filled, "check")
    assert ran.exit_code == 1
    assert len(ran.stdout.splitlines()) == 3
    assert len(said("--url", filled, "check")["problems"]) == 3


def test_purge_asks_first(filled):
    assert run("--url", filled, "purge", "--tenant", "acme", "--dry-run").stdout == "would be removed: 2 entries\n"
    refused = run("--url", filled, "purge", "--tenant", "acme", input="n\n")
    assert refused.exit_code == 1
    assert "Remove 2 entries?" in refused.stderr
    nobody = run("--url", filled, "purge", "--tenant", "acme", input="")
    assert nobody.exit_code == 2
    assert "--yes" in nobody.stderr
    assert said("--url", filled, "stats")["entries"] == 3
    assert run("--url", filled, "purge", "--tenant", "acme", input="y\n").stdout == "removed 2 entries\n"
    assert said("--url", filled, "stats")["entries"] == 1


@pytest.mark.parametrize(
    ("conditions", "removed"),
    [
        (["--tag", "help"], 1),
        (["--tag", "help", "--tenant", "other"], 0),
        (["--model", "m"], 3),
        (["--source", "doc:1", "--tenant", "acme"], 2),
        (["--source", "doc:1", "--digest", "v1"], 0),
        (["--source", "doc:1", "--digest", "v2", "--base", "KB1"], 3),
        (["--base", "KB2"], 0),
        (["--user", "ann"], 0),
        (["--id", "ab" * 32], 0),
        (["--dead"], 0),
        (["--all"], 3),
    ],
)
def test_purge_by_condition(filled, conditions, removed):
    assert said("--url", filled, "purge", *conditions, "--dry-run") == {"fitting": removed, "removed": 0}
    assert said("--url", filled, "purge", *conditions, "--yes") == {"removed": removed}
    assert said("--url", filled, "stats")["entries"] == 3 - removed


def test_purge_needs_a_condition(filled):
    assert failed(run("--url", filled, "purge", "--yes"), 2, "--all")
    assert failed(run("--url", filled, "purge", "--yes", "--all", "--dead"), 2, "--all")
    for wrong in (["--digest", "v1"], ["--digest", "", "--source", "doc:1"], ["--digest", "v1", "--base", "KB1"]):
        assert failed(run("--url", filled, "purge", "--yes", *wrong), 2, "--source")


# export and import.


def entries_of(url, embedder="none"):
    with open_sync_cache(url, embedder=embedder) as cache:
        return [
            (entry, [None if one.vector is None else one.vector.tolist() for one in entry.questions])
            for entry in cache.entries()
        ]


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz"])
def test_what_is_exported_and_imported_again_is_equal(filled, name):
    assert run("--url", filled, "export", name).stdout == f"exported 3 entries to {name}\n"
    assert Path(name).read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")
    assert said("--url", "sqlite:///new.db", "import", name, "--dry-run")["imported"] == 3
    assert not Path("new.db").exists()
    counts = {"dry_run": False, "imported": 3, "replaced": 0, "refused": 0, "problems": []}
    assert said("--url", "sqlite:///new.db", "import", name) == counts
    assert said("--url", "sqlite:///new.db", "import", name) == counts | {"imported": 0, "replaced": 3}
    assert entries_of("sqlite:///new.db") == entries_of(filled)
    assert len(entries_of(filled)) == 3


def test_export_and_import_through_pipes(filled):
    ran = run("--url", filled, "export", "-")
    assert len(ran.stdout.splitlines()) == 5  # header, three entries, end
    assert run("--url", "sqlite:///new.db", "import", "-", input=ran.stdout_bytes).exit_code == 0
    assert entries_of("sqlite:///new.db") == entries_of(filled)
    assert failed(run("--json", "--url", filled, "export", "-"), 2, "--json")


def test_export_replaces_no_file_unasked(filled):
    Path("e.jsonl").write_text("dear")
    assert failed(run("--url", filled, "export", "e.jsonl"), 2, "--force")
    assert Path("e.jsonl").read_text() == "dear"
    assert run("--url", filled, "export", "e.jsonl", "--force").exit_code == 0
    assert failed(run("--url", filled, "export", "nowhere/e.jsonl"), 2, "can't be written")
    assert sorted(path.name for path in Path.cwd().glob("e.jsonl*")) == ["e.jsonl"]


@pytest.mark.parametrize("damage", ["cut", "line left out", "word changed", "packed and cut"])
def test_an_export_that_was_cut_short_or_changed_is_refused_whole(filled, damage):
    run("--url", filled, "export", "e.jsonl")
    data = Path("e.jsonl").read_bytes()
    lines = data.splitlines(keepends=True)
    packed = gzip.compress(data)
    Path("e.jsonl").write_bytes(
        {
            "cut": data[: len(data) // 2],
            "line left out": b"".join(lines[:2] + lines[3:]),
            "word changed": data.replace(b"Answer to 27.", b"Answer to 28."),
            "packed and cut": packed[: len(packed) * 2 // 3],
        }[damage]
    )
    assert failed(run("--url", "sqlite:///new.db", "import", "e.jsonl"), 2, "cut short or changed")
    assert not Path("new.db").exists()
    taken = said("--url", "sqlite:///new.db", "import", "e.jsonl", "--partial")
    assert 1 <= taken["imported"] <= 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda entry: entry["questions"][0].update(digest="ab"), "64 hexadecimal digits"),
        (lambda entry: entry["questions"][0].update(vector="AAAA"), "float16"),
        (lambda entry: entry["questions"][0].update(vector="???"), "base64"),
        (lambda entry: entry.update(questions=[]), "1 to 16 questions"),
        (lambda entry: entry.update(surprise=1), "surprise"),
        (lambda entry: entry.pop("scope"), "scope"),
        (lambda entry: entry["reply"].update(text=7), "reply.text"),
        (lambda entry: entry.update(expires=9e9, stale_until=1.0), "stale_until"),
        (lambda entry: entry.update(created=None), "created"),
    ],
)
def test_a_line_that_is_no_entry_is_refused_without_its_text(filled, change, word):
    run("--url", filled, "export", "e.jsonl")
    lines = Path("e.jsonl").read_text(encoding="utf-8").splitlines()
    entry = json.loads(lines[1])
    change(entry)
    Path("e.jsonl").write_text("\n".join([lines[0], json.dumps(entry), *lines[2:]]) + "\n", encoding="utf-8")
    ran = run("--url", "sqlite:///new.db", "import", "e.jsonl", "--partial")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("line 2: ")
    assert word in ran.stderr
    assert "password" not in ran.output
    assert said("--url", "sqlite:///new.db", "stats")["entries"] == 2


def test_what_is_no_export_is_refused():
    for data in (b"", b"hello\n", b'{"format":"yamabiko.export","version":1}\n', b"\x1f\x8bnot gzip"):
        Path("e.jsonl").write_bytes(data)
        assert failed(run("--url", "sqlite:///new.db", "import", "e.jsonl"), 2, "no export of yamabiko")


SPECIFIC = Request("Who?", system="Be brief.", knowledge="v1", sampling={"seed": 1})
IMAGE = Request(
    [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "url": "a"}]}]
)


def test_an_export_of_another_embedder_is_embedded_anew_when_asked_to(filled):
    with open_sync_cache(filled, embedder="none") as cache:
        for request in (SPECIFIC, IMAGE):
            cache.remember(cache.lookup(request), "You.")
    run("--url", filled, "export", "e.jsonl")
    env = {"YAMABIKO_EMBEDDER__KIND": "local"}
    assert failed(run("--url", "sqlite:///new.db", "import", "e.jsonl", env=env), 2, "'none'", "--re-embed")
    ran = run("--url", "sqlite:///new.db", "import", "e.jsonl", "--re-embed", env=env)
    assert "imported: 5 entries" in ran.stdout
    with open_sync_cache("sqlite:///new.db", embedder="local") as cache:
        for request in (SPECIFIC, IMAGE):
            assert cache.lookup(request).tier == "exact"
        whole = {entry.questions[0].text: entry.questions[0].vector for entry in cache.entries()}
    assert whole["Who?"] is not None
    assert whole["What is this?"] is None  # its answer depends on what an embedder does not see
    similar = ["ask", "How can I reset my password?", "--tenant", "acme", "--model", "m"]
    ran = run("--url", "sqlite:///new.db", *similar, env=env)
    assert (ran.stdout, ran.stderr.split(",")[0]) == ("Answer to 27.\n", "semantic hit")
    assert run("--url", "sqlite:///new.db", "check", env=env).exit_code == 0


# warm.


def chat(seen, _):
    """An OpenAI-compatible answer that names the question."""
    question = seen.body["messages"][-1]["content"]
    message = {"role": "assistant", "content": f"Answer to: {question}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    return Answer(body={"object": "chat.completion", "model": "gpt-x", "choices": [choice], "usage": usage})


def test_warm_stores_given_answers_and_skips_what_is_there():
    rows = [
        {"question": RESET, "answer": "By link.", "tenant": "acme", "model": "m", "tags": ["help"]},
        {"question": "返品できますか？", "answer": "はい。"},
    ]
    Path("w.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    Path("w.csv").write_text(
        '\ufeffquestion,answer,tags\r\n"返品できますか？",いいえ。,\r\n"One,\r\ntwo?",Three.,"a; b"\r\n',
        encoding="utf-8",
    )
    counts = {"stored": 2, "skipped": 0, "refused": 0, "why": {}}
    assert said("--url", "sqlite:///c.db", "warm", "w.jsonl") == counts
    assert said("--url", "sqlite:///c.db", "warm", "w.jsonl") == counts | {"stored": 0, "skipped": 2}
    assert said("--url", "sqlite:///c.db", "warm", "w.csv", "--tag", "t") == counts | {"stored": 1, "skipped": 1}
    assert run("--url", "sqlite:///c.db", "ask", RESET, "--tenant", "acme", "--model", "m").stdout == "By link.\n"
    assert run("--url", "sqlite:///c.db", "ask", "返品できますか?").stdout == "はい。\n"
    assert said("--url", "sqlite:///c.db", "get", "One,\r\ntwo?")["entry"]["tags"] == ["t", "a", "b"]
    assert said("--url", "sqlite:///c.db", "warm", "w.csv", "--replace")["stored"] == 2
    assert run("--url", "sqlite:///c.db", "ask", "返品できますか?").stdout == "いいえ。\n"


def test_warm_embeds_what_it_stores():
    Path("w.jsonl").write_text(json.dumps({"question": RESET, "answer": "By link."}))
    env = {"YAMABIKO_EMBEDDER__KIND": "local"}
    assert said("--url", "sqlite:///c.db", "warm", "w.jsonl", env=env)["stored"] == 1
    ran = run("--url", "sqlite:///c.db", "ask", "How can I reset my password?", env=env)
    assert (ran.stdout, ran.stderr.split(",")[0]) == ("By link.\n", "semantic hit")


def test_warm_has_questions_answered_and_goes_on_where_it_ended():
    Path("q.txt").write_text("one?\ntwo?\n\nthree?\nOne?\n", encoding="utf-8")
    warm = ["--url", "sqlite:///c.db", "warm", "q.txt", "--model", "gpt-x", "--concurrency", "1", "--upstream"]
    with serving(lambda seen, number: Answer(status=500) if number == 3 else chat(seen, number)) as (url, requests):
        broken = run(*warm, url)
        assert broken.exit_code == 3
        assert "HTTP status 500" in broken.stderr
        counts = json.loads(run("--json", *warm, url).stdout)
    assert counts == {"stored": 1, "skipped": 3, "refused": 0, "why": {}}
    assert len(requests) == 4
    ran = run("--url", "sqlite:///c.db", "ask", "three?", "--model", "gpt-x")
    assert ran.stdout == "Answer to: three?\n"


def test_warm_says_what_it_did_not_store():
    Path("w.jsonl").write_text(
        json.dumps({"question": "a?", "answer": ""})
        + "\n"
        + json.dumps({"question": "b?", "answer": f"It is {SECRET}"})
    )
    ran = run("--url", "sqlite:///c.db", "warm", "w.jsonl")
    assert ran.exit_code == 1
    assert ran.stdout == "stored: 0; skipped: 0; not stored: 2\n"
    assert "1 not stored: the reply is empty" in ran.stderr
    assert SECRET not in ran.output


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("w.jsonl", '{"question": "dear?"}\nnot json', "line 2 is not a JSON object"),
        ("w.jsonl", '{"question": "dear?", "answer": 7}', "line 1"),
        ("w.jsonl", '{"question": "dear?", "answr": "x"}', "answr"),
        ("w.jsonl", '{"question": " ", "answer": "x"}', "line 1: the question is empty"),
        ("w.jsonl", '{"question": "dear?"}', "--upstream"),
        ("w.csv", "frage,answer\ndear?,x\n", "must name the columns"),
        ("w.csv", "question,answer\ndear?\n", "line 2 has not as many fields"),
        ("w.txt", "dear?\n", "--upstream"),
        ("w.data", "dear?\n", "--format"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_whole(name, text, words):
    Path(name).write_text(text)
    ran = run("--url", "sqlite:///c.db", "warm", name)
    assert failed(ran, 2, words)
    assert "dear" not in ran.output
    assert not Path("c.db").exists()


# The shell.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell):
    ran = run("completion", shell)
    assert ran.exit_code == 0
    assert "_YAMABIKO_COMPLETE" in ran.stdout


def test_the_script_completes_commands():
    env = {"_YAMABIKO_COMPLETE": "bash_complete", "COMP_WORDS": "yamabiko pur", "COMP_CWORD": "1"}
    ran = CliRunner().invoke(main, [], env=env, prog_name="yamabiko")
    assert ran.stdout == "plain,purge\n"


def test_an_interrupted_run_ends_with_130_and_keeps_what_it_had():
    Path("q.txt").write_text("one?\ntwo?\n")
    here, go_on = threading.Event(), threading.Event()

    def second_waits(seen, number):
        if number == 2:
            here.set()
            return Answer(wait_for=go_on)
        return chat(seen, number)

    with serving(second_waits) as (url, _):
        command = [sys.executable, "-m", "yamabiko.cli", "--url", "sqlite:///c.db", "warm", "q.txt", "--model", "m"]
        process = subprocess.Popen(
            [*command, "--concurrency", "1", "--upstream", url],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | EXACT_ONLY,
        )
        assert here.wait(30)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        go_on.set()
    assert (process.returncode, told) == (130, "interrupted\n")
    assert run("--url", "sqlite:///c.db", "ask", "one?", "--model", "m").stdout == "Answer to: one?\n"
