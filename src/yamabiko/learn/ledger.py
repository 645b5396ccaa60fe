"""A log of labels as memory has it: who was drawn, what became of it, and the sample that this makes of a namespace.

Draws are taken in the order of the log, and a sample ends before the first draw whose label may still come. So it does
not matter which label comes first: nobody can choose the sample by its outcome, and all workers get the same one. A
draw whose label has not come after ``GRACE_SECONDS`` counts as wrong.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from yamabiko.core.sampling import Design, Label, Sample, lots_of
from yamabiko.core.score import EntryLabels
from yamabiko.errors import ConfigurationError
from yamabiko.learn.namespaces import chain
from yamabiko.learn.records import Counted, Drawing, Drawn, Imported, Judged, decode_record
from yamabiko.ports import Logged

GRACE_SECONDS = 600.0
"""How long the label of a draw may take: a generation and a judge, with their retries."""
GIVEN_UP = "given_up"
"""How a trial ends that nobody could judge."""
WINDOW = 4000
"""How many draws a sample goes back: more hardly lower the bound, and the world does not stand still."""
LOG_LONGEST = 20_000
LOG_KEPT = 15_000
"""A log that is longer than the first is trimmed to the second, the latest items.

That breaks no claim. A certificate shows what it claims by its own counts, and how many labels and attempts there were
stands in ``NamespaceState``. Only ``recheck`` and the sample of a namespace with very few labels reach no further back.
"""
MOST_ENTRIES = 20_000
OF_DESCENDANTS = 0.02
"""The share of a descendant's hits that count as audits of an ancestor, however many are audited."""


@dataclass(slots=True)
class Draw:
    """One look-up that was drawn. ``correct``: None where there is no label; ``lost``: and none will come."""

    position: int
    trial: str
    drawing: Drawing
    design: Design
    score: float
    population: float
    at: float
    lots: tuple[float, float]
    correct: bool | None = None
    lost: bool = False
    entry: str = ""

    def resolved(self, now: float) -> bool:
        """Whether it is known what became of it, or too late to know."""
        return self.correct is not None or self.lost or now - self.at > GRACE_SECONDS

    def audits(self, threshold: float, namespace: str) -> bool:
        """Whether its label is one of a plain random sample of the hits of a namespace at a threshold.

        Imported labels are not. Of descendants only ``OF_DESCENDANTS`` are taken: else one of them that is suspicious,
        and hence audited more, would speak for all.
        """
        if self.drawing.census or self.correct is None or self.score < threshold:
            return False
        rate = self.design.common(threshold)
        return self.lots[0] < (rate if self.drawing.namespace == namespace else min(rate, OF_DESCENDANTS))

    def stands_apart(self, namespace: str) -> bool:
        """Whether it is of a descendant in shadow: while the namespace serves, one that does not go by its word."""
        return self.drawing.above >= 1.0 and not self.drawing.census and self.drawing.namespace != namespace


@dataclass(slots=True)
class _Count:
    position: int
    design: str
    requests: int
    audited: int


@dataclass(slots=True)
class _Page:
    """What a namespace has under one set of versions, its own and its descendants', in the order of the log.

    ``covers``: the positions of the counts of live requests.
    """

    draws: list[Draw] = field(default_factory=list)
    counts: list[_Count] = field(default_factory=list)
    covers: list[int] = field(default_factory=list)


class Ledger:
    """The log of one root namespace, as far as it was read.

    ``position``: up to where. ``entries``: what labels have shown of single entries, by id, of the latest
    ``MOST_ENTRIES``. ``unread``: how many items could not be understood.
    """

    def __init__(self) -> None:
        self.position = 0
        self.unread = 0
        self._positions: list[int] = []
        self._pages: dict[tuple[str, str], _Page] = {}
        self._draws: dict[str, list[Draw]] = {}
        self._designs: dict[Drawing, Design | None] = {}
        self._entries: dict[str, EntryLabels] = {}
        self.entries: Mapping[str, EntryLabels] = MappingProxyType(self._entries)

    def take(self, items: Iterable[Logged]) -> None:
        """Read on; items come in the order of the log."""
        for item in items:
            if item.position <= self.position:
                continue
            self.position = item.position
            self._positions.append(item.position)
            record = decode_record(item.data)
            if isinstance(record, Drawn):
                self._drawn(item.position, record)
            elif isinstance(record, Judged):
                self._judged(record)
            elif isinstance(record, Counted):
                self._counted(item.position, record.drawing, record.requests, record.audited)
            elif isinstance(record, Imported):
                self._imported(item.position, record)
            else:
                self.unread += 1

    def excess(self) -> int:
        """The position up to which a log that has grown too long should be trimmed; 0 while it has not."""
        return self._positions[-LOG_KEPT - 1] if len(self._positions) > LOG_LONGEST else 0

    def forget(self, up_to: int) -> None:
        """What was trimmed goes here too."""
        del self._positions[: bisect_right(self._positions, up_to)]
        for page in self._pages.values():
            for draw in page.draws[: _after(page.draws, up_to)]:
                self._draws.pop(draw.trial, None)
            del page.draws[: _after(page.draws, up_to)]
            del page.counts[: _after(page.counts, up_to)]
            del page.covers[: bisect_right(page.covers, up_to)]
        self._pages = {key: page for key, page in self._pages.items() if page.draws or page.counts}
        used = {draw.drawing for draws in self._draws.values() for draw in draws}
        self._designs = {drawing: design for drawing, design in self._designs.items() if drawing in used}

    def resolved(
        self, namespace: str, versions: str, *, after: int, now: float, counted: bool
    ) -> Sequence[tuple[int, Sequence[Draw]]]:
        """The draws behind a position up to the first of which it is not yet known what became of it.

        In groups of which all count or none, each with the position where it ends: the draws of one item of the log;
        ``counted``: the draws up to a count of requests, since it takes both to say anything per request.
        """
        page = self._pages.get((namespace, versions), _Page())
        groups: list[tuple[int, list[Draw]]] = []
        for draw in page.draws[_after(page.draws, after) :]:
            end = _counted_at(page, draw) if counted and not draw.drawing.census else draw.position
            if groups and groups[-1][0] >= end > 0:
                groups[-1][1].append(draw)
            else:
                groups.append((end, [draw]))
            if end == 0 or not draw.resolved(now):
                groups.pop()
                break
        return groups

    def behind(self, namespace: str, versions: str, position: int) -> int:
        """How many draws there are behind a position."""
        draws = self._pages.get((namespace, versions), _Page()).draws
        return len(draws) - _after(draws, position)

    def latest(self, namespace: str, versions: str, *, after: int, up_to: int, most: int) -> Sequence[Draw]:
        """At most so many draws in (``after``, ``up_to``], the latest ones, in their order."""
        draws = self._pages.get((namespace, versions), _Page()).draws
        end = _after(draws, up_to)
        begin = max(_after(draws, after), end - most)
        while 0 < begin < end and draws[begin].position == draws[begin - 1].position:
            begin -= 1
        return draws[begin:end]

    def audited(self, namespace: str, versions: str, *, after: int, up_to: int) -> int:
        """How many requests in (``after``, ``up_to``] had a lot to be audited, hits or not."""
        counts = self._pages.get((namespace, versions), _Page()).counts
        return sum(count.audited for count in counts[_after(counts, after) : _after(counts, up_to)])

    def sample(self, namespace: str, versions: str, *, after: int, up_to: int, served_from: int = 0) -> Sample:
        """The labels of a namespace in (``after``, ``up_to``], of the latest ``WINDOW`` draws, with their designs.

        ``served_from``: the position from which on it has been serving; 0 where it is not. What stands apart since then
        is left out: the promise is about what is served.
        """
        draws = self.latest(namespace, versions, after=after, up_to=up_to, most=WINDOW)
        whole = len(draws) < WINDOW
        if served_from:
            draws = [draw for draw in draws if draw.position <= served_from or not draw.stands_apart(namespace)]
        drawn: dict[Drawing, int] = {}
        for draw in draws:
            drawn[draw.drawing] = drawn.get(draw.drawing, 0) + 1
        begin = after if whole or not draws else draws[0].position - 1
        requests = self._requests(namespace, versions, after=begin, up_to=up_to, whole=whole)
        designs = []
        for drawing, count in drawn.items():
            number = requests.get(drawing.id, 0)  # others' may not have been written yet, but none is drawn without
            designs.append(drawing.design(drawn=count, requests=max(number, count) if number else 0))
        labels = (
            Label(request=draw.trial, score=draw.score, correct=draw.correct, design=draw.design.id)
            for draw in draws
            if draw.correct is not None
        )
        return Sample.of(labels, designs, lots={draw.trial: draw.lots for draw in draws})

    def _requests(self, namespace: str, versions: str, *, after: int, up_to: int, whole: bool) -> Mapping[str, int]:
        """Requests per design. Unless ``whole`` the first count of each may reach back too far, and is left out."""
        counts = self._pages.get((namespace, versions), _Page()).counts
        begin = _after(counts, after)
        known = set() if whole else {count.design for count in counts[:begin]}
        found: dict[str, int] = {}
        for count in counts[begin : _after(counts, up_to)]:
            if count.design in known:
                known.discard(count.design)
                continue
            found[count.design] = found.get(count.design, 0) + count.requests
        return found

    def _drawn(self, position: int, record: Drawn) -> None:
        design, lots = self._design(record.drawing), lots_of(record.trial)
        known = self._draws.get(record.trial, ())  # scores that are not in force may have drawn it as well
        again = any(draw.drawing.versions == record.drawing.versions for draw in known)
        if design is None or again or not lots[0] < design.inclusion(record.score):
            self.unread += 1  # one that was not drawn would spoil the whole sample
            return
        draw = Draw(
            position=position,
            trial=record.trial,
            drawing=record.drawing,
            design=design,
            score=record.score,
            population=record.score if record.population is None else record.population,
            at=record.at,
            lots=lots,
            entry=record.entry,
        )
        self._draws.setdefault(draw.trial, []).append(draw)
        for page in self._levels(record.drawing):
            page.draws.append(draw)

    def _judged(self, record: Judged) -> None:
        draws = [draw for draw in self._draws.get(record.trial, ()) if draw.correct is None]
        about = [draw for draw in draws if draw.entry == record.entry and record.how != GIVEN_UP]
        for draw in draws:
            draw.lost = draw.lost or draw not in about  # whoever preferred another entry learns nothing of it
        if not about:
            return  # its draw was trimmed, or never written: it is in no sample
        for draw in about:
            draw.correct = record.correct
        seen = self._entries.pop(record.entry, None) or EntryLabels()
        seen.add(about[0].population, correct=record.correct)
        self._entries[record.entry] = seen
        if len(self._entries) > MOST_ENTRIES:
            del self._entries[next(iter(self._entries))]

    def _counted(self, position: int, drawing: Drawing, requests: int, audited: int) -> None:
        for page in self._levels(drawing):
            page.counts.append(_Count(position, drawing.id, requests, audited))
            if not drawing.census:
                page.covers.append(position)

    def _imported(self, position: int, record: Imported) -> None:
        design = self._design(record.drawing)
        if design is None or len(record.scores) != len(record.correct):
            self.unread += 1
            return
        for number, (score, correct) in enumerate(zip(record.scores, record.correct, strict=True)):
            trial = f"{record.batch}:{number}"
            lots = lots_of(trial)
            if trial in self._draws or not lots[0] < design.inclusion(score):
                continue
            draw = Draw(position, trial, record.drawing, design, score, score, record.at, lots, correct)
            self._draws[trial] = [draw]
            for page in self._levels(record.drawing):
                page.draws.append(draw)
        if record.requests:
            self._counted(position, record.drawing, record.requests, 0)

    def _design(self, drawing: Drawing) -> Design | None:
        if drawing not in self._designs:
            try:
                self._designs[drawing] = drawing.design()
            except ConfigurationError:
                self._designs[drawing] = None
        return self._designs[drawing]

    def _levels(self, drawing: Drawing) -> Iterator[_Page]:
        for level in chain(drawing.namespace):
            yield self._pages.setdefault((level, drawing.versions), _Page())


def _after(items: Sequence[Draw] | Sequence[_Count], position: int) -> int:
    """The place of the first item behind a position."""
    return bisect_right(items, position, key=lambda item: item.position)


def _counted_at(page: _Page, draw: Draw) -> int:
    """The position of the count that covers a draw; 0 while there is none."""
    place = bisect_left(page.covers, draw.position)
    return page.covers[place] if place < len(page.covers) else 0
