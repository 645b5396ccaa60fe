"""What a tenant may use: requests per minute, and room in the cache. Each process counts for itself."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from yamabiko.cache import Cache
from yamabiko.errors import StoreError
from yamabiko.flight import Background
from yamabiko.gateway.exchange import Caller, Exchange, Observer
from yamabiko.types import Entry, Miss, Selector

MOST_TENANTS = 10_000
"""So many are counted; those that have asked longest ago begin anew."""
COUNT_AGAIN_SECONDS = 60.0
"""How often what a tenant has stored is counted; in between, what it adds is estimated."""
COUNT_SHARE = 0.02
"""Of a process's time, counting takes so much at most."""
MOST_WAITING = 16
"""So many tenants at most wait to be counted, one after the other: anybody can be a new tenant."""
ENTRY_BYTES = 2048
"""What an entry takes besides its texts: its vector, ids and index. An estimate, on the safe side."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """A token bucket for each tenant. It holds as many tokens as requests are allowed in a minute."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, tenant: str, per_minute: int, now: float) -> float:
        """Take a token; 0, or after how many seconds there will be one. ``now`` is of any clock that only rises."""
        bucket = self._buckets.get(tenant)
        if bucket is None:
            bucket = self._buckets[tenant] = _Bucket(float(per_minute), now)
            if len(self._buckets) > MOST_TENANTS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(tenant)
        filled = bucket.tokens + max(0.0, now - bucket.at) * per_minute / 60
        bucket.tokens, bucket.at = min(float(per_minute), filled), now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) * 60 / per_minute


@dataclass(slots=True)
class _Room:
    used: int | None = None
    counted: float = -math.inf
    took: float = 0.0
    counting: bool = False


class Rooms(Observer):
    """How many bytes each limited tenant has in the cache, roughly: counted now and then, estimated in between.

    Until a tenant has been counted for the first time, nothing of it is stored.
    """

    def __init__(self, cache: Callable[[], Cache | None], clock: Callable[[], float]) -> None:
        self._cache = cache
        self._clock = clock
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._behind = Background()
        self._counting = 0
        self._one = asyncio.Lock()

    def has_room(self, caller: Caller) -> bool:
        """Whether a new answer of this caller's may be stored. Never waits."""
        limit = caller.limits.cache_bytes
        if limit is None:
            return True
        room = self._rooms.get(caller.tenant)
        if room is None:
            room = self._rooms[caller.tenant] = _Room()
            if len(self._rooms) > MOST_TENANTS:
                self._rooms.popitem(last=False)
        self._rooms.move_to_end(caller.tenant)
        pause = max(COUNT_AGAIN_SECONDS, room.took / COUNT_SHARE)
        due = not room.counting and self._clock() - room.counted >= pause
        if due and self._counting < MOST_WAITING:  # whoever is not counted now is at a later request
            room.counting = True
            self._counting += 1
            self._behind.spawn("counting a tenant's bytes", self._count(caller.tenant, room))
        return room.used is not None and room.used < limit

    def ended(self, exchange: Exchange) -> None:
        """Count what is about to be stored."""
        outcome = exchange.outcome
        if exchange.caller.limits.cache_bytes is None or not isinstance(outcome, Miss) or exchange.shared:
            return
        room = self._rooms.get(exchange.caller.tenant)
        if room is not None and room.used is not None and outcome.key and exchange.status == 200:
            room.used += exchange.request_bytes + exchange.response_bytes + ENTRY_BYTES

    async def _count(self, tenant: str, room: _Room) -> None:
        async with self._one:
            started = self._clock()
            try:
                cache = self._cache()
                if cache is not None:
                    room.used = (await count(cache, Selector(tenant=tenant)))[1]
            except StoreError:
                return  # what was known stands
            finally:
                self._counting -= 1
                room.counting, room.counted = False, self._clock()
                room.took = room.counted - started


async def count(cache: Cache, selector: Selector) -> tuple[int, int]:
    """How many entries fit, and roughly how many bytes they take. Raises ``StoreError``."""
    entries, size = 0, 0
    async for entry in cache.store.entries(selector):
        entries, size = entries + 1, size + bytes_of(entry)
        if not entries % 100:
            await asyncio.sleep(0)  # others are waiting
    return entries, size


def bytes_of(entry: Entry) -> int:
    """What an entry takes, roughly."""
    reply = entry.reply
    texts = (reply.text, reply.extra, *reply.tool_calls, *(question.text for question in entry.questions))
    return sum(len(text.encode(errors="surrogatepass")) for text in texts) + ENTRY_BYTES * len(entry.questions)
