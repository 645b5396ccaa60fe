"""What stands beside a verifier's weights: which files they are, which texts they are for, and how to weigh their word.

A manifest is a JSON object in the folder of its model::

    {
        "name": "...",
        "version": "...",
        "model": "model.onnx",
        "tokenizer": "tokenizer.json",
        "sha256": {"<file>": "..."},
        "languages": ["en"],
        "window": 128,
        "symmetric": false,
        "calibration": {"temperature": 1.0, "offset": 0.0},
        "mix": {"bias": 0.0, "score_logit": 1.0, "verifier_logit": 1.0},
        "mixes": {"<embedder>": {"bias": ..., "rows": [[0.99, 120, 0], ...]}},
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from yamabiko.embedders.script import Script
from yamabiko.embedders.weights import DATA as EMBEDDERS_DATA
from yamabiko.embedders.weights import WeightFile
from yamabiko.errors import ConfigurationError
from yamabiko.ports import Mix

DATA = Path(__file__).parent / "data"
BERT_UNCASED = WeightFile(
    path=EMBEDDERS_DATA / "bert-uncased-vocab.txt.gz",
    sha256="74100ea43c760b082d6dd19a07f78b259c38a2eabfa52ca52df0e4c4c0a018de",
)
"""The vocabulary of the embedder for Latin script, which a manifest names as ``"tokenizer": "bert-uncased"``."""
_LATIN = frozenset({"en", "fr", "de", "es", "pt", "it", "nl", "pl", "tr"})
_HEX = 64


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """How a verifier's log-odds are weighed with the score: see ``ports.Mix``."""

    bias: float
    score_logit: float
    verifier_logit: float
    doubt: float = 0.0
    low: float = 0.05
    high: float = 0.998
    rows: tuple[tuple[float, int, int], ...] = ()

    def mix(self, name: str) -> Mix:
        """As the path takes it, under the name of its verifier."""
        return Mix(
            name=name,
            bias=self.bias,
            score=self.score_logit,
            verifier=self.verifier_logit,
            doubt=self.doubt,
            low=self.low,
            high=self.high,
            rows=self.rows,
        )


class _Calibration(msgspec.Struct, frozen=True):
    temperature: float = 1.0
    offset: float = 0.0


class _Manifest(msgspec.Struct, frozen=True):
    name: str
    version: str
    sha256: str | dict[str, str]
    languages: tuple[str, ...]
    window: int
    model: str = ""
    tokenizer: str = ""
    symmetric: bool = False
    calibration: _Calibration = _Calibration()
    mix: Weights | None = None
    mixes: dict[str, Weights] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A verifier's model, not loaded: its files, its scripts, its window in pieces, and its weights by embedder.

    Its log-odds are ``logit / temperature + offset``. ``symmetric``: both orders of two texts give the same logit.
    """

    name: str
    files: tuple[WeightFile, ...]
    tokenizer: WeightFile
    scripts: frozenset[Script]
    window: int
    symmetric: bool
    temperature: float
    offset: float
    mix: Weights | None = field(default=None, repr=False)
    mixes: Mapping[str, Weights] = field(default_factory=dict, repr=False)

    def mix_for(self, embedder: str) -> Mix | None:
        """How its log-odds are weighed for an embedder's candidates; None where the manifest does not say."""
        weights = self.mixes.get(embedder, self.mix)
        return None if weights is None else weights.mix(self.name)


def read_manifests(folder: Path) -> tuple[Manifest, ...]:
    """All manifests in a folder and the folders in it, by name. Raises ``ConfigurationError``."""
    found = tuple(_manifests(folder))
    if not found:
        raise ConfigurationError(f"there is no verifier in {folder}: it needs a manifest beside its model")
    return found


def _manifests(folder: Path) -> Iterator[Manifest]:
    for path in sorted((*folder.glob("*.json"), *folder.glob("*/*.json"))):
        if path.name.endswith("manifest.json"):
            yield _read(path)


def _read(path: Path) -> Manifest:
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except OSError as error:
        raise ConfigurationError(f"{path.name} can't be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path.name} is not a verifier's manifest: {error}") from None
    hashes = _hashes(path, read)
    by_name = {name: WeightFile(path=path.parent / name, sha256=sha256) for name, sha256 in hashes.items()}
    model = _named(read.model, hashes, ".onnx", path)
    tokenizer = BERT_UNCASED
    if read.tokenizer != "bert-uncased":
        tokenizer = by_name[_named(read.tokenizer, hashes, "", path)]
    first = by_name[model]
    rest = tuple(file for file in by_name.values() if file not in (first, tokenizer))
    if not 8 <= read.window <= 100_000 or not read.calibration.temperature > 0:
        raise ConfigurationError(f"{path.name}: the window must be 8 or more, and the temperature above 0")
    scripts: frozenset[Script] = frozenset(
        "latin" if language in _LATIN else "multilingual" for language in read.languages
    )
    return Manifest(
        name=f"{read.name}-{read.version}@{first.sha256[:8]}",
        files=(first, *rest),
        tokenizer=tokenizer,
        scripts=scripts,
        window=read.window,
        symmetric=read.symmetric,
        temperature=read.calibration.temperature,
        offset=read.calibration.offset,
        mix=read.mix,
        mixes=read.mixes,
    )


def _hashes(path: Path, read: _Manifest) -> Mapping[str, str]:
    hashes = {read.model: read.sha256} if isinstance(read.sha256, str) else dict(read.sha256)
    if not all(len(value) == _HEX and "/" not in name and ".." not in name for name, value in hashes.items()):
        raise ConfigurationError(f"{path.name}: sha256 must give 64 hexadecimal digits for each file beside it")
    return hashes


def _named(name: str, hashes: Mapping[str, str], ending: str, path: Path) -> str:
    """The file that the manifest names, or the only one of its kind that it has a SHA-256 for."""
    fitting: Sequence[str] = [name] if name else [other for other in hashes if _is_kind(other, ending)]
    if len(fitting) != 1 or fitting[0] not in hashes:
        what = "model" if ending else "tokenizer"
        raise ConfigurationError(f"{path.name}: {what} must name a file that sha256 has an entry for")
    return fitting[0]


def _is_kind(name: str, ending: str) -> bool:
    return name.endswith(".onnx") if ending else name.startswith(("tokenizer", "vocab")) or "vocab" in name
