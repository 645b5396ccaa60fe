"""Promises of a store about what it keeps: get, put, alias, what is refused, tasks at the same time, the end."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from yamabiko.errors import InvalidRequest, StoreMismatch, StoreUnavailable
from yamabiko.ports import Store
from yamabiko.testing.builders import make_entry, make_key, make_question, make_scope, tilted, unit_vector
from yamabiko.testing.promise import DIM, Contract, everything, find, promise, refusal
from yamabiko.types import MAX_QUESTIONS, Entry, Reply, Selector, Source, Usage

NORTH = unit_vector(1, DIM)
FULL_REPLY = Reply(
    text="山彦は答える 🏔️\0 voilà\r\n\t「はい」",
    model="claude-haiku",
    finish_reason="stop",
    usage=Usage(input_tokens=12, output_tokens=34, cached_input_tokens=5),
    chunk_lengths=(3, 0, 4),
    tool_calls=('{"名":"f"}', "{}"),
    sources=(
        Source("s3://docs/規約.pdf", digest="d1\0", version="版1", base="KB12345678", labels=("人事", "hr")),
        Source("https://example.org/a?b=c"),
    ),
    latency_seconds=1.25,
    cost_usd=0.1 + 0.2,
    extra='{"id":"x","n":[1,2.5,null],"text":"é\\u0000"}',
)


class EntryContract(Contract):
    """``get``, ``put``, ``alias``, ``stats`` and ``close``."""

    # --- get and put ---------------------------------------------------------------------------------------------

    @promise()
    async def test_every_field_comes_back(self, store: Store) -> None:
        """What is put is what is got, for every field of Entry, Scope, Reply and Usage."""
        scope = make_scope(tenant="山田\0商店", user="ユーザー", model="m/1")
        entry = make_entry(
            "Où est le café ☕?\0 何時？",
            FULL_REPLY,
            scope=scope,
            vector=NORTH,
            created=1_700_000_000.123456,
            expires=1_700_000_600.5,
            stale_until=1_700_000_700.25,
            tags=("faq", "よくある質問", ""),
            author="0f" * 16,
            confirmed=False,
            signature="v1.key-1.MAC_-",
        )
        entry = replace(entry, questions=(replace(entry.questions[0], signature="v1.key-1.question"),))
        await store.put(entry, now=entry.created)
        assert await store.get(make_key(entry.questions[0].text, scope)) == entry
        (listed,) = await everything(store)
        assert listed == entry
        assert listed.questions[0].vector is not None
        assert listed.questions[0].vector.dtype == np.float32
        np.testing.assert_allclose(listed.questions[0].vector, NORTH, atol=1e-3)

    @promise()
    async def test_empty_and_extreme_values_come_back(self, store: Store) -> None:
        """Empty texts and tuples, lives without end, lives long over, and a long answer."""
        entries = [
            make_entry("empty", Reply(text=""), scope=make_scope(tenant="", model="", embedder="")),
            make_entry("", "the empty question"),
            make_entry("for ever", created=0.0, expires=math.inf, stale_until=math.inf),
            make_entry("ancient", created=-1e9, expires=-1e9, stale_until=-1e9),
            make_entry("long", "長い答え。" * 40_000),
            make_entry("many chunks", Reply(text="x" * 5000, chunk_lengths=(1,) * 5000)),
            make_entry("free", Reply(text="a", cost_usd=0.0, latency_seconds=5e-324)),
        ]
        for entry in entries:
            await store.put(entry, now=0.0)
        for entry in entries:
            assert await store.get(make_key(entry.questions[0].text, entry.scope)) == entry

    @promise()
    async def test_get_of_what_was_never_put(self, store: Store) -> None:
        """An unknown key is None, in an empty store and beside others."""
        assert await store.get(make_key("unknown")) is None
        await store.put(make_entry("known"), now=0.0)
        assert await store.get(make_key("unknown")) is None

    @promise()
    async def test_get_gives_the_dead_too(self, store: Store) -> None:
        """``get`` leaves it to the caller to judge a life."""
        await store.put(make_entry("q", expires=1.0, stale_until=2.0), now=5.0)
        assert await store.get(make_key("q")) is not None

    @promise()
    async def test_get_stays_in_its_scope(self, store: Store) -> None:
        """Not even a key with the right digest reaches into another scope."""
        await store.put(make_entry("q", scope=make_scope(tenant="a")), now=0.0)
        stranger = replace(make_key("q", make_scope(tenant="a")), scope=make_scope(tenant="b"))
        assert await store.get(stranger) is None
        assert await store.get(make_key("q", make_scope(tenant="b"))) is None

    @promise()
    async def test_get_asks_for_no_embedder(self, store: Store) -> None:
        """An answer is found by its key whatever embeds questions now, in the scope it was stored in; once."""
        before, after = make_scope(embedder="before"), make_scope(embedder="after")
        entry = make_entry("q", "old", scope=before, vector=NORTH)
        await store.put(entry, now=0.0)
        assert await store.get(make_key("q", after)) == entry
        assert await find(store, after, NORTH) == ()
        await store.put(make_entry("q", "new", scope=after, vector=NORTH), now=0.0)
        assert await find(store, before, NORTH) == ()
        (candidate,) = await find(store, after, NORTH)
        assert candidate.entry.reply.text == "new"
        stats = await store.stats()
        assert (stats.entries, stats.questions, stats.vectors, stats.scopes) == (1, 1, 1, 1)

    @promise()
    async def test_put_again_replaces(self, store: Store) -> None:
        """The same id gets the new reply, life, tags and vector; there is no second row and no old vector."""
        await store.put(make_entry("q", "old", vector=NORTH, created=1.0, expires=2.0, tags=("x",)), now=1.0)
        new = make_entry("q", "new", vector=-NORTH, created=5.0, expires=6.0, stale_until=7.0, tags=("y",))
        await store.put(new, now=5.0)
        assert await store.get(make_key("q")) == new
        stats = await store.stats()
        assert (stats.entries, stats.questions, stats.vectors, stats.scopes) == (1, 1, 1, 1)
        assert await find(store, new.scope, NORTH, min_similarity=0.5) == ()
        assert len(await find(store, new.scope, -NORTH, min_similarity=0.5)) == 1

    @promise()
    async def test_put_again_keeps_other_questions(self, store: Store) -> None:
        """Aliases stay and lead to the new reply."""
        alias = make_question("another way", vector=unit_vector(2, DIM))
        await store.put(make_entry("q", "old", aliases=(alias,)), now=0.0)
        await store.put(make_entry("q", "new", vector=NORTH), now=1.0)
        got = await store.get(make_key("another way"))
        assert got is not None
        assert (got.reply.text, got.questions) == ("new", (alias,))
        (whole,) = await everything(store)
        assert whole.questions == (make_question("q"), alias)

    @promise()
    async def test_a_question_moves(self, store: Store) -> None:
        """A question that belonged to another entry belongs to the new one, its vector too."""
        shared = make_question("shared", vector=NORTH)
        await store.put(make_entry("first", "one", aliases=(shared,)), now=0.0)
        await store.put(make_entry("second", "two", aliases=(shared,)), now=0.0)
        got = await store.get(make_key("shared"))
        assert got is not None
        assert got.reply.text == "two"
        assert [entry.questions for entry in await everything(store)] == [
            (make_question("first"),),
            (make_question("second"), shared),
        ]
        (candidate,) = await find(store, got.scope, NORTH, min_similarity=0.9)
        assert candidate.entry.reply.text == "two"

    @promise()
    async def test_an_entry_left_without_questions_is_gone(self, store: Store) -> None:
        """It is not found, counted or listed any more."""
        first = make_entry("first", vector=NORTH)
        await store.put(first, now=0.0)
        await store.put(make_entry("second", aliases=first.questions), now=0.0)
        assert [entry.id for entry in await everything(store)] == [make_key("second").hex]
        assert (await store.stats()).entries == 1
        assert not await store.alias(first.id, make_question("too late"))
        assert not await store.delete(first.id)

    @promise()
    async def test_a_question_named_twice_counts_once(self, store: Store) -> None:
        """The last one is kept."""
        twice = (make_question("alias"), make_question("alias", vector=NORTH))
        await store.put(make_entry("q", aliases=twice), now=0.0)
        (entry,) = await everything(store)
        assert [question.text for question in entry.questions] == ["q", "alias"]
        stats = await store.stats()
        assert (stats.questions, stats.vectors) == (2, 1)

    @promise()
    async def test_put_never_leaves_too_many_questions(self, store: Store) -> None:
        """Beyond ``MAX_QUESTIONS`` a put is refused; where old and new add up to more, the new ones stay."""
        many = tuple(make_question(f"alias {i}") for i in range(MAX_QUESTIONS))
        assert "questions" in await refusal(store.put(make_entry("q", aliases=many), now=0.0), InvalidRequest)
        await store.put(make_entry("q", aliases=many[:-1]), now=0.0)
        newcomer = make_question("newcomer")
        await store.put(make_entry("q", "new", aliases=(newcomer,)), now=0.0)
        (whole,) = await everything(store)
        assert len(whole.questions) == MAX_QUESTIONS
        assert whole.questions[0] == make_question("q")
        assert newcomer in whole.questions

    @promise()
    async def test_an_id_never_carries_questions_into_another_scope(self, store: Store) -> None:
        """Whatever happens to the id: what was asked in one scope is not answered from another."""
        here, there = make_scope(tenant="here"), make_scope(tenant="there")
        entry = make_entry("q", "for here", scope=here, vector=NORTH)
        await store.put(entry, now=0.0)
        assert len(await find(store, here, NORTH)) == 1
        moved = replace(make_entry("q", "for there", scope=there, vector=NORTH), id=entry.id)
        try:
            await store.put(moved, now=0.0)
        except InvalidRequest:
            return
        got = await store.get(make_key("q", here))
        assert got is None or got.reply.text == "for here"
        assert all(candidate.entry.reply.text == "for here" for candidate in await find(store, here, NORTH))
        assert all(candidate.entry.reply.text == "for there" for candidate in await find(store, there, NORTH))
        for whole in await everything(store):
            assert whole.questions == (make_question("q", whole.scope),)

    # --- alias ---------------------------------------------------------------------------------------------------

    @promise()
    async def test_an_alias_is_found_by_key_and_by_meaning(self, store: Store) -> None:
        """``get`` and ``search`` name the question that matched."""
        entry = make_entry("q", vector=NORTH)
        alias = make_question("別の聞き方", vector=-NORTH)
        await store.put(entry, now=0.0)
        assert await store.alias(entry.id, alias) is True
        got = await store.get(make_key("別の聞き方"))
        assert got == replace(entry, questions=(alias,))
        (candidate,) = await find(store, entry.scope, -NORTH, min_similarity=0.9)
        assert candidate.question == alias

    @promise()
    async def test_alias_of_what_is_gone(self, store: Store) -> None:
        """False, and nothing is stored."""
        entry = make_entry("q")
        assert await store.alias(entry.id, make_question("a", vector=NORTH)) is False
        await store.put(entry, now=0.0)
        await store.delete(entry.id)
        assert await store.alias(entry.id, make_question("a", vector=NORTH)) is False
        assert await store.get(make_key("a")) is None
        assert await find(store, entry.scope, NORTH) == ()

    @promise()
    async def test_alias_stops_at_the_limit(self, store: Store) -> None:
        """False from ``MAX_QUESTIONS`` on; a question that is there already may still be said again."""
        entry = make_entry("q")
        await store.put(entry, now=0.0)
        added = [await store.alias(entry.id, make_question(f"alias {i}")) for i in range(MAX_QUESTIONS + 1)]
        assert added == [True] * (MAX_QUESTIONS - 1) + [False] * 2
        assert await store.get(make_key(f"alias {MAX_QUESTIONS}")) is None
        assert await store.alias(entry.id, make_question("alias 0", vector=NORTH)) is True
        stats = await store.stats()
        assert (stats.questions, stats.vectors) == (MAX_QUESTIONS, 1)

    @promise()
    async def test_alias_takes_a_question_from_another_entry(self, store: Store) -> None:
        """A question has one answer: the one it was given last."""
        entries = make_entry("a", "one"), make_entry("b", "two")
        for entry in entries:
            await store.put(entry, now=0.0)
        assert await store.alias(entries[1].id, make_question("a")) is True
        got = await store.get(make_key("a"))
        assert got is not None
        assert got.reply.text == "two"
        assert (await store.stats()).entries == 1

    # --- what is refused -----------------------------------------------------------------------------------------

    @promise()
    async def test_vectors_that_can_not_be_compared_are_refused(self, store: Store) -> None:
        """Of put, alias and search: another dimension, zero, NaN, inf, not normalised. Nothing is stored."""
        known = make_entry("known", vector=NORTH)
        await store.put(known, now=0.0)
        bad = np.ones(self.dim + 1, dtype=np.float32) / math.sqrt(self.dim + 1)
        wrong = [bad, *(np.full(self.dim, x, dtype=np.float32) for x in (0.0, math.nan, math.inf, 1.0))]
        for vector in wrong:
            kind = StoreMismatch if len(vector) != self.dim else InvalidRequest
            attempts = (
                store.put(make_entry("q", vector=vector), now=0.0),
                store.put(make_entry("known", "changed", aliases=(make_question("q", vector=vector),)), now=0.0),
                store.alias(known.id, make_question("q", vector=vector)),
                find(store, known.scope, vector),
            )
            for attempt in attempts:
                assert "vector" in await refusal(attempt, kind)
        assert await everything(store) == [known]
        assert await store.get(make_key("q")) is None

    @promise()
    async def test_text_that_no_encoding_can_write_is_refused(self, store: Store) -> None:
        """Half a surrogate pair is InvalidRequest, without the text in the message. Nothing is stored."""
        half = "secret \ud83c"
        broken: list[Entry] = [
            replace(make_entry("q"), questions=(replace(make_question("q"), text=half),)),
            make_entry("q", half),
            make_entry("q", Reply(text="a", extra=half)),
            make_entry("q", tags=(half,)),
            make_entry("q", author=half),
            make_entry("q", signature=half),
            make_entry("q", aliases=(make_question("alias", signature=half),)),
        ]
        for entry in broken:
            assert "secret" not in await refusal(store.put(entry, now=0.0), InvalidRequest)
        await refusal(store.put(replace(make_entry("q"), questions=()), now=0.0), InvalidRequest)
        assert (await store.stats()).entries == 0

    # --- concurrency ---------------------------------------------------------------------------------------------

    @promise()
    async def test_simultaneous_puts_of_one_id_leave_one_entry(self, store: Store) -> None:
        """One whole entry of those that were put."""
        puts = [make_entry("q", f"reply {i}", vector=NORTH, created=float(i), tags=(str(i),)) for i in range(40)]
        await asyncio.gather(*(store.put(entry, now=0.0) for entry in puts))
        stats = await store.stats()
        assert (stats.entries, stats.questions, stats.vectors) == (1, 1, 1)
        assert await store.get(make_key("q")) in puts

    @promise()
    async def test_simultaneous_puts_of_many_ids_all_arrive(self, store: Store) -> None:
        """Reads in between see whole entries or none."""
        puts = [make_entry(f"q{i}", f"reply {i}", vector=unit_vector(i, DIM)) for i in range(60)]
        reads = [store.get(make_key(f"q{i}")) for i in range(60)]
        results = await asyncio.gather(*(store.put(entry, now=0.0) for entry in puts), *reads)
        assert all(got is None or got in puts for got in results)
        assert {entry.id for entry in await everything(store)} == {entry.id for entry in puts}

    @promise()
    async def test_a_cancelled_put_is_all_or_nothing(self, store: Store) -> None:
        """It holds no lock, and never overwrites what is put after it."""
        for steps in range(6):
            text = f"q{steps}"
            aliases = (make_question(f"{text} alias", vector=tilted(NORTH, 0.5)),)
            first = make_entry(text, "first", vector=NORTH, aliases=aliases)
            task = asyncio.create_task(store.put(first, now=0.0))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            stored = [entry for entry in await everything(store) if entry.id == first.id]
            assert stored in ([], [first])
            second = make_entry(text, "second", vector=NORTH, aliases=aliases)
            await store.put(second, now=0.0)
            assert [entry for entry in await everything(store) if entry.id == first.id] == [second]

    @promise()
    async def test_other_cancelled_calls_leave_the_store_usable(self, store: Store) -> None:
        """Whichever call is given up, and however far it had come: the next one works."""
        entry = make_entry("q", vector=NORTH)
        await store.put(entry, now=0.0)
        for steps in range(4):
            calls = (
                store.get(make_key("q")),
                find(store, entry.scope, NORTH),
                store.alias(entry.id, make_question("alias", vector=-NORTH)),
                store.delete("0" * 64),
                store.purge(Selector(tag="no such tag")),
                everything(store),
                store.stats(),
                store.check(),
            )
            for call in calls:
                task = asyncio.ensure_future(call)
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await store.get(make_key("q")) == entry
                assert len(await find(store, entry.scope, NORTH, min_similarity=0.9)) == 1
        assert await store.delete(entry.id) is True
        assert await everything(store) == []

    # --- the end -------------------------------------------------------------------------------------------------

    @promise()
    async def test_stats_count(self, store: Store) -> None:
        """Entries, questions, vectors and scopes, dead ones included; bytes grow and shrink with them."""
        empty = await store.stats()
        assert (empty.entries, empty.questions, empty.vectors, empty.scopes, empty.payload_bytes) == (0, 0, 0, 0, 0)
        alias = make_question("alias", make_scope(tenant="a"))
        await store.put(make_entry("q", scope=make_scope(tenant="a"), vector=NORTH, aliases=(alias,)), now=0.0)
        await store.put(make_entry("q", scope=make_scope(tenant="b"), vector=NORTH, stale_until=0.0), now=0.0)
        await store.put(make_entry("r", "x" * 10_000, scope=make_scope(tenant="b")), now=0.0)
        stats = await store.stats()
        assert (stats.entries, stats.questions, stats.vectors, stats.scopes) == (3, 4, 2, 2)
        assert 10_000 < stats.payload_bytes < 15_000
        await store.purge(Selector())
        assert (await store.stats()).payload_bytes == 0

    def test_close_twice(self, tmp_path: Path) -> None:
        """A closed store says so; ``touch`` still never fails."""

        async def run() -> None:
            store = await self.open(tmp_path)
            await store.put(make_entry("q", vector=NORTH), now=0.0)
            await store.close()
            await store.close()
            store.touch(make_key("q").hex)
            for attempt in (
                store.get(make_key("q")),
                store.put(make_entry("q"), now=0.0),
                find(store, make_scope(), NORTH),
                store.stats(),
            ):
                assert "closed" in await refusal(attempt, StoreUnavailable)

        asyncio.run(run())
