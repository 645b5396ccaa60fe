"""Codes of signs: a few words per vector that tell who can't be near a query.

Bit i of a code says on which side of a random hyperplane the vector lies. Two vectors at the angle theta differ in
each bit with probability theta / pi, so the Hamming distance of two codes tells their angle to within a known error.

Source: M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002, section 3.
"""

from __future__ import annotations

import importlib
import math
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.errors import MissingExtra

Floats: TypeAlias = NDArray[np.float32]
Halves: TypeAlias = NDArray[np.float16]
Words: TypeAlias = NDArray[np.uint64]
Rows: TypeAlias = NDArray[np.int64]
Hammings: TypeAlias = NDArray[np.uint16]

BITS = 384
"""Bits per code, whatever the dimension: they alone say how well near is told from far (benchmarks/index.py)."""

WORDS = BITS // 64

HEAD_WORDS = 4
"""Words of each code that faiss reads."""

_SIGMAS = 5.0
_UNRELATED_SIGMAS = 3.3  # with fewer words the second look costs more than the first saves: benchmarks/index.py


def hamming_bound(bits: int, cosine: float) -> int:
    """What the Hamming distance of a pair with at least this cosine exceeds less than once in a million pairs.

    The distance over ``bits`` bits is binomial with p = angle / pi. The bound is its mean plus five standard
    deviations, corrected for the skewness of a binomial (second term of the Cornish-Fisher expansion), which matters
    for small angles. Source: Charikar 2002, section 3.
    """
    p = math.acos(max(-1.0, min(1.0, cosine))) / math.pi
    skewness = (_SIGMAS**2 - 1.0) / 6.0 * max(0.0, 1.0 - 2.0 * p)
    return min(bits, math.ceil(bits * p + _SIGMAS * math.sqrt(bits * p * (1.0 - p)) + skewness))


def words_that_tell(cosine: float) -> int:
    """The fewest words over which unrelated vectors lie well beyond the bound for this cosine."""
    for words in range(2, WORDS):
        if hamming_bound(64 * words, cosine) <= 32 * words - _UNRELATED_SIGMAS * 4 * math.sqrt(words):
            return words
    return WORDS


def widen(halves: Halves) -> Floats:
    """float16 to float32, exactly, for finite values.

    Moves the bits with integer instructions: five times as fast as ``astype``, which NumPy does value by value
    (benchmarks/index.py).
    """
    bits = halves.view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)  # exponent and mantissa to their places; the sign stays at the top
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)
    floats = bits.view(np.float32)
    np.multiply(floats, np.float32(2.0**112), out=floats)  # the exponents are biased by 15 and by 127
    return floats


@lru_cache(maxsize=4)
def _hyperplanes(dim: int) -> Floats:
    """Normals of hyperplanes as columns (dim, BITS), uniform over all directions, the same in every process."""
    normals: Floats = np.random.default_rng(dim).standard_normal((dim, BITS), dtype=np.float32)
    normals.setflags(write=False)
    return normals


class SignCoder:
    """Vectors (n, dim) to codes (n, WORDS) about a centre, which is the mean of a sample (n, dim).

    Embedders put all texts into a cone. Hyperplanes through the origin pass beside the cone; those through the mean
    pass through it.

    The signs of the components themselves would cost nothing, but they tell the angle only where the components
    are alike: when few of them carry most of the length, two vectors at a small angle differ in half their signs.
    """

    def __init__(self, sample: Halves) -> None:
        self._centre: Floats = widen(sample).mean(axis=0, dtype=np.float64).astype(np.float32)
        self._hyperplanes = _hyperplanes(len(self._centre))

    def encode(self, vectors: Floats) -> tuple[Words, Floats]:
        """Codes (n, WORDS) and distances from the centre (n,)."""
        centred = vectors - self._centre
        distances = np.sqrt(np.einsum("ij,ij->i", centred, centred))
        packed = np.packbits(centred @ self._hyperplanes > 0.0, axis=1)
        return packed.view(np.uint64), distances


class Sweep(Protocol):
    """Finds the rows of a chunk whose codes begin like that of a query."""

    @property
    def words(self) -> int:
        """How many words of each code it reads."""

    def near(self, codes: Words, heads: Words | None, filled: int, bound: int) -> tuple[Rows, Hammings]:
        """Of the first ``filled`` rows those within a Hamming distance over ``words`` words, and their distances.

        ``codes`` (WORDS, rows) by columns; ``heads`` (rows, HEAD_WORDS) by rows, where the sweep needs them.
        """


class NumpySweep:
    """Sweeps with NumPy, a word at a time over all rows."""

    def __init__(self, code: Words, words: int, rows: int) -> None:
        self.words = words
        self._code = code
        self._differing = np.empty(rows, dtype=np.uint64)
        self._count = np.empty(rows, dtype=np.uint8)
        self._total = np.empty(rows, dtype=np.uint8 if 64 * words < 256 else np.uint16)

    def near(self, codes: Words, heads: Words | None, filled: int, bound: int) -> tuple[Rows, Hammings]:
        """See ``Sweep``."""
        del heads
        differing, count, total = self._differing[:filled], self._count[:filled], self._total[:filled]
        for word in range(self.words):
            np.bitwise_xor(codes[word, :filled], self._code[word], out=differing)
            np.bitwise_count(differing, out=count if word else total)
            if word:
                np.add(total, count, out=total)
        rows = np.flatnonzero(np.less_equal(total, bound))
        return rows, total[rows].astype(np.uint16)


class FaissSweep:
    """Sweeps with faiss over our own arrays."""

    words = HEAD_WORDS

    def __init__(self, code: Words, faiss: Any) -> None:
        self._head = code[:HEAD_WORDS].copy()
        self._faiss = faiss

    def near(self, codes: Words, heads: Words | None, filled: int, bound: int) -> tuple[Rows, Hammings]:
        """See ``Sweep``."""
        del codes
        assert heads is not None
        faiss = self._faiss
        found = faiss.RangeSearchResult(1)
        query, rows = faiss.swig_ptr(self._head.view(np.uint8)), faiss.swig_ptr(heads.view(np.uint8))
        radius = bound + 1  # faiss takes what is below it
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # of this thread only; a team of threads would spin for one query
        try:
            faiss.hamming_range_search(query, rows, 1, filled, radius, 8 * HEAD_WORDS, found)
        finally:
            faiss.omp_set_num_threads(threads)
        count = int(faiss.rev_swig_ptr(found.lims, 2)[1])
        labels, distances = faiss.rev_swig_ptr(found.labels, count), faiss.rev_swig_ptr(found.distances, count)
        return labels.astype(np.int64), distances.astype(np.uint16)  # copies: faiss frees its own


def import_faiss() -> Any:
    """The faiss package. Raises ``MissingExtra``."""
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise MissingExtra("faiss", 'accelerator="faiss"') from error
