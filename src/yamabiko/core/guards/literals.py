"""Step 6 of 9: the guard on what is meant to the letter: quotations, code, paths, options, names of variables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from yamabiko.core.guards.reading import Finding, Reading
from yamabiko.core.late import late

_QUOTED = late(
    r'"([^"]{1,200})"|“([^“”]{1,200})”|„([^„“”]{1,200})[“”]|「([^「」]{1,200})」|『([^『』]{1,200})』|«([^«»]{1,200})»'
    r"|(?<![^\s(,:])['‘]([^'‘’]{2,80})['’](?![^\s).,;:?!])"
)
_BACKTICKED = late(r"`+([^`]{1,400})`+")
_BARE = late(
    r"(?<![\w./:])(?:~?/[\w.@-]+(?:/[\w.@-]*)+|[A-Za-z]:\\[\w\\.-]+)"
    r"|(?<![A-Za-z0-9_.-])--?[A-Za-z][A-Za-z0-9-]*"
    r"|\b[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+\b|\b[A-Za-z_][\w.]*\(\)",
    re.ASCII,
)
_EDGES = " \t.,;:?!。、？！"
_MARKS = late("[\"“”„`「」『』«»‘’']")


@dataclass(frozen=True, slots=True)
class Letters:
    """What a text quotes: code as it stands, quotations folded, and the text itself without quotation marks."""

    code: frozenset[str]
    quoted: frozenset[str]
    plain: str
    bare: str


_NONE = frozenset[str]()
_SIGNS = ('"', "“", "„", "「", "『", "«", " '", "('", ":'", " ‘", "‘")
_OPTION = late(r"(?<![A-Za-z0-9_.-])-[A-Za-z-]")


def letters(reading: Reading) -> Letters:
    """The literals of a text."""
    text = reading.text
    marked = any(sign in text for sign in _SIGNS) or text[0:1] == "'"
    coded = (
        "/" in text or "_" in text or "\\" in text or "()" in text or ("-" in text and _OPTION.search(text) is not None)
    )
    if not marked and not coded and "`" not in text:
        return Letters(_NONE, _NONE, reading.folded, text)
    code: set[str] = set()
    quoted: set[str] = set()
    if "`" in text:
        code.update(match.strip() for match in _BACKTICKED.findall(text))
        text = _BACKTICKED.sub(" ", text)
    if marked:
        for match in _QUOTED.finditer(text):
            quoted.add(_plain(match[match.lastindex or 0]))
        text = _QUOTED.sub(" ", text)
    if coded:
        code.update(_BARE.findall(text))
    quoted.discard("")
    return Letters(frozenset(code), frozenset(quoted), _plain(reading.folded), _MARKS.sub("", reading.text))


def _plain(text: str) -> str:
    return " ".join(_MARKS.sub(" ", text.casefold()).split()).strip(_EDGES)


def literals(asked: Reading, stored: Reading) -> Finding | None:
    """Each text quotes something to the letter that the other one doesn't hold."""
    one, other = asked.of(letters), stored.of(letters)
    if not (one.code or one.quoted or other.code or other.quoted):
        return None
    here, there = _missing(one.code, other), _missing(other.code, one)
    if here and there:
        return Finding("literals", "each holds code that the other doesn't", 1.0)
    said, heard = _unsaid(one.quoted, other), _unsaid(other.quoted, one)
    if said and heard:
        return Finding("literals", "each quotes something that the other doesn't", 0.9)
    if (here and heard) or (there and said):
        return Finding("literals", "one holds code and the other quotes something else", 0.5)
    if here or there:
        return Finding("literals", "one holds code that the other doesn't", 0.4)
    return Finding("literals", "one quotes something that the other doesn't", 0.2) if said or heard else None


def _missing(code: frozenset[str], other: Letters) -> bool:
    return any(piece not in other.code and not (len(piece) > 2 and _holds(other.bare, piece)) for piece in code)


def _unsaid(quoted: frozenset[str], other: Letters) -> bool:
    return any(piece not in other.quoted and not _holds(other.plain, piece) for piece in quoted)


def _holds(text: str, piece: str) -> bool:
    """Whether a text holds a piece as words of its own (Japanese has no spaces: anywhere)."""
    at = text.find(piece)
    while at >= 0:
        end = at + len(piece)
        if not (_is_letter(text[at - 1 : at]) and _is_letter(piece[0])) and not (
            _is_letter(text[end : end + 1]) and _is_letter(piece[-1])
        ):
            return True
        at = text.find(piece, at + 1)
    return False


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalnum()
