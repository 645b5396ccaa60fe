"""The gateway from its settings, and the server that runs it: uvicorn, in one process or several on one socket."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.supervisors import Multiprocess

from yamabiko.build import open_cache
from yamabiko.cache import Cache
from yamabiko.gateway.app import Gateway
from yamabiko.gateway.dialect import Dialect
from yamabiko.gateway.dialects.chat import Chat
from yamabiko.gateway.dialects.messages import Messages
from yamabiko.gateway.dialects.responses import Responses
from yamabiko.gateway.exchange import Identify, Observer, by_credential
from yamabiko.gateway.proxy import Proxy, Upstream, upstreams_of
from yamabiko.gateway.routes import Routes
from yamabiko.settings import GatewaySettings, Settings

if TYPE_CHECKING:
    import httpx

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept a little longer than load balancers keep theirs (60 s), so that they close it first."""

START_SECONDS = 60.0
"""How long a worker may take to open the cache."""


def dialects() -> tuple[Dialect, ...]:
    """All that the gateway speaks."""
    return (Chat(), Messages(), Responses())


def build(
    settings: Settings,
    *,
    upstreams: Sequence[Upstream] = (),
    transport: httpx.AsyncBaseTransport | None = None,
    identify: Identify = by_credential,
    observers: Sequence[Observer] = (),
) -> Gateway:
    """The application. ``upstreams`` and ``transport`` take the place of those that the settings name, and of the net.

    Raises ``ConfigurationError``.
    """

    async def opening() -> Cache:
        return await open_cache(settings=settings)

    return Gateway(
        opening,
        settings.gateway,
        Proxy(settings.gateway, transport),
        Routes(upstreams or upstreams_of(settings.gateway), dialects()),
        identify=identify,
        observers=observers,
    )


def run(
    make: Callable[[], Gateway], settings: GatewaySettings, *, workers: int, listening: Callable[[str, int], None]
) -> bool:
    """Serve until a signal ends it; whether it had begun to. ``make`` is called in each worker, and can be pickled.

    ``listening`` is told host and port. At the end, requests under way are finished, and then what is being stored.
    """
    config = uvicorn.Config(
        make,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        ws="none",
        lifespan="on",
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    bound = config.bind_socket()
    host, port = bound.getsockname()[:2]
    begun = partial(listening, host, port)
    if workers > 1:
        several = _Several(config, [bound], begun)
        several.run()
        return several.ready
    signal.signal(signal.SIGTERM, _exit)  # uvicorn ends in its own way, and then raises the signal once more
    server = _One(config, begun)
    server.run(sockets=[bound])
    return server.started


def _exit(*_: object) -> None:
    sys.exit(0)


class _One(uvicorn.Server):
    """Says so when it takes requests."""

    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, if the application could be started."""
        await super().startup(sockets)
        if self.started:
            self._begun()


class _Several(Multiprocess):
    """Says so when each worker takes requests."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], begun: Callable[[], None]) -> None:
        super().__init__(config, sockets)
        self.ready = False
        self._begun = begun

    def init_processes(self) -> None:
        """Start the workers and wait for them."""
        super().init_processes()
        self.ready = all(process.wait_until_ready(START_SECONDS, self.should_exit) for process in self.processes)
        if self.ready:
            self._begun()
