"""What the path asks of learning and tells it: where a namespace stands, which hits are audited, what was right.

Nothing here holds a reply up. Where a namespace stands comes from memory; all that costs a call or a write happens
behind, within the budget, and a store that fails means that less is learned and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial

from yamabiko.core.calibrate import Judge
from yamabiko.core.contest import drawn_beside
from yamabiko.core.mixing import version_of
from yamabiko.core.shipped import ShippedThreshold, shipped_threshold, verified_threshold
from yamabiko.core.states import Position, State
from yamabiko.errors import InvalidRequest, StoreError
from yamabiko.flight import Background
from yamabiko.learn.budget import Budget
from yamabiko.learn.contest import Contest
from yamabiko.learn.experiment import Arm, Experiments, namespace_suffix
from yamabiko.learn.experiment_records import caller_of
from yamabiko.learn.feedback import HitIds, apply_feedback, load_secret
from yamabiko.learn.judge import AnswerJudge
from yamabiko.learn.namespaces import embedder_of, namespace_of
from yamabiko.learn.records import Transition
from yamabiko.learn.standings import Log, Standings
from yamabiko.learn.trained import Trained
from yamabiko.learn.trials import Outcome, Trials
from yamabiko.learn.versions import versions_of
from yamabiko.policy import Policy
from yamabiko.ports import Embedder, Generate, Graded, Mix, SharedState, Store, Verifier
from yamabiko.settings import LearnSettings
from yamabiko.telemetry import Event, Hook, emit, of_label
from yamabiko.types import Entry, Hit, Key, Miss, Question, Reply, Request, Selector, Trial

JUDGE_PAUSE_SECONDS = 60.0
"""After the judge failed, nothing is drawn for so long."""
RESUME_SECONDS = 60.0
"""How often it is looked whether a trial was left behind by a process that ended."""
_BARE = "there is no max_error_rate, so min_similarity alone decides and nothing is promised"
_UNKNOWN = "nobody has measured this embedder, and this store can't keep labels"
_SHIPPED = "calibrated on public data; this store can't keep labels of its own"
_ENTRY_ID = re.compile("[0-9a-f]{64}")


class Learner:
    """How one cache learns.

    ``judge`` is a model; without one no label is sought, and no model is ever called here. ``sign`` signs an alias.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        policy: Policy,
        judge: Generate | None,
        settings: LearnSettings,
        timeout_seconds: float,
        hooks: Sequence[Hook],
        clock: Callable[[], float],
        sign: Callable[[Entry, Question], Question] | None = None,
        close_judge: Callable[[], Awaitable[None]] | None = None,
        verifier: Verifier | Graded | None = None,
    ) -> None:
        self._store = store
        self._shared = store if isinstance(store, SharedState) else None
        self._policy, self._settings, self._verifier = policy, settings, verifier
        self._timeout = timeout_seconds
        self._hooks, self._clock = tuple(hooks), clock
        self._behind = Background()
        self._learning = judge is not None and self._shared is not None and policy.max_error_rate is not None
        self._judge = AnswerJudge(
            generate=judge,
            embedder=embedder,
            similar_from=settings.similar_from,
            model="",
            timeout_seconds=settings.judge_timeout_seconds,
            budget=Budget(settings.per_minute, settings.per_day, self._shared, clock, "judge"),
        )
        self._close_judge = close_judge
        self._generate: Generate | None = None
        self._ids: HitIds | None = None
        self._standings: dict[str, Contest] = {}
        self._waiting: dict[str, None] = {}
        self._advancing: asyncio.Task[None] | None = None
        self._counted: dict[str, float] = {}
        self._judge_again = self._resumed = clock()
        self._trials = Trials(
            self._shared,
            store,
            self._judge,
            clock=clock,
            new_id=self.new_id,
            holder=secrets.token_hex(16),
            judged=self._labelled,
            sign=sign,
        )
        self._experiments: Experiments | None = None
        if self._shared is not None:
            refresh = settings.refresh_seconds
            self._experiments = Experiments(
                self._shared, policy=policy, clock=clock, spawn=self._behind.spawn, refresh_seconds=refresh
            )

    async def open(self) -> None:
        """Read what a look-up must not wait for. A store that fails is asked again when there is something to say."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                self._ids = HitIds(await load_secret(self._shared))
                if self._experiments is not None:
                    await self._experiments.refresh()
                if self._learning and self._judge.budget is not None:
                    await self._judge.budget.refill()

    async def close(self) -> None:
        """Write down what was counted, give up what is under way (another process goes on with it), let go."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._timeout):
                if self._experiments is not None:
                    await self._experiments.close()
                for standings in self._standings.values():
                    await standings.flush()
        self._behind.cancel()
        await self._behind.drain()
        if self._judge.budget is not None:
            await self._judge.budget.drain()
        if self._close_judge is not None:
            await self._close_judge()

    async def drain(self) -> None:
        """Wait until all labels told so far are taken in."""
        await self._behind.drain()

    # On the path: memory only.

    def new_id(self) -> str:
        """An id that was never given before: 32 hexadecimal digits, random."""
        return secrets.token_hex(16)

    def hit_id(self, look_up: str, entry_id: str, digest: bytes) -> str:
        """The name under which people may speak of a hit; empty where the cache's secret could not be read."""
        if self._ids is None or not _ENTRY_ID.fullmatch(entry_id):
            return ""
        return self._ids.make(bytes.fromhex(look_up), entry_id, digest)

    async def standing(self, request: Request, key: Key, look_up: str) -> tuple[Policy, Position]:
        """The policy that applies to a request, and where its namespace stands; at first sight one read.

        What is drawn for a label is nothing where there is no room in the budget (a label that can't be had would count
        as wrong), and where the look-up has no id.
        """
        arm = self._arm_of(request)
        name = namespace_of(key.scope.embedder, request.tenant, request.category) + namespace_suffix(arm)
        position = await self._standings_of(arm).of(name) if self._shared is not None else self._alone(name)
        if position.design is None:
            return arm.policy, position
        if not look_up or not self._trials.has_room() or self._judge_is_down():
            return arm.policy, replace(position, design=None, beside=())
        if arm.policy.on == "request":
            self._request_counts(arm, position, look_up, name)
        return arm.policy, drawn_beside(position, look_up) if position.beside else position

    def _judge_is_down(self) -> bool:
        return 0 < self._judge_again - self._clock() <= JUDGE_PAUSE_SECONDS

    def _request_counts(self, arm: Arm, position: Position, look_up: str, name: str) -> None:
        """A promise per request counts all that take part, and must look now and then though no label has come."""
        self._standings_of(arm).requested(name, position, look_up)
        now = self._clock()
        if not 0 <= now - self._counted.get(name, -math.inf) < self._settings.refresh_seconds:
            self._counted[name] = now
            self._wants_advance(name)

    def _arm_of(self, request: Request) -> Arm:
        if self._experiments is None:
            return Arm(name="control", policy=self._policy)
        return self._experiments.arm_of(caller_of(request))

    def _standings_of(self, arm: Arm) -> Contest:
        experiment = arm.experiment if namespace_suffix(arm) else ""
        found = self._standings.get(experiment)
        if found is None:
            logs: dict[str, Log] = {}
            found = self._standings[experiment] = Contest(partial(self._made, arm.policy, logs), self._mixes_of)
        return found

    def _made(self, policy: Policy, logs: dict[str, Log], mix: Mix | None, most: Callable[[str], float]) -> Standings:
        """The standings of one policy by one kind of scores."""
        assert self._shared is not None
        return Standings(
            self._shared,
            policy=policy,
            clock=self._clock,
            learning=self._learning,
            shipped=partial(_shipped, policy, mix=mix),
            versions=partial(versions_of, policy=policy, mix=mix),
            judge=Judge(false_accept=self._settings.judge_false_accept),
            new_id=self.new_id,
            spawn=self._behind.spawn,
            told=self._moved,
            refresh_seconds=self._settings.refresh_seconds,
            timeout_seconds=self._timeout,
            most=most,
            logs=logs,
            name="" if mix is None else version_of(mix),
        )

    @cached_property
    def _trained(self) -> Trained:
        refresh = self._settings.refresh_seconds
        return Trained(self._shared, clock=self._clock, spawn=self._behind.spawn, refresh_seconds=refresh)

    @cached_property
    def _graded(self) -> Graded | None:
        """The verifier, if its word is weighed with the score; found out once, which takes as long as an exact hit."""
        promised = self._policy.max_error_rate is not None
        return self._verifier if promised and isinstance(self._verifier, Graded) else None

    def _mixes_of(self, embedder: str) -> Sequence[Mix]:
        """How the verifier's word may be weighed for an embedder's candidates, the latest fit first."""
        own = None if self._graded is None else self._graded.mix_for(embedder)
        return () if own is None else (*self._trained.beside(embedder, own), own)

    def _alone(self, name: str) -> Position:
        """Where a namespace stands for good in a store that can't keep what is learned."""
        shipped = _shipped(self._policy, embedder_of(name))
        if self._policy.max_error_rate is None:
            return Position(namespace=name, state=State.SERVING, threshold=0.0, calibration="none", reason=_BARE)
        if shipped is None:
            return Position(namespace=name, state=State.SHADOW, threshold=None, calibration="none", reason=_UNKNOWN)
        return Position(
            namespace=name,
            state=State.SERVING,
            threshold=shipped.threshold,
            calibration="uncalibrated",
            reason=_SHIPPED,
        )

    # Behind a reply.

    def noted(self, request: Request, outcome: Hit | Miss) -> None:
        """What a look-up came to, for an experiment that may be running."""
        if self._experiments is not None:
            served = isinstance(outcome, Hit) or (outcome.trial is not None and outcome.trial.served)
            self._experiments.note(self._arm_of(request), hit=served)

    async def opened(self, trial: Trial, request: Request, key: Key, generate: Generate | None = None) -> bool:
        """Keep a drawn look-up, before anything is known of its outcome; False where it can't be labelled.

        ``generate``: what may make the fresh answer if this process does not come to it.
        """
        self._generate = generate or self._generate
        if generate is not None and self._judge.budget is not None:
            await self._judge.budget.take()  # the fresh answer costs a call as well
        standings = self._standings_of(self._arm_of(request))
        async with asyncio.timeout(self._timeout):
            if not await standings.drawn(trial, key.digest, population=trial.candidate.population):
                return False
        return await self._trials.open(trial, request, key)

    async def closed(self, trial: Trial, request: Request, fresh: Reply) -> Outcome:
        """Compare the fresh answer with the stored one, and do what follows. Raises ``StoreUnavailable``."""
        outcome = await self._trials.close(trial.id, fresh, vector=trial.vector)
        if outcome.state == "judged" and outcome.verdict is not None:
            if trial.served and self._experiments is not None:
                self._experiments.audited(self._arm_of(request), correct=outcome.verdict == "same")
            event = of_label(trial, outcome.verdict, outcome.how)
            emit(self._hooks, event, asyncio.get_running_loop().call_soon)
        if outcome.how == "error":  # a look-up that is drawn and gets no label counts as wrong
            self._judge_again = self._clock() + JUDGE_PAUSE_SECONDS
        if 0 <= self._clock() - self._resumed < RESUME_SECONDS:
            return outcome
        self._resumed = self._clock()
        self._behind.spawn("finishing what was left behind", self._trials.resume(self._generate))
        return outcome

    async def same(self, question: str, stored: Reply, fresh: Reply) -> bool:
        """Whether two answers to a question are the same, as far as can be told."""
        return (await self._judge.compare(question, stored, fresh)).verdict == "same"

    async def feedback(
        self, hit_id: str, *, ok: bool, request: Request | None = None, whose: Selector | None = None
    ) -> None:
        """See ``Cache.feedback``."""
        if self._ids is None:
            self._ids = HitIds(await load_secret(self._shared))
        ref = self._ids.parse(hit_id)
        if whose is not None:
            await self._refuse_others(ref.entry_id, whose)
        await apply_feedback(ref, ok, self._store, self._shared, self._clock())
        if request is not None and self._experiments is not None:
            self._experiments.feedback(self._arm_of(request), ok=ok)

    async def _refuse_others(self, entry_id: str, whose: Selector) -> None:
        """Raises ``InvalidRequest`` unless the entry is this tenant's, and the user's where it is anybody's."""
        async for entry in self._store.entries(Selector(id=entry_id, tenant=whose.tenant)):
            if whose.user is None or entry.scope.user in ("", whose.user):
                return
        raise InvalidRequest("this is no id of a hit that was given to this tenant and user, or its answer is gone")

    async def forget(self, selector: Selector) -> None:
        """Leave no text of the drawn look-ups that a purge concerns."""
        await self._trials.forget(selector)

    async def _labelled(self, trial: Trial, correct: bool, how: str) -> None:
        """A label is told: it counts, and its namespace is looked at again."""
        experiment = trial.namespace.rpartition("/x:")[2] if "/x:" in trial.namespace else ""
        standings = self._standings.get(experiment)
        if standings is None:  # of an experiment that is over: nobody serves by it any more
            return
        await standings.judged(trial, correct, how)
        self._wants_advance(trial.namespace)

    def _wants_advance(self, name: str) -> None:
        self._waiting[name] = None
        if self._advancing is None or self._advancing.done():
            self._advancing = self._behind.spawn("taking labels in", self._advance())

    async def _advance(self) -> None:
        """Look at the namespaces that have new labels, one after the other."""
        while self._waiting:
            name = next(iter(self._waiting))
            experiment = name.rpartition("/x:")[2] if "/x:" in name else ""
            del self._waiting[name]
            with contextlib.suppress(StoreError, TimeoutError):  # the next label takes it in
                await self._standings[experiment].advance(name)

    def _moved(self, transition: Transition) -> None:
        event = Event(
            call="standing",
            outcome=transition.after,
            before=transition.before,
            namespace=transition.namespace,
            why=transition.reason,
        )
        emit(self._hooks, event, asyncio.get_running_loop().call_soon)


def _shipped(policy: Policy, embedder: str, mix: Mix | None = None) -> ShippedThreshold | None:
    if policy.max_error_rate is None:
        return None
    if mix is not None:
        return verified_threshold(mix, embedder, policy.max_error_rate, policy.confidence)
    return shipped_threshold(embedder, policy.max_error_rate, policy.confidence)
