"""What a verifier serves more: shipped thresholds with it and without, and right pairs at equal error, by set.

    python benchmarks/verifier_hits.py --data DIRECTORY [--path FOLDER]

On the test halves of labelled.py's split, of the sets that train_score.py calibrates by (``calibrated``: right and wrong
pairs in equal numbers) and of others, none of which any shipped threshold was counted on. Guards first, then the score,
then what the path makes of the verifier's word; a pair's margin is that of train_score.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import machine
from train_score import CALIBRATED, MINILM, RATES, USE_M3, Table, clopper_pearson, drawn, table
from yamabiko.core.mixing import A_NO, final_score, is_grey
from yamabiko.core.score import model_for
from yamabiko.core.shipped import shipped_threshold, verified_threshold
from yamabiko.ports import Mix
from yamabiko.verifiers.manifest import DATA, read_manifests
from yamabiko.verifiers.pairs import PairModel

SCRIPTS = {MINILM: "latin", USE_M3: "multilingual"}
FOREIGN = {
    MINILM: ("qqp", "rqe", "checklist_qqp", "synthetic_nearmiss", "traps_en"),
    USE_M3: ("jnli_valid", "tatoeba_ja", "traps_ja"),
}


@dataclass
class Scored:
    """Pairs of one embedder, with the score alone and the final score."""

    seen: Table
    alone: np.ndarray
    final: np.ndarray


def scored(data: Path, embedder: str, model: PairModel, mix: Mix) -> Scored:
    seen, score = table(data, embedder), model_for(embedder)
    alone = np.array([score.score(row) for row in seen.values.tolist()])
    final = alone.copy()
    wanted = ~seen.dev & seen.allowed & seen.of(*CALIBRATED[embedder], *FOREIGN[embedder])
    for at in np.flatnonzero(wanted):
        if is_grey(mix, float(alone[at])):
            said = model.log_odds(seen.pairs[at].b, [seen.pairs[at].a])[0]
            final[at] = A_NO if said is None else final_score(mix, float(alone[at]), said)
    return Scored(seen, alone, final)


def served(one: Scored, names: tuple[str, ...], score: np.ndarray, threshold: float | None) -> dict:
    rows = drawn(one.seen, names, ~one.seen.dev)
    label = one.seen.label[rows[score[rows] >= (2.0 if threshold is None else threshold)]]
    wrong, hits = int((label == 0).sum()), len(label)
    interval = [round(x, 4) for x in clopper_pearson(wrong, hits)]
    return {"pairs": len(rows), "served": hits, "wrong": wrong, "interval": interval}


def right_at(one: Scored, names: tuple[str, ...], score: np.ndarray, rate: float) -> int:
    """Right pairs served at the loosest threshold that hindsight knows to have at most this share of wrong ones."""
    rows = drawn(one.seen, names, ~one.seen.dev)
    order = rows[np.argsort(-score[rows], kind="stable")]
    order = order[score[order] >= 0.5]
    wrong, hits = np.cumsum(one.seen.label[order] == 0), np.arange(1, len(order) + 1)
    good = np.flatnonzero(wrong <= rate * hits)
    return int((hits - wrong)[good[-1]]) if len(good) else 0


def measured(one: Scored, embedder: str, mix: Mix) -> dict:
    sets = {"calibrated": CALIBRATED[embedder]}
    sets |= {name: (name,) for name in (*CALIBRATED[embedder], *FOREIGN[embedder])}
    found: dict = {"verifier": mix.name}
    for rate in RATES:
        with_it, without = verified_threshold(mix, embedder, rate, 0.95), shipped_threshold(embedder, rate, 0.95)
        thresholds = [None if choice is None else choice.threshold for choice in (with_it, without)]
        found[f"{rate:.0%}"] = {
            "thresholds": thresholds,
            "sets": {
                name: {
                    "with": served(one, names, one.final, thresholds[0]),
                    "without": served(one, names, one.alone, thresholds[1]),
                    "right_at_equal_error": [right_at(one, names, arm, rate) for arm in (one.final, one.alone)],
                }
                for name, names in sets.items()
            },
        }
    return found


def show(embedder: str, found: dict) -> None:
    print(f"\n{embedder}: {found['verifier']}")
    for rate in (f"{rate:.0%}" for rate in RATES):
        print(f" {rate} wrong per hit: shipped thresholds with and without {found[rate]['thresholds']}")
        for name, row in found[rate]["sets"].items():
            mine, other, equal = row["with"], row["without"], row["right_at_equal_error"]
            print(
                f"  {name:20} {mine['pairs']:5} pairs: served {mine['served']:4} ({mine['wrong']:3} wrong) against "
                f"{other['served']:4} ({other['wrong']:3}); right at equal error {equal[0]:4} against {equal[1]:4}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled pairs, as .jsonl.gz")
    parser.add_argument("--path", type=Path, default=DATA, help="folder of the verifiers")
    options = parser.parse_args()
    manifests = {script: one for one in read_manifests(options.path) for script in one.scripts}
    results = {}
    for embedder, script in SCRIPTS.items():
        manifest = manifests.get(script)
        mix = None if manifest is None else manifest.mix_for(embedder)
        if manifest is None or mix is None:
            continue
        results[embedder] = measured(scored(options.data, embedder, PairModel(manifest), mix), embedder, mix)
        show(embedder, results[embedder])
    machine.write("verifier_hits", results)


if __name__ == "__main__":
    main()
