"""The standings of one policy by all scores that may be in force: with a verifier in them, and the score alone.

All of them share one log of labels. A look-up is drawn by each under its own design and with the same lot, so that the
labels of one cost the others little, and each is still a plain random sample of its own would-be hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from yamabiko.core.contest import highest_rate, in_force, outdone
from yamabiko.core.mixing import version_of
from yamabiko.core.states import Position
from yamabiko.learn.namespaces import chain, embedder_of
from yamabiko.learn.standings import MOST_NAMESPACES, Standings
from yamabiko.ports import Mix
from yamabiko.types import Trial

Make: TypeAlias = Callable[[Mix | None, Callable[[str], float]], Standings]
"""Standings by the scores of a mix, or by the score alone; the second says at most how many look-ups they may draw."""
Mixes: TypeAlias = Callable[[str], Sequence[Mix]]
"""The mixes that are known for an embedder, the latest first."""


class Contest:
    """As ``Standings``, by whichever scores are in force. Without any mix it is the standings by the score alone."""

    def __init__(self, make: Make, mixes: Mixes) -> None:
        self._make = make
        self._mixes = mixes
        self._alone = make(None, self._rate_of(None))
        self._by_mix: dict[str, Standings] = {}
        self._in_force: dict[str, Position] = {}
        self._compared: dict[str, tuple[int, ...]] = {}

    async def of(self, namespace: str) -> Position:
        """See ``Standings.of``; ``Position.mix`` says which scores are in force."""
        mixes = self._mixes(embedder_of(namespace))
        if not mixes:
            return await self._alone.of(namespace)
        alone = await self._alone.of(namespace)
        position = in_force([await self._with(mix).of_mix(namespace, mix) for mix in mixes], alone)
        if len(self._in_force) >= MOST_NAMESPACES:
            self._in_force.clear()
        self._in_force[namespace] = position
        return position

    async def drawn(self, trial: Trial, digest: bytes, *, population: float | None = None) -> bool:
        """See ``Standings.drawn``: whether any scores count the label."""
        mixes = self._mixes(embedder_of(trial.namespace))
        if not mixes:
            return await self._alone.drawn(trial, digest, population=population)
        counted = False
        for part in (trial, *trial.beside):
            own, beside = part.candidate.population, part is not trial
            for known in self._all() if part.design else ():
                counted |= await known.drawn(part, digest, population=own, beside=beside, verifier=mixes[0].name)
        return counted

    async def judged(self, trial: Trial, correct: bool, how: str) -> None:
        """See ``Standings.judged``."""
        await self._alone.judged(trial, correct, how)

    def requested(self, namespace: str, position: Position, look_up: str) -> None:
        """See ``Standings.requested``, for each of the designs that this look-up takes part in."""
        for one in (position, *position.beside):
            for known in self._all() if one.design is not None else ():
                known.requested(namespace, one.design.id if one.design else "", look_up)

    async def flush(self) -> None:
        """See ``Standings.flush``."""
        for known in self._all():
            await known.flush()

    async def advance(self, namespace: str) -> Position:
        """See ``Standings.advance``; then the scores are compared by what their certificates let them serve."""
        await self._alone.advance(namespace)
        mixes = self._mixes(embedder_of(namespace))
        for mix in mixes:
            await self._with(mix).advance(namespace)
        for level in chain(namespace) if mixes else ():
            await self._compare(level, mixes)
        return await self.of(namespace)

    async def _compare(self, level: str, mixes: Sequence[Mix]) -> None:
        """Note which scores are behind; looked at when any of them was tried anew. Raises ``StoreError``."""
        known = [*map(self._with, mixes), self._alone]
        tried = tuple(0 if (state := one.known(level)) is None else state.attempt for one in known)
        if self._compared.get(level) == tried:
            return
        if len(self._compared) >= MOST_NAMESPACES:
            self._compared.clear()
        self._compared[level] = tried
        for place, own in enumerate(known[:-1]):
            await compare(level, own, known[place + 1 :])

    def _with(self, mix: Mix) -> Standings:
        name = version_of(mix)
        found = self._by_mix.get(name)
        if found is None:
            found = self._by_mix[name] = self._make(mix, self._rate_of(mix))
        return found

    def _rate_of(self, mix: Mix | None) -> Callable[[str], float]:
        def rate(namespace: str) -> float:
            position = self._in_force.get(namespace)
            return 1.0 if position is None or position.mix == mix else highest_rate(position)

        return rate

    def _all(self) -> tuple[Standings, ...]:
        return (*self._by_mix.values(), self._alone)


async def compare(level: str, own: Standings, rivals: Sequence[Standings]) -> None:
    """Note whether scores give way to any of the others in a namespace, and why. Raises ``StoreError``."""
    ours = own.known(level)
    for rival in rivals if ours is not None else ():
        theirs = rival.known(level)
        if ours is None or theirs is None:
            continue
        after, up_to = max(ours.start, theirs.start), min(ours.cursor, theirs.cursor)
        after = max(one.seen_from(level, after=after, up_to=up_to) for one in (own, rival))
        samples = [one.sample(level, after=after, up_to=up_to) for one in (own, rival)]
        why = outdone(ours.outcome, samples[0], theirs.outcome, samples[1])
        if why:
            await own.give_way(level, why)
            return
    await own.give_way(level, "")
