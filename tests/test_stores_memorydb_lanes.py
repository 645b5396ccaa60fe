"""Lanes: whose reply is whose, whoever goes away, whatever comes late, and however many ask at once."""

import asyncio
import random

import pytest

from connecting import ECHO, KEY, WRITE, connected, opened, storm, turns, until, works
from engines.guard import Guard
from engines.trickle import Trickle
from engines.valkey import wait_until
from yamabiko.errors import StoreError, StoreUnavailable
from yamabiko.stores.memorydb.link import pack


@pytest.fixture
def guard(engine):
    with Guard(engine, profile="memorydb") as running:
        yield running


@pytest.mark.parametrize("connections", [1, 3, 64])
def test_a_caller_who_goes_away_leaves_no_reply_for_somebody_else(engine, connections):
    async def run():
        chance = random.Random(connections)
        async with Trickle(engine.port, chance) as slow:
            connection = await opened(slow.port, f"connections={connections}", timeout_seconds=30)
            for _ in range(3):
                outcomes = await storm(connection, chance, 200)
                assert outcomes["right"] > 50
                assert outcomes["cancelled"] > 10
            assert connection.figures.commands >= 600
            assert connections != 1 or connection.figures.pipelines > 0
            await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("connections", [1, 16])
def test_in_a_cluster_too(pair, connections):
    async def run(port):
        chance = random.Random(connections)
        connection = await opened(port, f"cluster=true&connections={connections}", timeout_seconds=30)
        for _ in range(2):
            outcomes = await storm(connection, chance, 200)
            assert outcomes["right"] > 50
            assert outcomes["cancelled"] > 10
        await connection.close()

    with Guard(pair[0], profile="memorydb") as guard:
        guard.delay(None, 0.002)
        guard.delay("ECHO", 0.001)
        asyncio.run(run(guard.port))


def test_an_operation_past_its_deadline_leaves_no_reply_for_somebody_else(make_guard, engine):
    async def round_of(connection, name):
        """Right and late among four at once."""
        sent = [f"{name}.{number}".encode() for number in range(4)]
        replies = await asyncio.gather(*(connection.run(ECHO, [KEY], [one]) for one in sent), return_exceptions=True)
        for one, reply in zip(sent, replies, strict=True):
            assert isinstance(reply, StoreUnavailable) or reply == [KEY.encode(), one]
        late = sum(isinstance(reply, StoreUnavailable) for reply in replies)
        return 4 - late, late

    async def one_of(guard, width):
        async with connected(guard, f"connections={width}", timeout_seconds=0.7) as connection:
            right = late = 0
            for number in range(5):
                held = guard.hold("EVALSHA", times=None) if number == 1 else None
                outcome = await round_of(connection, f"{width}.{number}")
                if held is not None:  # after the deadline of those who asked: what was held comes now
                    guard.rules.clear()
                right, late = right + outcome[0], late + outcome[1]
            await until(lambda: works(connection))
            return right, late

    async def run():
        guards = [make_guard(engine) for _ in range(2)]
        for right, late in await asyncio.gather(one_of(guards[0], 1), one_of(guards[1], 4)):
            assert right > 0
            assert late > 0

    asyncio.run(run())


def test_what_arrives_while_all_links_are_busy_goes_together(engine):
    async def run():
        connection = await opened(engine.port, "connections=2")
        replies = await asyncio.gather(*(connection.run(ECHO, [KEY], [number]) for number in range(300)))
        assert [int(reply[1]) for reply in replies] == list(range(300))
        assert 0 < connection.figures.pipelines < 30
        await connection.close()

    asyncio.run(run())


def test_an_error_reply_in_the_middle_of_a_pipeline_is_its_sender_s_alone(engine):
    async def run():
        connection = await opened(engine.port, "connections=1")
        sent = [("ECHO", str(number)) if number % 3 else ("HGET", "too few") for number in range(60)]
        replies = await asyncio.gather(*(connection.command(*one) for one in sent), return_exceptions=True)
        for one, reply in zip(sent, replies, strict=True):
            if one[0] == "ECHO":
                assert reply == one[1].encode()
            else:
                assert isinstance(reply, StoreError)
                assert not isinstance(reply, StoreUnavailable)
        assert connection.figures.reconnections == 0
        await connection.close()

    asyncio.run(run())


def test_what_can_t_be_sent_is_its_sender_s_error_alone(engine):
    async def run():
        connection = await opened(engine.port, "connections=1")
        others = [asyncio.create_task(connection.command("ECHO", str(number))) for number in range(20)]
        with pytest.raises(TypeError, match="NoneType"):
            await connection.command("ECHO", None)
        assert await asyncio.gather(*others) == [str(number).encode() for number in range(20)]
        await connection.close()

    asyncio.run(run())


def test_arguments_arrive_as_they_are():
    assert pack(["SET", "キー", b"\x00\r\n", 7, 0.1]) == (
        b"*5\r\n$3\r\nSET\r\n$6\r\n\xe3\x82\xad\xe3\x83\xbc\r\n$3\r\n\x00\r\n\r\n$1\r\n7\r\n$3\r\n0.1\r\n"
    )


@pytest.mark.parametrize("connections", [1, 16])
def test_replies_that_come_late_and_connections_that_drop_in_the_middle_of_one_mix_nothing_up(guard, connections):
    async def run():
        chance = random.Random(connections)
        async with connected(guard, f"connections={connections}", timeout_seconds=30) as connection:
            guard.delay(None, 0.001)
            right = dropped = 0
            for round_ in range(3):
                for after in (0, 1, 20):
                    guard.cut(chance.choice(("EVALSHA", "ECHO")), after_bytes=after, when="after")
                sent = [f"{round_}.{number}.{'x' * chance.choice((0, 3000))}".encode() for number in range(40)]
                calls = [
                    connection.run(ECHO, [KEY], [one]) if number % 2 else connection.search("ECHO", one)
                    for number, one in enumerate(sent)
                ]
                tasks = [asyncio.create_task(call) for call in calls]
                for task in chance.sample(tasks, 8):
                    asyncio.get_running_loop().call_later(chance.random() * 0.05, task.cancel)
                replies = await asyncio.gather(*tasks, return_exceptions=True)
                for number, (one, reply) in enumerate(zip(sent, replies, strict=True)):
                    if isinstance(reply, StoreUnavailable):
                        dropped += 1
                    elif not isinstance(reply, asyncio.CancelledError):
                        assert reply == ([KEY.encode(), one] if number % 2 else one)
                        right += 1
                await until(lambda: works(connection))
            assert right > 10
            assert dropped > 0

    asyncio.run(run())


def test_a_reply_that_comes_after_its_caller_has_gone_is_nobody_s(guard):
    async def run():
        async with connected(guard, "connections=1") as connection:
            await connection.run(ECHO, [KEY], ["warm"])
            for _ in range(5):
                held = guard.hold("EVALSHA")
                task = asyncio.create_task(connection.run(ECHO, [KEY], ["gone"]))
                await asyncio.to_thread(held.wait_reached)
                task.cancel()
                held.release()
                replies = await asyncio.gather(
                    *(connection.run(ECHO, [KEY], [number]) for number in range(5)), return_exceptions=True
                )
                assert [int(reply[1]) for reply in replies] == list(range(5))
                assert task.cancelled()

    asyncio.run(run())


def test_one_of_a_pipeline_who_goes_away_takes_nothing_from_the_others(guard):
    async def run():
        async with connected(guard, "connections=1") as connection:
            await connection.run(ECHO, [KEY], ["warm"])
            held = guard.hold("EVALSHA", times=None)
            first = asyncio.create_task(connection.run(ECHO, [KEY], ["first"]))
            await asyncio.to_thread(held.wait_reached)
            rest = [asyncio.create_task(connection.run(ECHO, [KEY], [number])) for number in range(10)]
            await turns()
            for task in rest[::3]:
                task.cancel()
            held.release()
            assert (await first)[1] == b"first"
            outcomes = await asyncio.gather(*rest, return_exceptions=True)
            for number, outcome in enumerate(outcomes):
                if number % 3:
                    assert int(outcome[1]) == number
                else:
                    assert isinstance(outcome, asyncio.CancelledError)
            assert connection.figures.reconnections == 0, "the pipeline is read to its end"

    asyncio.run(run())


async def sockets_closed(guard):
    return guard.connections == 0


@pytest.mark.parametrize("connections", [1, 4])
def test_closing_in_the_middle_ends_everything_with_an_error_of_ours(guard, connections):
    async def run():
        connection = await opened(guard.port, f"connections={connections}", timeout_seconds=30)
        held = guard.hold(None, times=None)
        tasks = [asyncio.create_task(connection.run(ECHO, [KEY], [number])) for number in range(20)]
        tasks += [asyncio.create_task(connection.search("ECHO", str(number))) for number in range(20)]
        await asyncio.to_thread(held.wait_reached)
        await connection.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
            assert "closed" in str(outcome)
        await until(lambda: sockets_closed(guard))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_closing_while_a_large_value_is_on_its_way_to_a_server_that_hangs(make_engine):
    engine = make_engine(search=False)

    async def run():
        connection = await opened(engine.port, "connections=2", timeout_seconds=30)
        engine.pause()
        sent = b"x" * 30_000_000  # more than sockets hold
        tasks = [asyncio.create_task(connection.run(WRITE, [KEY], [sent])) for _ in range(3)]
        await turns()
        await connection.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        engine.resume()
        wait_until(lambda: int(engine.info("clients")["connected_clients"]) == 1, "no socket is left")

    asyncio.run(run())


def test_who_gives_up_on_a_server_that_hangs_keeps_nothing_open_for_it(make_engine):
    engine = make_engine(search=False)

    async def run():
        connection = await opened(engine.port, "connections=2", timeout_seconds=30)
        engine.pause()
        sent = b"x" * 30_000_000
        tasks = [asyncio.create_task(connection.run(WRITE, [KEY], [sent])) for _ in range(2)]
        await turns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns()
        engine.resume()
        wait_until(lambda: int(engine.info("clients")["connected_clients"]) == 1, "no socket is left")
        assert engine.cli("EXISTS", KEY) == 0, "what was not sent is not sent later"
        await connection.close()

    asyncio.run(run())
