"""Whether two answers tell whoever asked the same: equal texts, similar ones, and in the end an LLM that is asked.

Each rung of the ladder is tried only where the one before could not tell. The first two never say "different": texts
that differ may still say the same, which is for the LLM to judge.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from yamabiko.core import guards
from yamabiko.core.calibrate import Judge
from yamabiko.errors import ConfigurationError
from yamabiko.learn.answers import LONGEST_TEXT, same_text
from yamabiko.learn.budget import Budget
from yamabiko.learn.prompt import Verdict, judge_request, parse_verdict
from yamabiko.ports import Embedder, Generate
from yamabiko.types import Reply, Vector

T = TypeVar("T")
How: TypeAlias = Literal["equal", "similar", "judge", "none", "budget", "error"]
"""Which rung told: ``none`` where there was nothing to judge or nobody to ask, ``budget`` where it was used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, which rung came to it, and why; holds no text of anybody's.

    ``unsure`` counts as wrong. With ``budget`` and ``error`` it says nothing of the answers: asking again later may.
    """

    verdict: Verdict
    how: How
    detail: str

    @property
    def final(self) -> bool:
        """Whether asking again would be asking the same."""
        return self.how not in ("budget", "error")


class AnswerJudge:
    """Compares a stored answer with a fresh one. Never raises; what fails is unsure.

    ``generate`` is the LLM that is asked, as ``model``; None: nobody is. From a cosine of ``similar_from`` on, answers
    that no guard finds any difference between are the same; None, or no ``embedder``, leaves that rung out.
    ``timeout_seconds`` is for each of the two. ``budget`` pays for the LLM, one per question.
    """

    def __init__(
        self,
        *,
        generate: Generate | None,
        embedder: Embedder | None = None,
        similar_from: float | None = None,
        model: str = "",
        timeout_seconds: float = 60.0,
        budget: Budget | None = None,
    ) -> None:
        if similar_from is not None and not 0 < similar_from <= 1:
            raise ConfigurationError(f"similar_from must be in (0, 1], not {similar_from}")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self._generate = generate
        self._embedder = embedder
        self._similar_from = similar_from
        self._model = model
        self.timeout_seconds = timeout_seconds
        self.budget = budget

    async def compare(self, question: str, stored: Reply, fresh: Reply) -> Judgement:
        """Whether ``stored`` tells whoever asked ``question`` what ``fresh`` tells them."""
        for reply, which in ((stored, "stored"), (fresh, "fresh")):
            if reply.finish_reason != "stop" or reply.tool_calls or not reply.text.strip():
                return _unsure("none", f"the {which} reply is no whole answer")
        if same_text(stored.text, fresh.text):
            return Judgement(verdict="same", how="equal", detail="equal but for form")
        similarity = await self._similarity(stored.text, fresh.text)
        if similarity is not None and self._similar_from is not None and similarity >= self._similar_from:
            differences = guards.check(guards.read(stored.text), guards.read(fresh.text))
            if not differences:
                return Judgement(verdict="same", how="similar", detail=f"answers' similarity {similarity:.4f}")
        return await self._ask(question, stored.text, fresh.text)

    async def _similarity(self, one: str, other: str) -> float | None:
        """The answers' cosine; None where it is not to be had, or the model would not see all of them."""
        if self._embedder is None or self._similar_from is None:
            return None
        if self._embedder.model_for(one) != self._embedder.model_for(other):
            return None
        vectors = await tried(partial(self._embedder.embed, [one, other]), self.timeout_seconds)
        if isinstance(vectors, Failed) or len(vectors) != 2:
            return None
        first, second = vectors
        return None if first is None or second is None else _cosine(first, second)

    async def _ask(self, question: str, stored: str, fresh: str) -> Judgement:
        if self._generate is None:
            return _unsure("none", "the answers differ in form, and no judge is configured")
        if max(map(len, (question, stored, fresh))) > LONGEST_TEXT:
            # who sees half of an answer calls different endings the same
            return _unsure("none", f"a text is longer than {LONGEST_TEXT} characters")
        if self.budget is not None and not await self.budget.take():
            return _unsure("budget", "the budget for judging is used up")
        request = judge_request(question, stored, fresh, model=self._model)
        said = await tried(partial(self._generate, request), self.timeout_seconds)
        if isinstance(said, Failed):
            return _unsure("error", f"the judge {said.why}")
        reply = said if isinstance(said, Reply) else Reply(text=str(said))
        if reply.finish_reason != "stop":
            return _unsure("judge", "the judge's reply was cut short")
        verdict = parse_verdict(reply.text)
        return Judgement(verdict=verdict, how="judge", detail=f"the judge's verdict: {verdict}")


@dataclass(frozen=True, slots=True)
class Failed:
    """Why something brought no result."""

    why: str


async def tried(work: Callable[[], Awaitable[T]], seconds: float) -> T | Failed:
    """What somebody else's part comes to. What it raises is told by its kind: a message may quote a text."""

    async def run() -> T:
        return await work()

    task = asyncio.get_running_loop().create_task(run())
    task.add_done_callback(_seen)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        return Failed("took too long")
    if task.cancelled():
        return Failed("was cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, Exception):
        raise error
    return Failed(f"failed: {type(error).__name__}")


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that comes when nobody waits any more needs no report of asyncio's."""
    if not task.cancelled():
        task.exception()


def _cosine(one: Vector, other: Vector) -> float | None:
    if one.shape != other.shape:
        return None
    norms = float(one @ one) * float(other @ other)
    return float(one @ other) / math.sqrt(norms) if norms > 0 else None


def _unsure(how: How, detail: str) -> Judgement:
    return Judgement(verdict="unsure", how=how, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPair:
    """Two answers to a question of which somebody knows whether they say the same."""

    question: str = field(repr=False)
    stored: str = field(repr=False)
    fresh: str = field(repr=False)
    same: bool


async def measure(judge: AnswerJudge, pairs: Iterable[KnownPair], *, confidence: float = 0.99) -> Judge:
    """How far this judge can be trusted, from pairs whose truth is known; see ``Judge.measured``.

    "unsure" is a "no". Pairs that the judge could not be asked about are left out. Raises ``ConfigurationError`` where
    there are not at least a few pairs of both kinds, or the judge turns out to tell nothing.
    """
    asked, said_yes = {True: 0, False: 0}, {True: 0, False: 0}
    for pair in pairs:
        judgement = await judge.compare(pair.question, Reply(text=pair.stored), Reply(text=pair.fresh))
        if judgement.final:
            asked[pair.same] += 1
            said_yes[pair.same] += judgement.verdict == "same"
    if not asked[True] or not asked[False]:
        raise ConfigurationError(
            f"to measure a judge takes pairs of both kinds that it was asked about: {asked[True]} said the same, "
            f"{asked[False]} did not"
        )
    return Judge.measured(
        wrong=asked[False],
        accepted=said_yes[False],
        correct=asked[True],
        rejected=asked[True] - said_yes[True],
        confidence=confidence,
    )
