"""Find out which nodes serve a cache, from whichever node of the cluster is there to be asked.

A shard's primary and replicas may all be other ones when they are needed next: so every node that was ever heard of is
kept, and when those that served us are gone, the others are asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from yamabiko.errors import YamabikoError
from yamabiko.stores.memorydb.failures import redis_errors
from yamabiko.stores.memorydb.link import Dialer, Link, pack
from yamabiko.stores.memorydb.topology import Node, Shard, nodes_of, shard_of

KNOWN: Final = 32
"""So many nodes are kept; those that were not heard of for the longest time are forgotten."""

OVERLAP_SECONDS: Final = 0.5
"""After so long without an answer the next node is asked as well."""

FAILED: Final = (redis_errors.RedisError, OSError, ValueError, YamabikoError)
"""What may come out of a link; ``TimeoutError`` is an ``OSError``, and redis-py reads a malformed MOVED as a number."""


class Discovery:
    """Asks for the shard that holds ``slot``. ``names``: by host names, where nodes have them."""

    def __init__(self, dialer: Dialer, seed: Node, slot: int, *, names: bool, timeout_seconds: float) -> None:
        self._dialer = dialer
        self._seed = seed
        self._slot = slot
        self._names = names
        self._timeout = timeout_seconds
        self._ids: dict[Node, bytes] = {}

    @property
    def known(self) -> tuple[Node, ...]:
        """Every node that is remembered, the one heard of last first."""
        return tuple(reversed(self._ids))

    async def ask(self, node: Node) -> Shard | None:
        """What one node says; None where no node holds the slot. Raises what a link raises."""
        return self._learn(node, await self._slots(node))

    async def find(self, target: Node | None, current: Shard, *, doubted: bool) -> Shard | None:
        """The first usable answer of ``target``, the shard so far, the seed, and every other node ever heard of.

        ``doubted``: the primary has failed, and its replicas are asked before it. None where nobody answers. Raises
        ``ResponseError`` where all who answer refuse to tell.
        """
        order = (*current.replicas, current.primary) if doubted else (current.primary, *current.replicas)
        trusted = {self._seed} if target is None else {self._seed, target}
        first = () if target is None else (target,)
        waiting = deque(dict.fromkeys((*first, *order, self._seed, *self.known)))
        asked: set[asyncio.Task[Shard | Exception | None]] = set()
        refusal: Exception | None = None
        try:
            while waiting or asked:
                if waiting:
                    node = waiting.popleft()
                    asked.add(asyncio.create_task(self._try(node, trusted=node in trusted)))
                pause = min(OVERLAP_SECONDS, self._timeout / 8) if waiting else None
                done, asked = await asyncio.wait(asked, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for answer in [task.result() for task in done]:
                    if isinstance(answer, Exception):
                        refusal = answer
                    elif answer is not None:
                        return answer
            if refusal is not None:
                raise refusal
            return None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _try(self, node: Node, *, trusted: bool) -> Shard | Exception | None:
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._slots(node)
        except redis_errors.ResponseError as error:
            return error
        except FAILED:
            return None
        # An address may be another cluster's by now. Ours has a node that we know.
        known, told = set(self._ids.values()) - {b""}, set(nodes_of(reply, node, names=self._names).values()) - {b""}
        return self._learn(node, reply) if trusted or not known or not told or known & told else None

    async def _slots(self, node: Node) -> Any:
        """CLUSTER SLOTS, over a link of its own."""
        link = Link(self._dialer)
        try:
            await link.ready(node, replica=False)
            await link.send(pack(["CLUSTER", "SLOTS"]))
            return await link.read()
        finally:
            await link.drop()

    def _learn(self, asked: Node, reply: object) -> Shard | None:
        shard = shard_of(reply, self._slot, asked, names=self._names)
        ids = nodes_of(reply, asked, names=self._names)
        ours = (*shard.replicas, shard.primary) if shard is not None else ()
        for node in dict.fromkeys((*(node for node in ids if node not in ours), *ours)):
            self._ids.pop(node, None)  # what was heard of last stands last
            self._ids[node] = ids.get(node, b"")
        while len(self._ids) > KNOWN:
            del self._ids[next(iter(self._ids))]
        return shard
