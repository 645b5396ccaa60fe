"""Which of many questions are one: so that each is answered once, and the most asked ones first.

Two questions are one where the cache would serve the answer to the first for the second. They are gathered greedily,
from the most asked one down: a question joins the nearest leader that is alike, or becomes a leader itself. So every
member is alike its leader, however large a cluster grows: no chain of small differences leads away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from yamabiko.core import guards
from yamabiko.core.decide import guard_modes
from yamabiko.core.score import MIN_SCORE, NO_RUNNER_UP, features, model_for
from yamabiko.core.shipped import shipped_threshold
from yamabiko.types import Policy, Vector

NEAREST = 5
"""How many leaders a question is compared with by their words: the nearest ones, as many as a look-up considers."""
BLOCK = 256
"""Questions that are compared with all leaders at once."""
FLOOR = 0.92
"""From which cosine on questions are one where nobody measured the embedder, if no guard objects.

Above what AWS's guide to semantic caching begins with (0.90), since nothing here is checked against labels. Source:
Amazon ElastiCache user guide, "Semantic caching best practices" (read 2026-11-23).
"""

Alike: TypeAlias = Callable[[str, str, float], bool]
"""Whether the answer to the first question (a leader) would be served for the second, their cosine being given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """A question and how often it was asked (>= 0). ``vector``: (dim,) float32 of norm 1; None where it has none.

    ``apart``: only questions with an equal one can be one, such as those of one scope.
    """

    text: str = field(repr=False)
    requests: int
    apart: Hashable
    vector: Vector | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Questions that are one, by their places in what was given: the leader, and all members with it first.

    ``requests``: how often all of them together were asked.
    """

    leader: int
    members: tuple[int, ...]
    requests: int


def clusters(questions: Sequence[Weighted], alike: Alike, *, floor: float) -> list[Cluster]:
    """The clusters, the most asked one first; equals in the order of their leaders. Every question is in exactly one.

    ``floor``: the least cosine, in [-1, 1]. Questions without a vector, or with others' dimensions, stay alone. For n
    questions and k leaders this takes n * k products of vectors and at most ``NEAREST`` * n calls of ``alike``; memory
    for k vectors.
    """
    order = sorted(range(len(questions)), key=lambda at: -questions[at].requests)
    members: dict[int, list[int]] = {}
    rooms: dict[tuple[Hashable, int], _Room] = {}
    for at in order:
        vector = questions[at].vector
        if vector is None:
            members[at] = [at]
        else:
            room = rooms.setdefault((questions[at].apart, len(vector)), _Room())
            room.places.append(at)
            room.texts.append(questions[at].text)
            room.vectors.append(vector)
    for room in rooms.values():
        for at, leader in zip(room.places, room.leaders(alike, floor), strict=True):
            members.setdefault(room.places[leader], []).append(at)
    found = [
        Cluster(leader=leader, members=tuple(those), requests=sum(questions[at].requests for at in those))
        for leader, those in members.items()
    ]
    rank = {at: place for place, at in enumerate(order)}
    return sorted(found, key=lambda cluster: (-cluster.requests, rank[cluster.leader]))


class _Room:
    """Questions that may be one, from the most asked one down."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.texts: list[str] = []
        self.vectors: list[Vector] = []

    def leaders(self, alike: Alike, floor: float) -> list[int]:
        """The leader of each, which may be itself, as places in this room."""
        vectors = np.stack(self.vectors).astype(np.float32, copy=False)
        leaders: list[int] = []
        chosen: list[int] = []
        for start in range(0, len(vectors), BLOCK):
            block = vectors[start : start + BLOCK]
            before = len(leaders)
            to_leaders = block @ vectors[leaders].T if leaders else np.empty((len(block), 0), np.float32)
            to_block = block @ block.T
            for row, known in enumerate(to_leaders):
                new = [leader - start for leader in leaders[before:]]
                cosines = np.concatenate((known, to_block[row, new]))
                nearest = ((leaders[at], float(cosines[at])) for at in _nearest(cosines, floor))
                asked = start + row
                joined = (
                    leader
                    for leader, cosine in nearest
                    if alike(self.texts[leader], self.texts[asked], min(1.0, max(-1.0, cosine)))
                )
                chosen.append(next(joined, asked))
                if chosen[-1] == asked:
                    leaders.append(asked)
        return chosen


def _nearest(cosines: NDArray[np.float32], floor: float) -> list[int]:
    """The places of the highest ones from ``floor`` on, the highest first; equals in their order."""
    near = np.flatnonzero(cosines >= floor)
    ranked: list[int] = near[np.argsort(-cosines[near], kind="stable")][:NEAREST].tolist()
    return ranked


def floor_for(policy: Policy, embedder: str) -> float:
    """The least cosine at which the cache would serve by meaning before it has labels of its own."""
    if policy.min_similarity is not None:
        return policy.min_similarity
    return model_for(embedder).floor if _threshold(policy, embedder) is not None else FLOOR


def served_alike(policy: Policy, embedder: str) -> Alike:
    """What a cache of this policy would serve before it has labels of its own: the guards agree, the score suffices.

    Where nobody measured the embedder, or the policy promises nothing, the cosine alone has to be ``floor_for``.
    """
    model, threshold, modes = model_for(embedder), _threshold(policy, embedder), guard_modes(policy, "")

    def alike(stored: str, asked: str, similarity: float) -> bool:
        new, old = guards.read(asked), guards.read(stored)
        findings = guards.check(new, old, modes)
        if guards.vetoes(findings, modes):
            return False
        if threshold is None:
            return True
        values = features(new, old, findings, similarity=similarity, margin=NO_RUNNER_UP)
        return model.score(values) >= max(MIN_SCORE, threshold)

    return alike


def _threshold(policy: Policy, embedder: str) -> float | None:
    if policy.max_error_rate is None:
        return None
    shipped = shipped_threshold(embedder, policy.max_error_rate, policy.confidence)
    return None if shipped is None else shipped.threshold
