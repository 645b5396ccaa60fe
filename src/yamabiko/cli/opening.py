"""Opening the cache that a command is about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from yamabiko.build import (
    Location,
    MemoryLocation,
    ServerLocation,
    identity_of,
    locate,
    make_embedder,
    open_sync_cache,
)
from yamabiko.cli.terminal import Console
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Embedder, Store
from yamabiko.settings import Settings
from yamabiko.sync import SyncCache

S = TypeVar("S", bound=Store)


def existing(console: Console) -> tuple[Settings, RecordedEmbedder]:
    """Settings and embedder of a cache that is there, for a command that reads: it makes no new one by mistake.

    Raises ``ConfigurationError`` where there is none, and ``StoreError`` where it can't be read.
    """
    settings = console.settings()
    location = locate(settings)
    found = asyncio.run(location.recorded())
    if found is not None:
        return settings, RecordedEmbedder(*found)
    if isinstance(location, MemoryLocation):
        return settings, asyncio.run(named_embedder(settings))
    raise no_cache(location)


def no_cache(location: Location) -> ConfigurationError:
    """The error that says so, and what to do."""
    return ConfigurationError(f"there is no cache {location}: {_name_it(location)}")


def _name_it(location: Location) -> str:
    if isinstance(location, ServerLocation):
        return "name another one with ?name= in --url or YAMABIKO_URL, or fill this one with warm, import or migrate"
    return "name it with --url sqlite:///FILE or with YAMABIKO_URL"


async def named_embedder(settings: Settings) -> RecordedEmbedder:
    """Name and dimension of the embedder that the cache was, or would be, made with.

    Raises ``StoreError``, and ``MissingExtra`` where a new cache's embedder is not installed.
    """
    found = await locate(settings).recorded()
    return RecordedEmbedder(*(found or identity_of(make_embedder(settings))))


def open_without_embedding(console: Console) -> SyncCache:
    """The cache, for a command that neither asks nor stores by meaning. Raises ``YamabikoError`` when used."""
    settings, embedder = existing(console)
    return open_sync_cache(settings=settings, embedder=embedder)


@asynccontextmanager
async def closing(store: S) -> AsyncIterator[S]:
    """An open store, closed at the end whatever happens."""
    try:
        yield store
    finally:
        await store.close()


def embedder_to_embed_with(settings: Settings, purpose: str) -> Embedder:
    """The embedder of the settings. Raises ``ConfigurationError`` where that is none, ``MissingExtra``."""
    embedder = make_embedder(settings)
    if embedder is None:
        raise ConfigurationError(f'{purpose} needs an embedder, and embedder.kind is "none"')
    return embedder
