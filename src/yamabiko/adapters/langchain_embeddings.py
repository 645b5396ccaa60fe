"""LangChain's Embeddings: any of them with a memory, and Yamabiko's embedders as one of them."""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Lock
from typing import Literal, TypeAlias

from langchain_core.embeddings import Embeddings

from yamabiko.adapters.langchain_caller import Caller
from yamabiko.adapters.langchain_values import Values
from yamabiko.adapters.reach import Reach
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.ports import Embedder
from yamabiko.sync import SyncCache

_Kind: TypeAlias = Literal["query", "document"]


class YamabikoEmbeddings(Embeddings):
    """Another Embeddings that embeds each text once: one text, one vector, to the last bit.

    ``model`` names what makes the vectors, so that those of two models never mix: ``"text-embedding-3-small/512"``.
    The last ``max_texts`` are kept in memory; ``cache`` (as for ``YamabikoCache``) keeps them in a store as well,
    under its byte budget and for ``ttl_seconds`` at most. Queries and documents are kept apart, since some models
    embed them differently. Vectors are shared by all tenants: a vector is a function of its text, and no text is kept.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        model: str,
        cache: Cache | SyncCache | str | None = None,
        max_texts: int = 10_000,
        ttl_seconds: float = 90 * 86400.0,
    ) -> None:
        if not model:
            raise ConfigurationError("model must name what makes the vectors, such as 'text-embedding-3-small'")
        if max_texts < 1:
            raise ConfigurationError(f"max_texts must be 1 or more, not {max_texts}")
        self._embeddings, self._model = embeddings, model
        self._max_texts = max_texts
        options = {"embedder": "none"} if isinstance(cache, str) else {}
        self._reach = None if cache is None else Reach(cache, **options)
        self._values = Values("embeddings", ttl_seconds=ttl_seconds)
        self._vectors: OrderedDict[str, array[float]] = OrderedDict()
        self._lock = Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text; only those that were not embedded before are, each once."""
        return self._embedded(texts, "document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self._embedded([text], "query")[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As ``embed_documents``."""
        known = await self._found(texts, "document")
        if new := self._new(texts, known, "document"):
            known |= await self._kept(self._made(new, await self._embeddings.aembed_documents(list(new.values()))))
        return self._answer(texts, known, "document")

    async def aembed_query(self, text: str) -> list[float]:
        """As ``embed_query``."""
        known = await self._found([text], "query")
        if new := self._new([text], known, "query"):
            known |= await self._kept(self._made(new, [await self._embeddings.aembed_query(text)]))
        return self._answer([text], known, "query")[0]

    def close(self) -> None:
        """Close the cache, if it was opened here. May be called twice."""
        if self._reach is not None:
            self._reach.close()

    def _embedded(self, texts: Sequence[str], kind: _Kind) -> list[list[float]]:
        known = self._remembered(texts, kind)
        if self._reach is not None and (names := self._missing(texts, known, kind)):
            known |= self._read(self._reach.run(lambda cache: self._values.get(cache, names, Caller())))
        if new := self._new(texts, known, kind):
            asked = list(new.values())
            query = kind == "query"
            vectors = [self._embeddings.embed_query(asked[0])] if query else self._embeddings.embed_documents(asked)
            made = self._made(new, vectors)
            known |= made
            if self._reach is not None:
                self._reach.run(lambda cache: self._values.put(cache, _packed(made), Caller()))
        return self._answer(texts, known, kind)

    async def _found(self, texts: Sequence[str], kind: _Kind) -> dict[str, array[float]]:
        known = self._remembered(texts, kind)
        if self._reach is not None and (names := self._missing(texts, known, kind)):
            known |= self._read(await self._reach.awaited(lambda cache: self._values.get(cache, names, Caller())))
        return known

    async def _kept(self, made: dict[str, array[float]]) -> dict[str, array[float]]:
        if self._reach is not None:
            await self._reach.awaited(lambda cache: self._values.put(cache, _packed(made), Caller()))
        return made

    def _name(self, text: str, kind: _Kind) -> str:
        told = f"{len(self._model)}:{self._model}{kind}:{text}"
        return sha256(told.encode("utf-8", "surrogatepass")).hexdigest()

    def _remembered(self, texts: Sequence[str], kind: _Kind) -> dict[str, array[float]]:
        with self._lock:
            known = {}
            for name in {self._name(text, kind) for text in texts}:
                if (vector := self._vectors.get(name)) is not None:
                    self._vectors.move_to_end(name)
                    known[name] = vector
            return known

    def _missing(self, texts: Sequence[str], known: Mapping[str, array[float]], kind: _Kind) -> list[tuple[str, ...]]:
        return [(name,) for name in self._new(texts, known, kind)]

    def _new(self, texts: Sequence[str], known: Mapping[str, array[float]], kind: _Kind) -> dict[str, str]:
        """Names and texts that have no vector yet, each once, in order."""
        named = {self._name(text, kind): text for text in texts}
        return {name: text for name, text in named.items() if name not in known}

    def _read(self, values: Mapping[tuple[str, ...], bytes]) -> dict[str, array[float]]:
        read = {name: array("d", data) for (name,), data in values.items() if data and len(data) % 8 == 0}
        self._remember(read)
        return read

    def _made(self, new: Mapping[str, str], vectors: Sequence[Sequence[float]]) -> dict[str, array[float]]:
        if len(vectors) != len(new):
            raise EmbeddingError(f"{len(new)} texts came back as {len(vectors)} vectors")
        made = {name: array("d", vector) for name, vector in zip(new, vectors, strict=True)}
        self._remember(made)
        return made

    def _remember(self, vectors: Mapping[str, array[float]]) -> None:
        with self._lock:
            for name, vector in vectors.items():
                self._vectors[name] = vector
                self._vectors.move_to_end(name)
            while len(self._vectors) > self._max_texts:
                self._vectors.popitem(last=False)

    def _answer(self, texts: Sequence[str], known: Mapping[str, array[float]], kind: _Kind) -> list[list[float]]:
        return [known[self._name(text, kind)].tolist() for text in texts]


def _packed(vectors: Mapping[str, array[float]]) -> dict[tuple[str, ...], tuple[bytes, float | None]]:
    return {(name,): (vector.tobytes(), None) for name, vector in vectors.items()}


class EmbedderEmbeddings(Embeddings):
    """One of Yamabiko's embedders, such as the one on this device, as LangChain's Embeddings.

    Vectors are float32 of norm 1. A text that the model does not see all of raises ``EmbeddingError``: split it.
    Raises ``ConfigurationError`` for an embedder that has one model for Latin script and another for Japanese: a
    vector store would compare vectors that can't be compared.
    """

    def __init__(self, embedder: Embedder) -> None:
        if len({embedder.model_for(text) for text in ("mountain echo", "山びこ", "эхо")}) > 1:
            raise ConfigurationError(
                "this embedder has several models, whose vectors can't be compared: use one of them,"
                ' such as LocalEmbedder(only="use")'
            )
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text."""
        with ThreadPoolExecutor(1, "yamabiko-embed") as elsewhere:  # a loop may be running here
            return elsewhere.submit(lambda: asyncio.run(self.aembed_documents(texts))).result()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector per text."""
        if not texts:
            return []
        vectors = await self._embedder.embed(texts)
        unseen = [number for number, vector in enumerate(vectors) if vector is None]
        if unseen:
            raise EmbeddingError(f"the model does not see all of text {unseen[0]} of {len(texts)}: split it")
        return [[float(value) for value in vector] for vector in vectors if vector is not None]

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return (await self.aembed_documents([text]))[0]
