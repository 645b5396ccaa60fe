"""The access log: one line of JSON for each request, with digests and lengths and no text, no key, no name of a tenant.

Of the gateway's own endpoints those are logged that read or change what is stored. Fields that say nothing are left
out; ``seconds`` and ``*_bytes`` mean what they mean in ``Exchange``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any, TextIO, TypeAlias

import msgspec

from yamabiko.gateway.client import Receive, Send
from yamabiko.gateway.exchange import Exchange, Observer, Scope
from yamabiko.gateway.outcomes import tier_of
from yamabiko.gateway.paths import method_of, name_of, own_template
from yamabiko.types import Hit, Miss

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
LOGGER = "yamabiko.access"
_json = msgspec.json.Encoder().encode


class AccessLog(Observer):
    """Writes to a logger at level INFO. ``now`` gives seconds UTC epoch."""

    def __init__(self, logger: logging.Logger | None = None, now: Callable[[], float] = time) -> None:
        self._logger = logger or logging.getLogger(LOGGER)
        self._now = now

    def ended(self, exchange: Exchange) -> None:
        """See ``Observer``."""
        if self._logger.isEnabledFor(logging.INFO):
            told = {"time": self._time(), **line_of(exchange)}
            line = _json(told).decode()  # its caller is of no interest, and to find it out costs as much as the rest
            self._logger.handle(self._logger.makeRecord(LOGGER, logging.INFO, "", 0, line, (), None))

    def _time(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")

    def around(self, app: App) -> App:
        """The application, with each of its requests logged."""

        async def logged(scope: Scope, receive: Receive, send: Send) -> None:
            path = own_template(scope["raw_path"])
            exchange = Exchange(method=scope["method"], route="own", started=perf_counter(), path=path)

            async def counted(message: dict[str, Any]) -> None:
                exchange.status = message.get("status", exchange.status)
                exchange.response_bytes += len(message.get("body", b""))
                await send(message)

            try:
                await app(scope, receive, counted)
            finally:
                exchange.seconds = perf_counter() - exchange.started
                self.ended(exchange)

        return logged


def line_of(exchange: Exchange) -> dict[str, object]:
    """What is told of one request: nothing that its client could have written as they liked."""
    told: dict[str, object] = {
        "method": method_of(exchange.method),
        "path": exchange.path,
        "status": exchange.status,
        "seconds": round(exchange.seconds, 6),
        "dialect": exchange.route,
    }
    if exchange.route != "own":
        told["tier"] = tier_of(exchange)
    outcome = exchange.outcome
    if isinstance(outcome, Hit):
        told |= {"key": outcome.key.hex[:16], "entry": outcome.entry.id[:16], "stale": outcome.stale}
        told |= {"similarity": round(outcome.similarity, 4), "age_seconds": round(outcome.age_seconds)}
    elif isinstance(outcome, Miss):
        told |= {"reason": outcome.reason.value, "key": outcome.key.hex[:16] if outcome.key is not None else ""}
    more = {
        "error": exchange.error,
        "shared": exchange.shared,
        "stale_if_error": exchange.stale_if_error,
        "tenant": exchange.caller.digest,
        "model": name_of(exchange.model),
        "stream": exchange.stream,
        "finish_reason": name_of(exchange.finish_reason),
        "input_tokens": exchange.input_tokens,
        "output_tokens": exchange.output_tokens,
        "upstream": exchange.upstream,
        "upstream_status": exchange.upstream_status,
        "upstream_seconds": round(exchange.upstream_seconds, 6),
        "attempts": exchange.attempts,
        "first_byte_seconds": round(exchange.first_byte_seconds, 6),
        "request_bytes": exchange.request_bytes,
        "response_bytes": exchange.response_bytes,
        "trace": exchange.trace,
    }
    return told | {name: value for name, value in more.items() if value}


def to_stream(stream: TextIO) -> AccessLog:
    """An access log on a stream, with nothing around its lines. It is this process's only one."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return AccessLog(logger)
