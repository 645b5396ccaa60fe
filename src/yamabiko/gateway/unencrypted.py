"""Step 8 of 9, behind HTTP: calls to upstreams without TLS, which are near: a model server, a proxy on the same host.

There a call takes about as long as what the client library makes of it, so it is made by aiohttp, whose parser is
native: 0.6 ms of CPU beyond bare sockets for each call, where httpx takes 1.2 (benchmarks/upstream_clients.py). It has
no HTTP/2, which such servers don't negotiate either. Calls over TLS go to distant vendors and stay with httpx.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import httpx
from yarl import URL

_LENGTHY = 65_536
"""Bytes of a header that are taken: no fewer than httpx takes."""
_READ_BYTES = 262_144
_PIECE_BYTES = 262_144
_NOT_ADDED = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
"""What aiohttp would say of its own accord."""


class Unencrypted(httpx.AsyncBaseTransport):
    """An httpx transport for ``http://`` that sends the headers it is given, and nothing else but host and length.

    Keeps no cookies, follows no redirects, decompresses nothing and makes no call again but a GET or another idempotent
    one whose kept connection turns out to be closed.
    """

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``httpx.AsyncBaseTransport``; the body is there as a whole. Raises the same errors as httpx's own."""
        times = request.extensions["timeout"]
        with _as_httpx():
            response = await self._sessions().request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in request.headers.raw
                    if name.lower() != b"transfer-encoding"  # said by aiohttp where no length is
                ],
                skip_auto_headers=_NOT_ADDED,
                data=await _sent(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=times["pool"], sock_connect=times["connect"], sock_read=times["read"]
                ),
            )
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response), extensions={}, request=request
        )

    async def aclose(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()

    def _sessions(self) -> aiohttp.ClientSession:
        """Made by the first call, since it belongs to the event loop that runs then."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._limits.max_connections or 0, keepalive_timeout=5.0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_LENGTHY,
                max_field_size=_LENGTHY,
                read_bufsize=_READ_BYTES,
            )
        return self._session


class _Body(httpx.AsyncByteStream):
    """A response's bytes as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for data in self._response.content.iter_any():
                yield data

    async def aclose(self) -> None:
        """Keep the connection where all has been read; close it where not."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


async def _sent(request: httpx.Request) -> bytes | AsyncIterator[bytes] | None:
    """A body as aiohttp wants it: a long one in pieces, so that the loop is not held up while it is sent."""
    body = await request.aread()
    return _pieces(body) if len(body) > _PIECE_BYTES else body or None


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]


@contextmanager
def _as_httpx() -> Iterator[None]:
    """What aiohttp raises, as httpx has it; whether anything was sent must not be lost."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout("") from error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout("") from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError("") from error
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
        raise httpx.DecodingError("") from error  # something came, so the call has happened
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.RemoteProtocolError("") from error
