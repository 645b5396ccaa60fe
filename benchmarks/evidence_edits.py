"""Questions with their paragraphs from JSQuAD and XQuAD, and paragraphs edited so that the answer changes, or does not.

Data (``--data``): ``jsquad_valid_rag_dev.jsonl.gz`` (JGLUE JSQuAD v1.3, CC BY-SA 4.0) and ``xquad_en_rag_dev.jsonl.gz``
(XQuAD, CC BY-SA 4.0). Nothing runs here; ``evidence.py`` imports it.

Edits that change the answer: ``replaced`` (each place where it stands says something else of its kind), ``swapped``
(it and the answer to another question on the paragraph change places, so that both still stand there), ``removed``
(every sentence that holds it is gone). Edits that don't: ``shortened`` (another sentence is gone), ``corrected`` (a
sentence without it says something else), ``extended`` (a sentence of another document is added), ``reordered``
(sentences stand in another order), ``reset`` (other white space, full-width or half-width forms).
"""

import gzip
import hashlib
import json
import random
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

FILES = {"en": "xquad_en_rag_dev.jsonl.gz", "ja": "jsquad_valid_rag_dev.jsonl.gz"}
FORMS = ("span", "framed", "sentence")
"""How a model might have said the answer: the bare words, after the question's own, or the paragraph's sentence."""


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    question: str
    context: str
    answer: str
    language: str
    half: str

    def said(self, form):
        if form == "span":
            return self.answer
        if form == "framed":
            joint = "は、" if self.language == "ja" else ": "
            return f"{self.question.rstrip('?？。か')}{joint}{self.answer}{'です。' if self.language == 'ja' else '.'}"
        return next((s for s in sentences(self.context) if self.answer in s), self.answer).strip()


def load(data: Path, language: str) -> list[Row]:
    """Rows whose answer stands in their paragraph; documents (titles) are split into dev and test by their digest."""
    rows = []
    with gzip.open(data / FILES[language], "rt", encoding="utf-8") as lines:
        for raw in map(json.loads, lines):
            context = raw["context"].split("[SEP]", 1)[-1].strip()
            if raw["answer"] in context:
                half = "dev" if hashlib.sha256(raw["title"].encode()).digest()[0] % 2 else "test"
                row = Row(raw["id"], raw["title"], raw["text"], context, raw["answer"], language, half)
                rows.append(row)
    return rows


def sentences(text: str) -> list[str]:
    return [piece for piece in re.split(r"(?<=[。！？])|(?<=[.!?])(?=\s+[^\sa-z])", text) if piece.strip()]


def kind(answer: str) -> str:
    plain = unicodedata.normalize("NFKC", answer)
    return "number" if re.search(r"\d", plain) else "name" if plain[:1].isupper() else "other"


def other_figure(answer: str, rng: random.Random) -> str:
    """The answer with its first digit that may be changed changed."""
    places = [at for at, char in enumerate(answer) if char.isdecimal()]
    at = places[-1]
    new = str((int(unicodedata.normalize("NFKC", answer[at])) + rng.randrange(1, 9)) % 10)
    return answer[:at] + (new if answer[at].isascii() else chr(ord("０") + int(new))) + answer[at + 1 :]


def changing(row: Row, rows: list[Row], rng: random.Random):
    """(name, paragraph) of each edit that changes the answer and is possible here."""
    if kind(row.answer) == "number":
        yield "replaced", row.context.replace(row.answer, other_figure(row.answer, rng))
    else:
        alike = [
            other.answer for other in rng.sample(rows, min(200, len(rows))) if kind(other.answer) == kind(row.answer)
        ]
        fitting = [a for a in alike if a not in row.context and row.answer not in a and a not in row.answer]
        if fitting:
            nearest = min(fitting, key=lambda a: abs(len(a) - len(row.answer)))
            yield "replaced", row.context.replace(row.answer, nearest)
    partners = [o.answer for o in rows if o.context == row.context and o.answer not in row.answer]
    partners = [a for a in partners if row.answer not in a and kind(a) == kind(row.answer)]
    if partners:
        partner = rng.choice(partners)
        swapped = row.context.replace(row.answer, "\0").replace(partner, row.answer).replace("\0", partner)
        if not any(partner in s and row.answer in s for s in sentences(row.context)):
            yield "swapped", swapped
    left = [s for s in sentences(row.context) if row.answer not in s]
    if left:
        yield "removed", "".join(left)


def keeping(row: Row, rows: list[Row], rng: random.Random):
    """(name, paragraph) of each edit that leaves the answer as it is."""
    parts = sentences(row.context)
    free = [at for at, part in enumerate(parts) if row.answer not in part]
    strange = next(
        o for o in rng.sample(rows, min(50, len(rows))) if o.title != row.title and row.answer not in o.context
    )
    foreign = sentences(strange.context)[0]
    if free:
        at = rng.choice(free)
        yield "shortened", "".join(parts[:at] + parts[at + 1 :])
        yield "corrected", "".join([*parts[:at], " " + foreign, *parts[at + 1 :]])
    yield "extended", row.context + " " + foreign
    if len(parts) > 2:
        yield "reordered", " ".join(parts[1:] + parts[:1])
    if row.language == "ja":
        wide = str.maketrans("0123456789()%", "０１２３４５６７８９（）％")
        yield "reset", row.context.translate(wide).replace("。", "。\n")
    else:
        yield "reset", row.context.replace(". ", ".\n\n").replace("'", "’").replace(" - ", " – ")
