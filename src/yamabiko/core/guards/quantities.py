"""Step 6 of 9: numbers with a unit: ``5 kg``, ``2 weeks``, ``90 mm``, 3時間, 大さじ2, 20%."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from yamabiko.core.guards.mentions import Clues, Mention, at_words, replaced, rule
from yamabiko.core.guards.reading import word_set

Measure: TypeAlias = tuple[str, float]

NUMBER = r"[0-9]+(?:,[0-9]{2,3})*(?:\.[0-9]+)?"

_TABLE = """
mass kg kilogram kilograms kilo kilos kgs キログラム ㌔グラム = 1000
mass g gram grams gm gms グラム = 1
mass mg milligram milligrams ミリグラム = 0.001
mass mcg µg μg microgram micrograms マイクログラム = 0.000001
mass t tonne tonnes ton tons トン = 1000000
mass lb lbs = 453.59237
mass oz ounce ounces オンス = 28.349523
length km kms kilometer kilometers kilometre kilometres キロメートル = 1000
length m metre metres meter meters メートル = 1
length cm cms centimeter centimeters centimetre centimetres センチメートル = 0.01
length mm millimeter millimeters millimetre millimetres ミリメートル = 0.001
length mile miles マイル = 1609.344
length yard yards yd yds ヤード = 0.9144
length ft foot feet フィート = 0.3048
length inch inches インチ = 0.0254
volume l liter liters litre litres リットル = 1
volume ml milliliter milliliters millilitre millilitres ミリリットル cc = 0.001
volume cl = 0.01
volume dl デシリットル = 0.1
volume gallon gallons gal ガロン = 3.785412
volume pint pints パイント = 0.473176
volume quart quarts = 0.946353
volume tablespoon tablespoons tbsp tbsps = 0.0147868
volume teaspoon teaspoons tsp tsps = 0.00492892
volume cup cups カップ = 0.24
area m2 m² ㎡ sqm 平方メートル 平米 = 1
area km2 km² 平方キロメートル = 1000000
area sqft ft2 ft² = 0.092903
area acre acres エーカー = 4046.86
area hectare hectares ha ヘクタール = 10000
area 坪 = 3.305785
area 畳 = 1.62
volume m3 m³ 立方メートル = 1000
temperature_c °c ℃ celsius centigrade = 1
temperature_f °f ℉ fahrenheit = 1
time second seconds sec secs 秒 秒間 s = 1
time minute minutes min mins 分 分間 = 60
time hour hours hr hrs h 時間 = 3600
time day days 日 日間 = 86400
time week weeks wk wks 週 週間 = 604800
months month months mth mths mo ヶ月 か月 カ月 ヵ月 ケ月 箇月 ヶ月間 か月間 カ月間 ヵ月間 = 1
months year years yr yrs 年 年間 ヵ年 か年 = 12
months decade decades = 120
speed kmh kph km/h = 1
speed mph = 1.609344
speed m/s = 3.6
speed knot knots ノット = 1.852
data kb キロバイト kib = 0.001
data mb メガバイト mib メガ megabyte megabytes = 1
data gb ギガバイト gib ギガ gigabyte gigabytes gig gigs = 1000
data tb テラバイト tib テラ terabyte terabytes = 1000000
rate kbps = 0.001
rate mbps = 1
rate gbps = 1000
energy cal calorie calories カロリー = 1
energy kcal キロカロリー = 1
energy kj = 0.239
power w watt watts ワット = 1
power kw kilowatt kilowatts キロワット = 1000
electricity wh = 0.001
electricity kwh キロワット時 = 1
electricity mwh = 1000
charge mah = 0.001
charge ah = 1
voltage v volt volts ボルト = 1
current a amp amps アンペア = 1
frequency hz ヘルツ = 1
frequency khz = 1000
frequency mhz = 1000000
frequency ghz ギガヘルツ = 1000000000
pressure psi = 1
pressure bar = 14.5
pressure hpa ヘクトパスカル = 0.0145
pixels px pixel pixels ピクセル 画素 = 1
pixels mp megapixel megapixels メガピクセル = 1000000
dose iu = 1
dose mmol = 1
sound db デシベル = 1
concentration mg/dl = 1
concentration mmol/l = 18
concentration ppm = 1
percent % percent パーセント pct = 1
percent‰ ‰ = 1
points bp bps = 1
resolution dpi = 1
rotation rpm = 1
frames fps = 1
"""

_AMBIGUOUS = MappingProxyType(
    {
        "キロ": (("mass", 1000.0), ("length", 1000.0)),
        "センチ": (("length", 0.01),),
        "ミリ": (("length", 0.001), ("volume", 0.001), ("mass", 0.001)),
        "pound": (("mass", 453.59237), ("pound", 1.0)),
        "pounds": (("mass", 453.59237), ("pound", 1.0)),
        "ポンド": (("mass", 453.59237), ("pound", 1.0)),
        "degree": (("temperature_c", 1.0), ("temperature_f", 1.0), ("angle", 1.0)),
        "degrees": (("temperature_c", 1.0), ("temperature_f", 1.0), ("angle", 1.0)),
        "度": (("temperature_c", 1.0), ("temperature_f", 1.0), ("angle", 1.0)),
        "°": (("temperature_c", 1.0), ("temperature_f", 1.0), ("angle", 1.0)),
    }
)


def _units() -> dict[str, tuple[tuple[str, float], ...]]:
    units: dict[str, tuple[tuple[str, float], ...]] = dict(_AMBIGUOUS)
    for line in _TABLE.strip().splitlines():
        names, factor = line.split(" = ")
        dimension, *spellings = names.split()
        units.update(dict.fromkeys(spellings, ((dimension, float(factor)),)))
    return units


UNITS = MappingProxyType(_units())
"""Spelling to the dimensions and factors it may stand for; factors relative to one unit per dimension."""

_ATTACHED = word_set("a s v w t h")
"""Units of one letter that are read as such only where they touch their number: ``5 a day`` is no current."""


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))


_WRITTEN = "[a-zµμ°]+(?:/[a-z]+)?[23²³]?"
_SPELLED = _alternatives(name for name in UNITS if not re.fullmatch(_WRITTEN, name))
"""Units that are no run of Latin letters, which are looked up."""
_UNIT_WORDS = frozenset(part for name in UNITS for part in re.findall("[a-zµμ]+", name))
_SHORT_COUNTABLE = word_set("kg km lb oz gb mb tb ml cm ft hr")
_COUNTABLE_WORDS = _SHORT_COUNTABLE.union(name for name in UNITS if name.isascii() and name.isalpha() and len(name) > 2)
_COUNTABLE = _alternatives(_COUNTABLE_WORDS)
_PHRASES = (
    ("", "degrees degree deg", rule(r"\b(?:degrees?|deg|°) ?(celsius|centigrade|fahrenheit|c|"
        r"f)\b"), lambda m: "°" + m[1][0]),
    ("", "zero", rule(r"([0-9.]+) degrees? below (?:0|zero)\b"), r"-\1 degrees"),
    ("", "c f", rule(r"(?<=[0-9])( ?)([cf])\b(?!\+|#)"), r"\1°\2"),
    ("", "cent point points", rule(r"(?<![a-z])(?:per ?cent|percentage points?)\b"), "percent"),
    ("", "sq square", rule(r"\bsq(?:uare)?\.? ?(?:feet|foot|ft)\b"), "sqft"),
    ("", "sq square", rule(r"\bsq(?:uare)?\.? ?(?:met(?:er|re)s?|m)\b"), "m2"),
    ("", "hour hr h", rule(r"\bk(?:ilo)?m(?:et(?:er|re))?s? ?(?:per|/|an) ?h(?:ou)?r?\b"), "km/h"),
    ("", "hour", rule(r"\bmiles? (?:per|an) hour\b"), "mph"),
    ("'", "ft feet foot", rule(r"\b(ft|feet|foot|') ?([0-9]{1,2}) ?(?:in\b\.?|\")"), r"\1 \2 inches"),
    ("速", "", rule(r"時速([0-9.]+)(?:キロ|km)(?:メートル)?"), r"\1km/h"),
    ("摂", "", rule(r"摂氏([0-9.]+)度"), r"\1℃"),
    ("華", "", rule(r"華氏([0-9.]+)度"), r"\1℉"),
    ("大", "", rule(r"大さじ([0-9.]+)(?:杯)?"), r"\1tbsp"),
    ("小", "", rule(r"小さじ([0-9.]+)(?:杯)?"), r"\1tsp"),
    ("型", "", rule(r"([0-9]+)型(?=の?(?:テレビ|モニタ|ディスプレイ))"), r"\1インチ"),
    ("泊", "", rule(r"([0-9]+)泊([0-9]+)日"), r"\1泊"),
)  # fmt: skip
"""Phrases for units; each with the characters or the words that it needs."""

_REWRITTEN = tuple((signs, word_set(words), pattern, form) for signs, words, pattern, form in _PHRASES)
_REWRITTEN_SIGNS = "".join(signs for signs, _, _, _ in _REWRITTEN)
_REWRITTEN_WORDS = frozenset(word for _, words, _, _ in _REWRITTEN for word in words)
_QUANTITY = rule(
    rf"(?<![\w.,])(-?{NUMBER})(?:\s*(?:-|~|、|to|から|x|×|or|and)\s*({NUMBER}))?([ -]?)"
    rf"(?:({_WRITTEN})(?![a-z²³])(?!(?<=[a-z])[0-9])|({_SPELLED})(?!(?<=日)(?:本|曜|目)|(?<=年)(?:生|度|代|式|齢|末|始)|"
    r"(?<=月)曜|(?<=分)(?:の|割|野|類)|(?<=度)目))"
)
_EACH = rule(rf"(?:(?<![\w.])(?:an?|one|per|each|every)[ -]|/ ?)({_COUNTABLE})\b")
_AGE = rule(r"([0-9]+)[ -]?(?:years?|yrs?)[ -]olds?\b|([0-9]+) ?(?:y/?o|yo)\b")
_DIRECTED = rule(r"\x01 ?(?:(ago|earlier|前(?!後|半|払)|まえ)|(later|from now|hence|後(?!半|払|ろ|期)|あと))")
_RATES = MappingProxyType(
    {
        "hourly": ("time", 3600.0),
        "daily": ("time", 86400.0),
        "nightly": ("time", 86400.0),
        "weekly": ("time", 604800.0),
        "biweekly": ("time", 1209600.0),
        "fortnightly": ("time", 1209600.0),
        "monthly": ("months", 1.0),
        "quarterly": ("months", 3.0),
        "yearly": ("months", 12.0),
        "annual": ("months", 12.0),
        "annually": ("months", 12.0),
    }
)
_RATES_JA = (
    (rule("毎日|1日(?:あたり|当たり|につき|に(?=[0-9何]))|日額|日割"), ("time", 86400.0)),
    (rule("毎週|週に|1?週間?(?:あたり|当たり)|週(?=[0-9])"), ("time", 604800.0)),
    (rule("毎月|月額|月々|月に|[1一]?[かカヶヵ]?月(?:あたり|当たり)|月払い"), ("months", 1.0)),
    (rule("毎年|年額|年に|年払い|年間(?=プラン|契約|パス|費)|[1一]?年(?:あたり|当たり)"), ("months", 12.0)),
    (rule("毎時|時給|1時間(?:あたり|当たり)"), ("time", 3600.0)),
)
_BARE = word_set(
    "kg kilogram kilograms grams ounces lbs km kilometer kilometers kilometre kilometres miles meters metres yards "
    "centimeters centimetres cm inches feet liters litres gallons celsius fahrenheit acres hectares mph km/h "
    "gigabytes megabytes terabytes gb mb tb sqft m2 calories kj "
    "キログラム グラム キロメートル マイル センチメートル インチ フィート リットル ガロン オンス エーカー "
    "ヘクタール 坪 平米 ℃ ℉ 摂氏 華氏"
)
_BARE_JA_NAMES = tuple(name for name in _BARE if not name.isascii())
_BARE_JA = MappingProxyType({"摂氏": "celsius", "華氏": "fahrenheit"})


class _Held(NamedTuple):
    start: int
    end: int
    unit: str
    amount: float


def number(text: str) -> float:
    """The value of a numeral, which may hold separators of thousands."""
    return float(text.replace(",", ""))


def plain(value: float) -> str:
    """The shortest notation of a number, for comparison with the same number elsewhere."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def quantities(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take the quantities out of ``text``; what is left holds a mark in place of each."""
    if _HAS_DIGIT.search(text):
        text = _counted(text, clues, found)
    if clues.sign("/") or (clues.word(_ARTICLES) and clues.word(_COUNTABLE_WORDS)):
        starts = at_words(
            text, ("/", *(word + " " for word in _ARTICLES & clues.words), *(word + "-" for word in ("per",)))
        )
        text = replaced(_EACH, lambda m: _each(m, found), text, starts)
    return text


_ARTICLES = word_set("a an one per each every")


def _counted(text: str, clues: Clues, found: list[Mention]) -> str:
    if clues.word(_OLD_WORDS):
        text = replaced(_AGE, lambda m: f"{m[1] or m[2]} ", text, clues.at_numbers(text))
    rewritten = _REWRITTEN if clues.sign(_REWRITTEN_SIGNS) or clues.word(_REWRITTEN_WORDS) else ()
    for signs, words, pattern, form in rewritten:
        if (signs and clues.sign(signs)) or clues.word(words):
            text = pattern.sub(form, text)
    if clues.word(_UNIT_WORDS) or clues.japanese or clues.sign("%°℃℉‰"):
        held: list[_Held] = []
        whole = text
        text = replaced(_QUANTITY, lambda m: _take(m, held), text, clues.at_numbers(text, "-"))
        if held:
            found.extend(_joined(held, whole))
            directions = (Mention((-1 if m[1] else 1,), "ago or later", weight=0.0) for m in _DIRECTED.finditer(text))
            found.extend(directions)
    return text


_OLD_WORDS = word_set("old olds yo o")


def _each(match: re.Match[str], found: list[Mention]) -> str:
    found.extend(_rate(dimension, factor) for dimension, factor in UNITS[match[1]][:1])
    return "\x02"


def unsaid(text: str, clues: Clues, found: list[Mention]) -> None:
    """Units and rates without a number: *in kilometres*, *monthly*, 月額. They count only against another one."""
    found.extend(_rate(*_RATES[word]) for word in clues.words & _RATES.keys())
    if clues.japanese and clues.sign("毎額日週月年時"):
        found.extend(_rate(*measure) for pattern, measure in _RATES_JA if pattern.search(text))
    names = {name for name in clues.words & _BARE if name in text}
    if not text.isascii():
        names.update(name for name in _BARE_JA_NAMES if name in text)
    for name in names:
        dimension, factor = UNITS[_BARE_JA.get(name, name)][0]
        group = "unit of " + dimension.partition("_")[0]
        found.append(Mention(((dimension, "unit", factor),), group, weight=0.0))


_HAS_DIGIT = rule("[0-9]")


def _rate(dimension: str, amount: float) -> Mention:
    """Twelve months and 365 days contrast with each other: both are lengths of time."""
    return Mention(((dimension, amount),), "rate of " + dimension.replace("months", "time"), weight=0.0)


def _measures(amount: float, unit: str) -> tuple[Measure, ...]:
    return tuple((dimension, round(amount * factor, 6)) for dimension, factor in UNITS[unit])


def _take(match: re.Match[str], held: list[_Held]) -> str:
    unit, rest = match[4] or match[5], ""
    if unit not in UNITS:
        unit, slash, rest = unit.partition("/")
        rest = slash + rest
    if unit not in UNITS or (match[3] and unit in _ATTACHED):
        return match[0]
    held.extend(_Held(match.start(), match.end(), unit, number(text)) for text in (match[1], match[2]) if text)
    return "\x01" + rest


_JOINTS = frozenset({"", " "})
_JOINTS_OF_TIME = frozenset({"", " ", " and ", ", ", "と"})


def _joined(held: list[_Held], text: str) -> list[Mention]:
    """Mentions, with the parts of one quantity added up: ``1 hour 30 minutes``, ``5 ft 10 in``."""
    mentions: list[Mention] = []
    last: _Held | None = None
    sofar = 0.0
    for one in held:
        dimension, factor = UNITS[one.unit][0]
        measures = _measures(one.amount, one.unit)
        digits: tuple[str, ...] = (plain(one.amount),)
        if last and text[last.end : one.start] in (_JOINTS_OF_TIME if dimension in {"time", "months"} else _JOINTS):
            previous, larger = UNITS[last.unit][0]
            if previous == dimension and factor < larger:
                measures = ((dimension, round(sofar + one.amount * factor, 6)),)
                digits = (*mentions.pop().digits, *digits)
        sofar = measures[0][1]
        mentions.append(Mention(measures, dimension, digits))
        last = one
    return mentions
