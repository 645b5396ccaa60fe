"""kill -9, again and again: two processes write, one reads, all are killed at a random moment.

    python benchmarks/crash.py --rounds 50

Each round goes on with the file that the last one left. The round itself is that of tests/test_stores_crash.py.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_stores_crash import crash


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0, help="the longest time to a kill")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="yamabiko-crash-") as folder:
        for number in range(options.rounds):
            durability = ("normal", "full")[number % 2]
            seconds = moments.uniform(0.0, options.seconds)
            outcome = asdict(crash(Path(folder) / "cache.db", seconds, durability, number))
            rounds.append({"durability": durability, "killed_after_seconds": seconds, **outcome})
            print(number, json.dumps(rounds[-1]), flush=True)
    total = {
        "rounds": len(rounds),
        "acknowledged": sum(r["acknowledged"] for r in rounds),
        "lost": sum(r["lost"] for r in rounds),
        "undead": sum(r["undead"] for r in rounds),
        "faults": sum(len(r["faults"]) for r in rounds),
        "slowest_reopening_seconds": max(r["seconds_to_reopen"] for r in rounds),
    }
    print(json.dumps(total))
    target = Path(__file__).parent / "results" / "crash.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"machine": describe(), "total": total, "rounds": rounds}, indent=2) + "\n")
    sys.exit(1 if total["lost"] or total["undead"] or total["faults"] else 0)


if __name__ == "__main__":
    main()
