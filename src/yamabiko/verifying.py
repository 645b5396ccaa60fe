"""Step 7 of 9: asking a verifier about what the score alone leaves in doubt, within its deadline.

One that says how sure it is (``Graded``) has its word weighed with the score; the threshold and the promise are those
of the final score. Any other says yes or no. Unsure, late or broken is a no.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from yamabiko.core import guards
from yamabiko.core.decide import Ranking, concluded, decide, rank
from yamabiko.core.mixing import doubtful, heard, mixed, said_no, told
from yamabiko.core.score import ScoreModel
from yamabiko.core.states import Position
from yamabiko.errors import EmbeddingError, VerifierError, YamabikoError
from yamabiko.ports import Graded, Verifier
from yamabiko.types import Candidate, Decision, Policy, Request

T = TypeVar("T")


class Verifying:
    """The verifier of a cache, if there is one, and how long it is waited for (``timeout_seconds``)."""

    def __init__(self, verifier: Verifier | Graded | None, *, timeout_seconds: float) -> None:
        self._verifier = verifier
        self._graded = verifier if isinstance(verifier, Graded) else None
        self._timeout = timeout_seconds

    async def decided(
        self,
        candidates: Sequence[Candidate],
        *,
        request: Request,
        asked: str,
        policy: Policy,
        position: Position,
        model: ScoreModel,
        modes: Mapping[str, guards.Mode],
    ) -> Decision:
        """Steps 6 and 7: see ``decide``; with the final scores where a graded verifier has a say here."""
        graded = self._graded
        mixes = [known.mix for known in (position, *position.beside) if known.mix is not None]
        if graded is None or not mixes or policy.max_error_rate is None:
            plain = self._is_plain(policy, model)
            return decide(candidates, policy, asked=asked, position=position, model=model, modes=modes, verifier=plain)
        ranking = rank(candidates, policy, asked=asked, position=position, model=model, modes=modes)
        doubts = doubtful(ranking.candidates, mixes)
        said, failed = await self._log_odds(graded, request, doubts) if doubts else ({}, ())
        ours = _by(position, ranking, said, model)
        decision = concluded(ours, policy, position, said_no=bool(ours.candidates) and said_no(ours.candidates[0]))
        words = () if position.mix is None else told(position.mix, ours.candidates, doubts)
        return replace(
            decision,
            reasons=(*failed, *words, *decision.reasons),
            beside=tuple(_best(_by(other, ranking, said, model), said) for other in position.beside),
        )

    def _is_plain(self, policy: Policy, model: ScoreModel) -> bool:
        """Whether the verifier is one that says yes or no here, and by that alone."""
        if self._verifier is None:
            return False
        graded = self._graded
        return graded is None or policy.max_error_rate is None or graded.mix_for(model.embedder) is None

    async def same(self, request: Request, candidates: Sequence[Candidate]) -> tuple[Sequence[bool], str]:
        """The verdicts of a verifier that says yes or no, and why there are none."""
        verifier: Any = self._verifier
        if verifier is None:
            return (), ""
        try:
            return await within(self._timeout, verifier.same(request, candidates), VerifierError), ""
        except (VerifierError, TimeoutError) as error:
            return (), failure("verifier", error)

    async def _log_odds(
        self, graded: Graded, request: Request, doubts: Sequence[Candidate]
    ) -> tuple[Mapping[str, float], tuple[str, ...]]:
        """What the verifier is sure of, by entry, and why there is less than was asked for."""
        try:
            said = await within(self._timeout, graded.log_odds(request, doubts), VerifierError)
        except (VerifierError, TimeoutError) as error:
            return {}, (failure("verifier", error),)
        if len(said) != len(doubts):
            return {}, (f"the verifier said {len(said)} things about {len(doubts)} candidates",)
        pairs = zip(doubts, said, strict=True)
        known = {candidate.entry.id: float(value) for candidate, value in pairs if value is not None}
        return {entry: value for entry, value in known.items() if not math.isnan(value)}, ()


def _by(position: Position, ranking: Ranking, said: Mapping[str, float], model: ScoreModel) -> Ranking:
    """The ranking by the scores of a position."""
    found = mixed(ranking.candidates, said, position.mix, entries=position.entries, spread=model.spread)
    return replace(ranking, candidates=found)


def _best(ranking: Ranking, said: Mapping[str, float]) -> Candidate | None:
    """The best candidate, with what the verifier said of it also where that is not in its score."""
    return heard(ranking.candidates[0], said) if ranking.candidates else None


async def within(seconds: float, work: Coroutine[Any, Any, T], kind: type[EmbeddingError | VerifierError]) -> T:
    """What somebody else's part comes to. Whatever it raises is a ``kind``: it must cost a hit and not the answer.

    Raises ``TimeoutError``. The part's own message is left out, since it may quote the text.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_seen)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        raise TimeoutError
    if task.cancelled():  # from within: its own thread or client was closed
        raise kind("it was cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, YamabikoError | TimeoutError) or not isinstance(error, Exception):
        raise error
    raise kind(f"it raised {type(error).__name__}") from error


def _seen(task: asyncio.Task[Any]) -> None:
    """An error that comes when nobody waits any more needs no report of asyncio's."""
    if not task.cancelled():
        task.exception()


def failure(part: str, error: Exception) -> str:
    """Says what failed; the messages of our own errors hold no text of any prompt."""
    return f"the {part} took too long" if isinstance(error, TimeoutError) else f"the {part} failed: {error}"
