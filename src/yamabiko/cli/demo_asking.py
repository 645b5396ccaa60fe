"""The demo's users: they ask one question after the other, a few at a time, and note what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from yamabiko.cache import Cache
from yamabiko.cli.intents import Intents, Language, folded
from yamabiko.ports import StreamGenerate
from yamabiko.settings import Settings
from yamabiko.types import Hit, Miss, Reply, Request

SYSTEM = "Answer in one sentence, from the paragraph only. / 段落だけにもとづいて、一文で答えてください。"
KNOWLEDGE = "demo-1"
"""The version of the paragraphs. It is part of the scope: with other paragraphs, no old answer would be served."""

AT_A_TIME = 4
"""How many users ask at once."""

MAX_ERROR_RATE = 0.1
"""The demo's promise: without labels, the on-device model for Japanese has no threshold for the default one."""
NEAR_MISS_MARGIN = 0.15
"""How far below the threshold a stored question is still reported; wider than usual, to have something to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked, of which cache and which model. Both processes make the same questions of it."""

    url: str
    requests: int
    seed: int
    languages: tuple[Language, ...]
    upstream: str
    model: str
    api_key_env: str

    @property
    def first(self) -> int:
        """How many questions are asked before the kill."""
        return self.requests // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request and what came of it.

    ``tier`` is exact, semantic, verified or miss. ``shared`` says that a miss waited for another one's generation.
    ``seconds`` is how long the user waited; see ``Clockwork``. ``neighbour`` is the stored question that was served, or
    the nearest one that was not; ``same_answer`` says whether its answer is right here. ``usd`` and ``model_seconds``
    are what the served answer took to make.
    """

    language: Language
    question: str
    tier: str
    shared: bool
    reason: str
    reasons: tuple[str, ...]
    seconds: float
    neighbour: str = ""
    similarity: float | None = None
    same_answer: bool | None = None
    usd: float = 0.0
    model_seconds: float = 0.0

    @property
    def hit(self) -> bool:
        """Whether the cache answered."""
        return self.tier != "miss"

    @property
    def wrong(self) -> bool:
        """Whether the cache answered with what is not the right answer of this question."""
        return self.hit and not self.same_answer


@dataclass(slots=True)
class _Generation:
    started: float
    ended: float = 0.0
    model_seconds: float = 0.0


class Clockwork:
    """A model with the right paragraph put before each question by ``prompt``, and a note of when it worked.

    The simulated model sleeps only a part of the time that it says it took. ``waited`` gives back the rest, so that a
    miss takes what it would take with such a model, plus what the cache really took.
    """

    def __init__(self, model: StreamGenerate, prompt: Callable[[Request], Request]) -> None:
        self._model = model
        self._prompt = prompt
        self._latest: dict[str, _Generation] = {}

    async def generate(self, request: Request) -> AsyncIterator[str | Reply]:
        """Retrieval-augmented generation. The paragraph goes to the model only: the cache is asked the question."""
        question = request.messages[-1].text
        generation = self._latest[folded(question)] = _Generation(time.perf_counter())
        async for item in self._model(self._prompt(request)):
            if isinstance(item, Reply):
                generation.model_seconds = item.latency_seconds
            yield item
        generation.ended = time.perf_counter()

    def waited(self, question: str, started: float, ended: float) -> float:
        """How long a user waited who asked at ``started`` and had a new answer at ``ended``; seconds."""
        generation = self._latest.get(folded(question))
        overlap = 0.0
        if generation is not None:
            overlap = min(ended, generation.ended) - max(started, generation.started)
        if generation is None or overlap <= 0.0 or not generation.model_seconds:
            return ended - started
        stretch = generation.model_seconds / (generation.ended - generation.started)
        return (ended - started) + overlap * (stretch - 1.0)


def for_show(settings: Settings) -> Settings:
    """The settings, with the demo's promise unless one is set, and with near misses reported from farther away."""
    policy = settings.policy
    margin = max(policy.near_miss_margin, NEAR_MISS_MARGIN)
    rate = policy.max_error_rate if "policy.max_error_rate" in settings.sources else MAX_ERROR_RATE
    return replace(settings, policy=replace(policy, near_miss_margin=margin, max_error_rate=rate))


async def warm_up(cache: Cache, languages: Sequence[Language]) -> None:
    """Load the embedding models before anything is measured. Nothing is stored."""
    for language in languages:
        await cache.lookup({"en": "Is anybody there?", "ja": "誰かいますか"}[language])


async def ask_all(
    cache: Cache,
    intents: Intents,
    clockwork: Clockwork,
    questions: Sequence[str],
    *,
    model: str,
    tell: Callable[[Asked], None],
) -> None:
    """Ask all questions, ``AT_A_TIME`` at once, in their order; ``tell`` gets each outcome as it comes."""
    waiting = iter(questions)

    async def user() -> None:
        for question in waiting:
            tell(await _ask(cache, intents, clockwork, question, model))

    async with asyncio.TaskGroup() as users:
        for _ in range(AT_A_TIME):
            users.create_task(user())


async def _ask(cache: Cache, intents: Intents, clockwork: Clockwork, question: str, model: str) -> Asked:
    intent = intents.of(question)
    request = Request(question, model=model, system=SYSTEM, knowledge=KNOWLEDGE)
    calls: list[Request] = []

    def generate(asked: Request) -> AsyncIterator[str | Reply]:
        calls.append(asked)
        return clockwork.generate(asked)

    started = time.perf_counter()
    stream = cache.stream(request, generate)
    async for _ in stream:
        pass
    ended = time.perf_counter()
    outcome, reply = stream.outcome, stream.reply
    assert outcome is not None
    assert reply is not None
    neighbour = _neighbour(outcome)
    return Asked(
        language=intent.language,
        question=question,
        tier=outcome.tier if isinstance(outcome, Hit) else "miss",
        shared=isinstance(outcome, Miss) and not calls,
        reason="" if isinstance(outcome, Hit) else outcome.reason.value,
        reasons=outcome.reasons,
        seconds=ended - started if isinstance(outcome, Hit) else clockwork.waited(question, started, ended),
        neighbour=neighbour,
        similarity=outcome.similarity,
        same_answer=intent.answered_by(intents.of(neighbour)) if neighbour else None,
        usd=reply.cost_usd,
        model_seconds=reply.latency_seconds,
    )


def _neighbour(outcome: Hit | Miss) -> str:
    if isinstance(outcome, Hit):
        return outcome.question
    return outcome.nearest[0].question.text if outcome.nearest else ""
