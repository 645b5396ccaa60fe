"""Memory on the server: expiry, eviction under both kinds of policy, a full server, and complete removal."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from yamabiko.errors import StoreUnavailable
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.testing import make_entry, make_key, make_question, make_scope, unit_vector
from yamabiko.testing.promise import everything, find
from yamabiko.types import Reply, Selector, Source

DIM = 8
NORTH = unit_vector(1, DIM)
FOR_LONG = 1e12


def run(engine, name, body, **options):
    """Opens the cache of this name, hands it to ``body``, closes it."""

    async def go():
        url = f"redis://127.0.0.1:{engine.port}?name={name}"
        store = await MemoryDBStore.open(Address.parse(url), embedder="fake", dim=DIM, **options)
        try:
            return await body(store)
        finally:
            await store.close()

    return asyncio.run(go())


def keys_of(engine, name):
    return {key.decode() for key in engine.cli("KEYS", f"{name}:*")}


def entry_of(i, **options):
    options.setdefault("vector", unit_vector(i, DIM))
    options.setdefault("stale_until", FOR_LONG)
    options.setdefault("created", float(i))
    return make_entry(f"question {i}", options.pop("reply", Reply(text=f"answer {i}")), **options)


class TestExpiry:
    def test_every_answer_expires_on_the_server_by_itself(self, engine):
        async def body(store):
            await store.put(make_entry("a", stale_until=1000.0, vector=NORTH), now=400.0)
            await store.put(make_entry("for ever", vector=NORTH), now=400.0)
            await store.alias(make_key("a").hex, make_question("b", vector=-NORTH))
            left = {}
            for text in ("a", "b", "for ever"):
                left[text] = await store.connection.command("PTTL", store.layout.questions + make_key(text).hex)
            return left

        left = run(engine, "expiry", body)
        for text in ("a", "b"):  # its own 600 seconds, and the hour in which it can still be told to have expired
            assert 4100_000 < left[text] <= 4200_000
        assert left["for ever"] > 86_400_000 * 3600  # far away, but an eviction policy for volatile keys may take it

    def test_neither_a_hit_nor_a_count_prolongs_a_life(self, engine):
        async def body(store):
            entry = make_entry("a", stale_until=1000.0, vector=NORTH)
            await store.put(entry, now=400.0)
            key = store.layout.questions + entry.id
            before = await store.connection.command("PEXPIRETIME", key)
            for _ in range(3):
                assert await store.get(make_key("a")) is not None
                assert len(await find(store, entry.scope, NORTH, now=400.0)) == 1
                store.touch(entry.id)
            assert (await store.health()).hits == 0  # not on the way of a look-up
            await store._upkeep.write_hits()
            assert (await store.health()).hits == 3
            assert await store.connection.command("PEXPIRETIME", key) == before

        run(engine, "life", body)

    def test_a_count_never_brings_back_what_is_gone(self, engine):
        async def body(store):
            await store.put(entry_of(1), now=0.0)
            await store.delete(entry_of(1).id)
            before = keys_of(engine, "ghosts")
            store.touch(entry_of(1).id)
            await store._upkeep.write_hits()
            assert keys_of(engine, "ghosts") == before

        run(engine, "ghosts", body)

    def test_what_the_server_let_go_is_swept(self, engine):
        async def body(store):
            for i in range(20):
                await store.put(entry_of(i, tags=("t",)), now=0.0)
            await store.alias(entry_of(0).id, make_question("alias", vector=NORTH))
            for i in range(1, 20, 2):
                await store.connection.command("PEXPIREAT", store.layout.questions + entry_of(i).id, 1)
            await store.connection.command("DEL", store.layout.questions + entry_of(0).id)
            gone = await store._upkeep.sweep()
            assert gone == 11
            stats = await store.stats()
            assert (stats.entries, stats.questions, stats.vectors) == (10, 10, 10)
            whole = await everything(store, Selector(tag="t"))
            assert [entry.questions[0].text for entry in whole] == [
                "alias",
                *(f"question {i}" for i in range(2, 20, 2)),
            ]
            assert list(await store.check()) == []

        run(engine, "swept", body)


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru", "allkeys-random"])
def test_whatever_the_server_evicts_what_is_left_is_sound(make_engine, policy):
    """Each look-up is a clean miss or the right answer, and the cache goes on; check() finds nothing it can't sweep."""
    engine = make_engine(maxmemory=14_000_000, policy=policy)
    count = 1500

    async def body(store):
        stored, refused = {}, 0
        for i in range(count):
            entry = entry_of(
                i,
                reply=Reply(text=f"answer {i} " + "x" * 3000, sources=(f"s3://{i % 7}",)),
                aliases=(make_question(f"alias {i}", vector=unit_vector(count + i, DIM)),),
                tags=(f"t{i % 5}",),
            )
            try:
                await store.put(entry, now=0.0)
            except StoreUnavailable:
                refused += 1
            else:
                stored[i] = entry
        assert (await store.health()).evicted_keys > 100
        hits = 0
        for i, entry in stored.items():
            for text in (f"question {i}", f"alias {i}"):
                got = await store.get(make_key(text))
                if got is not None:
                    assert got.reply == entry.reply
                    hits += 1
            if i % 10 == 0:
                for candidate in await find(store, entry.scope, unit_vector(i, DIM), min_similarity=0.999):
                    assert candidate.entry.reply.text.startswith("answer " + candidate.question.text.split()[1])
        assert hits > 50
        assert list(await store.check()) == []
        # A purge finds all that is left, whatever lists were evicted.
        left = [entry.id for entry in await everything(store) if Source("s3://3") in entry.reply.sources]
        assert left
        assert await store.purge(Selector(source="s3://3")) == len(left)
        for i in range(3, count, 7):
            assert await store.get(make_key(f"question {i}")) is None
            assert await store.get(make_key(f"alias {i}")) is None
        await store.put(entry_of(count + 1), now=0.0)
        assert await store.get(make_key(f"question {count + 1}")) is not None
        assert list(await store.check()) == []

    run(engine, "evicted", body)


def test_a_full_server_is_no_error_for_who_asks(make_engine):
    """Without eviction a write is refused with a message that says what to do, and is counted; reading goes on."""
    engine = make_engine(maxmemory=8_000_000, policy="noeviction")

    async def fill(store):
        for i in range(5000):
            await store.put(entry_of(i, reply=Reply(text="x" * 5000), tags=("t",) if i < 50 else ()), now=0.0)

    async def body(store):
        with pytest.raises(StoreUnavailable, match="maxmemory-policy"):
            await fill(store)
        health = await store.health()
        assert health.connection.out_of_memory == 1
        assert health.memory_share > 0.9
        for _ in range(20):  # no breaker opens
            assert await store.get(make_key("question 60")) is not None
        full = (await store.stats()).entries
        assert await store.purge(Selector(tag="t")) == 50  # removal works when nothing else does
        assert (await store.stats()).entries == full - 50
        assert list(await store.check()) == []

    run(engine, "full", body)


class TestErasure:
    def test_nothing_of_a_user_is_left(self, engine):
        """Texts, answers, vectors, names: not a byte in any key, nor in the index."""
        name = "erasure"
        secrets = ["ひみつのしつもん", "secret-alias", "private-reply", "user-7716", "s3://only/hers"]
        alias_vector = unit_vector(77, DIM)

        async def body(store):
            scope = make_scope(tenant="acme", user="user-7716")
            north = unit_vector(99, DIM)
            for i in range(5):
                await store.put(entry_of(i), now=0.0)
            hers = make_entry(
                secrets[0],
                Reply(text=secrets[2], sources=(secrets[4],)),
                scope=scope,
                vector=north,
                aliases=(make_question(secrets[1], scope, vector=alias_vector),),
                stale_until=FOR_LONG,
            )
            await store.put(hers, now=0.0)
            store.touch(hers.id)
            await store._upkeep.write_hits()
            assert _bytes_in(engine, name, [secret.encode() for secret in secrets])
            assert await store.purge(Selector(user="user-7716")) == 1
            assert await find(store, scope, north) == ()
            assert list(await store.check()) == []
            assert (await store.health()).indexed == 5
            return [north, alias_vector]

        vectors = run(engine, name, body)
        kept = [np.float16(vector).astype("<f4").tobytes() for vector in vectors]
        assert _bytes_in(engine, name, [secret.encode() for secret in secrets] + kept) == []

    def test_check_finds_what_an_erasure_would_have_left(self, engine):
        """A proof is only worth what it would have noticed."""

        async def body(store):
            await store.put(entry_of(1, scope=make_scope(user="u")), now=0.0)
            key = store.layout.questions + make_key("question 1", make_scope(user="u")).hex
            fields = await store.connection.command("HGETALL", key)
            await store.purge(Selector(user="u"))
            await store.connection.command("HSET", key, *fields)
            (fault,) = await store.check()
            assert "belongs to no entry" in fault
            await store.connection.command("DEL", key)
            assert list(await store.check()) == []

        run(engine, "proof", body)


def _bytes_in(engine, name, needles):
    """Which of these byte strings stand in any key or value of a cache."""
    found = set()
    for key in engine.cli("KEYS", f"{name}:*"):
        kind = engine.cli("TYPE", key)
        read = {b"hash": ("HGETALL", key), b"zset": ("ZRANGE", key, 0, -1), b"string": ("GET", key)}
        value = engine.cli(*read[kind])
        parts = [key, *(value if isinstance(value, list) else [value])]
        found |= {needle for needle in needles for part in parts if needle in part}
    return sorted(found)


@pytest.mark.parametrize("selector", [Selector(tag="t1"), Selector(source="s3://a"), Selector(tenant="tenant-1")])
def test_removal_costs_as_much_as_it_removes(engine, selector):
    """Twenty of a thousand go with a few commands that touch those twenty; no KEYS, no SCAN, no search."""
    name = "cost" + (selector.tag or selector.tenant or "source").replace(":", "")

    async def body(store):
        for i in range(1000):
            special = i % 50 == 7
            entry = entry_of(
                i,
                reply=Reply(text="a", sources=("s3://a" if special else "s3://b",)),
                scope=make_scope(tenant="tenant-1" if special else "tenant-2"),
                tags=("t1" if special else "t2",),
            )
            await store.put(entry, now=0.0)
        engine.cli("CONFIG", "RESETSTAT")
        assert await store.purge(selector) == 20
        return {
            name.removeprefix("cmdstat_"): int(line.split("calls=")[1].split(",")[0])
            for name, line in engine.info("commandstats").items()
        }

    calls = run(engine, name, body)
    assert not {"keys", "scan", "FT.SEARCH", "FT.AGGREGATE"} & set(calls)
    assert calls["del"] <= 60  # twenty questions, anchors and quarantines
    assert sum(calls.values()) < 20 * 25 + 20


class TestAnotherEmbedder:
    def test_blue_and_green_serve_together(self, engine):
        """Entries get second vectors beside the first; then the cache is the new embedder's, then the old index goes."""
        name, url = "bluegreen", f"redis://127.0.0.1:{engine.port}?name=bluegreen"

        async def go():
            address = Address.parse(url)
            green = await MemoryDBStore.open(address, embedder="green", dim=DIM)
            scope = make_scope(embedder="green")
            entries = [entry_of(i, scope=scope) for i in range(10)]
            for entry in entries:
                await green.put(entry, now=0.0)
            assert await MemoryDBStore.recorded(address) == ("green", DIM)
            blue = await MemoryDBStore.open(address, embedder="blue", dim=16, beside=True)
            blue_scope = make_scope(embedder="blue")
            async for entry in green.entries(Selector()):
                (question,) = entry.questions
                i = int(entry.created)
                moved = make_entry(
                    question.text,
                    entry.reply,
                    scope=blue_scope,
                    vector=unit_vector(i, 16),
                    created=entry.created,
                    stale_until=FOR_LONG,
                )
                assert await blue.add_embedding(moved)
            gone = make_entry("gone", scope=blue_scope, vector=unit_vector(3, 16))
            assert not await blue.add_embedding(gone)
            for store, place, dim in ((green, scope, DIM), (blue, blue_scope, 16)):
                (candidate,) = await find(store, place, unit_vector(4, dim), min_similarity=0.99)
                assert (candidate.question.text, candidate.entry.scope) == ("question 4", place)
            await blue.adopt()
            assert await MemoryDBStore.recorded(address) == ("blue", 16)
            assert await green.get(make_key("question 5", scope)) is not None  # still open, still serving
            await green.close()
            with pytest.raises(Exception, match="embedder"):
                await MemoryDBStore.open(address, embedder="green", dim=DIM)
            await blue.retire(embedder="green", dim=DIM)
            left = {field for key in engine.cli("KEYS", f"{name}:q:*") for field in engine.cli("HKEYS", key)}
            assert len([field for field in left if field.startswith(b"v_")]) == 1
            assert list(await blue.check()) == []
            stats = await blue.stats()
            assert (stats.entries, stats.vectors, stats.scopes) == (10, 10, 1)
            assert len(await find(blue, blue_scope, unit_vector(4, 16), min_similarity=0.99)) == 1
            await blue.close()

        asyncio.run(go())
