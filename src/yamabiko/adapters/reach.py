"""A cache as adapters reach it: from code that awaits, on any event loop, and from code that does not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from yamabiko.build import open_sync_cache
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError
from yamabiko.sync import SyncCache

T = TypeVar("T")


class Reach:
    """``cache``: a ``SyncCache``, or a URL to open one at: it lives on a loop of its own, and anybody may ask it.

    Or a ``Cache``: it lives on the loop that it was opened in, and only code that awaits there may ask it.
    ``options`` are those of ``open_cache``, for a URL. ``close`` closes only what was opened here.
    """

    def __init__(self, cache: Cache | SyncCache | str, **options: Any) -> None:
        if not isinstance(cache, str) and options:
            raise ConfigurationError("options are for a cache that is opened here, by its URL: open yours with them")
        self._own = open_sync_cache(cache, **options) if isinstance(cache, str) else None
        self._cache = self._own or cache

    def run(self, work: Callable[[Cache], Coroutine[Any, Any, T]]) -> T:
        """What ``work`` makes of the cache, for code that does not await."""
        if isinstance(self._cache, SyncCache):
            return self._cache.run(work)
        raise ConfigurationError(
            "this adapter was given a Cache of open_cache(), which only code that awaits can ask: use ainvoke() and the"
            " like, or give it a URL or what open_sync_cache() returns"
        )

    async def awaited(self, work: Callable[[Cache], Coroutine[Any, Any, T]]) -> T:
        """The same for code that awaits."""
        if isinstance(self._cache, SyncCache):
            return await self._cache.awaited(work)
        if isinstance(self._cache, Cache):
            return await work(self._cache)
        raise ConfigurationError(f"an adapter takes a URL, a Cache or a SyncCache, not {type(self._cache).__name__}")

    def close(self) -> None:
        """Close the cache, if it was opened here. May be called twice."""
        if self._own is not None:
            self._own.close()
