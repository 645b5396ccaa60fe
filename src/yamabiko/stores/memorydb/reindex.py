"""A second index beside the first, over the same hashes: how a cache moves to another embedder while it serves.

Entries get vectors for the new index (``add_embedding``), then the cache is declared to be the new embedder's
(``adopt``), and in the end the old index goes (``retire``). Processes of both embedders answer meanwhile: the very same
questions from each other's entries, questions of the same meaning each from its own index.
"""

from __future__ import annotations

from yamabiko.errors import ConfigurationError
from yamabiko.stores import eviction, intake
from yamabiko.stores.memorydb import record
from yamabiko.stores.memorydb.connection import Argument, Connection
from yamabiko.stores.memorydb.failures import IndexUnavailable
from yamabiko.stores.memorydb.layout import FORMAT, Layout
from yamabiko.stores.memorydb.listing import Listing, ids, steps
from yamabiko.stores.memorydb.opening import recorded
from yamabiko.types import Entry

_BEFORE = ("old_embedder", "old_dim")


async def add_embedding(listing: Listing, layout: Layout, entry: Entry) -> bool:
    """Give the entry's questions their vectors in this index, and the entry its scope there.

    ``entry`` is as ``entries`` gave it, with new vectors and scope. False where it is gone or was replaced meanwhile.
    """
    intake.check_entry(entry, layout.dim)
    arguments: list[Argument] = [
        entry.id,
        repr(record.until(entry.created)),
        entry.scope.content.hex() + entry.scope.digest.hex(),
        record.encode_answer(entry),
        layout.life_field,
        layout.scope_field,
        layout.vector_field,
    ]
    for question in map(record.kept, entry.questions):
        arguments += [
            question.digest.hex(),
            record.encode_text(question),
            eviction.question_bytes(question),
            record.encode_vector(question.vector),
        ]
    return bool(await listing.change("embed", arguments))


async def adopt(connection: Connection, layout: Layout) -> None:
    """Declare that the cache is this embedder's: who opens it with another one is refused from now on.

    Whose it was is kept beside it until ``retire``, so that whoever was interrupted between the two can go on.
    """
    now = ("format", FORMAT, "embedder", layout.embedder, "dim", layout.dim)
    was = await recorded(connection, layout)
    if was is None or was == (layout.embedder, layout.dim):
        await connection.command("HSET", layout.meta, *now)
    else:
        await connection.command("HSET", layout.meta, *now, _BEFORE[0], was[0], _BEFORE[1], was[1])


async def left_behind(connection: Connection, layout: Layout) -> tuple[str, int] | None:
    """The embedder and dimension that the cache was adopted from and that nobody has retired yet."""
    embedder, dim = await connection.command("HMGET", layout.meta, *_BEFORE)
    return None if embedder is None or dim is None else (embedder.decode("utf-8", "replace"), int(dim))


async def retire(connection: Connection, listing: Listing, layout: Layout, *, embedder: str, dim: int) -> None:
    """Drop the index of another embedder and take its vectors out of the entries."""
    old = Layout(name=layout.name, embedder=embedder, dim=dim)
    if old.index == layout.index:
        raise ConfigurationError("this is the index that the cache uses: adopt another embedder first")
    try:
        await connection.command("FT.DROPINDEX", old.index)
    except IndexUnavailable as error:
        if not error.gone:
            raise
    async for page in listing.pages(layout.all):
        for some in steps(ids(page)):
            await listing.change("retire", (old.scope_field, old.vector_field, *some))
    if await left_behind(connection, layout) == (embedder, dim):
        await connection.command("HDEL", layout.meta, *_BEFORE)
