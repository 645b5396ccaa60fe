"""Answers whose writing is under way: found as if written, as long as nothing was purged since they were begun."""

from __future__ import annotations

import asyncio

from yamabiko.errors import StoreError
from yamabiko.ports import SharedState, Store
from yamabiko.types import Entry


class Unwritten:
    """Entries by the digest of their question's key. ``timeout_seconds``: how long the store may take to say."""

    def __init__(self, store: Store, *, timeout_seconds: float) -> None:
        self._shared = store if isinstance(store, SharedState) and store.spans_processes else None
        self._timeout = timeout_seconds
        self._entries: dict[bytes, tuple[Entry, int | None]] = {}

    def begin(self, entry: Entry, fence: int | None) -> None:
        """From now on it is found. ``fence``: as its write will be given."""
        self._entries[entry.questions[0].digest] = entry, fence

    def holds(self, entry: Entry) -> bool:
        """Whether it is still this one, and not overtaken by another."""
        return self._entries.get(entry.questions[0].digest, (None,))[0] is entry

    def end(self, entry: Entry) -> None:
        """It is written, or never will be."""
        if self.holds(entry):
            del self._entries[entry.questions[0].digest]

    async def get(self, digest: bytes) -> Entry | None:
        """The entry to the question with this digest, unless another process has purged anything since it was begun.

        Whether that meant this entry is for the store to say, when it is written.
        """
        entry, fence = self._entries.get(digest, (None, None))
        if entry is None or fence is None or self._shared is None:
            return entry
        try:
            async with asyncio.timeout(self._timeout):
                return entry if await self._shared.purged() <= fence else None
        except (StoreError, TimeoutError):
            return None
