"""Families (b) and (c): numbers from the alignment of two texts' own token vectors, as the embedder makes them.

Each text is read alone, so its vectors could be kept with the entry. Per layer the matrix of cosines between the
pieces of both says how well each piece is matched, which rare ones are not, and whether the matches keep their order.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from verifier_training.model import CrossEncoder
from verifier_training.weights import minilm

LAYERS = (0, 2, 4, 6)
PER_LAYER = 13
Floats = NDArray[np.float32]


def token_vectors(
    texts: Sequence[str], encode: Callable[[str], list[int]], *, window: int = 96
) -> dict[str, tuple[list[int], Floats]]:
    """Per text its pieces and their vectors of norm 1, (layers, pieces, 384), special pieces left out."""
    model = CrossEncoder(minilm(6)).eval()
    rows = sorted(((encode(text)[: window - 2], text) for text in dict.fromkeys(texts)), key=lambda row: len(row[0]))
    found: dict[str, tuple[list[int], Floats]] = {}
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        longest = 2 + max(len(ids) for ids, _ in part)
        ids = np.zeros((len(part), longest), np.int64)
        for at, (own, _) in enumerate(part):
            ids[at, : len(own) + 2] = [101, *own, 102]
        for at, layers in enumerate(_layers(model, torch.from_numpy(ids))):
            own, text = part[at]
            found[text] = own, layers[:, 1 : len(own) + 1]
    return found


def _layers(model: CrossEncoder, ids: torch.Tensor) -> NDArray[np.float16]:
    with torch.no_grad():
        mask = ids > 0
        x = model.norm(model.word(ids) + model.position[: ids.shape[1]] + model.side[0])
        kept = [x]
        for at, layer in enumerate(model.layers, 1):
            x = layer(x, mask[:, None, None, :])
            if at in LAYERS:
                kept.append(x)
        both = torch.nn.functional.normalize(torch.stack(kept, dim=1), dim=-1)
    return both.numpy().astype(np.float16)


def rarity(texts: Sequence[Sequence[int]]) -> dict[int, float]:
    """Inverse document frequency of each piece, in [0, 1]."""
    count = Counter(piece for text in texts for piece in set(text))
    most = np.log(len(texts) + 1)
    return {piece: float(np.log((len(texts) + 1) / (seen + 1)) / most) for piece, seen in count.items()}


def features(
    one: tuple[list[int], Floats], other: tuple[list[int], Floats], rare: dict[int, float]
) -> NDArray[np.float64]:
    """(layers * 13,): the same for both orders."""
    weights = [np.array([rare.get(piece, 1.0) for piece in pieces]) + 0.05 for pieces, _ in (one, other)]
    if not one[0] or not other[0]:
        return np.zeros(len(LAYERS) * PER_LAYER)
    rows = []
    for a, b in zip(one[1].astype(np.float32), other[1].astype(np.float32), strict=True):
        rows += _of_layer(a @ b.T, weights[0], weights[1])
    return np.array(rows)


def _of_layer(cosine: Floats, first: NDArray, second: NDArray) -> list[float]:
    best = [cosine.max(axis=1), cosine.max(axis=0)]
    found: list[float] = []
    worst, means, plain, misses = [], [], [], []
    for matches, weight in zip(best, (first, second), strict=True):
        lost = (1 - matches) * weight
        order = np.sort(lost)[::-1]
        worst.append((order[0], order[1] if len(order) > 1 else 0.0))
        means.append(float((matches * weight).sum() / weight.sum()))
        plain.append(float(matches.mean()))
        misses.append((float(((matches < 0.6) * weight).sum()), float((matches < 0.8).mean())))
    for pair in (means, plain, [w[0] for w in worst], [w[1] for w in worst], [m[0] for m in misses]):
        found += [min(pair), max(pair)]
    found.append(max(m[1] for m in misses))
    found += _order(cosine)
    return found


def _order(cosine: Floats) -> list[float]:
    """Share of turned pairs among sure matches, and how far the matches are from a straight line."""
    to = cosine.argmax(axis=1)
    sure = np.flatnonzero((cosine.max(axis=1) > 0.7) & (cosine.argmax(axis=0)[to] == np.arange(len(to))))
    if len(sure) < 2:
        return [0.0, 0.0]
    places = to[sure]
    turned = (places[:, None] > places[None, :])[np.triu_indices(len(places), 1)]
    return [float(turned.mean()), float(np.abs(np.diff(places) - 1).mean())]
