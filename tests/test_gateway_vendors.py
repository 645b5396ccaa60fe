"""The vendors' own clients against the gateway as a process, in front of a server that speaks all three APIs."""

import asyncio
import json
from types import SimpleNamespace

import anthropic
import openai
import pytest

from loopback import Answer, serving
from upstreams.processes import running_gateway

USAGE = {
    "messages": {"input_tokens": 9, "output_tokens": 3},
    "responses": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
    "completions": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
PIECES = ("やま", "びこ ", "answers.")
TEXT = "".join(PIECES)


def message(number):
    told = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m-2026", "stop_sequence": None}
    thought = {"type": "thinking", "thinking": "An echo.", "signature": "EqQB"}
    content = [thought, {"type": "text", "text": TEXT}]
    return {**told, "content": content, "stop_reason": "end_turn", "usage": USAGE["messages"]}


def message_stream(number):
    whole = message(number)
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    yield {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    }
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "An echo."}}
    yield {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}
    for piece in PIECES:
        yield {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": piece}}
    yield {"type": "content_block_stop", "index": 1}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    yield {"type": "message_stop"}


def response(number, metadata):
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant", "content": [part]}
    told = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1741476777,
        "status": "completed",
        "error": None,
    }
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": metadata, "model": "m-2026"}
    return {**told, **rest, "output": [item], "usage": USAGE["responses"]}


def response_stream(number, metadata):
    whole = response(number, metadata)
    item, part = whole["output"][0], whole["output"][0]["content"][0]
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in PIECES:
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": whole}


def completion(number):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}
    told = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1741476777, "model": "m-2026"}
    return {**told, "choices": [choice], "usage": USAGE["completions"]}


def answered(seen, number):
    """What the vendors' servers would say, to the path and the body that they would say it to."""
    api = seen.path.rpartition("/")[2]
    if "overloaded" in json.dumps(seen.body):
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}}
        return Answer(status=429, body=error, headers={"Content-Type": "application/json", "Retry-After": "7"})
    if seen.body.get("stream"):
        stream = message_stream(number) if api == "messages" else response_stream(number, seen.body.get("metadata", {}))
        frames = [
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': at})}\n\n".encode()
            for at, event in enumerate(stream)
        ]
        return Answer(pieces=frames, headers={"Content-Type": "text/event-stream"})
    told = {"messages": message, "completions": completion}.get(api)
    body = told(number) if told else response(number, seen.body.get("metadata", {}))
    return Answer(body=body, headers={"Content-Type": "application/json"})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('vendors')}/cache.db"
    with (
        serving(answered) as (upstream, seen),
        running_gateway(url=url, upstream=SimpleNamespace(url=upstream)) as made,
    ):
        yield SimpleNamespace(gateway=made, seen=seen)


@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(base_url=server.gateway.root, api_key="k", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def gpt(server):
    with openai.OpenAI(base_url=server.gateway.url, api_key="k", max_retries=0, timeout=20) as client:
        yield client


def asked(question, **members):
    return {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": question}], **members}


def streamed(client, question):
    with client.messages.stream(**asked(question)) as stream:
        return list(stream.text_stream), stream.get_final_message()


class TestMessages:
    def test_a_streams_answer_serves_both_kinds_of_requests(self, server, claude):
        before = len(server.seen)
        pieces, first = streamed(claude, "a stream first")
        again, replayed = streamed(claude, "a stream first")
        whole = claude.messages.create(**asked("a stream first"))
        assert len(server.seen) == before + 1
        assert pieces == again == list(PIECES)
        assert first.id == replayed.id == whole.id
        assert [block.to_dict() for block in whole.content] == message(0)["content"]
        assert replayed.content[0].signature == "EqQB"

    def test_a_whole_answer_serves_a_stream(self, server, claude):
        before = len(server.seen)
        whole = claude.messages.create(**asked("a whole answer first"))
        pieces, replayed = streamed(claude, "a whole answer first")
        assert len(server.seen) == before + 1
        assert pieces == [TEXT]
        assert replayed.id == whole.id

    def test_what_is_served_is_marked_as_cached_and_what_is_made_is_not(self, claude):
        made, served = (claude.messages.create(**asked("how much was it?")).usage for _ in range(2))
        assert (made.input_tokens, made.cache_read_input_tokens, made.output_tokens) == (9, None, 3)
        assert (served.input_tokens, served.cache_read_input_tokens, served.output_tokens) == (0, 9, 3)

    def test_a_question_with_an_image_is_asked_every_time(self, server, claude):
        before = len(server.seen)
        source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
        content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
        ids = {claude.messages.create(**asked(content)).id for _ in range(2)}
        assert len(server.seen) == before + 2
        assert len(ids) == 2

    def test_a_header_that_changes_the_answer_keeps_answers_apart(self, server, claude):
        before = len(server.seen)
        betas = ({}, {"anthropic-beta": "a-2026"}, {"anthropic-beta": "b-2026"}, {"anthropic-version": "2030-01-01"})
        for headers in [*betas, *betas]:
            claude.messages.create(**asked("with a beta?"), extra_headers=headers)
        assert len(server.seen) == before + len(betas)

    def test_an_error_reaches_the_client_as_it_came_and_is_not_stored(self, server, claude):
        before = len(server.seen)
        for _ in range(2):
            with pytest.raises(anthropic.RateLimitError, match="Slow down") as caught:
                claude.messages.create(**asked("overloaded"))
            assert caught.value.response.headers["retry-after"] == "7"
        assert len(server.seen) == before + 2

    def test_the_asynchronous_client_is_answered_too(self, server):
        async def ask():
            url = server.gateway.root
            async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, timeout=20) as client:
                whole = await client.messages.create(**asked("asynchronously"))
                async with client.messages.stream(**asked("asynchronously")) as stream:
                    return whole, await stream.get_final_message()

        before = len(server.seen)
        whole, final = asyncio.run(ask())
        assert (whole.id, whole.content[1].text) == (final.id, TEXT)
        assert len(server.seen) == before + 1


class TestResponses:
    def test_a_streams_answer_serves_both_kinds_of_requests(self, server, gpt):
        before = len(server.seen)
        told = []
        for _ in range(2):
            with gpt.responses.stream(model="m", input="a stream first") as stream:
                deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
                told.append((deltas, stream.get_final_response().id))
        whole = gpt.responses.create(model="m", input="a stream first")
        assert len(server.seen) == before + 1
        assert told[0] == told[1] == (list(PIECES), whole.id)
        assert whole.output_text == TEXT

    def test_a_whole_answer_serves_a_stream(self, server, gpt):
        before = len(server.seen)
        whole = gpt.responses.create(model="m", input="a whole answer first")
        events = list(gpt.responses.create(model="m", input="a whole answer first", stream=True))
        assert len(server.seen) == before + 1
        assert events[-1].response.id == whole.id
        assert events[-1].response.usage.input_tokens_details.cached_tokens == 9

    def test_nobody_reads_what_another_wrote_about_himself(self, server, gpt):
        before = len(server.seen)
        theirs = gpt.responses.create(model="m", input="whose metadata?", metadata={"of": "eve"})
        ours = gpt.responses.create(model="m", input="whose metadata?", metadata={"of": "ann"})
        assert len(server.seen) == before + 1
        assert (theirs.metadata, ours.metadata) == ({"of": "eve"}, {"of": "ann"})

    @pytest.mark.parametrize(
        "given", [{"previous_response_id": "resp_1"}, {"store": True}, {"tools": [{"type": "web_search"}]}]
    )
    def test_what_the_vendor_keeps_or_runs_is_asked_every_time(self, server, gpt, given):
        before = len(server.seen)
        ids = {gpt.responses.create(model="m", input="And now?", **given).id for _ in range(2)}
        assert len(server.seen) == before + 2
        assert len(ids) == 2


class TestAcross:
    def test_a_text_that_chat_completions_made_is_told_as_a_response_and_as_a_message(self, server, gpt, claude):
        before = len(server.seen)
        question = {"model": "m", "messages": [{"role": "user", "content": "across"}]}
        gpt.chat.completions.create(**question)
        told = gpt.responses.create(model="m", input="across", store=False)
        gpt.chat.completions.create(**question, max_tokens=99)
        as_message = claude.messages.create(**asked("across"))
        assert len(server.seen) == before + 2
        assert told.output_text == as_message.content[0].text == TEXT
        assert told.usage.total_tokens == 12

    def test_a_text_that_was_a_response_is_told_as_a_completion(self, server, gpt):
        before = len(server.seen)
        made = gpt.responses.create(model="m", input="and back", store=False)
        told = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "and back"}])
        assert len(server.seen) == before + 1
        assert made.output_text == told.choices[0].message.content == TEXT

    def test_a_response_that_the_vendor_keeps_is_never_another_apis_answer(self, server, gpt):
        before = len(server.seen)
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "kept by default"}])
        kept = gpt.responses.create(model="m", input="kept by default")
        assert len(server.seen) == before + 2
        assert kept.id == f"resp_{len(server.seen)}"

    def test_an_answer_that_holds_thinking_is_made_anew_for_another_api(self, server, gpt, claude):
        before = len(server.seen)
        claude.messages.create(**asked("with thinking"))
        gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "with thinking"}], max_tokens=99)
        assert len(server.seen) == before + 2
        assert server.seen[-1].path.endswith("/chat/completions")
