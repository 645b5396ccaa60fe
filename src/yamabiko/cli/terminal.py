"""What all commands share: settings from the environment, answers for people and for machines, exit codes."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from yamabiko.errors import ConfigurationError, InvalidRequest, StoreMismatch, YamabikoError

if TYPE_CHECKING:
    from yamabiko.settings import Settings

NO = 1
"""Exit code: the answer is no."""

WRONG = 2
"""Exit code: wrong usage or configuration."""

UNAVAILABLE = 3
"""Exit code: the store or a model is unavailable or damaged."""

INTERRUPTED = 130
"""Exit code: ended by the user, as shells have it (128 + SIGINT)."""

LINE_SECONDS = 10.0
"""How often a log is told how far something has come."""


class Wrong(click.ClickException):
    """One clear line on standard error: the caller has to change something."""

    exit_code = WRONG


class Unavailable(click.ClickException):
    """One clear line on standard error: something does not work."""

    exit_code = UNAVAILABLE


class Program(click.Group):
    """A group whose commands may raise ``YamabikoError`` or be interrupted: a line and an exit code, no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (YamabikoError, ExceptionGroup) as error:
            told = _told(error)
            if told is None:
                raise
            raise told from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _told(error: Exception) -> click.ClickException | None:
    """What the user is told of an error, or of the first of several; None where it is none of ours."""
    first = error
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, YamabikoError):
        changeable = isinstance(first, ConfigurationError | InvalidRequest | StoreMismatch)
        return (Wrong if changeable else Unavailable)(str(first))
    return first if isinstance(first, click.ClickException) else None


class Progress(Protocol):
    """A progress bar, or nothing that looks like one."""

    def update(self, n_steps: int, /) -> None:
        """So many more steps are done."""


class _Unseen:
    def update(self, n_steps: int, /) -> None:
        """Nobody looks."""


class Lines:
    """Progress for a log: a line every ``LINE_SECONDS``, and none for what takes less. ``clock`` only rises."""

    def __init__(self, length: int, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._length = length
        self._label = label
        self._clock = clock
        self._done = 0
        self._told = clock()

    def update(self, n_steps: int, /) -> None:
        """So many more steps are done."""
        self._done += n_steps
        now = self._clock()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            click.echo(f"{self._label}: {self._done:,} of {self._length:,}", err=True)


@contextmanager
def progress(length: int, label: str, *, lines: bool = False) -> Iterator[Progress]:
    """A progress bar on standard error where that is a terminal; elsewhere ``lines`` now and then, or nothing."""
    if not sys.stderr.isatty():
        yield Lines(length, label) if lines else _Unseen()
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The global options, and what follows from them."""

    url: str | None
    settings_path: str | None
    as_json: bool

    def settings(self, arguments: Mapping[str, object] | None = None) -> Settings:
        """Settings from all sources; read when a command needs them, so that ``--help`` always answers.

        ``arguments``: those of the command, by dotted name. Raises ``ConfigurationError``.
        """
        from yamabiko.settings import FILE_VARIABLE, Settings

        path = self.settings_path or os.environ.get(FILE_VARIABLE, "")
        toml = ""
        if path:
            try:
                toml = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise ConfigurationError(f"the settings file {path} can't be read: {why}") from None
        given = {} if self.url is None else {"url": self.url}
        return Settings.load(arguments={**given, **(arguments or {})}, environ=os.environ, toml=toml)

    def tell(self, document: Mapping[str, object], text: str) -> None:
        """The result on standard output: the document for machines, the text for people."""
        if self.as_json:
            click.echo(json.dumps(_plain(document), ensure_ascii=False, allow_nan=False))
        elif text:
            click.echo(text)

    def say(self, text: str) -> None:
        """Something for people on standard output."""
        if not self.as_json:
            click.echo(text)

    def note(self, text: str) -> None:
        """A remark for people on standard error."""
        if not self.as_json:
            click.echo(text, err=True)


pass_console = click.make_pass_decorator(Console)


def _plain(value: object) -> object:
    """The value as JSON can say it: what is not a finite number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def secret_from(variable: str | None) -> str | None:
    """The secret that an environment variable holds. Raises ``ConfigurationError`` where there is none."""
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigurationError(f"the environment variable {variable} is empty or not set: put the API key there")
    return value
