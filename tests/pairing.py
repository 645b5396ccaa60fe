"""A cross-encoder small enough to be made in a test: it likes two texts whose words have about the same numbers."""

import hashlib
import json

import onnx
import tokenizers
from onnx import TensorProto, helper

TREES = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "iris",
    "jade",
    "kelp",
    "lotus",
    "maple",
]
WORDS = ["please", "kindly", "open", "close", "the", "door", "window", "now", "開け", "閉め", "て", "窓", "を", *TREES]


def write_verifier(folder, *, languages=("en",), window=32, name="tiny", **more):
    """Model, tokenizer and manifest in a folder; returns the folder. ``more``: further members of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(), folder / "model.onnx")
    _tokenizer().save(str(folder / "tokenizer.json"))
    hashes = {file: _sha256(folder / file) for file in ("model.onnx", "tokenizer.json")}
    manifest = {
        "name": name,
        "version": "1",
        "model": "model.onnx",
        "tokenizer": "tokenizer.json",
        "sha256": hashes,
        "languages": list(languages),
        "window": window,
        "mix": {"bias": 0.0, "score_logit": 1.0, "verifier_logit": 1.0},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | more), encoding="utf-8")
    return folder


def expected(one, other):
    """The mean logit of both orders."""
    first, second = (sum(5 + WORDS.index(word) for word in text.split()) for text in (one, other))
    return sum(3 - 0.5 * abs(2 + difference) for difference in (first - second, second - first)) / 2


def _graph():
    nodes = [
        helper.make_node("Cast", [name], [f"{name}.f"], to=TensorProto.FLOAT)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    nodes += [
        helper.make_node("Mul", ["token_type_ids.f", "two"], ["doubled"]),
        helper.make_node("Sub", ["one", "doubled"], ["sign"]),
        helper.make_node("Mul", ["input_ids.f", "attention_mask.f"], ["seen"]),
        helper.make_node("Mul", ["seen", "sign"], ["signed"]),
        helper.make_node("ReduceSum", ["signed", "axis"], ["sum"], keepdims=0),
        helper.make_node("Abs", ["sum"], ["distance"]),
        helper.make_node("Mul", ["distance", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "three"], ["logit"]),
    ]
    numbers = {"one": 1.0, "two": 2.0, "three": 3.0, "scale": -0.5}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in numbers.items()]
    constants.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "tiny", inputs, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: at for at, piece in enumerate(special + WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
