"""Settings to Cache: the one place that names concrete classes, and imports them only when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from yamabiko.attest import Attest
from yamabiko.cache import Cache
from yamabiko.core.economics import Prices, parse
from yamabiko.core.signing import SigningKeys
from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.learn.learner import Learner
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder, Generate, Store, Verifier
from yamabiko.settings import EmbedderSettings, LearnSettings, Settings, StoreSettings
from yamabiko.sync import SyncCache, awaitable
from yamabiko.telemetry import Hook
from yamabiko.types import Policy

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from yamabiko.aws.iam import IamCredentials
    from yamabiko.generators.http import HttpModel
    from yamabiko.stores.memorydb import MemoryDBStore
    from yamabiko.stores.memorydb.address import Address

NO_DIM = 1
"""The dimension of a store without an embedder: it never gets a vector."""


class Opening:
    """A cache about to be opened: ``async with open_cache(...) as cache``, or ``cache = await open_cache(...)``."""

    def __init__(self, make: Callable[[], Awaitable[Cache]]) -> None:
        self._make = make
        self._cache: Cache | None = None

    def __await__(self) -> Generator[Any, None, Cache]:
        return self._make().__await__()

    async def __aenter__(self) -> Cache:
        self._cache = await self._make()
        return self._cache

    async def __aexit__(self, *_: object) -> None:
        if self._cache is not None:
            await self._cache.close()


def open_cache(
    url: str | None = None,
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
    store: Store | None = None,
    embedder: Embedder | Literal["local", "none"] | None = None,
    verifier: Verifier | None = None,
    judge: Generate | None = None,
    hooks: Sequence[Hook] = (),
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
) -> Opening:
    """A cache at ``url``: ``sqlite:///file.db``, ``memorydb://host``, ``valkey://host``, ``redis://host``, ``memory://``.

    Settings of the store may stand in the URL: ``?durability=full&max_bytes=1GiB`` and the like.

    What is given here overrides ``settings``; what neither gives is the default. The embedder is the one on this device
    unless another is given; ``"none"`` leaves the exact tier only. ``judge``, a model, compares stored answers with
    fresh ones: with it the cache audits its hits, learns from them and certifies its promise. ``store`` takes the place
    of ``url`` for a store of your own. ``hooks`` get one Event per call. ``clock`` gives seconds UTC epoch.

    Raises, when opened, ``ConfigurationError`` (with the install command where a part is missing), ``StoreMismatch``
    for a cache made with another embedder, ``StoreUnavailable``.
    """
    settings = settings or Settings()
    chosen = replace(settings, url=url) if url is not None else settings

    async def make() -> Cache:
        location = locate(chosen) if store is None else _Given(chosen.store, store)
        used_embedder: Embedder | None
        if embedder is None:
            used_embedder = make_embedder(chosen.embedder)
        elif isinstance(embedder, str):
            used_embedder = make_embedder(replace(chosen.embedder, kind=embedder))
        else:
            used_embedder = embedder
        used = replace(chosen, policy=policy or chosen.policy, store=location.settings)
        used_prices = prices or load_prices(chosen.prices_path)  # before the store: what fails leaves nothing open
        return await _assembled(
            used, location, used_embedder, used_prices, judge=judge, verifier=verifier, hooks=hooks, clock=clock
        )

    return Opening(make)


async def _assembled(
    settings: Settings,
    location: Location,
    embedder: Embedder | None,
    prices: Prices,
    *,
    judge: Generate | None,
    verifier: Verifier | None,
    hooks: Sequence[Hook],
    clock: Callable[[], float],
) -> Cache:
    keys = SigningKeys.parse(settings.signing_keys)
    own_judge = make_judge(settings.learn) if judge is None else None
    store = await location.open(*identity_of(embedder))
    learner = Learner(
        store,
        embedder,
        policy=settings.policy,
        judge=judge or own_judge,
        settings=settings.learn,
        timeout_seconds=settings.store.timeout_seconds,
        hooks=hooks,
        clock=clock,
        sign=Attest(keys, None).alias,
        close_judge=None if own_judge is None else own_judge.close,
    )
    await learner.open()
    return Cache(
        store,
        embedder,
        policy=settings.policy,
        prices=prices,
        learner=learner,
        times=settings.store,
        embedder_timeout_seconds=settings.embedder.timeout_seconds,
        signing_keys=keys,
        verifier=verifier,
        hooks=hooks,
        clock=clock,
    )


def open_sync_cache(url: str | None = None, **options: Any) -> SyncCache:
    """A cache for code that does not await; arguments and errors are those of ``open_cache``.

    ``judge`` may be an ordinary function.
    """
    judge = options.get("judge")
    if judge is not None:
        options["judge"] = awaitable(judge)

    async def make() -> Cache:
        return await open_cache(url, **options)

    return SyncCache(make)


def load_prices(path: str = "") -> Prices:
    """The prices of the package, dated, under those of a file of the same form; raises ``ConfigurationError``."""
    from importlib.resources import files
    from pathlib import Path

    prices = parse(files("yamabiko.core").joinpath("data/prices.json").read_text(encoding="utf-8"))
    if not path:
        return prices
    try:
        return prices.overridden_by(parse(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"the price file {path} can't be read: {error.strerror}") from error


def make_judge(settings: LearnSettings) -> HttpModel | None:
    """The model that the settings name as judge; None where they name none. Raises ``MissingExtra``."""
    if not settings.judge_url:
        return None
    from yamabiko.generators.http import HttpModel

    return HttpModel(
        settings.judge_url,
        settings.judge_model,
        api_key=settings.judge_api_key or None,
        timeout_seconds=settings.judge_timeout_seconds,
    )


def make_embedder(settings: EmbedderSettings) -> Embedder | None:
    """The embedder that the settings name; None for "none". Raises ``ConfigurationError`` or ``MissingExtra``."""
    match settings.kind:
        case "none":
            return None
        case "local":
            from yamabiko.embedders.local import LocalEmbedder

            return LocalEmbedder(threads=settings.threads)
        case "directory":
            from yamabiko.embedders.local import DirectoryEmbedder

            return DirectoryEmbedder(settings.path, threads=settings.threads)
        case "http":
            from yamabiko.embedders.http import HttpEmbedder

            if settings.dim is None:
                raise ConfigurationError('embedder.dim must be set where embedder.kind is "http"')
            return HttpEmbedder(
                settings.url,
                settings.model,
                dim=settings.dim,
                api_key=settings.api_key or None,
                timeout_seconds=settings.timeout_seconds,
            )


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


class _Given:
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
