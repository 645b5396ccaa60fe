"""Any series of operations leaves a store as it leaves the reference, and the reference as it leaves a plain list."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from yamabiko.stores.eviction import payload_bytes
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import make_entry, make_key, make_question, make_scope, unit_vector
from yamabiko.testing.promise import contents, everything, find
from yamabiko.types import Candidate, Reply, Selector, Source, StoreStats

DIM = 8
SCOPES = [make_scope(tenant=tenant, user=user) for tenant, user in (("a", ""), ("a", "u"), ("b", ""))]
SCOPES.append(make_scope(tenant="b", embedder="other"))  # the same keys as in the scope before it
TEXTS = ["q0", "q1", "q2", "問い", "è?"]
VECTORS = [unit_vector(seed, DIM) for seed in range(4)]
VECTORS += [-VECTORS[0], VECTORS[1].copy()]

scopes, texts = st.sampled_from(SCOPES), st.sampled_from(TEXTS)
vectors = st.sampled_from(VECTORS)
vectors_or_none = st.one_of(vectors, st.none())
lives = st.sampled_from([0.0, 1.0, 5.0, *(4 * [float("inf")])])
replies = st.builds(
    Reply,
    text=st.sampled_from(["", "yes", "はい", "no\0"]),
    sources=st.sampled_from([(), ("s1",), ("s1", "s2"), (Source("s1", digest="d1", base="b"), Source("s1", "d2"))]),
    cost_usd=st.sampled_from([0.001, 0.0015]),  # near enough for hits to turn the order
)
marks = st.sampled_from(["", "", "s1", "s2"])
tags = st.sampled_from([(), ("t1",), ("t1", "t2")])
selectors = st.builds(
    lambda source, except_digest, **others: Selector(
        source=source, except_digest=except_digest if source else None, **others
    ),
    id=st.one_of(st.none(), st.sampled_from([make_key(text, scope).hex for text in TEXTS for scope in SCOPES])),
    tag=st.sampled_from([None, "t1", "t2"]),
    tenant=st.sampled_from([None, "a", "b"]),
    user=st.sampled_from([None, "", "u"]),
    source=st.sampled_from([None, "s1", "s2"]),
    except_digest=st.sampled_from([None, "d1", "d2"]),
    base=st.sampled_from([None, None, None, "b"]),
    dead_at=st.sampled_from([None, 0.0, 4.0, 9.0]),
)


class ListStore:
    """As little as can be: the entries in a list, everything else worked out from it each time."""

    def __init__(self):
        self.rows = []

    def _keep(self, entry_id, change):
        self.rows = [change(row) if row.id == entry_id else row for row in self.rows]
        self.rows = [row for row in self.rows if row.questions]

    def _take(self, digests):
        for row in self.rows:
            self._keep(
                row.id, lambda row: replace(row, questions=tuple(q for q in row.questions if q.digest not in digests))
            )

    async def get(self, key):
        found = [
            replace(row, questions=(replace(q, vector=None),))
            for row in self.rows
            for q in row.questions
            if q.digest == key.digest
        ]
        return found[0] if found else None

    async def put(self, entry, *, now):
        new = {question.digest for question in entry.questions}
        same = [row for row in self.rows if row.id == entry.id and row.scope == entry.scope]
        old = [q for row in same for q in row.questions if q.digest not in new]
        self.rows = [row for row in self.rows if row.id != entry.id]
        self._take(new)
        whole = sorted([*old, *entry.questions], key=lambda question: question.digest.hex() != entry.id)
        self.rows.append(replace(entry, questions=tuple(map(self._rounded, whole))))

    async def alias(self, entry_id, question):
        rows = [row for row in self.rows if row.id == entry_id]
        if rows:
            self.rows.remove(rows[0])
            self._take({question.digest})
            await self.put(
                replace(rows[0], questions=(*(q for q in rows[0].questions if q.digest != question.digest), question)),
                now=0.0,
            )
        return bool(rows)

    @staticmethod
    def _rounded(question):
        vector = question.vector
        return question if vector is None else replace(question, vector=vector.astype(np.float16).astype(np.float32))

    async def search(self, scope, vector, *, limit, min_similarity, now):
        best = []
        for row in self.rows:
            with_vectors = [q for q in row.questions if q.vector is not None]
            if row.scope == scope and row.stale_until > now and with_vectors:
                question = max(with_vectors, key=lambda question: question.vector @ vector)
                similarity = min(1.0, max(-1.0, float(question.vector @ vector)))
                best.append(Candidate(entry=replace(row, questions=(question,)), similarity=similarity))
        best.sort(key=lambda candidate: -candidate.similarity)
        return tuple(candidate for candidate in best if candidate.similarity >= min_similarity)[:limit]

    def touch(self, entry_id):
        pass

    async def delete(self, entry_id):
        return await self.purge(Selector(id=entry_id)) > 0

    async def purge(self, selector):
        doomed = [entry.id async for entry in self.entries(selector)]
        self.rows = [row for row in self.rows if row.id not in doomed]
        return len(doomed)

    async def entries(self, selector):
        for row in sorted(self.rows, key=lambda row: row.created):
            named = ((selector.tenant, row.scope.tenant), (selector.user, row.scope.user), (selector.id, row.id))
            made_from = row.reply.sources
            states = {one.digest for one in made_from if one.uri == selector.source} - {selector.except_digest}
            listed = ((selector.tag, row.tags), (selector.base, [one.base for one in made_from]))
            if (
                all(wanted in (None, value) for wanted, value in named)
                and all(wanted is None or wanted in values for wanted, values in listed)
                and (selector.source is None or states)
                and (selector.dead_at is None or row.stale_until <= selector.dead_at)
            ):
                yield row

    async def stats(self):
        asked = [question for row in self.rows for question in row.questions]
        return StoreStats(
            entries=len(self.rows),
            questions=len(asked),
            vectors=sum(question.vector is not None for question in asked),
            scopes=len({row.scope for row in self.rows}),
            payload_bytes=sum(map(payload_bytes, self.rows)),
        )

    async def check(self):
        return ()

    async def close(self):
        pass


async def state(store):
    """What every key gives, and the numbers; a vector in what ``get`` gives is a store's own choice."""
    stats = replace(await store.stats(), file_bytes=0)
    return (
        stats,
        list(await store.check()),
        [await store.get(make_key(text, scope)) for scope in SCOPES for text in TEXTS],
    )


class StoreMachine(RuleBasedStateMachine):
    """Does the same to ``self.store`` and to ``self.oracle``; a subclass says what they are."""

    durable = False
    max_bytes = None

    def open_store(self):
        raise NotImplementedError

    def open_oracle(self):
        return MemoryStore(embedder="fake", dim=DIM, max_bytes=self.max_bytes)

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="yamabiko-machine-"))
        self.now = 0.0
        self.created = 0.0
        self.store, self.oracle = self.open_store(), self.open_oracle()

    def teardown(self):
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def both(self, operation):
        """What the operation gives, which must be the same from both."""
        got, expected = self.runner.run(operation(self.store)), self.runner.run(operation(self.oracle))
        assert got == expected
        return got

    @rule(
        scope=scopes,
        asked=st.lists(texts, min_size=1, max_size=3, unique=True),
        with_vectors=st.lists(vectors_or_none, min_size=3, max_size=3),
        reply=replies,
        tags=tags,
        life=lives,
        without=st.sampled_from([False, False, True]),
        mark=marks,
    )
    def put(self, *, scope, asked, with_vectors, reply, tags, life, without, mark):
        self.created += 1.0
        aliases = [
            make_question(text, scope, vector=vector, signature=mark)
            for text, vector in zip(asked[1:], with_vectors[1:], strict=False)
        ]
        entry = make_entry(
            asked[0],
            reply,
            scope=scope,
            vector=with_vectors[0],
            aliases=aliases,
            created=self.created,
            expires=self.now + life / 2,
            stale_until=self.now + life,
            tags=tags,
            author=mark,
            confirmed=not mark,
            signature=mark,
        )
        entry = replace(entry, questions=(replace(entry.questions[0], signature=mark), *aliases))
        if without and aliases:  # as an entry is exported whose creating question another one has taken
            entry = replace(entry, questions=entry.questions[1:])
        self.both(lambda store: store.put(entry, now=self.now))

    @rule(scope=scopes, text=texts, other=texts, vector=vectors_or_none, mark=marks)
    def alias(self, scope, text, other, vector, mark):
        question = make_question(other, scope, vector=vector, signature=mark)
        self.both(lambda store: store.alias(make_key(text, scope).hex, question))

    @rule(scope=scopes, text=texts)
    def delete(self, scope, text):
        self.both(lambda store: store.delete(make_key(text, scope).hex))

    @rule(selector=selectors)
    def purge(self, selector):
        self.both(lambda store: store.purge(selector))

    @rule(scope=scopes, text=texts)
    def touch(self, scope, text):
        self.store.touch(make_key(text, scope).hex)
        self.oracle.touch(make_key(text, scope).hex)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0]))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self):
        self.runner.run(self.store.close())
        self.store = self.open_store()

    @rule(selector=selectors)
    def list_entries(self, selector):
        got, expected = (
            self.runner.run(everything(self.store, selector)),
            self.runner.run(everything(self.oracle, selector)),
        )
        assert list(map(contents, got)) == list(map(contents, expected))

    @rule(
        scope=scopes,
        query=vectors,
        limit=st.sampled_from([1, 2, 100]),
        min_similarity=st.sampled_from([-1.0, 0.1, 0.5, 0.9]),
    )
    def search(self, scope, query, limit, min_similarity):
        everyone = self.runner.run(find(self.oracle, scope, query, now=self.now))
        expected = [candidate for candidate in everyone if candidate.similarity >= min_similarity][:limit]
        found = self.runner.run(
            find(self.store, scope, query, limit=limit, min_similarity=min_similarity, now=self.now)
        )
        np.testing.assert_allclose([c.similarity for c in found], [c.similarity for c in expected], rtol=0, atol=1e-6)
        known = {question.digest: question.vector for entry in self.listed() for question in entry.questions}
        by_id = {candidate.entry.id: candidate for candidate in everyone}
        assert len({candidate.entry.id for candidate in found}) == len(found)
        for candidate in found:  # among equal similarities the order is free, so each is compared with its own
            twin = by_id[candidate.entry.id]
            assert abs(candidate.similarity - twin.similarity) <= 1e-6
            assert abs(float(known[candidate.question.digest] @ query) - candidate.similarity) <= 1e-6
            assert replace(candidate.entry, questions=()) == replace(twin.entry, questions=())
        for candidate in expected[:1]:  # as the path does with what it serves
            self.store.touch(candidate.entry.id)
            self.oracle.touch(candidate.entry.id)

    @invariant()
    def same_state(self):
        if hasattr(self, "store"):
            self.both(state)

    def listed(self):
        """All entries of the oracle, with their vectors."""
        return self.runner.run(everything(self.oracle))


class MemoryMachine(StoreMachine):
    def open_store(self):
        return MemoryStore(embedder="fake", dim=DIM)

    def open_oracle(self):
        return ListStore()


class SqliteMachine(StoreMachine):
    durable = True

    def open_store(self):
        return SqliteStore(self.folder / "cache.db", embedder="fake", dim=DIM, max_bytes=self.max_bytes)


class BudgetedSqliteMachine(SqliteMachine):
    max_bytes = 1700  # four entries or so: both evict, and the same ones


FEW = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
TestMemoryMachine = MemoryMachine.TestCase
TestSqliteMachine = SqliteMachine.TestCase
TestBudgetedSqliteMachine = BudgetedSqliteMachine.TestCase
TestMemoryMachine.settings = TestSqliteMachine.settings = TestBudgetedSqliteMachine.settings = FEW
