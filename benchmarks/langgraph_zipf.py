"""An agentic RAG graph with the cache as its first node, and without: mean latency, and wrong answers among the hits.

    python benchmarks/langgraph_zipf.py
    python benchmarks/langgraph_zipf.py --requests 500 --promises 0.05 0.1 --at-a-time 24

The graph is examples/langgraph_rag.py, each of whose steps takes a stated time; the questions are XQuAD's and JSQuAD's
of the demo's data, in English and Japanese at even odds, in the order of a Zipf law (exponent 1, cli/intents.py), each in
any of its wordings. So many users ask at once, each one question after the other. A hit is wrong where the answer that
was served is not the right one of the question that was asked. The cache is empty at the start; after as many requests
again it has met most of what is asked, which is the second half. No cache can be faster than the share of questions
whose answer nobody has asked for before allows: that bound is stated too.
"""

import argparse
import asyncio
import importlib.util
import json
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import machine
from yamabiko import Policy, open_cache
from yamabiko.cli.intents import folded, questions_asked, read_intents

HERE = Path(__file__).resolve().parent
HITS = ("exact", "semantic", "verified")


def example():
    spec = importlib.util.spec_from_file_location("langgraph_rag", HERE.parent / "examples" / "langgraph_rag.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def crowd(rag, graph, questions, at_a_time):
    """What each question got, in order: answer, outcome, seconds to the first piece and to the end."""
    told = [None] * len(questions)
    numbers = iter(range(len(questions)))

    async def user():
        for number in numbers:
            told[number] = await rag.ask(graph, questions[number])

    async with asyncio.TaskGroup() as users:
        for _ in range(at_a_time):
            users.create_task(user())
    return told


def summary(told, questions, intents):
    seconds = sorted(one[3] for one in told)
    outcomes = Counter(one[1] for one in told)
    hits = [(question, one) for question, one in zip(questions, told, strict=True) if one[1] in HITS]
    wrong = [
        {"question": question, "served": one[0], "right": intents.of(question).answer, "tier": one[1]}
        for question, one in hits
        if folded(one[0]) != folded(intents.of(question).answer)
    ]
    hit_seconds = [one[3] for _, one in hits]
    return {
        "mean_seconds": statistics.fmean(seconds),
        "median_seconds": statistics.median(seconds),
        "p95_seconds": seconds[int(0.95 * len(seconds))],
        "mean_first_piece_seconds": statistics.fmean(one[2] for one in told),
        "median_hit_seconds": statistics.median(hit_seconds) if hits else None,
        "outcomes": dict(outcomes),
        "hits": len(hits),
        "wrong": wrong,
        "wrong_share_of_hits": len(wrong) / len(hits) if hits else 0.0,
    }


async def run(given):
    rag = example()
    intents = read_intents(("en", "ja"))
    questions = questions_asked(intents, ("en", "ja"), 2 * given.requests, given.seed)
    halves = {"first": questions[: given.requests], "second": questions[given.requests :]}
    met = {intents.of(question).id for question in halves["first"]}
    new = {"first": len(met), "second": len({intents.of(question).id for question in halves["second"]} - met)}
    services, _ = rag.services_for()
    result = {
        "machine": machine.describe(),
        "requests_per_half": given.requests,
        "seed": given.seed,
        "at_a_time": given.at_a_time,
        "latencies": asdict(services.latencies),
        "new_answers": new,
        "bound_times_faster": {half: given.requests / new[half] for half in halves},
    }
    without = await crowd(rag, rag.rag_graph(services), halves["first"], given.at_a_time)
    result["without"] = summary(without, halves["first"], intents)
    show("without", result["without"], result["without"])
    result["with"] = {}
    for promise in given.promises:
        with tempfile.TemporaryDirectory() as folder:
            async with open_cache(f"sqlite:///{folder}/cache.db", policy=Policy(max_error_rate=promise)) as cache:
                for text in ("warm up", "準備"):
                    await cache.lookup(text)
                graph = rag.cached_graph(services, cache)
                for half, asked in halves.items():
                    told = summary(await crowd(rag, graph, asked, given.at_a_time), asked, intents)
                    told["times_faster"] = result["without"]["mean_seconds"] / told["mean_seconds"]
                    result["with"][f"{promise} {half}"] = told
                    print(f"promise {promise:g}, {half} half, at most {given.requests / new[half]:.2f}x:")
                    show("with", told, result["without"])
    return result


def show(name, of, without):
    print(
        f"{name:14} mean {of['mean_seconds']:.3f} s ({without['mean_seconds'] / of['mean_seconds']:.2f}x), "
        f"median {of['median_seconds']:.3f} s, p95 {of['p95_seconds']:.3f} s, hits {of['hits']}, "
        f"wrong {len(of['wrong'])} ({of['wrong_share_of_hits']:.2%} of hits)  {of['outcomes']}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500, help="per half: the first begins with an empty cache")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-a-time", type=int, default=24)
    parser.add_argument("--promises", type=float, nargs="+", default=[0.05, 0.1])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "langgraph_zipf.json")
    given = parser.parse_args()
    result = asyncio.run(run(given))
    given.results.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
