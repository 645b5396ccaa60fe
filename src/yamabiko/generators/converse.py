"""Step 8 of 9, on Amazon Bedrock: any of its chat models through Converse and ConverseStream.

Source: the Amazon Bedrock API reference, "Converse" and "ConverseStream" (read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from yamabiko.errors import ConfigurationError
from yamabiko.generators.deadline import until
from yamabiko.generators.prompt_caching import PromptCaching
from yamabiko.types import Reply, Request
from yamabiko.wire.converse import to_arguments
from yamabiko.wire.converse_reply import Assembly, reply_from


class Runtime(Protocol):
    """Who calls Bedrock: ``yamabiko.aws.bedrock.BedrockRuntime``, or whatever does the same."""

    async def converse(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """boto3's keyword arguments, ``modelId`` included, and its response without ResponseMetadata."""

    def converse_stream(self, request: Mapping[str, Any], /) -> AsyncGenerator[Mapping[str, Any], None]:
        """boto3's events in their order; raises in mid-stream too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A guardrail that every request goes through, whatever the request itself names.

    ``trace``: what it found is a part of the answer. ``streaming``: "sync" holds a stream's pieces back until they are
    checked, "async" does not. Raises ``ConfigurationError``.
    """

    identifier: str
    version: str = "DRAFT"
    trace: Literal["enabled", "disabled", "enabled_full"] = "disabled"
    streaming: Literal["sync", "async"] = "sync"

    def __post_init__(self) -> None:
        if not self.identifier or not self.version:
            raise ConfigurationError("a guardrail needs an identifier and a version")

    def arguments(self, *, stream: bool) -> dict[str, Any]:
        """The argument ``guardrailConfig``."""
        told = {"guardrailIdentifier": self.identifier, "guardrailVersion": self.version, "trace": self.trace}
        return told | ({"streamProcessingMode": self.streaming} if stream else {})


class ConverseGenerator:
    """A Generate callable, and by ``stream`` a StreamGenerate, for Claude, Nova and every other model of Converse.

    ``model`` is asked where a request names none. ``profiles``: by such a name, the id or ARN of the inference profile
    that is called in its place, ``{"anthropic.claude-…": "jp.anthropic.claude-…"}``; a Reply bears the name of an id,
    which has its own price, and not of an ARN, which says nothing. ``max_tokens`` holds where a request sets none.
    ``fields`` are sent as ``additionalModelRequestFields`` where a request has none of these names. ``service_tier``
    (priority, default, flex, reserved) and ``latency`` (standard, optimized) choose how and not what is answered.
    ``caching``: see ``PromptCaching``. ``timeout_seconds`` (> 0) bounds a whole reply, streamed or not.

    What the runtime raises passes through, also from the midst of a stream, of which nothing is stored then. Raises
    ``ConfigurationError``; a call ``TimeoutError``, and ``InvalidRequest`` for a request in another API's shape.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        model: str,
        profiles: Mapping[str, str] | None = None,
        guardrail: Guardrail | None = None,
        max_tokens: int | None = None,
        fields: Mapping[str, Any] | None = None,
        service_tier: str = "",
        latency: str = "",
        caching: PromptCaching | None = None,
        timeout_seconds: float = 120.0,
    ) -> None:
        if not model:
            raise ConfigurationError("model must be the id of a model on Bedrock, or of an inference profile")
        if max_tokens is not None and max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be 1 or more, not {max_tokens}")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self._runtime = runtime
        self._model = model
        self._profiles = dict(profiles or {})
        self._guardrail = guardrail
        self._max_tokens = max_tokens
        self._fields = dict(fields or {})
        self._how: dict[str, Any] = {"serviceTier": {"type": service_tier}} if service_tier else {}
        self._how |= {"performanceConfig": {"latency": latency}} if latency else {}
        self._caching = caching or PromptCaching()
        self._timeout_seconds = timeout_seconds

    async def __call__(self, request: Request) -> Reply:
        """The whole answer, with its usage and whatever else Bedrock says of it."""
        started = asyncio.get_running_loop().time()
        arguments, model = self._arguments(request, stream=False)
        async with asyncio.timeout(self._timeout_seconds):
            response = await self._runtime.converse(arguments)
        reply = reply_from(response, model=model)
        return replace(reply, latency_seconds=asyncio.get_running_loop().time() - started)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces as they come, then a Reply without text that carries usage and finish reason.

        A stream that ends before its ``metadata`` has the finish reason ``error``, which is never stored.
        """
        started = asyncio.get_running_loop().time()
        deadline = started + self._timeout_seconds
        arguments, model = self._arguments(request, stream=True)
        assembly = Assembly(model)
        async with aclosing(until(deadline, self._runtime.converse_stream(arguments))) as events:
            async for event in events:
                if text := assembly.add(event).text:
                    yield text
        reply = assembly.reply()
        ended = asyncio.get_running_loop().time()
        yield replace(reply, text="", chunk_lengths=(), latency_seconds=ended - started)

    def _arguments(self, request: Request, *, stream: bool) -> tuple[Mapping[str, Any], str]:
        """The arguments of the call, and the model that its reply is said to be from."""
        named = request.model or self._model
        called = self._profiles.get(named, named)
        arguments = to_arguments(request) | {"modelId": called} | self._how
        inference = arguments.get("inferenceConfig", {})
        if self._max_tokens is not None and "maxTokens" not in inference:
            arguments["inferenceConfig"] = {"maxTokens": self._max_tokens, **inference}
        fields = arguments.get("additionalModelRequestFields", {})
        if self._fields and isinstance(fields, Mapping):
            arguments["additionalModelRequestFields"] = {**self._fields, **fields}
        if self._guardrail is not None:
            arguments["guardrailConfig"] = self._guardrail.arguments(stream=stream)
        return self._caching.marked(arguments, called, named), named if called.startswith("arn:") else called
