"""What looking on costs: CPU time of metrics, access log and traces for one request of the gateway.

    python benchmarks/observing.py [--rounds 20000]

Writes benchmarks/results/observing.json. ``exact hit`` is all that an observer is told of one, from ``begun`` to
``ended``; ``miss`` has a call to an upstream in between; ``event`` is the cache's hook. With several workers the values
lie in mapped files: ``metrics, several workers`` is measured in a process of its own. The access log writes to a file,
traces are made and thrown away.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe

ROOT = Path(__file__).parents[1]
SCOPE = {
    "headers": [(b"host", b"localhost"), (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
    "scheme": "http",
    "http_version": "1.1",
}


def microseconds(run, rounds: int) -> float:
    """CPU time of one call, the least of ten tries."""
    tries = []
    for _ in range(10):
        start = time.process_time()
        for _ in range(rounds // 10):
            run()
        tries.append((time.process_time() - start) / (rounds // 10) * 1e6)
    return round(min(tries), 2)


async def outcomes():
    """A real miss and a real hit."""
    from yamabiko import Request, open_cache

    async with open_cache("memory://", embedder="none") as cache:
        request = Request("What is an echo?", model="m", tenant="t")
        miss = await cache.lookup(request)
        await cache.remember(miss, "A sound that comes back.")
        return miss, await cache.lookup(request)


def exchanges(observers):
    """One exact hit, and one miss, as these observers are told of them."""
    from yamabiko.gateway.exchange import Caller, Exchange, asking
    from yamabiko.types import Reply, Usage

    miss, hit = asyncio.run(outcomes())
    caller = Caller(tenant="t", digest="0123456789abcdef")
    reply = Reply(text="A sound that comes back.", usage=Usage(input_tokens=12, output_tokens=34), model="m")

    def told(outcome, seconds, *, asks):
        exchange = Exchange(
            method="POST",
            route="chat",
            started=0.0,
            path="/v1/chat/completions",
            observers=observers,
            upstream="openai",
        )
        exchange.caller, exchange.model = caller, "m"
        for observer in observers:
            observer.begun(exchange, SCOPE)
        if asks:
            with asking(exchange) as call:
                call.answered(200, 1)
                call.reply, call.error = reply, ""
            exchange.upstream_status, exchange.attempts = 200, 1
        exchange.outcome, exchange.status = outcome, 200
        exchange.seconds = exchange.first_byte_seconds = seconds
        exchange.input_tokens, exchange.output_tokens = 12, 34
        for observer in observers:
            observer.ended(exchange)

    return (lambda: told(hit, 0.0004, asks=False)), (lambda: told(miss, 1.3, asks=True))


def measured(observers, rounds: int) -> dict[str, float]:
    """What these observers add to a request that nobody looks on at."""
    bare_hit, bare_miss = (microseconds(run, rounds) for run in exchanges(()))
    hit, miss = (microseconds(run, rounds) for run in exchanges(observers))
    return {"exact hit": round(hit - bare_hit, 2), "miss": round(miss - bare_miss, 2)}


def metrics(rounds: int) -> dict[str, float]:
    from yamabiko.gateway.metrics import Metrics
    from yamabiko.telemetry import Event
    from yamabiko.types import MissReason

    looking_on = Metrics()
    hit = Event(call="stream", outcome="hit", tier="exact", saved_usd=0.001, saved_seconds=1.2, seconds=0.0004)
    by_meaning = Event(
        call="stream",
        outcome="miss",
        reason=MissReason.BELOW_THRESHOLD,
        embed_seconds=0.003,
        search_seconds=0.001,
        spent_usd=0.001,
    )
    return measured((looking_on,), rounds) | {
        "event, hit": microseconds(lambda: looking_on(hit), rounds),
        "event, miss by meaning": microseconds(lambda: looking_on(by_meaning), rounds),
    }


def several_workers(rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--only-metrics", "--rounds", str(rounds)]
        environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": folder}
        run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def access_log(rounds: int) -> dict[str, float]:
    from yamabiko.gateway.accesslog import to_stream

    with tempfile.TemporaryFile("w") as stream:
        return measured((to_stream(stream),), rounds)


def traces(rounds: int) -> dict[str, float]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    from yamabiko.gateway.tracing import Tracing

    class Nowhere(SpanExporter):
        def export(self, _):
            return SpanExportResult.SUCCESS

    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(Nowhere()))
    return measured((Tracing(made),), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--only-metrics", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_metrics:
        print(json.dumps(metrics(arguments.rounds)))
        return
    found = {
        "metrics": metrics(arguments.rounds),
        "metrics, several workers": several_workers(arguments.rounds),
        "access log": access_log(arguments.rounds),
        "traces": traces(arguments.rounds // 4),
    }
    print("CPU time in µs")
    for name, figures in found.items():
        print(f"{name:26}", *(f"{what} {figure:.1f}" for what, figure in figures.items()), sep="   ")
    path = ROOT / "benchmarks" / "results" / "observing.json"
    result = {"machine": describe(), "rounds": arguments.rounds, "microseconds": found}
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
