"""What tells an edit that changes an answer from one that does not, and what a cache in a RAG pipeline loses by edits.

    python benchmarks/evidence.py --data DIR [--section support|pipeline|all]

* support: ``yamabiko.core.support`` on paragraphs of JSQuAD (Japanese) and XQuAD (English) that were edited
  (``evidence_edits.py``). The point is chosen on one half of the documents (dev) and reported on the other (test).
* pipeline: a whole ``RagPipeline`` over the same documents, half of which are edited (``evidence_pipeline.py``). Stale
  answers served, answers lost without need.
"""

from __future__ import annotations

import argparse
import collections
import random
import time
from pathlib import Path

import numpy as np

import evidence_edits as edits
import evidence_pipeline
import machine
from yamabiko.core.support import MIN_SUPPORT, support

POINTS = [round(0.5 + 0.025 * step, 3) for step in range(21)]


def shares(rows, form: str, seed: int):
    """Per edit: whether it changes the answer, its name, and the share that is left."""
    rng = random.Random(seed)
    found = []
    for row in rows:
        said = row.said(form)
        for changes, edited in ((True, edits.changing(row, rows, rng)), (False, edits.keeping(row, rows, rng))):
            for name, paragraph in edited:
                found.append((changes, name, support(said, [paragraph], question=row.question).share))
    return found


def auc(found) -> float:
    """The area under the ROC curve: how often a kept answer has a higher share than a changed one."""
    kept = np.sort([share for changes, _, share in found if not changes])
    changed = np.array([share for changes, _, share in found if changes])
    below = np.searchsorted(kept, changed, "left")
    upto = np.searchsorted(kept, changed, "right")
    return float(np.mean(1 - (below + upto) / 2 / len(kept)))


def at_point(found, point: float) -> dict[str, object]:
    """Stale answers served and good answers lost at a point, as shares, by edit and together."""
    by = collections.defaultdict(list)
    for changes, name, share in found:
        by[changes, name].append(share >= point)
    served = [ok for changes, _, share in found if changes for ok in [share >= point]]
    lost = [share < point for changes, _, share in found if not changes]
    return {
        "point": point,
        "stale_served": float(np.mean(served)),
        "lost": float(np.mean(lost)),
        "stale_served_by_edit": {name: float(np.mean(oks)) for (changes, name), oks in by.items() if changes},
        "lost_by_edit": {name: 1 - float(np.mean(oks)) for (changes, name), oks in by.items() if not changes},
    }


def section_support(data: Path, limit: int, seed: int) -> dict[str, object]:
    results = {}
    dev_all = []
    tests = {}
    for language in ("en", "ja"):
        rows = edits.load(data, language)[:limit]
        halves = {half: [row for row in rows if row.half == half] for half in ("dev", "test")}
        for form in edits.FORMS:
            started = time.process_time()
            dev, test = (shares(halves[half], form, seed) for half in ("dev", "test"))
            each = (time.process_time() - started) / (len(dev) + len(test))
            dev_all.append([at_point(dev, point) for point in POINTS])
            tests[f"{language}_{form}"] = test
            results[f"{language}_{form}"] = {
                "edits": len(test),
                "auc": auc(test),
                "roc": [
                    {k: p[k] for k in ("point", "stale_served", "lost")}
                    for p in (at_point(test, point) for point in POINTS)
                ],
                "cpu_milliseconds": 1000 * each,
            }
    cost = [np.mean([3 * arm[at]["stale_served"] + arm[at]["lost"] for arm in dev_all]) for at in range(len(POINTS))]
    chosen = POINTS[int(np.argmin(cost))]
    print(f"chosen on dev: {chosen}; in use: {MIN_SUPPORT}")
    print("arm            edits    AUC  stale served   lost   by edit (served | lost)   ms")
    for name, found in tests.items():
        point = at_point(found, MIN_SUPPORT)
        results[name]["in_use"] = point
        served = " ".join(f"{edit} {share:.1%}" for edit, share in point["stale_served_by_edit"].items())
        lost = " ".join(f"{edit} {share:.1%}" for edit, share in point["lost_by_edit"].items())
        print(
            f"{name:12} {len(found):7,} {results[name]['auc']:6.3f} {point['stale_served']:12.1%} {point['lost']:8.1%}"
            f"   {served} | {lost}   {results[name]['cpu_milliseconds']:.2f}"
        )
    return {"chosen_on_dev": chosen, "in_use": MIN_SUPPORT, "arms": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the data sets")
    parser.add_argument("--section", choices=("support", "pipeline", "all"), default="all")
    parser.add_argument("--limit", type=int, default=10_000, help="rows per language, for support")
    parser.add_argument("--per-paragraph", type=int, default=2, help="questions per paragraph, for pipeline")
    parser.add_argument("--seed", type=int, default=6)
    options = parser.parse_args()
    results = {}
    if options.section != "pipeline":
        results["support"] = section_support(options.data, options.limit, options.seed)
    if options.section != "support":
        results["pipeline"] = evidence_pipeline.section(options.data, options.per_paragraph, options.seed)
    print(machine.write("evidence", machine.read("evidence") | results))


if __name__ == "__main__":
    main()
