"""A trained cross-encoder as an ONNX file of 8-bit weights, written node by node, so that nothing is traced.

The graph is what ``yamabiko.verifiers`` runs: inputs ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64
(n, t); output ``logit``, float32 (n,), positive where the two texts ask the same. Matrices are whole numbers up to
+-63 with one scale an output, and what they multiply is rounded to 8 bits with one scale a *piece*: a pair's logit
never depends on its neighbours in the batch, as it would with dynamic quantisation, whose scale is the whole batch's.
63 and not 127, since processors without VNNI add two products in 16 bits. The table of the pieces has 8 bits and one
scale a row.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]

MOST = 63
MICROSOFT = "com.microsoft"
EPSILON = 1e-12


class Graph:
    """Nodes and constants as they are added; every method returns the name of what it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def rounded(self, x: str) -> tuple[str, str]:
        """``x`` as bytes around 128, and the scale of each piece: x ~ (byte - 128) scale / 127."""
        self.constant("least", np.array(1e-8, np.float32))
        self.constant("127", np.array(127, np.float32))
        self.constant("128", np.array(128, np.float32))
        size = self.node("Abs", [x], f"{x}.size")
        most = self.node("ReduceMax", [size], f"{x}.most", axes=[-1], keepdims=1)
        scale = self.node("Max", [most, "least"], f"{x}.scale")
        inverse = self.node("Div", ["127", scale], f"{x}.inverse")
        scaled = self.node("Mul", [x, inverse], f"{x}.scaled")
        moved = self.node("Add", [scaled, "128"], f"{x}.moved")
        whole = self.node("Round", [moved], f"{x}.whole")
        return self.node("Cast", [whole], f"{x}.bytes", to=TensorProto.UINT8), scale

    def linear(self, name: str, x: tuple[str, str], weight: NDArray[np.float32]) -> str:
        """``x @ weight.T`` with ``weight`` (out, in)."""
        scales = np.maximum(np.abs(weight).max(axis=1), 1e-12) / MOST
        values = self.constant(f"{name}.values", np.rint(weight / scales[:, None]).T.astype(np.int8))
        scale = self.constant(f"{name}.scales", (scales / 127).astype(np.float32))
        self.constant("zero", np.array(128, np.uint8))
        product = self.node("MatMulInteger", [x[0], values, "zero"], f"{name}.product")
        floats = self.node("Cast", [product], f"{name}.floats", to=TensorProto.FLOAT)
        return self.node("Mul", [self.node("Mul", [floats, scale], f"{name}.unit"), x[1]], name)

    def skip_norm(self, name: str, x: str, skip: str, *, weights: Weights, norm: str, bias: str) -> str:
        """Layer normalisation of ``x + skip + bias``."""
        gamma = self.constant(f"{name}.gamma", weights[f"{norm}.weight"])
        beta = self.constant(f"{name}.beta", weights[f"{norm}.bias"])
        added = self.constant(f"{name}.bias", weights[bias])
        return self.node("SkipLayerNormalization", [x, skip, gamma, beta, added], name, MICROSOFT, epsilon=EPSILON)


def _matched(graph: Graph) -> str:
    """1 for a piece that also stands in the other text, else 0: (n, t)."""
    for name, axis in (("row", 2), ("column", 1)):
        graph.constant(f"{name}.axis", np.array([axis], np.int64))
        for source in ("input_ids", "token_type_ids"):
            graph.node("Unsqueeze", [source, f"{name}.axis"], f"{source}.{name}")
    graph.node("Unsqueeze", ["attention_mask", "column.axis"], "real.column")
    graph.node("Cast", ["real.column"], "real", to=TensorProto.BOOL)
    graph.node("Equal", ["input_ids.row", "input_ids.column"], "equal")
    graph.node("Equal", ["token_type_ids.row", "token_type_ids.column"], "own")
    graph.node("Not", ["own"], "other")
    graph.node("And", ["equal", "other"], "shared")
    graph.node("And", ["shared", "real"], "found")
    graph.node("Cast", ["found"], "found.floats", to=TensorProto.FLOAT)
    graph.node("ReduceMax", ["found.floats"], "any", axes=[2], keepdims=0)
    return graph.node("Cast", ["any"], "match", to=TensorProto.INT64)


def _embedded(graph: Graph, weights: Weights) -> str:
    """The sum of what a piece, its place, its text and its match say, normalised: (n, t, width)."""
    table = weights["embeddings.word"]
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-12) / 127
    graph.constant("pieces.values", np.rint(table / scales).astype(np.int8))
    graph.constant("pieces.scales", scales.astype(np.float32))
    graph.constant("places", weights["embeddings.position"])
    graph.constant("texts", weights["embeddings.type"])
    graph.constant("matches", weights["embeddings.match"])
    graph.node("Gather", ["pieces.values", "input_ids"], "piece.bytes")
    graph.node("Cast", ["piece.bytes"], "piece.floats", to=TensorProto.FLOAT)
    graph.node("Gather", ["pieces.scales", "input_ids"], "piece.scale")
    graph.node("Mul", ["piece.floats", "piece.scale"], "piece")
    graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    graph.constant("from", np.array([0], np.int64))
    graph.constant("along", np.array([0], np.int64))
    graph.node("Slice", ["places", "from", "length", "along"], "place")
    graph.node("Gather", ["texts", "token_type_ids"], "text")
    graph.node("Gather", ["matches", _matched(graph)], "matched")
    graph.node("Add", ["piece", "place"], "placed")
    graph.node("Add", ["placed", "text"], "sided")
    graph.node("Add", ["sided", "matched"], "summed")
    graph.constant("embedded.gamma", weights["embeddings.norm.weight"])
    graph.constant("embedded.beta", weights["embeddings.norm.bias"])
    return graph.node(
        "LayerNormalization", ["summed", "embedded.gamma", "embedded.beta"], "embedded", axis=-1, epsilon=EPSILON
    )


def _layer(graph: Graph, weights: Weights, at: int, x: str, heads: int) -> str:
    """One layer of a BERT encoder."""
    own = f"layers.{at}"
    parts = ("query", "key", "value")
    weight = np.concatenate([weights[f"{own}.{part}.weight"] for part in parts])
    graph.constant(f"{own}.bias", np.concatenate([weights[f"{own}.{part}.bias"] for part in parts]))
    three = graph.linear(f"{own}.three", graph.rounded(x), weight)
    names = [f"{own}.{part}" for part in parts]
    graph.nodes.append(helper.make_node("Split", [three], names, name=f"{own}.split", axis=-1))
    attended = graph.node(
        "MultiHeadAttention", [*names, f"{own}.bias", "mask"], f"{own}.attended", MICROSOFT, num_heads=heads
    )
    out = graph.linear(f"{own}.out", graph.rounded(attended), weights[f"{own}.out.weight"])
    x = graph.skip_norm(f"{own}.first", out, x, weights=weights, norm=f"{own}.norm1", bias=f"{own}.out.bias")
    wide = graph.linear(f"{own}.wide", graph.rounded(x), weights[f"{own}.wide.weight"])
    graph.constant(f"{own}.wide.bias", weights[f"{own}.wide.bias"])
    active = graph.node("BiasGelu", [wide, f"{own}.wide.bias"], f"{own}.active", MICROSOFT)
    narrow = graph.linear(f"{own}.narrow", graph.rounded(active), weights[f"{own}.narrow.weight"])
    return graph.skip_norm(f"{own}.second", narrow, x, weights=weights, norm=f"{own}.norm2", bias=f"{own}.narrow.bias")


def _head(graph: Graph, weights: Weights, x: str) -> None:
    """The first piece, the mean and the maximum of all, weighed: the logit."""
    graph.constant("first.at", np.array(0, np.int64))
    graph.constant("last.axis", np.array([-1], np.int64))
    graph.node("Gather", [x, "first.at"], "first", axis=1)
    graph.node("Cast", ["attention_mask"], "mask.floats", to=TensorProto.FLOAT)
    graph.node("Unsqueeze", ["mask.floats", "last.axis"], "weight")
    graph.node("Mul", [x, "weight"], "weighed")
    graph.constant("pieces.axis", np.array([1], np.int64))
    graph.node("ReduceSum", ["weighed", "pieces.axis"], "total", keepdims=0)
    graph.node("ReduceSum", ["weight", "pieces.axis"], "count", keepdims=0)
    graph.node("Div", ["total", "count"], "mean")
    graph.constant("one", np.array(1, np.float32))
    graph.constant("far", np.array(100, np.float32))
    graph.node("Sub", ["weight", "one"], "padding")
    graph.node("Mul", ["padding", "far"], "padding.far")
    graph.node("Add", [x, "padding.far"], "present")
    graph.node("ReduceMax", ["present"], "most", axes=[1], keepdims=0)
    graph.node("Concat", ["first", "mean", "most"], "pooled", axis=1)
    graph.constant("head.weight", weights["head.weight"][:1].T)
    graph.constant("head.bias", weights["head.bias"][:1])
    graph.node("Gemm", ["pooled", "head.weight", "head.bias"], "head")
    graph.node("Squeeze", ["head", "last.axis"], "logit")


def write_onnx(weights: Weights, path: Path, *, heads: int = 12) -> None:
    """Write the model. ``weights``: as ``model.CrossEncoder.arrays`` names them, float32."""
    graph = Graph()
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
    x = _embedded(graph, weights)
    graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    for at in range(layers):
        x = _layer(graph, weights, at, x, heads)
    _head(graph, weights, x)
    names = ("input_ids", "attention_mask", "token_type_ids")
    ints = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in names]
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])
    made = helper.make_graph(graph.nodes, "same_answer", ints, [logit], list(graph.constants.values()))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(made, opset_imports=opsets, producer_name="yamabiko", ir_version=8)
    path.write_bytes(model.SerializeToString())
