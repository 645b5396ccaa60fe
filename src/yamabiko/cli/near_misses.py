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

    from yamabiko.cli.standing import Opened
    from yamabiko.core.states import Position
    from yamabiko.embedders.recorded import RecordedEmbedder
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
    first = f"{one.similarity:.4f}  score {one.score:.4f}, threshold {threshold}  {one.detail}"
    return f"{first}\n  stored  {one.a}\n  asked   {one.b}"


async def _near_misses(
    settings: Settings, embedder: RecordedEmbedder, limit: int, tenant: str | None
) -> list[NearMiss]:
    from yamabiko.cli.standing import opened
    from yamabiko.types import Selector

    async with opened(settings, embedder) as cache:
        store = cache.store
        positions: dict[str, Position] = {}
        nearest: list[tuple[float, int, NearMiss]] = []
        stored = (await store.stats()).entries
        with progress(stored, "searching") as bar:
            number = 0
            async for entry in store.entries(Selector(tenant=tenant)):
                number += 1
                near = await _nearest(cache, entry, positions)
                if near is not None:
                    keep = heapq.heappush if len(nearest) < limit else heapq.heappushpop
                    keep(nearest, (near.similarity, -number, near))
                bar.update(1)
    return [near for _, _, near in sorted(nearest, reverse=True)]


async def _nearest(cache: Opened, entry: Entry, positions: dict[str, Position]) -> NearMiss | None:
    """What was nearest to an entry's own question of what was stored before it; None where nothing was near."""
    from yamabiko.cli.position import position_in
    from yamabiko.core.decide import search_floor
    from yamabiko.core.score import model_for
    from yamabiko.learn.namespaces import namespace_of

    policy, question, model = cache.settings.policy, entry.questions[0], model_for(entry.scope.embedder)
    if question.vector is None or not policy.semantic:
        return None
    found = await cache.store.search(
        entry.scope,
        question.vector,
        limit=policy.candidates + 1,  # the entry finds itself
        min_similarity=search_floor(policy, model, verifier=False),
        now=time.time(),
    )
    before = [one for one in found if one.entry.id != entry.id and _is_before(one.entry, entry)]
    if not before:
        return None
    namespace = namespace_of(entry.scope.embedder, entry.scope.tenant, "")
    if namespace not in positions:
        positions[namespace] = await position_in(cache, namespace)
    return _as_seen(before, entry, policy, positions[namespace])


def _is_before(one: Entry, other: Entry) -> bool:
    return (one.created, one.id) < (other.created, other.id)


def _as_seen(found: Sequence[Candidate], entry: Entry, policy: Policy, position: Position) -> NearMiss:
    """The candidate that came nearest to being served, and what step 6 says of it today."""
    from yamabiko.cli.weighing import modes_for, weigh_texts
    from yamabiko.core.decide import decide, guard_modes
    from yamabiko.core.score import model_for

    asked = entry.questions[0].text
    decision = decide(
        found,
        policy,
        asked=asked,
        position=position,
        model=model_for(entry.scope.embedder),
        modes=guard_modes(policy, ""),
        verifier=False,
    )
    best = decision.candidates[0]
    weighed = weigh_texts(
        best.question.text, asked, entry.scope.embedder, modes_for(policy), similarity=best.similarity
    )
    return NearMiss(
        similarity=best.similarity,
        score=weighed.score if best.score is None else best.score,
        p_correct=weighed.p_correct if best.p_correct is None else best.p_correct,
        threshold=position.threshold,
        reason="served" if decision.action == "serve" else str(decision.reason),
        guards=tuple(veto.guard for veto in weighed.vetoes),
        detail="; ".join(decision.reasons),
        a=best.question.text,
        b=asked,
        entry=best.entry.id,
        asked_entry=entry.id,
        namespace=position.namespace,
    )
