"""The demo: that its figures add up, that it judges by the data, and that a killed process loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from click.testing import CliRunner

from loopback import Answer, serving
from yamabiko import Policy, Reply, Request, open_cache
from yamabiko.cli import main
from yamabiko.cli.demo_asking import Asked, Clockwork, ask_all
from yamabiko.cli.demo_model import prompt
from yamabiko.cli.demo_report import examples, totals
from yamabiko.cli.intents import questions_asked, read_intents
from yamabiko.core.normalise import normalise
from yamabiko.testing import FakeEmbedder

EXACT_ONLY = {"YAMABIKO_EMBEDDER__KIND": "none"}
LINE = re.compile(
    r"demo: requests=(\d+) hits=(\d+) exact=(\d+) semantic=(\d+) wrong=(\d+) llm_calls=(\d+)"
    r" p50_hit_ms=(\d+\.\d+) p50_miss_ms=(\d+\.\d+) saved_usd=(\d+\.\d+)"
)


def demo_of(*arguments):
    ran = CliRunner().invoke(main, ["--json", "demo", *arguments], env=EXACT_ONLY)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


# As a user runs it.


def test_the_demo_as_it_stands():
    environ = {name: value for name, value in os.environ.items() if not name.startswith("YAMABIKO_")}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-m", "yamabiko.cli", "demo", "--requests", "60"],
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        env=environ,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    found = LINE.fullmatch(ran.stdout.splitlines()[-1])
    assert found, ran.stdout
    requests, hits, exact, semantic, wrong, llm_calls = map(int, found.groups()[:6])
    waited = sum(map(int, re.findall(r"waited for another's call +\d+ +\d+ +(\d+)", ran.stdout)))
    assert requests == 60
    assert hits == exact + semantic > 0
    assert semantic > 0
    assert wrong <= semantic
    assert llm_calls == requests - hits - waited > 0
    p50_hit_ms, p50_miss_ms, saved_usd = map(float, found.groups()[6:])
    assert 0 < p50_hit_ms < p50_miss_ms
    assert saved_usd > 0
    for words in ("SIMULATED", "log-normal", "Zipf law with exponent 1", "kill -9", "served, in other words"):
        assert words in ran.stdout
    survived, acknowledged = re.search(r"(\d+) of (\d+)\s+acknowledged", ran.stdout).groups()
    assert survived == acknowledged != "0"


def test_a_folder_that_cannot_be_made_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    ran = CliRunner().invoke(main, ["demo", "--dir", str(tmp_path / "file" / "folder")], env=EXACT_ONLY)
    assert ran.exit_code == 2
    assert "can't be made" in ran.stderr


def test_the_figures_of_the_languages_add_up_to_all():
    document = demo_of("--requests", "40", "--seed", "3")
    parts, whole = [document["requests"][name] for name in ("en", "ja")], document["requests"]["all"]
    for name in ("requests", "hits", "exact", "semantic", "wrong", "llm_calls", "shared"):
        assert sum(part[name] for part in parts) == whole[name]
    assert whole["requests"] == 40 == whole["hits"] + whole["llm_calls"] + whole["shared"]
    assert whole["semantic"] == whole["wrong"] == 0  # without an embedder
    restart = document["restart"]
    assert restart["survived"] == restart["acknowledged"] > 0
    assert restart["problems"] == []


def test_a_kept_folder_answers_everything_the_next_time(tmp_path):
    first = demo_of("--requests", "30", "--lang", "ja", "--dir", str(tmp_path / "kept"))["requests"]["all"]
    again = demo_of("--requests", "30", "--lang", "ja", "--dir", str(tmp_path / "kept"))["requests"]["all"]
    assert first["llm_calls"] > 0
    assert (again["exact"], again["llm_calls"]) == (30, 0)


def test_a_real_model_is_asked_with_the_paragraph_and_the_cache_without_it(monkeypatch):
    monkeypatch.setenv("A_KEY", "k-1")
    with serving(streamed) as (url, requests):
        document = demo_of(
            *("--requests", "12", "--lang", "en", "--seed", "5"),
            *("--upstream", url, "--model", "gpt-x", "--api-key-env", "A_KEY"),
        )
    assert len(requests) == document["requests"]["all"]["llm_calls"] > 0
    assert {seen.headers["authorization"] for seen in requests} == {"Bearer k-1"}
    intents = read_intents(["en"])
    for seen in requests:
        text = seen.body["messages"][-1]["content"]
        assert intents.of(text.rpartition("Question: ")[2]).paragraph in text


def streamed(*_):
    """An OpenAI-compatible stream of three words."""
    choices = [{"delta": {"content": word}, "finish_reason": None} for word in ("It ", "is ", "so.")]
    choices.append({"delta": {}, "finish_reason": "stop"})
    events = [{"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]} for choice in choices]
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    return Answer(headers={"Content-Type": "text/event-stream"}, pieces=[*lines, b"data: [DONE]\n\n"])


def test_a_model_that_is_not_there_ends_the_demo_with_3():
    arguments = ["demo", "--requests", "4", "--upstream", "http://127.0.0.1:1/v1", "--model", "m"]
    ran = CliRunner().invoke(main, arguments, env=EXACT_ONLY)
    assert ran.exit_code == 3
    assert "it said why" in ran.stderr


# What is asked, and in which order.


def test_the_questions_are_the_datas_own_and_the_same_for_the_same_seed():
    intents = read_intents(["en", "ja"])
    asked = questions_asked(intents, ["en", "ja"], 300, 7)
    assert asked == questions_asked(intents, ["en", "ja"], 300, 7)
    assert asked[:100] == questions_asked(intents, ["en", "ja"], 100, 7)
    assert asked != questions_asked(intents, ["en", "ja"], 300, 8)
    assert all(text in intents.of(text).wordings for text in asked)


def test_the_order_follows_the_zipf_law():
    intents = read_intents(["en"])
    asked = Counter(intents.of(text).id for text in questions_asked(intents, ["en"], 100_000, 1))
    counts = [count for _, count in asked.most_common()]
    harmonic = sum(1 / rank for rank in range(1, 151))
    assert len(counts) == 150
    for rank in (1, 2, 5, 20):
        assert counts[rank - 1] == pytest.approx(100_000 / rank / harmonic, rel=0.1)


def test_each_wording_has_its_turn():
    intents = read_intents(["ja"])
    asked = set(questions_asked(intents, ["ja"], 100_000, 1))
    assert asked == {wording for intent in intents.all for wording in intent.wordings}


def test_the_cache_s_spelling_of_a_question_is_recognised():
    intents = read_intents(["en", "ja"])
    for intent in intents.all:
        for wording in intent.wordings:
            assert intents.of(normalise(Request(wording)).question) is intent


# How it is judged.


def intents_with_answers(language="en"):
    intents = read_intents([language]).all
    first = intents[0]
    other = next(intent for intent in intents if not intent.answered_by(first))
    return first, other


def test_an_answer_is_right_for_its_own_question_and_for_one_with_the_same_answer():
    first, other = intents_with_answers()
    assert first.answered_by(first)
    assert not first.answered_by(other)
    intents = read_intents(["en"])
    twins = [
        (a, b) for a in intents.all for b in intents.all if a.id < b.id and a.answer.casefold() == b.answer.casefold()
    ]
    assert twins
    assert all(a.answered_by(b) and b.answered_by(a) for a, b in twins)


def test_what_is_served_for_another_question_counts_as_wrong():
    """With a threshold that lets everything through, the second question gets the first one's answer."""
    first, other = intents_with_answers()
    intents = read_intents(["en"])
    told = []

    async def model(request):
        yield "an answer"
        yield Reply(text="", latency_seconds=2.0, cost_usd=0.5)

    async def ask():
        async with open_cache(
            "memory://", embedder=FakeEmbedder(), policy=Policy(max_error_rate=None, min_similarity=-1.0)
        ) as cache:
            clockwork = Clockwork(model, lambda request: prompt(intents, request))
            for question in (first.wordings[0], other.wordings[0], first.wordings[0]):
                await ask_all(cache, intents, clockwork, [question], model="m", tell=told.append)
                await cache.drain()

    asyncio.run(ask())
    assert [one.tier for one in told] == ["miss", "semantic", "exact"]
    assert [one.wrong for one in told] == [False, True, False]
    figures = totals(told)
    assert (figures.requests, figures.hits, figures.wrong, figures.llm_calls) == (3, 2, 1, 1)
    assert figures.saved_usd == 0.5  # by the exact hit alone: a wrong answer saves nothing
    assert figures.spent_usd == 0.5
    assert 2000 <= figures.miss_ms[0] < 3000
    assert 1.0 < figures.saved_seconds < 2.0
    assert "served, WRONGLY" in examples(told)


def test_who_waits_for_another_ones_answer_waits_its_simulated_time():
    first, _ = intents_with_answers()
    intents = read_intents(["en"])
    told = []

    async def model(request):
        await asyncio.sleep(0.05)
        yield "an answer"
        yield Reply(text="", latency_seconds=2.0)

    async def ask():
        async with open_cache("memory://", embedder="none") as cache:
            clockwork = Clockwork(model, lambda request: prompt(intents, request))
            await ask_all(cache, intents, clockwork, [first.wordings[0]] * 4, model="m", tell=told.append)

    asyncio.run(ask())
    assert sorted(one.shared for one in told) == [False, True, True, True]
    assert all(1.0 < one.seconds < 3.0 for one in told)
    figures = totals(told)
    assert (figures.llm_calls, figures.shared, figures.hits) == (1, 3, 0)


def test_the_cache_is_asked_the_question_and_never_the_paragraph():
    first, _ = intents_with_answers()
    intents = read_intents(["en"])
    request = prompt(intents, Request(first.wordings[0], model="m", system="s"))
    assert first.paragraph in request.messages[0].text
    assert request.messages[0].text.endswith(first.wordings[0])
    assert (request.model, request.system) == ("m", "s")


def test_figures_of_nothing_are_zeros():
    figures = totals([])
    assert figures.line() == (
        "demo: requests=0 hits=0 exact=0 semantic=0 wrong=0 llm_calls=0 p50_hit_ms=0.00 p50_miss_ms=0.0 saved_usd=0.0000"
    )


def test_percentiles_are_values_that_were_measured():
    asked = [
        Asked(language="en", question="q", tier="exact", shared=False, reason="", reasons=(), seconds=ms / 1000)
        for ms in range(1, 101)
    ]
    assert totals(asked).hit_ms == pytest.approx((50.0, 95.0, 99.0))
