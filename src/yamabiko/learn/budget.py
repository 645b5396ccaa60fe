"""What learning may cost: so many model calls a minute and a day, however many look-ups would be worth a label.

The minute's bucket belongs to the process. The day's count belongs to all who share the store: each takes a block of
it at a time, so that counting costs a write only now and then. What is left of a block when its process ends is lost;
never is more spent than was granted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from yamabiko.errors import ConfigurationError, StoreError
from yamabiko.flight import Background
from yamabiko.ports import SharedState, Stored

DAY_SECONDS = 86400
BLOCKS_PER_DAY = 100
"""A block is so small a part of the day's budget; a process that ends loses less than one."""

PAUSE_SECONDS = 5.0
"""After a store failed, it is asked again no sooner than this."""

_DAYS_KEPT = 64
_ATTEMPTS = 100


class Budget:
    """At most ``per_day`` calls on one UTC day by all who share ``shared``, ``per_minute`` by this process.

    The minute's is a token bucket: it holds ``per_minute`` at first and at most, and is filled evenly. 0 means none at
    all. ``clock`` gives seconds UTC epoch; each day is counted under its own date, so that a clock set back, forth or
    wrong finds what was spent on that date. ``name`` tells the budgets of one store apart. Without ``shared``, the
    day's count is the process's own. Raises ``ConfigurationError``.
    """

    def __init__(
        self, per_minute: int, per_day: int, shared: SharedState | None, clock: Callable[[], float], name: str
    ) -> None:
        if per_minute < 0 or per_day < 0:
            raise ConfigurationError(f"a budget must be 0 or more, not {per_minute} per minute and {per_day} per day")
        self._per_minute = per_minute
        self._per_day = per_day
        self._shared = shared
        self._clock = clock
        self._state = f"budget:{name}"
        self._tokens = float(per_minute)
        self._filled = clock()
        self._day = -1
        self._block = 0
        self._spent_day = -1
        self._not_before = 0.0
        self._own: dict[int, int] = {}
        self._lock = asyncio.Lock()
        self._behind = Background()
        self._asking = False

    def has_room(self, amount: int = 1) -> bool:
        """Whether ``amount`` could be taken now: never waits, and errs on the side of no.

        What the store has to be asked for is asked behind, so that a later call can say yes.
        """
        if not self._minute_has(amount):
            return False
        held = self._held(self._today())
        if held <= amount:
            self._ask_behind(amount + (held == amount))  # the next one shall find some, too
        return held >= amount

    async def take(self, amount: int = 1) -> bool:
        """Spend ``amount``; False, and nothing is spent, where there is no room or the store can't be asked."""
        if not self._minute_has(amount):
            return False
        if self._held(self._today()) < amount:
            await self.refill(amount)
        if not self._minute_has(amount) or self._held(self._today()) < amount:
            return False
        self._tokens -= amount
        self._block -= amount
        if self._block == 0:
            self._ask_behind(1)
        return True

    async def refill(self, amount: int = 1) -> None:
        """Have ``amount`` of today's budget at hand, where it is not used up; a store that fails is asked later."""
        async with self._lock:
            day = self._today()
            lacking = amount - self._held(day)
            now = self._clock()
            if lacking <= 0 or day == self._spent_day or 0 < self._not_before - now <= PAUSE_SECONDS:
                return
            try:
                granted = await self._grant(day, max(lacking, self._per_day // BLOCKS_PER_DAY))
            except StoreError:
                self._not_before = now + PAUSE_SECONDS
                return
            self._block = self._held(day) + granted
            self._day = day
            if granted == 0:
                self._spent_day = day

    async def drain(self) -> None:
        """Wait until nothing is asked of the store any more."""
        await self._behind.drain()

    def _today(self) -> int:
        return int(self._clock() // DAY_SECONDS)

    def _held(self, day: int) -> int:
        return self._block if day == self._day else 0

    def _minute_has(self, amount: int) -> bool:
        now = self._clock()
        if now > self._filled:
            gained = (now - self._filled) * self._per_minute / 60.0
            self._tokens = min(float(self._per_minute), self._tokens + gained)
        self._filled = now  # a clock set back fills nothing, and goes on filling from where it is
        return self._tokens >= amount

    def _ask_behind(self, amount: int) -> None:
        if not self._asking and self._per_day and self._today() != self._spent_day:
            self._asking = True
            self._behind.spawn("asking for a budget", self._ask(amount))

    async def _ask(self, amount: int) -> None:
        try:
            await self.refill(amount)
        finally:
            self._asking = False

    async def _grant(self, day: int, wanted: int) -> int:
        """Up to ``wanted`` of this day's budget, taken off what all share; 0 where it is used up."""
        if self._shared is None:
            self._own, granted = self._counted(self._own, day, wanted)
            return granted
        for _ in range(_ATTEMPTS):
            stored = await self._shared.load_state(self._state)
            used, granted = self._counted(_days(stored), day, wanted)
            if granted == 0:
                return 0
            data = json.dumps(list(used.items())).encode()
            expected = None if stored is None else stored.version
            if await self._shared.save_state(self._state, data, expected=expected) is not None:
                return granted
        return 0

    def _counted(self, used: dict[int, int], day: int, wanted: int) -> tuple[dict[int, int], int]:
        """The counts after ``wanted`` more on this day, the day counted last standing last, and what was granted."""
        before = used.get(day, 0)
        granted = max(0, min(wanted, self._per_day - before))
        others = [(known, count) for known, count in used.items() if known != day]
        return dict([*others[-_DAYS_KEPT + 1 :], (day, before + granted)]), granted


def _days(stored: Stored | None) -> dict[int, int]:
    return {} if stored is None else {int(day): int(count) for day, count in json.loads(stored.data)}
