"""Figures for metrics and alarms: what the server says of itself and of the index. Never on the way of a look-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from yamabiko.errors import StoreError
from yamabiko.stores.memorydb import dialect
from yamabiko.stores.memorydb.connection import Connection, Figures
from yamabiko.stores.memorydb.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """None where the server does not say, or the user may not ask.

    ``used_memory_bytes`` and ``max_memory_bytes`` (0: no bound) are the whole server's, as are ``evicted_keys`` and
    ``expired_keys`` since it started. ``hits`` counts the look-ups of all processes that were served from this cache.
    ``indexed`` is the number of questions in the index, ``index_ready`` whether it is complete.
    """

    used_memory_bytes: int | None
    max_memory_bytes: int | None
    maxmemory_policy: str | None
    evicted_keys: int | None
    expired_keys: int | None
    hits: int
    indexed: int | None
    index_ready: bool | None
    connection: Figures

    @property
    def memory_share(self) -> float | None:
        """Used memory as a share of what may be used; None where there is no bound."""
        return (
            self.used_memory_bytes / self.max_memory_bytes if self.used_memory_bytes and self.max_memory_bytes else None
        )


async def health(connection: Connection, layout: Layout) -> Health:
    """Ask for all of it. Raises ``StoreUnavailable``."""
    memory, stats = await info(connection, "memory"), await info(connection, "stats")
    hits = await connection.command("HGET", layout.counters, "hits")
    try:
        index = dialect.describe(await connection.command("FT.INFO", layout.index), layout.vector_field)
    except StoreError:  # it may not be asked, or is gone: searches tell
        index = None
    return Health(
        used_memory_bytes=_whole(memory, "used_memory"),
        max_memory_bytes=_whole(memory, "maxmemory"),
        maxmemory_policy=memory.get("maxmemory_policy"),
        evicted_keys=_whole(stats, "evicted_keys"),
        expired_keys=_whole(stats, "expired_keys"),
        hits=int(hits or 0),
        indexed=None if index is None else index.documents,
        index_ready=None if index is None else index.ready,
        connection=connection.figures,
    )


async def info(connection: Connection, section: str) -> Mapping[str, str]:
    """A section of the server's INFO; empty where the user may not ask."""
    try:
        text = await connection.command("INFO", section)
    except StoreError:
        return MappingProxyType({})
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines() if ":" in line)
    return MappingProxyType({name: value for name, _, value in lines})


def _whole(lines: Mapping[str, str], name: str) -> int | None:
    value = lines.get(name, "")
    return int(value) if value.isdigit() else None
