"""What every store promises, as tests: inherit ``StoreContract`` in a test class and provide ``open``.

::

    class TestMyStore(StoreContract):
        async def open(self, tmp_path, **options):
            return MyStore(tmp_path / options.get("name", "cache"), embedder="fake", dim=self.dim)

``BudgetContract`` and ``DurableContract`` add what only some stores can promise. Each test ends with ``check()``.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from yamabiko.errors import InvalidRequest, StoreError, StoreMismatch
from yamabiko.ports import Store
from yamabiko.stores.eviction import payload_bytes
from yamabiko.testing.builders import make_entry, make_key, make_question, make_scope, unit_vector
from yamabiko.testing.contract_entries import FULL_REPLY, EntryContract
from yamabiko.testing.contract_marks import MarksContract
from yamabiko.testing.contract_removal import RemovalContract, varied
from yamabiko.testing.contract_search import SearchContract
from yamabiko.testing.promise import DIM, contents, everything, find, promise, refusal
from yamabiko.types import Entry, Reply, Selector

NORTH = unit_vector(1, DIM)
BUDGET_BYTES = 20_000


class StoreContract(EntryContract, MarksContract, SearchContract, RemovalContract):
    """The promises of the ``Store`` port; see ``Contract`` for what to provide."""


def answer(text: str, *, cost_usd: float = 0.001, length: int = 1500, stale_until: float = 1e12) -> Entry:
    """An entry of a known weight: ten of the default length fit into ``BUDGET_BYTES``."""
    reply = Reply(text="x" * length, cost_usd=cost_usd, latency_seconds=1.0)
    return make_entry(text, reply, vector=unit_vector(len(text), DIM), stale_until=stale_until)


class BudgetContract(StoreContract):
    """What ``max_bytes`` promises: GDSF, as ``yamabiko.stores.eviction`` describes it."""

    @promise(max_bytes=BUDGET_BYTES)
    async def test_the_budget_holds_after_every_put(self, store: Store) -> None:
        """``payload_bytes`` is the sum over the entries and stays within; ``evicted`` counts what went."""
        for i in range(100):
            await store.put(answer(f"q{i:03}", length=50 * i), now=0.0)
            stats, kept = await store.stats(), await everything(store)
            assert stats.payload_bytes == sum(map(payload_bytes, kept)) <= BUDGET_BYTES
            assert stats.entries + stats.evicted == i + 1
            assert await store.get(make_key(f"q{i:03}")) is not None
        assert stats.evicted > 50
        found = await find(store, make_scope(), NORTH)
        assert {candidate.entry.id for candidate in found} == {entry.id for entry in kept}

    @promise(max_bytes=BUDGET_BYTES)
    async def test_an_alias_counts(self, store: Store) -> None:
        """A question may push out another answer, never its own; False when it would not fit at all."""
        await store.put(answer("first", length=9000), now=0.0)
        await store.put(answer("second", length=9000), now=0.0)
        assert await store.alias(make_key("second").hex, make_question("a" * 2000, vector=NORTH)) is True
        assert [entry.id for entry in await everything(store)] == [make_key("second").hex]
        assert (await store.stats()).payload_bytes <= BUDGET_BYTES
        assert await store.alias(make_key("second").hex, make_question("a" * BUDGET_BYTES)) is False
        assert [entry.id for entry in await everything(store)] == [make_key("second").hex]

    @promise(max_bytes=BUDGET_BYTES)
    async def test_what_is_served_often_outlives_what_is_not(self, store: Store) -> None:
        """Among equal costs and sizes."""
        await store.put(answer("popular"), now=0.0)
        for _ in range(20):
            store.touch(make_key("popular").hex)
        for i in range(40):
            await store.put(answer(f"q{i:05}"), now=0.0)
        assert await store.get(make_key("popular")) is not None
        assert (await store.stats()).evicted > 25

    @promise(max_bytes=BUDGET_BYTES)
    async def test_what_was_costly_outlives_what_was_cheap(self, store: Store) -> None:
        """Among equal use and sizes."""
        await store.put(answer("dearest", cost_usd=1.0), now=0.0)
        for i in range(40):
            await store.put(answer(f"q{i:06}"), now=0.0)
        assert await store.get(make_key("dearest")) is not None

    @promise(max_bytes=BUDGET_BYTES)
    async def test_small_outlives_large(self, store: Store) -> None:
        """Among equal use and costs."""
        await store.put(answer("small", length=100), now=0.0)
        for i in range(40):
            await store.put(answer(f"q{i:04}", length=3000), now=0.0)
        assert await store.get(make_key("small")) is not None

    @promise(max_bytes=BUDGET_BYTES)
    async def test_an_old_favourite_is_overtaken(self, store: Store) -> None:
        """What nobody asks for any more goes in the end, however often it was served once."""
        await store.put(answer("popular"), now=0.0)
        for _ in range(5):
            store.touch(make_key("popular").hex)
        for i in range(150):
            await store.put(answer(f"q{i:05}"), now=0.0)
        assert await store.get(make_key("popular")) is None

    @promise(max_bytes=BUDGET_BYTES)
    async def test_the_dead_go_first(self, store: Store) -> None:
        """However precious they were."""
        await store.put(answer("dead", cost_usd=1.0, stale_until=5.0), now=0.0)
        for i in range(8):
            await store.put(answer(f"q{i}"), now=0.0)
        await store.put(answer("large", length=3000), now=5.0)
        assert await store.get(make_key("dead")) is None
        assert (await store.stats()).evicted == 1

    @promise(max_bytes=BUDGET_BYTES)
    async def test_an_entry_larger_than_the_budget_harms_nobody(self, store: Store) -> None:
        """It is not kept, neither under a new id nor under an old one, and all others are."""
        others = [answer(f"q{i}") for i in range(8)]
        for entry in [*others, answer("grows")]:
            await store.put(entry, now=0.0)
        for text in ("giant", "grows"):
            try:
                await store.put(answer(text, length=BUDGET_BYTES, cost_usd=100.0), now=0.0)
            except (InvalidRequest, StoreError) as refused:
                assert "max_bytes" in str(refused)  # noqa: PT017 - to refuse and to drop are both kept promises
            got = await store.get(make_key(text))
            assert got is None or len(got.reply.text) < BUDGET_BYTES
        kept = {entry.id for entry in await everything(store)}
        assert kept >= {entry.id for entry in others}


class DurableContract(StoreContract):
    """What a store promises that outlives its process: needs ``open`` to honour ``embedder`` and ``dim``."""

    def test_all_is_there_after_reopening(self, tmp_path: Path) -> None:
        """What was acknowledged, to the last bit, and nothing that was deleted."""

        async def run() -> None:
            store = await self.open(tmp_path)
            full = make_entry("満", FULL_REPLY, scope=make_scope(tenant="c"), vector=NORTH, created=1e3, tags=("t",))
            for entry in (*varied(), full):
                await store.put(entry, now=0.0)
            await store.alias(full.id, make_question("別名", full.scope, vector=-NORTH))
            await store.delete(varied()[0].id)
            await store.purge(Selector(tag="t2"))
            before, stats = await everything(store), await store.stats()
            await store.close()
            store = await self.open(tmp_path)
            assert list(map(contents, await everything(store))) == list(map(contents, before))
            assert replace(await store.stats(), file_bytes=0) == replace(stats, file_bytes=0)
            for vector, text in ((NORTH, "満"), (-NORTH, "別名")):
                (candidate,) = await find(store, full.scope, vector, min_similarity=0.9)
                assert candidate.question.text == text
            assert await find(store, varied()[0].scope, NORTH, min_similarity=0.9, limit=1) != ()
            assert list(await store.check()) == []
            await store.close()

        asyncio.run(run())

    def test_another_embedder_is_refused(self, tmp_path: Path) -> None:
        """Another name or dimension is StoreMismatch, and what is stored stays as it is."""

        async def run() -> None:
            store = await self.open(tmp_path)
            await store.put(make_entry("q", vector=NORTH), now=0.0)
            await store.close()
            for options in ({"embedder": "another"}, {"dim": 16}):
                message = await refusal(self._first_use(tmp_path, **options), StoreMismatch)
                assert "embedder" in message
            store = await self.open(tmp_path)
            assert len(await find(store, make_scope(), NORTH, min_similarity=0.9)) == 1
            await store.close()

        asyncio.run(run())

    async def _first_use(self, tmp_path: Path, **options: object) -> None:
        store = await self.open(tmp_path, **options)
        try:
            await store.stats()
        finally:
            await store.close()

    def test_two_handles_see_each_other(self, tmp_path: Path) -> None:
        """One's put, alias and delete are there for the other's next ``get``; a deleted entry is not even searched."""

        async def run() -> None:
            one, two = await self.open(tmp_path), await self.open(tmp_path)
            try:
                for writer, reader, text in ((one, two, "a"), (two, one, "b")):
                    entry = make_entry(text, text, vector=NORTH)
                    assert await find(reader, entry.scope, NORTH, min_similarity=0.9) == ()
                    await writer.put(entry, now=0.0)
                    assert await reader.get(make_key(text)) == entry
                    await writer.alias(entry.id, make_question(f"{text} alias"))
                    assert await reader.get(make_key(f"{text} alias")) is not None
                    await writer.put(replace(entry, reply=Reply(text="new")), now=0.0)
                    got = await reader.get(make_key(text))
                    assert got is not None
                    assert got.reply.text == "new"
                    await writer.delete(entry.id)
                    assert await reader.get(make_key(text)) is None
                    assert await find(reader, entry.scope, NORTH, min_similarity=0.9) == ()
            finally:
                await one.close()
                await two.close()

        asyncio.run(run())
