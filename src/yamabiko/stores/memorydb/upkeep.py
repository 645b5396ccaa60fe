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
PAGES_A_SWEEP = 100
"""How much of the listing a sweep looks through after evictions; the next one, whoever does it, goes on from there."""
ALL_SEEN = "+inf"
"""Where a sweep ends that has come to the end of the listing."""
MOST_COUNTED = 10_000
"""Entries whose hits are counted between two writes; others wait for the next."""


class Upkeep:
    """Owns the one background task of a store. A server that fails is tried again at the next tick."""

    def __init__(self, connection: Connection, layout: Layout, listing: Listing, *, beside: bool = False) -> None:
        self._beside = beside
        self._connection = connection
        self._layout = layout
        self._listing = listing
        self._hits: Counter[str] = Counter()
        self._index_gone = False
        self.entries: int | None = None
        """Of the cache, as they were counted a moment ago; None where nobody wants to know."""
        self._sweep_at = time.monotonic() + random.uniform(0.5, 1.0) * SWEEP_SECONDS  # noqa: S311 - no secret
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
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for duty in (self.write_hits, self._index_again, self._count_again, self._sweep_in_turn):
                with contextlib.suppress(StoreError):  # told by the next look-up too; the connection counts it
                    await duty()  # a full server, which counts no hits, is to be swept all the same

    async def count(self) -> None:
        """Count the entries, now and at every tick."""
        self.entries = int(await self._connection.command("ZCARD", self._layout.all))

    async def _count_again(self) -> None:
        if self.entries is not None:
            await self.count()

    async def _sweep_in_turn(self) -> None:
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + random.uniform(0.8, 1.2) * SWEEP_SECONDS  # noqa: S311 - no secret
            if await self._my_turn():
                await self.sweep()

    async def _index_again(self) -> None:
        """Make the index, unless the cache has gone over to another embedder and its index was dropped for that.

        Where everything has gone (FLUSHALL) the cache becomes ours anew.
        """
        if not self._index_gone:
            return
        ours = (self._layout.embedder, self._layout.dim)
        if await recorded(self._connection, self._layout, claim=not self._beside) == ours:
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
        return bool(await self._connection.run(alone("turn"), (name,), (milliseconds,)))

    # Sweeping.

    async def sweep(self) -> int:
        """Let go of what has expired, and of as much as was evicted; how many questions were gone."""
        gone = 0
        async for page in self._listing.due(time.time()):  # the server's expiry, so the time of day
            gone += await self.sweep_members(page)
        # Also where the server has evicted what says so: whoever restarts must find the cache his.
        await recorded(self._connection, self._layout, claim=not self._beside)
        return gone + await self._sweep_evicted()

    async def _sweep_evicted(self) -> int:
        """Go on through the listing where the last sweep ended; anew if keys were evicted since that was begun."""
        meta, now = self._layout.meta, await self._seen()
        begun, _, mark = (await self._connection.command("HGET", meta, "swept") or b"").decode().rpartition(" ")
        if mark in ("", ALL_SEEN):
            if mark and begun == now != "":
                return 0
            begun, mark = now, "-inf"
        gone = pages = 0
        async for page, after in self._listing.marked(self._layout.all, after=mark):
            gone += await self.sweep_members(page)
            pages, mark = pages + 1, after
            if pages >= PAGES_A_SWEEP:
                break
        else:
            mark = ALL_SEEN
        await self._connection.command("HSET", meta, "swept", f"{begun} {mark}")
        return gone

    async def sweep_members(self, members: Sequence[bytes]) -> int:
        """Let go of what is gone of these; how many questions were."""
        return sum([await self._listing.change("sweep", some) for some in steps(members)])

    async def _seen(self) -> str:
        """Names the evictions until now; nothing where the server does not tell of them."""
        evicted = (await info(self._connection, "stats")).get("evicted_keys")
        server = (await info(self._connection, "server")).get("run_id")
        return "" if evicted is None or server is None else f"{server}:{evicted}"

    # Where the server may have evicted anchors and sorted sets.

    async def complete(self) -> str | None:
        """Make the listing whole where the server may have evicted parts of it; None where it may not have.

        Only ``allkeys-*`` policies evict keys without an expiry. Then, once after evictions, every key is looked at.
        Another name is given when there were evictions in between, none where the server does not tell.
        """
        memory = await info(self._connection, "memory")
        if not memory.get("maxmemory_policy", "allkeys-").startswith("allkeys-"):
            return None
        seen = await self._seen()
        if not seen or await self._connection.command("HGET", self._layout.meta, "walked") != seen.encode():
            await self._walk()
            if seen:
                await self._connection.command("HSET", self._layout.meta, "walked", seen)
        return seen

    async def _walk(self) -> None:
        """Look at every key of entries: drop questions that belong to none, list anew what is there."""
        layout, listing = self._layout, self._listing
        async for keys in listing.scan(layout.questions):
            rows = await self._connection.run(alone("strays"), [key.decode() for key in keys], (layout.anchors, ""))
            unnamed = [key for key, row in zip(keys, rows, strict=True) if row is not None and not row[0]]
            await listing.change("drop", ids(unnamed))
        async for keys in listing.scan(layout.anchors):
            for some in steps(ids(keys)):
                await listing.change("mend", some)

    async def tidy(self) -> None:
        """Take out of the side sets what is gone. There may be as many of them as entries, and it does no harm."""
        layout, listing = self._layout, self._listing
        async for names in listing.scan(layout.sides):
            for name in names:
                async for members in listing.pages(name.decode()):
                    for some in steps(members):
                        await listing.change("unlist", (name, *some))
