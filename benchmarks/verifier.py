"""Measures verifiers on pairs that took no part in their training: alone, and mixed with the score.

    python benchmarks/verifier.py --data DIRECTORY [--model FOLDER ...] [--write]

``--model``: folders with a manifest and its model (default: those that ship). Prints, and with --write puts into
benchmarks/results/verifier.json: per set, axis and language the ROC-AUC and the share of right pairs that a threshold
serves with at most 2 and 5 % wrong among the served, for the cosine, the score, the verifier and the mix; the CPU time
of a pair; and whether a pair's logit depends on its neighbours.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from machine import write
from train_score import Table, auc, recall
from verifier_training import measured, mix
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.verifiers.manifest import DATA, Manifest, read_manifests
from yamabiko.verifiers.pairs import PairModel

RATES = (0.02, 0.05)
EMBEDDERS = {"latin": MINILM, "multilingual": USE_M3}
TIMED = {
    "latin": (
        "How do I change the delivery address of an order that I placed on your website yesterday?",
        "Is it possible to have a parcel sent to another address after I have already paid for it?",
    ),
    "multilingual": (
        "昨日サイトで注文した商品の配送先の住所を変更するにはどうすればよいですか",
        "支払いが終わったあとで荷物を別の住所に送ってもらうことはできますか",
    ),
}
LEAST = 20
"""Pairs of each label that an axis needs to be shown."""


def said(model: PairModel, table: Table) -> NDArray[np.float64]:
    """The verifier's log-odds; -12 where it has no word, which is a no."""
    found = np.full(len(table.pairs), -12.0)
    for at, pair in enumerate(table.pairs):
        (odds,) = model.log_odds(pair.b, [pair.a])
        if odds is not None:
            found[at] = np.clip(odds, -12, 12)
    return found


def figures(score: NDArray[np.float64], label: NDArray, allowed: NDArray) -> dict[str, object]:
    return {"auc": auc(score, label), "recall": [recall(score, label, allowed, rate) for rate in RATES]}


def by_set(table: Table, arms: dict[str, tuple[NDArray[np.float64], bool]]) -> dict[str, dict]:
    """Per set and axis; an arm is its scores and whether guards may veto."""
    found: dict[str, dict] = {}
    kinds = np.array([pair.kind for pair in table.pairs])
    for name in dict.fromkeys(table.set.tolist()):
        groups = {name: table.set == name}
        groups |= {
            f"{name}/{kind}": (table.set == name) & (kinds == kind)
            for kind in sorted(set(kinds[table.set == name]) - {""})
        }
        for group, rows in groups.items():
            label = table.label[rows]
            right = int(label.sum())
            if group != name and min(right, len(label) - right) < LEAST:
                continue
            everything = np.ones(len(label), bool)
            found[group] = {"pairs": len(label), "right": right} | {
                arm: figures(score[rows], label, table.allowed[rows] if guarded else everything)
                for arm, (score, guarded) in arms.items()
            }
    return found


def mixed(manifest: Manifest, embedder: str, score: NDArray[np.float64], odds: NDArray[np.float64]) -> NDArray:
    """The log-odds of the final score."""
    weights = manifest.mix_for(embedder)
    if weights is None:
        return score
    final = weights.bias + weights.score * score + weights.verifier * odds + weights.doubt * np.minimum(odds, 0)
    chance = 1 / (1 + np.exp(-score))
    return np.where((chance >= weights.low) & (chance < weights.high), final, score)


def cost(model: PairModel, texts: tuple[str, str]) -> dict[str, float]:
    """Milliseconds of CPU, the least of many tries: one pair, and three candidates at once."""
    a, b = texts
    model.load()
    least = {}
    for name, others in (("one_pair_ms", [b]), ("three_candidates_ms", [b, b + "!", b + "!!"])):
        tries = []
        for _ in range(60):
            start = time.process_time()
            model.log_odds(a, others)
            tries.append(time.process_time() - start)
        least[name] = round(min(tries) * 1000, 2)
    alone, together = model.log_odds(a, [b]), model.log_odds(a, [b, a + " " + b, b[:9]])
    least["difference_in_a_batch"] = abs(float(alone[0] or 0) - float(together[0] or 0))
    turned = model.log_odds(b, [a])
    least["difference_of_orders"] = round(abs(float(alone[0] or 0) - float(turned[0] or 0)), 3)
    return least


def show(found: dict[str, dict], arms: Sequence[str]) -> None:
    print(f"{'AUC, recall at <= 2 and <= 5 % wrong':36}" + "".join(f"{arm:>22}" for arm in arms))
    for name, row in found.items():
        cells = [
            f"{row[arm]['auc'] or 0:8.3f} {row[arm]['recall'][0]:6.3f} {row[arm]['recall'][1]:6.3f}" for arm in arms
        ]
        print(f"{name[:30]:30}{row['pairs']:6}" + "".join(cells))


def trained_rows(data: Path, script: str) -> list:
    rows = mix.english(data, mix.SEED) if script == "latin" else mix.japanese(data, mix.SEED)
    return mix.split(rows)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled pairs, as .jsonl.gz")
    parser.add_argument("--model", type=Path, nargs="*", default=[DATA], help="folders with manifests")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/verifier.json")
    options = parser.parse_args()
    result: dict[str, dict] = {}
    for manifest in [one for folder in options.model for one in read_manifests(folder)]:
        model = PairModel(manifest)
        for script in sorted(manifest.scripts):
            embedder = EMBEDDERS[script]
            _, table = measured.tables(options.data, embedder, trained_rows(options.data, script))
            score, odds = measured.score_log_odds(table, embedder), said(model, table)
            arms = {
                "cosine": (table.similarity, False),
                "score": (score, True),
                "verifier": (odds, False),
                "mix": (mixed(manifest, embedder, score, odds), True),
            }
            found = by_set(table, arms)
            print(manifest.name, script)
            show(found, tuple(arms))
            spent = cost(model, TIMED[script])
            print(spent)
            result[f"{manifest.name} {script}"] = {"sets": found, "cpu": spent}
    if options.write:
        write("verifier", {"models": result})


if __name__ == "__main__":
    main()
