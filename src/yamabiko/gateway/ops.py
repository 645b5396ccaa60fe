"""The gateway's own endpoints: feedback, entries, statistics, and whether the cache is well.

Whoever administers has a key with a scope, one tenant or all; a client's key may speak of its own hits and see what is
known of its own entries. What is not there and what belongs to others is the same 404, so that nobody finds out by
guessing. No request here ever asks a model.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from yamabiko.cache import Cache
from yamabiko.errors import EmbeddingError, InvalidRequest, StoreError
from yamabiko.gateway import openapi
from yamabiko.gateway.client import Receive, Send
from yamabiko.gateway.exchange import Headers, Identify, Refused, Scope
from yamabiko.gateway.headers import JSON, NO_SNIFFING
from yamabiko.gateway.limits import count
from yamabiko.gateway.tenants import Tenants, scope_of
from yamabiko.types import Entry, Key, Selector
from yamabiko.types import Scope as Partition
from yamabiko.version import __version__

MAX_BODY_BYTES = 64 * 1024
DEADLINE_SECONDS = 30.0
"""How long a question to the store may take here; a removal takes what it takes."""
READY_SECONDS = 2.0
"""How long store and embedder may take to answer; and how long what they said is believed."""
_ID = re.compile("[0-9a-f]{64}")
_CONDITIONS = ("id", "tag", "source", "base", "digest", "user", "model", "tenant")
_encode = msgspec.json.Encoder().encode


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /yamabiko/feedback``."""

    hit: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one endpoint says."""

    status: int
    document: Mapping[str, object] | None = None
    headers: Headers = ()


Endpoint: TypeAlias = Callable[["Asking"], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Asking:
    """One request to an endpoint. ``id``: the last part of a path that ends with one."""

    scope: Scope
    receive: Receive
    cache: Cache
    id: str = ""

    def query(self, known: tuple[str, ...]) -> Mapping[str, str]:
        """The query's members. Raises ``Refused`` for one that is not known, empty or there twice."""
        try:
            pairs = parse_qsl(
                self.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20
            )
        except ValueError:
            raise Refused(400, "invalid_query", "the query can't be read: send each member once, as UTF-8") from None
        found = dict(pairs)
        if len(found) != len(pairs) or not found.keys() <= set(known) or not all(found.values()):
            raise Refused(400, "invalid_query", f"the query may have, each once and with a value: {', '.join(known)}")
        return found

    async def body(self) -> bytes:
        """The body. Raises ``Refused`` where it is too long or breaks off."""
        parts, size, more = [], 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "client_gone", "the request broke off")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BODY_BYTES:
                raise Refused(413, "request_too_large", f"the request is longer than {MAX_BODY_BYTES} bytes")
            more = message.get("more_body", False)
        return b"".join(parts)


class Ops:
    """An ASGI application for ``/yamabiko/...``; ``cache`` gives None while there is none, ``identify`` who calls."""

    def __init__(self, cache: Callable[[], Cache | None], tenants: Tenants, identify: Identify) -> None:
        self._cache = cache
        self._tenants = tenants
        self._identify = identify
        self._endpoints: Mapping[tuple[str, str], Endpoint] = {
            ("POST", "/yamabiko/feedback"): self._feedback,
            ("DELETE", "/yamabiko/entries"): self._remove,
            ("GET", "/yamabiko/entries/{id}"): self._entry,
            ("GET", "/yamabiko/stats"): self._stats,
        }

    @property
    def endpoints(self) -> frozenset[tuple[str, str]]:
        """Method and path of each, as OpenAPI writes paths; the description's own included."""
        return frozenset(self._endpoints) | {("GET", openapi.PATH)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            answer = await self._answer(scope, receive)
        except Refused as refused:
            error = {"message": refused.message, "type": "gateway_error", "code": refused.code}
            answer = Answer(refused.status, {"error": error}, refused.headers)
        except (StoreError, TimeoutError):
            error = {"message": "the store can't be reached", "type": "gateway_error", "code": "store_unavailable"}
            answer = Answer(503, {"error": error}, ((b"retry-after", b"5"),))
        await say(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["raw_path"].decode("latin-1"), scope["method"]
        if path == openapi.PATH and method == "GET":
            return Answer(200, openapi.document())
        start, _, last = path.rpartition("/")
        template = f"{start}/{{id}}" if start == "/yamabiko/entries" else path
        endpoint = self._endpoints.get((method, template))
        if endpoint is None:
            allowed = sorted(one for one, known in self.endpoints if known == template)
            if not allowed:
                raise Refused(404, "not_found", f"there is no such endpoint: {openapi.PATH} lists all")
            allow = ((b"allow", ", ".join(allowed).encode()),)
            raise Refused(405, "method_not_allowed", f"this endpoint takes {' or '.join(allowed)}", headers=allow)
        cache = self._cache()
        if cache is None:
            raise StoreError
        return await endpoint(Asking(scope, receive, cache, last))

    async def _feedback(self, asking: Asking) -> Answer:
        tenant, user, _ = self._whose(asking.scope)
        try:
            said = msgspec.json.decode(await asking.body(), type=Feedback)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            why = 'the body is JSON: {"hit": "the response\'s X-Yamabiko-Hit-Id", "ok": false}'
            raise Refused(400, "invalid_body", why) from None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asking.cache.feedback(said.hit, ok=said.ok, whose=Selector(tenant=tenant, user=user))
        except InvalidRequest:
            raise _not_there() from None
        return Answer(204)

    async def _remove(self, asking: Asking) -> Answer:
        only = scope_of(self._tenants.administrator(asking.scope))
        conditions: dict[str, Any] = dict(asking.query(_CONDITIONS))
        if not conditions:
            raise Refused(400, "invalid_query", f"say what is to go, by one or more of {', '.join(_CONDITIONS)}")
        if "digest" in conditions and "source" not in conditions:
            raise Refused(400, "invalid_query", "digest is the present state of a document: name that by source")
        if only is not None and conditions.setdefault("tenant", only) != only:
            raise Refused(403, "other_tenant", "this admin key is another tenant's")
        return Answer(200, {"removed": await asking.cache.purge(**conditions)})

    async def _entry(self, asking: Asking) -> Answer:
        administers = self._tenants.is_administrator(asking.scope)
        tenant, user, held = self._whose(asking.scope)
        texts = asking.query(("texts",)).get("texts", "false")
        if texts not in ("true", "false"):
            raise Refused(400, "invalid_query", "texts is true or false")
        if texts == "true" and not administers:
            raise Refused(403, "no_admin_key", "texts are shown to an admin key only")
        if not _ID.fullmatch(asking.id):
            raise _not_there()
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for entry in asking.cache.entries(Selector(id=asking.id, tenant=tenant)):
                if (user is None or entry.scope.user in ("", user)) and _may_know(entry, held):
                    return Answer(200, described(entry) | (_texts(entry) if texts == "true" else {}))
        raise _not_there()

    async def _stats(self, asking: Asking) -> Answer:
        only = scope_of(self._tenants.administrator(asking.scope))
        asking.query(())
        async with asyncio.timeout(DEADLINE_SECONDS):
            if only is None:
                return Answer(200, {"version": __version__, **asdict(await asking.cache.stats())})
            entries, size = await count(asking.cache, Selector(tenant=only))
        return Answer(200, {"version": __version__, "tenant": only, "entries": entries, "payload_bytes": size})

    def _whose(self, scope: Scope) -> tuple[str | None, str | None, tuple[str, ...] | None]:
        """Of whose entries a request may speak: tenant, user and permissions, None for all. Raises ``Refused``."""
        if self._tenants.is_administrator(scope):
            return scope_of(self._tenants.administrator(scope)), None, None
        caller = self._identify(scope)
        if caller.apart:
            raise Refused(401, "no_credential", "this needs the credential that the answer was asked for with")
        return caller.tenant, caller.user, caller.permissions


def _may_know(entry: Entry, held: tuple[str, ...] | None) -> bool:
    """Whether these permissions are enough for all documents that an entry names; None: for whatever it names."""
    return held is None or all(set(source.labels) <= set(held) for source in entry.reply.sources)


def described(entry: Entry) -> dict[str, object]:
    """What is known of an entry, without a text of its questions and its answer."""
    return {
        "id": entry.id,
        "tenant": entry.scope.tenant,
        "user": entry.scope.user,
        "model": entry.scope.model,
        "created": entry.created,
        "expires": entry.expires if math.isfinite(entry.expires) else None,
        "stale_until": entry.stale_until if math.isfinite(entry.stale_until) else None,
        "tags": list(entry.tags),
        "sources": [asdict(source) for source in entry.reply.sources],
        "confirmed": entry.confirmed,
        "signed": bool(entry.signature),
        "questions": len(entry.questions),
        "answer_characters": len(entry.reply.text),
        "finish_reason": entry.reply.finish_reason,
        "input_tokens": entry.reply.usage.input_tokens,
        "output_tokens": entry.reply.usage.output_tokens,
        "cost_usd": entry.reply.cost_usd,
        "latency_seconds": entry.reply.latency_seconds,
    }


def _texts(entry: Entry) -> dict[str, object]:
    return {"texts": {"questions": [question.text for question in entry.questions], "answer": entry.reply.text}}


def _not_there() -> Refused:
    return Refused(404, "not_found", "there is no such thing, or it is not yours")


class Readiness:
    """``/readyz``: whether requests are taken, and whether store and embedder answer.

    Without either, requests are taken nevertheless and passed on, so that is no reason to send them elsewhere; who
    thinks otherwise asks for ``/readyz?cache=required``.
    """

    def __init__(
        self,
        cache: Callable[[], Cache | None],
        in_flight: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._in_flight = in_flight
        self._clock = clock
        self._looking: asyncio.Task[Mapping[str, str]] | None = None
        self._looked = -math.inf

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """One probe. Those that come at once, or shortly after, share one look."""
        if self._looking is None or (self._looking.done() and self._clock() - self._looked >= READY_SECONDS):
            self._looked = self._clock()
            self._looking = asyncio.get_running_loop().create_task(self._look())
        parts = await asyncio.shield(self._looking)
        well = parts["store"] == "ok" and parts["embedder"] in ("ok", "none")
        required = scope["query_string"] == b"cache=required"
        document = {"status": "ready" if well else "degraded", **parts, "in_flight": self._in_flight()}
        await say(send, Answer(503 if required and not well else 200, document))

    async def _look(self) -> Mapping[str, str]:
        cache = self._cache()
        if cache is None:
            return {"cache": "unavailable", "store": "unavailable", "embedder": "unavailable"}
        store, embedder = await asyncio.gather(_store_answers(cache), _embedder_answers(cache))
        return {"cache": "open", "store": store, "embedder": embedder}


async def _store_answers(cache: Cache) -> str:
    nowhere = Partition(content=bytes(32), digest=bytes(32))
    try:
        async with asyncio.timeout(READY_SECONDS):
            await cache.store.get(Key(scope=nowhere, digest=bytes(32)))
    except (StoreError, TimeoutError):
        return "unavailable"
    return "ok"


async def _embedder_answers(cache: Cache) -> str:
    if cache.embedder is None:
        return "none"
    try:
        async with asyncio.timeout(READY_SECONDS):
            await cache.embedder.embed(["ready"])
    except (EmbeddingError, TimeoutError):
        return "unavailable"
    return "ok"


async def say(send: Send, answer: Answer) -> None:
    """Send an answer of the gateway's own, which nobody may keep."""
    body = b"" if answer.document is None else _encode(answer.document)
    said = [NO_SNIFFING, (b"cache-control", b"no-store"), *answer.headers]
    if answer.document is not None:
        said += [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": said})
    await send({"type": "http.response.body", "body": body})
