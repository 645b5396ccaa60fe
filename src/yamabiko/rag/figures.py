"""What the three caches of a pipeline saved, each of them, and what is still paid for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one call costs, in USD, where it is not known from a price list of models. Your own figures.

    ``search_usd``: one vector search. ``embedding_usd``: one embedded text.
    """

    search_usd: float = 0.0
    embedding_usd: float = 0.0


@dataclass(slots=True)
class Tally:
    """Counts of one stage as they rise: ``asked``, of which ``made`` afresh; ``saved``: answered without a call."""

    asked: int = 0
    made: int = 0
    saved: int = 0
    spent_seconds: float = 0.0
    saved_seconds: float = 0.0
    spent_usd: float = 0.0
    saved_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a report: how often something was needed, done and saved, and what that comes to."""

    name: str
    needed: int
    made: int
    saved: int
    spent_seconds: float
    saved_seconds: float
    spent_usd: float
    saved_usd: float

    @property
    def saved_share(self) -> float:
        """Of what was needed, in [0, 1]."""
        return self.saved / self.needed if self.needed else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What each cache of a pipeline saved since it was opened.

    ``generation``: answers, saved by the answers' cache. ``search``: vector searches, one for each question, of which
    the answers' cache saved ``search_saved_by_answers`` and the passages' cache the rest. ``embedding``: texts.

    Seconds of ``generation`` hold those of the search before it, which are not counted again in ``search``: its
    ``saved_seconds`` are those that the passages' cache saved. What an answered question would have searched for counts
    in ``search`` by number and by USD alone.
    """

    generation: Row
    search: Row
    embedding: Row
    search_saved_by_answers: int

    def rows(self) -> tuple[Row, ...]:
        """The lines, in the order of the path."""
        return self.embedding, self.search, self.generation

    @property
    def saved_usd(self) -> float:
        """All together."""
        return sum(row.saved_usd for row in self.rows())

    @property
    def saved_seconds(self) -> float:
        """All together."""
        return sum(row.saved_seconds for row in self.rows())

    def table(self) -> str:
        """The report as text: a line for each row."""
        lines = [f"{'':14}{'needed':>8}{'made':>8}{'saved':>8}{'share':>8}{'seconds':>10}{'USD':>12}"]
        lines += [
            f"{row.name:14}{row.needed:8,}{row.made:8,}{row.saved:8,}{row.saved_share:8.1%}"
            f"{row.saved_seconds:10.1f}{row.saved_usd:12.6f}"
            for row in self.rows()
        ]
        return "\n".join(lines)
