"""How a promise of a store is written: a coroutine that gets an open store, and a sound store when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from yamabiko.errors import YamabikoError
from yamabiko.ports import Store
from yamabiko.types import Candidate, Entry, Scope, Selector, Vector

DIM = 8
"""Components of the vectors that contracts use."""

T = TypeVar("T")


class Contract:
    """What each list of promises asks of the test class that inherits it.

    ``open`` gets options that a store may ignore unless it also inherits the contract that uses them: ``name``
    (another name is another, empty store), ``max_bytes``, ``embedder`` and ``dim``. Without them it must open a store
    for vectors of ``self.dim`` components, empty at the first time in a ``tmp_path``.
    """

    dim = DIM

    async def open(self, tmp_path: Path, **options: Any) -> Store:
        """A store for one test."""
        raise NotImplementedError("a store's test class opens the store here")


C = TypeVar("C", bound=Contract)
Body = Callable[[C, Store], Coroutine[Any, Any, None]]


def promise(**options: Any) -> Callable[[Body[C]], Callable[[C, Path], None]]:
    """Make ``async def test_...(self, store)`` a plain test that pytest can run with its ``tmp_path``.

    The store is opened with ``options`` and is checked and closed at the end, whatever the test did to it.
    """

    def decorate(body: Body[C]) -> Callable[[C, Path], None]:
        def test(self: C, tmp_path: Path) -> None:
            async def run() -> None:
                store = await self.open(tmp_path, **options)
                try:
                    await body(self, store)
                    assert list(await store.check()) == []
                finally:
                    await store.close()

            asyncio.run(run())

        test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__
        return test

    return decorate


async def refusal(attempt: Awaitable[object], *kinds: type[YamabikoError]) -> str:
    """The message of the error that ``attempt`` raises; fails unless it is one of ``kinds``."""
    try:
        await attempt
    except kinds as error:
        return str(error)
    raise AssertionError(f"nothing was refused; expected one of {[kind.__name__ for kind in kinds]}")


async def collect(items: AsyncIterator[T]) -> list[T]:
    """All that an async iterator gives."""
    return [item async for item in items]


async def everything(store: Store, selector: Selector | None = None) -> list[Entry]:
    """All entries that fit, as the store orders them."""
    return await collect(store.entries(selector or Selector()))


async def find(
    store: Store, scope: Scope, vector: Vector, *, limit: int = 100, min_similarity: float = -1.0, now: float = 0.0
) -> Sequence[Candidate]:
    """``store.search`` with wide defaults."""
    return await store.search(scope, vector, limit=limit, min_similarity=min_similarity, now=now)


def contents(entry: Entry) -> tuple[object, ...]:
    """All of an entry in a form that ``==`` compares, vectors included; the order of aliases doesn't count."""
    questions = {
        (one.digest, one.text, None if one.vector is None else one.vector.tobytes(), one.signature)
        for one in entry.questions
    }
    first = entry.questions[0].digest
    fields = (entry.id, entry.scope, entry.reply, entry.created, entry.expires, entry.stale_until, entry.tags)
    marks = (entry.author, entry.confirmed, entry.signature)
    return (*fields, *marks, first, frozenset(questions))
