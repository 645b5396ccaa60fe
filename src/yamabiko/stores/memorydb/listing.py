"""Which entries there are: the sorted sets beside them, and walking, removing and counting along these."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from typing import Any

from yamabiko.selecting import fits
from yamabiko.stores.memorydb import record
from yamabiko.stores.memorydb.connection import Argument, Connection
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.scripts import alone, writing
from yamabiko.types import Entry, Selector, StoreStats

PAGE = 500
"""Members of a sorted set that are read at once."""
STEP = 50
"""Entries that one script changes: the server answers nobody else meanwhile."""
ID = 64
"""Hexadecimal digits of an entry's id, at the end of a member."""

_ID = re.compile("[0-9a-f]{64}")


def token(kind: str, value: str) -> str:
    """Names a side set; of an empty value there is none, and the token ends in a hyphen."""
    return f"{kind}:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:32] if value else '-'}"


def tokens(entry: Entry) -> str:
    """All side sets that an entry belongs to, with a space after each."""
    scope = entry.scope
    named = [token("tenant", scope.tenant), token("user", scope.user), token("model", scope.model)]
    named += [token("tag", tag) for tag in entry.tags] + [token("source", source.uri) for source in entry.reply.sources]
    named += [token("base", source.base) for source in entry.reply.sources if source.base]
    if any(source.digest for source in entry.reply.sources):
        named += [f"{_state(source.uri, source.digest)}-" for source in entry.reply.sources]
    return "".join(f"{name} " for name in dict.fromkeys(named))


def _state(uri: str, digest: str) -> str:
    """A state of a document. With a hyphen behind, it is known of an entry and names no set."""
    return f"{token('of', uri)}:{token('', digest)[1:] if digest else '0'}"


def asked(selector: Selector) -> list[str]:
    """The side sets that an entry must belong to."""
    pairs = (
        ("tenant", selector.tenant),
        ("user", selector.user),
        ("model", selector.model),
        ("tag", selector.tag),
        ("source", selector.source),
        ("base", selector.base),
    )
    return [token(kind, value) for kind, value in pairs if value is not None]


def conditions(selector: Selector) -> str:
    """What a selector asks for, id and life apart, as the scripts read it; nothing where it asks for nothing."""
    named = asked(selector)
    if selector.source is not None and selector.except_digest is not None:
        named.append(f"not:{_state(selector.source, selector.except_digest)}")
    return " ".join(named)


def barrier(selector: Selector) -> str:
    """The same with the id: what a purge is remembered by."""
    if selector.id is None:
        return conditions(selector)
    return f"id:{selector.id if _ID.fullmatch(selector.id) else '-'} {conditions(selector)}".strip()


class Listing:
    """Walks the entries of one cache. Never in the way of a look-up."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout

    async def remove(self, selector: Selector) -> int:
        """Remove what fits, some entries at a time; how many went."""
        removed = 0
        dead_at = "" if selector.dead_at is None else repr(record.until(selector.dead_at))
        wanted = (dead_at, conditions(selector), self._layout.shared)
        if selector.id is not None:
            return int(await self.change("remove", (*wanted, selector.id)))
        async for page in self.pages(await self._smallest(selector)):
            for some in steps(ids(page)):
                removed += await self.change("remove", (*wanted, *some))
        return removed

    async def change(self, name: str, arguments: Sequence[Argument]) -> Any:
        """Run a script that changes entries."""
        layout = self._layout
        keys = (layout.all, layout.life, layout.scopes, layout.counters)
        return await self._connection.run(
            writing(name), keys, (layout.questions, layout.anchors, layout.sides, *arguments)
        )

    async def entries(self, selector: Selector) -> AsyncIterator[Entry]:
        """What fits, oldest first, each at most once."""
        seen: set[bytes] = set()
        if selector.id is not None:
            for entry in await self.whole([selector.id.encode("utf-8", "replace")]):
                if fits(entry, selector):
                    yield entry
            return
        async for page in self.pages(await self._smallest(selector)):
            for some in steps(ids(page)):
                for entry in await self.whole(some):
                    if fits(entry, selector) and (name := bytes.fromhex(entry.id)) not in seen:
                        seen.add(name)
                        yield entry

    async def whole(self, ids: Sequence[bytes]) -> list[Entry]:
        """These entries with all their questions; those that are gone are left out."""
        layout = self._layout
        found = await self._connection.run(
            alone("whole"), (layout.all,), (layout.questions, layout.anchors, layout.vector_field, *ids)
        )
        return [entry for row in found if row is not None and (entry := self._whole(row)) is not None]

    def _whole(self, row: Sequence[Any]) -> Entry | None:
        questions = [
            question
            for digest, _, text, vector, signature in row[1:]
            if (question := record.decode_question(digest, text, signature, vector, self._layout.dim)) is not None
        ]
        entry = record.decode_answer(row[1][1], tuple(questions))
        if entry is None or not questions:
            return None
        questions.sort(key=lambda question: question.digest.hex() != entry.id)
        return record.with_questions(entry, tuple(questions))

    async def _smallest(self, selector: Selector) -> str:
        """The smallest set that holds all that fit."""
        sets = [self._layout.sides + name for name in asked(selector) if not name.endswith("-")]
        sizes = [(await self._connection.command("ZCARD", name), name) for name in sets]
        return min(sizes, default=(0, self._layout.all))[1]

    async def due(self, now: float) -> AsyncIterator[list[bytes]]:
        """The members whose entries the server should have let go by ``now``."""
        async for page in self.pages(self._layout.life, str(int(now * 1000))):
            yield page

    async def scan(self, prefix: str) -> AsyncIterator[list[bytes]]:
        """Keys that begin so, by walking the server's keyspace; one may come twice."""
        cursor = b"0"
        while True:
            cursor, keys = await self._connection.command("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", PAGE)
            if keys:
                yield keys
            if cursor == b"0":
                return

    async def pages(self, name: str, high: str = "+inf") -> AsyncIterator[list[bytes]]:
        """The members of a sorted set, by score up to ``high``, nothing twice.

        What is added or removed meanwhile is seen or not. All of one score come together, since they can't be told
        apart by it.
        """
        async for members, _ in self.marked(name, high=high):
            yield members

    async def marked(
        self, name: str, *, after: str = "-inf", high: str = "+inf"
    ) -> AsyncIterator[tuple[list[bytes], str]]:
        """As ``pages``, and with each page the mark ``after`` which the next one begins."""
        while True:
            page = await self._range(name, after, high, "LIMIT", 0, PAGE)
            if len(page) == PAGE:
                last = page[-1][1]
                page = [row for row in page if row[1] != last] + await self._range(name, last.decode(), last.decode())
            if not page:
                return
            after = f"({page[-1][1].decode()}"
            yield [member for member, _ in page], after

    async def _range(self, name: str, low: str, high: str, *limit: Argument) -> list[tuple[bytes, bytes]]:
        flat = await self._connection.command("ZRANGE", name, low, high, "BYSCORE", *limit, "WITHSCORES")
        return list(_pairs(flat))

    async def stats(self) -> StoreStats:
        """Counts and sizes, as the counters have them."""
        layout = self._layout
        entries, scopes, counters = await self._connection.run(
            alone("stats"), (layout.all, layout.scopes, layout.counters), ()
        )
        questions, vectors, payload = (int(value or 0) for value in counters)
        return StoreStats(entries=entries, questions=questions, vectors=vectors, scopes=scopes, payload_bytes=payload)


def ids(members: Sequence[bytes]) -> list[bytes]:
    """What members of the sorted sets, or keys, stand for."""
    return [member[-ID:] for member in members]


def steps(page: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """As many at a time as one script may change."""
    return (page[at : at + STEP] for at in range(0, len(page), STEP))


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
