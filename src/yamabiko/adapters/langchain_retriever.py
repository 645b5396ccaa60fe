"""LangChain's retrievers with a cache in front: the documents of the very same question, or of one of that meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

from yamabiko.adapters.langchain_caller import Callers, Who
from yamabiko.adapters.langchain_told import told_back
from yamabiko.adapters.reach import Reach
from yamabiko.cache import Cache
from yamabiko.errors import InvalidRequest
from yamabiko.sync import SyncCache
from yamabiko.types import Hit, Miss, Reply, Request, Source

TAG = "langchain-retriever"
"""Labels what was stored through this adapter."""


class CachedRetriever(BaseRetriever):
    """Another retriever, which is asked only for questions that the cache has no documents for.

    ``CachedRetriever(retriever=..., cache=..., version="2026-11")``. ``cache`` as for ``YamabikoCache``: best one of
    its own, since what is near enough for documents may be less near than what is near enough for an answer.
    ``version`` of the documents and whatever else changes what is found: it partitions the cache. ``who`` as for
    ``YamabikoCache``.

    The URIs in ``metadata[source_field]`` are the entry's sources: ``invalidate`` removes what was found in one.
    Documents whose metadata JSON can't give back unchanged are not stored, and nor is an empty list.
    """

    retriever: BaseRetriever
    version: str = ""
    source_field: str = "source"

    _reach: Reach = PrivateAttr()
    _callers: Callers = PrivateAttr()

    def __init__(self, *, cache: Cache | SyncCache | str, who: Who = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._reach = Reach(cache)
        self._callers = Callers(who)

    def invalidate(self, source: str) -> int:
        """Remove all that was found in this source; how many questions' documents went."""
        return self._reach.run(lambda cache: cache.purge(tag=TAG, source=source))

    async def ainvalidate(self, source: str) -> int:
        """The same for code that awaits."""
        return await self._reach.awaited(lambda cache: cache.purge(tag=TAG, source=source))

    def close(self) -> None:
        """Close the cache, if it was opened here. May be called twice."""
        self._reach.close()

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        request = self._request(query)
        found = None if request is None else self._reach.run(lambda cache: _looked_up(cache, request))
        if isinstance(found, Hit) and (documents := _documents(found.reply)) is not None:
            return documents
        documents = self.retriever.invoke(query, config={"callbacks": run_manager.get_child()})
        reply = self._reply(documents)
        if isinstance(found, Miss) and reply is not None:
            self._reach.run(lambda cache: cache.remember(found, reply))
        return documents

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        request = self._request(query)
        found = None if request is None else await self._reach.awaited(lambda cache: _looked_up(cache, request))
        if isinstance(found, Hit) and (documents := _documents(found.reply)) is not None:
            return documents
        documents = await self.retriever.ainvoke(query, config={"callbacks": run_manager.get_child()})
        reply = self._reply(documents)
        if isinstance(found, Miss) and reply is not None:
            await self._reach.awaited(lambda cache: cache.remember(found, reply))
        return documents

    def _request(self, query: str) -> Request | None:
        caller = self._callers.now()
        if caller is None:
            return None
        return Request(
            query,
            model="retriever",
            system=TAG,
            tenant=caller.tenant,
            user=caller.user,
            knowledge=self.version,
            tags=(TAG,),
            permissions=caller.permissions,
        )

    def _reply(self, documents: Sequence[Document]) -> Reply | None:
        """The documents as the Reply that is stored; None where they can't be given back as they are."""
        told = [{"id": one.id, "text": one.page_content, "metadata": one.metadata} for one in documents]
        if not told or not all(told_back(one) for one in told):
            return None
        named = (one.metadata.get(self.source_field) for one in documents)
        uris = dict.fromkeys(uri for uri in named if isinstance(uri, str) and uri)
        sources = tuple(Source(uri=uri) for uri in uris)
        return Reply(text=json.dumps(told, ensure_ascii=False), model="retriever", sources=sources)


async def _looked_up(cache: Cache, request: Request) -> Hit | Miss | None:
    try:
        return await cache.lookup(request)
    except InvalidRequest:  # a text that no encoding can write
        return None


def _documents(reply: Reply) -> list[Document] | None:
    """The stored documents; None where the reply holds none."""
    try:
        told = json.loads(reply.text)
    except ValueError:
        return None
    if not isinstance(told, list) or not all(isinstance(one, Mapping) for one in told):
        return None
    return [Document(id=one.get("id"), page_content=one["text"], metadata=one["metadata"]) for one in told]
