"""Step 7 of 9, by a language model: whether a stored answer may be given to whoever asks now.

For who would rather wait some 200 ms for a small model than for a whole answer of a large one. Each question costs a
call, which is counted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from yamabiko.core.economics import Prices
from yamabiko.core.mixing import checked
from yamabiko.core.normalise import normalise
from yamabiko.errors import ConfigurationError
from yamabiko.learn.answers import LONGEST_TEXT
from yamabiko.learn.budget import Budget
from yamabiko.learn.judge import Failed, tried
from yamabiko.learn.prompt import Verdict, parse_verdict, verifier_request
from yamabiko.ports import Generate, Mix
from yamabiko.types import Candidate, Reply, Request

YES, NO = 2.5, -4.0
"""What a verdict weighs at first, in log-odds: a yes for 12 to 1, a no for 1 to 55. Labels say more."""
HIGH = 0.95
"""Scores from here on are left alone: a call would cost more than it could save."""


class JudgeVerifier:
    """A ``Verifier``, and where ``graded`` a ``Graded`` one, that asks ``generate``, a model of your own.

    ``model``: its name, which labels are kept apart by. ``timeout_seconds``: after that it has said no.
    ``most``: so many candidates are asked about, all at once; the others get no word. ``budget`` pays for the calls,
    one each; None: no limit. ``prices`` say what they cost, where the model's replies don't. ``graded``: its word is
    weighed with the score, and nothing is served by it until labels certify that; otherwise it decides alone, from
    ``Policy.verify_similarity`` on. ``close_model`` is called by ``close``.

    ``calls``, ``input_tokens``, ``output_tokens`` and ``spent_usd`` count what it has cost so far.
    Raises ``ConfigurationError``.
    """

    def __init__(
        self,
        generate: Generate,
        *,
        model: str = "",
        timeout_seconds: float = 2.0,
        most: int = 1,
        budget: Budget | None = None,
        prices: Prices | None = None,
        graded: bool = True,
        close_model: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        if not timeout_seconds > 0 or most < 1:
            raise ConfigurationError("timeout_seconds must be above 0, and most at least 1")
        self.calls = self.input_tokens = self.output_tokens = 0
        self.spent_usd = 0.0
        self._generate = generate
        self._model = model
        self._timeout = timeout_seconds
        self._most = most
        self._budget = budget
        self._prices = prices
        self._close_model = close_model
        mix = Mix(name=f"judge:{model or 'model'}", bias=0.0, score=1.0, verifier=1.0, low=0.2, high=HIGH)
        self._mix = checked(mix) if graded else None

    def mix_for(self, _embedder: str, /) -> Mix | None:
        """See ``Graded.mix_for``: the same for every embedder."""
        return self._mix

    async def log_odds(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[float | None]:
        """See ``Graded.log_odds``."""
        said = await self._verdicts(request, candidates)
        return [{"same": YES, "different": NO}.get(verdict) for verdict in said]

    async def same(self, request: Request, candidates: Sequence[Candidate], /) -> Sequence[bool]:
        """See ``Verifier.same``."""
        return [verdict == "same" for verdict in await self._verdicts(request, candidates)]

    async def _verdicts(self, request: Request, candidates: Sequence[Candidate]) -> list[Verdict]:
        question = normalise(request).text or request.messages[-1].text
        asked = await asyncio.gather(*(self._verdict(question, one) for one in candidates[: self._most]))
        rest: list[Verdict] = ["unsure"] * (len(candidates) - len(asked))
        return asked + rest

    async def _verdict(self, question: str, candidate: Candidate) -> Verdict:
        """What the model says of one candidate; whatever goes wrong is unsure."""
        stored = candidate.entry.reply.text
        if max(map(len, (question, candidate.question.text, stored))) > LONGEST_TEXT:
            return "unsure"
        if self._budget is not None and not await self._budget.take():
            return "unsure"
        asking = verifier_request(question, candidate.question.text, stored, model=self._model)
        self.calls += 1
        said = await tried(lambda: self._generate(asking), self._timeout)
        if isinstance(said, Failed):
            return "unsure"
        reply = said if isinstance(said, Reply) else Reply(text=str(said))
        self._count(reply)
        return parse_verdict(reply.text) if reply.finish_reason == "stop" else "unsure"

    def _count(self, reply: Reply) -> None:
        self.input_tokens += reply.usage.input_tokens
        self.output_tokens += reply.usage.output_tokens
        model = reply.model or self._model
        priced = 0.0 if self._prices is None else self._prices.cost_usd(reply.usage, model)
        self.spent_usd += reply.cost_usd or priced

    async def close(self) -> None:
        """Let go of the model. May be called twice."""
        if self._close_model is not None:
            await self._close_model()
