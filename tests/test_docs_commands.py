"""Every command line in the documentation is one that exists: ours by its own parser, AWS's by botocore's models."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import botocore.session
import click
import pytest

from yamabiko.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "README.ja.md"]
SHELL = re.compile(r"^ *```(?:sh|bash|console|shell)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(yamabiko [^`]+)`")
ENDS = {"|", "||", "&&", ";", "&"}
_NOT_OPTIONS = {"--profile", "--region", "--output", "--query", "--cli-input-json"}


def lines_of(page):
    """The lines of shell blocks, continued ones as one, without comments."""
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        yield from block.replace("\\\n", " ").splitlines()


def commands_of(page, program):
    """The words behind a program's name, wherever it stands in a line of shell."""
    for line in lines_of(page):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        for at, word in enumerate(words):
            before = words[:at]
            begins = all("=" in one or one in ENDS or one == "exec" for one in before[-1:])
            if word == program and begins:
                rest = words[at + 1 :]
                stop = next((n for n, one in enumerate(rest) if one in ENDS or one[0] in "<>"), len(rest))
                yield rest[:stop]


def parse(arguments):
    """Parse a command line as the program does, and run nothing. A file that is not here may be missing."""
    context = main.make_context("yamabiko", list(arguments), resilient_parsing=False)
    group, rest = main, [*context._protected_args, *context.args]
    while isinstance(group, click.Group):
        name, command, rest = group.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        group, rest = command, [*getattr(context, "_protected_args", []), *context.args]
    return context.command_path


def wrong(arguments):
    try:
        parse(arguments)
    except click.exceptions.Exit:  # --help and --version
        return ""
    except click.ClickException as error:
        told = error.format_message()
        return "" if "does not exist" in told else told
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_of_ours_can_be_parsed(page):
    told = {" ".join(arguments): wrong(arguments) for arguments in commands_of(page, "yamabiko")}
    assert {line: why for line, why in told.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_sentence_names_exist_with_their_options(page):
    known = main.commands
    missing = []
    for words in map(str.split, INLINE.findall(page.read_text(encoding="utf-8"))):
        named = [word for word in words[1:] if not word.startswith("-") and re.fullmatch(r"[a-z][a-z-]+", word)]
        if not named:
            continue
        command = known.get(named[0])
        if isinstance(command, click.Group) and len(named) > 1:
            command = command.commands.get(named[1])
        options = {one for one in words if re.fullmatch(r"--[a-z-]+", one)}
        if command is None or isinstance(command, click.Group):
            missing += [" ".join(words)] * (command is None)
        else:
            has = {name for one in [*command.params, *main.params] for name in [*one.opts, *one.secondary_opts]}
            missing += [f"{' '.join(words)}: {option}" for option in options - has - {"--help"}]
    assert missing == []


@pytest.mark.parametrize(("name", "at_least"), [("aws.md", 6), ("aws.ja.md", 6), ("warm-up.md", 1)])
def test_every_line_for_aws_names_an_operation_and_its_members(name, at_least):
    page = ROOT / "docs" / name
    session = botocore.session.get_session()
    seen = 0
    for service, operation, *rest in commands_of(page, "aws"):
        model = session.get_service_model(service)
        names = {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower(): name for name in model.operation_names}
        assert operation in names, f"{service} {operation}"
        members = model.operation_model(names[operation]).input_shape.members
        flags = {f"--{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '-', member).lower()}" for member in members}
        given = {word for word in rest if word.startswith("--")} - _NOT_OPTIONS
        assert given <= flags, f"{service} {operation}: {sorted(given - flags)}"
        seen += 1
    assert seen >= at_least


def test_every_path_that_the_guides_name_is_there():
    for name in ("aws.md", "aws.ja.md", "warm-up.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        paths = set(re.findall(r"(?<![\w/.-])((?:deploy|benchmarks|src|tests)/[\w./-]*\w)", text))
        assert paths
        assert {path for path in paths if "/build/" not in path and not (ROOT / path).exists()} == set()


def test_both_languages_of_the_guide_have_the_same_commands():
    english, japanese = (list(lines_of(ROOT / "docs" / f"aws{ending}")) for ending in (".md", ".ja.md"))
    assert english == japanese


def test_a_wrong_line_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nA=b yamabiko --url x warm q.txt --tpo 5  # what\nyamabiko wram\nyamabiko check | less\n```\n"
    )
    assert list(commands_of(page, "yamabiko")) == [
        ["--url", "x", "warm", "q.txt", "--tpo", "5"],
        ["wram"],
        ["check"],
    ]
    assert "--tpo" in wrong(["warm", "q.txt", "--tpo", "5"])
    assert "wram" in wrong(["wram"])
    assert wrong(["check"]) == wrong(["calibrate", "nowhere.jsonl"]) == wrong(["--version"]) == ""
