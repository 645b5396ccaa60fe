"""A connection: opening and closing it, credentials, TLS, and errors that say what to do."""

import asyncio
import errno
import random
import select
import socket
import time

import pytest

from connecting import ECHO, KEY, WRITE, connected, opened, storm, turns, until, works
from engines.guard import Guard
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.connection import INDEX_PAUSE_SECONDS, Connection
from yamabiko.stores.memorydb.failures import IndexUnavailable, OutOfMemory, Refused


@pytest.fixture
def guard(engine):
    with Guard(engine, profile="memorydb") as running:
        yield running


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


def test_an_exact_read_is_one_round_trip(guard):
    async def run():
        async with connected(guard) as connection:
            await connection.run(ECHO, [KEY], ["warm"])
            with guard.watching() as seen:
                await connection.run(ECHO, [KEY], ["x"])
            assert seen.names == ["EVALSHA"]
            assert seen.round_trips == 1

    asyncio.run(run())


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
def test_tls_is_verified(make_guard, engine, pair, cluster):
    secure = make_guard(pair[0] if cluster else engine, tls=True)
    authority = secure.certificates.authority

    async def run():
        with pytest.raises(ConfigurationError, match=r"\?ca=FILE"):
            await opened(secure.port, scheme="valkeys")
        with pytest.raises(ConfigurationError, match="can't be read"):
            await opened(secure.port, "ca=/does/not/exist", scheme="valkeys")
        with pytest.raises(StoreUnavailable, match="tls=true"):
            await opened(secure.port, timeout_seconds=1)
        connection = await opened(secure.port, f"ca={authority}", scheme="valkeys", timeout_seconds=30)
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


def test_one_who_says_cluster_where_there_is_none_is_told(engine, pair):
    async def run():
        with pytest.raises(ConfigurationError, match="not in cluster mode"):
            await opened(engine.port, "cluster=true")
        with pytest.raises(ConfigurationError, match="DB index"):
            await opened(pair[0].port, "db=1")
        connection = await opened(engine.port, "db=2")
        await connection.run(WRITE, ["yamabiko:db"], ["2"])
        assert engine.cli("EXISTS", "yamabiko:db") == 0
        await connection.close()

    asyncio.run(run())


def test_searches_that_are_sent_to_another_shard_by_the_index_s_name_are_told_apart(guard):
    async def run():
        async with connected(guard) as connection:
            guard.fail("FT.SEARCH", "MOVED 1 127.0.0.1:1", times=None)
            guard.fail("FT.CREATE", "MOVED 1 127.0.0.1:1", times=None)
            for ask in (connection.search, connection.command):
                for verb in ("FT.SEARCH", "FT.CREATE"):
                    with pytest.raises(Refused, match="one shard") as raised:
                        await ask(verb, "yamabiko:i:elsewhere")
                    assert "use-coordinator" in str(raised.value)
            assert await works(connection), "look-ups by key go on"
            assert connection.figures.breaker_openings == 0

    asyncio.run(run())


def test_closing_while_the_topology_is_read_is_an_error_of_ours(pair):
    async def run(guard):
        connection = await opened(guard.port, "cluster=true", timeout_seconds=30)
        await connection.run(ECHO, [KEY], ["warm"])
        slots = guard.hold("CLUSTER", times=None)
        guard.move(f"127.0.0.1:{guard.port}")
        tasks = [asyncio.create_task(connection.run(ECHO, [KEY], [number])) for number in range(5)]
        await asyncio.to_thread(slots.wait_reached)
        await connection.close()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, StoreUnavailable)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Guard(pair[0], profile="memorydb") as guard:
        asyncio.run(run(guard))


class Resolving(asyncio.SelectorEventLoop):
    """A loop in which the name ``several.example`` has these addresses."""

    addresses = ()

    async def getaddrinfo(self, host, port, **_):
        assert host == "several.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in self.addresses]


def hanging():
    """A listening socket that takes no connection any more: who tries waits for an answer that never comes."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    while True:
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        if waiting[-1].connect_ex(listening.getsockname()) not in (0, errno.EINPROGRESS):
            raise AssertionError("no connection is made at all")
        if not select.select([], [waiting[-1]], [], 0.05)[1]:
            return listening, waiting


@pytest.mark.parametrize("secure", [False, True])
def test_a_name_with_several_addresses_leads_to_the_one_that_answers(engine, make_guard, secure):
    listening, waiting = hanging()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and doesn't listen
        port = engine.port
        query = "connect_timeout=0.9"
        if secure:
            guard = make_guard(engine, tls=True)
            port, query = guard.port, f"ca={guard.certificates.authority}&{query}"
        addresses = [closed.getsockname(), listening.getsockname(), ("127.0.0.1", port)]

        async def run():
            asyncio.get_running_loop().addresses = addresses
            scheme = "valkeys" if secure else "valkey"
            address = Address.parse(f"{scheme}://several.example?{query}")
            if secure:  # the name is checked, not the address that was reached
                with pytest.raises(ConfigurationError, match="host name"):
                    await Connection.open(address, timeout_seconds=20)
                return
            connection = await Connection.open(address, timeout_seconds=20)
            began = time.monotonic()
            assert await asyncio.gather(*(connection.command("PING") for _ in range(8))) == [b"PONG"] * 8
            assert time.monotonic() - began < 0.3, "the address that answers is tried first from now on"
            await connection.close()

        with asyncio.Runner(loop_factory=Resolving) as runner:
            runner.run(run())
    for one in (listening, *waiting):
        one.close()


def test_a_name_none_of_whose_addresses_answers_is_a_passing_failure():
    async def run():
        for addresses in ([], [("127.0.0.1", 1), ("127.0.0.1", 2)]):
            asyncio.get_running_loop().addresses = addresses
            with pytest.raises(StoreUnavailable, match=r"several\.example"):
                await Connection.open(Address.parse("valkey://several.example"), timeout_seconds=20)

    with asyncio.Runner(loop_factory=Resolving) as runner:
        runner.run(run())
