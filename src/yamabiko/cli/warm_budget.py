"""What a warm-up may spend, kept in the store: a run that was killed goes on with what was left, and never anew.

A call begins only where its worst case fits into what is left. That much is noted as spent before the call, and what it
really cost in its place afterwards: whatever a killed run was asking for stays spent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yamabiko.core.economics import Prices
from yamabiko.errors import ConfigurationError
from yamabiko.ports import SharedState, Store
from yamabiko.settings import GeneratorSettings
from yamabiko.types import Reply, Request, Usage

NAME = "warm"
"""Under which all runs of a cache are kept, in one small value."""
RUNS = 32
"""So many are remembered, the last ones."""
OUTPUT_TOKENS = 4096
"""The longest answer that is expected where neither request nor settings bound it."""
PASSAGE_TOKENS = 1000
"""What one passage of a knowledge base is expected to add to a prompt at most."""
_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may spend in all, however often it is begun again; None where nothing is limited."""

    calls: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Calls of the model, and USD for them and for embeddings."""

    calls: int = 0
    usd: float = 0.0


class Budget:
    """The budget of one run; processes of the same name share it where the store is shared.

    ``clock`` gives seconds UTC epoch, by which old runs are forgotten.
    """

    def __init__(self, store: Store, run: str, limits: Limits, clock: Callable[[], float]) -> None:
        self._shared = store if isinstance(store, SharedState) and limits != Limits() else None
        self._run = run
        self._limits = limits
        self._clock = clock
        self._running = 0
        self._changed = asyncio.Condition()
        self.spent = Spent()

    async def begin(self, usd: float) -> bool:
        """Take one call and its worst case; False where that does not fit, even when what is under way has ended."""
        async with self._changed:
            while not await self._take(1, usd):
                if not self._running:
                    return False
                await self._changed.wait()
            self._running += 1
            return True

    async def end(self, reserved: float, usd: float, *, calls: int = 0) -> None:
        """Put what a call cost in the place of what was reserved; ``calls``: -1 where none was made."""
        async with self._changed:
            self._running -= 1
            await self._take(calls, usd - reserved)
            self._changed.notify_all()

    async def add(self, usd: float) -> None:
        """Note what was spent beside calls."""
        if usd:
            await self._take(0, usd)

    async def _take(self, calls: int, usd: float) -> bool:
        while True:
            stored = None if self._shared is None else await self._shared.load_state(NAME)
            runs: dict[str, Any] = {} if stored is None else json.loads(stored.data)
            known = runs.get(self._run)
            before = self.spent if self._shared is None else Spent(**known["spent"]) if known else Spent()
            after = Spent(calls=before.calls + calls, usd=max(0.0, before.usd + usd))
            if calls > 0 and not self._fits(after):
                self.spent = before
                return False
            if self._shared is not None:
                runs[self._run] = {"at": self._clock(), "spent": {"calls": after.calls, "usd": after.usd}}
                kept = dict(sorted(runs.items(), key=lambda item: -float(item[1]["at"]))[:RUNS])
                version = None if stored is None else stored.version
                if await self._shared.save_state(NAME, json.dumps(kept).encode(), expected=version) is None:
                    continue  # another process was faster
            self.spent = after
            return True

    def _fits(self, spent: Spent) -> bool:
        calls, usd = self._limits.calls, self._limits.usd
        return (calls is None or spent.calls <= calls) and (usd is None or spent.usd <= usd + 1e-12)


class Costs:
    """What calls cost by the price file. Raises ``ConfigurationError`` where ``needed`` and no price is known.

    ``model`` answers, ``embedder`` is what its tokens are priced as; empty where they cost nothing.
    """

    def __init__(
        self, prices: Prices, generator: GeneratorSettings, *, model: str, embedder: str, needed: bool
    ) -> None:
        for name in filter(None, (model, embedder)):
            if needed and not prices.known(name):
                raise ConfigurationError(
                    f"no price is known for {name}, so USD can't be limited: add it to a file that prices_path names,"
                    " or limit --max-calls"
                )
        self._prices = prices
        self._generator = generator
        self._model = model
        self._embedder = embedder

    @property
    def known(self) -> bool:
        """Whether what is asked has a price; without one, amounts are 0 and say nothing."""
        return all(self._prices.known(name) for name in (self._model, self._embedder) if name)

    def worst(self, request: Request) -> float:
        """USD for an answer as long as it may become: a token of the prompt is a byte at least."""
        texts = [request.system, request.tools, request.response_format, request.sampling]
        texts += [turn.text + "".join(turn.parts) for turn in request.messages]
        input_tokens = sum(len(text.encode(errors="surrogatepass")) for text in texts) + 8 * len(request.messages)
        passages = PASSAGE_TOKENS * self._generator.max_documents if self._generator.knowledge_base else 0
        usage = Usage(input_tokens=input_tokens + passages, output_tokens=self._longest(request))
        embedding = Usage(input_tokens=len(request.messages[-1].text.encode(errors="surrogatepass")))
        return self._prices.cost_usd(usage, self._model) + self._prices.cost_usd(embedding, self._embedder)

    def real(self, reply: Reply, reserved: float) -> float:
        """USD for an answer that came; what was reserved, where it does not say how long it was."""
        if not (reply.usage.input_tokens or reply.usage.output_tokens):
            return reserved
        model = reply.model if self._prices.known(reply.model) else self._model
        return reply.cost_usd or self._prices.cost_usd(reply.usage, model)

    def embedding(self, tokens: int) -> float:
        """USD for tokens that were embedded."""
        return self._prices.cost_usd(Usage(input_tokens=tokens), self._embedder)

    def _longest(self, request: Request) -> int:
        sampling = json.loads(request.sampling) if request.sampling else {}
        said = [sampling.get(name) for name in _BOUNDS] if isinstance(sampling, dict) else []
        bounds = [value for value in said if isinstance(value, int) and value > 0]
        return min(bounds) if bounds else self._generator.max_tokens or OUTPUT_TOKENS
