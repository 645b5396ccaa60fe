"""The published table of a semantic cache on AWS, made again by its method on data that may be used.

Method, as published: the cache is empty at the start, questions come in random order, the nearest stored question's
answer is served from a threshold of its cosine on (0.99 to 0.50), each miss is answered by the model and stored.
Source: Amazon ElastiCache developer guide, "Semantic caching benchmarks" (read 2026-11-23): 63,796 queries of
SemBenchmarkLmArena, Titan Text Embeddings V2, Claude 3 Haiku, cache.r7g.large; ``PUBLISHED`` holds its rows. That set is
on no package registry and Titan can't be asked here, so that texts and embedder differ: what is compared is the shape.

Beside it: the same streams under ``max_error_rate`` 1, 2 and 5 %, with every call that the promise costs (audits, a judge
that is the same model) on the bill; and latency and cost at hit ratios of 10 to 90 %, by
``lookup + (1 - hit ratio) * model`` from the stated inputs alone.

Costs are those of models and embeddings, scaled to ``--requests-per-day``; a node is added where ``--node-usd-per-day``
names its price. Prices: src/yamabiko/core/data/prices.json, with its date. Accuracy is given twice, since the page does not
say of what: right answers of those served from the cache, and of all requests.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import labelled
import machine
from quality import ENGLISH_STREAM, JAPANESE_STREAM
from quality_arms import Pairs, Threshold, by_cosine, replay
from quality_promise import Learned
from quality_streams import Pool, Stream, pool_of_intents, pool_of_pairs, stream
from quality_tally import Tally, table
from yamabiko.core import economics
from yamabiko.core.score import model_for
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.types import Usage

THRESHOLDS = (0.99, 0.95, 0.90, 0.80, 0.75, 0.50)
PROMISES = (0.01, 0.02, 0.05)
PUBLISHED = {  # threshold: hit ratio, accuracy, daily cost in USD, average latency in seconds
    None: (0.0, None, 49.50, 4.35),
    0.99: (0.235, 0.921, 41.70, 3.60),
    0.95: (0.560, 0.926, 23.80, 1.84),
    0.90: (0.745, 0.923, 13.60, 1.21),
    0.80: (0.876, 0.918, 7.60, 0.60),
    0.75: (0.903, 0.912, 6.80, 0.51),
    0.50: (0.943, 0.875, 5.90, 0.46),
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that is stated and not measured.

    100 and 600 tokens cost, at Claude 3 Haiku's price, what the published baseline costs per query (49.50 / 63,796 USD).
    ``lookup_seconds``: an embedding and a search; the page's two single hits took 0.11 and 0.13 s. ``judge_tokens``: two
    questions and two answers in, a word out.
    """

    model: str = "anthropic.claude-3-haiku-20240307-v1:0"
    embedder: str = "amazon.titan-embed-text-v2:0"
    model_seconds: float = 4.35
    lookup_seconds: float = 0.11
    requests_per_day: int = 63_796
    input_tokens: int = 100
    output_tokens: int = 600
    judge_input_tokens: int = 1300
    judge_output_tokens: int = 5
    node_usd_per_day: float = 0.0


def prices():
    """The shipped ones."""
    return economics.parse(files("yamabiko.core").joinpath("data", "prices.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Bill:
    """USD of one call of each kind."""

    answer: float
    judge: float
    embedding: float


def bill(inputs: Inputs) -> Bill:
    """From the stated tokens and the dated prices."""
    known = prices()
    for model in (inputs.model, inputs.embedder):
        if not known.known(model):
            raise SystemExit(f"no price is known for {model}: add it to the price file")
    asked = Usage(input_tokens=inputs.input_tokens, output_tokens=inputs.output_tokens)
    judged = Usage(input_tokens=inputs.judge_input_tokens, output_tokens=inputs.judge_output_tokens)
    return Bill(
        answer=known.cost_usd(asked, inputs.model),
        judge=known.cost_usd(judged, inputs.model),
        embedding=known.cost_usd(Usage(input_tokens=inputs.input_tokens), inputs.embedder),
    )


def row_of(name: str, tally: Tally, inputs: Inputs, each: Bill, *, cached: bool = True) -> dict[str, object]:
    """One line: per day, at the stated prices and latencies. Audits and judges answer behind replies: they cost, and
    an audited look-up waits for the model like a miss."""
    requests = tally.requests
    hits, wrong = sum(tally.hits.values()), sum(tally.wrong.values())
    per_request = (tally.generated * each.answer + tally.judged * each.judge) / requests + cached * each.embedding
    waiting = tally.generated / requests
    latency = cached * inputs.lookup_seconds + waiting * inputs.model_seconds
    daily = per_request * inputs.requests_per_day + cached * inputs.node_usd_per_day
    base = each.answer * inputs.requests_per_day
    return {
        "cache": name,
        "hit_ratio": hits / requests,
        "right_of_hits": 1 - wrong / hits if hits else None,
        "right_of_requests": 1 - wrong / requests,
        "usd_per_day": daily,
        "saved": 1 - daily / base,
        "seconds": latency,
        "faster": 1 - latency / inputs.model_seconds,
        "model_calls": tally.generated,
        "judge_calls": tally.judged,
    }


def measured(pool: Pool, made: Stream, pairs: Pairs, inputs: Inputs) -> list[dict[str, object]]:
    """All rows of one stream."""
    each = bill(inputs)
    nothing = Tally(requests=len(made.requests), generated=len(made.requests))
    rows = [row_of("no cache", nothing, inputs, each, cached=False)]
    for at in THRESHOLDS:
        arm = Threshold(f"cosine {at:.2f}", pool, made.stored, by_cosine, at)
        rows.append(row_of(arm.name, replay(arm, made, pool), inputs, each))
    for budget in PROMISES:
        name = f"max_error_rate={budget:g}"
        arm = Learned(name, pool, made.stored, pairs, budget, run=f"aws/{name}")
        rows.append(row_of(name, replay(arm, made, pool), inputs, each))
    return rows


def by_hit_ratio(inputs: Inputs) -> list[dict[str, object]]:
    """Latency and cost at given hit ratios: arithmetic on the stated inputs, nothing is measured."""
    each = bill(inputs)
    rows = []
    for tenth in range(1, 10):
        hit = tenth / 10
        seconds = inputs.lookup_seconds + (1 - hit) * inputs.model_seconds
        usd = (each.embedding + (1 - hit) * each.answer) * inputs.requests_per_day + inputs.node_usd_per_day
        base = each.answer * inputs.requests_per_day
        rows.append(
            {
                "hit_ratio": hit,
                "seconds": seconds,
                "faster": 1 - seconds / inputs.model_seconds,
                "usd_per_day": usd,
                "saved": 1 - usd / base,
            }
        )
    return rows


def shown(rows: list[dict[str, object]]) -> str:
    """As the published table is laid out."""
    lines = []
    for row in rows:
        line = {} if "cache" not in row else {"cache": row["cache"]}
        line["hits"] = f"{row['hit_ratio']:.1%}"
        if "right_of_requests" in row:
            of_hits = row["right_of_hits"]
            line |= {"right of hits": "-" if of_hits is None else f"{of_hits:.1%}"}
            line |= {"right of all": f"{row['right_of_requests']:.1%}"}
        line |= {"USD/day": f"{row['usd_per_day']:.2f}", "saved": f"{row['saved']:.1%}"}
        line |= {"seconds": f"{row['seconds']:.2f}", "faster": f"{row['faster']:.1%}"}
        lines.append(line)
    return table(lines, list(lines[0]))


def streams(data: Path, requests: int, seed: int):
    """(title, pool, stream, pairs) of each set of texts."""
    for title, sets, embedder in (("English", ENGLISH_STREAM, MINILM), ("Japanese", JAPANESE_STREAM, USE_M3)):
        drawn = [pair for pair in labelled.sample(labelled.load_pairs(data, sets), 4000) if labelled.same_script(pair)]
        pool = pool_of_pairs([pair for pair in drawn if pair.split == "test"], partial(labelled.embed, model=embedder))
        yield title, pool, stream(pool, "random", requests=requests, seed=seed), Pairs(pool, model_for(embedder))
    pool = pool_of_intents(data / "clinc150_stream_dev.jsonl.gz", partial(labelled.embed, model=MINILM), most=requests)
    made = stream(pool, "random", requests=requests, seed=seed, repeats=0.05)
    yield "CLINC150, an intent standing for an answer", pool, made, Pairs(pool, model_for(MINILM))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled sets, as .jsonl.gz")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    for field in dataclasses.fields(Inputs):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default)
    options = parser.parse_args()
    inputs = Inputs(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Inputs)})
    found: dict[str, object] = {"inputs": dataclasses.asdict(inputs), "prices": prices().dated}
    for title, pool, made, pairs in streams(options.data, options.requests, options.seed):
        rows = measured(pool, made, pairs, inputs)
        found[title] = {"requests": len(made.requests), "texts": len(pool), "rows": rows}
        print(f"\n{title}: {len(made.requests)} requests on {len(pool)} texts, empty at the start, random order")
        print(shown(rows))
    found["by_hit_ratio"] = by_hit_ratio(inputs)
    print("\nby hit ratio, from the stated inputs alone")
    print(shown(found["by_hit_ratio"]))
    print("written to", machine.write("aws_table", found))


if __name__ == "__main__":
    main()
