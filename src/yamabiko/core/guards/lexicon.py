"""Step 6 of 9: words that stand at the two ends of one axis (on and off, buy and sell), found in any of their forms.

The table is ``data/antonyms.json``: rows of ``[kind, one end, other end]``. ``kind`` says how English words are
inflected (``v`` verbs, ``n`` nouns, ``a`` adjectives, ``x`` not at all). Japanese verbs and adjectives are inflected by
their last kana, ``1`` marking those whose stem never changes (開ける1). A kind that begins with ``~``, and a Japanese
word that does, is ambiguous: it counts only where the rest of both texts is much the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from yamabiko.core.guards.inflection import english_forms, japanese_forms, verb_forms
from yamabiko.core.guards.reading import Reading, word_set
from yamabiko.core.late import late

PLUS, MINUS, BOTH = 1, 2, 3


class Pole(NamedTuple):
    """One end of one axis, as one form of one word claims it."""

    axis: int
    side: int
    weak: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """Which ends a text claims: axis -> PLUS, MINUS or BOTH; ``weak`` axes rest on ambiguous words alone."""

    sides: Mapping[int, int]
    weak: frozenset[int]
    words: Mapping[int, frozenset[str]]
    """Axis -> the words that claim one of its ends."""
    left: tuple[str, ...]
    """The words (Japanese: pieces of text) that claim nothing."""


@dataclass(frozen=True, slots=True)
class _English:
    words: Mapping[str, tuple[Pole, ...]]
    phrases: Mapping[str, tuple[tuple[tuple[str, ...], tuple[Pole, ...]], ...]]
    """First word -> (the other words, poles), longest first."""
    separable: Mapping[str, Mapping[str, tuple[Pole, ...]]]
    """Verb form -> particle -> poles: turn it off."""
    first: frozenset[str]
    """Every word that one of the three may begin with."""


_PARTICLES = word_set("on off up down in out away back")
_SPLIT_WIDELY = word_set("turn switch power shut put plug scale zoom drop pick wake pay take throw")
_AFTER_PARTICLE = word_set(
    "at during for from in on when while with without if by and or to please automatically again after before "
    "permanently temporarily completely manually every each until because so as via through"
)
_PRONOUNS = word_set("me him her it us them this that myself yourself itself everything everyone users someone")


@functools.cache
def _table() -> Mapping[str, list[tuple[str, str, str]]]:
    text = files("yamabiko.core").joinpath("data/antonyms.json").read_text(encoding="utf-8")
    return {language: [tuple(row) for row in rows] for language, rows in json.loads(text).items()}


@functools.cache
def _english() -> _English:
    words: dict[str, list[Pole]] = {}
    phrases: dict[str, dict[tuple[str, ...], list[Pole]]] = {}
    separable: dict[str, dict[str, list[Pole]]] = {}
    for axis, (kind, plus, minus) in enumerate(_table()["en"]):
        for side, terms in ((PLUS, plus), (MINUS, minus)):
            for term in terms.split(", "):
                pole = Pole(axis, side, kind.startswith("~"))
                if "_" in term:
                    verb, particle = term.split("_")
                    for form in verb_forms(verb):
                        separable.setdefault(form, {}).setdefault(particle, []).append(pole)
                    continue
                for form in english_forms(kind.lstrip("~"), term):
                    first, *others = form.replace("-", " ").split()
                    if others:
                        phrases.setdefault(first, {}).setdefault(tuple(others), []).append(pole)
                    else:
                        words.setdefault(first, []).append(pole)
    return _English(
        words={word: tuple(poles) for word, poles in words.items()},
        phrases={
            first: tuple(
                sorted(((rest, tuple(poles)) for rest, poles in found.items()), key=lambda item: -len(item[0]))
            )
            for first, found in phrases.items()
        },
        separable={
            verb: {particle: tuple(poles) for particle, poles in found.items()} for verb, found in separable.items()
        },
        first=frozenset(words) | frozenset(phrases) | frozenset(separable),
    )


_SMALL = word_set(
    "a an the i you he she it we they me my your his her its our their is are was were be been am do does did to "
    "of in on at for from by with and or if can could will would should may might must what which who how when "
    "where why there this that these those please any some have has had get not no as than so just into about "
    "tell want need don't doesn't didn't can't way best i'm i've it's what's"
)


def _english_claims(reading: Reading) -> Claims:
    table = _english()
    tokens = reading.tokens
    found: list[tuple[Pole, str]] = []
    used: set[int] = set()
    at = 0
    while at < len(tokens):
        word = tokens[at]
        if word not in table.first:
            at += 1
            continue
        taken = 0
        if word in table.separable:
            poles, where = _particle(table.separable[word], tokens, at)
            if poles:
                found.extend((pole, word) for pole in poles)
                used.update((at, where))
                taken = 2 if where == at + 1 else 1
        if not taken and word in table.phrases:
            for rest, poles in table.phrases[word]:
                if tokens[at + 1 : at + 1 + len(rest)] == rest:
                    found.extend((pole, word) for pole in poles)
                    taken = 1 + len(rest)
                    used.update(range(at, at + taken))
                    break
        if not taken and at not in used and word in table.words and not _is_other_sense(word, tokens, at):
            less = at > 0 and tokens[at - 1] in {"less", "least"}
            if word in {"more", "most", "less", "least"} and tokens[at + 1 : at + 2] and tokens[at + 1] in table.words:
                at += 1
                continue
            found.extend((_opposite(pole) if less else pole, word) for pole in table.words[word])
            used.add(at)
        at += taken or 1
    left = tuple(word for at, word in enumerate(tokens) if at not in used) if used else tokens
    return _gathered(found, left)


def _particle(
    particles: Mapping[str, tuple[Pole, ...]], tokens: tuple[str, ...], at: int
) -> tuple[tuple[Pole, ...], int]:
    """The particle of a separable verb: next to it, after a pronoun, or (for some verbs) closing its object."""
    following = tokens[at + 1 : at + 6]
    if following and following[0] in _PARTICLES:
        return _with_other(particles, tokens, at + 1), at + 1
    wide = any(tokens[at].startswith(verb) for verb in _SPLIT_WIDELY)
    for step, word in enumerate(following[1:], start=1):
        if word in _PARTICLES and word in particles:
            after = tokens[at + 2 + step : at + 3 + step]
            closes = not after or after[0] in _AFTER_PARTICLE
            if closes and (wide or (step == 1 and following[0] in _PRONOUNS)):
                return _with_other(particles, tokens, at + 1 + step), at + 1 + step
    return (), at


def _with_other(particles: Mapping[str, tuple[Pole, ...]], tokens: tuple[str, ...], where: int) -> tuple[Pole, ...]:
    """The poles of a particle and of a second one: off and on again."""
    poles = particles.get(tokens[where], ())
    if tokens[where + 1 : where + 2] in {("and",), ("or",)} and where + 2 < len(tokens):
        return poles + particles.get(tokens[where + 2], ())
    return poles


def _opposite(pole: Pole) -> Pole:
    return Pole(pole.axis, BOTH - pole.side, pole.weak)


_OTHER_SENSES: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "like": (word_set("look looks looking feel feels something anything would sounds sound is be it's"), word_set("")),
    "light": (word_set("the traffic a led"), word_set("bulb bulbs year years")),
    "lights": (word_set("the traffic"), word_set("")),
    "old": (word_set("years year months days how"), word_set("town")),
    "short": (word_set("in for"), word_set("")),
    "long": (word_set("how so as"), word_set("as")),
    "far": (word_set("how so as thus"), word_set("")),
    "high": (word_set(""), word_set("school street court")),
    "last": (word_set("will does did do to the"), word_set("name night week year month but")),
    "first": (word_set(""), word_set("name aid class time lady")),
    "right": (word_set("am i'm that's all is it's you're"), word_set("now away to of")),
    "left": (word_set("i he she they we have has is are be was were days"), word_set("my a the in on behind")),
    "fall": (word_set("the this last next in"), word_set("asleep in for")),
    "good": (word_set("for"), word_set("morning evening night afternoon")),
    "after": (word_set("look looks looking named one day"), word_set("all")),
    "before": (word_set("day"), word_set("")),
    "next": (word_set(""), word_set("to")),
    "past": (word_set("half in"), word_set("")),
    "fast": (word_set("how"), word_set("food")),
    "hard": (word_set("how"), word_set("drive disk drives")),
    "cold": (word_set("a common"), word_set("")),
    "hot": (word_set(""), word_set("dog dogs")),
    "common": (word_set("in"), word_set("sense cold law")),
    "close": (word_set(""), word_set("to")),
    "public": (word_set(""), word_set("key transport transportation school")),
    "private": (word_set(""), word_set("key")),
    "more": (word_set("any no once what"), word_set("about info information details")),
    "over": (word_set("all"), word_set("the here there")),
    "single": (word_set("every a each"), word_set("")),
    "negative": (word_set(""), word_set("number numbers")),
    "fire": (word_set("a the on"), word_set("alarm extinguisher department")),
    "pull": (word_set(""), word_set("request requests")),
    "new": (word_set(""), word_set("york zealand delhi jersey orleans year mexico hampshire")),
    "big": (word_set("how"), word_set("data bang ben")),
    "tall": (word_set("how"), word_set("")),
    "deep": (word_set("how"), word_set("learning")),
    "wide": (word_set("how world"), word_set("")),
    "heavy": (word_set("how"), word_set("")),
    "often": (word_set("how"), word_set("")),
    "expensive": (word_set("how"), word_set("")),
    "risk": (word_set("at"), word_set("")),
    "sent": (word_set("was were been be being is are"), word_set("")),
    "given": (word_set("was were been be being is are i've"), word_set("")),
    "less": (word_set(""), word_set("than")),
    "child": (word_set("my our"), word_set("")),
}
"""Word -> words before it and words after it that show another sense."""


def _is_other_sense(word: str, tokens: tuple[str, ...], at: int) -> bool:
    senses = _OTHER_SENSES.get(word)
    if senses is None:
        return False
    return (at > 0 and tokens[at - 1] in senses[0]) or (at + 1 < len(tokens) and tokens[at + 1] in senses[1])


def _stem(word: str) -> str:
    for ending in ("'s", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@functools.cache
def _japanese() -> Mapping[str, tuple[tuple[str, tuple[Pole, ...]], ...]]:
    """First two characters -> (form, poles), longest first: far quicker than one alternation over all forms."""
    forms: dict[str, list[Pole]] = {}
    for axis, (kind, plus, minus) in enumerate(_table()["ja"]):
        for side, terms in ((PLUS, plus), (MINUS, minus)):
            for term in terms.split(", "):
                pole = Pole(axis, side, term.startswith("~"))
                for form in japanese_forms(kind, term.lstrip("~")):
                    forms.setdefault(form, []).append(pole)
    for neutral in _NEUTRAL:
        forms[neutral] = []
    by_head: dict[str, list[tuple[str, tuple[Pole, ...]]]] = {}
    for form, poles in sorted(forms.items(), key=lambda item: -len(item[0])):
        by_head.setdefault(form[:2], []).append((form, tuple(poles)))
    return {head: tuple(found) for head, found in by_head.items()}


_NEUTRAL = word_set(
    "以上のように 方法 高校 高速 高齢 高等 最高裁 最高裁判所 売上 売り上げ 売り切れ 売場 売り場 左右 上下 上手 "
    "下手 目上 上司 部下 上記 下記 以下の 以上の 上着 下着 地下 地下鉄 靴下 年上 年下 値下 上海 右翼 左翼 大きさ "
    "長さ 高さ 重さ 広さ 速さ 深さ 厚さ 太さ 強さ 早さ 多さ 多くの 数多く 近くの人 最近 付近 近所 仕上げ 締め切り "
    "締切 裏切 売り切 使い切 押し切 区切 割り切 踏み切 切手 切符 切り替え 切替 大切 親切 適切 一切 取り消 打ち消 "
    "消費 消化 消防 引き続き 取引 割引 値引 引っ越 引越 引退 お引き 字引 差し引 引き落と 引用 手に入 気に入 "
    "取り入れ 受け入れ 思い出 引き出 出来 出会 出身 出かけ 出掛け 呼び出 取り出 言い出 飛び出 見出 提出 朝食 夕食 "
    "昼食 夜景 夏休み 冬休み 春夏 最後まで 最初から 男女 父母 両親 兄弟 姉妹 夫婦 教え方 お兄 お姉 長野 長崎 高知 "
    "高松 広島 福島 大阪 大分 小学 大学 中学 小説 大人 子供 子ども 早稲田 安心 安定 不安 目安 短歌 軽井沢 重要 "
    "重複 体重 重大 慎重 尊重 二重 弱肉 浅草 深夜 新幹線 新宿 新聞 新潟 新しいもの 古都 古代 悪化 悪用 気持ち悪 "
    "都合が悪 若者 若干 起きた 起きて 起きる 厚生 暑中 甘え 辛うじて 薄力 入力欄 入力画面 質問です 質問があ "
    "質問が 質問し 質問を 質問なの 回答を 回答し 結果を 結果が 結果は 食べ終わ 結婚式 上がり框 下さい お買い得 "
    "買い物 お買い物 自動車 自動販売機 自動販売 海外旅行"
)
"""Japanese words that hold a pole's form and mean something else."""

_KANJI_OR_KATAKANA = late("[\u30a1-\u30fa\u30fc\u3400-\u9fffa-z0-9]+")


def _japanese_claims(reading: Reading) -> Claims:
    table = _japanese()
    text = reading.folded
    found: list[tuple[Pole, str]] = []
    left: list[str] = []
    at = begin = 0
    while at < len(text):
        step = 1
        for form, poles in table.get(text[at : at + 2]) or table.get(text[at], ()):
            if text.startswith(form, at):
                found.extend((pole, form) for pole in poles)
                step = len(form)
                if poles:
                    left.append(text[begin:at])
                    begin = at + step
                break
        at += step
    left.append(text[begin:])
    return _gathered(found, tuple(left))


def _gathered(found: Iterable[tuple[Pole, str]], left: tuple[str, ...]) -> Claims:
    if not found:
        return Claims({}, frozenset(), {}, left)
    sides: dict[int, int] = {}
    strong: set[int] = set()
    words: dict[int, frozenset[str]] = {}
    for pole, word in found:
        words[pole.axis] = words.get(pole.axis, frozenset()) | {word}
        sides[pole.axis] = sides.get(pole.axis, 0) | pole.side
        if not pole.weak:
            strong.add(pole.axis)
    return Claims(sides, frozenset(sides) - strong, words, left)


def claims(reading: Reading) -> Claims:
    """Which ends of which axes a text names."""
    if reading.language == "ja":
        return _japanese_claims(reading)
    return _english_claims(reading) if reading.language == "en" else Claims({}, frozenset(), {}, ())


def flips(asked: Reading, stored: Reading) -> int:
    """On how many axes the texts name opposite ends; an axis of which a text names both ends says nothing.

    Two words that are opposites on several axes count once.
    """
    if asked.language != stored.language:
        return 0
    one, other = asked.of(claims), stored.of(claims)
    found: set[tuple[frozenset[str], frozenset[str]]] = set()
    agreeing: bool | None = None
    for axis, side in one.sides.items():
        if side | other.sides.get(axis, side) != BOTH or side == BOTH or other.sides[axis] == BOTH:
            continue
        if axis in one.weak or axis in other.weak:
            if agreeing is None:
                agreeing = alike(asked.of(context), stored.of(context))
            if not agreeing:
                continue
        found.add((one.words[axis], other.words[axis]))
    return len(found) + _prefixed(asked, stored) + _prefixed(stored, asked)


_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non")
_NO_PREFIXES = word_set(
    "inform invest imprint discount discounts disorder disorders increase inside improve import display discover "
    "income input install indoor indoors intent union unit units into impress impact dispatch disease dissent "
    "dismiss district inset intake instant invent inverse intense until under displays inputs imports invests"
)
"""Words that begin like a prefix and aren't the opposite of what follows it."""


def _prefixed(reading: Reading, against: Reading) -> int:
    """How many words of one text are words of the other one with a negative prefix: opened and unopened."""
    others = against.words
    return sum(word not in others and base in others for word, base in reading.of(_negatives))


def _negatives(reading: Reading) -> tuple[tuple[str, str], ...]:
    """The words of a text that begin like a negative prefix, each with what follows it; not where the text has both."""
    found = []
    for word in reading.words:
        if word[:1] in "uidn" and word.startswith(_PREFIXES) and len(word) > 5 and word not in _NO_PREFIXES:
            base = word[3:] if word.startswith(("dis", "non")) else word[2:]
            if base not in reading.words and word not in _english().words:
                found.append((word, base))
    return tuple(found)


def context(reading: Reading) -> frozenset[str]:
    """The content words (Japanese: pairs of characters) of a text that claim no end of an axis."""
    left = reading.of(claims).left
    if reading.language != "ja":
        return frozenset(_stem(word) for word in left if word not in _SMALL)
    runs = (run for piece in left for run in _KANJI_OR_KATAKANA.findall(piece))
    return frozenset(run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1)))


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two texts say much the same around the words in question."""
    if not one or not other:
        return one == other
    common = len(one & other)
    return 2 * common >= max(len(one), len(other)) or (common >= 2 and common >= min(len(one), len(other)))
