"""``SharedState`` on a server: each change is one script, each read one command, all of them one round trip.

::

    NAME:x:{NAME}:claim:<name>      "fence holder", expires with the lease; of an open name the holder is empty
    NAME:x:{NAME}:state:<name>      hash: v version, d data
    NAME:x:{NAME}:log:<name>        stream of i id, d data; position n has the stream's id 0-n
    NAME:x:{NAME}:ids:<name>        hash of the ids that stand in the log
    NAME:x:{NAME}:out:<digest>      sorted set: the entries that are no answer to a question, by the time until when
    NAME:x:{NAME}:pairs:<entry>     sorted set: the same by entry

The counter of the fences begins at the server's time in microseconds: should a server evict it (``allkeys-*``), it goes
on above all that it had given out. The barrier and the set of selective purges are made with the counter: should either
be gone, a purge may have raised it, so what was begun until then is not stored. MemoryDB loses no acknowledged write in
a failover; where a server may, it may also forget a claim, and two processes generate the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yamabiko.errors import StoreUnavailable
from yamabiko.ports import Claim, Logged, Stored
from yamabiko.selecting import MAX_BARRIERS
from yamabiko.stores import intake
from yamabiko.stores.memorydb import listing
from yamabiko.stores.memorydb.connection import Argument, Connection
from yamabiko.stores.memorydb.layout import Layout
from yamabiko.stores.memorydb.scripts import alone, dated, fencing
from yamabiko.types import Selector

GRACE_SECONDS = 3600.0
"""How long the server keeps what is over: callers' clocks may differ from its own."""
TRIM = 1000
"""Items of a log that one script forgets."""


class SharedKeys:
    """``SharedState`` of one cache on a server. Leases go by the server's clock: ``now`` of a claim is not used."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        self._closed = False

    @property
    def spans_processes(self) -> bool:
        """See ``SharedState.spans_processes``."""
        return True

    async def claim(self, name: str, holder: str, /, *, seconds: float, now: float) -> Claim | None:  # noqa: ARG002 - the server's clock
        """See ``SharedState.claim``."""
        self._check_open()
        intake.check_lease(name, holder, seconds)
        keys = (self._key("claim", name), self._layout.fence, self._layout.barrier, self._layout.purged)
        reply = await self._connection.run(fencing("claim"), keys, (holder, _milliseconds(seconds)))
        return None if reply is None else Claim(name=name, holder=reply[0].decode(), fence=int(reply[1]))

    async def renew(self, claim: Claim, /, *, seconds: float, now: float) -> bool:  # noqa: ARG002 - the server's clock
        """See ``SharedState.renew``."""
        self._check_open()
        intake.check_seconds(seconds)
        return await self._change_lease("renew", claim, seconds)

    async def release(self, claim: Claim, /, *, now: float, open_seconds: float = 0.0) -> bool:  # noqa: ARG002 - the server's clock
        """See ``SharedState.release``."""
        self._check_open()
        return await self._change_lease("release", claim, open_seconds)

    async def _change_lease(self, script: str, claim: Claim, seconds: float) -> bool:
        if not claim.holder:
            return False
        keys = (self._key("claim", claim.name), self._layout.barrier)
        return bool(await self._connection.run(alone(script), keys, (claim.holder, _milliseconds(seconds))))

    async def fence(self) -> int:
        """See ``SharedState.fence``."""
        self._check_open()
        layout = self._layout
        fence = await self._connection.command("GET", layout.fence)
        if fence is None:
            fence = await self._connection.run(fencing("fence"), (layout.fence, layout.barrier, layout.purged), ())
        return int(fence)

    async def outdate(self, selector: Selector, /) -> None:
        """See ``SharedState.outdate``."""
        self._check_open()
        if selector.dead_at is None:  # of what is dead anyway, nobody can make anything that must be forgotten
            keys = (self._layout.fence, self._layout.barrier, self._layout.purged)
            await self._connection.run(fencing("barrier"), keys, (listing.barrier(selector), MAX_BARRIERS))

    async def purged(self) -> int:
        """See ``SharedState.purged``."""
        self._check_open()
        keys = (self._layout.barrier, self._layout.purged)
        return int(await self._connection.run(dated("purged"), keys, ()))

    async def load_state(self, name: str, /) -> Stored | None:
        """See ``SharedState.load_state``."""
        self._check_open()
        version, data = await self._connection.command("HMGET", self._key("state", name), "v", "d")
        return None if version is None or data is None else Stored(data=data, version=int(version))

    async def save_state(self, name: str, data: bytes, /, *, expected: int | None) -> int | None:
        """See ``SharedState.save_state``."""
        self._check_open()
        intake.check_state(name, data)
        known = "" if expected is None else expected
        version = await self._connection.run(alone("save"), (self._key("state", name),), (known, bytes(data)))
        return None if version is None else int(version)

    async def append_log(self, name: str, items: Mapping[str, bytes], /) -> int:
        """See ``SharedState.append_log``."""
        self._check_open()
        intake.check_items(name, items)
        arguments: list[Argument] = []
        for item_id, data in items.items():
            arguments += (item_id, bytes(data))
        return int(await self._connection.run(alone("append"), self._log(name), arguments)) if arguments else 0

    async def read_log(self, name: str, /, *, after: int, limit: int) -> Sequence[Logged]:
        """See ``SharedState.read_log``."""
        self._check_open()
        log, _ = self._log(name)
        rows = await self._connection.command("XRANGE", log, f"(0-{after}", "+", "COUNT", limit)
        return [
            Logged(position=int(at.partition(b"-")[2]), id=fields[1].decode(), data=fields[3]) for at, fields in rows
        ]

    async def trim_log(self, name: str, /, *, up_to: int) -> None:
        """See ``SharedState.trim_log``."""
        self._check_open()
        trimmed = TRIM
        while trimmed == TRIM:
            trimmed = await self._connection.run(alone("trim"), self._log(name), (up_to, TRIM))

    async def quarantine(self, entry_id: str, digest: bytes, /, *, until: float, now: float) -> None:
        """See ``SharedState.quarantine``."""
        self._check_open()
        intake.check_pair(entry_id, digest)
        keys = (self._key("out", digest.hex()), self._key("pairs", entry_id))
        arguments = (entry_id, digest.hex(), repr(float(until)), repr(float(now)), _milliseconds(GRACE_SECONDS))
        await self._connection.run(alone("quarantine"), keys, arguments)

    async def quarantined(self, digest: bytes, /, *, now: float) -> frozenset[str]:
        """See ``SharedState.quarantined``."""
        self._check_open()
        intake.check_digest(digest)
        later = f"({float(now)!r}"
        ids = await self._connection.command("ZRANGEBYSCORE", self._key("out", digest.hex()), later, "+inf")
        return frozenset(entry_id.decode() for entry_id in ids)

    def _log(self, name: str) -> tuple[str, str]:
        return self._key("log", name), self._key("ids", name)

    def _key(self, kind: str, name: str) -> str:
        return f"{self._layout.shared}{kind}:{name}"

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed: open a new one")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
