"""Step 9 of 9: instructions smuggled into a question or an answer that others would be given.

A shared cache repeats what it holds to people who never asked for it, so a text counts here that speaks to the model
instead of asking it something, that asks readers for their secrets, makes them run what a stranger's server sends, or
hides what it says. Texts *about* such things pass: a quotation beside words of teaching (what does it mean, prompt
injection, 対策) is a mention, and so are questions how to do something. A pipe into a shell passes only from the hosts
of well-known installers (``data/injection.json``). In doubt a text counts: it is then kept for its own user, or not at
all.
"""

from __future__ import annotations

import functools

from yamabiko.core.rules import Rule, compiled, folded, matching, table, unquoted

_HIDDEN = (
    "[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]{3,}|[\u202d\u202e]|[\U000e0000-\U000e007f]"
    "|[\U000e0100-\U000e01ef\ufe00-\ufe0f]{3,}"
)
"""Runs of what has no width, overrides of the reading direction, tag characters. One joiner between emoji is fine."""
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]{1,12}\U000e007f"
"""The flags of England, Scotland, Wales and others are written with tag characters. Source: UTS #51, 1.4.6."""
_ENCODED = r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{400,}"
_PICTURE = r"data:image/(?:png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/]+=*"
_IMAGE = (
    r"(?i)!\[[^\]]{0,200}\]\(\s*<?https?://[^\s)>?#]{1,300}[?#]([^\s)>]{1,2000})"
    r"|<img\b[^>]{0,200}?\bsrc\s*=\s*[\"']?https?://[^\s\"'>?#]{1,300}[?#]([^\s\"'>]{1,2000})"
)
_SHELL = r"(?:sudo\s+)?(?:-E\s+)?(?:/bin/|/usr/bin/)?(?:env\s+)?(?:ba|z|da|k|fi)?sh\b"
_PIPE = (
    r"(?i)\b(?:curl|wget)\b[^\n|;`]{0,200}?(?P<url>https?://[^\s\"'|)`]{1,200}"
    r"|(?<=\s)[a-z0-9-]+(?:\.[a-z0-9-]+){0,3}\.[a-z]{2,10}(?:/[^\s\"'|)`]{0,100})?)[^\n|;`]{0,80}\|\s*" + _SHELL + "|"
    r"(?:ba|z)?sh\s+(?:-c\s+[\"']?\$\(|<\()\s*(?:curl|wget)\b[^\n)]{0,200}?(?P<url2>https?://[^\s\"')]{1,200})"
    r"|\b(?:irm|iwr|invoke-restmethod"
    r"|invoke-webrequest)\b[^\n|]{0,120}?(?P<url3>https?://[^\s\"'|)]{1,200})[^\n|]{0,80}"
    r"\|\s*(?:iex|invoke-expression)\b"
    r"|\b(?:iex|invoke-expression)\b[^\n]{0,160}?(?P<url4>https?://[^\s\"'|)]{1,200})"
    r"|(?P<decoded>base64\s+(?:-d|--decode)\b[^\n|]{0,80}\|\s*" + _SHELL + ")"
)
_TEACHING = (
    r"prompt injection|jailbreak|\bmean(?:s|ing|t)?\b|what is|what are|what does|\bdetect|\bdefend|\bprotect"
    r"|\bprevent|\bfilter|\battack|\bexample|\bexplain|\btoken\b|\bchatml\b|\bsecurity\b|\bphrase\b|\bsanitiz"
    r"|プロンプトインジェクション|ジェイルブレイク|意味|とは|対策|検出|検知|防[ぐい止御]|攻撃|説明|例文|トークン"
    r"|セキュリティ|フィルタ"
)
_ASKS_HOW = (
    r"\bhow (?:do|can|could|should|would|to|does)\b|\bis it (?:safe|ok|possible)\b|\bwhy\b|\bshould i\b|方法"
    r"|どうすれば|やり方|でしょうか|ですか|手順"
)
_ASKED = (
    r"(?:passwords?|passcode|pin(?: code| number)?|otp|one[- ]time (?:code|password|passcode)|(?:verification"
    r"|security|authentication|2fa|sms|login|recovery) codes?|cvv|cvc|card (?:number|details)|credit card(?: number"
    r"| details)?"
    r"|seed phrase|recovery phrase|secret phrase|private key|api keys?|social security number|ssn|credentials"
    r"|bank details|login details|session cookie|access token)"
)
_ASKED_JA = (
    r"(?:パスワード|暗証番号|認証コード|確認コード|ワンタイムパスワード|クレジットカード(?:の)?(?:番号|情報)"
    r"|カード番号|カード情報|口座情報|秘密鍵|シードフレーズ|リカバリーフレーズ|セキュリティコード|apiキー"
    r"|ログイン情報|マイナンバー)"
)
_ASKED_ABOUT = ("an order about later answers", "an attempt to give the model another role")
_NEVER = (
    r"(?:never|not|n't|avoid|without|nobody|no one|anyone who|beware|scam|phish|fraud|if (?:someone|anyone"
    r"|you get)|asks? you to|asking you to|asked to|will not ask|won't ask)[^.!?]{0,50}\Z"
)
_RULES = (
    Rule(
        "an order to ignore earlier instructions",
        (
            "ignore",
            "disregard",
            "forget",
            "override",
            "bypass",
            "discard",
            "skip",
            "do not follow",
            "don't follow",
            "neglect",
        ),
        r"\b(?:ignore|disregard|forget|override|bypass|discard|neglect|(?:do not|don't|stop) follow(?:ing)?"
        r"|skip) (?:about )?(?:all |any |every |of |the |your |my |these |those |everything in |each of )*(?:"
        r"(?:previous|prior|above|preceding|earlier|former|initial|original|system|existing|old|other|past|safety"
        r"|developer|last|given|current) ?(?:and \w+ )?(?:\w+ )?(?:instructions?|prompts?|rules|guidelines"
        r"|directions|commands|directives|messages?|context|orders|text|constraints|restrictions|polic(?:y|ies)"
        r"|conversation)"
        r"|(?:instructions?|prompts?|rules|guidelines|directives)(?: \w+){0,3} (?:above|before|given|so far"
        r"|you (?:were|have been|got|received))|your (?:instructions?|rules|guidelines|programming|training"
        r"|restrictions|system prompt)"
        r"|(?:the |all |everything )?(?:above|(?:written |said |stated )?(?:above|before this))(?:\s*(?:and|[.,:;!]"
        r"|\Z))|everything (?:above|before|you (?:were|have been) told|i said before))",
    ),
    Rule(
        "an order to ignore earlier instructions",
        ("指示", "命令", "プロンプト", "ルール", "指令", "インストラクション"),
        r"(?:(?:以前|これまで|今まで|いままで|上記|上|先ほど|さっき|前|ここまで|この前|最初|元|従来|過去|直前"
        r"|与えられた|システム)の?(?:(?:すべて|全て|全部|あらゆる)の)?(?:指示|命令|プロンプト|指令"
        r"|インストラクション)|(?:すべて|全て|あらゆる)の(?:指示|命令|ルール|プロンプト"
        r"|指令))(?:や[^。、]{1,8})?(?:は|を|も|に)?(?:、)?(?:すべて|全て|全部|一切|完全に|必ず)?(?:、)?(?:無視"
        r"|忘れ|破棄|従わない|従わず|取り消|上書き|無効)",
    ),
    Rule(
        "talk of the system prompt",
        ("prompt", "instructions", "repeat everything", "repeat all", "repeat the "),
        r"\b(?:reveal|print|show|repeat|output|display|leak|expose|dump|recite|tell me|give me|write out|what (?:is"
        r"|are|was|were)) (?:me )?(?:all )?(?:of )?your (?:full |entire |exact |complete |hidden |secret |own "
        r"|initial |original |system |developer |internal |confidential )+(?:prompts?|instructions?|message|rules)"
        r"|\b(?:new|updated|your new|revised) system (?:prompt|message|instructions?)(?: is)? ?[:：]"
        r"|\byour system prompt (?:is now|has been|now)\b|\brepeat (?:everything|all|the (?:text|words)) (?:above"
        r"|before)\b",
    ),
    Rule(
        "talk of the system prompt",
        ("システムプロンプト", "内部指示", "初期プロンプト", "システムメッセージ"),
        r"(?:あなた|君|お前)?(?:の)?(?:システムプロンプト|内部指示|初期プロンプト|システムメッセージ)(?:の(?:内容"
        r"|全文))?(?:を|は)(?:すべて|全て|全文|そのまま|ここに|次|以下)*(?:、)?(?:表示して|出力して|教えて|見せて"
        r"|開示して|公開して|書き出して|次の|以下の|変更された|更新された)|新しいシステムプロンプト[:は]",
    ),
    Rule(
        "the mark of a chat role",
        (
            "<|",
            "[inst]",
            "[/inst]",
            "<<sys>>",
            "<system>",
            "</system>",
            "### system",
            "###system",
            "### instruction",
            "<start_of_turn>",
            "[system]",
            "<|assistant",
            "[system message]",
        ),
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text"
        r"|end|endofprompt)\|>|\[/?inst\]|<</?sys>>|</?system>|<start_of_turn>|### ?(?:system"
        r"|instructions?)(?: message| prompt)? ?:|\[system(?: message)?\](?: ?:|\()",
    ),
    Rule(
        "the mark of a chat role",
        ("system:", "system :", "developer:"),
        r"(?:\A|[.!?。\"] )(?:system|developer) ?: ?(?:you|from|ignore|new|the|override|always|important|update"
        r"|respond|answer|all|do|set)\b",
    ),
    Rule(
        "an order about later answers",
        ("from now on", "going forward", "hereafter", "for the rest of", "in all future", "starting now", "henceforth"),
        r"\b(?:from now on|going forward|hereafter|henceforth|starting now|for the rest of (?:this|the"
        r"|our) (?:conversation|chat|session)|in all future (?:answers|responses|replies|messages)),? (?:you(?:'ll"
        r"| will| are| must| should| have to| shall|'re| can| do)?\b|always\b|never\b|answer\b|respond\b|reply\b"
        r"|act\b|say\b|only (?:answer|respond|reply|say)|every (?:answer|reply|response)|pretend\b|ignore\b)",
    ),
    Rule(
        "an order about later answers",
        ("answer", "response", "repl", "output", "message"),
        r"\b(?:add|append|include|insert|prepend|put|say|write|mention|attach|repeat|end|begin|start"
        r"|finish)\b[^.?!]{1,80}?\b(?:(?:every|each|all|any)(?: one)?(?: of)?(?: your| future| following"
        r"| subsequent)* (?:answers?|repl(?:y|ies))|(?:every|each|all|any)(?: of)? (?:your|future|following"
        r"|subsequent)(?: \w+)? (?:responses?|messages?|outputs?)|your (?:next|future|following"
        r"|subsequent) (?:answers?|repl(?:y|ies)|responses?|messages?))",
    ),
    Rule(
        "an order about later answers",
        ("asks", "ask "),
        r"\b(?:when|whenever|if|every time|each time) (?:anyone|anybody|someone else|somebody else|any user"
        r"|other users?|another user|the next user|users?|a user"
        r"|people) (?:ever )?asks?(?: you)?\b[^.?!]{1,80}\b(?:answer|reply|respond|say|tell (?:them|him|her)"
        r"|recommend|give them|send them)\b",
    ),
    Rule(
        "an order about later answers",
        (
            "回答",
            "返答",
            "答え",
            "応答",
            "聞かれたら",
            "質問されたら",
            "尋ねられたら",
            "これからは",
            "今後は",
            "返信",
            "質問したら",
            "聞いたら",
        ),
        r"(?:これからは?|今後は?|以降は?|以後は?|この先)(?:、)?(?:必ず|常に|すべて|全て|いつも|毎回|あなたは"
        r"|君は)?[^。?!]{0,40}?(?:と(?:だけ)?(?:答え|回答し|返答し|返し|言っ)て|として(?:振る舞|ふるま|回答|答え"
        r"|行動)|を(?:付け|つけ|追加し|含め|入れ)て(?:回答|答え|返|ください))"
        r"|(?:すべて|全て|毎回|あらゆる|今後|以降|次)の(?:回答|返答|答え|応答|返信)(?:の(?:最後|末尾|最初|冒頭"
        r"|中))?(?:に|で|には)[^。?!]{0,60}?(?:付け|つけ|追加|含め|入れ|記載|挿入|書い|勧め|案内)(?:し)?(?:て|ろ|よ"
        r"|なさい|ること)"
        r"|(?:他の人|誰か|別の(?:人|ユーザー|利用者)|次の(?:人|ユーザー)|ほかの人|ユーザー)(?:が|から"
        r"|に)[^。?!]{0,30}(?:聞|質問|尋ね)(?:かれ|いてき|され|ねられ|いた|し|い)?(?:たら|てきたら|た場合は?"
        r"|れば)[^。?!]{0,40}(?:答え|回答|返|案内|伝え|言っ)",
    ),
    Rule(
        "an attempt to give the model another role",
        (
            "you are now",
            "you're now",
            "act as",
            "pretend",
            "developer mode",
            "god mode",
            "dan",
            "jailbr",
            "no restrictions",
            "unrestricted",
            "repeat after me",
        ),
        r"\byou(?: are|'re) now (?:dan\b|in (?:developer|debug|god|admin|maintenance|jailbreak) mode"
        r"|an? (?:unrestricted|unfiltered|uncensored|jailbroken|evil)|free (?:of|from)|no longer)|\b(?:pretend|act"
        r"|behave|respond|answer)(?: as)? (?:if |that |like |though )?(?:you |you're )(?:are |have |had "
        r"|were )?(?:not bound|no (?:rules|restrictions|limits|guidelines|filters)|free of|unrestricted|jailbroken)"
        r"|\bact as (?:dan\b|an? (?:unrestricted|unfiltered|uncensored|jailbroken))|\b(?:enable|enter|activate"
        r"|switch to) (?:developer|dan|god|jailbreak) mode\b|\bdo anything now\b|\A\W*repeat after me\b"
        r"|[.!:] repeat after me\b",
    ),
    Rule(
        "an attempt to give the model another role",
        ("制限", "開発者モード", "脱獄", "復唱", "続けて言", "続いて言", "dan", "ルールに縛"),
        r"(?:制限|規制|制約|フィルター?|ルール)(?:は|が|の|を)?(?:一切)?(?:ない|なし|無い|解除|受けない"
        r"|縛られない)(?:の|され)?(?:た)?(?:ai|人工知能|アシスタント|モード|状態|キャラ|として)|(?:開発者|脱獄"
        r"|ジェイルブレイク|dan)モード(?:に|を)(?:なって|入って|切り替え|有効|オン|起動)|私の(?:後|あと)に(?:続けて"
        r"|続いて)(?:言|復唱|繰り返)|復唱して(?:ください)?",
    ),
)
_READER = (
    Rule(
        "a request for the reader's secrets",
        ("send", "mail", "text ", "reply", "tell", "give", "share", "message", "post", "dm ", "forward", "submit"),
        rf"\b(?:send|e-?mail|text|reply(?: to (?:us|me|this \w+))?(?: with)|tell|give|share|message|post|dm|forward"
        rf"|submit)(?: (?:us|me|them|it|back|over|along|through|support|our (?:team|agent|staff)|the (?:agent|team"
        rf"|admin|support team)))*(?: with)? (?:both |also )?your (?:\w+ ){{0,3}}?{_ASKED}\b",
    ),
    Rule(
        "a request for the reader's secrets",
        ("して", "ください", "下さい", "教えて", "送れ"),
        rf"{_ASKED_JA}(?:と[^。]{{1,12}})?(?:を|の写真を|も)[^。\n]{{0,24}}?(?:送って|送信して|返信して"
        rf"|教えて(?:ください|下さい)|お知らせ(?:ください|下さい)|お送り(?:ください|下さい)|メールして"
        rf"|共有して(?:ください|下さい)|お伝え(?:ください|下さい)|ご?返信(?:ください|下さい)|送れ)",
    ),
    Rule(
        "a link to verify an account",
        ("http", "www."),
        r"\b(?:verify|confirm|validate|re-?activate|unlock|restore|re-?confirm|authenticate"
        r"|re-?verify)\b[^.!?]{0,20}\b(?:your|the|my) (?:\w+ ){0,2}(?:account|identity|login|password|card|payment"
        r"|billing|bank|wallet|credentials|details)\b[^!?]{0,80}?(?:https?://|www\.)"
        r"|(?:https?://|www\.)\S{1,120} [^.!?]{0,40}\b(?:verify|confirm|validate|unlock|restore"
        r"|reactivate)\b[^.!?]{0,20}\byour (?:\w+ ){0,2}(?:account|identity|login|password|card|payment|billing"
        r"|bank|wallet|credentials)\b"
        r"|\b(?:account|card|access) (?:has been|is|was|will be) (?:suspended|locked|limited|blocked|restricted"
        r"|disabled)\b[^!?]{0,120}?(?:https?://|www\.)"
        r"|(?:アカウント|口座|カード|本人|お支払い|ログイン)[^。\n]{0,20}(?:確認|認証|検証|凍結|停止|制限|解除"
        r"|更新)[^\n]{0,50}?(?:https?://|www\.)[^\n]{0,80}|(?:https?://|www\.)\S{1,100} ?(?:から|で|に(?:アクセス"
        r"|ログイン)して?)[^。\n]{0,20}(?:アカウント|口座|カード|本人)[^。\n]{0,10}(?:確認|認証|検証|解除)",
    ),
)


def injected(text: str) -> str:
    """What kind of smuggled instruction a text holds, such as ``the mark of a chat role``; empty when none.

    Never quotes the text. Takes time linear in its length.
    """
    hidden = _hidden(text)
    if hidden:
        return hidden
    if "](" in text or "<img" in text.lower():
        for match in compiled(_IMAGE).finditer(text):
            if _carries_data(match[1] or match[2]):
                return "an image address that carries data"
    if _runs_a_stranger(text):
        return "a download that is run at once"
    said = folded(text)
    found = _speaks(said)
    if found and unquoted(text) != text and compiled(_TEACHING).search(folded(unquoted(text))):
        found = _speaks(folded(unquoted(text)))
    return found


def _speaks(said: str) -> str:
    """The first rule that a folded text matches, in a sentence that doesn't ask how to do it or warn of it."""
    for rule in matching(said, _RULES):
        if rule.name not in _ASKED_ABOUT or not _asks_how(said, rule):
            return rule.name
    for rule in matching(said, _READER):
        match = compiled(rule.pattern).search(said)
        if match and not compiled(_NEVER).search(said[max(0, match.start() - 80) : match.start()]):
            return rule.name
    return ""


def _asks_how(said: str, rule: Rule) -> bool:
    """*How do I add a footer to every reply in Outlook?* gives no order."""
    match = compiled(rule.pattern).search(said)
    if match is None:
        return False
    before = said[max(0, match.start() - 60) : match.start()]
    return (
        compiled(rf"(?:{_ASKS_HOW})[^.?!。]{{0,60}}\Z").search(before) is not None
        or compiled(r"(?:方法|やり方|手順|ですか|でしょうか)").search(said[match.end() - 4 : match.end() + 16])
        is not None
    )


def _hidden(text: str) -> str:
    if not text.isascii():
        match = compiled(_HIDDEN).search(text)
        if match and compiled(_HIDDEN).search(compiled(_FLAG).sub("", text)):
            return "hidden characters"
    if len(text) >= 400:
        for match in compiled(_ENCODED).finditer(
            text if "data:image/" not in text else compiled(_PICTURE).sub("", text)
        ):
            run = match[0]
            if any(map(str.isdigit, run)) and run.lower() != run and run.upper() != run:
                return "a long run of encoded data"
    return ""


def _carries_data(query: str) -> bool:
    """Whether the query of an image's address does more than say how the image looks."""
    if any(mark in query for mark in "{}<>[]$%"):
        return True
    for part in query.replace("&amp;", "&").split("&"):
        name, _, value = part.partition("=")
        if len(value) > 40 or (value and name.lower() not in _names("image_parameters")):
            return True
    return False


def _runs_a_stranger(text: str) -> bool:
    """Whether a command hands what a host sends to a shell, from a host that isn't known for its installer."""
    if not any(word in text for word in ("curl", "wget", "iwr", "irm", "iex", "nvoke-", "base64")):
        return False
    for match in compiled(_PIPE).finditer(text):
        url = match["url"] or match["url2"] or match["url3"] or match["url4"]
        if url is None or not _is_installer(url):
            return True
    return False


def _is_installer(url: str) -> bool:
    address = url.lower().partition("://")[2] or url.lower()
    if url.lower().startswith("http://") or "@" in address:
        return False
    return any(address == known or address.startswith(known + "/") for known in _names("installers"))


@functools.cache
def _names(name: str) -> frozenset[str]:
    return frozenset(table("injection")[name].split())
