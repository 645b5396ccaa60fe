"""An agentic RAG graph (router, retrieve, grade, generate) with the cache as its first node; all else is simulated.

python examples/langgraph_rag.py

The graph behind the cache: a router decides which collection a question needs, if any, a retriever finds paragraphs
there, a grader keeps those that bear on the question, a model answers in pieces. Where the answer is not in the cache,
the router's decision and the graded paragraphs may be: both nodes stand behind caches of their own. Each step takes the
time that is stated below: an assumption about hosted services, not a measurement. Questions and paragraphs are XQuAD's
and JSQuAD's, of the demo; the model knows an answer only from the paragraph that holds it.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.documents import Document
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from yamabiko import Cache, Policy, Request, open_cache
from yamabiko.adapters.langgraph import semantic_node
from yamabiko.core.guards import GUARDS
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.rag.embeddings import RememberedEmbedder


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
    collection: str
    found: str
    documents: list[Document]
    answer: str
    cache: str


@dataclass
class Services:
    """The router, the search, the grader and the model, simulated: each waits its time and says what is right."""

    answers: dict[str, str]
    paragraphs: dict[str, Document]
    latencies: Latencies = field(default_factory=Latencies)
    calls: Counter[str] = field(default_factory=Counter)

    async def route(self, question: str) -> str:
        self.calls["router"] += 1
        await asyncio.sleep(self.latencies.router)
        return self.paragraphs[question].metadata["collection"] if question in self.paragraphs else "none"

    async def retrieve(self, question: str, collection: str) -> list[Document]:
        self.calls["search"] += 1
        await asyncio.sleep(self.latencies.retrieve)
        found = self.paragraphs.get(question)
        return [found] if found is not None and found.metadata["collection"] == collection else []

    async def grade(self, question: str, documents: list[Document]) -> list[Document]:
        self.calls["grader"] += 1
        await asyncio.sleep(self.latencies.grade)
        return [document for document in documents if document == self.paragraphs[question]]

    async def generate(self, question: str, documents: list[Document]) -> AsyncIterator[str]:
        self.calls["model"] += 1
        await asyncio.sleep(self.latencies.first_token)
        known = self.paragraphs.get(question) in documents
        text = self.answers[question] if known else "The documents don't say. / 文書にはありません。"
        pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
        for piece in pieces:
            await asyncio.sleep((self.latencies.answer - self.latencies.first_token) / len(pieces))
            yield piece


NO_GUARDS = dict.fromkeys(GUARDS, "off")
ANSWERS = Policy(max_error_rate=0.1)  # the least that Japanese keeps from the first day, without labels
ROUTES = Policy(max_error_rate=None, min_similarity=0.2, guards=NO_GUARDS)
"""A question's collection is that of questions that are anything like it. No promise stands behind that."""
EVIDENCE = Policy(max_error_rate=None, min_similarity=0.7, guards=NO_GUARDS)
"""Paragraphs serve other questions about the same thing: the model reads them with what was really asked."""


@dataclass(frozen=True)
class Caches:
    """One cache for each step that may be left out; ``None`` runs it always."""

    answers: Cache
    routes: Cache | None = None
    evidence: Cache | None = None


@asynccontextmanager
async def open_caches(folder: Path, *, answers: Policy = ANSWERS, nodes: bool = True) -> AsyncIterator[Caches]:
    """Caches in a folder, whose embedder makes the vector of each text once. ``nodes``: routes and evidence too."""
    embedder = RememberedEmbedder(LocalEmbedder())
    policies = [answers, ROUTES, EVIDENCE] if nodes else [answers]
    async with AsyncExitStack() as opened:
        caches = []
        for name, policy in zip(("answers", "routes", "evidence"), policies, strict=False):
            url = f"sqlite:///{(folder / name).as_posix()}.db"
            caches.append(await opened.enter_async_context(open_cache(url, policy=policy, embedder=embedder)))
        for text in ("warm up", "準備"):  # the embedding models are read at their first question
            await caches[0].lookup(text)
        yield Caches(*caches)


def evidence_graph(services: Services) -> Any:
    """Retrieve and grade: paragraphs that bear on the question, and what they are called."""

    async def retrieve(state: State) -> State:
        return {"documents": await services.retrieve(state["question"], state["collection"])}

    async def grade(state: State) -> State:
        documents = await services.grade(state["question"], state["documents"])
        return {"documents": documents, "found": " ".join(one.metadata["source"] for one in documents)}

    builder = StateGraph(State)
    builder.add_node("retrieve", retrieve)
    builder.add_node("grade", grade)
    builder.add_edge(START, "retrieve")
    builder.add_edge("retrieve", "grade")
    builder.add_edge("grade", END)
    return builder.compile(name="evidence")


def rag_graph(services: Services, caches: Caches | None = None) -> Any:
    """Router, retrieve, grade, generate: what is run on a miss, and all there is without a cache."""

    async def router(state: State) -> State:
        return {"collection": await services.route(state["question"])}

    async def generate(state: State) -> State:
        write, pieces = get_stream_writer(), []
        async for piece in services.generate(state["question"], state.get("documents", [])):
            write({"answer": piece})
            pieces.append(piece)
        return {"answer": "".join(pieces)}

    def wanted(state: State) -> Request:  # in another collection, other paragraphs are found
        return Request(state["question"], model="evidence", knowledge=state["collection"], category="passages")

    evidence: Any = evidence_graph(services)
    route: Any = router
    if caches is not None and caches.routes is not None:
        route = semantic_node(router, caches.routes, answer="collection")
    if caches is not None and caches.evidence is not None:
        evidence = semantic_node(evidence, caches.evidence, question=wanted, answer="found")
    builder = StateGraph(State)
    builder.add_node("router", route)
    builder.add_node("evidence", evidence)
    builder.add_node("generate", generate)
    builder.add_edge(START, "router")
    builder.add_conditional_edges(
        "router", lambda state: "generate" if state["collection"] == "none" else "evidence", ["evidence", "generate"]
    )
    builder.add_edge("evidence", "generate")
    builder.add_edge("generate", END)
    return builder.compile(name="rag")


def cached_graph(services: Services, caches: Caches) -> Any:
    """The same behind the cache: its first node answers, or runs the others."""
    builder = StateGraph(State)
    inner = rag_graph(services, caches)
    builder.add_node("cache", semantic_node(inner, caches.answers, outcome="cache", version="demo-1"))
    builder.add_edge(START, "cache")
    builder.add_edge("cache", END)
    return builder.compile()


def read(language: str) -> tuple[list[dict[str, Any]], dict[str, Document]]:
    """The demo's questions and paragraphs in one language, "en" or "ja"."""
    folder = files("yamabiko.cli").joinpath("demo_data")
    lines = folder.joinpath(f"contexts.{language}.jsonl").read_text(encoding="utf-8").splitlines()
    contexts = {
        one["id"]: Document(one["text"], metadata={"source": f"demo:{one['id']}", "collection": language})
        for one in map(json.loads, lines)
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
        if mode == "custom" and "answer" in item:
            first = first or time.perf_counter() - began
            pieces.append(item["answer"])
        elif mode == "updates" and "cache" in item:
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
    plain = rag_graph(services)
    without = show("without the cache", await asyncio.gather(*(ask(plain, question) for question in QUESTIONS)))
    before = services.calls.copy()
    with tempfile.TemporaryDirectory() as folder:
        async with open_caches(Path(folder)) as caches:
            graph = cached_graph(services, caches)
            cached = show("with the cache", [await ask(graph, question) for question in QUESTIONS])
    print(f"mean latency: {without:.2f} s without the cache, {cached:.2f} s with it")
    for step, calls in before.items():
        print(f"{step} calls: {calls} without the cache, {services.calls[step] - calls} with it")


if __name__ == "__main__":
    asyncio.run(main())
