"""Where a namespace stands, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from yamabiko.cli.importing import Taken
from yamabiko.cli.shown import moment, wrapped_rows
from yamabiko.core.calibrate import Certificate, Shortfall, to_json
from yamabiko.core.states import Position
from yamabiko.learn.records import NamespaceState
from yamabiko.learn.report import Seen, ThresholdSeen

LAST = 5
"""So many transitions are shown to people; programs get all that are kept."""


def taken_line(taken: Taken) -> str:
    """What became of imported labels."""
    told = f"{taken.namespace}: {taken.pairs:,} pairs, {taken.hits:,} of them would-be hits"
    old = taken.hits - taken.new
    return f"{told}, {taken.new:,} new labels" + (f", {old:,} imported before" if old else "")


def standing_document(position: Position, state: NamespaceState | None, now: float) -> dict[str, Any]:
    """Everything that is kept of a namespace. ``state`` is None where nothing is."""
    document: dict[str, Any] = {
        "namespace": position.namespace,
        "state": position.state,
        "threshold": position.threshold,
        "calibration": position.calibration,
        "error_upper": position.error_upper,
        "reason": position.reason,
        "stored": state is not None,
        "labels": 0,
        "labels_missing": None,
        "certificate": None,
        "shortfall": None,
        "transitions": [],
    }
    if state is None:
        return document
    process = state.process
    return document | {
        "labels": state.labels,
        "labels_missing": labels_missing(state),
        "attempt": state.attempt,
        "next_attempt": state.next_attempt,
        "certificate": _plain(state.certificate),
        "certificate_age_seconds": now - state.certificate.terms.created if state.certificate else None,
        "shortfall": _plain(state.shortfall),
        "audits": process.trials if process else 0,
        "audits_wrong": process.wrong if process else 0,
        "e_value": process.e_value if process else 1.0,
        "e_peak": process.peak if process else 1.0,
        "since": state.since,
        "drawing": msgspec.to_builtins(state.drawing),
        "transitions": msgspec.to_builtins(state.transitions),
    }


def standing_lines(position: Position, state: NamespaceState | None, now: float) -> list[str]:
    """The same, in a few lines."""
    serves = "nothing by meaning" if position.threshold is None else f"from score {position.threshold:.4f} on"
    rows = [("state", f"{position.state}, serves {serves} ({position.calibration})"), ("because", position.reason)]
    if state is None:
        rows.append(("labels", "none yet"))
    else:
        rows.append(("labels", _labels(state)))
        if state.certificate is not None:
            rows.append(("certificate", _certificate(state.certificate, now)))
        if state.shortfall is not None:
            rows.append(("shortfall", state.shortfall.reason))
        if state.process is not None:
            process = state.process
            rows.append(
                (
                    "audits",
                    f"{process.trials:,}, {process.wrong:,} wrong; E {process.e_value:.3g}, peak {process.peak:.3g}",
                )
            )
        rows += [
            ("transition", f"{moment(one.at, now)}: {one.before} to {one.after}: {one.reason}")
            for one in state.transitions[-LAST:]
        ]
    return [position.namespace, wrapped_rows((f"  {name}", text) for name, text in rows)]


def labels_missing(state: NamespaceState) -> int | None:
    """How many more labels the next attempt to certify waits for; None where nothing is missing."""
    return None if state.certificate is not None else max(0, state.next_attempt - state.labels)


def seen_document(seen: Seen) -> dict[str, Any]:
    """What the log of a namespace shows."""
    return asdict(seen) | {"unserved": seen.unserved}


def seen_lines(seen: Seen, now: float, confidence: float) -> list[str]:
    """The same for people."""
    rows: list[tuple[str, str]] = [("drawn", f"{seen.drawn:,} look-ups for a label, {seen.unserved:,} answered afresh")]
    rows.append(("would-be hits", f"{seen.hits:,}; below the threshold of their time: {seen.grey:,}"))
    judges = ", ".join(f"{how} {count:,}" for how, count in seen.judges.items())
    rows.append(("labels", f"{seen.labelled:,}, {seen.wrong:,} of them wrong" + (f" ({judges})" if judges else "")))
    if seen.imported:
        rows.append(("imported", f"{seen.imported:,}, {seen.imported_wrong:,} of them wrong"))
    if seen.first is not None and seen.last is not None:
        rows.append(("from", moment(seen.first, now)))
        rows.append(("to", moment(seen.last, now)))
    lines = [seen.namespace, wrapped_rows((f"  {name}", text) for name, text in rows)]
    return [*lines, *curve_lines(seen.curve, confidence)] if seen.curve else lines


def curve_lines(curve: Sequence[ThresholdSeen], confidence: float) -> list[str]:
    """The curve as a table."""
    lines = [
        f"  {'from score':>10} {'labels':>8} {'wrong':>7} {'missing':>8} {'wrong share':>12}  {confidence:.0%} interval"
    ]
    for point in curve:
        total = point.labels + point.missing
        share = (point.wrong + point.missing) / total
        numbers = f"{point.threshold:>10.6f} {point.labels:>8,} {point.wrong:>7,} {point.missing:>8,} {share:>12.2%}"
        lines.append(f"  {numbers}  {point.low:.2%} to {point.high:.2%}")
    return lines


def _labels(state: NamespaceState) -> str:
    told = f"{state.labels:,} since the last alarm or change of versions; attempts to certify: {state.attempt}"
    missing = labels_missing(state)
    return f"{told}, the next with {state.next_attempt:,}" + (f": {missing:,} are missing" if missing else "")


def _certificate(certificate: Certificate, now: float) -> str:
    terms, test = certificate.terms, certificate.test
    bound = f"at most {certificate.error_upper:.2%} wrong per {terms.on} from score {certificate.threshold:.4f} on"
    seen = f"{test.wrong} of {test.trials} in the test were wrong, {certificate.labels:,} labels in all"
    return f"{bound}, at {terms.confidence:.0%} confidence; {seen}; made {moment(terms.created, now)}"


def _plain(outcome: Certificate | Shortfall | None) -> object:
    return None if outcome is None else msgspec.json.decode(to_json(outcome))
