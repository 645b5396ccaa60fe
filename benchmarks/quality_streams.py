"""Texts, what answers them, and the orders in which they are asked, for benchmarks/quality.py. Nothing runs here.

A ``Pool`` is a set of distinct texts, each with its vector and the number of its answer. Where a set has pairs, texts
joined by label 1 have one answer (connected components); where it has intents, a text's intent stands in for its answer,
which is coarser than an answer is.

What nobody labelled is not known to differ: two wordings of one question that are in no pair would count as a wrong hit.
So answers whose texts come closer than ``APART`` are in one pool only where a labelled pair says that they differ; of
two others, one is left out, drawn at random. What is left are labelled near misses and texts that are not alike.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelled import Pair

Ints: TypeAlias = NDArray[np.intp]
Order: TypeAlias = Literal["random", "chronological", "drift"]
NEAREST = 128
"""How many nearest texts are known of each text."""
APART = 0.75
"""Cosine from which on two texts of different answers must be labelled so."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Distinct texts (n,), unit vectors (n, dim), the number of each one's answer (n,), the set it is from (n,).

    ``near`` (n, NEAREST) are the places of the nearest other texts, nearest first, and ``cosine`` how near; -1 for none.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    answer: Ints
    dataset: Ints
    names: tuple[str, ...]
    near: NDArray[np.int32] = field(repr=False)
    cosine: NDArray[np.float32] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Requests in their order: places in a pool (n,), and the number of the right answer to each text of the pool.

    ``after``: from request ``change`` on, that answers are right instead. ``stored``: places that are stored before the
    first request.
    """

    name: str
    requests: Ints
    answer: Ints
    after: Ints
    change: int
    stored: Ints

    def truth(self, at: int) -> Ints:
        """The right answers at the time of a request."""
        return self.answer if at < self.change else self.after


def same(text: str) -> str:
    """Texts that the exact tier takes for one question."""
    return " ".join(text.casefold().split())


def components(pairs: Iterable[Pair]) -> dict[str, tuple[str, str, str]]:
    """By ``same`` text: (its component's least text, the text as first seen, its set)."""
    parent: dict[str, str] = {}
    seen: dict[str, tuple[str, str]] = {}

    def root(text: str) -> str:
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for pair in pairs:
        for text in (pair.a, pair.b):
            parent.setdefault(same(text), same(text))
            seen.setdefault(same(text), (text, pair.dataset))
        if pair.label == 1:
            one, other = sorted((root(same(pair.a)), root(same(pair.b))))
            parent[other] = one
    return {key: (root(key), *seen[key]) for key in parent}


def pool_of_pairs(pairs: Iterable[Pair], embed) -> Pool:
    """``embed``: texts to unit vectors (n, dim), rows of NaN where there is none; such texts are left out."""
    pairs = list(pairs)
    found = components(pairs)
    known = {frozenset((found[same(pair.a)][0], found[same(pair.b)][0])) for pair in pairs if pair.label == 0}
    rows = [(text, answer, dataset) for answer, text, dataset in found.values()]
    whole = pool_of(rows, embed)
    return part_of(whole, _labelled_apart(whole, found, known))


def _labelled_apart(pool: Pool, found: dict[str, tuple[str, str, str]], known: set[frozenset[str]]) -> Ints:
    """Places in the pool whose answers are apart from each other, or labelled as different."""
    name = [found[same(text)][0] for text in pool.texts]
    close: dict[str, set[str]] = {}
    for place, near, cosine in zip(range(len(pool)), pool.near, pool.cosine, strict=True):
        for other in near[(cosine >= APART) & (near >= 0)].tolist():
            if name[other] != name[place] and frozenset((name[other], name[place])) not in known:
                close.setdefault(name[place], set()).add(name[other])
                close.setdefault(name[other], set()).add(name[place])
    answers = list(dict.fromkeys(name))
    kept: set[str] = set()
    for at in np.random.default_rng(11).permutation(len(answers)).tolist():
        if not close.get(answers[at], set()) & kept:
            kept.add(answers[at])
    return np.array([place for place in range(len(pool)) if name[place] in kept], dtype=np.intp)


def pool_of_intents(path: Path, embed, *, most: int | None = None) -> Pool:
    """A stream set: one answer per intent, and one of its own for each text out of scope."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = {}
    for row in rows:
        alone = row["intent"].lower().endswith(("oos", "no_nodes_detected"))
        answer = row["text"] if alone else row["intent"]
        found.setdefault(same(row["text"]), (row["text"], answer, row["dataset"]))
    chosen = list(found.values())
    if most is not None and len(chosen) > most:
        chosen = [chosen[at] for at in np.random.default_rng(5).permutation(len(chosen))[:most]]
    return pool_of(chosen, embed)


def pool_of(rows: Sequence[tuple[str, str, str]], embed) -> Pool:
    """Rows of (text, answer, set), texts distinct."""
    vectors = embed([text for text, _, _ in rows])
    kept = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    rows = [rows[at] for at in kept]
    names = tuple(dict.fromkeys(dataset for _, _, dataset in rows))
    numbers = {answer: at for at, answer in enumerate(dict.fromkeys(answer for _, answer, _ in rows))}
    near, cosine = nearest(vectors[kept])
    return Pool(
        texts=tuple(text for text, _, _ in rows),
        vectors=vectors[kept],
        answer=np.array([numbers[answer] for _, answer, _ in rows], dtype=np.intp),
        dataset=np.array([names.index(dataset) for _, _, dataset in rows], dtype=np.intp),
        names=names,
        near=near,
        cosine=cosine,
    )


def part_of(pool: Pool, places: Ints) -> Pool:
    """Some texts of a pool, with what is nearest among them."""
    near, cosine = nearest(pool.vectors[places])
    return Pool(
        texts=tuple(pool.texts[at] for at in places.tolist()),
        vectors=pool.vectors[places],
        answer=np.unique(pool.answer[places], return_inverse=True)[1],
        dataset=pool.dataset[places],
        names=pool.names,
        near=near,
        cosine=cosine,
    )


def nearest(vectors: NDArray[np.float32], count: int = NEAREST) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Places and cosines (n, count) of each row's nearest other rows, nearest first."""
    size = len(vectors)
    near = np.full((size, count), -1, dtype=np.int32)
    cosine = np.full((size, count), -1.0, dtype=np.float32)
    most = min(count, size - 1)
    if most <= 0:
        return near, cosine
    for start in range(0, size, 512):
        block = vectors[start : start + 512] @ vectors.T
        block[np.arange(len(block)), np.arange(start, start + len(block))] = -2.0
        places = np.argpartition(-block, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(block, places, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        near[start : start + 512, :most] = np.take_along_axis(places, order, axis=1)
        cosine[start : start + 512, :most] = np.take_along_axis(values, order, axis=1)
    return near, cosine


def stream(
    pool: Pool,
    order: Order,
    *,
    requests: int,
    seed: int,
    repeats: float = 0.2,
    duplicates: bool = True,
    warm: float = 0.0,
) -> Stream:
    """Requests drawn from a pool.

    Answers are wanted by a Zipf law (exponent 1 over ranks drawn at random), each time in words that were not used yet;
    an answer all of whose words are used up is wanted no more. A share ``repeats`` of the requests repeats an earlier
    one word by word. ``order``: "random"; "chronological", where the sets (of a single one: tenths of its answers) come
    one after another, each rising and fading; "drift", random, and from half-time on three in ten answers no longer fit every second wording of their
    question. Without ``duplicates`` each answer is wanted once, so that every hit by meaning is wrong. ``warm``: share
    of the answers of which one wording is stored before the first request, and not asked.
    """
    rng = np.random.default_rng([seed, 17])
    wordings = [list(rng.permutation(places)) for places in _by_answer(pool)]
    if not duplicates:
        wordings = [places[:1] for places in wordings]
    stored = [places.pop() for places in wordings if len(places) > 1 and rng.random() < warm]
    fresh = _fresh(pool, order, wordings, round(requests * (1 - repeats)), rng)
    asked = _repeated(fresh, repeats, rng)
    change, after = len(asked), pool.answer
    if order == "drift":
        change, after = len(asked) // 2, _split(pool, rng)
    return Stream(order, np.array(asked, dtype=np.intp), pool.answer, after, change, np.array(stored, dtype=np.intp))


def _by_answer(pool: Pool) -> list[Ints]:
    order = np.argsort(pool.answer, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(pool.answer[order])) + 1)


def _fresh(pool: Pool, order: Order, wordings: list[list[int]], count: int, rng: np.random.Generator) -> list[int]:
    """Distinct places: by time, then by whatever order chance gives within it.

    Each wording of an answer of weight w gets an exponential time of rate w; taking the least times first is drawing
    one after another by weight, without replacement (Efraimidis and Spirakis, 2006).
    """
    rank = rng.permutation(len(wordings)) + 1
    places = np.array([place for group in wordings for place in group], dtype=np.intp)
    weight = np.repeat(1 / (rank + 10.0), [len(group) for group in wordings])
    times = rng.exponential(1 / weight)
    chosen = np.argsort(times, kind="stable")[:count]
    if order == "chronological":
        part = pool.dataset if len(pool.names) > 1 else pool.answer % 10
        turn = rng.permutation(int(part.max()) + 1)[part[places[chosen]]]
        chosen = chosen[np.argsort(turn + rng.normal(0, 0.6, len(chosen)), kind="stable")]
    return places[chosen].tolist()


def _repeated(fresh: list[int], repeats: float, rng: np.random.Generator) -> list[int]:
    """The fresh requests with earlier ones repeated in between, those of late more often."""
    asked: list[int] = []
    for place in fresh:
        asked.append(place)
        while rng.random() < repeats:
            back = min(len(asked) - 1, int(rng.exponential(500.0)))
            asked.append(asked[len(asked) - 1 - back])
    return asked


def _split(pool: Pool, rng: np.random.Generator, share: float = 0.3) -> Ints:
    """Answers of which a share has become two, each for every second wording."""
    split = rng.random(int(pool.answer.max()) + 1) < share
    odd = rng.random(len(pool)) < 0.5
    return np.where(split[pool.answer] & odd, pool.answer + int(pool.answer.max()) + 1, pool.answer)
