"""LangGraph's node cache in our stores: the very same input gives what the node wrote for it, after a restart too.

LangGraph makes the key, by default of the node's whole input; nothing here is matched by meaning. A result is written
and read by LangGraph's serializer, which can make objects of importable classes: let nobody write to the store whom you
would not let run code, or sign (``signing_keys``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langgraph.cache.base import BaseCache, FullKey, Namespace, ValueT
from langgraph.checkpoint.serde.base import SerializerProtocol

from yamabiko.adapters.langchain_caller import Caller, Callers, Who
from yamabiko.adapters.langchain_values import Name, Values
from yamabiko.adapters.reach import Reach
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError
from yamabiko.message import canonical_json
from yamabiko.sync import SyncCache

KIND = "langgraph"
"""Labels what was stored through this adapter; ``clear()`` removes nothing else."""
_Pairs: TypeAlias = Mapping[FullKey, tuple[ValueT, int | None]]


class YamabikoNodeCache(BaseCache[ValueT]):
    """``graph.compile(cache=YamabikoNodeCache("sqlite:///nodes.db"))``, with ``cache_policy=CachePolicy()`` of a node.

    ``cache``: as for ``YamabikoCache``; a URL opens one without an embedder. ``version``: results of another version
    are not found; raise it when what a node does changes, which LangGraph's key does not tell. ``who``: as for
    ``YamabikoCache``; tenants and users never share results. ``ttl_seconds``: life where a policy has no ``ttl``.
    ``signing_keys``: as in the settings; what is not signed is not believed.
    """

    def __init__(
        self,
        cache: Cache | SyncCache | str,
        *,
        version: str = "",
        who: Who = None,
        ttl_seconds: float = math.inf,
        signing_keys: str = "",
        serde: SerializerProtocol | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(serde=serde)
        if not ttl_seconds > 0:
            raise ConfigurationError(f"ttl_seconds must be above 0, not {ttl_seconds}")
        options: dict[str, Any] = {"embedder": "none"} if isinstance(cache, str) else {}
        self._reach = Reach(cache, **options)
        self._version = version
        self._callers = Callers(who)
        self._values = Values(KIND, ttl_seconds=ttl_seconds, signing_keys=signing_keys, clock=clock)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The results of those keys that have one."""
        caller, names = self._asked(keys)
        if caller is None or not names:
            return {}
        return self._loaded(names, self._reach.run(lambda cache: self._values.get(cache, list(names), caller)))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The same for code that awaits."""
        caller, names = self._asked(keys)
        if caller is None or not names:
            return {}
        values = await self._reach.awaited(lambda cache: self._values.get(cache, list(names), caller))
        return self._loaded(names, values)

    def set(self, pairs: _Pairs[ValueT]) -> None:
        """Keep results, each for its seconds."""
        caller = self._callers.now()
        if caller is not None:
            for namespace, values in self._dumped(pairs).items():
                self._reach.run(self._putting(namespace, values, caller))

    async def aset(self, pairs: _Pairs[ValueT]) -> None:
        """The same for code that awaits."""
        caller = self._callers.now()
        if caller is not None:
            for namespace, values in self._dumped(pairs).items():
                await self._reach.awaited(self._putting(namespace, values, caller))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Remove the results in these namespaces; without any, all. Within ``asked_by``, that tenant's only."""
        for tag in self._tags(namespaces):
            self._reach.run(self._clearing(tag))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """The same for code that awaits."""
        for tag in self._tags(namespaces):
            await self._reach.awaited(self._clearing(tag))

    def close(self) -> None:
        """Close the cache, if it was opened here. May be called twice."""
        self._reach.close()

    def _asked(self, keys: Sequence[FullKey]) -> tuple[Caller | None, dict[Name, FullKey]]:
        return self._callers.now(), {self._name(key): key for key in keys}

    def _name(self, key: FullKey) -> Name:
        namespace = key[0]
        name: object = key[1]  # of bytes where LangGraph's own function makes it, whatever its types say
        told = name.hex() if isinstance(name, bytes) else str(name)
        return (self._version, _tag(namespace), type(name).__name__, told)

    def _loaded(self, names: Mapping[Name, FullKey], values: Mapping[Name, bytes]) -> dict[FullKey, ValueT]:
        loaded: dict[FullKey, ValueT] = {}
        for name, data in values.items():
            encoding, _, written = data.partition(b"\n")
            loaded[names[name]] = self.serde.loads_typed((encoding.decode(), written))
        return loaded

    def _dumped(self, pairs: _Pairs[ValueT]) -> Mapping[str, dict[Name, tuple[bytes, float | None]]]:
        """By namespace, since each value is labelled with its own."""
        dumped: dict[str, dict[Name, tuple[bytes, float | None]]] = {}
        for key, (value, seconds) in pairs.items():
            encoding, written = self.serde.dumps_typed(value)
            dumped.setdefault(_tag(key[0]), {})[self._name(key)] = (encoding.encode() + b"\n" + written, seconds)
        return dumped

    def _putting(self, tag: str, values: Mapping[Name, tuple[bytes, float | None]], caller: Caller) -> Any:
        return lambda cache: self._values.put(cache, values, caller, tags=(tag,))

    def _clearing(self, tag: str | None) -> Any:
        caller = self._callers.now()
        tenant = caller.tenant if caller is not None and caller.tenant else None
        return lambda cache: self._values.clear(cache, tag=tag, tenant=tenant)

    def _tags(self, namespaces: Sequence[Namespace] | None) -> Sequence[str | None]:
        return [None] if namespaces is None else [_tag(namespace) for namespace in namespaces]


def _tag(namespace: Namespace) -> str:
    return KIND + canonical_json(list(namespace))
