"""Where each namespace stands, kept in the store: all workers share it, and it survives them.

A look-up gets its ``Position`` from memory; the store is read at first sight of a namespace and now and then behind.
Whoever has written labels calls ``advance``, which takes them in and saves what follows by compare-and-set: where two
workers do so at once, one of them loads again and decides again, and no label is counted twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import msgspec

from yamabiko.core.calibrate import Judge, Terms, Versions
from yamabiko.core.mixing import log_odds_of
from yamabiko.core.sampling import Sample
from yamabiko.core.score import MIN_SCORE
from yamabiko.core.shipped import ShippedThreshold
from yamabiko.core.states import Position, State
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.learn.advance import Rules, is_heavy, settle, step, worth_saving
from yamabiko.learn.counts import RequestCounts
from yamabiko.learn.held import Held, closed, held, unheld
from yamabiko.learn.ledger import WINDOW, Ledger
from yamabiko.learn.namespaces import chain, embedder_of, root
from yamabiko.learn.records import (
    AnyRecord,
    Drawing,
    Drawn,
    Judged,
    NamespaceState,
    Transition,
    census_drawing,
    digest_of,
    encode_record,
    encode_standing,
    imported_records,
    log_name,
    promise_of,
    standing_name,
)
from yamabiko.ports import Mix, SharedState
from yamabiko.types import Policy, Trial

Spawn: TypeAlias = Callable[[str, Coroutine[Any, Any, object]], "asyncio.Task[None]"]
"""Runs work behind a reply: ``flight.Background.spawn``."""

MOST_NAMESPACES = 10_000
"""So many are held in memory; others are read again when they are seen again."""
FIRST_TIMEOUT_SECONDS = 1.0
"""How long the first look-up of a namespace waits for the store, where its own deadline is not shorter."""
BEHIND_TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 1.0
"""How long after a failure the store is asked again."""
COUNTED_EACH = 500
"""Requests after which their number is written down, where the promise is per request."""
_PAGE = 500
_TRIES = 10


@dataclass(slots=True)
class Log:
    """The log of a root namespace, as far as this process has read it; ``alone``: one reads or advances at a time."""

    ledger: Ledger = field(default_factory=Ledger)
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: float = 0.0


class Standings:
    """The standings of all namespaces under one policy.

    ``learning``: whether labels are made here. ``shipped`` and ``versions`` take an embedder as ``model_for`` names it.
    ``most``: the largest share of a namespace's look-ups that may be drawn. ``logs``: as far as others have read them.
    ``judge``: how far the labels can be trusted. ``new_id`` makes texts that were never made before. ``spawn`` runs
    work behind. ``told`` hears of each transition, once among all workers. ``clock`` gives seconds UTC epoch.

    Raises ``ConfigurationError`` where policy and judge can't go together.
    """

    def __init__(
        self,
        shared: SharedState,
        *,
        policy: Policy,
        clock: Callable[[], float],
        learning: bool,
        shipped: Callable[[str], ShippedThreshold | None],
        versions: Callable[[str], Versions],
        judge: Judge,
        new_id: Callable[[], str],
        spawn: Spawn,
        told: Callable[[Transition], None] | None = None,
        refresh_seconds: float = 30.0,
        timeout_seconds: float = FIRST_TIMEOUT_SECONDS,
        most: Callable[[str], float] = lambda _: 1.0,
        logs: dict[str, Log] | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self._most = most
        self._shared = shared
        self._clock = clock
        self._learning = learning
        self._shipped = shipped
        self._versions = versions
        self._spawn = spawn
        self._told = told
        self._refresh_seconds = refresh_seconds
        self._timeout = min(timeout_seconds, FIRST_TIMEOUT_SECONDS)
        self._terms: Terms | None = None
        self._promise = ""
        if policy.max_error_rate is not None:
            self._promise = promise_of(policy)
            self._terms = Terms(
                max_error_rate=policy.max_error_rate,
                confidence=policy.confidence,
                on=policy.on,
                judge=judge,
                min_score=MIN_SCORE,
            )
        self._rules: dict[str, Rules] = {}
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._logs = {} if logs is None else logs
        self._sighting: dict[str, asyncio.Task[None]] = {}
        self._counts = RequestCounts(self._append, new_id)

    # What a look-up asks.

    async def of(self, namespace: str) -> Position:
        """Where a namespace stands; never raises. Waits for the store at first sight only, and then not long."""
        if self._terms is None:
            return Position(
                namespace=namespace,
                state=State.SERVING,
                threshold=0.0,
                calibration="none",
                reason="there is no max_error_rate, so min_similarity alone decides and nothing is promised",
            )
        known = self._held.get(namespace)
        if known is None:
            if namespace not in self._sighting:
                task = self._spawn("reading a standing", self._sight(namespace))
                self._sighting[namespace] = task
                task.add_done_callback(lambda _: self._sighting.pop(namespace, None))
            await asyncio.shield(self._sighting[namespace])
            known = self._held.get(namespace)
        elif not known.refreshing and not 0 <= self._clock() - known.loaded < self._refresh_seconds:
            known.refreshing = True
            self._spawn("reading a standing again", self._sight(namespace))
        if known is None or known.position is None:
            return closed(namespace, "the store failed")
        self._held.move_to_end(namespace)
        return known.position

    async def of_mix(self, namespace: str, mix: Mix) -> Position:
        """The same where these are the scores of a mix, and whether others are in force instead."""
        position = await self.of(namespace)
        levels = (known for level in chain(namespace) if (known := self.known(level)) is not None)
        tried = next((known for known in levels if known.behind or known.certificate is not None), None)
        return replace(position, mix=mix, behind="" if tried is None else tried.behind)

    def known(self, namespace: str) -> NamespaceState | None:
        """What memory holds of a namespace's standing; None where it was not seen yet."""
        return self._held[namespace].now if namespace in self._held else None

    async def _sight(self, namespace: str) -> None:
        """Read what is stored of a namespace and its ancestors; where that fails, what was known stays."""
        known = self._held.get(namespace)
        try:
            async with asyncio.timeout(self._timeout if known is None else BEHIND_TIMEOUT_SECONDS):
                await self._load(namespace)
        except (StoreError, TimeoutError) as error:
            why = f"the store failed: {error}" if isinstance(error, StoreError) else "the store took too long"
            self._unreadable(namespace, known, why)
            return
        finally:
            if known is not None:
                known.refreshing = False
        log = self._log(namespace)
        if not 0 <= self._clock() - log.read < self._refresh_seconds and not log.alone.locked():
            self._spawn("reading labels", self._read_alone(namespace))

    def _unreadable(self, namespace: str, known: Held | None, why: str) -> None:
        again = self._clock() - self._refresh_seconds + min(RETRY_SECONDS, self._refresh_seconds)
        if known is not None:
            known.loaded = again
            return
        self._keep(namespace, unheld(namespace, why, self._rules_of(namespace), again))

    async def _load(self, namespace: str) -> list[Held]:
        """Read the namespace, and of its ancestors what is not recent; each with what follows from it."""
        now, rules, levels = self._clock(), self._rules_of(namespace), chain(namespace)
        stale = [level for level in levels if level == namespace or not self._is_recent(level, now)]
        before = {level: self._held.get(level) for level in stale}
        read = await asyncio.gather(*(self._shared.load_state(standing_name(level)) for level in stale))
        found = dict(zip(stale, read, strict=True))
        lineage: list[Held] = []
        for level in reversed(levels):
            known = self._held.get(level)
            saved_meanwhile = known is not None and level in found and known is not before[level] and known.writable
            if known is None or (level in found and not saved_meanwhile):
                known = held(level, found.get(level), rules, now)
            self._follow(level, known, settle(known.base, [other.now for other in lineage], rules, now=now))
            lineage.insert(0, known)
        return lineage

    def _is_recent(self, level: str, now: float) -> bool:
        known = self._held.get(level)
        return known is not None and known.writable and 0 <= now - known.loaded < self._refresh_seconds

    def _follow(self, level: str, known: Held, now: NamespaceState) -> None:
        known.now = now
        known.position = Position(
            namespace=level,
            state=now.state,
            threshold=now.threshold,
            calibration=now.calibration,
            reason=now.reason,
            error_upper=now.error_upper,
            design=None if now.drawing is None else now.drawing.design(),
            entries=self._log(level).ledger.entries,
        )
        self._keep(level, known)

    def _keep(self, namespace: str, known: Held) -> None:
        self._held[namespace] = known
        self._held.move_to_end(namespace)
        if len(self._held) > MOST_NAMESPACES:
            self._held.popitem(last=False)

    def _log(self, namespace: str) -> Log:
        return self._logs.setdefault(root(namespace), Log())

    def _rules_of(self, namespace: str) -> Rules:
        embedder = embedder_of(namespace)
        versions = self._versions(embedder)
        rules = self._rules.get(embedder)
        if rules is None or rules.terms.versions != versions:
            assert self._terms is not None
            terms, shipped = replace(self._terms, versions=versions), self._shipped(embedder)
            threshold = None if shipped is None else shipped.threshold
            rules = Rules(
                terms=terms,
                promise=self._promise,
                versions=digest_of(versions),
                learning=self._learning,
                shipped=threshold,
            )
            self._rules[embedder] = rules
        most = self._most(namespace)
        return rules if most == rules.most else replace(rules, most=most)

    # What came of it.

    async def drawn(
        self,
        trial: Trial,
        digest: bytes,
        *,
        population: float | None = None,
        beside: bool = False,
        verifier: str = "",
    ) -> bool:
        """Write down that a look-up was drawn, before anything is known of its outcome; ``digest``: its key's.

        ``population``: the candidate's score without what labels said of its entry, where that is another. ``beside``:
        for scores that are not in force. ``verifier``: who may be asked. False, and
        nothing is written, for a design that is not known here: its label counts nowhere. Raises ``StoreError``.
        """
        drawing = self._drawing(trial.namespace, trial.design)
        if drawing is None:
            return False
        record = Drawn(
            trial=trial.id,
            drawing=drawing,
            score=trial.score,
            similarity=trial.candidate.similarity,
            entry=trial.candidate.entry.id,
            question=digest.hex(),
            served=trial.served,
            at=self._clock(),
            population=population,
            alone=trial.candidate.alone,
            log_odds=None if trial.candidate.verified is None else log_odds_of(trial.candidate.verified),
            verifier="" if trial.candidate.verified is None else verifier,
        )
        await self._append(trial.namespace, f"d:{trial.id}:{trial.design}" if beside else f"d:{trial.id}", record)
        return True

    async def judged(self, trial: Trial, correct: bool, how: str) -> None:
        """Write down a verdict; the first one of a trial counts, however often it is told. Raises ``StoreError``."""
        entry = trial.candidate.entry.id
        record = Judged(trial=trial.id, entry=entry, correct=correct, how=how, at=self._clock())
        await self._append(trial.namespace, f"l:{trial.id}", record)

    def requested(self, namespace: str, design: str, look_up: str) -> None:
        """Count a look-up that takes part in a design, whatever becomes of it; ``look_up``: its id.

        Only a promise per request needs it. Counted in memory and written behind.
        """
        if self._terms is None or self._terms.on != "request":
            return
        drawing = self._drawing(namespace, design)
        if drawing is None:
            return
        self._counts.add(drawing, look_up)
        if self._counts.pending == COUNTED_EACH:
            self._spawn("counting requests", self.flush())

    async def flush(self) -> None:
        """Write down how many requests there were; ``advance`` does so too. Raises ``StoreError``."""
        await self._counts.flush()

    async def imported(
        self, namespace: str, labels: Sequence[tuple[float, bool]], *, floor: float = MIN_SCORE, requests: int = 0
    ) -> Position:
        """Take in labels from outside, (score, whether the answer was right), and certify them if they will do.

        They must be would-be hits as they came, or a random part of those, each from score ``floor`` on: neither picked
        by outcome nor rejected pairs alone. ``requests``: how many look-ups they are the hits of, for a promise per
        request. The same labels again count once. Raises ``StoreError`` and ``ConfigurationError``.
        """
        if self._terms is None:
            raise ConfigurationError("without max_error_rate nothing is promised, so there is nothing to calibrate")
        if not all(0 <= score <= 1 for score, _ in labels):
            raise ConfigurationError("scores must be in [0, 1]: import what the cache itself scored")
        drawing = census_drawing(namespace, self._rules_of(namespace).versions, floor)
        for record in imported_records(drawing, labels, requests=requests, at=self._clock()):
            await self._append(namespace, f"i:{record.batch}", record)
        return await self.advance(namespace)

    async def _append(self, namespace: str, item_id: str, record: AnyRecord) -> None:
        async with _deadline():
            await self._shared.append_log(log_name(root(namespace)), {item_id: encode_record(record)})

    def _drawing(self, namespace: str, design: str) -> Drawing | None:
        known = self._held.get(namespace)
        drawings = () if known is None else reversed(known.now.drawings)
        return next((drawing for drawing in drawings if drawing.id == design), None)

    # What follows.

    async def advance(self, namespace: str) -> Position:
        """Take in what has been labelled, by whomever, and save what follows for the namespace and its ancestors.

        Raises ``StoreError``; nothing is lost then, and the next one to advance takes it in.
        """
        if self._terms is None:
            return await self.of(namespace)
        await self._counts.flush()
        log = self._log(namespace)
        async with log.alone, _deadline():
            await self._read(namespace)
            levels = chain(namespace)
            if not all(self._is_recent(level, self._clock()) for level in levels):
                await self._load(namespace)
            lineage: list[NamespaceState] = []
            for level in reversed(levels):
                lineage.insert(0, await self._advanced(level, lineage))
            up_to = log.ledger.excess()
            if up_to:
                await self._shared.trim_log(log_name(root(namespace)), up_to=up_to)
                log.ledger.forget(up_to)
        return await self.of(namespace)

    async def _advanced(self, level: str, ancestors: Sequence[NamespaceState]) -> NamespaceState:
        rules, ledger = self._rules_of(level), self._log(level).ledger
        for _ in range(_TRIES):
            known = self._held.get(level)
            if known is None:
                known = (await self._load(level))[0]
            now = self._clock()
            work = partial(step, known.base, tuple(ancestors), ledger, rules, now=now)
            heavy = is_heavy(known.base, ledger, rules, now)
            state = await asyncio.to_thread(work) if heavy else work()
            if not known.writable or not worth_saving(state, known.base if known.is_saved else None):
                self._follow(level, known, state)
                return state
            state = msgspec.structs.replace(state, saved=now)
            stored, name = known.stored.with_(state), standing_name(level)
            version = await self._shared.save_state(name, encode_standing(stored), expected=known.version)
            if version is not None:
                self._follow(level, Held(stored, version, state, state, known.loaded, is_saved=True), state)
                self._tell([new for new in state.transitions if new not in known.base.transitions])
                return state
            await self._read(level)  # somebody was faster, and may have seen more
            await self._load(level)
        raise StoreUnavailable(f"the standing of {level!r} changes faster than it can be saved")

    def sample(self, namespace: str, *, after: int, up_to: int) -> Sample:
        """The labels of a namespace by these scores, between two positions of the log."""
        versions = self._rules_of(namespace).versions
        return self._log(namespace).ledger.sample(namespace, versions, after=after, up_to=up_to)

    def seen_from(self, namespace: str, *, after: int, up_to: int) -> int:
        """From where on ``sample`` reaches back to what was drawn behind ``after``."""
        versions, ledger = self._rules_of(namespace).versions, self._log(namespace).ledger
        draws = ledger.latest(namespace, versions, after=after, up_to=up_to, most=WINDOW)
        return draws[0].position - 1 if len(draws) >= WINDOW else after

    async def give_way(self, namespace: str, why: str) -> None:
        """Note that other scores are in force, and why; empty: they are not. Raises ``StoreError``."""
        for _ in range(_TRIES):
            known = self._held.get(namespace)
            if known is None or not known.writable or known.now.behind == why:
                return
            state = msgspec.structs.replace(known.now, behind=why, saved=self._clock())
            stored, name = known.stored.with_(state), standing_name(namespace)
            version = await self._shared.save_state(name, encode_standing(stored), expected=known.version)
            if version is not None:
                self._follow(namespace, Held(stored, version, state, state, known.loaded, is_saved=True), state)
                return
            await self._load(namespace)

    def _tell(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            if self._told is not None:
                self._told(transition)

    async def _read_alone(self, namespace: str) -> None:
        log = self._log(namespace)
        async with log.alone, _deadline():
            await self._read(namespace)

    async def _read(self, namespace: str) -> None:
        """Read the log on to its end; whoever does so is alone at it."""
        log, name = self._log(namespace), log_name(root(namespace))
        while True:
            items = await self._shared.read_log(name, after=log.ledger.position, limit=_PAGE)
            log.ledger.take(items)
            await asyncio.sleep(0)  # a long log is read between other work
            if len(items) < _PAGE:
                break
        log.read = self._clock()


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(BEHIND_TIMEOUT_SECONDS):
            yield
    except TimeoutError:
        raise StoreUnavailable("the store took too long") from None
