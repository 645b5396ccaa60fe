"""The bars that Yamabiko wants to meet, and what benchmarks/quality.py measured, side by side. Nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator

from quality_tally import percent

Row = dict[str, object]


def figures(result: dict) -> list[Row]:
    """Each figure as {figure, bar, measured, met}; what was not measured is left out."""
    rows: list[Row] = []
    if "pairs" in result:
        rows += traps(result["pairs"])
        rows += paraphrases(result["pairs"].get("qqp"))
    if "promise" in result:
        rows += promises(result["promise"])
    if "streams" in result:
        rows += against_vcache(result["streams"])
    if "public" in result:
        for texts, found in result["public"]["decision_cpu_ms"].items():
            measured = f"P50 {found['p50']:.2f} ms, P95 {found['p95']:.2f} ms"
            rows.append(_row(f"decision, 5 candidates, {texts}: CPU", "<= 1 ms", measured, found["p50"] <= 1))
    return rows


def traps(pairs: dict) -> Iterator[Row]:
    """Traps answered and paraphrases served, by a threshold that the dev half certifies for 2 %."""
    for name in ("traps (English)", "traps (Japanese)"):
        if name not in pairs:
            continue
        row = pairs[name]
        kept = row["score"]["certified_2%"]
        answered, served = kept["traps_answered"], kept["paraphrases_served"]
        yield _row(
            f"{name}: traps answered wrongly at 2 %, after calibration",
            "<= 2 %",
            f"{percent(answered['rate'], 2)} ({answered['count']} of {answered['of']})",
            answered["rate"] is not None and answered["rate"] <= 0.02,
        )
        yield _row(
            f"{name}: paraphrases served there", ">= 60 %", percent(served["rate"]), (served["rate"] or 0) >= 0.6
        )
        error = max(0.02, kept["wrong_per_hit"]["rate"] or 0.0)
        alone = row["cosine"]["hits_at_wrong_per_hit"]["2.0%"]["recall"] if error <= 0.02 else None
        if alone is None:
            curve = [at["recall"] for at in row["cosine_curve"] if at["wrong_per_hit"] <= error]
            alone = max([row["cosine"]["hits_at_wrong_per_hit"]["2.0%"]["recall"], *curve])
        yield _ratio(f"{name}: against cosine alone at equal error", 3, served["rate"] or 0.0, alone)


def paraphrases(row: dict | None) -> Iterator[Row]:
    """Recall on QQP at a share of wrong answers, both with the best threshold in hindsight."""
    if row is None:
        return
    for budget in ("2.0%", "5.0%"):
        ours, alone = (row[arm]["hits_at_wrong_per_hit"][budget]["recall"] for arm in ("score", "cosine"))
        yield _ratio(f"QQP: recall at {budget} wrong per hit, against cosine alone", 3, ours, alone)


def promises(found: dict) -> Iterator[Row]:
    """The promise kept, and the way back after a drift; where nothing was ever served, neither says anything."""
    for name, row in found.items():
        kept, back = row["kept"], row["recovered_after_audits"]
        measured = f"{kept['count']} of {kept['of']}; {row['ever_serving']} of them served by meaning"
        figure = _row(f"promise kept ({name})", ">= 95 % of runs", measured, kept["rate"] >= 0.95)
        if not row["ever_serving"]:
            yield figure | {"met": "nothing served"}
            continue
        yield figure
        if back is not None:
            measured = f"median {back['median']:.0f}, worst {back['worst']}"
            yield _row(f"back within it ({name})", "<= 500 audited hits", measured, back["within_500"]["rate"] >= 0.95)


def against_vcache(found: dict) -> Iterator[Row]:
    """Hits by meaning against the best of vCache's settings, at equal error in our unit and in its own."""
    for name, row in found.items():
        if "no duplicates" in name:
            continue
        for budget in (0.02, 0.05):
            ours = row["arms"][f"Yamabiko, max_error_rate={budget:g}"]
            best = row["best_in_hindsight"]["vCache"]
            units = {
                f"<= {budget:.0%} wrong per hit": best[f"{budget:.1%}"],
                f"no more wrong per request than at {budget:.0%}": best[
                    f"as wrong per request as Yamabiko {budget:.0%}"
                ],
            }
            wrong = ours["wrong_per_hit"]["rate"] or 0.0
            for unit, theirs in units.items():
                figure = _ratio(
                    f"hits by meaning against vCache's rule, {unit} ({name})", 2, ours["semantic"], theirs["semantic"]
                )
                if wrong > budget:
                    figure |= {
                        "met": "no",
                        "measured": f"{figure['measured']}; ours: {percent(wrong, 2)} wrong per hit",
                    }
                yield figure


def _ratio(name: str, bar: float, ours: float, theirs: float) -> Row:
    measured = f"{percent(ours)} against {percent(theirs)}"
    if theirs > 0:
        measured += f": {ours / theirs:.1f} x"
    return _row(name, f">= {bar:g} x", measured, ours > 0 and ours >= bar * theirs)


def _row(figure: str, bar: str, measured: str, met: bool) -> Row:
    return {"figure": figure, "bar": bar, "measured": measured, "met": "yes" if met else "no"}
