"""Step 4 of 9, on Amazon Bedrock: texts to vectors by Titan Text Embeddings or Cohere Embed.

Both sides of a comparison are questions: every text is embedded in the same way, with one ``input_type``.

Sources: Amazon Bedrock user guide, "Amazon Titan Embeddings Text", "Cohere Embed v3" and "v4" (read 2026-11-23).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np

from yamabiko.errors import ConfigurationError, EmbeddingError, ServiceError
from yamabiko.types import Vector

InputType: TypeAlias = Literal["search_query", "search_document", "classification", "clustering"]

_LONGEST_TOKEN = 6
"""Characters that a token has on average at most: a text of more than so many times the window is not even sent."""
_TOO_LONG = "ValidationException"
"""The service's word for a text beyond the window, as for all else that does not fit."""


class Invoked(Protocol):
    """A model's own JSON, and the tokens counted in what it was sent; 0 where nobody says."""

    @property
    def body(self) -> bytes:
        """The model's JSON."""

    @property
    def input_tokens(self) -> int:
        """Counted by the service."""


class Runtime(Protocol):
    """Bedrock, as far as an embedder needs it: ``yamabiko.aws.bedrock.BedrockRuntime``."""

    async def invoke(self, model: str, body: bytes, /) -> Invoked:
        """InvokeModel. Raises ``ServiceError``."""

    async def close(self) -> None:
        """Let go of threads and connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What one model takes: dimensions (the first is asked for by default), tokens and characters of a text."""

    dims: tuple[int, ...]
    window_tokens: int
    window_characters: int
    asks_dim: bool = True


_MODELS: Mapping[str, _Model] = MappingProxyType(
    {
        "amazon.titan-embed-text-v2:0": _Model(
            dims=(1024, 512, 256), window_tokens=8_192, window_characters=8_192 * _LONGEST_TOKEN
        ),
        "amazon.titan-embed-text-v1": _Model(
            dims=(1536,), window_tokens=8_192, window_characters=8_192 * _LONGEST_TOKEN, asks_dim=False
        ),
        "cohere.embed-english-v3": _Model(dims=(1024,), window_tokens=512, window_characters=2_048, asks_dim=False),
        "cohere.embed-multilingual-v3": _Model(
            dims=(1024,), window_tokens=512, window_characters=2_048, asks_dim=False
        ),
        "cohere.embed-v4:0": _Model(dims=(1024, 256, 512, 1536), window_tokens=128_000, window_characters=2_048),
    }
)


class _BedrockEmbedder:
    """What the two families share."""

    family: ClassVar[str]

    def __init__(self, runtime: Runtime, model: str, *, dim: int | None, together: int) -> None:
        self._name = _known(model, self.family)
        self._takes = _MODELS[self._name]
        self._dim = self._takes.dims[0] if dim is None else _fitting(self._name, dim)
        self._runtime = runtime
        self._model = model
        self._together = together
        self._input_tokens = 0
        self._closed = False

    @property
    def dim(self) -> int:
        """Number of components of every vector."""
        return self._dim

    @property
    def id(self) -> str:
        """Model and dimension; the same for every region and inference profile, whose weights are the same."""
        return f"bedrock:{self._name}/{self._dim}"

    @property
    def priced_as(self) -> str:
        """The model as the price file knows it."""
        return self._model

    @property
    def input_tokens(self) -> int:
        """Tokens that the service has counted in all that was sent."""
        return self._input_tokens

    def model_for(self, _text: str, /) -> str:
        """The id, for every text: what is known of one dimension says nothing of another."""
        return self.id

    async def close(self) -> None:
        """Close the runtime. May be called twice; what is asked afterwards raises ``EmbeddingError``."""
        self._closed = True
        await self._runtime.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _fitting_places(self, texts: Sequence[str]) -> list[int]:
        """Where texts stand that may fit into the window. Raises ``EmbeddingError`` for an empty one."""
        if self._closed:
            raise EmbeddingError("this embedder is closed; open a new one")
        if not all(text.strip() for text in texts):
            raise EmbeddingError("an empty text has no meaning that could be compared; leave it out")
        return [at for at, text in enumerate(texts) if len(text) <= self._takes.window_characters]

    def _may_be_too_long(self, text: str) -> bool:
        """No token is less than a byte."""
        return len(text.encode("utf-8", "replace")) > self._takes.window_tokens

    async def _asked(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        """The model's JSON, and the tokens that the service counted. Raises ``ServiceError``, ``EmbeddingError``."""
        try:
            invoked = await self._runtime.invoke(self._model, json.dumps(body).encode())
        except ConfigurationError as error:  # credentials that are gone: look-ups go on without a vector
            raise EmbeddingError(str(error)) from error
        try:
            answer = json.loads(invoked.body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EmbeddingError(f"{self._name} sent no JSON object")
        return answer, invoked.input_tokens

    def _units(self, rows: Any, count: int) -> Vector:
        """Shape (count, dim), L2 norm 1. Raises ``EmbeddingError``."""
        try:
            vectors = np.asarray(rows, dtype=np.float64)
        except (TypeError, ValueError):
            raise EmbeddingError(f"{self._name} sent embeddings that are no lists of numbers") from None
        if vectors.shape != (count, self._dim):
            raise EmbeddingError(f"{self._name} sent vectors of shape {vectors.shape}, not {(count, self._dim)}")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise EmbeddingError(f"{self._name} sent a vector without a direction (zero or not finite)")
        return np.asarray(vectors / norms, dtype=np.float32)


class TitanEmbedder(_BedrockEmbedder):
    """Titan Text Embeddings V2 (256, 512 or 1,024 components) or G1 (1,536).

    One text goes into one call, of which ``together`` (1 to 50) are under way at once. A text of more than 8,192 tokens
    gets None: the service refuses it. ``runtime`` is closed with the embedder; its deadline bounds each call.

    Raises ``ConfigurationError`` for another model or dimension, before any call: V2 has no 1,536 components.
    """

    MODEL: ClassVar[str] = "amazon.titan-embed-text-v2:0"
    family = "titan"

    def __init__(self, runtime: Runtime, model: str = MODEL, *, dim: int | None = None, together: int = 8) -> None:
        super().__init__(runtime, model, dim=dim, together=together)

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One float32 vector of shape (dim,) and L2 norm 1 per text, in order; None beyond the model's window.

        Raises ``EmbeddingError``, for an empty text too.
        """
        found: list[Vector | None] = [None] * len(texts)

        async def one(at: int) -> None:
            found[at] = await self._one(texts[at])

        await _each(one, self._fitting_places(texts), self._together)
        return found

    def may_fit(self, text: str) -> bool:
        """False for a text that surely exceeds the model's window."""
        return len(text) <= self._takes.window_characters

    def body_of(self, text: str) -> Mapping[str, Any]:
        """What the model is sent for a text; for a batch job too."""
        options = {"dimensions": self._dim, "normalize": True} if self._takes.asks_dim else {}
        return {"inputText": text, **options}

    def vector_from(self, answer: Mapping[str, Any]) -> Vector:
        """The vector in the model's JSON; counts its tokens. Raises ``EmbeddingError``."""
        told = answer.get("inputTextTokenCount")
        self._input_tokens += told if isinstance(told, int) else 0
        vector: Vector = self._units([answer.get("embedding")], 1)[0]
        return vector

    async def _one(self, text: str) -> Vector | None:
        try:
            answer, _ = await self._asked(self.body_of(text))
        except ServiceError as error:
            if error.code == _TOO_LONG and self._may_be_too_long(text):
                return None
            raise EmbeddingError(str(error)) from error
        return self.vector_from(answer)


class CohereEmbedder(_BedrockEmbedder):
    """Cohere Embed v3 (1,024 components) or v4 (256, 512, 1,024 or 1,536).

    At most 96 texts go into one call, of which ``together`` (1 to 50) are under way at once. ``input_type`` is that of
    every text, and part of ``id``. A text of more than 2,048 characters, or beyond the model's window, gets None:
    nothing is ever cut off. ``runtime`` and errors: as ``TitanEmbedder``.
    """

    MODEL: ClassVar[str] = "cohere.embed-multilingual-v3"
    TEXTS: ClassVar[int] = 96
    family = "cohere"

    def __init__(
        self,
        runtime: Runtime,
        model: str = MODEL,
        *,
        dim: int | None = None,
        input_type: InputType = "search_query",
        together: int = 4,
    ) -> None:
        super().__init__(runtime, model, dim=dim, together=together)
        self._input_type = input_type

    @property
    def id(self) -> str:
        """Model, dimension and input type."""
        return f"{super().id}/{self._input_type}"

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One float32 vector of shape (dim,) and L2 norm 1 per text, in order; None where the model can't see it all.

        Raises ``EmbeddingError``, for an empty text too.
        """
        found: list[Vector | None] = [None] * len(texts)
        places = self._fitting_places(texts)

        async def part(start: int) -> None:
            here = places[start : start + self.TEXTS]
            for at, vector in zip(here, await self._batch([texts[at] for at in here]), strict=True):
                found[at] = vector

        await _each(part, range(0, len(places), self.TEXTS), self._together)
        return found

    async def _batch(self, texts: Sequence[str]) -> list[Vector | None]:
        """A batch is refused as a whole for one text that is too long: then each half is asked, down to that text."""
        options = {"output_dimension": self._dim} if self._takes.asks_dim else {}
        body = {"texts": texts, "input_type": self._input_type, "truncate": "NONE", "embedding_types": ["float"]}
        try:
            answer, counted = await self._asked(body | options)
        except ServiceError as error:
            if error.code != _TOO_LONG or not any(self._may_be_too_long(text) for text in texts):
                raise EmbeddingError(str(error)) from error
            if len(texts) == 1:
                return [None]
            half = len(texts) // 2
            return [*await self._batch(texts[:half]), *await self._batch(texts[half:])]
        self._input_tokens += counted
        rows = answer.get("embeddings")
        return list(self._units(rows.get("float") if isinstance(rows, Mapping) else rows, len(texts)))


async def _each(do: Callable[[int], Awaitable[None]], items: Sequence[int], together: int) -> None:
    """``do`` for every item, a few at a time; the first failure ends them all."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await do(item)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(together, len(items))):
                workers.create_task(worker())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _known(model: str, family: str) -> str:
    """The model's name without region or profile. Raises ``ConfigurationError``."""
    found = re.search(r"(amazon\.titan-embed-text|cohere\.embed)[a-z0-9.:-]*$", model)
    name = found[0] if found else ""
    if name not in _MODELS or family not in name:
        known = ", ".join(known for known in _MODELS if family in known)
        raise ConfigurationError(f"embedder.model must be one of {known} for {family}, not {model!r:.120}")
    return name


def _fitting(name: str, dim: int) -> int:
    """Raises ``ConfigurationError``, with the reason."""
    dims = _MODELS[name].dims
    if dim not in dims:
        words = " or ".join(map(str, sorted(dims)))
        why = "; 1536 is what Titan G1 (amazon.titan-embed-text-v1) gives" if dim == 1536 and len(dims) == 3 else ""
        raise ConfigurationError(f"embedder.dim must be {words} for {name}, not {dim}: it gives no others{why}")
    return dim
