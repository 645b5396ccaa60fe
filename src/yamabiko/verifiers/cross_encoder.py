"""Step 7 of 9, the default: a small model on this device that reads both questions at once.

``docs/verifier.md`` says what it costs and gains. The script of a text decides which model reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from yamabiko.core.mixing import checked
from yamabiko.core.normalise import normalise
from yamabiko.embedders.script import Script, script_of
from yamabiko.embedders.weights import require
from yamabiko.errors import ConfigurationError, VerifierError
from yamabiko.ports import Embedder, Mix
from yamabiko.types import Candidate, Request
from yamabiko.verifiers.manifest import DATA, Manifest, read_manifests
from yamabiko.verifiers.pairs import PairModel

T = TypeVar("T")

SURE = 2.2
"""Log-odds (nine to one) from which ``same`` says yes."""
_TEXTS: Mapping[Script, str] = {"latin": "a", "multilingual": "あ"}
"""One text of each script that a verifier may be for: which model embeds it names the candidates' embedder."""


class CrossEncoder:
    """A ``Verifier`` and ``Graded``; needs ``pip install 'yamabiko[local]'``.

    ``embedder``: whose candidates it will be asked about. ``path``: a folder of your own models with their manifests
    (``verifiers.manifest``); None: those that come with the package. ``threads``: of one run. ``timeout_seconds``:
    after that it has said no, which includes waiting for its turn. Weights are verified and read at the first question,
    or by ``load``; what doesn't fit into a model's window gets no word from it.

    Raises ``ConfigurationError``, and ``MissingExtra`` where a package is absent.
    """

    def __init__(
        self, embedder: Embedder, *, path: str | Path | None = None, threads: int = 1, timeout_seconds: float = 1.0
    ) -> None:
        if not 1 <= threads <= 64:
            raise ConfigurationError(f"threads must be in 1..64, not {threads}")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        require("onnxruntime", "tokenizers")
        self._timeout = timeout_seconds
        self._threads = threads
        self._manifests = _by_script(read_manifests(DATA if path is None else Path(path)))
        self._mixes = _mixes(self._manifests, embedder)
        self._closed = False
        self._start()

    def _start(self) -> None:
        """Models and thread; again after a fork, which threads do not survive."""
        self._pid = os.getpid()
        made = {manifest.name: PairModel(manifest, threads=self._threads) for manifest in self._manifests.values()}
        self._models = {script: made[manifest.name] for script, manifest in self._manifests.items()}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="yamabiko-verify")

    @property
    def is_measured(self) -> bool:
        """Whether public data say from which final score on to serve, for any embedder that it was made for."""
        return any(mix.rows for mix in self._mixes.values())

    def mix_for(self, embedder: str, /) -> Mix | None:
        """See ``Graded.mix_for``; None for an embedder that was not given."""
        return self._mixes.get(embedder)

    async def log_odds(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[float | None]:
        """See ``Graded.log_odds``."""
        text = normalise(request).text
        script = script_of(text)
        model = self._models.get(script)
        others = [candidate.question.text for candidate in candidates]
        same_script = [other for other in others if script_of(other) == script]
        if model is None or not text or not same_script:
            return [None] * len(others)
        found = iter(await self._in_thread(lambda: model.log_odds(text, same_script), self._timeout))
        return [next(found) if script_of(other) == script else None for other in others]

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """See ``Verifier.same``: yes from nine to one on."""
        return [odds is not None and odds >= SURE for odds in await self.log_odds(request, candidates)]

    async def load(self) -> None:
        """Read all weights now instead of at the first question. Raises ``VerifierError``."""
        for model in dict.fromkeys(self._models.values()):
            await self._in_thread(model.load, None)

    async def _in_thread(self, work: Callable[[], T], seconds: float | None) -> T:
        if self._closed:
            raise VerifierError("this verifier is closed; open a new one")
        if self._pid != os.getpid():
            self._start()
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError:
            raise VerifierError(f"it took more than {seconds} s") from None

    async def close(self) -> None:
        """Let the thread end. May be called twice; what is asked afterwards raises ``VerifierError``."""
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


def is_shipped() -> bool:
    """Whether the package holds weights of a verifier."""
    return any(DATA.glob("**/*.onnx"))


def _by_script(manifests: Sequence[Manifest]) -> Mapping[Script, Manifest]:
    found: dict[Script, Manifest] = {}
    for manifest in manifests:
        for script in manifest.scripts:
            if script in found:
                raise ConfigurationError(f"two verifiers are for {script} texts: {found[script].name}, {manifest.name}")
            found[script] = manifest
    return found


def _mixes(manifests: Mapping[Script, Manifest], embedder: Embedder) -> Mapping[str, Mix]:
    """The mix of each embedder whose candidates all meet the same verifier: else their scores could not be compared."""
    readers: dict[str, set[str]] = {}
    for script, text in _TEXTS.items():
        reader = manifests.get(script)
        readers.setdefault(embedder.model_for(text), set()).add("" if reader is None else reader.name)
    by_name = {manifest.name: manifest for manifest in manifests.values()}
    mixes: dict[str, Mix] = {}
    for model, names in readers.items():
        (name, *more) = names
        mix = None if more or not name else by_name[name].mix_for(model)
        if mix is not None:
            mixes[model] = checked(mix)
    return mixes
