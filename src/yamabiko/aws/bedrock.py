"""Amazon Bedrock's runtimes for an event loop: models, and knowledge bases.

Requests and responses are those of boto3: its keyword arguments, its dictionaries. ``docs/bedrock.md`` is for users.

Source: the Amazon Bedrock API reference (read 2026-11); botocore's models of both services.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from yamabiko.aws.bedrock_calls import Access, Calls

INPUT_TOKENS_HEADER = "x-amzn-bedrock-input-token-count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoked:
    """A model's own JSON, and the tokens that the service counted in what it was sent; 0 where it says nothing."""

    body: bytes = field(repr=False)
    input_tokens: int = 0


class _Runtime:
    """What both runtimes share: a service's calls, and their end."""

    service = ""

    def __init__(self, access: Access | None = None) -> None:
        self._calls = Calls(self.service, access or Access())

    async def close(self) -> None:
        """Let go of threads and connections: see ``Calls.close``. May be called twice."""
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class BedrockRuntime(_Runtime):
    """Models: ``BedrockRuntime(Access(region="ap-northeast-1"))``; needs ``pip install 'yamabiko[aws]'``.

    Every call raises ``ServiceError`` (``ServiceUnavailable`` where trying again later may help) and
    ``ConfigurationError`` where region or credentials are missing; no message holds a prompt, an answer or a key.
    """

    service = "bedrock-runtime"

    async def invoke(self, model: str, body: bytes, /) -> Invoked:
        """InvokeModel with a JSON body of the model's own."""
        arguments = {
            "modelId": model,
            "body": body,
            "contentType": "application/json",
            "accept": "application/json",
        }
        return await self._calls.call("invoke_model", arguments, _invoked)

    async def converse(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Converse: boto3's keyword arguments, ``modelId`` included, and its response without ResponseMetadata."""
        return await self._calls.call("converse", request, _plain)

    def converse_stream(self, request: Mapping[str, Any], /) -> AsyncGenerator[Mapping[str, Any], None]:
        """ConverseStream: boto3's events in their order. Close it (``aclosing``) where it isn't read to its end.

        Raises in mid-stream too, when the service ends with an exception event or the connection breaks.
        """
        return self._calls.stream("converse_stream", request, _stream)


class BedrockAgent(_Runtime):
    """Knowledge bases and reranking; arguments and errors are those of ``BedrockRuntime``."""

    service = "bedrock-agent-runtime"

    async def retrieve(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Retrieve: boto3's keyword arguments, and its response without ResponseMetadata."""
        return await self._calls.call("retrieve", request, _plain)

    async def retrieve_and_generate(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """RetrieveAndGenerate: boto3's keyword arguments, and its response without ResponseMetadata."""
        return await self._calls.call("retrieve_and_generate", request, _plain)

    async def rerank(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Rerank: boto3's keyword arguments, and its response without ResponseMetadata."""
        return await self._calls.call("rerank", request, _plain)

    def retrieve_and_generate_stream(self, request: Mapping[str, Any], /) -> AsyncGenerator[Mapping[str, Any], None]:
        """RetrieveAndGenerateStream: boto3's events, after ``{"sessionId": ...}``, which the service sends apart."""
        return self._calls.stream("retrieve_and_generate_stream", request, _session_and_stream)


def _invoked(response: Any) -> Invoked:
    with response["body"] as body:
        read = body.read()
    count = response["ResponseMetadata"].get("HTTPHeaders", {}).get(INPUT_TOKENS_HEADER, "")
    return Invoked(body=read, input_tokens=int(count) if count.isascii() and count.isdigit() else 0)


def _plain(response: Any) -> Mapping[str, Any]:
    return {name: value for name, value in response.items() if name != "ResponseMetadata"}


def _stream(response: Any) -> Any:
    return (), response["stream"]


def _session_and_stream(response: Any) -> Any:
    return ({"sessionId": response["sessionId"]},), response["stream"]
