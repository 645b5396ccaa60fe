"""LangGraph's own graphs with our node cache, and nodes that answer by meaning."""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import CachePolicy

from yamabiko import Policy, Request, open_cache
from yamabiko.adapters.langgraph import Caller, YamabikoNodeCache, asked_by, semantic_node
from yamabiko.errors import ConfigurationError
from yamabiko.testing import FakeClock, FakeEmbedder

NEAR = Policy(max_error_rate=None, min_similarity=0.8)
OPEN = ("When does the museum open?", "When does the museum open now?")
OPEN_JA = ("美術館は何時に開きますか?", "美術館は何時に開くますか?")
NAMESPACE = ("__pregel_ns_writes", "module.node", "node")


class Asked(TypedDict, total=False):
    question: str
    answer: str
    cache: str
    documents: list
    seen: Annotated[list, operator.add]


class Talk(TypedDict):
    messages: Annotated[list, add_messages]


def graph_of(node, *, state=Asked, **compiled):
    builder = StateGraph(state)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(**compiled)


def with_cache(work, **options):
    """Runs ``work(cache)`` on a cache in memory."""

    async def run():
        async with open_cache("memory://", policy=NEAR, embedder=FakeEmbedder(), **options) as cache:
            return await work(cache)

    return asyncio.run(run())


class TestNodeCache:
    def counting(self, path, calls, *, ttl=None, **options):
        def node(state):
            calls.append(state["question"])
            return {"answer": f"{state['question']} / {len(calls)}", "documents": [Document("山", metadata={"p": 1})]}

        builder = StateGraph(Asked)
        builder.add_node("node", node, cache_policy=CachePolicy(ttl=ttl))
        builder.add_edge(START, "node")
        cache = YamabikoNodeCache(f"sqlite:///{path}/nodes.db", **options)
        return builder.compile(cache=cache), cache

    def test_the_very_same_input_runs_a_node_once_and_outlives_the_process(self, tmp_path):
        calls = []
        for _ in range(2):
            graph, cache = self.counting(tmp_path, calls)
            told = [graph.invoke({"question": question}) for question in ("a", "b", "a")]
            assert told[0] == told[2]
            assert told[0]["answer"] == "a / 1"
            assert told[0]["documents"] == [Document("山", metadata={"p": 1})]
            cache.close()
        assert calls == ["a", "b"]

    def test_by_await_it_is_the_same_cache(self, tmp_path):
        calls = []
        graph, cache = self.counting(tmp_path, calls)
        asked = [graph.invoke({"question": "a"}), *(asyncio.run(graph.ainvoke({"question": "a"})) for _ in range(2))]
        assert (len(calls), len({one["answer"] for one in asked})) == (1, 1)
        cache.close()

    def test_results_live_as_long_as_the_policy_says(self, tmp_path):
        calls, clock = [], FakeClock()
        graph, cache = self.counting(tmp_path, calls, ttl=60, clock=clock)
        for seconds in (0, 59, 2):
            clock.advance(seconds)
            graph.invoke({"question": "a"})
        assert len(calls) == 2
        cache.close()

    def test_the_graph_clears_by_node(self, tmp_path):
        calls = []
        graph, cache = self.counting(tmp_path, calls)
        for _ in range(2):
            graph.invoke({"question": "a"})
            graph.clear_cache(["node"])
        asyncio.run(graph.aclear_cache())
        graph.invoke({"question": "a"})
        assert len(calls) == 3
        cache.close()

    def test_another_version_tenant_or_user_has_results_of_its_own(self, tmp_path):
        calls = []
        for _ in range(2):
            for version, caller in (
                ("1", {}),
                ("2", {}),
                ("2", {"tenant": "a"}),
                ("2", {"tenant": "a", "user": "ann"}),
            ):
                graph, cache = self.counting(tmp_path, calls, version=version, who=Caller(**caller))
                graph.invoke({"question": "a"})
                cache.close()
        assert len(calls) == 4

    def test_a_tenant_clears_its_own(self, tmp_path):
        cache = YamabikoNodeCache(f"sqlite:///{tmp_path}/nodes.db")
        for tenant in ("a", "b"):
            with asked_by(tenant=tenant):
                cache.set({(NAMESPACE, "key"): (tenant, None)})
        with asked_by(tenant="a"):
            cache.clear()
            assert cache.get([(NAMESPACE, "key")]) == {}
        with asked_by(tenant="b"):
            assert cache.get([(NAMESPACE, "key")]) == {(NAMESPACE, "key"): "b"}
        assert cache.get([(NAMESPACE, "key")]) == {}  # of nobody, whom somebody forgot to name
        cache.close()

    def test_keys_of_texts_and_bytes_and_namespaces_never_collide(self, tmp_path):
        cache = YamabikoNodeCache(f"sqlite:///{tmp_path}/nodes.db")
        keys = [(("a",), "61"), (("a",), b"a"), (("a", "b"), "61"), (("ab",), "61"), (("a", "b", ""), "61"), ((), "61")]
        cache.set({key: (number, None) for number, key in enumerate(keys)})
        assert cache.get(keys) == {key: number for number, key in enumerate(keys)}
        cache.clear([("a",), ()])
        assert set(cache.get(keys)) == set(keys[2:5])
        cache.close()

    def test_what_is_not_signed_is_not_believed(self, tmp_path):
        url = f"sqlite:///{tmp_path}/nodes.db"
        keys = "k1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
        calls = []
        graph, cache = self.counting(tmp_path, calls)
        graph.invoke({"question": "a"})
        cache.close()
        for _ in range(2):
            graph, cache = self.counting(tmp_path, calls, signing_keys=keys)
            graph.invoke({"question": "a"})
            cache.close()
        assert (len(calls), url) == (2, url)

    def test_a_store_that_is_gone_costs_a_run_and_nothing_else(self):
        async def ask():
            calls = []

            async def node(state):
                calls.append(state["question"])
                return {"answer": "yes"}

            cache = await open_cache("memory://", embedder="none", policy=NEAR)
            builder = StateGraph(Asked)
            builder.add_node("node", node, cache_policy=CachePolicy())
            builder.add_edge(START, "node")
            graph = builder.compile(cache=YamabikoNodeCache(cache))
            await cache.close()
            told = [(await graph.ainvoke({"question": "a"}))["answer"] for _ in range(2)]
            return told, calls

        assert asyncio.run(ask()) == (["yes", "yes"], ["a", "a"])


class Speaker:
    """Nodes of each kind that say the same, and count how often they run."""

    def __init__(self, text="At ten, 山びこ."):
        self.text, self.runs = text, 0
        self.pieces = text.split(" ")
        self.pieces = [piece + " " for piece in self.pieces[:-1]] + self.pieces[-1:]
        self.gate, self.started = None, asyncio.Event()

    async def generator(self, state):
        self.runs += 1
        self.started.set()
        for piece in self.pieces:
            if self.gate is not None:
                await self.gate.wait()
            yield piece
        yield {"documents": [Document("hours", metadata={"source": "s3://b/hours.pdf"})]}

    async def function(self, state):
        self.runs += 1
        return {"answer": self.text, "documents": [Document("hours", metadata={"source": "s3://b/hours.pdf"})]}

    def plain(self, state):
        self.runs += 1
        return {"answer": self.text}

    def graph(self):
        async def generate(state):
            self.runs += 1
            write = get_stream_writer()
            for piece in self.pieces:
                write({"answer": piece})
            return {"answer": self.text, "documents": [Document("h", metadata={"source": "s3://b/hours.pdf"})]}

        return graph_of(generate)


async def heard(graph, question, mode):
    """Texts that a listener hears in this mode."""
    said = []
    async for item in graph.astream({"question": question}, stream_mode=mode):
        if mode == "custom":
            said.append(item["answer"])
        elif mode == "messages":
            said.append(item[0].content)
    return [piece for piece in said if piece]


class TestSemanticNode:
    @pytest.mark.parametrize("kind", ["generator", "function", "plain", "graph"])
    @pytest.mark.parametrize(("asked", "again"), [OPEN, OPEN_JA])
    def test_any_kind_of_node_runs_once_for_one_meaning(self, kind, asked, again):
        speaker = Speaker()
        made = speaker.graph() if kind == "graph" else getattr(speaker, kind)

        async def ask(cache):
            graph = graph_of(semantic_node(made, cache, outcome="cache"))
            return [await graph.ainvoke({"question": question}) for question in (asked, asked, again)]

        told = with_cache(ask)
        assert [one["answer"] for one in told] == [speaker.text] * 3
        assert [one["question"] for one in told] == [asked, asked, again]
        expected = ["miss", "hit", "hit"] if kind in ("function", "plain") else ["miss", "exact", "semantic"]
        assert [one["cache"] for one in told] == expected
        if kind != "plain":
            assert [one["documents"] for one in told] == [told[0]["documents"]] * 3
            assert type(told[2]["documents"][0]) is Document
        assert speaker.runs == 1

    @pytest.mark.parametrize("mode", ["custom", "messages"])
    @pytest.mark.parametrize("kind", ["generator", "graph"])
    def test_a_hit_is_streamed_as_the_run_was(self, kind, mode):
        speaker = Speaker()
        made = speaker.graph() if kind == "graph" else speaker.generator

        async def ask(cache):
            graph = graph_of(semantic_node(made, cache))
            return [await heard(graph, question, mode) for question in (OPEN[0], *OPEN)]

        assert with_cache(ask) == [speaker.pieces] * 3
        assert speaker.runs == 1

    @pytest.mark.parametrize("mode", ["custom", "messages"])
    def test_what_does_not_speak_is_heard_when_the_cache_answers(self, mode):
        speaker = Speaker()

        async def ask(cache):
            graph = graph_of(semantic_node(speaker.function, cache))
            return [await heard(graph, OPEN[0], mode) for _ in range(2)]

        assert with_cache(ask) == [[], [speaker.text]]

    def test_a_models_stream_is_heard_once_and_the_same_from_the_cache(self):
        runs = []

        async def node(state):
            runs.append(state)
            async for chunk in GenericFakeChatModel(messages=iter([AIMessage("At ten, on Sundays.")])).astream("?"):
                yield chunk.content

        async def ask(cache):
            graph = graph_of(semantic_node(node, cache))
            return [await heard(graph, OPEN[0], "messages") for _ in range(2)]

        first, again = with_cache(ask)
        assert "".join(first) == "At ten, on Sundays."
        assert first == again
        assert (len(first) > 1, len(runs)) == (True, 1)

    def test_all_who_ask_at_once_hear_one_run(self):
        speaker = Speaker()
        speaker.gate = asyncio.Event()

        async def ask(cache):
            graph = graph_of(semantic_node(speaker.generator, cache))
            crowd = [asyncio.create_task(heard(graph, OPEN[0], mode)) for mode in ("custom", "messages") * 4]
            await speaker.started.wait()
            speaker.gate.set()
            return await asyncio.gather(*crowd)

        assert with_cache(ask) == [speaker.pieces] * 8
        assert speaker.runs == 1

    def test_a_conversation_counts_as_a_whole(self):
        runs = []

        async def node(state):
            runs.append(state["messages"][-1].content)
            yield f"Answer {len(runs)}"

        async def ask(cache):
            graph = graph_of(semantic_node(node, cache, question="messages", answer="messages"), state=Talk)
            said = []
            for history in ([], [], [HumanMessage("I am in Kyoto."), AIMessage("Yes?")]):
                told = await graph.ainvoke({"messages": [*history, HumanMessage(OPEN[0])]})
                said.append(told["messages"][-1])
                assert len(told["messages"]) == len(history) + 2
            seen = []
            async for chunk, _ in graph.astream({"messages": [HumanMessage(OPEN[1])]}, stream_mode="messages"):
                seen.append(chunk)
            return said, seen

        said, seen = with_cache(ask)
        assert [type(one) for one in said] == [AIMessage] * 3
        assert [one.content for one in said] == ["Answer 1", "Answer 1", "Answer 2"]
        assert len({one.id for one in said}) == 3
        assert [chunk.content for chunk in seen if chunk.content] == ["Answer 1"]  # and not once more as a message
        assert all(isinstance(chunk, AIMessageChunk) for chunk in seen)

    def test_a_changed_document_takes_its_answers_along(self):
        speaker = Speaker()

        async def ask(cache):
            graph = graph_of(semantic_node(speaker.generator, cache))
            await graph.ainvoke({"question": OPEN[0]})
            await cache.drain()
            gone = await cache.purge(source="s3://b/hours.pdf")
            await graph.ainvoke({"question": OPEN[0]})
            return gone

        assert with_cache(ask) == 1
        assert speaker.runs == 2

    def test_versions_names_and_callers_share_nothing(self):
        speaker = Speaker()

        async def ask(cache):
            for _ in range(2):
                for options in ({}, {"version": "2"}, {"name": "other"}):
                    await graph_of(semantic_node(speaker.generator, cache, **options)).ainvoke({"question": OPEN[0]})
                for caller in ({"tenant": "a"}, {"tenant": "b"}, {"tenant": "b", "permissions": ["hr"]}):
                    with asked_by(**caller):
                        await graph_of(semantic_node(speaker.generator, cache)).ainvoke({"question": OPEN[0]})

        with_cache(ask)
        assert speaker.runs == 6

    def test_who_asks_may_stand_in_the_runs_configuration(self):
        speaker = Speaker()

        def who():
            return Caller(tenant=get_config()["configurable"].get("tenant", ""))

        async def ask(cache):
            graph = graph_of(semantic_node(speaker.generator, cache, who=who, outcome="cache"))
            told = []
            for tenant in ("a", "a", "b", "", ""):
                config = {"configurable": {"tenant": tenant}}
                told.append((await graph.ainvoke({"question": OPEN[0]}, config))["cache"])
            return told

        assert with_cache(ask) == ["miss", "exact", "miss", "off", "off"]

    def test_a_function_may_say_what_is_asked_or_that_nothing_is(self):
        speaker = Speaker()

        def question(state):
            if state["question"].startswith("private"):
                return None
            return Request(state["question"], tenant="a", system="Be brief.")

        async def ask(cache):
            graph = graph_of(semantic_node(speaker.generator, cache, question=question, outcome="cache"))
            asked = (OPEN[0], OPEN[0], "private matters", "private matters")
            return [(await graph.ainvoke({"question": one}))["cache"] for one in asked]

        assert with_cache(ask) == ["miss", "exact", "off", "off"]

    def test_an_error_of_the_node_is_the_callers_and_nothing_is_stored(self):
        async def node(state):
            yield "half"
            raise OSError("the model is gone")

        async def ask(cache):
            graph = graph_of(semantic_node(node, cache))
            for _ in range(2):
                with pytest.raises(OSError, match="gone"):
                    await graph.ainvoke({"question": OPEN[0]})
            return [entry async for entry in cache.entries()]

        assert with_cache(ask) == []

    def test_an_update_that_cannot_be_replayed_is_an_error(self):
        async def node(state):
            return {"answer": "yes", "documents": [object()]}

        async def ask(cache):
            with pytest.raises(ConfigurationError, match="documents"):
                await graph_of(semantic_node(node, cache)).ainvoke({"question": OPEN[0]})

        with_cache(ask)

    def test_it_takes_an_open_cache(self):
        with pytest.raises(ConfigurationError, match="open_cache"):
            semantic_node(Speaker().generator, "sqlite:///c.db")
