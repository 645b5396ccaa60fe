"""Texts as tokens, sentences and vectors, without a model: near texts get near vectors, in any script.

None of it is what Bedrock's models do; it is deterministic, the same in every process, and good enough to tell texts
apart that differ in more than a letter.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_WIDE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+|[^\w\s]")
_SENTENCE = re.compile(r"[^.!?。！？\n]*(?:[.!?]+(?=\s|$)|[。！？]+|\n|$|[.!?]+)")
_LETTERS_PER_TOKEN = 6
_FEATURES_PER_TEXT = 20_000


def count_tokens(text: str) -> int:
    """An estimate: one token per six letters of a word, per Japanese, Chinese or Korean character, per mark."""
    return sum(1 + (len(word) - 1) // _LETTERS_PER_TOKEN for word in _TOKEN.findall(text))


def first_tokens(text: str, limit: int) -> str:
    """The longest beginning of ``text`` that ends at a word and has at most ``limit`` tokens."""
    used = 0
    for match in _TOKEN.finditer(text):
        used += 1 + (len(match[0]) - 1) // _LETTERS_PER_TOKEN
        if used > limit:
            return text[: match.start()].rstrip()
    return text


def sentences(text: str) -> list[str]:
    """The sentences of an English or Japanese text; joined they are the text again."""
    return [piece for piece in _SENTENCE.findall(text) if piece]


def features(text: str) -> Counter[str]:
    """What two texts are compared by: words and their letter trigrams; single characters and pairs in Japanese."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = _TOKEN.findall(folded)[:_FEATURES_PER_TEXT]
    found: Counter[str] = Counter()
    previous = ""
    for word in words:
        if not word[0].isalnum():
            previous = ""
            continue
        wide = re.match(rf"[{_WIDE}]", word) is not None
        found[f"w {word}"] += 1
        if wide and previous:
            found[f"p {previous}{word}"] += 2
        elif not wide:
            marked = f"^{word}$"
            for at in range(len(marked) - 2):
                found[f"t {marked[at : at + 3]}"] += 1
        previous = word if wide else ""
    return found or Counter([f"raw {folded}"])


def hashed_ngrams(text: str, dim: int) -> list[float]:
    """The default embedding: ``dim`` components, not normalised; the sum of one fixed direction per feature.

    The same text has the same vector in every process; the cosine of two texts is about the share of words and letter
    trigrams (in Japanese, characters and pairs of them) that they have in common.
    """
    total = np.zeros(dim)
    for feature, times in sorted(features(text).items()):
        total += math.log1p(times) * _direction(feature, dim)
    return [float(part) for part in total]


@lru_cache(maxsize=8_192)
def _direction(feature: str, dim: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    raw = hashlib.shake_128(feature.encode("utf-8", "surrogatepass")).digest(dim // 8 + 1)
    return np.unpackbits(np.frombuffer(raw, np.uint8))[:dim].astype(np.int8) * np.int8(2) - np.int8(1)


def normalised(vector: Sequence[float]) -> list[float]:
    """The vector at L2 norm 1; a zero vector stays one."""
    length = math.sqrt(sum(part * part for part in vector))
    return [part / length for part in vector] if length else list(vector)


def likeness(left: str, right: str) -> float:
    """Cosine of the two texts' feature counts, in [0, 1], without hashing."""
    one, other = features(left), features(right)
    dot = sum(times * other[name] for name, times in one.items())
    lengths = math.sqrt(sum(t * t for t in one.values()) * sum(t * t for t in other.values()))
    return dot / lengths if lengths else 0.0
