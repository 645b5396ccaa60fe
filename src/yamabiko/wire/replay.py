"""What is kept of a vendor's answer beside its text, so that it can be said again as it was.

``Reply.extra`` is ``{api: rest}``, and ``"plain": true`` beside it where the answer is nothing but a text: only such an
answer is ever told through another vendor's API, since nothing is lost by it. Texts stand in ``Reply.text`` alone;
``rest`` holds their lengths (code points) in their places.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from yamabiko.message import canonical_json
from yamabiko.types import Reply

_PLAIN = "plain"


def keep(api: str, rest: Mapping[str, Any], *, plain: bool = False) -> str:
    """A Reply's ``extra``; empty where there is nothing to keep. Raises ``InvalidRequest`` for what JSON can't say."""
    if not rest:
        return ""
    return canonical_json({api: rest, _PLAIN: True} if plain else {api: rest})


def kept(reply: Reply, api: str) -> Mapping[str, Any] | None:
    """What was kept for this API; empty where nothing was, None where the answer was made through another one."""
    if not reply.extra:
        return {}
    try:
        rest = json.loads(reply.extra)[api]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return rest if isinstance(rest, Mapping) else None


def can_tell(reply: Reply, api: str) -> bool:
    """Whether this API can say all of a reply: it was made through it, or it is nothing but a text."""
    if kept(reply, api) is not None and (reply.extra or not reply.tool_calls):
        return True
    if reply.tool_calls or reply.finish_reason != "stop":
        return False
    try:
        return json.loads(reply.extra).get(_PLAIN) is True
    except (ValueError, AttributeError):
        return False


def cut(reply: Reply, lengths: Sequence[object]) -> list[list[str]] | None:
    """The pieces that a reply's text was streamed in, for blocks of text of these lengths.

    None where the blocks don't add up to the text: whoever kept them spoke of another one.
    """
    counts = [length for length in lengths if isinstance(length, int) and length >= 0]
    if len(counts) != len(lengths) or sum(counts) != len(reply.text):
        return None
    blocks: list[list[str]] = []
    pieces = list(reversed(reply.chunks()))
    for count in counts:
        block: list[str] = []
        while count:
            piece = pieces.pop()
            if len(piece) > count:  # a piece never spans two blocks, unless the text was never streamed
                pieces.append(piece[count:])
                piece = piece[:count]
            block.append(piece)
            count -= len(piece)  # noqa: PLW2901 - it counts down
        blocks.append(block)
    return blocks


def made_id(prefix: str, reply: Reply) -> str:
    """An id for an answer whose vendor gave none: always the same for the same answer."""
    told = f"{reply.model}\n{reply.text}\n{reply.extra}"
    return prefix + sha256(told.encode(errors="surrogatepass")).hexdigest()[:24]
