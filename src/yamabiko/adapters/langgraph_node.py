"""A node of LangGraph behind the path: it runs only for questions that the cache has no answer for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_stream_writer
from langgraph.constants import TAG_NOSTREAM
from langgraph.pregel import Pregel

from yamabiko.adapters.langchain_caller import Callers, Who
from yamabiko.adapters.langgraph_echo import EchoModel
from yamabiko.adapters.langgraph_update import reply_of, update_of
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError
from yamabiko.types import PLAIN, Controls, Hit, Reply, Request
from yamabiko.wire.langchain import request_from

Node: TypeAlias = Callable[..., Any] | Runnable[Any, Any]
"""An async generator function, a compiled graph, any other Runnable, or a function, async or not."""
Asks: TypeAlias = Callable[[Any], str | Request | None]


def semantic_node(
    node: Node,
    cache: Cache,
    *,
    question: str | Asks = "question",
    answer: str = "answer",
    outcome: str = "",
    version: str = "",
    name: str = "",
    who: Who = None,
    controls: Controls = PLAIN,
) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """``node``, run only where the cache has no answer; one run for all who ask the same meanwhile.

    ``question``: the key of the state that holds it (a text, or messages, of which the last is the question), or a
    function of the state that gives a text, a ``Request``, or None where the cache is not to be asked. ``answer``: the
    key of the node's update that holds a text, a message or a list that ends with one. ``outcome``: a key that gets
    "exact", "semantic", "verified", "miss" or "off". ``version``: of the documents behind the answer. ``name``: of the
    node, whose answers no other node is given; the function's name if empty. ``who``: see ``YamabikoCache``.

    An async generator function yields the pieces of its answer, and may yield its update last. A compiled graph streams
    those that it writes in mode "custom", as texts or as ``{answer: text}``. Both are heard in mode "custom" as
    ``{answer: piece}`` and in mode "messages" as a model's chunks, whether the node runs or the cache answers. What
    any other node streams by itself is heard when it runs; when the cache answers, its answer is.

    Raises ``ConfigurationError`` when run, where the update can't be stored: see ``langgraph_update.reply_of``.
    """
    if not isinstance(cache, Cache):
        raise ConfigurationError("semantic_node() takes an open Cache, of open_cache(): the graph must be run by await")
    asks = question if callable(question) else _by_key(question)
    inner = _Inner(node, answer)
    said = name or getattr(node, "name", "") or getattr(node, "__name__", "") or type(node).__name__
    callers = Callers(who)

    async def cached(state: Any) -> dict[str, Any]:
        request = _request(asks(state), callers, said, version)
        if request is None:
            update = await inner.update(state)
            return _with(update, outcome, "off")
        asked = _Asked(cache, request, controls, answer)
        if inner.speaks:
            update, told = await asked.streamed(inner, state)
        else:
            update, told = await asked.answered(inner, state)
        return _with(update, outcome, told)

    cached.__name__ = said
    return cached


class _Inner:
    """The wrapped node: how it is run, and whether it says its answer in pieces."""

    def __init__(self, node: Node, answer: str) -> None:
        self._node = node
        self.answer = answer
        self._generates = inspect.isasyncgenfunction(node)
        self.speaks = self._generates or isinstance(node, Pregel)

    async def update(self, state: Any) -> Mapping[str, Any]:
        """What the node writes, when it is run without a cache or does not speak."""
        if self._generates:
            last: Mapping[str, Any] = {}
            pieces = []
            async for item in self._called(state):
                if isinstance(item, Mapping):
                    last = item
                else:
                    pieces.append(item)
            return {self.answer: "".join(pieces), **last}
        if isinstance(self._node, Runnable):
            update = await self._node.ainvoke(state)
        elif inspect.iscoroutinefunction(self._node):
            update = await self._called(state)
        else:
            update = await asyncio.to_thread(self._called, state)
        if not isinstance(update, Mapping):
            raise ConfigurationError(f"a node behind the cache returns a mapping, not {type(update).__name__}")
        return update

    async def pieces(self, state: Any) -> AsyncIterator[str | Reply]:
        """What the node says, and last the Reply with the rest of its update. A ``StreamGenerate``, but for the state.

        It runs for all who wait, so what it says is streamed by each of them, and not from here.
        """
        config = _detached(var_child_runnable_config.get())
        var_child_runnable_config.set(config)  # of the task that runs this, and of no other
        update: Mapping[str, Any] = {}
        said = ""
        source = self._streamed(state, config) if isinstance(self._node, Pregel) else self._called(state)
        async for item in source:
            if isinstance(item, Mapping):
                update = item
            elif item:
                said += item
                yield item
        last = reply_of({self.answer: said, **update}, self.answer)
        if not said and last.text:
            yield last.text
        yield last

    async def _streamed(self, state: Any, config: RunnableConfig) -> AsyncIterator[str | Mapping[str, Any]]:
        values: Any = {}
        graph: Any = self._node
        async for mode, item in graph.astream(state, config, stream_mode=["custom", "values"]):
            if mode == "values":
                values = item
            elif (piece := item.get(self.answer) if isinstance(item, Mapping) else item) and isinstance(piece, str):
                yield piece
        yield {key: value for key, value in values.items() if _read(state, key) != value}

    def _called(self, state: Any) -> Any:
        node: Any = self._node
        if "config" in inspect.signature(node).parameters:
            return node(state, config=var_child_runnable_config.get() or {})
        return node(state)


@dataclass(slots=True)
class _Asked:
    """One question to the cache, within a run of the graph."""

    cache: Cache
    request: Request
    controls: Controls
    answer: str

    async def streamed(self, inner: _Inner, state: Any) -> tuple[dict[str, Any], str]:
        """The update and the outcome of a node that speaks; each piece is streamed, whoever says it."""
        stream = self.cache.stream(self.request, lambda _: inner.pieces(state), controls=self.controls)
        try:
            message = await self._heard(aiter(stream))
        finally:
            await stream.aclose()
        if stream.reply is None:
            raise ConfigurationError("the stream ended without a reply")
        told = stream.outcome.tier if isinstance(stream.outcome, Hit) else "miss"
        return _named(
            update_of(stream.reply, self.answer, as_message=self.answer == "messages"), self.answer, message
        ), told

    async def answered(self, inner: _Inner, state: Any) -> tuple[dict[str, Any], str]:
        """The update and the outcome of any other node; only what the cache says is streamed here."""
        own: list[Mapping[str, Any]] = []

        async def generate(_: Request) -> Reply:
            update = await inner.update(state)
            own.append(update)
            return reply_of(update, self.answer)

        reply = await self.cache.answer(self.request, generate, controls=self.controls)
        if own:
            return dict(own[0]), "miss"
        message = await self._heard(_each(reply))
        return _named(update_of(reply, self.answer, as_message=self.answer == "messages"), self.answer, message), "hit"

    async def _heard(self, pieces: AsyncIterator[str]) -> AIMessage:
        write = get_stream_writer()

        async def written() -> AsyncIterator[str]:
            async for piece in pieces:
                if piece:
                    write({self.answer: piece})
                    yield piece

        return await EchoModel(written()).heard(self.request.messages[-1].text)


def _request(asked: str | Request | None, callers: Callers, name: str, version: str) -> Request | None:
    """What the cache is asked, for whom; None where it is not to be asked, or nobody is known to ask."""
    if asked is None or isinstance(asked, Request):
        return asked
    caller = callers.now()
    if caller is None:
        return None
    return request_from(
        asked,
        f"langgraph node {name}",
        tenant=caller.tenant,
        user=caller.user,
        permissions=caller.permissions,
        knowledge=version,
        tags=("langgraph",),
    )


def _by_key(key: str) -> Asks:
    def asks(state: Any) -> str | None:
        value = _read(state, key)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(one, BaseMessage) for one in value):
            return dumps([one.model_copy(update={"id": None}) for one in value])
        raise ConfigurationError(f"the state's {key!r:.60} is the question: a text, or a list of messages")

    return asks


def _read(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


async def _each(reply: Reply) -> AsyncIterator[str]:
    for piece in reply.chunks():
        yield piece


def _named(update: dict[str, Any], answer: str, heard: AIMessage) -> dict[str, Any]:
    """The update with the id that its message was streamed under, or LangGraph would stream it once more."""
    value = update[answer]
    last = value[-1] if isinstance(value, list) and value else value
    if isinstance(last, BaseMessage):
        last.id = heard.id
    return update


def _with(update: Mapping[str, Any], key: str, told: str) -> dict[str, Any]:
    return {**update, key: told} if key else dict(update)


def _detached(config: RunnableConfig | None) -> RunnableConfig:
    """The configuration for a run that belongs to no single caller: its own stream, and nothing of it in theirs."""
    given: RunnableConfig = config or {}
    inner: RunnableConfig = {"tags": [*(given.get("tags") or []), TAG_NOSTREAM]}
    if "callbacks" in given:
        inner["callbacks"] = given["callbacks"]
    configurable = {key: value for key, value in (given.get("configurable") or {}).items() if not key.startswith("__")}
    inner["configurable"] = {key: value for key, value in configurable.items() if not key.startswith("checkpoint")}
    return inner
