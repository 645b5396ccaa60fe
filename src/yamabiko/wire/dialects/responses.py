"""OpenAI's Responses, as Yamabiko speaks them.

An answer is told again item by item as it was made: reasoning, searches, annotations, log probabilities, each text in
the pieces it was streamed in. What the response repeats of its request (``ECHOED``) comes from the request at hand.
What another API made is told where it is nothing but a text (``wire.replay.loss``).

Usage is marked as cached in the vendor's own field: all input counts as ``input_tokens_details.cached_tokens``, none as
written to a cache; the sums stay what they were. A replayed stream has no ``obfuscation``: its sizes tell a listener
on the wire no more than the body of an answer that is not a stream does.

Source: the OpenAI API reference, "Responses", "Streaming events" and "Error codes" (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from yamabiko.message import canonical_json
from yamabiko.types import Reply
from yamabiko.wire import responses
from yamabiko.wire.dialect import Asked, Dialect, Listener
from yamabiko.wire.dialects.items import Told, told_items
from yamabiko.wire.replay import about, cut, kept, loss, made_id
from yamabiko.wire.sse import Chunk, Event

_SHAPES = (*responses.ECHOED, "prompt_cache_retention", "service_tier", "stream_options")
"""Fields of a request that change the bytes of its response, though not the answer."""

_encode = msgspec.json.Encoder().encode


class ResponsesListener:
    """Reads one stream of Responses."""

    def __init__(self) -> None:
        self._assembly = responses.Assembly()

    def hear(self, event: Event, /) -> Chunk:
        """What this event adds. Raises ``InvalidRequest`` for what is no event of such a stream."""
        return self._assembly.add(event.data)

    def reply(self) -> Reply:
        """What the stream added up to."""
        return self._assembly.reply()


class Responses:
    """``POST /v1/responses``; whatever is kept by the vendor (``/responses/{id}``, conversations) passes through."""

    name = responses.API
    vendor = "openai"
    paths: tuple[str, ...] = ("/responses",)

    def asked(self, body: Mapping[str, Any], /, *, tenant: str, user: str) -> Asked:
        """Reads a request body."""
        request = responses.request_from(body, tenant=tenant, user=user)
        shape = {name: body[name] for name in _SHAPES if body.get(name) is not None}
        return Asked(
            request=request,
            stream=body.get("stream") is True,
            shape=canonical_json(shape) if shape else "",
            body=body,
        )

    def reply(self, body: Mapping[str, Any], /) -> Reply:
        """Reads a response body that is not a stream. Raises ``InvalidRequest``."""
        return responses.reply_from(body)

    def listener(self) -> Listener:
        """Reads a stream."""
        return ResponsesListener()

    def loss(self, reply: Reply, asked: Asked, /) -> str:  # noqa: ARG002 - a part of the Protocol
        """What could not be said of a stored reply; empty where nothing would be lost."""
        return loss(reply, self.name)

    def body(self, reply: Reply, asked: Asked, /) -> bytes:
        """The reply as a response object."""
        response, items = _told(reply, asked.body, (reply.text,))
        return _encode(response | {"output": [item.whole for item in items]})

    def frames(self, reply: Reply, asked: Asked, /) -> Iterator[bytes]:
        """The reply as a stream."""
        response, items = _told(reply, asked.body, reply.chunks())
        for number, event in enumerate(_events(response, items)):
            kind = event["type"].encode()
            yield b"event: " + kind + b"\ndata: " + _encode(event | {"sequence_number": number}) + b"\n\n"

    def error(self, status: int, code: str, message: str, /) -> bytes:
        """An error of the gateway's own, as the vendor words its own."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def error_frame(self, code: str, message: str, /) -> bytes:
        """An error in the midst of a stream, after a blank line that ends a broken event.

        The member ``error`` is what makes the vendor's clients raise. Nobody knows here how many events came before:
        ``sequence_number`` is 0.
        """
        told = {"type": "server_error", "code": code, "message": message, "param": None}
        event = {**told, "type": "error", "sequence_number": 0, "error": told}
        return b"\n\nevent: error\ndata: " + _encode(event) + b"\n\n"


def _events(response: Mapping[str, Any], items: list[Told]) -> Iterator[dict[str, Any]]:
    """The events of a response's stream in the vendor's order, not yet numbered."""
    started = {**response, "status": "in_progress", "output": [], "usage": None, "error": None}
    started |= {name: None for name in ("incomplete_details", "completed_at") if name in response}
    started.pop("output_text", None)
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    for index, item in enumerate(items):
        yield {"type": "response.output_item.added", "output_index": index, "item": item.begun}
        for event in item.events:
            yield event | {"item_id": item.whole.get("id") or "", "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item.whole}
    status = response.get("status")
    kind = status if status in ("incomplete", "failed") else "completed"
    yield {"type": f"response.{kind}", "response": {**response, "output": [item.whole for item in items]}}


def _told(reply: Reply, asked: Mapping[str, Any], pieces: Sequence[str]) -> tuple[dict[str, Any], list[Told]]:
    """A reply as a response object without output, and its items; ``pieces`` are those of its text."""
    made, rest = kept(reply)
    own = made == responses.API
    response = {"object": "response", **(about(rest) if own else _made(reply, rest, asked)), "model": reply.model}
    output = response.pop("output", None) or rest.get("output")
    for name in responses.ECHOED:
        if name in response:
            response[name] = asked.get(name) if name != "metadata" else asked.get(name) or {}
    if "output_text" in response:
        response["output_text"] = reply.text
    response["usage"] = _usage(reply, response.get("usage"))
    if own and isinstance(output, list):
        lengths = [part["text"] for item in output for part in _texts(item)]
        texts = cut(pieces, lengths)
        if texts is not None:
            return response, told_items(output, texts)
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": 0}
    message = {"id": made_id("msg_", reply), "type": "message", "status": "completed", "role": "assistant"}
    return response, told_items([message | {"content": [text]}], [[piece for piece in pieces if piece]])


def _texts(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = item.get("content")
    if item.get("type") != "message" or not isinstance(content, list):
        return []
    return [part for part in content if part.get("type") == "output_text"]


def _made(reply: Reply, rest: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What stands around an answer that another API made, as far as anybody knows it.

    ``created_at`` is 0 where the other API says no time.
    """
    created, reasoning, text = rest.get("created"), asked.get("reasoning"), asked.get("text")
    return {
        "id": made_id("resp_", reply),
        "created_at": created if isinstance(created, int | float) else 0,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": None,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None} | (dict(reasoning) if isinstance(reasoning, Mapping) else {}),
        "store": False,
        "temperature": asked.get("temperature"),
        "text": {"format": {"type": "text"}} | (dict(text) if isinstance(text, Mapping) else {}),
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
        "truncation": "disabled",
        "user": None,
    }


def _usage(reply: Reply, told: object) -> dict[str, Any]:
    """The usage as it was told, all input marked as read from a cache."""
    usage = dict(told) if isinstance(told, Mapping) else {}
    spent, into, out = reply.usage, usage.get("input_tokens_details"), usage.get("output_tokens_details")
    details = dict(into) if isinstance(into, Mapping) else {}
    details.pop("cache_write_tokens_details", None)
    return {
        "total_tokens": spent.input_tokens + spent.output_tokens,
        **usage,
        "input_tokens": spent.input_tokens,
        "input_tokens_details": details | {"cached_tokens": spent.input_tokens, "cache_write_tokens": 0},
        "output_tokens": spent.output_tokens,
        "output_tokens_details": out if isinstance(out, Mapping) else {"reasoning_tokens": 0},
    }


if TYPE_CHECKING:
    _: Dialect = Responses()
