"""Whether the promise is kept when labels, certificates and alarms run as they do in a cache, on simulated streams.

    python benchmarks/standings.py --seeds 20 --requests 20000

Each stream begins with nothing known. Its look-ups ask ``learn.standings.Standings`` where they stand, on a store in
memory; those that the design draws get their label, and every ten labels the standing advances.

* i.i.d.: half of the look-ups have a near duplicate (score Beta(30, 1)), half do not (Beta(2, 2)); a candidate of score s
  is wrong with probability (1 - s) ** 1.3;
* chronological: near duplicates become more as the cache fills (from 30 % to 70 %), come in bursts, and the exponent
  moves slowly between 1.1 and 1.5;
* drift: i.i.d., and from the middle on the exponent is 0.9 (moderate) or 0.65 (severe). A stream may end before
  a moderate one is noticed; ``--drift-at 10000 --requests 100000 --arms "moderate drift" --name standings_long`` shows how
  long it takes.

Reported per arm and budget: in how many streams the wrong share of the hits served is within the budget (for a drift: up
to it), the share of look-ups served, audits. After a drift: the audited hits and the look-ups until what is served is
within the budget again, for good or because nothing is served (the true rate from the threshold on is known here).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time

import numpy as np

import machine
from yamabiko.core.calibrate import Judge, Versions
from yamabiko.flight import Background
from yamabiko.learn.namespaces import namespace_of
from yamabiko.learn.standings import Standings
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeClock, make_entry
from yamabiko.types import Candidate, Policy, Trial

ARMS = ("i.i.d.", "chronological", "moderate drift", "severe drift")
NS = namespace_of("simulated", "tenant", "")
CANDIDATE = Candidate(entry=make_entry("question"), similarity=0.9)
EXPONENT, MODERATE, SEVERE = 1.3, 0.9, 0.65
ADVANCE_EACH = 10
SECONDS_EACH = 2.0


def traffic(arm: str, rng: np.random.Generator, count: int, drift_at: int):
    """Scores, chances to be wrong, and the exponent of each look-up."""
    near = np.full(count, 0.5)
    exponent = np.full(count, EXPONENT)
    when = np.arange(count) / count
    if arm == "chronological":
        bursts = np.repeat(rng.normal(0, 0.15, -(-count // 200)), 200)[:count]
        near = np.clip(0.3 + 0.4 * when + bursts, 0.02, 0.98)
        exponent = EXPONENT + 0.2 * np.sin(2 * np.pi * (2 * when + rng.random()))
    elif arm != "i.i.d.":
        exponent[drift_at:] = {"moderate drift": MODERATE, "severe drift": SEVERE}[arm]
    scores = np.where(rng.random(count) < near, rng.beta(30, 1, count), rng.beta(2, 2, count))
    return scores, (1 - scores) ** exponent


def rates_from(exponent: float):
    """The true wrong share of hits from a threshold on, as a function of it."""
    rng = np.random.default_rng(99)
    scores = np.sort(np.where(rng.random(400_000) < 0.5, rng.beta(30, 1, 400_000), rng.beta(2, 2, 400_000)))[::-1]
    shares = np.cumsum((1 - scores) ** exponent) / np.arange(1, len(scores) + 1)
    return lambda threshold: float(shares[max(0, int(np.searchsorted(-scores, -threshold, side="right")) - 1)])


async def stream(arm: str, seed: int, count: int, budget: float, drift_at: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    clock, behind, told, names = FakeClock(), Background(), [], itertools.count()
    standings = Standings(
        MemoryStore(embedder="simulated", dim=8),
        policy=Policy(max_error_rate=budget),
        clock=clock,
        learning=True,
        shipped=lambda _: None,
        versions=lambda _: Versions(),
        judge=Judge(),
        new_id=lambda: str(next(names)),
        spawn=behind.spawn,
        told=told.append,
    )
    scores, chances = traffic(arm, rng, count, drift_at)
    wrong = rng.random(count) < chances
    drifts = arm.endswith("drift")
    true_rate = rates_from({"moderate drift": MODERATE, "severe drift": SEVERE}.get(arm, EXPONENT))
    waiting, hits = 0, []
    audits, labels, bad_audits, bad_requests = 0, 0, 0, 0
    verdicts: dict[float, bool] = {}
    for at in range(count):
        clock.advance(SECONDS_EACH)
        score = float(scores[at])
        position = await standings.of(NS)
        hit = position.threshold is not None and score >= position.threshold
        if hit:
            hits.append((at, bool(wrong[at])))
        name = f"{seed}/{arm}/{at}"
        drawn = position.design is not None and position.design.draws(name, score)
        if drawn:
            trial = Trial(
                id=name, namespace=NS, design=position.design.id, score=score, candidate=CANDIDATE, served=hit
            )
            await standings.drawn(trial, b"q" * 32)
            await standings.judged(trial, not wrong[at], "simulated")
            labels, audits, waiting = labels + 1, audits + hit, waiting + 1
        if drifts and at >= drift_at and position.threshold is not None:
            within = verdicts.setdefault(position.threshold, true_rate(position.threshold) <= budget)
            if not within:  # all that it takes until the last moment out of the budget
                bad_requests, bad_audits = bad_requests + 1, bad_audits + bool(drawn and hit)
        if waiting >= ADVANCE_EACH:
            waiting = 0
            await standings.advance(NS)
        if at % 500 == 0:
            await behind.drain()
    await behind.drain()
    still = drifts and position.threshold is not None and not verdicts.get(position.threshold, True)
    judged = [bad for at, bad in hits if not drifts or at < drift_at]
    moves = [move for move in told if move.namespace == NS]
    return {
        "seed": seed,
        "hits": len(hits),
        "served": len(hits) / count,
        "wrong": sum(judged) / len(judged) if judged else 0.0,
        "wrong_overall": sum(bad for _, bad in hits) / max(1, len(hits)),
        "labels": labels,
        "audits": audits,
        "alarms": sum(move.after in ("tightened", "exact_only") for move in moves),
        "alarms_before_drift": sum(
            move.after == "tightened" and move.at < 1_700_000_000.0 + drift_at * SECONDS_EACH for move in moves
        ),
        "audited_hits_out_of_budget": bad_audits,
        "look_ups_out_of_budget": bad_requests,
        "still_out_of_budget": bool(still),
        "true_rate_at_the_end": true_rate(position.threshold) if position.threshold is not None else 0.0,
    }


def summed(arm: str, budget: float, runs: list[dict[str, object]]) -> dict[str, object]:
    column = {name: np.array([run[name] for run in runs], dtype=float) for name in runs[0]}
    row = {
        "arm": arm,
        "budget": budget,
        "kept": float(np.mean(column["wrong"] <= budget)),
        "wrong": float(np.mean(column["wrong"])),
        "worst": float(np.max(column["wrong"])),
        "served": float(np.mean(column["served"])),
        "audits": float(np.mean(column["audits"])),
        "labels": float(np.mean(column["labels"])),
        "alarms": float(np.mean(column["alarms"])),
        "false_alarms": float(np.mean(column["alarms_before_drift"])),
    }
    text = "{arm:15} {budget:.0%}: kept {kept:4.0%}, wrong {wrong:.2%} (worst {worst:.2%}), served {served:.1%}, {labels:.0f} labels, {audits:.0f} audited hits, {alarms:.1f} alarms"
    if arm.endswith("drift"):
        for name in ("audited_hits_out_of_budget", "look_ups_out_of_budget"):
            row[name] = machine.percentiles(column[name].tolist()) | {"max": float(np.max(column[name]))}
        out = column["still_out_of_budget"] > 0  # fewer than 500 audits say nothing where the stream ended first
        row["still_out"] = float(np.mean(out))
        row["true_rate_where_still_out"] = float(np.max(column["true_rate_at_the_end"][out], initial=0.0))
        row["within_500"] = float(np.mean(column["audited_hits_out_of_budget"] <= 500))
        text += "; out of budget for {audited_hits_out_of_budget} audited hits, {look_ups_out_of_budget} look-ups; <= 500 audits in {within_500:.0%}, at the end of the stream still out in {still_out:.0%} (at most {true_rate_where_still_out:.2%} wrong)"
    print(text.format(**row), flush=True)
    return row | {"runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--drift-at", type=int, help="look-up at which a drift begins; default: the middle")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--budgets", nargs="+", type=float, default=(0.02, 0.05))
    parser.add_argument("--name", default="standings", help="of the file of results")
    options = parser.parse_args()
    drift_at = options.requests // 2 if options.drift_at is None else options.drift_at
    rows, started = [], time.process_time()
    for arm, budget in itertools.product(options.arms, options.budgets):
        runs = [asyncio.run(stream(arm, seed, options.requests, budget, drift_at)) for seed in range(options.seeds)]
        rows.append(summed(arm, budget, runs))
    payload = {"seeds": options.seeds, "requests": options.requests, "drift_at": drift_at, "arms": rows}
    payload["cpu_seconds"] = round(time.process_time() - started, 1)
    print("written to", machine.write(options.name, payload))


if __name__ == "__main__":
    main()
