"""What the path tells about itself: one frozen Event per call, without a word of any prompt or answer."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from yamabiko.types import Hit, Miss, MissReason, Reply, Tier, Trial

Call: TypeAlias = Literal["lookup", "answer", "stream", "remember", "renew", "audit", "label", "standing", "forged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One call of the cache.

    ``outcome`` is hit or miss for look-ups, raised where no answer came (the model failed, or the caller left); for
    writes it is stored, refused (the reply is not worth keeping) or failed (the store is not well); for a label same,
    different or unsure, of a stored answer and a fresh one, and ``served`` says that the stored one had been; for a
    namespace's standing its new state, with the one ``before`` and ``why``. ``key`` is the first 16 hexadecimal digits
    of the key. ``shared`` says that the call waited for another caller's generation, in
    this process or another one.
    ``seconds`` is the whole call, ``embed_seconds`` and ``search_seconds`` what two of its steps took. ``saved_*`` are
    what the answer had cost when it was made, less what this call took; ``spent_usd`` is what this call's generation
    cost. ``why`` says in a sentence why a reply was not stored.
    """

    call: Call
    outcome: str
    tier: Tier | None = None
    reason: MissReason | None = None
    key: str = ""
    model: str = ""
    similarity: float | None = None
    score: float | None = None
    error_upper: float | None = None
    calibration: str = ""
    namespace: str = ""
    stale: bool = False
    shared: bool = False
    seconds: float = 0.0
    embed_seconds: float = 0.0
    search_seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    saved_usd: float = 0.0
    saved_seconds: float = 0.0
    spent_usd: float = 0.0
    served: bool = False
    before: str = ""
    why: str = ""


@dataclass(slots=True)
class Watch:
    """Where the time of one call goes; ``started`` is of ``time.perf_counter``."""

    started: float
    embed_seconds: float = 0.0
    search_seconds: float = 0.0


def of_call(call: Call, outcome: Hit | Miss, watch: Watch, reply: Reply | None, *, shared: bool) -> Event:
    """What a look-up, an answer or a stream came to."""
    hit = outcome if isinstance(outcome, Hit) else None
    shared = shared or (hit is not None and hit.shared)
    seconds = time.perf_counter() - watch.started
    told = reply if reply is not None else Reply(text="")
    saved = hit is not None or shared
    return Event(
        call=call,
        outcome="raised" if reply is None and call != "lookup" else "miss" if hit is None else "hit",
        tier=None if hit is None else hit.tier,
        reason=outcome.reason if isinstance(outcome, Miss) else None,
        key=outcome.key.hex[:16] if outcome.key is not None else "",
        model=told.model,
        similarity=outcome.similarity,
        score=None if hit is None else hit.score,
        error_upper=None if hit is None else hit.error_upper,
        calibration="" if hit is None or hit.tier == "exact" else hit.calibration,
        namespace=outcome.namespace,
        stale=hit is not None and hit.stale,
        shared=shared,
        seconds=seconds,
        embed_seconds=watch.embed_seconds,
        search_seconds=watch.search_seconds,
        input_tokens=told.usage.input_tokens,
        output_tokens=told.usage.output_tokens,
        saved_usd=told.cost_usd if saved else 0.0,
        saved_seconds=max(0.0, told.latency_seconds - seconds) if saved else 0.0,
        spent_usd=0.0 if saved else told.cost_usd,
    )


def of_write(
    call: Call, miss: Miss, watch: Watch, reply: Reply, *, outcome: Literal["stored", "refused", "failed"], why: str
) -> Event:
    """What storing a reply came to."""
    return Event(
        call=call,
        outcome=outcome,
        key=miss.key.hex[:16] if miss.key is not None else "",
        model=reply.model,
        seconds=time.perf_counter() - watch.started,
        embed_seconds=watch.embed_seconds,
        input_tokens=reply.usage.input_tokens,
        output_tokens=reply.usage.output_tokens,
        spent_usd=reply.cost_usd if call == "renew" else 0.0,
        why=why,
    )


def of_label(trial: Trial, verdict: str, how: str, *, spent_usd: float = 0.0) -> Event:
    """What comparing a stored answer with a fresh one came to."""
    return Event(
        call="label",
        outcome=verdict,
        key=trial.candidate.entry.id[:16],
        similarity=trial.candidate.similarity,
        score=trial.score,
        namespace=trial.namespace,
        served=trial.served,
        spent_usd=spent_usd,
        why=how,
    )


Hook: TypeAlias = Callable[[Event], None]
"""Is called once per Event, after the reply has left, on the event loop; must be quick.

What it raises goes to the loop's exception handler and reaches no caller.
"""

_NAMES = tuple(field.name for field in fields(Event))


class LogEvents:
    """A hook that writes each event as one line of JSON; empty fields are left out."""

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logger or logging.getLogger("yamabiko.events")
        self._level = level

    def __call__(self, event: Event) -> None:
        """Write one line."""
        if self._logger.isEnabledFor(self._level):
            told = {name: value for name in _NAMES if (value := getattr(event, name)) not in (None, "", 0, False)}
            self._logger.log(self._level, "%s", json.dumps(told))


class Counters:
    """A hook that counts: requests by outcome, tier and reason, what was saved and spent, and recent latencies.

    ``window`` is how many latencies per kind are remembered for percentiles (the newest ones).
    """

    def __init__(self, window: int = 10_000) -> None:
        self.counts: Counter[str] = Counter()
        self.saved_usd = 0.0
        self.saved_seconds = 0.0
        self.spent_usd = 0.0
        self._window = window
        self._latencies: dict[str, deque[float]] = {}

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if event.call in ("remember", "renew", "audit", "label", "standing", "forged"):
            self.counts[f"{event.call}_{event.outcome}"] += 1
            self.spent_usd += event.spent_usd
            return
        self.counts["requests"] += 1
        self.counts[event.outcome] += 1
        detail = event.tier or event.reason
        if detail is not None:
            self.counts[f"{event.outcome}:{detail}"] += 1
        for name in ("stale", "shared"):
            if getattr(event, name):
                self.counts[name] += 1
        self.saved_usd += event.saved_usd
        self.saved_seconds += event.saved_seconds
        self.spent_usd += event.spent_usd
        kind = "raised" if event.outcome == "raised" else event.tier or event.outcome
        self._latencies.setdefault(kind, deque(maxlen=self._window)).append(event.seconds)

    def percentile(self, share: float, *kinds: str) -> float | None:
        """Latency (seconds) below which ``share`` (0..1) of the recent calls of these kinds stayed; None without any.

        Kinds are the tiers (exact, semantic, verified) and ``miss``.
        """
        latencies = sorted(value for kind in kinds for value in self._latencies.get(kind, ()))
        if not latencies:
            return None
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    def hit_rate(self) -> float:
        """Hits per request, 0..1; 0 before any request."""
        return self.counts["hit"] / self.counts["requests"] if self.counts["requests"] else 0.0


def emit(hooks: Sequence[Hook], event: Event, call_soon: Callable[..., object]) -> None:
    """Give an event to each hook after the current step of the loop, so that no hook delays a reply."""
    for hook in hooks:
        call_soon(hook, event)
