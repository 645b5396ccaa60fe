"""Step 4 of 9, hosted: texts to vectors through any OpenAI-compatible ``/embeddings`` endpoint.

Source: the OpenAI API reference, "Embeddings" (read 2026-11); RFC 9110, 10.2.3 (Retry-After).
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import numpy as np

from yamabiko.errors import ConfigurationError, EmbeddingError, MissingExtra
from yamabiko.types import Vector

if TYPE_CHECKING:
    import httpx

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0


class HttpEmbedder:
    """A hosted embedding model; needs ``pip install 'yamabiko[http]'``.

    ``url`` is the API's root (``https://api.openai.com/v1``) or the endpoint itself. ``dim`` is the number of
    components that the model gives; with ``ask_for_dim`` the model is asked to give that many (``dimensions``).
    ``timeout_seconds`` (> 0) bounds one request with all its retries: ``attempts`` (1 to 10) for connection errors and
    for the statuses 408, 409, 425, 429 and 5xx, with pauses that double and are jittered, or as long as the server's
    Retry-After says. ``batch_texts`` (1 to 2,048) go into one request.

    ``window_characters``: a longer text is not sent and gets None. Many servers cut a long text off without saying so,
    which makes texts alike that differ in their ends: set it to what the model's window surely holds (in English about
    four characters to a token, in Japanese about one). ``id`` holds the host, since a name alone does not name weights.

    ``sleep`` and ``jitter`` (a float in [0, 1)) stand in for the clock and chance. Raises ``ConfigurationError`` and
    ``MissingExtra``. No message ever holds a text or the key.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        dim: int,
        api_key: str | None = None,
        ask_for_dim: bool = False,
        timeout_seconds: float = 10.0,
        attempts: int = 3,
        batch_texts: int = 64,
        window_characters: int = 2_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("url must be the root of an API, such as https://api.openai.com/v1")
        if not model:
            raise ConfigurationError("model must be the name of an embedding model")
        for name, value, lowest, highest in (
            ("dim", dim, 1, 65_536),
            ("attempts", attempts, 1, 10),
            ("batch_texts", batch_texts, 1, 2_048),
            ("window_characters", window_characters, 1, 1_000_000),
        ):
            if not lowest <= value <= highest:
                raise ConfigurationError(f"{name} must be in {lowest}..{highest}, not {value}")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        try:
            self._httpx: Any = importlib.import_module("httpx")
        except ModuleNotFoundError as error:
            raise MissingExtra("http", "A hosted embedder") from error
        root = url.rstrip("/")
        self._url = root if root.endswith("/embeddings") else f"{root}/embeddings"
        self._host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        self._model = model
        self._dim = dim
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._options = {"dimensions": dim} if ask_for_dim else {}
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._batch_texts = batch_texts
        self._window_characters = window_characters
        self._sleep = sleep
        self._jitter = jitter
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def dim(self) -> int:
        """Number of components of every vector."""
        return self._dim

    @property
    def id(self) -> str:
        """Host, model and dimension."""
        return f"http:{self._host}/{self._model}/{self._dim}"

    def model_for(self, _text: str, /) -> str:
        """The one model, for every text."""
        return self._model

    async def embed(self, texts: Sequence[str], /) -> Sequence[Vector | None]:
        """One float32 vector of shape (dim,) and L2 norm 1 per text, in order; None beyond ``window_characters``.

        Raises ``EmbeddingError``, for an empty text too.
        """
        if not all(text.strip() for text in texts):
            raise EmbeddingError("an empty text has no meaning that could be compared; leave it out")
        found: list[Vector | None] = [None] * len(texts)
        places = [at for at, text in enumerate(texts) if len(text) <= self._window_characters]
        for start in range(0, len(places), self._batch_texts):
            part = places[start : start + self._batch_texts]
            for at, vector in zip(part, await self._batch([texts[at] for at in part]), strict=True):
                found[at] = vector
        return found

    async def _batch(self, texts: list[str]) -> Vector:
        try:
            async with asyncio.timeout(self._timeout_seconds) as deadline:
                return self._vectors(await self._answer(texts, deadline), len(texts))
        except TimeoutError as error:
            raise EmbeddingError(f"{self._host} gave no embedding within {self._timeout_seconds} s") from error

    async def _answer(self, texts: list[str], deadline: asyncio.Timeout) -> Any:
        """The body of the first good answer. A pause that would outlast the deadline is not begun."""
        for attempt in range(1, self._attempts + 1):
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), _LONGEST_PAUSE_SECONDS) * (0.5 + self._jitter() / 2)
            try:
                body = {"model": self._model, "input": texts, **self._options}
                response = await self._opened().post(self._url, json=body, headers=self._headers)
            except self._httpx.TransportError as error:
                wrong = f"can't be reached ({type(error).__name__})"
            else:
                if response.status_code == 200:
                    return _json(response)
                wrong = f"answered {response.status_code}"
                if response.status_code not in _PASSING:
                    break
                pause = max(pause, _retry_after_seconds(response.headers))
            ends = deadline.when()
            if attempt == self._attempts or (ends is not None and asyncio.get_running_loop().time() + pause > ends):
                break
            await self._sleep(pause)
        raise EmbeddingError(f"the embedder at {self._host} {wrong}; check url, model and key, or try again later")

    def _vectors(self, body: Any, count: int) -> Vector:
        """Shape (count, dim), in the order of the texts, whatever the order of the answer."""
        rows = body.get("data") if isinstance(body, Mapping) else None
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise EmbeddingError(f"{self._host} sent no list of embeddings: is this an OpenAI-compatible endpoint?")
        by_index = {row.get("index"): row.get("embedding") for row in rows}
        if len(rows) != count or by_index.keys() != set(range(count)):
            raise EmbeddingError(f"{self._host} sent {len(rows)} embeddings for {count} texts, or gave one twice")
        try:
            vectors = [np.asarray(by_index[at], dtype=np.float32) for at in range(count)]
        except (TypeError, ValueError) as error:
            raise EmbeddingError(f"{self._host} sent embeddings that are no lists of numbers") from error
        for vector in vectors:
            if vector.shape != (self._dim,):
                raise EmbeddingError(
                    f"{self._model} gives vectors of {vector.size} components, not {self._dim}: set dim={vector.size}"
                )
        norms = np.array([np.linalg.norm(vector) for vector in vectors], dtype=np.float32)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise EmbeddingError(f"{self._host} sent a vector without a direction (zero or not finite)")
        return np.asarray(np.stack(vectors) / norms[:, None], dtype=np.float32)

    def _opened(self) -> httpx.AsyncClient:
        """The client of the running loop: connections can't be used in another one."""
        if self._closed:
            raise EmbeddingError("this embedder is closed; open a new one")
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._httpx.AsyncClient(timeout=self._timeout_seconds), loop
        return self._client

    async def close(self) -> None:
        """Let go of the connections. May be called twice; what is asked afterwards raises ``EmbeddingError``."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after_seconds(headers: Mapping[str, str]) -> float:
    """Retry-After in seconds; 0 where it is absent or is a date, which hardly any API sends."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
