"""Step 7 on the path: a verifier's word is in the score, under the same certificate; through the public API."""

import asyncio

import pytest

from test_path_learning import EAGER, PROMISE, Truth, asked, question
from yamabiko import Hit, Miss, Policy, open_cache
from yamabiko.errors import VerifierError
from yamabiko.learn.records import decode_record
from yamabiko.learn.trained import judged_of
from yamabiko.ports import Graded, Mix, Verifier
from yamabiko.rag.evidence import EvidenceVerifier
from yamabiko.testing import FakeClock, FakeEmbedder
from yamabiko.types import MissReason

ROWS = ((0.99, 300, 0), (0.8, 500, 1))
BARE = Mix(name="words-1", bias=0.0, score=0.3, verifier=1.0, low=0.02, high=0.9999)
MIX = Mix(name="words-1", bias=0.0, score=0.3, verifier=1.0, low=0.02, high=0.9999, rows=ROWS)


def topic_of(text):
    return text.split()[1:5]


class SameTopic:
    """A verifier that knows the topics; ``says`` makes log-odds of whether they are the same."""

    def __init__(self, mix=MIX, says=lambda same: 4.0 if same else -4.0):
        self.mix = mix
        self.says = says
        self.asked = 0

    def mix_for(self, embedder, /):
        return self.mix if embedder == "fake" else None

    async def log_odds(self, request, candidates, /):
        self.asked += 1
        wanted = topic_of(request.messages[-1].text)
        return [self.says(topic_of(candidate.question.text) == wanted) for candidate in candidates]

    async def same(self, request, candidates, /):
        return [odds > 0 for odds in await self.log_odds(request, candidates)]


def opened(verifier, url="memory://", *, truth=None, policy=PROMISE, clock=None):
    return open_cache(
        url,
        settings=EAGER,
        policy=policy,
        embedder=FakeEmbedder(),
        judge=None if truth is None else truth.judge,
        verifier=verifier,
        clock=clock or FakeClock(),
    )


async def second_wording(cache, truth, topic=0):
    await cache.answer(question(topic, 0), truth)
    await cache.drain()
    return await cache.lookup(question(topic, 1))


def looked_up(verifier, **options):
    async def run():
        async with opened(verifier, **options) as cache:
            return await second_wording(cache, Truth())

    return asyncio.run(run())


def test_a_verifier_is_one_or_the_other_port():
    verifier = SameTopic()
    port: Verifier = verifier
    assert isinstance(port, Graded)


def test_a_yes_serves_what_the_score_alone_would_not_and_says_so():
    assert isinstance(looked_up(None), Miss)  # nobody measured this embedder
    hit = looked_up(SameTopic())
    assert isinstance(hit, Hit)
    assert (hit.tier, hit.calibration) == ("verified", "uncalibrated")
    told = " ".join(hit.reasons)
    assert "verifier words-1" in told
    assert "probability 0.9820" in told
    assert hit.score > 0.8
    assert hit.p_correct == pytest.approx(hit.score)


def test_a_no_is_a_miss_whatever_the_score():
    miss = looked_up(SameTopic(says=lambda _: -6.0))
    assert miss.reason is MissReason.VERIFIER_SAID_NO
    assert "probability 0.00" in " ".join(miss.reasons)
    assert miss.nearest[0].alone > 0.5 > miss.nearest[0].score


@pytest.mark.parametrize("silence", [None, float("nan")])
def test_unsure_is_a_no(silence):
    miss = looked_up(SameTopic(says=lambda _: silence))
    assert miss.reason is MissReason.VERIFIER_SAID_NO
    assert "could not vouch" in " ".join(miss.reasons)


class Broken(SameTopic):
    async def log_odds(self, request, candidates, /):
        raise self.says


class TooMany(SameTopic):
    async def log_odds(self, request, candidates, /):
        return [4.0] * (len(candidates) + 1)


@pytest.mark.parametrize(
    ("verifier", "words"),
    [
        (Broken(says=VerifierError("it has no weights")), "the verifier failed: it has no weights"),
        (Broken(says=ValueError("question: secret")), "the verifier failed: it raised ValueError"),
        (Broken(says=TimeoutError()), "the verifier took too long"),
        (TooMany(), "2 things about 1"),
    ],
)
def test_a_verifier_that_fails_costs_a_hit_and_no_answer(verifier, words):
    miss = looked_up(verifier)
    assert miss.reason is MissReason.VERIFIER_SAID_NO
    assert words in " ".join(miss.reasons)
    assert "secret" not in " ".join(miss.reasons)

    async def run():
        async with opened(verifier) as cache:
            return await cache.answer(question(0, 1), Truth())

    assert asyncio.run(run()).text.startswith("Answer on")


def test_outside_the_grey_zone_nobody_is_asked():
    sure = SameTopic(Mix(name="words-1", bias=0.0, score=1.0, verifier=1.0, low=0.1, high=0.2, rows=ROWS))
    hit = looked_up(sure)
    assert sure.asked == 0
    assert (hit.tier, hit.score > 0.9) == ("semantic", True)  # by the score as it is


def test_where_it_has_no_mix_it_says_yes_or_no_as_any_verifier():
    verifier = SameTopic(mix=None)
    policy = Policy(max_error_rate=None, min_similarity=0.999, verify_similarity=0.2)
    hit = looked_up(verifier, policy=policy)
    assert (hit.tier, hit.score is not None, hit.calibration) == ("verified", True, "none")
    # without a promise there is no score to weigh it with
    assert looked_up(SameTopic(), policy=policy).tier == "verified"


def test_labels_certify_the_final_score_and_count_for_this_very_mix_alone(tmp_path):
    url = f"sqlite:///{tmp_path}/cache.db"

    async def run():
        truth, clock = Truth(), FakeClock()
        async with opened(SameTopic(BARE), url, truth=truth, clock=clock) as cache:
            outcomes = await confused(cache, truth, range(16, 250))
            assert (outcomes[-1].tier, outcomes[-1].calibration) == ("verified", "certified")
            records = await _records(cache)
            items = await cache.store.read_log("learn:fake", after=0, limit=5000)
            labels = judged_of(items, BARE.name, {record.drawing.versions for record in records})
            assert {label.correct for label in labels} == {True, False}
            right = [(label.log_odds > 0) == label.correct for label in labels]  # what train-verifier learns from
            assert sum(right) >= 0.9 * len(right)  # the same words in another order pass for the same answer
        mixed = [record for record in records if record.log_odds is not None]
        assert mixed
        assert all(record.alone is not None and record.verifier == BARE.name for record in mixed)
        # another mix, and none at all, begin anew, each for its own scores
        other = Mix(name="words-2", bias=0.0, score=0.3, verifier=1.0, low=0.02, high=0.9999)
        async with opened(SameTopic(other), url, clock=clock) as cache:
            assert not _is_certified(await second_wording(cache, truth, 301))
        async with opened(None, url, clock=clock) as cache:
            assert not _is_certified(await second_wording(cache, truth, 302))
        async with opened(SameTopic(BARE), url, clock=clock) as cache:
            assert _is_certified(await second_wording(cache, truth, 303))

    asyncio.run(run())


def test_a_gate_for_documents_passes_the_word_of_its_verifier_on():
    async def nothing(_):
        raise AssertionError

    hit = looked_up(EvidenceVerifier(nothing, verifier=SameTopic()))  # the answer has no documents to ask for
    assert (hit.tier, "verifier words-1" in " ".join(hit.reasons)) == ("verified", True)
    assert looked_up(EvidenceVerifier(nothing)).reason is MissReason.SHADOW


def test_a_verifier_that_helps_nothing_is_no_longer_asked_and_the_score_alone_serves():
    async def run():
        truth, verifier = Truth(), SameTopic(BARE, says=lambda _: -8.0)
        async with opened(verifier, truth=truth) as cache:
            outcomes = await asked(cache, truth, range(250), until=_is_certified)
            assert _is_certified(outcomes[-1])
            assert outcomes[-1].tier == "semantic"
            before = verifier.asked
            for topic in range(300, 320):
                await second_wording(cache, truth, topic)
            assert verifier.asked - before < 20  # now and then, for labels alone

    asyncio.run(run())


async def confused(cache, truth, topics):
    """By turns another wording and a near miss that the score alone likes better, until one is served."""
    outcomes = []
    for topic in topics:
        await cache.answer(question(topic, 0), truth)
        await cache.drain()
        _, one, two, three, four, *_ = question(topic, 0).split()
        trap = f"does {one} {two} {three} {one} open kindly"
        other = trap if topic % 2 else f"does {one} {two} {three} {four} opens today kindly"
        outcomes.append(await cache.lookup(other))
        await cache.answer(other, truth)
        await cache.drain()
        if _is_certified(outcomes[-1]):
            break
    return outcomes


def _is_certified(outcome):
    return isinstance(outcome, Hit) and outcome.calibration == "certified"


async def _records(cache):
    items = await cache.store.read_log("learn:fake", after=0, limit=5000)
    records = [decode_record(item.data) for item in items]
    return [record for record in records if type(record).__name__ == "Drawn"]
