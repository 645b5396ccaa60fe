"""Step 6 of 9: numbers written as words or kanji become digits, so that every later rule reads one notation.

``three weeks``, ``twenty-five``, ``half an hour``, ``10 million`` become ``3 weeks``, ``25``, ``0.5 hour``,
``10000000``; 三週間, 二千五百円, 1万5千 become 3週間, 2500円, 15000. Words that count nothing stay: *one* as a pronoun,
一番, 一緒, 十分に.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType

from yamabiko.core.guards.mentions import Clues, at_words, replaced, rule
from yamabiko.core.guards.reading import numbered, word_set

_SMALL = MappingProxyType(
    numbered(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen"
    )
)
_TENS = MappingProxyType(numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10))
_SCALES = MappingProxyType(
    {"hundred": 100, "thousand": 1000, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9}
    | {"trillion": 10**12}
)
_ORDINALS = MappingProxyType(
    numbered(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
        "sixteenth seventeenth eighteenth nineteenth twentieth",
        3,
    )
    | {"thirtieth": 30, "fortieth": 40, "fiftieth": 50, "hundredth": 100}
)
_COUNTED = frozenset(_SMALL) | frozenset(_TENS) | frozenset(_SCALES)


_ANY = "|".join(sorted(_COUNTED, key=len, reverse=True))
_CARDINAL = rule(rf"\b(?:an? )?(?:{_ANY})(?:(?:[ -]| and )(?:{_ANY}))*\b(?!-(?:on-one|by-one))")
_ORDINAL = rule(
    rf"\b(?:(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)[ -](first|second|{'|'.join(_ORDINALS)})"
    rf"|({'|'.join(_ORDINALS)}))\b(?![ -](?:part(?:y|ies)|person|world|wheel|rail))"
)
_SCALED = rule(
    r"(?<![\w.])([0-9][0-9,]*(?:\.[0-9]+)?)(?: ?(hundred|thousand|lakhs?|million|crores?|billion|trillion|mn|bn|"
    r"dozen)|(k))\b"
)
_PARTS = (
    (word_set("half"), rule(r"\bhalf (?:a )?dozen\b"), "6"),
    (word_set("dozen"), rule(r"\b(?:a |one |1 )?dozen\b"), "12"),
    (word_set("half"), rule(r"\b([0-9]+)[ -]and[ -]a[ -]half\b"), r"\1.5"),
    (
        word_set("half"),
        rule(r"\b(?:an?|one|1) (hour|year|month|week|day|mile|minute|cup|teaspoon) and a half\b"),
        r"1.5 \1",
    ),
    (
        word_set("half"),
        rule(
            r"\bhalf[ -](?:an? )?"
            r"(?=(?:hour|day|year|mile|cup|teaspoon|tablespoon|pound|kilo|litre|liter|gallon|bitcoin|btc)s?\b)"
        ),
        "0.5 ",
    ),
    (word_set("quarter"), rule(r"\b(?:a )?quarter(?:[ -]| of an )hour\b"), "15 minutes"),
    (word_set("quarters"), rule(r"\b(?:three|3)[ -]quarters\b"), "0.75"),
    (word_set("thirds"), rule(r"\b(?:two|2)[ -]thirds\b"), "0.666667"),
    (word_set("third"), rule(r"\b(?:a|one|1)[ -]third\b(?! part)"), "0.333333"),
    (word_set("twice"), rule(r"\btwice\b"), "2 times"),
    (word_set("thrice"), rule(r"\bthrice\b"), "3 times"),
    (word_set("minus"), rule(r"(?<![0-9] )\bminus (?=[0-9])"), "-"),
)
_MIXED_FRACTION = rule(r"\b([0-9]{1,9}) ([0-9])/([1-9])\b(?!/)")
_FRACTION_OF = rule(
    r"(?<![\w./])([1-9])/([2-9])(?= ?(?:an? |of an? )?"
    r"(?:cup|teaspoon|tablespoon|tsp|tbsp|inch|mile|hour|pound|lb|oz|ounce|lit|gallon|day|year))"
)
_VULGAR = MappingProxyType({"½": 0.5, "¼": 0.25, "¾": 0.75, "⅓": 0.333333, "⅔": 0.666667, "⅛": 0.125})
_VULGAR_FOUND = rule(r"([0-9]*) ?([½¼¾⅓⅔⅛])")
_CIRCLED = rule("[\u2460-\u2473]")


def digits_for(folded: str, clues: Clues) -> str:
    """``folded``, or what is left of it, with its numbers in digits."""
    if clues.sign("½¼¾⅓⅔⅛"):
        folded = _VULGAR_FOUND.sub(lambda m: " " + _short(float(m[1] or 0) + _VULGAR[m[2]]), folded)
    if not folded.isascii():
        folded = _CIRCLED.sub(lambda m: f" {ord(m[0]) - 0x245F} ", folded)
    if clues.japanese:
        folded = _from_kanji(folded, clues)
    if clues.word(_ORDINAL_STARTS):
        folded = replaced(_ORDINAL, _ordinal, folded, at_words(folded, clues.words & _ORDINAL_STARTS))
    if clues.digits and clues.word(_SCALED_BY):
        folded = replaced(_SCALED, _scaled, folded, clues.at_numbers(folded))
    if clues.word(_COUNTED):
        folded = replaced(_CARDINAL, _cardinal, folded, at_words(folded, (clues.words & _COUNTED) | _HUNDREDS))
    if clues.digits and clues.sign("/"):
        folded = _MIXED_FRACTION.sub(lambda m: _short(int(m[1]) + int(m[2]) / int(m[3])), folded)
        folded = _FRACTION_OF.sub(lambda m: _short(int(m[1]) / int(m[2])), folded)
    if clues.word(_DECADES.keys()):
        folded = _DECADE.sub(lambda m: f"{_DECADES[m[0]]}s", folded)
    if clues.word(_ROUGH):
        for words, pattern, form in _PARTS:
            if clues.word(words):
                folded = pattern.sub(form, folded)
    return folded


_DECADES = MappingProxyType(numbered("twenties thirties forties fifties sixties seventies eighties nineties", 20, 10))
_DECADE = rule("|".join(_DECADES))
_SCALED_BY = word_set("hundred thousand lakh lakhs million crore crores billion trillion mn bn dozen k")
_HUNDREDS = frozenset({"a hundred", "a thousand", "a million", "a billion"})
_ORDINAL_STARTS = frozenset(_ORDINALS) | frozenset(_TENS)
_ROUGH = word_set("half dozen quarter quarters third thirds twice thrice minus")


def _ordinal(match: re.Match[str]) -> str:
    if match[3]:
        before = match.string[max(0, match.start() - 4) : match.start()]
        if match[3] == "third" and before.endswith(("one ", "one-", " a ")):
            return match[0]
        return f"{_ORDINALS[match[3]]}th"
    return f"{_TENS[match[1]] + {'first': 1, 'second': 2}.get(match[2], _ORDINALS.get(match[2], 0))}th"


def _cardinal(match: re.Match[str]) -> str:
    words = re.split(r"[ -]", match[0])
    article = ""
    if words[0] in {"a", "an"}:
        article = words.pop(0) + " "
    if words == ["one"]:
        return match[0]
    if article and words[0] in _SCALES:
        article = ""
    values = list(_values(words))
    if len(values) == 2 and 10 <= values[0] <= 20 and 10 <= values[1] <= 99 and "and" not in words:
        return f"{article}{values[0]}{values[1]}"
    joint = " and " if "and" in words else " "
    return article + joint.join(map(str, values))


def _values(words: list[str]) -> Iterator[int]:
    """Each number in a run of number words: ``two hundred and five``, ``three four``."""
    total, current, room, scaled = 0, 0, 0, False
    begun = False
    for word in words:
        if word == "and":
            if not scaled:
                yield total + current
                total, current, room, begun = 0, 0, 0, False
            continue
        if word in _SCALES:
            scale = _SCALES[word]
            current = (current if begun and current else 1) * scale
            if scale > 100:
                total, current = total + current, 0
            room, begun, scaled = 100, True, True
            continue
        value = _SMALL.get(word, _TENS.get(word, 0))
        fits = (room >= 100) or (room == 10 and 0 < value < 10)
        if begun and not fits:
            yield total + current
            total, current = 0, 0
        current += value
        room = 10 if word in _TENS else 1
        begun, scaled = True, False
    if begun:
        yield total + current


def _scaled(match: re.Match[str]) -> str:
    scale = match[2] or "thousand"
    if match[0] == "401k":
        return match[0]
    factor = {"mn": 10**6, "bn": 10**9, "dozen": 12}.get(scale) or _SCALES[scale.rstrip("s")]
    return _short(float(match[1].replace(",", "")) * factor)


def _short(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


_DIGIT = MappingProxyType({char: at for at, char in enumerate("〇一二三四五六七八九")} | {"零": 0})
_PLACE = MappingProxyType({"十": 10, "百": 100, "千": 1000})
_MYRIAD = MappingProxyType({"万": 10**4, "億": 10**8, "兆": 10**12})

_COUNTER = (
    r"円|ドル|ユーロ|ウォン|個|人|名|本(?!当|来|人|社|日)|枚|台|回(?!復|答|線)|歳|才|冊|匹|頭|羽|件|階|位|点|倍|割|章|条|項|"
    r"号|泊|乗|杯|着|足|通(?!り|常|じ)|種類|年(?!齢)|月(?!曜)|日(?!本|曜)|週|時間|時(?!的|点|期|代|停)|分(?!野|割|類|析|散)|"
    r"秒|度(?!目?と)|つ|人前|世紀|型|[ヶかカヵ箇ケ](?:月|国|所|年|条)|巻|問|行(?!動|政|う)|社|校|軒|席|室|代|段階|級|等|番目|"
    r"番線|番|要素|ポイント|ページ|頁|パーセント|[％%]|キロ|グラム|ミリ|センチ|メートル|リットル|トン|インチ|度|坪|畳|錠|"
    r"粒|滴|部屋|丁目|株|口|kg|km|cm|mm|ml|mg|g|m|l|セット|パック|袋|箱|束|組|戸|棟|便|試合|勝|敗|打|塁|連|両|隻|桁|文字|"
    r"字|言|歩|票|拍|対|次|期|限|カ国|ヵ国|チーム|クラス|曲|話|戦|軸|色|択|面|角形|女|男"
)
_KANJI_RUN = rule("(?<![数何幾同統唯均随逐〇零一二三四五六七八九十百千万億兆])([〇零一二三四五六七八九十百千万億兆]+)")
_MIXED = rule(r"(?<![0-9.])([0-9][0-9,]*(?:\.[0-9]+)?)([千百万億兆])((?:[0-9]+|[千百万億兆])*)")
_HEAD = rule(rf"、?[一二三四五六七八九]?(?:{_COUNTER})")
_IDIOM = rule(
    r"一(?:番(?!目|線)|部|度|旦|人暮|時(?!間|\d|に)|本化|日中|年中|通り|段|層|次|面|口|色|言|期|等|等地|対|組|行|点張|回限|字|名義|枚岩|"
    r"戸建|棟|両日|足|杯(?=$|に|な|で|の)|本道|代|着|文字|方|月一日|角|女|男)|"
    r"二(?:度と|人三脚|次元|次会|言|足|軸|段|次|期)|三(?:日坊主|色|角形|男|女)|四(?:六時中|角形)|五分五分|七五三|十分(?!間|後|前|以|程|ほど|お|く|か|で|\d|も|ご)|"
    r"十年一日|百[々貨科]|千(?:葉|代|歳空港|歳市|秋)|万(?:が一|年|能|端|人|一)|八百(?:屋|長|万の神)|百人一首|千羽鶴|一石二鳥|十二単|九州|六本木|"
    r"四国|三重|八王子|五反田|二子玉川|三軒茶屋|四日市|十日町|三鷹|四谷|九段|一橋|二条城|三条|四条|五条|五十嵐|三井|三菱|二宮|八幡"
)
_THINGS = (
    ("つ", rule("(?:ひと|一)つ"), "1つ"),
    ("つ", rule("ふたつ"), "2つ"),
    ("つ", rule("みっつ"), "3つ"),
    ("つ", rule("よっつ"), "4つ"),
    ("つ", rule("いつつ"), "5つ"),
    ("り一", rule("ひとり(?!で|暮)|一人(?!暮)"), "1人"),
    ("り", rule("ふたり"), "2人"),
    ("ス零下▲", rule(r"(?:マイナス|氷点下|零下|▲)(?=[0-9])"), " -"),
    ("分", rule(r"([0-9]{1,9})分の([0-9]{1,9})"), lambda m: _short(int(m[2]) / max(1, int(m[1])))),
    ("ダ", rule(r"([0-9]{1,4})ダース"), lambda m: str(12 * int(m[1]))),
    ("割", rule(r"([0-9]{1,3})割([0-9]{1,2})分"), lambda m: f"{int(m[1]) * 10 + int(m[2])}%"),
    ("ダ", rule(r"([0-9]{1,4})ダース"), lambda m: str(12 * int(m[1]))),
    ("割", rule(r"([0-9]+(?:\.[0-9]+)?)割"), lambda m: f"{_short(float(m[1]) * 10)}%"),
    ("半", rule(r"([0-9]+)(時間|年|ヶ月|[かカヵケ]月|日|週間)半"), r"\1.5\2"),
    ("半", rule("半年"), "6か月"),
    ("半", rule("半月(?!板)"), "0.5か月"),
    ("半", rule("半時間"), "30分"),
)
_THING_SIGNS = "".join(sorted({sign for signs, _, _ in _THINGS for sign in signs}))
_FRACTION = rule(r"([二三四五六七八九十百千]{1,7})分の([一二三四五六七八九]{1,7})")


def _from_kanji(text: str, clues: Clues) -> str:
    if clues.sign("〇零一二三四五六七八九十百千万億兆"):
        text = _MIXED.sub(_mixed, text)
        if "分" in text:
            text = _FRACTION.sub(lambda m: f"{_kanji(m[1])}分の{_kanji(m[2])}", text)
        text = _KANJI_RUN.sub(_kanji_run, text)
    if clues.sign(_THING_SIGNS):
        for signs, pattern, form in _THINGS:
            if clues.sign(signs):
                text = pattern.sub(form, text)
    return text


_LONGEST_RUN = 24
"""Numerals of a longer run are no number that anybody means."""


def _kanji_run(match: re.Match[str]) -> str:
    text, run = match.string, match[1]
    if len(run) > _LONGEST_RUN:
        return run
    before = text[match.start() - 1 : match.start()]
    if before != "第" and _IDIOM.match(text, match.start()):
        return match[0]
    if run.endswith("四") and len(run) > 1 and text.startswith("半期", match.end()):
        return f"{_kanji(run[:-1])}四"
    counted = _HEAD.match(text, match.end()) is not None
    if not counted and before not in {"第", "単"} and not _reads_as_number(run):
        return match[0]
    return str(_kanji(run))


def _reads_as_number(run: str) -> bool:
    """Without a counter: ``二〇二四`` or ``百二十五`` is a number, a lone 千 or 万 is part of a name."""
    return len(run) >= 3 or "〇" in run


def _kanji(run: str) -> int:
    if not any(char in _PLACE or char in _MYRIAD for char in run):
        return int("".join(str(_DIGIT[char]) for char in run))
    total, section, digit = 0, 0, 0
    for char in run:
        if char in _DIGIT:
            digit = digit * 10 + _DIGIT[char]
        elif char in _PLACE:
            section += (digit or 1) * _PLACE[char]
            digit = 0
        else:
            total += ((section + digit) or 1) * _MYRIAD[char]
            section, digit = 0, 0
    return total + section + digit


def _mixed(match: re.Match[str]) -> str:
    """``1万5千`` and ``3億2000万`` and ``1.5億``."""
    total, section = 0.0, float(match[1].replace(",", ""))
    held = 0.0
    for part in re.findall(r"[0-9]+|[千百万億兆]", match[2] + match[3]):
        if part in _MYRIAD:
            total += (held + section) * _MYRIAD[part]
            held, section = 0.0, 0.0
        elif part in _PLACE:
            held += (section or 1) * _PLACE[part]
            section = 0.0
        else:
            section = float(part)
    return _short(total + held + section)
