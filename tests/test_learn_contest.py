"""Standings by scores with a verifier in them and by the score alone, on a real store: who serves, and what it costs."""

import asyncio

import pytest

from yamabiko import Policy
from yamabiko.core.calibrate import Judge
from yamabiko.core.contest import drawn_beside
from yamabiko.core.mixing import version_of
from yamabiko.flight import Background
from yamabiko.learn.contest import Contest
from yamabiko.learn.standings import Standings
from yamabiko.learn.versions import versions_of
from yamabiko.ports import Mix
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeClock
from yamabiko.types import Candidate, Entry, Question, Reply, Scope, Trial

MIX = Mix(name="v", bias=0.0, score=1.0, verifier=1.0)
LATER = Mix(name="v", bias=0.5, score=1.0, verifier=1.0)
POLICY = Policy(max_error_rate=0.2, confidence=0.9)


def candidate(name, score):
    scope = Scope(content=b"c" * 32, digest=b"d" * 32, tenant="", user="", model="", embedder="fake")
    entry = Entry(
        id=name, scope=scope, questions=(Question(digest=b"q" * 32, text=name),), reply=Reply(text="so"), created=0.0
    )
    return Candidate(entry=entry, similarity=0.9, score=score)


class World:
    """Look-ups one after the other: each kind of scores has its own score of the same candidate."""

    def __init__(self, store, mixes):
        self.clock = FakeClock()
        self.behind = Background()
        self.mixes = mixes
        self.labels = self.number = 0
        logs = {}

        def make(mix, most):
            return Standings(
                store,
                policy=POLICY,
                clock=self.clock,
                learning=True,
                shipped=lambda _: None,
                versions=lambda embedder: versions_of(embedder, POLICY, mix),
                judge=Judge(),
                new_id=lambda: f"{self.number:032x}",
                spawn=self.behind.spawn,
                refresh_seconds=1e-3,
                most=most,
                logs=logs,
                name="" if mix is None else version_of(mix),
            )

        self.contest = Contest(make, lambda _: self.mixes)

    async def look_up(self, scores, *, correct, names=None):
        """``scores``: by the name of each mix's version, "" for the score alone. Whether it was drawn."""
        self.number += 1
        self.clock.advance(1)
        name = f"{self.number * 7919:032x}"
        position = drawn_beside(await self.contest.of("fake"), name)
        trials = []
        for where in (position, *position.beside):
            key = "" if where.mix is None else version_of(where.mix)
            found = candidate((names or {}).get(key, "entry"), scores[key])
            if where.design is not None and where.design.draws(name, found.score):
                trials.append(
                    Trial(
                        id=name,
                        namespace="fake",
                        design=where.design.id,
                        score=found.score,
                        candidate=found,
                        served=False,
                    )
                )
        if not trials:
            return
        self.labels += 1
        first, *rest = trials
        main = Trial(
            id=name,
            namespace="fake",
            design=first.design,
            score=first.score,
            candidate=first.candidate,
            served=False,
            beside=tuple(rest),
        )
        assert await self.contest.drawn(main, bytes(32))
        await self.contest.judged(main, correct, "equal")
        if self.labels % 25 == 0:
            await self.contest.advance("fake")
            await self.behind.drain()


def after(count, scores_of, *, mixes=(MIX,), names=None):
    async def run():
        store = MemoryStore(embedder="fake", dim=4)
        world = World(store, mixes)
        for at in range(count):
            correct = at % 4 != 0
            await world.look_up(scores_of(at, correct), correct=correct, names=names)
        await world.contest.advance("fake")
        return await world.contest.of("fake"), world

    return asyncio.run(run())


def test_a_verifier_that_tells_right_from_wrong_is_in_force():
    position, _ = after(300, lambda at, right: {version_of(MIX): 0.95 if right else 0.1, "": 0.7 + at % 10 / 100})
    assert position.mix == MIX
    assert position.calibration == "certified"


def test_one_that_certifiably_serves_no_more_gives_way_and_the_reason_says_so():
    def scores(at, right):
        return {version_of(MIX): 0.95 if right and at % 3 else 0.6, "": 0.95 if right else 0.6}

    position, _ = after(600, scores)
    assert position.mix is None
    assert position.calibration == "certified"
    assert "without the verifier, since" in position.reason


def test_scores_beside_are_labelled_where_a_label_costs_nothing_more():
    def scores(at, right):
        return {version_of(MIX): 0.95 if right else 0.1, "": 0.7 + at % 10 / 100}

    position, _ = after(600, scores)
    (beside,) = position.beside
    assert beside.mix is None
    assert max(beside.design.below, beside.design.above) <= min(position.design.below, position.design.above)


def test_a_label_is_about_one_entry_and_says_nothing_to_whoever_preferred_another():
    """By the score alone other entries come first: their labels are missing, which counts as wrong."""
    names = {version_of(MIX): "right one", "": "other"}
    position, _ = after(300, lambda _, right: {version_of(MIX): 0.95 if right else 0.1, "": 0.9}, names=names)
    assert position.mix == MIX
    assert all(other.calibration == "none" for other in position.beside)


@pytest.mark.parametrize("better", [True, False])
def test_newly_fitted_weights_serve_where_they_are_certified_and_serve_more(better):
    def scores(at, right):
        some = 0.95 if right and at % 2 else 0.55
        every = 0.95 if right else 0.1
        low = (
            {version_of(MIX): some, version_of(LATER): every}
            if better
            else {version_of(MIX): every, version_of(LATER): some}
        )
        return low | {"": 0.55 + at % 40 / 100}

    position, _ = after(700, scores, mixes=(LATER, MIX))
    assert position.mix == (LATER if better else MIX)


def test_without_a_mix_it_is_the_standing_of_the_score_alone():
    position, _ = after(300, lambda _, right: {"": 0.95 if right else 0.6}, mixes=())
    assert (position.mix, position.beside, position.calibration) == (None, (), "certified")
