"""Step 6 of 9: amounts of money and currencies: ``$5``, ``5 dollars``, 3,000円, ``EUR 20``, *in yen*."""

from __future__ import annotations

import re
from types import MappingProxyType

from yamabiko.core.guards.mentions import Clues, Mention, at_words, replaced, rule
from yamabiko.core.guards.quantities import NUMBER, number, plain
from yamabiko.core.guards.reading import word_set

_DOLLARS = ("usd", "cad", "aud", "nzd", "hkd", "sgd", "twd", "mxn")
_NAMES = """
usd us$ 米ドル 米国ドル
cad c$ ca$ カナダドル
aud a$ au$ 豪ドル オーストラリアドル
nzd nz$
hkd hk$ 香港ドル
sgd s$ シンガポールドル
twd nt$ 台湾ドル
eur € euro euros ユーロ
jpy ¥ yen 円 日本円
gbp £ sterling quid 英ポンド
cny rmb yuan 元 人民元
krw ₩ won ウォン
inr ₹ rupee rupees rs rs. ルピー
chf franc francs スイスフラン フラン
thb ฿ baht バーツ
vnd ₫ dong ドン
php ₱
rub ₽ ruble rubles rouble roubles ルーブル
brl r$ real reais
try lira liras
btc bitcoin bitcoins ビットコイン
eth ether ethereum イーサリアム
mxn peso pesos
"""
CURRENCIES = MappingProxyType(
    {name: (line.split()[0],) for line in _NAMES.strip().splitlines() for name in line.split()}
    | dict.fromkeys(("$", "dollar", "dollars", "bucks", "buck", "ドル", "弗"), _DOLLARS)
    | dict.fromkeys(("cent", "cents", "¢", "セント"), ("usd cent",))
    | {"pence": ("gbp cent",), "pound": ("gbp",), "pounds": ("gbp",), "ポンド": ("gbp",)}
)
"""Spelling to the currencies it may stand for."""

_BEFORE = "|".join(
    re.escape(name)
    for name in sorted(CURRENCIES, key=len, reverse=True)
    if not name.isalpha()
    or (name.isascii() and len(name) == 3 and name not in {"won", "try", "yen", "php"})
    or name == "rs"
)
_AMBIGUOUS = word_set("pound pounds ポンド ether real try php buck")
"""What also means something else, and is no currency after a number."""
_AFTER = "|".join(
    re.escape(name) for name in sorted(CURRENCIES, key=len, reverse=True) if not re.fullmatch("[a-z]+", name)
)
_RANGE = rf"({NUMBER})(?:\s*(?:-|~|to|から|or|and)\s*(?:{_BEFORE})?\s*({NUMBER}))?"
_SCALE = r"(?: ?(m|b|mil|million|billion)\b)?"
_PREFIXED = rule(rf"(?<![a-z])(-?)({_BEFORE}) ?{_RANGE}{_SCALE}(?: ?(usd|cad|aud|nzd|hkd|sgd|dollars?)\b)?")
_SUFFIXED = rule(
    rf"(?<![\w.,])(-?){_RANGE}[ -]?([a-z]+|{_AFTER})(?![a-z])(?!(?<=円)(?:形|卓|周|柱|筒|玉))"
    r"(?!(?<=ドル)コスト)(?!(?<=元)(?:年|日))"
)
_BARE = rule(
    r"\b(usd|cad|aud|nzd|hkd|sgd|eur|euros?|jpy|yen|gbp|sterling|cny|rmb|yuan|krw|inr|rupees?|chf|francs?|thb|baht|"
    r"rubles?|btc|bitcoins?|dollars?|pesos?)\b|(米ドル|豪ドル|カナダドル|香港ドル|日本円|ユーロ|人民元|ウォン|ルピー|スイスフラン|"
    r"英ポンド|ビットコイン|イーサリアム|ドル|(?<![0-9万億千])円(?=[をにでへ建]|から|決済|表示))"
)  # fmt: skip
_CENTS = rule(r"(?<![\w.])([0-9]+) ?(?:cents?|¢|セント)")


def money(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take the amounts out of ``text``, and note the currencies that it names without an amount."""
    if not (clues.sign(_SIGNS) or clues.word(_WORDS) or (clues.japanese and clues.sign("ドユウルフバポコイセ"))):
        return text
    if clues.digits or _HAS_DIGIT.search(text):
        text = replaced(_CENTS, lambda m: f"{plain(number(m[1]) / 100)} dollars", text, clues.at_numbers(text))
        prefixes = (clues.words & _PREFIX_WORDS) | (clues.signs & _PREFIX_SIGNS)
        starts = at_words(text, prefixes | _DOLLAR_SIGNS if "$" in prefixes else prefixes)
        text = replaced(_PREFIXED, lambda m: _amounts(m, (m[3], m[4]), m[5], m[6] or m[2], found), text, starts)
        starts = clues.at_numbers(text, "-")
        text = replaced(
            _SUFFIXED,
            lambda m: _amounts(m, (m[2], m[3]), None, m[4], found) if _is_currency(m[4]) else m[0],
            text,
            starts,
        )
    starts = at_words(text, (clues.words & _WORDS) | (_BARE_JA if clues.japanese else frozenset()))
    return replaced(_BARE, lambda m: _currency(m, found), text, starts)


def _is_currency(name: str) -> bool:
    return name in CURRENCIES and name not in _AMBIGUOUS


_HAS_DIGIT = rule("[0-9]")
_SIGNS = "$€£¥₹₩฿₫₱₽¢円元弗"
_PREFIX_SIGNS = frozenset("$€£¥₹₩฿₫₱₽")
_PREFIX_WORDS = frozenset(name for name in CURRENCIES if name.isascii() and (len(name) == 3 or name == "rs"))
_DOLLAR_SIGNS = frozenset(name for name in CURRENCIES if name.endswith("$"))
_BARE_JA = frozenset({*(name for name in CURRENCIES if not name.isascii() and len(name) > 1), "円"})
_WORDS = frozenset(name for name in CURRENCIES if name.isascii() and name.isalpha())


def _amounts(
    match: re.Match[str], numbers: tuple[str, str | None], scale: str | None, currency: str, found: list[Mention]
) -> str:
    factor = {"m": 1e6, "mil": 1e6, "million": 1e6, "b": 1e9, "billion": 1e9}.get(scale or "", 1.0)
    sign = -1.0 if match[1] else 1.0
    for text in numbers:
        if text:
            amount = sign * number(text) * factor
            readings = tuple((name, round(amount, 4)) for name in CURRENCIES.get(currency, _DOLLARS))
            found.append(Mention(readings, "money", (plain(abs(amount)), plain(number(text)))))
    return "\x01"


def _currency(match: re.Match[str], found: list[Mention]) -> str:
    found.append(Mention(tuple((name, None) for name in CURRENCIES[match[1] or match[2]]), "currency", weight=0.0))
    return "\x02"
