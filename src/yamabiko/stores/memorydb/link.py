"""One connection to one node, and whether its next reply is ours to read.

A reply belongs to whoever sent the command, and replies come in the order of the commands. So a link lives only while
every command that was sent on it has been answered and read: whatever interrupts that (a deadline, a caller who goes
away, an error of the socket) ends the link, and a link with anything left to read is never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

import redis.asyncio
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from yamabiko.errors import ConfigurationError
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.dialect import Argument
from yamabiko.stores.memorydb.topology import Node


class Credentials(Protocol):
    """Who we are to the server, as it stands at the moment of each new connection."""

    @property
    def max_connection_seconds(self) -> float | None:
        """A connection older than this is replaced between two operations; None: never."""

    async def current(self) -> tuple[str, str]:
        """User and password (or token). Called for every new connection: cheap, cached. Raises ``StoreError``."""


class _Provider(CredentialProvider):
    """Hands our credentials to redis-py."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get_credentials_async(self) -> tuple[str, str]:
        return await self._credentials.current()


class Dialer:
    """Makes connections to nodes, all with the same credentials and one TLS context.

    Raises ``ConfigurationError`` for a file of certificates that can't be read.
    """

    def __init__(self, address: Address, credentials: Credentials | None) -> None:
        self.max_connection_seconds = credentials.max_connection_seconds if credentials else None
        # Deadlines are ours: of the whole operation, not of each read.
        self._options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": address.connect_timeout_seconds,
            "db": address.db,
        }
        if credentials is not None:
            self._options["credential_provider"] = _Provider(credentials)
        elif address.password:
            self._options |= {"username": address.user or None, "password": address.password}
        self._tls: Any = None
        if address.tls:
            seed = redis.asyncio.SSLConnection(
                ssl_ca_certs=address.ca or None, ssl_cert_reqs="required", ssl_check_hostname=True
            )
            self._tls = seed.ssl_context
            try:
                self._tls.get()
            except OSError as error:
                raise ConfigurationError(f"the certificates in {address.ca} can't be read: {error}") from None

    async def dial(self, node: Node, *, replica: bool) -> redis.asyncio.Connection:
        """A connection that is logged in; to a replica of a cluster, one that may read there."""
        if self._tls is None:
            connection = redis.asyncio.Connection(host=node.host, port=node.port, **self._options)
        else:
            secure = redis.asyncio.SSLConnection(host=node.host, port=node.port, **self._options)
            secure.ssl_context = self._tls  # reading the authorities' certificates takes many milliseconds
            connection = secure
        try:
            await connection.connect_check_health(check_health=False, retry_socket_connect=False)
            if replica:
                await connection.send_command("READONLY")
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


class Link:
    """A place for one connection, made when it is needed and made anew when it can't be used any more."""

    __slots__ = ("_connection", "_dialer", "_expires", "_loop", "_node", "_replica", "connected")

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._connection: redis.asyncio.Connection | None = None
        self._node: Node | None = None
        self._replica = False
        self._expires: float | None = None
        self.connected = 0

    async def ready(self, node: Node, *, replica: bool) -> None:
        """Be connected to this node, by a connection that is young enough and has nothing left to read."""
        connection = self._connection
        if connection is not None:
            fits = node == self._node and replica == self._replica
            young = self._expires is None or self._loop.time() < self._expires
            if fits and young and connection.is_connected and not await connection.can_read():
                return
            await self.drop()
        self._connection = await self._dialer.dial(node, replica=replica)
        self._node, self._replica = node, replica
        self.connected += 1
        longest = self._dialer.max_connection_seconds
        if longest is not None:  # not all at the same moment
            self._expires = self._loop.time() + longest * (1 - secrets.randbelow(100) / 1000)

    async def send(self, packed: bytes) -> None:
        """Send one command or several at once; each must then be read."""
        assert self._connection is not None
        await self._connection.send_packed_command(packed, check_health=False)

    async def read(self) -> Any:
        """The next reply. Raises what redis-py raises; after anything but a ``ResponseError`` the link has ended."""
        assert self._connection is not None
        return await self._connection.read_response()

    async def drop(self) -> None:
        """End the connection at once; never waits."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def end(self) -> None:
        """End the connection and wait until the socket is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError):
                await connection.disconnect()


def pack(command: Sequence[Argument]) -> bytes:
    """A command as the server reads it. Raises ``TypeError`` for what is no ``Argument``."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        if isinstance(argument, str):
            data = argument.encode()
        elif isinstance(argument, int | float) and not isinstance(argument, bool):
            data = repr(argument).encode()
        elif isinstance(argument, bytes):
            data = argument
        else:
            raise TypeError(f"an argument must be bytes, str, int or float, not {type(argument).__name__}")
        parts += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join(parts)
