"""Step 9 of 9: whether a question, or an answer, is about one person.

*Where is my package?* has another answer for everybody who asks it; *How do I change my address?* has one for all. The
rules look for a state that is asked of something that is the asker's own (``data/personal.json``), for personal data
and for an order or customer number. How-to questions, permissions, hypothetical cases and definitions are general, and
so are requests to do something (*cancel my order*): whoever acts on them uses tools, and tool turns are never stored.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from yamabiko.core.addressed import greets, tells_state
from yamabiko.core.pii import pii_kind
from yamabiko.core.references import references
from yamabiko.core.rules import Rule, compiled, folded, matching, plain, table, told

_OWN_STATE = "the question asks about the asker's own account"
_OWN_NUMBER = "the question names an order, customer or like number"

_GENERAL_EN = (
    r"\bhow (?:do|can|could|should|would|to|does|did|often|come)\b(?! (?:i|we) (?:stand|rank|owe))|\b(?:can|could"
    r"|may|might|should|must|shall) (?:i|we|my|one|you use|you explain)\b"
    r"|\bis it (?:possible|ok|okay|safe|legal|normal|necessary|bad|worth)\b|\bis there (?:a|any) (?:way|fee|charge"
    r"|limit|penalty)\b|\bam i (?:able|allowed|supposed|eligible|required)\b"
    r"|\b(?:where|when|how|why) (?:do|can|could|should|would|can't|couldn't|cannot) (?:i|we)\b(?! (?:owe"
    r"|need to pay|have to pay|get paid|fly|depart|leave|work|start|stand|have|sit)\b)"
    r"|\bwhat (?:happens|should|can|could|else|would|must|documents|if|are the (?:steps|ways|requirements|rules"
    r"|options|conditions)|is the (?:process|procedure|best|easiest|fastest|quickest|right|difference|maximum"
    r"|minimum|policy)|(?:do|would) i (?:need|do|have to)|does it (?:mean|cost|take)|affects|counts|determines"
    r"|factors)\b"
    r"|\bdo (?:i|we) (?:need|have to|get to|lose|still need|pay)\b|\b(?:will|would) (?:i|we|it)\b"
    r"|\bwhat's the (?:process|procedure|best|easiest|fastest|quickest|right|difference|maximum|minimum|policy)\b"
    r"|\b(?<!know )(?<!me )(?<!check )(?<!see )if i\b|\b(?:if|after|before|once|unless|whenever|while"
    r"|without) (?:\w+ ){0,2}my\b|\bwhen my\b(?<!tell me when my)|\bhow long (?:does|do|did|should|can) (?:it|a|an"
    r"|the|i|my)\b"
    r"|\b(?:steps?|way|ways|tips?|instructions|guide|option|link|form|help|need help|assistance|want|would like"
    r"|like|trying|try|need|wish|plan|planning|going|decided) (?:to|with|for|me to) (?!(?:see|check|know|find out"
    r"|track|view|look up|get an update|locate|confirm)\b)"
    r"|\bexplain\b|\bdefin|\bmeaning\b|\bmean(?:s)?\b|\bsame as\b|\btemplate\b|\bexample\b|\bwrite\b|\bdraft\b"
    r"|\bsample\b|\badvice\b|\brecommend|\btranslate\b|\bin (?:python|java|excel|sql|javascript|go|rust|bash)\b"
)
_VERBS_EN = (
    r"show|tell|give|check|track|find|look ?up|pull up|share|report|figure out|view|see|display|list|read|confirm"
    r"|locate|look into|know|find out|get me|remind me|trace|review"
)
_EMBEDDED_EN = (
    r"\b(?:can|could|would|will) you (?:please |just |kindly )?(?:{verbs})\b(?!.{{0,20}}\bhow (?:to|do|can|i)\b)"
)
_STATES_EN = (
    (
        ("my ", "our ", "mine"),
        (
            r"\b(?:what|what's|whats|how much|how many|which|when|when's|where|where's|wheres|why|who|who's|how's"
            r"|whose)\b[^.?!\n]{{0,50}}{mine}"
        ),
    ),
    (
        ("my ", "our ", "mine"),
        (
            r"(?:\A|[.?!,;:\n] ?|\b(?:hi|hello|hey|please|so|and|but|know|whether|if) )(?:has|have|did|is|are|was|were"
            r"|does|hasn't|isn't|didn't|aren't)\b (?:any of |all of |there (?:any|a|an|something"
            r"|anything) [^.?!\n]{{0,30}})?{mine}"
        ),
    ),
    (("my ", "our ", "mine"), r"\b(?:{verbs})\b[^.?!\n]{{0,40}}{mine}"),
    (
        ("my ", "our ", "mine"),
        r"\A\W*(?:please )?{mine}(?: (?:please|status|today|info|information|details|history|number))*\W*\Z",
    ),
    (
        ("my ", "our ", "mine"),
        (
            r"\b(?:status|update|updates|news|word|details|progress|information|info|eta) (?:of|on|about|for"
            r"|regarding) {mine}"
        ),
    ),
    (
        ("my ", "our ", "mine"),
        (
            r"{mine}(?: (?:from|for|of|to) [\w ]{{1,20}})? (?:still |just |only )?(?:hasn't|has not|have not|haven't"
            r"|didn't|did not|was|were|is late|is missing|is wrong|is incorrect|isn't here|never|got|says|shows|still"
            r"|has been|arrived|disappeared|failed)\b"
        ),
    ),
    (
        ("how ",),
        (
            r"\bhow (?:much|many|long)\b[^.?!\n]{{0,40}}\b(?:do|did|have) (?:i|we) (?:still |already "
            r"|currently )?(?:owe|have|spend|spent|earn|earned|paid|pay each|use|used|left|got|make|made|taken"
            r"|accumulated|utilized|received|accrue|accrued|get paid|save|saved)\b"
        ),
    ),
    (
        ("do i ", "did i ", "do we ", "did we "),
        (
            r"\b(?:do|did) (?:i|we) (?:still |already |currently )?(?:have (?:any|an?|enough)|owe|qualify|receive"
            r"|pay (?:my|the|this))\b(?! (?:way|choice|right|option|obligation)s?\b)[^.?!\n]{{0,60}}\b(?:left|{nouns}"
            r"|money|credits?|fees?|outstanding|due|today|tomorrow|this (?:week|month))\b"
        ),
    ),
    (
        (
            "have i",
            "has i",
            "had i",
            "was i",
            "were i",
            "am i",
            "are i",
            "have we",
            "had we",
            "was we",
            "were we",
            "are we",
        ),
        (
            r"\b(?:have|has|had|was|were|am|are) (?:i|we) (?:been |already |currently |still |ever |being )*(?:paid"
            r"|charged|billed|used|enrolled|subscribed|registered|signed up|overdue|refunded|overcharged|approved"
            r"|logged in|scheduled|booked|debited|accepted|on (?:the|a|which)|working|insured|covered (?:by"
            r"|under) my)\b"
        ),
    ),
    (
        ("why ", "when ", "what ", "how much"),
        (
            r"\b(?:why|when|what|how much|how many times) (?:was|were|am|did|have|do|are) (?:i|we) (?:been |being "
            r"|last |already |still )*(?:charged|billed|debited|overcharged|buy|bought|order|ordered|spend|paid|owe"
            r"|pay for|get paid|work next|fly|depart|log in|purchase|book|booked)\b"
        ),
    ),
    (
        (
            "what do",
            "what did",
            "which ",
            "what plan",
            "what tier",
            "what seat",
            "what gate",
            "what version",
            "where am",
            "who am",
            "where do",
        ),
        (
            r"\bwhat (?:do|did) (?:i|we) (?:owe|order|buy|pay|spend|book|purchase)\b|\b(?:which|what) (?:plan|tier"
            r"|version|seat|gate|floor|team|branch|department) (?:am|are) (?:i|we)\b|\bwhere am i\b|\bwho am i\b"
            r"|\bwhere (?:do|am) i (?:sit|stand)\b"
        ),
    ),
    (
        ("i haven", "i have ", "i didn", "i did ", "i never", "i still", "i was", "i got", "i've"),
        (
            r"\bi (?:still )?(?:haven't|have not|didn't|did not|never) (?:yet )?(?:received?|got|gotten|get"
            r"|been (?:paid|refunded|charged))\b|\bi (?:was|got|have been|'ve been) (?:\w+ )?(?:charged|billed|debited"
            r"|overcharged)\b"
        ),
    ),
    (
        (
            "i ordered",
            "i bought",
            "i booked",
            "i paid",
            "i returned",
            "i applied",
            "i requested",
            "i submitted",
            "i sent",
        ),
        (
            r"\b(?:the|an?) [\w ]{{1,30}} (?:that |which )?i (?:ordered|bought|booked|paid for|returned|applied for"
            r"|requested|submitted|sent back)\b[^.?!\n]{{0,40}}\b(?:hasn't|has not|still|yet|arrive|arrived|ship"
            r"|shipped|status|where|when)\b|\b(?:where|when|what)\b[^.?!\n]{{0,30}}\bi (?:ordered|bought|booked"
            r"|paid for|returned|applied for|requested|submitted|sent back)\b"
        ),
    ),
    (
        ("my ",),
        (
            r"\b(?:how much|what|what's|do i have|is there|show|list)\b[^.?!\n]{{0,50}}\b(?:in|on|from|for"
            r"|of) my (?:[\w']+ ){{0,3}}"
            r"(?:accounts?|bills?|cards?|insurance)\b"
        ),
    ),
    (
        ("do i have",),
        (
            r"\b(?:what|which|how many)(?: \w+){{0,2}} (?:appointments|meetings|plans|events|reminders|alarms"
            r"|reservations|benefits"
            r"|insurance|coverage|bills|pto|days off|vacation)(?: \w+){{0,2}} do i have\b|\bdo i have (?:(?:any|a|an"
            r"|anything)\b ?)?"
            r"(?:appointments?|meetings?|plans|events|reminders|reservations?|scheduled|planned)\b"
        ),
    ),
    (
        ("will my ",),
        r"\bwill {mine} (?:arrive|expire|come|ship|be (?:delivered|approved|here|ready|shipped|renewed))\b",
    ),
    (("where i", "who i am"), r"\b(?:tell me|know|see|show me) (?:where i(?:'m| am)|who i am)\b"),
    (
        ("did you", "have you"),
        (
            r"\b(?:did|have) you (?:already |yet )?(?:receive|received|get|got|ship|shipped|send|sent|process"
            r"|processed|charge|charged|refund|refunded|cancel|cancelled|canceled)\b[^.?!\n]{{0,20}}{mine}"
        ),
    ),
)
_GENERAL_JA = (
    r"方法|やり方|仕方|手順|どうすれば|どうやって|どのように|どうしたら|するには|るには|(?:でき|出来|もらえ|使え"
    r"|取れ|受けられ|変えられ|見られ|わけられ)(?:ます|る|ない|ません)(?:か|の|場合|$|[?。])"
    r"|可能(?:です|でしょう|か)|場合|とは|って何|意味|どこで(?!す)|どこから|どこに(?:連絡|問い合わせ|電話"
    r"|ありますか)|必要(?:です|な|が|か|でしょう)|べき|もいいです|ても(?:いい|よい|大丈夫)|なければ(?:なり|いけ)"
    r"|(?:変更|解約|退会|申し込|取り消|キャンセル|追加|予約|登録|更新|返品|交換|停止|再発行|依頼|購入|注文)(?:み"
    r"|し)?(?:を)?(?:し)?たい"
    r"|と(?:どう|何が)(?:なり|起こ)|たらどう|ときは|時は|時の|いくらから|違い|仕組み|条件|基準|期間は(?:どの|何)"
    r"|例文|書き方|テンプレート|サンプル|一般的|通常|普通は|何日(?:くらい|ぐらい|ほど|程度)(?:かか|で)|(?:どの"
    r"|どれ)くらい(?:かか|で(?!す))|何[^。?!]{0,6}まで|計算|(?<!確認)してください\Z|締め?切り|して(?:ほしい|欲しい)"
)
_OWN_JA = (
    r"(?<![\u4e00-\u9fffの])(?:私|わたし|わたくし|あたし|僕|ぼく|俺|おれ|自分|うち|我が家|当方|弊社|当社|娘|息子"
    r"|妻|夫|家族|母|父|自宅|マイページ|マイアカウント|マイ)の?(?:今の|現在の|今月の|先月の|次の|次回の|最新の"
    r"|前回の|今日の|この)?"
)
_ASKED_JA = (
    r"(?:いくら|何(?:ポイント|円|日|件|時|個|ギガ|gb|マイル|回|名|株|番|月|分|人|型|階)|いつ|どこ|どう|どれ|どの"
    r"|なぜ|どうして|誰|だれ|ですか|ますか|でしょうか|ましたか|知りたい|教えて|確認したい|確認して|見せて|見たい"
    r"|表示して|調べて|照会|お願い"
    r"|状況|まだ|残って|残り|届いて|届か|届き|来ない|来て|反映され|[?]|は\Z)"
)
_PAST_JA = (
    r"(?:(?:注文|購入|予約|申請|発注|返品|返送|送金|振込|振り込み|依頼|応募|予約を|注文を|申し込み|申込)(?:した"
    r"|していた|しました|してある|済みの|中の)|(?:頼んだ|買った|申し込んだ|送った|払った|支払った|返した"
    r"|申し込みました|買いました|頼みました))"
)
_OWNERS = (
    *(
        "私",
        "わたし",
        "わたくし",
        "あたし",
        "僕",
        "ぼく",
        "俺",
        "おれ",
        "自分",
        "うち",
        "家",
        "当方",
        "弊社",
        "当社",
        "娘",
        "息子",
        "妻",
        "夫",
        "母",
        "父",
        "自宅",
        "マイ",
    ),
)
_STATES_JA: tuple[tuple[tuple[str, ...], str], ...] = (
    (_OWNERS, r"{mine_ja}[^。?!、]{{0,10}}(?:{own})[^。?!]{{0,40}}{asked}"),
    (_OWNERS, r"{mine_ja}(?:{own})\W*\Z"),
    (("",), r"(?:{states})(?:は|を|が|って|の|、|も)?[^。?!]{{0,25}}{asked}"),
    (("",), r"\A\W*(?:{states})\W*\Z"),
    (
        ("たか",),
        (
            r"(?:入金|反映|承認|発送|処理|受理|完了|確定|返金|支給|適用)(?:され)?(?:まし)?たか|(?:届き|通り|振り込まれ"
            r"|支払われ)ましたか"
        ),
    ),
    (
        ("状況", "進捗", "まだ"),
        (
            r"(?:{own})の(?:現在の|今の)?(?:処理|審査|配送|対応|進捗|進行)?(?:状況|進捗)[^。?!]{{0,12}}{asked}"
            r"|(?:{own})(?:は|が|って)まだ(?:です|でしょう|か|[?])"
        ),
    ),
    (
        (
            "した",
            "していた",
            "しました",
            "してある",
            "済み",
            "中の",
            "んだ",
            "った",
            "送った",
            "返した",
            "込みました",
            "買いました",
            "頼みました",
        ),
        (
            r"{past}(?!の)[^。?!]{{0,30}}(?:いつ|どこ|まだ|状況|届[いかき]|来(?:ない|ません|ていません)|発送|どうな"
            r"|反映|完了)"
        ),
    ),
    (
        ("届", "来", "反映", "入って", "確認でき"),
        (
            r"(?:注文|荷物|商品|返金|カード|給料|振込|入金|予約|申請|書類|ポイント|マイル)(?:が|は)(?:まだ|いまだに"
            r"|全然)?[^。?!、]{{0,8}}(?:届いていません|届きません|届かない|届いてない|来ません|来ない|来ていません"
            r"|反映され(?:ない|ません|ていません)|入って(?:い)?(?:ない|ません)|確認できません)"
        ),
    ),
    (
        ("何", "いくら", "くらい", "いくつ"),
        (
            r"(?:ポイント|マイル|有給|有休|ギガ|データ|クーポン|休暇|残業|株|容量)(?:は|が|って)?(?:今|現在|あと|まだ"
            r"|いま|、)*(?:何|いくら|どのくらい|どれくらい|いくつ)[^。?!]{{0,10}}(?:残|あり|ある|溜ま|貯ま|たま|保有"
            r"|持って|使)"
        ),
    ),
    (("あと",), r"あと(?:何|いくら|どのくらい|どれくらい)[^。?!]{{0,10}}(?:残って|使え|取れ(?:ます|る)|払えば)"),
    (
        ("請求", "引き落と", "課金", "決済"),
        (
            r"(?:二重|重複|多く|勝手に|身に覚えのない|覚えのない)[^。?!]{{0,10}}(?:請求|引き落と|課金|決済)|(?:請求"
            r"|課金|引き落と)[^。?!]{{0,12}}(?:され(?:た|ました|ている|ています)|多い|高い)(?:のは)?(?:なぜ|どうして"
            r"|理由|の|か|[?]|です|$)"
        ),
    ),
    (
        ("今月", "先月", "次回", "来月", "今回"),
        (
            r"(?:今月|先月|次回|来月|今回)(?:の|は)(?:請求|支払|引き落と|引落|電気代|料金|給料|給与|利用額|利用料"
            r"|使用料|通信費|携帯代|明細|シフト)[^。?!]{{0,12}}(?:いくら|いつ|教え|何円|知りたい|[?]|は\Z)"
        ),
    ),
    (
        ("私", "僕", "俺", "して", "中の"),
        (
            r"(?:私|僕|俺)は(?:今)?(?:どの|何の|どこの|誰)|(?:私|僕|俺)(?:の名前|が誰)|(?:契約|加入|利用|登録)(?:して"
            r"|中の)[^。?!]{{0,10}}(?:プラン|保険|コース|内容|メールアドレス|住所|電話番号)(?:は"
            r"|を)[^。?!]{{0,10}}(?:何|どれ|教え|知りたい|[?]|どの|\Z)"
        ),
    ),
)


def personal(text: str) -> str:
    """Why the request ``text`` is about one person, without any of its words; empty when it isn't."""
    kind = pii_kind(text)
    if kind:
        return f"the question holds {kind}"
    said = folded(told(text))
    japanese = not said.isascii() and compiled("[\u3041-\u30fa\u4e00-\u9fff]").search(said) is not None
    if any(character.isdecimal() for character in said) and any(references(said)):
        return _OWN_NUMBER
    sentences = compiled(r"(?<=[.?!。？！\n]) *").split(said)
    asks = _asks_ja if japanese else _asks_en
    return _OWN_STATE if any(asks(sentence) for sentence in sentences if sentence) else ""


def personal_answer(question: str, answer: str) -> str:
    """Why an answer belongs to one person, by what it holds and its question lacks; empty when it doesn't."""
    kind = pii_kind(answer, known=question)
    if kind:
        return f"the answer holds {kind}"
    asked, said = folded(question), folded(answer)
    if any(number not in asked for number in references(said)):
        return "the answer names an order, customer or like number"
    if greets(plain(answer), asked):
        return "the answer greets somebody by name"
    return "the answer tells the state of one person's account" if tells_state(said) else ""


def _asks_en(sentence: str) -> bool:
    if not compiled(r"\b(?:my|our|i|i'm|i've|we|mine)\b").search(sentence):
        return False
    if " you " in sentence:
        sentence = compiled(_embedded()).sub("check", sentence)
    rules = tuple(rule for rule in _states()["en"] if any(word in sentence for word in rule.words))
    if not rules or compiled(_GENERAL_EN).search(sentence):
        return False
    return any(True for _ in matching(sentence, rules))


def _asks_ja(sentence: str) -> bool:
    if compiled(_GENERAL_JA).search(sentence):
        return False
    return any(True for _ in matching(sentence, _states()["ja"]))


@functools.cache
def _words() -> Mapping[str, str]:
    """What stands in the braces of the patterns: words of the data file as alternatives."""
    english, japanese = table("personal")["en"], table("personal")["ja"]
    account = english["account"]
    return {
        "nouns": account,
        "mine": rf"\b(?:my|our|mine) (?:[\w'-]+ ){{0,3}}?(?:{account})\b"
        r"(?! (?:settings|page|app|website|company|provider|type)\b)",
        "verbs": _VERBS_EN,
        "own": "|".join(japanese["account"].split()),
        "states": "|".join(japanese["state"].split()),
        "mine_ja": _OWN_JA,
        "asked": _ASKED_JA,
        "past": _PAST_JA,
    }


@functools.cache
def _states() -> Mapping[str, tuple[Rule, ...]]:
    """The rules that know a question for the state of something of one's own."""
    return {
        language: tuple(Rule(_OWN_STATE, words, pattern.format(**_words())) for words, pattern in rows)
        for language, rows in (("en", _STATES_EN), ("ja", _STATES_JA))
    }


@functools.cache
def _embedded() -> str:
    return _EMBEDDED_EN.format(**_words())
