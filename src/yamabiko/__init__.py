"""A durable semantic cache for LLM and RAG workloads.

``open_cache`` (async) and ``open_sync_cache`` are the ways in; what they give answers with ``lookup``, ``answer``,
``stream`` and ``remember``. A name is imported when it is first used: importing the package alone does no work.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamabiko.build import open_cache, open_sync_cache
    from yamabiko.cache import Cache
    from yamabiko.errors import YamabikoError
    from yamabiko.settings import Settings
    from yamabiko.sync import SyncCache
    from yamabiko.types import Hit, Miss, Policy, Reply, Request, Scope

__all__ = [
    "Cache",
    "Hit",
    "Miss",
    "Policy",
    "Reply",
    "Request",
    "Scope",
    "Settings",
    "SyncCache",
    "YamabikoError",
    "open_cache",
    "open_sync_cache",
]

_HOMES: Mapping[str, str] = {
    "Cache": "cache",
    "Settings": "settings",
    "SyncCache": "sync",
    "YamabikoError": "errors",
    "open_cache": "build",
    "open_sync_cache": "build",
}
"""The modules where the public names live; the others are of ``types``."""


def __getattr__(name: str) -> object:
    """A public name, from its module. Source: PEP 562."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'types')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
