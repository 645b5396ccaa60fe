"""What an experiment shows by now: which arm serves more, at which certified error. May be read at any time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

from yamabiko.core.experiment import Comparison, Report, report
from yamabiko.learn.experiment_counts import Arms, Counts
from yamabiko.learn.experiment_records import Definition

CONTROL, TREATMENT = "control", "treatment"
NOTHING_CERTIFIED = "nothing is certified yet"
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """An experiment and what it shows by now.

    ``requests``: all requests of each arm and the hits among them; ``feedback``: what people said of the answers, good
    and bad (each control first). People say it when they like: it proves nothing of the error rate. ``waiting``:
    callers who are not counted yet. ``tests``: what is certain by now, at ``definition.confidence`` however often it is
    read. ``certificates``: by arm, what its own certificate promises.
    """

    definition: Definition
    tests: Report
    requests: Arms
    feedback: Arms
    waiting: int
    unreadable: int
    certificates: Mapping[str, str]

    @property
    def serves_more(self) -> Literal["control", "treatment"] | None:
        """The arm that serves more; None while that can't be told."""
        verdict = self.tests.hits.verdict
        return None if verdict == "undecided" else "treatment" if verdict == "higher" else "control"

    @property
    def sentence(self) -> str:
        """The verdict: which arm serves more, what is certified for each, and which is wrong more often."""
        hits, errors = self.tests.hits, self.tests.errors
        sure = f"at {self.definition.confidence:.0%} confidence"
        if self.serves_more is None:
            callers = hits.control.units + hits.treatment.units
            first = f"Which arm serves more can't be told yet from {callers:,} callers: {_between('hit rate', hits)}"
        else:
            first = f"The {self.serves_more} serves more: {_between('hit rate', hits)}"
        promised = "; ".join(f"{arm}: {self.certificates[arm]}" for arm in (CONTROL, TREATMENT))
        wrong = {
            "higher": f"The {TREATMENT} is wrong more often",
            "lower": f"The {CONTROL} is wrong more often",
            "undecided": "Which is wrong more often can't be told yet",
        }[errors.verdict]
        return f"{first}, {sure}. Certified for {promised}. {wrong}: {_between('error rate', errors)}."

    def document(self) -> dict[str, Any]:
        """All of it for programs; times are seconds UTC epoch, differences treatment minus control."""
        said = self.definition
        return {
            "experiment": said.name,
            "running": said.stopped is None,
            "started": said.started,
            "counted_from": said.counted_from,
            "stopped": said.stopped,
            "changes": said.changes,
            "share": said.share,
            "confidence": said.confidence,
            "serves_more": self.serves_more,
            "verdict": self.sentence,
            "hits": _numbers(self.tests.hits),
            "errors": _numbers(self.tests.errors),
            "certificates": dict(self.certificates),
            "requests": _by_arm(self.requests, "requests", "hits"),
            "feedback": _by_arm(self.feedback, "good", "bad"),
            "callers_not_counted_yet": self.waiting,
            "unreadable_batches": self.unreadable,
        }

    def lines(self) -> list[str]:
        """All of it for people, but for the verdict."""
        said = self.definition
        since = f"since {_moment(said.started)}" if said.stopped is None else f"until {_moment(said.stopped)}"
        rows = [
            f"{said.name}: {'running' if said.stopped is None else 'stopped'}, {since}",
            f"  treatment   {said.changes}, for {said.share:.0%} of the callers",
            *(f"  {line}" for line in self._arms()),
            f"  {self.waiting:,} callers whose first requests are under way are not counted yet",
        ]
        if self.unreadable:
            rows.append(f"  {self.unreadable} batches of outcomes could not be read: were they of a newer version?")
        return rows

    def _arms(self) -> list[str]:
        rows = [
            f"{'':<11} {'callers':>9} {'hit rate':>9} {'audited':>9} {'wrong':>9} {'requests':>9} {'hits':>9}  feedback"
        ]
        for place, arm in enumerate((CONTROL, TREATMENT)):
            hits, errors = ((seen.control, seen.treatment)[place] for seen in (self.tests.hits, self.tests.errors))
            requests, feedback = self.requests[place], self.feedback[place]
            rows.append(
                f"{arm:<11} {hits.units:>9,} {_share(hits.rate):>9} {errors.units:>9,} {_share(errors.rate):>9} "
                f"{requests[0]:>9,} {requests[1]:>9,}  {feedback[0]:,} good, {feedback[1]:,} bad"
            )
        return rows


def findings(definition: Definition, counts: Counts, certificates: Mapping[str, str] = _NO_TEXTS) -> Findings:
    """What the counts show. ``certificates``: what is promised for ``control`` and ``treatment``, in words."""
    tallies = counts.tallies()
    return Findings(
        definition=definition,
        tests=report(definition.design, hits=tallies.hits, errors=tallies.errors),
        requests=counts.head.requests,
        feedback=counts.head.feedback,
        waiting=tallies.waiting,
        unreadable=counts.head.unreadable,
        certificates={arm: certificates.get(arm) or NOTHING_CERTIFIED for arm in (CONTROL, TREATMENT)},
    )


def _between(rate: str, seen: Comparison) -> str:
    return f"the {rate} of {TREATMENT} minus {CONTROL} is {100 * seen.low:+.1f} to {100 * seen.high:+.1f} points"


def _numbers(seen: Comparison) -> dict[str, Any]:
    arms = {
        arm: {"callers": tally.units, "rate": tally.rate}
        for arm, tally in ((CONTROL, seen.control), (TREATMENT, seen.treatment))
    }
    numbers = {name: value for name, value in asdict(seen).items() if name not in arms}
    return {**arms, **numbers}


def _by_arm(arms: Arms, first: str, second: str) -> dict[str, dict[str, int]]:
    return {arm: {first: pair[0], second: pair[1]} for arm, pair in zip((CONTROL, TREATMENT), arms, strict=True)}


def _share(rate: float) -> str:
    return f"{rate:.2%}" if rate == rate else "-"  # noqa: PLR0124 - nan, where there is nobody


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
