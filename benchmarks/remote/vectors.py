"""Vectors to store and to ask with: seeded mixtures, or real texts embedded on this machine and kept in a file."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import numpy as np

Array = np.ndarray
LATENT = 40
CLUSTER_SIZE = 50


def unit(rows: Array) -> Array:
    """Every row scaled to L2 norm 1, float32."""
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Mixture:
    """Clusters in ``LATENT`` dimensions seen through a random projection, and noise: what embeddings look like.

    With some ``CLUSTER_SIZE`` rows to a cluster a stored vector has true neighbours at cosines of 0.7 to 0.9, so that
    thresholds of 0.85 and 0.90 are not trivial.
    """

    def __init__(self, dim: int, rows: int, *, seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)
        self._centres = self.chance.standard_normal((max(20, rows // CLUSTER_SIZE), LATENT), dtype=np.float32)
        self._projection = self.chance.standard_normal((LATENT, dim), dtype=np.float32) / LATENT**0.5

    def draw(self, rows: int) -> Array:
        """So many new vectors; shape (rows, dim), float32, norm 1."""
        return self._around(self._centres[self.chance.integers(0, len(self._centres), rows)])

    def draw_apart(self, rows: int) -> Array:
        """The same, each from a new cluster of its own and so near to nothing (cosines below some 0.7)."""
        return self._around(self.chance.standard_normal((rows, LATENT), dtype=np.float32))

    def _around(self, chosen: Array) -> Array:
        latent = chosen + 0.5 * self.chance.standard_normal(chosen.shape, dtype=np.float32)
        noise = self.chance.standard_normal((len(chosen), self._projection.shape[1]), dtype=np.float32)
        return unit(latent @ self._projection + 0.25 * noise)


def tilted(rows: Array, cosines: float | Array, chance: np.random.Generator) -> Array:
    """For every row a unit vector at the given cosine from it, in a random direction; shape of ``rows``."""
    cosines = np.broadcast_to(np.asarray(cosines, dtype=np.float32), len(rows))[:, None]
    away = chance.standard_normal(rows.shape, dtype=np.float32)
    away = unit(away - (away * rows).sum(axis=1, keepdims=True) * rows)
    return unit(cosines * rows + np.sqrt(1 - cosines**2) * away)


def nearest(rows: Array, asked: Array, *, block: int = 256) -> tuple[Array, Array]:
    """Brute force: index of the nearest row for each query, and its cosine."""
    indices, cosines = [], []
    for at in range(0, len(asked), block):
        products = asked[at : at + block] @ rows.T
        best = products.argmax(axis=1)
        indices.append(best)
        cosines.append(products[np.arange(len(best)), best])
    return np.concatenate(indices), np.concatenate(cosines)


def real(data: Path, cache: Path, rows: int, dim: int = 384) -> Array:
    """Vectors of so many distinct English questions, on-device; made once, then read from a file in ``cache``.

    ``data`` holds pairs of questions as gzipped JSON lines with ``a`` and ``b``.
    """
    path = cache / f"yamabiko-bench-minilm-{rows}.npy"
    if not path.exists():
        texts: dict[str, None] = {}
        for file in sorted(data.glob("*_pairs_dev.jsonl.gz")) + sorted(data.glob("qqp_dev.jsonl.gz")):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                for pair in map(json.loads, lines):
                    texts.update((text, None) for text in (pair["a"], pair["b"]) if text.isascii() and len(text) < 300)
        if len(texts) < rows:
            raise SystemExit(f"{data} has only {len(texts)} questions: ask for fewer entries, or leave --data out")
        listed = list(texts)
        chosen = [listed[i] for i in np.random.default_rng(3).permutation(len(listed))[:rows]]
        np.save(path, asyncio.run(_embed(chosen)))
    made = np.load(path)
    if made.shape[1] != dim:
        raise SystemExit(f"real vectors have {made.shape[1]} dimensions: --dim {made.shape[1]}, or leave --data out")
    return made


async def _embed(texts: list[str]) -> Array:
    from yamabiko.embedders.local import LocalEmbedder

    embedder = LocalEmbedder(only="minilm")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # batches of like lengths
    made = np.zeros((len(texts), embedder.dim), dtype=np.float32)
    for at in range(0, len(order), 64):
        batch = order[at : at + 64]
        for i, vector in zip(batch, await embedder.embed([texts[i] for i in batch]), strict=True):
            assert vector is not None, "a short English text fits into the window"
            made[i] = vector
    await embedder.close()
    return made
