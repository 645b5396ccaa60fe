"""How many requests have taken part in each design: counted in memory and written behind, in batches.

Only a promise per request needs it. A process that dies takes its last batch with it, which makes the promise stricter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from yamabiko.core.sampling import audit_lot
from yamabiko.learn.records import Counted, Drawing

Write = Callable[[str, str, Counted], Awaitable[None]]
"""Appends a record to the log of a namespace under an id."""


@dataclass(slots=True)
class _Count:
    requests: int = 0
    audited: int = 0


class RequestCounts:
    """Counts what ``write`` is then given. ``new_id`` makes texts that were never made before."""

    def __init__(self, write: Write, new_id: Callable[[], str]) -> None:
        self._write = write
        self._new_id = new_id
        self._counts: dict[Drawing, _Count] = {}
        self._unwritten: dict[str, Counted] = {}
        self.pending = 0

    def add(self, drawing: Drawing, look_up: str) -> None:
        """One more look-up, whatever becomes of it; ``look_up``: its id."""
        count = self._counts.setdefault(drawing, _Count())
        count.requests += 1
        count.audited += audit_lot(look_up) < drawing.above
        self.pending += 1

    async def flush(self) -> None:
        """Write them down. What fails is written the next time, under the same id, and so counts once."""
        counts, self._counts, self.pending = self._counts, {}, 0
        for drawing, count in counts.items():
            record = Counted(drawing=drawing, requests=count.requests, audited=count.audited)
            self._unwritten[f"c:{self._new_id()}"] = record
        for item_id, record in tuple(self._unwritten.items()):
            await self._write(record.drawing.namespace, item_id, record)
            self._unwritten.pop(item_id, None)
