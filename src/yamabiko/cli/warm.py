"""``yamabiko warm``: fill a cache before anybody asks."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from yamabiko.cli.options import scope_options, upstream_options
from yamabiko.cli.terminal import NO, Console, pass_console, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from yamabiko.build.generators import Answers
    from yamabiko.cache import Cache
    from yamabiko.cli.warm_file import Row
    from yamabiko.ports import Embedder
    from yamabiko.settings import Settings
    from yamabiko.telemetry import Event
    from yamabiko.types import Miss

BATCH = 64
"""Given answers that are embedded and stored at once. A generated answer is stored as soon as it is there."""


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", "text"]),
    help="What FILE is; else its name tells (.jsonl, .csv, .txt).",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Model calls at a time.")
@click.option("--replace", "overwrite", is_flag=True, help="Store an answer even where the question has one.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Tag of all answers; may be given again.")
@click.option(
    "--batch", metavar="S3URI", help="Have Bedrock do it in batch jobs, with s3://BUCKET/PREFIX for their files."
)
@click.option("--batch-role", metavar="ARN", default="", help="The role that Bedrock takes for the jobs.")
@click.option(
    "--batch-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder in S3's place, for the stand-in of Bedrock.",
)
@click.option("--poll", default=30.0, show_default=True, metavar="SECONDS", help="How often the jobs are looked at.")
@scope_options
@upstream_options
@pass_console
def warm(
    console: Console,
    /,
    *,
    file: str,
    format_: Literal["jsonl", "csv", "text"] | None,
    concurrency: int,
    overwrite: bool,
    tags: tuple[str, ...],
    batch: str | None,
    batch_role: str,
    batch_folder: Path | None,
    poll: float,
    upstream: str | None,
    model: str | None,
    api_key_env: str | None,
    **scope: str,
) -> None:
    """Store the answers in FILE, or have a model answer the questions in it.

    JSON lines and CSV have question and answer, and may have tenant, user, model, system, knowledge and tags; the
    options hold where they don't. Plain text is one question a line. Questions without an answer need --upstream and
    --model, or --batch and --model: then Bedrock answers them in a batch job, and Titan's vectors come from one too,
    which takes hours. What is stored already is skipped, so that a run that was interrupted can simply be repeated;
    with --batch it finds the jobs that it began.
    """
    from yamabiko.cli.upstream import open_generator
    from yamabiko.cli.warm_file import read_rows

    if upstream is not None and not model:
        raise click.UsageError("--upstream needs --model")
    settings = console.settings()
    named = model or ("" if upstream else settings.generator.model)
    rows = read_rows(file, format_, {**scope, "model": named}, tags)
    unanswered = sum(row.answer is None for row in rows)
    if unanswered and batch is not None and not model:
        raise click.UsageError("--batch needs --model, the id of a model on Bedrock, for questions without an answer")
    if unanswered and upstream is None and batch is None and settings.generator.kind == "none":
        raise click.UsageError(f"{unanswered:,} of {len(rows):,} questions have no answer: say --upstream and --model")
    warming = Warming(overwrite=overwrite, concurrency=concurrency)
    if batch is not None:
        _by_batch(settings, warming, rows, where=batch, role=batch_role, folder=batch_folder, poll=poll, model=model)
        warming.tell(console)
        return
    hosted = open_generator(settings, upstream, named, api_key_env) if unanswered else nullcontext(None)
    with progress(len(rows), "warming") as bar:
        asyncio.run(_warm(settings, warming, rows, hosted, bar.update))
    warming.tell(console)


def _by_batch(
    settings: Settings,
    warming: Warming,
    rows: Sequence[Row],
    *,
    where: str,
    role: str,
    folder: Path | None,
    poll: float,
    model: str | None,
) -> None:
    from yamabiko.cli.warm_batch import Batch, warm_by_batch

    batch = Batch(where=where, role=role, folder=folder, poll_seconds=poll, model=model or "")
    seen = 0
    with progress(2 * len(rows), "waiting for Bedrock") as bar:

        def told(done: int, _total: int) -> None:
            nonlocal seen
            bar.update(done - seen)
            seen = done

        asyncio.run(warm_by_batch(settings, batch, warming, rows, told))


async def _warm(
    settings: Settings,
    warming: Warming,
    rows: Sequence[Row],
    hosted: AbstractAsyncContextManager[Answers | None],
    step: Callable[[int], None],
) -> None:
    from yamabiko.build import make_embedder, open_cache

    settings = replace(settings, policy=replace(settings.policy, semantic=False))  # a similar question is another one
    embedder = make_embedder(settings)
    async with (
        open_cache(settings=settings, embedder=embedder or "none", hooks=[warming.note]) as cache,
        hosted as asked,
    ):
        given = [row for row in rows if row.answer is not None]
        for start in range(0, len(given), BATCH):
            await warming.store(cache, embedder, given[start : start + BATCH], step)
        waiting = iter([row for row in rows if row.answer is None])

        async def worker(answering: Answers) -> None:
            for row in waiting:
                await warming.answer(cache, embedder, row, answering)
                step(1)

        if asked is not None:
            async with asyncio.TaskGroup() as workers:
                for _ in range(warming.concurrency):
                    workers.create_task(worker(asked))
        await cache.drain()


class Warming:
    """Stores answers that are not there yet, and counts."""

    def __init__(self, *, overwrite: bool, concurrency: int) -> None:
        self.concurrency = concurrency
        self._overwrite = overwrite
        self._seen: set[bytes] = set()
        self.stored = 0
        self.skipped = 0
        self.refused: Counter[str] = Counter()
        self._failed = False

    def note(self, event: Event) -> None:
        """The hook: what storing came to."""
        if event.call == "remember":
            if event.outcome == "stored":
                self.stored += 1
            else:
                self.refused[event.why] += 1
                self._failed = self._failed or event.outcome == "failed"

    async def store(
        self, cache: Cache, embedder: Embedder | None, rows: Sequence[Row], step: Callable[[int], None]
    ) -> None:
        """Store given answers, embedded in one batch."""
        misses = [(await self.absent(cache, row), row) for row in rows]
        absent = [(miss, row.answer) for miss, row in misses if miss is not None]
        ready = await _embedded([miss for miss, _ in absent], embedder)
        for miss, (_, answer) in zip(ready, absent, strict=True):
            await cache.remember(miss, answer or "")
        step(len(rows))

    async def answer(self, cache: Cache, embedder: Embedder | None, row: Row, generate: Answers) -> None:
        """Have one question answered, and store that."""
        miss = await self.absent(cache, row)
        if miss is not None:
            reply = await generate(row.request)
            (ready,) = await _embedded([miss], embedder)
            await cache.remember(ready, reply)

    async def absent(self, cache: Cache, row: Row) -> Miss | None:
        """The miss to store under; None where the question has an answer. Raises ``StoreUnavailable``."""
        from yamabiko.core.normalise import normalise
        from yamabiko.errors import StoreUnavailable
        from yamabiko.types import Hit, Miss, MissReason

        outcome = await cache.lookup(row.request)
        if isinstance(outcome, Miss) and outcome.reason is MissReason.STORE_UNAVAILABLE:
            raise StoreUnavailable(outcome.reasons[-1])
        known = outcome.key is not None and outcome.key.digest in self._seen
        if known or (isinstance(outcome, Hit) and not self._overwrite):
            self.skipped += 1
            return None
        if outcome.key is not None:
            self._seen.add(outcome.key.digest)
        if isinstance(outcome, Miss):
            return outcome
        return Miss(
            request=row.request,
            key=outcome.key,
            canonical=normalise(row.request),
            reason=MissReason.BYPASS,
            reasons=("the stored answer is to be replaced",),
        )

    def tell(self, console: Console) -> None:
        """The counts; exit code 1 where something was refused, 3 where the store failed."""
        from yamabiko.errors import StoreUnavailable

        refused = self.refused.total()
        for why, count in self.refused.most_common():
            console.note(f"{count:,} not stored: {why}")
        document = {"stored": self.stored, "skipped": self.skipped, "refused": refused, "why": dict(self.refused)}
        console.tell(document, f"stored: {self.stored:,}; skipped: {self.skipped:,}; not stored: {refused:,}")
        if self._failed:
            raise StoreUnavailable("the store failed; run this again when it works")
        if refused:
            raise click.exceptions.Exit(NO)


async def _embedded(misses: Sequence[Miss], embedder: Embedder | None) -> list[Miss]:
    """The misses with their vectors, in one batch, where there is something to embed. Raises ``EmbeddingError``."""
    wanted = [miss.canonical.text for miss in misses if miss.canonical.text]
    if embedder is None or not wanted:
        return list(misses)
    vectors = iter(await embedder.embed(wanted))
    return [replace(miss, vector=next(vectors)) if miss.canonical.text else miss for miss in misses]
