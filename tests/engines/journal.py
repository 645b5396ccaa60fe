"""What clients said to a guard: which commands, on which connection, in how many round trips."""

import threading
from collections import Counter
from dataclasses import dataclass

from engines.faults import HOUSEKEEPING


@dataclass
class Seen:
    connection: int
    batch: int  # everything that was sent before the client waited for a reply is one batch
    name: str
    arguments: tuple  # bytes, without the name
    error: str | None = None  # the error reply, if it was one


class Journal:
    def __init__(self):
        self._lock = threading.Lock()
        self._seen = []
        self._connections = 0

    def connected(self) -> int:
        with self._lock:
            self._connections += 1
            return self._connections

    def note(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    @property
    def connections(self) -> int:
        """How many connections were ever accepted."""
        return self._connections

    def since(self, start: int) -> list[Seen]:
        with self._lock:
            return self._seen[start:]

    def __len__(self):
        return len(self._seen)


class Watch:
    """The journal from one moment on: ``with guard.watching() as seen: ...``; readable during and after."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._start = len(journal)
        self._end = None

    @property
    def all(self) -> list[Seen]:
        seen = self._journal.since(self._start)
        return seen if self._end is None else seen[: self._end - self._start]

    @property
    def work(self) -> list[Seen]:
        """Without housekeeping: HELLO, AUTH, CLIENT, CLUSTER and the like."""
        return [one for one in self.all if one.name not in HOUSEKEEPING]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.work]

    @property
    def counts(self) -> Counter:
        return Counter(self.names)

    @property
    def counts_by_connection(self) -> dict[int, Counter]:
        found = {}
        for one in self.work:
            found.setdefault(one.connection, Counter())[one.name] += 1
        return found

    @property
    def round_trips(self) -> int:
        return len({(one.connection, one.batch) for one in self.work})

    @property
    def errors(self) -> list[str]:
        return [one.error for one in self.all if one.error is not None]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end = len(self._journal)
