"""``yamabiko settings`` and ``yamabiko completion``: what holds here, and help for the shell."""

from __future__ import annotations

import click

from yamabiko.cli.terminal import Console, pass_console


@click.command()
@click.option("--markdown", is_flag=True, help="The table of every setting, for documentation.")
@pass_console
def settings(console: Console, markdown: bool) -> None:
    """Show each setting, its value, and where that came from; secrets are masked."""
    from yamabiko.cli.shown import table
    from yamabiko.settings import explain, known_settings, settings_table
    from yamabiko.units import in_words

    if markdown:
        click.echo(settings_table(), nl=False)
        return
    lines = explain(console.settings())
    units = {name: setting.unit for name, setting in known_settings().items()}
    document = {name: {"value": value, "source": source} for name, (value, source) in lines.items()}
    width = max(len(in_words(value, units[name])) for name, (value, _) in lines.items())
    rows = [(name, f"{in_words(value, units[name]):<{width}}  {source}") for name, (value, source) in lines.items()]
    console.tell(document, table(rows))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete the commands and options of yamabiko.

    For bash: eval "$(yamabiko completion bash)"
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    program = context.find_root().command
    click.echo(complete(program, {}, "yamabiko", "_YAMABIKO_COMPLETE").source())
