"""LlamaIndex's own interface with our cache. Not a part of ``make test``: llama-index-core brings many packages.

``pytest --noconftest tests/apart/llama_index_cases.py`` where it is installed.
"""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import IndexNode, NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from pydantic import PrivateAttr

from yamabiko import open_cache, open_sync_cache
from yamabiko.adapters.llama_index import cached
from yamabiko.adapters.llama_index_retriever import cached_retriever
from yamabiko.errors import ConfigurationError
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Policy

pytestmark = pytest.mark.filterwarnings("default")
QUESTIONS = ["Where is the mountain echo heard?", "やまびこはどこで聞こえますか？"]


class Echo(CustomLLM):
    _made: list = PrivateAttr(default_factory=list)
    temperature: float = 0.0
    finish: str = "stop"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="echo")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._made.append(prompt)
        if "fail" in prompt:
            raise RuntimeError("the model failed")
        return CompletionResponse(text=f"Answer {len(self._made)}: {prompt}", raw={"finish_reason": self.finish})

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        self._made.append(prompt)

        def pieces():
            text = ""
            for delta in (f"Answer {len(self._made)}: ", prompt):
                text += delta
                yield CompletionResponse(text=text, delta=delta)

        return pieces()


@pytest.fixture
def cache():
    policy = Policy(max_error_rate=None, min_similarity=0.9)
    with open_sync_cache("memory://", embedder=FakeEmbedder(), policy=policy) as cache:
        yield cache


def echo(**fields):
    return Echo(**fields)


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_way_asks_once(cache, question):
    plain = echo()
    llm = cached(plain, cache=cache)
    assert isinstance(llm, Echo)
    assert llm.complete(question).text == llm.complete(question).text
    assert asyncio.run(llm.acomplete(question)).text == llm.complete(question).text
    assert len(plain._made) == 1
    chat = [ChatMessage(role="system", content="Short."), ChatMessage(role="user", content=question)]
    first = llm.chat(chat).message.content
    assert llm.chat(chat).message.content == asyncio.run(llm.achat(chat)).message.content == first
    assert llm.chat(chat).additional_kwargs["yamabiko"]["tier"] == "exact"
    assert len(plain._made) == 2


def test_streams(cache):
    plain = echo()
    llm = cached(plain, cache=cache)
    first, again = ([piece.delta for piece in llm.stream_complete("In pieces?")] for _ in range(2))
    assert again == first
    assert len(again) == 2

    async def streamed():
        return [piece.delta async for piece in await llm.astream_complete("In pieces?")]

    assert asyncio.run(streamed()) == first
    chat = [ChatMessage(role="user", content="And a chat?")]
    first, again = ([piece.message.content for piece in llm.stream_chat(chat)] for _ in range(2))
    assert again[-1] == first[-1]
    assert llm.chat(chat).message.content == first[-1]
    assert len(plain._made) == 2


def test_what_changes_an_answer_counts_and_tenants_never_share(cache):
    plain = echo()
    cached(plain, cache=cache).complete("Which?")
    warm = echo(temperature=1.0)
    warm._made = plain._made
    cached(warm, cache=cache).complete("Which?")
    cached(plain, cache=cache, tenant="other").complete("Which?")
    cached(plain, cache=cache).complete("Which?", top_k=3)
    cached(plain, cache=cache).complete("Which?")
    assert len(plain._made) == 4


def test_errors_and_what_is_cut_off_are_not_stored(cache):
    llm = cached(echo(), cache=cache)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the model failed"):
            llm.complete("fail")
    cut = echo(finish="length")
    for _ in range(2):
        cached(cut, cache=cache).complete("Cut?")
    assert len(cut._made) == 2
    with pytest.raises(ConfigurationError, match="takes a language model of LlamaIndex"):
        cached(object(), cache=cache)


class Searching(BaseRetriever):
    """Finds one node for each question; ``of`` makes it."""

    def __init__(self, of=None):
        super().__init__()
        self.asked = []
        self.of = of or (lambda text: TextNode(text=f"{text} 山", metadata={"source": "s3://a", "page": 3, "ok": True}))

    def _retrieve(self, query_bundle):
        self.asked.append(query_bundle.query_str)
        if "fail" in query_bundle.query_str:
            raise RuntimeError("the search failed")
        return [NodeWithScore(node=self.of(query_bundle.query_str), score=0.5)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_retriever_is_asked_once_and_its_nodes_come_back_as_they_were(cache, question):
    plain = Searching()
    retriever = cached_retriever(plain, cache=cache)
    assert isinstance(retriever, Searching)
    first, again, awaited = (
        retriever.retrieve(question),
        retriever.retrieve(question),
        asyncio.run(retriever.aretrieve(question)),
    )
    assert first == again == awaited
    assert again[0].node is not first[0].node
    assert (again[0].score, again[0].metadata["page"], again[0].metadata["ok"]) == (0.5, 3, True)
    assert plain.asked == [question]
    assert cached_retriever(retriever, cache=cache).retrieve(question) == first
    assert len(plain.asked) == 1
    plain.retrieve(question)
    assert len(plain.asked) == 2


def test_a_question_of_that_meaning_finds_the_same_nodes(cache):
    plain = Searching()
    retriever = cached_retriever(plain, cache=cache)
    first = retriever.retrieve("Where is the mountain echo heard?")
    assert retriever.retrieve("Where is the mountain echo heard now?") == first
    assert len(plain.asked) == 1


def test_an_open_cache_serves_code_that_awaits():
    async def run():
        plain = Searching()
        async with open_cache(
            "memory://", embedder=FakeEmbedder(), policy=Policy(max_error_rate=None, min_similarity=0.9)
        ) as cache:
            retriever = cached_retriever(plain, cache=cache)
            found = [await retriever.aretrieve(QUESTIONS[1]) for _ in range(2)]
            assert found[0] == found[1]
            assert await retriever.ainvalidate("s3://a") == 1
            await retriever.aretrieve(QUESTIONS[1])
        return plain.asked

    assert asyncio.run(run()) == [QUESTIONS[1]] * 2


def test_a_changed_document_removes_what_was_found_in_it(cache):
    related = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="handbook")}
    plain = Searching(lambda text: TextNode(text=text, relationships=related))
    retriever = cached_retriever(plain, cache=cache)
    for question in QUESTIONS:
        retriever.retrieve(question)
    assert retriever.invalidate("another") == 0
    assert retriever.invalidate("handbook") == 2
    retriever.retrieve(QUESTIONS[0])
    assert plain.asked == [*QUESTIONS, QUESTIONS[0]]


def test_tenants_permissions_and_versions_share_no_nodes(cache):
    plain = Searching()
    for options in ({}, {"tenant": "a"}, {"permissions": ["hr"]}, {"version": "2"}, {"user": "ann"}):
        for _ in range(2):
            cached_retriever(plain, cache=cache, **options).retrieve(QUESTIONS[0])
    assert len(plain.asked) == 5


@pytest.mark.parametrize(
    "of",
    [
        lambda text: IndexNode(text=text, index_id="x"),
        lambda text: TextNode(text=text, metadata={"when": {1: "keys of JSON are texts"}}),
        lambda text: TextNode(text=text, metadata={"set": {1, 2}}),
    ],
)
def test_nodes_that_could_not_be_given_back_unchanged_are_not_stored(cache, of):
    plain = Searching(of)
    retriever = cached_retriever(plain, cache=cache)
    for _ in range(2):
        assert retriever.retrieve(QUESTIONS[0])
    assert len(plain.asked) == 2


def test_what_is_more_than_a_question_and_what_fails_is_the_retrievers(cache):
    plain = Searching()
    retriever = cached_retriever(plain, cache=cache)
    for _ in range(2):
        retriever.retrieve(QueryBundle("A vector?", embedding=[0.1, 0.2]))
        retriever.retrieve(QueryBundle("Other texts?", custom_embedding_strs=["x"]))
        retriever.retrieve("\ud800")
        with pytest.raises(RuntimeError, match="the search failed"):
            retriever.retrieve("fail")
    assert len(plain.asked) == 8
    with pytest.raises(ConfigurationError, match="takes a retriever of LlamaIndex"):
        cached_retriever(object(), cache=cache)
