"""What every ``SharedState`` promises, as tests: inherit ``SharedStateContract`` beside a store's other contracts."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from yamabiko.errors import InvalidRequest, Outdated
from yamabiko.ports import MAX_STATE_BYTES, Claim, Dated, Logged, SharedState, Store, Stored
from yamabiko.selecting import MAX_BARRIERS
from yamabiko.testing.builders import make_entry, make_key
from yamabiko.testing.contract_removal import SELECTORS, fits, varied
from yamabiko.testing.promise import Contract, everything, promise, refusal
from yamabiko.types import Reply, Selector, Source

NOW = 1_700_000_000.0
LONG = 600.0
"""Seconds of a lease that no test outlives."""
ALL_BYTES = bytes(range(256))


def shared_by(store: Store) -> SharedState:
    """The same store, seen as what processes share."""
    assert isinstance(store, SharedState)
    return store


async def claimed(store: Store, name: str = "job", holder: str = "a", *, seconds: float = LONG) -> Claim:
    """A claim that must succeed."""
    claim = await shared_by(store).claim(name, holder, seconds=seconds, now=NOW)
    assert claim is not None
    return claim


async def raised_fence(store: Store) -> tuple[int, int]:
    """A fence from before a purge, and one from after."""
    before = await shared_by(store).fence()
    await store.purge(Selector())
    return before, await shared_by(store).fence()


class ClaimContract(Contract):
    """Leases and fences.

    ``short_seconds`` is a lease that a test waits for. A store that goes by its server's clock makes it short, and
    overrides ``after``.
    """

    short_seconds = 10.0

    async def after(self, seconds: float) -> float:
        """The time so many seconds after ``NOW``: what the caller's clock then says."""
        return NOW + seconds

    @promise()
    async def test_one_holder_at_a_time(self, store: Store) -> None:
        """Of all who ask at once; another name is another matter."""
        shared = shared_by(store)
        asked = [shared.claim("job", f"holder {i}", seconds=LONG, now=NOW) for i in range(20)]
        (claim,) = [claim for claim in await asyncio.gather(*asked) if claim is not None]
        assert claim == Claim(name="job", holder=claim.holder, fence=claim.fence)
        assert claim.holder.startswith("holder ")
        assert await shared.claim("job", "b", seconds=LONG, now=NOW) is None
        assert (await claimed(store, "仕事", "b")).holder == "b"

    @promise()
    async def test_who_lets_go_makes_way(self, store: Store) -> None:
        """At once, and only once."""
        shared = shared_by(store)
        claim = await claimed(store)
        assert await shared.release(claim, now=NOW) is True
        assert await shared.release(claim, now=NOW) is False
        assert await shared.renew(claim, seconds=LONG, now=NOW) is False
        assert (await claimed(store, holder="b")).fence > claim.fence

    @promise()
    async def test_the_holder_may_ask_again(self, store: Store) -> None:
        """Who heard no reply has the claim that it got, and may let go of it without knowing its fence."""
        shared = shared_by(store)
        claim = await claimed(store)
        assert await claimed(store) == claim
        assert await shared.release(Claim(name="job", holder="a", fence=0), now=NOW) is True
        assert (await claimed(store, holder="b")).fence > claim.fence

    @promise()
    async def test_a_lease_ends_by_itself(self, store: Store) -> None:
        """Then another has it; who lost it can neither prolong it nor take it away again."""
        shared = shared_by(store)
        lost = await claimed(store, seconds=self.short_seconds)
        later = await self.after(self.short_seconds)
        claim = await shared.claim("job", "b", seconds=LONG, now=later)
        assert claim is not None
        assert claim.fence > lost.fence
        assert await shared.renew(lost, seconds=LONG, now=later) is False
        assert await shared.release(lost, now=later) is False
        assert await shared.release(lost, now=later, open_seconds=LONG) is False
        assert await shared.claim("job", "c", seconds=LONG, now=later) is None
        assert await shared.renew(claim, seconds=LONG, now=later) is True

    @promise()
    async def test_a_lease_that_has_ended_is_not_renewed(self, store: Store) -> None:
        """Even where nobody else has come."""
        lost = await claimed(store, seconds=self.short_seconds)
        later = await self.after(self.short_seconds)
        assert await shared_by(store).renew(lost, seconds=LONG, now=later) is False
        assert await shared_by(store).release(lost, now=later) is False

    @promise()
    async def test_a_renewed_lease_goes_on(self, store: Store) -> None:
        """Beyond its first end."""
        shared = shared_by(store)
        claim = await claimed(store, seconds=self.short_seconds)
        assert await shared.renew(claim, seconds=LONG, now=NOW) is True
        later = await self.after(self.short_seconds)
        assert await shared.claim("job", "b", seconds=LONG, now=later) is None
        assert await shared.release(claim, now=later) is True

    @promise()
    async def test_a_name_can_be_left_open(self, store: Store) -> None:
        """Then whoever asks goes on at once, holding nothing; later the name is for one again."""
        shared = shared_by(store)
        claim = await claimed(store)
        assert await shared.release(claim, now=NOW, open_seconds=self.short_seconds) is True
        for holder in ("a", "b"):
            free = await claimed(store, holder=holder)
            assert (free.holder, free.fence >= claim.fence) == ("", True)
            assert await shared.renew(free, seconds=LONG, now=NOW) is False
            assert await shared.release(free, now=NOW) is False
            await store.put(make_entry(holder), now=NOW, fence=free.fence)
        later = await self.after(self.short_seconds)
        held = await shared.claim("job", "a", seconds=LONG, now=later)
        assert held is not None
        assert held.holder == "a"
        assert await shared.claim("job", "b", seconds=LONG, now=later) is None

    @promise()
    async def test_a_purge_of_everything_ends_all_claims(self, store: Store) -> None:
        """And what was left open; the next one to ask begins anew. A purge with a condition ends none."""
        shared = shared_by(store)
        kept = await claimed(store, "kept")
        for selector in (Selector(dead_at=NOW), Selector(tag="t"), Selector(source="s3://x"), Selector(id="0" * 64)):
            await store.purge(selector)
        assert await shared.claim("kept", "b", seconds=LONG, now=NOW) is None
        assert await shared.renew(kept, seconds=LONG, now=NOW) is True
        await shared.release(await claimed(store, "open"), now=NOW, open_seconds=LONG)
        await store.purge(Selector())
        assert await shared.renew(kept, seconds=LONG, now=NOW) is False
        assert await shared.release(kept, now=NOW) is False
        assert (await claimed(store, "kept", "b")).fence > kept.fence
        assert (await claimed(store, "open", "b")).holder == "b"
        assert await shared.claim("open", "c", seconds=LONG, now=NOW) is None

    @promise()
    async def test_what_was_begun_before_a_purge_is_not_stored_after_it(self, store: Store) -> None:
        """Neither under a new id nor under an old one; with a fence from after it, and without any, it is."""
        before, after = await raised_fence(store)
        assert after > before
        old = make_entry("kept", "from after the purge")
        await store.put(old, now=NOW, fence=after)
        for text in ("kept", "new"):
            message = await refusal(store.put(make_entry(text, "too late"), now=NOW, fence=before), Outdated)
            assert "purged" in message
        assert await everything(store) == [old]
        await store.put(make_entry("without"), now=NOW)
        assert (await claimed(store)).fence > after
        assert await store.get(make_key("without")) is not None

    @promise()
    async def test_a_claim_is_a_fence(self, store: Store) -> None:
        """Good until the next purge, whether the lease has ended or not."""
        claim = await claimed(store)
        await shared_by(store).release(claim, now=NOW)
        await store.put(make_entry("q"), now=NOW, fence=claim.fence)
        await store.purge(Selector())
        await refusal(store.put(make_entry("q"), now=NOW, fence=claim.fence), Outdated)
        assert await everything(store) == []

    @promise()
    async def test_of_unknown_age_is_older_than_any_purge(self, store: Store) -> None:
        """Fence 0 is good as long as nothing was ever purged; removing the dead doesn't count.

        Afterwards what fits is refused; what doesn't may be, where a first purge can't be told from a lost count.
        """
        await store.put(make_entry("a"), now=NOW, fence=0)
        await store.purge(Selector(dead_at=NOW))
        await store.put(make_entry("b"), now=NOW, fence=0)
        await store.purge(Selector(dead_at=NOW, tag="t"))
        await store.purge(Selector(tag="t"))
        await refusal(store.put(make_entry("d", tags=("t",)), now=NOW, fence=0), Outdated)

    @promise()
    async def test_a_purge_with_a_condition_is_a_barrier_for_what_fits(self, store: Store) -> None:
        """For every condition, alone and together: nothing that fits comes back, and nothing else is lost."""
        shared = shared_by(store)
        for selector in SELECTORS:
            before = await shared.fence()
            await shared.outdate(selector)
            late = []
            for entry in varied():
                if selector.dead_at is None and fits(entry, selector):
                    await refusal(store.put(entry, now=NOW, fence=before), Outdated)
                else:
                    await store.put(entry, now=NOW, fence=before)
                    late.append(entry)
            assert await everything(store) == late
            after = await shared.fence()
            for entry in varied():
                await store.put(entry, now=NOW, fence=after)
            await store.purge(Selector())

    @promise()
    async def test_the_last_purge_is_known(self, store: Store) -> None:
        """Whatever it meant; one of the dead doesn't count, and neither does a claim."""
        shared = shared_by(store)
        seen = [await shared.purged()]
        for selector in (Selector(tag="t"), Selector(), Selector(source="s3://x"), Selector(source="s3://x")):
            await store.purge(selector)
            assert await shared.purged() > seen[-1]
            seen.append(await shared.purged())
            await claimed(store, name=f"after {len(seen)}")
            await store.purge(Selector(dead_at=NOW))
            assert await shared.purged() == seen[-1] <= await shared.fence()

    @promise()
    async def test_a_miss_by_key_is_as_of_the_last_purge_where_the_store_says_so(self, store: Store) -> None:
        """The same number as from ``purged``, and of an entry that is there the entry."""
        if not isinstance(store, Dated):
            return
        for selector in (Selector(tag="t"), Selector()):
            assert await store.get_or_purged(make_key("q")) == await shared_by(store).purged()
            await store.purge(selector)
            assert await store.get_or_purged(make_key("q")) == await shared_by(store).purged()
        await store.put(make_entry("q"), now=NOW)
        assert await store.get_or_purged(make_key("q")) == await store.get(make_key("q")) is not None

    @promise()
    async def test_barriers_add_up(self, store: Store) -> None:
        """Each of many purges says no for itself; the oldest of very many become one for everything."""
        shared = shared_by(store)
        before = await shared.fence()
        for n in range(MAX_BARRIERS):
            await shared.outdate(Selector(source=f"s3://{n}"))
            await shared.outdate(Selector(source="s3://again"))
            if n == 0:
                between = await shared.fence()
        for n in (1, 2, MAX_BARRIERS - 2, MAX_BARRIERS - 1):
            entry = make_entry("q", Reply(text="a", sources=(Source(f"s3://{n}"),)))
            await refusal(store.put(entry, now=NOW, fence=between), Outdated)
        await store.put(make_entry("other"), now=NOW, fence=between)
        await refusal(store.put(make_entry("too old"), now=NOW, fence=before), Outdated)
        assert list(await store.check()) == []

    @promise()
    async def test_what_no_lease_can_be(self, store: Store) -> None:
        """Said before anything is written."""
        shared = shared_by(store)
        for name, holder, seconds in (
            *(("", "a", 1.0), ("x" * 257, "a", 1.0), ("\ud800", "a", 1.0), ("job", "", 1.0)),
            *(("job", "a", seconds) for seconds in (0.0, -1.0, float("nan"), float("inf"))),
        ):
            await refusal(shared.claim(name, holder, seconds=seconds, now=NOW), InvalidRequest)
        claim = await claimed(store)
        await refusal(shared.renew(claim, seconds=0.0, now=NOW), InvalidRequest)
        assert await shared.renew(claim, seconds=LONG, now=NOW) is True


class StateContract(Contract):
    """Values that are compared and set, logs, and quarantine."""

    @promise()
    async def test_a_value_is_replaced_by_who_knows_it(self, store: Store) -> None:
        """And by nobody else; versions rise."""
        shared = shared_by(store)
        assert await shared.load_state("方針") is None
        assert await shared.save_state("方針", b"early", expected=1) is None
        first = await shared.save_state("方針", ALL_BYTES, expected=None)
        assert first is not None
        assert await shared.load_state("方針") == Stored(data=ALL_BYTES, version=first)
        assert await shared.save_state("方針", b"again", expected=None) is None
        second = await shared.save_state("方針", b"", expected=first)
        assert second is not None
        assert second > first
        assert await shared.save_state("方針", b"late", expected=first) is None
        assert await shared.load_state("方針") == Stored(data=b"", version=second)
        assert await shared.load_state("another") is None

    @promise()
    async def test_no_change_is_lost(self, store: Store) -> None:
        """Ten who count in one value, each until it has counted ten times."""
        shared = shared_by(store)

        async def count() -> None:
            done = 0
            while done < 10:
                known = await shared.load_state("n")
                data = str(int(known.data) + 1 if known else 1).encode()
                saved = await shared.save_state("n", data, expected=known.version if known else None)
                done += saved is not None

        await asyncio.gather(*(count() for _ in range(10)))
        known = await shared.load_state("n")
        assert known is not None
        assert known.data == b"100"

    @promise()
    async def test_a_log_keeps_the_order(self, store: Store) -> None:
        """In pages, from any position on; each log has its own."""
        shared = shared_by(store)
        assert list(await shared.read_log("labels", after=0, limit=10)) == []
        for i in range(4):
            assert await shared.append_log("labels", {f"ラベル {i}.{j}": f"{i}.{j}".encode() for j in range(3)}) == 3
        assert await shared.append_log("another", {"ラベル 0.0": ALL_BYTES, "x": b""}) == 2
        read: list[Logged] = []
        while page := await shared.read_log("labels", after=read[-1].position if read else 0, limit=5):
            read += page
        assert [item.data.decode() for item in read] == [f"{i}.{j}" for i in range(4) for j in range(3)]
        assert [item.id for item in read] == [f"ラベル {i}.{j}" for i in range(4) for j in range(3)]
        assert all(one.position < other.position for one, other in pairwise(read))
        assert read[0].position > 0
        assert [item.data for item in await shared.read_log("another", after=0, limit=10)] == [ALL_BYTES, b""]

    @promise()
    async def test_a_retry_counts_once(self, store: Store) -> None:
        """Of what is appended again only the new is added."""
        shared = shared_by(store)
        assert await shared.append_log("labels", {}) == 0
        assert await shared.append_log("labels", {"a": b"1", "b": b"2"}) == 2
        assert await shared.append_log("labels", {"b": b"3", "c": b"4"}) == 1
        assert await shared.append_log("labels", {"a": b"1", "b": b"2"}) == 0
        assert [item.data for item in await shared.read_log("labels", after=0, limit=10)] == [b"1", b"2", b"4"]
        added = await asyncio.gather(*(shared.append_log("labels", {"d": b"5"}) for _ in range(5)))
        assert sorted(added) == [0, 0, 0, 0, 1]

    @promise()
    async def test_a_trimmed_log_goes_on_where_it_was(self, store: Store) -> None:
        """No position comes again, not even when the log was empty."""
        shared = shared_by(store)
        await shared.append_log("labels", {"a": b"1", "b": b"2", "c": b"3"})
        one, two, three = await shared.read_log("labels", after=0, limit=10)
        await shared.trim_log("labels", up_to=two.position)
        assert list(await shared.read_log("labels", after=0, limit=10)) == [three]
        assert await shared.append_log("labels", {"c": b"3"}) == 0
        await shared.trim_log("labels", up_to=three.position)
        assert list(await shared.read_log("labels", after=0, limit=10)) == []
        assert await shared.append_log("labels", {"a": b"again"}) == 1
        (item,) = await shared.read_log("labels", after=three.position, limit=10)
        assert (item.data, item.position > three.position > one.position) == (b"again", True)
        await shared.trim_log("nothing here", up_to=5)

    @promise()
    async def test_what_is_too_large_is_refused_whole(self, store: Store) -> None:
        """With its name, and nothing of it stays."""
        shared = shared_by(store)
        large = bytes(MAX_STATE_BYTES)
        version = await shared.save_state("v", large, expected=None)
        await refusal(shared.save_state("v", large + b"x", expected=version), InvalidRequest)
        await refusal(shared.save_state("", b"", expected=None), InvalidRequest)
        for items in ({"a": b"", "b": large + b"x"}, {"a": b"", "": b""}, {"a": b"", "\ud800": b""}):
            await refusal(shared.append_log("labels", items), InvalidRequest)
        assert list(await shared.read_log("labels", after=0, limit=10)) == []
        assert await shared.load_state("v") == Stored(data=large, version=version or 0)

    @promise()
    async def test_an_entry_is_no_answer_to_a_question(self, store: Store) -> None:
        """Until its time is up, or it is taken back; to other questions it is."""
        shared = shared_by(store)
        one, two = make_key("q").digest, make_key("p").digest
        for entry_id, digest, until in (("a", one, NOW + 5), ("b", one, float("inf")), ("a", two, NOW + 9)):
            await shared.quarantine(entry_id, digest, until=until, now=NOW)
        assert await shared.quarantined(one, now=NOW) == {"a", "b"}
        assert await shared.quarantined(one, now=NOW + 5) == {"b"}
        assert await shared.quarantined(two, now=NOW + 5) == {"a"}
        assert await shared.quarantined(make_key("other").digest, now=NOW) == frozenset()
        await shared.quarantine("a", one, until=NOW + 60, now=NOW)
        assert await shared.quarantined(one, now=NOW + 5) == {"a", "b"}
        await shared.quarantine("b", one, until=NOW, now=NOW)
        assert await shared.quarantined(one, now=NOW) == {"a"}
        await refusal(shared.quarantine("a", b"short", until=NOW, now=NOW), InvalidRequest)
        await refusal(shared.quarantined(b"short", now=NOW), InvalidRequest)

    @promise()
    async def test_quarantine_goes_with_the_entry(self, store: Store) -> None:
        """Deleted or purged, for every question; what belongs to other entries stays."""
        shared = shared_by(store)
        digests = [make_key(f"q{i}").digest for i in range(3)]
        entries = [make_entry("deleted"), make_entry("purged", tags=("t",)), make_entry("stays")]
        for entry in entries:
            await store.put(entry, now=NOW)
            for digest in digests:
                await shared.quarantine(entry.id, digest, until=NOW + 9, now=NOW)
        await store.delete(entries[0].id)
        await store.purge(Selector(tag="t"))
        for digest in digests:
            assert await shared.quarantined(digest, now=NOW) == {entries[2].id}


class SharedStateContract(ClaimContract, StateContract):
    """The promises of ``SharedState``, for a store that need not outlive its process."""


class DurableSharedStateContract(SharedStateContract):
    """What it promises where several processes share the store."""

    def test_it_spans_processes(self, tmp_path: Path) -> None:
        """What one handle does is there for another, and for the next one after both are closed."""

        async def run() -> None:
            one, two = await self.open(tmp_path), await self.open(tmp_path)
            shared, other = shared_by(one), shared_by(two)
            assert shared.spans_processes is True
            claim = await claimed(one)
            assert await other.claim("job", "b", seconds=LONG, now=NOW) is None
            version = await shared.save_state("v", b"value", expected=None)
            assert await other.save_state("v", b"value", expected=None) is None
            await other.append_log("labels", {"a": b"1"})
            await shared.quarantine("a", make_key("q").digest, until=NOW + 9, now=NOW)
            await one.close()
            await two.close()
            three = await self.open(tmp_path)
            shared = shared_by(three)
            assert await shared.claim("job", "b", seconds=LONG, now=NOW) is None
            assert await shared.renew(claim, seconds=LONG, now=NOW) is True
            assert await shared.load_state("v") == Stored(data=b"value", version=version or 0)
            assert [item.data for item in await shared.read_log("labels", after=0, limit=9)] == [b"1"]
            assert await shared.quarantined(make_key("q").digest, now=NOW) == {"a"}
            before, _ = await raised_fence(three)
            await three.close()
            four = await self.open(tmp_path)
            assert await shared_by(four).fence() > before
            await refusal(four.put(make_entry("q"), now=NOW, fence=before), Outdated)
            await four.close()

        asyncio.run(run())
