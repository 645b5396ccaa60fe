"""``yamabiko demo``: real questions, a real cache file, a kill in the middle, and an honest count at the end."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from yamabiko.cli.options import upstream_options
from yamabiko.cli.terminal import Console, pass_console, progress, secret_from
from yamabiko.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yamabiko.cache import Cache
    from yamabiko.cli.demo_asking import Asked, Plan
    from yamabiko.cli.demo_half import FirstHalf
    from yamabiko.cli.demo_report import Totals
    from yamabiko.cli.intents import Language
    from yamabiko.policy import Policy
    from yamabiko.settings import Settings


REQUESTS = 400
"""How many questions are asked unless somebody says otherwise."""


@click.command()
@click.option(
    "--requests", type=click.IntRange(2, 100_000), help="How many questions (400; with --bedrock-stand-in 80)."
)
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Chooses the questions.")
@click.option(
    "--lang", type=click.Choice(["en", "ja", "both"]), default="both", show_default=True, help="Their language."
)
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False), metavar="PATH", help="Keep the cache file in this folder."
)
@click.option(
    "--bedrock-stand-in",
    is_flag=True,
    help="The way through Amazon Bedrock instead, on a stand-in: gateway, Titan, knowledge base, Converse.",
)
@click.option(
    "--store", metavar="URL", help="With --bedrock-stand-in: another store than a file, such as memorydb://HOST."
)
@upstream_options
@pass_console
def demo(
    console: Console,
    /,
    *,
    requests: int | None,
    seed: int,
    lang: str,
    folder: str | None,
    bedrock_stand_in: bool,
    store: str | None,
    upstream: str | None,
    model: str | None,
    api_key_env: str | None,
) -> None:
    """Ask real questions of a real cache, kill it half-way, and count.

    The model is simulated unless --upstream and --model name a real one. With --bedrock-stand-in all of Amazon Bedrock
    is simulated by a server on this machine, and questions go over HTTP.
    """
    from yamabiko.cli.demo_asking import Plan
    from yamabiko.cli.demo_model import SIMULATED

    if (upstream is None) != (model is None):
        raise click.UsageError("--upstream and --model belong together")
    if bedrock_stand_in and upstream is not None:
        raise click.UsageError("--bedrock-stand-in has a model of its own: leave out --upstream and --model")
    if store is not None and not bedrock_stand_in:
        raise click.UsageError("--store belongs to --bedrock-stand-in")
    secret_from(api_key_env)
    settings = console.settings()
    languages: tuple[Language, ...] = tuple(one for one in ("en", "ja") if lang in (one, "both"))
    if folder is not None:
        _make(Path(folder))
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory(prefix="yamabiko-demo-") as place:
        if bedrock_stand_in:
            from yamabiko.cli.demo_bedrock import run

            url = store or f"sqlite:///{quote((Path(place).absolute() / 'demo-bedrock.db').as_posix())}"
            run(console, url=url, requests=requests, seed=seed, languages=languages)
            return
        path = Path(place).absolute() / "demo.db"
        plan = Plan(
            url=f"sqlite:///{quote(path.as_posix())}",
            requests=requests or REQUESTS,
            seed=seed,
            languages=languages,
            upstream=upstream or "",
            model=model or SIMULATED,
            api_key_env=api_key_env or "",
        )
        earlier = asyncio.run(_ids(settings, plan)) if path.exists() else frozenset()
        _run(console, settings, plan, earlier)
        if folder is not None:
            console.note(f"The cache file stays at {path}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the folder {folder} can't be made: {error.strerror}") from error


@click.command(hidden=True)
@pass_console
def demo_half(console: Console) -> None:
    """Ask the demo's first half, as standard input says, and wait to be killed."""
    from yamabiko.cli.demo_half import ask_first_half

    ask_first_half(console.settings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivors:
    """What the reopened file holds of the killed process's answers, and what ``check()`` says of it."""

    acknowledged: int
    survived: int
    unacknowledged: int
    problems: tuple[str, ...]


def _run(console: Console, settings: Settings, plan: Plan, earlier: frozenset[str]) -> None:
    from yamabiko.cli.demo_half import run_and_kill
    from yamabiko.cli.demo_report import totals
    from yamabiko.cli.shown import wrapped

    console.say(_introduction(settings, plan, len(earlier)))
    with progress(plan.first, "first half ") as bar:
        half = run_and_kill(plan, console.settings_path, bar.update)
    console.say(
        wrapped(
            f"First half: {plan.first} questions in {half.seconds - half.ready_seconds:.1f} s, after"
            f" {half.ready_seconds:.1f} s of starting and loading the embedding models, which is not counted below."
            " Then the process was killed (kill -9), without a chance to save anything."
        )
    )
    later, survivors = asyncio.run(_second_half(console, settings, plan, half, earlier))
    asked = [*half.asked, *later]
    columns: list[tuple[str, Totals]] = [
        (language, totals([one for one in asked if one.language == language])) for language in plan.languages
    ]
    whole = totals(asked)
    console.say(_report(settings, asked, [*columns, ("both", whole)] if len(columns) > 1 else columns, plan))
    figures = {name: asdict(of) | {"hits": of.hits} for name, of in [*columns, ("all", whole)]}
    console.tell({"requests": figures, "restart": asdict(survivors)}, whole.line())


async def _second_half(
    console: Console, settings: Settings, plan: Plan, half: FirstHalf, earlier: frozenset[str]
) -> tuple[list[Asked], Survivors]:
    from yamabiko.build import open_cache
    from yamabiko.cli.demo_asking import Clockwork, ask_all, for_show, warm_up
    from yamabiko.cli.demo_model import open_model, prompt
    from yamabiko.cli.intents import questions_asked, read_intents
    from yamabiko.cli.shown import wrapped

    intents = read_intents(plan.languages)
    asked: list[Asked] = []
    started = time.perf_counter()
    async with open_cache(plan.url, settings=for_show(settings)) as cache, open_model(plan, intents) as model:
        opened_seconds = time.perf_counter() - started
        survivors = await _survivors(cache, half, earlier)
        console.say(
            wrapped(
                f"Reopened in {opened_seconds * 1000:.0f} ms: {survivors.survived} of {survivors.acknowledged}"
                f" acknowledged answers are there, and {survivors.unacknowledged} that were just being written; check()"
                f" finds {len(survivors.problems) or 'no'} problems."
            )
            + "\n"
        )
        await warm_up(cache, plan.languages)
        questions = questions_asked(intents, plan.languages, plan.requests, plan.seed)[plan.first :]
        with progress(len(questions), "second half") as bar:

            def tell(one: Asked) -> None:
                asked.append(one)
                bar.update(1)

            clockwork = Clockwork(model, partial(prompt, intents))
            await ask_all(cache, intents, clockwork, questions, model=plan.model, tell=tell)
    return asked, survivors


async def _survivors(cache: Cache, half: FirstHalf, earlier: frozenset[str]) -> Survivors:
    found = {entry.id[:16] async for entry in cache.entries()}
    return Survivors(
        acknowledged=len(half.stored),
        survived=len(half.stored & found),
        unacknowledged=len(found - half.stored - earlier),
        problems=tuple(await cache.check()),
    )


async def _ids(settings: Settings, plan: Plan) -> frozenset[str]:
    """The ids (16 digits) of what an earlier run left behind."""
    from yamabiko.build import open_cache

    async with open_cache(plan.url, settings=settings) as cache:
        return frozenset([entry.id[:16] async for entry in cache.entries()])


def _introduction(settings: Settings, plan: Plan, earlier: int) -> str:
    from yamabiko.build import load_prices
    from yamabiko.cli.demo_asking import AT_A_TIME, for_show
    from yamabiko.cli.demo_model import about_model
    from yamabiko.cli.intents import ZIPF_EXPONENT
    from yamabiko.cli.shown import wrapped_rows

    sources = {"en": "English (XQuAD, Disfl-QA)", "ja": "Japanese (JSQuAD)"}
    embedders = {"local": "on this device, no network", "none": "none: only the very same question is answered"}
    questions = (
        f"{plan.requests}, {' and '.join(sources[language] for language in plan.languages)}, about Wikipedia"
        f" paragraphs; popular ones more often, by a Zipf law with exponent {ZIPF_EXPONENT:g}, each time in one of"
        f" the wordings that the data have; {AT_A_TIME} users at a time. Credits: cli/demo_data/LICENSE"
    )
    rows = (
        ("questions", questions),
        ("model", about_model(plan, load_prices(settings.prices_path))),
        ("embedder", embedders.get(settings.embedder.kind, settings.embedder.kind)),
        ("promise", _promise(for_show(settings).policy)),
        ("cache", f"{plan.url}{f', with {earlier} answers of an earlier run' if earlier else ''}"),
    )
    return wrapped_rows(rows)


def _promise(policy: Policy) -> str:
    rate = policy.max_error_rate
    if rate is None:
        return f"none: what reaches similarity {policy.min_similarity} is served in other words"
    return (
        f"at most {rate:.0%} of the answers served in other words are wrong. Nobody labels here, so what counts is a"
        f" threshold from public data at half of that, and every such hit says uncalibrated"
    )


def _report(settings: Settings, asked: list[Asked], columns: Sequence[tuple[str, Totals]], plan: Plan) -> str:
    from yamabiko.cli.demo_report import examples, legend, table

    about = legend(simulated=not plan.upstream, hosted_embedder=settings.embedder.kind == "http")
    return "\n".join(filter(None, (table(columns), about, examples(asked))))
