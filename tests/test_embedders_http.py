import asyncio
import socket
import threading

import numpy as np
import pytest

from loopback import Answer, serving
from yamabiko.embedders.http import HttpEmbedder
from yamabiko.errors import ConfigurationError, EmbeddingError

SECRET = "sk-very-secret"
TEXT = "a question that nobody else may read"


def vector_of(text):
    return [float(len(text)), float(ord(text[0])), 1.0]


def good(seen, _number=0):
    rows = [{"index": at, "embedding": vector_of(text)} for at, text in enumerate(seen.body["input"])]
    return Answer(body={"data": rows[::-1], "model": seen.body["model"]})  # in the wrong order, as some servers do


def run(url, texts, **options):
    async def go():
        async with HttpEmbedder(url, "embed-1", **{"dim": 3, "api_key": SECRET, **options}) as embedder:
            return await embedder.embed(texts)

    return asyncio.run(go())


class Pauses:
    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)


def test_vectors_are_normalised_and_in_the_order_of_the_texts():
    texts = ["abc", "b", "はい", "dddd"]
    with serving(good) as (url, requests):
        vectors = run(url, texts)
    for text, vector in zip(texts, vectors, strict=True):
        expected = np.array(vector_of(text))
        assert vector.dtype == np.float32
        assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert requests[0].path == "/v1/embeddings"
    assert requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert requests[0].body == {"model": "embed-1", "input": texts}


def test_texts_go_in_batches_and_long_ones_stay_here():
    texts = ["x" * n for n in range(1, 8)]
    with serving(good) as (url, requests):
        vectors = run(url, texts, batch_texts=2, window_characters=5)
    assert [vector is None for vector in vectors] == [False] * 5 + [True] * 2
    assert [len(request.body["input"]) for request in requests] == [2, 2, 1]


def test_the_endpoint_itself_may_be_given_and_dimensions_asked_for():
    with serving(good) as (url, requests):
        run(url + "/embeddings/", ["a"], ask_for_dim=True, api_key=None)
    assert requests[0].path == "/v1/embeddings"
    assert requests[0].body["dimensions"] == 3
    assert "authorization" not in requests[0].headers


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_trouble_is_tried_again(status):
    pauses = Pauses()
    with serving(lambda seen, n: Answer(status=status) if n < 3 else good(seen)) as (url, requests):
        assert len(run(url, [TEXT], sleep=pauses, jitter=lambda: 0.0)) == 1
    assert len(requests) == 3
    assert pauses.seconds == [0.125, 0.25]


def test_pauses_are_jittered_and_heed_retry_after():
    pauses = Pauses()
    answers = [Answer(status=429, headers={"Retry-After": "2"}), *[Answer(status=503)] * 3]
    with serving(lambda _, n: answers[n - 1]) as (url, _), pytest.raises(EmbeddingError, match="503"):
        run(url, [TEXT], sleep=pauses, jitter=lambda: 0.5, attempts=4, timeout_seconds=30)
    assert pauses.seconds == [2.0, 0.375, 0.75]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for():
    pauses = Pauses()
    answer = Answer(status=429, headers={"Retry-After": "60"})
    with serving(lambda *_: answer) as (url, requests), pytest.raises(EmbeddingError, match="429"):
        run(url, [TEXT], sleep=pauses, timeout_seconds=5)
    assert len(requests) == 1
    assert pauses.seconds == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_lasting_trouble_is_not_tried_again_and_tells_no_secret(status):
    def refuse(seen, _):
        return Answer(status=status, body={"error": seen.body["input"]})

    with serving(refuse) as (url, requests), pytest.raises(EmbeddingError) as caught:
        run(url, [TEXT])
    assert len(requests) == 1
    assert str(status) in str(caught.value)
    assert TEXT not in repr(caught.value)
    assert SECRET not in repr(caught.value)


def test_a_server_that_is_not_there_is_tried_and_named():
    with socket.socket() as taken:  # bound but not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        pauses = Pauses()
        with pytest.raises(EmbeddingError, match=r"127\.0\.0\.1.*ConnectError"):
            run(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", [TEXT], sleep=pauses)
    assert len(pauses.seconds) == 2


def test_a_silent_server_costs_no_more_than_the_deadline():
    release = threading.Event()
    with serving(lambda *_: Answer(wait_for=release)) as (url, _):
        try:
            with pytest.raises(EmbeddingError):
                run(url, [TEXT], timeout_seconds=0.2, attempts=1)
        finally:
            release.set()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}, "set dim=2"),
        ({"data": [{"index": 0, "embedding": [[1.0, 2.0, 3.0]]}]}, "components"),
        ({"data": [{"index": 1, "embedding": [1.0, 2.0, 3.0]}]}, "1 embeddings for 1 texts"),
        ({"data": []}, "0 embeddings for 1 texts"),
        ({"data": [{"index": 0, "embedding": [1, 2, 3]}] * 2}, "2 embeddings for 1 texts"),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0, 0.0]}]}, "direction"),
        ({"data": [{"index": 0, "embedding": "AAAA"}]}, "numbers"),
        ({"data": ["x"]}, "OpenAI-compatible"),
        ({"data": None}, "OpenAI-compatible"),
        ([1], "OpenAI-compatible"),
        (b"<html>", "OpenAI-compatible"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(body, says):
    with serving(lambda *_: Answer(body=body)) as (url, _), pytest.raises(EmbeddingError, match=says):
        run(url, [TEXT])


def test_one_embedder_serves_one_loop_after_another():
    with serving(good) as (url, requests):
        embedder = HttpEmbedder(url, "embed-1", dim=3)

        async def once(close):
            vectors = await embedder.embed(["a"])
            if close:
                await embedder.close()
                await embedder.close()
            return vectors

        for close in (False, True):
            assert len(asyncio.run(once(close))) == 1
        with pytest.raises(EmbeddingError, match="closed"):
            asyncio.run(once(False))
    assert len(requests) == 2


def test_an_empty_text_is_refused_before_anything_is_sent():
    with serving(good) as (url, requests), pytest.raises(EmbeddingError, match="empty"):
        run(url, ["a", " "])
    assert requests == []


def test_the_id_tells_hosts_models_and_dimensions_apart():
    ids = {
        HttpEmbedder(url, model, dim=dim, api_key=SECRET).id
        for url in ("https://api.openai.com/v1", "http://localhost:8080", "http://user:pw@localhost:8081")
        for model in ("a", "b")
        for dim in (3, 4)
    }
    assert len(ids) == 12
    assert not any(SECRET in name or "pw" in name for name in ids)
    assert HttpEmbedder("http://localhost", "a", dim=3).model_for("はい") == "a"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "localhost:80"},
        {"url": "ftp://x/y"},
        {"model": ""},
        {"dim": 0},
        {"attempts": 0},
        {"timeout_seconds": 0.0},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ConfigurationError):
        HttpEmbedder(**{"url": "http://localhost", "model": "a", "dim": 3, **options})
