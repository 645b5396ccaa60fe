"""Labelled pairs of questions for the benchmarks, one split for all of them, and vectors that are made once.

A pair is two texts and whether the cached answer of ``a`` may be served for ``b``. Sets come from a directory of
JSON lines (``--data``), our own trap tables from tests/traps. Nothing runs here; other benchmarks import it.

The split. Each set is cut into ``dev`` (may be fitted on) and ``test`` (is measured only) by connected components:
texts that stand in one pair, equal texts being one, always end on the same side, which is drawn by a SHA-256 of the
component's least text. A component with more than ``LARGEST_SHARE`` of a set's pairs is no unit any more: its texts are
drawn one by one, and its pairs across the line are left out. Trap tables bring their own split, by time of writing.

Who may do what with ``dev``: sets in ``TRAINABLE`` may be trained on. ``HELD_OUT`` are never trained on, their dev half
may be calibrated on. ``EVALUATION_ONLY`` may not ship in any form, so neither weights nor thresholds come from them.
"""

import gzip
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yamabiko.embedders.local import MINILM, USE_M3, minilm, use_m3
from yamabiko.embedders.ondevice import TextModel
from yamabiko.embedders.script import script_of

ROOT = Path(__file__).parents[1]
TRAPS = ROOT / "tests/traps"
CACHE = Path.home() / ".cache/yamabiko-bench"

ENGLISH = (
    "advising",
    "bitextcs",
    "disflqa",
    "spidersyn",
    "tatoeba_en",
    "pawsx_en",
    "condaqa_edits",
    "dblpquad",
    "rqe",
    "gptcache_mock",
    "snli",
    "breakingnli",
    "negation",
    "scone",
    "med",
    "help",
    "hans",
)
JAPANESE = ("jsquad", "jaquad", "jsts", "jnli_valid", "tatoeba_ja", "pawsx_ja", "jsem", "jsnli", "janli", "jamp")
TRAINABLE = (*ENGLISH, *JAPANESE)
HELD_OUT = ("checklist_qqp", "synthetic_nearmiss", "traps_en", "traps_ja")
EVALUATION_ONLY = ("qqp", "stsb")

LARGEST_SHARE = 0.1
MOST_NEIGHBOURS = 3000

Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Pair:
    """``label`` 1: the answer cached for ``a`` may be served for ``b``. ``kind``: what the set says of its making."""

    dataset: str
    split: Split
    a: str
    b: str
    label: int
    kind: str = ""


def load_pairs(data: Path, names: Iterable[str]) -> list[Pair]:
    """All labelled pairs of the named sets, in the order of their files. See ``ENGLISH`` and the other tuples."""
    return [pair for name in names for pair in _load(data, name)]


def load_neighbours(data: Path, name: str, model: str) -> list[Pair]:
    """Every question of a stream with the most similar other one that has another answer, all with label 0.

    ``name``: clinc150, nqopen, xquad or jsquad_rag. This is what a look-up finds where no right answer is stored.
    Questions of one side of the split only meet their own side. Same intent, or same answer, is no other answer.
    """
    stem = {"clinc150": "clinc150_stream", "nqopen": "nqopen_dev_stream", "xquad": "xquad_en_rag"}
    rows = list(_rows(data, stem.get(name, "jsquad_valid_rag")))
    found: list[Pair] = []
    for side in ("dev", "test"):
        own = [row for row in rows if _side(_same(row["text"])) == side and row.get("intent") != "oos"]
        own = [own[at] for at in np.random.default_rng(0).permutation(len(own))[:MOST_NEIGHBOURS]]
        vectors = embed([row["text"] for row in own], model)
        answers = [str(row.get("intent", row.get("answer"))).casefold() for row in own]
        number = {answer: at for at, answer in enumerate(dict.fromkeys(answers))}
        ids = np.array([number[answer] for answer in answers])
        for start in range(0, len(own), 500):
            cosine = np.nan_to_num(vectors[start : start + 500] @ vectors.T, nan=-1.0)
            cosine[ids[start : start + 500, None] == ids[None, :]] = -1.0
            for at, nearest in enumerate(cosine.argmax(axis=1), start):
                if cosine[at - start, nearest] > 0:
                    found.append(Pair(name, side, own[nearest]["text"], own[at]["text"], 0, "neighbour"))
    return found


def sample(pairs: Sequence[Pair], count: int, seed: int = 0) -> list[Pair]:
    """At most ``count`` pairs of each set and split, drawn without replacement."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.dataset, pair.split), []).append(pair)
    drawn = []
    for (dataset, split), group in groups.items():
        order = np.random.default_rng([seed, zlib.crc32(f"{dataset}/{split}".encode())]).permutation(len(group))
        drawn += [group[at] for at in order[:count]]
    return drawn


def same_script(pair: Pair) -> bool:
    """Whether the two texts would ever be compared: the scope of a look-up names the script."""
    return script_of(pair.a) == script_of(pair.b)


def embed(texts: Sequence[str], model: str, directory: Path = CACHE) -> NDArray[np.float32]:
    """Vectors of norm 1 (n, 384) of an on-device model, by its id; rows of NaN where it takes no responsibility.

    ``model`` is "minilm-l6-v2-int8" or "use-m3-384". Every text is embedded once and kept in ``directory``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = sqlite3.connect(directory / f"{model}.vectors", timeout=600)
    kept.execute("PRAGMA journal_mode=WAL")
    kept.execute("CREATE TABLE IF NOT EXISTS vector (digest BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
    known = {text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts}
    missing = [text for text, key in known.items() if _kept(kept, key) is None]
    made: TextModel | None = None
    for start in range(0, len(missing), 512):
        made = made or _MODELS[model]()
        chunk = sorted(missing[start : start + 512], key=len)
        rows = []
        for at in range(0, len(chunk), 32):
            for text, vector in zip(chunk[at : at + 32], made.embed(chunk[at : at + 32]), strict=True):
                rows.append((known[text], b"" if vector is None else np.asarray(vector, np.float32).tobytes()))
        with kept:
            kept.executemany("INSERT OR IGNORE INTO vector VALUES (?, ?)", rows)
        print(f"\r{model}: {min(start + 512, len(missing))} of {len(missing)} texts embedded", end="", flush=True)
    if missing:
        print()
    found = np.full((len(texts), 384), np.nan, dtype=np.float32)
    for at, text in enumerate(texts):
        value = _kept(kept, known[text])
        if value:
            found[at] = np.frombuffer(value, np.float32)
    kept.close()
    return found


_MODELS: dict[str, Callable[[], TextModel]] = {MINILM: minilm, USE_M3: use_m3}


def _kept(kept: sqlite3.Connection, key: bytes) -> bytes | None:
    row = kept.execute("SELECT value FROM vector WHERE digest = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _load(data: Path, name: str) -> list[Pair]:
    if name.startswith("traps_"):
        return list(_traps(name.removeprefix("traps_")))
    rows = [row for row in _rows(data, name) if row.get("label") in (0, 1)]
    sides = _sides(rows)
    pairs = []
    for row in rows:
        side = sides[_same(row["a"])]
        if side == sides[_same(row["b"])]:
            kind = row.get("type") or row.get("test") or row.get("phenomenon") or ""
            pairs.append(Pair(name, side, row["a"], row["b"], row["label"], kind))
    return pairs


def _rows(data: Path, name: str) -> Iterator[dict]:
    endings = ("_pairs_dev", "_nli_dev", "_dev")
    path = next((file for end in endings if (file := data / f"{name}{end}.jsonl.gz").exists()), None)
    if path is None:
        raise SystemExit(f"{data} has no pairs called {name}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _traps(language: str) -> Iterator[Pair]:
    for path in sorted(TRAPS.glob(f"*.{language}.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            kind = path.name.split(".")[0]
            yield Pair(f"traps_{language}", row["split"], row["a"], row["b"], int(row["same"]), kind)


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def _sides(rows: Sequence[dict]) -> dict[str, Split]:
    """Text (as ``_same`` has it) -> its side."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        parent.setdefault(text, text)
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for row in rows:
        one, other = sorted((root(_same(row["a"])), root(_same(row["b"]))))
        parent[other] = one  # the least text of a component is its root
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[root(_same(row["a"]))] = sizes.get(root(_same(row["a"])), 0) + 1
    large = {text for text, size in sizes.items() if size > LARGEST_SHARE * len(rows)}
    return {text: _side(text if root(text) in large else root(text)) for text in list(parent)}


def _side(text: str) -> Split:
    return "dev" if hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[0] % 2 else "test"
