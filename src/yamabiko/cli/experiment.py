"""``yamabiko experiment``: two policies side by side, on the callers of a cache that is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from yamabiko.cli.terminal import Console, pass_console

if TYPE_CHECKING:
    from yamabiko.learn.experiment import Experiments
    from yamabiko.learn.experiment_records import Definition
    from yamabiko.learn.experiment_report import Findings
    from yamabiko.ports import SharedState

T = TypeVar("T")


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    from yamabiko.units import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError:
        raise click.BadParameter(f"{text!r:.40} is no duration such as 1h30m") from None


@click.group()
def experiment() -> None:
    """Compare two policies on the callers of a cache: start, status, stop."""


@experiment.command()
@click.argument("name")
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    required=True,
    help="What the treatment changes of the policy; may be given again.",
)
@click.option("--share", type=float, default=0.5, show_default=True, help="Share of the callers in the treatment.")
@click.option(
    "--confidence", type=float, default=0.95, show_default=True, help="That all that the report ever says is true."
)
@click.option(
    "--expected-hit-rate", type=float, default=0.3, show_default=True, help="A guess; a good one needs fewer callers."
)
@click.option(
    "--window",
    metavar="DURATION",
    default="1h",
    callback=_seconds,
    show_default=True,
    help="The first requests of a caller within so long count.",
)
@click.option(
    "--warmup",
    metavar="DURATION",
    default="0s",
    callback=_seconds,
    show_default=True,
    help="Nothing before is counted: both arms learn first.",
)
@pass_console
def start(
    console: Console,
    /,
    *,
    name: str,
    changes: tuple[str, ...],
    share: float,
    confidence: float,
    expected_hit_rate: float,
    window: float,
    warmup: float,
) -> None:
    """Give a share of the callers another policy, from now on, in every worker of the cache.

    Each caller (a tenant's user, or a tenant) keeps its arm. What is kept of callers is a keyed digest.
    """

    async def begin(cache: _Opened) -> Definition:
        return await cache.experiments.start(
            name,
            ",".join(changes),
            share=share,
            confidence=confidence,
            expected_hit_rate=expected_hit_rate,
            window_seconds=window,
            warmup_seconds=warmup,
        )

    begun = _run(console, begin)
    console.tell(
        _summary(begun),
        f"{begun.name} is running: {begun.share:.0%} of the callers get {begun.changes}\n"
        f"look at it as often as you like with: yamabiko experiment status {begun.name}",
    )


@experiment.command()
@click.argument("name", required=False)
@pass_console
def status(console: Console, name: str | None) -> None:
    """Say which arm serves more by now; without NAME, of the last experiment, and which others there were.

    May be asked any number of times: that never makes a verdict wrong.
    """

    async def look(cache: _Opened) -> tuple[tuple[Definition, ...], Findings | None]:
        known = await cache.experiments.all()
        chosen = name or (known[-1].name if known else "")
        return known, await cache.report(chosen) if chosen else None

    known, found = _run(console, look)
    if found is None:
        console.tell(
            {"experiment": None, "experiments": []},
            "there was no experiment yet: start one with `yamabiko experiment start NAME --set max_error_rate=0.05`",
        )
        return
    from yamabiko.cli.shown import wrapped

    lines = [*found.lines(), wrapped(found.sentence)]
    others = [one for one in known if one.name != found.definition.name]
    if others and not name:
        lines.append("others: " + ", ".join(one.name for one in others))
    console.tell(found.document() | {"experiments": [_summary(one) for one in known]}, "\n".join(lines))


@experiment.command()
@click.argument("name")
@pass_console
def stop(console: Console, name: str) -> None:
    """Give everybody the control's policy again. The report is kept."""
    ended = _run(console, lambda cache: cache.experiments.stop(name))
    console.tell(
        _summary(ended), f"{ended.name} is stopped; its report stays at: yamabiko experiment status {ended.name}"
    )


def _summary(one: Definition) -> dict[str, object]:
    return {
        "name": one.name,
        "changes": one.changes,
        "share": one.share,
        "started": one.started,
        "counted_from": one.counted_from,
        "stopped": one.stopped,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A cache's experiments, and where its workers keep what they have certified."""

    experiments: Experiments
    shared: SharedState
    models: Callable[[], Sequence[str]]

    async def report(self, name: str) -> Findings:
        """With what stands behind each arm."""
        from yamabiko.learn.experiment_promises import promises_of

        policies = await self.experiments.policies(name)
        return await self.experiments.report(name, await promises_of(self.shared, self.models(), policies))


def _run(console: Console, work: Callable[[_Opened], Awaitable[T]]) -> T:
    """What is done with the experiments of the cache. Raises ``ConfigurationError`` where it can have none."""
    from yamabiko.build import locate
    from yamabiko.cli.opening import closing, existing
    from yamabiko.cli.standing import models_of
    from yamabiko.errors import ConfigurationError
    from yamabiko.flight import Background
    from yamabiko.learn.experiment import Experiments
    from yamabiko.ports import SharedState

    settings, embedder = existing(console)

    async def run() -> T:
        async with closing(await locate(settings).open(embedder.id, embedder.dim)) as store:
            if not isinstance(store, SharedState) or not store.spans_processes:
                raise ConfigurationError(
                    "a cache in memory is gone when this command ends: experiments are for sqlite:///FILE and servers"
                )
            behind = Background()
            experiments = Experiments(store, policy=settings.policy, clock=time.time, spawn=behind.spawn)
            models = partial(models_of, settings, embedder)
            try:
                return await work(_Opened(experiments=experiments, shared=store, models=models))
            finally:
                await behind.drain()

    return asyncio.run(run())
