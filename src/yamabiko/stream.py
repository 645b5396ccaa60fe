"""The stream's end of the path: pieces go out as they come, and only what came to its end is an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

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


def as_request(value: str | Request) -> Request:
    """What was asked, as a Request."""
    if isinstance(value, Request):
        return value
    if isinstance(value, str):
        return Request(value)
    raise InvalidRequest(f"a request is a text or a yamabiko.Request, not {type(value).__name__}")


def as_reply(value: Reply | str) -> Reply:
    """What ``generate`` returned, as a Reply."""
    if isinstance(value, Reply):
        if not isinstance(value.text, str):
            raise InvalidRequest(f"a Reply's text must be a text, not {type(value.text).__name__}")
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
                elif isinstance(item, str):
                    if item:  # one without text only says that the answer has begun
                        pieces.append(item)
                    push(item)
                else:
                    raise InvalidRequest(
                        f"generate() must yield texts, and may end with a yamabiko.Reply; not {type(item).__name__}"
                    )
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        return assemble(pieces, last)

    return collect


def unheard(_: str) -> None:
    """Where nobody listens to the pieces."""


@dataclass(slots=True)
class Heard:
    """What a stream's end knows so far."""

    outcome: Hit | Miss | None = None
    reply: Reply | None = None


class Stream:
    """An answer in pieces: ``async for piece in cache.stream(request, generate)``.

    ``outcome`` (Hit or Miss) is known from the first piece on, ``reply`` after the last one. A loop that is left
    early should call ``aclose()``; the generation then ends unless somebody else waits for it.
    """

    def __init__(self, run: Callable[[Heard], AsyncIterator[str]]) -> None:
        self._heard = Heard()  # and not self: a cycle would keep a stream that was dropped, and its generation, alive
        self._pieces = run(self._heard)
        self._broken = False

    @property
    def outcome(self) -> Hit | Miss | None:
        """Whether the cache answers; None before the first piece."""
        return self._heard.outcome

    @property
    def reply(self) -> Reply | None:
        """The whole reply; None before the end."""
        return self._heard.reply

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> str:
        if self._broken:
            raise InvalidRequest("this stream broke before its end, by an error or a timeout: ask again")
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except BaseException:
            self._broken = True
            raise

    async def aclose(self) -> None:
        """End the stream; may be called at any time and twice."""
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
