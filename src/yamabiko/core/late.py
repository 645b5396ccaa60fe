"""Patterns that are compiled when they are first used: of some two hundred a cold start waits for none.

Compiling them all takes some 0.1 s, and a text asks for few (benchmarks/lambda_cold.py).
"""

from __future__ import annotations

import re
from typing import cast


class _Late:
    """From its first use on, the methods of the pattern are attributes of this object."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._given = pattern, flags

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        found: object = getattr(re.compile(*self._given), name)
        setattr(self, name, found)
        return found


def late(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """What ``re.compile`` gives, to be asked for methods and attributes; not to be given to ``re.sub`` and the like."""
    return cast("re.Pattern[str]", _Late(pattern, flags))
