"""What a test makes go wrong. Everything here may be changed from the test's thread at any time."""

import asyncio
import threading
from dataclasses import dataclass, field

# What clients say of themselves and ask of the cluster: no round trip of the work, and not what a rule means by "any".
HOUSEKEEPING = frozenset(
    ["HELLO", "AUTH", "CLIENT", "SELECT", "READONLY", "READWRITE", "COMMAND", "CLUSTER", "PING", "QUIT", "RESET"]
)


@dataclass
class Rule:
    """One wish: for commands named ``command`` (None: any but housekeeping), ``times`` times (None: for ever)."""

    kind: str  # fail, hold, delay, cut, move
    command: str | None
    times: int | None
    given: dict = field(default_factory=dict)
    used: int = 0
    _released: bool = False
    _waiting: list = field(default_factory=list)  # (loop, asyncio.Event) of each reply that is held
    _reached: threading.Event = field(default_factory=threading.Event)

    def matches(self, name) -> bool:
        return name not in HOUSEKEEPING if self.command is None else name == self.command

    @property
    def spent(self) -> bool:
        return self.times is not None and self.used >= self.times

    # For "hold"

    def release(self) -> None:
        """Lets the replies go that are held, and those to come."""
        self._released = True
        for loop, event in self._waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def wait_reached(self, seconds=20.0) -> None:
        """Returns when a reply is being held (or the rule has struck)."""
        if not self._reached.wait(seconds):
            raise AssertionError(f"no {self.command or 'command'} has come within {seconds:g} s")

    async def passed(self) -> None:
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        self._reached.set()
        if not self._released:  # asked after the event has been listed: a release can't slip through
            await event.wait()

    def struck(self) -> None:
        self.used += 1
        if self.kind != "hold":
            self._reached.set()


class Rules:
    """The rules in force. The first that fits a command and a kind is the one."""

    def __init__(self):
        self._lock = threading.Lock()
        self._rules = []

    def add(self, kind, command, times, **given) -> Rule:
        rule = Rule(kind, command.upper() if command else None, times, given)
        with self._lock:
            self._rules.append(rule)
        return rule

    def strike(self, kind, name, fits=lambda _: True) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.kind == kind and not rule.spent and rule.matches(name) and fits(rule):
                    rule.struck()
                    return rule
        return None

    def __bool__(self):
        return bool(self._rules)

    def any(self, kind) -> bool:
        with self._lock:
            return any(rule.kind == kind and not rule.spent for rule in self._rules)

    def clear(self) -> None:
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()
