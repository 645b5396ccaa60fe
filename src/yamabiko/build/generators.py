"""Settings to the model that answers when the cache can't."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, Self

from yamabiko.build.models import bedrock_access
from yamabiko.settings import GeneratorSettings, Settings
from yamabiko.types import Reply, Request

if TYPE_CHECKING:
    from yamabiko.aws.bedrock import BedrockAgent
    from yamabiko.generators.knowledge_base import KnowledgeBase, Search


class Answers(Protocol):
    """A model that answers whole and in pieces."""

    async def __call__(self, request: Request, /) -> Reply:
        """The whole answer."""

    def stream(self, request: Request, /) -> AsyncIterator[str | Reply]:
        """The answer's pieces, then a Reply without text."""


class Generator:
    """A Generate callable, and by ``stream`` a StreamGenerate; to be closed. What the model raises passes through.

    ``version`` names what changes its answers beside the request: the knowledge base and how it is searched, the
    guardrail. It is a part of what two requests must share (``Request.knowledge``); empty where there is no such thing.
    """

    def __init__(self, model: Answers, *closes: Callable[[], Awaitable[None]], version: str = "") -> None:
        self.version = version
        self._model = model
        self._closes = closes

    async def __call__(self, request: Request) -> Reply:
        """The whole answer."""
        return await self._model(request)

    def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer's pieces, then a Reply without text."""
        return self._model.stream(request)

    async def close(self) -> None:
        """Let go of connections and threads. May be called twice."""
        for close in self._closes:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def make_generator(settings: Settings) -> Generator | None:
    """The model that the settings name; None for "none". Raises ``ConfigurationError`` or ``MissingExtra``."""
    wanted = settings.generator
    match wanted.kind:
        case "none":
            return None
        case "simulated":
            from yamabiko.generators.simulated import SimulatedModel

            return Generator(SimulatedModel(_simulated, time_scale=0))
        case "http" | "anthropic":
            return _hosted(wanted)
        case "converse" | "knowledge_base":
            return _on_bedrock(settings)


def _simulated(request: Request) -> str:
    question = request.messages[-1].text
    return f"This is a simulated answer, since no model was asked. The question was: {question}"


def _hosted(wanted: GeneratorSettings) -> Generator:
    from yamabiko.generators.http import AnthropicModel, HttpModel

    key = wanted.api_key or None
    if wanted.kind == "http":
        model = HttpModel(wanted.url, wanted.model, api_key=key)
    elif wanted.max_tokens is None:
        model = AnthropicModel(wanted.url, wanted.model, api_key=key)
    else:
        model = AnthropicModel(wanted.url, wanted.model, api_key=key, max_tokens=wanted.max_tokens)
    return Generator(model, model.close)


def _on_bedrock(settings: Settings) -> Generator:
    from yamabiko.aws.bedrock import BedrockAgent, BedrockRuntime
    from yamabiko.generators.converse import ConverseGenerator, Guardrail
    from yamabiko.generators.knowledge_base import GroundedGenerator
    from yamabiko.generators.prompt_caching import PromptCaching

    wanted = settings.generator
    runtime = BedrockRuntime(bedrock_access(settings.bedrock))
    least = wanted.min_cache_tokens
    model = ConverseGenerator(
        runtime,
        model=wanted.model,
        guardrail=Guardrail(identifier=wanted.guardrail, version=wanted.guardrail_version)
        if wanted.guardrail
        else None,
        max_tokens=wanted.max_tokens,
        caching=None if least is None else PromptCaching(min_tokens={wanted.model: least}),
        timeout_seconds=settings.bedrock.timeout_seconds,
    )
    if wanted.kind == "converse":
        return Generator(model, runtime.close, version=version_of(settings))
    agent = BedrockAgent(bedrock_access(settings.bedrock, agent=True))
    base = _base(agent, settings)
    return Generator(GroundedGenerator(base, model), runtime.close, agent.close, version=version_of(settings))


def version_of(settings: Settings, knowledge: str = "") -> str:
    """A request's ``knowledge`` where the settings' model answers it: as it says, and ``Generator.version``.

    Makes no client, so that a look-up needs none.
    """
    wanted, told = settings.generator, [knowledge]
    if wanted.kind == "knowledge_base":
        from yamabiko.generators import knowledge_base

        told.append(knowledge_base.version_of(wanted.knowledge_base, _search(settings), {}))
    if wanted.kind in ("converse", "knowledge_base") and wanted.guardrail:
        told.append(f"{wanted.guardrail}:{wanted.guardrail_version}")
    return " ".join(filter(None, told))


def _base(agent: BedrockAgent, settings: Settings) -> KnowledgeBase:
    from yamabiko.generators.knowledge_base import KnowledgeBase

    return KnowledgeBase(
        agent,
        settings.generator.knowledge_base,
        search=_search(settings),
        timeout_seconds=settings.bedrock.timeout_seconds,
    )


def _search(settings: Settings) -> Search:
    from yamabiko.generators.knowledge_base import Search

    return Search(results=settings.generator.max_documents)
