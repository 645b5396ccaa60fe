"""Where a namespace stands, as workers that share a store see it: through restarts, races, crashes, drift and damage."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import numpy as np
import pytest

from yamabiko.core.calibrate import Judge, Versions
from yamabiko.core.shipped import ShippedThreshold
from yamabiko.core.states import AUDIT_SUSPICIOUS, State
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.flight import Background
from yamabiko.learn import ledger as ledgers
from yamabiko.learn.ledger import GRACE_SECONDS
from yamabiko.learn.namespaces import namespace_of
from yamabiko.learn.records import decode_standing, log_name, standing_name
from yamabiko.learn.standings import Standings
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock, make_entry
from yamabiko.types import Candidate, Policy, Trial

NS = namespace_of("m", "acme", "")
OTHER = namespace_of("m", "globex", "")
POLICY = Policy(max_error_rate=0.05, confidence=0.9)
ENTRY = make_entry("an answered question")
DIGEST = b"q" * 32
SHIPPED = ShippedThreshold(embedder="m", threshold=0.9, trials=1000, wrong=2, error_upper=0.01, version="1")


class Worker:
    """The standings of one process, and its traffic: look-ups with a score, of which the drawn ones get a label."""

    numbers = itertools.count()

    def __init__(
        self, store, clock, *, policy=POLICY, shipped=None, learning=True, guards="1", refresh=30.0, spawn=None
    ):
        self.behind = Background()
        self.told = []
        self.name = f"w{next(Worker.numbers)}"
        self.ids = itertools.count()
        self.standings = Standings(
            store,
            policy=policy,
            clock=clock,
            learning=learning,
            shipped=lambda embedder: shipped if embedder == "m" else None,
            versions=lambda _: Versions(score="1", guards=guards),
            judge=Judge(),
            new_id=lambda: f"{self.name}.{next(self.ids)}",
            spawn=self.behind.spawn,
            told=self.told.append,
            refresh_seconds=refresh,
        )

    async def of(self, namespace=NS):
        return await self.standings.of(namespace)

    async def draw(self, score, namespace=NS):
        """Look up until one is drawn."""
        position = await self.of(namespace)
        while True:
            name = f"{self.name}:{next(self.ids)}"
            if position.design.draws(name, score):
                break
        hit = position.threshold is not None and score >= position.threshold
        candidate = Candidate(entry=ENTRY, similarity=0.9, score=score)
        trial = Trial(
            id=name, namespace=namespace, design=position.design.id, score=score, candidate=candidate, served=hit
        )
        assert await self.standings.drawn(trial, DIGEST)
        return trial

    async def label(self, pairs, namespace=NS, lost=()):
        """Pairs of a score and whether the answer is right; ``lost``: the places of those that get no label."""
        trials = [await self.draw(score, namespace) for score, _ in pairs]
        await asyncio.gather(
            *(
                self.standings.judged(trial, right, "same")
                for place, (trial, (_, right)) in enumerate(zip(trials, pairs, strict=True))
                if place not in lost
            )
        )
        return await self.standings.advance(namespace)


def traffic(count, limit=0.6, seed=0):
    """Answers are right from a score of ``limit`` on, and wrong below."""
    scores = np.random.default_rng(seed).uniform(0.5, 1.0, count)
    return [(float(score), bool(score >= limit)) for score in scores]


async def learn(worker, namespace=NS, count=400, limit=0.6):
    """Label in batches until the namespace serves."""
    pairs = traffic(count, limit)
    for begin in range(0, count, 20):
        position = await worker.label(pairs[begin : begin + 20], namespace)
        if position.calibration == "certified":
            return position
    raise AssertionError(f"not certified: {position.reason}")


class Place:
    """Where workers share a store, which may be closed and opened again."""

    def __init__(self, opening):
        self.opening = opening
        self.clock = FakeClock()

    @asynccontextmanager
    async def workers(self, number=1, **options):
        async with AsyncExitStack() as stack:
            workers = []
            for _ in range(number):
                store = await self.opening()
                stack.push_async_callback(store.close)
                worker = Worker(store, self.clock, **options)
                stack.push_async_callback(worker.behind.drain)
                worker.store = store
                workers.append(worker)
            yield workers
            for worker in workers:
                await worker.behind.drain()
                assert worker.behind.failures == 0


@pytest.fixture
def place(tmp_path):
    async def opening():
        return SqliteStore(tmp_path / "cache.db", embedder="fake", dim=8)

    return Place(opening)


@pytest.fixture(params=["sqlite", "server"])
def shared_place(request, place):
    if request.param == "sqlite":
        return place
    engine, name = request.getfixturevalue("engine"), secrets.token_hex(4)

    async def opening():
        address = Address.parse(f"redis://127.0.0.1:{engine.port}?name={name}")
        return await MemoryDBStore.open(address, embedder="fake", dim=8)

    return Place(opening)


def alone(case, **options):
    """Run a case of one worker on a store in memory."""

    async def run():
        store = MemoryStore(embedder="fake", dim=8)
        worker = Worker(store, FakeClock(), **options)
        worker.store, worker.clock = store, worker.standings._clock
        await case(worker)
        await worker.behind.drain()
        assert worker.behind.failures == 0

    asyncio.run(run())


# How a namespace begins.


def test_with_a_shipped_calibration_it_serves_at_once_and_says_that_nothing_is_certified():
    async def case(worker):
        position = await worker.of()
        assert (position.state, position.threshold) == (State.SERVING, 0.9)
        assert (position.calibration, position.error_upper) == ("uncalibrated", None)
        assert "public data" in position.reason
        assert (position.design.below, position.design.above, position.design.threshold) == (0.2, 0.2, 0.9)
        assert await worker.store.load_state(standing_name(NS)) is None  # to look is not to write

    alone(case, shipped=SHIPPED)


def test_an_unknown_embedder_is_in_shadow_until_labels_certify_it():
    async def case(worker):
        position = await worker.of()
        assert (position.state, position.threshold, position.calibration) == (State.SHADOW, None, "none")
        assert (position.design.below, position.design.above) == (1.0, 1.0)
        assert "more labels" in position.reason
        position = await learn(worker)
        assert position == await worker.of()
        assert position.state is State.SERVING
        assert 0.57 < position.threshold < 0.67
        assert 0 < position.error_upper <= 0.05
        assert position.design.threshold == position.threshold
        assert position.design.above == 0.2

    alone(case)


def test_a_certificate_takes_the_place_of_the_shipped_calibration():
    async def case(worker):
        position = await learn(worker, count=1500)
        assert 0.57 < position.threshold < 0.67
        assert position.error_upper <= 0.05
        moves = [(move.before, move.after, move.calibration) for move in worker.told if move.namespace == NS]
        assert moves[:2] == [("exact_only", "shadow", "none"), ("shadow", "serving", "uncalibrated")]
        assert moves[-1] == ("serving", "serving", "certified")

    alone(case, shipped=SHIPPED)


def test_a_shipped_calibration_that_does_not_fit_is_tightened_then_given_up():
    async def case(worker):
        states = []
        for _ in range(30):
            position = await worker.label([(0.97, False)])
            states.append((position.state, position.threshold))
            if position.state is State.SHADOW:
                break
        assert (State.TIGHTENED, pytest.approx(0.95)) in states
        assert states[-1] == (State.SHADOW, None)
        assert len(states) < 10
        assert "audits were wrong" in position.reason or "of its own" in position.reason
        assert (await worker.of(namespace_of("m", "", "another"))).state is State.SERVING

    alone(case, shipped=SHIPPED)


def test_audits_become_rarer_as_labels_come():
    async def case(worker):
        await learn(worker)
        for seed in range(10):
            position = await worker.label(traffic(100, seed=seed))
        assert position.design.above == 0.1

    alone(case)


# Drift.


def test_drift_tightens_then_stops_and_new_labels_certify_anew():
    async def case(worker):
        good = await learn(worker)
        worker.told.clear()
        states = [good]
        while states[-1].state is not State.SHADOW:
            states.append(await worker.label([(0.95, False)]))
            assert len(states) < 20
        assert [position.state for position in states[1:]].count(State.TIGHTENED) >= 1
        tightened = next(position for position in states if position.state is State.TIGHTENED)
        assert tightened.threshold > good.threshold
        assert tightened.design.above == AUDIT_SUSPICIOUS
        assert (tightened.calibration, tightened.error_upper) == ("uncalibrated", None)
        moves = [(move.before, move.after) for move in worker.told if move.namespace == NS]
        assert moves[0] == ("serving", "tightened")
        assert ("tightened", "exact_only") in moves
        (alarm, *_) = [move for move in worker.told if move.after == "tightened"]
        assert 0 < alarm.audits_wrong <= alarm.audits
        assert "audits" in alarm.reason
        again = await learn(worker, count=800, limit=0.7)
        assert 0.69 <= again.threshold < 0.8

    alone(case)


def test_a_drift_that_was_being_noticed_is_not_forgotten_when_a_certificate_is_renewed():
    async def case(worker):
        await learn(worker)
        position = await worker.label([(0.99, True)] * 30)
        (tree,) = await standings_of(worker.store)
        to_go = tree.next_attempt - tree.labels - (await behind(worker, tree))
        assert to_go > 4
        await worker.label([(0.99, True)] * (to_go - 2))
        position = await worker.label([(0.99, False)])
        assert position.state is State.SERVING
        before = worker.told[-1]
        position = await worker.label([(0.99, True), (0.99, True)])
        assert worker.told[-1].attempt > before.attempt  # renewed
        (kept,) = await standings_of(worker.store)
        assert kept.process.wrong == 1
        assert 30 < kept.process.trials <= 200

    alone(case)


async def standings_of(store, namespace=NS):
    stored = await store.load_state(standing_name(namespace))
    return decode_standing(stored.data, namespace)[0].standings


async def behind(worker, tree):
    ledger = worker.standings._log(NS).ledger
    (versions,) = {drawing.versions for drawing in tree.drawings}
    return ledger.behind(NS, versions, tree.cursor)


# Several workers, restarts and crashes.


def test_a_restart_keeps_everything(place):
    async def case():
        async with place.workers() as (worker,):
            before = await learn(worker)
            (kept,) = await standings_of(worker.store)
        async with place.workers() as (worker,):
            after = await worker.of()
            assert (after.state, after.threshold, after.error_upper) == (
                before.state,
                before.threshold,
                before.error_upper,
            )
            assert after.design == before.design
            await worker.label([(0.99, True)] * 30)
            (later,) = await standings_of(worker.store)
            assert later.labels == kept.labels + 30
            assert later.transitions[: len(kept.transitions)] == kept.transitions
            assert (await worker.of()).entries[ENTRY.id].labels >= later.labels

    asyncio.run(case())


def test_two_workers_agree_and_no_label_counts_twice(shared_place):
    """Both tell every verdict, and both advance at once, again and again."""

    async def case():
        async with shared_place.workers(2, refresh=0.0) as workers:
            pairs, labelled = traffic(300), 0
            for begin in range(0, 300, 50):
                mine = pairs[begin : begin + 50]
                trials = [await workers[place % 2].draw(score) for place, (score, _) in enumerate(mine)]
                labelled += len(trials)
                await asyncio.gather(
                    *(
                        worker.standings.judged(trial, right, "same")
                        for worker in workers
                        for trial, (_, right) in zip(trials, mine, strict=True)
                    )
                )
                await asyncio.gather(*(worker.standings.advance(NS) for worker in workers for _ in range(2)))
            for worker in workers:
                await worker.of()
                await worker.behind.drain()
            positions = [await worker.of() for worker in workers]
            assert positions[0].state is State.SERVING
            assert (positions[0].threshold, positions[0].design) == (positions[1].threshold, positions[1].design)
            (kept,) = await standings_of(workers[0].store)
            told = [move for worker in workers for move in worker.told if move.namespace == NS]
            assert sorted(told, key=lambda move: move.labels) == sorted(kept.transitions, key=lambda move: move.labels)
            items = await workers[0].store.read_log(log_name("m"), after=0, limit=10_000)
            assert len(items) == 2 * labelled
            assert kept.labels + await behind(workers[0], kept) == labelled

    asyncio.run(case())


def test_what_one_worker_finds_the_others_see_soon_without_waiting(place):
    async def case():
        async with place.workers(2) as (one, other):
            assert (await other.of()).state is State.SHADOW
            await learn(one)
            assert (await other.of()).state is State.SHADOW
            place.clock.advance(31)
            assert (await other.of()).state is State.SHADOW  # what is known, at once
            await other.behind.drain()
            assert (await other.of()).threshold == (await one.of()).threshold

    asyncio.run(case())


@pytest.mark.parametrize("every", [4, 1000])
def test_a_crash_between_draw_and_verdict_counts_as_wrong(every):
    async def case(worker):
        await worker.label([(0.95, True)] * 400, lost=range(1, 400, every))
        (before,) = await standings_of(worker.store)
        assert before.labels == 1  # the next ones may still come
        worker.clock.advance(GRACE_SECONDS + 1)
        position = await worker.standings.advance(NS)
        (kept,) = await standings_of(worker.store)
        assert kept.labels == 400
        assert position.state is (State.SHADOW if every == 4 else State.SERVING)

    alone(case)


def test_an_outage_of_the_judge_is_no_drift():
    """Labels that never come spoil certificates to come, but give no alarm."""

    async def case(worker):
        await learn(worker)
        await worker.label([(0.99, True)] * 20, lost=range(20))
        worker.clock.advance(GRACE_SECONDS + 1)
        position = await worker.standings.advance(NS)
        assert position.state is State.SERVING

    alone(case)


def test_the_first_verdict_of_a_trial_counts():
    async def case(worker):
        for _ in range(100):
            trial = await worker.draw(0.95)
            await worker.standings.judged(trial, True, "same")
            await worker.standings.judged(trial, False, "llm")
            await worker.standings.drawn(trial, DIGEST)
        position = await worker.standings.advance(NS)
        assert position.state is State.SERVING
        assert position.entries[ENTRY.id].labels == 100
        assert position.entries[ENTRY.id].correct == 100

    alone(case)


def test_a_trial_of_a_design_that_nobody_knows_is_not_written():
    async def case(worker):
        trial = await worker.draw(0.9)
        stray = Trial(id="x", namespace=NS, design="0" * 16, score=0.9, candidate=trial.candidate, served=False)
        assert await worker.standings.drawn(stray, DIGEST) is False
        assert len(await worker.store.read_log(log_name("m"), after=0, limit=9)) == 1

    alone(case)


# Back-off.


def test_while_labels_are_few_the_parents_certificate_serves():
    async def case(worker):
        await learn(worker)
        position = await worker.of(OTHER)
        assert (position.state, position.calibration) == (State.SERVING, "certified")
        assert position.threshold == (await worker.of("m")).threshold
        assert "the certificate is from 'm'" in position.reason
        assert position.design.id != (await worker.of()).design.id
        deeper = await worker.of(namespace_of("m", "acme", "billing"))
        assert f"the certificate is from '{NS}'" in deeper.reason

    alone(case)


def test_no_ancestor_is_believed_against_ones_own_labels():
    async def case(worker):
        pairs = [(0.97, right) for right in (False, True, False, False, True, False)]
        assert (await worker.label(pairs, OTHER)).state is State.SHADOW
        await learn(worker)
        while (await worker.of("m")).calibration != "certified":
            await worker.label(traffic(20))
        worker.clock.advance(31)
        await worker.of(OTHER)
        await worker.behind.drain()
        assert (await worker.of(OTHER)).state is State.SHADOW  # nor before it has looked at them
        position = await worker.standings.advance(OTHER)
        assert position.state is State.SHADOW
        assert "4 of its own 6 were wrong" in position.reason
        assert (await worker.of(namespace_of("m", "fresh", ""))).state is State.SERVING

    alone(case)


def test_ones_own_audits_stop_what_an_ancestor_certified():
    async def case(worker):
        await learn(worker)
        position = await worker.of(OTHER)
        seen = 0
        while position.state in (State.SERVING, State.TIGHTENED):
            position = await worker.label([(0.99, False)], OTHER)
            seen += 1
            assert seen < 15
        assert position.state is State.SHADOW
        assert (await worker.of()).state is State.SERVING
        worker.clock.advance(40)
        await worker.of(OTHER)
        await worker.behind.drain()
        assert (await worker.of(OTHER)).state is State.SHADOW

    alone(case)


def test_one_bad_tenant_stops_neither_its_parent_nor_the_others():
    """It is stopped itself, soon; what it then labels in shadow, which is everything, is no traffic that is served."""

    async def case(worker):
        await learn(worker)
        third = namespace_of("m", "initech", "")
        before = await worker.of("m")
        assert (await worker.of(third)).calibration == "certified"
        for _ in range(40):
            position = await worker.label([(0.99, False)] * 10, OTHER)
        assert position.state is State.SHADOW
        await worker.label([(0.99, True)] * 150)
        assert (await worker.of("m")).state is before.state is State.SERVING
        worker.clock.advance(31)
        await worker.of(third)
        await worker.behind.drain()
        position = await worker.of(third)
        assert (position.state, position.calibration) == (State.SERVING, "certified")

    alone(case)


def test_a_drift_that_all_tenants_share_is_noticed_by_their_parent():
    async def case(worker):
        await learn(worker)
        tenants = [namespace_of("m", str(number), "") for number in range(400)]
        seen = 0
        for tenant in tenants:
            seen += 1
            await worker.label([(0.99, False)], tenant)  # one of each: too few for any of them to notice
            if (await worker.of("m")).state is not State.SERVING:
                break
        assert 5 < seen < 100
        worker.clock.advance(31)
        await worker.of(tenants[0])
        await worker.behind.drain()
        position = await worker.of(tenants[0])
        assert position.state in (State.TIGHTENED, State.SHADOW)

    alone(case)


def test_an_alarm_at_the_ancestor_is_one_for_all_that_serve_by_its_certificate():
    async def case(worker):
        await learn(worker, namespace="m")
        assert (await worker.of(OTHER)).state is State.SERVING
        while (await worker.of("m")).state is not State.SHADOW:
            await worker.label([(0.99, False)], "m")
        worker.clock.advance(31)
        await worker.of(OTHER)
        await worker.behind.drain()
        assert (await worker.of(OTHER)).threshold is None

    alone(case)


def test_where_an_ancestor_fails_to_renew_its_certificate_its_descendants_are_tightened_too():
    """Wrong answers below what the ancestor serves by show in the attempt, and not in the bet."""

    async def case(worker):
        certified = await learn(worker, namespace="m")
        limit = certified.threshold
        child = namespace_of("m", "globex", "")
        assert (await worker.of(child)).threshold == limit
        rng = np.random.default_rng(5)
        while (await worker.of("m")).state is State.SERVING:
            # One in twelve is wrong at every score: too many to certify anything, too few for a quick alarm.
            await worker.label([(0.99, bool(rng.random() > 1 / 12)) for _ in range(10)], "m")
        worker.clock.advance(31)
        await worker.of(child)
        await worker.behind.drain()
        position = await worker.of(child)
        assert position.threshold is None or position.threshold > limit

    alone(case)


# What is stored may be damaged, older or newer.


@pytest.mark.parametrize("shipped", [None, SHIPPED])
@pytest.mark.parametrize("damage", [b"", b"\x00\xff", b'{"format": 1, "standings": [{}]}', "threshold", "cut"])
def test_a_damaged_standing_never_serves_until_new_labels_certify_it(place, damage, shipped):
    async def case():
        async with place.workers() as (worker,):
            await learn(worker)
            stored = await worker.store.load_state(standing_name(NS))
            data = damage
            if damage == "cut":
                data = stored.data[: len(stored.data) // 2]
            elif damage == "threshold":
                tree = msgspec.json.decode(stored.data)
                tree["standings"][0]["certificate"]["threshold"] = 0.51
                data = msgspec.json.encode(tree)
            await worker.store.save_state(standing_name(NS), data, expected=stored.version)
        async with place.workers(shipped=shipped) as (worker,):
            position = await worker.of()
            assert (position.state, position.threshold) == (State.SHADOW, None)
            assert "can't be read" in position.reason
            assert (await worker.of(namespace_of("m", "acme", "faq"))).threshold is None  # nor do its descendants
            position = await worker.label([(0.99, True)] * 5)
            if position.state is State.SHADOW:
                position = await learn(worker, count=800)
            assert position.calibration == "certified"
            assert await standings_of(worker.store)

    asyncio.run(case())


def test_standings_that_are_lost_are_made_again_from_the_labels():
    async def case(worker):
        before = await learn(worker)
        worker.store._states.clear()
        worker.clock.advance(31)
        await worker.of()
        await worker.behind.drain()
        assert (await worker.of()).threshold is None
        position = await worker.label([(0.99, True)] * 3)
        assert position.calibration == before.calibration == "certified"

    alone(case)


def test_a_newer_releases_standing_is_neither_served_by_nor_replaced():
    async def case(worker):
        newer = b'{"format": 2, "somehow": "else"}'
        await worker.store.save_state(standing_name(NS), newer, expected=None)
        position = await worker.label([(0.95, True)] * 150)
        assert position.threshold is None or position.calibration == "certified"
        assert (await worker.store.load_state(standing_name(NS))).data == newer

    alone(case)


def test_a_change_of_versions_ends_a_certificate(place):
    async def case():
        async with place.workers() as (old,):
            certified = await learn(old)
            async with place.workers(guards="2") as (new,):
                position = await new.of()
                assert (position.state, position.threshold) == (State.SHADOW, None)
                assert "another guards" in position.reason
                position = await new.label([(0.7, True)] * 20)
                assert [known.labels for known in await standings_of(new.store) if known.versions.guards == "2"] == [20]
                assert new.told[-1].reason.startswith("another guards is in use than before")
            place.clock.advance(31)
            await old.of()
            await old.behind.drain()
            assert (await old.of()).threshold == certified.threshold  # for as long as an old worker lives

    asyncio.run(case())


def test_two_promises_stand_side_by_side(place):
    async def case():
        async with place.workers() as (loose,), place.workers(policy=Policy(max_error_rate=0.01)) as (strict,):
            await learn(loose)
            assert (await strict.of()).state is State.SHADOW
            await strict.label(traffic(20, seed=3))
            assert {known.promise for known in await standings_of(strict.store)} == {
                "0.05/0.9/hit",
                "0.01/0.95/hit",
            }
            await loose.label(traffic(20, seed=4))
            assert (await loose.of()).state is State.SERVING

    asyncio.run(case())


def test_a_log_that_grew_too_long_is_trimmed_and_no_claim_breaks(monkeypatch):
    monkeypatch.setattr(ledgers, "LOG_LONGEST", 600)
    monkeypatch.setattr(ledgers, "LOG_KEPT", 400)

    async def case(worker):
        certified = await learn(worker)
        for _ in range(5):
            position = await worker.label([(0.99, True)] * 50)
        assert len(await worker.store.read_log(log_name("m"), after=0, limit=1000)) <= 600
        (kept,) = await standings_of(worker.store)
        assert kept.labels > 300
        assert position.state is State.SERVING
        assert position.error_upper <= certified.error_upper + 0.05
        fresh = Worker(worker.store, worker.clock)
        assert (await fresh.of()).threshold == position.threshold

    alone(case)


def test_a_certificate_is_tried_again_after_seven_days():
    async def case(worker):
        await learn(worker)
        await worker.label([(0.99, True)] * 55)
        (before,) = await standings_of(worker.store)
        assert before.labels - before.attempted_labels >= 50
        worker.clock.advance(8 * 86400.0)
        await worker.label([(0.99, True)])
        (after,) = await standings_of(worker.store)
        assert after.attempt == before.attempt + 1

    alone(case)


# Without a judge, and without a promise.


def test_without_labels_a_shipped_calibration_serves_and_nothing_is_drawn():
    async def case(worker):
        position = await worker.of()
        assert (position.state, position.threshold, position.calibration) == (State.SERVING, 0.9, "uncalibrated")
        assert position.design is None

    alone(case, shipped=SHIPPED, learning=False)


def test_without_labels_and_calibration_it_says_what_to_do():
    async def case(worker):
        position = await worker.of()
        assert (position.state, position.threshold, position.design) == (State.SHADOW, None, None)
        assert "give a judge, or import labels with `yamabiko calibrate`" in position.reason

    alone(case, learning=False)


def test_imported_labels_certify_without_any_judge(place):
    async def case():
        async with place.workers(2, learning=False) as (worker, other):
            position = await worker.standings.imported(NS, traffic(1000))
            assert (position.state, position.calibration, position.design) == (State.SERVING, "certified", None)
            assert 0.57 < position.threshold < 0.63
            assert (await other.of()).threshold == position.threshold
            again = await other.standings.imported(NS, traffic(1000))
            assert again.threshold == position.threshold
            (kept,) = await standings_of(worker.store)
            assert (kept.labels, kept.attempt) == (1000, 1)

    asyncio.run(case())


def test_imported_labels_that_show_nothing_say_so():
    async def case(worker):
        position = await worker.standings.imported(NS, [(0.9, i % 3 > 0) for i in range(1000)])
        assert position.threshold is None
        assert "were wrong at the strictest threshold tested" in position.reason
        with pytest.raises(ConfigurationError, match="scores"):
            await worker.standings.imported(NS, [(float("nan"), True)])

    alone(case, learning=False)


def test_without_a_promise_the_similarity_alone_decides():
    async def case(worker):
        position = await worker.of()
        assert (position.state, position.threshold, position.calibration) == (State.SERVING, 0.0, "none")
        assert position.design is None
        worker.standings.requested(NS, "x", "y")
        assert (await worker.standings.advance(NS)).threshold == 0.0
        with pytest.raises(ConfigurationError):
            await worker.standings.imported(NS, [(0.9, True)])

    alone(case, policy=Policy(max_error_rate=None, min_similarity=0.9))


def test_a_judge_that_is_too_doubtful_is_refused_at_once():
    store = MemoryStore(embedder="fake", dim=8)
    with pytest.raises(ConfigurationError, match="doubt"):
        Standings(
            store,
            policy=POLICY,
            clock=FakeClock(),
            learning=True,
            shipped=lambda _: None,
            versions=lambda _: Versions(),
            judge=Judge(doubt=0.1),
            new_id=str,
            spawn=Background().spawn,
        )


# Per request.


def test_a_promise_per_request_counts_requests():
    policy = Policy(max_error_rate=0.05, confidence=0.9, on="request")

    async def case(worker):
        position = await worker.label([(0.95, True)] * 100)
        assert position.state is State.SHADOW  # of how many requests, nobody knows yet
        for number in range(300):
            worker.standings.requested(NS, position.design.id, f"look-up {number}")
        position = await worker.standings.advance(NS)
        assert (position.state, position.calibration) == (State.SERVING, "certified")
        (kept,) = await standings_of(worker.store)
        assert "per request" in kept.reason
        assert kept.certificate.test.trials > 150

    alone(case, policy=policy)


def test_counts_that_could_not_be_written_are_written_later_once():
    policy = Policy(max_error_rate=0.05, confidence=0.9, on="request")

    class Failing(MemoryStore):
        down = False

        async def append_log(self, name, items, /):
            if self.down == "before":
                raise StoreUnavailable("down")
            added = await super().append_log(name, items)
            if self.down == "after":
                raise StoreUnavailable("nobody heard the reply")
            return added

    async def run():
        store = Failing(embedder="fake", dim=8)
        worker = Worker(store, FakeClock(), policy=policy)
        design = (await worker.of()).design.id
        for down in ("before", "after", False):
            worker.standings.requested(NS, design, f"{down}")
            store.down = down
            if down:
                with pytest.raises(StoreError):
                    await worker.standings.flush()
        await worker.standings.flush()
        items = await store.read_log(log_name("m"), after=0, limit=9)
        assert sum(msgspec.msgpack.decode(item.data)["requests"] for item in items) == 3
        await worker.behind.drain()

    asyncio.run(run())


# A store that fails.


class Flaky(MemoryStore):
    """Fails while told to; may be held up."""

    down = False
    gate = None
    reads = 0

    async def load_state(self, name, /):
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise StoreUnavailable("the store is down")
        return await super().load_state(name)


def test_a_store_that_is_down_at_first_sight_closes_the_tier_by_meaning_and_no_more():
    async def run():
        store, clock = Flaky(embedder="fake", dim=8), FakeClock()
        worker = Worker(store, clock, shipped=SHIPPED)
        store.down = True
        position = await worker.of()
        assert (position.state, position.threshold, position.design) == (State.EXACT_ONLY, None, None)
        assert "the store is down" in position.reason
        reads = store.reads
        assert (await worker.of()).state is State.EXACT_ONLY
        assert store.reads == reads  # not asked again at once
        store.down = False
        clock.advance(1.5)
        await worker.of()
        await worker.behind.drain()
        position = await worker.of()
        assert position.state is State.SERVING
        store.down = True
        clock.advance(31)
        await worker.of()
        await worker.behind.drain()
        assert await worker.of() == position  # what is known stays
        assert worker.behind.failures == 0

    asyncio.run(run())


def test_many_who_see_a_namespace_first_read_the_store_once():
    async def run():
        store = Flaky(embedder="fake", dim=8)
        store.gate = asyncio.Event()
        worker = Worker(store, FakeClock(), shipped=SHIPPED)
        asking = [asyncio.create_task(worker.of()) for _ in range(50)]
        await asyncio.sleep(0)
        asking[0].cancel()  # and who goes away takes nothing from the others
        store.gate.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {position.threshold for position in found[1:]} == {0.9}
        assert store.reads == 2  # the tenant and the root
        await worker.of(OTHER)
        assert store.reads == 3
        await worker.behind.drain()

    asyncio.run(run())


def test_a_store_that_hangs_holds_nobody_up_for_long(monkeypatch):
    from yamabiko.learn import standings

    monkeypatch.setattr(standings, "FIRST_TIMEOUT_SECONDS", 0.01)

    async def run():
        store = Flaky(embedder="fake", dim=8)
        store.gate = asyncio.Event()
        worker = Worker(store, FakeClock(), shipped=SHIPPED)
        worker.standings._timeout = 0.01
        position = await worker.of()
        assert position.state is State.EXACT_ONLY
        assert "took too long" in position.reason
        await worker.behind.drain()

    asyncio.run(run())


def test_only_so_many_namespaces_are_held(monkeypatch):
    from yamabiko.learn import standings

    monkeypatch.setattr(standings, "MOST_NAMESPACES", 5)

    async def case(worker):
        for number in range(20):
            assert (await worker.of(namespace_of("m", str(number), ""))).state is State.SERVING
        assert len(worker.standings._held) <= 5

    alone(case, shipped=SHIPPED)


def test_nothing_stored_names_a_tenant_or_a_text(place):
    async def case():
        async with place.workers() as (worker,):
            await learn(worker, namespace_of("m", "Yamada Trading", "faq"))
        content = b"".join(path.read_bytes() for path in place_files(place))
        assert b"learn:m" in content
        for text in (b"Yamada", b"answered question", b"an answer"):
            assert text not in content

    asyncio.run(case())


def place_files(place):
    from pathlib import Path

    cells = place.opening.__closure__
    (folder,) = [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, Path)]
    return [path for path in folder.iterdir() if path.is_file()]


# The promise itself.


async def stream(seed, length, policy):
    """One stream through ``Standings``: (share served by a certificate, wrong share of those)."""
    rng = np.random.default_rng(seed)
    worker = Worker(MemoryStore(embedder="fake", dim=8), FakeClock(), policy=policy, refresh=1e9)
    worker.name = f"s{seed}"
    scores = np.where(rng.random(length) < 0.5, rng.beta(30, 1, length), rng.beta(2, 2, length))
    wrong = rng.random(length) < (1 - scores) ** 1.3
    served = errors = waiting = 0
    for score, bad in zip(scores.tolist(), wrong.tolist(), strict=True):
        position = await worker.of()
        if position.threshold is not None and score >= position.threshold:
            served, errors = served + 1, errors + bad
        name = f"{seed}/{next(worker.ids)}"
        if position.design is not None and position.design.draws(name, score):
            candidate = Candidate(entry=ENTRY, similarity=0.9)
            trial = Trial(
                id=name, namespace=NS, design=position.design.id, score=score, candidate=candidate, served=False
            )
            await worker.standings.drawn(trial, DIGEST)
            await worker.standings.judged(trial, not bad, "same")
            waiting += 1
            if waiting == 25:
                waiting = 0
                await worker.standings.advance(NS)
    await worker.behind.drain()
    return served / length, errors / max(1, served)


def test_the_promise_is_kept_over_streams():
    """Labels choose the threshold while it is served by: 40 streams, each from nothing to its certificates."""

    async def run():
        return [await stream(seed, 3000, Policy(max_error_rate=0.05)) for seed in range(40)]

    found = asyncio.run(run())
    kept = [errors <= 0.05 for served, errors in found]
    assert sum(kept) >= 38
    assert np.mean([served for served, _ in found]) > 0.1
