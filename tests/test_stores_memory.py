"""The reference store keeps the promises of every store, and a byte budget."""

from __future__ import annotations

import asyncio

from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import BudgetContract, make_entry, make_key
from yamabiko.types import Selector


class TestMemoryStore(BudgetContract):
    async def open(self, tmp_path, *, name="", max_bytes=None):
        del tmp_path, name  # nothing is kept anywhere: every store is new
        return MemoryStore(embedder="fake", dim=self.dim, max_bytes=max_bytes)


def test_nothing_is_kept_after_closing():
    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        await store.put(make_entry("q"), now=0.0)
        await store.close()
        assert await MemoryStore(embedder="fake", dim=8).get(make_key("q")) is None

    asyncio.run(run())


def test_what_is_removed_during_a_walk_is_left_out():
    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        for text in ("a", "b", "c"):
            await store.put(make_entry(text, text), now=0.0)
        seen = []
        async for entry in store.entries(Selector()):
            seen.append(entry.reply.text)
            await store.delete(make_key("b").hex)
        assert seen == ["a", "c"]

    asyncio.run(run())
