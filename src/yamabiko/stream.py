"""The stream's end of the path: pieces go out as they come, and only what came to its end is an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from yamabiko.errors import InvalidRequest
from yamabiko.ports import StreamGenerate
from yamabiko.types import Hit, Miss, Reply, Request

INCONSISTENT = "inconsistent_stream"
"""Finish reason of a stream whose last Reply says something else than its pieces did; such a reply is never stored."""


def assemble(pieces: Sequence[str], last: Reply | None) -> Reply:
    """The whole reply of a stream that came to its end.

    ``last`` is the Reply that the stream may have ended with: it brings usage, finish reason and the like. The text is
    what the caller has seen, that is the pieces.
    """
    text = "".join(pieces)
    lengths = tuple(len(piece) for piece in pieces)
    if last is None:
        return Reply(text=text, chunk_lengths=lengths)
    finish_reason = last.finish_reason if last.text in ("", text) else INCONSISTENT
    return replace(last, text=text, chunk_lengths=lengths, finish_reason=finish_reason)


def as_reply(value: Reply | str) -> Reply:
    """What ``generate`` returned, as a Reply."""
    if isinstance(value, Reply):
        return value
    if isinstance(value, str):
        return Reply(text=value)
    raise InvalidRequest(f"generate() must return a text or a yamabiko.Reply, not {type(value).__name__}")


def whole(generate: StreamGenerate, push: Callable[[str], None]) -> Callable[[Request], Awaitable[Reply]]:
    """A streaming generator as one that answers when its stream has come to its end; ``push`` gets each piece."""

    async def collect(request: Request) -> Reply:
        pieces: list[str] = []
        last: Reply | None = None
        source = generate(request)
        try:
            async for item in source:
                if isinstance(item, Reply):
                    last = item
                else:
                    pieces.append(item)
                    push(item)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        return assemble(pieces, last)

    return collect


def unheard(_: str) -> None:
    """Where nobody listens to the pieces."""


class Stream:
    """An answer in pieces: ``async for piece in cache.stream(request, generate)``.

    ``outcome`` (Hit or Miss) is known from the first piece on, ``reply`` after the last one. A loop that is left
    early should call ``aclose()``; the generation then ends unless somebody else waits for it.
    """

    def __init__(self, run: Callable[[Stream], AsyncIterator[str]]) -> None:
        self.outcome: Hit | Miss | None = None
        self.reply: Reply | None = None
        self._pieces = run(self)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """End the stream; may be called at any time and twice."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
