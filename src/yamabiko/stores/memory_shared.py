"""The reference for ``SharedState``: plain dictionaries. No method awaits anything, so each is atomic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from yamabiko.errors import StoreUnavailable
from yamabiko.ports import Claim, Logged, Stored
from yamabiko.selecting import Barriers
from yamabiko.stores import intake
from yamabiko.types import Entry, Selector


@dataclass(slots=True)
class _Log:
    """The items that stand in a log, by id and in order, and the last position given out."""

    items: dict[str, Logged] = field(default_factory=dict)
    last: int = 0


class MemoryShared:
    """``SharedState`` of one process, and what the store it belongs to must know of it."""

    spans_processes = False

    def __init__(self) -> None:
        self._closed = False
        self._fence = 0
        self._purged = 0
        self._barriers = Barriers()
        self._leases: dict[str, tuple[Claim, float]] = {}
        self._states: dict[str, Stored] = {}
        self._logs: dict[str, _Log] = {}
        self._pairs: dict[bytes, dict[str, float]] = {}

    async def claim(self, name: str, holder: str, /, *, seconds: float, now: float) -> Claim | None:
        """See ``SharedState.claim``."""
        self._check_open()
        intake.check_lease(name, holder, seconds)
        claim, until = self._leases.get(name, (None, 0.0))
        if claim is not None and self._stands(claim, until, now):
            if not claim.holder:
                return Claim(name=name, holder="", fence=self._fence)
            return claim if claim.holder == holder else None
        self._fence += 1
        claim = Claim(name=name, holder=holder, fence=self._fence)
        self._leases[name] = claim, now + seconds
        return claim

    async def renew(self, claim: Claim, /, *, seconds: float, now: float) -> bool:
        """See ``SharedState.renew``."""
        self._check_open()
        intake.check_seconds(seconds)
        if not self._holds(claim, now):
            return False
        self._leases[claim.name] = self._leases[claim.name][0], now + seconds
        return True

    async def release(self, claim: Claim, /, *, now: float, open_seconds: float = 0.0) -> bool:
        """See ``SharedState.release``."""
        self._check_open()
        if not self._holds(claim, now):
            return False
        held, _ = self._leases.pop(claim.name)
        if open_seconds > 0:
            self._leases[claim.name] = Claim(name=held.name, holder="", fence=held.fence), now + open_seconds
        return True

    async def fence(self) -> int:
        """See ``SharedState.fence``."""
        self._check_open()
        return self._fence

    async def outdate(self, selector: Selector, /) -> None:
        """See ``SharedState.outdate``."""
        self._check_open()
        self._raise_barrier(selector)

    async def purged(self) -> int:
        """See ``SharedState.purged``."""
        self._check_open()
        return self._purged

    async def load_state(self, name: str, /) -> Stored | None:
        """See ``SharedState.load_state``."""
        self._check_open()
        return self._states.get(name)

    async def save_state(self, name: str, data: bytes, /, *, expected: int | None) -> int | None:
        """See ``SharedState.save_state``."""
        self._check_open()
        intake.check_state(name, data)
        known = self._states.get(name)
        if (None if known is None else known.version) != expected:
            return None
        version = 1 if known is None else known.version + 1
        self._states[name] = Stored(data=bytes(data), version=version)
        return version

    async def append_log(self, name: str, items: Mapping[str, bytes], /) -> int:
        """See ``SharedState.append_log``."""
        self._check_open()
        intake.check_items(name, items)
        log = self._logs.setdefault(name, _Log())
        new = [(item_id, data) for item_id, data in items.items() if item_id not in log.items]
        for item_id, data in new:
            log.last += 1
            log.items[item_id] = Logged(position=log.last, id=item_id, data=bytes(data))
        return len(new)

    async def read_log(self, name: str, /, *, after: int, limit: int) -> Sequence[Logged]:
        """See ``SharedState.read_log``."""
        self._check_open()
        log = self._logs.get(name, _Log())
        return [item for item in log.items.values() if item.position > after][:limit]

    async def trim_log(self, name: str, /, *, up_to: int) -> None:
        """See ``SharedState.trim_log``."""
        self._check_open()
        log = self._logs.get(name, _Log())
        for item in [item for item in log.items.values() if item.position <= up_to]:
            del log.items[item.id]

    async def quarantine(self, entry_id: str, digest: bytes, /, *, until: float, now: float) -> None:
        """See ``SharedState.quarantine``."""
        self._check_open()
        intake.check_pair(entry_id, digest)
        pairs = self._pairs.setdefault(digest, {})
        pairs[entry_id] = until
        self._pairs[digest] = {known: end for known, end in pairs.items() if end > now}

    async def quarantined(self, digest: bytes, /, *, now: float) -> frozenset[str]:
        """See ``SharedState.quarantined``."""
        self._check_open()
        intake.check_digest(digest)
        return frozenset(entry_id for entry_id, until in self._pairs.get(digest, {}).items() if until > now)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed: open a new one")

    def _stands(self, claim: Claim, until: float, now: float) -> bool:
        return until > now and claim.fence > self._barriers.everything

    def _holds(self, claim: Claim, now: float) -> bool:
        held, until = self._leases.get(claim.name, (None, 0.0))
        return held is not None and claim.holder == held.holder != "" and self._stands(held, until, now)

    def _is_outdated(self, fence: int | None, entry: Entry) -> bool:
        """Whether an answer with this fence was begun before a purge that means it."""
        return fence is not None and self._barriers.outdate(entry, fence)

    def _raise_barrier(self, selector: Selector) -> None:
        """A purge begins. Of what is dead anyway, nobody can make anything that must be forgotten."""
        if selector.dead_at is None:
            self._fence += 1
            self._purged = self._fence
            self._barriers.add(selector, self._fence)

    def _pardon(self, entry_ids: Iterable[str]) -> None:
        """Entries are gone, and with them what they were no answer to."""
        gone = set(entry_ids)
        self._pairs = {
            digest: kept
            for digest, pairs in self._pairs.items()
            if (kept := {entry_id: until for entry_id, until in pairs.items() if entry_id not in gone})
        }
