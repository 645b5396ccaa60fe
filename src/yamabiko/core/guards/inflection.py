"""Step 6 of 9: the forms that a word of a table may take in a text, in English and Japanese."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from yamabiko.core.guards.reading import word_set

_PRINCIPAL_PARTS = (
    "buy bought, sell sold, resell resold, send sent, lend lent, spend spent, lose lost, win won, "
    "rise rose risen, fall fell fallen, hide hid hidden, show shown, leave left, begin began begun, "
    "give gave given, take took taken, get got gotten, go went gone, come came, put put, cut cut, shut shut, "
    "wake woke woken, teach taught, freeze froze frozen, write wrote written, read read, pay paid, "
    "withdraw withdrew withdrawn, forget forgot forgotten, forbid forbade forbidden, grow grew grown, "
    "shrink shrank shrunk, keep kept, build built, throw threw thrown, undo undid undone, redo redid redone, "
    "prove proven, shed shed, breathe breathed"
)
_OTHER_PARTS = (
    "see saw seen, know knew known, choose chose chosen, bring brought, catch caught, hold held, meet met, "
    "find found, lead led, beat beaten, bite bitten, steal stole stolen, drive drove driven, hear heard, make made, "
    "break broke broken, eat ate eaten, feed fed, fight fought, hit hit, hurt hurt, strike struck, tell told, "
    "think thought, speak spoke spoken, understand understood, feel felt"
)
_IRREGULAR: Mapping[str, str] = MappingProxyType({row.split()[0]: row for row in _PRINCIPAL_PARTS.split(", ")})
_DOUBLED = word_set(
    "stop ship plug unplug cut get put shut ban begin forget forbid pin unpin skip drop log zip unzip quit let "
    "shed omit commit permit equip wrap unwrap win big hot sad wet thin fit dim slim"
)
_MUTE_E_KEPT = word_set("see free agree disagree")


_BASE: Mapping[str, str] = MappingProxyType(
    {
        form: row.split()[0]
        for rows in (_PRINCIPAL_PARTS, _OTHER_PARTS)
        for row in rows.split(", ")
        for form in row.split()[1:]
    }
)


def base(form: str) -> str:
    """The verb that an irregular form belongs to: ``sold`` is of ``sell``; any other word as it stands."""
    return _BASE.get(form, form)


def verb_forms(verb: str) -> Iterator[str]:
    """A regular or known irregular English verb in all of its forms."""
    yield verb
    yield from _IRREGULAR.get(verb, "").split()[1:]
    stem = verb + verb[-1] if verb in _DOUBLED else verb
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        yield verb + "es"
    elif verb.endswith("y") and verb[-2] not in "aeiou":
        yield verb[:-1] + "ies"
    else:
        yield verb + ("es" if verb in {"go", "undo", "redo"} else "s")
    if verb.endswith("e") and verb not in _MUTE_E_KEPT:
        yield verb[:-1] + "ing"
    elif verb.endswith("e"):
        yield verb + "ing"
    else:
        yield stem + "ing"
    if verb in _IRREGULAR:
        return
    if verb.endswith("e"):
        yield verb + "d"
    elif verb.endswith("y") and verb[-2] not in "aeiou":
        yield verb[:-1] + "ied"
    else:
        yield stem + "ed"


def noun_forms(noun: str) -> Iterator[str]:
    """An English noun, its plural, and both as a possessor."""
    plural = (
        noun[:-1] + "ies"
        if noun.endswith("y") and noun[-2] not in "aeiou"
        else noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")
    )
    if noun in {"wife", "child"}:
        plural = {"wife": "wives", "child": "children"}[noun]
    yield from (noun, plural, noun + "'s")


def adjective_forms(word: str) -> Iterator[str]:
    """An English adjective and its degrees."""
    yield word
    if len(word) > 7 or " " in word:
        return
    if word.endswith("e"):
        stem = word[:-1]
    elif word.endswith("y"):
        stem = word[:-1] + "i"
    else:
        stem = word + word[-1] if word in _DOUBLED else word
    yield from (stem + "er", stem + "est")


def english_forms(kind: str, word: str) -> Iterable[str]:
    """The forms of an English word by the kind of its row: a verb, a noun, an adjective, or as it stands."""
    if kind == "v":
        return verb_forms(word)
    if kind == "n":
        return noun_forms(word)
    return adjective_forms(word) if kind == "a" else (word,)


_GODAN: Mapping[str, str] = {
    "う": "わいうえおっ",
    "く": "かきくけこい",
    "ぐ": "がぎぐげごい",
    "す": "さしすせそ",
    "つ": "たちつてとっ",
    "ぬ": "なにぬねのん",
    "ぶ": "ばびぶべぼん",
    "む": "まみむめもん",
    "る": "らりるれろっ",
}
_ICHIDAN = "るまなたてられよずさろ方ばち"
_ADJECTIVE = "いくかさめすそ"


def japanese_forms(kind: str, word: str) -> Iterator[str]:
    """What the forms of a Japanese word begin with; kind ``v5`` is inflected by its last kana."""
    if kind != "v5":
        yield word
    elif word.endswith(("1", "1x")):
        stem = word.rstrip("x")[:-2]
        yield from (stem + kana for kana in _ICHIDAN)
    elif word.endswith("する"):
        yield word[:-2]
    elif word.endswith("い") and len(word) > 1:
        yield from (word[:-1] + kana for kana in _ADJECTIVE)
    elif word[-1] in _GODAN and len(word) > 1:
        yield from (word[:-1] + kana for kana in _GODAN[word[-1]])
    else:
        yield word
