"""What one streamed call to a near upstream costs the caller: bare sockets, httpx's transport, and the gateway's own.

    python benchmarks/upstream_clients.py

The upstream is the one of benchmarks/gateway.py, a process of its own that answers at once over a kept connection.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import httpx
import uvloop

import machine
from gateway import Connection, kind, request
from yamabiko.gateway.unencrypted import Unencrypted

WARM = 100
TIMES = {"connect": 5.0, "read": 60.0, "write": 60.0, "pool": 5.0}
ASKED = request("hello there", stream=True)


async def bare(port: int):
    connection = await Connection().open(port)

    async def call() -> None:
        await connection.ask(ASKED)

    return call


def through(transport: httpx.AsyncBaseTransport):
    async def made(port: int):
        url = httpx.URL(f"http://127.0.0.1:{port}/v1/chat/completions")
        body = ASKED.partition(b"\r\n\r\n")[2]
        headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer k")]

        async def call() -> None:
            asked = httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": TIMES})
            response = await transport.handle_async_request(asked)
            async for _ in response.aiter_raw():
                pass
            await response.aclose()

        return call

    return made


async def measure(port: int, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds, medians: wall clock and this process's CPU; the clients take turns."""
    limits = httpx.Limits()
    httpxs, ours = httpx.AsyncHTTPTransport(limits=limits), Unencrypted(limits)
    ways = {"bare": bare, "httpx": through(httpxs), "ours": through(ours)}
    calls = {name: await way(port) for name, way in ways.items()}
    wall, cpu = {name: [] for name in calls}, {name: [] for name in calls}
    for number in range(count + WARM):
        for name, call in calls.items():
            began, used = time.perf_counter(), time.process_time()
            await call()
            if number >= WARM:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - used)
            await asyncio.sleep(0.001)
    for transport in (httpxs, ours):
        await transport.aclose()
    return {
        name: {
            "wall_ms": round(statistics.median(wall[name]) * 1e3, 3),
            "cpu_ms": round(statistics.median(cpu[name]) * 1e3, 3),
        }
        for name in calls
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    with kind("upstream") as upstream:
        found = uvloop.run(measure(upstream.port, given.count))
    for name, row in found.items():
        print(f"{name:6}", row)
    print("written to", machine.write("upstream_clients", {"count": given.count, "calls": found}))


if __name__ == "__main__":
    main()
