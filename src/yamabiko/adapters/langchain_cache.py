"""LangChain's LLM cache over the path: ``lookup`` is steps 1 to 7, ``update`` is step 9."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.outputs import Generation

from yamabiko.adapters.langchain_caller import Callers, Who
from yamabiko.adapters.langchain_told import generations_of, reply_of
from yamabiko.adapters.reach import Reach
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.sync import SyncCache
from yamabiko.types import Controls, Hit, Miss, Request
from yamabiko.wire.langchain import asks_for_several, is_chat, offers_tools, request_from

TAG = "langchain"
"""Labels what was stored through this adapter; ``clear()`` removes nothing else."""
KNOWN = 256
"""How many look-ups are remembered until their answers come; after that an answer is looked up once more."""
GIVEN_UP_SECONDS = 300.0
"""A generation that takes longer than this has failed: nobody tells a cache."""
_ANEW = Controls(read=False)
_CONDITIONS = ("model", "tenant", "user", "tag", "source")


@dataclass(slots=True)
class _Asked:
    """A miss whose answer is being made: how many make it, since when, and whether it has come."""

    miss: Miss
    since: float
    makers: int = 1
    come: asyncio.Event = field(default_factory=asyncio.Event)


class YamabikoCache(BaseCache):
    """``set_llm_cache(YamabikoCache("sqlite:///cache.db"))``: LangChain's models answer from a semantic cache.

    ``cache``: a URL, with ``options`` as for ``open_cache``; what ``open_sync_cache`` returned; or an open ``Cache``,
    which only code that awaits on its loop can ask.
    ``who`` says for whom a call is: see ``Who``. Tenants and users never share answers.
    ``tool_calls``: replies that call tools are kept as well; models that are offered tools then get an answer only to
    the very same request. Without it such replies are not stored.
    ``wait_seconds``: a look-up for what another caller is having made waits so long for it (0: not at all). LangChain
    tells no cache that a generation failed; whoever waits for that one waits in vain.

    A request for several generations is answered only to the very same request; several that were not asked for by
    ``n`` or ``candidate_count`` are not stored. A cache that fails never fails a call of the model.
    """

    def __init__(
        self,
        cache: Cache | SyncCache | str,
        *,
        who: Who = None,
        tool_calls: bool = False,
        wait_seconds: float = 0.0,
        **options: Any,
    ) -> None:
        if not wait_seconds >= 0:
            raise ConfigurationError(f"wait_seconds must be 0 or more, not {wait_seconds}")
        self._reach = Reach(cache, **options)
        self._callers = Callers(who)
        self._tool_calls = tool_calls
        self._wait = wait_seconds
        self._asked: OrderedDict[Request, _Asked] = OrderedDict()  # touched on the cache's loop only

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The stored generations, as they were; None where there are none."""
        request = self._request(prompt, llm_string)
        if request is None:
            return None
        return self._reach.run(lambda cache: self._look_up(cache, request, prompt))

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """The same for code that awaits."""
        request = self._request(prompt, llm_string)
        if request is None:
            return None
        return await self._reach.awaited(lambda cache: self._look_up(cache, request, prompt))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store what a model has made, if it is an answer worth keeping."""
        request = self._request(prompt, llm_string)
        if request is not None:
            self._reach.run(lambda cache: self._store(cache, request, llm_string, return_val))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """The same for code that awaits."""
        request = self._request(prompt, llm_string)
        if request is not None:
            await self._reach.awaited(lambda cache: self._store(cache, request, llm_string, return_val))

    def clear(self, **kwargs: Any) -> None:
        """Remove what was stored through this adapter and fits: ``model``, ``tenant``, ``user``, ``tag``, ``source``.

        Within ``asked_by`` only that tenant's, unless ``tenant`` says otherwise. Raises ``ConfigurationError`` for
        another condition.
        """
        conditions = self._conditions(kwargs)
        self._reach.run(lambda cache: cache.purge(**conditions))

    async def aclear(self, **kwargs: Any) -> None:
        """The same for code that awaits."""
        conditions = self._conditions(kwargs)
        await self._reach.awaited(lambda cache: cache.purge(**conditions))

    def close(self) -> None:
        """Close the cache, if this adapter has opened it. May be called twice."""
        self._reach.close()

    def _request(self, prompt: str, llm_string: str) -> Request | None:
        """What is asked, for whom; None where nobody is known to ask, or no one could."""
        caller = self._callers.now()
        if caller is None:
            return None
        to_the_letter = asks_for_several(llm_string) or (self._tool_calls and offers_tools(llm_string))
        try:
            return request_from(
                prompt,
                llm_string,
                tenant=caller.tenant,
                user=caller.user,
                permissions=caller.permissions,
                tags=(TAG,),
                to_the_letter=to_the_letter,
            )
        except InvalidRequest:
            return None

    async def _look_up(self, cache: Cache, request: Request, prompt: str) -> list[Generation] | None:
        try:
            outcome = await cache.lookup(request)
            if isinstance(outcome, Miss) and await self._comes(outcome):
                outcome = await cache.lookup(request)
        except InvalidRequest:  # a text that no encoding can write: the model will say what it thinks of it
            return None
        if isinstance(outcome, Hit):
            return generations_of(outcome, chat=is_chat(prompt))
        self._remember(outcome)
        return None

    async def _comes(self, miss: Miss) -> bool:
        """Whether somebody else's answer to the same question came while this one waited for it."""
        asked = self._asked.get(miss.request)
        if asked is None or not self._wait:
            return False
        left = asked.since + self._wait - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.0)):
                await asked.come.wait()
        except TimeoutError:
            return False
        return True

    def _remember(self, miss: Miss) -> None:
        if miss.key is None:
            return
        now, asked = time.monotonic(), self._asked.get(miss.request)
        if asked is not None and now - asked.since < GIVEN_UP_SECONDS:
            asked.makers += 1
            asked.miss = miss
            return
        self._asked[miss.request] = _Asked(miss, now)
        self._asked.move_to_end(miss.request)
        while len(self._asked) > KNOWN:
            _, forgotten = self._asked.popitem(last=False)
            forgotten.come.set()

    async def _store(self, cache: Cache, request: Request, llm_string: str, generations: Sequence[Generation]) -> None:
        asked = self._asked.get(request)
        if asked is not None:
            asked.makers -= 1
            if not asked.makers:
                del self._asked[request]
        try:
            if len(generations) > 1 and not asks_for_several(llm_string):
                return
            seconds = 0.0 if asked is None else time.monotonic() - asked.since
            reply = reply_of(generations, tool_calls=self._tool_calls, latency_seconds=seconds)
            miss = await cache.lookup(request, controls=_ANEW) if asked is None else asked.miss
            if reply is not None and isinstance(miss, Miss):
                await cache.remember(miss, reply)
        except InvalidRequest:
            return
        finally:
            if asked is not None:
                asked.come.set()

    def _conditions(self, given: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(given.keys() - set(_CONDITIONS))
        if unknown:
            raise ConfigurationError(f"clear() takes {', '.join(_CONDITIONS)}, not {unknown[0]!r:.60}")
        caller = self._callers.now()
        tenant = {"tenant": caller.tenant} if caller is not None and caller.tenant else {}
        return {"tag": TAG, **tenant, **given}
