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
from yamabiko.stores.memorydb.dialect import Argument, Meaning, meaning
from yamabiko.stores.memorydb.failures import IndexUnavailable, OutOfMemory, full_text, redis_errors, translate
from yamabiko.stores.memorydb.lanes import Figures, Lane
from yamabiko.stores.memorydb.link import Credentials, Dialer, Link, pack
from yamabiko.stores.memorydb.topology import Node, Shard, moved_to, shard_of

__all__ = ["Argument", "Connection", "Credentials", "Figures", "Script"]

INDEX_PAUSE_SECONDS: Final = 1.0
"""For so long after a search that found no index no further one is sent."""

TOPOLOGY_SECONDS: Final = 60.0
"""So often is the topology read even if nothing fails: a node that is known when another fails is where to ask."""

REPLICA_REST_SECONDS: Final = 10.0
"""For so long after a replica failed searches go elsewhere."""

_FAILED: Final = (redis_errors.RedisError, OSError, ValueError, YamabikoError)
"""What may come out of a link; ``TimeoutError`` is an ``OSError``, and redis-py reads a malformed MOVED as a number."""


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
        self._dialer = dialer
        self._timeout = timeout_seconds
        self._seed = Node(address.host, address.port)
        self._slot = key_slot(address.name.encode())
        self._cluster = address.cluster
        self._shard = Shard(self._seed)
        self._keys, self._search = (
            Lane(dialer, self._seed, width=address.connections, timeout_seconds=timeout_seconds, figures=self.figures)
            for _ in range(2)
        )
        self._look_for_replicas_at = 0.0
        self._look_at = math.inf
        self._looking: asyncio.Task[None] | None = None
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
        except _FAILED as error:
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
        reply = await self._attempt(self._keys, pack(arguments))
        if arguments[0] == "FT.CREATE":
            self._index_rests_until = 0.0
        return reply

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """One script, to the primary. Its text goes along where the server doesn't know it yet."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self._attempt(self._keys, pack(("EVALSHA", script.sha, *rest)))
        except redis_errors.NoScriptError:
            return await self._attempt(self._keys, pack(("EVAL", script.text, *rest)))

    async def search(self, *arguments: Argument) -> Any:
        """One FT.SEARCH, to the primary or, if the address says so, to a replica. Raises ``IndexUnavailable``."""
        if self._loop.time() < self._index_rests_until:
            self.figures.index_unavailable += 1
            raise IndexUnavailable("the index was not there a moment ago: searches rest for a second")
        if self._loop.time() >= self._look_for_replicas_at:
            self._look_for_replicas_at = self._look_at = 0.0
        try:
            return await self._attempt(self._search, pack(arguments))
        except IndexUnavailable:
            self.figures.index_unavailable += 1
            self._index_rests_until = self._loop.time() + INDEX_PAUSE_SECONDS
            await self._search_elsewhere()
            raise

    async def close(self) -> None:
        """Let go of all links; who waits gets ``StoreUnavailable``. Twice is fine."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        await self._keys.close()
        await self._search.close()

    async def _attempt(self, lane: Lane, packed: bytes) -> Any:
        """Send, within the deadline, unless the lane's breaker is open; errors become ours."""
        now = self._loop.time()
        probe = lane.breaker.admit(now)
        if probe is None:
            raise StoreUnavailable(f"{lane.node} has failed repeatedly: it is left alone for a moment")
        try:
            async with asyncio.timeout(self._timeout):
                if now >= self._look_at:
                    await self._look_again()
                node = lane.node
                try:
                    reply = await lane.ask(packed)
                except (redis_errors.MovedError, redis_errors.ReadOnlyError) as error:
                    await self._follow(error, node, lane)
                    reply = await lane.ask(packed)
        except redis_errors.NoScriptError:
            lane.breaker.succeeded()
            raise
        except _FAILED as error:
            failure = translate(error, str(lane.node), timeout_seconds=self._timeout)
            await self._note(lane, failure, probe=probe)
            raise failure from None
        except BaseException:
            lane.breaker.abandoned(probe=probe)
            raise
        lane.breaker.succeeded()
        return reply

    async def _note(self, lane: Lane, failure: YamabikoError, *, probe: bool) -> None:
        """What a failure says about the server: that it answers, or that it doesn't."""
        self.figures.out_of_memory += isinstance(failure, OutOfMemory)
        if type(failure) is not StoreUnavailable:
            lane.breaker.succeeded()
            return
        jitter = secrets.randbelow(1000) / 1000
        self.figures.breaker_openings += lane.breaker.failed(self._loop.time(), probe=probe, jitter=jitter)
        if lane is self._search and len(self._searchable) > 1:
            await self._search_elsewhere()
        else:
            self._look_at = 0.0

    async def _follow(self, error: Exception, node: Node, lane: Lane) -> None:
        """A node has sent us to another one, or is none that writes any more: learn who is."""
        if lane.node != node:
            return  # somebody else has learned it meanwhile
        target = moved_to(full_text(error), node)
        if target is not None:
            self._cluster = True
        elif self._cluster is False:
            await lane.hang_up()  # the same name may lead to another server now
            return
        await self._look_anew(target)

    async def _look_again(self) -> None:
        """It is time to read the topology: before anything else after a failure, else beside what goes on."""
        if self._cluster is False:
            self._look_at = math.inf
        elif self._look_at == 0.0:
            await self._look_anew(None)
        elif self._looking is None:
            self._start_looking(None)

    async def _look_anew(self, target: Node | None) -> None:
        """Read the topology; all who need it wait for the same reading, and a caller who goes away doesn't end it."""
        await asyncio.shield(self._looking or self._start_looking(target))

    def _start_looking(self, target: Node | None) -> asyncio.Task[None]:
        self._looking = self._loop.create_task(self._look(target))
        self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[None]) -> None:
        if self._looking is task:
            self._looking = None

    async def _look(self, target: Node | None) -> None:
        """Ask one node after the other for the shard that holds our slot; without an answer believe ``target``."""
        known = (target, self._shard.primary, *self._shard.replicas, self._seed)
        for node in dict.fromkeys(node for node in known if node is not None):
            try:
                async with asyncio.timeout(self._timeout / 2):
                    shard = shard_of(await self._ask_once(node), self._slot, node, names=self.address.tls)
            except redis_errors.ResponseError as error:
                if target is None and meaning(full_text(error)) is Meaning.NO_CLUSTER:
                    self._cluster = False
                break
            except _FAILED:
                continue
            if shard is not None:
                await self._adopt(shard)
                return
        await self._adopt(Shard(target or self._shard.primary, self._shard.replicas))

    async def _ask_once(self, node: Node) -> Any:
        """CLUSTER SLOTS, over a link of its own."""
        link = Link(self._dialer)
        try:
            await link.ready(node, replica=False)
            await link.send(pack(["CLUSTER", "SLOTS"]))
            return await link.read()
        finally:
            await link.drop()

    async def _adopt(self, shard: Shard) -> None:
        """Send what comes from now on to this shard."""
        self._look_at = self._loop.time() + TOPOLOGY_SECONDS
        moved = shard != self._shard
        self._shard = shard
        self._keys.node = shard.primary
        if moved:
            await self._keys.hang_up()
        nodes = self._searchable
        if self._search.node not in nodes or self._look_for_replicas_at == 0.0:
            await self._search_at(nodes[secrets.randbelow(max(1, len(nodes) - 1))])
            self._look_for_replicas_at = math.inf
        elif self._search.replica == (self._search.node == shard.primary):
            await self._search_at(self._search.node)  # the same node in its new role

    @property
    def _searchable(self) -> Sequence[Node]:
        """Where searches may go: replicas first, where the address says so, and the primary when they fail."""
        return (*self._shard.replicas, self._shard.primary) if self.address.replica_search else (self._shard.primary,)

    async def _search_elsewhere(self) -> None:
        """Send searches to the next node, and look for a better one after a while."""
        nodes = self._searchable
        if len(nodes) > 1:
            await self._search_at(nodes[(nodes.index(self._search.node) + 1) % len(nodes)])
            self._look_for_replicas_at = self._loop.time() + REPLICA_REST_SECONDS

    async def _search_at(self, node: Node) -> None:
        self._search.node, self._search.replica = node, node != self._shard.primary
        await self._search.hang_up()

    async def _arrive(self) -> None:
        """Find out whether this is a cluster, and who in it serves the cache."""
        if self._cluster is False:
            return
        try:
            shard = shard_of(await self._ask_once(self._seed), self._slot, self._seed, names=self.address.tls)
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
