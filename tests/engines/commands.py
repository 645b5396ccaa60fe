"""What the engine says about its commands: which write, which need memory, where their keys stand."""

import binascii
import hashlib
import re

SLOTS = 16384
_BY_COUNT = frozenset(
    ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"]
)  # keys are counted at argument 2
_FLAGS = re.compile(r"\A#!lua\s.*?flags=(\S+)")
SEARCH_WRITES = frozenset(["FT.CREATE", "FT.DROPINDEX", "FT.ALIASADD", "FT.ALIASDEL", "FT.ALIASUPDATE"])


def slot(key: bytes) -> int:
    """Source: https://valkey.io/topics/cluster-spec/ , "Key distribution model" (2026-11)."""
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1) if begin >= 0 else -1
    if end > begin + 1:
        key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


def full_name(name: str, arguments) -> str:
    """CLUSTER and SLOTS as CLUSTER|SLOTS."""
    return f"{name}|{arguments[0].decode(errors='replace').upper()}" if arguments else name


class Commands:
    """Made from the reply to COMMAND."""

    def __init__(self, reply):
        self._known = {}
        for name, _, flags, first, last, step, *_ in reply:
            self._known[name.decode().upper()] = ({bytes(flag) for flag in flags}, first, last, step)

    def has(self, name, flag: bytes) -> bool:
        return flag in self._known.get(name, (set(), 0, 0, 0))[0]

    def keys(self, name, arguments) -> list[bytes]:
        if name in _BY_COUNT:
            return list(arguments[2 : 2 + int(arguments[1])]) if len(arguments) > 1 and arguments[1].isdigit() else []
        if name.startswith("FT."):
            return []
        _, first, last, step = self._known.get(name, (set(), 0, 0, 0))
        if not first:
            return []
        words = [b"", *arguments]
        return words[first : (last if last >= 0 else len(words) + last) + 1 : step]


class Scripts:
    """Lua texts by SHA-1, and what their first line says of them."""

    def __init__(self):
        self._texts = {}

    def learn(self, text: bytes) -> None:
        self._texts[hashlib.sha1(text).hexdigest()] = text.decode(errors="replace")

    def text(self, sha: bytes) -> str | None:
        return self._texts.get(sha.decode(errors="replace").lower())

    @staticmethod
    def flags(text: str) -> set:
        match = _FLAGS.match(text)
        return set(match[1].split(",")) if match else set()
