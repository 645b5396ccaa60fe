"""The guard's own connections to the engine."""

import asyncio

from engines.resp import Failure, Reader, command


class EngineGone(ConnectionError):
    """The engine closed the connection or does not listen."""


class Upstream:
    """One connection; one command at a time."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        self._replies = asyncio.Queue()
        self.ended = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    @classmethod
    async def open(cls, port):
        try:
            return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
        except OSError as error:
            raise EngineGone(str(error)) from error

    async def ask(self, *arguments):
        """(raw bytes, value) of the reply; error replies are values too."""
        return await self.send(command(*arguments))

    async def send(self, raw: bytes):
        [found] = await self.send_all([raw])
        return found

    async def send_all(self, commands: list[bytes]) -> list:
        self._writer.write(b"".join(commands))
        return [await self._reply() for _ in commands]

    async def _reply(self):
        found = await self._replies.get()
        if found is None:
            self._replies.put_nowait(None)
            raise EngineGone("the engine closed the connection")
        return found

    async def _listen(self):
        parser = Reader()
        try:
            while data := await self._reader.read(1 << 20):
                parser.feed(data)
                while (found := parser.next()) is not None:
                    self._replies.put_nowait(found)
        except OSError:
            pass  # killed: the same as closed
        finally:
            self._replies.put_nowait(None)
            self.ended.set()

    def abort(self):
        """Ends it without waiting, so that a cancelled task can do it too."""
        self._writer.transport.abort()
        self._task.cancel()


class Control:
    """What the guard itself asks the engine, as its administrator; connects anew when the engine has been away."""

    def __init__(self, port, login):
        self._port = port
        self._login = login
        self._lock = asyncio.Lock()
        self._upstream = None

    async def ask(self, *arguments):
        async with self._lock:
            try:
                if self._upstream is None or self._upstream.ended.is_set():
                    await self._connect()
                return (await self._upstream.ask(*arguments))[1]
            except BaseException:  # a reply that nobody waits for must not be taken for the next one's
                self.abort()
                raise

    async def _connect(self):
        self.abort()
        self._upstream = await Upstream.open(self._port)
        if self._login is not None:
            await self._upstream.ask("AUTH", *self._login)
        await self._upstream.ask("READONLY")  # a replica of a cluster tells of its indexes only so

    async def ask_or_none(self, *arguments):
        reply = await self.ask(*arguments)
        return None if isinstance(reply, Failure) else reply

    def abort(self):
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
