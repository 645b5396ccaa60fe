"""An agentic RAG graph (router, retrieve, grade, generate) with the cache as its first node; all else is simulated.

python examples/langgraph_rag.py

The graph behind the cache: a router decides whether a question needs documents, a retriever finds paragraphs, a grader
keeps those that bear on the question, a model answers in pieces. Each step takes the time that is stated below: an
assumption about hosted services, not a measurement. Questions and paragraphs are XQuAD's and JSQuAD's, of the demo.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.documents import Document
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from yamabiko import Cache, Policy, open_cache
from yamabiko.adapters.langgraph import semantic_node


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Seconds that each step of a graph with hosted services is assumed to take."""

    router: float = 0.35
    retrieve: float = 0.15
    grade: float = 0.5
    first_token: float = 0.6
    answer: float = 1.2


class State(TypedDict, total=False):
    question: str
    documents: list[Document]
    answer: str
    cache: str


@dataclass
class Services:
    """The router, the search, the grader and the model, simulated: each waits its time and says what is right."""

    answers: dict[str, str]
    paragraphs: dict[str, Document]
    latencies: Latencies = field(default_factory=Latencies)
    calls: int = 0

    async def route(self, question: str) -> str:
        await asyncio.sleep(self.latencies.router)
        return "retrieve" if question in self.paragraphs else "generate"

    async def retrieve(self, question: str) -> list[Document]:
        await asyncio.sleep(self.latencies.retrieve)
        return [self.paragraphs[question]] if question in self.paragraphs else []

    async def grade(self, question: str, documents: list[Document]) -> list[Document]:
        await asyncio.sleep(self.latencies.grade)
        return [document for document in documents if self.answers[question] in document.page_content]

    async def generate(self, question: str) -> AsyncIterator[str]:
        self.calls += 1
        await asyncio.sleep(self.latencies.first_token)
        text = self.answers[question]
        pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
        for piece in pieces:
            await asyncio.sleep((self.latencies.answer - self.latencies.first_token) / len(pieces))
            yield piece


def rag_graph(services: Services) -> Any:
    """Router, retrieve, grade, generate: what is run on a miss, and all there is without a cache."""

    async def route(state: State) -> str:
        return await services.route(state["question"])

    async def retrieve(state: State) -> State:
        return {"documents": await services.retrieve(state["question"])}

    async def grade(state: State) -> State:
        return {"documents": await services.grade(state["question"], state["documents"])}

    async def generate(state: State) -> State:
        write, pieces = get_stream_writer(), []
        async for piece in services.generate(state["question"]):
            write({"answer": piece})
            pieces.append(piece)
        return {"answer": "".join(pieces)}

    builder = StateGraph(State)
    for node in (retrieve, grade, generate):
        builder.add_node(node.__name__, node)
    builder.add_conditional_edges(START, route, ["retrieve", "generate"])
    builder.add_edge("retrieve", "grade")
    builder.add_edge("grade", "generate")
    builder.add_edge("generate", END)
    return builder.compile(name="rag")


def cached_graph(services: Services, cache: Cache) -> Any:
    """The same behind the cache: its first node answers, or runs the others."""
    builder = StateGraph(State)
    builder.add_node("cache", semantic_node(rag_graph(services), cache, outcome="cache", version="demo-1"))
    builder.add_edge(START, "cache")
    builder.add_edge("cache", END)
    return builder.compile()


def read(language: str) -> tuple[list[dict[str, Any]], dict[str, Document]]:
    """The demo's questions and paragraphs in one language, "en" or "ja"."""
    folder = files("yamabiko.cli").joinpath("demo_data")
    lines = folder.joinpath(f"contexts.{language}.jsonl").read_text(encoding="utf-8").splitlines()
    contexts = {
        one["id"]: Document(one["text"], metadata={"source": f"demo:{one['id']}"}) for one in map(json.loads, lines)
    }
    lines = folder.joinpath(f"questions.{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return list(map(json.loads, lines)), contexts


def services_for(languages: tuple[str, ...] = ("en", "ja")) -> tuple[Services, list[dict[str, Any]]]:
    """Services that know all of the demo's questions, in each wording; and the questions."""
    answers, paragraphs, questions = {}, {}, []
    for language in languages:
        asked, contexts = read(language)
        questions += asked
        for one in asked:
            for wording in (one["text"], *one["paraphrases"]):
                answers[wording] = one["answer"]
                paragraphs[wording] = contexts[one["context"]]
    return Services(answers, paragraphs), questions


async def ask(graph: Any, question: str) -> tuple[str, str, float, float]:
    """The answer as it was streamed, where it came from, and the seconds to its first piece and to its end."""
    began, first, pieces, told = time.perf_counter(), 0.0, [], "no cache"
    async for mode, item in graph.astream({"question": question}, stream_mode=["custom", "updates"]):
        if mode == "custom":
            first = first or time.perf_counter() - began
            pieces.append(item["answer"])
        elif "cache" in item:
            told = item["cache"]["cache"]
    return "".join(pieces), told, first, time.perf_counter() - began


QUESTIONS = [
    "What was Warsaw's first literary cabaret?",
    "what was Warsaw's first literary cabaret",
    "Where or wait what was Warsaw's first literary cabaret?",
    "小笠原諸島が春から夏への遷移期にあたるのは何月か？",
    "小笠原諸島が春から夏への遷移期にあたるのは何月？",
]


def show(name: str, told: list[tuple[str, str, float, float]]) -> float:
    """Prints what came of each question; the mean latency, in seconds."""
    print(f"-- {name}")
    for question, (answer, outcome, first, seconds) in zip(QUESTIONS, told, strict=True):
        print(f"{seconds:5.2f} s, first piece {first:5.2f} s, {outcome:8}  {question}  ->  {answer}")
    return sum(seconds for *_, seconds in told) / len(told)


async def main() -> None:
    services, _ = services_for()
    services.answers[QUESTIONS[1]] = services.answers[QUESTIONS[0]]
    services.paragraphs[QUESTIONS[1]] = services.paragraphs[QUESTIONS[0]]
    policy = Policy(max_error_rate=0.1)  # the least that Japanese keeps from the first day, without labels
    plain = rag_graph(services)
    without = show("without the cache", await asyncio.gather(*(ask(plain, question) for question in QUESTIONS)))
    before = services.calls
    with tempfile.TemporaryDirectory() as folder:
        async with open_cache(f"sqlite:///{(Path(folder) / 'cache.db').as_posix()}", policy=policy) as cache:
            for text in ("warm up", "準備"):  # the embedding models are read at their first question
                await cache.lookup(text)
            graph = cached_graph(services, cache)
            cached = show("with the cache", [await ask(graph, question) for question in QUESTIONS])
    print(f"mean latency: {without:.2f} s without the cache, {cached:.2f} s with it")
    print(f"model calls: {before} without the cache, {services.calls - before} with it")


if __name__ == "__main__":
    asyncio.run(main())
