"""The model behind ``--upstream``, or that of the settings, with errors that the command line can tell in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from yamabiko.build import make_generator
from yamabiko.cli.terminal import Unavailable, secret_from
from yamabiko.errors import InvalidRequest
from yamabiko.generators.http import HttpModel
from yamabiko.types import Reply, Request

if TYPE_CHECKING:
    from types import ModuleType

    from yamabiko.build.generators import Answers
    from yamabiko.settings import Settings


class Upstream:
    """A Generate callable, and by ``stream`` a StreamGenerate; raises ``Unavailable`` where no answer comes."""

    def __init__(self, model: Answers, httpx: ModuleType) -> None:
        self._model = model
        self._httpx = httpx

    async def __call__(self, request: Request) -> Reply:
        """The whole answer."""
        with self._told():
            return await self._model(request)

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer in pieces, then a Reply without text."""
        with self._told():
            async for piece in self._model.stream(request):
                yield piece

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise Unavailable(
                f"the model refused, with HTTP status {status}: see --upstream, --model and --api-key-env"
            ) from error
        except (self._httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"the model can't be reached ({type(error).__name__}): see --upstream") from error
        except InvalidRequest as error:
            raise Unavailable(f"the model's answer can't be used: {error}") from error


@asynccontextmanager
async def open_upstream(url: str, model: str, api_key_env: str | None) -> AsyncIterator[Upstream]:
    """The model at an OpenAI-compatible server. Raises ``ConfigurationError``, and ``MissingExtra`` without httpx."""
    async with HttpModel(url, model, api_key=secret_from(api_key_env)) as hosted:
        import httpx

        yield Upstream(hosted, httpx)


@asynccontextmanager
async def open_generator(
    settings: Settings, url: str | None, model: str, api_key_env: str | None
) -> AsyncIterator[Answers | None]:
    """The model at ``url``, else that of the settings (``[generator]``), else None. Raises as ``open_upstream``."""
    if url is not None:
        async with open_upstream(url, model, api_key_env) as upstream:
            yield upstream
        return
    generator = make_generator(settings)
    if generator is None:
        yield None
        return
    async with generator:
        if settings.generator.kind in ("http", "anthropic"):
            import httpx

            yield Upstream(generator, httpx)
        else:
            yield generator
