"""What certificates, the drift bet and experiments cost in labels, audits and callers, on simulated traffic.

    python benchmarks/certificate.py --draws 300

* certificates: how often one is given, what share of requests it serves, and how often its threshold breaks the promise,
  by number of labels, pilot's share and aims of the three candidates;
* drift: median audits from the change to E = 20, by what is bet on and how far apart the bets start;
* experiments: median callers until a difference is found, and how often one is "found" where there is none, looking
  after every caller.

The simulated score is an imperfect probability: half of the requests have a near duplicate (Beta(30, 1)), half do not
(Beta(2, 2)), and a candidate of score s is wrong with probability (1 - s) ** 1.3.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from dataclasses import replace

import numpy as np

import machine
from yamabiko.core import calibrate, drift, experiment
from yamabiko.core.calibrate import Certificate, Terms, certify
from yamabiko.core.sampling import Design, Sample

TERMS = Terms(max_error_rate=0.02, confidence=0.95)
DESIGN = Design(id="shadow", floor=0.0, threshold=0.0, below=1.0, above=1.0, drawn=0)


def requests(rng: np.random.Generator, count: int):
    scores = np.where(rng.random(count) < 0.5, rng.beta(30, 1, count), rng.beta(2, 2, count))
    return scores, rng.random(count) < (1 - scores) ** 1.3


def sample(rng: np.random.Generator, count: int) -> Sample:
    scores, wrong = requests(rng, count)
    return Sample(
        designs=(replace(DESIGN, drawn=count, requests=count),),
        scores=scores,
        wrong=wrong,
        audit_lots=rng.random(count),
        pilot_lots=rng.random(count),
        design=np.zeros(count, dtype=np.intp),
        missing=(0,),
        digest="simulated",
    )


def certificates(draws: int) -> list[dict[str, object]]:
    scores, wrong = requests(np.random.default_rng(99), 2_000_000)
    order = np.argsort(-scores)
    falling, errors = -scores[order], np.cumsum(wrong[order]) / np.arange(1, len(scores) + 1)
    rows = []
    aims = ((1.3, 0.3, -0.5), (1.6, 0.9, 0.3), (1.0, 0.4, -0.2))
    for share, aim, labels in itertools.product((0.25, 0.2, 0.33), aims, (400, 800, 1500, 4000)):
        calibrate.PILOT_SHARE, calibrate.AIMS = share, aim
        rng, served, broken, started = np.random.default_rng(1), [], 0, time.process_time()
        samples = [sample(rng, labels) for _ in range(draws)]
        started = time.process_time()
        for taken in samples:
            found = certify(taken, TERMS)
            above = int(np.searchsorted(falling, -found.threshold)) if isinstance(found, Certificate) else 0
            served.append(above / len(scores))
            broken += above > 0 and errors[above - 1] > TERMS.max_error_rate
        spent = (time.process_time() - started) / draws
        row = {"pilot_share": share, "aims": aim, "labels": labels, "given": float(np.mean(np.array(served) > 0))}
        row |= {"served": float(np.mean(served)), "broken": broken / draws, "cpu_ms": spent * 1e3}
        rows.append(row)
        print(
            "pilot {pilot_share:.2f} aims {aims} labels {labels:5}: given {given:.2f} served {served:.3f} broken {broken:.3f} {cpu_ms:.2f} ms".format(
                **row
            )
        )
    return rows


def drifts(draws: int) -> list[dict[str, object]]:
    rows = []
    bets = ((2.0, 4.0, 10.0), (1.6, 2.5, 5.0, 12.0), (1.5, 3.0, 8.0))
    for odds, span, calm, rate in itertools.product(bets, (50, 100), (0, 500), (0.05, 0.1, 0.3)):
        drift.ODDS, drift.SPAN = odds, span
        chance = np.where(np.arange(calm + 600) < calm, 0.01, rate)
        outcomes = np.random.default_rng(2).random((draws, calm + 600)) < chance
        reached = drift.e_values(outcomes, 0.02)[:, calm:] >= drift.TIGHTEN
        audits = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 10**6)
        row = {"odds": odds, "span": span, "calm": calm, "rate": rate, "noticed": float(np.mean(reached.any(axis=1)))}
        row["median_audits"] = float(np.median(audits))
        rows.append(row)
        print(
            "bets {odds} span {span:3} after {calm:3} calm audits, {rate:.0%} wrong: noticed {noticed:.2f}, median {median_audits:.0f} audits".format(
                **row
            )
        )
    return rows


def experiments(draws: int) -> list[dict[str, object]]:
    rows = []
    for metric, control, treatment in (
        *(("hits", 0.3, rate) for rate in (0.3, 0.35, 0.4, 0.6)),
        *(("errors", 0.02, rate) for rate in (0.02, 0.04, 0.1)),
    ):
        rng = np.random.default_rng(3)
        treated = rng.random((draws, 4000)) < 0.5
        values = (rng.random((draws, 4000)) < np.where(treated, treatment, control)).astype(float)
        units = np.stack([np.cumsum(~treated, axis=1), np.cumsum(treated, axis=1)], axis=-1).astype(float)
        totals = np.stack([np.cumsum(values * ~treated, axis=1), np.cumsum(values * treated, axis=1)], axis=-1)
        if metric == "hits":
            options = {"share": 0.5, "expected": 0.3, "difference": 0.0}
            both = [experiment.log_capital(units, totals, sign=sign, **options) for sign in (1.0, -1.0)]
            found = np.maximum(*both) >= math.log(2 / 0.025)
        else:
            found = experiment.log_evidence(units, totals) >= math.log(1 / 0.025)
        callers = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 10**6)
        row = {"metric": metric, "control": control, "treatment": treatment, "found": float(np.mean(found.any(axis=1)))}
        row["median_callers"] = float(np.median(callers))
        rows.append(row)
        print(
            "{metric} {control:.2f} against {treatment:.2f}: found {found:.3f} of the time within 4000 callers, median {median_callers:.0f}".format(
                **row
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300)
    draws = parser.parse_args().draws
    payload = {"draws": draws, "certificates": certificates(draws), "drift": drifts(draws)}
    payload["experiments"] = experiments(draws)
    print("written to", machine.write("certificate", payload))


if __name__ == "__main__":
    main()
