"""``yamabiko near-misses``: questions that were answered anew though a similar one had its answer.

Nothing is kept for this: a question that the cache could not answer and that was then remembered is an entry of its
own, and the entries that were there before it are found as they were found then.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from yamabiko.cli.terminal import Console, pass_console, progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yamabiko.cli.bar import Bar
    from yamabiko.cli.opening import RecordedEmbedder
    from yamabiko.cli.standing import Opened
    from yamabiko.settings import Settings
    from yamabiko.types import Candidate, Entry, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """A stored question and one that was asked after it and not served its answer, as step 6 sees them now.

    ``reason``: as ``MissReason`` has it; "served" where nothing speaks against it any more. ``detail`` says it in
    words. ``entry`` is the stored answer's id, ``asked_entry`` the one that was made for the asked question.
    """

    similarity: float
    score: float
    p_correct: float
    threshold: float | None
    reason: str
    guards: tuple[str, ...]
    detail: str
    a: str = field(repr=False)
    b: str = field(repr=False)
    entry: str
    asked_entry: str
    namespace: str


@click.command("near-misses")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many pairs.")
@click.option("--tenant", metavar="NAME", help="Entries of this tenant.")
@pass_console
def near_misses(console: Console, limit: int, tenant: str | None) -> None:
    """Show the nearest pairs of questions that have separate answers, and what kept the first from serving the second.

    Their texts are shown: keep the output as you keep the cache. With --json each pair has the names that the lines of
    `yamabiko tune` have; a label is all that it lacks.
    """
    from yamabiko.cli.opening import existing

    settings, embedder = existing(console)
    found = asyncio.run(_near_misses(settings, embedder, limit, tenant))
    told = "\n\n".join(_lines(one) for one in found) or "no stored question is near another one"
    console.tell({"near_misses": [asdict(one) for one in found]}, told)


def _lines(one: NearMiss) -> str:
    threshold = "none" if one.threshold is None else f"{one.threshold:.4f}"
    first = f"{one.similarity:.4f}  score {one.score:.4f}, threshold {threshold}  {one.reason}: {one.detail}"
    return f"{first}\n  stored  {one.a}\n  asked   {one.b}"


async def _near_misses(
    settings: Settings, embedder: RecordedEmbedder, limit: int, tenant: str | None
) -> list[NearMiss]:
    from yamabiko.cli.standing import opened
    from yamabiko.types import Selector

    async with opened(settings, embedder) as cache:
        store = cache.store
        bars: dict[tuple[str, str], Bar] = {}
        nearest: list[tuple[float, int, NearMiss]] = []
        stored = (await store.stats()).entries
        with progress(stored, "searching") as bar:
            number = 0
            async for entry in store.entries(Selector(tenant=tenant)):
                number += 1
                near = await _nearest(cache, entry, bars)
                if near is not None:
                    keep = heapq.heappush if len(nearest) < limit else heapq.heappushpop
                    keep(nearest, (near.similarity, -number, near))
                bar.update(1)
    return [near for _, _, near in sorted(nearest, reverse=True)]


async def _nearest(cache: Opened, entry: Entry, bars: dict[tuple[str, str], Bar]) -> NearMiss | None:
    """What was nearest to an entry's own question of what was stored before it; None where nothing was near."""
    from yamabiko.cli.bar import cached_bar
    from yamabiko.core.score import model_for

    policy = cache.settings.policy
    question, model = entry.questions[0], entry.scope.embedder
    if question.vector is None or not policy.semantic:
        return None
    found = await cache.store.search(
        entry.scope,
        question.vector,
        limit=policy.candidates + 1,  # the entry finds itself
        min_similarity=model_for(model).floor,
        now=time.time(),
    )
    before = [one for one in found if one.entry.id != entry.id and _is_before(one.entry, entry)]
    if not before:
        return None
    whose = model, entry.scope.tenant
    if whose not in bars:
        bars[whose] = await cached_bar(cache, model, tenant=entry.scope.tenant)
    return _as_seen(before, question.text, entry, policy, bars[whose])


def _is_before(one: Entry, other: Entry) -> bool:
    return (one.created, one.id) < (other.created, other.id)


def _as_seen(found: Sequence[Candidate], asked: str, entry: Entry, policy: Policy, bar: Bar) -> NearMiss:
    from yamabiko.cli.verdict import objection
    from yamabiko.cli.weighing import modes_for, weigh_texts
    from yamabiko.core.score import NO_RUNNER_UP

    best = found[0]
    weighed = weigh_texts(
        best.question.text,
        asked,
        entry.scope.embedder,
        modes_for(policy),
        similarity=best.similarity,
        margin=best.similarity - found[1].similarity if len(found) > 1 else NO_RUNNER_UP,
    )
    reason, detail = objection(weighed, bar, policy)
    return NearMiss(
        similarity=best.similarity,
        score=weighed.score,
        p_correct=weighed.p_correct,
        threshold=bar.threshold,
        reason=reason,
        guards=tuple(veto.guard for veto in weighed.vetoes),
        detail=detail,
        a=best.question.text,
        b=asked,
        entry=best.entry.id,
        asked_entry=entry.id,
        namespace=bar.namespace,
    )
