"""Labels for what was served or would have been: behind the reply, a stored answer is compared with a fresh one.

The learner judges and counts; here stands when there is something to compare, and where the fresh answer comes from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from yamabiko.core.normalise import normalise
from yamabiko.flight import Background
from yamabiko.learn.learner import Learner
from yamabiko.lookup import Outcome
from yamabiko.ports import Generate
from yamabiko.types import Hit, Key, Miss, MissReason, Reply, Request, Trial

Make: TypeAlias = Callable[[Request, Generate], Awaitable[Reply]]
"""Step 8 alone: the reply with what it took and cost."""
Begun: TypeAlias = Callable[[Hit, Request], Awaitable[Miss]]
"""The hit as the miss that it would have been, with what says later whether a purge came in between."""
Keep: TypeAlias = Callable[[Miss, Reply], None]
"""Stores a fresh answer that turned out to be another one than the hit's."""


class Auditing:
    """The audits and comparisons under way. ``learner`` keeps what was drawn in the store, before anything is known."""

    def __init__(self, learner: Learner, *, generate: Make, begun: Begun, keep: Keep) -> None:
        self._learner = learner
        self._generate = generate
        self._begun = begun
        self._keep = keep
        self._tasks = Background()

    def served(self, hit: Hit, request: Request, generate: Generate) -> None:
        """A hit has left: if it was drawn, it is answered afresh now, and a fresh answer that differs is kept."""
        if hit.trial is not None:
            self._tasks.spawn("auditing", self._audit(hit, hit.trial, request, generate))

    def made(self, miss: Miss, fresh: Reply) -> None:
        """An answer was made: if the look-up was drawn, it is compared with the stored one. Only whole answers are."""
        if miss.trial is not None and miss.key is not None and fresh.finish_reason == "stop":
            self._tasks.spawn("comparing", self._compare(miss.trial, miss.request, miss.key, fresh))

    async def drain(self) -> None:
        """Wait until what is under way is done."""
        await self._tasks.drain()

    def cancel(self) -> None:
        """Give up what is under way: what was drawn stands in the store, and somebody will go on with it."""
        self._tasks.cancel()

    async def _audit(self, hit: Hit, trial: Trial, request: Request, generate: Generate) -> None:
        await self._learner.opened(trial, request, hit.key, generate)
        miss = await self._begun(hit, request)
        fresh = await self._generate(request, generate)
        outcome = await self._learner.closed(trial, request, fresh)
        if outcome.verdict == "different":
            self._keep(miss, fresh)

    async def _compare(self, trial: Trial, request: Request, key: Key, fresh: Reply) -> None:
        if await self._learner.opened(trial, request, key):
            await self._learner.closed(trial, request, fresh)


def missed(hit: Hit, request: Request) -> Miss:
    """The hit as the miss that it would have been without its entry."""
    reasons = ("answered afresh, to compare with the stored answer",)
    canonical = normalise(request)
    return Miss(request=request, key=hit.key, canonical=canonical, reason=MissReason.AUDIT, reasons=reasons)


def drawn(miss: Miss, outcome: Outcome) -> Outcome:
    """The outcome for a caller that generates itself: a hit that was drawn is a miss, and its vector is known."""
    if isinstance(outcome, Miss) or outcome.trial is None:
        return outcome
    reasons = (*outcome.reasons, "drawn to be answered afresh and compared")
    trial = replace(outcome.trial, vector=None)
    return replace(
        miss,
        reason=MissReason.AUDIT,
        reasons=reasons,
        nearest=(trial.candidate,),
        vector=outcome.trial.vector,
        namespace=outcome.namespace,
        trial=trial,
    )
