"""Traces for OpenTelemetry: a server span for each request, and a client span for each call to an upstream.

Names and attributes follow the conventions; what only a semantic cache has is called ``yamabiko.*``. No prompt, no
answer, no key and no path that a client could have made up is ever recorded: ``gen_ai.input.messages`` and its like are
opt-in there and not to be had here, and ``url.path`` is left out for the template in ``http.route``.

A client's ``traceparent`` is continued, and the upstream gets ours in its place.

Source: OpenTelemetry GenAI semantic conventions v0.1.0 (2026; status: Development), ``docs/gen-ai/client-inference.md``
of open-telemetry/semantic-conventions-genai; OpenTelemetry HTTP spans, semantic conventions v1.45.0 (status: Stable);
W3C Trace Context (November 2021).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from yamabiko.errors import ConfigurationError
from yamabiko.gateway.exchange import Asking, Exchange, Observer, Scope
from yamabiko.gateway.outcomes import tier_of
from yamabiko.gateway.paths import method_of, name_of
from yamabiko.types import Hit, Miss
from yamabiko.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from yamabiko.gateway.proxy import Upstream

_CONTEXT = frozenset({b"traceparent", b"tracestate"})
_PROVIDERS = frozenset(
    {
        "anthropic",
        "cohere",
        "deepseek",
        "groq",
        "mistral_ai",
        "moonshot_ai",
        "openai",
        "perplexity",
        "x_ai",
    }
)
"""Names of upstreams that are well-known values of ``gen_ai.provider.name``; else it is the dialect's vendor."""
_VENDORS: Mapping[str, str] = MappingProxyType({"chat": "openai", "responses": "openai", "messages": "anthropic"})


class Tracing(Observer):
    """Records spans with a provider that is its own, and closes it; ``upstreams`` have addresses."""

    def __init__(self, provider: TracerProvider, upstreams: Sequence[Upstream] = ()) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("yamabiko", __version__)
        self._context = TraceContextTextMapPropagator()
        self._addresses = {upstream.name: _address(upstream.root) for upstream in upstreams}

    def begun(self, exchange: Exchange, scope: Scope) -> None:
        """See ``Observer``."""
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT}
        method = method_of(exchange.method)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        if exchange.path not in ("", "*"):
            attributes["http.route"] = exchange.path
        span = self._tracer.start_span(
            f"{_plain(method)} {exchange.path}" if "http.route" in attributes else _plain(method),
            context=self._context.extract(given, context=Context()),
            kind=SpanKind.SERVER,
            attributes=attributes,
        )
        exchange.span = span
        exchange.trace = format_trace_id(span.get_span_context().trace_id)

    def ended(self, exchange: Exchange) -> None:
        """See ``Observer``."""
        span: Span = exchange.span
        if span.is_recording():
            span.set_attributes(_said(exchange))
            if exchange.status:
                span.set_attribute("http.response.status_code", exchange.status)
            if exchange.status >= 500 or exchange.error:
                span.set_attribute("error.type", exchange.error or str(exchange.status))
            if exchange.status >= 500 or (exchange.error and exchange.status < 400):
                span.set_status(StatusCode.ERROR)
        span.end()

    def asking(self, exchange: Exchange, call: Asking) -> None:
        """See ``Observer``."""
        address, port = self._addresses.get(exchange.upstream, ("", 0))
        attributes: dict[str, AttributeValue] = {"server.address": address, "server.port": port} if address else {}
        if exchange.seconds:  # renewals and audits, after their cause has had its answer
            attributes["yamabiko.behind"] = True
        vendor, model = _VENDORS.get(exchange.route), name_of(exchange.model)
        if vendor is None:
            name = method_of(exchange.method)
            attributes["http.request.method"] = name
            name = _plain(name)
        else:
            name = f"chat {model}".rstrip()
            provider = exchange.upstream if exchange.upstream in _PROVIDERS else vendor
            attributes |= {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider}
            if model:
                attributes["gen_ai.request.model"] = model
            if exchange.stream:
                attributes["gen_ai.request.stream"] = True
        parent = set_span_in_context(exchange.span, Context())
        call.span = self._tracer.start_span(name, context=parent, kind=SpanKind.CLIENT, attributes=attributes)
        carrier: dict[str, str] = {}
        self._context.inject(carrier, context=set_span_in_context(call.span, Context()))
        call.headers += [(key.encode(), value.encode("latin-1")) for key, value in carrier.items()]

    def asked(self, exchange: Exchange, call: Asking) -> None:
        """See ``Observer``."""
        span: Span = call.span
        if span.is_recording():
            if call.status:
                span.set_attribute("http.response.status_code", call.status)
            if exchange.route in _VENDORS:
                span.set_attributes(_told(call))
            if call.error or call.status >= 400:
                span.set_attribute("error.type", call.error or str(call.status))
                span.set_status(StatusCode.ERROR)
        span.end()

    async def close(self) -> None:
        """Send what is left; see ``Observer``."""
        await asyncio.to_thread(self._provider.shutdown)


def _said(exchange: Exchange) -> dict[str, AttributeValue]:
    """What the cache made of a request, in digests and numbers."""
    told: dict[str, AttributeValue] = {"yamabiko.dialect": exchange.route, "yamabiko.tier": tier_of(exchange)}
    if exchange.caller.digest:
        told["yamabiko.tenant"] = exchange.caller.digest
    if exchange.model:
        told["gen_ai.request.model"] = name_of(exchange.model)
    outcome = exchange.outcome
    if isinstance(outcome, Hit):
        told |= {"yamabiko.key": outcome.key.hex[:16], "yamabiko.entry": outcome.entry.id[:16]}
        told |= {"yamabiko.similarity": outcome.similarity, "yamabiko.age_seconds": outcome.age_seconds}
        told |= {"yamabiko.stale": outcome.stale, "yamabiko.calibration": outcome.calibration}
        numbers = {"yamabiko.score": outcome.score, "yamabiko.error_upper": outcome.error_upper}
        told |= {name: number for name, number in numbers.items() if number is not None}
    elif isinstance(outcome, Miss):
        told["yamabiko.reason"] = outcome.reason.value
        if outcome.key is not None:
            told["yamabiko.key"] = outcome.key.hex[:16]
        if outcome.similarity is not None:
            told["yamabiko.similarity"] = outcome.similarity
    flags = {"yamabiko.shared": exchange.shared, "yamabiko.stale_if_error": exchange.stale_if_error}
    return told | {name: flag for name, flag in flags.items() if flag}


def _told(call: Asking) -> dict[str, AttributeValue]:
    """What an upstream's answer was, but for the answer."""
    reply = call.reply
    if reply is None:
        return {}
    told: dict[str, AttributeValue] = {"gen_ai.response.finish_reasons": [name_of(reply.finish_reason)]}
    if reply.model:
        told["gen_ai.response.model"] = name_of(reply.model)
    usage = {
        "gen_ai.usage.input_tokens": reply.usage.input_tokens,
        "gen_ai.usage.output_tokens": reply.usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": reply.usage.cached_input_tokens,
    }
    return told | {name: tokens for name, tokens in usage.items() if tokens}


def _plain(method: str) -> str:
    """A method as spans are named after it."""
    return "HTTP" if method == "_OTHER" else method


def _address(root: str) -> tuple[str, int]:
    parts = urlsplit(root)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def provider(url: str, environ: Mapping[str, str]) -> TracerProvider:
    """Sends spans to the collector at ``url`` (``http://host:4318``), or where the standard variables say.

    Sampling, resource, batches and headers are as those say too. Raises ``ConfigurationError``.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if exporter not in ("otlp", "console"):
        raise ConfigurationError("OTEL_TRACES_EXPORTER must be otlp, console or none here")
    if exporter == "otlp" and protocol not in (None, "", "http/protobuf"):
        raise ConfigurationError("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf here")
    named = "OTEL_SERVICE_NAME" in environ or "service.name" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "yamabiko"})
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter() if exporter == "console" else _otlp(url)))
    return made


def _otlp(url: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - only who sends waits for it
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(endpoint=url.rstrip("/") + "/v1/traces") if url else OTLPSpanExporter()
