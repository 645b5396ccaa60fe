"""Calls of an AWS service from an event loop: botocore's own client in threads of its own.

Threads and not aiobotocore, which fits three patch releases of botocore at a time and runs all of a call's work on the
loop that serves hits (benchmarks/bedrock.py measures both).

Source: botocore 1.44, ``endpoint.py``, ``retries/standard.py``, ``eventstream.py``, ``httpsession.py`` (read 2026-11).
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from yamabiko.aws.bedrock_errors import Refusals
from yamabiko.aws.bedrock_stream import Pump
from yamabiko.errors import ConfigurationError, MissingExtra, ServiceUnavailable

T = TypeVar("T")

_OPENING = threading.Lock()
"""Clients are made one at a time: botocore's sessions and loaders are not safe among threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a service is reached and how long is waited for it. Raises ``ConfigurationError``.

    ``region``: empty for what the AWS configuration says. ``endpoint_url``: another address of the service, as a VPC
    endpoint's; empty for AWS's own. ``profile``: of the AWS configuration. ``connect_timeout_seconds`` and
    ``read_timeout_seconds`` bound each attempt: until connected, and the longest silence. ``timeout_seconds`` bounds a
    whole call, a stream too, with its retries and its wait for a thread. ``attempts`` (1 to 10) in all, for throttling,
    failures of the service and of the connection, with jittered pauses (mode ``standard``). ``limit`` (1 to 1,000):
    calls at a time; more wait. ``early``: the client is made at once, in its thread, and not by the first call.
    """

    region: str = ""
    endpoint_url: str = field(default="", repr=False)
    profile: str | None = None
    connect_timeout_seconds: float = 3.0
    read_timeout_seconds: float = 60.0
    timeout_seconds: float = 120.0
    attempts: int = 3
    limit: int = 50
    early: bool = False

    def __post_init__(self) -> None:
        for name in ("connect_timeout_seconds", "read_timeout_seconds", "timeout_seconds"):
            if not 0 < getattr(self, name) <= 86_400:
                raise ConfigurationError(f"{name} must be above 0 and at most 86400, not {getattr(self, name)}")
        for name, highest in (("attempts", 10), ("limit", 1_000)):
            if not 1 <= getattr(self, name) <= highest:
                raise ConfigurationError(f"{name} must be in 1..{highest}, not {getattr(self, name)}")
        if self.endpoint_url and not self.endpoint_url.startswith(("http://", "https://")):
            raise ConfigurationError("endpoint_url must begin with https:// or http://")


class Calls:
    """One service (``bedrock-runtime``) with its client, which is made by the first call and in a thread.

    Credentials come from where AWS's clients look: environment, profile, container, instance. A call whose caller has
    left is not tried again; the attempt under way keeps its thread until the service answers or its time is up.
    """

    def __init__(self, service: str, access: Access) -> None:
        if importlib.util.find_spec("botocore") is None:
            raise MissingExtra("aws", "Amazon Bedrock")
        self.access = access
        self._service = service
        self._refusals = Refusals(service)
        self._threads = ThreadPoolExecutor(access.limit, thread_name_prefix=f"yamabiko-{service}")
        self._client: Any = None
        self._current = threading.local()
        self._computing = threading.Lock()
        self._pumps: set[Pump] = set()
        self._closed = False
        if access.early:
            self._threads.submit(self._opened)

    async def call(self, operation: str, arguments: Mapping[str, Any], finish: Callable[[Any], T]) -> T:
        """What ``finish`` makes, in the thread, of the response of one operation, as the client names it.

        Raises ``ServiceError`` and ``ConfigurationError``.
        """
        self._open()
        attempt = _Attempt(time.monotonic() + self.access.timeout_seconds)

        def work() -> T:
            return finish(self._response(operation, arguments, attempt))

        try:
            async with asyncio.timeout(self.access.timeout_seconds):
                return await asyncio.wrap_future(self._threads.submit(self._refusals.mapped, operation, work))
        except TimeoutError:
            self._too_slow(operation)
        finally:
            attempt.left = True

    async def stream(
        self, operation: str, arguments: Mapping[str, Any], events: Callable[[Any], Any]
    ) -> AsyncGenerator[Any, None]:
        """The events of a response, of which ``events`` gives the stream, as they come. Raises as ``call``.

        Few are read ahead of who takes them. Close the generator (``aclosing``): the connection is cut then.
        """
        self._open()
        ends = time.monotonic() + self.access.timeout_seconds
        attempt, pump = _Attempt(ends), Pump(asyncio.get_running_loop())

        def work() -> None:
            self._refusals.mapped(operation, lambda: pump.run(events(self._response(operation, arguments, attempt))))

        self._pumps.add(pump)
        try:
            pump.follow(self._threads.submit(work))
            async with aclosing(pump.events(ends)) as taken:
                async for event in taken:
                    yield event
        finally:
            attempt.left = True
            self._pumps.discard(pump)
        if pump.late:
            self._too_slow(operation)
        if pump.cut:
            self._open()

    def _response(self, operation: str, arguments: Mapping[str, Any], attempt: _Attempt) -> Any:
        client = self._opened()
        self._current.attempt = attempt
        self._turn()
        try:
            return getattr(client, operation)(**arguments)
        finally:
            self._pass()
            self._current.attempt = None

    def _turn(self, **_: object) -> None:
        """Wait until no other call is computing. Fifty threads at once would leave the loop a fiftieth of its time."""
        if not self._current.attempt.computing:
            self._computing.acquire()
            self._current.attempt.computing = True

    def _pass(self, **_: object) -> None:
        """Let the next one compute: this call is over, or waits for the service or for its next attempt."""
        if self._current.attempt.computing:
            self._current.attempt.computing = False
            self._computing.release()

    def _opened(self) -> Any:
        with _OPENING:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> Any:
        """The client, with this process's credentials. The model of the service is read here: some 0.1 s."""
        config = importlib.import_module("botocore.config").Config(
            connect_timeout=self.access.connect_timeout_seconds,
            read_timeout=min(self.access.read_timeout_seconds, self.access.timeout_seconds),
            retries={"mode": "standard", "total_max_attempts": self.access.attempts},
            max_pool_connections=self.access.limit,
            user_agent_extra="yamabiko",
        )
        session = importlib.import_module("botocore.session").Session(profile=self.access.profile)
        client = session.create_client(
            self._service,
            region_name=self.access.region or None,
            endpoint_url=self.access.endpoint_url or None,
            config=config,
        )
        events = client.meta.events
        events.register_first("request-created", self._turn)
        events.register_last("before-send", self._before_send)
        events.register_first("before-parse", self._turn)
        events.register_last("needs-retry", self._pass)
        return client

    def _before_send(self, request: Any, **_: object) -> None:
        """Before each attempt: none for a caller that has left, and none that outlasts the call's time."""
        attempt = self._current.attempt
        remaining = attempt.ends - time.monotonic()
        self._pass()
        if attempt.left or remaining <= 0:
            raise CallerLeft
        context = getattr(request, "context", None)  # of AWSPreparedRequest since botocore 1.44
        if isinstance(context, dict):
            context["read_timeout"] = min(self.access.read_timeout_seconds, remaining)

    def _open(self) -> None:
        if self._closed:
            raise ServiceUnavailable(f"{self._service}: this client is closed; open a new one", code="Closed")

    def _too_slow(self, operation: str) -> NoReturn:
        raise ServiceUnavailable(
            f"{self._service} {operation}: no whole answer within {self.access.timeout_seconds} s", code="Deadline"
        )

    async def close(self) -> None:
        """Let go of threads and connections. May be called twice; what is asked afterwards raises.

        Streams are cut. Other attempts under way are waited for: they end when the service answers, or at their time.
        """
        self._closed = True
        for pump in tuple(self._pumps):
            pump.leave()
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        client, self._client = self._client, None
        if client is not None:
            client.close()


class CallerLeft(Exception):
    """Nobody waits for this call any more."""


@dataclass(slots=True)
class _Attempt:
    """Of one call: when its time is up (``time.monotonic``), and whether its caller has left, whether it computes."""

    ends: float
    left: bool = False
    computing: bool = False
