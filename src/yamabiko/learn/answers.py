"""Whether two answers are the same text, but for what carries no meaning: the first rung of the judge's ladder.

Case, white space, punctuation, full and half width, marks of Markdown and what is said by way of greeting are taken
out. Marks that belong to a number, a word or a name stay (3.5, -5, 10-20, a/b, C++), and so does everything in an
answer with code: "equal" must be right every time, and what is missed is only asked about.
"""

from __future__ import annotations

import functools
import re

from yamabiko.core.normalise import light

LONGEST_TEXT = 24_000
"""Code points. Answers longer than this are compared to the letter, and never shown to a judge."""

# Patterns stand here as text; each is compiled at its first use.

_CODE = r"`|~~~|\n(?:\t| {4,})\S|[{}=<>|\\^]"
"""Characters of code and formulas, and indented lines: such an answer is compared to the letter."""

_LINK = r"\[([^\][\n]{1,500})\]\(([^\s()]{1,2000})\)"
_BULLET = r"(?m)^[ \t]*(?:#{1,6}|[*•・-])[ \t]+"
_EMPHASIS = r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]*[^\s*])\1(?![\w*])"
_SENTENCE = r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+"

_CJK = "\u3001-\u30ff\u3400-\u9fff"
_CJK_SPACE = rf"(?<=[{_CJK}])\s+|\s+(?=[{_CJK}])"
_TRIMMED = ".,;:!?…\"'“”‘’"
_LOOSE = rf"(?<![0-9{_TRIMMED}])[{_TRIMMED}]+(?=\s|\Z|[{_CJK}])|(?<![^\s{_CJK}])[\"'“”‘’]+|[、。「」『』]"
"""Punctuation at the edge of a word: inside of one, and behind a digit, it may be part of what it says."""
_AFTER_DIGIT = rf"(?<=[0-9])[.,;:?]+(?=\s|\Z|[{_CJK}])"
"""What may go even there: 5! and 5' may not."""

_DOUBTS = r"(?:ご不明な?点|ご質問)(?:など)?(?:が)?(?:ございましたら|あれば|がありましたら)"
_ASK = r"(?:お問い合わせ|お知らせ|お尋ね|ご質問|ご連絡|お聞き)"
_GREETING = (
    r"(?:hi|hello|hey|good (?:morning|afternoon|evening)|dear customer)(?: there)?",
    r"(?:sure(?: thing)?|certainly|of course|absolutely|great question|good question|happy to help|no problem)",
    r"(?:i'?d be (?:happy|glad) to help|i'?m happy to help|thanks?(?: you)? for (?:asking|your question|reaching out))",
    r"こんにちは|こんばんは|おはようございます|お世話になっております|(?:かしこまり|承知いたし|承知し)ました",
    r"(?:ご質問|お問い合わせ|お問合せ)(?:いただき)?(?:、)?(?:誠に)?ありがとうございます",
    r"良い(?:ご)?質問ですね",
)
_QUESTIONS = r"you have (?:any )?(?:other |further |more )?questions"
_CLOSING = (
    r"(?:i )?hope (?:this|that) helps(?: you)?",
    rf"(?:please )?let (?:me|us) know if (?:{_QUESTIONS}|you need (?:any )?(?:more |further )?(?:help|assistance))",
    r"(?:please )?let (?:me|us) know if there(?:'s| is) anything else(?: i can (?:do|help(?: you)? with))?",
    rf"(?:please )?(?:feel free|don'?t hesitate) to (?:ask|reach out|contact (?:me|us))(?: if {_QUESTIONS})?",
    rf"if {_QUESTIONS},? (?:please )?(?:feel free to ask|let (?:me|us) know|just ask)",
    r"is there anything else i can help (?:you )?with|have a (?:great|nice|good|lovely) day|thank you|thanks",
    rf"(?:その他)?(?:に)?{_DOUBTS}、?(?:お?気軽に|ご遠慮なく)?、?{_ASK}ください",
    r"(?:どうぞ)?(?:よろしく|宜しく)お願い(?:いた|致)?します|お役に立てれば幸いです|参考になれば幸いです",
    r"(?:他|ほか)に(?:ご質問|お手伝いできること|ご不明な点)は(?:ございます|あります)か",
)


def same_text(one: str, other: str) -> bool:
    """Whether two answers are equal but for what carries no meaning. An empty answer equals none."""
    form = bare(one)
    return form != "" and form == bare(other)


def bare(answer: str) -> str:
    """What of an answer is compared; empty only for one without a word."""
    text = answer.replace("\r\n", "\n").strip()
    if len(text) > LONGEST_TEXT or _pattern(_CODE).search(text):
        return text
    sentences = [part.strip() for part in _pattern(_SENTENCE).split(_plain(text)) if part.strip()]
    said = _pattern(_CJK_SPACE).sub("", light(" ".join(_without_greetings(sentences)))).replace("’", "'")
    said = _pattern(_LOOSE).sub(" ", _pattern(_AFTER_DIGIT).sub("", said))
    return _pattern(_CJK_SPACE).sub("", light(said)).casefold()


def _plain(text: str) -> str:
    return _pattern(_EMPHASIS).sub(r"\2", _pattern(_BULLET).sub("", _pattern(_LINK).sub(r"\1 \2", text)))


def _without_greetings(sentences: list[str]) -> list[str]:
    """The sentences from the first to the last one that say something; all of them where none does."""
    first, last = 0, len(sentences)
    while first < last and _pattern(_only(_GREETING)).fullmatch(_folded(sentences[first])):
        first += 1
    while last > first and _pattern(_only(_CLOSING)).fullmatch(_folded(sentences[last - 1])):
        last -= 1
    return sentences[first:last] or sentences


def _folded(sentence: str) -> str:
    return light(sentence).casefold().replace("’", "'")


def _only(patterns: tuple[str, ...]) -> str:
    return rf"(?:{'|'.join(patterns)})[\s.!?,。！？、…]*"


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
