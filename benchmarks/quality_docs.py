"""The tables of docs/quality.md, from what benchmarks/quality.py measured.

    python benchmarks/quality_docs.py

Replaces what stands between the two marks in docs/quality.md by tables of benchmarks/results/quality.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from quality_tally import BUDGETS, percent

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/quality.md"
RESULTS = ROOT / "benchmarks/results/quality.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column to the left, the others to the right."""
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines) + "\n"


def sections(result: dict) -> Iterator[str]:
    """Headings and tables, of what was measured."""
    machine = result["machine"]
    yield f"Measured on {machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}."
    yield "## The bars\n\n" + markdown(
        ("figure", "bar", "measured", "met"),
        ([row["figure"], row["bar"], row["measured"], row["met"]] for row in result["figures"]),
    )
    yield from pairs(result.get("pairs", {}))
    yield from streams(result.get("streams", {}))
    yield from promise(result.get("promise", {}))
    yield from public(result.get("public", {}))


def pairs(found: dict) -> Iterator[str]:
    """Rankings and recalls of each group, and traps by axis."""
    if not found:
        return
    recalls = [f"recall at {budget:.1%}" for budget in BUDGETS]
    rows = []
    for group, row in found.items():
        for where, arms in (("alone", row), ("together", row["together"])):
            for arm in ("cosine", "cosine + guards", "score"):
                at = arms[arm]
                cells = [
                    f"{number:.3f}" if number is not None else "-" for number in (at["auc"], at["average_precision"])
                ]
                cells += [percent(best["recall"]) for best in at["hits_at_wrong_per_hit"].values()]
                rows.append([f"{group}, {where}: {arm}", *cells])
    yield "## Pairs\n\n" + markdown(("pairs", "AUC", "AP", *recalls), rows)
    rows = []
    for group, row in found.items():
        for arm in ("cosine", "cosine + guards", "score"):
            for budget in ("2%", "5%"):
                kept = row[arm][f"certified_{budget}"]
                shares = (kept[name]["rate"] for name in ("paraphrases_served", "traps_answered", "wrong_per_hit"))
                rows.append([f"{group}: {arm}, {budget}", *(percent(share, 2) for share in shares)])
    yield "### A threshold that the dev half certifies, on the test half\n\n" + markdown(
        ("pairs, arm, promise", "paraphrases served", "traps answered", "wrong per hit"), rows
    )
    for group, row in found.items():
        arms = row.get("traps_by_axis")
        if arms:
            axes = next(iter(arms.values()))
            shown = ([axis, axes[axis]["of"], *(percent(arm[axis]["rate"]) for arm in arms.values())] for axis in axes)
            yield f"### {group}: answered, by axis\n\n" + markdown(("axis", "traps", *arms), shown)


def streams(found: dict) -> Iterator[str]:
    """Each stream: all arms, and the best of their settings in hindsight."""
    if not found:
        return
    yield "## Streams"
    for name, row in found.items():
        rows = []
        for arm, tally in row["arms"].items():
            wrong = tally["wrong_per_hit"]
            span = "-" if wrong["rate"] is None else f"{wrong['low']:.2%} to {wrong['high']:.2%}"
            tiers = (percent(tally[tier]) for tier in ("exact", "alias", "semantic"))
            requests = percent(tally["wrong_per_request"]["rate"], 2)
            calls = (tally["model_calls"], tally["judge_calls"])
            rows.append([arm, *tiers, percent(wrong["rate"], 2), span, requests, *calls])
        columns = ("arm", "exact", "alias", "by meaning", "wrong per hit", "95 %", "per request", "model", "judge")
        yield f"### {name}: {row['requests']} requests\n\n" + markdown(columns, rows)
        best = row["best_in_hindsight"]
        budgets = [f"{budget:.1%}" for budget in BUDGETS]
        rows = [[arm, *(percent(at[budget]["semantic"]) for budget in budgets)] for arm, at in best.items()]
        yield "Hits by meaning of the best setting in hindsight, by wrong per hit:\n\n" + markdown(
            ("arm", *budgets), rows
        )


def promise(found: dict) -> Iterator[str]:
    """How often the promise was kept."""
    if not found:
        return
    rows = []
    for name, row in found.items():
        back = row["recovered_after_audits"]
        rows.append(
            [
                name,
                f"{row['ever_serving']} of {row['runs']}",
                f"{row['kept']['count']} of {row['kept']['of']}",
                percent(row["worst_wrong_per_hit"], 2),
                percent(row["served_by_meaning"]),
                round(row["audited_hits"]),
                "-" if back is None else f"{back['median']:.0f}, {back['worst']}",
            ]
        )
    columns = (
        "traffic, order, budget, start",
        "serving",
        "kept",
        "worst",
        "by meaning",
        "audited",
        "audits until back",
    )
    yield "## The promise\n\n" + markdown(columns, rows)


def public(found: dict) -> Iterator[str]:
    """What the cache itself did, and took."""
    titles = [name for name in found if name.startswith("Cache.answer")]
    if not titles:
        return
    rows = []
    for name in titles:
        for unit, kinds in found[name]["milliseconds"].items():
            rows += [[f"{name}: {kind}, {unit}", *(f"{at[p]:.2f}" for p in at)] for kind, at in kinds.items()]
    yield "## Time per call, milliseconds, embedding left out\n\n" + markdown(("call", "P50", "P95", "P99"), rows)
    yield "Peers' packages, asked the same with the same vectors: " + "; ".join(
        f"{name}: {at if isinstance(at, str) else '{decided_otherwise} of {requests} decided otherwise'.format(**at)}"
        for name, at in found["peers"].items()
    )


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(
        f"{head}{BEGIN}\n\n" + "\n\n".join(map(str.strip, sections(result))) + f"\n\n{END}{tail}", encoding="utf-8"
    )
    print("written to", PAGE)


if __name__ == "__main__":
    main()
