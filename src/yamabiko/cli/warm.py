"""``yamabiko warm``: fill a cache before anybody asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from yamabiko.cli.options import scope_options, upstream_options
from yamabiko.cli.terminal import Console, pass_console


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; ``place`` is what is read. Raises ``UsageError`` for what does not go together."""

    place: str
    format_: Literal["jsonl", "csv", "text", "access-log"] | None
    top: int | None
    dry_run: bool
    questions_of: str | None
    like: str | None
    was: str | None
    endpoint: Literal["chat", "messages"]
    concurrency: int
    max_calls: int | None
    max_usd: float | None
    max_seconds: float | None
    run: str | None
    overwrite: bool
    tags: tuple[str, ...]
    permissions: tuple[str, ...]
    batch: str | None
    batch_role: str
    batch_folder: Path | None
    poll: float
    upstream: str | None
    model: str | None
    api_key_env: str | None
    tenant: str
    user: str
    system: str = field(repr=False)
    knowledge: str

    def __post_init__(self) -> None:
        if self.upstream is not None and not self.model and self.like is None:
            raise click.UsageError("--upstream needs --model")
        if self.was is not None and self.like is None:
            raise click.UsageError("--was needs --like, which says how the questions are asked now")
        if self.like is not None and (self.system or self.knowledge or self.model):
            raise click.UsageError("with --like, the request says it: leave out --system, --knowledge and --model")
        if self.batch is not None and (self.like or self.max_calls is not None or self.max_usd is not None):
            raise click.UsageError("--batch goes with --top, and not with --like, --max-calls or --max-usd")


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option(
    "--from",
    "from_",
    metavar="PLACE",
    help="FILE by another name; also s3://BUCKET/KEY, or s3://BUCKET/PREFIX/ for all that is below.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", "text", "access-log"]),
    help="What FILE is; else its name tells (.jsonl, .csv, .txt, .log).",
)
@click.option("--top", type=click.IntRange(1), metavar="N", help="Have the N most asked questions answered only.")
@click.option("--dry-run", is_flag=True, help="Say which questions these are; ask and store nothing.")
@click.option("--questions-of", metavar="URL", help="For an access log: the cache with the texts, if not this one.")
@click.option(
    "--like", metavar="JSON", help="A request's body as the gateway gets it, or its PLACE: ask as in this one."
)
@click.option("--was", metavar="JSON", help="For an access log: the same as it was then, where it has changed.")
@click.option(
    "--endpoint",
    type=click.Choice(["chat", "messages"]),
    default="chat",
    show_default=True,
    help="Whose body --like is: Chat Completions' or Messages'.",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Model calls at a time.")
@click.option("--max-calls", type=click.IntRange(0), metavar="N", help="At most so many calls of the model in a run.")
@click.option("--max-usd", type=click.FloatRange(0), metavar="USD", help="At most so much for a run.")
@click.option("--max-seconds", type=click.FloatRange(0), metavar="N", help="Begin no call after so long.")
@click.option("--run", metavar="NAME", help="Whose budget counts; without it, a name made of what is asked.")
@click.option("--replace", "overwrite", is_flag=True, help="Store an answer even where the question has one.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Tag of all answers; may be given again.")
@click.option(
    "--permission",
    "permissions",
    metavar="LABEL",
    multiple=True,
    help="Label that the callers hold; may be given again.",
)
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
def warm(console: Console, /, *, file: str | None, from_: str | None, **given: Any) -> None:
    """Store the answers in FILE, or have a model answer the questions in it.

    JSON lines and CSV have question and answer, and may have tenant, user, model, system, knowledge, tags and requests
    (how often it is asked); the options hold where they don't. Plain text is one question a line. An access log of the
    gateway has no texts: they are looked up in the cache. Questions without an answer need a model: --upstream and
    --model, the gateway's own with --like, that of the settings, or --batch and --model, which takes hours. What is
    stored already is skipped, so that a run that was interrupted can simply be repeated; its budget goes on where it
    was, and with --batch it finds the jobs that it began.
    """
    if (file is None) == (from_ is None):
        raise click.UsageError("name what to read once: FILE, or --from")
    options = Options(place=file or from_ or "", **given)
    from yamabiko.cli.warming import warmed

    asyncio.run(warmed(console, options))
