"""A user's own model directory, read and checked: weights, tokenizer, pooling, window."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yamabiko.embedders.onnx import OnnxModel, Pooling
from yamabiko.embedders.weights import WeightFile, digest, library, sha256_of
from yamabiko.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDirectory:
    """What a directory holds. ``files`` starts with the graph; parts of the weights outside of it follow."""

    name: str
    files: tuple[WeightFile, ...]
    tokenizer: str
    unknown_piece: str | None
    window: int
    pooling: Pooling
    prefix: str
    threads: int

    def model(self) -> OnnxModel:
        """A model that is not loaded yet."""
        return OnnxModel(
            name=self.name,
            files=self.files,
            tokenizer=lambda: library("tokenizers").Tokenizer.from_str(self.tokenizer),
            unknown_piece=self.unknown_piece,
            window=self.window,
            pooling=self.pooling,
            prefix=self.prefix,
            threads=self.threads,
        )


def read_directory(path: Path, *, window_pieces: int | None, prefix: str, threads: int) -> ModelDirectory:
    """Hash the weights and read the configuration. Raises ``ConfigurationError``, saying which file is wanted."""
    graph = next((found for found in (path / "model.onnx", path / "onnx" / "model.onnx") if found.is_file()), None)
    if graph is None or not (path / "tokenizer.json").is_file():
        raise ConfigurationError(f"{path} needs model.onnx (or onnx/model.onnx) and tokenizer.json")
    if any(path.glob("[0-9]_Dense")):
        raise ConfigurationError(f"{path} has a Dense layer behind the pooling: export a graph that contains it")
    beside = sorted(file for file in graph.parent.glob("model.onnx*") if file != graph)
    files = tuple(WeightFile(path=file, sha256=sha256_of(file)) for file in (graph, *beside))
    tokenizer = (path / "tokenizer.json").read_text(encoding="utf-8")
    pooling = _pooling(path)
    window = window_pieces or _window(path)
    if not 3 <= window <= 1_000_000:
        raise ConfigurationError(f"window_pieces must be at least 3, not {window}")
    settings = json.dumps([pooling, prefix, tokenizer])
    name = f"onnx@{digest([*(file.sha256 for file in files), settings])}"
    return ModelDirectory(
        name=name,
        files=files,
        tokenizer=tokenizer,
        unknown_piece=_unknown_piece(path),
        window=window,
        pooling=pooling,
        prefix=prefix,
        threads=threads,
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is not readable JSON") from error


def _pooling(path: Path) -> Pooling:
    modes = {name for name, on in _json(path / "1_Pooling" / "config.json").items() if on is True}
    modes = {name for name in modes if name.startswith("pooling_mode_")} or {"pooling_mode_mean_tokens"}
    if modes == {"pooling_mode_mean_tokens"}:
        return "mean"
    if modes == {"pooling_mode_cls_token"}:
        return "cls"
    raise ConfigurationError(f"{path} pools by {', '.join(sorted(modes))}; only mean_tokens or cls_token is known here")


def _window(path: Path) -> int:
    window = _json(path / "sentence_bert_config.json").get("max_seq_length")
    if not isinstance(window, int):
        raise ConfigurationError(
            f"{path} has no sentence_bert_config.json with max_seq_length: pass window_pieces, the number of pieces "
            "that the model was trained for"
        )
    return window


def _unknown_piece(path: Path) -> str | None:
    """The piece that stands for whatever the vocabulary lacks; None where it lacks nothing (byte-level models)."""
    model = _json(path / "tokenizer.json").get("model", {})
    at = model.get("unk_id")
    if isinstance(at, int) and isinstance(model.get("vocab"), list):
        return str(model["vocab"][at][0])
    piece = model.get("unk_token")
    return piece if isinstance(piece, str) else None
