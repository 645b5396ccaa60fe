"""Step 8 of 9, behind HTTP: the upstreams, and calls to them over pooled connections.

A call is made again only while nothing of its answer has come: after that it has happened. What the upstream says is
passed on, whatever it is; only where it says nothing does the gateway answer itself.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from yamabiko.gateway.exchange import Headers, Refused
from yamabiko.settings import GatewaySettings

DEFAULT_UPSTREAMS = (("openai", "https://api.openai.com/v1"), ("anthropic", "https://api.anthropic.com/v1"))
FIRST_PAUSE_SECONDS = 0.1
"""Before a call is made again; doubled each time, and spread by chance."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_NEVER_ANSWERED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A server that speaks one or more dialects.

    ``root`` (``https://host``) and ``base`` (``/v1``, or what takes its place there) come from the configuration alone:
    no request chooses a host. ``key`` replaces the client's credential where it is not empty. ``model`` is a model on
    Amazon Bedrock, which then stands for the server. ``apart``: what sets its answers apart from those of any other.
    """

    name: str
    root: str
    base: str
    key: str = field(default="", repr=False)
    model: str = ""
    apart: str = ""

    @classmethod
    def parse(cls, name: str, url: str, key: str = "") -> Self:
        """``https://host`` is served under ``/v1``; ``https://host/api/v1`` under its own path; ``bedrock:MODEL``."""
        if url.startswith("bedrock:"):
            return cls(name=name, root="https://bedrock.invalid", base="/v1", model=url.removeprefix("bedrock:"))
        parts = urlsplit(url)
        return cls(name=name, root=f"{parts.scheme}://{parts.netloc}", base=parts.path.rstrip("/") or "/v1", key=key)

    def credentials(self) -> Headers:
        """The header with the gateway's own key, as the vendor has it; none where the client's is passed on."""
        if not self.key:
            return ()
        if self.name == "anthropic":
            return ((b"x-api-key", self.key.encode()),)
        return ((b"authorization", b"Bearer " + self.key.encode()),)


def upstreams_of(settings: GatewaySettings) -> tuple[Upstream, ...]:
    """The configured upstreams; OpenAI and Anthropic where there are none."""
    named = settings.upstreams or dict(DEFAULT_UPSTREAMS)
    return tuple(Upstream.parse(name, url, settings.upstream_keys.get(name, "")) for name, url in named.items())


class Proxy:
    """Calls upstreams. ``transport`` takes the place of the network, ``ends`` that of single upstreams, by their names.

    Sends exactly the headers that it is given (and ``Host``), keeps no cookies and follows no redirects.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        transport: httpx.AsyncBaseTransport | None = None,
        ends: Mapping[str, httpx.AsyncBaseTransport] = MappingProxyType({}),
    ) -> None:
        self._retries = settings.retries
        self._timeout = {
            "connect": settings.connect_timeout_seconds,
            "read": settings.read_timeout_seconds,
            "write": settings.read_timeout_seconds,
            "pool": settings.connect_timeout_seconds,
        }
        limits = httpx.Limits(max_connections=settings.max_in_flight, max_keepalive_connections=100)
        self._network = transport or _network(limits)
        self._ends = ends
        self._url = lru_cache(maxsize=256)(_url)

    async def send(
        self,
        upstream: Upstream,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        content: bytes | AsyncIterator[bytes] | None,
    ) -> tuple[httpx.Response, int]:
        """An open response, to be read with ``aiter_raw`` and closed, and how many attempts it took.

        ``target`` is path and query. ``content`` that is not bytes can be sent only once. Raises ``Refused`` with 502,
        503 or 504.
        """
        url, end = self._url(upstream.root, target), self._ends.get(upstream.name, self._network)
        again = isinstance(content, bytes | None)
        attempt = 0
        while True:
            attempt += 1
            request = httpx.Request(
                method, url, headers=headers, content=content, extensions={"timeout": self._timeout}
            )
            try:
                response = await end.handle_async_request(request)
            except (*_NEVER_SENT, *_NEVER_ANSWERED) as error:
                if attempt > self._retries or not (again or isinstance(error, _NEVER_SENT)):
                    raise failed(error, upstream.name) from error
            except httpx.HTTPError as error:
                raise failed(error, upstream.name) from error
            else:
                response.request = request
                return response, attempt
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    async def close(self) -> None:
        """Let go of the connections."""
        for end in (*self._ends.values(), self._network):
            await end.aclose()


def _url(root: str, target: bytes) -> httpx.URL:
    return httpx.URL(root).copy_with(raw_path=target)


def _network(limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    """Pooled connections, without what a client adds to them (cookies, redirects, credentials of its own).

    Where the environment names a proxy (``HTTPS_PROXY``, ``NO_PROXY``), a client knows which one is for whom.
    """
    verify = ssl.create_default_context()
    if not {"http", "https", "all"}.isdisjoint(getproxies()):
        return _Proxied(limits, verify)
    return _ByScheme(httpx.AsyncHTTPTransport(http2=True, verify=verify, limits=limits), limits)


class _ByScheme(httpx.AsyncBaseTransport):
    """Over TLS in one way, without it in another; a body that still comes in goes the first. Loads what it needs."""

    def __init__(self, usual: httpx.AsyncBaseTransport, limits: httpx.Limits) -> None:
        self._usual = usual
        self._limits = limits
        self._plain: httpx.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.AsyncBaseTransport``."""
        is_near = request.url.scheme != "https" and isinstance(request.stream, httpx.ByteStream)
        return await (self._unencrypted() if is_near else self._usual).handle_async_request(request)

    def _unencrypted(self) -> httpx.AsyncBaseTransport:
        if self._plain is None:
            from yamabiko.gateway.unencrypted import Unencrypted  # noqa: PLC0415 - a tenth of a second of a cold start

            self._plain = Unencrypted(self._limits)
        return self._plain

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._usual.aclose()
        if self._plain is not None:
            await self._plain.aclose()


class _Proxied(httpx.AsyncBaseTransport):
    """Through the proxies that the environment names."""

    def __init__(self, limits: httpx.Limits, verify: ssl.SSLContext) -> None:
        self._client = httpx.AsyncClient(
            http2=True,
            verify=verify,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            limits=limits,
            follow_redirects=False,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.AsyncBaseTransport``."""
        return await self._client.send(request, stream=True, auth=None)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()


def broken_off() -> tuple[type[httpx.HTTPError], type[httpx.StreamError]]:
    """What reading a response raises."""
    return httpx.HTTPError, httpx.StreamError


def failed(error: httpx.HTTPError | httpx.StreamError, name: str) -> Refused:
    """What a client is told where the upstream of this name said nothing, or broke off."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return Refused(502, "upstream_unreachable", f"the upstream {name} can't be reached")
        case httpx.PoolTimeout():
            message = f"too many calls to the upstream {name} are under way"
            return Refused(503, "overloaded", message, headers=((b"retry-after", b"1"),))
        case httpx.TimeoutException():
            return Refused(504, "upstream_timeout", f"the upstream {name} did not answer in time")
        case _:
            return Refused(502, "upstream_broken", f"the upstream {name} broke the connection")
