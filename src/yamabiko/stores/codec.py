"""A reply as bytes, and back: one format byte, then MessagePack with the field names of ``Reply``.

What else an entry says of itself (``Marks``) stands in the same map, before the reply and only where there is any: a
reply is read in the same time as without, and an older release passes over it.

The names cost some 140 bytes. They buy that msgspec fills the value type itself, in a third of the time that an array
without names takes (benchmarks/store.py, "decode"), and that a new field with a default needs no new format: an older
release passes over it, a newer one puts in the default. Whatever else changes takes a new format byte.
"""

from __future__ import annotations

from dataclasses import fields
from typing import cast

import msgspec

from yamabiko.errors import InvalidRequest
from yamabiko.types import Entry, Reply

FORMAT = b"\x01"
"""The first byte of what ``encode`` writes."""


class Marks(msgspec.Struct, frozen=True):
    """Of an entry, for whom it was made, whether others may have it, and its signature."""

    author: str = ""
    confirmed: bool = True
    signature: str = ""


_NO_MARKS = Marks()
_FIRST_MARK = b"\xa6author"
_REPLY = tuple(field.name for field in fields(Reply))
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)
_marks = msgspec.msgpack.Decoder(Marks)
_tags = msgspec.json.Decoder(tuple[str, ...])


def encode(reply: Reply) -> bytes:
    """The reply in the newest format."""
    return FORMAT + _encoder.encode(written(reply))


def written(reply: Reply) -> Reply:
    """As it is encoded: a source of which only the URI is known is a plain text, as older releases read it."""
    if not reply.sources or not any(source.is_plain for source in reply.sources):
        return reply
    said = {name: getattr(reply, name) for name in _REPLY}
    said["sources"] = [source.uri if source.is_plain else source for source in reply.sources]
    return cast("Reply", said)


def decode(data: bytes) -> Reply | None:
    """The reply, or None where the format is unknown or the bytes are damaged: such a row is never a hit."""
    if data[:1] != FORMAT:
        return None
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, InvalidRequest):
        return None


def encode_entry(entry: Entry) -> bytes:
    """The reply with the entry's marks; without any, as ``encode``."""
    if not entry.author and entry.confirmed and not entry.signature:
        return encode(entry.reply)
    marked: dict[str, object] = {
        "author": entry.author,
        "confirmed": entry.confirmed,
        "signature": entry.signature,
    }
    marked |= {name: getattr(entry.reply, name) for name in _REPLY}
    marked["sources"] = [source.uri if source.is_plain else source for source in entry.reply.sources]
    return FORMAT + _encoder.encode(marked)


def decode_marks(data: bytes) -> Marks | None:
    """The marks beside a reply; None where the bytes are damaged."""
    if not data.startswith(_FIRST_MARK, 2):  # after the format and the length of the map
        return _NO_MARKS
    try:
        return _marks.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def encode_tags(tags: tuple[str, ...]) -> str | None:
    """The tags as JSON; None when there are none."""
    return msgspec.json.encode(tags).decode() if tags else None


def decode_tags(text: str | None) -> tuple[str, ...] | None:
    """The tags, or None where they can't be read."""
    if text is None:
        return ()
    try:
        return _tags.decode(text)
    except (msgspec.MsgspecError, TypeError):
        return None
