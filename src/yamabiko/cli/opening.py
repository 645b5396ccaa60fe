"""Opening the cache that a command is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from yamabiko.build import NO_DIM, make_embedder, open_sync_cache
from yamabiko.cli.terminal import Console
from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.settings import Settings
from yamabiko.sync import SyncCache
from yamabiko.types import Vector


class RecordedEmbedder:
    """Stands for the embedder that a file was made with, in commands that embed nothing.

    So that a file can be looked after, and exported, where that embedder is not at hand.
    """

    def __init__(self, name: str, dim: int) -> None:
        self._name = name
        self._dim = dim

    @property
    def id(self) -> str:
        """As the file says."""
        return self._name

    @property
    def dim(self) -> int:
        """As the file says."""
        return self._dim

    def model_for(self, _: str, /) -> str:
        """Not known."""
        self._refuse()

    async def embed(self, _: Sequence[str], /) -> Sequence[Vector | None]:
        """Not possible."""
        self._refuse()

    async def close(self) -> None:
        """Nothing to let go of."""

    def _refuse(self) -> NoReturn:
        raise EmbeddingError(f"this command does not embed; {self._name} is only named in the file")


def sqlite_path(url: str) -> Path | None:
    """The file of a ``sqlite://`` URL; None for other stores."""
    parts = urlsplit(url)
    return Path(unquote(parts.netloc + parts.path).removeprefix("/")) if parts.scheme == "sqlite" else None


def existing(console: Console) -> Settings:
    """The settings, for a command that reads: it makes no new file by mistake. Raises ``ConfigurationError``."""
    settings = console.settings()
    path = sqlite_path(settings.url)
    if path is not None and not path.exists():
        raise ConfigurationError(f"there is no cache at {path}: name it with --url sqlite:///FILE or with YAMABIKO_URL")
    return settings


def recorded(settings: Settings) -> RecordedEmbedder | None:
    """The embedder that the file names; None where there is no file, or where it names none: opening will say why."""
    path = sqlite_path(settings.url)
    if path is None or not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        return RecordedEmbedder(meta["embedder"], int(meta["dim"]))
    except (sqlite3.Error, KeyError, ValueError):
        return None


def identity_of(settings: Settings) -> RecordedEmbedder:
    """Name and dimension of the embedder that the cache was, or would be, made with.

    Raises ``ConfigurationError``, and ``MissingExtra`` where a new cache's embedder is not installed.
    """
    found = recorded(settings)
    if found is not None:
        return found
    embedder = make_embedder(settings.embedder)
    return RecordedEmbedder(NO_EMBEDDER, NO_DIM) if embedder is None else RecordedEmbedder(embedder.id, embedder.dim)


def open_without_embedding(console: Console) -> SyncCache:
    """The cache, for a command that neither asks nor stores by meaning. Raises ``YamabikoError`` when used."""
    settings = existing(console)
    return open_sync_cache(settings=settings, embedder=identity_of(settings))
