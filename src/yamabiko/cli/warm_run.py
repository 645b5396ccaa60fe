"""Filling a cache: given answers, and a model's answers within a budget."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from yamabiko.cli.terminal import NO, Console
from yamabiko.cli.warm_budget import Budget, Costs
from yamabiko.core.normalise import normalise
from yamabiko.errors import StoreUnavailable
from yamabiko.ports import Metered
from yamabiko.types import Controls, Hit, Miss, MissReason

if TYPE_CHECKING:
    from yamabiko.build.generators import Answers
    from yamabiko.cache import Cache
    from yamabiko.cli.warm_file import Row
    from yamabiko.ports import Embedder
    from yamabiko.telemetry import Event
    from yamabiko.types import Reply, Request

BATCH = 64
"""Given answers that are embedded and stored at once. A generated answer is stored as soon as it is there."""
EXACTLY = Controls(semantic=False)
"""A similar question is another one."""

Ended: TypeAlias = Literal["done", "budget", "time"]


class Warming:
    """Stores answers that are not there yet, and counts."""

    def __init__(self, *, overwrite: bool, concurrency: int) -> None:
        self.concurrency = concurrency
        self._overwrite = overwrite
        self._seen: set[bytes] = set()
        self.stored = 0
        self.skipped = 0
        self.left = 0
        self.ended: Ended = "done"
        self.refused: Counter[str] = Counter()
        self._failed = False

    def note(self, event: Event) -> None:
        """The hook: what storing came to."""
        if event.call == "remember":
            if event.outcome == "stored":
                self.stored += 1
            else:
                self.refused[event.why] += 1
                self._failed = self._failed or event.outcome == "failed"

    async def store(
        self, cache: Cache, embedder: Embedder | None, rows: Sequence[Row], step: Callable[[int], None]
    ) -> None:
        """Store given answers, embedded in one batch."""
        misses = [(await self.absent(cache, row), row) for row in rows]
        absent = [(miss, row.answer) for miss, row in misses if miss is not None]
        ready = await _embedded([miss for miss, _ in absent], embedder)
        for miss, (_, answer) in zip(ready, absent, strict=True):
            await cache.remember(miss, answer or "")
        step(len(rows))

    async def answer(self, cache: Cache, row: Row, generate: Answers, purse: Purse) -> bool:
        """Have one question answered, once for all processes that ask it now; False where the budget is spent."""
        miss = await self.absent(cache, row)
        if miss is None:
            return True
        if miss.key is None:  # its answer could not be stored
            self.refused["; ".join(miss.reasons)] += 1
            return True
        reserved = await purse.begin(row.asked)
        if reserved is None:
            return False
        called, paid = False, reserved  # of a call that fails nobody knows what it costs

        async def made(_: Request) -> Reply:
            nonlocal called, paid
            called = True
            reply = await generate(row.asked)
            paid = purse.costs.real(reply, reserved)
            return reply

        try:
            await cache.answer(row.request, made, controls=replace(EXACTLY, read=not self._overwrite))
            if not called:
                self.skipped += 1
        finally:
            await purse.end(reserved, paid if called else 0.0, made=called)
        return True

    async def absent(self, cache: Cache, row: Row) -> Miss | None:
        """The miss to store under; None where the question has an answer. Raises ``StoreUnavailable``."""
        outcome = await cache.lookup(row.request, controls=EXACTLY)
        if isinstance(outcome, Miss) and outcome.reason is MissReason.STORE_UNAVAILABLE:
            raise StoreUnavailable(outcome.reasons[-1])
        known = outcome.key is not None and outcome.key.digest in self._seen
        if known or (isinstance(outcome, Hit) and not self._overwrite):
            self.skipped += 1
            return None
        if outcome.key is not None:
            self._seen.add(outcome.key.digest)
        if isinstance(outcome, Miss):
            return outcome
        return Miss(
            request=row.request,
            key=outcome.key,
            canonical=normalise(row.request),
            reason=MissReason.BYPASS,
            reasons=("the stored answer is to be replaced",),
        )

    def tell(self, console: Console, more: Mapping[str, object] | None = None) -> None:
        """The counts; exit code 1 where something was refused or is left, 3 where the store failed."""
        refused = self.refused.total()
        for why, count in self.refused.most_common():
            console.note(f"{count:,} not stored: {why}")
        document: dict[str, object] = {"stored": self.stored, "skipped": self.skipped, "refused": refused}
        document |= {"why": dict(self.refused), **(more or {})}
        left = f"; left: {self.left:,}" if self.left else ""
        console.tell(document, f"stored: {self.stored:,}; skipped: {self.skipped:,}; not stored: {refused:,}{left}")
        if self._failed:
            raise StoreUnavailable("the store failed; run this again when it works")
        if refused or self.left:
            raise click.exceptions.Exit(NO)


@dataclass(slots=True, kw_only=True)
class Purse:
    """A budget, what things cost, and the tokens of the embedder that have been paid for."""

    budget: Budget
    costs: Costs
    embedder: Embedder | None
    paid_tokens: int = 0

    async def begin(self, request: Request) -> float | None:
        """What is reserved for a call, in USD; None where the budget is spent."""
        worst = self.costs.worst(request)
        return worst if await self.budget.begin(worst) else None

    async def end(self, reserved: float, usd: float, *, made: bool) -> None:
        """A call is over, or was not ``made``."""
        await self.budget.end(reserved, usd + self._embedding(), calls=0 if made else -1)

    async def close(self) -> None:
        """Pay for what was embedded last."""
        await self.budget.add(self._embedding())

    def _embedding(self) -> float:
        embedder: object = self.embedder
        if not isinstance(embedder, Metered):
            return 0.0
        new, self.paid_tokens = embedder.input_tokens - self.paid_tokens, embedder.input_tokens
        return self.costs.embedding(new)


async def fill(
    cache: Cache,
    warming: Warming,
    rows: Sequence[Row],
    hosted: AbstractAsyncContextManager[Answers | None],
    purse: Purse,
    *,
    deadline: float | None,
    step: Callable[[int], None],
) -> None:
    """Store what has answers and have the rest answered, the first rows first; ``deadline`` is of the loop's clock.

    After it, and when the budget is spent, no call begins; those under way are waited for.
    """
    given = [row for row in rows if row.answer is not None]
    for start in range(0, len(given), BATCH):
        await warming.store(cache, purse.embedder, given[start : start + BATCH], step)
    waiting = [row for row in rows if row.answer is None]
    warming.left = len(waiting)
    taken = iter(waiting)
    now = asyncio.get_running_loop().time

    async def worker(answering: Answers) -> None:
        for row in taken:
            if deadline is not None and now() >= deadline:
                warming.ended = "time"
                return
            if not await warming.answer(cache, row, answering, purse):
                warming.ended = "budget"
                return
            warming.left -= 1
            step(1)

    async with hosted as asked:
        try:
            if asked is not None:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(warming.concurrency):
                        workers.create_task(worker(asked))
            await cache.drain()
        finally:
            await purse.close()


async def _embedded(misses: Sequence[Miss], embedder: Embedder | None) -> list[Miss]:
    """The misses with their vectors, in one batch, where there is something to embed. Raises ``EmbeddingError``."""
    wanted = [miss.canonical.text for miss in misses if miss.canonical.text]
    if embedder is None or not wanted:
        return list(misses)
    vectors = iter(await embedder.embed(wanted))
    return [replace(miss, vector=next(vectors)) if miss.canonical.text else miss for miss in misses]
