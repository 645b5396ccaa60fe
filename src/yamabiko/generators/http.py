"""Step 8 of 9, hosted: a model behind any endpoint that speaks OpenAI's Chat Completions or Anthropic's Messages.

Source: the OpenAI API reference, "Chat Completions", and the Anthropic API reference, "Messages" (read 2026-11).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.types import Reply, Request
from yamabiko.wire import anthropic, openai
from yamabiko.wire.sse import Chunk, Parser, reply_of

if TYPE_CHECKING:
    import httpx


class _Hearing(Protocol):
    """Adds up one stream."""

    def add(self, data: str) -> Chunk:
        """What the data of the next event adds."""

    def reply(self) -> Reply:
        """What the stream added up to."""


class _Chunks:
    """Adds up a stream of Chat Completions."""

    def __init__(self) -> None:
        self._seen: list[Chunk] = []

    def add(self, data: str) -> Chunk:
        chunk = openai.chunk_from(data)
        self._seen.append(chunk)
        return chunk

    def reply(self) -> Reply:
        return reply_of(self._seen)


class HttpModel:
    """A Generate callable, and by ``stream`` a StreamGenerate; needs ``pip install 'yamabiko[http]'``.

    ``url`` is the API's root (``https://api.openai.com/v1``) or the endpoint itself. ``model`` is asked where a request
    names none. ``timeout_seconds`` (> 0) bounds a whole reply, streamed or not. Nothing is tried again here: whether a
    generation may be repeated is the caller's business.

    Raises ``ConfigurationError`` and ``MissingExtra``. A call raises what httpx raises (``HTTPStatusError`` for a
    status that is no success), ``TimeoutError``, and ``InvalidRequest`` for an answer that is no chat completion; no
    message holds a prompt, an answer or the key.
    """

    _path = "/chat/completions"

    def __init__(self, url: str, model: str, *, api_key: str | None = None, timeout_seconds: float = 120.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError("url must be the root of an API, such as https://api.openai.com/v1")
        if not model:
            raise ConfigurationError("model must be the name of a model")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        try:
            self._httpx: Any = importlib.import_module("httpx")
        except ModuleNotFoundError as error:
            raise MissingExtra("http", "A hosted model") from error
        root = url.rstrip("/")
        self._url = root if root.endswith(self._path) else root + self._path
        self._model = model
        self._headers = self._identified(api_key)
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, request: Request) -> Reply:
        """The whole answer, with usage, finish reason and the model that the server names."""
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._timeout_seconds):
            response = await self._opened().post(
                self._url, json=self._body(request, stream=False), headers=self._headers
            )
        response.raise_for_status()
        return replace(self._reply(_object(response)), latency_seconds=asyncio.get_running_loop().time() - started)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces as they come, then a Reply without text that carries usage and finish reason.

        A stream that breaks off ends with the finish reason ``error``, which is never stored.
        """
        started = asyncio.get_running_loop().time()
        deadline = started + self._timeout_seconds
        client, hearing = self._opened(), self._hearing()
        asked = client.build_request("POST", self._url, json=self._body(request, stream=True), headers=self._headers)
        async with asyncio.timeout_at(deadline):
            response = await client.send(asked, stream=True)
        async with aclosing(response), aclosing(_chunks(response.raise_for_status(), hearing, deadline)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    yield chunk.text
        ended = asyncio.get_running_loop().time()
        yield replace(hearing.reply(), text="", chunk_lengths=(), latency_seconds=ended - started)

    def _identified(self, api_key: str | None) -> dict[str, str]:
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body = openai.to_body(request, stream=stream)
        return body if request.model else {**body, "model": self._model}

    def _reply(self, body: Mapping[str, Any]) -> Reply:
        return openai.reply_from(body)

    def _hearing(self) -> _Hearing:
        return _Chunks()

    def _opened(self) -> httpx.AsyncClient:
        """The client of the running loop: connections can't be used in another one."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._httpx.AsyncClient(timeout=self._timeout_seconds), loop
        return self._client

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AnthropicModel(HttpModel):
    """The same for ``https://api.anthropic.com/v1``, and whatever else speaks its Messages.

    ``max_tokens`` (>= 1), which this API demands, holds where a request sets none.
    """

    _path = "/messages"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_tokens: int = 4096,
        timeout_seconds: float = 120.0,
    ) -> None:
        if max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be 1 or more, not {max_tokens}")
        self._max_tokens = max_tokens
        super().__init__(url, model, api_key=api_key, timeout_seconds=timeout_seconds)

    def _identified(self, api_key: str | None) -> dict[str, str]:
        version = {"anthropic-version": ANTHROPIC_VERSION}
        return version if api_key is None else {**version, "x-api-key": api_key}

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body = {"max_tokens": self._max_tokens, **anthropic.to_body(request, stream=stream)}
        return body if request.model else {**body, "model": self._model}

    def _reply(self, body: Mapping[str, Any]) -> Reply:
        return anthropic.reply_from(body)

    def _hearing(self) -> _Hearing:
        return anthropic.Assembly()


ANTHROPIC_VERSION = "2023-06-01"
"""The version of Anthropic's API that is spoken here."""


async def _chunks(response: httpx.Response, hearing: _Hearing, deadline: float) -> AsyncGenerator[Chunk, None]:
    """What the events of a stream add, up to the one that says that nothing follows.

    The deadline (loop time) is watched around each read: around a ``yield`` it would strike whoever reads the stream.
    """
    parser = Parser()
    data: bytes | None
    pieces = response.aiter_bytes()
    while True:
        async with asyncio.timeout_at(deadline):
            data = await anext(pieces, None)
        for event in parser.finish() if data is None else parser.feed(data):
            chunk = hearing.add(event.data)
            if chunk.done:
                return
            yield chunk
        if data is None:
            return


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}
