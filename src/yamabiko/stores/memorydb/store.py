"""The store that many processes share: MemoryDB, and with the same code Valkey, ElastiCache and Redis with search."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from yamabiko.errors import Outdated
from yamabiko.stores import eviction, intake
from yamabiko.stores.memorydb import dialect, record, reindex
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.check import Check
from yamabiko.stores.memorydb.connection import Argument, Connection, Credentials
from yamabiko.stores.memorydb.failures import IndexUnavailable, OutOfTime
from yamabiko.stores.memorydb.health import Health, health
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.listing import Listing, tokens
from yamabiko.stores.memorydb.opening import prepare, recorded
from yamabiko.stores.memorydb.scripts import dated, writing
from yamabiko.stores.memorydb.shared import SharedKeys
from yamabiko.stores.memorydb.upkeep import Upkeep
from yamabiko.types import (
    MAX_QUESTIONS,
    Candidate,
    Entry,
    Key,
    Question,
    Scope,
    Selector,
    StoreStats,
    Vector,
)

GRACE_SECONDS = 3600.0
"""How long the server keeps what is dead: a look-up can say that it has expired, and clocks may differ."""
LONGEST_SECONDS = 10 * 365 * 86400.0
"""What lives for ever has this expiry on the server: without any, ``volatile-*`` policies could never evict it."""
SPARE_ROWS = 3
"""Rows that a search asks the index for beyond its limit: an entry may have several questions near the one that was
asked. With few rows RediSearch walks its graph, with more it compares all of a scope."""
NEAR = 0.8
"""From this similarity on a search by range is worth its while: farther out it finds too many."""
RANGE_FROM = 2000
"""So many entries a cache must have before it is asked by range unbidden. In a small graph whose entries come and go
some can't be reached from others, and a range misses them; all that KNN compares then is little."""
MOST_IN_RANGE = 1000
"""Rows that a search by range may give; where there are more, the nearest are asked for instead."""
ROWS_AT_ONCE = 50
"""Rows of which the answers are read in one step, where those of the first ones were not enough."""
MOST_ROWS = 10_000
"""Rows that a search asks for at most, the limit of valkey-search 1.2."""
NORM_SLACK = 2 * intake.NORM_TOLERANCE
"""How far a plain product may be from the engine's cosine, the norms being only nearly 1."""


class MemoryDBStore(SharedKeys):
    """Entries on a server that speaks Redis' protocol and has vector search; implements ``Store`` and ``SharedState``.

    ``open`` makes one. Use it from one event loop only. What the server evicts or expires ends in a clean miss.
    """

    def __init__(self, connection: Connection, layout: Layout, *, by_range: bool = False, beside: bool = False) -> None:
        super().__init__(connection, layout)
        self._by_range = by_range
        self._listing = Listing(connection, layout)
        self._upkeep = Upkeep(connection, layout, self._listing, beside=beside)

    @classmethod
    async def open(
        cls,
        address: Address,
        *,
        embedder: str,
        dim: int,
        timeout_seconds: float = 5.0,
        credentials: Credentials | None = None,
        beside: bool = False,
    ) -> MemoryDBStore:
        """Connect, check what the server can do, and make the index if there is none.

        ``beside`` opens the cache for another embedder than it was made for, to give its entries second vectors
        (``add_embedding``). Raises ``ConfigurationError``, ``StoreMismatch`` or ``StoreUnavailable``.
        """
        layout = Layout(name=address.name, embedder=embedder, dim=dim)
        connection = await _connect(address, credentials, timeout_seconds)
        try:
            profile = await prepare(connection, layout, embedder=embedder, dim=dim, beside=beside)
            by_range = dialect.BY_RANGE[profile] if address.search is None else address.search == "range"
            store = cls(connection, layout, by_range=by_range, beside=beside)
            if by_range and address.search is None:
                await store._upkeep.count()
        except BaseException:
            await connection.close()
            raise
        store._upkeep.start()
        return store

    @property
    def connection(self) -> Connection:
        """To the server."""
        return self._connection

    @property
    def layout(self) -> Layout:
        """The names on the server."""
        return self._layout

    # One entry, by key and by meaning.

    async def get(self, key: Key, /) -> Entry | None:
        """See ``Store.get``. One round trip, to the primary: what was acknowledged is found."""
        found = await self.get_or_purged(key)
        return found if isinstance(found, Entry) else None

    async def get_or_purged(self, key: Key, /) -> Entry | int | None:
        """See ``Dated.get_or_purged``. The same round trip."""
        self._check_open()
        digest, layout = key.hex, self._layout
        keys = (layout.questions + digest, layout.barrier, layout.purged)
        (row,) = await self._connection.run(dated("read"), keys, (layout.anchors, layout.scope_field, "dated"))
        if isinstance(row, bytes):
            return int(row)
        entry = self._read(row, digest)
        return entry if entry is not None and entry.scope.content == key.scope.content else None

    async def search(
        self, scope: Scope, vector: Vector, /, *, limit: int, min_similarity: float, now: float
    ) -> Sequence[Candidate]:
        """See ``Store.search``. Two round trips: the index, and one read of what is near enough."""
        self._check_open()
        intake.check_vector(vector, self._layout.dim)
        if not self._layout.indexed:
            return ()
        asked_norm = record.norm(vector)
        find = partial(
            self._candidates, limit=limit, scope=scope, asked_norm=asked_norm, min_similarity=min_similarity, now=now
        )
        wanted, query, floor = scope.digest.hex(), record.encode_vector(vector), min_similarity - NORM_SLACK
        entries = self._upkeep.entries
        if self._by_range and (entries is None or entries >= RANGE_FROM) and floor >= NEAR - NORM_SLACK:
            in_range = await self._in_range(wanted, query, 1.0 - floor)
            if in_range is not None:
                return await find([(key, 1.0 - distance) for key, distance in in_range])
        k, alive = limit + SPARE_ROWS, None
        while True:
            rows = await self._rows(dialect.knn(self._layout, wanted, query, k, alive))
            near = [(key, 1.0 - distance) for key, distance in rows if 1.0 - distance >= floor]
            found = await find(near)
            if len(found) >= limit or len(near) < k or k >= MOST_ROWS:
                return found
            k, alive = min(4 * k, MOST_ROWS), now  # the dead, or questions of few entries, crowd the others out

    async def _in_range(self, scope_hex: str, query: bytes, distance: float) -> list[tuple[bytes, float]] | None:
        """All rows up to a cosine distance; None where there are too many, or the engine found no end."""
        try:
            rows = await self._rows(dialect.within(self._layout, scope_hex, query, distance, MOST_IN_RANGE))
        except OutOfTime:
            return None
        return rows if len(rows) < MOST_IN_RANGE else None

    async def _rows(self, command: Sequence[Argument]) -> list[tuple[bytes, float]]:
        try:
            return dialect.rows(await self._connection.search(*command))
        except IndexUnavailable as error:
            self._upkeep.index_failed(error)
            raise

    async def _candidates(
        self,
        near: Sequence[tuple[bytes, float]],
        *,
        limit: int,
        scope: Scope,
        asked_norm: float,
        min_similarity: float,
        now: float,
    ) -> tuple[Candidate, ...]:
        """The first ``limit`` entries of these rows (key and cosine, nearest first), each with its best question.

        Answers are read until there are enough: very many rows may be near, and their answers are large.
        """
        layout, wanted = self._layout, scope.digest.hex().encode()
        best: dict[str, Candidate] = {}
        at, some = 0, limit + SPARE_ROWS
        while at < len(near) and len(best) < limit:
            rows = [(key.decode("ascii"), cosine) for key, cosine in near[at : at + some]]
            at, some = at + some, ROWS_AT_ONCE
            keys = [key for key, _ in rows]
            read = await self._connection.run(dated("read"), keys, (layout.anchors, layout.scope_field))
            for (key, cosine), row in zip(rows, read, strict=True):
                entry = self._read(row, key[-64:], scope)
                text = None if row is None else record.decode_text(row[2])
                if entry is None or text is None or row[3] != wanted or entry.stale_until <= now:
                    continue
                # The product with the vector as it is kept, as all stores compute it.
                similarity = max(-1.0, min(1.0, cosine * text[0] * asked_norm))
                known = best.get(entry.id)
                if similarity >= min_similarity and (known is None or similarity > known.similarity):
                    best[entry.id] = Candidate(entry=entry, similarity=similarity)
        return tuple(sorted(best.values(), key=lambda candidate: -candidate.similarity))[:limit]

    def _read(self, row: Any, digest: str, scope: Scope | None = None) -> Entry | None:
        """The entry of a row of ``read``; None where it is not the row that was asked for, or can't be read."""
        if row is None or row[0] != digest.encode():
            return None
        question = record.decode_question(row[0], row[2], row[4])
        return None if question is None else record.decode_answer(row[1], (question,), scope)

    # Changes: each is one script, atomic on the server.

    async def put(self, entry: Entry, /, *, now: float, fence: int | None = None) -> None:
        """See ``Store.put``. One round trip; the expiry is set in the same step."""
        self._check_open()
        layout = self._layout
        intake.check_entry(entry, layout.dim)
        lives = min(max(0.0, entry.stale_until - now) + GRACE_SECONDS, LONGEST_SECONDS)
        arguments: list[Argument] = [
            entry.id,
            "" if fence is None else fence,
            entry.scope.content.hex() + entry.scope.digest.hex(),
            record.encode_answer(entry),
            repr(record.until(entry.stale_until)),
            int(lives * 1000),
            repr(record.until(entry.created)),
            eviction.entry_bytes(entry),
            tokens(entry),
            layout.life_field,
            layout.scope_field,
            layout.vector_field,
            MAX_QUESTIONS,
        ]
        for question in {question.digest: question for question in entry.questions}.values():
            arguments += self._question(question)
        stored = await self._write("put", [layout.barrier, layout.fence, layout.purged], arguments)
        if not stored:
            raise Outdated

    async def alias(self, entry_id: str, question: Question, /) -> bool:
        """See ``Store.alias``."""
        self._check_open()
        layout = self._layout
        intake.check_question(question, layout.dim)
        fields = (layout.life_field, layout.scope_field, layout.vector_field)
        return bool(await self._write("alias", [], [entry_id, *fields, MAX_QUESTIONS, *self._question(question)]))

    def _question(self, question: Question) -> list[Argument]:
        kept = record.kept(question)
        return [
            question.digest.hex(),
            record.encode_text(kept),
            eviction.question_bytes(kept),
            record.encode_vector(kept.vector),
            question.signature,
        ]

    async def _write(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        layout = self._layout
        return await self._connection.run(
            writing(name),
            (layout.all, layout.life, layout.scopes, layout.counters, *keys),
            (layout.questions, layout.anchors, layout.sides, *arguments),
        )

    def touch(self, entry_id: str, /) -> None:
        """See ``Store.touch``: counted here, written every second or so. The server's LRU needs none of it."""
        if not self._closed:
            self._upkeep.touch(entry_id)

    async def delete(self, entry_id: str, /) -> bool:
        """See ``Store.delete``."""
        self._check_open()
        return await self._listing.remove(Selector(id=entry_id)) > 0

    async def purge(self, selector: Selector, /) -> int:
        """See ``Store.purge``: in steps that follow the side sets, with as much work as there is to remove.

        Where the server may have evicted side sets (``allkeys-*``, after evictions), all keys are looked at first, and
        again where it went on evicting meanwhile.
        """
        self._check_open()
        await self.outdate(selector)
        seen = await self._upkeep.complete()
        removed = await self._listing.remove(selector)
        if seen is not None and (await self._upkeep.complete() or None) != seen:  # some of it fell apart meanwhile
            removed += await self._listing.remove(selector)
        return removed

    async def entries(self, selector: Selector, /) -> AsyncIterator[Entry]:
        """See ``Store.entries``."""
        self._check_open()
        await self._upkeep.complete()
        async for entry in self._listing.entries(selector):
            yield entry

    # Another embedder for the same entries: see ``reindex``.

    @classmethod
    async def recorded(
        cls, address: Address, *, credentials: Credentials | None = None, timeout_seconds: float = 5.0
    ) -> tuple[str, int] | None:
        """Embedder and dimension that the cache there was made for; None where there is none."""
        connection = await _connect(address, credentials, timeout_seconds)
        try:
            return await recorded(connection, Layout(name=address.name, embedder="", dim=0))
        finally:
            await connection.close()

    async def add_embedding(self, entry: Entry) -> bool:
        """Give an entry of ``entries`` vectors and scope in this store's index; False where it has changed since."""
        self._check_open()
        return await reindex.add_embedding(self._listing, self._layout, entry)

    async def adopt(self) -> None:
        """Declare that the cache is this store's embedder's."""
        self._check_open()
        await reindex.adopt(self._connection, self._layout)

    async def retire(self, *, embedder: str, dim: int) -> None:
        """Drop another embedder's index and vectors. Raises ``ConfigurationError`` for this store's own."""
        self._check_open()
        await reindex.retire(self._connection, self._listing, self._layout, embedder=embedder, dim=dim)

    async def left_behind(self) -> tuple[str, int] | None:
        """The embedder and dimension that the cache was adopted from and that nobody has retired yet."""
        self._check_open()
        return await reindex.left_behind(self._connection, self._layout)

    # The whole.

    async def stats(self) -> StoreStats:
        """See ``Store.stats``. Counters on the server; what it has expired or evicted is counted until it is swept."""
        self._check_open()
        return await self._listing.stats()

    async def health(self) -> Health:
        """The server's memory and evictions, the index, and what this process's connection went through."""
        self._check_open()
        return await health(self._connection, self._layout)

    async def check(self) -> Sequence[str]:
        """See ``Store.check``. Sweeps first, then looks at every key of this cache."""
        self._check_open()
        return await Check(self._connection, self._layout, self._listing, self._upkeep).faults()

    async def close(self) -> None:
        """See ``Store.close``."""
        if not self._closed:
            self._closed = True
            try:
                await self._upkeep.stop()
            finally:
                await self._connection.close()


async def _connect(address: Address, credentials: Credentials | None, timeout_seconds: float) -> Connection:
    if credentials is not None:
        await credentials.current()  # the first ones may take longer to find than a server may to answer
    return await Connection.open(address, credentials=credentials, timeout_seconds=timeout_seconds)
