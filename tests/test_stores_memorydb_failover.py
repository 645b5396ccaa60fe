"""Servers that fail, come back, or hand over to another one: the breaker, MOVED, and failover."""

import asyncio
import random

import pytest

from connecting import ECHO, KEY, WRITE, connected, opened, turns, until, works, writes
from engines.guard import Guard
from engines.trickle import Trickle
from engines.valkey import wait_until
from yamabiko.errors import StoreUnavailable
from yamabiko.stores.memorydb.breaker import FAILURES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker


@pytest.fixture
def guard(engine):
    with Guard(engine, profile="memorydb") as running:
        yield running


def test_a_server_that_dies_and_comes_back_is_found_again(make_engine):
    engine = make_engine(search=False)

    async def run():
        connection = await opened(engine.port, timeout_seconds=2)
        assert await works(connection)
        engine.kill()
        with pytest.raises(StoreUnavailable):
            await connection.command("PING")
        engine.restart()
        await until(lambda: works(connection))
        assert connection.figures.reconnections > 0
        await connection.close()

    asyncio.run(run())


def test_a_server_that_restarted_while_nobody_asked_costs_no_error(make_engine):
    engine = make_engine(search=False)

    async def run():
        connection = await opened(engine.port, timeout_seconds=2)
        await asyncio.gather(*(connection.command("PING") for _ in range(8)))
        engine.kill()
        engine.restart()
        await turns()
        assert [await connection.command("PING") for _ in range(8)] == [b"PONG"] * 8
        await connection.close()

    asyncio.run(run())


def test_a_dead_server_is_left_alone_after_five_failures(make_engine):
    engine = make_engine(search=False)

    async def run():
        async with Trickle(engine.port, random.Random(0), longest=0.0) as proxy:
            connection = await opened(proxy.port, "connections=2", timeout_seconds=0.5)
            engine.pause()
            failed = [connection.command("PING") for _ in range(FAILURES)]
            for outcome in await asyncio.gather(*failed, return_exceptions=True):
                assert isinstance(outcome, StoreUnavailable)
                assert "not answered within" in str(outcome)
            assert connection.figures.breaker_openings == 1
            before = proxy.made, proxy.carried
            for _ in range(20):
                with pytest.raises(StoreUnavailable, match="left alone"):
                    await connection.command("PING")
            assert (proxy.made, proxy.carried) == before, "an open breaker touches no network"
            engine.resume()
            await until(lambda: works(connection))
            await connection.close()

    asyncio.run(run())


def test_only_one_tries_whether_the_server_is_back():
    breaker = Breaker()
    for number in range(FAILURES):
        assert breaker.admit(0.0) is False
        assert breaker.failed(0.0, probe=False, jitter=0.0) is (number == FAILURES - 1)
    assert breaker.admit(FIRST_PAUSE_SECONDS / 2) is None
    assert breaker.admit(FIRST_PAUSE_SECONDS) is True
    assert breaker.admit(FIRST_PAUSE_SECONDS) is None
    breaker.abandoned(probe=True)
    assert breaker.admit(FIRST_PAUSE_SECONDS) is True, "who went away is followed by another"
    breaker.succeeded()
    assert breaker.admit(FIRST_PAUSE_SECONDS) is False


def test_each_failed_try_doubles_the_pause_up_to_a_limit():
    breaker, now, pauses = Breaker(), 0.0, []
    for _ in range(FAILURES):
        breaker.failed(now, probe=False, jitter=0.0)
    for _ in range(10):
        low = now
        while breaker.admit(now) is None:
            now += FIRST_PAUSE_SECONDS / 8
        pauses.append(now - low)
        assert not breaker.failed(now, probe=False, jitter=0.0), "what was on its way changes nothing"
        assert breaker.failed(now, probe=True, jitter=0.0)
    assert pauses[:4] == [FIRST_PAUSE_SECONDS * 2**step for step in range(4)]
    assert max(pauses) == LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("state", ["loading", "clusterdown", "readonly"])
def test_a_node_that_can_t_answer_is_a_passing_failure(guard, state):
    async def run():
        async with connected(guard, timeout_seconds=2) as connection:
            assert await connection.run(WRITE, [KEY], ["x"]) == b"OK"
            setattr(guard, state, True)
            with pytest.raises(StoreUnavailable):
                await connection.run(WRITE, [KEY], ["x"])
            setattr(guard, state, False)
            await until(lambda: writes(connection))

    asyncio.run(run())


def test_moved_is_followed_once_and_a_circle_is_a_passing_failure(guard):
    async def run():
        async with connected(guard, timeout_seconds=2) as connection:
            await connection.run(ECHO, [KEY], ["warm"])
            guard.move(f"127.0.0.1:{guard.port}", times=1)
            assert (await connection.run(ECHO, [KEY], ["x"]))[1] == b"x"
            rule = guard.move(f"127.0.0.1:{guard.port}")
            with guard.watching() as seen, pytest.raises(StoreUnavailable, match="cluster is being changed"):
                await connection.run(ECHO, [KEY], ["x"])
            assert seen.names == ["EVALSHA", "EVALSHA"]
            assert rule.used == 2

    asyncio.run(run())


def test_a_machine_that_is_down_is_asked_less_and_less_often(guard):
    async def run():
        async with connected(guard, "connections=1", timeout_seconds=1) as connection:
            await connection.command("PING")
            guard.refuse_connections()
            guard.drop_connections()
            for _ in range(50):
                with pytest.raises(StoreUnavailable):
                    await connection.command("PING")
            assert connection.figures.breaker_openings == 1
            guard.listen_again()
            await until(lambda: works(connection))

    asyncio.run(run())


def test_a_replica_leads_to_the_primary(pair):
    primary, replica = pair

    async def run():
        for query in ("", "cluster=true", "cluster=false"):
            connection = await opened(replica.port, query)
            assert await connection.run(WRITE, [KEY], [query or "none"]) == b"OK"
            assert primary.cli("GET", KEY) == (query or "none").encode()
            await connection.close()

    asyncio.run(run())


async def serving(connection):
    """Ports of the nodes that searches go to."""
    replies = await asyncio.gather(*(connection.search("INFO", "server") for _ in range(6)))
    return {int(reply.split(b"tcp_port:")[1].split()[0]) for reply in replies}


def test_searches_go_to_a_replica_where_the_address_says_so(pair):
    primary, replica = pair

    async def run():
        connection = await opened(primary.port, "replica_search=true")
        await connection.run(WRITE, [KEY], ["x"])
        replica.wait_for_replication()
        assert await serving(connection) == {replica.port}
        assert await connection.search("GET", KEY) == b"x"
        await connection.close()
        connection = await opened(replica.port)
        assert await serving(connection) == {primary.port}
        await connection.close()

    asyncio.run(run())


async def follows(connection, primary):
    """Writing works again, at the node that is the primary now."""
    await until(lambda: writes(connection))
    assert primary.cli("GET", KEY) == b"after"


def test_an_orderly_failover_is_followed(pair):
    primary, replica = pair

    async def run():
        connection = await opened(primary.port, timeout_seconds=2)
        assert await connection.run(WRITE, [KEY], ["before"]) == b"OK"
        replica.take_over()
        await follows(connection, replica)
        assert await connection.run(ECHO, [KEY], ["x"]) == [KEY.encode(), b"x"]
        await connection.close()

    asyncio.run(run())


def test_the_primary_answers_searches_when_no_replica_does(pair):
    primary, replica = pair

    async def run():
        connection = await opened(primary.port, "replica_search=true", timeout_seconds=0.7)
        assert await serving(connection) == {replica.port}
        replica.pause()
        try:
            with pytest.raises(StoreUnavailable):
                await connection.search("PING")
            assert await serving(connection) == {primary.port}
        finally:
            replica.resume()
        await connection.close()

    asyncio.run(run())


def test_a_primary_that_has_become_a_replica_is_a_passing_failure(make_engine):
    other, engine = make_engine(search=False), make_engine(search=False)

    async def run():
        connection = await opened(engine.port, timeout_seconds=2)
        assert await connection.run(WRITE, [KEY], ["x"]) == b"OK"
        engine.cli("REPLICAOF", "127.0.0.1", other.plain_port)
        with pytest.raises(StoreUnavailable, match="replica"):
            await connection.run(WRITE, [KEY], ["x"])
        engine.cli("REPLICAOF", "NO", "ONE")
        await until(lambda: writes(connection))
        await connection.close()

    asyncio.run(run())


def comes_back(old, new):
    """The node that was killed is the replica of the one that took over."""
    old.replica_of = new
    old.restart()
    wait_until(lambda: old.info("replication")["role"] == "slave", "the old primary follows the new one")


def test_one_who_opens_before_the_primary_tells_of_its_replica_learns_of_it(pair):
    primary, replica = pair

    async def run():
        primary.kill()
        replica.take_over()
        assert len(replica.cli("CLUSTER", "SLOTS")[0]) == 3
        connection = await opened(replica.port, "replica_search=true", timeout_seconds=5)
        comes_back(primary, replica)

        async def at_the_replica():
            return await serving(connection) == {primary.port}

        await until(at_the_replica)
        replica.kill()
        primary.take_over()
        await follows(connection, primary)
        await connection.close()
        comes_back(replica, primary)

    asyncio.run(run())


def test_failovers_back_and_forth_are_followed_and_searches_go_on(pair):
    async def run():
        primary, replica = pair
        writer = await opened(primary.port, timeout_seconds=5)
        searcher = await opened(primary.port, "replica_search=true", timeout_seconds=5)
        assert await writes(writer)
        primary.kill()
        assert await serving(searcher) == {replica.port}, "a replica answers while there is no primary"
        for round_ in range(5):
            if round_:
                primary.kill()
            replica.take_over()
            await follows(writer, replica)
            await follows(searcher, replica)
            comes_back(primary, replica)
            primary, replica = replica, primary
        await writer.close()
        await searcher.close()

    asyncio.run(run())
