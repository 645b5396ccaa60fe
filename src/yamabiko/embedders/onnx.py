"""A sentence encoder as an ONNX graph and a tokenizer: MiniLM, or a user's own model."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.embedders.weights import WeightFile, library
from yamabiko.errors import EmbeddingError
from yamabiko.types import Vector

Pooling: TypeAlias = Literal["mean", "cls"]
_Row: TypeAlias = tuple[int, list[int]]
_ERRORS = (
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)

BATCH_PIECES = 512
"""Pieces, padding included, that one run of the graph gets: more leaves the cache (benchmarks/embedder.py)."""

LONGEST_PIECE = 32
"""No vocabulary has longer pieces on average over a text, so ``window * LONGEST_PIECE`` characters never fit."""


class OnnxModel:
    """Mean or CLS pooling over an encoder's last layer, L2-normalised; or the graph's own sentence embedding.

    ``window`` counts pieces with the special ones. A text beyond it is not embedded, since cutting it off makes texts
    alike that differ in their ends; nor is one with a piece that the vocabulary lacks, since all such pieces are alike.
    ``prefix`` is put before every text (E5 models want "query: "). ``load`` may be called from any thread.
    """

    def __init__(
        self,
        *,
        name: str,
        files: Sequence[WeightFile],
        tokenizer: Callable[[], Any],
        unknown_piece: str | None,
        window: int,
        pooling: Pooling = "mean",
        prefix: str = "",
        threads: int = 1,
    ) -> None:
        self.name = name
        self.window = window
        self._files = files
        self._make_tokenizer = tokenizer
        self._unknown_piece = unknown_piece
        self._pooling = pooling
        self._prefix = prefix
        self._threads = threads
        self._lock = threading.Lock()
        self._session: Any = None

    def load(self) -> None:
        """Verify and read the weights, once. Raises ``EmbeddingError`` or ``MissingExtra``."""
        with self._lock:
            if self._session is not None:
                return
            for file in self._files:
                file.verify()
            self._tokenizer = self._make_tokenizer()
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._unknown = None if self._unknown_piece is None else self._tokenizer.token_to_id(self._unknown_piece)
            session, self._errors = open_session(self._files[0].path, self._threads)
            self._inputs = {node.name for node in session.get_inputs()}
            self._output = _sentence_output(session)
            self._session = session

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """As the Embedder port says, in the calling thread."""
        self.load()
        found: list[Vector | None] = [None] * len(texts)
        rows = [(at, pieces) for at, text in enumerate(texts) if (pieces := self.pieces(text)) is not None]
        for group in _groups(rows):
            for (at, _), vector in zip(group, self._run([pieces for _, pieces in group]), strict=True):
                found[at] = vector
        return found

    def pieces(self, text: str) -> list[int] | None:
        """The text as the model sees it, special pieces included; None where it would not see all of it."""
        if len(text) > self.window * LONGEST_PIECE:
            return None
        pieces: list[int] = self._tokenizer.encode(self._prefix + text).ids
        return None if len(pieces) > self.window or self._unknown in pieces else pieces

    def _run(self, rows: list[list[int]]) -> Vector:
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for at, pieces in enumerate(rows):
            ids[at, : len(pieces)] = pieces
            mask[at, : len(pieces)] = 1
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            (output,) = self._session.run([self._output], {name: values[name] for name in self._inputs})
        except (KeyError, *self._errors) as error:
            raise EmbeddingError(f"the model {self.name} could not be run: {type(error).__name__}") from error
        return unit(self._pooled(np.asarray(output, dtype=np.float32), mask))

    def _pooled(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if output.ndim == 2:
            return output
        if self._pooling == "cls":
            return output[:, 0]
        counted = mask.astype(np.float32)
        pooled: NDArray[np.float32] = np.einsum("bsd,bs->bd", output, counted) / counted.sum(axis=1, keepdims=True)
        return pooled

    def measured_dim(self) -> int:
        """Number of components, found out by embedding one letter. Raises ``EmbeddingError``."""
        (vector,) = self.embed(["a"])
        if vector is None:
            raise EmbeddingError(f"the tokenizer of {self.name} does not know the letter a")
        return len(vector)


def open_session(path: Path, threads: int) -> tuple[Any, tuple[Any, ...]]:
    """A graph that onnxruntime has loaded, and the exceptions that running it may raise. Raises ``EmbeddingError``."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it reports to its makers, from 1.32 on
    runtime = library("onnxruntime")
    known = library("onnxruntime.capi.onnxruntime_pybind11_state")
    errors = tuple(getattr(known, name) for name in _ERRORS)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), errors
    except errors as error:
        raise EmbeddingError(f"{path.name} is not a model that onnxruntime can load") from error


def unit(vectors: NDArray[np.float32]) -> Vector:
    """Rows of L2 norm 1. Raises ``EmbeddingError`` for a row that has no direction."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise EmbeddingError("the model made a vector without a direction (zero or not finite)")
    return np.asarray(vectors / norms, dtype=np.float32)


def bert_uncased(vocabulary: WeightFile) -> Any:
    """The tokenizer of BERT uncased, from its vocabulary: one piece a line, compressed by gzip."""
    vocabulary.verify()
    tokenizers = library("tokenizers")
    pieces = gzip.decompress(vocabulary.path.read_bytes()).decode().splitlines()
    ids = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def _groups(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows of similar length together, so that little is padding."""
    group: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row[1])):
        if group and (len(group) + 1) * len(row[1]) > BATCH_PIECES:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _sentence_output(session: Any) -> str:
    """A ready sentence embedding, shape (batch, dim), where the graph has one; else the last layer."""
    outputs = session.get_outputs()
    ready = [node.name for node in outputs if len(node.shape) == 2 and node.name == "sentence_embedding"]
    return str((ready or [outputs[0].name])[0])
