"""Step 1 of 9, behind HTTP: what a body asks. The same bytes from the same caller are read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.gateway.dialect import Asked, Dialect
from yamabiko.gateway.exchange import Caller, Headers
from yamabiko.gateway.routes import Route

REMEMBERED = 512
"""So many bodies, the last ones asked, are remembered with what they ask ..."""
REMEMBERED_BYTES = 16 * 1024
"""... if they are no longer than this."""
VARYING: Mapping[bytes, bytes] = MappingProxyType(
    {b"anthropic-beta": b"", b"openai-beta": b"", b"anthropic-version": b"2026-10-21"}
)
"""Headers that change what an upstream answers, each with the value that shares answers with other APIs; of the version
that is what the client of today sends (anthropic 2.13). Any other value has answers of its own."""
_OURS = frozenset({"yamabiko_upstream", "yamabiko_headers"})
"""Members that only the gateway puts into what is compared."""
_decode = msgspec.json.Decoder().decode


class Reading:
    """Reads bodies. ``max_temperature``: a request with a higher one bypasses the cache; None: no bound."""

    def __init__(self, max_temperature: float | None) -> None:
        self._max_temperature = max_temperature
        self._read: OrderedDict[tuple[str, str, str, str, str, tuple[str, ...], bytes], Asked] = OrderedDict()

    def asked(self, route: Route, dialect: Dialect, body: bytes, caller: Caller, headers: Headers) -> Asked | None:
        """What the body asks; None where it can't be read: the upstream knows best what is wrong with it."""
        if any(name == b"content-encoding" for name, _ in headers):
            return None
        varying = _varying(headers)
        name = (dialect.name, route.apart, caller.tenant, caller.user, caller.apart, varying, body)
        known = self._read.get(name)
        if known is not None:
            self._read.move_to_end(name)
            return known
        asked = self._asked(route, dialect, body, caller, varying)
        if asked is not None and not asked.request.bypass and len(body) <= REMEMBERED_BYTES:
            self._read[name] = asked
            if len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        return asked

    def _asked(
        self, route: Route, dialect: Dialect, body: bytes, caller: Caller, varying: tuple[str, ...]
    ) -> Asked | None:
        try:
            value = _decode(body)
            if not isinstance(value, dict) or not _OURS.isdisjoint(value):
                return None  # and nobody says for the gateway where an answer comes from
            if route.apart:  # what no dialect knows counts: answers of two servers are never taken for one's
                value["yamabiko_upstream"] = route.apart
            if varying:
                value["yamabiko_headers"] = list(varying)
            asked = dialect.asked(value, tenant=caller.tenant, user=caller.user)
        except (msgspec.DecodeError, InvalidRequest, RecursionError, UnicodeDecodeError):
            return None
        why = caller.apart if not asked.request.bypass else ""
        bound, heat = self._max_temperature, value.get("temperature")
        if bound is not None and isinstance(heat, int | float) and heat > bound:
            why = why or "its temperature is above the bound that is set for the cache"
        return replace(asked, request=replace(asked.request, bypass=why)) if why else asked


def _varying(headers: Headers) -> tuple[str, ...]:
    """The headers that change the answer, as texts in an order of their own."""
    found = [(name, value) for name, value in headers if name in VARYING and value != VARYING[name]]
    return tuple(f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in sorted(found))
