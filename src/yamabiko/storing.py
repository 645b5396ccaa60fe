"""Step 9 of 9: an answer becomes an entry, after its reply has left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal

from yamabiko.attest import Attest
from yamabiko.core.admit import refusal_to_store
from yamabiko.core.controls import NOT_STORED
from yamabiko.core.freshness import lifetime, spread
from yamabiko.core.key import principal
from yamabiko.core.volatility import Volatility, volatility
from yamabiko.errors import EmbeddingError, InvalidRequest, Outdated, StoreError
from yamabiko.lookup import Lookup
from yamabiko.ports import Store
from yamabiko.selecting import Barriers
from yamabiko.telemetry import Call, Hook, Watch, emit, of_write
from yamabiko.types import Entry, Key, Miss, MissReason, Policy, Question, Reply, Selector
from yamabiko.unwritten import Unwritten
from yamabiko.verifying import failure


class Storing:
    """The writing half of the path.

    ``unwritten`` gets the entries whose writing is under way, so that look-ups find them at once.
    ``same`` says whether two answers to a question are the same, ``attest`` signs. ``purges`` counts the purges of this
    process: an answer that one means, made from what was known before it, is not stored after it.
    """

    def __init__(
        self,
        store: Store,
        lookup: Lookup,
        *,
        policy: Policy,
        unwritten: Unwritten,
        hooks: Sequence[Hook],
        clock: Callable[[], float],
        same: Callable[[str, Reply, Reply], Awaitable[bool]],
        attest: Attest,
        timeout_seconds: float,
    ) -> None:
        self.purges = 0
        self._barriers = Barriers()
        self._store = store
        self._lookup = lookup
        self._policy = policy
        self._unwritten = unwritten
        self._hooks = tuple(hooks)
        self._clock = clock
        self._same = same
        self._attest = attest
        self._timeout = timeout_seconds

    def admitted(self, miss: Miss, reply: Reply) -> tuple[Entry | None, str]:
        """The entry to store, or why there is none. From now on a look-up finds it, written or not."""
        if miss.key is None:
            return None, "; ".join(miss.reasons)
        if not miss.controls.store:
            return None, NOT_STORED
        shared = not miss.key.scope.user and self._policy.users != "one"
        why = refusal_to_store(miss.request, reply, shared=shared)
        if why:
            return None, why
        entry = self._entry(miss, miss.key, reply)
        if self._barriers.outdate(entry, miss.purges):
            return None, str(Outdated())
        self._unwritten.begin(entry, miss.fence)
        return entry, ""

    def purged(self, selector: Selector) -> None:
        """What fits, and was looked up before this, is not stored after it."""
        if selector.dead_at is None:
            self.purges += 1
            self._barriers.add(selector, self.purges)

    async def write(self, miss: Miss, reply: Reply, entry: Entry | None, why: str, call: Call) -> Entry | None:
        """Store what ``admitted`` gave, and tell; None where it is not stored."""
        watch = Watch(time.perf_counter())
        outcome: Literal["stored", "refused", "failed"] = "refused"
        if entry is not None:
            pending = entry
            try:
                entry = await self._confirmed(miss, await self._with_vector(miss, pending, watch))
                if self._unwritten.holds(pending):
                    async with asyncio.timeout(self._timeout):
                        await self.put(self._signed(entry), miss.fence)
                    outcome = "stored"
                else:  # overtaken while it was embedded
                    entry, why = None, "a newer answer to the same question was stored"
            except (InvalidRequest, Outdated) as error:
                entry, why = None, str(error)
            except (StoreError, EmbeddingError, TimeoutError) as error:
                entry, outcome, why = None, "failed", failure("store", error)
            finally:
                self._unwritten.end(pending)
        event = of_write(call, miss, watch, reply, outcome=outcome, why=why)
        emit(self._hooks, event, asyncio.get_running_loop().call_soon)
        return entry

    async def put(self, entry: Entry, fence: int | None) -> None:
        """Write one entry. Raises ``StoreError``, ``InvalidRequest`` or ``Outdated``."""
        if fence is None:
            await self._store.put(entry, now=entry.created)
        else:
            await self._store.put(entry, now=entry.created, fence=fence)

    def _signed(self, entry: Entry) -> Entry:
        question = entry.questions[0]
        if question.vector is not None:
            self._attest.remember(question.text, question.vector)
        return self._attest.entry(entry)

    async def _confirmed(self, miss: Miss, entry: Entry) -> Entry:
        """The entry, confirmed where a stored answer to the question was the same, which then is confirmed as well."""
        held = None if miss.unconfirmed is None else miss.unconfirmed.entry
        if held is None or (entry.confirmed and held.id == entry.id):
            return entry
        if not await self._same(entry.questions[0].text, held.reply, entry.reply):
            return entry
        if held.id != entry.id:
            async for whole in self._store.entries(Selector(id=held.id)):  # with all questions and vectors
                known = self._attest.confirmed(whole, entry.reply) if whole.created == held.created else None
                if known is not None:
                    await self.put(known, miss.fence)
        return replace(entry, confirmed=True)

    async def _with_vector(self, miss: Miss, entry: Entry, watch: Watch) -> Entry:
        """The entry, embedded now where the look-up did not come that far."""
        if miss.vector is not None or miss.reason is MissReason.EMBEDDER_UNAVAILABLE or not self._policy.semantic:
            return entry
        vector = (await self._lookup.embedded(miss, watch)).vector
        return replace(entry, questions=(replace(entry.questions[0], vector=vector),))

    def _entry(self, miss: Miss, key: Key, reply: Reply) -> Entry:
        now = self._clock()
        asked = miss.canonical.text or miss.request.messages[-1].text  # not folded: its case may matter to who reads it
        expires, stale_until = _life(self._policy, now, volatility(asked), key)
        return Entry(
            id=key.hex,
            scope=key.scope,
            questions=(Question(digest=key.digest, text=asked, vector=miss.vector),),
            reply=reply,
            created=now,
            expires=expires,
            stale_until=stale_until,
            tags=miss.request.tags,
            author=principal(miss.request) if self._policy.confirm else "",
            confirmed=not self._policy.confirm,
        )


def _life(policy: Policy, now: float, kind: Volatility, key: Key) -> tuple[float, float]:
    """When the answer expires and when it is dead: what the user said to the second, what a class says with jitter."""
    bound = kind.ttl_seconds
    if bound is None or policy.ttl_seconds <= bound:
        return lifetime(policy, now, volatility=kind)
    return lifetime(policy, now, volatility=kind, jitter=spread(key.digest))
