"""Secrets of AWS Secrets Manager as settings: ``python -m yamabiko.aws.secrets COMMAND ...`` reads them, then runs it.

ECS puts secrets into the environment of a container. Lambda does not, so this goes in front of what Lambda starts: as
the entry point of an image, or as the wrapper of a zip (``AWS_LAMBDA_EXEC_WRAPPER``). Two variables, each a JSON object
of names and ARNs, say what is read:

* ``SECRETS``: the secret becomes the variable of that name;
* ``SECRET_FILES``: it becomes a file of this user's, and the variable that file's path.

Source: AWS Lambda developer guide, "Modifying the runtime environment", wrapper scripts (read 2026-11-24).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import gettempdir

from yamabiko.errors import ConfigurationError

VALUES = "SECRETS"
FILES = "SECRET_FILES"


def unsealed(environ: Mapping[str, str], read: Callable[[str], str], folder: Path) -> dict[str, str]:
    """The environment with its secrets; ``read`` gives the text of an ARN. Files are made in ``folder``.

    Raises ``ConfigurationError``: a variable that says something else, or a secret that can't be had. No message holds
    a secret.
    """
    found = {name: value for name, value in environ.items() if name not in (VALUES, FILES)}
    found |= {name: read(arn) for name, arn in _named(environ, VALUES).items()}
    for name, arn in _named(environ, FILES).items():
        path = folder / name.lower()
        path.touch(mode=0o600)
        path.write_text(read(arn), encoding="utf-8")
        found[name] = str(path)
    return found


def _named(environ: Mapping[str, str], variable: str) -> dict[str, str]:
    try:
        told = json.loads(environ.get(variable) or "{}")
    except ValueError:
        told = None
    if not isinstance(told, dict) or not all(isinstance(arn, str) for arn in told.values()):
        raise ConfigurationError(f"{variable} must be a JSON object of names and ARNs of secrets")
    return told


def from_secrets_manager(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Reads from the region that ``AWS_REGION`` names, with the credentials of botocore's chain.

    Raises ``ConfigurationError`` where a secret has no text, or can't be had.
    """
    from botocore.config import Config  # noqa: PLC0415 - only who has secrets waits for it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    client = get_session().create_client("secretsmanager", region_name=environ.get("AWS_REGION"), config=config)

    def read(arn: str) -> str:
        try:
            text = client.get_secret_value(SecretId=arn).get("SecretString")
        except ClientError as error:
            raise ConfigurationError(f"the secret {arn} can't be read: {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise ConfigurationError(f"the secret {arn} can't be read: {type(error).__name__}") from None
        if not isinstance(text, str) or not text:
            raise ConfigurationError(f"the secret {arn} has no text: give it a value")
        return text

    return read


def main(command: list[str], environ: Mapping[str, str]) -> None:
    """Become ``command``, with the secrets in its environment. Raises ``ConfigurationError``."""
    if not command:
        raise ConfigurationError("python -m yamabiko.aws.secrets COMMAND ...: name the command that is to be run")
    sealed = environ.get(VALUES) or environ.get(FILES)
    found = unsealed(environ, from_secrets_manager(environ), Path(gettempdir())) if sealed else dict(environ)
    os.execvpe(command[0], command, found)  # noqa: S606 - the command is the deployment's own, and no shell is asked


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
