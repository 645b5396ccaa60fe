"""The embedder that a cache was made with, in name only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from yamabiko.errors import EmbeddingError
from yamabiko.types import Vector


class RecordedEmbedder:
    """Stands for the embedder that a cache was made with, where nothing is embedded.

    So that a cache can be looked after, and exported, where that embedder is not at hand.
    """

    def __init__(self, name: str, dim: int) -> None:
        self._name = name
        self._dim = dim

    @property
    def id(self) -> str:
        """As the cache says."""
        return self._name

    @property
    def dim(self) -> int:
        """As the cache says."""
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
        raise EmbeddingError(f"nothing is embedded here; {self._name} is only named in the cache")
