"""What ``yamabiko tune`` and ``calibrate`` read: labelled pairs as JSON lines, all checked before one is used."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from yamabiko.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two questions, and whether the answer stored for ``a`` is right for ``b``.

    ``axis`` says what sets them apart ("number"), empty where the file does not. ``id``: SHA-256 over both texts and
    over how many equal pairs stand before it, 64 hexadecimal digits; ``line`` is its place in the file, from 1.
    """

    a: str = field(repr=False)
    b: str = field(repr=False)
    correct: bool
    axis: str
    line: int
    id: str


class _Line(msgspec.Struct, frozen=True):
    """One line of the file; further names are left alone."""

    a: str
    b: str
    label: bool | Literal[0, 1]
    axis: str = ""


def read_pairs(file: str) -> list[Pair]:
    """All pairs of a file, or of standard input for ``-``; packed by gzip or not.

    Raises ``ConfigurationError``, with the line's number and without its text.
    """
    pairs = []
    seen: Counter[bytes] = Counter()
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"line {number}: {error}") from None
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise ConfigurationError(f"line {number} is not a JSON object") from None
        for name, text in (("a", read.a), ("b", read.b)):
            if not text.strip():
                raise ConfigurationError(f"line {number}: {name} is empty")
        texts = hashlib.sha256(msgspec.json.encode((read.a, read.b))).digest()
        seen[texts] += 1
        name = hashlib.sha256(texts + str(seen[texts]).encode()).hexdigest()
        pairs.append(Pair(a=read.a, b=read.b, correct=bool(read.label), axis=read.axis, line=number, id=name))
    if not pairs:
        raise ConfigurationError(
            f'{file} holds no pairs: write one JSON object a line, {{"a": "...", "b": "...", "label": 1}}'
        )
    return pairs


def file_digest(pairs: Sequence[Pair]) -> str:
    """SHA-256 over pairs and labels, whatever their order; hexadecimal."""
    lines = sorted(f"{pair.id}:{pair.correct:d}" for pair in pairs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8: save it as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ConfigurationError(f"{file} is packed by gzip and damaged") from None
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror}") from error
