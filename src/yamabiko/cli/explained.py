"""What ``yamabiko explain`` shows: texts by their lengths, guards, features, score, threshold and verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from yamabiko.cli.verdict import Explanation, Verdict
from yamabiko.cli.weighing import Seen, Weighed
from yamabiko.core import guards
from yamabiko.core.guards import Mode
from yamabiko.core.normalise import script
from yamabiko.core.score import FEATURES, model_for
from yamabiko.core.states import Position


def document(told: Explanation, verdict: Verdict) -> dict[str, object]:
    """Everything, for programs; without the texts."""
    document: dict[str, object] = {"served": verdict.served, "reason": verdict.reason, "verdict": verdict.sentence}
    document |= {"stored": _text_document(told.old), "asked": _text_document(told.new)}
    weighed, position, modes = told.weighed, told.position, told.modes
    if weighed is None or position is None:
        return document | {"similarity": None, "score": None, "p_correct": None}
    model = model_for(told.new.model)
    rows = [
        {"name": name, "value": value, "log_odds": odds} for name, value, odds in model.contributions(weighed.features)
    ]
    return document | {
        "similarity": weighed.similarity,
        "guards": _guards_document(weighed, modes),
        "features": dict(zip(FEATURES, weighed.features, strict=True)),
        "contributions": rows,
        "score_version": model.version,
        "score_trained": model.trained,
        "score": weighed.score,
        "p_correct": weighed.p_correct,
        "namespace": position.namespace,
        "state": position.state,
        "threshold": position.threshold,
        "calibration": position.calibration,
        "error_upper": position.error_upper,
        "because": position.reason,
    }


def _text_document(seen: Seen) -> dict[str, object]:
    return {
        "characters": len(seen.text),
        "tokens": len(guards.read(seen.text).tokens),
        "script": script(seen.text),
        "language": guards.read(seen.text).language,
        "model": seen.model,
        "not_compared": seen.why_not,
    }


def _guards_document(weighed: Weighed, modes: Mapping[str, Mode]) -> list[dict[str, object]]:
    found = {finding.guard: finding for finding in weighed.findings}
    vetoes = {finding.guard for finding in weighed.vetoes}
    return [
        {
            "name": name,
            "mode": mode,
            "strength": found[name].strength if name in found else 0.0,
            "detail": found[name].detail if name in found else "",
            "vetoes": name in vetoes,
        }
        for name, mode in modes.items()
    ]


def lines(told: Explanation, verdict: Verdict) -> list[str]:
    """Everything, for people; coloured."""
    lines = [_text_line("stored", told.old), _text_line("asked", told.new)]
    weighed, position = told.weighed, told.position
    if weighed is not None and position is not None:
        lines += [_row("similarity", f"{weighed.similarity:.4f}", "cosine"), "", *_guard_lines(weighed, told.modes)]
        lines += ["", *_score_lines(told.new.model, weighed), "", *_position_lines(weighed, position)]
    return [*lines, "", _styled(verdict.sentence, "green" if verdict.served else "red", bold=True)]


def _text_line(name: str, seen: Seen) -> str:
    of = _text_document(seen)
    told = f"{of['characters']} characters, {of['tokens']} tokens, script {of['script']}, language {of['language']}"
    return _row(name, f"{told}, model {seen.model}")


def _guard_lines(weighed: Weighed, modes: Mapping[str, Mode]) -> list[str]:
    lines = [f"{'guard':<14} {'mode':<8} {'strength':>8}  finding"]
    for one in _guards_document(weighed, modes):
        found = bool(one["strength"])
        finding = str(one["detail"]) if found else "not asked" if one["mode"] == "off" else "nothing"
        strength = f"{one['strength']:.2f}" if found else "-"
        line = f"{one['name']:<14} {one['mode']:<8} {strength:>8}  {finding}{': veto' if one['vetoes'] else ''}"
        lines.append(_styled(line, "red") if one["vetoes"] else _styled(line, "yellow") if found else line)
    return lines


def _score_lines(embedder: str, weighed: Weighed) -> list[str]:
    model = model_for(embedder)
    rows = list(model.contributions(weighed.features))
    moved = {name for name, _, _ in rows}
    rows += [
        (name, value, 0.0)
        for name, value in zip(FEATURES, weighed.features, strict=True)
        if value and name not in moved
    ]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'feature':<{width}} {'value':>7} {'log odds':>9}"]
    for name, value, odds in rows:
        line = f"{name:<{width}} {value:>7.4f} {f'{odds:+.4f}' if odds else '-':>9}"
        lines.append(_styled(line, "green" if odds > 0 else "red") if odds else line)
    which = f"model {model.version}" if model.trained else f"the general model {model.version}: none for this embedder"
    lines += ["all other features are 0", ""]
    return [*lines, _row("score", f"{weighed.score:.4f}", which), _row("p_correct", f"{weighed.p_correct:.4f}")]


def _position_lines(weighed: Weighed, position: Position) -> list[str]:
    shown = "none" if position.threshold is None else f"{position.threshold:.4f}"
    if position.threshold is not None:
        shown = _styled(shown, "green" if weighed.score >= position.threshold else "red")
    lines = [_row("threshold", shown, f"{position.calibration}: {position.reason}")]
    return [*lines, _row("namespace", position.namespace, f"state {position.state}")]


def _row(name: str, value: str, remark: str = "") -> str:
    return f"{name:<11} {value}{f'   ({remark})' if remark else ''}"


def _styled(text: str, colour: str, *, bold: bool = False) -> str:
    """Coloured; click takes colours out wherever they do not go to a terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=bold)
