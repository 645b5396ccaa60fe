"""``yamabiko warm``: the questions that people ask most, from files, a real gateway's log and S3, within a budget."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import openai
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from loopback import Answer, serving
from upstreams.processes import running_gateway
from yamabiko import Hit, Request, open_sync_cache
from yamabiko.cli import main
from yamabiko.cli.terminal import Lines, Unavailable, Wrong
from yamabiko.cli.warm_budget import Budget, Costs, Limits
from yamabiko.cli.warm_lambda import handler
from yamabiko.core.economics import Price, Prices
from yamabiko.errors import ConfigurationError
from yamabiko.settings import GeneratorSettings
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing.bedrock import BedrockStandIn
from yamabiko.types import Reply, Usage

EXACT_ONLY = {"YAMABIKO_EMBEDDER__KIND": "none"}
LOCAL = {"YAMABIKO_EMBEDDER__KIND": "local"}
URL = "sqlite:///c.db"
NOVA = "amazon.nova-lite-v1:0"
SECRET_WORD = "zanzibar"
ASKED = [
    *["How do I reset my password?"] * 5,
    *["How can I reset my password?"] * 3,
    *["パスワードを再設定するにはどうすればいいですか？"] * 4,
    *["パスワードを再設定するにはどうすればよいですか？"] * 2,
    *["What is the refund window for orders over $50?"] * 2,
    "What is the refund window for orders over $80?",
]


@pytest.fixture(scope="module", autouse=True)
def credentials():
    """Nobody's settings and credentials but these."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("YAMABIKO_", "AWS_"))]:
            patch.delenv(name)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        }.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Every test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def run(*arguments, env=EXACT_ONLY, **options):
    return CliRunner().invoke(main, ["--url", URL, *map(str, arguments)], env=env, **options)


def said(*arguments, **options):
    ran = run("--json", *arguments, **options)
    assert ran.stdout.count("\n") == 1, ran.output
    return json.loads(ran.stdout)


def failed(ran, code, words):
    assert ran.exit_code == code, ran.output
    assert words in ran.stderr
    assert ran.stdout == ""


def chat(seen, _):
    """An answer that names the question, and costs 10 tokens in and 20 out."""
    message = {"role": "assistant", "content": f"Answer to: {seen.body['messages'][-1]['content']}"}
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Answer(body={"object": "chat.completion", "model": "gpt-x", "choices": [choice], "usage": usage})


def questions(requests):
    return [seen.body["messages"][-1]["content"] for seen in requests]


def numbered(count, name="q.txt"):
    Path(name).write_text("".join(f"Question {n}?\n" for n in range(count)))
    return name


def priced(usd_per_million=1e6 / 30, name="prices.json"):
    """A price file by which an answer of ``chat`` costs one dollar, and one of unknown length far more."""
    row = {"model": "gpt-x", "input": usd_per_million, "output": usd_per_million, "source": "a test"}
    Path(name).write_text(json.dumps({"dated": "2026-11-24", "models": [row]}))
    return {**EXACT_ONLY, "YAMABIKO_PRICES_PATH": name}


# What is read.


@pytest.mark.parametrize(
    ("name", "packed", "arguments", "given"),
    [
        ("q.txt", False, ["--from", "q.txt"], None),
        ("q.txt.gz", True, ["q.txt.gz"], None),
        ("q", False, ["--from", "-", "--format", "text"], "one?\ntwo?\n"),
        ("export", True, ["export", "--format", "text"], None),
    ],
)
def test_a_file_may_come_by_either_name_packed_or_from_standard_input(name, packed, arguments, given):
    data = b"one?\ntwo?\n"
    Path(name).write_bytes(gzip.compress(data) if packed else data)
    with serving(chat) as (url, requests):
        told = said("warm", *arguments, "--upstream", url, "--model", "gpt-x", "--concurrency", 1, input=given)
    assert told == {"stored": 2, "skipped": 0, "refused": 0, "why": {}}
    assert questions(requests) == ["one?", "two?"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILE, or --from"),
        (["q.txt", "--from", "q.txt"], "FILE, or --from"),
        (["--from", "nowhere.txt"], "nowhere.txt can't be read"),
        (["--from", "s3://bucket"], "s3://BUCKET/KEY"),
        (["q.txt", "--was", "r.json"], "--was needs --like"),
        (["q.txt", "--like", "r.json", "--system", "Be kind."], "--like"),
        (["q.txt", "--like", "q.txt"], "is not JSON"),
        (["q.txt", "--like", '{"model": '], "what is given is not JSON"),
        (["q.txt", "--batch", "s3://b/p", "--model", "m", "--max-usd", "1"], "--top"),
        (["q.txt", "--upstream", "http://x", "--model", "never-heard-of", "--max-usd", "1"], "no price is known"),
        (["damaged.txt"], "damaged"),
        (["r.csv"], "requests must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_done(arguments, words):
    numbered(1)
    Path("damaged.txt").write_bytes(gzip.compress(b"one?" * 1000)[:20])
    Path("r.csv").write_text("question,requests\none?,many\n")
    failed(run("warm", *arguments), 2, words)
    assert not Path("c.db").exists()


# The most asked ones.


def test_the_most_asked_questions_are_found_among_wordings_in_both_languages():
    Path("q.txt").write_text("\n".join(reversed(ASKED)), encoding="utf-8")
    with serving(chat) as (url, requests):
        arguments = ["warm", "q.txt", "--top", "2", "--model", "gpt-x", "--upstream", url, "--concurrency", 1]
        told = said(*arguments, env=LOCAL)
        assert (told["stored"], told["left"], told["ended"], told["calls"]) == (2, 0, "done", 2)
        assert questions(requests) == [ASKED[0], ASKED[8]]  # eight requests, then six
    served = run("ask", "How can I reset my password?", "--model", "gpt-x", env=LOCAL)
    assert (served.stdout, served.stderr.split(",")[0]) == (f"Answer to: {ASKED[0]}\n", "semantic hit")


def test_a_dry_run_says_what_would_be_asked_and_for_how_many_requests_it_stands():
    Path("q.txt").write_text("\n".join(ASKED), encoding="utf-8")
    told = said("warm", "q.txt", "--dry-run", env=LOCAL)
    counts = {one["question"]: (one["requests"], one["wordings"]) for one in told["questions"]}
    assert counts == {ASKED[0]: (8, 2), ASKED[8]: (6, 2), ASKED[14]: (2, 1), ASKED[16]: (1, 1)}
    assert (told["requests"], told["of"]) == (17, 4)
    assert not Path("c.db").exists()
    ran = run("warm", "q.txt", "--dry-run", "--top", "1")
    assert ran.stdout == f"       5  {ASKED[0]}\n"
    assert "17 requests asked 6 questions; 1 of them stand for 5 (29%)" in ran.stderr


def test_without_an_embedder_only_the_very_same_question_is_one():
    Path("q.txt").write_text("\n".join([*ASKED, "how do I  reset my password?"]), encoding="utf-8")
    told = said("warm", "q.txt", "--dry-run", "--top", "3")
    assert [one["requests"] for one in told["questions"]] == [6, 4, 3]
    assert told["of"] == 6


def test_a_file_may_say_how_often_a_question_is_asked():
    rows = [{"question": "rare?"}, {"question": "common?", "requests": 900}, {"question": "known?", "answer": "Yes."}]
    Path("q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with serving(chat) as (url, requests):
        arguments = ["warm", "q.jsonl", "--top", "1", "--model", "gpt-x", "--upstream", url]
        told, again = said(*arguments), said(*arguments)
    assert (told["stored"], questions(requests)) == (2, ["common?"])  # what has its answer is stored in any case
    assert (again["stored"], again["skipped"], again["calls"], again["left"]) == (0, 2, 0, 0)


def test_answers_for_callers_with_permissions_are_theirs():
    with serving(chat) as (url, _):
        told = said(
            "warm", numbered(1), "--model", "gpt-x", "--upstream", url, "--permission", "hr", "--permission", "人事"
        )
    assert told["stored"] == 1
    with open_sync_cache(URL, embedder="none") as cache:
        found = [
            cache.lookup(Request("Question 0?", model="gpt-x", permissions=held))
            for held in (["人事", "hr"], ["hr"], [])
        ]
    assert [isinstance(one, Hit) for one in found] == [True, False, False]


# Limits.


def test_a_budget_of_calls_is_the_runs_however_often_it_is_begun_again():
    arguments = ["warm", numbered(6), "--model", "gpt-x", "--max-calls", 4]
    with serving(chat) as (url, requests):
        first = said(*arguments, "--upstream", url)
        assert (first["stored"], first["left"], first["ended"], first["calls"]) == (4, 2, "budget", 4)
        assert first["usd"] is None  # nobody knows what gpt-x costs
        ran = run(*arguments, "--upstream", url)
        assert (ran.exit_code, len(requests)) == (1, 4)
        assert "the budget is spent" in ran.stderr
        assert "left: 2" in ran.stdout
        assert said(*arguments, "--upstream", url, "--max-calls", 5)["stored"] == 1  # more for the same run
        other = said(*arguments, "--upstream", url, "--run", "tuesday", "--max-calls", 1)
    assert (other["stored"], other["left"], other["run"], other["calls"]) == (1, 0, "tuesday", 1)
    assert sorted(questions(requests)) == [f"Question {n}?" for n in range(6)]


def test_a_call_begins_only_where_its_worst_case_fits_into_what_is_left():
    Path("r.json").write_text(json.dumps({"model": "gpt-x", "max_tokens": 20, "messages": []}))
    env = priced()  # a call costs 1 USD; its worst case is 20 tokens and some 50 bytes of prompt: 2.2
    env["YAMABIKO_GATEWAY__UPSTREAMS"] = "openai=http://127.0.0.1:9/v1"
    with serving(chat) as (url, requests):
        arguments = ["warm", numbered(8), "--like", "r.json", "--upstream", url, "--concurrency", 4]
        told = said(*arguments, "--max-usd", 5, env=env)
        assert told["ended"] == "budget"
        assert told["usd"] == pytest.approx(told["calls"])
        assert 3 <= told["calls"] <= 5
        assert len(requests) == told["calls"] == told["stored"] == 8 - told["left"]
        rest = said(*arguments, "--max-usd", 50, env=env)
    assert (rest["left"], rest["calls"]) == (0, 8)
    assert rest["usd"] == pytest.approx(8)


def test_a_call_that_fails_counts_as_its_worst_case():
    env = priced(1.0)
    with serving(lambda seen, number: Answer(status=500) if number == 2 else chat(seen, number)) as (url, _):
        arguments = ["warm", numbered(3), "--model", "gpt-x", "--upstream", url, "--concurrency", 1, "--max-usd", 1]
        assert run(*arguments, env=env).exit_code == 3
        told = said(*arguments, env=env)
    assert (told["stored"], told["skipped"], told["calls"]) == (2, 1, 4)
    assert told["usd"] > 4096 / 1e6  # what nobody knows is not taken for nothing


def test_what_could_not_be_stored_is_not_asked():
    env = {**EXACT_ONLY, "YAMABIKO_POLICY__REQUIRE_TENANT": "true"}
    with serving(chat) as (url, requests):
        ran = run("warm", numbered(2), "--model", "gpt-x", "--upstream", url, env=env)
        assert (ran.exit_code, requests) == (1, [])
        assert "2 not stored: the policy demands a tenant" in ran.stderr
        assert said("warm", "q.txt", "--model", "gpt-x", "--upstream", url, "--tenant", "acme", env=env)["stored"] == 2


def test_no_call_begins_after_the_time_is_up():
    with serving(chat) as (url, requests):
        told = said("warm", numbered(3), "--model", "gpt-x", "--upstream", url, "--max-seconds", 0)
    assert (told["left"], told["ended"], requests) == (3, "time", [])


def test_a_run_that_is_killed_goes_on_with_the_budget_that_it_had():
    """kill -9 while the third answer is being made."""
    here, go_on = threading.Event(), threading.Event()

    def third_waits(seen, number):
        if number == 3:
            here.set()
            return Answer(wait_for=go_on)
        return chat(seen, number)

    with serving(third_waits) as (url, requests):
        warm = ["warm", numbered(5), "--model", "gpt-x", "--max-calls", "5", "--concurrency", "1", "--upstream", url]
        command = [sys.executable, "-m", "yamabiko.cli", "--url", URL, *warm]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | EXACT_ONLY)
        assert here.wait(30)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        go_on.set()
        assert process.returncode == -signal.SIGKILL
        told = said(*warm)
        assert run("check").exit_code == 0
    assert (told["stored"], told["skipped"], told["left"], told["ended"]) == (2, 2, 1, "budget")
    assert told["calls"] == 5  # the one that was cut off among them
    assert len(requests) == 5
    assert questions(requests).count("Question 2?") == 2


def test_two_runs_at_once_ask_each_question_once():
    numbered(12)
    with serving(chat) as (url, requests):
        command = [sys.executable, "-m", "yamabiko.cli", "--url", URL, "--json", "warm", "q.txt", "--model", "gpt-x"]
        command += ["--upstream", url, "--max-calls", "12"]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | EXACT_ONLY) for _ in range(2)]
        told = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(questions(requests)) == sorted(f"Question {n}?" for n in range(12))
    assert sum(one["stored"] for one in told) == 12
    assert max(one["calls"] for one in told) == 12


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 1), st.sampled_from(["made", "not made", "killed"]))),
    st.floats(0, 10),
    st.integers(0, 12),
)
def test_a_budget_is_never_overdrawn_by_any_order_of_calls_and_deaths(calls, usd, most):
    async def spend():
        store = MemoryStore(embedder="none", dim=1)
        budget = Budget(store, "r", Limits(calls=most, usd=usd), lambda: 0.0)
        real, made = 0.0, 0
        for worst, share, fate in calls:
            if not await budget.begin(worst):
                before = budget.spent
                assert before.calls + 1 > most or before.usd + worst > usd
                continue
            if fate == "killed":
                real, made = real + worst * share, made + 1
                budget = Budget(store, "r", Limits(calls=most, usd=usd), lambda: 0.0)
            elif fate == "made":
                real, made = real + worst * share, made + 1
                await budget.end(worst, worst * share)
            else:
                await budget.end(worst, 0.0, calls=-1)
            assert made <= budget.spent.calls <= most or fate == "killed"
            assert real <= usd + 1e-6
        await store.close()

    asyncio.run(spend())


def test_the_worst_case_counts_bytes_bounds_and_passages():
    prices = Prices(models={"m": Price(input=1e6, output=1e6)})
    worst = Costs(prices, GeneratorSettings(), model="m", embedder="", needed=True).worst
    short = Request("富士", model="m", sampling={"max_tokens": 7})
    assert worst(short) >= 7 + len("富士".encode())
    assert worst(short) < 100
    assert worst(Request("a", model="m")) >= 4096
    bounded = Costs(prices, GeneratorSettings(max_tokens=50), model="m", embedder="", needed=True)
    assert 50 <= bounded.worst(Request("a", model="m")) < 100
    based = GeneratorSettings(kind="knowledge_base", model="m", knowledge_base="KB12345678", max_tokens=50)
    assert Costs(prices, based, model="m", embedder="", needed=True).worst(Request("a", model="m")) >= 5000
    assert bounded.real(Reply(text="a", model="m"), 3.0) == 3.0  # it does not say how long it was
    assert bounded.real(Reply(text="a", usage=Usage(input_tokens=1, output_tokens=1)), 3.0) == 2.0


# The access log: its digests, and the texts that the store has.


@pytest.fixture(scope="module")
def bedrock():
    with BedrockStandIn() as stand_in:
        yield stand_in


def on_bedrock(stand_in):
    there = {"region": "us-east-1", "endpoint_url": stand_in.url, "attempts": "1"}
    environ = {f"YAMABIKO_BEDROCK__{name.upper()}": value for name, value in there.items()}
    return environ | {"YAMABIKO_GATEWAY__UPSTREAMS": f"openai=bedrock:{NOVA}", **EXACT_ONLY}


def ask_gateway(stand_in, wanted, url=URL, log="access.log"):
    """A real gateway, asked by a real client; what it logs goes to a file. Which of the answers were hits."""
    there = {"bedrock__region": "us-east-1", "bedrock__endpoint_url": stand_in.url, "bedrock__attempts": 1}
    with Path(log).open("a") as stdout:
        upstream = f"--upstream=openai=bedrock:{NOVA}"
        with running_gateway(upstream, url=url, stdout=stdout, gateway__access_log="true", **there) as gateway:
            hits = []
            with openai.OpenAI(base_url=gateway.url, api_key="k", max_retries=0) as client:
                for messages in wanted:
                    response = client.chat.completions.with_raw_response.create(messages=messages, **ASKING)
                    hits.append("hit" in response.headers["cache-status"])
            gateway.stop()
    return hits


def turn(text, *before):
    return [*before, {"role": "user", "content": text}]


SYSTEM = {"role": "system", "content": "You help customers."}
ASKING = {"model": "any", "max_tokens": 50, "temperature": 0.2}
POPULAR, RARE = f"How do I reset my {SECRET_WORD}?", "領収書はどこにありますか"


@pytest.fixture(scope="module")
def a_day(bedrock, tmp_path_factory):
    """Eight requests: four and two for stand-alone questions, two within a conversation."""
    folder = tmp_path_factory.mktemp("day")
    said_before = [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    wanted = [turn(POPULAR, SYSTEM)] * 4 + [turn(RARE, SYSTEM)] * 2 + [turn("And the second one?", *said_before)] * 2
    hits = ask_gateway(bedrock, wanted, f"sqlite:///{folder}/c.db", folder / "access.log")
    assert hits == [False, True, True, True, False, True, False, True]
    assert SECRET_WORD not in (folder / "access.log").read_text()  # what a log holds is what it has always held
    (folder / "request.json").write_text(json.dumps({**ASKING, "messages": [SYSTEM, {"role": "user", "content": "?"}]}))
    return folder


@pytest.fixture
def log(a_day, tmp_path):
    """The same day for each test: its cache, its log, and a request's body."""
    shutil.copytree(a_day, tmp_path, dirs_exist_ok=True)
    return (tmp_path / "access.log").read_text()


def test_the_questions_behind_a_log_are_answered_anew_and_clients_find_them(bedrock, log):
    env = on_bedrock(bedrock)
    arguments = ["warm", "--from", "access.log", "--like", "request.json"]
    dry = said(*arguments, "--dry-run", env=env)
    assert [(one["question"], one["requests"]) for one in dry["questions"]] == [(POPULAR, 4), (RARE, 2)]
    listed = run(*arguments, "--dry-run", env=env)
    assert "2 of 8 requests left out: asked in another way" in listed.stderr
    before = bedrock.count("Converse")
    assert said(*arguments, "--replace", "--top", 5, env=env)["stored"] == 2
    assert bedrock.count("Converse") == before + 2
    assert ask_gateway(bedrock, [turn(POPULAR, SYSTEM), turn(RARE, SYSTEM)]) == [True, True]
    assert bedrock.count("Converse") == before + 2


def test_a_new_prompt_is_warmed_with_the_questions_of_the_old_one(bedrock, log):
    new = {"role": "system", "content": "You help customers, briefly."}
    Path("new.json").write_text(json.dumps({**ASKING, "messages": [new]}))
    env = on_bedrock(bedrock)
    lost = run("warm", "--from", "access.log", "--like", "new.json", env=env)
    assert "8 of 8 requests left out: asked in another way" in lost.stderr
    was = Path("request.json").read_text()  # as it stands in an argument
    told = said("warm", "--from", "access.log", "--like", "new.json", "--was", was, env=env)
    assert told["stored"] == 2
    assert ask_gateway(bedrock, [turn(POPULAR, new), turn(RARE, new)]) == [True, True]


def test_a_new_cache_takes_the_texts_from_the_old_one(bedrock, log):
    Path("exported.txt").write_text("".join(f"2026-11-24T09:15:02.792Z {line}\n" for line in log.splitlines()))
    arguments = ["--from", "exported.txt", "--format", "access-log", "--like", "request.json"]
    new = ["--json", "--url", "sqlite:///new.db", "warm", *arguments, "--questions-of", URL]
    ran = CliRunner().invoke(main, [*new, "--top", "1"], env=on_bedrock(bedrock))
    assert json.loads(ran.stdout)["stored"] == 1
    assert ask_gateway(bedrock, [turn(POPULAR, SYSTEM), turn(RARE, SYSTEM)], "sqlite:///new.db") == [True, False]


def test_what_was_purged_has_no_text_any_more_and_is_only_counted(bedrock, log):
    assert run("purge", "--all", "--yes").exit_code == 0
    ran = run("warm", "--from", "access.log", "--like", "request.json", env=on_bedrock(bedrock))
    assert "8 of 8 requests left out: not stored here" in ran.stderr
    assert ran.stdout == "stored: 0; skipped: 0; not stored: 0\n"


def test_lines_that_tell_of_nothing_are_passed_over():
    Path("a.log").write_text('{"_aws": {}}\nnot json {\n[1]\n{"tier": "hit", "status": 200, "key": 7}\n\n')
    assert run("warm", numbered(1), "--upstream", "http://127.0.0.1:9/v1", "--model", "m").exit_code == 3
    ran = run("warm", "a.log")
    assert ran.exit_code == 0
    assert "4 lines tell of no answered request" in ran.stderr


# S3, and Lambda.


@pytest.fixture
def bucket():
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="warm-bucket")
        yield lambda key, data: s3.put_object(Bucket="warm-bucket", Key=key, Body=data)


def test_questions_come_from_an_object_or_from_all_below_a_prefix(bucket):
    bucket("q/questions.txt", b"one?\n")
    bucket("day/2/000000.gz", gzip.compress("二つ？\n".encode()))
    bucket("day/1/000000.gz", gzip.compress(b"two?\n"))
    bucket("day/", b"")
    with serving(chat) as (url, requests):
        answered = ["--upstream", url, "--model", "gpt-x", "--concurrency", 1]
        assert said("warm", "--from", "s3://warm-bucket/q/questions.txt", *answered)["stored"] == 1
        assert said("warm", "--from", "s3://warm-bucket/day/", "--format", "text", *answered)["stored"] == 2
    assert questions(requests) == ["one?", "two?", "二つ？"]
    failed(run("warm", "--from", "s3://warm-bucket/none.txt"), 2, "there is no s3://warm-bucket/none.txt")
    failed(run("warm", "--from", "s3://warm-bucket/none/"), 2, "there is nothing below s3://warm-bucket/none/")
    assert run("warm", "--from", "s3://another-bucket/q.txt").exit_code == 3


class Context:
    def __init__(self, seconds):
        self.seconds = seconds

    def get_remaining_time_in_millis(self):
        return int(self.seconds * 1000)


@pytest.fixture
def on_lambda(monkeypatch):
    monkeypatch.setenv("YAMABIKO_URL", URL)
    monkeypatch.setenv("YAMABIKO_EMBEDDER__KIND", "none")


def test_a_function_does_the_same_and_can_be_invoked_again(bucket, on_lambda, capsys):
    bucket("questions.txt", b"one?\ntwo?\n")
    with serving(chat) as (url, requests):
        event = {"arguments": ["--from", "s3://warm-bucket/questions.txt", "--upstream", url, "--model", "gpt-x"]}
        none = handler(event, Context(29))
        assert (none["left"], none["ended"], len(requests)) == (2, "time", 0)
        told = handler({"arguments": ["warm", *event["arguments"]]}, Context(900))
        assert (told["stored"], told["left"], told["ended"]) == (2, 0, "done")
        assert handler(event)["skipped"] == 2
    assert len(requests) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["skipped"] == 2


def test_a_function_fails_where_the_command_does(on_lambda):
    numbered(1)
    with pytest.raises(ConfigurationError, match="arguments"):
        handler({"from": "q.txt"})
    with pytest.raises(Wrong, match=r"nowhere\.txt"):
        handler({"arguments": ["--from", "nowhere.txt"]})
    with pytest.raises(Unavailable):
        handler({"arguments": ["--from", "q.txt", "--upstream", "http://127.0.0.1:9/v1", "--model", "m"]})


# How far it has come.


def test_a_log_gets_a_line_now_and_then(capsys):
    now = [0.0]
    lines = Lines(1000, "warming", clock=lambda: now[0])
    for seconds in (1, 9.9, 10, 15, 20.1):
        now[0] = seconds
        lines.update(100)
    assert capsys.readouterr().err == "warming: 300 of 1,000\nwarming: 500 of 1,000\n"


def test_no_question_is_told_unless_one_asks_for_it(bedrock, log):
    ran = run("warm", "--from", "access.log", "--like", "request.json", "--replace", env=on_bedrock(bedrock))
    assert ran.exit_code == 0
    assert SECRET_WORD not in ran.output
