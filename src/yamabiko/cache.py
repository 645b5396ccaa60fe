"""The path: nine steps from a request to an answer, in four ways in.

``lookup`` is steps 1 to 7, which stand in ``yamabiko.lookup``; ``answer`` adds generation and storing, ``stream`` is
the same in pieces, ``remember`` is the last step alone. Each step is a function of values in its own module; here
stands only their order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self

from yamabiko.claims import Claims, Lease
from yamabiko.core.admit import refusal_to_store
from yamabiko.core.economics import Prices
from yamabiko.core.freshness import lifetime
from yamabiko.core.normalise import normalise
from yamabiko.errors import ConfigurationError, InvalidRequest, Outdated, StoreError
from yamabiko.flight import Background, Flight, Pieces, was_handed_over
from yamabiko.lookup import Lookup, Outcome, failure
from yamabiko.ports import Embedder, Generate, Store, StreamGenerate, Verifier
from yamabiko.stream import Heard, Stream, as_reply, unheard, whole
from yamabiko.telemetry import Call, Hook, Watch, emit, of_call, of_write
from yamabiko.types import (
    Entry,
    Hit,
    Key,
    Miss,
    MissReason,
    Policy,
    Question,
    Reply,
    Request,
    Selector,
    StoreStats,
)

RENEWAL_PAUSE_SECONDS = 5.0
"""After an attempt to renew a stale answer, the next one waits so long."""


class Cache:
    """The semantic cache. ``open_cache`` makes one; use it as ``async with`` or call ``close()``.

    ``min_similarity`` maps an embedding model's id to its default threshold. ``clock`` gives seconds UTC epoch.
    Whatever ``generate`` raises reaches the caller untouched; a dead store or embedder only ever means a miss.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        policy: Policy,
        prices: Prices,
        min_similarity: Callable[[str], float],
        verifier: Verifier | None = None,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.time,
        store_timeout_seconds: float = 5.0,
        write_timeout_seconds: float = 60.0,
        embedder_timeout_seconds: float = 10.0,
        claim_seconds: float = 10.0,
        claim_wait_seconds: float = 30.0,
    ) -> None:
        self.store = store
        self.policy = policy
        self._embedder = embedder
        self._prices = prices
        self._hooks = tuple(hooks)
        self._clock = clock
        self._write_timeout = write_timeout_seconds
        self._unwritten: dict[bytes, Entry] = {}
        self._lookup = Lookup(
            store,
            embedder,
            policy=policy,
            unwritten=self._unwritten,
            min_similarity=min_similarity,
            verifier=verifier,
            clock=clock,
            store_timeout_seconds=store_timeout_seconds,
            embedder_timeout_seconds=embedder_timeout_seconds,
        )
        self._claims = Claims(
            store,
            seconds=claim_seconds,
            wait_seconds=claim_wait_seconds,
            timeout_seconds=store_timeout_seconds,
            clock=clock,
        )
        self._flight: Flight[tuple[Outcome, Reply]] = Flight()
        self._writes = Background()
        self._renewals = Background()
        self._purges = 0
        self._renew_after: dict[str, float] = {}
        self._closing: asyncio.Task[None] | None = None

    # The four ways in.

    async def lookup(self, request: str | Request) -> Outcome:
        """Whether the cache can answer, and why or why not. Never calls a model."""
        watch = Watch(time.perf_counter())
        outcome = await self._exact(_as_request(request))
        if isinstance(outcome, Miss):
            outcome = await self._lookup.by_meaning(outcome, watch)
        if isinstance(outcome, Miss):
            outcome = await self._claims.fenced(outcome)
        self._tell("lookup", outcome, watch, outcome.reply if isinstance(outcome, Hit) else None)
        return outcome

    async def answer(self, request: str | Request, generate: Generate) -> Reply:
        """The stored answer, or a new one from ``generate``, called once for all who ask the same meanwhile."""
        watch = Watch(time.perf_counter())
        request = _as_request(request)
        outcome = await self._exact(request)
        reply, shared = None, False
        try:
            if isinstance(outcome, Hit):
                reply = outcome.reply
                self._renew_if_stale(outcome, request, generate)
            elif outcome.key is None:
                reply = await self._generate(request, generate)
            else:
                resolve = partial(self._resolve, outcome, generate, watch)
                (outcome, reply), shared = await self._flight.once((self._purges, outcome.key.digest), resolve)
        finally:
            self._tell("answer", outcome, watch, reply, shared=shared)
        return reply

    def stream(self, request: str | Request, generate: StreamGenerate) -> Stream:
        """As ``answer``, in pieces: a stored answer comes in those that it was once streamed in."""
        return Stream(partial(self._stream, _as_request(request), generate))

    async def remember(self, miss: Miss, reply: Reply | str) -> Entry | None:
        """Store an answer that the caller generated. None, with an event that says why, where it is not stored."""
        if not isinstance(miss, Miss):
            raise InvalidRequest("remember() takes the Miss that lookup() returned, and the reply")
        reply = self._completed(as_reply(reply), miss.request, 0.0)
        return await self._writes.own(self._write(miss, reply, *self._admitted(miss, reply), "remember"))

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
        dead: bool = False,
        everything: bool = False,
    ) -> int:
        """Remove the entries that fit all given conditions, with their questions and vectors; how many went.

        ``dead=True``: only those past their life. Answers that any process is generating meanwhile are not stored.
        Raises ``ConfigurationError`` where no condition is given and ``everything`` is not True.
        """
        selector = Selector(
            id=id,
            tag=tag,
            tenant=tenant,
            user=user,
            model=None if model is None else self.policy.model_families.get(model, model),
            source=source,
            dead_at=self._clock() if dead else None,
        )
        if selector == Selector() and not everything:
            raise ConfigurationError("purge() needs a condition, such as tag=..., or everything=True")
        if not dead or selector != Selector(dead_at=selector.dead_at):
            self._purges += 1  # what was looked up before this is not stored after it
        await self._writes.drain()
        return await self.store.purge(selector)

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
        try:
            await self.drain()
            await self._claims.close()
            if self._embedder is not None:
                await self._embedder.close()
        finally:
            await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exact(self, request: Request) -> Outcome:
        purges = self._purges
        outcome = await self._lookup.exact(request)
        return replace(outcome, purges=purges) if purges and isinstance(outcome, Miss) else outcome

    # Step 8: one generation for all who wait.

    async def _resolve(self, miss: Miss, generate: Generate, watch: Watch, pieces: Pieces) -> tuple[Outcome, Reply]:
        outcome, lease = await self._led(miss, watch)
        pieces.outcome = outcome
        if isinstance(outcome, Hit):
            self._renew_if_stale(outcome, miss.request, generate)
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
            self._renew_if_stale(outcome, miss.request, whole(generate, unheard))
            for piece in outcome.reply.chunks():
                pieces.push(piece)
            return outcome, outcome.reply
        return outcome, await self._generate_and_keep(outcome, whole(generate, pieces.push), "remember", lease)

    async def _led(self, miss: Miss, watch: Watch) -> tuple[Outcome, Lease]:
        """A miss by meaning too, and the lease to generate; or a hit, perhaps by another process meanwhile."""
        outcome = await self._lookup.by_meaning(miss, watch)
        if isinstance(outcome, Hit) or outcome.key is None:
            return outcome, Lease()
        led = await self._claims.lead(outcome, partial(self._lookup.again, outcome.key))
        return (outcome, led) if isinstance(led, Lease) else (led, Lease())

    async def _stream(self, request: Request, generate: StreamGenerate, stream: Heard) -> AsyncIterator[str]:
        watch = Watch(time.perf_counter())
        stream.outcome = outcome = await self._exact(request)
        shared = False
        try:
            if isinstance(outcome, Hit):
                self._renew_if_stale(outcome, request, whole(generate, unheard))
                for piece in outcome.reply.chunks():
                    yield piece
                stream.reply = outcome.reply
                return
            # Without a key: shared with nobody.
            key = (self._purges, outcome.key.digest) if outcome.key is not None else object()
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
            self._tell("stream", stream.outcome or outcome, watch, stream.reply, shared=shared)

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
            cost_usd=reply.cost_usd or self._prices.cost_usd(reply.usage, model),
        )

    # Step 9: storing, after the reply has left.

    def _keep_behind(self, miss: Miss, reply: Reply, call: Call, lease: Lease) -> None:
        if miss.key is not None:
            entry, why = self._admitted(miss, reply)
            storable = entry is not None or miss.purges != self._purges  # or would be, of whoever begins now
            writing = self._write(miss, reply, entry, why, call)
            self._writes.spawn("storing", self._claims.end_after(writing, lease, storable=storable))

    def _renew_if_stale(self, hit: Hit, request: Request, generate: Generate) -> None:
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
        stored_as = Miss(
            request=request,
            key=hit.key,
            canonical=normalise(request),
            reason=MissReason.EXPIRED,
            reasons=("a stale answer was served",),
            purges=self._purges,
        )

        async def fresh() -> Hit | None:
            found = await self._lookup.again(hit.key)
            return found if found is not None and not found.stale else None

        async def make(_: Pieces) -> tuple[Outcome, Reply]:
            lease = await self._claims.renew(hit.entry.id, fresh)
            if lease is None:
                return hit, hit.reply
            return stored_as, await self._generate_and_keep(stored_as, generate, "renew", lease)

        await self._flight.once(("renew", hit.entry.id), make)  # one renewal, however it was asked

    def _admitted(self, miss: Miss, reply: Reply) -> tuple[Entry | None, str]:
        """The entry to store, or why there is none. From now on a look-up finds it, written or not."""
        if miss.key is None:
            return None, "; ".join(miss.reasons)
        if miss.purges != self._purges:
            return None, "answers were purged after this was looked up"
        why = refusal_to_store(miss.request, reply)
        if why:
            return None, why
        entry = self._unwritten[miss.key.digest] = self._entry(miss, miss.key, reply)
        return entry, ""

    async def _write(self, miss: Miss, reply: Reply, entry: Entry | None, why: str, call: Call) -> Entry | None:
        watch = Watch(time.perf_counter())
        outcome: Literal["stored", "refused", "failed"] = "refused"
        if entry is not None:
            pending = entry
            try:
                entry = await self._with_vector(miss, pending, watch)
                if self._unwritten.get(pending.questions[0].digest) is pending:
                    async with asyncio.timeout(self._write_timeout):
                        await self._put(entry, miss.fence)
                    outcome = "stored"
                else:  # overtaken while it was embedded
                    entry, why = None, "a newer answer to the same question was stored"
            except (InvalidRequest, Outdated) as error:
                entry, why = None, str(error)
            except (StoreError, TimeoutError) as error:
                entry, outcome, why = None, "failed", failure("store", error)
            finally:
                digest = pending.questions[0].digest
                if self._unwritten.get(digest) is pending:
                    del self._unwritten[digest]
        event = of_write(call, miss, watch, reply, outcome=outcome, why=why)
        emit(self._hooks, event, asyncio.get_running_loop().call_soon)
        return entry

    async def _put(self, entry: Entry, fence: int | None) -> None:
        if fence is None:
            await self.store.put(entry, now=entry.created)
        else:
            await self.store.put(entry, now=entry.created, fence=fence)

    async def _with_vector(self, miss: Miss, entry: Entry, watch: Watch) -> Entry:
        """The entry, embedded now where the look-up did not come that far."""
        if miss.vector is not None or miss.reason is MissReason.EMBEDDER_UNAVAILABLE or not self.policy.semantic:
            return entry
        vector = (await self._lookup.embedded(miss, watch)).vector
        return replace(entry, questions=(replace(entry.questions[0], vector=vector),))

    def _entry(self, miss: Miss, key: Key, reply: Reply) -> Entry:
        now = self._clock()
        expires, stale_until = lifetime(self.policy, now)
        asked = miss.canonical.text or miss.request.messages[-1].text  # not folded: its case may matter to who reads it
        return Entry(
            id=key.hex,
            scope=key.scope,
            questions=(Question(digest=key.digest, text=asked, vector=miss.vector),),
            reply=reply,
            created=now,
            expires=expires,
            stale_until=stale_until,
            tags=miss.request.tags,
        )

    def _tell(self, call: Call, outcome: Outcome, watch: Watch, reply: Reply | None, *, shared: bool = False) -> None:
        if isinstance(outcome, Hit):
            self.store.touch(outcome.entry.id)
        if self._hooks:
            event = of_call(call, outcome, watch, reply, shared=shared)
            emit(self._hooks, event, asyncio.get_running_loop().call_soon)


def _as_request(value: str | Request) -> Request:
    if isinstance(value, Request):
        return value
    if isinstance(value, str):
        return Request(value)
    raise InvalidRequest(f"a request is a text or a yamabiko.Request, not {type(value).__name__}")
