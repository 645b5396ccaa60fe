"""What the stand-in's models say to the real boto3: embeddings, Converse and Claude's own bodies."""

import json
import math
from contextlib import suppress
from itertools import pairwise

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrocking import CHAT, HAIKU, TITAN, connected, embedding, said
from yamabiko.testing import FakeClock
from yamabiko.testing.bedrock import (
    BedrockModel,
    BedrockStandIn,
    Completion,
    ToolUse,
    count_tokens,
    default_answer,
    hashed_ngrams,
)
from yamabiko.testing.bedrock.vectors import first_tokens, sentences

TEXTS = st.text(max_size=120) | st.lists(
    st.sampled_from(["富士山の高さは？", "How", "high", "is", "it?", ""]), max_size=30
).map(" ".join)
TOOLS = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}


@pytest.fixture(scope="module")
def stand_in():
    with BedrockStandIn() as running:
        yield running


@pytest.fixture(scope="module")
def runtime(stand_in):
    with connected(stand_in, "bedrock-runtime") as client:
        yield client


@pytest.fixture
def refused(runtime):
    def call(model, body):
        with pytest.raises(ClientError) as caught:
            runtime.invoke_model(modelId=model, body=json.dumps(body))
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]

    return call


def cosine(left, right):
    lengths = math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))
    return sum(a * b for a, b in zip(left, right, strict=True)) / lengths


# ---------------------------------------------------------------------- embeddings


@pytest.mark.parametrize("dim", [256, 512, 1_024])
def test_titan_v2_gives_the_dimension_asked_for_at_norm_one(runtime, dim):
    told = embedding(runtime, TITAN, inputText="富士山の高さは？", dimensions=dim)
    assert len(told["embedding"]) == dim
    assert math.isclose(math.hypot(*told["embedding"]), 1.0, rel_tol=1e-9)
    assert told["inputTextTokenCount"] == 8


def test_titan_v2_defaults_to_1024_and_leaves_the_length_alone_when_told(runtime):
    assert len(embedding(runtime, TITAN, inputText="Mount Fuji")["embedding"]) == 1_024
    assert math.hypot(*embedding(runtime, TITAN, inputText="Mount Fuji", normalize=False)["embedding"]) > 2


def test_titan_v2_gives_the_types_asked_for(runtime):
    both = embedding(runtime, TITAN, inputText="Mount Fuji", dimensions=256, embeddingTypes=["float", "binary"])
    assert both["embeddingsByType"]["float"] == both["embedding"]
    assert set(both["embeddingsByType"]["binary"]) == {0, 1}
    only = embedding(runtime, TITAN, inputText="Mount Fuji", embeddingTypes=["binary"])
    assert "embedding" not in only
    assert list(only["embeddingsByType"]) == ["binary"]


@pytest.mark.parametrize(
    "body",
    [
        {"inputText": "x", "dimensions": 1_536},
        {"inputText": "x", "dimensions": 1_023},
        {"inputText": "x", "dimensions": "256"},
        {"inputText": "x", "normalize": 1},
        {"inputText": "x", "embeddingTypes": ["int8"]},
        {"inputText": ["one", "two"]},
        {"inputText": ""},
        {"text": "x"},
        {"dimensions": 256},
    ],
)
def test_titan_v2_refuses_what_it_does_not_take(refused, body):
    code, message = refused(TITAN, body)
    assert code == "ValidationException"
    assert message.startswith("Malformed input request:")


def test_titan_counts_its_tokens_and_stops_at_8192(runtime, refused):
    response = runtime.invoke_model(modelId=TITAN, body=json.dumps({"inputText": "山 " * 8_192}))
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "8192"
    response["body"].close()
    code, message = refused(TITAN, {"inputText": "山 " * 8_193})
    assert (code, "8193" in message, "山" in message) == ("ValidationException", True, False)


def test_titan_g1_has_1536_dimensions_and_no_settings(runtime, refused):
    assert len(embedding(runtime, "amazon.titan-embed-text-v1", inputText="hi")["embedding"]) == 1_536
    code, message = refused("amazon.titan-embed-text-v1", {"inputText": "hi", "dimensions": 256})
    assert (code, "extraneous key [dimensions]" in message) == ("ValidationException", True)


def test_cohere_v3_embeds_lists_and_counts_in_a_header(runtime):
    body = {"texts": ["富士山の高さは？", "How high is it?"], "input_type": "search_query"}
    response = runtime.invoke_model(modelId="cohere.embed-multilingual-v3", body=json.dumps(body))
    told = json.loads(response["body"].read())
    assert [len(vector) for vector in told["embeddings"]] == [1_024, 1_024]
    assert told["texts"] == body["texts"]
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "13"


def test_cohere_gives_embeddings_by_type(runtime):
    kinds = ["float", "int8", "uint8", "binary", "ubinary"]
    told = embedding(
        runtime,
        "cohere.embed-v4:0",
        texts=["hi"],
        input_type="search_query",
        embedding_types=kinds,
        output_dimension=256,
    )
    lengths = {kind: len(vectors[0]) for kind, vectors in told["embeddings"].items()}
    assert lengths == {"float": 256, "int8": 256, "uint8": 256, "binary": 32, "ubinary": 32}
    packed = told["embeddings"]["ubinary"][0]
    signs = [part > 0 for part in told["embeddings"]["float"][0]]
    assert [bool(byte >> (7 - bit) & 1) for byte in packed for bit in range(8)] == signs


@pytest.mark.parametrize("dim", [256, 512, 1_024, 1_536])
def test_cohere_v4_has_four_dimensions(runtime, dim):
    told = embedding(runtime, "cohere.embed-v4:0", texts=["hi"], input_type="clustering", output_dimension=dim)
    assert len(told["embeddings"][0]) == dim


@pytest.mark.parametrize(
    "body",
    [
        {"texts": ["x"]},
        {"texts": [], "input_type": "search_query"},
        {"texts": ["x"] * 97, "input_type": "search_query"},
        {"texts": ["x" * 2_049], "input_type": "search_query"},
        {"texts": ["x"], "input_type": "query"},
        {"texts": "x", "input_type": "search_query"},
        {"texts": ["x"], "input_type": "search_query", "truncate": "LEFT"},
        {"texts": ["x"], "input_type": "search_query", "embedding_types": ["half"]},
        {"inputText": "x", "input_type": "search_query"},
    ],
)
def test_cohere_v3_refuses_what_it_does_not_take(refused, body):
    code, message = refused("cohere.embed-english-v3", body)
    assert code == "ValidationException"
    assert message.startswith("Malformed input request:")


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (("How high is Mount Fuji?", "How high is Mt. Fuji?"), "Which rivers flow through Kyoto?"),
        (("富士山の高さは何メートルですか", "富士山の高さは？"), "京都を流れる川はどれですか"),
    ],
)
def test_near_texts_have_near_vectors(near, far):
    one, other, third = (hashed_ngrams(text, 512) for text in (*near, far))
    assert cosine(one, other) > 0.5 > cosine(one, third) + 0.2


def test_the_caller_gives_the_embedding():
    with (
        BedrockStandIn(embed=lambda text, dim: [float(len(text)), *[0.0] * (dim - 1)]) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        told = embedding(runtime, TITAN, inputText="富士山", dimensions=256, normalize=False)
        assert told["embedding"][:2] == [3.0, 0.0]


@settings(deadline=None)
@given(TEXTS)
def test_sentences_joined_are_the_text(text):
    assert "".join(sentences(text)) == text


@settings(deadline=None)
@given(TEXTS, st.integers(0, 40))
def test_a_text_cut_to_tokens_is_its_beginning_and_within(text, limit):
    cut = first_tokens(text, limit)
    assert text.startswith(cut)
    assert count_tokens(cut) <= limit or cut == text
    assert (cut == text) == (count_tokens(text) <= limit) or text.startswith(cut)


# ---------------------------------------------------------------------- which model


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("anthropic.claude-unknown-v9:0", "ValidationException", "model identifier is invalid"),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", "ResourceNotFoundException", "end of its life"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "ValidationException", "on-demand throughput"),
        (TITAN, "ValidationException", "doesn't support the model"),
    ],
)
def test_models_that_cannot_answer_say_why(model, code, told):
    clock = FakeClock(1_795_500_000.0)
    with (
        BedrockStandIn(clock=clock) as own,
        connected(own, "bedrock-runtime") as runtime,
        pytest.raises(ClientError) as caught,
    ):
        runtime.converse(modelId=model, messages=said("hi"))
    error = caught.value.response["Error"]
    assert (error["Code"], told in error["Message"]) == (code, True)


def test_a_model_answers_until_the_day_it_retires():
    clock = FakeClock(1_781_827_199.0)  # the last second of 2026-06-18, UTC
    with BedrockStandIn(clock=clock) as own, connected(own, "bedrock-runtime") as runtime:
        model = "anthropic.claude-3-5-haiku-20241022-v1:0"
        runtime.converse(modelId=model, messages=said("hi"))
        clock.advance(1.0)
        with pytest.raises(runtime.exceptions.ResourceNotFoundException):
            runtime.converse(modelId=model, messages=said("hi"))


@pytest.mark.parametrize(
    "model",
    [
        HAIKU,
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
    ],
)
def test_ids_profiles_and_arns_all_name_a_model(runtime, model):
    assert runtime.converse(modelId=model, messages=said("hi"))["stopReason"] == "end_turn"


def test_a_model_of_the_callers_own_can_be_added():
    with (
        BedrockStandIn(models=[BedrockModel(id="acme.llm-v1:0", window_tokens=10)]) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        assert runtime.converse(modelId="acme.llm-v1:0", messages=said("hi"))["stopReason"] == "end_turn"
        with pytest.raises(runtime.exceptions.ValidationException, match="too long"):
            runtime.converse(modelId="acme.llm-v1:0", messages=said("one two three " * 4))


# ---------------------------------------------------------------------- Converse


@pytest.mark.parametrize(
    ("system", "question", "answer"),
    [
        ("Mount Fuji is 3,776 m high. Biwa is a lake.", "How high is Mount Fuji?", "Mount Fuji is 3,776 m high."),
        ("富士山の高さは3,776mです。琵琶湖は湖です。", "富士山の高さは？", "富士山の高さは3,776mです。"),
    ],
)
def test_converse_answers_from_its_context_and_counts(runtime, system, question, answer):
    told = runtime.converse(modelId=CHAT, system=[{"text": system}], messages=said(question))
    assert told["output"]["message"] == {"role": "assistant", "content": [{"text": answer}]}
    usage = told["usage"]
    assert usage["inputTokens"] == count_tokens(system) + count_tokens(question)
    assert usage["outputTokens"] == count_tokens(answer)
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


def test_without_context_the_question_comes_back(runtime):
    told = runtime.converse(modelId=CHAT, messages=said("富士山はどこ？"))
    assert "富士山はどこ？" in told["output"]["message"]["content"][0]["text"]


def test_the_stream_says_the_same_and_metadata_comes_last(runtime):
    request = {"modelId": CHAT, "messages": said("How high is Mount Fuji, and where does it stand exactly?")}
    whole = runtime.converse(**request)
    events = list(runtime.converse_stream(**request)["stream"])
    assert [next(iter(event)) for event in (events[0], *events[-3:])] == [
        "messageStart",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    texts = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert len(texts) > 1
    assert "".join(texts) == whole["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


def completing(**completion):
    async def answer(prompt):
        return Completion(**completion)

    return BedrockStandIn(answer=answer)


def test_reasoning_text_and_tool_use_come_whole_and_in_pieces():
    use = ToolUse(name="weather", input={"city": "京都", "days": 3}, id="tooluse_1")
    with (
        completing(text="Let me look.", reasoning="天気を調べる", tool_uses=[use]) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        request = {"modelId": HAIKU, "messages": said("Weather?"), "toolConfig": TOOLS}
        told = runtime.converse(**request)
        assert told["stopReason"] == "tool_use"
        thought, text, used = told["output"]["message"]["content"]
        assert thought["reasoningContent"]["reasoningText"]["text"] == "天気を調べる"
        assert text == {"text": "Let me look."}
        assert used["toolUse"] == {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "京都", "days": 3}}
        events = list(runtime.converse_stream(**request)["stream"])
        deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
        parts = [delta["delta"]["toolUse"]["input"] for delta in deltas if "toolUse" in delta["delta"]]
        assert json.loads("".join(parts)) == {"city": "京都", "days": 3}
        assert [delta["contentBlockIndex"] for delta in deltas] == sorted(d["contentBlockIndex"] for d in deltas)
        [start] = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
        assert start == {"start": {"toolUse": {"toolUseId": "tooluse_1", "name": "weather"}}, "contentBlockIndex": 2}


@pytest.mark.parametrize(
    ("config", "text", "reason"),
    [
        ({}, "one two three four", "end_turn"),
        ({"maxTokens": 2}, "one two", "max_tokens"),
        ({"stopSequences": ["three"]}, "one two ", "stop_sequence"),
        ({"maxTokens": 1, "stopSequences": ["three"]}, "one", "max_tokens"),
    ],
)
def test_limits_of_the_request_end_the_answer(config, text, reason):
    with completing(text="one two three four") as own, connected(own, "bedrock-runtime") as runtime:
        told = runtime.converse(modelId=CHAT, messages=said("count"), inferenceConfig=config)
    assert (told["output"]["message"]["content"][0]["text"], told["stopReason"]) == (text, reason)


@pytest.mark.parametrize("reason", ["content_filtered", "malformed_tool_use", "model_context_window_exceeded"])
def test_any_stop_reason_can_be_scripted(reason):
    with completing(text="cut", stop_reason=reason) as own, connected(own, "bedrock-runtime") as runtime:
        assert runtime.converse(modelId=CHAT, messages=said("x"))["stopReason"] == reason
        stops = list(runtime.converse_stream(modelId=CHAT, messages=said("x"))["stream"])
    assert stops[-2] == {"messageStop": {"stopReason": reason}}


USE = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}]}}


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]},
        {"messages": said("a") + said("b")},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": said("  ")},
        {"messages": said("x"), "inferenceConfig": {"temperature": 1.5}},
        {"messages": [*said("x"), {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]},
        {"messages": [*said("x"), {"role": "assistant", "content": [USE]}, *said("y")], "toolConfig": TOOLS},
        {"messages": said("x"), "guardrailConfig": {"guardrailIdentifier": "nope", "guardrailVersion": "1"}},
    ],
)
def test_converse_refuses_what_is_no_conversation(runtime, request_):
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse(modelId=CHAT, **request_)
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse_stream(modelId=CHAT, **request_)


def test_a_tool_turn_is_answered(runtime):
    turns = [*said("Weather?"), {"role": "assistant", "content": [USE]}, {"role": "user", "content": [RESULT]}]
    assert runtime.converse(modelId=CHAT, messages=turns, toolConfig=TOOLS)["stopReason"] == "end_turn"


@pytest.mark.parametrize(("question", "answer"), [("tell me the Secret", "fine"), ("hello", "the secret is out")])
def test_a_guardrail_intervenes_at_either_end(question, answer):
    with completing(text=answer) as own, connected(own, "bedrock-runtime") as runtime:
        own.put_guardrail("gr1", ["secret"], on_input="いえません", on_output="いえません")
        config = {"guardrailIdentifier": "gr1", "guardrailVersion": "DRAFT", "trace": "enabled"}
        told = runtime.converse(modelId=CHAT, messages=said(question), guardrailConfig=config)
        assert told["stopReason"] == "guardrail_intervened"
        assert told["output"]["message"]["content"] == [{"text": "いえません"}]
        assert "gr1" in told["trace"]["guardrail"]["inputAssessment"]
        events = list(runtime.converse_stream(modelId=CHAT, messages=said(question), guardrailConfig=config)["stream"])
        assert events[-2] == {"messageStop": {"stopReason": "guardrail_intervened"}}
        assert "secret" not in json.dumps(events)


# ---------------------------------------------------------------------- prompt caching

POINT = {"cachePoint": {"type": "default"}}


def cached(runtime, system, question, *, points=1, model=HAIKU, ttl=None):
    point = {"cachePoint": {"type": "default", "ttl": ttl}} if ttl else POINT
    usage = runtime.converse(modelId=model, system=[{"text": system}, *[point] * points], messages=said(question))[
        "usage"
    ]
    return usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"], usage["inputTokens"]


@pytest.mark.parametrize(("ttl", "seconds"), [(None, 300.0), ("1h", 3_600.0)])
def test_a_long_prefix_is_written_once_and_read_until_its_time_is_over(ttl, seconds):
    clock, system = FakeClock(), "word " * 4_096
    with BedrockStandIn(clock=clock) as own, connected(own, "bedrock-runtime") as runtime:
        assert cached(runtime, system, "one", ttl=ttl) == (0, 4_096, 1)
        clock.advance(seconds - 1)
        assert cached(runtime, system, "two more", ttl=ttl) == (4_096, 0, 2)
        clock.advance(seconds - 1)  # the read before has renewed it
        assert cached(runtime, system, "three", ttl=ttl) == (4_096, 0, 1)
        clock.advance(seconds + 1)
        assert cached(runtime, system, "four", ttl=ttl) == (0, 4_096, 1)
        assert cached(runtime, f"other {system}", "five", ttl=ttl) == (0, 4_097, 1)


def test_a_short_prefix_is_not_cached_and_five_points_are_too_many(runtime):
    assert cached(runtime, "word " * 4_095, "one") == (0, 0, 4_096)
    assert cached(runtime, "word " * 4_095, "one") == (0, 0, 4_096)
    with pytest.raises(runtime.exceptions.ValidationException):
        cached(runtime, "word", "one", points=5)


def test_a_model_without_prompt_caching_denies_a_cache_point(runtime):
    with pytest.raises(runtime.exceptions.AccessDeniedException):
        cached(runtime, "word", "one", model="amazon.nova-2-lite-v1:0")


# ---------------------------------------------------------------------- Claude's own bodies

CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100}


def test_claude_is_invoked_with_its_own_body(runtime):
    body = {**CLAUDE, "system": "Fuji is 3,776 m high.", "messages": [{"role": "user", "content": "How high is Fuji?"}]}
    told = embedding(runtime, HAIKU, **body)
    assert told["content"] == [{"type": "text", "text": "Fuji is 3,776 m high."}]
    assert told["stop_reason"] == "end_turn"
    assert told["usage"]["output_tokens"] == count_tokens("Fuji is 3,776 m high.")


def test_claude_streams_the_events_of_the_messages_api():
    use = ToolUse(name="weather", input={"city": "京都"})
    with (
        completing(text="はい。", reasoning="hm", tool_uses=[use]) as own,
        connected(own, "bedrock-runtime") as runtime,
    ):
        body = {**CLAUDE, "messages": [{"role": "user", "content": [{"type": "text", "text": "天気は？"}]}]}
        stream = runtime.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(body))["body"]
        events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    parts = [
        event["delta"]["partial_json"] for event in events if event.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert json.loads("".join(parts)) == {"city": "京都"}
    indexes = [event["index"] for event in events if "index" in event]
    assert all(right - left in (0, 1) for left, right in pairwise(indexes))


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["anthropic_version", "max_tokens", "messages", "system", "tools", "stop_sequences"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["user", "text", "bedrock-2023-05-31"]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "name"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_body_for_claude_is_answered_or_refused(runtime, body):
    """Anything but a refusal would be raised here, and again when the stand-in of this module is closed."""
    with suppress(runtime.exceptions.ValidationException):
        assert embedding(runtime, HAIKU, **{**CLAUDE, **body})["type"] == "message"


def test_the_default_answer_reads_the_passages_first():
    with BedrockStandIn() as own, connected(own, "bedrock-runtime") as runtime:
        text = "文書: 琵琶湖の面積は670平方キロメートルです。京都は古い都です。\n\n質問"
        asked = [{"role": "user", "content": [{"text": text}, {"text": "琵琶湖の面積は？"}]}]
        told = runtime.converse(modelId=CHAT, messages=asked)["output"]["message"]["content"][0]["text"]
    assert "670" in told
    assert callable(default_answer)
