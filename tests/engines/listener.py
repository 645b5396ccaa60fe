"""A listening socket whose connections are all accounted for, from the moment they are accepted."""

import asyncio
import socket


class Listener:
    """``serve(reader, writer)`` runs as a task for each connection; only used from within its loop."""

    def __init__(self, port, serve, context=None):
        self.tasks = set()
        self._serve = serve
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1000)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self.accept)

    def accept(self) -> None:
        """Takes what waits at the door."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._connected(connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connected(self, connection):
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._context)
        except (OSError, asyncio.CancelledError):
            connection.close()  # the handshake failed, or somebody gave up before it was over
            return
        try:
            await self._serve(reader, asyncio.StreamWriter(transport, protocol, reader, self._loop))
        finally:
            transport.abort()

    def close(self) -> None:
        """New connections are refused; what has been accepted goes on."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    async def cancel(self) -> None:
        """Ends every connection."""
        await end(list(self.tasks))


async def end(tasks) -> None:
    """Cancels tasks and returns when they are over and their transports have closed their sockets."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def end_all() -> None:
    """Leaves no other task in the loop."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await end(others)
