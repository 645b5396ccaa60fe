"""Settings to Cache: the one place that names concrete classes, and imports them only when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from yamabiko.cache import Cache
from yamabiko.core.economics import Prices, parse
from yamabiko.errors import ConfigurationError
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder, Store, Verifier
from yamabiko.settings import EmbedderSettings, Settings, StoreSettings
from yamabiko.sync import SyncCache
from yamabiko.telemetry import Hook
from yamabiko.types import Policy

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
    hooks: Sequence[Hook] = (),
    prices: Prices | None = None,
    clock: Callable[[], float] = time.time,
) -> Opening:
    """A cache at ``url`` (``sqlite:///file.db`` or ``memory://``; ``?durability=full&max_bytes=1GiB`` and the like).

    What is given here overrides ``settings``; what neither gives is the default. The embedder is the one on this device
    unless another is given; ``"none"`` leaves the exact tier only. ``store`` takes the place of ``url`` for a store of
    your own. ``hooks`` get one Event per call. ``clock`` gives seconds UTC epoch.

    Raises, when opened, ``ConfigurationError`` (with the install command where a part is missing), ``StoreMismatch``
    for a file made with another embedder, ``StoreUnavailable``.
    """
    settings = settings or Settings()
    chosen = replace(settings, url=url) if url is not None else settings

    async def make() -> Cache:
        used_embedder: Embedder | None
        if embedder is None:
            used_embedder = make_embedder(chosen.embedder)
        elif isinstance(embedder, str):
            used_embedder = make_embedder(replace(chosen.embedder, kind=embedder))
        else:
            used_embedder = embedder
        used_prices = prices or load_prices(chosen.prices_path)  # before the store: what fails leaves nothing open
        used_store = store if store is not None else await _store(chosen, used_embedder)
        return Cache(
            used_store,
            used_embedder,
            policy=policy or chosen.policy,
            prices=used_prices,
            min_similarity=_default_min_similarity,
            verifier=verifier,
            hooks=hooks,
            clock=clock,
            store_timeout_seconds=chosen.store.timeout_seconds,
            write_timeout_seconds=chosen.store.write_timeout_seconds,
            embedder_timeout_seconds=chosen.embedder.timeout_seconds,
        )

    return Opening(make)


def open_sync_cache(url: str | None = None, **options: Any) -> SyncCache:
    """A cache for code that does not await; arguments and errors are those of ``open_cache``."""

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


def _default_min_similarity(model: str) -> float:
    from yamabiko.embedders.thresholds import default_min_similarity

    return default_min_similarity(model)


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


async def _store(settings: Settings, embedder: Embedder | None) -> Store:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(settings.url)
    make = _SCHEMES.get(parts.scheme)
    if make is None:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ConfigurationError(f"no store is known for {parts.scheme or 'a URL without a scheme'}: use {known}")
    path = unquote(parts.netloc + parts.path)
    store = _with_query(settings.store, parts.query)
    identity = (NO_EMBEDDER, NO_DIM) if embedder is None else (embedder.id, embedder.dim)
    return await make(path, store, *identity)


def _with_query(store: StoreSettings, query: str) -> StoreSettings:
    """The store's settings with those of a URL's query, ``?max_bytes=1GiB``."""
    from urllib.parse import parse_qsl

    given = dict(parse_qsl(query, keep_blank_values=True))
    read = Settings.load(arguments={f"store.{name}": value for name, value in given.items()}).store
    return replace(store, **{name: getattr(read, name) for name in given})


async def _sqlite(path: str, settings: StoreSettings, embedder: str, dim: int) -> Store:
    from yamabiko.stores.sqlite import SqliteStore

    # As SQLAlchemy has it: sqlite:///relative.db, sqlite:////absolute.db
    return await SqliteStore.open(
        path.removeprefix("/"),
        embedder=embedder,
        dim=dim,
        durability=settings.durability,
        max_bytes=settings.max_bytes,
        index_bytes=settings.index_bytes,
        accelerator=settings.accelerator,
    )


async def _memory(_: str, settings: StoreSettings, embedder: str, dim: int) -> Store:
    from yamabiko.stores.memory import MemoryStore

    return MemoryStore(embedder=embedder, dim=dim, max_bytes=settings.max_bytes)


_Make: TypeAlias = Callable[[str, StoreSettings, str, int], Awaitable[Store]]
_SCHEMES: Mapping[str, _Make] = MappingProxyType({"sqlite": _sqlite, "memory": _memory})
