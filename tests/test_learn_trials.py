"""Trials on real stores: one label each, whatever fails, whoever is killed, and however many work on it at once."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko.core.key import key_of
from yamabiko.core.normalise import normalise
from yamabiko.errors import StoreUnavailable
from yamabiko.learn import journal
from yamabiko.learn.budget import Budget
from yamabiko.learn.journal import Case, Journal
from yamabiko.learn.judge import AnswerJudge
from yamabiko.learn.trials import ATTEMPTS, GIVEN_UP_SECONDS, OPEN_SECONDS, PATIENCE_SECONDS, Trials
from yamabiko.stores.memory import MemoryStore
from yamabiko.stores.memorydb import MemoryDBStore
from yamabiko.stores.memorydb.address import Address
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock, FakeEmbedder
from yamabiko.types import Candidate, Entry, Message, Policy, Question, Reply, Request, Selector, Source, Trial

DIM = 64
STORED, ASKED = "How long can I return shoes?", "Until when may shoes be returned?"
EMBEDDER = FakeEmbedder(DIM)


def key(request):
    return key_of(request, normalise(request), embedder="fake", policy=Policy())


def entry_of(text, reply, *, tenant="", tags=(), sources=(), created=0.0):
    """A stored answer, as the cache stores it."""
    asked = key(Request(text, tenant=tenant))
    return Entry(
        id=asked.hex,
        scope=asked.scope,
        questions=(Question(digest=asked.digest, text=text, vector=EMBEDDER.vector(text)),),
        reply=Reply(text=reply, sources=sources),
        created=created,
        tags=tags,
    )


class Judging:
    """A judge whose verdict is in the fresh answer's text, and which counts."""

    def __init__(self):
        self.calls, self.fails = 0, None

    async def __call__(self, request):
        self.calls += 1
        if self.fails is not None:
            raise self.fails
        return json.dumps({"same": next(word for word in ("unsure", "yes", "no") if word in request.messages[0].text)})


class Worker:
    """One process's trials on a store, with the statistics that they tell."""

    def __init__(self, store, clock, *, holder="w", shared=True, budget=None):
        self.store, self.clock, self.model, self.told = store, clock, Judging(), []
        self.judge = AnswerJudge(generate=self.model, budget=budget)
        self.trials = Trials(
            store if shared else None,
            store,
            self.judge,
            clock=clock,
            new_id=lambda: secrets.token_hex(8),
            holder=holder,
            judged=self.judged,
        )

    async def judged(self, trial, correct, how):
        self.told.append((trial.id, correct, how, trial.namespace, trial.design, trial.score))

    async def drawn(self, trial_id="t1", *, served=True, asked=ASKED, stored="a month", **of_entry):
        """A stored answer, and a trial of it that is open."""
        entry = entry_of(STORED, stored, **of_entry)
        await self.store.put(entry, now=0.0)
        request = Request(asked, tenant=of_entry.get("tenant", ""))
        candidate = Candidate(entry=entry, similarity=0.9, score=0.8)
        trial = Trial(id=trial_id, namespace="n", design="d", score=0.8, candidate=candidate, served=served)
        await self.trials.open(trial, request, key(request))
        return entry

    async def answer_to(self, text=ASKED):
        found = await self.store.get(key(Request(text)))
        return None if found is None else found.reply.text

    async def barred(self, text=ASKED):
        return await self.store.quarantined(key(Request(text)).digest, now=self.clock())

    async def texts(self):
        """What stands in the log of trials."""
        return b"".join(item.data for item in await self.store.read_log(journal.LOG, after=0, limit=1000)).decode()

    async def verdicts(self):
        items = await self.store.read_log(journal.VERDICTS, after=0, limit=1000)
        return [json.loads(item.data) for item in items]


class Failing:
    """Shared state of a store that can be away."""

    def __init__(self, store):
        self.store, self.away = store, False

    def __getattr__(self, name):
        if self.away:
            raise StoreUnavailable("away")
        return getattr(self.store, name)


@pytest.fixture(params=["memory", "sqlite", "server"])
def opening(request, tmp_path):
    """Opens one more handle on the same store; in memory there is one only."""
    if request.param == "memory":
        store = MemoryStore(embedder="fake", dim=DIM)

        async def opened():
            return store
    elif request.param == "sqlite":

        async def opened():
            return SqliteStore(tmp_path / "cache.db", embedder="fake", dim=DIM)
    else:
        port, name = request.getfixturevalue("engine").port, secrets.token_hex(4)

        async def opened():
            address = Address.parse(f"redis://127.0.0.1:{port}?name={name}")
            return await MemoryDBStore.open(address, embedder="fake", dim=DIM)

    return opened


def working(opening, work, workers=1, **options):
    """``work(*workers)``, each with a handle of its own."""

    async def run():
        stores = [await opening() for _ in range(workers)]
        clock = FakeClock()
        await work(*(Worker(store, clock, holder=f"w{at}", **options) for at, store in enumerate(stores)))
        for store in stores:
            await store.close()

    asyncio.run(run())


def in_memory(work, workers=1, **options):
    store = MemoryStore(embedder="fake", dim=DIM)

    async def opened():
        return store

    working(opened, work, workers, **options)


# From a trial to its label.


def test_the_same_adds_the_question_to_the_answer_that_was_served(opening):
    async def work(worker):
        entry = await worker.drawn()
        outcome = await worker.trials.close("t1", Reply(text="yes: thirty days"), vector=EMBEDDER.vector(ASKED))
        assert (outcome.state, outcome.verdict, outcome.how, outcome.did) == ("judged", "same", "judge", "alias")
        assert await worker.answer_to() == "a month"
        found = await worker.store.search(
            entry.scope, EMBEDDER.vector(ASKED), limit=1, min_similarity=0.999, now=worker.clock()
        )
        assert [candidate.question.text for candidate in found] == [ASKED]
        assert worker.told == [("t1", True, "judge", "n", "d", 0.8)]
        assert await worker.barred() == frozenset()

    working(opening, work)


def test_different_bars_exactly_that_pair_for_ever(opening):
    async def work(worker):
        entry = await worker.drawn()
        outcome = await worker.trials.close("t1", Reply(text="no: a fortnight"))
        assert (outcome.verdict, outcome.did) == ("different", "quarantine")
        worker.clock.advance(1e9)
        assert await worker.barred() == {entry.id}
        assert await worker.barred("When may shoes be returned?") == frozenset()
        assert await worker.answer_to() is None
        assert await worker.answer_to(STORED) == "a month"
        assert worker.told == [("t1", False, "judge", "n", "d", 0.8)]

    working(opening, work)


def test_unsure_counts_as_wrong_and_changes_nothing():
    async def work(worker):
        await worker.drawn()
        outcome = await worker.trials.close("t1", Reply(text="unsure"))
        assert (outcome.state, outcome.verdict, outcome.did) == ("judged", "unsure", "")
        assert worker.told == [("t1", False, "judge", "n", "d", 0.8)]
        assert (await worker.answer_to(), await worker.barred()) == (None, frozenset())

    in_memory(work)


def test_a_miss_whose_fresh_answer_has_an_entry_of_its_own_becomes_no_alias():
    async def work(worker):
        await worker.drawn(served=False)
        await worker.store.put(entry_of(ASKED, "yes: thirty days"), now=0.0)
        outcome = await worker.trials.close("t1", Reply(text="yes: thirty days"))
        assert (outcome.verdict, outcome.did) == ("same", "")
        assert await worker.answer_to() == "yes: thirty days"
        await worker.drawn("t2", served=False, asked="Shoes: return by when?")
        assert (await worker.trials.close("t2", Reply(text="no: never"))).did == "quarantine"
        await worker.drawn("t3", served=False, asked="Return shoes when?")
        assert (await worker.trials.close("t3", Reply(text="yes: not stored yet"))).did == ""
        assert await worker.answer_to("Return shoes when?") is None

    in_memory(work)


def test_a_question_that_was_answered_meanwhile_stays_with_its_answer():
    async def work(worker):
        await worker.drawn()
        await worker.store.put(entry_of(ASKED, "its own"), now=0.0)
        assert (await worker.trials.close("t1", Reply(text="yes: thirty days"))).did == ""
        assert await worker.answer_to() == "its own"

    in_memory(work)


def test_what_a_user_said_no_to_becomes_no_alias():
    async def work(worker):
        entry = await worker.drawn()
        await worker.store.quarantine(entry.id, key(Request(ASKED)).digest, until=float("inf"), now=worker.clock())
        outcome = await worker.trials.close("t1", Reply(text="yes: thirty days"))
        assert (outcome.verdict, outcome.did) == ("same", "")
        assert await worker.answer_to() is None

    in_memory(work)


def test_equal_answers_take_no_judge():
    async def work(worker):
        await worker.drawn()
        assert (await worker.trials.close("t1", Reply(text="A month."))).how == "equal"
        assert worker.model.calls == 0

    in_memory(work)


def test_once_done_nothing_of_the_texts_stays(opening):
    async def work(worker):
        await worker.drawn()
        assert "a month" in await worker.texts()
        assert ASKED in await worker.texts()
        await worker.trials.close("t1", Reply(text="no: a fortnight"))
        await worker.trials.resume(None)
        assert await worker.texts() == ""
        assert "fortnight" not in json.dumps(await worker.verdicts())
        worker.clock.advance(3 * 86400.0)
        await worker.trials.resume(None)
        assert await worker.verdicts() == []

    working(opening, work)


def test_where_entries_are_signed_so_is_the_question_that_is_added():
    def sign(entry, question):
        return replace(question, text=f"{question.text} (signed for {entry.id[:8]})")

    async def work(one, other):
        for worker in (one, other):
            worker.trials._sign = sign
        entry = await one.drawn()
        assert (await one.trials.close("t1", Reply(text="yes: thirty days"))).did == "alias"
        found = await one.store.get(key(Request(ASKED)))
        assert found.questions[0].text == f"{ASKED} (signed for {entry.id[:8]})"
        # What was read from the store is judged, and never signed: who wrote it may have had no key.
        await one.drawn("t2", asked="Shoes: return by when?")
        outcome = await other.trials.close("t2", Reply(text="yes: thirty days"))
        assert (outcome.verdict, outcome.did) == ("same", "")
        assert await one.answer_to("Shoes: return by when?") is None
        # Nor what follows from a verdict that was read from there.
        await one.drawn("t3", asked="Return shoes when?")
        forged = {"kind": "verdict", "id": "t3", "verdict": "same", "how": "judge", "at": one.clock()}
        await one.store.append_log(journal.VERDICTS, {"t3:verdict": json.dumps(forged).encode()})
        outcome = await one.trials.close("t3", Reply(text="no: a fortnight"))
        assert (outcome.state, await one.answer_to("Return shoes when?")) == ("settled", None)

    in_memory(work, 2)


# Once, and once only.


def test_a_trial_is_judged_once_however_often_it_is_closed(opening):
    async def work(one, other):
        await one.drawn()
        first = await one.trials.close("t1", Reply(text="yes: thirty days"))
        for worker in (one, other, one):
            again = await worker.trials.close("t1", Reply(text="no: a fortnight"))
            assert (again.state, again.verdict) == ("settled", "same")
        assert first.state == "judged"
        assert one.model.calls + other.model.calls == 1
        assert [(said[0], said[1]) for said in one.told + other.told] == [("t1", True)]
        assert await one.barred() == frozenset()

    working(opening, work, 2)


def test_of_all_who_close_it_at_once_one_wins(opening):
    async def work(*workers):
        await workers[0].drawn()
        closing = [worker.trials.close("t1", Reply(text="yes: thirty days")) for worker in workers for _ in range(3)]
        states = [outcome.state for outcome in await asyncio.gather(*closing)]
        assert states.count("judged") == 1
        assert set(states) <= {"judged", "taken", "settled"}
        assert sum(worker.model.calls for worker in workers) == 1
        assert sum(len(worker.told) for worker in workers) == 1

    working(opening, work, 3)


def test_of_two_verdicts_the_first_that_was_written_stands():
    """As when a lease ran out during a very long pause."""

    async def work(one, other):
        await one.drawn()
        held, let_go = asyncio.Event(), asyncio.Event()

        async def slow(request):
            held.set()
            await let_go.wait()
            return '{"same": "yes"}'

        one.judge._generate = slow
        closing = asyncio.create_task(one.trials.close("t1", Reply(text="no: a fortnight")))
        await held.wait()
        one.clock.advance(3600.0)
        assert (await other.trials.close("t1", Reply(text="no: a fortnight"))).verdict == "different"
        let_go.set()
        outcome = await closing
        assert (outcome.verdict, outcome.did) == ("different", "quarantine")
        assert {said[1] for said in one.told + other.told} == {False}
        assert [said["verdict"] for said in await other.verdicts() if said["kind"] == "verdict"] == ["different"]
        assert await one.answer_to() is None

    in_memory(work, 2)


def test_nobody_knows_a_trial_that_was_never_opened(opening):
    async def work(worker):
        assert (await worker.trials.close("t9", Reply(text="x"))).state == "unknown"
        assert worker.told == []

    working(opening, work)


def test_another_process_can_close_it(opening):
    async def work(one, other):
        await one.drawn()
        outcome = await other.trials.close("t1", Reply(text="yes: thirty days"))
        assert (outcome.state, outcome.did) == ("judged", "alias")
        assert other.told == [("t1", True, "judge", "n", "d", 0.8)]

    working(opening, work, 2)


# Left open.


async def fresh(request):
    return f"yes: fresh for {request.messages[-1].text}"


def test_what_lies_open_is_finished_by_another_with_an_answer_made_anew(opening):
    async def work(one, other):
        await one.drawn()
        other.clock.advance(OPEN_SECONDS - 1)
        assert await other.trials.resume(fresh) == 0
        other.clock.advance(2.0)
        assert await other.trials.resume(fresh) == 1
        assert other.told == [("t1", True, "judge", "n", "d", 0.8)]
        assert await other.answer_to() == "a month"  # an alias, without a vector
        assert await other.trials.resume(fresh) == 0
        assert (await one.trials.close("t1", Reply(text="no: a fortnight"))).state == "settled"
        assert (one.told, one.model.calls) == ([], 0)

    working(opening, work, 2)


def test_of_all_who_finish_what_lies_open_one_does_it(opening):
    async def work(*workers):
        made = []

        async def counted(request):
            made.append(request.messages[-1].text)
            await asyncio.sleep(0)
            return await fresh(request)

        for at in range(3):
            await workers[0].drawn(f"t{at}", asked=f"Shoes: return by when, case {at}?")
        workers[0].clock.advance(OPEN_SECONDS)
        finished = await asyncio.gather(*(worker.trials.resume(counted) for worker in workers for _ in range(2)))
        assert sorted(finished) == [0, 0, 0, 0, 0, 3]
        assert len(made) == len(set(made)) == 3
        assert sorted(said[0] for worker in workers for said in worker.told) == ["t0", "t1", "t2"]

    working(opening, work, 3)


def test_an_answer_that_was_stored_meanwhile_is_not_made_again():
    async def work(one, other):
        await one.drawn(served=False)
        await one.store.put(entry_of(ASKED, "yes: thirty days", created=one.clock() + 5), now=0.0)
        other.clock.advance(OPEN_SECONDS)
        assert await other.trials.resume(None) == 1
        assert [said[1] for said in other.told] == [True]

    in_memory(work, 2)


def test_an_answer_from_before_is_no_fresh_one():
    async def work(worker):
        await worker.drawn(served=False)
        await worker.store.put(entry_of(ASKED, "yes: old", created=worker.clock() - 5), now=0.0)
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(None) == 0

    in_memory(work)


def test_where_no_answer_can_be_made_it_is_given_up_and_counts_as_wrong(opening):
    async def work(worker):
        await worker.drawn()
        worker.clock.advance(PATIENCE_SECONDS - 1)
        assert await worker.trials.resume(None) == 0
        worker.clock.advance(1.0)
        assert await worker.trials.resume(None) == 1
        assert worker.told == [("t1", False, "given_up", "n", "d", 0.8)]
        assert await worker.barred() == frozenset()
        assert await worker.texts() == ""

    working(opening, work)


def test_after_a_day_it_is_given_up():
    async def work(one, other):
        await one.drawn()
        one.clock.advance(GIVEN_UP_SECONDS)
        assert await other.trials.resume(fresh) == 1
        assert other.told == [("t1", False, "given_up", "n", "d", 0.8)]
        assert (await one.trials.close("t1", Reply(text="yes"))).how == "given_up"

    in_memory(work, 2)


def test_a_judge_that_fails_is_asked_again_later_with_the_answer_that_was_recorded(opening):
    async def work(one, other):
        await one.drawn()
        one.model.fails = RuntimeError()
        assert (await one.trials.close("t1", Reply(text="no: a fortnight"))).state == "pending"
        assert one.told == []
        other.clock.advance(OPEN_SECONDS)
        assert await other.trials.resume(None) == 1
        assert other.told == [("t1", False, "judge", "n", "d", 0.8)]

    working(opening, work, 2)


@pytest.mark.parametrize("shared", [True, False])
def test_a_judge_that_always_fails_is_not_asked_for_ever(shared):
    async def work(worker):
        await worker.drawn()
        worker.model.fails = RuntimeError()
        await worker.trials.close("t1", Reply(text="no: a fortnight"))
        for _ in range(200):
            worker.clock.advance(OPEN_SECONDS)
            await worker.trials.resume(fresh)
        assert worker.model.calls == ATTEMPTS
        assert worker.told == [("t1", False, "error", "n", "d", 0.8)]

    in_memory(work, shared=shared)


def test_a_model_that_always_fails_is_not_asked_for_ever():
    async def work(worker):
        asked = []

        async def broken(request):
            asked.append(request)
            raise RuntimeError

        await worker.drawn()
        for _ in range(200):
            worker.clock.advance(OPEN_SECONDS)
            await worker.trials.resume(broken)
        assert len(asked) == ATTEMPTS
        assert worker.told == [("t1", False, "given_up", "n", "d", 0.8)]

    in_memory(work)


def test_a_model_that_gives_nonsense_is_no_answer():
    async def work(worker):
        async def nonsense(request):
            return None

        await worker.drawn()
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(nonsense) == 0
        assert worker.told == []

    in_memory(work)


def test_without_shared_state_it_all_happens_in_this_process():
    async def work(worker):
        await worker.drawn("t1")
        assert (await worker.trials.close("t1", Reply(text="yes: thirty days"))).did == "alias"
        assert (await worker.trials.close("t1", Reply(text="no: a fortnight"))).state == "settled"
        await worker.drawn("t2", asked="Shoes: return by when?")
        closing = [worker.trials.close("t2", Reply(text="no: a fortnight")) for _ in range(3)]
        states = [outcome.state for outcome in await asyncio.gather(*closing)]
        assert sorted(states) == ["judged", "taken", "taken"]
        await worker.drawn("t3", asked="Return shoes when?")
        worker.clock.advance(GIVEN_UP_SECONDS)
        assert await worker.trials.resume(None) == 1
        assert [said[:3] for said in worker.told] == [
            ("t1", True, "judge"),
            ("t2", False, "judge"),
            ("t3", False, "given_up"),
        ]

    in_memory(work, shared=False)


# Budgets.


def test_there_is_room_for_so_many_trials_as_the_budget_can_judge():
    async def work(worker):
        budget = worker.judge.budget = Budget(3, 100, worker.store, worker.clock, "judge")
        await budget.refill(6)
        for at in range(3):
            assert worker.trials.has_room()
            await worker.drawn(f"t{at}", asked=f"Shoes: return by when, case {at}?")
        assert not worker.trials.has_room()
        for at in range(3):
            assert (await worker.trials.close(f"t{at}", Reply(text="yes"))).state == "judged"
        assert not worker.trials.has_room()
        worker.clock.advance(60.0)
        assert worker.trials.has_room()

    in_memory(work)


def test_without_budget_a_trial_waits_and_is_not_counted_as_wrong():
    async def work(worker):
        worker.judge.budget = Budget(1, 100, worker.store, worker.clock, "judge")
        await worker.drawn("t1")
        await worker.drawn("t2", asked="Shoes: return by when?")
        assert (await worker.trials.close("t1", Reply(text="yes"))).state == "judged"
        assert (await worker.trials.close("t2", Reply(text="yes"))).how == "budget"
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(None) == 1
        assert [said[:3] for said in worker.told] == [("t1", True, "judge"), ("t2", True, "judge")]

    in_memory(work)


def test_an_answer_made_for_a_trial_alone_is_paid_for():
    async def work(worker):
        worker.judge.budget = Budget(10, 1, worker.store, worker.clock, "judge")
        await worker.drawn()
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(fresh) == 0  # the answer took all of the day's budget
        assert worker.model.calls == 0
        worker.clock.advance(GIVEN_UP_SECONDS / 2)
        assert await worker.trials.resume(None) + await worker.trials.resume(None) == 1
        assert worker.told[0][1:3] == (True, "judge")

    in_memory(work)


# What must be forgotten.


@pytest.mark.parametrize(
    ("selector", "goes"),
    [
        (Selector(), True),
        (Selector(tenant="acme"), True),
        (Selector(tenant="other"), False),
        (Selector(tag="faq"), True),
        (Selector(tag="faq", tenant="other"), False),
        (Selector(source="s3://b/doc"), True),
        (Selector(id=key(Request(STORED, tenant="acme")).hex), True),
        (Selector(id=key(Request(ASKED, tenant="acme")).hex), True),
        (Selector(id="00" * 32), False),
        (Selector(user="u"), False),
        (Selector(dead_at=0.0), False),
    ],
)
def test_a_purge_takes_the_texts_of_open_trials_with_it(selector, goes):
    async def work(one, other):
        await one.drawn(tenant="acme", tags=("faq",), sources=("s3://b/doc",))
        await one.drawn("t2", asked="What does shipping cost?", stored="5 dollars", tenant="")
        assert await other.trials.forget(selector) == (2 if selector == Selector() else goes)
        assert ("a month" in await one.texts()) is not goes
        assert ("5 dollars" in await one.texts()) is (selector != Selector())
        outcome = await one.trials.close("t1", Reply(text="yes: the secret fresh answer", sources=()))
        assert (outcome.state, outcome.how) == (("settled", "given_up") if goes else ("judged", "judge"))
        if goes:
            assert "secret" not in await one.texts()
            assert [said[:3] for said in other.told if said[0] == "t1"] == [("t1", False, "given_up")]

    in_memory(work, 2)


def test_what_is_kept_beside_a_purge_is_finished_as_if_there_had_been_none(opening):
    async def work(one, other):
        await one.drawn("t1", tenant="acme")
        await one.drawn("t2", tenant="beta", asked="Shoes: return by when?")
        one.model.fails = RuntimeError()
        await one.trials.close("t2", Reply(text="no: a fortnight"))
        for _ in range(3):
            await other.trials.forget(Selector(tenant="acme"))
        assert "acme" not in await one.texts()
        other.clock.advance(OPEN_SECONDS)
        assert await other.trials.resume(None) == 1
        assert [said[:3] for said in other.told] == [("t1", False, "given_up"), ("t2", False, "judge")]
        assert await other.texts() == ""

    working(opening, work, 2)


def test_a_purge_that_stopped_halfway_has_tried_nothing_twice():
    class NeverTrimmed(Failing):
        async def trim_log(self, name, *, up_to):
            raise StoreUnavailable("away")

    async def work(worker):
        await worker.drawn("t1", tenant="acme")
        await worker.drawn("t2", tenant="beta", asked="Shoes: return by when?")
        known = Journal(worker.store)
        case = await known.begin((await known.find("t2")), "attempt", worker.clock())
        for mark in ("a", "b"):
            with pytest.raises(StoreUnavailable):
                await Journal(NeverTrimmed(worker.store)).erase({"t1"}, mark)
        assert await Journal(worker.store).find("t2") == case
        assert (await worker.texts()).count('"kind":"try"') == 3
        await Journal(worker.store).erase({"t1"}, "c")
        assert "acme" not in await worker.texts()
        assert await Journal(worker.store).find("t2") == case

    in_memory(work)


def test_a_verdict_is_kept_as_long_as_its_trial_could_be_taken_for_an_open_one():
    async def work(worker):
        await worker.drawn("t1")  # stays open, and what stands behind it can't be trimmed
        await worker.drawn("t2", asked="Shoes: return by when?")
        await worker.trials.close("t2", Reply(text="no: a fortnight"))
        late = Journal(worker.store)
        await late.trim(worker.clock() + 30 * 86400.0)
        assert list(await Journal(worker.store).unfinished()) == ["t1"]
        assert list(await late.unfinished()) == ["t1"]

    in_memory(work)


# Stores that fail.


def test_a_trial_that_could_not_be_kept_is_judged_as_long_as_its_process_lives():
    async def work(worker):
        shared = Failing(worker.store)
        worker.trials = Trials(
            shared,
            worker.store,
            worker.judge,
            clock=worker.clock,
            new_id=lambda: secrets.token_hex(8),
            holder="w",
            judged=worker.judged,
        )
        shared.away = True
        await worker.drawn()
        with pytest.raises(StoreUnavailable):
            await worker.trials.close("t1", Reply(text="yes: thirty days"))
        shared.away = False
        assert await worker.texts() == ""
        assert (await worker.trials.close("t1", Reply(text="yes: thirty days"))).state == "judged"
        assert worker.told == [("t1", True, "judge", "n", "d", 0.8)]

    in_memory(work)


def test_texts_too_large_to_be_kept_are_judged_as_long_as_their_process_lives():
    async def work(worker):
        await worker.drawn(stored="a month " * 200_000)
        assert await worker.texts() == ""
        assert (await worker.trials.close("t1", Reply(text="a month " * 200_000))).how == "equal"
        await worker.drawn("t2", asked="Shoes: return by when?", stored="a month")
        worker.model.fails = RuntimeError()
        assert (await worker.trials.close("t2", Reply(text="no " * 7_900))).state == "pending"
        worker.model.fails = None
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(None) == 1
        assert worker.told[-1][:3] == ("t2", False, "judge")

    in_memory(work)


def test_what_a_later_release_wrote_is_passed_over():
    async def work(worker):
        await worker.store.append_log(journal.LOG, {"x:open": b"\xff", "y:open": b'{"kind":"open","id":"y","at":0}'})
        await worker.store.append_log(journal.VERDICTS, {"x:verdict": b"[]", "y:new": b'{"kind":"new","id":"y"}'})
        await worker.drawn()
        worker.clock.advance(OPEN_SECONDS)
        assert await worker.trials.resume(fresh) == 1
        assert worker.told == [("t1", True, "judge", "n", "d", 0.8)]

    in_memory(work)


def test_a_clock_set_back_holds_no_trial_up():
    async def work(worker):
        await worker.drawn()
        worker.clock.advance(-7 * 86400.0)
        assert await worker.trials.resume(fresh) == 1

    in_memory(work)


def test_clocks_that_differ_a_little_take_no_trial_away_from_whoever_is_at_it():
    async def work(one, other):
        await one.drawn()
        other.clock.advance(-3.0)
        assert await other.trials.resume(fresh) == 0

    in_memory(work, 2)


# The codec.

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
WELL_FORMED = st.text(max_size=20)
JSON = st.sampled_from(["", '{"a":[1,"é"]}', "[1.5]", '"auto"'])
REQUESTS = st.builds(
    Request,
    st.lists(
        st.builds(Message, role=st.sampled_from(["user", "assistant"]), text=TEXT, parts=st.tuples() | st.tuples(JSON)),
        min_size=1,
        max_size=3,
    ),
    **dict.fromkeys(["model", "system", "tenant", "user", "knowledge", "category", "bypass"], TEXT),
    **dict.fromkeys(["tools", "tool_choice", "response_format", "sampling"], JSON),
    tags=st.lists(TEXT, max_size=2),
    permissions=st.lists(TEXT.filter(bool), max_size=2),
)
REPLIES = st.builds(
    Reply,
    text=TEXT,
    model=TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
    tool_calls=st.tuples() | st.tuples(JSON),
    sources=st.tuples()
    | st.tuples(TEXT)
    | st.tuples(st.builds(Source, uri=st.just("規約.pdf"), digest=TEXT, base=TEXT)),
)


@given(
    request=REQUESTS, stored=REPLIES, made=REPLIES | st.none(), served=st.booleans(), tags=st.tuples() | st.tuples(TEXT)
)
def test_what_another_process_reads_is_what_was_kept(request, stored, made, served, tags):
    async def run():
        store = MemoryStore(embedder="fake", dim=DIM)
        entry = replace(entry_of(STORED, ""), reply=stored, tags=tags)
        bare = replace(entry, questions=(replace(entry.questions[0], vector=None),))
        candidate = Candidate(entry=bare, similarity=0.25, score=0.1 + 0.2, p_correct=None)
        trial = Trial(id="t", namespace="n/あ", design="d", score=0.1 + 0.2, candidate=candidate, served=served)
        case = Case(trial=trial, request=request, key=key(Request("q")), opened=1.5, touched=1.5)
        assert await Journal(store).open(case)
        if made is not None:
            case = await Journal(store).begin(replace(case, fresh=made), "a", 2.5)
        assert await Journal(store).find("t") == case

    asyncio.run(run())


def test_no_field_of_a_request_is_left_out():
    assert {field.name for field in fields(Request)} == {*journal._REQUEST_TEXTS, "messages", "tags", "permissions"}


# Killed.

DYING = """
import asyncio, itertools, json, os, sys
sys.path.insert(0, sys.argv[1])
from test_learn_trials import DIM, Worker
from yamabiko.stores.sqlite import SqliteStore
from yamabiko.testing import FakeClock
from yamabiko.types import Reply
_, _, folder, fresh = sys.argv
class Dying:
    def __init__(self, store, last):
        self.store, self.last, self.steps = store, last, itertools.count()
    def __getattr__(self, name):
        method = getattr(self.store, name)
        if name not in ("claim", "release", "append_log", "quarantine", "alias", "trim_log"):
            return method
        async def stepping(*args, **kwargs):
            done = await method(*args, **kwargs)
            if next(self.steps) == self.last:
                os.kill(os.getpid(), 9)
            return done
        return stepping
async def main(at):
    store = SqliteStore(f"{folder}/{at}.db", embedder="fake", dim=DIM)
    worker = Worker(Dying(store, at), FakeClock(), holder=str(os.getpid()))
    async def judged(trial, correct, how):
        await worker.store.append_log("labels", {trial.id: json.dumps(correct).encode()})
    worker.trials._judged = judged
    model = worker.judge._generate
    async def counted(request):
        with open(f"{folder}/{at}.calls", "a") as file:
            file.write("asked\\n")
        return await model(request)
    worker.judge._generate = counted
    await worker.drawn()
    await worker.trials.close("t1", Reply(text=fresh))
    await worker.trials.resume(None)
    await store.close()
for at in itertools.count():
    child = os.fork()
    if child == 0:
        asyncio.run(main(at))
        sys.exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, flush=True)
    if ended != -9:
        break
"""


async def found_after(path, fresh_text):
    """What there is after another process has done what was left."""
    store = SqliteStore(path, embedder="fake", dim=DIM)
    clock = FakeClock()
    clock.advance(300.0)
    worker = Worker(store, clock, holder="later")

    async def judged(trial, correct, how):
        await store.append_log("labels", {trial.id: json.dumps(correct).encode()})

    async def made(request):
        return fresh_text

    worker.trials._judged = judged
    settled = await worker.verdicts() != []
    for _ in range(2):
        await worker.trials.resume(made)
    labels = [json.loads(item.data) for item in await store.read_log("labels", after=0, limit=9)]
    effect = (await worker.answer_to(), bool(await worker.barred()))
    verdicts = [said for said in await worker.verdicts() if said["kind"] == "verdict"]
    assert await worker.texts() == ""
    assert await store.check() == []
    await store.close()
    return settled, labels, effect, len(verdicts), worker.model.calls


@pytest.mark.parametrize(
    ("fresh_text", "label", "effect"),
    [("yes: thirty days", True, ("a month", False)), ("no: a fortnight", False, (None, True))],
)
def test_killed_after_any_write_it_ends_in_one_label(tmp_path, fresh_text, label, effect):
    command = [sys.executable, "-c", DYING, str(Path(__file__).parent), str(tmp_path), fresh_text]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    *killed, last = map(int, ended.stdout.split())
    assert (set(killed), last) == ({-signal.SIGKILL}, 0), ended.stderr
    assert len(killed) >= 10  # each of so many writes was once the last one
    for at in range(len(killed) + 1):
        path, calls = tmp_path / f"{at}.db", tmp_path / f"{at}.calls"
        settled, labels, found, verdicts, judged_later = asyncio.run(found_after(path, fresh_text))
        asked = len(calls.read_text().splitlines()) if calls.exists() else 0
        assert (labels, found, verdicts) == ([label], effect, 1), at
        assert not (settled and judged_later), at  # a verdict that was written is never asked for again
        assert asked + judged_later <= 2, at
