"""A stream of events that has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

Events: TypeAlias = AsyncGenerator[Mapping[str, Any], None]


async def until(deadline: float, events: Events) -> Events:
    """The events to their end. Raises ``TimeoutError`` at the deadline, which is a time of the event loop's clock."""
    async with aclosing(events):
        while True:
            async with asyncio.timeout_at(deadline):  # around each read: around a yield it would strike the reader
                event = await anext(events, None)
            if event is None:
                return
            yield event
