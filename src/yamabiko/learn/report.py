"""What the labels of a namespace show so far, for people: pure, of the items of its log. It decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yamabiko.core import binomial
from yamabiko.core.sampling import Sample
from yamabiko.learn.ledger import Ledger
from yamabiko.learn.namespaces import chain
from yamabiko.learn.records import Drawing, Drawn, Imported, Judged, decode_record
from yamabiko.ports import Logged

POINTS = 20
"""At most so many thresholds make a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdSeen:
    """What labels say of a threshold, by those that are a plain random sample of its would-be hits.

    ``missing``: drawn, and never labelled; they count as wrong. ``low`` and ``high``: the Clopper-Pearson interval of
    the wrong share.
    """

    threshold: float
    labels: int
    wrong: int
    missing: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a namespace's log holds under the versions in use.

    ``drawn``: look-ups that were drawn for a label. ``served``: those of them whose stored answer was served; the
    others were answered afresh. ``hits``: those at or above the threshold of their time, ``grey`` those below.
    ``labelled`` and ``wrong``: those that were judged; ``imported``: labels from outside. ``judges``: how many labels
    each rung of the ladder gave. ``first`` and ``last``: when they were drawn, seconds UTC epoch, None for none.
    """

    namespace: str
    drawn: int
    served: int
    hits: int
    grey: int
    labelled: int
    wrong: int
    imported: int
    imported_wrong: int
    judges: Mapping[str, int]
    first: float | None
    last: float | None
    curve: Sequence[ThresholdSeen]

    @property
    def unserved(self) -> int:
        """How many of the drawn look-ups were answered afresh."""
        return self.drawn - self.served


class LogRead:
    """The items of a root namespace's log, each understood once however many namespaces are asked about."""

    def __init__(self, items: Iterable[Logged]) -> None:
        kept = list(items)
        self.records = [(item.position, decode_record(item.data)) for item in kept]
        self.ledger = Ledger()
        self.ledger.take(kept)

    def namespaces(self) -> set[str]:
        """Every namespace of which the log tells, with its ancestors."""
        drawings = {record.drawing for _, record in self.records if isinstance(record, Drawn | Imported)}
        return {level for drawing in drawings for level in chain(drawing.namespace)}

    def labels_after(self, namespace: str, versions: str, position: int, *, now: float) -> int:
        """How many draws behind a position count as labels by now."""
        groups = self.ledger.resolved(namespace, versions, after=position, now=now, counted=False)
        return sum(len(draws) for _, draws in groups)

    def sample(self, namespace: str, versions: str, *, after: int, now: float) -> Sample:
        """The labels behind a position, up to the first draw of which it is not yet known what became of it."""
        ends = [end for end, _ in self.ledger.resolved(namespace, versions, after=after, now=now, counted=False)]
        return self.ledger.sample(namespace, versions, after=after, up_to=ends[-1] if ends else after)


def seen_of(
    log: LogRead,
    namespace: str,
    versions: str,
    *,
    after: int = 0,
    now: float,
    confidence: float,
    at: Iterable[float] = (),
) -> Seen:
    """What the log says of a namespace and those below it, from position ``after`` on.

    ``versions``: ``records.digest_of`` those in use. ``at``: thresholds that the curve holds whatever else it shows.
    """
    drawn: dict[str, Drawn] = {}
    verdicts: dict[str, Judged] = {}
    imported: list[bool] = []
    for position, record in log.records:
        if isinstance(record, Judged):
            verdicts.setdefault(record.trial, record)
        elif position > after and isinstance(record, Drawn) and _belongs(record.drawing, namespace, versions):
            drawn.setdefault(record.trial, record)
        elif position > after and isinstance(record, Imported) and _belongs(record.drawing, namespace, versions):
            imported += record.correct
    told = ((verdicts[trial], one) for trial, one in drawn.items() if trial in verdicts)
    judged = [verdict for verdict, one in told if verdict.entry == one.entry]  # not of another scores' candidate
    hits = sum(one.score >= one.drawing.threshold for one in drawn.values())
    times = [one.at for one in drawn.values()]
    return Seen(
        namespace=namespace,
        drawn=len(drawn),
        served=sum(one.served for one in drawn.values()),
        hits=hits,
        grey=len(drawn) - hits,
        labelled=len(judged),
        wrong=sum(not one.correct for one in judged),
        imported=len(imported),
        imported_wrong=len(imported) - sum(imported),
        judges=dict(Counter(one.how for one in judged)),
        first=min(times, default=None),
        last=max(times, default=None),
        curve=curve_of(log.sample(namespace, versions, after=after, now=now), confidence, at),
    )


def _belongs(drawing: Drawing, namespace: str, versions: str) -> bool:
    return drawing.versions == versions and namespace in chain(drawing.namespace)


def curve_of(sample: Sample, confidence: float, at: Iterable[float] = ()) -> list[ThresholdSeen]:
    """The wrong share of would-be hits by threshold, strict to loose."""
    scores = np.unique(sample.scores)[::-1]
    if len(scores) > POINTS:
        scores = scores[np.linspace(0, len(scores) - 1, POINTS).round().astype(np.intp)]
    points = []
    for threshold in sorted({*scores.tolist(), *at}, reverse=True):
        usable = sample.at(threshold)
        labels, missing = int(np.count_nonzero(usable)), sample.missing_at(threshold)
        if not labels + missing:
            continue
        wrong = int(np.count_nonzero(usable & sample.wrong))
        low, high = binomial.interval(wrong + missing, labels + missing, confidence)
        points.append(
            ThresholdSeen(threshold=threshold, labels=labels, wrong=wrong, missing=missing, low=low, high=high)
        )
    return points
