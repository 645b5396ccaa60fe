"""Step 8 of 9, from documents: a knowledge base's own answers, searched for and written by Bedrock in one call.

Less is known of these answers than of ``knowledge_base``'s: no tokens, no stop reason. One question of up to 1,000
characters is taken, without system prompt, earlier turns or tools.

Source: the Amazon Bedrock API reference, "RetrieveAndGenerate" and "RetrieveAndGenerateStream" (read 2026-11).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.generators.deadline import until
from yamabiko.generators.knowledge_base import Search
from yamabiko.generators.passages import Citation, digest_of
from yamabiko.generators.simulated import tokens
from yamabiko.types import Reply, Request, Source, Usage
from yamabiko.wire.knowledge_base import Assembly, citations_of, references_of, reply_from, text_of, uri_of

MAX_INPUT_CHARACTERS = 1_000
"""Longest question that RetrieveAndGenerate takes."""

IN_SESSION = "session"
"""Finish reason of an answer that leans on a session's earlier turns; never stored."""

_SESSION = "sessionId"
_INFERENCE: Mapping[str, str] = {
    "max_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "stop": "stopSequences",
}


class Agent(Protocol):
    """Who calls Bedrock: ``yamabiko.aws.bedrock.BedrockAgent``, or whatever does the same."""

    async def retrieve_and_generate(self, request: Mapping[str, Any], /) -> Mapping[str, Any]:
        """boto3's keyword arguments, and its response without ResponseMetadata."""

    def retrieve_and_generate_stream(self, request: Mapping[str, Any], /) -> AsyncGenerator[Mapping[str, Any], None]:
        """boto3's events in their order, before them ``{"sessionId": ...}``; raises in mid-stream too."""


def in_session(request: Request, session: str) -> Request:
    """The request, asked in a session that Bedrock keeps: it never meets the cache, nor does its answer."""
    sampling = json.loads(request.sampling) if request.sampling else {}
    fields: dict[str, Any] = {name: getattr(request, name) for name in _FIELDS}
    why = "the answer leans on the earlier turns of a session that Bedrock keeps"
    return Request(request.messages, **fields, sampling={**sampling, _SESSION: session}, bypass=why)


_FIELDS = (
    *("model", "system", "tenant", "user", "tools", "tool_choice", "response_format", "knowledge", "tags"),
    *("category", "permissions"),
)


class RetrieveAndGenerate:
    """A Generate callable, and by ``stream`` a StreamGenerate, over one knowledge base.

    ``model``: id or ARN of a model or inference profile, asked where a request names none. ``template``: a prompt of
    your own, up to 4,000 characters, in which ``$search_results$`` stands for what was found. ``generation``: whatever
    else of ``generationConfiguration`` (a guardrail, model fields). ``search``: see ``Search``. ``timeout_seconds``
    (> 0) bounds a whole reply.

    Tokens are estimated by the rule of ``simulated.tokens``, from the question, what is cited and the answer. The
    sources of a reply are what it cites. A session's id is never kept. What the agent raises passes through. Raises
    ``ConfigurationError``; a call ``TimeoutError``, and ``InvalidRequest`` for what this operation can't be asked.
    """

    def __init__(
        self,
        agent: Agent,
        base: str,
        model: str,
        *,
        search: Search | None = None,
        template: str = "",
        generation: Mapping[str, Any] | None = None,
        timeout_seconds: float = 120.0,
    ) -> None:
        if not base or not model:
            raise ConfigurationError("RetrieveAndGenerate needs the id of a knowledge base and of a model")
        if template and ("$search_results$" not in template or len(template) > 4_000):
            raise ConfigurationError("template must hold $search_results$, in up to 4,000 characters")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self._agent = agent
        self._base = base
        self._model = model
        self._search = search or Search()
        self._generation = dict(generation or {})
        if template:
            self._generation["promptTemplate"] = {"textPromptTemplate": template}
        self._timeout_seconds = timeout_seconds

    async def __call__(self, request: Request) -> Reply:
        """The whole answer, with its citations."""
        started = asyncio.get_running_loop().time()
        arguments = self._arguments(request)
        async with asyncio.timeout(self._timeout_seconds):
            response = await self._agent.retrieve_and_generate(arguments)
        reply = self._completed(reply_from(response, model=request.model or self._model), request, arguments)
        return replace(reply, latency_seconds=asyncio.get_running_loop().time() - started)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces as they come, then a Reply without text that carries its citations."""
        started = asyncio.get_running_loop().time()
        deadline = started + self._timeout_seconds
        arguments = self._arguments(request)
        assembly = Assembly(request.model or self._model)
        async with aclosing(until(deadline, self._agent.retrieve_and_generate_stream(arguments))) as events:
            async for event in events:
                if text := assembly.add(event).text:
                    yield text
        reply = self._completed(assembly.reply(), request, arguments)
        ended = asyncio.get_running_loop().time()
        yield replace(reply, text="", chunk_lengths=(), latency_seconds=ended - started)

    def _arguments(self, request: Request) -> dict[str, Any]:
        question = request.messages[-1].text
        if len(question) > MAX_INPUT_CHARACTERS:
            raise InvalidRequest(
                f"RetrieveAndGenerate takes questions of up to {MAX_INPUT_CHARACTERS:,} characters, and this one has "
                f"{len(question):,}: use KnowledgeBase with GroundedGenerator, which take more"
            )
        if len(request.messages) > 1 or request.messages[0].parts or request.system:
            raise InvalidRequest(
                "RetrieveAndGenerate takes one question and no system prompt or earlier turns: use template, "
                "in_session, or KnowledgeBase with GroundedGenerator"
            )
        if request.tools or request.response_format:
            raise InvalidRequest("RetrieveAndGenerate takes neither tools nor the format of an answer")
        sampling = json.loads(request.sampling) if request.sampling else {}
        session = sampling.pop(_SESSION, "")
        inference = {theirs: sampling.pop(ours) for ours, theirs in _INFERENCE.items() if ours in sampling}
        generation = dict(self._generation)
        if inference:
            generation["inferenceConfig"] = {"textInferenceConfig": inference}
        if sampling:
            fields = generation.get("additionalModelRequestFields", {})
            generation["additionalModelRequestFields"] = {**fields, **sampling}
        base: dict[str, Any] = {"knowledgeBaseId": self._base, "modelArn": request.model or self._model}
        base["retrievalConfiguration"] = self._search.arguments()
        base |= {"generationConfiguration": generation} if generation else {}
        asked = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": base}
        arguments = {"input": {"text": question}, "retrieveAndGenerateConfiguration": asked}
        return arguments | ({_SESSION: session} if session else {})

    def _completed(self, reply: Reply, request: Request, arguments: Mapping[str, Any]) -> Reply:
        """The reply with its sources and an estimate of its tokens; not to be stored where it was made in a session."""
        found = tuple(references_of(reply))
        asked = tokens(request.messages[-1].text) + sum(tokens(text) for _, text in found)
        sources = dict.fromkeys(_source(uri, text, self._base) for uri, text in found)
        in_a_session = _SESSION in arguments and reply.finish_reason == "stop"
        return replace(
            reply,
            usage=Usage(input_tokens=asked, output_tokens=tokens(reply.text)),
            sources=tuple(sources),
            finish_reason=IN_SESSION if in_a_session else reply.finish_reason,
        )


def _source(uri: str, text: str, base: str) -> Source:
    return Source(uri=uri or base, digest=digest_of(text), base=base)


def spans_of(reply: Reply, base: str) -> tuple[Citation, ...]:
    """What the stretches of such an answer, from this base, rest on, by the places that Bedrock gives."""
    return tuple(
        Citation(
            source=_source(uri_of(reference.get("location")), text_of(reference.get("content")), base),
            start=int(span.get("start", 0)),
            end=int(span.get("end", 0)),
        )
        for citation in citations_of(reply)
        for span in (citation.get("generatedResponsePart", {}).get("textResponsePart", {}).get("span", {}),)
        for reference in citation.get("retrievedReferences", ())
    )
