"""What went wrong in other caches, each as a test: identity, lifecycle, tenants, speed and privacy."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from yamabiko import Hit, Miss, Policy, Reply, Request, open_cache
from yamabiko.errors import ConfigurationError, StoreMismatch, VerifierError
from yamabiko.settings import Settings, StoreSettings
from yamabiko.stores.memory import MemoryStore
from yamabiko.telemetry import Counters, LogEvents
from yamabiko.testing import FakeClock, FakeEmbedder, ScriptedModel
from yamabiko.types import MissReason, Usage

Q = "How do I reset my password?"
PARAPHRASE = "How can I reset my password?"  # cosine with Q in FakeEmbedder: about 0.83
NEAR = FakeEmbedder(dim=2, vectors={"pine": [1.0, 0.0], "larch": [0.8, 0.6]})  # cosine 0.8
DOUBTFUL = Policy(max_error_rate=None, min_similarity=0.95, verify_similarity=0.5)
EVERYTHING = Policy(max_error_rate=None, min_similarity=-1.0)


class CountingStore(MemoryStore):
    """Counts round trips: every call but touch, which only notes."""

    def __init__(self):
        super().__init__(embedder="fake", dim=64)
        self.trips = []

    async def get(self, key, /):
        self.trips.append("get")
        return await super().get(key)

    async def search(self, *args, **options):
        self.trips.append("search")
        return await super().search(*args, **options)

    async def put(self, entry, /, *, now):
        self.trips.append("put")
        await super().put(entry, now=now)


class HangingStore(MemoryStore):
    """A store whose server takes calls and never answers look-ups."""

    def __init__(self):
        super().__init__(embedder="fake", dim=64)

    async def get(self, key, /):
        await asyncio.Event().wait()

    async def search(self, *_, **__):
        await asyncio.Event().wait()


class Judge:
    """A verifier that says, or raises, what it was made with."""

    def __init__(self, verdict):
        self.verdict = verdict
        self.asked = 0

    async def same(self, request, candidates, /):
        self.asked += 1
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


def chat(*turns, **parts):
    roles = ("user", "assistant")
    return Request([{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)], **parts)


# Identity.


@pytest.mark.parametrize("word", ["yes", "continue", "はい", "続けて"])
def test_a_word_that_only_means_something_in_its_chat_stays_in_it(opened, word):
    cache = opened(policy=EVERYTHING)
    cache.answer(chat("Delete the file?", "Are you sure?", word), ScriptedModel({word: "deleted"}))
    other = chat("Send the mail?", "Are you sure?", word)
    assert isinstance(cache.lookup(other), Miss)
    assert isinstance(cache.lookup(replace_last(other, word + " please")), Miss)


def replace_last(request, text):
    return Request([*request.messages[:-1], replace(request.messages[-1], text=text)])


def test_only_the_question_is_embedded_never_the_prompt_around_it(opened):
    cache = opened()
    request = Request(
        [
            {"role": "user", "content": "Who painted it?"},
            {"role": "assistant", "content": "Hokusai."},
            {"role": "user", "content": "When?"},
        ],
        system="You are a guide. " * 200,
        tools=[{"name": "search"}],
    )
    cache.answer(request, ScriptedModel())
    cache.drain()
    assert opened.embedder.texts == ["When?"]


def test_a_long_system_prompt_does_not_make_all_questions_alike(opened):
    cache = opened(policy=Policy(max_error_rate=None, min_similarity=0.7))
    system = "You are the helpful assistant of a large company and answer politely. " * 50
    cache.answer(Request("What does the bag cost?", system=system), ScriptedModel())
    assert isinstance(cache.lookup(Request("Where is my parcel now", system=system)), Miss)


def test_agents_turns_without_text_do_not_answer_each_other(opened):
    def turn(result):
        blocks = [{"type": "tool_result", "tool_use_id": "t", "content": result}]
        return Request([{"role": "user", "content": blocks}])

    cache, model = opened(policy=EVERYTHING), ScriptedModel()
    cache.answer(turn("22 degrees"), model)
    assert isinstance(cache.lookup(turn("3 degrees")), Miss)
    assert cache.lookup(turn("22 degrees")).tier == "exact"
    assert opened.embedder.calls == 0


def test_a_tenant_is_never_read_from_a_body(opened):
    from yamabiko.wire import anthropic, openai

    body = {"model": "m", "messages": [{"role": "user", "content": Q}]}
    forged = body | {"tenant": "acme", "user": "ann", "metadata": {"tenant": "acme", "user_id": "ann"}}
    for wire in (openai, anthropic):
        request = wire.request_from(forged, tenant="mallory")
        assert (request.tenant, request.user) == ("mallory", "")
        cache = opened(policy=EVERYTHING)
        cache.answer(wire.request_from(body, tenant="acme", user="ann"), ScriptedModel())
        assert isinstance(cache.lookup(request), Miss)


@pytest.mark.parametrize("reader", [{"tenant": "b"}, {"tenant": "a", "user": "u2"}, {"tenant": "a"}, {}])
def test_one_persons_answer_is_not_found_by_another_in_any_way_in(opened, reader):
    cache = opened(policy=EVERYTHING)
    private = Request(Q, tenant="a", user="u1", tags=("t",))
    cache.stream(private, ScriptedModel({Q: "for u1 only"}).stream)
    other = Request(Q, **reader)
    model = ScriptedModel({Q: "another answer", PARAPHRASE: "another answer"})
    assert isinstance(cache.lookup(other), Miss)
    assert isinstance(cache.lookup(Request(PARAPHRASE, **reader)), Miss)
    assert cache.answer(other, model).text == "another answer"
    assert cache.stream(Request(PARAPHRASE, **reader), model.stream)[1].reply.text == "another answer"


def test_two_tenants_asking_at_once_share_no_generation():
    async def case():
        model = ScriptedModel(gate=asyncio.Event())
        async with open_cache("memory://", embedder=FakeEmbedder()) as cache:
            callers = [asyncio.create_task(cache.answer(Request(Q, tenant=name), model)) for name in ("a", "b")]
            for _ in range(100):
                await asyncio.sleep(0)
            assert model.calls == 2
            model.gate.set()
            await asyncio.gather(*callers)

    asyncio.run(asyncio.wait_for(case(), 10))


# False hits.


def test_a_threshold_of_zero_is_a_threshold(opened):
    vectors = {"pine": [1, 0], "up": [0.6, 0.8], "down": [-0.6, 0.8]}
    embedder = FakeEmbedder(dim=2, vectors=vectors)
    cache = opened(embedder=embedder, policy=Policy(max_error_rate=None, min_similarity=0.0, near_miss_margin=1.0))
    cache.answer("pine", ScriptedModel())
    assert isinstance(cache.lookup("up"), Hit)
    assert cache.lookup("down").reason is MissReason.BELOW_THRESHOLD


def test_a_higher_threshold_never_serves_more(opened):
    served = []
    for threshold in (0.5, 0.79, 0.81, 1.0):
        cache = opened(embedder=NEAR, policy=Policy(max_error_rate=None, min_similarity=threshold))
        cache.answer("pine", ScriptedModel())
        served.append(isinstance(cache.lookup("larch"), Hit))
    assert served == [True, True, False, False]


@pytest.mark.parametrize(
    "verdict",
    [[False], [], VerifierError("overloaded"), TimeoutError()],
    ids=["no", "nothing", "error", "timeout"],
)
def test_a_verifier_that_does_not_say_yes_says_no(opened, verdict):
    judge = Judge(verdict)
    cache = opened(embedder=NEAR, policy=DOUBTFUL, verifier=judge)
    cache.answer("pine", ScriptedModel())
    miss = cache.lookup("larch")
    assert (miss.reason, judge.asked) == (MissReason.VERIFIER_SAID_NO, 1)
    assert cache.answer("larch", ScriptedModel()).text == "echo: larch"


def test_a_verifier_that_says_yes_is_named_as_the_tier(opened):
    judge = Judge([True])
    cache = opened(embedder=NEAR, policy=DOUBTFUL, verifier=judge)
    cache.answer("pine", ScriptedModel())
    hit = cache.lookup("larch")
    assert (hit.tier, hit.reply.text, hit.similarity) == ("verified", "echo: pine", pytest.approx(0.8, abs=0.01))
    assert any("verifier" in reason for reason in hit.reasons)
    assert cache.lookup("pine").tier == "exact", "the very same question needs no verifier"
    assert judge.asked == 1


def test_a_wrong_answer_can_be_corrected(opened):
    cache = opened(policy=Policy(max_error_rate=None, min_similarity=0.7))
    cache.answer(Q, ScriptedModel({Q: "wrong"}))
    wrong = cache.lookup(PARAPHRASE)
    assert wrong.reply.text == "wrong"
    assert cache.purge(id=wrong.entry.id) == 1
    assert cache.answer(PARAPHRASE, ScriptedModel({PARAPHRASE: "right"})).text == "right"
    assert cache.lookup(Q).reply.text == "right"


# Lifecycle.


def test_answers_by_meaning_do_not_outlive_their_embedder_in_silence(tmp_path):
    async def case():
        url = f"sqlite:///{tmp_path}/cache.db"
        async with open_cache(url, embedder=FakeEmbedder()) as cache:
            await cache.answer(Q, ScriptedModel())
        with pytest.raises(StoreMismatch):
            async with open_cache(url, embedder=FakeEmbedder(dim=32, id="other")) as cache:
                await cache.lookup(Q)
        async with open_cache(url, embedder=FakeEmbedder()) as cache:
            assert isinstance(await cache.lookup(Q), Hit)

    asyncio.run(case())


def test_all_that_came_with_a_reply_comes_again(opened, tmp_path):
    reply = Reply(
        text="Click. 押してください。",
        model="m1-2026",
        usage=Usage(input_tokens=7, output_tokens=5, cached_input_tokens=2),
        chunk_lengths=(6, 9),
        sources=("s3://bucket/a.pdf",),
        latency_seconds=1.5,
        cost_usd=0.25,
        extra='{"reasoning_content":"thought"}',
    )
    cache = opened(f"sqlite:///{tmp_path}/cache.db")
    cache.answer(Q, ScriptedModel({Q: reply}))
    cache.drain()
    assert cache.lookup(Q).reply == reply
    assert cache.stream(Q, ScriptedModel().stream)[0] == ["Click.", " 押してください。"]


def test_a_clock_set_back_revives_nothing_that_was_purged_and_shows_no_negative_age(opened):
    cache = opened(policy=Policy(ttl_seconds=100))
    cache.answer(Q, ScriptedModel())
    opened.clock.advance(-1000)
    assert cache.lookup(Q).age_seconds == 0.0
    cache.purge(everything=True)
    assert isinstance(cache.lookup(Q), Miss)


def test_an_answer_that_lives_for_ever_outlives_a_century(opened, tmp_path):
    cache = opened(
        f"sqlite:///{tmp_path}/cache.db",
        policy=Policy(ttl_seconds=float("inf"), max_error_rate=None, min_similarity=0.7),
    )
    cache.answer(Q, ScriptedModel())
    cache.drain()
    opened.clock.advance(100 * 365 * 86400)
    assert not cache.lookup(Q).stale
    assert isinstance(cache.lookup(PARAPHRASE), Hit)
    assert cache.purge(dead=True) == 0


def test_a_stale_answer_that_can_not_be_renewed_dies_at_its_time(opened):
    cache, model = opened(policy=Policy(ttl_seconds=100, stale_seconds=50)), ScriptedModel()
    cache.answer(Q, model)
    model.fail_with = RuntimeError("down")
    for _ in range(4):
        opened.clock.advance(30)
        cache.answer(Q, ScriptedModel() if model.fail_with is None else model)
        cache.drain()
    opened.clock.advance(30)
    assert cache.lookup(Q).reason is MissReason.EXPIRED


def test_the_answer_goes_when_its_document_changes(opened):
    cache = opened(policy=EVERYTHING)
    cache.answer(Request(Q, knowledge="manual 1"), ScriptedModel({Q: "the old way"}))
    for question in (Q, PARAPHRASE):
        assert isinstance(cache.lookup(Request(question, knowledge="manual 2")), Miss)


# Speed.


def test_an_exact_hit_is_one_round_trip_a_semantic_one_two_and_a_write_one():
    async def case():
        store = CountingStore()
        async with open_cache(
            store=store, embedder=FakeEmbedder(), policy=Policy(max_error_rate=None, min_similarity=0.7)
        ) as cache:
            for question, trips in [(Q, ["get", "search", "put"]), (Q, ["get"]), (PARAPHRASE, ["get", "search"])]:
                store.trips.clear()
                await cache.answer(question, ScriptedModel())
                await cache.drain()
                assert store.trips == trips

    asyncio.run(case())


@pytest.mark.parametrize("ask", ["answer", "lookup", "stream"])
def test_a_store_that_never_answers_costs_its_deadline_and_no_more(ask):
    async def case():
        settings = Settings(store=StoreSettings(timeout_seconds=0.02))
        async with open_cache(store=HangingStore(), embedder=FakeEmbedder(), settings=settings) as cache:
            async with asyncio.timeout(5):
                if ask == "lookup":
                    miss = await cache.lookup(Q)
                    assert miss.reason is MissReason.STORE_UNAVAILABLE
                    assert any("too long" in reason for reason in miss.reasons)
                elif ask == "answer":
                    assert (await cache.answer(Q, ScriptedModel())).text == f"echo: {Q}"
                else:
                    pieces = [piece async for piece in cache.stream(Q, ScriptedModel().stream)]
                    assert "".join(pieces) == f"echo: {Q}"

    asyncio.run(case())


def test_nothing_grows_with_requests_that_are_over():
    async def case():
        counters = Counters(window=10)
        async with open_cache("memory://", embedder=FakeEmbedder(), hooks=[counters]) as cache:
            for number in range(200):
                await cache.answer(Request(Q, user=f"u{number % 3}", sampling={"seed": number}), ScriptedModel())
            await cache.drain()
            assert len(asyncio.all_tasks()) == 1
            await cache.purge(everything=True)
            assert (await cache.stats()).payload_bytes == 0
        assert counters.counts["requests"] == 200

    asyncio.run(case())


# Privacy.


def test_nothing_that_is_said_or_asked_reaches_a_log_even_when_all_goes_wrong(caplog):
    secrets = ("reset my password", "Forgot", "Internal instructions", "alice", "sk-live-0123456789abcdefghij")

    def broken_hook(_):
        raise KeyError("hook")

    async def case():
        store = MemoryStore(embedder="fake", dim=64)
        hooks = [LogEvents(level=logging.WARNING), broken_hook]
        clock = FakeClock()
        policy = Policy(ttl_seconds=100, stale_seconds=50, max_error_rate=None, min_similarity=0.7)
        request = Request(
            Q,
            system="Internal instructions",
            user="alice",
            sampling={"mcp_servers": [{"authorization_token": "sk-live-0123456789abcdefghij"}]},
        )
        async with open_cache(store=store, embedder=FakeEmbedder(), hooks=hooks, clock=clock, policy=policy) as cache:
            model = ScriptedModel({Q: "Click on Forgot password."}, gate=asyncio.Event())
            callers = [asyncio.create_task(cache.answer(request, model)) for _ in range(3)]
            await model.started.wait()
            callers[0].cancel()
            model.gate.set()
            await asyncio.gather(*callers, return_exceptions=True)
            await cache.drain()
            clock.advance(120)
            model.fail_with = RuntimeError(f"upstream could not answer: {Q}")
            await cache.answer(request, model)  # stale: the renewal behind it fails
            await cache.drain()
            stream = cache.stream(replace_user(request, "alice too"), model.stream)
            with pytest.raises(RuntimeError):
                await anext(stream)
            logging.getLogger("test").warning("%r %r", request, await cache.lookup(request))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(case(), debug=True)
    assert caplog.records
    for secret in secrets:
        assert secret not in caplog.text, secret


def replace_user(request, user):
    return Request(request.messages, system=request.system, user=user, sampling=request.sampling)


def test_a_setting_that_is_wrong_is_refused_without_its_secret():
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(environ={"YAMABIKO_EMBEDDER__API_KEYS": "sk-live-0123456789"})
    assert "sk-live" not in str(refused.value)
