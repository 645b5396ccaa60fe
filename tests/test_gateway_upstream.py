"""An upstream that misbehaves, in every API, streamed and not: what the client gets, and that nothing of it is stored."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from upstreams.processes import chat, ordered, running_gateway, running_upstream
from upstreams.reading import text_of
from upstreams.vendors import VENDORS

KEY = {"authorization": "Bearer k"}
LARGEST = 100_000
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
CHAT |= {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "An echo."}}]}
APIS = {
    "chat": ("chat/completions", CHAT),
    "messages": ("messages", VENDORS["/messages"](1, {"model": "m"}, "An echo.").document()),
    "responses": ("responses", VENDORS["/responses"](1, {"model": "m"}, "An echo.").document()),
}
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"An "}}]}\n\n'


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('gateway')}/cache.db"
    with running_gateway(url=url, upstream=upstream, gateway__max_reply_bytes=LARGEST) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def impatient(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('impatient')}/cache.db"
    with running_gateway(url=url, upstream=upstream, gateway__read_timeout_seconds=0.6) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=20) as client:
        yield client


class Asking:
    """Asks one question of its own in one API; ``whole`` is a document of that API."""

    def __init__(self, gateway, upstream, api, stream, name, client):  # noqa: PLR0917 - a table of them
        path, self.whole = APIS[api]
        self.url = f"{gateway.url}/{path}"
        self.question = f"{name}, {api}, {'streamed' if stream else 'plain'}?"
        self.body = chat(self.question, stream=stream, max_tokens=99)
        if api == "responses":
            self.body = {"model": "m", "input": self.question, "stream": stream}
        self.stream = stream
        self._upstream = upstream
        self._client = client

    def __call__(self, order=None):
        return self._client.post(self.url, json=self.body, headers=KEY | ordered(order))

    def calls(self):
        """How often the upstream was asked for this."""
        return self._client.get(f"{self._upstream.root}/control/count", params={"text": self.question}).json()

    def assert_nothing_is_stored(self):
        """The next answer is the upstream's, and good; the one after that is stored."""
        miss, hit = self(), self()
        assert "fwd=miss" in miss.headers["cache-status"]
        assert (miss.status_code, hit.status_code) == (200, 200)
        assert "; hit" in hit.headers["cache-status"]
        assert text_of(miss) == text_of(hit)
        assert text_of(miss).endswith(self.question)


@pytest.fixture(params=[f"{api}-{how}" for api in APIS for how in ("plain", "streamed")])
def asking(request, gateway, upstream, client):
    api, how = request.param.split("-")
    return Asking(gateway, upstream, api, how == "streamed", request.node.name, client)


def http(body, status="200 OK", version="1.1", **headers):
    """A response as it goes over the wire; its length stands in there unless it is given as empty."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("content-length", len(body))
    lines = [f"HTTP/{version} {status}", *(f"{name}: {value}" for name, value in named.items() if value != "")]
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode("latin-1")


class TestErrors:
    @pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 529])
    def test_they_pass_byte_for_byte_after_one_call_and_are_not_stored(self, asking, status):
        body = '{"error":  {"message": "not now: é", "type": "any"}}\n'.encode().decode("latin-1")
        headers = {
            "retry-after": "7",
            "x-request-id": "req_9",
            "content-type": "application/json",
            "x-should-retry": "true",
        }
        response = asking({"status": status, "headers": headers, "body": body})
        assert response.status_code == status
        assert response.content == body.encode()
        assert {name: response.headers[name] for name in headers} == headers
        assert asking.calls() == 1
        asking.assert_nothing_is_stored()

    def test_an_error_without_a_type_or_a_length_passes(self, asking):
        response = asking({"raw": http(b"busy \xff\x00", "503 Busy", content_length="")})
        assert (response.status_code, response.content) == (503, b"busy \xff\x00")
        asking.assert_nothing_is_stored()


GARBAGE = {
    "a page": (b"<html>We'll be right back</html>", {"content-type": "text/html"}),
    "nothing": (b"", {}),
    "half a document": (b'{"id":"c","choices":[{"index":0,"mess', {}),
    "another document": (b'{"ok":true}', {}),
    "a list": (b"[1,2]", {}),
    "a number": (b"7", {}),
    "an error": (b'{"error":{"message":"overloaded","code":503}}', {}),
    "other letters": (b'{"choices":"\xff\xfe"}', {}),
    "a deep document": (b"[" * 50_000, {}),
    "a deep object": (b'{"choices":' * 5_000, {}),
    "a surrogate": (b'{"choices":[{"message":{"content":"\\ud800"}}]}', {}),
    "events as a document": (EVENT, {}),
    "a document as events": (b'{"choices":[]}', {"content-type": "text/event-stream"}),
    "half a stream": (EVENT + EVENT[:20], {"content-type": "text/event-stream"}),
    "a stream of nothing": (b"\n\n\ndata\n\ndata:\n\n:\n\n", {"content-type": "text/event-stream"}),
    "a stream of letters": (b"\xff\xfe\x00data: {}\n\n", {"content-type": "text/event-stream"}),
    "an event in pieces": (b"data: {\ndata: }\n\n", {"content-type": "text/event-stream"}),
}


class TestGarbage:
    @pytest.mark.parametrize("name", GARBAGE)
    def test_what_can_not_be_read_passes_as_it_came_and_is_not_stored(self, asking, name):
        body, headers = GARBAGE[name]
        response = asking({"raw": http(body, **{"content-type": "application/json", **headers})})
        assert (response.status_code, response.content) == (200, body)
        assert asking.calls() == 1
        asking.assert_nothing_is_stored()

    def test_an_answer_that_comes_compressed_unasked_reaches_the_client_and_is_not_stored(self, asking):
        response = asking({"gzip": True, "plain": True})
        assert response.headers["content-encoding"] == "gzip"
        assert text_of(response).endswith(asking.question)
        asking.assert_nothing_is_stored()

    def test_no_content_passes(self, asking):
        response = asking({"raw": "HTTP/1.1 204 No Content\r\n\r\n"})
        assert (response.status_code, response.content) == (204, b"")
        asking.assert_nothing_is_stored()

    def test_an_event_in_a_stream_that_is_no_json(self, asking):
        response = asking({"malformed": 2})
        assert response.status_code == 200
        assert ("{this is no JSON" in response.text) == asking.stream
        assert asking.calls() == 1
        if asking.stream:
            asking.assert_nothing_is_stored()

    def test_a_stream_that_ends_before_its_terminal_event(self, asking):
        assert asking({"no_done": True}).status_code == 200
        if asking.stream:
            asking.assert_nothing_is_stored()


HEAD = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + "transfer-encoding: chunked\r\n\r\n"
BROKEN = {
    "shorter than it says": HEAD + "content-length: 999\r\n\r\n{}",
    "longer than it is": CHUNKED + "5\r\n{\r\n",
    "no chunk": CHUNKED + "zz\r\n{}\r\n0\r\n\r\n",
    "a chunk of a minus": CHUNKED + "-2\r\n{}\r\n0\r\n\r\n",
    "no last chunk": CHUNKED + "2\r\n{}\r\n",
}
NO_ANSWER = {
    "nothing": "",
    "half a status": "HTTP/1.1 2",
    "half a header": HEAD + "content-le",
}
NO_HTTP = {
    "another protocol": "220 mail.example.com ESMTP\r\n",
    "a bad header": "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "two lengths": HEAD + "content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
}


class TestBrokenConnections:
    @pytest.mark.parametrize("reset", [False, True])
    @pytest.mark.parametrize("name", BROKEN)
    def test_after_the_first_byte_there_is_no_other_call(self, asking, name, reset):
        response = asking({"raw": BROKEN[name], "reset": reset})
        assert (response.status_code, error_of(response)) == (502, "upstream_broken")
        assert asking.calls() in ((1, 2) if reset else (1,))  # what was sent before a reset may not have come
        asking.assert_nothing_is_stored()

    @pytest.mark.parametrize("name", NO_ANSWER)
    def test_before_it_there_is_one_more(self, asking, name):
        response = asking({"raw": NO_ANSWER[name]})
        assert (response.status_code, error_of(response)) == (502, "upstream_broken")
        assert asking.calls() == 2
        asking.assert_nothing_is_stored()

    @pytest.mark.parametrize("name", NO_HTTP)
    def test_what_cannot_be_read_has_come_all_the_same(self, asking, name):
        response = asking({"raw": NO_HTTP[name]})
        assert (response.status_code, error_of(response)) == (502, "upstream_broken")
        assert asking.calls() == 1
        asking.assert_nothing_is_stored()

    def test_an_endless_header(self, asking):
        response = asking({"raw": "HTTP/1.1 200 OK\r\nx-long: ", "pad": 1_000_000})
        assert (response.status_code, error_of(response)) == (502, "upstream_broken")
        asking.assert_nothing_is_stored()

    @pytest.mark.parametrize("reset", [False, True])
    def test_a_stream_that_breaks_says_so_in_its_midst(self, asking, reset):
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5000\r\n\r\n"
        response = asking({"raw": head + EVENT.decode(), "reset": reset})
        if response.status_code == 200:
            assert response.content.startswith(EVENT) or reset
            assert error_of(response) == "upstream_broken"
        else:  # the reset overtook what had been sent
            assert (reset, error_of(response)) == (True, "upstream_broken")
        asking.assert_nothing_is_stored()

    def test_a_stream_that_is_cut(self, asking):
        response = asking({"cut_after": 2})
        assert response.status_code == 200
        if asking.stream:
            assert error_of(response) == "upstream_broken"
            assert asking.calls() == 1
            asking.assert_nothing_is_stored()

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_an_answer_that_ends_with_its_connection_is_whole_where_its_document_is(self, asking, version):
        body = json.dumps(asking.whole).encode()
        raw = http(body, version=version, content_type="application/json", content_length="")
        first = asking({"raw": raw})
        assert (first.status_code, first.content) == (200, body)
        again = asking()
        assert "; hit" in again.headers["cache-status"]
        assert text_of(again) == "An echo."

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_and_not_where_it_is_not(self, asking, version):
        body = json.dumps(asking.whole).encode()[:-9]
        first = asking({"raw": http(body, version=version, content_type="application/json", content_length="")})
        assert (first.status_code, first.content) == (200, body)
        asking.assert_nothing_is_stored()


class TestSize:
    def test_an_answer_that_is_too_long_is_refused_and_not_stored(self, asking):
        response = asking({"raw": HEAD + "\r\n", "pad": LARGEST + 1})
        assert (response.status_code, error_of(response)) == (502, "reply_too_long")
        asking.assert_nothing_is_stored()

    def test_so_is_an_error(self, asking):
        response = asking({"raw": HEAD.replace("200 OK", "500 Oh") + "\r\n", "pad": LARGEST + 1})
        assert (response.status_code, error_of(response)) == (502, "reply_too_long")
        asking.assert_nothing_is_stored()

    def test_a_stream_that_does_not_end_is_broken_off(self, asking):
        response = asking({"answer": "word ", "times": LARGEST // 5})
        status, error = (200, "upstream_broken") if asking.stream else (502, "reply_too_long")
        assert (response.status_code, error_of(response)) == (status, error)
        asking.assert_nothing_is_stored()

    def test_an_answer_of_its_size_passes(self, asking):
        answer = "word " * (LARGEST // 5_000)
        response = asking({"answer": answer})
        assert text_of(response).strip() == answer.strip()


SAID = {
    "broke the connection": "upstream_broken",
    "broke off": "upstream_broken",
    "longer than is allowed": "reply_too_long",
    "did not answer in time": "upstream_timeout",
}


def error_of(response):
    """The code of an error of the gateway's own, by its sentence, which is the same in every API."""
    return next((code for words, code in SAID.items() if words in response.text), response.text)


class TestSlowness:
    @pytest.mark.parametrize("api", APIS)
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_slow_first_byte_holds_nobody_else_up_and_is_a_timeout(self, impatient, upstream, client, api, stream):
        gate = f"slow-{api}-{stream}"
        slow = Asking(impatient, upstream, api, stream, "slow first byte", client)
        other = Asking(impatient, upstream, api, stream, "meanwhile", client)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(slow, {"gate": gate})
            upstream.wait_at(gate)
            assert other().status_code == 200
            response = waiting.result()
        assert (response.status_code, error_of(response)) == (504, "upstream_timeout")
        assert slow.calls() == 1
        slow.assert_nothing_is_stored()

    @pytest.mark.parametrize("api", APIS)
    def test_slow_pieces_take_as_long_as_they_take(self, impatient, upstream, client, api):
        slow = Asking(impatient, upstream, api, True, "slow pieces of an answer", client)
        miss = slow({"seconds": 0.1})
        assert miss.elapsed.total_seconds() > 0.6  # in all; none by itself
        hit = slow()
        assert "; hit" in hit.headers["cache-status"]
        assert text_of(hit) == text_of(miss)
