"""What one request asks of the cache: it can forbid an answer, and never allow one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamabiko import Hit, Miss, Policy, Request, Settings, open_cache
from yamabiko.core.controls import stricter_modes, tightened
from yamabiko.core.decide import decide
from yamabiko.core.guards import GUARDS, MODES
from yamabiko.core.score import model_for
from yamabiko.core.states import Position, State
from yamabiko.errors import ConfigurationError, InvalidRequest, NotStored
from yamabiko.settings import LearnSettings
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeEmbedder, ScriptedModel
from yamabiko.types import PLAIN, Candidate, Controls, Entry, MissReason, Question, Reply, Scope, Selector

RESET = "How do I reset my password?"
RESET_TOO = "How can I reset my password?"  # cosine with RESET in FakeEmbedder: about 0.83
LOOSE = Policy(max_error_rate=None, min_similarity=0.7)
NEW, UNSTORED, UNASKED = Controls(read=False), Controls(store=False), Controls(forward=False)


def filled(opened, policy=LOOSE):
    cache = opened(policy=policy)
    cache.answer(RESET, ScriptedModel({RESET: "Click."}))
    cache.drain()
    return cache


# Asking for a new answer.


def test_a_new_answer_is_made_and_takes_the_old_ones_place(opened):
    cache, model = filled(opened), ScriptedModel({RESET: "Press."})
    assert cache.answer(RESET, model, controls=NEW).text == "Press."
    cache.drain()
    assert cache.lookup(RESET).reply.text == "Press."
    outcome = cache.lookup(RESET, controls=NEW)
    assert (outcome.reason, outcome.reasons) == (MissReason.CONTROL, ("the request wants a new answer",))


def test_nor_is_one_by_meaning_taken(opened):
    cache = filled(opened)
    assert isinstance(cache.lookup(RESET_TOO), Hit)
    assert cache.lookup(RESET_TOO, controls=NEW).reason is MissReason.CONTROL


def test_whoever_wants_a_new_answer_joins_nobody():
    async def main():
        model = ScriptedModel(gate=asyncio.Event())
        async with open_cache("memory://", policy=LOOSE, embedder=FakeEmbedder()) as cache:
            asking = [asyncio.create_task(cache.answer(RESET, model, controls=c)) for c in (PLAIN, PLAIN, NEW, NEW)]
            for _ in range(100):
                await asyncio.sleep(0)
            model.gate.set()
            await asyncio.gather(*asking)
        return model.calls

    assert asyncio.run(main()) == 3


def test_those_who_ask_the_same_of_the_cache_share_a_generation():
    async def main():
        model = ScriptedModel(gate=asyncio.Event())
        young = Controls(max_age_seconds=60.0)
        async with open_cache("memory://", policy=LOOSE, embedder=FakeEmbedder()) as cache:
            asking = [asyncio.create_task(cache.answer(RESET, model, controls=young)) for _ in range(5)]
            await model.started.wait()
            model.gate.set()
            await asyncio.gather(*asking)
        return model.calls

    assert asyncio.run(main()) == 1


# Asking that nothing is stored.


def test_an_answer_that_must_not_be_stored_is_not(opened):
    cache, model = opened(policy=LOOSE), ScriptedModel()
    cache.answer(RESET, model, controls=UNSTORED)
    cache.stream(RESET, model.stream, controls=UNSTORED)
    cache.drain()
    assert cache.stats().entries == 0
    assert isinstance(cache.lookup(RESET), Miss)


def test_nor_when_its_caller_generated_it(opened):
    cache = opened(policy=LOOSE)
    assert cache.remember(cache.lookup(RESET, controls=UNSTORED), "Click.") is None
    assert cache.stats().entries == 0


def test_what_is_stored_may_answer_it(opened):
    assert filled(opened).answer(RESET, ScriptedModel(), controls=UNSTORED).text == "Click."


def test_a_stale_answer_is_not_renewed_for_it(opened):
    policy = Policy(max_error_rate=None, min_similarity=0.7, ttl_seconds=60, stale_seconds=60)
    cache, model = filled(opened, policy), ScriptedModel({RESET: "Press."})
    opened.clock.advance(90)
    assert cache.answer(RESET, model, controls=UNSTORED).text == "Click."
    assert cache.answer(RESET, model, controls=UNASKED).text == "Click."
    cache.drain()
    assert model.calls == 0
    cache.answer(RESET, model)
    cache.drain()
    assert model.calls == 1


def test_it_is_never_drawn_to_be_compared_and_what_may_be_stored_is():
    async def main():
        seen = {}
        settings = Settings(learn=LearnSettings(per_minute=100_000, per_day=1_000_000, refresh_seconds=1e-3))
        judge = ScriptedModel()
        async with open_cache(
            "memory://", policy=Policy(max_error_rate=0.2), settings=settings, judge=judge, embedder=FakeEmbedder()
        ) as cache:
            await cache.answer(RESET, ScriptedModel())
            for controls in (PLAIN, Controls(max_age_seconds=60.0), UNSTORED, UNASKED):
                outcomes = [await cache.lookup(RESET_TOO, controls=controls) for _ in range(200)]
                seen[controls] = sum(outcome.trial is not None for outcome in outcomes)
        return seen

    seen = asyncio.run(main())
    assert min(seen[PLAIN], seen[Controls(max_age_seconds=60.0)]) > 0
    assert seen[UNSTORED] == seen[UNASKED] == 0


# Forbidding to ask a model.


@pytest.mark.parametrize("controls", [UNASKED, Controls(read=False, forward=False)])
def test_a_miss_raises_where_no_model_may_be_asked(opened, controls):
    cache, model = opened(policy=LOOSE), ScriptedModel()
    with pytest.raises(NotStored):
        cache.answer(RESET, model, controls=controls)
    with pytest.raises(NotStored):
        cache.stream(RESET, model.stream, controls=controls)
    assert model.calls == 0


def test_what_bypasses_the_cache_too(opened):
    with pytest.raises(NotStored):
        opened().answer(Request(RESET, bypass="the caller says so"), ScriptedModel(), controls=UNASKED)


def test_a_hit_of_either_tier_answers_it(opened):
    cache, model = filled(opened), ScriptedModel()
    assert cache.answer(RESET, model, controls=UNASKED).text == "Click."
    assert cache.answer(RESET_TOO, model, controls=UNASKED).text == "Click."
    assert model.calls == 0


# Age.


def test_an_answer_that_is_too_old_will_not_do_by_either_tier(opened):
    cache = filled(opened)
    opened.clock.advance(100)
    for question in (RESET, RESET_TOO):
        assert isinstance(cache.lookup(question, controls=Controls(max_age_seconds=100)), Hit)
        assert isinstance(cache.lookup(question, controls=Controls(max_age_seconds=99)), Miss)
    assert cache.lookup(RESET, controls=Controls(max_age_seconds=99)).reason is MissReason.CONTROL


def test_one_past_its_expiry_will_not_do_where_none_such_is_wanted(opened):
    cache = filled(opened, Policy(max_error_rate=None, min_similarity=0.7, ttl_seconds=60, stale_seconds=60))
    opened.clock.advance(90)
    for question in (RESET, RESET_TOO):
        assert cache.lookup(question).stale
        assert isinstance(cache.lookup(question, controls=Controls(stale=False)), Miss)


# Meaning.


def test_only_the_very_same_question(opened):
    cache = filled(opened)
    assert isinstance(cache.lookup(RESET, controls=Controls(semantic=False)), Hit)
    miss = cache.lookup(RESET_TOO, controls=Controls(semantic=False))
    assert any("very same question only" in reason for reason in miss.reasons)


def test_a_higher_similarity(opened):
    cache = filled(opened)
    assert isinstance(cache.lookup(RESET_TOO, controls=Controls(min_similarity=0.8)), Hit)
    miss = cache.lookup(RESET_TOO, controls=Controls(min_similarity=0.9))
    assert miss.reason is MissReason.BELOW_THRESHOLD
    assert isinstance(cache.lookup(RESET_TOO, controls=Controls(min_similarity=-1.0)), Hit)


def test_a_lower_one_changes_nothing(opened):
    cache = filled(opened, Policy(max_error_rate=None, min_similarity=0.9))
    assert isinstance(cache.lookup(RESET_TOO, controls=Controls(min_similarity=0.5)), Miss)


def test_an_error_rate_is_not_to_be_had_where_none_is_stated(opened):
    miss = filled(opened).lookup(RESET_TOO, controls=Controls(max_error_rate=0.01))
    assert miss.reason is MissReason.CONTROL
    assert "none is stated" in miss.reasons[-1]


def test_a_guard_that_the_policy_turned_off(opened):
    policy = Policy(max_error_rate=None, min_similarity=0.5, guards={"numbers": "off", "identifiers": "off"})
    cache = opened(policy=policy)
    cache.answer("please show the status of batch 12 to me", ScriptedModel())
    cache.drain()
    question = "please show the status of batch 13 to me"
    assert isinstance(cache.lookup(question), Hit)
    miss = cache.lookup(question, controls=Controls(guards=(("numbers", "veto"),)))
    assert miss.reason is MissReason.GUARD


@pytest.mark.parametrize("wrong", [{"max_age_seconds": -1}, {"min_similarity": 2}, {"max_error_rate": 0}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Controls(**wrong)


# Whose word counts.


def test_a_hit_is_spoken_of_by_those_whose_answer_it_is(opened):
    cache, model = opened(policy=LOOSE), ScriptedModel()
    asked = Request(RESET, tenant="acme", user="alice")
    cache.answer(asked, model)
    hit = cache.lookup(asked)
    for whose in (Selector(tenant="globex"), Selector(tenant="acme", user="bob"), Selector(tenant="acme", user="")):
        with pytest.raises(InvalidRequest, match="no id of a hit that was given to this"):
            cache.feedback(hit.id, ok=False, whose=whose)
    assert isinstance(cache.lookup(asked), Hit)
    cache.feedback(hit.id, ok=False, whose=Selector(tenant="acme", user="alice"))
    assert isinstance(cache.lookup(asked), Miss)


class Slow(MemoryStore):
    """A store whose writes wait."""

    def __init__(self):
        super().__init__(embedder="fake", dim=64)
        self.gate = asyncio.Event()

    async def put(self, entry, /, **options):
        await self.gate.wait()
        await super().put(entry, **options)


def test_also_where_the_answer_is_still_being_written():
    async def main():
        store = Slow()
        async with open_cache(store=store, policy=LOOSE, embedder=FakeEmbedder()) as cache:
            await cache.answer(RESET, ScriptedModel())
            hit = await cache.lookup(RESET)
            saying = asyncio.create_task(cache.feedback(hit.id, ok=False, whose=Selector(tenant="")))
            for _ in range(100):
                await asyncio.sleep(0)
            store.gate.set()
            await saying
            return await cache.lookup(RESET)

    assert isinstance(asyncio.run(main()), Miss)


# Stated rates, without a cache.

PROMISE = Policy(max_error_rate=0.05)
EMBEDDER = "measured"


def position(calibration, **fields):
    return Position(
        namespace="n", state=State.SERVING, threshold=0.6, calibration=calibration, reason="as told", **fields
    )


@pytest.mark.parametrize(
    ("bound", "asked", "served"), [(0.01, 0.02, True), (0.02, 0.02, True), (0.03, 0.02, False), (None, 0.02, False)]
)
def test_a_certificate_serves_where_its_bound_is_within_the_rate_asked_for(bound, asked, served):
    controls = Controls(max_error_rate=asked)
    found = tightened(controls, PROMISE, position("certified", error_upper=bound), embedder=EMBEDDER)
    assert (found[2] == "") == served


def test_what_was_calibrated_on_public_data_has_a_stricter_threshold_for_a_stricter_rate():
    import json
    from importlib.resources import files

    data = json.loads(files("yamabiko.core").joinpath("data/calibration.json").read_text(encoding="utf-8"))
    known = next(iter(data["embedders"]))
    loose = position("uncalibrated")
    thresholds = []
    for asked in (0.2, 0.1, 0.06):
        _, found, why = tightened(Controls(max_error_rate=asked), Policy(max_error_rate=0.5), loose, embedder=known)
        assert why == ""
        assert found.threshold >= loose.threshold
        thresholds.append(found.threshold)
    assert thresholds == sorted(thresholds)
    assert "nothing speaks for" in tightened(Controls(max_error_rate=1e-9), PROMISE, loose, embedder=known)[2]
    assert "nothing speaks for" in tightened(Controls(max_error_rate=0.01), PROMISE, loose, embedder="unknown")[2]


def candidate(similarity, text):
    scope = Scope(content=b"c" * 32, digest=b"s" * 32)
    question = Question(digest=b"q" * 32, text=text)
    return Candidate(
        entry=Entry(id="0" * 64, scope=scope, questions=(question,), reply=Reply(text="a"), created=0.0),
        similarity=similarity,
    )


MODE = st.sampled_from(["veto", "feature", "off"])
POLICIES = st.builds(
    Policy,
    max_error_rate=st.sampled_from([0.02, 0.1, 0.5]),
    min_similarity=st.none() | st.floats(-1, 1),
    guards=st.dictionaries(st.sampled_from(sorted(GUARDS)), MODE, max_size=4),
)
CONTROLS = st.builds(
    Controls,
    min_similarity=st.none() | st.floats(-1, 1),
    max_error_rate=st.none() | st.floats(0.001, 0.5),
    guards=st.lists(st.tuples(st.sampled_from(sorted(GUARDS)), st.sampled_from(["veto", "feature"])), max_size=4).map(
        tuple
    ),
)
TEXTS = st.sampled_from(
    ["show order 12", "show order 13", "do not show order 12", "how do I show my order", "注文を見せて"]
)


@given(POLICIES, CONTROLS, st.tuples(TEXTS, TEXTS), st.floats(0, 1), st.sampled_from(["certified", "uncalibrated"]))
def test_whatever_is_asked_nothing_is_served_that_the_policy_would_not_serve(
    policy, controls, texts, similarity, calibration
):
    asked, stored = texts
    where, model = position(calibration, error_upper=0.01), model_for("none")

    def served(policy, where, modes):
        found = decide(
            [candidate(similarity, stored)],
            policy,
            asked=asked,
            position=where,
            model=model,
            modes=modes,
            verifier=False,
        )
        return found.action == "serve"

    stricter, there, why = tightened(controls, policy, where, embedder=EMBEDDER)
    modes = stricter_modes(policy.guards, controls)
    if not why and served(stricter, there, modes):
        assert served(policy, where, policy.guards)
        assert controls.min_similarity is None or similarity >= controls.min_similarity
    strictness = {"off": 0, "feature": 1, "veto": 2}
    for name in GUARDS:
        assert strictness[modes.get(name, MODES[name])] >= strictness[policy.guards.get(name, MODES[name])]
