"""The questions that people ask most: equal ones are one, and those that the cache would take for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from yamabiko.cli.warm_file import Row
from yamabiko.core.clusters import Weighted, clusters, floor_for, served_alike
from yamabiko.core.key import Place, place_of
from yamabiko.lookup import NO_EMBEDDER
from yamabiko.ports import Embedder
from yamabiko.types import Policy, Vector

COMPARED = 20_000
"""So many questions are compared with one another, the most asked ones; those beyond stay as they are."""
BATCH = 64
"""Texts that are embedded at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One row for each question, the most asked one first, and in how many wordings it came.

    ``requests``: of all that was given, whether it was chosen or not; ``questions``: how many there were.
    """

    rows: tuple[Row, ...]
    wordings: tuple[int, ...]
    requests: int
    questions: int


@dataclass(slots=True)
class _One:
    row: Row
    place: Place
    wordings: int = 1


async def chosen(
    rows: Sequence[Row],
    embedder: Embedder | None,
    policy: Policy,
    *,
    top: int | None,
    step: Callable[[int], None],
) -> Chosen:
    """The ``top`` questions among rows without answers; rows with answers come before them and are all kept.

    Raises ``EmbeddingError``, and ``InvalidRequest`` for a text that is not Unicode.
    """
    given = [row for row in rows if row.answer is not None]
    ones = _merged([row for row in rows if row.answer is None], embedder, policy)
    compared, rest = ones[:COMPARED], ones[COMPARED:]
    gathered = await _gathered(compared, embedder, policy, step)
    found = sorted([*gathered, *rest], key=lambda one: -one.row.requests)
    best = found[:top]
    return Chosen(
        rows=(*given, *(one.row for one in best)),
        wordings=(*(1 for _ in given), *(one.wordings for one in best)),
        requests=sum(row.requests for row in rows),
        questions=len(given) + len(found),
    )


def _merged(rows: Sequence[Row], embedder: Embedder | None, policy: Policy) -> list[_One]:
    """Rows with one key as one, the most asked one first."""

    def model_for(text: str) -> str:
        if embedder is None:
            return NO_EMBEDDER
        return embedder.model_for(text) if text else embedder.id

    found: dict[object, _One] = {}
    for row in rows:
        place = place_of(row.request, model_for=model_for, policy=policy)
        name = object() if place.key is None else place.key.digest
        known = found.get(name)
        if known is None:
            found[name] = _One(row, place)
        else:
            vector = row.vector if known.row.vector is None else known.row.vector
            known.row = replace(known.row, requests=known.row.requests + row.requests, vector=vector)
    return sorted(found.values(), key=lambda one: -one.row.requests)


async def _gathered(
    ones: Sequence[_One], embedder: Embedder | None, policy: Policy, step: Callable[[int], None]
) -> list[_One]:
    if embedder is None:
        return list(ones)
    vectors = await _vectors(ones, embedder, step)
    by_model: dict[str, list[int]] = {}
    for at, one in enumerate(ones):
        by_model.setdefault("" if one.place.key is None else one.place.key.scope.embedder, []).append(at)
    gathered: list[_One] = []
    for model, places in by_model.items():
        weighted = [
            Weighted(
                text=ones[at].place.canonical.text,
                requests=ones[at].row.requests,
                apart=at if (key := ones[at].place.key) is None else key.scope.digest,
                vector=vectors[at],
            )
            for at in places
        ]
        for cluster in clusters(weighted, served_alike(policy, model), floor=floor_for(policy, model)):
            leader = ones[places[cluster.leader]]
            row = replace(leader.row, requests=cluster.requests)
            gathered.append(_One(row, leader.place, len(cluster.members)))
    return gathered


async def _vectors(ones: Sequence[_One], embedder: Embedder, step: Callable[[int], None]) -> list[Vector | None]:
    vectors = [one.row.vector for one in ones]
    wanted = [at for at, one in enumerate(ones) if vectors[at] is None and one.place.canonical.text]
    step(len(ones) - len(wanted))
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        made = await embedder.embed([ones[at].place.canonical.text for at in part])
        for at, vector in zip(part, made, strict=True):
            vectors[at] = vector
        step(len(part))
    return vectors
