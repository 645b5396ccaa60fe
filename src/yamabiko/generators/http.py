"""Step 8 of 9, hosted: a model behind any OpenAI-compatible ``/chat/completions`` endpoint.

Source: the OpenAI API reference, "Chat Completions" (read 2026-11).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.types import Reply, Request
from yamabiko.wire.openai import chunk_from, reply_from, to_body
from yamabiko.wire.sse import Chunk, Parser, reply_of

if TYPE_CHECKING:
    import httpx


class HttpModel:
    """A Generate callable, and by ``stream`` a StreamGenerate; needs ``pip install 'yamabiko[http]'``.

    ``url`` is the API's root (``https://api.openai.com/v1``) or the endpoint itself. ``model`` is asked where a request
    names none. ``timeout_seconds`` (> 0) bounds a whole reply, streamed or not. Nothing is tried again here: whether a
    generation may be repeated is the caller's business.

    Raises ``ConfigurationError`` and ``MissingExtra``. A call raises what httpx raises (``HTTPStatusError`` for a
    status that is no success), ``TimeoutError``, and ``InvalidRequest`` for an answer that is no chat completion; no
    message holds a prompt, an answer or the key.
    """

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
        self._url = root if root.endswith("/chat/completions") else f"{root}/chat/completions"
        self._model = model
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
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
        return replace(reply_from(_object(response)), latency_seconds=asyncio.get_running_loop().time() - started)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces as they come, then a Reply without text that carries usage and finish reason.

        A stream that breaks off ends with the finish reason ``error``, which is never stored.
        """
        started = asyncio.get_running_loop().time()
        deadline = started + self._timeout_seconds
        client, seen = self._opened(), list[Chunk]()
        asked = client.build_request("POST", self._url, json=self._body(request, stream=True), headers=self._headers)
        async with asyncio.timeout_at(deadline):
            response = await client.send(asked, stream=True)
        async with aclosing(response), aclosing(_chunks(response.raise_for_status(), deadline)) as chunks:
            async for chunk in chunks:
                seen.append(chunk)
                if chunk.text:
                    yield chunk.text
        ended = asyncio.get_running_loop().time()
        yield replace(reply_of(seen), text="", chunk_lengths=(), latency_seconds=ended - started)

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body = to_body(request, stream=stream)
        return body if request.model else {**body, "model": self._model}

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


async def _chunks(response: httpx.Response, deadline: float) -> AsyncGenerator[Chunk, None]:
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
            chunk = chunk_from(event.data)
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
