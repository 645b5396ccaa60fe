"""Steps 1 and 2 of 9, behind HTTP: what a body asks. The same bytes from the same caller are read once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TypeAlias

import msgspec

from yamabiko.cache import Cache
from yamabiko.core.key import Place
from yamabiko.errors import InvalidRequest
from yamabiko.gateway.exchange import Caller, Headers
from yamabiko.gateway.routes import Route
from yamabiko.types import Request
from yamabiko.wire.dialect import Asked, Dialect, set_apart, varying

REMEMBERED = 512
"""So many bodies, the last ones asked, are remembered with what they ask ..."""
REMEMBERED_BYTES = 16 * 1024
"""... if they are no longer than this."""
_decode = msgspec.json.Decoder().decode
_Name: TypeAlias = tuple[str, str, str, str, tuple[str, ...], str, tuple[str, ...], bytes]


class Known:
    """What a body asks, and where that belongs in the cache: worked out at its first time.

    ``kept``: it is remembered, and the same one for the same bytes.
    """

    __slots__ = ("_place", "asked", "kept")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.kept = False
        self._place: Place | None = None

    def place(self, cache: Cache, request: Request) -> Place:
        """The place of a request, which is what is asked unless something spoke against it. Raises InvalidRequest."""
        if request is not self.asked.request:
            return cache.place(request)
        if self._place is None:
            self._place = cache.place(request)
        return self._place


class Reading:
    """Reads bodies. ``max_temperature``: a request with a higher one bypasses the cache; None: no bound."""

    def __init__(self, max_temperature: float | None) -> None:
        self._max_temperature = max_temperature
        self._read: OrderedDict[_Name, Known] = OrderedDict()

    def asked(self, route: Route, dialect: Dialect, body: bytes, caller: Caller, headers: Headers) -> Known | None:
        """What the body asks; None where it can't be read: the upstream knows best what is wrong with it."""
        if any(name == b"content-encoding" for name, _ in headers):
            return None
        varied = varying(headers)
        name = (dialect.name, route.apart, caller.tenant, caller.user, caller.permissions, caller.apart, varied, body)
        known = self._read.get(name)
        if known is not None:
            self._read.move_to_end(name)
            return known
        asked = self._asked(route, dialect, body, caller, varied)
        if asked is None:
            return None
        known = Known(asked)
        if not asked.request.bypass and len(body) <= REMEMBERED_BYTES:
            self._read[name] = known
            known.kept = True
            if len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        return known

    def _asked(
        self, route: Route, dialect: Dialect, body: bytes, caller: Caller, varied: tuple[str, ...]
    ) -> Asked | None:
        try:
            value = _decode(body)
            if not isinstance(value, dict) or not set_apart(value, route.apart, varied):
                return None
            asked = dialect.asked(value, tenant=caller.tenant, user=caller.user)
        except (msgspec.DecodeError, InvalidRequest, RecursionError, UnicodeDecodeError):
            return None
        if caller.permissions:
            asked = replace(asked, request=replace(asked.request, permissions=caller.permissions))
        why = caller.apart if not asked.request.bypass else ""
        bound, heat = self._max_temperature, value.get("temperature")
        if bound is not None and isinstance(heat, int | float) and heat > bound:
            why = why or "its temperature is above the bound that is set for the cache"
        return replace(asked, request=replace(asked.request, bypass=why)) if why else asked
