"""A simulated upstream, in this process: what ``yamabiko serve --demo`` asks instead of a vendor's server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from yamabiko.generators.simulated import SimulatedModel
from yamabiko.stream import unheard, whole
from yamabiko.types import Request
from yamabiko.wire.dialect import Dialect

_EVENTS: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8"}
_DATA = b"data: {"


class SimulatedUpstream(httpx.AsyncBaseTransport):
    """Speaks the given dialects, below ``/v1``; its model is simulated and says so.

    ``answers`` gives the text for a request. A reply takes as long as the model's rule says, times ``time_scale``.
    """

    def __init__(
        self, dialects: Sequence[Dialect], answers: Callable[[Request], str], *, time_scale: float = 1.0
    ) -> None:
        self._dialects = {f"/v1{path}": dialect for dialect in dialects for path in dialect.paths}
        self._model = SimulatedModel(answers, time_scale=0)
        self._time_scale = time_scale

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "GET" and request.url.path == "/v1/models":
            model = {"id": "simulated", "object": "model", "created": 0, "owned_by": "yamabiko"}
            return _document(200, {"object": "list", "data": [model]})
        dialect = self._dialects.get(request.url.path)
        if dialect is None or request.method != "POST":
            return _document(404, {"error": {"message": "the simulated upstream has no such endpoint"}})
        asked = dialect.asked(msgspec.json.decode(await request.aread()), tenant="", user="")
        reply = await whole(self._model.stream, unheard)(asked.request)
        seconds = reply.latency_seconds * self._time_scale
        if asked.stream:
            frames = [_fresh(frame) for frame in dialect.frames(reply, asked)]
            return httpx.Response(200, headers=_EVENTS, content=_paced(frames, seconds))
        await asyncio.sleep(seconds)
        return _document(200, _unmarked(msgspec.json.decode(dialect.body(reply, asked))))


def _document(status: int, value: object) -> httpx.Response:
    """As from the net: a stream that has not been read yet."""
    headers = {"content-type": "application/json"}
    return httpx.Response(status, headers=headers, content=_paced([msgspec.json.encode(value)], 0.0))


async def _paced(frames: Sequence[bytes], seconds: float) -> AsyncIterator[bytes]:
    for frame in frames:
        await asyncio.sleep(seconds / len(frames))
        yield frame


def _fresh(frame: bytes) -> bytes:
    """A frame as if its answer had just been made."""
    if not frame.startswith(_DATA):
        return frame
    return b"data: " + msgspec.json.encode(_unmarked(msgspec.json.decode(frame.removeprefix(b"data: ")))) + b"\n\n"


def _unmarked(value: dict[str, Any]) -> dict[str, Any]:
    """Without what a dialect says of stored answers: that their usage is cached, and no time of their making."""
    if value.get("created") == 0:
        value["created"] = int(time.time())
    if isinstance(value.get("usage"), dict):
        value["usage"].pop("prompt_tokens_details", None)
    return value
