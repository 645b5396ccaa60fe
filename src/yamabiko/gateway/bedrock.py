"""An upstream that is Amazon Bedrock: ``--upstream openai=bedrock:MODEL``. It takes the place of a vendor's server.

Chat Completions and Messages come in, Converse (after Retrieve, where a knowledge base is set) goes out, and what comes
back is told in the vendor's own form. So the cache's path is the same as with any other upstream. MODEL answers,
whatever model a request names; what Converse can't be asked with is refused with status 400 and never left out.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import httpx
import msgspec

from yamabiko.build import Generator, make_generator
from yamabiko.errors import ConfigurationError, InvalidRequest, ServiceError, ServiceUnavailable, YamabikoError
from yamabiko.gateway.fresh import FRESH, Fresh
from yamabiko.gateway.proxy import Upstream
from yamabiko.generators.passages import NO_PASSAGES
from yamabiko.settings import Settings
from yamabiko.types import Reply, Request
from yamabiko.wire.dialect import Dialect

MADE = "yamabiko.made"
"""The extension of a response that holds a ``Made``: an answer's bytes don't say which documents it was made from."""

_JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})
_EVENTS: Mapping[str, str] = MappingProxyType({"content-type": "text/event-stream; charset=utf-8"})
_WHOLE = frozenset({"stop", "length", "content_filter", NO_PASSAGES})
_WORSE = (YamabikoError, TimeoutError)
"""What a call of Bedrock raises."""


@dataclass(slots=True)
class Made:
    """What was made for one response; None until it has come to its end."""

    reply: Reply | None = None

    def known_of(self, read: Reply) -> Reply:
        """What was read from the response, with what only its maker knows."""
        if self.reply is None or read.finish_reason != "stop":
            return read
        ended = NO_PASSAGES if self.reply.finish_reason == NO_PASSAGES else read.finish_reason
        return replace(read, sources=self.reply.sources, usage=self.reply.usage, finish_reason=ended)


@dataclass(frozen=True, slots=True)
class _Carried:
    """What of a dialect's request Converse can be asked with, what changes no answer, and what asks for nothing."""

    asked: frozenset[str]
    silent: frozenset[str]
    usual: Mapping[str, Sequence[object]] = field(default_factory=dict)


_CARRIED: Mapping[str, _Carried] = MappingProxyType(
    {
        "chat": _Carried(
            frozenset(
                {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "stream"}
            ),
            frozenset({"stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key"}),
            {
                "n": (1,),
                "frequency_penalty": (0,),
                "presence_penalty": (0,),
                "logprobs": (False,),
                "top_logprobs": (0,),
                "store": (False,),
                "response_format": ({"type": "text"},),
                "modalities": (["text"],),
                "service_tier": ("auto", "default"),
                "parallel_tool_calls": (True, False),
            },
        ),
        "messages": _Carried(
            frozenset({"model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences"})
            | {"stream"},
            frozenset({"metadata", "cache_control", "service_tier"}),
            {"thinking": ({"type": "disabled"},)},
        ),
    }
)
_NAMED = frozenset(
    {"tools", "tool_choice", "functions", "function_call", "response_format", "n", "seed", "logprobs", "top_logprobs"}
    | {"logit_bias", "frequency_penalty", "presence_penalty", "audio", "modalities", "web_search_options", "store"}
    | {"reasoning_effort", "verbosity", "prediction", "service_tier", "thinking", "mcp_servers", "container"}
)
"""Members that an error may name: others could be a text of the request."""
_TURN = frozenset({"role", "content"})


def carried(dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a body that Converse is asked with. Raises ``InvalidRequest`` where it can't carry one."""
    known = _CARRIED[dialect]
    given = {name: value for name, value in body.items() if value not in (None, [], {})}
    more = [
        name
        for name, value in given.items()
        if name not in known.asked | known.silent and value not in known.usual.get(name, ())
    ]
    if more:
        named = ", ".join(sorted(_NAMED.intersection(more))) or "a member that is not known here"
        raise InvalidRequest(f"Converse can't be asked with {named} here: leave it out, or use another upstream")
    stops, turns = given.get("stop_sequences", []), given.get("messages", [])
    if not isinstance(stops, list) or len(stops) > 1:
        raise InvalidRequest("Converse doesn't say which of several stop_sequences ended an answer: give a list of one")
    turns = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    if any(value not in (None, [], "") for turn in turns for name, value in turn.items() if name not in _TURN):
        raise InvalidRequest("a message holds more than role and content, which Converse can't be asked with here")
    return {name: value for name, value in given.items() if name in known.asked}


def _check_turns(request: Request) -> None:
    """Converse takes user and assistant by turns; to join turns would be another conversation than was sent."""
    roles = [turn.role for turn in request.messages]
    if roles and roles[0] in ("system", "developer"):
        roles = roles[1:]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2):
        raise InvalidRequest("Converse wants user and assistant by turns, user first, after any system prompt")


class BedrockUpstream(httpx.AsyncBaseTransport):
    """Answers the given dialects, below ``/v1``, by a model on Bedrock; ``name`` is the upstream's."""

    def __init__(self, name: str, model: str, generator: Generator, dialects: Sequence[Dialect]) -> None:
        self._name = name
        self._model = model
        self._generator = generator
        self._dialects = {
            f"/v1{path}": dialect for dialect in dialects for path in dialect.paths if dialect.name in _CARRIED
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "GET" and request.url.path == "/v1/models":
            model = {"id": self._model, "object": "model", "created": 0, "owned_by": "bedrock"}
            return _response(200, msgspec.json.encode({"object": "list", "data": [model]}))
        dialect = self._dialects.get(request.url.path)
        if dialect is None or request.method != "POST":
            message = f"the upstream {self._name} is Amazon Bedrock: it has chat/completions and messages"
            told = {"message": message, "type": "not_found_error", "param": None, "code": "not_found"}
            return _response(404, msgspec.json.encode({"error": told}))
        try:
            asked, fresh, stream = self._read(dialect, await request.aread())
            return await (self._streamed(asked, fresh) if stream else self._whole(asked, fresh))
        except _WORSE as error:
            status, code = _said_of(error)
            about = str(error) or f"the upstream {self._name} did not answer in time"
            return _response(status, dialect.error(status, code, about))

    def _read(self, dialect: Dialect, content: bytes) -> tuple[Request, Fresh, bool]:
        """What a body asks for. Raises ``InvalidRequest``."""
        try:
            body = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidRequest("the request's body is not JSON") from None
        if not isinstance(body, dict):
            raise InvalidRequest("the request's body must be an object")
        asked = dialect.asked(carried(dialect.name, body), tenant="", user="")
        _check_turns(asked.request)
        fresh = FRESH[dialect.name](body, self._model)
        return replace(asked.request, model=self._model), fresh, asked.stream

    async def _whole(self, asked: Request, fresh: Fresh) -> httpx.Response:
        reply = await self._generator(asked)
        if reply.finish_reason not in _WHOLE:
            raise ServiceUnavailable(f"the answer of the upstream {self._name} did not come to its end", code="Broken")
        return _response(200, fresh.whole(reply), Made(reply))

    async def _streamed(self, asked: Request, fresh: Fresh) -> httpx.Response:
        """A stream begins when the first piece is there: what is refused before that has a status of its own."""
        items = self._generator.stream(asked)
        first = await anext(items)
        made = Made()
        body = _Body(_told(items, first, fresh, made), items)
        return httpx.Response(200, headers=_EVENTS, stream=body, extensions={MADE: made})

    async def aclose(self) -> None:
        """Let go of Bedrock's clients."""
        await self._generator.close()


async def _told(
    items: AsyncIterator[str | Reply], item: str | Reply, fresh: Fresh, made: Made
) -> AsyncGenerator[bytes, None]:
    """The events of an answer. Raises ``httpx.ReadError`` where it breaks off, as a connection would."""
    try:
        yield fresh.head()
        while isinstance(item, str):
            if item:
                yield fresh.piece(item)
            item = await anext(items)
    except (*_WORSE, StopAsyncIteration) as error:
        raise httpx.ReadError("Bedrock broke off") from error
    if item.finish_reason not in _WHOLE:
        raise httpx.ReadError("Bedrock broke off")
    made.reply = item
    yield fresh.tail(item)


class _Body(httpx.AsyncByteStream):
    """A stream that ends its ``source`` too when it is closed, whether it was read or not."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], source: AsyncIterator[object] | None = None) -> None:
        self._pieces = pieces
        self._close = getattr(source, "aclose", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes."""
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        """Nobody reads on."""
        await self._pieces.aclose()
        if self._close is not None:
            await self._close()


async def _once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


def _response(status: int, content: bytes, made: Made | None = None) -> httpx.Response:
    """As from the net: a stream that has not been read yet."""
    known = {} if made is None else {MADE: made}
    return httpx.Response(status, headers=_JSON, stream=_Body(_once(content)), extensions=known)


_SAID: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "ThrottlingException": (429, "rate_limit_exceeded"),
        "ServiceQuotaExceededException": (429, "rate_limit_exceeded"),
        "ValidationException": (400, "invalid_request"),
        "ParamValidation": (400, "invalid_request"),
        "AccessDeniedException": (403, "permission_denied"),
        "ResourceNotFoundException": (404, "model_not_found"),
        "ModelNotReadyException": (503, "upstream_unavailable"),
        "ServiceUnavailableException": (503, "upstream_unavailable"),
        "ModelTimeoutException": (504, "upstream_timeout"),
        "Deadline": (504, "upstream_timeout"),
        "ReadTimeoutError": (504, "upstream_timeout"),
    }
)
"""Status and code that a client gets for an error of Bedrock's; 502 for every other: credentials too are the gateway's
own, and no fault of the client's."""


def _said_of(error: Exception) -> tuple[int, str]:
    match error:
        case InvalidRequest():
            return 400, "unsupported_request"
        case ServiceError():
            return _SAID.get(error.code, (502, "upstream_failed"))
        case TimeoutError():
            return 504, "upstream_timeout"
        case ConfigurationError():
            return 502, "upstream_not_configured"
        case _:
            return 502, "upstream_failed"


def on_bedrock(
    settings: Settings, upstreams: Sequence[Upstream], dialects: Sequence[Dialect]
) -> tuple[tuple[Upstream, ...], Mapping[str, httpx.AsyncBaseTransport]]:
    """The upstreams, those on Bedrock with what sets their answers apart, and by name who answers in their place.

    Which model, base and guardrail answer is no part of a request: other ones have answers of their own.
    Raises ``ConfigurationError`` and ``MissingExtra``.
    """
    found: list[Upstream] = []
    ends: dict[str, httpx.AsyncBaseTransport] = {}
    kind: Literal["knowledge_base", "converse"] = "knowledge_base" if settings.generator.knowledge_base else "converse"
    for upstream in upstreams:
        if not upstream.model:
            found.append(upstream)
            continue
        wanted = replace(settings.generator, kind=kind, model=upstream.model)
        generator = make_generator(replace(settings, generator=wanted))
        assert generator is not None
        apart = " ".join(filter(None, (f"bedrock:{upstream.model}", generator.version)))
        found.append(replace(upstream, apart=apart))
        ends[upstream.name] = BedrockUpstream(upstream.name, upstream.model, generator, dialects)
    return tuple(found), ends
