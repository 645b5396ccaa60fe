"""What the gateway and wrapped clients ask of a vendor's API: one small, pure Protocol, implemented in ``dialects``.

A dialect knows JSON and server-sent events, and nothing of sockets, stores or clocks. What its upstream sends reaches
the client that caused the call as it came, byte for byte; a dialect only *listens*, so that the answer can be stored.
Bytes are made by a dialect for hits, and for those who wait for a generation that another kind of request caused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from yamabiko.types import Reply, Request
from yamabiko.wire.sse import Chunk, Event

VARYING: Mapping[bytes, bytes] = MappingProxyType(
    {b"anthropic-beta": b"", b"openai-beta": b"", b"anthropic-version": b"2026-10-21"}
)
"""Headers that change what an upstream answers, each with the value that shares answers with other APIs; of the version
that is what the client of today sends (anthropic 2.13). Any other value has answers of its own."""
_OURS = frozenset({"yamabiko_upstream", "yamabiko_headers"})
"""Members that only we put into what is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request body as a dialect has read it.

    ``request`` is what the cache sees; its ``bypass`` says in a sentence why it must not meet the cache, where that is
    so. ``stream``: the client wants server-sent events. ``body``: the JSON as it came, for answers that repeat a part
    of their request; never changed.

    ``shape`` names everything in the body that changes the *bytes* of an answer and is not a part of ``request``
    (whether a stream reports its usage, metadata that are repeated): of two requests for the same key in one dialect,
    with equal ``stream`` and equal ``shape``, both can be sent the very bytes that the upstream sent to one.
    """

    request: Request
    stream: bool = False
    shape: str = field(default="", repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Listener(Protocol):
    """Reads one stream of an upstream, event by event; made anew for each stream."""

    def hear(self, event: Event, /) -> Chunk:
        """What this event adds. ``Chunk.text`` is one piece of ``Reply.chunk_lengths``, as replayed later.

        ``Chunk.done`` says that the vendor's terminal event is there: without one nothing is stored.
        Raises ``InvalidRequest`` for what is no event of such a stream; the bytes reach the client nevertheless, and
        nothing of the stream is stored.
        """

    def reply(self) -> Reply:
        """What the stream added up to, with the whole text, ``chunk_lengths``, usage, tool calls and ``extra``.

        ``finish_reason`` is ``error`` where the stream gave none or reported an error. Called once, at the end. The
        same answer, streamed or not, gives the same text, tool calls and ``extra``, so that either can be replayed as
        the other. Raises ``InvalidRequest`` where what was heard adds up to nothing that can be kept.
        """


class Dialect(Protocol):
    """One vendor API. Stateless; all methods are pure."""

    @property
    def name(self) -> str:
        """A word for headers, metrics and ``Reply.extra``: ``chat``, ``messages``, ``responses``."""

    @property
    def vendor(self) -> str:
        """The name of the upstream that speaks it unless the configuration says otherwise: ``openai``."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The endpoints whose POSTs are read, below the API's root: ``("/chat/completions",)``."""

    def asked(self, body: Mapping[str, Any], /, *, tenant: str, user: str) -> Asked:
        """Reads a request body; ``tenant`` and ``user`` come from a credential, never from the body.

        What must not be cached (tool results, images, audio, more than one choice, state kept by the vendor) has its
        ``request.bypass`` set. Raises ``InvalidRequest`` for what it can't read: that is passed on to the upstream,
        which knows best what is wrong with it.
        """

    def reply(self, body: Mapping[str, Any], /) -> Reply:
        """Reads a successful response body that is not a stream.

        Whatever is needed for a faithful replay (ids, fingerprints, reasoning, log probabilities, the usage as the
        vendor wrote it) goes to ``Reply.extra``: canonical JSON of an object with one member, named after the dialect.
        Raises ``InvalidRequest``; nothing is stored then, and the client gets the bytes as they came.
        """

    def listener(self) -> Listener:
        """Reads a successful response that is a stream."""

    def loss(self, reply: Reply, asked: Asked, /) -> str:
        """What this dialect could not say of a stored reply, in a sentence; empty where nothing would be lost.

        A reply may have been made in another dialect (see the member of its ``extra``). Where something would be lost,
        the gateway generates anew instead.
        """

    def body(self, reply: Reply, asked: Asked, /) -> bytes:
        """The response body that is not a stream; its usage is marked as cached. Never called where ``loss`` speaks."""

    def frames(self, reply: Reply, asked: Asked, /) -> Iterator[bytes]:
        """The same as a stream: whole server-sent events, each with its blank line, one item for each to be paced.

        The text comes in ``Reply.chunks()`` (leave empty ones out), and the vendor's terminal event comes last.
        """

    def error(self, status: int, code: str, message: str, /) -> bytes:
        """The body of an error of the gateway's own, in the vendor's shape.

        ``code`` is a word in snake case (``overloaded``), ``message`` a sentence; neither holds a text of a request.
        """

    def error_frame(self, code: str, message: str, /) -> bytes:
        """An event that tells a client in the midst of a stream that it broke; the vendor's SDKs raise on it.

        It begins with a blank line: the stream may have broken off within an event.
        """


def varying(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The headers that change the answer, as texts in an order of their own."""
    found = [(name, value) for name, value in headers if name in VARYING and value != VARYING[name]]
    return tuple(f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in sorted(found))


def set_apart(body: dict[str, Any], apart: str, varied: tuple[str, ...]) -> bool:
    """Puts into a body what changes its answer and stands outside of it: the server, the headers.

    Answers of two servers are never taken for one's. False where the body says such a thing itself: nobody does so for
    us.
    """
    if not _OURS.isdisjoint(body):
        return False
    if apart:
        body["yamabiko_upstream"] = apart
    if varied:
        body["yamabiko_headers"] = list(varied)
    return True
