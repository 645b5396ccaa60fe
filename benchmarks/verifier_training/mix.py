"""The training rows of each language: labelled sets, entailment, templates, and changed copies of real sentences."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from verifier_training import rows as sources
from verifier_training import swaps_en, swaps_ja, templates, templates_en, templates_ja
from verifier_training.rows import Row
from verifier_training.swaps_en import Pool

LONGEST = 260
"""Characters of a text at most: longer ones would be cut to the window."""

SEED = 1

VALIDATION_EVERY = 20
"""One row in so many, drawn by its text, is kept to calibrate and to stop on."""

WRONG_EN = {
    "number": 2,
    "numeral": 1,
    "name": 3,
    "noun": 2,
    "negation": 3,
    "alternative": 3,
    "antonym": 3,
    "order": 5,
    "direction": 1,
    "question": 2,
    "constraint": 1.5,
    "scope": 1,
    "cut": 0.5,
    "dropped": 1.5,
}
RIGHT_EN = {
    "contraction": 2,
    "synonym": 3,
    "polite": 2,
    "surface": 2,
    "typo": 1.5,
    "written_number": 2,
    "fronted": 4,
    "conjuncts": 3,
}


WRONG_JA = {
    "number": 3,
    "name": 3,
    "noun": 2,
    "negation": 4,
    "alternative": 3,
    "antonym": 3,
    "order": 5,
    "direction": 1,
    "question": 2,
    "constraint": 1.5,
    "scope": 1,
    "cut": 0.5,
    "dropped": 1.5,
}
RIGHT_JA = {"ending": 4, "synonym": 4, "polite": 1.5, "surface": 2, "written_number": 2, "conjuncts": 4, "fronted": 4}


def english(data: Path, seed: int, *, size: float = 1.0) -> list[Row]:
    """All rows of the English verifier. ``size``: how many made rows, as a share of the usual."""
    labelled = sources.labelled_rows(data, sources.CAPS_EN, seed)
    rows = labelled + sources.entailment_rows(data, sources.ENTAILMENT_EN, seed)
    made = templates.made_rows("made_en", templates_en.GROUPS, templates_en.FILLERS, each=int(42 * size), seed=seed)
    changer = Changer("changed_en", swaps_en, WRONG_EN, RIGHT_EN, random.Random(seed))
    return _kept(rows + made + changer.rows(labelled, int(5600 * size)))


def japanese(data: Path, seed: int, *, size: float = 1.0) -> list[Row]:
    """All rows of the Japanese verifier; see ``english``."""
    labelled = sources.labelled_rows(data, sources.CAPS_JA, seed)
    rows = labelled + sources.entailment_rows(data, sources.ENTAILMENT_JA, seed)
    made = templates.made_rows("made_ja", templates_ja.GROUPS, templates_ja.FILLERS, each=int(42 * size), seed=seed)
    changer = Changer("changed_ja", swaps_ja, WRONG_JA, RIGHT_JA, random.Random(seed))
    return _kept(rows + made + changer.rows(labelled, int(4600 * size)))


def _kept(rows: Sequence[Row]) -> list[Row]:
    return [row for row in sources.distinct(rows) if max(len(row.a), len(row.b)) <= LONGEST]


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(for training, for calibrating): one set of texts, one side."""
    kept: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        kept[int(templates.digest(row.a.casefold()) % VALIDATION_EVERY == 0)].append(row)
    return kept


@dataclass(frozen=True, slots=True)
class Changer:
    """Makes pairs of real sentences by a language's changes; ``wrong`` and ``right``: how often each is drawn."""

    dataset: str
    swaps: ModuleType
    wrong: Mapping[str, float]
    right: Mapping[str, float]
    draw: random.Random

    def rows(self, labelled: Sequence[Row], count: int) -> list[Row]:
        """``count`` wrong and nearly as many right copies of sentences, the sets taking turns."""
        texts: dict[str, list[str]] = {}
        right: dict[str, list[Row]] = {}
        for row in labelled:
            texts.setdefault(row.dataset, []).append(row.a)
            if row.same:
                right.setdefault(row.dataset, []).append(row)
        pools = {name: self.swaps.pool_of(every) for name, every in texts.items()}
        made: list[Row] = []
        names = sorted(texts)
        for at in range(count):
            name = names[at % len(names)]
            made += self._of_sentence(self.draw.choice(texts[name]), pools[name])
            if right.get(name) and at % 2:
                made += self._of_pair(self.draw.choice(right[name]), pools[name])
        return made

    def _of_sentence(self, text: str, pool: Pool) -> list[Row]:
        """A wrong copy, which now and then is also said in another way, and a right one."""
        made = []
        wrong = self._changed(text, self.swaps.WRONG, self.wrong, pool)
        right = self._changed(text, self.swaps.RIGHT, self.right, pool)
        if wrong:
            axis, changed = wrong
            way = self._changed(changed, self.swaps.RIGHT, self.right, pool) if self.draw.random() < 0.35 else None
            made.append(Row(self.dataset, axis, text, way[1] if way else changed, 0))
        if right:
            axis, said = right
            again = self._changed(said, self.swaps.RIGHT, self.right, pool) if self.draw.random() < 0.4 else None
            made.append(Row(self.dataset, f"same_{axis}", text, again[1] if again else said, 1, 1))
        return made

    def _of_pair(self, row: Row, pool: Pool) -> list[Row]:
        """A right pair whose second text is changed is wrong; one where both get the same new word stays right."""
        made = []
        wrong = self._changed(row.b, self.swaps.WRONG, self.wrong, pool)
        if wrong:
            made.append(Row(self.dataset, wrong[0], row.a, wrong[1], 0))
        both = self._in_both(row, pool)
        if both:
            made.append(both)
        return made

    def _in_both(self, row: Row, pool: Pool) -> Row | None:
        """The same number or name of both texts becomes another one in both."""
        shared = [
            found.group()
            for pattern in (self.swaps.NUMBER, self.swaps.NAME)
            for found in pattern.finditer(row.a)
            if row.b.count(found.group()) == 1 and row.a.count(found.group()) == 1
        ]
        if not shared:
            return None
        old = self.draw.choice(shared)
        if old.isdigit():
            new = str(max(1, int(old) + self.draw.choice([1, 2, 3, 7, 11])))
        elif len(pool.names) > 5:
            new = self.draw.choice(pool.names)
        else:
            return None
        return Row("both", "same_in_both", row.a.replace(old, new), row.b.replace(old, new), 1, 1)

    def _changed(
        self, text: str, changes: Mapping[str, swaps_en.Change], weights: Mapping[str, float], pool: Pool
    ) -> tuple[str, str] | None:
        """(axis, changed text) by one of the changes that this text allows; six tries."""
        names = list(weights)
        for _ in range(6):
            (axis,) = self.draw.choices(names, [weights[name] for name in names])
            changed = changes[axis](text, self.draw, pool)
            if changed and re.sub(r"\s+", " ", changed) != text:
                return axis, changed
        return None
