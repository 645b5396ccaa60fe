"""A server may evict any key at any moment (``allkeys-random``): what is left is never wrong, and can be put in order."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from yamabiko.errors import Outdated
from yamabiko.stores.memorydb import MemoryDBStore, upkeep
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.failures import access_string
from yamabiko.stores.memorydb.listing import token
from yamabiko.testing import make_entry, make_key, make_question, make_scope, tilted, unit_vector
from yamabiko.testing.promise import everything, find
from yamabiko.types import Reply, Selector

DIM = 8
NAME = "evicting"
SCOPES = [make_scope(tenant="a"), make_scope(tenant="b", user="u")]
TEXTS = ["q0", "q1", "q2"]
VECTORS = {text: unit_vector(i, DIM) for i, text in enumerate(TEXTS)}

scopes, texts = st.sampled_from(SCOPES), st.sampled_from(TEXTS)
tags = st.sampled_from([(), ("t",), ("t", "u")])
selectors = st.sampled_from(
    [
        Selector(),
        Selector(tag="t"),
        Selector(tag="u"),
        Selector(tenant="a"),
        Selector(user="u"),
        Selector(source="s"),
        Selector(id=make_key("q0", SCOPES[0]).hex),
    ]
)
KINDS = ["q", "a", "a", "all", "life", "s", "counters", "scopes", "meta", "fence", "barrier", "x"]
evictions = st.tuples(st.just("evict"), st.sampled_from(KINDS), st.integers(0, 5))
steps = st.one_of(
    st.tuples(st.just("put"), scopes, texts, tags, st.sampled_from([(), ("s",)])),
    st.tuples(st.just("alias"), scopes, texts, texts),
    st.tuples(st.just("purge"), selectors),
    st.tuples(st.just("delete"), scopes, texts),
    st.sampled_from([("sweep",), ("walk",), ("begin",), ("begin",), ("finish",)]),
    evictions,
    evictions,
    evictions,
)


class Evicting:
    """One cache, what may be found in it at most, and what must not be found any more."""

    def __init__(self, engine, store):
        self._engine = engine
        self._store = store
        self._numbers = itertools.count()
        self._entries = {}  # by id: what was put last
        self._owners = {}  # by question's digest: id
        self._begun = []  # fences of answers that are being made, and whether a purge came since

    def _keys(self):
        return sorted(self._engine.cli("KEYS", f"{NAME}:*"))

    async def evict(self, kind, number):
        keys = [key for key in self._keys() if key.startswith(f"{NAME}:{kind}:".encode())]
        if keys:
            self._engine.cli("DEL", keys[number % len(keys)])

    def _entry(self, scope, text, tag_names=(), sources=()):
        number = next(self._numbers)
        reply = Reply(text=f"answer-{number}-", sources=sources)
        return make_entry(text, reply, scope=scope, vector=VECTORS[text], tags=tag_names, created=float(number))

    def _now_holds(self, entry):
        known = self._entries.get(entry.id)
        if known is not None and known.scope != entry.scope:
            self._forget([entry.id])
        self._entries[entry.id] = entry
        self._owners[entry.questions[0].digest] = entry.id

    def _forget(self, ids):
        for one in ids:
            self._entries.pop(one, None)
        self._owners = {digest: owner for digest, owner in self._owners.items() if owner in self._entries}

    async def put(self, scope, text, tag_names, sources):
        entry = self._entry(scope, text, tag_names, sources)
        await self._store.put(entry, now=0.0)
        self._now_holds(entry)

    async def alias(self, scope, text, other):
        question = make_question(other, scope, vector=VECTORS[other])
        entry_id = make_key(text, scope).hex
        if await self._store.alias(entry_id, question):
            assert entry_id in self._entries
            self._owners[question.digest] = entry_id

    async def begin(self):
        claim = await self._store.claim(f"c{next(self._numbers)}", "me", seconds=60.0, now=0.0)
        self._begun.append([claim.fence, False])
        self._begun.append([await self._store.fence(), False])

    async def finish(self):
        """What was begun before a purge that means it is refused; what was not may be refused too, where a fence was evicted."""
        for fence, purged in self._begun:
            entry = self._entry(SCOPES[0], "q1")
            try:
                await self._store.put(entry, now=0.0, fence=fence)
            except Outdated:
                continue
            assert not purged
            self._now_holds(entry)
        self._begun = []

    async def purge(self, selector):
        fitting = [entry for entry in self._entries.values() if _fits(entry, selector)]
        await self._store.purge(selector)
        self._forget([entry.id for entry in fitting])
        asked = _fits(self._entry(SCOPES[0], "q1"), selector)  # what ``finish`` will try to store
        self._begun = [[fence, purged or asked] for fence, purged in self._begun]
        self._assert_erased(fitting)

    async def delete(self, scope, text):
        entry_id = make_key(text, scope).hex
        await self._store.delete(entry_id)
        self._forget([entry_id])

    def _assert_erased(self, entries):
        held = b"\n".join(part for key in self._keys() for part in self._value(key))
        for entry in entries:
            assert entry.reply.text.encode() not in held

    def _value(self, key):
        return self._engine.cli("HGETALL", key) if self._engine.cli("TYPE", key) == b"hash" else []

    async def sweep(self):
        await self._store._upkeep.sweep()

    async def walk(self):
        assert list(await self._store.check()) == []
        await self._assert_listed()

    async def look(self):
        for scope in SCOPES:
            for text in TEXTS:
                got = await self._store.get(make_key(text, scope))
                if got is not None:
                    self._assert_right(got, make_key(text, scope).digest, scope)
                for candidate in await find(self._store, scope, VECTORS[text], min_similarity=0.99):
                    self._assert_right(candidate.entry, candidate.question.digest, scope)
                    assert candidate.question.digest == make_key(text, scope).digest

    def _assert_right(self, got, digest, scope):
        owner = self._owners[digest]  # a question that nobody has any more has no answer
        assert (got.id, got.reply, got.scope) == (owner, self._entries[owner].reply, scope)

    async def _assert_listed(self):
        """What can be found can be listed, once."""
        listed = [entry.id for entry in await everything(self._store)]
        assert len(listed) == len(set(listed)) == (await self._store.stats()).entries
        for scope in SCOPES:
            for text in TEXTS:
                got = await self._store.get(make_key(text, scope))
                assert got is None or got.id in listed


def _fits(entry, selector):
    return (
        selector.id in (None, entry.id)
        and selector.tenant in (None, entry.scope.tenant)
        and selector.user in (None, entry.scope.user)
        and (selector.tag is None or selector.tag in entry.tags)
        and (selector.source is None or selector.source in [source.uri for source in entry.reply.sources])
    )


@pytest.fixture(scope="module")
def blind(engine):
    """A user who may not ask for INFO: for all the store knows, anything may have been evicted since it last looked."""
    rights = access_string(NAME).replace("+@search", "+ft.create +ft.info +ft.search").replace(" +info", "")
    engine.cli("ACL", "SETUSER", "blind", "reset", ">secret", *rights.split(), "%R~*", "-info")
    yield f"redis://blind:secret@127.0.0.1:{engine.port}?name={NAME}"
    engine.cli("ACL", "DELUSER", "blind")


def test_whatever_key_goes_no_answer_is_wrong_and_none_comes_back(engine, blind):
    async def open_store():
        return await MemoryDBStore.open(Address.parse(blind), embedder="fake", dim=DIM)

    with asyncio.Runner() as runner:
        store = runner.run(open_store())

        @settings(
            max_examples=60,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(st.lists(steps, min_size=8, max_size=30))
        def series(taken):
            async def go():
                for key in engine.cli("KEYS", f"{NAME}:*"):
                    engine.cli("DEL", key)
                cache = Evicting(engine, store)
                for step, *given_ in taken:
                    await getattr(cache, step)(*given_)
                    await cache.look()
                await cache.walk()
                await cache.finish()
                await cache.purge(Selector())
                assert await store.check() == []
                stats = await store.stats()
                assert (stats.entries, stats.questions, stats.vectors, stats.scopes, stats.payload_bytes) == (0,) * 5

            runner.run(go())

        try:
            series()
        finally:
            runner.run(store.close())


def entries_of(count, **options):
    return [
        make_entry(f"question {i}", f"answer-{i}-", vector=unit_vector(i, DIM), created=float(i), **options)
        for i in range(count)
    ]


def run(url, body):
    async def go():
        store = await MemoryDBStore.open(Address.parse(url), embedder="fake", dim=DIM)
        try:
            return await body(store)
        finally:
            await store.close()

    return asyncio.run(go())


@pytest.fixture
def url(engine):
    return f"redis://127.0.0.1:{engine.port}?name={NAME}-{next(_caches)}"


_caches = itertools.count()


class TestSweeping:
    def test_it_comes_to_the_end_of_the_listing(self, monkeypatch, url):
        """Whichever process sweeps next goes on where the last one ended; none begins until keys are evicted again."""
        monkeypatch.setattr(upkeep, "PAGES_A_SWEEP", 1)

        async def body(store):
            entries = entries_of(1200)
            for entry in entries:
                await store.put(entry, now=0.0)
            evicted = entries[::100] + entries[-50:]
            for entry in evicted:
                await store.connection.command("DEL", store.layout.questions + entry.id)
            gone = await store._upkeep.sweep()
            assert 0 < gone < len(evicted)
            other = await MemoryDBStore.open(Address.parse(url), embedder="fake", dim=DIM)
            for _ in range(3):
                gone += await other._upkeep.sweep()
            await other.close()
            assert gone == len(evicted)
            assert (await store.stats()).entries == 1200 - len(evicted)
            before = store.connection.figures.commands
            await store._upkeep.sweep()
            assert store.connection.figures.commands - before < 8

        run(url, body)

    def test_a_full_server_is_swept_too(self, monkeypatch, make_engine):
        """It can't count hits, but it can let go of what has expired."""
        monkeypatch.setattr(upkeep, "TICK_SECONDS", 0.01)
        monkeypatch.setattr(upkeep, "SWEEP_SECONDS", 0.1)
        engine = make_engine(search=False, maxmemory=64_000_000, policy="noeviction")

        async def body(store):
            entries = entries_of(3)
            for entry in entries:
                await store.put(replace(entry, questions=(make_question(entry.questions[0].text),)), now=0.0)
            await store.connection.command("PEXPIREAT", store.layout.questions + entries[0].id, 1)
            engine.cli("CONFIG", "SET", "maxmemory", 1)
            async with asyncio.timeout(10.0):
                while (await store.stats()).entries == 3:
                    store.touch(entries[1].id)
                    await asyncio.sleep(0.01)
            assert store.connection.figures.out_of_memory > 0

        async def go():
            address = Address.parse(f"redis://127.0.0.1:{engine.port}")
            store = await MemoryDBStore.open(address, embedder="none", dim=1)
            try:
                await body(store)
            finally:
                await store.close()

        asyncio.run(go())

    def test_what_says_whose_the_cache_is_comes_back(self, url):
        async def body(store):
            await store.put(entries_of(1)[0], now=0.0)
            await store.connection.command("DEL", store.layout.meta)
            await store._upkeep.sweep()
            assert await MemoryDBStore.recorded(Address.parse(url)) == ("fake", DIM)

        run(url, body)


def calls(engine, command):
    return int(engine.info("commandstats").get(f"cmdstat_{command}", "calls=0,").split("calls=")[1].split(",")[0])


class TestPurging:
    def test_what_falls_apart_meanwhile_is_removed_too(self, engine, blind, make_guard):
        guard = make_guard(engine, profile="valkey-search-1.2")
        url = blind.replace(str(engine.port), str(guard.port))

        async def body(store):
            entries = entries_of(60, tags=("t",))
            for entry in entries:
                await store.put(entry, now=0.0)
            held = guard.hold("ZCARD")  # asked when all keys have been looked at
            purging = asyncio.create_task(store.purge(Selector(tag="t")))
            await asyncio.to_thread(held.wait_reached)
            lists = store.layout.sides + token("tag", "t")
            for entry in entries[50:]:
                engine.cli("DEL", store.layout.anchors + entry.id)
            engine.cli("DEL", lists)
            held.release()
            await purging
            return engine.cli("KEYS", f"{NAME}:q:*")

        assert run(url, body) == []

    def test_looking_at_all_keys_reads_no_answers(self, engine, blind):
        """Nor as many lists as there are tags."""

        async def body(store):
            for entry in entries_of(50):
                tagged = replace(entry, reply=Reply(text="x" * 20_000), tags=("t", entry.id))
                await store.put(tagged, now=0.0)
            before, lists = int(engine.info("stats")["total_net_output_bytes"]), calls(engine, "zrange")
            assert await store.purge(Selector(tag="t")) == 50
            assert int(engine.info("stats")["total_net_output_bytes"]) - before < 200_000
            assert calls(engine, "zrange") - lists < 60  # one for each entry's quarantine, and the pages of the tag

        run(blind, body)


class TestChecking:
    def test_counters_that_went_are_counted_anew(self, blind):
        """Also the entries of very many scopes."""

        async def body(store):
            for i, entry in enumerate(entries_of(1100)):
                scope = make_scope(user=f"u{i % 550}")
                await store.put(make_entry(entry.questions[0].text, scope=scope, created=float(i)), now=0.0)
            await store.connection.command("DEL", store.layout.counters, store.layout.scopes)
            assert list(await store.check()) == []
            stats = await store.stats()
            assert (stats.entries, stats.questions, stats.scopes) == (1100, 1100, 550)
            assert await store.purge(Selector(user="u7")) == 2
            assert (await store.stats()).scopes == 549
            await store.purge(Selector())

        run(blind, body)

    def test_a_question_without_its_text_is_a_miss(self, url):
        async def body(store):
            (entry,) = entries_of(1)
            await store.put(entry, now=0.0)
            await store.connection.command("HDEL", store.layout.questions + entry.id, "t")
            assert await store.get(make_key("question 0")) is None
            assert await find(store, entry.scope, unit_vector(0, DIM)) == ()
            assert await everything(store) == []
            (fault,) = await store.check()
            assert "without its records" in fault

        run(url, body)


class TestSearching:
    def test_where_very_much_is_near_only_what_is_asked_for_is_read(self, engine, url):
        async def body(store):
            north = unit_vector(1, DIM)
            for i in range(300):
                vector = tilted(north, 0.9 + i / 4000)
                await store.put(make_entry(f"question {i}", "x" * 4000, vector=vector, created=float(i)), now=0.0)
            before = int(engine.info("stats")["total_net_output_bytes"])
            found = await find(store, make_scope(), north, limit=5, min_similarity=0.85)
            assert [candidate.question.text for candidate in found] == [f"question {i}" for i in range(299, 294, -1)]
            assert int(engine.info("stats")["total_net_output_bytes"]) - before < 200_000

        run(f"{url}&search=range", body)


class TestSharedState:
    def test_a_log_that_went_takes_its_items_again(self, url):
        """Whoever heard no reply appends once more; what is remembered of the ids must not say that all stand there."""

        async def body(store):
            assert await store.append_log("labels", {"a": b"1", "b": b"2"}) == 2
            (first, second) = await store.read_log("labels", after=0, limit=10)
            await store.connection.command("DEL", f"{store.layout.shared}log:labels")
            assert await store.append_log("labels", {"b": b"2"}) == 1
            (again,) = await store.read_log("labels", after=second.position, limit=10)
            assert (again.id, again.data) == ("b", b"2")
            assert first.position < second.position < again.position

        run(url, body)
