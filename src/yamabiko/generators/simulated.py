"""Step 8 of 9, for demonstrations and benchmarks: a model that is not one, and says so.

Its replies carry ``model="simulated"``. Latencies and token counts follow the rules stated here, not any vendor's.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

from yamabiko.errors import ConfigurationError
from yamabiko.types import Reply, Request, Usage

_WORD = re.compile(r"\s*[^\s\u3000-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]+|\s*.|\s+", re.DOTALL)
_WIDE = re.compile("[\u1100-\u11ff\u3000-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U000323af]")
_P95 = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A log-normal law, given by two of its quantiles in seconds.

    Half of all replies take up to ``median_seconds``, 95 of 100 up to ``p95_seconds``. The defaults are what a hosted
    model might take for a short answer; they are an assumption, not a measurement. Raises ``ConfigurationError``.
    """

    median_seconds: float = 1.2
    p95_seconds: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.median_seconds <= self.p95_seconds < math.inf:
            raise ConfigurationError("a latency needs 0 < median_seconds <= p95_seconds")

    def quantile(self, share: float) -> float:
        """Seconds within which this share, in (0, 1), of the replies is there."""
        sigma = math.log(self.p95_seconds / self.median_seconds) / _P95
        return self.median_seconds * math.exp(sigma * NormalDist().inv_cdf(share))


class SimulatedModel:
    """A Generate callable, and by ``stream`` a StreamGenerate, that looks its answers up.

    ``answers`` maps the last turn of a request to its answer, or is a function from the request to the text. Chance
    comes from ``seed`` and the question alone, so that a run can be repeated in any order. A reply states its simulated
    ``latency_seconds`` while it really waits ``time_scale`` (>= 0; 0 never waits) times that. Tokens are counted by
    rule: a Chinese, Japanese or Korean character is 1/1.5 token, any other 1/4, each text rounded up.

    Raises ``ConfigurationError``; a question without an answer raises ``LookupError``, which does not show it.
    """

    def __init__(
        self,
        answers: Mapping[str, str] | Callable[[Request], str],
        *,
        seed: int = 0,
        latency: Latency | None = None,
        time_scale: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 0 <= time_scale < math.inf:
            raise ConfigurationError(f"time_scale must be 0 or more, not {time_scale}")
        self._answers = answers
        self._seed = seed
        self._latency = latency or Latency()
        self._time_scale = time_scale
        self._sleep = sleep
        self.calls = 0

    async def __call__(self, request: Request) -> Reply:
        """The whole answer, after its time."""
        reply = self._reply(request)
        await self._wait(reply.latency_seconds)
        return reply

    async def stream(self, request: Request) -> AsyncIterator[str | Reply]:
        """The answer word by word, evenly over its time, then a Reply without text that carries usage and latency."""
        reply = self._reply(request)
        pieces = _WORD.findall(reply.text)
        for piece in pieces:
            await self._wait(reply.latency_seconds / len(pieces))
            yield piece
        yield replace(reply, text="")

    def _reply(self, request: Request) -> Reply:
        self.calls += 1
        question = request.messages[-1].text
        text = self._answers(request) if callable(self._answers) else self._answers.get(question)
        if text is None:
            raise LookupError(f"the simulated model has no answer for this question of {len(question)} characters")
        asked = [request.system, *(message.text for message in request.messages)]
        return Reply(
            text=text,
            model="simulated",
            usage=Usage(input_tokens=sum(map(tokens, asked)), output_tokens=tokens(text)),
            latency_seconds=self._latency.quantile(self._chance(question)),
        )

    def _chance(self, question: str) -> float:
        """Uniform in (0, 1), from the seed and the question."""
        digest = hashlib.sha256(f"{self._seed}\n{question}".encode("utf-8", "surrogatepass")).digest()
        return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48

    async def _wait(self, seconds: float) -> None:
        if self._time_scale:
            await self._sleep(seconds * self._time_scale)


def tokens(text: str) -> int:
    """Tokens by rule: a Chinese, Japanese or Korean character is 1/1.5, any other 1/4; rounded up."""
    wide = len(_WIDE.findall(text))
    return math.ceil(wide / 1.5 + (len(text) - wide) / 4)
