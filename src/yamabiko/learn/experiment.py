"""Experiments: a share of the callers gets another policy, and what comes of it is counted off the reply path.

Which experiment runs is a value that all workers share and read again now and then. Asking for a caller's arm and
noting an outcome only touch memory; outcomes are written behind, in batches that count once however often they are
sent, and lie in a log until they are added up. A store that fails costs no outcome: they are kept, and sent later.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from yamabiko.core.experiment import Experiment
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.learn.experiment_counts import MAX_CALLERS, Batch, Counts, Noted, added
from yamabiko.learn.experiment_records import FIRST, STATE, Definition, Registry, changed, check
from yamabiko.learn.experiment_report import CONTROL, TREATMENT, Findings, findings
from yamabiko.policy import Policy
from yamabiko.ports import SharedState

logger = logging.getLogger("yamabiko")

Spawn: TypeAlias = Callable[[str, Coroutine[Any, Any, object]], object]
"""Runs something behind; the text names it in the log should it fail. ``flight.Background.spawn`` is one."""

BATCH_CALLERS = 5000
"""Of so many callers one batch tells at most, so that it fits into an item of the log."""

BATCHES_PER_ADDING = 16
"""After so many batches of its own a worker adds up the log, so that it stays short even if nobody reads a report."""

_READ = 200
_TRIES = 20
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The policy for one caller, and what it takes to note an outcome of it.

    ``name``: "control" or "treatment". ``experiment``: empty where none runs; nothing is noted then. ``caller``: its
    digest; empty where nobody can be told apart.
    """

    name: str
    policy: Policy
    experiment: str = ""
    caller: str = ""

    @property
    def counts(self) -> bool:
        """Whether outcomes of this caller are noted."""
        return bool(self.experiment and self.caller)


def namespace_suffix(arm: Arm) -> str:
    """What a namespace of labels gets at its end in this arm, so that labels of two policies do not mix."""
    return f"/x:{arm.experiment}" if arm.experiment and arm.name == TREATMENT else ""


@dataclass(slots=True)
class _Running:
    """An experiment under way, the policy of its treatment, and how many requests of each caller were noted here."""

    definition: Definition
    design: Experiment
    treatment: Policy
    noted: dict[str, int] = field(default_factory=dict)
    audited: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Outbox:
    """Outcomes not yet written: what is being gathered, and the batch that is being sent."""

    gathered: Batch = field(default_factory=Batch)
    sending: Batch | None = None

    @property
    def empty(self) -> bool:
        return self.sending is None and self.gathered == Batch()


class Experiments:
    """The experiments of one cache, in one worker.

    ``policy`` is the control's. ``clock`` gives seconds UTC epoch. ``refresh_seconds``: after so long it is looked
    again which experiment runs. ``flush_seconds``: after so long what was noted is written, both behind, by ``spawn``.
    ``timeout_seconds``: after so long a write is given up, for the time being.
    """

    def __init__(
        self,
        shared: SharedState,
        *,
        policy: Policy,
        clock: Callable[[], float],
        spawn: Spawn,
        refresh_seconds: float = 30.0,
        flush_seconds: float = 5.0,
        timeout_seconds: float = 60.0,
    ) -> None:
        self._shared = shared
        self._policy = policy
        self._clock = clock
        self._spawn = spawn
        self._refresh_seconds = refresh_seconds
        self._flush_seconds = flush_seconds
        self._timeout_seconds = timeout_seconds
        self._definition: Definition | None = None
        self._running: _Running | None = None
        self._looked = float("-inf")
        self._outboxes: dict[str, _Outbox] = {}
        self._timer: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None
        self._looking = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._writer = secrets.token_hex(8)
        self._number = 0
        self._closed = False

    # On the reply path: memory only.

    def arm_of(self, caller: str) -> Arm:
        """The arm of a caller (see ``caller_of``), from memory; looks behind whether that is still so.

        A caller without a name has the control and is not counted. So has everybody where no experiment runs, and until
        it is known (see ``refresh``).
        """
        now = self._clock()
        if not 0 <= now - self._looked < self._refresh_seconds and not self._closed:
            self._looked = now  # not again meanwhile
            self._spawn("looking for an experiment", self.refresh())
        running = self._running
        if running is None or not caller:
            return Arm(name=CONTROL, policy=self._policy)
        digest = running.definition.digest_of(caller)
        name = running.design.arm_of(digest)
        policy = running.treatment if name == TREATMENT else self._policy
        return Arm(name=name, policy=policy, experiment=running.definition.name, caller=digest)

    def note(self, arm: Arm, *, hit: bool) -> None:
        """One request of this caller was answered by the cache, or was not."""
        running = self._counting(arm)
        if running is None:
            return
        batch = self._gathered(arm.experiment)
        treated = arm.name == TREATMENT
        batch.requests = added(batch.requests, (1, int(hit)), treated=treated)
        count = running.noted.get(arm.caller, 0)
        if count < FIRST and (count or len(running.noted) < MAX_CALLERS):
            running.noted[arm.caller] = count + 1
            batch.callers.setdefault(arm.caller, Noted(treated)).requests += "1" if hit else "0"

    def audited(self, arm: Arm, *, correct: bool) -> None:
        """A hit of this caller, drawn at random, was answered afresh and compared. The first one of each counts."""
        running = self._counting(arm)
        if running is not None and arm.caller in running.noted and arm.caller not in running.audited:
            running.audited.add(arm.caller)
            batch = self._gathered(arm.experiment)
            batch.callers.setdefault(arm.caller, Noted(arm.name == TREATMENT)).audit = "1" if correct else "0"

    def feedback(self, arm: Arm, *, ok: bool) -> None:
        """Somebody says of an answer, unasked, whether it was right. Reported on its own: it proves no error rate."""
        if self._counting(arm) is not None:
            batch = self._gathered(arm.experiment)
            batch.feedback = added(batch.feedback, (int(ok), int(not ok)), treated=arm.name == TREATMENT)

    def _counting(self, arm: Arm) -> _Running | None:
        """The arm's experiment, where it is the one that runs and counts by now."""
        running = self._running
        if running is None or not arm.counts or running.definition.name != arm.experiment or self._closed:
            return None
        return running if self._clock() >= running.definition.counted_from else None

    def _gathered(self, experiment: str) -> Batch:
        self._wind()
        return self._outboxes.setdefault(experiment, _Outbox()).gathered

    def _wind(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._closed and (self._timer is None or self._timer[0] is not loop):
            self._timer = loop, loop.call_later(self._flush_seconds, self._flush_behind)

    def _flush_behind(self) -> None:
        self._timer = None
        if not self._closed:
            self._spawn("writing what an experiment came to", self.flush())

    # Behind.

    async def refresh(self) -> None:
        """Look which experiment runs. Raises ``StoreError``; what was known before then holds on."""
        self._looked = self._clock()
        async with self._looking:  # one after the other, so that what was read last is what holds
            definition = (await self._registry())[0].running
            if definition != self._definition:
                self._begin(definition)

    def _begin(self, definition: Definition | None) -> None:
        self._definition, self._running = definition, None
        if definition is None:
            return
        try:
            treatment = changed(self._policy, definition.changes)
            self._running = _Running(definition, definition.design, treatment)
        except ConfigurationError as error:
            logger.warning("the experiment %s can't run with this worker's policy: %s", definition.name, error)

    async def flush(self) -> None:
        """Write what was noted. What the store does not take is kept for the next time."""
        async with self._flushing:
            for experiment in tuple(self._outboxes):
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        await self._send_all(experiment)
                except (StoreError, TimeoutError) as error:
                    logger.warning("outcomes of the experiment %s wait: %s", experiment, type(error).__name__)
                    self._wind()
        turn = self._number > 0 and self._number % BATCHES_PER_ADDING == 0
        if turn and self._running is not None and not self._closed:
            await self._add_up(self._running.definition)

    async def close(self) -> None:
        """Write what is left. Nothing is noted afterwards."""
        self._closed = True
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        await self.flush()

    async def _send_all(self, experiment: str) -> None:
        outbox = self._outboxes[experiment]
        while not outbox.empty:
            if outbox.sending is None:  # else the last attempt may have arrived: the same again, under the same id
                outbox.sending = self._take(outbox)
            batch = outbox.sending
            await self._shared.append_log(_log(experiment), {f"{batch.writer}.{batch.number}": batch.encode()})
            outbox.sending = None
        if self._running is None or self._running.definition.name != experiment:
            del self._outboxes[experiment]

    def _take(self, outbox: _Outbox) -> Batch:
        """The next batch, of a size that fits; the rest stays."""
        batch, outbox.gathered = outbox.gathered, Batch()
        for caller in tuple(batch.callers)[BATCH_CALLERS:]:
            outbox.gathered.callers[caller] = batch.callers.pop(caller)
        self._number += 1
        batch.writer, batch.number, batch.at = f"{self._writer}-{os.getpid()}", self._number, self._clock()
        return batch

    async def _add_up(self, definition: Definition) -> Counts:
        """The counts with all that is in the log, which is stored and then cut off.

        Raises ``StoreError``, ``ConfigurationError``.
        """
        name = _log(definition.name)
        for _ in range(_TRIES):
            stored = await self._shared.load_state(name)
            data = stored.data if stored is not None else b""
            counts = Counts.parse(data, window_seconds=definition.window_seconds)
            before = counts.head.position
            while items := await self._shared.read_log(name, after=counts.head.position, limit=_READ):
                counts.add((item.position, item.data) for item in items)
            if not counts.reach(self._clock()) and counts.head.position == before:
                return counts
            expected = stored.version if stored is not None else None
            if await self._shared.save_state(name, counts.encode(), expected=expected) is not None:
                if counts.head.position > before:
                    await self._shared.trim_log(name, up_to=counts.head.position)
                return counts
            await asyncio.sleep(0)  # another worker was faster: what it cut off is in its counts
        raise _contested(definition.name)

    # For people.

    async def start(self, name: str, changes: str, **terms: float) -> Definition:
        """Begin an experiment. ``changes``: what the treatment changes, as ``max_error_rate=0.05,candidates=8``.

        ``terms``: ``share`` of the callers in the treatment (0.5), ``confidence`` of all that the report says (0.95),
        ``expected_hit_rate`` (0.3), ``window_seconds`` (3600): the first requests of a caller within so long count,
        ``warmup_seconds`` (0): nothing is counted before. Other workers follow within their ``refresh_seconds``.
        Raises ``ConfigurationError`` where that can't be, or while another one runs, and ``StoreError``.
        """
        definition = self._defined(name, changes, **terms)
        check(definition, self._policy)
        forgotten = await self._change(lambda registry: registry.started(definition))
        for old in forgotten:
            await self._forget(old)
        await self.refresh()
        return definition

    async def stop(self, name: str) -> Definition:
        """End an experiment: everybody has the control again, within ``refresh_seconds``. Its report is kept.

        Raises ``ConfigurationError`` where there is none of this name, and ``StoreError``.
        """
        await self.flush()
        now = self._clock()
        await self._change(lambda registry: (registry.stopped(name, now), ()))
        await self.refresh()
        return (await self._registry())[0].named(name)

    async def all(self) -> tuple[Definition, ...]:
        """Every experiment, in the order in which they were started. Raises ``StoreError``, ``ConfigurationError``."""
        return (await self._registry())[0].experiments

    async def report(self, name: str, certificates: Mapping[str, str] = _NO_TEXTS) -> Findings:
        """What an experiment shows by now; may be read at any time, any number of times.

        ``certificates``: by arm, what its certificate promises, in words. Raises ``ConfigurationError`` where there is
        no such experiment, and ``StoreError``.
        """
        definition, counts = await self.counts(name)
        return findings(definition, counts, certificates)

    async def counts(self, name: str) -> tuple[Definition, Counts]:
        """An experiment and what its arms came to by now, of all workers. Raises as ``report``."""
        await self.flush()
        definition = (await self._registry())[0].named(name)
        return definition, await self._add_up(definition)

    async def policies(self, name: str) -> dict[str, Policy]:
        """The policy of each arm of an experiment. Raises ``StoreError`` and ``ConfigurationError``."""
        definition = (await self._registry())[0].named(name)
        return {CONTROL: self._policy, TREATMENT: changed(self._policy, definition.changes)}

    def _defined(
        self,
        name: str,
        changes: str,
        *,
        share: float = 0.5,
        confidence: float = 0.95,
        expected_hit_rate: float = 0.3,
        window_seconds: float = 3600.0,
        warmup_seconds: float = 0.0,
    ) -> Definition:
        now = self._clock()
        return Definition(
            name=name,
            key=secrets.token_bytes(16),
            changes=changes,
            share=share,
            confidence=confidence,
            expected_hit_rate=expected_hit_rate,
            window_seconds=window_seconds,
            started=now,
            counted_from=now + warmup_seconds,
        )

    async def _registry(self) -> tuple[Registry, int | None]:
        stored = await self._shared.load_state(STATE)
        return (Registry(), None) if stored is None else (Registry.parse(stored.data), stored.version)

    async def _change(self, change: Callable[[Registry], tuple[Registry, tuple[str, ...]]]) -> tuple[str, ...]:
        """Change what experiments there are, whoever else does at the same time; the second result of ``change``."""
        for _ in range(_TRIES):
            registry, version = await self._registry()
            wanted, result = change(registry)
            if (
                wanted == registry
                or await self._shared.save_state(STATE, wanted.encode(), expected=version) is not None
            ):
                return result
            await asyncio.sleep(0)
        raise _contested(STATE)

    async def _forget(self, name: str) -> None:
        stored = await self._shared.load_state(_log(name))
        if stored is not None:
            await self._shared.save_state(_log(name), b"", expected=stored.version)
        while items := await self._shared.read_log(_log(name), after=0, limit=_READ):
            await self._shared.trim_log(_log(name), up_to=items[-1].position)


def _log(experiment: str) -> str:
    """The name of an experiment's log and of its counts."""
    return f"experiment:{experiment}"


def _contested(name: str) -> StoreUnavailable:
    return StoreUnavailable(f"others keep changing {name} at the same time: try again")
