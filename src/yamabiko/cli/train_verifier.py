"""``yamabiko train-verifier``: a verifier's word weighed by the cache's own labels, and the way back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from yamabiko.cli.terminal import NO, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.cli.standing import Opened
    from yamabiko.core.refit import Judged, Refit
    from yamabiko.learn.trained import Kept
    from yamabiko.ports import Mix
    from yamabiko.settings import Settings


@click.command("train-verifier")
@click.option(
    "--labels",
    metavar="LABELS.jsonl",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Labelled pairs in the order in which they came, the lines of `yamabiko tune`; else the cache's own audits.",
)
@click.option(
    "--as-they-came",
    is_flag=True,
    help="The labels are of all would-be hits of the cache's traffic, or of a random part: they certify, too.",
)
@click.option("--back", is_flag=True, help="Go back to the weights before the ones in use.")
@pass_console
def train_verifier(console: Console, /, *, labels: str | None, as_they_came: bool, back: bool) -> None:
    """Fit how the verifier's word is weighed to labels of this cache's own traffic.

    It takes 500 labels. The earlier ones are fitted to, the later ones try the result; it is put to use only where
    these certify that it serves more, and every worker follows. Each cache keeps all its versions: --back returns to
    the one before. Where no embedding model got new weights, the exit code is 1.
    """
    from yamabiko.cli.opening import existing
    from yamabiko.errors import ConfigurationError

    if back and (labels is not None or as_they_came):
        raise click.UsageError("--back takes no labels")
    settings, _ = existing(console)  # which must be there: this makes no new cache
    if settings.policy.max_error_rate is None:
        raise ConfigurationError("without policy.max_error_rate nothing is promised: the verifier's word has no weight")
    work = _back(console, settings) if back else _train(console, settings, labels, as_they_came=as_they_came)
    if not asyncio.run(work):
        raise click.exceptions.Exit(NO)


async def _train(console: Console, settings: Settings, labels: str | None, *, as_they_came: bool) -> bool:
    from yamabiko.cli.fitting import audits_of, pairs_of, with_verifier
    from yamabiko.core.calibrate import Judge, Terms
    from yamabiko.core.refit import refit
    from yamabiko.errors import ConfigurationError
    from yamabiko.learn.trained import load_kept

    documents: list[dict[str, Any]] = []
    told: list[str] = []
    async with with_verifier(settings) as (cache, verifier, embedder, models):
        pairs = None if labels is None else await pairs_of(labels, settings, verifier, embedder)
        for model in models:
            own = verifier.mix_for(model)
            if own is None:
                continue
            kept, _ = await load_kept(cache.shared, model)
            fit = kept.in_use
            mix = fit.mix() if fit is not None and fit.verifier == own.name else own
            found = pairs.get(model, []) if pairs is not None else await audits_of(cache, model, kept, own)
            trust = Judge() if pairs is not None else Judge(false_accept=settings.learn.judge_false_accept)
            terms = Terms(
                max_error_rate=settings.policy.max_error_rate or 0.05,
                confidence=settings.policy.confidence,
                judge=trust,
                attempt=len(kept.fits) + 1,
            )
            try:
                result = refit(found, mix, terms)
            except ConfigurationError as error:
                documents.append({"model": model, "labels": len(found), "better": False, "why": str(error)})
                told.append(f"{model}: {error}")
                continue
            if result.better:
                await _put_to_use(cache, model, own, result, found, certify=as_they_came and pairs is not None)
            documents.append(_document(model, len(found), result))
            told += _lines(model, len(found), result, mix)
    console.tell({"models": documents}, "\n".join(told) or "there is no verifier for this cache's embedder")
    return any(document["better"] for document in documents)


async def _put_to_use(
    cache: Opened, model: str, own: Mix, result: Refit, labels: list[Judged], *, certify: bool
) -> None:
    """Keep the new weights; with labels that came as they come, the later ones certify them at once."""
    import time

    from yamabiko.core.refit import score_of
    from yamabiko.core.score import MIN_SCORE
    from yamabiko.learn.namespaces import namespace_of
    from yamabiko.learn.trained import Fitted, change_kept, with_fit

    mix = result.mix
    fit = Fitted(
        number=0,
        verifier=own.name,
        bias=mix.bias,
        score=mix.score,
        weight=mix.verifier,
        doubt=mix.doubt,
        low=mix.low,
        high=mix.high,
        labels=len(labels),
        tested=result.tested,
        served=result.served,
        served_before=result.served_before,
        at=time.time(),
    )
    await change_kept(cache.shared, model, lambda kept: with_fit(kept, fit))
    if certify:
        namespace = namespace_of(model, "", "")
        scored = [(score_of(label, mix), label.correct) for label in labels[result.fitted :]]
        hits = [(score, correct) for score, correct in scored if score >= MIN_SCORE]
        standings = await cache.standings(namespace, mix)
        await standings.imported(namespace, hits, floor=MIN_SCORE, requests=len(scored))


def _document(model: str, labels: int, result: Refit) -> dict[str, Any]:
    mix = result.mix
    weights = {"bias": mix.bias, "score": mix.score, "verifier": mix.verifier, "doubt": mix.doubt}
    counts = {"fitted": result.fitted, "tested": result.tested}
    served = {"served": result.served, "served_before": result.served_before}
    return {"model": model, "labels": labels, "better": result.better, "why": result.why} | counts | served | weights


def _lines(model: str, labels: int, result: Refit, before: Mix) -> list[str]:
    def weights(mix: Mix) -> str:
        return f"bias {mix.bias:.3f}, score {mix.score:.3f}, verifier {mix.verifier:.3f}, doubt {mix.doubt:.3f}"

    verdict = "put to use; `yamabiko train-verifier --back` undoes it" if result.better else "kept what is in use"
    return [
        f"{model}: {labels:,} labels, {result.fitted:,} fitted to, {result.tested:,} tried on",
        f"  in use   {weights(before)}",
        f"  fitted   {weights(result.mix)}",
        f"  {result.why}: {verdict}",
    ]


async def _back(console: Console, settings: Settings) -> bool:
    from yamabiko.cli.fitting import with_verifier
    from yamabiko.learn.trained import change_kept, load_kept, taken_back

    documents: list[dict[str, Any]] = []
    told: list[str] = []
    async with with_verifier(settings) as (cache, _, _, models):
        for model in models:
            before, _ = await load_kept(cache.shared, model)
            if before.active:
                now: Kept = await change_kept(cache.shared, model, taken_back)
                documents.append({"model": model, "before": before.active, "now": now.active})
                where = f"version {now.active}" if now.active else "the weights that came with the verifier"
                told.append(f"{model}: back from version {before.active} to {where}")
    console.tell({"models": documents}, "\n".join(told) or "the weights that came with the verifier are in use already")
    return bool(documents)
