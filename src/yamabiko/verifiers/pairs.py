"""A cross-encoder as an ONNX graph and a tokenizer: two texts in, the log-odds that they ask the same out.

Its inputs are ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 of shape (n, t); its output is ``logit``,
float32 of shape (n,).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from yamabiko.embedders.onnx import LONGEST_PIECE, bert_uncased, open_session
from yamabiko.embedders.weights import library
from yamabiko.errors import EmbeddingError, VerifierError
from yamabiko.verifiers.manifest import BERT_UNCASED, Manifest

_Row: TypeAlias = tuple[list[int], list[int]]
_UNKNOWN = ("[UNK]", "<unk>")


class PairModel:
    """One model, in the calling thread. ``load`` may be called from any thread."""

    def __init__(self, manifest: Manifest, *, threads: int = 1) -> None:
        self.manifest = manifest
        self._threads = threads
        self._lock = threading.Lock()
        self._session: Any = None

    def load(self) -> None:
        """Verify and read the weights, once. Raises ``VerifierError`` or ``MissingExtra``."""
        with self._lock:
            if self._session is not None:
                return
            try:
                for file in (*self.manifest.files, self.manifest.tokenizer):
                    file.verify()
                self._tokenizer = _tokenizer(self.manifest.tokenizer.path)
                session, self._errors = open_session(self.manifest.files[0].path, self._threads)
            except EmbeddingError as error:
                raise VerifierError(str(error)) from error
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._unknown = {self._tokenizer.token_to_id(piece) for piece in _UNKNOWN} - {None}
            self._inputs = {node.name for node in session.get_inputs()}
            self._session = session

    def log_odds(self, text: str, others: Sequence[str]) -> list[float | None]:
        """Whether each of the other texts asks what ``text`` asks; None where the model would not see all of both.

        Raises ``VerifierError``.
        """
        self.load()
        orders = 1 if self.manifest.symmetric else 2
        rows: list[_Row] = []
        seen: list[int] = []
        for at, other in enumerate(others):
            pieces = [self._pieces(*pair) for pair in ((text, other), (other, text))[:orders]]
            known = [row for row in pieces if row is not None]
            if len(known) == orders:
                rows += known
                seen.append(at)
        found: list[float | None] = [None] * len(others)
        if rows:
            logits = self._run(rows).reshape(len(seen), orders).mean(axis=1)
            for at, logit in zip(seen, logits.tolist(), strict=True):
                found[at] = logit / self.manifest.temperature + self.manifest.offset
        return found

    def _pieces(self, first: str, second: str) -> _Row | None:
        """Ids and types of the pieces; None where the two are too long or hold a piece that the vocabulary lacks."""
        if len(first) + len(second) > self.manifest.window * LONGEST_PIECE:
            return None
        read = self._tokenizer.encode(first, second)
        if len(read.ids) > self.manifest.window or self._unknown.intersection(read.ids):
            return None
        return read.ids, read.type_ids

    def _run(self, rows: Sequence[_Row]) -> np.ndarray[Any, np.dtype[np.float64]]:
        shape = (len(rows), max(len(ids) for ids, _ in rows))
        values = {name: np.zeros(shape, dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for at, (ids, types) in enumerate(rows):
            values["input_ids"][at, : len(ids)] = ids
            values["attention_mask"][at, : len(ids)] = 1
            values["token_type_ids"][at, : len(ids)] = types
        try:
            (output,) = self._session.run(["logit"], {name: values[name] for name in self._inputs})
        except (KeyError, ValueError, *self._errors) as error:
            name = self.manifest.name
            raise VerifierError(f"the verifier {name} could not be run: {type(error).__name__}") from error
        logits = np.asarray(output, dtype=np.float64).reshape(-1)
        if logits.shape != (len(rows),) or not np.isfinite(logits).all():
            raise VerifierError(f"the verifier {self.manifest.name} gave no logit for each pair")
        return logits


def _tokenizer(path: Path) -> Any:
    if path == BERT_UNCASED.path:
        return bert_uncased(BERT_UNCASED)
    return library("tokenizers").Tokenizer.from_str(path.read_text(encoding="utf-8"))
