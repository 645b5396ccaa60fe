"""What the demo asks: intents with their wordings, and the order of a Zipf law. The data are read, never written."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Literal, TypeAlias

import numpy as np

Language: TypeAlias = Literal["en", "ja"]

ZIPF_EXPONENT = 1.0
"""The r-th most popular of n intents is asked with probability (1 / r^s) / sum(1 / k^s, k = 1..n), s being this.

Source: Breslau et al., "Web Caching and Zipf-like Distributions" (INFOCOM 1999), who measured 0.64 to 0.83 for web
pages; questions to a help desk repeat more, and the law's own exponent is 1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One thing to know: the ways to ask for it, the paragraph that says it, and the right answer."""

    id: str
    language: Language
    wordings: tuple[str, ...]
    paragraph: str
    answer: str
    answer_id: str

    def answered_by(self, other: Intent) -> bool:
        """Whether the other's answer is right here too; the rule stands in demo_data/README.md."""
        same = self.id == other.id or self.answer_id == other.answer_id
        return same or folded(self.answer) == folded(other.answer)


@dataclass(frozen=True, kw_only=True)
class Intents:
    """All intents of one or more languages; no text stands for two of them."""

    all: Sequence[Intent]

    @cached_property
    def _by_text(self) -> Mapping[str, Intent]:
        return {folded(text): intent for intent in self.all for text in intent.wordings}

    def of(self, text: str) -> Intent:
        """The intent that a question stands for, in any spelling. Raises ``KeyError`` for an unknown one."""
        return self._by_text[folded(text)]


def read_intents(languages: Sequence[Language]) -> Intents:
    """The intents of these languages, in the order of the data."""
    found: list[Intent] = []
    for language in languages:
        paragraphs = {row["id"]: row["text"] for row in _rows(f"contexts.{language}.jsonl")}
        found += [
            Intent(
                id=row["id"],
                language=language,
                wordings=(row["text"], *row["paraphrases"]),
                paragraph=paragraphs[row["context"]],
                answer=row["answer"],
                answer_id=row["answer_id"],
            )
            for row in _rows(f"questions.{language}.jsonl")
        ]
    return Intents(all=tuple(found))


def questions_asked(intents: Intents, languages: Sequence[Language], count: int, seed: int) -> list[str]:
    """``count`` questions: a language at even odds, an intent of it by the Zipf law, then any of its wordings.

    The same seed always gives the same list, and a longer list begins with the shorter one.
    """
    order = np.random.default_rng(seed)
    ranked = {
        language: order.permutation(np.array([intent for intent in intents.all if intent.language == language], object))
        for language in languages
    }
    weights = {language: np.arange(1.0, len(ranked[language]) + 1) ** -ZIPF_EXPONENT for language in languages}
    chances = {language: np.cumsum(weight / weight.sum()) for language, weight in weights.items()}
    draws = np.random.default_rng([seed, 1]).random((count, 3))
    asked = []
    for which, popular, worded in draws:
        language = languages[int(which * len(languages))]
        rank = min(int(np.searchsorted(chances[language], popular, side="right")), len(ranked[language]) - 1)
        wordings = ranked[language][rank].wordings
        asked.append(wordings[int(worded * len(wordings))])
    return asked


def folded(text: str) -> str:
    """What makes two texts the same question or answer in the data: no case, no spaces, no closing marks."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip("?.!。、")


def _rows(name: str) -> list[dict[str, str]]:
    text = files("yamabiko.cli").joinpath("demo_data", name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
