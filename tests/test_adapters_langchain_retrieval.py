"""Embeddings and retrievers of LangChain behind a memory and a cache."""

import asyncio

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import PrivateAttr

from yamabiko import Policy, open_cache, open_sync_cache
from yamabiko.adapters.langchain import CachedRetriever, EmbedderEmbeddings, YamabikoEmbeddings, asked_by
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.errors import ConfigurationError, EmbeddingError
from yamabiko.sync import SyncCache
from yamabiko.testing import FakeEmbedder

NEAR = Policy(max_error_rate=None, min_similarity=0.8)


class Counting(Embeddings):
    """LangChain's own stand-in for a hosted model; what it is asked is kept. Queries and documents differ."""

    def __init__(self):
        self.asked = []

    def embed_documents(self, texts):
        self.asked += texts
        return [vector(f"document: {text}") for text in texts]

    def embed_query(self, text):
        self.asked.append(text)
        return vector(f"query: {text}")


def vector(text):
    return DeterministicFakeEmbedding(size=8).embed_query(text)


class TestEmbeddings:
    def test_one_text_one_vector_to_the_last_bit(self):
        source = Counting()
        embeddings = YamabikoEmbeddings(source, model="m")
        texts = ["echo", "山びこ", "echo"]
        first, again = embeddings.embed_documents(texts), embeddings.embed_documents(texts[::-1])
        assert first == again[::-1] == [vector(f"document: {text}") for text in texts]
        assert source.asked == ["echo", "山びこ"]

    def test_a_question_is_not_a_document(self):
        source = Counting()
        embeddings = YamabikoEmbeddings(source, model="m")
        assert embeddings.embed_documents(["echo"]) != [embeddings.embed_query("echo")]
        assert embeddings.embed_query("echo") == vector("query: echo")
        assert source.asked == ["echo", "echo"]

    def test_by_await_it_is_the_same_memory(self):
        source = Counting()
        embeddings = YamabikoEmbeddings(source, model="m")

        async def ask():
            return [await embeddings.aembed_query("echo"), *await embeddings.aembed_documents(["a", "b", "a"])]

        assert asyncio.run(ask()) == [embeddings.embed_query("echo"), *embeddings.embed_documents(["a", "b", "a"])]
        assert source.asked == ["echo", "a", "b"]

    def test_the_memory_is_bounded(self):
        source = Counting()
        embeddings = YamabikoEmbeddings(source, model="m", max_texts=2)
        for text in ("a", "b", "a", "c", "a", "b"):
            embeddings.embed_query(text)
        assert source.asked == ["a", "b", "c", "b"]

    def test_vectors_outlive_the_process_and_models_stay_apart(self, tmp_path):
        source = Counting()
        url = f"sqlite:///{tmp_path}/vectors.db"
        for model in ("m", "m", "other"):
            embeddings = YamabikoEmbeddings(source, model=model, cache=url)
            assert embeddings.embed_documents(["a", "b"]) == [vector("document: a"), vector("document: b")]
            assert asyncio.run(embeddings.aembed_query("q")) == vector("query: q")
            embeddings.close()
        assert source.asked == ["a", "b", "q"] * 2

    def test_no_text_lies_in_the_store(self, tmp_path):
        embeddings = YamabikoEmbeddings(Counting(), model="m", cache=f"sqlite:///{tmp_path}/vectors.db")
        embeddings.embed_documents(["a confidential sentence"])
        embeddings.close()
        assert b"confidential" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())

    def test_vectors_lie_beside_answers_and_are_none(self):
        async def ask():
            async with open_cache("memory://", policy=NEAR, embedder=FakeEmbedder()) as cache:
                embeddings = YamabikoEmbeddings(Counting(), model="m", cache=cache, max_texts=1)
                await embeddings.aembed_documents(["a", "b"])
                outcome = await cache.lookup("a")
                return [await embeddings.aembed_documents(["b", "a"]), outcome.reason, await cache.check()]

        vectors, reason, faults = asyncio.run(ask())
        assert vectors == [vector("document: b"), vector("document: a")]
        assert (reason, list(faults)) == ("absent", [])

    @pytest.mark.parametrize("options", [{"model": ""}, {"model": "m", "max_texts": 0}])
    def test_bad_settings_are_refused(self, options):
        with pytest.raises(ConfigurationError):
            YamabikoEmbeddings(Counting(), **options)


class TestOurEmbedder:
    def test_it_fills_a_vector_store_of_langchain(self):
        texts = ["パスワードを再設定する方法", "天気予報", "How to cook rice"]
        store = InMemoryVectorStore(EmbedderEmbeddings(LocalEmbedder(only="use")))
        store.add_texts(texts)
        assert store.similarity_search("パスワードを忘れました", k=1)[0].page_content == texts[0]

        async def ask():
            return (await store.asimilarity_search("cooking rice", k=1))[0].page_content

        assert asyncio.run(ask()) == texts[2]

    def test_without_await_it_works_within_a_loop_too(self):
        embeddings = EmbedderEmbeddings(FakeEmbedder())

        async def ask():
            return embeddings.embed_query("echo")

        assert asyncio.run(ask()) == embeddings.embed_documents(["echo"])[0]
        assert embeddings.embed_documents([]) == []

    def test_a_text_it_does_not_see_all_of_is_an_error(self):
        embeddings = EmbedderEmbeddings(FakeEmbedder(max_words=3))
        with pytest.raises(EmbeddingError, match="text 1 of 2"):
            embeddings.embed_documents(["short", "one two three four"])

    def test_two_models_are_not_one(self):
        with pytest.raises(ConfigurationError, match="only="):
            EmbedderEmbeddings(LocalEmbedder())


class Library(BaseRetriever):
    """Finds what its shelf says, and counts."""

    shelf: dict
    _asked: list = PrivateAttr(default_factory=list)

    def _get_relevant_documents(self, query, *, run_manager):
        self._asked.append(query)
        return [one.model_copy(deep=True) for one in self.shelf[query.split()[0]]]

    @property
    def calls(self):
        return len(self._asked)


def document(source, text="text", **metadata):
    return Document(id=f"id of {source}", page_content=text, metadata={"source": source, "page": 1, **metadata})


SHELF = {
    "When": [document("s3://b/hours.pdf", "十時から"), document("s3://b/map.pdf")],
    "Where": [document("s3://b/map.pdf")],
    "How": [],
    "Who": [document("s3://b/x.pdf", seen=object())],
}
OPEN = ("When does the museum open?", "When does the museum open now?")


class TestRetriever:
    @pytest.fixture
    def cached(self, tmp_path):
        cache = open_sync_cache(f"sqlite:///{tmp_path}/passages.db", policy=NEAR, embedder=FakeEmbedder())
        yield CachedRetriever(retriever=Library(shelf=SHELF), cache=cache, version="1")
        cache.close()

    def test_documents_come_back_as_they_were(self, cached):
        found = [cached.invoke(question) for question in (OPEN[0], *OPEN)]
        assert found == [SHELF["When"]] * 3
        assert all(type(one) is Document for one in found[2])
        assert cached.retriever.calls == 1

    def test_by_await_it_is_the_same_cache(self, cached):
        async def ask():
            return [await cached.ainvoke(question) for question in OPEN]

        assert asyncio.run(ask()) == [cached.invoke(OPEN[0])] * 2
        assert cached.retriever.calls == 1

    def test_a_changed_source_takes_along_what_was_found_in_it(self, cached):
        for question in (OPEN[0], "Where is it?"):
            cached.invoke(question)
        assert cached.invalidate("s3://b/hours.pdf") == 1
        for question in (OPEN[0], "Where is it?"):
            cached.invoke(question)
        assert cached.retriever.calls == 3
        assert asyncio.run(cached.ainvalidate("s3://b/map.pdf")) == 2

    @pytest.mark.parametrize("question", ["How come?", "Who is it?"])
    def test_nothing_found_and_what_json_cannot_say_are_not_stored(self, cached, question):
        for _ in range(2):
            cached.invoke(question)
        assert cached.retriever.calls == 2

    def test_versions_tenants_and_permissions_share_nothing(self, tmp_path):
        library = Library(shelf=SHELF)
        callers = ({}, {"tenant": "a"}, {"tenant": "a", "permissions": ["hr"]})
        with open_sync_cache(f"sqlite:///{tmp_path}/passages.db", policy=NEAR, embedder=FakeEmbedder()) as cache:
            for version in ("1", "2"):
                cached = CachedRetriever(retriever=library, cache=cache, version=version)
                for caller in callers:
                    with asked_by(**caller):
                        for _ in range(2):
                            cached.invoke(OPEN[0])
        assert library.calls == 6

    def test_its_cache_is_closed_only_where_it_opened_it(self, cached):
        cached.close()
        assert cached.invoke(OPEN[0]) == SHELF["When"]
        assert isinstance(cached._reach._cache, SyncCache)
