"""RESP2, the wire protocol of Valkey: values to bytes and back, with the exact bytes of every reply kept.

Replies become ``Simple``, ``Failure``, int, bytes, None or a list of these.
Source: https://valkey.io/topics/protocol/ (2026-11).
"""

import itertools
import socket


class Simple(bytes):
    """A simple string such as ``+OK``: told apart from a bulk string, so that it can be sent on as it came."""

    __slots__ = ()


class Failure(bytes):
    """An error reply, without its leading ``-``."""

    __slots__ = ()

    def __str__(self):
        return self.decode(errors="replace")


class EngineError(Exception):
    """An error reply to a command that was meant to succeed."""


class Malformed(Exception):
    """Bytes that are no RESP2."""


def encode(value) -> bytes:
    """Any reply value as RESP2 bytes; str counts as a bulk string, a tuple as an array."""
    if isinstance(value, Simple):
        return b"+%b\r\n" % value
    if isinstance(value, Failure):
        return b"-%b\r\n" % value
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, (list, tuple)):
        return b"*%d\r\n%b" % (len(value), b"".join(map(encode, value)))
    if isinstance(value, int):
        return b":%d\r\n" % value
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def command(*arguments) -> bytes:
    """A command as a client sends it: an array of bulk strings."""
    return encode([argument if isinstance(argument, bytes) else str(argument).encode() for argument in arguments])


class Reader:
    """Splits a stream of bytes into whole values. ``feed`` bytes, then call ``next`` until it returns None."""

    def __init__(self):
        self._data = bytearray()
        self._waiting_for = 0  # no use looking again before so many bytes are there

    def feed(self, data: bytes) -> None:
        self._data += data

    @property
    def partial(self) -> bool:
        """Whether the beginning of another value has come already."""
        return bool(self._data)

    def next(self):
        """The next value as (raw bytes, value), or None while it is incomplete."""
        if len(self._data) < self._waiting_for or not self._data:
            return None
        found = self._value(0)
        if found is None:
            return None
        value, end = found
        raw = bytes(self._data[:end])
        del self._data[:end]
        self._waiting_for = 0
        return raw, value

    def _value(self, start):
        line_end = self._data.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind, line, end = self._data[start : start + 1], bytes(self._data[start + 1 : line_end]), line_end + 2
        if kind == b"+":
            return Simple(line), end
        if kind == b"-":
            return Failure(line), end
        if kind not in (b":", b"$", b"*"):
            raise Malformed(f"a value that begins with {bytes(kind)!r}")
        try:
            number = int(line)
        except ValueError:
            raise Malformed(f"{line[:20]!r} where a number must be") from None
        if kind == b":":
            return number, end
        return self._bulk(number, end) if kind == b"$" else self._array(number, end)

    def _bulk(self, length, start):
        if length < 0:
            return None, start
        end = start + length + 2
        if len(self._data) < end:
            self._waiting_for = max(self._waiting_for, end)
            return None
        return bytes(self._data[start : end - 2]), end

    def _array(self, length, start):
        if length < 0:
            return None, start
        values = []
        for _ in range(length):
            found = self._value(start)
            if found is None:
                return None
            value, start = found
            values.append(value)
        return values, start


class Wire:
    """A blocking connection for one thread: what a test asks the engine itself, behind every guard."""

    def __init__(self, host, port, *, timeout_seconds=10.0, login=None):
        self._socket = socket.create_connection((host, port), timeout=timeout_seconds)
        self._reader = Reader()
        try:
            if login is not None:
                self.ask("AUTH", *login)
        except BaseException:
            self.close()
            raise

    def ask(self, *arguments):
        """One command, one reply; an error reply is raised as EngineError."""
        return self.ask_all([arguments])[0]

    def ask_all(self, commands):
        """Many commands in one pipeline; the first error reply is raised after all replies have been read."""
        commands = list(commands)
        self._socket.sendall(b"".join(itertools.starmap(command, commands)))
        replies = [self._receive() for _ in commands]
        for reply in replies:
            if isinstance(reply, Failure):
                raise EngineError(str(reply))
        return replies

    def scan(self, pattern):
        """All keys that match, a page at a time."""
        cursor = b"0"
        while True:
            cursor, keys = self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            yield from keys
            if cursor == b"0":
                return

    def _receive(self):
        while (found := self._reader.next()) is None:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the engine closed the connection")
            self._reader.feed(data)
        return found[1]

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
