"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def upstream_options(command: F) -> F:
    """--upstream, --model and --api-key-env: the model that answers when the cache can't."""
    for option in (
        click.option(
            "--api-key-env",
            metavar="VAR",
            help="Environment variable that holds the model's API key.",
        ),
        click.option("--model", metavar="NAME", help="The model's name; part of what two requests must share."),
        click.option(
            "--upstream", metavar="URL", help="An OpenAI-compatible server, such as http://localhost:11434/v1."
        ),
    ):
        command = option(command)
    return command


def scope_options(command: F) -> F:
    """--tenant, --user, --system and --knowledge: with --model, what two requests must share."""
    for option in (
        click.option("--knowledge", metavar="VERSION", default="", help="Version of the documents behind the answer."),
        click.option("--system", metavar="TEXT", default="", help="System prompt."),
        click.option("--user", metavar="NAME", default="", help="For a personal request: the person."),
        click.option("--tenant", metavar="NAME", default="", help="The cache's partition."),
    ):
        command = option(command)
    return command


def embedder_option(command: F) -> F:
    """--embedder: another kind of embedder than the settings have."""
    option = click.option(
        "--embedder",
        "embedder_kind",
        type=click.Choice(["local", "directory", "http", "titan", "cohere"]),
        help="The kind of embedder, instead of the one of the settings.",
    )
    return option(command)


def question_of(argument: str) -> str:
    """The question that an argument gives; ``-`` stands for standard input. Raises ``UsageError`` for an empty one."""
    question = sys.stdin.read() if argument == "-" else argument
    if not question.strip():
        raise click.UsageError("the question is empty")
    return question.strip() if argument == "-" else question
