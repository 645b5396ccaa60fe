"""Bytes by their exact name in a cache's store: vectors of texts, results of nodes. Nothing here is matched by meaning.

They lie beside the answers, under the same budget, and no look-up ever finds them. A store that fails gives nothing and
keeps nothing: whoever asks computes once more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from yamabiko.adapters.langchain_caller import Caller
from yamabiko.attest import Attest
from yamabiko.cache import Cache
from yamabiko.core.freshness import freshness
from yamabiko.core.signing import SigningKeys
from yamabiko.errors import InvalidRequest, StoreError
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.types import Entry, Key, Question, Reply, Scope, Selector

Name: TypeAlias = tuple[str, ...]
"""What a value is found by, together with its kind and its caller."""

logger = logging.getLogger("yamabiko")
_VERSION = "yamabiko.value.1"
AT_ONCE = 32
"""Reads under way at once: a batch of a thousand texts must not take all connections."""


class Values:
    """Values of one ``kind``. ``signing_keys`` as in the settings: values are signed, and only signed ones believed.

    ``ttl_seconds``: life of a value whose own is not given. ``clock`` gives seconds UTC epoch.
    """

    def __init__(
        self,
        kind: str,
        *,
        ttl_seconds: float = math.inf,
        timeout_seconds: float = 2.0,
        signing_keys: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kind, self._ttl, self._timeout, self._clock = kind, ttl_seconds, timeout_seconds, clock
        self._attest = Attest(SigningKeys.parse(signing_keys), None)

    async def get(self, cache: Cache, names: Sequence[Name], caller: Caller) -> Mapping[Name, bytes]:
        """The values of those names that have one, alive, in the caller's partition."""
        slots = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(self._timeout):
                read = await asyncio.gather(*(self._read(cache, self._key(name, caller), slots) for name in names))
        except (StoreError, TimeoutError) as error:
            logger.warning("values can't be read: %s", type(error).__name__)
            return {}
        return {name: data for name, data in zip(names, read, strict=True) if data is not None}

    async def put(
        self,
        cache: Cache,
        values: Mapping[Name, tuple[bytes, float | None]],
        caller: Caller,
        *,
        tags: Sequence[str] = (),
    ) -> None:
        """Keep each value for its seconds, None being as long as any."""
        for name, (data, seconds) in values.items():
            entry = self._entry(self._key(name, caller), data, self._ttl if seconds is None else seconds, tags)
            try:
                async with asyncio.timeout(self._timeout):
                    await cache.store.put(entry, now=entry.created)
            except (StoreError, InvalidRequest, TimeoutError) as error:
                logger.warning("a value can't be kept: %s", type(error).__name__)
                return

    async def clear(self, cache: Cache, *, tag: str | None = None, tenant: str | None = None) -> None:
        """Remove the values of this kind, or those with this tag. Raises ``StoreError``."""
        await cache.store.purge(Selector(tag=tag or self._kind, tenant=tenant))

    async def _read(self, cache: Cache, key: Key, slots: asyncio.Semaphore) -> bytes | None:
        async with slots:
            entry = await cache.store.get(key)
        if entry is None or freshness(entry, self._clock()) == "dead" or self._attest.refusal(entry) is not None:
            return None
        cache.store.touch(entry.id)
        try:
            return base64.b64decode(entry.reply.text, validate=True)
        except (binascii.Error, ValueError):
            return None

    def _key(self, name: Name, caller: Caller) -> Key:
        # A store knows a scope by its digest, and the tenant by the scope.
        whose = (_VERSION, self._kind, caller.tenant, caller.user)
        allowed = (str(len(caller.permissions)), *sorted(caller.permissions))
        content, digest = _digest(whose), _digest((*whose, *allowed, *name))
        scope = Scope(content=content, digest=content, tenant=caller.tenant, user=caller.user, embedder=NO_EMBEDDER)
        return Key(scope=scope, digest=digest)

    def _entry(self, key: Key, data: bytes, seconds: float, tags: Sequence[str]) -> Entry:
        now = self._clock()
        entry = Entry(
            id=key.hex,
            scope=key.scope,
            questions=(Question(digest=key.digest, text=""),),
            reply=Reply(text=base64.b64encode(data).decode()),
            created=now,
            expires=now + seconds,
            stale_until=now + seconds,
            tags=(self._kind, *tags),
        )
        return self._attest.entry(entry)


def _digest(parts: Sequence[str]) -> bytes:
    return sha256("".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")).digest()
