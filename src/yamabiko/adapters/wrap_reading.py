"""Step 1 of 9, in front of a vendor's client: what a request of it asks of the cache. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.types import PLAIN, Controls, Request
from yamabiko.wire.dialect import Asked, Dialect, set_apart, varying
from yamabiko.wire.dialects.chat import Chat
from yamabiko.wire.dialects.messages import Messages
from yamabiko.wire.dialects.responses import Responses
from yamabiko.wire.fields import from_cache_control

DIALECTS: Mapping[str, tuple[Dialect, ...]] = MappingProxyType(
    {"openai": (Chat(), Responses()), "anthropic": (Messages(),)}
)
"""What each vendor's client speaks, as far as it is read."""
USUAL = frozenset({"https://api.openai.com/v1", "https://api.anthropic.com/v1"})
"""Servers whose answers are shared with other ways to them, such as the gateway; any other has answers of its own."""
OURS = b"x-yamabiko-"
"""Headers that begin with this are for the cache, and never leave for a vendor."""
_WISHES = ("tenant", "user", "knowledge", "category")
_TAGS = b"x-yamabiko-tags"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What ``wrap`` was told of all requests of a client. See ``yamabiko.Request`` and ``Controls``."""

    tenant: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    knowledge: str = ""
    tags: tuple[str, ...] = field(default=(), repr=False)
    category: str = ""
    permissions: tuple[str, ...] = field(default=(), repr=False)
    controls: Controls = PLAIN

    def of(self, headers: Sequence[tuple[bytes, bytes]]) -> Wishes:
        """The same with what one request's headers say: ``Cache-Control``, ``X-Yamabiko-Tenant`` and the like."""
        said: dict[str, Any] = {}
        ours = {name: value.decode("latin-1") for name, value in headers if name.startswith(OURS)}
        for name in _WISHES:
            if (value := ours.get(OURS + name.encode())) is not None:
                said[name] = value
        if _TAGS in ours:
            said["tags"] = (*self.tags, *filter(None, (tag.strip() for tag in ours[_TAGS].split(","))))
        control = b",".join(value for name, value in headers if name == b"cache-control").decode("latin-1")
        if control:
            asked = from_cache_control(control)
            ages = [age for age in (asked.get("max_age_seconds"), self.controls.max_age_seconds) if age is not None]
            said["controls"] = replace(self.controls, **asked | ({"max_age_seconds": min(ages)} if ages else {}))
        return replace(self, **said) if said else self

    def on(self, request: Request) -> Request:
        """A request that a wire has read, with what stands in none."""
        return replace(
            request, knowledge=self.knowledge, tags=self.tags, category=self.category, permissions=self.permissions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One request as its dialect has read it, and what it asks of the cache."""

    dialect: Dialect
    asked: Asked
    controls: Controls

    @property
    def request(self) -> Request:
        """What the cache sees."""
        return self.asked.request


def read(
    vendor: str, wishes: Wishes, *, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Read | None:
    """What an HTTP request asks; None for what passes through: another endpoint, or what can't be read.

    ``url`` in full; ``headers`` with names in small letters.
    """
    root, _, query = url.partition("?")
    found = next(
        ((dialect, path) for dialect in DIALECTS[vendor] for path in dialect.paths if root.endswith(path)), None
    )
    if method != "POST" or found is None or any(name == b"content-encoding" for name, _ in headers):
        return None
    dialect, path = found
    apart = root.removesuffix(path) + (f"?{query}" if query else "")
    wishes = wishes.of(headers)
    try:
        value = _decode(body)
        if not isinstance(value, dict) or not set_apart(value, "" if apart in USUAL else apart, varying(headers)):
            return None
        asked = dialect.asked(value, tenant=wishes.tenant, user=wishes.user)
        asked = replace(asked, request=wishes.on(asked.request))
    except (msgspec.DecodeError, InvalidRequest, RecursionError, UnicodeDecodeError):
        return None
    return Read(dialect=dialect, asked=asked, controls=wishes.controls)
