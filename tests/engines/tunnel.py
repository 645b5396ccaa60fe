"""TLS in front of a server that speaks none: each connection is decrypted and carried on to a port."""

import asyncio
import contextlib
import threading

from engines.listener import Listener, end_all


class Tunnel:
    """Runs in a thread of its own with a loop of its own, from ``start`` to ``stop``."""

    def __init__(self, port: int, target_port: int, context):
        self.port = port
        self._target_port = target_port
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # a client that breaks the handshake off is a test's choice
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-tunnel", daemon=True)
        self._listener = None

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        if not self._loop.is_closed():
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _listen(self):
        self._listener = Listener(self.port, self._serve, self._context)

    async def _close(self):
        if self._listener is not None:
            self._listener.close()
        await end_all()

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError):
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                await asyncio.gather(self._carry(reader, onward_writer), self._carry(onward_reader, writer))
            finally:
                onward_writer.transport.abort()

    @staticmethod
    async def _carry(reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()
