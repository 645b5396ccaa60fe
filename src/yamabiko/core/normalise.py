"""Step 1 of 9: take out of a question what can't change its answer, and nothing else.

Two forms of the last turn are made. ``question`` is what the exact tier compares: Unicode compatibility forms,
white space, a trailing full stop, repeated terminal punctuation and the case of ordinary words are taken out. ``text``
is what is embedded: the same without touching case and punctuation, which an embedder reads better than we do.

Wherever it is not plain that a difference is one of form (code, quotations, indented lines, tables, formulas),
the text is kept as it is: the price is a hit that is lost, never a wrong one. Both forms are idempotent.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from itertools import groupby

from yamabiko.message import Message
from yamabiko.types import Canonical, Request

# Patterns stand here as text; each is compiled at its first use, not when the package is imported.

_QUOTES = frozenset('`"“”„‘「」『』«»')
"""Characters that open or close something to be taken literally."""

_QUOTED = r'(`[^`]*`|"[^"]*"|“[^“”]*”|「[^「」]*」|『[^『』]*』|«[^«»]*»)'
"""Quotations that don't hold their own kind; where they do, the outer ones don't close, and the text is kept."""

_LOOSE_APOSTROPHE = r"(?<![^\W\d_])'|'(?![^\W\d_])"
"""An apostrophe that is not inside a word: a quotation mark, a prime or a plural genitive."""

_INDENTED = r"\n[^\S\n]+\S"

_CODE_BLOCK = r"```|~~~|\n(?:\t| {2,})\S"
"""A fence or an indented line. An embedding hardly sees one character of code; an answer depends on it."""

_FORMULA = frozenset("{}=<>|\\;^")
"""Characters of code and formulas that prose hardly uses: with one of them, case and punctuation are kept."""

_ZERO_WIDTH = "[\ufeff\u200b\u00ad]"
"""Byte order mark, zero-width space and soft hyphen. Joiners and bidi controls change what is read, and stay."""

_CJK = "\u3001-\u30ff\u3400-\u9fff\uac00-\ud7a3"
_CASED = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0370-\u037d\u037f-\u052f\u1e00-\u1fff"

_CAPITALISED_ASCII = (
    r"(?s)(?<![^\s(])(?:[A-Z][a-z]+(?:['-][A-Z]?[a-z]+)*|I(?:'[a-z]+)?|(?<!.)A(?=\s))(?=[,:!?.)]*(?:\s|\Z))"
)
_WORD = rf"{_QUOTED}|(?<![^\s({_CJK}])[{_CASED}]+(?:['-][{_CASED}]+)*(?=[,:!?.)]*(?:[\s{_CJK}]|\Z))"
_TYPOGRAPHIC_APOSTROPHE = r"(?<=[^\W\d_])’(?=[^\W\d_])"

_MEANT = ("<super>", "<sub>", "<font>", "<fraction>")
"""Decompositions that lose meaning: 2ⁿ is not 2n, ℝ is not R."""

_UNCOMMON = (
    "[^\x00-\x7f\u00c0-\u024f\u0386-\u052f\u3001-\u309a\u309d-\u30ff\u3400-\u9fff\uac00-\ud7a3"
    "\uff01\uff03-\uff06\uff08-\uff3f\uff41-\uff5e]"
)
"""Outside the blocks of ordinary text, which need not be asked about one by one."""


def normalise(request: Request) -> Canonical:
    """The last turn of a request in its exact and its embedded form.

    ``question`` of a plain user turn is folded; any other turn keeps its text to the letter (its role and parts
    join in the key). ``text`` is empty, with ``not_embedded`` saying why, where nothing may be matched by meaning.
    """
    turn = request.messages[-1]
    reason = _not_embedded(request, turn)
    if reason:
        return Canonical(question=turn.text, text="", not_embedded=reason)
    text = light(turn.text)
    if not text:
        return Canonical(question="", text="", not_embedded="the question is empty")
    return Canonical(question=fold(turn.text), text=text)


def _not_embedded(request: Request, turn: Message) -> str:
    if request.bypass:
        return "the request asks to bypass the cache"
    if turn.role != "user":
        return "the last message is not the user's"
    if turn.parts:
        return "the last message holds more than text"
    if _pattern(_CODE_BLOCK).search(turn.text):
        return "the question holds a block of code or the like: one character of it may change the answer"
    return ""


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def light(text: str) -> str:
    """The embedded form: compatibility forms unified, white space collapsed and trimmed; the rest is kept."""
    if not text.isascii():
        text = _compatible(_pattern(_ZERO_WIDTH).sub("", text))
    return " ".join(text.split())


def fold(text: str) -> str:
    """The exact form of a plain question. Idempotent; never changes a digit, code or a question mark's presence."""
    text = text.strip()
    if _is_laid_out(text):
        return text
    if text.isascii():
        if "`" in text or '"' in text:
            return _fold_around_quotes(text)
        return _fold_words(_trim_end(_collapse(text)))
    bare = _pattern(_ZERO_WIDTH).sub("", text)
    if not _QUOTES.isdisjoint(text):
        return _fold_around_quotes(text) if bare == text else text
    return _fold_words(_trim_end(_collapse(_compatible(bare))))


def _is_laid_out(text: str) -> bool:
    """Whether white space or quotation marks carry meaning that we can't be sure to read right."""
    return (
        "\t" in text
        or "``" in text
        or "~~~" in text
        or "‘" in text
        or ("\n" in text and _pattern(_INDENTED).search(text) is not None)
        or ("'" in text and _pattern(_LOOSE_APOSTROPHE).search(text) is not None)
    )


def _fold_around_quotes(text: str) -> str:
    """Fold what stands outside quotations; a text whose quotations don't close is kept to the letter."""
    pieces = _pattern(_QUOTED).split(text)
    if not all(_QUOTES.isdisjoint(piece) for piece in pieces[::2]):
        return text
    pieces[::2] = [_collapse_inside(_compatible(piece)) for piece in pieces[::2]]
    return _fold_words(_trim_end("".join(pieces)))


def _compatible(text: str) -> str:
    """NFKC, except for characters whose compatibility form would mean something else."""
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        return text
    kept = {char for char in set(_pattern(_UNCOMMON).findall(text)) if _would_change_meaning(char)}
    if not kept:
        return unicodedata.normalize("NFKC", text)
    return "".join(
        "".join(run) if literal else unicodedata.normalize("NFKC", "".join(run))
        for literal, run in groupby(text, kept.__contains__)
    )


def _would_change_meaning(char: str) -> bool:
    """² is not 2 and ㎡ not m2, but a full-width digit is the digit; nor may quotes or spaces appear from nowhere."""
    form = unicodedata.normalize("NFKC", char)
    if form == char:
        return False
    if unicodedata.decomposition(char).startswith(_MEANT):
        return True
    if not _QUOTES.isdisjoint(form) or "'" in form:
        return True
    return (not char.isdecimal() and any(c.isdecimal() for c in form)) or (
        not char.isspace() and any(c.isspace() for c in form)
    )


def _collapse(text: str) -> str:
    """White space runs to one space, or to one line feed where they hold one; trimmed."""
    if "\n" in text:
        return _collapse_inside(text).strip()
    return " ".join(text.split())


def _collapse_inside(text: str) -> str:
    return re.sub(r"\s+", lambda run: "\n" if "\n" in run[0] else " ", text)


def _trim_end(text: str) -> str:
    """Without a trailing full stop, and with one terminal mark instead of several, where they end a plain word.

    What ends otherwise may mean it: ``cd ..``, ``3.``, ``U.S.``, ``5!!`` (a double factorial), an ellipsis.
    """
    last = text[-1:]
    if last not in (".", "?", "!", "。") or not _FORMULA.isdisjoint(text):
        return text
    stem = text.rstrip(last)
    if last == "。":
        return stem if stem and stem[-1] not in " \n?!." else text
    if stem == text[:-1] and last != ".":
        return text
    if not _ends_in_word(stem):
        return text
    if last == ".":
        return stem if len(text) - len(stem) == 1 else text
    return stem + last


def _ends_in_word(text: str) -> bool:
    """Whether the last token is a word of two letters or more, or Japanese, Chinese or Korean, which has no tokens."""
    if "\u3041" <= text[-1:] <= "\ud7a3":
        return text[-1].isalpha()
    word = text[max(text.rfind(" "), text.rfind("\n")) + 1 :]
    bare = word.replace("'", "").replace("’", "").replace("-", "")
    return len(word) > 1 and word[-1].isalpha() and bare.isalpha()


def _fold_words(text: str) -> str:
    """Lower case for capitalised words, and for all words of a text in capitals; ``IT`` is not ``it``."""
    if "’" in text and _QUOTES.isdisjoint(text):
        text = _pattern(_TYPOGRAPHIC_APOSTROPHE).sub("'", text)
    if text == text.lower() or not _FORMULA.isdisjoint(text):
        return text
    if text.isupper() and _is_shouted(text):
        return _pattern(_WORD).sub(_lower_any, text)
    if text.isascii() and '"' not in text and "`" not in text:
        return _pattern(_CAPITALISED_ASCII).sub(_lower, text)
    return _pattern(_WORD).sub(_lower_capitalised, text)


def _is_shouted(text: str) -> bool:
    """A sentence in capitals, not a handful of acronyms: three words or more, one of them of five letters or more."""
    words = [match[0] for match in _pattern(_WORD).finditer(text) if match[1] is None and len(match[0]) > 1]
    return len(words) >= 3 and max(map(len, words)) >= 5 and 2 * len(words) > len(text.split())


def _lower(match: re.Match[str]) -> str:
    return match[0].lower()


def _lower_any(match: re.Match[str]) -> str:
    return match[0] if match[1] else _lowered(match[0])


def _lower_capitalised(match: re.Match[str]) -> str:
    word = match[0]
    if match[1] or not word[0].isupper():
        return word
    if word == "I" or (word.startswith("I'") and word[2:].isalpha() and word[2:].islower()):
        return _lowered(word)
    if word == "A" and match.start() == 0 and match.string[1:2].isspace():
        return "a"
    parts = re.split("['-]", word)
    if len(parts[0]) < 2 or not all(part.islower() or part[1:].islower() for part in parts):
        return word
    return _lowered(word)


def _lowered(word: str) -> str:
    """Lower case, unless that leaves the normal form (a few letters have no lower case of one character)."""
    lower = word.lower()
    return lower if lower.isascii() or unicodedata.is_normalized("NFKC", lower) else word


_KANA = "[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]"
_LATIN_LETTER = "[A-Za-z]"

_BLOCKS: tuple[tuple[int, str], ...] = (
    (0x0000, "other"),
    (0x0041, "latin"),
    (0x0250, "other"),
    (0x0370, "greek"),
    (0x0400, "cyrillic"),
    (0x0530, "other"),
    (0x0590, "hebrew"),
    (0x0600, "arabic"),
    (0x0700, "other"),
    (0x0750, "arabic"),
    (0x0780, "other"),
    (0x0870, "arabic"),
    (0x0900, "devanagari"),
    (0x0980, "other"),
    (0x0E00, "thai"),
    (0x0E80, "other"),
    (0x1100, "hangul"),
    (0x1200, "other"),
    (0x1E00, "latin"),
    (0x1F00, "greek"),
    (0x2000, "other"),
    (0x3130, "hangul"),
    (0x3190, "other"),
    (0x3400, "han"),
    (0xA000, "other"),
    (0xAC00, "hangul"),
    (0xD7B0, "other"),
    (0xF900, "han"),
    (0xFB00, "other"),
    (0xFB50, "arabic"),
    (0xFE00, "other"),
    (0xFE70, "arabic"),
    (0xFF00, "other"),
    (0xFF21, "latin"),
    (0xFF5B, "other"),
    (0x20000, "han"),
    (0x32000, "other"),
)
"""First code point of each run of blocks and its script. Source: Unicode 15.1, Blocks.txt."""

_STARTS = tuple(start for start, _ in _BLOCKS)


def script(text: str) -> str:
    """The script that a text is written in.

    One of latin, japanese, han, hangul, cyrillic, arabic, thai, devanagari, greek, hebrew, other. Any kana makes a
    text Japanese, however many Latin product names it holds: ``Amazon Bedrockの料金は`` is a Japanese question.
    Else the script of most letters; a text without letters is ``other``.
    """
    if text.isascii():
        return "latin" if _pattern(_LATIN_LETTER).search(text) else "other"
    if _pattern(_KANA).search(text):
        return "japanese"
    counts: Counter[str] = Counter()
    for char, count in Counter(text).items():
        if char.isalpha():
            counts[_BLOCKS[bisect_right(_STARTS, ord(char)) - 1][1]] += count
    return max(counts, key=lambda name: (counts[name], name)) if counts else "other"
