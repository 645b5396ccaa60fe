"""Bodies of stored answers, made once and sent again while the stored answer is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from yamabiko.gateway.reading import Known
from yamabiko.types import Reply

BYTES = 16 * 1024**2
"""So much of bodies is kept, those sent last."""
LARGEST = BYTES // 64
OVERHEAD_BYTES = 1024
"""What is held beside a body, roughly: the reply's own parts, and its name."""


class Retold:
    """Remembers bodies by what was asked, to the byte. A body counts for the very reply only that it tells."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[Known, tuple[Reply, bytes]] = OrderedDict()
        self._size = 0

    def body(self, known: Known, reply: Reply, make: Callable[[], bytes]) -> bytes:
        """The body of this reply for this request; ``make`` is called where it is not there."""
        found = self._bodies.get(known)
        if found is not None and (found[0] is reply or found[0] == reply):
            self._bodies.move_to_end(known)
            return found[1]
        body = make()
        if found is not None:
            del self._bodies[known]
            self._size -= _size(*found)
        size = _size(reply, body)
        if known.kept and size <= LARGEST:
            self._bodies[known] = (reply, body)
            self._size += size
            while self._size > BYTES:
                self._size -= _size(*self._bodies.popitem(last=False)[1])
        return body


def _size(reply: Reply, body: bytes) -> int:
    """Roughly: texts are counted at the two bytes that a character of Japanese takes."""
    return len(body) + 2 * (len(reply.text) + len(reply.extra)) + OVERHEAD_BYTES
