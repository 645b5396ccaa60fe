"""InvokeModel of the embedding models: Titan V2 and G1, Cohere v3 and v4.

Source: Bedrock user guide, "Amazon Titan Embeddings Text" and "Cohere Embed v3", "Cohere Embed v4" (read 2026-11-23).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from yamabiko.testing.bedrock.checks import malformed, one_of, only_keys
from yamabiko.testing.bedrock.faults import invalid
from yamabiko.testing.bedrock.models import BedrockModel
from yamabiko.testing.bedrock.vectors import count_tokens, first_tokens, normalised

Embed: TypeAlias = Callable[[str, int], Sequence[float]]
"""A text and a dimension; gives that many components."""

TITAN_TOKENS = 8_192
_TITAN_V2_DIMENSIONS = (1_024, 512, 256)
_COHERE_V4_DIMENSIONS = (1_536, 1_024, 512, 256)
_COHERE_TEXTS = 96
_COHERE_V3_CHARACTERS = 2_048
_COHERE_TYPES = ("float", "int8", "uint8", "binary", "ubinary")
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
_V3_KEYS = ("texts", "input_type", "truncate", "embedding_types")


@dataclass(frozen=True, slots=True)
class Invoked:
    """The body of an answer of InvokeModel, and the tokens that the headers tell."""

    body: Mapping[str, Any] = field(repr=False)
    input_tokens: int
    output_tokens: int = 0


def embed_with(model: BedrockModel, body: Mapping[str, Any], embed: Embed) -> Invoked:
    """What the embedding model ``model`` says to ``body``; raises ``Refused``."""
    if model.kind == "titan_v2":
        return _titan_v2(body, embed)
    if model.kind == "titan_g1":
        return _titan_g1(body, embed)
    if model.kind == "cohere_v3":
        return _cohere_v3(body, embed)
    if model.kind == "cohere_v4":
        return _cohere_v4(body, embed)
    raise invalid("The provided model doesn't support this request.")


def _titan_v2(body: Mapping[str, Any], embed: Embed) -> Invoked:
    only_keys(body, ("inputText", "dimensions", "normalize", "embeddingTypes"), ("inputText",))
    text = _titan_text(body)
    dim = one_of(body, "dimensions", _TITAN_V2_DIMENSIONS, 1_024)
    normalize = one_of(body, "normalize", (True, False), default=True)
    kinds = body.get("embeddingTypes", ["float"])
    if not isinstance(kinds, list) or not kinds or any(kind not in ("float", "binary") for kind in kinds):
        raise malformed("#/embeddingTypes: the value is not a valid enum value")
    tokens = _titan_tokens(text)
    vector = _vector(embed, text, dim)
    if normalize:
        vector = normalised(vector)
    shapes = {"float": vector, "binary": [int(part > 0) for part in vector]}
    told: dict[str, Any] = {"embedding": vector} if "float" in kinds else {}
    return Invoked(
        told | {"embeddingsByType": {kind: shapes[kind] for kind in kinds}, "inputTextTokenCount": tokens}, tokens
    )


def _titan_g1(body: Mapping[str, Any], embed: Embed) -> Invoked:
    only_keys(body, ("inputText",), ("inputText",))
    text = _titan_text(body)
    tokens = _titan_tokens(text)
    return Invoked({"embedding": normalised(_vector(embed, text, 1_536)), "inputTextTokenCount": tokens}, tokens)


def _titan_text(body: Mapping[str, Any]) -> str:
    text = body["inputText"]
    if not isinstance(text, str):
        raise malformed(f"#/inputText: expected type: String, found: {_json_type(text)}")
    if not text:
        raise malformed("#/inputText: expected minLength: 1, actual: 0")
    return text


def _titan_tokens(text: str) -> int:
    tokens = count_tokens(text)
    if tokens > TITAN_TOKENS:
        raise invalid(
            f"400 Bad Request: Too many input tokens. Max input tokens: {TITAN_TOKENS}, request input token count:"
            f" {tokens} "
        )
    return max(1, tokens)


def _vector(embed: Embed, text: str, dim: int) -> list[float]:
    vector = [float(part) for part in embed(text, dim)]
    if len(vector) != dim or not all(math.isfinite(part) for part in vector):
        raise ValueError(f"embed must give {dim} finite components, and gave {len(vector)}")
    return vector


def _cohere_v3(body: Mapping[str, Any], embed: Embed) -> Invoked:
    only_keys(body, _V3_KEYS, ("texts", "input_type"))
    texts = _cohere_texts(body)
    for text in texts:
        if len(text) > _COHERE_V3_CHARACTERS:
            raise malformed(f"#/texts: expected maxLength: {_COHERE_V3_CHARACTERS}, actual: {len(text)}")
    one_of(body, "truncate", ("NONE", "START", "END"), "NONE")
    vectors = [normalised(_vector(embed, text, 1_024)) for text in texts]
    return _cohere_answer(body, texts, vectors, sum(max(1, count_tokens(text)) for text in texts))


def _cohere_v4(body: Mapping[str, Any], embed: Embed) -> Invoked:
    only_keys(body, (*_V3_KEYS, "output_dimension", "max_tokens"), ("texts", "input_type"))
    texts = _cohere_texts(body)
    dim = one_of(body, "output_dimension", _COHERE_V4_DIMENSIONS, 1_536)
    one_of(body, "truncate", ("NONE", "LEFT", "RIGHT"), "NONE")
    limit = body.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise malformed("#/max_tokens: expected a positive integer")
    read = texts if limit is None else [first_tokens(text, limit) for text in texts]
    vectors = [normalised(_vector(embed, text, dim)) for text in read]
    return _cohere_answer(body, texts, vectors, sum(max(1, count_tokens(text)) for text in read))


def _cohere_texts(body: Mapping[str, Any]) -> list[str]:
    texts = body["texts"]
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise malformed("#/texts: expected a list of texts that are not empty")
    if not 1 <= len(texts) <= _COHERE_TEXTS:
        raise malformed(f"#/texts: expected item count: 1 to {_COHERE_TEXTS}, found: {len(texts)}")
    one_of(body, "input_type", _INPUT_TYPES, "")
    return texts


def _cohere_answer(
    body: Mapping[str, Any], texts: Sequence[str], vectors: Sequence[Sequence[float]], tokens: int
) -> Invoked:
    told: dict[str, Any] = {"id": "00000000-0000-4000-8000-000000000000", "texts": list(texts)}
    kinds = body.get("embedding_types")
    if kinds is None:
        return Invoked(told | {"response_type": "embeddings_floats", "embeddings": vectors}, tokens)
    if not isinstance(kinds, list) or not kinds or any(kind not in _COHERE_TYPES for kind in kinds):
        raise malformed("#/embedding_types: the value is not a valid enum value")
    by_type = {kind: [_quantised(vector, kind) for vector in vectors] for kind in kinds}
    return Invoked(told | {"response_type": "embeddings_by_type", "embeddings": by_type}, tokens)


def _quantised(vector: Sequence[float], kind: str) -> list[float] | list[int]:
    if kind == "float":
        return list(vector)
    if kind in ("int8", "uint8"):
        shift = 128 if kind == "uint8" else 0
        return [max(-128, min(127, round(part * 127))) + shift for part in vector]
    packed = [
        sum((part > 0) << (7 - at) for at, part in enumerate(vector[start : start + 8]))
        for start in range(0, len(vector), 8)
    ]
    return packed if kind == "ubinary" else [byte - 128 for byte in packed]


def _json_type(value: object) -> str:
    names: Mapping[type, str] = {type(None): "Null", bool: "Boolean", int: "Integer", list: "JSONArray"}
    return names.get(type(value), "JSONObject" if isinstance(value, dict) else "Number")
