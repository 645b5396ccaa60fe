"""Promises of a store about meaning: the scope is a wall, similarities are cosines, the dead are never found."""

from __future__ import annotations

import numpy as np

from yamabiko.ports import Store
from yamabiko.testing.builders import make_entry, make_question, make_scope, tilted, unit_vector
from yamabiko.testing.promise import DIM, Contract, everything, find, promise
from yamabiko.types import Scope, Vector

NORTH = unit_vector(1, DIM)
ROUNDING = 2e-3
"""How far a similarity may be from the cosine of the vectors as they were given: stores keep float16."""


class SearchContract(Contract):
    """``search``."""

    @promise()
    async def test_never_a_candidate_of_another_scope(self, store: Store) -> None:
        """Tenants, users, models and embedders that all ask the same things, in the same words."""
        scopes = [
            make_scope(tenant=tenant, user=user, model=model, embedder=embedder)
            for tenant in ("acme", "acme2", "")
            for user in ("", "u1", "u2")
            for model in ("m1", "m2")
            for embedder in ("fake", "other")
        ]
        for scope in scopes:
            for i in range(3):
                text = f"q{i}, embedded by {scope.embedder}"  # whose very same question would be the same entry
                await store.put(make_entry(text, repr(scope), scope=scope, vector=unit_vector(i, DIM)), now=0.0)
        for scope in scopes:
            for i in range(4):
                candidates = await find(store, scope, unit_vector(i, DIM))
                assert len(candidates) == 3
                assert {candidate.entry.scope for candidate in candidates} == {scope}
                assert {candidate.entry.reply.text for candidate in candidates} == {repr(scope)}
        assert await find(store, make_scope(tenant="acme3"), NORTH) == ()
        assert await find(store, make_scope(tenant="ACME"), NORTH) == ()

    @promise()
    async def test_exact_cosines_best_first(self, store: Store) -> None:
        """Against NumPy, for 300 entries of one scope and 20 queries, at several bounds and limits."""
        scope, vectors = make_scope(), np.stack([unit_vector(i, DIM) for i in range(300)])
        for i, vector in enumerate(vectors):
            await store.put(make_entry(f"q{i}", scope=scope, vector=vector), now=0.0)
        for seed in range(1000, 1020):
            query = unit_vector(seed, DIM)
            cosines = vectors @ query
            for min_similarity in (-1.0, 0.0, 0.5, 0.8):
                for limit in (1, 7, 300):
                    found = await find(store, scope, query, limit=limit, min_similarity=min_similarity)
                    assert len(found) <= limit
                    similarities = [candidate.similarity for candidate in found]
                    assert similarities == sorted(similarities, reverse=True)
                    assert all(similarity >= min_similarity for similarity in similarities)
                    for candidate in found:
                        exact = cosines[int(candidate.question.text[1:])]
                        assert abs(candidate.similarity - exact) <= ROUNDING
                    at_least = min(limit, int(np.sum(cosines >= min_similarity + ROUNDING)))
                    at_most = min(limit, int(np.sum(cosines >= min_similarity - ROUNDING)))
                    assert at_least <= len(found) <= at_most

    @promise()
    async def test_similarities_stay_between_minus_one_and_one(self, store: Store) -> None:
        """Rounding does not lead out of the range of a cosine."""
        scope, vectors = make_scope(), [unit_vector(i, DIM) for i in range(40)]
        for i, vector in enumerate(vectors):
            await store.put(make_entry(f"q{i}", scope=scope, vector=vector), now=0.0)
        for vector in vectors:
            for query in (vector, -vector):
                found = await find(store, scope, query)
                assert len(found) == 40
                assert all(-1.0 <= candidate.similarity <= 1.0 for candidate in found)
            assert found[-1].similarity < -1.0 + ROUNDING

    @promise()
    async def test_an_entry_appears_once_with_its_best_question(self, store: Store) -> None:
        """However many of its questions are near; they don't crowd others out of the limit."""
        scope = make_scope()
        near = tuple(make_question(f"a{i}", scope, vector=tilted(NORTH, 0.9 + i / 100)) for i in range(8))
        await store.put(make_entry("q", scope=scope, vector=tilted(NORTH, 0.7), aliases=near), now=0.0)
        await store.put(make_entry("other", scope=scope, vector=tilted(NORTH, 0.6)), now=0.0)
        found = await find(store, scope, NORTH, limit=2, min_similarity=0.5)
        assert [candidate.question.text for candidate in found] == ["a7", "other"]
        assert abs(found[0].similarity - 0.97) <= ROUNDING
        assert len(found[0].entry.questions) == 1

    @promise()
    async def test_candidates_are_whole_entries(self, store: Store) -> None:
        """A candidate's entry is the one that was put."""
        entry = make_entry("q", "返事", vector=NORTH, created=1.0, expires=20.0, stale_until=30.0, tags=("t",))
        await store.put(entry, now=1.0)
        (candidate,) = await find(store, entry.scope, NORTH, now=1.0)
        assert candidate.entry == entry

    @promise()
    async def test_the_dead_are_never_found_and_the_stale_are(self, store: Store) -> None:
        """An entry is usable up to ``stale_until`` and not at it; the dead don't use up the limit."""
        entries = [
            make_entry(f"q{life}", vector=tilted(NORTH, 1.0 - life / 100), expires=life / 2, stale_until=float(life))
            for life in range(1, 30)
        ]
        for entry in entries:
            await store.put(entry, now=0.0)
        for now in (0.0, 0.999, 1.0, 13.5, 28.0, 29.0, 1e12):
            usable = [entry.id for entry in entries if entry.stale_until > now]
            for limit in (1, 3, 100):
                found = await find(store, make_scope(), NORTH, limit=limit, now=now)
                assert [candidate.entry.id for candidate in found] == usable[:limit]

    @promise()
    async def test_questions_without_a_vector_are_exact_only(self, store: Store) -> None:
        """They are never candidates, alone or beside a question with one."""
        await store.put(make_entry("exact only"), now=0.0)
        assert await find(store, make_scope(), NORTH) == ()
        await store.put(make_entry("both", vector=NORTH, aliases=(make_question("exact alias"),)), now=0.0)
        found = await find(store, make_scope(), NORTH)
        assert [candidate.question.text for candidate in found] == ["both"]
        await store.put(make_entry("both"), now=0.0)  # stored again without a vector: the old one is gone
        assert await find(store, make_scope(), NORTH) == ()

    @promise()
    async def test_search_follows_every_change_at_once(self, store: Store) -> None:
        """Puts, aliases, deletes and purges between searches of the same scope."""
        scope = make_scope()

        async def names(vector: Vector, of: Scope = scope) -> set[str]:
            return {candidate.question.text for candidate in await find(store, of, vector, min_similarity=0.9)}

        assert await names(NORTH) == set()
        for i in range(20):
            entry = make_entry(f"q{i}", scope=scope, vector=NORTH, tags=(f"t{i % 2}",))
            await store.put(entry, now=0.0)
            assert f"q{i}" in await names(NORTH)
            assert await store.alias(entry.id, make_question(f"a{i}", scope, vector=-NORTH))
            assert f"a{i}" in await names(-NORTH)
            if i % 5 == 4:
                await store.delete(entry.id)
                assert f"q{i}" not in await names(NORTH)
                assert f"a{i}" not in await names(-NORTH)
        assert len(await names(NORTH)) == 16

    @promise()
    async def test_vectors_are_not_shared_with_the_caller(self, store: Store) -> None:
        """Who changes a vector after a put, or one that ``entries`` gave, does not reach the store."""
        query = NORTH.copy()
        await store.put(make_entry("q", vector=query), now=0.0)
        query *= -1.0
        (entry,) = await everything(store)
        assert entry.questions[0].vector is not None
        if entry.questions[0].vector.flags.writeable:
            entry.questions[0].vector[:] = 0.0
        query = NORTH.copy()
        assert len(await find(store, make_scope(), query, min_similarity=0.9)) == 1
        assert np.array_equal(query, NORTH)
