"""The gateway from its settings. What serves it, a server or AWS Lambda, is not known here, and not imported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from yamabiko.build import make_embedder, open_cache
from yamabiko.cache import Cache
from yamabiko.gateway.app import Gateway
from yamabiko.gateway.bedrock import on_bedrock
from yamabiko.gateway.breaker import guarded
from yamabiko.gateway.control import Control, about
from yamabiko.gateway.emf import Emf
from yamabiko.gateway.exchange import Identify, Observer
from yamabiko.gateway.limits import Rooms
from yamabiko.gateway.observing import emf_of, observing
from yamabiko.gateway.ops import Ops, Readiness
from yamabiko.gateway.proxy import Proxy, Upstream, upstreams_of
from yamabiko.gateway.routes import Routes
from yamabiko.gateway.tenants import Tenants, table_of
from yamabiko.settings import Settings
from yamabiko.wire.dialect import Dialect
from yamabiko.wire.dialects.chat import Chat
from yamabiko.wire.dialects.messages import Messages
from yamabiko.wire.dialects.responses import Responses

if TYPE_CHECKING:
    import httpx


def dialects() -> tuple[Dialect, ...]:
    """All that the gateway speaks."""
    return (Chat(), Messages(), Responses())


def build(
    settings: Settings,
    *,
    upstreams: Sequence[Upstream] = (),
    transport: httpx.AsyncBaseTransport | None = None,
    identify: Identify | None = None,
    observers: Sequence[Observer] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    scraped: bool = True,
    emf: Emf | None = None,
) -> Gateway:
    """The application. ``upstreams`` and ``transport`` take the place of those that the settings name, and of the net.

    ``identify`` takes the place of the table of keys for clients, and not for administrators. ``environ`` and
    ``scraped``: see ``observing``. ``emf`` takes the place of the one that the settings ask for.
    Raises ``ConfigurationError``.
    """

    async def opening() -> Cache:
        embedder = make_embedder(settings)
        return await open_cache(
            settings=settings,
            embedder=None if embedder is None else guarded(embedder),
            hooks=looking_on.hooks,
        )

    def cache() -> Cache | None:
        return gateway.cache

    asked, ends = on_bedrock(settings, upstreams or upstreams_of(settings.gateway), dialects())
    telling = emf or emf_of(settings, cache)
    looking_on = observing(settings.gateway, asked, environ, cache, scraped=scraped, emf=telling)
    tenants = Tenants(table_of(settings.gateway))
    clients = identify or tenants
    rooms = Rooms(cache, time.monotonic)
    gateway = Gateway(
        opening,
        settings.gateway,
        Proxy(settings.gateway, transport, ends),
        Routes(asked, dialects()),
        identify=clients,
        read_controls=Control(settings.policy, rooms.has_room),
        observers=(*observers, *looking_on.observers, rooms),
        about=about,
        own={
            "yamabiko": looking_on.logged(Ops(cache, tenants, clients)),
            "readyz": Readiness(cache, lambda: gateway.in_flight),
            **({} if looking_on.scrape is None else {"metrics": looking_on.scrape}),
        },
    )
    return gateway
