"""What passes through the gateway, in both directions, and what it does where an upstream fails it."""

import json
import socket
from contextlib import closing

import httpx
import pytest

from upstreams.processes import chat, ordered, running_gateway, running_upstream
from yamabiko.gateway.headers import to_client, to_upstream
from yamabiko.gateway.proxy import Upstream
from yamabiko.gateway.routes import Routes
from yamabiko.wire.dialects.chat import Chat

KEY = {"authorization": "Bearer k"}


@pytest.fixture(scope="module")
def upstream():
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('proxy')}/cache.db"
    limits = {"gateway__max_body_bytes": 4096, "gateway__read_timeout_seconds": 0.5, "policy__stale_seconds": 60}
    with running_gateway("--upstream", f"mine={upstream.root}/mine", url=url, upstream=upstream, **limits) as gateway:
        yield gateway


class TestPassingThrough:
    def test_what_is_not_read_passes_byte_for_byte(self, gateway):
        body = bytes(range(256)) * 100
        echo = httpx.put(f"{gateway.url}/files/a%2Fb/echo?x=%20y&x=2", content=body, headers=KEY | {"x-mine": "1"})
        seen = echo.json()
        assert (seen["method"], seen["path"]) == ("PUT", "/v1/files/a%2Fb/echo?x=%20y&x=2")
        assert seen["body"].encode("latin-1") == body
        assert (seen["headers"]["x-mine"], seen["headers"]["authorization"]) == ("1", "Bearer k")

    def test_a_body_of_unknown_length_is_passed_on_in_pieces(self, gateway):
        def pieces():
            yield b"one"
            yield b"two"

        assert httpx.post(f"{gateway.url}/echo", content=pieces()).json()["body"] == "onetwo"

    def test_other_endpoints_are_reached_with_any_method(self, gateway):
        assert httpx.get(f"{gateway.url}/models").json()["data"][0]["id"] == "m"
        assert httpx.delete(f"{gateway.url}/echo").json()["method"] == "DELETE"
        assert httpx.get(f"{gateway.url}/nowhere").status_code == 404

    def test_nothing_of_the_clients_connection_reaches_the_upstream(self, gateway, upstream):
        headers = {"connection": "keep-alive, x-private", "x-private": "p", "te": "trailers", "upgrade": "h2c"}
        seen = httpx.post(f"{gateway.url}/echo", content=b"x", headers=headers | {"x-yamabiko-tier": "exact"}).json()
        names = {name for name, _ in seen["pairs"]}
        assert not names & {"x-private", "te", "upgrade", "x-yamabiko-tier", "proxy-authorization"}
        assert seen["headers"]["host"] == upstream.root.removeprefix("http://")

    def test_an_upstreams_cookie_is_no_other_clients(self, gateway):
        order = {"status": 200, "headers": {"set-cookie": "session=secret; path=/"}}
        assert "set-cookie" in httpx.post(f"{gateway.url}/echo", headers=ordered(order)).headers
        assert "cookie" not in httpx.post(f"{gateway.url}/echo", content=b"").json()["headers"]

    def test_a_redirect_is_the_clients_to_follow(self, gateway):
        order = {"status": 307, "headers": {"location": "http://elsewhere.invalid/"}}
        response = httpx.get(f"{gateway.url}/echo", headers=ordered(order))
        assert (response.status_code, response.headers["location"]) == (307, "http://elsewhere.invalid/")

    def test_an_answer_stays_compressed_where_it_is_not_read(self, gateway):
        order = {"status": 200, "headers": {"content-encoding": "gzip"}, "body": "not gzip at all"}
        with httpx.stream("GET", f"{gateway.url}/echo", headers=ordered(order)) as response:
            assert b"".join(response.iter_raw()) == b"not gzip at all"
            assert response.headers["content-encoding"] == "gzip"

    def test_a_request_that_is_read_asks_for_an_answer_that_can_be(self, gateway, upstream):
        gateway.ask("readable", headers={"accept-encoding": "gzip"})
        assert upstream.calls()[-1]["headers"]["accept-encoding"] == "identity"

    def test_a_named_upstream_has_its_own_path_and_shares_no_answers(self, gateway, upstream):
        asked = chat("whom do I ask")
        for name in ("openai", "openai", "mine", "mine"):
            url = f"{gateway.root}/{name}/v1/chat/completions"
            last = httpx.post(url, json=asked, headers=KEY)
        paths = [call["path"] for call in upstream.calls() if "whom do I ask" in call["body"]]
        assert paths == ["/v1/chat/completions", "/mine/chat/completions"]
        assert "hit" in last.headers["cache-status"]

    @pytest.mark.parametrize(
        "path", ["/v2/chat", "/nobody/v1/chat/completions", "/", "/v1/../control/calls", "/v1/%2e%2e/x"]
    )
    def test_other_paths_lead_nowhere(self, gateway, upstream, path):
        before = len(upstream.calls())
        with closing(socket.create_connection(("127.0.0.1", httpx.URL(gateway.root).port))) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert len(upstream.calls()) == before


class TestFailures:
    def test_a_call_that_broke_before_its_first_byte_is_made_again(self, gateway, upstream):
        assert gateway.ask("once more", order={"gate": "drop1", "drop": 1}).status_code == 200
        assert upstream.questions().count("once more") == 2

    def test_but_not_for_ever(self, gateway, upstream):
        failed = gateway.ask("never", order={"gate": "drop9", "drop": 9})
        assert failed.status_code == 502
        assert failed.json()["error"]["code"] == "upstream_broken"
        assert upstream.questions().count("never") == 2

    def test_a_call_that_was_answered_is_not_made_again(self, gateway, upstream):
        gateway.ask("answered badly", order={"status": 503})
        gateway.ask("cut", stream=True, order={"cut_after": 0})
        assert (upstream.questions().count("answered badly"), upstream.questions().count("cut")) == (1, 1)

    def test_a_silent_upstream_is_a_timeout(self, gateway):
        failed = gateway.ask("silence", order={"gate": "never opened"})
        assert failed.status_code == 504
        assert failed.json()["error"] == {
            "message": "the upstream openai did not answer in time",
            "type": "server_error",
            "param": None,
            "code": "upstream_timeout",
        }

    def test_a_stream_that_falls_silent_ends_with_an_error(self, gateway):
        failed = gateway.ask("and then, nothing more", stream=True, order={"gate": "never opened", "pause_after": 2})
        assert '"code":"upstream_timeout"' in failed.text
        assert "[DONE]" not in failed.text

    def test_an_upstream_that_is_not_there(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        arguments = ("--upstream", f"openai=http://127.0.0.1:{port}")
        with running_gateway(*arguments, url=f"sqlite:///{tmp_path}/c.db") as gateway:
            for response in (gateway.ask("anybody"), httpx.get(f"{gateway.url}/models")):
                assert response.status_code == 502
                assert response.json()["error"]["code"] == "upstream_unreachable"

    def test_a_pass_through_that_breaks_off_breaks_off(self, gateway):
        order = ordered({"cut_after": 1})
        body = chat("not read, since it is compressed", stream=True)
        headers = KEY | order | {"content-encoding": "identity"}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{gateway.url}/chat/completions", json=body, headers=headers)


class TestLimits:
    @pytest.mark.parametrize("in_pieces", [False, True])
    def test_a_body_that_is_too_long_is_refused(self, gateway, upstream, in_pieces):
        before = len(upstream.calls())
        body = json.dumps(chat("x" * 5000)).encode()
        content = iter([body[:3000], body[3000:]]) if in_pieces else body
        refused = httpx.post(f"{gateway.url}/chat/completions", content=content, headers=KEY)
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "request_too_large"
        assert len(upstream.calls()) == before

    def test_more_than_may_be_in_flight_are_told_to_wait(self, upstream, tmp_path):
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, gateway__max_in_flight=1) as gateway:
            with closing(socket.create_connection(("127.0.0.1", httpx.URL(gateway.root).port))) as first:
                body = json.dumps(chat("the only one")).encode()
                order = json.dumps({"gate": "only"})
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-order: {order}\r\ncontent-length: {len(body)}\r\n\r\n"
                first.sendall(head.encode() + body)
                upstream.wait_at("only")
                refused = gateway.ask("one too many")
                upstream.open("only")
                assert first.recv(100).startswith(b"HTTP/1.1 200 ")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["error"]["code"] == "overloaded"

    def test_a_deeply_nested_body_is_the_upstreams_to_judge(self, tmp_path, upstream):
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway:
            deep = b'{"model": "m", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
            headers = KEY | ordered({"status": 400, "body": "too deep"})
            response = httpx.post(f"{gateway.url}/chat/completions", content=deep, headers=headers)
            assert (response.status_code, response.text) == (400, "too deep")

    def test_a_temperature_above_the_bound_bypasses_the_cache(self, tmp_path, upstream):
        with running_gateway(
            url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, gateway__max_temperature=0.5
        ) as gateway:
            told = [gateway.ask("warm", temperature=heat).headers["cache-status"] for heat in (0.9, 0.9, 0.2, 0.2)]
        assert [status.split(";")[1].strip() for status in told] == ["fwd=bypass", "fwd=bypass", "fwd=miss", "hit"]


class TestKeys:
    def test_the_gateways_own_key_takes_the_place_of_the_clients(self, tmp_path, upstream):
        keys = {"gateway__upstream_keys": "openai=server-secret"}
        with running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream, **keys) as gateway:
            gateway.ask("who pays", headers={"x-api-key": "mine"})
            seen = upstream.calls()[-1]["headers"]
        assert seen["authorization"] == "Bearer server-secret"
        assert "x-api-key" not in seen


class TestHeaders:
    def test_to_an_upstream(self):
        given = [(b"host", b"x"), (b"connection", b"X-A"), (b"x-a", b"1"), (b"x-b", b"2"), (b"accept-encoding", b"br")]
        assert to_upstream(given, read=False, own_key=False) == [(b"x-b", b"2"), (b"accept-encoding", b"br")]
        assert to_upstream(given, read=True, own_key=False) == [(b"x-b", b"2"), (b"accept-encoding", b"identity")]
        assert to_upstream([(b"authorization", b"a"), (b"api-key", b"b")], read=False, own_key=True) == []

    def test_to_a_client_nobody_else_speaks_for_the_gateway(self):
        given = [(b"X-Yamabiko-Tier", b"exact"), (b"Transfer-Encoding", b"chunked"), (b"X-Request-Id", b"1")]
        assert to_client(given) == [(b"x-request-id", b"1")]

    def test_connection_can_not_take_the_length_away(self):
        given = [(b"connection", b"content-length, x-a"), (b"content-length", b"3"), (b"x-a", b"1")]
        assert to_upstream(given, read=False, own_key=False) == [(b"content-length", b"3")]


class TestRoutes:
    routes = Routes(
        [Upstream.parse("openai", "https://a.example/v1"), Upstream.parse("anthropic", "https://b.example")], [Chat()]
    )

    def test_the_version_is_added_or_replaced(self):
        assert self.routes.read(b"/v1/chat/completions").target == b"/v1/chat/completions"
        assert Upstream.parse("x", "https://h/api/v1/").base == "/api/v1"
        assert (Upstream.parse("x", "https://h").base, Upstream.parse("x", "https://h:1/").root) == (
            "/v1",
            "https://h:1",
        )

    def test_anthropics_paths_and_headers_lead_there(self):
        assert self.routes.passed(b"/v1/messages/batches", []).upstream.name == "anthropic"
        assert self.routes.passed(b"/v1/models", [(b"anthropic-version", b"2023-06-01")]).upstream.name == "anthropic"
        assert self.routes.passed(b"/v1/models", []).upstream.name == "openai"

    @pytest.mark.parametrize(
        "path", [b"/v1/../x", b"/v1/.%2E/x", b"/v1/%2e%2e%2fx", b"/v1/..", b"/v1/\\..\\x", b"/v1/a b", b"/v1/a#b"]
    )
    def test_no_path_climbs(self, path):
        assert self.routes.passed(path, []) is None

    def test_dots_within_a_name_are_no_climbing(self):
        assert self.routes.passed(b"/v1/models/gpt-4.1..x", []).target == b"/v1/models/gpt-4.1..x"
