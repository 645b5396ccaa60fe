"""Experiments: two policies in use at once, their outcomes through real stores, and a report that may be read often."""

from __future__ import annotations

import asyncio
import itertools
import math
import secrets
from collections import Counter

import numpy as np
import pytest
from msgspec.structs import replace as replaced

from yamabiko import Policy, Request
from yamabiko.core.drift import EProcess
from yamabiko.core.experiment import log_capital, log_evidence
from yamabiko.core.states import State
from yamabiko.errors import ConfigurationError, StoreUnavailable
from yamabiko.flight import Background
from yamabiko.learn.experiment import BATCHES_PER_ADDING, Experiments, namespace_suffix
from yamabiko.learn.experiment_counts import MAX_CALLERS, MAX_WRITERS, Batch, Counts, Noted
from yamabiko.learn.experiment_promises import promises_of
from yamabiko.learn.experiment_records import FIRST, MAX_KEPT, STATE, caller_of, changed
from yamabiko.learn.experiment_report import findings
from yamabiko.learn.records import NamespaceState, StoredStanding, encode_standing, promise_of, standing_name
from yamabiko.learn.versions import versions_of
from yamabiko.ports import MAX_STATE_BYTES
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock

CONTROL = Policy(max_error_rate=0.02)
LOOSER = "max_error_rate=0.05,candidates=8"
HOUR = 3600.0
RUNS = 200


class Place:
    """One cache that several workers open: each gets a connection of its own, where there is more than memory."""

    def __init__(self, connect):
        self._connect = connect
        self.clock = FakeClock()
        self.opened = []
        self.behind = Background()

    async def worker(self, *, around=lambda store: store, policy=CONTROL, known=True, **options):
        store = await self._connect()
        if store not in self.opened:
            self.opened.append(store)
        options = {"policy": policy, "clock": self.clock, "spawn": self.behind.spawn, **options}
        one = Experiments(around(store), **options)
        if known:
            await one.refresh()
        return one

    async def close(self):
        await self.behind.drain()
        for store in self.opened:
            await store.close()


def run(test, connect):
    """A test on one place."""

    async def whole():
        place = Place(connect)
        try:
            return await test(place)
        finally:
            await place.close()

    return asyncio.run(whole())


def in_memory():
    store = MemoryStore(embedder="fake", dim=4)

    async def connect():
        return store

    return connect


def in_file(folder):
    async def connect():
        return await SqliteStore.open(folder / "cache.db", embedder="fake", dim=4)

    return connect


def on_server(engine):
    address = Address.parse(f"redis://127.0.0.1:{engine.port}?name=x{secrets.token_hex(6)}")

    async def connect():
        return await MemoryDBStore.open(address, embedder="fake", dim=4)

    return connect


@pytest.fixture(params=["memory", "sqlite", "valkey"])
def connect(request, tmp_path):
    if request.param == "valkey":
        return on_server(request.getfixturevalue("engine"))
    return in_memory() if request.param == "memory" else in_file(tmp_path)


def asks(worker, caller, hits):
    """A caller makes requests, each a hit or not; the arm that it is in."""
    for hit in hits:
        arm = worker.arm_of(caller)
        worker.note(arm, hit=hit)
    return arm


class Unreliable:
    """A store whose log takes what it is given, or does not, and then says that it failed."""

    def __init__(self, store):
        self._store = store
        self.fails = ""

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def append_log(self, name, items, /):
        if self.fails == "never":
            await asyncio.Event().wait()
        if self.fails == "before":
            raise StoreUnavailable("no connection")
        count = await self._store.append_log(name, items)
        if self.fails == "after":
            raise StoreUnavailable("no reply")
        return count


# Arms.


def test_without_an_experiment_everybody_has_the_policy_and_nothing_is_noted():
    async def test(place):
        worker = await place.worker()
        arm = worker.arm_of("user:1")
        assert (arm.name, arm.policy, arm.counts, namespace_suffix(arm)) == ("control", CONTROL, False, "")
        worker.note(arm, hit=True)
        await worker.flush()
        assert await worker.all() == ()

    run(test, in_memory())


def test_a_caller_keeps_its_arm_in_every_worker_and_after_a_restart(connect):
    async def test(place):
        one = await place.worker()
        begun = await one.start("looser", LOOSER, share=0.3)
        other = await place.worker()
        arms = {caller: one.arm_of(caller) for caller in (f"user:{n}" for n in range(400))}
        assert all(other.arm_of(caller) == arm for caller, arm in arms.items())
        counts = Counter(arm.name for arm in arms.values())
        assert abs(counts["treatment"] - 120) < 4 * math.sqrt(400 * 0.3 * 0.7)
        for arm in arms.values():
            treated = arm.name == "treatment"
            assert arm.policy == (Policy(max_error_rate=0.05, candidates=8) if treated else CONTROL)
            assert namespace_suffix(arm) == ("/x:looser" if treated else "")
        assert begun.key.hex() not in repr(begun)
        assert repr(begun.key) not in repr(begun)

    run(test, connect)


def test_who_is_nobody_has_the_control_and_is_not_counted():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER, share=0.99)
        arm = worker.arm_of(caller_of(Request("q")))
        assert (arm.name, arm.counts) == ("control", False)
        worker.note(arm, hit=True)
        assert (await worker.report("looser")).requests == ((0, 0), (0, 0))

    run(test, in_memory())


def test_a_caller_is_a_tenants_user_or_the_tenant():
    callers = [
        caller_of(Request("q", tenant=tenant, user=user))
        for tenant, user in (("", ""), ("a", ""), ("", "a"), ("a", "b"), ("ab", ""), ("", "ab"), ("a", "1:b"))
    ]
    assert callers[0] == ""
    assert len(set(callers)) == len(callers)
    assert caller_of(Request("another", tenant="a", user="b", model="m")) == callers[3]


def test_a_worker_finds_out_behind_that_an_experiment_began_and_ended():
    async def test(place):
        one, other = await place.worker(), await place.worker(known=False)
        await one.start("looser", LOOSER)
        assert not other.arm_of("user:1").counts  # not known yet: nobody waits for it
        await place.behind.drain()
        assert other.arm_of("user:1").counts
        await one.stop("looser")
        place.clock.advance(31)
        assert other.arm_of("user:1").counts
        await place.behind.drain()
        assert not other.arm_of("user:1").counts
        assert place.behind.failures == 0

    run(test, in_memory())


def test_outcomes_are_written_behind_without_being_asked_to():
    async def test(place):
        written = asyncio.Event()

        def spawn(what, work):
            task = place.behind.spawn(what, work)
            task.add_done_callback(lambda _: written.set())

        worker = await place.worker(flush_seconds=0.01, spawn=spawn)
        await worker.start("looser", LOOSER)
        asks(worker, "user:1", [True])
        await asyncio.wait_for(written.wait(), 30)
        assert sum(n for n, _ in (await (await place.worker()).report("looser")).requests) == 1

    run(test, in_memory())


# What can be run.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("", "say what the treatment changes"),
        ("max_error_rate", "name=value"),
        ("max_error_rate=", "name=value"),
        ("max_error_rate=0.9", "from 0.0001 to 0.5"),
        ("max_error_rate=none", "needs min_similarity"),
        ("candidates=many", "a whole number"),
        ("candidates=3,candidates=4", "twice"),
        ("candidate=3", "there are max_error_rate"),
        ("guards.number=veto", "the guards are numbers"),
        ("guards.numbers=maybe", "must be veto, feature or off"),
        ("guards=numbers", "guards.NAME"),
        ("users=personal", "both arms must find the same answers"),
        ("require_tenant=true", "both arms must find the same answers"),
        ("model_families=a=b", "both arms must find the same answers"),
        ("ttl_seconds=1h", "when an answer is stored"),
        ("confirm=true", "when an answer is stored"),
        ("candidates=3," * 200, "allowed"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_what_to_do(changes, says):
    async def test(place):
        worker = await place.worker()
        with pytest.raises(ConfigurationError, match=says):
            await worker.start("looser", changes)
        assert await worker.all() == ()

    run(test, in_memory())


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("", {}),
        ("a b", {}),
        ("a" * 33, {}),
        ("実験", {}),
        ("a", {"share": 1.0}),
        ("a", {"confidence": 0.3}),
        ("a", {"expected_hit_rate": -1.0}),
        ("a", {"window_seconds": 0.0}),
        ("a", {"window_seconds": math.nan}),
        ("a", {"warmup_seconds": -1.0}),
    ],
)
def test_terms_that_cannot_be_are_refused(name, terms):
    async def test(place):
        worker = await place.worker()
        with pytest.raises(ConfigurationError):
            await worker.start(name, LOOSER, **terms)

    run(test, in_memory())


def test_changes_are_those_of_the_settings_and_keep_the_rest():
    policy = Policy(guards={"money": "off"}, ttl_seconds=60)
    made = changed(policy, " policy.min_similarity = 0.8 , guards.billing/numbers=feature, semantic=on")
    assert made == Policy(min_similarity=0.8, guards={"money": "off", "billing/numbers": "feature"}, ttl_seconds=60)


def test_one_runs_at_a_time_whoever_starts_it(connect):
    async def test(place):
        workers = [await place.worker() for _ in range(4)]
        begun = await asyncio.gather(
            *(one.start(f"e{n}", LOOSER) for n, one in enumerate(workers)), return_exceptions=True
        )
        refused = [str(one) for one in begun if isinstance(one, ConfigurationError)]
        (running,) = await workers[0].all()
        assert len(refused) == 3
        assert all(f"yamabiko experiment stop {running.name}" in why for why in refused)
        await workers[0].stop(running.name)
        with pytest.raises(ConfigurationError, match="choose another name"):
            await workers[1].start(running.name, LOOSER)
        await workers[1].start("next", LOOSER)
        assert [one.name for one in await workers[2].all()] == [running.name, "next"]
        with pytest.raises(ConfigurationError, match=r"there are e\d, next"):
            await workers[3].stop("nonsense")

    run(test, connect)


def test_stopping_keeps_the_report_and_late_outcomes_and_may_be_said_twice():
    async def test(place):
        one, other = await place.worker(), await place.worker()
        await one.start("looser", LOOSER)
        await other.refresh()
        asks(other, "user:1", [True] * FIRST)
        ended = await one.stop("looser")
        place.clock.advance(5)
        assert await one.stop("looser") == ended
        assert not one.arm_of("user:1").counts
        await other.flush()  # noted before it could know
        found = await one.report("looser")
        assert found.definition.stopped == place.clock() - 5
        assert found.tests.hits.control.units + found.tests.hits.treatment.units == 1
        assert (await one.report("looser")).document() == found.document()

    run(test, in_memory())


def test_a_worker_with_a_policy_that_does_not_fit_serves_the_control(caplog):
    async def test(place):
        bare = Policy(max_error_rate=None, min_similarity=0.8)
        starter = await place.worker(policy=bare)
        await starter.start("barer", "max_error_rate=none,min_similarity=0.7")
        worker = await place.worker(policy=bare)
        assert worker.arm_of("user:1").counts
        await starter.stop("barer")
        await starter.start("exact", "min_similarity=none,semantic=false")
        await starter.stop("exact")
        await starter.start("looser", "max_error_rate=none")
        worker = await place.worker(policy=CONTROL)
        for _ in range(3):
            await worker.refresh()
        assert worker.arm_of("user:1").policy == CONTROL
        assert not worker.arm_of("user:1").counts

    run(test, in_memory())
    assert caplog.text.count("can't run with this worker's policy") == 1


def test_only_so_many_experiments_are_kept_and_nothing_is_left_of_the_others():
    async def test(place):
        worker = await place.worker()
        for number in range(MAX_KEPT + 2):
            await worker.start(f"e{number}", LOOSER)
            asks(worker, "user:1", [True])
            await worker.stop(f"e{number}")
        assert [one.name for one in await worker.all()] == [f"e{n}" for n in range(2, MAX_KEPT + 2)]
        (store,) = place.opened
        assert await store.read_log("experiment:e0", after=0, limit=10) == []
        assert len(await store.read_log("experiment:e2", after=0, limit=10)) == 1
        assert sum(n for n, _ in (await worker.report("e2")).requests) == 1

    run(test, in_memory())


# What is counted.


def test_outcomes_of_all_workers_come_together(connect):
    async def test(place):
        one, other = await place.worker(), await place.worker()
        await one.start("looser", LOOSER)
        await other.refresh()
        names = Counter()
        for number in range(60):
            worker = (one, other)[number % 2]
            arm = asks(worker, f"user:{number}", [number % 3 == 0] * (FIRST + 5))
            names[arm.name] += 1
            worker.audited(arm, correct=number % 6 == 0)
            worker.audited(arm, correct=False)  # a caller's second audit
            worker.feedback(arm, ok=number % 2 == 0)
        await one.flush()
        await other.flush()
        found = await one.report("looser", {"control": "at most 2.00% wrong per hit"})
        hits, errors = found.tests.hits, found.tests.errors
        for tally, wrong, arm in (
            (hits.control, errors.control, "control"),
            (hits.treatment, errors.treatment, "treatment"),
        ):
            assert tally.units == wrong.units == names[arm]
        assert hits.control.total + hits.treatment.total == pytest.approx(20)
        assert errors.control.total + errors.treatment.total == 50
        assert sum(n for n, _ in found.requests) == 60 * (FIRST + 5)
        assert sum(h for _, h in found.requests) == 20 * (FIRST + 5)
        assert [sum(pair) for pair in zip(*found.feedback, strict=True)] == [30, 30]
        assert "control: at most 2.00% wrong per hit; treatment: nothing is certified yet" in found.sentence
        assert found.waiting == 0
        assert found.document() == (await other.report("looser", found.certificates)).document()

    run(test, connect)


def test_a_caller_counts_once_its_requests_are_made_or_its_time_is_up():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER, window_seconds=HOUR)

        async def units():
            found = await worker.report("looser")
            return found.tests.hits.control.units + found.tests.hits.treatment.units, found.waiting

        asks(worker, "user:first", [True] * FIRST)
        assert await units() == (1, 0)
        asks(worker, "user:slow", [True])
        assert await units() == (1, 1)
        asks(worker, "user:quick", [True] * FIRST)
        assert await units() == (1, 2)  # those who came before it have not finished: all in their order
        place.clock.advance(HOUR + 61)
        assert await units() == (3, 0)

    run(test, in_memory())


def test_what_was_looked_at_never_changes():
    """Whoever is counted stays counted with the same value, whatever comes later, and in whatever order."""

    async def test(place):
        rng = np.random.default_rng(5)
        workers = [await place.worker() for _ in range(2)]
        await workers[0].start("looser", LOOSER, window_seconds=600)
        await workers[1].refresh()
        before = None
        for _ in range(150):
            worker = workers[rng.integers(2)]
            asks(worker, f"user:{rng.integers(40)}", rng.random(rng.integers(1, 9)) < 0.5)
            place.clock.advance(float(rng.integers(0, 90)))
            if rng.random() < 0.5:
                await worker.flush()  # the other one is late
            _, counts = await workers[0].counts("looser")
            now = counts._rows[: counts._size - counts.tallies().waiting].tolist()
            if before is not None:
                assert now[: len(before)] == before
            before = now
        place.clock.advance(HOUR)
        _, counts = await workers[0].counts("looser")
        assert counts._rows[: len(before)].tolist() == before
        assert (len(before) > 30, counts.tallies().waiting) == (True, 0)

    run(test, in_memory())


def test_nothing_counts_before_the_warmup_is_over():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER, warmup_seconds=HOUR)
        arm = asks(worker, "user:1", [False] * FIRST)
        worker.audited(arm, correct=False)
        place.clock.advance(HOUR)
        asks(worker, "user:1", [True] * FIRST)
        found = await worker.report("looser")
        assert sum(tally.total for tally in (found.tests.hits.control, found.tests.hits.treatment)) == 1
        assert found.tests.errors.control.units + found.tests.errors.treatment.units == 0

    run(test, in_memory())


def test_an_outcome_is_noted_for_the_experiment_that_dealt_its_arm():
    async def test(place):
        worker = await place.worker()
        await worker.start("one", LOOSER)
        arm = worker.arm_of("user:1")
        await worker.stop("one")
        await worker.start("two", LOOSER)
        worker.note(arm, hit=True)
        for name in ("one", "two"):
            assert (await worker.report(name)).requests == ((0, 0), (0, 0))

    run(test, in_memory())


def test_names_of_tenants_and_users_are_nowhere_in_the_store():
    async def test(place):
        worker = await place.worker()
        begun = await worker.start("looser", LOOSER)
        arm = asks(worker, caller_of(Request("what?", tenant="acme-hospital", user="jane.roe")), [True])
        worker.audited(arm, correct=True)
        await worker.flush()
        (store,) = place.opened
        items = await store.read_log("experiment:looser", after=0, limit=10)
        await worker.report("looser")
        states = [await store.load_state(name) for name in (STATE, "experiment:looser")]
        data = b"".join(one.data for one in (*items, *states))
        assert b"acme" not in data
        assert b"jane" not in data
        assert begun.digest_of("user:1") != replaced(begun, key=b"another").digest_of("user:1")

    run(test, in_memory())


def test_the_report_says_what_is_certified_for_each_arm():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        (store,) = place.opened
        policies = await worker.policies("looser")
        assert (policies["control"], policies["treatment"].max_error_rate) == (CONTROL, 0.05)
        assert set((await promises_of(store, ["m"], policies)).values()) == {"nothing is certified yet"}
        versions = versions_of("m", CONTROL)
        known = NamespaceState(
            namespace="m",
            promise=promise_of(policies["treatment"]),
            versions=versions,
            state=State.SERVING,
            threshold=0.9,
            calibration="certified",
            error_upper=0.041,
            basis="its own",
            process=EProcess(budget=0.05),
        )
        short = NamespaceState(namespace="m", promise=promise_of(CONTROL), versions=versions, reason="149 labels lack")
        standing = encode_standing(StoredStanding(standings=(known, short)))
        await store.save_state(standing_name("m"), standing, expected=None)
        found = await worker.report("looser", await promises_of(store, ["m"], policies))
        assert found.certificates == {
            "control": "nothing is certified yet (149 labels lack)",
            "treatment": "at most 4.10% wrong per hit, at 95% confidence",
        }
        assert found.certificates["treatment"] in found.sentence
        bare = {"control": Policy(max_error_rate=None, min_similarity=0.9)}
        assert "nothing is promised" in (await promises_of(store, ["m"], bare))["control"]
        await store.save_state(standing_name("n"), standing, expected=None)  # one that names another namespace
        assert "can't be read" in (await promises_of(store, ["m", "n"], policies))["treatment"]

    run(test, in_memory())


# Nothing lost, nothing twice.


def test_a_batch_whose_reply_was_lost_counts_once_even_after_it_was_added_up(connect):
    async def test(place):
        worker = await place.worker(around=Unreliable)
        await worker.start("looser", LOOSER)
        reader = await place.worker()
        asks(worker, "user:1", [True] * 5)
        worker._shared.fails = "after"
        await worker.flush()
        assert sum(n for n, _ in (await reader.report("looser")).requests) == 5
        await worker.flush()
        asks(worker, "user:1", [True] * 3)  # noted meanwhile: another batch, later
        worker._shared.fails = ""
        await worker.flush()
        assert sum(n for n, _ in (await reader.report("looser")).requests) == 8

    run(test, connect)


def test_outcomes_wait_while_the_store_is_away():
    async def test(place):
        worker = await place.worker(around=Unreliable)
        await worker.start("looser", LOOSER)
        worker._shared.fails = "before"
        for number in range(3):
            asks(worker, f"user:{number}", [True] * 4)
            await worker.flush()
        worker._shared.fails = ""
        await worker.close()
        reader = await place.worker()
        assert sum(n for n, _ in (await reader.report("looser")).requests) == 12
        worker.note(worker.arm_of("user:1"), hit=True)  # a closed worker notes nothing and fails nobody

    run(test, in_memory())


def test_a_batch_that_comes_again_after_later_ones_counts_once():
    counts = Counts.parse(b"", window_seconds=HOUR)
    for position, number in enumerate((1, 2, 1, 2, 3), 1):
        batch = Batch(writer="w", number=number, requests=((1, 0), (0, 0)))
        counts.add([(position, batch.encode())])
    assert counts.head.requests == ((3, 0), (0, 0))


def test_who_adds_up_more_slowly_than_another_loses_nothing():
    class Slow(Unreliable):
        async def save_state(self, name, data, /, *, expected):
            if self.fails == "later":
                self.fails = ""
                asks(self.other, "user:2", [True] * 3)
                await self.other.report("looser")
            return await self._store.save_state(name, data, expected=expected)

    async def test(place):
        one, other = await place.worker(around=Slow), await place.worker()
        await one.start("looser", LOOSER)
        await other.refresh()
        asks(one, "user:1", [True] * 4)
        one._shared.other, one._shared.fails = other, "later"
        for worker in (one, other):
            assert sum(n for n, _ in (await worker.report("looser")).requests) == 7

    run(test, in_memory())


def test_the_first_audit_of_a_caller_counts_whichever_worker_made_it():
    async def test(place):
        one, other = await place.worker(), await place.worker()
        await one.start("looser", LOOSER)
        await other.refresh()
        for worker, correct in ((one, True), (other, False)):
            worker.audited(asks(worker, "user:1", [True]), correct=correct)
            await worker.flush()
        errors = (await one.report("looser")).tests.errors
        assert (errors.control.units + errors.treatment.units, errors.control.total + errors.treatment.total) == (1, 0)

    run(test, in_memory())


def test_a_caller_that_never_stops_asking_fills_no_log():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        asks(worker, "user:1", [True] * FIRST)
        await worker.flush()
        asks(worker, "user:1", [True] * 5000)
        await worker.flush()
        (store,) = place.opened
        _, last = await store.read_log("experiment:looser", after=0, limit=10)
        assert len(last.data) < 250
        assert sum(n for n, _ in (await worker.report("looser")).requests) == 5020

    run(test, in_memory())


def test_a_store_that_hangs_holds_up_no_close():
    async def test(place):
        worker = await place.worker(around=Unreliable, timeout_seconds=0.02)
        await worker.start("looser", LOOSER)
        worker._shared.fails = "never"
        asks(worker, "user:1", [True])
        await asyncio.wait_for(worker.close(), 30)

    run(test, in_memory())


def test_workers_that_write_and_add_up_at_once_lose_and_double_nothing(connect):
    async def test(place):
        workers = [await place.worker() for _ in range(3)]
        await workers[0].start("looser", LOOSER)
        for worker in workers:
            await worker.refresh()

        async def work(place_of, worker):
            for number in range(12):
                asks(worker, f"user:{place_of}-{number}", [True] * 7)
                await worker.flush()
                if number % 3 == place_of:
                    await worker.report("looser")

        await asyncio.gather(*(work(n, worker) for n, worker in enumerate(workers)))
        found = await workers[0].report("looser")
        assert sum(n for n, _ in found.requests) == 3 * 12 * 7
        assert found.waiting == 36
        place.clock.advance(2 * HOUR)
        found = await workers[1].report("looser")
        assert found.tests.hits.control.units + found.tests.hits.treatment.units == 36

    run(test, connect)


def test_a_restart_loses_nothing_that_was_noted(tmp_path):
    async def first(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        arms = {f"user:{n}": asks(worker, f"user:{n}", [True] * 15).name for n in range(30)}
        await worker.close()
        return arms

    async def second(place):
        worker = await place.worker()
        for caller, arm in arms.items():
            assert asks(worker, caller, [False] * 15).name == arm
        found = await worker.report("looser")
        assert found.tests.hits.control.units + found.tests.hits.treatment.units == 30
        assert found.tests.hits.control.rate == found.tests.hits.treatment.rate == 0.75  # its first twenty

    arms = run(first, in_file(tmp_path))
    run(second, in_file(tmp_path))


def test_the_log_stays_short_even_if_nobody_reads_the_report():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        for number in range(3 * BATCHES_PER_ADDING + 2):
            asks(worker, f"user:{number}", [True])
            await worker.flush()
        (store,) = place.opened
        assert len(await store.read_log("experiment:looser", after=0, limit=1000)) == 2

    run(test, in_memory())


def test_what_is_no_batch_is_counted_and_stops_nothing():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        (store,) = place.opened
        later = Batch(writer="w", number=1, callers={"not a digest": Noted(False, "1")}).encode()
        await store.append_log("experiment:looser", {"a": b"\xff", "b": b'{"callers": 3}', "c": later})
        asks(worker, "user:1", [True])
        found = await worker.report("looser")
        assert found.unreadable == 3
        assert sum(n for n, _ in found.requests) == 1
        assert "3 batches of outcomes could not be read" in "\n".join(found.lines())

    run(test, in_memory())


def test_the_largest_experiment_fits_into_one_value():
    counts = Counts.parse(b"", window_seconds=HOUR)
    digests = iter(range(1 << 40, (1 << 40) + MAX_CALLERS + 5000))
    for number in itertools.count(1):
        callers = {f"{digest:016x}": Noted(False, "10") for digest in itertools.islice(digests, 5000)}
        if not callers:
            break
        batch = Batch(writer=secrets.token_hex(12), number=1, at=float(number), callers=callers)
        assert len(batch.encode()) < MAX_STATE_BYTES
        counts.add([(number, batch.encode())])
    for number in range(MAX_WRITERS + 50):
        counts.add([(100 + number, Batch(writer=f"{number:016x}-4194304", number=10**6, at=1.0).encode())])
    data = counts.encode()
    assert len(data) < MAX_STATE_BYTES
    counts = Counts.parse(data, window_seconds=HOUR)
    assert len(counts.head.writers) == MAX_WRITERS
    assert counts.reach(2 * HOUR)
    assert counts.tallies().hits[0].units == MAX_CALLERS


def test_counts_that_cannot_be_read_say_so():
    with pytest.raises(ConfigurationError, match="newer version"):
        Counts.parse(b"{}\n123", window_seconds=HOUR)
    with pytest.raises(ConfigurationError, match="newer version"):
        Counts.parse(b'{"form": 2}\n', window_seconds=HOUR)


# Peeking.


class Looks:
    """Looks at the tallies after every batch, and remembers those at which the evidence was strongest."""

    def __init__(self):
        self._strongest = {"hits": (-math.inf, ()), "errors": (-math.inf, ())}
        self.largest_z = 0.0

    def at(self, definition, counts):
        tallies = counts.tallies()
        options = {"share": definition.share, "expected": definition.expected_hit_rate, "difference": 0.0}
        units, totals = columns(tallies.hits)
        bets = [float(log_capital(units, totals, sign=sign, **options)) for sign in (1.0, -1.0)]
        self._keep("hits", max(bets), definition, counts)
        if units.min() >= 10:
            pooled = totals.sum() / units.sum()
            spread = math.sqrt(pooled * (1 - pooled) * (1 / units).sum())
            self.largest_z = max(self.largest_z, abs(np.subtract(*totals / units)) / spread if spread else 0.0)
        self._keep("errors", float(log_evidence(*columns(tallies.errors))), definition, counts)

    def _keep(self, what, evidence, *look):
        if evidence > self._strongest[what][0]:
            self._strongest[what] = evidence, look

    @property
    def misled(self):
        """Whether the usual 95 % test would have found a difference at one of the looks."""
        return self.largest_z > 1.96

    @property
    def verdicts(self):
        """What the report said of hits and of errors at the look at which it was the most likely to say something."""
        (_, hits), (_, errors) = self._strongest.values()
        return findings(*hits).tests.hits.verdict, findings(*errors).tests.errors.verdict


def columns(arms):
    return np.array([arm.units for arm in arms], dtype=float), np.array([arm.total for arm in arms])


async def watched(place, seed, *, callers, rate, wrong, comes_back=(0.8, 0.8), pauses=0.5):
    """One experiment through notes, log and report, looked at after every batch; what it said at its worst look.

    Callers are unlike, the cache fills, and each comes back with some probability after every request, at once or
    after a pause. ``rate`` of hits, ``wrong`` share of them and ``comes_back`` are by arm.
    """
    rng = np.random.default_rng(seed)
    worker = await place.worker()
    await worker.start(f"run-{seed}", "candidates=8", window_seconds=HOUR)
    looks = Looks()
    under_way = []
    for number in range(callers):
        under_way.append((f"user:{seed}:{number}", rng.beta(2, 2) - 0.5))
        if number % 8 and number < callers - 1:
            continue
        place.clock.advance(600.0)
        for caller, liking in tuple(under_way):
            going = True
            while going:
                arm = worker.arm_of(caller)
                treated = arm.name == "treatment"
                hit = rng.random() < rate[treated] * (1 - 0.3 * math.exp(-number / 50)) + 0.3 * liking
                worker.note(arm, hit=hit)
                if hit and rng.random() < 0.5:
                    worker.audited(arm, correct=rng.random() >= wrong[treated])
                going = rng.random() < comes_back[treated]
                if going and rng.random() < pauses:
                    break  # later
            if not going:
                under_way.remove((caller, liking))
        looks.at(*await worker.counts(f"run-{seed}"))
    place.clock.advance(2 * HOUR)
    looks.at(*await worker.counts(f"run-{seed}"))
    await worker.stop(f"run-{seed}")
    await worker.close()
    return looks


def looked_at(seeds, **options):
    async def test(_):
        found = []
        for seed in seeds:  # a store each: definitions of others would only be read again and again
            place = Place(in_memory())
            found.append(await watched(place, seed, **options))
            await place.close()
        return found

    return run(test, in_memory())


def test_arms_without_a_difference_are_told_apart_in_one_run_of_twenty_at_most_however_often_one_looks():
    found = looked_at(range(RUNS), callers=160, rate=(0.4, 0.4), wrong=(0.1, 0.1), comes_back=(0.3, 0.3))
    told = sum(set(looks.verdicts) != {"undecided"} for looks in found)
    assert told <= 0.05 * RUNS
    assert sum(looks.misled for looks in found) > 0.05 * RUNS, "what the usual 95 % test keeps only if looked at once"


def test_an_arm_that_only_brings_its_callers_back_serves_no_more():
    """Who stays longer is not who is served more: callers count whether they come back or not."""
    found = looked_at(range(10), callers=400, rate=(0.9, 0.9), wrong=(0.1, 0.1), comes_back=(0.9, 0.98), pauses=0.1)
    assert [looks.verdicts[0] for looks in found].count("undecided") >= 9


def test_a_difference_is_found():
    found = [looks.verdicts for looks in looked_at(range(10), callers=400, rate=(0.25, 0.65), wrong=(0.05, 0.4))]
    assert [hits for hits, _ in found].count("higher") >= 9
    assert [errors for _, errors in found].count("higher") >= 7
    assert not {"lower"} & {verdict for pair in found for verdict in pair}


def test_the_report_names_the_arm_that_serves_more():
    async def test(place):
        worker = await place.worker()
        await worker.start("looser", LOOSER)
        for number in range(300):
            arm = worker.arm_of(f"user:{number}")
            for place_of in range(FIRST):
                worker.note(arm, hit=place_of < (14 if arm.name == "treatment" else 6))
        found = await worker.report("looser", {"treatment": "at most 4.10% wrong per hit, at 95% confidence"})
        assert found.serves_more == found.document()["serves_more"] == "treatment"
        assert found.sentence.startswith("The treatment serves more: the hit rate of treatment minus control is +")
        assert "treatment: at most 4.10% wrong per hit, at 95% confidence" in found.sentence
        assert "Which is wrong more often can't be told yet" in found.sentence
        assert found.tests.hits.low > 0

    run(test, in_memory())
