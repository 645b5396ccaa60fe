"""What the arms of an experiment came to: batches that workers append to a log, and the counts that they add up to.

A caller counts once, with the share of hits among its first requests. Callers stand in the order in which they came,
and those at the front count for whom all are closed: who has made its requests, or whose time is up. A unit so never
changes after it was looked at, and whether a caller counts does not depend on what its arm did to it: not on how soon
it asked again, nor on whether it came back at all.

All of it follows from the log, item by item, so that every worker adds it up to the same. A batch carries its writer
and a number that rises, and counts once however often it was appended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec
import numpy as np

from yamabiko.core.experiment import Tally
from yamabiko.errors import ConfigurationError
from yamabiko.learn.experiment_records import FIRST

MAX_CALLERS = 50_000
"""So many callers count, the first ones: enough to tell apart hit rates that differ by three percentage points."""

MAX_WRITERS = 2000
"""Of how many writers the last number is remembered, those heard of last."""

GRACE_SECONDS = 60.0
"""A caller stays open so much longer than its window: what was noted in time may be written a little later."""

_ROW = np.dtype(
    [("caller", "<u8"), ("opened", "<u4"), ("seen", "u1"), ("hits", "u1"), ("audit", "u1"), ("treated", "u1")]
)
_NOT_AUDITED, _CORRECT, _WRONG = 0, 1, 2

Rows: TypeAlias = Any
"""Structured array (callers,) of ``_ROW``."""

Pair: TypeAlias = tuple[int, int]
Arms: TypeAlias = tuple[Pair, Pair]
"""Two numbers of each arm, control first."""

_NONE: Arms = ((0, 0), (0, 0))


class Noted(msgspec.Struct, array_like=True):
    """What one caller did: its arm, its requests in order ("1" a hit, "0" a miss), its first audit ("1" correct)."""

    treated: bool
    requests: str = ""
    audit: str = ""


class Batch(msgspec.Struct, kw_only=True):
    """What a worker noted since its last batch. ``at``: when it ended, seconds UTC epoch.

    ``callers`` by digest. ``requests``: all requests and the hits among them, of each arm; ``feedback``: verdicts that
    people gave unasked, good and bad.
    """

    writer: str = ""
    number: int = 0
    at: float = 0.0
    callers: dict[str, Noted] = msgspec.field(default_factory=dict)
    requests: Arms = _NONE
    feedback: Arms = _NONE

    def encode(self) -> bytes:
        """As it stands in the log."""
        return msgspec.json.encode(self)


def added(arms: Arms, pair: Pair, *, treated: bool) -> Arms:
    """The numbers with a pair more for one arm."""
    control, treatment = arms
    first, second = treatment if treated else control
    more = first + pair[0], second + pair[1]
    return (control, more) if treated else (more, treatment)


class _Head(msgspec.Struct, kw_only=True):
    """All but the callers.

    ``form``: of what is stored. ``position``: in the log, up to which it is added up. ``latest``: time heard of.
    """

    form: Literal[1] = 1
    position: int = 0
    latest: float = 0.0
    writers: dict[str, int] = msgspec.field(default_factory=dict)
    requests: Arms = _NONE
    feedback: Arms = _NONE
    unreadable: int = 0


class Tallies(NamedTuple):
    """Hits and errors per caller, each of (control, treatment), and how many callers are not counted yet."""

    hits: tuple[Tally, Tally]
    errors: tuple[Tally, Tally]
    waiting: int


class Counts:
    """The batches of one experiment, added up. ``window_seconds``: see ``Definition``."""

    def __init__(self, head: _Head, rows: Rows, window_seconds: float) -> None:
        self.head = head
        self._open_seconds = window_seconds + GRACE_SECONDS
        self._rows = rows
        self._size = len(rows)
        self._places = {int(caller): place for place, caller in enumerate(rows["caller"])}

    @classmethod
    def parse(cls, data: bytes, *, window_seconds: float) -> Self:
        """What ``encode`` gave, and nothing yet for no bytes. Raises ``ConfigurationError`` for anything else."""
        if not data:
            return cls(_Head(), np.zeros(0, _ROW), window_seconds)
        head, _, rows = data.partition(b"\n")
        try:
            return cls(msgspec.json.decode(head, type=_Head), np.frombuffer(rows, _ROW).copy(), window_seconds)
        except (msgspec.MsgspecError, ValueError):
            raise ConfigurationError(
                "the counts of this experiment can't be read: were they written by a newer version?"
            ) from None

    def encode(self) -> bytes:
        """As it is stored: at most some 900 KB."""
        for writer in list(self.head.writers)[:-MAX_WRITERS]:
            del self.head.writers[writer]
        rows: bytes = self._rows[: self._size].tobytes()
        return msgspec.json.encode(self.head) + b"\n" + rows

    def add(self, items: Iterable[tuple[int, bytes]]) -> None:
        """Add items of the log, (position, data), in its order. What is no batch is counted as unreadable."""
        for position, data in items:
            self.head.position = position
            try:
                batch = msgspec.json.decode(data, type=Batch)
                told = [(_number(caller), noted) for caller, noted in batch.callers.items()]
            except (msgspec.MsgspecError, ValueError):
                self.head.unreadable += 1
                continue
            known = self.head.writers.pop(batch.writer, 0)
            self.head.writers[batch.writer] = max(known, batch.number)  # at the end: heard of last
            if batch.number <= known:
                continue
            for treated in (False, True):
                self.head.requests = added(self.head.requests, batch.requests[treated], treated=treated)
                self.head.feedback = added(self.head.feedback, batch.feedback[treated], treated=treated)
            self.head.latest = max(self.head.latest, batch.at)
            for caller, noted in told:
                self._note(caller, noted)

    def reach(self, now: float) -> bool:
        """It is so late: whose time is up is closed, from now on and for every worker once this is stored.

        False where nobody is open, so that the time makes no difference.
        """
        if not self._open().any():
            return False
        self.head.latest = max(self.head.latest, now)
        return True

    def tallies(self) -> Tallies:
        """What counts by now."""
        rows = self._rows[: self._size]
        waiting = self._open()
        front = int(np.argmax(waiting)) if waiting.any() else self._size
        asked = rows[:front][rows["seen"][:front] > 0]
        audited = rows[rows["audit"] != _NOT_AUDITED]
        shares = asked["hits"] / np.maximum(asked["seen"], 1)
        wrong = (audited["audit"] == _WRONG).astype(np.float64)
        return Tallies(
            hits=(_tally(shares, asked["treated"] == 0), _tally(shares, asked["treated"] == 1)),
            errors=(_tally(wrong, audited["treated"] == 0), _tally(wrong, audited["treated"] == 1)),
            waiting=self._size - front,
        )

    def _open(self) -> Any:
        rows = self._rows[: self._size]
        return (rows["seen"] < FIRST) & (rows["opened"] + self._open_seconds > self.head.latest)

    def _note(self, caller: int, noted: Noted) -> None:
        place = self._places.get(caller)
        if place is None:
            if self._size >= MAX_CALLERS:
                return
            if self._size == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros(max(64, self._size), _ROW)])
            place = self._places[caller] = self._size
            self._size += 1
            self._rows[place] = (caller, int(min(max(self.head.latest, 0), 2**32 - 1)), 0, 0, 0, noted.treated)
        row = self._rows[place]
        if noted.audit and row["audit"] == _NOT_AUDITED:
            row["audit"] = _CORRECT if noted.audit == "1" else _WRONG
        if float(row["opened"]) + self._open_seconds <= self.head.latest:
            return
        taken = noted.requests[: FIRST - int(row["seen"])]
        row["seen"] += len(taken)
        row["hits"] += taken.count("1")


def _number(digest: str) -> int:
    if len(digest) != 16:
        raise ValueError("the digest of a caller has 16 digits")
    return int.from_bytes(bytes.fromhex(digest), "big")


def _tally(values: Any, chosen: Any) -> Tally:
    return Tally(units=int(np.count_nonzero(chosen)), total=float(values[chosen].sum()))
