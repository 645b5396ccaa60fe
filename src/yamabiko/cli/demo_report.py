"""What the demo shows at its end: a table, a handful of examples, and one line for machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yamabiko.cli.demo_asking import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The figures of some requests; latencies in milliseconds as (P50, P95, P99), zeros where there are none.

    ``saved_seconds``: what all requests would have taken without a cache, less what they took with it. ``saved_usd``:
    what the answers cost to make that nobody had to make again. A wrong answer saves nothing.
    """

    requests: int
    exact: int
    semantic: int
    verified: int
    wrong: int
    shared: int
    llm_calls: int
    hit_ms: tuple[float, float, float]
    semantic_ms: tuple[float, float, float]
    miss_ms: tuple[float, float, float]
    saved_seconds: float
    saved_usd: float
    spent_usd: float

    @property
    def hits(self) -> int:
        """Requests that the cache answered."""
        return self.exact + self.semantic + self.verified

    def line(self) -> str:
        """The demo's last line."""
        by_meaning = self.semantic + self.verified
        return (
            f"demo: requests={self.requests} hits={self.hits} exact={self.exact} semantic={by_meaning}"
            f" wrong={self.wrong} llm_calls={self.llm_calls} p50_hit_ms={self.hit_ms[0]:.2f}"
            f" p50_miss_ms={self.miss_ms[0]:.1f} saved_usd={self.saved_usd:.4f}"
        )


_BY_MEANING = ("semantic", "verified")
_DOUBTED = ("below_threshold", "verifier_said_no")


def totals(asked: Sequence[Asked]) -> Totals:
    """The figures of these requests."""
    tiers = [one.tier for one in asked]
    called = [one for one in asked if not one.hit and not one.shared]
    return Totals(
        requests=len(asked),
        exact=tiers.count("exact"),
        semantic=tiers.count("semantic"),
        verified=tiers.count("verified"),
        wrong=sum(one.wrong for one in asked),
        shared=sum(one.shared for one in asked),
        llm_calls=len(called),
        hit_ms=percentiles([one.seconds * 1000 for one in asked if one.hit]),
        semantic_ms=percentiles([one.seconds * 1000 for one in asked if one.tier in _BY_MEANING]),
        miss_ms=percentiles([one.seconds * 1000 for one in asked if not one.hit]),
        saved_seconds=sum((0.0 if one.wrong else one.model_seconds) - one.seconds for one in asked),
        saved_usd=sum(one.usd for one in asked if (one.hit and not one.wrong) or one.shared),
        spent_usd=sum(one.usd for one in called),
    )


def table(columns: Sequence[tuple[str, Totals]]) -> str:
    """The table, one column for each of the given names."""
    rows: tuple[tuple[str, Callable[[Totals], str]], ...] = (
        ("requests", lambda of: f"{of.requests}"),
        ("answered by the cache", lambda of: f"{of.hits} ({_share(of.hits, of.requests)})"),
        ("  exact", lambda of: f"{of.exact}"),
        ("  semantic", lambda of: f"{of.semantic}"),
        ("  verified", lambda of: f"{of.verified}"),
        ("  of these wrong", lambda of: f"{of.wrong}"),
        ("model calls", lambda of: f"{of.llm_calls}"),
        ("waited for another's call", lambda of: f"{of.shared}"),
        ("hit, ms: P50 / P95 / P99", lambda of: " / ".join(f"{ms:.1f}" for ms in of.hit_ms)),
        ("  of these semantic", lambda of: " / ".join(f"{ms:.1f}" for ms in of.semantic_ms)),
        ("miss, ms: P50 / P95 / P99", lambda of: " / ".join(f"{ms:.0f}" for ms in of.miss_ms)),
        ("seconds saved, net", lambda of: f"{of.saved_seconds:.1f}"),
        ("dollars saved, net", lambda of: f"{of.saved_usd:.4f}"),
        ("dollars spent on the model", lambda of: f"{of.spent_usd:.4f}"),
    )
    cells = [[name for name, _ in columns]] + [[show(of) for _, of in columns] for _, show in rows]
    width = max(len(label) for label, _ in rows)
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    labels = ["", *(label for label, _ in rows)]
    return "\n".join(
        f"  {label:<{width}}" + "".join(f"   {cell:>{widths[at]}}" for at, cell in enumerate(line))
        for label, line in zip(labels, cells, strict=True)
    )


def legend(*, simulated: bool, hosted_embedder: bool) -> str:
    """What the table's figures are."""
    miss = "a miss the model's simulated time and the real time around it" if simulated else "a miss too"
    embedding = (
        "What the embedding server asks is not in it." if hosted_embedder else "Embedding here costs no dollars."
    )
    lines = (
        f"A hit's time is measured, {miss}.",
        "Wrong is judged by the data: what was served is the answer to another question.",
        "Saved, net: what all would have taken without a cache, less what it took, looking up on misses",
        f"included. A wrong answer saves nothing. {embedding}",
    )
    return "".join(f"  {line}\n" for line in lines)


def examples(asked: Sequence[Asked]) -> str:
    """One request of each kind and language: a paraphrase that was served, near misses, and what went wrong."""
    kinds: tuple[tuple[str, Callable[[Asked], bool], bool], ...] = (
        ("served, in other words", lambda one: one.tier in _BY_MEANING and not one.wrong, False),
        ("refused, rightly", lambda one: one.reason in _DOUBTED and one.same_answer is False, True),
        ("refused, though right", lambda one: one.reason in _DOUBTED and one.same_answer is True, True),
        ("served, WRONGLY", lambda one: one.wrong, True),
    )
    lines: list[str] = []
    for title, fits, highest in kinds:
        for language in dict.fromkeys(one.language for one in asked):
            found = [one for one in asked if one.language == language and fits(one)]
            if found:
                chosen = (max if highest else min)(found, key=lambda one: one.similarity or 0.0)
                lines += _example(title, chosen, len(found))
    return "".join(f"{line}\n" for line in lines)


def _example(title: str, one: Asked, count: int) -> list[str]:
    return [
        f"  {title} ({one.language}, 1 of {count}): {one.reasons[-1]}",
        f"    asked   {one.question}",
        f"    stored  {one.neighbour}",
    ]


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """P50, P95 and P99 by nearest rank: values that were measured; zeros where there are none."""
    ranked = sorted(values)
    p50, p95, p99 = (ranked[math.ceil(share * len(ranked)) - 1] if ranked else 0.0 for share in (0.5, 0.95, 0.99))
    return p50, p95, p99


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
