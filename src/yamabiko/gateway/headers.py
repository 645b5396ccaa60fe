"""Headers: what may pass in either direction, and those of the gateway's own answers."""

from __future__ import annotations

import time
from email.utils import formatdate

from yamabiko.gateway.exchange import CREDENTIALS, Headers

JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
CLOSE = ((b"connection", b"close"),)
"""With an answer to a request that was not read to its end."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Source: RFC 9110, 7.6.1 (June 2022)."""
_OURS_TO_SAY = frozenset({b"host", b"expect", b"accept-encoding"})
"""Of a request that is read; ``accept-encoding`` passes where nothing is read."""
_SAID_BY_US = b"x-yamabiko-"
_CORS = b"access-control-"
KEY_PREFIX = b"yamabiko-"
"""By which a key of the gateway's own is told from a vendor's: it never leaves for an upstream."""


def to_upstream(headers: Headers, *, read: bool, own_key: bool) -> list[tuple[bytes, bytes]]:
    """A client's headers without those of its connection and those meant for the gateway, its keys above all.

    ``read``: the answer will be read, so it must not be compressed. ``own_key``: the upstream's key is the gateway's,
    and the client's credentials stay here.
    """
    dropped = _HOP_BY_HOP | _named(headers) | _OURS_TO_SAY | (CREDENTIALS if own_key else frozenset())
    if not read:
        dropped -= {b"accept-encoding"}
    kept = [pair for pair in headers if pair[0] not in dropped and not pair[0].startswith(_SAID_BY_US)]
    kept = [pair for pair in kept if pair[0] not in CREDENTIALS or KEY_PREFIX not in pair[1]]
    if read:
        kept.append((b"accept-encoding", b"identity"))
    return kept


def to_client(headers: Headers) -> list[tuple[bytes, bytes]]:
    """An upstream's headers without those of its connection; nobody but the gateway says ``X-Yamabiko-*``.

    What an upstream lets pages of other sites read (CORS) is not what the gateway does: it lets them read nothing.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _HOP_BY_HOP | _named(lowered)
    return [pair for pair in lowered if pair[0] not in dropped and not pair[0].startswith((_SAID_BY_US, _CORS))]


def _named(headers: Headers) -> frozenset[bytes]:
    """The headers that ``Connection`` names as being of this connection only; never the length of the body."""
    listed = [value for name, value in headers if name == b"connection"]
    names = {token.strip().lower() for value in listed for token in value.split(b",")} if listed else set()
    return frozenset(names - {b"content-length", b"content-type", b"host"})


class Dates:
    """The ``Date`` header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._header = (b"date", b"")

    def now(self) -> tuple[bytes, bytes]:
        """The header for an answer of our own."""
        second = int(time.time())
        if second != self._second:
            self._second, self._header = second, (b"date", formatdate(second, usegmt=True).encode())
        return self._header
