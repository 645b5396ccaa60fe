"""Step 9 of 9: whether a text holds data by which one person can be found.

What is published for everybody is not personal: generic mailboxes (support@, info@), toll-free and shared-cost numbers
(0120, 0570, 0800, 1-800), telephone numbers beside words of a public desk (customer service, 窓口), addresses of shops
and offices, example domains, numbers from vendors' test pages (``data/pii.json``). A number counts by its own check
where it has one (Luhn, mod 97, the digit of My Number), else only beside words that say what it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from yamabiko.core.rules import compiled, plain, table

_EMAIL = (
    r"(?a)(?<![A-Za-z0-9._%+/@-])(?P<box>[A-Za-z0-9_%](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?)"
    r"@(?P<domain>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,120}[A-Za-z0-9])?\.[A-Za-z]{2,24})(?![A-Za-z0-9@_-])"
)
_PHONE = (
    r"(?a)(?<![\w.+=/#-])(?:"
    r"(?P<intl>\+\d{1,3}(?:[ .-]?\(?\d{1,5}\)?){2,6})"
    r"|(?P<us>(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[.-]\d{4})"
    r"|(?P<jp>0\d{1,4}[-(]\d{1,4}[-)]\d{3,4}|\(0\d{1,4}\) ?\d{1,4}-\d{3,4}|0[5789]0\d{8})"
    r")(?![\w-]|[.,]\d)"
)
_CARD = r"(?a)(?<![\w.-])[2-6]\d(?:[ -]?\d){11,17}(?![\w-]|\.\d)"
_IBAN = r"(?a)(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
_SSN = r"(?a)(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"
_SSN_BARE = r"(?ai)\b(?:ssn|social security(?: number)?)\b[^.\n\d]{0,20}(?!000|666|9)(\d{3} ?\d{2} ?\d{4})(?!\d)"
_MY_NUMBER = r"(?a)(?<![\w-])(?<!\d )\d{4}[ -]?\d{4}[ -]?\d{4}(?![\w-]| \d)"
_MY_NUMBER_WORDS = r"(?ai)マイナンバー|個人番号|my number|individual number"
_PASSPORT = (
    r"(?ai)(?:\bpassport\b(?: no\.)?|パスポート|旅券)(?:[^.。\n\d]{0,30}?)(?<![A-Za-z0-9])([A-Za-z]{1,2}\d{6,8}"
    r"|\d{9})(?![A-Za-z0-9])"
)
_DOCUMENT = (
    r"(?ai)(?:driver'?s? licen[cs]e|driving licen[cs]e|national insurance|health insurance|medicare|nhs"
    r"|tax(?:payer)? id"
    r"|免許証|保険証|被保険者|基礎年金|年金|在留カード)(?: ?(?:number|no\.?|id|の?番号|#))"
    r"[^.。\n\d]{0,12}(?<![A-Za-z0-9])([A-Za-z]{0,3}\d[A-Za-z0-9 -]{5,14}\d[A-Za-z]?)(?![A-Za-z0-9])"
)
_ADDRESS_JP = (
    r"(?a)(?:〒 ?\d{3}-?\d{4}|住所[はが:：]|自宅[はのが:：]|届け?先[はをが:：]|送り先[はをが:：]|住んで"
    r"|引っ越)[^。\n]{0,6}"
    r"[^。\n]{0,30}?[都道府県市区町村郡][^。\n]{0,24}?(?:\d+(?:丁目|番地?|号)|\d+-\d+)"
)
_ADDRESS_JP_BEFORE = (
    r"(?a)[都道府県市区町村郡][^。\n]{0,24}?(?:\d+(?:丁目|番地?|号)|\d+-\d+)[^。\n]{0,20}?(?:に住んで|に引っ越"
    r"|が(?:私の)?住所|に送って)"
)
_ADDRESS_EN = (
    r"(?ai)\b(?:my|home|i live|i moved|lives|living|ship(?:ping|ped)?|deliver(?:y|ed)?|send|billing)\b[^.\n]{0,40}?"
    r"(?<![\w-])\d{1,5}[a-z]? (?:[a-z0-9'.]+ ){1,4}(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd"
    r"|court"
    r"|ct|way|terrace|close|crescent|place|pl)\b"
)
_BIRTH = (
    r"(?ai)(?:\b(?:my (?:birthday|date of birth|birth ?date|dob)|date of birth|birth ?date|dob|i was born(?: on)?"
    r"|born on my)\b"
    r"|生年月日|私の誕生日|誕生日[はが:：]|私は)[^.。\n\d]{0,14}(?P<date>(?:18|19"
    r"|20)\d{2}[-/.年] ?\d{1,2}[-/.月] ?\d{1,2}日?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](?:(?:18|19|20)\d{2}|\d{2}(?!\d))|\d{1,2}(?:st|nd|rd|th)? (?:of )?[a-z]{3,9},? (?:18"
    r"|19|20)\d{2}"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.? \d{1,2}(?:st|nd|rd|th)?,? (?:18|19|20)\d{2}"
    r"|(?:昭和|平成|令和|大正)(?:\d{1,2}|元)年\d{1,2}月\d{1,2}日)"
)
_IP = (
    r"(?ai)(?:\b(?:my|your|his|her|their|user'?s?|account|customer'?s?|login|logged|log-in|sign-in|signed|session)\b"
    r"|ログイン|サインイン|アクセス元|接続元|私の"
    r"|お客様の)[^.。\n\d]{0,50}(?<![\w.-])((?:\d{1,3}\.){3}\d{1,3})(?![\w-]|\.\d)"
)
_BANK = (
    r"(?ai)(?:\b(?:bank account|checking account|savings account|account (?:number|no\.?|#)|acct\.?(?: no\.?| #)?"
    r"|my account is)"
    r"|口座番号|口座[はが:：]|(?:普通|当座)(?:預金"
    r"|口座)?[ 　:：]*)[^.。\n\d*xX]{0,20}(?<![A-Za-z0-9*])(\d(?:[ -]?\d){5,16})(?![\w*-]|\.\d)"
)
_DESK = (
    r"(?ai)\b(?:call|contact|phone|reach|ring) (?:us|our|the)\b|customer|support|hotline|help ?line|reservations?\b"
    r"|front desk"
    r"|reception|office|toll|switchboard|headquarters|store\b|branch|clinic|hospital|emergency|embassy|help ?desk"
    r"|service"
    r"|窓口|サポート|コールセンター|カスタマー|お問い?合わ?せ|問い?合わ?せ|代表|フロント|店舗|本店|支店|受付"
    r"|予約センター|ダイヤル|フリー|相談"
    r"|病院|クリニック|役所|役場|事務所|センター|大使館|警察|保健所"
)
_OWN = r"(?ai)\bmy\b|\bmine\b|\bi'm at\b|\bme (?:at|on)\b|\bmobile\b|\bcell\b|私|僕|自分|自宅|携帯|連絡先"
_SITE = (
    r"本社|本店|支店|店舗|営業所|所在地|窓口|センター|会社|法人|商店|御中|役所|役場|庁|大学|学校|病院|医院|美術館"
    r"|博物館|会館|ホテル|図書館|銀行|返送先|返品先"
    r"|事務所|事務局|倉庫"
)


class _Kind(NamedTuple):
    """A kind of data, a pattern, the group that holds it, and what else must be true of a match in its text."""

    name: str
    words: str
    pattern: str
    group: int | str
    holds: Callable[[str, str, int], bool]


def pii_kind(text: str, *, known: str = "") -> str:
    """What kind of personal data a text holds, such as ``an e-mail address``; empty when none that is found.

    Data that stand in the text ``known`` as well don't count. The answer never quotes the text.
    """
    text, known = plain(text), plain(known)
    digits = compiled(r"\d").search(text) is not None
    if not digits and "@" not in text:
        return ""
    for kind in _kinds():
        if (digits if kind.words == "0" else any(word in text for word in kind.words.split())) and (
            next(_matches(kind, text, known), None) is not None
        ):
            return kind.name
    return ""


def _matches(kind: _Kind, text: str, known: str) -> Iterator[str]:
    for match in compiled(kind.pattern).finditer(text):
        value = match[kind.group]
        if kind.holds(value, text, match.start()) and not (known and value in known):
            yield value


@functools.cache
def _published(name: str) -> frozenset[str]:
    return frozenset(table("pii")[name].split())


def _bare(value: str) -> str:
    return "".join(character for character in value if character.isalnum())


def _around(text: str, at: int, before: int, after: int) -> str:
    """The text near a place, not beyond the sentences next to it."""
    return text[max(0, at - before) : at + after]


def _is_private_mailbox(value: str, text: str, at: int) -> bool:  # noqa: ARG001 - kinds share one signature
    box, _, domain = value.lower().rpartition("@")
    box = box.partition("+")[0]
    if domain in _published("example_domains") or domain.endswith(tuple(_published("example_endings"))):
        return False
    if any(domain.endswith("." + name) for name in _published("example_domains")):
        return False
    names = _published("mailboxes")
    return not (box in names or box in _published("placeholders") or names & set(compiled(r"[._-]").split(box)))


def _is_private_phone(value: str, text: str, at: int) -> bool:
    digits = _bare(value)
    if value.startswith("+"):
        if not 8 <= len(digits) <= 15:
            return False
        national = digits[1:] if digits[0] == "1" else "0" + digits[2:] if digits.startswith("81") else ""
    else:
        national = digits.removeprefix("1") if len(digits) == 11 and digits[0] == "1" else digits
    if national[:1] == "0":
        if not 10 <= len(national) <= 11 or national.startswith(("0120", "0570", "0800", "0990", "0180")):
            return False
        if national.startswith(("070", "080", "090")) and len(national) == 11:
            return set(national[3:]) != {"0"} and national[3:] not in {"12345678", "11112222", "12341234"}
    elif len(national) == 10 and (national[:3] in _published("toll_free_us") or national[3:8] == "55501"):
        return False
    if national[:3] == "555" or national[3:7] == "5550" or digits.endswith(("12345678", "1234567890", "0000000")):
        return False
    if compiled(_OWN).search(_around(text, at, 40, 0)):
        return True
    return compiled(_DESK).search(_around(text, at, 80, len(value) + 30)) is None


def _is_card(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    digits = _bare(value)
    brand = (
        r"4(?:\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
        r"|35\d{14}|62\d{14,17}"
    )
    if not compiled(brand).fullmatch(digits) or digits in _published("cards"):
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    total = sum(map(int, digits[::-2])) + sum(n - 9 if n > 9 else n for n in doubled)
    return total % 10 == 0 and len(set(digits)) > 2


def _is_iban(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    iban = value.replace(" ", "")
    if f"{iban[:2]}{len(iban)}" not in _published("iban_lengths") or iban in _published("ibans"):
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def _is_ssn(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    digits = _bare(value)
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}" not in _published("ssn")


def _is_my_number(value: str, text: str, at: int) -> bool:
    """Source: 平成26年総務省令第85号, 第5条 (the check digit of an individual number)."""
    digits = [int(character) for character in _bare(value)]
    weighted = sum(digit * (n + 1 if n <= 6 else n - 5) for n, digit in enumerate(digits[10::-1], 1))
    check = 11 - weighted % 11
    if digits[11] != (0 if check > 9 else check) or len(set(digits)) < 3:
        return False
    return len(value) > 12 or compiled(_MY_NUMBER_WORDS).search(_around(text, at, 40, 40)) is not None


def _is_home(value: str, text: str, at: int) -> bool:
    return compiled(_SITE).search(_around(text, at, 40, len(value) + 30)) is None


def _is_recent(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    """Nobody who was born in the nineteenth century has data to protect."""
    return compiled(r"(?<!\d)18\d\d(?!\d)").search(value) is None


def _is_public_address(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    octets = [int(part) for part in value.split(".")]
    if max(octets) > 255:
        return False
    number = int.from_bytes(bytes(octets), "big")
    for network in _published("networks"):
        base, _, bits = network.partition("/")
        first = int.from_bytes(bytes(map(int, base.split("."))), "big")
        if number >> (32 - int(bits)) == first >> (32 - int(bits)):
            return False
    return True


def _varies(value: str, text: str, at: int) -> bool:  # noqa: ARG001
    """1234567 and 0000000 stand for a number."""
    digits = "".join(character for character in value if character.isdecimal())
    return len(set(digits)) > 2 and digits not in "01234567890123456789"


@functools.cache
def _kinds() -> tuple[_Kind, ...]:
    """The cheapest first. ``words``: one of which a text must hold; ``0``: any digit."""
    card, account = "a payment card number", "a bank account number"
    document = "the number of an identity document"
    return (
        _Kind("an e-mail address", "@", _EMAIL, 0, _is_private_mailbox),
        _Kind("an IBAN", "0", _IBAN, 0, _is_iban),
        _Kind(card, "0", _CARD, 0, _is_card),
        _Kind("a US social security number", "-", _SSN, 0, _is_ssn),
        _Kind("a US social security number", "SSN ssn ocial", _SSN_BARE, 1, _is_ssn),
        _Kind("a My Number", "0", _MY_NUMBER, 0, _is_my_number),
        _Kind("a passport number", "assport パスポート 旅券", _PASSPORT, 1, _varies),
        _Kind(document, "icen nsurance edicare NHS Tax tax 証 年金 番号", _DOCUMENT, 1, _varies),
        _Kind("a date of birth", "irth DOB dob born 生年月日 誕生日 私は", _BIRTH, "date", _is_recent),
        _Kind(account, "ccount cct 口座 普通 当座", _BANK, 1, _varies),
        _Kind("a phone number", "0", _PHONE, 0, _is_private_phone),
        _Kind("a postal address", "〒 住所 自宅 先 住んで 引っ越", _ADDRESS_JP, 0, _is_home),
        _Kind("a postal address", "住んで 引っ越 住所 送って", _ADDRESS_JP_BEFORE, 0, _is_home),
        _Kind("a postal address", "my My home live moved hip eliver send illing", _ADDRESS_EN, 0, lambda *_: True),
        _Kind("an IP address", ".", _IP, 1, _is_public_address),
    )
