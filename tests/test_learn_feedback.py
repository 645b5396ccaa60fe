"""Ids of hits that nobody can make up, and feedback that holds at once, for all workers and for ever."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko.errors import InvalidRequest
from yamabiko.learn.feedback import KEPT_SECONDS, LOG, SECRET, HitIds, HitRef, apply_feedback, load_secret
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key

NOW = 1_700_000_000.0
IDS = HitIds(b"s" * 32)
SIXTEEN = st.binary(min_size=16, max_size=16)
THIRTY_TWO = st.binary(min_size=32, max_size=32)


@pytest.fixture(params=["memory", "sqlite", "server"])
def opening(request, tmp_path):
    """Opens one more handle on the same store; in memory there is one only."""
    if request.param == "memory":
        store = MemoryStore(embedder="fake", dim=8)

        async def opened():
            return store
    elif request.param == "sqlite":

        async def opened():
            return SqliteStore(tmp_path / "cache.db", embedder="fake", dim=8)
    else:
        port, name = request.getfixturevalue("engine").port, secrets.token_hex(4)

        async def opened():
            return await MemoryDBStore.open(
                Address.parse(f"redis://127.0.0.1:{port}?name={name}"), embedder="fake", dim=8
            )

    return opened


@given(look_up=SIXTEEN, entry=THIRTY_TWO, digest=THIRTY_TWO)
def test_a_token_says_what_it_was_made_of(look_up, entry, digest):
    token = IDS.make(look_up, entry.hex(), digest)
    assert IDS.parse(token) == HitRef(look_up_id=look_up, entry_id=entry.hex(), digest=digest)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(token) == 128


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n\0é"


@settings(max_examples=300)
@given(look_up=SIXTEEN, entry=THIRTY_TWO, at=st.integers(0, 127), char=st.sampled_from(ALPHABET))
def test_a_token_with_any_character_changed_is_refused(look_up, entry, at, char):
    token = IDS.make(look_up, entry.hex(), entry)
    changed = token[:at] + char + token[at + 1 :]
    if changed != token:
        with pytest.raises(InvalidRequest):
            IDS.parse(changed)


def test_a_token_with_any_byte_changed_is_refused():
    data = base64.urlsafe_b64decode(IDS.make(bytes(16), "ab" * 32, bytes(32)))
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(InvalidRequest, match="another cache"):
                IDS.parse(base64.urlsafe_b64encode(changed).decode())


@pytest.mark.parametrize("token", ["", "x", "A" * 127, "A" * 129, "A" * 128, "A" * 127 + "\n", None, 5, b"A" * 128])
def test_what_is_no_token_is_refused_with_a_word_of_what_is_one(token):
    with pytest.raises(InvalidRequest, match="id of a hit"):
        IDS.parse(token)


@given(st.text(max_size=200))
def test_any_text_is_refused(text):
    with pytest.raises(InvalidRequest):
        IDS.parse(text)


def test_another_caches_token_is_refused():
    with pytest.raises(InvalidRequest, match="another cache"):
        HitIds(b"t" * 32).parse(IDS.make(bytes(16), "00" * 32, bytes(32)))


@pytest.mark.parametrize(
    ("look_up", "entry", "digest"),
    [(bytes(15), "00" * 32, bytes(32)), (bytes(16), "00" * 31, bytes(33)), (bytes(16), "00" * 32, bytes(31))],
)
def test_parts_of_another_length_make_no_token(look_up, entry, digest):
    with pytest.raises(InvalidRequest, match="16 bytes"):
        IDS.make(look_up, entry, digest)


def test_a_short_secret_is_none():
    with pytest.raises(InvalidRequest, match="32 bytes"):
        HitIds(b"")


def test_all_workers_have_one_secret_also_after_a_restart(opening):
    async def run():
        stores = [await opening() for _ in range(3)]
        loaded = await asyncio.gather(*(load_secret(store) for store in stores for _ in range(4)))
        assert len(set(loaded)) == 1
        assert len(loaded[0]) == 32
        again = await opening()
        assert await load_secret(again) == loaded[0]
        for store in {*stores, again}:
            await store.close()

    asyncio.run(run())


def test_where_nothing_is_shared_the_secret_is_the_process_s_own():
    async def run():
        assert await load_secret(None) != await load_secret(None)
        assert len(await load_secret(None)) == 32

    asyncio.run(run())


def test_a_damaged_secret_is_made_anew():
    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        await store.save_state(SECRET, b"short", expected=None)
        assert len(await load_secret(store)) == 32
        assert await load_secret(store) == await load_secret(store)

    asyncio.run(run())


def ref_of(entry, digest):
    return HitRef(look_up_id=bytes(16), entry_id=entry.id, digest=digest)


async def noted(store):
    return [json.loads(item.data) for item in await store.read_log(LOG, after=0, limit=100)]


def test_no_to_another_question_takes_the_pair_away_for_all_workers_and_for_ever(opening):
    async def run():
        store, other = await opening(), await opening()
        entry, digest = make_entry("Where is Tokyo?"), make_key("Where is Kyoto?").digest
        await store.put(entry, now=NOW)
        await apply_feedback(ref_of(entry, digest), False, store, store, NOW)
        assert await other.quarantined(digest, now=NOW + 1e9) == {entry.id}
        assert await other.get(make_key("Where is Tokyo?")) is not None
        await apply_feedback(ref_of(entry, digest), True, store, store, NOW)  # somebody else says yes: noted, no more
        assert await other.quarantined(digest, now=NOW) == {entry.id}
        await store.close()
        await other.close()

    asyncio.run(run())


def test_no_to_the_entrys_own_question_takes_the_entry_away(opening):
    async def run():
        store, other = await opening(), await opening()
        entry = make_entry("Where is Tokyo?")
        await store.put(entry, now=NOW)
        await apply_feedback(ref_of(entry, bytes.fromhex(entry.id)), False, store, store, NOW)
        assert await other.get(make_key("Where is Tokyo?")) is None
        await store.put(make_entry("Where is Tokyo?", "a better answer"), now=NOW)
        found = await other.get(make_key("Where is Tokyo?"))
        assert found is not None
        assert found.reply.text == "a better answer"
        assert await other.quarantined(bytes.fromhex(entry.id), now=NOW) == frozenset()
        await store.close()
        await other.close()

    asyncio.run(run())


def test_yes_is_noted_once_and_changes_nothing(opening):
    async def run():
        store = await opening()
        entry, digest = make_entry("Where is Tokyo?"), make_key("Tokyo, where is it?").digest
        await store.put(entry, now=NOW)
        for _ in range(2):
            await apply_feedback(ref_of(entry, digest), True, store, store, NOW)
        assert await noted(store) == [{"ok": True, "entry": entry.id, "digest": digest.hex(), "at": NOW}]
        assert await store.quarantined(digest, now=NOW) == frozenset()
        assert await store.get(make_key("Tokyo, where is it?")) is None  # no alias
        await store.close()

    asyncio.run(run())


def test_what_was_said_long_ago_is_forgotten_and_what_it_took_away_stays_away():
    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        entry, digest = make_entry("a"), make_key("b").digest
        await store.put(entry, now=NOW)
        await apply_feedback(ref_of(entry, digest), False, store, store, NOW)
        later = NOW + KEPT_SECONDS + 1
        said = HitRef(look_up_id=b"x" * 16, entry_id=entry.id, digest=make_key("c").digest)
        await apply_feedback(said, True, store, store, later)
        assert [one["at"] for one in await noted(store)] == [later]
        assert await store.quarantined(digest, now=later) == {entry.id}

    asyncio.run(run())


def test_a_store_that_can_note_no_pairs_gives_up_the_entry():
    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        entry = make_entry("a")
        await store.put(entry, now=NOW)
        await apply_feedback(ref_of(entry, make_key("b").digest), True, store, None, NOW)
        assert await store.get(make_key("a")) is not None
        await apply_feedback(ref_of(entry, make_key("b").digest), False, store, None, NOW)
        assert await store.get(make_key("a")) is None

    asyncio.run(run())
