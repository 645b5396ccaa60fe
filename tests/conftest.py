"""The same cases through Cache and SyncCache: a driver hides which of the two is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)  # the same examples every time: a red main is about its change
if os.environ.get("CI"):
    settings.load_profile("ci")
pytest.register_assert_rewrite("yamabiko.testing")
pytest_plugins = ["engines.fixtures"]  # real servers, and guards before them

from yamabiko import open_cache, open_sync_cache  # noqa: E402 - after the line above, or failures say nothing
from yamabiko.testing import FakeClock, FakeEmbedder  # noqa: E402


class AsyncDriver:
    """Asks a Cache, one call after the other, on one event loop."""

    def __init__(self, url, **options):
        self._runner = asyncio.Runner()
        try:
            self.cache = self._runner.run(self._open(url, options))
        except BaseException:
            self._runner.close()
            raise

    async def _open(self, url, options):
        return await open_cache(url, **options)

    def __getattr__(self, name):
        method = getattr(self.cache, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def stream(self, request, generate, **options):
        stream = self.cache.stream(request, generate, **options)

        async def pieces():
            return [piece async for piece in stream]

        return self._runner.run(pieces()), stream

    def close(self):
        self._runner.run(self.cache.close())
        self._runner.close()


class SyncDriver:
    """Asks a SyncCache."""

    def __init__(self, url, **options):
        self.cache = open_sync_cache(url, **options)

    def __getattr__(self, name):
        return getattr(self.cache, name)

    def stream(self, request, generate, **options):
        stream = self.cache.stream(request, generate, **options)
        return list(stream), stream


class Opener:
    """Opens caches with a fake embedder and clock, and closes them at the end of the test."""

    def __init__(self, driver):
        self._driver = driver
        self._open = []
        self.embedder = FakeEmbedder()
        self.clock = FakeClock()

    def __call__(self, url="memory://", **options):
        options.setdefault("embedder", self.embedder)
        options.setdefault("clock", self.clock)
        self._open.append(self._driver(url, **options))
        return self._open[-1]

    def close(self):
        for cache in self._open:
            cache.close()


@pytest.fixture(params=[AsyncDriver, SyncDriver], ids=["async", "sync"])
def opened(request) -> Iterator[Callable]:
    """Opens a cache: ``cache = opened(policy=...)``; its embedder and clock are ``opened.embedder`` and ``.clock``."""
    opener = Opener(request.param)
    yield opener
    opener.close()
