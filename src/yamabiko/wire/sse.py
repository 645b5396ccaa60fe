"""Server-sent events, as they come in over a socket, and what they add up to.

Source: WHATWG HTML Living Standard, "Server-sent events", 9.2.5 and 9.2.6 (read 2026-11).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from yamabiko.message import canonical_json
from yamabiko.types import Reply, Usage

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dispatched event; ``event`` is its type, ``message`` where the stream names none."""

    event: str = "message"
    data: str = field(repr=False)


class Parser:
    """Turns bytes into events, wherever the network split them.

    Comments and the fields ``id`` and ``retry`` are read over: nobody reconnects to a generation. An event that the
    stream breaks off in, before its blank line, is never dispatched.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []  # of a line that has not come to its end
        self._held = ""
        self._started = False
        self._event = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        text = self._decoder.decode(data)
        if text and not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        # A carriage return at the end may be half a CRLF: it waits for what follows.
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text.removesuffix("\r"))
        if lines:
            lines[0] = "".join(self._pending) + lines[0]
            self._pending = []
        self._pending.append(rest)
        return [event for line in lines if (event := self._line(line)) is not None]

    def finish(self) -> list[Event]:
        """The event that a last, waiting carriage return completes; the stream is over."""
        lines = ["".join(self._pending)] if self._held else []
        self._pending, self._held = [], ""
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value
            return None
        data, event = self._data, self._event
        self._data, self._event = [], ""
        return Event(event=event or "message", data="\n".join(data)) if data else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one event of a model's stream adds to the reply.

    ``tool_calls`` are fragments as they came, in canonical JSON. ``finish_reason`` is in OpenAI's words, ``error``
    where the stream reports one. ``done``: the vendor says that nothing follows.
    """

    text: str = field(default="", repr=False)
    reasoning: str = field(default="", repr=False)
    tool_calls: tuple[str, ...] = field(default=(), repr=False)
    model: str = ""
    finish_reason: str = ""
    usage: Usage | None = None
    done: bool = False


def reply_of(chunks: Iterable[Chunk]) -> Reply:
    """The reply that a stream added up to; its finish reason is ``error`` where the stream gave none.

    Counts of tokens are running totals: of several reports the largest counts.
    """
    texts: list[str] = []
    reasoning: list[str] = []
    tool_calls: list[str] = []
    model = finish_reason = ""
    usage = Usage()
    for chunk in chunks:
        if chunk.text:
            texts.append(chunk.text)
        reasoning.append(chunk.reasoning)
        tool_calls.extend(chunk.tool_calls)
        model = chunk.model or model
        if finish_reason not in ("error", "content_filter"):
            finish_reason = chunk.finish_reason or finish_reason
        if chunk.usage:
            usage = Usage(
                input_tokens=max(usage.input_tokens, chunk.usage.input_tokens),
                output_tokens=max(usage.output_tokens, chunk.usage.output_tokens),
                cached_input_tokens=max(usage.cached_input_tokens, chunk.usage.cached_input_tokens),
            )
    thought = "".join(reasoning)
    return Reply(
        text="".join(texts),
        model=model,
        finish_reason=finish_reason or "error",
        usage=usage,
        chunk_lengths=tuple(map(len, texts)),
        tool_calls=tuple(tool_calls),
        extra=canonical_json({"reasoning_content": thought}) if thought else "",
    )
