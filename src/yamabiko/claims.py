"""Step 8 of 9, between processes: of all who miss the same question, one asks the model and the others wait.

Who gets the claim generates, stores and lets go; who does not, looks until the answer is there. The claim is a lease
that is renewed meanwhile, so that a process that dies holds nobody up for long. A store that fails or is slow costs a
second generation and never the answer: then everybody generates.

Each lease brings a fence, with which the answer is stored: after a purge that came in between, by whichever process,
the store refuses it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from yamabiko.errors import StoreError
from yamabiko.flight import Background
from yamabiko.ports import Claim, SharedState, Store
from yamabiko.settings import StoreSettings
from yamabiko.types import Hit, Miss, MissReason

Again: TypeAlias = Callable[[], Awaitable[Hit | None]]
"""Looks for the answer once more. Raises ``StoreError`` or ``TimeoutError``."""

FIRST_PAUSE_SECONDS = 0.025
LAST_PAUSE_SECONDS = 0.25
"""Who waits looks again after so long, at first and in the end."""

TIMEOUT_SECONDS = 1.0
"""How long a claim may take, where the store's own deadline is not shorter: a model is waiting to be asked."""

BEFORE_ALL_PURGES = 0
"""The fence of an answer of which nobody knows when it was begun."""


@dataclass(slots=True, eq=False)
class Lease:
    """What a generation has: the fence for its answer, and a claim with the task that renews it, where it got one."""

    fence: int | None = None
    claim: Claim | None = None
    renewal: asyncio.Task[None] | None = None


class Claims:
    """The claims of one cache. Where its store is not shared between processes, nothing is claimed and nothing costs.

    ``seconds`` is how long a claim stands unless renewed; 0: none is made, only fences are used. ``wait_seconds`` is
    how long an answer that another process is making is waited for. ``clock`` gives seconds UTC epoch.
    """

    def __init__(
        self,
        store: Store,
        *,
        seconds: float,
        wait_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._shared = store if isinstance(store, SharedState) and store.spans_processes else None
        self._seconds = seconds
        self._wait_seconds = wait_seconds
        self._timeout = min(timeout_seconds, TIMEOUT_SECONDS)
        self._clock = clock
        self._held: set[Lease] = set()
        self._behind = Background()

    @classmethod
    def timed(cls, store: Store, times: StoreSettings, clock: Callable[[], float]) -> Self:
        """With the leases and deadlines of the settings."""
        return cls(
            store,
            seconds=times.claim_seconds,
            wait_seconds=times.claim_wait_seconds,
            timeout_seconds=times.timeout_seconds,
            clock=clock,
        )

    async def fenced(self, miss: Miss) -> Miss:
        """The miss with a fence, for whoever generates by himself and then remembers."""
        if self._shared is None or miss.key is None:
            return miss
        fence = BEFORE_ALL_PURGES if _unknown_age(miss) else await self._fence(self._shared)
        return replace(miss, fence=fence)

    async def purged(self, miss: Miss) -> int:
        """The last purge by anybody: a generation that was begun before it is not for who asks after it.

        A store that is ``Dated`` has said it with the miss, before anything was looked for by meaning. Where the store
        can't say, all who hear so are alike.
        """
        if miss.fence is not None:
            return miss.fence
        if self._shared is None or _unknown_age(miss):
            return -1
        try:
            async with asyncio.timeout(self._timeout):
                return await self._shared.purged()
        except (StoreError, TimeoutError):
            return -1

    async def lead(self, miss: Miss, again: Again) -> Lease | Hit:
        """A lease for who has to generate; a hit where another process has done it meanwhile."""
        if self._shared is None or miss.key is None:
            return Lease()
        if self._seconds > 0 and not _unknown_age(miss):
            taken = await self._take(self._shared, f"generate:{miss.key.hex}", again, self._wait_seconds)
            if taken is not None:
                return taken
        return Lease(fence=BEFORE_ALL_PURGES if _unknown_age(miss) else await self._fence(self._shared))

    async def renew(self, entry_id: str, again: Again) -> Lease | None:
        """A lease for who renews this entry; None where another process does, or has done it."""
        if self._shared is None:
            return Lease()
        if self._seconds <= 0:
            return Lease(fence=await self._fence(self._shared))
        taken = await self._take(self._shared, f"renew:{entry_id}", again, 0.0)
        return taken if isinstance(taken, Lease) else None

    async def end_after(self, writing: Awaitable[object], lease: Lease, *, storable: bool) -> None:
        """Let go when the answer is stored: whoever waits then finds it.

        Where it is not ``storable``, those who wait would make it one after the other, and none of them could store it
        either: for as long as anybody now waits, all go on at once.
        """
        try:
            await writing
        finally:
            await self._end(lease, open_seconds=0.0 if storable else self._wait_seconds)

    def end(self, lease: Lease) -> None:
        """Let go, behind: the generation failed, or its callers went away. Another one may try."""
        if lease.claim is not None:
            self._behind.spawn("letting go of a claim", self._end(lease, open_seconds=0.0))

    async def close(self) -> None:
        """Let go of everything: a closed cache stores no answer."""
        for lease in tuple(self._held):
            self.end(lease)
        await self._behind.drain()

    async def _end(self, lease: Lease, *, open_seconds: float) -> None:
        self._held.discard(lease)
        if lease.renewal is not None:
            lease.renewal.cancel()
        if lease.claim is not None and self._shared is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._shared.release(lease.claim, now=self._clock(), open_seconds=open_seconds)
            except (StoreError, TimeoutError):
                return  # it ends by itself

    async def _take(self, shared: SharedState, name: str, again: Again, wait_seconds: float) -> Lease | Hit | None:
        """The lease on ``name``, or the answer; None when the waiting is over."""
        holder = secrets.token_hex(8)
        now = asyncio.get_running_loop().time
        deadline, pause, waited = now() + wait_seconds, FIRST_PAUSE_SECONDS, False
        ours = False
        try:
            while True:
                async with asyncio.timeout(self._timeout):
                    ours = True  # unless we hear otherwise
                    claim = await shared.claim(name, holder, seconds=self._seconds, now=self._clock())
                    ours = claim is not None
                    found = await again()  # also with a claim: another may have stored it after our first look
                if found is not None:
                    return replace(found, shared=waited)
                if claim is not None:
                    ours = False  # but the lease's
                    return self._lease(shared, claim)
                if now() >= deadline:
                    return None
                await asyncio.sleep(min(pause * random.uniform(0.5, 1.0), deadline - now()))  # noqa: S311 - no secret
                pause, waited = min(2 * pause, LAST_PAUSE_SECONDS), True
        except (StoreError, TimeoutError):
            return Lease(fence=await self._fence(shared))
        finally:
            if ours:
                self.end(Lease(claim=Claim(name=name, holder=holder, fence=BEFORE_ALL_PURGES)))

    def _lease(self, shared: SharedState, claim: Claim) -> Lease:
        if not claim.holder:
            return Lease(fence=claim.fence)
        lease = Lease(fence=claim.fence, claim=claim)
        lease.renewal = self._behind.spawn("renewing a claim", self._renew(shared, claim))
        self._held.add(lease)
        return lease

    async def _renew(self, shared: SharedState, claim: Claim) -> None:
        held = True
        while held:
            await asyncio.sleep(self._seconds / 3)
            try:
                async with asyncio.timeout(self._timeout):
                    held = await shared.renew(claim, seconds=self._seconds, now=self._clock())
            except (StoreError, TimeoutError):
                continue  # twice more before it is lost

    async def _fence(self, shared: SharedState) -> int:
        try:
            async with asyncio.timeout(self._timeout):
                return await shared.fence()
        except (StoreError, TimeoutError):
            return BEFORE_ALL_PURGES


def _unknown_age(miss: Miss) -> bool:
    """Whether the store failed at the first look: it can't say when that was, and isn't asked once more at once.

    With a vector it has found the store well, and only the search was not to be had.
    """
    return miss.reason is MissReason.STORE_UNAVAILABLE and miss.vector is None
