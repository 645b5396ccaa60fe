"""Step 6 of 9: the guard on what is asked for: a person, a place, a time, a reason, an amount."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from yamabiko.core.guards.reading import Finding, Reading, word_set
from yamabiko.core.late import late

_PLAIN: Mapping[str, str] = MappingProxyType(
    {"who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why"}
)
_HOW: Mapping[str, str] = MappingProxyType(
    {
        "much": "amount",
        "many": "count",
        "long": "duration",
        "often": "frequency",
        "frequently": "frequency",
        "far": "distance",
        "old": "age",
        "big": "size",
        "large": "size",
        "tall": "size",
        "high": "size",
        "wide": "size",
        "heavy": "weight",
        "fast": "speed",
        "hot": "temperature",
        "cold": "temperature",
        "warm": "temperature",
        "come": "why",
        "expensive": "amount",
        "soon": "when",
        "late": "when",
        "early": "when",
    }
)
_NOUNS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(word_set("price prices cost costs fee fees fare fares charge charges amount"), "amount"),
        **dict.fromkeys(word_set("number population"), "count"),
        **dict.fromkeys(word_set("date time day year month deadline hour hours century"), "when"),
        **dict.fromkeys(word_set("place places city country address location folder town"), "where"),
        **dict.fromkeys(word_set("reason reasons cause causes caused makes explains"), "why"),
        **dict.fromkeys(word_set("person people company architect scientist author founder inventor"), "who"),
        **dict.fromkeys(word_set("duration period term length"), "duration"),
        "distance": "distance",
        "age": "age",
        "height": "size",
        "size": "size",
        "weight": "weight",
        "temperature": "temperature",
    }
)
_AUXILIARY = word_set(
    "is are was were do does did can could will would should may might must has have had isn't aren't don't "
    "doesn't didn't can't won't wasn't am ain't"
)
_ASKED = late(
    r"(?:(?P<first>^)|[.,;:!?(\"-]\s*|\b(?:me|know|explain|understand|wonder|wondering|and|or|ask|out|of|sure|idea|see|about|but|"
    r"curious|hi|hello|so|in|to|from|at|for|by|with|since|until)\s+)"
    r"(?P<word>whom?|whose|when|where|why)(?P<is>'s)?\s+(?P<next>[^\W_]+(?:'t)?)"
)
_KIN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "when": word_set("when duration frequency age"),
        "duration": word_set("duration when frequency count distance"),
        "count": word_set("count amount size duration age frequency"),
        "amount": word_set("amount count weight"),
        "size": word_set("size count distance"),
        "distance": word_set("distance duration size"),
        "age": word_set("age when count"),
        "weight": word_set("weight amount size"),
        "frequency": word_set("frequency when duration count"),
        "which": word_set("which who where how count distance size measure yes no why"),
        "measure": word_set("measure amount count duration distance size age weight speed temperature frequency when"),
    }
)
"""What may be another way to ask for the same. Everything else agrees only with itself."""

_TIME = word_set("time longer sooner later")
_VAGUE = frozenset({"how", "yes or no"})


def asked_for(reading: Reading) -> frozenset[str]:
    """The kinds of thing that a text asks for; empty where it doesn't say."""
    if reading.language == "ja":
        return _japanese(reading.folded)
    return _english(reading) if reading.language == "en" else frozenset()


def _english(reading: Reading) -> frozenset[str]:
    tokens, words = reading.tokens, reading.words
    found: set[str] = set()
    open_end = False
    if not words.isdisjoint(_PLAIN) or "who's" in words or "where's" in words or "when's" in words:
        found.update(_PLAIN[match["word"]] for match in _ASKED.finditer(reading.folded) if _asks(match))
    for at, word in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else ""
        if word in {"how", "how's"}:
            timed = after == "much" and not _TIME.isdisjoint(tokens[at + 2 : at + 5])
            found.add("duration" if timed else _HOW.get(after, "how"))
        elif word in {"what", "which", "what's"}:
            kinds = {_NOUNS[noun] for noun in tokens[at + 1 : at + 4] if noun in _NOUNS}
            found |= kinds
            open_end = open_end or not kinds
        elif word == "number" and after == "of":
            found.add("count")
    if found:
        return frozenset(found) if not open_end or found - _VAGUE else frozenset()
    return frozenset({"yes or no"}) if not open_end and tokens and tokens[0] in _AUXILIARY else frozenset()


def _asks(match: re.Match[str]) -> bool:
    """Whether one of who, when, where, why asks here: "when I pay" and "why don't we" don't."""
    if match["word"] == "why":
        return match["next"] not in {"don't", "not"} or not match.string[match.end() :].startswith((" we", " you"))
    if match["word"] in {"when", "where"} and match["first"] is not None:
        return match["is"] is not None or match["next"] in _AUXILIARY
    return True


_ASKED_JA = late(
    r"(?P<who>(?:誰|だれ|どなた|何者)(?![でにも]も|か[がにをはと、]))"
    r"|(?P<duration>何時間|何分|何日間|何週間|何ヶ月|何か月|何年間)"
    r"|(?P<when>いつ(?!でも|も|か[はらの、])|何時(?!間)|何日|何月|何年|何曜|何世紀)"
    r"|(?P<where>(?:どこ|何処)(?!の(?:会社|国|企業|チーム|大学|責任|人|誰)|でも|にも|か[にでのへを、]))"
    r"|(?P<why>なぜ|何故|どうして(?!も)|なんで|何が原因)"
    r"|(?P<amount>いくら(?!でも|か[のは])|おいくら|何円|何ドル)"
    r"|(?P<count>何(?:個|台|人|回|本|枚|株|種類?|錠|件|名|冊|箱|匹|足|着|通|社|つ|文字|桁|行|点|歳)|いくつ)"
    r"|(?P<distance>何(?:キロ|メートル|km|m))"
    r"|(?P<measure>どのくらい|どれくらい|どのぐらい|どれぐらい|どれだけ|どれほど)"
    r"|(?P<how>どうやって|どのように|どうすれば|どうしたら|どういうふうに)"
    r"|(?P<which>どの(?=国|党|団体|会社|企業|大学|人物|チーム)|(?:何|なん)と(?:して|いう(?![時日月年])|呼|いい|言い|言う(?![時日月年])|称))"
)
_SIGNS_JA = ("何", "誰", "だれ", "どなた", "いつ", "いく", "どこ", "なぜ", "どう", "どの", "どれ", "なんで", "なんと")
"""One of these is in every match of the pattern above."""
_WANTED_JA = late(
    r"(?P<why>理由|原因)|(?P<amount>料金|値段|価格|費用|金額|額(?=を|は))|(?P<count>人数|個数|人口|回数|数(?=を|は))"
    r"|(?P<when>日時|時刻|期限|締め切り|日付|閉店時間|開店時間)|(?P<where>場所|住所|現在地|送り先|行き先)"
    r"|(?P<who>担当者の名|発見者|創業者|作者|建築家)|(?P<duration>期間(?=は|を|の|$))|(?P<distance>距離)|(?P<size>高さ|長さ|大きさ|サイズ)"
    r"|(?P<how>方法|やり方|仕方|使い方|行き方|手順)"
)
_REASON_JA = late(
    r"(?:理由|原因)(?:は|を(?!調|つく|作)|が(?:何|知|分|わか)|と(?:は|し)|に(?:つい|は)|です|でしょう|[?。]|$)"
)
_YES_NO_JA = late(r"か(?:ね|な)?[。?]*$")


def _japanese(text: str) -> frozenset[str]:
    found: set[str] = set()
    if any(sign in text for sign in _SIGNS_JA):
        found = {match.lastgroup for match in _ASKED_JA.finditer(text) if match.lastgroup}
    if not found:
        found = {match.lastgroup for match in _WANTED_JA.finditer(text) if match.lastgroup}
    elif found == {"how"} or "理由" in text or "原因" in text:
        found |= {"why"} if _REASON_JA.search(text) else set()
    if not found and not re.search("何|どの|どれ|どちら|どう|どんな", text) and _YES_NO_JA.search(text):
        found = {"yes or no"}
    return frozenset(found)


def questions(asked: Reading, stored: Reading) -> Finding | None:
    """The texts ask for different kinds of thing: who, when, where, why, how much, how many ..."""
    if asked.language != stored.language:
        return None
    one, other = asked.of(asked_for), stored.of(asked_for)
    if not one or not other or one & other:
        return None
    if any(not _KIN.get(kind, frozenset((kind,))).isdisjoint(other) for kind in one) or any(
        not _KIN.get(kind, frozenset((kind,))).isdisjoint(one) for kind in other
    ):
        return None
    if one <= _VAGUE and other <= _VAGUE:
        return None
    if one <= _VAGUE or other <= _VAGUE:
        reasoned = "why" in one | other and "yes or no" in one | other
        return Finding("questions", "one asks for a thing that the other takes for granted", 0.5 if reasoned else 0.3)
    return Finding("questions", "they ask for different kinds of thing", 0.8)
