"""``yamabiko key``: keys for the gateway's clients and administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import click

from yamabiko.cli.terminal import Console, pass_console


@click.group()
def key() -> None:
    """Keys of the gateway (`yamabiko serve`)."""


@key.command()
@click.option(
    "--tenant", metavar="NAME", required=True, help='Whose entries it reaches; "*" with --admin: everybody\'s.'
)
@click.option("--user", metavar="NAME", default="", help="Where the key is one person's.")
@click.option(
    "--permission", "permissions", metavar="LABEL", multiple=True, help="Label of documents that it may be told of."
)
@click.option("--admin", is_flag=True, help="For feedback, entries and statistics; such a key asks no model.")
@click.option("--expires", type=click.DateTime(), help="When it ends (UTC); without this, never.")
@pass_console
def new(
    console: Console, /, *, tenant: str, user: str, permissions: tuple[str, ...], admin: bool, expires: datetime | None
) -> None:
    """Make a key: print it once, and the lines for the table that gateway.tenants_path names.

    The table gets a hash; nothing keeps the key itself.
    """
    import secrets

    from yamabiko.errors import ConfigurationError
    from yamabiko.gateway.headers import KEY_PREFIX
    from yamabiko.gateway.keys import lines_for

    made = KEY_PREFIX.decode() + secrets.token_urlsafe(32)
    until = None if expires is None else expires.replace(tzinfo=UTC)
    if until is not None and until <= datetime.now(UTC):
        raise ConfigurationError("--expires must be in the future")
    role: Literal["client", "admin"] = "admin" if admin else "client"
    lines = lines_for(made, tenant=tenant, user=user, role=role, permissions=permissions, expires=until)
    console.note("the key, which is shown this once:")
    console.tell({"key": made, "table": lines}, f"{made}\n\n{lines}")
