"""Step 5 of 9: the vectors of one scope in memory, and which of them are near a query.

A small index multiplies everything with the query. A large one keeps a code of signs beside each float16 vector. Who
is too far in Hamming distance to reach ``min_similarity`` is passed over; everybody else is compared by the exact
cosine, and only that cosine ever decides.

Everything here is derived from the rows of a store and may be thrown away at any time.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.errors import ConfigurationError, StoreMismatch
from yamabiko.stores.signcodes import (
    BITS,
    HEAD_WORDS,
    WORDS,
    FaissSweep,
    Floats,
    Halves,
    Hammings,
    NumpySweep,
    Rows,
    SignCoder,
    Sweep,
    Words,
    hamming_bound,
    import_faiss,
    widen,
    words_that_tell,
)

Ids: TypeAlias = NDArray[np.int64]

CHUNK_ROWS = 32_768
"""Rows per chunk. A scan costs some 50 us per chunk beside its rows, and its scratch (256 KB) should stay in a core's
cache; a larger chunk is emptier while it fills. Measured by benchmarks/index.py."""

EXACT_COMPONENTS = 1_500_000
"""Up to so many (3,906 vectors of dim 384) the product with all of them is faster. Measured by benchmarks/index.py."""

DEAD_SHARE = 0.25
"""A chunk is rewritten when more than this share of its rows was removed."""

MAX_DIM = 4_096

_ID_MAX = np.iinfo(np.int64).max
_ANGLE_SLACK = 1e-3  # float16 storage moves a squared distance by at most this much
_ROUNDING = 1e-5  # what two ways of summing a float32 product may differ by; generous
_FIRST_BLOCK, _GROWTH, _LAST_BLOCK = 128, 4, 4_096


def cosines(rows: Floats, query: Floats) -> Floats:
    """Cosine of each row (n, dim) with the query (dim,), all of norm 1, clipped to [-1, 1].

    Each row is summed in the same order however many there are, so a pair has one similarity, bit for bit, in an
    index of any size. The matrix product, whose order depends on its size, only chooses whom to look at.
    """
    sums: Floats = np.multiply(rows, query).sum(axis=1, dtype=np.float32)
    return _clipped(sums)


def _clipped(cosines: Floats) -> Floats:
    """To [-1, 1], in place: ``np.clip`` costs four times as much for a few values, and NaN passes both alike."""
    np.maximum(cosines, np.float32(-1.0), out=cosines)
    np.minimum(cosines, np.float32(1.0), out=cosines)
    return cosines


@dataclass(slots=True)
class _Chunk:
    """Rows of the index. A row is written before it is published and never changes afterwards.

    ``ids`` is -1 where the row was removed. ``codes`` has one column per row, so that a scan reads each word of all
    rows in one sweep; ``heads`` repeats the first words row by row, as faiss wants them. ``floats`` are the same
    vectors for the exact product. ``nearest``: no row is nearer to the centre of the codes. ``low`` and ``high``:
    no id is outside. ``filled`` and ``dead`` are the writer's counts.
    """

    ids: Ids
    vectors: Halves
    codes: Words | None
    heads: Words | None
    floats: Floats | None
    nearest: float = math.inf
    low: int = _ID_MAX
    high: int = -1
    filled: int = 0
    dead: int = 0

    @classmethod
    def empty(cls, capacity: int, dim: int, *, codes: bool, heads: bool) -> _Chunk:
        """Room for so many rows, with codes (and heads) or with float32 vectors."""
        return cls(
            ids=np.empty(capacity, dtype=np.int64),
            vectors=np.empty((capacity, dim), dtype=np.float16),
            codes=np.empty((WORDS, capacity), dtype=np.uint64) if codes else None,
            heads=np.empty((capacity, HEAD_WORDS), dtype=np.uint64) if codes and heads else None,
            floats=None if codes else np.empty((capacity, dim), dtype=np.float32),
        )

    @property
    def live(self) -> int:
        """Rows that were not removed."""
        return self.filled - self.dead

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays hold."""
        arrays = (self.ids, self.vectors, self.codes, self.heads, self.floats)
        return sum(array.nbytes for array in arrays if array is not None)

    def append(self, ids: Ids, vectors: Halves, coder: SignCoder | None) -> None:
        """Fill rows beyond those published; the caller publishes them."""
        floats = widen(vectors)
        if coder is None:
            self._append(ids, vectors, floats, None)
        else:
            codes, distances = coder.encode(floats)
            self.nearest = min(self.nearest, float(distances.min()))
            self._append(ids, vectors, None, codes.T)

    def append_live(self, other: _Chunk) -> None:
        """Fill rows with those of another chunk that were not removed, as they are."""
        rows = np.flatnonzero(other.ids[: other.filled] >= 0)
        if len(rows):
            self.nearest = min(self.nearest, other.nearest)
            floats = None if other.floats is None else other.floats[rows]
            codes = None if other.codes is None else other.codes[:, rows]
            self._append(other.ids[rows], other.vectors[rows], floats, codes)

    def _append(self, ids: Ids, vectors: Halves, floats: Floats | None, codes: Words | None) -> None:
        rows = slice(self.filled, self.filled + len(ids))
        self.ids[rows] = ids
        self.vectors[rows] = vectors
        if self.floats is not None and floats is not None:
            self.floats[rows] = floats
        if self.codes is not None and codes is not None:
            self.codes[:, rows] = codes
            if self.heads is not None:
                self.heads[rows] = codes[:HEAD_WORDS].T
        self.low, self.high = min(self.low, int(ids.min())), max(self.high, int(ids.max()))
        self.filled = rows.stop


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What a reader sees: chunks, how many rows of each, and the coder when there are codes."""

    chunks: tuple[_Chunk, ...] = ()
    filled: tuple[int, ...] = ()
    coder: SignCoder | None = None


@dataclass(frozen=True, slots=True)
class _Query:
    """What is looked for."""

    vector: Floats
    limit: int
    min_similarity: float


class VectorIndex:
    """The vectors of one scope; finds those within a cosine of a query.

    ``dim``: components of each vector, 1 to 4,096. ``accelerator``: who scans the codes of a large index; "faiss"
    needs the extra of that name. One writer at a time (a lock sees to it); readers never wait. A search that runs
    beside a write may miss what is being added or still see what is being removed, but an id's similarity is always
    that of the vector it was given.

    Raises ``ConfigurationError``.
    """

    def __init__(self, dim: int, *, accelerator: Literal["numpy", "faiss"] = "numpy") -> None:
        if not 1 <= dim <= MAX_DIM:
            raise ConfigurationError(f"vectors have 1 to {MAX_DIM} components, not {dim}")
        if accelerator not in ("numpy", "faiss"):
            raise ConfigurationError(f'accelerator is "numpy" or "faiss", not {accelerator!r}')
        self.dim = dim
        self._exact_rows = min(CHUNK_ROWS, EXACT_COMPONENTS // dim)
        self._write = threading.Lock()
        self._faiss = import_faiss() if accelerator == "faiss" else None
        self._snapshot = _Snapshot()

    def __len__(self) -> int:
        return sum(chunk.live for chunk in self._snapshot.chunks)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays hold."""
        return sum(chunk.nbytes for chunk in self._snapshot.chunks)

    def add(self, ids: Ids, vectors: Halves) -> None:
        """Add vectors (n, dim) of norm 1 under ids (n,), which are 0 or more and not in the index yet.

        Raises ``StoreMismatch`` for vectors of another dimension.
        """
        ids = np.asarray(ids, dtype=np.int64)
        vectors = np.ascontiguousarray(vectors, dtype=np.float16)
        if vectors.shape != (len(ids), self.dim):
            raise StoreMismatch(f"this index takes vectors of shape ({len(ids)}, {self.dim}), not {vectors.shape}")
        if len(ids) == 0:
            return
        if ids.min() < 0:
            raise ConfigurationError("ids of vectors must be 0 or more")
        with self._write:
            chunks = list(self._snapshot.chunks)
            coder = self._snapshot.coder
            if coder is None and len(self) + len(ids) > self._exact_rows:
                chunks, coder = self._coded(vectors, [self._rewritten(chunk) for chunk in chunks])
            start = 0
            while start < len(ids):
                chunk = self._with_room(chunks, len(ids) - start, coder)
                stop = start + min(len(ids) - start, len(chunk.ids) - chunk.filled)
                chunk.append(ids[start:stop], vectors[start:stop], coder)
                start = stop
            self._publish(chunks, coder)

    def remove(self, ids: Ids) -> None:
        """Remove these ids; those not in the index are passed over."""
        wanted = np.unique(np.asarray(ids, dtype=np.int64))
        wanted = wanted[wanted >= 0]
        if len(wanted) == 0:
            return
        with self._write:
            kept: list[_Chunk] = []
            for chunk in self._snapshot.chunks:
                if wanted[0] <= chunk.high and wanted[-1] >= chunk.low:
                    rows = _rows_of(wanted, chunk.ids[: chunk.filled])
                    chunk.ids[rows] = -1
                    chunk.dead += len(rows)
                if chunk.dead <= DEAD_SHARE * chunk.filled:
                    kept.append(chunk)
                elif kept and kept[-1].live + chunk.live <= CHUNK_ROWS:
                    kept[-1] = self._rewritten(kept[-1], chunk)
                elif chunk.live:
                    kept.append(self._rewritten(chunk))
            self._publish(kept, self._snapshot.coder if kept else None)

    def search(self, query: Floats, *, limit: int, min_similarity: float) -> tuple[Ids, Floats]:
        """At most ``limit`` ids (k,) and their cosines (k,) with the query (dim,), best first, ties by lower id.

        Every vector whose cosine is at least ``min_similarity`` is found (in a large index: but for one in a
        million, see ``hamming_bound``); none below it is.

        Raises ``StoreMismatch`` for a query of another dimension.
        """
        query = np.ascontiguousarray(query, dtype=np.float32)
        if query.shape != (self.dim,):
            raise StoreMismatch(f"this index takes queries of shape ({self.dim},), not {query.shape}")
        snapshot = self._snapshot
        if not snapshot.chunks or limit < 1:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        asked = _Query(query, limit, min_similarity)
        if snapshot.coder is None:
            ids, rows = _by_product(snapshot, asked)
        else:
            ids, rows = _by_codes(snapshot, snapshot.coder, asked, self._faiss)
        similarities = cosines(rows, query)
        good = np.flatnonzero((similarities.astype(np.float64) >= min_similarity) & (ids >= 0))
        order = good[np.lexsort((ids[good], -similarities[good]))[:limit]]
        return ids[order], similarities[order]

    def _coded(self, vectors: Halves, chunks: list[_Chunk]) -> tuple[list[_Chunk], SignCoder]:
        """The step from products to codes. The centre is the mean of what is there, else of the first that come."""
        sample = [chunk.vectors[: chunk.filled] for chunk in chunks]
        coder = SignCoder(np.concatenate([*sample, vectors[: self._exact_rows + 1]]))
        coded = []
        for chunk in chunks:
            coded.append(self._empty(chunk.filled + len(vectors), coder))
            coded[-1].append(chunk.ids[: chunk.filled], chunk.vectors[: chunk.filled], coder)
        return coded, coder

    def _with_room(self, chunks: list[_Chunk], rows: int, coder: SignCoder | None) -> _Chunk:
        """The last chunk if it has room, a larger copy of it while it is small, else a new one."""
        last = chunks[-1] if chunks else None
        if last is not None and last.filled < len(last.ids):
            return last
        if last is not None and len(last.ids) < CHUNK_ROWS:
            chunks[-1] = self._empty(last.filled + rows, coder)
            chunks[-1].append_live(last)
        else:
            chunks.append(self._empty(rows, coder))
        return chunks[-1]

    def _empty(self, rows: int, coder: SignCoder | None) -> _Chunk:
        """A chunk with room for so many rows, rounded up to a power of two from 64 to a whole chunk."""
        capacity = min(CHUNK_ROWS, max(64, 1 << (rows - 1).bit_length()))
        return _Chunk.empty(capacity, self.dim, codes=coder is not None, heads=self._faiss is not None)

    def _rewritten(self, *chunks: _Chunk) -> _Chunk:
        """One chunk with the rows of these that were not removed; readers of the old ones see them unchanged."""
        chunk = self._empty(sum(old.live for old in chunks), self._snapshot.coder)
        for old in chunks:
            chunk.append_live(old)
        return chunk

    def _publish(self, chunks: list[_Chunk], coder: SignCoder | None) -> None:
        self._snapshot = _Snapshot(tuple(chunks), tuple(chunk.filled for chunk in chunks), coder)


def _rows_of(wanted: Ids, ids: Ids) -> NDArray[np.intp]:
    """Rows whose id is among the wanted (sorted) ones."""
    if len(wanted) == 1:
        return np.flatnonzero(ids == wanted[0])
    places = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
    return np.flatnonzero(wanted[places] == ids)


def _by_product(snapshot: _Snapshot, query: _Query) -> tuple[Ids, Floats]:
    """Ids (k,) and vectors (k, dim) of all that may be among the best, by one matrix product."""
    chunk, filled = snapshot.chunks[0], snapshot.filled[0]  # an index without codes never outgrows one chunk
    assert chunk.floats is not None
    scores = _scores(chunk.floats[:filled], query.vector)
    rows = np.flatnonzero((scores >= query.min_similarity - _ROUNDING) & (chunk.ids[:filled] >= 0))
    best = rows[_leading(scores[rows], query.limit)]
    return chunk.ids[best], chunk.floats[best]


def _scores(rows: Floats, vector: Floats) -> Floats:
    """Cosines by matrix product: fast, and true but for rounding."""
    products: Floats = rows @ vector
    return _clipped(products)


def _leading(scores: Floats, limit: int) -> NDArray[np.intp]:
    """Where the ``limit`` highest scores stand, with all that rounding can't tell from the last of them."""
    if len(scores) <= limit:
        return np.arange(len(scores))
    worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    return np.flatnonzero(scores >= worst - _ROUNDING)


def _by_codes(snapshot: _Snapshot, coder: SignCoder, query: _Query, faiss: Any) -> tuple[Ids, Floats]:
    """Ids (k,) and vectors (k, dim) of all that may be among the best, by Hamming distance first.

    Candidates are compared in the order of their Hamming distances. Once ``limit`` of them are at hand, the worst of
    those is what the others have to reach, and the bound shrinks accordingly.
    """
    codes, distances = coder.encode(query.vector[np.newaxis])
    code, distance = codes[0], float(distances[0])
    nearest = min(chunk.nearest for chunk in snapshot.chunks)
    floor = query.min_similarity
    cosine = _centred_cosine(floor, distance, nearest)
    sweep = FaissSweep(code, faiss) if faiss else NumpySweep(code, words_that_tell(cosine), CHUNK_ROWS)
    places, hammings = _scan(snapshot, code, cosine, sweep)
    order = np.argsort(hammings, kind="stable")
    found, vectors, scores = [np.empty(0, dtype=np.int64)], [query.vector[np.newaxis][:0]], query.vector[:0]
    start, size = 0, _FIRST_BLOCK
    while start < len(order) and hammings[order[start]] <= hamming_bound(BITS, cosine):
        ids, rows = _gather(snapshot, np.sort(places[order[start : start + size]]))
        block_scores = _scores(rows, query.vector)
        good = np.flatnonzero((block_scores >= floor - _ROUNDING) & (ids >= 0))
        found.append(ids[good])
        vectors.append(rows[good])
        scores = np.concatenate([scores, block_scores[good]])
        if len(scores) >= query.limit:
            floor = max(floor, float(np.partition(scores, -query.limit)[-query.limit]))
            cosine = _centred_cosine(floor, distance, nearest)
        start, size = start + size, min(_GROWTH * size, _LAST_BLOCK)
    best = _leading(scores, query.limit)
    return np.concatenate(found)[best], np.concatenate(vectors)[best]


def _centred_cosine(cosine: float, query_distance: float, nearest: float) -> float:
    """The least cosine, seen from the centre, of the query and a vector whose true cosine with it is ``cosine``.

    With a and b the distances of query and vector from the centre and D that between them (D^2 = 2 - 2 cosine), the
    law of cosines gives (a^2 + b^2 - D^2) / 2ab. Over all b it is least at b^2 = a^2 - D^2, where the vector lies on
    the tangent from the centre; no vector is nearer to the centre than ``nearest``, and from there on it grows. Knowing
    ``nearest`` makes the bound useful: in a cone of average cosine 0.75, at 0.90, it leaves 7,000 of 100,000 vectors
    to compare, the tangent 43,000 (and b = a, which would be wrong for some, 2,600): benchmarks/index.py.
    """
    a, apart = max(query_distance, 1e-6), 2.0 - 2.0 * cosine + _ANGLE_SLACK
    b = max(math.sqrt(max(a * a - apart, 0.0)), nearest, 1e-6)
    return max(-1.0, min(1.0, (a * a + b * b - apart) / (2.0 * a * b)))


def _scan(snapshot: _Snapshot, code: Words, cosine: float, sweep: Sweep) -> tuple[Rows, Hammings]:
    """Places (chunk * CHUNK_ROWS + row) of all rows that may reach a centred cosine, and their Hamming distances.

    The sweep reads a few words of each code and passes over nearly all rows; the other words are read for the rest.
    """
    rough, bound = hamming_bound(64 * sweep.words, cosine), hamming_bound(BITS, cosine)
    places: list[Rows] = [np.empty(0, dtype=np.int64)]
    hammings: list[Hammings] = [np.empty(0, dtype=np.uint16)]
    for number, (chunk, filled) in enumerate(zip(snapshot.chunks, snapshot.filled, strict=True)):
        assert chunk.codes is not None
        rows, hamming = sweep.near(chunk.codes, chunk.heads, filled, rough)
        if len(rows) == 0:
            continue
        if sweep.words < WORDS:
            others = chunk.codes[sweep.words :, rows] ^ code[sweep.words :, np.newaxis]
            hamming += np.bitwise_count(others).sum(axis=0, dtype=np.uint16)
            near = np.flatnonzero(np.less_equal(hamming, bound))
            rows, hamming = rows[near], hamming[near]
        places.append(rows + number * CHUNK_ROWS)
        hammings.append(hamming)
    return np.concatenate(places), np.concatenate(hammings)


def _gather(snapshot: _Snapshot, places: Rows) -> tuple[Ids, Floats]:
    """Ids (k,) and float32 vectors (k, dim) at places (k,) in ascending order."""
    if len(snapshot.chunks) == 1:
        chunk = snapshot.chunks[0]
        return chunk.ids[places], widen(np.take(chunk.vectors, places, axis=0, mode="clip"))
    ids = np.empty(len(places), dtype=np.int64)
    halves = np.empty((len(places), snapshot.chunks[0].vectors.shape[1]), dtype=np.float16)
    numbers = places // CHUNK_ROWS
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts, len(places)][1:], strict=True):
        number = int(numbers[start])
        rows = places[start:stop] - number * CHUNK_ROWS
        ids[start:stop] = snapshot.chunks[number].ids[rows]
        np.take(snapshot.chunks[number].vectors, rows, axis=0, out=halves[start:stop], mode="clip")
    return ids, widen(halves)
