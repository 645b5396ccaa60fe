"""What ``yamabiko tune`` tells: a few lines on the terminal, and a folder with the whole report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from yamabiko.cli import plots
from yamabiko.cli.judging import LEFT_OUT
from yamabiko.cli.tune_html import in_use_sentence, outcome_sentence, report_html
from yamabiko.cli.tuning import BUDGETS, METHODS, Tuned
from yamabiko.core.calibrate import Certificate, Terms, to_json
from yamabiko.errors import ConfigurationError

FORMAT = "yamabiko.tune"
_NAMED = re.compile(r"[a-z0-9-]+\.png")
_FIGURES = ("threshold", "tradeoff", "reliability")


def document(parts: Sequence[Tuned], *, terms: Terms, pairs: int, uncompared: int) -> dict[str, Any]:
    """Everything in figures, without a text: pairs are named by their lines."""
    return {
        "format": FORMAT,
        "version": 1,
        "pairs": pairs,
        "uncompared": uncompared,
        "max_error_rate": terms.max_error_rate,
        "confidence": terms.confidence,
        "on": terms.on,
        "models": [_part(part) for part in parts],
        "files": ["report.html", "report.json", *(name for names in _file_names(parts) for name in names)],
    }


def _part(part: Tuned) -> dict[str, Any]:
    budgets = {
        method: [
            {"wrong_per_hit": budget, **(asdict(point) if point else {"hits": 0})}
            for budget, point in zip(BUDGETS, points, strict=True)
        ]
        for method, points in part.at_budgets.items()
    }
    return {
        "model": part.model,
        "pairs": len(part.judged),
        "right": part.right,
        "certified": isinstance(part.outcome, Certificate),
        "outcome": outcome_sentence(part),
        "certificate": msgspec.json.decode(to_json(part.outcome)),
        "threshold": part.threshold,
        "basis": part.basis,
        "shipped_threshold": part.shipped,
        "hits_at": budgets,
        "curves": {method: [asdict(point) for point in points] for method, points in part.curves.items()},
        "reliability": [asdict(one) for one in part.reliability],
        "axes": [asdict(axis) for axis in part.axes],
        "guards": [asdict(one) for one in part.guards],
        "served_wrong_lines": [one.pair.line for one in part.served() if not one.pair.correct],
        "refused_right_lines": [one.pair.line for one in part.judged if one.pair.correct and one.weighed.vetoes],
    }


def summary(parts: Sequence[Tuned], folder: str, *, uncompared: int) -> str:
    """For a terminal: the outcome by model, the methods at several budgets, what guards ought to be."""
    lines: list[str] = []
    for part in parts:
        lines += [f"{part.model}: {len(part.judged):,} pairs, {part.right:,} of them right"]
        lines += [f"  {outcome_sentence(part)}", f"  {in_use_sentence(part)}"]
        lines += ["  " + f"{'hits at most wrong':<20}" + "".join(f"{budget:>9.1%}" for budget in BUDGETS)]
        for method, points in part.at_budgets.items():
            counts = "".join(f"{point.hits if point else 0:>9,}" for point in points)
            lines += [f"  {METHODS[method]:<20}{counts}"]
        lines += [f"  guard {one.name} ought to be {one.advice}: {one.why}" for one in part.guards if one.changes]
        lines += [""]
    if uncompared:
        lines += [f"{uncompared:,} pairs {LEFT_OUT}"]
    return "\n".join([*lines, f"report: {Path(folder) / 'report.html'}"])


def write_report(
    folder: str, parts: Sequence[Tuned], told: Mapping[str, Any], *, terms: Terms, uncompared: int, texts: bool
) -> None:
    """Make the folder's report whole, or leave it. Raises ``ConfigurationError`` where it can't be written."""
    names = _file_names(parts)
    figures = {
        part.model: {
            "threshold": plots.threshold_figure(part, terms.max_error_rate),
            "tradeoff": plots.tradeoff_figure(part, terms.max_error_rate),
            "reliability": plots.reliability_figure(part.reliability),
        }
        for part in parts
    }
    page = report_html(parts, figures, terms=terms, uncompared=uncompared, texts=texts)
    files = {"report.html": page.encode("utf-8", "replace")}
    for part, named in zip(parts, names, strict=True):
        files |= {name: figures[part.model][figure] for name, figure in zip(named, _FIGURES, strict=True)}
    files["report.json"] = json.dumps(told, ensure_ascii=False, indent=1).encode("utf-8", "replace")
    try:
        _write_all(Path(folder), files)
    except OSError as error:
        raise ConfigurationError(f"the report can't be written to {folder}: {error.strerror}") from error


def _file_names(parts: Sequence[Tuned]) -> list[list[str]]:
    """The PNGs of each model, by its place where its name gives none."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", part.model.lower()).strip("-") for part in parts]
    stems = [slug if slug and slugs.count(slug) == 1 else f"model-{at}" for at, slug in enumerate(slugs, start=1)]
    return [[f"{stem}-{figure}.png" for figure in _FIGURES] for stem in stems]


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file beside its place first, then all into place; figures of an earlier report that have none go."""
    folder.mkdir(parents=True, exist_ok=True)
    stale = _earlier(folder) - files.keys()
    parts = {name: folder / f"{name}.part" for name in files}
    try:
        for name, data in files.items():
            with parts[name].open("wb") as out:
                out.write(data)
                os.fsync(out.fileno())
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    for name in stale:
        (folder / name).unlink(missing_ok=True)


def _earlier(folder: Path) -> set[str]:
    """The figures of the report that lies there."""
    try:
        told = json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError):
        return set()
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        return set()
    return {name for name in told.get("files", ()) if isinstance(name, str) and _NAMED.fullmatch(name)}
