"""The gateway as its own Lambda runtime, which can stream: ``python -m yamabiko.gateway.lambda_runtime [--stream]``.

For container images, and for ``bootstrap`` in a zip. Lambda's runtime for Python tells answers whole; a runtime of
one's own may stream them, for whoever invokes it so: a function URL of a function outside a VPC, a REST API, an SDK.
With ``--stream`` every answer is streamed, and whoever asks for whole ones (an HTTP API, a load balancer) can't read
them.

Source: AWS Lambda developer guide, "Using the Lambda runtime API" and "Building a custom runtime" (read 2026-11-24).
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from yamabiko.errors import InvalidRequest, YamabikoError
from yamabiko.gateway.lambda_events import prelude, read_event
from yamabiko.gateway.lambda_handler import Function, function_of

_INVOCATION = "/2018-06-01/runtime/invocation"
_JSON: Mapping[str, str] = {"Content-Type": "application/json"}
_STREAMED: Mapping[str, str] = {
    "Content-Type": "application/vnd.awslambda.http-integration-response",
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Transfer-Encoding": "chunked",
    "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}
_BROKEN = "Yamabiko.AnswerBroken"
_log = logging.getLogger("yamabiko.gateway")
_json = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invocation; ``deadline`` is in seconds UTC epoch."""

    id: str
    deadline: float
    event: object = field(repr=False)


class RuntimeApi:
    """Lambda's end: ``address`` is host and port. Each call is a connection of its own; they are local."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    async def next(self) -> Invocation:
        """The next invocation, whenever it comes. Raises ``OSError``, ``EOFError`` and ``ValueError``."""
        headers, body = await self._asked("GET", f"{_INVOCATION}/next")
        event: object = None
        with suppress(msgspec.DecodeError):  # what is no JSON is no request either: it gets its error
            event = _decode(body)
        deadline = int(headers["lambda-runtime-deadline-ms"]) / 1000
        return Invocation(id=headers["lambda-runtime-aws-request-id"], deadline=deadline, event=event)

    async def answered(self, invocation: Invocation, answer: object) -> None:
        """Tell a whole answer."""
        await self._asked("POST", f"{_INVOCATION}/{invocation.id}/response", _json(answer))

    async def failed(self, invocation: Invocation | None, error: YamabikoError) -> None:
        """Tell that an invocation failed; None: that there will be none, since the function can't begin."""
        path = f"{_INVOCATION}/{invocation.id}/error" if invocation is not None else "/2018-06-01/runtime/init/error"
        kind = type(error).__name__
        told = {"errorType": kind, "errorMessage": str(error), "stackTrace": []}
        await self._asked("POST", path, _json(told), {"Lambda-Runtime-Function-Error-Type": f"Yamabiko.{kind}"})

    def streamed(self, invocation: Invocation) -> Streamed:
        """Tell an answer as it comes."""
        return Streamed(self, f"{_INVOCATION}/{invocation.id}/response")

    async def connected(
        self, method: str, path: str, headers: Mapping[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which a request has begun."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        said = {"Host": f"{self._host}:{self._port}", "Connection": "close", "User-Agent": "yamabiko", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
        writer.write("\r\n".join(lines).encode("ascii"))
        return reader, writer

    async def _asked(
        self, method: str, path: str, body: bytes = b"", more: Mapping[str, str] = _JSON
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers, by names in small letters, and body of the answer."""
        length = {"Content-Length": str(len(body))} if method == "POST" else {}
        reader, writer = await self.connected(method, path, {**_JSON, **more, **length})
        try:
            writer.write(body)
            await writer.drain()
            return await heard(reader)
        finally:
            writer.close()


async def heard(reader: asyncio.StreamReader) -> tuple[Mapping[str, str], bytes]:
    """A response's headers, by names in small letters, and its body. Raises ``ValueError`` where it is no success."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join([piece async for piece in _chunks(reader)])
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    status = head[0].split(" ")[1]
    if not status.startswith("2"):
        raise ValueError(f"Lambda's runtime API answered with status {status}")
    return headers, body


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass


class Streamed:
    """An answer on its way; ``send`` takes ASGI's messages. Close it, whatever happens."""

    def __init__(self, api: RuntimeApi, path: str) -> None:
        self._api = api
        self._path = path
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._complete = False

    async def send(self, message: dict[str, Any]) -> None:
        """One message. Raises ``OSError``."""
        if message["type"] == "http.response.start":
            self._connection = await self._api.connected("POST", self._path, _STREAMED)
            await self._chunk(prelude(message["status"], message["headers"]))
            return
        if data := message.get("body", b""):
            await self._chunk(data)
        self._complete = not message.get("more_body", False)

    async def close(self) -> None:
        """Say the end, or that there will be none."""
        if self._connection is None:
            return
        reader, writer = self._connection
        told = base64.b64encode(_json({"errorType": _BROKEN, "errorMessage": "the answer broke off"})).decode("ascii")
        error = f"Lambda-Runtime-Function-Error-Type: {_BROKEN}\r\nLambda-Runtime-Function-Error-Body: {told}\r\n"
        try:
            writer.write(f"0\r\n{'' if self._complete else error}\r\n".encode("ascii"))
            await writer.drain()
            await heard(reader)
        except (OSError, EOFError, ValueError) as error:  # nobody wanted to hear the rest
            _log.warning("an answer was not taken to its end: %s", type(error).__name__)
        finally:
            writer.close()

    async def _chunk(self, data: bytes) -> None:
        assert self._connection is not None
        writer = self._connection[1]
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()


async def serve(api: RuntimeApi, function: Function, *, stream: bool) -> None:
    """Answer invocations, one after the other, for ever. Raises ``OSError`` where Lambda can't be reached."""
    while True:
        invocation = await api.next()
        remaining = max(0.0, invocation.deadline - time.time())
        try:
            if stream:
                await _stream(api, function, invocation, remaining)
            else:
                await api.answered(invocation, await function.whole(invocation.event, remaining))
        except YamabikoError as error:
            await api.failed(invocation, error)


async def _stream(api: RuntimeApi, function: Function, invocation: Invocation, remaining_seconds: float) -> None:
    """Raises ``YamabikoError`` while nothing has been told."""
    request = read_event(invocation.event)
    streamed = api.streamed(invocation)
    try:
        await function.answer(request, streamed.send, remaining_seconds)
    finally:
        await streamed.close()


async def run(environ: Mapping[str, str], *, stream: bool) -> None:
    """Begin, and serve. Raises ``YamabikoError`` where the function can't begin; Lambda has been told."""
    api = RuntimeApi(environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        function = function_of(environ)
        await function.open()
    except YamabikoError as error:
        await api.failed(None, error)
        raise
    await serve(api, function, stream=stream)


def main(arguments: list[str]) -> None:
    """The command. Raises ``InvalidRequest`` for arguments that it does not have."""
    if arguments not in ([], ["--stream"]):
        raise InvalidRequest("python -m yamabiko.gateway.lambda_runtime takes --stream, and nothing else")
    asyncio.run(run(os.environ, stream=bool(arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
