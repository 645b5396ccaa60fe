"""``yamabiko warm --like``: questions as the gateway's clients put them, so that these find the answers.

The gateway's own readers make the requests: system prompt, sampling, tools and upstream are a part of what two requests
must share, exactly as they are when a client asks.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from yamabiko.build import make_generator
from yamabiko.cli.upstream import Upstream as Told
from yamabiko.errors import ConfigurationError, InvalidRequest
from yamabiko.gateway.bedrock import carried, on_bedrock
from yamabiko.gateway.building import dialects
from yamabiko.gateway.proxy import upstreams_of
from yamabiko.gateway.routes import Routes
from yamabiko.types import Request
from yamabiko.wire.dialect import set_apart

if TYPE_CHECKING:
    from yamabiko.build.generators import Answers
    from yamabiko.cli.warm_source import Source
    from yamabiko.settings import GeneratorSettings, Settings

Endpoint: TypeAlias = Literal["chat", "messages"]


class Like:
    """A body as clients send it to an endpoint of the gateway (``/v1/chat/completions``, ``/v1/messages``).

    Its messages are those that lead up to a question; a last one of the user's is an example, in whose place each
    question comes. Raises ``ConfigurationError``.
    """

    def __init__(self, body: Mapping[str, Any], endpoint: Endpoint, settings: Settings) -> None:
        if "yamabiko_upstream" in body or "yamabiko_headers" in body:
            raise ConfigurationError("a request's body can't say which upstream answers it: see gateway.upstreams")
        turns = body.get("messages", [])
        if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
            raise ConfigurationError("the request's messages must be a list of objects")
        if turns and turns[-1].get("role") == "user":
            turns = turns[:-1]
        self._body, self._turns = dict(body), turns
        self._settings = settings
        self._dialect = {dialect.name: dialect for dialect in dialects()}[endpoint]
        upstreams, ends = on_bedrock(settings, upstreams_of(settings.gateway), dialects())
        self._ends = tuple(ends.values())
        route = Routes(upstreams, dialects()).read(f"/v1{self._dialect.paths[0]}".encode())
        assert route is not None
        self._apart, self.upstream = route.apart, route.upstream

    def __call__(self, question: str, said: Mapping[str, str], tags: tuple[str, ...]) -> tuple[Request, Request]:
        """See ``warm_file.Ask``. Raises ``InvalidRequest``."""
        more = sorted(said.keys() - {"tenant", "user"})
        if more:
            raise InvalidRequest(f"with --like, {more[0]} is what the request says: leave it out")
        body = self._with(question)
        set_apart(body, self._apart, ())
        asked = self._dialect.asked(body, tenant=said.get("tenant", ""), user=said.get("user", ""))
        if asked.request.bypass:
            raise InvalidRequest(f"such a request is not cached: {asked.request.bypass}")
        return replace(asked.request, tags=tags), self._for_the_model(question)

    def _with(self, question: str) -> dict[str, Any]:
        return {**self._body, "messages": [*self._turns, {"role": "user", "content": question}]}

    def _for_the_model(self, question: str) -> Request:
        """Without what only the cache has to know; on Bedrock as ``BedrockUpstream`` asks."""
        body = self._with(question)
        if not self.upstream.model:
            return self._dialect.asked(body, tenant="", user="").request
        read = self._dialect.asked(carried(self._dialect.name, body), tenant="", user="").request
        return replace(read, model=self.upstream.model)

    @property
    def model(self) -> str:
        """Who answers: the model on Bedrock that stands for the upstream, else the one that the body names."""
        return self.upstream.model or str(self._body.get("model", ""))

    @asynccontextmanager
    async def opened(self, api_key: str | None) -> AsyncIterator[Answers]:
        """The gateway's upstream as a model; ``api_key`` where its settings have none.

        Raises ``ConfigurationError`` and ``MissingExtra``.
        """
        made = make_generator(replace(self._settings, generator=self._generator(api_key)))
        assert made is not None
        async with made:
            if self.upstream.model:
                yield made
            else:
                import httpx

                yield Told(made, httpx)

    def _generator(self, api_key: str | None) -> GeneratorSettings:
        generator, upstream = self._settings.generator, self.upstream
        if upstream.model:
            there: Literal["knowledge_base", "converse"] = "knowledge_base" if generator.knowledge_base else "converse"
            return replace(generator, kind=there, model=upstream.model)
        kind: Literal["anthropic", "http"] = "anthropic" if self._dialect.name == "messages" else "http"
        key = upstream.key or api_key or ""
        return replace(generator, kind=kind, url=upstream.root + upstream.base, api_key=key, model=self.model)

    async def close(self) -> None:
        """Let go of what the upstreams hold."""
        for end in self._ends:
            await end.aclose()


def like_from(source: Source, endpoint: Endpoint, settings: Settings) -> Like:
    """The template in a file. Raises ``ConfigurationError``."""
    try:
        body = json.loads(source.text)
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{source.name} is not JSON: it is a request's body as the gateway gets it") from None
    if not isinstance(body, dict):
        raise ConfigurationError(f"{source.name} must be an object: a request's body as the gateway gets it")
    return Like(body, endpoint, settings)
