"""The connection: whose reply is whose, deadlines, the breaker, failover, and errors that say what to do."""

import asyncio
import random
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.guard import Guard
from engines.valkey import Valkey, wait_until
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.breaker import FAILURES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker
from yamabiko.stores.memorydb.connection import INDEX_PAUSE_SECONDS, Connection, Script
from yamabiko.stores.memorydb.failures import IndexUnavailable, OutOfMemory
from yamabiko.stores.memorydb.link import pack
from yamabiko.stores.memorydb.topology import Node, Shard, moved_to, shard_of

ECHO = Script.of("return {KEYS[1], ARGV[1]}")
WRITE = Script.of("return redis.call('SET', KEYS[1], ARGV[1])")
KEY = "yamabiko:{yamabiko}:k"


async def opened(port, query="", *, timeout_seconds=5.0, credentials=None, scheme="valkey", user=""):
    address = Address.parse(f"{scheme}://{user}127.0.0.1:{port}?{query}")
    return await Connection.open(address, credentials=credentials, timeout_seconds=timeout_seconds)


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
def test_in_a_cluster_too(cluster_engine, connections):
    async def run(port):
        chance = random.Random(connections)
        connection = await opened(port, f"cluster=true&connections={connections}", timeout_seconds=30)
        for _ in range(2):
            outcomes = await storm(connection, chance, 200)
            assert outcomes["right"] > 50
            assert outcomes["cancelled"] > 10
        await connection.close()

    with Guard(cluster_engine, profile="memorydb") as guard:
        guard.delay(None, 0.002)
        guard.delay("ECHO", 0.001)
        asyncio.run(run(guard.port))


@pytest.mark.parametrize("connections", [1, 4])
def test_an_operation_past_its_deadline_leaves_no_reply_for_somebody_else(engine, connections):
    async def run():
        chance = random.Random(connections)
        async with Trickle(engine.port, chance, longest=0.03) as slow:
            connection = await opened(slow.port, f"connections={connections}", timeout_seconds=0.2)
            right = late = 0
            for round_ in range(16):
                slow.delay = 0.25 if round_ % 4 == 0 else 0.0
                sent = [f"{round_}.{number}".encode() for number in range(4)]
                replies = await asyncio.gather(
                    *(connection.run(ECHO, [KEY], [one]) for one in sent), return_exceptions=True
                )
                for one, reply in zip(sent, replies, strict=True):
                    if isinstance(reply, StoreUnavailable):
                        late += 1
                    else:
                        assert reply == [KEY.encode(), one]
                        right += 1
            assert right > 0
            assert late > 0
            await connection.close()

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


def test_a_script_that_the_server_has_forgotten_is_sent_again(engine):
    async def run():
        connection = await opened(engine.port)
        assert await connection.run(ECHO, [KEY], ["one"]) == [KEY.encode(), b"one"]
        engine.cli("SCRIPT", "FLUSH")
        replies = await asyncio.gather(*(connection.run(ECHO, [KEY], [number]) for number in range(40)))
        assert [int(reply[1]) for reply in replies] == list(range(40))
        await connection.close()

    asyncio.run(run())


def test_after_closing_everything_says_so_and_closing_twice_is_fine(engine):
    async def run():
        connection = await opened(engine.port, "connections=1")
        waiting = [asyncio.create_task(connection.command("BLPOP", "yamabiko:nothing", 0)) for _ in range(3)]
        await asyncio.sleep(0)
        await connection.close()
        await connection.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
        for operation in (connection.command("PING"), connection.search("PING"), connection.run(ECHO, [KEY], ["x"])):
            with pytest.raises(StoreUnavailable, match="closed"):
                await operation

    asyncio.run(run())


# Servers that fail.


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
        chance = random.Random(0)
        async with Trickle(engine.port, chance, longest=0.0) as proxy:
            connection = await opened(proxy.port, "connections=2", timeout_seconds=0.2)
            engine.pause()
            for _ in range(FAILURES):
                with pytest.raises(StoreUnavailable, match="not answered within"):
                    await connection.command("PING")
            assert connection.figures.breaker_openings == 1
            before = proxy.made, proxy.carried
            began = time.process_time()
            for _ in range(100):
                with pytest.raises(StoreUnavailable, match="left alone"):
                    await connection.command("PING")
            assert (proxy.made, proxy.carried) == before, "an open breaker touches no network"
            assert time.process_time() - began < 0.5
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


def test_a_full_server_is_told_apart_and_goes_on_answering(make_engine):
    engine = make_engine(search=False, maxmemory=3_000_000, policy="noeviction")

    async def run():
        connection = await opened(engine.port)

        async def fill():
            for number in range(100):
                await connection.run(WRITE, [f"{KEY}{number}"], ["x" * 100_000])

        with pytest.raises(OutOfMemory, match="maxmemory-policy"):
            await fill()
        assert await connection.run(ECHO, [KEY], ["still"]) == [KEY.encode(), b"still"]
        assert (connection.figures.out_of_memory, connection.figures.breaker_openings) == (1, 0)
        await connection.close()

    asyncio.run(run())


def test_an_index_that_is_gone_is_said_once_and_not_asked_for_again_for_a_second(engine):
    async def run():
        connection = await opened(engine.port)
        asked = ("FT.SEARCH", "yamabiko:i:never", "*", "DIALECT", 2)
        with pytest.raises(IndexUnavailable) as first:
            await connection.search(*asked)
        assert first.value.gone
        commands = connection.figures.commands
        for _ in range(10):
            with pytest.raises(IndexUnavailable) as later:
                await connection.search(*asked)
            assert not later.value.gone
        assert connection.figures.commands == commands
        assert connection.figures.index_unavailable == 11
        assert await connection.command("PING") == b"PONG", "look-ups by key go on"
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def asked_again():
            with pytest.raises(IndexUnavailable) as raised:
                await connection.search(*asked)
            return raised.value.gone

        await until(asked_again)
        assert loop.time() - began > INDEX_PAUSE_SECONDS / 2
        await connection.close()

    asyncio.run(run())


def test_making_the_index_ends_the_pause(engine):
    async def run():
        connection = await opened(engine.port)
        with pytest.raises(IndexUnavailable):
            await connection.search("FT.SEARCH", "yamabiko:i:made", "*", "DIALECT", 2)
        await connection.command(
            "FT.CREATE", "yamabiko:i:made", "ON", "HASH", "PREFIX", 1, "made:", "SCHEMA", "x", "NUMERIC"
        )
        assert (await connection.search("FT.SEARCH", "yamabiko:i:made", "*", "DIALECT", 2))[0] == 0
        await connection.close()

    asyncio.run(run())


# What a service does now and then: through the guard, which does it on demand.


@pytest.fixture
def guard(engine):
    with Guard(engine, profile="memorydb") as running:
        yield running


@asynccontextmanager
async def connected(guard, query="", *, timeout_seconds=5.0):
    address = Address.parse(f"{guard.url}&{query}" if "?" in guard.url else f"{guard.url}?{query}")
    connection = await Connection.open(address, timeout_seconds=timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("connections", [1, 16])
def test_replies_that_come_late_and_connections_that_drop_in_the_middle_of_one_mix_nothing_up(guard, connections):
    async def run():
        chance = random.Random(connections)
        async with connected(guard, f"connections={connections}", timeout_seconds=30) as connection:
            guard.delay(None, 0.003)
            right = dropped = 0
            for round_ in range(6):
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


@pytest.mark.parametrize("state", ["loading", "clusterdown", "readonly"])
def test_a_node_that_can_t_answer_is_a_passing_failure(guard, state):
    async def run():
        async with connected(guard, timeout_seconds=2) as connection:
            assert await connection.run(WRITE, [KEY], ["x"]) == b"OK"
            setattr(guard, state, True)
            with pytest.raises(StoreUnavailable):
                await connection.run(WRITE, [KEY], ["x"])
            setattr(guard, state, False)

            async def written():
                try:
                    return await connection.run(WRITE, [KEY], ["x"]) == b"OK"
                except StoreUnavailable:
                    return False

            await until(written)

    asyncio.run(run())


def test_an_index_that_is_being_built_is_told_apart_and_look_ups_by_key_go_on(guard):
    async def run():
        async with connected(guard) as connection:
            index = "yamabiko:i:built"
            await connection.command(
                *("FT.CREATE", index, "ON", "HASH", "PREFIX", 1, "built:", "SCHEMA", "x", "NUMERIC"),
                *("v", "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", 1, "DISTANCE_METRIC", "COSINE"),
            )
            asked = ("FT.SEARCH", index, "(@x:[0 +inf])=>[KNN 1 @v $q AS d]", "PARAMS", 2, "q", bytes(4), "DIALECT", 2)
            assert (await connection.search(*asked))[0] == 0
            guard.backfilling = True
            with guard.watching() as seen:
                for _ in range(20):
                    with pytest.raises(IndexUnavailable) as raised:
                        await connection.search(*asked)
                    assert not raised.value.gone
            assert seen.names == ["FT.SEARCH"], "who has been told waits a second before asking again"
            assert await connection.run(ECHO, [KEY], ["x"]) == [KEY.encode(), b"x"]
            assert connection.figures.breaker_openings == 0
            guard.backfilling = False
            await connection.command("FT.DROPINDEX", index)

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


def test_an_exact_read_is_one_round_trip(guard):
    async def run():
        async with connected(guard) as connection:
            await connection.run(ECHO, [KEY], ["warm"])
            with guard.watching() as seen:
                await connection.run(ECHO, [KEY], ["x"])
            assert seen.names == ["EVALSHA"]
            assert seen.round_trips == 1

    asyncio.run(run())


# Opening.


def test_nobody_listens():
    async def run():
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1 .*"):
            await opened(1)

    asyncio.run(run())


def test_a_wrong_password_is_the_operator_s_business_at_open_and_passing_later(make_engine):
    engine = make_engine(search=False, users={"app": "on >right-one ~* +@all", "default": "off"})

    async def run():
        for user in ("", "app:wrong-one@", "nobody:x@"):
            with pytest.raises(ConfigurationError) as raised:
                await opened(engine.port, user=user)
            assert "wrong-one" not in str(raised.value)
        connection = await opened(engine.port, user="app:right-one@", timeout_seconds=2)
        assert await works(connection)
        engine.cli("ACL", "SETUSER", "app", "resetpass", ">another")
        engine.cli("CLIENT", "KILL", "USER", "app")
        await turns()
        with pytest.raises(StoreUnavailable, match="credentials"):
            await connection.command("PING")
        engine.cli("ACL", "SETUSER", "app", ">right-one")
        await until(lambda: works(connection))
        await connection.close()

    asyncio.run(run())


class Rotating:
    """Credentials that count how often they were asked for."""

    def __init__(self, password, max_connection_seconds=None):
        self.password = password
        self.max_connection_seconds = max_connection_seconds
        self.asked = 0

    async def current(self):
        self.asked += 1
        return "app", self.password


def test_every_new_connection_gets_the_credentials_of_the_moment(make_engine):
    engine = make_engine(search=False, users={"app": "on >first ~* +@all"})

    async def run():
        credentials = Rotating("first")
        connection = await opened(engine.port, credentials=credentials, timeout_seconds=2)
        engine.cli("ACL", "SETUSER", "app", "resetpass", ">second")
        credentials.password = "second"
        assert await works(connection), "a connection that is logged in stays so"
        engine.cli("CLIENT", "KILL", "USER", "app")
        await until(lambda: works(connection))
        assert await connection.command("ACL", "WHOAMI") == b"app"
        await connection.close()

    asyncio.run(run())


def test_a_connection_that_is_too_old_is_replaced_between_two_operations(make_engine):
    engine = make_engine(search=False, users={"app": "on >first ~* +@all"})

    async def run():
        credentials = Rotating("first", max_connection_seconds=0.01)
        connection = await opened(engine.port, "connections=1", credentials=credentials, timeout_seconds=5)
        chance = random.Random(1)
        assert (await storm(connection, chance, 150))["right"] > 50
        assert credentials.asked > 2
        identities = {await connection.command("CLIENT", "ID")}

        async def replaced():
            identities.add(await connection.command("CLIENT", "ID"))
            return len(identities) > 2

        await until(replaced)
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("cluster", [False, True])
def test_tls_is_verified(make_engine, cluster):
    engine = make_engine(search=False, tls=True, cluster=cluster)

    async def run():
        with pytest.raises(ConfigurationError, match=r"\?ca=FILE"):
            await opened(engine.port, scheme="valkeys")
        with pytest.raises(ConfigurationError, match="can't be read"):
            await opened(engine.port, "ca=/does/not/exist", scheme="valkeys")
        with pytest.raises(StoreUnavailable, match="tls=true"):
            await opened(engine.port, timeout_seconds=1)
        connection = await opened(engine.port, f"ca={engine.authority}", scheme="valkeys", timeout_seconds=30)
        assert (await storm(connection, random.Random(2), 200))["right"] > 50
        await connection.close()

    asyncio.run(run())


def test_tls_to_a_server_without_it_says_so(engine):
    async def run():
        with pytest.raises((ConfigurationError, StoreUnavailable), match="tls=false"):
            await opened(engine.port, "connect_timeout=0.3", scheme="valkeys", timeout_seconds=0.5)

    asyncio.run(run())


def test_a_server_that_has_too_many_clients_is_a_passing_failure(make_engine):
    engine = make_engine(search=False, options={"maxclients": 4})

    async def run():
        connection = await opened(engine.port)
        async with asyncio.timeout(20):
            others = [await asyncio.open_connection("127.0.0.1", engine.port) for _ in range(4)]
            with pytest.raises(StoreUnavailable):  # the server closes at once: its word for it may be lost
                await opened(engine.port)
        for _, writer in others:
            writer.close()
        assert await connection.command("PING") == b"PONG"
        await connection.close()

    asyncio.run(run())


def test_no_message_holds_what_was_sent(engine):
    async def run():
        connection = await opened(engine.port)
        for sent in (
            ("NOSUCH", "my prompt"),
            ("FT.NOSUCH", "my prompt"),
            ("HGET", "my prompt"),
            ("SET", "my prompt", "my prompt", "NX", "XX"),
        ):
            with pytest.raises(StoreError) as raised:
                await connection.command(*sent)
            assert "my prompt" not in str(raised.value)
            assert raised.value.__suppress_context__
        await connection.close()

    asyncio.run(run())


def test_one_who_says_cluster_where_there_is_none_is_told(engine, cluster_engine):
    async def run():
        with pytest.raises(ConfigurationError, match="not in cluster mode"):
            await opened(engine.port, "cluster=true")
        with pytest.raises(ConfigurationError, match="DB index"):
            await opened(cluster_engine.port, "db=1")
        connection = await opened(engine.port, "db=2")
        await connection.run(WRITE, ["yamabiko:db"], ["2"])
        assert engine.cli("EXISTS", "yamabiko:db") == 0
        await connection.close()

    asyncio.run(run())


# Failover.


def primary_and_replica(first, second):
    """Who of the two is which now; returns when each knows the other."""
    primary, replica = (first, second) if first.info("replication")["role"] == "master" else (second, first)
    replica.replica_of = primary
    replica.wait_for_replication()
    wait_until(lambda: len(primary.cli("CLUSTER", "SLOTS")[0]) == 4, "the primary tells of its replica")
    return primary, replica


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A cluster of one shard of two nodes, which takes seconds to come up."""
    one = Valkey(tmp_path_factory.mktemp("one"), search=False, cluster=True)
    with one, Valkey(tmp_path_factory.mktemp("two"), search=False, cluster=True, replica_of=one) as two:
        yield one, two


@pytest.fixture
def pair(shard):
    """The primary and its replica, whichever they are after the tests before."""
    return primary_and_replica(*shard)


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

    async def written():
        try:
            return await connection.run(WRITE, [KEY], ["after"]) == b"OK"
        except StoreUnavailable:
            return False

    await until(written)
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


def test_a_crash_is_followed_and_searches_go_on(make_engine):
    first = make_engine(search=False, cluster=True)
    primary, replica = primary_and_replica(first, make_engine(search=False, cluster=True, replica_of=first))

    async def run():
        writer = await opened(primary.port, timeout_seconds=2)
        searcher = await opened(primary.port, "replica_search=true", timeout_seconds=2)
        assert await writer.run(WRITE, [KEY], ["before"]) == b"OK"
        replica.wait_for_replication()
        assert await serving(searcher) == {replica.port}
        primary.kill()
        assert await serving(searcher) == {replica.port}, "a replica answers while there is no primary"
        replica.take_over()
        await follows(writer, replica)
        await follows(searcher, replica)
        assert await serving(searcher) == {replica.port}
        await writer.close()
        await searcher.close()

    asyncio.run(run())


def test_the_primary_answers_searches_when_no_replica_does(pair):
    primary, replica = pair

    async def run():
        connection = await opened(primary.port, "replica_search=true", timeout_seconds=0.3)
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

        async def written():
            try:
                return await connection.run(WRITE, [KEY], ["y"]) == b"OK"
            except StoreUnavailable:
                return False

        await until(written)
        await connection.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("MOVED 3999 10.0.0.1:6381", Node("10.0.0.1", 6381)),
        ("MOVED 3999 cache-0001-002.example:6379", Node("cache-0001-002.example", 6379)),
        ("MOVED 3999 :6381", Node("seed", 6381)),
        ("MOVED 3999 ?:6381", Node("seed", 6381)),
        ("MOVED 3999 2001:db8::1:6381", Node("2001:db8::1", 6381)),
        ("MOVED 3999", None),
        ("MOVED 3999 host:port", None),
        ("MOVED 3999 host:0", None),
        ("ASK 3999 10.0.0.1:6381", None),
        ("", None),
    ],
)
def test_where_moved_points(text, node):
    assert moved_to(text, Node("seed", 6379)) == node


@given(st.text(), st.from_regex(r"MOVED .*"))
def test_whatever_a_node_says_leads_to_a_node_or_nowhere(text, moved):
    for said in (text, moved):
        node = moved_to(said, Node("seed", 6379))
        assert node is None or (node.host and 0 < node.port < 65536)


PARTS = st.recursive(st.none() | st.integers() | st.binary(max_size=5), lambda inner: st.lists(inner, max_size=5))


@given(PARTS | st.lists(st.tuples(st.just(0), st.just(16383), PARTS, PARTS).map(list)))
def test_whatever_a_node_says_of_slots_is_read(reply):
    shard = shard_of(reply, 100, Node("seed", 6379), names=True)
    assert shard is None or all(node.host for node in (shard.primary, *shard.replicas))


NAMED = [b"10.0.0.1", 6381, b"id", [b"hostname", b"one.example"]]


@pytest.mark.parametrize(
    ("reply", "names", "shard"),
    [
        ([[0, 16383, [b"10.0.0.1", 6381, b"id", []]]], False, Shard(Node("10.0.0.1", 6381))),
        ([[0, 16383, NAMED]], True, Shard(Node("one.example", 6381))),
        ([[0, 16383, NAMED]], False, Shard(Node("10.0.0.1", 6381))),
        ([[0, 16383, [None, 6381, b"id"]]], True, Shard(Node("seed", 6381))),
        ([[0, 16383, [b"?", 6381]]], False, Shard(Node("seed", 6381))),
        ([[0, 99, NAMED], [100, 16383, [b"b", 2], [b"c", 3]]], False, Shard(Node("b", 2), (Node("c", 3),))),
        ([[0, 99, NAMED]], False, None),
        ([], False, None),
        (b"odd", False, None),
        ([[0, 16383]], False, None),
    ],
)
def test_who_holds_a_slot(reply, names, shard):
    assert shard_of(reply, 100, Node("seed", 6379), names=names) == shard
