"""A document changes: what was made from it is gone, and nothing else; who may read it is part of the question."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamabiko import Hit, Miss, Policy, Reply, Request, Settings, open_cache, open_sync_cache
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Selector, Source

RULE, RULE_JA = "s3://handbook/refunds.md", "s3://規約/返品.pdf"
REFUNDS, JAPANESE, OTHER = "How long do refunds take?", "返品は何日以内ですか", "Where is the office?"
KEYS = "k1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/cache.db"


def cache_at(url, **options):
    return open_cache(url, embedder=FakeEmbedder(), policy=Policy(max_error_rate=None, min_similarity=0.9), **options)


async def told(cache, question, text, *sources):
    async def generate(_):
        return Reply(text=text, sources=sources)

    reply = await cache.answer(question, generate)
    await cache.drain()
    return reply.text


async def known(cache, question):
    found = await cache.lookup(question)
    return found.reply.text if isinstance(found, Hit) else None


def test_exactly_what_was_made_from_another_state_goes(url):
    async def run():
        async with cache_at(url) as cache:
            await told(cache, REFUNDS, "ten days", Source(RULE, digest="v1"))
            await told(cache, JAPANESE, "十日です", Source(RULE_JA, digest="v1"), Source(RULE, digest="v2"))
            await told(cache, OTHER, "In Kyoto", "s3://handbook/office.md")
            assert await cache.invalidate(RULE, digest="v2") == 1
            assert [await known(cache, one) for one in (REFUNDS, JAPANESE, OTHER)] == [None, "十日です", "In Kyoto"]
            assert await cache.invalidate(source=RULE_JA) == 1
            assert await known(cache, JAPANESE) is None
            assert await cache.invalidate(RULE) == 0

    asyncio.run(run())


def test_a_whole_knowledge_base_goes(url):
    async def run():
        async with cache_at(url) as cache:
            await told(cache, REFUNDS, "ten days", Source(RULE, base="KB1"))
            await told(cache, JAPANESE, "十日です", Source(RULE_JA, base="KB2"))
            assert await cache.invalidate(base="KB1") == 1
            assert (await known(cache, REFUNDS), await known(cache, JAPANESE)) == (None, "十日です")

    asyncio.run(run())


@pytest.mark.parametrize("mode", ["remove", "recheck"])
def test_what_is_being_made_of_the_old_state_is_not_stored_and_nothing_else_is_lost(url, mode):
    async def run():
        async with cache_at(url) as cache:
            old, present, other = [await cache.lookup(one) for one in (REFUNDS, JAPANESE, OTHER)]
            await cache.invalidate(RULE, digest="v2", mode=mode)
            assert await cache.remember(old, Reply(text="ten days", sources=(Source(RULE, digest="v1"),))) is None
            assert await cache.remember(present, Reply(text="二十日", sources=(Source(RULE, digest="v2"),)))
            assert await cache.remember(other, "In Kyoto")

    asyncio.run(run())


def test_who_asks_after_another_process_s_invalidation_joins_no_generation_of_before(tmp_path):
    async def run():
        url, begun, go = f"sqlite:///{tmp_path}/cache.db", asyncio.Event(), asyncio.Event()

        async def old(_):
            begun.set()
            await go.wait()
            return Reply(text="ten days", sources=(Source(RULE, digest="v1"),))

        async def new(_):
            return Reply(text="twenty days", sources=(Source(RULE, digest="v2"),))

        async with cache_at(url) as cache, cache_at(url) as other:
            before = asyncio.create_task(cache.answer(REFUNDS, old))
            await begun.wait()
            await other.invalidate(RULE, digest="v2")
            after = asyncio.create_task(cache.answer(REFUNDS, new))
            await asyncio.sleep(0)
            go.set()
            assert [(await one).text for one in (before, after)] == ["ten days", "twenty days"]
            await cache.drain()
            assert await known(other, REFUNDS) == "twenty days"

    asyncio.run(run())


@pytest.mark.parametrize("signing_keys", ["", KEYS])
def test_a_rechecked_answer_is_out_of_sight_until_a_new_one_is_the_same(url, signing_keys):
    async def run():
        async with cache_at(url, settings=Settings(signing_keys=signing_keys)) as cache:
            await told(cache, "how long do refunds take", "ten days", Source(RULE, digest="v1"))
            await told(cache, OTHER, "In Kyoto", "s3://office")
            assert await cache.invalidate(RULE, digest="v2", mode="recheck") == 1
            assert await cache.invalidate(RULE, digest="v2", mode="recheck") == 0
            assert await known(cache, "how long do refunds take") is None
            assert await known(cache, "refunds how long do take") is None
            assert await known(cache, OTHER) == "In Kyoto"
            again = Source(RULE, digest="v2")
            assert await told(cache, "refunds how long do take", "ten days", again) == "ten days"
            assert await known(cache, "how long do refunds take") == "ten days"
            assert await cache.invalidate(RULE, digest="v2") == 0
            assert await cache.invalidate(RULE, digest="v3", mode="recheck") == 2
            await told(cache, "how long do refunds take", "twenty days", Source(RULE, digest="v3"))
            assert await known(cache, "how long do refunds take") == "twenty days"

    asyncio.run(run())


def test_the_same_from_synchronous_code():
    with open_sync_cache("memory://", embedder="none") as cache:
        cache.answer(REFUNDS, lambda _: Reply(text="ten days", sources=(Source(RULE),)))
        cache.drain()
        assert cache.invalidate(RULE, mode="recheck") == 1
        assert isinstance(cache.lookup(REFUNDS), Miss)
        assert cache.invalidate(source=RULE) == 1


def test_what_says_nothing_is_refused():
    async def run():
        async with cache_at("memory://") as cache:
            with pytest.raises(ConfigurationError, match="source="):
                await cache.invalidate()
            with pytest.raises(ConfigurationError, match="remove, recheck"):
                await cache.invalidate(RULE, mode="forget")

    asyncio.run(run())
    for wrong in ({"uri": ""}, {"uri": 1}, {"uri": "u", "digest": None}, {"uri": "u", "labels": "hr"}):
        with pytest.raises(InvalidRequest):
            Source(**wrong)
    for wrong in ({"except_digest": "d"}, {"source": "u", "except_digest": ""}):
        with pytest.raises(InvalidRequest):
            Selector(**wrong)
    for held in ("hr", [""], [1]):
        with pytest.raises(InvalidRequest):
            Request("q", permissions=held)


labels = st.lists(st.sampled_from(["hr", "人事", "hrhr", "h", "r", "2:hr"]), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=6))
def test_nobody_is_served_what_was_made_under_other_permissions(askers):
    async def run():
        async with cache_at("memory://") as cache:
            made = {}
            for number, (held, needed) in enumerate(askers):

                async def generate(request, number=number, needed=needed):
                    made[str(number)] = (request.permissions, set(needed))
                    return Reply(text=str(number), sources=(Source(RULE, labels=tuple(needed)),))

                request = Request(REFUNDS, permissions=held)
                reply = await cache.answer(request, generate)
                await cache.drain()
                by, needs = made[reply.text]
                assert by == request.permissions == tuple(sorted(set(held)))
                if needs - set(held):  # the model said what it should not have: to this caller, and to nobody after
                    assert reply.text == str(number)
                    assert isinstance(await cache.lookup(request), Miss)

    asyncio.run(run())


def test_permissions_stand_in_no_repr():
    assert "secret" not in repr(Request("q", permissions=["secret"])) + repr(Source("u", labels=("secret",)))
