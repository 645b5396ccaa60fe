"""Labelled pairs as the cache would see them: embedded, behind the guards, with their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yamabiko.cli.pairs_file import Pair
from yamabiko.cli.terminal import progress
from yamabiko.cli.weighing import Weighed, is_same, never_compared, see, weigh
from yamabiko.core.guards import Mode
from yamabiko.ports import Embedder

LEFT_OUT = "are never compared by meaning, or are the very same question: left out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A pair and what step 6 makes of it."""

    pair: Pair
    weighed: Weighed


async def judge_pairs(pairs: Sequence[Pair], embedder: Embedder, modes: Mapping[str, Mode]) -> dict[str, list[Judged]]:
    """The pairs that are compared by meaning, by the model that embeds them; closes the embedder.

    Raises ``EmbeddingError``.
    """
    texts = [text for pair in pairs for text in (pair.a, pair.b)]
    try:
        with progress(len(set(texts)), "embedding") as bar:
            seen = await see(texts, embedder, bar.update)
    finally:
        await embedder.close()
    judged: dict[str, list[Judged]] = {}
    with progress(len(pairs), "deciding ") as bar:
        for pair, stored, asked in zip(pairs, seen[::2], seen[1::2], strict=True):
            if not is_same(stored, asked) and not never_compared(stored, asked):
                judged.setdefault(asked.model, []).append(Judged(pair=pair, weighed=weigh(stored, asked, modes)))
            bar.update(1)
    return dict(sorted(judged.items()))
