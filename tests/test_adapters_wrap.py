"""OpenAI's and Anthropic's own clients with the cache in front of them, against a model server in a process of its own."""

import asyncio
import json
import threading
from contextlib import suppress

import anthropic
import httpx
import httpx2
import openai
import pytest
from pydantic import BaseModel

from upstreams.processes import running_upstream
from yamabiko import open_cache, open_sync_cache
from yamabiko.adapters.wrapping import wrap
from yamabiko.errors import ConfigurationError, NotStored
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Controls, Policy

POLICY = Policy(max_error_rate=None, min_similarity=0.9)
QUESTIONS = ["Where is the mountain echo heard?", "やまびこはどこで聞こえますか？"]


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def cache():
    with open_sync_cache("memory://", embedder=FakeEmbedder(), policy=POLICY) as cache:
        yield cache


def said(text):
    return [{"role": "user", "content": text}]


def ordered(**order):
    return {"x-order": json.dumps(order)}


def asked(upstream, *texts):
    """How often the vendor was asked, by what the bodies hold."""
    return sum(all(json.dumps(text)[1:-1] in body or text in body for text in texts) for body in bodies(upstream))


def bodies(upstream):
    return [call["body"].encode("latin-1").decode() for call in upstream.calls()]


@pytest.fixture
def chat(upstream, cache):
    with openai.OpenAI(base_url=upstream.url, api_key="k", max_retries=0) as plain:
        yield wrap(plain, cache=cache, tenant="acme")


@pytest.fixture
def claude(upstream, cache):
    with anthropic.Anthropic(base_url=upstream.root, api_key="k", max_retries=0) as plain:
        yield wrap(plain, cache=cache, tenant="acme")


class TestOpenAI:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_same_question_is_asked_once(self, chat, upstream, question):
        first, again = (chat.chat.completions.create(model="a", messages=said(question)) for _ in range(2))
        assert asked(upstream, question, '"model":"a"') == 1
        assert type(again) is type(first)
        assert (again.id, again.choices[0].message.content) == (first.id, first.choices[0].message.content)
        assert again.usage.prompt_tokens_details.cached_tokens == 11
        assert first.usage.prompt_tokens_details is None

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_a_stream_serves_what_was_whole_and_the_reverse(self, chat, upstream, question):
        def streamed(text):
            chunks = chat.chat.completions.create(model="b", messages=said(text), stream=True)
            return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]

        whole = chat.chat.completions.create(model="b", messages=said(question)).choices[0].message.content
        assert "".join(filter(None, streamed(question))) == whole
        pieces = streamed(question + " 42?")
        again = chat.chat.completions.create(model="b", messages=said(question + " 42?")).choices[0].message.content
        assert "".join(filter(None, pieces)) == again
        assert len(list(filter(None, streamed(question + " 42?")))) == len(list(filter(None, pieces))) > 1
        assert asked(upstream, question, '"model":"b"') == 2

    def test_its_stream_helper_and_parse(self, chat, upstream):
        class Echo(BaseModel):
            place: str

        order = {"model": "c", "messages": said("Where?"), "extra_headers": ordered(answer='{"place": "山"}')}
        for _ in range(2):
            assert chat.chat.completions.parse(response_format=Echo, **order).choices[0].message.parsed.place == "山"
            with chat.chat.completions.stream(**order) as stream:
                assert stream.get_final_completion().choices[0].message.content == '{"place": "山"}'
        assert asked(upstream, '"model":"c"') == 2  # another format of answers is another question

    def test_responses(self, chat, upstream):
        first, again = (chat.responses.create(model="d", input="What answers?") for _ in range(2))
        assert again.output_text == first.output_text
        with chat.responses.stream(model="d", input="What answers?") as stream:
            assert stream.get_final_response().output_text == first.output_text
        assert asked(upstream, '"model":"d"') == 1

    def test_a_raw_response_says_where_it_came_from(self, chat):
        raw = chat.chat.completions.with_raw_response
        first, again = (raw.create(model="e", messages=said("Who says so?")) for _ in range(2))
        assert "fwd=miss" in first.headers["cache-status"]
        assert "hit" in again.headers["cache-status"]
        assert again.headers["x-yamabiko-tier"] == "exact"
        assert first.headers["x-request-id"].startswith("req_")
        assert again.parse().choices[0].message.content == first.parse().choices[0].message.content
        with chat.chat.completions.with_streaming_response.create(model="e", messages=said("Who says so?")) as stream:
            assert json.loads(b"".join(stream.iter_bytes()))["choices"]

    def test_what_each_request_may_ask(self, chat, upstream):
        def ask(**headers):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return chat.chat.completions.create(model="f", messages=said("And now?"), extra_headers=named).id

        first = ask()
        renewed = ask(cache_control="no-cache")
        assert renewed != first
        assert ask(x_yamabiko_tenant="other") != first
        assert ask(x_yamabiko_user="hana") != first
        assert ask(x_yamabiko_knowledge="v2") != first
        with pytest.raises((NotStored, openai.APIConnectionError)) as raised:  # openai 2 makes its own of all errors
            ask(cache_control="only-if-cached", x_yamabiko_tenant="third")
        assert isinstance(raised.value if openai.__version__ >= "3" else raised.value.__cause__, NotStored)
        assert ask() == renewed  # the newer answer is kept
        assert not any(name.startswith("x-yamabiko") for call in upstream.calls() for name in call["headers"])

    def test_tags_remove_what_they_label(self, chat, cache):
        told = {"model": "g", "messages": said("For how long?"), "extra_headers": {"X-Yamabiko-Tags": "spring, 山"[:6]}}
        first = chat.chat.completions.create(**told).id
        assert cache.purge(tag="spring") == 1
        assert chat.chat.completions.create(**told).id != first

    def test_tool_calls_are_never_stored_and_come_as_they_are(self, chat, upstream):
        call = {"id": "c1", "type": "function", "function": {"name": "echo", "arguments": "{}"}}
        order = ordered(delta={"content": None, "tool_calls": [call]}, choice={"finish_reason": "tool_calls"})
        tools = [{"type": "function", "function": {"name": "echo", "parameters": {"type": "object"}}}]
        for _ in range(2):
            told = chat.chat.completions.create(model="h", messages=said("Call!"), tools=tools, extra_headers=order)
            assert told.choices[0].message.tool_calls[0].function.name == "echo"
        assert asked(upstream, '"model":"h"') == 2

    def test_errors_are_the_vendors(self, chat, upstream):
        order = ordered(status=429, headers={"retry-after": "7"}, body='{"error": {"message": "slow down"}}')
        for _ in range(2):
            with pytest.raises(openai.RateLimitError, match="slow down") as caught:
                chat.chat.completions.create(model="i", messages=said("Too fast?"), extra_headers=order)
            assert caught.value.response.headers["retry-after"] == "7"
        with pytest.raises(openai.APIConnectionError):
            chat.chat.completions.create(model="i", messages=said("Gone?"), extra_headers=ordered(drop=1, gate="i"))
        assert asked(upstream, '"model":"i"') == 3

    def test_its_own_retries_still_work(self, chat, upstream):
        patient = wrap_options(chat, max_retries=2)
        order = ordered(drop=1, gate="retried")
        told = patient.chat.completions.create(model="r", messages=said("Again?"), extra_headers=order)
        assert told.choices[0].message.content
        assert asked(upstream, '"model":"r"') == 2

    @pytest.mark.parametrize("order", [{"cut_after": 2}, {"malformed": 2}, {"no_done": True}], ids=str)
    def test_a_broken_stream_is_not_stored(self, chat, upstream, order):
        told = {"model": str(order), "messages": said("Broken?"), "stream": True}
        with suppress(openai.APIError, httpx.HTTPError, httpx2.HTTPError, json.JSONDecodeError):  # as without a cache
            list(chat.chat.completions.create(**told, extra_headers=ordered(**order)))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chat.chat.completions.create(**told))
        assert asked(upstream, json.dumps(str(order))[1:-1]) == 2

    def test_who_stops_early_stores_nothing_and_who_stops_at_the_end_does(self, chat, upstream):
        told = {"model": "j", "messages": said("Enough?"), "stream": True}
        with chat.chat.completions.create(**told) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].finish_reason:
                    break
        with chat.chat.completions.create(**told, extra_headers=ordered(gate="never", pause_after=1)) as stream:
            next(stream)
        assert len(list(chat.chat.completions.create(**told))) > 2
        assert 2 <= asked(upstream, '"model":"j"') <= 3

    def test_other_endpoints_pass_through(self, chat):
        assert [model.id for model in chat.models.list()] == ["m"]

    def test_eight_at_once_cost_one_call(self, chat, upstream):
        answers = []
        order = ordered(gate="together")
        told = {"model": "k", "messages": said("All at once?"), "extra_headers": order}
        threads = [
            threading.Thread(target=lambda: answers.append(chat.chat.completions.create(**told).id)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        upstream.wait_at("together")
        upstream.open("together")
        for thread in threads:
            thread.join()
        assert len(answers) == 8
        assert asked(upstream, '"model":"k"') == len(set(answers)) == 1

    def test_two_servers_are_never_taken_for_one(self, upstream, cache):
        for root, model in ((upstream.url, "l"), (f"{upstream.root}/v2", "l")):
            with openai.OpenAI(base_url=root, api_key="k") as plain:
                wrap(plain, cache=cache).chat.completions.create(model=model, messages=said("Which server?"))
        assert asked(upstream, '"model":"l"') == 2

    def test_a_client_on_the_older_httpx(self, upstream, cache):
        with (
            httpx.Client(headers={"x-corp": "1"}) as http,
            openai.OpenAI(base_url=upstream.url, api_key="k", http_client=http) as plain,
        ):
            client = wrap(plain, cache=cache)
            told = {"model": "n", "messages": said("With httpx?")}
            first = client.chat.completions.create(**told)
            assert client.chat.completions.create(**told).id == first.id
            assert "".join(
                c.choices[0].delta.content or "" for c in client.chat.completions.create(**told, stream=True)
            )
        assert asked(upstream, '"model":"n"') == 1
        assert any(call["headers"].get("x-corp") == "1" for call in upstream.calls())


def wrap_options(client, **options):
    return client.with_options(**options)


class TestAnthropic:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_same_question_is_asked_once(self, claude, upstream, question):
        told = {"model": "s1", "max_tokens": 99, "messages": said(question)}
        first, again = (claude.messages.create(**told) for _ in range(2))
        assert (again.id, again.content) == (first.id, first.content)
        assert type(again) is type(first)
        assert (again.usage.input_tokens, again.usage.cache_read_input_tokens) == (0, 11)
        with claude.messages.stream(**told) as stream:
            assert "".join(stream.text_stream) == first.content[0].text
            assert stream.get_final_message().id == first.id
        events = [event.type for event in claude.messages.create(**told, stream=True)]
        assert (events[0], events[-1]) == ("message_start", "message_stop")
        assert asked(upstream, question, '"model":"s1"') == 1

    def test_a_stream_that_is_heard_first(self, claude, upstream):
        told = {"model": "s2", "max_tokens": 99, "messages": said("First as a stream?")}
        with claude.messages.stream(**told) as stream:
            text = "".join(stream.text_stream)
        assert claude.messages.create(**told).content[0].text == text
        assert asked(upstream, '"model":"s2"') == 1

    def test_errors_and_tenants(self, claude, upstream, cache):
        order = ordered(status=429, body='{"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}')
        told = {"model": "s3", "max_tokens": 99, "messages": said("Whose?")}
        with pytest.raises(anthropic.RateLimitError, match="slow"):
            claude.messages.create(**told, extra_headers=order)
        mine = claude.messages.create(**told).id
        others = wrap(claude, cache=cache, tenant="other")
        assert others.messages.create(**told).id != mine
        assert claude.messages.create(**told).id == mine
        assert asked(upstream, '"model":"s3"') == 3


class TestAsync:
    def test_openai_and_anthropic(self, upstream):
        async def use():
            async with (
                open_cache("memory://", embedder=FakeEmbedder(), policy=POLICY) as cache,
                openai.AsyncOpenAI(base_url=upstream.url, api_key="k", max_retries=0) as plain,
                anthropic.AsyncAnthropic(base_url=upstream.root, api_key="k", max_retries=0) as claude,
            ):
                await self.ask_openai(wrap(plain, cache=cache))
                await self.ask_anthropic(wrap(claude, cache=cache))

        asyncio.run(use())
        assert [asked(upstream, f'"model":"{model}"') for model in ("A1", "A2", "A3", "A4", "A5")] == [1, 1, 2, 1, 2]

    async def ask_openai(self, client):
        assert isinstance(client, openai.AsyncOpenAI)
        told = {"model": "A1", "messages": said("非同期でも答えますか？")}
        many = await asyncio.gather(*(client.chat.completions.create(**told) for _ in range(8)))
        assert len({answer.choices[0].message.content for answer in many}) == 1
        stream = await client.chat.completions.create(**told, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == many[0].choices[0].message.content
        for _ in range(2):
            async with client.chat.completions.stream(model="A2", messages=said("Async?")) as events:
                assert (await events.get_final_completion()).choices[0].message.content
        refused = ordered(status=429, body="{}")
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="A3", messages=said("Async?"), extra_headers=refused)
        async with await client.chat.completions.create(
            model="A3", messages=said("Async?"), stream=True, extra_headers=ordered(gate="left", pause_after=1)
        ) as left:
            await anext(left)

    async def ask_anthropic(self, client):
        told = {"model": "A4", "max_tokens": 9, "messages": said("Async?")}
        first = await client.messages.create(**told)
        async with client.messages.stream(**told) as stream:
            assert await stream.get_final_text() == first.content[0].text
        for question in ("One?", "Two?"):
            async with client.messages.stream(model="A5", max_tokens=9, messages=said(question)) as stream:
                assert await stream.get_final_text()


class TestWrapping:
    def test_the_given_client_stays_as_it_was(self, upstream, cache):
        with openai.OpenAI(base_url=upstream.url, api_key="k", timeout=7, organization="org") as plain:
            wrapped = wrap(plain, cache=cache)
            assert type(wrapped) is openai.OpenAI
            assert (wrapped.timeout, wrapped.organization, wrapped.base_url) == (7, "org", plain.base_url)
            told = {"model": "w1", "messages": said("Untouched?")}
            wrapped.chat.completions.create(**told)
            plain.chat.completions.create(**told)
            assert asked(upstream, '"model":"w1"') == 2
        assert wrapped.is_closed()

    def test_wrapping_again_takes_the_place_of_the_first(self, chat, upstream, cache):
        told = {"model": "w2", "messages": said("Once more?")}
        never = wrap(chat, cache=cache, tenant="acme", controls=Controls(store=False))
        first = never.chat.completions.create(**told).id
        assert chat.chat.completions.create(**told).id != first
        with_labels = wrap(chat, cache=cache, tenant="acme", permissions=("board",))
        with_labels.chat.completions.create(**told)
        assert asked(upstream, '"model":"w2"') == 3

    def test_what_does_not_fit_says_what_would(self, cache):
        with (
            openai.OpenAI(api_key="k") as plain,
            pytest.raises(ConfigurationError, match=r"needs a SyncCache, from open_sync_cache\(\), not a str"),
        ):
            wrap(plain, cache="memory://")
        with pytest.raises(ConfigurationError, match="takes clients of openai's OpenAI"):
            wrap(object(), cache=cache)
        with pytest.raises(ConfigurationError, match="needs a Cache"):
            wrap(openai.AsyncOpenAI(api_key="k"), cache=cache)
