"""Step 9 of 9: which replies are worth keeping.

Only a whole, ordinary answer is stored: never an error, a truncated or filtered reply, a refusal, a tool turn, or
anything that holds a secret. The patterns are conservative: what is wrongly refused costs one more generation; a
stored refusal would be repeated to everybody.
"""

from __future__ import annotations

import re

from yamabiko.types import Reply, Request

_REFUSAL_LENGTH = 600
"""Code points. A longer text that begins with an apology goes on to answer."""

_ENGLISH_SORRY = (
    r"(?:(?:i['’]?m|i am|we['’]?re|we are)\s+(?:(?:so|very|really|truly)\s+)?(?:sorry|afraid|unable)|sorry|apologies"
    r"|my apologies|i apologi[sz]e|unfortunately|as an ai(?:\s+\w+){0,4}?)"
)
_ENGLISH_CANNOT = (
    r"(?:(?:i|we)\s+(?:can['’]?t|cannot|can not|won['’]?t|will not|am not able to|are not able to|['’]?m not able to|"
    r"am unable to|must decline|must refuse|do not feel comfortable)|i['’]m (?:unable|not able) to"
    r"|(?:i|we) (?:don['’]t|do not) feel comfortable)"
)
_ENGLISH_DO = (
    r"(?:\s+(?:to|with|in|on|really|directly))*\s*(?:help|assist|answer|provide|comply|fulfil|fulfill|do that|do this"
    r"|discuss|engage|support|share|give|offer|create|generate|write|produce|respond|continue|participate|complete)"
)
_REFUSALS = (
    re.compile(
        rf"(?:{_ENGLISH_SORRY}[\s,.;:!—–-]*(?:but|that|however)?[\s,]*)?{_ENGLISH_CANNOT}{_ENGLISH_DO}", re.IGNORECASE
    ),
    re.compile(
        rf"{_ENGLISH_SORRY}[\s,]*(?:but|that)?[\s,]*(?:i['’]?m|i am)?\s*(?:unable|not able)\s+to{_ENGLISH_DO}",
        re.IGNORECASE,
    ),
    re.compile(r"(?:i['’]m|i am)\s+unable\s+to" + _ENGLISH_DO, re.IGNORECASE),
    re.compile(
        r"(?:大変|誠に|まことに)?(?:申し訳|申しわけ|もうしわけ|恐れ入り|恐縮|ごめん|すみません|すいません|残念)[^。\n]{0,120}?"
        r"(?:でき(?:ません|かねます|ない)|出来(?:ません|かねます)|(?:いた|致)しかねます|応じかねます|お答えしかねます"
        r"|控えさせて|差し控え)"
    ),
    re.compile(
        r"(?:その|この|そのような|このような|ご質問|ご要望|ご依頼|リクエスト|AI|私)[^。\n]{0,60}?"
        r"(?:お答え|お手伝い|対応|お応え|回答|支援|提供|協力)(?:は|を|すること(?:は|が))?(?:いたし|致し|し)?"
        r"(?:でき(?:ません|かねます)|出来(?:ません|かねます)|かねます|控え)"
    ),
    re.compile(
        r"(?:お答え|お手伝い|対応|回答)(?:することは|することが|は)?(?:でき(?:ません|かねます)|いたしかねます|しかねます)"
    ),
)

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("an AWS access key", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    (
        "an API key",
        re.compile(r"(?<![A-Za-z0-9])sk-(?:ant-|proj-|svcacct-|or-)?(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"),
    ),
    ("a GitHub token", re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a Slack token", re.compile(r"(?<![A-Za-z0-9])xox[abeprs]-(?=[A-Za-z-]*[0-9])[A-Za-z0-9-]{16,}")),
    ("a Google API key", re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    (
        "a JSON Web Token",
        re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,}"),
    ),
)

_ASSIGNMENT = re.compile(
    r"(?<![A-Za-z])(?:password|passwd|passphrase|pwd|api[_ -]?key|secret[_ -]?(?:access[_ -]?)?key|client[_ -]?secret"
    r"|access[_ -]?token|auth[_ -]?token|パスワード|暗証番号|APIキー|秘密鍵|シークレットキー|アクセストークン)"
    r"[\"'”」]?\s?(?:is\s?)?(?:[:=：＝]|は「)\s?[\"'“「]?(?P<value>[^\s\"'”」,;、。）)]+)",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"[*•●xX.…_＊×・-]+|[<\[{$(%＜［｛【].*|(?:your|my|the|a|an|new|old|enter|example|changeme|placeholder|secret"
    r"|password|passwd|redacted|hidden|none|null|true|false|required|optional|string|str|env|os\.|process\.|getenv"
    r"|https?:)(?:[^0-9]*)",
    re.IGNORECASE,
)
_PLAIN_WORD = re.compile(r"[^\W\d_]+[?.!:：？！]*")


def refusal_to_store(request: Request, reply: Reply) -> str:
    """Why this reply must not be stored, in a sentence without any of its text; empty when it may be."""
    if request.bypass:
        return "the request asks to bypass the cache"
    if reply.tool_calls:
        return "the reply calls tools"
    if reply.finish_reason != "stop":
        return _UNFINISHED.get(reply.finish_reason, "the reply did not end with the finish reason stop")
    if not reply.text.strip():
        return "the reply is empty"
    if is_refusal(reply.text):
        return "the reply declines to answer"
    for name, text in (("question", request.messages[-1].text), ("reply", reply.text), ("reply", reply.extra)):
        kind = secret_kind(text)
        if kind:
            return f"the {name} holds what looks like {kind}"
    return ""


_UNFINISHED = {
    "length": "the reply was cut off at its length limit",
    "content_filter": "the reply was stopped by a content filter",
    "tool_calls": "the reply calls tools",
    "error": "the reply is an error",
}


def is_refusal(text: str) -> bool:
    """Whether a reply begins by declining, in English or Japanese, and is short enough to do nothing else."""
    text = text.strip().lstrip("\"'“「*_ ")
    return len(text) <= _REFUSAL_LENGTH and any(pattern.match(text) for pattern in _REFUSALS)


def secret_kind(text: str) -> str:
    """What kind of secret a text seems to hold; empty when none. Masks and placeholders are not secrets."""
    for kind, pattern in _SECRETS:
        if pattern.search(text):
            return kind
    for match in _ASSIGNMENT.finditer(text):
        value = match["value"]
        if len(value) >= 4 and not _PLACEHOLDER.fullmatch(value) and not _PLAIN_WORD.fullmatch(value):
            return "a password or key"
    return ""
