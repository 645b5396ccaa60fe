"""LlamaIndex's language models, with the cache in front of them: ``cached(llm, cache=cache)``.

A cached model is a copy whose class inherits from the model's own: ``chat``, ``complete``, their streams and the same
for code that awaits look into the cache; all else, calls of functions included, is the model's.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from yamabiko.adapters.reach import Reach
from yamabiko.adapters.wrap_reading import Wishes
from yamabiko.cache import Cache
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.lookup import Outcome
from yamabiko.message import Message, canonical_json
from yamabiko.sync import SyncCache
from yamabiko.types import PLAIN, Controls, Hit, Miss, Reply, Request
from yamabiko.wire.openai import split_system

_UNSAID = frozenset({"callback_manager", "api_key", "default_headers", "additional_headers"})
"""Members of a model that change no answer, or are secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A cache, and what is asked of it for one model."""

    reach: Reach
    wishes: Wishes

    def found(self, request: Request | None) -> Outcome | None:
        """What the cache says; None for what it can't be asked."""
        return None if request is None else self.reach.run(lambda cache: self._looked_up(cache, request))

    async def afound(self, request: Request | None) -> Outcome | None:
        """The same for code that awaits."""
        if request is None:
            return None
        return await self.reach.awaited(lambda cache: self._looked_up(cache, request))

    def keep(self, outcome: Outcome | None, reply: Reply | None) -> None:
        """Keep an answer that was made for a miss."""
        if isinstance(outcome, Miss) and reply is not None:
            self.reach.run(lambda c: c.remember(outcome, reply))

    async def akeep(self, outcome: Outcome | None, reply: Reply | None) -> None:
        """The same for code that awaits."""
        if isinstance(outcome, Miss) and reply is not None:
            await self.reach.awaited(lambda c: c.remember(outcome, reply))

    async def _looked_up(self, cache: Cache, request: Request) -> Outcome | None:
        try:
            return await cache.lookup(request, controls=self.wishes.controls)
        except InvalidRequest:  # a text that no encoding can write
            return None


class Cached:
    """What a cached model does itself; all else is the model's own."""

    _yamabiko: Held

    def chat(self, messages: Sequence[Any], **options: Any) -> Any:
        """The model's ``chat``; raises what it raises."""
        held, ask = self._yamabiko, self._own("chat")
        outcome = held.found(self._chat_request(messages, options))
        if isinstance(outcome, Hit):
            return _chatted(outcome.reply.text, outcome)
        answer = ask(messages, **options)
        held.keep(outcome, _reply(answer))
        return answer

    async def achat(self, messages: Sequence[Any], **options: Any) -> Any:
        """The same for code that awaits."""
        held, ask = self._yamabiko, self._own("achat")
        outcome = await held.afound(self._chat_request(messages, options))
        if isinstance(outcome, Hit):
            return _chatted(outcome.reply.text, outcome)
        answer = await ask(messages, **options)
        await held.akeep(outcome, _reply(answer))
        return answer

    def stream_chat(self, messages: Sequence[Any], **options: Any) -> Iterator[Any]:
        """The same in pieces; a stored answer in those that it was once streamed in."""
        held, ask = self._yamabiko, self._own("stream_chat")
        outcome = held.found(self._chat_request(messages, options))
        return (
            _replayed(outcome, _chatted)
            if isinstance(outcome, Hit)
            else _heard(held, outcome, ask(messages, **options))
        )

    async def astream_chat(self, messages: Sequence[Any], **options: Any) -> AsyncIterator[Any]:
        """The same for code that awaits."""
        held, ask = self._yamabiko, self._own("astream_chat")
        outcome = await held.afound(self._chat_request(messages, options))
        if isinstance(outcome, Hit):
            return _awaited(_replayed(outcome, _chatted))
        return _aheard(held, outcome, await ask(messages, **options))

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        """The model's ``complete``; raises what it raises."""
        held, ask = self._yamabiko, self._own("complete")
        outcome = held.found(self._request([_prompt(prompt, formatted)], "complete", options))
        if isinstance(outcome, Hit):
            return _completed(outcome.reply.text, outcome)
        answer = ask(prompt, formatted=formatted, **options)
        held.keep(outcome, _reply(answer))
        return answer

    async def acomplete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        """The same for code that awaits."""
        held, ask = self._yamabiko, self._own("acomplete")
        outcome = await held.afound(self._request([_prompt(prompt, formatted)], "complete", options))
        if isinstance(outcome, Hit):
            return _completed(outcome.reply.text, outcome)
        answer = await ask(prompt, formatted=formatted, **options)
        await held.akeep(outcome, _reply(answer))
        return answer

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Iterator[Any]:
        """The same in pieces; a stored answer in those that it was once streamed in."""
        held, ask = self._yamabiko, self._own("stream_complete")
        outcome = held.found(self._request([_prompt(prompt, formatted)], "complete", options))
        if isinstance(outcome, Hit):
            return _replayed(outcome, _completed)
        return _heard(held, outcome, ask(prompt, formatted=formatted, **options))

    async def astream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> AsyncIterator[Any]:
        """The same for code that awaits."""
        held, ask = self._yamabiko, self._own("astream_complete")
        outcome = await held.afound(self._request([_prompt(prompt, formatted)], "complete", options))
        if isinstance(outcome, Hit):
            return _awaited(_replayed(outcome, _completed))
        return _aheard(held, outcome, await ask(prompt, formatted=formatted, **options))

    def _own(self, name: str) -> Any:
        """A method as the model's class has it, which comes after this one."""
        return getattr(super(), name)

    def _chat_request(self, messages: Sequence[Any], options: Mapping[str, Any]) -> Request | None:
        try:
            turns = [_message(message.model_dump(mode="json")) for message in messages]
        except (InvalidRequest, AttributeError, ValueError):
            return None
        return self._request(turns, "chat", options)

    def _request(self, turns: list[Message], way: str, options: Mapping[str, Any]) -> Request | None:
        """What is asked, with the whole of what the model is configured with; None for what is not JSON."""
        me: Any = self
        wishes = self._yamabiko.wishes
        try:
            made = {name: value for name, value in me.to_dict().items() if name not in _UNSAID}
            said = {"class": type(self).__mro__[2].__qualname__, "model": made, "options": options}
            sampling = {"llama_index": said | {"way": way}}
            system, turns = split_system(turns)
            name = str(me.metadata.model_name)
            request = Request(
                turns, system=system, model=name, tenant=wishes.tenant, user=wishes.user, sampling=sampling
            )
        except InvalidRequest:
            return None
        return wishes.on(request)


def cached(
    llm: Any,
    *,
    cache: Cache | SyncCache | str,
    tenant: str = "",
    user: str = "",
    knowledge: str = "",
    tags: Sequence[str] = (),
    permissions: Sequence[str] = (),
    controls: Controls = PLAIN,
) -> Any:
    """A model of the same class that asks the cache first; the given one stays as it was.

    ``cache``: an open ``SyncCache``, or a URL to open one at; an open ``Cache`` for methods that await, on its loop.
    The rest is as for ``wrap``. What the model is configured with counts, and so do the arguments of each call. Answers
    with anything but text (calls of tools, images) are not stored. Callers who ask the same at once each ask the model.
    Raises ``ConfigurationError`` for what is no language model of LlamaIndex.
    """
    library = sys.modules.get("llama_index.core.llms.llm")
    if library is None or not isinstance(llm, library.LLM):
        raise ConfigurationError(f"cached() takes a language model of LlamaIndex, not {type(llm).__name__}")
    wishes = Wishes(
        tenant=tenant,
        user=user,
        knowledge=knowledge,
        tags=tuple(tags),
        permissions=tuple(permissions),
        controls=controls,
    )
    given: Any = type(llm)
    made = llm.model_copy()
    kind = given if issubclass(given, Cached) else type(given.__name__, (Cached, given), {"__module__": __name__})
    object.__setattr__(made, "__class__", kind)
    object.__setattr__(made, "_yamabiko", Held(reach=Reach(cache), wishes=wishes))
    return made


def _prompt(prompt: str, formatted: bool) -> Message:
    """A prompt. A formatted one holds more than a question (roles, turns, passages): compared to the letter only."""
    if not formatted:
        return Message(role="user", text=prompt)
    return Message(role="user", parts=(canonical_json({"formatted": prompt}),))


def _message(value: Mapping[str, Any]) -> Message:
    """A turn: its texts, or where it holds more, all of its blocks and whatever else it says."""
    blocks = [
        {"type": "text", "text": block.get("text")} if block.get("block_type") == "text" else block
        for block in value.get("blocks") or ()
    ]
    rest = value.get("additional_kwargs") or None
    return Message.parse({"role": value.get("role"), "content": blocks, "additional_kwargs": rest})


def _reply(answer: Any) -> Reply | None:
    """What is kept of a whole answer; None where it is more than a text, or not whole."""
    message = getattr(answer, "message", None)
    extra = dict((answer if message is None else message).additional_kwargs)
    if extra.get("tool_calls") or extra.get("function_call") or getattr(answer, "logprobs", None):
        return None
    if message is not None and any(getattr(block, "block_type", "") != "text" for block in message.blocks):
        return None
    reason = _finish_reason(getattr(answer, "raw", None))
    return Reply(text=(answer.text if message is None else message.content) or "", finish_reason=reason)


def _finish_reason(raw: Any) -> str:
    """Why an answer ended, as far as the vendor's own form of it says so in one of the ways that are known."""
    body = raw if isinstance(raw, Mapping) else getattr(raw, "__dict__", {})
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else body
    said = first if isinstance(first, Mapping) else getattr(first, "__dict__", {})
    reason = said.get("finish_reason") or said.get("stop_reason") or said.get("stopReason") or said.get("done_reason")
    return "stop" if reason in (None, "stop", "end_turn", "stop_sequence") else str(reason)


def _library() -> Any:
    return import_module("llama_index.core.base.llms.types")


def _told(hit: Hit) -> dict[str, Any]:
    return {"yamabiko": {"tier": hit.tier, "hit_id": hit.id, "similarity": hit.similarity}}


def _chatted(text: str, hit: Hit, delta: str | None = None) -> Any:
    message = _library().ChatMessage(role="assistant", content=text)
    return _library().ChatResponse(message=message, delta=delta, additional_kwargs=_told(hit))


def _completed(text: str, hit: Hit, delta: str | None = None) -> Any:
    return _library().CompletionResponse(text=text, delta=delta, additional_kwargs=_told(hit))


def _replayed(hit: Hit, told: Any) -> Iterator[Any]:
    text = ""
    for piece in hit.reply.chunks():
        text += piece
        yield told(text, hit, piece)


async def _awaited(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def _heard(held: Held, outcome: Outcome | None, answers: Iterator[Any]) -> Iterator[Any]:
    """A stream as it comes; at its end the answer is kept, in the pieces that it came in."""
    last, lengths = None, []
    for answer in answers:
        last = answer
        lengths.append(len(answer.delta or ""))
        yield answer
    held.keep(outcome, _whole(last, lengths))


async def _aheard(held: Held, outcome: Outcome | None, answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
    last, lengths = None, []
    async for answer in answers:
        last = answer
        lengths.append(len(answer.delta or ""))
        yield answer
    await held.akeep(outcome, _whole(last, lengths))


def _whole(last: Any, lengths: list[int]) -> Reply | None:
    reply = None if last is None else _reply(last)
    if reply is None or sum(lengths) != len(reply.text):
        return reply
    return Reply(
        text=reply.text, finish_reason=reply.finish_reason, chunk_lengths=tuple(length for length in lengths if length)
    )
