"""A streamed answer, many callers at once, and the same stream again from the cache. The model is simulated.

python examples/async_stream.py
"""

import asyncio
import tempfile
from pathlib import Path

from yamabiko import Cache, Hit, Request, open_cache
from yamabiko.generators.simulated import SimulatedModel
from yamabiko.telemetry import Counters

QUESTION = Request("When does the museum open?", model="simulated", system="Be brief.", knowledge="2026-11")

model = SimulatedModel({"When does the museum open?": "At ten, and at noon on Sundays."}, time_scale=0.1)


async def visitor(cache: Cache, name: str) -> None:
    stream = cache.stream(QUESTION, model.stream)
    pieces = [piece async for piece in stream]  # as they come
    source = "the cache" if isinstance(stream.outcome, Hit) else "the model"
    print(f"{name}: {'|'.join(pieces)}  (from {source})")


async def main() -> None:
    counters = Counters()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{(Path(folder) / 'cache.db').as_posix()}"
        async with open_cache(url, hooks=[counters]) as cache:
            async with asyncio.TaskGroup() as visitors:  # three at once: one generation, three streams
                for name in ("Ann", "Ben", "Cleo"):
                    visitors.create_task(visitor(cache, name))
            await cache.drain()  # storing happens after the reply has left; wait for it here only to show what follows
            await visitor(cache, "Dan")
    print(f"model calls: {model.calls}, shared: {counters.counts['shared']}, hits: {counters.counts['hit']}")
    print(f"saved: {counters.saved_seconds:.1f} s, ${counters.saved_usd:.6f}")


asyncio.run(main())
