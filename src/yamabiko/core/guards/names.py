"""Step 6 of 9: names made of letters and digits: addresses, codes, order numbers, models, files, versions."""

from __future__ import annotations

import re
from types import MappingProxyType

from yamabiko.core.guards.mentions import Clues, Mention, at_words, replaced, rule, share_a_reading
from yamabiko.core.guards.reading import numbered, word_set

_URL = rule(r"(?:https?://|www\.)[!#-&*-;=?-~]+", re.IGNORECASE)
_EMAIL = rule(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_UUID = rule(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_IPV4 = rule(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?:/[0-9]{1,2})?(?::[0-9]{2,5})?(?![\w]|\.[0-9])")
_IPV6 = rule(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?:/[0-9]{1,3})?(?![\w:])")
_MAC = rule(r"(?<![\w:-])(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}(?![\w:-])")
_HEX = rule(r"\b0[xX][0-9a-fA-F]+\b|\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b")
_DOMAIN = rule(
    r"(?<![\w.@-])(?:[a-zA-Z0-9-]+\.)+(?:com|org|net|edu|gov|io|dev|app|jp|uk|de|fr|cn|in|info|biz|"
    r"ai)(?:/[!#-&*-;=?-~]*)?(?![\w-])"
)
_FILE = rule(
    r"(?<![\w/.])[\w-]*(?:\.[\w-]+)*\.(?:pdf|docx?|xlsx?|pptx?|csv|tsv|txt|json|ya?ml|xml|html?|css|jsx?|tsx?|"
    r"py|rb|rs|go|java|"
    r"cpp|cs|php|sh|bat|exe|msi|dmg|apk|zip|tar(?:\.gz)?|gz|rar|7z|jpe?g|png|gif|svg|heic|webp|mp3|mp4|mov|avi|"
    r"mkv|wav|flac|"
    r"sql|db|log|ini|toml|env|md|ics|epub|psd|iso|dll|key|pem|p12|crt)(?![\w]|\.\w)",
    re.IGNORECASE,
)
_PHONE = rule(
    r"(?<![\w.-])(?:\+[0-9]{1,3}[ -]?)?(?:\(0?[0-9]{1,4}\)[ -]?)?[0-9]{1,4}(?:[ -][0-9]{2,4}){1,4}(?![\w-]|"
    r"\.[0-9])|(?<![\w.])\+[0-9]{9,14}(?!\w)"
)
_CARD = rule(r"(?<![\w-])[0-9]{4}(?:[ -][0-9]{4}){2,3}(?![\w-])")
_POSTCODE = rule(r"〒 ?([0-9]{3})-?([0-9]{4})|(?<=郵便番号)[はが: ]?([0-9]{3})-?([0-9]{4})")
_NUMBERED = rule(
    r"(?<!\w)(?:#|[Nn][Oo]\.? ?|№ ?)([A-Za-z]{0,4}-?[0-9][0-9-]*)(?![\w])|(?:[Nn]umber |番号|伝票|コード|ID)"
    r"(?:[はがの:：]| )? ?([0-9][0-9-]{3,})(?![0-9])"
)
_LONG_DIGITS = rule(r"(?<![\w.,$€£¥₹-])[0-9]{7,}(?![\w]|[.,][0-9]|円|ドル)|(?<![\w.,$€£¥₹])0[0-9]{3,}(?![\w.,]|円)")
_FLIGHT = rule(
    r"\b(?!AM\b|PM\b|OK\b|ID\b|NO\b|IN\b|ON\b|AT\b|TO\b|OR\b|IF\b|IS\b|BY\b|OF\b|WW\b|FY\b|AD\b|BC\b|VS\b|GB\b|"
    r"MB\b|TB\b|US\b|UK\b|JP\b|PS\b)([A-Z]{2}) ([0-9]{2,4})\b(?![:.,/%]|-[0-9])"
)
_GENERATION = rule(r"\b([2-6])[gG]\b(?=$|[^\w]| ?(?:network|phone|plan|signal|support))|([2-6])G(?=[^A-Za-z0-9]|$)")
_ROMAN = rule(
    r"(?<![\w'.-])(?:(II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI|XVII|XVIII|XIX|XX)(?![\w'-])|(?<=War )I\b|"
    r"(?<=Type )(?:I|V)\b|(?<=Class )I\b|(?<=Phase )I\b|(?<=Stage )I\b|(?<=Part )(?:I|V)\b|(?<=Schedule )(?:I|"
    r"V)\b|(?<=Title )(?:I|V|X)\b|(?<=GTA )V\b|(?<=Schedule )I\b)"
)
_WORLD_WAR = rule(r"\bWW ?(II|I|1|2)\b|\b(First|Second|first|second) [Ww]orld [Ww]ar\b|第([一二1-2])次世界大戦")
_LETTER = rule(
    r"\b((?i:vitamin|hepatitis|plan|type|class|grade|group|section|terminal|gate|option|form|schedule|exhibit|"
    r"series|building|"
    r"platform|appendix|tier|zone|category|round|model|line|variant|drive|blood type|influenza|hall|wing|row|"
    r"block|part)) ([A-Za-z])\b(?!['-])|"
    r"(ビタミン|プラン|ターミナル|グレード|クラス|コース|タイプ)([A-Za-z])(?![A-Za-z])|(?<![A-Za-z])([A-Za-z])(型|プラン|コース|クラス|ランク|席|社|棟|"
    r"セット|ゲート|評価)"
)
_MIXED = rule(
    r"(?<![\w.])(?=[a-z0-9/+()_-]{0,63}[0-9])(?=[a-z0-9/+()_-]{0,63}[a-z])"
    r"[a-z0-9]+(?:[-_/][a-z0-9]+)*(?:\([a-z0-9]\))*\+{0,2}(?![a-z0-9_])"
)
_SUFFIX = rule(
    r"(?<=[0-9a-z]) ?(pro max|pro plus|pro|max|plus|mini|ultra|ti super|ti|super|lite|air|se|fe|home|enterprise|"
    r"xt|xl|プロマックス|プロ|マックス|プラス|ミニ|ウルトラ)(?![a-z])"
)
_MODELLED = rule(
    r"(?:iphone|ipad|galaxy|pixel|rtx|gtx|rx|windows|macbook|watch|airpods|redmi|xperia|note|oneplus|surface|"
    r"アイフォン|アイフォーン|s|mi|moto|core|m)[ -]?(?:[a-z]?[0-9]{1,4}[a-z]?)(?= ?(?:pro|max|plus|mini|ultra|ti|super|"
    r"lite|air|se|fe|home|enterprise|xt|xl|プロ|マックス|プラス|ミニ|ウルトラ))"
)
_EASY = MappingProxyType(
    {
        "covid-19": 0.0,
        "covid19": 0.0,
        "sars-cov-2": 0.0,
        "2fa": 0.0,
        "mfa": 0.0,
        "b2b": 0.4,
        "b2c": 0.4,
        "p2p": 0.4,
        "mp3": 0.5,
    }
)
_DROPPED = rule(
    r"\b(?:two|2)[ -](?:factor|step)\b|\b2(?:fa|sv)\b|(?<=[a-z] )(?<!one )or two\b|"
    r"\bone[ -](?:time|way|click|on-one|stop|off)\b|\bone (?:of|another|day|can|should|could|may|must|has|that|who)\b|"
    r"(?:(?<=\bat )|(?<=\bno )|(?<=\bany )|(?<=\bonly )|(?<=\bjust )|(?<=\bsome )|(?<=\bthis )|(?<=\bthat )|"
    r"(?<=\beach )|"
    r"(?<=every )|(?<=which )|(?<=other )|(?<=another )|(?<=either )|(?<=number ))one\b|"
    r"\bfirst[ -](?:aid|names?|class|time|of all|person|lady|hand|place)\b|(?:(?<=\bat )|(?<=very ))first\b|"
    r"\bsecond[ -](?:hand|opinion|nature|thoughts?|language)\b|\bthird[ -]part(?:y|ies)\b|"
    r"\bcovid-?19\b|\bsars-cov-2\b|\b(?:several|few|many) (?:hundred|thousand|million)s?\b"
)
_DROPPED_WORDS = word_set("one first second third several few many covid sars")
_DROPPED_JA = rule(
    r"[2二](?:段階|要素)認証|[2二]度と|"
    r"ワンタイム|コロナ19|(?:もう ?)?[1一]度(?=[もだけにやごお送試見聞言]|$)|もう ?[1一][度回]"
)
_ALWAYS_OPEN = rule(
    r"\b24 */ *7\b|\b24x7\b|\b24 hours(?: a day)?(?: and|,)? +[7s](?:even)? days(?: a week)?|\b24 hours a day|"
    r"\bopen 24 hours|"
    r"24時間365日|365日24時間|24時間(?:年中無休|営業|対応|受付|受け付|体制|サポート|稼働|OK|ok|オープン|開い)"
)

_PRODUCTS = (
    r"python|java|node(?:\.?js)?|ios|ipados|android|macos|os x|windows|ubuntu|debian|fedora|centos|rhel|php|"
    r"ruby|rails|django|flask|react|"
    r"angular|vue|spring boot|postgres(?:ql)?|mysql|mariadb|redis|mongodb|elasticsearch|kubernetes|k8s|docker|"
    r"terraform|"
    r"ansible|golang|rust|swift|kotlin|scala|typescript|es|ecmascript|c\+\+|c#|\.net(?: core| framework)?|"
    r"tensorflow|pytorch|"
    r"numpy|pandas|cuda|opengl|directx|vulkan|http|tls|ssl|usb|bluetooth|wi-?fi|hdmi|pcie|oauth|openapi|html|css|"
    r"bootstrap|laravel|symfony|wordpress|drupal|magento|photoshop|unity|unreal(?: engine)?|blender|gradle|maven|"
    r"gpt|claude|llama|gemini|chrome|firefox|safari|internet explorer|ie|openssl|nginx|apache|tomcat|linux|"
    r"flutter|dart|jquery|sqlite|"
    r"oracle|sql server|excel|office|matlab|perl|lua|julia|elixir|erlang|nextjs|next\.js|ipv|snapdragon|dax|pydantic|"
    r"バージョン|ver|version|v|release|rev|revision|build|リリース|ビルド|バージョン番号"
)
_PRODUCT_WORDS = frozenset(re.findall("[a-z]+", re.sub(r"\(\?:|\\\\.|\?", " ", _PRODUCTS))) | word_set(
    "nodejs postgresql postgres wifi ecmascript kubernetes tlsv sslv httpv gplv iosv"
)
_VERSION = rule(
    rf"(?:(?<![a-z0-9])|(?<=[^\x00-\x7f]))({_PRODUCTS})(?:[ /-]|\. ?|の)?(?:(?:version|ver\.?|v|"
    rf"バージョン) ?)?([0-9]+(?:\.[0-9]+)*(?:\.x)?)(?![0-9a-z]|\.[0-9]|%|,[0-9])"
)
_DOTTED = rule(r"(?<![\w.])v?([0-9]+(?:\.[0-9]+){2,}(?:[-+][a-z0-9.]+|[a-z][0-9]*)?)(?![\w])|(?<![\w.])([0-9]+)\.x\b")
_NAMED_DOTTED = rule(
    r"(?<=[a-z] )([A-Z][A-Za-z+#]*|[A-Z][A-Za-z]*[A-Z][A-Za-z]*)[ -]([0-9]+\.[0-9]+)(?![\w%]|"
    r"\.[0-9])(?! (?:million|billion|percent|kg|km))"
)


def cased(text: str, clues: Clues, found: list[Mention], numbers: list[Mention]) -> str:
    """Take out what is recognised by its case or its punctuation; asked of the text before it is casefolded."""
    if clues.sign(".") and _DOT_INSIDE.search(text):
        text = _with_dots(text, found)
    if clues.sign("#"):
        text = _COLOUR.sub(lambda m: _named(found, m[0].lower(), "code"), text)
    if clues.word(_WAR_WORDS) or clues.sign("戦"):
        text = _WORLD_WAR.sub(lambda m: _number(numbers, m[1] or m[2] or m[3]), text)
    if clues.word(_ROMAN_WORDS) or ("i" in clues.words and clues.word(_ROMAN_NOUNS)):
        text = _ROMAN.sub(lambda m: _number(numbers, m[0]), text)
    if clues.word(_LETTERS) and (clues.word(_LETTER_NOUNS) or not text.isascii()):
        text = _LETTER.sub(lambda m: _letter(m, found), text)
    if clues.digits:
        text = _with_digits(text, clues, found)
    return text


def named_versions(text: str, clues: Clues, found: list[Mention]) -> str:
    """``Foobar 3.10`` is not ``Foobar 3.1``; a decimal after a capitalised word is read as a version."""
    if not (clues.digits and clues.sign(".")):
        return text
    return _NAMED_DOTTED.sub(lambda m: f"{m[1]} {_version(found, m[2], '')}", text)


_DOT_INSIDE = rule(r"\.[A-Za-z]")
_WAR_WORDS = word_set("ww wwi wwii war")
_LETTER_NOUNS = word_set(
    "vitamin hepatitis plan type class grade group section terminal gate option form schedule exhibit series building "
    "platform appendix tier zone category round model line variant drive influenza hall wing row block part"
)
_LETTERS = frozenset("abcdefghjklmnopqrstuvwxyz")


def _with_dots(text: str, found: list[Mention]) -> str:
    if "://" in text or "www." in text:
        text = _URL.sub(lambda m: _address(m, found), text)
    if "@" in text:
        text = _EMAIL.sub(lambda m: _named(found, m[0].lower(), "address"), text)
    text = _FILE.sub(lambda m: _file(m, found), text)
    return _DOMAIN.sub(lambda m: _address(m, found), text)


def _with_digits(text: str, clues: Clues, found: list[Mention]) -> str:
    if text.count(":") > 1:
        text = _MAC.sub(lambda m: _named(found, m[0].lower(), "address"), text)
        text = _IPV6.sub(
            lambda m: _named(found, m[0].lower(), "address") if m[0].count(":") > 3 or "::" in m[0] else m[0], text
        )
    if text.count("-") > 3:
        text = _UUID.sub(lambda m: _named(found, m[0].lower(), "code"), text)
    if text.count(".") > 2:
        text = replaced(_IPV4, lambda m: _named(found, m[0], "address"), text, clues.at_numbers(text))
    if "0x" in text or "0X" in text or _HEX_LONG.search(text):
        text = _HEX.sub(lambda m: _named(found, m[0].lower(), "code"), text)
    if "g" in clues.words:
        text = _GENERATION.sub(lambda m: _named(found, f"{m[1] or m[2]}g", "generation", weight=0.5), text)
    if clues.sign("〒郵"):
        text = _POSTCODE.sub(lambda m: _named(found, "".join(filter(None, m.groups())), "code"), text)
    if clues.word(_NUMBERED_WORDS) or clues.sign("#№号票ド"):
        text = _NUMBERED.sub(lambda m: _named(found, (m[1] or m[2]).replace("-", "").lower(), "code"), text)
    if clues.longest >= 3 and sum(map(text.count, "0123456789")) > 8:
        text = replaced(_CARD, lambda m: _named(found, re.sub(r"\D", "", m[0]), "code"), text, clues.at_numbers(text))
        text = replaced(_PHONE, lambda m: _phone(m, found), text, clues.at_numbers(text, "+("))
    if clues.longest >= 4:
        text = replaced(_LONG_DIGITS, lambda m: _named(found, m[0], "code"), text, clues.at_numbers(text))
    if _FLIGHT_FIRST.search(text):
        text = _FLIGHT.sub(lambda m: _named(found, (m[1] + m[2]).lower(), "code", m[2]), text)
    return text


_COLOUR = rule("#[0-9a-fA-F]{6}(?![0-9a-zA-Z])")
_HEX_LONG = rule("[0-9a-f]{7}")
_FLIGHT_FIRST = rule("[A-Z]{2} [0-9]")
_NUMBERED_WORDS = word_set("no number id")


def dropped(text: str, clues: Clues) -> str:
    """Without figures of speech that hold a number word but name no number."""
    if clues.digits and "24" in text:
        text = _ALWAYS_OPEN.sub("\x02", text)
    words = clues.words & _DROPPED_WORDS
    if clues.word(_TWO_STEPS):
        words |= {"two", "2", "or two"}
    if words:
        text = replaced(_DROPPED, lambda _: "\x02", text, at_words(text, words))
    if clues.japanese and clues.sign("認ワロ度回"):
        text = _DROPPED_JA.sub("\x02", text)
    return text


_TWO_STEPS = word_set("factor step fa sv two")


def versions(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take out numbers after the name of a product or the word *version*, and numbers with two points or more."""
    named = clues.words & _PRODUCT_WORDS
    if named or clues.sign("バリビ"):
        starts = at_words(text, named | {"バージョン", "リリース", "ビルド", "v", ".net"})
        text = replaced(_VERSION, lambda m: _version(found, m[2], m[1]), text, starts)
    if "." in text:
        text = replaced(_DOTTED, lambda m: _version(found, m[1] or m[2], ""), text, clues.at_numbers(text, "v"))
    return text


def mixed(text: str, clues: Clues, found: list[Mention]) -> str:
    """Take out every other word made of letters and digits, and what tells models of one number apart."""
    if clues.word(_SUFFIXES) or clues.sign("プマミウ"):
        for match in _MODELLED.finditer(text):
            suffix = _SUFFIX.match(text, match.end())
            if suffix:
                found.append(Mention((("model", _KANA.get(suffix[1], suffix[1])),), "model", weight=0.6))
    return _MIXED.sub(lambda m: _mixed(m, found), text) if _JOINED.search(text) else text


_JOINED = rule("[0-9][a-z_/(+-]|[a-z_/)-][0-9]")
_SUFFIXES = word_set("pro max plus mini ultra ti super lite air se fe home enterprise xt xl")


_KANA = MappingProxyType(
    {"プロマックス": "pro max", "プロ": "pro", "マックス": "max", "プラス": "plus", "ミニ": "mini", "ウルトラ": "ultra"}
)


def _named(found: list[Mention], name: str, group: str, *digits: str, weight: float = 0.6) -> str:
    found.append(Mention((name,), group, digits or (name,), weight))
    return "\x02"


def _address(match: re.Match[str], found: list[Mention]) -> str:
    bare = re.sub(r"^(?:https?://)?(?:www\.)?", "", match[0].lower()).rstrip("/.,;:!?")
    return _named(found, bare, "address")


_LIBRARIES = word_set("node next vue react express nuxt three d3 angular nest discord chart moment backbone ember")


def _file(match: re.Match[str], found: list[Mention]) -> str:
    name = match[0].lower()
    stem, _, kind = name.rpartition(".")
    if kind == "js" and stem in _LIBRARIES:
        return match[0]
    return _named(found, name, "file", *((kind,) if not stem else ()), weight=0.6 if stem else 0.4)


def _phone(match: re.Match[str], found: list[Mention]) -> str:
    digits = re.sub(r"\D", "", match[0])
    if len(digits) < 9 or len(digits) > 15 or _LOOKS_LIKE_DATE.match(match[0]):
        return match[0]
    if match[0].startswith("+81"):
        digits = "0" + digits[2:].removeprefix("0")
    elif match[0].startswith("+1"):
        digits = digits[1:]
    return _named(found, digits, "phone")


_LOOKS_LIKE_DATE = rule(r"(?:19|20)[0-9]{2}[ -][01]?[0-9][ -][0-3]?[0-9]\b|[0-9]{4} ?- ?[0-9]{4}$")


def _letter(match: re.Match[str], found: list[Mention]) -> str:
    noun, letter = match[1] or match[3] or match[6], match[2] or match[4] or match[5]
    if match[2] in {"I", "i"} or (match[2] == "a" and noun.lower() not in _LETTERED):
        return match[0]
    _named(found, letter.lower(), "letter", weight=0.6)
    return noun


_LETTERED = frozenset({"vitamin", "hepatitis", "influenza", "blood type"})


def _number(numbers: list[Mention], text: str) -> str:
    value = _ROMAN_VALUES.get(text) or {"first": 1, "second": 2, "一": 1, "二": 2}.get(text.lower()) or int(text)
    numbers.append(Mention((str(value),), "number", (str(value),)))
    return "\x02"


_ROMAN_VALUES = MappingProxyType(numbered("I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX", 1))
_ROMAN_WORDS = frozenset(name.lower() for name in _ROMAN_VALUES if name != "I")
_ROMAN_NOUNS = word_set("war type class phase stage part schedule title")


def _version(found: list[Mention], text: str, product: str) -> str:
    parts = text.lower().removesuffix(".x").split(".")
    while len(parts) > 1 and parts[-1] == "0":
        parts.pop()
    found.append(Mention((".".join(parts),), "version", (".".join(parts), text), 0.5 if len(parts) == 1 else 0.6))
    return f"{product} \x02"


def _mixed(match: re.Match[str], found: list[Mention]) -> str:
    name = re.sub(r"[-_()]", "", match[0])
    digits = re.sub(r"[^0-9]+", " ", name).split()
    weight = 0.3 if digits == ["1"] and name[0] == "1" else _EASY.get(match[0], 0.6)
    found.append(Mention((name,), "name", (name, *digits, _VOWEL.sub("", name)), weight))
    return "\x02"


_VOWEL = rule(r"[a-z]+(?=[0-9])")


def same_name(one: Mention, other: Mention) -> bool:
    """Equal, or equal but for a brand written in front of one of them: ``GalaxyS23`` and ``S23``."""
    if share_a_reading(one, other):
        return True
    if one.group != "name" or other.group != "name":
        return False
    shorter, longer = sorted((str(one.readings[0]), str(other.readings[0])), key=len)
    brand = longer.removesuffix(shorter)
    return len(longer) - len(shorter) >= 4 and brand != longer and brand.isalpha()
