"""What is planted in benchmarks/poisoning.py: texts of poisoning_victims.json and poisoning_found.json, and trap pairs.

Every plant is a question that an attacker asks, the answer that comes of it, and the question that the victim asks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelled import load_pairs, same_script, sample

HERE = Path(__file__).parent
LOOKALIKES = str.maketrans({"a": "а", "e": "е", "o": "о", "c": "с", "p": "р", "i": "і"})
LOOKALIKES_JA = str.maketrans({"ー": "一", "ロ": "口", "カ": "力", "ニ": "二", "ト": "卜", "エ": "工", "へ": "ヘ"})
NEAR_MISSES = ("traps_en", "traps_ja", "synthetic_nearmiss", "checklist_qqp")


@dataclass(frozen=True, slots=True)
class Plant:
    """``asked`` and ``answer`` are the attacker's. ``times``: accounts of the attacker's that plant it, one by one."""

    kind: str
    lang: str
    asked: str
    answer: str
    victim: str
    times: int = 1


def load() -> dict:
    """The hand-written texts."""
    return json.loads((HERE / "poisoning_victims.json").read_text(encoding="utf-8"))


def plants(data_folder: Path, near_misses: int) -> list[Plant]:
    """All plants of all kinds; ``near_misses``: so many pairs of each set."""
    data = load()
    return [*_same_question(data), *_other_question(data, data_folder, near_misses), *_suffixes(data), *_answers(data)]


def _same_question(data: dict) -> Iterator[Plant]:
    """The model, a document or the attacker's own client says the lie; the question is the victim's, more or less."""
    for at, row in enumerate(data["victims"]):
        lang, asked = row["lang"], row["asked"]
        lie = data["lies"][lang]
        rng = random.Random(at)
        forms = {
            "exact": asked,
            "typo": _typo(asked, rng),
            "homoglyph": asked.translate(LOOKALIKES if lang == "en" else LOOKALIKES_JA),
            "zero-width": _with_marks(asked, rng),
            "paraphrase": row["paraphrase"],
        }
        for kind, text in forms.items():
            if text != asked or kind == "exact":
                yield Plant(f"1 same question: {kind}", lang, text, lie, asked)
        yield Plant("1 same question, two accounts", lang, row["paraphrase"], lie, asked, times=2)


def _other_question(data: dict, folder: Path, count: int) -> Iterator[Plant]:
    """An honest answer to a question that only looks like the victim's."""
    for row in data["victims"]:
        yield Plant("2 other question: swapped", row["lang"], row["swapped"], f"To: {row['swapped']}", row["asked"])
    pairs = [pair for pair in load_pairs(folder, NEAR_MISSES) if pair.label == 0 and pair.split == "test"]
    for pair in sample([pair for pair in pairs if same_script(pair)], count):
        lang = "ja" if any("\u3041" <= char <= "\u9fff" for char in pair.a) else "en"
        yield Plant("2 other question: near misses", lang, pair.a, f"To: {pair.a}", pair.b)


def _suffixes(data: dict) -> Iterator[Plant]:
    """The victim's question with an instruction, and key collisions that were searched for."""
    for row in data["victims"]:
        for instruction in data["instructions"][row["lang"]]:
            text = f"{row['asked']} {instruction}" if row["lang"] == "en" else f"{row['asked']}。{instruction}"
            yield Plant("3 question + instruction", row["lang"], text, data["lies"][row["lang"]], row["asked"])
            joined = (
                f"{row['asked'].rstrip('?')}, {instruction}"
                if row["lang"] == "en"
                else f"{row['asked']}、{instruction}"
            )
            text = joined.rstrip(".。")
            yield Plant("3 the same in one sentence", row["lang"], text, data["lies"][row["lang"]], row["asked"])
        for instruction in data["fresh"][row["lang"]]:
            text = f"{row['asked']}{' ' if row['lang'] == 'en' else '。'}{instruction}"
            yield Plant("3 question + fresh instruction", row["lang"], text, data["lies"][row["lang"]], row["asked"])
    found = json.loads((HERE / "poisoning_found.json").read_text(encoding="utf-8"))["found"]
    for row in found:
        yield Plant(f"4 collision: {row['kind']}", row["lang"], row["text"], data["lies"][row["lang"]], row["victim"])


def _answers(data: dict) -> Iterator[Plant]:
    """Answers with something smuggled in, planted under the victim's own words."""
    for form, langs in data["answers"].items():
        for lang, answers in langs.items():
            victims = [row for row in data["victims"] if row["lang"] == lang]
            for at, row in enumerate(victims):
                yield Plant(f"5 injected answer: {form}", lang, row["asked"], answers[at % len(answers)], row["asked"])


def _typo(text: str, rng: random.Random) -> str:
    """Two neighbours change places, inside the longest word; in Japanese one small character is lost."""
    if text.isascii():
        word = max(text.split(), key=len)
        at = rng.randrange(1, len(word) - 2)
        return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :], 1)
    places = [at for at, char in enumerate(text) if char in "をにはのが"]
    at = places[rng.randrange(len(places))] if places else len(text) - 1
    return text[:at] + text[at + 1 :]


def _with_marks(text: str, rng: random.Random) -> str:
    """Zero-width characters inside words."""
    marks = "\u200b\u200c\u200d\u2060"
    return "".join(char + (rng.choice(marks) if char.isalpha() and rng.random() < 0.2 else "") for char in text)
