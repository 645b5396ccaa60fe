"""The way out through a company's proxy: HTTPS_PROXY, with TLS to the upstream inside the proxy's tunnel."""

import json
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from upstreams.processes import running_gateway

PROXY = Path(__file__).with_name("upstreams") / "connect_proxy.py"
NOWHERE = "upstream.invalid"
"""A name that no resolver knows: only the proxy leads there. Source: RFC 6761, 6.4."""
EVENTS = b"".join(
    b"data: " + json.dumps(event).encode() + b"\n\n"
    for event in (
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "やまびこ"}}]},
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    )
)


class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.heard.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
        if json.loads(self.server.heard[-1][1])["stream"]:
            body, kind = EVENTS + b"data: [DONE]\n\n", "text/event-stream"
        else:
            message = {"role": "assistant", "content": "An echo."}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            told = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            body, kind = json.dumps(told).encode(), "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def vendor(authority):
    """A server that speaks TLS only, with a certificate for a name that is nowhere and for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NOWHERE, "localhost").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        server.daemon_threads = True
        server.heard = []
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def running_proxy(*arguments):
    """The proxy's address, and what was asked of it, which is known once it has ended."""
    command = [sys.executable, str(PROXY), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    asked = []
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}", asked
    finally:
        asked += process.communicate(timeout=20)[0].splitlines()


@pytest.fixture
def environment(authority, monkeypatch, tmp_path):
    """Sets the variables of a process that starts the gateway: this authority alone is trusted."""
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "HTTPS_PROXY", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return monkeypatch.setenv


def to(host, port=443):
    return ("--upstream", f"openai=https://{host}:{port}/v1")


def test_calls_go_through_the_proxy_and_hits_do_not(vendor, environment):
    with running_proxy(vendor.server_port) as (address, asked):
        environment("HTTPS_PROXY", f"http://gate:open@{address}")
        with running_gateway(*to(NOWHERE), url="memory://", gateway__retries=0) as gateway:
            miss, hit = gateway.ask("Why an echo?"), gateway.ask("Why an echo?")
            stream = gateway.ask("なぜ響く？", stream=True)
    assert (miss.status_code, hit.status_code) == (200, 200)
    assert hit.json()["choices"][0]["message"]["content"] == "An echo."
    assert "; hit" in hit.headers["cache-status"]
    assert stream.text.endswith("data: [DONE]\n\n")
    assert len(vendor.heard) == 2
    assert asked == [f"CONNECT {NOWHERE}:443 Basic Z2F0ZTpvcGVu"]  # one connection, kept; "gate:open"


def test_what_is_for_the_proxy_never_reaches_the_upstream_nor_the_reverse(vendor, environment):
    with running_proxy(vendor.server_port) as (address, asked):
        environment("HTTPS_PROXY", f"http://{address}")
        with running_gateway(*to(NOWHERE), url="memory://") as gateway:
            gateway.ask("Who?", headers={"proxy-authorization": "Basic Y2xpZW50"})
    headers = {name.lower(): value for name, value in vendor.heard[0][0].items()}
    assert "proxy-authorization" not in headers
    assert headers["authorization"] == "Bearer k"
    assert headers["host"] == NOWHERE
    assert asked == [f"CONNECT {NOWHERE}:443 -"]


def test_a_host_that_no_proxy_names_is_called_directly(vendor, environment):
    with running_proxy(vendor.server_port) as (address, asked):
        environment("HTTPS_PROXY", f"http://{address}")
        environment("NO_PROXY", "localhost")
        with running_gateway(*to("localhost", vendor.server_port), url="memory://") as gateway:
            assert gateway.ask("Directly?").status_code == 200
    assert (len(vendor.heard), asked) == (1, [])


def test_a_certificate_of_another_authority_is_not_believed_in_the_tunnel(vendor, environment, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    environment("SSL_CERT_FILE", str(other))
    with running_proxy(vendor.server_port) as (address, _):
        environment("HTTPS_PROXY", f"http://{address}")
        with running_gateway(*to(NOWHERE), url="memory://", gateway__retries=0) as gateway:
            answer = gateway.ask("Trusted?")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert vendor.heard == []


def test_a_tunnel_that_is_refused_is_told_to_the_client_and_nothing_is_stored(vendor, environment):
    with running_proxy(vendor.server_port, 407) as (address, asked):
        environment("HTTPS_PROXY", f"http://{address}")
        with running_gateway(*to(NOWHERE), url="memory://", gateway__retries=0) as gateway:
            answers = [gateway.ask("Refused?") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 502]
    assert len(asked) == 2
    assert vendor.heard == []
