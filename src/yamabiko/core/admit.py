"""Step 9 of 9: which replies are worth keeping, and for whom.

Only a whole, ordinary answer is stored: never an error, a truncated or filtered reply, a refusal, a tool turn, the
answer of a moment, or anything that holds a secret. Where other users could be given it, it may neither hold personal
data or be about one person, nor hold instructions that somebody smuggled in. The patterns are conservative: what is
wrongly refused costs one more generation; a stored refusal would be repeated to everybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yamabiko.core.injection import injected
from yamabiko.core.personal import personal, personal_answer
from yamabiko.core.pii import pii_kind
from yamabiko.core.volatility import Volatility, volatility
from yamabiko.types import Reply, Request

# Patterns stand here as text: re compiles and keeps each at its first use, not when the package is imported.

_REFUSAL_LENGTH = 600
"""Code points. A longer text that begins with an apology goes on to answer."""

_SORRY = (
    r"(?:(?:i['’]?m|i am|we['’]?re|we are)\s+(?:(?:so|very|really|truly)\s+)?(?:sorry|afraid)|sorry|apologies"
    r"|my apologies|i apologi[sz]e|unfortunately|as an ai(?:\s+\w+){0,4})[\s,.;:!—–-]*(?:but|that|however)?[\s,]*"
)
_CANNOT = (
    r"(?:(?:i|we)\s+(?:can['’]?t|cannot|can not|won['’]?t|will not|(?:am|are) (?:not able|unable) to|must)"
    r"|(?:i['’]m|we['’]re|unable|not able)(?:\s+(?:unable|not able))?\s+to)(?:\s+be able to)?"
)
_HELP = (
    r"(?:\s+(?:to|with|in|on|really|directly))*\s+(?:help|assist|answer|provide|comply|fulfil|fulfill|do (?:that|this)"
    r"|decline|refuse|discuss|engage|support|share|give|offer|create|generate|write|produce|respond|continue"
    r"|participate|complete)\b"
)
_NO_ANSWER = (
    r"(?:i|we)\s+(?:(?:don['’]?t|do not) feel comfortable|(?:don['’]?t|do not) have (?:\w+\s+){0,3}?"
    r"(?:information|context|data|details|access)\b"
    r"|(?:don['’]?t|do not) know(?:\s+the answer(?:\s+to\s+\w+(?:\s+\w+)?)?)?\s*(?:[.!]|\Z))"
)
_KANENAI = r"(?:でき(?:ません|かねます|ない)|出来(?:ません|かねます)|かねます|控え|られません|(?:いた|致)しません)"
_KOTAE = r"(?:お?答え|お応え|回答|お手伝い|お力になる|協力|支援)"
_WABI = (
    r"(?:(?:大変|誠に|まことに)?(?:申し?訳|申しわけ|恐れ入り|恐縮|ごめん|すみません|すいません|残念)"
    r"[^。、\n]{0,12}[。、\s]\s*)"
)
_REFUSALS = (
    rf"(?i)(?:{_SORRY})?(?:{_CANNOT}{_HELP}|{_NO_ANSWER})",
    (
        rf"{_WABI}[^。\n]{{0,100}}?(?:(?:{_KOTAE}|対応|提供|案内|お伝え|開示|お受け|応じ)[^。、\n]{{0,12}}?{_KANENAI}"
        r"|(?:わか|分か)り(?:ません|かねます)|(?:情報|回答|答え)[^。、\n]{0,8}見つかりません)"
    ),
    (
        rf"(?:その|この|ご質問|ご要望|ご依頼|ご?リクエスト)[^。\n]{{0,60}}?{_KOTAE}[^。、\n]{{0,12}}?{_KANENAI}"
        rf"|{_KOTAE}[^。、\n]{{0,8}}?{_KANENAI}"
        rf"|(?:AI|人工知能|私)(?:として|は|には)[^。\n]{{0,60}}?(?:{_KOTAE}|対応|提供)[^。、\n]{{0,12}}?{_KANENAI}"
    ),
)
"""Matched at the start of a reply: an apology, if any, and then that something won't be answered."""

_SECRETS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("an AWS access key", ("AKIA", "ASIA"), r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("an API key", ("sk-",), r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,99}[0-9])[A-Za-z0-9_-]{20,}"),
    ("a GitHub token", ("gh",), r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,}"),
    ("a GitHub token", ("github_pat_",), r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{40,}"),
    ("a Slack token", ("xox",), r"(?<![A-Za-z0-9-])xox[abeprs]-(?=[A-Za-z-]{0,99}[0-9])[A-Za-z0-9-]{16,}"),
    ("a Google API key", ("AIza",), r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a private key", ("-----BEGIN ",), r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"),
    (
        "a JSON Web Token",
        ("eyJ",),
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}",
    ),
)
"""Kind of secret, the literals of which one must be there (looked for first: it is much faster), and the pattern."""

_ASSIGNED = (
    *("password", "passwd", "passphrase", "pwd", "key", "secret", "token"),
    *("パスワード", "暗証番号", "キー", "秘密鍵", "トークン"),
)
_ASSIGNMENT = (
    r"(?i)(?<![A-Za-z])(?:password|passwd|passphrase|pwd|api[_ -]?key|secret[_ -]?(?:access[_ -]?)?key"
    r"|client[_ -]?secret|access[_ -]?token|auth[_ -]?token"
    r"|パスワード|暗証番号|APIキー|秘密鍵|シークレットキー|アクセストークン)"
    r"[\"'”」]?\s?(?:is\s?)?(?:[:=：＝]|は「)\s?[\"'“「]?(?P<value>[^\s\"'”」,;、。）)]+)"
)
_PLACEHOLDER = (
    r"(?i)[*•●xX.…_＊×・-]+|[<\[{$(%＜［｛【].*|(?:your|my|the|new|old|enter|example|changeme|placeholder|secret|password"
    r"|redacted|hidden|string|env)[-_.…][^0-9]*|(?:os|process|settings|config)\..*|getenv.*|https?:.*"
    r"|[0-9０-９]+(?:文字|字|桁|回).*"
)
_PLAIN_WORD = r"[^\W\d_]+[?.!:：？！]*"


def refusal_to_store(request: Request, reply: Reply, *, shared: bool = True) -> str:
    """Why this reply must not be stored, in a sentence without any of its text; empty when it may be.

    ``shared``: whether requests of other users could be given it, which is so where no user is part of the scope.
    """
    if request.bypass:
        return "the request asks to bypass the cache"
    if reply.tool_calls:
        return "the reply calls tools"
    if reply.finish_reason != "stop":
        return _UNFINISHED.get(reply.finish_reason, "the reply did not end with the finish reason stop")
    if not reply.text.strip():
        return "the reply is empty"
    if any(not set(source.labels) <= set(request.permissions) for source in reply.sources if source.labels):
        return "a document behind the reply needs a permission that the request does not hold"
    if is_refusal(reply.text):
        return "the reply declines to answer"
    question = request.messages[-1].text
    for name, text in (("question", question), ("reply", reply.text), ("reply", reply.extra)):
        kind = secret_kind(text)
        if kind:
            return f"the {name} holds what looks like {kind}"
    if volatility(question) is Volatility.NEVER:
        return "the answer changes from one moment to the next"
    if not shared:
        return ""
    earlier = (personal(turn.text) for turn in request.messages[:-1] if turn.role == "user")
    why = next(filter(None, earlier), "") or refusal_to_share(question, reply.text, extra=reply.extra)
    return f"{why}: {_KEPT_FOR_THIS_ONE if request.user else _KEPT_FOR_ONE}" if why else ""


def refusal_to_share(question: str, answer: str, *, extra: str = "") -> str:
    """Why an answer must not be given to other users, without any words of it; empty when it may be.

    ``extra``: what else is replayed with the answer, such as a model's reasoning; only personal data are looked for.
    """
    why = personal(question) or personal_answer(question, answer)
    if why:
        return why
    kind = pii_kind(extra, known=question)
    if kind:
        return f"the reply holds {kind}"
    for name, text in (("question", question), ("answer", answer)):
        kind = injected(text)
        if kind:
            return f"the {name} holds {kind}"
    return ""


_KEPT_FOR_ONE = "name the user in the request (Request.user), and it is kept for that user alone"
_KEPT_FOR_THIS_ONE = 'other users would be given it; with Policy(users="always") it is kept for this user alone'

_UNFINISHED: Mapping[str, str] = {
    "length": "the reply was cut off at its length limit",
    "content_filter": "the reply was stopped by a content filter",
    "tool_calls": "the reply calls tools",
    "error": "the reply is an error",
}


def is_refusal(text: str) -> bool:
    """Whether a reply begins by declining, in English or Japanese, and is short enough to do nothing else."""
    text = text.strip().lstrip("\"'“「*_ ")
    return len(text) <= _REFUSAL_LENGTH and any(re.match(pattern, text) for pattern in _REFUSALS)


def secret_kind(text: str) -> str:
    """What kind of secret a text seems to hold; empty when none. Masks and placeholders are not secrets."""
    for kind, literals, pattern in _SECRETS:
        if any(literal in text for literal in literals) and re.search(pattern, text):
            return kind
    lower = text.lower()
    if not any(word in lower for word in _ASSIGNED):
        return ""
    for match in re.finditer(_ASSIGNMENT, text):
        value = match["value"]
        if len(value) >= 4 and not re.fullmatch(_PLACEHOLDER, value) and not re.fullmatch(_PLAIN_WORD, value):
            return "a password or key"
    return ""
