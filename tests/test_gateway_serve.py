"""``yamabiko serve``: from the first curl to the last signal."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest

from upstreams.processes import chat, ordered, running_gateway, running_upstream

KEY = {"authorization": "Bearer k"}


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('serve')}/cache.db"
    with running_gateway(url=url, upstream=upstream) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def impatient(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('slow')}/c.db"
    with running_gateway(url=url, upstream=upstream, gateway__body_timeout_seconds=0.3) as gateway:
        yield gateway


def status_of(response):
    return response.headers["cache-status"].partition(";")[2].split(";")[0].strip()


def refused(*arguments, **environ):
    command = [sys.executable, "-m", "yamabiko.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, check=False, timeout=60)


class TestDemo:
    def test_the_curl_that_it_prints_is_a_miss_and_then_a_hit(self, tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-m", "yamabiko.cli", "serve", "--demo", "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        try:
            told = ""
            while "}]}'" not in told:
                told += process.stderr.readline()
            command = told[told.index("curl") :].replace("\\\n", "")
            runs = [subprocess.run(command, shell=True, capture_output=True, text=True, check=True) for _ in range(2)]
        finally:
            process.terminate()
            process.communicate(timeout=30)
        assert "SIMULATED" in told
        statuses = [re.search(r"cache-status: (.*)", run.stdout)[1].strip() for run in runs]
        assert ["hit" in status for status in statuses] == [False, True]
        answers = [json.loads(run.stdout.splitlines()[-1])["choices"][0]["message"]["content"] for run in runs]
        assert answers[0] == answers[1]
        assert process.returncode == 0
        assert list(tmp_path.iterdir()) == []  # its answers were in memory


class TestClients:
    def test_the_openai_client_misses_and_then_hits(self, gateway, upstream):
        with openai.OpenAI(base_url=gateway.url, api_key="sk-mine") as client:
            ask = client.chat.completions.with_raw_response.create
            raw = [ask(model="m", messages=[{"role": "user", "content": "by the client"}]) for _ in range(2)]
        first, again = (response.parse() for response in raw)
        assert [status_of(response) for response in raw] == ["fwd=miss", "hit"]
        assert again.choices == first.choices
        assert (again.id, again.created, again.model) == (first.id, first.created, first.model)
        assert again.system_fingerprint == first.system_fingerprint == "fp_1"
        assert (first.usage.total_tokens, again.usage.total_tokens) == (18, 18)
        assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens
        assert upstream.questions().count("by the client") == 1

    def test_its_streams_are_replayed_chunk_by_chunk(self, gateway, upstream):
        with openai.OpenAI(base_url=gateway.url, api_key="sk-mine") as client:

            def ask():
                return list(
                    client.chat.completions.create(
                        model="m",
                        messages=[{"role": "user", "content": "a stream by the client"}],
                        stream=True,
                        stream_options={"include_usage": True},
                    )
                )

            first, again = ask(), ask()
        contents = [[chunk.choices[0].delta.content for chunk in run if chunk.choices] for run in (first, again)]
        assert contents[0] == contents[1]
        assert [chunk.id for chunk in again] == [first[0].id] * len(again)
        assert (first[-1].usage.total_tokens, again[-1].usage.total_tokens) == (18, 18)
        assert again[-2].choices[0].finish_reason == "stop"
        assert upstream.questions().count("a stream by the client") == 1

    def test_the_asynchronous_client_too(self, gateway, upstream):
        async def ask():
            messages = [{"role": "user", "content": "asynchronously"}]
            async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-mine") as client:
                stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
                streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
                whole = await client.chat.completions.create(model="m", messages=messages)
                return "".join(streamed), whole.choices[0].message.content

        streamed, whole = asyncio.run(ask())
        assert streamed == whole
        assert upstream.questions().count("asynchronously") == 1

    def test_it_raises_what_the_upstream_says(self, gateway):
        error = {"error": {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}}
        order = ordered({"status": 401, "body": json.dumps(error), "headers": {"content-type": "application/json"}})
        with (
            openai.OpenAI(base_url=gateway.url, api_key="sk-bad") as client,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "let me in"}], extra_headers=order
            )
        assert raised.value.code == "invalid_api_key"

    def test_it_raises_where_a_stream_breaks_off(self, gateway):
        with openai.OpenAI(base_url=gateway.url, api_key="sk-mine") as client:
            stream = client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "a stream that breaks off"}],
                stream=True,
                extra_headers=ordered({"cut_after": 2}),
            )
            with pytest.raises(openai.APIError, match="broke off"):
                list(stream)

    def test_its_list_of_models_passes_through(self, gateway):
        with openai.OpenAI(base_url=gateway.url, api_key="sk-mine") as client:
            assert [model.id for model in client.models.list()] == ["m"]


class TestWorkers:
    def test_several_share_one_store_and_one_call(self, upstream, tmp_path):
        async def ask_all(url):
            order = ordered({"gate": "workers"})
            async with httpx.AsyncClient(headers=KEY | order, timeout=30) as client:
                post = [client.post(f"{url}/chat/completions", json=chat("among workers")) for _ in range(40)]
                asked = asyncio.gather(*post)
                await asyncio.to_thread(upstream.wait_at, "workers")
                upstream.open("workers")
                return await asked

        with running_gateway("--workers", "2", url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway:
            responses = asyncio.run(ask_all(gateway.url))
            assert len({response.json()["choices"][0]["message"]["content"] for response in responses}) == 1
            assert upstream.questions().count("among workers") == 1
            assert gateway.stop() == 0

    def test_one_that_is_killed_is_replaced_and_loses_no_entry(self, upstream, tmp_path):
        with running_gateway("--workers", "2", url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway:
            gateway.ask("kept through a kill")
            assert status_of(gateway.ask("kept through a kill")) == "hit"
            os.kill(workers_of(gateway)[0], signal.SIGKILL)
            with httpx.Client(headers=KEY, transport=httpx.HTTPTransport(retries=3), timeout=30) as client:
                answers = [
                    client.post(f"{gateway.url}/chat/completions", json=chat("kept through a kill")) for _ in range(20)
                ]
            assert {status_of(answer) for answer in answers} == {"hit"}
            while len(workers_of(gateway)) < 2:
                pass  # its supervisor looks every half second

    def test_they_can_not_share_memory(self):
        told = refused("--url", "memory://", "serve", "--workers", "2")
        assert told.returncode == 2
        assert "sqlite:///FILE" in told.stderr


def workers_of(gateway):
    """The processes that serve: children that were started by spawning, not the tracker of resources."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    found = []
    for child in map(int, children):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


class TestTheEnd:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    def test_streams_are_drained_and_what_they_said_is_stored(self, upstream, tmp_path, number, code):
        url, gate = f"sqlite:///{tmp_path}/c.db", f"end{number}"
        with running_gateway(url=url, upstream=upstream) as gateway:
            order = ordered({"gate": gate, "pause_after": 2})
            body = chat(f"to the very end {number}", stream=True)
            with httpx.stream("POST", f"{gateway.url}/chat/completions", json=body, headers=KEY | order) as response:
                pieces = response.iter_text()
                text = next(pieces)
                upstream.wait_at(gate)
                gateway.process.send_signal(number)
                until_refused(gateway)
                upstream.open(gate)
                text += "".join(pieces)
            assert text.endswith("data: [DONE]\n\n")
            assert gateway.wait() == code
            assert "Traceback" not in "\n".join(gateway.lines)
        with running_gateway(url=url, upstream=upstream) as gateway:
            assert status_of(gateway.ask(f"to the very end {number}")) == "hit"

    def test_a_stream_that_does_not_end_is_given_up(self, upstream, tmp_path):
        url = f"sqlite:///{tmp_path}/c.db"
        with running_gateway(url=url, upstream=upstream, gateway__drain_seconds=1) as gateway:
            order = ordered({"gate": "endless", "pause_after": 2})
            with httpx.stream(
                "POST", f"{gateway.url}/chat/completions", json=chat("without end", stream=True), headers=KEY | order
            ):
                upstream.wait_at("endless")
                assert gateway.stop() == 0
            assert "Traceback" not in "\n".join(gateway.lines)
        upstream.open("endless")


def until_refused(gateway):
    """Returns once it takes no new connections."""
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", httpx.URL(gateway.root).port)):
                return


class TestNeverInTheWay:
    def test_without_its_store_it_is_a_plain_proxy(self, upstream):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with running_gateway(url=f"valkey://127.0.0.1:{port}", upstream=upstream) as gateway:
            for stream in (False, True):
                response = gateway.ask("without a store", stream=stream)
                assert response.status_code == 200
                assert "store_unavailable" in response.headers["cache-status"]
            assert httpx.get(f"{gateway.root}/readyz").json()["cache"] == "unavailable"
            assert httpx.get(f"{gateway.root}/healthz").status_code == 200
        assert upstream.questions().count("without a store") == 2


class TestSlowAndEndless:
    """What a client may do before its request can be looked at."""

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"", b"408"),
            (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ", b"408"),
            (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{", b"408"),
            (b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{", b"408"),
            (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 300_000, b"431"),
        ],
        ids=["nothing", "headers", "body", "passed body", "endless headers"],
    )
    def test_a_client_that_takes_too_long_is_let_go(self, impatient, sent, status):
        with socket.create_connection(("127.0.0.1", httpx.URL(impatient.root).port)) as connection:
            connection.settimeout(10)
            answer = b""
            with contextlib.suppress(ConnectionError):  # it may have hung up before it had read everything
                connection.sendall(sent)
                while data := connection.recv(65536):
                    answer += data
        assert answer.startswith(b"HTTP/1.1 " + status) or (status == b"431" and answer == b"")

    def test_a_connection_is_kept_between_requests(self, impatient):
        with httpx.Client() as client:
            for _ in range(3):
                assert client.get(f"{impatient.root}/healthz").status_code == 200


class TestUsage:
    def test_an_upstream_needs_a_name_and_an_address(self):
        for wrong in ("openai", "openai=", "openai=ftp://x", "openai=https://user@host", "v1=https://x"):
            told = refused("serve", "--upstream", wrong)
            assert told.returncode == 2, wrong
            assert "openai=https://api.openai.com/v1" in told.stderr or "gateway.upstreams" in told.stderr

    def test_a_cache_of_another_embedder_ends_it_with_one_line(self, upstream, tmp_path):
        url = f"sqlite:///{tmp_path}/c.db"
        with running_gateway(url=url, upstream=upstream, embedder__kind="none"):
            pass
        told = refused("--url", url, "serve", "--port", "0", YAMABIKO_EMBEDDER__KIND="local")
        assert told.returncode == 3
        assert "Traceback" not in told.stderr
        assert told.stderr.strip()
