"""The demo's model: simulated, and labelled so, or a real one behind an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yamabiko.cli.demo_asking import Plan
from yamabiko.cli.intents import Intents
from yamabiko.core.economics import Prices
from yamabiko.generators.simulated import Latency, SimulatedModel
from yamabiko.ports import StreamGenerate
from yamabiko.types import Request

SIMULATED = "simulated"
"""The simulated model's name, in the scope and in the price file."""

TIME_SCALE = 0.05
"""The share of a simulated latency that is really waited, so that the demo takes seconds and not minutes."""

QUESTION = "\nQuestion: "
"""Stands between the paragraph and the question in what the model is asked."""


def prompt(intents: Intents, request: Request) -> Request:
    """What the model is asked: the question with its paragraph before it. The cache never sees this."""
    question = request.messages[-1].text
    paragraph = intents.of(question).paragraph
    return Request(f"Paragraph: {paragraph}{QUESTION}{question}", model=request.model, system=request.system)


@asynccontextmanager
async def open_model(plan: Plan, intents: Intents) -> AsyncIterator[StreamGenerate]:
    """The model that the plan names; the simulated one knows the right answers of the data."""
    if plan.upstream:
        from yamabiko.cli.upstream import open_upstream

        async with open_upstream(plan.upstream, plan.model, plan.api_key_env or None) as upstream:
            yield upstream.stream
    else:
        simulated = SimulatedModel(
            lambda asked: intents.of(asked.messages[-1].text.rpartition(QUESTION)[2]).answer,
            seed=plan.seed,
            time_scale=TIME_SCALE,
        )
        yield simulated.stream


def about_model(plan: Plan, prices: Prices) -> str:
    """Says which model answers, and what its figures are worth."""
    if plan.upstream:
        unknown = "" if prices.known(plan.model) else "; the price file does not know it, its dollars count as 0"
        return f"{plan.model} at {plan.upstream}{unknown}"
    law = Latency()
    return (
        f"SIMULATED. It gives the data's answers; its latencies are drawn from a log-normal law (median"
        f" {law.median_seconds:g} s, 95th percentile {law.p95_seconds:g} s) of which {TIME_SCALE:.0%} is really waited;"
        " its tokens are counted by rule and priced like claude-haiku-4-5"
    )
