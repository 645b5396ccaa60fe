"""An agentic RAG graph with the cache as its first node, and without: mean latency, and wrong answers among the hits.

    python benchmarks/langgraph_zipf.py
    python benchmarks/langgraph_zipf.py --requests 500 --promises 0.05 0.1 --at-a-time 8 24 --seeds 0 1

The graph is examples/langgraph_rag.py, each of whose steps takes a stated time; the questions are XQuAD's and JSQuAD's
of the demo's data, in English and Japanese at even odds, in the order of a Zipf law (exponent 1, cli/intents.py), each in
any of its wordings. So many users ask at once, each one question after the other. The cache is empty at the start; after
as many requests again it has met most of what is asked, which is the second half.

"answers" has the cache in front of the whole graph only, "nodes" also behind it: the router's decision and the graded
paragraphs come from caches of their own where the answer does not. A hit is wrong where the answer that was served is
not the right one of the question that was asked. A miss can be answered wrongly too, from a wrong decision or a wrong
paragraph: those are counted beside the wrong hits, and "wrong" is both. No cache of answers alone can be faster than the
share of questions whose answer nobody has asked for before allows, even if nobody asked while it is made: "bound".
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
from yamabiko import Policy
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
        for question, one in zip(questions, told, strict=True)
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
        "wrong_hits": sum(one["tier"] in HITS for one in wrong),
        "wrong_share_of_hits": len(wrong) / len(hits) if hits else 0.0,
    }


async def run(given):
    result = {"machine": machine.describe(), "requests_per_half": given.requests, "runs": []}
    await warm_up()
    for seed in given.seeds:
        for at_a_time in given.at_a_time:
            await one_stream(given, seed, at_a_time, result["runs"])
    return result


async def warm_up():
    """The example's questions through a graph and caches of their own: no import and no regex is then for the first time."""
    rag = example()
    services, _ = rag.services_for()
    with tempfile.TemporaryDirectory() as folder:
        async with rag.open_caches(Path(folder)) as caches:
            graph = rag.cached_graph(services, caches)
            for question in rag.QUESTIONS:
                if question in services.paragraphs:
                    await rag.ask(graph, question)


async def one_stream(given, seed, at_a_time, runs):
    rag = example()
    intents = read_intents(("en", "ja"))
    questions = questions_asked(intents, ("en", "ja"), 2 * given.requests, seed)
    halves = {"first": questions[: given.requests], "second": questions[given.requests :]}
    met = {intents.of(question).id for question in halves["first"]}
    new = {"first": len(met), "second": len({intents.of(question).id for question in halves["second"]} - met)}
    services, _ = rag.services_for()

    async def measured(arm, promise, half, graph, without=None):
        before = services.calls.copy()
        told = await crowd(rag, graph, halves[half], at_a_time)
        row = {"seed": seed, "at_a_time": at_a_time, "arm": arm, "promise": promise, "half": half}
        row |= {"latencies": asdict(services.latencies), "new_answers": new[half], "bound": given.requests / new[half]}
        row |= summary(told, halves[half], intents) | {"calls": dict(services.calls - before)}
        row["times_faster"] = (without or row["mean_seconds"]) / row["mean_seconds"]
        runs.append(row)
        show(row)
        return row["mean_seconds"]

    without = await measured("without", None, "first", rag.rag_graph(services))
    for promise in given.promises:
        for arm in ("answers", "nodes"):
            with tempfile.TemporaryDirectory() as folder:
                policy = Policy(max_error_rate=promise)
                async with rag.open_caches(Path(folder), answers=policy, nodes=arm == "nodes") as caches:
                    graph = rag.cached_graph(services, caches)
                    for half in halves:
                        await measured(arm, promise, half, graph, without)


def show(row):
    print(
        f"seed {row['seed']}, {row['at_a_time']:2} users, {row['arm']:7} promise {row['promise']}, {row['half']:6}: "
        f"mean {row['mean_seconds']:.3f} s ({row['times_faster']:.2f}x, bound {row['bound']:.2f}x), hits {row['hits']}, "
        f"wrong {row['wrong_hits']} hits + {len(row['wrong']) - row['wrong_hits']} made ({row['wrong_share_of_hits']:.2%} "
        f"of hits)  {row['outcomes']} {row['calls']}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500, help="per half: the first begins with an empty cache")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[8])
    parser.add_argument("--promises", type=float, nargs="+", default=[0.1])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "langgraph_zipf.json")
    given = parser.parse_args()
    result = asyncio.run(run(given))
    given.results.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
