"""The whole gateway within this process, over ASGI, in front of an upstream that says what a test wants it to."""

import asyncio
from types import SimpleNamespace

import httpx

from yamabiko.gateway.building import build
from yamabiko.gateway.proxy import Upstream
from yamabiko.settings import Settings

PATIENCE_SECONDS = 10.0


class Told(httpx.AsyncBaseTransport):
    """Takes the place of the network: ``says(body)`` gives status, headers and body; ``heard`` is what came."""

    def __init__(self):
        self.heard = []
        self.says = None

    async def handle_async_request(self, request):
        body = await request.aread()
        self.heard.append(SimpleNamespace(url=str(request.url), headers=request.headers.raw, body=body))
        status, headers, answer = self.says(body)
        return httpx.Response(status, headers=headers, content=_in_pieces(answer))


async def _in_pieces(data, size=97):
    """Pieces that end anywhere: within events, lines and letters."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


class Inside:
    """``ask`` gives a namespace with ``status``, ``headers`` and ``body``; raises where an answer takes too long."""

    def __init__(self, url="memory://", **settings):
        self.upstream = Told()
        self._runner = asyncio.Runner()
        arguments = {"url": url, "embedder.kind": "none"} | {k.replace("__", "."): v for k, v in settings.items()}
        self.gateway = build(
            Settings.load(arguments=arguments),
            upstreams=[Upstream.parse("openai", "http://up.invalid"), Upstream.parse("anthropic", "http://up.invalid")],
            transport=self.upstream,
        )
        self._runner.run(self.gateway.start())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._runner.run(self.gateway.stop())
        self._runner.close()

    def ask(self, path, body=b"", headers=(), **more):
        """One request; ``more``: ``method``, ``query``, ``peer``."""
        return self._runner.run(self._ask(path, body, headers, **more))

    def entries(self):
        """All that is stored, once what is being written is."""
        return self._runner.run(self._entries())

    async def _entries(self):
        await self.gateway.cache.drain()
        return [entry async for entry in self.gateway.cache.entries()]

    async def _ask(self, path, body, headers, *, method="POST", query=b"", peer="127.0.0.1"):
        given = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [*given, (b"content-length", b"%d" % len(body))],
            "client": (peer, 5),
            "server": ("127.0.0.1", 80),
        }
        sent, waiting = [], [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if not waiting:
                await asyncio.Event().wait()
            return waiting.pop()

        async def send(message):
            sent.append(message)

        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.gateway(scope, receive, send)
        data = b"".join(message.get("body", b"") for message in sent[1:])
        assert not sent[-1].get("more_body", False)
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return SimpleNamespace(status=sent[0]["status"], headers=httpx.Headers(pairs), body=data)
