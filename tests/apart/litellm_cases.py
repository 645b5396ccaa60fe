"""LiteLLM itself with our cache, against a model server in a process of its own. Not a part of ``make test``: LiteLLM
brings many packages. ``make test-apart`` has an environment for it.
"""

import asyncio
import sys
import time
from pathlib import Path

import litellm
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from upstreams.processes import running_upstream
from yamabiko import open_sync_cache
from yamabiko.adapters.litellm import litellm_cache
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Policy

pytestmark = pytest.mark.filterwarnings("default")
QUESTIONS = ["Where is the mountain echo heard?", "やまびこはどこで聞こえますか？"]


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def cache():
    policy = Policy(max_error_rate=None, min_similarity=0.9)
    with open_sync_cache("memory://", embedder=FakeEmbedder(), policy=policy) as cache:
        litellm.cache = litellm_cache(cache, tenant="acme")
        yield cache
        litellm.cache = None


def told(upstream, text, **more):
    return {
        "model": "openai/m",
        "messages": [{"role": "user", "content": text}],
        "api_base": upstream.url,
        "api_key": "k",
        "caching": True,
        **more,
    }


def until_stored(cache, count):
    end = time.monotonic() + 20
    while cache.stats().entries < count:
        assert time.monotonic() < end
        cache.drain()


def asked(upstream, text):
    return upstream.questions().count(text)


@pytest.mark.parametrize("question", QUESTIONS)
def test_completion_asks_once(upstream, cache, question):
    first = litellm.completion(**told(upstream, question))
    until_stored(cache, 1)
    again = litellm.completion(**told(upstream, question))
    assert type(again) is type(first)
    assert again.choices[0].message.content == first.choices[0].message.content
    assert again.id == first.id
    assert asked(upstream, question) == 1
    litellm.completion(**told(upstream, question, temperature=0.5))
    assert asked(upstream, question) == 2


def test_streams_and_code_that_awaits(upstream, cache):
    async def ask(**more):
        return await litellm.acompletion(**told(upstream, "Async?", **more))

    async def streamed():
        return "".join([chunk.choices[0].delta.content or "" async for chunk in await ask(stream=True)])

    first = asyncio.run(ask()).choices[0].message.content
    until_stored(cache, 1)
    assert asyncio.run(ask()).choices[0].message.content == first
    assert asked(upstream, "Async?") == 1
    assert asyncio.run(streamed())


def test_tenants_and_callers_never_share(upstream, cache):
    litellm.completion(**told(upstream, "Whose?"))
    until_stored(cache, 1)
    litellm.completion(**told(upstream, "Whose?", metadata={"user_api_key": "somebody"}))
    litellm.cache = litellm_cache(cache, tenant="other")
    litellm.completion(**told(upstream, "Whose?"))
    assert asked(upstream, "Whose?") == 3
