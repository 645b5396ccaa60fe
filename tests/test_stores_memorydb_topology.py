"""Topology: what CLUSTER SLOTS and MOVED say, and whom to ask when those who served us are gone."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.discovery import KNOWN, Discovery
from yamabiko.stores.memorydb.link import Dialer
from yamabiko.stores.memorydb.topology import Node, Shard, moved_slot, moved_to, nodes_of, shard_of


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
    named = nodes_of(reply, Node("seed", 6379), names=True)
    assert shard is None or {shard.primary, *shard.replicas} <= set(named)
    assert all(node.host and isinstance(identity, bytes) for node, identity in named.items())


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


def test_every_node_of_every_shard_is_named_with_its_id():
    reply = [
        [0, 99, NAMED, [b"b", 2, b"other"]],
        [100, 16383, [None, 3, b"third", []], [b"d", 4], "odd", [b"e", 99999]],
    ]
    assert nodes_of(reply, Node("seed", 6379), names=False) == {
        Node("10.0.0.1", 6381): b"id",
        Node("b", 2): b"other",
        Node("seed", 3): b"third",
        Node("d", 4): b"",
    }


def test_the_slot_that_moved():
    assert moved_slot("MOVED 3999 10.0.0.1:6381") == 3999
    for text in ("MOVED", "MOVED x 10.0.0.1:1", "ASK 1 a:1", ""):
        assert moved_slot(text) is None


class Scripted:
    """A node that answers everything with its idea of the topology; with ``None`` it never answers."""

    def __init__(self):
        self.told = []  # (port, id), the primary first
        self.refusal = None
        self.asked = 0

    async def serve(self, reader, writer):
        try:
            while data := await reader.read(65536):
                self.asked += b"SLOTS" in data
                if self.told is None and b"SLOTS" in data:
                    continue
                writer.write(self.reply() if b"SLOTS" in data else b"+OK\r\n" * data.count(b"SETINFO"))
        except OSError:
            pass
        finally:
            writer.close()

    def reply(self):
        if self.refusal:
            return f"-{self.refusal}\r\n".encode()
        nodes = [b"*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$%d\r\n%s\r\n" % (p, len(i), i) for p, i in self.told]
        return b"*1\r\n*%d\r\n:0\r\n:16383\r\n%s" % (2 + len(nodes), b"".join(nodes))


@asynccontextmanager
async def scripted(count):
    """So many nodes, and a way to let one of them die."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            node = Scripted()
            node.server = await stack.enter_async_context(await asyncio.start_server(node.serve, "127.0.0.1", 0))
            node.port = node.server.sockets[0].getsockname()[1]
            made.append(node)
        yield made


def discovery(seed, timeout_seconds=20.0):
    dialer = Dialer(Address.parse(f"valkey://127.0.0.1:{seed.port}"), None)
    return Discovery(dialer, node_of(seed), 100, names=False, timeout_seconds=timeout_seconds)


def node_of(scripted):
    return Node("127.0.0.1", scripted.port)


def test_who_is_gone_for_long_is_asked_when_nobody_else_is_there():
    async def run():
        async with scripted(3) as (a, b, c):
            a.told = [(a.port, b"A"), (b.port, b"B"), (c.port, b"C")]
            asking = discovery(a)
            current = await asking.ask(node_of(a))
            assert current == Shard(node_of(a), tuple(sorted((node_of(b), node_of(c)))))
            b.told = [(b.port, b"B")]
            a.server.close()
            c.server.close()
            assert await asking.find(None, current, doubted=True) == Shard(node_of(b))
            b.server.close()
            c.server = await asyncio.start_server(c.serve, "127.0.0.1", c.port)
            c.told = [(c.port, b"C")]
            assert await asking.find(None, Shard(node_of(b)), doubted=True) == Shard(node_of(c))
            c.server.close()
            assert await asking.find(None, Shard(node_of(c)), doubted=True) is None

    asyncio.run(run())


def test_an_address_that_belongs_to_another_cluster_by_now_is_not_believed():
    async def run():
        async with scripted(3) as (a, b, stranger):
            a.told = [(a.port, b"A"), (b.port, b"B")]
            asking = discovery(a)
            current = await asking.ask(node_of(a))
            b.told = [(stranger.port, b"S"), (b.port, b"T")]
            a.server.close()
            assert await asking.find(None, current, doubted=True) is None
            assert b.asked == 1
            b.told = [(b.port, b"B")]
            assert await asking.find(None, current, doubted=True) == Shard(node_of(b))
            stranger.told = [(stranger.port, b"S")]
            moved = await asking.find(node_of(stranger), current, doubted=False)
            assert moved == Shard(node_of(stranger)), "a node of ours has sent us there"

    asyncio.run(run())


def test_a_node_that_hangs_holds_nobody_up():
    async def run():
        async with scripted(2) as (a, b):
            a.told = [(a.port, b"A"), (b.port, b"B")]
            asking = discovery(a, timeout_seconds=60)
            current = await asking.ask(node_of(a))
            a.told, b.told = None, [(b.port, b"B")]
            async with asyncio.timeout(20):
                assert await asking.find(None, current, doubted=False) == Shard(node_of(b))
            assert a.asked == 2
            assert len(asyncio.all_tasks()) < 10

    asyncio.run(run())


def test_one_node_that_refuses_to_tell_leaves_it_to_the_others():
    async def run():
        async with scripted(2) as (a, b):
            a.told = [(a.port, b"A"), (b.port, b"B")]
            asking = discovery(a)
            current = await asking.ask(node_of(a))
            a.refusal, b.told = "ERR This instance has cluster support disabled", [(b.port, b"B")]
            assert await asking.find(None, current, doubted=False) == Shard(node_of(b))
            b.refusal = "NOPERM no permissions"
            with pytest.raises(ResponseError):
                await asking.find(None, current, doubted=False)

    asyncio.run(run())


def test_a_large_cluster_is_not_remembered_whole():
    async def run():
        async with scripted(1) as (a,):
            a.told = [(a.port, b"A"), *((20000 + number, b"%d" % number) for number in range(500))]
            asking = discovery(a)
            for _ in range(3):
                await asking.ask(node_of(a))
            assert len(asking.known) == KNOWN
            assert node_of(a) in asking.known

    asyncio.run(run())
