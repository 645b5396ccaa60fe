"""What is kept of a vendor's answer beside its text, so that it can be told again as it was.

``Reply.extra`` is an object with one member, named after the API. What stands in it under ``ABOUT`` says who made the
answer and when, and what it cost; whatever else is a part of the answer. Texts stand in ``Reply.text`` alone: where
their places are kept, their lengths (code points) stand in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from yamabiko.message import canonical_json
from yamabiko.types import Reply

ABOUT = "about"
"""The member of what is kept that holds no part of an answer."""

_ABOUT = frozenset({ABOUT, "id", "created", "object", "system_fingerprint", "service_tier", "usage"})
"""Members that no answer loses anything without; the single ones are those of Chat Completions."""


_read = msgspec.json.Decoder().decode


def keep(api: str, rest: Mapping[str, Any]) -> str:
    """A Reply's ``extra``; empty where there is nothing to keep. Raises ``InvalidRequest`` for what JSON can't say."""
    told = {name: value for name, value in rest.items() if value not in (None, {})}
    return canonical_json({api: told}) if told else ""


def kept(reply: Reply) -> tuple[str, Mapping[str, Any]]:
    """The API that a reply was made through and what was kept of it; both empty where nothing was."""
    if not reply.extra:
        return "", {}
    try:
        extra = _read(reply.extra)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        extra = None
    if not isinstance(extra, Mapping) or len(extra) != 1:
        return "", {"unread": True}
    ((api, rest),) = extra.items()
    return api, rest if isinstance(rest, Mapping) else {"unread": True}


def loss(reply: Reply, api: str) -> str:
    """What an API could not say of a reply that may have been made through another one; empty where all can be said.

    Across APIs goes only what is nothing but a whole text: reasoning, calls of tools, citations and log probabilities
    have another shape in each.
    """
    if reply.extra.startswith(f'{{"{api}":'):  # canonical JSON of one member: no need to read it
        return ""
    _, rest = kept(reply)
    if reply.tool_calls:
        return "the stored answer calls tools in another API's shape"
    if reply.finish_reason != "stop":
        return "the stored answer is not whole"
    if not rest.keys() <= _ABOUT:
        return "the stored answer holds more than text, in another API's shape"
    return ""


def about(rest: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what is kept about an answer."""
    value = rest.get(ABOUT)
    return dict(value) if isinstance(value, Mapping) else {}


def cut(pieces: Sequence[str], lengths: Sequence[object]) -> list[list[str]] | None:
    """The pieces of a text for the blocks of these lengths (code points) that it stands in.

    A piece that goes on in the next block is divided. None where the blocks don't add up to the text.
    """
    counts = [length for length in lengths if isinstance(length, int) and length >= 0]
    if len(counts) != len(lengths) or sum(counts) != sum(map(len, pieces)):
        return None
    waiting = [piece for piece in reversed(pieces) if piece]
    blocks: list[list[str]] = []
    for count in counts:
        block: list[str] = []
        missing = count
        while missing:
            piece = waiting.pop()
            if len(piece) > missing:
                waiting.append(piece[missing:])
                piece = piece[:missing]
            block.append(piece)
            missing -= len(piece)
        blocks.append(block)
    return blocks


def made_id(prefix: str, reply: Reply) -> str:
    """An id for an answer that has none of this API: always the same for the same answer."""
    told = f"{reply.model}\n{reply.text}\n{reply.extra}"
    return prefix + sha256(told.encode(errors="surrogatepass")).hexdigest()[:24]
