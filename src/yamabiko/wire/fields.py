"""``Cache-Control`` as it comes in. Pure. Source: RFC 9111, 5.2 (June 2022)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = re.compile(rf'[ \t]*(?:({_WORD})(?:=(?:({_WORD})|"((?:[^"\\]|\\.)*)"))?)?[ \t]*(?:,|$)')
_DELTA = re.compile(r"[0-9]+")
_LARGEST = 2**31
"""Seconds beyond this are as good as for ever. Source: RFC 9111, 1.2.2."""


def directives(value: str) -> Mapping[str, str | None]:
    """The directives of a Cache-Control field, names in small letters; of one that comes twice, the first counts.

    What is no directive is left out: whoever can't be understood has asked for nothing.
    """
    found: dict[str, str | None] = {}
    at = 0
    while at < len(value):
        read = _DIRECTIVE.match(value, at)
        if read is None:  # to the next comma
            at = value.find(",", at) + 1 or len(value)
            continue
        at = read.end()
        if read[1] is not None:
            quoted = None if read[3] is None else re.sub(r"\\(.)", r"\1", read[3])
            found.setdefault(read[1].lower(), read[2] if read[2] is not None else quoted)
    return found


def delta_seconds(text: str | None) -> float:
    """What a directive says in seconds; 0, the strictest, for what is no number. Source: RFC 9111, 1.2.2 and 4.2.1."""
    if text is None or not _DELTA.fullmatch(text):
        return 0.0
    return float(_LARGEST) if len(text) > 10 else float(min(int(text), _LARGEST))


def from_cache_control(value: str) -> dict[str, Any]:
    """What a request's Cache-Control asks, as arguments of ``Controls``.

    ``min-fresh`` and ``max-stale`` are not known here, which the RFC allows. Source: RFC 9111, 5.2.1.
    """
    found = directives(value)
    asked: dict[str, Any] = {}
    if "no-cache" in found:
        asked["read"] = False
    if "no-store" in found:
        asked["store"] = False
    if "only-if-cached" in found:
        asked["forward"] = False
    if "max-age" in found:  # and without max-stale, nothing that is past its expiry
        asked |= {"max_age_seconds": delta_seconds(found["max-age"]), "stale": False}
    return asked
