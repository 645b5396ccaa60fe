"""Step 9 of 9: whether an answer speaks to one person: greets somebody by name, or tells the state of their account."""

from __future__ import annotations

from yamabiko.core.rules import Rule, compiled, matching, word_set

_SALUTATION = (
    r"\A\W*(?:[Dd]ear|(?:[Hh]i|[Hh]ello|[Gg]ood (?:morning|afternoon|evening)),?) (?:"
    r"(?:[Mm]r|[Mm]s|[Mm]rs|[Mm]x|[Dd]r|[Pp]rof|[Mm]iss)\.? (?P<titled>[A-Z][\w'-]+)"
    r"|(?P<bare>[A-Z][a-z'-]+)(?: [A-Z][\w'-]+)?(?=[,!:\n]))"
)
_NOBODY = word_set(
    "There Everyone All Team Friend Friends World Kitty Customer Customers Sir Madam Guest Guests Member Members "
    "User Users Valued Hiring Manager Colleague Colleagues Santa God Diary Reader Readers Student Students Parent "
    "Parents Resident Applicant Candidate Traveler Traveller Patient Investor Shareholder Neighbor Neighbour "
    "Developer Developers Name You Folks Editor Sirs Committee Professor Teacher Mom Dad Again And Yes No Thanks "
    "Thank"
)
_SALUTATION_JA = (
    r"\A\W*(?P<name>[\u4e00-\u9fff\u30a1-\u30fa々ー]{1,8}|[ぁ-ん]{2,6}|[A-Za-z]{2,20})[  ]?(?:様|さま|さん"
    r"|殿)(?=[、。,!:：\s]|\Z)"
)
_NOBODY_JA = word_set(
    "お客 お客さま 皆 みな 皆々 会員 ご担当者 担当者 奥 王 神 仏 お子 お母 お父 利用者 患者 オーナー ユーザー "
    "企業 同 多 仕 模 一 異 左 有 お得意 各 貴 保護者 生徒 学生 社員 読者 視聴者 旅行者 お取引先 取引先 関係者 母 "
    "父 姉 兄 客 たく 赤ちゃ 子ども お医者 お 店員 ご本人 本人 受験生 隊長 殿"
)
_LETTER = (
    r"(?i)\b(?:letter|e-?mail|message|template|reply|draft|write|greeting|note)\b|手紙|メール|文面|返信|文例"
    r"|テンプレート|例文|書い|作成|挨拶|案内文"
)
_UNSAID = word_set(
    "if when once after until till whether that before unless while how why where as because track check see view "
    "for of in on to with and or about from by change cancel update verify enter whenever sure which"
)
"""Words before *your* after which nothing is stated: when your order has shipped."""
_YOURS = (
    Rule(
        "",
        ("your ",),
        r"(?:(?<=\A)|(?<=[\s(*_>-]))your (?:[\w-]+ ){0,3}?(?:"
        r"(?:balance|bill|amount due|statement|total|refund|premium|deductible|salary|bonus|payment|invoice|credit)"
        r"(?: \w+){0,3} (?:is|was|of|comes to|:)[^.]{0,20}[$€£¥]? ?\d"
        r"|(?:order|package|parcel|shipment|delivery|refund|claim|payment|application|request|booking|reservation"
        r"|appointment"
        r"|flight|subscription|trial|membership|contract|prescription|policy|loan|card|visa)(?: [#\w-]+){0,4} (?:"
        r"has (?:been|shipped|arrived|left|not)|was (?:shipped|delivered|sent|approved|declined|rejected|processed"
        r"|issued"
        r"|charged|cancel+ed|placed)|is (?:out for delivery|on its way|on the way|currently|delayed|confirmed|scheduled"
        r"|ready|being|booked|due on|in transit|active)|shipped on|(?:renews|expires|ends|arrives|departs|will arrive"
        r"|will renew|will be delivered|will ship) (?:on|at|tomorrow|today|by)\b)"
        r"|(?:points|miles|leave balance|vacation balance|credit score|data usage|quota|seat|gate|account number"
        r"|customer number|member number|order number)(?: [\w-]+){0,2} (?:is|are|was|:)[^.]{0,16}\d"
        r"|test results? (?:is|are|was|were|show|came))",
    ),
    Rule(
        "",
        ("you ", "you're "),
        r"\byou (?:currently |still |now )?(?:have|owe|earned|used|spent) (?:[$€£¥]\d|\d[\d,.]* (?:points|miles"
        r"|vacation days"
        r"|days of (?:leave|vacation)|gb|sick days|credits) (?:left|remaining|available|due|in your))"
        r"|\byou(?:'re| are) (?:currently )?on the [\w ]{1,20} plan\b",
    ),
    Rule(
        "",
        ("お客様の", "お客さまの", "あなたの", "貴方の", "様の"),
        r"(?:お客様|お客さま|あなた|貴方|[^\W\d_]様)の(?:現在の|今月の|今回の|次回の)?(?:ご?(?:残高|請求額|請求金額"
        r"|請求|利用額"
        r"|ポイント(?:残高)?|保有ポイント|マイル|契約|プラン|予約|注文|荷物|限度額|お支払い額|会員番号|有給|残日数"
        r"|データ残量|更新日"
        r"|検査結果|口座))[^。]{0,20}(?:は|:|が)[^。]{0,25}(?:\d|です|なっています|ございます)",
    ),
    Rule(
        "",
        ("現在の", "今月の", "先月の", "次回の"),
        r"(?:現在の|今月の|先月の|次回の)(?:ご?(?:残高|請求額|請求金額|利用額|ポイント残高|保有ポイント|お支払い額"
        r"|データ残量"
        r"|有給残日数))(?:は|:)[^。]{0,8}\d",
    ),
    Rule(
        "",
        ("発送", "配達中", "届け済み", "配送中", "到着", "完了しました", "確定してい", "承認され", "処理中です"),
        r"(?<![^。 !])ご?(?:注文|荷物|お荷物|商品|返金|予約|申請|お申し込み)(?:の[^。]{1,10})?(?:は"
        r"|が)[^。]{0,25}(?:発送されました"
        r"|発送済みです|発送しました|配達中です|お届け済みです|配送中です|到着しました|完了しました|確定しています"
        r"|承認されました"
        r"|処理中です|到着予定です)",
    ),
)
"""An answer that tells the state of something of the reader's."""


def greets(answer: str, asked: str) -> bool:
    """Whether an answer begins with a name that its question doesn't hold, and isn't a letter to write."""
    if compiled(_LETTER).search(asked):
        return False
    match = compiled(_SALUTATION).match(answer)
    if match:
        name = match["titled"] or match["bare"]
        return name not in _NOBODY and name.lower() not in asked
    match = compiled(_SALUTATION_JA).match(answer)
    return match is not None and match["name"] not in _NOBODY_JA and match["name"].lower() not in asked


def tells_state(said: str) -> bool:
    """Whether a folded answer states how something of the reader's is: *your order has shipped*."""
    for rule in matching(said, _YOURS):
        for match in compiled(rule.pattern).finditer(said):
            before = said[max(0, match.start() - 20) : match.start()].split()
            if not before or before[-1] not in _UNSAID:
                return True
    return False
