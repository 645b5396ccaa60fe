"""The Lua scripts: every change is one of them, and so is every read by key."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from yamabiko.stores.memorydb.connection import Script

_EVEN_WHEN_FULL = frozenset({"remove", "sweep", "drop", "unlist", "mend", "retire", "barrier"})


@cache
def alone(name: str) -> Script:
    """A script that stands alone."""
    return Script.of(_text(name))


@cache
def dated(name: str) -> Script:
    """A read that can say which purge was the last."""
    return Script.of("#!lua flags=no-writes\n" + _text("last_purge") + _text(name))


@cache
def writing(name: str) -> Script:
    """A script that changes entries, with what all of them share before it.

    A full server refuses it as a whole, before it has changed anything; those that remove go on even then.
    """
    before = _text("common") + (_text("fences") if name == "put" else "")
    return Script.of(_shebang(name) + before + _text(name))


@cache
def fencing(name: str) -> Script:
    """A script that gives or raises fences."""
    return Script.of(_shebang(name) + _text("fences") + _text(name))


def _shebang(name: str) -> str:
    return f"#!lua{' flags=allow-oom' if name in _EVEN_WHEN_FULL else ''}\n"


def _text(name: str) -> str:
    return files("yamabiko.stores.memorydb").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
