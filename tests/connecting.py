"""Connections to real servers, and what the tests of them do again and again."""

import asyncio
import time
from contextlib import asynccontextmanager

from yamabiko.errors import StoreUnavailable
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.connection import Connection, Script

ECHO = Script.of("return {KEYS[1], ARGV[1]}")
WRITE = Script.of("return redis.call('SET', KEYS[1], ARGV[1])")
KEY = "yamabiko:{yamabiko}:k"


async def opened(port, query="", *, timeout_seconds=5.0, credentials=None, scheme="valkey", user=""):
    address = Address.parse(f"{scheme}://{user}127.0.0.1:{port}?{query}")
    return await Connection.open(address, credentials=credentials, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def connected(guard, query="", *, timeout_seconds=5.0):
    address = Address.parse(f"{guard.url}&{query}" if "?" in guard.url else f"{guard.url}?{query}")
    connection = await Connection.open(address, timeout_seconds=timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()


async def until(condition, seconds=20.0):
    """Waits until ``await condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} seconds"
        await asyncio.sleep(0.005)


async def turns():
    """Some turns of the event loop, which then knows which links have ended."""
    for _ in range(10):
        await asyncio.sleep(0)


async def works(connection):
    try:
        return await connection.command("PING") == b"PONG"
    except StoreUnavailable:
        return False


async def writes(connection):
    try:
        return await connection.run(WRITE, [KEY], ["after"]) == b"OK"
    except StoreUnavailable:
        return False


async def storm(connection, chance, operations):
    """Many at once, some of whose callers go away at a random moment: who stays gets the reply to what he sent."""
    outcomes = {"right": 0, "cancelled": 0, "late": 0}

    async def one(number):
        sent = f"{number}:{'x' * chance.choice((0, 50, 5000))}".encode()
        verb = chance.choice(("run", "command", "search"))
        if verb == "run":
            reply = await connection.run(ECHO, [KEY], [sent])
            assert reply == [KEY.encode(), sent]
        else:
            assert await getattr(connection, verb)("ECHO", sent) == sent

    async def caller(number):
        try:
            if chance.random() < 0.2:
                async with asyncio.timeout(chance.random() * 0.02):
                    await one(number)
            else:
                await one(number)
            outcomes["right"] += 1
        except TimeoutError:
            outcomes["late"] += 1

    async def impatient(number):
        await asyncio.sleep(chance.random() * 0.05)
        task = asyncio.create_task(caller(number))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.02)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1

    await asyncio.gather(*(impatient(number) for number in range(operations)))
    return outcomes
