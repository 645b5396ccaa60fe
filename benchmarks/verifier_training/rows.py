"""What a verifier is trained on: pairs of texts with what is known of them, and the trainable sets as such pairs.

Only dev halves of labelled.py's split are read (its components share no question with the halves that are measured),
and only of sets that may be trained into something that ships. ``HELD_OUT_DOMAIN`` is left out whole: its figures tell
what the verifier does in a domain that it never saw.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelled import Pair, _rows, _same, _sides, load_pairs

HELD_OUT_DOMAIN = "rqe"

LICENCES = {
    "advising": "CC BY 4.0",
    "bitextcs": "CDLA-Sharing 1.0",
    "breakingnli": "CC BY-SA 4.0",
    "condaqa_edits": "Apache-2.0",
    "dblpquad": "CC BY 4.0",
    "disflqa": "CC BY 4.0",
    "gptcache_mock": "MIT",
    "hans": "MIT",
    "help": "CC BY-SA 4.0",
    "jamp": "CC BY-SA 4.0",
    "janli": "CC BY-SA 4.0",
    "jaquad": "CC BY-SA 3.0",
    "jnli_valid": "CC BY-SA 4.0",
    "jsem": "BSD-3-Clause",
    "jsnli": "CC BY-SA 4.0",
    "jsquad": "CC BY-SA 4.0",
    "jsts": "CC BY-SA 4.0",
    "med": "CC BY-SA 4.0",
    "negation": "MIT; SNLI: CC BY-SA 4.0, MNLI: OANC and others",
    "pawsx_en": "free for any purpose, credit Google LLC",
    "pawsx_ja": "free for any purpose, credit Google LLC",
    "scone": "CC0 1.0",
    "snli": "CC BY-SA 4.0",
    "spidersyn": "MIT; Spider: CC BY-SA 4.0",
    "tatoeba_en": "CC BY 2.0 FR",
    "tatoeba_ja": "CC BY 2.0 FR",
}
"""Of every set that is trained on. What is made from templates is our own; changed copies are their set's."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pair. ``same``: 1 where one answer serves both, 0 where not, None where nobody knows.

    ``entails``: whether ``a`` entails ``b``, where known. ``axis``: what makes the pair, for reports.
    """

    dataset: str
    axis: str
    a: str
    b: str
    same: int | None
    entails: int | None = None


CAPS_EN = {
    "advising": 2000,
    "bitextcs": 1500,
    "disflqa": 2500,
    "spidersyn": 2600,
    "tatoeba_en": 3200,
    "pawsx_en": 1200,
    "condaqa_edits": 900,
    "dblpquad": 900,
    "gptcache_mock": 300,
}
CAPS_JA = {
    "jsquad": 1000,
    "jaquad": 1500,
    "jsts": 2000,
    "jnli_valid": 500,
    "tatoeba_ja": 3600,
    "pawsx_ja": 1200,
    "jsem": 800,
}
ENTAILMENT_EN = {
    "snli": 700,
    "breakingnli": 600,
    "negation": 600,
    "scone": 300,
    "med": 600,
    "help": 200,
    "hans": 600,
}
ENTAILMENT_JA = {
    "jsem": 900,
    "jsnli": 600,
    "janli": 700,
    "jamp": 500,
}


def labelled_rows(data: Path, caps: dict[str, int], seed: int) -> list[Row]:
    """Dev halves of the named sets, at most so many of each, right and wrong pairs as they come."""
    rows = []
    for name, cap in caps.items():
        pairs = [pair for pair in load_pairs(data, [name]) if pair.split == "dev"]
        rows += [_row(pair) for pair in _drawn(pairs, cap, seed)]
    return rows


def entailment_rows(data: Path, caps: dict[str, int], seed: int) -> list[Row]:
    """Dev halves of entailment sets: whether a entails b for all, and the label where one is known."""
    found = []
    for name, cap in caps.items():
        rows = [row for row in _rows(data, name) if "relation" in row]
        sides = _sides(rows)
        own = [row for row in rows if sides[_same(row["a"])] == sides[_same(row["b"])] == "dev"]
        for row in _drawn(own, cap, seed):
            axis = str(row.get("phenomenon", "entailment"))
            entails = int(row["relation"] == "entailment")
            found.append(Row(name, axis, row["a"], row["b"], row.get("label"), entails))
    return found


def _row(pair: Pair) -> Row:
    return Row(pair.dataset, pair.kind, pair.a, pair.b, pair.label, 1 if pair.label else None)


def _drawn(items: Sequence, cap: int, seed: int) -> list:
    return list(items) if len(items) <= cap else random.Random(seed).sample(items, cap)


def distinct(rows: Iterable[Row]) -> list[Row]:
    """The rows without those whose two texts, in either order, stood there before."""
    seen: set[frozenset[str]] = set()
    kept = []
    for row in rows:
        key = frozenset((_same(row.a), _same(row.b)))
        if key not in seen:
            seen.add(key)
            kept.append(row)
    return kept
