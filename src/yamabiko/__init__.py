"""A durable semantic cache for LLM and RAG workloads.

``open_cache`` (async) and ``open_sync_cache`` are the ways in; what they give answers with ``lookup``, ``answer``,
``stream`` and ``remember``.
"""

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
