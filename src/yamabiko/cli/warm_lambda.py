"""``yamabiko warm`` as an AWS Lambda function, for a deployment to invoke: ``yamabiko.cli.warm_lambda.handler``.

Its environment is the gateway's (docs/settings.md), its event ``{"arguments": ["--from", "s3://...", ...]}``: what is
said behind ``yamabiko warm``. docs/warm-up.md has the rights that it needs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, Protocol

import click

from yamabiko.cli.program import main
from yamabiko.errors import ConfigurationError

SPARE_SECONDS = 30.0
"""So long before its time is up a function begins no more calls: those under way have to end, and be stored."""


class Context(Protocol):
    """What Lambda hands over with an event."""

    def get_remaining_time_in_millis(self) -> int:
        """Until the function is killed."""


def handler(event: Mapping[str, Any], context: Context | None = None) -> dict[str, Any]:
    """What ``yamabiko --json warm`` prints. Raises ``ConfigurationError``, and what the command says of its failure."""
    given = event.get("arguments")
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ConfigurationError('the event must be {"arguments": [...]}: what stands behind `yamabiko warm`')
    arguments = given[1:] if given[:1] == ["warm"] else given
    if context is not None and "--max-seconds" not in arguments:
        seconds = max(0.0, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS)
        arguments = ["--max-seconds", f"{seconds:.1f}", *arguments]
    with redirect_stdout(io.StringIO()) as told:
        main.main(["--json", "warm", *arguments], prog_name="yamabiko", standalone_mode=False)
    click.echo(told.getvalue().strip())  # for the log
    document: dict[str, Any] = json.loads(told.getvalue())
    return document
