"""Which upstream a path leads to, and in which dialect: a table made once, from the configuration alone.

``/NAME/v1/...`` leads to the upstream of that name. ``/v1/...`` leads to ``openai`` and, where the path or the headers
are Anthropic's, to ``anthropic``; where there is no such upstream, to the first one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from yamabiko.gateway.exchange import Headers
from yamabiko.gateway.proxy import Upstream
from yamabiko.wire.dialect import Dialect

_VERSION = b"/v1"
_NAMED = re.compile(rb"/([a-z][a-z0-9_-]*)(/v1(?:/.*)?)")
_CLIMBING = re.compile(rb"(?i)(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:/|\\|%2f|%5c|$)|[^\x21-\x7e]|[#?\\]")
"""A path that leaves its place by dots, in any spelling; or that is no path."""
_ANTHROPIC = (b"/messages", b"/complete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes. ``target`` is the upstream's path. Without a ``dialect`` it is passed on unread.

    ``apart`` names an upstream that is not its dialect's usual one, or says what else sets its answers apart: it
    becomes a part of what two requests must share.
    """

    upstream: Upstream
    target: bytes
    dialect: Dialect | None = None
    apart: str = ""


class Routes:
    """The table. ``dialects`` by path; upstreams by name."""

    def __init__(self, upstreams: Sequence[Upstream], dialects: Sequence[Dialect]) -> None:
        self._upstreams: Mapping[str, Upstream] = MappingProxyType({upstream.name: upstream for upstream in upstreams})
        self._first = upstreams[0]
        self._dialects: Mapping[bytes, Dialect] = MappingProxyType(
            {path.encode(): dialect for dialect in dialects for path in dialect.paths}
        )
        self._read: Mapping[bytes, Route] = MappingProxyType(dict(self._all_read()))

    def read(self, path: bytes) -> Route | None:
        """The route of a POST to an endpoint that is read; None for all else."""
        return self._read.get(path)

    def passed(self, path: bytes, headers: Headers) -> Route | None:
        """The route of anything else; None where no upstream has it."""
        if _CLIMBING.search(path):
            return None
        named = _NAMED.fullmatch(path)
        if named is not None:
            upstream = self._upstreams.get(named[1].decode())
            return None if upstream is None else self._to(upstream, named[2].removeprefix(_VERSION))
        if path != _VERSION and not path.startswith(_VERSION + b"/"):
            return None
        rest = path.removeprefix(_VERSION)
        return self._to(self._usual("anthropic" if _is_anthropic(rest, headers) else "openai"), rest)

    def _all_read(self) -> list[tuple[bytes, Route]]:
        found = []
        for path, dialect in self._dialects.items():
            usual = self._usual(dialect.vendor)
            found.append((_VERSION + path, self._to(usual, path, dialect, usual.apart)))
            for upstream in self._upstreams.values():
                apart = upstream.apart or ("" if upstream is usual else upstream.name)
                found.append((f"/{upstream.name}".encode() + _VERSION + path, self._to(upstream, path, dialect, apart)))
        return found

    def _usual(self, name: str) -> Upstream:
        return self._upstreams.get(name, self._first)

    def _to(self, upstream: Upstream, rest: bytes, dialect: Dialect | None = None, apart: str = "") -> Route:
        return Route(upstream=upstream, target=upstream.base.encode() + rest, dialect=dialect, apart=apart)


def _is_anthropic(rest: bytes, headers: Headers) -> bool:
    if any(rest == path or rest.startswith(path + b"/") for path in _ANTHROPIC):
        return True
    return any(name == b"anthropic-version" for name, _ in headers)
