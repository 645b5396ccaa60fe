"""One connection to one node, and whether its next reply is ours to read.

A reply belongs to whoever sent the command, and replies come in the order of the commands. So a link lives only while
every command that was sent on it has been answered and read: whatever interrupts that (a deadline, a caller who goes
away, an error of the socket) ends the link, and a link with anything left to read is never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import redis.asyncio
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as LinkEnded
from redis.exceptions import RedisError

from yamabiko.errors import ConfigurationError
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.dialect import Argument
from yamabiko.stores.memorydb.topology import Node

LEAST_CONNECT_SECONDS: Final = 0.25
"""So long is each address of a name tried at least."""


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


class _Plain(redis.asyncio.Connection):
    """A connection that tries one address of a name after the other, and that knows its transport."""

    transport: asyncio.WriteTransport | None = None
    answered: dict[str, Any]
    """The address of each name that was reached last; all connections of a dialer share it."""
    _reached: socket.socket | None = None

    async def _connect(self) -> None:
        if not _is_address(self.host):
            self._reached = await self._reach(self.socket_connect_timeout or 0.0)
        # It makes the transport, whose the socket is then, before it awaits anything.
        await super()._connect()  # type: ignore[no-untyped-call] # redis-py's own has no annotations
        if self._writer is not None:
            self.transport = self._writer.transport

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = dict(super()._connection_arguments())
        if self._reached is not None:
            arguments["sock"], self._reached = self._reached, None
            host, _ = arguments.pop("host"), arguments.pop("port")
            if "ssl" in arguments:
                arguments["server_hostname"] = host
        return arguments

    async def _reach(self, seconds: float) -> socket.socket:
        """A socket to the first address that takes one: a machine that is down must not hide the one that is up."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        found.sort(key=lambda one: one[4] != self.answered.get(self.host))
        share = max(LEAST_CONNECT_SECONDS, seconds / max(1, len(found)))
        failure: OSError = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in found:
            reached = socket.socket(family, kind, protocol)
            try:
                reached.setblocking(False)
                async with asyncio.timeout(share):
                    await loop.sock_connect(reached, address)
            except OSError as error:  # TimeoutError is one
                failure = error
                reached.close()
            except BaseException:
                reached.close()
                raise
            else:
                self.answered[self.host] = address
                return reached
        raise failure


class _Secure(_Plain, redis.asyncio.SSLConnection):
    """The same with TLS."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
        self._answered: dict[str, Any] = {}
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

    async def dial(self, node: Node, *, replica: bool) -> _Plain:
        """A connection that is logged in; to a replica of a cluster, one that may read there."""
        if self._tls is None:
            connection = _Plain(host=node.host, port=node.port, **self._options)
        else:
            connection = secure = _Secure(host=node.host, port=node.port, **self._options)
            secure.ssl_context = self._tls  # reading the authorities' certificates takes many milliseconds
        connection.answered = self._answered
        try:
            await connection.connect_check_health(check_health=False, retry_socket_connect=False)
            if replica:
                await connection.send_command("READONLY")
                await connection.read_response()
        except BaseException:
            await _cut(connection)
            raise
        return connection


async def _cut(connection: _Plain) -> None:
    """End it at once. What was not sent yet is not waited for: a server that hangs would never take it."""
    if connection.transport is not None:
        connection.transport.abort()
    await connection.disconnect(nowait=True)


class Link:
    """A place for one connection, made when it is needed and made anew when it can't be used any more."""

    __slots__ = ("_connection", "_dialer", "_expires", "_loop", "_node", "_replica", "connected")

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        self._connection: _Plain | None = None
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
            if fits and young and _alive(connection) and not await connection.can_read():
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
        await self._current.send_packed_command(packed, check_health=False)

    async def read(self) -> Any:
        """The next reply. Raises what redis-py raises; after anything but a ``ResponseError`` the link has ended."""
        return await self._current.read_response()

    @property
    def _current(self) -> _Plain:
        if self._connection is None:
            raise LinkEnded("the connection has ended")  # by ``end``, in the middle of an operation
        return self._connection

    async def drop(self) -> None:
        """End the connection at once; never waits."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await _cut(connection)

    async def end(self) -> None:
        """End the connection and wait until the socket is closed."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with contextlib.suppress(RedisError):
                await connection.disconnect()
        finally:
            await _cut(connection)


def _alive(connection: _Plain) -> bool:
    return connection.is_connected and connection.transport is not None and not connection.transport.is_closing()


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
