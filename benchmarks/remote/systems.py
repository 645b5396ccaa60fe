"""What is measured against what: our store and cache, bare commands, and two other caches, on the same server."""

# ruff: noqa: ARG002  (every system is called with the same arguments)

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import redis
import redis.asyncio

from yamabiko import Cache, Hit, Miss, Policy, Reply, Request, open_cache
from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.types import Entry, Key, Question

EMBEDDER, MODEL, TENANT = "fake", "m1", "acme"
MIN_SIMILARITY = 0.9  # fixed in langchain-aws, whatever score_threshold says, and so the same for all
TTL_SECONDS = 3600


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A question with its vector, made beforehand so that embedding costs nobody anything, and its answer."""

    text: str
    vector: np.ndarray
    listed: list[float]
    answer: str

    @property
    def request(self) -> Request:
        return Request(self.text, model=MODEL, tenant=TENANT)


class System(Protocol):
    """Something to measure. ``calls`` has a function for each operation that it knows; either all of them are
    coroutine functions (``asynchronous``) or none. They return the answer's text, or None."""

    name: str
    asynchronous: bool
    calls: dict[str, Callable[[Any], Any]]

    async def fill(self, rows: Sequence[Row]) -> None:
        """Store many, the fastest way there is; what shares its data with a system before it does nothing."""

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Any]:
        """What the operation is called with: made before the clock runs."""

    async def close(self) -> None:
        """Let go of all connections."""


def key_of_request(request: Request) -> Key:
    return key_of(request, normalise(request), embedder=EMBEDDER, policy=Policy())


def key_for(row: Row) -> Key:
    return key_of_request(row.request)


def entry_of(request: Request, vector: np.ndarray, answer: str) -> Entry:
    """What ``Cache.remember`` would store."""
    key, now = key_of_request(request), time.time()
    question = Question(digest=key.digest, text=normalise(request).question, vector=vector)
    reply = Reply(text=answer, model=MODEL, latency_seconds=1.0)
    ends = now + TTL_SECONDS
    return Entry(
        id=key.hex, scope=key.scope, questions=(question,), reply=reply, created=now, expires=ends, stale_until=ends
    )


def entry_for(row: Row) -> Entry:
    return entry_of(row.request, row.vector, row.answer)


async def open_store(port: int, dim: int, *, name: str = "bench") -> MemoryDBStore:
    address = Address.parse(f"redis://127.0.0.1:{port}?name={name}")
    return await MemoryDBStore.open(address, embedder=EMBEDDER, dim=dim, timeout_seconds=30.0)


class OurStore:
    """The store alone, for comparison with bare commands."""

    name, asynchronous = "MemoryDBStore", True

    def __init__(self, store: MemoryDBStore) -> None:
        self._store = store
        self.calls: dict[str, Callable[[Any], Awaitable[str | None]]] = {
            "exact": self._get,
            "near": self._search,
            "write": self._put,
        }

    async def fill(self, rows: Sequence[Row]) -> None:
        for at in range(0, len(rows), 256):
            await asyncio.gather(*(self._put(entry_for(row)) for row in rows[at : at + 256]))

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Any]:
        make: dict[str, Callable[[Row], Any]] = {
            "exact": key_for,
            "near": lambda row: (key_for(row).scope, row.vector),
            "write": entry_for,
        }
        return [make[operation](row) for row in rows]

    async def _get(self, key: Key) -> str | None:
        entry = await self._store.get(key)
        return None if entry is None else entry.reply.text

    async def _search(self, asked: tuple[Any, np.ndarray]) -> str | None:
        scope, vector = asked
        found = await self._store.search(scope, vector, limit=1, min_similarity=MIN_SIMILARITY, now=time.time())
        return found[0].entry.reply.text if found else None

    async def _put(self, entry: Entry) -> str:
        await self._store.put(entry, now=entry.created)
        return entry.reply.text

    async def close(self) -> None:
        await self._store.close()


class Precomputed:
    """An embedder that looks its vectors up."""

    id = EMBEDDER

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.vectors: dict[str, np.ndarray] = {}

    def model_for(self, text: str, /) -> str:
        return self.id

    async def embed(self, texts: Sequence[str], /) -> Sequence[np.ndarray]:
        return [self.vectors[text] for text in texts]

    async def close(self) -> None:
        return None


class OurCache:
    """The whole path: ``lookup``, and ``remember`` of what was looked up before."""

    name, asynchronous = "Yamabiko", True

    def __init__(self, cache: Cache, embedder: Precomputed) -> None:
        self._cache, self._embedder = cache, embedder
        self.calls: dict[str, Callable[[Any], Awaitable[str | None]]] = {
            "exact": self._ask,
            "near": self._ask,
            "miss": self._ask,
            "write": self._remember,
        }

    async def fill(self, rows: Sequence[Row]) -> None:
        return None

    @classmethod
    async def open(cls, port: int, dim: int) -> OurCache:
        embedder = Precomputed(dim)
        policy = Policy(max_error_rate=None, min_similarity=MIN_SIMILARITY, ttl_seconds=TTL_SECONDS)
        return cls(await open_cache(store=await open_store(port, dim), embedder=embedder, policy=policy), embedder)

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Any]:
        self._embedder.vectors.update((row.text, row.vector) for row in rows)
        if operation != "write":
            return [row.text for row in rows]
        misses = [(await self._cache.lookup(row.request), row.answer) for row in rows]
        assert all(isinstance(miss, Miss) for miss, _ in misses)
        return misses

    async def _ask(self, text: str) -> str | None:
        outcome = await self._cache.lookup(Request(text, model=MODEL, tenant=TENANT))
        return outcome.reply.text if isinstance(outcome, Hit) else None

    async def _remember(self, asked: tuple[Miss, str]) -> str:
        miss, answer = asked
        entry = await self._cache.remember(miss, answer)
        assert entry is not None
        return answer

    async def close(self) -> None:
        await self._cache.close()


class Bare:
    """The least that could be sent for the same work, through ``redis.asyncio``, without looking at the answer.

    Bytes, index and scope filter are those of our store; ``near_any`` leaves the filter out, and so would answer with
    anybody's entries.
    """

    name, asynchronous = "bare commands", True

    def __init__(self, client: redis.asyncio.Redis, layout: Layout, fields: dict[bytes, bytes]) -> None:
        self._client, self._layout, self._fields = client, layout, fields
        self._value = b"".join(fields[name] for name in (b"a", b"t", b"e"))
        self.calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "exact": client.get,
            "near": self._search,
            "near_any": self._search,
            "write": self._write,
        }

    async def fill(self, rows: Sequence[Row]) -> None:
        return None

    @classmethod
    async def open(cls, port: int, dim: int, stored: Row) -> Bare:
        client = redis.asyncio.Redis(port=port, protocol=2)
        layout = Layout(name="bench", embedder=EMBEDDER, dim=dim)
        return cls(client, layout, await client.hgetall(layout.questions + key_for(stored).hex))

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Any]:
        if operation == "write":
            return [self._hash(row) for row in rows]
        if operation == "exact":
            keys = [f"bare:{key_for(row).hex}" for row in rows]
            await self._client.mset(dict.fromkeys(keys, self._value))
            return keys
        scope = key_for(rows[0]).scope.digest.hex()
        filters = "*" if operation == "near_any" else f"(@{self._layout.scope_field}:{{{scope}}})"
        query = f"{filters}=>[KNN 1 @{self._layout.vector_field} $v AS d]"
        return [(query, row.vector.tobytes()) for row in rows]

    def _hash(self, row: Row) -> tuple[str, dict[bytes, bytes], int]:
        vector = {self._layout.vector_field.encode(): row.vector.tobytes()}
        return f"{self._layout.questions}{key_for(row).hex}", self._fields | vector, round(time.time() + 3600) * 1000

    async def _search(self, asked: tuple[str, bytes]) -> Any:
        query, vector = asked
        tail = ("PARAMS", 2, "v", vector, "RETURN", 1, "d", "LIMIT", 0, 1, "DIALECT", 2)
        found = await self._client.execute_command("FT.SEARCH", self._layout.index, query, *tail)
        return await self._client.hmget(found[1], ("a", "t", "e"))

    async def _write(self, asked: tuple[str, dict[bytes, bytes], int]) -> Any:
        key, fields, expires = asked
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(key, mapping=fields)
        pipeline.pexpireat(key, expires)
        return await pipeline.execute()

    async def forget(self, rows: Iterable[Row]) -> None:
        """Take away what ``write`` wrote: no entry of our store stands behind it."""
        await self._client.delete(*(f"{self._layout.questions}{key_for(row).hex}" for row in rows))

    async def close(self) -> None:
        await self._client.aclose()


class RedisVL:
    """RedisVL's SemanticCache. It gets no filter for the tenant, which is faster for it, and no model to run."""

    def __init__(self, port: int, dim: int, *, asynchronous: bool) -> None:
        from redisvl.extensions.cache.llm import SemanticCache
        from redisvl.utils.vectorize import BaseVectorizer

        self.asynchronous = asynchronous
        self.name = f"RedisVL {'async' if asynchronous else 'sync'}"
        self._cache = SemanticCache(
            name="redisvl",
            distance_threshold=round(1 - MIN_SIMILARITY, 6),
            ttl=TTL_SECONDS,
            vectorizer=BaseVectorizer(model=EMBEDDER, dims=dim),
            redis_url=f"redis://127.0.0.1:{port}",
            connection_kwargs={"protocol": 2},
        )
        ask, write = (self._ask, self._write) if asynchronous else (self._ask_now, self._write_now)
        self.calls = {"exact": ask, "near": ask, "miss": ask, "write": write}

    async def fill(self, rows: Sequence[Row]) -> None:
        if self.asynchronous:
            from redisvl.extensions.cache.llm.schema import CacheEntry

            entries = (CacheEntry(prompt=row.text, response=row.answer, prompt_vector=row.listed) for row in rows)
            data = (entry.to_dict("float32") for entry in entries)
            self._cache.index.load(data, id_field="entry_id", ttl=TTL_SECONDS, batch_size=256)

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Row]:
        return rows

    def _ask_now(self, row: Row) -> str | None:
        found = self._cache.check(prompt=row.text, vector=row.listed)
        return found[0]["response"] if found else None

    def _write_now(self, row: Row) -> str:
        self._cache.store(row.text, row.answer, vector=row.listed)
        return row.answer

    async def _ask(self, row: Row) -> str | None:
        found = await self._cache.acheck(prompt=row.text, vector=row.listed)
        return found[0]["response"] if found else None

    async def _write(self, row: Row) -> str:
        await self._cache.astore(row.text, row.answer, vector=row.listed)
        return row.answer

    async def close(self) -> None:
        if self.asynchronous:
            await self._cache.adisconnect()
        else:
            self._cache.disconnect()


class LangChain:
    """langchain-aws's InMemorySemanticCache, which is synchronous. It sets no expiry and keys every write at random."""

    name, asynchronous = "langchain-aws", False

    def __init__(self, port: int, dim: int) -> None:
        from langchain_aws.vectorstores.inmemorydb.cache import InMemorySemanticCache
        from langchain_core.embeddings import Embeddings
        from langchain_core.outputs import Generation

        vectors: dict[str, list[float]] = {"test": [1.0] + [0.0] * (dim - 1)}  # asked for when the index is made

        class Ready(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return [vectors[text] for text in texts]

            def embed_query(self, text: str) -> list[float]:
                return vectors[text]

        self._vectors, self._generation = vectors, Generation
        warnings.filterwarnings("ignore", message="The default value of `allowed_objects`")
        logging.getLogger("langchain_aws").setLevel(logging.ERROR)
        self._cache = InMemorySemanticCache(f"redis://127.0.0.1:{port}?protocol=2", Ready(), MIN_SIMILARITY)
        self.calls = {"exact": self._ask, "near": self._ask, "miss": self._ask, "write": self._write}

    async def fill(self, rows: Sequence[Row]) -> None:
        from langchain_core.load.dump import dumps

        answers = (dumps([self._generation(text=row.answer)]) for row in rows)
        metadata = [
            {"llm_string": MODEL, "prompt": row.text, "return_val": answer}
            for row, answer in zip(rows, answers, strict=True)
        ]
        store = self._cache._get_llm_cache(MODEL)  # noqa: SLF001 - its own update() writes one at a time
        for at in range(0, len(rows), 256):
            part = slice(at, at + 256)
            texts, vectors = [row.text for row in rows[part]], [row.listed for row in rows[part]]
            store.add_texts(texts, metadata[part], vectors)

    async def prepare(self, operation: str, rows: Sequence[Row]) -> Sequence[Row]:
        self._vectors.update((row.text, row.listed) for row in rows)
        return rows

    def _ask(self, row: Row) -> str | None:
        found = self._cache.lookup(row.text, MODEL)
        return found[0].text if found else None

    def _write(self, row: Row) -> str:
        self._cache.update(row.text, MODEL, [self._generation(text=row.answer)])
        return row.answer

    async def close(self) -> None:
        self._cache._get_llm_cache(MODEL).client.close()  # noqa: SLF001 - there is no other way


def peers(port: int, dim: int) -> tuple[list[System], list[str]]:
    """The other caches that are installed, and a sentence for each that is not."""
    found: list[System] = []
    left_out = []
    for package, make in (
        ("redisvl", lambda: [RedisVL(port, dim, asynchronous=True), RedisVL(port, dim, asynchronous=False)]),
        ("langchain_aws", lambda: [LangChain(port, dim)]),
    ):
        if importlib.util.find_spec(package) is None:
            left_out.append(f"{package} is not installed: left out (the dependency group `peers` has it)")
        else:
            found += make()
    return found, left_out
