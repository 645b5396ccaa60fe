"""Models in threads of their own: the Embedder port over whatever embeds in the calling thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self, TypeVar

from yamabiko.embedders.script import Script, script_of
from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.types import Vector

_T = TypeVar("_T")

NO_MODEL = "none"
"""What ``model_for`` says of a text whose script no model here knows."""

_SLICE_TEXTS = 32
_SLICE_CHARACTERS = 2_000
"""What a thread takes at once: below 0.2 s of work (benchmarks/embedder.py), so that no look-up waits for a warm-up."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextModel(Protocol):
    """One model that embeds in the calling thread."""

    name: str

    def load(self) -> None:
        """Verify and read the weights, once; later calls do nothing. Raises ``EmbeddingError``."""

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """One unit vector per text, or None where the model can't see all of it. Raises ``EmbeddingError``."""


class OnDeviceEmbedder:
    """Sends each text to the model of its script, in one of ``workers`` threads.

    ``make_models`` gives the models by script; one that is absent is a script that is not embedded. It is called again
    after a fork, which threads do not survive.
    """

    def __init__(
        self, make_models: Callable[[], Mapping[Script, TextModel]], *, name: str, dim: int, workers: int
    ) -> None:
        if not 1 <= workers <= 8:
            raise ConfigurationError(f"workers must be in 1..8, not {workers}")
        self._make_models = make_models
        self._name = name
        self._dim = dim
        self._workers = workers
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._models = self._make_models()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="yamabiko-embed")

    @property
    def dim(self) -> int:
        """Number of components of every vector."""
        return self._dim

    @property
    def id(self) -> str:
        """The models, each with the first digits of the SHA-256 of its files."""
        return self._name

    def model_for(self, text: str, /) -> str:
        """The name of the model that embeds this text; ``"none"`` where no model knows its script."""
        model = self._models.get(script_of(text))
        return NO_MODEL if model is None else model.name

    def _restart_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._start()

    async def load(self) -> None:
        """Read all weights now instead of at the first text. Raises ``EmbeddingError`` or ``MissingExtra``."""
        self._restart_after_fork()
        for model in dict.fromkeys(self._models.values()):
            await self._in_thread(model.load)

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One float32 vector of shape (dim,) and L2 norm 1 per text, in order; None where a model can't see all of it.

        What a text gets does not depend on the texts around it, up to the rounding of float32 (1e-6). Raises
        ``EmbeddingError``, for an empty text too.
        """
        self._restart_after_fork()
        found: list[Vector | None] = [None] * len(texts)
        by_script: defaultdict[Script, list[int]] = defaultdict(list)
        for at, text in enumerate(texts):
            if not text.strip():
                raise EmbeddingError("an empty text has no meaning that could be compared; leave it out")
            if not _SURROGATE.search(text):
                by_script[script_of(text)].append(at)
        for script, places in by_script.items():
            model = self._models.get(script)
            if model is None:
                continue
            for part in _slices(places, texts):
                vectors = await self._in_thread(model.embed, [texts[at] for at in part])
                for at, vector in zip(part, vectors, strict=True):
                    found[at] = vector
        return found

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        if self._closed:
            raise EmbeddingError("this embedder is closed; open a new one")
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def close(self) -> None:
        """Let the threads end. May be called twice; what is asked afterwards raises ``EmbeddingError``."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(RuntimeError):  # the interpreter ends: no thread to wait in, and it waits by itself
            await asyncio.to_thread(self._pool.shutdown, wait=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _slices(places: list[int], texts: Sequence[str]) -> Iterator[list[int]]:
    """Texts of similar length together, so that little is padding."""
    part: list[int] = []
    characters = 0
    for at in sorted(places, key=lambda at: len(texts[at])):
        if part and (len(part) == _SLICE_TEXTS or characters + len(texts[at]) > _SLICE_CHARACTERS):
            yield part
            part, characters = [], 0
        part.append(at)
        characters += len(texts[at])
    if part:
        yield part
