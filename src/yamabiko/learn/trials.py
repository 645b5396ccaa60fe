"""From a look-up that was drawn to its label, off the reply path: whatever is killed when, no label is lost or doubled.

The order of writes, each of which may be the last one of its process::

    open      the trial, with the question and the stored answer    (else: never opened, its label is missing)
    begin     an attempt, with the fresh answer once there is one   (else: another process makes a fresh one)
              ... the judge compares ...                            (else: it is asked again; nothing was told yet)
    settle    the verdict, the first that was written               (else: as before)
    follow    alias or quarantine, then the label is told           (else: done again, which changes nothing)
    finish    all is done                                           (else: followed again)

A trial that is never finished is given up after a day. The statistics know what was drawn, and count a label that is
missing as wrong; so giving up can only make them more careful.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Literal, TypeAlias

from yamabiko.core.normalise import normalise
from yamabiko.errors import InvalidRequest, StoreError, StoreMismatch
from yamabiko.learn.journal import Case, Journal, Record
from yamabiko.learn.judge import AnswerJudge, Failed, tried
from yamabiko.learn.prompt import Verdict
from yamabiko.ports import Claim, Generate, SharedState, Store
from yamabiko.stream import as_reply
from yamabiko.types import Entry, Key, Question, Reply, Request, Selector, Trial, Vector

Deed: TypeAlias = Literal["alias", "quarantine", ""]
Judged: TypeAlias = Callable[[Trial, bool, str], Awaitable[None]]
"""Told of each trial at least once: whether the stored answer was right, and which rung of the ladder said so."""

OPEN_SECONDS = 60.0
"""A trial that lies open for longer is anybody's to finish."""
PATIENCE_SECONDS = 600.0
"""So long a fresh answer is waited for where nobody could make another."""
GIVEN_UP_SECONDS = 86400.0
ATTEMPTS = 4
"""So often at most somebody sets about judging one trial, each time after four times the pause."""
GENERATION_SECONDS = 120.0
"""How long a fresh answer may take that is made for a trial alone."""

_LONGEST_LEASE_SECONDS = 3600.0
_AT_ONCE = 100
_TRIMMED_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a trial.

    ``judged``: here and now. ``settled``: it was before. ``pending``: it will be tried again (the judge failed, or the
    budget is used up). ``taken``: another one is at it. ``unknown``: nobody knows such a trial, or no longer.
    ``verdict`` and ``how`` where there is one; ``did``: what followed from it here.
    """

    state: Literal["judged", "settled", "pending", "taken", "unknown"]
    verdict: Verdict | None = None
    how: str = ""
    did: Deed = ""


class Trials:
    """The trials of one cache. ``judged`` is told of each label; ``clock`` gives seconds UTC epoch.

    ``shared`` is the store's shared state; without it, trials live in this process alone and no pair is quarantined.
    ``new_id`` makes texts that were never made before, ``holder`` names this process. ``sign``, where entries are
    signed, makes the question that is added to an entry: only of what this process itself has served and judged, since
    a trial that was read from the store may have been put there by somebody without a key. Methods raise
    ``StoreUnavailable`` where the store fails: the trial then stays open.
    """

    def __init__(
        self,
        shared: SharedState | None,
        store: Store,
        judge: AnswerJudge,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        holder: str,
        judged: Judged,
        sign: Callable[[Entry, Question], Question] | None = None,
    ) -> None:
        self._shared = shared
        self._store = store
        self._judge = judge
        self._clock = clock
        self._new_id = new_id
        self._holder = holder
        self._judged = judged
        self._sign = sign
        self._journal = Journal(shared)
        # As long as a generation and a verdict take. Were it too short, two would judge, and one verdict would stand.
        self._lease = min(_LONGEST_LEASE_SECONDS, GENERATION_SECONDS + 2 * judge.timeout_seconds)
        self._busy: set[str] = set()
        self._closed = 0

    def has_room(self) -> bool:
        """Whether the budget has room for one more trial beside those under way here. Ask before drawing a look-up."""
        budget = self._judge.budget
        if budget is None:
            return True
        return budget.has_room(1 + self._journal.opened_since(self._clock() - OPEN_SECONDS))

    async def open(self, trial: Trial, request: Request, key: Key) -> bool:
        """Keep a trial; False where it would not outlive this process. Never raises for a store that fails."""
        now = self._clock()
        return await self._journal.open(Case(trial=trial, request=request, key=key, opened=now, touched=now))

    async def close(self, trial_id: str, fresh: Reply, *, vector: Vector | None = None) -> Outcome:
        """Compare the fresh answer with the stored one, once and for all, and do what follows from it.

        ``vector``: of the question, for the alias. However often it is called, one verdict stands.
        """
        case = await self._journal.find(trial_id)
        if case is None:
            record = await self._journal.record(trial_id)
            return _settled(record) if record is not None else Outcome(state="unknown")
        case = replace(case, fresh=case.fresh or fresh)
        outcome = await self._alone(case, partial(self._carry_through, vector=vector))
        self._closed += 1
        if self._closed % _TRIMMED_EVERY == 0:
            await self._journal.trim(self._clock())
        return outcome

    async def resume(self, generate: Generate | None) -> int:
        """Finish what has been lying open, whoever opened it; how many trials that were. Call it now and then.

        A fresh answer that is missing is looked for in the store, and else made by ``generate``, within the budget.
        One process does this at a time. What nobody could finish is given up: after a day, after ``ATTEMPTS`` attempts,
        or after ``PATIENCE_SECONDS`` where no fresh answer can be made.
        """
        finished = 0
        async with self._claimed("trials:resume") as claim:
            if claim is None:
                return 0
            due = [case for case in (await self._journal.unfinished()).values() if self._is_due(case)]
            for case in due[:_AT_ONCE]:
                if claim.fence and self._shared is not None:
                    held = await self._shared.renew(claim, seconds=self._lease, now=self._clock())
                    if not held:
                        return finished
                outcome = await self._alone(case, partial(self._resume, generate=generate))
                finished += outcome.state in ("judged", "settled")
            await self._journal.trim(self._clock())
        return finished

    async def forget(self, selector: Selector) -> int:
        """Give up the open trials that a purge concerns, and leave none of their texts; how many those were."""
        fitting = [case for case in (await self._journal.unfinished()).values() if case.fits(selector)]
        for case in fitting:
            record = await self._journal.settle(case.trial.id, "unsure", "given_up", self._clock())
            await self._tell(case, record)
        await self._journal.erase({case.trial.id for case in fitting}, self._new_id())
        return len(fitting)

    def _is_due(self, case: Case) -> bool:
        now = self._clock()
        if _is_old(case, now):
            return True
        pause = OPEN_SECONDS * 4.0 ** max(0, case.attempts - 1)
        return abs(now - case.touched) >= pause  # clocks differ a little; one that was set back holds nobody up

    async def _alone(self, case: Case, work: Callable[[Case], Awaitable[Outcome]]) -> Outcome:
        """``work`` on a trial that nobody else works on; what others have done meanwhile is taken over."""
        trial_id = case.trial.id
        if trial_id in self._busy:
            return Outcome(state="taken")
        self._busy.add(trial_id)
        try:
            async with self._claimed(f"trial:{trial_id}") as claim:
                if claim is None:
                    return Outcome(state="taken")
                record = await self._journal.record(trial_id)
                if record is None:
                    return await work(case)
                if not record.done:
                    await self._follow(replace(case, own=False), record, None)
                self._journal.drop(trial_id)
                return _settled(record)
        finally:
            self._busy.discard(trial_id)

    @contextlib.asynccontextmanager
    async def _claimed(self, name: str) -> AsyncIterator[Claim | None]:
        """A lease of this very call: another call of the same process is another holder."""
        if self._shared is None:
            yield Claim(name=name, holder=self._holder, fence=0)
            return
        holder = f"{self._holder}:{self._new_id()}"
        claim = await self._shared.claim(name, holder, seconds=self._lease, now=self._clock())
        held = claim if claim is not None and claim.holder == holder else None
        try:
            yield held
        finally:
            if held is not None:
                with contextlib.suppress(StoreError):  # then it ends by itself
                    await self._shared.release(held, now=self._clock())

    async def _carry_through(self, case: Case, *, vector: Vector | None = None) -> Outcome:
        """Judge a trial that has its fresh answer, for the first time or once more."""
        return await self._judge_it(await self._journal.begin(case, self._new_id(), self._clock()), vector)

    async def _judge_it(self, case: Case, vector: Vector | None) -> Outcome:
        stored, fresh = case.trial.candidate.entry.reply, case.fresh
        assert fresh is not None
        judgement = await self._judge.compare(case.request.messages[-1].text, stored, fresh)
        if not judgement.final and case.attempts < ATTEMPTS:
            return Outcome(state="pending", how=judgement.how)
        record = await self._journal.settle(case.trial.id, judgement.verdict, judgement.how, self._clock())
        own = case.own and record.verdict == judgement.verdict
        did = await self._follow(replace(case, own=own), record, vector)
        return Outcome(state="judged", verdict=record.verdict, how=record.how, did=did)

    async def _resume(self, case: Case, *, generate: Generate | None) -> Outcome:
        now = self._clock()
        if _is_old(case, now):
            return await self._give_up(case)
        fresh = case.fresh or await self._stored_since(case)
        if fresh is None and generate is None:
            waiting = now < case.opened + PATIENCE_SECONDS
            return Outcome(state="pending") if waiting else await self._give_up(case)
        if not await self._is_affordable(makes_answer=fresh is None):
            return Outcome(state="pending", how="budget")
        if fresh is not None or generate is None:
            return await self._carry_through(replace(case, fresh=fresh))
        case = await self._journal.begin(case, self._new_id(), now)
        fresh = await _made(generate, case.request)
        if fresh is None:
            return Outcome(state="pending", how="error")
        return await self._judge_it(await self._journal.answer(replace(case, fresh=fresh)), None)

    async def _is_affordable(self, *, makes_answer: bool) -> bool:
        """Whether the budget has room for a judge; an answer that is made for a trial alone is paid for here."""
        budget = self._judge.budget
        if budget is None:
            return True
        await budget.refill()
        return await budget.take() if makes_answer else budget.has_room()

    async def _stored_since(self, case: Case) -> Reply | None:
        """The fresh answer, where it was stored as an entry of its own before its process ended."""
        entry = await self._store.get(case.key)
        own = entry is not None and entry.id == case.key.hex and entry.id != case.trial.candidate.entry.id
        return entry.reply if entry is not None and own and entry.created >= case.opened else None

    async def _give_up(self, case: Case) -> Outcome:
        record = await self._journal.settle(case.trial.id, "unsure", "given_up", self._clock())
        await self._follow(case, record, None)
        return Outcome(state="judged", verdict=record.verdict, how=record.how)

    async def _follow(self, case: Case, record: Record, vector: Vector | None) -> Deed:
        """Do what follows from a verdict; doing it twice is doing it once."""
        trial = case.trial
        did: Deed = ""
        if record.verdict == "different" and self._shared is not None:
            entry_id = trial.candidate.entry.id
            await self._shared.quarantine(entry_id, case.key.digest, until=inf, now=self._clock())
            did = "quarantine"
        elif record.verdict == "same" and trial.served and await self._alias(case, vector):
            did = "alias"
        await self._tell(case, record)
        return did

    async def _tell(self, case: Case, record: Record) -> None:
        await self._judged(case.trial, record.verdict == "same", record.how)
        await self._journal.finish(case.trial.id, self._clock())

    async def _alias(self, case: Case, vector: Vector | None) -> bool:
        """Add the question to the stored answer, unless it has an answer already or somebody said that this is none."""
        entry, digest = case.trial.candidate.entry, case.key.digest
        if self._sign is not None and not case.own:
            return False
        if await self._store.get(case.key) is not None:
            return False
        if self._shared is not None and entry.id in await self._shared.quarantined(digest, now=self._clock()):
            return False
        text = normalise(case.request).text or case.request.messages[-1].text
        question = Question(digest=digest, text=text, vector=vector)
        try:
            return await self._store.alias(entry.id, question if self._sign is None else self._sign(entry, question))
        except (InvalidRequest, StoreMismatch):
            return False


def _settled(record: Record) -> Outcome:
    return Outcome(state="settled", verdict=record.verdict, how=record.how)


def _is_old(case: Case, now: float) -> bool:
    return now >= case.opened + GIVEN_UP_SECONDS or case.attempts >= ATTEMPTS


async def _made(generate: Generate, request: Request) -> Reply | None:
    """A fresh answer for a trial alone; None where the model fails, which costs an attempt."""

    async def make() -> Reply:
        return as_reply(await generate(request))

    made = await tried(make, GENERATION_SECONDS)
    return None if isinstance(made, Failed) else made
