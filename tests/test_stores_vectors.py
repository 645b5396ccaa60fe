"""The vector index against exact NumPy."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from yamabiko.errors import ConfigurationError, MissingExtra, StoreMismatch
from yamabiko.stores.signcodes import hamming_bound, widen
from yamabiko.stores.vectors import CHUNK_ROWS, EXACT_COMPONENTS, MAX_DIM, VectorIndex, cosines

ACCELERATORS = ["numpy", "faiss"]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def isotropic(random, n, dim):
    return unit(random.standard_normal((n, dim)))


def cone(random, n, dim):
    """Two vectors have cosine 0.75 on average, as with many real embedders."""
    return unit(np.sqrt(0.75) * isotropic(random, 1, dim) + 0.5 * isotropic(random, n, dim))


def clumps(random, n, dim):
    """Near-duplicates, some of them equal."""
    centres = isotropic(random, max(1, n // 40), dim)
    spread = random.choice([0.0, 0.05, 0.3, 0.6], size=(n, 1))
    return unit(centres[random.integers(0, len(centres), n)] + spread * isotropic(random, n, dim))


def lopsided(random, n, dim):
    """A tenth of the components carry nearly all of the length."""
    weights = np.where(np.arange(dim) < max(1, dim // 10), 1.0, 0.03)
    return unit(random.standard_normal((n, dim)) * weights)


SHAPES = [isotropic, cone, clumps, lopsided]


def near(random, rows, count):
    """Queries at all cosines from what is stored, and some that are stored themselves."""
    chosen = widen(rows[random.integers(0, len(rows), count)])
    away = random.choice([0.0, 0.1, 0.3, 0.5, 0.8, 2.0], size=(count, 1))
    return unit(chosen + away * isotropic(random, count, rows.shape[1]))


def assert_exact(index, ids, rows, queries, *, limits=(1, 5), floors=(0.95, 0.85, 0.75)):
    """The index gives, to the last bit, what the definition gives."""
    truth = rows.astype(np.float32)
    for query in queries:
        similarities = cosines(truth, query)
        order = np.lexsort((ids, -similarities))
        for limit in limits:
            for floor in floors:
                best = order[: np.count_nonzero(similarities.astype(np.float64) >= floor)][:limit]
                found, found_similarities = index.search(query, limit=limit, min_similarity=floor)
                assert found.tolist() == ids[best].tolist()
                assert found_similarities.tolist() == similarities[best].tolist()


def filled(rows, ids, *, accelerator="numpy", batch=4_000):
    index = VectorIndex(rows.shape[1], accelerator=accelerator)
    for start in range(0, len(rows), batch):
        index.add(ids[start : start + batch], rows[start : start + batch])
    return index


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_index_finds_exactly_what_numpy_finds(shape, accelerator):
    random = np.random.default_rng(11)
    rows = shape(random, CHUNK_ROWS + 5_000, 128).astype(np.float16)
    ids = random.permutation(10 * len(rows))[: len(rows)]
    index = filled(rows, ids, accelerator=accelerator)
    assert len(index) == len(rows)
    assert_exact(index, ids, rows, near(random, rows, 30))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_small_and_large_agree_around_the_crossover(shape, extra):
    random = np.random.default_rng(5)
    count = EXACT_COMPONENTS // 384 + extra
    rows = shape(random, count, 384).astype(np.float16)
    ids = np.arange(count)
    queries = near(random, rows, 10)
    one_by_one = filled(rows[:-3], ids[:-3])
    for row in range(count - 3, count):
        one_by_one.add(ids[row : row + 1], rows[row : row + 1])
    assert_exact(one_by_one, ids, rows, queries)
    assert_exact(filled(rows, ids, batch=count), ids, rows, queries)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dim=st.sampled_from([1, 2, 3, 63, 64, 65, 100, 384, 1_024]),
    count=st.one_of(st.integers(0, 200), st.sampled_from([3_000, 7_000])),
    shape=st.sampled_from(SHAPES),
    limit=st.sampled_from([1, 2, 10, 100_000]),
    floor=st.floats(-1.0, 1.0),
    seed=st.integers(0, 2**16),
)
def test_any_size_any_dimension_any_floor(*, dim, count, shape, limit, floor, seed):
    random = np.random.default_rng(seed)
    rows = shape(random, count, dim).astype(np.float16)
    ids = random.permutation(2 * count + 1)[:count]
    index = filled(rows, ids, batch=1 + count // 2)
    queries = near(random, rows, 2) if count else isotropic(random, 2, dim)
    assert_exact(index, ids, rows, queries, limits=(limit,), floors=(floor, 0.9))


def test_vectors_nearer_to_the_centre_than_the_query_are_not_lost():
    """Seen from the centre they lie at the widest angle that their cosine with the query allows."""
    random = np.random.default_rng(4)
    axes = np.linalg.qr(random.standard_normal((256, 256)))[0]
    common, side, others = axes[0], axes[1], axes[2:]

    def at(radius, cosine, away):
        outwards = cosine * side + np.sqrt(1 - cosine**2) * away
        return np.sqrt(1 - radius**2) * common + radius * outwards

    query = at(0.46, 1.0, 0.0).astype(np.float32)
    close = at(0.11, 0.35, unit(random.standard_normal((4_000, 254))) @ others)
    far = at(0.11, -0.35, unit(random.standard_normal((4_000, 254))) @ others)
    rows = unit(np.concatenate([close, far])).astype(np.float16)
    floor = float(np.quantile(cosines(widen(rows[:4_000]), query), 0.01))
    assert 0.89 < floor < 0.91
    assert_exact(filled(rows, np.arange(8_000)), np.arange(8_000), rows, [query], limits=(10_000,), floors=(floor,))


@pytest.mark.parametrize("count", [50, CHUNK_ROWS + 50])
def test_floor_minus_one_and_a_large_limit_return_everything(count):
    random = np.random.default_rng(2)
    rows = isotropic(random, count, 200).astype(np.float16)
    index = filled(rows, np.arange(count))
    found, similarities = index.search(isotropic(random, 1, 200)[0], limit=10 * count, min_similarity=-1.0)
    assert sorted(found.tolist()) == list(range(count))
    assert (np.diff(similarities) <= 0).all()


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_equal_vectors_come_in_the_order_of_their_ids(accelerator):
    random = np.random.default_rng(3)
    others = isotropic(random, 9_000, 384).astype(np.float16)
    same = np.repeat(others[:1], 1_000, axis=0)
    ids = random.permutation(10_000)
    index = filled(np.concatenate([others, same]), ids, accelerator=accelerator)
    found, similarities = index.search(widen(others[:1])[0], limit=7, min_similarity=0.99)
    assert found.tolist() == sorted([ids[0], *ids[9_000:]])[:7]
    assert len(set(similarities.tolist())) == 1


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_churn_leaves_nothing_behind_and_loses_nothing(accelerator):
    random = np.random.default_rng(7)
    live = {}
    index = VectorIndex(96, accelerator=accelerator)
    serial = 0
    for _ in range(5):
        rows = clumps(random, 9_000, 96).astype(np.float16)
        ids = np.arange(serial, serial + len(rows))
        serial += len(rows)
        index.add(ids, rows)
        live.update(zip(ids.tolist(), rows, strict=True))
        gone = random.choice(np.array(sorted(live)), size=len(live) // 2, replace=False)
        index.remove(np.concatenate([gone, [serial + 1, -1]]))
        for one in gone.tolist():
            del live[one]
        assert len(index) == len(live)
    kept_ids, kept_rows = np.array(list(live)), np.stack(list(live.values()))
    assert_exact(index, kept_ids, kept_rows, near(random, kept_rows, 40))
    per_row = 96 * 2 + 48 + 8 + (32 if accelerator == "faiss" else 0)
    assert index.nbytes <= 2.5 * per_row * len(live) + CHUNK_ROWS * per_row
    index.remove(kept_ids)
    assert len(index) == 0
    assert index.nbytes == 0
    index.add(kept_ids[:10], kept_rows[:10])
    assert_exact(index, kept_ids[:10], kept_rows[:10], near(random, kept_rows[:10], 5))


def test_an_id_may_come_back_with_another_vector():
    random = np.random.default_rng(9)
    rows = isotropic(random, 8_000, 384).astype(np.float16)
    index = filled(rows, np.arange(8_000))
    index.remove(np.array([42]))
    found, _ = index.search(widen(rows[42:43])[0], limit=3, min_similarity=0.9)
    assert found.tolist() == []
    new = isotropic(random, 1, 384).astype(np.float16)
    index.add(np.array([42]), new)
    found, _ = index.search(widen(new)[0], limit=3, min_similarity=0.9)
    assert found.tolist() == [42]
    found, _ = index.search(widen(rows[42:43])[0], limit=3, min_similarity=0.9)
    assert found.tolist() == []


class IndexMachine(RuleBasedStateMachine):
    """Any order of additions and removals, small and large, against a dict."""

    @initialize(dim=st.sampled_from([2, 30, 700]), shape=st.sampled_from(SHAPES), seed=st.integers(0, 999))
    def begin(self, dim, shape, seed):
        self.random = np.random.default_rng(seed)
        self.dim, self.shape = dim, shape
        self.live = {}
        self.serial = 0
        self.index = VectorIndex(dim)

    @rule(count=st.sampled_from([1, 2, 64, 65, 700, 3_000]))
    def add(self, count):
        rows = self.shape(self.random, count, self.dim).astype(np.float16)
        ids = np.arange(self.serial, self.serial + count)
        self.serial += count
        self.index.add(ids, rows)
        self.live.update(zip(ids.tolist(), rows, strict=True))

    @precondition(lambda self: self.live)
    @rule(share=st.sampled_from([0.0, 0.2, 0.6, 1.0]), oldest=st.booleans())
    def remove(self, share, oldest):
        count = max(1, int(share * len(self.live)))
        ids = np.array(list(self.live))
        gone = ids[:count] if oldest else self.random.choice(ids, size=count, replace=False)
        self.index.remove(gone)
        for one in gone.tolist():
            del self.live[one]

    @invariant()
    def agrees(self):
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.live)
        if self.live:
            ids, rows = np.array(list(self.live)), np.stack(list(self.live.values()))
            assert_exact(self.index, ids, rows, near(self.random, rows, 1), limits=(3,), floors=(0.9, 0.5))


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_readers_beside_a_writer_never_see_a_wrong_similarity(accelerator):
    """Each id always carries the same vector here, so every answer can be checked against it.

    Ids below 500 stay for good and must always be found; the others come and go, through the crossover, growth,
    compaction and joining of chunks.
    """
    random = np.random.default_rng(13)
    rows = isotropic(random, 20_000, 128).astype(np.float16)
    truth = rows.astype(np.float32)
    index = VectorIndex(128, accelerator=accelerator)
    index.add(np.arange(500), rows[:500])
    done = threading.Event()
    failures, searches = [], []

    def read(seed):
        mine = np.random.default_rng(seed)
        while not done.is_set() or len(searches) < 20:
            target = int(mine.integers(0, 500))
            query = truth[target]
            ids, similarities = index.search(query, limit=20, min_similarity=0.2)
            true = cosines(truth[ids], query)
            searches.append(1)
            if ids[0] != target or len(set(ids.tolist())) != len(ids):
                failures.append(ids.tolist())
            if similarities.tolist() != true.tolist():
                failures.append((similarities.tolist(), true.tolist()))

    def write():
        mine = np.random.default_rng(1)
        for _ in range(3):
            for start in range(500, 20_000, 1_950):
                index.add(np.arange(start, start + 1_950), rows[start : start + 1_950])
            for part in np.array_split(500 + mine.permutation(19_500), 6):
                index.remove(part)
        done.set()

    threads = [threading.Thread(target=read, args=(seed,)) for seed in (21, 22)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(index) == 500


def test_two_writers_lose_nothing():
    random = np.random.default_rng(17)
    rows = isotropic(random, 12_000, 64).astype(np.float16)
    index = VectorIndex(64)

    def write(first):
        for start in range(first, 12_000, 200):
            index.add(np.arange(start, start + 100), rows[start : start + 100])

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index) == 12_000
    assert_exact(index, np.arange(12_000), rows, near(random, rows, 20))


def test_a_full_index_takes_less_than_900_bytes_per_vector_of_dim_384():
    rows = np.tile(isotropic(np.random.default_rng(1), 4_096, 384).astype(np.float16), (16, 1))
    index = filled(rows, np.arange(len(rows)), batch=10_000)
    assert index.nbytes / len(index) < 900


@given(cosine=st.floats(-1.0, 1.0), lower=st.floats(0.0, 2.0))
def test_a_lower_cosine_never_narrows_the_bound(cosine, lower):
    assert 0 <= hamming_bound(384, cosine) <= hamming_bound(384, max(-1.0, cosine - lower)) <= 384


def test_widen_is_exact_for_every_finite_half():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    assert (widen(halves) == halves.astype(np.float32)).all()


def test_an_empty_index_finds_nothing():
    index = VectorIndex(8)
    ids, similarities = index.search(np.ones(8, dtype=np.float32), limit=3, min_similarity=-1.0)
    assert (len(index), index.nbytes, ids.tolist(), similarities.tolist()) == (0, 0, [], [])
    assert (ids.dtype, similarities.dtype) == (np.int64, np.float32)
    index.add(np.empty(0, dtype=np.int64), np.empty((0, 8), dtype=np.float16))
    index.remove(np.array([3]))
    assert len(index) == 0


@pytest.mark.parametrize("dim", [0, -1, MAX_DIM + 1])
def test_dimensions_out_of_range_are_refused(dim):
    with pytest.raises(ConfigurationError, match="1 to 4096 components"):
        VectorIndex(dim)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    index = VectorIndex(8)
    with pytest.raises(StoreMismatch, match=r"\(2, 8\)"):
        index.add(np.arange(2), np.zeros((2, 9), dtype=np.float16))
    with pytest.raises(StoreMismatch, match=r"\(8,\)"):
        index.search(np.zeros(9, dtype=np.float32), limit=1, min_similarity=0.5)
    with pytest.raises(ConfigurationError, match="0 or more"):
        index.add(np.array([-1]), np.zeros((1, 8), dtype=np.float16))
    with pytest.raises(ConfigurationError, match="accelerator"):
        VectorIndex(8, accelerator="magic")
    assert len(index) == 0


def test_without_faiss_the_install_command_is_printed(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'yamabiko\[faiss\]'"):
        VectorIndex(8, accelerator="faiss")
