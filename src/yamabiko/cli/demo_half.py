"""The demo's first half, in a process of its own that is killed: what it is told, and what it tells."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from yamabiko.build import open_cache
from yamabiko.cli.demo_asking import Asked, Clockwork, Plan, ask_all, for_show, warm_up
from yamabiko.cli.demo_model import open_model, prompt
from yamabiko.cli.intents import questions_asked, read_intents
from yamabiko.cli.terminal import Unavailable
from yamabiko.telemetry import Event

if TYPE_CHECKING:
    from yamabiko.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line from the first process; one of its fields is set."""

    ready_seconds: float | None = None
    stored: str = ""
    asked: Asked | None = None


@dataclass(slots=True)
class FirstHalf:
    """What the killed process had done: its outcomes, and the keys (16 digits) of the writes it had acknowledged."""

    asked: list[Asked] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    ready_seconds: float = 0.0
    seconds: float = 0.0

    def note(self, line: Line) -> None:
        """Take in what the process told."""
        if line.asked is not None:
            self.asked.append(line.asked)
        elif line.stored:
            self.stored.add(line.stored)
        elif line.ready_seconds is not None:
            self.ready_seconds = line.ready_seconds


def run_and_kill(plan: Plan, settings_path: str | None, step: Callable[[int], None]) -> FirstHalf:
    """Have another process ask the first half, and kill it with the last answer; ``step`` counts the answers."""
    command = [
        sys.executable,
        "-m",
        "yamabiko.cli",
        *(["--settings", settings_path] if settings_path else []),
        "demo-half",
    ]
    half = FirstHalf()
    started = time.perf_counter()
    with (
        suppress(BrokenPipeError),  # it ended before it was told anything, and has said why
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,  # noqa: S603 - this program
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(plan) + b"\n")
            process.stdin.flush()
            for line in process.stdout:
                before = len(half.asked)
                half.note(msgspec.json.decode(line, type=Line))
                step(len(half.asked) - before)
                if len(half.asked) >= plan.first:
                    break
        finally:
            process.kill()
        half.seconds = time.perf_counter() - started
        for line in process.stdout.readlines():  # what it had acknowledged by then
            if line.endswith(b"\n"):
                half.note(msgspec.json.decode(line, type=Line))
    if len(half.asked) < plan.first:
        raise Unavailable("the process that asks the first half ended too early; it said why above")
    return half


def ask_first_half(settings: Settings) -> None:
    """Ask the first half of a plan that comes on standard input; then wait to be killed."""
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    asyncio.run(_ask_first_half(settings, plan))


async def _ask_first_half(settings: Settings, plan: Plan) -> None:
    def acknowledged(event: Event) -> None:
        if event.outcome == "stored":
            _say(Line(stored=event.key))

    started = time.perf_counter()
    intents = read_intents(plan.languages)
    async with (
        open_cache(plan.url, settings=for_show(settings), hooks=[acknowledged]) as cache,
        open_model(plan, intents) as model,
    ):
        await warm_up(cache, plan.languages)
        _say(Line(ready_seconds=time.perf_counter() - started))
        questions = questions_asked(intents, plan.languages, plan.requests, plan.seed)[: plan.first]
        clockwork = Clockwork(model, partial(prompt, intents))
        await ask_all(cache, intents, clockwork, questions, model=plan.model, tell=lambda one: _say(Line(asked=one)))
        await asyncio.to_thread(sys.stdin.buffer.read)  # until the kill, or the end of who should have killed us


def _say(line: Line) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()
