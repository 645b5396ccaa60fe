"""The public types as a type checker sees them; ``make check`` runs mypy over this file."""

from __future__ import annotations

from typing import assert_type

from yamabiko import Cache, Hit, Miss, Policy, Reply, Request, SyncCache, open_cache, open_sync_cache
from yamabiko.types import Entry


def call_model(request: Request) -> str:
    return request.model


async def call_model_async(request: Request) -> Reply:
    return Reply(text=request.model)


def ask(cache: SyncCache) -> None:
    assert_type(cache.answer("q", generate=call_model), Reply)
    assert_type(cache.answer(Request([{"role": "user", "content": "q"}]), generate=call_model_async), Reply)
    outcome = cache.lookup("q")
    assert_type(outcome, Hit | Miss)
    assert_type(outcome.similarity, float | None)
    if isinstance(outcome, Miss):
        assert_type(cache.remember(outcome, Reply(text="a")), Entry | None)
    else:
        assert_type(outcome.reply, Reply)


async def ask_async() -> None:
    async with open_cache("memory://", policy=Policy(max_error_rate=None, min_similarity=0.9)) as cache:
        assert_type(cache, Cache)
        assert_type(await cache.answer("q", call_model_async), Reply)
    assert_type(await open_cache("memory://"), Cache)


def test_the_typed_calls_run() -> None:
    with open_sync_cache("memory://", embedder="none") as cache:
        ask(cache)
        assert isinstance(cache.lookup("q"), Hit)
