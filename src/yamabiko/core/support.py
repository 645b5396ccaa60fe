"""Step 7 of 9: does a passage still say what an answer says? Words and characters are compared, no model is asked.

An answer is supported where what is new in it (what the question doesn't say already) stands in the evidence: words
and pairs of neighbouring words in English, pairs of neighbouring characters in Japanese. Three things weigh more than
their share of the text:

* **Facts.** Each number and each name that the evidence lacks takes away its part of the whole share. A changed figure
  is one word of thirty, and the whole answer.
* **Edits.** A sentence of the evidence that says most of what a sentence of the answer says, and otherwise something
  else, is that sentence, edited since.
* **Place.** The answer must stand where the evidence speaks of the question: an edit that swaps two names leaves both
  in the paragraph, each in the other's sentence.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from yamabiko.core.guards.reading import word_set

MIN_SUPPORT = 0.875
"""From which share on an answer counts as supported; chosen by ``benchmarks/evidence.py`` (results/evidence.json)."""

_STOP = word_set(
    "a an the this that these those it its he she they them his her their him we us our you your i me my and or but nor"
    " so if then than as of in on at by to for from with into onto over under about after before between during is are"
    " was were be been being am do does did done has have had having will would can could may might must shall should"
    " not no yes there here what which who whom whose when where why how many much s t also very just answer called"
    " known used"
)
"""English words that say nothing by themselves."""

_KANA = "\u3041-\u309f"
_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff"
_KANJI = "\u3005\u3007\u3400-\u9fff"
_TOKEN = rf"\d[\d,]*(?:\.\d+)?|[^\W\d_{_KANA}{_KATAKANA}{_KANJI}]+(?:['’][a-z]+)?|[{_KANA}{_KATAKANA}{_KANJI}]+"
_JAPANESE = rf"[{_KANA}{_KATAKANA}{_KANJI}]"
_SENTENCE = r"(?<=[。！？!?\n])|(?<=[.;])(?=\s+[^\sa-z])"
_NAME_JA = rf"[{_KATAKANA}]{{2,}}"
_KANJI_DIGITS = str.maketrans("〇一二三四五六七八九", "0123456789")
_POSITIONAL = r"[〇一二三四五六七八九]{2,}"

# The next four: benchmarks/evidence.py, dev half; stale answers served weighed three times as much as answers lost.
_PLACE = 0.5
"""So much of the share an answer loses that stands in the wrong place altogether."""
_BEFORE = 0.25
"""How much of what the sentence before says of the question counts for a sentence, which may refer to it."""
_ALIGNED = 0.5
"""From here on a sentence of the evidence is taken as the answer's own, perhaps edited since."""
_STEEP = 4.0
"""How fast the share falls with the part of it that such a sentence lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """How much of an answer its evidence still says.

    ``share`` in [0, 1]: 1 where all of it stands there. ``reasons``: what speaks against it, in sentences without any
    word of the texts.
    """

    share: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as it is compared: its units, and the facts among them."""

    units: frozenset[str]
    facts: frozenset[str]


def support(answer: str, passages: Sequence[str], *, question: str = "") -> Support:
    """How much of ``answer`` stands in ``passages``, as an answer to ``question`` if one is given.

    An answer that holds nothing to compare (a yes, a smile) has the share 0: nobody can say where it came from.
    """
    asked = _read(question).units
    told = [piece for said in _sentences(answer) if (piece := _new(_read(said, facts=True), asked)).units]
    if not told:
        return Support(share=0.0, reasons=("the answer holds nothing that could be looked for",))
    windows = [_read(sentence, evidence=True).units for passage in passages for sentence in _sentences(passage)]
    spoken = _spoken(asked | frozenset(_pattern(rf"[{_KANJI}]").findall(question)), windows)
    total = sum(len(piece.units) for piece in told)
    share = 0.0
    reasons: list[str] = []
    for piece in told:
        part, why = _supported(piece, windows, spoken)
        share += part * len(piece.units) / total
        reasons += why
    return Support(share=share, reasons=tuple(dict.fromkeys(reasons)))


def _supported(told: _Text, windows: Sequence[frozenset[str]], spoken: Sequence[float]) -> tuple[float, list[str]]:
    """The share of one sentence of an answer, and what speaks against it."""
    everything = frozenset[str]().union(*windows)
    covered = [len(told.units & window) for window in windows]
    best = max(covered, default=0)
    share, near = len(told.units & everything) / len(told.units), best / len(told.units)
    reasons: list[str] = []
    if _ALIGNED <= near < 1:  # the same sentence, and it says something else
        share = min(share, max(0.0, 1 - _STEEP * (1 - near)))
        reasons.append(f"a sentence of the evidence says {near:.0%} of it, and otherwise something else")
    elif share < 1:
        reasons.append(f"{share:.0%} of what is new in the answer stands in the evidence")
    if told.facts:
        found = len(told.facts & everything)
        share *= found / len(told.facts)
        if found < len(told.facts):
            reasons.append("a number or name of the answer does not stand in the evidence")
    most = max(spoken, default=0.0)
    if most and best:
        place = max(said for said, found in zip(spoken, covered, strict=True) if found == best) / most
        share *= (1 - _PLACE) + _PLACE * place
        if place < 1:
            reasons.append("it stands where the evidence says less of the question than elsewhere")
    return share, reasons


def _new(told: _Text, asked: frozenset[str]) -> _Text:
    """What an answer says that the question doesn't; a pair of words is new where both are."""
    units = frozenset(unit for unit in told.units if unit not in asked and asked.isdisjoint(unit.split(" ")))
    if not units:
        return told
    return _Text(units, told.facts - asked)


def _spoken(asked: frozenset[str], windows: Sequence[frozenset[str]]) -> list[float]:
    """How much each sentence says of the question, and the one before, which it may refer to; rare words weigh more."""
    counts = Counter(unit for window in windows for unit in window)
    rarity = {unit: math.log(1 + len(windows) / count) for unit, count in counts.items()}
    about = [sum(rarity[unit] for unit in asked & window) for window in windows]
    return [own + _BEFORE * (about[at - 1] if at else 0.0) for at, own in enumerate(about)]


def _sentences(passage: str) -> list[str]:
    return [piece for piece in _pattern(_SENTENCE).split(passage) if piece.strip()]


def _read(text: str, *, facts: bool = False, evidence: bool = False) -> _Text:
    """The units of a text, and its facts where they are asked for."""
    plain = unicodedata.normalize("NFKC", text)
    plain = _pattern(_POSITIONAL).sub(lambda match: match[0].translate(_KANJI_DIGITS), plain)
    units: set[str] = set()
    found: set[str] = set()
    before, begins = "", True
    for match in _pattern(_TOKEN).finditer(plain):
        token = match[0]
        if _pattern(_JAPANESE).match(token):
            units.update(_pairs(token, grammar=evidence))
            if evidence:
                units.update(token)  # a lone character of an answer stands inside a run here
            before = ""
            if facts:
                found.update(pair for name in _pattern(_NAME_JA).findall(token) for pair in _pairs(name))
        else:
            word = _stem(token)
            if word in _STOP:
                begins, before = False, ""
                continue
            units.add(word)
            if before:
                units.add(f"{before} {word}")
            if facts and (token[0].isdigit() or (token[0].isupper() and not begins)):
                found.add(word)
            before = word
        begins = plain[match.end() : match.end() + 1] in {".", "!", "?"}
    if not units:  # つゆ is an answer too
        units.update(pair for run in _pattern(rf"{_JAPANESE}+").findall(plain) for pair in _pairs(run, grammar=True))
    if facts and not found and len(units) <= 3:
        found = units
    return _Text(frozenset(units), frozenset(found))


def _pairs(run: str, *, grammar: bool = False) -> list[str]:
    """Pairs of neighbouring characters; without ``grammar`` none that ends in hiragana. A lone character is its own."""
    pairs = [run[at : at + 2] for at in range(len(run) - 1)] or [run]
    return pairs if grammar else [pair for pair in pairs if not "\u3041" <= pair[-1] <= "\u309f"]


def _stem(token: str) -> str:
    """A number without separators; a word folded, without a genitive or plural ending."""
    if token[0].isdigit():
        return token.replace(",", "").rstrip(".")
    word = re.sub(r"['’](?:s)?$", "", token.casefold())
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
