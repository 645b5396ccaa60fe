"""Settings to Cache: the one room that names concrete classes, and imports them only when they are asked for."""

from __future__ import annotations

from yamabiko.build.generators import Generator, make_generator, version_of
from yamabiko.build.locations import (
    NO_DIM,
    Location,
    MemoryLocation,
    ServerLocation,
    SqliteLocation,
    identity_of,
    locate,
    recorded_embedder,
)
from yamabiko.build.models import bedrock_access, load_prices, load_tariff, make_embedder, make_judge
from yamabiko.build.opening import Opening, open_cache, open_sync_cache

__all__ = [
    "NO_DIM",
    "Generator",
    "Location",
    "MemoryLocation",
    "Opening",
    "ServerLocation",
    "SqliteLocation",
    "bedrock_access",
    "identity_of",
    "load_prices",
    "load_tariff",
    "locate",
    "make_embedder",
    "make_generator",
    "make_judge",
    "open_cache",
    "open_sync_cache",
    "recorded_embedder",
    "version_of",
]
