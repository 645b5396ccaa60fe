"""Our decision as it learns on a stream, for benchmarks/quality.py: whether the promise is kept. Nothing runs here.

``Learned`` is what ``Cache.answer`` does, without its store, embedder and clockwork: guards, score, the standing of the
namespace as ``learn.advance`` moves it, audits by lot, aliases, and questions that an entry never answers again. That
makes twenty seeds of twenty thousand requests affordable; ``quality_public.Public`` asks the cache itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quality_arms import CANDIDATES, Pairs, Ranked, Served, Shelf
from quality_streams import Ints, Pool, Stream
from quality_tally import Tally, rate
from yamabiko.core.calibrate import Terms, Versions
from yamabiko.core.score import with_entry
from yamabiko.core.shipped import shipped_threshold
from yamabiko.core.states import State
from yamabiko.learn.advance import Rules, fresh, settle, step
from yamabiko.learn.ledger import Ledger
from yamabiko.learn.records import Drawn, Judged, digest_of, encode_record, promise_of
from yamabiko.ports import Logged
from yamabiko.types import Policy

CONFIDENCE = 0.95


class Learned:
    """Starts where a new cache starts: at the shipped threshold where there is one, in shadow where there is none.

    ``entries``: score v2, with each entry's own intercept; without it, v1. ``shipped``: False starts in shadow.
    """

    def __init__(
        self,
        name: str,
        pool: Pool,
        stored: Ints,
        pairs: Pairs,
        budget: float,
        *,
        run: str,
        entries: bool = True,
        shipped: bool = True,
    ) -> None:
        self.name, self.judged, self.audits = name, 0, 0
        self.audited_hits = 0
        self._shelf = Shelf(pool, stored)
        self._pairs = pairs
        self._spread = pairs.model.spread if entries else 0.0
        self._rules = rules(pairs.model.embedder, pairs.model.version, budget, shipped=shipped)
        self._ledger = Ledger()
        self.known = settle(fresh(pairs.model.embedder, self._rules), (), self._rules, now=0.0)
        self._owner: dict[int, int] = {}
        self._never: set[tuple[int, int]] = set()
        self._run = run
        self._at = 0
        self._drawn: Drawn | None = None

    def ask(self, question: int, truth: Ints) -> Served | None:
        self._at += 1
        self._drawn = None
        if question in self._owner:
            return Served(self._owner[question], "alias")
        if question in self._shelf:
            return Served(question, "exact")
        ranked, population = self._ranked(question)
        if not ranked:
            return None
        entry, score = ranked[0]
        serves = self.known.threshold is not None and score >= self.known.threshold
        drawing = self.known.drawing
        trial = f"{self._run}:{self._at}"
        if drawing is not None and drawing.design().draws(trial, score):
            self._drawn = Drawn(
                trial=trial,
                drawing=drawing,
                score=score,
                population=population[entry],
                similarity=0.0,
                entry=str(entry),
                question=str(question),
                served=serves,
                at=float(self._at),
            )
        if not serves:
            return None
        if self._drawn is not None:
            self.audits += 1
            self.audited_hits += 1
            self._label(entry, question, truth)
        return Served(entry, "semantic", score)

    def learn(self, question: int, truth: Ints) -> None:
        if self._drawn is not None:
            self._label(int(self._drawn.entry), question, truth)
        self._shelf.add(question)

    def _ranked(self, question: int) -> tuple[Ranked, dict[int, float]]:
        nearest: dict[int, tuple[int, float]] = {}  # of an entry's questions only the nearest one counts
        for place, cosine in self._shelf.candidates(question, 2 * CANDIDATES):
            nearest.setdefault(self._owner.get(place, place), (place, cosine))
        found = {place: entry for entry, (place, _) in list(nearest.items())[:CANDIDATES]}
        scored = self._pairs.scored(question, [nearest[entry] for entry in found.values()])
        population = {found[place]: score for place, score in scored if (found[place], question) not in self._never}
        seen = self._ledger.entries
        own = [(at, with_entry(score, seen.get(str(at)), spread=self._spread)) for at, score in population.items()]
        return sorted(own, key=lambda row: -row[1]), population

    def _label(self, entry: int, question: int, truth: Ints) -> None:
        """What the judge says, and all that follows: a judge that is never wrong."""
        drawn, right = self._drawn, bool(truth[entry] == truth[question])
        self._drawn = None
        self.judged += 1
        verdict = Judged(trial=drawn.trial, entry=drawn.entry, correct=right, how="judge", at=drawn.at)
        place = self._ledger.position
        self._ledger.take(
            Logged(position=place + at, id=f"{drawn.trial}/{at}", data=encode_record(record))
            for at, record in ((1, drawn), (2, verdict))
        )
        self.known = step(self.known, (), self._ledger, self._rules, now=drawn.at)
        if not right:
            self._never.add((entry, question))
        elif drawn.served:
            self._owner[question] = entry
            self._shelf.add(question)


def rules(embedder: str, version: str, budget: float, *, shipped: bool) -> Rules:
    """What a cache with this budget and a judge goes by."""
    policy = Policy(max_error_rate=budget, confidence=CONFIDENCE)
    found = shipped_threshold(embedder, budget, CONFIDENCE) if shipped else None
    versions = Versions(score=version, embedder=embedder)
    terms = Terms(max_error_rate=budget, confidence=CONFIDENCE, namespace=embedder, versions=versions)
    return Rules(
        terms=terms,
        promise=promise_of(policy),
        versions=digest_of(versions),
        learning=True,
        shipped=None if found is None else found.threshold,
    )


@dataclass(frozen=True, slots=True)
class Run:
    """One stream: everything, the part before the change, and how long it took after it.

    ``recovered``: audited hits after the change until what is served from there on keeps the budget; None where nothing
    changed. ``states``: the namespace's standings, each with the request at which it began.
    """

    whole: Tally
    before: Tally
    recovered: int | None
    states: tuple[tuple[int, str, float | None], ...]
    audited_hits: int

    def kept(self, budget: float) -> bool:
        """Whether the promise was kept: before the change, where there was one."""
        return self.before.kept(budget)

    def row(self, budget: float) -> dict[str, object]:
        return {
            "kept": self.kept(budget),
            "recovered_after_audits": self.recovered,
            "audited_hits": self.audited_hits,
            "states": [list(state) for state in self.states],
            "before": self.before.row(),
            **self.whole.row(),
        }


def run(arm: Learned, stream: Stream, budget: float) -> Run:
    """Ask everything in order, and note where the standing moves."""
    whole, before = Tally(), Tally()
    after: list[tuple[int, bool]] = []
    states: list[tuple[int, str, float | None]] = []
    audited = 0
    for at, question in enumerate(stream.requests.tolist()):
        truth = stream.truth(at)
        if at == stream.change:
            audited = arm.audited_hits
        standing = (str(arm.known.state), arm.known.threshold)
        if not states or states[-1][1:] != standing:
            states.append((at, *standing))
        served = arm.ask(question, truth)
        tallies = (whole, before) if at < stream.change else (whole,)
        if served is None:
            arm.learn(question, truth)
            for tally in tallies:
                tally.miss()
            continue
        right = bool(truth[served.entry] == truth[question])
        for tally in tallies:
            tally.hit(served.tier, right=right)
        if at >= stream.change and served.tier == "semantic":
            after.append((arm.audited_hits - audited, not right))
    whole.judged, whole.generated = arm.judged, whole.generated + arm.audits
    changed = stream.change < len(stream.requests)
    return Run(whole, before, recovery(after, budget) if changed else None, tuple(states), arm.audited_hits)


def recovery(hits: list[tuple[int, bool]], budget: float) -> int:
    """From (audited hits by then, wrong?) of each hit: after how many audits the rest keeps the budget.

    The rest is what comes later up to the end; an empty one keeps it.
    """
    wrong = count = 0
    least = hits[-1][0] + 1 if hits else 0
    for audits, bad in reversed(hits):
        wrong, count = wrong + bad, count + 1
        if wrong <= budget * count:
            least = audits
    return least


def summary(runs: list[Run], budget: float) -> dict[str, object]:
    """How often the promise was kept, and what it brought."""
    kept = sum(run.kept(budget) for run in runs)
    recovered = [run.recovered for run in runs if run.recovered is not None]
    worst = max((run.before.wrong_per_hit for run in runs), default=0.0)
    serving = [sum(state == State.SERVING for _, state, _ in run.states) > 0 for run in runs]
    return {
        "runs": len(runs),
        "kept": rate(kept, len(runs)),
        "worst_wrong_per_hit": worst,
        "served_by_meaning": float(np.mean([run.whole.hit_rate for run in runs])),
        "ever_serving": sum(serving),
        "audited_hits": float(np.mean([run.audited_hits for run in runs])),
        "recovered_after_audits": {
            "median": float(np.median(recovered)),
            "worst": max(recovered),
            "within_500": rate(sum(audits <= 500 for audits in recovered), len(recovered)),
        }
        if recovered
        else None,
    }
