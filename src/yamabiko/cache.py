"""The path: nine steps from a request to an answer, in four ways in.

``lookup`` is steps 1 to 7, which stand in ``yamabiko.lookup``; ``answer`` adds generation and storing, ``stream`` is
the same in pieces, ``remember`` is the last step alone. Each step is a function of values in its own module; here
stands only their order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Self, TypeAlias

from yamabiko.attest import QUARANTINE_SECONDS, Attest
from yamabiko.auditing import Auditing, drawn, missed
from yamabiko.claims import Claims, Lease
from yamabiko.core.economics import Prices
from yamabiko.core.key import Place
from yamabiko.core.signing import SigningKeys
from yamabiko.errors import InvalidRequest, NotStored
from yamabiko.flight import Background, Flight, Pieces, was_handed_over
from yamabiko.gating import GatedLookup
from yamabiko.learn.learner import Learner
from yamabiko.lookup import Outcome
from yamabiko.ports import Embedder, Generate, SharedState, Store, StreamGenerate, Verifier
from yamabiko.removing import Mode, Removing
from yamabiko.settings import StoreSettings
from yamabiko.storing import Storing
from yamabiko.stream import Heard, Stream, as_reply, as_request, unheard, whole
from yamabiko.telemetry import Call, Event, Hook, Watch, emit, of_call
from yamabiko.types import (
    PLAIN,
    Controls,
    Entry,
    Hit,
    Key,
    Miss,
    MissReason,
    Policy,
    Reply,
    Request,
    Selector,
    StoreStats,
)
from yamabiko.unwritten import Unwritten
from yamabiko.wire.cache_writes import cache_writes

_Begun: TypeAlias = tuple[Outcome, Watch]
RENEWAL_PAUSE_SECONDS = 5.0
"""After an attempt to renew a stale answer, the next one waits so long."""


class Cache:
    """The semantic cache. ``open_cache`` makes one; use it as ``async with`` or call ``close()``.

    ``learner`` knows what may be served and learns when it was wrong. With ``signing_keys``, entries are signed, and
    only signed ones are believed. ``times``: deadlines and leases. ``clock`` gives seconds UTC epoch. Whatever
    ``generate`` raises reaches the caller untouched; a dead store or embedder only ever means a miss.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        policy: Policy,
        prices: Prices,
        learner: Learner,
        times: StoreSettings,
        embedder_timeout_seconds: float = 10.0,
        signing_keys: SigningKeys | None = None,
        verifier: Verifier | None = None,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.embedder, self.policy = store, embedder, policy
        self._prices, self._learner, self._hooks, self._clock = prices, learner, tuple(hooks), clock
        attest = Attest(signing_keys, lambda text: self._lookup.vector_of(text))  # noqa: PLW0108 - which is made below
        unwritten = Unwritten(store, timeout_seconds=times.timeout_seconds)
        self._lookup = GatedLookup(
            store,
            embedder,
            policy=policy,
            standing=learner.standing,
            unwritten=unwritten,
            verifier=verifier,
            clock=clock,
            new_id=learner.new_id,
            hit_id=learner.hit_id,
            attest=attest,
            forged=self._forged,
            store_timeout_seconds=times.timeout_seconds,
            embedder_timeout_seconds=embedder_timeout_seconds,
        )
        self._storing = Storing(
            store,
            self._lookup,
            policy=policy,
            unwritten=unwritten,
            hooks=self._hooks,
            clock=clock,
            same=learner.same,
            attest=attest,
            timeout_seconds=times.write_timeout_seconds,
        )
        self._claims = Claims.timed(store, times, clock)
        self._flight: Flight[tuple[Outcome, Reply]] = Flight()
        self._writes, self._renewals = Background(), Background()
        self._auditing = Auditing(learner, generate=self._generate, begun=self._begun, keep=self._keep_behind)
        self._removing = Removing(store, self._storing, attest=attest, learner=learner, written=self._writes.drain)
        self._renew_after: dict[str, float] = {}
        self._closing: asyncio.Task[None] | None = None

    # The four ways in.

    async def lookup(self, request: str | Request, *, controls: Controls = PLAIN) -> Outcome:
        """Whether the cache can answer, and why or why not. Never calls a model. ``controls`` bind ``remember`` too.

        Where the cache learns from labels, a hit that was drawn for an audit comes as a miss with reason ``audit``: its
        caller generates, and ``remember`` compares.
        """
        watch = Watch(time.perf_counter())
        request = as_request(request)
        outcome = await self._exact(self._lookup.place(request), controls)
        if isinstance(outcome, Miss):
            outcome = drawn(outcome, await self._lookup.by_meaning(outcome, watch))
        if isinstance(outcome, Miss):
            outcome = await self._claims.fenced(outcome)
        self._tell("lookup", request, outcome, watch, outcome.reply if isinstance(outcome, Hit) else None)
        return outcome

    async def answer(self, request: str | Request, generate: Generate, *, controls: Controls = PLAIN) -> Reply:
        """The stored answer, or a new one from ``generate``, called once for all who ask the same meanwhile.

        ``controls``: what this request asks of the cache. Raises ``NotStored`` where they forbid to call ``generate``.
        """
        watch = Watch(time.perf_counter())
        request = as_request(request)
        outcome = await self._exact(self._lookup.place(request), controls)
        reply, shared = None, False
        try:
            if isinstance(outcome, Hit):
                reply = outcome.reply
                self._look_after(outcome, request, generate, controls)
            elif outcome.key is None and controls.forward:
                reply = await self._generate(request, generate)
            else:
                resolve = partial(self._resolve, outcome, generate, watch)
                (outcome, reply), shared = await self._flight.once(await self._shared_by(outcome), resolve)
        finally:
            self._tell("answer", request, outcome, watch, reply, shared=shared)
        return reply

    def stream(self, request: str | Request, generate: StreamGenerate, *, controls: Controls = PLAIN) -> Stream:
        """As ``answer``, in pieces: a stored answer comes in those that it was once streamed in."""
        return Stream(partial(self._stream, as_request(request), generate, controls, None))

    def place(self, request: Request) -> Place:
        """Where a request belongs, for whoever asks it again and again. Raises ``InvalidRequest``."""
        return self._lookup.place(request)

    async def begin(self, place: Place, generate: StreamGenerate, *, controls: Controls = PLAIN) -> Hit | Stream:
        """As ``stream``, for whoever wants the very same question's answer as a whole: that hit, or else the stream."""
        watch = Watch(time.perf_counter())
        outcome = await self._exact(place, controls)
        if isinstance(outcome, Miss):
            return Stream(partial(self._stream, place.request, generate, controls, (outcome, watch)))
        self._look_after(outcome, place.request, whole(generate, unheard), controls)
        self._tell("stream", place.request, outcome, watch, outcome.reply)
        return outcome

    async def remember(self, miss: Miss, reply: Reply | str) -> Entry | None:
        """Store an answer that the caller generated. None, with an event that says why, where it is not stored."""
        if not isinstance(miss, Miss):
            raise InvalidRequest("remember() takes the Miss that lookup() returned, and the reply")
        reply = self._completed(as_reply(reply), miss.request, 0.0)
        self._auditing.made(miss, reply)
        writing = self._storing.write(miss, reply, *self._storing.admitted(miss, reply), "remember")
        return await self._writes.own(writing)

    async def feedback(
        self, hit_id: str, *, ok: bool, request: str | Request | None = None, whose: Selector | None = None
    ) -> None:
        """What a person says of a hit. ``ok=False``: at once and for good, that answer never again for that question.

        ``hit_id``: ``Hit.id``. ``request``: what was asked, for an experiment's report. ``whose``: tenant and user of
        whom says it; None: anybody's. What is said unasked never counts for a certificate. Raises ``InvalidRequest``
        for an id that this cache did not give, or not to them, and ``StoreError`` where it could not be noted.
        """
        asked = None if request is None else as_request(request)
        await self._writes.drain()  # a hit may be of an entry that is still being written
        await self._learner.feedback(hit_id, ok=ok, request=asked, whose=whose)

    # Around the path.

    async def purge(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the word that hits, exports and the command line use
        tag: str | None = None,
        tenant: str | None = None,
        user: str | None = None,
        model: str | None = None,
        source: str | None = None,
        base: str | None = None,
        digest: str | None = None,
        dead: bool = False,
        everything: bool = False,
    ) -> int:
        """Remove the entries that fit all given conditions, with their questions and vectors; how many went.

        ``dead=True``: only those past their life. ``digest``, of a source: see ``invalidate``. What fits and is being
        made by any process is not stored. Raises ``ConfigurationError`` without a condition or ``everything=True``.
        """
        model = None if model is None else self.policy.model_families.get(model, model)
        at = self._clock() if dead else None
        whose = Selector(id=id, tag=tag, tenant=tenant, user=user, model=model, dead_at=at)
        selector = replace(whose, source=source, base=base, except_digest=digest)
        return await self._removing.purge(selector, everything=everything)

    async def invalidate(self, source: str = "", *, base: str = "", digest: str = "", mode: Mode = "remove") -> int:
        """A document has changed, or a whole knowledge base: serve no answer made from it; of how many this was true.

        ``source``: its URI. ``digest``: its present one; what was made from that stays. ``mode`` "recheck" keeps the
        answers, out of sight, until a new one is the same or takes their place. Raises ``ConfigurationError``.
        """
        return await self._removing.invalidate(source=source, base=base, digest=digest, mode=mode)

    async def entries(self, selector: Selector | None = None) -> AsyncIterator[Entry]:
        """Every stored entry that fits, dead or alive, oldest first, with its questions and vectors."""
        await self._writes.drain()
        async for entry in self.store.entries(selector or Selector()):
            yield entry

    async def stats(self) -> StoreStats:
        """Counts and sizes of the store, after all writes under way are done."""
        await self._writes.drain()
        return await self.store.stats()

    async def check(self) -> Sequence[str]:
        """Everything that is wrong with the stored data, in sentences; empty when it is sound."""
        await self._writes.drain()
        return await self.store.check()

    async def drain(self) -> None:
        """Wait until all writes and renewals behind earlier replies are done and their events told."""
        await self._auditing.drain()
        await self._learner.drain()
        await self._renewals.drain()
        await self._writes.drain()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Finish the writes under way, give up renewals, and let go of everything. May be called twice."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)  # who gives up waiting leaves nothing half closed

    async def _close(self) -> None:
        self._renewals.cancel()
        self._auditing.cancel()  # what was drawn stands in the store, and somebody will go on with it
        try:
            await self.drain()
            await self._learner.close()
            await self._claims.close()
            if self.embedder is not None:
                await self.embedder.close()
        finally:
            await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exact(self, place: Place, controls: Controls) -> Outcome:
        purges = self._storing.purges
        outcome = await self._lookup.exact(place, controls)
        return replace(outcome, purges=purges) if purges and isinstance(outcome, Miss) else outcome

    # Step 8: one generation for all who wait.

    async def _resolve(self, miss: Miss, generate: Generate, watch: Watch, pieces: Pieces) -> tuple[Outcome, Reply]:
        outcome, lease = await self._led(miss, watch)
        pieces.outcome = outcome
        if isinstance(outcome, Hit):
            self._look_after(outcome, miss.request, generate, miss.controls)
            reply = outcome.reply
        else:
            reply = await self._generate_and_keep(outcome, generate, "remember", lease)
        for piece in reply.chunks():
            pieces.push(piece)
        return outcome, reply

    async def _resolve_stream(
        self, miss: Miss, generate: StreamGenerate, watch: Watch, pieces: Pieces
    ) -> tuple[Outcome, Reply]:
        outcome, lease = await self._led(miss, watch)
        pieces.outcome = outcome
        if isinstance(outcome, Hit):
            self._look_after(outcome, miss.request, whole(generate, unheard), miss.controls)
            for piece in outcome.reply.chunks():
                pieces.push(piece)
            return outcome, outcome.reply
        return outcome, await self._generate_and_keep(outcome, whole(generate, pieces.push), "remember", lease)

    async def _led(self, miss: Miss, watch: Watch) -> tuple[Outcome, Lease]:
        """A miss by meaning too, and the lease to generate; or a hit, perhaps by another process meanwhile."""
        outcome, controls = await self._lookup.by_meaning(miss, watch), miss.controls
        if isinstance(outcome, Miss) and not controls.forward:
            raise NotStored
        if isinstance(outcome, Hit) or outcome.key is None:
            return outcome, Lease()
        if not (controls.read and controls.store):  # made for this request alone
            return outcome, Lease(fence=(await self._claims.fenced(outcome)).fence)
        led = await self._claims.lead(outcome, partial(self._lookup.again, outcome.key, outcome.request, controls))
        return (outcome, led) if isinstance(led, Lease) else (led, Lease())

    async def _stream(
        self, request: Request, generate: StreamGenerate, controls: Controls, begun: _Begun | None, stream: Heard
    ) -> AsyncIterator[str]:
        outcome, watch = begun or (None, Watch(time.perf_counter()))
        stream.outcome = outcome = outcome or await self._exact(self._lookup.place(request), controls)
        shared = False
        try:
            if isinstance(outcome, Hit):
                self._look_after(outcome, request, whole(generate, unheard), controls)
                for piece in outcome.reply.chunks():
                    yield piece
                stream.reply = outcome.reply
                return
            key = await self._shared_by(outcome)
            resolve = partial(self._resolve_stream, outcome, generate, watch)
            led = told = False
            while stream.reply is None:
                with self._flight.join(key, resolve) as (generation, shared):
                    async for piece in generation.pieces.follow():
                        stream.outcome, told = generation.pieces.outcome, True
                        yield piece
                    try:
                        stream.outcome, stream.reply = await generation.result()
                    except asyncio.CancelledError:
                        if told or (led and not shared) or not was_handed_over(generation.task):
                            raise
                led = led or not shared
        finally:
            self._tell("stream", request, stream.outcome or outcome, watch, stream.reply, shared=shared)

    async def _shared_by(self, miss: Miss) -> Hashable:
        """Under which name a generation is shared: with those who ask the very same of the cache, or with nobody."""
        if miss.key is None or not (miss.controls.read and miss.controls.store):
            return object()
        return await self._claims.purged(miss), self._storing.purges, miss.key.digest, miss.controls

    async def _generate_and_keep(self, miss: Miss, generate: Generate, call: Call, lease: Lease) -> Reply:
        try:
            reply = await self._generate(miss.request, generate)
        except BaseException:
            self._claims.end(lease)
            raise
        self._keep_behind(replace(miss, fence=lease.fence), reply, call, lease)
        return reply

    async def _generate(self, request: Request, generate: Generate) -> Reply:
        started = time.perf_counter()
        reply = as_reply(await generate(request))
        return self._completed(reply, request, time.perf_counter() - started)

    def _completed(self, reply: Reply, request: Request, seconds: float) -> Reply:
        """The reply with what it took and what it cost, where the generator did not say."""
        model = reply.model or request.model
        return replace(
            reply,
            model=model,
            latency_seconds=reply.latency_seconds or seconds,
            cost_usd=reply.cost_usd or self._prices.cost_usd(reply.usage, model, written=cache_writes(reply)),
        )

    # Step 9: storing, after the reply has left.

    def _keep_behind(self, miss: Miss, reply: Reply, call: Call = "audit", lease: Lease | None = None) -> None:
        if miss.key is not None:
            entry, why = self._storing.admitted(miss, reply)
            storable = entry is not None or miss.purges != self._storing.purges  # or would be, of whoever begins now
            writing = self._storing.write(miss, reply, entry, why, call)
            self._auditing.made(miss, reply)
            self._writes.spawn("storing", self._claims.end_after(writing, lease or Lease(), storable=storable))

    async def _begun(self, hit: Hit, request: Request) -> Miss:
        return await self._claims.fenced(replace(missed(hit, request), purges=self._storing.purges))

    def _look_after(self, hit: Hit, request: Request, generate: Generate, controls: Controls) -> None:
        """What a hit entails, after it has left: an audit, a renewal."""
        if not (controls.store and controls.forward):
            return
        self._auditing.served(hit, request, generate)
        if hit.stale and self._may_renew(hit.entry.id):
            self._renewals.spawn("renewing", self._renew(hit, request, generate))

    def _may_renew(self, entry_id: str) -> bool:
        """Whether the last attempt is long enough ago: a model that is down is not asked at every stale hit."""
        now = self._clock()
        if now < self._renew_after.get(entry_id, now):
            return False
        self._renew_after = {known: after for known, after in self._renew_after.items() if after > now}
        self._renew_after[entry_id] = now + RENEWAL_PAUSE_SECONDS
        return True

    async def _renew(self, hit: Hit, request: Request, generate: Generate) -> None:
        reasons, purges = ("a stale answer was served",), self._storing.purges
        stored_as = replace(missed(hit, request), reason=MissReason.EXPIRED, reasons=reasons, purges=purges)

        async def fresh() -> Hit | None:
            found = await self._lookup.again(hit.key, request)
            return found if found is not None and not found.stale else None

        async def make(_: Pieces) -> tuple[Outcome, Reply]:
            lease = await self._claims.renew(hit.entry.id, fresh)
            if lease is None:
                return hit, hit.reply
            return stored_as, await self._generate_and_keep(stored_as, generate, "renew", lease)

        await self._flight.once(("renew", hit.entry.id), make)  # one renewal, however it was asked

    def _forged(self, entry: Entry, key: Key) -> None:
        """Somebody without a key has written to the store: told, and the pair left out for a while."""
        event = Event(call="forged", outcome="refused", key=entry.id[:16], model=entry.reply.model)
        emit(self._hooks, event, asyncio.get_running_loop().call_soon)
        if isinstance(self.store, SharedState):
            until = self._clock() + QUARANTINE_SECONDS
            work = self.store.quarantine(entry.id, key.digest, until=until, now=self._clock())
            self._writes.spawn("quarantining", work)

    def _tell(
        self, call: Call, request: Request, outcome: Outcome, watch: Watch, reply: Reply | None, *, shared: bool = False
    ) -> None:
        if isinstance(outcome, Hit):
            self.store.touch(outcome.entry.id)
        if outcome.namespace:
            self._learner.noted(request, outcome)
        if self._hooks:
            event = of_call(call, outcome, watch, reply, shared=shared)
            emit(self._hooks, event, asyncio.get_running_loop().call_soon)
