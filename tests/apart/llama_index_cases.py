"""LlamaIndex's own interface with our cache. Not a part of ``make test``: llama-index-core brings many packages.

``pytest --noconftest tests/apart/llama_index_cases.py`` where it is installed.
"""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import PrivateAttr

from yamabiko import open_sync_cache
from yamabiko.adapters.llama_index import cached
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
