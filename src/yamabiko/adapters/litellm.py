"""LiteLLM's cache over the path: ``litellm.cache = litellm_cache("sqlite:///cache.db")``.

LiteLLM asks with the messages and a key over everything else that changes an answer: model, sampling, tools, and on its
proxy who calls. That key is a part of what two requests must share; the messages are compared as everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from yamabiko.adapters.reach import Reach
from yamabiko.cache import Cache
from yamabiko.errors import InvalidRequest
from yamabiko.sync import SyncCache
from yamabiko.types import Controls, Hit, Miss, Reply, Request
from yamabiko.wire.dialects.chat import Chat
from yamabiko.wire.openai import messages_from, split_system
from yamabiko.wire.replay import keep, kept

API = "litellm"
"""The member of ``Reply.extra`` that holds LiteLLM's own form of an answer."""
CALLS = ("completion", "acompletion")
"""What is cached: chats, whole or as a stream. Embeddings and the rest pass by."""
_ANEW = Controls(read=False)


def litellm_cache(cache: Cache | SyncCache | str, *, tenant: str = "", tags: Sequence[str] = (), **options: Any) -> Any:
    """A ``litellm.Cache``. ``cache``: a URL, with ``options`` as for ``open_cache``, or an open one.

    An open ``Cache`` can be asked by ``acompletion`` alone, on its own loop. LiteLLM tells nobody that a call failed,
    so callers who ask the same at once each ask the model. Its ``ttl`` is not heeded: the policy's life holds. Answers
    that call tools are not stored. A cache that fails never fails a call: LiteLLM logs it.
    """
    made: Any = import_module("litellm").Cache(type="local", supported_call_types=list(CALLS))
    made.cache = Behind(cache, tenant=tenant, tags=tags, **options)
    made.max_messages = None  # earlier turns are compared, so that long conversations do no harm
    made._is_semantic_cache = _always  # noqa: SLF001 - its key must not hold the words, as for its own such caches
    return made


class Behind:
    """What ``litellm.Cache`` asks: ``get_cache`` and ``set_cache``, and the same for code that awaits."""

    def __init__(
        self, cache: Cache | SyncCache | str, *, tenant: str = "", tags: Sequence[str] = (), **options: Any
    ) -> None:
        self._reach = Reach(cache, **options)
        self._tenant = tenant
        self._tags = tuple(tags)
        self._chat = Chat()

    def get_cache(self, key: str, **asked: Any) -> Mapping[str, Any] | None:
        """The stored answer in LiteLLM's form; None where there is none."""
        request = self._request(key, asked)
        return None if request is None else self._reach.run(lambda cache: _found(cache, request))

    async def async_get_cache(self, key: str, **asked: Any) -> Mapping[str, Any] | None:
        """The same for code that awaits."""
        request = self._request(key, asked)
        return None if request is None else await self._reach.awaited(lambda cache: _found(cache, request))

    def set_cache(self, key: str, value: Mapping[str, Any], **asked: Any) -> None:
        """Keep an answer, if it is worth it."""
        request, reply = self._request(key, asked), self._reply(value)
        if request is not None and reply is not None:
            self._reach.run(lambda cache: _kept(cache, request, reply))

    async def async_set_cache(self, key: str, value: Mapping[str, Any], **asked: Any) -> None:
        """The same for code that awaits."""
        request, reply = self._request(key, asked), self._reply(value)
        if request is not None and reply is not None:
            await self._reach.awaited(lambda cache: _kept(cache, request, reply))

    async def disconnect(self) -> None:
        """Close the cache, if it was opened here."""
        self._reach.close()

    close = disconnect

    def _request(self, key: str, asked: Mapping[str, Any]) -> Request | None:
        try:
            system, turns = split_system(messages_from(json.loads(json.dumps(asked.get("messages"), default=_plain))))
        except (InvalidRequest, TypeError, ValueError):
            return None
        return Request(turns, system=system, tenant=self._tenant, tags=self._tags, sampling={API: key})

    def _reply(self, value: Mapping[str, Any]) -> Reply | None:
        told = value.get("response")
        try:
            body: Any = json.loads(told) if isinstance(told, str) else told
            reply = self._chat.reply(body)
        except (InvalidRequest, TypeError, ValueError, KeyError):
            return None
        return replace(reply, extra=keep(API, {"response": body}))


def _plain(value: Any) -> Any:
    """A message as an object where LiteLLM hands on one of its own."""
    return value.model_dump(exclude_none=True)


def _always() -> bool:
    return True


async def _found(cache: Cache, request: Request) -> Mapping[str, Any] | None:
    outcome = await cache.lookup(request)
    if not isinstance(outcome, Hit):
        return None
    api, rest = kept(outcome.reply)
    if api != API:
        return None
    return {"timestamp": outcome.entry.created, "response": json.dumps(rest["response"])}


async def _kept(cache: Cache, request: Request, reply: Reply) -> None:
    outcome = await cache.lookup(request, controls=_ANEW)
    if isinstance(outcome, Miss):
        await cache.remember(outcome, reply)
