"""Step 6 of 9: guards on the shape of two texts: their languages, their lengths, and whether one breaks off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from yamabiko.core.guards.reading import Finding, Reading, word_set
from yamabiko.core.late import late
from yamabiko.core.normalise import script

_SMALL_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "en": word_set(
            "the a an is are was were do does did can i you my to of and in on for how what where when who which "
            "why it with not be this that have has your me we at from if want need please don't isn't as by or"
        ),
        "es": word_set(
            "el la los las un una de del que en y a por para con no mi su es está son cómo qué dónde cuándo cuál "
            "quiero puedo se lo le al me como más pero tengo hay"
        ),
        "fr": word_set(
            "le la les un une de des du que qui en et à pour avec ne pas mon ma mes est sont comment où quand "
            "quel quelle je il elle nous vous ce sur dans veux peux au aux se son sa j'ai ai-je ai d'un l'"
        ),
        "de": word_set(
            "der die das ein eine einen und ist sind nicht wie was wo wann wer ich mein meine meinen zu mit für "
            "auf im in den dem es kann habe auch bei wenn oder bitte euch wird von gilt"
        ),
        "it": word_set(
            "il lo la i gli le un una di del della che in e a per con non mio mia è sono come dove quando quale "
            "cosa voglio posso si al da mi ho c'è cos'è cos"
        ),
        "pt": word_set(
            "o a os as um uma de do da dos que em e para com não meu minha é são como onde quando qual quero "
            "posso se ao por no na meus minhas eu"
        ),
        "pl": word_set("się jak czy nie na jest w z do dlaczego przy gdzie kiedy mogę mój moje chcę proszę"),
        "nl": word_set(
            "de het een van en is zijn niet hoe wat waar wanneer wie ik mijn met voor op te in dat kan heb ook "
            "bij naar of je u"
        ),
    }
)
_LETTERED: Mapping[str, str] = MappingProxyType(
    {"¿": "es", "ß": "de", "ã": "pt", "õ": "pt", "ł": "pl", "ą": "pl", "ę": "pl", "ż": "pl"}
)
_CHINESE = late(
    "[吗么们这请哪谁您岛还没怎给让说对时间钱汇预约货册样电话车报离续证问题应]|什麼|怎麼|嗎|請問|為什|我的|你的|是多|多少"
)
_KANJI_OR_KANA = late("[\u3041-\u309f\u30a1-\u30fa\u3400-\u9fff]")
_KANA = late("[\u3041-\u309f\u30a1-\u30fa]")


def tongue(reading: Reading) -> str:
    """The language or at least the script of a text; empty where it can't be told."""
    if not reading.folded.isascii() and _KANJI_OR_KANA.search(reading.folded):
        return "zh" if not _KANA.search(reading.folded) and _CHINESE.search(reading.folded) else "ja"
    name = script(reading.folded)
    if name != "latin":
        return "" if name == "other" else name
    if reading.folded.isascii() and len(reading.words) < 3:
        return "latin"
    if len(words := reading.words & _SMALL_WORDS["en"]) > 3 and reading.folded.isascii():
        return "latin"
    best = {language: len(words & reading.words) for language, words in _SMALL_WORDS.items()}
    if not reading.folded.isascii():
        for char, language in _LETTERED.items():
            if char in reading.folded:
                best[language] = best.get(language, 0) + 2
    english = len(words)
    del best["en"]
    language = max(best, key=lambda name: best[name])
    if best[language] >= english + 2:
        return language
    return "latin"


def language(asked: Reading, stored: Reading) -> Finding | None:
    """The texts are in different languages, so the answer would be too."""
    one, other = asked.of(tongue), stored.of(tongue)
    if not one or not other or one == other:
        return None
    return Finding("language", "they are in different languages", 1.0)


LONGEST_RATIO = 3.0
"""How many times longer one text may be than the other. Source: the decision's specification, ratio within 1/3 .. 3."""

_SURPLUS: Mapping[str, int] = MappingProxyType({"en": 16, "ja": 32, "other": 48})
"""How much longer a text must be: in words, or else in characters. *Refund?* may ask as much as a sentence."""


def length(asked: Reading, stored: Reading) -> Finding | None:
    """One text is more than three times as long as the other and so says much that the other doesn't."""
    measure = asked.language if asked.language == stored.language else "other"
    one, other = (len(r.tokens) if measure == "en" else len(r.folded) for r in (asked, stored))
    short, long = sorted((one, other))
    if long <= LONGEST_RATIO * short or long - short < _SURPLUS[measure]:
        return None
    return Finding("length", f"one is {long / max(1, short):.0f} times as long as the other", 0.6)


_OPEN_ENDED = word_set(
    "the a an my your our their his her and or but because if of nor than while although though whether every "
    "without except between during unless until as its it's"
)
_PREPOSITIONS = word_set("to for from with on in at by after about into near under over against before within via")
_STRANDING = word_set("what which who whom where whose far")
_BRACKETS: Mapping[str, str] = MappingProxyType({"(": ")", "[": "]", "「": "」", "『": "』", "“": "”"})
_ENDS_OPEN_JA = late(
    r"(?:[、,・]|、[^、]{1,12}[をに]|(?<![こそあどひるう])と|(?<=[\u3400-\u9fff\u30a1-\u30fc])や|ながら|ために|ため|のに|ので|しかも|さらに|および|または|そして|けれども|が、)$"
)


def broken_off(reading: Reading) -> bool:
    """Whether a text seems to end in its middle."""
    text = reading.folded.rstrip()
    for opening, closing in _BRACKETS.items():
        if opening in text and text.count(opening) > text.count(closing):
            return True
    if '"' in text and text.count('"') % 2 and text.find('"') != len(text) - 1 and not re.search(r'\d"', text):
        return True
    dotted = text.endswith(("...", "…", "‥"))
    bare = text.rstrip(".…‥") if dotted else text
    if reading.language == "ja":
        return dotted or _ENDS_OPEN_JA.search(bare) is not None
    if reading.language != "en" or not reading.tokens or bare.endswith(("?", "!", ".", ")", '"')):
        return False
    last = reading.tokens[-1]
    if last == "a" and bare.endswith("a") and reading.text.rstrip(".…‥ ").endswith("A"):
        return False
    if last in _OPEN_ENDED or dotted:
        return True
    return last in _PREPOSITIONS and reading.words.isdisjoint(_STRANDING) and not _is_phrasal(reading)


_PHRASAL = word_set(
    "log sign turn switch check plug come go get be is put give take look carry move hand fill break set far walk"
)


def _is_phrasal(reading: Reading) -> bool:
    """Whether the last word belongs to a verb: sign in, carry on, far to walk to."""
    before = reading.tokens[-2] if len(reading.tokens) > 1 else ""
    return any(before.removesuffix(ending) in _PHRASAL for ending in ("", "s", "ing", "ed", "ning", "ting"))


def truncation(asked: Reading, stored: Reading) -> Finding | None:
    """One text breaks off in its middle: what is missing may be what the other one says, or anything else."""
    if asked.folded == stored.folded:
        return None
    one, other = asked.of(broken_off), stored.of(broken_off)
    if not one and not other:
        return None
    if one and other and asked.tokens == stored.tokens:
        return None
    return Finding("truncation", "one of them breaks off" if one != other else "both of them break off", 0.6)
