"""What each way of deciding serves, and what it serves wrongly: pairs, streams, and whether the promise is kept.

    python benchmarks/quality.py --data DIRECTORY [--quick] [--sections pairs,streams,promise,public]

Prints tables and the bars that Yamabiko wants to meet, and writes benchmarks/results/quality.json (not with --quick).
docs/quality.md says how to read them.

Everybody gets the same vectors, of the on-device embedders; times leave embedding out. Pairs come in two halves that
share no question, dev and test (labelled.py): scores were trained on dev halves, thresholds are chosen on dev halves,
and figures are of test halves. The unit of "wrong" is an answer served by meaning, unless it says "request".
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import labelled
import machine
import quality_compare as comparing
import quality_pairs as pairing
import quality_promise as promising
from quality_arms import Pairs, replay
from quality_peers import agreement
from quality_public import Public, latencies
from quality_report import figures
from quality_streams import Order, Pool, Stream, pool_of_intents, pool_of_pairs, stream
from quality_tally import STREAM_COLUMNS, percent, quality_columns, stream_row, table
from yamabiko import Policy
from yamabiko.core import guards
from yamabiko.core.decide import scored
from yamabiko.core.score import ScoreModel, features, model_for
from yamabiko.core.states import Position, State
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.testing import make_entry
from yamabiko.types import Candidate

SECTIONS = ("pairs", "streams", "promise", "public")
TRAPS = {MINILM: ("synthetic_nearmiss", "checklist_qqp", "traps_en"), USE_M3: ("synthetic_nearmiss", "traps_ja")}
ENGLISH_STREAM = (
    "disflqa",
    "spidersyn",
    "tatoeba_en",
    "advising",
    "dblpquad",
    "rqe",
    "gptcache_mock",
    "bitextcs",
)
JAPANESE_STREAM = ("tatoeba_ja", "jsquad", "jsts", "jaquad")
ORDERS: tuple[Order, ...] = ("random", "chronological", "drift")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done. ``pairs``: per set and half. ``pool``: pairs per set behind a stream."""

    pairs: int
    pool: int
    requests: int
    seeds: int
    public: int
    quick: bool


FULL = Sizes(pairs=10**6, pool=4000, requests=20_000, seeds=20, public=4000, quick=False)
QUICK = Sizes(pairs=200, pool=300, requests=1500, seeds=2, public=300, quick=True)


def say(text: str) -> None:
    """Progress, where it does not mix with results."""
    print(f"[{time.process_time():6.0f} s] {text}", file=sys.stderr, flush=True)


# Pairs.


def pairs_section(data: Path, sizes: Sizes) -> dict[str, object]:
    """Each group of sets: alone and together."""
    groups = {
        "traps (English)": (TRAPS[MINILM], MINILM),
        "traps (Japanese)": (TRAPS[USE_M3], USE_M3),
        "qqp": (("qqp",), MINILM),
        "everyday (English)": (ENGLISH_STREAM, MINILM),
        "everyday (Japanese)": (JAPANESE_STREAM, USE_M3),
        "words in another order (PAWS-X, English)": (("pawsx_en",), MINILM),
        "words in another order (PAWS-X, Japanese)": (("pawsx_ja",), USE_M3),
    }
    found: dict[str, object] = {}
    for name, (sets, embedder) in groups.items():
        say(f"pairs: {name}")
        script = "latin" if embedder == MINILM else "multilingual"
        drawn = labelled.sample(labelled.load_pairs(data, sets), sizes.pairs)
        drawn = [pair for pair in drawn if labelled.script_of(pair.b) == script]
        half = {split: [pair for pair in drawn if pair.split == split] for split in ("dev", "test")}
        model = model_for(embedder)
        scored = {split: pairing.alone(chosen, embedder, model) for split, chosen in half.items()}
        row = {"sets": list(sets), "embedder": embedder, **pairing.measured(scored["dev"], scored["test"])}
        pool = pool_of_pairs(half["test"], partial(labelled.embed, model=embedder))
        best, answerable = pairing.together(half["test"], pool, Pairs(pool, model))
        row["together"] = {
            "asked": len(next(iter(best.values()))[0]),
            "answerable": answerable,
            **{arm: pairing.quality(scores, right, answerable) for arm, (scores, right) in best.items()},
        }
        found[name] = row
        print(f"\n{name}: {row['pairs']} pairs of the test half, {row['right']} of them paraphrases; {embedder}")
        print(table(list(pair_rows(row)), quality_columns(("AUC", "AP"))))
        if name.startswith("traps"):
            row["traps_by_axis"] = pairing.by_axis(scored["dev"], scored["test"])
            print(table(list(axis_rows(row["traps_by_axis"])), ["axis", "traps", *row["traps_by_axis"]]))
    return found


def pair_rows(row: dict) -> Iterable[dict[str, object]]:
    """Lines of a table: each arm's ranking, and what thresholds from the dev half do."""
    for where, arms in (("alone", row), ("together", row["together"])):
        for arm in ("cosine", "cosine + guards", "score"):
            found = arms[arm]
            served = {
                f"recall at {budget}": percent(at["recall"]) for budget, at in found["hits_at_wrong_per_hit"].items()
            }
            line = {"arm": f"{arm}, {where}", "AUC": _number(found["auc"]), "AP": _number(found["average_precision"])}
            line |= served
            if where == "alone":
                kept = found["certified_2%"]
                line |= {
                    "certified 2 %: served": percent(kept["paraphrases_served"]["rate"]),
                    "traps answered": percent(kept["traps_answered"]["rate"], 2),
                    "wrong/hit": percent(kept["wrong_per_hit"]["rate"], 2),
                }
            yield line


def axis_rows(arms: dict[str, dict]) -> Iterable[dict[str, object]]:
    """Lines of a table: what share of the traps of each axis is answered, by arm."""
    for axis, first in next(iter(arms.values())).items():
        shares = {arm: percent(found[axis]["rate"]) for arm, found in arms.items()}
        yield {"axis": axis, "traps": first["of"], **shares}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# Streams.


def english(data: Path, sizes: Sizes, split: str) -> Pool:
    """The pool behind the streams of questions in English."""
    return _pool(data, ENGLISH_STREAM, MINILM, sizes, split)


def _pool(data: Path, sets: tuple[str, ...], embedder: str, sizes: Sizes, split: str) -> Pool:
    drawn = labelled.sample(labelled.load_pairs(data, sets), sizes.pool)
    drawn = [pair for pair in drawn if pair.split == split and labelled.same_script(pair)]
    return pool_of_pairs(drawn, partial(labelled.embed, model=embedder))


def streams_section(data: Path, sizes: Sizes) -> dict[str, object]:
    """Every arm on streams of pairs, by order, warm, and without duplicates; and on intents."""
    found: dict[str, object] = {}
    for name, sets, embedder in (("English", ENGLISH_STREAM, MINILM), ("Japanese", JAPANESE_STREAM, USE_M3)):
        if sizes.quick and embedder == USE_M3:
            continue
        model = model_for(embedder)
        dev, test = (_pool(data, sets, embedder, sizes, split) for split in ("dev", "test"))
        known, pairs = Pairs(dev, model), Pairs(test, model)
        thresholds = comparing.tuned(dev, stream(dev, "random", requests=sizes.requests, seed=99), known)
        for title, made in _kinds(test, sizes):
            found[f"{name}, {title}"] = _compared(
                f"{name}, {title}", test, made, pairs, thresholds=thresholds, quick=sizes.quick
            )
    pool = _pool(data, ("qqp",), MINILM, sizes, "test")
    made = stream(pool, "random", requests=sizes.requests, seed=1)
    found["QQP, random"] = _compared(
        "QQP, random", pool, made, Pairs(pool, model_for(MINILM)), thresholds={}, quick=sizes.quick
    )
    for name in ("clinc150", "hint3"):
        pool = pool_of_intents(
            data / f"{name}_stream_dev.jsonl.gz",
            partial(labelled.embed, model=MINILM),
            most=sizes.requests,
        )
        made = stream(pool, "random", requests=sizes.requests, seed=1, repeats=0.05)
        pairs = Pairs(pool, model_for(MINILM))
        found[name] = _compared(
            f"{name} (intents stand in for answers)", pool, made, pairs, thresholds={}, quick=sizes.quick
        )
    return found


def _kinds(pool: Pool, sizes: Sizes) -> Iterable[tuple[str, Stream]]:
    made = partial(stream, pool, requests=sizes.requests, seed=1)
    yield "random", made("random")
    yield "chronological", made("chronological")
    yield "random, half of the answers stored beforehand", made("random", warm=0.5)
    yield "random, no duplicates", made("random", duplicates=False, repeats=0.0)


def _compared(
    title: str, pool: Pool, made: Stream, pairs: Pairs, *, thresholds: comparing.Tuned, quick: bool
) -> dict[str, object]:
    say(f"streams: {title}, {len(made.requests)} requests from {len(pool)} texts")
    row = comparing.compare(pool, made, pairs, thresholds, seed=1, quick=quick)
    print(f"\n{title}: {row['requests']} requests; each miss is stored (vCache: where the stored answer was wrong)")
    print(row.pop("text"))
    return row


# The promise.

_SHARED: dict[str, tuple[Pool, Pairs]] = {}


@dataclass(frozen=True, slots=True)
class Job:
    """One stream of the promise. ``shipped``: starts at the shipped threshold, where there is one, not in shadow."""

    traffic: str
    order: Order
    budget: float
    shipped: bool
    seed: int
    requests: int

    @property
    def name(self) -> str:
        """Without the seed."""
        return f"{self.traffic}, {self.order}, {self.budget:.0%}, {'shipped start' if self.shipped else 'from shadow'}"


def promise_section(data: Path, sizes: Sizes, workers: int) -> dict[str, object]:
    """Seeds times orders times budgets, of the decision as it learns."""
    intents = data / "clinc150_stream_dev.jsonl.gz"
    model = model_for(MINILM)
    for traffic, pool in (
        ("English", english(data, sizes, "test")),
        ("clinc150", pool_of_intents(intents, partial(labelled.embed, model=MINILM), most=sizes.requests)),
    ):
        _SHARED[traffic] = pool, Pairs(pool, model)
    starts = (("English", True), ("English", False), ("clinc150", True), ("clinc150", False))
    jobs = [
        Job(traffic, order, budget, shipped, seed, sizes.requests)
        for traffic, shipped in starts
        for order in ORDERS
        for budget in comparing.PROMISES
        for seed in range(sizes.seeds)
    ]
    say(f"promise: {len(jobs)} streams of {sizes.requests} requests")
    if workers > 1:
        with multiprocessing.get_context("fork").Pool(workers) as crew:
            runs = crew.map(_promise, jobs, chunksize=4)
    else:
        runs = [_promise(job) for job in jobs]
    found: dict[str, object] = {}
    for name in dict.fromkeys(job.name for job in jobs):
        chosen = [(job.budget, run) for job, run in zip(jobs, runs, strict=True) if job.name == name]
        budget = chosen[0][0]
        summed = promising.summary([run for _, run in chosen], budget)
        found[name] = {**summed, "each": [run.row(budget) for _, run in chosen]}
    rows = [promise_row(name, summed) for name, summed in found.items()]
    print(f"\nthe promise, {sizes.seeds} seeds each")
    print(table(rows, list(rows[0])))
    return found


def _promise(job: Job) -> promising.Run:
    pool, pairs = _SHARED[job.traffic]
    made = stream(pool, job.order, requests=job.requests, seed=job.seed)
    name = f"{job.name}/{job.seed}"
    arm = promising.Learned("Yamabiko", pool, made.stored, pairs, job.budget, run=name, shipped=job.shipped)
    found = promising.run(arm, made, job.budget)
    wrong = found.whole.wrong_per_hit
    say(f"promise: {job.name}, seed {job.seed}: {found.whole.hit_rate:.1%} by meaning, {wrong:.2%} of them wrong")
    return found


def promise_row(name: str, summed: dict) -> dict[str, object]:
    """A line of the table of promises."""
    back = summed["recovered_after_audits"]
    return {
        "traffic, order, budget, start": name,
        "serving in": f"{summed['ever_serving']} of {summed['runs']}",
        "kept": f"{summed['kept']['count']} of {summed['kept']['of']}",
        "worst wrong/hit": percent(summed["worst_wrong_per_hit"], 2),
        "by meaning": percent(summed["served_by_meaning"]),
        "audited hits": round(summed["audited_hits"]),
        "audits until back: median": "-" if back is None else round(back["median"]),
        "worst": "-" if back is None else back["worst"],
    }


# The public API, and what it costs.


def public_section(data: Path, sizes: Sizes) -> dict[str, object]:
    """The cache itself on the head of a stream, with and without a judge; CPU and wall time per call."""
    pool = english(data, sizes, "test")
    made = stream(pool, "random", requests=sizes.public, seed=1)
    found: dict[str, object] = {"decision_cpu_ms": decision_cpu(pool, model_for(MINILM))}
    found["peers"] = agreement(pool, made, 200 if sizes.quick else 2000)
    rows = []
    for name, budget, judged in (("with a judge", 0.02, True), ("with a judge", 0.05, True), ("no judge", 0.02, False)):
        title = f"Cache.answer, max_error_rate={budget:g}, {name}"
        say(f"public: {title}")
        with Public(
            title, pool, made.stored, MINILM, Policy(max_error_rate=budget, ttl_seconds=np.inf), judged=judged
        ) as arm:
            tally = replay(arm, made, pool)
            found[title] = {**tally.row(), "milliseconds": latencies(arm)}
        rows.append(stream_row(title, tally))
    print(f"\nthrough the public API, {len(made.requests)} requests")
    print(table(rows, STREAM_COLUMNS))
    print("decision, 5 candidates, guards and score, CPU ms:", found["decision_cpu_ms"])
    print("peers' packages, asked the same with the same vectors:", found["peers"])
    return found


def decision_cpu(pool: Pool, model: ScoreModel, count: int = 400) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU of step 6 with the five nearest texts as candidates, guards and score.

    ``all texts new``: none of the six was ever read; ``stored texts known``: their readings are kept from before, as
    those of stored questions that are compared often are.
    """
    position = Position(
        namespace="", state=State.SERVING, threshold=0.9, calibration="uncalibrated", reason="", design=None
    )
    times: dict[str, list[float]] = {"all texts new": [], "stored texts known": []}
    for question in np.random.default_rng(4).permutation(len(pool))[:count].tolist():
        near = zip(pool.near[question][:5].tolist(), pool.cosine[question][:5].tolist(), strict=True)
        candidates = [Candidate(entry=make_entry(pool.texts[at]), similarity=cosine) for at, cosine in near]
        for name, taken in times.items():
            guards.read.cache_clear()
            if name == "stored texts known":
                for candidate in candidates:
                    other = guards.read(candidate.question.text)
                    features(other, other, guards.check(other, other), similarity=1.0, margin=1.0)
            started = time.thread_time()
            scored(candidates, Policy(), asked=pool.texts[question], position=position, model=model, modes={})
            taken.append((time.thread_time() - started) * 1e3)
    return {name: machine.percentiles(taken, digits=3) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled sets, as .jsonl.gz")
    parser.add_argument("--quick", action="store_true", help="a small run of everything; writes nothing")
    parser.add_argument("--sections", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seeds", type=int, help="streams per order and budget of the promise")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="processes")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    if options.seeds:
        sizes = Sizes(**{**{name: getattr(sizes, name) for name in sizes.__slots__}, "seeds": options.seeds})
    result = machine.read("quality") if not options.quick else {}
    chosen = options.sections.split(",")
    if "pairs" in chosen:
        result["pairs"] = pairs_section(options.data, sizes)
    if "streams" in chosen:
        result["streams"] = streams_section(options.data, sizes)
    if "promise" in chosen:
        result["promise"] = promise_section(options.data, sizes, options.workers)
    if "public" in chosen:
        result["public"] = public_section(options.data, sizes)
    result["figures"] = figures(result)
    print("\n" + table(result["figures"], ["figure", "bar", "measured", "met"]))
    if not options.quick:
        print("written to", machine.write("quality", result))


if __name__ == "__main__":
    main()
