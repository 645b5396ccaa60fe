"""The weights that a team has fitted to its own labels, kept in the store: all workers follow, and each can be undone.

One small value per embedding model: every version that was ever fitted, without any text, and which one is in use. It
is tried beside the one that came with the verifier, and takes over in a namespace when labels certify that it serves
more there (``core.contest``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from yamabiko.core.mixing import checked, version_of
from yamabiko.core.refit import Judged
from yamabiko.errors import ConfigurationError, StoreError, StoreUnavailable
from yamabiko.learn.ledger import GIVEN_UP
from yamabiko.learn.namespaces import namespace_of
from yamabiko.learn.records import Drawn, decode_record
from yamabiko.learn.records import Judged as Told
from yamabiko.learn.standings import Spawn
from yamabiko.ports import Logged, Mix, SharedState

MOST_KEPT = 20
_TRIES = 10
_TIMEOUT_SECONDS = 1.0


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """One fit: its number from 1 on, the verifier whose log-odds it weighs, the weights, and what it was fitted to.

    ``labels`` of which ``tested`` were held out, the latest ones; of these ``served`` would have been served, and
    ``served_before`` by the weights until then. ``at``: seconds UTC epoch.
    """

    number: int
    verifier: str
    bias: float
    score: float
    weight: float
    doubt: float
    low: float
    high: float
    labels: int
    tested: int
    served: int
    served_before: int
    at: float

    def mix(self) -> Mix:
        """As the path takes it. Raises ``ConfigurationError`` for numbers that can't be."""
        return checked(
            Mix(
                name=self.verifier,
                bias=self.bias,
                score=self.score,
                verifier=self.weight,
                doubt=self.doubt,
                low=self.low,
                high=self.high,
            )
        )


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """All fits for one embedding model, and the number of the one in use; 0: none, but the verifier's own weights."""

    format: int = 1
    active: int = 0
    fits: tuple[Fitted, ...] = ()

    @property
    def in_use(self) -> Fitted | None:
        """The fit in use."""
        return next((fit for fit in self.fits if fit.number == self.active), None)


def state_name(embedder: str) -> str:
    """Where the fits for an embedding model are kept."""
    return f"verifier:{namespace_of(embedder, '', '')}"


async def load_kept(shared: SharedState, embedder: str) -> tuple[Kept, int | None]:
    """The fits, and the version of the stored value. Raises ``StoreError``, and ``ConfigurationError`` for noise."""
    stored = await shared.load_state(state_name(embedder))
    if stored is None:
        return Kept(), None
    try:
        return msgspec.json.decode(stored.data, type=Kept), stored.version
    except msgspec.MsgspecError:
        raise ConfigurationError(
            "the verifier's fitted weights can't be read: a later release may have written them"
        ) from None


async def change_kept(shared: SharedState, embedder: str, change: Callable[[Kept], Kept]) -> Kept:
    """Replace them by what ``change`` makes of them, which may be asked again. Raises as ``load_kept``."""
    for _ in range(_TRIES):
        kept, version = await load_kept(shared, embedder)
        changed = change(kept)
        data = msgspec.json.encode(changed)
        if changed == kept or await shared.save_state(state_name(embedder), data, expected=version) is not None:
            return changed
    raise StoreUnavailable("the verifier's fitted weights change faster than they can be saved")


def with_fit(kept: Kept, fit: Fitted) -> Kept:
    """With one more fit, which is in use from now on; it gets the next number."""
    number = 1 + max((known.number for known in kept.fits), default=0)
    added = msgspec.structs.replace(fit, number=number)
    return msgspec.structs.replace(kept, active=number, fits=(*kept.fits[1 - MOST_KEPT :], added))


def judged_of(items: Iterable[Logged], verifier: str, versions: Collection[str]) -> list[Judged]:
    """The labels of look-ups that a verifier was asked about, in their order.

    ``versions``: digests of those under which the score without it is the one in use.
    """
    drawn: dict[str, Drawn] = {}
    found: dict[str, Judged] = {}
    for item in items:
        record = decode_record(item.data)
        if isinstance(record, Drawn) and record.drawing.versions in versions and record.verifier == verifier:
            drawn.setdefault(record.trial, record)
        elif isinstance(record, Told) and record.how != GIVEN_UP and record.trial not in found:
            draw = drawn.get(record.trial)
            if draw is not None and draw.entry == record.entry and draw.alone is not None and draw.log_odds is not None:
                rate = min(draw.drawing.below, draw.drawing.above)
                found[record.trial] = Judged(
                    id=record.trial, alone=draw.alone, log_odds=draw.log_odds, correct=record.correct, rate=rate
                )
    return [found[trial] for trial in drawn if trial in found]


def taken_back(kept: Kept) -> Kept:
    """With the fit before the one in use; without one, the verifier's own weights."""
    before = max((fit.number for fit in kept.fits if fit.number < kept.active), default=0)
    return msgspec.structs.replace(kept, active=before)


class Trained:
    """The fits in use, as one process knows them; read behind, at first sight and now and then."""

    def __init__(
        self, shared: SharedState | None, *, clock: Callable[[], float], spawn: Spawn, refresh_seconds: float
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._spawn = spawn
        self._refresh_seconds = refresh_seconds
        self._known: dict[str, Mix | None] = {}
        self._read: dict[str, float] = {}

    def beside(self, embedder: str, own: Mix) -> Sequence[Mix]:
        """The mix in use for an embedder, where it is for this verifier and other than its ``own``; from memory."""
        if self._shared is not None and not 0 <= self._clock() - self._read.get(embedder, -1.0) < self._refresh_seconds:
            self._read[embedder] = self._clock()
            self._spawn("reading the verifier's weights", self.refresh(embedder))
        mix = self._known.get(embedder)
        return () if mix is None or mix.name != own.name or version_of(mix) == version_of(own) else (mix,)

    async def refresh(self, embedder: str) -> None:
        """Read them now; where that fails, what was known stays."""
        if self._shared is None:
            return
        with contextlib.suppress(StoreError, TimeoutError, ConfigurationError):
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                kept, _ = await load_kept(self._shared, embedder)
            fit = kept.in_use
            self._known[embedder] = None if fit is None else fit.mix()
