"""Stop asking who doesn't answer: a circuit breaker. Pure: time and chance come in."""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5
"""In a row; then it opens."""
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0


class Breaker:
    """Closed: everybody may try. Open: nobody, for a while. Then one, whose outcome decides for all.

    The pause doubles with each failure of that one, up to ``LONGEST_PAUSE_SECONDS``. Times are seconds of any clock
    that only goes forward.
    """

    __slots__ = ("_failures", "_pause", "_probing", "_until")

    def __init__(self) -> None:
        self._failures = 0
        self._pause = 0.0
        self._until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it has opened and not closed since."""
        return self._until is not None

    def admit(self, now: float) -> bool | None:
        """Whether to try: None for no, True for the one that decides, False for everybody's leave."""
        if self._until is None:
            return False
        if self._probing or now < self._until:
            return None
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The server answered, whatever it said."""
        if self._failures:
            self._failures, self._pause, self._until, self._probing = 0, 0.0, None, False

    def failed(self, now: float, *, probe: bool, jitter: float) -> bool:
        """No answer; True when that opens it (again). ``jitter`` in [0, 1) makes the pause up to a quarter longer.

        What was on its way when it opened changes nothing any more.
        """
        self._failures += 1
        if (self._until is not None and not probe) or self._failures < FAILURES:
            return False
        self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 or FIRST_PAUSE_SECONDS)
        self._until = now + self._pause * (1 + jitter / 4)
        self._probing = False
        return True

    def abandoned(self, *, probe: bool) -> None:
        """Nobody waited for the outcome; after the one that decides, the next is one."""
        if probe:
            self._probing = False
