"""LangChain's own models, in front of a real store: what the cache answers, how, and for whom."""

import asyncio
import json
import threading

import httpx
import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, PrivateAttr

from upstreams.processes import running_upstream
from yamabiko import Policy, open_cache, open_sync_cache
from yamabiko.adapters.langchain import Caller, YamabikoCache, asked_by
from yamabiko.errors import ConfigurationError
from yamabiko.testing import FakeEmbedder

PATIENCE = 20
NEAR = Policy(max_error_rate=None, min_similarity=0.8)
RESET = ("How do I reset my password?", "How do I reset my password now?")
RESET_JA = ("パスワードを再設定する方法は?", "パスワードを再設定する方法は何?")
METADATA = {
    "model_name": "gpt-test",
    "finish_reason": "stop",
    "id": "chatcmpl-7",
    "system_fingerprint": "fp_1",
    "logprobs": {"content": [{"token": "やま", "logprob": -0.25}]},
}
USAGE = {
    "input_tokens": 11,
    "output_tokens": 7,
    "total_tokens": 18,
    "input_token_details": {"cache_read": 4},
    "output_token_details": {"reasoning": 2},
}


class Scripted(BaseChatModel):
    """A chat model that says what it is told, one message after the other, and counts."""

    says: list
    name_: str = "scripted"
    several: int = 1
    _asked: list = PrivateAttr(default_factory=list)
    _gate: threading.Event | None = PrivateAttr(default=None)

    @property
    def _llm_type(self):
        return "scripted"

    @property
    def _identifying_params(self):
        return {"model_name": self.name_, **({"n": self.several} if self.several > 1 else {})}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self._asked.append(messages[-1].content)
        if self._gate is not None:
            assert self._gate.wait(PATIENCE)
        said = [self.says[(len(self._asked) - 1 + number) % len(self.says)] for number in range(self.several)]
        made = [one if isinstance(one, AIMessage) else AIMessage(one) for one in said]
        return ChatResult(generations=[ChatGeneration(message=one.model_copy(deep=True)) for one in made])

    def _get_llm_string(self, stop=None, **kwargs):
        return str(sorted({**self._identifying_params, **kwargs, "stop": stop}.items(), key=str))

    @property
    def calls(self):
        return len(self._asked)


@pytest.fixture
def cache(tmp_path):
    cache = YamabikoCache(f"sqlite:///{tmp_path}/cache.db", policy=NEAR, embedder=FakeEmbedder())
    yield cache
    cache.close()


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


def entries(cache):
    async def listed(inner):
        return [entry async for entry in inner.entries()]

    return cache._reach.run(listed)


class TestAnswers:
    @pytest.mark.parametrize(("asked", "again"), [RESET, RESET_JA])
    def test_a_question_in_other_words_is_answered_without_the_model(self, cache, asked, again):
        model = Scripted(says=["Press the button."], cache=cache)
        first, second, third = (model.invoke(question) for question in (asked, asked, again))
        assert (first.content, second.content, third.content) == ("Press the button.",) * 3
        assert model.calls == 1
        assert "yamabiko" not in first.response_metadata
        assert second.response_metadata["yamabiko"]["tier"] == "exact"
        assert third.response_metadata["yamabiko"]["tier"] == "semantic"
        assert 0.8 <= third.response_metadata["yamabiko"]["similarity"] < 1

    def test_system_prompt_history_model_and_tools_are_never_mixed(self, cache):
        asks = [
            (Scripted(says=["a"], cache=cache), "What is IT?"),
            (Scripted(says=["b"], cache=cache), [SystemMessage("Be rude."), HumanMessage("What is IT?")]),
            (Scripted(says=["c"], cache=cache), [HumanMessage("Hi"), AIMessage("Yes?"), HumanMessage("What is IT?")]),
            (Scripted(says=["d"], name_="other", cache=cache), "What is IT?"),
            (Scripted(says=["e"], cache=cache).bind(temperature=1), "What is IT?"),
            (Scripted(says=["f"], cache=cache).bind(tools=[{"name": "search"}]), "What is IT?"),
        ]
        for _ in range(2):
            assert [model.invoke(question).content for model, question in asks] == list("abcdef")

    def test_it_is_langchains_global_cache_too(self, cache):
        before = get_llm_cache()
        set_llm_cache(cache)
        try:
            model = FakeListLLM(responses=["one", "two"])
            assert [model.invoke("Say a number, please"), model.invoke("Say a number, please.")] == ["one", "one"]
            batch = model.generate(["Say a number, please", "[1, 2, 3] is what?"])
        finally:
            set_llm_cache(before)
        assert [generations[0].text for generations in batch.generations] == ["one", "two"]

    def test_without_a_loop_within_one_and_by_await_it_is_the_same_cache(self, cache):
        model = Scripted(says=["Press the button."], cache=cache)

        async def ask():
            return [await model.ainvoke(RESET[0]), model.invoke(RESET[0]), *await model.abatch([RESET[1]] * 3)]

        assert {answer.content for answer in (model.invoke(RESET[0]), *asyncio.run(ask()), *asyncio.run(ask()))} == {
            "Press the button."
        }
        assert model.calls == 1

    def test_the_answer_outlives_the_process_that_stored_it(self, tmp_path):
        model = Scripted(says=["one", "two"])
        for _ in range(2):
            model.cache = YamabikoCache(f"sqlite:///{tmp_path}/c.db", policy=NEAR, embedder=FakeEmbedder())
            assert model.invoke("Say it once?").content == "one"
            model.cache.close()

    def test_an_open_cache_is_for_code_that_awaits(self):
        async def ask():
            async with open_cache("memory://", policy=NEAR, embedder=FakeEmbedder()) as inner:
                model = Scripted(says=["one", "two"], cache=YamabikoCache(inner))
                answers = [(await model.ainvoke("Say it?")).content for _ in range(2)]
                with pytest.raises(ConfigurationError, match="ainvoke"):
                    model.invoke("Say it?")
                return answers

        assert asyncio.run(ask()) == ["one", "one"]

    def test_what_a_cache_cannot_take_never_fails_a_call(self, cache):
        model = Scripted(says=["fine"], cache=cache)
        assert model.invoke("half a pair: \ud83d").content == "fine"
        assert entries(cache) == []


class TestReplay:
    def stored(self, cache, message, **options):
        model = Scripted(says=[message], cache=cache, **options)
        return model.invoke("Say it?"), model.invoke("Say it?"), model

    def test_every_field_comes_back(self, cache):
        message = AIMessage(
            content="山びこ",
            name="echo",
            id="msg_provider_1",
            additional_kwargs={"reasoning_content": "thinking", "refusal": None},
            response_metadata=METADATA,
            usage_metadata=USAGE,
        )
        first, again, model = self.stored(cache, message)
        assert model.calls == 1
        assert (type(again), again.content, again.name, again.id) == (AIMessage, "山びこ", "echo", "msg_provider_1")
        assert again.additional_kwargs == first.additional_kwargs == message.additional_kwargs
        metadata = dict(again.response_metadata)
        assert metadata.pop("yamabiko")["tier"] == "exact"
        assert metadata == first.response_metadata

    def test_usage_comes_back_and_costs_nothing(self, cache):
        _, again, _ = self.stored(cache, AIMessage("yes", usage_metadata=USAGE, response_metadata=METADATA))
        usage = dict(again.usage_metadata)
        assert usage.pop("total_cost") == 0  # LangChain's word for an answer of its cache
        assert usage == USAGE
        (entry,) = entries(cache)
        assert (entry.reply.usage.input_tokens, entry.reply.usage.output_tokens) == (11, 7)
        assert (entry.reply.usage.cached_input_tokens, entry.reply.model) == (4, "gpt-test")
        assert entry.reply.latency_seconds > 0

    def test_content_in_blocks_comes_back_in_blocks(self, cache):
        blocks = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Yes.", "annotations": []}]
        _, again, model = self.stored(cache, AIMessage(blocks))
        assert (again.content, model.calls) == (blocks, 1)

    def test_a_plain_generation_keeps_its_info(self, cache):
        made = [Generation(text="one", generation_info={"finish_reason": "stop", "logprobs": None})]
        cache.update("Say a number?", "llm", made)
        assert cache.lookup("Say a number?", "llm") == made

    def test_an_update_without_a_look_up_replaces_the_answer(self, cache):
        for text in ("old", "new"):
            cache.update("Say it?", "llm", [Generation(text=text)])
        assert cache.lookup("Say it?", "llm")[0].text == "new"

    def test_the_id_of_the_run_is_not_another_runs(self, cache):
        first, again, _ = self.stored(cache, "yes")
        assert first.id.startswith("lc_run")
        assert again.id is None or again.id != first.id

    def test_replayed_messages_stay_apart_in_a_conversation(self, cache):
        from langgraph.graph.message import add_messages

        model = Scripted(says=["yes"], cache=cache)
        conversation = []
        for question in (RESET[0], RESET[1], RESET[0]):
            conversation = add_messages(conversation, [HumanMessage(question), model.invoke(question)])
        assert len(conversation) == 6

    def test_a_replayed_message_is_the_callers_own(self, cache):
        _, again, model = self.stored(cache, AIMessage("yes", response_metadata=METADATA))
        again.response_metadata["logprobs"]["content"].append("mine")
        again.content = "no"
        assert model.invoke("Say it?").content == "yes"
        assert model.invoke("Say it?").response_metadata["logprobs"] == METADATA["logprobs"]

    def test_what_json_cannot_give_back_is_not_stored(self, cache):
        message = AIMessage("yes", additional_kwargs={"raw": object()})
        _, _, model = self.stored(cache, message)
        assert model.calls == 2
        assert entries(cache) == []


class TestNotStored:
    @pytest.mark.parametrize(
        "metadata",
        [{"finish_reason": "length"}, {"stop_reason": "max_tokens"}, {"stopReason": "guardrail_intervened"}],
    )
    def test_a_reply_that_was_cut_off(self, cache, metadata):
        model = Scripted(says=[AIMessage("half an", response_metadata=metadata)], cache=cache)
        for _ in range(2):
            model.invoke("Say it?")
        assert model.calls == 2

    @pytest.mark.parametrize(
        "metadata", [{"stop_reason": "end_turn"}, {"finish_reason": "STOP"}, {"done_reason": "stop"}]
    )
    def test_every_vendors_word_for_a_whole_reply_is_known(self, cache, metadata):
        model = Scripted(says=[AIMessage("whole", response_metadata=metadata)], cache=cache)
        for _ in range(2):
            model.invoke("Say it?")
        assert model.calls == 1

    def test_a_call_of_tools_unless_asked_for(self, tmp_path):
        call = {"name": "w", "args": {"city": "京都"}, "id": "call_1", "type": "tool_call"}
        message = AIMessage("", tool_calls=[call], response_metadata={"finish_reason": "tool_calls"})
        for tool_calls, calls in ((False, 3), (True, 2)):
            url = f"sqlite:///{tmp_path}/{tool_calls}.db"
            cache = YamabikoCache(url, policy=NEAR, embedder=FakeEmbedder(), tool_calls=tool_calls)
            model = Scripted(says=[message], cache=cache)
            tooled = model.bind(tools=[{"name": "w"}])
            said = [tooled.invoke(question) for question in (RESET[0], RESET[0], RESET[1])]
            assert model.calls == calls  # to the very same request at most
            assert [one.tool_calls for one in said] == [[call]] * 3
            cache.close()

    def test_several_generations_only_for_the_very_same_request(self, cache):
        model = Scripted(says=["one", "two"], several=2, cache=cache)
        prompts = [[HumanMessage(question)] for question in (RESET[0], RESET[0], RESET[1])]
        made = [model.generate([prompt]).generations[0] for prompt in prompts]
        assert [[one.text for one in generations] for generations in made[:2]] == [["one", "two"]] * 2
        assert model.calls == 2
        cache.update("Say it?", "llm", [Generation(text="a"), Generation(text="b")])
        assert cache.lookup("Say it?", "llm") is None


class TestTenants:
    def test_tenants_users_and_permissions_share_nothing(self, cache):
        model = Scripted(says=[str(number) for number in range(9)], cache=cache)
        callers = [
            {"tenant": "a"},
            {"tenant": "b"},
            {"tenant": "a", "user": "ann"},
            {"tenant": "a", "permissions": ["hr"]},
            {"tenant": "a", "permissions": ["hr", "legal"]},
        ]
        for _ in range(2):
            said = []
            for caller in callers:
                with asked_by(**caller):
                    said.append(model.invoke("Say it?").content)
            assert said == list("01234")
        with asked_by(tenant="a", permissions=["legal", "hr"]):
            assert model.invoke("Say it?").content == "4"

    def test_a_call_that_somebody_forgot_to_name_is_nobodys(self, cache):
        model = Scripted(says=[str(number) for number in range(9)], cache=cache)
        with asked_by(tenant="a"):
            model.invoke("Say it?")
        assert [model.invoke("Say it?").content for _ in range(2)] == ["1", "2"]
        assert [entry.scope.tenant for entry in entries(cache)] == ["a"]

    def test_a_function_that_knows_nobody_shares_nothing(self, tmp_path):
        now = [Caller(tenant="a")]
        url = f"sqlite:///{tmp_path}/c.db"
        cache = YamabikoCache(url, policy=NEAR, embedder="none", who=lambda: now[0])
        model = Scripted(says=list("012345"), cache=cache)
        said = []
        for caller in (Caller(tenant="a"), None, None, Caller(user="ann"), Caller(user="ann"), Caller(tenant="a")):
            now[0] = caller
            said.append(model.invoke("Say it?").content)
        assert said == ["0", "1", "2", "3", "4", "0"]
        assert [entry.scope.tenant for entry in entries(cache)] == ["a"]
        cache.close()

    def test_the_name_goes_along_into_threads_and_tasks(self, cache):
        model = Scripted(says=["one", "two", "three"], cache=cache)
        chain = RunnableLambda(lambda question: model.invoke(question).content)

        async def ask():
            with asked_by(tenant="a"):
                return [*await chain.abatch(["Say it?"]), *chain.batch(["Say it?"] * 2)]

        assert set(asyncio.run(ask())) == {"one"}
        with asked_by(tenant="b"):
            assert model.invoke("Say it?").content == "two"

    def test_a_policy_that_demands_a_tenant_gets_one(self, tmp_path):
        policy = Policy(max_error_rate=None, min_similarity=0.8, require_tenant=True)
        cache = YamabikoCache(f"sqlite:///{tmp_path}/c.db", policy=policy, embedder="none")
        model = Scripted(says=["one", "two", "three"], cache=cache)
        assert [model.invoke("Say it?").content for _ in range(2)] == ["one", "two"]
        cache.close()


class TestClear:
    def ask(self, cache):
        return [
            Scripted(says=[name], name_=name, cache=cache).invoke("Say it?").response_metadata.get("yamabiko")
            is not None
            for name in ("small", "large")
        ]

    def test_by_model(self, cache):
        self.ask(cache)
        assert self.ask(cache) == [True, True]
        cache.clear(model="small")
        assert self.ask(cache) == [False, True]
        asyncio.run(cache.aclear(model="large"))
        assert self.ask(cache) == [True, False]

    def test_all_that_came_from_here_and_nothing_else(self, tmp_path):
        with open_sync_cache(f"sqlite:///{tmp_path}/c.db", policy=NEAR, embedder="none") as shared:
            shared.answer("Somebody else's?", lambda _: "kept")
            cache = YamabikoCache(shared)
            self.ask(cache)
            cache.clear()
            assert self.ask(cache) == [False, False]
            assert shared.lookup("Somebody else's?").reply.text == "kept"

    def test_a_tenant_clears_its_own(self, cache):
        for tenant in ("a", "b"):
            with asked_by(tenant=tenant):
                self.ask(cache)
        with asked_by(tenant="a"):
            cache.clear()
            assert self.ask(cache) == [False, False]
        with asked_by(tenant="b"):
            assert self.ask(cache) == [True, True]

    def test_an_unknown_condition_is_an_error(self, cache):
        with pytest.raises(ConfigurationError, match="model"):
            cache.clear(modle="small")


class TestAtOnce:
    def test_one_answer_for_all_who_wait(self, tmp_path):
        cache = YamabikoCache(f"sqlite:///{tmp_path}/c.db", policy=NEAR, embedder="none", wait_seconds=PATIENCE)
        model = Scripted(says=["one", "two", "three"], cache=cache)

        async def ask():
            return {answer.content for answer in await model.abatch(["Say it?"] * 3)}

        assert asyncio.run(ask()) == {"one"}
        assert model.calls == 1
        cache.close()

    def test_what_was_looked_up_is_not_embedded_again(self, tmp_path):
        embedder = FakeEmbedder()
        cache = YamabikoCache(f"sqlite:///{tmp_path}/c.db", policy=NEAR, embedder=embedder)
        Scripted(says=["one"], cache=cache).invoke(RESET[0])
        assert embedder.texts == [RESET[0]]
        cache.close()

    def test_generations_that_fail_are_forgotten(self, cache):
        from yamabiko.adapters.langchain_cache import KNOWN

        for number in range(KNOWN + 50):
            assert cache.lookup(f"Number {number}?", "llm") is None
        assert len(cache._asked) == KNOWN
        cache.update("Number 0?", "llm", [Generation(text="zero")])
        assert cache.lookup("Number 0?", "llm")[0].text == "zero"


class Said(BaseModel):
    words: str


class TestOpenAI:
    """LangChain's real client of a simulated server."""

    def model(self, upstream, cache, plain, **options):
        return ChatOpenAI(
            model="m", base_url=upstream.url, api_key="k", max_retries=0, cache=cache, http_client=plain, **options
        )

    def test_streaming_or_not_it_asks_once(self, upstream, cache):
        with httpx.Client() as plain:
            whole = self.model(upstream, cache, plain)
            streaming = self.model(upstream, cache, plain, streaming=True)
            said = [model.invoke("Does it ask once?") for model in (whole, streaming, whole, streaming)]
            assert upstream.questions().count("Does it ask once?") == 1
            streamed = [model.invoke("And streamed first?") for model in (streaming, whole)]
            assert upstream.questions().count("And streamed first?") == 1
        assert len({one.content for one in said}) == 1
        assert streamed[0].content == streamed[1].content
        assert said[1].usage_metadata["input_tokens"] == 11
        assert said[1].response_metadata["id"] == said[0].response_metadata["id"]

    def test_by_await(self, upstream, cache):
        async def ask():
            async with httpx.AsyncClient() as plain:
                model = ChatOpenAI(
                    model="m", base_url=upstream.url, api_key="k", max_retries=0, cache=cache, http_async_client=plain
                )
                return [(await model.ainvoke("By await?")).content for _ in range(2)]

        assert len(set(asyncio.run(ask()))) == 1
        assert upstream.questions().count("By await?") == 1

    def test_a_structured_answer_is_made_again_of_what_was_stored(self, upstream, cache):
        order = {"x-order": json.dumps({"answer": '{"words": "やまびこ"}'})}
        with httpx.Client() as plain:
            model = self.model(upstream, cache, plain, default_headers=order)
            structured = model.with_structured_output(Said, method="json_schema")
            assert [structured.invoke("In which words?") for _ in range(2)] == [Said(words="やまびこ")] * 2
        assert upstream.questions().count("In which words?") == 1
