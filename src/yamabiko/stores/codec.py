"""A reply as bytes, and back: one format byte, then MessagePack with the field names of ``Reply``.

The names cost some 140 bytes. They buy that msgspec fills the value type itself, in a third of the time that an array
without names takes (benchmarks/store.py, "decode"), and that a new field with a default needs no new format: an older
release passes over it, a newer one puts in the default. Whatever else changes takes a new format byte.
"""

from __future__ import annotations

import msgspec

from yamabiko.types import Reply

FORMAT = b"\x01"
"""The first byte of what ``encode`` writes."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)
_tags = msgspec.json.Decoder(tuple[str, ...])


def encode(reply: Reply) -> bytes:
    """The reply in the newest format."""
    return FORMAT + _encoder.encode(reply)


def decode(data: bytes) -> Reply | None:
    """The reply, or None where the format is unknown or the bytes are damaged: such a row is never a hit."""
    if data[:1] != FORMAT:
        return None
    try:
        return _decoder.decode(memoryview(data)[1:])
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
