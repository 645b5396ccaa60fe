"""Counts what a client sends: a TCP relay in front of the server, for counting only and never for timing."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from engines.resp import Reader

HANDSHAKE = {"HELLO", "AUTH", "CLIENT", "READONLY", "CLUSTER"}


class Relay:
    """Forwards every byte between clients and a local server, and counts meanwhile.

    ``round_trips``: how often a connection sent something after an answer (or first of all) and so had to wait anew.
    ``commands``: the names of the commands it sent. What a new connection says about itself counts as neither.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.reset()

    def reset(self) -> None:
        """Count from nothing."""
        self.round_trips = 0
        self.commands: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        waiting, stream = False, Reader()

        async def answers() -> None:
            nonlocal waiting
            while data := await there.read(1 << 16):
                waiting = False
                writer.write(data)

        answering = asyncio.create_task(answers())
        try:
            while data := await reader.read(1 << 16):
                stream.feed(data)
                back.write(data)
                while found := stream.next():
                    name = found[1][0].decode().upper()
                    if name in HANDSHAKE:
                        continue
                    self.commands.append(name)
                    self.round_trips += not waiting
                    waiting = True
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            answering.cancel()
            for end in (writer, back):
                end.close()
                with suppress(ConnectionError, asyncio.CancelledError):
                    await end.wait_closed()
            self._tasks.discard(task)
