"""Families of verifiers that were compared with the cross-encoder: heads over token alignment, and boosted trees.

    python benchmarks/verifier_families.py --data DIRECTORY [--rows 6000]

English only. Each is trained on the same sample of the cross-encoder's rows and measured on the same test halves:
(b) token alignment, by a linear model and by trees; (c) trees over it and what the score and the guards see, and over
the latter alone. Prints AUC and the share of right pairs served at <= 2 and <= 5 % wrong, without guards, and writes
benchmarks/results/verifier_families.json. Needs torch and scikit-learn.
"""

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labelled import Pair
from machine import write
from train_score import Table
from verifier import by_set
from verifier_training import alignment, measured, mix
from yamabiko.embedders.local import MINILM
from yamabiko.embedders.onnx import bert_uncased
from yamabiko.verifiers.manifest import BERT_UNCASED

SEED = 7
Vectors = Mapping[str, tuple[list[int], NDArray[np.float32]]]


def trained_on(data: Path, count: int) -> Table:
    """A sample of the rows whose label is known, with the score's features."""
    rows = [row for row in mix.split(mix.english(data, mix.SEED))[0] if row.same is not None]
    drawn = random.Random(SEED).sample(rows, count)
    return measured.table([Pair(row.dataset, "dev", row.a, row.b, int(row.same), row.axis) for row in drawn], MINILM)


def aligned(pairs: Sequence[Pair], vectors: Vectors, rare: Mapping[int, float]) -> NDArray[np.float64]:
    return np.array([alignment.features(vectors[pair.a], vectors[pair.b], dict(rare)) for pair in pairs])


def trees(columns: NDArray, label: NDArray, rounds: int) -> HistGradientBoostingClassifier:
    made = HistGradientBoostingClassifier(
        max_iter=rounds, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1, random_state=SEED
    )
    return made.fit(columns, label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled pairs, as .jsonl.gz")
    parser.add_argument("--rows", type=int, default=6000, help="pairs to train on")
    options = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = bert_uncased(BERT_UNCASED)
    train = trained_on(options.data, options.rows)
    _, test = measured.tables(options.data, MINILM, mix.split(mix.english(options.data, mix.SEED))[0])
    start = time.process_time()
    texts = [text for pair in (*train.pairs, *test.pairs) for text in (pair.a, pair.b)]
    vectors = alignment.token_vectors(texts, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    rare = alignment.rarity([vectors[text][0] for pair in train.pairs for text in (pair.a, pair.b)])
    spent = {"vectors_ms_a_text": (time.process_time() - start) / len(vectors) * 1000}
    start = time.process_time()
    one, other = aligned(train.pairs, vectors, rare), aligned(test.pairs, vectors, rare)
    spent["alignment_ms_a_pair"] = (time.process_time() - start) / (len(one) + len(other)) * 1000
    both, both_test = np.hstack([one, train.values]), np.hstack([other, test.values])
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(one, train.label)
    chances = {
        "alignment, linear": linear.predict_proba(other)[:, 1],
        "alignment, trees": trees(one, train.label, 250).predict_proba(other)[:, 1],
        "alignment and features, trees": trees(both, train.label, 300).predict_proba(both_test)[:, 1],
        "features, trees": trees(train.values, train.label, 300).predict_proba(test.values)[:, 1],
        "cosine": test.similarity,
    }
    found = by_set(test, {name: (chance, False) for name, chance in chances.items()})
    for name, row in found.items():
        print(name, row["pairs"], {arm: (row[arm]["auc"], *row[arm]["recall"]) for arm in chances})
    write("verifier_families", {"rows": options.rows, "cpu": spent, "sets": found})


if __name__ == "__main__":
    main()
