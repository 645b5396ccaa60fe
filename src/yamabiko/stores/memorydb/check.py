"""What ``check()`` looks at: every key of a cache, and whether all of them fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from yamabiko.stores.memorydb import record
from yamabiko.stores.memorydb.connection import Connection
from yamabiko.stores.memorydb.health import info
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.listing import ID, PAGE, Listing, ids, steps
from yamabiko.stores.memorydb.scripts import alone
from yamabiko.stores.memorydb.upkeep import Upkeep

_LET_GO: Sequence[str] = (
    "is not listed",
    "has no expiry listed",
    "is not in the side set",
    "has no anchor",
    "belongs to no entry",
    "has a question that is gone",
    "the counters say",
)
"""Faults that an eviction or expiry explains."""


class Check:
    """Looks at one cache. It sweeps first: what the server has let go is no fault."""

    def __init__(self, connection: Connection, layout: Layout, listing: Listing, upkeep: Upkeep) -> None:
        self._connection = connection
        self._layout = layout
        self._listing = listing
        self._upkeep = upkeep

    async def faults(self) -> Sequence[str]:
        """Everything that does not fit together, each entry looked at in one moment, so that writers don't disturb.

        What the server lets go while we look is no fault; it looks like one, so then only other faults count.
        """
        before = await self._let_go()
        evicting = await self._upkeep.complete() is not None
        if evicting:
            await self._upkeep.tidy()
        async for page in self._listing.pages(self._layout.all):
            await self._upkeep.sweep_members(page)
        faults = [fault async for fault in self._entry_faults(recount=evicting)]
        faults += [fault async for fault in self._key_faults()]
        if await self._let_go() != before:
            faults = [fault for fault in faults if not any(map(fault.__contains__, _LET_GO))]
        return faults

    async def _let_go(self) -> tuple[str | None, str | None]:
        """How many keys the server has evicted and expired."""
        figures = await info(self._connection, "stats")
        return figures.get("evicted_keys"), figures.get("expired_keys")

    async def _entry_faults(self, *, recount: bool) -> AsyncIterator[str]:
        before = await self._counted()
        sums, scopes, entries = [0, 0, 0], Counter[bytes](), 0
        async for page in self._listing.pages(self._layout.all):
            for some in steps(ids(page)):
                *counts, found, faults = await self._audit(some)
                entries += len(found)
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
                scopes.update(found)
                for fault in faults:
                    yield fault.decode("utf-8", "replace")
        after, counted = await self._counted(), [entries, *sums, len(scopes)]
        if before == after != counted and not (recount and await self._recount(after, sums, scopes)):
            yield f"the counters say {after}, and counted were {counted}"  # and nobody writes

    async def _audit(self, some: Sequence[bytes]) -> Any:
        layout = self._layout
        fields = (layout.questions, layout.anchors, layout.sides, layout.vector_field, 4 * layout.dim)
        return await self._connection.run(alone("audit"), (layout.all, layout.life), (*fields, *some))

    async def _recount(self, was: Sequence[int], sums: Sequence[int], scopes: Counter[bytes]) -> bool:
        """Write the counters anew, which the server may have evicted, unless they have changed since they were read."""
        layout = self._layout
        if not await self._connection.run(alone("recount"), (layout.counters, layout.scopes), (*was[1:4], *sums)):
            return False
        flat = [part for pair in scopes.items() for part in pair]
        for at in range(0, len(flat), 2 * PAGE):  # there may be as many as entries
            await self._connection.run(alone("recount_scopes"), (layout.scopes,), flat[at : at + 2 * PAGE])
        return True

    async def _counted(self) -> list[int]:
        stats = await self._listing.stats()
        return [stats.entries, stats.questions, stats.vectors, stats.payload_bytes, stats.scopes]

    async def _key_faults(self) -> AsyncIterator[str]:
        """Keys that belong to nothing: questions without an entry, and records that can't be read."""
        async for keys in self._listing.scan(self._layout.questions):
            names = [key.decode() for key in keys]
            rows = await self._connection.run(alone("strays"), names, (self._layout.anchors, "a"))
            for name, row in zip(names, rows, strict=True):
                if row is not None and not row[0]:
                    yield f"question {name[-ID:]} belongs to no entry"
                elif row is not None and (row[1] is None or record.decode_answer(row[1], ()) is None):
                    yield f"the answer of question {name[-ID:]} can't be read"
        async for keys in self._listing.scan(self._layout.anchors):
            for some in steps(ids(keys)):
                *_, faults = await self._audit(some)
                for fault in faults:
                    if fault.endswith(b"listed"):
                        yield fault.decode("utf-8", "replace")
