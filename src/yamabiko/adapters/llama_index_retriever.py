"""LlamaIndex's retrievers with the cache in front: the nodes of the very same question, or of one of that meaning.

``cached_retriever(retriever, cache=cache)`` is a copy whose class inherits from the retriever's own: events, callbacks
and objects behind nodes are LlamaIndex's, before and behind the cache alike.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from yamabiko.adapters.llama_index import Held
from yamabiko.adapters.reach import Reach
from yamabiko.adapters.wrap_reading import Wishes
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.sync import SyncCache
from yamabiko.types import PLAIN, Controls, Hit, Reply, Request, Source

TAG = "llama-index-retriever"
"""Labels what was stored through this adapter."""
_KINDS = ("TextNode", "Document", "Node")
"""Nodes that are stored: they are what their fields say, and nothing else."""


class CachedNodes:
    """What a cached retriever does itself; all else is the retriever's own."""

    _yamabiko: Held
    _yamabiko_given: Any
    _yamabiko_source_field: str

    def invalidate(self, source: str) -> int:
        """Remove all that was found in this source; how many questions' nodes went."""
        return self._yamabiko.reach.run(lambda cache: cache.purge(tag=TAG, source=source))

    async def ainvalidate(self, source: str) -> int:
        """The same for code that awaits."""
        return await self._yamabiko.reach.awaited(lambda cache: cache.purge(tag=TAG, source=source))

    def close(self) -> None:
        """Close the cache, if it was opened here. May be called twice."""
        self._yamabiko.reach.close()

    def _retrieve(self, query_bundle: Any) -> list[Any]:
        held = self._yamabiko
        outcome = held.found(self._request(query_bundle))
        if isinstance(outcome, Hit) and (nodes := _nodes(outcome.reply)) is not None:
            return nodes
        found: list[Any] = self._yamabiko_given._retrieve(query_bundle)  # noqa: SLF001 - as retrieve() calls it
        held.keep(outcome, _reply(found, self._yamabiko_source_field))
        return found

    async def _aretrieve(self, query_bundle: Any) -> list[Any]:
        held = self._yamabiko
        outcome = await held.afound(self._request(query_bundle))
        if isinstance(outcome, Hit) and (nodes := _nodes(outcome.reply)) is not None:
            return nodes
        found: list[Any] = await self._yamabiko_given._aretrieve(query_bundle)  # noqa: SLF001 - the same
        await held.akeep(outcome, _reply(found, self._yamabiko_source_field))
        return found

    def _request(self, query: Any) -> Request | None:
        """What asks for the nodes; None for a query that holds more than its text."""
        if query.custom_embedding_strs or query.embedding or query.image_path:
            return None
        wishes = self._yamabiko.wishes
        try:
            return wishes.on(
                Request(query.query_str, model="retriever", system=TAG, tenant=wishes.tenant, user=wishes.user)
            )
        except InvalidRequest:
            return None


def cached_retriever(
    retriever: Any,
    *,
    cache: Cache | SyncCache | str,
    version: str = "",
    source_field: str = "source",
    tenant: str = "",
    user: str = "",
    permissions: Sequence[str] = (),
    controls: Controls = PLAIN,
) -> Any:
    """A retriever of the same class that asks the cache first, and then the given one, which stays as it was.

    ``cache``: an open ``SyncCache``, or a URL to open one at; an open ``Cache`` for ``aretrieve``, on its loop. Best
    one of its own, since what is near enough for passages may be less near than what is near enough for an answer.
    ``version`` of the documents and of whatever else changes what is found (number of nodes, filters): it partitions
    the cache. Tenants, users and sets of ``permissions`` share nothing.

    A node's ``metadata[source_field]``, or where it has none the id of its document (``ref_doc_id``), is a source of
    the entry: ``invalidate`` removes what was found in it. Nodes that JSON can't give back unchanged, images and nodes
    that stand for objects are not stored, and nor is an empty list. A query with an embedding, an image or texts of its
    own to be embedded is the retriever's. Raises ``ConfigurationError`` for what is no retriever of LlamaIndex.
    """
    library = sys.modules.get("llama_index.core.base.base_retriever")
    if library is None or not isinstance(retriever, library.BaseRetriever):
        raise ConfigurationError(f"cached_retriever() takes a retriever of LlamaIndex, not {type(retriever).__name__}")
    wishes = Wishes(
        tenant=tenant,
        user=user,
        knowledge=version,
        tags=(TAG,),
        permissions=tuple(permissions),
        controls=controls,
    )
    given = retriever._yamabiko_given if isinstance(retriever, CachedNodes) else retriever  # noqa: SLF001 - our own
    inherited: Any = type(given)
    kind: Any = type(inherited.__name__, (CachedNodes, inherited), {"__module__": __name__})
    made: Any = kind.__new__(kind)  # of another class: copied member by member, as copy.copy does
    made.__dict__.update(vars(given))
    made._yamabiko = Held(reach=Reach(cache), wishes=wishes)  # noqa: SLF001
    made._yamabiko_given = given  # noqa: SLF001
    made._yamabiko_source_field = source_field  # noqa: SLF001
    return made


def _schema() -> Any:
    return import_module("llama_index.core.schema")


def _reply(found: Sequence[Any], source_field: str) -> Reply | None:
    """The nodes as the Reply that is stored; None where they can't be given back as they are."""
    if not found:
        return None
    told = [{"score": one.score, "kind": type(one.node).__name__, "node": one.node.to_dict()} for one in found]
    try:
        text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return None
    reply = Reply(text=text, model="retriever", sources=_sources(found, source_field))
    return reply if _nodes(reply) == list(found) else None


def _sources(found: Sequence[Any], source_field: str) -> tuple[Source, ...]:
    named = (one.node.metadata.get(source_field) or one.node.ref_doc_id for one in found)
    return tuple(Source(uri=uri) for uri in dict.fromkeys(named) if isinstance(uri, str) and uri)


def _nodes(reply: Reply) -> list[Any] | None:
    """The stored nodes, new objects each time; None where the reply holds none."""
    schema = _schema()
    try:
        told = json.loads(reply.text)
        if not all(one["kind"] in _KINDS for one in told):
            return None
        kinds = [getattr(schema, one["kind"]) for one in told]
        nodes = [kind.from_dict(one["node"]) for kind, one in zip(kinds, told, strict=True)]
        return [schema.NodeWithScore(node=node, score=one["score"]) for node, one in zip(nodes, told, strict=True)]
    except (ValueError, TypeError, KeyError):  # pydantic's errors are ValueErrors
        return None
