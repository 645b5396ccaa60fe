"""A proxy that lets replies through in random pieces, each after a random little while."""

import asyncio


class Trickle:
    """A proxy that lets replies through in random pieces, each after a random little while."""

    def __init__(self, port, chance, longest=0.004):
        self._port = port
        self._chance = chance
        self._longest = longest
        self.delay = 0.0
        self.made = 0
        self.carried = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.made += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target, slow in ((reader, up_writer, False), (up_reader, writer, True)):
            task = asyncio.create_task(self._pass(source, target, slow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source, target, slow):
        try:
            while data := await source.read(65536):
                if not slow:
                    self.carried += 1
                    target.write(data)
                    continue
                while data:
                    await asyncio.sleep(self.delay + self._chance.random() * self._longest)
                    size = self._chance.choice((1, 7, 100, len(data)))
                    target.write(data[:size])
                    data = data[size:] if size < 100 else self._rest(target, data[size:])
                    await target.drain()
        except OSError:
            return
        finally:
            target.close()

    @staticmethod
    def _rest(target, data):
        target.write(data)
        return b""
