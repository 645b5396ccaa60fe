"""The program: its global options, its exit codes and the list of its commands."""

from __future__ import annotations

import click

from yamabiko.cli.archive_commands import export_command, import_command
from yamabiko.cli.ask import ask, get
from yamabiko.cli.calibrate import calibrate
from yamabiko.cli.costs import costs
from yamabiko.cli.demo import demo, demo_half
from yamabiko.cli.experiment import experiment
from yamabiko.cli.explain import explain
from yamabiko.cli.key import key
from yamabiko.cli.migrate import migrate
from yamabiko.cli.near_misses import near_misses
from yamabiko.cli.plan import plan
from yamabiko.cli.reindex import reindex
from yamabiko.cli.serve import serve
from yamabiko.cli.shadow import shadow
from yamabiko.cli.shell import completion, settings
from yamabiko.cli.sign import sign
from yamabiko.cli.terminal import Console, Program
from yamabiko.cli.train_verifier import train_verifier
from yamabiko.cli.tune import tune
from yamabiko.cli.upkeep import check, purge, stats
from yamabiko.cli.warm import warm
from yamabiko.version import __version__


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--url", metavar="URL", help="The cache: sqlite:///FILE, memorydb://HOST. Overrides every other setting of it."
)
@click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Settings file (TOML); without it, the one that YAMABIKO_SETTINGS_FILE names.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on standard output.")
@click.version_option(__version__, prog_name="yamabiko")
@click.pass_context
def main(context: click.Context, url: str | None, settings_path: str | None, as_json: bool) -> None:
    """A durable semantic cache for LLM and RAG workloads.

    Exit codes: 0 done; 1 the answer is no (a miss, problems found, lines refused); 2 wrong usage or configuration;
    3 the store or a model is unavailable or damaged; 130 interrupted.
    """
    context.obj = Console(url=url, settings_path=settings_path, as_json=as_json)


for command in (
    serve,
    demo,
    ask,
    get,
    stats,
    purge,
    check,
    export_command,
    import_command,
    migrate,
    reindex,
    sign,
    warm,
    explain,
    tune,
    calibrate,
    train_verifier,
    shadow,
    near_misses,
    experiment,
    plan,
    costs,
    key,
    settings,
    completion,
):
    main.add_command(command)
main.add_command(demo_half)
