"""What the gateway knows of one exchange: who calls, what they ask of the cache, and what came of it.

Values only. Others decide what is in them: ``Identify`` who calls, ``ReadControls`` what they ask, and each ``Observe``
is told when the exchange is over.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from yamabiko.types import PLAIN, Controls, Hit, Miss, Reply

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Names in small letters, and values, as ASGI has them."""
Scope: TypeAlias = Mapping[str, Any]
"""An ASGI connection scope of type ``http``."""

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""Headers that say who calls, by any vendor's SDK."""
NO_CREDENTIAL = "the request has no credential, and without one nothing is shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one tenant may use; None where nothing is limited. The app enforces ``models``; who identifies, the rest."""

    requests_per_minute: int | None = None
    cache_bytes: int | None = None
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as their credential says. ``digest`` names that credential in logs: never the credential itself.

    ``permissions`` are the labels of documents that they may be told of: a part of the scope (``Request.permissions``).
    ``apart``, a sentence, says why this caller shares no scope with anybody: such requests bypass the cache.
    """

    tenant: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    permissions: tuple[str, ...] = field(default=(), repr=False)
    digest: str = ""
    apart: str = ""
    limits: Limits = Limits()


class Refused(Exception):
    """The gateway's own answer instead of an upstream's. ``code`` is a word, ``message`` a sentence for the client."""

    def __init__(self, status: int, code: str, message: str, *, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = tuple(headers)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what came of it, filled in as it goes; complete when observers get it. Holds no text.

    ``route`` is a dialect's name, ``pass`` for what is passed on unread, or ``own``. ``outcome`` is None where the
    cache was not asked. ``shared``: another caller's generation answered. ``stale_if_error``: the upstream failed, and
    a stored answer took its place. ``error`` is the code of an error of the gateway's own. Times: ``started`` is of
    ``time.perf_counter``; ``*_seconds`` count from there, ``upstream_seconds`` from the call to the upstream's first
    byte. ``path`` is a template: see ``yamabiko.gateway.paths``. ``trace`` names the trace in which it is told of, and
    ``span`` is the tracer's own.
    """

    method: str
    route: str
    started: float
    path: str = ""
    observers: tuple[Observer, ...] = field(default=(), repr=False)
    upstream: str = ""
    caller: Caller = Caller()
    controls: Controls = PLAIN
    model: str = ""
    stream: bool = False
    outcome: Hit | Miss | None = field(default=None, repr=False)
    shared: bool = False
    stale_if_error: bool = False
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    status: int = 0
    error: str = ""
    attempts: int = 0
    upstream_status: int = 0
    upstream_seconds: float = 0.0
    first_byte_seconds: float = 0.0
    seconds: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
    trace: str = ""
    span: Any = field(default=None, repr=False)


Identify: TypeAlias = Callable[[Scope], Caller]
"""Who calls. Raises ``Refused`` (401 for a credential that is not known, 429 for a limit that is reached)."""
ReadControls: TypeAlias = Callable[[Headers, Caller], Controls]
"""What a request asks of the cache, and what its caller may: ``PLAIN`` where that is nothing special.

Raises ``Refused`` (400).
"""


@dataclass(slots=True, kw_only=True)
class Asking:
    """One call to an upstream, complete when it is over. An exchange may cause several, some of them after its end.

    ``headers``: what observers want to send along, such as a trace's context. ``seconds`` is the whole call,
    ``first_byte_seconds`` how long its status took; ``status`` is 0 where none came. ``error``: the code of what broke
    it. ``reply``: what was read, where it was read to its end.
    """

    started: float
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    status: int = 0
    attempts: int = 0
    first_byte_seconds: float = 0.0
    seconds: float = 0.0
    error: str = "given_up"
    reply: Reply | None = field(default=None, repr=False)
    span: Any = field(default=None, repr=False)

    def along(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """These headers, with those of the observers in the place of others of the same name."""
        names = {name for name, _ in self.headers}
        return [*(pair for pair in headers if pair[0] not in names), *self.headers]

    def answered(self, status: int, attempts: int) -> None:
        """Status and headers are there."""
        self.status, self.attempts = status, attempts
        self.first_byte_seconds = time.perf_counter() - self.started


class Observer:
    """Is told of every exchange, on the event loop; must be quick. Override what is of interest."""

    def begun(self, exchange: Exchange, scope: Scope) -> None:
        """A request has come in; nothing is known but its route. ``scope`` has its headers."""

    def ended(self, exchange: Exchange) -> None:
        """The last byte has left, or there is nobody to send it to."""

    def asking(self, exchange: Exchange, call: Asking) -> None:
        """An upstream is about to be asked; ``call.headers`` may be added to."""

    def asked(self, exchange: Exchange, call: Asking) -> None:
        """That call is over, whatever it came to."""

    async def close(self) -> None:
        """The gateway stops."""


@contextmanager
def asking(exchange: Exchange) -> Iterator[Asking]:
    """Around one call to an upstream: its observers are told. Whoever calls sets ``error`` to nothing at its end."""
    call = Asking(started=time.perf_counter())
    for observer in exchange.observers:
        observer.asking(exchange, call)
    try:
        yield call
    except Refused as refused:
        call.error = refused.code
        raise
    finally:
        call.seconds = time.perf_counter() - call.started
        for observer in exchange.observers:
            observer.asked(exchange, call)


def by_credential(scope: Scope) -> Caller:
    """Each credential is a tenant of its own, named by its digest; without one the caller is apart."""
    given = [name + b"\0" + value for name, value in scope["headers"] if name in CREDENTIALS]
    if not given:
        return Caller(apart=NO_CREDENTIAL)
    given.sort()
    digest = hashlib.sha256(b"yamabiko.credential.1\0" + b"\0".join(given)).hexdigest()[:32]
    return Caller(tenant=f"key:{digest}", digest=digest)


def local(_: Scope) -> Caller:
    """Whoever calls is the one tenant ``local``: for a demonstration on loopback."""
    return Caller(tenant="local")


def no_controls(_: Headers, __: Caller) -> Controls:
    """Nothing is asked of the cache."""
    return PLAIN
