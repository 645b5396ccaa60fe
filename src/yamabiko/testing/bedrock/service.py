"""The operations: which request is which, and what each one gives back."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

from yamabiko.testing.bedrock.answering import Answer
from yamabiko.testing.bedrock.batch import BatchJobs
from yamabiko.testing.bedrock.checks import json_object, malformed
from yamabiko.testing.bedrock.claude import claude_events, invoke_claude
from yamabiko.testing.bedrock.converse import Conversed, converse
from yamabiko.testing.bedrock.embeddings import Embed, embed_with
from yamabiko.testing.bedrock.faults import Refused, invalid
from yamabiko.testing.bedrock.guardrails import Guardrails
from yamabiko.testing.bedrock.http import Incoming
from yamabiko.testing.bedrock.knowledge import DATA_SOURCE, KnowledgeBases
from yamabiko.testing.bedrock.models import BedrockModel, Catalogue
from yamabiko.testing.bedrock.prompt_cache import PromptCache
from yamabiko.testing.bedrock.rag import Generated, Sessions, generate
from yamabiko.testing.bedrock.rerank import rerank
from yamabiko.testing.bedrock.results import Result

SESSION_HEADER = "x-amzn-bedrock-knowledge-base-session-id"
_INPUT_TOKENS = "x-amzn-bedrock-input-token-count"
_OUTPUT_TOKENS = "x-amzn-bedrock-output-token-count"
_JOBS = "/knowledgebases/([^/]+)/datasources/([^/]+)/ingestionjobs"

_ROUTES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("POST", re.compile("/model/([^/]+)/invoke"), "InvokeModel"),
    ("POST", re.compile("/model/([^/]+)/invoke-with-response-stream"), "InvokeModelWithResponseStream"),
    ("POST", re.compile("/model/([^/]+)/converse"), "Converse"),
    ("POST", re.compile("/model/([^/]+)/converse-stream"), "ConverseStream"),
    ("POST", re.compile("/knowledgebases/([^/]+)/retrieve"), "Retrieve"),
    ("POST", re.compile("/retrieveAndGenerate"), "RetrieveAndGenerate"),
    ("POST", re.compile("/retrieveAndGenerateStream"), "RetrieveAndGenerateStream"),
    ("POST", re.compile("/rerank"), "Rerank"),
    ("PUT", re.compile(f"{_JOBS}/?"), "StartIngestionJob"),
    ("GET", re.compile(f"{_JOBS}/([^/]+)"), "GetIngestionJob"),
    ("POST", re.compile("/model-invocation-job"), "CreateModelInvocationJob"),
    ("GET", re.compile("/model-invocation-job/([^/]+)"), "GetModelInvocationJob"),
    ("POST", re.compile("/model-invocation-job/([^/]+)/stop"), "StopModelInvocationJob"),
)
_STREAMS = frozenset({"InvokeModelWithResponseStream", "ConverseStream", "RetrieveAndGenerateStream"})
OPERATIONS: frozenset[str] = frozenset(name for _, _, name in _ROUTES)
"""The operations that are answered."""

Latency: TypeAlias = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of one operation, with the parameters of its path decoded."""

    operation: str
    names: tuple[str, ...]
    body: Mapping[str, Any] = field(repr=False)

    @property
    def streams(self) -> bool:
        """Whether the response is a stream of events."""
        return self.operation in _STREAMS

    @property
    def model(self) -> str:
        """The model or the knowledge base that it is about, if its path or body tells one."""
        if self.names:
            return self.names[0]
        settings = self.body.get("retrieveAndGenerateConfiguration")
        inner = settings.get("knowledgeBaseConfiguration") if isinstance(settings, dict) else None
        told = inner.get("knowledgeBaseId") if isinstance(inner, dict) else self.body.get("modelId")
        return told if isinstance(told, str) else ""


def asked_for(incoming: Incoming) -> Asked:
    """Which operation a request is; raises ``Refused`` for none."""
    for method, pattern, operation in _ROUTES:
        found = pattern.fullmatch(incoming.path)
        if found and method == incoming.method:
            return Asked(operation, tuple(unquote(name) for name in found.groups()), json_object(incoming.body))
    raise Refused("UnknownOperationException", "Nothing is answered under this method and path.")


class Service:
    """The state of one stand-in, and its operations."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        embed: Embed,
        answer: Answer,
        jobs: BatchJobs,
        clock: Callable[[], float],
        latency: Latency,
        ingestion_seconds: Callable[[], float],
        page_results: int,
    ) -> None:
        self.catalogue = catalogue
        self.embed = embed
        self.answer = answer
        self.jobs = jobs
        self.clock = clock
        self.bases = KnowledgeBases(embed)
        self.guardrails = Guardrails()
        self.sessions = Sessions()
        self._prompt_cache = PromptCache()
        self._latency = latency
        self._ingestion_seconds = ingestion_seconds
        self._page_results = page_results
        self._operations: Mapping[str, Callable[[Asked], Awaitable[Result]]] = {
            "InvokeModel": self._invoke,
            "InvokeModelWithResponseStream": self._invoke_stream,
            "Converse": self._converse,
            "ConverseStream": self._converse_stream,
            "Retrieve": self._retrieve,
            "RetrieveAndGenerate": self._generate,
            "RetrieveAndGenerateStream": self._generate_stream,
            "Rerank": self._rerank,
            "StartIngestionJob": self._start_ingestion,
            "GetIngestionJob": self._get_ingestion,
            "CreateModelInvocationJob": self._create_batch,
            "GetModelInvocationJob": self._get_batch,
            "StopModelInvocationJob": self._stop_batch,
        }

    async def serve(self, asked: Asked) -> Result:
        """What an operation gives back; raises ``Refused``."""
        return await self._operations[asked.operation](asked)

    async def invoke(self, identifier: str, body: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
        """One record of a batch job: ``kind`` is ``InvokeModel`` or ``Converse``."""
        operation = "Converse" if kind == "Converse" else "InvokeModel"
        return (await self.serve(Asked(operation, (identifier,), body))).body

    async def _invoke(self, asked: Asked) -> Result:
        model = self._model(asked)
        if model.kind == "chat":
            invoked = await invoke_claude(asked.body, lambda body: self._conversed(model, body, asked.operation))
        else:
            invoked = embed_with(model, asked.body, self.embed)
        headers = {_INPUT_TOKENS: str(invoked.input_tokens)}
        if invoked.output_tokens:
            headers[_OUTPUT_TOKENS] = str(invoked.output_tokens)
        return Result(invoked.body, headers)

    async def _invoke_stream(self, asked: Asked) -> Result:
        model = self._model(asked)
        if model.kind != "chat":
            raise invalid("The model is not supported for streaming.")
        events = await claude_events(asked.body, lambda body: self._conversed(model, body, asked.operation))
        return Result(events=events, headers={"X-Amzn-Bedrock-Content-Type": "application/json"})

    async def _converse(self, asked: Asked) -> Result:
        return Result((await self._conversed(self._model(asked), asked.body, asked.operation)).response())

    async def _converse_stream(self, asked: Asked) -> Result:
        return Result(events=(await self._conversed(self._model(asked), asked.body, asked.operation)).events())

    async def _conversed(self, model: BedrockModel, body: Mapping[str, Any], operation: str) -> Conversed:
        return await converse(
            model,
            body,
            self.answer,
            guardrails=self.guardrails,
            prompt_cache=self._prompt_cache,
            now=self.clock(),
            latency_ms=round(self._latency(operation) * 1_000),
        )

    async def _retrieve(self, asked: Asked) -> Result:
        base = self.bases.known(asked.names[0])
        found = [passage.result() for passage in base.search(asked.body, now=self.clock())]
        token = asked.body.get("nextToken", "0")
        if not isinstance(token, str) or not token.isdecimal() or int(token) > len(found):
            raise invalid("The nextToken is not valid.")
        start, end = int(token), int(token) + self._page_results
        told: dict[str, Any] = {"retrievalResults": found[start:end]}
        return Result(told if end >= len(found) else told | {"nextToken": str(end)})

    async def _generate(self, asked: Asked) -> Result:
        return Result((await self._generated(asked)).response())

    async def _generate_stream(self, asked: Asked) -> Result:
        generated = await self._generated(asked)
        return Result(events=generated.events(), headers={SESSION_HEADER: generated.session})

    async def _generated(self, asked: Asked) -> Generated:
        return await generate(
            asked.body,
            self.answer,
            bases=self.bases,
            catalogue=self.catalogue,
            guardrails=self.guardrails,
            sessions=self.sessions,
            now=self.clock(),
        )

    async def _rerank(self, asked: Asked) -> Result:
        return Result(rerank(asked.body, self.catalogue, now=self.clock()))

    async def _start_ingestion(self, asked: Asked) -> Result:
        base = self.bases.known(asked.names[0])
        _check_source(asked.names[1])
        now = self.clock()
        job = base.start(now=now, seconds=self._ingestion_seconds())
        told = job.told(now) | {"status": "STARTING"}
        return Result({"ingestionJob": told}, status=202)

    async def _get_ingestion(self, asked: Asked) -> Result:
        base = self.bases.known(asked.names[0])
        _check_source(asked.names[1])
        job = base.jobs.get(asked.names[2])
        if job is None:
            raise Refused("ResourceNotFoundException", "The ingestion job does not exist.")
        base.settle(self.clock())
        return Result({"ingestionJob": job.told(self.clock())})

    async def _create_batch(self, asked: Asked) -> Result:
        model = asked.body.get("modelId")
        if not isinstance(model, str):
            raise invalid("1 validation error detected: Value at 'modelId' must not be null")
        self.catalogue.resolve(model, now=self.clock())
        return Result({"jobArn": self.jobs.create(asked.body, now=self.clock())})

    async def _get_batch(self, asked: Asked) -> Result:
        await self.jobs.settle(self.clock(), self.invoke)
        return Result(self.jobs.told(asked.names[0], now=self.clock()))

    async def _stop_batch(self, asked: Asked) -> Result:
        self.jobs.stop(asked.names[0], now=self.clock())
        return Result()

    def _model(self, asked: Asked) -> BedrockModel:
        return self.catalogue.resolve(asked.names[0], now=self.clock())


def _check_source(identifier: str) -> None:
    if identifier != DATA_SOURCE:
        raise Refused("ResourceNotFoundException", f"The data source does not exist; this base has {DATA_SOURCE}.")


def encoded(result: Result) -> bytes:
    """The body of a response as JSON."""
    try:
        return json.dumps(result.body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError) as wrong:
        raise malformed("the answer is not JSON") from wrong
