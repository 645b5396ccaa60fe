"""LangChain's Generations to JSON and back, as what they were: types, ids, metadata, usage and tool calls.

Nothing is imported because stored JSON names it: only LangChain's own messages are made, by their ``type``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from yamabiko.types import Hit, Reply
from yamabiko.wire.langchain import Told, generations_from, reply_from

_RUN_IDS = ("lc_run-", "run-")
"""Ids that LangChain gives a message for the run that made it."""


def reply_of(
    generations: Sequence[Generation], *, tool_calls: bool = False, latency_seconds: float = 0.0
) -> Reply | None:
    """The Reply to store; None where JSON could not give the Generations back as they are."""
    told = [_told(generation) for generation in generations]
    if not told or not all(told_back(one) for one in told):
        return None
    return reply_from(told, tool_calls=tool_calls, latency_seconds=latency_seconds)


def generations_of(hit: Hit, *, chat: bool) -> list[Generation]:
    """The Generations of a hit, new objects each time. ``chat``: whether a chat model asks, which wants messages.

    A message says in ``response_metadata["yamabiko"]`` that it came from the cache, and how.
    """
    told = generations_from(hit.reply)
    if told is None:
        message = AIMessage(content=hit.reply.text, response_metadata={"yamabiko": _of(hit)})
        return [ChatGeneration(message=message) if chat else Generation(text=hit.reply.text)]
    return [_generation(one, hit) for one in told]


def _told(generation: Generation) -> Told:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    told: Told = {
        "text": generation.text,
        "info": generation.generation_info,
        "message": None if message is None else _message_told(message),
    }
    return told


def _message_told(message: BaseMessage) -> Mapping[str, Any]:
    """The message, with a structured output as the mapping that it can be made of again."""
    parsed = message.additional_kwargs.get("parsed")
    if isinstance(parsed, BaseModel):
        message = message.model_copy(
            update={"additional_kwargs": {**message.additional_kwargs, "parsed": parsed.model_dump(mode="json")}}
        )
    return message_to_dict(message)


def told_back(told: object) -> bool:
    """Whether JSON gives this back as it is: no tuples, keys that are no texts, or values of other kinds."""
    try:
        back: object = json.loads(json.dumps(told, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return False
    return back == told


def without_run_id(message: BaseMessage) -> BaseMessage:
    """The message, without the id of the run that made it: this is another run.

    LangGraph's ``add_messages`` would put it in the place of the earlier one, the answer to an earlier question.
    """
    if message.id is not None and message.id.startswith(_RUN_IDS):
        message.id = None
    return message


def _generation(told: Told, hit: Hit) -> Generation:
    if told["message"] is None:
        return Generation(text=told["text"], generation_info=told["info"])
    (message,) = messages_from_dict([told["message"]])
    without_run_id(message)
    message.response_metadata = {**message.response_metadata, "yamabiko": _of(hit)}
    return ChatGeneration(message=message, generation_info=told["info"])


def _of(hit: Hit) -> dict[str, Any]:
    """What a caller may want to know of a hit; ``id`` is what ``Cache.feedback`` takes."""
    return {
        "tier": hit.tier,
        "similarity": round(hit.similarity, 6),
        "age_seconds": round(hit.age_seconds, 3),
        "entry": hit.entry.id,
        "id": hit.id,
    }
