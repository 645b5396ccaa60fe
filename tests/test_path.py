"""What a caller sees of the path, the same through Cache and SyncCache."""

from __future__ import annotations

import pytest

from yamabiko import Hit, Miss, Policy, Reply, Request
from yamabiko.errors import ConfigurationError, EmbeddingError, InvalidRequest, StoreUnavailable
from yamabiko.stores.memory import MemoryStore
from yamabiko.testing import FakeEmbedder, ScriptedModel
from yamabiko.types import MissReason, Usage

RESET = "How do I reset my password?"
RESET_TOO = "How can I reset my password?"  # cosine with RESET in FakeEmbedder: about 0.83
LOOSE = Policy(max_error_rate=None, min_similarity=0.7)
STRICT = Policy(max_error_rate=None, min_similarity=0.95)


def unlike(**changes):
    """A policy that serves loosely, changed."""
    return Policy(max_error_rate=None, min_similarity=0.7, **changes)


class DeadStore(MemoryStore):
    """A store whose server has gone."""

    async def get(self, key, /):
        raise StoreUnavailable("connection refused")

    async def search(self, *_, **__):
        raise StoreUnavailable("connection refused")

    async def put(self, entry, /, *, now):
        raise StoreUnavailable("connection refused")


# Hits and misses.


def test_the_second_asking_is_answered_without_the_model(opened):
    cache, model = opened(), ScriptedModel({RESET: "Click on Forgot password."})
    first = cache.answer(RESET, model)
    second = cache.answer(RESET, model)
    assert (first.text, second.text, model.calls) == ("Click on Forgot password.", "Click on Forgot password.", 1)


def test_an_exact_hit_says_so(opened):
    cache = opened()
    cache.answer(RESET, ScriptedModel())
    opened.clock.advance(60)
    hit = cache.lookup("  how do I reset   my password?? ")
    assert isinstance(hit, Hit)
    assert (hit.tier, hit.similarity, hit.age_seconds, hit.stale) == ("exact", 1.0, 60.0, False)
    assert hit.reasons


def test_other_words_hit_by_meaning_and_name_the_question_that_matched(opened):
    cache, model = opened(policy=LOOSE), ScriptedModel({RESET: "Click."})
    cache.answer(RESET, model)
    hit = cache.lookup(RESET_TOO)
    assert isinstance(hit, Hit)
    assert (hit.tier, hit.reply.text) == ("semantic", "Click.")
    assert 0.7 <= hit.similarity < 1
    assert "reset" in hit.question
    assert hit.reasons
    assert cache.answer(RESET_TOO, model).text == "Click."
    assert model.calls == 1


def test_below_the_threshold_is_a_miss_with_its_nearest_question(opened):
    cache = opened(policy=Policy(max_error_rate=None, min_similarity=0.95, near_miss_margin=0.3))
    cache.answer(RESET, ScriptedModel())
    miss = cache.lookup(RESET_TOO)
    assert isinstance(miss, Miss)
    assert miss.reason is MissReason.BELOW_THRESHOLD
    assert miss.similarity == pytest.approx(miss.nearest[0].similarity)
    assert 0.65 <= miss.similarity < 0.95
    assert any("0.95" in reason for reason in miss.reasons)


def test_nothing_near_is_absent(opened):
    cache = opened(policy=STRICT)
    cache.answer(RESET, ScriptedModel())
    miss = cache.lookup("Where is the nearest harbour for sailing boats")
    assert (miss.reason, miss.similarity) == (MissReason.ABSENT, None)
    assert miss.reasons


def test_the_most_similar_of_several_answers(opened):
    vectors = {"pine": [1.0, 0.0], "larch": [0.8, 0.6], "spruce": [0.9, 0.43589]}  # spruce is at 0.90 and 0.98 of them
    cache = opened(
        embedder=FakeEmbedder(dim=2, vectors=vectors), policy=Policy(max_error_rate=None, min_similarity=0.85)
    )
    cache.answer("pine", ScriptedModel())
    cache.answer("larch", ScriptedModel())
    hit = cache.lookup("spruce")
    assert hit.reply.text == "echo: larch"
    assert hit.similarity == pytest.approx(0.98, abs=0.005)


def test_lookup_then_remember_embeds_once(opened):
    cache = opened()
    miss = cache.lookup(RESET)
    entry = cache.remember(miss, Reply(text="Click.", usage=Usage(input_tokens=3, output_tokens=2)))
    assert entry is not None
    assert opened.embedder.texts == [RESET]
    hit = cache.lookup(RESET)
    assert (hit.reply.text, hit.reply.usage.output_tokens, hit.entry.id) == ("Click.", 2, entry.id)
    assert opened.embedder.texts == [RESET]


def test_answer_embeds_once_and_a_text_is_taken_for_a_reply(opened):
    cache = opened()
    cache.answer(RESET, ScriptedModel({RESET: "Click."}))
    cache.drain()
    assert opened.embedder.texts == [RESET]


def test_asking_the_same_again_replaces_and_adds_no_row(opened):
    cache = opened()
    miss = cache.lookup(RESET)
    cache.remember(miss, "one")
    cache.remember(miss, "two")
    assert cache.lookup(RESET).reply.text == "two"
    assert cache.stats().entries == 1


def test_japanese_is_answered_too(opened):
    cache = opened(policy=LOOSE)
    cache.answer("パスワードを忘れました。", ScriptedModel({"パスワードを忘れました。": "再設定してください。"}))
    assert cache.lookup("パスワードを忘れました").tier == "exact"
    assert cache.lookup("パスワードを忘れましたよ").reply.text == "再設定してください。"


def test_matching_by_meaning_can_be_turned_off(opened):
    cache = opened(policy=Policy(semantic=False))
    cache.answer(RESET, ScriptedModel())
    assert cache.lookup(RESET).tier == "exact"
    assert isinstance(cache.lookup(RESET_TOO), Miss)
    assert opened.embedder.calls == 0


def test_without_an_embedder_the_same_question_is_still_answered(opened):
    cache = opened(embedder="none")
    cache.answer(RESET, ScriptedModel())
    assert cache.lookup(RESET).tier == "exact"
    assert isinstance(cache.lookup(RESET_TOO), Miss)


# Life.


def test_an_answer_expires_and_a_hit_does_not_prolong_its_life(opened):
    cache = opened(policy=unlike(ttl_seconds=100))
    cache.answer(RESET, ScriptedModel())
    for _ in range(9):
        opened.clock.advance(11)
        assert isinstance(cache.lookup(RESET), Hit)
        assert isinstance(cache.lookup(RESET_TOO), Hit)
    opened.clock.advance(2)
    assert cache.lookup(RESET).reason is MissReason.EXPIRED
    assert isinstance(cache.lookup(RESET_TOO), Miss)


def test_an_expired_answer_is_made_anew(opened):
    cache, model = opened(policy=Policy(ttl_seconds=100)), ScriptedModel()
    cache.answer(RESET, model)
    opened.clock.advance(101)
    cache.answer(RESET, model)
    assert model.calls == 2
    assert isinstance(cache.lookup(RESET), Hit)


def test_a_stale_answer_is_served_at_once_and_renewed_behind(opened):
    cache, model = opened(policy=unlike(ttl_seconds=100, stale_seconds=50)), ScriptedModel({RESET: "old"})
    cache.answer(RESET, model)
    opened.clock.advance(120)
    assert cache.lookup(RESET).stale
    model.replies[RESET] = "new"
    assert cache.answer(RESET, model).text == "old"
    cache.drain()
    hit = cache.lookup(RESET)
    assert (hit.reply.text, hit.stale, model.calls) == ("new", False, 2)
    assert cache.lookup(RESET_TOO).reply.text == "new", "renewing must not lose the question's vector"


def test_a_failing_renewal_leaves_the_stale_answer_and_reaches_nobody(opened, caplog):
    cache, model = opened(policy=unlike(ttl_seconds=100, stale_seconds=50)), ScriptedModel({RESET: "old"})
    cache.answer(RESET, model)
    opened.clock.advance(120)
    model.fail_with = RuntimeError("upstream said: " + RESET)
    assert cache.answer(RESET, model).text == "old"
    cache.drain()
    assert cache.lookup(RESET).reply.text == "old"
    assert "RuntimeError" in caplog.text
    assert RESET not in caplog.text


# What is not stored.


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="The beginning of", finish_reason="length"),
        Reply(text="...", finish_reason="content_filter"),
        Reply(text=""),
        Reply(text="", finish_reason="tool_calls", tool_calls=('{"name":"search"}',)),
        Reply(text="I'm sorry, but I can't help with that."),
        Reply(text="申し訳ありませんが、その質問にはお答えできません。"),
        Reply(text="Your key is sk-ant-api03-" + "a1B2" * 12),
    ],
    ids=["truncated", "filtered", "empty", "tool call", "refusal", "refusal in Japanese", "secret"],
)
def test_a_reply_that_is_no_answer_reaches_the_caller_and_is_not_stored(opened, reply):
    cache, model = opened(), ScriptedModel({RESET: reply})
    assert cache.answer(RESET, model).text == reply.text
    assert cache.remember(cache.lookup(RESET), reply) is None
    cache.answer(RESET, model)
    assert model.calls == 2
    assert cache.stats().entries == 0


def test_an_error_of_the_model_passes_through_untouched_and_nothing_is_stored(opened):
    error = ZeroDivisionError("the model's own")
    cache, model = opened(), ScriptedModel(fail_with=error)
    with pytest.raises(ZeroDivisionError) as raised:
        cache.answer(RESET, model)
    assert raised.value is error
    assert cache.stats().entries == 0
    model.fail_with = None
    assert cache.answer(RESET, model).text.startswith("echo")


def test_a_request_that_bypasses_is_neither_looked_up_nor_stored(opened):
    cache, model = opened(), ScriptedModel()
    request = Request(RESET, bypass="two choices were asked for (n = 2)")
    cache.answer(request, model)
    cache.answer(request, model)
    miss = cache.lookup(request)
    assert (model.calls, miss.reason, cache.stats().entries) == (2, MissReason.BYPASS, 0)
    assert miss.reasons == ("two choices were asked for (n = 2)",)
    assert cache.remember(miss, "text") is None


def test_where_a_tenant_is_demanded_none_means_no_cache(opened):
    cache, model = opened(policy=Policy(require_tenant=True)), ScriptedModel()
    cache.answer(RESET, model)
    cache.answer(RESET, model)
    assert (cache.lookup(RESET).reason, model.calls) == (MissReason.SCOPE, 2)
    cache.answer(Request(RESET, tenant="acme"), model)
    assert isinstance(cache.lookup(Request(RESET, tenant="acme")), Hit)


def test_a_text_beyond_the_window_matches_itself_only_and_the_reason_says_so(opened):
    long = " ".join(f"word{n}" for n in range(300))
    cache = opened(embedder=FakeEmbedder(max_words=256), policy=unlike())
    miss = cache.lookup(long)
    assert miss.reason is MissReason.BYPASS
    assert any("longer" in reason for reason in miss.reasons)
    cache.remember(miss, "long answer")
    assert cache.lookup(long).tier == "exact"
    assert isinstance(cache.lookup(long + " more"), Miss)


def test_a_turn_with_an_image_never_matches_by_meaning(opened):
    def about(url):
        image = {"type": "image_url", "image_url": {"url": url}}
        return Request([{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}])

    cache = opened(policy=Policy(max_error_rate=None, min_similarity=-1.0))
    cache.answer(about("https://a.example/cat.png"), ScriptedModel())
    miss = cache.lookup(about("https://a.example/dog.png"))
    assert miss.reason is MissReason.BYPASS
    assert opened.embedder.calls == 0


def test_an_empty_turn_never_matches_by_meaning(opened):
    cache = opened(policy=Policy(max_error_rate=None, min_similarity=-1.0))
    cache.answer(RESET, ScriptedModel())
    assert cache.lookup("   ").reason is MissReason.BYPASS


# What is broken.


def test_a_dead_embedder_is_a_miss_and_the_exact_tier_goes_on(opened):
    cache, model = opened(policy=LOOSE), ScriptedModel()
    cache.answer(RESET, model)
    cache.drain()
    opened.embedder.fail_with = EmbeddingError("the model file is gone")
    assert cache.lookup(RESET).tier == "exact"
    assert cache.lookup(RESET_TOO).reason is MissReason.EMBEDDER_UNAVAILABLE
    assert cache.answer(RESET_TOO, model).text == f"echo: {RESET_TOO}"
    cache.drain()
    assert cache.lookup(RESET_TOO).tier == "exact", "stored without a vector"


def test_a_dead_store_is_a_miss_and_the_model_answers(opened):
    cache, model = opened(store=DeadStore(embedder="fake", dim=64)), ScriptedModel()
    miss = cache.lookup(RESET)
    assert miss.reason is MissReason.STORE_UNAVAILABLE
    assert opened.embedder.calls == 0, "nothing is embedded for a look-up that can't be made"
    assert cache.remember(miss, "text") is None
    assert cache.answer(RESET, model).text == f"echo: {RESET}"


# Partitions.


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "other"},
        {"user": "u2"},
        {"model": "m2"},
        {"system": "You are a pirate."},
        {"tools": [{"name": "search"}]},
        {"tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"sampling": {"temperature": 1}},
        {"knowledge": "v2"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_changes_an_answer_partitions_both_tiers(opened, other):
    same = {"tenant": "acme", "user": "u1", "model": "m1", "system": "You help."}
    cache = opened(policy=Policy(max_error_rate=None, min_similarity=-1.0))
    cache.answer(Request(RESET, **same), ScriptedModel())
    assert isinstance(cache.lookup(Request(RESET_TOO, **same)), Hit)
    assert isinstance(cache.lookup(Request(RESET, **(same | other))), Miss)
    assert isinstance(cache.lookup(Request(RESET_TOO, **(same | other))), Miss)


def test_how_old_is_he_is_asked_of_two_people(opened):
    def chat(person):
        turns = [("user", f"Who is {person}?"), ("assistant", f"{person} is a painter."), ("user", "How old is he?")]
        return Request([{"role": role, "content": text} for role, text in turns])

    cache = opened(policy=Policy(max_error_rate=None, min_similarity=-1.0))
    cache.answer(chat("Hokusai"), ScriptedModel({"How old is he?": "88"}))
    assert cache.lookup(chat("Hokusai")).reply.text == "88"
    assert isinstance(cache.lookup(chat("Hiroshige")), Miss)


def test_models_of_one_family_share_answers_where_the_policy_says_so(opened):
    cache = opened(policy=Policy(model_families={"haiku-1": "haiku", "haiku-2": "haiku"}))
    cache.answer(Request(RESET, model="haiku-1"), ScriptedModel())
    assert isinstance(cache.lookup(Request(RESET, model="haiku-2")), Hit)
    assert isinstance(cache.lookup(Request(RESET, model="sonnet")), Miss)


# Streams.


def test_a_stream_is_stored_when_complete_and_comes_again_in_its_own_pieces(opened):
    cache, model = opened(), ScriptedModel({RESET: "Click on Forgot password."}, piece_length=7)
    pieces, stream = cache.stream(RESET, model.stream)
    assert "".join(pieces) == stream.reply.text == "Click on Forgot password."
    assert isinstance(stream.outcome, Miss)
    again, second = cache.stream(RESET, model.stream)
    assert again == pieces
    assert len(again) == 4
    assert second.outcome.tier == "exact"
    assert model.calls == 1


def test_a_streamed_answer_serves_a_whole_one_and_the_reverse(opened):
    cache, model = opened(), ScriptedModel()
    pieces, _ = cache.stream(RESET, model.stream)
    assert cache.answer(RESET, model).text == "".join(pieces)
    cache.answer("Where is the parcel", model)
    pieces, stream = cache.stream("Where is the parcel", model.stream)
    assert (pieces, stream.outcome.tier, model.calls) == (["echo: Where is the parcel"], "exact", 2)


def test_a_stream_hits_by_meaning(opened):
    cache, model = opened(policy=LOOSE), ScriptedModel({RESET: "Click."}, piece_length=2)
    cache.stream(RESET, model.stream)
    pieces, stream = cache.stream(RESET_TOO, model.stream)
    assert (pieces, stream.outcome.tier, model.calls) == (["Cl", "ic", "k."], "semantic", 1)


def test_a_stream_that_breaks_gives_its_pieces_and_its_error_and_stores_nothing(opened):
    error = ConnectionResetError("cut")
    model = ScriptedModel({RESET: "A long answer"}, piece_length=2, fail_with=error, pieces_before_failure=3)
    cache = opened()
    with pytest.raises(ConnectionResetError) as raised:
        cache.stream(RESET, model.stream)
    assert raised.value is error
    assert cache.stats().entries == 0
    model.fail_with = None
    assert "".join(cache.stream(RESET, model.stream)[0]) == "A long answer"


def test_a_stream_cut_by_the_token_limit_is_not_stored(opened):
    cache, model = opened(), ScriptedModel({RESET: Reply(text="The begin", finish_reason="length")})
    cache.stream(RESET, model.stream)
    assert cache.stats().entries == 0


def test_a_stream_whose_end_contradicts_its_pieces_is_not_stored(opened):
    async def contradicting(_):
        yield "one "
        yield Reply(text="another")

    cache = opened()
    pieces, _ = cache.stream(RESET, contradicting)
    assert pieces == ["one "]
    assert cache.stats().entries == 0


# Around the path.


def test_purge_takes_answers_by_tag_tenant_user_model_source_and_id(opened):
    cache, model = opened(policy=STRICT), ScriptedModel()
    model.replies["q5"] = Reply(text="five", sources=("s3://bucket/a.pdf",))
    for number, parts in enumerate([{"tags": ("t",)}, {"tenant": "a"}, {"tenant": "a", "user": "u"}, {"model": "m"}]):
        cache.answer(Request(f"q{number + 1}", **parts), model)
    cache.answer("q5", model)
    kept = cache.answer("q6", model)
    assert cache.purge(tag="t") == 1
    assert cache.purge(user="u") == 1
    assert cache.purge(tenant="a") == 1
    assert cache.purge(model="m") == 1
    assert cache.purge(source="s3://bucket/a.pdf") == 1
    hit = cache.lookup("q6")
    assert hit.reply == kept
    assert cache.purge(id=hit.entry.id) == 1
    assert cache.stats().entries == cache.stats().vectors == 0
    assert list(cache.check()) == []


def test_purge_needs_a_condition(opened):
    cache = opened()
    cache.answer(RESET, ScriptedModel())
    with pytest.raises(ConfigurationError, match="everything=True"):
        cache.purge()
    assert cache.stats().entries == 1
    assert cache.purge(everything=True) == 1


def test_purge_of_the_dead_leaves_the_living(opened):
    cache = opened(policy=Policy(ttl_seconds=100))
    cache.answer("early", ScriptedModel())
    cache.drain()
    opened.clock.advance(60)
    cache.answer("late", ScriptedModel())
    opened.clock.advance(60)
    assert cache.purge(dead=True) == 1
    assert isinstance(cache.lookup("late"), Hit)


@pytest.mark.parametrize("request_", [None, 3, ["hello"], {"messages": []}])
def test_what_is_no_request_is_refused_with_advice(opened, request_):
    with pytest.raises(InvalidRequest, match=r"text or a yamabiko\.Request"):
        opened().lookup(request_)


def test_a_model_that_returns_something_else_is_told_so(opened):
    async def wrong(_):
        return {"text": "x"}

    with pytest.raises(InvalidRequest, match="must return"):
        opened().answer(RESET, wrong)


def test_events_tell_one_story_per_call_and_no_text(opened):
    told = []
    cache, model = opened(policy=LOOSE, hooks=[told.append]), ScriptedModel({RESET: "Click on the link."})
    cache.answer(Request(RESET, model="m1"), model)
    cache.drain()
    cache.answer(Request(RESET, model="m1"), model)
    cache.lookup(Request(RESET_TOO, model="m1"))
    cache.drain()
    story = [(event.call, event.outcome, event.tier, event.reason) for event in told]
    assert sorted(story[:2], key=str) == [
        ("answer", "miss", None, MissReason.ABSENT),
        ("remember", "stored", None, None),
    ]
    assert story[2:] == [("answer", "hit", "exact", None), ("lookup", "hit", "semantic", None)]
    assert all("reset" not in repr(event) and "Click" not in repr(event) for event in told)
    assert all(event.model == "m1" for event in told)


def test_a_hook_that_raises_disturbs_no_caller(opened, caplog):
    def broken(_):
        raise KeyError("hook")

    cache = opened(hooks=[broken])
    assert cache.answer(RESET, ScriptedModel()).text == f"echo: {RESET}"
    cache.drain()
    assert "Exception in callback" in caplog.text
    assert RESET not in caplog.text


def test_savings_are_what_the_answer_had_cost(opened):
    told = []
    reply = Reply(text="Click.", latency_seconds=2.0, cost_usd=0.01)
    cache, model = opened(hooks=[told.append]), ScriptedModel({RESET: reply})
    cache.answer(RESET, model)
    cache.answer(RESET, model)
    cache.drain()
    answers = [event for event in told if event.call == "answer"]
    assert [(event.spent_usd, event.saved_usd) for event in answers] == [(0.01, 0.0), (0.0, 0.01)]
    assert answers[0].saved_seconds == 0.0
    assert 1.0 < answers[1].saved_seconds <= 2.0


def test_no_repr_shows_a_prompt_or_an_answer(opened):
    cache = opened(policy=LOOSE)
    request = Request(RESET, system="Secret instructions", user="alice")
    miss = cache.lookup(request)
    entry = cache.remember(miss, "Click on the link.")
    hit = cache.lookup(request)
    near = cache.lookup(Request(RESET_TOO, system="Secret instructions", user="alice"))
    shown = repr([request, miss, entry, hit, near, hit.reply, hit.key])
    for text in ("reset", "Secret", "Click", "alice"):
        assert text not in shown
