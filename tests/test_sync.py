"""SyncCache beyond the shared cases: threads, forks, running loops, ordinary functions."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from yamabiko import Reply, open_sync_cache
from yamabiko.embedders.local import LocalEmbedder
from yamabiko.errors import ConfigurationError
from yamabiko.testing import FakeEmbedder
from yamabiko.types import Selector

Q = "How do I reset my password?"


def fake_cache(url="memory://", **options):
    return open_sync_cache(url, embedder=FakeEmbedder(), **options)


def test_generate_may_be_an_ordinary_function_and_runs_outside_the_loop():
    threads = []

    def model(request):
        threads.append(threading.current_thread().name)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return Reply(text=request.messages[-1].text.upper())

    with fake_cache() as cache:
        assert cache.answer(Q, model).text == Q.upper()
        assert cache.answer(Q, model).text == Q.upper()
    assert len(threads) == 1


def test_context_variables_reach_the_model():
    tenant = contextvars.ContextVar("tenant")
    tenant.set("acme")
    with fake_cache() as cache:
        assert cache.answer(Q, lambda _: tenant.get()).text == "acme"


def test_a_stream_may_be_an_ordinary_generator():
    def model(_):
        yield "one "
        yield "two"

    with fake_cache() as cache:
        stream = cache.stream(Q, model)
        assert list(stream) == ["one ", "two"]
        assert stream.reply.text == "one two"
        with cache.stream(Q, model) as again:
            assert next(again) == "one "
        assert again.outcome.tier == "exact"


def test_what_an_ordinary_function_raises_passes_through():
    error = LookupError("mine")

    def model(_):
        raise error

    with fake_cache() as cache, pytest.raises(LookupError) as raised:
        cache.answer(Q, model)
    assert raised.value is error


def test_many_threads_make_one_call():
    calls = []
    all_in = threading.Barrier(16)
    release = threading.Event()

    def model(_):
        calls.append(1)
        release.wait(10)
        return "once"

    def ask(cache):
        all_in.wait(10)
        return cache.answer(Q, model).text

    with fake_cache() as cache, ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(ask, cache) for _ in range(16)]
        release.set()
        assert {answer.result(10) for answer in answers} == {"once"}
    assert len(calls) == 1


def test_inside_a_running_loop_it_refuses_and_says_what_to_use():
    async def case():
        with pytest.raises(ConfigurationError, match="open_cache"):
            fake_cache().lookup(Q)

    asyncio.run(case())


def test_a_closed_cache_says_so_and_closing_twice_is_fine():
    cache = fake_cache()
    cache.close()
    cache.close()
    with pytest.raises(ConfigurationError, match="closed"):
        cache.lookup(Q)


def test_an_error_at_opening_reaches_the_caller_each_time():
    cache = open_sync_cache("nonsense://x")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="sqlite://"):
            cache.lookup(Q)


def test_entries_are_iterated_without_await(tmp_path):
    with fake_cache() as cache:
        for text in ("one", "two", "three"):
            cache.answer(text, lambda request: request.messages[-1].text)
        cache.drain()
        assert [entry.reply.text for entry in cache.entries(Selector())] == ["one", "two", "three"]


def test_a_forked_child_opens_the_store_anew(tmp_path):
    cache = fake_cache(f"sqlite:///{tmp_path}/cache.db")
    cache.answer(Q, lambda _: "from the parent")
    cache.drain()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # the child must leave by _exit: pytest is not its own
        try:
            seen = cache.lookup(Q).reply.text
            cache.answer("asked in the child", lambda _: "from the child")
            cache.close()
            os.write(writing, seen.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"from the parent"
    assert cache.lookup("asked in the child").reply.text == "from the child"
    cache.close()


@pytest.mark.parametrize("embedder", ["FakeEmbedder()", "LocalEmbedder()"])
def test_a_program_that_ends_without_closing_keeps_its_answer(tmp_path, embedder):
    program = textwrap.dedent(
        f"""
        import sys
        from yamabiko import open_sync_cache
        from yamabiko.embedders.local import LocalEmbedder
        from yamabiko.testing import FakeEmbedder
        cache = open_sync_cache(sys.argv[1], embedder={embedder})
        print(cache.answer("q", lambda _: "kept").text)
        """
    )
    url = f"sqlite:///{tmp_path}/cache.db"
    run = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("kept\n", "", 0)
    kept = FakeEmbedder() if embedder == "FakeEmbedder()" else LocalEmbedder()
    with open_sync_cache(url, embedder=kept) as cache:
        assert cache.lookup("q").reply.text == "kept"


def test_a_cache_that_is_dropped_leaves_no_thread():
    before = set(threading.enumerate())
    cache = fake_cache()
    cache.lookup(Q)
    made = set(threading.enumerate()) - before
    assert made
    del cache
    assert not made & set(threading.enumerate())
