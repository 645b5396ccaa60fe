"""Which would-be hits are labelled, so that their labels say something about all of them.

A certificate is only as good as the draw behind it. Calibrated on what was rejected, or on what users complained of,
a threshold slides until the true error rate is many times the promised one. So a ``Label`` counts only where a
``Design``, fixed before anything was known of the outcome, drew its request; ``Sample.of`` repeats the draw and refuses
whatever was not drawn. What people say unasked (feedback) has no draw, and hence no way in here: it vetoes pairs and
trains scores.

Every request has a lot, a number in [0, 1) that follows from its id and from nothing else; a design draws it when the
lot is below the inclusion probability of its score. The requests whose lot is below the *lowest* probability from a
threshold upwards are then a plain random sample of the would-be hits at that threshold, even where audits and
grey-zone labels were drawn at different rates.

Source: Ohlsson, Coordination of Samples Using Permanent Random Numbers (1995): Poisson sampling, and that taking a
lower rate of the same numbers is again Poisson sampling.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from yamabiko.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Flags: TypeAlias = NDArray[np.bool_]
    Places: TypeAlias = NDArray[np.intp]
else:
    Floats = Flags = Places = Any


def lot(purpose: str, name: str, *, key: bytes = b"") -> float:
    """A number in [0, 1) that is always the same for a name and looks drawn at random; 53 bits of HMAC-SHA256.

    Lots for different purposes or keys are independent of each other. With a secret key nobody outside can choose a
    name for its lot.
    """
    digest = hmac.digest(key, f"yamabiko.lot.1:{len(purpose)}:{purpose}{name}".encode(), "sha256")
    return (int.from_bytes(digest[:8], "big") >> 11) / 2.0**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How requests were drawn for a label during one stretch of time.

    ``floor``: score from which on anything was drawn. ``threshold``: score that divides the grey zone from the hits,
    served or would-be. ``below`` and ``above``: inclusion probabilities in [0, 1] of the grey zone and of the hits.
    ``requests``: how many requests took part, that is, reached the tier by meaning while requests were drawn, whatever
    became of them; needed for wrong-per-request only, 0 where nobody counted. ``drawn``: how many of them were drawn.
    Drawn requests whose label is missing count as wrong: else whatever loses labels would choose the sample.

    A change of any rate or of the threshold is a new design. Raises ``ConfigurationError``.
    """

    id: str
    floor: float
    threshold: float
    below: float
    above: float
    drawn: int
    requests: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.below <= 1 and 0 <= self.above <= 1):
            raise ConfigurationError(f"inclusion probabilities must be in [0, 1], not {self.below} and {self.above}")
        if not -math.inf < self.floor <= self.threshold < math.inf:
            raise ConfigurationError(f"the floor {self.floor} must be at or below the threshold {self.threshold}")
        if self.drawn < 0 or (self.requests and self.drawn > self.requests):
            raise ConfigurationError(f"{self.drawn} drawn of {self.requests} requests can't be")

    def inclusion(self, score: float) -> float:
        """The probability with which a request of this score was drawn."""
        return 0.0 if not score >= self.floor else self.above if score >= self.threshold else self.below

    def draws(self, request: str, score: float) -> bool:
        """Whether this request is drawn. ``request`` is the id of one look-up, made by the cache, never used twice."""
        return audit_lot(request) < self.inclusion(score)

    def common(self, threshold: float) -> float:
        """The lowest inclusion probability of any would-be hit from a threshold upwards; 0 below the floor."""
        if threshold < self.floor:
            return 0.0
        return self.above if threshold >= self.threshold else min(self.below, self.above)


def census(design: str, *, floor: float, drawn: int, requests: int = 0) -> Design:
    """The design of imported pairs, of which every would-be hit from ``floor`` upwards has its label.

    Whoever imports them states that they are would-be hits as they came, or a random part of those: neither picked by
    outcome nor rejected pairs alone.
    """
    return Design(id=design, floor=floor, threshold=floor, below=1.0, above=1.0, drawn=drawn, requests=requests)


def audit_lot(request: str) -> float:
    """The lot that decides whether a request is labelled."""
    return lot("audit", request)


def pilot_lot(request: str) -> float:
    """The lot that decides whether a label places thresholds or tests them; independent of ``audit_lot``."""
    return lot("pilot", request)


def lots_of(request: str) -> tuple[float, float]:
    """Both lots of a request, which never change."""
    return audit_lot(request), pilot_lot(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Whether the best allowed candidate of one drawn request would have been the right answer.

    ``request``: id of the look-up. ``score``: the candidate's when it was drawn, never computed again: a score that
    has learned from a label would be tested on what it was taught. ``correct``: unsure is False. ``design``: id of the
    design that drew it.
    """

    request: str
    score: float
    correct: bool
    design: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Labels with the designs that drew them, in columns of one length (n,).

    Make it with ``of``. ``design``: place in ``designs``. ``missing``: drawn requests without a label, per design.
    ``digest``: SHA-256 over designs and labels, whatever their order; hexadecimal.
    """

    designs: tuple[Design, ...]
    scores: Floats
    wrong: Flags
    audit_lots: Floats
    pilot_lots: Floats
    design: Places
    missing: tuple[int, ...]
    digest: str

    @classmethod
    def of(
        cls,
        labels: Iterable[Label],
        designs: Iterable[Design],
        *,
        lots: Mapping[str, tuple[float, float]] | None = None,
    ) -> Sample:
        """Repeat every draw, and take the labels in. Raises ``ConfigurationError`` for what was not drawn.

        ``lots``: of each request what ``lots_of`` says, where somebody has them already.
        """
        known = {design.id: design for design in designs}
        ordered = sorted(labels, key=lambda label: label.request)
        drawn = [lots[label.request] if lots is not None else lots_of(label.request) for label in ordered]
        place = {name: number for number, name in enumerate(known)}
        counts = [0] * len(known)
        for number, label in enumerate(ordered):
            design = known.get(label.design)
            if design is None or not drawn[number][0] < design.inclusion(label.score):
                raise ConfigurationError(
                    "a label was not drawn by its design: only requests that were drawn at random among the would-be "
                    "hits may calibrate; feedback and hand-picked pairs may not"
                )
            if number and ordered[number - 1].request == label.request:
                raise ConfigurationError("a request has two labels; keep the last verdict")
            counts[place[label.design]] += 1
        for design, count in zip(known.values(), counts, strict=True):
            if count > design.drawn:
                raise ConfigurationError(f"{count} labels for {design.drawn} drawn requests: count them when drawn")
        return cls(
            designs=tuple(known.values()),
            scores=np.array([label.score for label in ordered], dtype=np.float64),
            wrong=np.array([not label.correct for label in ordered], dtype=np.bool_),
            audit_lots=np.array([audit for audit, _ in drawn], dtype=np.float64),
            pilot_lots=np.array([pilot for _, pilot in drawn], dtype=np.float64),
            design=np.array([place[label.design] for label in ordered], dtype=np.intp),
            missing=tuple(design.drawn - count for design, count in zip(known.values(), counts, strict=True)),
            digest=_digest(ordered, known.values()),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def only(self, chosen: Flags | Places) -> Sample:
        """Some of the labels, under the same designs and digest."""
        return replace(
            self,
            scores=self.scores[chosen],
            wrong=self.wrong[chosen],
            audit_lots=self.audit_lots[chosen],
            pilot_lots=self.pilot_lots[chosen],
            design=self.design[chosen],
        )

    def common(self, threshold: float) -> Floats:
        """Per design, the lowest inclusion probability from a threshold upwards (designs,)."""
        return np.array([design.common(threshold) for design in self.designs], dtype=np.float64)

    def at(self, threshold: float) -> Flags:
        """The labels (n,) that are a plain random sample of the would-be hits at a threshold."""
        result: Flags = (self.scores >= threshold) & (self.audit_lots < self.common(threshold)[self.design])
        return result

    def missing_at(self, threshold: float) -> int:
        """How many drawn requests without a label may have been would-be hits at a threshold."""
        drawn = self.common(threshold) > 0
        return sum(count for count, used in zip(self.missing, drawn, strict=True) if used)


def _digest(labels: Iterable[Label], designs: Iterable[Design]) -> str:
    digest = sha256(b"yamabiko.sample.1")
    for design in sorted(designs, key=lambda design: design.id):
        numbers = (design.floor, design.threshold, design.below, design.above, design.drawn, design.requests)
        digest.update(f"design:{len(design.id)}:{design.id}:{numbers!r}".encode())
    for label in labels:
        digest.update(f"label:{len(label.request)}:{label.request}:{label.score!r}:{label.correct}".encode())
        digest.update(f":{len(label.design)}:{label.design}".encode())
    return digest.hexdigest()
