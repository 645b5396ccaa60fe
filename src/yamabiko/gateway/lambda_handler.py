"""The gateway as a function on AWS Lambda: ``yamabiko.gateway.lambda_handler.handler``.

Importing this module opens nothing. Asking it for ``handler`` does: Lambda does so while it initialises an environment,
which then serves one invocation after the other on one event loop, with one cache, one pool of connections to each
service, and IAM tokens that are renewed as anywhere else. Between invocations the environment is frozen, so whatever
goes on behind an answer is finished before the invocation ends, as far as there is time for it.

Sources: AWS Lambda developer guide, "Building a custom runtime" (read 2026-11-24); how a handler is looked up, called
and its errors logged, and ``AWS_LAMBDA_INITIALIZATION_TYPE``: awslambdaric 4.2.2.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from yamabiko.errors import ConfigurationError, YamabikoError
from yamabiko.gateway.app import DEADLINE, Gateway
from yamabiko.gateway.building import build
from yamabiko.gateway.client import Send
from yamabiko.gateway.emf import Emf, to_stdout
from yamabiko.gateway.exchange import Headers
from yamabiko.gateway.headers import JSON
from yamabiko.gateway.lambda_events import HttpEvent, read_event, scope_of, whole_answer
from yamabiko.settings import FILE_VARIABLE, Settings

RESERVE_SECONDS = 1.0
"""Of an invocation's time so much is kept for what goes on behind an answer, or a quarter where that is less."""
LAST_SECONDS = 0.2
"""So long before its end an invocation says what it has."""
THAWING_STEPS = 3
"""Rounds of the loop: what the sockets say is read, told to the connections, and those are closed."""
_log = logging.getLogger("yamabiko.gateway")
_json = msgspec.json.Encoder().encode


class Context(Protocol):
    """What Lambda says of an invocation, so far as it is asked for."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it may still take."""


class Function:
    """The gateway, asked by events. ``emf`` is told after each, where there is one. One invocation at a time.

    ``open`` may be left out: the first invocation opens what is not open.
    """

    def __init__(self, gateway: Gateway, emf: Emf | None = None) -> None:
        self._gateway = gateway
        self._emf = emf
        self._opened = False

    async def open(self) -> None:
        """Open the cache. Raises ``ConfigurationError``; a store that can't be reached is tried again later."""
        if not self._opened:
            await self._gateway.start()
            self._opened = True

    async def close(self) -> None:
        """Let go of everything."""
        await self._gateway.stop()

    async def whole(self, event: object, remaining_seconds: float) -> dict[str, object]:
        """The answer to an event, once all that goes on behind it is done. Raises ``InvalidRequest``."""
        request = read_event(event)
        answer = _Collected()
        late = await self.answer(request, answer.send, remaining_seconds)
        if answer.complete:
            return whole_answer(request, answer.status, answer.headers, bytes(answer.body))
        status, code = (504, "deadline") if late else (502, "upstream_broken")
        return whole_answer(request, status, (JSON,), _error(code, "the answer did not come to its end"))

    async def answer(self, request: HttpEvent, send: Send, remaining_seconds: float) -> bool:
        """Answer a request, then finish what goes on behind; whether the answer took too long.

        ``send`` gets ASGI's messages; the last one, which says that the body ends, when everything is done.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + remaining_seconds
        by = end - min(RESERVE_SECONDS, remaining_seconds / 4)
        held = _Held(send)
        await _thawed()
        asking = loop.create_task(self._asked(request, held, by))
        await asyncio.wait((asking,))
        if (error := asking.exception()) is not None:
            await _failed(error, held)
        late = loop.time() >= by
        await self._settle(end - LAST_SECONDS)
        await held.end()
        return late

    async def _asked(self, request: HttpEvent, held: _Held, by: float) -> None:
        try:
            async with asyncio.timeout_at(by):
                await self.open()
        except TimeoutError:
            await _say(held.send, 503, _error("starting", "the gateway could not begin in time"))
            return
        await self._gateway(scope_of(request) | {DEADLINE: by}, _once(request.body), held.send)

    async def _settle(self, by: float) -> None:
        """Finish what goes on behind. What there is no time for goes on with the next invocation, if there is one."""
        try:
            async with asyncio.timeout_at(by):
                await self._gateway.settle()
        except TimeoutError:
            _log.warning("the invocation ends before all that it stores is stored: give the function more time")
        if self._emf is not None:
            await self._emf.tell()


async def _failed(error: BaseException, held: _Held) -> None:
    """What a client is told. Lambda would log the error's message, which may hold a text: so it never gets there.

    Raises a ``YamabikoError``: what to do about it stands in its message, and no text of anybody.
    """
    if isinstance(error, YamabikoError):
        raise error
    _log.error("a request failed: %s in %s", type(error).__name__, _where(error))
    if not held.begun:
        await _say(held.send, 500, _error("internal_error", "the gateway failed"))


async def _thawed() -> None:
    """Let the loop see what happened while it stood still: connections that were closed must not be used again."""
    for _ in range(THAWING_STEPS):
        await asyncio.sleep(0)


class _Held:
    """Passes ASGI's messages on, but for the end of the body: that comes when ``end`` is called, if it has come."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send
        self._ended = False

    async def send(self, message: dict[str, Any]) -> None:
        """One message."""
        self.begun = True
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._ended = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def end(self) -> None:
        """Say the end, unless the answer broke off."""
        if self._ended:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _Collected:
    """A whole answer; ``complete`` when its end has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.body = bytearray()
        self.complete = False

    async def send(self, message: dict[str, Any]) -> None:
        """One message."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)


def _once(body: bytes) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    """ASGI's ``receive`` for a request that is there already, whose client never leaves: Lambda does not tell."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        if not waiting:
            await asyncio.get_running_loop().create_future()
        return waiting.pop()

    return receive


async def _say(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [JSON]})
    await send({"type": "http.response.body", "body": body})


def _error(code: str, message: str) -> bytes:
    return _json({"error": {"message": message, "type": "gateway_error", "code": code}})


def _where(error: BaseException) -> str:
    """File and line that raised, without a word of what was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return "an unknown place" if last is None else f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}"


def function_of(environ: Mapping[str, str]) -> Function:
    """The function that an environment's variables describe; nothing is open yet. Raises ``ConfigurationError``."""
    settings = _settings(environ)
    settings = replace(settings, bedrock=replace(settings.bedrock, early=True))
    if "url" not in settings.sources:
        raise ConfigurationError(
            "YAMABIKO_URL must name the store, such as memorydb://...: a function's own files are not kept"
        )
    emf = Emf(settings.deployment, to_stdout) if settings.gateway.emf else None
    return Function(build(settings, environ=environ, scraped=False, emf=emf), emf)


def _settings(environ: Mapping[str, str]) -> Settings:
    path = environ.get(FILE_VARIABLE, "")
    try:
        toml = Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"the settings file {path} can't be read") from None
    return Settings.load(environ=environ, toml=toml)


def _handle(runner: asyncio.Runner, function: Function, event: object, context: Context) -> dict[str, object]:
    return runner.run(function.whole(event, context.get_remaining_time_in_millis() / 1000))


@cache
def _handler() -> Callable[[object, Context], dict[str, object]]:
    """The one of this process. What a snapshot (SnapStart) begins from holds no connection: it would be of no use."""
    runner = asyncio.Runner()
    function = function_of(os.environ)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        runner.run(function.open())
    return partial(_handle, runner, function)


def __getattr__(name: str) -> Callable[[object, Context], dict[str, object]]:
    """``handler``, made when it is first asked for. Source: PEP 562."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _handler()
