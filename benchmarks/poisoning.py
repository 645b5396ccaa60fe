"""Poisoning and key collisions: how often an attacker's answer reaches a victim, with each defence and with several.

    python benchmarks/poisoning.py --data DIRECTORY [--quick] [--rate 0.1]

Every attack goes through the public API: an attacker asks or writes, then a victim asks, and it counts as a success
where the victim is given the attacker's answer. ``genuine``: of the true paraphrases that the bare cosine serves, the
share that a defence no longer serves. docs/poisoning.md says what the rows mean; poisoning_search.py made the
collisions. Writes benchmarks/results/poisoning.json.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from pathlib import Path

import machine
from labelled import load_pairs, same_script, sample
from poisoning_arms import Arm, Remembered, arms, saying, thresholds
from poisoning_attacks import Plant, load, plants
from poisoning_insiders import insiders

GENUINE = (
    *("traps_en", "traps_ja", "synthetic_nearmiss", "checklist_qqp", "bitextcs", "advising", "gptcache_mock"),
    *("tatoeba_en", "tatoeba_ja", "jsquad", "jsts"),
)
HONEST = "An honest answer."


async def planted(arm: Arm, embedder: Remembered, rows: list[Plant]) -> list[bool]:
    """Whether each plant reached its victim. Every plant has a tenant of its own, so that none meets another."""
    reached = []
    async with arm.open(embedder) as cache:
        for at, row in enumerate(rows):
            tenant = f"tenant {at}"
            for account in range(row.times):
                asked = arm.request(row.asked, tenant, f"mallory {account}")
                await cache.answer(asked, saying(row.answer))
                await cache.drain()
            reply = await cache.answer(arm.request(row.victim, tenant, "alice"), saying(HONEST))
            reached.append(reply.text == row.answer)
    return reached


async def genuine(arm: Arm, embedder: Remembered, pairs: list) -> dict[str, list[bool]]:
    """Whether ``b`` is answered with what is stored for ``a``, by another user.

    ``first``: who asks ``b`` is the second one to ask. ``later``: somebody else had asked ``a`` again before.
    """
    found: dict[str, list[bool]] = {"first": [], "later": []}
    async with arm.open(embedder) as cache:
        for at, pair in enumerate(pairs):
            for when, before in (("first", ("carol",)), ("later", ("carol", "erin"))):
                tenant = f"{when} {at}"
                for user in before:
                    await cache.answer(arm.request(pair.a, tenant, user), saying("Stored."))
                    await cache.drain()
                reply = await cache.answer(arm.request(pair.b, tenant, "dave"), saying(HONEST))
                found[when].append(reply.text == "Stored.")
    return found


def shares(rows: list[Plant], reached: list[bool]) -> dict[str, dict[str, int]]:
    """Successes and attempts by kind, and by kind and language."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: {"reached": 0, "tried": 0})
    for row, success in zip(rows, reached, strict=True):
        for name in (row.kind, f"{row.kind} ({row.lang})"):
            table[name]["reached"] += success
            table[name]["tried"] += 1
    return dict(table)


def lost(bare: list[bool], served: list[bool]) -> float:
    """Of what the bare cosine served, the share that is no longer served."""
    return sum(was and not now for was, now in zip(bare, served, strict=True)) / max(1, sum(bare))


def show(results: dict) -> None:
    """One table: rows are attacks, columns defences."""
    names = list(results)
    kinds = [kind for kind in results["none"]["attacks"] if not kind.endswith((" (en)", " (ja)"))]
    print(f"{'victims reached, %':36}" + "".join(f"{name[:17]:>18}" for name in names))
    for kind in kinds:
        cells = [results[name]["attacks"].get(kind) for name in names]
        print(f"{kind:36}" + "".join(f"{100 * c['reached'] / c['tried']:18.1f}" if c else f"{'-':>18}" for c in cells))
    for key, title in (("served_first", "genuine pairs served, %"), ("lost_first", "genuine hits lost, %"),
                       ("lost_later", "  once a second user has asked, %"),
                       ("lost_of_decision", "  of what guards+score serve, %")):  # fmt: skip
        print(f"{title:36}" + "".join(f"{100 * results[name][key]:18.1f}" for name in names))


async def measure(options: argparse.Namespace) -> dict:
    """Every arm on every plant and every genuine pair."""
    embedder = Remembered()
    rows = plants(options.data, 10 if options.quick else options.pairs)
    pairs = [pair for pair in load_pairs(options.data, GENUINE) if pair.label == 1 and pair.split == "test"]
    pairs = sample(
        [pair for pair in pairs if same_script(pair) and pair.a != pair.b], 8 if options.quick else options.genuine
    )
    results: dict[str, dict] = {}
    served: dict[str, dict[str, list[bool]]] = {}
    for arm in arms(options.rate):
        started = time.process_time()
        reached = await planted(arm, embedder, rows)
        served[arm.name] = await genuine(arm, embedder, pairs)
        attacks = shares(rows, reached) | await insiders(arm, embedder, load(), quick=options.quick)
        results[arm.name] = {"attacks": attacks, "cpu_seconds": round(time.process_time() - started, 1)}
        print(f"{arm.name}: {results[arm.name]['cpu_seconds']} s of CPU", flush=True)
    for name, when in served.items():
        decision = served["guards+score"]
        results[name] |= {
            "served_first": sum(when["first"]) / len(pairs),
            "served_later": sum(when["later"]) / len(pairs),
            "lost_first": lost(served["none"]["first"], when["first"]),
            "lost_later": lost(served["none"]["later"], when["later"]),
            "lost_of_decision": lost(decision["later"], when["later"]),
        }
    return {"rate": options.rate, "thresholds": thresholds(options.rate), "genuine_pairs": len(pairs), "arms": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of labelled pairs, JSON lines")
    parser.add_argument("--rate", type=float, default=0.1, help="max_error_rate where the score decides")
    parser.add_argument("--pairs", type=int, default=60, help="near misses of each set")
    parser.add_argument("--genuine", type=int, default=40, help="true paraphrases of each set")
    parser.add_argument("--quick", action="store_true", help="few pairs of each kind, and no file is written")
    options = parser.parse_args()
    payload = asyncio.run(measure(options))
    show(payload["arms"])
    if not options.quick:
        print("written to", machine.write("poisoning", payload))


if __name__ == "__main__":
    main()
