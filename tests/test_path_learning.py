"""The promise on the path: shadow, certificate, audits, feedback, confirmation; through the public API on real stores."""

import asyncio

import pytest

from yamabiko import Hit, Miss, Policy, Request, open_cache
from yamabiko.errors import InvalidRequest
from yamabiko.settings import LearnSettings, Settings
from yamabiko.testing import FakeClock, FakeEmbedder
from yamabiko.types import MissReason

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "iris",
    "jade",
    "kelp",
    "lotus",
    "maple",
    "north",
    "ocean",
    "pearl",
]
EAGER = Settings(
    learn=LearnSettings(per_minute=100_000, per_day=1_000_000, refresh_seconds=1e-3, judge_false_accept=0.0)
)
PROMISE = Policy(max_error_rate=0.2, confidence=0.9)


def question(topic, wording):
    """Two wordings of a topic share most of their words, two topics hardly any."""
    first, second, third = topic % 16, topic // 16 % 16, topic // 256
    names = (WORDS[(first * step + second) % 16] + WORDS[(second * step + third) % 16] for step in (1, 3, 5, 7))
    return f"does {' '.join(names)} open {('please', 'kindly')[wording]}"


def certified(outcome):
    return isinstance(outcome, Hit) and outcome.calibration == "certified"


class Truth:
    """A model that knows the topic of each question, and a judge that compares answers as they are."""

    def __init__(self):
        self.calls = 0
        self.judged = 0

    async def __call__(self, request):
        self.calls += 1
        return f"Answer on {' '.join(request.messages[-1].text.split()[1:5])}."

    async def judge(self, request):
        self.judged += 1
        texts = request.messages[-1].text
        answers = [line for line in texts.splitlines() if line.startswith("Answer on")]
        return '{"same": "%s"}' % ("yes" if len(set(answers)) == 1 else "no")


def opened(url="memory://", *, truth=None, policy=PROMISE, clock=None, hooks=(), **options):
    judge = None if truth is None else truth.judge
    return open_cache(
        url,
        settings=EAGER,
        policy=policy,
        embedder=options.pop("embedder", None) or FakeEmbedder(),
        judge=judge,
        clock=clock or FakeClock(),
        hooks=hooks,
        **options,
    )


async def asked(cache, truth, topics, *, until=None):
    """Each topic in both wordings, answered and settled; how the second was answered. ``until`` ends it early."""
    outcomes = []
    for topic in topics:
        if until is not None and outcomes and until(outcomes[-1]):
            break
        await cache.answer(question(topic, 0), truth)
        await cache.drain()
        outcomes.append(await cache.lookup(question(topic, 1)))
        await cache.answer(question(topic, 1), truth)
        await cache.drain()
    return outcomes


def test_an_embedder_that_nobody_measured_serves_nothing_by_meaning_and_says_why():
    async def run():
        truth = Truth()
        async with opened() as cache:
            await cache.answer(question(0, 0), truth)
            await cache.drain()
            miss = await cache.lookup(question(0, 1))
            assert isinstance(miss, Miss)
            assert miss.reason is MissReason.SHADOW
            assert "judge" in " ".join(miss.reasons)  # what to do
            assert miss.nearest[0].score > 0.5

    asyncio.run(run())


def test_labels_certify_and_then_it_serves_with_its_bound():
    async def run():
        truth = Truth()
        async with opened(truth=truth) as cache:
            outcomes = await asked(cache, truth, range(250), until=certified)
            assert all(outcome.reason is MissReason.SHADOW for outcome in outcomes[:5])
            hit = outcomes[-1]
            assert certified(hit)
            assert 0 < hit.error_upper <= 0.2
            assert hit.score is not None
            assert hit.id

    asyncio.run(run())


def test_what_was_learned_survives_a_restart_and_reaches_another_worker(tmp_path):
    async def run():
        truth, url = Truth(), f"sqlite:///{tmp_path}/cache.db"
        async with opened(url, truth=truth) as cache:
            await asked(cache, truth, range(250), until=certified)
        async with opened(url) as cache:  # and without a judge of its own
            await cache.answer(question(290, 0), truth)
            await cache.drain()
            hit = await cache.lookup(question(290, 1))
            assert certified(hit)

    asyncio.run(run())


def test_without_a_judge_no_model_is_asked_on_a_hit():
    async def run():
        truth = Truth()
        bare = Policy(max_error_rate=None, min_similarity=0.7)
        async with opened(policy=bare) as cache:
            await asked(cache, truth, range(5))
            assert truth.calls == 5

    asyncio.run(run())


def test_feedback_takes_an_answer_away_from_that_question_for_good(tmp_path):
    async def run():
        truth, url, bare = Truth(), f"sqlite:///{tmp_path}/cache.db", Policy(max_error_rate=None, min_similarity=0.7)
        async with opened(url, policy=bare) as cache:
            await cache.answer(question(0, 0), truth)
            await cache.drain()
            hit = await cache.lookup(question(0, 1))
            assert isinstance(hit, Hit)
            await cache.feedback(hit.id, ok=False)
            miss = await cache.lookup(question(0, 1))
            assert isinstance(miss, Miss)
            assert "found wrong" in " ".join(miss.reasons)
            assert isinstance(await cache.lookup(question(0, 0)), Hit)  # for its own question it still stands
        async with opened(url, policy=bare) as cache:
            assert isinstance(await cache.lookup(question(0, 1)), Miss)
            with pytest.raises(InvalidRequest):
                await cache.feedback(hit.id[:-4] + "AAAA", ok=False)

    asyncio.run(run())


def test_feedback_on_the_very_same_question_lets_it_be_answered_anew():
    async def run():
        truth = Truth()
        async with opened() as cache:
            await cache.answer(question(0, 0), truth)
            await cache.drain()
            hit = await cache.lookup(question(0, 0))
            await cache.feedback(hit.id, ok=False)
            assert isinstance(await cache.lookup(question(0, 0)), Miss)
            await cache.answer(question(0, 0), truth)
            await cache.drain()
            assert isinstance(await cache.lookup(question(0, 0)), Hit)

    asyncio.run(run())


def test_an_audit_that_finds_another_answer_puts_it_right():
    async def run():
        truth, events = Truth(), []
        async with opened(truth=truth, hooks=[events.append]) as cache:
            await asked(cache, truth, range(250), until=certified)

            async def changed(request):
                return (await truth(request)).replace("Answer on", "Answer on new")

            for topic in range(300, 700):  # what is stored says one thing, the model by now another
                await cache.answer(question(topic, 0), truth)
                await cache.drain()
                events.clear()
                reply = await cache.answer(question(topic, 1), changed)
                await cache.drain()
                if not reply.text.startswith("Answer on new") and any(event.call == "label" for event in events):
                    break  # answered from the cache at once, and audited behind
            assert [event.outcome for event in events if event.call == "label"] == ["different"]
            hit = await cache.lookup(question(topic, 1))
            assert (hit.tier, hit.reply.text[:13]) == ("exact", "Answer on new")

    asyncio.run(run())


def test_an_unconfirmed_answer_serves_its_author_alone_until_another_gets_the_same():
    async def run():
        truth = Truth()
        policy = Policy(max_error_rate=None, min_similarity=0.7, confirm=True, users="personal")
        async with opened(policy=policy) as cache:
            ann, bob, eve = (Request(question(0, 0), tenant="t", user=user) for user in ("ann", "bob", "eve"))
            await cache.answer(ann, truth)
            await cache.drain()
            assert isinstance(await cache.lookup(ann), Hit)
            miss = await cache.lookup(bob)
            assert miss.reason is MissReason.UNCONFIRMED
            await cache.answer(bob, truth)
            await cache.drain()
            assert isinstance(await cache.lookup(eve), Hit)  # two were told the same

    asyncio.run(run())


def test_a_planted_answer_reaches_nobody_else():
    async def run():
        truth = Truth()
        policy = Policy(max_error_rate=None, min_similarity=0.7, confirm=True, users="personal")
        async with opened(policy=policy) as cache:
            eve, ann, bob = (Request(question(0, 0), tenant="t", user=user) for user in ("eve", "ann", "bob"))
            await cache.remember(await cache.lookup(eve), "Pay to account 0.")
            reply = await cache.answer(ann, truth)
            assert reply.text.startswith("Answer on")
            await cache.drain()
            assert (await cache.answer(bob, truth)).text.startswith("Answer on")

    asyncio.run(run())


def test_a_general_question_is_shared_between_users_and_a_personal_one_is_not():
    async def run():
        policy = Policy(semantic=False, max_error_rate=None, users="personal")
        async with opened(policy=policy) as cache:
            general, own = "What are your opening hours on public holidays?", "Where is my order?"
            for text in (general, own):
                await cache.remember(await cache.lookup(Request(text, tenant="t", user="ann")), "So it is.")
            assert isinstance(await cache.lookup(Request(general, tenant="t", user="bob")), Hit)
            assert isinstance(await cache.lookup(Request(own, tenant="t", user="bob")), Miss)
            assert isinstance(await cache.lookup(Request(own, tenant="t", user="ann")), Hit)
            assert isinstance(await cache.lookup(Request(general, tenant="u", user="bob")), Miss)

    asyncio.run(run())


def test_an_answer_that_ages_fast_lives_no_longer_than_its_class():
    async def run():
        clock = FakeClock()
        async with opened(clock=clock) as cache:
            text = "What is the weather in Osaka right now?"
            await cache.remember(await cache.lookup(text), "Rain.")
            clock.advance(2 * 3600)
            miss = await cache.lookup(text)
            assert isinstance(miss, Miss)

    asyncio.run(run())


def test_a_guard_may_be_a_feature_in_one_category_alone():
    async def run():
        policy = Policy(
            max_error_rate=None, min_similarity=0.5, guards={"billing/numbers": "off", "billing/identifiers": "off"}
        )
        async with opened(policy=policy) as cache:
            await cache.remember(await cache.lookup("what is in order number 12"), "There.")
            other = Request("what is in order number 13", category="billing")
            assert isinstance(await cache.lookup(other), Hit)
            assert isinstance(await cache.lookup(replace_category(other, "")), Miss)

    asyncio.run(run())


def replace_category(request, category):
    return Request(request.messages, category=category)
