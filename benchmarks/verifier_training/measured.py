"""The pairs that a verifier is measured and weighed on, with what the cache knows of them without it.

``weighed``: pairs of dev halves that no verifier was trained on (neither text stands in its rows), and dev halves of
sets that are never trained on: what the mix with the score and the counts of thresholds come from. ``measured``: test
halves. Sets for evaluation only (QQP, STS-B) are measured and nothing else; the held-out domain is counted as well.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelled import EVALUATION_ONLY, Pair, embed, load_neighbours, load_pairs, same_script, sample
from train_score import NEIGHBOURS, Table, margins
from verifier_training.rows import Row
from yamabiko.core import guards
from yamabiko.core.score import FEATURES, features, model_for
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.embedders.script import script_of

SETS = {
    MINILM: (
        "pawsx_en",
        "checklist_qqp",
        "synthetic_nearmiss",
        "traps_en",
        "qqp",
        "rqe",
        "stsb",
        "disflqa",
        "advising",
        "spidersyn",
        "tatoeba_en",
        "bitextcs",
        "dblpquad",
        "condaqa_edits",
    ),
    USE_M3: (
        "pawsx_ja",
        "synthetic_nearmiss",
        "traps_ja",
        "jsquad",
        "jaquad",
        "jsts",
        "jnli_valid",
        "tatoeba_ja",
        "jsem",
    ),
}
MOST = {
    "qqp": 2000,
    "rqe": 600,
    "traps_en": 1000,
    "traps_ja": 1000,
    "checklist_qqp": 1000,
    "pawsx_en": 1100,
    "pawsx_ja": 1100,
}
"""Pairs of a test half at most; of the others ``MOST_OF_OTHERS``."""
MOST_OF_OTHERS = 300
MOST_WEIGHED = {"disflqa": 1300, "tatoeba_en": 1300, "dblpquad": 1000, "rqe": 1200, "jaquad": 1300, "jsts": 1300}
MOST_WEIGHED_OF_OTHERS = 700
MOST_NEIGHBOURS = 300


def tables(data: Path, model: str, trained: Sequence[Row]) -> tuple[Table, Table]:
    """(weighed, measured) of the pairs whose texts this embedder embeds."""
    seen = {text for row in trained for text in (row.a, row.b)}
    dev, test = [], []
    for name in SETS[model]:
        every = [pair for pair in load_pairs(data, [name]) if _fits(pair, model)]
        test += sample([pair for pair in every if pair.split == "test"], MOST.get(name, MOST_OF_OTHERS))
        if name not in EVALUATION_ONLY:
            own = [pair for pair in every if pair.split == "dev" and pair.a not in seen and pair.b not in seen]
            dev += sample(own, MOST_WEIGHED.get(name, MOST_WEIGHED_OF_OTHERS))
    for name in NEIGHBOURS[model]:
        every = [pair for pair in load_neighbours(data, name, model) if same_script(pair)]
        test += sample([pair for pair in every if pair.split == "test"], MOST_NEIGHBOURS)
        dev += sample([pair for pair in every if pair.split == "dev"], MOST_NEIGHBOURS)
    return table(dev, model), table(test, model)


def _fits(pair: Pair, model: str) -> bool:
    return same_script(pair) and (script_of(pair.a) == "latin") == (model == MINILM)


def table(pairs: Sequence[Pair], model: str) -> Table:
    """With the features of the score for each pair, and what guards veto."""
    pairs = list(pairs)
    asked, stored = embed([pair.b for pair in pairs], model), embed([pair.a for pair in pairs], model)
    seen = np.flatnonzero(~np.isnan(asked[:, 0]) & ~np.isnan(stored[:, 0]))
    pairs, asked, stored = [pairs[at] for at in seen], asked[seen], stored[seen]
    similarity = np.einsum("ij,ij->i", asked, stored)
    margin = margins(pairs, asked, stored, similarity)
    values, vetoed = np.zeros((len(pairs), len(FEATURES))), []
    for at, pair in enumerate(pairs):
        new, old = guards.read(pair.b), guards.read(pair.a)
        found = guards.check(new, old)
        values[at] = features(new, old, found, similarity=float(similarity[at]), margin=float(margin[at]))
        vetoed.append(tuple(finding.guard for finding in guards.vetoes(found)))
    return Table(pairs, values, vetoed)


def score_log_odds(table: Table, model: str) -> NDArray[np.float64]:
    """Log-odds of the score that ships, cut off at +-12."""
    shipped = model_for(model)
    score = np.clip([shipped.score(row) for row in table.values.tolist()], 1e-9, 1 - 1e-9)
    return np.clip(np.log(score / (1 - score)), -12, 12)
