"""One server, or the one shard of a cluster that holds a cache, behind three verbs: command, run, search.

Whatever is sent has a deadline, and fails with one of our errors. Nothing is tried twice, but for a command that a node
refused to carry out because another one should (MOVED, READONLY): that goes to the other one, once.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final

from redis.crc import key_slot

from yamabiko.errors import ConfigurationError, StoreUnavailable, YamabikoError
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.memorydb.breaker import Breaker
from yamabiko.stores.memorydb.dialect import Argument, Meaning, meaning
from yamabiko.stores.memorydb.discovery import FAILED, Discovery
from yamabiko.stores.memorydb.failures import (
    IndexUnavailable,
    OutOfMemory,
    Refused,
    full_text,
    redis_errors,
    translate,
)
from yamabiko.stores.memorydb.lanes import Figures, Lane, closed
from yamabiko.stores.memorydb.link import Credentials, Dialer, pack
from yamabiko.stores.memorydb.topology import Node, Shard, moved_slot, moved_to

__all__ = ["Argument", "Connection", "Credentials", "Figures", "Script"]

INDEX_PAUSE_SECONDS: Final = 1.0
"""For so long after a search that found no index no further one is sent."""

FIRST_TOPOLOGY_SECONDS: Final = 0.5
"""So long after it has changed is the topology read again: a node that comes back is listed a moment later."""
TOPOLOGY_SECONDS: Final = 60.0
"""So often is it read when it doesn't change (the pause doubles up to here): a node that is known when others fail is
where to ask."""
SOON_SECONDS: Final = 0.1
DOWN_TOPOLOGY_SECONDS: Final = 5.0
"""While the primary is left alone the pause grows from and up to these: another one may be taking over."""

REPLICA_REST_SECONDS: Final = 10.0
"""For so long after a replica failed searches go elsewhere."""

LONG_ENOUGH: Final = 0.5
"""Who leaves after this share of the deadline without an answer has seen the server fail: a caller's own deadline, as
long as ours or a little shorter, must not keep the breaker from hearing of it."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua text and its SHA-1 in hexadecimal."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """The script with this text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class Connection:
    """To the server of one cache; made by ``open``. Use it from one event loop.

    Every method but ``close`` raises ``StoreUnavailable`` for what time may heal (``OutOfMemory`` and
    ``IndexUnavailable`` among it) and ``StoreError`` for what the server refuses for good. Cancelling a call is safe at
    any moment: its reply is never read by anybody else.
    """

    def __init__(self, address: Address, dialer: Dialer, timeout_seconds: float) -> None:
        self.figures = Figures()
        self.address = address
        self._timeout = timeout_seconds
        self._seed = Node(address.host, address.port)
        self._slot = key_slot(address.name.encode())
        self._cluster = address.cluster
        self._shard = Shard(self._seed)
        self._keys, self._search = (
            Lane(dialer, self._seed, width=address.connections, timeout_seconds=timeout_seconds, figures=self.figures)
            for _ in range(2)
        )
        self._discovery = Discovery(
            dialer, self._seed, self._slot, names=address.tls, timeout_seconds=timeout_seconds / 2
        )
        self._look_for_replicas_at = 0.0
        self._outdated = self._doubted = False  # the topology; the primary
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._deadlines: set[asyncio.Timeout] = set()
        self._closed = False
        self._index_rests_until = 0.0
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls, address: Address, *, credentials: Credentials | None = None, timeout_seconds: float
    ) -> Connection:
        """Connect and find out who serves the cache.

        ``timeout_seconds`` (> 0) is the deadline of this and of every later operation. Raises ``ConfigurationError``
        for what a person must mend (certificate, credentials, rights), else ``StoreUnavailable``.
        """
        connection = cls(address, Dialer(address, credentials), timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                await connection._arrive()
                connection._look_for_replicas_at = math.inf
                await connection._keys.ask(pack(["PING"]))
        except FAILED as error:
            await connection.close()
            where = str(connection._keys.node)
            hint = f"; if it speaks {'no TLS, add ?tls=false' if address.tls else 'TLS, add ?tls=true'} to the URL"
            raise translate(error, where, timeout_seconds=timeout_seconds, opening=True, hint=hint) from None
        except BaseException:
            await connection.close()
            raise
        return connection

    async def command(self, *arguments: Argument) -> Any:
        """One command, to the primary; its raw RESP2 reply: bytes, int, list, None."""
        reply = await self._attempt(self._keys, arguments)
        if arguments[0] == "FT.CREATE":
            self._index_rests_until = 0.0
        return reply

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """One script, to the primary. Its text goes along where the server doesn't know it yet."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._attempt(self._keys, ("EVALSHA", script.sha, *rest))
        except Refused as error:
            if error.meaning is not Meaning.NO_SCRIPT:
                raise
        return await self._attempt(self._keys, ("EVAL", script.text, *rest))

    async def search(self, *arguments: Argument) -> Any:
        """One FT.SEARCH, to the primary or, if the address says so, to a replica. Raises ``IndexUnavailable``."""
        if self._loop.time() < self._index_rests_until:
            self.figures.index_unavailable += 1
            raise IndexUnavailable("the index was not there a moment ago: searches rest for a second")
        if self._loop.time() >= self._look_for_replicas_at:
            self._look_for_replicas_at, self._outdated = 0.0, True
        try:
            return await self._attempt(self._search, arguments)
        except IndexUnavailable:
            self.figures.index_unavailable += 1
            self._index_rests_until = self._loop.time() + INDEX_PAUSE_SECONDS
            await self._search_elsewhere()
            raise

    async def close(self) -> None:
        """Let go of all links; who waits gets ``StoreUnavailable``. Twice is fine."""
        self._closed = True
        for deadline in self._deadlines:  # whatever they are in the middle of, it is over
            if not deadline.expired():
                deadline.reschedule(self._loop.time())
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._keys.close()
        await self._search.close()

    async def _attempt(self, lane: Lane, command: Sequence[Argument]) -> Any:
        """Send, within the deadline, unless the lane's breaker is open; errors become ours."""
        packed = pack(command)
        now = self._loop.time()
        probe = lane.breaker.admit(now)
        if probe is None:
            raise StoreUnavailable(f"{lane.node} has failed repeatedly: it is left alone for a moment")
        try:
            reply = await self._within_deadline(lane, packed, str(command[0]))
        except FAILED as error:
            if self._closed:
                raise closed() from None
            failure = translate(error, str(lane.node), timeout_seconds=self._timeout)
            await self._note(lane, failure, probe=probe)
            raise failure from None
        except BaseException:
            if self._loop.time() - now < self._timeout * LONG_ENOUGH:
                lane.breaker.abandoned(probe=probe)
            else:
                await self._note(lane, StoreUnavailable("no answer, and the caller has left"), probe=probe)
            raise
        lane.breaker.succeeded()
        return reply

    async def _within_deadline(self, lane: Lane, packed: bytes, name: str) -> Any:
        """The reply; a node that sends us elsewhere is believed once."""
        async with asyncio.timeout(self._timeout) as deadline:
            self._deadlines.add(deadline)
            try:
                if self._outdated and self._cluster is not False:
                    await self._look_anew(None)
                node = lane.node
                try:
                    return await lane.ask(packed)
                except (redis_errors.MovedError, redis_errors.ReadOnlyError) as error:
                    await self._follow(error, node, lane, name)
                return await lane.ask(packed)
            finally:
                self._deadlines.discard(deadline)

    async def _note(self, lane: Lane, failure: YamabikoError, *, probe: bool) -> None:
        """What a failure says about the server: that it answers, or that it doesn't."""
        self.figures.out_of_memory += isinstance(failure, OutOfMemory)
        if type(failure) is not StoreUnavailable:
            lane.breaker.succeeded()
            return
        jitter = secrets.randbelow(1000) / 1000
        opened = lane.breaker.failed(self._loop.time(), probe=probe, jitter=jitter)
        self.figures.breaker_openings += opened
        if lane is self._search and len(self._searchable) > 1:
            await self._search_elsewhere()
        else:
            self._outdated = self._doubted = True
            if opened:  # nobody asks for a while: see for ourselves whether another node takes over
                self._pause = SOON_SECONDS / 2
                self._look_beside()

    async def _follow(self, error: Exception, node: Node, lane: Lane, command: str) -> None:
        """A node has sent us to another one, or is none that writes any more: learn who is."""
        if lane.node != node:
            return  # somebody else has learned it meanwhile
        text = full_text(error)
        target, slot = moved_to(text, node), moved_slot(text)
        if command.startswith("FT.") and slot not in (None, self._slot):
            raise Refused(
                f"{node} says that the node of slot {slot} answers {command}, but the cache is in slot {self._slot}: "
                "its search module goes by the index's name and doesn't see the other shards. Use a cluster of one "
                "shard, or a search that spans shards: MemoryDB's, or valkey-search with --use-coordinator yes",
                Meaning.MOVED,
            )
        if target is not None:
            self._cluster = True
        elif self._cluster is False:
            await lane.hang_up()  # the same name may lead to another server now
            return
        await self._look_anew(target)

    async def _look_anew(self, target: Node | None) -> None:
        """Read the topology; all who need it wait for the same reading, and a caller who goes away doesn't end it."""
        if target is not None and self._looking is not None:
            await self._wait(self._looking)  # it doesn't know of the target
            if self._shard.primary == target:
                return
        await self._wait(self._looking or self._look(target))

    async def _wait(self, looking: asyncio.Task[None]) -> None:
        await asyncio.wait([looking])
        if self._closed:
            raise closed()
        if not looking.cancelled():
            looking.result()

    def _look_beside(self) -> None:
        """It is time to read the topology, beside what goes on."""
        if self._looking is None and self._cluster is not False and not self._closed:
            self._look(None)

    def _look(self, target: Node | None) -> asyncio.Task[None]:
        if self._closed:
            raise closed()
        self._looking = self._loop.create_task(self._learn(target))
        self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[None]) -> None:
        if self._looking is task:
            self._looking = None

    async def _learn(self, target: Node | None) -> None:
        """Find the shard that holds our slot; without an answer believe ``target``."""
        shard, again = None, True
        try:
            shard = await self._discovery.find(target, self._shard, doubted=self._doubted)
        except redis_errors.ResponseError as error:
            again = False
            if self._cluster is None and meaning(full_text(error)) is Meaning.NO_CLUSTER:
                self._cluster = False
        await self._adopt(shard or Shard(target or self._shard.primary, self._shard.replicas), again=again)

    async def _adopt(self, shard: Shard, *, again: bool = True) -> None:
        """Send what comes from now on to this shard; read the topology ``again`` after a while."""
        self._outdated = self._doubted = False
        changed, self._shard = shard != self._shard, shard
        if self._keys.node != shard.primary:
            self._keys.node, self._keys.breaker = shard.primary, Breaker()
            await self._keys.hang_up()
        if changed:
            self._search.breaker = Breaker()
        nodes = self._searchable
        # At the primary for want of a replica, and not because one failed a moment ago: now there may be one.
        wanting = changed and self._search.node == shard.primary and self._look_for_replicas_at == math.inf
        if self._search.node not in nodes or self._look_for_replicas_at == 0.0 or (wanting and len(nodes) > 1):
            await self._search_at(nodes[secrets.randbelow(max(1, len(nodes) - 1))])
            self._look_for_replicas_at = math.inf
        elif self._search.replica == (self._search.node == shard.primary):
            await self._search_at(self._search.node)  # the same node in its new role
        longest = DOWN_TOPOLOGY_SECONDS if self._keys.breaker.is_open else TOPOLOGY_SECONDS
        self._pause = FIRST_TOPOLOGY_SECONDS if changed else min(longest, self._pause * 2 or FIRST_TOPOLOGY_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        if again and not self._closed:
            self._timer = self._loop.call_later(self._pause, self._look_beside)

    @property
    def _searchable(self) -> Sequence[Node]:
        """Where searches may go: replicas first, where the address says so, and the primary when they fail."""
        return (*self._shard.replicas, self._shard.primary) if self.address.replica_search else (self._shard.primary,)

    async def _search_elsewhere(self) -> None:
        """Send searches to the next node, and look for a better one after a while."""
        nodes = self._searchable
        if len(nodes) > 1:
            at = nodes.index(self._search.node) if self._search.node in nodes else -1
            await self._search_at(nodes[(at + 1) % len(nodes)])
            self._look_for_replicas_at = self._loop.time() + REPLICA_REST_SECONDS

    async def _search_at(self, node: Node) -> None:
        self._search.node, self._search.replica = node, node != self._shard.primary
        await self._search.hang_up()

    async def _arrive(self) -> None:
        """Find out whether this is a cluster, and who in it serves the cache."""
        if self._cluster is False:
            return
        try:
            shard = await self._discovery.ask(self._seed)
        except redis_errors.ResponseError as error:
            meant = meaning(full_text(error))
            if meant is Meaning.NO_CLUSTER:
                shard = None
            elif meant in (Meaning.DENIED, Meaning.UNKNOWN_COMMAND):
                self._cluster = self._cluster or (self.address.scheme == "memorydb" or None)
                return  # MOVED will lead us
            else:
                raise
            if self._cluster:
                raise ConfigurationError(
                    f"{self._seed} is not in cluster mode: take cluster=true out of the URL"
                ) from None
            self._cluster = False
            return
        if shard is None:
            raise StoreUnavailable(f"no node of the cluster at {self._seed} serves the cache {self.address.name} yet")
        self._cluster = True
        await self._adopt(shard)
