"""Promises of a store about order and removal: delete, purge, entries, touch."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

from yamabiko.ports import Store
from yamabiko.testing.builders import make_entry, make_key, make_question, make_scope, unit_vector
from yamabiko.testing.promise import DIM, Contract, contents, everything, find, promise
from yamabiko.types import Entry, Reply, Selector, Source

NORTH = unit_vector(1, DIM)

EVIDENCE = (
    (Source("s3://x"),),
    (Source("s3://x/y"), Source("規約.pdf", digest="d1", base="KB1")),
    (Source("s3://x", digest="d1"), Source("s3://x", digest="d2")),
    (Source("s3://x", digest="d1", base="KB1"), Source("規約.pdf", digest="d2", base="KB 二")),
    (Source("s3://x", digest="d2"), Source("s3://x/y"), Source("s3://x")),
)


def varied() -> list[Entry]:
    """48 entries that differ in tenant, user, model, tags, sources and life, all with an alias and the same vector."""
    entries = []
    kinds = itertools.product(("a", "b"), ("", "u"), ("m1", "m2"), ("t1", "t1\0t2", ""), (10.0, 20.0))
    for i, (tenant, user, model, tags, stale_until) in enumerate(kinds):
        scope = make_scope(tenant=tenant, user=user, model=model)
        reply = Reply(text=f"reply {i}", sources=EVIDENCE[i % len(EVIDENCE)])
        entry = make_entry(
            f"q{i}",
            reply,
            scope=scope,
            vector=NORTH,
            aliases=(make_question(f"alias {i}", scope, vector=-NORTH),),
            created=float(i),
            stale_until=stale_until,
            tags=tuple(tags.split("\0")) if tags else (),
        )
        entries.append(entry)
    return entries


def fits(entry: Entry, selector: Selector) -> bool:
    """What a selector means, condition by condition."""
    sources = entry.reply.sources
    return all(
        (
            selector.id is None or entry.id == selector.id,
            selector.tag is None or selector.tag in entry.tags,
            selector.tenant is None or entry.scope.tenant == selector.tenant,
            selector.user is None or entry.scope.user == selector.user,
            selector.model is None or entry.scope.model == selector.model,
            selector.source is None
            or bool({one.digest for one in sources if one.uri == selector.source} - {selector.except_digest}),
            selector.base is None or selector.base in {one.base for one in sources},
            selector.dead_at is None or entry.stale_until <= selector.dead_at,
        )
    )


SELECTORS = (
    Selector(),
    Selector(id=varied()[7].id),
    Selector(id="0" * 64),
    Selector(tag="t1"),
    Selector(tag="t2"),
    Selector(tag="t"),
    Selector(tag="%"),
    Selector(tenant="a"),
    Selector(tenant="A"),
    Selector(tenant=""),
    Selector(user=""),
    Selector(user="u"),
    Selector(model="m2"),
    Selector(source="s3://x"),
    Selector(source="規約.pdf"),
    Selector(source="s3://x", except_digest="d1"),
    Selector(source="s3://x", except_digest="d2"),
    Selector(source="規約.pdf", except_digest="d2", tenant="a"),
    Selector(source="s3://x", except_digest="unknown"),
    Selector(base="KB1"),
    Selector(base="KB 二"),
    Selector(base="KB"),
    Selector(source="s3://x", base="KB1"),
    Selector(dead_at=9.99),
    Selector(dead_at=10.0),
    Selector(dead_at=1e12),
    Selector(tag="t2", dead_at=10.0),
    Selector(tenant="b", user="u", model="m1"),
    Selector(tenant="b", source="s3://x/y", tag="t1"),
    Selector(id=varied()[7].id, tenant=varied()[7].scope.tenant),
    Selector(id=varied()[0].id, tenant="b"),
    Selector(tag="t1", tenant="a", user="", model="m1", source="s3://x", dead_at=10.0),
)


class RemovalContract(Contract):
    """``delete``, ``purge``, ``entries`` and ``touch``."""

    @promise()
    async def test_delete_removes_all_of_an_entry(self, store: Store) -> None:
        """Its questions and vectors go with it; others stay; the second time there is nothing to delete."""
        entries = varied()
        for entry in entries:
            await store.put(entry, now=0.0)
        gone, *rest = entries
        assert await store.delete(gone.id) is True
        assert await store.delete(gone.id) is False
        assert await store.get(make_key("q0", gone.scope)) is None
        assert await store.get(make_key("alias 0", gone.scope)) is None
        for vector in (NORTH, -NORTH):
            found = await find(store, gone.scope, vector, min_similarity=0.9)
            assert {c.entry.id for c in found} == {entry.id for entry in rest if entry.scope == gone.scope}
        assert len(await everything(store)) == len(rest)
        stats = await store.stats()
        assert (stats.entries, stats.questions, stats.vectors) == (len(rest), 2 * len(rest), 2 * len(rest))

    @promise()
    async def test_a_deleted_entry_can_come_back(self, store: Store) -> None:
        """As if it had never been there: without its old questions."""
        entry = varied()[0]
        await store.put(entry, now=0.0)
        await store.delete(entry.id)
        again = replace(entry, questions=entry.questions[:1])
        await store.put(again, now=0.0)
        assert await everything(store) == [again]
        assert await store.get(make_key("alias 0", entry.scope)) is None

    @promise()
    async def test_entries_select(self, store: Store) -> None:
        """For every condition alone and together: who fits, oldest first, whole."""
        for entry in reversed(varied()):
            await store.put(entry, now=0.0)
        for selector in SELECTORS:
            assert await everything(store, selector) == [entry for entry in varied() if fits(entry, selector)]

    @promise()
    async def test_purge_selects(self, store: Store) -> None:
        """For every condition alone and together: who fits is gone, is counted, and nobody else is touched."""
        for selector in SELECTORS:
            for entry in varied():
                await store.put(entry, now=0.0)
            stay = [entry for entry in varied() if not fits(entry, selector)]
            assert await store.purge(selector) == len(varied()) - len(stay)
            assert await store.purge(selector) == 0
            assert await everything(store) == stay
            for scope in {entry.scope for entry in varied()}:
                found = await find(store, scope, NORTH, now=0.0)
                assert {c.entry.id for c in found} == {entry.id for entry in stay if entry.scope == scope}
            assert list(await store.check()) == []

    @promise()
    async def test_oldest_first_after_replacing(self, store: Store) -> None:
        """An answer made anew is as old as its ``created`` says."""
        for text, created in (("a", 1.0), ("b", 2.0), ("c", 3.0), ("a", 4.0)):
            await store.put(make_entry(text, created=created), now=0.0)
        assert [entry.created for entry in await everything(store)] == [2.0, 3.0, 4.0]

    @promise()
    async def test_entries_name_the_creating_question_first(self, store: Store) -> None:
        """Also when it left for another entry and came back."""
        alias = make_question("alias", vector=NORTH)
        await store.put(make_entry("q", aliases=(alias,)), now=0.0)
        await store.put(make_entry("thief", aliases=(make_question("q"),)), now=0.0)
        assert await store.alias(make_key("q").hex, make_question("q", vector=-NORTH))
        (whole,) = await everything(store, Selector(id=make_key("q").hex))
        assert whole.questions == (make_question("q"), alias)
        assert all(question.vector is not None for question in whole.questions)

    @promise()
    async def test_entries_while_the_store_changes(self, store: Store) -> None:
        """Who walks through may delete and put on the way: each entry comes at most once, and none half."""
        for entry in varied():
            await store.put(entry, now=0.0)
        seen = []
        async for entry in store.entries(Selector()):
            seen.append(entry)
            await store.delete(entry.id)
            await store.put(make_entry(f"new {len(seen) % 5}", created=1000.0), now=0.0)
        known = {entry.id: entry for entry in varied()}
        assert [entry for entry in seen if entry.id in known] == varied()
        assert len({entry.id for entry in seen}) == len(seen)

    def test_export_and_import(self, tmp_path: Path) -> None:
        """What one store lists makes an equal second one, to the last bit of a vector."""

        async def run() -> None:
            first, second = await self.open(tmp_path, name="first"), await self.open(tmp_path, name="second")
            try:
                for i, entry in enumerate(varied()):
                    questions = (entry.questions[0], replace(entry.questions[1], vector=unit_vector(i, DIM)))
                    await first.put(replace(entry, questions=questions), now=0.0)
                async for entry in first.entries(Selector()):
                    await second.put(entry, now=0.0)
                exported, imported = await everything(first), await everything(second)
                assert list(map(contents, exported)) == list(map(contents, imported))
                one, two = await first.stats(), await second.stats()
                assert replace(one, file_bytes=0) == replace(two, file_bytes=0)
                assert list(await second.check()) == []
            finally:
                await first.close()
                await second.close()

        asyncio.run(run())

    @promise()
    async def test_touch_changes_no_answer_and_no_life(self, store: Store) -> None:
        """It takes any id, there or not, and a touched entry dies when it would have died."""
        entry = make_entry("q", vector=NORTH, created=1.0, expires=2.0, stale_until=3.0)
        await store.put(entry, now=1.0)
        for name in (entry.id, "", "no such id", "f" * 64):
            for _ in range(50):
                store.touch(name)
        assert await everything(store) == [entry]
        assert len(await find(store, entry.scope, NORTH, now=2.9)) == 1
        assert await find(store, entry.scope, NORTH, now=3.0) == ()
        await store.delete(entry.id)
        store.touch(entry.id)
        assert await everything(store) == []
