"""Forgetting: a purge, and what has to go or be checked again when a document has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal, TypeAlias

from yamabiko.attest import Attest
from yamabiko.errors import ConfigurationError, Outdated
from yamabiko.learn.learner import Learner
from yamabiko.ports import SharedState, Store
from yamabiko.storing import Storing
from yamabiko.types import Selector

Mode: TypeAlias = Literal["remove", "recheck"]
_MODES = ("remove", "recheck")


class Removing:
    """What of a cache goes. ``written``: waits until the writes behind earlier replies are done."""

    def __init__(
        self,
        store: Store,
        storing: Storing,
        *,
        attest: Attest,
        learner: Learner,
        written: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._storing = storing
        self._attest = attest
        self._learner = learner
        self._written = written

    async def purge(self, selector: Selector, *, everything: bool = False) -> int:
        """Remove what fits, and keep away what is being made of it; how many entries went.

        Raises ``ConfigurationError`` for all there is, unless ``everything`` says so.
        """
        if selector == Selector() and not everything:
            raise ConfigurationError("purge() needs a condition, such as tag=..., or everything=True")
        self._storing.purged(selector)
        await self._written()
        purged = await self._store.purge(selector)
        if selector.dead_at is None:
            await self._learner.forget(selector)
        return purged

    async def invalidate(self, *, source: str, base: str, digest: str, mode: Mode) -> int:
        """See ``Cache.invalidate``."""
        if not source and not base:
            raise ConfigurationError('invalidate() needs source="s3://bucket/key" or base="a knowledge base\'s id"')
        if mode not in _MODES:
            raise ConfigurationError(f"the mode of invalidate() is one of {', '.join(_MODES)}")
        selector = Selector(source=source or None, except_digest=digest or None, base=base or None)
        return await (self.purge(selector) if mode == "remove" else self._recheck(selector))

    async def _recheck(self, selector: Selector) -> int:
        """Mark what fits as unconfirmed, for anybody: it is served again when a new answer was the same.

        The barrier comes first, so that what is found behind it is all there will be. An entry that is made anew or
        purged meanwhile is left as it is.
        """
        self._storing.purged(selector)
        await self._written()
        fence: int | None = None
        if isinstance(self._store, SharedState):
            await self._store.outdate(selector)
            fence = await self._store.fence()
        marked = 0
        async for entry in self._store.entries(selector):
            async for whole in self._store.entries(replace(selector, id=entry.id)):  # as it is now
                held = self._attest.unconfirmed(whole)
                if held is None or not (whole.confirmed or whole.author):
                    continue
                try:
                    await self._storing.put(held, fence)
                except Outdated:
                    continue
                marked += 1
        return marked
