"""Which keys were written when: the engine's own notifications tell, also of what scripts write."""

import asyncio
import contextlib
import time

from engines.resp import Failure, Reader, command


class Writes:
    """Listens to the engine on a connection of its own. ``young`` is exact for every write acknowledged before it."""

    def __init__(self, port, login):
        self._port = port
        self._login = login
        self._times = {}
        self._pings = 0
        self._pongs = 0
        self._writer = None
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._listen())

    async def young(self, seconds: float) -> set:
        """The keys whose last write is younger than ``seconds``."""
        await asyncio.wait_for(self.barrier(), 20)
        oldest = time.monotonic() - seconds
        return {key for key, written in self._times.items() if written > oldest}

    async def barrier(self):
        """Returns when everything that the engine has done until now has been heard."""
        while not await self._heard_a_pong():
            pass  # the engine has gone away meanwhile: ask it again when it is back

    async def _heard_a_pong(self):
        async with self._changed:
            await self._changed.wait_for(lambda: self._writer is not None)
            self._pings += 1
            asked, writer = self._pings, self._writer
            writer.write(command("PING", asked))
            await self._changed.wait_for(lambda: self._pongs >= asked or self._writer is not writer)
            return self._pongs >= asked

    def abort(self):
        self._task.cancel()

    async def _listen(self):
        while True:
            with contextlib.suppress(OSError):
                await self._listen_once()
            await asyncio.sleep(0.01)  # the engine is down: it will be back, or the guard closed

    async def _listen_once(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            if self._login is not None:
                writer.write(command("AUTH", *self._login))
            writer.write(command("PING"))
            parser = Reader()
            while data := await reader.read(1 << 16):
                parser.feed(data)
                while (found := parser.next()) is not None:
                    await self._heard(found[1], writer)
        finally:
            writer.transport.abort()
            async with self._changed:
                self._writer = None
                self._changed.notify_all()

    async def _heard(self, message, writer):
        if not isinstance(message, list):
            if message == b"PONG":  # it has loaded its data: what it notifies of from now on is new
                writer.write(command("CONFIG", "SET", "notify-keyspace-events", "AKE"))
                writer.write(command("PSUBSCRIBE", "__keyevent@*__:*"))
            elif isinstance(message, Failure):
                raise ConnectionRefusedError(str(message))
            return
        if message[0] == b"pmessage":
            self._times[message[3]] = time.monotonic()
            return
        async with self._changed:
            if message[0] == b"psubscribe":
                self._writer = writer
            elif message[0] == b"pong":
                self._pongs = int(message[1])
            self._changed.notify_all()
