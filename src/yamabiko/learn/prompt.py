"""What an LLM judge is told, and what it said: texts that others wrote stand fenced off, and a verdict is one word.

The fence is a random code that occurs in none of the texts, so that none can close it; which answer comes first follows
from a hash of the texts, so that a judge's liking for the first one favours neither the stored nor the fresh ones.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias

from yamabiko.core.normalise import script
from yamabiko.types import Request

Verdict: TypeAlias = Literal["same", "different", "unsure"]

BYPASS = "a judge's own question never meets the cache"

_FOLDER = Path(__file__).parent / "data"
_SAMPLING = '{"temperature":0}'
_STORED_HEADINGS: Mapping[str, tuple[str, str, str]] = {
    "en": ("Question", "Earlier question", "Stored answer"),
    "ja": ("質問", "以前の質問", "保存された回答"),
}
_HEADINGS: Mapping[str, tuple[str, str, str]] = {
    "en": ("Question", "Answer 1", "Answer 2"),
    "ja": ("質問", "回答1", "回答2"),
}
_WORDS: Mapping[str, Verdict] = {"yes": "same", "no": "different", "unsure": "unsure"}
_BARE_WORDS: Mapping[str, Verdict] = {
    **_WORDS,
    "はい": "same",
    "同じ": "same",
    "いいえ": "different",
    "違う": "different",
}
_THOUGHT = r"(?s)<think>.*?</think>"
_MOST_OBJECTS = 20


def judge_request(
    question: str, stored: str, fresh: str, *, model: str, new_code: Callable[[], str] = lambda: secrets.token_hex(8)
) -> Request:
    """What the judge is asked, in Japanese for a Japanese question. ``new_code`` makes codes nobody can foresee."""
    texts = (question, *ordered(question, stored, fresh))
    return _fenced("judge", _HEADINGS, texts, model, new_code)


def verifier_request(
    question: str,
    stored_question: str,
    stored: str,
    *,
    model: str,
    new_code: Callable[[], str] = lambda: secrets.token_hex(8),
) -> Request:
    """What is asked before a stored answer is served: whether it, given to another question, answers this one."""
    return _fenced("verifier", _STORED_HEADINGS, (question, stored_question, stored), model, new_code)


def _fenced(
    task: str,
    headings: Mapping[str, tuple[str, str, str]],
    texts: tuple[str, str, str],
    model: str,
    new_code: Callable[[], str],
) -> Request:
    """The texts, of which the first is the question, each behind a fence that none of them can close."""
    code = new_code()
    while any(code in text for text in texts):
        code = new_code()
    language = "ja" if script(texts[0]) in ("japanese", "han") else "en"
    fenced = [
        f"[{code} {heading}]\n{text}\n[/{code} {heading}]"
        for heading, text in zip(headings[language], texts, strict=True)
    ]
    told = _told(f"{task}_{language}")
    return Request("\n\n".join(fenced), system=told, model=model, sampling=_SAMPLING, bypass=BYPASS)


def ordered(question: str, one: str, other: str) -> tuple[str, str]:
    """Two answers in an order that tells nothing of where they come from, and is always the same for these texts."""

    def place(answer: str) -> bytes:
        return sha256(f"{len(question)}:{question}{answer}".encode("utf-8", "surrogatepass")).digest()

    return (one, other) if place(one) <= place(other) else (other, one)


@functools.cache
def _told(name: str) -> str:
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip()


def parse_verdict(said: str) -> Verdict:
    """The verdict of a judge's reply; "unsure" wherever it is not plainly one.

    An object {"same": ...} counts wherever it stands, in a fence or among words; without any, a reply of one bare word.
    Two objects that disagree, a thought that never ended, a refusal, or nothing at all are no verdict.
    """
    said = re.sub(_THOUGHT, " ", said)
    if "<think>" in said:
        return "unsure"
    found = set(_objects(said))
    if len(found) == 1:
        return found.pop()
    return "unsure" if found else _bare(said)


def _bare(said: str) -> Verdict:
    return _BARE_WORDS.get(re.sub(r"[\W_]+", "", said).casefold(), "unsure")


def _objects(said: str) -> Iterator[Verdict]:
    """The verdict of each JSON object that has one, however it is wrapped; one that is no verdict is "unsure"."""
    decoder = json.JSONDecoder(object_pairs_hook=list)
    at = said.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        try:
            pairs, end = decoder.raw_decode(said, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            values = [value for name, value in pairs if name == "same"]
            if values:
                yield _meant(values)
        at = said.find("{", end)
    yield "unsure"  # whoever says so much has not said one word


def _meant(values: list[object]) -> Verdict:
    if len(values) != 1 or not isinstance(values[0], str):
        return "unsure"
    return _WORDS.get(values[0].strip().casefold(), "unsure")
