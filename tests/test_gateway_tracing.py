"""Traces as a collector gets them: names and attributes of the conventions, one trace through, and no text ever."""

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from upstreams.processes import running_gateway, running_upstream
from yamabiko.errors import ConfigurationError, MissingExtra
from yamabiko.gateway.exchange import Exchange, asking
from yamabiko.gateway.observing import observing, traces_are_wanted
from yamabiko.gateway.tracing import Tracing, provider
from yamabiko.settings import GatewaySettings
from yamabiko.types import Reply, Usage

MARK = "zanzibar-marker"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@contextmanager
def collector():
    """Yields its URL and the raw bodies of what it was sent."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exported(bodies):
    """The spans, as dicts; resource attributes among their own under ``resource``."""
    spans = []
    for body in bodies:
        request = ExportTraceServiceRequest.FromString(body)
        for one in request.resource_spans:
            resource = {pair.key: pair.value.string_value for pair in one.resource.attributes}
            for scope in one.scope_spans:
                spans += [told(span) | {"resource": resource, "scope": scope.scope.name} for span in scope.spans]
    return spans


def told(span):
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    ids = {"trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex()}
    return {"name": span.name, "kind": span.kind, "attributes": attributes, "status": span.status.code, **ids}


@pytest.fixture(scope="module")
def told_spans(tmp_path_factory):
    """What a real gateway exports of real requests that have the marker wherever a client can write one."""
    url = f"sqlite:///{tmp_path_factory.mktemp('traced')}/c.db"
    with (
        running_upstream() as upstream,
        collector() as (collecting, bodies),
        running_gateway(url=url, upstream=upstream, gateway__traces=collecting) as gateway,
    ):
        headers = {"traceparent": PARENT, "baggage": f"word={MARK}", "authorization": f"Bearer {MARK}"}
        for stream in (False, True):
            gateway.ask(f"{MARK}?", headers=headers, stream=stream, user=MARK, metadata={MARK: MARK})
        gateway.ask("fails", headers=headers, order={"status": 503, "body": MARK})
        gateway.ask("odd model", headers=headers, model=f"{MARK} {MARK}")
        httpx.get(f"{gateway.url}/models/{MARK}?q={MARK}", headers=headers)
        httpx.get(f"{gateway.root}/{MARK}", headers=headers)
        calls = upstream.calls()
        gateway.stop()
    return exported(bodies), b"".join(bodies), calls


def spans_of(told_spans, kind):
    return [span for span in told_spans[0] if span["kind"] == kind]


SERVER, CLIENT = 2, 3  # as the protocol has them


class TestRealTraces:
    def test_no_text_of_a_prompt_an_answer_or_a_key_is_ever_exported(self, told_spans):
        _, raw, calls = told_spans
        assert sum(MARK in json.dumps(call) for call in calls) >= 4, "the upstream did get it"
        assert MARK.encode() not in raw
        for span in told_spans[0]:
            assert not any("message" in name or "prompt" in name for name in span["attributes"])

    def test_each_request_is_one_server_span_of_the_clients_own_trace(self, told_spans):
        servers = spans_of(told_spans, SERVER)
        assert len(servers) == 6
        assert {span["trace"] for span in servers} == {TRACE}
        assert {span["parent"] for span in servers} == {"00f067aa0ba902b7"}
        assert servers[0]["name"] == "POST /v1/chat/completions"
        attributes = servers[0]["attributes"]
        assert attributes["http.request.method"] == "POST"
        assert attributes["http.route"] == "/v1/chat/completions"
        assert attributes["http.response.status_code"] == 200
        assert attributes["url.scheme"] == "http"
        assert attributes["yamabiko.tier"] == "miss"
        assert attributes["yamabiko.reason"] == "absent"
        assert servers[0]["scope"] == "yamabiko"
        assert servers[0]["resource"]["service.name"] == "yamabiko"

    def test_a_hit_is_told_in_digests_and_has_no_call(self, told_spans):
        hits = [span for span in spans_of(told_spans, SERVER) if span["attributes"]["yamabiko.tier"] == "exact"]
        assert len(hits) == 1
        assert hits[0]["attributes"]["yamabiko.similarity"] == 1.0
        assert len(hits[0]["attributes"]["yamabiko.entry"]) == 16
        assert not [span for span in spans_of(told_spans, CLIENT) if span["parent"] == hits[0]["id"]]

    def test_each_generation_is_a_client_span_as_the_conventions_have_it(self, told_spans):
        call = next(span for span in spans_of(told_spans, CLIENT) if span["name"] == "chat m")
        attributes = call["attributes"]
        assert attributes["gen_ai.operation.name"] == "chat"
        assert attributes["gen_ai.provider.name"] == "openai"
        assert attributes["gen_ai.request.model"] == "m"
        assert attributes["server.address"] == "127.0.0.1"
        assert attributes["server.port"] > 0
        assert [value.string_value for value in attributes["gen_ai.response.finish_reasons"].values] == ["stop"]
        assert attributes["gen_ai.usage.input_tokens"] > 0
        assert attributes["gen_ai.usage.output_tokens"] > 0

    def test_the_upstream_gets_our_span_as_its_parent_and_nobody_elses(self, told_spans):
        spans, _, calls = told_spans
        parents = {call["headers"]["traceparent"] for call in calls}
        assert parents == {f"00-{TRACE}-{span['id']}-01" for span in spans if span["kind"] == CLIENT}

    def test_an_upstreams_error_is_one_on_both_spans(self, told_spans):
        failed = [span for span in told_spans[0] if span["attributes"].get("http.response.status_code") == 503]
        assert {span["kind"] for span in failed} == {SERVER, CLIENT}
        assert {span["status"] for span in failed} == {2}
        assert {span["attributes"]["error.type"] for span in failed} == {"503"}

    def test_paths_and_models_that_a_client_makes_up_are_not_repeated(self, told_spans):
        names = {span["name"] for span in told_spans[0]}
        assert names >= {"GET /v1/models/*", "GET", "chat *"}
        assert {span["attributes"].get("gen_ai.request.model") for span in told_spans[0]} == {None, "m", "*"}


@pytest.fixture
def recorded():
    exporter, made = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(made), exporter


def begun(tracing, *headers, route="chat", **parts):
    told = Exchange(method="POST", route=route, started=0.0, path="/v1/x", observers=(tracing,), **parts)
    tracing.begun(told, {"headers": list(headers), "scheme": "https", "http_version": "2"})
    return told


class TestSpans:
    @pytest.mark.parametrize("given", [b"", b"garbage", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"\xff" * 99])
    def test_what_is_no_trace_context_begins_a_trace(self, recorded, given):
        tracing, exporter = recorded
        tracing.ended(begun(tracing, (b"traceparent", given)))
        (span,) = exporter.get_finished_spans()
        assert span.parent is None
        assert span.kind is SpanKind.SERVER

    def test_a_client_that_samples_nothing_is_followed_in_that_too(self, recorded):
        tracing, exporter = recorded
        told = begun(tracing, (b"traceparent", PARENT.replace("-01", "-00").encode()))
        with asking(told) as call:
            call.error = ""
        tracing.ended(told)
        assert exporter.get_finished_spans() == ()
        assert dict(call.headers)[b"traceparent"].endswith(b"-00")
        assert told.trace == TRACE

    def test_a_renewal_after_the_answer_belongs_to_the_request_that_caused_it(self, recorded):
        tracing, exporter = recorded
        told = begun(tracing, upstream="openai", model="m")
        told.status, told.seconds = 200, 0.01
        tracing.ended(told)
        with asking(told) as call:
            call.answered(200, 1)
            call.reply, call.error = Reply(text="x", finish_reason="stop", usage=Usage(cached_input_tokens=3)), ""
        server, behind = exporter.get_finished_spans()
        assert behind.parent.span_id == server.context.span_id
        assert behind.attributes["yamabiko.behind"] is True
        assert behind.attributes["gen_ai.usage.cache_read.input_tokens"] == 3

    def test_our_context_takes_the_place_of_the_clients(self, recorded):
        told = begun(recorded[0], (b"traceparent", PARENT.encode()))
        with asking(told) as call:
            sent = call.along([(b"traceparent", PARENT.encode()), (b"tracestate", b"a=1"), (b"x", b"y")])
            call.error = ""
        assert [name for name, _ in sent].count(b"traceparent") == 1
        assert (b"traceparent", PARENT.encode()) not in sent
        assert (b"x", b"y") in sent

    def test_a_client_error_is_none_of_the_servers(self, recorded):
        tracing, exporter = recorded
        told = begun(tracing, status=401, error="unauthorized")
        tracing.ended(told)
        (span,) = exporter.get_finished_spans()
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes["error.type"] == "unauthorized"

    def test_without_traces_a_clients_context_passes_as_it_came(self, tmp_path):
        with (
            running_upstream() as upstream,
            running_gateway(url=f"sqlite:///{tmp_path}/c.db", upstream=upstream) as gateway,
        ):
            gateway.ask("passes", headers={"traceparent": PARENT})
            assert upstream.calls()[0]["headers"]["traceparent"] == PARENT


class TestConfiguration:
    @pytest.mark.parametrize(
        ("url", "environ", "wanted"),
        [
            ("", {}, False),
            ("http://c:4318", {}, True),
            ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
            ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
            ("", {"OTEL_TRACES_EXPORTER": "console"}, True),
            ("", {"OTEL_SERVICE_NAME": "mine"}, False),
            ("http://c:4318", {"OTEL_TRACES_EXPORTER": "none"}, False),
            ("http://c:4318", {"OTEL_SDK_DISABLED": "true"}, False),
        ],
    )
    def test_they_are_off_unless_somebody_asks(self, url, environ, wanted):
        assert traces_are_wanted(url, environ) is wanted

    @pytest.mark.parametrize("environ", [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}])
    def test_what_can_not_be_is_refused(self, environ):
        with pytest.raises(ConfigurationError, match="must be"):
            provider("http://c:4318", environ)

    def test_the_standard_variables_name_the_service(self, monkeypatch):
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        made = provider("http://127.0.0.1:9", {"OTEL_SERVICE_NAME": "mine"})
        assert made.resource.attributes["service.name"] == "mine"
        asyncio.run(Tracing(made).close())

    def test_without_the_extra_it_says_how_to_get_it(self, monkeypatch):
        monkeypatch.setattr("yamabiko.gateway.observing.find_spec", lambda name: None if "sdk" in name else name)
        with pytest.raises(MissingExtra, match=r"pip install 'yamabiko\[otel\]'"):
            observing(GatewaySettings(traces="http://c:4318"), (), {}, lambda: None)

    def test_a_gateway_without_traces_never_loads_opentelemetry(self):
        code = "import sys; import yamabiko.gateway.serving; print('opentelemetry.sdk' in sys.modules)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "False"
