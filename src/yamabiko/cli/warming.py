"""The steps of ``yamabiko warm``: read, choose, ask, tell."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from yamabiko.build import identity_of, load_prices, locate, make_embedder, open_cache, version_of
from yamabiko.cli.opening import closing, no_cache
from yamabiko.cli.terminal import Console, progress, secret_from
from yamabiko.cli.upstream import open_generator
from yamabiko.cli.warm_budget import Budget, Costs, Limits
from yamabiko.cli.warm_file import Ask, Format, Row, format_of, plainly, read_rows
from yamabiko.cli.warm_log import Found, Joining, count
from yamabiko.cli.warm_run import Ended, Purse, Warming, fill
from yamabiko.cli.warm_source import one_source, sources
from yamabiko.cli.warm_top import Chosen, chosen
from yamabiko.embedders.recorded import RecordedEmbedder
from yamabiko.errors import ConfigurationError
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Metered

if TYPE_CHECKING:
    from yamabiko.build.generators import Answers
    from yamabiko.cli.warm import Options
    from yamabiko.cli.warm_like import Like
    from yamabiko.ports import Embedder
    from yamabiko.settings import Settings
    from yamabiko.types import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all steps need. ``ask`` puts a question as today, ``was`` as the requests of an access log were put."""

    console: Console
    options: Options
    settings: Settings
    embedder: Embedder | None
    like: Like | None
    ask: Ask
    was: Ask

    def model_for(self, text: str) -> str:
        """The embedding model of a text, as the cache names it."""
        if self.embedder is None:
            return NO_EMBEDDER
        return self.embedder.model_for(text) if text else self.embedder.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read: rows, or an access log's keys with how often each was asked. ``digest``: of all of it."""

    rows: Sequence[Row]
    asked: Counter[str]
    found: Found
    is_log: bool
    digest: str


async def warmed(console: Console, options: Options) -> None:
    """All of it. Raises ``YamabikoError`` and click's errors."""
    settings = console.settings()
    async with AsyncExitStack() as stack:
        like = await _like(options.like, options, settings, stack)
        was = await _like(options.was, options, settings, stack)
        own = options.upstream is None and options.batch is None  # the settings' model answers
        plain = plainly(_defaults(options, settings), partial(version_of, settings) if own else str)
        ask = _permitted(like or plain, options.permissions)
        read = await _read(options, settings, ask)
        if not read.is_log:
            _check_model(options, settings, read.rows, like)
        embedder = make_embedder(settings)
        if embedder is not None:
            stack.push_async_callback(embedder.close)
        work = Work(
            console=console,
            options=options,
            settings=settings,
            embedder=embedder,
            like=like,
            ask=ask,
            was=ask if was is None else _permitted(was, options.permissions),
        )
        if read.is_log:
            read = await _joined(work, read)
            _check_model(options, settings, read.rows, like)
        rows: Sequence[Row] = read.rows
        if options.top is not None or read.is_log or options.dry_run:
            picked = await _chosen(work, rows)
            _tell_chosen(console, picked, read)
            if options.dry_run:
                _list(console, picked)
                return
            rows = picked.rows
        await _filled(work, rows, read)


def _defaults(options: Options, settings: Settings) -> dict[str, str]:
    """What holds where a line says nothing."""
    model = options.model or ("" if options.upstream else settings.generator.model)
    said = {"tenant": options.tenant, "user": options.user, "system": options.system, "knowledge": options.knowledge}
    return {**said, "model": model}


async def _like(place: str | None, options: Options, settings: Settings, stack: AsyncExitStack) -> Like | None:
    if place is None:
        return None
    from yamabiko.cli.warm_like import like_from

    like = like_from(await one_source(place, settings), options.endpoint, settings)
    stack.push_async_callback(like.close)
    return like


async def _read(options: Options, settings: Settings, ask: Ask) -> Read:
    """All that the place holds. Raises ``ConfigurationError``."""
    rows: list[Row] = []
    asked: Counter[str] = Counter()
    found = Found()
    digest = hashlib.sha256()
    formats: set[Format] = set()
    said = {name: value for name, value in (("tenant", options.tenant), ("user", options.user)) if value}
    async for source in sources(options.place, settings):
        digest.update(source.data)
        formats.add(format_ := format_of(source.name, options.format_))
        if format_ == "access-log":
            count(source.text, asked, found)
        else:
            rows += read_rows(source, format_, _saying(ask, said), options.tags)
    if not formats:
        raise ConfigurationError(f"there is nothing below {options.place}")
    if len(formats) > 1 and "access-log" in formats:
        raise ConfigurationError("access logs are read by themselves: name them apart from other files")
    is_log = "access-log" in formats
    return Read(rows=rows, asked=asked, found=found, is_log=is_log, digest=digest.hexdigest())


def _permitted(ask: Ask, permissions: tuple[str, ...]) -> Ask:
    """For callers who hold these labels."""

    def asking(question: str, line: Mapping[str, str], tags: tuple[str, ...]) -> tuple[Request, Request]:
        request, asked = ask(question, line, tags)
        return replace(request, permissions=permissions), asked

    return asking if permissions else ask


def _saying(ask: Ask, said: dict[str, str]) -> Ask:
    """With what the options say where a line says nothing."""
    return lambda question, line, tags: ask(question, {**said, **line}, tags)


def _check_model(options: Options, settings: Settings, rows: Iterable[Row], like: Like | None) -> None:
    unanswered = sum(row.answer is None for row in rows)
    if not unanswered or options.dry_run:
        return
    if options.batch is not None and not options.model:
        raise click.UsageError("--batch needs --model, the id of a model on Bedrock, for questions without an answer")
    if options.upstream is None and options.batch is None and like is None and settings.generator.kind == "none":
        raise click.UsageError(
            f"{unanswered:,} questions have no answer: say --like with a request's body, or --upstream and --model"
        )


async def _joined(work: Work, read: Read) -> Read:
    """The log's questions, from the cache that has their texts."""
    options, settings = work.options, work.settings
    place = locate(replace(settings, url=options.questions_of) if options.questions_of else settings)
    recorded = await place.recorded()
    if recorded is None:
        raise no_cache(place)
    said = {"tenant": options.tenant} if options.tenant else {}
    joining = Joining(work.ask, work.was, said=said, policy=settings.policy, model_for=work.model_for)
    async with closing(await place.open(*identity_of(RecordedEmbedder(*recorded)))) as store:
        return replace(read, rows=await joining.rows(store, read.asked, read.found, options.tags))


async def _chosen(work: Work, rows: Sequence[Row]) -> Chosen:
    unanswered = sum(row.answer is None for row in rows)
    with progress(unanswered, "comparing", lines=not work.console.as_json) as bar:
        return await chosen(rows, work.embedder, work.settings.policy, top=work.options.top, step=bar.update)


def _tell_chosen(console: Console, picked: Chosen, read: Read) -> None:
    found = read.found
    if read.is_log:
        told = {
            "not stored here": found.unknown,
            "one person's": found.personal,
            "asked in another way than --like or the options say": found.otherwise,
        }
        for why, requests in told.items():
            if requests:
                console.note(f"{requests:,} of {found.requests:,} requests left out: {why}")
        if found.unread:
            console.note(f"{found.unread:,} lines tell of no answered request")
    reached = sum(row.requests for row in picked.rows)
    share = reached / picked.requests if picked.requests else 1.0
    console.note(
        f"{picked.requests:,} requests asked {picked.questions:,} questions;"
        f" {len(picked.rows):,} of them stand for {reached:,} ({share:.0%})"
    )


def _list(console: Console, picked: Chosen) -> None:
    listed = [
        {
            "question": row.request.messages[-1].text,
            "requests": row.requests,
            "wordings": wordings,
            "tenant": row.request.tenant,
        }
        for row, wordings in zip(picked.rows, picked.wordings, strict=True)
    ]
    document = {"dry_run": True, "questions": listed, "requests": picked.requests, "of": picked.questions}
    console.tell(document, "\n".join(f"{one['requests']:>8,}  {one['question']}" for one in listed))


async def _filled(work: Work, rows: Sequence[Row], read: Read) -> None:
    """Store and ask, and tell what came of it."""
    console, options, settings = work.console, work.options, work.settings
    warming = Warming(overwrite=options.overwrite, concurrency=options.concurrency)
    if options.batch is not None:
        await _by_batch(work, warming, rows)
        warming.tell(console)
        return
    limits = Limits(calls=options.max_calls, usd=options.max_usd)
    run = options.run or _run_of(options, read, _model(work))
    deadline = None if options.max_seconds is None else asyncio.get_running_loop().time() + options.max_seconds
    costs = _costs(work, rows, needed=limits.usd is not None)
    async with open_cache(settings=settings, embedder=work.embedder or "none", hooks=[warming.note]) as cache:
        purse = Purse(budget=Budget(cache.store, run, limits, time.time), costs=costs, embedder=work.embedder)
        with progress(len(rows), "warming", lines=not console.as_json) as bar:
            await fill(cache, warming, rows, _hosted(work, rows), purse, deadline=deadline, step=bar.update)
    if limits == Limits() and deadline is None and options.top is None:
        warming.tell(console)
        return
    spent = purse.budget.spent
    usd = round(spent.usd, 6) if costs.known else None
    console.note(_ended(warming.ended, f"run {run}: {_amount(usd)} for {spent.calls:,} calls so far"))
    more = {"left": warming.left, "ended": warming.ended, "run": run, "calls": spent.calls, "usd": usd}
    warming.tell(console, more)


def _amount(usd: float | None) -> str:
    return "no price is known" if usd is None else f"{usd:,.4f} USD"


def _model(work: Work) -> str:
    """Who answers."""
    if work.like is not None:
        return work.like.model
    return work.options.model or ("" if work.options.upstream else work.settings.generator.model)


def _costs(work: Work, rows: Sequence[Row], *, needed: bool) -> Costs:
    """What calls cost. Raises ``ConfigurationError`` where they are to be limited and no price is known."""
    embedder: object = work.embedder
    return Costs(
        load_prices(work.settings.prices_path),
        work.settings.generator,
        model=_model(work) if any(row.answer is None for row in rows) else "",
        embedder=embedder.priced_as if isinstance(embedder, Metered) else "",
        needed=needed,
    )


def _hosted(work: Work, rows: Sequence[Row]) -> AbstractAsyncContextManager[Answers | None]:
    """The model that answers; nothing where nothing is asked."""
    options = work.options
    if all(row.answer is not None for row in rows):
        return nullcontext(None)
    if work.like is not None and options.upstream is None:
        return work.like.opened(secret_from(options.api_key_env))
    return open_generator(work.settings, options.upstream, _model(work), options.api_key_env)


def _run_of(options: Options, read: Read, model: str) -> str:
    """A run's name: the same whenever the same is asked of the same model."""
    parts = (options.place, read.digest, options.like, model, options.tenant, options.top, options.overwrite)
    return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()[:16]


def _ended(ended: Ended, told: str) -> str:
    match ended:
        case "budget":
            return f"{told}; the budget is spent: raise --max-calls or --max-usd, or name another --run"
        case "time":
            return f"{told}; the time is up: the same command again goes on"
        case "done":
            return told


async def _by_batch(work: Work, warming: Warming, rows: Sequence[Row]) -> None:
    from yamabiko.cli.warm_batch import Batch, warm_by_batch

    options = work.options
    batch = Batch(
        where=options.batch or "",
        role=options.batch_role,
        folder=options.batch_folder,
        poll_seconds=options.poll,
        model=options.model or "",
    )
    seen = 0
    with progress(2 * len(rows), "waiting for Bedrock", lines=not work.console.as_json) as bar:

        def told(done: int, _total: int) -> None:
            nonlocal seen
            bar.update(done - seen)
            seen = done

        await warm_by_batch(work.settings, batch, warming, rows, told)
