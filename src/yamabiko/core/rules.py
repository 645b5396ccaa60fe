"""Rules written as text, for the steps that read questions and answers: a word to look for first, and a pattern.

Looking for a word is some fifty times faster than running a pattern, and most texts hold none of the words. A pattern
is compiled when its word is met for the first time, not when the package is imported.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from yamabiko.core.normalise import light

_APOSTROPHES = "[’ʼ‘]"
_HYPHENS = "[‐‑‒–—―−]"
_QUOTED = (
    r"`[^`]{1,400}`|\"[^\"]{1,400}\"|“[^“”]{1,400}”|「[^「」]{1,400}」|『[^『』]{1,400}』|«[^«»]{1,400}»"
    r"|(?<!\w)'(?=\S)[^'\n]{1,80}'(?!\w)"
)
_MATERIAL = (
    r"(?is)\A\s*(?:please\s+|can you\s+|could you\s+)?(?:(?:translate|summari[sz]e|rewrite|rephrase|paraphrase"
    r"|proofread"
    r"|correct|edit|classify|shorten)\b[^:\n]{0,80}|[^:：\n]{0,60}(?:翻訳|要約|校正|添削|書き換え|言い換え|分類"
    r"|訳)し?て"
    r"[^:：\n]{0,20})[:：\n]"
)


LONG = 1600
"""Code points. A request that is longer holds material."""


class Rule(NamedTuple):
    """What a text that matches is said to be, words of which it must hold one, and a pattern (empty: the word will do).

    Words and pattern are compared with a text that ``folded`` has made.
    """

    name: str
    words: tuple[str, ...]
    pattern: str = ""


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, compiled at its first use and kept. For the package's own patterns only."""
    return re.compile(pattern)


@functools.cache
def table(name: str) -> Mapping[str, Any]:
    """The data file ``data/<name>.json``, read at its first use and kept."""
    found: Mapping[str, Any] = json.loads(files("yamabiko.core").joinpath(f"data/{name}.json").read_text("utf-8"))
    return found


def word_set(text: str) -> frozenset[str]:
    """The words of a table that is written as one text."""
    return frozenset(text.split())


def matching(text: str, rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules that a folded text matches, in their order."""
    for rule in rules:
        for word in rule.words:
            if word in text:
                if not rule.pattern or compiled(rule.pattern).search(text):
                    yield rule
                break


def folded(text: str) -> str:
    """A text in lower case; compatibility forms, apostrophes and hyphens unified, white space as one space."""
    return plain(text).lower()


def plain(text: str) -> str:
    """The same with its capitals."""
    text = light(text)
    if text.isascii():
        return text
    return compiled(_HYPHENS).sub("-", compiled(_APOSTROPHES).sub("'", text))


def unquoted(text: str) -> str:
    """A text without its quotations and code: what they hold is spoken about, not said."""
    if text.isascii() and '"' not in text and "`" not in text and "'" not in text:
        return text
    return compiled(_QUOTED).sub(" … ", text)


def told(text: str) -> str:
    """What a request says itself: without the material after *Translate this:* and the like, and without quotations.

    Of a long text, its first and last ``LONG`` // 2 code points: there a request stands, material in between.
    """
    head = compiled(_MATERIAL).match(text)
    text = head[0] if head else text
    if len(text) > LONG:
        text = f"{text[: LONG // 2]}\n{text[-LONG // 2 :]}"
    return unquoted(text)
