"""The access log: a line of JSON for each request, with nothing in it that a client could have made up."""

import io
import json
import logging
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstreams.processes import running_gateway, running_upstream
from yamabiko.gateway.accesslog import AccessLog, line_of, to_stream
from yamabiko.gateway.exchange import Caller, Exchange
from yamabiko.gateway.paths import method_of, name_of, own_template, template

MARK = "zanzibar-marker"


@contextmanager
def kept():
    """An access log in memory."""
    stream, logger = io.StringIO(), logging.getLogger("yamabiko.access")
    before = logger.handlers, logger.level, logger.propagate
    try:
        yield to_stream(stream), stream
    finally:
        logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What a real gateway logs of real requests that have the marker wherever a client can write one."""
    folder = tmp_path_factory.mktemp("logged")
    log = folder / "log"
    with log.open("w") as stdout, running_upstream() as upstream:
        settings = {"gateway__access_log": "true", "url": f"sqlite:///{folder}/c.db", "stdout": stdout}
        with running_gateway(upstream=upstream, **settings) as gateway:
            headers = {"authorization": f"Bearer {MARK}", "user-agent": MARK, "x-forwarded-for": MARK}
            for stream in (False, True):
                gateway.ask(f"{MARK}?", headers=headers, stream=stream, user=MARK, metadata={MARK: MARK})
            gateway.ask("fails", headers=headers, order={"status": 503, "body": MARK})
            gateway.ask("odd model", headers=headers, model=f"{MARK} {MARK}")
            httpx.get(f"{gateway.url}/models/{MARK}?q={MARK}", headers=headers)
            httpx.get(f"{gateway.root}/{MARK}", headers=headers)
            httpx.get(f"{gateway.root}/yamabiko/entries/{MARK}?tag={MARK}", headers=headers)
            httpx.get(f"{gateway.root}/healthz")
            gateway.stop()
    text = log.read_text()
    assert MARK not in text
    return [json.loads(line) for line in text.splitlines()]


class TestRealLines:
    def test_one_line_for_each_request_in_order_but_not_for_probes(self, lines):
        assert [(line["method"], line["path"], line["status"]) for line in lines] == [
            ("POST", "/v1/chat/completions", 200),
            ("POST", "/v1/chat/completions", 200),
            ("POST", "/v1/chat/completions", 503),
            ("POST", "/v1/chat/completions", 200),
            ("GET", "/v1/models/*", lines[4]["status"]),
            ("GET", "*", 404),
            ("GET", "/yamabiko/entries/*", lines[6]["status"]),
        ]

    def test_a_miss_and_its_hit_have_the_same_digests(self, lines):
        miss, hit = lines[:2]
        assert (miss["tier"], miss["reason"], hit["tier"]) == ("miss", "absent", "exact")
        assert miss["key"] == hit["key"]
        assert len(hit["entry"]) == 16
        assert miss["tenant"] == hit["tenant"]
        assert "upstream_status" not in hit
        assert (miss["upstream"], miss["upstream_status"], miss["attempts"]) == ("openai", 200, 1)
        assert hit["stream"] is True

    def test_sizes_and_times_are_there(self, lines):
        assert lines[0]["request_bytes"] > len(MARK)
        assert lines[0]["response_bytes"] > 0
        assert 0 < lines[0]["upstream_seconds"] <= lines[0]["first_byte_seconds"] <= lines[0]["seconds"]
        assert lines[0]["output_tokens"] > 0
        assert all(line["time"].endswith("+00:00") for line in lines)

    def test_what_went_wrong_is_a_code(self, lines):
        assert lines[2]["upstream_status"] == 503
        assert (lines[5]["tier"], lines[5]["error"]) == ("refused", "not_found")

    def test_a_model_that_could_be_a_text_is_left_out(self, lines):
        assert lines[0]["model"] == "m"
        assert lines[3]["model"] == "*"


class TestLines:
    @given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
    def test_every_line_is_one_line_of_json(self, model, reason, method):
        with kept() as (log, stream):
            log.ended(Exchange(method=method, route="chat", started=0.0, model=model, finish_reason=reason))
            text = stream.getvalue()
        assert text.count("\n") == 1
        told = json.loads(text)
        assert told["method"] in (method, "_OTHER")
        assert " " not in told.get("model", "") + told.get("finish_reason", "")

    def test_nothing_of_a_caller_is_told_but_the_digest(self):
        caller = Caller(tenant=MARK, user=MARK, digest="0123", apart=f"because {MARK}")
        told = line_of(Exchange(method="POST", route="chat", started=0.0, caller=caller))
        assert told["tenant"] == "0123"
        assert MARK not in json.dumps(told)

    def test_a_logger_that_does_not_listen_costs_nothing(self):
        logger = logging.getLogger("yamabiko.access.deaf")
        logger.setLevel(logging.WARNING)
        AccessLog(logger, now=lambda: pytest.fail("nobody listens")).ended(
            Exchange(method="POST", route="chat", started=0.0)
        )


class TestTemplates:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (b"/v1/models", "/v1/models"),
            (b"/v1/models/gpt-x", "/v1/models/*"),
            (b"/azure/v1/embeddings", "/*/v1/embeddings"),
            (b"/v1/files/a/content", "/v1/files/*"),
            (b"/v1/what_is_this", "*"),
            (b"/v1", "*"),
            (b"/../etc/passwd", "*"),
            (b"/v1/\xff", "*"),
        ],
    )
    def test_of_a_path_that_is_passed_on_its_family_stays(self, path, expected):
        assert template(path, read=False) == expected

    @given(st.binary(max_size=60))
    def test_no_path_is_repeated_that_is_not_known(self, path):
        told = template(b"/" + path, read=False)
        assert told == "*" or told.replace("/*", "").startswith("/v1/")
        assert own_template(b"/" + path) == "*" or path.startswith(b"yamabiko/")

    def test_names_are_words_and_methods_are_known(self):
        assert name_of("anthropic/claude-x:2026@latest") == "anthropic/claude-x:2026@latest"
        assert [name_of(given) for given in ("", "two words", "x" * 101, "日本語", "a\nb")] == ["", "*", "*", "*", "*"]
        assert (method_of("GET"), method_of("BREW")) == ("GET", "_OTHER")
