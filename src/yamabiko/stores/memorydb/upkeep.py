"""What goes on behind the look-ups: counters written in batches, and what the server let go of swept up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence

from yamabiko.errors import StoreError
from yamabiko.stores.memorydb.connection import Connection
from yamabiko.stores.memorydb.failures import IndexUnavailable
from yamabiko.stores.memorydb.health import info
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.listing import Listing, ids, steps
from yamabiko.stores.memorydb.opening import make_index, recorded
from yamabiko.stores.memorydb.scripts import alone

TICK_SECONDS = 1.0
"""How long a count of hits stays in this process."""
SWEEP_SECONDS = 60.0
"""Between two sweeps of a cache, whichever of its processes does them."""
PAGES_A_SWEEP = 20
"""How much of the listing a sweep looks through after evictions; the next one goes on from there."""
MOST_COUNTED = 10_000
"""Entries whose hits are counted between two writes; others wait for the next."""


class Upkeep:
    """Owns the one background task of a store. A server that fails is tried again at the next tick."""

    def __init__(self, connection: Connection, layout: Layout, listing: Listing) -> None:
        self._connection = connection
        self._layout = layout
        self._listing = listing
        self._hits: Counter[str] = Counter()
        self._index_gone = False
        self._evicted: int | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; called once, within the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is counted, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(StoreError):
            await self.write_hits()

    def touch(self, entry_id: str) -> None:
        """Count a hit."""
        if entry_id in self._hits or len(self._hits) < MOST_COUNTED:
            self._hits[entry_id] += 1

    def index_failed(self, error: IndexUnavailable) -> None:
        """Make the index again at the next tick, if it is gone."""
        self._index_gone = self._index_gone or error.gone

    async def _run(self) -> None:
        sweep_at = time.monotonic() + random.uniform(0.5, 1.0) * SWEEP_SECONDS  # noqa: S311 - no secret
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.write_hits()
                if self._index_gone:
                    await self._index_again()
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + random.uniform(0.8, 1.2) * SWEEP_SECONDS  # noqa: S311
                    if await self._my_turn():
                        await self.sweep()
            except StoreError:
                continue  # told by the next look-up too; the connection counts it

    async def _index_again(self) -> None:
        """Make the index, unless the cache has gone over to another embedder and its index was dropped for that.

        Where everything has gone (FLUSHALL) the cache becomes ours anew.
        """
        ours = (self._layout.embedder, self._layout.dim)
        if await recorded(self._connection, self._layout, claim=True) == ours:
            await make_index(self._connection, self._layout)
        self._index_gone = False

    async def write_hits(self) -> None:
        """Write the counted hits; an entry that is gone stays gone. They are lost if the server can't be reached."""
        hits, self._hits = self._hits, Counter()
        counted = list(hits.items())
        for at in range(0, len(counted), 500):
            flat = [part for pair in counted[at : at + 500] for part in pair]
            await self._listing.change("touch", flat)

    async def _my_turn(self) -> bool:
        name = self._layout.shared + "sweep"
        milliseconds = int(0.7 * SWEEP_SECONDS * 1000)
        return await self._connection.command("SET", name, 1, "NX", "PX", milliseconds) is not None

    # Sweeping.

    async def sweep(self) -> int:
        """Let go of what has expired, and of as much as was evicted; how many questions were gone."""
        gone = 0
        async for page in self._listing.due(time.time()):  # the server's expiry, so the time of day
            gone += await self.sweep_members(page)
        known, self._evicted = self._evicted, await self._evictions()
        if known is not None and self._evicted == known:
            return gone
        pages = 0
        async for page in self._listing.pages(self._layout.all):
            gone += await self.sweep_members(page)
            pages += 1
            if pages >= PAGES_A_SWEEP:
                self._evicted = None  # not all seen: the next sweep looks again
                break
        return gone

    async def sweep_members(self, members: Sequence[bytes]) -> int:
        """Let go of what is gone of these; how many questions were."""
        return sum([await self._listing.change("sweep", some) for some in steps(members)])

    async def _evictions(self) -> int | None:
        figures = await info(self._connection, "stats")
        return int(figures["evicted_keys"]) if "evicted_keys" in figures else None

    # Where the server may have evicted anchors and sorted sets.

    async def complete(self) -> bool:
        """Make the listing whole where the server may have evicted parts of it; whether it may have.

        Only ``allkeys-*`` policies evict keys without an expiry. Then, once after evictions, every key is looked at.
        """
        memory = await info(self._connection, "memory")
        if not memory.get("maxmemory_policy", "allkeys-").startswith("allkeys-"):
            return False
        seen = f"{(await info(self._connection, 'server')).get('run_id', '')}:{await self._evictions()}"
        if await self._connection.command("HGET", self._layout.meta, "walked") != seen.encode():
            await self._walk()
            await self._connection.command("HSET", self._layout.meta, "walked", seen)
        return True

    async def _walk(self) -> None:
        """Look at every key: drop questions that belong to no entry, list entries anew, unlist those that are gone."""
        layout, listing = self._layout, self._listing
        async for keys in listing.scan(layout.questions):
            rows = await self._connection.run(alone("strays"), [key.decode() for key in keys], (layout.anchors,))
            unnamed = [key for key, row in zip(keys, rows, strict=True) if row is not None and not row[0]]
            await listing.change("drop", ids(unnamed))
        async for keys in listing.scan(layout.anchors):
            for some in steps(ids(keys)):
                await listing.change("mend", some)
        async for names in listing.scan(layout.sides):
            for name in names:
                async for members in listing.pages(name.decode()):
                    for some in steps(members):
                        await listing.change("unlist", (name, *some))
