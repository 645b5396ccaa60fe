"""``yamabiko ask`` and ``yamabiko get``: one question, and why it was answered as it was."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from yamabiko.cli.options import question_of, scope_options, upstream_options
from yamabiko.cli.terminal import NO, UNAVAILABLE, Console, pass_console

if TYPE_CHECKING:
    from yamabiko.settings import Settings
    from yamabiko.types import Hit, Miss, Request


@click.command()
@click.argument("question")
@scope_options
@upstream_options
@pass_console
def ask(
    console: Console,
    /,
    *,
    question: str,
    tenant: str,
    user: str,
    system: str,
    knowledge: str,
    upstream: str | None,
    model: str | None,
    api_key_env: str | None,
) -> None:
    """Answer QUESTION from the cache; else by the model of --upstream or of the settings, and remember it.

    The answer goes to standard output, how it came about to standard error. Without a model (--upstream, or generator.
    in the settings) a question that the cache can't answer ends with exit code 1. QUESTION may be - to read it from
    standard input.
    """
    from yamabiko.build import version_of
    from yamabiko.cli.opening import existing
    from yamabiko.types import Request

    if upstream is not None and not model:
        raise click.UsageError("--upstream needs --model")
    asked = question_of(question)
    settings = console.settings()
    if upstream is None and settings.generator.kind == "none":
        settings = existing(console)[0]
    request = Request(
        asked,
        model=model or ("" if upstream else settings.generator.model),
        tenant=tenant,
        user=user,
        system=system,
        knowledge=knowledge if upstream else version_of(settings, knowledge),
    )
    asyncio.run(_ask(console, settings, request, upstream, api_key_env))


async def _ask(
    console: Console, settings: Settings, request: Request, upstream: str | None, api_key_env: str | None
) -> None:
    from yamabiko.build import open_cache
    from yamabiko.cli.shown import outcome_document, outcome_lines
    from yamabiko.cli.upstream import open_generator
    from yamabiko.types import Hit

    async with open_cache(settings=settings) as cache:
        outcome = await cache.lookup(request)
        document = outcome_document(outcome)
        console.note("\n".join(outcome_lines(outcome)))
        if isinstance(outcome, Hit):
            console.tell(document | {"answer": outcome.reply.text}, outcome.reply.text)
            return
        async with open_generator(settings, upstream, request.model, api_key_env) as model:
            if model is None:
                console.tell(document | {"answer": None}, "")
                raise _unanswered(outcome)
            reply = await model(request)
            stored = await cache.remember(outcome, reply) is not None
            console.note(f"answered by {reply.model or request.model}, {'stored' if stored else 'not stored'}")
            console.tell(document | {"answer": reply.text, "stored": stored}, reply.text)


def _unanswered(miss: Miss) -> click.exceptions.Exit:
    return click.exceptions.Exit(UNAVAILABLE if miss.reason.value == "store_unavailable" else NO)


@click.command()
@click.argument("question", required=False)
@click.option("--id", "id_", metavar="ID", help="The entry with this id, instead of a question.")
@click.option("--model", metavar="NAME", default="", help="The model's name; part of what two requests must share.")
@scope_options
@pass_console
def get(
    console: Console,
    /,
    *,
    question: str | None,
    id_: str | None,
    model: str,
    tenant: str,
    user: str,
    system: str,
    knowledge: str,
) -> None:
    """Show the entry that answers QUESTION, and why it does; or the entry with an id.

    A question without an answer, and an id that is not there, end with exit code 1.
    """
    from yamabiko.build import version_of
    from yamabiko.types import Request

    if (question is None) == (id_ is None):
        raise click.UsageError("give a QUESTION or --id, one of them")
    if id_ is not None:
        _get_by_id(console, id_)
        return
    assert question is not None
    known = version_of(console.settings(), knowledge)
    request = Request(question_of(question), model=model, tenant=tenant, user=user, system=system, knowledge=known)
    outcome = _looked_up(console, request)
    _show(console, outcome)


def _get_by_id(console: Console, id_: str) -> None:
    from yamabiko.cli.opening import open_without_embedding
    from yamabiko.cli.shown import entry_document, entry_lines
    from yamabiko.types import Selector

    with open_without_embedding(console) as cache:
        entry = next(iter(cache.entries(Selector(id=id_))), None)
    if entry is None:
        console.note("there is no entry with this id")
        console.tell({"entry": None}, "")
        raise click.exceptions.Exit(NO)
    console.tell({"entry": entry_document(entry)}, "\n".join(entry_lines(entry, time.time())))


def _looked_up(console: Console, request: Request) -> Hit | Miss:
    from yamabiko.build import open_sync_cache
    from yamabiko.cli.opening import existing

    settings, _ = existing(console)
    with open_sync_cache(settings=settings) as cache:
        return cache.lookup(request)


def _show(console: Console, outcome: Hit | Miss) -> None:
    from yamabiko.cli.shown import entry_document, entry_lines, outcome_document, outcome_lines
    from yamabiko.types import Hit

    told = outcome_lines(outcome)
    if isinstance(outcome, Hit):
        document = outcome_document(outcome) | {"entry": entry_document(outcome.entry)}
        console.tell(document, "\n".join([*told, "", *entry_lines(outcome.entry, time.time())]))
        return
    console.tell(outcome_document(outcome) | {"entry": None}, "\n".join(told))
    raise _unanswered(outcome)
