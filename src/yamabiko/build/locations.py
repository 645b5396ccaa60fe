"""URLs to stores: where one is, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder, Store
from yamabiko.settings import Settings, StoreSettings

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from yamabiko.aws.iam import IamCredentials
    from yamabiko.stores.memorydb import MemoryDBStore
    from yamabiko.stores.memorydb.address import Address

NO_DIM = 1
"""The dimension of a store without an embedder: it never gets a vector."""


class Location(Protocol):
    """Where a URL says that a store is, before anything is opened. ``settings`` are the store's, the URL's included.

    ``str`` names the place for people, without a password.
    """

    settings: StoreSettings

    async def open(self, embedder: str, dim: int, /) -> Store:
        """The store there, made if need be, for vectors of this embedder. Raises ``YamabikoError``."""

    async def recorded(self) -> tuple[str, int] | None:
        """Embedder and dimension that the cache there was made for; None where there is none. It makes none.

        Raises ``StoreError`` where what is there can't be read.
        """


def locate(settings: Settings) -> Location:
    """What ``settings.url`` names. Raises ``ConfigurationError`` for an unknown scheme, option or value."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(settings.url)
    except ValueError:  # urllib's own message may hold a part of a password
        raise ConfigurationError(
            "the store's URL can't be read: it is sqlite:///FILE or memorydb://user:password@host:port?options, with"
            " user and password percent-encoded, and an IPv6 host in [brackets]"
        ) from None
    make = _SCHEMES.get(parts.scheme)
    if make is None:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ConfigurationError(f"no store is known for {parts.scheme or 'a URL without a scheme'}: use {known}")
    return make(parts, settings.store)


async def recorded_embedder(settings: Settings) -> tuple[str, int] | None:
    """Embedder and dimension of the cache that ``settings.url`` names; None where there is none yet."""
    return await locate(settings).recorded()


def identity_of(embedder: Embedder | None) -> tuple[str, int]:
    """Name and dimension that a store is made for, with an embedder or without."""
    return (NO_EMBEDDER, NO_DIM) if embedder is None else (embedder.id, embedder.dim)


def _with_query(settings: StoreSettings, query: str) -> StoreSettings:
    """The store's settings with those of a URL's query, ``?max_bytes=1GiB``."""
    from urllib.parse import parse_qsl

    given = dict(parse_qsl(query, keep_blank_values=True))
    read = Settings.load(arguments={f"store.{name}": value for name, value in given.items()}).store
    return replace(settings, **{name: getattr(read, name) for name in given})


class Given:
    """A store that the caller made."""

    def __init__(self, settings: StoreSettings, store: Store) -> None:
        self.settings = settings
        self._store = store

    async def open(self, _embedder: str, _dim: int, /) -> Store:
        """See ``Location.open``."""
        return self._store

    async def recorded(self) -> tuple[str, int] | None:
        """See ``Location.recorded``."""
        return None


class SqliteLocation:
    """``sqlite:///relative.db``, ``sqlite:////absolute.db``: as SQLAlchemy has it."""

    def __init__(self, parts: SplitResult, settings: StoreSettings) -> None:
        from pathlib import Path
        from urllib.parse import unquote

        self.path = Path(unquote(parts.netloc + parts.path).removeprefix("/"))
        self.settings = _with_query(settings, parts.query)

    def __str__(self) -> str:
        return f"at {self.path}"

    async def open(self, embedder: str, dim: int, /) -> Store:
        """See ``Location.open``."""
        from yamabiko.stores.sqlite import SqliteStore

        return await SqliteStore.open(
            self.path,
            embedder=embedder,
            dim=dim,
            durability=self.settings.durability,
            max_bytes=self.settings.max_bytes,
            index_bytes=self.settings.index_bytes,
            accelerator=self.settings.accelerator,
        )

    async def recorded(self) -> tuple[str, int] | None:
        """See ``Location.recorded``."""
        from asyncio import to_thread

        from yamabiko.stores.sqlite import SqliteStore

        return await to_thread(SqliteStore.recorded, self.path)


class MemoryLocation:
    """``memory://``: new and empty each time."""

    def __init__(self, parts: SplitResult, settings: StoreSettings) -> None:
        self.settings = _with_query(settings, parts.query)

    def __str__(self) -> str:
        return "in memory"

    async def open(self, embedder: str, dim: int, /) -> Store:
        """See ``Location.open``."""
        from yamabiko.stores.memory import MemoryStore

        return MemoryStore(embedder=embedder, dim=dim, max_bytes=self.settings.max_bytes)

    async def recorded(self) -> tuple[str, int] | None:
        """See ``Location.recorded``."""
        return None


class ServerLocation:
    """``memorydb://host:6379?name=cache`` and the like; options of the address and settings of the store in one query.

    Settings that only the server itself can honour are refused in the URL, with what to do instead.
    """

    def __init__(self, parts: SplitResult, settings: StoreSettings) -> None:
        pieces = [piece for piece in parts.query.split("&") if piece]
        ours = [piece for piece in pieces if piece.partition("=")[0] in _STORE_SETTINGS]
        for piece in ours:
            name = piece.partition("=")[0]
            if name in _SET_ON_THE_SERVER:
                raise ConfigurationError(f"?{name}= means nothing for a server: {_SET_ON_THE_SERVER[name]}")
        address = [piece for piece in pieces if piece not in ours]
        self.address = _address(parts._replace(query="&".join(address)).geturl())
        self.settings = _with_query(settings, "&".join(ours))

    def __str__(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"named {self.address.name} at {host}:{self.address.port}"

    async def open(self, embedder: str, dim: int, /, *, beside: bool = False) -> MemoryDBStore:
        """See ``Location.open``. ``beside``: for another embedder than the cache's, to give its entries new vectors."""
        from yamabiko.stores.memorydb import MemoryDBStore

        return await MemoryDBStore.open(
            self.address,
            embedder=embedder,
            dim=dim,
            timeout_seconds=self.settings.timeout_seconds,
            credentials=self._credentials,
            beside=beside,
        )

    async def recorded(self) -> tuple[str, int] | None:
        """See ``Location.recorded``."""
        from yamabiko.stores.memorydb import MemoryDBStore

        return await MemoryDBStore.recorded(
            self.address, credentials=self._credentials, timeout_seconds=self.settings.timeout_seconds
        )

    @cached_property
    def _credentials(self) -> IamCredentials | None:
        """One for all connections, so that they share a token."""
        address = self.address
        if address.auth != "iam":
            return None
        from yamabiko.aws.iam import IamCredentials

        return IamCredentials(
            user=address.user,
            cluster=address.cluster_name,
            region=address.region,
            service="elasticache" if ".cache.amazonaws.com" in address.host else "memorydb",
        )


def _address(url: str) -> Address:
    """Raises ``ConfigurationError``, and ``MissingExtra`` where the client is not installed."""
    from importlib.util import find_spec

    if find_spec("redis") is None:
        raise MissingExtra("memorydb", "A cache on a server")
    from yamabiko.stores.memorydb.address import Address

    return Address.parse(url)


_STORE_SETTINGS = frozenset(field.name for field in fields(StoreSettings))

_ON_MEMORYDB = "(on MemoryDB in its parameter group)"
_SET_ON_THE_SERVER: Mapping[str, str] = MappingProxyType(
    {
        "max_bytes": "set maxmemory there, and maxmemory-policy to volatile-lru or allkeys-lru " + _ON_MEMORYDB,
        "durability": "MemoryDB keeps what it acknowledged; of Valkey or Redis set appendonly and appendfsync",
        "index_bytes": "the index lies in the server's memory, which maxmemory bounds there",
        "accelerator": "the server searches its own index",
    }
)

_SCHEMES: Mapping[str, Callable[[SplitResult, StoreSettings], Location]] = MappingProxyType(
    {
        "sqlite": SqliteLocation,
        "memory": MemoryLocation,
        **dict.fromkeys(("memorydb", "valkey", "valkeys", "redis", "rediss"), ServerLocation),
    }
)
