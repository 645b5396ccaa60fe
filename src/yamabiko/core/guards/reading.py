"""Step 6 of 9: what a guard sees of one text, read once however many texts it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

from yamabiko.core.late import late
from yamabiko.core.normalise import light, script

T = TypeVar("T")

Language: TypeAlias = Literal["en", "ja", "other"]
Mode: TypeAlias = Literal["veto", "feature", "off"]
Guard: TypeAlias = Callable[["Reading", "Reading"], "Finding | None"]


def word_set(text: str) -> frozenset[str]:
    """The words of a table that is written as one text."""
    return frozenset(text.split())


def numbered(text: str, start: int = 0, step: int = 1) -> dict[str, int]:
    """The words of ``text`` with their places, counted from ``start`` in steps of ``step``."""
    return {word: start + step * at for at, word in enumerate(text.split())}


MARKS = MappingProxyType(
    {
        ord("’"): "'",
        ord("ʼ"): "'",
        **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"),
        **dict.fromkeys(map(ord, "〜∼"), "~"),
    }
)
"""Typographic marks that are typed in several ways, and the one they are read as."""

_TOKEN = late(
    r"[0-9]+(?:[.,:][0-9]+)*"
    r"|[a-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]+(?:'[a-z]+)?"
    r"|[\u3041-\u309f]+|[\u30a0-\u30fa\u30fc-\u30ff]+|[\u3005-\u3007\u3400-\u9fff\uf900-\ufaff]+"
    r"|(?:(?![0-9_\u3005-\u3007\u3041-\u309f\u30a0-\u30ff\u3400-\u9fff])\w)+"
)
"""A number, a word (with ``n't`` or ``'s``), or a run of hiragana, katakana or kanji."""

_LATIN = late("[a-z\u00c0-\u024f]")

_ENGLISH = word_set(
    "the a an is are was do does did i you my to of and in on for how what why where when who which can it with not"
)
_FOREIGN = word_set(
    "der das und nicht ist wie ich wir mein ein eine einen für auf mit den dem zu el los las que para por cómo como "
    "una un mi es está del con le les des est une dans pour comment je mon ma et du il di che per sono come si ho gli "
    "o os um uma não eu de het een ik hoe van mijn"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One text, as guards see it. Texts never reach its ``repr``."""

    raw: str = field(repr=False)
    """The text as it came."""
    text: str = field(repr=False)
    """Compatibility forms unified (full-width digits are digits), white space made one space, case kept."""
    folded: str = field(repr=False)
    """``text`` casefolded, with one kind each of apostrophe, hyphen and wave dash. Not aligned with ``text``."""
    language: Language
    """``ja`` for any text with kana or mostly kanji, ``en`` for Latin script, unless its small words are another's."""
    tokens: tuple[str, ...] = field(repr=False)
    """Words of ``folded`` in order, without punctuation: ``don't``, ``3.5``, ``1,000``; hyphens part words. Japanese
    comes as runs of one script: パスワード / を / 忘 / れた."""
    words: frozenset[str] = field(repr=False)
    """The different ``tokens``."""
    _noted: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def of(self, extract: Callable[[Reading], T]) -> T:
        """What ``extract``, a pure module-level function, finds in this text; worked out once per reading."""
        noted: dict[Callable[[Reading], T], T] = self._noted  # type: ignore[assignment]  # each keeps its own kind
        if extract in noted:
            return noted[extract]
        found = noted[extract] = extract(self)
        return found


@dataclass(frozen=True, slots=True)
class Finding:
    """What speaks against one text answering for another."""

    guard: str
    """The guard's name, as in ``GUARDS``."""
    detail: str
    """One short English sentence without any word of the texts: it reaches logs."""
    strength: float
    """How much it speaks against, in (0, 1]; 1 is a plain contradiction."""


@lru_cache(maxsize=2048)
def read(text: str) -> Reading:
    """Read a text once for all guards; the texts read last are kept, since stored questions are compared often."""
    plain = light(text)
    folded = plain.casefold()
    if not folded.isascii():
        folded = folded.translate(MARKS)
    tokens = tuple(_TOKEN.findall(folded))
    words = frozenset(tokens)
    return Reading(raw=text, text=plain, folded=folded, language=_language(folded, words), tokens=tokens, words=words)


def _language(folded: str, words: frozenset[str]) -> Language:
    if not folded.isascii():
        name = script(folded)
        if name in {"japanese", "han"}:
            return "ja"
        if name != "latin":
            return "other"
    elif not _LATIN.search(folded):
        return "other"
    foreign = words & _FOREIGN
    return "other" if len(foreign) > 1 and len(foreign) > len(words & _ENGLISH) else "en"
