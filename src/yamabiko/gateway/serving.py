"""The server that runs the gateway: uvicorn, in one process or several on one socket."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import uvicorn
from uvicorn.supervisors import Multiprocess

from yamabiko.errors import StoreUnavailable
from yamabiko.gateway.app import Gateway
from yamabiko.gateway.protocol import Bounded
from yamabiko.gateway.scrape import FOLDER_VARIABLE
from yamabiko.settings import GatewaySettings

KEEP_ALIVE_SECONDS = 75
"""An idle connection is kept a little longer than load balancers keep theirs (60 s), so that they close it first."""

START_SECONDS = 60.0
"""How long a worker may take to open the cache."""


def run(
    make: Callable[[], Gateway], settings: GatewaySettings, *, workers: int, listening: Callable[[str, int], None]
) -> bool:
    """Serve until a signal ends it; whether it had begun to. ``make`` is called in each worker, and can be pickled.

    ``listening`` is told host and port. At the end, requests under way are finished, and then what is being stored.
    """
    config = _config(make, settings, workers)
    bound = config.bind_socket()
    host, port = bound.getsockname()[:2]
    begun = partial(listening, host, port)
    if workers > 1:
        with TemporaryDirectory(prefix="yamabiko-metrics-", ignore_cleanup_errors=True) as folder:
            os.environ.setdefault(FOLDER_VARIABLE, folder)  # where Prometheus' client looks, in each worker
            several = _Several(config, [bound], begun)
            several.run()
        return several.ready
    signal.signal(signal.SIGTERM, _exit)  # uvicorn ends in its own way, and then raises the signal once more
    server = _One(config, begun)
    server.run(sockets=[bound])
    return server.started


@contextmanager
def running(make: Callable[[], Gateway], settings: GatewaySettings) -> Iterator[str]:
    """Serve in a thread of this process while the block lasts; gives the root of the address.

    Raises ``StoreUnavailable`` where it could not begin; what was in the way has been logged.
    """
    config = _config(make, settings, 1)
    bound, begun = config.bind_socket(), threading.Event()
    server = _One(config, begun.set)

    def serve() -> None:
        try:
            server.run(sockets=[bound])
        finally:
            begun.set()

    thread = threading.Thread(target=serve, name="yamabiko-gateway")
    thread.start()
    try:
        begun.wait()
        if not server.started:
            raise StoreUnavailable("the gateway could not begin")
        host, port = bound.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def _config(make: Callable[[], Gateway], settings: GatewaySettings, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        make,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        http=Bounded,
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
